//! The dashboard by keys alone: nothing is clicked, no script moves the focus, and where it is can always be seen.
//!
//! Without a browser on the machine nothing is looked at; `just browser` demands one.

use anyhow::{Context, Result};
use client::types::ReplicaId;
use quorate_e2e::{
    browser::{Browser, Driver, keys::Key},
    cluster::Cluster,
    membership::{addr, id_of, spare},
};
use std::collections::BTreeSet;

const GO: &str = "[data-test=go]";
const STAGE: &str = "[data-test=stage]";
const TYPED: &str = "[name='typed.P1']";

/// From wherever one is, by the head of the page, to the plan to remove a replica.
async fn plan_to_remove(browser: &Browser, id: ReplicaId) -> Result<()> {
    browser.tab_back_to("header a.brand").await?;
    browser.press(Key::Enter).await?;
    let row = format!("[data-test=replica-{id}] th a");
    browser.text(&row).await?;
    browser.tab_to(&row).await?;
    browser.press(Key::Enter).await?;
    browser.says("[data-test=replica]", &format!("Replica {id}:")).await?;
    browser.tab_to("[data-test=remove]").await?;
    browser.press(Key::Enter).await?;
    browser.says("[data-test=footings]", "after").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_added_and_removed_by_keys_alone() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(3, &[]).await?;
    let new = spare(&cluster, "d", &[]).await?;
    let (leader, here) = (cluster.leader().await?, cluster.follower().await?);
    let browser = driver.browser(cluster.folder()).await?;
    browser.go(&cluster.url(here)).await?;
    browser.says("[data-test=joiners]", &new.url()).await?;

    // The first place of a page leads over all that is on every page.
    browser.tab_to("a.skip").await?;
    browser.press(Key::Enter).await?;
    browser.tab_to("[data-test=plan-joiner]").await?;
    browser.press(Key::Enter).await?;
    browser.says("[data-test=check-P8]", "empty").await?;
    browser.tab_to(GO).await?;
    browser.press(Key::Space).await?;
    browser.says(STAGE, "done").await?;

    let status = cluster.answered(leader).await?;
    let added = addr(&new)?;
    let added = status.replicas.iter().find(|replica| replica.addr == added);
    let added = added.context("it is a replica now")?.id;
    plan_to_remove(&browser, added).await?;
    browser.tab_to(GO).await?;
    browser.press(Key::Enter).await?;
    browser.says("[data-test=left]", &format!("Replica {added} has left")).await?;

    // One more, and none may fail: that has to be typed, with a reason.
    let number = here;
    let (leader, here) = (id_of(&cluster, leader).await?, id_of(&cluster, here).await?);
    let mut rest = status.replicas.iter().map(|replica| replica.id);
    let third = rest.find(|id| ![leader, here, added].contains(id)).context("a third one")?;
    plan_to_remove(&browser, third).await?;
    browser.tab_to(TYPED).await?;
    browser.type_keys(&third.to_string()).await?;
    browser.tab_to("#reason").await?;
    browser.type_keys("its rack is moved").await?;
    browser.press(Key::Enter).await?;
    browser.says("[data-test=left]", &format!("Replica {third} has left")).await?;
    let status = cluster.answered(number).await?;
    let rest: BTreeSet<_> = status.replicas.iter().map(|replica| replica.id).collect();
    assert_eq!(rest, BTreeSet::from([leader, here]), "one came and two went");
    browser.close().await?;
    cluster.finish();
    Ok(())
}
