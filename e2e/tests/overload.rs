//! Far more is asked for than fits: what is taken is done, the rest is refused in time, and nobody is elected.
//!
//! Method: limits so small that a small load is many times too much, callers that come back at once when
//! they are refused, and beside them the seeded workload, whose history is checked. How much is done meanwhile,
//! compared with the peak, is what `quorate bench --overload` measures.

use anyhow::{Context, Result, bail, ensure};
use client::{
    api::{reading::ReadFrom, records::Appended},
    types::{LogSettings, Position},
};
use quorate_e2e::{
    check::{Coverage, check},
    cluster::Cluster,
    process::print,
    rest::{self, Answer},
    wait::{PATIENCE, until},
    workload::{self, Load, Workload},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const FLOOD: &str = "flood";
const CALLERS: usize = 200;
const BODY_BYTES: usize = 256 << 10;
const MIB: u64 = 1 << 20;
/// What a replica may hold more under the flood than before it: up to 90 MiB were seen, and 180 without the limits on
/// appends.
const GROWTH_MAX: u64 = 128 * MIB;
const CONNECTIONS: u64 = 5_000;
/// Descriptors that a process of the test needs beside connections.
const DESCRIPTORS_KEPT: u64 = 500;

/// Few appends at a time, and little memory for anything. Timings for processes that may have to wait for a processor.
const SETTINGS: &[&str] = &[
    "limits.record_bytes_max=256KiB",
    "limits.batch_bytes_max=512KiB",
    "limits.append_bytes_max=4MiB",
    "limits.appends_max=16",
    "journal.suffix_bytes_max=2MiB",
    "state.suffix_bytes_max=2MiB",
    "state.unflushed_bytes_max=16MiB",
    "state.flush_bytes=2MiB",
    "state.cache_bytes=8MiB",
];
const TIMINGS: &[&str] =
    &["timings.heartbeat=200ms", "timings.election_min=3s", "timings.election_max=5s"];

async fn start(settings: &[&str]) -> Result<Cluster> {
    let arguments: Vec<&str> =
        settings.iter().chain(TIMINGS).flat_map(|setting| ["--set", setting]).collect();
    Cluster::start_with(3, &arguments).await
}

/// What the callers of a flood were told.
#[derive(Debug, Default)]
struct Told {
    is_over: AtomicBool,
    done: AtomicUsize,
    refused: AtomicUsize,
}

impl Told {
    fn counts(&self) -> (usize, usize) {
        (self.done.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

/// Done, or refused for the moment; whatever else is said is an error.
fn acknowledged(answer: &Answer) -> Result<Option<Position>> {
    match answer.status {
        200 => Ok(Some(answer.json::<Appended>()?.first)),
        429 | 503 => {
            ensure!(answer.header("retry-after").is_some(), "it is told when to come back");
            answer.problem()?;
            Ok(None)
        }
        _ => bail!("neither done nor refused for the moment: {}", answer.quoted()),
    }
}

/// One append after the other, whatever comes of it. Answers with what was acknowledged.
async fn insist(url: String, caller: usize, told: Arc<Told>) -> Result<Vec<(Position, String)>> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let mut held = Vec::new();
    for number in 0.. {
        if told.is_over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{caller}-{number} ");
        let mut body = name.clone().into_bytes();
        body.resize(BODY_BYTES, b'.');
        let answer = rest::append(&http, &url, FLOOD, &body).await?;
        match acknowledged(&answer)? {
            Some(position) => {
                told.done.fetch_add(1, Ordering::Relaxed);
                held.push((position, name));
            }
            None => {
                told.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(held)
}

/// The most memory that a replica ever held, or what it holds now.
fn memory(cluster: &Cluster, replica: usize, which: &str) -> Result<u64> {
    let id = cluster.replica(replica).id().context("it runs")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    let kib =
        line.and_then(|line| line.split_whitespace().next()).context("a process has a size")?;
    Ok(kib.parse::<u64>()? << 10)
}

/// Everything acknowledged is in the log at its position.
async fn assert_kept(cluster: &Cluster, held: Vec<(Position, String)>) -> Result<()> {
    let mut names = BTreeMap::from_iter(held);
    let log = workload::client(&cluster.urls())?.log(FLOOD.parse()?);
    let mut follow = log.follow(ReadFrom::First);
    while let Some(last) = names.last_key_value().map(|(position, _)| *position) {
        for record in follow.next_page().await?.context("nobody sealed the log")? {
            if let Some(name) = names.remove(&record.position) {
                assert!(record.body.starts_with(name.as_bytes()), "{} is {name}", record.position);
            }
            assert!(record.position < last || names.is_empty(), "lost: {names:?}");
        }
    }
    Ok(())
}

async fn assert_nobody_was_elected(cluster: &Cluster, before: &[(usize, u64)]) -> Result<()> {
    for (replica, term) in before {
        let status = cluster.answered(*replica).await?;
        assert_eq!(status.term.get(), *term, "replica {replica} stays in its term");
    }
    Ok(())
}

async fn terms(cluster: &Cluster) -> Result<Vec<(usize, u64)>> {
    let mut terms = Vec::new();
    for replica in 0..cluster.len() {
        let status = cluster.answered(replica).await?;
        terms.push((replica, status.term.get()));
    }
    Ok(terms)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_in_time_and_what_was_taken_is_kept() -> Result<()> {
    let mut cluster = start(SETTINGS).await?;
    let log = workload::client(&cluster.urls())?.log(FLOOD.parse()?);
    log.create(&LogSettings::default()).await?;
    let load = Load { producers: 4, body_bytes: 1_000, ..Load::on("orders", 26)? };
    let workload = Workload::start(&cluster, load).await?;
    workload.progress(50).await?;
    let before = terms(&cluster).await?;
    let held_before: Vec<u64> = (0..cluster.len())
        .map(|replica| memory(&cluster, replica, "VmRSS"))
        .collect::<Result<_>>()?;

    workload.recorder().record_fault(FLOOD);
    let told = Arc::new(Told::default());
    let mut callers = JoinSet::new();
    let leader = cluster.leader().await?;
    for caller in 0..CALLERS {
        // Most ask the leader itself; the others are carried there.
        let replica = if caller % 4 == 0 { caller / 4 % cluster.len() } else { leader };
        callers.spawn(insist(cluster.url(replica), caller, told.clone()));
    }
    until("the flood is served and refused", PATIENCE, async || {
        let (done, refused) = told.counts();
        Ok((done >= 200 && refused >= 1_000).then_some(()))
    })
    .await
    .with_context(|| format!("done and refused: {:?}", told.counts()))?;
    // Whoever does not insist gets its turn, too.
    workload.progress(20).await?;
    told.is_over.store(true, Ordering::Relaxed);
    let mut held = Vec::new();
    while let Some(caller) = callers.join_next().await {
        held.extend(caller??);
    }
    let (done, refused) = told.counts();

    // What was taken may still be on its way to the store; until it has caught up one is told to come back.
    let began = Instant::now();
    until("afterwards one is served", PATIENCE, async || {
        let url = cluster.url(leader);
        let answer = rest::append(cluster.http(), &url, FLOOD, b"afterwards").await?;
        Ok(acknowledged(&answer)?.map(drop))
    })
    .await?;
    print(&format!("{done} done, {refused} refused, afterwards {:.1?}", began.elapsed()));
    assert_nobody_was_elected(&cluster, &before).await?;
    for (replica, before) in held_before.iter().enumerate() {
        let growth = memory(&cluster, replica, "VmHWM")?.saturating_sub(*before);
        print(&format!("replica {replica} grew by {} MiB", growth / MIB));
        assert!(growth <= GROWTH_MAX, "{} MiB", growth / MIB);
    }
    assert_kept(&cluster, held).await?;

    let history = workload.finish(&mut cluster).await?;
    let required = Coverage {
        faults: BTreeMap::from([(FLOOD.to_owned(), 1)]),
        replicas: 3,
        appends: 20,
        reads: 10,
    };
    print(&check(&history, &required).assert_passed().to_string());
    cluster.finish();
    Ok(())
}

/// As many connections as this process, and with it each replica, has descriptors for.
fn connections() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // If it cannot be raised, there are fewer connections.
    setrlimit(Resource::Nofile, raised).ok();
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // A replica keeps a third of its own for requests that it carries.
    CONNECTIONS.min((most.saturating_sub(DESCRIPTORS_KEPT)) / 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_that_connects_at_once_is_answered_and_nobody_is_elected() -> Result<()> {
    let cluster = start(&[]).await?;
    let log = workload::client(&cluster.urls())?.log(FLOOD.parse()?);
    log.create(&LogSettings::default()).await?;
    let before = terms(&cluster).await?;
    let leader = cluster.leader().await?;
    let addr = cluster.replica(leader).recipe().listen;
    let mut callers = JoinSet::new();
    let count = connections();
    for number in 0..count {
        callers.spawn(async move {
            let head = format!("POST /v1/logs/{FLOOD}/records HTTP/1.1\r\n");
            let name = format!("{number} ");
            let answer = rest::send_refused(addr, &head, name.as_bytes()).await?;
            anyhow::Ok(acknowledged(&answer)?.map(|position| (position, name)))
        });
    }
    let mut held = Vec::new();
    while let Some(answered) = callers.join_next().await {
        held.extend(answered??);
    }
    print(&format!("{} of {count} done", held.len()));
    assert!(!held.is_empty(), "some are served");
    assert_nobody_was_elected(&cluster, &before).await?;
    assert_kept(&cluster, held).await?;
    cluster.finish();
    Ok(())
}
