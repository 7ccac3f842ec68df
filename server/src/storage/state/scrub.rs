//! A tile of records, looked at as a whole; and written again, if it is damaged.
//!
//! A look reads all chunks of a tile, hashes their records, and compares that with the tile's stored hash, or, where a
//! log ends, with its frontier. What is to take the place of damaged records is proved by the same, in the midst of the
//! writing: nothing that does not fit is ever written, whoever handed it over. A damaged hash is proved by those beside
//! it and the one above.
//!
//! All that a look or a proof needs is one transaction's: a log that is trimmed, deleted or appended to meanwhile is
//! never called damaged.
//!
//! Not here: when tiles are looked at (`node::scrub`), and where what is right comes from (`peer::repair`).

use bytes::Bytes;
use client::types::{Digest, LogId, Position, PositionRange};
use migrations::latest::tables::chunk_key;
use migrations::latest::values::CatalogRow;
use redb::ReadTransaction;

use super::ahead::{self, Stretch};
use super::chunks::{ChunkFailure, ChunkReader, ChunkTable, Walk};
use super::database::Database;
use super::lacking::{bytes_in, flushed};
use super::proof::{Proof, leaves};
use super::read::TimedWalk;
use super::trim::whole_tiles;
use super::{State, UNBROKEN, tiles, widen};
use crate::machine::{TILE_WIDTH, TileAddress, leaf_hash};
use crate::storage::error::StorageError;

/// What a look at a tile found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileLook {
    /// All its records are here and hash to what they should. So many bytes.
    Whole(u64),
    /// A chunk fails its check or is lost, the records hash to something else, or their hash is lost: these records.
    Damaged(PositionRange),
    /// Nothing of it is flushed here, or not any more.
    Gone,
}

/// What became of writing something again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewritten {
    /// It is durable.
    Done,
    /// It does not hash to what it should.
    Wrong,
    /// What would prove it is damaged, too: the hash of the tile, or the one above.
    Unproved,
    /// The records around it, which say how many bytes came before, are damaged, too.
    Placeless,
    /// The log has moved on: look again.
    Moved,
}

impl State {
    /// Looks at the records of a tile, as far as they are flushed.
    pub fn look_at_tile(&self, log: LogId, number: u64) -> Result<TileLook, StorageError> {
        let database = &self.0.database;
        database.unwinding(|| {
            let txn = database.read()?;
            let tile = FlushedTile::find(database, &txn, log, number)?;
            tile.map_or(Ok(TileLook::Gone), |tile| tile.look(database, &txn))
        })
    }

    /// Writes a tile's records again: `{ u32 length, u64 time, untimed record }`, all of them as far as the log is
    /// flushed, if they are proved.
    pub fn rewrite_tile(
        &self,
        log: LogId,
        number: u64,
        records: &Bytes,
    ) -> Result<Rewritten, StorageError> {
        let (shared, database) = (&self.0, &self.0.database);
        // With the gate, what is read stays so until the commit.
        let _gate = shared.gate.lock().expect(UNBROKEN);
        // What would prove it is wrong itself, perhaps.
        if self.is_diverged() {
            return Ok(Rewritten::Moved);
        }
        let placed = database.unwinding(|| {
            let txn = database.read()?;
            let Some(tile) = FlushedTile::find(database, &txn, log, number)? else {
                return Ok(Err(Rewritten::Moved));
            };
            let placed = tile.place(database, &txn, records)?;
            Ok(placed.map(|bytes_before| (tile, bytes_before)))
        });
        let (tile, bytes_before) = match placed? {
            Ok(placed) => placed,
            Err(refused) => return Ok(refused),
        };
        let first = Position::new(tile.first);
        let txn = database.write()?;
        let mut table = ChunkTable::open(database, &txn)?;
        let (from, until) = (chunk_key(log.get(), tile.first), chunk_key(log.get(), tile.until));
        table.remove_range(&from, &until, usize::MAX)?;
        let stretch = Stretch { log, first, bytes_before, records: records.clone() };
        let (mut walk, mut open) = (ahead::Walk::of(&stretch), None);
        while walk.write_next(&mut open, &mut table)? {}
        table.finish(open)?;
        drop(table);
        database.commit(txn)?;
        Ok(Rewritten::Done)
    }

    /// How many hashes a group has at a level, as far as the log is flushed: 256, or less where it ends.
    pub fn group_length(&self, log: LogId, level: u8, group: u64) -> Result<u64, StorageError> {
        let database = &self.0.database;
        database.unwinding(|| {
            let row = flushed(database, &database.read()?, log)?;
            Ok(row.map_or(0, |row| {
                let all = Proof::from(&row).tiles(level);
                all.saturating_sub(group * TILE_WIDTH).min(TILE_WIDTH)
            }))
        })
    }

    /// Writes a group of hashes again, if they are proved by the one above them, or by the frontier.
    pub fn rewrite_hashes(
        &self,
        log: LogId,
        (level, group): (u8, u64),
        hashes: &[Digest],
    ) -> Result<Rewritten, StorageError> {
        let (shared, database) = (&self.0, &self.0.database);
        let _gate = shared.gate.lock().expect(UNBROKEN);
        if self.is_diverged() {
            return Ok(Rewritten::Moved);
        }
        let proved = database.unwinding(|| {
            let txn = database.read()?;
            let Some(row) = flushed(database, &txn, log)? else { return Ok(Rewritten::Moved) };
            let proof = Proof::from(&row);
            let above = TileAddress { log, level: level + 1, number: group };
            let above = tiles::found(database, &txn, above)?;
            let count = widen(hashes.len());
            let is_there = proof.tiles(level) > group * TILE_WIDTH;
            Ok(if !is_there || proof.group_length(level, group) != count {
                Rewritten::Moved
            } else if group < proof.tiles(level + 1) && above.is_none() {
                Rewritten::Unproved
            } else if proof.check_hashes(level, group, hashes, above).is_err() {
                Rewritten::Wrong
            } else {
                Rewritten::Done
            })
        })?;
        if proved != Rewritten::Done {
            return Ok(proved);
        }
        let address = |number| TileAddress { log, level, number };
        let rows: Vec<_> =
            (group * TILE_WIDTH..).map(address).zip(hashes.iter().copied()).collect();
        let txn = database.write()?;
        tiles::write(database, &txn, &rows)?;
        database.commit(txn)?;
        Ok(Rewritten::Done)
    }
}

/// A tile as far as it is flushed, and what proves its records.
struct FlushedTile {
    log: LogId,
    number: u64,
    first: u64,
    until: u64,
    row: CatalogRow,
    hash: Option<Digest>,
}

impl FlushedTile {
    /// Nothing if it lies before the trim point or behind the tail.
    fn find(
        database: &Database,
        txn: &ReadTransaction,
        log: LogId,
        number: u64,
    ) -> Result<Option<Self>, StorageError> {
        let Some(row) = flushed(database, txn, log)? else { return Ok(None) };
        let first = number * TILE_WIDTH;
        let until = row.tail.min(first + TILE_WIDTH);
        // Of a log whose records are all trimmed nothing needs to be here.
        if until <= first || first < whole_tiles(row.trim) || until <= row.trim {
            return Ok(None);
        }
        let hash = tiles::found(database, txn, TileAddress { log, level: 0, number })?;
        Ok(Some(Self { log, number, first, until, row, hash }))
    }

    fn range(&self) -> PositionRange {
        let (from, until) = (Position::new(self.first), Position::new(self.until));
        PositionRange::new(from, until).expect("a tile that is flushed has records")
    }

    fn look(&self, database: &Database, txn: &ReadTransaction) -> Result<TileLook, StorageError> {
        let (mut hashes, mut bytes, mut next) = (Vec::new(), 0, self.first);
        let reader = ChunkReader::within(database, txn)?;
        let walked = reader.walk(self.log, self.first, self.until, |chunk| {
            for (position, (time, untimed)) in (chunk.first..).zip(TimedWalk(chunk.records)) {
                if position == next && next < self.until {
                    hashes.push(leaf_hash(time.as_millis(), &untimed));
                    bytes += widen(untimed.len());
                    next += 1;
                }
            }
            Walk::On
        });
        match walked {
            Ok(()) | Err(ChunkFailure::Damaged(..)) => {}
            Err(ChunkFailure::Storage(error)) => return Err(error),
        }
        let is_whole = self.is_proved(&hashes);
        Ok(if is_whole { TileLook::Whole(bytes) } else { TileLook::Damaged(self.range()) })
    }

    fn is_proved(&self, hashes: &[Digest]) -> bool {
        Proof::from(&self.row).check_tile(self.number, hashes, self.hash).is_ok()
    }

    fn is_complete(&self) -> bool {
        self.until == self.first + TILE_WIDTH
    }

    /// Whether these records may take the place of what is here, and how many bytes of the log come before them.
    fn place(
        &self,
        database: &Database,
        txn: &ReadTransaction,
        records: &Bytes,
    ) -> Result<Result<u64, Rewritten>, StorageError> {
        let Ok(hashes) = leaves(records) else { return Ok(Err(Rewritten::Wrong)) };
        if widen(hashes.len()) != self.until - self.first {
            return Ok(Err(Rewritten::Moved));
        }
        if self.is_complete() && self.hash.is_none() {
            return Ok(Err(Rewritten::Unproved));
        }
        if !self.is_proved(&hashes) {
            return Ok(Err(Rewritten::Wrong));
        }
        let (mut from_neighbour, mut is_beyond) = (None, false);
        let reader = ChunkReader::within(database, txn)?;
        let around = (self.first.saturating_sub(1), self.until + 1);
        let surveyed = reader.survey(self.log, around.0, around.1, |chunk| {
            is_beyond |= chunk.first < self.until && chunk.until() > self.until;
            if chunk.first >= self.first {
                let within = bytes_of(records, chunk.first - self.first);
                from_neighbour = from_neighbour.or(chunk.bytes_before.checked_sub(within));
            } else if chunk.until() >= self.first {
                from_neighbour = Some(bytes_in(&chunk, self.first));
            }
        });
        match surveyed {
            Ok(()) | Err(ChunkFailure::Damaged(..)) => {}
            Err(ChunkFailure::Storage(error)) => return Err(error),
        }
        // Records that are not flushed yet share a chunk with these: they would be lost.
        if is_beyond {
            return Ok(Err(Rewritten::Moved));
        }
        let row = &self.row;
        let from_row = if self.first <= row.trim {
            row.bytes_at_trim.checked_sub(bytes_of(records, row.trim - self.first))
        } else if self.until == row.tail {
            row.bytes_at_tail.checked_sub(bytes_of(records, self.until - self.first))
        } else {
            None
        };
        Ok(from_row.or(from_neighbour).ok_or(Rewritten::Placeless))
    }
}

/// Bytes of the first records.
fn bytes_of(records: &Bytes, count: u64) -> u64 {
    let count = usize::try_from(count).expect("a tile's records are few");
    TimedWalk(records.clone()).take(count).map(|(_, untimed)| widen(untimed.len())).sum()
}
