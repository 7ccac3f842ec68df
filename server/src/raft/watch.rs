//! openraft's metrics, as what the house wants to know.
//!
//! Who leads and who counts changes seldom, and is watched: one task copies it, and whoever waits
//! is woken by an election or a change and by nothing else. How far everybody is changes with every
//! entry, so nobody waits for that: it is read when it is asked for. openraft's own watch may block
//! its core while a reader holds it; every look takes what it needs and lets go at once.
//! Calls go down, these come up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use client::types::{EntryId, EntryIndex, ReplicaId, Term};
use migrations::latest::MembershipRow;
use openraft::Instant as _;
use openraft::alias::{InstantOf, WatchReceiverOf};
use openraft::async_runtime::WatchReceiver as _;
use openraft::metrics::{RaftMetrics, RaftServerMetrics};
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
    /// This replica leads.
    pub here: bool,
    /// This replica stands for election.
    pub candidate: bool,
    /// Set once the replica has stopped for good, with the reason.
    pub stopped: Option<String>,
}

/// How far this replica and the group are, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// When this replica last knew itself led: on the leader, when a quorum last answered it;
    /// elsewhere, when the leader's last message came.
    pub heard: Option<Instant>,
    /// On the leader: when a quorum last answered.
    pub quorum_acked: Option<Instant>,
    /// The last entry in this replica's journal.
    pub last: Option<EntryIndex>,
    /// The last entry known to be committed by the group; from a live leader only.
    pub committed: Option<EntryIndex>,
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
#[derive(Clone)]
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

/// When the leader's last message came. A clone is the same.
#[derive(Clone)]
pub(super) struct Heard {
    clock: Clock,
    start: Instant,
    /// Milliseconds from `start`, and one more: 0 is never.
    after: Arc<AtomicU64>,
}

impl Heard {
    pub(super) fn never(clock: &Clock) -> Self {
        Self { clock: clock.clone(), start: clock.now(), after: Arc::default() }
    }

    pub(super) fn now(&self) {
        let after = self.clock.since(self.start).as_millis();
        self.after.store(u64::try_from(after).map_or(u64::MAX, |after| after + 1), Relaxed);
    }

    fn last(&self) -> Option<Instant> {
        let after = self.after.load(Relaxed).checked_sub(1)?;
        Some(self.start + Duration::from_millis(after))
    }
}

/// Reads how far everybody is.
#[derive(Clone)]
pub(super) struct Gauge {
    pub(super) metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    pub(super) anchor: Anchor,
    pub(super) heard: Heard,
}

impl Gauge {
    /// All that openraft tells now.
    pub(super) fn raw(&self) -> RaftMetrics<TypeConfig> {
        self.metrics.borrow_watched().clone()
    }

    pub(super) fn progress(&self) -> Progress {
        let metrics = self.metrics.borrow_watched();
        let quorum_acked = metrics.last_quorum_acked.map(|at| self.anchor.instant(*at));
        let is_leader = metrics.state == openraft::ServerState::Leader;
        Progress {
            heard: if is_leader { quorum_acked } else { self.heard.last() },
            quorum_acked,
            last: metrics.last_log_index.map(EntryIndex::new),
            committed: metrics.cluster_committed.as_ref().map(|id| EntryIndex::new(id.index)),
        }
    }

    pub(super) fn replication(&self) -> Replication {
        let metrics = self.metrics.borrow_watched();
        let mut replication = Replication::new();
        for (id, matched) in metrics.replication.iter().flatten() {
            let Some(id) = ReplicaId::new(*id) else { continue };
            let progress = replication.entry(id).or_default();
            progress.matched = matched.as_ref().map(|id| EntryIndex::new(id.index));
        }
        for (id, heard) in metrics.heartbeat.iter().flatten() {
            let Some(id) = ReplicaId::new(*id) else { continue };
            let progress = replication.entry(id).or_default();
            progress.heard = heard.map(|at| self.anchor.instant(*at));
        }
        replication
    }

    /// Why openraft has stopped.
    fn stopped(&self) -> String {
        let state = &self.metrics.borrow_watched().running_state;
        state.as_ref().err().map_or_else(|| "stopped".to_owned(), ToString::to_string)
    }
}

/// The sending ends of the watches, owned by the task that copies.
pub(super) struct Copies {
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) membership: watch::Sender<MembershipState>,
}

impl Copies {
    /// Copies until openraft has stopped.
    pub(super) async fn run(
        self,
        mut metrics: WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
        gauge: Gauge,
    ) {
        loop {
            // Cloned at once: the reference may never be held across an await.
            let now = metrics.borrow_and_update().clone();
            send_if_new(&self.leadership, leadership(&now));
            send_if_new(&self.membership, membership_state(&now));
            if metrics.changed().await.is_err() {
                break;
            }
        }
        self.leadership.send_modify(|leadership| {
            leadership.here = false;
            leadership.leader = None;
            leadership.stopped = Some(gauge.stopped());
        });
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

fn leadership(metrics: &RaftServerMetrics<TypeConfig>) -> Leadership {
    let is_leader = metrics.state == openraft::ServerState::Leader;
    Leadership {
        leader: metrics.current_leader.and_then(ReplicaId::new),
        term: Term::new(metrics.vote.leader_id.term),
        here: is_leader && metrics.current_leader == Some(metrics.id),
        candidate: metrics.state == openraft::ServerState::Candidate,
        stopped: None,
    }
}

fn membership_state(metrics: &RaftServerMetrics<TypeConfig>) -> MembershipState {
    let stored = &metrics.membership_config;
    MembershipState {
        entry: stored.log_id().map(|id| entry_id(&id)),
        row: membership_row(stored.membership()),
        is_committed: stored.log_id() == metrics.committed_membership_config.log_id(),
    }
}
