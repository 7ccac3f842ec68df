//! Whom to ask: the addresses that were configured, the members that were told of since, and who leads.
//!
//! Members change while a client lives, until none of the configured addresses is one any more. So the
//! members are asked for again when an answer names another epoch than theirs, and only then. Addresses
//! that are no members are dropped, except those that were configured: they are the last resort.
//!
//! Not here: asking (`transport`).

use std::time::Duration;

use tokio::time::Instant;

use super::transport::Aim;
use crate::api::cluster::ClusterStatus;
use crate::types::{Epoch, Generation, ReplicaAddr};

/// How long a replica that is known to work from here is left alone when it could not be reached.
const SHUN_PROVEN: Duration = Duration::from_millis(500);
/// The same for an address that is only known by word: it may be none that works from here.
const SHUN_TOLD: Duration = Duration::from_secs(30);
/// Shortest time until the members are asked for again after a question that brought nothing new.
const ASK_NEWER_AFTER: Duration = Duration::from_secs(1);
/// The same if the answer was of an older epoch: from a replica that is behind, or of another generation.
const ASK_OLDER_AFTER: Duration = Duration::from_secs(5);
/// So many members are remembered.
const MEMBERS_MAX: usize = 64;

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Endpoints {
    seeds: Vec<ReplicaAddr>,
    members: Option<Members>,
    /// Seeds that are members, other members, other seeds. All seeds, before the members are known.
    order: Vec<ReplicaAddr>,
    /// How many of them are members, as far as known.
    trusted: usize,
    /// Which of them is asked when the leader is not known or not needed.
    current: usize,
    leader: Option<ReplicaAddr>,
    /// Who could not be reached, until when it is left alone.
    shunned: Vec<(ReplicaAddr, Instant)>,
    /// Who has answered.
    proven: Vec<ReplicaAddr>,
    /// When the members were asked for.
    asked: Option<Instant>,
}

/// The members of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    generation: Option<Generation>,
    epoch: Epoch,
    addrs: Vec<ReplicaAddr>,
}

impl Members {
    /// As a replica told them; none if it is no replica yet.
    pub(super) fn of(status: &ClusterStatus) -> Option<Self> {
        let addrs = status.replicas.iter().take(MEMBERS_MAX).map(|replica| replica.addr.clone());
        let addrs: Vec<_> = addrs.collect();
        let epoch = status.epoch.filter(|_| !addrs.is_empty())?;
        Some(Self { generation: status.generation, epoch, addrs })
    }

    fn age(&self) -> (u32, Epoch) {
        (self.generation.map_or(0, |generation| generation.number), self.epoch)
    }
}

impl Endpoints {
    pub(super) fn new(seeds: Vec<ReplicaAddr>) -> Self {
        let seeds = each_once(seeds);
        Self {
            order: seeds.clone(),
            trusted: seeds.len(),
            seeds,
            members: None,
            current: 0,
            leader: None,
            shunned: Vec::new(),
            proven: Vec::new(),
            asked: None,
        }
    }

    pub(super) fn choose(&self, aim: Aim) -> ReplicaAddr {
        match (&self.leader, aim) {
            (Some(leader), Aim::Leader) => leader.clone(),
            _ => self.order[self.current].clone(),
        }
    }

    /// Takes over who the members are, unless something newer is known.
    pub(super) fn learn(&mut self, members: Members) {
        if self.members.as_ref().is_some_and(|known| known.age() > members.age()) {
            return;
        }
        if self.members.as_ref().is_none_or(|known| known.epoch < members.epoch) {
            // What is newer still is asked for at once.
            self.asked = None;
        }
        let current = self.order[self.current].clone();
        let (seeds, strangers): (Vec<_>, Vec<_>) =
            self.seeds.iter().cloned().partition(|seed| members.addrs.contains(seed));
        self.order = each_once([seeds, members.addrs.clone()].concat());
        self.trusted = self.order.len();
        self.order.extend(strangers);
        // Whoever serves is kept, as long as it is known at all.
        self.current = self.order.iter().position(|addr| *addr == current).unwrap_or(0);
        self.proven.retain(|addr| self.order.contains(addr));
        if self.leader.as_ref().is_some_and(|leader| !members.addrs.contains(leader)) {
            self.leader = None;
        }
        self.members = Some(members);
    }

    /// An answer came from there. Whether it is time to ask for the members, if it named an epoch. Who names none is
    /// no replica any more: the members are asked from now on, if they are known.
    pub(super) fn answered(&mut self, endpoint: &ReplicaAddr, epoch: Option<Epoch>) -> bool {
        if !self.proven.contains(endpoint) && self.proven.len() < MEMBERS_MAX {
            self.proven.push(endpoint.clone());
        }
        let known = self.members.as_ref().map(|members| members.epoch);
        let Some(epoch) = epoch else {
            if known.is_some() {
                self.turn_from(endpoint);
            }
            return false;
        };
        if Some(epoch) == known {
            return false;
        }
        let pause = if Some(epoch) > known { ASK_NEWER_AFTER } else { ASK_OLDER_AFTER };
        let now = Instant::now();
        if self.asked.is_some_and(|asked| now < asked + pause) {
            return false;
        }
        self.asked = Some(now);
        true
    }

    /// An answer named the leader.
    pub(super) fn hint(&mut self, leader: &str) {
        if self.leader.as_ref().is_some_and(|known| known.as_str() == leader) {
            return;
        }
        let Ok(leader) = ReplicaAddr::new(leader) else { return };
        self.shunned.retain(|(_, until)| Instant::now() < *until);
        if !self.shunned.iter().any(|(addr, _)| *addr == leader) {
            self.leader = Some(leader);
        }
    }

    /// It could not be reached, or broke off.
    pub(super) fn leave(&mut self, endpoint: &ReplicaAddr) {
        let works_from_here = self.seeds.contains(endpoint) || self.proven.contains(endpoint);
        let pause = if works_from_here { SHUN_PROVEN } else { SHUN_TOLD };
        self.shunned.retain(|(addr, _)| addr != endpoint);
        self.shunned.push((endpoint.clone(), Instant::now() + pause));
        self.turn_from(endpoint);
    }

    /// It answered, but somebody else may do better.
    pub(super) fn turn_from(&mut self, endpoint: &ReplicaAddr) {
        if self.leader.as_ref() == Some(endpoint) {
            self.leader = None;
        }
        if self.order[self.current] != *endpoint {
            return;
        }
        let now = Instant::now();
        let is_shunned = |addr: &ReplicaAddr| {
            self.shunned.iter().any(|(other, until)| other == addr && now < *until)
        };
        let count = self.order.len();
        let others = (1..count).map(|step| (self.current + step) % count);
        let mut others = others.filter(|index| !is_shunned(&self.order[*index]));
        let member = others.clone().find(|index| *index < self.trusted);
        self.current = member.or_else(|| others.next()).unwrap_or((self.current + 1) % count);
    }
}

fn each_once(addrs: Vec<ReplicaAddr>) -> Vec<ReplicaAddr> {
    let mut once = Vec::with_capacity(addrs.len());
    for addr in addrs {
        if !once.contains(&addr) {
            once.push(addr);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> ReplicaAddr {
        ReplicaAddr::new(&format!("http://127.0.0.1:{port}")).unwrap()
    }

    fn endpoints() -> Endpoints {
        Endpoints::new(vec![addr(1), addr(2), addr(3), addr(1)])
    }

    fn members(number: u32, epoch: u64, ports: &[u16]) -> Members {
        Members {
            generation: Some(Generation { number, random: 7 }),
            epoch: Epoch::new(epoch),
            addrs: ports.iter().copied().map(addr).collect(),
        }
    }

    /// Who is asked if nobody can be reached, one after the other.
    fn all_in_turn(endpoints: &mut Endpoints) -> Vec<ReplicaAddr> {
        let mut asked = Vec::new();
        for _ in 0..endpoints.order.len() {
            let next = endpoints.choose(Aim::Anyone);
            endpoints.leave(&next);
            asked.push(next);
        }
        asked
    }

    #[test]
    fn changes_go_to_the_leader_and_reads_stay_where_they_are() {
        let mut endpoints = endpoints();
        endpoints.hint("http://127.0.0.1:3");
        assert_eq!(endpoints.choose(Aim::Leader), addr(3));
        assert_eq!(endpoints.choose(Aim::Anyone), addr(1));
    }

    #[test]
    fn a_dead_leader_is_not_asked_again_because_somebody_still_names_it() {
        let mut endpoints = endpoints();
        endpoints.hint("http://127.0.0.1:3");
        endpoints.leave(&addr(3));
        endpoints.hint("http://127.0.0.1:3");
        assert_eq!(endpoints.choose(Aim::Leader), addr(1));
        endpoints.hint("http://127.0.0.1:2");
        assert_eq!(endpoints.choose(Aim::Leader), addr(2));
    }

    #[test]
    fn a_seed_that_is_left_alone_is_passed_over() {
        let mut endpoints = endpoints();
        endpoints.leave(&addr(2));
        endpoints.leave(&addr(1));
        assert_eq!(endpoints.choose(Aim::Anyone), addr(3));
        endpoints.leave(&addr(3));
        assert_eq!(endpoints.choose(Aim::Anyone), addr(1));
    }

    #[test]
    fn a_hint_that_is_no_address_is_ignored() {
        let mut endpoints = endpoints();
        endpoints.hint("elsewhere");
        assert_eq!(endpoints.choose(Aim::Leader), addr(1));
    }

    #[test]
    fn members_are_asked_before_addresses_that_are_none_any_more() {
        let mut endpoints = endpoints();
        endpoints.learn(members(1, 5, &[3, 4, 5]));
        // It answered just now, so it is kept.
        assert_eq!(all_in_turn(&mut endpoints), [1, 3, 4, 5, 2].map(addr));
        endpoints.shunned.clear();
        endpoints.learn(members(1, 6, &[4, 5, 6]));
        assert_eq!(all_in_turn(&mut endpoints), [3, 4, 5, 6, 1, 2].map(addr));
    }

    #[test]
    fn addresses_that_were_told_go_when_they_are_no_members_any_more() {
        let mut endpoints = endpoints();
        endpoints.learn(members(1, 5, &[4, 5]));
        endpoints.hint("http://127.0.0.1:5");
        endpoints.learn(members(1, 6, &[4]));
        assert_eq!(endpoints.order, [4, 1, 2, 3].map(addr));
        assert_eq!(endpoints.choose(Aim::Leader), addr(1), "it leads no more");
    }

    #[test]
    fn what_is_older_is_not_taken_over_unless_the_cluster_was_recovered() {
        let mut endpoints = endpoints();
        endpoints.learn(members(1, 6, &[4]));
        endpoints.learn(members(1, 5, &[5]));
        assert_eq!(endpoints.order[0], addr(4));
        endpoints.learn(members(2, 5, &[5]));
        assert_eq!(endpoints.order[0], addr(5));
    }

    #[test]
    fn the_members_are_asked_for_once_for_an_epoch() {
        let mut endpoints = endpoints();
        assert!(!endpoints.answered(&addr(1), None));
        assert!(endpoints.answered(&addr(1), Some(Epoch::new(5))));
        assert!(!endpoints.answered(&addr(1), Some(Epoch::new(5))), "it was asked just now");
        endpoints.learn(members(1, 5, &[1]));
        assert!(!endpoints.answered(&addr(1), Some(Epoch::new(5))), "it is known");
        assert!(endpoints.answered(&addr(1), Some(Epoch::new(6))));
        endpoints.learn(members(1, 6, &[1]));
        // A replica that is behind names what is over, again and again.
        assert!(endpoints.answered(&addr(2), Some(Epoch::new(5))));
        endpoints.learn(members(1, 6, &[1]));
        assert!(!endpoints.answered(&addr(2), Some(Epoch::new(5))));
    }

    #[test]
    fn who_answers_and_is_no_replica_is_not_asked_again_while_there_are_others() {
        let mut endpoints = endpoints();
        endpoints.learn(members(1, 5, &[2, 3]));
        assert_eq!(endpoints.choose(Aim::Anyone), addr(1), "it answered just now");
        assert!(!endpoints.answered(&addr(1), None));
        assert_eq!(endpoints.choose(Aim::Anyone), addr(2));
    }

    #[test]
    fn an_address_that_has_answered_is_soon_tried_again() {
        let mut endpoints = endpoints();
        endpoints.answered(&addr(8), None);
        for (port, pause) in [(8, SHUN_PROVEN), (9, SHUN_TOLD)] {
            let begun = Instant::now();
            endpoints.leave(&addr(port));
            let (_, until) = *endpoints.shunned.last().unwrap();
            assert!((begun + pause..begun + pause + SHUN_PROVEN).contains(&until), "{port}");
        }
    }
}
