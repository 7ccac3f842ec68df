//! What the state promises, over a machine and a journal made of a vector.
//!
//! `scene` sets the stage; here is what holds as long as the disk is well. Crashes are in `crash`, rotten bytes in
//! `damage`, random orders against a naive log in `model`, and figures in `figures`.

mod checkpoints;
mod crash;
mod damage;
mod figures;
mod model;
mod renewal;
pub(super) mod scene;
mod scrub;
mod transfer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::types::{CursorName, EntryId, EntryIndex, LogId, LogName, Position, Term, Timestamp};

use super::read::TimedWalk;
use super::{InstallError, Level, ReadError, ReadLimit, State, StateManifest, StateOptions};
use crate::machine::{EntryBody, Machine, MachineLimits, TileAddress};
use crate::storage::disk::{Disk, RealDisk};
use crate::world::World;
use scene::{EVERYTHING, Scene, bodies, by_hand};

/// Everything stays in memory until it is flushed, and then goes.
fn scene() -> Scene {
    Scene::on_file(by_hand())
}

#[test]
fn records_are_the_same_before_and_after_they_are_flushed() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..300, 100));
    assert_eq!(scene.bodies(log, 0), bodies(0..300, 100));
    assert_eq!(scene.chunks(log), []);
    scene.flush();
    assert_eq!(scene.state.levels().suffix_bytes, 0, "nothing is left in memory");
    assert_eq!(scene.bodies(log, 0), bodies(0..300, 100));
    assert_eq!(scene.bodies(log, 299), bodies(299..300, 100));
    assert_eq!(scene.bodies(log, 300), Vec::<Vec<u8>>::new());
}

#[test]
fn a_page_begins_in_chunks_and_ends_in_memory() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..10, 100));
    scene.flush();
    scene.append("a", &bodies(10..20, 100));
    let page = scene.read(log, 5, EVERYTHING).unwrap();
    assert_eq!(page.records.len(), 15);
    assert_eq!((page.next, page.tail, page.first), (at(20), at(20), at(0)));
    let pieces = scene.state.read_pieces(log, at(5), EVERYTHING, Level::Applied).unwrap();
    let counts: Vec<_> = pieces.records.iter().map(|piece| (piece.first, piece.count)).collect();
    assert_eq!(counts, [(at(5), 5), (at(10), 10)]);
    let walked = pieces.records.into_iter().flat_map(|piece| TimedWalk(piece.bytes));
    let times: Vec<Timestamp> = walked.map(|(time, _)| time).collect();
    let read: Vec<Timestamp> = page.records.iter().map(|record| record.time).collect();
    assert_eq!(times, read);
}

#[test]
fn a_flush_that_a_stop_breaks_off_is_left_to_the_next_start() {
    let options = StateOptions { close_wait_max: Duration::ZERO, ..by_hand() };
    let mut scene = Scene::on_file(options);
    let log = scene.create("a");
    scene.flush();
    let flushed = scene.flushed();
    scene.append("a", &bodies(0..10, 100));
    // The sync hangs when the stop comes, and is done right after.
    scene.journal.stall();
    let state = scene.state.clone();
    let asked = std::thread::spawn(move || state.flush_now());
    scene.journal.await_stalled();
    scene.state.0.lock_control().begin_close();
    scene.journal.give_up();
    scene.state.close();
    assert!(asked.join().unwrap().is_err(), "nothing was flushed");
    assert_eq!(scene.flushed(), flushed, "a flush without its rows must not name its entry");
    let scene = scene.reopened(by_hand());
    assert_eq!(scene.bodies(log, 0), bodies(0..10, 100));
    scene.flush();
    assert_eq!(scene.reopened(by_hand()).bodies(log, 0), bodies(0..10, 100));
}

#[test]
fn a_page_keeps_its_limits_and_never_comes_back_empty() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..10, 98));
    for _ in 0..2 {
        let limit = |records_max, bytes_max| ReadLimit { records_max, bytes_max };
        let count = |limit| scene.read(log, 2, limit).unwrap().records.len();
        assert_eq!(count(limit(3, usize::MAX)), 3);
        assert_eq!(count(limit(usize::MAX, 250)), 2, "a record is two bytes longer than its body");
        assert_eq!(count(limit(usize::MAX, 1)), 1);
        assert_eq!(count(limit(0, 0)), 1);
        let page = scene.read(log, 2, limit(3, usize::MAX)).unwrap();
        assert_eq!((page.next, page.tail), (at(5), at(10)));
        scene.flush();
    }
}

#[test]
fn a_page_outside_the_log_is_refused_with_its_bounds() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..10, 10));
    scene.trim("a", 4);
    let refused = |from| scene.read(log, from, EVERYTHING).unwrap_err();
    assert!(matches!(refused(3), ReadError::Trimmed { first } if first == at(4)));
    assert!(matches!(refused(11), ReadError::BeyondTail { tail } if tail == at(10)));
    let unknown = scene.read(LogId::new(77), 0, EVERYTHING).unwrap_err();
    assert!(matches!(unknown, ReadError::UnknownLog));
}

#[test]
fn what_is_not_durable_here_is_shown_only_to_who_asks_for_it() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..2, 10));
    let payload = scene.append_payload(&[("a", &bodies(2..5, 10))]);
    let entry = scene.journal.push(payload);
    scene.apply_entry(entry);
    let tail = |level| scene.state.read(log, at(0), EVERYTHING, level).unwrap().tail;
    assert_eq!((tail(Level::Applied), tail(Level::Durable)), (at(5), at(2)));
    assert_eq!(scene.state.tail(log, Level::Durable), Some(at(2)));
    let beyond = scene.state.read(log, at(3), EVERYTHING, Level::Durable).unwrap_err();
    assert!(matches!(beyond, ReadError::BeyondTail { tail } if tail == at(2)));
    scene.journal.set_durable(entry);
    assert_eq!(tail(Level::Durable), at(5));
}

#[test]
fn nothing_is_flushed_before_the_journal_holds_it_durably() {
    let mut scene = scene();
    scene.create("a");
    scene.flush();
    let payload = scene.append_payload(&[("a", &bodies(0..3, 10))]);
    let entry = scene.journal.push(payload);
    scene.apply_entry(entry);
    let state = scene.state.clone();
    let flushing = std::thread::spawn(move || state.flush_now());
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(scene.flushed(), entry - 1);
    scene.journal.set_durable(entry);
    flushing.join().unwrap().unwrap();
    assert_eq!(scene.flushed(), entry);
}

#[test]
fn after_a_stop_everything_is_there_again() {
    let mut scene = scene();
    let (a, b) = (scene.create("a"), scene.create("b"));
    scene.append("a", &bodies(0..500, 50));
    scene.append("b", &bodies(0..3, 50));
    scene.set_cursor("b", "billing", 2);
    scene.trim("a", 300);
    let digest = scene.machine.lock().unwrap().rolling_digest();
    let scene = scene.reopened(by_hand());
    assert_eq!(scene.flushed(), scene.journal.len());
    assert_eq!(scene.machine.lock().unwrap().rolling_digest(), digest);
    assert_eq!(scene.bodies(a, 300), bodies(300..500, 50));
    assert_eq!(scene.bodies(b, 0), bodies(0..3, 50));
    let cursor = CursorName::new("billing").unwrap();
    assert_eq!(scene.state.cursor(b, &cursor), Some(at(2)));
    assert_eq!(scene.state.views("", None, 9).len(), 2);
}

#[test]
fn a_slow_log_ends_up_with_whole_chunks() {
    let mut scene = scene();
    let log = scene.create("slow");
    for number in 0..300 {
        scene.append("slow", &bodies(number..number + 1, 1000));
        scene.flush();
    }
    assert_eq!(scene.bodies(log, 0), bodies(0..300, 1000));
    let chunks = scene.chunks(log);
    assert!(chunks.len() <= 16, "300 flushes of one record left {chunks:?}");
    assert!(chunks.iter().any(|(first, _)| *first == 256), "none crosses a tile: {chunks:?}");
    let told = scene.told.flushes.lock().unwrap();
    let records: u64 = told.iter().map(|flush| flush.record_bytes).sum();
    assert!(records > 300_000);
}

#[test]
fn a_large_record_stands_alone() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..2, 10));
    scene.append("a", &bodies(2..3, 100_000));
    scene.append("a", &bodies(3..5, 10));
    scene.flush();
    assert_eq!(scene.chunks(log), [(0, 2), (2, 1), (3, 2)]);
    let page = scene.read(log, 1, EVERYTHING).unwrap();
    let lengths: Vec<usize> = page.records.iter().map(|record| record.body.len()).collect();
    assert_eq!(lengths, [10, 100_000, 10, 10]);
}

#[test]
fn chunks_fill_the_page_runs_of_redb() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..256, 1024));
    scene.flush();
    let chunks = scene.chunks(log);
    assert_eq!(chunks[0], (0, 31), "31 records of 1 KiB fill 32 KiB");
    assert_eq!(chunks.len(), 9);
}

#[test]
fn trimmed_records_are_deleted_by_whole_tiles_and_their_hashes_stay() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..800, 10));
    scene.flush();
    assert_eq!(scene.chunks(log), [(0, 256), (256, 256), (512, 256), (768, 32)]);
    scene.trim("a", 600);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(scene.chunks(log).len(), 4, "the trim is not flushed");
    scene.flush();
    scene.await_chunks(log, &[(512, 256), (768, 32)]);
    assert_eq!(scene.bodies(log, 600), bodies(600..800, 10));
    let tile = TileAddress { log, level: 0, number: 0 };
    assert!(scene.state.tile(tile).unwrap().is_some());
    assert!(scene.state.tile(TileAddress { number: 3, ..tile }).unwrap().is_none());
}

#[test]
fn a_deleted_log_leaves_nothing_behind() {
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..600, 10));
    scene.flush();
    scene.append("a", &bodies(600..700, 10));
    scene.delete("a");
    let again = scene.create("a");
    scene.append("a", &bodies(0..5, 10));
    scene.flush();
    scene.await_chunks(log, &[]);
    assert!(matches!(scene.read(log, 0, EVERYTHING), Err(ReadError::UnknownLog)));
    assert_eq!(scene.bodies(again, 0), bodies(0..5, 10));
    assert!(scene.state.tile(TileAddress { log, level: 0, number: 0 }).unwrap().is_none());
}

#[test]
fn what_a_stop_left_to_delete_is_found_again() {
    let mut scene = Scene::on_file(StateOptions {
        trim_interval: Duration::from_hours(1),
        trim_chunks_max: 1,
        ..by_hand()
    });
    let (a, b) = (scene.create("a"), scene.create("b"));
    scene.append("a", &bodies(0..800, 10));
    scene.append("b", &bodies(0..800, 10));
    scene.flush();
    scene.trim("a", 600);
    scene.delete("b");
    scene.flush();
    let scene = scene.reopened(by_hand());
    scene.await_chunks(a, &[(512, 256), (768, 32)]);
    scene.await_chunks(b, &[]);
    assert_eq!(scene.bodies(a, 600), bodies(600..800, 10), "what is kept is still read");
}

#[test]
fn what_lag_drops_from_memory_is_read_from_the_journal() {
    let mut scene = Scene::on_file(StateOptions {
        unflushed_bytes_max: 10_000,
        suffix_bytes_max: usize::MAX,
        ..by_hand()
    });
    let log = scene.create("a");
    for number in 0..40 {
        scene.append("a", &bodies(number..number + 1, 1000));
    }
    assert!(scene.state.is_lagging());
    assert!(scene.state.levels().suffix_bytes < 20_000);
    assert_eq!(scene.bodies(log, 0), bodies(0..40, 1000));
    let reads = scene.journal.reads();
    assert!(reads >= 30, "{reads} entries were read again");
    scene.flush();
    assert!(!scene.state.is_lagging());
    assert_eq!(scene.bodies(log, 0), bodies(0..40, 1000));
    let scene = scene.reopened(by_hand());
    assert_eq!(scene.bodies(log, 0), bodies(0..40, 1000));
}

#[test]
fn the_journal_gives_back_what_lag_dropped() {
    use crate::storage::journal::{Entry, Journal, JournalIdentity, JournalOptions, Opening};
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let World { clock, chance, .. } = World::for_test(1, 0);
    let identity = JournalIdentity { cluster: [1; 16], replica: 1 };
    let options = JournalOptions::new(clock.clone(), chance);
    let opening = Journal::open(Arc::clone(&disk), dir.path(), identity, options).unwrap();
    let Opening::Whole(journal) = opening else { panic!("a new journal is whole") };
    let mut scene = scene();
    let log = scene.create("a");
    scene.append("a", &bodies(0..3, 1000));

    let options = StateOptions { unflushed_bytes_max: 0, ..by_hand() };
    let path = dir.path().join("state.redb");
    let (state, _) = State::open(&disk, &path, options).unwrap();
    let machine = Arc::new(Mutex::new(Machine::new(MachineLimits::default())));
    let told = Arc::new(scene::Told::default());
    state.start(Arc::clone(&machine), journal.clone(), told, clock);
    for index in 1..=scene.journal.len() {
        let id = EntryId::new(Term::new(1), 1, EntryIndex::new(index));
        let body = EntryBody::Command(scene.journal.payload_of(index));
        journal.append(vec![Entry { id, body: body.clone() }], Box::new(Result::unwrap));
        let mut machine = machine.lock().unwrap();
        state.publish(id.index, body.payload(), machine.apply(id, &body).delta);
    }
    assert!(state.levels().suffix_bytes < 1000, "the bodies are in the journal only");
    let read = || state.read(log, at(0), EVERYTHING, Level::Applied).unwrap().records;
    let from_journal = read();
    assert_eq!(from_journal.len(), 3);
    state.flush_now().unwrap();
    assert_eq!(read(), from_journal);
    assert_eq!(state.tail(log, Level::Durable), Some(at(3)));
    state.close();
    journal.close();
}

#[test]
fn a_record_is_found_by_its_time_wherever_it_is() {
    let mut scene = scene();
    let log = scene.create("a");
    let locate = |scene: &Scene, millis| scene.state.locate(log, Timestamp::new(millis)).unwrap();
    assert_eq!(locate(&scene, 5), at(0), "of an empty log, the tail");
    for ten in 0..60 {
        scene.now = 10_000 + ten * 100 - 1;
        scene.append("a", &bodies(ten * 10..ten * 10 + 10, 500));
        if ten == 20 || ten == 40 {
            scene.flush();
        }
    }
    for ten in 0..60 {
        assert_eq!(locate(&scene, 10_000 + ten * 100), at(ten * 10));
        assert_eq!(locate(&scene, 10_000 + ten * 100 - 50), at(ten * 10));
    }
    assert_eq!(locate(&scene, 99_999_999), at(600));
    scene.trim("a", 205);
    assert_eq!(locate(&scene, 0), at(205));
    scene.flush();
    assert_eq!(locate(&scene, 0), at(205));
    assert_eq!(locate(&scene, 10_000 + 59 * 100), at(590));
}

#[test]
fn bytes_before_a_position_are_the_same_wherever_it_is() {
    let mut scene = scene();
    let log = scene.create("a");
    for number in 0..50 {
        let length = usize::try_from(number).unwrap() * 10;
        scene.append("a", &bodies(number..number + 1, length));
    }
    let before = |scene: &Scene, position| scene.state.bytes_before(log, at(position)).unwrap();
    let in_memory: Vec<u64> = (0..=50).map(|position| before(&scene, position)).collect();
    let expected: Vec<u64> =
        (0..=50_u64).map(|count| (0..count).map(|number| number * 10 + 2).sum()).collect();
    assert_eq!(in_memory, expected);
    scene.flush();
    let in_chunks: Vec<u64> = (0..=50).map(|position| before(&scene, position)).collect();
    assert_eq!(in_chunks, expected);
}

#[test]
fn a_place_is_found_by_the_bytes_before_it_wherever_it_is() {
    let mut scene = scene();
    let log = scene.create("a");
    let locate = |scene: &Scene, bytes| scene.state.locate_bytes(log, bytes).unwrap();
    assert_eq!(locate(&scene, 5), at(0), "of an empty log, the tail");
    // A record costs its body and two bytes.
    for five in 0..100 {
        scene.append("a", &bodies(five * 5..five * 5 + 5, 998));
        if five == 30 || five == 60 {
            scene.flush();
        }
    }
    for position in 1..500 {
        let bytes = position * 1000;
        assert_eq!(locate(&scene, bytes), at(position));
        assert_eq!(locate(&scene, bytes - 1), at(position - 1));
        assert_eq!(scene.state.bytes_before(log, at(position)).unwrap(), bytes);
    }
    for beyond in [500_000, 500_001, u64::MAX] {
        assert_eq!(locate(&scene, beyond), at(500));
    }
    scene.trim("a", 151);
    for (bytes, position) in [(0, 151), (151_999, 151), (152_000, 152), (350_500, 350)] {
        assert_eq!(locate(&scene, bytes), at(position));
    }
}

#[test]
fn the_first_time_is_that_of_the_first_readable_record_wherever_it_is() {
    let mut scene = scene();
    let log = scene.create("a");
    let first = |scene: &Scene| scene.state.first_time(log).unwrap();
    assert_eq!(first(&scene), None);
    for number in 0..40 {
        scene.now = 10_000 + number * 10 - 1;
        scene.append("a", &bodies(number..number + 1, 100));
    }
    for (trim, flushes) in [(0, false), (7, false), (7, true), (25, true), (39, false)] {
        scene.trim("a", trim);
        if flushes {
            scene.flush();
        }
        assert_eq!(first(&scene), Some(Timestamp::new(10_000 + trim * 10)), "trimmed to {trim}");
    }
    scene.trim("a", 40);
    assert_eq!(first(&scene), None);
    let other = LogId::new(99);
    assert!(matches!(scene.state.first_time(other), Err(ReadError::UnknownLog)));
}

#[test]
fn a_trimmed_state_does_not_grow_when_as_much_is_written_again() {
    let options = StateOptions { trim_chunks_max: 1024, ..by_hand() };
    let mut scene = Scene::on_file(options);
    let log = scene.create("a");
    let mut sizes = Vec::new();
    for round in 0..6 {
        for batch in 0..32 {
            let first = round * 4096 + batch * 128;
            scene.append("a", &bodies(first..first + 128, 1000));
        }
        scene.flush();
        sizes.push(std::fs::metadata(&scene.path).unwrap().len());
        scene.trim("a", (round + 1) * 4096);
        scene.flush();
        scene.await_chunks(log, &[]);
    }
    // Six times as much went in.
    assert!(sizes.iter().all(|size| *size <= 2 * sizes[0]), "{sizes:?}");
}

/// Free pages of redb's own, and what we say of them: both in bytes.
fn spare(scene: &Scene) -> (u64, u64) {
    let txn = scene.state.0.database.write().unwrap();
    let stats = txn.stats().unwrap();
    let used = stats.allocated_pages() * u64::try_from(stats.page_size()).unwrap();
    txn.abort().unwrap();
    let taken = RealDisk.open(&scene.path).unwrap().taken_bytes().unwrap();
    (taken.saturating_sub(used), scene.state.spare_bytes())
}

#[test]
fn room_that_trimming_freed_is_told_and_still_known_after_a_restart() {
    for (count, length) in [(60_000, 10), (8_000, 1024), (1024, 40_000)] {
        let options = StateOptions { trim_chunks_max: 1024, ..by_hand() };
        let mut scene = Scene::on_file(options);
        let log = scene.create("a");
        for first in (0..count).step_by(64) {
            scene.append("a", &bodies(first..(first + 64).min(count), length));
        }
        scene.flush();
        let until = count / 256 * 256 / 10 * 9;
        scene.trim("a", until);
        scene.flush();
        let first = until / 256 * 256;
        while scene.chunks(log).first().is_some_and(|(at, _)| *at < first) {
            std::thread::yield_now();
        }
        // What a transaction frees is free after the next one.
        scene.set_cursor("a", "c", first);
        scene.flush();
        let (truth, told) = spare(&scene);
        assert!(told <= truth, "{length}: {told} told, {truth} there");
        assert!(told >= truth / 2, "{length}: {told} told, {truth} there");
        let scene = scene.reopened(options);

        assert!(spare(&scene).1 >= told / 2, "{length}");
    }
}

#[test]
fn a_manifest_installed_elsewhere_is_the_same_state() {
    let mut source = scene();
    let log = source.create("a");
    source.append("a", &bodies(0..10, 10));
    source.set_cursor("a", "billing", 4);
    source.flush();
    let manifest = source.state.manifest().unwrap().unwrap();
    let manifest = StateManifest::decode(&manifest.encode()).unwrap();

    let mut target = scene();
    target.create("other");
    target.append("other", &bodies(0..3, 10));
    let machine = Arc::clone(&target.machine);
    let refused = target.state.install(&manifest, &mut machine.lock().unwrap()).unwrap_err();
    assert!(matches!(refused, InstallError::Incomplete { log: lacking, .. } if lacking == log));
    assert!(target.state.view(&LogName::new("other").unwrap()).is_some());

    copy_chunks(&source, &target);
    for _ in 0..2 {
        target.state.install(&manifest, &mut machine.lock().unwrap()).unwrap();
        assert_eq!(target.state.manifest().unwrap().unwrap(), manifest);
        assert_eq!(target.state.installed().unwrap(), Some(manifest.applied()));
        assert_eq!(target.state.flushed(), Some(manifest.applied()));
        assert_eq!(target.bodies(log, 0), bodies(0..10, 10));
        assert!(target.state.view(&LogName::new("other").unwrap()).is_none());
    }
    target.state.clear_installed().unwrap();
    assert_eq!(target.state.installed().unwrap(), None);
    assert_eq!(target.applied(), source.applied());
}

#[test]
fn records_that_came_ahead_of_their_log_are_no_leftovers() {
    let mut source = scene();
    let log = source.create("a");
    source.append("a", &bodies(0..10, 10));
    source.flush();
    let target = scene();
    copy_chunks(&source, &target);
    let target = target.reopened(by_hand());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(target.chunks(log), [(0, 10)]);
}

/// What a transfer would have done.
fn copy_chunks(source: &Scene, target: &Scene) {
    use migrations::latest::tables::CHUNKS;
    use redb::ReadableTable;
    let chunks = source.state.0.database.read().unwrap().open_table(CHUNKS).unwrap();
    let txn = target.state.0.database.write().unwrap();
    let mut copies = txn.open_table(CHUNKS).unwrap();
    for chunk in chunks.iter().unwrap() {
        let (key, value) = chunk.unwrap();
        copies.insert(key.value(), value.value()).unwrap();
    }
    drop(copies);
    target.state.0.database.commit(txn).unwrap();
}

#[test]
fn readers_see_no_gap_while_records_are_flushed_let_go_and_trimmed() {
    let options = StateOptions { suffix_bytes_max: 20_000, flush_bytes: 30_000, ..by_hand() };
    let mut scene = Scene::on_file(options);
    let log = scene.create("a");
    let rounds = 400_u64;
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let state = scene.state.clone();
            std::thread::spawn(move || follow(&state, log, at(rounds * 10)))
        })
        .collect();
    for round in 0..rounds {
        scene.append("a", &bodies(round * 10..round * 10 + 10, 100));
        if round % 20 == 19 {
            scene.flush();
        }
        if round % 50 == 49 {
            scene.trim("a", round * 10 - 300);
        }
    }
    let seen: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert!(seen > 1000, "{seen} records were seen");
    assert!(scene.told.flushes.lock().unwrap().len() >= 20);
    assert!(scene.told.damages.lock().unwrap().is_empty());
}

/// Reads up to a position, skipping what is trimmed. Says how many records it saw.
fn follow(state: &State, log: LogId, until: Position) -> u64 {
    let limit = ReadLimit { records_max: 37, bytes_max: 3000 };
    let (mut next, mut seen) = (at(0), 0);
    while next < until {
        match state.read(log, next, limit, Level::Applied) {
            Ok(page) => {
                for record in &page.records {
                    let number = record.position.get();
                    assert_eq!(record.position, next, "positions are dense");
                    assert_eq!(record.body.as_ref(), bodies(number..number + 1, 100)[0]);
                    next = next.advance(1);
                    seen += 1;
                }
            }
            Err(ReadError::Trimmed { first }) => next = first,
            Err(error) => panic!("reading from {next}: {error}"),
        }
    }
    seen
}

#[test]
fn a_flusher_without_progress_is_reported_once() {
    let options = StateOptions { stall_max: Duration::from_millis(300), ..by_hand() };
    let mut scene = Scene::on_file(options);
    scene.create("a");
    scene.flush();
    let payload = scene.append_payload(&[("a", &bodies(0..3, 10))]);
    let entry = scene.journal.push(payload);
    scene.apply_entry(entry);
    assert!(scene.state.flush_now().is_err());
    assert!(scene.state.flush_now().is_err());
    assert_eq!(scene.told.failures.lock().unwrap().len(), 1);
}

#[test]
fn what_waits_is_flushed_by_itself_in_time() {
    let options = StateOptions { flush_interval: Duration::from_millis(20), ..by_hand() };
    let mut scene = Scene::on_file(options);
    scene.create("a");
    let mut waits = 0;
    while scene.flushed() == 0 && waits < 500 {
        waits += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(scene.flushed(), 1, "after {waits} waits of 10 ms");
}

#[test]
fn a_new_file_holds_no_state() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let path = dir.path().join("state.redb");
    let (state, manifest) = State::open(&disk, &path, by_hand()).unwrap();
    assert_eq!((manifest, state.flushed()), (None, None));
    assert_eq!(state.manifest().unwrap(), None);
    let machine = Machine::new(MachineLimits::default());
    let told = Arc::new(scene::Told::default());
    let journal = scene::TestJournal::default();
    let clock = World::for_test(1, 0).clock;
    state.start(Arc::new(Mutex::new(machine)), journal, told, clock);
    state.publish(EntryIndex::new(1), None, crate::machine::Delta::default());
    state.flush_now().unwrap();
    state.close();
}

fn at(position: u64) -> Position {
    Position::new(position)
}
