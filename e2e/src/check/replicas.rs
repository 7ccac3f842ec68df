//! The end of a run: do all replicas hold the same, and did the run meet what it was meant to meet.
//!
//! Check 9, without the certified checkpoint, and coverage. Lack of coverage is no finding: it makes
//! a run that found nothing inconclusive.
//!
//! Not here: what the replicas should hold (`content`).

use super::{
    Check, Coverage, Finding,
    evidence::{Evidence, Log},
};
use crate::history::Moment;
use std::collections::{BTreeMap, BTreeSet};

/// What replicas are compared by besides the records they hold: how the names of those facts begin.
pub(super) const COMPARED: [&str; 4] =
    ["root of ", "cursors of ", "rolling digest at ", "membership"];

/// Check 9. Two replicas differ about a log or about a property of their state.
pub(super) fn convergence(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        for pair in log.finals.windows(2) {
            let extents = [pair[0], pair[1]].map(|held| (held.trim, held.tail, held.records.len()));
            if extents[0] != extents[1] {
                let text = format!(
                    "{name} differs: (trim point, tail, records) is {:?} on replica {} and {:?} on replica {}",
                    extents[0], pair[0].replica, extents[1], pair[1].replica
                );
                findings.push(Finding { check: Check::Convergence, text });
            }
        }
    }
    for (name, said) in &evidence.facts {
        for pair in said.windows(2).filter(|pair| pair[0].1 != pair[1].1) {
            let text = format!(
                "{name} is {} on replica {} and {} on replica {}",
                pair[0].1, pair[0].0, pair[1].1, pair[1].0
            );
            findings.push(Finding { check: Check::Convergence, text });
        }
    }
    findings
}

/// Check 11: what the run did not meet.
pub(super) fn lacking(evidence: &Evidence<'_>, required: &Coverage) -> Vec<String> {
    let mut lacking = Vec::new();
    for (kind, wanted) in &required.faults {
        let happened = evidence.faults.iter().filter(|(_, other)| other == kind).count();
        if happened < *wanted {
            lacking.push(format!("{kind} happened {happened} times, not {wanted}"));
        }
    }
    let since = evidence.faults.first().map_or(Moment(0), |(at, _)| *at);
    let appends = done_since(evidence, since);
    if appends < required.appends {
        lacking.push(format!(
            "{appends} appends were acknowledged since the first fault, not {}",
            required.appends
        ));
    }
    let reads = evidence.logs.values().flat_map(|log| &log.reads);
    let reads = reads.filter(|read| read.answered > since).count();
    if reads < required.reads {
        lacking.push(format!(
            "{reads} reads were answered since the first fault, not {}",
            required.reads
        ));
    }
    for (name, log) in &evidence.logs {
        let replicas: BTreeSet<u64> = log.finals.iter().map(|held| held.replica).collect();
        if replicas.len() < required.replicas {
            lacking.push(format!(
                "{name} was read to its end on {} replicas, not {}",
                replicas.len(),
                required.replicas
            ));
        }
        lacking.extend(unreadable(name, log));
    }
    let is_told = |kind: &&str| {
        let same = evidence.facts.iter().filter(|(name, _)| name.starts_with(kind));
        same.map(|(_, said)| said.iter().map(|(replica, _)| replica).collect::<BTreeSet<_>>().len())
            .any(|replicas| replicas >= required.replicas)
    };
    for kind in COMPARED.iter().filter(|kind| required.replicas > 0 && !is_told(kind)) {
        lacking.push(format!("no {kind}... was told by {} replicas", required.replicas));
    }
    lacking
}

fn done_since(evidence: &Evidence<'_>, since: Moment) -> usize {
    let appends = evidence.logs.values().flat_map(|log| &log.appends);
    appends.filter(|append| append.outcome.done().is_some() && append.answered > since).count()
}

/// Two appends of one record under different stamps: then one body at two positions proves nothing.
fn unreadable(name: &str, log: &Log<'_>) -> Option<String> {
    let mut stamps = BTreeMap::new();
    for append in &log.appends {
        for value in append.values {
            if *stamps.entry(*value).or_insert(append.stamp) != append.stamp {
                return Some(format!("{name}: the workload appended {value} under two stamps"));
            }
        }
    }
    None
}
