//! A voter that has been silent for long, and a process that waits to join: proposed for its place, or put there by policy.
//!
//! What was silent before this replica led counts as silent from then on. A proposal is withdrawn when the voter answers,
//! when nobody waits any more and when a change is under way. The policy runs a plan that no check blocks and overrides
//! nothing. It tries once for a silence: after a change of its own was given up, it proposes until the voter was heard.
//!
//! Not here: what a plan checks (`plan`), and how it is carried out (`change`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::api::changes::ChangeRequest;
use client::api::cluster::{Joiner, Replacement};
use client::api::plans::{Check, CheckLevel, Plan, Wish};
use client::types::{ChangeId, Epoch, ReplicaAddr, ReplicaId, Term, Timestamp};
use migrations::latest::changes::{ChangeRow, StageRow};
use tracing::{debug, info};

use super::plan::words;
use super::{Author, Core, Node, ReplaceDead};
use crate::world::Instant;

/// Who begins a change by this policy.
const AUTHOR: &str = "membership.replace_dead";
/// So many of those who wait are planned with before it is proposed with the best of them what a check blocks.
const SPARES_TRIED_MAX: usize = 4;
/// The longest time between two looks at who is silent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two plans for what is proposed: every voter tries to reach the one that waits.
const PLAN_EVERY: Duration = Duration::from_secs(5);

/// What this leader proposes, if anything.
#[derive(Debug, Default)]
pub(super) struct Proposed {
    current: Mutex<Option<Replacement>>,
}

impl Proposed {
    fn lock(&self) -> MutexGuard<'_, Option<Replacement>> {
        // Whatever a panic left behind is one whole value.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proposal, unless the voter has answered since.
    pub(super) fn current(&self, is_here: impl Fn(ReplicaId) -> bool) -> Option<Replacement> {
        let proposed = self.lock().clone();
        proposed
            .filter(|one| !matches!(one.wish, Wish::Replace { replica, .. } if is_here(replica)))
    }
}

/// Looks for silent voters while this replica leads.
pub(super) async fn look_after_the_dead(node: Node) {
    let core = &*node.core;
    let mut leadership = core.leadership.clone();
    let pace = LOOK_EVERY.min(core.options.replace_dead_after / 4);
    let mut silences = Silences::default();
    loop {
        let term = leadership.wait_for(|leadership| leadership.here).await.map(|led| led.term);
        let Ok(term) = term else { return };
        let proposed = node.look_for_the_dead(silences.of(term)).await;
        let pause = if proposed.is_some() { PLAN_EVERY } else { pace };
        *core.replacement.lock() = proposed;
        tokio::select! {
            () = core.world.clock.sleep(pause) => {}
            // What was proposed in another term is nobody's proposal any more.
            _ = leadership.changed() => *core.replacement.lock() = None,
        }
    }
}

/// When each voter was heard last, or first looked at, in a term in which this replica leads.
#[derive(Debug, Default)]
struct Silences {
    term: Term,
    since: BTreeMap<ReplicaId, Instant>,
}

impl Silences {
    fn of(&mut self, term: Term) -> &mut Self {
        if self.term != term {
            *self = Self { term, since: BTreeMap::new() };
        }
        self
    }

    /// Since when a voter has been silent.
    fn since(&mut self, voter: ReplicaId, heard: Option<Instant>, now: Instant) -> Instant {
        let since = self.since.entry(voter).or_insert(now);
        *since = heard.map_or(*since, |heard| heard.max(*since));
        *since
    }
}

/// A voter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Voter {
    id: ReplicaId,
    zone: String,
    silence: Duration,
    /// Whether it has answered this leader at all.
    was_heard: bool,
}

/// The voter that has been silent for longest, if that is too long.
fn dead(voters: &[Voter], after: Duration) -> Option<&Voter> {
    let dead = voters.iter().filter(|voter| voter.silence >= after);
    dead.max_by_key(|voter| (voter.silence, Reverse(voter.id)))
}

/// Who could take a place in this zone: those of the same zone first, and then whoever has waited longest.
fn spares(zone: &str, joiners: &[Joiner]) -> Vec<ReplicaAddr> {
    let mut spares: Vec<_> = joiners.iter().filter(|joiner| !joiner.as_learner).collect();
    spares.sort_by_key(|joiner| joiner.zone.as_str() != zone);
    spares.into_iter().take(SPARES_TRIED_MAX).map(|joiner| joiner.addr.clone()).collect()
}

/// What a plan for one of them came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Planned {
    by: ReplicaAddr,
    epoch: Epoch,
    command: String,
    /// The first check that blocks it.
    block: Option<Check>,
}

impl Planned {
    fn of(by: ReplicaAddr, plan: Plan) -> Self {
        let block = plan.checks.into_iter().find(|check| check.level == CheckLevel::Block);
        Self { by, epoch: plan.epoch, command: plan.command, block }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Propose(Replacement),
    Begin(Wish, Epoch),
}

/// Decides from plans, the best first. Nothing is begun that a check blocks, or that was tried before.
fn decide(
    policy: ReplaceDead,
    voter: &Voter,
    silent_since: Timestamp,
    plans: &[Planned],
    tried: Option<ChangeId>,
) -> Option<Decision> {
    let plan = plans.iter().find(|plan| plan.block.is_none()).or(plans.first())?;
    let wish = Wish::Replace { replica: voter.id, by: plan.by.clone() };
    let silence = words::time(voter.silence);
    let head = format!(
        "Replica {} has not answered for {silence}, and {} waits to join",
        voter.id, plan.by
    );
    let sentence = match (&plan.block, tried) {
        (Some(check), _) => {
            format!("{head}. It cannot take the place: {}: {}", check.id, check.line)
        }
        (None, None) if policy == ReplaceDead::Run => {
            return Some(Decision::Begin(wish, plan.epoch));
        }
        (None, None) => format!("{head}: {}", plan.command),
        (None, Some(change)) => {
            format!("{head}. Change {change} was to replace it and was given up: {}", plan.command)
        }
    };
    let check = plan.block.clone();
    Some(Decision::Propose(Replacement { wish, silent_since, sentence, check }))
}

/// Whether a change was begun by the policy for this silence, and given up.
fn was_given_up(change: &ChangeRow, voter: &Voter, silent_since: Timestamp) -> bool {
    let is_for_it = change.intent.by == AUTHOR && change.intent.leaves.contains(&voter.id.get());
    let is_given_up = matches!(change.stage, StageRow::Cancelling | StageRow::Cancelled);
    // Whoever led before may have begun it for the silence that still lasts.
    let is_lately = !voter.was_heard || change.began >= silent_since.as_millis();
    is_for_it && is_given_up && is_lately
}

impl Node {
    /// One look, and at most one change that is begun. What is proposed.
    async fn look_for_the_dead(&self, silences: &mut Silences) -> Option<Replacement> {
        let core = &*self.core;
        let voters = core.silences(silences)?;
        let voter = dead(&voters, core.options.replace_dead_after)?;
        let spares = spares(&voter.zone, &core.waiting_to_join());
        if spares.is_empty() {
            return None;
        }
        // Whoever leads by name alone hears nobody, and what is applied may be older than this term.
        let index = core.raft.read_index().await.ok()?;
        core.raft.wait_applied(index, core.options.read_deadline).await.ok()?;
        let changes = &core.probes.membership_changes;
        if changes.under_way().is_some() {
            return None;
        }
        let plans = self.plans(voter.id, spares).await;
        let silence = u64::try_from(voter.silence.as_millis()).unwrap_or(u64::MAX);
        let now = core.world.clock.wall_millis();
        let silent_since = Timestamp::new(now.saturating_sub(silence));
        let tried = changes.find(&|change| was_given_up(change, voter, silent_since));
        let tried = tried.map(|(change, _)| ChangeId::new(change));
        match decide(core.options.replace_dead, voter, silent_since, &plans, tried)? {
            Decision::Propose(replacement) => Some(replacement),
            Decision::Begin(wish, epoch) => {
                self.begin_by_policy(voter, wish, epoch).await;
                None
            }
        }
    }

    /// Plans with one after the other, until a plan passes.
    async fn plans(&self, replica: ReplicaId, spares: Vec<ReplicaAddr>) -> Vec<Planned> {
        let mut plans = Vec::new();
        for by in spares {
            // Whoever does not wait any more is no spare.
            let Ok(plan) = self.plan(&Wish::Replace { replica, by: by.clone() }).await else {
                continue;
            };
            let plan = Planned::of(by, plan);
            let is_enough = plan.block.is_none();
            plans.push(plan);
            if is_enough {
                break;
            }
        }
        plans
    }

    async fn begin_by_policy(&self, voter: &Voter, wish: Wish, epoch: Epoch) {
        let request = ChangeRequest { wish, overrides: Vec::new() };
        let author = Author { by: AUTHOR.to_owned(), from: String::new() };
        match self.begin_change(request, epoch, author).await {
            Ok(change) => {
                info!(replica = %voter.id, silence = ?voter.silence, change = %change.id, "voter dead, being replaced");
            }
            // The next look shows what is different by then.
            Err(reason) => debug!(replica = %voter.id, %reason, "voter dead, not replaced yet"),
        }
    }
}

impl Core {
    /// How long each other voter has been silent; none while the membership is being changed.
    fn silences(&self, silences: &mut Silences) -> Option<Vec<Voter>> {
        let now = self.world.clock.now();
        let membership = self.membership.borrow().clone();
        let [voters] = &membership.row.configs[..] else { return None };
        if !membership.is_committed {
            return None;
        }
        let replication = self.raft.replication();
        let others = voters.iter().filter_map(|id| {
            let id = ReplicaId::new(*id).filter(|id| *id != self.identity.replica)?;
            let heard = replication.get(&id).and_then(|progress| progress.heard);
            let since = silences.since(id, heard, now);
            let zone = membership.row.nodes.get(&id.get())?.zone.clone();
            let silence = now.saturating_duration_since(since);
            Some(Voter { id, zone, silence, was_heard: heard.is_some() })
        });
        Some(others.collect())
    }
}

#[cfg(test)]
mod tests {
    use client::api::cluster::{JoinNonce, JoinRequest};
    use client::api::plans::CheckId;
    use client::types::Zone;
    use migrations::latest::changes::IntentRow;
    use proptest::prelude::*;

    use super::*;

    const AFTER: Duration = Duration::from_secs(10);

    fn id(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn addr(port: u16) -> ReplicaAddr {
        ReplicaAddr::new(&format!("http://127.0.0.1:{port}")).unwrap()
    }

    fn voter(number: u64, silent_secs: u64) -> Voter {
        let silence = Duration::from_secs(silent_secs);
        Voter { id: id(number), zone: "a".to_owned(), silence, was_heard: true }
    }

    fn joiner(port: u16, zone: &str, as_learner: bool) -> Joiner {
        let request = JoinRequest::new(JoinNonce::new(1), addr(port), addr(port), "0.1.0");
        Joiner {
            addr: request.addr,
            peer_addr: request.peer_addr,
            zone: Zone::new(zone).unwrap(),
            version: request.version,
            free_bytes: None,
            as_learner,
            machine_version: None,
            format_version: None,
            clock_ahead_ms: None,
            folder: None,
            reaches: Vec::new(),
            since: Timestamp::new(0),
        }
    }

    fn planned(port: u16, block: Option<CheckId>) -> Planned {
        let block = block.map(|id| Check {
            id,
            level: CheckLevel::Block,
            line: "it cannot be reached.".to_owned(),
            fix: None,
            type_to_override: None,
        });
        Planned { by: addr(port), epoch: Epoch::new(5), command: "quorate …".to_owned(), block }
    }

    fn decided(policy: ReplaceDead, plans: &[Planned], tried: Option<u64>) -> Option<Decision> {
        decide(policy, &voter(3, 11), Timestamp::new(7), plans, tried.map(ChangeId::new))
    }

    fn proposed(decision: Option<Decision>) -> Replacement {
        match decision {
            Some(Decision::Propose(replacement)) => replacement,
            other => panic!("not proposed: {other:?}"),
        }
    }

    #[test]
    fn only_who_has_been_silent_for_too_long_is_dead_and_the_longest_first() {
        assert_eq!(dead(&[voter(2, 0), voter(3, 9)], AFTER), None);
        assert_eq!(dead(&[voter(2, 0), voter(3, 10)], AFTER), Some(&voter(3, 10)));
        assert_eq!(dead(&[voter(2, 12), voter(3, 11)], AFTER), Some(&voter(2, 12)));
        assert_eq!(dead(&[voter(3, 11), voter(2, 11)], AFTER), Some(&voter(2, 11)));
    }

    #[test]
    fn silence_counts_from_the_beginning_of_the_term_and_ends_with_an_answer() {
        let (mut silences, start) = (Silences::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let term = silences.of(Term::new(3));
        assert_eq!(term.since(id(2), None, at(0)), at(0));
        assert_eq!(term.since(id(2), None, at(9)), at(0));
        assert_eq!(silences.of(Term::new(3)).since(id(2), Some(at(8)), at(9)), at(8));
        assert_eq!(silences.of(Term::new(4)).since(id(2), None, at(20)), at(20));
    }

    #[test]
    fn who_waits_in_the_same_zone_is_taken_first_and_who_wants_no_vote_never() {
        let waiting = [
            joiner(1, "b", false),
            joiner(2, "a", true),
            joiner(3, "a", false),
            joiner(4, "b", false),
        ];
        assert_eq!(spares("a", &waiting), [3, 1, 4].map(addr));
        assert_eq!(spares("c", &waiting), [1, 3, 4].map(addr));
    }

    #[test]
    fn what_passes_is_run_by_the_policy_and_proposed_without_it() {
        let wish = Wish::Replace { replica: id(3), by: addr(2) };
        let plans = [planned(1, Some(CheckId::P6)), planned(2, None)];
        let begin = Decision::Begin(wish.clone(), Epoch::new(5));
        assert_eq!(decided(ReplaceDead::Run, &plans, None), Some(begin));
        let replacement = proposed(decided(ReplaceDead::Propose, &plans, None));
        assert_eq!((replacement.wish, replacement.check), (wish, None));
        assert_eq!(
            replacement.sentence,
            "Replica 3 has not answered for 11 s, and http://127.0.0.1:2 waits to join: quorate …"
        );
    }

    #[test]
    fn what_is_blocked_or_was_given_up_before_is_proposed_with_the_reason() {
        let blocked = [planned(1, Some(CheckId::P6))];
        let replacement = proposed(decided(ReplaceDead::Run, &blocked, None));
        assert_eq!(replacement.check.map(|check| check.id), Some(CheckId::P6));
        assert!(
            replacement.sentence.ends_with("It cannot take the place: P6: it cannot be reached.")
        );
        let replacement = proposed(decided(ReplaceDead::Run, &[planned(1, None)], Some(7)));
        assert!(replacement.sentence.contains("Change 7 was to replace it and was given up"));
        assert_eq!(decided(ReplaceDead::Run, &[], None), None);
    }

    #[test]
    fn a_change_counts_for_the_silence_it_was_begun_for() {
        let change = |by: &str, stage, began| ChangeRow {
            began,
            intent: IntentRow { by: by.to_owned(), leaves: [3].into(), ..IntentRow::default() },
            joins: [4].into(),
            stage,
            ended: None,
            outcome: String::new(),
        };
        let given_up = change(AUTHOR, StageRow::Cancelled, 1_000);
        let counts = |change: &ChangeRow, voter: &Voter, since| {
            was_given_up(change, voter, Timestamp::new(since))
        };
        assert!(counts(&given_up, &voter(3, 11), 900));
        assert!(!counts(&given_up, &voter(3, 11), 1_100), "it has answered since");
        let unheard = Voter { was_heard: false, ..voter(3, 11) };
        assert!(counts(&given_up, &unheard, 1_100), "it may not have");
        assert!(!counts(&given_up, &voter(2, 11), 900));
        assert!(!counts(&change("ada", StageRow::Cancelled, 1_000), &voter(3, 11), 900));
        assert!(!counts(&change(AUTHOR, StageRow::Done, 1_000), &voter(3, 11), 900));
    }

    #[test]
    fn a_proposal_is_withdrawn_as_soon_as_the_voter_answers() {
        let proposal = Proposed::default();
        let plans = [planned(1, None)];
        *proposal.lock() = Some(proposed(decided(ReplaceDead::Propose, &plans, None)));
        assert!(proposal.current(|_| false).is_some());
        assert!(proposal.current(|replica| replica == id(2)).is_some());
        assert_eq!(proposal.current(|replica| replica == id(3)), None);
    }

    proptest! {
        #[test]
        fn nothing_is_begun_that_is_blocked_or_was_tried_or_is_not_the_policy(
            blocks in prop::collection::vec(any::<bool>(), 0..5),
            tried in prop::option::of(1_u64..9),
            policy in prop::sample::select(vec![ReplaceDead::Off, ReplaceDead::Propose, ReplaceDead::Run]),
        ) {
            let plans: Vec<_> = (1..)
                .zip(&blocks)
                .map(|(port, is_blocked)| planned(port, is_blocked.then_some(CheckId::P1)))
                .collect();
            let may_begin =
                policy == ReplaceDead::Run && tried.is_none() && blocks.contains(&false);
            match decided(policy, &plans, tried) {
                Some(Decision::Begin(Wish::Replace { by, .. }, _)) => {
                    prop_assert!(may_begin);
                    let plan = plans.iter().find(|plan| plan.by == by);
                    prop_assert!(plan.is_some_and(|plan| plan.block.is_none()));
                }
                Some(Decision::Propose(replacement)) => {
                    prop_assert!(!may_begin);
                    prop_assert_eq!(replacement.check.is_some(), !blocks.contains(&false));
                }
                None => prop_assert!(plans.is_empty()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
