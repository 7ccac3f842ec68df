//! Seeded load through the SDK, every call taken down with its outcome.
//!
//! A producer appends batch after batch. One whose outcome is unknown is sent again, the same bytes
//! under the same number, until it is answered done; one that was not done is not sent again, and its
//! records must never be seen. Readers ask for fresh ranges at one replica after another; followers
//! read everything once, in order, and keep their place in a cursor now and then. No two records have
//! the same body. In the end every replica is asked what it holds.
//!
//! Not here: harm (the tests do that), and judgement (`check`).

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::history::{
    Action, Appended, Final, History, Level, Moment, Outcome, Page, Recorder, Stamp, Value,
};
use crate::wait::{PATIENCE, until};
use anyhow::{Context, Error, Result, bail, ensure};
use client::api::cluster::StateDigest;
use client::api::logs::ListQuery;
use client::api::reading::{Consistency, ReadFrom, ReadQuery};
use client::sdk::Kind;
use client::types::{
    Batch, BatchLimits, LogName, NewRecord, Position, ProducerEpoch, ProducerId, ReplicaAddr,
};
use client::{AppendError, Client, Follow, Log, RetryPolicy, Sequencer};
use std::time::Duration;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

/// How long the SDK waits for one answer, as part of a load, before it asks again.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);
/// How long the SDK goes on by itself, as part of a load, before a call is told as not done or unknown.
const CALL_DEADLINE: Duration = Duration::from_secs(3);
/// A follower sets its cursor after one in so many pages.
const CURSOR_ONE_IN: u64 = 20;

/// What is asked of the service.
#[derive(Debug, Clone)]
pub struct Load {
    /// The log, which the workload creates.
    pub log: LogName,
    /// How many producers append.
    pub producers: usize,
    /// How many followers read everything.
    pub followers: usize,
    /// How many readers ask for fresh ranges.
    pub readers: usize,
    /// The largest batch, in records.
    pub batch_records_max: u64,
    /// The size of a body, at least what its name needs.
    pub body_bytes: usize,
    /// How long a producer or reader waits from one call to the next.
    pub pace: Duration,
    /// What decides everything that is left to chance.
    pub seed: u64,
}

impl Load {
    /// A load on one log that two cores bear beside three replicas.
    pub fn on(log: &str, seed: u64) -> Result<Self> {
        Ok(Self {
            log: log.parse()?,
            producers: 16,
            followers: 4,
            readers: 2,
            batch_records_max: 4,
            body_bytes: 100,
            pace: Duration::from_millis(10),
            seed,
        })
    }
}

/// A load that runs until it is finished.
#[derive(Debug)]
pub struct Workload {
    load: Load,
    recorder: Recorder,
    stop: watch::Sender<Stop>,
    producers: JoinSet<Result<()>>,
    others: JoinSet<Result<()>>,
}

/// How far producers, readers and followers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// On and on.
    Never,
    /// Producers and readers stop; followers go on, to an end that is not known yet.
    Soon,
    /// Nobody appends any more, and the log ends here.
    At(Position),
}

impl Workload {
    /// Creates the log and starts everybody.
    pub async fn start(cluster: &Cluster, load: Load) -> Result<Self> {
        let client = client(&cluster.urls())?;
        client.log(load.log.clone()).create(&client::types::LogSettings::default()).await?;
        let (stop, stopped) = watch::channel(Stop::Never);
        let mut workload = Self {
            load,
            recorder: Recorder::default(),
            stop,
            producers: JoinSet::new(),
            others: JoinSet::new(),
        };
        workload.start_all(cluster, &stopped)?;
        Ok(workload)
    }

    /// Takes down what is done to the group.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Waits until so many more appends have been acknowledged than are now.
    pub async fn progress(&self, appends: usize) -> Result<()> {
        let wanted = self.recorder.appends_done() + appends;
        let what = format!("{appends} more appends are acknowledged");
        until(&what, PATIENCE, async || Ok((self.recorder.appends_done() >= wanted).then_some(())))
            .await
    }

    /// Stops the producers, heals the group, lets every follower see the end, and takes down what
    /// every replica holds: the log to its end, its root and cursors, membership and digest. It fails
    /// if a caller was told what no caller should be.
    pub async fn finish(self, cluster: &mut Cluster) -> Result<History> {
        let (history, failures) = self.end(cluster).await?;
        failures.into_iter().next().map_or(Ok(history), Err)
    }

    /// The same, for a service known to be broken: beside the history, why callers gave up.
    pub async fn end(mut self, cluster: &mut Cluster) -> Result<(History, Vec<Error>)> {
        cluster.start_all()?;
        cluster.healed().await?;
        self.stop.send_replace(Stop::Soon);
        let mut failures = join_all(&mut self.producers, "a producer failed").await?;
        cluster.healed().await?;

        let log = client(&cluster.urls())?.log(self.load.log.clone());
        self.stop.send_replace(Stop::At(log.tail().await?));
        failures.extend(join_all(&mut self.others, "a reader failed").await?);
        failures.extend(self.take_down_digests(cluster).await.err());
        for number in 0..cluster.len() {
            failures.extend(self.read_to_the_end(cluster, number).await.err());
        }
        Ok((self.recorder.history(), failures))
    }

    fn start_all(&mut self, cluster: &Cluster, stop: &watch::Receiver<Stop>) -> Result<()> {
        let urls = cluster.urls();
        for number in 0..self.load.producers {
            let caller = self.caller(format!("producer-{number}"), &caller(&urls)?, stop);
            self.producers.spawn(caller.produce());
        }
        for number in 0..self.load.readers {
            let caller = self.caller(format!("reader-{number}"), &caller(&urls)?, stop);
            let replicas = urls.iter().map(|url| single(url)).collect::<Result<_>>()?;
            self.others.spawn(caller.read(replicas));
        }
        for number in 0..self.load.followers {
            let caller = self.caller(format!("follower-{number}"), &caller(&urls)?, stop);
            self.others.spawn(caller.follow());
        }
        Ok(())
    }

    fn caller(&self, who: String, client: &Client, stop: &watch::Receiver<Stop>) -> Caller {
        // Everybody draws from a stream of its own, which its name and the seed decide.
        let drawn = who.bytes().fold(self.load.seed, |seed, byte| seed * 31 + u64::from(byte));
        Caller {
            chance: Chance::new(drawn),
            log: client.log(self.load.log.clone()),
            load: self.load.clone(),
            recorder: self.recorder.clone(),
            stop: stop.clone(),
            who,
        }
    }

    /// Takes down what one replica holds, and the root it claims.
    async fn read_to_the_end(&self, cluster: &Cluster, number: usize) -> Result<()> {
        let asked = self.recorder.now();
        let log = single(&cluster.url(number))?.log(self.load.log.clone());
        let described = answered(PATIENCE, async || log.describe().await).await?;
        let mut records = Vec::new();
        let mut next = described.first;
        while next < described.tail {
            let query = ReadQuery {
                consistency: Consistency::Local,
                ..ReadQuery::from(ReadFrom::Position(next))
            };
            let page = answered(PATIENCE, async || log.read(&query).await).await?;
            ensure!(page.next > next, "replica {number} shows nothing at {next} below its tail");
            next = page.next;
            records.extend(values(&page.records));
        }
        let replica = number as u64;
        let holds =
            Final { replica, trim: described.first.get(), tail: described.tail.get(), records };
        let name = &self.load.log;
        self.recorder.record("tester", asked, Action::Final { log: name.to_string(), holds });
        self.state(replica, format!("root of {name}"), described.root.to_string());
        self.state(replica, format!("cursors of {name}"), cursors(&log).await?);
        Ok(())
    }

    /// Takes down what every replica says of its state as a whole, at one entry.
    async fn take_down_digests(&self, cluster: &Cluster) -> Result<()> {
        for (replica, digest) in (0..).zip(cluster.digests().await?) {
            let StateDigest { entry, rolling, epoch, voters } = digest;
            self.state(replica, format!("rolling digest at entry {entry}"), rolling.to_string());
            let voters: Vec<String> = voters.iter().map(ToString::to_string).collect();
            let epoch = epoch.context("the group has a membership")?;
            let membership = format!("voters {} since epoch {epoch}", voters.join(", "));
            self.state(replica, "membership".to_owned(), membership);
        }
        Ok(())
    }

    /// Takes down a property of a replica's state.
    fn state(&self, replica: u64, name: String, value: String) {
        let asked = self.recorder.now();
        self.recorder.record("tester", asked, Action::Fact { replica, name, value });
    }
}

/// One of those who call.
struct Caller {
    who: String,
    log: Log,
    load: Load,
    chance: Chance,
    recorder: Recorder,
    stop: watch::Receiver<Stop>,
}

impl Caller {
    async fn produce(mut self) -> Result<()> {
        let id: ProducerId = self.who.parse()?;
        let mut producer = self.log.sequencer(id, ProducerEpoch::new(0));
        let mut pace = interval(self.load.pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        while !self.is_stopped() {
            pace.tick().await;
            let batch = self.batch(&mut number)?;
            self.append(&mut producer, batch).await?;
        }
        Ok(())
    }

    /// One batch, and as many times as it takes to learn what became of it.
    async fn append(&self, producer: &mut Sequencer, batch: Batch) -> Result<()> {
        let stamp = Stamp {
            producer: self.who.clone(),
            epoch: producer.epoch().get(),
            sequence: producer.next_sequence().get(),
        };
        let values: Vec<Value> = batch.records().map(|record| Value::of(&record.body)).collect();
        let record = |asked, outcome| {
            let (log, values, stamp) = (self.log.name().to_string(), values.clone(), stamp.clone());
            let action = Action::Append { log, values, stamp: Some(stamp), outcome };
            self.recorder.record(&self.who, asked, action);
        };
        let asked = self.recorder.now();
        let first = producer.append(batch).await;
        record(asked, outcome_of(first));
        let settled = timeout(PATIENCE, async {
            while producer.pending().is_some() {
                let asked = self.recorder.now();
                let Some(answer) = producer.resend().await.transpose() else { break };
                let refused = answer.as_ref().err().filter(|error| !error.is_retryable());
                let refused = refused.map(ToString::to_string);
                record(asked, outcome_of(answer));
                if let Some(reason) = refused {
                    bail!("a batch that may have been stored was refused: {reason}");
                }
            }
            Ok(())
        });
        settled.await.context("nobody says what became of a batch")?
    }

    /// Fresh ranges, of one replica after another: mostly near the tail, where a stale one shows.
    async fn read(mut self, replicas: Vec<Client>) -> Result<()> {
        let mut pace = interval(self.load.pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = 0;
        while !self.is_stopped() {
            pace.tick().await;
            let number = self.chance.index(replicas.len());
            let tail = self.read_at(&replicas[number], number as u64, next).await;
            if self.chance.is_one_in(50) {
                next = 0;
            } else {
                next = tail.unwrap_or(next);
            }
        }
        Ok(())
    }

    /// One linearizable read from `from`; answers with the tail it showed.
    async fn read_at(&self, client: &Client, replica: u64, from: u64) -> Option<u64> {
        let start = ReadFrom::Position(Position::new(from));
        let query = ReadQuery { limit: Some(100), ..ReadQuery::from(start) };
        let asked = self.recorder.now();
        let log = client.log(self.log.name().clone());
        let (outcome, tail) = match log.read(&query).await {
            Ok(page) => {
                let tail = Some(page.tail.get());
                let records = values(&page.records).collect();
                (Outcome::Done(Page { records, tail, replica }), tail)
            }
            // "Beyond the tail" is an answer, too: it claims a tail, which may be a stale one.
            Err(error) => match error.problem().and_then(|problem| problem.actual.tail) {
                Some(tail) => {
                    let page = Page { records: Vec::new(), tail: Some(tail.get()), replica };
                    (Outcome::Done(page), None)
                }
                None => (Outcome::NotDone { reason: error.to_string() }, None),
            },
        };
        self.record_read(asked, from, Level::Linearizable, outcome);
        tail
    }

    /// Everything, once, from the first record to the last.
    async fn follow(mut self) -> Result<()> {
        let mut stop = self.stop.clone();
        let mut follow = self.log.follow(ReadFrom::First);
        let mut next = 0;
        loop {
            let end = *stop.borrow_and_update();
            if matches!(end, Stop::At(tail) if next >= tail.get()) {
                return Ok(());
            }
            tokio::select! {
                changed = stop.changed() => changed.context("the workload is gone")?,
                shown = self.follow_page(&mut follow, next) => {
                    let before = std::mem::replace(&mut next, shown?);
                    if before == 0 || (next > before && self.chance.is_one_in(CURSOR_ONE_IN)) {
                        self.keep_place(next).await?;
                    }
                }
            }
        }
    }

    /// The next records a follow shows; answers with the position behind them.
    async fn follow_page(&self, follow: &mut Follow, next: u64) -> Result<u64> {
        let asked = self.recorder.now();
        match follow.next_page().await {
            Ok(shown) => {
                let records = shown.context("nobody sealed the log")?;
                let behind = records.last().map_or(next, |last| last.position.get() + 1);
                let records = values(&records).collect();
                let page = Page { records, tail: None, replica: 0 };
                self.record_read(asked, next, Level::Local, Outcome::Done(page));
                Ok(behind)
            }
            Err(error) if error.is_retryable() => {
                let outcome = Outcome::NotDone { reason: error.to_string() };
                self.record_read(asked, next, Level::Local, outcome);
                Ok(next)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sets a cursor of our own. Whether that happened is not asked for: it is compared in the end.
    async fn keep_place(&self, next: u64) -> Result<()> {
        match self.log.set_cursor(&self.who.parse()?, Position::new(next)).await {
            Err(error) if !error.is_retryable() => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn record_read(&self, asked: Moment, from: u64, level: Level, outcome: Outcome<Page>) {
        let log = self.log.name().to_string();
        self.recorder.record(&self.who, asked, Action::Read { log, from, level, outcome });
    }

    /// A batch whose bodies nobody else writes: they begin with who writes them, and a number.
    fn batch(&mut self, number: &mut u64) -> Result<Batch> {
        let count = 1 + self.chance.below(self.load.batch_records_max);
        let records: Vec<NewRecord> = (0..count)
            .map(|_| {
                let mut body = format!("{} {number} ", self.who).into_bytes();
                *number += 1;
                body.resize(body.len().max(self.load.body_bytes), b'.');
                NewRecord::new(body)
            })
            .collect();
        Ok(Batch::new(&records, &BatchLimits::default())?)
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow() != Stop::Never
    }
}

/// A client that knows all replicas, for calls that have to be done: it bears a busy machine and an election.
pub fn client(urls: &[String]) -> Result<Client> {
    build(urls, PATIENCE / 2, PATIENCE)
}

/// A client of the load: what became of a call is soon told, and what was not done is part of the history.
fn caller(urls: &[String]) -> Result<Client> {
    build(urls, ATTEMPT_MAX, CALL_DEADLINE)
}

fn build(urls: &[String], attempt_max: Duration, deadline: Duration) -> Result<Client> {
    let retry = RetryPolicy { deadline, ..RetryPolicy::default() };
    let builder = Client::builder().seeds(&urls.join(","))?.retry(retry);
    Ok(builder.attempt_timeout(attempt_max).build()?)
}

/// A client of one replica alone, that tries once. Any other gets to know the other members and goes on with them.
pub fn single(url: &str) -> Result<Client> {
    Ok(Client::single(ReplicaAddr::new(url)?)?)
}

/// What one replica answers to a question; it is asked again if it refuses for the moment, or cannot be reached.
pub async fn answered<T, K: Kind>(
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, client::Error<K>>,
) -> Result<T> {
    until("it answers", within, async || match ask().await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_retryable() => Ok(None),
        Err(error) => Err(error.into()),
    })
    .await
}

fn values(records: &[client::types::Record]) -> impl Iterator<Item = (u64, Value)> {
    records.iter().map(|record| (record.position.get(), Value::of(&record.body)))
}

/// All cursors of a log as the one replica behind it holds them: at least one.
async fn cursors(log: &Log) -> Result<String> {
    let mut held: Vec<String> = Vec::new();
    let mut query = ListQuery { consistency: Consistency::Local, ..ListQuery::default() };
    loop {
        let page = answered(PATIENCE, async || log.cursors(&query).await).await?;
        held.extend(page.cursors.iter().map(|at| format!("{} at {}", at.name, at.position)));
        let Some(next) = page.next else { break };
        query.after = Some(next.to_string());
    }
    ensure!(!held.is_empty(), "no follower has set a cursor");
    Ok(held.join(", "))
}

fn outcome_of(answer: Result<client::api::records::Appended, AppendError>) -> Outcome<Appended> {
    match answer {
        Ok(at) => Outcome::Done(Appended { first: at.first.get(), next: at.next.get() }),
        Err(error) => {
            let reason = error.to_string();
            match error.outcome() {
                client::Outcome::NotDone => Outcome::NotDone { reason },
                client::Outcome::Unknown => Outcome::Unknown { reason },
            }
        }
    }
}

/// Waits for all, and answers with why those failed that did.
async fn join_all(tasks: &mut JoinSet<Result<()>>, failed: &'static str) -> Result<Vec<Error>> {
    let within = timeout(PATIENCE, async {
        let mut failures = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            failures.extend(ended?.context(failed).err());
        }
        anyhow::Ok(failures)
    });
    within.await.context("it did not come to its end in time")?
}
