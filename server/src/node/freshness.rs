//! How fresh a read is: confirmed by the group, or as old as it says.
//!
//! A linearizable read waits until everything acknowledged before it began was applied here; the
//! leader names that entry, and one question serves all who ask at once. A local read is served
//! once this replica has back what it knew to be committed before its last stop. Every answer says
//! what it was drawn from.
//!
//! Not here: sharing the questions (`rounds`), and the read itself (`read`).

use std::time::Duration;

use client::api::reading::Consistency;
use client::types::{EntryIndex, Epoch, ReplicaId};
use tokio::sync::watch;

use super::Node;
use super::error::NotFresh;
use super::propose::NO_LEADER_RETRY;
use super::rounds::AskIndex;
use crate::metrics::Metrics;
use crate::peer::{PeerError, Peers};
use crate::raft::{Leadership, Raft, ReadIndexError};
#[cfg(quorate_bugs)]
use crate::world::bugs;
use crate::world::{Clock, Instant};

/// After this time a reader may try again that met a replica behind.
const BEHIND_RETRY: Duration = Duration::from_millis(200);

/// The most time between two questions to a leader, if nothing is heard in between.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

/// What an answer was drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The last entry that this replica had applied.
    pub applied: Option<EntryIndex>,
    /// The membership known here.
    pub epoch: Epoch,
    /// Who answers.
    pub served_by: ReplicaId,
    /// How many entries this replica is known to lack; none if it hears of no leader.
    pub lag_entries: Option<u64>,
    /// How long ago this replica last heard from its leader, or as the leader from a quorum; none
    /// if it never did in this start.
    pub age: Option<Duration>,
}

impl Node {
    /// Makes sure that what is read here next is as fresh as asked.
    pub(super) async fn be_fresh(&self, consistency: Consistency) -> Result<(), NotFresh> {
        self.check_state()?;
        match consistency {
            Consistency::Linearizable => self.confirm().await,
            Consistency::Local if self.core.raft.is_recovered() => Ok(()),
            Consistency::Local => Err(NotFresh::NotRecovered { retry_after: BEHIND_RETRY }),
        }
    }

    /// Waits until everything acknowledged before this call was applied here.
    async fn confirm(&self) -> Result<(), NotFresh> {
        #[cfg(quorate_bugs)]
        if bugs::is_planted(bugs::Bug::StaleRead) {
            return Ok(());
        }
        if self.is_stopping() {
            return Err(NotFresh::Stopping);
        }
        let node = &*self.core;
        let index = node.rounds.safe_index().await?;
        let limit = node.options.read_deadline;
        let behind = |_timed_out| NotFresh::Behind { retry_after: BEHIND_RETRY };
        node.raft.wait_applied(index, limit).await.map_err(behind)
    }

    /// The epoch of the newest membership that is known here.
    pub fn epoch(&self) -> Epoch {
        let entry = self.core.membership.borrow().entry;
        Epoch::new(entry.map_or(0, |entry| entry.index.get()))
    }

    /// What an answer made now is drawn from.
    pub(super) fn as_of(&self) -> AsOf {
        let node = &*self.core;
        let applied = *node.applied.borrow();
        let progress = node.raft.progress();
        let reached = applied.map_or(0, EntryIndex::get);
        let lag = progress.committed.map(|committed| committed.get().saturating_sub(reached));
        AsOf {
            applied,
            epoch: self.epoch(),
            served_by: self.replica(),
            lag_entries: lag.filter(|_| node.raft.is_led()),
            age: progress.heard.map(|at| node.world.clock.since(at)),
        }
    }
}

/// What came of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// From here on reads are safe.
    Index(EntryIndex),
    /// This replica leads, and a quorum did not confirm it: worth asking again.
    NoQuorum,
    /// Nobody who leads answered: worth asking again.
    NotYet,
}

/// Asks the leader, which may be here, from where reads are safe.
pub(super) struct IndexAsker {
    raft: Raft,
    peers: Peers,
    leadership: watch::Receiver<Leadership>,
    clock: Clock,
    metrics: Metrics,
    deadline: Duration,
}

impl IndexAsker {
    pub(super) fn new(
        raft: &Raft,
        peers: &Peers,
        clock: &Clock,
        metrics: &Metrics,
        deadline: Duration,
    ) -> Self {
        let (raft, peers, clock) = (raft.clone(), peers.clone(), clock.clone());
        Self {
            leadership: raft.leadership(),
            raft,
            peers,
            clock,
            metrics: metrics.clone(),
            deadline,
        }
    }

    /// One question.
    async fn ask_once(&self) -> Result<Asked, NotFresh> {
        let leader = self.leadership.borrow().leader;
        match leader {
            None => Ok(Asked::NotYet),
            Some(leader) if leader == self.raft.replica() => match self.raft.read_index().await {
                Ok(index) => Ok(Asked::Index(index)),
                Err(ReadIndexError::NoQuorum) => Ok(Asked::NoQuorum),
                Err(ReadIndexError::NotLeader { .. }) => Ok(Asked::NotYet),
                Err(ReadIndexError::Stopped) => Err(NotFresh::Stopping),
            },
            Some(leader) => match self.peers.read_index(leader).await {
                Ok(index) => Ok(Asked::Index(index)),
                Err(
                    PeerError::Unknown
                    | PeerError::Transport(_)
                    | PeerError::Malformed
                    | PeerError::NotAccepted(_)
                    | PeerError::NotRemembered
                    | PeerError::Condemned
                    | PeerError::Repairing,
                ) => Ok(Asked::NotYet),
            },
        }
    }

    /// Waits until something was heard of the leadership, or a moment.
    async fn pause(&self, deadline: Instant) {
        let mut leadership = self.leadership.clone();
        leadership.mark_unchanged();
        let soon = self.clock.after(RETRY_PAUSE).min(deadline);
        self.clock.until(soon, leadership.changed()).await.ok();
    }
}

impl AskIndex for IndexAsker {
    async fn ask(&self) -> Result<EntryIndex, NotFresh> {
        let began = self.clock.now();
        let deadline = began + self.deadline;
        let mut lacks_quorum = false;
        while self.clock.now() < deadline {
            match self.clock.until(deadline, self.ask_once()).await {
                Ok(Ok(Asked::Index(index))) => {
                    self.metrics.read_index_confirmed(self.clock.since(began));
                    return Ok(index);
                }
                Ok(Ok(asked)) => {
                    lacks_quorum |= asked == Asked::NoQuorum;
                    self.pause(deadline).await;
                }
                Ok(Err(stopping)) => return Err(stopping),
                Err(_expired) => break,
            }
        }
        let retry_after = NO_LEADER_RETRY;
        let leads = self.leadership.borrow().leader == Some(self.raft.replica());
        Err(if leads || lacks_quorum {
            NotFresh::NoQuorum { retry_after }
        } else {
            NotFresh::NoLeader { retry_after }
        })
    }
}
