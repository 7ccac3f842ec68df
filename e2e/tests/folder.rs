//! A data folder begins, is cut off while it begins, and is not mistaken for another.
//!
//! Goal: whatever ends a process while its folder begins, the next start leads to a replica that
//! serves or to a refusal that names the way out; and a replica that forgot what it acknowledged
//! never comes back under its old id.

use anyhow::{Context, Result};
use client::api::{
    cluster::{JoinAnswer, Timings},
    media, paths,
};
use quorate_e2e::{
    cluster::Cluster,
    process::{Process, Recipe},
    rest::Answer,
    wait::{PATIENCE, until},
};
use std::{fs, path::Path};

/// A refused command.
const USAGE: i32 = 2;
/// A failed or lost disk.
const STORAGE: i32 = 74;

/// The exit code of a start that is refused.
async fn refused(recipe: &Recipe) -> Result<(Option<i32>, String)> {
    let mut process = Process::spawn(recipe.clone())?;
    let status = process.ended(PATIENCE).await?;
    Ok((status.code(), process.quoted()))
}

fn first(cluster: &Cluster) -> Result<Recipe> {
    cluster.recipes(1, &[])?.pop().context("one recipe was asked for")
}

async fn append(cluster: &Cluster, number: usize) -> Result<()> {
    let url = cluster.url(number);
    let log = cluster.http().put(format!("{url}/v1/logs/orders"));
    Answer::to(log.header("content-type", media::JSON).body("{}")).await?.succeeded()?;
    let append = cluster.http().post(format!("{url}/v1/logs/orders/records"));
    Answer::to(append.header("content-type", media::BYTES).body("x")).await?.succeeded()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_journal_is_gone_does_not_come_back_under_its_id() -> Result<()> {
    let mut cluster = Cluster::start(1).await?;
    append(&cluster, 0).await?;
    cluster.replica_mut(0).kill()?;
    let recipe = cluster.replica(0).recipe().clone();
    fs::remove_dir_all(recipe.folder.join("groups"))?;
    for _ in 0..2 {
        let (code, told) = refused(&recipe).await?;
        assert_eq!(code, Some(STORAGE), "{told}");
        assert!(told.contains("begin with an empty folder that joins"), "{told}");
    }
    cluster.finish();
    Ok(())
}

/// Kills the process as soon as the folder looks like this, and says whether it came so far.
async fn cut_off(recipe: &Recipe, is_reached: impl Fn(&Path) -> bool) -> Result<()> {
    let mut process = Process::spawn(recipe.clone())?;
    let reached = async || Ok(is_reached(&recipe.folder).then_some(()));
    until("the folder has come so far", PATIENCE, reached).await?;
    process.kill()
}

fn holds_segment(folder: &Path) -> bool {
    fs::read_dir(folder.join("groups/0/journal")).is_ok_and(|mut files| files.next().is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_that_was_cut_off_is_finished_by_the_next_start() -> Result<()> {
    type Reached = fn(&Path) -> bool;
    let killed: [Reached; 3] = [
        |folder| folder.join("marker").exists(),
        |folder| folder.join("groups/0/state.redb").exists(),
        holds_segment,
    ];
    // What the disk refused: the state, the journal.
    let limits = [64 << 10, 16 << 20];
    for is_told_again in [false, true] {
        for cut in 0..killed.len() + limits.len() {
            let mut cluster = Cluster::empty()?;
            let mut recipe = first(&cluster)?;
            if let Some(reached) = killed.get(cut) {
                cut_off(&recipe, reached).await?;
            } else {
                let limited = Some(limits[cut - killed.len()]);
                let limited = Recipe { file_bytes_max: limited, ..recipe.clone() };
                let (code, told) = refused(&limited).await?;
                assert_eq!(code, Some(STORAGE), "{told}");
            }
            assert!(recipe.folder.join("marker").exists(), "it has begun");
            if is_told_again {
                recipe.arguments.push("--bootstrap".to_owned());
            }
            cluster.add(recipe).await.with_context(|| format!("cut {cut}"))?;
            append(&cluster, 0).await?;
            cluster.finish();
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_becomes_nobody_by_itself() -> Result<()> {
    // A member that lets nobody in, and is known to have been asked.
    let cluster = Cluster::start(1).await?;
    let nobody = "http://127.0.0.1:9".to_owned();
    let starts: [(Vec<String>, &str); 3] = [
        (Vec::new(), "waiting to be told to found a cluster"),
        (vec!["--join".to_owned(), nobody], "waiting to join"),
        (vec!["--join".to_owned(), cluster.url(0)], "waiting to join"),
    ];
    for (number, (first_start, says)) in starts.into_iter().enumerate() {
        let mut recipe = Recipe::in_folder(cluster.folder().join(format!("empty-{number}")))?;
        recipe.first_start = first_start;
        let mut process = Process::spawn(recipe)?;
        // As often as it is started: what it found out in one life does not make it somebody later.
        for _ in 0..2 {
            let ready = format!("{}/readyz", process.url());
            until(&format!("{ready} says {says}"), PATIENCE, async || {
                let Ok(answer) = cluster.http().get(&ready).send().await else { return Ok(None) };
                Ok(answer.text().await?.contains(says).then_some(()))
            })
            .await
            .with_context(|| process.quoted())?;
            if number == 2 {
                let joiners = format!("{}{}", cluster.url(0), paths::JOINERS);
                let addr = process.url();
                until("the member has been asked", PATIENCE, async || {
                    let text = cluster.http().get(&joiners).send().await?.text().await?;
                    Ok(text.contains(&addr).then_some(()))
                })
                .await?;
            }
            process.kill()?;
            let folder = &process.recipe().folder;
            let left = fs::read_dir(folder).map(|files| files.flatten().collect::<Vec<_>>());
            assert!(left.as_ref().is_ok_and(Vec::is_empty) || left.is_err(), "left {left:?}");
            process.start()?;
        }
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_folder_of_a_group_founds_it_and_only_once() -> Result<()> {
    let mut cluster = Cluster::calm(2, &[]).await?;
    cluster.kill_all()?;
    for number in 0..2 {
        let mut recipe = cluster.replica(number).recipe().clone();
        recipe.arguments.push("--bootstrap".to_owned());
        let (code, told) = refused(&recipe).await?;
        assert_eq!(code, Some(USAGE), "{told}");
        assert!(told.contains("holds replica"), "{told}");
    }
    cluster.start_all()?;
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_of_a_group_runs_with_the_timings_it_was_given() -> Result<()> {
    let mut cluster = Cluster::empty()?;
    let mut recipe = first(&cluster)?;
    recipe.first_start = ["--bootstrap", "--expect", "2"].map(str::to_owned).into();
    let timings =
        ["timings.heartbeat=110ms", "timings.election_min=410ms", "timings.election_max=810ms"];
    recipe.arguments = timings.iter().flat_map(|set| ["--set", set]).map(str::to_owned).collect();
    cluster.add(recipe).await?;
    let addr = "http://127.0.0.1:9";
    let nonce = "1".repeat(32);
    let request =
        format!(r#"{{"nonce":"{nonce}","addr":"{addr}","peer_addr":"{addr}","version":"0"}}"#);
    let told = until("a newcomer is admitted", PATIENCE, async || {
        let ask = cluster.http().post(format!("{}{}", cluster.url(0), paths::JOINERS));
        let answer = Answer::to(ask.header("content-type", media::JSON).body(request.clone()));
        match answer.await?.succeeded()?.json()? {
            JoinAnswer::Admitted(admission) => Ok(Some(admission.timings)),
            JoinAnswer::Waiting { .. } => Ok(None),
        }
    });
    let given = Timings { heartbeat_ms: 110, election_min_ms: 410, election_max_ms: 810 };
    assert_eq!(told.await?, given);
    cluster.finish();
    Ok(())
}
