//! openraft's metrics, as the three things the house wants to know.
//!
//! openraft's own watch may block its core while a reader holds it, so one task copies what
//! changed at once and everybody else watches the copies. Calls go down, these come up.

use std::collections::BTreeMap;

use client::types::{EntryId, EntryIndex, ReplicaId, Term};
use migrations::latest::MembershipRow;
use openraft::Instant as _;
use openraft::alias::InstantOf;
use openraft::async_runtime::WatchReceiver as _;
use openraft::metrics::RaftMetrics;
use tokio::sync::watch;

use super::types::{TypeConfig, entry_id, membership_row};
use crate::world::{Clock, Instant};

/// Who leads, as far as this replica knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The replica that leads in this term, if one is known.
    pub leader: Option<ReplicaId>,
    /// The term.
    pub term: Term,
    /// This replica leads, and its term's first entry is committed.
    pub here: bool,
    /// This replica stands for election.
    pub candidate: bool,
    /// On the leader: when a quorum last answered.
    pub quorum_acked: Option<Instant>,
    /// The last entry in this replica's journal.
    pub last: Option<EntryIndex>,
    /// The last entry known to be committed by the group; from a live leader only.
    pub committed: Option<EntryIndex>,
    /// Set once the replica has stopped for good, with the reason.
    pub stopped: Option<String>,
}

impl Leadership {
    /// A quorum has answered this leader since `earliest`.
    pub fn is_confirmed_since(&self, earliest: Instant) -> bool {
        self.here && self.quorum_acked.is_some_and(|at| at >= earliest)
    }
}

/// How far another replica is, as the leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaProgress {
    /// The last entry it is known to hold durably.
    pub matched: Option<EntryIndex>,
    /// When it last answered.
    pub heard: Option<Instant>,
}

/// Replica by replica; empty on anybody but the leader.
pub type Replication = BTreeMap<ReplicaId, ReplicaProgress>;

/// Who counts, and since which entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MembershipState {
    /// The entry that set it; its index is the epoch.
    pub entry: Option<EntryId>,
    /// Sets of voters and where each replica is found.
    pub row: MembershipRow,
    /// That entry is committed.
    pub is_committed: bool,
}

/// The same moment on openraft's clock and on ours: its instants do not show what they wrap.
pub(super) struct Anchor {
    theirs: InstantOf<TypeConfig>,
    ours: Instant,
}

impl Anchor {
    /// Now, which is before anything that openraft will tell of.
    pub(super) fn now(clock: &Clock) -> Self {
        Self { theirs: InstantOf::<TypeConfig>::now(), ours: clock.now() }
    }

    fn instant(&self, theirs: InstantOf<TypeConfig>) -> Instant {
        self.ours + (theirs - self.theirs)
    }
}

/// The sending ends of the watches, owned by the task that copies.
pub(super) struct Copies {
    pub(super) anchor: Anchor,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) replication: watch::Sender<Replication>,
    pub(super) membership: watch::Sender<MembershipState>,
}

impl Copies {
    /// Copies until openraft has stopped.
    pub(super) async fn run(
        self,
        mut metrics: openraft::alias::WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    ) {
        loop {
            // Cloned at once: the reference may never be held across an await.
            let now = metrics.borrow_watched().clone();
            let stopped = now.running_state.is_err();
            self.copy(&now);
            if stopped || metrics.changed().await.is_err() {
                break;
            }
        }
        self.leadership.send_modify(|leadership| {
            leadership.here = false;
            leadership.leader = None;
            leadership.stopped.get_or_insert_with(|| "stopped".to_owned());
        });
    }

    fn copy(&self, metrics: &RaftMetrics<TypeConfig>) {
        send_if_new(&self.leadership, leadership(metrics, &self.anchor));
        send_if_new(&self.replication, replication(metrics, &self.anchor));
        let membership = membership_state(metrics);
        send_if_new(&self.membership, membership);
    }
}

fn send_if_new<T: PartialEq>(sender: &watch::Sender<T>, new: T) {
    sender.send_if_modified(|old| {
        let is_new = *old != new;
        if is_new {
            *old = new;
        }
        is_new
    });
}

fn leadership(metrics: &RaftMetrics<TypeConfig>, anchor: &Anchor) -> Leadership {
    let is_leader = metrics.state == openraft::ServerState::Leader;
    Leadership {
        leader: metrics.current_leader.and_then(ReplicaId::new),
        term: Term::new(metrics.current_term),
        here: is_leader && metrics.current_leader == Some(metrics.id),
        candidate: metrics.state == openraft::ServerState::Candidate,
        quorum_acked: metrics.last_quorum_acked.map(|at| anchor.instant(*at)),
        last: metrics.last_log_index.map(EntryIndex::new),
        committed: metrics.cluster_committed.map(|id| EntryIndex::new(id.index)),
        stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
    }
}

fn replication(metrics: &RaftMetrics<TypeConfig>, anchor: &Anchor) -> Replication {
    let mut replication = Replication::new();
    for (id, matched) in metrics.replication.iter().flatten() {
        let Some(id) = ReplicaId::new(*id) else { continue };
        let progress = replication.entry(id).or_default();
        progress.matched = matched.map(|id| EntryIndex::new(id.index));
    }
    for (id, heard) in metrics.heartbeat.iter().flatten() {
        let Some(id) = ReplicaId::new(*id) else { continue };
        let progress = replication.entry(id).or_default();
        progress.heard = heard.map(|at| anchor.instant(*at));
    }
    replication
}

fn membership_state(metrics: &RaftMetrics<TypeConfig>) -> MembershipState {
    let stored = &metrics.membership_config;
    MembershipState {
        entry: stored.log_id().map(|id| entry_id(&id)),
        row: membership_row(stored.membership()),
        is_committed: stored.log_id() == metrics.committed_membership_config.log_id(),
    }
}
