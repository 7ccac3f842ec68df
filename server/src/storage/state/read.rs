//! Reading a log: from the suffix if it is there, else from chunks; a page at a time.
//!
//! A page is an unbroken range from where it was asked for. It begins in chunks and may end in the suffix. What redb
//! gave is checked before it is served: a page ends before damage, and a page that would begin there is refused, naming
//! the positions. No lock is held while redb is read, so a log may be trimmed or deleted meanwhile; whoever then finds
//! nothing looks again before calling it damage.
//!
//! Not here: waiting for what is not there yet (`node::follow`).

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use client::types::{EntryIndex, LogId, Position, PositionRange, Record, Timestamp};
use migrations::latest::records::{CHUNK_RECORD_HEAD_BYTES, RUN_RECORD_HEAD_BYTES};

use super::chunks::{ChunkFailure, ChunkReader, FoundChunk, Piece, Walk};
use super::source::EntrySource;
use super::suffix::{HeldRecords, HeldRun, place};
use super::{Live, Shared, State};
use crate::machine::LogView;
use crate::storage::error::StorageError;

/// How much one page may hold. A page holds at least one record, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Records.
    pub records_max: usize,
    /// Bytes of records.
    pub bytes_max: usize,
}

/// Which records are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// All that was applied.
    Applied,
    /// Of these, what this replica holds durably: it is there after any crash.
    Durable,
}

/// Records of a log, and where they stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The records.
    pub records: Vec<T>,
    /// Where to go on.
    pub next: Position,
    /// The tail, at the level that was asked for.
    pub tail: Position,
    /// The first position that can be read.
    pub first: Position,
}

/// Why a page was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such log, or no longer.
    #[error("there is no such log")]
    UnknownLog,
    /// These records were trimmed.
    #[error("records before {first} were trimmed")]
    Trimmed {
        /// The first that can be read.
        first: Position,
    },
    /// Nothing was appended there yet.
    #[error("the log ends at {tail}")]
    BeyondTail {
        /// Where the next record goes.
        tail: Position,
    },
    /// These records are damaged here. They are not served.
    #[error("records {range} are damaged on this replica")]
    Damaged {
        /// Their positions.
        range: PositionRange,
    },
    /// Storage could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Part of a page, as it was found.
enum Part {
    Chunk(Piece),
    Run { first: Position, count: u32, time: Timestamp, records: Bytes },
}

/// What a page may still take.
#[derive(Clone, Copy)]
struct Room {
    records: usize,
    bytes: usize,
    is_empty: bool,
}

impl Room {
    fn new(limit: ReadLimit) -> Self {
        Self { records: limit.records_max.max(1), bytes: limit.bytes_max, is_empty: true }
    }

    fn is_used_up(self) -> bool {
        self.records == 0 || (self.bytes == 0 && !self.is_empty)
    }

    /// Takes room for a record, if there is some.
    fn take(&mut self, bytes: usize) -> bool {
        if self.records == 0 || (bytes > self.bytes && !self.is_empty) {
            self.bytes = 0;
            return false;
        }
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.is_empty = false;
        true
    }
}

/// What a look at the views gave, at one moment.
struct Look {
    first: Position,
    tail: Position,
    /// Runs from the asked position on, if they are in the suffix.
    runs: Vec<HeldRun>,
    /// From here on, records are in the suffix.
    suffix: Position,
}

impl State {
    /// A page of records from `from` on. At the tail it comes from memory, and shares it.
    pub fn read(
        &self,
        log: LogId,
        from: Position,
        limit: ReadLimit,
        level: Level,
    ) -> Result<Page<Record>, ReadError> {
        let Page { records: parts, next, tail, first } = self.0.parts(log, from, limit, level)?;
        let mut records = Vec::new();
        for part in parts {
            part.into_records(&mut records)?;
        }
        Ok(Page { records, next, tail, first })
    }

    /// The same page, if memory alone can give it: never blocks on the disk.
    pub fn read_suffix(
        &self,
        log: LogId,
        from: Position,
        limit: ReadLimit,
        level: Level,
    ) -> Option<Result<Page<Record>, ReadError>> {
        let mut room = Room::new(limit);
        let look = self.0.look(log, from, room, self.0.durable(level));
        let Look { first, tail, runs, suffix } = match look {
            Err(error) => return Some(Err(error)),
            Ok(look) => look,
        };
        let is_held = |run: &HeldRun| matches!(run.records, HeldRecords::Here(_));
        if from < suffix || !runs.iter().all(is_held) {
            return None;
        }
        let mut parts = Vec::new();
        let page = self.0.take_runs(&runs, (from, tail), &mut room, &mut parts).and_then(|next| {
            let mut records = Vec::new();
            for part in parts {
                part.into_records(&mut records)?;
            }
            Ok(Page { records, next, tail, first })
        });
        Some(page)
    }

    /// The same page as bytes that can be sent as they are.
    pub fn read_pieces(
        &self,
        log: LogId,
        from: Position,
        limit: ReadLimit,
        level: Level,
    ) -> Result<Page<Piece>, ReadError> {
        let Page { records: parts, next, tail, first } = self.0.parts(log, from, limit, level)?;
        let records = parts.into_iter().map(Part::into_piece).collect();
        Ok(Page { records, next, tail, first })
    }

    /// The tail of a log at a level.
    pub fn tail(&self, log: LogId, level: Level) -> Option<Position> {
        let durable = self.0.durable(level);
        let live = self.0.live();
        let view = live.views.by_id(log)?;
        Some(tail_at(&live, view, durable))
    }

    /// Position of the first record at or after a time; the tail, if all are older. Times only grow within a log.
    pub fn locate(&self, log: LogId, time: Timestamp) -> Result<Position, ReadError> {
        let (first, tail, suffix) = {
            let live = self.0.live();
            let view = live.views.by_id(log).ok_or(ReadError::UnknownLog)?;
            if view.last_time < time {
                return Ok(view.tail);
            }
            let runs = live.suffix.runs(log);
            let older = runs.map_or(0, |runs| runs.partition_point(|run| run.time < time));
            let found = runs.and_then(|runs| runs.get(older));
            if let (Some(run), 1..) = (found, older) {
                return Ok(run.first.max(view.trim));
            }
            (view.trim, view.tail, live.suffix.first(log).unwrap_or(view.tail))
        };
        let older = |chunk: &FoundChunk| {
            TimedWalk(chunk.records.clone()).take_while(|(at, _)| *at < time).count()
        };
        self.0.locate_in_chunks(log, (first, suffix.clamp(first, tail)), older)
    }

    /// The last position that no more than `bytes` bytes of records come before, from the first readable one on.
    pub fn locate_bytes(&self, log: LogId, bytes: u64) -> Result<Position, ReadError> {
        let (first, run, suffix) = {
            let live = self.0.live();
            let view = live.views.by_id(log).ok_or(ReadError::UnknownLog)?;
            if bytes >= view.bytes_at_tail {
                return Ok(view.tail);
            }
            if bytes <= view.bytes_at_trim {
                return Ok(view.trim);
            }
            let runs = live.suffix.runs(log);
            let begun =
                runs.map_or(0, |runs| runs.partition_point(|run| run.bytes_before <= bytes));
            let run = runs.and_then(|runs| runs.get(begun.checked_sub(1)?)).cloned();
            let suffix = live.suffix.first(log).unwrap_or(view.tail);
            (view.trim, run, suffix.clamp(view.trim, view.tail))
        };
        if let Some(run) = run {
            let records = self.0.body(&run)?;
            let fitting = fitting(RunWalk(records), run.bytes_before, bytes);
            return Ok(run.first.advance(widen(fitting)).max(first));
        }
        self.0.locate_in_chunks(log, (first, suffix), |chunk| {
            let records = TimedWalk(chunk.records.clone()).map(|(_, untimed)| untimed);
            fitting(records, chunk.bytes_before, bytes)
        })
    }

    /// The time of the first readable record of a log; nothing, if none is readable.
    pub fn first_time(&self, log: LogId) -> Result<Option<Timestamp>, ReadError> {
        let (first, tail) = {
            let live = self.0.live();
            let view = live.views.by_id(log).ok_or(ReadError::UnknownLog)?;
            if view.trim == view.tail {
                return Ok(None);
            }
            if let Some(run) = held_run(&live, log, view.trim) {
                return Ok(Some(run.time));
            }
            (view.trim, view.tail)
        };
        self.0.guarded(log, first, || {
            let reader = ChunkReader::open(&self.0.database)?;
            let chunk = reader.find(log, first.get(), tail.get())?;
            let mut records = TimedWalk(chunk.records).skip(narrow(first.get() - chunk.first));
            Ok(records.next().map(|(time, _)| time))
        })
    }

    /// Bytes of all records of a log before `position`, which may be its tail: what a trim to there carries.
    pub fn bytes_before(&self, log: LogId, position: Position) -> Result<u64, ReadError> {
        let (run, tail) = {
            let live = self.0.live();
            let view = live.views.by_id(log).ok_or(ReadError::UnknownLog)?;
            check_bounds(position, view.trim, view.tail)?;
            if position == view.tail {
                return Ok(view.bytes_at_tail);
            }
            if position == view.trim {
                return Ok(view.bytes_at_trim);
            }
            (held_run(&live, log, position).cloned(), view.tail)
        };
        if let Some(run) = run {
            let records = self.0.body(&run)?;
            let before = RunWalk(records).take(count_to(run.first, position));
            return Ok(run.bytes_before + before.map(|untimed| widen(untimed.len())).sum::<u64>());
        }
        self.0.guarded(log, position, || {
            let reader = ChunkReader::open(&self.0.database)?;
            let chunk = reader.find(log, position.get(), tail.get())?;
            let before = TimedWalk(chunk.records).take(narrow(position.get() - chunk.first));
            Ok(chunk.bytes_before + before.map(|(_, untimed)| widen(untimed.len())).sum::<u64>())
        })
    }
}

impl Shared {
    fn parts(
        &self,
        log: LogId,
        from: Position,
        limit: ReadLimit,
        level: Level,
    ) -> Result<Page<Part>, ReadError> {
        let durable = self.durable(level);
        let mut room = Room::new(limit);
        let mut records = Vec::new();
        let mut next = from;
        loop {
            let look = self.look(log, next, room, durable);
            // What was gathered is right whatever happened since.
            let Look { first, tail, runs, suffix } = match look {
                Err(error) if records.is_empty() => return Err(error),
                Err(_) => return Ok(Page { records, next, tail: next, first: from }),
                Ok(look) => look,
            };
            if next >= suffix {
                next = self.take_runs(&runs, (next, tail), &mut room, &mut records)?;
                return Ok(Page { records, next, tail, first });
            }
            let until = suffix.min(tail);
            next = self.guarded(log, next, || {
                self.take_chunks(log, (next, until), &mut room, &mut records)
            })?;
            if room.is_used_up() || next < until || next >= tail {
                return Ok(Page { records, next, tail, first });
            }
        }
    }

    /// Looks where a page from `from` on is to be taken from.
    fn look(
        &self,
        log: LogId,
        from: Position,
        room: Room,
        durable: Option<EntryIndex>,
    ) -> Result<Look, ReadError> {
        let live = self.live();
        let view = live.views.by_id(log).ok_or(ReadError::UnknownLog)?;
        let tail = tail_at(&live, view, durable);
        check_bounds(from, view.trim, tail)?;
        let suffix = live.suffix.first(log).unwrap_or(view.tail);
        let runs = match live.suffix.runs(log) {
            Some(runs) if suffix <= from && from < tail => enough(runs, from, tail, room),
            _ => Vec::new(),
        };
        Ok(Look { first: view.trim, tail, runs, suffix: suffix.min(tail) })
    }

    fn take_runs(
        &self,
        runs: &[HeldRun],
        (from, tail): (Position, Position),
        room: &mut Room,
        parts: &mut Vec<Part>,
    ) -> Result<Position, ReadError> {
        let mut next = from;
        for run in runs {
            let records = self.body(run)?;
            let until = count_to(run.first, run.next().min(tail));
            let (part, taken) = slice_run(&records, (count_to(run.first, next), until), room);
            if taken > 0 {
                parts.push(Part::Run { first: next, count: taken, time: run.time, records: part });
            }
            next = next.advance(u64::from(taken));
            if room.is_used_up() || next < run.next().min(tail) {
                break;
            }
        }
        Ok(next)
    }

    fn take_chunks(
        &self,
        log: LogId,
        (from, until): (Position, Position),
        room: &mut Room,
        parts: &mut Vec<Part>,
    ) -> Result<Position, ChunkFailure> {
        let reader = ChunkReader::open(&self.database)?;
        let mut next = from;
        reader.walk(log, from.get(), until.get(), |chunk| {
            let piece = slice_chunk(&chunk, (next, until), room);
            next = next.advance(u64::from(piece.count));
            let is_whole = next.get() == chunk.until();
            if piece.count > 0 {
                parts.push(Part::Chunk(piece));
            }
            if is_whole && !room.is_used_up() { Walk::On } else { Walk::Enough }
        })?;
        Ok(next)
    }

    /// Where the first part of a log ends, between two positions; `part` counts the records of a chunk that belong to it.
    /// A search by halves: every chunk tells the time of its records and the bytes before them.
    fn locate_in_chunks(
        &self,
        log: LogId,
        (first, until): (Position, Position),
        part: impl Fn(&FoundChunk) -> usize,
    ) -> Result<Position, ReadError> {
        self.guarded(log, first, || {
            let reader = ChunkReader::open(&self.database)?;
            // Everything before `low` belongs to the first part, nothing from `high` on does.
            let (mut low, mut high) = (first.get(), until.get());
            while low < high {
                let chunk = reader.find(log, low.midpoint(high), until.get())?;
                let count = part(&chunk);
                if count == 0 {
                    high = chunk.first.max(low);
                } else {
                    let boundary = chunk.first + widen(count);
                    if boundary < chunk.until() {
                        return Ok(Position::new(boundary.clamp(low, until.get())));
                    }
                    low = boundary.min(high);
                }
            }
            Ok(Position::new(low))
        })
    }

    /// The records of a run; from the journal, if they were dropped.
    pub(super) fn body(&self, run: &HeldRun) -> Result<Bytes, StorageError> {
        match &run.records {
            HeldRecords::Here(records) => Ok(records.clone()),
            HeldRecords::InJournal { offset, length } => {
                self.slice_payload(&self.payload(run.entry)?, *offset, *length)
            }
        }
    }

    /// Reads from redb. What is not found there may have been trimmed or deleted meanwhile: that is no damage.
    fn guarded<T>(
        &self,
        log: LogId,
        from: Position,
        mut read: impl FnMut() -> Result<T, ChunkFailure>,
    ) -> Result<T, ReadError> {
        let mut failure = None;
        let read = self.database.unwinding(|| match read() {
            Ok(value) => Ok(Some(value)),
            Err(ChunkFailure::Storage(error)) => Err(error),
            Err(ChunkFailure::Damaged(from, until)) => {
                failure = Some((from, until));
                Ok(None)
            }
        });
        let (begin, end) = match read {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => failure.unwrap_or((from.get(), from.get() + 1)),
            Err(StorageError::Damaged { .. }) => (from.get(), from.get() + 1),
            Err(error) => return Err(error.into()),
        };
        let trim = self.live().views.by_id(log).map(|view| view.trim);
        let first = trim.ok_or(ReadError::UnknownLog)?;
        if from < first {
            return Err(ReadError::Trimmed { first });
        }
        let range = PositionRange::new(Position::new(begin), Position::new(end))
            .expect("damage ends after it begins");
        self.tell(|observer| observer.damage_found(log, range));
        Err(ReadError::Damaged { range })
    }

    fn durable(&self, level: Level) -> Option<EntryIndex> {
        match level {
            Level::Applied => None,
            Level::Durable => Some(
                self.source().ok().and_then(EntrySource::durable).unwrap_or(EntryIndex::new(0)),
            ),
        }
    }
}

impl From<StorageError> for ChunkFailure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// The tail of a log, counting only what came with entries up to `durable`.
fn tail_at(live: &Live, view: &LogView, durable: Option<EntryIndex>) -> Position {
    let (Some(durable), Some(runs)) = (durable, live.suffix.runs(view.id)) else {
        return view.tail;
    };
    // Newer runs are few: what is applied is durable soon.
    let newer = runs.iter().rev().take_while(|run| run.entry > durable);
    newer.last().map_or(view.tail, |run| run.first.max(view.trim))
}

fn check_bounds(from: Position, first: Position, tail: Position) -> Result<(), ReadError> {
    if from < first {
        return Err(ReadError::Trimmed { first });
    }
    if from > tail {
        return Err(ReadError::BeyondTail { tail });
    }
    Ok(())
}

/// Copies of as many runs as fill the room, from the one that holds `from` on.
fn enough(runs: &VecDeque<HeldRun>, from: Position, tail: Position, room: Room) -> Vec<HeldRun> {
    let mut found = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    for run in runs.range(place(runs, from)..).take_while(|run| run.first < tail) {
        found.push(run.clone());
        // Of the first run, records before `from` do not count.
        records += count_to(run.first.max(from), run.next());
        bytes += if found.len() == 1 { 0 } else { body_bytes(run) };
        if records >= room.records || bytes >= room.bytes {
            break;
        }
    }
    found
}

fn held_run(live: &Live, log: LogId, position: Position) -> Option<&HeldRun> {
    let runs = live.suffix.runs(log)?;
    let run = runs.get(place(runs, position))?;
    (run.first <= position).then_some(run)
}

fn body_bytes(run: &HeldRun) -> usize {
    match &run.records {
        HeldRecords::Here(records) => records.len(),
        HeldRecords::InJournal { length, .. } => narrow(u64::from(*length)),
    }
}

/// The records of a run between two counts, as far as there is room.
fn slice_run(run: &Bytes, (skip, until): (usize, usize), room: &mut Room) -> (Bytes, u32) {
    let lengths = RunWalk(run.clone()).map(|untimed| RUN_RECORD_HEAD_BYTES + untimed.len());
    slice(run, lengths, RUN_RECORD_HEAD_BYTES, (skip, until), room)
}

/// The records of a chunk from `next` on, as far as there is room and not beyond `until`.
fn slice_chunk(chunk: &FoundChunk, (next, until): (Position, Position), room: &mut Room) -> Piece {
    let skip = narrow(next.get() - chunk.first);
    let until = narrow(until.get().min(chunk.until()) - chunk.first);
    let lengths = TimedWalk(chunk.records.clone())
        .map(|(_, untimed)| CHUNK_RECORD_HEAD_BYTES + untimed.len());
    let (bytes, count) =
        slice(&chunk.records, lengths, CHUNK_RECORD_HEAD_BYTES, (skip, until), room);
    Piece { first: next, count, bytes }
}

fn slice(
    all: &Bytes,
    lengths: impl Iterator<Item = usize>,
    head_bytes: usize,
    (skip, until): (usize, usize),
    room: &mut Room,
) -> (Bytes, u32) {
    let (mut begin, mut end, mut count) = (0, 0, 0);
    for (at, length) in lengths.take(until).enumerate() {
        if at < skip {
            begin += length;
            end = begin;
            continue;
        }
        if !room.take(length - head_bytes) {
            break;
        }
        end += length;
        count += 1;
    }
    (all.slice(begin..end), count)
}

impl Part {
    fn into_records(self, into: &mut Vec<Record>) -> Result<(), ReadError> {
        match self {
            Self::Chunk(Piece { first, count, bytes }) => {
                into.reserve(narrow(u64::from(count)));
                for (at, (time, untimed)) in (0..).zip(TimedWalk(bytes)) {
                    into.push(record(first.advance(at), time, untimed)?);
                }
            }
            Self::Run { first, count, time, records } => {
                into.reserve(narrow(u64::from(count)));
                for (at, untimed) in (0..).zip(RunWalk(records)) {
                    into.push(record(first.advance(at), time, untimed)?);
                }
            }
        }
        Ok(())
    }

    /// Only records in memory need to be put together: those of chunks have their times beside them.
    fn into_piece(self) -> Piece {
        match self {
            Self::Chunk(piece) => piece,
            Self::Run { first, count, time, records } => {
                let times = narrow(u64::from(count)) * size_of::<u64>();
                let mut bytes = BytesMut::with_capacity(records.len() + times);
                for untimed in RunWalk(records) {
                    bytes.put_u32_le(u32::try_from(untimed.len()).expect("a record was measured"));
                    bytes.put_u64_le(time.as_millis());
                    bytes.put_slice(&untimed);
                }
                Piece { first, count, bytes: bytes.freeze() }
            }
        }
    }
}

/// Bytes that passed their check and still are no record were written wrong: that is damage, too.
fn record(position: Position, time: Timestamp, untimed: Bytes) -> Result<Record, ReadError> {
    Record::from_untimed(position, time, untimed).map_err(|_| {
        let range = PositionRange::new(position, position.advance(1));
        ReadError::Damaged { range: range.expect("a position comes before the next") }
    })
}

/// Walks records of a run: `{ u32 length, untimed }`.
struct RunWalk(Bytes);

impl Iterator for RunWalk {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let length = narrow(u64::from(self.0.try_get_u32_le().ok()?));
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }
}

/// Walks records of a chunk, or of a piece of one: `{ u32 length, u64 time, untimed }`. Ends where no whole record
/// follows.
#[derive(Debug, Clone)]
pub struct TimedWalk(pub Bytes);

impl Iterator for TimedWalk {
    type Item = (Timestamp, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let length = narrow(u64::from(self.0.try_get_u32_le().ok()?));
        let time = Timestamp::new(self.0.try_get_u64_le().ok()?);
        (length <= self.0.len()).then(|| (time, self.0.split_to(length)))
    }
}

/// How many records, from the first on, end within `bytes` of their log's.
fn fitting(records: impl Iterator<Item = Bytes>, bytes_before: u64, bytes: u64) -> usize {
    let ends = records.scan(bytes_before, |end, untimed| {
        *end += widen(untimed.len());
        Some(*end)
    });
    ends.take_while(|end| *end <= bytes).count()
}

fn count_to(first: Position, position: Position) -> usize {
    narrow(position.get().saturating_sub(first.get()))
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}

fn narrow(count: u64) -> usize {
    usize::try_from(count).expect("a count of what is in memory fits there")
}
