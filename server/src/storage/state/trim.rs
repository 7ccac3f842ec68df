//! Deleting what lies below: records before a trim point, and all of a log that is gone.
//!
//! The trim point moves at once, by command; what lies below is deleted later, whole tiles at a time, in small
//! transactions between two flushes. Work begins only after the trim point or the deletion itself was flushed, so no
//! crash brings back a log whose records are gone. What a crash leaves behind is found again at start: from the trim
//! points in the catalog, and from chunks and tiles whose log is not there any more. A log that is not there *yet* is
//! another matter: its id was not given out when the state was flushed, and its records came ahead of it. Hashes of
//! tiles live as long as their log.
//!
//! Not here: when to trim (`node::retention`).

use std::collections::{BTreeMap, VecDeque};

use client::types::{LogId, Position};
use migrations::latest::tables::{
    CATALOG, CHUNKS, Definition, META, META_PROGRESS, TILES, chunk_key, decode_log_key, log_key,
};
use migrations::latest::values::{CatalogRow, ProgressRow, Row as _};
use redb::{ReadTransaction, ReadableTable};
use tracing::warn;

use super::chunks::ChunkTable;
use super::database::Database;
use super::{Shared, UNBROKEN, tiles};
use crate::machine::TILE_WIDTH;
use crate::storage::error::StorageError;

/// So many hashes of tiles are deleted in one step.
const TILES_MAX: usize = 4096;

/// What is to be deleted, one step after the other.
#[derive(Debug, Default)]
pub(super) struct Trimmer {
    queue: VecDeque<Leftover>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftover {
    /// Whole tiles of a log before a position.
    Below { log: LogId, until: u64 },
    /// All of a log.
    Gone { log: LogId },
}

impl Trimmer {
    /// Whether there is something to delete.
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes over what a flush made final.
    pub(super) fn note(&mut self, trimmed: &BTreeMap<LogId, Position>, gone: &[LogId]) {
        for (log, trim) in trimmed {
            let until = whole_tiles(trim.get());
            if until > 0 {
                self.queue.push_back(Leftover::Below { log: *log, until });
            }
        }
        self.queue.extend(gone.iter().map(|log| Leftover::Gone { log: *log }));
    }

    /// Finds what is left from an earlier time. Damage found on the way is left to those who read there.
    pub(super) fn find_leftovers(&mut self, shared: &Shared) -> Result<(), StorageError> {
        let database = &shared.database;
        match database.unwinding(|| leftovers(database, &database.read()?)) {
            Ok(found) => self.queue.extend(found),
            Err(StorageError::Damaged { what, .. }) => {
                warn!(what, "leftovers of trimmed records were not looked for");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Deletes a little, if there is something to delete.
    pub(super) fn step(&mut self, shared: &Shared) -> Result<(), StorageError> {
        let Some(leftover) = self.queue.front().copied() else { return Ok(()) };
        let _gate = shared.gate.lock().expect(UNBROKEN);
        if shared.standing().is_frozen {
            return Ok(());
        }
        if delete(shared, leftover)? {
            self.queue.pop_front();
        }
        Ok(())
    }
}

/// Deletes a part in a transaction of its own. Says whether nothing is left.
fn delete(shared: &Shared, leftover: Leftover) -> Result<bool, StorageError> {
    let database = &shared.database;
    let limit = shared.options.trim_chunks_max;
    let (log, until) = match leftover {
        Leftover::Below { log, until } => (log, chunk_key(log.get(), until)),
        Leftover::Gone { log } => (log, chunk_key(log.get() + 1, 0)),
    };
    let txn = database.write()?;
    let from = chunk_key(log.get(), 0);
    let chunks = ChunkTable::open(database, &txn)?.remove_range(&from, &until, limit)?;
    let hashes = match leftover {
        Leftover::Gone { log } if chunks < limit => tiles::remove(database, &txn, log, TILES_MAX)?,
        Leftover::Gone { .. } | Leftover::Below { .. } => 0,
    };
    if chunks + hashes == 0 {
        txn.abort().map_err(database.failed("write"))?;
        return Ok(true);
    }
    database.commit(txn)?;
    Ok(chunks < limit && hashes < TILES_MAX)
}

fn leftovers(database: &Database, txn: &ReadTransaction) -> Result<Vec<Leftover>, StorageError> {
    let trims = trim_points(database, txn)?;
    let mut found = Vec::new();
    let chunks = txn.open_table(CHUNKS).map_err(database.failed("read"))?;
    for (log, trim) in &trims {
        let until = whole_tiles(*trim);
        let (from, to) = (chunk_key(*log, 0), chunk_key(*log, until));
        let mut below =
            chunks.range::<&[u8]>(&from[..]..&to[..]).map_err(database.failed("read"))?;
        if below.next().transpose().map_err(database.failed("read"))?.is_some() {
            found.push(Leftover::Below { log: LogId::new(*log), until });
        }
    }
    let next_log = next_log(database, txn)?;
    for table in [CHUNKS, TILES] {
        for log in logs_of(database, txn, table)?.into_iter().filter(|log| *log < next_log) {
            let leftover = Leftover::Gone { log: LogId::new(log) };
            if !trims.contains_key(&log) && !found.contains(&leftover) {
                found.push(leftover);
            }
        }
    }
    Ok(found)
}

fn trim_points(
    database: &Database,
    txn: &ReadTransaction,
) -> Result<BTreeMap<u64, u64>, StorageError> {
    let catalog = txn.open_table(CATALOG).map_err(database.failed("read"))?;
    let mut trims = BTreeMap::new();
    for row in catalog.iter().map_err(database.failed("read"))? {
        let (key, value) = row.map_err(database.failed("read"))?;
        let log = decode_log_key(key.value()).map_err(|_| database.damaged("row"))?;
        let row = CatalogRow::decode(key.value(), value.value());
        trims.insert(log, row.map_err(|_| database.damaged("row"))?.trim);
    }
    Ok(trims)
}

/// Ids from here on were not given out yet.
fn next_log(database: &Database, txn: &ReadTransaction) -> Result<u64, StorageError> {
    let meta = txn.open_table(META).map_err(database.failed("read"))?;
    let Some(value) = meta.get(META_PROGRESS).map_err(database.failed("read"))? else {
        return Ok(0);
    };
    let row = ProgressRow::decode(META_PROGRESS, value.value());
    Ok(row.map_err(|_| database.damaged("row"))?.next_log)
}

/// The logs that a table has something of: one look per log.
fn logs_of(
    database: &Database,
    txn: &ReadTransaction,
    table: Definition,
) -> Result<Vec<u64>, StorageError> {
    let table = txn.open_table(table).map_err(database.failed("read"))?;
    let mut logs = Vec::new();
    let mut next = 0_u64;
    loop {
        let from = log_key(next);
        let mut rest = table.range::<&[u8]>(&from[..]..).map_err(database.failed("read"))?;
        let Some(found) = rest.next().transpose().map_err(database.failed("read"))? else {
            return Ok(logs);
        };
        let log = found.0.value().first_chunk().map(|log| u64::from_be_bytes(*log));
        let log = log.ok_or_else(|| database.damaged("key"))?;
        logs.push(log);
        match log.checked_add(1) {
            Some(after) if log >= next => next = after,
            _ => return Err(database.damaged("key")),
        }
    }
}

/// Only whole tiles are deleted: a proof of the first record that is left needs the rest of its tile.
pub(super) const fn whole_tiles(trim: u64) -> u64 {
    trim / TILE_WIDTH * TILE_WIDTH
}
