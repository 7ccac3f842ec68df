//! What callers see: order, memory, waiting, recycling; with the writer's own thread, on a real disk.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::super::{JournalObserver, Opening};
use super::*;
use crate::storage::disk::{Disk, RealDisk};

const LONG: Duration = Duration::from_secs(20);

fn open_real(dir: &Path, options: JournalOptions) -> Journal {
    match Journal::open(Arc::new(RealDisk), dir, identity(), options).unwrap() {
        Opening::Whole(journal) => journal,
        Opening::Damaged(damaged) => panic!("{damaged}"),
    }
}

#[test]
fn an_entry_is_readable_before_it_is_durable() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    bench.journal.append(vec![entry(1, 0, 10)], Box::new(|result| result.unwrap()));
    assert_eq!(bench.journal.read(0, 1).unwrap(), [entry(1, 0, 10)]);
    assert_eq!(bench.journal.last(), Some(entry(1, 0, 10).id));
    assert_eq!(bench.journal.durable(), None);
    assert!(!bench.journal.wait_durable(0, Duration::ZERO));
    bench.step().unwrap();
    assert_eq!(bench.journal.durable(), Some(0));
    assert!(bench.journal.wait_durable(0, Duration::ZERO));
}

#[test]
fn the_bytes_behind_an_entry_are_those_of_the_entries_after_it() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    let entries = vec![entry(1, 0, 10), entry(1, 1, 1_000), entry(1, 2, 100)];
    bench.journal.append(entries, Box::new(|result| result.unwrap()));
    assert_eq!(bench.journal.bytes_after(0), 0, "nothing is durable yet");
    bench.step().unwrap();
    let behind = [0, 1, 2, 9].map(|index| bench.journal.bytes_after(index));
    assert!((1_100..1_300).contains(&behind[0]) && (100..200).contains(&behind[1]), "{behind:?}");
    assert_eq!(behind[2..], [0, 0]);
}

#[test]
fn callbacks_come_in_the_order_of_the_calls() {
    let parent = tempfile::tempdir().unwrap();
    let journal = open_real(parent.path(), options());
    let (sender, receiver) = channel();
    for number in 0..200_u64 {
        let sender = sender.clone();
        let done: Done = Box::new(move |result| {
            result.unwrap();
            sender.send(number).unwrap();
        });
        if number % 10 == 9 {
            journal.save_vote(Vote { term: number, leader: 1, committed: false }, done);
        } else {
            let index = number - number / 10;
            journal.append(vec![entry(1, index, 50)], done);
        }
    }
    let told: Vec<u64> = (0..200).map(|_| receiver.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(told, (0..200).collect::<Vec<_>>());
    assert_eq!(journal.vote().unwrap().term, 199);
    journal.close();
    drop(journal);
    let journal = open_real(parent.path(), options());
    assert_eq!(journal.vote().unwrap().term, 199);
    assert_eq!(journal.read(0, 180).unwrap().len(), 180);
}

#[test]
fn what_waits_shares_a_write_and_a_sync() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    let before = disk.counts();
    for index in 0..10 {
        bench.journal.append(vec![entry(1, index, 20)], Box::new(|result| result.unwrap()));
        bench.journal.save_committed(bench.journal.last());
    }
    bench.step().unwrap();
    let after = disk.counts();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1));
}

#[test]
fn what_comes_while_a_sync_runs_shares_the_next_one() {
    let disk = FaultDisk::new(1);
    let opened = Journal::open(Arc::new(disk.clone()), &dir(), identity(), options()).unwrap();
    let Opening::Whole(journal) = opened else { panic!("a new journal is whole") };
    let before = disk.counts().syncs;
    disk.set_latency(Duration::from_millis(100));
    for index in 0..50 {
        journal.append(vec![entry(1, index, 20)], Box::new(|result| result.unwrap()));
    }
    assert!(journal.wait_durable(49, LONG));
    let syncs = disk.counts().syncs - before;
    assert!(syncs < 25, "{syncs} syncs for 50 appends that came at once");
}

#[test]
fn committed_by_itself_causes_no_write_and_rides_along() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    bench.journal.append(vec![entry(1, 0, 20), entry(1, 1, 20)], Box::new(|_| ()));
    bench.step().unwrap();
    bench.journal.save_committed(Some(entry(1, 0, 20).id));
    assert_eq!(bench.journal.committed(), Some(entry(1, 0, 20).id));
    bench.writer.mark().unwrap();
    let reopened = Bench::open(&disk.kill(), options());
    assert_eq!(reopened.journal.committed(), Some(entry(1, 0, 20).id));
}

#[test]
fn committed_never_lies_behind_the_last_entry() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    bench.journal.append(vec![entry(1, 0, 20), entry(1, 1, 20)], Box::new(|_| ()));
    bench.journal.save_committed(Some(entry(1, 1, 20).id));
    bench.journal.truncate_after(Some(entry(1, 0, 20).id), Box::new(|_| ()));
    assert_eq!(bench.journal.committed(), Some(entry(1, 0, 20).id));
    bench.step().unwrap();
    let reopened = Bench::open(&disk.kill(), options());
    assert_eq!(reopened.journal.committed(), Some(entry(1, 0, 20).id));
}

#[test]
fn a_cut_that_waits_holds_the_durable_pointer_down() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    bench.journal.append((0..6).map(|i| entry(1, i, 900)).collect(), Box::new(|_| ()));
    bench.step().unwrap();
    bench.journal.note_applied(1);
    assert_eq!(bench.journal.durable(), Some(5));
    bench.journal.truncate_after(Some(entry(1, 2, 0).id), Box::new(|_| ()));
    bench.journal.append((3..6).map(|i| entry(2, i, 700)).collect(), Box::new(|_| ()));
    assert_eq!(bench.journal.durable(), Some(2));
    let held: Vec<u64> = bench.held().entries.values().map(|entry| entry.id.term.get()).collect();
    assert_eq!(held, [1, 1, 1, 2, 2, 2]);
    bench.step().unwrap();
    assert_eq!(bench.journal.durable(), Some(5));
}

#[test]
fn memory_is_bounded_and_the_files_have_the_rest() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    for index in 0..200 {
        bench.journal.append(vec![entry(1, index, 1000)], Box::new(|_| ()));
        bench.step().unwrap();
        bench.journal.note_applied(index);
    }
    assert!(bench.journal.shared.lock().suffix.first() > 190);
    assert!(bench.journal.read_suffix(0, 10, u64::MAX).is_none());
    assert_eq!(bench.held().entries.len(), 200);
    let capped = bench.journal.read_limited(10, 200, 5_000).unwrap();
    assert_eq!(capped.len(), 5);
    let mixed = bench.journal.read_limited(185, 200, u64::MAX).unwrap();
    assert_eq!(mixed, (185..200).map(|i| entry(1, i, 1000)).collect::<Vec<_>>());
}

#[test]
fn purged_segments_are_used_again_but_not_while_somebody_reads_them() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    for index in 0..60 {
        bench.journal.append(vec![entry(1, index, 1000)], Box::new(|_| ()));
        bench.step().unwrap();
        bench.journal.note_applied(index);
    }
    let before = segments(&disk);
    assert!(before.len() >= 4);
    let read = bench.journal.shared.lock().catalog.locate(0, 1, u64::MAX);
    bench.journal.purge(entry(1, 50, 0).id);
    bench.step().unwrap();
    assert_eq!(segments(&disk), before, "the first one is read, and they go in order");
    assert!(bench.journal.read(0, 10).unwrap().is_empty());
    drop(read);
    bench.journal.append(vec![entry(1, 60, 10)], Box::new(|_| ()));
    bench.step().unwrap();
    let after = segments(&disk);
    assert!(after.len() < before.len() && !after.contains(&before[0]));
    let names = disk.list(&dir()).unwrap();
    assert!(names.iter().any(|name| name.starts_with("spare-")), "{names:?}");
    // What the old file held passes for nothing in its next use.
    for index in 61..120 {
        bench.journal.append(vec![entry(1, index, 1000)], Box::new(|_| ()));
        bench.step().unwrap();
    }
    let held = bench.held();
    assert_eq!(Bench::open(&disk.kill(), options()).held(), held);
}

#[test]
fn a_purge_is_durable_when_the_journal_says_so() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    for index in 0..9 {
        bench.journal.append(vec![entry(1, index, 10)], Box::new(|_| ()));
    }
    bench.step().unwrap();
    let purged = entry(1, 30, 0).id;
    bench.journal.purge(purged);
    let (sender, done) = channel();
    bench.journal.when_durable(Box::new(move |done| sender.send(done).unwrap()));
    assert!(done.try_recv().is_err(), "nothing was written yet");
    bench.step().unwrap();
    done.recv().unwrap().unwrap();
    let cut = disk.power_cut();
    assert_eq!(Bench::open(&cut, options()).journal.purged(), Some(purged));
}

#[test]
fn a_frame_longer_than_a_segment_gets_one_of_its_own() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    let long = usize::try_from(SEGMENT_BYTES).unwrap() * 2;
    for (index, length) in [100, long, 100, long, long, 0].into_iter().enumerate() {
        let entry = entry(1, u64::try_from(index).unwrap(), length);
        bench.journal.append(vec![entry], Box::new(|result| result.unwrap()));
        bench.step().unwrap();
    }
    let held = bench.held();
    assert_eq!(held.entries.len(), 6);
    assert_eq!(Bench::open(&disk.snapshot().cut(|_| false), options()).held(), held);
}

#[test]
fn a_payload_that_imitates_frames_is_only_a_payload() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    bench.journal.append(vec![entry(1, 0, 40)], Box::new(|_| ()));
    bench.step().unwrap();
    // The attacker knows the bytes of the first page of frames.
    let page = disk.content(&segments(&disk)[0]).unwrap()[4096..6144].to_vec();
    let body = EntryBody::Command(Payload::new(Bytes::from(page)));
    let imitating = Entry { id: entry(1, 1, 0).id, body };
    bench.journal.append(vec![imitating], Box::new(|_| ()));
    bench.step().unwrap();
    let held = bench.held();
    let torn = disk.kill();
    assert!(torn.flip(&segments(&torn)[0], 4096 + 170 + 8, 1), "the head of the second entry");
    let after = Bench::open(&torn, options()).held();
    assert_eq!(held.entries.len(), 2);
    assert_eq!(after.entries.len(), 1, "what lies in the torn payload is no frame");
}

/// Sends how many frames each sync made durable.
struct Frames(Mutex<Sender<u64>>);

impl JournalObserver for Frames {
    fn synced(&self, _elapsed: Duration, frames: u64, _bytes: u64) {
        self.0.lock().unwrap().send(frames).unwrap();
    }
}

#[test]
fn an_idle_journal_marks_what_is_durable() {
    let parent = tempfile::tempdir().unwrap();
    let options = JournalOptions { mark_after: Duration::from_millis(1), ..options() };
    let (sender, receiver) = channel();
    let observer = Arc::new(Frames(Mutex::new(sender)));
    let journal = open_real(parent.path(), JournalOptions { observer, ..options });
    journal.append(vec![entry(1, 0, 10), entry(1, 1, 10)], Box::new(|_| ()));
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), 2);
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), 1, "the mark");
    assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "one is enough");
    journal.close();
}

#[test]
fn waiting_ends_with_the_sync_the_time_or_the_journal() {
    let parent = tempfile::tempdir().unwrap();
    let journal = open_real(parent.path(), options());
    let (sender, receiver) = channel();
    journal.on_durable(Box::new(move |index| sender.send(index).unwrap()));
    journal.append(vec![entry(1, 0, 10)], Box::new(|_| ()));
    assert!(journal.wait_durable(0, LONG));
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), 0);
    assert!(!journal.wait_durable(1, Duration::from_millis(5)));
    journal.close();
    assert!(!journal.wait_durable(1, LONG), "it will never be");
    let (sender, receiver) = channel();
    let done: Done = Box::new(move |result| sender.send(result.is_err()).unwrap());
    journal.append(vec![entry(1, 1, 10)], done);
    assert!(receiver.recv_timeout(LONG).unwrap(), "closed");
}

#[test]
fn the_last_handle_may_go_away_in_a_callback() {
    let parent = tempfile::tempdir().unwrap();
    let journal = open_real(parent.path(), options());
    let (sender, receiver) = channel();
    let held = journal.clone();
    journal.append(
        vec![entry(1, 0, 10)],
        Box::new(move |result| {
            result.unwrap();
            drop(held);
            sender.send(()).unwrap();
        }),
    );
    drop(journal);
    receiver.recv_timeout(LONG).unwrap();
}

#[test]
fn the_next_segment_is_ready_before_it_is_needed() {
    let parent = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: 256 * 1024, ..options() };
    let journal = open_real(parent.path(), options.clone());
    for index in 0..2_000 {
        journal.append(vec![entry(1, index, 1000)], Box::new(|result| result.unwrap()));
    }
    assert!(journal.wait_durable(1_999, LONG));
    journal.purge(entry(1, 1_900, 0).id);
    journal.close();
    let journal = open_real(parent.path(), options);
    assert_eq!(journal.read(1_901, 2_000).unwrap().len(), 99);
    let names = RealDisk.list(parent.path()).unwrap();
    let spares = names.iter().filter(|name| name.starts_with("spare-")).count();
    assert!((1..=3).contains(&spares), "{names:?}");
    assert!(names.len() < 8, "{names:?}");
}
