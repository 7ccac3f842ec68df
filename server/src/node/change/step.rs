//! What a change of the membership calls for next: decided from what is there, and from nothing that was done before.
//!
//! So a new leader decides as the old one would have, and a step that was done twice was done once. The order is that of
//! the stages: let in, catch up, decide, exchange the voters, take off the list, tell.
//!
//! Not here: doing it (`carry`).

use std::collections::{BTreeMap, BTreeSet};

use migrations::latest::changes::{ChangeRow, StageRow};
use migrations::latest::{MembershipRow, NodeRow};

/// What is known of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Presence {
    /// It answered lately.
    pub(super) is_here: bool,
    /// It has not answered for so long that it is not waited for any more.
    pub(super) is_given_up: bool,
    /// The process that was to be it has begun anew, and asks for another id.
    pub(super) is_lost: bool,
    /// How many entries it is behind; none if the journal has let go some of those: it needs the state.
    pub(super) lag: Option<u64>,
    /// What it is doing about that, if it is more than catching up by entries.
    pub(super) doing: Option<String>,
}

/// What a step is decided from.
#[derive(Clone, Debug)]
pub(super) struct Scene<'a> {
    /// The change.
    pub(super) change: &'a ChangeRow,
    /// The newest membership, and it is committed.
    pub(super) membership: &'a MembershipRow,
    /// This replica, which leads.
    pub(super) ourselves: u64,
    /// What is known of the others.
    pub(super) others: &'a BTreeMap<u64, Presence>,
    /// A replica that is behind by no more entries than this has caught up.
    pub(super) lag_max: u64,
    /// Leadership could not be handed over for so long that it is not tried any more.
    pub(super) is_hand_over_given_up: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To look again soon: this is not there yet.
    Wait(String),
    /// To let these in as learners.
    Admit(BTreeMap<u64, NodeRow>),
    /// To say where these are found from now on.
    Relocate(BTreeMap<u64, NodeRow>),
    /// To hand leadership on, but not to these; because that was wished, or because the change needs it.
    HandOver { not_to: BTreeSet<u64>, is_wished: bool },
    /// To make these the voters. The others stay as learners if `are_others_kept`.
    Vote { voters: BTreeSet<u64>, are_others_kept: bool },
    /// To take these off the list.
    Drop(BTreeSet<u64>),
    /// To tell these that they are members no more, and then to go on to the stage.
    Tell(BTreeSet<u64>, StageRow),
    /// To go on to this stage, for this reason.
    Move(StageRow, String),
}

impl Scene<'_> {
    /// Decides.
    pub(super) fn step(&self) -> Step {
        match self.change.stage {
            StageRow::Joining => self.joining(),
            StageRow::Joint => self.joint(),
            StageRow::Leaving => self.leaving(),
            StageRow::Cancelling => self.cancelling(),
            StageRow::Done | StageRow::Cancelled => Step::Wait("nothing".to_owned()),
        }
    }

    fn joining(&self) -> Step {
        let intent = &self.change.intent;
        let lacking = |(id, _): &(&u64, &NodeRow)| !self.membership.nodes.contains_key(id);
        let newcomers: BTreeMap<_, _> = owned(intent.nodes.iter().filter(lacking));
        if !newcomers.is_empty() {
            return Step::Admit(newcomers);
        }
        let moved = |(id, node): &(&u64, &NodeRow)| self.membership.nodes.get(id) != Some(node);
        let moved: BTreeMap<_, _> = owned(intent.nodes.iter().filter(moved));
        if !moved.is_empty() {
            return Step::Relocate(moved);
        }
        if let Some(lost) = self.change.joins.iter().find(|id| self.presence(**id).is_lost) {
            let reason = format!("given up: the process that was to be replica {lost} began anew");
            return Step::Move(StageRow::Cancelling, reason);
        }
        if let Some(silent) = self.change.joins.iter().find(|id| self.presence(**id).is_given_up) {
            let reason = format!("given up: replica {silent} did not answer");
            return Step::Move(StageRow::Cancelling, reason);
        }
        if let Some(reason) = self.change.joins.iter().find_map(|id| self.not_ready(*id)) {
            return Step::Wait(reason);
        }
        // Looked at again right before there is no way back.
        for voters in self.membership.configs.iter().chain([&self.target()]) {
            if let Some(reason) = self.no_majority(voters) {
                return Step::Wait(reason);
            }
        }
        Step::Move(StageRow::Joint, String::new())
    }

    fn joint(&self) -> Step {
        let target = self.target();
        if self.membership.configs == [target.clone()] {
            return Step::Move(StageRow::Leaving, String::new());
        }
        let is_joint = self.membership.configs.len() > 1;
        // Whoever leads and will not vote hands over to one who does before and after. Where that does not come about,
        // the change goes on all the same: then there is an election once it is decided.
        let is_leaving = !target.contains(&self.ourselves);
        let may_hand_over = !self.is_hand_over_given_up && self.has_successor(&target);
        if !is_joint && is_leaving && may_hand_over {
            let before = self.membership.configs.iter().flatten().copied();
            let not_to = before.filter(|id| !target.contains(id)).collect();
            return Step::HandOver { not_to, is_wished: false };
        }
        let before = self.membership.configs.iter().flatten();
        let mut others = before.filter(|id| !target.contains(id));
        let are_others_kept = others.any(|id| !self.change.intent.leaves.contains(id));
        Step::Vote { voters: target, are_others_kept }
    }

    fn leaving(&self) -> Step {
        let leaves = &self.change.intent.leaves;
        if let Some(leader) = self.change.intent.lead.filter(|leader| *leader != self.ourselves) {
            let voters = self.membership.configs.iter().flatten().copied();
            let not_to = voters.filter(|id| *id != leader).collect();
            return Step::HandOver { not_to, is_wished: true };
        }
        self.drop_and_tell(leaves, StageRow::Done)
    }

    fn cancelling(&self) -> Step {
        self.drop_and_tell(&self.change.joins, StageRow::Cancelled)
    }

    fn drop_and_tell(&self, leaves: &BTreeSet<u64>, end: StageRow) -> Step {
        let listed = leaves.iter().filter(|id| self.membership.nodes.contains_key(id));
        let listed: BTreeSet<u64> = listed.copied().collect();
        if listed.is_empty() { Step::Tell(leaves.clone(), end) } else { Step::Drop(listed) }
    }

    /// Who votes in the end.
    fn target(&self) -> BTreeSet<u64> {
        let voters = &self.change.intent.voters;
        if voters.is_empty() {
            self.membership.configs.last().cloned().unwrap_or_default()
        } else {
            voters.clone()
        }
    }

    fn presence(&self, id: u64) -> Presence {
        if id == self.ourselves {
            return Presence { is_here: true, lag: Some(0), ..Presence::default() };
        }
        self.others.get(&id).cloned().unwrap_or_default()
    }

    fn is_ready(&self, id: u64) -> bool {
        self.not_ready(id).is_none()
    }

    fn not_ready(&self, id: u64) -> Option<String> {
        let Presence { is_here, lag, doing, .. } = self.presence(id);
        if !is_here {
            return Some(format!("replica {id} to answer"));
        }
        let behind = match lag {
            Some(lag) if lag <= self.lag_max => return None,
            Some(lag) => format!("{lag} entries behind"),
            None => "the state is about to be offered to it".to_owned(),
        };
        Some(format!("replica {id} to catch up: {}", doing.unwrap_or(behind)))
    }

    fn no_majority(&self, voters: &BTreeSet<u64>) -> Option<String> {
        let lacking: Vec<u64> = voters.iter().copied().filter(|id| !self.is_ready(*id)).collect();
        let is_majority = 2 * (voters.len() - lacking.len()) > voters.len();
        let named: Vec<String> = lacking.iter().map(ToString::to_string).collect();
        (!is_majority).then(|| {
            format!("a majority to answer and to be caught up: {} are not", named.join(", "))
        })
    }

    fn has_successor(&self, target: &BTreeSet<u64>) -> bool {
        let mut before = self.membership.configs.iter().flatten();
        before.any(|id| *id != self.ourselves && target.contains(id) && self.is_ready(*id))
    }
}

fn owned<'a>(nodes: impl Iterator<Item = (&'a u64, &'a NodeRow)>) -> BTreeMap<u64, NodeRow> {
    nodes.map(|(id, node)| (*id, node.clone())).collect()
}

#[cfg(test)]
mod tests {
    use migrations::latest::changes::IntentRow;
    use proptest::prelude::*;

    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    fn nodes(ids: &[u64]) -> BTreeMap<u64, NodeRow> {
        ids.iter().map(|id| (*id, NodeRow::default())).collect()
    }

    fn change(stage: StageRow, voters: &[u64], joins: &[u64], leaves: &[u64]) -> ChangeRow {
        ChangeRow {
            began: 0,
            intent: IntentRow {
                voters: ids(voters),
                nodes: nodes(joins),
                leaves: ids(leaves),
                ..IntentRow::default()
            },
            joins: ids(joins),
            stage,
            ended: None,
            outcome: String::new(),
        }
    }

    fn membership(configs: &[&[u64]], members: &[u64]) -> MembershipRow {
        MembershipRow {
            configs: configs.iter().map(|voters| ids(voters)).collect(),
            nodes: nodes(members),
        }
    }

    fn here(lag: u64) -> Presence {
        Presence { is_here: true, lag: Some(lag), ..Presence::default() }
    }

    fn step(change: &ChangeRow, membership: &MembershipRow, others: &[(u64, Presence)]) -> Step {
        let others = others.iter().cloned().collect();
        scene(change, membership, &others).step()
    }

    fn scene<'a>(
        change: &'a ChangeRow,
        membership: &'a MembershipRow,
        others: &'a BTreeMap<u64, Presence>,
    ) -> Scene<'a> {
        let (ourselves, lag_max) = (1, 10);
        Scene { change, membership, ourselves, others, lag_max, is_hand_over_given_up: false }
    }

    #[test]
    fn a_newcomer_is_let_in_and_waited_for_before_anything_is_decided() {
        let change = change(StageRow::Joining, &[1, 2, 3, 4], &[4], &[]);
        let before = membership(&[&[1, 2, 3]], &[1, 2, 3]);
        let all = [(2, here(0)), (3, here(0))];
        assert_eq!(step(&change, &before, &all), Step::Admit(nodes(&[4])));
        let listed = membership(&[&[1, 2, 3]], &[1, 2, 3, 4]);
        assert_eq!(step(&change, &listed, &all), Step::Wait("replica 4 to answer".to_owned()));
        let with = |presence| [(2, here(0)), (3, here(0)), (4, presence)];
        let behind = "replica 4 to catch up: 11 entries behind".to_owned();
        assert_eq!(step(&change, &listed, &with(here(11))), Step::Wait(behind));
        let copying = Presence { doing: Some("fetching, 12 %".to_owned()), ..here(11) };
        let waits = "replica 4 to catch up: fetching, 12 %".to_owned();
        assert_eq!(step(&change, &listed, &with(copying)), Step::Wait(waits));
        // A few large entries are few, and yet all that is kept: what came before them has to be copied.
        let lacking = Presence { lag: None, ..here(0) };
        let waits = "replica 4 to catch up: the state is about to be offered to it".to_owned();
        assert_eq!(step(&change, &listed, &with(lacking)), Step::Wait(waits));
        let on = Step::Move(StageRow::Joint, String::new());
        assert_eq!(step(&change, &listed, &with(here(10))), on);
        let silent = Presence { is_given_up: true, ..Presence::default() };
        let reason = "given up: replica 4 did not answer".to_owned();
        let given_up = Step::Move(StageRow::Cancelling, reason);
        assert_eq!(step(&change, &listed, &with(silent)), given_up);
        let lost = Presence { is_lost: true, ..Presence::default() };
        let reason = "given up: the process that was to be replica 4 began anew".to_owned();
        let given_up = Step::Move(StageRow::Cancelling, reason);
        assert_eq!(step(&change, &listed, &with(lost)), given_up);
    }

    #[test]
    fn nothing_is_decided_without_a_majority_of_the_old_and_of_the_new_voters() {
        let change = change(StageRow::Joining, &[1, 2], &[], &[3]);
        let before = membership(&[&[1, 2, 3]], &[1, 2, 3]);
        let on = Step::Move(StageRow::Joint, String::new());
        assert_eq!(step(&change, &before, &[(2, here(0))]), on);
        let waits = "a majority to answer and to be caught up: 2 are not".to_owned();
        assert_eq!(step(&change, &before, &[(3, here(0))]), Step::Wait(waits));
        let waits = "a majority to answer and to be caught up: 2, 3 are not".to_owned();
        assert_eq!(step(&change, &before, &[(2, here(11))]), Step::Wait(waits));
    }

    #[test]
    fn a_leader_that_leaves_hands_over_to_one_that_stays() {
        let change = change(StageRow::Joint, &[2, 3, 4], &[4], &[1]);
        let before = membership(&[&[1, 2, 3]], &[1, 2, 3, 4]);
        let all = [(2, here(0)), (3, here(0)), (4, here(0))];
        let hand_over = Step::HandOver { not_to: ids(&[1]), is_wished: false };
        assert_eq!(step(&change, &before, &all), hand_over);
        let vote = Step::Vote { voters: ids(&[2, 3, 4]), are_others_kept: false };
        assert_eq!(step(&change, &before, &[(4, here(0))]), vote, "nobody is fit: an election");
        let others = all.iter().cloned().collect();
        let in_vain = Scene { is_hand_over_given_up: true, ..scene(&change, &before, &others) };
        assert_eq!(in_vain.step(), vote, "nobody takes it: an election");
        let joint = membership(&[&[1, 2, 3], &[2, 3, 4]], &[1, 2, 3, 4]);
        assert_eq!(step(&change, &joint, &all), vote, "what is joint is finished at once");
    }

    #[test]
    fn who_loses_the_vote_and_stays_becomes_a_learner_before_others_leave() {
        let change = change(StageRow::Joint, &[1], &[], &[3]);
        let before = membership(&[&[1, 2, 3]], &[1, 2, 3]);
        let vote = Step::Vote { voters: ids(&[1]), are_others_kept: true };
        assert_eq!(step(&change, &before, &[]), vote);
        let change = ChangeRow { stage: StageRow::Leaving, ..change };
        let after = membership(&[&[1]], &[1, 2, 3]);
        assert_eq!(step(&change, &after, &[]), Step::Drop(ids(&[3])));
        let gone = membership(&[&[1]], &[1, 2]);
        assert_eq!(step(&change, &gone, &[]), Step::Tell(ids(&[3]), StageRow::Done));
    }

    #[test]
    fn a_cancelled_change_takes_its_newcomers_off_the_list() {
        let change = change(StageRow::Cancelling, &[1, 2, 3, 4], &[4], &[2]);
        let listed = membership(&[&[1, 2, 3]], &[1, 2, 3, 4]);
        assert_eq!(step(&change, &listed, &[]), Step::Drop(ids(&[4])));
        let gone = membership(&[&[1, 2, 3]], &[1, 2, 3]);
        assert_eq!(step(&change, &gone, &[]), Step::Tell(ids(&[4]), StageRow::Cancelled));
    }

    /// Does a step to the membership and the change, as agreement would.
    fn act(change: &mut ChangeRow, membership: &mut MembershipRow, leader: &mut u64, step: Step) {
        match step {
            Step::Admit(nodes) | Step::Relocate(nodes) => membership.nodes.extend(nodes),
            Step::Vote { voters, are_others_kept } => {
                let old: BTreeSet<u64> = membership.configs.iter().flatten().copied().collect();
                if !are_others_kept {
                    membership.nodes.retain(|id, _| !old.contains(id) || voters.contains(id));
                }
                membership.configs = vec![voters];
            }
            Step::Drop(gone) => membership.nodes.retain(|id, _| !gone.contains(id)),
            Step::Tell(_, stage) | Step::Move(stage, _) => change.stage = stage,
            Step::HandOver { not_to, .. } => {
                let fit = |id: &&u64| !not_to.contains(id);
                *leader = *membership.configs[0].iter().find(fit).unwrap();
            }
            Step::Wait(reason) => panic!("all are here: {reason}"),
        }
    }

    proptest! {
        #[test]
        fn every_change_ends_as_it_was_wished_when_all_are_here(
            voters in prop::collection::btree_set(1_u64..=7, 1..=7),
            target in prop::collection::btree_set(1_u64..=7, 1..=7),
            learners in prop::collection::btree_set(1_u64..=7, 0..=3),
            leader in any::<prop::sample::Index>(),
            lost_at in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let joins: Vec<u64> = target.union(&learners).copied().filter(|id| !voters.contains(id)).collect();
            let leaves: Vec<u64> = (voters.iter().copied())
                .filter(|id| !target.contains(id) && !learners.contains(id))
                .collect();
            let target: Vec<u64> = target.into_iter().collect();
            let mut change = change(StageRow::Joining, &target, &joins, &leaves);
            let before: Vec<u64> = voters.iter().copied().collect();
            let mut membership = membership(&[&before], &before);
            let mut leader = *leader.get(&before);
            let others: BTreeMap<u64, Presence> = (1..=7).map(|id| (id, here(0))).collect();
            for round in 0..12 {
                if change.stage.is_end() {
                    break;
                }
                // Now and then another voter leads, whatever was under way.
                let now: Vec<u64> = membership.configs.iter().flatten().copied().collect();
                if let Some(lost) = lost_at.get(round) {
                    leader = *lost.get(&now);
                } else if !now.contains(&leader) {
                    leader = now[0];
                }
                let scene = Scene { ourselves: leader, ..scene(&change, &membership, &others) };
                let step = scene.step();
                act(&mut change, &mut membership, &mut leader, step);
            }
            prop_assert_eq!(change.stage, StageRow::Done);
            prop_assert_eq!(&membership.configs, &[target.iter().copied().collect::<BTreeSet<_>>()]);
            let members: BTreeSet<u64> = membership.nodes.keys().copied().collect();
            let wished = voters.iter().chain(&joins).copied().filter(|id| !leaves.contains(id));
            prop_assert_eq!(members, wished.collect::<BTreeSet<_>>());
        }
    }
}
