//! A voter that is dead is replaced by a process that waits to join: proposed, or done by itself, as the policy says.
//!
//! Method: real processes under the seeded load; the voter is killed, and whoever leads has to notice.

use anyhow::{Context, Result};
use client::api::{
    changes::{ChangeList, ChangeStage},
    cluster::{ClusterStatus, Replacement},
    paths,
    plans::{CheckId, Wish},
};
use client::types::ReplicaId;
use quorate_e2e::{
    check::{Coverage, check},
    cluster::Cluster,
    membership::{addr, id_of, over, spare},
    process::print,
    rest::Answer,
    wait::{PATIENCE, until},
    workload::{Load, Workload},
};
use std::collections::BTreeMap;

const KILLED: &str = "killed";
const AFTER: &str = "membership.replace_dead_after=2s";

/// Three replicas whose leader, whoever it is, does this about a dead voter.
async fn group(policy: &str) -> Result<Cluster> {
    let policy = format!("membership.replace_dead={policy}");
    Cluster::calm(3, &["--set", &policy, "--set", AFTER]).await
}

async fn status(cluster: &Cluster) -> Result<ClusterStatus> {
    cluster.answered(cluster.leader().await?).await
}

async fn changes(cluster: &Cluster) -> Result<ChangeList> {
    let url = format!("{}{}", cluster.url(cluster.leader().await?), paths::CHANGES);
    Answer::to(cluster.http().get(url)).await?.json()
}

/// Kills one that does not lead. Its number, and which replica it was.
async fn kill_a_follower(cluster: &mut Cluster) -> Result<(usize, ReplicaId)> {
    let dead = cluster.follower().await?;
    let replica = id_of(cluster, dead).await?;
    cluster.replica_mut(dead).kill()?;
    Ok((dead, replica))
}

async fn proposed(cluster: &Cluster) -> Result<Replacement> {
    until("a replacement to be proposed", PATIENCE, async || Ok(status(cluster).await?.replacement))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_is_replaced_by_itself_and_nothing_acknowledged_is_lost() -> Result<()> {
    let mut cluster = group("run").await?;
    let workload =
        Workload::start(&cluster, Load { producers: 2, ..Load::on("orders", 61)? }).await?;
    workload.progress(20).await?;
    let fourth = spare(&cluster, "d", &[]).await?;
    workload.recorder().record_fault(KILLED);
    let (dead, replica) = kill_a_follower(&mut cluster).await?;
    let begun = until("the voter to be replaced", PATIENCE, async || {
        Ok(changes(&cluster).await?.changes.pop())
    })
    .await?;
    assert_eq!(begun.wish, Wish::Replace { replica, by: addr(&fourth)? });
    assert_eq!((&*begun.by, &begun.overrides[..]), ("membership.replace_dead", &[][..]));
    assert_eq!(over(&cluster, begun.id).await?.stage, ChangeStage::Done);
    drop(cluster.release(dead));
    cluster.adopt(fourth);
    cluster.healed().await?;
    workload.progress(20).await?;
    let history = workload.finish(&mut cluster).await?;
    let required = Coverage {
        faults: BTreeMap::from([(KILLED.to_owned(), 1)]),
        replicas: 3,
        appends: 40,
        reads: 10,
    };
    print(&check(&history, &required).assert_passed().to_string());
    assert_eq!(status(&cluster).await?.replacement, None);
    assert_eq!(changes(&cluster).await?.changes.len(), 1);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_blocks_is_not_done_by_itself_and_says_why() -> Result<()> {
    let mut cluster = group("run").await?;
    // No voter reaches it there.
    let nowhere = ["--set", "advertise_peer=http://127.0.0.1:1"];
    let fourth = spare(&cluster, "d", &nowhere).await?;
    let (dead, replica) = kill_a_follower(&mut cluster).await?;
    let replacement = proposed(&cluster).await?;
    assert_eq!(replacement.wish, Wish::Replace { replica, by: addr(&fourth)? });
    let check = replacement.check.context("a check blocks it")?;
    assert_eq!(check.id, CheckId::P6);
    assert!(replacement.sentence.contains(&check.line), "{}", replacement.sentence);
    let told = status(&cluster).await?;
    assert!(told.verdict.reasons.iter().any(|reason| reason.contains(&check.line)), "{told:#?}");
    assert!(changes(&cluster).await?.changes.is_empty());

    // It answers again, and nothing is proposed any more.
    cluster.replica_mut(dead).start()?;
    until("the proposal to be withdrawn", PATIENCE, async || {
        Ok(status(&cluster).await?.replacement.is_none().then_some(()))
    })
    .await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_is_only_proposed_unless_the_policy_is_to_run_it() -> Result<()> {
    let mut cluster = group("propose").await?;
    let fourth = spare(&cluster, "d", &[]).await?;
    let (_, replica) = kill_a_follower(&mut cluster).await?;
    let replacement = proposed(&cluster).await?;
    let by = addr(&fourth)?;
    assert_eq!(
        (replacement.check, replacement.wish),
        (None, Wish::Replace { replica, by: by.clone() })
    );
    let command = format!("quorate cluster replace {replica} --by {by}");
    assert!(replacement.sentence.contains(&command), "{}", replacement.sentence);
    let told = status(&cluster).await?;
    assert_eq!(told.joiners.len(), 1, "who waits is told with it");
    assert!(told.verdict.reasons.contains(&told.replacement.context("it stands")?.sentence));
    assert!(changes(&cluster).await?.changes.is_empty());
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_about_a_dead_voter_unless_somebody_asked_for_that() -> Result<()> {
    let mut cluster = Cluster::calm(3, &["--set", AFTER]).await?;
    let _fourth = spare(&cluster, "d", &[]).await?;
    let (_, replica) = kill_a_follower(&mut cluster).await?;
    let told = until("it to be silent for longer than that", PATIENCE, async || {
        let told = status(&cluster).await?;
        let gone = told.replicas.iter().find(|one| one.id == replica).context("it is listed")?;
        Ok(gone.heard_ms_ago.is_some_and(|silence| silence > 6_000).then_some(told))
    })
    .await?;
    assert_eq!((told.replacement, told.joiners.len()), (None, 1));
    assert!(changes(&cluster).await?.changes.is_empty());
    cluster.finish();
    Ok(())
}
