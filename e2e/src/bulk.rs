//! Bulk: records of a known content, so many that small journals let the first of them go.
//!
//! Who was away meanwhile cannot catch up by entries: it needs the state.
//! Not here: what then happens (the tests).

use crate::cluster::Cluster;
use crate::folder;
use crate::wait::{PATIENCE, until};
use crate::workload;
use anyhow::Result;
use client::Client;
use client::api::reading::{ReadFrom, ReadQuery};
use client::api::transfers::{TransferDirection, TransferInfo};
use client::types::{Batch, BatchLimits, LogSettings, NewRecord, Position};
use std::time::Duration;

/// Settings with which a few megabytes are many.
pub const SMALL: [&str; 12] = [
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
/// Records of a batch.
pub const BATCH_RECORDS: u64 = 400;
/// What moves for a record: its body, a count of headers, its length and time.
pub const RECORD_BYTES: u64 = 1_000 + 2 + 12;

const LOG: &str = "orders";
/// How long a page may take. One that cannot be read ends the replica, and then there is nobody to wait for.
const READ_MAX: Duration = Duration::from_secs(10);
/// With these settings: what is kept, and segments that are being filled, prepared or let go.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// Appends batches of 400 KB.
pub async fn fill(cluster: &Cluster, batches: u64) -> Result<()> {
    let log = workload::client(&cluster.urls())?.log(LOG.parse()?);
    log.create(&LogSettings::default()).await?;
    let records: Vec<NewRecord> =
        (0..BATCH_RECORDS).map(|number| NewRecord::new(body(number).into_bytes())).collect();
    let batch = Batch::new(&records, &BatchLimits::default())?;
    for _ in 0..batches {
        log.append_batch(&batch).await?;
    }
    Ok(())
}

fn body(number: u64) -> String {
    format!("{number:01000}")
}

/// Waits until a replica has let go what it need not keep.
pub async fn purged(cluster: &Cluster, number: usize) -> Result<()> {
    let journal = cluster.replica(number).recipe().folder.join("groups/0/journal");
    until("the journal was purged", PATIENCE, async || {
        Ok((folder::bytes(&journal)? <= JOURNAL_BYTES_MAX).then_some(()))
    })
    .await
}

/// Every record of so many batches is what it should be at this replica.
pub async fn check_records(cluster: &Cluster, number: usize, batches: u64) -> Result<()> {
    let log = workload::single(&cluster.url(number))?.log(LOG.parse()?);
    let tail = Position::new(batches * BATCH_RECORDS);
    let mut next = Position::ZERO;
    while next < tail {
        let query = ReadQuery::from(ReadFrom::Position(next));
        let page = workload::answered(READ_MAX, async || log.read(&query).await).await?;
        for record in page.records.iter().filter(|record| record.position < tail) {
            let expected = body(record.position.get() % BATCH_RECORDS);
            assert_eq!(record.body, expected.as_bytes(), "at {}", record.position);
        }
        next = page.next;
    }
    Ok(())
}

/// The transfers by which this replica received state since its start, newest first.
pub async fn received(cluster: &Cluster, number: usize) -> Result<Vec<TransferInfo>> {
    let client = Client::single(cluster.url(number).parse()?)?;
    let transfers = client.admin().transfers().await?.into_iter();
    Ok(transfers.filter(|it| it.direction == TransferDirection::Receiving).collect())
}
