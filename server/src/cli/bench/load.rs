//! Closed-loop load: so many clients, each with one request under way, for so long.
//!
//! Invariants: only what began and was answered within the measured time counts; the worst gap is
//! the longest time in which no client at all got an append acknowledged, the end of the measured
//! time included. A client whose connection breaks asks for the leader again and goes on, so that a
//! failover is measured and not avoided. One that is refused for the moment comes back when it was
//! told to, or as soon as the load says: how hard an overload is lies in that.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::api::{header, paths};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Head, request};
use crate::metrics::histogram::Histogram;
use crate::world::{Clock, Instant};

/// How long answers may take once the measured time is over.
const GRACE: Duration = Duration::from_secs(5);
/// Between two attempts to reach a group that does not answer.
const PAUSE: Duration = Duration::from_millis(10);
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// What to send, to whom, how often and for how long.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// The replicas that were given.
    pub(super) seeds: Vec<SocketAddr>,
    /// Whom a client connects to.
    pub(super) towards: Towards,
    /// How many clients.
    pub(super) clients: u32,
    /// How many of a hundred requests are reads.
    pub(super) reads_percent: u32,
    /// The logs, in turn by client.
    pub(super) logs: Vec<LogLoad>,
    /// Records in one append or read.
    pub(super) batch: u32,
    /// The query that reads add after their position, with its `&`.
    pub(super) read_query: String,
    /// How long a client waits that was refused; none: as long as it was told.
    pub(super) refused_wait: Option<Duration>,
    /// Not measured.
    pub(super) warm_up: Duration,
    /// Measured.
    pub(super) duration: Duration,
}

/// Whom a client connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Towards {
    /// Whoever leads.
    Leader,
    /// The replicas that were given, in turn.
    Any,
}

/// One log under load.
#[derive(Debug, Clone)]
pub(super) struct LogLoad {
    /// The path of its records.
    pub(super) records_path: String,
    /// The append, built once.
    pub(super) append: Bytes,
    /// How far it is filled, as far as we know.
    pub(super) tail: Arc<AtomicU64>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// Appends acknowledged.
    pub(super) appends: Histogram,
    /// Reads answered.
    pub(super) reads: Histogram,
    /// What was refused for the moment, by status: too much is asked for, or nobody can serve it now.
    pub(super) refused: BTreeMap<u16, u64>,
    /// What else was answered, and how often.
    pub(super) errors: BTreeMap<String, u64>,
    /// The longest time without any acknowledgement.
    pub(super) worst_gap: Duration,
    /// How long was measured.
    pub(super) measured: Duration,
}

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What the clients share.
struct Course {
    clock: Clock,
    began: Instant,
    /// Who led at the beginning, asked once for all: thousands of questions would be a load of their own.
    leader: Option<SocketAddr>,
    phase: AtomicU8,
    acknowledged_at: AtomicU64,
    worst_gap: AtomicU64,
    over: CancellationToken,
}

impl Course {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes an acknowledgement, or the beginning or end of the measured time.
    fn mark(&self, at: Instant) {
        let now = self.nanos(at);
        let before = self.acknowledged_at.fetch_max(now, Ordering::Relaxed);
        self.worst_gap.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }
}

/// Runs the load.
pub(super) async fn run(load: Load) -> Outcome {
    let leader = match load.towards {
        Towards::Leader => leader(load.seeds[0]).await.ok().flatten(),
        Towards::Any => None,
    };
    let course = Arc::new(Course {
        clock: Clock::real(),
        began: Clock::real().now(),
        leader,
        phase: AtomicU8::new(WARMING_UP),
        acknowledged_at: AtomicU64::new(0),
        worst_gap: AtomicU64::new(0),
        over: CancellationToken::new(),
    });
    let load = Arc::new(load);
    let mut clients = JoinSet::new();
    for number in 0..load.clients {
        let client = Client::new(number, Arc::clone(&load), Arc::clone(&course));
        clients.spawn(client.run());
    }
    course.clock.sleep(load.warm_up).await;
    let began = course.clock.now();
    course.acknowledged_at.store(course.nanos(began), Ordering::Relaxed);
    course.worst_gap.store(0, Ordering::Relaxed);
    course.phase.store(MEASURING, Ordering::Relaxed);
    course.clock.sleep(load.duration).await;
    let ended = course.clock.now();
    course.phase.store(OVER, Ordering::Relaxed);
    course.mark(ended);
    let worst_gap = Duration::from_nanos(course.worst_gap.load(Ordering::Relaxed));
    let measured = ended - began;
    let mut outcome = Outcome { worst_gap, measured, ..Outcome::default() };
    let gather = async {
        while let Some(client) = clients.join_next().await {
            if let Ok(seen) = client {
                outcome.add(seen);
            }
        }
    };
    let over = async {
        course.clock.sleep(GRACE).await;
        course.over.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! { () = gather => {}, () = over => {} }
    outcome
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.appends.merge(&other.appends);
        self.reads.merge(&other.reads);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }

    fn error(&mut self, error: impl Into<String>) {
        *self.errors.entry(error.into()).or_default() += 1;
    }
}

/// One client: a connection and what it saw.
struct Client {
    number: usize,
    load: Arc<Load>,
    course: Arc<Course>,
    seen: Outcome,
    random: u64,
    debt: u32,
}

impl Client {
    fn new(number: u32, load: Arc<Load>, course: Arc<Course>) -> Self {
        let random = (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let number = number as usize;
        Self { number, load, course, seen: Outcome::default(), random, debt: 0 }
    }

    async fn run(mut self) -> Outcome {
        let over = self.course.over.clone();
        if over.run_until_cancelled(self.go()).await.is_none() {
            self.seen.error("no answer");
        }
        self.seen
    }

    async fn go(&mut self) {
        let mut attempt = self.number;
        let mut known = self.course.leader;
        while self.course.phase() != OVER {
            let opened = match known.take() {
                Some(leader) => connect(leader).await,
                None => open(&self.load, attempt).await,
            };
            attempt += 1;
            let broken = match opened {
                Ok(connection) => self.stay(connection).await,
                Err(error) => Err(error),
            };
            if let Err(error) = broken {
                if self.course.phase() == MEASURING {
                    self.seen.error(format!("connection: {}", error.kind()));
                }
                self.course.clock.sleep(PAUSE).await;
            }
        }
    }

    /// One request after the other on one connection.
    async fn stay(&mut self, mut connection: Connection) -> io::Result<()> {
        let load = Arc::clone(&self.load);
        let log = &load.logs[self.number % load.logs.len()];
        let mut read = Vec::new();
        loop {
            let phase = self.course.phase();
            if phase == OVER {
                return Ok(());
            }
            let is_read = self.is_read_next();
            let request: &[u8] = if is_read {
                self.read_request(log, &mut read);
                &read
            } else {
                &log.append
            };
            let began = self.course.clock.now();
            let answer = connection.exchange(request).await?;
            let ended = self.course.clock.now();
            let is_done = (200..300).contains(&answer.status);
            if is_done && !is_read {
                log.tail.fetch_add(u64::from(load.batch), Ordering::Relaxed);
                self.course.mark(ended);
            }
            let is_measured = phase == MEASURING && self.course.phase() == MEASURING;
            match (is_done, is_read) {
                (true, false) if is_measured => self.seen.appends.record(ended - began),
                (true, true) if is_measured => self.seen.reads.record(ended - began),
                (true, _) => {}
                (false, _) => {
                    self.not_done(&answer, is_measured).await;
                    if answer.status != 429 {
                        // It may have been told so because somebody else leads by now.
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Counts what was not done, and waits as long as it takes until another attempt.
    async fn not_done(&mut self, answer: &Head, is_measured: bool) {
        let told = retry_after(answer).filter(|_| matches!(answer.status, 429 | 503));
        match told {
            _ if !is_measured => {}
            Some(_) => *self.seen.refused.entry(answer.status).or_default() += 1,
            None => self.seen.error(format!("status {}", answer.status)),
        }
        let wait = match (told, self.load.refused_wait) {
            (None, _) => PAUSE,
            (Some(_), Some(wait)) => wait,
            // Up to half as long again, so that those who were refused together do not come back together.
            (Some(told), None) => told + told.mul_f64(f64::from(self.draw_percent()) / 200.0),
        };
        let sleep = self.course.clock.sleep(wait);
        self.course.over.run_until_cancelled(sleep).await;
    }

    /// Spreads the reads evenly between the appends.
    fn is_read_next(&mut self) -> bool {
        self.debt += self.load.reads_percent;
        let is_due = self.debt >= 100;
        if is_due {
            self.debt -= 100;
        }
        is_due
    }

    /// xorshift: good enough to spread reads over a log, and waits.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn draw_percent(&mut self) -> u8 {
        u8::try_from(self.draw() % 100).unwrap_or(0)
    }

    fn read_request(&mut self, log: &LogLoad, into: &mut Vec<u8>) {
        let until = log.tail.load(Ordering::Relaxed).saturating_sub(u64::from(self.load.batch));
        let from = self.draw() % until.max(1);
        let target = format!("{}?from={from}{}", log.records_path, self.load.read_query);
        into.clear();
        into.extend_from_slice(&request("GET", &target, "bench", &[], b""));
    }
}

/// After what time another attempt makes sense, if that was told.
fn retry_after(answer: &Head) -> Option<Duration> {
    answer.header(header::RETRY_AFTER)?.parse().ok().map(Duration::from_secs)
}

/// Connects to whom the load is meant for; a later attempt asks another replica.
async fn open(load: &Load, attempt: usize) -> io::Result<Connection> {
    let seed = load.seeds[attempt % load.seeds.len()];
    let addr = match load.towards {
        Towards::Any => seed,
        Towards::Leader => leader(seed).await?.unwrap_or(seed),
    };
    connect(addr).await
}

/// Connects, or says soon that it cannot.
pub(super) async fn connect(addr: SocketAddr) -> io::Result<Connection> {
    let opened = Clock::real().within(CONNECT_MAX, Connection::open(addr)).await;
    opened.map_err(|_expired| io::ErrorKind::TimedOut)?
}

/// Who leads, as this replica knows it.
pub(super) async fn leader(seed: SocketAddr) -> io::Result<Option<SocketAddr>> {
    let mut connection = connect(seed).await?;
    let ask = request("GET", paths::CLUSTER, "bench", &[], b"");
    let (head, _) = Clock::real()
        .within(CONNECT_MAX, connection.fetch(&ask))
        .await
        .map_err(|_expired| io::ErrorKind::TimedOut)??;
    let Some(url) = head.header(header::LEADER) else { return Ok(None) };
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    Ok(tokio::net::lookup_host(host).await?.next())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;

    /// A service that acknowledges every request, and says nothing for a while after the first 50.
    async fn service(silence: Duration) -> SocketAddr {
        answering(silence, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await
    }

    async fn answering(silence: Duration, answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let mut answered = 0;
                    while stream.read(&mut request).await.unwrap_or(0) > 0 {
                        answered += 1;
                        if answered == 50 {
                            sleep(silence).await;
                        }
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        addr
    }

    fn load(seed: SocketAddr, reads_percent: u32) -> Load {
        let append = request("POST", "/v1/logs/bench/records", "bench", &[], b"x");
        Load {
            seeds: vec![seed],
            towards: Towards::Any,
            clients: 4,
            reads_percent,
            logs: vec![LogLoad {
                records_path: "/v1/logs/bench/records".to_owned(),
                append,
                tail: Arc::new(AtomicU64::new(1)),
            }],
            batch: 1,
            read_query: "&limit=1".to_owned(),
            refused_wait: Some(Duration::ZERO),
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(400),
        }
    }

    #[tokio::test]
    async fn a_silence_of_the_service_shows_as_the_worst_gap() {
        let silence = Duration::from_millis(120);
        let outcome = run(load(service(silence).await, 0)).await;
        assert!(outcome.worst_gap >= silence / 2, "{:?}", outcome.worst_gap);
        assert!(outcome.appends.max() >= silence, "{:?}", outcome.appends.max());
        assert!(outcome.appends.total() > 200 && outcome.reads.total() == 0);
        assert_eq!(outcome.errors, BTreeMap::new());
    }

    #[tokio::test]
    async fn the_mix_of_reads_and_appends_is_kept() {
        let outcome = run(load(service(Duration::ZERO).await, 25)).await;
        let (appends, reads) = (outcome.appends.total(), outcome.reads.total());
        assert!(reads * 3 <= appends + 12 && appends <= reads * 3 + 12, "{reads} of {appends}");
    }

    #[tokio::test]
    async fn what_is_refused_is_neither_done_nor_an_error() {
        let told = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
        let refusing = answering(Duration::ZERO, told).await;
        let outcome = run(load(refusing, 0)).await;
        let refused = outcome.refused.get(&429).copied().unwrap_or(0);
        assert!(outcome.appends.total() == 0 && refused > 50, "{:?}", outcome.refused);
        assert_eq!(outcome.errors, BTreeMap::new());

        // Whoever waits as long as it was told asks once in this time.
        let outcome = run(Load { refused_wait: None, ..load(refusing, 0) }).await;
        assert!(outcome.refused.get(&429).is_none_or(|count| *count <= 4), "one of each client");

        let silent = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let outcome = run(load(answering(Duration::ZERO, silent).await, 0)).await;
        assert!(outcome.refused.is_empty(), "nobody was told when to come back");
        assert!(outcome.errors.contains_key("status 503"), "{:?}", outcome.errors);
    }

    #[tokio::test]
    async fn a_service_that_is_gone_is_counted_and_asked_again() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let outcome = run(load(gone, 0)).await;
        assert_eq!(outcome.appends.total(), 0);
        assert!(outcome.errors.values().sum::<u64>() > 4, "{:?}", outcome.errors);
        assert!(outcome.worst_gap >= Duration::from_millis(400), "{:?}", outcome.worst_gap);
    }
}
