//! A disk that fails: after the first failed write or sync nothing is acknowledged any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::super::{JournalObserver, Opening};
use super::*;
use crate::storage::disk::Disk;

/// Plays the script until something fails; then everything else must fail, too.
fn play_until_failure(disk: &FaultDisk) -> (Story, bool) {
    let mut story = Story::new();
    let mut bench = Bench::open(disk, options());
    let is_poisoned = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_poisoned);
    bench.journal.on_poisoned(Box::new(move |_| told.store(true, Ordering::SeqCst)));
    let mut has_failed = false;
    for op in whole_script() {
        let before = story.acknowledged.load(Ordering::SeqCst);
        let played = story.play(&mut bench, &op);
        if has_failed {
            let after = story.acknowledged.load(Ordering::SeqCst);
            assert_eq!(before, after, "acknowledged after a failure");
        }
        has_failed |= played.is_err();
        assert_eq!(is_poisoned.load(Ordering::SeqCst), has_failed);
    }
    (story, has_failed)
}

/// What is left must be what was acknowledged, after a power cut and after a restart.
fn check_after(story: &Story, disk: &FaultDisk) {
    let acknowledged = story.acknowledged.load(Ordering::SeqCst);
    for disk in disk.snapshot().cuts(3, 1) {
        let held = Bench::open(&disk, options()).held();
        assert_eq!(story.check(&held, acknowledged), Ok(()));
    }
    let killed = disk.kill();
    let shown = Bench::open(&killed, options()).held();
    assert_eq!(story.check(&shown, acknowledged), Ok(()));
    let after = Bench::open(&killed.snapshot().cut(|_| false), options()).held();
    assert_eq!(shown, after, "a failed sync is not believed at the next start");
}

#[test]
fn after_any_failed_sync_nothing_is_acknowledged() {
    let mut nth = 1;
    loop {
        let disk = FaultDisk::new(1);
        drop(Bench::open(&disk, options()));
        disk.fail_sync(nth);
        // Opening a marked journal needs no sync but of names.
        let (story, has_failed) = play_until_failure(&disk);
        if !has_failed {
            break;
        }
        check_after(&story, &disk);
        nth += 1;
    }
    assert!(nth > 40, "only {nth} syncs were failed");
}

#[test]
fn after_any_failed_write_nothing_is_acknowledged() {
    let mut nth = 1;
    loop {
        let disk = FaultDisk::new(1);
        drop(Bench::open(&disk, options()));
        disk.fail_write(nth);
        let (story, has_failed) = play_until_failure(&disk);
        if !has_failed {
            break;
        }
        check_after(&story, &disk);
        nth += 1;
    }
    assert!(nth > 40, "only {nth} writes were failed");
}

#[test]
fn a_full_disk_stops_the_journal_and_loses_nothing() {
    let disk = FaultDisk::new(1);
    drop(Bench::open(&disk, options()));
    disk.set_room(Some(2 * usize::try_from(SEGMENT_BYTES).unwrap()));
    let (story, has_failed) = play_until_failure(&disk);
    assert!(has_failed);
    disk.set_room(None);
    check_after(&story, &disk);
}

#[test]
fn a_failed_read_is_an_error_and_not_an_empty_answer() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    bench.journal.append((0..20).map(|i| entry(1, i, 500)).collect(), Box::new(|_| ()));
    bench.step().unwrap();
    bench.journal.note_applied(19);
    disk.fail_read(1);
    assert!(bench.journal.read(0, 5).is_err());
    assert_eq!(bench.journal.read(0, 5).unwrap().len(), 5);
}

#[test]
fn a_failed_read_while_opening_is_an_error() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    bench.journal.append((0..20).map(|i| entry(1, i, 500)).collect(), Box::new(|_| ()));
    bench.step().unwrap();
    let held = bench.held();
    for nth in 1.. {
        let disk = disk.snapshot().cut(|_| true);
        disk.fail_read(nth);
        match Bench::try_open(&disk, options()) {
            Err(StorageError::Io { .. }) => {}
            Ok(Ok(bench)) => {
                disk.fail_read(u64::MAX / 2);
                assert_eq!(bench.held(), held);
                assert!(nth > 2);
                return;
            }
            other => panic!("{:?}", other.map(|opened| opened.map(|bench| bench.held()))),
        }
    }
}

/// Panics when it hears of a sync.
struct Fragile;

impl JournalObserver for Fragile {
    fn synced(&self, _elapsed: Duration, _frames: u64, _bytes: u64) {
        panic!("an observer breaks");
    }
}

#[test]
fn a_writer_that_panics_poisons_the_journal() {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new(1));
    let options = JournalOptions { observer: Arc::new(Fragile), ..options() };
    let opening = Journal::open(disk, &dir(), identity(), options).unwrap();
    let Opening::Whole(journal) = opening else { panic!("a new journal is whole") };
    let (sender, poisoned) = channel();
    journal.on_poisoned(Box::new(move |error| drop(sender.send(error.to_string()))));
    journal.append(vec![entry(1, 0, 10)], Box::new(|_| ()));
    let reason = poisoned.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(reason.contains("panicked"), "{reason}");
    let (sender, refused) = channel();
    journal.append(vec![entry(1, 1, 10)], Box::new(move |done| sender.send(done).unwrap()));
    assert!(refused.recv_timeout(Duration::from_secs(20)).unwrap().is_err());
    assert!(!journal.wait_durable(1, Duration::from_secs(20)));
}

#[test]
fn a_journal_that_was_there_before_is_never_begun_again() {
    let disk = FaultDisk::new(1);
    let arc: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = JournalOptions { must_exist: true, ..options() };
    let refused = Journal::open(arc, &dir(), identity(), options.clone()).unwrap_err();
    assert!(matches!(refused, StorageError::Lost { .. }));
    drop(Bench::open(&disk, super::options()));
    assert!(Bench::open(&disk, options).journal.last().is_none());
}

#[test]
fn a_journal_of_somebody_else_is_refused() {
    let disk = FaultDisk::new(1);
    drop(Bench::open(&disk, options()));
    let theirs = JournalIdentity { replica: 3, ..identity() };
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let refused = Journal::open(disk, &dir(), theirs, options()).unwrap_err();
    assert!(matches!(refused, StorageError::Foreign { .. }));
}
