//! A replica is who it was, or it is nobody: copies and rolled-back folders neither vote nor serve.
//!
//! Goal: whoever forgot what it acknowledged never takes part in a decision, and
//! whoever did not is never taken for one. Method: real processes whose folders are copied and put
//! back between their starts, without any caller's read; what they print and how they end is looked at.

use anyhow::{Context, Result};
use client::api::{
    changes::ChangeStage,
    cluster::{JoinerList, Lag},
    media, paths,
    plans::Wish,
};
use client::types::ReplicaId;
use quorate_e2e::{
    cluster::Cluster,
    folder::{copy, put_back},
    membership::{addr, change, id_of},
    process::{Process, Recipe},
    rest::Answer,
    wait::{PATIENCE, until},
};
use std::{fs, path::Path, time::Duration};

/// More than two elections take, if they come to anything.
const ELECTIONS: Duration = Duration::from_secs(6);
/// A folder that must not run.
const IDENTITY: i32 = 75;

async fn append(cluster: &Cluster, number: usize, body: &str) -> Result<()> {
    let url = cluster.url(number);
    let log = cluster.http().put(format!("{url}/v1/logs/orders"));
    Answer::to(log.header("content-type", media::JSON).body("{}")).await?.succeeded()?;
    let append = cluster.http().post(format!("{url}/v1/logs/orders/records"));
    let append = append.header("content-type", media::BYTES).body(body.to_owned());
    Answer::to(append).await?.succeeded()?;
    Ok(())
}

/// Bytes of the journal that are in use.
fn journal(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let mut files: Vec<_> = fs::read_dir(folder.join("groups/0/journal"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    files.iter().map(|file| Ok(fs::read(file)?)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_folder_ends_and_has_voted_for_nobody() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    append(&cluster, 0, "before").await?;
    let follower = cluster.follower().await?;
    let folder = cluster.replica(follower).recipe().folder.clone();
    let kept = cluster.folder().join("kept");
    cluster.replica_mut(follower).stop().await?;
    copy(&folder, &kept)?;
    cluster.replica_mut(follower).start()?;
    cluster.healed().await?;
    append(&cluster, 0, "since").await?;
    cluster.replica_mut(follower).kill()?;
    put_back(&kept, &folder)?;
    let before = journal(&folder)?;
    // No caller asks it anything.
    cluster.replica_mut(follower).start()?;
    let status = cluster.replica_mut(follower).ended(PATIENCE).await?;
    let told = cluster.replica(follower).quoted();
    assert_eq!(status.code(), Some(IDENTITY), "{told}");
    assert_eq!(journal(&folder)?.len(), before.len());
    assert!(told.contains("it must not run again"), "{told}");
    // Marked for good, while the others go on.
    let mut again = Process::spawn(cluster.replica(follower).recipe().clone())?;
    assert_eq!(again.ended(PATIENCE).await?.code(), Some(IDENTITY));
    let leader = cluster.leader().await?;
    append(&cluster, leader, "after").await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_rolled_back_within_its_last_start_waits_and_says_so() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    append(&cluster, 0, "before").await?;
    let (leader, follower) = (cluster.leader().await?, cluster.follower().await?);
    let folder = cluster.replica(follower).recipe().folder.clone();
    let kept = cluster.folder().join("kept");
    cluster.replica_mut(follower).stop().await?;
    copy(&folder.join("groups"), &kept)?;
    cluster.replica_mut(follower).start()?;
    cluster.healed().await?;
    append(&cluster, leader, "since").await?;
    // A quorum may have done without it: what counts is that it acknowledged the record, too.
    until("the follower to acknowledge the record", PATIENCE, async || {
        let status = cluster.status(leader).await;
        let is_level = |lag: Option<Lag>| lag.is_none_or(|lag| lag.entries == 0);
        Ok(status.filter(|status| status.replicas.iter().all(|replica| is_level(replica.lag))))
    })
    .await?;
    cluster.replica_mut(follower).kill()?;
    // The marker stays, so that every start that was met is shown.
    put_back(&kept, &folder.join("groups"))?;
    cluster.replica_mut(follower).start()?;
    let says = until("the replica says that it is refused", PATIENCE, async || {
        let told = cluster.replica(follower).quoted();
        Ok(told.contains("another replica refuses this folder").then_some(told))
    });
    assert!(says.await?.contains("behind"));
    // Alone with one that does not know better, it could lead without the record: it does not.
    let leader = cluster.leader().await?;
    let others: Vec<_> = (0..3).filter(|number| *number != leader).collect();
    assert_none_decides(&cluster, &others, leader).await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_folder_and_its_copy_only_one_runs() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    append(&cluster, 0, "x").await?;
    let follower = cluster.follower().await?;
    cluster.replica_mut(follower).stop().await?;
    let recipe = cluster.replica(follower).recipe().clone();
    let free = Recipe::in_folder(cluster.folder().join("copy"))?;
    copy(&recipe.folder, &free.folder)?;
    cluster.replica_mut(follower).start()?;
    cluster.healed().await?;
    let mut twin = Process::spawn(free)?;
    let status = twin.ended(PATIENCE).await?;
    assert_eq!(status.code(), Some(IDENTITY), "{}", twin.quoted());
    cluster.healed().await?;
    append(&cluster, follower, "y").await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_running_folder_is_refused_by_all_and_the_original_goes_on() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    append(&cluster, 0, "x").await?;
    let follower = cluster.follower().await?;
    let recipe = cluster.replica(follower).recipe().clone();
    let free = Recipe::in_folder(cluster.folder().join("copy"))?;
    // Held still, so that the copy is what a power cut would leave.
    cluster.replica(follower).pause()?;
    copy(&recipe.folder, &free.folder)?;
    cluster.replica(follower).resume()?;
    cluster.healed().await?;
    let mut twin = Process::spawn(free)?;
    let status = twin.ended(Duration::from_secs(20)).await.with_context(|| twin.quoted())?;
    assert_eq!(status.code(), Some(IDENTITY), "{}", twin.quoted());
    // Nobody took it for the original: without the leader, the other two are a majority.
    cluster.healed().await?;
    let leader = cluster.leader().await?;
    cluster.replica_mut(leader).kill()?;
    until("the two that are left to take an append", PATIENCE, async || {
        Ok(append(&cluster, follower, "y").await.ok())
    })
    .await?;
    cluster.replica_mut(leader).start()?;
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

/// While the leader is paused, none of these becomes one. What they knew of it last may still stand there.
async fn assert_none_decides(cluster: &Cluster, others: &[usize], leader: usize) -> Result<()> {
    let paused = id_of(cluster, leader).await?;
    cluster.replica(leader).pause()?;
    let decides = until("others decide", ELECTIONS, async || {
        for number in others {
            let status = cluster.status(*number).await;
            let leads = status.filter(|status| status.verdict.can_append).map(|it| it.leader);
            if leads.is_some_and(|leads| leads != Some(paused)) {
                return Ok(Some(*number));
            }
        }
        Ok(None)
    });
    assert!(decides.await.is_err(), "somebody decides with one that forgot");
    cluster.replica(leader).resume()?;
    Ok(())
}

/// Whether the leader hears a replica under this id.
async fn is_heard(cluster: &Cluster, leader: usize, replica: ReplicaId) -> Result<bool> {
    let status = cluster.answered(leader).await?;
    let told = status.replicas.iter().find(|told| told.id == replica);
    Ok(told.context("it is on the list")?.is_reachable)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_lost_its_folder_is_nobody_until_it_replaces_itself() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    append(&cluster, 0, "before").await?;
    let leader = cluster.leader().await?;
    // The one that founded the group would found another.
    let wiped = (1..3).find(|number| *number != leader).context("two of them joined")?;
    let old = id_of(&cluster, wiped).await?;
    cluster.replica_mut(wiped).kill()?;
    fs::remove_dir_all(&cluster.replica(wiped).recipe().folder)?;
    cluster.replica_mut(wiped).start()?;
    let by = addr(cluster.replica(wiped))?;
    until("it to wait to join", PATIENCE, async || {
        let list = cluster.http().get(format!("{}{}", cluster.url(leader), paths::JOINERS));
        let list: JoinerList = Answer::to(list).await?.json()?;
        Ok(list.joiners.iter().any(|joiner| joiner.addr == by).then_some(()))
    })
    .await?;
    until("its old id to be silent", PATIENCE, async || {
        Ok((!is_heard(&cluster, leader, old).await?).then_some(()))
    })
    .await?;
    // Alone with it, nobody gets a majority.
    assert_none_decides(&cluster, &[3 - leader - wiped], leader).await?;
    until("the group goes on without it", PATIENCE, async || {
        Ok(append(&cluster, leader, "meanwhile").await.ok())
    })
    .await?;
    let leader = cluster.leader().await?;
    assert!(!is_heard(&cluster, leader, old).await?, "it answered for its old self");

    let replaced = change(&cluster, &Wish::Replace { replica: old, by }).await?;
    assert_eq!(replaced.stage, ChangeStage::Done, "{replaced:#?}");
    cluster.healed().await?;
    assert_ne!(id_of(&cluster, wiped).await?, old, "an id is never given twice");
    append(&cluster, wiped, "after").await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_lost_its_folder_founds_another_group_and_is_nobody_in_the_first()
-> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    append(&cluster, 0, "before").await?;
    let old = id_of(&cluster, 0).await?;
    let first = cluster.answered(1).await?.cluster;
    cluster.replica_mut(0).kill()?;
    fs::remove_dir_all(&cluster.replica(0).recipe().folder)?;
    // As a service would start it that always says `--bootstrap`.
    cluster.replica_mut(0).start()?;
    let other = until("it to found a group", PATIENCE, async || {
        Ok(cluster.status(0).await.and_then(|status| status.cluster))
    });
    assert_ne!(Some(other.await?), first);
    // The first group neither hears nor asks it, and needs both of the others.
    let leader = until("one of the others to lead", PATIENCE, async || {
        let status = cluster.status(1).await;
        let leader = status.filter(|it| it.verdict.can_append).and_then(|it| it.leader);
        for number in 1..3 {
            if leader.is_some() && leader == Some(id_of(&cluster, number).await?) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    })
    .await?;
    append(&cluster, leader, "after").await?;
    assert!(!is_heard(&cluster, leader, old).await?, "it answered for its old self");
    assert_none_decides(&cluster, &[3 - leader], leader).await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_replicas_are_accepted_in_whatever_order_they_come_back() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (round, order) in orders.into_iter().enumerate() {
        append(&cluster, order[0], &format!("round {round}")).await?;
        cluster.kill_all()?;
        for number in order {
            cluster.replica_mut(number).start()?;
        }
        cluster.healed().await?;
        let told = cluster.replica(order[1]).quoted();
        assert!(!told.contains("refuse"), "{told}");
    }
    // One after the other, while the rest goes on.
    for number in 0..3 {
        cluster.replica_mut(number).stop().await?;
        let leader = cluster.leader().await.context("two go on")?;
        append(&cluster, leader, "meanwhile").await?;
        cluster.replica_mut(number).start()?;
        cluster.healed().await?;
    }
    for number in 0..3 {
        let told = cluster.replica(number).quoted();
        assert!(!told.contains("refuse"), "{told}");
    }
    cluster.finish();
    Ok(())
}
