//! The promises of the service, over a history.
//!
//! An append's answer carries its positions, so the order is given and need not be searched for:
//! every check sorts and sweeps, `O(n log n)`. There are three verdicts. A run that did not meet the
//! faults it was meant to meet, or in which nothing succeeded meanwhile, is *inconclusive*, and that
//! is never a pass. Checks keep the numbers of the page that states them; 8 (conditions) and the
//! certified checkpoint of 9 are not stated here yet.
//!
//! Not here: how a history comes about (`history`, `workload`).

mod content;
mod evidence;
mod order;
#[cfg(test)]
mod planted;
mod replicas;
#[cfg(test)]
mod tests;

use crate::history::History;
use evidence::Evidence;
use std::{collections::BTreeMap, fmt};

/// A promise that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// 1: one position never shows two values, to anybody, ever.
    UniqueCell,
    /// 2: every acknowledged record is read at its position.
    NoLoss,
    /// 3: a record that is read comes from an append answered done or unknown.
    NoPhantom,
    /// 4: a batch is stored once, however often it is retried.
    NoDuplicate,
    /// 5: acknowledged before another began means a lower position.
    RealTimeOrder,
    /// 6: a linearizable read shows what was acknowledged before it began.
    FreshReads,
    /// 7: no reader goes back, no scan has a gap, each producer's order is kept.
    Monotonic,
    /// 9: after healing all replicas hold the same.
    Convergence,
    /// 10: an unknown append happened wholly, once, or not at all.
    UnknownResolves,
}

impl Check {
    /// The number by which the page of faults calls it.
    pub fn number(self) -> u8 {
        match self {
            Self::UniqueCell => 1,
            Self::NoLoss => 2,
            Self::NoPhantom => 3,
            Self::NoDuplicate => 4,
            Self::RealTimeOrder => 5,
            Self::FreshReads => 6,
            Self::Monotonic => 7,
            Self::Convergence => 9,
            Self::UnknownResolves => 10,
        }
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which one.
    pub check: Check,
    /// What was seen, by whom, when.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "check {} ({:?}): {}", self.check.number(), self.check, self.text)
    }
}

/// What a run must have met to count.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// How often each kind of fault must have happened.
    pub faults: BTreeMap<String, usize>,
    /// How many replicas must have been read from end to end when it was over, and compared by what
    /// each of them says of its state.
    pub replicas: usize,
    /// How many appends must have been acknowledged, after the first fault if there was one.
    pub appends: usize,
    /// How many reads must have been answered, likewise.
    pub reads: usize,
}

/// What a history holds, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Appends answered done.
    pub done: usize,
    /// Appends answered not done.
    pub not_done: usize,
    /// Appends whose outcome nobody was told, and which the log holds in the end.
    pub unknown_happened: usize,
    /// Appends whose outcome nobody was told, and which the log does not hold.
    pub unknown_not_happened: usize,
    /// Reads answered.
    pub reads: usize,
    /// Faults.
    pub faults: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} appends done, {} not done, {} unknown ({} of them happened); {} reads; {} faults",
            self.done,
            self.not_done,
            self.unknown_happened + self.unknown_not_happened,
            self.unknown_happened,
            self.reads,
            self.faults
        )
    }
}

/// What a history says of the promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They hold, and the run met what it was meant to meet.
    Passed(Summary),
    /// They do not hold.
    Failed(Vec<Finding>),
    /// Nothing was found, but the run proves nothing.
    Inconclusive(Vec<String>),
}

impl Verdict {
    /// Panics unless the run passed, with everything that was found; answers with its numbers.
    ///
    /// # Panics
    ///
    /// If a promise is broken, or the run is inconclusive.
    pub fn assert_passed(self) -> Summary {
        match self {
            Self::Passed(summary) => summary,
            Self::Failed(findings) => {
                let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
                panic!("the history breaks promises:\n{}", lines.join("\n"))
            }
            Self::Inconclusive(reasons) => {
                panic!("the run is inconclusive:\n{}", reasons.join("\n"))
            }
        }
    }
}

/// Findings of one check that are told one by one; the others are counted.
const FINDINGS_TOLD_MAX: usize = 10;

/// Checks every promise over `history`.
pub fn check(history: &History, required: &Coverage) -> Verdict {
    let evidence = Evidence::of(history);
    let checks = [
        content::unique_cell,
        content::no_loss,
        content::no_phantom,
        content::no_duplicate,
        order::real_time,
        order::fresh_reads,
        order::monotonic,
        replicas::convergence,
        content::unknown_resolves,
    ];
    let findings: Vec<Finding> =
        checks.iter().flat_map(|check| shortened(check(&evidence))).collect();
    if !findings.is_empty() {
        return Verdict::Failed(findings);
    }
    let lacking = replicas::lacking(&evidence, required);
    if lacking.is_empty() {
        Verdict::Passed(evidence.summary())
    } else {
        Verdict::Inconclusive(lacking)
    }
}

/// At most so many findings, the last of which says how many more there are.
fn shortened(mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(FINDINGS_TOLD_MAX);
    findings.truncate(FINDINGS_TOLD_MAX);
    if let Some(last) = findings.last_mut().filter(|_| more > 0) {
        last.text = format!("{} (and {more} more of this check)", last.text);
    }
    findings
}
