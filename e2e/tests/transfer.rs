//! State transfers whose ends die, whose sources fall silent, and what is said of them meanwhile.
//!
//! Method: three real replicas behind links, small journals. One of them is away until what it lacks is purged, then
//! it fetches that at a pace. What moved is counted in the links, so that nobody who dies takes the figure along.

use anyhow::{Context, Result, ensure};
use client::api::transfers::{TransferInfo, TransferStage};
use quorate_e2e::{
    bulk::{self, BATCH_RECORDS, RECORD_BYTES, fill, purged, received},
    chance::Chance,
    cluster::Cluster,
    link::Links,
    process::print,
    scale::short_or_long,
    wait::until,
    workload,
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);
const SEED: u64 = 20_261_126;
/// A hash moves for so many records.
const TILE_RECORDS: u64 = 256;

/// A group behind links, and how many batches it holds.
struct Scene {
    cluster: Cluster,
    links: Links,
    batches: u64,
}

impl Scene {
    /// Whoever lacks state fetches so many bytes of it in a second.
    async fn start(bytes_per_second: u64) -> Result<Self> {
        let pace = format!("state.transfer_bytes_per_second={bytes_per_second}");
        let (cluster, links) = Links::start_with(3, |recipe| {
            let arguments = bulk::SMALL.into_iter().chain(["--set", &pace]);
            recipe.arguments.extend(arguments.map(str::to_owned));
        })
        .await?;
        let mut scene = Self { cluster, links, batches: 0 };
        scene.fill(1).await?;
        Ok(scene)
    }

    async fn fill(&mut self, batches: u64) -> Result<()> {
        fill(&self.cluster, batches).await?;
        self.batches += batches;
        Ok(())
    }

    /// Leaves a follower behind by so many batches, so that it fetches them from now on. Gives its number.
    async fn leave_behind(&mut self, batches: u64) -> Result<usize> {
        self.cluster.healed().await?;
        let away = self.cluster.follower().await?;
        self.cluster.replica_mut(away).kill()?;
        self.fill(batches).await?;
        // All of it is offered at once.
        workload::client(&self.cluster.urls())?.make_checkpoint(None).await?;
        for number in (0..3).filter(|number| *number != away) {
            purged(&self.cluster, number).await?;
        }
        self.cluster.replica_mut(away).start()?;
        Ok(away)
    }

    /// The newest transfer by which a replica receives state, if it answers and there is one.
    async fn newest(&self, receiver: usize) -> Option<TransferInfo> {
        received(&self.cluster, receiver).await.ok()?.into_iter().next()
    }

    /// Waits for something to be seen of the transfer that is received.
    async fn await_transfer(
        &self,
        receiver: usize,
        what: &str,
        is_seen: impl Fn(&TransferInfo) -> bool,
    ) -> Result<TransferInfo> {
        until(what, PATIENCE, async || Ok(self.newest(receiver).await.filter(&is_seen)))
            .await
            .with_context(|| self.cluster.replica(receiver).quoted())
    }

    /// All three hold the same.
    async fn assert_same(&mut self) -> Result<()> {
        self.cluster.healed().await?;
        let digests = self.cluster.digests().await?;
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
        Ok(())
    }
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harmed {
    Receiver,
    Sender,
    Leader,
}

/// One kill.
#[derive(Debug, Clone, Copy)]
struct Kill {
    harmed: Harmed,
    /// How much was fetched by then, of a hundred: from the offer to the install.
    percent: u64,
    /// Whether whoever was killed comes back only when the transfer is over.
    is_long: bool,
}

impl Kill {
    fn draw(harmed: Harmed, chance: &mut Chance) -> Self {
        Self { harmed, percent: chance.below(101), is_long: chance.is_one_in(2) }
    }

    fn is_at(&self, transfer: &TransferInfo) -> bool {
        let Some(total) = transfer.bytes_total else { return self.percent == 0 };
        transfer.bytes_done * 100 >= total * self.percent
    }
}

/// What a replica moves at most that lacks so many batches: 1.1 times what that is.
fn moved_max(batches: u64) -> u64 {
    let records = batches * BATCH_RECORDS;
    let lacked = records * RECORD_BYTES + records / TILE_RECORDS * 32;
    lacked + lacked / 10
}

/// Leaves one behind and kills as told. None if the transfer was over before.
async fn kill_once(scene: &mut Scene, batches: u64, kill: Kill) -> Result<Option<()>> {
    let receiver = scene.leave_behind(batches).await?;
    let before = scene.links.answered(receiver);
    let seen = scene.await_transfer(receiver, "it is so far", |it| kill.is_at(it)).await?;
    let leader = scene.cluster.leader().await?;
    let victim = match kill.harmed {
        Harmed::Receiver => receiver,
        Harmed::Sender => 3 - receiver - leader,
        Harmed::Leader => leader,
    };
    let is_under_way = scene.newest(receiver).await.is_some_and(|it| it.ended.is_none());
    scene.cluster.replica_mut(victim).kill()?;
    if kill.is_long && victim != receiver {
        scene
            .await_transfer(receiver, "the transfer is done", |it| it.stage == TransferStage::Done)
            .await?;
    }
    scene.cluster.replica_mut(victim).start()?;
    scene.assert_same().await?;
    let moved = scene.links.answered(receiver) - before;
    let (max, last) = (moved_max(batches), received(&scene.cluster, receiver).await?);
    print(&format!(
        "{kill:?}: {} of {:?} bytes were there, {moved} moved of {max} at most, {} transfers since the last start",
        seen.bytes_done,
        seen.bytes_total,
        last.len(),
    ));
    assert!(moved <= max, "{kill:?}: moved {moved} of {max} at most: {last:?}");
    Ok(is_under_way.then_some(()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_on_whoever_is_killed_whenever() -> Result<()> {
    let (kills, batches) = (short_or_long(3, 20), 40);
    let mut scene = Scene::start(6 << 20).await?;
    let mut chance = Chance::new(SEED);
    print(&format!("seed {SEED}"));
    let roles = [Harmed::Receiver, Harmed::Leader, Harmed::Sender];
    for harmed in roles.into_iter().cycle().take(kills) {
        let mut attempts = 0;
        // A transfer that was over before the kill shows nothing.
        while kill_once(&mut scene, batches, Kill::draw(harmed, &mut chance)).await?.is_none() {
            attempts += 1;
            ensure!(attempts < 5, "no transfer lasted until its kill");
        }
    }
    for number in 0..3 {
        bulk::check_records(&scene.cluster, number, scene.batches).await?;
    }
    scene.cluster.finish();
    Ok(())
}
