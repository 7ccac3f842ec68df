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

/// Terms 1 and 2, the end of which nobody but this replica ever had: nothing behind entry 7 is known to be committed.
fn unconfirmed() -> (FaultDisk, Held) {
    let disk = FaultDisk::new(4);
    let mut bench = Bench::open(&disk, small());
    let mut story = Story::new();
    let vote = |term| Op::Vote(Vote { term, leader: 1, committed: true });
    let entries = |term, range: std::ops::Range<u64>| -> Vec<Op> {
        range.flat_map(|index| [Op::Append(vec![entry(term, index, 900)]), Op::Step]).collect()
    };
    let script = [
        vec![vote(1), Op::Step],
        entries(1, 0..8),
        vec![Op::Committed, vote(2), Op::Step],
        entries(2, 8..20),
        vec![Op::Mark],
    ];
    for op in script.concat() {
        story.play(&mut bench, &op).unwrap();
    }
    assert!(segments(&disk).len() >= 3);
    (disk, bench.held())
}

fn committed(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), 3, EntryIndex::new(index))
}

fn in_place(term: u64, index: u64) -> LinkedEntry {
    LinkedEntry { entry: entry(term, index, 900), back_hash: [1; 32] }
}

/// One damaged entry behind what is known to be committed, its head or its payload.
fn each_damaged(disk: &FaultDisk, mut judge: impl FnMut(&FaultDisk, &WoundedJournal, u64)) {
    for (path, begin, _, index) in places(disk).into_iter().filter(|(.., index)| *index > 7) {
        for at in [40, 140] {
            let damaged = disk.snapshot().cut(|_| true);
            assert!(damaged.flip(&path, usize::try_from(begin + at).unwrap(), 2));
            let wounded = Bench::try_wounded(&damaged, small()).unwrap().err().expect("damaged");
            judge(&damaged, &wounded, index);
        }
    }
}

#[test]
fn a_tail_that_a_later_leader_replaced_is_cut_at_the_damage_and_the_vote_is_that_leaders() {
    let (disk, held) = unconfirmed();
    each_damaged(&disk, |damaged, wounded, index| {
        assert_eq!(wounded.first_lacking(), Some(index));
        assert!(
            wounded.is_replaced(&committed(3, index - 1), None),
            "its leader had nothing there"
        );
        assert!(wounded.is_replaced(&committed(3, 30), Some(&in_place(3, index))));
        let leader = Vote { term: 3, leader: 3, committed: true };
        assert!(wounded.give_up(Some(leader)).unwrap());
        let mut kept = held.clone();
        kept.entries.split_off(&index);
        kept.last = kept.entries.values().next_back().map(|entry| entry.id);
        kept.vote = Some(leader);
        assert_eq!(Bench::open(&damaged.snapshot().kill(), small()).held(), kept, "entry {index}");
        let mut bench = Bench::open(damaged, small());
        assert_eq!(bench.held(), kept, "entry {index}");
        let later = (index..index + 20).map(|index| entry(3, index, 900)).collect();
        let op = Op::Append(later);
        kept.apply(&op);
        let mut story = Story::new();
        story.states = vec![bench.held()];
        story.play(&mut bench, &op).unwrap();
        bench.step().unwrap();
        drop(bench);
        assert_eq!(
            Bench::open(&damaged.snapshot().cut(|_| false), small()).held(),
            kept,
            "entry {index}"
        );
    });
}

#[test]
fn what_may_have_been_committed_is_not_cut() {
    let (disk, _) = unconfirmed();
    let whole = oracle(&disk);
    each_damaged(&disk, |_, wounded, index| {
        let no_proof = |committed, there: Option<&LinkedEntry>| {
            assert!(!wounded.is_replaced(&committed, there), "{committed}, entry {index}");
        };
        no_proof(committed(3, 30), None);
        no_proof(committed(3, 30), whole.get(&index));
        no_proof(committed(3, 30), whole.get(&(index - 1)));
        no_proof(committed(2, 30), Some(&in_place(1, index)));
        no_proof(committed(2, index - 1), None);
        no_proof(committed(1, 3), None);
    });
    // What is known to be committed here was committed, whatever anybody says.
    let (path, begin, ..) = places(&disk)[5].clone();
    let damaged = disk.snapshot().cut(|_| true);
    assert!(damaged.flip(&path, usize::try_from(begin + 140).unwrap(), 2));
    let wounded = Bench::try_wounded(&damaged, small()).unwrap().err().expect("damaged");
    assert_eq!(wounded.first_lacking(), Some(5));
    assert!(!wounded.is_replaced(&committed(3, 30), Some(&in_place(3, 5))));
}

#[test]
fn of_several_heads_only_what_is_later_than_all_of_them_proves_that_the_first_was_replaced() {
    let (disk, held) = unconfirmed();
    let places = places(&disk);
    let damaged = disk.snapshot().cut(|_| true);
    for (path, begin, ..) in &places[12..14] {
        assert!(damaged.flip(path, usize::try_from(begin + 40).unwrap(), 2));
    }
    let wounded = Bench::try_wounded(&damaged, small()).unwrap().err().expect("damaged");
    assert_eq!(wounded.lacking(), [(12, 13)]);
    // Of the first, neither hash nor term is known: it may be the same, and acknowledged.
    assert!(!wounded.is_replaced(&committed(3, 30), Some(&in_place(2, 12))));
    assert!(wounded.is_replaced(&committed(3, 30), Some(&in_place(3, 12))));
    assert!(wounded.give_up(None).unwrap());
    let kept = Bench::open(&damaged, small()).held();
    assert_eq!((kept.entries.len(), kept.vote), (12, held.vote));
}

#[test]
fn a_power_cut_while_a_tail_is_given_up_leaves_it_damaged_or_cut() {
    let (disk, held) = unconfirmed();
    let (mut still, mut ended) = (0, 0);
    each_damaged(&disk, |damaged, wounded, index| {
        damaged.record(Arc::default());
        assert!(wounded.give_up(None).unwrap());
        drop(Bench::open(damaged, small()));
        for (at, snapshot) in damaged.recorded().into_iter().enumerate() {
            for again in snapshot.cuts(6, index).into_iter().chain([snapshot.kill()]) {
                let found = Bench::try_wounded(&again, small()).unwrap();
                if let Ok(bench) = found {
                    let kept = bench.held();
                    assert_eq!((kept.next(), kept.vote), (index, held.vote), "cut at sync {at}");
                    ended += 1;
                    continue;
                }
                let wounded = found.err().expect("it is one or the other");
                assert_eq!(wounded.first_lacking(), Some(index), "cut at sync {at}");
                assert!(wounded.give_up(None).unwrap());
                let kept = Bench::open(&again, small()).held();
                assert_eq!((kept.next(), kept.vote), (index, held.vote), "cut at sync {at}");
                still += 1;
            }
        }
    });
    assert!(still > 10 && ended > 100, "{still} still damaged, {ended} ended");
}
