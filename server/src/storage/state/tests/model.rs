//! Random orders of appends, flushes, trims, deletions and restarts, against logs that are plain vectors.

use std::collections::BTreeMap;

use client::types::{LogId, LogName, Position};
use proptest::prelude::*;

use super::scene::{Scene, bodies, by_hand};
use crate::storage::state::{Level, ReadLimit, StateOptions};

#[derive(Debug, Clone)]
enum Step {
    Append { log: u8, count: u8, length: u16 },
    Flush,
    Trim { log: u8, part: u8 },
    Delete { log: u8 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![4 => 0_u16..300, 2 => 900_u16..1100, 1 => 0_u16..40_000];
    prop_oneof![
        12 => (0_u8..3, 1_u8..80, length)
            .prop_map(|(log, count, length)| Step::Append { log, count, length }),
        5 => Just(Step::Flush),
        1 => (0_u8..3, 0_u8..=100).prop_map(|(log, part)| Step::Trim { log, part }),
        1 => (0_u8..3).prop_map(|log| Step::Delete { log }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Default)]
struct NaiveLog {
    id: Option<LogId>,
    trim: u64,
    bodies: Vec<Vec<u8>>,
}

struct Pair {
    scene: Scene,
    logs: BTreeMap<u8, NaiveLog>,
    options: StateOptions,
}

impl Pair {
    fn take(mut self, step: &Step) -> Self {
        match *step {
            Step::Append { log, count, length } => self.append(log, count, usize::from(length)),
            Step::Flush => self.scene.flush(),
            Step::Trim { log, part } => self.trim(log, part),
            Step::Delete { log } => {
                if self.logs.remove(&log).is_some() {
                    self.scene.delete(&name(log));
                }
            }
            Step::Reopen => self.scene = self.scene.reopened(self.options),
        }
        self
    }

    fn append(&mut self, log: u8, count: u8, length: usize) {
        let naive = self.logs.entry(log).or_default();
        if naive.id.is_none() {
            naive.id = Some(self.scene.create(&name(log)));
        }
        let tail = u64::try_from(naive.bodies.len()).unwrap();
        let new = bodies(tail..tail + u64::from(count), length);
        self.scene.append(&name(log), &new);
        naive.bodies.extend(new);
    }

    fn trim(&mut self, log: u8, part: u8) {
        let Some(naive) = self.logs.get_mut(&log) else { return };
        let tail = u64::try_from(naive.bodies.len()).unwrap();
        let to = naive.trim + (tail - naive.trim) * u64::from(part) / 100;
        naive.trim = to;
        self.scene.trim(&name(log), to);
    }

    fn check(&self) {
        assert_eq!(self.scene.state.views("", None, 9).len(), self.logs.len());
        for (log, naive) in &self.logs {
            let id = naive.id.unwrap();
            let view = self.scene.state.view(&LogName::new(&name(*log)).unwrap()).unwrap();
            assert_eq!((view.id, view.trim.get()), (id, naive.trim));
            for limit in [ReadLimit { records_max: 7, bytes_max: 2000 }, super::EVERYTHING] {
                self.check_reads(id, naive, limit);
            }
        }
    }

    fn check_reads(&self, id: LogId, naive: &NaiveLog, limit: ReadLimit) {
        let mut next = Position::new(naive.trim);
        for body in &naive.bodies[usize::try_from(naive.trim).unwrap()..] {
            let page = self.scene.state.read(id, next, limit, Level::Durable).unwrap();
            let first = page.records.first().unwrap();
            assert_eq!((first.position, first.body.as_ref()), (next, body.as_slice()));
            assert!(page.records.len() <= limit.records_max);
            let until = usize::try_from(page.next.get()).unwrap();
            let from = usize::try_from(next.get()).unwrap();
            let read = page.records.iter().map(|record| record.body.as_ref());
            assert!(read.eq(naive.bodies[from..until].iter().map(Vec::as_slice)));
            next = if limit.records_max > 7 { page.next } else { next.advance(1) };
            if next == page.tail {
                return;
            }
            if limit.records_max > 7 {
                return self.check_reads_from(id, naive, next);
            }
        }
    }

    fn check_reads_from(&self, id: LogId, naive: &NaiveLog, from: Position) {
        let rest = self.scene.bodies(id, from.get());
        assert_eq!(rest, naive.bodies[usize::try_from(from.get()).unwrap()..]);
    }
}

fn name(log: u8) -> String {
    format!("log/{log}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_reads_like_a_vector(
        steps in prop::collection::vec(step(), 1..40),
        suffix_bytes_max in prop_oneof![Just(0_usize), Just(20_000), Just(usize::MAX)],
        unflushed_bytes_max in prop_oneof![Just(30_000_usize), Just(usize::MAX / 2)],
    ) {
        let options = StateOptions { suffix_bytes_max, unflushed_bytes_max, ..by_hand() };
        let scene = Scene::on_file(options);
        let mut pair = Pair { scene, logs: BTreeMap::new(), options };
        for step in &steps {
            pair = pair.take(step);
        }
        pair.check();
        pair.scene.flush();
        pair.check();
    }
}
