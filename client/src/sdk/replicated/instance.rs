//! What the tasks and callers of one instance share: the state, how far it is, and who waits for outputs.
//!
//! Commands are applied in turns of a few records. Whoever holds the turn can look at state and position as one thing,
//! while queries go on.
//!
//! Not here: where records come from (`applier`), what became of a command that was not seen (`ledger`).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use bytes::Bytes;
use tokio::sync::{Mutex as Turn, Notify, OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;

use super::error::{EndReason, ReplicatedError, ReplicatedFailure};
use super::machine::{CodecError, StateMachine};
use super::tag::{InstanceId, Tag};
use crate::sdk::error::{Error, Outcome};
use crate::sdk::log::Log;
use crate::types::{Generation, LogId, Position, Record};

/// Most records of one turn.
const TURN_RECORDS_MAX: usize = 64;

/// What came of a command.
pub(super) type Verdict<S> = Result<<S as StateMachine>::Output, ReplicatedError>;

/// How far an instance is.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    /// One past the last record that was applied.
    pub(super) applied: Position,
    /// The log is sealed, and everything in it is applied.
    pub(super) is_complete: bool,
    /// Why nothing more is applied.
    pub(super) end: Option<EndReason>,
}

/// What the tasks and callers of one instance share.
pub(super) struct Instance<S: StateMachine> {
    pub(super) id: InstanceId,
    pub(super) log: Log,
    pub(super) log_id: LogId,
    /// The cluster's, at the start.
    pub(super) generation: Option<Generation>,
    state: RwLock<S>,
    turn: Turn<()>,
    reached: watch::Sender<Reached>,
    /// As far as somebody waits for it to come.
    wanted: watch::Sender<Position>,
    waiting: Mutex<HashMap<u64, Waiting<S>>>,
    /// It is known what became of a command.
    settled: Notify,
    /// Bytes of all that was applied.
    bytes: AtomicU64,
    /// When the tail was asked for last, and what it was.
    tail: Turn<Option<(Instant, Position)>>,
}

/// Who waits for an output, and the room that the command takes up.
struct Waiting<S: StateMachine> {
    caller: oneshot::Sender<Verdict<S>>,
    _room: OwnedSemaphorePermit,
}

impl<S: StateMachine> Instance<S> {
    pub(super) fn new(
        log: Log,
        (log_id, generation): (LogId, Option<Generation>),
        state: S,
        applied: Position,
    ) -> Self {
        Self {
            id: InstanceId::random(),
            log,
            log_id,
            generation,
            state: RwLock::new(state),
            turn: Turn::new(()),
            reached: watch::Sender::new(Reached { applied, is_complete: false, end: None }),
            wanted: watch::Sender::new(applied),
            waiting: Mutex::default(),
            settled: Notify::new(),
            bytes: AtomicU64::new(0),
            tail: Turn::new(None),
        }
    }

    /// One past the last record that was applied.
    pub(super) fn applied(&self) -> Position {
        self.reached.borrow().applied
    }

    /// Nothing will come any more.
    pub(super) fn complete(&self) {
        self.reached.send_modify(|reached| reached.is_complete = true);
    }

    /// Whether nothing will come any more.
    pub(super) fn is_complete(&self) -> bool {
        self.reached.borrow().is_complete
    }

    /// Bytes of all that was applied since the start.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How far it is, and tells when it is further.
    pub(super) fn reached(&self) -> watch::Receiver<Reached> {
        self.reached.subscribe()
    }

    /// How far it has to come, and tells when it is further.
    pub(super) fn wanted(&self) -> watch::Receiver<Position> {
        self.wanted.subscribe()
    }

    /// Somebody wants to see what lies before this position.
    pub(super) fn want(&self, position: Position) {
        self.wanted.send_if_modified(|wanted| {
            let is_further = *wanted < position;
            *wanted = position.max(*wanted);
            is_further
        });
    }

    /// Waits until everything before this position is applied.
    pub(super) async fn reach(&self, position: Position) -> Result<(), EndReason> {
        self.want(position);
        let mut reached = self.reached();
        let is_over = |reached: &Reached| reached.end.is_some() || reached.applied >= position;
        // The sender lives as long as this instance.
        let reached = reached.wait_for(is_over).await.map_err(|_| EndReason::Interrupted)?;
        if reached.applied >= position { Ok(()) } else { Err(ended(&reached)) }
    }

    /// Why it has ended, if it has.
    pub(super) fn end_reason(&self) -> Option<EndReason> {
        self.reached.borrow().end.clone()
    }

    /// Waits for its end.
    pub(super) async fn over(&self) {
        // The sender lives as long as this instance.
        drop(self.reached().wait_for(|reached| reached.end.is_some()).await);
    }

    /// Ends it for this reason, if it has not ended yet. Whoever waits for an output is told.
    pub(super) fn end(&self, why: &EndReason) {
        let is_first = self.reached.send_if_modified(|reached| {
            let is_first = reached.end.is_none();
            reached.end.get_or_insert_with(|| why.clone());
            is_first
        });
        if !is_first {
            return;
        }
        let (log, instance) = (self.log.name(), &self.id);
        match why {
            EndReason::Closed => tracing::debug!(%log, %instance, "an instance was closed"),
            EndReason::Undecodable { .. }
            | EndReason::Panicked { .. }
            | EndReason::HistoryLost { .. }
            | EndReason::Call(_)
            | EndReason::Interrupted => {
                tracing::error!(%log, %instance, %why, "a replicated state machine ended");
            }
        }
        self.settle_all(|| ReplicatedError::ended(why.clone(), Outcome::Unknown));
    }

    /// Looks at the state as it is here and now.
    pub(super) fn look<R>(&self, look: impl FnOnce(&S) -> R) -> Result<R, EndReason> {
        let state = self.state.read().expect("whoever changes the state bears its panics");
        match self.end_reason() {
            // Half of a command may be applied.
            Some(why) => Err(why),
            None => Ok(look(&state)),
        }
    }

    /// The log's tail, asked for after this was called. Those who come while another one asks share the next answer.
    pub(super) async fn tail(&self) -> Result<Position, Error> {
        let called = Instant::now();
        let mut last = self.tail.lock().await;
        if let Some((asked, tail)) = *last
            && asked > called
        {
            return Ok(tail);
        }
        let asked = Instant::now();
        let tail = self.log.describe_of(self.log_id).await?.tail;
        *last = Some((asked, tail));
        Ok(tail)
    }

    /// Applies records, which follow what was applied.
    pub(super) async fn apply(&self, records: &[Record]) -> Result<(), EndReason> {
        for records in records.chunks(TURN_RECORDS_MAX) {
            let turn = self.turn.lock().await;
            for record in records {
                // It ends before the turn does: what was applied in this turn is in no position yet.
                self.apply_one(record).inspect_err(|why| self.end(why))?;
            }
            let bytes = records.iter().map(Record::bytes).sum::<usize>();
            self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
            if let Some(last) = records.last() {
                self.reached.send_modify(|reached| reached.applied = last.position.advance(1));
            }
            drop(turn);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn apply_one(&self, record: &Record) -> Result<(), EndReason> {
        let position = record.position;
        let number = match Tag::of(record, &self.id) {
            Tag::Barrier => return Ok(()),
            Tag::Ours(number) => Some(number),
            Tag::Theirs => None,
        };
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            EndReason::Panicked { position, message: text.unwrap_or_default() }
        };
        let decoded = catch_unwind(|| S::decode(&record.body)).map_err(panicked)?;
        let command =
            decoded.map_err(|error| EndReason::Undecodable { position, error: Arc::new(error) })?;
        let mut state = self.state.write().expect("whoever changes the state bears its panics");
        // What is left of it after a panic is never looked at: the instance ends before it is let go.
        let output = catch_unwind(AssertUnwindSafe(|| state.apply(command))).map_err(|panic| {
            let why = panicked(panic);
            self.end(&why);
            why
        })?;
        drop(state);
        if let Some(number) = number {
            self.settle(number, Ok(output));
        }
        Ok(())
    }

    /// Goes on from a state that others have computed, if it is ahead of this one.
    pub(super) async fn jump(&self, applied: Position, jumped: S) -> bool {
        let _turn = self.turn.lock().await;
        if applied <= self.applied() {
            return false;
        }
        *self.state.write().expect("whoever changes the state bears its panics") = jumped;
        // Any of them may be among those that were applied elsewhere. They are told before it is known how far this
        // is: whoever sees that takes what is still open for not done.
        self.settle_all(|| ReplicatedError::new(ReplicatedFailure::Skipped, Outcome::Unknown));
        self.reached.send_modify(|reached| reached.applied = applied);
        true
    }

    /// The state, and the position before which everything is in it.
    pub(super) async fn snapshot(self: &Arc<Self>) -> Result<(Position, Bytes), CodecError> {
        let turn = self.turn.lock().await;
        let (instance, applied) = (Arc::clone(self), self.applied());
        let taken = tokio::task::spawn_blocking(move || instance.look(S::snapshot));
        let taken = taken.await;
        drop(turn);
        match taken? {
            Ok(bytes) => Ok((applied, bytes?)),
            Err(why) => Err(why.to_string().into()),
        }
    }

    /// Notes who waits for the output of a command that is about to be sent.
    pub(super) fn expect(
        &self,
        number: u64,
        room: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Verdict<S>> {
        let (caller, verdict) = oneshot::channel();
        self.waiting().insert(number, Waiting { caller, _room: room });
        verdict
    }

    /// Whether nothing is known of a command yet.
    pub(super) fn is_open(&self, number: u64) -> bool {
        self.waiting().contains_key(&number)
    }

    /// Tells what came of a command, if that was not told before. Nobody need wait for it any more.
    pub(super) fn settle(&self, number: u64, verdict: Verdict<S>) {
        let waiting = self.waiting().remove(&number);
        if let Some(Waiting { caller, _room }) = waiting {
            caller.send(verdict).ok();
            self.settled.notify_waiters();
        }
    }

    /// Nobody waits for the output of this command, which was not sent.
    pub(super) fn forget(&self, number: u64) {
        drop(self.waiting().remove(&number));
        self.settled.notify_waiters();
    }

    /// Waits until it is known what became of all commands that were noted.
    pub(super) async fn settled(&self) {
        loop {
            let news = self.settled.notified();
            if self.waiting().is_empty() {
                return;
            }
            news.await;
        }
    }

    /// Tells all who wait.
    pub(super) fn settle_all(&self, why: impl Fn() -> ReplicatedError) {
        let all = std::mem::take(&mut *self.waiting());
        for Waiting { caller, _room } in all.into_values() {
            caller.send(Err(why())).ok();
        }
        self.settled.notify_waiters();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting<S>>> {
        self.waiting.lock().expect("nothing panics while it holds those who wait")
    }
}

fn ended(reached: &Reached) -> EndReason {
    reached.end.clone().unwrap_or(EndReason::Interrupted)
}
