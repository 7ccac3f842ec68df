//! The client against a service that misbehaves on purpose.
//!
//! Goal: what the client says of an outcome is true, and what it repeats is safe to repeat. Method:
//! a listener on the loopback that answers each request by the next step of a script, and keeps
//! what it was asked.
//!
//! Not here: a real replica (`e2e`).

#![cfg(feature = "sdk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod service;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate_client::api::error::{Actual, ErrorCode, Problem};
use quorate_client::api::frame::ReadFrameBuilder;
use quorate_client::api::logs::SettingsPatch;
use quorate_client::api::reading::{Consistency, ReadFrom};
use quorate_client::sdk::reqwest::Request;
use quorate_client::types::{
    Batch, BatchLimits, Headers, NewRecord, Position, ProducerEpoch, Record, ReplicaAddr, Sequence,
    Timestamp,
};
use quorate_client::{Client, CursorErrorKind, Log, Outcome, RetryPolicy};
use service::{Asked, answer, read_request};
use tokio::net::{TcpListener, TcpStream};

/// What the service does with one request.
enum Step {
    /// Answers.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// Breaks the connection off without an answer.
    BreakOff,
    /// Never answers.
    Hang,
}

/// A service with a script. Beyond its end every request hangs.
#[derive(Clone)]
struct Service {
    addr: ReplicaAddr,
    steps: Arc<Mutex<VecDeque<Step>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    async fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = ReplicaAddr::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let steps = Arc::new(Mutex::new(steps.into_iter().collect()));
        let service = Self { addr, steps, asked: Arc::default() };
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
            self.asked.lock().unwrap().push(asked);
            let step = self.steps.lock().unwrap().pop_front();
            match step {
                Some(Step::Answer { status, headers, body }) => {
                    answer(&mut stream, status, &headers, &body).await;
                }
                Some(Step::BreakOff) => return,
                Some(Step::Hang) | None => std::future::pending().await,
            }
        }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Adds to the script.
    fn then(&self, steps: impl IntoIterator<Item = Step>) {
        self.steps.lock().unwrap().extend(steps);
    }

    /// Waits until it was asked so often.
    async fn is_asked(&self, times: usize) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.asked().len() < times {
            assert!(Instant::now() < until, "asked {} times only", self.asked().len());
            tokio::task::yield_now().await;
        }
    }

    fn log(&self) -> Log {
        client(&[self]).log("orders".parse().unwrap())
    }
}

/// How long a service here may take to answer: one that answers does so at once, but a machine may be busy.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

fn client(services: &[&Service]) -> Client {
    let policy = RetryPolicy {
        backoff_max: Duration::from_millis(20),
        deadline: 3 * ATTEMPT_MAX,
        ..RetryPolicy::default()
    };
    let mut builder = Client::builder().retry(policy).attempt_timeout(ATTEMPT_MAX);
    for service in services {
        builder = builder.seed(service.addr.clone());
    }
    builder.build().unwrap()
}

fn appended(first: u64) -> Step {
    let body = format!(
        r#"{{"log":"orders","log_id":1,"first":{first},"next":{0},"tail":{0},"time":"2026-11-23T20:15:57Z"}}"#,
        first + 1
    );
    Step::Answer { status: 200, headers: Vec::new(), body: body.into() }
}

fn problem(problem: &Problem) -> Step {
    let body = serde_json::to_vec(problem).unwrap();
    Step::Answer { status: problem.status, headers: Vec::new(), body }
}

fn refused(code: ErrorCode) -> Step {
    problem(&Problem::new(code))
}

/// Records from a position on, each with its position as its body.
fn page(positions: std::ops::Range<u64>, tail: u64, is_sealed: bool) -> Step {
    let mut frame = ReadFrameBuilder::new(Position::new(positions.start), 0);
    for position in positions.clone() {
        frame.push(&Record {
            position: Position::new(position),
            time: Timestamp::new(position),
            headers: Headers::none(),
            body: position.to_string().into(),
        });
    }
    let headers = vec![
        ("quorate-log-id", "1".to_owned()),
        ("quorate-first", "0".to_owned()),
        ("quorate-next", positions.end.to_string()),
        ("quorate-tail", tail.to_string()),
        ("quorate-sealed", is_sealed.to_string()),
    ];
    let body = if positions.is_empty() { Vec::new() } else { frame.finish().to_vec() };
    Step::Answer { status: 200, headers, body }
}

fn batch() -> Batch {
    Batch::single(&NewRecord::new("x"), &BatchLimits::default()).unwrap()
}

#[tokio::test]
async fn an_append_is_repeated_as_the_same_batch_of_the_same_producer() {
    let service = Service::start([Step::BreakOff, refused(ErrorCode::NoLeader), appended(7)]).await;
    let at = service.log().append("hello").await.unwrap();
    assert_eq!(at.first, Position::new(7));
    let asked = service.asked();
    assert_eq!(asked.len(), 3);
    for request in &asked {
        assert_eq!(request.line, "POST /v1/logs/orders/records HTTP/1.1");
        assert_eq!(request.body, b"hello");
        assert_eq!(request.header("producer-seq"), Some("0"));
        assert_eq!(request.header("producer-id"), asked[0].header("producer-id"));
        assert!(request.header("producer-id").is_some());
    }
}

#[tokio::test]
async fn a_refusal_is_final_and_certain() {
    let actual = Actual { tail: Some(Position::new(3)), ..Actual::default() };
    let refusal = Problem::new(ErrorCode::LogSealed).with_actual(actual).with_request_id("r-1");
    let service = Service::start([problem(&refusal), appended(0)]).await;
    let log = service.log();
    let error = log.append("x").await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Some(ErrorCode::LogSealed), Outcome::NotDone));
    assert_eq!(error.problem().unwrap().actual.tail, Some(Position::new(3)));
    assert_eq!((error.attempts(), error.request_id()), (1, Some("r-1")));
    // The sequence was not used, so the next append uses it.
    log.append("y").await.unwrap();
    assert_eq!(service.asked()[1].header("producer-seq"), Some("0"));
    assert_eq!(service.asked()[1].header("producer-epoch"), Some("0"));
}

#[tokio::test]
async fn a_refusal_after_an_unknown_attempt_leaves_the_outcome_unknown() {
    let service = Service::start([Step::BreakOff, refused(ErrorCode::Fenced), appended(0)]).await;
    let log = service.log();
    let error = log.append("x").await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Some(ErrorCode::Fenced), Outcome::Unknown));
    // What may still be on its way is shut out by a new epoch.
    log.append("y").await.unwrap();
    assert_eq!(service.asked()[2].header("producer-epoch"), Some("1"));
    assert_eq!(service.asked()[2].header("producer-seq"), Some("0"));
}

#[tokio::test]
async fn a_forgotten_producer_starts_anew_without_an_error() {
    let service = Service::start([appended(0), refused(ErrorCode::SequenceGap), appended(1)]).await;
    let log = service.log();
    log.append("x").await.unwrap();
    log.append("y").await.unwrap();
    assert_eq!(service.asked()[2].header("producer-epoch"), Some("1"));
}

#[tokio::test]
async fn a_single_client_tries_once_and_tells_what_it_knows() {
    let service = Service::start([
        Step::BreakOff,
        refused(ErrorCode::NoLeader),
        refused(ErrorCode::OutcomeUnknown),
    ])
    .await;
    let log = Client::single(service.addr.clone()).unwrap().log("orders".parse().unwrap());
    let outcomes = [Outcome::Unknown, Outcome::NotDone, Outcome::Unknown];
    for outcome in outcomes {
        let error = log.append("x").await.unwrap_err();
        assert_eq!((error.outcome(), error.attempts()), (outcome, 1), "{error}");
    }
    assert!(service.asked().iter().all(|request| request.header("producer-id").is_none()));
}

#[tokio::test]
async fn nothing_was_done_where_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = ReplicaAddr::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let log = Client::single(addr).unwrap().log("orders".parse().unwrap());
    let error = log.append("x").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
}

#[tokio::test]
async fn what_is_not_safe_to_repeat_is_not_repeated() {
    let service = Service::start([refused(ErrorCode::NoLeader), Step::BreakOff, Step::Hang]).await;
    let error = service.log().delete().await.unwrap_err();
    assert_eq!((error.outcome(), error.attempts()), (Outcome::Unknown, 2), "{error}");
}

#[tokio::test]
async fn what_another_caller_may_have_changed_since_is_not_done_twice() {
    let service = Service::start([Step::BreakOff, Step::BreakOff, Step::BreakOff]).await;
    let log = service.log();
    let cursor = "c".parse().unwrap();
    let outcomes = [
        log.configure(&SettingsPatch::default()).await.unwrap_err().outcome(),
        log.trim(Position::new(1)).await.unwrap_err().outcome(),
        log.set_cursor(&cursor, Position::new(1)).await.unwrap_err().outcome(),
    ];
    assert_eq!(outcomes, [Outcome::Unknown; 3]);
    assert_eq!(service.asked().len(), 3, "each was sent once");
}

/// An answer to an append that names the epoch of the membership.
fn appended_in(epoch: u64, first: u64) -> Step {
    let Step::Answer { status, body, .. } = appended(first) else { unreachable!() };
    Step::Answer { status, headers: vec![("quorate-epoch", epoch.to_string())], body }
}

/// The members of an epoch, as a replica tells them.
fn members(epoch: u64, services: &[&Service]) -> Step {
    let replicas = services.iter().zip(1..).map(|(service, id)| {
        format!(
            r#"{{"id":{id},"role":"follower","is_reachable":true,"addr":"{0}","peer_addr":"{0}"}}"#,
            service.addr
        )
    });
    let body = format!(
        r#"{{"verdict":{{"can_append":true,"tolerance":1,"sentence":"x"}},"epoch":{epoch},"term":1,"expected_voters":3,"replicas":[{}],"as_of":"2026-11-23T20:15:57Z"}}"#,
        replicas.collect::<Vec<_>>().join(",")
    );
    Step::Answer { status: 200, headers: Vec::new(), body: body.into() }
}

/// An answer to an append that names who leads.
fn appended_told(first: u64, leader: &Service) -> Step {
    let Step::Answer { status, body, .. } = appended(first) else { unreachable!() };
    Step::Answer { status, headers: vec![("quorate-leader", leader.addr.to_string())], body }
}

#[tokio::test]
async fn appends_go_to_the_leader_once_it_is_known_to_work_from_here() {
    let leader = Service::start([]).await;
    leader.then([members(5, &[&leader]), appended(1), appended(2)]);
    let follower = Service::start((0..10_000).map(|first| appended_told(first, &leader))).await;
    let log = client(&[&follower]).log("orders".parse().unwrap());
    let until = Instant::now() + Duration::from_secs(10);
    while leader.asked().len() < 3 {
        assert!(Instant::now() < until, "{:?}", leader.asked());
        log.append("x").await.unwrap();
    }
    assert_eq!(leader.asked()[0].line, "GET /v1/cluster HTTP/1.1", "it is tried out first");
    assert!(leader.asked()[1].line.starts_with("POST"), "{:?}", leader.asked()[1]);
}

#[tokio::test]
async fn behind_one_address_no_call_goes_to_those_that_only_the_inside_reaches() {
    // Whoever connects to them from here never hears anything.
    let inside = Service::start([]).await;
    let balancer = Service::start([]).await;
    balancer.then([members(5, &[&inside]), appended_told(0, &inside)]);
    balancer.then([refused(ErrorCode::NoLeader), appended_told(1, &inside), Step::BreakOff]);
    balancer.then((2..20).map(|first| appended_told(first, &inside)));
    let retry = RetryPolicy { deadline: 3 * ATTEMPT_MAX, ..RetryPolicy::default() };
    let builder = Client::builder().seed(balancer.addr.clone()).retry(retry);
    let client = builder.attempt_timeout(ATTEMPT_MAX).build().unwrap();
    assert_eq!(client.admin().status().await.unwrap().replicas.len(), 1);
    let log = client.log("orders".parse().unwrap());
    let begun = Instant::now();
    for first in 0..20 {
        assert_eq!(log.append("x").await.unwrap().first, Position::new(first));
    }
    assert!(begun.elapsed() < ATTEMPT_MAX, "{:?}", begun.elapsed());
    inside.is_asked(1).await;
    assert!(inside.asked().iter().all(|asked| asked.line == "GET /v1/cluster HTTP/1.1"));
}

#[tokio::test]
async fn a_client_does_not_make_an_outage_worse_than_its_budget() {
    let service = Service::start((0..10_000).map(|_| refused(ErrorCode::NoLeader))).await;
    let retry = RetryPolicy {
        backoff_max: Duration::from_millis(5),
        deadline: Duration::from_secs(2),
        budget_max: 20,
        budget_per_second: 10,
        ..RetryPolicy::default()
    };
    let client = Client::builder().seed(service.addr.clone()).retry(retry).build().unwrap();
    let log = client.log("orders".parse().unwrap());
    let appends = (0..50).map(|_| log.append("x"));
    let outcomes = futures_util::future::join_all(appends).await;
    assert!(outcomes.iter().all(Result::is_err));
    // Each was tried once; the budget was there, and came back for two seconds.
    let asked = service.asked().len();
    assert!((50 + 20..=50 + 20 + 10 * 2 + 1).contains(&asked), "asked {asked} times");
}

#[tokio::test]
async fn a_client_outlives_all_addresses_that_it_was_given() {
    let (second, third) = (Service::start([]).await, Service::start([]).await);
    second.then([members(5, &[&second])]);
    // The seed is asked for the members, beside the appends, and is gone then.
    let seed = Service::start([appended_in(5, 0), members(5, &[&second]), Step::BreakOff]).await;
    let log = client(&[&seed]).log("orders".parse().unwrap());
    log.append("x").await.unwrap();
    seed.is_asked(2).await;
    assert_eq!(seed.asked()[1].line, "GET /v1/cluster HTTP/1.1");
    second.is_asked(1).await;
    second.then([appended_in(5, 1), appended_in(5, 2)]);
    assert_eq!(log.append("x").await.unwrap().first, Position::new(1));
    assert_eq!(log.append("x").await.unwrap().first, Position::new(2));
    assert_eq!(second.asked().len(), 3, "nobody asks for what is known");
    // So is the member that was learned of.
    third.then([members(9, &[&third])]);
    second.then([appended_in(9, 3), members(9, &[&third]), Step::BreakOff]);
    log.append("x").await.unwrap();
    second.is_asked(5).await;
    third.is_asked(1).await;
    third.then([appended_in(9, 4)]);
    assert_eq!(log.append("x").await.unwrap().first, Position::new(4));
}

#[tokio::test]
async fn a_client_of_one_replica_asks_for_no_others() {
    let service = Service::start([appended_in(5, 0), appended_in(5, 1)]).await;
    let log = Client::single(service.addr.clone()).unwrap().log("orders".parse().unwrap());
    log.append("x").await.unwrap();
    log.append("x").await.unwrap();
    assert!(service.asked().iter().all(|asked| asked.line.starts_with("POST")));
}

#[tokio::test]
async fn a_replica_that_does_not_answer_is_passed_over() {
    let silent = Service::start([]).await;
    let other = Service::start([appended(0), appended(1)]).await;
    let log = client(&[&silent, &other]).log("orders".parse().unwrap());
    assert!(log.append("x").await.is_ok());
    assert!(log.append("y").await.is_ok());
    assert_eq!((silent.asked().len(), other.asked().len()), (1, 2));
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let service = Service::start([]).await;
    let begun = Instant::now();
    let error = service.log().append("x").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(begun.elapsed() < 10 * ATTEMPT_MAX, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn there_may_be_no_deadline_at_all() {
    let steps = [Step::BreakOff, appended(0), page(0..1, 1, false), page(1..2, 2, true)];
    let service = Service::start(steps).await;
    let retry = RetryPolicy { deadline: Duration::MAX, ..RetryPolicy::default() };
    let client = Client::builder().seed(service.addr.clone()).retry(retry);
    let client = client.attempt_timeout(Duration::MAX).build().unwrap();
    let log = client.log("orders".parse().unwrap());
    log.append("a").await.unwrap();
    let mut follow = log.follow(ReadFrom::First);
    for position in 0..2 {
        assert_eq!(follow.next().await.unwrap().unwrap().position, Position::new(position));
    }
}

#[tokio::test]
async fn the_service_says_when_to_come_back() {
    let busy = Problem::new(ErrorCode::Overloaded).with_retry_after(Duration::from_millis(300));
    let service = Service::start([problem(&busy), appended(0)]).await;
    let begun = Instant::now();
    service.log().append("x").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn codes_of_a_later_version_still_give_their_answers() {
    let body = br#"{"code":"later","status":503,"retryable":true,"side_effects":"none"}"#.to_vec();
    let later = || Step::Answer { status: 503, headers: Vec::new(), body: body.clone() };
    let service = Service::start([later(), later()]).await;
    let log = Client::single(service.addr.clone()).unwrap().log("orders".parse().unwrap());
    let error = log.append("x").await.unwrap_err();
    assert_eq!((error.status(), error.outcome()), (Some(503), Outcome::NotDone), "{error}");
    // What it says counts, whatever its status would mean by itself.
    let body = br#"{"code":"later","status":500,"retryable":true,"side_effects":"none"}"#.to_vec();
    let service = Service::start([Step::Answer { status: 500, headers: Vec::new(), body }]).await;
    let log = Client::single(service.addr.clone()).unwrap().log("orders".parse().unwrap());
    assert!(log.append("x").await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn an_acknowledgement_that_cannot_be_read_leaves_the_outcome_unknown() {
    let garbled = Step::Answer { status: 200, headers: Vec::new(), body: b"ok".to_vec() };
    let service = Service::start([garbled]).await;
    assert_eq!(service.log().append("x").await.unwrap_err().outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn a_producer_keeps_a_batch_until_its_outcome_is_known() {
    let service = Service::start([Step::BreakOff, appended(4), appended(5)]).await;
    let log = Client::single(service.addr.clone()).unwrap().log("orders".parse().unwrap());
    let mut producer = log.sequencer("p".parse().unwrap(), ProducerEpoch::new(3));
    assert_eq!(producer.append(batch()).await.unwrap_err().outcome(), Outcome::Unknown);
    assert_eq!(producer.append(batch()).await.unwrap_err().outcome(), Outcome::NotDone);
    assert_eq!(producer.resend().await.unwrap().unwrap().first, Position::new(4));
    assert!(producer.resend().await.unwrap().is_none());
    producer.append(batch()).await.unwrap();
    assert_eq!(producer.next_sequence(), Sequence::new(2));
    let sequences: Vec<_> = service
        .asked()
        .iter()
        .map(|asked| asked.header("producer-seq").unwrap().to_owned())
        .collect();
    assert_eq!(sequences, ["0", "0", "1"]);
}

#[tokio::test]
async fn a_follow_has_no_gap_over_reconnects() {
    let service = Service::start([
        page(0..3, 3, false),
        Step::BreakOff,
        refused(ErrorCode::Stopping),
        page(3..3, 3, false),
        page(3..5, 5, true),
        page(5..5, 5, true),
    ])
    .await;
    let mut follow = service.log().follow(ReadFrom::First);
    let mut bodies = Vec::new();
    while let Some(record) = follow.next().await.unwrap() {
        bodies.push(String::from_utf8(record.body.to_vec()).unwrap());
    }
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
    let asked = service.asked();
    assert!(asked[0].line.contains("from=first"), "{}", asked[0].line);
    assert!(!asked[0].line.contains("consistency=local"), "the first read is linearizable");
    assert!(asked[1].line.contains("from=3") && asked[1].line.contains("consistency=local"));
    assert!(!asked[4].line.contains("consistency=local"), "so is one after nothing came");
    assert!(asked[1..].iter().all(|request| request.header("quorate-log-id") == Some("1")));
}

#[tokio::test]
async fn a_follow_fixes_its_place_before_it_waits() {
    let steps = [Step::BreakOff, page(7..7, 7, false), Step::BreakOff, page(7..8, 8, false)];
    let service = Service::start(steps).await;
    let mut follow = service.log().follow(ReadFrom::Tail);
    assert_eq!(follow.next().await.unwrap().unwrap().position, Position::new(7));
    let asked = service.asked();
    for request in &asked[..2] {
        assert!(request.line.contains("from=tail") && !request.line.contains("wait="));
    }
    for request in &asked[2..] {
        assert!(request.line.contains("from=7") && request.line.contains("wait="));
    }
}

#[tokio::test]
async fn a_follow_keeps_the_place_that_it_found_over_an_error() {
    let steps = [page(7..7, 7, false), Step::BreakOff, page(7..9, 9, false)];
    let service = Service::start(steps).await;
    let log = Client::single(service.addr.clone()).unwrap().log("orders".parse().unwrap());
    let mut follow = log.follow(ReadFrom::Tail);
    assert!(follow.next().await.unwrap_err().is_retryable());
    assert_eq!(follow.position(), Some(Position::new(7)));
    assert_eq!(follow.next().await.unwrap().unwrap().position, Position::new(7));
    assert!(service.asked()[2].line.contains("from=7"), "{}", service.asked()[2].line);
}

#[tokio::test]
async fn a_follow_waits_for_a_replica_that_is_behind() {
    let steps = [page(0..2, 2, false), refused(ErrorCode::BeyondTail), page(2..3, 3, false)];
    let service = Service::start(steps).await;
    let mut follow = service.log().follow(ReadFrom::First);
    for position in 0..3 {
        assert_eq!(follow.next().await.unwrap().unwrap().position, Position::new(position));
    }
}

#[tokio::test]
async fn a_follow_notices_a_gap() {
    let service = Service::start([page(0..2, 2, false), page(3..4, 4, false)]).await;
    let mut follow = service.log().follow(ReadFrom::First);
    follow.next().await.unwrap();
    follow.next().await.unwrap();
    let error = follow.next().await.unwrap_err();
    assert!(error.to_string().contains("asked for 2 and got 3"), "{error}");
}

#[tokio::test]
async fn a_follow_reads_ahead_by_one_page_and_no_further() {
    let service = Service::start([page(0..2, 6, false), page(2..4, 6, false)]).await;
    let mut follow = service.log().follow(ReadFrom::First);
    assert_eq!(follow.next().await.unwrap().unwrap().position, Position::new(0));
    service.is_asked(2).await;
    assert_eq!(follow.position(), Some(Position::new(1)));
    assert_eq!(follow.next().await.unwrap().unwrap().position, Position::new(1));
    assert_eq!(service.asked().len(), 2, "the second page was not asked for by anybody");
    assert_eq!(follow.next().await.unwrap().unwrap().position, Position::new(2));
    assert_eq!(follow.position(), Some(Position::new(3)));
}

#[tokio::test]
async fn a_follow_is_as_fresh_as_it_was_told_to_be() {
    for consistency in [Consistency::Local, Consistency::Linearizable] {
        let steps = [page(0..2, 2, false), page(2..2, 2, false), page(2..3, 3, true)];
        let service = Service::start(steps).await;
        let mut follow = service.log().follow(ReadFrom::First).consistency(consistency);
        for position in 0..3 {
            assert_eq!(follow.next().await.unwrap().unwrap().position, Position::new(position));
        }
        let is_local = consistency == Consistency::Local;
        for request in service.asked() {
            assert_eq!(request.line.contains("consistency=local"), is_local, "{}", request.line);
        }
    }
}

/// The cursor is there.
fn cursor(position: u64) -> Step {
    let body = format!(r#"{{"log":"orders","name":"c","position":{position}}}"#);
    Step::Answer { status: 200, headers: Vec::new(), body: body.into() }
}

/// It is there, and not where it was expected.
fn elsewhere(position: u64) -> Step {
    let actual = Actual { cursor: Some(Position::new(position)), ..Actual::default() };
    problem(&Problem::new(ErrorCode::CursorDiffers).with_actual(actual))
}

/// Without a hint of more, so that nothing is read ahead.
fn last_page(positions: std::ops::Range<u64>) -> Step {
    page(positions.clone(), positions.end, true)
}

#[tokio::test]
async fn a_consumer_begins_where_it_was_left_and_moves_its_cursor_from_there() {
    let service = Service::start([cursor(2), last_page(2..5), cursor(4), cursor(5)]).await;
    let mut consumer = service.log().consumer("c".parse().unwrap()).start().await.unwrap();
    consumer.next().await.unwrap();
    assert_eq!(consumer.next().await.unwrap().unwrap().position, Position::new(3));
    consumer.commit().await.unwrap();
    consumer.commit().await.unwrap();
    assert_eq!(consumer.next().await.unwrap().unwrap().position, Position::new(4));
    consumer.commit().await.unwrap();
    let asked = service.asked();
    assert_eq!(asked.len(), 4, "nothing is committed twice");
    assert!(asked[1].line.contains("from=2"), "{}", asked[1].line);
    let moves = [(2, br#"{"position":4}"#), (3, br#"{"position":5}"#)];
    for ((index, body), from) in moves.into_iter().zip(["\"2\"", "\"4\""]) {
        assert_eq!(
            (asked[index].header("if-match"), &asked[index].body[..]),
            (Some(from), &body[..])
        );
        assert_eq!(asked[index].header("quorate-log-id"), Some("1"));
    }
}

#[tokio::test]
async fn a_commit_whose_answer_got_lost_is_no_other_consumer() {
    let steps = [refused(ErrorCode::UnknownCursor), last_page(0..3), Step::BreakOff, elsewhere(3)];
    let service = Service::start(steps).await;
    let mut consumer = service.log().consumer("c".parse().unwrap()).start().await.unwrap();
    consumer.next_page().await.unwrap();
    consumer.commit().await.unwrap();
    assert_eq!(service.asked()[3].header("if-match"), Some("\"0\""));

    // The first commit is given up; it has happened nevertheless, as the second one finds out.
    let steps = [cursor(0), last_page(0..3), Step::BreakOff, elsewhere(1), cursor(2)];
    let service = Service::start(steps).await;
    let log = Client::single(service.addr.clone()).unwrap().log("orders".parse().unwrap());
    let mut consumer = log.consumer("c".parse().unwrap()).start().await.unwrap();
    consumer.next().await.unwrap();
    assert_eq!(consumer.commit().await.unwrap_err().outcome(), Outcome::Unknown);
    consumer.next().await.unwrap();
    consumer.commit().await.unwrap();
    assert_eq!(service.asked()[4].header("if-match"), Some("\"1\""));
}

#[tokio::test]
async fn a_consumer_is_told_that_it_is_not_alone() {
    let service = Service::start([cursor(0), last_page(0..3), elsewhere(1)]).await;
    let mut consumer = service.log().consumer("c".parse().unwrap()).start().await.unwrap();
    consumer.next_page().await.unwrap();
    let error = consumer.commit().await.unwrap_err();
    assert_eq!(error.kind(), CursorErrorKind::Moved, "{error}");
    assert_eq!(error.actual().cursor, Some(Position::new(1)));
    assert_eq!((error.outcome(), consumer.committed()), (Outcome::NotDone, Position::ZERO));
}

#[tokio::test]
async fn every_attempt_passes_the_layers() {
    let service = Service::start([Step::BreakOff, appended(0)]).await;
    let signed = |name: &'static str| {
        tower::util::MapRequestLayer::new(move |mut request: Request| {
            let seen = request.headers().len().to_string();
            request.headers_mut().insert(name, seen.parse().unwrap());
            request
        })
    };
    let builder = Client::builder().seed(service.addr.clone());
    let client = builder.layer(signed("x-last")).layer(signed("x-first")).build().unwrap();
    client.log("orders".parse().unwrap()).append("x").await.unwrap();
    let asked = service.asked();
    assert_eq!(asked.len(), 2);
    for request in asked {
        let seen = |name| request.header(name).unwrap().parse::<u64>().unwrap();
        assert_eq!(
            seen("x-last"),
            seen("x-first") + 1,
            "the layer that came last is the outermost"
        );
    }
}
