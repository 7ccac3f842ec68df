//! Records in pieces of up to 32 KiB, as redb keeps them; each checked on every read.
//!
//! A chunk never crosses a tile of 256 records, and fills redb's page runs as well as its records allow; a larger
//! record stands alone. What a flush leaves over at the end of a log is a small chunk. A later one is merged with those
//! before it once it is nearly their size, so a slow log ends up with whole chunks, and each byte is written again only
//! a few times. A chunk that fails its check is never merged: what is damaged keeps its damage.
//!
//! Records never change, so chunks that overlap agree: what is written removes the chunks that begin within it, and one
//! that reaches into it from before may stay. Not here: which records are written when (`flusher`).

use bytes::Bytes;
use client::types::{LogId, Position, Timestamp};
use migrations::latest::records::{
    CHUNK_RECORD_HEAD_BYTES, Chunk, ChunkWriter, RUN_RECORD_HEAD_BYTES, run_records,
};
use migrations::latest::tables::{CHUNKS, chunk_key, decode_chunk_key};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, WriteTransaction};

use super::database::Database;
use crate::machine::TILE_WIDTH;
use crate::storage::error::StorageError;

/// What redb adds to one key and value in a page of their own: its head, two lengths, the key.
const LEAF_OVERHEAD_BYTES: usize = 4 + 2 * 4 + 16;
/// The largest value that fits a page run of 32 KiB.
const VALUE_BYTES_MAX: usize = (32 << 10) - LEAF_OVERHEAD_BYTES;
/// The largest value that fits a single page.
const PAGE_VALUE_BYTES: usize = (4 << 10) - LEAF_OVERHEAD_BYTES;
/// A chunk of so many bytes is whole enough to be left alone.
const WHOLE_BYTES: usize = VALUE_BYTES_MAX / 4 * 3;

type Bytewise = &'static [u8];
type KeyAndValue = (Vec<u8>, Vec<u8>);

/// The chunks of a transaction that writes them.
pub(super) struct ChunkTable<'t> {
    table: Table<'t, Bytewise, Bytewise>,
    database: &'t Database,
    written_bytes: usize,
}

/// The end of a log that is being gathered into a chunk.
#[derive(Debug)]
pub(super) struct OpenChunk {
    log: u64,
    first: u64,
    writer: ChunkWriter,
}

impl OpenChunk {
    fn begin(log: u64, first: u64, time: u64, bytes_before: u64, capacity: usize) -> Self {
        let writer =
            ChunkWriter::new(log, first, time, bytes_before, capacity.min(VALUE_BYTES_MAX));
        Self { log, first, writer }
    }

    fn next(&self) -> u64 {
        self.first + u64::from(self.writer.count())
    }

    /// Whether the record at the next position belongs here.
    fn takes(&self, untimed: &[u8]) -> bool {
        let bytes = self.writer.value_bytes() + CHUNK_RECORD_HEAD_BYTES + untimed.len();
        !self.next().is_multiple_of(TILE_WIDTH) && bytes <= VALUE_BYTES_MAX
    }

    /// Bytes of the value so far.
    pub(super) fn value_bytes(&self) -> usize {
        self.writer.value_bytes()
    }
}

/// Records of one time that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunSlice<'r> {
    /// Their log.
    pub(super) log: LogId,
    /// Position of the first.
    pub(super) first: Position,
    /// The time of all of them.
    pub(super) time: Timestamp,
    /// Bytes of all records of the log before the first.
    pub(super) bytes_before: u64,
    /// Per record a `u32` length and its untimed form.
    pub(super) records: &'r [u8],
}

/// One record, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextRecord<'r> {
    /// Its log.
    pub(super) log: u64,
    /// Its position.
    pub(super) position: u64,
    /// Its time.
    pub(super) time: u64,
    /// Bytes of all records of the log before it.
    pub(super) bytes_before: u64,
    /// Its untimed form.
    pub(super) untimed: &'r [u8],
}

impl<'t> ChunkTable<'t> {
    /// The chunks of `txn`.
    pub(super) fn open(
        database: &'t Database,
        txn: &'t WriteTransaction,
    ) -> Result<Self, StorageError> {
        let table = txn.open_table(CHUNKS).map_err(database.failed("write"))?;
        Ok(Self { table, database, written_bytes: 0 })
    }

    /// Bytes of the page runs that were filled with chunks.
    pub(super) const fn written_bytes(&self) -> usize {
        self.written_bytes
    }

    /// Writes a run; its end stays in `open`, for the next run of the log or for [`Self::finish`].
    pub(super) fn append(
        &mut self,
        open: &mut Option<OpenChunk>,
        run: RunSlice<'_>,
    ) -> Result<(), StorageError> {
        let (log, time) = (run.log.get(), run.time.as_millis());
        let mut bytes_before = run.bytes_before;
        let mut left = run.records.len();
        for (position, untimed) in (run.first.get()..).zip(run_records(run.records)) {
            let untimed = untimed.map_err(|_| self.database.damaged("run"))?;
            let record = NextRecord { log, position, time, bytes_before, untimed };
            self.push(open, record, left)?;
            bytes_before += length(untimed);
            left -= RUN_RECORD_HEAD_BYTES + untimed.len();
        }
        Ok(())
    }

    /// Writes one record that follows what is in `open`; of what follows it, `left` bytes are to come.
    pub(super) fn push(
        &mut self,
        open: &mut Option<OpenChunk>,
        record: NextRecord<'_>,
        left: usize,
    ) -> Result<(), StorageError> {
        let NextRecord { log, position, time, bytes_before, untimed } = record;
        if open.as_ref().is_some_and(|chunk| !chunk.takes(untimed)) {
            self.finish(open.take())?;
        }
        let chunk =
            open.get_or_insert_with(|| OpenChunk::begin(log, position, time, bytes_before, left));
        assert!(
            chunk.next() == position,
            "log {log} goes on at {}, not at {position}",
            chunk.next()
        );
        chunk.writer.push(time, untimed);
        Ok(())
    }

    /// Writes what was gathered, together with small chunks right before it.
    pub(super) fn finish(&mut self, open: Option<OpenChunk>) -> Result<(), StorageError> {
        let Some(chunk) = open else { return Ok(()) };
        let log = chunk.log;
        self.remove_overlapped(log, chunk.first, chunk.next())?;
        let (key, mut value) = chunk.writer.finish();
        let mut key = key.to_vec();
        while let Some(merged) = self.merged_with_previous(&key, &value)? {
            self.remove(&merged.key)?;
            if let Some((rest_key, rest)) = merged.rest {
                self.insert(&rest_key, &rest)?;
            }
            (key, value) = (merged.key, merged.value);
        }
        self.insert(&key, &value)
    }

    /// What became of a chunk that is not written yet and the small one before it; nothing if they are to stay apart.
    fn merged_with_previous(
        &self,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Merged>, StorageError> {
        let Ok(chunk) = Chunk::decode(key, value) else {
            return Err(self.database.damaged("chunk before it was written"));
        };
        let head = chunk.head();
        if head.first.is_multiple_of(TILE_WIDTH) || value.len() >= WHOLE_BYTES {
            return Ok(None);
        }
        let Some(previous) = self.previous(head.log, head.first)? else { return Ok(None) };
        let small = previous.1.len();
        let is_worth_it =
            small + value.len() <= PAGE_VALUE_BYTES || small <= value.len() + value.len() / 2;
        let Ok(before) = Chunk::decode(&previous.0, &previous.1) else { return Ok(None) };
        let follows = before.head().until() == head.first;
        if follows && is_worth_it { Ok(merge(&before, &chunk)) } else { Ok(None) }
    }

    /// Key and value of the last chunk of the same tile before `first`.
    fn previous(&self, log: u64, first: u64) -> Result<Option<KeyAndValue>, StorageError> {
        let tile = chunk_key(log, first / TILE_WIDTH * TILE_WIDTH);
        self.last_in(&tile, &chunk_key(log, first))
    }

    fn last_in(&self, from: &[u8], until: &[u8]) -> Result<Option<KeyAndValue>, StorageError> {
        let mut range =
            self.table.range::<&[u8]>(from..until).map_err(self.database.failed("read"))?;
        let Some(found) = range.next_back() else { return Ok(None) };
        let (key, value) = found.map_err(self.database.failed("read"))?;
        Ok(Some((key.value().to_vec(), value.value().to_vec())))
    }

    /// Removes chunks that begin within positions which are about to be written.
    fn remove_overlapped(&mut self, log: u64, first: u64, until: u64) -> Result<(), StorageError> {
        let (from, to) = (chunk_key(log, first), chunk_key(log, until));
        let mut range =
            self.table.range::<&[u8]>(&from[..]..&to[..]).map_err(self.database.failed("read"))?;
        let mut overlapped = Vec::new();
        for found in range.by_ref() {
            overlapped.push(found.map_err(self.database.failed("read"))?.0.value().to_vec());
        }
        drop(range);
        overlapped.iter().try_for_each(|key| self.remove(key))
    }

    /// Removes up to `limit` chunks whose keys lie from `from` until `until`. Says how many it found.
    pub(super) fn remove_range(
        &mut self,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> Result<usize, StorageError> {
        let mut keys = Vec::new();
        let range = self.table.range::<&[u8]>(from..until).map_err(self.database.failed("read"))?;
        for found in range.take(limit) {
            keys.push(found.map_err(self.database.failed("read"))?.0.value().to_vec());
        }
        keys.iter().try_for_each(|key| self.remove(key))?;
        Ok(keys.len())
    }

    /// Ends the chunk that reaches beyond a position right before it.
    pub(super) fn cut(&mut self, log: u64, until: u64) -> Result<(), StorageError> {
        let found = self.last_in(&chunk_key(log, 0), &chunk_key(log, until))?;
        let Some((key, value)) = found else { return Ok(()) };
        let Ok(chunk) = Chunk::decode(&key, &value) else { return Ok(()) };
        let head = chunk.head();
        if head.until() <= until {
            return Ok(());
        }
        let count = usize::try_from(until - head.first).expect("a chunk's records are few");
        let mut kept =
            OpenChunk::begin(head.log, head.first, head.first_time, head.bytes_before, value.len());
        for record in chunk.records().take(count) {
            kept.writer.push(record.time, record.untimed);
        }
        let (key, value) = kept.writer.finish();
        self.insert(&key, &value)
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        let added = page_run_bytes(value.len());
        self.written_bytes += added;
        let before = self.table.insert(key, value).map_err(self.database.failed("write"))?;
        let freed = before.map_or(0, |before| page_run_bytes(before.value().len()));
        self.database.note_kept(added, freed);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), StorageError> {
        let removed = self.table.remove(key).map_err(self.database.failed("write"))?;
        let freed = removed.map_or(0, |removed| page_run_bytes(removed.value().len()));
        self.database.note_kept(0, freed);
        Ok(())
    }
}

/// Two chunks that became one, and what did not fit any more.
struct Merged {
    key: Vec<u8>,
    value: Vec<u8>,
    rest: Option<KeyAndValue>,
}

/// Fills the first chunk from the second; nothing if it is full already.
fn merge(before: &Chunk<'_>, chunk: &Chunk<'_>) -> Option<Merged> {
    let head = before.head();
    let bytes = before.record_bytes().len() + chunk.record_bytes().len();
    let mut open =
        OpenChunk::begin(head.log, head.first, head.first_time, head.bytes_before, bytes);
    let mut bytes_before = head.bytes_before;
    for record in before.records() {
        open.writer.push(record.time, record.untimed);
        bytes_before += length(record.untimed);
    }
    let mut records = chunk.records().peekable();
    if !open.takes(records.peek()?.untimed) {
        return None;
    }
    while let Some(record) = records.next_if(|record| open.takes(record.untimed)) {
        open.writer.push(record.time, record.untimed);
        bytes_before += length(record.untimed);
    }
    let rest = records
        .peek()
        .map(|record| OpenChunk::begin(head.log, open.next(), record.time, bytes_before, bytes));
    let rest = rest.map(|mut rest| {
        records.for_each(|record| rest.writer.push(record.time, record.untimed));
        let (key, value) = rest.writer.finish();
        (key.to_vec(), value)
    });
    let (key, value) = open.writer.finish();
    Some(Merged { key: key.to_vec(), value, rest })
}

/// Records of a log from a chunk, ready to be sent: `{ u32 length, u64 time, untimed record }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Position of the first.
    pub first: Position,
    /// How many.
    pub count: u32,
    /// Their bytes.
    pub bytes: Bytes,
}

/// Why records could not be taken from chunks.
#[derive(Debug)]
pub(super) enum ChunkFailure {
    /// From this position on, up to the second, no chunk passes its check.
    Damaged(u64, u64),
    /// redb could not be read.
    Storage(StorageError),
}

/// The chunks of one log as one read transaction sees them, one after the other.
pub(super) struct ChunkReader<'d> {
    table: ReadOnlyTable<Bytewise, Bytewise>,
    database: &'d Database,
}

/// A chunk whose check was verified, copied out of redb.
#[derive(Debug)]
pub(super) struct FoundChunk {
    /// Its first position.
    pub(super) first: u64,
    /// How many records.
    pub(super) count: u32,
    /// Bytes of all records of the log before it.
    pub(super) bytes_before: u64,
    /// Its records: `{ u32 length, u64 time, untimed record }`.
    pub(super) records: Bytes,
}

impl FoundChunk {
    /// One past its last position.
    pub(super) fn until(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

impl<'d> ChunkReader<'d> {
    /// The chunks as they are now.
    pub(super) fn open(database: &'d Database) -> Result<Self, StorageError> {
        Self::within(database, &database.read()?)
    }

    /// The chunks as `txn` sees them.
    pub(super) fn within(
        database: &'d Database,
        txn: &ReadTransaction,
    ) -> Result<Self, StorageError> {
        let table = txn.open_table(CHUNKS).map_err(database.failed("read"))?;
        Ok(Self { table, database })
    }

    /// The chunk that holds `position`, which must lie below `until`.
    pub(super) fn find(
        &self,
        log: LogId,
        position: u64,
        until: u64,
    ) -> Result<FoundChunk, ChunkFailure> {
        let mut found = None;
        self.walk(log, position, until, |chunk| {
            found = Some(chunk);
            Walk::Enough
        })?;
        found.ok_or(ChunkFailure::Damaged(position, until))
    }

    /// Goes through the chunks from the one that holds `from` on, until all positions below `until` were seen or
    /// `visit` has enough. A gap or a failed check is damage, but only if it comes first: otherwise the walk ends there.
    pub(super) fn walk(
        &self,
        log: LogId,
        from: u64,
        until: u64,
        mut visit: impl FnMut(FoundChunk) -> Walk,
    ) -> Result<(), ChunkFailure> {
        let log = log.get();
        let begin = self.key_holding(log, from)?;
        let end = chunk_key(log, until);
        let range =
            self.table.range::<&[u8]>(&begin[..]..&end[..]).map_err(|error| self.failed(error))?;
        let mut next = from;
        for found in range {
            if next >= until {
                return Ok(());
            }
            let (key, value) = found.map_err(|error| self.failed(error))?;
            let Some(chunk) = read_chunk(log, key.value(), value.value()) else { break };
            if chunk.until() <= next {
                continue;
            }
            if chunk.first > next {
                break;
            }
            next = chunk.until();
            if visit(chunk) == Walk::Enough {
                return Ok(());
            }
        }
        if next > from || next >= until {
            return Ok(());
        }
        Err(ChunkFailure::Damaged(from, self.next_whole(log, from, until)?))
    }

    /// Shows every whole chunk that holds something of `[from, until)`, in order; what is damaged or not there is
    /// passed over.
    pub(super) fn survey(
        &self,
        log: LogId,
        from: u64,
        until: u64,
        mut show: impl FnMut(FoundChunk),
    ) -> Result<(), ChunkFailure> {
        let log = log.get();
        let begin = self.key_holding(log, from)?;
        let end = chunk_key(log, until);
        let range =
            self.table.range::<&[u8]>(&begin[..]..&end[..]).map_err(|error| self.failed(error))?;
        for found in range {
            let (key, value) = found.map_err(|error| self.failed(error))?;
            if let Some(chunk) = read_chunk(log, key.value(), value.value())
                && chunk.until() > from
            {
                show(chunk);
            }
        }
        Ok(())
    }

    /// Key of the last chunk that does not begin after `position`; its own key if there is none.
    fn key_holding(&self, log: u64, position: u64) -> Result<[u8; 16], ChunkFailure> {
        let (lowest, highest) = (chunk_key(log, 0), chunk_key(log, position));
        let mut range = self
            .table
            .range::<&[u8]>(&lowest[..]..=&highest[..])
            .map_err(|error| self.failed(error))?;
        let Some(found) = range.next_back() else { return Ok(highest) };
        let (key, _) = found.map_err(|error| self.failed(error))?;
        <[u8; 16]>::try_from(key.value()).map_err(|_| ChunkFailure::Damaged(position, position + 1))
    }

    /// Where records can be read again after damage at `from`.
    fn next_whole(&self, log: u64, from: u64, until: u64) -> Result<u64, ChunkFailure> {
        let (begin, end) = (chunk_key(log, from + 1), chunk_key(log, until.max(from + 1)));
        let range =
            self.table.range::<&[u8]>(&begin[..]..&end[..]).map_err(|error| self.failed(error))?;
        for found in range {
            let (key, value) = found.map_err(|error| self.failed(error))?;
            let Ok((_, first)) = decode_chunk_key(key.value()) else { continue };
            if read_chunk(log, key.value(), value.value()).is_some() {
                return Ok(first.clamp(from + 1, until.max(from + 1)));
            }
        }
        Ok(until.max(from + 1))
    }

    fn failed(&self, error: redb::StorageError) -> ChunkFailure {
        ChunkFailure::Storage(self.database.failed("read")(error))
    }
}

/// Whether a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// It does.
    On,
    /// It does not.
    Enough,
}

/// The chunk of a key and value, if it passes its check.
fn read_chunk(log: u64, key: &[u8], value: &[u8]) -> Option<FoundChunk> {
    let chunk = Chunk::decode(key, value).ok()?;
    let head = chunk.head();
    (head.log == log).then(|| FoundChunk {
        first: head.first,
        count: head.count,
        bytes_before: head.bytes_before,
        records: Bytes::copy_from_slice(chunk.record_bytes()),
    })
}

/// What redb writes for a value in a page run of its own: runs are powers of two.
const fn page_run_bytes(value_bytes: usize) -> usize {
    (value_bytes + LEAF_OVERHEAD_BYTES).next_power_of_two()
}

fn length(untimed: &[u8]) -> u64 {
    u64::try_from(untimed.len()).expect("a length in memory fits 64 bits")
}
