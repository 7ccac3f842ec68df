//! Whose clocks agree: a leader's stamps go no further ahead than a majority's clocks allow.
//!
//! The leader stamps every command with its wall clock, and what a stamp says is kept for ever: a
//! clock that runs ahead would spoil every later time and forget producers too soon. So the leader
//! compares its clock with those of the other voters, as they tell theirs when it asks for what only
//! they know. Until a majority has told, its own clock has to do for stamps, and nothing expires.
//! Between two comparisons the monotonic clock shows whether the wall clock jumped ahead.
//!
//! Not here: how the others are asked (`status`), and that stamps never go back (the machine).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::world::{Clock, Instant};

/// So far a clock may differ from others and still agree with them.
const APART_MAX: Duration = Duration::from_secs(1);

/// What the wall clock and the monotonic clock showed at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    wall_ms: u64,
    at: Instant,
}

impl Reading {
    /// What they show now.
    pub(super) fn of(clock: &Clock) -> Self {
        Self { wall_ms: clock.wall_millis(), at: clock.now() }
    }

    /// What both showed `earlier`.
    pub(super) fn before(self, earlier: Duration) -> Self {
        let at = self.at.checked_sub(earlier).unwrap_or(self.at);
        Self { wall_ms: self.wall_ms.saturating_sub(millis(earlier).unsigned_abs()), at }
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    pub(super) const fn wall_ms(self) -> u64 {
        self.wall_ms
    }

    /// When it was read.
    pub(super) const fn at(self) -> Instant {
        self.at
    }

    /// How far the wall clock jumped ahead since an earlier reading, in milliseconds; back, if negative.
    pub(super) fn jumped_since(self, earlier: Self) -> i64 {
        let wall = self.wall_ms.cast_signed().saturating_sub(earlier.wall_ms.cast_signed());
        wall.saturating_sub(millis(self.at.saturating_duration_since(earlier.at)))
    }
}

/// How the leader's clock compares with a majority's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Comparison {
    /// How much further ahead a stamp may go, in milliseconds; if negative, it has to be set back.
    room_ms: i64,
    /// A majority's clocks, this one included, are close to this one.
    is_agreed: bool,
}

/// What is known of the clocks. Shared by who compares and who stamps.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    last: Mutex<Option<(Comparison, Reading)>>,
}

impl Clocks {
    /// The wall clock's reading, set back to what a majority's clocks allow.
    pub(super) fn stamp_millis(&self, clock: &Clock) -> u64 {
        let Some((last, reading)) = self.last() else { return clock.wall_millis() };
        let now = Reading::of(clock);
        let room = last.room_ms.saturating_sub(now.jumped_since(reading).max(0));
        now.wall_ms.saturating_sub(room.min(0).unsigned_abs())
    }

    /// Whether a majority agrees with this clock, so that it may say what is old.
    pub(super) fn is_agreed(&self, clock: &Clock) -> bool {
        self.last().is_some_and(|(last, reading)| {
            last.is_agreed && Reading::of(clock).jumped_since(reading) <= millis(APART_MAX)
        })
    }

    /// Takes note of how far every voter's clock is ahead of this one, in milliseconds; this one's
    /// own included, which is 0. `now` is what this one shows. True if it was not known before that
    /// this clock is too far ahead.
    pub(super) fn compare(
        &self,
        voters: &[BTreeSet<u64>],
        ahead: &BTreeMap<u64, i64>,
        now: Reading,
    ) -> bool {
        let new = compare(voters, ahead);
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace((new, now));
        new.room_ms < 0 && last.is_none_or(|(last, _)| last.room_ms >= 0)
    }

    fn last(&self) -> Option<(Comparison, Reading)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn compare(voters: &[BTreeSet<u64>], ahead: &BTreeMap<u64, i64>) -> Comparison {
    let apart_max = millis(APART_MAX);
    let mut result = Comparison { room_ms: i64::MAX, is_agreed: !voters.is_empty() };
    for set in voters {
        let majority = set.len() / 2 + 1;
        let mut told: Vec<i64> = set.iter().filter_map(|id| ahead.get(id)).copied().collect();
        told.sort_unstable_by(|a, b| b.cmp(a));
        let close = told.iter().filter(|apart| apart.abs() <= apart_max).count();
        result.is_agreed &= close >= majority;
        // A majority of the clocks shows at least this much.
        if let Some(shown) = told.get(majority - 1) {
            result.room_ms = result.room_ms.min(shown.saturating_add(apart_max));
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
        assert_eq!(comparison, Comparison { room_ms: 1_000, is_agreed: true });
    }

    #[test]
    fn a_clock_far_ahead_of_a_majority_is_set_back_to_it() {
        let hour = 3_600_000;
        let comparison = compared(&[(1, 0), (2, -hour), (3, -hour - 50)]);
        assert_eq!(comparison, Comparison { room_ms: -3_599_000, is_agreed: false });
    }

    #[test]
    fn one_bad_clock_among_the_others_changes_nothing() {
        for (bad, room_ms) in [(-86_400_000, 1_000), (86_400_000, 1_020)] {
            let comparison = compared(&[(1, 0), (2, bad), (3, 20)]);
            assert_eq!(comparison, Comparison { room_ms, is_agreed: true });
        }
    }

    #[test]
    fn a_clock_behind_the_others_is_not_set_forward_and_expires_nothing() {
        let comparison = compared(&[(1, 0), (2, 86_400_000), (3, 86_400_000)]);
        assert_eq!(comparison, Comparison { room_ms: 86_401_000, is_agreed: false });
    }

    #[test]
    fn while_no_majority_has_told_nothing_expires() {
        let nobody = Comparison { room_ms: i64::MAX, is_agreed: false };
        assert_eq!(compared(&[(1, 0)]), nobody);
        assert_eq!(compare(&[], &BTreeMap::new()), nobody);
        let alone = compare(&[BTreeSet::from([1])], &BTreeMap::from([(1, 0)]));
        assert_eq!(alone, Comparison { room_ms: 1_000, is_agreed: true });
    }

    #[test]
    fn while_joint_both_sets_have_to_allow_a_stamp() {
        let sets = [BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 4, 5])];
        let ahead = BTreeMap::from([(1, 0), (2, 0), (3, 0), (4, -9_000), (5, -9_000)]);
        assert_eq!(compare(&sets, &ahead), Comparison { room_ms: -8_000, is_agreed: false });
    }

    #[test]
    fn a_clock_that_jumps_after_it_was_compared_agrees_with_nobody_and_stamps_no_further() {
        let (clock, clocks) = (Clock::standing_at(5_000_000), Clocks::default());
        assert!(!clocks.is_agreed(&clock), "nothing was compared");
        assert_eq!(clocks.stamp_millis(&clock), 5_000_000);
        let voters = [BTreeSet::from([1, 2, 3])];
        let ahead = BTreeMap::from([(1, 0), (2, 0), (3, 0)]);
        assert!(!clocks.compare(&voters, &ahead, Reading::of(&clock)));
        assert!(clocks.is_agreed(&clock));
        clock.set_wall_millis(8_600_000);
        assert!(!clocks.is_agreed(&clock));
        let stamp = clocks.stamp_millis(&clock);
        // The monotonic clock went on meanwhile, and the bound with it.
        assert!((5_001_000..5_031_000).contains(&stamp), "{stamp}");
        // Compared anew, the others are an hour behind.
        let ahead = BTreeMap::from([(1, 0), (2, -3_600_000), (3, -3_600_000)]);
        assert!(clocks.compare(&voters, &ahead, Reading::of(&clock)));
        assert!(!clocks.is_agreed(&clock));
        assert_eq!(clocks.stamp_millis(&clock), 5_001_000);
    }
}
