//! Records of a log: by position, by time, the first and the last ones; and as they come.
//!
//! A page holds so many records from a position on, so its address shows the same ones for ever, until
//! they are trimmed. Bodies and headers are shown as text and never act.
//!
//! Not here: one record (`record`), and following without reloading (`follow`).

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use client::api::error::{ErrorCode, Problem};
use client::api::logs::LogDescription;
use client::api::reading::{ReadFrom, ReadQuery};
use client::api::records::{ReadAnswer, RecordJson};
use client::types::{LogName, Position, Record, Timestamp};
use http::StatusCode;
use serde::Deserialize;

use super::logs::{Extent, page_of};
use super::search::search;
use crate::asked::{Door, Named, Query, Seen, freshest};
use crate::backend::Backend;
use crate::bodies;
use crate::bodies::{Form, Shown};
use crate::error;
use crate::fields::query;
use crate::format;
use crate::frame::{self, Frame, Notice, Section};

/// Records on one page.
const PAGE: u64 = 50;
/// Bytes of records on one page, and at least one record.
const PAGE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of one body that a list shows.
const SHOWN_BYTES_MAX: usize = 600;
/// Headers of one record that a list shows.
const SHOWN_HEADERS_MAX: usize = 4;

#[derive(Template)]
#[template(path = "records.html")]
struct Records {
    frame: Frame,
    notice: Option<Notice>,
    log: LogView,
    rows: Vec<Row>,
    forms: Vec<FormLink>,
    form: &'static str,
    older: Option<String>,
    newer: Option<String>,
    following: Option<Following>,
    searched: Option<Searched>,
    words: String,
    command: String,
    url: String,
}

/// What the head of the page says of the log.
struct LogView {
    name: String,
    path: String,
    extent: Extent,
    is_sealed: bool,
    is_empty: bool,
}

impl From<&LogDescription> for LogView {
    fn from(log: &LogDescription) -> Self {
        Self {
            name: log.log.to_string(),
            path: page_of(&log.log),
            extent: Extent::of(log.first, log.tail, log.bytes),
            is_sealed: log.sealed,
            is_empty: log.first == log.tail,
        }
    }
}

/// A page that shows the newest records, again and again.
struct Following {
    /// The first record here, and where the next ones begin.
    first: String,
    next: String,
    /// Records that came and were not shown, as far as the addresses of the pages before tell.
    skipped: u64,
    skipped_shown: String,
    /// The same records, to stay.
    pause: String,
    /// The page that looks again, for a browser without script.
    again: String,
}

impl Following {
    /// What the page before has shown is in the address.
    fn new(asked: &Asked, path: &str, answer: Option<&ReadAnswer>) -> Self {
        let next = answer.map_or(Position::ZERO, |answer| answer.next);
        let first = answer.and_then(|answer| answer.records.first());
        let first = first.map_or(next, |RecordJson(record)| record.position);
        let gap = asked.seen.map_or(0, |seen| first.get().saturating_sub(seen));
        let skipped = asked.skipped.unwrap_or(0).saturating_add(gap);
        let show = asked.form().name();
        Self {
            first: first.to_string(),
            next: next.to_string(),
            skipped,
            skipped_shown: format::count(skipped),
            pause: asked.from(path, first),
            again: format!("{path}?follow=1&show={show}&seen={next}&skipped={skipped}"),
        }
    }
}

/// Where was looked for words, and where to go on.
struct Searched {
    from: String,
    until: String,
    /// The page that goes on, unless the log begins there.
    on: Option<String>,
}

/// Another form to show the same records in.
struct FormLink {
    name: &'static str,
    path: String,
    is_shown: bool,
}

/// A record in a list.
pub(super) struct Row {
    pub(super) position: String,
    pub(super) exact: String,
    pub(super) path: String,
    pub(super) time: String,
    pub(super) size: String,
    pub(super) headers: Vec<Header>,
    pub(super) more_headers: usize,
    pub(super) body: Shown,
}

/// A header of a record.
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: String,
}

impl Header {
    /// All headers of a record.
    pub(super) fn all(record: &Record, bytes_max: usize) -> Vec<Self> {
        let header = |(name, value): (&str, &[u8])| {
            let shown = bodies::shown(value, Form::Auto, bytes_max);
            let more = shown.rest().map_or_else(String::new, |rest| format!(" … {rest}"));
            Self { name: format::visible(name), value: format::visible(&shown.text) + &more }
        };
        record.headers.iter().map(header).collect()
    }
}

impl Row {
    /// A record of this log in this form.
    pub(super) fn new(log: &LogName, record: &Record, form: Form) -> Self {
        let mut headers = Header::all(record, 120);
        let more_headers = headers.len().saturating_sub(SHOWN_HEADERS_MAX);
        headers.truncate(SHOWN_HEADERS_MAX);
        Self {
            position: format::count(record.position.get()),
            exact: record.position.to_string(),
            path: record_page(log, record.position),
            time: format::time(record.time),
            size: format::size(bytes(record.body.len())),
            headers,
            more_headers,
            body: bodies::shown(&record.body, form, SHOWN_BYTES_MAX),
        }
    }
}

/// The permanent link of a record.
pub(super) fn record_page(log: &LogName, position: Position) -> String {
    format!("{}/{position}", page_of(log))
}

pub(super) fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// What the page is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    from: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    show: String,
    #[serde(default)]
    follow: String,
    /// Of a page that follows: what the one before it had shown, and had skipped.
    #[serde(default)]
    seen: Option<u64>,
    #[serde(default)]
    skipped: Option<u64>,
    /// Words to be looked for, and before which position.
    #[serde(default)]
    contains: String,
    #[serde(default)]
    until: Option<u64>,
}

impl Asked {
    /// Where to begin: at the last ones, unless something else is said.
    fn start(&self) -> Result<ReadFrom, Box<Problem>> {
        let wrong = |name: &str, text: &str, meant: &str| {
            let detail = format!("{name}: {text:?} is not understood; {meant}");
            Box::new(Problem::new(ErrorCode::InvalidParameter).with_detail(detail))
        };
        let time = self.time.trim();
        if !time.is_empty() {
            let time = moment(time).map(ReadFrom::Time);
            return time
                .ok_or_else(|| wrong("time", &self.time, "such as 2026-11-23 11:58, in UTC"));
        }
        let from: String = self.from.chars().filter(|letter| !letter.is_whitespace()).collect();
        if from.is_empty() || self.is_following() {
            return Ok(ReadFrom::Last(PAGE));
        }
        let meant = "a position, -N for the last N, first, tail or a time";
        from.parse().map_err(|_| wrong("from", &self.from, meant))
    }

    fn is_following(&self) -> bool {
        !self.follow.is_empty()
    }

    /// The address of a page that begins there, in the same form.
    fn from(&self, path: &str, from: impl std::fmt::Display) -> String {
        let form = self.form();
        if form == Form::Auto {
            return format!("{path}?from={from}");
        }
        format!("{path}?from={from}&show={}", form.name())
    }

    fn form(&self) -> Form {
        Form::named(&self.show)
    }
}

/// A moment as somebody types it, or a browser sends it, in UTC unless it says otherwise.
fn moment(text: &str) -> Option<Timestamp> {
    let text = text.replacen(' ', "T", 1);
    let tries =
        [text.clone(), format!("{text}Z"), format!("{text}:00Z"), format!("{text}T00:00:00Z")];
    tries.iter().find_map(|text| text.parse().ok())
}

/// The page.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    Named(name): Named,
    door: Door,
    Query(asked): Query<Asked>,
) -> Response {
    let found = match freshest(|consistency| backend.log(name.clone(), consistency)).await {
        Ok(found) => found,
        Err(problem) => return error::of_problem(&backend, &problem).await,
    };
    if !asked.contains.is_empty() && !asked.is_following() {
        return searched(&backend, &found, &asked, &door).await;
    }
    let read = match asked.start() {
        Ok(from) => {
            let query = ReadQuery {
                limit: Some(PAGE),
                max_bytes: Some(PAGE_BYTES_MAX),
                ..ReadQuery::from(from)
            };
            freshest(|consistency| backend.read(name.clone(), ReadQuery { consistency, ..query }))
                .await
        }
        Err(problem) => Err(problem),
    };
    let frame = Frame::now_or_unknown(&backend, Section::Logs).await;
    let (answer, problem) = match read {
        Ok(read) => (Some(read.answer), None),
        Err(problem) => (None, Some(problem)),
    };
    let notice = match (&problem, &found.stale) {
        (Some(problem), _) => Some(elsewhere(problem, &asked, &name)),
        (None, Some(stale)) => Some(Notice::stale(stale)),
        (None, None) => None,
    };
    let page = page(frame, notice, &found.answer, answer.as_ref(), &asked, &door);
    frame::page(error::status(problem.as_deref()), &page)
}

/// The page of what contains the words.
async fn searched<B: Backend>(
    backend: &B,
    log: &Seen<LogDescription>,
    asked: &Asked,
    door: &Door,
) -> Response {
    let Seen { answer: log, stale } = log;
    let until = asked.until.map(Position::new);
    let found = match search(backend, log, &asked.contains, until).await {
        Ok(found) => found,
        Err(problem) => return error::of_problem(backend, &problem).await,
    };
    let frame = Frame::now_or_unknown(backend, Section::Logs).await;
    let notice = stale.as_deref().map(Notice::stale);
    let mut page = page(frame, notice, log, None, asked, door);
    let (path, form) = (page_of(&log.log), asked.form());
    let at = |form: Form, until: String| {
        let fields =
            [("contains", asked.contains.as_str()), ("until", &until), ("show", form.name())];
        format!("{path}?{}", query(fields))
    };
    for link in &mut page.forms {
        link.path = at(Form::named(link.name), found.until.to_string());
    }
    page.rows = found.records.iter().map(|record| Row::new(&log.log, record, form)).collect();
    page.searched = Some(Searched {
        from: format::count(found.from.get()),
        until: format::count(found.until.get()),
        on: (found.from > found.first).then(|| at(form, found.from.to_string())),
    });
    frame::page(StatusCode::OK, &page)
}

/// What was refused, with the way to what is there.
fn elsewhere(problem: &Problem, asked: &Asked, log: &LogName) -> Notice {
    let notice = Notice::refused(problem);
    let path = page_of(log);
    match (problem.code, problem.actual.first) {
        (ErrorCode::Trimmed, Some(first)) => {
            let text = format!("From {}, the first that is there", format::count(first.get()));
            notice.leading(asked.from(&path, first), text)
        }
        (ErrorCode::BeyondTail, _) => {
            notice.leading(asked.from(&path, format_args!("-{PAGE}")), format!("The last {PAGE}"))
        }
        _ => notice,
    }
}

fn page(
    frame: Frame,
    notice: Option<Notice>,
    log: &LogDescription,
    answer: Option<&ReadAnswer>,
    asked: &Asked,
    door: &Door,
) -> Records {
    let (path, form) = (page_of(&log.log), asked.form());
    let records = answer.map_or(&[][..], |answer| &answer.records);
    let from = records.first().map(|RecordJson(record)| record.position);
    let older = from.filter(|from| answer.is_some_and(|answer| *from > answer.first)).map(|from| {
        let back =
            from.get().saturating_sub(PAGE).max(answer.map_or(0, |answer| answer.first.get()));
        asked.from(&path, back)
    });
    let newer = answer
        .filter(|answer| !answer.records.is_empty() && answer.next < answer.tail)
        .map(|answer| asked.from(&path, answer.next));
    let following = asked.is_following().then(|| Following::new(asked, &path, answer));
    let here = from.map_or_else(|| format!("-{PAGE}"), |from| from.to_string());
    let forms = Form::ALL.into_iter().map(|other| FormLink {
        name: other.name(),
        path: format!("{path}?from={here}&show={}", other.name()),
        is_shown: other == form,
    });
    let row = |RecordJson(record): &RecordJson| Row::new(&log.log, record, form);
    let mut rows: Vec<Row> = records.iter().map(row).collect();
    if following.is_some() {
        // What came last is what one waits for.
        rows.reverse();
    }
    Records {
        frame,
        notice,
        log: LogView::from(log),
        rows,
        forms: forms.collect(),
        form: form.name(),
        older: older.filter(|_| following.is_none()),
        newer: newer.filter(|_| following.is_none()),
        following,
        searched: None,
        words: format::visible(&asked.contains),
        command: door.command(),
        url: door.url(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_understood_as_people_and_browsers_write_it() {
        let expected = "2026-11-23T11:58:00Z".parse().ok();
        for text in [
            "2026-11-23T11:58",
            "2026-11-23 11:58",
            "2026-11-23T11:58:00",
            "2026-11-23T12:58:00+01:00",
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
        assert_eq!(moment("2026-11-23"), "2026-11-23T00:00:00Z".parse().ok());
        assert_eq!(moment("yesterday"), None);
    }
}
