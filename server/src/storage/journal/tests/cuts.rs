//! Power cuts and kills at every sync and every crash point of a scripted workload.
//!
//! Goal: whatever was acknowledged survives, and the journal always opens. Method: a snapshot of the disk
//! is kept before each sync and at crash points; each is cut with every subset of few waiting sectors, or with none, all and
//! many others. The planted bug, acknowledging before the sync, must be found by the same code.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::storage::faults::{HALF_A_WRITE, Snapshot, assert_passed};

/// Crash points that the script passes.
const POINTS: [&str; 14] = [
    "journal/before-write",
    HALF_A_WRITE,
    "journal/after-write",
    "journal/after-sync",
    "journal/vote-synced",
    "journal/truncation-synced",
    "journal/purge-synced",
    "journal/after-callback",
    "journal/before-mark",
    "segment/before-preallocation",
    "segment/before-head",
    "segment/before-rename",
    "recycling/before-rename",
    "recycling/after-rename",
];
/// Crash points that are passed while a journal is opened.
const POINTS_OF_OPENING: [&str; 3] =
    ["open/scanned", "open/tail-written-again", "open/tail-synced"];

/// Plays the script, with `options`, on a disk that remembers every sync.
fn play(options: JournalOptions) -> (Story, Vec<Snapshot>) {
    let disk = FaultDisk::new(3);
    let mut story = Story::new();
    disk.record(Arc::clone(&story.acknowledged));
    let mut bench = Bench::open(&disk, options);
    for op in whole_script() {
        story.play(&mut bench, &op).unwrap();
    }
    assert_eq!(bench.held(), *story.states.last().unwrap());
    let snapshots = disk.recorded();
    assert_passed(&snapshots, &POINTS);
    (story, snapshots)
}

/// Opens a disk after a cut, compares, goes on, and cuts once more, with nothing kept.
fn survive(story: &Story, disk: &FaultDisk, acknowledged: u64) -> Result<(), String> {
    let opened = Bench::try_open(disk, options()).map_err(|error| error.to_string())?;
    let mut bench = opened.map_err(|damaged| damaged.to_string())?;
    let mut held = bench.held();
    story.check(&held, acknowledged)?;
    let committed = bench.journal.committed();
    if committed > bench.journal.last() {
        return Err(format!("committed {committed:?} lies behind the last entry"));
    }
    go_on(&mut bench, &mut held);
    let reopened = Bench::open(&disk.snapshot().cut(|_| false), options());
    if reopened.held() == held { Ok(()) } else { Err("what came after is not kept".to_owned()) }
}

/// Acknowledges a vote and two entries more.
fn go_on(bench: &mut Bench, held: &mut Held) {
    let next = held.next();
    let mut later = Story::new();
    later.states = vec![held.clone()];
    let entries = vec![entry(8, next, 300), entry(8, next + 1, 5)];
    let vote = Vote { term: 8, leader: 3, committed: true };
    for op in [Op::Vote(vote), Op::Step, Op::Append(entries), Op::Step] {
        later.play(bench, &op).unwrap();
    }
    assert_eq!(later.acknowledged.load(Ordering::SeqCst), 3);
    *held = later.states.pop().unwrap();
}

/// All cuts of all snapshots: how many there were, and the first that lost something.
fn cut_everywhere(
    story: &Story,
    snapshots: &[Snapshot],
    sampled: usize,
) -> (usize, Option<String>) {
    let mut cuts = 0;
    for (at, snapshot) in snapshots.iter().enumerate() {
        for disk in snapshot.cuts(sampled, u64::try_from(at).unwrap()) {
            cuts += 1;
            if let Err(lost) = survive(story, &disk, snapshot.label) {
                return (cuts, Some(format!("cut {cuts}, at sync {at}: {lost}")));
            }
        }
    }
    (cuts, None)
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let (story, snapshots) = play(options());
    let (cuts, lost) = cut_everywhere(&story, &snapshots, 24);
    assert_eq!(lost, None);
    assert!(cuts >= 1_000, "only {cuts} cuts at {} syncs", snapshots.len());
}

#[test]
fn acknowledging_before_the_sync_is_found_by_power_cuts() {
    let planted = JournalOptions { acknowledges_before_sync: true, ..options() };
    let (story, snapshots) = play(planted);
    let (_, lost) = cut_everywhere(&story, &snapshots, 4);
    let lost = lost.expect("the planted bug must be found");
    assert!(lost.contains("were acknowledged"), "{lost}");
}

#[test]
fn what_a_killed_process_shows_survives_a_later_power_cut() {
    let (story, snapshots) = play(options());
    assert!(snapshots.len() > 50);
    for (at, snapshot) in snapshots.iter().enumerate() {
        let survived = survive(&story, &snapshot.kill(), snapshot.label);
        assert_eq!(survived, Ok(()), "killed at sync {at}");
        // Without a further write, too: what is shown once is taken for durable.
        let disk = snapshot.kill();
        let shown = Bench::open(&disk, options()).held();
        let after = Bench::open(&disk.snapshot().cut(|_| false), options()).held();
        assert_eq!(shown, after, "killed at sync {at}");
    }
}

#[test]
fn a_cut_while_opening_loses_nothing() {
    let (story, snapshots) = play(options());
    let (mut cuts, mut openings) = (0, Vec::new());
    for snapshot in snapshots.iter().step_by(7) {
        for disk in snapshot.cuts(1, 5) {
            disk.record(Arc::default());
            drop(Bench::open(&disk, options()));
            for (at, opening) in disk.recorded().into_iter().enumerate() {
                for again in opening.cuts(2, 11).into_iter().chain([opening.kill()]) {
                    cuts += 1;
                    let survived = survive(&story, &again, snapshot.label);
                    assert_eq!(survived, Ok(()), "cut at sync {at} of an opening");
                }
                openings.push(opening);
            }
        }
    }
    assert_passed(&openings, &POINTS_OF_OPENING);
    assert!(cuts > 100, "{cuts}");
}

#[test]
fn frames_that_were_cut_do_not_come_back() {
    // Three entries in one write; of the first, the payload is lost, the others land.
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    let entries = vec![entry(1, 0, 1000), entry(1, 1, 1000), entry(1, 2, 1000)];
    bench.journal.append(entries, Box::new(|_| ()));
    disk.fail_sync(1);
    let before = disk.snapshot();
    assert_eq!(before.pieces(), 0);
    bench.step().unwrap_err();
    let torn = disk.kill();
    let first = segments(&torn)[0].clone();
    assert!(torn.flip(&first, 4096 + 500, 1));
    let mut bench = Bench::open(&torn, options());
    assert_eq!(bench.journal.last(), None);
    // A new entry of the same length lies exactly in front of the old second one.
    bench.journal.append(vec![entry(2, 0, 1000)], Box::new(|result| result.unwrap()));
    bench.step().unwrap();
    let held = Bench::open(&torn.kill(), options()).held();
    assert_eq!(held.entries.len(), 1);
    assert_eq!(held.entries[&0], entry(2, 0, 1000));
}
