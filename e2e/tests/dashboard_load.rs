//! The dashboard beside much to do: what those who look at it cost appends, how quickly one finds a place in a long log,
//! and whether a tab that follows a fast one still answers.
//!
//! All of it is run in `just test`; the figures count in `just prove` alone, with the program as it ships, and there
//! they have to hold.

use anyhow::{Context, Result, ensure};
use client::types::{Batch, BatchLimits, LogSettings, NewRecord};
use client::{Client, Log};
use quorate_e2e::{
    browser::Driver,
    chance::Chance,
    cluster::Cluster,
    figures::percentile,
    process::print,
    rest,
    scale::{is_long, short_or_long},
    wait::{PATIENCE, until},
    workload,
};
use serde_json::json;
use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

const VIEWERS: usize = 100;
const CALLERS: usize = 32;
/// The share of a thousand of the machine's processor time that replicas may use for them.
const USED_MAX: u128 = 20;
/// The share of appends in a thousand that they may cost. The goal is 20, too; but where those who look, those who append
/// and whatever else runs share two cores, so little cannot be told from nothing.
const COST_MAX: i64 = 60;

/// Where a page of a long log is found.
const SEEK_MAX: Duration = Duration::from_millis(200);
/// Longer than that, nothing may keep a tab from answering.
const TASK_MAX: Duration = Duration::from_millis(200);
/// Records a second, appended every so often.
const FOLLOWED_RATE: u64 = 10_000;
const FOLLOWED_EVERY: Duration = Duration::from_millis(20);

/// Records of this many bytes, each with its number in the batch.
fn batch(records: u64, body_bytes: usize) -> Result<Batch> {
    let body = |number| format!("{{\"n\":{number:0width$}}}", width = body_bytes.saturating_sub(6));
    let records: Vec<NewRecord> =
        (0..records).map(|number| NewRecord::new(body(number).into_bytes())).collect();
    let limits = BatchLimits { records_max: records.len(), ..BatchLimits::default() };
    Ok(Batch::new(&records, &limits)?)
}

async fn log(client: &Client, name: &str) -> Result<Log> {
    let log = client.log(name.parse()?);
    log.create(&LogSettings::default()).await?;
    Ok(log)
}

/// Somebody who looks at the overview of a replica, until dropped; counts the events.
async fn look(addr: SocketAddr, events: Arc<AtomicU64>) -> Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    let head = format!("GET /live HTTP/1.1\r\nhost: {addr}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = stream.read(&mut buffer).await?;
        ensure!(count > 0, "the stream has ended");
        // One write of the server is one event; one in two parts counts twice, which harms nobody here.
        events.fetch_add(1, Ordering::Relaxed);
    }
}

/// What callers met in a while, and what the replicas used.
#[derive(Debug)]
struct Stretch {
    appends: u64,
    took: Duration,
    p99: Duration,
    /// Processor time of all of them.
    used: Duration,
}

impl Stretch {
    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "it is a rate, for people")]
        let appends = self.appends as f64;
        appends / self.took.as_secs_f64()
    }

    /// The share of a thousand of the machine's processor time.
    fn share(&self) -> Result<u128> {
        let cores = u128::try_from(std::thread::available_parallelism()?.get())?;
        Ok(self.used.as_micros() * 1_000 / (self.took.as_micros() * cores))
    }
}

/// The processor time that the replicas have used since they were started.
fn used(cluster: &Cluster) -> Result<Duration> {
    let mut ticks = 0;
    for number in 0..cluster.len() {
        let id = cluster.replica(number).id().context("it runs")?;
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name may hold blanks; behind it, user and system time are the 12th and 13th.
        let (_, figures) = stat.rsplit_once(')').context("a process has a name")?;
        for figure in figures.split_whitespace().skip(11).take(2) {
            ticks += figure.parse::<u64>()?;
        }
    }
    // Linux counts them in hundredths of a second.
    Ok(Duration::from_millis(10 * ticks))
}

type Waits = Arc<Mutex<Vec<Duration>>>;

/// Lets the callers go on for so long.
async fn stretch(cluster: &Cluster, waits: &Waits, length: Duration) -> Result<Stretch> {
    waits.lock().await.clear();
    let (began, before) = (Instant::now(), used(cluster)?);
    sleep(length).await;
    let (took, used) = (began.elapsed(), used(cluster)?.saturating_sub(before));
    let waits = std::mem::take(&mut *waits.lock().await);
    let p99 = percentile(&waits, 99).unwrap_or_default();
    Ok(Stretch { appends: u64::try_from(waits.len())?, took, p99, used })
}

/// The same while a hundred look at the overviews of all replicas.
async fn watched(cluster: &Cluster, waits: &Waits, length: Duration) -> Result<Stretch> {
    let (mut viewers, events) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for viewer in 0..VIEWERS {
        let addr = cluster.replica(viewer % cluster.len()).recipe().listen;
        viewers.spawn(look(addr, events.clone()));
    }
    let seen = async |looks: u64| {
        let all = looks * VIEWERS as u64;
        let look = async || Ok((events.load(Ordering::Relaxed) >= all).then_some(()));
        until("all of them look", PATIENCE, look).await
    };
    seen(2).await?;
    let met = stretch(cluster, waits, length).await?;
    seen(2 + length.as_secs()).await?;
    ensure!(viewers.try_join_next().is_none(), "somebody who looked was sent away");
    Ok(met)
}

/// One after the other: alone, and watched. Which comes first alternates, so what drifts counts for both.
async fn turns(
    cluster: &Cluster,
    waits: &Waits,
    length: Duration,
    round: usize,
) -> Result<[Stretch; 2]> {
    if round.is_multiple_of(2) {
        let alone = stretch(cluster, waits, length).await?;
        return Ok([alone, watched(cluster, waits, length).await?]);
    }
    let watched = watched(cluster, waits, length).await?;
    Ok([stretch(cluster, waits, length).await?, watched])
}

/// A part of a whole, in thousandths that are lacking.
fn lacking(part: f64, whole: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "it is a share of a thousand")]
    let lacking = ((1.0 - part / whole) * 1_000.0) as i64;
    lacking
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_viewers_cost_appends_next_to_nothing() -> Result<()> {
    let cluster = Cluster::calm(3, &[]).await?;
    let (waits, length) = (Waits::default(), short_or_long(2, 5));
    let length = Duration::from_secs(length);
    let mut shares = Vec::new();
    for round in 0..short_or_long(1, 6) {
        let [alone, watched] = turns(&cluster, &waits, length, round).await?;
        shares.push(watched.share()?.saturating_sub(alone.share()?));
    }
    let share = percentile(&shares, 50).context("one round at least")?;
    print(&format!("{VIEWERS} viewers use {share} thousandths of the machine: {shares:?}"));

    let orders = log(&workload::client(&cluster.urls())?, "orders").await?;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (orders, waits) = (orders.clone(), waits.clone());
        callers.spawn(async move {
            loop {
                let began = Instant::now();
                orders.append(NewRecord::new(vec![b'x'; 100])).await?;
                waits.lock().await.push(began.elapsed());
            }
            #[expect(unreachable_code, reason = "it says what an error becomes")]
            Ok::<(), client::AppendError>(())
        });
    }
    stretch(&cluster, &waits, length).await?;
    let (mut without, mut with, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..short_or_long(1, 12) {
        let [alone, watched] = turns(&cluster, &waits, length, round).await?;
        ensure!(callers.try_join_next().is_none(), "every append is answered");
        costs.push(lacking(watched.rate(), alone.rate()));
        without.push((alone.rate().round(), alone.p99));
        with.push((watched.rate().round(), watched.p99));
    }
    let p99s = |met: &[(f64, Duration)]| met.iter().map(|(_, p99)| *p99).collect::<Vec<_>>();
    let (alone, watched) = (percentile(&p99s(&without), 50), percentile(&p99s(&with), 50));
    let cost = percentile(&costs, 50).context("one round at least")?;
    print(&format!("appends/s and p99, alone: {without:?}\n{VIEWERS} viewers: {with:?}"));
    print(&format!("cost in thousandths: {costs:?}, median {cost}; p99 {alone:?} and {watched:?}"));
    if is_long() {
        assert!(share <= USED_MAX, "{share} thousandths of the machine");
        assert!(cost <= COST_MAX, "{cost} thousandths of the appends");
    }
    callers.shutdown().await;
    cluster.finish();
    Ok(())
}

/// How long one page takes, and what it says.
async fn page(cluster: &Cluster, number: usize, path: &str) -> Result<(Duration, String)> {
    let began = Instant::now();
    let answer = rest::get(cluster.http(), &cluster.url(number), path).await?.succeeded()?;
    Ok((began.elapsed(), String::from_utf8_lossy(&answer.body).into_owned()))
}

/// The first record that a page shows.
fn first_shown(page: &str) -> Option<u64> {
    page.split("<tr id=\"at-").nth(1)?.split('"').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_ten_million_records_is_found_at_once() -> Result<()> {
    const BATCH: u64 = 20_000;
    let cluster = Cluster::calm(3, &["--set", "limits.batch_records_max=20000"]).await?;
    let long = log(&workload::client(&cluster.urls())?, "long").await?;
    let records = batch(BATCH, 8)?;
    let (count, began) = (short_or_long(5, 500), Instant::now());
    // Which batch was there when.
    let mut marks = Vec::new();
    for _ in 0..count {
        long.append_batch(&records).await?;
        marks.push(SystemTime::now());
    }
    let total = count * BATCH;
    print(&format!("{total} records after {:?}", began.elapsed()));
    let leader = cluster.leader().await?;
    let follower = cluster.follower().await?;
    for number in [leader, follower] {
        until("it has all of them", PATIENCE, async || {
            Ok((cluster.describe(number, &"long".parse()?).await?.tail.get() == total)
                .then_some(()))
        })
        .await?;
    }
    let mut chance = Chance::new(7);
    for (who, number) in [("leader", leader), ("follower", follower)] {
        let (mut by_position, mut by_time) = (Vec::new(), Vec::new());
        for _ in 0..short_or_long(10, 300) {
            let position = chance.below(total);
            let (took, shown) =
                page(&cluster, number, &format!("/logs/long?from={position}")).await?;
            assert_eq!(first_shown(&shown), Some(position), "{shown}");
            by_position.push(took);

            // After a batch was acknowledged, and before the next but one.
            let known = usize::try_from(chance.below(count - 2))?;
            let at = marks[known].duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
            let (took, shown) =
                page(&cluster, number, &format!("/logs/long?from={}", time(at)?)).await?;
            let first = first_shown(&shown).context("there are later ones")?;
            let known = u64::try_from(known)?;
            let expected = known * BATCH..=(known + 2) * BATCH;
            assert!(expected.contains(&first), "{first} is not in {expected:?}");
            by_time.push(took);
        }
        for (what, took) in [("position", &by_position), ("time", &by_time)] {
            let [half, most, all] = [50, 95, 100].map(|percent| percentile(took, percent));
            print(&format!("{who}, by {what}: p50 {half:?}, p95 {most:?}, worst {all:?}"));
            assert!(!is_long() || most < Some(SEEK_MAX), "by {what}: {most:?}");
        }
    }
    cluster.finish();
    Ok(())
}

/// Milliseconds since 1970 as an address of a page says it.
fn time(millis: u128) -> Result<String> {
    Ok(client::types::Timestamp::new(u64::try_from(millis)?).to_string())
}

/// Gathers what kept the tab from answering; `longtask` tells of everything beyond 50 ms.
const WATCH: &str = "
    window.tasks = [];
    new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((one) => Math.ceil(one.duration))))
        .observe({ type: 'longtask' });";
/// Keeps it from answering for a while.
const PLANTED: &str =
    "setTimeout(() => { const end = performance.now() + 300; while (performance.now() < end); })";

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_follows_ten_thousand_records_a_second_still_answers() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let cluster = Cluster::calm(3, &[]).await?;
    let fast = log(&workload::client(&cluster.urls())?, "fast").await?;
    let browser = driver.browser(cluster.folder()).await?;
    let base = cluster.url(cluster.follower().await?);
    browser.go(&format!("{base}/logs/fast?follow=1")).await?;
    browser.text("[data-test=pause]").await?;
    browser.run(WATCH, json!([])).await?;
    browser.run(PLANTED, json!([])).await?;
    let tasks = async || -> Result<Vec<u64>> {
        Ok(serde_json::from_value(browser.run("return window.tasks", json!([])).await?)?)
    };
    let heard = browser.once("what keeps a tab from answering is seen", async || {
        Ok(tasks().await?.into_iter().find(|millis| *millis >= 290))
    });
    heard.await?;
    browser.run("window.tasks = []", json!([])).await?;

    let per_batch = FOLLOWED_RATE * u64::try_from(FOLLOWED_EVERY.as_millis())? / 1_000;
    let records = batch(per_batch, 100)?;
    let length = short_or_long(Duration::from_secs(4), Duration::from_secs(30));
    let mut ticks = interval(FOLLOWED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut batches) = (Instant::now(), 0);
    while began.elapsed() < length {
        ticks.tick().await;
        fast.append_batch(&records).await?;
        batches += 1;
    }
    let rate = batches * per_batch * 1_000 / u64::try_from(began.elapsed().as_millis())?;
    let tail = batches * per_batch;
    // The screen has come to the end, and says how much of it it never showed.
    browser
        .once("the newest record is on the screen", async || {
            let next = "return Number(document.getElementById('followed').dataset.next)";
            Ok((browser.run(next, json!([])).await? == json!(tail)).then_some(()))
        })
        .await?;
    browser.says("[data-test=skipped]", "came too fast to be shown").await?;
    let tasks = tasks().await?;
    let worst = Duration::from_millis(tasks.iter().copied().max().unwrap_or(0));
    print(&format!("{rate} records/s; {} tasks beyond 50 ms, the longest {worst:?}", tasks.len()));
    if is_long() {
        assert!(rate >= FOLLOWED_RATE * 9 / 10, "only {rate} a second");
        assert!(worst <= TASK_MAX, "the tab did not answer for {worst:?}: {tasks:?}");
    }
    browser.close().await?;
    cluster.finish();
    Ok(())
}
