//! Plans: what a wish would mean, and whether it is safe. Nothing here changes anything.
//!
//! A plan is a pure function of the wish and of what the leader knows ([`Grounds`]): so the same one is made for people,
//! for programs, and for the engine that carries a change out and looks again before it goes on. Whatever is measured
//! for it was measured before.
//!
//! Not here: carrying it out.

mod footing;
mod gather;
mod grounds;
mod group;
mod leavers;
mod limits;
mod newcomers;
mod stability;
mod target;
#[cfg(test)]
mod tests;
pub(super) mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use client::api::plans::{
    Check, CheckId, CheckLevel, Footing, MemberName, Plan, PlanVerdict, Wish,
};
use client::types::ReplicaId;

use self::footing::{Sets, footing};
use self::grounds::Grounds;
pub(super) use self::stability::{LeadersSeen, watch_leaders};
use self::target::Target;
use super::error::PlanError;

/// What a wish would mean.
pub(super) fn plan(wish: &Wish, grounds: &Grounds) -> Result<Plan, PlanError> {
    let target = Target::of(wish, grounds)?;
    let changes_votes = target.changes_votes(grounds);
    let sets = Stages::of(&target, grounds);
    let caught_up = |member: &MemberName| match member {
        MemberName::Replica(id) => grounds.is_caught_up(*id),
        MemberName::Joiner(_) => false,
    };
    let learners = sets.learners(grounds);
    let scene = Scene {
        grounds,
        target: &target,
        now: footing(&sets.now, &learners, caught_up),
        meanwhile: changes_votes
            .then(|| footing(&sets.joint(), &target.learners, |member| grounds.will_count(member))),
        after: footing(&sets.after, &target.learners, |member| grounds.will_count(member)),
        successor: target.leads.or_else(|| successor(&target, grounds)),
    };
    let checks = scene.checks();
    let copies = u64::try_from(target.joins.len()).unwrap_or(u64::MAX);
    let copy_bytes = (copies > 0).then(|| grounds.stored_bytes.saturating_mul(copies));
    let front = grounds.replicas.get(&grounds.leader).map(|leader| leader.addr.clone());
    let (epoch, copy_ms) = (grounds.epoch, copy_bytes.and_then(|bytes| copy_ms(bytes, grounds)));
    Ok(Plan {
        wish: wish.clone(),
        epoch,
        hand_over_to: scene.successor.filter(|_| scene.leader_goes() || target.leads.is_some()),
        now: scene.now,
        meanwhile: scene.meanwhile,
        after: scene.after,
        copy_bytes,
        copy_ms,
        verdict: PlanVerdict::of(&checks),
        checks,
        command: words::command(wish, epoch),
        curl: front.map(|front| words::curl(wish, epoch, &front)).unwrap_or_default(),
        joins: target.joins,
        leaves: target.leaves,
    })
}

/// The sets of voters, stage by stage.
struct Stages {
    now: Sets,
    after: Sets,
}

impl Stages {
    fn of(target: &Target, grounds: &Grounds) -> Self {
        let named =
            |ids: &BTreeSet<ReplicaId>| ids.iter().copied().map(MemberName::Replica).collect();
        let now = grounds.configs.iter().map(named).collect();
        Self { now, after: vec![target.voters.clone()] }
    }

    /// Until the new voters decide alone: first the old ones, then both together. The old ones are among both.
    fn joint(&self) -> Sets {
        self.now.iter().chain(&self.after).cloned().collect()
    }

    fn learners(&self, grounds: &Grounds) -> BTreeSet<MemberName> {
        let all = grounds.replicas.keys().copied().map(MemberName::Replica);
        all.filter(|member| !self.now.iter().flatten().any(|voter| voter == member)).collect()
    }
}

/// What the checks look at.
struct Scene<'a> {
    grounds: &'a Grounds,
    target: &'a Target,
    now: Footing,
    meanwhile: Option<Footing>,
    after: Footing,
    /// Who would lead next.
    successor: Option<ReplicaId>,
}

impl Scene<'_> {
    /// What all of them found, in the order of their numbers.
    fn checks(&self) -> Vec<Check> {
        let mut checks = self.of_the_group();
        checks.extend(self.of_newcomers());
        checks.extend(self.of_leavers());
        checks.sort_by_key(|check| check.id);
        checks
    }

    /// Whether the one who leads has no vote afterwards.
    fn leader_goes(&self) -> bool {
        !self.target.voters.contains(&MemberName::Replica(self.grounds.leader))
    }
}

/// The voter, now and afterwards, that could lead best instead of the one who leads.
fn successor(target: &Target, grounds: &Grounds) -> Option<ReplicaId> {
    let votes_throughout = |id: &ReplicaId| {
        grounds.configs.iter().all(|voters| voters.contains(id))
            && target.voters.contains(&MemberName::Replica(*id))
    };
    let others = grounds.replicas.iter().filter(|(id, _)| **id != grounds.leader);
    let ready = others.filter(|(id, standing)| {
        votes_throughout(id) && standing.is_fit_to_lead && grounds.is_caught_up(**id)
    });
    ready.min_by_key(|(id, standing)| (standing.lag_entries, **id)).map(|(id, _)| *id)
}

/// How long it takes to copy so much.
fn copy_ms(bytes: u64, grounds: &Grounds) -> Option<u64> {
    let rate = grounds.bytes_per_second.filter(|rate| *rate > 0)?;
    Some(bytes.saturating_mul(1_000) / rate)
}

fn pass(id: CheckId, line: impl Into<String>) -> Check {
    found(id, CheckLevel::Pass, line, None)
}

fn note(id: CheckId, line: impl Into<String>) -> Check {
    found(id, CheckLevel::Note, line, None)
}

fn warn(id: CheckId, line: impl Into<String>, fix: impl Into<String>) -> Check {
    found(id, CheckLevel::Warn, line, Some(fix.into()))
}

/// One that cannot be overridden.
fn block(id: CheckId, line: impl Into<String>, fix: impl Into<String>) -> Check {
    found(id, CheckLevel::Block, line, Some(fix.into()))
}

/// One that is overridden by typing this.
fn block_unless(
    typed: impl Into<String>,
    id: CheckId,
    line: impl Into<String>,
    fix: impl Into<String>,
) -> Check {
    Check { type_to_override: Some(typed.into()), ..block(id, line, fix) }
}

fn found(id: CheckId, level: CheckLevel, line: impl Into<String>, fix: Option<String>) -> Check {
    Check { id, level, line: line.into(), fix, type_to_override: None }
}

/// Milliseconds as a time.
fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
