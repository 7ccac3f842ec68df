//! What a manifest names and this state does not hold: the difference that a transfer fetches.
//!
//! Of each log a manifest needs the records from the tile that holds its trim point on. What was flushed here is here:
//! it lies below the tail of the log's own row. Beyond that, chunks may have been written ahead; these are looked at one
//! by one. Records never change and ids of logs are never used twice, so whatever is found is right, whichever transfer
//! brought it.
//!
//! Not here: hashes of tiles (`tiles`), and where to get what is lacking (`peer::transfer`).

use bytes::{Bytes, BytesMut};
use client::types::{LogId, Position};
use migrations::latest::records::CHUNK_RECORD_HEAD_BYTES;
use migrations::latest::tables::{CATALOG, log_key};
use migrations::latest::values::{CatalogRow, Row as _};
use redb::ReadTransaction;

use super::chunks::{ChunkFailure, ChunkReader, FoundChunk, Piece, Walk};
use super::database::Database;
use super::read::TimedWalk;
use super::trim::whole_tiles;
use super::{State, widen};
use crate::machine::TILE_WIDTH;
use crate::storage::error::StorageError;

/// Records of a log that are not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Their log.
    pub log: LogId,
    /// The first of them. What precedes it in its tile is here.
    pub from: Position,
    /// One past the last: the end of a tile, or of the log.
    pub until: Position,
    /// A position from the first to one past the last.
    pub anchor: Position,
    /// Bytes of all records of the log before that.
    pub bytes_before: u64,
    /// Bytes of these records, counted from the trim point on.
    pub bytes: u64,
}

impl Gap {
    /// The records from one position to another, of each of which it is known how many bytes come before: of the first,
    /// before its anchor.
    pub(super) fn between(
        log: LogId,
        (from, bytes_before): (u64, u64),
        anchor: u64,
        (until, bytes_until): (u64, u64),
    ) -> Self {
        Self {
            log,
            from: Position::new(from),
            until: Position::new(until),
            anchor: Position::new(anchor),
            bytes_before,
            bytes: bytes_until.saturating_sub(bytes_before),
        }
    }
}

impl State {
    /// What is lacking here of the records of one log as a manifest has it, in order.
    pub fn gaps(&self, log: LogId, row: &CatalogRow) -> Result<Vec<Gap>, StorageError> {
        let database = &self.0.database;
        database.unwinding(|| {
            let txn = database.read()?;
            let survey =
                Survey { database, reader: ChunkReader::within(database, &txn)?, log, row };
            survey.gaps(flushed(database, &txn, log)?.as_ref())
        })
    }

    /// Bytes of all records of a log before a position whose record is in redb; nothing if it is not, or damaged.
    pub fn bytes_until(&self, log: LogId, position: Position) -> Result<Option<u64>, StorageError> {
        let (database, position) = (&self.0.database, position.get());
        database.unwinding(|| {
            let reader = ChunkReader::open(database)?;
            match reader.find(log, position, position + 1) {
                Ok(chunk) => Ok(Some(bytes_in(&chunk, position))),
                Err(ChunkFailure::Damaged(..)) => Ok(None),
                Err(ChunkFailure::Storage(error)) => Err(error),
            }
        })
    }

    /// Records of a log from redb as they can be sent, whether its pointers are there already or not: from `from` on as
    /// many as fit `bytes_max`, but at least one, and none from `until` on. Nothing if the first one is not here, or
    /// damaged.
    pub fn stretch(
        &self,
        log: LogId,
        (from, until): (Position, Position),
        bytes_max: usize,
    ) -> Result<Option<Piece>, StorageError> {
        let found = self.stretch_in_parts(log, (from, until), bytes_max)?;
        Ok(found.map(|(count, parts)| Piece { first: from, count, bytes: joined(parts) }))
    }

    /// The same as parts that follow each other, and how many records they are: nothing large is put together.
    pub fn stretch_in_parts(
        &self,
        log: LogId,
        (from, until): (Position, Position),
        bytes_max: usize,
    ) -> Result<Option<(u32, Vec<Bytes>)>, StorageError> {
        let database = &self.0.database;
        let found = database.unwinding(|| {
            let reader = ChunkReader::open(database)?;
            let mut cut =
                Cut { next: from.get(), until: until.get(), bytes_max, parts: Vec::new() };
            match reader.walk(log, from.get(), until.get(), |chunk| cut.take(&chunk)) {
                Ok(()) | Err(ChunkFailure::Damaged(..)) => Ok(cut),
                Err(ChunkFailure::Storage(error)) => Err(error),
            }
        });
        let cut = match found {
            Ok(cut) => cut,
            Err(StorageError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let count = u32::try_from(cut.next - from.get()).expect("an answer holds fewer records");
        Ok((count > 0).then_some((count, cut.parts)))
    }
}

/// The row of a log as it was flushed here.
pub(super) fn flushed(
    database: &Database,
    txn: &ReadTransaction,
    log: LogId,
) -> Result<Option<CatalogRow>, StorageError> {
    let catalog = txn.open_table(CATALOG).map_err(database.failed("read"))?;
    let key = log_key(log.get());
    let Some(value) = catalog.get(&key[..]).map_err(database.failed("read"))? else {
        return Ok(None);
    };
    let row = CatalogRow::decode(&key, value.value());
    row.map(Some).map_err(|_| database.damaged("row"))
}

/// A look at what is here of one log.
struct Survey<'s> {
    database: &'s Database,
    reader: ChunkReader<'s>,
    log: LogId,
    /// The log, as the manifest names it.
    row: &'s CatalogRow,
}

impl Survey<'_> {
    fn gaps(&self, flushed: Option<&CatalogRow>) -> Result<Vec<Gap>, StorageError> {
        let begin = whole_tiles(self.row.trim);
        let known = flushed
            .filter(|flushed| whole_tiles(flushed.trim) <= begin)
            .map_or(begin, |flushed| whole_tiles(flushed.tail.min(self.row.tail)).max(begin));
        // The tile at the trim point is looked at whatever the row says: an install looks there, too.
        if known > begin && self.holes(begin, begin + TILE_WIDTH)?.is_empty() {
            match self.gaps_from(known) {
                Err(ChunkFailure::Damaged(..)) => {}
                Ok(gaps) => return Ok(gaps),
                Err(ChunkFailure::Storage(error)) => return Err(error),
            }
        }
        self.gaps_from(begin).map_err(|failure| match failure {
            ChunkFailure::Storage(error) => error,
            ChunkFailure::Damaged(..) => self.database.damaged("chunk"),
        })
    }

    fn gaps_from(&self, known: u64) -> Result<Vec<Gap>, ChunkFailure> {
        let holes = self.holes(known, self.row.tail)?;
        holes.into_iter().map(|hole| self.gap(hole)).collect()
    }

    /// What is not here of `[from, until)`, each piece to the end of a tile or of the log.
    fn holes(&self, from: u64, until: u64) -> Result<Vec<(u64, u64)>, StorageError> {
        let mut holes = Vec::new();
        let mut next = from;
        let surveyed = self.reader.survey(self.log, from, until, |chunk| {
            if chunk.first > next {
                holes.push((next, chunk.first));
            }
            next = next.max(chunk.until());
        });
        match surveyed {
            Ok(()) => {}
            Err(ChunkFailure::Storage(error)) => return Err(error),
            Err(ChunkFailure::Damaged(..)) => return Ok(vec![(from, until)]),
        }
        if next < until {
            holes.push((next, until));
        }
        let mut whole: Vec<(u64, u64)> = Vec::new();
        for (from, until) in holes {
            let until = until.next_multiple_of(TILE_WIDTH).min(self.row.tail);
            match whole.last_mut() {
                Some(last) if last.1 >= from => last.1 = last.1.max(until),
                _ => whole.push((from, until)),
            }
        }
        Ok(whole)
    }

    fn gap(&self, (from, until): (u64, u64)) -> Result<Gap, ChunkFailure> {
        let row = self.row;
        let (anchor, bytes_before) = if from <= row.trim {
            (row.trim, row.bytes_at_trim)
        } else {
            (from, self.bytes_before_next(from)?)
        };
        let bytes_until =
            if until == row.tail { row.bytes_at_tail } else { self.bytes_before(until)? };
        Ok(Gap::between(self.log, (from, bytes_before), anchor, (until, bytes_until)))
    }

    /// Bytes of all records before `position`, whose record is here.
    fn bytes_before(&self, position: u64) -> Result<u64, ChunkFailure> {
        let chunk = self.reader.find(self.log, position, position + 1)?;
        Ok(bytes_in(&chunk, position))
    }

    /// The same for a position whose predecessor is here.
    fn bytes_before_next(&self, position: u64) -> Result<u64, ChunkFailure> {
        let chunk = self.reader.find(self.log, position - 1, position)?;
        Ok(bytes_in(&chunk, position))
    }
}

/// Bytes of all records before a position that lies in a chunk, or right behind.
pub(super) fn bytes_in(chunk: &FoundChunk, position: u64) -> u64 {
    let count = usize::try_from(position - chunk.first).expect("a chunk's records are few");
    let records = TimedWalk(chunk.records.clone()).take(count);
    chunk.bytes_before + records.map(|(_, untimed)| widen(untimed.len())).sum::<u64>()
}

/// What is taken of chunks that follow each other.
struct Cut {
    next: u64,
    until: u64,
    /// How much may still be taken.
    bytes_max: usize,
    parts: Vec<Bytes>,
}

impl Cut {
    fn take(&mut self, chunk: &FoundChunk) -> Walk {
        let (mut begin, mut end, mut at) = (0, 0, chunk.first);
        for (_, untimed) in TimedWalk(chunk.records.clone()) {
            let length = CHUNK_RECORD_HEAD_BYTES + untimed.len();
            if at < self.next {
                begin += length;
                end = begin;
            } else {
                let is_first = self.parts.is_empty() && end == begin;
                if at == self.until || (length > self.bytes_max && !is_first) {
                    break;
                }
                end += length;
                self.bytes_max = self.bytes_max.saturating_sub(length);
                self.next = at + 1;
            }
            at += 1;
        }
        if end > begin {
            self.parts.push(chunk.records.slice(begin..end));
        }
        // A chunk that was not taken whole ends the cut.
        if at == chunk.until() && self.bytes_max > 0 { Walk::On } else { Walk::Enough }
    }
}

fn joined(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        all.extend_from_slice(&part);
    }
    all.freeze()
}
