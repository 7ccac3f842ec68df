//! An act as a row of a table: when, what, what it is about, who. Part of several pages.
//!
//! Who did it, and why a check was overridden, is told as they said it: visible, and never more than text.
//!
//! Not here: the page of all acts (`activity`).

use client::api::activity::{Act, Activity};
use client::api::logs::{Settings, SettingsPatch};
use client::types::{ChangeId, LogName};

use super::logs::page_of;
use super::wish;
use crate::format;
use crate::grade::Grade;
use crate::replica::or_nothing;

/// An act.
#[derive(Debug)]
pub(crate) struct ActRow {
    pub(crate) position: String,
    pub(crate) at: String,
    pub(crate) by: String,
    pub(crate) from: String,
    /// How it went, if it is the end of something.
    pub(crate) grade: Option<Grade>,
    pub(crate) what: String,
    /// What more there is to know: settings, overrides and their reasons, an outcome.
    pub(crate) remarks: Vec<String>,
    /// The page of what it is about.
    pub(crate) about: Option<About>,
}

/// Where something is shown.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl About {
    fn log(log: &LogName) -> Self {
        Self { path: page_of(log), text: format!("log {log}") }
    }

    fn change(change: ChangeId) -> Self {
        Self { path: format!("/changes/{change}"), text: format!("change {change}") }
    }
}

impl From<&Activity> for ActRow {
    fn from(activity: &Activity) -> Self {
        let from = activity.from.as_deref().map(format::visible);
        Self {
            position: activity.position.to_string(),
            at: format::moment(activity.time),
            by: format::visible(&activity.by),
            from: or_nothing(from.filter(|from| !from.is_empty())),
            grade: grade(&activity.act),
            what: words(&activity.act),
            remarks: remarks(&activity.act),
            about: about(&activity.act),
        }
    }
}

fn grade(act: &Act) -> Option<Grade> {
    let Act::ChangeEnded { is_done, .. } = act else { return None };
    Some(if *is_done { Grade::Ok } else { Grade::Warn })
}

fn words(act: &Act) -> String {
    let records = |number: &u64| format::counted(*number, "record", "records");
    let words = match act {
        Act::LogTrimmed { log, first, records: gone, .. } => {
            let (first, gone) = (format::count(first.get()), records(gone));
            format!("trimmed log {log} to {first}: {gone} dropped")
        }
        Act::LogSealed { log, tail, .. } => {
            format!("sealed log {log} at {}", format::count(tail.get()))
        }
        Act::LogDeleted { log, records: gone, .. } => {
            format!("deleted log {log} with {}", records(gone))
        }
        Act::ChangeBegun { change, wish, overrides: _ } => {
            format!("began change {change}: {}", wish::in_words(wish))
        }
        Act::ChangeEnded { change, is_done, outcome: _, took_ms } => {
            let how = if *is_done { "done" } else { "given up" };
            format!("change {change} {how} after {}", format::age(*took_ms))
        }
        Act::Founded { .. }
        | Act::LogCreated { .. }
        | Act::SettingsChanged { .. }
        | Act::CheckpointMade { .. }
        | Act::CheckpointReleased { .. }
        | Act::ReplicaAdmitted { .. }
        | Act::ChangeCancelled { .. } => act.to_string(),
    };
    format::visible(&words)
}

fn remarks(act: &Act) -> Vec<String> {
    let remarks: Vec<String> = match act {
        Act::LogCreated { settings, .. } => made(settings),
        Act::SettingsChanged { change, .. } => changed(change),
        Act::ChangeBegun { overrides, .. } => {
            let overridden = overrides.iter();
            overridden
                .map(|one| format!("overrode {}, typed {}: {}", one.check, one.typed, one.reason))
                .collect()
        }
        Act::ChangeEnded { outcome, .. } => outcome.iter().cloned().collect(),
        Act::Founded { .. }
        | Act::LogTrimmed { .. }
        | Act::LogSealed { .. }
        | Act::LogDeleted { .. }
        | Act::CheckpointMade { .. }
        | Act::CheckpointReleased { .. }
        | Act::ReplicaAdmitted { .. }
        | Act::ChangeCancelled { .. } => Vec::new(),
    };
    remarks.iter().map(|remark| format::visible(remark)).collect()
}

/// The settings that a log was made with.
fn made(settings: &Settings) -> Vec<String> {
    changed(&SettingsPatch {
        retention_age_ms: settings.retention_age_ms.map(Some),
        retention_bytes: settings.retention_bytes.map(Some),
        content_type: settings.content_type.clone().map(Some),
        record_bytes_max: settings.record_bytes_max.map(Some),
        ttl_ms: settings.ttl_ms.map(Some),
        expires_at: settings.expires_at.map(Some),
    })
}

/// What became of settings, in the words of their forms.
fn changed(change: &SettingsPatch) -> Vec<String> {
    let told = [
        ("kept for", change.retention_age_ms.map(|age| age.map(format::span))),
        ("kept up to", change.retention_bytes.map(|bytes| bytes.map(format::exact_size))),
        ("content type", change.content_type.clone()),
        ("longest record", change.record_bytes_max.map(|bytes| bytes.map(format::exact_size))),
        ("deleted when unused for", change.ttl_ms.map(|ttl| ttl.map(format::span))),
        ("deleted at", change.expires_at.map(|time| time.map(format::time))),
    ];
    let told = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
    told.map(|(name, value)| {
        format!("{name}: {}", value.unwrap_or_else(|| "not set any more".to_owned()))
    })
    .collect()
}

fn about(act: &Act) -> Option<About> {
    match act {
        Act::LogCreated { log, .. }
        | Act::SettingsChanged { log, .. }
        | Act::LogTrimmed { log, .. }
        | Act::LogSealed { log, .. } => Some(About::log(log)),
        Act::CheckpointMade { checkpoint, .. } | Act::CheckpointReleased { checkpoint } => {
            let text = format!("checkpoint {}", format::count(checkpoint.get()));
            Some(About { path: "/checkpoints".to_owned(), text })
        }
        Act::ReplicaAdmitted { replica, .. } => {
            let path = format!("/replicas/{replica}");
            Some(About { path, text: format!("replica {replica}") })
        }
        Act::ChangeBegun { change, .. }
        | Act::ChangeCancelled { change }
        | Act::ChangeEnded { change, .. } => Some(About::change(*change)),
        // It is gone, and another log of that name would be another one.
        Act::LogDeleted { .. } | Act::Founded { .. } => None,
    }
}
