//! Who leads: run here, forward there, or say that nobody does; and hand leadership over.
//!
//! Any replica takes any request. What only a leader can do goes to the leader's front door, once,
//! and a failure says whether the leader may have accepted it. A planned hand-over first lets what
//! is in flight come back, so that nobody is left with an unknown outcome.
//!
//! Not here: how a request is carried (`peer/forward.rs`), and elections (`raft`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::types::{EntryId, EntryIndex, ReplicaAddr, ReplicaId};
use http::{Response, request};

use super::Node;
use super::error::{ForwardError, HandOverError};
use super::propose::NO_LEADER_RETRY;
use crate::peer::forward::{self, ForwardedBody};
use crate::raft::{MembershipState, Replication};
use crate::world::Instant;

/// The longest pause between two looks for a leader.
const ROUTE_PAUSE: Duration = Duration::from_millis(50);

/// Where a request that needs the leader goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This replica leads.
    Here,
    /// Another one does.
    There {
        /// Which one.
        replica: ReplicaId,
        /// Its front door.
        front: ReplicaAddr,
    },
    /// Nobody does, as far as this replica knows.
    Nowhere {
        /// When to try again.
        retry_after: Duration,
    },
}

/// The leader's address, parsed once per leader and membership.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    last: Mutex<Option<(ReplicaId, Option<EntryId>, ReplicaAddr)>>,
}

impl RouteCache {
    fn front(&self, leader: ReplicaId, membership: &MembershipState) -> Option<ReplicaAddr> {
        // Whatever a panic left behind is one whole value.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((replica, entry, front)) = &*last
            && *replica == leader
            && *entry == membership.entry
        {
            return Some(front.clone());
        }
        let node = membership.row.nodes.get(&leader.get())?;
        let front = ReplicaAddr::new(&node.front_addr).ok()?;
        *last = Some((leader, membership.entry, front.clone()));
        Some(front)
    }
}

impl Node {
    /// Where a request that needs the leader goes, as of now.
    pub fn route(&self) -> Route {
        let leader = {
            let leadership = self.core.leadership.borrow();
            if leadership.here {
                return Route::Here;
            }
            leadership.leader
        };
        let leader = leader.filter(|_| self.core.raft.is_led());
        let front = leader.filter(|leader| *leader != self.replica()).and_then(|leader| {
            let membership = self.core.membership.borrow();
            Some((leader, self.core.route_cache.front(leader, &membership)?))
        });
        match front {
            Some((replica, front)) => Route::There { replica, front },
            None => Route::Nowhere { retry_after: NO_LEADER_RETRY },
        }
    }

    /// Where a request that needs the leader goes; waits a moment if an election is under way.
    pub async fn route_awaited(&self) -> Route {
        let route = self.route();
        if !matches!(route, Route::Nowhere { .. }) || self.is_stopping() {
            return route;
        }
        Box::pin(self.route_after_an_election()).await
    }

    async fn route_after_an_election(&self) -> Route {
        let clock = &self.core.world.clock;
        let deadline = clock.after(self.core.options.election_wait);
        let mut leadership = self.core.leadership.clone();
        let mut membership = self.core.membership.clone();
        loop {
            let changed = async {
                tokio::select! {
                    changed = leadership.changed() => changed.is_ok(),
                    // A leader may be known before its address is.
                    changed = membership.changed() => changed.is_ok(),
                    () = self.stopping() => false,
                    // A leader that fell silent may be heard again, and nothing tells of that.
                    () = clock.sleep(ROUTE_PAUSE) => true,
                }
            };
            let is_worth_a_look = clock.until(deadline, changed).await == Ok(true);
            let route = self.route();
            if !is_worth_a_look || !matches!(route, Route::Nowhere { .. }) {
                return route;
            }
        }
    }

    /// Sends a request as it came to the leader's front door, and returns its answer.
    pub async fn forward(
        &self,
        front: &ReplicaAddr,
        parts: &request::Parts,
        body: Bytes,
    ) -> Result<Response<ForwardedBody>, ForwardError> {
        let limit = self.core.options.forward_deadline;
        self.forward_within(limit, front, parts, body).await
    }

    /// The same, to the front door of any replica, for an answer that is worth so long a wait.
    pub async fn forward_within(
        &self,
        limit: Duration,
        front: &ReplicaAddr,
        parts: &request::Parts,
        body: Bytes,
    ) -> Result<Response<ForwardedBody>, ForwardError> {
        self.core.forward.send(front, parts, body, limit).await.map_err(|error| match error {
            forward::ForwardError::NotAccepted => {
                ForwardError::NotAccepted { retry_after: NO_LEADER_RETRY }
            }
            forward::ForwardError::Unknown => ForwardError::Unknown,
        })
    }

    /// Hands leadership to the voter that is furthest, and waits until it leads.
    pub async fn hand_over(&self) -> Result<ReplicaId, HandOverError> {
        self.hand_over_but_to(&BTreeSet::new()).await
    }

    /// The same, but not to one of these.
    pub(super) async fn hand_over_but_to(
        &self,
        unfit: &BTreeSet<u64>,
    ) -> Result<ReplicaId, HandOverError> {
        let to = self.choose_successor(unfit)?;
        let core = &*self.core;
        core.gate.close();
        let result = self.hand_over_to(to).await;
        core.gate.open();
        result
    }

    /// Gives leadership away although proposals get nowhere: nothing is waited for.
    pub(super) async fn give_up_leadership(&self) -> Result<ReplicaId, HandOverError> {
        let to = self.choose_successor(&BTreeSet::new())?;
        self.core.raft.transfer_leader(to).await;
        self.wait_until_led_by_another(to).await
    }

    async fn hand_over_to(&self, to: ReplicaId) -> Result<ReplicaId, HandOverError> {
        let core = &*self.core;
        let clock = &core.world.clock;
        let deadline = clock.after(core.options.hand_over_deadline);
        let emptied = clock.until(deadline, core.gate.emptied()).await;
        emptied.map_err(|_expired| HandOverError::NotTaken { to })?;
        core.raft.transfer_leader(to).await;
        self.wait_until_led_by_another(to).await
    }

    async fn wait_until_led_by_another(&self, to: ReplicaId) -> Result<ReplicaId, HandOverError> {
        let clock = &self.core.world.clock;
        let deadline = clock.after(self.core.options.hand_over_deadline);
        let mut leadership = self.core.leadership.clone();
        let ourselves = self.replica();
        let taken = leadership.wait_for(|leadership| {
            !leadership.here && leadership.leader.is_some_and(|leader| leader != ourselves)
        });
        let taken = clock.until(deadline, taken).await;
        let leader = taken.ok().and_then(|leadership| leadership.ok()?.leader);
        leader.ok_or(HandOverError::NotTaken { to })
    }

    fn choose_successor(&self, unfit: &BTreeSet<u64>) -> Result<ReplicaId, HandOverError> {
        let core = &*self.core;
        if !core.leadership.borrow().here {
            return Err(HandOverError::NotLeader);
        }
        let membership = core.membership.borrow().row.configs.clone();
        let search = Search {
            ourselves: self.replica(),
            now: core.world.clock.now(),
            heard_within: core.options.heard_within,
            lag_max: core.options.hand_over_lag_max,
            unfit,
        };
        search
            .successor(&membership, core.raft.progress().last, &core.raft.replication())
            .ok_or(HandOverError::NobodyReady)
    }
}

/// What a successor must be like.
struct Search<'a> {
    ourselves: ReplicaId,
    now: Instant,
    heard_within: Duration,
    lag_max: u64,
    /// Who must not lead, whatever else holds.
    unfit: &'a BTreeSet<u64>,
}

impl Search<'_> {
    /// The voter, of every set of voters, that answered recently, is fit and has most.
    fn successor(
        &self,
        configs: &[BTreeSet<u64>],
        last: Option<EntryIndex>,
        replication: &Replication,
    ) -> Option<ReplicaId> {
        let last = last.map_or(0, EntryIndex::get);
        let ready = replication.iter().filter(|(replica, progress)| {
            let is_recent = progress.heard.is_some_and(|heard| {
                self.now.saturating_duration_since(heard) <= self.heard_within
            });
            let lag = last.saturating_sub(progress.matched.map_or(0, EntryIndex::get));
            let votes = configs.iter().all(|voters| voters.contains(&replica.get()));
            let is_fit = !self.unfit.contains(&replica.get());
            **replica != self.ourselves && is_recent && lag <= self.lag_max && votes && is_fit
        });
        ready.max_by_key(|(_, progress)| progress.matched).map(|(replica, _)| *replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::ReplicaProgress;

    fn id(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn successor(voters: &[&[u64]], others: &[(u64, u64, u64)]) -> Option<ReplicaId> {
        let now = Instant::now() + Duration::from_mins(1);
        let search = Search {
            ourselves: id(1),
            now,
            heard_within: Duration::from_millis(500),
            lag_max: 100,
            unfit: &BTreeSet::from([7]),
        };
        let configs: Vec<_> = voters.iter().map(|set| set.iter().copied().collect()).collect();
        let last = Some(EntryIndex::new(1_000));
        let replication = others
            .iter()
            .map(|(replica, matched, heard_ms_ago)| {
                let progress = ReplicaProgress {
                    matched: Some(EntryIndex::new(*matched)),
                    heard: now.checked_sub(Duration::from_millis(*heard_ms_ago)),
                };
                (id(*replica), progress)
            })
            .collect();
        search.successor(&configs, last, &replication)
    }

    #[test]
    fn leadership_goes_to_the_voter_that_has_most() {
        assert_eq!(successor(&[&[1, 2, 3]], &[(2, 990, 50), (3, 1_000, 90)]), Some(id(3)));
    }

    #[test]
    fn leadership_never_goes_to_one_that_is_silent_or_behind_or_does_not_vote() {
        assert_eq!(successor(&[&[1, 2, 3]], &[(2, 990, 50), (3, 1_000, 900)]), Some(id(2)));
        assert_eq!(successor(&[&[1, 2, 3]], &[(2, 800, 50)]), None);
        assert_eq!(successor(&[&[1, 2]], &[(2, 990, 900), (3, 1_000, 50)]), None);
        assert_eq!(successor(&[&[1, 2], &[1, 3]], &[(2, 990, 50), (3, 1_000, 50)]), None);
        assert_eq!(successor(&[&[1]], &[(1, 1_000, 0)]), None);
        assert_eq!(
            successor(&[&[1, 2, 7]], &[(2, 950, 0), (7, 1_000, 0)]),
            Some(id(2)),
            "7 is unfit"
        );
    }
}
