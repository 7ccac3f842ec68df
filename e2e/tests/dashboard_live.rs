//! Open pages of the dashboard: how soon they show what the group knows, how many of them one may have, and what the
//! first one costs.
//!
//! Without a browser on the machine nothing is looked at; `just browser` demands one. Times on the screen are those of
//! the frame in which it changed, by the clock that the test reads, too.

use anyhow::{Context, Result, ensure};
use client::types::ReplicaId;
use quorate_e2e::{
    browser::{Browser, Driver},
    cluster::Cluster,
    figures::percentile,
    membership::spare,
    process::print,
    scale::short_or_long,
    wait::{PATIENCE, until},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What the group knows is on the screen by then.
const SHOWN_MAX: Duration = Duration::from_secs(1);
/// A page is there by then, although many others are open.
const LOADED_MAX: Duration = Duration::from_secs(1);
/// Open before it.
const OTHERS: usize = 12;
/// What the first view of the overview may move, heads of the answers included.
const FIRST_VIEW_BYTES_MAX: usize = 45_000;

/// Writes down what the screen says, and when, from each frame that changes it.
const WATCH: &str = "
    window.shown = [];
    const say = (name) => document.querySelector('[data-test=' + name + ']').innerText;
    const look = () => {
        const now = JSON.stringify([document.querySelector('#verdict h1').innerText, say('leader'),
            say('tolerance'), document.title]);
        if (now !== window.shown.at(-1)?.[1]) window.shown.push([Date.now(), now]);
    };
    const soon = () => requestAnimationFrame(look);
    new MutationObserver(soon).observe(document,
        { subtree: true, childList: true, characterData: true, attributes: true });
    look();";

/// Since when a survivor has known who leads now, and that none more may fail.
async fn known(cluster: &Cluster, before: ReplicaId) -> Result<(SystemTime, ReplicaId)> {
    let survivors = (0..cluster.len()).filter(|number| cluster.replica(*number).is_running());
    let survivors: Vec<usize> = survivors.collect();
    until("a survivor knows the new state", PATIENCE, async || {
        for number in &survivors {
            let Some(status) = cluster.status(*number).await else { continue };
            let verdict = &status.verdict;
            let leader = status.leader.filter(|leader| *leader != before);
            if let (Some(leader), true, 0) = (leader, verdict.can_append, verdict.tolerance) {
                return Ok(Some((SystemTime::now(), leader)));
            }
        }
        Ok(None)
    })
    .await
}

/// When the screen said so, too.
async fn shown(browser: &Browser, leader: ReplicaId) -> Result<SystemTime> {
    let leader = format!("replica {leader}");
    browser
        .once("the screen shows the new state", async || {
            let shown = browser.run("return window.shown", json!([])).await?;
            let shown: Vec<(u64, String)> = serde_json::from_value(shown)?;
            let found = shown.into_iter().find_map(|(at, now)| {
                let [verdict, led_by, tolerance, title]: [String; 4] =
                    serde_json::from_str(&now).ok()?;
                let is_new = verdict.contains("Taking appends, but one more failure stops them")
                    && led_by == leader
                    && tolerance == "0"
                    && title.contains("Taking appends");
                is_new.then_some(SystemTime::UNIX_EPOCH + Duration::from_millis(at))
            });
            Ok(found)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_is_on_the_screen_as_soon_as_the_group_knows() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let mut cluster = Cluster::calm(3, &[]).await?;
    let browser = driver.browser(cluster.folder()).await?;
    let mut lags = Vec::new();
    for round in 0..short_or_long(3, 30) {
        let here = cluster.follower().await?;
        browser.go(&cluster.url(here)).await?;
        browser.says("[data-test=tolerance]", "1").await?;
        browser.run(WATCH, json!([])).await?;
        let before = cluster.answered(here).await?.leader.context("somebody leads")?;

        let killed = cluster.kill_leader().await?;
        let (known, leader) = known(&cluster, before).await?;
        let shown = shown(&browser, leader).await?;
        // A screen that was faster than the question is in time.
        let lag = shown.duration_since(known).unwrap_or_default();
        print(&format!("round {round}: shown {lag:?} after it was known"));
        lags.push(lag);
        // Away before what is looked at is killed in its turn: a browser complains of a stream that is torn off.
        cluster.replica_mut(killed).start()?;
        cluster.healed().await?;
    }
    let [half, most, all] = [50, 95, 100].map(|percent| percentile(&lags, percent));
    print(&format!("{} leaders lost: shown p50 {half:?}, p95 {most:?}, worst {all:?}", lags.len()));
    assert!(most < Some(SHOWN_MAX), "on the screen after {lags:?}");
    browser.close().await?;
    cluster.finish();
    Ok(())
}

/// How long the page takes in the window at hand, as a rule: once it may wait for a processor, but for a connection that
/// never becomes free it would wait every time.
async fn loaded(browser: &Browser, url: &str) -> Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        browser.go(url).await?;
        took.push(began.elapsed());
    }
    percentile(&took, 50).context("it was measured")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_there_at_once_although_a_dozen_are_open() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(3, &[]).await?;
    let base = cluster.url(cluster.follower().await?);
    // Tabs of one window: all but the last are hidden.
    let browser = driver.browser(cluster.folder()).await?;
    browser.go(&base).await?;
    for _ in 1..OTHERS {
        browser.tab(&base).await?;
    }
    browser.tab("about:blank").await?;
    let in_tabs = loaded(&browser, &base).await?;
    browser.close().await?;
    // Windows of their own are all visible, and a browser has six connections for all of them.
    let browser = driver.browser(cluster.folder()).await?;
    browser.go(&base).await?;
    for _ in 1..OTHERS {
        browser.window(&base).await?;
    }
    browser.window("about:blank").await?;
    let in_windows = loaded(&browser, &base).await?;
    let windows = browser.windows().await?;
    assert_eq!(windows.len(), OTHERS + 1);
    for window in &windows {
        browser.turn_to(window).await?;
        let is_hidden = browser.run("return document.hidden", json!([])).await?;
        assert_eq!(is_hidden, json!(false), "it would cost nothing");
        let as_of = browser.text("[data-test=as-of]").await?;
        let goes_on = browser.once("every window goes on showing what is new", async || {
            Ok((browser.text("[data-test=as-of]").await? != as_of).then_some(()))
        });
        goes_on.await?;
        assert_eq!(browser.texts("#stale").await?, [""; 0], "none falls behind");
    }
    print(&format!("page {} after {in_tabs:?} in tabs, {in_windows:?} in windows", OTHERS + 1));
    for took in [in_tabs, in_windows] {
        assert!(took < LOADED_MAX, "it took {took:?}");
    }
    browser.close().await?;
    cluster.finish();
    Ok(())
}

/// How many bytes one answer is on the wire, and what it says. A stream is read to the end of its first event.
async fn on_the_wire(addr: SocketAddr, path: &str, accept: &str) -> Result<(usize, String)> {
    let mut stream = TcpStream::connect(addr).await?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {addr}\r\naccept: {accept}\r\n\
         accept-encoding: gzip, deflate, br, zstd\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut said = Vec::new();
    while stream.read_buf(&mut said).await? > 0 {
        let is_stream = accept == "text/event-stream";
        let events =
            said.windows(4).position(|four| four == b"\r\n\r\n").map(|end| &said[end + 4..]);
        if is_stream && events.is_some_and(|events| events.windows(2).any(|two| two == b"\n\n")) {
            break;
        }
    }
    ensure!(said.starts_with(b"HTTP/1.1 200 "), "{path}: {}", String::from_utf8_lossy(&said));
    Ok((said.len(), String::from_utf8_lossy(&said).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_view_is_small_on_the_wire() -> Result<()> {
    let cluster = Cluster::calm(3, &[]).await?;
    let new = spare(&cluster, "d", &[]).await?;
    let number = cluster.follower().await?;
    let addr = cluster.replica(number).recipe().listen;
    let (page_bytes, page) = on_the_wire(addr, "/", "text/html").await?;
    assert!(page.contains(&new.url()), "it shows who waits: {page}");
    let mut parts = vec![("/".to_owned(), page_bytes)];
    let assets = page.split('"').filter(|part| part.starts_with("/assets/"));
    // Of the icons, the one for a page that is not up to date is loaded when that happens.
    let assets: BTreeSet<&str> = assets.filter(|path| !path.contains("icon-unknown")).collect();
    for path in &assets {
        parts.push(((*path).to_owned(), on_the_wire(addr, path, "*/*").await?.0));
    }
    let (event_bytes, _) = on_the_wire(addr, "/live", "text/event-stream").await?;
    parts.push(("/live".to_owned(), event_bytes));
    let all: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    print(&format!("first view: {all} bytes: {parts:?}"));
    assert!(all <= FIRST_VIEW_BYTES_MAX, "{all} bytes: {parts:?}");

    // Nothing was left out: a browser loads no more.
    if let Some(driver) = Driver::start()? {
        let browser = driver.browser(cluster.folder()).await?;
        browser.go(&cluster.url(number)).await?;
        let script = "return performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)";
        let loaded: BTreeSet<String> =
            serde_json::from_value(browser.run(script, json!([])).await?)?;
        assert!(loaded.len() >= 2, "style and script: {loaded:?}");
        for path in &loaded {
            assert!(path == "/live" || assets.contains(path.as_str()), "{path} is loaded, too");
        }
        browser.close().await?;
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_must_not_do_is_complained_of() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(1, &[]).await?;
    for (forbidden, complaint) in [
        (
            "const one = document.createElement('script'); one.textContent = 'window.acted = 1'; document.body.append(one)",
            "Content Security Policy",
        ),
        ("document.body.setAttribute('style', 'color: red')", "Content Security Policy"),
        (
            "document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/' }))",
            "Content Security Policy",
        ),
        ("setTimeout(() => { throw new Error('planted') })", "planted"),
        ("console.error('planted')", "planted"),
    ] {
        let browser = driver.browser(cluster.folder()).await?;
        browser.go(&cluster.url(0)).await?;
        browser.text("h1").await?;
        browser.run(forbidden, json!([])).await?;
        let heard = browser.once("it complains", async || {
            let complaints = browser.complaints().await?;
            Ok((!complaints.is_empty()).then_some(complaints.join("\n")))
        });
        let heard = heard.await.with_context(|| forbidden.to_owned())?;
        assert!(heard.contains(complaint), "{forbidden}: {heard}");
        assert_eq!(browser.run("return window.acted ?? null", json!([])).await?, json!(null));
        browser.close().await?;
    }
    cluster.finish();
    Ok(())
}
