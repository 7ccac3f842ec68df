//! The journal is let go before certified checkpoints, and who needs what is gone gets the state.
//!
//! Method: real replicas with small segments; how large their journals are is measured in their folders.

use anyhow::Result;
use quorate_e2e::{
    bulk::{BATCH_RECORDS, RECORD_BYTES, SMALL, check_records, fill, purged, received},
    cluster::Cluster,
    process::print,
    wait::{PATIENCE, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn journals_stay_small_and_every_record_is_there_after_a_restart() -> Result<()> {
    let mut cluster = Cluster::calm(3, &SMALL).await?;
    fill(&cluster, 60).await?;
    for number in 0..cluster.len() {
        purged(&cluster, number).await?;
    }
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.healed().await?;
    for number in 0..cluster.len() {
        check_records(&cluster, number, 60).await?;
        let log = cluster.describe(number, &"orders".parse()?).await?;
        assert_eq!(log.tail.get(), 60 * BATCH_RECORDS);
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_away_past_the_purge_gets_what_it_lacks_and_no_more() -> Result<()> {
    let mut cluster = Cluster::calm(3, &SMALL).await?;
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
    check_records(&cluster, away, 90).await?;
    let transfers = received(&cluster, away).await?;
    let moved: u64 = transfers.iter().map(|it| it.bytes_done).sum();
    // It lacked sixty of the ninety batches, each record with its length and time.
    let lacked = 60 * BATCH_RECORDS * RECORD_BYTES;
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
    check_records(&cluster, 2, 60).await?;
    assert!(!received(&cluster, 2).await?.is_empty(), "entries did not suffice");
    cluster.finish();
    Ok(())
}
