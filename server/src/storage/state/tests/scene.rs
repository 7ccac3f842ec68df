//! The scene of the tests: a machine, a journal made of a vector, and a state on a disk of the test's choice.
//!
//! The journal is durable only as far as the test lets it be. Commands go through the machine as in a replica, so
//! that what is flushed is what a replica would flush.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::types::{
    Batch, BatchLimits, CheckpointLabel, CursorName, EntryId, EntryIndex, LogId, LogName,
    LogSettings, NewRecord, Position, PositionRange, Record, Term, Timestamp,
};

use crate::machine::{
    AppendItem, AppendTarget, Command, CreateLog, DeleteLog, EntryBody, FirstContent, Frontier,
    LogView, Machine, MachineLimits, MakeCheckpoint, Outcome, Payload, Proposal, SetCursor,
    TrimLog,
};
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::state::{
    Attestation, EntrySource, FlushFailure, Flushed, Level, Page, ReadError, ReadLimit, State,
    StateObserver, StateOptions,
};
use crate::world::Clock;

/// Enough for all that a test reads at once.
pub(in crate::storage::state) const EVERYTHING: ReadLimit =
    ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

/// Options that flush only when asked to.
pub(in crate::storage::state) fn by_hand() -> StateOptions {
    StateOptions {
        cache_bytes: 1 << 20,
        suffix_bytes_max: 0,
        flush_bytes: u64::MAX,
        flush_interval: Duration::from_hours(1),
        trim_interval: Duration::from_millis(1),
        ..StateOptions::default()
    }
}

/// A log as the machine might show it.
pub(in crate::storage::state) fn log_view(id: u64, name: &str, trim: u64, tail: u64) -> LogView {
    LogView {
        id: LogId::new(id),
        name: LogName::new(name).unwrap(),
        settings: Arc::new(LogSettings::default()),
        created: Timestamp::EPOCH,
        trim: Position::new(trim),
        tail: Position::new(tail),
        bytes_at_trim: trim,
        bytes_at_tail: tail,
        last_time: Timestamp::EPOCH,
        sealed: false,
        fence: None,
        renewed: Timestamp::EPOCH,
        frontier: Frontier::empty(),
    }
}

/// A journal in memory. Entries count from 1.
#[derive(Debug, Clone, Default)]
pub(in crate::storage::state) struct TestJournal(Arc<(Mutex<TestEntries>, Condvar)>);

#[derive(Debug, Default)]
struct TestEntries {
    payloads: Vec<Payload>,
    durable: u64,
    reads: usize,
    stall: Stall,
}

/// A sync that hangs until the test lets the one who waits for it go.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stall {
    #[default]
    None,
    /// The next who waits is held.
    Set,
    /// Somebody is held.
    Holds,
}

impl TestJournal {
    pub(in crate::storage::state) fn push(&self, payload: Payload) -> u64 {
        let mut entries = self.0.0.lock().unwrap();
        entries.payloads.push(payload);
        u64::try_from(entries.payloads.len()).unwrap()
    }

    /// Everything up to `entry` is durable.
    pub(in crate::storage::state) fn set_durable(&self, entry: u64) {
        self.0.0.lock().unwrap().durable = entry;
        self.0.1.notify_all();
    }

    /// Whoever waits next is held until [`TestJournal::give_up`], and told that nothing is durable.
    pub(in crate::storage::state) fn stall(&self) {
        self.0.0.lock().unwrap().stall = Stall::Set;
    }

    /// Waits until somebody is held.
    pub(in crate::storage::state) fn await_stalled(&self) {
        let entries = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(entries, |entries| entries.stall != Stall::Holds).unwrap());
    }

    /// Lets the one go who is held. Whoever comes later finds what is durable by then.
    pub(in crate::storage::state) fn give_up(&self) {
        self.0.0.lock().unwrap().stall = Stall::None;
        self.0.1.notify_all();
    }

    /// How many payloads were read again.
    pub(in crate::storage::state) fn reads(&self) -> usize {
        self.0.0.lock().unwrap().reads
    }

    pub(in crate::storage::state) fn payload_of(&self, entry: u64) -> Payload {
        self.0.0.lock().unwrap().payloads[usize::try_from(entry).unwrap() - 1].clone()
    }

    pub(in crate::storage::state) fn len(&self) -> u64 {
        u64::try_from(self.0.0.lock().unwrap().payloads.len()).unwrap()
    }
}

impl EntrySource for TestJournal {
    fn durable(&self) -> Option<EntryIndex> {
        Some(EntryIndex::new(self.0.0.lock().unwrap().durable))
    }

    fn wait_durable(&self, entry: EntryIndex, timeout: Duration) -> bool {
        let mut entries = self.0.0.lock().unwrap();
        if entries.stall == Stall::Set {
            entries.stall = Stall::Holds;
            self.0.1.notify_all();
            drop(self.0.1.wait_while(entries, |entries| entries.stall == Stall::Holds).unwrap());
            return false;
        }
        let waits = |entries: &mut TestEntries| entries.durable < entry.get();
        let (entries, _) = self.0.1.wait_timeout_while(entries, timeout, waits).unwrap();
        entries.durable >= entry.get()
    }

    fn payload(&self, entry: EntryIndex) -> io::Result<Bytes> {
        self.0.0.lock().unwrap().reads += 1;
        Ok(self.payload_of(entry.get()).bytes)
    }

    fn entries(
        &self,
        from: EntryIndex,
        until: EntryIndex,
        _bytes_max: u64,
    ) -> io::Result<Vec<(EntryId, EntryBody)>> {
        let id = |entry| EntryId::new(Term::new(1), 1, EntryIndex::new(entry));
        let body = |entry| EntryBody::Command(self.payload_of(entry));
        Ok((from.get()..until.get()).map(|entry| (id(entry), body(entry))).collect())
    }
}

/// What the state told.
#[derive(Debug, Default)]
pub(in crate::storage::state) struct Told {
    pub(in crate::storage::state) flushes: Mutex<Vec<Flushed>>,
    pub(in crate::storage::state) damages: Mutex<Vec<(LogId, PositionRange)>>,
    pub(in crate::storage::state) failures: Mutex<Vec<String>>,
}

impl StateObserver for Told {
    fn flushed(&self, flushed: &Flushed) {
        self.flushes.lock().unwrap().push(*flushed);
    }

    fn damage_found(&self, log: LogId, range: PositionRange) {
        self.damages.lock().unwrap().push((log, range));
    }

    fn failed(&self, failure: &FlushFailure) {
        self.failures.lock().unwrap().push(failure.to_string());
    }
}

/// A replica's state without the replica.
pub(in crate::storage::state) struct Scene {
    pub(in crate::storage::state) disk: Arc<dyn Disk>,
    pub(in crate::storage::state) path: PathBuf,
    pub(in crate::storage::state) journal: TestJournal,
    pub(in crate::storage::state) machine: Arc<Mutex<Machine>>,
    pub(in crate::storage::state) state: State,
    pub(in crate::storage::state) told: Arc<Told>,
    /// Time of the next command.
    pub(in crate::storage::state) now: u64,
    dir: Option<Arc<tempfile::TempDir>>,
}

impl Scene {
    /// On a real file that goes with the scene.
    pub(in crate::storage::state) fn on_file(options: StateOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let mut scene = Self::on(Arc::new(RealDisk), &path, options, TestJournal::default());
        scene.dir = Some(Arc::new(dir));
        scene
    }

    /// On any disk, with what the journal holds beyond what was flushed applied again.
    pub(in crate::storage::state) fn on(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: StateOptions,
        journal: TestJournal,
    ) -> Self {
        let (state, manifest) = State::open(&disk, path, options).unwrap();
        let machine = manifest.map_or_else(
            || Machine::new(MachineLimits::default()),
            |manifest| manifest.into_machine().unwrap(),
        );
        let machine = Arc::new(Mutex::new(machine));
        let told = Arc::new(Told::default());
        let path = path.to_owned();
        state.start(Arc::clone(&machine), journal.clone(), told.clone(), Clock::real());
        let mut scene = Self { disk, path, journal, machine, state, told, now: 1000, dir: None };
        let applied = scene.applied();
        for entry in applied + 1..=scene.journal.len() {
            scene.apply_entry(entry);
        }
        scene
    }

    /// Closes and opens again.
    pub(in crate::storage::state) fn reopened(mut self, options: StateOptions) -> Self {
        let (dir, now) = (self.dir.take(), self.now);
        let (disk, path) = (Arc::clone(&self.disk), self.path.clone());
        let journal = self.journal.clone();
        drop(self);
        let mut scene = Self::on(disk, &path, options, journal);
        scene.dir = dir;
        scene.now = now;
        scene
    }

    /// What keeps the scene's file on disk when the scene is over.
    pub(in crate::storage::state) fn keep_folder(&self) -> Option<Arc<tempfile::TempDir>> {
        self.dir.clone()
    }

    pub(in crate::storage::state) fn applied(&self) -> u64 {
        self.machine.lock().unwrap().applied().map_or(0, |id| id.index.get())
    }

    pub(in crate::storage::state) fn flushed(&self) -> u64 {
        self.state.flushed().map_or(0, |id| id.index.get())
    }

    /// Applies a command whose entry is durable at once.
    pub(in crate::storage::state) fn apply(&mut self, payload: Payload) -> Outcome {
        let entry = self.journal.push(payload);
        self.journal.set_durable(entry);
        self.apply_entry(entry)
    }

    /// Applies an entry that the journal holds.
    pub(in crate::storage::state) fn apply_entry(&mut self, entry: u64) -> Outcome {
        let payload = self.journal.payload_of(entry);
        let id = EntryId::new(Term::new(1), 1, EntryIndex::new(entry));
        let body = EntryBody::Command(payload);
        let mut machine = self.machine.lock().unwrap();
        self.state.apply(&mut machine, id, &body)
    }

    pub(in crate::storage::state) fn stamp(&mut self) -> Timestamp {
        self.now += 1;
        Timestamp::new(self.now)
    }

    pub(in crate::storage::state) fn create(&mut self, name: &str) -> LogId {
        let stamp = self.stamp();
        let name = LogName::new(name).unwrap();
        let settings = LogSettings::default();
        let content = FirstContent::default();
        let command = CreateLog { stamp, name: name.clone(), settings, content };
        self.apply(command.encode());
        self.state.view(&name).unwrap().id
    }

    pub(in crate::storage::state) fn delete(&mut self, name: &str) {
        let stamp = self.stamp();
        self.apply(DeleteLog { stamp, log: LogName::new(name).unwrap().into() }.encode());
    }

    pub(in crate::storage::state) fn trim(&mut self, name: &str, to: u64) {
        let stamp = self.stamp();
        let name = LogName::new(name).unwrap();
        let (log, to) = (self.state.view(&name).unwrap().id, Position::new(to));
        let bytes_before = self.state.bytes_before(log, to).unwrap();
        self.apply(TrimLog { stamp, log: name.into(), to, bytes_before }.encode());
    }

    /// Makes a checkpoint; the index of its entry.
    pub(in crate::storage::state) fn checkpoint(&mut self, label: Option<&str>) -> EntryIndex {
        let stamp = self.stamp();
        let label = label.map(|label| CheckpointLabel::new(label).unwrap());
        MakeCheckpoint::outcome(self.apply(MakeCheckpoint { stamp, label }.encode())).unwrap()
    }

    pub(in crate::storage::state) fn attested(&self, checkpoint: EntryIndex) -> Attestation {
        self.state.attestation(checkpoint, Some(EntryIndex::new(self.applied())))
    }

    pub(in crate::storage::state) fn set_cursor(&mut self, name: &str, cursor: &str, at: u64) {
        let stamp = self.stamp();
        let (log, cursor) = (LogName::new(name).unwrap(), CursorName::new(cursor).unwrap());
        let position = Position::new(at);
        let log = log.into();
        self.apply(SetCursor { stamp, log, cursor, expected: None, position }.encode());
    }

    /// Appends bodies as one batch.
    pub(in crate::storage::state) fn append(&mut self, name: &str, bodies: &[Vec<u8>]) -> Outcome {
        let payload = self.append_payload(&[(name, bodies)]);
        self.apply(payload)
    }

    /// One command with a batch for each log.
    pub(in crate::storage::state) fn append_payload(
        &mut self,
        batches: &[(&str, &[Vec<u8>])],
    ) -> Payload {
        let stamp = self.stamp();
        let items: Vec<AppendItem> =
            batches.iter().map(|(name, bodies)| item(name, bodies)).collect();
        Command::append(stamp, &items)
    }

    pub(in crate::storage::state) fn flush(&self) {
        self.state.flush_now().unwrap();
    }

    pub(in crate::storage::state) fn read(
        &self,
        log: LogId,
        from: u64,
        limit: ReadLimit,
    ) -> Result<Page<Record>, ReadError> {
        self.state.read(log, Position::new(from), limit, Level::Applied)
    }

    /// All bodies of a log from a position on.
    pub(in crate::storage::state) fn bodies(&self, log: LogId, from: u64) -> Vec<Vec<u8>> {
        self.try_bodies(log, from).unwrap()
    }

    pub(in crate::storage::state) fn try_bodies(
        &self,
        log: LogId,
        from: u64,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut bodies = Vec::new();
        let mut next = Position::new(from);
        loop {
            let page = self.state.read(log, next, EVERYTHING, Level::Applied)?;
            for record in &page.records {
                assert_eq!(record.position, next, "positions are dense");
                bodies.push(record.body.to_vec());
                next = next.advance(1);
            }
            assert_eq!(page.next, next);
            if page.records.is_empty() {
                assert_eq!(next, page.tail);
                return Ok(bodies);
            }
        }
    }

    /// Whatever of a log can be read is right; what is refused says so.
    pub(in crate::storage::state) fn check_or_refused(&self, log: LogId, expected: &[Vec<u8>]) {
        match self.try_bodies(log, 0) {
            Ok(bodies) => assert_eq!(bodies, expected),
            Err(error) => assert!(matches!(error, ReadError::Storage(_)), "{error}"),
        }
    }

    /// First position and count of the chunks of a log.
    pub(in crate::storage::state) fn chunks(&self, log: LogId) -> Vec<(u64, u32)> {
        chunks_of(&self.state, log)
    }

    /// Waits until nothing is left to be deleted, or it takes too long.
    pub(in crate::storage::state) fn await_chunks(&self, log: LogId, wanted: &[(u64, u32)]) {
        for _ in 0..500 {
            if self.chunks(log) == wanted {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.chunks(log), wanted);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.state.close();
        }
    }
}

/// First position and count of the chunks of a log.
pub(in crate::storage::state) fn chunks_of(state: &State, log: LogId) -> Vec<(u64, u32)> {
    use migrations::latest::records::Chunk;
    use migrations::latest::tables::{CHUNKS, chunk_key};
    let table = state.0.database.read().unwrap().open_table(CHUNKS).unwrap();
    let (from, until) = (chunk_key(log.get(), 0), chunk_key(log.get() + 1, 0));
    let range = table.range::<&[u8]>(&from[..]..&until[..]).unwrap();
    range
        .map(|found| {
            let (key, value) = found.unwrap();
            let head = Chunk::decode(key.value(), value.value()).unwrap().head();
            (head.first, head.count)
        })
        .collect()
}

/// An append of bodies.
pub(in crate::storage::state) fn item(name: &str, bodies: &[Vec<u8>]) -> AppendItem {
    let limits = BatchLimits::default();
    let records: Vec<NewRecord> = bodies.iter().cloned().map(NewRecord::new).collect();
    let batch = Batch::new(&records, &limits).unwrap();
    AppendItem::encode(&AppendTarget::unconditional(LogName::new(name).unwrap()), &batch)
}

/// Bodies that differ, each of `length` bytes.
pub(in crate::storage::state) fn bodies(
    numbers: std::ops::Range<u64>,
    length: usize,
) -> Vec<Vec<u8>> {
    numbers
        .map(|number| {
            let text = format!("{number}:");
            text.bytes().cycle().take(length).collect()
        })
        .collect()
}
