//! Producers and consumers of the SDK as they are by default, and what they were told.
//!
//! Each producer submits numbered records and comes back now and then, half of them under an id of
//! their own. Each consumer keeps what it read when it commits, throws away what it read since, and
//! comes back at any time. Any error that one of them is told ends the delivery: within its deadline
//! the SDK bears whatever is done to the group.
//!
//! Not here: harm (the tests do that).

use crate::chance::Chance;
use crate::wait::{PATIENCE, until};
use anyhow::{Context, Result, ensure};
use client::api::reading::ReadFrom;
use client::types::{LogName, LogSettings, Position, Record};
use client::{Client, Log, Ticket};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

/// What a producer submits at a time, and how often.
const BURST: u64 = 4;
const PACE: Duration = Duration::from_millis(10);
/// So many records a life of a producer has.
const LIFE_RECORDS: u64 = 2_000;
/// A life of a consumer has so many pages at most, and one in so many is committed.
const LIFE_PAGES_MAX: u64 = 100;
const COMMIT_ONE_IN: u64 = 3;

/// One record: by which producer, and which one of it.
type Item = (u32, u64);

/// Producers and consumers at work.
#[derive(Debug)]
pub struct Delivery {
    log: Log,
    began: Instant,
    acknowledged: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    end: watch::Sender<Option<Position>>,
    producers: JoinSet<Result<Produced>>,
    consumers: JoinSet<Result<Consumed>>,
}

#[derive(Debug)]
struct Produced {
    who: u32,
    /// Of each of its records, where it is.
    at: Vec<Position>,
    lives: usize,
}

#[derive(Debug)]
struct Consumed {
    items: Vec<Item>,
    lives: usize,
}

impl Delivery {
    /// Creates the log and starts everybody, each with a client of its own.
    pub async fn start(
        urls: &[String],
        name: &LogName,
        (producers, consumers): (u32, u32),
        seed: u64,
    ) -> Result<Self> {
        let connect = || Client::builder().seeds(&urls.join(","))?.build();
        let log = connect()?.log(name.clone());
        log.create(&LogSettings::default()).await?;
        let (stop, end) = (watch::Sender::new(false), watch::Sender::new(None));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (mut producing, mut consuming) = (JoinSet::new(), JoinSet::new());
        for who in 0..producers {
            let log = connect()?.log(name.clone());
            producing.spawn(produce(who, log, stop.subscribe(), Arc::clone(&acknowledged)));
        }
        for who in 0..consumers {
            let log = connect()?.log(name.clone());
            let chance = Chance::new(seed + u64::from(who));
            consuming.spawn(consume(who, log, end.subscribe(), chance));
        }
        let began = Instant::now();
        Ok(Self { log, began, acknowledged, stop, end, producers: producing, consumers: consuming })
    }

    /// Waits until so many more records have been acknowledged than are now. Fails if somebody was told
    /// an error.
    pub async fn progress(&mut self, records: u64) -> Result<()> {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + records;
        let what = format!("{records} more records are acknowledged");
        until(&what, PATIENCE, async || {
            if let Some(ended) = self.producers.try_join_next() {
                ended??;
            }
            if let Some(ended) = self.consumers.try_join_next() {
                ended??;
            }
            Ok((self.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(()))
        })
        .await
    }

    /// Stops the producers, lets every consumer come to the end, and compares what all of them were told
    /// with what the log holds.
    pub async fn finish(mut self) -> Result<Delivered> {
        self.stop.send_replace(true);
        let produced = join_all(&mut self.producers).await.context("a producer failed")?;
        let took = self.began.elapsed();
        let tail = self.log.tail().await?;
        self.end.send_replace(Some(tail));
        let consumed = join_all(&mut self.consumers).await.context("a consumer failed")?;
        let held = read_all(&self.log, tail).await?;
        judge(&held, &produced, &consumed)?;
        Ok(Delivered {
            records: held.len(),
            took,
            lives_of_producers: produced.iter().map(|produced| produced.lives).sum(),
            lives_of_consumers: consumed.iter().map(|consumed| consumed.lives).sum(),
        })
    }
}

/// A delivery in which nothing was lost, doubled or out of order.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// How many records.
    pub records: usize,
    /// How long producers were at work.
    pub took: Duration,
    /// How often a producer began.
    pub lives_of_producers: usize,
    /// How often a consumer began.
    pub lives_of_consumers: usize,
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records in {:.1?}, by {} lives of producers, read by {} lives of consumers",
            self.records, self.took, self.lives_of_producers, self.lives_of_consumers
        )
    }
}

/// Whether everybody was told what the log holds, and the log holds what was submitted.
fn judge(held: &[Item], produced: &[Produced], consumed: &[Consumed]) -> Result<()> {
    let mut positions: BTreeMap<u32, Vec<Position>> = BTreeMap::new();
    for (position, (who, number)) in held.iter().enumerate() {
        let of_it = positions.entry(*who).or_default();
        let expected = of_it.len() as u64;
        ensure!(*number == expected, "at {position}: record {number} of {who}, not {expected}");
        of_it.push(Position::new(position as u64));
    }
    for Produced { who, at, .. } in produced {
        let holds = positions.remove(who).unwrap_or_default();
        ensure!(
            holds == *at,
            "producer {who} was told {} positions, {} hold",
            at.len(),
            holds.len()
        );
    }
    ensure!(positions.is_empty(), "nobody submitted records of {:?}", positions.keys());
    for (who, consumed) in consumed.iter().enumerate() {
        ensure!(consumed.items == held, "consumer {who} has read {} records", consumed.items.len());
    }
    Ok(())
}

async fn produce(
    who: u32,
    log: Log,
    stop: watch::Receiver<bool>,
    acknowledged: Arc<AtomicU64>,
) -> Result<Produced> {
    let start = || {
        let producer = log.producer();
        let id = format!("producer-{who}").parse();
        // Every second one takes over from its earlier life, the others are somebody new each time.
        if who.is_multiple_of(2) {
            id.map(|id| producer.id(id).start())
        } else {
            Ok(producer.start())
        }
    };
    let (tickets, waiting) = mpsc::unbounded_channel();
    let settled = tokio::spawn(settle(waiting, acknowledged));
    let (mut producer, mut lives) = (start()?, 1);
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    while !*stop.borrow() && !settled.is_finished() {
        pace.tick().await;
        for _ in 0..BURST {
            tickets.send(producer.submit(format!("{who} {number}")).await?).ok();
            number += 1;
        }
        if number % LIFE_RECORDS == 0 {
            producer.close().await?;
            (producer, lives) = (start()?, lives + 1);
        }
    }
    producer.close().await?;
    drop(tickets);
    let at = settled.await??;
    ensure!(at.len() as u64 == number, "producer {who}: {} of {number} are settled", at.len());
    Ok(Produced { who, at, lives })
}

/// Waits for each ticket in its turn.
async fn settle(
    mut tickets: mpsc::UnboundedReceiver<Ticket>,
    acknowledged: Arc<AtomicU64>,
) -> Result<Vec<Position>> {
    let mut at = Vec::new();
    while let Some(ticket) = tickets.recv().await {
        at.push(ticket.await?.position);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(at)
}

async fn consume(
    who: u32,
    log: Log,
    mut end: watch::Receiver<Option<Position>>,
    mut chance: Chance,
) -> Result<Consumed> {
    let name = format!("consumer-{who}").parse()?;
    let (mut kept, mut lives) = (Vec::<Item>::new(), 0);
    loop {
        let mut consumer = log.consumer(Clone::clone(&name)).start().await?;
        lives += 1;
        let (begins, committed) = (consumer.committed().get(), kept.len() as u64);
        ensure!(begins == committed, "consumer {who} begins at {begins}, not at {committed}");
        let mut read = Vec::new();
        let mut pages = 1 + chance.below(LIFE_PAGES_MAX);
        while pages > 0 {
            let behind = (kept.len() + read.len()) as u64;
            let is_last = end.borrow_and_update().is_some_and(|end| behind >= end.get());
            if is_last || (!read.is_empty() && chance.is_one_in(COMMIT_ONE_IN)) {
                consumer.commit().await?;
                kept.append(&mut read);
            }
            if is_last {
                return Ok(Consumed { items: kept, lives });
            }
            tokio::select! {
                changed = end.changed() => changed.context("the delivery is gone")?,
                page = consumer.next_page() => {
                    let page = page?.context("nobody sealed the log")?;
                    let first = page.first().context("a page is not empty")?.position.get();
                    ensure!(first == behind, "consumer {who} was given {first}, not {behind}");
                    read.extend(items(&page)?);
                    pages -= 1;
                }
            }
        }
    }
}

async fn read_all(log: &Log, tail: Position) -> Result<Vec<Item>> {
    let mut held = Vec::new();
    let mut follow = log.follow(ReadFrom::First);
    while (held.len() as u64) < tail.get() {
        held.extend(items(&follow.next_page().await?.context("nobody sealed the log")?)?);
    }
    Ok(held)
}

fn items(records: &[Record]) -> Result<Vec<Item>> {
    let item = |record: &Record| {
        let (who, number) = std::str::from_utf8(&record.body)?.split_once(' ').context("two")?;
        anyhow::Ok((who.parse()?, number.parse()?))
    };
    records.iter().map(item).collect()
}

async fn join_all<T: 'static>(tasks: &mut JoinSet<Result<T>>) -> Result<Vec<T>> {
    let within = timeout(PATIENCE, async {
        let mut all = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            all.push(ended??);
        }
        Ok(all)
    });
    within.await.context("it did not come to its end in time")?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn produced(at: &[u64]) -> Produced {
        Produced { who: 0, at: at.iter().copied().map(Position::new).collect(), lives: 1 }
    }

    fn verdict(held: &[Item], at: &[u64], read: &[Item]) -> Result<()> {
        judge(held, &[produced(at)], &[Consumed { items: read.to_vec(), lives: 1 }])
    }

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_found() {
        let held = [(0, 0), (0, 1)];
        assert!(verdict(&held, &[0, 1], &held).is_ok());
        assert!(verdict(&held[..1], &[0, 1], &held[..1]).is_err(), "lost");
        let doubled = [(0, 0), (0, 0)];
        assert!(verdict(&doubled, &[0], &doubled).is_err(), "doubled");
        let turned = [(0, 1), (0, 0)];
        assert!(verdict(&turned, &[1, 0], &turned).is_err(), "out of order");
        assert!(verdict(&held, &[0, 2], &held).is_err(), "told another position");
        assert!(verdict(&held, &[0, 1], &held[..1]).is_err(), "not read");
        assert!(verdict(&held, &[0, 1], &[(0, 0), (0, 0), (0, 1)]).is_err(), "read twice");
    }
}
