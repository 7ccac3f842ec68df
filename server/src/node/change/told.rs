//! A change as it is told: stages as steps, ids as the contract's.
//!
//! Not here: what is decided from it (`step`).

use std::collections::BTreeSet;

use client::api::changes::{Change, ChangeStage, ChangeStep, Override, StepState};
use client::api::plans::{CheckId, Wish};
use client::types::{ChangeId, Epoch, Reason, ReplicaId, Timestamp, Typed};
use migrations::latest::MembershipRow;
use migrations::latest::changes::{ChangeRow, OverrideRow, StageRow};

use crate::node::Node;

impl Node {
    /// Tells a change, as far as this replica knows.
    pub(super) fn told_change(&self, change: u64, row: &ChangeRow) -> Change {
        let waits_for =
            (!row.stage.is_end()).then(|| self.core.carrying.waits_for(change)).flatten();
        let intent = &row.intent;
        Change {
            id: ChangeId::new(change),
            wish: wish(row),
            stage: stage(row.stage),
            epoch: Epoch::new(intent.epoch),
            began: Timestamp::new(row.began),
            ended: row.ended.map(Timestamp::new),
            by: intent.by.clone(),
            from: (!intent.from.is_empty()).then(|| intent.from.clone()),
            overrides: intent.overrides.iter().filter_map(override_of).collect(),
            joins: replicas(&row.joins),
            leaves: replicas(&intent.leaves),
            voters: replicas(&intent.voters),
            steps: steps(row, &self.core.membership.borrow().row, waits_for.as_deref()),
            waits_for,
            outcome: (!row.outcome.is_empty()).then(|| row.outcome.clone()),
            can_cancel: row.stage == StageRow::Joining,
        }
    }
}

/// The wish as it was written. One that cannot be read any more is told by what it came to.
fn wish(row: &ChangeRow) -> Wish {
    serde_json::from_str(&row.intent.wish)
        .unwrap_or_else(|_| Wish::Remove { replicas: replicas(&row.intent.leaves) })
}

const fn stage(stage: StageRow) -> ChangeStage {
    match stage {
        StageRow::Joining => ChangeStage::Joining,
        StageRow::Joint => ChangeStage::Joint,
        StageRow::Leaving => ChangeStage::Leaving,
        StageRow::Done => ChangeStage::Done,
        StageRow::Cancelling => ChangeStage::Cancelling,
        StageRow::Cancelled => ChangeStage::Cancelled,
    }
}

fn replicas(ids: &BTreeSet<u64>) -> Vec<ReplicaId> {
    ids.iter().filter_map(|id| ReplicaId::new(*id)).collect()
}

pub(in crate::node) fn override_of(row: &OverrideRow) -> Option<Override> {
    let check = usize::from(row.check).checked_sub(1).and_then(|at| CheckId::ALL.get(at))?;
    Some(Override {
        check: *check,
        typed: Typed::new(&row.typed).ok()?,
        reason: Reason::new(&row.reason).ok()?,
    })
}

/// Every step that the change has, in order.
fn steps(row: &ChangeRow, membership: &MembershipRow, waits_for: Option<&str>) -> Vec<ChangeStep> {
    let intent = &row.intent;
    let are_listed = row.joins.iter().all(|id| membership.nodes.contains_key(id));
    let is_wanted = [
        !intent.nodes.is_empty(),
        !row.joins.is_empty(),
        !intent.voters.is_empty(),
        !intent.leaves.is_empty() || intent.lead.is_some(),
    ];
    // How many steps are behind it.
    let done = match row.stage {
        StageRow::Joining if are_listed => 1,
        StageRow::Joining | StageRow::Cancelling | StageRow::Cancelled => 0,
        StageRow::Joint => 2,
        StageRow::Leaving => 3,
        StageRow::Done => 4,
    };
    let is_cancelled = matches!(row.stage, StageRow::Cancelling | StageRow::Cancelled);
    let names = [joining(row), "catching up".to_owned(), "voting".to_owned(), leaving(row)];
    let states = names.into_iter().zip(is_wanted).enumerate().map(|(at, (name, is_wanted))| {
        let state = if !is_wanted || is_cancelled {
            StepState::Skipped
        } else if at < done {
            StepState::Done
        } else if at == done {
            StepState::Active
        } else {
            StepState::Waiting
        };
        let detail = waits_for.filter(|_| state == StepState::Active).map(str::to_owned);
        ChangeStep { name, state, detail }
    });
    states.collect()
}

fn joining(row: &ChangeRow) -> String {
    if row.joins.is_empty() && !row.intent.nodes.is_empty() {
        return "moving to the new address".to_owned();
    }
    "joining as learner".to_owned()
}

fn leaving(row: &ChangeRow) -> String {
    if row.intent.leaves.is_empty() && row.intent.lead.is_some() {
        return "handing leadership over".to_owned();
    }
    "leaving".to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use migrations::latest::NodeRow;
    use migrations::latest::changes::IntentRow;

    use super::*;

    fn row(stage: StageRow) -> ChangeRow {
        ChangeRow {
            began: 0,
            intent: IntentRow {
                voters: BTreeSet::from([1, 2, 4]),
                nodes: BTreeMap::from([(4, NodeRow::default())]),
                leaves: BTreeSet::from([3]),
                ..IntentRow::default()
            },
            joins: BTreeSet::from([4]),
            stage,
            ended: None,
            outcome: String::new(),
        }
    }

    fn states(row: &ChangeRow, members: &[u64]) -> Vec<StepState> {
        let nodes = members.iter().map(|id| (*id, NodeRow::default())).collect();
        let membership = MembershipRow { configs: Vec::new(), nodes };
        steps(row, &membership, Some("it")).into_iter().map(|step| step.state).collect()
    }

    #[test]
    fn the_steps_of_a_change_only_move_on() {
        use StepState::{Active, Done, Skipped, Waiting};
        let before = states(&row(StageRow::Joining), &[1, 2, 3]);
        assert_eq!(before, [Active, Waiting, Waiting, Waiting]);
        let listed = states(&row(StageRow::Joining), &[1, 2, 3, 4]);
        assert_eq!(listed, [Done, Active, Waiting, Waiting]);
        assert_eq!(states(&row(StageRow::Joint), &[1, 2, 4]), [Done, Done, Active, Waiting]);
        assert_eq!(states(&row(StageRow::Leaving), &[1, 2, 4]), [Done, Done, Done, Active]);
        assert_eq!(states(&row(StageRow::Done), &[1, 2, 4]), [Done; 4]);
        assert_eq!(states(&row(StageRow::Cancelled), &[1, 2, 3]), [Skipped; 4]);
    }

    #[test]
    fn what_a_wish_does_not_need_is_no_step_of_it() {
        let lead = IntentRow { lead: Some(2), ..IntentRow::default() };
        let lead = ChangeRow { intent: lead, joins: BTreeSet::new(), ..row(StageRow::Leaving) };
        let membership = MembershipRow::default();
        let steps = steps(&lead, &membership, None);
        let active: Vec<_> = steps.iter().filter(|step| step.state == StepState::Active).collect();
        assert_eq!(active.len(), 1);
        assert_eq!(active[0].name, "handing leadership over");
        assert!(steps[..3].iter().all(|step| step.state == StepState::Skipped));
    }
}
