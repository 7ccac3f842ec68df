//! Who is let in: on the leader, from *waiting to join* to voter.
//!
//! The policy is the number of voters given when the group was founded: while there are fewer, those
//! who wait are admitted one by one as learners, under ids that a command mints, and become voters
//! by one joint change when they have caught up. Every step looks at the membership as it is and is
//! bound to its entry, so a new leader goes on where the old one stopped, and two never collide.
//!
//! Not here: how a process asks (`join`), and changes that people wish.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::api::cluster::{
    Admission, JoinAnswer, JoinNonce, JoinRequest, Joiner, JoinerList, PeerAddr, Timings,
};
use client::types::{EntryIndex, ReplicaAddr, ReplicaId, Timestamp};
use migrations::latest::NodeRow;
use tokio::sync::watch;
use tracing::{info, warn};

use super::error::JoinError;
use super::{Core, Node};
use crate::machine::{AdmitReplica, Author};
use crate::raft::{MembershipError, MembershipState};
use crate::world::Instant;

/// Who lets in, as the activity tells it: the policy given when the group was founded.
const POLICY: &str = "bootstrap --expect";
/// How long a question of a process that waits is held, in case it is admitted meanwhile.
const HELD_FOR: Duration = Duration::from_millis(1_500);
/// After this time a process that waits asks again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// After this time a process finds room again on the list of those who wait.
const FULL_RETRY: Duration = Duration::from_secs(5);
/// How long an admitted process has to show up before another one may take its place.
const ARRIVAL_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks while something is under way.
const PACE: Duration = Duration::from_millis(20);
/// Between two looks while nothing is.
const REST: Duration = Duration::from_secs(1);
/// How long a joint membership may stay before it is taken for one left by a dead leader.
const JOINT_MAX: Duration = Duration::from_secs(2);

/// Who waits to join, and who was admitted lately. In memory, on the leader: they ask again.
#[derive(Debug)]
pub(super) struct Joiners {
    waiting_max: usize,
    silence_max: Duration,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<JoinNonce, Waiting>,
    admitted: BTreeMap<JoinNonce, (ReplicaId, Instant)>,
}

#[derive(Clone, Debug)]
struct Waiting {
    request: JoinRequest,
    /// How far its clock is ahead of ours, in milliseconds, if it told.
    clock_ahead_ms: Option<i64>,
    since: Timestamp,
    began: Instant,
    asked: Instant,
}

impl Joiners {
    pub(super) fn new(waiting_max: usize, silence_max: Duration) -> Self {
        let state = Mutex::default();
        Self { waiting_max, silence_max, state, changed: watch::Sender::new(0) }
    }

    /// Notes that a process asks. Its id, if it was admitted already.
    fn asked(
        &self,
        request: JoinRequest,
        wall: Timestamp,
        now: Instant,
    ) -> Result<Option<ReplicaId>, JoinError> {
        let mut state = self.state();
        if let Some((replica, _)) = state.admitted.get(&request.nonce) {
            return Ok(Some(*replica));
        }
        // Whoever asks anew from an address has begun anew: nobody else will ever answer there.
        state.waiting.retain(|nonce, waiting| {
            let is_same = *nonce == request.nonce || waiting.request.addr != request.addr;
            is_same && now - waiting.asked <= self.silence_max
        });
        if let Some(waiting) = state.waiting.get_mut(&request.nonce) {
            waiting.asked = now;
            waiting.clock_ahead_ms = ahead_ms(&request, wall);
            waiting.request = request;
            return Ok(None);
        }
        if state.waiting.len() >= self.waiting_max {
            return Err(JoinError::TooManyWaiting { retry_after: FULL_RETRY });
        }
        let nonce = request.nonce;
        let clock_ahead_ms = ahead_ms(&request, wall);
        let waiting = Waiting { request, clock_ahead_ms, since: wall, began: now, asked: now };
        state.waiting.insert(nonce, waiting);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        Ok(None)
    }

    /// Notes that a process was admitted.
    pub(super) fn admitted(&self, nonce: JoinNonce, replica: ReplicaId, now: Instant) {
        let mut state = self.state();
        state.waiting.remove(&nonce);
        if state.admitted.len() >= self.waiting_max {
            state.admitted.retain(|_, (_, since)| now - *since <= ARRIVAL_WITHIN);
        }
        state.admitted.insert(nonce, (replica, now));
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Takes back that a process was admitted.
    fn forget(&self, nonce: JoinNonce) {
        self.state().admitted.remove(&nonce);
    }

    /// Whether a process has asked from this address since then that is not `known` by what it drew.
    pub(super) fn asks_anew(
        &self,
        peer_addr: &str,
        since: Instant,
        known: impl Fn(JoinNonce) -> bool,
    ) -> bool {
        let state = self.state();
        state.waiting.values().any(|one| {
            let is_there = one.request.peer_addr.as_str() == peer_addr;
            is_there && one.asked > since && !known(one.request.nonce)
        })
    }

    /// What those drew who still ask.
    pub(super) fn nonces(&self, now: Instant) -> Vec<JoinNonce> {
        self.waiting(now).into_iter().map(|one| one.request.nonce).collect()
    }

    /// Has whoever carries changes out look at once.
    pub(super) fn stir(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn admitted_as(&self, nonce: JoinNonce) -> Option<ReplicaId> {
        self.state().admitted.get(&nonce).map(|(replica, _)| *replica)
    }

    /// Those who still ask, the longest first.
    fn waiting(&self, now: Instant) -> Vec<Waiting> {
        let state = self.state();
        let recent = state.waiting.values().filter(|one| now - one.asked <= self.silence_max);
        let mut waiting: Vec<_> = recent.cloned().collect();
        waiting.sort_by_key(|one| (one.began, one.request.nonce));
        waiting
    }

    /// Those of them that the policy given at bootstrap makes voters.
    fn wanting_a_vote(&self, now: Instant) -> Vec<Waiting> {
        let mut waiting = self.waiting(now);
        waiting.retain(|one| !one.request.as_learner);
        waiting
    }

    /// Those admitted so lately that they may still show up.
    fn arriving(&self, now: Instant) -> BTreeSet<ReplicaId> {
        let state = self.state();
        let recent = state.admitted.values().filter(|(_, since)| now - *since <= ARRIVAL_WITHIN);
        recent.map(|(replica, _)| *replica).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held left whole entries behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// A process asks to join: it is told to wait, or who it is.
    pub async fn join_asked(&self, request: JoinRequest) -> Result<JoinAnswer, JoinError> {
        self.check_leads()?;
        let core = &*self.core;
        let ours = core.identity.cluster;
        if request.cluster.is_some_and(|wanted| wanted != ours) {
            return Err(JoinError::OtherCluster { ours });
        }
        let nonce = request.nonce;
        let clock = &core.world.clock;
        let wall = Timestamp::new(clock.wall_millis());
        let mut changed = core.joiners.changed.subscribe();
        // Let in by a change that was given up before it knew: it waits for another one.
        let known = core.joiners.admitted_as(nonce);
        if known.is_some_and(|known| core.probes.membership_changes.is_removed(known)) {
            core.joiners.forget(nonce);
        }
        let mut replica = core.joiners.asked(request, wall, clock.now())?;
        // A leader before us may have let it in.
        replica = replica.or_else(|| core.member_of(nonce));
        let deadline = clock.after(HELD_FOR);
        while replica.is_none()
            && matches!(clock.until(deadline, changed.changed()).await, Ok(Ok(())))
        {
            replica = core.joiners.admitted_as(nonce);
        }
        Ok(match replica {
            Some(replica) => JoinAnswer::Admitted(self.admission(replica)),
            None => {
                JoinAnswer::Waiting { retry_after_ms: millis(ASK_AGAIN), peers: self.members() }
            }
        })
    }

    /// Who waits to join, as this replica has heard while it leads.
    pub fn joiners(&self) -> JoinerList {
        JoinerList { joiners: self.core.waiting_to_join() }
    }

    /// What an admitted process needs to be a replica.
    fn admission(&self, replica: ReplicaId) -> Admission {
        let core = &*self.core;
        let timings = core.raft.timings();
        let mut peers = self.members();
        peers.retain(|peer| peer.id != replica);
        Admission {
            cluster: core.identity.cluster,
            generation: core.generation(),
            replica,
            timings: Timings {
                heartbeat_ms: millis(timings.heartbeat),
                election_min_ms: millis(timings.election_min),
                election_max_ms: millis(timings.election_max),
            },
            peers,
        }
    }

    /// Every replica, and where it answers the others.
    fn members(&self) -> Vec<PeerAddr> {
        let membership = self.core.membership.borrow();
        let members = membership.row.nodes.iter().filter_map(|(id, node)| {
            let peer_addr = ReplicaAddr::new(&node.peer_addr).ok()?;
            Some(PeerAddr { id: ReplicaId::new(*id)?, peer_addr })
        });
        members.collect()
    }

    /// Starts the task that admits and promotes while this replica leads.
    pub(super) fn start_admission(&self) {
        self.core.tasks.spawn("admission", admit_while_leading(self.clone()));
    }
}

async fn admit_while_leading(node: Node) {
    let core = &*node.core;
    let mut leadership = core.leadership.clone();
    let mut changed = core.joiners.changed.subscribe();
    let mut joint_since = None;
    loop {
        if leadership.wait_for(|leadership| leadership.here).await.is_err() {
            return;
        }
        let is_busy = node.membership_step(&mut joint_since).await;
        let pause = if is_busy { PACE } else { REST };
        // A membership that changed without us is seen after a rest; a process that asks, at once.
        tokio::select! {
            () = core.world.clock.sleep(pause) => {}
            _ = changed.changed(), if !is_busy => {}
        }
    }
}

/// What the membership calls for next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Rest,
    /// To look again soon.
    Wait,
    /// To let in one more, as a learner.
    Admit,
    /// To make these the voters.
    Vote(BTreeSet<ReplicaId>),
}

/// What a step is decided from.
#[derive(Clone, Debug, Default)]
struct Scene {
    voters: BTreeSet<ReplicaId>,
    /// Learners that answer, or were admitted so lately that they may still.
    learners: BTreeSet<ReplicaId>,
    /// Learners that have caught up.
    ready: BTreeSet<ReplicaId>,
    /// How many ask to be let in.
    waiting: usize,
    /// How many voters the group wants.
    expected: usize,
}

impl Scene {
    /// Decides. An even number of voters is avoided while somebody is about to make it odd.
    fn step(&self) -> Step {
        let places = self.expected.saturating_sub(self.voters.len());
        if places == 0 {
            return Step::Rest;
        }
        if self.waiting > 0 && self.learners.len() < places {
            return Step::Admit;
        }
        let chosen = self.ready.iter().copied().take(places);
        let voters: BTreeSet<_> = self.voters.iter().copied().chain(chosen).collect();
        let is_more = voters.len() > self.voters.len();
        let is_odd_soon = self.learners.len() > self.ready.len() && voters.len() < self.expected;
        match (is_more, self.learners.is_empty()) {
            (true, _) if voters.len() % 2 == 1 || !is_odd_soon => Step::Vote(voters),
            (_, false) => Step::Wait,
            (_, true) => Step::Rest,
        }
    }
}

impl Node {
    /// One look at the membership, and at most one step. True: something is under way.
    async fn membership_step(&self, joint_since: &mut Option<Instant>) -> bool {
        let core = &*self.core;
        let changes = &core.probes.membership_changes;
        if changes.under_way().is_none() && core.is_filling_up() {
            return core.admit_step(joint_since).await;
        }
        // What is applied may be older than what this leader was elected with.
        let Ok(index) = core.raft.read_index().await else { return true };
        if core.raft.wait_applied(index, core.options.read_deadline).await.is_err() {
            return true;
        }
        match changes.under_way() {
            Some((change, row)) => {
                self.carry_change(change, &row).await;
                true
            }
            None => core.admit_step(joint_since).await,
        }
    }
}

impl Core {
    /// Who waits to join, as this replica has heard while it leads, the longest first.
    pub(super) fn waiting_to_join(&self) -> Vec<Joiner> {
        let waiting = self.joiners.waiting(self.world.clock.now()).into_iter();
        let joiners = waiting.map(|Waiting { request, since, clock_ahead_ms, .. }| Joiner {
            addr: request.addr,
            peer_addr: request.peer_addr,
            zone: request.zone,
            version: request.version,
            free_bytes: request.free_bytes,
            as_learner: request.as_learner,
            machine_version: request.machine_version,
            format_version: request.format_version,
            clock_ahead_ms,
            folder: request.folder,
            reaches: request.reaches,
            since,
        });
        joiners.collect()
    }

    /// Whether the policy given when the group was founded still holds: until somebody wishes a change.
    fn is_filling_up(&self) -> bool {
        self.probes.membership_changes.before(None, 1).is_empty()
    }

    /// The replica that a process was let in as, if it is a member.
    fn member_of(&self, nonce: JoinNonce) -> Option<ReplicaId> {
        let replica = self.probes.membership_changes.admitted(nonce.get())?;
        let membership = self.membership.borrow();
        let is_member =
            membership.is_committed && membership.row.nodes.contains_key(&replica.get());
        is_member.then_some(replica)
    }

    /// Who a process is that waits at this address: what it drew, and what is to be kept of it.
    pub(super) fn newcomer(&self, addr: &ReplicaAddr) -> Option<(u128, NodeRow)> {
        let waiting = self.joiners.waiting(self.world.clock.now()).into_iter();
        let request = waiting.map(|one| one.request).find(|request| request.addr == *addr)?;
        Some((request.nonce.get(), self.node_row(&request)))
    }

    fn node_row(&self, request: &JoinRequest) -> NodeRow {
        NodeRow {
            cluster: *self.identity.cluster.as_bytes(),
            generation: self.identity.generation_row(),
            peer_addr: request.peer_addr.to_string(),
            front_addr: request.addr.to_string(),
            zone: request.zone.to_string(),
        }
    }

    /// One look, and at most one change. True: something is under way.
    async fn admit_step(&self, joint_since: &mut Option<Instant>) -> bool {
        let membership = self.membership.borrow().clone();
        let now = self.world.clock.now();
        if membership.row.configs.len() > 1 {
            let since = *joint_since.get_or_insert(now);
            if membership.is_committed && now - since > JOINT_MAX {
                self.finish_joint(&membership).await;
            }
            return true;
        }
        *joint_since = None;
        if !membership.is_committed {
            return true;
        }
        let Some(founding) = (self.probes.founding)() else {
            return true;
        };
        if !self.is_filling_up() {
            return false;
        }
        let scene = self.scene(&membership, usize::from(founding.expect_voters), now);
        match scene.step() {
            Step::Rest => false,
            Step::Wait => true,
            Step::Admit => {
                self.admit_next(&membership, now).await;
                true
            }
            Step::Vote(voters) => {
                self.make_voters(voters, &membership).await;
                true
            }
        }
    }

    fn scene(&self, membership: &MembershipState, expected: usize, now: Instant) -> Scene {
        let arriving = self.joiners.arriving(now);
        let last = self.raft.progress().last.map_or(0, EntryIndex::get);
        let replication = self.raft.replication();
        let voters: BTreeSet<_> = replica_ids(membership.row.configs.iter().flatten()).collect();
        let mut scene =
            Scene { waiting: self.joiners.wanting_a_vote(now).len(), expected, ..Scene::default() };
        for learner in replica_ids(membership.row.nodes.keys()).filter(|id| !voters.contains(id)) {
            let progress = replication.get(&learner).copied().unwrap_or_default();
            let is_here =
                progress.heard.is_some_and(|heard| now - heard <= self.options.heard_within);
            let matched = progress.matched.map(EntryIndex::get);
            let is_close =
                matched.is_some_and(|at| last.saturating_sub(at) <= self.options.promotion_lag_max);
            if is_here || arriving.contains(&learner) {
                scene.learners.insert(learner);
            }
            if is_here && is_close {
                scene.ready.insert(learner);
            }
        }
        scene.voters = voters;
        scene
    }

    /// Gives the longest waiting process an id and lets it in as a learner.
    async fn admit_next(&self, membership: &MembershipState, now: Instant) {
        let Some(Waiting { request, .. }) = self.joiners.wanting_a_vote(now).into_iter().next()
        else {
            return;
        };
        let node = self.node_row(&request);
        let nonce = request.nonce.get();
        let stamp = self.proposer.stamp();
        let admit = AdmitReplica { stamp, nonce, node: node.clone() };
        let author = Author { by: POLICY.to_owned(), from: String::new() };
        let limit = self.options.command_deadline;
        let replica = match self.proposer.propose_for(author, admit, limit).await {
            Ok(replica) => replica,
            Err(reason) => {
                warn!(%reason, addr = %request.addr, "admission not recorded");
                return;
            }
        };
        match self
            .raft
            .add_learners(BTreeMap::from([(replica.get(), node)]), membership.entry)
            .await
        {
            Ok(()) => {
                info!(%replica, addr = %request.addr, "replica admitted");
                self.joiners.admitted(request.nonce, replica, self.world.clock.now());
            }
            // The same nonce yields the same id: the next look tries again.
            Err(reason) => told(&reason, "learner not added"),
        }
    }

    async fn make_voters(&self, voters: BTreeSet<ReplicaId>, membership: &MembershipState) {
        let count = voters.len();
        match self.raft.change_voters(voters, false, membership.entry).await {
            Ok(()) => info!(voters = count, "voters changed"),
            Err(reason) => told(&reason, "voters not changed"),
        }
    }

    /// Completes a joint membership that its leader left behind.
    async fn finish_joint(&self, membership: &MembershipState) {
        let Some(target) = membership.row.configs.last() else { return };
        let voters = replica_ids(target.iter()).collect();
        warn!(entry = ?membership.entry, "joint membership left behind, finishing it");
        self.make_voters(voters, membership).await;
    }
}

/// How far the clock of a process was ahead of ours when it asked.
fn ahead_ms(request: &JoinRequest, ours: Timestamp) -> Option<i64> {
    let theirs = request.time?.as_millis().cast_signed();
    Some(theirs.saturating_sub(ours.as_millis().cast_signed()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn replica_ids<'a>(ids: impl Iterator<Item = &'a u64>) -> impl Iterator<Item = ReplicaId> {
    ids.filter_map(|id| ReplicaId::new(*id))
}

/// A change that did not happen is tried again at the next look; only what repeats is worth a word.
fn told(reason: &MembershipError, what: &'static str) {
    match reason {
        MembershipError::EpochMoved | MembershipError::NotLeader { .. } => {
            tracing::debug!(%reason, "{what}");
        }
        MembershipError::Refused { .. } | MembershipError::Unknown => warn!(%reason, "{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> BTreeSet<ReplicaId> {
        replica_ids(numbers.iter()).collect()
    }

    fn scene(voters: &[u64], learners: &[u64], ready: &[u64], waiting: usize) -> Scene {
        Scene {
            voters: ids(voters),
            learners: ids(learners),
            ready: ids(ready),
            waiting,
            expected: 3,
        }
    }

    #[test]
    fn those_who_wait_are_admitted_until_there_are_as_many_as_expected() {
        assert_eq!(scene(&[1], &[], &[], 2).step(), Step::Admit);
        assert_eq!(scene(&[1], &[2], &[], 1).step(), Step::Admit);
        assert_eq!(scene(&[1], &[2, 3], &[], 1).step(), Step::Wait);
        assert_eq!(scene(&[1, 2, 3], &[], &[], 1).step(), Step::Rest);
        assert_eq!(scene(&[1, 2, 3], &[4], &[4], 0).step(), Step::Rest);
    }

    #[test]
    fn learners_that_caught_up_become_voters_together() {
        assert_eq!(scene(&[1], &[2, 3], &[2, 3], 0).step(), Step::Vote(ids(&[1, 2, 3])));
        assert_eq!(scene(&[1, 2], &[3, 4], &[3, 4], 0).step(), Step::Vote(ids(&[1, 2, 3])));
    }

    #[test]
    fn an_even_number_of_voters_is_avoided_while_it_is_about_to_be_odd() {
        assert_eq!(scene(&[1], &[2, 3], &[2], 0).step(), Step::Wait);
        assert_eq!(scene(&[1], &[2], &[2], 0).step(), Step::Vote(ids(&[1, 2])));
        assert_eq!(scene(&[1], &[2], &[], 0).step(), Step::Wait);
        assert_eq!(scene(&[1], &[], &[], 0).step(), Step::Rest);
    }

    fn request_from(host: &str, nonce: u128) -> JoinRequest {
        let addr = |port: u16| ReplicaAddr::new(&format!("http://{host}:{port}")).unwrap();
        JoinRequest::new(JoinNonce::new(nonce), addr(7001), addr(8001), "0.1.0")
    }

    fn request(nonce: u128) -> JoinRequest {
        request_from(&format!("10.0.0.{nonce}"), nonce)
    }

    #[test]
    fn asking_again_is_the_same_request_and_silence_is_forgotten() {
        let joiners = Joiners::new(2, Duration::from_secs(15));
        let start = Instant::now();
        let ask = |nonce, seconds| {
            let now = start + Duration::from_secs(seconds);
            joiners.asked(request(nonce), Timestamp::EPOCH, now)
        };
        assert_eq!(ask(1, 0), Ok(None));
        assert_eq!(ask(1, 1), Ok(None));
        assert_eq!(joiners.waiting(start).len(), 1);
        assert_eq!(ask(2, 1), Ok(None));
        assert_eq!(ask(3, 2), Err(JoinError::TooManyWaiting { retry_after: FULL_RETRY }));
        assert_eq!(ask(3, 20), Ok(None), "the silent ones have made room");
        assert_eq!(joiners.waiting(start + Duration::from_secs(20)).len(), 1);
    }

    #[test]
    fn an_admitted_process_is_told_who_it_is_however_often_it_asks() {
        let joiners = Joiners::new(2, Duration::from_secs(15));
        let now = Instant::now();
        assert_eq!(joiners.asked(request(1), Timestamp::EPOCH, now), Ok(None));
        let replica = ReplicaId::new(2).unwrap();
        joiners.admitted(JoinNonce::new(1), replica, now);
        assert!(joiners.waiting(now).is_empty());
        assert_eq!(joiners.arriving(now), ids(&[2]));
        assert_eq!(joiners.asked(request(1), Timestamp::EPOCH, now), Ok(Some(replica)));
        assert!(joiners.arriving(now + Duration::from_mins(1)).is_empty());
    }

    #[test]
    fn who_begins_anew_at_an_address_takes_the_place_of_who_waited_there() {
        let joiners = Joiners::new(2, Duration::from_secs(15));
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        assert_eq!(joiners.asked(request_from("d", 1), Timestamp::EPOCH, start), Ok(None));
        assert_eq!(joiners.asked(request_from("d", 2), Timestamp::EPOCH, later), Ok(None));
        assert_eq!(joiners.nonces(later), [JoinNonce::new(2)]);
        let asks_anew = |known| {
            joiners.asks_anew("http://d:8001", start, |nonce| nonce == JoinNonce::new(known))
        };
        assert!(asks_anew(1) && !asks_anew(2));
        assert!(!joiners.asks_anew("http://d:8001", later, |_| false), "not since then");
    }

    #[test]
    fn who_was_let_in_in_vain_can_wait_again() {
        let joiners = Joiners::new(2, Duration::from_secs(15));
        let now = Instant::now();
        joiners.admitted(JoinNonce::new(1), ReplicaId::new(4).unwrap(), now);
        joiners.forget(JoinNonce::new(1));
        assert_eq!(joiners.asked(request(1), Timestamp::EPOCH, now), Ok(None));
        assert_eq!(joiners.nonces(now), [JoinNonce::new(1)]);
    }

    #[test]
    fn who_wants_no_vote_waits_for_a_plan_and_tells_its_clock() {
        let joiners = Joiners::new(2, Duration::from_secs(15));
        let (now, wall) = (Instant::now(), Timestamp::new(10_000));
        let learner =
            JoinRequest { as_learner: true, time: Some(Timestamp::new(9_200)), ..request(1) };
        assert_eq!(joiners.asked(learner.clone(), wall, now), Ok(None));
        assert!(joiners.wanting_a_vote(now).is_empty());
        assert_eq!(joiners.waiting(now)[0].clock_ahead_ms, Some(-800));
        let later = Timestamp::new(9_000);
        assert_eq!(joiners.asked(learner, later, now), Ok(None));
        let waiting = joiners.waiting(now);
        assert_eq!((waiting[0].clock_ahead_ms, waiting[0].since), (Some(200), wall));
    }
}
