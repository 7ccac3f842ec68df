//! The group is changed again and again while its replicas are killed, paused and cut off from each other.
//!
//! Goal: every change ends, as it was wished or given up; no joint membership outlives the harm; nothing is lost, and all
//! are equal in the end. Method: real processes behind links under the seeded load; harm of every kind comes before a
//! change is asked for or in its course, to members and newcomers alike, and is over after a random while.

use anyhow::{Context, Result, ensure};
use client::api::{
    changes::{Change, ChangeStage},
    plans::{MemberName, Wish},
};
use client::types::{ChangeId, ReplicaAddr, ReplicaId};
use quorate_e2e::{
    chance::Chance,
    check::{Coverage, check},
    cluster::Cluster,
    link::{Links, Shape},
    membership::{addr, assert_ends_removed, begun, id_of, look, over, waiting},
    process::print,
    scale::{is_long, short_or_long},
    wait::{PATIENCE, until},
    workload::{Load, Workload},
};
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const CHANGED: &str = "changed";
/// So many members there are at least, and at most.
const MEMBERS: std::ops::RangeInclusive<usize> = 3..=5;
/// A change brings in so many at most.
const NEWCOMERS_MAX: usize = 2;
/// After a quorum is back, a joint membership is over within this.
const JOINT_MAX: Duration = Duration::from_secs(10);
/// So long the long form lasts at least.
const LONG: Duration = Duration::from_mins(10);

/// What is done to some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Kill,
    Pause,
    /// The leader is cut off with less than a majority.
    MinorityLeader,
    /// Less than a majority is cut off, and the leader is not among them.
    MajorityLeader,
    Bridge,
    Ring,
    /// One is not heard by one or by all others, or does not hear them.
    OneWay,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::MinorityLeader,
        Self::Kill,
        Self::OneWay,
        Self::Ring,
        Self::MajorityLeader,
        Self::Pause,
        Self::Bridge,
    ];

    fn name(self) -> String {
        format!("{self:?}")
    }
}

/// Harm to those with these numbers, newcomers among them.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Kill(usize),
    Pause(usize),
    Cut(Shape),
}

/// A group that is changed again and again.
struct Storm {
    /// The members, and behind them those who are about to become some.
    cluster: Cluster,
    links: Links,
    chance: Chance,
    /// The kinds that come next, the next one last.
    deck: Vec<Kind>,
    spares: usize,
    worst_joint: Duration,
}

impl Storm {
    async fn start(seed: u64) -> Result<Self> {
        let room = MEMBERS.end() - MEMBERS.start() + NEWCOMERS_MAX;
        let (cluster, links) = Links::start_with_room(*MEMBERS.start(), room, |_recipe| {}).await?;
        let (chance, deck) = (Chance::new(seed), Vec::new());
        Ok(Self { cluster, links, chance, deck, spares: 0, worst_joint: Duration::ZERO })
    }

    /// Something to wish for, as few or as many members as there may be; and how many newcomers it brings in.
    async fn wish(&mut self) -> Result<(Wish, usize)> {
        let count = self.cluster.len();
        let leader = self.cluster.leader().await?;
        Ok(match self.chance.index(6) {
            0 | 1 if count < *MEMBERS.end() => {
                let wanted = (1 + self.chance.index(NEWCOMERS_MAX)).min(MEMBERS.end() - count);
                let joiners = self.spares(wanted).await?;
                (Wish::Add { joiners, as_learner: false }, wanted)
            }
            2 if count > *MEMBERS.start() => {
                let gone = self.chance.index(count);
                (Wish::Remove { replicas: vec![id_of(&self.cluster, gone).await?] }, 0)
            }
            3 => {
                let next = (leader + 1 + self.chance.index(count - 1)) % count;
                (Wish::Lead { replica: id_of(&self.cluster, next).await? }, 0)
            }
            4 => {
                // All but some stay, and as many come.
                let wanted = 1 + self.chance.index(NEWCOMERS_MAX);
                let first = self.chance.index(count);
                let mut voters = Vec::new();
                for number in (0..count).map(|number| (first + number) % count).skip(wanted) {
                    voters.push(MemberName::Replica(id_of(&self.cluster, number).await?));
                }
                let joiners = self.spares(wanted).await?.into_iter();
                voters.extend(joiners.map(MemberName::Joiner));
                (Wish::Set { voters, learners: Vec::new() }, wanted)
            }
            _ => {
                let gone = self.chance.index(count);
                let replica = id_of(&self.cluster, gone).await?;
                let by = self.spares(1).await?.remove(0);
                (Wish::Replace { replica, by }, 1)
            }
        })
    }

    /// Has so many more wait to join.
    async fn spares(&mut self, count: usize) -> Result<Vec<ReplicaAddr>> {
        let mut addrs = Vec::new();
        for _ in 0..count {
            let members = (0..self.cluster.len()).map(|number| self.cluster.replica(number));
            let place = self.links.free_place(members)?;
            self.spares += 1;
            let recipe =
                self.links.spare(&self.cluster, place, &format!("spare-{}", self.spares))?;
            let spare = waiting(&self.cluster, recipe).await?;
            addrs.push(addr(&spare)?);
            self.cluster.adopt(spare);
        }
        Ok(addrs)
    }

    /// What comes next: each kind once, in any order, before one comes again.
    async fn harm(&mut self) -> Result<(Kind, Harm)> {
        if self.deck.is_empty() {
            self.deck = Kind::ALL.to_vec();
            for left in (1..self.deck.len()).rev() {
                let other = self.chance.index(left + 1);
                self.deck.swap(left, other);
            }
        }
        let kind = self.deck.pop().context("it was filled")?;
        let (count, leader) = (self.cluster.len(), self.cluster.leader().await?);
        let victim = self.chance.index(count);
        let harm = match kind {
            Kind::Kill => Harm::Kill(victim),
            Kind::Pause => Harm::Pause(victim),
            Kind::MinorityLeader => Harm::Cut(Shape::Sides(self.minority(1 << leader, count))),
            Kind::MajorityLeader => {
                let first = (leader + 1 + self.chance.index(count - 1)) % count;
                let side = self.minority(1 << first, count) & !(1 << leader);
                Harm::Cut(Shape::Sides(side))
            }
            Kind::Bridge => Harm::Cut(Shape::Bridge(victim)),
            Kind::Ring => Harm::Cut(Shape::Ring),
            Kind::OneWay => {
                let to = (victim + 1 + self.chance.index(count - 1)) % count;
                let shapes =
                    [Shape::Mute(victim), Shape::Deaf(victim), Shape::OneWay { from: victim, to }];
                Harm::Cut(shapes[self.chance.index(shapes.len())])
            }
        };
        Ok((kind, harm))
    }

    /// These, and perhaps others, but less than half.
    fn minority(&mut self, mut side: u32, count: usize) -> u32 {
        let max = u32::try_from((count - 1) / 2).unwrap_or(1);
        while side.count_ones() < max && self.chance.is_one_in(2) {
            side |= 1 << self.chance.index(count);
        }
        side
    }

    fn inflict(&mut self, harm: Harm) -> Result<()> {
        match harm {
            Harm::Kill(victim) => self.cluster.replica_mut(victim).kill(),
            Harm::Pause(victim) => self.cluster.replica(victim).pause(),
            Harm::Cut(shape) => {
                let all = (0..self.cluster.len()).map(|number| self.cluster.replica(number));
                let places = all.map(|process| self.links.place_of(process));
                self.links.cut_among(&places.collect::<Result<Vec<_>>>()?, shape);
                Ok(())
            }
        }
    }

    /// Ends a pause or a cut after a while. Who was killed is started apart from this.
    async fn mend(&self, harm: Harm, after: Duration) -> Result<()> {
        sleep(after).await;
        self.links.heal();
        if let Harm::Pause(victim) = harm {
            self.cluster.replica(victim).resume()?;
        }
        Ok(())
    }

    fn revive(&mut self, harm: Harm) -> Result<()> {
        match harm {
            Harm::Kill(victim) => self.cluster.replica_mut(victim).start(),
            Harm::Pause(_) | Harm::Cut(_) => Ok(()),
        }
    }

    /// One change, and what is done to somebody meanwhile. False if nothing was to be changed any more.
    async fn round(&mut self, workload: &Workload) -> Result<bool> {
        let (wish, newcomers) = self.wish().await?;
        let mut ids = Vec::new();
        for number in 0..self.cluster.len() - newcomers {
            ids.push(id_of(&self.cluster, number).await?);
        }
        let (kind, harm) = self.harm().await?;
        let lasts = Duration::from_millis(200 + self.chance.below(short_or_long(1_000, 2_500)));
        // A change takes a quarter of a second or so, if nobody disturbs it.
        let is_first = self.chance.is_one_in(3);
        let within = Duration::from_millis(self.chance.below(400));
        let when = if is_first { "before".to_owned() } else { format!("after {within:?}") };
        print(&format!("{wish:?}; {harm:?} {when} for {lasts:?}"));
        workload.recorder().record_fault(&kind.name());
        let begun = if is_first {
            self.inflict(harm)?;
            self.revive(harm)?;
            let both = async { tokio::join!(begun(&self.cluster, &wish), self.mend(harm, lasts)) };
            let (begun, mended) = both.await;
            mended?;
            begun
        } else {
            let begun = begun(&self.cluster, &wish).await;
            sleep(within).await;
            self.inflict(harm)?;
            self.mend(harm, lasts).await?;
            self.revive(harm)?;
            begun
        };
        let change = match begun {
            // Whoever was to lead does so by itself.
            Err(_) if matches!(wish, Wish::Lead { .. }) => return Ok(false),
            begun => begun?,
        };
        self.is_joint_no_more(change.id).await?;
        workload.progress(5).await?;
        let change = over(&self.cluster, change.id).await?;
        self.settle(&change, ids, newcomers).await?;
        Ok(true)
    }

    /// Waits until a quorum is back, and then that the change is not in the midst of the joint membership.
    async fn is_joint_no_more(&mut self, change: ChangeId) -> Result<()> {
        until("a quorum is back", PATIENCE, async || {
            let Some(leader) = self.cluster.leader_now().await else { return Ok(None) };
            let status = self.cluster.status(leader).await;
            Ok(status.filter(|status| status.verdict.can_append).map(drop))
        })
        .await?;
        let healed = Instant::now();
        let mut last = None;
        let over = until("the joint membership to be over", JOINT_MAX, async || {
            last = look(&self.cluster, change).await?.or(last.take());
            let stage = last.as_ref().map(|change| change.stage);
            Ok(stage.filter(|stage| *stage != ChangeStage::Joint))
        })
        .await;
        over.with_context(|| format!("{last:#?}"))?;
        self.worst_joint = self.worst_joint.max(healed.elapsed());
        Ok(())
    }

    /// Counts among the members who is one now, and sees those go who are none.
    async fn settle(
        &mut self,
        change: &Change,
        mut ids: Vec<ReplicaId>,
        newcomers: usize,
    ) -> Result<()> {
        let is_done = change.stage == ChangeStage::Done;
        if is_done {
            for replica in &change.leaves {
                let gone = ids.iter().position(|id| id == replica).context("it was a member")?;
                ids.remove(gone);
                let gone = self.cluster.release(gone);
                let folder = gone.recipe().folder.clone();
                assert_ends_removed(gone).await?;
                fs::remove_dir_all(folder)?;
            }
        } else {
            print(&format!("given up: {:?}", change.outcome));
            ensure!(change.outcome.is_some(), "it says why: {change:#?}");
            for _ in 0..newcomers {
                let mut vain = self.cluster.release(self.cluster.len() - 1);
                print(&vain.quoted());
                vain.kill()?;
                fs::remove_dir_all(&vain.recipe().folder).ok();
            }
        }
        self.cluster.healed().await
    }
}

/// So many changes of a group, and the checks over what everybody saw.
async fn storm(seed: u64, rounds: usize) -> Result<()> {
    let mut storm = Storm::start(seed).await?;
    let load = Load { producers: 4, followers: 2, ..Load::on("orders", seed)? };
    let workload = Workload::start(&storm.cluster, load).await?;
    workload.progress(20).await?;
    let mut changes = 0;
    while changes < rounds {
        let round = storm.round(&workload).await;
        if round.with_context(|| format!("seed {seed}, change {changes}"))? {
            workload.recorder().record_fault(CHANGED);
            changes += 1;
        }
    }
    let Storm { mut cluster, worst_joint, .. } = storm;
    let history = workload.finish(&mut cluster).await?;
    let each = rounds / Kind::ALL.len();
    let kinds = Kind::ALL.into_iter().map(|kind| (kind.name(), each));
    let required = Coverage {
        faults: kinds.chain([(CHANGED.to_owned(), rounds)]).collect::<BTreeMap<_, _>>(),
        replicas: 3,
        appends: 5 * rounds,
        reads: 10,
    };
    let found = check(&history, &required);
    print(&format!(
        "seed {seed}: {rounds} changes, joint for {worst_joint:?} at most: {}",
        found.assert_passed()
    ));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_changed_again_and_again_whoever_is_killed_paused_or_cut_off() -> Result<()> {
    let began = Instant::now();
    for seed in 47.. {
        storm(seed, short_or_long(Kind::ALL.len(), 200)).await?;
        if !is_long() || began.elapsed() >= LONG {
            break;
        }
    }
    Ok(())
}
