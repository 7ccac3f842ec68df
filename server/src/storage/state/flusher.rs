//! The one thread that writes redb: what was applied, in large transactions, behind the acknowledgement.
//!
//! A flush is cut with the machine locked, so that it holds all of its last entry and nothing after. Then the machine
//! goes on, and the flush waits until the journal holds that entry durably. One transaction writes records, hashes of
//! tiles and rows, the entry's id among them; what it wrote is then let go from memory. Runs are taken in the order in
//! which they came, so what lag has dropped from memory is read from the journal from front to back.
//!
//! redb writes twice what it cannot keep in memory until the commit. So the records of a very large flush go ahead in
//! transactions of their own, beyond every pointer, where nobody sees them: they are right for ever, and a crash leaves
//! chunks that the next flush writes again. Everything else, and the last of the records, is in the one transaction.
//!
//! Nothing is tried again: a failure is reported, and the process ends. So is a flusher without progress. Not here: how
//! records become chunks (`chunks`), and what is deleted between two flushes (`trim`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use client::types::{EntryId, EntryIndex, LogId, PositionRange};
use redb::WriteTransaction;

use super::checkpoints::{Sealed, remove_kept};
use super::chunks::{ChunkTable, OpenChunk, RunSlice};
use super::suffix::{HeldRecords, HeldRun};
use super::trim::Trimmer;
use super::{EVICT_STEPS, Shared, State, StateLevels, UNBROKEN, manifest, tiles, widen};
use crate::storage::disk::crash_point;
use crate::storage::error::StorageError;
use crate::world::Instant;

/// So many runs are copied out of the suffix at a time.
const BATCH_RUNS: usize = 1024;
/// How long one wait for the journal is.
const DURABLE_WAIT: Duration = Duration::from_millis(100);

/// What one flush did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// The entry whose state redb holds now.
    pub entry: EntryId,
    /// How long it took, the wait for the journal included.
    pub elapsed: Duration,
    /// Bytes of records that were flushed.
    pub record_bytes: u64,
    /// Bytes written to the file for it.
    pub written_bytes: u64,
    /// What is left.
    pub levels: StateLevels,
}

/// Why the flusher gave up. Nothing is flushed any more; the process is to end.
#[derive(Debug, thiserror::Error)]
pub enum FlushFailure {
    /// redb, or an entry of the journal, could not be read or written.
    #[error("state could not be flushed")]
    Storage(#[from] StorageError),
    /// Nothing was done for too long.
    #[error("flusher made no progress for {} s", waited.as_secs())]
    Stalled {
        /// For how long.
        waited: Duration,
    },
    /// Broken code.
    #[error("flusher panicked")]
    Panicked,
}

/// Hears of what the state does by itself. Called from its threads: must be quick.
pub trait StateObserver: Send + Sync {
    /// A flush was done.
    fn flushed(&self, flushed: &Flushed);
    /// Records were found damaged, and were not served.
    fn damage_found(&self, log: LogId, range: PositionRange);
    /// The flusher gave up: the process is to end. Told once.
    fn failed(&self, failure: &FlushFailure);
}

/// Observes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl StateObserver for Unobserved {
    fn flushed(&self, _flushed: &Flushed) {}
    fn damage_found(&self, _log: LogId, _range: PositionRange) {}
    fn failed(&self, _failure: &FlushFailure) {}
}

/// Fails the test in which the state fails or finds damage.
#[cfg(test)]
pub struct Strict;

#[cfg(test)]
impl StateObserver for Strict {
    fn flushed(&self, _flushed: &Flushed) {}

    fn damage_found(&self, log: LogId, range: PositionRange) {
        panic!("damage in log {log} at {range}");
    }

    fn failed(&self, failure: &FlushFailure) {
        panic!("flushing failed: {failure}");
    }
}

/// What the flusher is asked to do.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// Flushes asked for, and those done.
    requested: u64,
    served: u64,
    is_full: bool,
    /// Leftovers are to be looked for again.
    is_replaced: bool,
    stage: Stage,
    failure: Option<Arc<FlushFailure>>,
}

/// How far the flusher's life is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Working,
    /// It flushes once more, then ends.
    Closing,
    /// It does nothing any more.
    Over,
}

impl Control {
    /// Asks the flusher to end.
    pub(super) fn begin_close(&mut self) {
        self.stage = self.stage.max(Stage::Closing);
    }

    /// Tells the flusher that an install replaced the state.
    pub(super) fn note_replaced(&mut self) {
        self.is_replaced = true;
    }

    fn has_order(&self) -> bool {
        self.stage > Stage::Working || self.is_full || self.requested > self.served
    }
}

/// What one pass of the flusher is for.
struct Order {
    requested: u64,
    is_closing: bool,
    is_replaced: bool,
    is_flush_due: bool,
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// redb holds all now that was applied before.
    Done,
    /// A stop came before the journal held it durably. The machine has given away what was cut, so
    /// a later flush would name its entry without its rows: there must be none. The next start
    /// replays the journal.
    LeftOut,
}

/// What is to be flushed.
struct Cut<'g> {
    sealed: Sealed,
    _gate: MutexGuard<'g, ()>,
}

/// The thread's own.
pub(super) struct Flusher {
    state: State,
    trimmer: Trimmer,
    last_flush: Instant,
    /// The payload read last from the journal.
    payload: Option<(EntryIndex, Bytes)>,
}

impl Flusher {
    pub(super) fn new(state: State) -> Self {
        let last_flush = state.0.running().clock.now();
        Self { state, trimmer: Trimmer::default(), last_flush, payload: None }
    }

    /// Works until the state is closed, or something fails.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.state.0);
        let result = catch_unwind(AssertUnwindSafe(|| self.work()));
        if let Err(failure) = result.unwrap_or(Err(FlushFailure::Panicked)) {
            shared.report(failure);
        }
        shared.lock_control().stage = Stage::Over;
        shared.signal.notify_all();
    }

    fn work(&mut self) -> Result<(), FlushFailure> {
        let shared = Arc::clone(&self.state.0);
        self.trimmer.find_leftovers(&shared)?;
        loop {
            let order = self.await_order(&shared);
            if order.is_replaced {
                self.trimmer.find_leftovers(&shared)?;
                shared.keep_manifest()?;
            }
            if order.is_flush_due {
                if self.flush(&shared)? == Flush::LeftOut {
                    return Ok(());
                }
                self.last_flush = shared.running().clock.now();
                shared.lock_control().served = order.requested;
                shared.signal.notify_all();
            }
            if order.is_closing {
                return Ok(());
            }
            self.trimmer.step(&shared)?;
        }
    }

    /// Waits until there is something to do: a flush asked for or due, or a step of trimming.
    fn await_order(&self, shared: &Shared) -> Order {
        let options = shared.options;
        let pause = if self.trimmer.has_work() {
            options.trim_interval.min(options.flush_interval)
        } else {
            options.flush_interval
        };
        let control = shared.lock_control();
        let (mut control, _timeout) = shared
            .signal
            .wait_timeout_while(control, pause, |control| !control.has_order())
            .expect(UNBROKEN);
        let since = shared.running().clock.since(self.last_flush);
        let order = Order {
            requested: control.requested,
            is_closing: control.stage > Stage::Working,
            is_replaced: control.is_replaced,
            is_flush_due: control.has_order() || since >= options.flush_interval,
        };
        control.is_full = false;
        control.is_replaced = false;
        order
    }

    fn flush(&mut self, shared: &Shared) -> Result<Flush, FlushFailure> {
        shared.note_progress();
        let result = self.flush_all(shared);
        shared.end_progress();
        result
    }

    /// Flushes all that is applied: what checkpoints sealed one after the other, then the rest.
    fn flush_all(&mut self, shared: &Shared) -> Result<Flush, FlushFailure> {
        while let Some(cut) = cut(shared) {
            let is_last = !cut.sealed.is_checkpoint;
            let begun = shared.running().clock.now();
            if self.flush_cut(shared, cut, begun)? == Flush::LeftOut {
                return Ok(Flush::LeftOut);
            }
            if is_last {
                break;
            }
        }
        Ok(Flush::Done)
    }

    fn flush_cut(
        &mut self,
        shared: &Shared,
        cut: Cut<'_>,
        begun: Instant,
    ) -> Result<Flush, FlushFailure> {
        let Cut { sealed: cut, _gate: gate } = cut;
        if !await_durable(shared, cut.changes.entry.index, begun)? {
            return Ok(Flush::LeftOut);
        }
        let written_before = shared.database.written_bytes();
        crash_point(&*shared.disk, "flusher/before-begin");
        let (txn, record_bytes) = self.write_records(shared, &cut)?;
        crash_point(&*shared.disk, "flusher/chunks-written");
        tiles::write(&shared.database, &txn, &cut.changes.tiles)?;
        manifest::write_rows(&shared.database, &txn, &cut.changes)?;
        remove_kept(&shared.database, &txn, &cut.changes.rows)?;
        let quarantine = shared.write_quarantine(&txn)?;
        crash_point(&*shared.disk, "flusher/before-commit");
        shared.database.commit(txn)?;
        crash_point(&*shared.disk, "flusher/after-commit");
        shared.note_quarantine_saved(quarantine);
        let entry = cut.changes.entry;
        shared.note_flushed(&cut);
        crash_point(&*shared.disk, "flusher/pointers-moved");
        self.trimmer.note(&cut.trimmed, &cut.changes.deleted_logs);
        self.payload = None;
        if cut.is_checkpoint {
            shared.keep_manifest()?;
            crash_point(&*shared.disk, "flusher/manifest-kept");
        }
        drop(gate);
        let running = shared.running();
        running.observer.flushed(&Flushed {
            entry,
            elapsed: running.clock.since(begun),
            record_bytes,
            written_bytes: shared.database.written_bytes() - written_before,
            levels: shared.levels(),
        });
        Ok(Flush::Done)
    }

    /// Writes the cut's records as chunks. Gives the transaction in which the rest is to be written, and how many bytes
    /// of records there were.
    fn write_records(
        &mut self,
        shared: &Shared,
        cut: &Sealed,
    ) -> Result<(WriteTransaction, u64), StorageError> {
        let mut left = RecordsLeft::of(cut);
        // Half of the cache is for what is being written; branches and rows need some of it.
        let enough = shared.options.cache_bytes / 8 * 3;
        loop {
            let txn = shared.database.write()?;
            let mut table = ChunkTable::open(&shared.database, &txn)?;
            self.write_some(shared, &mut left, &mut table, enough)?;
            let written = table.written_bytes();
            if left.is_gathered() && (written == 0 || written + left.open_bytes() <= enough) {
                left.finish(&mut table)?;
                drop(table);
                return Ok((txn, left.record_bytes));
            }
            drop(table);
            shared.database.commit(txn)?;
            crash_point(&*shared.disk, "flusher/records-ahead");
        }
    }

    /// Writes records until a transaction has enough.
    fn write_some(
        &mut self,
        shared: &Shared,
        left: &mut RecordsLeft,
        table: &mut ChunkTable<'_>,
        enough: usize,
    ) -> Result<(), StorageError> {
        while table.written_bytes() < enough {
            if left.runs.is_empty() && left.open_bytes() > enough {
                left.finish(table)?;
            }
            let Some(run) = left.next_run(shared) else { return Ok(()) };
            if left.gone.contains(&run.log) {
                continue;
            }
            let records = self.body(shared, &run)?;
            left.record_bytes += widen(records.len());
            let slice = RunSlice {
                log: run.log,
                first: run.first,
                time: run.time,
                bytes_before: run.bytes_before,
                records: &records,
            };
            table.append(left.open.entry(run.log).or_default(), slice)?;
        }
        Ok(())
    }

    /// The records of a run. Those of one entry come one after the other, so its payload is read once.
    fn body(&mut self, shared: &Shared, run: &HeldRun) -> Result<Bytes, StorageError> {
        let HeldRecords::InJournal { offset, length } = run.records else {
            return shared.body(run);
        };
        let known = self.payload.as_ref().filter(|(entry, _)| *entry == run.entry);
        let payload = match known {
            Some((_, payload)) => payload.clone(),
            None => shared.payload(run.entry)?,
        };
        let records = shared.slice_payload(&payload, offset, length)?;
        self.payload = Some((run.entry, payload));
        Ok(records)
    }
}

/// What of a cut's records is still to be written.
struct RecordsLeft {
    /// Logs that are gone at the cut: their records are of no use to anybody.
    gone: BTreeSet<LogId>,
    /// Copied out of the suffix, in order.
    runs: VecDeque<HeldRun>,
    /// Numbers of the runs that follow.
    next: u64,
    until: u64,
    /// The end of each log, until it fills a chunk.
    open: BTreeMap<LogId, Option<OpenChunk>>,
    record_bytes: u64,
}

impl RecordsLeft {
    fn of(cut: &Sealed) -> Self {
        Self {
            gone: cut.changes.deleted_logs.iter().copied().collect(),
            runs: VecDeque::new(),
            next: cut.runs.0,
            until: cut.runs.1,
            open: BTreeMap::new(),
            record_bytes: 0,
        }
    }

    fn next_run(&mut self, shared: &Shared) -> Option<HeldRun> {
        if self.runs.is_empty() && self.next < self.until {
            self.runs = shared.live().suffix.batch(self.next, self.until, BATCH_RUNS).into();
            self.next += widen(self.runs.len());
            shared.note_progress();
        }
        self.runs.pop_front()
    }

    /// Whether what is left is in open chunks.
    fn is_gathered(&self) -> bool {
        self.runs.is_empty() && self.next == self.until
    }

    fn open_bytes(&self) -> usize {
        self.open.values().flatten().map(OpenChunk::value_bytes).sum()
    }

    fn finish(&mut self, table: &mut ChunkTable<'_>) -> Result<(), StorageError> {
        std::mem::take(&mut self.open).into_values().try_for_each(|chunk| table.finish(chunk))
    }
}

/// Takes what is to be flushed, if there is something.
fn cut(shared: &Shared) -> Option<Cut<'_>> {
    let running = shared.running();
    let mut machine = running.machine.lock().expect("the machine was not left by a panic");
    // What is to be replaced is not worth it, and what replaces it is to find everything as it was looked at.
    if shared.standing().is_frozen {
        return None;
    }
    let applied = machine.applied()?;
    let gate = shared.gate.lock().expect(UNBROKEN);
    if let Some(sealed) = shared.lock_checkpoints().next_sealed() {
        return Some(Cut { sealed, _gate: gate });
    }
    if *shared.flushed.lock().expect(UNBROKEN) == Some(applied) {
        return None;
    }
    let sealed = shared.take_sealed(&mut machine, false);
    Some(Cut { sealed, _gate: gate })
}

/// Waits until the journal holds an entry durably. Says whether it does: if not, the state is being closed.
fn await_durable(shared: &Shared, entry: EntryIndex, begun: Instant) -> Result<bool, FlushFailure> {
    let running = shared.running();
    while !running.source.wait_durable(entry, DURABLE_WAIT) {
        let waited = running.clock.since(begun);
        if waited >= shared.options.stall_max {
            return Err(FlushFailure::Stalled { waited });
        }
        // A poisoned journal says so at once, and is no reason to run in circles.
        let control = shared.lock_control();
        let waits = |control: &mut Control| {
            control.stage == Stage::Working || waited < shared.options.close_wait_max
        };
        let pause = shared.signal.wait_timeout_while(control, DURABLE_WAIT, waits).expect(UNBROKEN);
        if !pause.1.timed_out() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Shared {
    pub(super) fn wake_flusher(&self) {
        let mut control = self.lock_control();
        if !control.is_full {
            control.is_full = true;
            self.signal.notify_all();
        }
    }

    pub(super) fn flush_now(&self) -> Result<(), StorageError> {
        let mut control = self.lock_control();
        control.requested += 1;
        let ticket = control.requested;
        self.signal.notify_all();
        let waits = |control: &mut Control| control.served < ticket && control.stage < Stage::Over;
        let control = self.signal.wait_while(control, waits).expect(UNBROKEN);
        if control.served >= ticket {
            return Ok(());
        }
        let source = match control.failure.clone() {
            Some(failure) => io::Error::other(failure),
            None => io::Error::other("state is closed"),
        };
        Err(StorageError::Poisoned { source: Arc::new(source) })
    }

    pub(super) fn levels(&self) -> StateLevels {
        StateLevels {
            unflushed_bytes: self.unflushed_bytes(),
            suffix_bytes: widen(self.live().suffix.held_bytes()),
            is_lagging: self.is_lagging.load(Ordering::Relaxed),
            written_bytes: self.database.written_bytes(),
        }
    }

    /// The payload of an entry, from the journal.
    pub(super) fn payload(&self, entry: EntryIndex) -> Result<Bytes, StorageError> {
        self.source()
            .and_then(|source| source.payload(entry))
            .map_err(StorageError::io("read an entry for", self.database.path()))
    }

    /// Part of such a payload.
    pub(super) fn slice_payload(
        &self,
        payload: &Bytes,
        offset: u32,
        length: u32,
    ) -> Result<Bytes, StorageError> {
        let narrow = |count| usize::try_from(count).expect("32 bits fit a length in memory");
        let (begin, end) = (narrow(offset), narrow(offset) + narrow(length));
        if end > payload.len() {
            return Err(self.database.damaged("entry of dropped records"));
        }
        Ok(payload.slice(begin..end))
    }

    /// redb holds the state at `entry` from now on.
    fn note_flushed(&self, cut: &Sealed) {
        let entry = cut.changes.entry;
        {
            let mut flushed = self.flushed.lock().expect(UNBROKEN);
            assert!(
                flushed.is_none_or(|flushed| flushed.index < entry.index),
                "{entry} is flushed after {flushed:?}"
            );
            *flushed = Some(entry);
        }
        self.flushing_bytes.fetch_sub(cut.bytes, Ordering::Relaxed);
        self.judge_lag();
        self.lock_checkpoints().note_flushed(entry.index);
        self.forget_checkpoints(&cut.changes.rows);
        self.live_mut().suffix.mark_flushed(cut.runs.1);
        while self.live_mut().suffix.evict(self.options.suffix_bytes_max, EVICT_STEPS) {}
    }

    fn note_progress(&self) {
        let running = self.running();
        *running.progress.lock().expect(UNBROKEN) = Some(running.clock.now());
    }

    fn end_progress(&self) {
        *self.running().progress.lock().expect(UNBROKEN) = None;
    }

    /// Reports a flusher that hangs in a call and so cannot do it itself.
    pub(super) fn check_stall(&self) {
        let Some(running) = self.running.get() else { return };
        let progress = *running.progress.lock().expect(UNBROKEN);
        let waited = progress.map_or(Duration::ZERO, |since| running.clock.since(since));
        // The flusher itself counts what it spends on waiting for the journal.
        if waited >= self.options.stall_max + DURABLE_WAIT {
            self.report(FlushFailure::Stalled { waited });
        }
    }

    /// Says once that the flusher gave up, or that it is to.
    pub(super) fn report(&self, failure: FlushFailure) {
        let failure = Arc::new(failure);
        {
            let mut control = self.lock_control();
            if control.failure.is_some() {
                return;
            }
            control.failure = Some(Arc::clone(&failure));
        }
        self.tell(|observer| observer.failed(&failure));
        self.lock_control().stage = Stage::Over;
        self.signal.notify_all();
    }
}
