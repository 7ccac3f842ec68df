//! After the loss of a majority, or of an entry on every replica, one survivor goes on without the others.
//!
//! Goal: what the survivor holds is there, byte for byte; the group grows again around it; and nobody of the old one is
//! heard. Method: real processes whose folders are deleted or damaged, and the command line.

use anyhow::{Context, Result, ensure};
use client::types::{LogName, LogSettings};
use quorate_e2e::{
    cluster::Cluster,
    folder::flip_head,
    process::{Process, Recipe, program},
    rest::get,
    wait::{PATIENCE, until},
    workload,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// Refused because it would not be safe.
const UNSAFE: i32 = 6;
/// A folder that must not run.
const IDENTITY: i32 = 75;
/// Records of the log of activity once there are three replicas and a log: founded, two let in, one created.
const DONE: usize = 4;

/// Runs a command of the command line to its end.
async fn quorate(arguments: &[&str]) -> Result<Output> {
    let mut command = program()?;
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

/// The same, for a command that has to succeed and answers with JSON.
async fn answer(arguments: &[&str]) -> Result<Value> {
    let output = quorate(&[arguments, &["-o", "json"]].concat()).await?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

fn log() -> LogName {
    "orders".parse().expect("it is a name")
}

fn body(number: usize) -> String {
    format!("record {number:04} of those that a survivor keeps")
}

/// So many appends, each an entry of its own.
async fn fill(urls: &[String], numbers: std::ops::Range<usize>) -> Result<()> {
    let log = workload::client(urls)?.log(log());
    log.create(&LogSettings::default()).await?;
    for number in numbers {
        log.append(body(number).into_bytes()).await?;
    }
    Ok(())
}

async fn held_by(cluster: &Cluster, number: usize, count: usize) -> Result<()> {
    until("it holds everything", PATIENCE, async || {
        let tail = cluster.describe(number, &log()).await?.tail.get();
        Ok((tail == count as u64).then_some(()))
    })
    .await
}

/// Reads all of them from one replica.
async fn check_records(cluster: &Cluster, process: &Process, count: usize) -> Result<()> {
    for position in 0..count {
        let path = format!("/v1/logs/orders/records/{position}");
        let read = get(cluster.http(), &process.url(), &path).await?.succeeded()?;
        ensure!(read.body == body(position).as_bytes(), "another record at {position}");
    }
    Ok(())
}

fn folder(cluster: &Cluster, number: usize) -> PathBuf {
    cluster.replica(number).recipe().folder.clone()
}

/// A new replica in an empty folder, admitted by this one.
async fn joined(cluster: &Cluster, name: &str, to: &Process) -> Result<Process> {
    let mut recipe = Recipe::in_folder(cluster.folder().join(name))?;
    recipe.first_start = ["--join".to_owned(), to.url()].into();
    let mut process = Process::spawn(recipe)?;
    process.ready().await?;
    Ok(process)
}

async fn voters(cluster: &Cluster, number: usize) -> usize {
    let status = cluster.status(number).await;
    status.map_or(0, |status| {
        let voters = status.replicas.iter().filter(|it| it.role.is_voter());
        voters.count()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_goes_on_with_all_it_holds_and_two_new_replicas_join_it() -> Result<()> {
    const COUNT: usize = 40;
    let mut cluster = Cluster::calm(3, &[]).await?;
    fill(&cluster.urls(), 0..COUNT).await?;
    let survivor = cluster.follower().await?;
    held_by(&cluster, survivor, COUNT).await?;
    let before = cluster.describe(survivor, &log()).await?;
    let mut others = (0..3).filter(|number| *number != survivor);
    let (gone, old) = (others.next().context("one")?, others.next().context("another")?);
    // Stopped, it has flushed all of it: what rots in its journal then costs nothing.
    assert!(cluster.replica_mut(survivor).stop().await?.success());
    cluster.kill_all()?;
    fs::remove_dir_all(folder(&cluster, gone))?;
    let data = folder(&cluster, survivor);
    flip_head(&data.join("groups/0/journal"), &body(3))?;

    let told = answer(&["recover", "--data", text(&data), "--dry-run"]).await?;
    assert_eq!(told["survivors"][0]["records"], COUNT + DONE, "{told}");
    assert!(told["survivors"][0]["damage"].is_string(), "{told}");
    assert!(told["survivors"][0]["lost_from"].is_null(), "{told}");
    let lost = told["may_be_lost"].as_str().context("it says what may be lost")?;
    assert!(lost.contains("2 of 3 voters are not here"), "{lost}");
    let refused = quorate(&["recover", "--data", text(&data)]).await?;
    assert_eq!(refused.status.code(), Some(UNSAFE), "{refused:?}");
    let both = folder(&cluster, old);
    let refused =
        quorate(&["recover", "--data", text(&data), "--data", text(&both), "--yes"]).await?;
    assert_eq!(refused.status.code(), Some(UNSAFE), "two of three are a majority: {refused:?}");
    let done = answer(&["recover", "--data", text(&data), "--yes"]).await?;
    assert_ne!(done["generation"], told["generation"]);

    cluster.replica_mut(survivor).start()?;
    cluster.replica_mut(survivor).ready().await?;
    let after = cluster.describe(survivor, &log()).await?;
    assert_eq!((after.root, after.tail, after.log_id), (before.root, before.tail, before.log_id));
    check_records(&cluster, cluster.replica(survivor), COUNT).await?;
    fill(&[cluster.url(survivor)], COUNT..COUNT + 5).await?;

    // Of the old group nobody is heard, and told so.
    cluster.replica_mut(old).start()?;
    until("an old member says that it is refused", PATIENCE, async || {
        let said = cluster.replica(old).quoted();
        let is_told = said.contains("another replica refuses this folder");
        Ok((is_told && said.contains("superseded")).then_some(()))
    })
    .await?;
    cluster.replica_mut(old).kill()?;

    let first = joined(&cluster, "new-1", cluster.replica(survivor)).await?;
    let second = joined(&cluster, "new-2", cluster.replica(survivor)).await?;
    until(
        "both vote",
        PATIENCE,
        async || Ok((voters(&cluster, survivor).await == 3).then_some(())),
    )
    .await?;
    fill(&[first.url(), second.url()], COUNT + 5..COUNT + 10).await?;
    for process in [&first, &second] {
        check_records(&cluster, process, COUNT + 10).await?;
    }
    // They are a majority without it.
    cluster.replica_mut(survivor).kill()?;
    fill(&[first.url(), second.url()], COUNT + 10..COUNT + 11).await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_every_replica_lost_is_given_up_by_its_name_and_nothing_before_it()
-> Result<()> {
    const COUNT: usize = 10;
    const LOST: usize = 6;
    let never = ["--set", "state.flush_interval=1h", "--set", "checkpoints.interval=1h"];
    let mut cluster = Cluster::calm(3, &never).await?;
    fill(&cluster.urls(), 0..COUNT).await?;
    for number in 0..3 {
        held_by(&cluster, number, COUNT).await?;
    }
    cluster.kill_all()?;
    for number in 0..3 {
        flip_head(&folder(&cluster, number).join("groups/0/journal"), &body(LOST))?;
    }
    cluster.start_all()?;
    for number in 0..3 {
        let url = format!("{}/v1/cluster", cluster.url(number));
        until("what is lost is named, and nothing served", PATIENCE, async || {
            let Ok(answer) = reqwest::get(&url).await else { return Ok(None) };
            let text = answer.text().await?;
            let is_named = text.contains("lacks entries") && text.contains("does not hold");
            Ok(is_named.then_some(()))
        })
        .await?;
    }
    cluster.kill_all()?;

    let data: Vec<PathBuf> = (0..3).map(|number| folder(&cluster, number)).collect();
    let all: Vec<&str> = data.iter().flat_map(|folder| ["--data", text(folder)]).collect();
    let told = answer(&[&["recover", "--dry-run"], &all[..]].concat()).await?;
    let chosen = told["chosen"].as_str().context("one is chosen")?.to_owned();
    let number = data.iter().position(|folder| text(folder) == chosen).context("one of them")?;
    let first = told["survivors"][number]["lost_from"].as_u64().context("it names the entry")?;
    let named = told["may_be_lost"].as_str().context("it says what is lost")?;
    assert!(named.contains(&format!("entries {first} to ")), "{named}");
    assert_eq!(told["survivors"][number]["records"], LOST + DONE, "{told}");
    let wrong = (first + 1).to_string();
    for arguments in [vec!["--yes"], vec!["--yes", "--accept-loss-from", &wrong]] {
        let refused = quorate(&[&["recover"], &all[..], &arguments[..]].concat()).await?;
        assert_eq!(refused.status.code(), Some(UNSAFE), "{arguments:?}: {refused:?}");
    }
    // As before, it is repeated, wherever it was broken off.
    half_recover(&data[number])?;
    let right = first.to_string();
    let accepted = ["recover", "--yes", "--accept-loss-from", &right];
    answer(&[&accepted[..], &all[..]].concat()).await?;

    cluster.replica_mut(number).start()?;
    cluster.replica_mut(number).ready().await?;
    assert_eq!(cluster.describe(number, &log()).await?.tail.get(), LOST as u64);
    check_records(&cluster, cluster.replica(number), LOST).await?;
    fill(&[cluster.url(number)], LOST..COUNT).await?;
    let first = joined(&cluster, "new-1", cluster.replica(number)).await?;
    let _second = joined(&cluster, "new-2", cluster.replica(number)).await?;
    until("both vote", PATIENCE, async || Ok((voters(&cluster, number).await == 3).then_some(())))
        .await?;
    check_records(&cluster, &first, COUNT).await?;
    cluster.finish();
    Ok(())
}

/// Leaves a folder as a recovery does that is killed behind its first step: the marker is of the next generation, and
/// says that the rest is not there yet.
fn half_recover(folder: &Path) -> Result<()> {
    let path = folder.join("marker");
    let mut marker = fs::read(&path)?;
    marker[12] |= 32;
    marker[32] += 1;
    let check = marker.len() - 32;
    let fresh = Sha256::digest(&marker[..check]);
    marker[check..].copy_from_slice(&fresh);
    Ok(fs::write(&path, marker)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_runs_is_not_recovered_and_one_half_recovered_does_not_start() -> Result<()>
{
    let mut cluster = Cluster::start(1).await?;
    fill(&cluster.urls(), 0..3).await?;
    let data = folder(&cluster, 0);
    let running = quorate(&["recover", "--data", text(&data), "--dry-run"]).await?;
    assert!(!running.status.success(), "{running:?}");
    assert!(String::from_utf8_lossy(&running.stderr).contains("in use"), "{running:?}");
    assert!(cluster.replica_mut(0).stop().await?.success());
    let whole = quorate(&["recover", "--data", text(&data), "--yes"]).await?;
    assert_eq!(whole.status.code(), Some(UNSAFE), "nothing is lost: {whole:?}");

    half_recover(&data)?;
    cluster.replica_mut(0).start()?;
    assert_eq!(cluster.replica_mut(0).ended(PATIENCE).await?.code(), Some(IDENTITY));
    let said = cluster.replica(0).quoted();
    assert!(said.contains("run `quorate recover` on it again"), "{said}");
    let done = answer(&["recover", "--data", text(&data), "--yes"]).await?;
    assert_eq!(done["survivors"][0]["is_half_recovered"], true);
    cluster.replica_mut(0).start()?;
    cluster.replica_mut(0).ready().await?;
    check_records(&cluster, cluster.replica(0), 3).await?;
    cluster.finish();
    Ok(())
}
