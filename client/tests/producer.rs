//! Producers against a service that keeps a log as the real one does, and loses what it can.
//!
//! Goal: each record is stored once, in order, and what a ticket says is true. Method: a model of the
//! service's producer state behind real sockets, and harm drawn from a seed: requests that never
//! arrive, answers that get lost, requests that arrive long after their caller has given them up.
//!
//! Not here: real replicas (`e2e`).

#![cfg(feature = "sdk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod service;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate_client::api::error::{Actual, ErrorCode, Problem};
use quorate_client::api::frame::read_append;
use quorate_client::types::{
    Batch, BatchLimits, Position, ProducerEpoch, ProducerId, ReplicaAddr, Sequence,
};
use quorate_client::{
    Client, Log, Outcome, ProduceError, ProduceFailure, ProducerBuilder, RetryPolicy, Ticket,
};
use service::{Asked, answer, read_request};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// What is done to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    None,
    /// It gets lost.
    Lost,
    /// It is refused for the moment.
    Refused,
    /// It is done, and its answer gets lost.
    Unanswered,
    /// Its caller is told that nobody knows, and it is done later.
    Late,
    /// It is done and answered, but later than others.
    Slow,
}

type Plan = Box<dyn FnMut(&Asked) -> Harm + Send>;

#[derive(Clone, Debug)]
struct Known {
    epoch: u64,
    /// Positions and bodies of all batches of this epoch.
    batches: Vec<(u64, Vec<u8>)>,
}

/// What the service keeps.
#[derive(Debug, Default)]
struct Kept {
    log: Vec<String>,
    producers: HashMap<String, Known>,
    is_sealed: bool,
    requests: usize,
    largest: u32,
}

impl Kept {
    /// As the machine of a replica does.
    fn append(&mut self, asked: &Asked) -> Result<(u64, u32), Box<Problem>> {
        let number = |name| asked.header(name).unwrap().parse::<u64>().unwrap();
        let (epoch, sequence) = (number("producer-epoch"), number("producer-seq"));
        let id = asked.header("producer-id").unwrap();
        let batch = read_append(asked.body.clone().into(), &BatchLimits::default()).unwrap();
        let count = batch.count();
        let gap = |expected: u64| {
            let expected_sequence = Some(Sequence::new(expected));
            let actual = Actual { expected_sequence, ..Actual::default() };
            Err(Box::new(Problem::new(ErrorCode::SequenceGap).with_actual(actual)))
        };
        let known = self.producers.get(id).filter(|known| known.epoch >= epoch);
        let expected = match known {
            Some(known) if known.epoch > epoch => {
                let producer_epoch = Some(ProducerEpoch::new(known.epoch));
                let actual = Actual { producer_epoch, ..Actual::default() };
                return Err(Box::new(
                    Problem::new(ErrorCode::ProducerEpochOld).with_actual(actual),
                ));
            }
            Some(known) => known.batches.len() as u64,
            None => 0,
        };
        if sequence > expected {
            return gap(expected);
        }
        if sequence < expected {
            if expected - sequence > 5 {
                return Err(Box::new(Problem::new(ErrorCode::SequenceForgotten)));
            }
            let (first, body) = &known.unwrap().batches[usize::try_from(sequence).unwrap()];
            let is_same = *body == asked.body;
            return if is_same {
                Ok((*first, count))
            } else {
                Err(Box::new(Problem::new(ErrorCode::SequenceBodyDiffers)))
            };
        }
        if self.is_sealed {
            return Err(Box::new(Problem::new(ErrorCode::LogSealed)));
        }
        Ok((self.store(id, epoch, &batch, &asked.body), count))
    }

    fn store(&mut self, id: &str, epoch: u64, batch: &Batch, body: &[u8]) -> u64 {
        let first = self.log.len() as u64;
        let texts = batch.records().map(|record| String::from_utf8(record.body.to_vec()).unwrap());
        self.log.extend(texts);
        self.largest = self.largest.max(batch.count());
        let known =
            self.producers.entry(id.to_owned()).or_insert(Known { epoch, batches: Vec::new() });
        if known.epoch < epoch {
            *known = Known { epoch, batches: Vec::new() };
        }
        known.batches.push((first, body.to_vec()));
        first
    }
}

#[derive(Clone)]
struct Service {
    addr: ReplicaAddr,
    kept: Arc<Mutex<Kept>>,
    plan: Arc<Mutex<Plan>>,
}

impl Service {
    async fn start(plan: impl FnMut(&Asked) -> Harm + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = ReplicaAddr::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let service =
            Self { addr, kept: Arc::default(), plan: Arc::new(Mutex::new(Box::new(plan))) };
        let serving = service.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        service
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Some(asked) = read_request(&mut stream).await {
            assert!(asked.line.starts_with("POST /v1/logs/orders/records "), "{}", asked.line);
            let harm = (self.plan.lock().unwrap())(&asked);
            self.kept.lock().unwrap().requests += 1;
            match harm {
                Harm::Lost => return,
                Harm::Refused => {
                    Self::refuse(&mut stream, &Problem::new(ErrorCode::NoLeader)).await;
                    continue;
                }
                Harm::Late => {
                    Self::refuse(&mut stream, &Problem::new(ErrorCode::OutcomeUnknown)).await;
                    sleep(Duration::from_millis(30)).await;
                    self.kept.lock().unwrap().append(&asked).ok();
                    continue;
                }
                Harm::Slow => sleep(Duration::from_millis(10)).await,
                Harm::None | Harm::Unanswered => {}
            }
            let done = self.kept.lock().unwrap().append(&asked);
            if harm == Harm::Unanswered {
                return;
            }
            match done {
                Ok((first, count)) => {
                    let next = first + u64::from(count);
                    let body = format!(
                        r#"{{"log":"orders","log_id":1,"first":{first},"next":{next},"tail":{next},"time":"2026-11-23T20:15:57Z"}}"#,
                    );
                    answer(&mut stream, 200, &[], body.as_bytes()).await;
                }
                Err(problem) => Self::refuse(&mut stream, &problem).await,
            }
        }
    }

    async fn refuse(stream: &mut TcpStream, problem: &Problem) {
        answer(stream, problem.status, &[], &serde_json::to_vec(problem).unwrap()).await;
    }

    fn log(&self) -> Log {
        let retry = RetryPolicy { backoff_max: Duration::from_millis(5), ..RetryPolicy::default() };
        let client = Client::builder().seed(self.addr.clone()).retry(retry);
        client.build().unwrap().log("orders".parse().unwrap())
    }

    fn producer(&self) -> ProducerBuilder {
        self.log().producer()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// From now on this is done to requests.
    fn now(&self, plan: impl FnMut(&Asked) -> Harm + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }
}

fn calm(_asked: &Asked) -> Harm {
    Harm::None
}

/// Every kind of harm, at random.
fn storm(seed: u64) -> impl FnMut(&Asked) -> Harm + Send {
    let mut state = seed;
    move |_asked| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (state >> 33) % 12 {
            0 => Harm::Lost,
            1 => Harm::Refused,
            2 => Harm::Unanswered,
            3 => Harm::Late,
            4 | 5 => Harm::Slow,
            _ => Harm::None,
        }
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_mins(1), what).await.expect("it comes in time")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

async fn submit_all(producer: &quorate_client::Producer, name: &str, count: usize) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    for number in 0..count {
        tickets.push(soon(producer.submit(format!("{name} {number}"))).await.unwrap());
    }
    tickets
}

fn code_of(error: &ProduceError) -> Option<ErrorCode> {
    if let ProduceFailure::Call(error) = error.failure() { error.code() } else { None }
}

fn id(id: &str) -> ProducerId {
    id.parse().unwrap()
}

#[tokio::test]
async fn whatever_gets_lost_each_record_is_stored_once_and_in_order() {
    const COUNT: usize = 400;
    for seed in 0..8 {
        let service = Service::start(storm(seed)).await;
        let names = ["a", "b", "c"];
        let work = names.map(|name| {
            let producer = service.producer().batch_records_max(7).linger(Duration::ZERO).start();
            async move {
                let tickets = submit_all(&producer, name, COUNT).await;
                producer.flush().await.unwrap();
                let mut at = Vec::new();
                for ticket in tickets {
                    at.push(ticket.await.unwrap().position);
                }
                at
            }
        });
        let at = soon(futures_util::future::join_all(work)).await;
        // What was on its way when it was given up arrives now.
        sleep(Duration::from_millis(50)).await;
        let kept = service.kept();
        assert_eq!(kept.log.len(), names.len() * COUNT, "seed {seed}");
        for (name, at) in names.into_iter().zip(at) {
            let stored = kept.log.iter().enumerate().filter(|(_, text)| text.starts_with(name));
            let numbered = (0..COUNT).map(|number| format!("{name} {number}"));
            for ((position, text), (expected, told)) in stored.zip(numbered.zip(at)) {
                assert_eq!((text, position as u64), (&expected, told.get()), "seed {seed}");
            }
        }
    }
}

#[tokio::test]
async fn a_producer_that_comes_back_takes_over_from_its_earlier_life() {
    let service = Service::start(calm).await;
    let old = service.producer().id(id("till")).start();
    soon(old.submit("same").await.unwrap()).await.unwrap();
    let new = service.producer().id(id("till")).start();
    // The same body under the same id is another record nevertheless.
    soon(new.submit("same").await.unwrap()).await.unwrap();
    let error = soon(old.submit("late").await.unwrap()).await.unwrap_err();
    assert!(matches!(error.failure(), ProduceFailure::Fenced { current: Some(_) }), "{error}");
    assert_eq!(error.outcome(), Outcome::NotDone);
    soon(new.submit("next").await.unwrap()).await.unwrap();
    assert_eq!(service.kept().log, ["same", "same", "next"]);
}

#[tokio::test]
async fn a_producer_that_was_forgotten_goes_on() {
    let service = Service::start(calm).await;
    let producer = service.producer().start();
    soon(producer.submit("a").await.unwrap()).await.unwrap();
    service.kept().producers.clear();
    let tickets = submit_all(&producer, "b", 20).await;
    soon(producer.close()).await.unwrap();
    assert_eq!(service.kept().log.len(), 21);
    assert_eq!(tickets[19].clone().await.unwrap().position, Position::new(20));
}

#[tokio::test]
async fn behind_a_record_that_is_refused_nothing_is_stored() {
    let service = Service::start(calm).await;
    let producer = service.producer().batch_records_max(1).start();
    soon(producer.submit("a").await.unwrap()).await.unwrap();
    service.kept().is_sealed = true;
    let mut tickets = submit_all(&producer, "b", 20).await.into_iter();
    let first = soon(tickets.next().unwrap()).await.unwrap_err();
    assert_eq!((code_of(&first), first.outcome()), (Some(ErrorCode::LogSealed), Outcome::NotDone));
    for ticket in tickets {
        let error = soon(ticket).await.unwrap_err();
        assert!(matches!(error.failure(), ProduceFailure::Behind(_)), "{error}");
        assert_eq!(error.outcome(), Outcome::NotDone);
    }
    assert!(soon(producer.flush()).await.is_err());
    let error = producer.submit("c").await.unwrap_err();
    assert!(matches!(error.failure(), ProduceFailure::Behind(_)), "{error}");
    service.kept().is_sealed = false;
    assert_eq!(service.kept().log, ["a"]);
}

#[tokio::test]
async fn what_may_be_stored_at_the_deadline_is_told_as_unknown() {
    let service = Service::start(|_asked| Harm::Unanswered).await;
    let producer = service.producer().batch_records_max(1).deadline(Duration::from_millis(300));
    let producer = producer.start();
    let tickets = submit_all(&producer, "a", 8).await;
    let mut outcomes = Vec::new();
    for ticket in tickets {
        outcomes.push(soon(ticket).await.unwrap_err().outcome());
    }
    // Five were sent, three never left.
    assert_eq!(outcomes[..5], [Outcome::Unknown; 5]);
    assert_eq!(outcomes[5..], [Outcome::NotDone; 3]);
}

#[tokio::test]
async fn a_record_that_is_alone_does_not_linger() {
    let service = Service::start(calm).await;
    let producer = service.producer().linger(Duration::from_hours(1)).start();
    soon(producer.submit("a").await.unwrap()).await.unwrap();
    soon(producer.submit("b").await.unwrap()).await.unwrap();
    assert_eq!(service.kept().log, ["a", "b"]);
}

#[tokio::test]
async fn what_comes_while_a_batch_is_under_way_goes_together() {
    let service = Service::start(|_asked| Harm::Refused).await;
    let producer = service.producer().linger(Duration::from_hours(1)).start();
    let first = producer.submit("a").await.unwrap();
    until("the first record was sent", || service.kept().requests > 0).await;
    let tickets = submit_all(&producer, "b", 500).await;
    service.now(calm);
    soon(first).await.unwrap();
    for ticket in tickets {
        soon(ticket).await.unwrap();
    }
    assert_eq!(service.kept().largest, 500);
}

#[tokio::test]
async fn a_flush_waits_for_everything_before_it_and_lets_nothing_linger() {
    let service = Service::start(storm(99)).await;
    let producer = service.producer().linger(Duration::from_hours(1)).start();
    for count in 1..20 {
        let tickets = submit_all(&producer, "a", 10).await;
        soon(producer.flush()).await.unwrap();
        assert_eq!(service.kept().log.len(), 10 * count);
        drop(tickets);
    }
}

#[tokio::test]
async fn there_may_be_no_deadline_at_all() {
    let service = Service::start(calm).await;
    let producer = service.producer().linger(Duration::MAX).deadline(Duration::MAX).start();
    submit_all(&producer, "a", 10).await;
    soon(producer.flush()).await.unwrap();
    assert_eq!(service.kept().log.len(), 10);
}

#[tokio::test]
async fn who_submits_too_much_waits() {
    let service = Service::start(|_asked| Harm::Refused).await;
    let producer = service.producer().in_flight_bytes_max(10_000).start();
    let body = vec![b'x'; 1_000];
    let mut taken = 0;
    while let Ok(ticket) = timeout(Duration::from_millis(200), producer.submit(body.clone())).await
    {
        drop(ticket.unwrap());
        taken += 1;
    }
    assert_eq!(taken, 9, "each takes 1 064 of 10 000 bytes");
    service.now(calm);
    for _ in 0..20 {
        drop(soon(producer.submit(body.clone())).await.unwrap());
    }
    soon(producer.close()).await.unwrap();
    assert_eq!(service.kept().log.len(), 29, "one whose submission was given up was not taken in");
}

#[tokio::test]
async fn what_was_submitted_goes_though_the_producer_is_dropped() {
    let service = Service::start(storm(7)).await;
    let producer = service.producer().start();
    let tickets = submit_all(&producer, "a", 100).await;
    drop(producer);
    for ticket in tickets {
        soon(ticket).await.unwrap();
    }
    assert_eq!(service.kept().log.len(), 100);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_the_producer_goes_on() {
    let service = Service::start(calm).await;
    let producer = service.producer().batch_bytes_max(100).start();
    let error = producer.submit(vec![b'x'; 101]).await.unwrap_err();
    assert!(matches!(error.failure(), ProduceFailure::Record(_)), "{error}");
    soon(producer.submit(vec![b'x'; 100]).await.unwrap()).await.unwrap();
    let clone = producer.clone();
    soon(producer.close()).await.unwrap();
    let error = clone.submit("b").await.unwrap_err();
    assert!(matches!(error.failure(), ProduceFailure::Closed), "{error}");
}
