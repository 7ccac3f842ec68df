//! The journal is let go before certified checkpoints, and who needs what is gone gets the state.
//!
//! Method: real replicas with small segments; how large their journals are is measured in their folders.

use anyhow::Result;
use client::Client;
use client::api::reading::{ReadFrom, ReadQuery};
use client::api::transfers::{TransferDirection, TransferInfo};
use client::types::{Batch, BatchLimits, LogSettings, NewRecord, Position};
use quorate_e2e::{cluster::Cluster, folder, process::print, wait::until, workload};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);
const SMALL: [&str; 12] = [
    "--set",
    "limits.record_bytes_max=64KiB",
    "--set",
    "limits.batch_bytes_max=512KiB",
    "--set",
    "journal.segment_bytes=1MiB",
    "--set",
    "journal.kept_bytes=2MiB",
    "--set",
    "checkpoints.bytes=2MiB",
    "--set",
    "checkpoints.interval=300ms",
];
/// What is kept, and segments that are being filled, prepared or let go.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// Batches of 400 KB.
async fn fill(cluster: &Cluster, batches: usize) -> Result<()> {
    let log = workload::client(&cluster.urls())?.log("orders".parse()?);
    log.create(&LogSettings::default()).await?;
    let records: Vec<NewRecord> =
        (0..400_u32).map(|number| NewRecord::new(format!("{number:01000}").into_bytes())).collect();
    let batch = Batch::new(&records, &BatchLimits::default())?;
    for _ in 0..batches {
        log.append_batch(&batch).await?;
    }
    Ok(())
}

async fn purged(cluster: &Cluster, number: usize) -> Result<()> {
    let journal = cluster.replica(number).recipe().folder.join("groups/0/journal");
    until("the journal was purged", PATIENCE, async || {
        Ok((folder::bytes(&journal)? <= JOURNAL_BYTES_MAX).then_some(()))
    })
    .await
}

/// Every record below `tail` is what it should be at this replica.
async fn check_records(cluster: &Cluster, number: usize, tail: Position) -> Result<()> {
    let log = workload::client(&[cluster.url(number)])?.log("orders".parse()?);
    let mut next = Position::ZERO;
    while next < tail {
        let page = log.read(&ReadQuery::from(ReadFrom::Position(next))).await?;
        for record in page.records.iter().filter(|record| record.position < tail) {
            let expected = format!("{:01000}", record.position.get() % 400);
            assert_eq!(record.body, expected.as_bytes(), "at {}", record.position);
        }
        next = page.next;
    }
    Ok(())
}

/// What this replica has received, over all transfers.
async fn received(cluster: &Cluster, number: usize) -> Result<Vec<TransferInfo>> {
    let client = Client::single(cluster.url(number).parse()?)?;
    let transfers = client.transfers().await?.into_iter();
    Ok(transfers.filter(|it| it.direction == TransferDirection::Receiving).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_stay_small_and_every_record_is_there_after_a_restart() -> Result<()> {
    let mut cluster = Cluster::start_with(3, &SMALL).await?;
    fill(&cluster, 60).await?;
    for number in 0..cluster.len() {
        purged(&cluster, number).await?;
    }
    let before = cluster.describe(0, &"orders".parse()?).await?;
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.healed().await?;
    for number in 0..cluster.len() {
        check_records(&cluster, number, before.tail).await?;
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_away_past_the_purge_gets_what_it_lacks_and_no_more() -> Result<()> {
    let mut cluster = Cluster::start_with(3, &SMALL).await?;
    fill(&cluster, 30).await?;
    let away = cluster.follower().await?;
    cluster.healed().await?;
    cluster.replica_mut(away).kill()?;
    fill(&cluster, 60).await?;
    for number in (0..cluster.len()).filter(|number| *number != away) {
        purged(&cluster, number).await?;
    }
    cluster.replica_mut(away).start()?;
    cluster.healed().await?;
    let tail = Position::new(90 * 400);
    check_records(&cluster, away, tail).await?;
    let transfers = received(&cluster, away).await?;
    let moved: u64 = transfers.iter().map(|it| it.bytes_done).sum();
    // It lacked sixty of the ninety batches, each record with its length and time.
    let lacked = 60 * 400 * 1_014;
    print(&format!("moved {moved} bytes of some {lacked} in {} transfers", transfers.len()));
    assert!(!transfers.is_empty(), "entries did not suffice");
    assert!(moved <= lacked + lacked / 10, "{transfers:?}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_the_state_when_the_journal_begins_late() -> Result<()> {
    let mut cluster = Cluster::empty()?;
    let mut recipes = cluster.recipes(3, &SMALL)?;
    let newcomer = recipes.pop();
    for recipe in recipes {
        cluster.add(recipe).await?;
    }
    until("two vote", PATIENCE, async || {
        let status = cluster.status(0).await;
        Ok(status
            .filter(|status| status.replicas.len() == 2 && status.verdict.can_append)
            .map(drop))
    })
    .await?;
    fill(&cluster, 60).await?;
    for number in 0..2 {
        purged(&cluster, number).await?;
    }
    cluster.add(newcomer.expect("three were planned")).await?;
    cluster.healed().await?;
    check_records(&cluster, 2, Position::new(60 * 400)).await?;
    assert!(!received(&cluster, 2).await?.is_empty(), "entries did not suffice");
    cluster.finish();
    Ok(())
}
