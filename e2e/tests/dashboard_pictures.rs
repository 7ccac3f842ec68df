//! Every page with something on it, looked at and pictured: light and dark, on a telephone and on a desk.
//!
//! `just screenshots` runs it, with the folder for the pictures in `QUORATE_SCREENSHOT`.

use anyhow::{Context, Result};
use client::api::{media, paths, plans::Wish};
use client::types::LogName;
use quorate_e2e::{
    browser::{Browser, Driver},
    cluster::{CALM, Cluster},
    membership::{addr, change, id_of, spare},
    rest::{self, Answer},
    wait::{PATIENCE, until},
};
use reqwest::{
    Client, Method,
    header::{CONTENT_TYPE, FROM},
};
use serde_json::json;
use std::time::Duration;
use tokio::{task::JoinSet, time::sleep};

/// Between two records of the load: enough to be seen, and little enough for two cores.
const PACE: Duration = Duration::from_millis(4);

/// Asks for something as somebody.
async fn ask(cluster: &Cluster, who: &str, method: Method, path: &str, body: &str) -> Result<()> {
    let request = cluster.http().request(method, cluster.url(0) + path).header(FROM, who);
    let request = request.header(CONTENT_TYPE, media::JSON).body(body.to_owned());
    Answer::to(request).await?.succeeded().map(drop)
}

/// Orders, as long as somebody looks.
async fn orders(http: Client, url: String) {
    for number in 0_u64.. {
        let (customer, cents) = (number * 7_919 % 97, number * 6_007 % 90_000);
        let kind = if number % 11 == 3 { "refund" } else { "order" };
        let body = format!(
            r#"{{"type":"{kind}","customer":"cust-{customer}","amount":{}.{:02}}}"#,
            cents / 100,
            cents % 100
        );
        // Whoever ends the group ends this, too.
        rest::append(&http, &url, "orders", body.as_bytes()).await.ok();
        sleep(PACE).await;
    }
}

/// What an operator does in a week, in a moment.
async fn a_week(cluster: &Cluster) -> Result<()> {
    let (ada, grace) = ("ada@example.org", "Grace");
    let log = |name: &str| -> Result<String> { Ok(paths::log(&LogName::new(name)?)) };
    let (put, post) = (Method::PUT, Method::POST);
    let week = r#"{"retention_age_ms": 604800000}"#;
    ask(cluster, ada, put.clone(), &log("orders")?, week).await?;
    ask(cluster, ada, put.clone(), &log("audit")?, "{}").await?;
    ask(cluster, grace, put, &log("import-2025")?, "{}").await?;
    for name in ["audit", "import-2025"] {
        for number in 0..40 {
            let text = format!("{name} {number}: nothing happened");
            rest::append(cluster.http(), &cluster.url(0), name, text.as_bytes())
                .await?
                .succeeded()?;
        }
    }
    let patch = r#"{"retention_bytes": 1073741824}"#;
    ask(cluster, grace, Method::PATCH, &log("audit")?, patch).await?;
    ask(cluster, grace, post.clone(), &format!("{}/trim", log("audit")?), r#"{"to": 12}"#).await?;
    ask(cluster, ada, post.clone(), &format!("{}/seal", log("import-2025")?), "").await?;
    ask(cluster, ada, post, paths::CHECKPOINTS, r#"{"label": "before-upgrade"}"#).await
}

async fn picture(browser: &Browser, base: &str, pages: &[(&str, &str)]) -> Result<()> {
    for (name, path) in pages {
        browser.go(&format!("{base}{path}")).await?;
        browser.text("h1").await?;
        browser.look_over(name).await.with_context(|| format!("{name} at {path}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it makes pictures for whoever looks at them: `just screenshots`"]
async fn every_page_is_pictured_and_keeps_nobody_out() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let mut cluster = Cluster::empty()?;
    for (mut recipe, zone) in cluster.recipes(3, &CALM)?.into_iter().zip(["a", "b", "c"]) {
        recipe.arguments.extend(["--zone".to_owned(), format!("zone-{zone}")]);
        cluster.add(recipe).await?;
    }
    cluster.healed().await?;
    a_week(&cluster).await?;
    let mut load = JoinSet::new();
    load.spawn(orders(cluster.http().clone(), cluster.url(cluster.leader().await?)));
    let learner = spare(&cluster, "d", &["--zone", "zone-a"]).await?;
    change(&cluster, &Wish::Add { joiners: vec![addr(&learner)?], as_learner: true }).await?;
    let new = spare(&cluster, "e", &["--zone", "zone-b"]).await?;
    let (number, leader) = (cluster.follower().await?, cluster.leader().await?);
    let (base, gone) = (cluster.url(number), id_of(&cluster, number).await?);
    let browser = driver.browser(cluster.folder()).await?;
    until("a minute's line of what the leader did", PATIENCE, async || {
        let url = format!("{}{}", cluster.url(leader), paths::PERFORMANCE);
        let told = Answer::to(cluster.http().get(url)).await?.succeeded()?;
        let told: client::api::performance::Performance = told.json()?;
        Ok((told.points.iter().filter(|point| point.appends > 0).count() > 30).then_some(()))
    })
    .await?;
    let (add, remove) =
        (format!("/changes/new?add={}", new.url()), format!("/changes/new?remove={gone}"));
    let replica = format!("/replicas/{gone}");
    picture(
        &browser,
        &base,
        &[
            ("overview", "/"),
            ("replicas", "/replicas"),
            ("replica", &replica),
            ("add", "/changes/new"),
            ("plan", &add),
            ("plan-to-override", &remove),
            ("changes", "/changes"),
            ("change", "/changes/1"),
            ("logs", "/logs"),
            ("new-log", "/new-log"),
            ("records", "/logs/orders?from=100"),
            ("follow", "/logs/orders?follow=1"),
            ("record", "/logs/orders/47"),
            ("append", "/logs/orders/append"),
            ("log-settings", "/logs/audit/settings?trim_to=20"),
            ("trimmed", "/logs/audit?from=3"),
            ("checkpoints", "/checkpoints"),
            ("activity", "/activity"),
            ("name", "/name"),
            ("performance", "/performance"),
            ("settings", "/settings"),
            ("api", "/docs/api"),
            ("error-code", "/docs/errors/tail_differs"),
            ("not-found", "/nowhere"),
        ],
    )
    .await?;
    picture(&browser, &cluster.url(leader), &[("performance-of-the-leader", "/performance")])
        .await?;
    browser.go(&new.url()).await?;
    browser.says("[data-test=waiting]", "waiting to join").await?;
    // It would load itself anew in the midst of the looking.
    browser
        .run("for (let timer = 0; timer < 1000; timer++) clearTimeout(timer)", json!([]))
        .await?;
    browser.look_over("waiting").await?;
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await?;
    drop(load);
    cluster.adopt(learner);
    cluster.finish();
    Ok(())
}
