//! The form that appends one record.
//!
//! Each form carries a key that nobody has used: sent twice, by accident or because nobody knows what
//! came of it, it stores one record and is told the same position. What was typed is kept when it is
//! refused.
//!
//! Not here: how a record is shown (`record`).

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use client::api::conditions::Conditions;
use client::api::error::{ErrorCode, Problem};
use client::api::logs::LogDescription;
use client::types::{Batch, BatchLimits, Headers, IdempotencyKey, LogName, NewRecord, Position};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::logs::page_of;
use super::records::record_page;
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
    let refused = || problem.as_deref().map(refusal);
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
        command: door.command(),
        url: door.url(),
    };
    frame::page(error::status(problem.as_deref()), &page)
}

/// Why it was refused, or that nobody knows.
fn refusal(problem: &Problem) -> Notice {
    let notice = Notice::refused(problem);
    if problem.code.has_no_side_effects() {
        return notice;
    }
    Notice {
        remedy: "Send this form again as it is: its key makes sure that the record is stored once, and \
                 you are told its position.",
        ..notice
    }
}

/// Appends what was typed.
pub(crate) async fn append<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    Named(log): Named,
    door: Door,
    Sent(sent): Sent<SentRecord>,
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
    // A form sends lines with two characters at their ends; people type one.
    let data = sent.data.replace("\r\n", "\n");
    if !sent.json.is_empty()
        && let Err(error) = serde_json::from_str::<IgnoredAny>(&data)
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
