//! From a command to its outcome, or to a clear word on why there is none.
//!
//! What was certainly not proposed while this replica leads is tried again here, until the deadline:
//! a new leader without its lease, or one that hands over, is nobody's business but ours. What may
//! have been proposed is never tried again: only the caller's own condition makes that safe.
//!
//! Not here: gathering appends into one command (`batcher`).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use client::types::{ReplicaId, Timestamp};
use tokio::sync::watch;

use super::Node;
use super::batcher::{Outcomes, Propose};
use super::clocks::Clocks;
use super::error::Unserved;
use super::gate::Gate;
use crate::machine::{Append, AppendItem, Author, Command, OnBehalf, Outcome, Payload, Proposal};
use crate::raft::{Leadership, ProposeError, Raft};
use crate::world::{Clock, Instant};

/// After this time a caller may try again what timed out before it was proposed.
pub(super) const TIMED_OUT_RETRY: Duration = Duration::from_millis(500);
/// After this time a caller may try again what met no leader.
pub(super) const NO_LEADER_RETRY: Duration = Duration::from_millis(200);
/// The least time between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The most time between two attempts, if nothing is heard in between.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// Tries until it is clear what happened, or until the deadline.
pub(super) async fn settle<T, A, R>(
    clock: &Clock,
    deadline: Instant,
    mut attempt: impl FnMut() -> A,
    mut ready: impl FnMut() -> R,
) -> Result<T, Unserved>
where
    A: Future<Output = Result<T, ProposeError>>,
    R: Future<Output = ()>,
{
    loop {
        match clock.until(deadline, attempt()).await {
            Ok(Ok(outcome)) => return Ok(outcome),
            Ok(Err(ProposeError::NotLeader { leader: None })) => {
                return Err(Unserved::NoLeader { retry_after: NO_LEADER_RETRY });
            }
            Ok(Err(ProposeError::NotLeader { leader })) => {
                return Err(Unserved::NotLeader { leader });
            }
            Ok(Err(ProposeError::NotReady)) => {
                if clock.until(deadline, ready()).await.is_err() {
                    return Err(Unserved::TimedOut { retry_after: TIMED_OUT_RETRY });
                }
            }
            Ok(Err(ProposeError::Interrupted | ProposeError::Stopped)) | Err(_) => {
                return Err(Unserved::Interrupted);
            }
        }
    }
}

/// What time a command proposed now gets: this replica's clock, as far as a majority's allow.
#[derive(Clone)]
pub(super) struct Stamps {
    pub(super) clock: Clock,
    pub(super) clocks: Arc<Clocks>,
}

impl Stamps {
    fn now_millis(&self) -> u64 {
        self.clocks.stamp_millis(&self.clock)
    }
}

/// Proposes through the gate, stamped. A clone does the same.
#[derive(Clone)]
pub(super) struct Proposer {
    raft: Raft,
    gate: Gate,
    stamps: Stamps,
    leadership: watch::Receiver<Leadership>,
}

impl Proposer {
    pub(super) fn new(raft: Raft, gate: Gate, stamps: Stamps) -> Self {
        let leadership = raft.leadership();
        Self { raft, gate, stamps, leadership }
    }

    /// What a command proposed now is stamped with.
    pub(super) fn stamp(&self) -> Timestamp {
        Timestamp::new(self.stamps.now_millis())
    }

    /// Proposes one command and waits for its outcome, at most `limit`.
    pub(super) async fn propose<P: Proposal>(
        &self,
        proposal: P,
        limit: Duration,
    ) -> Result<P::Outcome, Unserved> {
        let payload = readable(proposal.encode());
        let deadline = self.stamps.clock.after(limit);
        let attempt = || self.attempt(payload.clone());
        let outcome = settle(&self.stamps.clock, deadline, attempt, || self.pause()).await?;
        Ok(P::outcome(outcome))
    }

    /// The same on somebody's behalf.
    pub(super) async fn propose_for<P: Proposal>(
        &self,
        author: Author,
        command: P,
        limit: Duration,
    ) -> Result<P::Outcome, Unserved> {
        self.propose(OnBehalf { author, command }, limit).await
    }

    /// The same, but never tried again: what is proposed now comes before all that is proposed later.
    pub(super) async fn propose_once<P: Proposal>(
        &self,
        proposal: P,
        limit: Duration,
    ) -> Result<P::Outcome, ProposeError> {
        let attempt = self.attempt(readable(proposal.encode()));
        let attempted = self.stamps.clock.within(limit, attempt).await;
        attempted.unwrap_or(Err(ProposeError::Interrupted)).map(P::outcome)
    }

    async fn attempt(&self, payload: Payload) -> Result<Outcome, ProposeError> {
        let Some(_inside) = self.gate.enter() else {
            return Err(self.held_back());
        };
        match self.raft.propose_payload(payload).await {
            // It believed another one to lead, and that one to be us: it is about to know better.
            Err(ProposeError::NotLeader { leader }) if leader == Some(self.replica()) => {
                Err(ProposeError::NotReady)
            }
            result => result,
        }
    }

    /// What a closed gate means: somebody else leads by now, or nobody does just yet.
    fn held_back(&self) -> ProposeError {
        let leader = self.leadership.borrow().leader;
        match leader {
            Some(leader) if leader != self.replica() => {
                ProposeError::NotLeader { leader: Some(leader) }
            }
            Some(_) | None => ProposeError::NotReady,
        }
    }

    fn replica(&self) -> ReplicaId {
        self.raft.replica()
    }

    /// Waits until it is worth trying again.
    async fn pause(&self) {
        self.stamps.clock.sleep(PAUSE_MIN).await;
        let mut leadership = self.leadership.clone();
        leadership.mark_unchanged();
        // Whichever comes first: something was heard of the leadership, or enough time has passed.
        self.stamps.clock.within(PAUSE_MAX, leadership.changed()).await.ok();
    }
}

impl Node {
    /// Proposes for whom this node does it, if it is for anybody.
    pub(super) async fn propose<P: Proposal>(&self, command: P) -> Result<P::Outcome, Unserved> {
        let (proposer, limit) = (&self.core.proposer, self.core.options.command_deadline);
        match &self.author {
            Some(author) => proposer.propose_for(Author::clone(author), command, limit).await,
            None => proposer.propose(command, limit).await,
        }
    }
}

/// The command, once it was read as every replica will read it: one that is committed and cannot be
/// read would stop them all, at every start. Appends are checked where they come in.
///
/// # Panics
///
/// If it cannot be read: the contract's types should have refused what is in it.
fn readable(payload: Payload) -> Payload {
    if let Err(error) = Command::decode(&payload.bytes) {
        panic!("a command that no replica can read is not proposed: {error}");
    }
    payload
}

impl Propose for Proposer {
    async fn propose(&self, items: &[AppendItem]) -> Result<Outcomes, ProposeError> {
        let payload = Command::append(self.stamp(), items);
        self.attempt(payload).await.map(<Append as Proposal>::outcome)
    }

    async fn ready(&self) {
        self.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn settled(answers: &[Result<u8, ProposeError>]) -> (Result<u8, Unserved>, usize) {
        let clock = Clock::real();
        let deadline = clock.after(Duration::from_millis(50));
        let attempts = Cell::new(0);
        let attempt = || {
            let answer = answers.get(attempts.get()).cloned();
            attempts.set(attempts.get() + 1);
            async move {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        let result = settle(&clock, deadline, attempt, || async {}).await;
        (result, attempts.get())
    }

    #[test]
    #[should_panic(expected = "a command that no replica can read is not proposed")]
    fn a_command_that_no_replica_can_read_is_not_proposed() {
        readable(Payload::new(bytes::Bytes::from_static(b"no command")));
    }

    #[tokio::test]
    async fn what_was_not_proposed_while_leading_is_tried_again() {
        let not_ready = Err(ProposeError::NotReady);
        let (result, attempts) = settled(&[not_ready.clone(), not_ready, Ok(7)]).await;
        assert_eq!((result, attempts), (Ok(7), 3));
    }

    #[tokio::test]
    async fn what_may_have_been_proposed_is_never_tried_again() {
        let (result, attempts) = settled(&[Err(ProposeError::Interrupted), Ok(7)]).await;
        assert_eq!((result, attempts), (Err(Unserved::Interrupted), 1));
    }

    #[tokio::test]
    async fn a_proposal_without_an_answer_is_unknown_at_the_deadline() {
        let (result, _) = settled(&[]).await;
        assert_eq!(result, Err(Unserved::Interrupted));
    }

    #[tokio::test]
    async fn another_leader_is_named() {
        let leader = ReplicaId::new(2);
        let (result, _) = settled(&[Err(ProposeError::NotLeader { leader })]).await;
        assert_eq!(result, Err(Unserved::NotLeader { leader }));
        let (result, _) = settled(&[Err(ProposeError::NotLeader { leader: None })]).await;
        assert_eq!(result, Err(Unserved::NoLeader { retry_after: NO_LEADER_RETRY }));
    }
}
