//! The examples of the SDK, as a reader would run them: against a group, from the outside.
//!
//! Not here: the bank (`replicated`).

use anyhow::{Context, Result, ensure};
use quorate_e2e::{cluster::Cluster, membership::spare, process::example, wait::PATIENCE};
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

/// What an example says on its way to a good end.
async fn run(name: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::from(example(name)?);
    command.args(arguments).kill_on_drop(true);
    let ended = timeout(PATIENCE, command.output()).await.context("it does not end")??;
    let (said, failed) =
        (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    ensure!(ended.status.success(), "{name} ended with {}: {said}{failed}", ended.status);
    Ok(said.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_example_appends_is_what_the_other_one_follows() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let seeds = cluster.urls().join(",");
    let said = run("append", &[&seeds, "orders", "first", "second"]).await?;
    ensure!(said.starts_with("2 records from 0 on"), "{said}");

    let mut follow = Command::from(example("follow")?);
    follow.args([&*seeds, "orders"]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut follow = follow.spawn()?;
    let mut lines = BufReader::new(follow.stdout.take().context("its output is piped")?).lines();
    let mut next = async || -> Result<String> {
        let line = timeout(PATIENCE, lines.next_line()).await.context("it says nothing")??;
        line.context("it has ended")
    };
    for (position, body) in [(0, "first"), (1, "second")] {
        let line = next().await?;
        ensure!(line.starts_with(&format!("{position} ")) && line.ends_with(body), "{line}");
    }
    run("append", &[&seeds, "orders", "third"]).await?;
    let line = next().await?;
    assert!(line.starts_with("2 ") && line.ends_with("third"), "{line}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_that_adds_a_replica_tells_of_it_until_it_is_done() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let fourth = spare(&cluster, "d", &[]).await?;
    let said = run("change", &[&cluster.url(0), "add", &fourth.url()]).await?;
    ensure!(said.contains("P1 ") && said.ends_with("is done\n"), "{said}");
    let status = cluster.answered(cluster.leader().await?).await?;
    assert_eq!(status.replicas.len(), 4, "{said}");
    cluster.finish();
    Ok(())
}
