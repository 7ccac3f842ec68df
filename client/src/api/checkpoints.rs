//! Checkpoints and the snapshots kept of them.
//!
//! A checkpoint names an entry; a majority of voters attests what the state was right after it, and
//! the journal before it may go. A snapshot is the manifest of that state, kept on each replica: all
//! that is replicated but the records, which it names.
//!
//! Not here: how replicas compare what they hold (`audit`), and state transfer.

use serde::{Deserialize, Deserializer, Serialize};

use crate::types::{CheckpointLabel, Digest, EntryIndex, LogName, ReplicaId, Term, Timestamp};

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckpointInfo {
    /// The index of the entry whose state it is: its name.
    pub checkpoint: EntryIndex,
    /// The term of that entry.
    pub term: Term,
    /// The group's clock there.
    pub made: Timestamp,
    /// What an operator called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<CheckpointLabel>,
    /// Whether it is kept until it is released.
    pub is_pinned: bool,
    /// The certificate; none while no majority has attested the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateInfo>,
    /// Entries up to this one are not needed any more, once nobody has to be brought up to date from
    /// before; none unless it is certified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lets_go: Option<EntryIndex>,
}

/// A majority's word on what the state was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CertificateInfo {
    /// The digest of the state that they attested.
    pub digest: Digest,
    /// Who attested it before it was certified, in the order of ids.
    pub attested_by: Vec<ReplicaId>,
    /// When it was certified.
    pub certified: Timestamp,
    /// The entry that certified it.
    pub entry: EntryIndex,
}

/// Answer to GET on the checkpoints: those that are remembered, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckpointList {
    /// The checkpoints.
    pub checkpoints: Vec<CheckpointInfo>,
}

/// Body of POST on the checkpoints. Nothing stands for one without a label: the answer may then tell of a newer one that
/// was certified in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckpointRequest {
    /// What to call it; with a label it is kept until it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<CheckpointLabel>,
}

/// A snapshot that the replica which answers keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotInfo {
    /// Of which checkpoint.
    pub checkpoint: EntryIndex,
    /// The digest of the state here.
    pub digest: Digest,
    /// Whether a majority of voters attested that very digest.
    pub is_certified: bool,
    /// What an operator called the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<CheckpointLabel>,
    /// Whether it is kept until it is released.
    pub is_pinned: bool,
    /// How many bytes the manifest takes on disk.
    pub manifest_bytes: u64,
    /// What is in it, if one snapshot was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<SnapshotContent>,
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotContent {
    /// Logs.
    pub logs: u64,
    /// Records that are not trimmed, of all logs.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Producers.
    pub producers: u64,
    /// Cursors.
    pub cursors: u64,
    /// Idempotency keys.
    pub keys: u64,
}

/// Answer to GET on the snapshots: those that this replica keeps, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotList {
    /// The snapshots.
    pub snapshots: Vec<SnapshotInfo>,
}

/// Query of GET on the archive of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ArchiveQuery {
    /// The logs that the backup is to hold, with commas between their names; all if none is named.
    #[serde(default, deserialize_with = "names")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub log: Vec<LogName>,
    /// The checkpoint of an earlier backup of the same logs, whose records are not repeated. The
    /// replica must keep its snapshot still: give it a label.
    #[serde(default)]
    pub since: Option<EntryIndex>,
}

impl ArchiveQuery {
    /// As the query of a URL, without the question mark.
    pub fn to_query(&self) -> String {
        let mut parts = Vec::new();
        if !self.log.is_empty() {
            let names: Vec<&str> = self.log.iter().map(LogName::as_str).collect();
            parts.push(format!("log={}", names.join(",")));
        }
        parts.extend(self.since.map(|since| format!("since={since}")));
        parts.join("&")
    }
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<LogName>, D::Error> {
    let text = String::deserialize(from)?;
    text.split(',').map(|name| LogName::new(name).map_err(serde::de::Error::custom)).collect()
}
