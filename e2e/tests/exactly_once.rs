//! With the SDK as it is by default, whatever is done to the group, each record is delivered once.
//!
//! Goal: nothing is lost, doubled or out of order for its producer, nobody is told an error, and consumers go on
//! where they committed. Method: eight producers and four consumers, some of which come back under their old name, while
//! replicas are killed, paused and cut off, one after the other, and while the membership is changed twice.

use anyhow::{Context, Result};
use client::api::{changes::ChangeStage, plans::Wish};
use quorate_e2e::{
    chance::Chance,
    cluster::Cluster,
    delivery::Delivery,
    link::{Links, Shape},
    membership::{addr, assert_ends_removed, begun, id_of, over, waiting},
    process::print,
    scale::short_or_long,
};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const REPLICAS: usize = 3;
const PRODUCERS: u32 = 8;
const CONSUMERS: u32 = 4;
/// Records that must be acknowledged after each harm before the next one.
const RECORDS_BETWEEN: u64 = 500;
/// How often the membership is changed.
const CHANGES: u32 = 2;
/// How often somebody is harmed at least: each kind has its turn.
const HARMS_MIN: usize = 7;

#[derive(Clone, Copy, Debug)]
enum Harm {
    Kill(usize),
    Pause(usize),
    Cut(Shape),
}

/// The group, and what is done to it.
struct Course {
    cluster: Cluster,
    links: Links,
    chance: Chance,
    rounds: usize,
    changes: u32,
}

impl Course {
    /// Each kind in its turn; every second time it is the leader.
    async fn harm(&mut self) -> Result<Harm> {
        let (leader, count) = (self.cluster.leader().await?, self.cluster.len());
        let is_leader = self.rounds.is_multiple_of(2);
        let victim = if is_leader { leader } else { self.chance.index(count) };
        let other = (victim + 1 + self.chance.index(count - 1)) % count;
        let harms = [
            Harm::Kill(victim),
            Harm::Pause(victim),
            Harm::Cut(Shape::Alone(victim)),
            Harm::Kill(victim),
            Harm::Cut(Shape::Mute(victim)),
            Harm::Cut(Shape::OneWay { from: victim, to: other }),
            Harm::Cut(Shape::Deaf(victim)),
        ];
        let harm = harms[self.rounds % harms.len()];
        self.rounds += 1;
        Ok(harm)
    }

    /// Harm that is over after a while.
    async fn disturb(&mut self) -> Result<()> {
        let harm = self.harm().await?;
        let lasts = Duration::from_millis(200 + self.chance.below(1_000));
        print(&format!("{harm:?} for {lasts:?}"));
        match harm {
            Harm::Kill(victim) => {
                self.cluster.replica_mut(victim).kill()?;
                sleep(lasts).await;
                self.cluster.replica_mut(victim).start()?;
            }
            Harm::Pause(victim) => {
                self.cluster.replica(victim).pause()?;
                sleep(lasts).await;
                self.cluster.replica(victim).resume()?;
            }
            Harm::Cut(shape) => {
                let all = (0..self.cluster.len()).map(|number| self.cluster.replica(number));
                let places = all.map(|process| self.links.place_of(process));
                self.links.cut_among(&places.collect::<Result<Vec<_>>>()?, shape);
                sleep(lasts).await;
                self.links.heal();
            }
        }
        Ok(())
    }

    /// A newcomer takes the place of a member, while somebody is harmed; again, if the change was given up.
    async fn replace(&mut self) -> Result<()> {
        self.changes += 1;
        for attempt in 0.. {
            let members = (0..self.cluster.len()).map(|number| self.cluster.replica(number));
            let place = self.links.free_place(members)?;
            let name = format!("newcomer-{}-{attempt}", self.changes);
            let newcomer =
                waiting(&self.cluster, self.links.spare(&self.cluster, place, &name)?).await?;
            let by = addr(&newcomer)?;
            let gone = self.chance.index(self.cluster.len());
            let replica = id_of(&self.cluster, gone).await?;
            let change = begun(&self.cluster, &Wish::Replace { replica, by }).await?;
            self.disturb().await?;
            let change = over(&self.cluster, change.id).await?;
            print(&format!("{:?}: {:?}", change.wish, change.stage));
            if change.stage == ChangeStage::Done {
                assert_ends_removed(self.cluster.release(gone)).await?;
                self.cluster.adopt(newcomer);
                break;
            }
        }
        self.cluster.healed().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_to_the_group_each_record_is_delivered_once() -> Result<()> {
    let lasts = short_or_long(Duration::from_mins(1), Duration::from_mins(5));
    let seed = 61;
    let (cluster, links) = Links::start_with_room(REPLICAS, 2, |_recipe| {}).await?;
    let mut course = Course { cluster, links, chance: Chance::new(seed), rounds: 0, changes: 0 };
    let name = "orders".parse()?;
    let everybody = (PRODUCERS, CONSUMERS);
    let mut delivery = Delivery::start(&course.cluster.urls(), &name, everybody, seed).await?;
    delivery.progress(RECORDS_BETWEEN).await?;
    let began = Instant::now();
    while began.elapsed() < lasts || course.changes < CHANGES || course.rounds < HARMS_MIN {
        if began.elapsed() >= lasts * (course.changes + 1) / (CHANGES + 1)
            && course.changes < CHANGES
        {
            course.replace().await?;
        } else {
            course.disturb().await?;
            course.cluster.healed().await?;
        }
        delivery
            .progress(RECORDS_BETWEEN)
            .await
            .with_context(|| format!("round {}", course.rounds))?;
    }
    let delivered = delivery.finish().await?;
    print(&format!("{} times harm, {} changes: {delivered}", course.rounds, course.changes));
    assert!(delivered.lives_of_producers > PRODUCERS as usize, "producers came back");
    assert!(delivered.lives_of_consumers > CONSUMERS as usize, "consumers came back");
    course.cluster.finish();
    Ok(())
}
