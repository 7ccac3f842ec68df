//! Figures that nobody tells of: looked at once a second for the metrics.
//!
//! Where the agreement is, how far the others are behind, and how large the state is. Everything
//! else is recorded where it happens.

use std::path::PathBuf;
use std::time::Duration;

use client::types::{EntryIndex, ReplicaId, Timestamp};

use crate::metrics::{Levels, Metrics};
use crate::raft::Raft;
use crate::storage::state::State;
use crate::world::Clock;

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// What is looked at, and where it is written.
pub(super) struct Gauges {
    pub(super) raft: Raft,
    pub(super) state: State,
    pub(super) state_file: PathBuf,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

impl Gauges {
    /// Looks until its task is stopped.
    pub(super) async fn run(self) {
        let mut leader = None;
        loop {
            self.look(&mut leader);
            self.clock.sleep(PERIOD).await;
        }
    }

    fn look(&self, known: &mut Option<ReplicaId>) {
        let leadership = self.raft.leadership().borrow().clone();
        let applied = index(*self.raft.applied().borrow());
        let flushed = index(self.state.flushed().map(|id| id.index));
        let progress = self.raft.progress();
        self.metrics.raft_progress(index(progress.committed), applied, flushed);
        self.metrics.raft_term(leadership.term.get(), u64::from(leadership.here));
        if leadership.leader.is_some() && leadership.leader != *known {
            *known = leadership.leader;
            self.metrics.raft_leader_changed();
        }
        let lag_max = self.look_at_others(index(progress.last));
        let now = Timestamp::new(self.clock.wall_millis());
        self.metrics.second_ended(Levels { now, applied, lag_max });
        if let Ok(file) = std::fs::metadata(&self.state_file) {
            self.metrics.state_size(file.len());
        }
    }

    /// Only a leader knows how far the others are. The most that one is behind.
    fn look_at_others(&self, last: u64) -> Option<u64> {
        let replication = self.raft.replication();
        if replication.is_empty() {
            self.metrics.raft_replica_lags_void();
        }
        let lags = replication.into_iter().map(|(replica, progress)| {
            let lag = last.saturating_sub(index(progress.matched));
            self.metrics.raft_replica_lag(replica.get(), lag);
            lag
        });
        lags.max()
    }
}

fn index(index: Option<EntryIndex>) -> u64 {
    index.map_or(0, EntryIndex::get)
}
