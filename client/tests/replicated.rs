//! Replicated state machines against a service that keeps logs as the real one does, and loses what it can.
//!
//! Goal: all instances come to the same state, each command is done once, what is told of one is true, and snapshots
//! stand in for what was trimmed. Method: a register of numbers that remembers every command, a model of the service behind
//! real sockets, and harm drawn from a seed.
//!
//! Not here: real replicas and real processes (`e2e`).

#![cfg(feature = "sdk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod service;
#[path = "service/logs.rs"]
mod service_logs;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_client::api::error::ErrorCode;
use quorate_client::api::logs::Settings;
use quorate_client::codec::{from_json, to_json};
use quorate_client::types::{NewRecord, Position};
use quorate_client::{
    Client, CodecError, EndReason, Log, Outcome, ProduceFailure, Replicated, ReplicatedBuilder,
    ReplicatedFailure, RetryPolicy, StateMachine,
};
use service::Asked;
use service_logs::{Harm, Service};
use tokio::time::{sleep, timeout};

/// A state that tells every command that was done, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Diary {
    done: Vec<String>,
    /// Makes snapshots larger than a part.
    ballast: usize,
}

impl StateMachine for Diary {
    type Command = String;
    /// How many were done with this one.
    type Output = usize;

    fn apply(&mut self, command: String) -> usize {
        assert!(command != "panic", "told to");
        self.done.push(command);
        self.done.len()
    }

    fn encode(command: &String) -> Result<Bytes, CodecError> {
        if command.is_empty() {
            return Err("nothing to do".into());
        }
        to_json(command)
    }

    fn decode(bytes: &[u8]) -> Result<String, CodecError> {
        from_json(bytes)
    }

    fn snapshot(&self) -> Result<Bytes, CodecError> {
        to_json(&(&self.done, "x".repeat(self.ballast)))
    }

    fn restore(bytes: &[u8]) -> Result<Self, CodecError> {
        let (done, ballast) = from_json::<(_, String)>(bytes)?;
        Ok(Self { done, ballast: ballast.len() })
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
            3 => Harm::Doubtful,
            4 => Harm::Late,
            _ => Harm::None,
        }
    }
}

/// Harms commands of an instance that are sent in the first life of its producer.
fn in_the_first_life(harm: Harm) -> impl FnMut(&Asked) -> Harm + Send {
    move |asked| {
        let is_of_instance = asked.header("producer-id").is_some_and(|id| id.starts_with("rsm-"));
        let is_first = asked.header("producer-epoch") == Some("0");
        if is_of_instance && is_first { harm } else { Harm::None }
    }
}

fn log(service: &Service) -> Log {
    let retry = RetryPolicy { backoff_max: Duration::from_millis(5), ..RetryPolicy::default() };
    let client = Client::builder().seed(service.addr.clone()).retry(retry);
    client.build().unwrap().log("diary".parse().unwrap())
}

fn builder(service: &Service) -> ReplicatedBuilder<Diary> {
    log(service).replicated(Diary::default())
}

async fn start(service: &Service) -> Replicated<Diary> {
    soon(builder(service).start()).await.unwrap()
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

async fn state(instance: &Replicated<Diary>) -> Diary {
    soon(instance.query(Diary::clone)).await.unwrap()
}

/// How many complete snapshots there are, and the first command that is still there.
fn kept(service: &Service) -> (usize, u64) {
    let logs = service.logs();
    let snapshots = &logs["diary.snapshots"];
    let kept = snapshots.records.iter().skip(usize::try_from(snapshots.first).unwrap());
    let is_complete =
        |record: &&NewRecord| record.headers.get("quorate-snapshot") == Some(&b"complete"[..]);
    (kept.filter(is_complete).count(), logs["diary"].first)
}

/// Does so many commands, one after the other.
async fn write(instance: &Replicated<Diary>, name: &str, count: usize) {
    for number in 0..count {
        soon(instance.execute(format!("{name} {number}"))).await.unwrap();
    }
}

#[tokio::test]
async fn whatever_gets_lost_each_command_is_done_once_everywhere() {
    const COUNT: usize = 100;
    for seed in 0..6 {
        let service = Service::start(storm(seed)).await;
        let mut instances = Vec::new();
        for _ in 0..3 {
            let builder = builder(&service).snapshot_commands(40);
            instances.push(soon(builder.start()).await.unwrap());
        }
        let work = instances.iter().enumerate().map(|(who, instance)| async move {
            let mut together = Vec::new();
            for number in 0..COUNT {
                together.push(instance.execute(format!("{who}/{number}")));
            }
            futures_util::future::join_all(together).await
        });
        let outputs = soon(futures_util::future::join_all(work)).await;
        let places: BTreeSet<usize> =
            outputs.into_iter().flatten().map(|output| output.unwrap()).collect();
        // Each was the one that made it so many.
        assert_eq!(places, (1..=3 * COUNT).collect(), "seed {seed}");
        let states =
            [state(&instances[0]).await, state(&instances[1]).await, state(&instances[2]).await];
        assert_eq!(states[0].done.len(), 3 * COUNT, "seed {seed}");
        assert_eq!(states[0].done.iter().collect::<BTreeSet<_>>().len(), 3 * COUNT);
        assert_eq!((&states[0], &states[0]), (&states[1], &states[2]), "seed {seed}");
        until("a snapshot was taken in all that", || kept(&service).0 > 0).await;
    }
}

#[tokio::test]
async fn the_output_is_that_of_ones_own_command_and_a_query_sees_what_was_done_before() {
    let service = Service::start(calm).await;
    let (one, other) = (start(&service).await, start(&service).await);
    assert_eq!(soon(one.execute("a".to_owned())).await.unwrap(), 1);
    assert_eq!(state(&other).await.done, ["a"]);
    assert_eq!(soon(other.execute("b".to_owned())).await.unwrap(), 2);
    assert_eq!(state(&one).await.done, ["a", "b"]);
    assert_eq!(one.query_local(|diary| diary.done.len()).unwrap(), 2);
    // Anybody may append a command.
    soon(log(&service).append(r#""c""#)).await.unwrap();
    assert_eq!(state(&one).await.done, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_command_whose_answer_is_lost_for_good_is_known_by_its_record() {
    let service = Service::start(in_the_first_life(Harm::Late)).await;
    let instance = builder(&service).deadline(Duration::from_secs(20)).start();
    let instance = soon(instance).await.unwrap();
    let asked = Instant::now();
    assert_eq!(soon(instance.execute("a".to_owned())).await.unwrap(), 1);
    assert!(asked.elapsed() < Duration::from_secs(10), "it waited for an answer");
}

#[tokio::test]
async fn a_command_that_never_arrived_is_found_not_to_be_done() {
    let service = Service::start(in_the_first_life(Harm::Doubtful)).await;
    let instance = builder(&service).deadline(Duration::from_secs(3)).start();
    let instance = soon(instance).await.unwrap();
    let error = soon(instance.execute("a".to_owned())).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    assert!(matches!(error.failure(), ReplicatedFailure::Produce(_)), "{error}");
    // The next life goes on.
    assert_eq!(soon(instance.execute("b".to_owned())).await.unwrap(), 1);
    assert_eq!(state(&instance).await.done, ["b"]);
}

#[tokio::test]
async fn an_unknown_outcome_is_told_at_the_deadline_and_does_no_harm() {
    let service = Service::start(calm).await;
    let instance = builder(&service).deadline(Duration::from_millis(600)).in_flight_max(1).start();
    let instance = soon(instance).await.unwrap();
    service.now(|_| Harm::Doubtful);
    let error = soon(instance.execute("a".to_owned())).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert!(matches!(error.failure(), ReplicatedFailure::Deadline), "{error}");
    service.now(calm);
    // Room for one command: what became of the first is found out, and the second gets in.
    let mut second = None;
    let end = Instant::now() + Duration::from_secs(30);
    while second.is_none() && Instant::now() < end {
        second = soon(instance.execute("b".to_owned())).await.ok();
    }
    assert_eq!(second, Some(1));
    assert_eq!(state(&instance).await.done, ["b"]);
}

#[tokio::test]
async fn a_dropped_call_does_no_harm() {
    let service = Service::start(calm).await;
    let instance = builder(&service).in_flight_max(4).start();
    let instance = soon(instance).await.unwrap();
    for number in 0..100 {
        let call = instance.execute(format!("dropped {number}"));
        drop(timeout(Duration::from_micros(number * 20), call).await);
    }
    let last = soon(instance.execute("last".to_owned())).await.unwrap();
    let state = state(&instance).await;
    assert_eq!((state.done.len(), state.done.last().map(String::as_str)), (last, Some("last")));
    assert_eq!(state.done.iter().collect::<BTreeSet<_>>().len(), last, "{:?}", state.done);
    soon(instance.close()).await.unwrap();
}

#[tokio::test]
async fn what_is_told_of_a_command_is_true_though_the_instance_ends_meanwhile() {
    // More than the producer has room for, each in a batch of its own.
    const COUNT: usize = 12;
    let service = Service::start(in_the_first_life(Harm::Refused)).await;
    let instance = start(&service).await;
    let calls = (0..COUNT).map(|number| {
        let (instance, command) = (instance.clone(), format!("{number} {}", "x".repeat(900_000)));
        tokio::spawn(async move { instance.execute(command).await })
    });
    let calls: Vec<_> = calls.collect();
    soon(log(&service).append("no JSON")).await.unwrap();
    soon(instance.ended()).await;
    service.now(calm);
    let mut not_done = Vec::new();
    for (number, call) in calls.into_iter().enumerate() {
        let error = soon(call).await.unwrap().unwrap_err();
        if error.outcome() == Outcome::NotDone {
            not_done.push(number);
        }
    }
    until("what was sent is there", || {
        service.logs()["diary"].records.len() + not_done.len() > COUNT
    })
    .await;
    drop(instance);
    let marks = not_done.iter().map(|number| format!("\"{number} "));
    for mark in marks.collect::<Vec<_>>() {
        let is_it = |record: &NewRecord| record.body.starts_with(mark.as_bytes());
        assert!(!service.logs()["diary"].records.iter().any(is_it), "{mark} is done");
    }
}

#[tokio::test]
async fn a_command_that_does_not_encode_is_refused_alone() {
    let service = Service::start(calm).await;
    let instance = start(&service).await;
    let error = soon(instance.execute(String::new())).await.unwrap_err();
    assert!(matches!(error.failure(), ReplicatedFailure::Encode(_)), "{error}");
    assert_eq!(error.outcome(), Outcome::NotDone);
    // The largest that a record can hold is not; two of its bytes are quotation marks.
    soon(instance.execute("x".repeat((1 << 20) - 2))).await.unwrap();
    // So is one that no record can hold.
    let error = soon(instance.execute("x".repeat(2 << 20))).await.unwrap_err();
    let ReplicatedFailure::Produce(why) = error.failure() else { panic!("{error}") };
    assert!(matches!(why.failure(), ProduceFailure::Record(_)), "{error}");
    assert_eq!(soon(instance.execute("a".to_owned())).await.unwrap(), 2);
}

#[tokio::test]
async fn a_command_that_panics_ends_every_instance_at_the_same_place() {
    let service = Service::start(calm).await;
    let (one, other) = (start(&service).await, start(&service).await);
    write(&one, "a", 3).await;
    let error = soon(one.execute("panic".to_owned())).await.unwrap_err();
    for instance in [&one, &other] {
        let why = soon(instance.ended()).await;
        let EndReason::Panicked { position, message } = why else { panic!("{why}") };
        assert_eq!((position, message.as_str()), (Position::new(3), "told to"));
    }
    assert!(matches!(error.failure(), ReplicatedFailure::Ended(EndReason::Panicked { .. })));
    // Nobody looks at half a command.
    assert!(
        one.query_local(Diary::clone).is_err() && soon(other.query(Diary::clone)).await.is_err()
    );
    let error = soon(other.execute("b".to_owned())).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    // It is the same after a new start.
    let why = soon(start(&service).await.ended()).await;
    assert!(matches!(why, EndReason::Panicked { .. }), "{why}");
}

#[tokio::test]
async fn a_record_that_is_no_command_ends_every_instance_at_the_same_place() {
    let service = Service::start(calm).await;
    let (one, other) = (start(&service).await, start(&service).await);
    soon(log(&service).append("no JSON")).await.unwrap();
    for instance in [one, other] {
        let why = soon(instance.ended()).await;
        assert!(matches!(why, EndReason::Undecodable { position: Position::ZERO, .. }), "{why}");
    }
}

#[tokio::test]
async fn snapshots_stand_in_for_commands_and_the_last_two_are_kept() {
    let service = Service::start(calm).await;
    let settings = |ballast| {
        let initial = Diary { ballast, ..Diary::default() };
        log(&service).replicated(initial).snapshot_commands(10).snapshot_part_bytes(100)
    };
    let one = soon(settings(1234).start()).await.unwrap();
    let other = soon(settings(1234).start()).await.unwrap();
    for round in 0..6 {
        write(&one, &format!("one {round}"), 8).await;
        write(&other, &format!("other {round}"), 8).await;
    }
    until("two snapshots are kept", || kept(&service).0 == 2 && kept(&service).1 > 60).await;
    let expected = state(&one).await;
    assert_eq!(expected.done.len(), 96);
    // The newcomer knows the ballast from a snapshot alone.
    let late = soon(settings(0).start()).await.unwrap();
    assert!(late.query_local(|diary| diary.done.len()).unwrap() > 60);
    assert_eq!(state(&late).await, expected);
    assert_eq!(state(&other).await, expected);
}

#[tokio::test]
async fn a_snapshot_that_is_damaged_is_made_up_for_by_the_one_before() {
    let service = Service::start(calm).await;
    let one = builder(&service).snapshot_commands(10).start();
    let one = soon(one).await.unwrap();
    write(&one, "a", 45).await;
    until("two snapshots are kept", || kept(&service).0 == 2).await;
    let expected = state(&one).await;
    drop(one);
    service.change("diary.snapshots", |kept| {
        let part = kept.records.len() - 2;
        kept.records[part].body = Bytes::from_static(b"damaged");
    });
    let late = start(&service).await;
    assert_eq!(state(&late).await, expected);
}

#[tokio::test]
async fn a_snapshot_of_which_a_part_is_trimmed_is_none() {
    let service = Service::start(calm).await;
    let one = soon(builder(&service).snapshot_commands(10).start()).await.unwrap();
    write(&one, "a", 45).await;
    until("two snapshots are kept", || kept(&service).0 == 2 && kept(&service).1 > 20).await;
    drop(one);
    service.change("diary.snapshots", |kept| kept.first = kept.records.len() as u64 - 1);
    let why = soon(start(&service).await.ended()).await;
    assert!(matches!(why, EndReason::HistoryLost { .. }), "{why}");
}

#[tokio::test]
async fn an_instance_under_which_the_log_is_trimmed_goes_on_from_a_snapshot() {
    let service = Service::start(calm).await;
    let one = soon(builder(&service).snapshot_commands(10).start()).await.unwrap();
    write(&one, "a", 45).await;
    until("the log is trimmed", || kept(&service).1 > 20).await;
    // As if it had begun before all that: it has nothing, and the log has no beginning any more.
    let snapshots = service.logs().remove("diary.snapshots").unwrap();
    let first = service.change("diary", |kept| std::mem::take(&mut kept.first));
    let late = start(&service).await;
    assert_eq!(late.applied(), Position::ZERO, "it has not read yet");
    service.change("diary", |kept| kept.first = first);
    service.logs().insert("diary.snapshots".to_owned(), snapshots);
    let expected = state(&one).await;
    assert_eq!(state(&late).await, expected);
    assert_eq!(soon(late.execute("b".to_owned())).await.unwrap(), 46);
}

#[tokio::test]
async fn commands_that_are_lost_are_never_replaced_by_nothing() {
    let service = Service::start(calm).await;
    let one = start(&service).await;
    write(&one, "a", 5).await;
    service.change("diary", |kept| kept.first = 3);
    let error = soon(builder(&service).start()).await.unwrap_err();
    let ReplicatedFailure::Ended(EndReason::HistoryLost { needed, first }) = error.failure() else {
        panic!("{error}")
    };
    assert_eq!((needed.get(), first.get()), (0, 3));
}

#[tokio::test]
async fn a_log_that_drops_records_by_itself_is_refused() {
    let service = Service::start(calm).await;
    drop(start(&service).await);
    let bytes = |settings: &mut Settings| settings.retention_bytes = Some(1000);
    let ttl = |settings: &mut Settings| settings.ttl_ms = Some(1000);
    let sets = [("diary", bytes as fn(&mut Settings)), ("diary", ttl), ("diary.snapshots", bytes)];
    for (log, set) in sets {
        service.change("diary", |kept| kept.settings = Settings::default());
        service.change(log, |kept| {
            kept.settings = Settings::default();
            set(&mut kept.settings);
        });
        let error = soon(builder(&service).start()).await.unwrap_err();
        assert!(matches!(error.failure(), ReplicatedFailure::Call(_)), "{error}");
    }
}

#[tokio::test]
async fn snapshots_of_an_earlier_log_of_the_name_are_not_taken_for_ones_own() {
    let service = Service::start(calm).await;
    let one = soon(builder(&service).snapshot_commands(10).start()).await.unwrap();
    write(&one, "old", 25).await;
    until("there is a snapshot", || kept(&service).0 > 0).await;
    soon(one.close()).await.unwrap();
    service.logs().remove("diary");
    let new = soon(builder(&service).snapshot_commands(10).start()).await.unwrap();
    write(&new, "new", 1).await;
    assert_eq!(state(&new).await.done, ["new 0"]);
    write(&new, "more", 60).await;
    until("the new log is trimmed", || kept(&service).1 > 20).await;
    assert_eq!(state(&start(&service).await).await, state(&new).await);
}

#[tokio::test]
async fn a_log_that_is_replaced_ends_the_instance() {
    let service = Service::start(calm).await;
    let instance = start(&service).await;
    write(&instance, "a", 1).await;
    service.change("diary", |kept| kept.id = 77);
    let why = soon(instance.ended()).await;
    let EndReason::Call(error) = &why else { panic!("{why}") };
    assert_eq!(error.code(), Some(ErrorCode::LogIdDiffers));
}

#[tokio::test]
async fn no_command_gets_into_another_log_of_the_name() {
    let service = Service::start(calm).await;
    let instance = start(&service).await;
    // Nobody tells the instance.
    service.logs().get_mut("diary").unwrap().id = 77;
    soon(instance.execute("a".to_owned())).await.unwrap_err();
    assert_eq!(service.logs()["diary"].records.len(), 0);
}

#[tokio::test]
async fn there_may_be_no_limit_at_all() {
    let service = Service::start(calm).await;
    let builder = builder(&service).deadline(Duration::MAX).snapshot_commands(1);
    let builder = builder.snapshot_part_bytes(usize::MAX).in_flight_max(usize::MAX);
    let instance = soon(builder.start()).await.unwrap();
    write(&instance, "a", 1).await;
    assert_eq!(state(&instance).await.done, ["a 0"]);
    until("a snapshot is taken", || kept(&service).0 == 1).await;
    soon(instance.close()).await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_was_recovered_ends_the_instance() {
    let service = Service::start(calm).await;
    let instance = start(&service).await;
    write(&instance, "a", 3).await;
    // The survivor lacked the last command, and others were done since.
    service.change("diary", |kept| {
        kept.generation += 1;
        kept.records.truncate(2);
        kept.records.extend(["b", "c", "d"].map(|body| NewRecord::new(format!("\"{body}\""))));
    });
    let why = soon(instance.ended()).await;
    assert!(why.to_string().contains("was recovered"), "{why}");
    assert_eq!(state(&start(&service).await).await.done, ["a 0", "a 1", "b", "c", "d"]);
}

#[tokio::test]
async fn a_sealed_log_takes_no_commands_and_answers_queries() {
    let service = Service::start(calm).await;
    let instance = start(&service).await;
    write(&instance, "a", 1).await;
    service.change("diary", |kept| kept.is_sealed = true);
    for _ in 0..3 {
        let error = soon(instance.execute("b".to_owned())).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    }
    assert_eq!(state(&instance).await.done, ["a 0"]);
}

#[tokio::test]
async fn a_closed_instance_has_told_everybody_and_does_nothing_more() {
    let service = Service::start(calm).await;
    let instance = start(&service).await;
    let clone = instance.clone();
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let instance = instance.clone();
            tokio::spawn(async move { instance.execute(format!("a {number}")).await })
        })
        .collect();
    until("some are done", || instance.applied() > Position::ZERO).await;
    soon(instance.close()).await.unwrap();
    let mut done = 0;
    for call in calls {
        match soon(call).await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert_eq!(error.outcome(), Outcome::NotDone, "{error}"),
        }
    }
    assert_eq!(service.logs()["diary"].records.len(), done);
    let error = soon(clone.execute("b".to_owned())).await.unwrap_err();
    assert!(matches!(error.failure(), ReplicatedFailure::Ended(EndReason::Closed)), "{error}");
    assert!(matches!(clone.end_reason(), Some(EndReason::Closed)));
}
