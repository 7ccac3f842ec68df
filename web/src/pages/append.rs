//! The form that appends one record.
//!
//! Each form carries a key that nobody has used: sent twice, by accident or because nobody knows what
//! came of it, it stores one record and is told the same position. What was typed is kept when it is
//! refused. A file is sent in a form of several parts, and becomes a record byte for byte; a browser does not keep which
//! one was chosen.
//!
//! Not here: how a record is shown (`record`).

use askama::Template;
use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use client::api::conditions::Conditions;
use client::api::error::{ErrorCode, Problem};
use client::api::logs::LogDescription;
use client::types::{Batch, BatchLimits, Headers, IdempotencyKey, LogName, NewRecord, Position};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::logs::page_of;
use super::records::{bytes, record_page};
use crate::asked::{Door, Named, Query, Sent, freshest, log_id};
use crate::backend::Backend;
use crate::error;
use crate::format;
use crate::frame::{self, Frame, Notice, Section};
use crate::grade::Grade;
use crate::viewer::OnBehalf;

#[derive(Template)]
#[template(path = "append.html")]
struct Append {
    frame: Frame,
    notice: Option<Notice>,
    name: String,
    path: String,
    id: String,
    tail: String,
    tail_exact: String,
    is_sealed: bool,
    sent: SentRecord,
    file_max: String,
    command: String,
    url: String,
}

/// The fields of the form.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SentRecord {
    #[serde(default)]
    data: String,
    /// Whether the data has to be JSON.
    #[serde(default)]
    json: String,
    #[serde(default)]
    headers: String,
    /// The tail that it has to have.
    #[serde(default)]
    tail: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    log_id: String,
    /// The bytes of a file, if one was chosen.
    #[serde(skip)]
    file: Option<Bytes>,
}

/// The fields of the form, in either of the ways in which a browser sends one: as text, or in parts, of which one may be
/// a file.
pub(crate) struct SentForm(SentRecord);

impl<B: Backend> FromRequest<B> for SentForm {
    type Rejection = Response;

    async fn from_request(request: Request, backend: &B) -> Result<Self, Response> {
        let media_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !media_type.is_some_and(|of| of.starts_with(b"multipart/form-data")) {
            return Sent::from_request(request, backend).await.map(|Sent(sent)| Self(sent));
        }
        let sent = async {
            let parts = Multipart::from_request(request, backend).await;
            in_parts(parts.map_err(|refused| (refused.status(), refused.body_text()))?).await
        };
        match sent.await {
            Ok(sent) => Ok(Self(sent)),
            Err((status, words)) => {
                let title = if status == StatusCode::PAYLOAD_TOO_LARGE {
                    "The form holds too much"
                } else {
                    "The form cannot be understood"
                };
                Err(error::page(backend, status, title, &words).await)
            }
        }
    }
}

async fn in_parts(mut parts: Multipart) -> Result<SentRecord, (StatusCode, String)> {
    let refused = |refused: MultipartError| (refused.status(), refused.body_text());
    let mut sent = SentRecord::default();
    while let Some(part) = parts.next_field().await.map_err(refused)? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some_and(|file| !file.is_empty());
        let bytes = part.bytes().await.map_err(refused)?;
        if name == "file" {
            sent.file = is_file.then_some(bytes);
            continue;
        }
        let text = String::from_utf8(bytes.into()).map_err(|_| {
            (StatusCode::BAD_REQUEST, format!("{name} is no text in UTF-8: send it as a file"))
        })?;
        match name.as_str() {
            "data" => sent.data = text,
            "json" => sent.json = text,
            "headers" => sent.headers = text,
            "tail" => sent.tail = text,
            "key" => sent.key = text,
            "log_id" => sent.log_id = text,
            // A field that no page has.
            _ => {}
        }
    }
    Ok(sent)
}

/// What came of the form before.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    appended: String,
}

/// The form, and what came of the one before.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    Named(log): Named,
    door: Door,
    Query(asked): Query<Asked>,
) -> Response {
    let notice = asked.appended.parse::<Position>().ok().map(|position| {
        let text = format!("{log} at {}", format::count(position.get()));
        Notice::new(Grade::Ok, "Appended", "A majority of the replicas keeps it durably.")
            .leading(record_page(&log, position), text)
    });
    page(&backend, log, &door, Shown { notice, problem: None, sent: SentRecord::default() }).await
}

struct Shown {
    notice: Option<Notice>,
    problem: Option<Box<Problem>>,
    sent: SentRecord,
}

async fn page<B: Backend>(backend: &B, name: LogName, door: &Door, shown: Shown) -> Response {
    let Shown { notice, problem, mut sent } = shown;
    let found = match freshest(|consistency| backend.log(name.clone(), consistency)).await {
        Ok(found) => found,
        Err(other) => {
            return error::of_problem(backend, problem.as_deref().unwrap_or(&other)).await;
        }
    };
    let LogDescription { log_id, tail, sealed, .. } = found.answer;
    // The same form keeps its key, unless something was stored under it.
    let is_spent =
        problem.as_ref().is_some_and(|problem| problem.code == ErrorCode::KeyBodyDiffers);
    if sent.key.is_empty() || is_spent {
        sent.key = backend.fresh_key().to_string();
    }
    let had_file = sent.file.is_some();
    let refused = || problem.as_deref().map(|problem| refusal(problem, had_file));
    let page = Append {
        frame: Frame::now_or_unknown(backend, Section::Logs).await,
        notice: notice.or_else(refused).or_else(|| found.stale.as_deref().map(Notice::stale)),
        name: name.to_string(),
        path: page_of(&name),
        id: log_id.to_string(),
        tail: format::count(tail.get()),
        tail_exact: tail.to_string(),
        is_sealed: sealed,
        sent,
        file_max: format::exact_size(bytes(BatchLimits::default().record_bytes_max)),
        command: door.command(),
        url: door.url(),
    };
    frame::page(error::status(problem.as_deref()), &page)
}

/// Why it was refused, or that nobody knows.
fn refusal(problem: &Problem, had_file: bool) -> Notice {
    let notice = Notice::refused(problem);
    if problem.code.has_no_side_effects() {
        return notice;
    }
    let remedy = if had_file {
        "Choose the same file and send this form again: its key makes sure that the record is stored \
         once, and you are told its position."
    } else {
        "Send this form again as it is: its key makes sure that the record is stored once, and you are \
         told its position."
    };
    Notice { remedy, ..notice }
}

/// Appends what was typed.
pub(crate) async fn append<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    Named(log): Named,
    door: Door,
    SentForm(sent): SentForm,
) -> Response {
    let appended = match prepared(&sent) {
        Ok((conditions, batch)) => {
            backend.append(log.clone(), conditions, batch).await.map_err(Box::new)
        }
        Err(problem) => Err(problem),
    };
    match appended {
        Ok(appended) => {
            let path = format!("{}/append?appended={}", page_of(&log), appended.first);
            Redirect::to(&path).into_response()
        }
        Err(problem) => {
            page(&backend, log, &door, Shown { notice: None, problem: Some(problem), sent }).await
        }
    }
}

fn prepared(sent: &SentRecord) -> Result<(Conditions, Batch), Box<Problem>> {
    let wrong = |code: ErrorCode, detail: String| Box::new(Problem::new(code).with_detail(detail));
    let data = match &sent.file {
        Some(_) if !sent.data.is_empty() => {
            let detail = "both a file and something typed: one record is one of them";
            return Err(wrong(ErrorCode::InvalidBody, detail.to_owned()));
        }
        Some(file) => file.clone(),
        // A form sends lines with two characters at their ends; people type one.
        None => sent.data.replace("\r\n", "\n").into(),
    };
    if !sent.json.is_empty()
        && let Err(error) = serde_json::from_slice::<IgnoredAny>(&data)
    {
        return Err(wrong(ErrorCode::InvalidBody, format!("the data is not JSON: {error}")));
    }
    let headers = Headers::from_pairs(pairs(&sent.headers)?)
        .map_err(|error| wrong(ErrorCode::InvalidBody, error.to_string()))?;
    let tail: String = sent.tail.chars().filter(|letter| !letter.is_whitespace()).collect();
    let tail = if tail.is_empty() { None } else { Some(tail.parse::<Position>()) };
    let tail = tail.transpose().map_err(|_| {
        wrong(ErrorCode::InvalidParameter, format!("{:?} is no position", sent.tail))
    })?;
    let key = IdempotencyKey::new(&sent.key)
        .map_err(|error| wrong(ErrorCode::InvalidParameter, format!("key: {error}")))?;
    let conditions =
        Conditions { tail, key: Some(key), log_id: log_id(&sent.log_id), ..Conditions::default() };
    let record = NewRecord::new(data).with_headers(headers);
    let batch = Batch::new([&record], &BatchLimits::default())
        .map_err(|error| wrong(ErrorCode::RecordTooLarge, error.to_string()))?;
    Ok((conditions, batch))
}

/// Headers as they are typed: `name: value` on each line.
fn pairs(text: &str) -> Result<Vec<(&str, &str)>, Box<Problem>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            line.split_once(':').map(|(name, value)| (name.trim(), value.trim())).ok_or_else(|| {
                let detail = format!("header {line:?}: write a name, a colon and a value");
                Box::new(Problem::new(ErrorCode::InvalidBody).with_detail(detail))
            })
        })
        .collect()
}
