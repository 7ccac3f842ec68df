//! Replicas that die at any moment come back by themselves, whole and soon.
//!
//! Method: `kill -9` of one replica after another, of any role, under load; and of all of them once
//! there is much to open. `just prove` runs the long form, whose figures are the ones that count.

use anyhow::{Result, ensure};
use client::types::{Batch, BatchLimits, LogSettings, NewRecord};
use quorate_e2e::{
    chance::Chance,
    check::{Coverage, check},
    cluster::Cluster,
    folder,
    process::{Process, Recipe, print},
    rest,
    scale::{is_long, short_or_long},
    wait::{PATIENCE, until},
    workload::{self, Load, Workload},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

#[tokio::test(flavor = "multi_thread")]
async fn any_replica_killed_at_any_moment_comes_back_whole() -> Result<()> {
    const KILL: &str = "kill any";
    let kills = short_or_long(6, 200);
    let mut chance = Chance::new(5);
    let mut cluster = Cluster::start(3).await?;
    let workload = Workload::start(&cluster, Load::on("orders", 5)?).await?;
    for _ in 0..kills {
        let victim = chance.index(cluster.len());
        workload.recorder().record_fault(KILL);
        cluster.replica_mut(victim).kill()?;
        cluster.replica_mut(victim).start()?;
        cluster.replica_mut(victim).ready().await?;
        workload.progress(usize::try_from(1 + chance.below(50))?).await?;
    }
    let history = workload.finish(&mut cluster).await?;
    let required = Coverage {
        faults: BTreeMap::from([(KILL.to_owned(), kills)]),
        replicas: 3,
        appends: 100,
        reads: 10,
    };
    print(&check(&history, &required).assert_passed().to_string());
    cluster.finish();
    Ok(())
}

/// Appends `count` records of 1 KiB in large batches.
async fn fill(cluster: &Cluster, log: &str, count: usize) -> Result<()> {
    let log = workload::client(&cluster.urls())?.log(log.parse()?);
    log.create(&LogSettings::default()).await?;
    let batch: Vec<NewRecord> =
        (0..1_000).map(|number| NewRecord::new(format!("{number:01024}").into_bytes())).collect();
    let batch = Batch::new(&batch, &BatchLimits::default())?;
    for _ in 0..count.div_ceil(1_000) {
        log.append_batch(&batch).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_much_to_open_serves_again_soon() -> Result<()> {
    let records = short_or_long(20_000, 1_000_000);
    let mut cluster = Cluster::start(3).await?;
    fill(&cluster, "orders", records).await?;

    let victim = cluster.follower().await?;
    cluster.replica_mut(victim).kill()?;
    let start = Instant::now();
    cluster.replica_mut(victim).start()?;
    cluster.replica_mut(victim).ready().await?;
    let one = start.elapsed();
    let tail = cluster.describe(victim, &"orders".parse()?).await?.tail.get();
    assert_eq!(tail, records as u64, "everything is still there");

    cluster.kill_all()?;
    let start = Instant::now();
    cluster.start_all()?;
    let url = cluster.url(0);
    until("an append is acknowledged", PATIENCE, async || {
        let answer = rest::append(cluster.http(), &url, "orders", b"after").await;
        Ok(answer.ok().filter(|answer| answer.status == 200).map(|_| ()))
    })
    .await?;
    let all = start.elapsed();
    print(&format!(
        "{records} records: one replica serves after {one:.1?}, the group after {all:.1?}"
    ));
    if is_long() {
        ensure!(one <= Duration::from_secs(2), "one replica needed {one:?}");
        ensure!(all <= Duration::from_millis(2_500), "the group needed {all:?}");
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_is_refused() -> Result<()> {
    let mut cluster = Cluster::start(1).await?;
    let recipe = cluster.replica(0).recipe().clone();
    let mut other = Recipe::in_folder(recipe.folder.clone())?;
    other.folder = recipe.folder;
    let mut second = Process::spawn(other)?;
    let status = second.ended(Duration::from_secs(20)).await?;
    assert!(!status.success(), "two processes must not share a folder");
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

/// It takes long until the others miss their leader.
const PATIENT: &[&str] = &["--set", "timings.election_min=3s", "--set", "timings.election_max=5s"];

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_back_without_its_unsynced_tail_neither_leads_on_nor_overwrites() -> Result<()> {
    let mut cluster = Cluster::start_with(3, PATIENT).await?;
    let leader = cluster.leader().await?;
    let url = cluster.url(leader);
    rest::put(cluster.http(), &url, "/v1/logs/orders", "{}").await?.succeeded()?;
    rest::append(cluster.http(), &url, "orders", b"before").await?.succeeded()?;
    cluster.healed().await?;
    // What a power cut leaves of the leader, if its disk is slower than those of the others.
    let groups = cluster.replica(leader).recipe().folder.join("groups");
    let kept = cluster.folder().join("kept");
    cluster.replica(leader).pause()?;
    folder::copy(&groups, &kept)?;
    cluster.replica(leader).resume()?;
    let term = cluster.answered(leader).await?.term;
    rest::append(cluster.http(), &url, "orders", b"acknowledged").await?.succeeded()?;
    cluster.healed().await?;

    cluster.replica_mut(leader).kill()?;
    folder::put_back(&kept, &groups)?;
    // It is back before the others miss it.
    cluster.replica_mut(leader).start()?;
    let back = until("it answers", PATIENCE, async || {
        Ok(cluster.status(leader).await.filter(|status| status.this_replica.is_some()))
    })
    .await?;
    let leads_on = back.leader == back.this_replica && back.term == term;
    assert!(!leads_on, "it leads on in term {term}");
    until("an append is acknowledged", PATIENCE, async || {
        let answer = rest::append(cluster.http(), &url, "orders", b"after").await;
        Ok(answer.ok().filter(|answer| answer.status == 200).map(|_| ()))
    })
    .await?;
    let elected = cluster.leader().await?;
    assert!(cluster.answered(elected).await?.term > term, "by an election");
    cluster.healed().await?;
    for number in 0..cluster.len() {
        let path = "/v1/logs/orders/records?from=0&consistency=local";
        let answer = rest::get(cluster.http(), &cluster.url(number), path).await?.succeeded()?;
        let answer: client::api::records::ReadAnswer = answer.json()?;
        let bodies: Vec<_> = answer.records.iter().map(|record| &*record.0.body).collect();
        assert_eq!(bodies[..2], [b"before".as_slice(), b"acknowledged"], "replica {number}");
        assert!(bodies[2..].iter().all(|body| *body == b"after"), "replica {number}");
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_disk_refuses_a_write_ends_with_its_code_and_nothing_is_lost() -> Result<()>
{
    const STORAGE: i32 = 74;
    let small = ["--set", "limits.batch_bytes_max=2MiB", "--set", "journal.segment_bytes=8MiB"];
    let mut cluster = Cluster::start_with(3, &small).await?;
    fill(&cluster, "orders", 1_000).await?;
    let victim = cluster.follower().await?;
    cluster.replica_mut(victim).stop().await?;
    let whole = cluster.replica(victim).recipe().clone();
    // Every segment fits, and what is flushed does not.
    let limited = Recipe { file_bytes_max: Some(12 << 20), ..whole.clone() };
    *cluster.replica_mut(victim) = Process::spawn(limited)?;
    cluster.healed().await?;
    fill(&cluster, "orders", 20_000).await?;
    let status = cluster.replica_mut(victim).ended(PATIENCE).await?;
    assert_eq!(status.code(), Some(STORAGE), "{}", cluster.replica(victim).quoted());
    *cluster.replica_mut(victim) = Process::spawn(whole)?;
    cluster.healed().await?;
    let tail = cluster.describe(victim, &"orders".parse()?).await?.tail.get();
    assert_eq!(tail, 21_000, "the group went on, and the replica caught up");
    cluster.finish();
    Ok(())
}
