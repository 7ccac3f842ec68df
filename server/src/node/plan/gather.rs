//! Where the grounds of a plan come from: the leader's own knowledge, what the others told of themselves lately, and
//! what the voters say who are asked whether they reach a newcomer.
//!
//! Not here: what is concluded (`plan`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::api::plans::{Plan, Wish};
use client::api::transfers::TransferInfo;
use client::types::{ChangeId, EntryIndex, Epoch, ReplicaAddr, ReplicaId};
use futures_util::future::join_all;
use migrations::latest::NodeRow;

use super::super::{Core, Node};
use super::grounds::{Grounds, Probe, Standing, UnderWay, Versions};
use super::limits::{HEARTBEATS_MISSED_MAX, LEADERS_SEEN_WITHIN};
use super::target::Target;
use crate::machine::MACHINE_VERSION;
use crate::node::error::{PlanError, Unserved};
use crate::node::propose::NO_LEADER_RETRY;
use crate::peer::reach;
use crate::raft::{MembershipState, ReplicaProgress};

impl Node {
    /// What a wish would mean, and whether it is safe, as this leader knows it. Changes nothing.
    pub async fn plan(&self, wish: &Wish) -> Result<Plan, PlanError> {
        let grounds = self.grounds(wish).await?;
        super::plan(wish, &grounds)
    }

    /// What a wish is planned from; whoever comes by it was tried by every voter.
    pub(in crate::node) async fn grounds(&self, wish: &Wish) -> Result<Grounds, PlanError> {
        self.check_leads()?;
        let mut grounds = self.core.grounds()?;
        grounds.joiners = self.joiners().joiners;
        let target = Target::of(wish, &grounds)?;
        let newcomers = target.joins.iter().map(|newcomer| newcomer.joiner.peer_addr.clone());
        let moved = target.moves.map(|(_, addr)| addr);
        let addresses: BTreeSet<_> = newcomers.chain(moved).collect();
        let voters = grounds.voters();
        let tried = addresses.iter().map(|addr| self.core.try_from_all(&voters, addr));
        let tried = join_all(tried).await;
        grounds.reach = addresses.iter().cloned().zip(tried).collect();
        Ok(grounds)
    }
}

impl Core {
    /// What is known without asking anybody.
    fn grounds(&self) -> Result<Grounds, Unserved> {
        let membership = self.membership.borrow().clone();
        let Some(entry) = membership.entry else {
            return Err(Unserved::NoLeader { retry_after: NO_LEADER_RETRY });
        };
        let now = self.world.clock.now();
        let patience = self.raft.timings().heartbeat * HEARTBEATS_MISSED_MAX;
        let ids = |set: &BTreeSet<u64>| set.iter().filter_map(|id| ReplicaId::new(*id)).collect();
        Ok(Grounds {
            cluster: self.identity.cluster,
            epoch: Epoch::new(entry.index.get()),
            leader: self.identity.replica,
            configs: membership.row.configs.iter().map(ids).collect(),
            replicas: self.standings(&membership),
            joiners: Vec::new(),
            reach: BTreeMap::new(),
            versions: Versions {
                product: env!("CARGO_PKG_VERSION").to_owned(),
                machine: MACHINE_VERSION,
                format: migrations::FORMAT_VERSION,
            },
            stored_bytes: self.stored_bytes(),
            bytes_per_second: self.peers.board().list().iter().find_map(rate),
            under_way: self.under_way(&membership),
            leaders_lately: self.leaders_seen.count(LEADERS_SEEN_WITHIN, now),
            answered_within: patience.max(self.options.heard_within),
        })
    }

    fn under_way(&self, membership: &MembershipState) -> Option<UnderWay> {
        if let Some((change, _)) = self.probes.membership_changes.under_way() {
            return Some(UnderWay { change: Some(ChangeId::new(change)) });
        }
        let is_settled = membership.row.configs.len() == 1 && membership.is_committed;
        (!is_settled).then_some(UnderWay { change: None })
    }

    fn standings(&self, membership: &MembershipState) -> BTreeMap<ReplicaId, Standing> {
        let replication = self.raft.replication();
        let last = self.raft.progress().last.map_or(0, EntryIndex::get);
        let unfit = &(&self.full_replicas() | &self.slow_replicas()) | &self.quarantined_replicas();
        let nodes = membership.row.nodes.iter();
        let standings = nodes.filter_map(|(number, node)| {
            let id = ReplicaId::new(*number)?;
            let progress = if id == self.identity.replica {
                // What a leader holds is what it measures the others by.
                let now = Some(self.world.clock.now());
                ReplicaProgress { matched: Some(EntryIndex::new(last)), heard: now }
            } else {
                replication.get(&id).copied().unwrap_or_default()
            };
            Some((id, self.standing(node, progress, last, !unfit.contains(number))?))
        });
        standings.collect()
    }

    fn standing(
        &self,
        node: &NodeRow,
        progress: ReplicaProgress,
        last: u64,
        is_fit_to_lead: bool,
    ) -> Option<Standing> {
        let matched = progress.matched.map_or(0, EntryIndex::get);
        Some(Standing {
            addr: ReplicaAddr::new(&node.front_addr).ok()?,
            peer_addr: ReplicaAddr::new(&node.peer_addr).ok()?,
            zone: node.zone.clone(),
            silence: progress.heard.map(|heard| self.world.clock.since(heard)),
            lag_entries: last.saturating_sub(matched),
            lag_bytes: self.journal.bytes_after(matched),
            is_fit_to_lead,
        })
    }

    /// Bytes of the records of all logs.
    fn stored_bytes(&self) -> u64 {
        let views = self.state.views("", None, usize::MAX);
        views.iter().map(|view| view.bytes()).sum()
    }

    /// How each of these voters reaches an address, all asked at once.
    async fn try_from_all(
        &self,
        voters: &BTreeSet<ReplicaId>,
        addr: &ReplicaAddr,
    ) -> BTreeMap<ReplicaId, Probe> {
        let tried = voters.iter().map(async |voter| (*voter, self.try_from(*voter, addr).await));
        join_all(tried).await.into_iter().collect()
    }

    async fn try_from(&self, voter: ReplicaId, addr: &ReplicaAddr) -> Probe {
        let took = if voter == self.identity.replica {
            Ok(reach::round_trip(&self.world.clock, addr).await)
        } else {
            self.peers.reach(voter, addr).await
        };
        match took {
            Ok(Some(took)) => Probe::Reached { round_trip_us: micros(took) },
            Ok(None) => Probe::Unreached,
            Err(_unanswered) => Probe::Unasked,
        }
    }
}

/// Bytes a second of a transfer, over all of it.
fn rate(transfer: &TransferInfo) -> Option<u64> {
    let now = Some(transfer.bytes_per_second).filter(|rate| *rate > 0);
    let over = transfer.ended.and_then(|ended| {
        let ms = ended.as_millis().checked_sub(transfer.started.as_millis())?.max(1);
        Some(transfer.bytes_done.saturating_mul(1_000) / ms).filter(|rate| *rate > 0)
    });
    if transfer.ended.is_some() { over } else { now }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
