//! Logs let go of what is beyond their retention: alike on every replica, and whoever leads.
//!
//! Method: real replicas that look often; what they hold is asked of each. What goes when, and what is
//! kept, is shown with clocks in the hand in `server/src/node/tests/retention.rs`.

use anyhow::Result;
use client::types::{Batch, BatchLimits, LogName, LogSettings, NewRecord};
use quorate_e2e::{
    cluster::Cluster,
    rest,
    wait::{PATIENCE, until},
    workload,
};
use std::time::{Duration, Instant};

const KEPT_BYTES: u64 = 100_000;

/// Waits until every replica shows a log as wished.
async fn all_show(
    cluster: &Cluster,
    log: &LogName,
    wished: impl Fn(&client::api::logs::LogDescription) -> bool,
) -> Result<()> {
    for number in 0..cluster.len() {
        until("a replica shows the log as wished", PATIENCE, async || {
            let shown = cluster.describe(number, log).await?;
            Ok(wished(&shown).then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_retention_of_a_log_goes_on_every_replica_whoever_leads() -> Result<()> {
    let mut cluster = Cluster::calm(3, &["--set", "state.retention_interval=50ms"]).await?;
    let client = workload::client(&cluster.urls())?;
    let (by_bytes, by_age) = (LogName::new("by-bytes")?, LogName::new("by-age")?);
    let age = Duration::from_secs(3);
    let settings = LogSettings { retention_bytes: Some(KEPT_BYTES), ..LogSettings::default() };
    client.log(by_bytes.clone()).create(&settings).await?;
    let settings = LogSettings { retention_age: Some(age), ..LogSettings::default() };
    client.log(by_age.clone()).create(&settings).await?;
    let records: Vec<_> = (0..500).map(|_| NewRecord::new(vec![7; 998])).collect();
    let batch = Batch::new(&records, &BatchLimits::default())?;

    let begun = Instant::now();
    client.log(by_age.clone()).append("soon old").await?;
    client.log(by_bytes.clone()).append_batch(&batch).await?;
    // A record costs its body and two bytes.
    all_show(&cluster, &by_bytes, |log| log.first.get() == 400 && log.bytes == KEPT_BYTES).await?;
    let gone = rest::get(cluster.http(), &cluster.url(0), "/v1/logs/by-bytes/records/399").await?;
    assert_eq!(gone.status, 410, "{}", gone.quoted());
    let kept = rest::get(cluster.http(), &cluster.url(0), "/v1/logs/by-bytes/records/400").await?;
    assert_eq!((kept.status, kept.body.len()), (200, 998));
    all_show(&cluster, &by_age, |log| log.first.get() == 1).await?;
    assert!(begun.elapsed() >= age, "no record goes before its age");

    let leader = cluster.leader().await?;
    cluster.replica_mut(leader).kill()?;
    client.log(by_bytes.clone()).append_batch(&batch).await?;
    client.log(by_age.clone()).append("soon old as well").await?;
    cluster.replica_mut(leader).start()?;
    cluster.replica_mut(leader).ready().await?;
    all_show(&cluster, &by_bytes, |log| log.first.get() == 900 && log.tail.get() == 1_000).await?;
    all_show(&cluster, &by_age, |log| log.first.get() == 2).await?;
    cluster.finish();
    Ok(())
}
