//! The wall around openraft.
//!
//! It offers four things upward: propose a command, learn from where a read is safe, change the
//! membership, and watch. Nothing above says how agreement is reached; nothing below knows that
//! there is a group. The settings that keep data safe (leader restore off, pre-vote and the
//! quorum-loss probe on, no purging by openraft itself) are chosen here and nowhere else.
//!
//! Not here: messages between replicas (`peer`), which implement the network that
//! [`Raft::build`] takes.

mod log_storage;
mod lost;
mod snapshot_builder;
mod state_machine;
pub mod types;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use client::types::{EntryId, EntryIndex, ReplicaId};
use migrations::latest::NodeRow;
use openraft::errors::{
    ChangeMembershipError, ClientWriteError, ForwardReason, ForwardToLeader, InitializeError,
    LinearizableReadError, RaftError,
};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, Config, LinearizerOption, RaftMetrics, SnapshotPolicy};
use tokio::sync::watch as tokio_watch;

pub use self::log_storage::{LogStorage, journal_entry, raft_entry};
pub use self::lost::LostEntries;
pub use self::state_machine::StateMachine;
use self::types::{
    AppendRequest, AppendResponse, RaftNetworkFactory, RaftVote, Snapshot, SnapshotBody,
    SnapshotNetwork, TransferRequest, TransferResponse, TypeConfig, VoteRequest, VoteResponse,
    log_id,
};
pub use self::watch::{Leadership, MembershipState, Progress, ReplicaProgress, Replication};
use crate::machine::{Machine, Outcome, Payload, Proposal};
use crate::storage::journal::Journal;
use crate::storage::state::{State, StateManifest};
use crate::world::{Clock, tasks};

/// Timings of a group. They belong to the group and not to a replica: leader and followers must
/// reckon the lease alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How often a leader tells that it lives.
    pub heartbeat: Duration,
    /// The least time without a leader before a replica stands for election.
    pub election_min: Duration,
    /// The greatest, and the length of a leader's lease.
    pub election_max: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(80),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(500),
        }
    }
}

/// What a replica agrees on and keeps, opened and ready.
pub struct Parts<N> {
    /// Who this replica is.
    pub replica: ReplicaId,
    /// The group's timings.
    pub timings: Timings,
    /// Whole, and synced since it was opened.
    pub journal: Journal,
    /// The machine, as loaded from `state`.
    pub machine: Arc<Mutex<Machine>>,
    /// Where deltas are published.
    pub state: State,
    /// Makes connections to the others.
    pub network: N,
    /// Told of entries that a read finds damaged.
    pub lost: LostEntries,
    /// Tells time.
    pub clock: Clock,
}

/// A handle on this replica's part in the agreement. Cloning it is cheap.
#[derive(Clone)]
pub struct Raft {
    core: openraft::Raft<TypeConfig, StateMachine>,
    replica: ReplicaId,
    timings: Timings,
    clock: Clock,
    /// The last entry in the journal when it was opened.
    last_at_open: Option<EntryIndex>,
    /// What was committed when a leader was first heard of in this start.
    goal: Arc<OnceLock<EntryIndex>>,
    applied: tokio_watch::Receiver<Option<EntryIndex>>,
    leadership: tokio_watch::Receiver<Leadership>,
    gauge: watch::Gauge,
    membership: tokio_watch::Receiver<MembershipState>,
    copies: Arc<Mutex<Option<watch::Copies>>>,
}

/// Why a proposal has no outcome here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead; certainly not proposed.
    #[error("this replica does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<ReplicaId>,
    },
    /// This replica leads but may not propose at this moment: its lease is not confirmed yet, or
    /// it hands over. Certainly not proposed; try again soon.
    #[error("the leader may not propose at this moment")]
    NotReady,
    /// Leadership was lost before the entry was known to be committed: it may yet be.
    #[error("leadership was lost before the outcome was known")]
    Interrupted,
    /// The replica has stopped; the outcome is unknown.
    #[error("this replica has stopped")]
    Stopped,
}

/// Why no safe index for a read can be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError {
    /// This replica does not lead.
    #[error("this replica does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<ReplicaId>,
    },
    /// No majority answered in time.
    #[error("no majority answered in time")]
    NoQuorum,
    /// The replica has stopped.
    #[error("this replica has stopped")]
    Stopped,
}

/// Why the membership was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// This replica does not lead; nothing was done.
    #[error("this replica does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<ReplicaId>,
    },
    /// The membership is not the one expected any more; nothing was done.
    #[error("the membership has changed meanwhile")]
    EpochMoved,
    /// openraft refuses it; nothing was done.
    #[error("refused: {reason}")]
    Refused {
        /// In openraft's words.
        reason: String,
    },
    /// It is not known whether it was done.
    #[error("the outcome of the change is unknown")]
    Unknown,
}

/// A wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct TimedOut;

/// The replica's part in the agreement could not be opened or founded.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The timings contradict each other.
    #[error("the timings cannot hold: {0}")]
    Timings(String),
    /// openraft refuses to start on what is stored.
    #[error("what is stored does not fit together: {0}")]
    Stored(String),
    /// This replica belongs to a group already.
    #[error("this replica was already founded")]
    AlreadyFounded,
}

impl Raft {
    /// Replays what is committed and not yet flushed, and prepares everything; nothing runs and
    /// nobody is answered before [`Raft::run`].
    pub async fn build<N>(parts: Parts<N>) -> Result<Self, BuildError>
    where
        N: RaftNetworkFactory<TypeConfig>,
        N::Network: SnapshotNetwork<TypeConfig, SnapshotData = SnapshotBody>,
    {
        let Parts { replica, timings, journal, machine, state, network, lost, clock } = parts;
        let config = config(timings)?;
        let last_at_open = journal.last().map(|id| id.index);
        let start = lock_applied(&machine);
        let (applied_sender, applied) = tokio_watch::channel(start);
        let anchor = watch::Anchor::now(&clock);
        let raft = openraft::Raft::build(
            replica.get(),
            Arc::new(config),
            network,
            LogStorage::new(journal.clone(), state.clone(), lost, clock.clone()),
            StateMachine::new(machine, state, journal, applied_sender),
        )
        .await
        .map_err(|error| BuildError::Stored(error.to_string()))?;

        let (leadership_sender, leadership) = tokio_watch::channel(Leadership::default());
        let (membership_sender, membership) = tokio_watch::channel(MembershipState::default());
        let copies = watch::Copies { leadership: leadership_sender, membership: membership_sender };
        let heard = watch::Heard::never(&clock);
        let gauge = watch::Gauge { metrics: raft.metrics(), anchor, heard };
        Ok(Self {
            core: raft,
            replica,
            timings,
            clock,
            last_at_open,
            goal: Arc::default(),
            applied,
            leadership,
            gauge,
            membership,
            copies: Arc::new(Mutex::new(Some(copies))),
        })
    }

    /// Starts to take part. A second call does nothing.
    pub fn run(&self) {
        let copies = self.copies.lock().expect("no panic while starting").take();
        if let Some(copies) = copies {
            self.core.run();
            tasks::spawn("raft watch", copies.run(self.core.server_metrics(), self.gauge.clone()));
        }
    }

    /// Who this replica is.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The group's timings.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Founds a group of this replica alone: its first voter. Once, on an empty replica.
    pub async fn initialize(&self, node: NodeRow) -> Result<(), BuildError> {
        let members = BTreeMap::from([(self.replica.get(), node)]);
        match self.core.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                Err(BuildError::AlreadyFounded)
            }
            Err(error) => Err(BuildError::Stored(error.to_string())),
        }
    }

    /// Proposes a command and waits until it was applied here.
    pub async fn propose<P: Proposal>(&self, proposal: P) -> Result<P::Outcome, ProposeError> {
        self.propose_payload(proposal.encode()).await.map(P::outcome)
    }

    /// Proposes an encoded command and waits until it was applied here.
    pub async fn propose_payload(&self, payload: Payload) -> Result<Outcome, ProposeError> {
        match self.core.client_write(payload).await {
            Ok(answer) => Ok(answer.data),
            Err(RaftError::APIError(error)) => Err(propose_error(&error)),
            Err(RaftError::Fatal(_)) => Err(ProposeError::Stopped),
        }
    }

    /// The entry from which on a read here or elsewhere is linearizable: all that was acknowledged
    /// before the call lies at or below it. Confirmed by a majority; one round serves all who
    /// wait.
    pub async fn read_index(&self) -> Result<EntryIndex, ReadIndexError> {
        let option = LinearizerOption::new(Some(Duration::ZERO), true)
            .with_wait_timeout(self.timings.election_max);
        match self.core.get_read_linearizer(option).await {
            Ok(linearizer) => Ok(EntryIndex::new(linearizer.read_log_id().index())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadIndexError::NotLeader { leader: leader_of(&forward) })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadIndexError::NoQuorum)
            }
            Err(RaftError::Fatal(_)) => Err(ReadIndexError::Stopped),
        }
    }

    /// Waits until this entry was applied here.
    pub async fn wait_applied(&self, index: EntryIndex, within: Duration) -> Result<(), TimedOut> {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| applied.is_some_and(|at| at >= index));
        match tokio::time::timeout(within, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(TimedOut),
        }
    }

    /// After a start: everything that was committed before the stop has been applied again, and
    /// what the group had committed when a leader was first heard of. Until then a local read could
    /// show less than it did before. Once true, it stays so.
    pub fn is_recovered(&self) -> bool {
        let progress = self.progress();
        let Some(committed) = progress.committed else {
            return false;
        };
        let goal = *self.goal.get_or_init(|| committed);
        // Entries beyond the current last one were cut by a later leader: never committed.
        let kept = self.last_at_open.min(progress.last);
        self.applied.borrow().is_some_and(|applied| Some(applied) >= kept && applied >= goal)
    }

    /// Who leads.
    pub fn leadership(&self) -> tokio_watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// The last entry applied here.
    pub fn applied(&self) -> tokio_watch::Receiver<Option<EntryIndex>> {
        self.applied.clone()
    }

    /// Whether this replica was led lately: within two of the longest waits for an election. After
    /// that, whom it takes for the leader is hearsay.
    pub fn is_led(&self) -> bool {
        let earliest = self.clock.now().checked_sub(self.timings.election_max * 2);
        earliest.is_none_or(|earliest| self.progress().heard.is_some_and(|at| at >= earliest))
    }

    /// How far this replica and the group are now.
    pub fn progress(&self) -> Progress {
        self.gauge.progress()
    }

    /// How far the others are now; empty unless this replica leads.
    pub fn replication(&self) -> Replication {
        self.gauge.replication()
    }

    /// Who counts.
    pub fn membership(&self) -> tokio_watch::Receiver<MembershipState> {
        self.membership.clone()
    }

    /// Adds replicas that receive and do not count, if the membership is still the one of
    /// `expected`. Returns when the entry is committed, not when the learners have caught up.
    pub async fn add_learners(
        &self,
        learners: BTreeMap<u64, NodeRow>,
        expected: Option<EntryId>,
    ) -> Result<(), MembershipError> {
        self.change(ChangeMembers::AddNodes(learners), false, expected).await
    }

    /// Says where members are found from now on, if the membership is still the one of `expected`. A wrong address
    /// makes a member unreachable and nothing worse: who answers there shows who it is.
    pub async fn relocate(
        &self,
        members: BTreeMap<u64, NodeRow>,
        expected: Option<EntryId>,
    ) -> Result<(), MembershipError> {
        self.change(ChangeMembers::SetNodes(members), false, expected).await
    }

    /// Makes exactly these replicas the voters by one joint change, if the membership is still
    /// the one of `expected`. Who voted before stays as a learner if that is wished, and else is no member any more.
    pub async fn change_voters(
        &self,
        voters: BTreeSet<ReplicaId>,
        are_others_kept: bool,
        expected: Option<EntryId>,
    ) -> Result<(), MembershipError> {
        let voters = voters.into_iter().map(ReplicaId::get).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters), are_others_kept, expected).await
    }

    /// Takes learners off the list, if the membership is still the one of `expected`.
    pub async fn remove_learners(
        &self,
        learners: BTreeSet<u64>,
        expected: Option<EntryId>,
    ) -> Result<(), MembershipError> {
        self.change(ChangeMembers::RemoveNodes(learners), false, expected).await
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, NodeRow>,
        are_others_kept: bool,
        expected: Option<EntryId>,
    ) -> Result<(), MembershipError> {
        let precondition = Precondition::LastMembershipLogId {
            last_membership_log_id: expected.map(|id| log_id(&id)),
        };
        match self.core.change_membership_if(change, are_others_kept, [precondition]).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(error)) => Err(membership_error(error)),
            Err(RaftError::Fatal(_)) => Err(MembershipError::Unknown),
        }
    }

    /// Hands leadership to a voter. Fire and forget: this replica stops proposing at once and
    /// does not take that back in its term, so offer only a voter that is here and close behind.
    pub async fn transfer_leader(&self, to: ReplicaId) {
        // A replica that has stopped leads no more anyway.
        drop(self.core.trigger().transfer_leader(to.get()).await);
    }

    /// Makes a snapshot, if there is none that reaches `index`. Waits no longer than `within`.
    async fn snapshot(&self, index: EntryIndex, within: Duration) -> Result<(), TimedOut> {
        if snapshot_index(&self.gauge.raw()) >= Some(index) {
            return Ok(());
        }
        self.core.trigger().snapshot().await.map_err(|_| TimedOut)?;
        let waited = self.core.wait(Some(within));
        let reached =
            waited.metrics(move |metrics| snapshot_index(metrics) >= Some(index), "a snapshot");
        reached.await.map(drop).map_err(|_| TimedOut)
    }

    /// Lets the journal's entries up to `index` go, which a checkpoint confirmed here must cover, or, if there is none,
    /// what is applied. Waits no longer than `within`, for the snapshot and for the purge.
    pub async fn purge_to(&self, index: EntryIndex, within: Duration) -> Result<(), TimedOut> {
        self.snapshot(index, within).await?;
        self.core.trigger().purge_log(index.get()).await.map_err(|_| TimedOut)?;
        let is_purged = move |metrics: &RaftMetrics<TypeConfig>| {
            metrics.purged.as_ref().is_some_and(|purged| purged.index >= index.get())
        };
        let waited = self.core.wait(Some(within));
        let purged = waited.metrics(is_purged, "the journal is purged").await;
        purged.map(drop).map_err(|_| TimedOut)
    }

    /// The vote of this replica, and the last entry that is committed here. What a leader offers is compared with them.
    pub fn standing(&self) -> (RaftVote, Option<EntryIndex>) {
        let metrics = self.gauge.raw();
        let applied = *self.applied.borrow();
        let committed = metrics.local_committed.map(|id| EntryIndex::new(id.index));
        (metrics.vote, committed.max(applied))
    }

    /// Whether this replica stands for election when nobody leads. It votes for others in any case.
    pub fn set_electable(&self, is_electable: bool) {
        self.core.runtime_config().elect(is_electable);
    }

    /// Stops taking part and waits for its tasks.
    pub async fn shutdown(&self) {
        drop(self.core.shutdown().await);
    }

    /// A leader's entries or heartbeat.
    pub async fn append_entries(&self, request: AppendRequest) -> Result<AppendResponse, TimedOut> {
        let response = self.core.append_entries(request).await.map_err(|_| TimedOut)?;
        match response {
            AppendResponse::Success
            | AppendResponse::PartialSuccess(_)
            | AppendResponse::Conflict => self.gauge.heard.now(),
            AppendResponse::HigherVote(_) => {}
        }
        Ok(response)
    }

    /// A candidate asks for this replica's vote.
    pub async fn vote(&self, request: VoteRequest) -> Result<VoteResponse, TimedOut> {
        self.core.vote(request).await.map_err(|_| TimedOut)
    }

    /// A replica asks whether it would get this replica's vote.
    pub async fn pre_vote(&self, request: VoteRequest) -> Result<VoteResponse, TimedOut> {
        self.core.pre_vote(request).await.map_err(|_| TimedOut)
    }

    /// The leader hands its leadership to this replica.
    pub async fn take_leadership(
        &self,
        request: TransferRequest,
    ) -> Result<TransferResponse, TimedOut> {
        self.core.handle_transfer_leader(request).await.map_err(|_| TimedOut)
    }

    /// Installs a manifest of which all records are here, in the name of the leader of this vote; gives the vote that
    /// counts here. The manifest must be of an entry beyond what is committed here, and of no later leader than the
    /// vote's: openraft ends the process otherwise.
    pub async fn install(
        &self,
        vote: RaftVote,
        manifest: StateManifest,
    ) -> Result<RaftVote, TimedOut> {
        let meta = snapshot_builder::meta(&manifest);
        let snapshot = Snapshot { meta, snapshot: Some(manifest) };
        let answer = self.core.install_full_snapshot(vote, snapshot).await;
        answer.map(|answer| answer.vote).map_err(|_| TimedOut)
    }
}

/// The last entry of the newest snapshot that openraft knows.
fn snapshot_index(metrics: &RaftMetrics<TypeConfig>) -> Option<EntryIndex> {
    metrics.snapshot.map(|id| EntryIndex::new(id.index))
}

/// The settings that keep data safe, and the ones that were measured.
fn config(timings: Timings) -> Result<Config, BuildError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "quorate".to_owned(),
        heartbeat_interval: millis(timings.heartbeat),
        election_timeout_min: millis(timings.election_min),
        election_timeout_max: millis(timings.election_max),
        enable_pre_vote: Some(true),
        quorum_loss_probe_interval: Some(millis(timings.election_max) * 3),
        // A leader that resumes its term after losing an unsynced suffix gives two records one id.
        enable_leader_restore: Some(false),
        allow_log_reversion: None,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: 1024,
        max_append_entries: Some(4096),
        api_batch_capacity: 4096,
        api_channel_size: Some(4096),
        // The batcher in front of us makes the batches; an entry need not wait for company here.
        broadcast_submitted_on_append: Some(true),
        // Who was just let in, or comes back, opens its door within a few of these; doubling from there.
        backoff: "25ms 50ms ...1s".to_owned(),
        ..Config::default()
    }
    .validate()
    .map_err(|error| BuildError::Timings(error.to_string()))
}

fn lock_applied(machine: &Mutex<Machine>) -> Option<EntryIndex> {
    state_machine::lock(machine).applied().map(|id| id.index)
}

fn leader_of(forward: &ForwardToLeader<TypeConfig>) -> Option<ReplicaId> {
    forward.leader_id.and_then(ReplicaId::new)
}

fn propose_error(error: &ClientWriteError<TypeConfig>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.reason {
            ForwardReason::NotLeader => ProposeError::NotLeader { leader: leader_of(forward) },
            ForwardReason::LeadershipTransfer | ForwardReason::LeaseExpired => {
                ProposeError::NotReady
            }
        },
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Interrupted,
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            unreachable!("a command carries no precondition and changes no membership")
        }
    }
}

fn membership_error(error: ClientWriteError<TypeConfig>) -> MembershipError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => {
            MembershipError::NotLeader { leader: leader_of(&forward) }
        }
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::Unknown,
        ClientWriteError::PreconditionFailed(_) => MembershipError::EpochMoved,
        ClientWriteError::ChangeMembershipError(error) => match error {
            ChangeMembershipError::InProgress(_) => MembershipError::EpochMoved,
            error @ (ChangeMembershipError::EmptyMembership(_)
            | ChangeMembershipError::LearnerNotFound(_)
            | ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::UncommittedLeaderLog(_)
            | ChangeMembershipError::NodeMetadataChanged(_)) => {
                MembershipError::Refused { reason: error.to_string() }
            }
        },
    }
}

/// What a caller sees of a failed read of stored bytes.
impl From<BuildError> for io::Error {
    fn from(error: BuildError) -> Self {
        Self::other(error)
    }
}
