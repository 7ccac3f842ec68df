//! How many may fail: of one set of voters, or of several that decide together.
//!
//! Computed and not guessed: each set needs its own majority of those who count, so whoever fails, the set with the
//! least to spare decides.
//!
//! Not here: who counts (`grounds`).

use std::collections::BTreeSet;

use client::api::plans::{Footing, MemberName};

use super::words;

/// Sets of voters that each have to agree.
pub(super) type Sets = Vec<BTreeSet<MemberName>>;

/// How many more may fail, whichever they are, so that every set keeps a majority of those who `count`. None: there is
/// no such majority now.
pub(super) fn spare(
    sets: &[BTreeSet<MemberName>],
    counts: impl Fn(&MemberName) -> bool,
) -> Option<u32> {
    let spares = sets.iter().map(|voters| {
        let counting = voters.iter().filter(|member| counts(member)).count();
        counting.checked_sub(voters.len() / 2 + 1)
    });
    // No set at all decides nothing.
    u32::try_from(spares.min()??).ok()
}

/// The footing of these sets.
pub(super) fn footing(
    sets: &[BTreeSet<MemberName>],
    learners: &BTreeSet<MemberName>,
    counts: impl Fn(&MemberName) -> bool,
) -> Footing {
    let voters: BTreeSet<MemberName> = sets.iter().flatten().cloned().collect();
    let missing: Vec<_> = voters.iter().filter(|member| !counts(member)).collect();
    let spare_now = spare(sets, counts);
    let tolerates = spare(sets, |_| true).unwrap_or(0);
    let (may_fail, has_majority) = (spare_now.unwrap_or(0), spare_now.is_some());
    let who = if sets.len() > 1 {
        format!("{} voters old and new decide together", voters.len())
    } else {
        words::votes(voters.len())
    };
    let names = words::list(missing.iter().map(|member| words::member(member)));
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let sentence = match (missing.is_empty(), has_majority) {
        (true, _) => format!("{who}: {} may fail.", words::how_many(may_fail)),
        (false, true) => format!(
            "{who}: {} more may fail, as {names} {verb} not here or not caught up.",
            words::how_many(may_fail)
        ),
        (false, false) => {
            format!("{who}: no majority, as {names} {verb} not here or not caught up.")
        }
    };
    Footing {
        voters: voters.into_iter().collect(),
        learners: learners.iter().cloned().collect(),
        tolerates,
        may_fail,
        has_majority,
        sentence,
    }
}

#[cfg(test)]
mod tests {
    use client::types::ReplicaId;
    use proptest::prelude::*;

    use super::*;

    fn member(number: u64) -> MemberName {
        MemberName::Replica(ReplicaId::new(number).unwrap())
    }

    fn set(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<MemberName> {
        numbers.into_iter().map(member).collect()
    }

    /// Lets every choice of those who are here fail, and sees how many may.
    fn tried(sets: &Sets, here: &BTreeSet<MemberName>) -> Option<u32> {
        let all: Vec<_> = here.iter().collect();
        let goes_on = |failed: u32| {
            sets.iter().all(|voters| {
                let left = (0..all.len())
                    .filter(|at| failed & (1 << at) == 0 && voters.contains(all[*at]))
                    .count();
                2 * left > voters.len()
            })
        };
        let most = u32::try_from(all.len()).unwrap();
        (0..=most)
            .take_while(|count| {
                (0..1_u32 << all.len()).filter(|way| way.count_ones() == *count).all(goes_on)
            })
            .last()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn as_many_may_fail_as_in_all_ways_that_were_tried(
            old in prop::collection::btree_set(1_u64..=10, 1..=5),
            new in prop::option::of(prop::collection::btree_set(1_u64..=10, 1..=5)),
            here in prop::collection::btree_set(1_u64..=10, 0..=10),
        ) {
            let sets: Sets = std::iter::once(old).chain(new).map(set).collect();
            let voters: BTreeSet<_> = sets.iter().flatten().cloned().collect();
            let here: BTreeSet<_> = set(here).intersection(&voters).cloned().collect();
            prop_assert_eq!(spare(&sets, |member| here.contains(member)), tried(&sets, &here));
            prop_assert_eq!(spare(&sets, |_| true), tried(&sets, &voters));
        }
    }

    #[test]
    fn a_footing_says_how_many_may_fail_and_who_is_missing() {
        let said = |sets: &[&[u64]], here: &[u64]| {
            let sets: Sets = sets.iter().map(|ids| set(ids.iter().copied())).collect();
            let here = set(here.iter().copied());
            let footing = footing(&sets, &BTreeSet::new(), |member| here.contains(member));
            (footing.tolerates, footing.may_fail, footing.has_majority, footing.sentence)
        };
        assert_eq!(
            said(&[&[1, 2, 3]], &[1, 2, 3]),
            (1, 1, true, "3 replicas vote: 1 may fail.".to_owned())
        );
        assert_eq!(said(&[&[1]], &[1]), (0, 0, true, "1 replica votes: none may fail.".to_owned()));
        let text =
            "3 replicas vote: none more may fail, as replica 3 is not here or not caught up.";
        assert_eq!(said(&[&[1, 2, 3]], &[1, 2]), (1, 0, true, text.to_owned()));
        let text = "2 replicas vote: no majority, as replica 2 is not here or not caught up.";
        assert_eq!(said(&[&[1, 2]], &[1]), (0, 0, false, text.to_owned()));
        let text = "4 voters old and new decide together: 1 may fail.";
        assert_eq!(said(&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3, 4]), (1, 1, true, text.to_owned()));
    }
}
