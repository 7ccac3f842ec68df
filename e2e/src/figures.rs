//! Figures: out of a history, how long nobody was served; and what most of many measurements stay below.
//!
//! The gap of a fault is the longest time between two acknowledgements from the last one before it
//! until the next fault: what callers saw, not what the service thought. An answer that was still on
//! its way when a leader died thus does not shorten the gap that its death caused.

use crate::history::{Action, History, Moment};
use std::{fmt, time::Duration};

/// The gaps around all faults of one kind, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gaps(Vec<Duration>);

impl Gaps {
    /// The gaps around the faults of this kind. One after which nothing was acknowledged is left out.
    pub fn around(history: &History, kind: &str) -> Self {
        let mut acknowledged = Vec::new();
        let mut faults = Vec::new();
        for call in &history.calls {
            match &call.action {
                Action::Append { outcome, .. } if outcome.done().is_some() => {
                    acknowledged.push(call.answered);
                }
                Action::Fault { kind } => faults.push((call.asked, kind.as_str())),
                Action::Append { .. }
                | Action::Read { .. }
                | Action::Final { .. }
                | Action::Fact { .. } => {}
            }
        }
        acknowledged.sort_unstable();
        faults.sort_unstable();
        let ends = faults.iter().map(|(at, _)| *at).skip(1).chain([Moment(u64::MAX)]);
        let windows = faults.iter().zip(ends).filter(|((_, other), _)| *other == kind);
        let mut gaps: Vec<Duration> =
            windows.filter_map(|((begin, _), end)| gap(&acknowledged, *begin, end)).collect();
        gaps.sort_unstable();
        Self(gaps)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Half of the gaps are no longer than this.
    pub fn median(&self) -> Option<Duration> {
        self.0.get(self.0.len().saturating_sub(1) / 2).copied()
    }

    /// The longest.
    pub fn worst(&self) -> Option<Duration> {
        self.0.last().copied()
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = Duration::ZERO;
        let (median, worst) = (self.median().unwrap_or(zero), self.worst().unwrap_or(zero));
        write!(out, "{} gaps: p50 {median:.1?}, worst {worst:.1?}", self.count())
    }
}

/// What `percent` of a hundred measurements do not exceed; none of none.
pub fn percentile<T: Ord + Copy>(measured: &[T], percent: usize) -> Option<T> {
    let mut sorted = measured.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The longest time between two acknowledgements, from the last one before `begin` up to `end`.
fn gap(acknowledged: &[Moment], begin: Moment, end: Moment) -> Option<Duration> {
    let last_before = acknowledged.partition_point(|at| *at <= begin).checked_sub(1)?;
    let behind = acknowledged.partition_point(|at| *at < end);
    let pairs = acknowledged.get(last_before..behind)?.windows(2);
    pairs.map(|pair| Duration::from_nanos(pair[1].0 - pair[0].0)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Appended, Call, Outcome};

    #[test]
    fn a_percentile_is_one_of_what_was_measured() {
        let measured: Vec<u32> = (1..=30).rev().collect();
        for (percent, expected) in [(50, 15), (95, 29), (100, 30), (1, 1)] {
            assert_eq!(percentile(&measured, percent), Some(expected), "{percent}");
        }
        assert_eq!(percentile(&[7, 8, 9], 95), Some(9));
        assert_eq!(percentile::<u32>(&[], 50), None);
    }

    #[test]
    fn a_gap_is_the_longest_silence_from_a_fault_to_the_next() {
        let call = |at, action| Call {
            who: "p".to_owned(),
            asked: Moment(at),
            answered: Moment(at),
            action,
        };
        let done = || Action::Append {
            log: "orders".to_owned(),
            values: Vec::new(),
            stamp: None,
            outcome: Outcome::Done(Appended { first: 0, next: 0 }),
        };
        let killed = || Action::Fault { kind: "kill".to_owned() };
        let calls = vec![
            call(10, done()),
            call(20, killed()),
            // It was on its way already.
            call(22, done()),
            call(50, done()),
            call(55, killed()),
            call(62, done()),
            call(70, killed()),
        ];
        let gaps = Gaps::around(&History { calls }, "kill");
        assert_eq!(gaps, Gaps(vec![Duration::from_nanos(12), Duration::from_nanos(28)]));
        assert_eq!(gaps.median(), Some(Duration::from_nanos(12)));
        assert_eq!(gaps.worst(), Some(Duration::from_nanos(28)));
    }
}
