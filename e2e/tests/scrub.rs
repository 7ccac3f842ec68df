//! Bytes of records that flip in the state of a replica, or of each of them, while it is down.
//!
//! Goal: the damage is found, by a scrub that is asked for or by the first read, and repaired from the others; until
//! then it is refused, and never served.
//! Method: replicas are stopped, a bit of some records is flipped wherever they lie in their state, they start again.
//! What they serve then is compared with what was appended.

use anyhow::{Context, Result, ensure};
use client::types::{Batch, BatchLimits, LogSettings, NewRecord};
use quorate_e2e::{
    checkpoint::certified,
    cluster::Cluster,
    process,
    wait::{PATIENCE, until},
    workload,
};
use std::{fs, path::Path};

const RECORDS: usize = 700;
/// In the first tile, in the second, and in the one that is not complete.
const HARMED: [usize; 3] = [10, 300, 690];

fn body(number: usize) -> String {
    format!("record {number:06} {}", "of many ".repeat(20))
}

/// Flips a bit of the bodies of these records wherever they lie.
fn flip(folder: &Path, records: &[usize]) -> Result<()> {
    let state = folder.join("groups/0/state.redb");
    let mut bytes = fs::read(&state)?;
    for &number in records {
        let body = body(number);
        let places: Vec<_> = (0..bytes.len() - body.len())
            .filter(|at| bytes[*at..].starts_with(body.as_bytes()))
            .collect();
        ensure!(!places.is_empty(), "record {number} is not in the state's file");
        for place in places {
            bytes[place + 9] ^= 1;
        }
    }
    Ok(fs::write(state, bytes)?)
}

/// Three replicas with records that a majority has flushed.
async fn filled() -> Result<Cluster> {
    let cluster = Cluster::calm(3, &[]).await?;
    let client = workload::client(&cluster.urls())?;
    let log = client.log("orders".parse()?);
    log.create(&LogSettings::default()).await?;
    let records: Vec<_> = (0..RECORDS).map(|number| NewRecord::new(body(number))).collect();
    log.append_batch(&Batch::new(&records, &BatchLimits::default())?).await?;
    // Others give what they have flushed: a majority has, so one of them.
    certified(&client, None).await?;
    Ok(cluster)
}

/// Three replicas, of which the one that is named has rotten records in its state.
async fn harmed() -> Result<(Cluster, usize)> {
    let mut cluster = filled().await?;
    let victim = cluster.follower().await?;
    until("the follower has all", PATIENCE, async || {
        Ok(read(&cluster, victim, RECORDS - 1).await.ok())
    })
    .await?;
    ensure!(cluster.replica_mut(victim).stop().await?.success());
    flip(&cluster.replica(victim).recipe().folder, &HARMED)?;
    cluster.replica_mut(victim).start()?;
    cluster.replica_mut(victim).ready().await?;
    Ok((cluster, victim))
}

/// What a replica answers, if it does: wrong is never right.
async fn read(cluster: &Cluster, number: usize, record: usize) -> Result<()> {
    let url = format!("{}/v1/logs/orders/records/{record}", cluster.url(number));
    let answer = cluster.http().get(url).send().await?;
    let is_served = answer.status().is_success();
    let text = answer.text().await?;
    if is_served {
        assert_eq!(text, body(record), "a wrong record was served");
        return Ok(());
    }
    anyhow::bail!("refused: {text}")
}

async fn reads_all(cluster: &Cluster, number: usize) -> Result<()> {
    for record in 0..RECORDS {
        read(cluster, number, record).await?;
    }
    Ok(())
}

/// Has a replica look at all that it keeps. What it says.
async fn scrub(cluster: &Cluster, number: usize) -> Result<String> {
    let mut scrub = process::program()?;
    scrub.args(["scrub", "--output", "json", "--endpoint", &cluster.url(number)]);
    let done = tokio::task::spawn_blocking(move || scrub.output()).await??;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_finds_what_has_rotted_and_repairs_it_from_the_others() -> Result<()> {
    let (cluster, victim) = harmed().await?;
    let said = scrub(&cluster, victim).await?;
    assert_eq!(cluster.metric(victim, "quorate_scrub_damaged_tiles_total").await?, 3, "{said}");
    assert_eq!(cluster.metric(victim, "quorate_scrub_repaired_tiles_total").await?, 3, "{said}");
    assert_eq!(cluster.metric(victim, "quorate_scrub_unrepaired_tiles").await?, 0, "{said}");
    reads_all(&cluster, victim).await?;
    assert_eq!(cluster.metric(victim, "quorate_state_damages_total").await?, 0);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_meets_what_has_rotted_is_refused_and_has_it_repaired() -> Result<()> {
    let (cluster, victim) = harmed().await?;
    for record in HARMED {
        let refused = read(&cluster, victim, record).await.err().context("rotten, and served")?;
        ensure!(refused.to_string().contains("damaged"), "{refused}");
        until("it is repaired", PATIENCE, async || Ok(read(&cluster, victim, record).await.ok()))
            .await?;
    }
    assert_eq!(cluster.metric(victim, "quorate_scrub_repaired_tiles_total").await?, 3);
    reads_all(&cluster, victim).await?;
    cluster.finish();
    Ok(())
}

/// The helix: every tile is rotten, each on another replica, so that none of them is whole.
#[tokio::test(flavor = "multi_thread")]
async fn tiles_that_rotted_on_one_replica_each_are_repaired_from_one_another() -> Result<()> {
    let mut cluster = filled().await?;
    for (number, record) in HARMED.into_iter().enumerate() {
        ensure!(cluster.replica_mut(number).stop().await?.success());
        flip(&cluster.replica(number).recipe().folder, &[record])?;
    }
    cluster.start_all()?;
    cluster.healed().await?;
    for number in 0..3 {
        let said = scrub(&cluster, number).await?;
        for name in ["quorate_scrub_damaged_tiles_total", "quorate_scrub_repaired_tiles_total"] {
            assert_eq!(cluster.metric(number, name).await?, 1, "{name}: {said}");
        }
    }
    for number in 0..3 {
        reads_all(&cluster, number).await?;
    }
    let digests = cluster.digests().await?;
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    cluster.finish();
    Ok(())
}
