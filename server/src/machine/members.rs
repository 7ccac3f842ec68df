//! Members: the ids of replicas, and the membership.
//!
//! Ids come from one counter, from 1, and are never given twice: not to a newcomer that asks again
//! with its nonce (it gets the id it has, unless that was taken off the list), and not after a membership that names ids of its own, as
//! the very first one does. The newest admissions are remembered, a bounded number of them.
//!
//! Not here: who may join and who counts when (upper floors decide), and the stages of a change
//! (`member_changes`).

use std::collections::BTreeMap;

use client::types::{EntryId, ReplicaId};
use migrations::latest::values::{AdmissionRow, MembershipRow, NodeRow};

/// So many admissions are remembered.
const ADMISSIONS_MAX: usize = 256;

/// Who there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Members {
    next_replica: u64,
    admissions: BTreeMap<u64, AdmissionRow>,
    by_nonce: BTreeMap<u128, u64>,
    membership: Option<(EntryId, MembershipRow)>,
}

impl Members {
    pub(super) const fn new() -> Self {
        Self {
            next_replica: 1,
            admissions: BTreeMap::new(),
            by_nonce: BTreeMap::new(),
            membership: None,
        }
    }

    /// Members as they were kept; nothing if an id was given that the counter has not reached, or a
    /// nonce twice.
    pub(super) fn load(
        next_replica: u64,
        admissions: Vec<(u64, AdmissionRow)>,
        membership: Option<(EntryId, MembershipRow)>,
    ) -> Option<Self> {
        let mut members = Self { next_replica, membership, ..Self::new() };
        for (replica, row) in admissions {
            let is_new = members.by_nonce.insert(row.nonce, replica).is_none();
            if replica >= next_replica || !is_new {
                return None;
            }
            members.admissions.insert(replica, row);
        }
        let highest = members.membership.as_ref().and_then(|(_, row)| highest(row));
        (next_replica > highest.unwrap_or(0)).then_some(members)
    }

    pub(super) const fn next_replica(&self) -> u64 {
        self.next_replica
    }

    pub(super) fn membership(&self) -> Option<(EntryId, &MembershipRow)> {
        self.membership.as_ref().map(|(entry, row)| (*entry, row))
    }

    pub(super) fn set_membership(&mut self, entry: EntryId, membership: MembershipRow) {
        if let Some(highest) = highest(&membership) {
            let next = highest.checked_add(1).expect("replica ids are counted from 1, one by one");
            self.next_replica = self.next_replica.max(next);
        }
        self.membership = Some((entry, membership));
    }

    /// Gives an id. The second part names the rows that changed.
    pub(super) fn admit(&mut self, nonce: u128, node: &NodeRow) -> (ReplicaId, Vec<u64>) {
        if let Some(known) = self.by_nonce.get(&nonce) {
            return (replica_id(*known), Vec::new());
        }
        let replica = self.next_replica;
        self.next_replica += 1;
        self.by_nonce.insert(nonce, replica);
        self.admissions.insert(replica, AdmissionRow { nonce, node: node.clone() });
        let mut changed = vec![replica];
        if self.admissions.len() > ADMISSIONS_MAX
            && let Some((oldest, row)) = self.admissions.pop_first()
        {
            self.by_nonce.remove(&row.nonce);
            changed.push(oldest);
        }
        (replica_id(replica), changed)
    }

    /// Whoever asks with this nonce from now on is new. The row that changed.
    pub(super) fn forget(&mut self, nonce: u128) -> Option<u64> {
        let replica = self.by_nonce.remove(&nonce)?;
        self.admissions.remove(&replica);
        Some(replica)
    }

    pub(super) fn admitted(&self, nonce: u128) -> Option<ReplicaId> {
        self.by_nonce.get(&nonce).copied().map(replica_id)
    }

    pub(super) fn admission(&self, replica: u64) -> Option<&AdmissionRow> {
        self.admissions.get(&replica)
    }

    pub(super) fn admissions(&self) -> impl Iterator<Item = (u64, &AdmissionRow)> {
        self.admissions.iter().map(|(replica, row)| (*replica, row))
    }
}

/// The highest id that a membership names.
fn highest(membership: &MembershipRow) -> Option<u64> {
    let voters = membership.configs.iter().filter_map(|voters| voters.last());
    membership.nodes.keys().next_back().into_iter().chain(voters).max().copied()
}

fn replica_id(replica: u64) -> ReplicaId {
    ReplicaId::new(replica).expect("replica ids are counted from 1")
}
