//! A byte that flips while a replica is down, in what is long acknowledged and flushed.
//!
//! Goal: damage is found without anybody reading it, named, counted, shown, and never served; what others
//! hold is repaired before the replica takes part in anything.
//! Method: replicas are stopped, bits of old entries in their journals are flipped, they start again. A head
//! is read at every start, whether its entry is flushed or not; a payload that is flushed, in the background.

use anyhow::{Context, Result, ensure};
use client::types::{LogName, LogSettings};
use quorate_e2e::{
    cluster::Cluster,
    folder::{flip_head, flip_near},
    link::{Links, Shape},
    rest,
    wait::{PATIENCE, until},
    workload,
};
use std::{fs, path::Path};

/// Long and odd enough to lie in the journal only once.
const BODY: &str = "a needle in the journal, and nowhere else in any of its files";

/// Flips a bit of the body wherever it lies in the journal.
fn flip(journal: &Path) -> Result<()> {
    flip_near(journal, BODY, |_, place| Some(place))
}

fn journal(cluster: &Cluster, number: usize) -> std::path::PathBuf {
    cluster.replica(number).recipe().folder.join("groups/0/journal")
}

fn body(number: usize) -> String {
    format!("record {number:04} of those that are read again when all is repaired")
}

/// So many appends, each an entry of its own.
async fn fill(cluster: &Cluster, count: usize) -> Result<()> {
    let log = workload::client(&cluster.urls())?.log("a".parse()?);
    log.create(&LogSettings::default()).await?;
    for number in 0..count {
        log.append(body(number).into_bytes()).await?;
    }
    Ok(())
}

/// Waits until every replica has applied so many records.
async fn held_by_all(cluster: &Cluster, count: usize) -> Result<()> {
    until("everybody holds everything", PATIENCE, async || {
        for number in 0..3 {
            let tail = cluster.describe(number, &"a".parse()?).await?.tail.get();
            if tail < count as u64 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// Reads all of them from one replica.
async fn check_records(cluster: &Cluster, number: usize, count: usize) -> Result<()> {
    for position in 0..count {
        let url = format!("{}/v1/logs/a/records/{position}", cluster.url(number));
        until("a record is read", PATIENCE, async || {
            let Ok(answer) = reqwest::get(&url).await else { return Ok(None) };
            let text = answer.error_for_status().ok();
            let Some(text) = text else { return Ok(None) };
            ensure!(text.text().await? == body(position), "another record at {position}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

/// Stopped, a journal ends with a mark: without it, rot at the very end would look like a torn write.
async fn stop_all(cluster: &mut Cluster) -> Result<()> {
    for number in 0..cluster.len() {
        assert!(cluster.replica_mut(number).stop().await?.success());
    }
    Ok(())
}

async fn repaired(cluster: &Cluster, number: usize) -> Result<u64> {
    cluster.metric(number, "quorate_journal_repaired_entries_total").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_entry_that_rotted_on_one_replica_survives_the_leader() -> Result<()> {
    const COUNT: usize = 12;
    let mut cluster = Cluster::calm(3, &[]).await?;
    fill(&cluster, COUNT).await?;
    let victim = cluster.follower().await?;
    assert!(cluster.replica_mut(victim).stop().await?.success());
    for number in [2, 5, 6, COUNT - 1] {
        flip_head(&journal(&cluster, victim), &body(number))?;
    }
    cluster.replica_mut(victim).start()?;
    cluster.replica_mut(victim).ready().await?;
    assert_eq!(repaired(&cluster, victim).await?, 4);
    let said = cluster.replica(victim).quoted();
    assert!(said.contains("lost entries given"), "{said}");
    let dead = cluster.kill_leader().await?;
    check_records(&cluster, victim, COUNT).await?;
    cluster.replica_mut(dead).start()?;
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_each_entry_rotted_on_another_replica_all_of_them_become_whole() -> Result<()> {
    const COUNT: usize = 15;
    let mut cluster = Cluster::calm(3, &[]).await?;
    fill(&cluster, COUNT).await?;
    held_by_all(&cluster, COUNT).await?;
    stop_all(&mut cluster).await?;
    for number in 0..COUNT {
        flip_head(&journal(&cluster, number % 3), &body(number))?;
    }
    cluster.start_all()?;
    for number in 0..3 {
        cluster.replica_mut(number).ready().await?;
        assert_eq!(repaired(&cluster, number).await?, COUNT as u64 / 3, "on replica {number}");
        check_records(&cluster, number, COUNT).await?;
    }
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rotted_long_after_it_was_flushed_is_repaired_while_the_replica_serves() -> Result<()>
{
    const COUNT: usize = 12;
    let mut cluster = Cluster::calm(3, &[]).await?;
    fill(&cluster, COUNT).await?;
    let victim = cluster.follower().await?;
    assert!(cluster.replica_mut(victim).stop().await?.success());
    for number in [0, 5, 6, COUNT - 1] {
        flip_near(&journal(&cluster, victim), &body(number), |_, place| Some(place))?;
    }
    cluster.replica_mut(victim).start()?;
    cluster.replica_mut(victim).ready().await?;
    until("all of it is written again", PATIENCE, async || {
        Ok((repaired(&cluster, victim).await? == 4).then_some(()))
    })
    .await?;
    until("the status shows no damage any more", PATIENCE, async || {
        let status = cluster.status(victim).await;
        let id = status.as_ref().and_then(|status| status.this_replica);
        let own = status.and_then(|it| it.replicas.into_iter().find(|it| Some(it.id) == id));
        Ok(own.filter(|own| own.damaged_entries.is_none()))
    })
    .await?;
    // The next start finds nothing, however closely it looks.
    assert!(cluster.replica_mut(victim).stop().await?.success());
    cluster.replica_mut(victim).start()?;
    cluster.replica_mut(victim).ready().await?;
    until("old payloads are looked at", PATIENCE, async || {
        let said = cluster.replica(victim).quoted();
        let looked = said.rsplit("payloads of the journal verified").next();
        Ok(looked.filter(|rest| rest.contains(r#""damaged":0"#)).map(drop))
    })
    .await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_rotted_everywhere_once_it_was_flushed_costs_nobody_anything() -> Result<()> {
    const COUNT: usize = 6;
    let mut cluster = Cluster::calm(3, &[]).await?;
    fill(&cluster, COUNT).await?;
    stop_all(&mut cluster).await?;
    for number in 0..3 {
        flip_head(&journal(&cluster, number), &body(3))?;
    }
    cluster.start_all()?;
    for number in 0..3 {
        cluster.replica_mut(number).ready().await?;
        check_records(&cluster, number, COUNT).await?;
    }
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

/// Goal: what the others cannot give because they never had it, and never will, is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_that_a_later_leader_replaced_is_cut_and_the_replica_goes_on() -> Result<()>
{
    const COUNT: usize = 4;
    const LONELY: &str = "of this only a leader that was cut off ever heard";
    let (mut cluster, links) = Links::calm(3).await?;
    fill(&cluster, COUNT).await?;
    held_by_all(&cluster, COUNT).await?;
    let victim = cluster.leader().await?;
    links.cut(Shape::Alone(victim));
    let (http, url) = (cluster.http().clone(), cluster.url(victim));
    let lonely =
        tokio::spawn(async move { rest::append(&http, &url, "a", LONELY.as_bytes()).await });
    until("it stands in the journal", PATIENCE, async || {
        let is_there = fs::read_dir(journal(&cluster, victim))?
            .filter_map(|file| fs::read(file.ok()?.path()).ok())
            .any(|bytes| bytes.windows(LONELY.len()).any(|window| window == LONELY.as_bytes()));
        Ok(is_there.then_some(()))
    })
    .await?;
    let taken = lonely.await?;
    assert!(taken.is_err() || taken.is_ok_and(|answer| answer.status >= 500), "nobody else has it");
    assert!(cluster.replica_mut(victim).stop().await?.success());
    flip_head(&journal(&cluster, victim), LONELY)?;
    let urls: Vec<_> = (0..3).filter(|it| *it != victim).map(|it| cluster.url(it)).collect();
    let log = workload::client(&urls)?.log("a".parse()?);
    log.append(body(COUNT).into_bytes()).await?;
    links.heal();
    cluster.replica_mut(victim).start()?;
    cluster.replica_mut(victim).ready().await?;
    let said = cluster.replica(victim).quoted();
    assert!(said.contains("replaced by a later leader: cut"), "{said}");
    cluster.healed().await?;
    held_by_all(&cluster, COUNT + 1).await?;
    check_records(&cluster, victim, COUNT + 1).await?;
    let digests = cluster.digests().await?;
    assert!(digests.iter().all(|it| *it == digests[0]), "{digests:?}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_nobody_holds_is_named_and_nothing_is_served_without_it() -> Result<()> {
    let never = ["--set", "state.flush_interval=1h", "--set", "checkpoints.interval=1h"];
    let mut cluster = Cluster::calm(3, &never).await?;
    fill(&cluster, 5).await?;
    held_by_all(&cluster, 5).await?;
    // A write of its own behind them says that they are durable: without it, rot would look like a torn write.
    workload::client(&cluster.urls())?.log("a".parse()?).append("another").await?;
    held_by_all(&cluster, 6).await?;
    cluster.kill_all()?;
    for number in 0..3 {
        flip_head(&journal(&cluster, number), &body(3))?;
    }
    cluster.start_all()?;
    for number in 0..3 {
        let url = format!("{}/v1/cluster", cluster.url(number));
        until("what is lost is named", PATIENCE, async || {
            let Ok(answer) = reqwest::get(&url).await else { return Ok(None) };
            let text = answer.text().await?;
            let is_named = text.contains("lacks entries") && text.contains("does not hold");
            Ok(is_named.then_some(()))
        })
        .await?;
        let asked = reqwest::get(format!("{}/v1/logs/a/records/0", cluster.url(number))).await?;
        assert_eq!(asked.status().as_u16(), 503, "nothing is served while something is lost");
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_flipped_in_an_old_frame_is_found_shown_and_not_served() -> Result<()> {
    let mut cluster = Cluster::start(1).await?;
    let log = client::Client::connect(&cluster.url(0)).await?.log(LogName::new("a")?);
    log.create(&LogSettings::default()).await?;
    log.append(BODY).await?;
    log.append("another").await?;
    assert!(cluster.replica_mut(0).stop().await?.success());
    flip(&cluster.replica(0).recipe().folder.join("groups/0/journal"))?;
    cluster.replica_mut(0).start()?;
    cluster.replica_mut(0).ready().await?;

    until("the status shows the damage", PATIENCE, async || {
        let status = cluster.status(0).await;
        let damaged = status.and_then(|status| status.replicas.first()?.damaged_entries);
        Ok((damaged == Some(1)).then_some(()))
    })
    .await?;
    let metrics = reqwest::get(format!("{}/metrics", cluster.url(0))).await?.text().await?;
    assert!(metrics.contains("\nquorate_journal_damaged_entries_total 1\n"), "{metrics}");
    let said = cluster.replica(0).quoted();
    assert!(said.contains("damaged entry found in the journal"), "{said}");
    // The records were flushed before, and are verified on their own.
    let url = format!("{}/v1/logs/a/records/0", cluster.url(0));
    assert_eq!(reqwest::get(url).await?.text().await.context("a body")?, BODY);
    cluster.finish();
    Ok(())
}
