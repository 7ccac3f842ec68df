//! State transfers whose ends die, whose sources fall silent, and what is said of them meanwhile.
//!
//! Method: three real replicas behind links, small journals. One of them is away until what it lacks is purged, then
//! it fetches that at a pace. What moved is counted in the links, so that nobody who dies takes the figure along.

use anyhow::{Context, Result, bail, ensure};
use client::Client;
use client::api::transfers::{TransferInfo, TransferStage};
use client::types::{EntryIndex, ReplicaId};
use quorate_e2e::{
    bulk::{self, BATCH_RECORDS, RECORD_BYTES, fill, purged, received},
    chance::Chance,
    cluster::{CALM, Cluster},
    link::Links,
    process::print,
    scale::{is_long, short_or_long},
    volume::Volume,
    wait::{PATIENCE, until},
    workload,
};
use std::time::{Duration, Instant};

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
            let arguments = bulk::SMALL.into_iter().chain(["--set", &pace]).chain(CALM);
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
        let (away, _) = self.take_away(batches).await?;
        self.cluster.replica_mut(away).start()?;
        Ok(away)
    }

    /// The same, and all of it is fetched in one transfer: what was offered while there was less is over.
    async fn leave_behind_at_once(&mut self, batches: u64) -> Result<usize> {
        let (away, all) = self.take_away(batches).await?;
        let leader = Client::single(self.cluster.url(self.cluster.leader().await?).parse()?)?;
        until("all of it is offered", PATIENCE, async || {
            let newest = leader.admin().transfers().await?.into_iter().next();
            let is_all = |it: &TransferInfo| it.entry >= all && it.ended.is_none();
            Ok(newest.filter(is_all).map(drop))
        })
        .await?;
        self.cluster.replica_mut(away).start()?;
        Ok(away)
    }

    /// Ends a follower, and appends and purges so many batches. Gives its number, and the entry up to which.
    async fn take_away(&mut self, batches: u64) -> Result<(usize, EntryIndex)> {
        self.cluster.healed().await?;
        let away = self.cluster.follower().await?;
        self.cluster.replica_mut(away).kill()?;
        self.fill(batches).await?;
        let client = workload::client(&self.cluster.urls())?;
        // With so many checkpoints, one is now and then gone before its answer.
        let made = until("a checkpoint is made", PATIENCE, async || {
            Ok(client.admin().make_checkpoint(None).await.ok())
        });
        let all = made.await?.checkpoint;
        for number in (0..3).filter(|number| *number != away) {
            purged(&self.cluster, number).await?;
        }
        Ok((away, all))
    }

    async fn id(&self, number: usize) -> Result<ReplicaId> {
        let status = self.cluster.answered(number).await?;
        status.this_replica.context("it is a replica")
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

    /// Waits for whoever holds it up to be named: within ten seconds, beside nothing else.
    async fn await_named(
        &self,
        receiver: usize,
        what: &str,
        is_named: impl Fn(&TransferInfo) -> bool,
    ) -> Result<TransferInfo> {
        let within = short_or_long(PATIENCE, Duration::from_secs(10));
        until(what, within, async || Ok(self.newest(receiver).await.filter(&is_named)))
            .await
            .with_context(|| format!("{:?}", self.cluster.replica(receiver).url()))
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

/// A transfer, looked at until it is over.
async fn watch(scene: &Scene, receiver: usize) -> Result<Vec<(Instant, TransferInfo)>> {
    let mut seen = Vec::new();
    until("the transfer is over", PATIENCE, async || {
        let Some(transfer) = scene.newest(receiver).await else { return Ok(None) };
        let is_over = transfer.ended.is_some();
        seen.push((Instant::now(), transfer));
        Ok(is_over.then_some(()))
    })
    .await?;
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_never_runs_backwards_and_the_time_left_is_about_right() -> Result<()> {
    let (batches, bytes_per_second) = short_or_long((40, 4 << 20), (60, 700_000));
    let mut scene = Scene::start(bytes_per_second).await?;
    let receiver = scene.leave_behind_at_once(batches).await?;
    let seen = watch(&scene, receiver).await?;
    for ((_, before), (_, after)) in seen.iter().zip(&seen[1..]) {
        assert_eq!(after.id, before.id);
        assert!(before.bytes_total.is_none() || after.bytes_total == before.bytes_total);
        assert!(after.bytes_done >= before.bytes_done, "{before:?} {after:?}");
        assert!(after.stage >= before.stage, "{before:?} {after:?}");
    }
    let (Some((began, _)), Some((ended, last))) = (seen.first(), seen.last()) else {
        bail!("nothing")
    };
    assert_eq!((last.stage, Some(last.bytes_done)), (TransferStage::Done, last.bytes_total));
    let length = ended.duration_since(*began);
    // What is left is told in whole seconds: in the short run these are too coarse.
    if is_long() {
        ensure!(length >= Duration::from_secs(30), "inconclusive: it took {length:?}");
        let middle = seen.iter().filter(|(at, _)| {
            let passed = at.duration_since(*began);
            passed >= length / 10 && passed <= length * 9 / 10
        });
        let mut worst = (0.0, 0.0, 0.0);
        for (at, transfer) in middle {
            let left = ended.duration_since(*at).as_secs_f64();
            let told = transfer.seconds_left.with_context(|| format!("{transfer:?}"))?;
            let told = Duration::from_secs(told).as_secs_f64();
            let error = ((told - left).abs() - 1.0).max(0.0) / left;
            if error > worst.0 {
                worst = (error, told, left);
            }
            assert!(error <= 0.3, "{told} s were told when {left:.1} s were left: {transfer:?}");
        }
        print(&format!(
            "{} looks in {length:.1?}, off at most (part, told, true): {worst:.2?}",
            seen.len()
        ));
    }
    scene.assert_same().await?;
    scene.cluster.finish();
    Ok(())
}

/// How a source falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// The link to it is cut.
    Cut,
    /// Its process is stopped.
    Frozen,
}

impl Silence {
    fn begin(self, scene: &Scene, receiver: usize, source: usize) -> Result<()> {
        match self {
            Self::Cut => scene.links.sever(receiver, source),
            Self::Frozen => scene.cluster.replica(source).pause()?,
        }
        Ok(())
    }

    fn end(self, scene: &Scene, receiver: usize, source: usize) -> Result<()> {
        match self {
            Self::Cut => scene.links.mend(receiver, source),
            Self::Frozen => scene.cluster.replica(source).resume()?,
        }
        Ok(())
    }
}

/// Cuts one source of a transfer after the other, and looks who is named and what goes on.
async fn silence_sources(scene: &mut Scene, silence: Silence) -> Result<()> {
    let receiver = scene.leave_behind_at_once(40).await?;
    let leader = scene.cluster.leader().await?;
    let other = 3 - receiver - leader;
    let (other_id, leader_id) = (scene.id(other).await?, scene.id(leader).await?);
    let both = |it: &TransferInfo| it.sources.iter().filter(|source| source.bytes > 0).count() == 2;
    scene.await_transfer(receiver, "both give", both).await?;

    // One of them: it is named, and left out; the leader goes on giving.
    silence.begin(scene, receiver, other)?;
    let began = Instant::now();
    let named = scene.await_named(receiver, "the silent source is named", |it| {
        it.sources.iter().any(|source| source.replica == other_id && source.left_out.is_some())
    });
    let named = named.await?;
    let named_after = began.elapsed();
    let goes_on = |it: &TransferInfo| it.bytes_done > named.bytes_done;
    scene.await_transfer(receiver, "the other one goes on giving", goes_on).await?;

    // Both: nothing comes any more.
    scene.links.sever(receiver, leader);
    let began = Instant::now();
    let stuck = scene.await_named(receiver, "what is waited for is named", |it| {
        it.waits_for.as_ref().is_some_and(|what| what.contains(&leader_id.to_string()))
    });
    let stuck = stuck.await?;
    print(&format!(
        "{silence:?}: named after {named_after:.1?} and {:.1?}: {:?}",
        began.elapsed(),
        stuck.waits_for
    ));

    // One is back, and enough.
    silence.end(scene, receiver, other)?;
    let done = |it: &TransferInfo| it.stage == TransferStage::Done;
    let done = scene.await_transfer(receiver, "it is done with one source", done).await?;
    assert_eq!((&done.id, Some(done.bytes_done)), (&stuck.id, done.bytes_total));
    scene.links.heal();
    scene.assert_same().await
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_fall_silent_are_named_and_the_transfer_goes_on_without_them() -> Result<()> {
    let mut scene = Scene::start(3 << 20).await?;
    for silence in short_or_long(&[Silence::Frozen][..], &[Silence::Frozen, Silence::Cut]) {
        silence_sources(&mut scene, *silence).await?;
    }
    scene.cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_for_which_there_is_no_room_waits_and_says_how_much_it_needs() -> Result<()> {
    const MIB: u64 = 1 << 20;
    let mut cluster = Cluster::empty()?;
    let settings =
        ["limits.disk_free_min=64MiB", "state.unflushed_bytes_max=8MiB", "state.flush_bytes=2MiB"];
    let arguments: Vec<_> = bulk::SMALL
        .into_iter()
        .chain(CALM)
        .chain(settings.into_iter().flat_map(|it| ["--set", it]))
        .collect();
    let mut volumes = Vec::new();
    for recipe in cluster.recipes(3, &arguments)? {
        let Some(volume) = Volume::mount(&recipe.folder, 512 * MIB)? else {
            cluster.finish();
            return Ok(());
        };
        volumes.push(volume);
        cluster.add(recipe).await?;
    }
    cluster.healed().await?;
    let links = Links::none();
    let mut scene = Scene { cluster, links, batches: 0 };
    scene.fill(1).await?;
    let (receiver, _) = scene.take_away(80).await?;
    // Half of what it lacks fits above what is kept free.
    volumes[receiver].leave(16 * MIB + 16 * MIB)?;
    scene.cluster.replica_mut(receiver).start()?;
    let waits = |it: &TransferInfo| {
        it.waits_for.as_ref().is_some_and(|what| what.starts_with("disk space: "))
    };
    let waiting = scene.await_transfer(receiver, "it waits for disk space", waits).await?;
    print(&format!("{:?}", waiting.waits_for));
    assert_eq!(waiting.bytes_done, 0);
    assert!(volumes[receiver].free()? > 16 * MIB, "it was filled");
    volumes[receiver].leave(512 * MIB)?;
    let done = |it: &TransferInfo| it.stage == TransferStage::Done;
    scene.await_transfer(receiver, "it is done", done).await?;
    scene.assert_same().await?;
    drop(volumes);
    scene.cluster.finish();
    Ok(())
}
