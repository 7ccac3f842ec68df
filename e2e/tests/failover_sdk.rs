//! Leaders are killed under a client of the SDK as it is by default: it sees latency, and no error.
//!
//! Method: 64 tasks append one record at a time through one client, and a producer submits beside them, while one
//! leader after the other is killed. Whoever is told an error ends the test; in the end, both logs hold as many
//! records as were acknowledged. `just prove` runs the long form, whose figures are the ones that count.

use anyhow::{Context, Result, ensure};
use client::types::LogSettings;
use client::{Client, Log};
use quorate_e2e::{
    cluster::Cluster,
    figures::Gaps,
    history::{Action, Appended, Outcome, Recorder},
    process::print,
    scale::{is_long, short_or_long},
    wait::{PATIENCE, until},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

const CALLERS: usize = 64;
/// How often each of them appends, and how often the producer submits.
const PACE: Duration = Duration::from_millis(20);
const PRODUCER_PACE: Duration = Duration::from_millis(1);
const KILL_LEADER: &str = "kill leader";
/// Appends that must be acknowledged before and after each kill.
const APPENDS_BETWEEN: usize = 500;
/// How long appends may rest when a leader dies.
const GAP_MAX: Duration = Duration::from_millis(1500);

/// Those who append to one log, and when they were answered.
struct Load {
    log: Log,
    told: Arc<Recorder>,
    tasks: JoinSet<Result<Duration>>,
}

impl Load {
    async fn on(quorate: &Client, name: &str) -> Result<Self> {
        let log = quorate.log(name.parse()?);
        log.create(&LogSettings::default()).await?;
        Ok(Self { log, told: Arc::default(), tasks: JoinSet::new() })
    }

    /// Waits until so many more are acknowledged; fails if somebody was told an error.
    async fn progress(&mut self, appends: usize) -> Result<()> {
        let wanted = self.told.appends_done() + appends;
        let what = format!("{appends} more appends to {} are acknowledged", self.log.name());
        until(&what, PATIENCE, async || {
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
            }
            Ok((self.told.appends_done() >= wanted).then_some(()))
        })
        .await
    }

    /// Waits for all; how long the longest call took.
    async fn finish(&mut self) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        while let Some(ended) = self.tasks.join_next().await {
            longest = longest.max(ended??);
        }
        let tail = self.log.tail().await?;
        assert_eq!(tail.get(), self.told.appends_done() as u64, "each is stored once");
        Ok(longest)
    }

    fn gaps(&self) -> Gaps {
        Gaps::around(&self.told.history(), KILL_LEADER)
    }
}

fn acknowledged(told: &Recorder, log: &Log, at: u64) {
    let outcome = Outcome::Done(Appended { first: at, next: at + 1 });
    let log = log.name().to_string();
    let action = Action::Append { log, values: Vec::new(), stamp: None, outcome };
    told.record("caller", told.now(), action);
}

/// Appends one record after the other.
async fn call(log: Log, told: Arc<Recorder>, stop: Arc<AtomicBool>) -> Result<Duration> {
    let mut longest = Duration::ZERO;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let asked = Instant::now();
        let at = log.append(vec![b'x'; 100]).await.context("an append was told an error")?;
        longest = longest.max(asked.elapsed());
        acknowledged(&told, &log, at.first.get());
    }
    Ok(longest)
}

/// Submits one record after the other, whatever became of those before.
async fn produce(log: Log, told: Arc<Recorder>, stop: Arc<AtomicBool>) -> Result<Duration> {
    let producer = log.producer().start();
    let (submitted, mut tickets) = mpsc::unbounded_channel();
    let answered = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while let Some((asked, ticket)) = tickets.recv().await {
            let asked: Instant = asked;
            let ticket: client::Ticket = ticket;
            let at = ticket.await.context("a ticket was told an error")?;
            longest = longest.max(asked.elapsed());
            acknowledged(&told, &log, at.position.get());
        }
        Ok(longest)
    });
    let mut pace = interval(PRODUCER_PACE);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let asked = Instant::now();
        submitted.send((asked, producer.submit(vec![b'x'; 100]).await?)).ok();
    }
    drop(submitted);
    producer.close().await?;
    answered.await?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_latency_and_no_error_while_leaders_are_killed() -> Result<()> {
    let kills = short_or_long(3, 25);
    let mut cluster = Cluster::start(3).await?;
    let quorate = Client::connect(&cluster.urls().join(",")).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut single, mut produced) =
        (Load::on(&quorate, "single").await?, Load::on(&quorate, "produced").await?);
    for _ in 0..CALLERS {
        single.tasks.spawn(call(single.log.clone(), Arc::clone(&single.told), Arc::clone(&stop)));
    }
    let (log, told) = (produced.log.clone(), Arc::clone(&produced.told));
    produced.tasks.spawn(produce(log, told, Arc::clone(&stop)));

    for _ in 0..kills {
        single.progress(APPENDS_BETWEEN).await?;
        produced.progress(APPENDS_BETWEEN).await?;
        let leader = cluster.leader().await?;
        for load in [&single, &produced] {
            load.told.record_fault(KILL_LEADER);
        }
        cluster.replica_mut(leader).kill()?;
        single.progress(APPENDS_BETWEEN).await?;
        produced.progress(APPENDS_BETWEEN).await?;
        cluster.replica_mut(leader).start()?;
        cluster.healed().await?;
    }
    stop.store(true, Ordering::Relaxed);
    for (what, load) in [("appends", &mut single), ("producer", &mut produced)] {
        let longest = load.finish().await?;
        let gaps = load.gaps();
        print(&format!("{what}: {gaps}; longest call {longest:.1?}"));
        assert_eq!(gaps.count(), kills, "{what} went on after each kill");
        ensure!(!is_long() || gaps.worst() <= Some(GAP_MAX), "{what}: {gaps}");
    }
    cluster.finish();
    Ok(())
}
