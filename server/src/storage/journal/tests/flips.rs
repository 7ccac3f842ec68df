//! Rot: every byte of a small journal flipped, one at a time.
//!
//! Goal: a flip is harmless or damage that names its entry; nothing durable is ever cut and no wrong byte
//! is ever served. Method: the journal is closed with a mark, so that nothing of it may pass for torn.

use super::super::state::behind;
use super::*;
use crate::storage::faults::Snapshot;

/// A journal of three segments or so, marked at its end.
pub(super) fn marked() -> (FaultDisk, Held) {
    let disk = FaultDisk::new(1);
    let options = JournalOptions { segment_bytes: 8 * 1024, ..options() };
    let mut bench = Bench::open(&disk, options);
    let mut story = Story::new();
    let vote = Vote { term: 1, leader: 1, committed: true };
    let mut ops = vec![Op::Vote(vote), Op::Step];
    for index in 0..12 {
        ops.extend([
            Op::Append(vec![entry(1, index, 300 + 13 * usize::try_from(index % 9).unwrap())]),
            Op::Committed,
        ]);
        if index % 3 == 2 {
            ops.push(Op::Step);
        }
    }
    let later = (8..14).map(|index| entry(2, index, 400)).collect();
    let vote = Vote { term: 2, leader: 3, committed: true };
    ops.extend([Op::Vote(vote), Op::Truncate(Some(7)), Op::Append(later), Op::Step, Op::Mark]);
    ops.extend([Op::Append(vec![entry(2, 14, 2000)]), Op::Step, Op::Mark]);
    for op in ops {
        story.play(&mut bench, &op).unwrap();
    }
    let held = bench.held();
    assert_eq!(held, *story.states.last().unwrap());
    (disk, held)
}

pub(super) fn small() -> JournalOptions {
    JournalOptions { segment_bytes: 8 * 1024, ..options() }
}

/// Where the entries lie that still count: path, first byte, behind the last one, index.
pub(super) fn places(disk: &FaultDisk) -> Vec<(PathBuf, u64, u64, u64)> {
    let bench = Bench::open(&disk.snapshot().kill(), small());
    let state = bench.journal.shared.lock();
    let all = state.catalog.locate(0, behind(state.last.as_ref()), u64::MAX);
    let mut places = Vec::new();
    for stretch in all {
        let path = dir().join(super::super::segment::segment_name(stretch.segment.number));
        for (index, slot) in (stretch.first..).zip(&stretch.slots) {
            let end = slot.offset() + 128 + u64::from(slot.length());
            places.push((path.clone(), slot.offset(), end, index));
        }
    }
    places
}

pub(super) struct Flip<'a> {
    snapshot: &'a Snapshot,
    pub(super) path: &'a Path,
    pub(super) offset: usize,
    mask: u8,
}

impl Flip<'_> {
    pub(super) fn disk(&self) -> FaultDisk {
        let disk = self.snapshot.cut(|_| true);
        assert!(disk.flip(self.path, self.offset, self.mask));
        disk
    }
}

/// Flips every byte of every segment and hands each disk to `judge`.
pub(super) fn sweep(disk: &FaultDisk, step: usize, mut judge: impl FnMut(&Flip<'_>)) -> usize {
    let snapshot = disk.snapshot();
    let mut flips = 0;
    for path in segments(disk) {
        let content = disk.content(&path).unwrap();
        let is_unused = |at: usize| {
            let around = at.saturating_sub(64)..(at + 64).min(content.len());
            content[around].iter().all(|byte| *byte == 0)
        };
        for offset in (0..content.len()).step_by(step) {
            // Of the parts that were never written, a sixteenth is enough.
            if is_unused(offset) && offset % 16 != 0 {
                continue;
            }
            let mask = 1 << (offset % 8);
            judge(&Flip { snapshot: &snapshot, path: &path, offset, mask });
            flips += 1;
        }
    }
    flips
}

#[test]
fn a_flipped_byte_is_harmless_or_damage_with_its_entry_and_never_cut() {
    let (disk, held) = marked();
    let places = places(&disk);
    assert!(segments(&disk).len() >= 2);
    let (mut damaged, mut harmless) = (0, 0);
    let flips = sweep(&disk, 1, |flip| {
        let disk = flip.disk();
        let offset = u64::try_from(flip.offset).unwrap();
        let hit = places
            .iter()
            .find(|(path, begin, end, _)| path == flip.path && (*begin..*end).contains(&offset));
        let before = disk.content(flip.path);
        match Bench::try_open(&disk, small()).unwrap() {
            Ok(bench) => {
                assert!(hit.is_none(), "byte {offset} of an entry was taken for good");
                assert_eq!(bench.held(), held, "byte {offset} of {}", flip.path.display());
                harmless += 1;
            }
            Err(found) => {
                assert_eq!(disk.content(flip.path), before, "damage is left as it is");
                if let Some((_, _, _, index)) = hit {
                    let is_named =
                        found.entries().any(|(first, last)| (first..=last).contains(index));
                    assert!(is_named, "byte {offset} is of entry {index}, not: {found}");
                    assert_eq!(found.frames.len(), 1, "{found}");
                    assert!(!found.may_be_vote, "the mark repeats the vote: {found}");
                }
                damaged += 1;
            }
        }
    });
    assert_eq!(flips, damaged + harmless);
    assert!(damaged > 8_000, "{damaged} of {flips}");
}

#[test]
fn a_flip_in_the_unmarked_end_costs_that_end_only() {
    // Nothing says yet that the last write was durable: rot there looks like a torn write.
    let (disk, held) = marked();
    let mut bench = Bench::open(&disk, small());
    let entries = vec![entry(2, 15, 100), entry(2, 16, 100)];
    bench.journal.append(entries, Box::new(|result| result.unwrap()));
    bench.step().unwrap();
    let longer = bench.held();
    sweep(&disk, 7, |flip| {
        if let Ok(bench) = Bench::try_open(&flip.disk(), small()).unwrap() {
            let mut kept = bench.held();
            assert!(kept.last >= held.last, "durable entries are gone");
            kept.entries.retain(|index, _| *index <= 14);
            assert_eq!(kept.entries, held.entries);
            assert!(bench.held().entries.iter().all(|(i, entry)| longer.entries[i] == *entry));
        }
    });
}

#[test]
fn a_flipped_payload_that_is_flushed_opens_and_is_never_served() {
    let (disk, held) = marked();
    let last = held.last.unwrap().index.get();
    let places = places(&disk);
    for (path, begin, _, index) in &places {
        let snapshot = disk.snapshot();
        let offset = usize::try_from(begin + 128 + 17).unwrap();
        let disk = Flip { snapshot: &snapshot, path, offset, mask: 4 }.disk();
        let options = JournalOptions { flushed: Some(last - 1), ..small() };
        match Bench::try_open(&disk, options).unwrap() {
            Ok(bench) => {
                assert!(*index < last, "entries behind what is flushed are read whole");
                let error = bench.journal.read(*index, index + 1).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                let whole = bench.journal.verify_payloads(0, last + 1, u64::MAX);
                assert_eq!((whole.next, whole.damaged), (last + 1, vec![*index]));
                let (mut next, mut damaged) = (0, Vec::new());
                while next <= last {
                    let piece = bench.journal.verify_payloads(next, last + 1, 1);
                    assert!(piece.next > next, "no piece is too small to get on");
                    next = piece.next;
                    damaged.extend(piece.damaged);
                }
                assert_eq!(damaged, [*index], "piece by piece");
            }
            // What is not flushed is read when it is opened, and so is the oldest entry.
            Err(found) => {
                assert!([0, last].contains(index), "entry {index}");
                assert_eq!(found.entries().collect::<Vec<_>>(), [(*index, *index)]);
            }
        }
    }
}

#[test]
fn an_end_that_is_missing_below_what_is_flushed_is_damage() {
    let (disk, held) = marked();
    let last = held.last.unwrap().index.get();
    let options = JournalOptions { flushed: Some(last + 2), ..small() };
    let found = Bench::try_open(&disk, options).unwrap().err().unwrap();
    assert_eq!(found.entries().collect::<Vec<_>>(), [(last + 1, last + 2)]);
}

#[test]
fn a_missing_segment_is_damage() {
    let (disk, _) = marked();
    for path in segments(&disk).iter().skip(1) {
        let disk = disk.snapshot().cut(|_| true);
        crate::storage::disk::Disk::remove(&disk, path).unwrap();
        let found = Bench::try_open(&disk, small()).unwrap().err().expect("it is missed");
        assert_eq!(found.frames[0].path, *path);
    }
}

#[test]
fn a_damaged_vote_that_nothing_repeats_may_be_a_vote() {
    let disk = FaultDisk::new(1);
    let mut bench = Bench::open(&disk, options());
    let vote = Vote { term: 5, leader: 3, committed: false };
    bench.journal.save_vote(vote, Box::new(|result| result.unwrap()));
    bench.step().unwrap();
    bench.journal.append(vec![entry(5, 0, 10)], Box::new(|result| result.unwrap()));
    bench.step().unwrap();
    let path = segments(&disk)[0].clone();
    let mut marked = disk.snapshot().cut(|_| true);
    assert!(disk.flip(&path, 4096 + 45, 1));
    let found = Bench::try_open(&disk.kill(), options()).unwrap().err().unwrap();
    assert!(found.may_be_vote, "{found}");
    // With a later mark the vote is known, and nothing is lost but its first copy.
    let mut bench = Bench::open(&marked, options());
    bench.writer.mark().unwrap();
    marked = marked.kill();
    assert!(marked.flip(&path, 4096 + 45, 1));
    let found = Bench::try_open(&marked, options()).unwrap().err().unwrap();
    assert!(!found.may_be_vote, "{found}");
    assert_eq!(found.entries().count(), 0, "{found}");
}

#[test]
fn swapped_frames_and_replayed_pages_are_damage() {
    let (disk, held) = marked();
    let places = places(&disk);
    let same = |a: &(PathBuf, u64, u64, u64), b: &(PathBuf, u64, u64, u64)| {
        a.0 == b.0 && a.2 - a.1 == b.2 - b.1 && a.3 != b.3
    };
    let (one, other) = places
        .iter()
        .find_map(|a| places.iter().find(|b| same(a, b)).map(|b| (a, b)))
        .expect("two entries of one length");
    let swapped = disk.snapshot().cut(|_| true);
    let content = swapped.content(&one.0).unwrap();
    let length = usize::try_from(one.2 - one.1).unwrap();
    let (a, b) = (usize::try_from(one.1).unwrap(), usize::try_from(other.1).unwrap());
    for at in 0..length {
        let mask = content[a + at] ^ content[b + at];
        swapped.flip(&one.0, a + at, mask);
        swapped.flip(&one.0, b + at, mask);
    }
    let found = Bench::try_open(&swapped, small()).unwrap().err().unwrap();
    let is_named = |index| found.entries().any(|(first, last)| (first..=last).contains(&index));
    assert!(is_named(one.3) && is_named(other.3), "{found}");
    // A page as it was before the journal grew over it.
    let replayed = disk.snapshot().cut(|_| true);
    let page = usize::try_from(one.1).unwrap() / 512 * 512;
    for (at, mask) in content.iter().enumerate().skip(page).take(512) {
        replayed.flip(&one.0, at, *mask);
    }
    let found = Bench::try_open(&replayed, small()).unwrap().err().unwrap();
    assert!(found.entries().next().is_some(), "{found}");
    assert_eq!(Bench::open(&disk, small()).held(), held);
}
