//! Changes of the membership, as they are agreed on: what is wished, and how far it has come.
//!
//! One change at a time. It begins for an epoch, and only if that is still the newest; newcomers get their ids in the same
//! breath. From then on it only moves on, each move from the very stage it is in, so that two who want different things
//! of it cannot both have their way: a cancel and the joint membership least of all. What a stage means for the
//! membership itself is done by whoever leads, in entries of its own.
//!
//! Not here: which changes are wise (`node::plan`), and what carries them out (`node::change`).

use std::collections::{BTreeMap, BTreeSet};

use client::types::{ReplicaId, Timestamp};
use migrations::latest::changes::{ChangeRow, IntentRow, NewcomerRow, StageRow};

use super::members::Members;
use super::outcome::{ChangeBegun, Rejection};

/// So many changes are remembered.
const CHANGES_MAX: usize = 10_000;

/// All changes that are remembered, by their numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct MemberChanges {
    rows: BTreeMap<u64, ChangeRow>,
}

impl MemberChanges {
    /// Changes as they were kept; nothing if one beside the newest has not ended.
    pub(super) fn load(rows: Vec<(u64, ChangeRow)>) -> Option<Self> {
        let (_, older) =
            rows.split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest));
        let are_ended = older.iter().all(|(_, row)| row.stage.is_end());
        are_ended.then(|| Self { rows: rows.into_iter().collect() })
    }

    pub(super) fn row(&self, change: u64) -> Option<&ChangeRow> {
        self.rows.get(&change)
    }

    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = (u64, &ChangeRow)> {
        self.rows.iter().map(|(change, row)| (*change, row))
    }

    /// The change that has not ended.
    pub(super) fn under_way(&self) -> Option<(u64, &ChangeRow)> {
        self.rows().next_back().filter(|(_, row)| !row.stage.is_end())
    }

    /// Whether one of them took a replica off the list.
    pub(super) fn removed(&self, replica: u64) -> bool {
        self.rows.values().any(|row| match row.stage {
            StageRow::Joining | StageRow::Joint => false,
            StageRow::Leaving | StageRow::Done => row.intent.leaves.contains(&replica),
            StageRow::Cancelling | StageRow::Cancelled => row.joins.contains(&replica),
        })
    }

    /// Begins one. The second part names the changes, and the third the admissions whose rows changed.
    pub(super) fn begin(
        &mut self,
        mut intent: IntentRow,
        newcomers: &[NewcomerRow],
        now: Timestamp,
        members: &mut Members,
    ) -> Result<(ChangeBegun, Vec<u64>, Vec<u64>), Rejection> {
        if let Some((change, _)) = self.under_way() {
            return Err(Rejection::ChangeUnderWay { change });
        }
        let epoch = members.membership().map_or(0, |(entry, _)| entry.index.get());
        if intent.epoch != epoch {
            return Err(Rejection::EpochMoved { epoch });
        }
        let (mut joins, mut admissions) = (BTreeSet::new(), Vec::new());
        for newcomer in newcomers {
            // Let in by a change that was given up: the others refuse that id by now.
            let known = members.admitted(newcomer.nonce);
            if known.is_some_and(|replica| self.removed(replica.get())) {
                admissions.extend(members.forget(newcomer.nonce));
            }
            let (replica, changed) = members.admit(newcomer.nonce, &newcomer.node);
            admissions.extend(changed);
            joins.insert(replica.get());
            intent.nodes.insert(replica.get(), newcomer.node.clone());
            if newcomer.is_voter {
                intent.voters.insert(replica.get());
            }
        }
        let change = self.rows.keys().next_back().map_or(1, |last| last + 1);
        let done = ChangeBegun {
            change,
            joins: joins.iter().filter_map(|replica| ReplicaId::new(*replica)).collect(),
        };
        let stage = StageRow::Joining;
        let began = now.as_millis();
        let row = ChangeRow { began, intent, joins, stage, ended: None, outcome: String::new() };
        self.rows.insert(change, row);
        let mut changed = vec![change];
        if self.rows.len() > CHANGES_MAX
            && let Some((oldest, _)) = self.rows.pop_first()
        {
            changed.push(oldest);
        }
        Ok((done, changed, admissions))
    }

    /// Ends the one under way, because the group was recovered. The change whose row changed.
    pub(super) fn give_up(&mut self, now: Timestamp) -> Option<u64> {
        let (change, row) = self.rows.iter_mut().next_back()?;
        if row.stage.is_end() {
            return None;
        }
        row.stage = StageRow::Cancelled;
        row.ended = Some(now.as_millis());
        "the cluster was recovered".clone_into(&mut row.outcome);
        Some(*change)
    }

    /// Moves one on, if it is in the stage that it is to leave.
    pub(super) fn advance(
        &mut self,
        change: u64,
        (from, to): (StageRow, StageRow),
        outcome: &str,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let row = self.rows.get_mut(&change).ok_or(Rejection::UnknownChange)?;
        if row.stage != from || !may_follow(from, to) {
            return Err(Rejection::OtherStage { stage: row.stage });
        }
        row.stage = to;
        outcome.clone_into(&mut row.outcome);
        row.ended = to.is_end().then(|| now.as_millis());
        Ok(())
    }
}

/// Which stage may come after which.
const fn may_follow(from: StageRow, to: StageRow) -> bool {
    matches!(
        (from, to),
        (StageRow::Joining, StageRow::Joint | StageRow::Cancelling)
            | (StageRow::Joint, StageRow::Leaving)
            | (StageRow::Leaving, StageRow::Done)
            | (StageRow::Cancelling, StageRow::Cancelled)
    )
}
