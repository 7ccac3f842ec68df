//! The audit: whether replicas hold the same, and at which entry that was seen.
//!
//! Two things are compared. What was *executed*: a digest over all commands and their outcomes, at a
//! recent entry. What is *kept*: the digest of the whole state, at a certified checkpoint. A
//! comparison that could not be made says so: it is never taken for equality.
//!
//! Beside it, the scrub: each replica reads all that it keeps again, and repairs what is damaged.
//!
//! Not here: checkpoints themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{EntryIndex, LogName, Position, ReplicaId, Timestamp};

/// Answer to GET on the audit, as the leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditReport {
    /// The replica that compared: the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<ReplicaId>,
    /// Every replica, in the order of ids.
    pub replicas: Vec<ReplicaAudit>,
}

/// What was seen of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReplicaAudit {
    /// Which.
    pub id: ReplicaId,
    /// Whether it executed what the leader did.
    pub execution: AuditFinding,
    /// Whether its state at the newest certified checkpoint was the certified one.
    pub checkpoint: AuditFinding,
}

/// One comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditFinding {
    /// What came of it.
    pub verdict: AuditVerdict,
    /// At which entry; of an unverified one, that at which it should have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryIndex>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// Answer to GET and POST on the scrub: of the replica that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScrubReport {
    /// Which.
    pub replica: ReplicaId,
    /// How many times it has begun to look at everything since it was started. POST tells the one that it causes.
    pub pass: u64,
    /// Whether that one is done.
    pub is_done: bool,
    /// About how many tiles, of 256 records each, there were when it began.
    pub tiles_total: u64,
    /// So many of them were looked at.
    pub tiles_done: u64,
    /// Bytes of records in these.
    pub bytes_done: u64,
    /// When everything had been looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_done: Option<Timestamp>,
    /// Damaged tiles that were found since it was started, by the scrub or by a read.
    pub damaged_tiles: u64,
    /// So many of them were taken from another replica and written again.
    pub repaired_tiles: u64,
    /// What is damaged now: the first hundred.
    pub unrepaired: Vec<DamagedTile>,
}

/// Records that are damaged on one replica, and not served there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DamagedTile {
    /// Their log.
    pub log: LogName,
    /// The first of them.
    pub from: Position,
    /// One past the last.
    pub until: Position,
    /// Why they could not be repaired yet.
    pub reason: String,
}

/// What came of a comparison.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditVerdict {
    /// Both had the same.
    Equal,
    /// They differ: one of them is wrong.
    Different,
    /// It could not be compared.
    #[default]
    Unverified,
}

impl AuditVerdict {
    /// The verdict over two values, of which one may not be known.
    pub fn of<T: PartialEq>(one: &T, other: Option<&T>) -> Self {
        match other {
            Some(other) if other == one => Self::Equal,
            Some(_) => Self::Different,
            None => Self::Unverified,
        }
    }

    /// The name of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Unverified => "unverified",
        }
    }
}

impl fmt::Display for AuditVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
