//! The state: what was agreed, kept. Records, and the rows of the machine.
//!
//! What is applied is published here at once, and read from memory; a flusher thread brings it to redb behind the
//! acknowledgement. What redb holds is always the whole state at one entry, [`State::flushed`]: records, hashes of
//! tiles, rows and the entry's id are written in one transaction. It never runs ahead of what the journal holds durably.
//!
//! ```text
//!   publish -> views, suffix  --(every 8 MiB or second)-->  flusher -> redb: chunks, tiles, rows
//!                  |                                                            |
//!                  +----------------- readers: suffix, else chunks -------------+
//!
//!   purged <= flushed <= min(applied, durable)          trim point <= first readable <= tail
//! ```
//!
//! Locks are taken in this order: the machine, the gate of redb's writers, the checkpoints, the
//! standing, the views. Not here: durability (`journal`),
//! and what a command does (`machine`).

mod ahead;
mod checkpoints;
mod chunks;
mod database;
mod flusher;
mod lacking;
mod manifest;
mod proof;
mod quarantine;
mod read;
mod recent;
mod renewal;
mod scrub;
mod source;
mod suffix;
mod tiles;
mod trim;
mod view;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::thread::JoinHandle;
use std::time::Duration;

use client::types::{CursorName, EntryId, EntryIndex, LogId, LogName, Position, Timestamp};

pub use ahead::Stretch;
pub use checkpoints::{Attestation, Comparison, Kept, unpack_kept};
pub use chunks::Piece;
#[cfg(test)]
pub use flusher::Strict;
pub use flusher::{FlushFailure, Flushed, StateObserver, Unobserved};
pub use lacking::Gap;
pub use manifest::{InstallError, StateManifest};
pub use proof::{Proof, RECORD_HEAD_BYTES, Wrong, leaves};
pub use quarantine::{Quarantine, Stage};
pub use read::{Level, Page, ReadError, ReadLimit, TimedWalk};
pub use renewal::NotRenewed;
pub use scrub::{Rewritten, TileLook};
pub use source::EntrySource;

use crate::machine::{Applied, Delta, EntryBody, LogView, Machine, Outcome, Payload};
use crate::storage::disk::{Disk, crash_point};
use crate::storage::error::StorageError;
#[cfg(quorate_bugs)]
use crate::world::bugs;
use crate::world::{Clock, Instant};
use checkpoints::Checkpoints;
use database::{Database, DatabaseOptions};
use flusher::{Control, Flusher};
use quarantine::Standing;
use recent::Recent;
use suffix::Suffix;
use view::Views;

/// Sizes and times of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateOptions {
    /// Pages of redb kept in memory, in bytes.
    pub cache_bytes: usize,
    /// Newest records kept in memory after they were flushed, in bytes.
    pub suffix_bytes_max: usize,
    /// Beyond so many bytes that are not flushed, the oldest are dropped from memory and appends are refused.
    pub unflushed_bytes_max: usize,
    /// So many bytes cause a flush.
    pub flush_bytes: u64,
    /// Whatever there is to flush waits no longer than this.
    pub flush_interval: Duration,
    /// A flush writes at most so many bytes between two syncs, so that the journal's need not wait.
    pub unsynced_bytes_max: u64,
    /// A flusher without progress for so long is given up.
    pub stall_max: Duration,
    /// A stop waits so long for the journal, then leaves the rest to the next start.
    pub close_wait_max: Duration,
    /// Pause between two steps of deleting what was trimmed.
    pub trim_interval: Duration,
    /// Chunks deleted in one step at most.
    pub trim_chunks_max: usize,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 24 << 20,
            suffix_bytes_max: 16 << 20,
            unflushed_bytes_max: 48 << 20,
            flush_bytes: 8 << 20,
            flush_interval: Duration::from_secs(1),
            unsynced_bytes_max: 2 << 20,
            stall_max: Duration::from_secs(20),
            close_wait_max: Duration::from_secs(5),
            trim_interval: Duration::from_millis(50),
            trim_chunks_max: 128,
        }
    }
}

/// What waits to be flushed, and what is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLevels {
    /// Bytes of entries that are applied and not flushed.
    pub unflushed_bytes: u64,
    /// Bytes of records in memory.
    pub suffix_bytes: u64,
    /// Whether appends are to wait for the flusher.
    pub is_lagging: bool,
    /// Bytes written to redb's file since the start.
    pub written_bytes: u64,
}

/// The state of one group on this replica. A clone is the same state.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    disk: Arc<dyn Disk>,
    database: Database,
    options: StateOptions,
    live: RwLock<Live>,
    /// Held by whoever is about to write to redb: the flusher, or an install.
    gate: Mutex<()>,
    flushed: Mutex<Option<EntryId>>,
    control: Mutex<Control>,
    checkpoints: Mutex<Checkpoints>,
    recent: Mutex<Recent>,
    /// Whether the state here is the right one, as far as that is known.
    standing: Mutex<Standing>,
    /// It is not.
    is_diverged: AtomicBool,
    /// The index of the last entry that was more than upkeep, and one.
    worked_until: AtomicU64,
    /// Bytes of all entries that were published.
    published_bytes: AtomicU64,
    signal: Condvar,
    running: OnceLock<Running>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Bytes published since the last cut.
    arrived_bytes: AtomicU64,
    /// Bytes of what was cut and is not flushed yet.
    flushing_bytes: AtomicU64,
    is_lagging: AtomicBool,
}

/// What readers see, moved on by each entry in one step.
#[derive(Debug, Default)]
struct Live {
    views: Views,
    suffix: Suffix,
}

/// Whom the state works with once it was started.
struct Running {
    machine: Arc<Mutex<Machine>>,
    source: Arc<dyn EntrySource>,
    observer: Arc<dyn StateObserver>,
    clock: Clock,
    /// When the flusher last got something done, if it is at work.
    progress: Mutex<Option<Instant>>,
}

impl State {
    /// Opens the file, or makes it, and reads the rows to make the machine of: nothing for a new one.
    pub fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        options: StateOptions,
    ) -> Result<(Self, Option<StateManifest>), StorageError> {
        let file_options = DatabaseOptions {
            cache_bytes: options.cache_bytes,
            unsynced_bytes_max: options.unsynced_bytes_max,
        };
        let database = Database::open(&**disk, path, file_options)?;
        crash_point(&**disk, "state/opened");
        let manifest = manifest::load(&database)?;
        let flushed = manifest.as_ref().map(StateManifest::applied);
        let kept = checkpoints::kept(&database)?;
        let checkpoints = Checkpoints::found(&kept, manifest.as_ref());
        let standing = Standing::load(&database)?;
        let shared = Shared {
            disk: Arc::clone(disk),
            database,
            options,
            live: RwLock::default(),
            gate: Mutex::default(),
            flushed: Mutex::new(flushed),
            control: Mutex::default(),
            worked_until: AtomicU64::new(worked_until(manifest.as_ref())),
            checkpoints: Mutex::new(checkpoints),
            recent: Mutex::default(),
            is_diverged: AtomicBool::new(standing.is_wrong()),
            standing: Mutex::new(standing),
            published_bytes: AtomicU64::new(0),
            signal: Condvar::new(),
            running: OnceLock::new(),
            thread: Mutex::default(),
            arrived_bytes: AtomicU64::new(0),
            flushing_bytes: AtomicU64::new(0),
            is_lagging: AtomicBool::new(false),
        };
        Ok((Self(Arc::new(shared)), manifest))
    }

    /// Begins: readers see what the machine knows, which must be what was loaded, and the flusher runs. Once only.
    pub fn start(
        &self,
        machine: Arc<Mutex<Machine>>,
        source: impl EntrySource + 'static,
        observer: Arc<dyn StateObserver>,
        clock: Clock,
    ) {
        {
            let machine = machine.lock().expect("the machine was not left by a panic");
            assert!(
                machine.applied() == self.flushed(),
                "the machine at {:?} was made of what is flushed at {:?}",
                machine.applied(),
                self.flushed()
            );
            self.0.live_mut().views = Views::of(&machine);
            self.0.recent.lock().expect(UNBROKEN).begin(&machine);
        }
        let progress = Mutex::new(None);
        let running = Running { machine, source: Arc::new(source), observer, clock, progress };
        assert!(self.0.running.set(running).is_ok(), "the state is started once");
        let flusher = Flusher::new(self.clone());
        let thread = std::thread::Builder::new().name("flusher".to_owned());
        match thread.spawn(move || flusher.run()) {
            Ok(thread) => *self.0.thread.lock().expect(UNBROKEN) = Some(thread),
            Err(error) => {
                let refused = StorageError::io("start a thread for", self.0.database.path())(error);
                self.0.report(refused.into());
            }
        }
    }

    /// Applies an entry to the machine, which the caller holds, and takes over what that changed.
    pub fn apply(&self, machine: &mut Machine, id: EntryId, body: &EntryBody) -> Outcome {
        let Applied { outcome, delta } = machine.apply(id, body);
        #[cfg(quorate_bugs)]
        if bugs::is_planted(bugs::Bug::Diverge) && id.index.get() == DIVERGED_AT {
            machine.corrupt();
        }
        self.publish(id.index, body.payload(), delta);
        self.0.recent.lock().expect(UNBROKEN).push(id.index, machine.rolling_digest());
        if !outcome.is_upkeep() {
            self.0.worked_until.store(id.index.get() + 1, Ordering::Relaxed);
        }
        if let Outcome::CheckpointMade(Ok(_)) = &outcome {
            self.seal(machine);
        } else if let Outcome::CheckpointCertified(Ok(certified)) = &outcome {
            self.compare(certified);
        }
        outcome
    }

    /// Takes over what applying an entry changed. The caller holds the machine's lock, so that a flush sees all of an
    /// entry or nothing.
    pub fn publish(&self, entry: EntryIndex, payload: Option<&Payload>, delta: Delta) {
        let bytes = payload.map_or(0, |payload| payload.bytes.len());
        self.0.published_bytes.fetch_add(widen(bytes), Ordering::Relaxed);
        let arrived = self.0.note_arrival(widen(bytes));
        if arrived >= self.0.options.flush_bytes {
            self.0.wake_flusher();
        }
        if delta.runs.is_empty()
            && delta.logs.is_empty()
            && delta.deleted.is_empty()
            && delta.cursors.is_empty()
        {
            return;
        }
        let mut live = self.0.live_mut();
        live.publish(entry, delta);
        live.suffix.evict(self.0.options.suffix_bytes_max, EVICT_STEPS);
        live.suffix.drop_bodies(self.0.options.unflushed_bytes_max, EVICT_STEPS);
    }

    /// The log of a name.
    pub fn view(&self, name: &LogName) -> Option<Arc<LogView>> {
        self.0.live().views.by_name(name).cloned()
    }

    /// The log of an id.
    pub fn view_by_id(&self, id: LogId) -> Option<Arc<LogView>> {
        self.0.live().views.by_id(id).cloned()
    }

    /// Up to `limit` logs whose name begins with `prefix`, in the order of names, from the one after `after` on.
    pub fn views(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<LogView>> {
        self.0.live().views.list(prefix, after, limit)
    }

    /// Up to `limit` logs whose time has come at `now`, in the order of ids.
    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<LogId> {
        self.0.live().views.due(now, limit)
    }

    /// Up to `limit` logs with a retention by age or bytes, in the order of ids, from the one after `after` on.
    pub fn retained(&self, after: Option<LogId>, limit: usize) -> Vec<Arc<LogView>> {
        self.0.live().views.retained(after, limit)
    }

    /// How many logs there are.
    pub fn log_count(&self) -> usize {
        self.0.live().views.count()
    }

    /// Where a consumer of a log is.
    pub fn cursor(&self, log: LogId, name: &CursorName) -> Option<Position> {
        self.0.live().views.cursor(log, name)
    }

    /// Up to `limit` cursors of a log in the order of names, from the one after `after` on.
    pub fn cursors(
        &self,
        log: LogId,
        after: Option<&CursorName>,
        limit: usize,
    ) -> Vec<(CursorName, Position)> {
        self.0.live().views.cursors(log, after, limit)
    }

    /// The entry whose state redb holds.
    pub fn flushed(&self) -> Option<EntryId> {
        *self.0.flushed.lock().expect(UNBROKEN)
    }

    /// The last entry that did more than look after the service itself; nothing if there is none since
    /// the newest checkpoint that was flushed before this start.
    pub fn worked(&self) -> Option<EntryIndex> {
        self.0.worked_until.load(Ordering::Relaxed).checked_sub(1).map(EntryIndex::new)
    }

    /// Bytes of all entries that were applied since the start.
    pub fn published_bytes(&self) -> u64 {
        self.0.published_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of entries that are applied and not flushed.
    pub fn unflushed_bytes(&self) -> u64 {
        self.0.unflushed_bytes()
    }

    /// How much room of the state's file waits to be used again, in bytes: what was trimmed and deleted there. An
    /// estimate, on the low side.
    pub fn spare_bytes(&self) -> u64 {
        self.0.database.spare_bytes()
    }

    /// Whether appends are to be refused until the flusher has caught up.
    pub fn is_lagging(&self) -> bool {
        let is_lagging = self.0.is_lagging.load(Ordering::Relaxed);
        if is_lagging {
            self.0.check_stall();
        }
        is_lagging
    }

    /// What waits to be flushed, and what is in memory.
    pub fn levels(&self) -> StateLevels {
        self.0.check_stall();
        self.0.levels()
    }

    /// Flushes what is applied now, and waits until redb and the journal hold it durably.
    pub fn flush_now(&self) -> Result<(), StorageError> {
        self.0.flush_now()
    }

    /// What holds the rows and records is damaged, and cannot be put right here: the process is to end, as it does when
    /// a flush fails.
    pub fn give_up(&self, damage: StorageError) {
        self.0.report(damage.into());
    }

    /// Flushes what can be flushed, and ends the flusher. Nothing is to be published after.
    pub fn close(&self) {
        self.0.lock_control().begin_close();
        self.0.signal.notify_all();
        let thread = self.0.thread.lock().expect(UNBROKEN).take();
        if let Some(thread) = thread {
            thread.join().expect("the flusher reports its panics itself");
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flushed = self.flushed();
        f.debug_struct("State").field("flushed", &flushed).finish_non_exhaustive()
    }
}

/// The entry at which the planted bug strikes.
#[cfg(quorate_bugs)]
const DIVERGED_AT: u64 = 100;
/// Nobody goes on from what a panic left half done.
const UNBROKEN: &str = "no holder of this lock panicked";
/// So many runs are let go at a time, so that readers never wait long.
const EVICT_STEPS: usize = 256;

impl Live {
    fn publish(&mut self, entry: EntryIndex, delta: Delta) {
        for (name, id) in &delta.deleted {
            self.views.remove(name, *id);
        }
        for run in delta.runs {
            self.suffix.push(entry, run);
        }
        for view in delta.logs {
            self.views.set(view);
        }
        for (log, name, at) in delta.cursors {
            self.views.set_cursor(log, name, at);
        }
    }
}

impl Shared {
    fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().expect(UNBROKEN)
    }

    fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().expect(UNBROKEN)
    }

    fn lock_control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().expect(UNBROKEN)
    }

    fn lock_checkpoints(&self) -> MutexGuard<'_, Checkpoints> {
        self.checkpoints.lock().expect(UNBROKEN)
    }

    fn running(&self) -> &Running {
        self.running.get().expect("the flusher runs after the state was started")
    }

    fn source(&self) -> io::Result<&dyn EntrySource> {
        let running = self.running.get();
        running.map(|running| &*running.source).ok_or_else(|| io::Error::other("not started"))
    }

    /// Tells the observer something, if there is one yet.
    fn tell(&self, tell: impl FnOnce(&dyn StateObserver)) {
        if let Some(running) = self.running.get() {
            tell(&*running.observer);
        }
    }

    /// Counts what arrived. Says how much there is since the last cut.
    fn note_arrival(&self, bytes: u64) -> u64 {
        let arrived = self.arrived_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if arrived > widen(self.options.unflushed_bytes_max) / 4 {
            self.judge_lag();
        }
        arrived
    }

    /// All that arrived was cut. Says how many bytes that is.
    fn note_cut(&self) -> u64 {
        let bytes = self.arrived_bytes.swap(0, Ordering::Relaxed);
        self.flushing_bytes.fetch_add(bytes, Ordering::Relaxed);
        bytes
    }

    /// An install dropped what was not flushed.
    fn forget_arrivals(&self) {
        self.arrived_bytes.store(0, Ordering::Relaxed);
        self.flushing_bytes.store(0, Ordering::Relaxed);
        self.judge_lag();
    }

    fn unflushed_bytes(&self) -> u64 {
        self.arrived_bytes.load(Ordering::Relaxed) + self.flushing_bytes.load(Ordering::Relaxed)
    }

    /// Appends wait from the maximum on, until half of it is flushed.
    fn judge_lag(&self) {
        let bytes = self.unflushed_bytes();
        let max = widen(self.options.unflushed_bytes_max);
        if bytes > max {
            self.is_lagging.store(true, Ordering::Relaxed);
        } else if bytes < max / 2 {
            self.is_lagging.store(false, Ordering::Relaxed);
        }
    }
}

/// One past the last entry of a state that may have been more than upkeep; zero if nothing came after its newest
/// checkpoint and its certificate.
fn worked_until(manifest: Option<&StateManifest>) -> u64 {
    let Some(manifest) = manifest else { return 0 };
    let newest = manifest.rows().checkpoints.last();
    let settled = newest.map(|(index, row)| row.certificate.as_ref().map_or(*index, |it| it.entry));
    let flushed = manifest.applied().index.get();
    if settled.is_none_or(|settled| flushed > settled) { flushed + 1 } else { 0 }
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}
