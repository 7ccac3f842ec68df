//! Whom to ask: the addresses that were configured, the members that were told of since, and who leads.
//!
//! Members change while a client lives, until none of the configured addresses is one any more. So the
//! members are asked for again when an answer names another epoch than theirs, and only then. Addresses
//! that are no members are dropped, except those that were configured: they are the last resort.
//!
//! An address that is only known by word may be none from here: behind one load-balanced address, members
//! and leader hints name what only the inside reaches, or even somebody else. So no call goes to one before it has
//! been tried out beside the calls, and has told that it is of this cluster. Where all configured addresses are
//! encrypted, one that is not is never used, whoever names it; nor the other way round.
//!
//! Not here: asking (`transport`), trying out (`scout`).

use std::time::Duration;

use tokio::time::Instant;

use super::transport::Aim;
use crate::api::cluster::ClusterStatus;
use crate::types::{ClusterId, Epoch, Generation, ReplicaAddr};

/// How long a replica that is known to work from here is left alone when it could not be reached.
const SHUN_PROVEN: Duration = Duration::from_millis(500);
/// So long nobody else tries out an address that is being tried out.
const TRIAL_MAX: Duration = Duration::from_secs(10);
/// After this time an address that did not work when it was tried out is tried out again, if there is reason to. Short,
/// because a newcomer is named as a member before it knows that it is one, and soon it may be all that is left.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
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
    /// Who was named as the leader, and has not been tried out yet.
    hinted: Option<ReplicaAddr>,
    /// Who could not be reached or is being tried out, until when it is left alone.
    shunned: Vec<(ReplicaAddr, Instant)>,
    /// Who has answered.
    proven: Vec<ReplicaAddr>,
    /// When the members were asked for.
    asked: Option<Instant>,
}

/// The members of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    cluster: Option<ClusterId>,
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
        Some(Self { cluster: status.cluster, generation: status.generation, epoch, addrs })
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
            hinted: None,
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
        self.prove(endpoint);
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

    /// An answer named the leader. Whether there is somebody to try out since.
    pub(super) fn hint(&mut self, leader: &str) -> bool {
        let is = |known: &Option<ReplicaAddr>| {
            known.as_ref().is_some_and(|known| known.as_str() == leader)
        };
        if is(&self.leader) || is(&self.hinted) {
            return false;
        }
        let Ok(leader) = ReplicaAddr::new(leader) else { return false };
        if self.works_from_here(&leader) {
            if self.until_when_shunned(&leader).is_none() {
                (self.leader, self.hinted) = (Some(leader), None);
            }
            return false;
        }
        self.hinted = Some(leader);
        true
    }

    /// Who is known by word only and should be tried out now: it is not named again for a while.
    pub(super) fn take_untried(&mut self) -> Vec<ReplicaAddr> {
        let members = self.members.iter().flat_map(|members| &members.addrs);
        let told = each_once(members.chain(&self.hinted).cloned().collect());
        let untried = told.into_iter().filter(|addr| {
            let is_free = self.until_when_shunned(addr).is_none();
            is_free && !self.works_from_here(addr) && self.may_be_used(addr)
        });
        let untried: Vec<_> = untried.take(MEMBERS_MAX).collect();
        for addr in &untried {
            self.shun(addr, TRIAL_MAX);
        }
        untried
    }

    /// Somebody who was tried out has told who the members are: whether those are ours, so that it can be asked from
    /// now on.
    pub(super) fn tried(&mut self, addr: &ReplicaAddr, told: &Members) -> bool {
        let known = self.members.as_ref().and_then(|members| members.cluster);
        if known.is_some() && known != told.cluster {
            return false;
        }
        self.prove(addr);
        self.shunned.retain(|(shunned, _)| shunned != addr);
        if self.hinted.as_ref() == Some(addr) {
            self.leader = self.hinted.take();
        }
        true
    }

    /// Who was tried out does not work now.
    pub(super) fn tried_in_vain(&mut self, addr: &ReplicaAddr) {
        self.shun(addr, TRY_AGAIN_AFTER);
    }

    fn prove(&mut self, addr: &ReplicaAddr) {
        if !self.proven.contains(addr) && self.proven.len() < MEMBERS_MAX {
            self.proven.push(addr.clone());
        }
    }

    fn works_from_here(&self, addr: &ReplicaAddr) -> bool {
        self.seeds.contains(addr) || self.proven.contains(addr)
    }

    /// Nothing that was to be encrypted goes anywhere in plain text because somebody says so.
    fn may_be_used(&self, addr: &ReplicaAddr) -> bool {
        self.seeds.iter().any(|seed| seed.is_encrypted() == addr.is_encrypted())
    }

    fn until_when_shunned(&self, addr: &ReplicaAddr) -> Option<Instant> {
        let now = Instant::now();
        let shunned = self.shunned.iter().find(|(shunned, until)| shunned == addr && now < *until);
        shunned.map(|(_, until)| *until)
    }

    fn shun(&mut self, addr: &ReplicaAddr, pause: Duration) {
        let now = Instant::now();
        self.shunned.retain(|(shunned, until)| shunned != addr && now < *until);
        self.shunned.push((addr.clone(), now + pause));
    }

    /// It could not be reached, or broke off.
    pub(super) fn leave(&mut self, endpoint: &ReplicaAddr) {
        self.shun(endpoint, SHUN_PROVEN);
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
        let count = self.order.len();
        let others = (1..count).map(|step| (self.current + step) % count);
        let others: Vec<usize> =
            others.filter(|index| self.works_from_here(&self.order[*index])).collect();
        let until = |index: &usize| self.until_when_shunned(&self.order[*index]);
        let free = || others.iter().copied().filter(|index| until(index).is_none());
        let member = free().find(|index| *index < self.trusted);
        let Some(next) = member.or_else(|| free().next()) else {
            // Nobody is left: whoever answered at all, or else who may be back first.
            let all = others.iter().copied().chain([self.current]);
            self.current = all.min_by_key(until).unwrap_or(self.current);
            return;
        };
        self.current = next;
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
            cluster: Some(ClusterId::new([9; 16])),
            generation: Some(Generation { number, random: 7 }),
            epoch: Epoch::new(epoch),
            addrs: ports.iter().copied().map(addr).collect(),
        }
    }

    fn prove(endpoints: &mut Endpoints, ports: &[u16]) {
        for port in ports {
            endpoints.prove(&addr(*port));
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
        assert_eq!(endpoints.choose(Aim::Anyone), addr(2), "who may be back first");
    }

    #[test]
    fn who_answers_at_all_is_kept_if_nobody_else_can_be_reached() {
        let mut endpoints = endpoints();
        endpoints.leave(&addr(2));
        endpoints.leave(&addr(3));
        endpoints.turn_from(&addr(1));
        assert_eq!(endpoints.choose(Aim::Anyone), addr(1));
    }

    #[test]
    fn an_address_that_was_told_is_asked_once_it_was_tried_out() {
        let mut endpoints = Endpoints::new(vec![addr(1)]);
        endpoints.learn(members(1, 5, &[4, 5]));
        assert!(endpoints.hint("http://127.0.0.1:4"));
        assert!(!endpoints.hint("http://127.0.0.1:4"), "it is told once");
        assert_eq!(endpoints.choose(Aim::Leader), addr(1));
        assert_eq!(endpoints.take_untried(), [4, 5].map(addr));
        assert_eq!(endpoints.take_untried(), [0; 0].map(addr), "they are being tried out");
        endpoints.turn_from(&addr(1));
        assert_eq!(endpoints.choose(Aim::Anyone), addr(1), "nobody else is known to work");
        // Whoever was named before it was ready is all that is left soon.
        endpoints.tried_in_vain(&addr(5));
        let soon = Instant::now() + Duration::from_secs(1);
        assert!(endpoints.until_when_shunned(&addr(5)).is_some_and(|until| until < soon));
        assert!(endpoints.tried(&addr(4), &members(1, 5, &[4, 5])));
        assert_eq!(endpoints.choose(Aim::Leader), addr(4));
        endpoints.turn_from(&addr(1));
        assert_eq!(endpoints.choose(Aim::Anyone), addr(4));
    }

    #[test]
    fn somebody_of_another_cluster_is_not_asked_whoever_names_it() {
        let mut endpoints = Endpoints::new(vec![addr(1)]);
        endpoints.learn(members(1, 5, &[4]));
        endpoints.hint("http://127.0.0.1:4");
        let others = Members { cluster: Some(ClusterId::new([8; 16])), ..members(1, 5, &[4]) };
        assert!(!endpoints.tried(&addr(4), &others));
        assert_eq!(endpoints.choose(Aim::Leader), addr(1));
    }

    #[test]
    fn nothing_that_was_to_be_encrypted_goes_out_in_plain_text() {
        let secret = ReplicaAddr::new("https://logs.example").unwrap();
        let mut endpoints = Endpoints::new(vec![secret.clone()]);
        let inside = ReplicaAddr::new("https://10.0.0.1:7001").unwrap();
        let mut told = members(1, 5, &[4]);
        told.addrs.push(inside.clone());
        endpoints.learn(told);
        endpoints.hint("http://127.0.0.1:4");
        assert_eq!(endpoints.take_untried(), [inside]);
        assert_eq!(endpoints.choose(Aim::Leader), secret);
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
        prove(&mut endpoints, &[4, 5]);
        // It answered just now, so it is kept.
        assert_eq!(all_in_turn(&mut endpoints), [1, 3, 4, 5, 2].map(addr));
        endpoints.shunned.clear();
        endpoints.learn(members(1, 6, &[4, 5, 6]));
        prove(&mut endpoints, &[6]);
        assert_eq!(all_in_turn(&mut endpoints), [1, 4, 5, 6, 2, 3].map(addr));
    }

    #[test]
    fn addresses_that_were_told_go_when_they_are_no_members_any_more() {
        let mut endpoints = endpoints();
        endpoints.learn(members(1, 5, &[4, 5]));
        prove(&mut endpoints, &[4, 5]);
        endpoints.hint("http://127.0.0.1:5");
        assert_eq!(endpoints.choose(Aim::Leader), addr(5));
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
}
