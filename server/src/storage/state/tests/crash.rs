//! Power cuts: at every sync and crash point of a scripted run, and a failed call in every place.
//!
//! The disk of `faults` records itself before each sync and at crash points, with how far the journal was durable at that moment. From each
//! record, power is cut with many subsets of what was not synced; what opens then must be the whole state at some entry
//! that was durable, and no older than the last flush that was acknowledged before.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use client::types::LogId;

use super::scene::{Scene, TestJournal, bodies, by_hand};
use crate::machine::{EntryBody, Machine, MachineLimits};
use crate::storage::disk::Disk;
use crate::storage::faults::{FaultDisk, HALF_A_WRITE, assert_passed};
use crate::storage::state::{State, StateManifest, StateOptions};
use client::types::{EntryId, EntryIndex, Term};

/// Crash points that the script passes.
const POINTS: [&str; 7] = [
    HALF_A_WRITE,
    "flusher/before-begin",
    "flusher/records-ahead",
    "flusher/chunks-written",
    "flusher/before-commit",
    "flusher/after-commit",
    "flusher/pointers-moved",
];
const PATH: &str = "/state/state.redb";

fn options() -> StateOptions {
    // Such a small cache that a flush takes several transactions.
    StateOptions {
        cache_bytes: 16 << 10,
        unsynced_bytes_max: 16 << 10,
        trim_chunks_max: 2,
        ..by_hand()
    }
}

fn scene_on(disk: &FaultDisk, journal: TestJournal) -> Scene {
    disk.create_dir_all(Path::new("/state")).unwrap();
    Scene::on(Arc::new(disk.clone()), Path::new(PATH), options(), journal)
}

/// Logs that grow at different speeds, are trimmed, deleted and made again, with a flush after every few commands.
fn script(scene: &mut Scene, mut flushed: impl FnMut(&Scene)) {
    let keep = scene.create("keep");
    scene.create("gone");
    for round in 0..6_u64 {
        scene.append("keep", &bodies(round * 150..round * 150 + 150, 60));
        // Made again, it counts from the start again.
        let tail = scene.state.views("gone", None, 1)[0].tail.get();
        scene.append("gone", &bodies(tail..tail + 5, 700));
        flushed(scene);
        scene.set_cursor("keep", "billing", round * 150);
        if round == 3 {
            scene.delete("gone");
            scene.create("gone");
        }
        if round == 4 {
            scene.trim("keep", 300);
        }
        flushed(scene);
    }
    scene.await_chunks(keep, &scene.chunks(keep));
}

/// The machine at an entry, made of nothing but the journal.
fn machine_at(journal: &TestJournal, entry: u64) -> Machine {
    let mut machine = Machine::new(MachineLimits::default());
    for index in 1..=entry {
        let id = EntryId::new(Term::new(1), 1, EntryIndex::new(index));
        machine.apply(id, &EntryBody::Command(journal.payload_of(index)));
    }
    machine
}

#[test]
fn whenever_the_power_is_cut_the_state_is_whole_at_a_durable_entry() {
    let disk = FaultDisk::new(7);
    let mut scene = scene_on(&disk, TestJournal::default());
    scene.create("first");
    scene.flush();
    // In the label: how far the journal was durable, and the last flush acknowledged.
    let label = Arc::new(AtomicU64::new(0));
    disk.record(Arc::clone(&label));
    let journal = scene.journal.clone();
    script(&mut scene, |scene| {
        label.store(scene.journal.len() << 32 | scene.flushed(), Ordering::SeqCst);
        scene.flush();
        label.store(scene.journal.len() << 32 | scene.flushed(), Ordering::SeqCst);
    });
    scene.state.close();
    let mut cuts = 0;
    let snapshots = disk.recorded();
    assert_passed(&snapshots, &POINTS);
    for (seed, snapshot) in (0..).zip(snapshots) {
        let (durable, flushed) = (snapshot.label >> 32, snapshot.label & 0xffff_ffff);
        let sampled = if snapshot.point.is_some() { 2 } else { 6 };
        for cut in snapshot.cuts(sampled, seed).into_iter().chain([snapshot.kill()]) {
            check_cut(&cut, &journal, flushed..=durable.max(1));
            if cuts % 5 == 0 {
                check_replay(cut, &journal);
            }
            cuts += 1;
        }
    }
    assert!(cuts >= 200, "only {cuts} cuts");
}

fn check_cut(cut: &FaultDisk, journal: &TestJournal, entries: std::ops::RangeInclusive<u64>) {
    let disk: Arc<dyn Disk> = Arc::new(cut.clone());
    let (state, manifest) = State::open(&disk, Path::new(PATH), options()).unwrap();
    let manifest = manifest.expect("the first flush was acknowledged");
    let entry = manifest.applied().index.get();
    assert!(entries.contains(&entry) || entry == 1, "{entry} is not within {entries:?}");
    let expected = machine_at(journal, entry).manifest().map(StateManifest::new);
    assert_eq!(Some(manifest), expected, "the rows are those of entry {entry}");
    drop(state);
    check_records(&disk, journal, entry);
}

/// Every record that the state at `entry` names can be read.
fn check_records(disk: &Arc<dyn Disk>, journal: &TestJournal, entry: u64) {
    let expected = machine_at(journal, entry);
    let upto = TestJournal::default();
    (1..=entry).for_each(|index| {
        upto.push(journal.payload_of(index));
    });
    upto.set_durable(entry);
    let scene = Scene::on(Arc::clone(disk), Path::new(PATH), options(), upto);
    check_logs(&scene, &expected);
}

/// Whatever a cut left ahead of the pointers, the journal's entries lead to the same records as ever.
fn check_replay(cut: FaultDisk, journal: &TestJournal) {
    let scene = Scene::on(Arc::new(cut), Path::new(PATH), options(), journal.clone());
    let expected = machine_at(journal, journal.len());
    check_logs(&scene, &expected);
    scene.flush();
    check_logs(&scene, &expected);
    check_logs(&scene.reopened(options()), &expected);
}

fn check_logs(scene: &Scene, expected: &Machine) {
    for log in expected.logs() {
        let view = log.view();
        let length = if view.name.as_str() == "keep" { 60 } else { 700 };
        let (from, until) = (view.trim.get(), view.tail.get());
        assert_eq!(scene.bodies(view.id, from), bodies(from..until, length), "{}", view.name);
    }
}

#[test]
fn a_failed_call_ends_the_flusher_and_the_state_is_whole_at_the_next_start() {
    for nth in 1..40 {
        let disk = FaultDisk::new(3);
        let mut scene = scene_on(&disk, TestJournal::default());
        scene.create("first");
        scene.flush();
        if nth % 2 == 0 {
            disk.fail_sync(nth / 2);
        } else {
            disk.fail_write(nth);
        }
        let journal = scene.journal.clone();
        let log = LogId::new(1);
        let mut acknowledged = 1;
        for round in 0..3 {
            scene.append("first", &bodies(round * 50..round * 50 + 50, 700));
            if scene.state.flush_now().is_ok() {
                acknowledged = scene.journal.len();
            }
        }
        let failures = scene.told.failures.lock().unwrap().len();
        assert!(failures <= 1, "reported once");
        assert_eq!(failures == 0, acknowledged == journal.len(), "call {nth}");
        scene.check_or_refused(log, &bodies(0..150, 700));
        scene.state.close();
        let disk = disk.power_cut();
        let scene = scene_on(&disk, journal);
        assert_eq!(scene.bodies(log, 0), bodies(0..150, 700));
    }
}
