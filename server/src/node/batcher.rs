//! Many waiting appends, one command; never lingers.
//!
//! While fewer than a small number of proposals are in flight, what waits is proposed at once; while
//! as many are, arrivals gather in the queue and nobody is woken for them. So one caller alone pays
//! one round, and a thousand share rounds. Every append that enters gets exactly one answer, and
//! "not done" is only answered to what was certainly not proposed.
//!
//! Not here: what may enter (`append` and its permits), and what the outcome is (the machine).

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::error::{AppendError, Unserved};
use super::permit::Permit;
use super::propose::{TIMED_OUT_RETRY, settle};
use crate::machine::{AppendItem, AppendOutcome, Appended};
use crate::metrics::{AppendStage, Metrics};
use crate::raft::ProposeError;
use crate::world::{Clock, Instant};

/// How the batcher gathers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatcherOptions {
    /// So many proposals may be in flight before arrivals gather.
    pub proposals_max: usize,
    /// A command carries at most so many bytes, or one append.
    pub command_bytes_max: usize,
    /// A command carries at most so many appends.
    pub command_appends_max: usize,
    /// An append is given up this long after it was admitted: before it is proposed as not done,
    /// after that as unknown.
    pub append_deadline: Duration,
}

impl Default for BatcherOptions {
    fn default() -> Self {
        Self {
            proposals_max: 2,
            command_bytes_max: 1 << 20,
            command_appends_max: 4_096,
            append_deadline: Duration::from_secs(5),
        }
    }
}

/// A proposal has at least this long, however old the appends in it are.
const PROPOSAL_TIME_MIN: Duration = Duration::from_secs(1);

/// What became of each append of a command, in its order.
pub(super) type Outcomes = Vec<AppendOutcome>;

/// Proposes commands made of append items.
pub(super) trait Propose: Send + Sync + 'static {
    /// Proposes all items as one command and waits for what became of each.
    fn propose(
        &self,
        items: &[AppendItem],
    ) -> impl Future<Output = Result<Outcomes, ProposeError>> + Send;

    /// Ends when it is worth trying again after [`ProposeError::NotReady`].
    fn ready(&self) -> impl Future<Output = ()> + Send;
}

/// One append that waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The append, encoded.
    pub(super) item: AppendItem,
    /// Who waits.
    pub(super) caller: Caller,
}

/// Who waits for the answer to an append.
#[derive(Debug)]
pub(super) struct Caller {
    /// Room for it, held until it is answered.
    pub(super) permit: Permit,
    /// When it was admitted.
    pub(super) admitted: Instant,
    /// Where the answer goes.
    pub(super) answer: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Caller {
    fn answer(self, answer: Result<Appended, AppendError>) {
        drop(self.permit);
        // A caller that went away meanwhile does not want to know.
        self.answer.send(answer).ok();
    }
}

/// Where appends enter. Unbounded by itself: every entry holds a permit, and those are bounded.
pub(super) type Queue = mpsc::UnboundedSender<Waiting>;

/// Whether proposals get anywhere, for those who decide about admitting more.
#[derive(Debug)]
pub(super) struct Pulse {
    clock: Clock,
    start: Instant,
    proposals: AtomicU64,
    /// Milliseconds from `start` to when the last proposal ended, or the first one began.
    moved: AtomicU64,
}

impl Pulse {
    pub(super) fn new(clock: Clock) -> Self {
        let start = clock.now();
        Self { clock, start, proposals: AtomicU64::new(0), moved: AtomicU64::new(0) }
    }

    /// Proposals are in flight, and for so long none of them ended.
    pub(super) fn still_for(&self) -> Duration {
        if self.proposals.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        self.clock.since(self.start).saturating_sub(moved)
    }

    fn began(&self) {
        if self.proposals.fetch_add(1, Ordering::Relaxed) == 0 {
            self.moved_now();
        }
    }

    fn ended(&self) {
        self.proposals.fetch_sub(1, Ordering::Relaxed);
        self.moved_now();
    }

    fn moved_now(&self) {
        let millis = u64::try_from(self.clock.since(self.start).as_millis()).unwrap_or(u64::MAX);
        self.moved.store(millis, Ordering::Relaxed);
    }
}

/// The one task that turns waiting appends into commands.
pub(super) struct Batcher<P> {
    proposer: Arc<P>,
    options: BatcherOptions,
    clock: Clock,
    metrics: Metrics,
    pulse: Arc<Pulse>,
    queue: mpsc::UnboundedReceiver<Waiting>,
    /// Taken from the queue, but did not fit into the last command.
    carried: VecDeque<Waiting>,
}

impl<P: Propose> Batcher<P> {
    /// A batcher and the queue that feeds it.
    pub(super) fn new(
        proposer: P,
        options: BatcherOptions,
        pulse: Arc<Pulse>,
        metrics: Metrics,
    ) -> (Queue, Self) {
        let (entry, queue) = mpsc::unbounded_channel();
        let batcher = Self {
            proposer: Arc::new(proposer),
            clock: pulse.clock.clone(),
            options,
            metrics,
            pulse,
            queue,
            carried: VecDeque::new(),
        };
        (entry, batcher)
    }

    /// Runs until every queue handle is gone and everything that entered was answered.
    pub(super) async fn run(mut self) {
        let mut proposals = FuturesUnordered::new();
        loop {
            while proposals.len() < self.options.proposals_max {
                let Some(command) = self.gather() else { break };
                proposals.push(self.proposal(command));
                self.metrics.append_queue(self.queue_len(), to_u64(proposals.len()));
            }
            if proposals.len() >= self.options.proposals_max {
                // Full: nobody wakes this task for an arrival until a proposal has ended.
                proposals.next().await;
                continue;
            }
            tokio::select! {
                biased;
                Some(()) = proposals.next(), if !proposals.is_empty() => {}
                arrival = self.queue.recv() => match arrival {
                    Some(waiting) => {
                        self.carried.push_back(waiting);
                        // Lets those who are ready to append do so: they share this command.
                        tokio::task::yield_now().await;
                    }
                    None if proposals.is_empty() => return,
                    None => { proposals.next().await; }
                },
            }
        }
    }

    fn queue_len(&self) -> u64 {
        to_u64(self.queue.len() + self.carried.len())
    }

    /// Takes what waits, up to the limits of one command. None: nothing waits.
    fn gather(&mut self) -> Option<Command> {
        let now = self.clock.now();
        let mut command = Command::default();
        while command.items.len() < self.options.command_appends_max {
            let next = self.carried.pop_front().or_else(|| self.queue.try_recv().ok());
            let Some(waiting) = next else { break };
            if waiting.caller.answer.is_closed() {
                continue;
            }
            if now.saturating_duration_since(waiting.caller.admitted)
                >= self.options.append_deadline
            {
                let late = Unserved::TimedOut { retry_after: TIMED_OUT_RETRY };
                waiting.caller.answer(Err(late.into()));
                continue;
            }
            let bytes = command.bytes + waiting.item.encoded_bytes();
            if !command.items.is_empty() && bytes > self.options.command_bytes_max {
                self.carried.push_front(waiting);
                break;
            }
            command.add(waiting);
        }
        (!command.items.is_empty()).then_some(command)
    }

    /// Proposes a command and answers everybody in it.
    fn proposal(&self, command: Command) -> impl Future<Output = ()> + use<P> {
        let oldest =
            command.callers.first().map_or_else(|| self.clock.now(), |first| first.admitted);
        let deadline =
            (oldest + self.options.append_deadline).max(self.clock.after(PROPOSAL_TIME_MIN));
        self.metrics.batch_proposed(to_u64(command.items.len()), to_u64(command.bytes));
        self.metrics.append_stage(AppendStage::Proposed, self.clock.since(oldest));
        self.pulse.began();
        let (proposer, clock) = (Arc::clone(&self.proposer), self.clock.clone());
        let (pulse, metrics) = (Arc::clone(&self.pulse), self.metrics.clone());
        async move {
            let began = clock.now();
            let attempt = || proposer.propose(&command.items);
            let end = settle(&clock, deadline, attempt, || proposer.ready()).await;
            metrics.append_stage(AppendStage::Applied, clock.since(began));
            pulse.ended();
            command.answer(end);
        }
    }
}

/// Appends that become one command, and who waits for them.
#[derive(Default)]
struct Command {
    items: Vec<AppendItem>,
    bytes: usize,
    callers: Vec<Caller>,
}

impl Command {
    fn add(&mut self, waiting: Waiting) {
        self.bytes += waiting.item.encoded_bytes();
        self.items.push(waiting.item);
        self.callers.push(waiting.caller);
    }

    fn answer(self, end: Result<Outcomes, Unserved>) {
        match end {
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), self.callers.len(), "each append has one outcome");
                for (caller, outcome) in self.callers.into_iter().zip(outcomes) {
                    caller.answer(outcome.map_err(AppendError::Refused));
                }
            }
            Err(unserved) => {
                for caller in self.callers {
                    caller.answer(Err(unserved.clone().into()));
                }
            }
        }
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use client::types::{Batch, BatchLimits, LogId, LogName, NewRecord, Position, Timestamp};
    use tokio::sync::Semaphore;

    use super::super::permit::{Permits, Room};
    use super::*;
    use crate::machine::{AppendTarget, Rejection};

    /// A group that decides when it is let: it notes how many appends each command carried.
    struct Group {
        commands: Arc<Mutex<Vec<usize>>>,
        may_decide: Arc<Semaphore>,
        verdict: fn(usize) -> AppendOutcome,
    }

    impl Propose for Group {
        async fn propose(&self, items: &[AppendItem]) -> Result<Outcomes, ProposeError> {
            self.commands.lock().unwrap().push(items.len());
            self.may_decide.acquire().await.unwrap().forget();
            Ok((0..items.len()).map(self.verdict).collect())
        }

        async fn ready(&self) {}
    }

    struct Fixture {
        queue: Queue,
        permits: Permits,
        commands: Arc<Mutex<Vec<usize>>>,
        may_decide: Arc<Semaphore>,
        clock: Clock,
    }

    type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

    impl Fixture {
        fn new(options: BatcherOptions, verdict: fn(usize) -> AppendOutcome) -> Self {
            let commands = Arc::new(Mutex::default());
            let may_decide = Arc::new(Semaphore::new(0));
            let group = Group {
                commands: Arc::clone(&commands),
                may_decide: Arc::clone(&may_decide),
                verdict,
            };
            let clock = Clock::real();
            let pulse = Arc::new(Pulse::new(clock.clone()));
            let (queue, batcher) = Batcher::new(group, options, pulse, Metrics::new());
            drop(tokio::spawn(batcher.run()));
            let permits = Permits::new(Room { bytes_max: u64::MAX, count_max: u64::MAX });
            Self { queue, permits, commands, may_decide, clock }
        }

        fn append(&self, body_bytes: usize) -> Answer {
            self.append_admitted(body_bytes, self.clock.now())
        }

        fn append_admitted(&self, body_bytes: usize, admitted: Instant) -> Answer {
            let record = NewRecord::new(vec![7; body_bytes]);
            let batch = Batch::single(&record, &BatchLimits::default()).unwrap();
            let target = AppendTarget::unconditional(LogName::new("log").unwrap());
            let (answer, receiver) = oneshot::channel();
            let permit = self.permits.admit(1).unwrap();
            let caller = Caller { permit, admitted, answer };
            self.queue.send(Waiting { item: AppendItem::encode(&target, &batch), caller }).unwrap();
            receiver
        }

        async fn proposed(&self, count: usize) -> Vec<usize> {
            while self.commands.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
            self.commands.lock().unwrap().clone()
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the group may refuse as well")]
    fn stored(index: usize) -> AppendOutcome {
        let first = Position::new(u64::try_from(index).unwrap());
        let (next, log) = (first.advance(1), LogId::new(1));
        Ok(Appended {
            log,
            first,
            next,
            tail: next,
            time: Timestamp::EPOCH,
            replayed: false,
            sealed: false,
            last_sequence: None,
        })
    }

    #[tokio::test]
    async fn a_lone_append_is_proposed_at_once_and_what_comes_meanwhile_shares_a_command() {
        let options = BatcherOptions { proposals_max: 1, ..BatcherOptions::default() };
        let fixture = Fixture::new(options, stored);
        let first = fixture.append(10);
        assert_eq!(fixture.proposed(1).await, [1]);
        let others: Vec<_> = (0..50).map(|_| fixture.append(10)).collect();
        fixture.may_decide.add_permits(2);
        assert!(first.await.unwrap().is_ok());
        for (index, other) in others.into_iter().enumerate() {
            assert_eq!(other.await.unwrap().unwrap().first.get(), u64::try_from(index).unwrap());
        }
        assert_eq!(fixture.proposed(2).await, [1, 50]);
        assert_eq!(fixture.permits.count(), 0);
    }

    #[tokio::test]
    async fn a_command_is_bounded_in_bytes_and_in_appends() {
        let options = BatcherOptions {
            proposals_max: 1,
            command_bytes_max: 1_000,
            command_appends_max: 3,
            ..BatcherOptions::default()
        };
        let fixture = Fixture::new(options, stored);
        let mut answers = vec![fixture.append(1)];
        fixture.proposed(1).await;
        // One that is larger than a command may be goes alone.
        answers.extend([400, 400, 5_000, 1, 1, 1, 1].map(|bytes| fixture.append(bytes)));
        fixture.may_decide.add_permits(5);
        for answer in answers {
            assert!(answer.await.unwrap().is_ok());
        }
        assert_eq!(fixture.proposed(5).await, [1, 2, 1, 3, 1]);
    }

    #[tokio::test]
    async fn what_waited_too_long_is_certainly_not_done_and_who_went_away_is_left_out() {
        let options = BatcherOptions { proposals_max: 1, ..BatcherOptions::default() };
        let fixture = Fixture::new(options, stored);
        let first = fixture.append(1);
        fixture.proposed(1).await;
        let long_ago = fixture.clock.now().checked_sub(Duration::from_mins(1)).unwrap();
        let late = fixture.append_admitted(1, long_ago);
        drop(fixture.append(1));
        let last = fixture.append(1);
        fixture.may_decide.add_permits(2);
        assert!(first.await.unwrap().is_ok());
        let retry_after = TIMED_OUT_RETRY;
        let error = AppendError::Unserved(Unserved::TimedOut { retry_after });
        assert_eq!(late.await.unwrap(), Err(error));
        assert!(last.await.unwrap().is_ok());
        assert_eq!(fixture.proposed(2).await, [1, 1]);
    }

    #[tokio::test]
    async fn a_refusal_reaches_the_one_who_was_refused() {
        let refuse_odd = |index: usize| match index % 2 {
            0 => stored(index),
            _ => Err(Rejection::UnknownLog),
        };
        let fixture = Fixture::new(BatcherOptions::default(), refuse_odd);
        let answers: Vec<_> = (0..4).map(|_| fixture.append(1)).collect();
        fixture.may_decide.add_permits(4);
        let refused = AppendError::Refused(Rejection::UnknownLog);
        let mut seen = Vec::new();
        for answer in answers {
            seen.push(answer.await.unwrap());
        }
        assert!(seen[0].is_ok() && seen[2].is_ok());
        assert_eq!((&seen[1], &seen[3]), (&Err(refused.clone()), &Err(refused)));
    }
}
