//! Whose clocks agree: a leader's stamps go no further ahead than a majority's clocks allow.
//!
//! The leader stamps every command with its wall clock, and what a stamp says is kept for ever: a
//! clock that runs ahead would spoil every later time and forget producers too soon. So the leader
//! compares its clock with those of the other voters, as they tell theirs when it asks for what only
//! they know. Until a majority has told, its own clock has to do for stamps, and nothing expires.
//!
//! Not here: how the others are asked (`status`), and that stamps never go back (the machine).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// So far a clock may differ from others and still agree with them.
const APART_MAX: Duration = Duration::from_secs(1);

/// How the leader's clock compares with a majority's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Comparison {
    /// How much a stamp has to be set back, in milliseconds.
    set_back_ms: u64,
    /// A majority's clocks, this one included, are close to this one.
    is_agreed: bool,
}

/// What is known of the clocks. Shared by who compares and who stamps.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    last: Mutex<Comparison>,
}

impl Clocks {
    /// The wall clock's reading, set back to what a majority's clocks allow.
    pub(super) fn stamp_millis(&self, wall: u64) -> u64 {
        wall.saturating_sub(self.last().set_back_ms)
    }

    /// Whether a majority agrees with this clock, so that it may say what is old.
    pub(super) fn is_agreed(&self) -> bool {
        self.last().is_agreed
    }

    /// Takes note of how far every voter's clock is ahead of this one, in milliseconds; this one's
    /// own included, which is 0. True if it was not known before that this clock is too far ahead.
    pub(super) fn compare(&self, voters: &[BTreeSet<u64>], ahead: &BTreeMap<u64, i64>) -> bool {
        let new = compare(voters, ahead);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = last.set_back_ms == 0 && new.set_back_ms > 0;
        *last = new;
        is_news
    }

    fn last(&self) -> Comparison {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compare(voters: &[BTreeSet<u64>], ahead: &BTreeMap<u64, i64>) -> Comparison {
    let apart_max = i64::try_from(APART_MAX.as_millis()).unwrap_or(i64::MAX);
    let mut result = Comparison { set_back_ms: 0, is_agreed: !voters.is_empty() };
    for set in voters {
        let majority = set.len() / 2 + 1;
        let mut told: Vec<i64> = set.iter().filter_map(|id| ahead.get(id)).copied().collect();
        told.sort_unstable_by(|a, b| b.cmp(a));
        let close = told.iter().filter(|apart| apart.abs() <= apart_max).count();
        result.is_agreed &= close >= majority;
        // A majority of the clocks shows at least this much.
        if let Some(shown) = told.get(majority - 1) {
            let set_back = shown.saturating_add(apart_max).min(0).unsigned_abs();
            result.set_back_ms = result.set_back_ms.max(set_back);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(ahead: &[(u64, i64)]) -> Comparison {
        compare(&[BTreeSet::from([1, 2, 3])], &ahead.iter().copied().collect())
    }

    #[test]
    fn clocks_that_are_close_agree_and_hold_nobody_back() {
        let comparison = compared(&[(1, 0), (2, -900), (3, 700)]);
        assert_eq!(comparison, Comparison { set_back_ms: 0, is_agreed: true });
    }

    #[test]
    fn a_clock_far_ahead_of_a_majority_is_set_back_to_it() {
        let hour = 3_600_000;
        let comparison = compared(&[(1, 0), (2, -hour), (3, -hour - 50)]);
        assert_eq!(comparison, Comparison { set_back_ms: 3_599_000, is_agreed: false });
    }

    #[test]
    fn one_bad_clock_among_the_others_changes_nothing() {
        for bad in [-86_400_000, 86_400_000] {
            let comparison = compared(&[(1, 0), (2, bad), (3, 20)]);
            assert_eq!(comparison, Comparison { set_back_ms: 0, is_agreed: true });
        }
    }

    #[test]
    fn a_clock_behind_the_others_is_not_set_forward_and_expires_nothing() {
        let comparison = compared(&[(1, 0), (2, 86_400_000), (3, 86_400_000)]);
        assert_eq!(comparison, Comparison { set_back_ms: 0, is_agreed: false });
    }

    #[test]
    fn while_no_majority_has_told_nothing_expires() {
        assert_eq!(compared(&[(1, 0)]), Comparison { set_back_ms: 0, is_agreed: false });
        assert_eq!(compare(&[], &BTreeMap::new()), Comparison::default());
        let alone = compare(&[BTreeSet::from([1])], &BTreeMap::from([(1, 0)]));
        assert_eq!(alone, Comparison { set_back_ms: 0, is_agreed: true });
    }

    #[test]
    fn while_joint_both_sets_have_to_allow_a_stamp() {
        let sets = [BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 4, 5])];
        let ahead = BTreeMap::from([(1, 0), (2, 0), (3, 0), (4, -9_000), (5, -9_000)]);
        assert_eq!(compare(&sets, &ahead), Comparison { set_back_ms: 8_000, is_agreed: false });
    }
}
