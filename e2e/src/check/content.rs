//! What the log holds: nothing twice, nothing lost, nothing that nobody appended.
//!
//! Checks 1 to 4 and 10. They compare the answers of appends with what was read, during the run and
//! from every replica after it.
//!
//! Not here: when things happened (`order`).

use super::{
    Check, Finding,
    evidence::{Append, Evidence, Log},
};
use crate::history::{Final, Outcome, Stamp, Value};
use std::collections::{BTreeMap, HashMap};

/// Check 1. Two readers, or an answer and a reader, disagree about a position.
pub(super) fn unique_cell(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        let differing = log
            .seen
            .windows(2)
            .filter(|pair| pair[0].position == pair[1].position && pair[0].value != pair[1].value);
        for pair in differing {
            let text = format!(
                "{name} position {} held {} when {} read it at {}, and {} when {} read it at {}",
                pair[0].position,
                pair[0].value,
                pair[0].said_by,
                pair[0].at,
                pair[1].value,
                pair[1].said_by,
                pair[1].at,
            );
            findings.push(Finding { check: Check::UniqueCell, text });
        }
        findings.extend(contradicted_answers(name, log));
    }
    findings
}

/// Positions that two answers gave to different records.
fn contradicted_answers(name: &str, log: &Log<'_>) -> Vec<Finding> {
    let mut acknowledged: Vec<(u64, Value, &Append<'_>)> = log
        .appends
        .iter()
        .flat_map(|append| {
            let first = append.outcome.done().map(|appended| appended.first);
            first
                .into_iter()
                .flat_map(move |first| (first..).zip(append.values.iter().copied()))
                .map(move |(position, value)| (position, value, append))
        })
        .collect();
    acknowledged.sort_unstable_by_key(|(position, value, _)| (*position, *value));
    let differing =
        acknowledged.windows(2).filter(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1);
    let text = |pair: &[(u64, Value, &Append<'_>)]| {
        format!(
            "{name} position {} was given to {} at {} and to {} at {}",
            pair[0].0,
            described(pair[0].2),
            pair[0].2.answered,
            described(pair[1].2),
            pair[1].2.answered
        )
    };
    differing.map(|pair| Finding { check: Check::UniqueCell, text: text(pair) }).collect()
}

/// Check 2. An acknowledged record is not where its answer said, on some replica, in the end.
pub(super) fn no_loss(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        for held in &log.finals {
            let cells: HashMap<u64, Value> = held.records.iter().copied().collect();
            for append in &log.appends {
                findings.extend(lost_of(name, append, held, &cells));
            }
        }
    }
    // The middle is the worst, and comes first.
    findings.sort_by_key(|(part, _)| *part);
    findings.into_iter().map(|(_, text)| Finding { check: Check::NoLoss, text }).collect()
}

/// Which part of a log a lost record was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Middle,
    Prefix,
    End,
}

/// The first record of an acknowledged append that `held` lacks.
fn lost_of(
    name: &str,
    append: &Append<'_>,
    held: &Final,
    cells: &HashMap<u64, Value>,
) -> Option<(Part, String)> {
    let appended = append.outcome.done()?;
    let mut records = (appended.first..).zip(append.values);
    let (position, value) = records
        .find(|(position, value)| *position >= held.trim && cells.get(position) != Some(value))?;
    let first_held = held.records.first().map_or(held.tail, |(position, _)| *position);
    let (part, place) = match position {
        _ if position >= held.tail => (Part::End, "at the end"),
        _ if position < first_held => (Part::Prefix, "of its prefix"),
        _ => (Part::Middle, "in the middle"),
    };
    let instead = cells.get(&position).map_or("nothing".to_owned(), Value::to_string);
    let text = format!(
        "{name} on replica {} lost a record {place}: position {position} was acknowledged to {} at {} \
         as {value} and holds {instead}; tail {}",
        held.replica,
        described(append),
        append.answered,
        held.tail
    );
    Some((part, text))
}

/// Check 3. A record was read that nobody appended, or whose append was answered "not done".
pub(super) fn no_phantom(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        let origins = origins(log);
        for cells in log.seen.chunk_by(|one, other| one.value == other.value) {
            let cell = cells[0];
            let origin = match origins.get(&cell.value) {
                Some(Origin::Possible) => continue,
                Some(Origin::Denied(append)) => {
                    format!(
                        "the append of {} was answered not done at {}",
                        described(append),
                        append.answered
                    )
                }
                None => "nobody appended it".to_owned(),
            };
            let text = format!(
                "{name} position {} showed {} to {} at {}, but {origin}",
                cell.position, cell.value, cell.said_by, cell.at
            );
            findings.push(Finding { check: Check::NoPhantom, text });
        }
    }
    findings
}

/// Where a value may come from.
enum Origin<'a, 'h> {
    /// Some append of it was answered done or unknown.
    Possible,
    /// Every append of it was answered not done.
    Denied(&'a Append<'h>),
}

fn origins<'a, 'h>(log: &'a Log<'h>) -> HashMap<Value, Origin<'a, 'h>> {
    let mut origins = HashMap::new();
    for append in &log.appends {
        for value in append.values {
            match append.outcome {
                Outcome::Done(_) | Outcome::Unknown { .. } => {
                    origins.insert(*value, Origin::Possible);
                }
                Outcome::NotDone { .. } => {
                    origins.entry(*value).or_insert(Origin::Denied(append));
                }
            }
        }
    }
    origins
}

/// Check 4. A record lies at two positions, or two answers to one batch name different positions.
pub(super) fn no_duplicate(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        let owners: HashMap<Value, &Append<'_>> = log
            .appends
            .iter()
            .flat_map(|append| append.values.iter().map(move |value| (*value, append)))
            .collect();
        for (value, positions) in log.repeated_values() {
            let owner = owners.get(&value).map_or("nobody".to_owned(), |append| described(append));
            let text = format!("{name} holds {value} of {owner} at positions {positions:?}");
            findings.push(Finding { check: Check::NoDuplicate, text });
        }
        findings.extend(answered_apart(name, log));
    }
    findings
}

/// Batches whose retries were acknowledged with other positions than the first time.
fn answered_apart(name: &str, log: &Log<'_>) -> Vec<Finding> {
    let mut first_answers: BTreeMap<&Stamp, u64> = BTreeMap::new();
    let mut findings = Vec::new();
    for append in &log.appends {
        let (Some(stamp), Some(appended)) = (append.stamp, append.outcome.done()) else { continue };
        let first = *first_answers.entry(stamp).or_insert(appended.first);
        if first != appended.first {
            let text = format!(
                "{name} answered {stamp} with position {first}, and later with {}",
                appended.first
            );
            findings.push(Finding { check: Check::NoDuplicate, text });
        }
    }
    findings
}

/// Check 10. A batch whose outcome was unknown lies in the log wholly and in one piece, or not at all.
pub(super) fn unknown_resolves(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, log) in &evidence.logs {
        let Some(held) = log.finals.first() else { continue };
        let unknown =
            log.appends.iter().filter(|append| matches!(append.outcome, Outcome::Unknown { .. }));
        for append in unknown {
            let places: Vec<Option<u64>> = append
                .values
                .iter()
                .map(|value| log.places_of(*value).find(|position| *position >= held.trim))
                .collect();
            let is_whole = places.windows(2).all(|pair| match (pair[0], pair[1]) {
                (Some(one), Some(next)) => one + 1 == next,
                // The trim point may have come to lie inside the batch.
                (None, Some(next)) => next == held.trim,
                (Some(_), None) => false,
                (None, None) => true,
            });
            if !is_whole {
                let text = format!(
                    "{name} holds an unknown batch of {} in pieces: {places:?}",
                    described(append)
                );
                findings.push(Finding { check: Check::UnknownResolves, text });
            }
        }
    }
    findings
}

/// Who appended, and under which stamp.
pub(super) fn described(append: &Append<'_>) -> String {
    match append.stamp {
        Some(stamp) => format!("{} ({stamp})", append.who),
        None => append.who.to_owned(),
    }
}
