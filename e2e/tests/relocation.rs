//! A replica that answers elsewhere from now on is followed there by all others and by those who call.
//!
//! Method: a real replica is stopped and started at other addresses, and the group is told by the command line.

use anyhow::{Context, Result, ensure};
use client::types::LogSettings;
use quorate_e2e::{
    cluster::Cluster,
    membership::id_of,
    process::{Process, Recipe, program},
    rest::append,
    wait::{PATIENCE, until},
    workload::client,
};
use std::process::Stdio;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_moved_to_other_addresses_is_followed() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    client(&cluster.urls())?.log("orders".parse()?).create(&LogSettings::default()).await?;
    let (leader, moved) = (cluster.leader().await?, cluster.follower().await?);
    let id = id_of(&cluster, moved).await?;
    ensure!(cluster.replica_mut(moved).stop().await?.success());
    let elsewhere = Recipe::in_folder(cluster.folder().join("elsewhere"))?;
    let recipe = Recipe {
        listen: elsewhere.listen,
        peer_listen: elsewhere.peer_listen,
        ..cluster.replica(moved).recipe().clone()
    };
    *cluster.replica_mut(moved) = Process::spawn(recipe)?;
    // It may be reached only where nobody looks for it yet.
    let url = cluster.url(leader);
    append(cluster.http(), &url, "orders", b"meanwhile").await?.succeeded()?;
    let addr = format!("http://{}", elsewhere.listen);
    let peer_addr = format!("http://{}", elsewhere.peer_listen);
    let mut command = program()?;
    command.args(["cluster", "relocate", &id.to_string(), "--addr", &addr]);
    command.args(["--peer-addr", &peer_addr, "--yes", "-e", &url]).stdin(Stdio::null());
    command.env("HOME", cluster.folder()).env("NO_COLOR", "1").env_remove("XDG_CONFIG_HOME");
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "{output:?}");

    cluster.healed().await?;
    let status = cluster.answered(leader).await?;
    let told = status.replicas.iter().find(|told| told.id == id).context("it is a member")?;
    assert_eq!((told.addr.as_str(), told.peer_addr.as_str()), (&*addr, &*peer_addr));
    append(cluster.http(), &addr, "orders", b"through its new door").await?.succeeded()?;

    // Whoever stays finds it when it counts: with it alone there is a majority.
    let other = 3 - leader - moved;
    cluster.replica_mut(leader).kill()?;
    until("the other two go on", PATIENCE, async || {
        let answer = append(cluster.http(), &cluster.url(other), "orders", b"after").await;
        Ok(answer.ok().filter(|answer| answer.status == 200).map(drop))
    })
    .await?;
    cluster.start_all()?;
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}
