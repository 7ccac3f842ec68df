//! Repair: every byte of a small journal flipped, one at a time, and mended with what another holds.
//!
//! Goal: the journal comes out as it was, or it is refused with the place named; a wrong entry is never taken,
//! and damage is never cut. Method: an oracle holds the true entries, as another replica would.

use super::flips::{marked, small, sweep};
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
    for _ in 0..20 {
        let wounded = match Bench::try_wounded(disk, options.clone()).unwrap() {
            Ok(bench) => return Ok(bench),
            Err(wounded) => wounded,
        };
        supply(&wounded, oracle);
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
    let (mut whole, mut refused) = (0, BTreeMap::<String, usize>::new());
    sweep(&disk, 1, |flip| {
        let disk = flip.disk();
        match mended(&disk, &small(), &oracle) {
            Ok(bench) => {
                assert_eq!(bench.held(), held, "byte {} of {}", flip.offset, flip.path.display());
                whole += 1;
            }
            Err(wounded) => *refused.entry(wounded.to_string()).or_default() += 1,
        }
    });
    // What a cut took back nobody holds any more, and the first head of all nothing repeats.
    let refusals: usize = refused.values().sum();
    assert!(refusals < 2_300 && whole > 13_000, "{whole} mended; {refused:#?}");
}
