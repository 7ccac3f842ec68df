//! A wish becomes a change: planned again, held against its epoch and its checks, agreed on.
//!
//! Not here: what comes after (`carry`).

use std::collections::{BTreeMap, BTreeSet};

use client::api::changes::{Change, ChangeRequest, Override};
use client::api::plans::{Check, CheckId, CheckLevel, MemberName, Plan, Wish};
use client::types::{ChangeId, Epoch};
use migrations::latest::changes::{IntentRow, NewcomerRow, OverrideRow};

use crate::machine::{Author, BeginChange, Rejection};
use crate::node::error::ChangeError;
use crate::node::{Core, Node};

impl Node {
    /// Begins a change, if it was planned for the newest membership and no check forbids it. It goes on by itself.
    pub async fn begin_change(
        &self,
        request: ChangeRequest,
        epoch: Epoch,
        author: Author,
    ) -> Result<Change, ChangeError> {
        self.check_leads()?;
        let plan = self.plan(&request.wish).await?;
        if plan.epoch != epoch {
            return Err(ChangeError::Stale { plan: Box::new(plan) });
        }
        if let Some((change, _)) = self.core.probes.membership_changes.under_way() {
            return Err(ChangeError::UnderWay { change: ChangeId::new(change) });
        }
        check(&plan, &request.overrides)?;
        let command = self.core.intended(&plan, &request, author.clone())?;
        let deadline = self.core.options.command_deadline;
        let change = match self.core.proposer.propose_for(author, command, deadline).await? {
            Ok(begun) => ChangeId::new(begun.change),
            Err(Rejection::ChangeUnderWay { change }) => {
                return Err(ChangeError::UnderWay { change: ChangeId::new(change) });
            }
            // Somebody was faster: their plan is of no use any more, and a fresh one is.
            Err(Rejection::EpochMoved { epoch: _ }) => {
                let plan = Box::new(self.plan(&request.wish).await?);
                return Err(ChangeError::Stale { plan });
            }
            Err(rejection) => return Err(ChangeError::Refused(rejection)),
        };
        self.core.joiners.stir();
        self.membership_change(change).ok_or(ChangeError::Unknown)
    }
}

/// Lets a plan pass whose every block was overridden as it asks for.
fn check(plan: &Plan, overrides: &[Override]) -> Result<(), ChangeError> {
    let blocks = plan.checks.iter().filter(|check| check.level == CheckLevel::Block);
    let (never, overridable): (Vec<&Check>, Vec<&Check>) =
        blocks.partition(|check| check.type_to_override.is_none());
    let ids = |checks: &[&Check]| checks.iter().map(|check| check.id).collect::<Vec<CheckId>>();
    if !never.is_empty() {
        return Err(ChangeError::Blocked { checks: ids(&never), plan: Box::new(plan.clone()) });
    }
    let is_overridden = |check: &&Check| overrides.iter().any(|one| overrides_it(one, check));
    let missing: Vec<&Check> = overridable.into_iter().filter(|one| !is_overridden(one)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ChangeError::OverrideMissing { checks: ids(&missing), plan: Box::new(plan.clone()) })
}

/// Whether this override lifts this block.
fn overrides_it(one: &Override, check: &Check) -> bool {
    check.level == CheckLevel::Block
        && check.id == one.check
        && check.type_to_override.as_deref() == Some(one.typed.as_str())
}

impl Core {
    /// What a plan means in ids and addresses.
    fn intended(
        &self,
        plan: &Plan,
        request: &ChangeRequest,
        author: Author,
    ) -> Result<BeginChange, ChangeError> {
        let mut newcomers = Vec::new();
        for newcomer in &plan.joins {
            let addr = &newcomer.joiner.addr;
            let (nonce, node) =
                self.newcomer(addr).ok_or(ChangeError::Gone { addr: addr.clone() })?;
            newcomers.push(NewcomerRow { nonce, node, is_voter: !newcomer.as_learner });
        }
        let voters = plan.after.voters.iter().filter_map(|voter| match voter {
            MemberName::Replica(replica) => Some(replica.get()),
            MemberName::Joiner(_) => None,
        });
        let (mut nodes, mut lead) = (BTreeMap::new(), None);
        match &request.wish {
            Wish::Lead { replica } => lead = Some(replica.get()),
            Wish::Relocate { replica, addr, peer_addr } => {
                let membership = self.membership.borrow();
                let mut node =
                    membership.row.nodes.get(&replica.get()).cloned().unwrap_or_default();
                node.front_addr = addr.to_string();
                node.peer_addr = peer_addr.to_string();
                nodes.insert(replica.get(), node);
            }
            Wish::Add { .. } | Wish::Remove { .. } | Wish::Replace { .. } | Wish::Set { .. } => {}
        }
        // What lifted nothing is no part of the history.
        let lifts = |one: &&Override| plan.checks.iter().any(|check| overrides_it(one, check));
        let overrides = request.overrides.iter().filter(lifts).map(|one| OverrideRow {
            check: number_of(one.check),
            typed: one.typed.to_string(),
            reason: one.reason.to_string(),
        });
        let intent = IntentRow {
            epoch: plan.epoch.get(),
            wish: serde_json::to_string(&request.wish).unwrap_or_default(),
            by: author.by,
            from: author.from,
            overrides: overrides.collect(),
            voters: voters.collect::<BTreeSet<u64>>(),
            nodes,
            leaves: plan.leaves.iter().map(|replica| replica.get()).collect(),
            lead,
        };
        Ok(BeginChange { stamp: self.proposer.stamp(), intent, newcomers })
    }
}

/// The number of a check, as it is kept.
fn number_of(check: CheckId) -> u8 {
    let at = CheckId::ALL.iter().position(|id| *id == check).unwrap_or_default();
    u8::try_from(at + 1).unwrap_or(u8::MAX)
}
