//! What a command changed, in the two forms that the state takes.
//!
//! A [`Delta`] comes with every applied entry: records, and logs as readers see them from now on.
//! It is cheap: the records are slices of the command's own bytes, and each log appears once
//! however many appends touched it. [`Changes`] are taken now and then, by the flusher: every row
//! that differs from what was taken last, encoded as of the last applied entry. Their cost is that
//! of the distinct rows, not of the commands.
//!
//! Not here: who keeps them (`storage::state`).

use std::sync::Arc;

use bytes::Bytes;
use client::types::{
    CursorName, Digest, EntryId, Fence, LogId, LogName, LogSettings, Position, Timestamp,
};
pub use migrations::latest::tables::Table;

use super::outcome::Outcome;
use super::tree::{Frontier, TileAddress};

/// What applying one entry gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The answer.
    pub outcome: Outcome,
    /// What changed.
    pub delta: Delta,
}

/// What one command changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// New records, in order.
    pub runs: Vec<Run>,
    /// Each log that the command touched, as it is after the command.
    pub logs: Vec<LogView>,
    /// Logs that are gone.
    pub deleted: Vec<(LogName, LogId)>,
    /// Cursors, with where they are now, or nothing if they are gone. Those of deleted logs are not
    /// named.
    pub cursors: Vec<(LogId, CursorName, Option<Position>)>,
}

/// Records of one append, as the command carried them, or of an act, as the machine told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Their log.
    pub log: LogId,
    /// Position of the first.
    pub first: Position,
    /// How many; at least one.
    pub count: u32,
    /// The time of all of them.
    pub time: Timestamp,
    /// Bytes of all records of the log before the first.
    pub bytes_before: u64,
    /// Per record a `u32` length and its untimed form: a slice of the payload, or made by the machine.
    pub records: Bytes,
    /// Where `records` begins in the payload, so that it can be read again from the journal; none if it is not there.
    pub offset: Option<u32>,
}

impl Run {
    /// One past the last record.
    pub fn next(&self) -> Position {
        self.first.advance(u64::from(self.count))
    }
}

/// A log as readers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogView {
    /// Its id.
    pub id: LogId,
    /// Its name.
    pub name: LogName,
    /// Its settings.
    pub settings: Arc<LogSettings>,
    /// When it was created.
    pub created: Timestamp,
    /// First position kept.
    pub trim: Position,
    /// Position of the next record.
    pub tail: Position,
    /// Bytes of all records before the trim point.
    pub bytes_at_trim: u64,
    /// Bytes of all records ever appended.
    pub bytes_at_tail: u64,
    /// Time of the newest record; zero if there never was one.
    pub last_time: Timestamp,
    /// Whether it was ended.
    pub sealed: bool,
    /// The token that an append may not differ from.
    pub fence: Option<Fence>,
    /// When its time to live was begun again other than by an append; zero if never.
    pub renewed: Timestamp,
    /// The hashes of its tree; computes the root.
    pub frontier: Frontier,
}

impl LogView {
    /// When it is deleted if nobody uses it until then; never if nothing is set.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.settings.deadline(self.used())
    }

    /// When it was used last, as far as that counts for its time to live.
    pub fn used(&self) -> Timestamp {
        self.created.max(self.last_time).max(self.renewed)
    }

    /// Bytes of the records from the trim point to the tail.
    pub const fn bytes(&self) -> u64 {
        self.bytes_at_tail - self.bytes_at_trim
    }
}

/// All rows that changed since changes were last taken, as of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The last applied entry: the rows are those of exactly this moment.
    pub entry: EntryId,
    /// The digest of the whole state as of that entry.
    pub digest: Digest,
    /// Rows to write or delete, each key at most once, in order of table and key. Rows of deleted
    /// logs are among them; their chunks and tiles are not.
    pub rows: Vec<RowChange>,
    /// Hashes of the tiles completed since, also of logs deleted since.
    pub tiles: Vec<(TileAddress, Digest)>,
    /// Logs deleted since: their chunks and tiles may go.
    pub deleted_logs: Vec<LogId>,
}

/// One row to write or to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Where.
    pub table: Table,
    /// Under which key.
    pub key: Vec<u8>,
    /// The value with its check; nothing if the row is to be deleted.
    pub value: Option<Vec<u8>>,
}
