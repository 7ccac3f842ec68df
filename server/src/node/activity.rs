//! Who did what, when, and what came of it: the log `_activity`, newest first.
//!
//! Not here: what becomes a record of it (`machine`).

use client::api::activity::{Act, Activity, ActivityList, ActivityQuery};
use client::api::changes::Override;
use client::api::logs::{Settings, SettingsPatch};
use client::api::plans::Wish;
use client::api::reading::{Consistency, ReadFrom};
use client::types::{
    ChangeId, CheckpointLabel, ClusterId, EntryIndex, LogId, LogName, Position, Record, ReplicaId,
    Timestamp,
};
use migrations::latest::activity::{ACTIVITY_LOG, ActRow, ActivityRow};
use migrations::latest::values::{SettingsChangeRow, SettingsRow};
use tracing::error;

use super::change::override_of;
use super::error::ReadError;
use super::read::Seen;
use super::{LogTarget, Node, ReadRequest, Start};

/// Most acts of one answer.
const PAGE_MAX: u32 = 1_000;
/// Records that are read at once.
const STRETCH: u64 = 256;
/// Records that are looked at for one answer, however few of them are of the kind that is asked for.
const LOOKED_AT_MAX: u64 = 16_384;

impl Node {
    /// What was done, newest first.
    pub async fn activity(&self, query: ActivityQuery) -> Result<Seen<ActivityList>, ReadError> {
        self.be_fresh(query.consistency).await?;
        let max = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let name = LogName::new(ACTIVITY_LOG).expect("the name of the log is one");
        let mut list = ActivityList::default();
        if let Some(view) = self.core.state.view(&name) {
            let mut until = query.before.map_or(view.tail, |before| before.min(view.tail));
            let least = until.get().saturating_sub(LOOKED_AT_MAX).max(view.trim.get());
            while until.get() > least && list.activity.len() < max {
                let from = Position::new(until.get().saturating_sub(STRETCH).max(least));
                for record in self.stretch(&name, from, until).await?.iter().rev() {
                    if list.activity.len() == max {
                        break;
                    }
                    until = record.position;
                    let told = told(record);
                    let is_wanted =
                        |one: &Activity| query.kind.is_none_or(|kind| one.act.kind() == kind);
                    list.activity.extend(told.filter(is_wanted));
                }
            }
            list.next = Some(until).filter(|until| *until > view.trim);
        }
        Ok(Seen { answer: list, as_of: self.as_of() })
    }

    /// The records from one position until another, which lie in the log.
    async fn stretch(
        &self,
        name: &LogName,
        from: Position,
        until: Position,
    ) -> Result<Vec<Record>, ReadError> {
        let (mut records, mut next) = (Vec::new(), from);
        while next < until {
            let request = ReadRequest {
                log: LogTarget { name: name.clone(), id: None },
                start: Start::From(ReadFrom::Position(next)),
                records_max: Some(until.since(next)),
                bytes_max: None,
                consistency: Consistency::Local,
                wait: None,
            };
            let page = self.read(request).await?;
            next = page.next;
            records.extend(page.records);
        }
        Ok(records)
    }
}

/// An act in the contract's words; none of a later version that nobody here can read.
fn told(record: &Record) -> Option<Activity> {
    let row = ActivityRow::decode(&record.body).ok();
    let activity = row.and_then(|ActivityRow { by, from, act }| {
        Some(Activity {
            position: record.position,
            time: record.time,
            by,
            from: Some(from).filter(|from| !from.is_empty()),
            act: act_of(act)?,
        })
    });
    if activity.is_none() {
        error!(position = %record.position, "a record of the activity cannot be read");
    }
    activity
}

fn act_of(row: ActRow) -> Option<Act> {
    let log = |log: u64, name: &str| Some((LogName::new(name).ok()?, LogId::new(log)));
    Some(match row {
        ActRow::Founded { cluster, generation } => {
            Act::Founded { cluster: ClusterId::new(cluster), generation }
        }
        ActRow::LogCreated { log: id, name, settings } => {
            let (log, log_id) = log(id, &name)?;
            Act::LogCreated { log, log_id, settings: settings_of(settings) }
        }
        ActRow::SettingsChanged { log: id, name, change } => {
            let (log, log_id) = log(id, &name)?;
            Act::SettingsChanged { log, log_id, change: patch_of(change) }
        }
        ActRow::LogTrimmed { log: id, name, first, records } => {
            let (log, log_id) = log(id, &name)?;
            Act::LogTrimmed { log, log_id, first: Position::new(first), records }
        }
        ActRow::LogSealed { log: id, name, tail } => {
            let (log, log_id) = log(id, &name)?;
            Act::LogSealed { log, log_id, tail: Position::new(tail) }
        }
        ActRow::LogDeleted { log: id, name, records } => {
            let (log, log_id) = log(id, &name)?;
            Act::LogDeleted { log, log_id, records }
        }
        ActRow::CheckpointMade { checkpoint, label } => Act::CheckpointMade {
            checkpoint: EntryIndex::new(checkpoint),
            label: label.map(|label| CheckpointLabel::new(&label)).transpose().ok()?,
        },
        ActRow::CheckpointReleased { checkpoint } => {
            Act::CheckpointReleased { checkpoint: EntryIndex::new(checkpoint) }
        }
        ActRow::ReplicaAdmitted { replica, addr } => {
            Act::ReplicaAdmitted { replica: ReplicaId::new(replica)?, addr }
        }
        ActRow::ChangeBegun { change, wish, overrides } => Act::ChangeBegun {
            change: ChangeId::new(change),
            wish: serde_json::from_str::<Wish>(&wish).ok()?,
            overrides: overrides.iter().filter_map(override_of).collect::<Vec<Override>>(),
        },
        ActRow::ChangeCancelled { change } => {
            Act::ChangeCancelled { change: ChangeId::new(change) }
        }
        ActRow::ChangeEnded { change, is_done, outcome, took_ms } => Act::ChangeEnded {
            change: ChangeId::new(change),
            is_done,
            outcome: Some(outcome).filter(|outcome| !outcome.is_empty()),
            took_ms,
        },
    })
}

fn settings_of(row: SettingsRow) -> Settings {
    Settings {
        retention_age_ms: row.retention_age_ms,
        retention_bytes: row.retention_bytes,
        content_type: row.content_type,
        record_bytes_max: row.record_bytes_max,
        ttl_ms: row.ttl_ms,
        expires_at: row.expires_at.map(Timestamp::new),
    }
}

fn patch_of(row: SettingsChangeRow) -> SettingsPatch {
    SettingsPatch {
        retention_age_ms: row.retention_age_ms,
        retention_bytes: row.retention_bytes,
        content_type: row.content_type,
        record_bytes_max: row.record_bytes_max,
        ttl_ms: row.ttl_ms,
        expires_at: row.expires_at.map(|time| time.map(Timestamp::new)),
    }
}
