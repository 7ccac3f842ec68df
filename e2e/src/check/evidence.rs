//! A history, sorted for the checks: log by log, who appended, who read, what lies where.
//!
//! The evidence adds nothing of its own. Where an append lies is what its answer said, or, for an
//! unknown one, what somebody read.
//!
//! Not here: judgement (`content`, `order`, `replicas`).

use super::Summary;
use crate::history::{
    Action, Appended, Call, Final, History, Level, Moment, Outcome, Page, Stamp, Value,
};
use std::collections::BTreeMap;

/// An append and what was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Append<'h> {
    pub(super) who: &'h str,
    pub(super) asked: Moment,
    pub(super) answered: Moment,
    pub(super) values: &'h [Value],
    pub(super) stamp: Option<&'h Stamp>,
    pub(super) outcome: &'h Outcome<Appended>,
}

/// A read that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'h> {
    pub(super) who: &'h str,
    pub(super) asked: Moment,
    pub(super) answered: Moment,
    pub(super) from: u64,
    pub(super) level: Level,
    pub(super) page: &'h Page,
}

/// A value at a position, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell<'h> {
    pub(super) position: u64,
    pub(super) value: Value,
    pub(super) said_by: &'h str,
    pub(super) at: Moment,
}

/// All that happened to one log.
#[derive(Debug, Default)]
pub(super) struct Log<'h> {
    pub(super) appends: Vec<Append<'h>>,
    pub(super) reads: Vec<Read<'h>>,
    pub(super) finals: Vec<&'h Final>,
    /// What was read, sorted by position, then value.
    pub(super) seen: Vec<Cell<'h>>,
    /// Where each value was read: sorted, without repeats.
    places: Vec<(Value, u64)>,
}

/// A history, sorted.
#[derive(Debug, Default)]
pub(super) struct Evidence<'h> {
    pub(super) logs: BTreeMap<&'h str, Log<'h>>,
    pub(super) faults: Vec<(Moment, &'h str)>,
    /// By property: what each replica says of it.
    pub(super) facts: BTreeMap<&'h str, Vec<(u64, &'h str)>>,
}

impl<'h> Evidence<'h> {
    pub(super) fn of(history: &'h History) -> Self {
        let mut evidence = Self::default();
        for call in &history.calls {
            evidence.take(call);
        }
        for log in evidence.logs.values_mut() {
            log.sort();
        }
        evidence.faults.sort_unstable();
        evidence
    }

    pub(super) fn summary(&self) -> Summary {
        let mut summary = Summary { faults: self.faults.len(), ..Summary::default() };
        for log in self.logs.values() {
            summary.reads += log.reads.len();
            for append in &log.appends {
                match append.outcome {
                    Outcome::Done(_) => summary.done += 1,
                    Outcome::NotDone { .. } => summary.not_done += 1,
                    Outcome::Unknown { .. } if log.place_of(append).is_some() => {
                        summary.unknown_happened += 1;
                    }
                    Outcome::Unknown { .. } => summary.unknown_not_happened += 1,
                }
            }
        }
        summary
    }

    fn take(&mut self, call: &'h Call) {
        let Call { who, asked, answered, action } = call;
        let (asked, answered) = (*asked, *answered);
        match action {
            Action::Append { log, values, stamp, outcome } => {
                let stamp = stamp.as_ref();
                let append = Append { who, asked, answered, values, stamp, outcome };
                self.logs.entry(log).or_default().appends.push(append);
            }
            Action::Read { log, from, level, outcome } => {
                let Some(page) = outcome.done() else { return };
                let (from, level) = (*from, *level);
                let log = self.logs.entry(log).or_default();
                log.reads.push(Read { who, asked, answered, from, level, page });
                log.see(who, answered, &page.records);
            }
            Action::Final { log, holds } => {
                let log = self.logs.entry(log).or_default();
                log.finals.push(holds);
                log.see(who, answered, &holds.records);
            }
            Action::Fault { kind } => self.faults.push((asked, kind)),
            Action::Fact { replica, name, value } => {
                self.facts.entry(name).or_default().push((*replica, value));
            }
        }
    }
}

impl<'h> Log<'h> {
    /// Where an append lies: by its answer, else by what was read of its first record.
    pub(super) fn place_of(&self, append: &Append<'_>) -> Option<u64> {
        match append.outcome {
            Outcome::Done(appended) => Some(appended.first),
            Outcome::Unknown { .. } => self.places_of(*append.values.first()?).next(),
            Outcome::NotDone { .. } => None,
        }
    }

    /// The positions at which a value was read.
    pub(super) fn places_of(&self, value: Value) -> impl Iterator<Item = u64> {
        let start = self.places.partition_point(|(other, _)| *other < value);
        let same = self.places[start..].iter().take_while(move |(other, _)| *other == value);
        same.map(|(_, position)| *position)
    }

    /// Every value that was read at two positions or more, with those positions.
    pub(super) fn repeated_values(&self) -> Vec<(Value, Vec<u64>)> {
        let groups = self.places.chunk_by(|one, other| one.0 == other.0);
        let repeated = groups.filter(|group| group.len() > 1);
        repeated
            .map(|group| (group[0].0, group.iter().map(|(_, position)| *position).collect()))
            .collect()
    }

    fn see(&mut self, said_by: &'h str, at: Moment, records: &[(u64, Value)]) {
        let cells = records.iter().map(|(position, value)| Cell {
            position: *position,
            value: *value,
            said_by,
            at,
        });
        self.seen.extend(cells);
    }

    fn sort(&mut self) {
        self.seen.sort_unstable();
        self.places = self.seen.iter().map(|cell| (cell.value, cell.position)).collect();
        self.places.sort_unstable();
        self.places.dedup();
    }
}
