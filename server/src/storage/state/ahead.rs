//! Writing ahead of the pointers: records and hashes of tiles that a manifest names, before it is installed.
//!
//! Whoever hands them over has verified them against the manifest. They were committed once, so they are right for
//! ever, and nobody reads them before the pointers of their log get there: an install moves these, or the flusher does
//! and then writes the same records once more. Each transaction is small and takes the gate, so a flush is never in the
//! midst of it. What a crash leaves is found again and need not be fetched twice (`lacking`).
//!
//! Not here: what is verified, and against what (`peer::transfer`).

use bytes::Bytes;
use client::types::{Digest, LogId, Position};

use super::chunks::{ChunkTable, NextRecord, OpenChunk};
use super::read::TimedWalk;
use super::{State, UNBROKEN, tiles, widen};
use crate::machine::TileAddress;
use crate::storage::disk::crash_point;
use crate::storage::error::StorageError;

/// So many hashes of tiles are written in one transaction.
const TILES_MAX: usize = 16 * 1024;

/// Verified records of one log that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Their log.
    pub log: LogId,
    /// Position of the first.
    pub first: Position,
    /// Bytes of all records of the log before the first.
    pub bytes_before: u64,
    /// The records: `{ u32 length, u64 time, untimed record }`.
    pub records: Bytes,
}

impl State {
    /// Writes verified records ahead, and makes them durable; stretch by stretch, so that what a crash leaves of a log
    /// begins where the first one did.
    pub fn write_ahead(&self, stretches: &[Stretch]) -> Result<(), StorageError> {
        let shared = &self.0;
        // As a flush, a transaction takes what redb can hold in memory until the commit.
        let enough = shared.options.cache_bytes / 8 * 3;
        let mut left = stretches.iter().map(Walk::of).peekable();
        let mut open = None;
        while left.peek().is_some() {
            let _gate = shared.gate.lock().expect(UNBROKEN);
            let txn = shared.database.write()?;
            let mut table = ChunkTable::open(&shared.database, &txn)?;
            // An open chunk ends with its stretch; a stretch may go on in the next transaction.
            while table.written_bytes() < enough {
                let Some(walk) = left.peek_mut() else { break };
                if !walk.write_next(&mut open, &mut table)? {
                    table.finish(open.take())?;
                    left.next();
                }
            }
            drop(table);
            shared.database.commit(txn)?;
            crash_point(&*shared.disk, "transfer/records-ahead");
        }
        Ok(())
    }

    /// Writes verified hashes of complete tiles ahead, and makes them durable.
    pub fn write_tiles_ahead(&self, hashes: &[(TileAddress, Digest)]) -> Result<(), StorageError> {
        let shared = &self.0;
        for part in hashes.chunks(TILES_MAX) {
            let _gate = shared.gate.lock().expect(UNBROKEN);
            let txn = shared.database.write()?;
            tiles::write(&shared.database, &txn, part)?;
            shared.database.commit(txn)?;
            crash_point(&*shared.disk, "transfer/tiles-ahead");
        }
        Ok(())
    }
}

/// How far the writing of a stretch is.
pub(super) struct Walk {
    log: u64,
    position: u64,
    bytes_before: u64,
    records: TimedWalk,
}

impl Walk {
    pub(super) fn of(stretch: &Stretch) -> Self {
        Self {
            log: stretch.log.get(),
            position: stretch.first.get(),
            bytes_before: stretch.bytes_before,
            records: TimedWalk(stretch.records.clone()),
        }
    }

    /// Writes the next record. Says whether there was one.
    pub(super) fn write_next(
        &mut self,
        open: &mut Option<OpenChunk>,
        table: &mut ChunkTable<'_>,
    ) -> Result<bool, StorageError> {
        let left = self.records.0.len();
        let Some((time, untimed)) = self.records.next() else { return Ok(false) };
        let record = NextRecord {
            log: self.log,
            position: self.position,
            time: time.as_millis(),
            bytes_before: self.bytes_before,
            untimed: &untimed,
        };
        table.push(open, record, left)?;
        self.position += 1;
        self.bytes_before += widen(untimed.len());
        Ok(true)
    }
}
