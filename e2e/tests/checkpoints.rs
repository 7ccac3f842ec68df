//! Checkpoints are certified by all who are there, survive whoever made them, and replicas are audited.
//!
//! Method: real replicas with short intervals; what each of them keeps is asked of each.

use anyhow::{Result, ensure};
use client::Client;
use client::api::audit::{AuditFinding, AuditVerdict};
use client::api::checkpoints::CheckpointInfo;
use client::types::{CheckpointLabel, EntryIndex, LogSettings};
use futures_util::future::join_all;
use quorate_e2e::{
    checkpoint::certified,
    cluster::Cluster,
    wait::{PATIENCE, until},
    workload,
};
use std::time::{Duration, Instant};

const SOON: [&str; 4] =
    ["--set", "checkpoints.interval=300ms", "--set", "checkpoints.audit_interval=200ms"];
/// How long whoever asks for a checkpoint is kept waiting for its certificate.
const CERTIFIED_WITHIN: Duration = Duration::from_secs(5);
/// What the leader counts of its messages to all followers: without work, those that tell that it lives.
const LIFE_SIGNS: &str = r#"quorate_peer_calls_total{kind="append",result="ok"}"#;
/// Ten to each of two followers: two seconds.
const LIFE_SIGNS_OF_A_WHILE: u64 = 20;

/// Asks this replica, and only it.
fn of(cluster: &Cluster, number: usize) -> Result<Client> {
    Ok(Client::single(cluster.url(number).parse()?)?)
}

async fn certified_beyond(client: &Client, beyond: EntryIndex) -> Result<CheckpointInfo> {
    until("a further checkpoint is certified", PATIENCE, async || {
        let all = client.admin().checkpoints().await?;
        let newest = all.into_iter().rev().find(|checkpoint| checkpoint.certificate.is_some());
        Ok(newest.filter(|newest| newest.checkpoint > beyond))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_keeps_a_certified_snapshot_and_says_it_holds_the_same() -> Result<()> {
    let mut cluster = Cluster::calm(3, &SOON).await?;
    let client = workload::client(&cluster.urls())?;
    let log = client.log("orders".parse()?);
    log.create(&LogSettings::default()).await?;
    for number in 0..20 {
        log.append(format!("{number}")).await?;
    }
    let label = CheckpointLabel::new("before the import")?;
    let made = certified(&client, Some(label.clone())).await?;
    let certificate = made.certificate.as_ref();
    ensure!(certificate.is_some_and(|it| it.attested_by.len() >= 2), "{made:?}");
    let digest = certificate.map(|certificate| certificate.digest);
    for number in 0..3 {
        let replica = of(&cluster, number)?;
        let kept = until("the snapshot is kept and known to be certified", PATIENCE, async || {
            Ok(replica
                .admin()
                .snapshot(made.checkpoint)
                .await
                .ok()
                .filter(|kept| kept.is_certified))
        })
        .await?;
        assert_eq!((Some(kept.digest), kept.label), (digest, Some(label.clone())));
        // Beside the 20 there is what was done: founded, two let in, a log and this checkpoint made.
        assert_eq!(kept.content.map(|content| (content.logs, content.records)), Some((2, 25)));
    }
    until("the audit finds all equal", PATIENCE, async || {
        let report = client.admin().audit().await?;
        let is_equal = |finding: AuditFinding| finding.verdict == AuditVerdict::Equal;
        let all = report.replicas.iter();
        let equal = all.filter(|it| is_equal(it.execution) && is_equal(it.checkpoint)).count();
        Ok((equal == 3).then_some(()))
    })
    .await?;

    // A new leader certifies what the old one made or makes its own; nothing that was kept is lost.
    cluster.kill_leader().await?;
    log.append("under another leader").await?;
    let next = certified_beyond(&client, made.checkpoint).await?;
    cluster.start_all()?;
    cluster.healed().await?;
    let all = client.admin().checkpoints().await?;
    assert!(all.iter().any(|checkpoint| checkpoint.checkpoint == made.checkpoint), "{all:?}");
    assert!(next.checkpoint > made.checkpoint);
    client.admin().release_snapshot(made.checkpoint).await?;
    for number in 0..3 {
        until("a released snapshot is gone", PATIENCE, async || {
            let kept = of(&cluster, number)?.admin().snapshots().await?;
            let is_there = kept.iter().any(|kept| kept.checkpoint == made.checkpoint);
            Ok((!is_there).then_some(()))
        })
        .await?;
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_work_makes_no_checkpoints() -> Result<()> {
    let cluster = Cluster::calm(3, &SOON).await?;
    let client = workload::client(&cluster.urls())?;
    client.log("orders".parse()?).create(&LogSettings::default()).await?;
    let settled = until("nothing but a checkpoint came last", PATIENCE, async || {
        let applied = cluster.digests().await?.iter().map(|digest| digest.entry).max();
        let Some(newest) = client.admin().checkpoints().await?.pop() else { return Ok(None) };
        let certificate = newest.certificate.filter(|it| it.entry == newest.checkpoint.next());
        Ok(certificate.map(|it| it.entry).filter(|last| Some(*last) == applied))
    })
    .await?;
    // Some intervals later, as its leader counts them, there is still nothing new.
    let leader = cluster.leader().await?;
    let told = cluster.metric(leader, LIFE_SIGNS).await?;
    until("the leader goes on telling that it lives", PATIENCE, async || {
        let now = cluster.metric(leader, LIFE_SIGNS).await?;
        Ok((now >= told + LIFE_SIGNS_OF_A_WHILE).then_some(()))
    })
    .await?;
    let applied = cluster.digests().await?.iter().map(|digest| digest.entry).max();
    assert_eq!(applied, Some(settled));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_away_is_unverified_and_nobody_waits_for_it() -> Result<()> {
    let mut cluster = Cluster::calm(3, &SOON).await?;
    let client = workload::client(&cluster.urls())?;
    let log = client.log("orders".parse()?);
    log.create(&LogSettings::default()).await?;
    let away = cluster.follower().await?;
    let id = cluster.answered(away).await?.this_replica;
    cluster.replica_mut(away).kill()?;
    log.append("without it").await?;
    let made = certified(&client, None).await?;
    assert!(made.certificate.is_some_and(|it| it.attested_by.len() == 2));
    until("the audit says what it could not compare", PATIENCE, async || {
        let report = client.admin().audit().await?;
        let found = report.replicas.iter().find(|replica| Some(replica.id) == id);
        let verdict = |finding: AuditFinding| finding.verdict == AuditVerdict::Unverified;
        Ok(found.filter(|it| verdict(it.execution) && verdict(it.checkpoint)).map(drop))
    })
    .await?;
    cluster.replica_mut(away).start()?;
    cluster.replica_mut(away).ready().await?;
    log.append("with it again").await?;
    until("the audit compares it again", PATIENCE, async || {
        let report = client.admin().audit().await?;
        let found = report.replicas.iter().find(|replica| Some(replica.id) == id);
        Ok(found.filter(|it| it.execution.verdict == AuditVerdict::Equal).map(drop))
    })
    .await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_with_a_label_are_certified_also_if_they_are_overtaken() -> Result<()> {
    let cluster = Cluster::calm(3, &SOON).await?;
    let client = workload::client(&cluster.urls())?;
    let labels = ["one", "two", "three", "four"];
    let made = labels.map(async |label| {
        let label = CheckpointLabel::new(label).map_err(anyhow::Error::from)?;
        anyhow::Ok(client.admin().make_checkpoint(Some(label)).await?.checkpoint)
    });
    // Without one, a newer one that is certified stands for it.
    let plain = [(); 3].map(async |()| {
        let asked = Instant::now();
        anyhow::Ok((client.admin().make_checkpoint(None).await?, asked.elapsed()))
    });
    let (made, plain) = tokio::join!(join_all(made), join_all(plain));
    for plain in plain {
        let (plain, took) = plain?;
        ensure!(plain.certificate.is_some() || took >= CERTIFIED_WITHIN, "{plain:?} in {took:?}");
    }
    for made in made {
        let made = made?;
        let certificate = until("it is certified", PATIENCE, async || {
            let all = client.admin().checkpoints().await?;
            let this = all.into_iter().find(|it| it.checkpoint == made);
            Ok(this.and_then(|it| it.certificate))
        })
        .await?;
        assert!(certificate.attested_by.len() >= 2, "{certificate:?}");
    }
    cluster.finish();
    Ok(())
}
