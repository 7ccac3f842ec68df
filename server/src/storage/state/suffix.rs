//! The newest records in memory: those that redb does not hold yet, and a hot end after that.
//!
//! Runs stand in the order in which they were applied. Two pointers divide them: up to `flushed` they are in redb, and
//! may be let go; from `bodied` on their records are in memory. Between the two lie runs that were dropped because the
//! flusher lags: they remember where in the journal they came from. What the machine made itself is not there, and stays.
//!
//! ```text
//! let go ...  |  in redb, and here  |  dropped: in the journal  |  here
//!           popped               flushed                     bodied      end        (numbers of runs, ever growing)
//! ```
//!
//! Of each log, the runs here are one unbroken range up to its tail. Records are slices of their command's bytes.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use client::types::{EntryIndex, LogId, Position, Timestamp};

use crate::machine::Run;

/// What a run costs in memory beside its records.
const RUN_OVERHEAD_BYTES: usize = 160;

/// A run as it is kept here.
#[derive(Debug, Clone)]
pub(super) struct HeldRun {
    /// Its log.
    pub(super) log: LogId,
    /// The entry that it came with.
    pub(super) entry: EntryIndex,
    /// Position of the first record.
    pub(super) first: Position,
    /// How many records.
    pub(super) count: u32,
    /// The time of all of them.
    pub(super) time: Timestamp,
    /// Bytes of all records of the log before the first.
    pub(super) bytes_before: u64,
    /// Per record a `u32` length and its untimed form; in the journal, if they were dropped.
    pub(super) records: HeldRecords,
}

impl HeldRun {
    /// One past the last record.
    pub(super) fn next(&self) -> Position {
        self.first.advance(u64::from(self.count))
    }
}

/// The records of a run, or where they are.
#[derive(Debug, Clone)]
pub(super) enum HeldRecords {
    /// Here.
    Here(Bytes),
    /// In the payload of the run's entry.
    InJournal {
        /// Where in the payload they begin.
        offset: u32,
        /// How many bytes they are.
        length: u32,
    },
}

/// What is needed to find a run from the order of all of them.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    log: LogId,
    first: Position,
    /// Where the records begin in the payload, if they stand there.
    offset: Option<u32>,
    length: u32,
}

impl Arrival {
    fn body_bytes(self) -> usize {
        usize::try_from(self.length).expect("32 bits fit a length in memory")
    }
}

/// The newest runs of all logs.
#[derive(Debug, Default)]
pub(super) struct Suffix {
    logs: HashMap<LogId, VecDeque<HeldRun>>,
    order: VecDeque<Arrival>,
    popped: u64,
    flushed: u64,
    /// Up to here, runs were given out to be flushed.
    cut: u64,
    bodied: u64,
    held_bytes: usize,
    unflushed_body_bytes: usize,
}

impl Suffix {
    /// Adds a run that was just applied.
    pub(super) fn push(&mut self, entry: EntryIndex, run: Run) {
        let length = u32::try_from(run.records.len()).expect("a command has less than 4 GiB");
        let (log, first, offset) = (run.log, run.first, run.offset);
        let arrival = Arrival { log, first, offset, length };
        self.held_bytes += run.records.len() + RUN_OVERHEAD_BYTES;
        self.unflushed_body_bytes += run.records.len();
        let runs = self.logs.entry(run.log).or_default();
        assert!(
            runs.back().is_none_or(|last| last.next() == run.first),
            "records of log {} follow each other up to {}",
            run.log,
            run.first
        );
        runs.push_back(HeldRun {
            log: run.log,
            entry,
            first: run.first,
            count: run.count,
            time: run.time,
            bytes_before: run.bytes_before,
            records: HeldRecords::Here(run.records),
        });
        self.order.push_back(arrival);
    }

    /// The number of the next run.
    pub(super) fn end(&self) -> u64 {
        self.popped + widen(self.order.len())
    }

    /// Numbers of the runs that were not given out to be flushed yet; from now on they are.
    pub(super) fn cut(&mut self) -> (u64, u64) {
        let runs = (self.cut, self.end());
        self.cut = runs.1;
        runs
    }

    /// Bytes in memory.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Copies of up to `limit` runs from number `from` until `until`: what the flusher goes through.
    pub(super) fn batch(&self, from: u64, until: u64, limit: usize) -> Vec<HeldRun> {
        let begin = narrow(from - self.popped);
        let end = narrow(until - self.popped).min(begin + limit);
        let arrivals = self.order.range(begin..end);
        arrivals.map(|arrival| self.run_of(arrival).clone()).collect()
    }

    /// Runs up to number `until` are in redb from now on.
    pub(super) fn mark_flushed(&mut self, until: u64) {
        assert!(
            self.flushed <= until && until <= self.end(),
            "runs are flushed in order: {until} comes after {}",
            self.flushed
        );
        let begin = narrow(self.flushed.max(self.bodied) - self.popped);
        let end = narrow(until.max(self.bodied) - self.popped);
        let bodies = self.order.range(begin..end).map(|arrival| arrival.body_bytes());
        self.unflushed_body_bytes -= bodies.sum::<usize>();
        self.flushed = until;
        self.bodied = self.bodied.max(until);
    }

    /// Lets go of up to `steps_max` runs that redb holds, oldest first, until `bytes_max` are left. Says whether there is
    /// more to let go.
    pub(super) fn evict(&mut self, bytes_max: usize, steps_max: usize) -> bool {
        for _ in 0..steps_max {
            if self.held_bytes <= bytes_max || self.popped == self.flushed {
                return false;
            }
            self.pop();
        }
        self.held_bytes > bytes_max && self.popped < self.flushed
    }

    /// Drops up to `steps_max` bodies of what redb does not hold, oldest first, until `bytes_max` are left.
    pub(super) fn drop_bodies(&mut self, bytes_max: usize, steps_max: usize) {
        for _ in 0..steps_max {
            if self.unflushed_body_bytes <= bytes_max || self.bodied == self.end() {
                return;
            }
            self.drop_body();
        }
    }

    /// The runs of a log that are here, oldest first.
    pub(super) fn runs(&self, log: LogId) -> Option<&VecDeque<HeldRun>> {
        self.logs.get(&log)
    }

    /// The first position of a log that is here.
    pub(super) fn first(&self, log: LogId) -> Option<Position> {
        Some(self.logs.get(&log)?.front()?.first)
    }

    fn run_of(&self, arrival: &Arrival) -> &HeldRun {
        let runs = self.logs.get(&arrival.log).expect("a run that has arrived is held by its log");
        let at = place(runs, arrival.first);
        runs.get(at).expect("a run that has arrived is held by its log")
    }

    fn pop(&mut self) {
        let arrival = self.order.pop_front().expect("a run that is flushed has arrived");
        self.popped += 1;
        let runs = self.logs.get_mut(&arrival.log).expect("a log holds its runs until they go");
        let run = runs.pop_front().expect("runs of a log go in the order in which they came");
        assert!(run.first == arrival.first, "runs of a log go in the order in which they came");
        if runs.is_empty() {
            self.logs.remove(&arrival.log);
        }
        if let HeldRecords::Here(records) = &run.records {
            self.held_bytes -= records.len();
        }
        self.held_bytes -= RUN_OVERHEAD_BYTES;
    }

    fn drop_body(&mut self) {
        let arrival = self.order[narrow(self.bodied - self.popped)];
        let runs = self.logs.get_mut(&arrival.log).expect("a log holds its runs until they go");
        let at = place(runs, arrival.first);
        if let Some(offset) = arrival.offset {
            runs[at].records = HeldRecords::InJournal { offset, length: arrival.length };
            self.held_bytes -= arrival.body_bytes();
        }
        self.unflushed_body_bytes -= arrival.body_bytes();
        self.bodied += 1;
    }
}

/// Which of a log's runs holds a position.
pub(super) fn place(runs: &VecDeque<HeldRun>, position: Position) -> usize {
    runs.partition_point(|run| run.next() <= position)
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}

fn narrow(count: u64) -> usize {
    usize::try_from(count).expect("what is in memory can be counted there")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(log: u64, first: u64, count: u32, bytes: usize) -> Run {
        Run {
            log: LogId::new(log),
            first: Position::new(first),
            count,
            time: Timestamp::new(first),
            bytes_before: 0,
            records: Bytes::from(vec![7; bytes]),
            offset: Some(9),
        }
    }

    fn suffix(runs: &[(u64, u64, u32, usize)]) -> Suffix {
        let mut suffix = Suffix::default();
        for (entry, (log, first, count, bytes)) in (1..).zip(runs) {
            suffix.push(EntryIndex::new(entry), run(*log, *first, *count, *bytes));
        }
        suffix
    }

    fn is_here(suffix: &Suffix, log: u64, at: usize) -> bool {
        matches!(suffix.runs(LogId::new(log)).unwrap()[at].records, HeldRecords::Here(_))
    }

    #[test]
    fn only_what_redb_holds_is_let_go() {
        let mut suffix = suffix(&[(1, 0, 2, 100), (2, 0, 1, 100), (1, 2, 1, 100)]);
        assert!(!suffix.evict(0, 10), "nothing is flushed");
        assert_eq!(suffix.first(LogId::new(1)), Some(Position::ZERO));
        suffix.mark_flushed(2);
        assert!(!suffix.evict(0, 10));
        assert_eq!(suffix.first(LogId::new(1)), Some(Position::new(2)));
        assert_eq!(suffix.first(LogId::new(2)), None);
        assert_eq!(suffix.held_bytes(), 100 + RUN_OVERHEAD_BYTES);
    }

    #[test]
    fn letting_go_happens_in_short_steps() {
        let mut suffix = suffix(&[(1, 0, 1, 100), (1, 1, 1, 100), (1, 2, 1, 100)]);
        suffix.mark_flushed(3);
        assert!(suffix.evict(0, 2));
        assert!(!suffix.evict(0, 2));
        assert_eq!((suffix.held_bytes(), suffix.end()), (0, 3));
    }

    #[test]
    fn bodies_are_dropped_oldest_first_and_say_where_they_came_from() {
        let mut suffix = suffix(&[(1, 0, 1, 100), (1, 1, 1, 100), (1, 2, 1, 100)]);
        suffix.drop_bodies(150, 10);
        assert!(!is_here(&suffix, 1, 0) && !is_here(&suffix, 1, 1) && is_here(&suffix, 1, 2));
        let batch = suffix.batch(0, 3, 2);
        assert_eq!(batch.len(), 2);
        let HeldRecords::InJournal { offset, length } = batch[0].records else { panic!("dropped") };
        assert_eq!((offset, length), (9, 100));
        suffix.mark_flushed(1);
        suffix.drop_bodies(50, 10);
        assert!(!is_here(&suffix, 1, 2));
        suffix.mark_flushed(3);
        assert!(!suffix.evict(0, 10));
        assert_eq!((suffix.held_bytes(), suffix.unflushed_body_bytes), (0, 0));
    }

    #[test]
    fn what_stands_in_no_payload_stays_until_it_is_flushed() {
        let mut suffix = Suffix::default();
        suffix.push(EntryIndex::new(1), Run { offset: None, ..run(0, 0, 1, 100) });
        suffix.push(EntryIndex::new(2), run(1, 0, 1, 100));
        suffix.drop_bodies(0, 10);
        assert!(is_here(&suffix, 0, 0) && !is_here(&suffix, 1, 0));
        suffix.mark_flushed(1);
        assert!(!suffix.evict(0, 10), "the other one is not flushed");
        assert_eq!(suffix.first(LogId::new(0)), None);
        suffix.mark_flushed(2);
        assert!(!suffix.evict(0, 10));
        assert_eq!((suffix.held_bytes(), suffix.unflushed_body_bytes), (0, 0));
    }

    #[test]
    fn a_position_is_found_within_its_run() {
        let suffix = suffix(&[(1, 4, 2, 10), (1, 6, 3, 10)]);
        let runs = suffix.runs(LogId::new(1)).unwrap();
        let places = [4, 5, 6, 8].map(|at| place(runs, Position::new(at)));
        assert_eq!(places, [0, 0, 1, 1]);
    }
}
