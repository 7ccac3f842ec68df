//! Logs: which there are, and how to make one.
//!
//! A page holds so many names; the next one begins after the last of them. Making a log that is there
//! with the same settings is no mistake.
//!
//! Not here: one log (`records`, `log_settings`).

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use client::api::error::{ErrorCode, Problem};
use client::api::logs::{ListQuery, LogList, LogSummary, Settings};
use client::api::paths;
use client::types::{LogName, Position};
use http::StatusCode;
use serde::Deserialize;

use crate::asked::{Door, Query, Seen, Sent, freshest};
use crate::backend::Backend;
use crate::error;
use crate::format;
use crate::frame::{self, Frame, Notice, Section};
use crate::viewer::OnBehalf;

/// Names on one page.
const PAGE: u32 = 100;

/// The page of a log: what the API calls it, without its version.
pub(super) fn page_of(log: &LogName) -> String {
    paths::log(log).split_off(paths::VERSION_PREFIX.len())
}

#[derive(Template)]
#[template(path = "logs.html")]
struct Logs {
    frame: Frame,
    notice: Option<Notice>,
    prefix: String,
    /// The same, if it can stand in a command as it is.
    plain_prefix: Option<String>,
    rows: Vec<LogRow>,
    next: Option<String>,
    command: String,
    url: String,
}

struct LogRow {
    name: String,
    path: String,
    extent: Extent,
    kept: String,
    is_sealed: bool,
}

/// Where a log begins and ends, and how much lies between.
pub(super) struct Extent {
    pub(super) first: String,
    pub(super) tail: String,
    pub(super) records: String,
    pub(super) size: String,
}

impl Extent {
    pub(super) fn of(first: Position, tail: Position, bytes: u64) -> Self {
        Self {
            first: format::count(first.get()),
            tail: format::count(tail.get()),
            records: format::count(tail.since(first)),
            size: format::size(bytes),
        }
    }
}

impl From<&LogSummary> for LogRow {
    fn from(log: &LogSummary) -> Self {
        Self {
            name: log.log.to_string(),
            path: page_of(&log.log),
            extent: Extent::of(log.first, log.tail, log.bytes),
            kept: kept(&log.settings),
            is_sealed: log.sealed,
        }
    }
}

/// How long records stay, in a few words.
fn kept(settings: &Settings) -> String {
    let age = settings.retention_age_ms.map(format::span);
    let bytes = settings.retention_bytes.map(format::exact_size);
    match (age, bytes) {
        (None, None) => "for ever".to_owned(),
        (Some(kept), None) | (None, Some(kept)) => kept,
        (Some(age), Some(bytes)) => format!("{age}, {bytes}"),
    }
}

/// What a list is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    #[serde(default)]
    deleted: String,
}

/// The list.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    door: Door,
    Query(asked): Query<Asked>,
) -> Response {
    let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let query = ListQuery {
        prefix: said(&asked.prefix),
        after: said(&asked.after),
        limit: Some(PAGE),
        ..ListQuery::default()
    };
    let listed = freshest(|consistency| backend.logs(ListQuery { consistency, ..query.clone() }));
    let frame = Frame::now(&backend, Section::Logs).await;
    match (listed.await, frame) {
        (Ok(listed), Ok(frame)) => frame::page(StatusCode::OK, &list(frame, &door, &listed, asked)),
        (Err(problem), _) => error::of_problem(&backend, &problem).await,
        (_, Err(problem)) => error::of_problem(&backend, &problem).await,
    }
}

fn list(frame: Frame, door: &Door, listed: &Seen<LogList>, asked: Asked) -> Logs {
    let next = listed.answer.next.as_ref().map(|after| {
        let query = ListQuery {
            prefix: Some(asked.prefix.clone()),
            after: Some(after.to_string()),
            ..ListQuery::default()
        };
        format!("/logs?{}", query.to_query())
    });
    let deleted = LogName::new(&asked.deleted).ok().map(|log| {
        let is_there = listed.answer.logs.iter().any(|other| other.log == log);
        let text = if is_there { "A log of that name was made since" } else { "It is gone" };
        Notice::new(crate::grade::Grade::Ok, &format!("Deleted {log}"), text)
    });
    Logs {
        frame,
        notice: deleted.or_else(|| listed.stale.as_deref().map(Notice::stale)),
        prefix: format::visible(&asked.prefix),
        plain_prefix: Some(asked.prefix).filter(|prefix| is_plain(prefix)),
        rows: listed.answer.logs.iter().map(LogRow::from).collect(),
        next,
        command: door.command(),
        url: door.url(),
    }
}

/// Whether a name may begin so: then no shell makes anything else of it.
fn is_plain(prefix: &str) -> bool {
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    !prefix.is_empty() && !prefix.starts_with('-') && prefix.bytes().all(is_of_names)
}

#[derive(Template)]
#[template(path = "new_log.html")]
struct NewLog {
    frame: Frame,
    notice: Option<Notice>,
    sent: SentSettings,
    command: String,
    url: String,
}

/// The fields of what can be set on a log, as they were typed.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct SentSettings {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) log_id: String,
    #[serde(default)]
    pub(super) retention_age: String,
    #[serde(default)]
    pub(super) retention_bytes: String,
    #[serde(default)]
    pub(super) content_type: String,
    #[serde(default)]
    pub(super) record_bytes_max: String,
}

impl SentSettings {
    /// The settings that were typed; nothing typed is nothing set.
    pub(super) fn settings(&self) -> Result<Settings, Box<Problem>> {
        let (age, size) = (format::parse_span, format::parse_size);
        Ok(Settings {
            retention_age_ms: field("Kept for", &self.retention_age, age, "7 d, 36 h or 90 min")?,
            retention_bytes: field("Kept up to", &self.retention_bytes, size, "64 MiB or 10 GB")?,
            content_type: typed(&self.content_type).map(str::to_owned),
            record_bytes_max: field("Longest record", &self.record_bytes_max, size, "64 KiB")?,
            ..Settings::default()
        })
    }
}

fn typed(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// What was typed into a field, if something was.
pub(super) fn field(
    name: &str,
    text: &str,
    parse: impl Fn(&str) -> Option<u64>,
    example: &str,
) -> Result<Option<u64>, Box<Problem>> {
    let Some(text) = typed(text) else { return Ok(None) };
    parse(text).filter(|value| *value > 0).map(Some).ok_or_else(|| {
        let detail = format!("{name}: {text:?} is not understood; write {example}, or nothing");
        Box::new(Problem::new(ErrorCode::InvalidParameter).with_detail(detail))
    })
}

/// The form for a new log.
pub(crate) async fn show_new<B: Backend>(State(backend): State<B>, door: Door) -> Response {
    new_page(&backend, &door, SentSettings::default(), None).await
}

/// Makes it.
pub(crate) async fn create<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    door: Door,
    Sent(sent): Sent<SentSettings>,
) -> Response {
    let name = LogName::new(sent.name.trim()).map_err(|wrong| {
        Box::new(Problem::new(ErrorCode::InvalidLogName).with_detail(wrong.to_string()))
    });
    let made = match (name, sent.settings()) {
        (Ok(name), Ok(settings)) => backend.create_log(name, settings).await.map_err(Box::new),
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    };
    match made {
        Ok(log) => Redirect::to(&page_of(&log.log)).into_response(),
        Err(problem) => new_page(&backend, &door, sent, Some(&problem)).await,
    }
}

async fn new_page<B: Backend>(
    backend: &B,
    door: &Door,
    sent: SentSettings,
    problem: Option<&Problem>,
) -> Response {
    let frame = Frame::now_or_unknown(backend, Section::Logs).await;
    let notice = problem.map(Notice::refused);
    let page = NewLog { frame, notice, sent, command: door.command(), url: door.url() };
    frame::page(error::status(problem), &page)
}
