//! Learners that nobody promotes: who joined for a vote, and got none by the change or the policy that let it in.
//!
//! Not here: learners for good, which a change joined or kept as such.

use std::collections::BTreeSet;

use client::api::plans::{MemberName, Wish};
use client::types::ReplicaId;
use migrations::latest::MembershipRow;
use migrations::latest::changes::{ChangeRow, StageRow};

use crate::node::Core;

impl Core {
    /// A sentence for each learner that no change promotes, with the ways out. None while any may still do so.
    pub(in crate::node) fn leftover_learners(
        &self,
        membership: &MembershipRow,
        expected_voters: usize,
    ) -> Vec<String> {
        let [voters] = &membership.configs[..] else { return Vec::new() };
        let changes = &self.probes.membership_changes;
        let has_no_vote = |id: &&u64| !voters.contains(id);
        let learners: BTreeSet<u64> =
            membership.nodes.keys().filter(has_no_vote).copied().collect();
        let is_filling_up = voters.len() < expected_voters && changes.before(None, 1).is_empty();
        if learners.is_empty() || is_filling_up || changes.under_way().is_some() {
            return Vec::new();
        }
        let is_meant =
            |learner: &u64| changes.find(&|change| is_kept_by(change, *learner)).is_some();
        let (kept, leftover): (BTreeSet<u64>, BTreeSet<u64>) =
            learners.into_iter().partition(is_meant);
        leftover.iter().map(|learner| told(*learner, voters, &kept)).collect()
    }
}

/// Whether a change made it a learner for good.
fn is_kept_by(change: &ChangeRow, learner: u64) -> bool {
    let intent = &change.intent;
    let is_without_a_vote = change.stage == StageRow::Done && !intent.voters.contains(&learner);
    if !is_without_a_vote || change.joins.contains(&learner) {
        return is_without_a_vote;
    }
    let is_named = |learners: &[MemberName]| {
        ReplicaId::new(learner).is_some_and(|id| learners.contains(&MemberName::Replica(id)))
    };
    let wish = serde_json::from_str(&intent.wish);
    matches!(wish, Ok(Wish::Set { learners, .. }) if is_named(&learners))
}

fn told(learner: u64, voters: &BTreeSet<u64>, kept: &BTreeSet<u64>) -> String {
    let mut all: BTreeSet<u64> = voters.clone();
    all.insert(learner);
    let mut words: Vec<_> = all.iter().map(u64::to_string).collect();
    words.extend(kept.iter().map(|id| format!("--learner {id}")));
    format!(
        "Replica {learner} is a learner that no change promotes: `quorate cluster remove {learner}`, or give it a vote by \
         `quorate cluster set {}`.",
        words.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use migrations::latest::changes::IntentRow;

    use super::*;

    fn change(stage: StageRow, wish: &str, voters: &[u64], joins: &[u64]) -> ChangeRow {
        let voters = voters.iter().copied().collect();
        ChangeRow {
            began: 0,
            intent: IntentRow { wish: wish.to_owned(), voters, ..IntentRow::default() },
            joins: joins.iter().copied().collect(),
            stage,
            ended: None,
            outcome: String::new(),
        }
    }

    #[test]
    fn a_learner_is_meant_to_be_one_if_a_change_says_so() {
        let add = r#"{"add":{"joiners":["http://d:7001"],"as_learner":true}}"#;
        let joined = change(StageRow::Done, add, &[1, 2, 3], &[4]);
        assert!(is_kept_by(&joined, 4));
        assert!(!is_kept_by(&joined, 5), "it only was there, too");
        assert!(!is_kept_by(&change(StageRow::Cancelled, add, &[1, 2, 3], &[4]), 4));
        assert!(!is_kept_by(&change(StageRow::Done, add, &[1, 2, 3, 4], &[4]), 4));
        let set = r#"{"set":{"voters":[1,2],"learners":[3]}}"#;
        let kept = change(StageRow::Done, set, &[1, 2], &[]);
        assert!(is_kept_by(&kept, 3), "{:?}", serde_json::from_str::<Wish>(set));
        assert!(!is_kept_by(&kept, 4));
    }

    #[test]
    fn the_ways_out_name_everybody_who_stays() {
        assert_eq!(
            told(4, &BTreeSet::from([1, 2, 3]), &BTreeSet::from([5])),
            "Replica 4 is a learner that no change promotes: `quorate cluster remove 4`, or give it a vote by `quorate \
             cluster set 1 2 3 4 --learner 5`."
        );
    }
}
