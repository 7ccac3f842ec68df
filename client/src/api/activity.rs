//! Who did what, when, and what came of it: kept for ever, in a log of the service itself.
//!
//! An act becomes a record of the log `_activity` together with what it does, on every replica; so none is missing and
//! none is told that did not happen. What was refused, and what was so already, is none. The log can be read and followed
//! as any other; nobody can change it.
//!
//! Not here: changes of the membership as they go (`changes`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::changes::Override;
use super::logs::{Settings, SettingsPatch};
use super::plans::Wish;
use super::reading::Consistency;
use super::text;
use crate::types::{
    ChangeId, CheckpointLabel, ClusterId, EntryIndex, LogId, LogName, Position, ReplicaId,
    Timestamp,
};

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Activity {
    /// Its position in the log of activity.
    pub position: Position,
    /// When it was done.
    pub time: Timestamp,
    /// Who did it, as they said, or which policy.
    pub by: String,
    /// From where, as far as that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What was done.
    pub act: Act,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// The cluster was founded, or recovered: a later generation of it.
    Founded {
        /// Which cluster.
        cluster: ClusterId,
        /// Which generation, counted from 1.
        generation: u32,
    },
    /// A log was created.
    LogCreated {
        /// Its name.
        log: LogName,
        /// Its id.
        log_id: LogId,
        /// Its settings.
        settings: Settings,
    },
    /// Settings of a log were changed.
    SettingsChanged {
        /// Its name.
        log: LogName,
        /// Its id.
        log_id: LogId,
        /// What became of them.
        change: SettingsPatch,
    },
    /// The oldest records of a log were dropped. What its settings let go of by themselves is no act.
    LogTrimmed {
        /// Its name.
        log: LogName,
        /// Its id.
        log_id: LogId,
        /// The first position that was kept.
        first: Position,
        /// How many records went.
        records: u64,
    },
    /// A log was ended.
    LogSealed {
        /// Its name.
        log: LogName,
        /// Its id.
        log_id: LogId,
        /// Where it ends.
        tail: Position,
    },
    /// A log was deleted.
    LogDeleted {
        /// Its name.
        log: LogName,
        /// Its id.
        log_id: LogId,
        /// How many records went.
        records: u64,
    },
    /// A checkpoint was made by hand.
    CheckpointMade {
        /// Which.
        checkpoint: EntryIndex,
        /// What it was called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<CheckpointLabel>,
    },
    /// A checkpoint is not kept any more.
    CheckpointReleased {
        /// Which.
        checkpoint: EntryIndex,
    },
    /// A process was let in under the policy given at bootstrap.
    ReplicaAdmitted {
        /// As which replica.
        replica: ReplicaId,
        /// Where it answers clients.
        addr: String,
    },
    /// A change of the membership was begun, or leadership was handed over by request.
    ChangeBegun {
        /// Which.
        change: ChangeId,
        /// What was wished for.
        wish: Wish,
        /// The checks that were overridden, and why.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        overrides: Vec<Override>,
    },
    /// A change of the membership was cancelled.
    ChangeCancelled {
        /// Which.
        change: ChangeId,
    },
    /// A change of the membership is over.
    ChangeEnded {
        /// Which.
        change: ChangeId,
        /// Whether it is as wished; else it was given up.
        is_done: bool,
        /// What more there is to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<String>,
        /// Milliseconds from its beginning.
        took_ms: u64,
    },
}

impl Act {
    /// Which kind it is of.
    pub const fn kind(&self) -> ActKind {
        match self {
            Self::Founded { .. } => ActKind::Founded,
            Self::LogCreated { .. } => ActKind::LogCreated,
            Self::SettingsChanged { .. } => ActKind::SettingsChanged,
            Self::LogTrimmed { .. } => ActKind::LogTrimmed,
            Self::LogSealed { .. } => ActKind::LogSealed,
            Self::LogDeleted { .. } => ActKind::LogDeleted,
            Self::CheckpointMade { .. } => ActKind::CheckpointMade,
            Self::CheckpointReleased { .. } => ActKind::CheckpointReleased,
            Self::ReplicaAdmitted { .. } => ActKind::ReplicaAdmitted,
            Self::ChangeBegun { .. } => ActKind::ChangeBegun,
            Self::ChangeCancelled { .. } => ActKind::ChangeCancelled,
            Self::ChangeEnded { .. } => ActKind::ChangeEnded,
        }
    }
}

/// In a few words: `deleted log orders with 12 records`.
impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Founded { cluster, generation: 1 } => write!(f, "founded cluster {cluster}"),
            Self::Founded { cluster, generation } => {
                write!(f, "recovered cluster {cluster} as generation {generation}")
            }
            Self::LogCreated { log, .. } => write!(f, "created log {log}"),
            Self::SettingsChanged { log, .. } => write!(f, "changed settings of log {log}"),
            Self::LogTrimmed { log, first, records, .. } => {
                write!(f, "trimmed log {log} to {first}: {records} records went")
            }
            Self::LogSealed { log, tail, .. } => write!(f, "sealed log {log} at {tail}"),
            Self::LogDeleted { log, records, .. } => {
                write!(f, "deleted log {log} with {records} records")
            }
            Self::CheckpointMade { checkpoint, label: None } => {
                write!(f, "made checkpoint {checkpoint}")
            }
            Self::CheckpointMade { checkpoint, label: Some(label) } => {
                write!(f, "made checkpoint {checkpoint}, {label}")
            }
            Self::CheckpointReleased { checkpoint } => {
                write!(f, "released checkpoint {checkpoint}")
            }
            Self::ReplicaAdmitted { replica, addr } => {
                write!(f, "let {addr} in as replica {replica}")
            }
            Self::ChangeBegun { change, wish, overrides } => {
                write!(f, "began change {change}: {wish}")?;
                let mut overrides = overrides.iter();
                overrides.try_for_each(|one| write!(f, "; overrode {}: {}", one.check, one.reason))
            }
            Self::ChangeCancelled { change } => write!(f, "cancelled change {change}"),
            Self::ChangeEnded { change, is_done, outcome, took_ms } => {
                let how = if *is_done { "done" } else { "given up" };
                write!(f, "change {change} {how} after {took_ms} ms")?;
                outcome.iter().try_for_each(|outcome| write!(f, ": {outcome}"))
            }
        }
    }
}

/// The kinds of acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename_all = "snake_case"))]
#[expect(missing_docs, reason = "each is the act of the same name")]
pub enum ActKind {
    Founded,
    LogCreated,
    SettingsChanged,
    LogTrimmed,
    LogSealed,
    LogDeleted,
    CheckpointMade,
    CheckpointReleased,
    ReplicaAdmitted,
    ChangeBegun,
    ChangeCancelled,
    ChangeEnded,
}

impl ActKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Founded,
        Self::LogCreated,
        Self::SettingsChanged,
        Self::LogTrimmed,
        Self::LogSealed,
        Self::LogDeleted,
        Self::CheckpointMade,
        Self::CheckpointReleased,
        Self::ReplicaAdmitted,
        Self::ChangeBegun,
        Self::ChangeCancelled,
        Self::ChangeEnded,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Founded => "founded",
            Self::LogCreated => "log_created",
            Self::SettingsChanged => "settings_changed",
            Self::LogTrimmed => "log_trimmed",
            Self::LogSealed => "log_sealed",
            Self::LogDeleted => "log_deleted",
            Self::CheckpointMade => "checkpoint_made",
            Self::CheckpointReleased => "checkpoint_released",
            Self::ReplicaAdmitted => "replica_admitted",
            Self::ChangeBegun => "change_begun",
            Self::ChangeCancelled => "change_cancelled",
            Self::ChangeEnded => "change_ended",
        }
    }
}

impl fmt::Display for ActKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that is no kind of act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of act; there are {}", ActKind::ALL.map(ActKind::name).join(", "))]
pub struct ActKindError;

impl FromStr for ActKind {
    type Err = ActKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(ActKindError)
    }
}

impl Serialize for ActKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ActKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Query of GET on the activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ActivityQuery {
    /// Only what stands before this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Position>,
    /// Only acts of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ActKind>,
    /// At most this many, at least 1; capped by the service.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::count")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub limit: Option<u32>,
    /// How fresh.
    #[serde(default, skip_serializing_if = "Consistency::is_default")]
    pub consistency: Consistency,
}

impl ActivityQuery {
    /// As the query of a URL, without the question mark.
    pub fn to_query(&self) -> String {
        let before = self.before.map(|before| format!("before={before}"));
        let kind = self.kind.map(|kind| format!("kind={kind}"));
        let limit = self.limit.map(|limit| format!("limit={limit}"));
        let is_default = self.consistency.is_default();
        let consistency = (!is_default).then(|| format!("consistency={}", self.consistency));
        let parts: Vec<_> = [before, kind, limit, consistency].into_iter().flatten().collect();
        parts.join("&")
    }
}

/// Answer to GET on the activity, newest first. As NDJSON: one act on each line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActivityList {
    /// This page. It may be empty although there is a next one, where acts of one kind are few.
    pub activity: Vec<Activity>,
    /// What to ask for as `before` to get the next page; absent on the last. Also in the header `Quorate-Next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Position>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_survives_text_and_every_act_is_written_under_its_name() {
        for kind in ActKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("log".parse::<ActKind>(), Err(ActKindError));
        let act = Act::ChangeCancelled { change: ChangeId::new(7) };
        let json = serde_json::to_string(&act).unwrap();
        assert_eq!(json, r#"{"change_cancelled":{"change":7}}"#);
        assert!(json.contains(act.kind().name()));
    }

    #[test]
    fn a_query_says_only_what_is_asked() {
        assert_eq!(ActivityQuery::default().to_query(), "");
        let query = ActivityQuery {
            before: Some(Position::new(18)),
            kind: Some(ActKind::LogDeleted),
            limit: Some(2),
            consistency: Consistency::Local,
        };
        assert_eq!(query.to_query(), "before=18&kind=log_deleted&limit=2&consistency=local");
    }
}
