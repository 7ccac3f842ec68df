//! One record: its permanent link, its headers, and its body in every form.
//!
//! The body is shown as text in which every character can be seen. Byte for byte it is downloaded, from
//! the API, which gives it as a file and never as a page.
//!
//! Not here: lists of records (`records`).

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use client::api::error::{ErrorCode, Problem};
use client::api::paths;
use client::api::reading::{ReadFrom, ReadQuery};
use client::api::records::{ReadAnswer, RecordJson};
use client::types::{LogName, Position, Record};
use http::StatusCode;

use super::logs::page_of;
use super::records::{Header, bytes, record_page};
use crate::asked::{Door, Named, freshest};
use crate::backend::Backend;
use crate::bodies;
use crate::bodies::{Form, Shown};
use crate::error;
use crate::format;
use crate::frame::{self, Frame, Notice, Section};

/// Bytes of a body that are shown as text.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body that are shown as hex, which takes five times the room.
const HEX_BYTES_MAX: usize = 8 << 10;

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    notice: Option<Notice>,
    name: String,
    log_path: String,
    position: String,
    exact: String,
    time: String,
    size: String,
    headers: Vec<Header>,
    forms: Vec<Part>,
    older: Option<String>,
    newer: Option<String>,
    download: String,
    command: String,
    url: String,
}

/// The body in one form.
struct Part {
    title: &'static str,
    id: &'static str,
    shown: Shown,
    is_open: bool,
}

/// The page.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    Named(log): Named,
    Path((_, position)): Path<(String, String)>,
    door: Door,
) -> Response {
    let Ok(position) = position.parse::<Position>() else {
        return error::not_found(&backend).await;
    };
    let query = ReadQuery { limit: Some(1), ..ReadQuery::from(ReadFrom::Position(position)) };
    let read =
        freshest(|consistency| backend.read(log.clone(), ReadQuery { consistency, ..query }));
    let (answer, stale) = match read.await {
        Ok(read) => (read.answer, read.stale),
        Err(problem) => return error::of_problem(&backend, &problem).await,
    };
    let Some(RecordJson(record)) = answer.records.first() else {
        let detail = format!("the tail of {log} is {}: nothing is at {position} yet", answer.tail);
        let problem = Problem::new(ErrorCode::BeyondTail).with_detail(detail);
        return error::of_problem(&backend, &problem).await;
    };
    let frame = Frame::now_or_unknown(&backend, Section::Logs).await;
    let notice = stale.as_deref().map(Notice::stale);
    frame::page(StatusCode::OK, &page(frame, notice, &log, &answer, record, &door))
}

fn page(
    frame: Frame,
    notice: Option<Notice>,
    log: &LogName,
    answer: &ReadAnswer,
    record: &Record,
    door: &Door,
) -> RecordPage {
    let (position, next) = (record.position, record.position.advance(1));
    let older = (position > answer.first).then(|| Position::new(position.get() - 1));
    let newer = (next < answer.tail).then_some(next);
    RecordPage {
        frame,
        notice,
        name: log.to_string(),
        log_path: page_of(log),
        position: format::count(position.get()),
        exact: position.to_string(),
        time: format::time(record.time),
        size: format::size(bytes(record.body.len())),
        headers: Header::all(record, 2_000),
        forms: parts(&record.body),
        older: older.map(|older| record_page(log, older)),
        newer: newer.map(|newer| record_page(log, newer)),
        download: paths::record(log, position),
        command: door.command(),
        url: door.url(),
    }
}

/// The body in every form that it has; the one that says most is open.
fn parts(body: &[u8]) -> Vec<Part> {
    let json = bodies::json(body, TEXT_BYTES_MAX);
    let text = bodies::text(body, TEXT_BYTES_MAX);
    let part = |title, id, shown, is_open| Part { title, id, shown, is_open };
    let (has_json, has_text) = (json.is_some(), text.is_some());
    let mut parts = Vec::with_capacity(4);
    parts.extend(json.map(|json| part("JSON", "json", json, true)));
    parts.extend(text.map(|text| part("Text", "text", text, !has_json)));
    parts.push(part("Hex and ASCII", "hex", bodies::hex_dump(body, HEX_BYTES_MAX), !has_text));
    parts.push(part("Base64", "base64", bodies::shown(body, Form::Base64, TEXT_BYTES_MAX), false));
    parts
}
