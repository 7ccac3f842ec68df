//! A byte that flips while a replica is down, in what is long acknowledged and flushed.
//!
//! Goal: damage is found without anybody reading it, named, counted, shown, and never served.
//! Method: a replica is stopped, one bit of an old payload in its journal is flipped, it starts again.

use anyhow::{Context, Result};
use client::types::{LogName, LogSettings};
use quorate_e2e::{cluster::Cluster, wait::until};
use std::{fs, path::Path, time::Duration};

/// Long and odd enough to lie in the journal only once.
const BODY: &str = "a needle in the journal, and nowhere else in any of its files";

/// Flips a bit of the body wherever it lies in the journal.
fn flip(journal: &Path) -> Result<()> {
    for file in fs::read_dir(journal)? {
        let path = file?.path();
        let mut bytes = fs::read(&path)?;
        let place = bytes.windows(BODY.len()).position(|window| window == BODY.as_bytes());
        if let Some(place) = place {
            bytes[place] ^= 1;
            return Ok(fs::write(&path, bytes)?);
        }
    }
    anyhow::bail!("the body is in no segment")
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

    until("the status shows the damage", Duration::from_mins(1), async || {
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
