//! Changes of the membership, as an operator asks for them: a plan, then the change, then looking at it.
//!
//! Not here: harm, and who is told what by a plan (`tests/plans`).

use crate::cluster::Cluster;
use crate::process::{Process, Recipe};
use crate::rest::Answer;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use client::api::{
    changes::{Change, ChangeList, ChangeRequest},
    cluster::JoinerList,
    error::ErrorCode,
    header, media, paths,
    plans::{Plan, Wish},
};
use client::types::{ChangeId, ReplicaAddr, ReplicaId};
use reqwest::{RequestBuilder, header::CONTENT_TYPE};
use serde::Serialize;
use std::time::Duration;

/// How long a change may take that nothing holds up for good.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where a process answers clients.
pub fn addr(process: &Process) -> Result<ReplicaAddr> {
    Ok(ReplicaAddr::new(&process.url())?)
}

/// Starts a process that waits to join, and waits until the leader has heard of it.
pub async fn spare(cluster: &Cluster, name: &str, arguments: &[&str]) -> Result<Process> {
    waiting(cluster, cluster.spare(name, arguments)?).await
}

/// Starts a process that waits to join as its recipe says, and waits until the leader has heard of it.
pub async fn waiting(cluster: &Cluster, recipe: Recipe) -> Result<Process> {
    let process = Process::spawn(recipe)?;
    let addr = addr(&process)?;
    until("the process to wait to join", PATIENCE, async || {
        let leader = cluster.leader().await?;
        let url = format!("{}{}", cluster.url(leader), paths::JOINERS);
        let Ok(answer) = Answer::to(cluster.http().get(url)).await else { return Ok(None) };
        let Ok(list) = answer.json::<JoinerList>() else { return Ok(None) };
        Ok(list.joiners.iter().any(|joiner| joiner.addr == addr).then_some(()))
    })
    .await
    .with_context(|| process.quoted())?;
    Ok(process)
}

/// What the leader makes of a wish.
pub async fn plan(cluster: &Cluster, wish: &Wish) -> Result<Answer> {
    let leader = cluster.leader().await?;
    let url = format!("{}{}", cluster.url(leader), paths::PLANS);
    Answer::to(with_json(cluster.http().post(url), wish)?).await
}

/// Asks for a change as it was planned.
pub async fn begin(cluster: &Cluster, plan: &Plan, request: &ChangeRequest) -> Result<Answer> {
    let leader = cluster.leader().await?;
    let url = format!("{}{}", cluster.url(leader), paths::CHANGES);
    let asked = cluster.http().post(url).header(header::IF_MATCH, format!("\"{}\"", plan.epoch));
    Answer::to(with_json(asked, request)?).await
}

fn with_json(request: RequestBuilder, body: &impl Serialize) -> Result<RequestBuilder> {
    Ok(request.header(CONTENT_TYPE, media::JSON).body(serde_json::to_vec(body)?))
}

/// Plans and begins, as often as it takes until somebody takes it. Fails at once if there is nothing to do.
pub async fn begun(cluster: &Cluster, wish: &Wish) -> Result<Change> {
    let before = until("the changes so far to be told", PATIENCE, async || {
        Ok(newest(cluster).await.map(|newest| newest.map(|change| change.id)))
    })
    .await?;
    let what = format!("somebody to take {wish:?}");
    let mut last = String::new();
    let begun = until(&what, PATIENCE, async || {
        // It may have been taken, and even be over, and only the answer was lost.
        let newest = newest(cluster).await.flatten();
        let taken = newest.filter(|change| Some(change.id) > before && change.wish == *wish);
        if taken.is_some() {
            return Ok(taken);
        }
        let Ok(answer) = plan(cluster, wish).await else { return Ok(None) };
        last = answer.quoted();
        let Ok(plan) = answer.json::<Plan>() else {
            let code = answer.problem()?.code;
            ensure!(code != ErrorCode::InvalidWish, "there is nothing to do");
            return Ok(None);
        };
        let request = ChangeRequest { wish: wish.clone(), overrides: Vec::new() };
        let Ok(answer) = begin(cluster, &plan, &request).await else { return Ok(None) };
        last = answer.quoted();
        Ok(if answer.status == 202 { Some(answer.json::<Change>()?) } else { None })
    });
    begun.await.context(last)
}

/// The change that was begun last, if there is one, as the leader tells of it; nothing if nobody tells.
async fn newest(cluster: &Cluster) -> Option<Option<Change>> {
    let leader = cluster.leader_now().await?;
    let url = format!("{}{}?limit=1", cluster.url(leader), paths::CHANGES);
    let answer = Answer::to(cluster.http().get(url)).await.ok()?;
    let list = answer.json::<ChangeList>().ok()?;
    Some(list.changes.into_iter().next())
}

/// The change as the leader tells of it.
pub async fn look(cluster: &Cluster, id: ChangeId) -> Result<Option<Change>> {
    let Some(leader) = cluster.leader_now().await else { return Ok(None) };
    let url = format!("{}{}", cluster.url(leader), paths::change(id));
    let Ok(answer) = Answer::to(cluster.http().get(url)).await else { return Ok(None) };
    Ok(if answer.status == 200 { Some(answer.json()?) } else { None })
}

/// Waits until a change is over.
pub async fn over(cluster: &Cluster, id: ChangeId) -> Result<Change> {
    let mut last = None;
    let over = until(&format!("change {id} to be over"), PATIENCE, async || {
        let now = look(cluster, id).await?;
        let is_over = now.as_ref().is_some_and(|change| change.stage.is_over());
        last = now.or(last.take());
        Ok(last.clone().filter(|_| is_over))
    })
    .await;
    over.with_context(|| format!("{last:#?}"))
}

/// Begins a change and waits until it is over.
pub async fn change(cluster: &Cluster, wish: &Wish) -> Result<Change> {
    let begun = begun(cluster, wish).await?;
    over(cluster, begun.id).await
}

/// Which replica one of the processes is.
pub async fn id_of(cluster: &Cluster, number: usize) -> Result<ReplicaId> {
    let status = cluster.status(number).await.context("it answers")?;
    status.this_replica.context("it is a replica")
}

/// A process that was removed ends by itself, and says why; its folder is of no use any more.
pub async fn assert_ends_removed(mut process: Process) -> Result<()> {
    let status = process.ended(PATIENCE).await.with_context(|| process.quoted())?;
    ensure!(!status.success(), "it says that it cannot go on");
    assert!(process.quoted().contains("removed from the group"), "{}", process.quoted());
    process.start()?;
    let again = process.ended(PATIENCE).await.with_context(|| process.quoted())?;
    assert!(!again.success(), "its folder is refused");
    Ok(())
}
