//! A real file goes in through a follower while the leader is killed, and comes out unchanged.
//!
//! Input: a listing of this machine's files, a record per line; and a file of random bytes in records
//! of 1 MiB. It is read back from each replica and compared by SHA-256. `just prove` uses at least
//! 200 000 lines and 500 MB.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use client::Sequencer;
use client::api::reading::{Consistency, ReadFrom, ReadQuery};
use client::types::{Batch, BatchLimits, LogName, LogSettings, NewRecord, Position, ProducerEpoch};
use quorate_e2e::{
    chance::Chance,
    cluster::Cluster,
    process::print,
    scale::short_or_long,
    wait::{PATIENCE, until},
    workload::{client, single},
};
use sha2::{Digest, Sha256};
use std::{collections::VecDeque, fs, path::PathBuf, time::Instant};

/// At least so many lines: the paths of files, as they are found, and again if there are too few.
fn listing(lines_min: usize) -> Vec<Bytes> {
    let mut folders = VecDeque::from([PathBuf::from("/usr"), PathBuf::from("/etc")]);
    let mut lines = Vec::new();
    while let Some(folder) = folders.pop_front().filter(|_| lines.len() < lines_min) {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            lines.push(Bytes::from(entry.path().into_os_string().into_encoded_bytes()));
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push_back(entry.path());
            }
        }
    }
    let found = lines.len().max(1);
    for copy in 0..lines_min.saturating_sub(lines.len()) {
        lines.push(lines[copy % found].clone());
    }
    lines
}

/// Bodies of 1 MiB, the last one shorter.
fn random_blocks(bytes: usize) -> Vec<Bytes> {
    let mut chance = Chance::new(6);
    let mut blocks = Vec::new();
    let mut left = bytes;
    while left > 0 {
        let length = left.min(1 << 20);
        let mut block: Vec<u8> = Vec::with_capacity(length + 8);
        while block.len() < length {
            block.extend(chance.number().to_le_bytes());
        }
        block.truncate(length);
        blocks.push(block.into());
        left -= length;
    }
    blocks
}

fn digest<'a>(records: impl IntoIterator<Item = &'a Bytes>) -> Vec<u8> {
    let mut digest = Sha256::new();
    for record in records {
        digest.update(record);
        digest.update(b"\n");
    }
    digest.finalize().to_vec()
}

/// As many of `bodies` in one batch as its limits allow, at least one.
fn next_batch(bodies: &[Bytes]) -> Result<(Batch, usize)> {
    let limits = BatchLimits::default();
    let mut taken = 0;
    let mut bytes = 0;
    for body in bodies.iter().take(200) {
        bytes += body.len() + 64;
        if taken > 0 && bytes > 1 << 20 {
            break;
        }
        taken += 1;
    }
    let records: Vec<NewRecord> = bodies[..taken].iter().cloned().map(NewRecord::new).collect();
    Ok((Batch::new(&records, &limits)?, taken))
}

/// A producer whose every batch is forwarded by one replica, because its client follows no hint.
fn producer_at(cluster: &Cluster, entrance: usize, log: &LogName) -> Result<Sequencer> {
    let log = single(&cluster.url(entrance))?.log(log.clone());
    Ok(log.sequencer("feeder".parse()?, ProducerEpoch::new(0)))
}

/// Appends everything through a follower; the leader dies in the middle.
async fn feed(cluster: &mut Cluster, log: &LogName, bodies: &[Bytes]) -> Result<()> {
    client(&cluster.urls())?.log(log.clone()).create(&LogSettings::default()).await?;
    let mut entrance = cluster.follower().await?;
    let mut producer = producer_at(cluster, entrance, log)?;
    let mut fed = 0;
    let mut killed = None;
    while fed < bodies.len() {
        if killed.is_none() && fed >= bodies.len() / 2 {
            let leader = cluster.leader().await?;
            if leader == entrance {
                // It came to lead on its own: go on through one that follows.
                entrance = cluster.follower().await?;
                let next = producer.next_sequence();
                producer = producer_at(cluster, entrance, log)?.starting_at(next);
            }
            cluster.replica_mut(leader).kill()?;
            killed = Some(leader);
        }
        let (batch, taken) = next_batch(&bodies[fed..])?;
        until("a batch is stored", PATIENCE, async || {
            // One whose outcome is unknown goes again under its number; so it is stored once.
            let answer = match producer.resend().await {
                Ok(None) => producer.append(batch.clone()).await.map(Some),
                resent => resent,
            };
            match answer {
                Err(error) if error.is_retryable() => Ok(None),
                answer => Ok(answer?),
            }
        })
        .await?;
        fed += taken;
    }
    let killed = killed.context("the input is not empty")?;
    cluster.replica_mut(killed).start()?;
    cluster.healed().await
}

/// Everything one replica holds, by local reads of its own disk and memory.
async fn drain(cluster: &Cluster, number: usize, log: &LogName) -> Result<Vec<Bytes>> {
    let log = single(&cluster.url(number))?.log(log.clone());
    let tail = log.tail().await?;
    let mut next = Position::ZERO;
    let mut bodies = Vec::new();
    while next < tail {
        let query = ReadQuery {
            consistency: Consistency::Local,
            ..ReadQuery::from(ReadFrom::Position(next))
        };
        let page = log.read(&query).await?;
        ensure!(page.next > next, "replica {number} shows nothing at {next}");
        next = page.next;
        bodies.extend(page.records.into_iter().map(|record| record.body));
    }
    Ok(bodies)
}

async fn in_and_out(name: &str, bodies: Vec<Bytes>) -> Result<()> {
    let log: LogName = name.parse()?;
    let expected = digest(&bodies);
    let mut cluster = Cluster::start(3).await?;
    let start = Instant::now();
    feed(&mut cluster, &log, &bodies).await?;
    let bytes: usize = bodies.iter().map(Bytes::len).sum();
    print(&format!("{name}: {} records, {bytes} bytes in {:.1?}", bodies.len(), start.elapsed()));
    for number in 0..cluster.len() {
        let held = drain(&cluster, number, &log).await?;
        assert_eq!(held.len(), bodies.len(), "records on replica {number}");
        assert_eq!(digest(&held), expected, "SHA-256 on replica {number}");
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_comes_out_as_it_went_in_although_the_leader_died() -> Result<()> {
    in_and_out("listing", listing(short_or_long(10_000, 200_000))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_file_comes_out_as_it_went_in_although_the_leader_died() -> Result<()> {
    in_and_out("blocks", random_blocks(short_or_long(24 << 20, 500_000_000))).await
}
