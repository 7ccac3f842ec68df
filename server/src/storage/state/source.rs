//! What the state asks of the journal: how far it is durable, and an entry's bytes again.
//!
//! The flusher never writes to redb what the journal does not hold durably; and records that were dropped from memory
//! are read from there. Nothing else of the journal concerns the state.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use client::types::{EntryId, EntryIndex};

use crate::machine::EntryBody;
use crate::storage::journal::Journal;

/// The entries that the state was made of.
pub trait EntrySource: Send + Sync {
    /// Up to which entry this replica holds all durably.
    fn durable(&self) -> Option<EntryIndex>;
    /// Waits until that is `entry` or more. Says whether it is, when it is or time is up.
    fn wait_durable(&self, entry: EntryIndex, timeout: Duration) -> bool;
    /// The payload of an entry, checked.
    fn payload(&self, entry: EntryIndex) -> io::Result<Bytes>;
    /// The first entries of `[from, until)`: at least one, then as many as fit in `bytes_max`.
    fn entries(
        &self,
        from: EntryIndex,
        until: EntryIndex,
        bytes_max: u64,
    ) -> io::Result<Vec<(EntryId, EntryBody)>>;
}

impl EntrySource for Journal {
    fn durable(&self) -> Option<EntryIndex> {
        self.durable().map(EntryIndex::new)
    }

    fn wait_durable(&self, entry: EntryIndex, timeout: Duration) -> bool {
        self.wait_durable(entry.get(), timeout)
    }

    fn payload(&self, entry: EntryIndex) -> io::Result<Bytes> {
        let entries = self.read(entry.get(), entry.next().get())?;
        let payload = entries.first().and_then(|entry| entry.body.payload());
        payload.map(|payload| payload.bytes.clone()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("entry {entry} carries nothing"))
        })
    }

    fn entries(
        &self,
        from: EntryIndex,
        until: EntryIndex,
        bytes_max: u64,
    ) -> io::Result<Vec<(EntryId, EntryBody)>> {
        let entries = self.read_limited(from.get(), until.get(), bytes_max)?;
        Ok(entries.into_iter().map(|entry| (entry.id, entry.body)).collect())
    }
}
