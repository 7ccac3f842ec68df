//! Changes of the membership: begun by a wish, carried out by whoever leads, remembered.
//!
//! What is agreed on is the change itself and its stages; the leader reads from there what to do next. So a change
//! outlives leaders, and its author need not stay. Not here: what a wish would mean (`plan`), and the policy by which a
//! group that was just founded fills up (`admission`).

mod begin;
mod carry;
mod leftover;
mod step;
mod told;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::api::changes::{Change, ChangeList, ChangesQuery};
use client::types::{ChangeId, ReplicaId};
use migrations::latest::changes::{ChangeRow, StageRow};

pub(super) use self::carry::Carrying;
pub(super) use self::told::override_of;
pub use self::watch::{ChangeWatch, ChangeWatchEvent};
use super::Node;
use super::error::ChangeError;
use crate::machine::{Machine, MoveChange, Rejection};

/// So many changes are told at once.
const LIST_MAX: u32 = 100;

/// The changes of the membership, as far as they are applied here.
pub trait MembershipChanges: Send + Sync {
    /// The one that has not ended.
    fn under_way(&self) -> Option<(u64, ChangeRow)>;
    /// One of them.
    fn get(&self, change: u64) -> Option<ChangeRow>;
    /// The newest that is so.
    fn find(&self, is_so: &dyn Fn(&ChangeRow) -> bool) -> Option<(u64, ChangeRow)>;
    /// At most so many that are older than this one, newest first.
    fn before(&self, change: Option<u64>, max: usize) -> Vec<(u64, ChangeRow)>;
    /// The id that a newcomer got for its nonce.
    fn admitted(&self, nonce: u128) -> Option<ReplicaId>;
    /// Whether one of them took this replica off the list.
    fn is_removed(&self, replica: ReplicaId) -> bool;
}

impl MembershipChanges for Arc<Mutex<Machine>> {
    fn under_way(&self) -> Option<(u64, ChangeRow)> {
        locked(self).change_under_way().map(|(change, row)| (change, row.clone()))
    }

    fn get(&self, change: u64) -> Option<ChangeRow> {
        let machine = locked(self);
        let mut changes = machine.member_changes().rev();
        changes.find(|(number, _)| *number == change).map(|(_, row)| row.clone())
    }

    fn find(&self, is_so: &dyn Fn(&ChangeRow) -> bool) -> Option<(u64, ChangeRow)> {
        let machine = locked(self);
        let mut changes = machine.member_changes().rev();
        changes.find(|(_, row)| is_so(row)).map(|(change, row)| (change, row.clone()))
    }

    fn before(&self, change: Option<u64>, max: usize) -> Vec<(u64, ChangeRow)> {
        let machine = locked(self);
        let is_older = |number: u64| change.is_none_or(|change| number < change);
        let older = machine.member_changes().rev().filter(|(number, _)| is_older(*number));
        older.take(max).map(|(number, row)| (number, row.clone())).collect()
    }

    fn admitted(&self, nonce: u128) -> Option<ReplicaId> {
        locked(self).admitted(nonce)
    }

    fn is_removed(&self, replica: ReplicaId) -> bool {
        locked(self).is_removed(replica)
    }
}

/// A panic while it was held ends the process anyway.
fn locked(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// The changes of the membership, newest first, as far as they are applied here.
    pub fn membership_changes(&self, query: ChangesQuery) -> ChangeList {
        let max = query.limit.unwrap_or(LIST_MAX).clamp(1, LIST_MAX);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let before = query.before.map(ChangeId::get);
        let mut rows = self.core.probes.membership_changes.before(before, max + 1);
        let is_more = rows.len() > max;
        rows.truncate(max);
        let next = rows.last().filter(|_| is_more).map(|(change, _)| ChangeId::new(*change));
        ChangeList {
            changes: rows.iter().map(|(change, row)| self.told_change(*change, row)).collect(),
            next,
        }
    }

    /// One change. What it waits for is known where it is carried out: by the leader.
    pub fn membership_change(&self, change: ChangeId) -> Option<Change> {
        let row = self.core.probes.membership_changes.get(change.get())?;
        Some(self.told_change(change.get(), &row))
    }

    /// Gives a change up, if it is not decided yet. Its newcomers leave again.
    pub async fn cancel_change(&self, change: ChangeId) -> Result<Change, ChangeError> {
        self.check_leads()?;
        let core = &*self.core;
        let row = core.probes.membership_changes.get(change.get()).ok_or(ChangeError::Unknown)?;
        if row.stage == StageRow::Joining {
            let stamp = core.proposer.stamp();
            let (from, to) = (StageRow::Joining, StageRow::Cancelling);
            let outcome = "cancelled".to_owned();
            let cancel = MoveChange { stamp, change: change.get(), from, to, outcome };
            match self.propose(cancel).await? {
                Ok(()) => core.joiners.stir(),
                Err(Rejection::OtherStage { stage }) => return Err(not_cancelled(change, stage)),
                Err(_) => return Err(ChangeError::Unknown),
            }
        } else if row.stage != StageRow::Cancelling {
            return Err(not_cancelled(change, row.stage));
        }
        self.membership_change(change).ok_or(ChangeError::Unknown)
    }
}

/// Why a change in this stage is not cancelled.
const fn not_cancelled(change: ChangeId, stage: StageRow) -> ChangeError {
    if stage.is_end() { ChangeError::Ended { change } } else { ChangeError::IsJoint { change } }
}
