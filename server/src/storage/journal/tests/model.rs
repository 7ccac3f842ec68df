//! The journal against a plain map, with any calls in any order, restarts and power cuts included.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

#[derive(Debug, Clone)]
enum Move {
    Append(Vec<usize>),
    Vote,
    Truncate(u64),
    Purge(u64),
    Jump,
    Committed,
    Applied,
    Step,
    Mark,
    Reopen,
    Kill,
    PowerCut,
    Read(u64, u64, u64),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => prop::collection::vec(prop_oneof![0..40_usize, 200..3000_usize], 1..6).prop_map(Move::Append),
        2 => Just(Move::Vote),
        2 => (0..8_u64).prop_map(Move::Truncate),
        1 => (0..30_u64).prop_map(Move::Purge),
        1 => Just(Move::Jump),
        2 => Just(Move::Committed),
        2 => Just(Move::Applied),
        8 => Just(Move::Step),
        1 => Just(Move::Mark),
        1 => Just(Move::Reopen),
        1 => Just(Move::Kill),
        1 => Just(Move::PowerCut),
        4 => (0..60_u64, 0..20_u64, 0..5000_u64).prop_map(|(a, b, c)| Move::Read(a, b, c)),
    ]
}

struct Run {
    disk: FaultDisk,
    bench: Bench,
    story: Story,
    term: u64,
}

impl Run {
    fn held(&self) -> &Held {
        self.story.states.last().unwrap()
    }

    fn op(&self, step: &Move) -> Option<Op> {
        let held = self.held();
        let next = held.next();
        let first = held.purged.map_or(0, |id| id.index.get() + 1);
        match step {
            Move::Append(lengths) => {
                let entries = (next..).zip(lengths);
                Some(Op::Append(entries.map(|(i, length)| entry(self.term, i, *length)).collect()))
            }
            Move::Vote => Some(Op::Vote(Vote { term: self.term, leader: 2, committed: false })),
            Move::Truncate(back) => {
                let until = next.saturating_sub(*back).max(first);
                Some(Op::Truncate(until.checked_sub(1)))
            }
            Move::Purge(back) => next.checked_sub(*back + 1).filter(|i| *i >= first).map(Op::Purge),
            Move::Jump => Some(Op::Purge(next + 3)),
            Move::Committed => Some(Op::Committed),
            Move::Step => Some(Op::Step),
            Move::Mark => Some(Op::Mark),
            Move::Applied | Move::Reopen | Move::Kill | Move::PowerCut | Move::Read(..) => None,
        }
    }

    fn play(&mut self, step: &Move) -> Result<(), TestCaseError> {
        if let Some(op) = self.op(step) {
            self.term += u64::from(matches!(op, Op::Truncate(_) | Op::Vote(_)));
            self.story.play(&mut self.bench, &op).unwrap();
            return Ok(());
        }
        match step {
            Move::Read(back, count, bytes_max) => return self.read(*back, *count, *bytes_max),
            Move::Applied => {
                let last = self.held().last.map_or(0, |id| id.index.get());
                self.bench.journal.note_applied(last);
            }
            Move::Reopen => {
                self.bench.step().unwrap();
                self.bench.writer.mark().unwrap();
                self.restart(self.disk.kill())?;
            }
            Move::Kill => self.restart(self.disk.kill())?,
            Move::PowerCut => self.restart(self.disk.power_cut())?,
            // There is nothing to purge.
            Move::Append(_)
            | Move::Vote
            | Move::Truncate(_)
            | Move::Purge(_)
            | Move::Jump
            | Move::Committed
            | Move::Step
            | Move::Mark => {}
        }
        Ok(())
    }

    fn read(&self, back: u64, count: u64, bytes_max: u64) -> Result<(), TestCaseError> {
        let held = self.held();
        let from = held.next().saturating_sub(back);
        let first = held.purged.map_or(0, |id| id.index.get() + 1);
        let wanted: Vec<Entry> = if from < first {
            Vec::new()
        } else {
            held.entries.range(from..from + count).map(|(_, entry)| entry.clone()).collect()
        };
        let journal = &self.bench.journal;
        prop_assert_eq!(&journal.read(from, from + count).unwrap(), &wanted);
        let limited = journal.read_limited(from, from + count, bytes_max).unwrap();
        prop_assert!(wanted.starts_with(&limited));
        prop_assert!(limited.is_empty() == wanted.is_empty());
        let bytes: usize = limited.iter().skip(1).map(|entry| entry.body.payload_bytes()).sum();
        prop_assert!(u64::try_from(bytes).unwrap() <= bytes_max);
        if let Some(quick) = journal.read_suffix(from, from + count, bytes_max) {
            prop_assert_eq!(quick, limited);
        }
        for index in from..from + count {
            prop_assert_eq!(journal.entry_id(index), held.id(index));
        }
        Ok(())
    }

    fn restart(&mut self, disk: FaultDisk) -> Result<(), TestCaseError> {
        let acknowledged = self.story.acknowledged.load(Ordering::SeqCst);
        self.bench = Bench::open(&disk, options());
        self.disk = disk;
        let held = self.bench.held();
        let checked = self.story.check(&held, acknowledged);
        prop_assert_eq!(checked, Ok(()));
        let committed = self.bench.journal.committed().map(|id| id.index);
        prop_assert!(committed <= held.last.map(|id| id.index));
        // What is found is where the story goes on.
        self.story = Story::new();
        self.story.states = vec![held];
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, rng_seed: RngSeed::Fixed(20), ..ProptestConfig::default() })]

    #[test]
    fn a_journal_is_a_map_that_survives(moves in prop::collection::vec(any_move(), 1..80), seed: u64) {
        let disk = FaultDisk::new(seed);
        let bench = Bench::open(&disk, options());
        let mut run = Run { disk, bench, story: Story::new(), term: 1 };
        for step in &moves {
            run.play(step)?;
            prop_assert_eq!(run.bench.journal.last(), run.held().last);
            prop_assert_eq!(run.bench.journal.purged(), run.held().purged);
        }
        run.bench.step().unwrap();
        prop_assert_eq!(&run.bench.held(), run.held());
    }
}
