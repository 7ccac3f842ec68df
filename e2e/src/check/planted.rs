//! Services with a bug planted in them, and whether the checks find it.
//!
//! A tiny log service in memory is driven by several callers whose calls overlap, and crashes now and
//! then; a seed decides everything. The sound one must pass with every seed. Each planted bug must be
//! found with every seed in which it showed, and it must show in most.

use super::*;
use crate::chance::Chance;
use crate::history::{Action, Appended, Call, Final, Level, Moment, Outcome, Page, Stamp, Value};
use std::collections::BTreeSet;

const LOG: &str = "orders";
const PRODUCERS: usize = 4;
const READERS: usize = 2;
const STEPS: u64 = 2_000;
const SEEDS: u64 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    AcknowledgeBeforeWrite,
    RetryStoredTwice,
    StaleReadCalledLinearizable,
}

/// A log on one disk: what lies beyond `durable` is lost in a crash.
struct Service {
    bug: Bug,
    records: Vec<(Value, Stamp)>,
    durable: usize,
}

impl Service {
    fn append(&mut self, value: Value, stamp: &Stamp) -> usize {
        let known = self.records.iter().position(|(_, other)| other == stamp);
        if let Some(position) = known.filter(|_| self.bug != Bug::RetryStoredTwice) {
            return position;
        }
        self.records.push((value, stamp.clone()));
        self.records.len() - 1
    }

    fn may_acknowledge(&self, position: usize) -> bool {
        position < self.durable || self.bug == Bug::AcknowledgeBeforeWrite
    }

    /// What is durable is also what may be shown; a stale reader sees a little less of it.
    fn visible(&self, chance: &mut Chance) -> usize {
        let stale =
            usize::from(self.bug == Bug::StaleReadCalledLinearizable && chance.is_one_in(20));
        self.durable.saturating_sub(stale * 3)
    }

    fn cell(&self, position: usize) -> (u64, Value) {
        (position as u64, self.records[position].0)
    }
}

/// A call under way.
enum Pending {
    Nothing,
    Asked { at: Moment },
    Stored { at: Moment, position: usize },
    Shown { at: Moment, page: Page },
}

struct Producer {
    sequence: u64,
    pending: Pending,
}

struct Run {
    chance: Chance,
    service: Service,
    producers: Vec<Producer>,
    readers: Vec<Pending>,
    clock: u64,
    history: History,
}

impl Run {
    fn of(bug: Bug, seed: u64) -> History {
        let producer = || Producer { sequence: 0, pending: Pending::Nothing };
        let mut run = Self {
            chance: Chance::new(seed),
            service: Service { bug, records: Vec::new(), durable: 0 },
            producers: (0..PRODUCERS).map(|_| producer()).collect(),
            readers: (0..READERS).map(|_| Pending::Nothing).collect(),
            clock: 0,
            history: History::default(),
        };
        for _ in 0..STEPS {
            run.step();
        }
        run.service.durable = run.service.records.len();
        run.crash();
        run.finish();
        run.history
    }

    fn step(&mut self) {
        self.clock += 1;
        if self.chance.is_one_in(300) {
            self.crash();
        } else if self.chance.is_one_in(3) {
            self.service.durable = self.service.records.len();
        } else {
            match self.chance.index(PRODUCERS + READERS) {
                who if who < PRODUCERS => self.produce(who),
                who => self.read(who - PRODUCERS),
            }
        }
    }

    fn produce(&mut self, who: usize) {
        let now = Moment(self.clock);
        let (value, stamp) = self.batch(who);
        let producer = &mut self.producers[who];
        match producer.pending {
            Pending::Asked { at } => {
                let position = self.service.append(value, &stamp);
                producer.pending = Pending::Stored { at, position };
            }
            Pending::Stored { position, .. } if !self.service.may_acknowledge(position) => {}
            Pending::Stored { at, position } => {
                producer.sequence += 1;
                producer.pending = Pending::Nothing;
                let appended = Appended { first: position as u64, next: position as u64 + 1 };
                self.record_append(who, at, (value, stamp), Outcome::Done(appended));
            }
            Pending::Nothing | Pending::Shown { .. } => {
                producer.pending = Pending::Asked { at: now }
            }
        }
    }

    fn read(&mut self, who: usize) {
        let now = Moment(self.clock);
        self.readers[who] = match std::mem::replace(&mut self.readers[who], Pending::Nothing) {
            Pending::Asked { at } => {
                let tail = self.service.visible(&mut self.chance);
                let records = (0..tail).map(|position| self.service.cell(position)).collect();
                Pending::Shown { at, page: Page { records, tail: Some(tail as u64), replica: 1 } }
            }
            Pending::Shown { at, page } => {
                let (level, outcome) = (Level::Linearizable, Outcome::Done(page));
                let action = Action::Read { log: LOG.to_owned(), from: 0, level, outcome };
                self.record(&format!("reader {who}"), at, action);
                Pending::Nothing
            }
            Pending::Nothing | Pending::Stored { .. } => Pending::Asked { at: now },
        };
    }

    /// What was not durable is gone, and whoever waits for an answer will not get one.
    fn crash(&mut self) {
        self.service.records.truncate(self.service.durable);
        for who in 0..PRODUCERS {
            let pending = std::mem::replace(&mut self.producers[who].pending, Pending::Nothing);
            if let Pending::Asked { at } | Pending::Stored { at, .. } = pending {
                let reason = "the service crashed".to_owned();
                self.record_append(who, at, self.batch(who), Outcome::Unknown { reason });
            }
        }
        self.readers.fill_with(|| Pending::Nothing);
        self.record("tester", Moment(self.clock), Action::Fault { kind: "crash".to_owned() });
    }

    fn finish(&mut self) {
        let count = self.service.records.len();
        let records = (0..count).map(|position| self.service.cell(position)).collect();
        let holds = Final { replica: 1, trim: 0, tail: count as u64, records };
        self.record("tester", Moment(self.clock), Action::Final { log: LOG.to_owned(), holds });
        for kind in replicas::COMPARED {
            let (name, value) = (kind.to_owned(), String::new());
            let fact = Action::Fact { replica: 1, name, value };
            self.record("tester", Moment(self.clock), fact);
        }
    }

    fn batch(&self, who: usize) -> (Value, Stamp) {
        let sequence = self.producers[who].sequence;
        let value = Value::of(format!("{who} {sequence}").as_bytes());
        (value, Stamp { producer: who.to_string(), epoch: 0, sequence })
    }

    fn record_append(
        &mut self,
        who: usize,
        asked: Moment,
        (value, stamp): (Value, Stamp),
        outcome: Outcome<Appended>,
    ) {
        let (values, stamp) = (vec![value], Some(stamp));
        let action = Action::Append { log: LOG.to_owned(), values, stamp, outcome };
        self.record(&format!("producer {who}"), asked, action);
    }

    fn record(&mut self, who: &str, asked: Moment, action: Action) {
        let answered = Moment(self.clock);
        self.history.calls.push(Call { who: who.to_owned(), asked, answered, action });
    }
}

/// The checks that find the bug, and in how many of the runs.
fn found(bug: Bug) -> (BTreeSet<Check>, u64) {
    let mut checks = BTreeSet::new();
    let mut runs = 0;
    for seed in 0..SEEDS {
        if let Verdict::Failed(findings) = check(&Run::of(bug, seed), &Coverage::default()) {
            checks.extend(findings.iter().map(|finding| finding.check));
            runs += 1;
        }
    }
    (checks, runs)
}

#[test]
fn a_sound_service_passes_with_every_seed() {
    for seed in 0..SEEDS {
        let required = Coverage {
            faults: BTreeMap::from([("crash".to_owned(), 1)]),
            replicas: 1,
            appends: 10,
            reads: 10,
        };
        let summary = check(&Run::of(Bug::None, seed), &required).assert_passed();
        assert!(summary.done > 100, "seed {seed}: {summary}");
    }
}

#[test]
fn a_service_that_acknowledges_before_it_writes_is_found() {
    let (checks, runs) = found(Bug::AcknowledgeBeforeWrite);
    assert!(checks.contains(&Check::NoLoss), "{checks:?}");
    assert!(runs > SEEDS / 2, "found in {runs} of {SEEDS} runs");
}

#[test]
fn a_service_that_stores_a_retried_batch_twice_is_found() {
    let (checks, runs) = found(Bug::RetryStoredTwice);
    assert!(checks.contains(&Check::NoDuplicate), "{checks:?}");
    assert!(runs > SEEDS / 2, "found in {runs} of {SEEDS} runs");
}

#[test]
fn a_service_that_calls_a_stale_read_linearizable_is_found() {
    let (checks, runs) = found(Bug::StaleReadCalledLinearizable);
    assert!(checks.contains(&Check::FreshReads), "{checks:?}");
    assert!(runs > SEEDS / 2, "found in {runs} of {SEEDS} runs");
}
