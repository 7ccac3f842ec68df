//! Repair: every byte of a small journal flipped, one at a time, and mended with what another holds.
//!
//! Goal: the journal comes out as it was, or it is refused with the place named; a wrong entry is never taken,
//! and damage is never cut. Method: an oracle holds the true entries, as another replica would.

use super::flips::{marked, places, small, sweep};
use super::*;

/// What another replica holds.
type Oracle = BTreeMap<u64, LinkedEntry>;

fn oracle(disk: &FaultDisk) -> Oracle {
    let bench = Bench::open(&disk.snapshot().kill(), small());
    let until = bench.journal.last().map_or(0, |id| id.index.get() + 1);
    (0..until).filter_map(|index| Some((index, bench.journal.linked(index)?))).collect()
}

/// Takes all that the oracle can give. Whether that was anything.
fn supply(wounded: &WoundedJournal, oracle: &Oracle) -> bool {
    let mut is_any = false;
    loop {
        let mut is_more = false;
        for (first, last) in wounded.lacking() {
            for (_, given) in oracle.range(first..=last).rev() {
                is_more |= wounded.take(given);
            }
        }
        if !is_more {
            return is_any;
        }
        is_any = true;
    }
}

/// Mends until the journal is whole, or nothing more can be done.
fn mended(
    disk: &FaultDisk,
    options: &JournalOptions,
    oracle: &Oracle,
) -> Result<Bench, Box<WoundedJournal>> {
    mended_by(disk, options, std::slice::from_ref(oracle))
}

/// The same, with several to ask, in turns.
fn mended_by(
    disk: &FaultDisk,
    options: &JournalOptions,
    oracles: &[Oracle],
) -> Result<Bench, Box<WoundedJournal>> {
    for _ in 0..20 {
        let wounded = match Bench::try_wounded(disk, options.clone()).unwrap() {
            Ok(bench) => return Ok(bench),
            Err(wounded) => wounded,
        };
        while oracles.iter().any(|oracle| supply(&wounded, oracle)) {}
        if wounded.mend().unwrap().is_none() {
            return Err(Box::new(wounded));
        }
    }
    panic!("repair does not come to an end");
}

#[test]
fn a_flipped_byte_is_mended_by_what_another_holds() {
    let (disk, held) = marked();
    let oracle = oracle(&disk);
    sweep(&disk, 1, |flip| {
        let disk = flip.disk();
        let bench = mended(&disk, &small(), &oracle)
            .unwrap_or_else(|wounded| panic!("byte {}: {wounded}", flip.offset));
        assert_eq!(bench.held(), held, "byte {} of {}", flip.offset, flip.path.display());
    });
}

/// A journal with votes, cuts, purges and a jump behind an install, marked at its end.
fn eventful(purged_beyond: bool) -> (FaultDisk, Held, Oracle) {
    let disk = FaultDisk::new(3);
    let mut bench = Bench::open(&disk, options());
    let mut story = Story::new();
    let mut oracle = Oracle::new();
    let mut ops = whole_script();
    if !purged_beyond {
        let jump = ops.iter().rposition(|op| matches!(op, Op::Purge(_))).unwrap();
        ops.truncate(jump);
    }
    ops.extend([Op::Step, Op::Mark]);
    for op in ops {
        story.play(&mut bench, &op).unwrap();
        let last = bench.journal.last().map_or(0, |id| id.index.get());
        for index in last.saturating_sub(8)..=last {
            oracle.extend(bench.journal.linked(index).map(|linked| (index, linked)));
        }
    }
    let held = bench.held();
    (disk, held, oracle)
}

#[test]
fn whatever_a_journal_went_through_it_comes_out_as_it_was_or_is_refused() {
    for purged_beyond in [false, true] {
        let (disk, held, oracle) = eventful(purged_beyond);
        let (mut whole, mut refused) = (0, BTreeMap::<String, usize>::new());
        sweep(&disk, 5, |flip| {
            let disk = flip.disk();
            match mended(&disk, &options(), &oracle) {
                Ok(bench) => {
                    let mut kept = bench.held();
                    // What was let go may be there again.
                    kept.entries.retain(|index, _| held.entries.contains_key(index));
                    assert!(kept.purged <= held.purged);
                    kept.purged = held.purged;
                    assert_eq!(kept, held, "byte {} of {}", flip.offset, flip.path.display());
                    whole += 1;
                }
                Err(wounded) => *refused.entry(wounded.to_string()).or_default() += 1,
            }
        });
        let refusals: usize = refused.values().sum();
        assert!(refusals * 20 < whole, "{whole} mended; {refused:#?}");
    }
}

/// Draws numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

#[test]
fn several_bad_places_are_mended_from_several_who_each_lack_something() {
    let (disk, held) = marked();
    let whole = oracle(&disk);
    let part = |of: u64| -> Oracle {
        whole.iter().filter(|(index, _)| *index % 3 != of).map(|(i, it)| (*i, it.clone())).collect()
    };
    let parts = [part(0), part(1), part(2)];
    let snapshot = disk.snapshot();
    let places = places(&disk);
    let mut refused = Vec::new();
    for seed in 0..400 {
        let mut draw = Draw(seed);
        let disk = snapshot.cut(|_| true);
        for _ in 0..=draw.below(5) {
            let (path, begin, end, _) = &places[draw.below(places.len())];
            let length = usize::try_from(end - begin).unwrap();
            let at = usize::try_from(*begin).unwrap() + draw.below(length);
            // Heads as often as payloads.
            let at = if draw.below(2) == 0 {
                at
            } else {
                at.min(usize::try_from(*begin).unwrap() + 127)
            };
            disk.flip(path, at, 1 << draw.below(8));
        }
        match mended_by(&disk, &small(), &parts) {
            Ok(bench) => assert_eq!(bench.held(), held, "seed {seed}"),
            Err(wounded) => refused.push((seed, wounded.to_string())),
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn entries_that_are_flushed_and_that_nobody_holds_are_bridged_and_the_rest_is_kept() {
    let (disk, held) = marked();
    let last = held.last.unwrap();
    for (path, begin, _, index) in places(&disk) {
        let damaged = disk.snapshot().cut(|_| true);
        assert!(damaged.flip(&path, usize::try_from(begin + 40).unwrap(), 2));
        for flushed in held.entries.values().map(|entry| entry.id) {
            let damaged = damaged.snapshot().cut(|_| true);
            let options = JournalOptions { flushed: Some(flushed.index.get()), ..small() };
            let wounded = Bench::try_wounded(&damaged, options.clone()).unwrap().err().unwrap();
            if flushed.index.get() < index {
                assert!(
                    !wounded.forget(&flushed),
                    "an entry that is not flushed is never given up"
                );
                assert_eq!(wounded.mend().unwrap(), None);
                continue;
            }
            assert!(wounded.forget(&flushed));
            assert_eq!(wounded.mend().unwrap(), Some(0));
            let kept = Bench::open(&damaged, options.clone()).held();
            assert_eq!((kept.vote, kept.last), (held.vote, Some(last)));
            // A cut behind the bridge may leave less to be let go.
            let purged = kept.purged.unwrap().index.get();
            assert!((index.min(7)..=flushed.index.get()).contains(&purged), "{purged}");
            let newer = held.entries.clone().split_off(&(flushed.index.get() + 1));
            let kept = kept.entries.clone().split_off(&(flushed.index.get() + 1));
            assert_eq!(kept, newer, "entry {index} bridged, flushed up to {flushed}");
            // It goes on from there, and opens again.
            let mut bench = Bench::open(&damaged, options.clone());
            bench.journal.append(vec![entry(2, 15, 100)], Box::new(|result| result.unwrap()));
            bench.step().unwrap();
            drop(bench);
            let mut again = Bench::open(&damaged.kill(), options).held();
            // What is good and was only let go may be there again, once its segment begins the journal.
            assert!((index..=flushed.index.get()).contains(&again.purged.unwrap().index.get()));
            assert!(again.entries.remove(&15).is_some());
            assert_eq!(again.entries.split_off(&(flushed.index.get() + 1)), newer);
        }
    }
}

#[test]
fn an_entry_of_another_leader_is_not_taken_for_what_was_here() {
    let (disk, _) = marked();
    let mut oracle = oracle(&disk);
    for (index, linked) in &mut oracle {
        linked.entry = entry(9, *index, 300);
    }
    for (path, begin, _, _) in places(&disk) {
        for at in [40, 140] {
            let damaged = disk.snapshot().cut(|_| true);
            assert!(damaged.flip(&path, usize::try_from(begin + at).unwrap(), 2));
            let wounded = Bench::try_wounded(&damaged, small()).unwrap().err().expect("damaged");
            assert!(!supply(&wounded, &oracle), "{wounded}");
            assert_eq!(wounded.mend().unwrap(), None);
            assert!(!wounded.lacking().is_empty() && !wounded.is_hopeless(), "{wounded}");
        }
    }
}
