//! What a plan is made from: a plain picture of what the leader knows at one moment.
//!
//! Not here: how it comes by that (`gather`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::api::cluster::Joiner;
use client::api::plans::MemberName;
use client::types::{ChangeId, ClusterId, Epoch, ReplicaAddr, ReplicaId};

use super::limits::{LAG_BYTES_MAX, LAG_ENTRIES_MAX};

/// What the leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Grounds {
    /// Which cluster.
    pub(in crate::node) cluster: ClusterId,
    /// Which membership.
    pub(in crate::node) epoch: Epoch,
    /// Who leads: whoever tells this.
    pub(in crate::node) leader: ReplicaId,
    /// The sets of voters: one, or two while the membership is joint.
    pub(in crate::node) configs: Vec<BTreeSet<ReplicaId>>,
    /// Every replica.
    pub(in crate::node) replicas: BTreeMap<ReplicaId, Standing>,
    /// Who waits to join, the longest first.
    pub(in crate::node) joiners: Vec<Joiner>,
    /// How the voters reach addresses that are new to them, by address.
    pub(in crate::node) reach: BTreeMap<ReplicaAddr, BTreeMap<ReplicaId, Probe>>,
    /// What the group executes and writes.
    pub(in crate::node) versions: Versions,
    /// Bytes of all records.
    pub(in crate::node) stored_bytes: u64,
    /// Bytes a second of the last state transfer that was seen, if any was.
    pub(in crate::node) bytes_per_second: Option<u64>,
    /// What else changes the membership.
    pub(in crate::node) under_way: Option<UnderWay>,
    /// How many leaders there were within a minute.
    pub(in crate::node) leaders_lately: usize,
    /// Within this a replica that is here has answered.
    pub(in crate::node) answered_within: Duration,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Standing {
    /// Where it answers clients.
    pub(in crate::node) addr: ReplicaAddr,
    /// Where it answers replicas.
    pub(in crate::node) peer_addr: ReplicaAddr,
    /// Where it stands; empty if nobody said.
    pub(in crate::node) zone: String,
    /// How long it has been silent; none: it never answered this leader.
    pub(in crate::node) silence: Option<Duration>,
    /// Entries that it lacks.
    pub(in crate::node) lag_entries: u64,
    /// Their bytes.
    pub(in crate::node) lag_bytes: u64,
    /// Nothing known of its disk or state keeps it from leading.
    pub(in crate::node) is_fit_to_lead: bool,
}

/// What came of connecting from a member to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Probe {
    /// It took so many microseconds.
    Reached {
        /// Until the connection was there.
        round_trip_us: u64,
    },
    /// The connection was not there in time.
    Unreached,
    /// The member did not answer the question.
    Unasked,
}

/// What has to be the same on all replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Versions {
    /// Of the product, as people know it. May differ.
    pub(in crate::node) product: String,
    /// Which behaviour of replicated commands.
    pub(in crate::node) machine: u32,
    /// Which format of a data folder.
    pub(in crate::node) format: u32,
}

/// What else changes the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct UnderWay {
    /// The change that it belongs to; none: a membership that is joint, or not committed yet.
    pub(in crate::node) change: Option<ChangeId>,
}

impl Grounds {
    /// Who votes now; of a joint membership, who will.
    pub(in crate::node) fn voters(&self) -> BTreeSet<ReplicaId> {
        self.configs.last().cloned().unwrap_or_default()
    }

    /// Whether a replica has answered lately.
    pub(super) fn is_here(&self, id: ReplicaId) -> bool {
        let silence = self.replicas.get(&id).and_then(|standing| standing.silence);
        silence.is_some_and(|silence| silence <= self.answered_within)
    }

    /// Whether it is here and lacks little.
    pub(super) fn is_caught_up(&self, id: ReplicaId) -> bool {
        let is_close = self.replicas.get(&id).is_some_and(|standing| {
            standing.lag_entries <= LAG_ENTRIES_MAX && standing.lag_bytes <= LAG_BYTES_MAX
        });
        is_close && self.is_here(id)
    }

    /// Whether it counts once the change is far enough to count it: who comes, or gets a vote, catches up before that.
    pub(super) fn will_count(&self, member: &MemberName) -> bool {
        match member {
            // It would not be listed if it had stopped asking.
            MemberName::Joiner(_) => true,
            MemberName::Replica(id) if self.is_voter(*id) => self.is_caught_up(*id),
            MemberName::Replica(id) => self.is_here(*id),
        }
    }

    /// Whether it votes now, in any set.
    pub(super) fn is_voter(&self, id: ReplicaId) -> bool {
        self.configs.iter().any(|voters| voters.contains(&id))
    }

    /// The process that waits at this address; of two, the one that came last.
    pub(super) fn joiner(&self, addr: &ReplicaAddr) -> Option<&Joiner> {
        self.joiners.iter().rfind(|joiner| joiner.addr == *addr)
    }
}
