//! Plans and changes in a real browser, while the group goes on: what is typed stays, what moved is said, and a transfer
//! does what its page tells it.
//!
//! Without a browser on the machine nothing is looked at.

use anyhow::{Context, Result, ensure};
use client::api::plans::Wish;
use quorate_e2e::{
    browser::{Browser, Driver},
    bulk::{self, fill, purged},
    cluster::Cluster,
    membership::{addr, change, id_of, spare},
    wait::{PATIENCE, until},
};
use serde_json::json;

const GO: &str = "[data-test=go]";
const TRANSFER: &str = "[data-test=transfer]";

/// What stands in a field.
async fn value(browser: &Browser, css: &str) -> Result<String> {
    let value = browser.run("return document.querySelector(arguments[0]).value", json!([css]));
    Ok(value.await?.as_str().context("a field holds text")?.to_owned())
}

/// Waits until an open page was drawn anew.
async fn drawn_anew(browser: &Browser) -> Result<()> {
    let before = browser.text("[data-test=as-of]").await?;
    until("the page to be drawn anew", PATIENCE, async || {
        Ok((browser.text("[data-test=as-of]").await? != before).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_plan_follows_the_group_and_keeps_what_was_typed() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let mut cluster = Cluster::calm(3, &[]).await?;
    let new = spare(&cluster, "d", &[]).await?;
    let number = cluster.follower().await?;
    let (base, gone) = (cluster.url(number), id_of(&cluster, number).await?);
    let browser = driver.browser(cluster.folder()).await?;
    browser.go(&format!("{base}/changes/new?remove={gone}")).await?;
    browser.type_into("[name='typed.P1']", "half of it").await?;
    browser.type_into("#reason", "moving the rack").await?;
    browser.run("window.isTheSamePage = true", json!([])).await?;
    let typed = async || -> Result<[String; 2]> {
        Ok([value(&browser, "[name='typed.P1']").await?, value(&browser, "#reason").await?])
    };
    let (expected, opened) = (["half of it", "moving the rack"], browser.text(GO).await?);
    for _ in 0..2 {
        drawn_anew(&browser).await?;
        assert_eq!(typed().await?, expected);
    }
    assert_eq!(browser.texts("[data-test=moved]").await?, [""; 0]);

    change(&cluster, &Wish::Add { joiners: vec![addr(&new)?], as_learner: true }).await?;
    browser.says("[data-test=moved]", "has changed since this page was opened").await?;
    browser.says(GO, "Look at the plan").await?;
    browser.says("[data-test=footings]", "4").await?;
    assert_eq!(typed().await?, expected);
    let same = browser.run("return window.isTheSamePage === true", json!([])).await?;
    assert_eq!(same, json!(true), "without loading the page anew");
    browser.click(GO).await?;
    browser.says("[data-test=notice]", "Nothing was changed").await?;
    assert_eq!(typed().await?, expected, "also after it was sent");
    let fresh = browser.text(GO).await?;
    ensure!(fresh != opened && fresh.contains("epoch"), "the button names another epoch: {fresh}");
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await?;
    cluster.adopt(new);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_held_hurried_and_let_go_on_the_page_of_its_change() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let mut cluster = Cluster::calm(3, &bulk::SMALL).await?;
    fill(&cluster, 20).await?;
    for number in 0..3 {
        purged(&cluster, number).await?;
    }
    let slow = ["--set", "state.transfer_bytes_per_second=100KiB"];
    let new = spare(&cluster, "d", &[&bulk::SMALL[..], &slow].concat()).await?;
    let base = cluster.url(cluster.follower().await?);
    let browser = driver.browser(cluster.folder()).await?;
    browser.go(&format!("{base}/changes/new?add={}", new.url())).await?;
    browser.click(GO).await?;
    browser.click("[data-test=pause]").await?;
    browser.says(TRANSFER, "paused").await?;
    browser.look_over("transfer").await?;
    // What was asked for before it was held has come by then.
    drawn_anew(&browser).await?;
    let done = "return document.querySelector('progress').value";
    let before = browser.run(done, json!([])).await?;
    for _ in 0..2 {
        drawn_anew(&browser).await?;
    }
    assert_eq!(browser.run(done, json!([])).await?, before, "nothing comes meanwhile");
    browser.run("document.querySelector('[name=limit]').value = ''", json!([])).await?;
    browser.type_into("[name=limit]", "as fast as can be").await?;
    browser.click("[data-test=limit]").await?;
    browser.says("[data-test=notice]", "is not understood").await?;
    browser.run("document.querySelector('[name=limit]').value = ''", json!([])).await?;
    browser.type_into("[name=limit]", "64 MiB").await?;
    browser.click("[data-test=limit]").await?;
    until("the limit to be shown", PATIENCE, async || {
        Ok((value(&browser, "[name=limit]").await.ok().as_deref() == Some("64 MiB")).then_some(()))
    })
    .await?;
    browser.click("[data-test=resume]").await?;
    browser.says("[data-test=stage]", "done").await?;
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await?;
    cluster.adopt(new);
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}
