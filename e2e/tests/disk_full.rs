//! Disks that fill: a follower's, the leader's, those of a majority. Reads and trims go on, appends come back by
//! themselves, nothing is lost.
//!
//! Method: each replica lies in a file system of its own, which is made smaller and larger while the group runs. One
//! log is filled until there is no room; on another the seeded workload runs, whose history is checked.

use anyhow::{Result, ensure};
use client::api::error::ErrorCode;
use client::types::LogName;
use quorate_e2e::{
    check::{Coverage, check},
    cluster::{CALM, Cluster},
    process::print,
    rest::{self, Answer},
    volume::Volume,
    wait::{PATIENCE, until},
    workload::{Load, Workload},
};
use reqwest::Method;
use std::{collections::BTreeMap, time::Duration};

const MIB: u64 = 1 << 20;
/// What a volume has while its disk is not to be full.
const AMPLE: u64 = 512 * MIB;
/// Below this much room no appends are taken.
const MIN: u64 = 64 * MIB;
const BULK: &str = "bulk";
const FOLLOWER: &str = "follower full";
const LEADER: &str = "leader full";
const MAJORITY: &str = "majority full";
const APPENDS_BETWEEN: usize = 50;

/// A group whose replicas lie in file systems of their own.
struct Scene {
    // Goes first, so that the folder below can be removed.
    volumes: Vec<Volume>,
    cluster: Cluster,
}

impl Scene {
    async fn start() -> Result<Option<Self>> {
        let mut cluster = Cluster::empty()?;
        let settings = [
            ("limits.disk_free_min", "64MiB"),
            ("limits.batch_bytes_max", "2MiB"),
            ("journal.segment_bytes", "8MiB"),
            ("state.unflushed_bytes_max", "8MiB"),
            ("state.flush_bytes", "2MiB"),
        ];
        let settings = settings.map(|(key, value)| format!("{key}={value}"));
        let arguments: Vec<&str> =
            settings.iter().flat_map(|setting| ["--set", setting.as_str()]).chain(CALM).collect();
        let mut volumes = Vec::new();
        for recipe in cluster.recipes(3, &arguments)? {
            let Some(volume) = Volume::mount(&recipe.folder, AMPLE)? else {
                cluster.finish();
                return Ok(None);
            };
            volumes.push(volume);
            cluster.add(recipe).await?;
        }
        cluster.healed().await?;
        rest::put(cluster.http(), &cluster.url(0), &format!("/v1/logs/{BULK}"), "{}")
            .await?
            .succeeded()?;
        Ok(Some(Self { volumes, cluster }))
    }

    /// Appends half a megabyte, and answers with what was said to the last record.
    async fn fill(&self) -> Result<Answer> {
        let url = self.cluster.url(self.cluster.leader().await?);
        let body = vec![b'x'; 60 << 10];
        let append = || rest::append(self.cluster.http(), &url, BULK, &body);
        let answers = futures_util::future::try_join_all((0..8).map(|_| append())).await?;
        let refused = answers.iter().find(|answer| answer.status != 200);
        Ok(refused.unwrap_or(&answers[0]).clone())
    }

    /// Fills until appends are refused for want of room, which has to be said well.
    async fn fill_up(&self) -> Result<()> {
        until("appends are refused for want of room", PATIENCE, async || {
            let answer = self.fill().await?;
            if answer.status == 200 {
                return Ok(None);
            }
            let code = answer.problem()?.code;
            ensure!(answer.header("retry-after").is_some(), "{}", answer.quoted());
            let others = [ErrorCode::Overloaded, ErrorCode::NoQuorum, ErrorCode::NoLeader];
            ensure!(code == ErrorCode::DiskFull || others.contains(&code), "{}", answer.quoted());
            Ok((code == ErrorCode::DiskFull).then_some(()))
        })
        .await
    }

    /// Through any replica, and fresh.
    async fn assert_readable(&self) -> Result<()> {
        for url in self.cluster.urls() {
            let path = "/v1/logs/orders/records?from=-5&consistency=linearizable";
            rest::get(self.cluster.http(), &url, path).await?.succeeded()?;
        }
        Ok(())
    }

    /// Trims all that was filled in.
    async fn trim(&self) -> Result<()> {
        let leader = self.cluster.leader().await?;
        let log: LogName = BULK.parse()?;
        let tail = self.cluster.describe(leader, &log).await?.tail.get();
        let url = format!("{}/v1/logs/{BULK}/trim", self.cluster.url(leader));
        let request = self.cluster.http().request(Method::POST, url);
        let request = request.header("content-type", "application/json");
        Answer::to(request.body(format!("{{\"to\":{tail}}}"))).await?.succeeded()?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_stop_appends_alone_and_room_brings_them_back() -> Result<()> {
    let Some(mut scene) = Scene::start().await? else { return Ok(()) };
    let load = Load {
        producers: 4,
        followers: 2,
        pace: Duration::from_millis(20),
        ..Load::on("orders", 3)?
    };
    let workload = Workload::start(&scene.cluster, load).await?;
    workload.progress(APPENDS_BETWEEN).await?;

    // A follower: it takes no more than it has room for, and the group goes on without it.
    let follower = scene.cluster.follower().await?;
    workload.recorder().record_fault(FOLLOWER);
    scene.volumes[follower].leave(MIN + 8 * MIB)?;
    for _ in 0..150 {
        let filled = until("the group takes appends", PATIENCE, async || {
            let answer = scene.fill().await?;
            let code = if answer.status == 200 { None } else { Some(answer.problem()?.code) };
            ensure!(code != Some(ErrorCode::DiskFull), "a full follower is not a full leader");
            Ok(code.is_none().then_some(()))
        });
        filled.await?;
    }
    assert!(scene.volumes[follower].free()? > 0, "it stopped before the end");
    let leader = scene.cluster.leader().await?;
    until("it is said that a disk has no room, and appends go on", PATIENCE, async || {
        let verdict = scene.cluster.answered(leader).await?.verdict;
        let mut reasons = verdict.reasons.iter();
        let is_said = reasons.any(|reason| reason.starts_with("no room on the disk"));
        Ok((is_said && verdict.can_append).then_some(()))
    })
    .await?;
    workload.progress(APPENDS_BETWEEN).await?;
    scene.volumes[follower].leave(AMPLE)?;
    scene.cluster.healed().await?;

    // The leader: it hands over to one that has room.
    let leader = scene.cluster.leader().await?;
    workload.recorder().record_fault(LEADER);
    scene.volumes[leader].leave(MIN - 2 * MIB)?;
    until("another one leads", PATIENCE, async || {
        let now = scene.cluster.leader_now().await;
        Ok(now.is_some_and(|now| now != leader).then_some(()))
    })
    .await?;
    workload.progress(APPENDS_BETWEEN).await?;
    scene.assert_readable().await?;
    scene.volumes[leader].leave(AMPLE)?;
    scene.cluster.healed().await?;

    // A majority: no appends, and everything else; a trim is enough to bring them back.
    let leader = scene.cluster.leader().await?;
    workload.recorder().record_fault(MAJORITY);
    for full in [leader, (leader + 1) % 3] {
        scene.volumes[full].leave(MIN + 4 * MIB)?;
    }
    scene.fill_up().await?;
    scene.assert_readable().await?;
    // Whoever votes has no room either.
    let leader = scene.cluster.leader().await?;
    scene.cluster.replica_mut(leader).kill()?;
    until("another one leads", PATIENCE, async || {
        let now = scene.cluster.leader_now().await;
        Ok(now.is_some_and(|now| now != leader).then_some(()))
    })
    .await?;
    scene.cluster.replica_mut(leader).start()?;
    scene.cluster.replica_mut(leader).ready().await?;
    scene.assert_readable().await?;
    scene.fill_up().await?;
    let starts = scene.cluster.answered(leader).await?.replicas;
    scene.trim().await?;
    workload.progress(APPENDS_BETWEEN).await?;

    // Once more, and now the disks become larger.
    scene.fill_up().await?;
    scene.assert_readable().await?;
    for volume in &scene.volumes {
        volume.leave(AMPLE)?;
    }
    workload.progress(APPENDS_BETWEEN).await?;
    let after = scene.cluster.answered(leader).await?.replicas;
    let starts = [starts, after].map(|all| all.iter().map(|one| one.start).collect::<Vec<_>>());
    assert_eq!(starts[0], starts[1], "nobody had to be started again");

    let history = workload.finish(&mut scene.cluster).await?;
    let faults = [FOLLOWER, LEADER, MAJORITY].map(|kind| (kind.to_owned(), 1));
    let required = Coverage {
        faults: BTreeMap::from(faults),
        replicas: 3,
        appends: APPENDS_BETWEEN,
        reads: 10,
    };
    print(&check(&history, &required).assert_passed().to_string());
    let Scene { volumes, cluster } = scene;
    drop(volumes);
    cluster.finish();
    Ok(())
}
