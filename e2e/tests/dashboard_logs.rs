//! Logs in the dashboard, in a real browser: their whole life by clicks, with and without scripts; and the reference
//! says what each path takes.
//!
//! Without a browser on the machine the pages are only asked for as text. Not here: contents that mean harm
//! (`dashboard_hostile`).

use anyhow::{Context, Result, ensure};
use client::api::{
    error::ErrorCode,
    paths::{ROUTES, Route},
};
use quorate_e2e::{
    browser::{Browser, Driver},
    cluster::Cluster,
    rest::{self, Answer},
    wait::{PATIENCE, until},
};
use reqwest::Method;
use serde_json::json;

const NOTICE: &str = "[data-test=notice]";
const RECORDS: &str = "[data-test=records]";

/// Appends a text to a log at the replica with this address.
async fn append(cluster: &Cluster, base: &str, log: &str, text: &str) -> Result<()> {
    rest::append(cluster.http(), base, log, text.as_bytes()).await?.succeeded().map(drop)
}

/// A log is made, filled, followed, trimmed, sealed and deleted by nothing but clicks and typing.
async fn life(browser: &Browser, cluster: &Cluster, base: &str, log: &str) -> Result<()> {
    browser.go(&format!("{base}/name")).await?;
    browser.type_into("#name", "Ada of ops").await?;
    browser.click("[data-test=keep-name]").await?;
    browser.says("[data-test=kept-name]", "Ada of ops").await?;
    browser.go(&format!("{base}/logs")).await?;
    browser.click("[data-test=new-log]").await?;
    browser.type_into("#name", log).await?;
    browser.type_into("#retention_age", "7 d").await?;
    browser.click("[data-test=create]").await?;
    browser.says("[data-test=empty]", "There are no records yet").await?;

    browser.click("[data-test=append]").await?;
    browser.type_into("#data", "{\"total\": 12.50}").await?;
    browser.type_into("#headers", "by: pos-7").await?;
    browser.type_into("#tail", "0").await?;
    browser.click("#json").await?;
    browser.click("[data-test=send]").await?;
    browser.says(NOTICE, "Appended").await?;
    browser.click(&format!("{NOTICE} a")).await?;
    browser.says("[data-test=body-json]", "\"total\": 12.50").await?;
    browser.says("[data-test=headers]", "pos-7").await?;
    let downloaded = rest::get(cluster.http(), base, &format!("/v1/logs/{log}/records/0")).await?;
    ensure!(downloaded.body == "{\"total\": 12.50}", "not what was typed: {downloaded:?}");
    let disposition = downloaded.header("content-disposition").unwrap_or_default();
    ensure!(disposition.starts_with("attachment"), "it is kept as a file: {disposition}");

    let copies = "return getComputedStyle(document.querySelector('[data-test=copy-link]')).display";
    if browser.run(copies, json!([])).await? != json!("none") {
        browser.click("[data-test=copy-link]").await?;
        browser.says("[data-test=copy-link]", "Copied").await?;
    }

    browser.go(&format!("{base}/logs/{log}")).await?;
    browser.type_into("#contains", "12.5").await?;
    browser.click("[data-test=search]").await?;
    browser.says("[data-test=searched]", "1 found").await?;

    // Somebody was faster: what was typed is still there, and nothing was appended.
    browser.go(&format!("{base}/logs/{log}/append")).await?;
    browser.type_into("#data", "too late").await?;
    browser.type_into("#tail", "0").await?;
    browser.click("[data-test=send]").await?;
    browser.says(NOTICE, ErrorCode::TailDiffers.title()).await?;
    browser.says(NOTICE, "Nothing was changed").await?;

    let bytes = [0, 0xff, b'\r', b'\n', 0x80].repeat(1_000);
    let file = cluster.folder().join("photo.bin");
    std::fs::write(&file, &bytes)?;
    browser.go(&format!("{base}/logs/{log}/append")).await?;
    browser.type_into("#file", &file.display().to_string()).await?;
    browser.click("[data-test=send]").await?;
    browser.says(NOTICE, "Appended").await?;
    let stored = rest::get(cluster.http(), base, &format!("/v1/logs/{log}/records/1")).await?;
    ensure!(stored.body == bytes, "not what the file holds");

    browser.go(&format!("{base}/logs/{log}")).await?;
    browser.click("[data-test=follow]").await?;
    browser.says(RECORDS, "12.50").await?;
    for text in ["followed-1", "followed-2"] {
        append(cluster, base, log, text).await?;
        browser.says(RECORDS, text).await?;
    }
    browser.click("[data-test=pause]").await?;
    browser.says("[data-test=extent]", "4 records").await?;
    append(cluster, base, log, "while-paused").await?;
    ensure!(!browser.text(RECORDS).await?.contains("while-paused"), "a pause shows nothing new");

    browser.click("[data-test=settings]").await?;
    browser.type_into("#trim_to", "3").await?;
    browser.click("[data-test=trim-preview]").await?;
    browser.says("[data-test=trim-effect]", "3 records").await?;
    browser.click("[data-test=trim]").await?;
    browser.says(NOTICE, "Trimmed").await?;
    browser.go(&format!("{base}/logs/{log}?from=0")).await?;
    browser.says(NOTICE, ErrorCode::Trimmed.title()).await?;
    browser.click(&format!("{NOTICE} a")).await?;
    browser.says(RECORDS, "followed-2").await?;

    browser.click("[data-test=settings]").await?;
    browser.click("[data-test=seal-open]").await?;
    browser.click("[data-test=seal]").await?;
    browser.says(NOTICE, "Sealed").await?;
    let refused = rest::append(cluster.http(), base, log, b"x").await?.problem()?;
    ensure!(refused.code == ErrorCode::LogSealed, "it is sealed: {refused}");

    browser.click("[data-test=delete-open]").await?;
    browser.type_into("#typed", "another").await?;
    browser.click("[data-test=delete]").await?;
    browser.says(NOTICE, "type its name").await?;
    browser.click("[data-test=delete-open]").await?;
    browser.type_into("#typed", log).await?;
    browser.click("[data-test=delete]").await?;
    browser.says(NOTICE, &format!("Deleted {log}")).await?;

    browser.click("nav [href='/activity']").await?;
    browser.says("[data-test=activity]", &format!("deleted log {log}")).await?;
    let newest = browser.text("[data-test=activity] tbody tr").await?;
    ensure!(newest.contains("Ada of ops") && newest.contains("127.0.0.1"), "who: {newest}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_lives_its_whole_life_by_clicks_with_and_without_scripts() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(3, &[]).await?;
    let base = cluster.url(cluster.follower().await?);
    for has_scripts in [true, false] {
        let browser = driver.browser(cluster.folder()).await?;
        if !has_scripts {
            browser.without_scripts().await?;
        }
        life(&browser, &cluster, &base, "orders").await?;
        browser.close().await?;
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_kept_out_of_logs_and_what_is_kept_of_them() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(1, &[]).await?;
    let base = cluster.url(0);
    rest::put(cluster.http(), &base, "/v1/logs/shop%2Forders", "{}").await?.succeeded()?;
    let json = r#"{"type":"refund","amount":12.5,"customer":"cust-9"}"#;
    let long = "a-word-that-is-longer-than-a-telephone-is-wide".repeat(4);
    for text in [json, "two\nlines", &long, "\u{0}\u{1}\u{2}\u{3}"] {
        append(&cluster, &base, "shop%2Forders", text).await?;
    }
    Answer::to(cluster.http().post(format!("{base}/v1/checkpoints"))).await?.succeeded()?;
    let browser = driver.browser(cluster.folder()).await?;
    for (name, path) in [
        ("logs", "/logs"),
        ("new-log", "/new-log"),
        ("records", "/logs/shop%2Forders"),
        ("follow", "/logs/shop%2Forders?follow=1"),
        ("record", "/logs/shop%2Forders/0"),
        ("append", "/logs/shop%2Forders/append"),
        ("log-settings", "/logs/shop%2Forders/settings?trim_to=2"),
        ("trimmed", "/logs/shop%2Forders?from=99"),
        ("checkpoints", "/checkpoints"),
        ("activity", "/activity"),
        ("name", "/name"),
        ("settings", "/settings"),
        ("api", "/docs/api"),
        ("error-code", "/docs/errors/tail_differs"),
    ] {
        browser.go(&format!("{base}{path}")).await?;
        browser.look_over(name).await?;
    }
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await?;
    cluster.finish();
    Ok(())
}

/// The path of a route, with names that nothing has.
fn path(route: &Route) -> String {
    let fill = [
        ("{log}", "nothing"),
        ("{name}", "nobody"),
        ("{position}", "7"),
        ("{checkpoint}", "9999999"),
        ("{transfer}", "9-9"),
        ("{change}", "9999999"),
    ];
    fill.iter().fold(route.path.to_owned(), |path, (name, value)| path.replace(name, value))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_names_exactly_the_methods_that_each_path_takes() -> Result<()> {
    let cluster = Cluster::calm(1, &[]).await?;
    for route in ROUTES {
        for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
            let request = cluster.http().request(method.clone(), cluster.url(0) + &path(route));
            let answer = Answer::to(request).await?;
            let code = answer.problem().ok().map(|problem| problem.code);
            let is_taken = code != Some(ErrorCode::MethodNotAllowed);
            let what = format!("{method} {}: {}", route.path, answer.quoted());
            assert_ne!(code, Some(ErrorCode::UnknownRoute), "{what}");
            assert_eq!(is_taken, route.methods.contains(&method.as_str()), "{what}");
        }
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_say_which_flag_gave_them() -> Result<()> {
    let cluster = Cluster::calm(1, &["--zone", "attic"]).await?;
    let page = until("the replica shows its settings", PATIENCE, async || {
        let answer = rest::get(cluster.http(), &cluster.url(0), "/settings").await?;
        Ok((answer.status == 200).then_some(answer))
    });
    let page = String::from_utf8_lossy(&page.await?.body).into_owned();
    let row = page.split("<tr").find(|row| row.contains("<code>zone</code>"));
    let row = row.context("the zone is a setting")?;
    assert!(row.contains("attic") && row.contains("flag --zone"), "{row}");
    cluster.finish();
    Ok(())
}
