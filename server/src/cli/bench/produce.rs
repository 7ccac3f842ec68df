//! The SDK as a program has it: producers as fast as they can, and one follower that has to keep up.
//!
//! Here the load is what is measured, so nothing of it is lean. Each record says when it was submitted.
//! One of so many tickets is waited for: records are stored in order, so it speaks for those before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use client::api::reading::ReadFrom;
use client::types::{LogName, LogSettings, Position};
use client::{Log, Outcome, ProduceError, Ticket};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::Arguments;
use super::report::{micros, rounded, shown};
use crate::cli::output::Table;
use crate::cli::{Context, Exit, Failure, service};
use crate::metrics::histogram::Histogram;
use crate::world::{Clock, Instant};

/// One ticket in so many is waited for.
const TICKET_ONE_IN: u64 = 100;
/// So many digits say when a record was submitted.
const DIGITS: usize = 16;

/// What producers and follower achieved.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ProduceReport {
    producers: u32,
    record_bytes: u64,
    seconds: f64,
    records: u64,
    records_per_second: f64,
    mb_per_second: f64,
    /// From submission to acknowledgement.
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    followed: u64,
    followed_per_second: f64,
    /// From submission until the follower had it.
    followed_p50_us: f64,
    followed_p99_us: f64,
    followed_max_us: f64,
    /// How long after the last acknowledgement the follower had everything.
    caught_up_ms: f64,
}

impl ProduceReport {
    fn table(&self) -> Table {
        let quantiles =
            |p50, p99, max| format!("p50 {}   p99 {}   max {}", shown(p50), shown(p99), shown(max));
        Table::pairs()
            .pair(
                "produced",
                format!(
                    "{} records/s   {} MB/s   {} producers   {} s",
                    self.records_per_second, self.mb_per_second, self.producers, self.seconds
                ),
            )
            .pair("  acknowledged", quantiles(self.p50_us, self.p99_us, self.max_us))
            .pair("followed", format!("{} records/s", self.followed_per_second))
            .pair(
                "  after submission",
                quantiles(self.followed_p50_us, self.followed_p99_us, self.followed_max_us),
            )
            .pair("  caught up", format!("{} ms after the last one", self.caught_up_ms))
    }
}

/// What all tasks share.
struct Course {
    clock: Clock,
    began: Instant,
    is_measured: AtomicBool,
    is_over: AtomicBool,
    acknowledged: AtomicU64,
    /// Where the log ends, once everything is acknowledged.
    end: AtomicU64,
    followed: AtomicU64,
}

impl Course {
    fn nanos(&self) -> u64 {
        u64::try_from(self.clock.since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn counts(&self) -> (u64, u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&self.acknowledged), of(&self.followed), self.nanos())
    }

    fn took(&self, since: u64, histogram: &mut Histogram) {
        if self.is_measured.load(Ordering::Relaxed) {
            histogram.record(Duration::from_nanos(self.nanos().saturating_sub(since)));
        }
    }
}

/// Runs producers and the follower, and compares.
pub(super) async fn run(
    producers: u32,
    arguments: &Arguments,
    context: &Context,
) -> Result<(), Failure> {
    let name = LogName::new(&arguments.log)
        .map_err(|error| Failure::usage(format!("--log {}", arguments.log)).because(error))?;
    let log = service::connect(context)?.log(name);
    log.create(&LogSettings::default()).await.map_err(service::failed)?;
    let tail = log.tail().await.map_err(service::failed)?;
    let course = Arc::new(Course {
        clock: Clock::real(),
        began: Clock::real().now(),
        is_measured: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        end: AtomicU64::new(u64::MAX),
        followed: AtomicU64::new(0),
    });
    let mut following = JoinSet::new();
    following.spawn(follow(log.clone(), tail, Arc::clone(&course)));
    let mut producing = JoinSet::new();
    for _ in 0..producers {
        producing.spawn(produce(log.clone(), arguments.record_bytes, Arc::clone(&course)));
    }
    course.clock.sleep(arguments.warm_up).await;
    let before = course.counts();
    course.is_measured.store(true, Ordering::Relaxed);
    course.clock.sleep(arguments.duration).await;
    let after = course.counts();
    course.is_measured.store(false, Ordering::Relaxed);
    course.is_over.store(true, Ordering::Relaxed);
    let mut acknowledged = Histogram::default();
    while let Some(ended) = producing.join_next().await {
        acknowledged.merge(&ended.map_err(broken)??);
    }
    let settled = course.nanos();
    course.end.store(log.tail().await.map_err(service::failed)?.get(), Ordering::Relaxed);
    let ended = following.join_next().await.expect("one follows");
    let (followed, caught_up) = ended.map_err(broken)??;
    let seconds = Duration::from_nanos(after.2 - before.2).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "figures are for people")]
    let per_second = |before: u64, after: u64| rounded((after - before) as f64 / seconds);
    let records_per_second = per_second(before.0, after.0);
    #[expect(clippy::cast_precision_loss, reason = "figures are for people")]
    let record_bytes = arguments.record_bytes as f64;
    let report = ProduceReport {
        producers,
        record_bytes: arguments.record_bytes,
        seconds: rounded(seconds),
        records: after.0 - before.0,
        records_per_second,
        mb_per_second: rounded(records_per_second * record_bytes / 1e6),
        p50_us: micros(acknowledged.quantile(50_000)),
        p99_us: micros(acknowledged.quantile(99_000)),
        max_us: micros(acknowledged.max()),
        followed: after.1 - before.1,
        followed_per_second: per_second(before.1, after.1),
        followed_p50_us: micros(followed.quantile(50_000)),
        followed_p99_us: micros(followed.quantile(99_000)),
        followed_max_us: micros(followed.max()),
        caught_up_ms: rounded(
            Duration::from_nanos(caught_up.saturating_sub(settled)).as_secs_f64() * 1e3,
        ),
    };
    Ok(context.output.value(&report, ProduceReport::table)?)
}

/// Submits until the measurement is over, and waits until everything is stored.
async fn produce(log: Log, bytes: u64, course: Arc<Course>) -> Result<Histogram, Failure> {
    let producer = log.producer().start();
    let (tickets, waiting) = mpsc::unbounded_channel();
    let mut settling = JoinSet::new();
    settling.spawn(settle(waiting, Arc::clone(&course)));
    let length = usize::try_from(bytes).unwrap_or(usize::MAX).max(DIGITS);
    let mut number = 0_u64;
    while !course.is_over.load(Ordering::Relaxed) {
        let at = course.nanos();
        let mut body = format!("{at:0DIGITS$}").into_bytes();
        body.resize(length, b'.');
        let ticket = producer.submit(body).await.map_err(not_produced)?;
        number += 1;
        if number.is_multiple_of(TICKET_ONE_IN) {
            // Its other end goes with this one.
            tickets.send((at, ticket)).ok();
        }
    }
    producer.close().await.map_err(not_produced)?;
    drop(tickets);
    settling.join_next().await.expect("one settles").map_err(broken)?
}

async fn settle(
    mut tickets: mpsc::UnboundedReceiver<(u64, Ticket)>,
    course: Arc<Course>,
) -> Result<Histogram, Failure> {
    let mut acknowledged = Histogram::default();
    while let Some((at, ticket)) = tickets.recv().await {
        ticket.await.map_err(not_produced)?;
        course.acknowledged.fetch_add(TICKET_ONE_IN, Ordering::Relaxed);
        course.took(at, &mut acknowledged);
    }
    Ok(acknowledged)
}

/// Follows to the end, once that is known, and tells when it was there.
async fn follow(
    log: Log,
    tail: Position,
    course: Arc<Course>,
) -> Result<(Histogram, u64), Failure> {
    let mut follow = log.follow(ReadFrom::Position(tail));
    let mut followed = Histogram::default();
    let mut next = tail.get();
    while next < course.end.load(Ordering::Relaxed) {
        let page = follow.next_page();
        // Nothing comes behind the end, so that has to be looked at now and then.
        let waited = course.clock.within(Duration::from_millis(10), page).await;
        let Ok(page) = waited else { continue };
        let Some(records) = page.map_err(service::failed)? else { break };
        next += records.len() as u64;
        course.followed.fetch_add(records.len() as u64, Ordering::Relaxed);
        for record in &records {
            let digits = record.body.get(..DIGITS).unwrap_or_default();
            let at = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
            if let Some(at) = at {
                course.took(at, &mut followed);
            }
        }
    }
    Ok((followed, course.nanos()))
}

fn not_produced(error: ProduceError) -> Failure {
    let exit = match error.outcome() {
        Outcome::Unknown => Exit::Unknown,
        Outcome::NotDone => Exit::Failed,
    };
    Failure::new(exit, "a record was not acknowledged").because(error)
}

fn broken(error: JoinError) -> Failure {
    Failure::new(Exit::Failed, "a part of the measurement broke off").because(error)
}
