//! The journal: entries and votes, durable before they count.
//!
//! One queue, one writer thread: it takes all that waits, writes it at once, syncs once, and then
//! calls back in order. An entry is readable by everybody when [`Journal::append`] returns, which is
//! before it is durable. After a failed write or sync the journal is poisoned: nothing is
//! acknowledged any more, and the process is to end.
//!
//! ```text
//! purged <= durable <= last        what lies between durable and last is in memory only
//! ```
//!
//! Nothing blocks but the calls that wait or read files. The queue has no bound of its own: who
//! appends bounds the bytes in flight. Not here: what an entry means, and from whom lost entries come.

mod catalog;
mod damage;
mod frame;
mod reader;
mod recovery;
mod scan;
mod segment;
mod state;
mod suffix;
mod survey;
mod tempo;
mod wounded;
mod wounds;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use client::types::EntryId;

pub use self::damage::{DamagedEntries, DamagedFrame, DamagedJournal};
pub use self::reader::DamagedEntry;
use self::state::{Shared, Work};
pub use self::wounded::WoundedJournal;
use self::writer::Writer;
use crate::machine::EntryBody;
use crate::metrics::Metrics;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
#[cfg(quorate_bugs)]
use crate::world::bugs;
use crate::world::{Chance, Clock};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which one.
    pub id: EntryId,
    /// What it carries.
    pub body: EntryBody,
}

/// An entry, and what its frame keeps of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedEntry {
    /// The entry.
    pub entry: Entry,
    /// Hash of the head of the entry before it; zeros if there is none, or it was installed.
    pub back_hash: [u8; 32],
}

/// Told once something is durable, or never will be. Called by the writer thread: be quick.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// For whom this replica voted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// In which term.
    pub term: u64,
    /// For which replica.
    pub leader: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// Whose journal it is; a file of anybody else's is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalIdentity {
    /// The cluster.
    pub cluster: [u8; 16],
    /// The replica.
    pub replica: u64,
}

/// What a look at old payloads found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where to go on; nothing that is in files remains if it is the end that was asked for.
    pub next: u64,
    /// So many bytes of payloads were read.
    pub bytes: u64,
    /// The entries that are not what was written, or cannot be read.
    pub damaged: Vec<u64>,
}

/// What is observed of a journal.
pub trait JournalObserver: Send + Sync {
    /// One write and its sync took so long and made so much durable.
    fn synced(&self, _elapsed: Duration, _frames: u64, _bytes: u64) {}
    /// So much waits for the writer.
    fn queued(&self, _frames: u64, _bytes: u64) {}
    /// The journal takes so much room.
    fn sized(&self, _bytes: u64) {}
}

/// Observes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl JournalObserver for Unobserved {}

impl JournalObserver for Metrics {
    fn synced(&self, elapsed: Duration, frames: u64, bytes: u64) {
        self.journal_synced(elapsed, frames, bytes);
    }

    fn queued(&self, frames: u64, bytes: u64) {
        self.journal_queue(frames, bytes);
    }

    fn sized(&self, bytes: u64) {
        self.journal_size(bytes);
    }
}

/// How a journal is run.
#[derive(Clone)]
pub struct JournalOptions {
    /// How long a segment is. A longer frame gets a segment of its own.
    pub segment_bytes: u64,
    /// Entries kept in memory, once they are durable and applied.
    pub suffix_bytes_max: usize,
    /// What one write may take; the rest waits for the next.
    pub write_bytes_max: usize,
    /// While writes are no larger, the next segment is filled with zeros in advance.
    pub filled_bytes_max: u64,
    /// After so long without work, all is marked as durable.
    pub mark_after: Duration,
    /// Entries up to this index are flushed: only their heads are read at the start, and one that is
    /// missing is damaged, not torn. `None` right after an install beyond the last entry.
    pub flushed: Option<u64>,
    /// A journal was begun here before: one that is not there is lost, and none is begun.
    pub must_exist: bool,
    /// Who is told what happens.
    pub observer: Arc<dyn JournalObserver>,
    /// Measures syncs.
    pub clock: Clock,
    /// Draws salts.
    pub chance: Chance,
    /// A planted bug: acknowledges before the sync. The power-cut tests must find it.
    #[cfg(test)]
    pub acknowledges_before_sync: bool,
}

impl JournalOptions {
    /// What a replica runs with, its clock and chance given.
    pub fn new(clock: Clock, chance: Chance) -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            suffix_bytes_max: 16 * 1024 * 1024,
            write_bytes_max: 8 * 1024 * 1024,
            filled_bytes_max: 64 * 1024,
            mark_after: Duration::from_millis(100),
            flushed: None,
            must_exist: false,
            observer: Arc::new(Unobserved),
            clock,
            chance,
            #[cfg(test)]
            acknowledges_before_sync: false,
        }
    }
}

impl fmt::Debug for JournalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalOptions")
            .field("segment_bytes", &self.segment_bytes)
            .field("suffix_bytes_max", &self.suffix_bytes_max)
            .field("write_bytes_max", &self.write_bytes_max)
            .field("mark_after", &self.mark_after)
            .field("flushed", &self.flushed)
            .finish_non_exhaustive()
    }
}

/// What opening found.
#[derive(Debug)]
pub enum Opening {
    /// All that was ever acknowledged.
    Whole(Journal),
    /// Something that was durable is no longer what it was. Nothing was changed on disk.
    Damaged(Arc<WoundedJournal>),
}

/// The journal of one replica. A clone is the same one.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
}

impl Journal {
    /// Opens the journal in `dir`, or begins one there. What it kept is durable when this returns:
    /// a torn end is cut, and what was written after the last mark is written once more and synced.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: JournalIdentity,
        options: JournalOptions,
    ) -> Result<Opening, StorageError> {
        let place = Place { disk, dir: dir.to_owned(), identity };
        match recovery::recover(&place, &options)? {
            Err(wounded) => Ok(Opening::Damaged(Arc::new(wounded))),
            Ok(recovered) => {
                let writer = Writer::new(&place, options, recovered);
                Ok(Opening::Whole(Self::run(writer, dir)?))
            }
        }
    }

    fn run(mut writer: Writer, dir: &Path) -> Result<Self, StorageError> {
        writer.start_preparing().map_err(StorageError::io("start a thread for", dir))?;
        let shared = writer.shared();
        let thread = Builder::new().name("journal".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(StorageError::io("start a thread for", dir))?;
        let thread = Thread { shared: Arc::clone(&shared), handle: Mutex::new(Some(thread)) };
        Ok(Self { shared, thread: Arc::new(thread) })
    }

    /// How long the disk has been at one write and its sync.
    pub fn busy_for(&self) -> Duration {
        self.shared.tempo().busy_for()
    }

    /// How long the disk has done nothing for this journal but slow writes: such as take 100 ms and more. A quick one
    /// makes up for all before it, and idle time does not count.
    pub fn slow_for(&self) -> Duration {
        self.shared.tempo().slow_for()
    }

    /// Adds entries. They are readable when this returns and durable when `done` is told so.
    pub fn append(&self, entries: Vec<Entry>, done: Done) {
        #[cfg(quorate_bugs)]
        if bugs::is_planted(bugs::Bug::EarlyAck) {
            self.shared.append(entries, Box::new(drop));
            return done(Ok(()));
        }
        self.shared.append(entries, done);
    }

    /// Keeps a vote. It shows in [`Journal::vote`] once it is durable.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        self.shared.submit(Work::Vote(vote), Some(done));
    }

    /// Drops the entries behind `last`: a leader says otherwise. They are gone at once for readers,
    /// and for good when `done` is told so.
    pub fn truncate_after(&self, last: Option<EntryId>, done: Done) {
        self.shared.truncate_after(last, done);
    }

    /// Lets entries up to `id` go. If `id` is beyond the last entry, the next one follows `id`.
    pub fn purge(&self, id: EntryId) {
        self.shared.purge(id);
    }

    /// Tells `done` once all that was asked for before is durable.
    pub fn when_durable(&self, done: Done) {
        self.shared.submit(Work::Barrier, Some(done));
    }

    /// Notes how far entries are committed. Costs nothing: it rides along with the next write.
    pub fn save_committed(&self, committed: Option<EntryId>) {
        self.shared.save_committed(committed);
    }

    /// The entries of `[from, until)` that are here. Blocks if they are not in memory.
    pub fn read(&self, from: u64, until: u64) -> io::Result<Vec<Entry>> {
        self.shared.read(from, until, u64::MAX)
    }

    /// The first entries of `[from, until)`: at least one if `from` is here, then as many as fit
    /// in `bytes_max`. Blocks if they are not in memory.
    pub fn read_limited(&self, from: u64, until: u64, bytes_max: u64) -> io::Result<Vec<Entry>> {
        self.shared.read(from, until, bytes_max)
    }

    /// As [`Journal::read_limited`], from memory alone. `None` if the files would have to be read.
    pub fn read_suffix(&self, from: u64, until: u64, bytes_max: u64) -> Option<Vec<Entry>> {
        self.shared.read_suffix(from, until, bytes_max)
    }

    /// Reads payloads of `[from, until)` from the files and compares them with their hashes: as many
    /// as fit in `bytes_max`, but at least one. Blocks; meant to run in the background, piece by piece.
    pub fn verify_payloads(&self, from: u64, until: u64, bytes_max: u64) -> Verified {
        self.shared.verify_payloads(from, until, bytes_max)
    }

    /// Writes the payload of an entry once more, as another replica gave it: false if it is not the entry that lies
    /// here, or its head is damaged as well, which the next start mends. Blocks.
    pub fn rewrite(&self, given: &Entry) -> io::Result<bool> {
        self.shared.rewrite(given)
    }

    /// An entry that is durable and good, with what its frame keeps of the one before. Blocks.
    pub fn linked(&self, index: u64) -> Option<LinkedEntry> {
        self.shared.linked(index)
    }

    /// The first of the newest entries that take at least so many bytes, rounded to whole segments; the
    /// oldest entry that is here, if all of them take less.
    pub fn keeping(&self, bytes: u64) -> u64 {
        self.shared.lock().catalog.keeping(bytes).unwrap_or(0)
    }

    /// Bytes of the frames behind an entry, of those that are durable here.
    pub fn bytes_after(&self, index: u64) -> u64 {
        self.shared.lock().catalog.bytes_after(index)
    }

    /// Whether purging up to an entry lets at least one segment go.
    pub fn frees_segment(&self, index: u64) -> bool {
        self.shared.lock().catalog.frees_segment(index + 1)
    }

    /// The name of an entry, from memory alone.
    pub fn entry_id(&self, index: u64) -> Option<EntryId> {
        self.shared.lock().entry_id(index)
    }

    /// The last vote that is durable.
    pub fn vote(&self) -> Option<Vote> {
        self.shared.lock().vote
    }

    /// How far entries were known to be committed, but no further than the last entry.
    pub fn committed(&self) -> Option<EntryId> {
        let state = self.shared.lock();
        let committed = state.committed?;
        state.last.map(|last| if committed.index > last.index { last } else { committed })
    }

    /// Index of the first entry that is here, or of the next one if there is none.
    pub fn first(&self) -> u64 {
        let state = self.shared.lock();
        state.purged.map_or_else(
            || state.catalog.first().unwrap_or(u64::MAX).min(state.suffix.first()),
            |purged| purged.index.get() + 1,
        )
    }

    /// The last entry; if all are purged, the last purged one.
    pub fn last(&self) -> Option<EntryId> {
        self.shared.lock().last
    }

    /// The last entry that was let go.
    pub fn purged(&self) -> Option<EntryId> {
        self.shared.lock().purged
    }

    /// Index of the last entry that is durable here.
    pub fn durable(&self) -> Option<u64> {
        self.shared.lock().durable_until().checked_sub(1)
    }

    /// Waits until the entry of this index is durable. False if it is not in time, or never will be.
    pub fn wait_durable(&self, index: u64, timeout: Duration) -> bool {
        self.shared.wait_durable(index, timeout)
    }

    /// Calls `told` whenever more is durable, with the index of the last entry that is.
    pub fn on_durable(&self, told: Box<dyn Fn(u64) + Send + Sync>) {
        self.shared.lock().on_durable.push(Arc::from(told));
    }

    /// Calls `told` once if the journal is poisoned; at once if it already is.
    pub fn on_poisoned(&self, told: Box<dyn Fn(&io::Error) + Send + Sync>) {
        self.shared.on_poisoned(told);
    }

    /// Entries up to `index` are applied: memory need not keep them for that.
    pub fn note_applied(&self, index: u64) {
        self.shared.lock().note_applied(index);
    }

    /// Writes what waits and a mark that all is durable, and ends the writer.
    pub fn close(&self) {
        self.thread.join();
    }
}

/// Where a journal lies and whose it is.
#[derive(Debug, Clone)]
struct Place {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    identity: JournalIdentity,
}

/// The writer's thread, ended with the last handle.
#[derive(Debug)]
struct Thread {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    fn join(&self) {
        self.shared.close();
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may be held by a callback, and then goes away on the writer itself.
        if let Some(handle) = handle.filter(|h| h.thread().id() != std::thread::current().id()) {
            drop(handle.join());
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests;
