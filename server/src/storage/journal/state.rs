//! What all handles of a journal share: pointers, memory, and the queue of the writer.
//!
//! Calls take effect here in the order in which they are made, and the writer makes them durable in
//! the same order. A cut that still waits in the queue holds the durable pointer down: what is synced
//! before it no longer counts.
//!
//! Not here: files (`writer`, `reader`).

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use std::collections::VecDeque;

use client::types::EntryId;

use super::catalog::Catalog;
use super::recovery::Recovered;
use super::suffix::Suffix;
use super::tempo::Tempo;
use super::{Done, Entry, JournalObserver, Vote};

type OnDurable = Arc<dyn Fn(u64) + Send + Sync>;
type OnPoisoned = Box<dyn Fn(&io::Error) + Send + Sync>;

/// What the writer is to do.
#[derive(Debug)]
pub(super) enum Work {
    Append(Vec<Entry>),
    Vote(Vote),
    TruncateAfter(Option<EntryId>),
    Purge(EntryId),
    Committed(Option<EntryId>),
    /// Nothing; what came before is durable when this is done.
    Barrier,
}

/// Work, and who is told when it is durable.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) done: Option<Done>,
}

impl Work {
    fn frames(&self) -> usize {
        match self {
            Self::Append(entries) => entries.len(),
            Self::Vote(_) | Self::TruncateAfter(_) | Self::Purge(_) | Self::Committed(_) => 1,
            Self::Barrier => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(entries) => entries.iter().map(|entry| entry.body.payload_bytes()).sum(),
            Self::Vote(_)
            | Self::TruncateAfter(_)
            | Self::Purge(_)
            | Self::Committed(_)
            | Self::Barrier => 0,
        }
    }
}

/// Shared by all handles and the writer.
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is work, or the end.
    work: Condvar,
    /// The durable pointer moved, or never will.
    durable: Condvar,
    observer: Arc<dyn JournalObserver>,
    tempo: Tempo,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Shared").field("last", &state.last).finish_non_exhaustive()
    }
}

/// Pointers, memory and queue.
pub(super) struct State {
    pub(super) suffix: Suffix,
    pub(super) catalog: Catalog,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<EntryId>,
    pub(super) last: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    pub(super) on_durable: Vec<OnDurable>,
    on_poisoned: Vec<OnPoisoned>,
    /// As the writer sees it: behind the last entry that is synced.
    synced_until: u64,
    /// Cuts that wait in the queue: behind the last entry that each one keeps.
    waiting_cuts: VecDeque<u64>,
    applied_until: u64,
    queue: VecDeque<Job>,
    queue_frames: usize,
    queue_bytes: usize,
    is_closing: bool,
    poison: Option<Arc<io::Error>>,
}

/// What the writer takes from the queue.
pub(super) enum Turn {
    /// Do this.
    Work(VecDeque<Job>),
    /// Nothing came for a while.
    Idle,
    /// Do this, and end.
    Last(VecDeque<Job>),
}

/// The place behind an entry.
pub(super) fn behind(id: Option<&EntryId>) -> u64 {
    id.map_or(0, |id| id.index.get() + 1)
}

impl State {
    /// Behind the last entry that is durable.
    pub(super) fn durable_until(&self) -> u64 {
        let cut = self.waiting_cuts.iter().min().copied().unwrap_or(u64::MAX);
        self.synced_until.min(cut).max(behind(self.purged.as_ref()))
    }

    /// The writer synced so far, and did so many of the cuts that waited.
    pub(super) fn synced(&mut self, until: u64, cuts: usize) {
        self.waiting_cuts.drain(..cuts);
        self.synced_until = until;
        self.evict();
    }

    fn evict(&mut self) {
        let durable_until = self.durable_until();
        self.suffix.evict(durable_until, self.applied_until);
    }

    pub(super) fn note_applied(&mut self, index: u64) {
        self.applied_until = self.applied_until.max(index + 1);
        self.evict();
    }

    pub(super) fn entry_id(&self, index: u64) -> Option<EntryId> {
        if let Some(purged) = self.purged.filter(|purged| index <= purged.index.get()) {
            return (purged.index.get() == index).then_some(purged);
        }
        if index >= behind(self.last.as_ref()) {
            return None;
        }
        self.suffix.get(index).map(|entry| entry.id).or_else(|| self.catalog.entry_id(index))
    }

    /// Why nothing more is taken, if so.
    fn refusal(&self) -> Option<io::Error> {
        let poison = self.poison.as_ref().map(poisoned);
        poison.or_else(|| self.is_closing.then(|| io::Error::other("the journal is closed")))
    }

    fn push(&mut self, job: Job) {
        self.queue_frames += job.work.frames();
        self.queue_bytes += job.work.bytes();
        self.queue.push_back(job);
    }

    /// Work up to the bound of one write, but at least one piece.
    fn take(&mut self, bytes_max: usize) -> VecDeque<Job> {
        let mut taken = VecDeque::new();
        let mut bytes = 0;
        while let Some(job) = self.queue.front() {
            bytes += job.work.bytes();
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            self.queue_frames -= job.work.frames();
            self.queue_bytes -= job.work.bytes();
            taken.extend(self.queue.pop_front());
        }
        taken
    }

    fn has_work(&self) -> bool {
        self.queue.iter().any(|job| !matches!(job.work, Work::Committed(_)))
    }
}

impl Shared {
    pub(super) fn new(
        recovered: &mut Recovered,
        suffix_bytes_max: usize,
        observer: Arc<dyn JournalObserver>,
        tempo: Tempo,
    ) -> Self {
        let standing = &recovered.end.standing;
        let last = standing.last.as_ref().map(super::frame::entry_id);
        let committed = standing.committed.as_ref().map(super::frame::entry_id);
        let state = State {
            suffix: Suffix::new(behind(last.as_ref()), suffix_bytes_max),
            catalog: std::mem::take(&mut recovered.catalog),
            vote: standing.vote.as_ref().map(super::frame::vote),
            committed,
            last,
            purged: standing.purged.as_ref().map(super::frame::entry_id),
            on_durable: Vec::new(),
            on_poisoned: Vec::new(),
            synced_until: behind(last.as_ref()),
            waiting_cuts: VecDeque::new(),
            applied_until: 0,
            queue: VecDeque::new(),
            queue_frames: 0,
            queue_bytes: 0,
            is_closing: false,
            poison: None,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            durable: Condvar::new(),
            observer,
            tempo,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues work after it took effect in memory, or tells `done` why not.
    fn enter(&self, work: Work, done: Option<Done>, take_effect: impl FnOnce(&mut State, &Work)) {
        let mut state = self.lock();
        if let Some(refusal) = state.refusal() {
            drop(state);
            if let Some(done) = done {
                done(Err(refusal));
            }
            return;
        }
        take_effect(&mut state, &work);
        state.push(Job { work, done });
        let (frames, bytes) = (state.queue_frames, state.queue_bytes);
        drop(state);
        self.work.notify_one();
        self.observer.queued(widen(frames), widen(bytes));
    }

    pub(super) fn submit(&self, work: Work, done: Option<Done>) {
        self.enter(work, done, |_state, _work| {});
    }

    pub(super) fn append(&self, entries: Vec<Entry>, done: Done) {
        self.enter(Work::Append(entries), Some(done), |state, work| {
            let Work::Append(entries) = work else { return };
            for entry in entries {
                let index = entry.id.index.get();
                let next = behind(state.last.as_ref());
                let is_first = state.last.is_none();
                assert!(is_first || index == next, "entry {index} does not follow {next}");
                state.last = Some(entry.id);
                state.suffix.push(entry.clone());
            }
        });
    }

    pub(super) fn truncate_after(&self, last: Option<EntryId>, done: Done) {
        self.enter(Work::TruncateAfter(last), Some(done), |state, _work| {
            let until = behind(last.as_ref());
            assert!(
                until >= behind(state.purged.as_ref()),
                "a cut behind {until} would reach into what is purged"
            );
            if until < behind(state.last.as_ref()) {
                state.last = last;
            }
            state.suffix.truncate(until);
            state.waiting_cuts.push_back(until);
        });
    }

    pub(super) fn purge(&self, id: EntryId) {
        if self.lock().purged.is_some_and(|purged| purged.index >= id.index) {
            return;
        }
        self.enter(Work::Purge(id), None, |state, _work| {
            state.purged = Some(id);
            if id.index.get() >= behind(state.last.as_ref()) {
                state.last = Some(id);
            }
            state.suffix.purge(id.index.get() + 1);
        });
    }

    pub(super) fn save_committed(&self, committed: Option<EntryId>) {
        let mut state = self.lock();
        if state.refusal().is_some() {
            return;
        }
        state.committed = committed;
        // Of several in a row only the last one counts; and nobody is woken for it.
        match state.queue.back_mut() {
            Some(Job { work: Work::Committed(waiting), .. }) => *waiting = committed,
            Some(_) | None => state.push(Job { work: Work::Committed(committed), done: None }),
        }
    }

    pub(super) fn wait_durable(&self, index: u64, timeout: Duration) -> bool {
        let waits = |state: &mut State| state.durable_until() <= index && state.refusal().is_none();
        let waited = self.durable.wait_timeout_while(self.lock(), timeout, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.durable_until() > index
    }

    pub(super) fn on_poisoned(&self, told: OnPoisoned) {
        let mut state = self.lock();
        if let Some(poison) = state.poison.clone() {
            drop(state);
            told(&poison);
        } else {
            state.on_poisoned.push(told);
        }
    }

    /// The durable pointer moved.
    pub(super) fn tell_durable(&self, durable_until: u64, watchers: &[OnDurable]) {
        self.durable.notify_all();
        if let Some(index) = durable_until.checked_sub(1) {
            for told in watchers {
                told(index);
            }
        }
    }

    /// Waits for work. With nothing to do for `idle_after`, says so.
    pub(super) fn next_turn(&self, bytes_max: usize, idle_after: Option<Duration>) -> Turn {
        let mut state = self.lock();
        let waits = |state: &mut State| !state.has_work() && !state.is_closing;
        if let Some(idle_after) = idle_after {
            let waited = self.work.wait_timeout_while(state, idle_after, waits);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() {
                return Turn::Idle;
            }
        } else {
            let waited = self.work.wait_while(state, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let jobs = state.take(bytes_max);
        let is_last = state.is_closing && state.queue.is_empty();
        let (frames, bytes) = (state.queue_frames, state.queue_bytes);
        drop(state);
        self.observer.queued(widen(frames), widen(bytes));
        if is_last { Turn::Last(jobs) } else { Turn::Work(jobs) }
    }

    /// All that waits now.
    pub(super) fn take_all(&self) -> VecDeque<Job> {
        self.lock().take(usize::MAX)
    }

    pub(super) fn close(&self) {
        self.lock().is_closing = true;
        self.work.notify_all();
    }

    /// Nothing is acknowledged from here on: all who wait, and `dones` first, are told why.
    pub(super) fn poison(&self, error: io::Error, dones: Vec<Done>) {
        let error = Arc::new(error);
        let mut state = self.lock();
        state.poison = Some(Arc::clone(&error));
        let waiting = state.take(usize::MAX);
        let watchers = std::mem::take(&mut state.on_poisoned);
        drop(state);
        self.durable.notify_all();
        for done in dones.into_iter().chain(waiting.into_iter().filter_map(|job| job.done)) {
            done(Err(poisoned(&error)));
        }
        for told in watchers {
            told(&error);
        }
    }

    /// An error if the journal is poisoned.
    pub(super) fn refuse_poisoned(&self) -> io::Result<()> {
        self.lock().poison.as_ref().map_or(Ok(()), |error| Err(poisoned(error)))
    }

    pub(super) fn tempo(&self) -> &Tempo {
        &self.tempo
    }

    pub(super) fn observer(&self) -> &dyn JournalObserver {
        self.observer.as_ref()
    }
}

/// The failure that poisoned the journal, once more.
fn poisoned(error: &Arc<io::Error>) -> io::Error {
    io::Error::new(error.kind(), Arc::clone(error))
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).expect("a count fits 64 bits")
}
