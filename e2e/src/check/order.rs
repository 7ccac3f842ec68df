//! When things happened: real time, freshness, and no way back.
//!
//! Checks 5 to 7. Each sorts once and sweeps once, keeping the strongest witness so far.
//!
//! Not here: what the log holds (`content`).

use super::{
    Check, Finding,
    content::described,
    evidence::{Append, Evidence, Log, Read},
};
use crate::history::{Level, Moment, Stamp};
use std::collections::BTreeMap;

/// Check 5. An append that began after another was acknowledged lies before it.
pub(super) fn real_time(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        let mut placed: Vec<(u64, &Append<'_>)> =
            log.appends.iter().filter_map(|append| Some((log.place_of(append)?, append))).collect();
        placed.sort_unstable_by_key(|(position, _)| *position);
        let begun = first_asked(log);
        // From the end: the earliest acknowledgement among all that lie behind.
        let mut earliest: Option<(u64, &Append<'_>)> = None;
        for (position, append) in placed.into_iter().rev() {
            let asked = append.stamp.map_or(append.asked, |stamp| begun[stamp]);
            if let Some((behind, before)) =
                earliest.filter(|(behind, before)| before.answered < asked && *behind > position)
            {
                let text = format!(
                    "{name} position {position} was asked for by {} at {}, after position {behind} had \
                     been acknowledged to {} at {}",
                    described(append),
                    asked,
                    described(before),
                    before.answered
                );
                findings.push(Finding { check: Check::RealTimeOrder, text });
            }
            let is_earlier = earliest.is_none_or(|(_, before)| append.answered < before.answered);
            if append.outcome.done().is_some() && is_earlier {
                earliest = Some((position, append));
            }
        }
    }
    findings
}

/// When a batch was asked for first: a retry may be answered with what an earlier call did.
fn first_asked<'h>(log: &Log<'h>) -> BTreeMap<&'h Stamp, Moment> {
    let mut begun = BTreeMap::new();
    for append in &log.appends {
        let Some(stamp) = append.stamp else { continue };
        let first = begun.entry(stamp).or_insert(append.asked);
        *first = append.asked.min(*first);
    }
    begun
}

/// Check 6. A linearizable read showed a tail below what had been acknowledged, or shown by another
/// linearizable read, before it began.
pub(super) fn fresh_reads(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        let known = known_tails(log);
        for read in linearizable(log) {
            let Some(shown) = reach(read) else { continue };
            let before = known.partition_point(|known| known.at < read.asked);
            let Some(known) = before.checked_sub(1).map(|last| &known[last]) else { continue };
            if shown < known.tail {
                let text = format!(
                    "{name}: {} read linearizably at {} and was shown tail {shown}, though {} {} at {}",
                    read.who, read.asked, known.who, known.how, known.since
                );
                findings.push(Finding { check: Check::FreshReads, text });
            }
        }
    }
    findings
}

/// The highest tail that anybody could know of at a moment.
#[derive(Debug, Clone)]
struct Known<'h> {
    at: Moment,
    tail: u64,
    who: &'h str,
    how: String,
    since: Moment,
}

/// All acknowledgements and linearizable reads by time, each with the highest tail up to then.
fn known_tails<'h>(log: &Log<'h>) -> Vec<Known<'h>> {
    let acknowledged = log.appends.iter().filter_map(|append| {
        let tail = append.outcome.done()?.next;
        Some((append.answered, tail, append.who, "was acknowledged an append up to"))
    });
    let shown = linearizable(log)
        .filter_map(|read| Some((read.answered, reach(read)?, read.who, "was shown tail")));
    let mut known: Vec<_> = acknowledged.chain(shown).collect();
    known.sort_unstable();
    let mut highest: Vec<Known<'h>> = Vec::new();
    for (at, tail, who, how) in known {
        let next = match highest.last() {
            Some(last) if last.tail >= tail => Known { at, ..last.clone() },
            _ => Known { at, tail, who, how: format!("{how} {tail}"), since: at },
        };
        highest.push(next);
    }
    highest
}

fn linearizable<'a, 'h>(log: &'a Log<'h>) -> impl Iterator<Item = &'a Read<'h>> {
    log.reads.iter().filter(|read| read.level == Level::Linearizable)
}

/// How far a read saw: the tail it claims. A page without one claims nothing.
fn reach(read: &Read<'_>) -> Option<u64> {
    read.page.tail
}

/// Check 7. A scan with a gap, a reader that went back, a producer whose batches changed places.
pub(super) fn monotonic(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        findings.extend(log.reads.iter().filter_map(|read| gap(name, read)));
        findings.extend(tails_going_back(name, log));
        findings.extend(producers_out_of_order(name, log));
    }
    findings
}

/// The records of a page follow each other, from the position asked for.
fn gap(name: &str, read: &Read<'_>) -> Option<Finding> {
    let expected = (read.from..).zip(&read.page.records);
    let (expected, (got, _)) = expected.into_iter().find(|(expected, (got, _))| expected != got)?;
    let text = format!(
        "{name}: {} asked from {} at {} and was shown position {got} where {expected} belongs",
        read.who, read.from, read.asked
    );
    Some(Finding { check: Check::Monotonic, text })
}

/// One reader's tails do not fall: of linearizable reads anywhere, of local ones at one replica.
fn tails_going_back(name: &str, log: &Log<'_>) -> Vec<Finding> {
    let mut reads: Vec<&Read<'_>> = log.reads.iter().collect();
    reads.sort_by_key(|read| read.asked);
    let mut highest: BTreeMap<(&str, Level, u64), (u64, Moment)> = BTreeMap::new();
    let mut findings = Vec::new();
    for read in reads {
        let Some(tail) = read.page.tail else { continue };
        let replica = if read.level == Level::Local { read.page.replica } else { 0 };
        let before =
            highest.entry((read.who, read.level, replica)).or_insert((tail, read.answered));
        if before.1 <= read.asked && tail < before.0 {
            let text = format!(
                "{name}: {} was shown tail {} at {}, and {tail} at {}",
                read.who, before.0, before.1, read.answered
            );
            findings.push(Finding { check: Check::Monotonic, text });
        }
        if tail > before.0 {
            *before = (tail, read.answered);
        }
    }
    findings
}

/// In the log each producer's batches follow each other without a gap.
fn producers_out_of_order(name: &str, log: &Log<'_>) -> Vec<Finding> {
    let mut placed: Vec<(&Stamp, u64)> = log
        .appends
        .iter()
        .filter_map(|append| Some((append.stamp?, log.place_of(append)?)))
        .collect();
    placed.sort_unstable();
    placed.dedup();
    let is_trimmed = log.finals.iter().any(|held| held.trim > 0);
    let mut findings = Vec::new();
    for pair in placed.windows(2).filter(|pair| pair[0].0.producer == pair[1].0.producer) {
        let [(one, first), (next, second)] = [pair[0], pair[1]];
        // An unknown batch below the trim point can no longer be seen, and is no gap.
        let is_next = is_trimmed || one.epoch != next.epoch || next.sequence - one.sequence <= 1;
        if !is_next || first > second {
            let text =
                format!("{name} holds {one} at position {first}, and then {next} at {second}");
            findings.push(Finding { check: Check::Monotonic, text });
        }
    }
    findings
}
