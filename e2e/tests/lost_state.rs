//! The state of a replica is lost, or damaged in its structure, while it is down.
//!
//! Goal: it is cured without an operator: the state is set aside and taken anew from the others, since the journal has
//! let go what it was made of; and until then nothing of it is served.
//! Method: one of three replicas whose journals begin late is stopped, its `state.redb` is harmed, it starts again. Where
//! the damage shows only later, it ends with the exit code for that, and is started again, as a supervisor would.

use anyhow::{Context, Result, ensure};
use client::api::audit::{AuditFinding, AuditVerdict};
use quorate_e2e::{
    bulk::{SMALL, check_records, fill, purged},
    cluster::Cluster,
    process::print,
    wait::{PATIENCE, until},
    workload,
};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The exit code of storage that is broken.
const BROKEN: i32 = 74;
/// A replica that is not whole after so many starts will not be.
const STARTS_MAX: usize = 6;
const PAGE: usize = 4096;

fn state_of(cluster: &Cluster, number: usize) -> PathBuf {
    cluster.replica(number).recipe().folder.join("groups/0/state.redb")
}

fn aside(state: &Path) -> PathBuf {
    state.with_extension("redb.damaged")
}

/// How often this replica has taken its state from the others.
fn refills(cluster: &Cluster, number: usize) -> Result<usize> {
    let told = fs::read_to_string(cluster.replica(number).recipe().diagnostics())?;
    Ok(told.matches("the state was taken from the others").count())
}

/// Three replicas whose journals do not begin at the beginning, and one of them that does not lead.
async fn three() -> Result<(Cluster, usize)> {
    // So little stays in memory that what is read comes from the disk.
    let settings = [&SMALL[..], &["--set", "state.cache_bytes=1MiB"]].concat();
    let cluster = Cluster::calm(3, &settings).await?;
    fill(&cluster, 40).await?;
    for number in 0..cluster.len() {
        purged(&cluster, number).await?;
    }
    let victim = cluster.follower().await?;
    Ok((cluster, victim))
}

/// All that the others have is there and right, and everybody says that it is the same.
async fn whole(cluster: &mut Cluster, victim: usize, batches: u64) -> Result<()> {
    cluster.replica_mut(victim).ready().await?;
    check_records(cluster, victim, batches).await?;
    let client = workload::client(&cluster.urls())?;
    until("the audit finds all equal", PATIENCE, async || {
        ensure!(cluster.replica(victim).is_running(), "it ended");
        let report = client.admin().audit().await?;
        let is_equal = |finding: AuditFinding| finding.verdict == AuditVerdict::Equal;
        let all = report.replicas.iter();
        let equal = all.filter(|it| is_equal(it.execution) && is_equal(it.checkpoint)).count();
        Ok((equal == 3).then_some(()))
    })
    .await
}

/// Starts it as often as it ends for its storage, until it is whole.
async fn is_cured(cluster: &mut Cluster, victim: usize, batches: u64) -> Result<()> {
    for start in 1..=STARTS_MAX {
        cluster.replica_mut(victim).start()?;
        let Err(reason) = whole(cluster, victim, batches).await else {
            print(&format!("whole after {start} starts"));
            return Ok(());
        };
        let told = format!("{reason:#}");
        if cluster.replica(victim).is_running() {
            let ended = cluster.replica_mut(victim).ended(PATIENCE).await;
            let status = ended.with_context(|| format!("not cured, and runs on: {told}"))?;
            ensure!(status.code() == Some(BROKEN), "{status}: {told}");
        } else {
            ensure!(told.contains(&format!("exit status: {BROKEN}")), "{told}");
        }
        print(&format!("ended for its storage at start {start}"));
    }
    anyhow::bail!("{}", cluster.replica(victim).quoted())
}

/// Harms the state of a replica, and sees that it is cured.
async fn cure(
    cluster: &mut Cluster,
    victim: usize,
    batches: u64,
    harm: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let state = state_of(cluster, victim);
    let before = refills(cluster, victim)?;
    ensure!(cluster.replica_mut(victim).stop().await?.success());
    harm(&state)?;
    is_cured(cluster, victim, batches).await?;
    assert!(refills(cluster, victim)? > before, "it was whole without the others");
    assert!(!aside(&state).exists(), "what was lost is of no use any more");
    cluster.healed().await
}

/// Overwrites a page with what was never there.
fn spoil_page(state: &Path, number: usize) -> Result<()> {
    let file = OpenOptions::new().write(true).open(state)?;
    let garbage: Vec<u8> =
        (0..PAGE).map(|at| (at * 131 + number * 17).to_le_bytes()[0] | 4).collect();
    Ok(file.write_all_at(&garbage, u64::try_from(number * PAGE)?)?)
}

fn pages(state: &Path) -> Result<usize> {
    Ok(usize::try_from(fs::metadata(state)?.len())? / PAGE)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_not_there_is_taken_from_the_others() -> Result<()> {
    let (mut cluster, victim) = three().await?;
    cure(&mut cluster, victim, 40, |state| Ok(fs::remove_file(state)?)).await?;
    cure(&mut cluster, victim, 40, |state| Ok(fs::write(state, b"")?)).await?;
    // The one that it had a while ago: the journal does not go on from there.
    let state = state_of(&cluster, victim);
    let older = state.with_extension("older");
    ensure!(cluster.replica_mut(victim).stop().await?.success());
    fs::copy(&state, &older)?;
    cluster.replica_mut(victim).start()?;
    fill(&cluster, 30).await?;
    cluster.healed().await?;
    purged(&cluster, victim).await?;
    cure(&mut cluster, victim, 70, |state| Ok(fs::rename(&older, state)?)).await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_opened_is_taken_from_the_others() -> Result<()> {
    let (mut cluster, victim) = three().await?;
    cure(&mut cluster, victim, 40, |state| {
        let file = OpenOptions::new().write(true).open(state)?;
        Ok(file.set_len(file.metadata()?.len() / 2)?)
    })
    .await?;
    cure(&mut cluster, victim, 40, |state| spoil_page(state, 0)).await?;
    // A row that fails its check: the name of the log in the catalog, wherever it lies.
    cure(&mut cluster, victim, 40, |state| {
        let mut bytes = fs::read(state)?;
        let name = b"orders";
        let found: Vec<_> =
            (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(name)).collect();
        ensure!(!found.is_empty(), "the name of the log is nowhere");
        for at in found {
            bytes[at] ^= 1;
        }
        Ok(fs::write(state, bytes)?)
    })
    .await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_damaged_all_over_is_taken_from_the_others() -> Result<()> {
    let (mut cluster, victim) = three().await?;
    cure(&mut cluster, victim, 40, |state| {
        (1..pages(state)?).step_by(3).try_for_each(|page| spoil_page(state, page))
    })
    .await?;
    cure(&mut cluster, victim, 40, |state| {
        (0..pages(state)?).try_for_each(|page| spoil_page(state, page))
    })
    .await?;
    cluster.finish();
    Ok(())
}

/// Spoils in place the pages on which records of the first log begin: redb makes nothing of them at all.
fn spoil_leaves(state: &Path) -> Result<()> {
    const LEAF: u8 = 1;
    let bytes = fs::read(state)?;
    // The log's number, and the upper half of a position.
    let key = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let leaves: Vec<_> = (1..bytes.len() / PAGE)
        .filter(|number| {
            let page = &bytes[number * PAGE..(number + 1) * PAGE];
            page[0] == LEAF && page.windows(key.len()).any(|found| found == key)
        })
        .collect();
    ensure!(!leaves.is_empty(), "no page holds records");
    leaves.into_iter().try_for_each(|page| spoil_page(state, page))
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_shows_while_it_serves_ends_it_and_is_cured_by_the_next_start() -> Result<()> {
    let (mut cluster, victim) = three().await?;
    ensure!(cluster.replica_mut(victim).stop().await?.success());
    cluster.replica_mut(victim).start()?;
    cluster.healed().await?;
    // Nothing of it was read yet, so nothing of it is in memory.
    spoil_leaves(&state_of(&cluster, victim))?;
    let read = check_records(&cluster, victim, 40).await;
    let refused = read.err().context("records that are not there any more were read")?;
    print(&format!("refused: {refused:#}"));
    let status = cluster.replica_mut(victim).ended(PATIENCE).await?;
    assert_eq!(status.code(), Some(BROKEN), "{status}");
    is_cured(&mut cluster, victim, 40).await?;
    assert_eq!(refills(&cluster, victim)?, 1);
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn as_long_as_no_majority_tells_what_the_state_was_it_waits_and_says_so() -> Result<()> {
    let (mut cluster, victim) = three().await?;
    let leader = cluster.leader().await?;
    let other = (0..3).find(|number| ![victim, leader].contains(number)).context("three")?;
    ensure!(cluster.replica_mut(victim).stop().await?.success());
    ensure!(cluster.replica_mut(other).stop().await?.success());
    fs::remove_file(state_of(&cluster, victim))?;
    cluster.replica_mut(victim).start()?;
    let url = format!("{}/v1/cluster", cluster.url(victim));
    until("it says what it waits for", PATIENCE, async || {
        let Ok(answer) = cluster.http().get(&url).send().await else { return Ok(None) };
        let told = answer.text().await?;
        Ok(told.contains("no majority tells").then_some(()))
    })
    .await?;
    cluster.replica_mut(other).start()?;
    whole(&mut cluster, victim, 40).await?;
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}
