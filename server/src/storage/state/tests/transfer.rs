//! What a transfer asks of a state: what is lacking is found, is written ahead where nobody sees it, and is installed.
//!
//! A state that lags follows another one in random steps: now by entries, now by a transfer of any part of what it
//! lacks, broken off and gone on with after a restart, with what was appended and trimmed meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use client::types::{EntryId, EntryIndex, LogId, Position, Term};
use proptest::prelude::*;

use super::super::read::TimedWalk;
use super::scene::{Scene, TestJournal, Told, bodies, by_hand};
use crate::machine::{EntryBody, Machine, MachineLimits, TileAddress};
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::faults::{FaultDisk, assert_passed};
use crate::storage::state::{Gap, InstallError, Level, State, StateManifest, Stretch};
use crate::world::Clock;

/// Crash points that a transfer passes.
const POINTS: [&str; 4] = [
    "transfer/tiles-ahead",
    "transfer/records-ahead",
    "transfer/before-install",
    "transfer/after-install",
];

/// A state that follows, and does not replay the journal by itself.
struct Lagging {
    /// Where it is, and the folder that goes with it.
    disk: Arc<dyn Disk>,
    path: PathBuf,
    dir: Option<Arc<tempfile::TempDir>>,
    journal: TestJournal,
    machine: Arc<Mutex<Machine>>,
    state: State,
}

impl Lagging {
    fn new(journal: &TestJournal) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let lagging = Self::open(Arc::new(RealDisk), &dir.path().join("redb"), journal);
        lagging.with_dir(Some(dir))
    }

    fn with_dir(mut self, dir: Option<Arc<tempfile::TempDir>>) -> Self {
        self.dir = dir;
        self
    }

    fn open(disk: Arc<dyn Disk>, path: &Path, journal: &TestJournal) -> Self {
        let (state, manifest) = State::open(&disk, path, by_hand()).unwrap();
        let machine = manifest.map_or_else(
            || Machine::new(MachineLimits::default()),
            |manifest| manifest.into_machine().unwrap(),
        );
        let machine = Arc::new(Mutex::new(machine));
        let told = Arc::new(Told::default());
        state.start(Arc::clone(&machine), journal.clone(), told, Clock::real());
        Self { disk, path: path.to_owned(), dir: None, journal: journal.clone(), machine, state }
    }

    fn reopened(self) -> Self {
        let (disk, path, dir) = (Arc::clone(&self.disk), self.path.clone(), self.dir.clone());
        let journal = self.journal.clone();
        drop(self);
        Self::open(disk, &path, &journal).with_dir(dir)
    }

    /// Follows by entries, as far as there are some, and flushes.
    fn catch_up(&self, count: u64) {
        let mut machine = self.machine.lock().unwrap();
        let applied = machine.applied().map_or(0, |id| id.index.get());
        for entry in applied + 1..=self.journal.len().min(applied + count) {
            let id = EntryId::new(Term::new(1), 1, EntryIndex::new(entry));
            let body = EntryBody::Command(self.journal.payload_of(entry));
            let applied = machine.apply(id, &body);
            self.state.publish(id.index, body.payload(), applied.delta);
        }
        drop(machine);
        self.state.flush_now().unwrap();
    }

    fn gaps(&self, manifest: &StateManifest) -> Vec<Gap> {
        let logs = manifest.rows().logs.iter();
        logs.flat_map(|(log, row)| self.state.gaps(LogId::new(*log), row).unwrap()).collect()
    }

    /// Takes over so many tiles of what is lacking, in order.
    fn pull(&self, source: &State, manifest: &StateManifest, mut tiles_max: usize) {
        for gap in self.gaps(manifest) {
            let mut tiles = Vec::new();
            let mut from = gap.from;
            let mut bytes_before = None;
            while from < gap.until && tiles_max > 0 {
                let until = Position::new((from.get() + 1).next_multiple_of(256)).min(gap.until);
                let piece = source.stretch(gap.log, (from, until), usize::MAX).unwrap().unwrap();
                assert_eq!(u64::from(piece.count), until.get() - from.get());
                let walk = TimedWalk(piece.bytes.clone());
                let lengths: Vec<u64> = walk.map(|(_, untimed)| wide(untimed.len())).collect();
                let before = bytes_before.unwrap_or_else(|| {
                    let count = usize::try_from(gap.anchor.get() - from.get()).unwrap();
                    gap.bytes_before - lengths[..count].iter().sum::<u64>()
                });
                bytes_before = Some(before + lengths.iter().sum::<u64>());
                let records = piece.bytes;
                tiles.push(Stretch { log: gap.log, first: from, bytes_before: before, records });
                from = until;
                tiles_max -= 1;
            }
            self.state.write_ahead(&tiles).unwrap();
        }
    }

    fn install(&self, manifest: &StateManifest) -> Result<(), InstallError> {
        self.state.install(manifest, &mut self.machine.lock().unwrap())
    }

    /// Positions of a log of which a chunk is here.
    fn here(&self, log: LogId) -> BTreeSet<u64> {
        let chunks = super::scene::chunks_of(&self.state, log);
        chunks.into_iter().flat_map(|(first, count)| first..first + u64::from(count)).collect()
    }
}

impl Drop for Lagging {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.state.close();
        }
    }
}

/// Changes a byte of the chunk that begins at a position.
fn spoil_chunk(state: &State, log: LogId, first: u64) {
    use migrations::latest::tables::{CHUNKS, chunk_key};
    use redb::ReadableTable as _;
    let (key, txn) = (chunk_key(log.get(), first), state.0.database.write().unwrap());
    let mut chunks = txn.open_table(CHUNKS).unwrap();
    let mut value = chunks.get(&key[..]).unwrap().unwrap().value().to_vec();
    *value.last_mut().unwrap() ^= 1;
    chunks.insert(&key[..], &value[..]).unwrap();
    drop(chunks);
    state.0.database.commit(txn).unwrap();
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

/// What is lacking, position by position.
fn naive_gaps(lagging: &Lagging, manifest: &StateManifest) -> Vec<(LogId, u64, u64)> {
    let mut gaps: Vec<(LogId, u64, u64)> = Vec::new();
    for (id, row) in &manifest.rows().logs {
        let log = LogId::new(*id);
        let here = lagging.here(log);
        let mut tile = row.trim / 256 * 256;
        while tile < row.tail {
            let end = (tile + 256).min(row.tail);
            if let Some(first) = (tile..end).find(|position| !here.contains(position)) {
                match gaps.last_mut() {
                    Some((last, _, until)) if *last == log && *until == first => *until = end,
                    _ => gaps.push((log, first, end)),
                }
            }
            tile = end;
        }
    }
    gaps
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        log: u8,
        count: u16,
        length: u16,
    },
    Trim {
        log: u8,
        part: u8,
    },
    Recreate {
        log: u8,
    },
    /// The one that lags follows by entries.
    Follow {
        count: u8,
    },
    /// It takes over a part of what it lacks.
    Pull {
        tiles: usize,
    },
    /// It takes over all, and installs.
    Install,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u8..3, 1_u16..700, 0_u16..200)
            .prop_map(|(log, count, length)| Step::Append { log, count, length }),
        2 => (0_u8..3, 0_u8..=100).prop_map(|(log, part)| Step::Trim { log, part }),
        1 => (0_u8..3).prop_map(|log| Step::Recreate { log }),
        2 => (1_u8..5).prop_map(|count| Step::Follow { count }),
        3 => (1_usize..6).prop_map(|tiles| Step::Pull { tiles }),
        2 => Just(Step::Install),
        1 => Just(Step::Reopen),
    ]
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn manifest_of(source: &Scene) -> StateManifest {
    source.flush();
    let manifest = source.state.manifest().unwrap().unwrap();
    StateManifest::decode(&manifest.encode()).unwrap()
}

fn check_gaps(lagging: &Lagging, manifest: &StateManifest) {
    let gaps = lagging.gaps(manifest);
    let found: Vec<_> = gaps.iter().map(|gap| (gap.log, gap.from.get(), gap.until.get())).collect();
    assert_eq!(found, naive_gaps(lagging, manifest));
}

fn take(source: &mut Scene, lagging: Lagging, step: &Step) -> Lagging {
    let tail = |source: &Scene, log: u8| {
        source.state.views(NAMES[usize::from(log)], None, 1)[0].tail.get()
    };
    match *step {
        Step::Append { log, count, length } => {
            let tail = tail(source, log);
            let new = bodies(tail..tail + u64::from(count), usize::from(length));
            source.append(NAMES[usize::from(log)], &new);
        }
        Step::Trim { log, part } => {
            let view = Arc::clone(&source.state.views(NAMES[usize::from(log)], None, 1)[0]);
            let (trim, tail) = (view.trim.get(), view.tail.get());
            source.trim(view.name.as_ref(), trim + (tail - trim) * u64::from(part) / 100);
        }
        Step::Recreate { log } => {
            source.delete(NAMES[usize::from(log)]);
            source.create(NAMES[usize::from(log)]);
        }
        Step::Follow { count } => lagging.catch_up(u64::from(count)),
        Step::Pull { tiles } => {
            let manifest = manifest_of(source);
            check_gaps(&lagging, &manifest);
            lagging.pull(&source.state, &manifest, tiles);
            check_gaps(&lagging, &manifest);
        }
        Step::Install => {
            let manifest = manifest_of(source);
            lagging.pull(&source.state, &manifest, usize::MAX);
            assert_eq!(lagging.gaps(&manifest), []);
            lagging.install(&manifest).unwrap();
            check_same(source, &lagging);
        }
        Step::Reopen => return lagging.reopened(),
    }
    lagging
}

/// Both show the same, and chunks say the same of what lies before them.
fn check_same(source: &Scene, lagging: &Lagging) {
    for view in source.state.views("", None, 9) {
        assert_eq!(lagging.state.view_by_id(view.id).as_deref(), Some(&*view));
        let read = |state: &State| {
            let page = state.read(view.id, view.trim, super::scene::EVERYTHING, Level::Applied);
            page.unwrap()
        };
        let (page, expected) = (read(&lagging.state), read(&source.state));
        assert_eq!(page.next, expected.next);
        assert!(page.records == expected.records, "records of {} differ", view.name);
        let middle = Position::new(view.trim.get().midpoint(view.tail.get()));
        assert_eq!(
            lagging.state.bytes_before(view.id, middle).unwrap(),
            source.state.bytes_before(view.id, middle).unwrap()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_here_before_exactly_the_rest_is_lacking(
        steps in proptest::collection::vec(step(), 1..30)
    ) {
        let mut source = Scene::on_file(by_hand());
        let mut lagging = Lagging::new(&source.journal);
        for name in NAMES {
            source.create(name);
        }
        for step in steps.iter().chain([&Step::Install]) {
            lagging = take(&mut source, lagging, step);
        }
    }
}

#[test]
fn what_is_written_ahead_is_seen_by_nobody_and_survives_the_process() {
    let mut source = Scene::on_file(by_hand());
    let mut lagging = Lagging::new(&source.journal);
    let log = source.create("a");
    source.append("a", &bodies(0..100, 100));
    lagging.catch_up(u64::MAX);
    source.append("a", &bodies(100..900, 100));
    let manifest = manifest_of(&source);
    lagging.pull(&source.state, &manifest, 2);
    let refused = lagging.install(&manifest).unwrap_err();
    assert!(matches!(refused, InstallError::Incomplete { log: of, .. } if of == log));
    lagging = lagging.reopened();
    assert_eq!(lagging.state.view_by_id(log).unwrap().tail, Position::new(100));
    assert_eq!(lagging.state.manifest().unwrap().unwrap().applied().index.get(), 2);
    let gap = lagging.gaps(&manifest)[0];
    assert_eq!((gap.from.get(), gap.until.get()), (512, 900), "the rest alone is lacking");
    assert_eq!(gap.bytes, (900 - 512) * 102);
    lagging.pull(&source.state, &manifest, usize::MAX);
    lagging.install(&manifest).unwrap();
    check_same(&source, &lagging);
}

#[test]
fn whenever_the_power_is_cut_the_old_state_or_the_new_one_is_there_and_the_rest_is_fetched() {
    let mut source = Scene::on_file(by_hand());
    let disk = FaultDisk::new(3);
    let path = Path::new("/state/redb");
    disk.create_dir_all(Path::new("/state")).unwrap();
    let lagging = Lagging::open(Arc::new(disk.clone()), path, &source.journal);
    let log = source.create("a");
    source.append("a", &bodies(0..300, 20));
    lagging.catch_up(u64::MAX);
    source.append("a", &bodies(300..900, 20));
    let old = lagging.state.manifest().unwrap().unwrap();
    let manifest = manifest_of(&source);
    disk.record(Arc::new(AtomicU64::new(0)));
    let hashes = source.state.tiles(log, 0, (1, 3)).unwrap().into_iter();
    let address = |number| TileAddress { log, level: 0, number };
    let hashes: Vec<_> = (1..).map(address).zip(hashes.map(Option::unwrap)).collect();
    lagging.state.write_tiles_ahead(&hashes).unwrap();
    for _ in 0..3 {
        lagging.pull(&source.state, &manifest, 1);
    }
    assert_eq!(lagging.gaps(&manifest), []);
    lagging.install(&manifest).unwrap();
    let snapshots = disk.recorded();
    assert_passed(&snapshots, &POINTS);
    let (mut lacked, mut installed) = (BTreeSet::new(), 0);
    for (seed, snapshot) in (0..).zip(snapshots) {
        for cut in snapshot.cuts(3, seed).into_iter().chain([snapshot.kill()]) {
            let after = Lagging::open(Arc::new(cut), path, &source.journal);
            let found = after.state.manifest().unwrap().unwrap();
            if found == manifest {
                assert_eq!(after.state.installed().unwrap(), Some(manifest.applied()));
                installed += 1;
            } else {
                assert!(found == old, "neither the old state nor the new one");
                assert_eq!(after.state.view_by_id(log).unwrap().tail, Position::new(300));
            }
            check_gaps(&after, &manifest);
            lacked.insert(after.gaps(&manifest).first().map_or(900, |gap| gap.from.get()));
            after.pull(&source.state, &manifest, usize::MAX);
            after.install(&manifest).unwrap();
            check_same(&source, &after);
        }
    }
    assert_eq!(lacked, [300, 512, 768, 900].into(), "each time it went on where it was");
    assert!(installed > 0);
}

#[test]
fn a_damaged_end_of_what_is_here_is_lacking_too() {
    let mut source = Scene::on_file(by_hand());
    let lagging = Lagging::new(&source.journal);
    let log = source.create("a");
    source.append("a", &bodies(0..300, 10));
    lagging.catch_up(u64::MAX);
    source.append("a", &bodies(300..700, 10));
    let manifest = manifest_of(&source);
    let lacking = |lagging: &Lagging| {
        let gaps = lagging.gaps(&manifest);
        gaps.iter().map(|gap| (gap.from.get(), gap.until.get())).collect::<Vec<_>>()
    };
    assert_eq!(lacking(&lagging), [(300, 700)]);
    spoil_chunk(&lagging.state, log, 256);
    assert_eq!(lacking(&lagging), [(256, 700)], "the tile cannot be proved without it");
    lagging.pull(&source.state, &manifest, usize::MAX);
    lagging.install(&manifest).unwrap();
    check_same(&source, &lagging);
}

#[test]
fn hashes_of_tiles_are_told_as_far_as_they_are_here() {
    let mut source = Scene::on_file(by_hand());
    let lagging = Lagging::new(&source.journal);
    let log = source.create("a");
    source.append("a", &bodies(0..800, 1));
    source.flush();
    let hashes = source.state.tiles(log, 0, (0, 5)).unwrap();
    assert_eq!(
        hashes.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, true, true, false, false]
    );
    let address = |number| TileAddress { log, level: 0, number };
    lagging.state.write_tiles_ahead(&[(address(1), hashes[1].unwrap())]).unwrap();
    assert_eq!(lagging.state.tiles(log, 0, (0, 3)).unwrap(), [None, hashes[1], None]);
    assert_eq!(lagging.state.tiles(log, 0, (1, 2)).unwrap(), [hashes[1]]);
    assert_eq!(lagging.state.tiles(log, 0, (3, 3)).unwrap(), []);
}

#[test]
fn a_stretch_keeps_its_bounds_and_is_never_empty() {
    let mut source = Scene::on_file(by_hand());
    let log = source.create("a");
    source.append("a", &bodies(0..300, 98));
    source.flush();
    let stretch = |from, until, bytes_max| {
        let range = (Position::new(from), Position::new(until));
        let piece = source.state.stretch(log, range, bytes_max).unwrap();
        piece.map(|piece| (piece.first.get(), piece.count, piece.bytes.len()))
    };
    // A record here is 98 bytes, two around it, and twelve of length and time.
    assert_eq!(stretch(0, 300, usize::MAX), Some((0, 300, 300 * 112)));
    assert_eq!(stretch(10, 14, usize::MAX), Some((10, 4, 4 * 112)));
    assert_eq!(stretch(250, 300, 1120), Some((250, 10, 1120)));
    assert_eq!(stretch(250, 300, 1), Some((250, 1, 112)));
    assert_eq!(stretch(300, 310, 1000), None);
}
