//! One log as a whole: its settings, and what ends records or the log itself.
//!
//! Whatever drops records is shown before it is done, in its own words and numbers, and bound to the
//! very log that was shown: a log of the same name that was made since is not touched. To delete, its
//! name has to be typed.
//!
//! Not here: its records (`records`).

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use client::api::error::{ErrorCode, Problem};
use client::api::logs::{Dropped, EffectQuery, LogDescription, Settings, SettingsPatch};
use client::types::{LogName, Position};
use serde::Deserialize;

use super::logs::{Extent, SentSettings, page_of};
use crate::asked::{Door, Named, Query, Sent, freshest, log_id};
use crate::backend::{Backend, LogTarget};
use crate::error;
use crate::format;
use crate::frame::{self, Frame, Notice, Section};
use crate::grade::Grade;
use crate::viewer::OnBehalf;

#[derive(Template)]
#[template(path = "log_settings.html")]
struct LogSettings {
    frame: Frame,
    notice: Option<Notice>,
    log: Facts,
    sent: SentSettings,
    trim: Trim,
    command: String,
    url: String,
}

/// What a log is like.
struct Facts {
    name: String,
    path: String,
    id: String,
    extent: Extent,
    created: String,
    last: Option<String>,
    root: String,
    fence: Option<String>,
    ends: Option<String>,
    is_sealed: bool,
    /// The same positions, to be typed again.
    first_exact: String,
    tail_exact: String,
}

impl From<&LogDescription> for Facts {
    fn from(log: &LogDescription) -> Self {
        Self {
            name: log.log.to_string(),
            path: page_of(&log.log),
            id: log.log_id.to_string(),
            extent: Extent::of(log.first, log.tail, log.bytes),
            created: format::time(log.created),
            last: log.last_time.map(format::time),
            root: log.root.to_string(),
            fence: log.fence.as_ref().map(|fence| format::visible(fence.as_str())),
            ends: ends(&log.settings),
            is_sealed: log.sealed,
            first_exact: log.first.to_string(),
            tail_exact: log.tail.to_string(),
        }
    }
}

/// When a log is deleted by itself, in words.
fn ends(settings: &Settings) -> Option<String> {
    let idle = settings.ttl_ms.map(|ttl| format!("when unused for {}", format::span(ttl)));
    let fixed = settings.expires_at.map(|time| format!("at {}", format::time(time)));
    let told: Vec<String> = idle.into_iter().chain(fixed).collect();
    (!told.is_empty()).then(|| told.join(", or "))
}

/// A trim that is thought about.
#[derive(Default)]
struct Trim {
    to: String,
    effect: Option<Effect>,
}

/// What a trim would do.
struct Effect {
    records: String,
    size: String,
    first: String,
}

impl From<&Dropped> for Effect {
    fn from(dropped: &Dropped) -> Self {
        Self {
            records: format::count(dropped.records),
            size: format::size(dropped.bytes),
            first: format::count(dropped.first.get()),
        }
    }
}

/// What the page is asked to show besides the log.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    trim_to: String,
    #[serde(default)]
    done: String,
}

/// The page.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    Named(log): Named,
    door: Door,
    Query(asked): Query<Asked>,
) -> Response {
    let notice = match asked.done.as_str() {
        "set" => Some(Notice::new(Grade::Ok, "The settings are changed", "")),
        "trimmed" => Some(Notice::new(Grade::Ok, "Trimmed", "What lay before is gone for good.")),
        "sealed" => Some(Notice::new(Grade::Ok, "Sealed", "It takes no more records, ever.")),
        _ => None,
    };
    page(&backend, log, &door, Shown { notice, trim_to: asked.trim_to, ..Shown::default() }).await
}

/// What a page shows besides the log.
#[derive(Default)]
struct Shown {
    notice: Option<Notice>,
    problem: Option<Box<Problem>>,
    trim_to: String,
    sent: Option<SentSettings>,
}

async fn page<B: Backend>(backend: &B, name: LogName, door: &Door, shown: Shown) -> Response {
    let found = freshest(|consistency| backend.log(name.clone(), consistency)).await;
    let found = match found {
        Ok(found) => found,
        // What was refused says more than that the log is not there.
        Err(problem) => {
            return error::of_problem(backend, shown.problem.as_deref().unwrap_or(&problem)).await;
        }
    };
    let log = found.answer;
    let mut problem = shown.problem;
    let mut trim = Trim { to: format::visible(&shown.trim_to), effect: None };
    if !shown.trim_to.is_empty() && problem.is_none() {
        match preview(backend, &log, &shown.trim_to).await {
            Ok(dropped) => trim.effect = Some(Effect::from(&dropped)),
            Err(refused) => problem = Some(refused),
        }
    }
    let stale = || found.stale.as_deref().map(Notice::stale);
    let refused = || problem.as_deref().map(Notice::refused);
    let page = LogSettings {
        frame: Frame::now_or_unknown(backend, Section::Logs).await,
        notice: shown.notice.or_else(refused).or_else(stale),
        log: Facts::from(&log),
        sent: shown.sent.unwrap_or_else(|| SentSettings::of(&log)),
        trim,
        command: door.command(),
        url: door.url(),
    };
    frame::page(error::status(problem.as_deref()), &page)
}

async fn preview<B: Backend>(
    backend: &B,
    log: &LogDescription,
    to: &str,
) -> Result<Dropped, Box<Problem>> {
    let target = LogTarget { name: log.log.clone(), id: Some(log.log_id) };
    let effect = EffectQuery { dry_run: true };
    backend.trim(target, position(to)?, effect).await.map_err(Box::new)
}

/// A position as somebody types it: also as the pages show it, in groups.
fn position(text: &str) -> Result<Position, Box<Problem>> {
    let digits: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    digits.parse().map_err(|_| {
        let detail = format!("{text:?} is no position");
        Box::new(Problem::new(ErrorCode::InvalidParameter).with_detail(detail))
    })
}

impl SentSettings {
    /// The fields as they are set.
    fn of(log: &LogDescription) -> Self {
        let settings = &log.settings;
        Self {
            name: log.log.to_string(),
            log_id: log.log_id.to_string(),
            retention_age: settings.retention_age_ms.map(format::span).unwrap_or_default(),
            retention_bytes: settings.retention_bytes.map(format::exact_size).unwrap_or_default(),
            content_type: settings.content_type.clone().unwrap_or_default(),
            record_bytes_max: settings.record_bytes_max.map(format::exact_size).unwrap_or_default(),
        }
    }
}

/// Changes the settings to what was typed: what was left empty is no longer set.
pub(crate) async fn change<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    Named(log): Named,
    door: Door,
    Sent(sent): Sent<SentSettings>,
) -> Response {
    let target = LogTarget { name: log.clone(), id: log_id(&sent.log_id) };
    let changed = match sent.settings() {
        Ok(settings) => {
            let patch = SettingsPatch {
                retention_age_ms: Some(settings.retention_age_ms),
                retention_bytes: Some(settings.retention_bytes),
                content_type: Some(settings.content_type),
                record_bytes_max: Some(settings.record_bytes_max),
                ..SettingsPatch::default()
            };
            backend.change_settings(target, patch).await.map_err(Box::new)
        }
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => done(&log, "set"),
        Err(problem) => {
            let shown = Shown { problem: Some(problem), sent: Some(sent), ..Shown::default() };
            page(&backend, log, &door, shown).await
        }
    }
}

/// The fields of a form that ends something.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SentEnd {
    #[serde(default)]
    log_id: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    typed: String,
}

/// Drops records.
pub(crate) async fn trim<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    Named(log): Named,
    door: Door,
    Sent(sent): Sent<SentEnd>,
) -> Response {
    let target = LogTarget { name: log.clone(), id: log_id(&sent.log_id) };
    let trimmed = match position(&sent.to) {
        Ok(to) => backend.trim(target, to, EffectQuery { dry_run: false }).await.map_err(Box::new),
        Err(problem) => Err(problem),
    };
    match trimmed {
        Ok(_) => done(&log, "trimmed"),
        Err(problem) => {
            let shown = Shown { problem: Some(problem), trim_to: sent.to, ..Shown::default() };
            page(&backend, log, &door, shown).await
        }
    }
}

/// Ends the log.
pub(crate) async fn seal<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    Named(log): Named,
    door: Door,
    Sent(sent): Sent<SentEnd>,
) -> Response {
    let target = LogTarget { name: log.clone(), id: log_id(&sent.log_id) };
    match backend.seal(target).await {
        Ok(_) => done(&log, "sealed"),
        Err(problem) => refuse(&backend, log, &door, problem).await,
    }
}

/// Deletes the log, if its name was typed.
pub(crate) async fn delete<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    Named(log): Named,
    door: Door,
    Sent(sent): Sent<SentEnd>,
) -> Response {
    if sent.typed.trim() != log.as_str() {
        let detail = format!("to delete it, type its name: {log}");
        let problem = Problem::new(ErrorCode::InvalidParameter).with_detail(detail);
        return refuse(&backend, log, &door, problem).await;
    }
    let target = LogTarget { name: log.clone(), id: log_id(&sent.log_id) };
    match backend.delete_log(target).await {
        Ok(dropped) => {
            Redirect::to(&format!("/logs?deleted={}", part_of(&dropped.log))).into_response()
        }
        Err(problem) => refuse(&backend, log, &door, problem).await,
    }
}

async fn refuse<B: Backend>(backend: &B, log: LogName, door: &Door, problem: Problem) -> Response {
    let shown = Shown { problem: Some(Box::new(problem)), ..Shown::default() };
    page(backend, log, door, shown).await
}

fn done(log: &LogName, what: &str) -> Response {
    Redirect::to(&format!("{}/settings?done={what}", page_of(log))).into_response()
}

/// A log's name as a part of an address.
fn part_of(log: &LogName) -> String {
    let path = page_of(log);
    path.rsplit_once('/').map_or_else(String::new, |(_, part)| part.to_owned())
}
