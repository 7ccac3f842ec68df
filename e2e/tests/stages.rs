//! A participant of a change dies while the change is at any of its stages.
//!
//! Goal: the change is finished, or cleanly given up, without whoever died if it is not the newcomer itself; the group
//! serves meanwhile and is equal afterwards. Method: a replica is replaced again and again under load; each time the change
//! is held or slowed down at one stage, somebody dies there, and comes back when the change is over.

use anyhow::{Context, Result, ensure};
use client::api::{
    changes::{Change, ChangeStage},
    paths,
    plans::Wish,
};
use client::types::ChangeId;
use quorate_e2e::{
    chance::Chance,
    check::{Coverage, check},
    cluster::{CALM, Cluster},
    link::Links,
    membership::{addr, assert_ends_removed, begun, change, id_of, over, waiting},
    process::print,
    rest::Answer,
    scale::is_long,
    wait::{PATIENCE, until},
    workload::{Load, Workload},
};
use std::{collections::BTreeMap, fs, time::Duration};

const SEED: u64 = 59;
/// By how much everything comes later that a leader says, so that a stage can be met.
const LATE: Duration = Duration::from_millis(200);
/// A stage that was over before it was seen is tried again.
const TRIES: usize = 8;
/// Whoever is about to come stands behind the three who are there.
const NEWCOMER: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The newcomer is on the list, and does not know that yet.
    Joining,
    /// It is a replica, and has heard nothing from the leader.
    CatchingUp,
    /// The membership is joint.
    Joint,
    /// The new membership holds, and who leaves is about to be told.
    Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Leader,
    /// A voter that stays.
    Other,
    Leaver,
    Newcomer,
}

const STAGES: [Stage; 4] = [Stage::Joining, Stage::CatchingUp, Stage::Joint, Stage::Leaving];
const VICTIMS: [Victim; 4] = [Victim::Leader, Victim::Other, Victim::Leaver, Victim::Newcomer];

/// A group of three behind links.
struct Group {
    cluster: Cluster,
    links: Links,
    spares: usize,
}

impl Group {
    /// One replica is replaced and somebody dies meanwhile. False if the stage was over before it was seen.
    async fn lose(&mut self, stage: Stage, victim: Victim, workload: &Workload) -> Result<bool> {
        let place = self.links.free_place((0..3).map(|number| self.cluster.replica(number)))?;
        self.spares += 1;
        let recipe = self.links.spare(&self.cluster, place, &format!("spare-{}", self.spares))?;
        let spare = waiting(&self.cluster, recipe).await?;
        let by = addr(&spare)?;
        let leader = self.cluster.leader().await?;
        let (going, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let wish = Wish::Replace { replica: id_of(&self.cluster, going).await?, by };
        let leads_at = self.links.place_of(self.cluster.replica(leader))?;
        match stage {
            Stage::Joining => spare.pause()?,
            Stage::CatchingUp => self.links.sever(leads_at, place),
            Stage::Joint | Stage::Leaving => self.links.slow_down(leads_at, LATE),
        }
        let begun = begun(&self.cluster, &wish).await?;
        self.cluster.adopt(spare);
        let is_met = self.is_met(stage, leader, begun.id).await?;
        let number = match victim {
            Victim::Leader => leader,
            Victim::Other => other,
            Victim::Leaver => going,
            Victim::Newcomer => NEWCOMER,
        };
        self.cluster.replica_mut(number).kill()?;
        self.links.heal();
        let is_lost = victim == Victim::Newcomer;
        if stage == Stage::Joining && !is_lost {
            self.cluster.replica(NEWCOMER).resume()?;
        }
        let is_waited_for = is_lost && matches!(stage, Stage::Joining | Stage::CatchingUp);
        if is_waited_for {
            self.cluster.replica_mut(NEWCOMER).start()?;
        }
        let ended = over(&self.cluster, begun.id).await?;
        workload.progress(10).await?;
        // A process that never knew which replica it was to be asks anew, and then it is let in.
        let is_given_up = is_lost && stage == Stage::Joining;
        let expected = if is_given_up { ChangeStage::Cancelled } else { ChangeStage::Done };
        ensure!(ended.stage == expected, "{ended:#?}");
        self.cluster.start_all()?;
        if is_given_up {
            let again = change(&self.cluster, &wish).await?;
            ensure!(again.stage == ChangeStage::Done, "{again:#?}");
        }
        let gone = self.cluster.release(going);
        let folder = gone.recipe().folder.clone();
        assert_ends_removed(gone).await?;
        fs::remove_dir_all(folder)?;
        self.cluster.healed().await?;
        Ok(is_met)
    }

    /// Waits until a change is at a stage; false if it was there and has left it.
    async fn is_met(&self, stage: Stage, leader: usize, id: ChangeId) -> Result<bool> {
        until(&format!("the change to be at {stage:?}"), PATIENCE, async || {
            let Some(change) = self.look(leader, id).await else { return Ok(None) };
            let is_held = change.waits_for.is_some();
            let newcomer = self.cluster.replica(NEWCOMER);
            Ok(match stage {
                Stage::Joining if is_held => {
                    ensure!(!newcomer.recipe().folder.join("marker").exists(), "it knows already");
                    Some(true)
                }
                Stage::CatchingUp
                    if is_held && newcomer.recipe().folder.join("marker").exists() =>
                {
                    Some(true)
                }
                Stage::Joint if change.stage > ChangeStage::Joint => Some(false),
                Stage::Joint => self.is_joint(leader, &change).await.then_some(true),
                Stage::Leaving if change.stage.is_over() => Some(false),
                Stage::Leaving => (change.stage == ChangeStage::Leaving).then_some(true),
                Stage::Joining | Stage::CatchingUp => None,
            })
        })
        .await
    }

    async fn look(&self, leader: usize, id: ChangeId) -> Option<Change> {
        let url = format!("{}{}", self.cluster.url(leader), paths::change(id));
        Answer::to(self.cluster.http().get(url)).await.ok()?.json().ok()
    }

    /// Do both vote, the one who comes and the one who leaves?
    async fn is_joint(&self, leader: usize, change: &Change) -> bool {
        let Some(status) = self.cluster.status(leader).await else { return false };
        let voters = status.replicas.iter().filter(|replica| replica.role.is_voter());
        let moved =
            voters.filter(|it| change.joins.contains(&it.id) || change.leaves.contains(&it.id));
        moved.count() == 2
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_ends_whoever_dies_at_whatever_stage_of_it() -> Result<()> {
    let (cluster, links) = Links::start_with_room(3, 1, |recipe| {
        recipe.arguments.extend(CALM.map(str::to_owned));
    })
    .await?;
    let load = Load { producers: 2, followers: 1, readers: 1, ..Load::on("orders", SEED)? };
    let workload = Workload::start(&cluster, load).await?;
    workload.progress(10).await?;
    let mut group = Group { cluster, links, spares: 0 };
    // The short form has each stage and each victim once.
    let first = Chance::new(SEED).index(VICTIMS.len());
    let turns = if is_long() { VICTIMS.len() } else { 1 };
    let mut faults = BTreeMap::new();
    for turn in 0..turns {
        for (at, stage) in STAGES.into_iter().enumerate() {
            let victim = VICTIMS[(first + turn + at) % VICTIMS.len()];
            let fault = format!("{stage:?}, {victim:?}");
            print(&fault);
            workload.recorder().record_fault(&fault);
            let mut tries = 0;
            while !group.lose(stage, victim, &workload).await.with_context(|| fault.clone())? {
                tries += 1;
                ensure!(tries < TRIES, "{fault}: over before it was seen, {tries} times");
            }
            faults.insert(fault, 1);
        }
    }
    let mut cluster = group.cluster;
    let history = workload.finish(&mut cluster).await?;
    let required = Coverage { faults, replicas: 3, appends: 40, reads: 10 };
    print(&check(&history, &required).assert_passed().to_string());
    cluster.finish();
    Ok(())
}
