//! What a wish comes to: who votes, who does not, who comes and who leaves. A wish that contradicts itself or changes
//! nothing ends here.
//!
//! Not here: whether it is wise (`group`, `newcomers`, `leavers`).

use std::collections::BTreeSet;

use client::api::cluster::Joiner;
use client::api::plans::{MemberName, Newcomer, Wish};
use client::types::{ReplicaAddr, ReplicaId};

use super::grounds::Grounds;
use crate::node::error::PlanError;

/// What a wish comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Target {
    /// Who votes.
    pub(in crate::node) voters: BTreeSet<MemberName>,
    /// Who receives everything and does not vote.
    pub(in crate::node) learners: BTreeSet<MemberName>,
    /// Who comes.
    pub(in crate::node) joins: Vec<Newcomer>,
    /// Who leaves, in the order of ids.
    pub(in crate::node) leaves: Vec<ReplicaId>,
    /// Who is to lead, if that is all.
    pub(in crate::node) leads: Option<ReplicaId>,
    /// Who answers replicas elsewhere from now on, if that is all.
    pub(in crate::node) moves: Option<(ReplicaId, ReplicaAddr)>,
}

impl Target {
    /// The target of a wish.
    pub(in crate::node) fn of(wish: &Wish, grounds: &Grounds) -> Result<Self, PlanError> {
        let mut target = Self::as_it_is(grounds);
        match wish {
            Wish::Add { joiners, as_learner } => {
                for addr in joiners {
                    let joiner = joiner(grounds, addr)?;
                    target.take_in(&joiner, *as_learner || joiner.as_learner)?;
                }
            }
            Wish::Remove { replicas } => {
                for id in replicas {
                    target.let_go(grounds, *id)?;
                }
            }
            Wish::Replace { replica, by } => {
                let votes = grounds.is_voter(*replica);
                target.let_go(grounds, *replica)?;
                target.take_in(&joiner(grounds, by)?, !votes)?;
            }
            Wish::Set { voters, learners } => target.set(grounds, voters, learners)?,
            Wish::Lead { replica } => target.lead(grounds, *replica)?,
            Wish::Relocate { replica, addr, peer_addr } => {
                target.relocate(grounds, *replica, addr, peer_addr)?;
            }
        }
        if target.voters.is_empty() {
            return Err(PlanError::NobodyVotes);
        }
        let is_still = target.leads.is_none() && target.moves.is_none();
        if is_still && target == Self::as_it_is(grounds) {
            return Err(PlanError::NothingToDo { reason: "it is so already".to_owned() });
        }
        Ok(target)
    }

    /// Where nothing changes.
    fn as_it_is(grounds: &Grounds) -> Self {
        let voters = grounds.voters();
        let learners = grounds.replicas.keys().filter(|id| !voters.contains(id));
        Self {
            learners: learners.copied().map(MemberName::Replica).collect(),
            voters: voters.iter().copied().map(MemberName::Replica).collect(),
            joins: Vec::new(),
            leaves: Vec::new(),
            leads: None,
            moves: None,
        }
    }

    /// Whether anybody gets a vote or loses it.
    pub(in crate::node) fn changes_votes(&self, grounds: &Grounds) -> bool {
        self.voters != Self::as_it_is(grounds).voters
    }

    /// Who votes now and not afterwards.
    pub(in crate::node) fn losers(&self, grounds: &Grounds) -> Vec<ReplicaId> {
        let votes = |id: &ReplicaId| self.voters.contains(&MemberName::Replica(*id));
        grounds.voters().into_iter().filter(|id| !votes(id)).collect()
    }

    fn take_in(&mut self, joiner: &Joiner, as_learner: bool) -> Result<(), PlanError> {
        let name = MemberName::Joiner(joiner.addr.clone());
        let is_new = if as_learner {
            !self.voters.contains(&name) && self.learners.insert(name.clone())
        } else {
            !self.learners.contains(&name) && self.voters.insert(name.clone())
        };
        if !is_new {
            return Err(PlanError::NamedTwice { member: name });
        }
        self.joins.push(Newcomer { joiner: joiner.clone(), as_learner });
        Ok(())
    }

    fn let_go(&mut self, grounds: &Grounds, id: ReplicaId) -> Result<(), PlanError> {
        known(grounds, id)?;
        let name = MemberName::Replica(id);
        if !self.voters.remove(&name) && !self.learners.remove(&name) {
            return Err(PlanError::NamedTwice { member: name });
        }
        self.leaves.push(id);
        self.leaves.sort_unstable();
        Ok(())
    }

    fn set(
        &mut self,
        grounds: &Grounds,
        voters: &[MemberName],
        learners: &[MemberName],
    ) -> Result<(), PlanError> {
        (self.voters, self.learners) = (BTreeSet::new(), BTreeSet::new());
        let named = voters.iter().map(|name| (name, false));
        for (name, as_learner) in named.chain(learners.iter().map(|name| (name, true))) {
            match name {
                MemberName::Joiner(addr) => self.take_in(&joiner(grounds, addr)?, as_learner)?,
                MemberName::Replica(id) => {
                    known(grounds, *id)?;
                    let is_named = self.voters.contains(name) || self.learners.contains(name);
                    if is_named {
                        return Err(PlanError::NamedTwice { member: name.clone() });
                    }
                    let list = if as_learner { &mut self.learners } else { &mut self.voters };
                    list.insert(name.clone());
                }
            }
        }
        let stays = |id: &ReplicaId| {
            let name = MemberName::Replica(*id);
            self.voters.contains(&name) || self.learners.contains(&name)
        };
        self.leaves = grounds.replicas.keys().copied().filter(|id| !stays(id)).collect();
        Ok(())
    }

    fn lead(&mut self, grounds: &Grounds, id: ReplicaId) -> Result<(), PlanError> {
        known(grounds, id)?;
        if !grounds.voters().contains(&id) {
            return Err(PlanError::NoVoter { replica: id });
        }
        if grounds.leader == id {
            return Err(PlanError::NothingToDo { reason: format!("replica {id} leads already") });
        }
        self.leads = Some(id);
        Ok(())
    }

    fn relocate(
        &mut self,
        grounds: &Grounds,
        id: ReplicaId,
        addr: &ReplicaAddr,
        peer_addr: &ReplicaAddr,
    ) -> Result<(), PlanError> {
        known(grounds, id)?;
        for (other, standing) in &grounds.replicas {
            let is_same = standing.addr == *addr && standing.peer_addr == *peer_addr;
            if *other == id && is_same {
                let reason = format!("replica {id} answers there already");
                return Err(PlanError::NothingToDo { reason });
            }
            let taken = [addr, peer_addr]
                .into_iter()
                .find(|new| standing.addr == **new || standing.peer_addr == **new);
            if let Some(taken) = taken.filter(|_| *other != id) {
                return Err(PlanError::AddressTaken { addr: taken.clone(), replica: *other });
            }
        }
        self.moves = Some((id, peer_addr.clone()));
        Ok(())
    }
}

fn known(grounds: &Grounds, id: ReplicaId) -> Result<(), PlanError> {
    let is_known = grounds.replicas.contains_key(&id);
    if is_known { Ok(()) } else { Err(PlanError::UnknownReplica { replica: id }) }
}

fn joiner(grounds: &Grounds, addr: &ReplicaAddr) -> Result<Joiner, PlanError> {
    let found = grounds.joiner(addr);
    found.cloned().ok_or_else(|| PlanError::UnknownJoiner { addr: addr.clone() })
}
