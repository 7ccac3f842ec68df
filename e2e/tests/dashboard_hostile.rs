//! Whatever comes from elsewhere is shown, never acts and never poses as something else: in bodies and headers of
//! records, names, labels, reasons, zones, versions of processes, and in addresses that somebody was sent.
//!
//! Each is written by the API as a program would, and every page on which it stands is looked at in a real browser.

use anyhow::{Context, Result};
use client::api::{
    changes::{ChangeRequest, Override},
    cluster::{JoinNonce, JoinRequest},
    error::ErrorCode,
    media, paths,
    plans::{CheckId, Plan, Wish},
};
use client::types::{Position, Reason, ReplicaAddr, Typed, Zone};
use quorate_e2e::{
    browser::{Browser, Driver},
    cluster::Cluster,
    membership::{begin, id_of, over, plan},
    rest::{self, Answer},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What might act on a page that shows it carelessly. Each would leave a mark, ask, or load something.
const HOSTILE: [&str; 9] = [
    "<script>window.acted = 1</script>",
    "</pre></td></table><script>window.acted = 1</script><img src=x onerror='window.acted = 1'>",
    "<svg onload='window.acted = 1'></svg><iframe src='javascript:parent.acted = 1'></iframe>",
    "<a hx-post='/logs/orders/delete' hx-trigger='load' href='javascript:alert(1)'>x</a>",
    "<form id=followed data-next=0><button autofocus>x</button></form><!--/live--><!--live-->",
    "<meta http-equiv='refresh' content='0; url=/new-log'><base href='//evil.example/'>",
    "\u{202e}txt.exe\u{2066}\u{200b} \u{1b}[2J\u{7}\u{0}",
    "{\"<script>\": \"</script><script>window.acted = 1</script>\"}",
    "<style>* { display: none }</style><div id=skipped>x</div>",
];
/// All of it in one line that holds no control character: what names, labels and reasons may be.
const LINE: &str = "'\"><script>window.acted=1</script><img src=x onerror=window.acted=1><a \
    hx-get=/>\u{202e}\u{2066}<!--live-->";

/// What acted, or could, on the page at hand; and what of it would turn text around or hide.
const FOUND: &str = "
    const found = [];
    if (window.acted) found.push('something acted');
    const unseen = /[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff]/;
    const shown = ['title', 'aria-label', 'aria-description', 'alt', 'placeholder'];
    for (const one of document.querySelectorAll('*')) {
        for (const { name, value } of one.attributes) {
            if (/^(on|hx-|data-hx-|style$|srcdoc$)/.test(name)) found.push(name + ' on ' + one.outerHTML);
            if (/^\\s*(javascript|data):/i.test(value)) found.push(value);
            if (shown.includes(name) && unseen.test(value)) found.push(name + ' hides: ' + value);
        }
        const isOurs = one.src?.startsWith(location.origin + '/assets/');
        if (one.localName === 'script' && !(isOurs && !one.textContent)) found.push(one.outerHTML);
        if (one.matches('iframe, img, style, base, object, embed, main form [autofocus]')) found.push(one.outerHTML);
    }
    const refreshes = document.querySelectorAll('head meta[http-equiv], main meta');
    if (refreshes.length > 0) found.push('it goes elsewhere by itself');
    if (unseen.test(document.body.innerText)) found.push('text hides or turns around');
    if (unseen.test(document.title)) found.push('the title hides or turns around');
    return [found, location.pathname + location.search, document.title + document.body.innerText];";

/// Goes there, and nothing acts; answers with what the screen says.
async fn harmless(browser: &Browser, url: &str) -> Result<String> {
    browser.go(url).await?;
    browser.text("h1").await?;
    let seen = browser.run(FOUND, json!([])).await?;
    let (found, address, text): (Vec<String>, String, String) = serde_json::from_value(seen)?;
    assert_eq!(found, [""; 0], "at {url}");
    assert!(url.ends_with(&address), "from {url} to {address}");
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_log_holds_acts_in_a_browser() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(1, &[]).await?;
    let base = cluster.url(0);
    let settings = json!({ "content_type": "text/html; a='\"><script>window.acted=1</script>'" });
    rest::put(cluster.http(), &base, "/v1/logs/orders", &settings.to_string())
        .await?
        .succeeded()?;
    for text in HOSTILE {
        let headers = json!([["'\"><script>acted=1</script>", text], ["onload", LINE]]);
        let body = json!({ "records": [{ "data": text, "headers": headers }] }).to_string();
        let request = cluster.http().post(format!("{base}/v1/logs/orders/records"));
        let request = request.header("content-type", "application/json").body(body);
        Answer::to(request).await?.succeeded()?;
    }
    let browser = driver.browser(cluster.folder()).await?;
    let mut pages: Vec<String> =
        (0..HOSTILE.len()).map(|position| format!("/logs/orders/{position}")).collect();
    let forms = ["auto", "json", "text", "hex", "base64"];
    pages.extend(forms.map(|form| format!("/logs/orders?show={form}")));
    pages.extend(["/logs", "/logs/orders/settings"].map(str::to_owned));
    for page in pages {
        let said = harmless(&browser, &format!("{base}{page}")).await?;
        let is_record = page.starts_with("/logs/orders/") && !page.ends_with("settings");
        assert!(!is_record || said.contains("U+202E"), "{page} shows what it hides: {said}");
    }
    harmless(&browser, &format!("{base}/logs/orders?follow=1")).await?;
    rest::append(cluster.http(), &base, "orders", HOSTILE[1].as_bytes()).await?.succeeded()?;
    browser.says("[data-test=extent]", "10 records").await?;
    assert_eq!(browser.run("return window.acted ?? null", json!([])).await?, json!(null));

    // The bytes themselves are a file to keep, whatever the log says that they are.
    let raw = rest::get(cluster.http(), &base, "/v1/logs/orders/records/0").await?.succeeded()?;
    assert_eq!(raw.body, HOSTILE[0]);
    assert!(raw.header("content-disposition").is_some_and(|how| how.starts_with("attachment")));
    assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
    browser.close().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_act_or_hide_is_found_where_it_is() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(1, &[]).await?;
    let browser = driver.browser(cluster.folder()).await?;
    for planted in HOSTILE.iter().filter(|text| !text.starts_with('{')) {
        browser.go(&cluster.url(0)).await?;
        browser.text("h1").await?;
        let script =
            "document.getElementById('main').insertAdjacentHTML('beforeend', arguments[0])";
        browser.run(script, json!([planted])).await?;
        let seen = browser.run(FOUND, json!([])).await?;
        // A page that was left for another one is seen by its address.
        assert!(seen[0] != json!([]) || seen[1] != "/", "{planted}: {seen}");
    }
    // The policy lets none of it act, and the browser says so.
    assert!(!browser.complaints().await?.is_empty());
    browser.close().await?;
    cluster.finish();
    Ok(())
}

fn post(cluster: &Cluster, number: usize, path: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = cluster.http().post(format!("{}{path}", cluster.url(number)));
    request.header("content-type", media::JSON).body(body.to_string())
}

/// A process that says of itself what it likes asks to join.
async fn ask_to_join(cluster: &Cluster, number: usize) -> Result<()> {
    let at = |port: u16| ReplicaAddr::new(&format!("http://javascript.alert-1.onload:{port}"));
    let version = format!("version-of-it {}", HOSTILE.concat());
    let mut request = JoinRequest::new(JoinNonce::new(7), at(1)?, at(2)?, version);
    request.zone = Zone::new(&format!("zone-of-it {LINE}"))?;
    let mut request = serde_json::to_value(&request)?;
    Answer::to(post(cluster, number, paths::JOINERS, &request)).await?.succeeded()?;
    // What is no address is no address.
    for addr in
        ["javascript:alert(1)", "http://a\"><script>:1", "http://\u{202e}:1", "http://a:1/<b>"]
    {
        request["addr"] = json!(addr);
        let refused =
            Answer::to(post(cluster, number, paths::JOINERS, &request)).await?.problem()?;
        assert_eq!(refused.code, ErrorCode::InvalidBody, "{addr}: {refused}");
    }
    Ok(())
}

/// A replica leaves, for a reason that means harm.
async fn remove_one(cluster: &Cluster, number: usize) -> Result<()> {
    let leaves = id_of(cluster, number).await?;
    let wish = Wish::Remove { replicas: vec![leaves] };
    let plan: Plan = plan(cluster, &wish).await?.succeeded()?.json()?;
    let reason = Reason::new(&format!("reason-of-it {LINE}"))?;
    let typed = Typed::new(&leaves.to_string())?;
    let overrides = vec![Override { check: CheckId::P1, typed, reason }];
    let request = ChangeRequest { wish, overrides };
    let begun = begin(cluster, &plan, &request).await?.succeeded()?;
    let change: client::api::changes::Change = begun.json()?;
    over(cluster, change.id).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_call_themselves_acts_in_a_browser() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let zone = format!("zone-of-ours {LINE}");
    let mut cluster = Cluster::calm(3, &["--zone", &zone]).await?;
    let here = cluster.leader().await?;
    let other = cluster.follower().await?;
    remove_one(&cluster, other).await?;
    drop(cluster.release(other));
    let here = if other < here { here - 1 } else { here };
    ask_to_join(&cluster, here).await?;
    let label = json!({ "label": format!("label-of-it {LINE}") });
    Answer::to(post(&cluster, here, paths::CHECKPOINTS, &label)).await?.succeeded()?;

    let base = cluster.url(here);
    let browser = driver.browser(cluster.folder()).await?;
    browser.go(&base).await?;
    let links = "return [...document.querySelectorAll('nav a, main a')].map((one) => one.href)";
    let links: BTreeSet<String> = serde_json::from_value(browser.run(links, json!([])).await?)?;
    let mut pages: BTreeSet<String> =
        links.into_iter().filter(|link| link.starts_with(&base)).collect();
    assert!(pages.len() >= 8, "every page is linked from the first one: {pages:?}");
    for path in ["changes", "changes/1", "changes/new", "changes/new?replace=1", "logs/_activity"] {
        pages.insert(format!("{base}/{path}"));
    }
    let mut said = String::new();
    for page in &pages {
        said += &harmless(&browser, page).await?;
    }
    for what in ["zone-of-ours", "zone-of-it", "version-of-it", "reason-of-it", "label-of-it"] {
        assert!(said.contains(what), "{what} was on no page: {pages:?}");
    }
    browser.close().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_that_somebody_was_sent_acts_in_a_browser() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(1, &[]).await?;
    let base = cluster.url(0);
    rest::put(cluster.http(), &base, "/v1/logs/orders", "{}").await?.succeeded()?;
    rest::append(cluster.http(), &base, "orders", b"x").await?.succeeded()?;
    let text = LINE.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let browser = driver.browser(cluster.folder()).await?;
    for path in [
        "/nowhere/{}",
        "/?x={}",
        "/performance?step={}",
        "/replicas/{}",
        "/changes/{}",
        "/changes?before={}&limit={}",
        "/changes/new?add={}",
        "/changes/new?remove={}",
        "/changes/new?replace={}",
        "/changes/new?replace=1&by={}",
        "/changes/new?lead={}",
        "/logs?prefix={}",
        "/logs?after={}",
        "/logs?deleted={}",
        "/logs/{}",
        "/logs/orders?from={}",
        "/logs/orders?time={}",
        "/logs/orders?show={}",
        "/logs/orders?follow=1&seen={}&skipped={}",
        "/logs/orders/{}",
        "/logs/orders/append?data={}",
        "/logs/orders/settings?trim_to={}",
        "/logs/orders/settings?done={}",
        "/checkpoints?done={}",
        "/docs/errors/{}",
    ] {
        let url = format!("{base}{}", path.replace("{}", &text));
        harmless(&browser, &url).await.with_context(|| path.to_owned())?;
    }
    let tail = cluster.describe(0, &"orders".parse()?).await?.tail;
    assert_eq!(tail, Position::new(1), "looking changes nothing");
    browser.close().await?;
    cluster.finish();
    Ok(())
}
