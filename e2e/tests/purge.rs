//! The journal is let go before certified checkpoints, and nothing else is.
//!
//! Method: real replicas with small segments; how large their journals are is measured in their folders.

use anyhow::Result;
use client::api::reading::{ReadFrom, ReadQuery};
use client::types::{Batch, BatchLimits, LogSettings, NewRecord, Position};
use quorate_e2e::{cluster::Cluster, folder, wait::until, workload};
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

#[tokio::test(flavor = "multi_thread")]
async fn journals_stay_small_and_every_record_is_there_after_a_restart() -> Result<()> {
    let mut cluster = Cluster::start_with(3, &SMALL).await?;
    let client = workload::client(&cluster.urls())?;
    let log = client.log("orders".parse()?);
    log.create(&LogSettings::default()).await?;
    let records: Vec<NewRecord> =
        (0..400_u32).map(|number| NewRecord::new(format!("{number:01000}").into_bytes())).collect();
    let batch = Batch::new(&records, &BatchLimits::default())?;
    for _ in 0..60 {
        log.append_batch(&batch).await?;
    }
    for number in 0..cluster.len() {
        let journal = cluster.replica(number).recipe().folder.join("groups/0/journal");
        until("the journal was purged", PATIENCE, async || {
            Ok((folder::bytes(&journal)? <= JOURNAL_BYTES_MAX).then_some(()))
        })
        .await?;
    }
    let before = cluster.describe(0, &"orders".parse()?).await?;
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.healed().await?;
    log.append("and on").await?;
    for number in 0..cluster.len() {
        let replica = workload::client(&[cluster.url(number)])?.log("orders".parse()?);
        let mut next = Position::ZERO;
        while next < before.tail {
            let page = replica.read(&ReadQuery::from(ReadFrom::Position(next))).await?;
            for record in page.records.iter().filter(|record| record.position < before.tail) {
                let expected = format!("{:01000}", record.position.get() % 400);
                assert_eq!(record.body, expected.as_bytes(), "at {}", record.position);
            }
            next = page.next;
        }
    }
    cluster.finish();
    Ok(())
}
