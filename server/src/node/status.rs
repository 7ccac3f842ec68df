//! The state of the group, as far as this replica can know it, and whether it can serve.
//!
//! The leader knows whom it hears and how far they are; what only a replica itself knows (version,
//! disk, what it has applied) it asks them now and then. Any other replica asks the leader, and if
//! that fails says what it knows itself and that the rest is unknown. Nothing is guessed.
//!
//! Not here: the sentence of the verdict (`verdict`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::api::cluster::{
    ClusterStatus, Lag, QuarantineStage, Readiness, ReadinessCheck, ReplicaStatus, Role,
    StateDigest, SyncLatency, Verdict,
};
use client::api::paths;
use client::api::performance::{Performance, Step};
use client::types::{EntryIndex, Epoch, ReplicaAddr, ReplicaId, Timestamp};
use migrations::latest::NodeRow;

use super::change::MembershipChanges;
use super::clocks::Reading;
use super::verdict::{Judgement, Lead, Pause, Situation};
use super::{Core, Node, Route, quarantine};
use crate::machine::{Checkpoint, Machine};
use crate::peer::forward::ForwardedBody;
use crate::raft::{Leadership, MembershipState, Progress, Replication};
use crate::world::Instant;

/// How long the leader may take to answer another replica's question for the status.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// What a replica told of itself counts for so long.
const FACTS_AGE_MAX: Duration = Duration::from_secs(10);

/// What a node asks of its surroundings; `run` knows them.
pub struct Probes {
    /// How the group was founded, once that is known.
    pub founding: Box<dyn Fn() -> Option<crate::machine::Founding> + Send + Sync>,
    /// How many bytes the disk has free. May block.
    pub disk_free: Box<dyn Fn() -> std::io::Result<u64> + Send + Sync>,
    /// What the disk needs to make an entry durable, if that was measured.
    pub sync_latency: Box<dyn Fn() -> Option<SyncLatency> + Send + Sync>,
    /// For how long the disk has done nothing for the journal but slow writes.
    pub slow_for: Box<dyn Fn() -> Duration + Send + Sync>,
    /// How many entries of the journal are known to be damaged.
    pub damaged_entries: Box<dyn Fn() -> u64 + Send + Sync>,
    /// The checkpoints that the machine remembers, oldest first.
    pub checkpoints: Box<dyn Fn() -> Vec<Checkpoint> + Send + Sync>,
    /// The changes of the membership.
    pub membership_changes: Box<dyn MembershipChanges>,
    /// What the machine is after the entry it applied last, by [`state_digest`].
    pub digest: Box<dyn Fn() -> Option<StateDigest> + Send + Sync>,
}

/// What makes a machine comparable with another replica's; none before it has applied anything.
pub fn state_digest(machine: &Machine) -> Option<StateDigest> {
    let membership = machine.membership();
    let voters: BTreeSet<u64> =
        membership.iter().flat_map(|(_, row)| row.configs.iter().flatten().copied()).collect();
    Some(StateDigest {
        entry: machine.applied()?.index,
        rolling: machine.rolling_digest(),
        epoch: membership.map(|(entry, _)| Epoch::new(entry.index.get())),
        voters: voters.into_iter().filter_map(ReplicaId::new).collect(),
    })
}

/// What readiness is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To serve reads here, and to hand the rest to the leader.
    #[default]
    Serve,
    /// To have an append acknowledged through this replica.
    Append,
}

/// What the others told of themselves lately.
#[derive(Debug, Default)]
pub(super) struct Facts {
    known: Mutex<BTreeMap<ReplicaId, Told>>,
}

/// What one of them told.
#[derive(Clone, Debug)]
struct Told {
    status: ReplicaStatus,
    /// How far its clock is ahead of ours, in milliseconds.
    clock_ahead_ms: i64,
    /// What ours showed when it told.
    at: Reading,
}

impl Facts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Told>> {
        // A panic while it was held left whole entries behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// The state of the group. Asks the leader, unless this replica leads.
    ///
    /// A question that another replica forwarded is answered by [`Node::status_here`] instead, so
    /// that none is ever passed on twice.
    pub async fn status(&self) -> ClusterStatus {
        self.status_within(ASK_WITHIN).await
    }

    /// The same, where the leader may take only so long to answer.
    pub(super) async fn status_within(&self, within: Duration) -> ClusterStatus {
        let Route::There { replica, front } = self.route() else {
            return self.status_here();
        };
        match self.ask_status(&front, within).await {
            // It led when it answered, so it knew.
            Some(status) if status.leader == Some(replica) => self.told(status),
            Some(_) | None => self.core.status(Lead::Hearsay(replica.get())),
        }
    }

    /// The state of the group as this replica knows it, without asking anybody.
    pub fn status_here(&self) -> ClusterStatus {
        let core = &*self.core;
        let leadership = core.leadership.borrow().clone();
        let lead = match leadership.leader {
            _ if leadership.here && core.is_confirmed() => Lead::Ours,
            _ if leadership.here => Lead::Unconfirmed,
            Some(leader) if leader != self.replica() => Lead::Hearsay(leader.get()),
            Some(_) | None => Lead::Nobody,
        };
        core.status(lead)
    }

    /// What this replica did lately.
    pub fn performance(&self, step: Step) -> Performance {
        let (until, points) = self.core.metrics.lately(step);
        Performance { replica: self.replica(), step, until, points }
    }

    /// Whether this replica can do what is asked for, check by check.
    pub fn readiness(&self, purpose: Purpose) -> Readiness {
        let core = &*self.core;
        let mut checks = vec![
            check("not_stopping", !self.is_stopping(), "this replica is not stopping"),
            check(
                "recovered",
                core.raft.is_recovered(),
                "what was committed before the last stop is applied again",
            ),
            check("state", !core.state.is_diverged(), "the state here is not known to be wrong"),
            check("leader", !matches!(self.route(), Route::Nowhere { .. }), "a leader is known"),
        ];
        if purpose == Purpose::Append {
            let pause = self.core.pause();
            checks.extend([
                check("flusher", pause != Some(Pause::FlusherLagging), "the flusher keeps up"),
                check(
                    "disk",
                    !matches!(pause, Some(Pause::DiskFull | Pause::DisksFull)),
                    "the disk has room, and a majority's have",
                ),
                check(
                    "quorum",
                    !core.leadership.borrow().here || self.status_here().verdict.can_append,
                    "if this replica leads, a majority of voters answers it",
                ),
            ]);
        }
        Readiness { is_ready: checks.iter().all(|check| check.is_passed), checks }
    }

    /// Asks another replica's front door what it knows.
    async fn ask_status(&self, front: &ReplicaAddr, within: Duration) -> Option<ClusterStatus> {
        let request = http::Request::get(paths::CLUSTER)
            .header(http::header::ACCEPT, "application/json")
            .body(())
            .ok()?;
        let (parts, ()) = request.into_parts();
        let answer = self.core.forward.send(front, &parts, Bytes::new(), within).await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let ForwardedBody::Whole(body) = answer.body() else { return None };
        serde_json::from_slice(body).ok()
    }

    /// The leader's answer, told by this replica.
    fn told(&self, mut status: ClusterStatus) -> ClusterStatus {
        let ourselves = self.replica();
        status.this_replica = Some(ourselves);
        if let Some(place) = status.replicas.iter_mut().find(|replica| replica.id == ourselves) {
            self.core.describe_ourselves(place);
        }
        status
    }

    /// Asks every other replica what only it knows of itself. Called now and then on the leader.
    pub(super) async fn refresh_facts(&self) {
        let others: Vec<_> = {
            let membership = self.core.membership.borrow();
            let others = membership.row.nodes.iter().filter_map(|(id, node)| {
                let id = ReplicaId::new(*id).filter(|id| *id != self.replica())?;
                Some((id, ReplicaAddr::new(&node.front_addr).ok()?))
            });
            others.collect()
        };
        let answers = others.iter().map(|(id, front)| self.ask_facts(*id, front));
        let answers = futures_util::future::join_all(answers).await;
        {
            let mut known = self.core.facts.lock();
            known.retain(|id, _| others.iter().any(|(other, _)| other == id));
            for told in answers.into_iter().flatten() {
                known.insert(told.status.id, told);
            }
        }
        self.core.weigh_facts();
    }

    /// Whoever does not lead knows nothing of the others.
    pub(super) fn forget_facts(&self) {
        self.core.facts.lock().clear();
        self.core.weigh_facts();
    }

    /// What one replica tells of itself.
    async fn ask_facts(&self, id: ReplicaId, front: &ReplicaAddr) -> Option<Told> {
        let clock = &self.core.world.clock;
        let asked = clock.now();
        let answer = self.ask_status(front, ASK_WITHIN).await?;
        let at = Reading::of(clock);
        // Its clock was read about half-way between question and answer.
        let ours = at.before((at.at() - asked) / 2).wall_ms();
        let status = answer.replicas.into_iter().find(|replica| replica.id == id)?;
        let clock_ahead_ms =
            answer.as_of.as_millis().cast_signed().saturating_sub(ours.cast_signed());
        Some(Told { status, clock_ahead_ms, at })
    }
}

impl Core {
    /// What the leader concludes from what the others told: whether a majority has room for more,
    /// and how far ahead of their clocks this one is.
    fn weigh_facts(&self) {
        let voters = self.membership.borrow().row.configs.clone();
        let ourselves = self.identity.replica.get();
        let now = Reading::of(&self.world.clock);
        let mut ahead = BTreeMap::from([(ourselves, 0)]);
        for (id, told) in &*self.facts.lock() {
            if now.at() - told.at.at() > FACTS_AGE_MAX {
                continue;
            }
            // Ours may have jumped since, and theirs is not thought to.
            let ahead_ms = told.clock_ahead_ms.saturating_sub(now.jumped_since(told.at));
            ahead.insert(id.get(), ahead_ms);
        }
        let full = self.full_replicas();
        let has_room = has_room(&voters, &full);
        let was_full = self.are_disks_full.swap(!has_room, Ordering::Relaxed);
        if !has_room && !was_full {
            tracing::warn!(replicas = ?full, "no majority has room on its disks, appends refused");
        }
        if self.clocks.compare(&voters, &ahead, now) {
            tracing::warn!("this clock is ahead of a majority's, stamps are set back");
        }
    }

    /// Who has no room for more, as far as they told lately.
    pub(super) fn full_replicas(&self) -> BTreeSet<u64> {
        let now = self.world.clock.now();
        let is_full = |told: &Told| {
            now - told.at.at() <= FACTS_AGE_MAX
                && told.status.free_bytes.is_some_and(|free| free < self.options.disk_free_min)
        };
        let known = self.facts.lock();
        let others = known.iter().filter(|(_, told)| is_full(told)).map(|(id, _)| id.get());
        let ourselves = self.disk.is_full().then_some(self.identity.replica.get());
        others.chain(ourselves).collect()
    }

    /// The newest state that a replica has taken anew and waits to compare, as far as they told lately.
    pub(super) fn renewed_at(&self) -> Option<EntryIndex> {
        let now = self.world.clock.now();
        let known = self.facts.lock();
        let recent = known.values().filter(|told| now - told.at.at() <= FACTS_AGE_MAX);
        let waiting = recent.filter_map(|told| told.status.quarantine);
        let waiting = waiting.filter(|known| known.stage == QuarantineStage::Renewed);
        waiting.filter_map(|known| known.renewed).max()
    }

    /// Whose disk is slow, as far as they told lately.
    pub(super) fn slow_replicas(&self) -> BTreeSet<u64> {
        let now = self.world.clock.now();
        let is_slow =
            |told: &Told| now - told.at.at() <= FACTS_AGE_MAX && told.status.slow_ms.is_some();
        let known = self.facts.lock();
        known.iter().filter(|(_, told)| is_slow(told)).map(|(id, _)| id.get()).collect()
    }

    /// Whose state is not the certified one, as far as they told lately.
    pub(super) fn quarantined_replicas(&self) -> BTreeSet<u64> {
        let now = self.world.clock.now();
        let is_quarantined =
            |told: &Told| now - told.at.at() <= FACTS_AGE_MAX && told.status.quarantine.is_some();
        let known = self.facts.lock();
        known.iter().filter(|(_, told)| is_quarantined(told)).map(|(id, _)| id.get()).collect()
    }

    /// Whether the disk of this replica is not fit for a leader: it has been slow for too long.
    pub(super) fn is_limping(&self) -> bool {
        (self.probes.slow_for)() >= self.stall_max()
    }

    /// Whether this replica is full and a majority is not.
    pub(super) fn is_alone_full(&self) -> bool {
        self.disk.is_full()
            && has_room(&self.membership.borrow().row.configs, &self.full_replicas())
    }

    /// The least room that this replica or one that told of itself has.
    pub(super) fn least_room(&self) -> Option<u64> {
        let known = self.facts.lock();
        let others = known.values().filter_map(|told| told.status.free_bytes);
        others.chain(self.disk.bytes()).min()
    }

    /// The state of the group, given how sure we are of who leads.
    fn status(&self, lead: Lead) -> ClusterStatus {
        let leadership = self.leadership.borrow().clone();
        let membership = self.membership.borrow().clone();
        let replication = self.raft.replication();
        let now = self.world.clock.now();
        let situation = self.situation(lead, &membership, &replication, now);
        let judgement = situation.judge();
        let scene = Scene {
            core: self,
            leadership: &leadership,
            progress: self.raft.progress(),
            membership: &membership,
        };
        let replicas = membership.row.nodes.iter().filter_map(|(id, node)| {
            let id = ReplicaId::new(*id)?;
            scene.replica(id, node, &replication, now)
        });
        let replicas: Vec<ReplicaStatus> = replicas.collect();
        let mut verdict = verdict(judgement);
        verdict.reasons.extend(replicas.iter().filter_map(|replica| {
            let what = match replica.quarantine?.stage {
                QuarantineStage::Differs => "its state is not the certified one",
                QuarantineStage::Renewing => "it takes the certified state anew",
                QuarantineStage::Renewed => {
                    "its state was taken anew, and the next checkpoint has to match"
                }
                QuarantineStage::ToBeReplaced => {
                    "its state differs again after it was taken anew. Replace it under a new id"
                }
            };
            Some(format!("Replica {} is quarantined: {what}.", replica.id))
        }));
        let founding = (self.probes.founding)();
        let expected_voters = founding.map_or(0, |founding| founding.expect_voters);
        verdict.reasons.extend(self.leftover_learners(&membership.row, expected_voters.into()));
        let is_here = |id| replicas.iter().any(|replica| replica.id == id && replica.is_reachable);
        let replacement = self.replacement.current(is_here).filter(|_| leadership.here);
        verdict.reasons.extend(replacement.iter().map(|one| one.sentence.clone()));
        ClusterStatus {
            joiners: if leadership.here { self.waiting_to_join() } else { Vec::new() },
            replacement,
            replicas,
            verdict,
            cluster: Some(self.identity.cluster),
            generation: Some(self.generation()),
            epoch: membership.entry.map(|entry| Epoch::new(entry.index.get())),
            term: leadership.term,
            leader: leadership.leader,
            this_replica: Some(self.identity.replica),
            expected_voters: expected_voters.into(),
            as_of: Timestamp::new(self.world.clock.wall_millis()),
        }
    }

    fn situation(
        &self,
        leadership: Lead,
        membership: &MembershipState,
        replication: &Replication,
        now: Instant,
    ) -> Situation {
        let ourselves = self.identity.replica.get();
        let heard = replication.iter().filter(|(_, progress)| {
            progress.heard.is_some_and(|heard| now - heard <= self.options.heard_within)
        });
        let mut here: BTreeSet<u64> = heard.map(|(id, _)| id.get()).collect();
        here.insert(ourselves);
        let voters = membership.row.configs.clone();
        let silent = voters.iter().flatten().filter(|id| !here.contains(id));
        let silence = silent.filter_map(|id| {
            let heard = replication.get(&ReplicaId::new(*id)?)?.heard?;
            Some(now - heard)
        });
        let silence = silence.max();
        let full = self.full_replicas();
        let (is_limping, pause) = (self.is_limping(), self.pause());
        Situation { ourselves, voters, here, full, is_limping, silence, leadership, pause }
    }

    /// Why this replica would take no appends although it led.
    fn pause(&self) -> Option<Pause> {
        if *self.stopping.borrow() {
            Some(Pause::Stopping)
        } else if self.disk.is_full() {
            Some(Pause::DiskFull)
        } else if self.are_disks_full.load(Ordering::Relaxed) {
            Some(Pause::DisksFull)
        } else if self.state.is_lagging() {
            Some(Pause::FlusherLagging)
        } else {
            None
        }
    }

    /// A quorum answered this leader recently; alone it is its own quorum.
    fn is_confirmed(&self) -> bool {
        let is_alone = {
            let ourselves = self.identity.replica.get();
            let membership = self.membership.borrow();
            membership.row.configs.iter().flatten().all(|voter| *voter == ourselves)
        };
        let earliest = self.world.clock.now().checked_sub(self.options.heard_within);
        let acked = self.raft.progress().quorum_acked;
        is_alone || earliest.is_none_or(|earliest| acked.is_some_and(|at| at >= earliest))
    }

    /// What only this replica knows of itself.
    fn describe_ourselves(&self, place: &mut ReplicaStatus) {
        place.is_reachable = true;
        place.heard_ms_ago = Some(0);
        place.version = Some(env!("CARGO_PKG_VERSION").to_owned());
        place.start = Some(self.identity.incarnation.start);
        place.tail = self.raft.progress().last;
        place.applied = *self.applied.borrow();
        place.sync = (self.probes.sync_latency)();
        place.slow_ms = Some(millis((self.probes.slow_for)())).filter(|ms| *ms > 0);
        place.free_bytes = self.disk.bytes();
        place.damaged_entries = Some((self.probes.damaged_entries)()).filter(|count| *count > 0);
        place.quarantine = self
            .state
            .quarantine()
            .map(|known| quarantine::shown(&known, self.state.is_renewing()));
        place.digest = (self.probes.digest)();
    }
}

/// What the state of one replica is told from.
struct Scene<'a> {
    core: &'a Core,
    leadership: &'a Leadership,
    progress: Progress,
    membership: &'a MembershipState,
}

impl Scene<'_> {
    fn replica(
        &self,
        id: ReplicaId,
        node: &NodeRow,
        replication: &Replication,
        now: Instant,
    ) -> Option<ReplicaStatus> {
        let progress = replication.get(&id).copied().unwrap_or_default();
        let facts = self.core.facts.lock().get(&id).cloned();
        let facts =
            facts.filter(|told| now - told.at.at() <= FACTS_AGE_MAX).map(|told| told.status);
        let silence = progress.heard.map(|heard| now - heard);
        let last = self.progress.last.map_or(0, EntryIndex::get);
        let lag = progress.matched.map(|at| Lag { entries: last.saturating_sub(at.get()) });
        let mut replica = ReplicaStatus {
            id,
            role: self.role(id),
            is_reachable: silence.is_some_and(|silence| silence <= self.core.options.heard_within),
            addr: ReplicaAddr::new(&node.front_addr).ok()?,
            peer_addr: ReplicaAddr::new(&node.peer_addr).ok()?,
            zone: node.zone.clone(),
            version: facts.as_ref().and_then(|facts| facts.version.clone()),
            start: facts.as_ref().and_then(|facts| facts.start),
            tail: progress.matched,
            applied: facts.as_ref().and_then(|facts| facts.applied),
            lag,
            heard_ms_ago: silence.map(millis),
            sync: facts.as_ref().and_then(|facts| facts.sync),
            slow_ms: facts.as_ref().and_then(|facts| facts.slow_ms),
            free_bytes: facts.as_ref().and_then(|facts| facts.free_bytes),
            damaged_entries: facts.as_ref().and_then(|facts| facts.damaged_entries),
            quarantine: facts.as_ref().and_then(|facts| facts.quarantine),
            digest: facts.and_then(|facts| facts.digest),
        };
        if id == self.core.identity.replica {
            self.core.describe_ourselves(&mut replica);
            replica.lag = self.own_lag();
        }
        Some(replica)
    }

    fn role(&self, id: ReplicaId) -> Role {
        let votes = self.membership.row.configs.iter().flatten().any(|voter| *voter == id.get());
        if self.leadership.leader == Some(id) {
            Role::Leader
        } else if !votes {
            Role::Learner
        } else if id == self.core.identity.replica && self.leadership.candidate {
            Role::Candidate
        } else {
            Role::Follower
        }
    }

    /// How far we are behind what is known to be committed.
    fn own_lag(&self) -> Option<Lag> {
        let committed = self.progress.committed?.get();
        let applied = self.core.applied.borrow().map_or(0, EntryIndex::get);
        Some(Lag { entries: committed.saturating_sub(applied) })
    }
}

/// Whether every set of voters has a majority that is not full.
fn has_room(voters: &[BTreeSet<u64>], full: &BTreeSet<u64>) -> bool {
    voters.iter().all(|set| set.difference(full).count() > set.len() / 2)
}

fn verdict(judgement: Judgement) -> Verdict {
    let Judgement { can_append, tolerance, sentence, reasons } = judgement;
    Verdict { can_append, tolerance, sentence, reasons }
}

fn check(name: &str, is_passed: bool, detail: &str) -> ReadinessCheck {
    ReadinessCheck { name: name.to_owned(), is_passed, detail: detail.to_owned() }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
