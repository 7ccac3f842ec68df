//! Bad input gets a clear answer and changes nothing.
//!
//! Method: a table of requests, each with the codes it may get, sent to the leader and to a follower.
//! Every answer must be a problem document that says so, and no log may have changed by it. What is
//! bad between replicas follows below the table; what is bad on the level of connections has a file of its own.

use anyhow::{Context, Result};
use client::api::{
    error::{ErrorCode, SideEffects},
    logs::{LogDescription, LogList},
    media, paths,
};
use client::types::{Fence, Position, ProducerEpoch, Sequence};
use quorate_e2e::{
    cluster::Cluster,
    process::Recipe,
    rest::{self, Answer},
};
use reqwest::Method;
use std::{fs, net::SocketAddr};

/// A request that must be refused.
struct Case {
    name: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// What may be said to it.
    codes: &'static [ErrorCode],
}

fn case(name: &'static str, request: (&'static str, &str), codes: &'static [ErrorCode]) -> Case {
    let (method, path) = request;
    Case { name, method, path: path.to_owned(), headers: Vec::new(), body: Vec::new(), codes }
}

impl Case {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn body(mut self, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.with("content-type", kind)
    }

    fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.body(media::JSON, body)
    }

    async fn send(&self, http: &reqwest::Client, addr: SocketAddr) -> Result<Answer> {
        if self.body.len() > AT_ONCE {
            let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
            let headers = headers.collect::<String>();
            let head = format!("{} {} HTTP/1.1\r\n{headers}", self.method, self.path);
            return rest::send_refused(addr, &head, &self.body).await;
        }
        let method = Method::from_bytes(self.method.as_bytes())?;
        let mut request = http.request(method, format!("http://{addr}{}", self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        Answer::to(request.body(self.body.clone())).await
    }
}

/// A body up to here has left before an answer can come.
const AT_ONCE: usize = 32 << 10;

const ORDERS: &str = "/v1/logs/orders/records";

/// What an append may bring that is no batch.
fn bodies() -> Vec<Case> {
    use ErrorCode::{
        BatchTooLarge, BodyTooLarge, EmptyBatch, InvalidBody, RecordHeadersTooLarge, RecordTooLarge,
    };
    let post = |name, codes| case(name, ("POST", ORDERS), codes);
    let records = |count: usize| vec![r#"{"data":"x"}"#; count].join(",");
    let headers = |count: usize| vec![r#"["a","b"]"#; count].join(",");
    let long = |bytes: usize| "x".repeat(bytes);
    vec![
        post("JSON that ends early", &[InvalidBody]).json(r#"{"records":["#),
        post("no JSON at all", &[InvalidBody]).json("hello"),
        post("a string for a list", &[InvalidBody]).json(r#"{"records":"x"}"#),
        post("a number for a text", &[InvalidBody]).json(r#"{"records":[{"data":1}]}"#),
        post("an unknown member", &[InvalidBody]).json(r#"{"records":[{"data":"a","key":"k"}]}"#),
        post("two bodies", &[InvalidBody]).json(r#"{"records":[{"data":"a","json":1}]}"#),
        post("no body", &[InvalidBody]).json(r#"{"records":[{}]}"#),
        post("no base64", &[InvalidBody]).json(r#"{"records":[{"data_base64":"@"}]}"#),
        post("a bad second line", &[InvalidBody])
            .body(media::NDJSON, "{\"data\":\"a\"}\n{\"data\":\n"),
        post("broken frames", &[InvalidBody]).body(media::FRAMES, "no frame"),
        post("a list for the body", &[InvalidBody]).json(r#"[[{"data":"a"}]]"#),
        post("a list for a record", &[InvalidBody]).json(r#"{"records":[["hello"]]}"#),
        post("a list for a line", &[InvalidBody]).body(media::NDJSON, "[\"hello\"]\n"),
        post("a list for a header's bytes", &[InvalidBody])
            .json(r#"{"records":[{"data":"a","headers":[["h",["/w=="]]]}]}"#),
        post("an empty batch", &[EmptyBatch]).json(r#"{"records":[]}"#),
        post("no line", &[EmptyBatch]).body(media::NDJSON, "\n\n"),
        post("too many records", &[BatchTooLarge])
            .json(format!(r#"{{"records":[{}]}}"#, records(1_001))),
        post("too many bytes", &[BatchTooLarge, BodyTooLarge])
            .body(media::NDJSON, format!("{{\"data\":\"{}\"}}\n", long(1_000_000)).repeat(5)),
        post("a record too large", &[RecordTooLarge, BodyTooLarge])
            .body(media::BYTES, long((1 << 20) + 1)),
        post("a body far too large", &[RecordTooLarge, BodyTooLarge])
            .body(media::BYTES, long(64 << 20)),
        post("headers too long", &[RecordHeadersTooLarge])
            .json(format!(r#"{{"records":[{{"data":"a","headers":[["h","{}"]]}}]}}"#, long(9_000))),
        post("too many headers", &[RecordHeadersTooLarge])
            .json(format!(r#"{{"records":[{{"data":"a","headers":[{}]}}]}}"#, headers(65))),
        case(
            "a record too large for its log",
            ("POST", "/v1/logs/small/records"),
            &[RecordTooLarge],
        )
        .body(media::BYTES, "eleven byte"),
    ]
}

/// The request of a process that wants to join.
fn joiner(zone: &str, addr: &str) -> String {
    let nonce = "0".repeat(32);
    format!(
        r#"{{"nonce":"{nonce}","addr":"{addr}","peer_addr":"{addr}","zone":"{zone}","version":"0"}}"#
    )
}

/// Names, routes, methods, media types.
fn places() -> Vec<Case> {
    use ErrorCode::{
        AlreadyBootstrapped, InvalidBody, InvalidLogName, InvalidParameter, InvalidWish,
        LogDiffers, MethodNotAllowed, NotAcceptable, ReservedLogName, UnknownCheckpoint,
        UnknownCursor, UnknownJoiner, UnknownLog, UnknownReplica, UnknownRoute, UnknownTransfer,
        UnsupportedMediaType,
    };
    let append = |name, log: &str, codes| {
        let path = format!("/v1/logs/{log}/records");
        case(name, ("POST", &path), codes).body(media::BYTES, "x")
    };
    let long_name = "n".repeat(256);
    vec![
        append("an unknown log", "nobody", &[UnknownLog]),
        append("a space in a name", "a%20b", &[InvalidLogName]),
        append("an empty part of a name", "a%2F%2Fb", &[InvalidLogName]),
        append("a name that climbs", "a%2F..%2Fb", &[InvalidLogName]),
        append("a name too long", &long_name, &[InvalidLogName]),
        append("a name that is no UTF-8", "%ff", &[InvalidLogName, InvalidParameter]),
        case("a name of the service", ("PUT", "/v1/logs/_mine"), &[ReservedLogName]).json("{}"),
        case("other settings", ("PUT", "/v1/logs/orders"), &[LogDiffers])
            .json(r#"{"retention_bytes":5}"#),
        case("a misspelt setting", ("PUT", "/v1/logs/new"), &[InvalidBody])
            .json(r#"{"retention_byte":5}"#),
        case("settings of an unknown log", ("PATCH", "/v1/logs/nobody"), &[UnknownLog]).json("{}"),
        case("settings in plain text", ("PUT", "/v1/logs/new"), &[UnsupportedMediaType])
            .body("text/plain", "retention_bytes=5"),
        case("a description of nothing", ("GET", "/v1/logs/nobody"), &[UnknownLog]),
        case("deleting nothing", ("DELETE", "/v1/logs/nobody"), &[UnknownLog]),
        case("an unknown cursor", ("GET", "/v1/logs/orders/cursors/none"), &[UnknownCursor]),
        case("a bad cursor name", ("GET", "/v1/logs/orders/cursors/a%20b"), &[InvalidParameter]),
        case("a second bootstrap", ("POST", "/v1/cluster/bootstrap"), &[AlreadyBootstrapped])
            .json("{}"),
        case("a joiner that says too much", ("POST", paths::JOINERS), &[InvalidBody])
            .json(joiner(&"z".repeat(2_000), "http://127.0.0.1:9")),
        case("a joiner with a padded address", ("POST", paths::JOINERS), &[InvalidBody])
            .json(joiner("", &format!("http://127.0.0.1:{}9", "0".repeat(2_000)))),
        case("a plan for nobody", ("POST", paths::PLANS), &[UnknownReplica])
            .json(r#"{"remove":{"replicas":[9]}}"#),
        case("a plan with nobody", ("POST", paths::PLANS), &[UnknownJoiner])
            .json(r#"{"add":{"joiners":["http://127.0.0.1:9"]}}"#),
        case("a plan for nothing", ("POST", paths::PLANS), &[InvalidWish])
            .json(r#"{"remove":{"replicas":[]}}"#),
        case("a plan for far too many", ("POST", paths::PLANS), &[InvalidBody])
            .json(format!(r#"{{"remove":{{"replicas":[{}]}}}}"#, vec!["9"; 17].join(","))),
        case("a misspelt plan", ("POST", paths::PLANS), &[InvalidBody])
            .json(r#"{"add":{"joiner":["http://127.0.0.1:9"]}}"#),
        case("two wishes in one", ("POST", paths::PLANS), &[InvalidBody])
            .json(r#"{"remove":{"replicas":[1]},"lead":{"replica":1}}"#),
        case("a list for a wish", ("POST", paths::PLANS), &[InvalidBody])
            .json(r#"{"remove":[[1]]}"#),
        case("an unknown snapshot", ("GET", "/v1/snapshots/999999"), &[UnknownCheckpoint]),
        case("a backup of nothing", ("GET", "/v1/snapshots/0/archive"), &[UnknownCheckpoint]),
        case(
            "a backup of what is yet to come",
            ("GET", "/v1/snapshots/999999/archive"),
            &[UnknownCheckpoint],
        ),
        case(
            "a bad log of a backup",
            ("GET", "/v1/snapshots/1/archive?log=a,,b"),
            &[InvalidParameter],
        ),
        case(
            "a backup of something else",
            ("GET", "/v1/snapshots/1/archive?logs=a"),
            &[InvalidParameter],
        ),
        case("a scrub of one log", ("POST", "/v1/audit/scrub?log=a"), &[InvalidParameter]),
        case("releasing nothing", ("DELETE", "/v1/snapshots/999999"), &[UnknownCheckpoint]),
        case("a snapshot of no number", ("GET", "/v1/snapshots/last"), &[InvalidParameter]),
        case("a checkpoint with a misspelt label", ("POST", "/v1/checkpoints"), &[InvalidBody])
            .json(r#"{"lable":"x"}"#),
        case("a checkpoint with an empty label", ("POST", "/v1/checkpoints"), &[InvalidBody])
            .json(r#"{"label":""}"#),
        case("an unknown transfer", ("GET", "/v1/transfers/9-9"), &[UnknownTransfer]),
        case("a limit of an unknown transfer", ("PATCH", "/v1/transfers/9-9"), &[UnknownTransfer])
            .json(r#"{"bytes_per_second":1000}"#),
        case("a transfer that stands still", ("PATCH", "/v1/transfers/9-9"), &[InvalidBody])
            .json(r#"{"bytes_per_second":0}"#),
        case("a misspelt limit", ("PATCH", "/v1/transfers/9-9"), &[InvalidBody])
            .json(r#"{"speed":9}"#),
        case("an unknown route", ("GET", "/v1/nothing"), &[UnknownRoute]),
        case("an unknown method", ("DELETE", "/v1/cluster"), &[MethodNotAllowed]),
        case("a method nobody knows", ("BREW", ORDERS), &[MethodNotAllowed]),
        case("records as a picture", ("GET", ORDERS), &[NotAcceptable]).with("accept", "image/png"),
    ]
}

/// What a read may ask that nobody can answer.
fn reads() -> Vec<Case> {
    use ErrorCode::{BeyondTail, InvalidParameter, Trimmed, UnknownLog};
    let read = |name, query: &str, codes| case(name, ("GET", &format!("/v1/logs/{query}")), codes);
    vec![
        read("an unknown log", "nobody/records", &[UnknownLog]),
        read("beyond the tail", "orders/records?from=99", &[BeyondTail]),
        read("trimmed", "trimmed/records?from=0", &[Trimmed]),
        read("no position", "orders/records?from=north", &[InvalidParameter]),
        read("a number too large", "orders/records?from=18446744073709551616", &[InvalidParameter]),
        read("no such month", "orders/records?from=2026-13-01T00:00:00Z", &[InvalidParameter]),
        read("a negative limit", "orders/records?limit=-1", &[InvalidParameter]),
        read("a limit of nothing", "orders/records?limit=0", &[InvalidParameter]),
        read("a limit with a sign", "orders/records?limit=%2B7", &[InvalidParameter]),
        case("a list of nothing", ("GET", "/v1/logs?limit=0"), &[InvalidParameter]),
        read("cursors, none of them", "orders/cursors?limit=0", &[InvalidParameter]),
        case(
            "a follow that waits",
            ("GET", "/v1/logs/orders/records?wait=5s"),
            &[InvalidParameter],
        )
        .with("accept", media::EVENTS),
        read("a wait without a unit", "orders/records?wait=soon", &[InvalidParameter]),
        read("an unknown consistency", "orders/records?consistency=maybe", &[InvalidParameter]),
        read("an unknown parameter", "orders/records?form=0", &[InvalidParameter]),
        read("one record beyond the tail", "orders/records/99", &[BeyondTail]),
        read("one trimmed record", "trimmed/records/0", &[Trimmed]),
        read("one record nowhere", "orders/records/x", &[InvalidParameter]),
        case("a place of no follow", ("GET", ORDERS), &[InvalidParameter])
            .with("accept", media::EVENTS)
            .with("last-event-id", "!"),
    ]
}

/// Every request about a log, told that it means another log; and told what has no meaning for it.
fn misplaced() -> Vec<Case> {
    use ErrorCode::{InvalidParameter, LogIdDiffers};
    let log = "/v1/logs/orders";
    let requests = [
        ("PUT", "", "{}"),
        ("PATCH", "", "{}"),
        ("DELETE", "", ""),
        ("DELETE", "?dry_run=true", ""),
        ("GET", "", ""),
        ("GET", "/records", ""),
        ("GET", "/records?from=tail&wait=20s", ""),
        ("GET", "/records?from=99", ""),
        ("GET", "/records/0", ""),
        ("POST", "/records", "{\"records\":[{\"data\":\"x\"}]}"),
        ("POST", "/trim", r#"{"to":1}"#),
        ("POST", "/seal", "{}"),
        ("PUT", "/fence", r#"{"fence":"f"}"#),
        ("GET", "/cursors", ""),
        ("GET", "/cursors/c", ""),
        ("PUT", "/cursors/c", r#"{"position":1}"#),
        ("DELETE", "/cursors/c", ""),
    ];
    let mut cases = Vec::new();
    for (method, path, body) in requests {
        let path = format!("{log}{path}");
        let request = |name, codes| {
            let case = case(name, (method, &path), codes);
            if body.is_empty() { case } else { case.json(body) }
        };
        cases
            .push(request("another log of the name", &[LogIdDiffers]).with("quorate-log-id", "99"));
        if method != "POST" || !path.ends_with("/records") {
            if (method, path.ends_with("/cursors/c")) != ("PUT", true) {
                let if_match = request("a condition without a meaning", &[InvalidParameter]);
                cases.push(if_match.with("if-match", "\"3\""));
            }
            let producer = request("a producer without an append", &[InvalidParameter]);
            cases.push(producer.with("producer-id", "p"));
        }
    }
    let events = case("events of another log", ("GET", ORDERS), &[LogIdDiffers]);
    cases.push(events.with("accept", media::EVENTS).with("quorate-log-id", "99"));
    cases.push(
        case("a condition of all logs", ("GET", "/v1/logs"), &[InvalidParameter])
            .with("quorate-log-id", "1"),
    );
    cases
}

/// Conditions that do not hold, and commands that make no sense.
fn conditions() -> Vec<Case> {
    use ErrorCode::{
        BeyondTail, CursorDiffers, Fenced, InvalidBody, InvalidParameter, KeyBodyDiffers,
        LogSealed, ProducerEpochOld, SequenceBodyDiffers, SequenceGap, TailDiffers,
    };
    let append = |name, log: &str, codes| {
        let path = format!("/v1/logs/{log}/records");
        case(name, ("POST", &path), codes).body(media::BYTES, "other")
    };
    let produced = |name, epoch: &str, sequence: &str, codes| {
        let case = append(name, "produced", codes);
        case.with("producer-id", "p").with("producer-epoch", epoch).with("producer-seq", sequence)
    };
    vec![
        append("another tail", "orders", &[TailDiffers]).with("if-match", "\"9\""),
        append("no tail", "orders", &[InvalidParameter]).with("if-match", "nine"),
        append("a tail with a sign", "orders", &[InvalidParameter]).with("if-match", "\"+3\""),
        append("a padded tail", "orders", &[InvalidParameter]).with("if-match", "\"003\""),
        append("the tag of a read", "orders", &[InvalidParameter])
            .with("if-match", "W/\"AQAAAAEAAAAAAAAAKgAAAAAAAAADAAAAAAAAAAk.0\""),
        append("the tag of a record", "orders", &[InvalidParameter])
            .with("if-match", "\"record.AQAAAAEAAAAAAAAAKgAAAAAAAAADAAAAAAAAAAk\""),
        append("not empty", "orders", &[TailDiffers]).with("if-none-match", "*"),
        append("a tail that shall not be", "orders", &[InvalidParameter])
            .with("if-none-match", "\"9\""),
        case("a cursor from elsewhere", ("PUT", "/v1/logs/orders/cursors/c"), &[CursorDiffers])
            .json(r#"{"position":1}"#)
            .with("if-match", "\"2\""),
        case("a cursor with a tag", ("PUT", "/v1/logs/orders/cursors/c"), &[InvalidParameter])
            .json(r#"{"position":1}"#)
            .with("if-match", "\"AQAAAAEAAAAAAAAAKgAAAAAAAAADAAAAAAAAAAk.0\""),
        append("another fence", "fenced", &[Fenced]).with("quorate-fence", "f2"),
        append("a fence where none is", "orders", &[Fenced]).with("quorate-fence", "f1"),
        append("a sealed log", "sealed", &[LogSealed]),
        append("another body under a key", "keyed", &[KeyBodyDiffers])
            .with("idempotency-key", "k1"),
        append("half a producer", "orders", &[InvalidParameter]).with("producer-id", "p"),
        produced("an older epoch", "0", "2", &[ProducerEpochOld]),
        produced("a gap", "1", "7", &[SequenceGap]),
        produced("a gap at the start of an epoch", "2", "1", &[SequenceGap]),
        produced("another body under a sequence", "1", "1", &[SequenceBodyDiffers]),
        produced("no number", "1", "two", &[InvalidParameter]),
        produced("a number with a sign", "1", "+2", &[InvalidParameter]),
        case("a trim beyond the tail", ("POST", "/v1/logs/orders/trim"), &[BeyondTail])
            .json(r#"{"to":99}"#),
        case("a list for a trim", ("POST", "/v1/logs/orders/trim"), &[InvalidBody]).json("[1]"),
        case("a trim to nowhere", ("POST", "/v1/logs/orders/trim"), &[InvalidBody])
            .json(r#"{"to":"the end"}"#),
    ]
}

/// Logs in every state that a refusal depends on.
async fn prepare(cluster: &Cluster) -> Result<()> {
    let (http, url) = (cluster.http(), cluster.url(0));
    for log in ["orders", "trimmed", "sealed", "fenced", "produced", "keyed"] {
        rest::put(http, &url, &format!("/v1/logs/{log}"), "{}").await?.succeeded()?;
    }
    let settings = r#"{"record_bytes_max":10}"#;
    rest::put(http, &url, "/v1/logs/small", settings).await?.succeeded()?;
    for log in ["orders", "trimmed", "sealed", "fenced"] {
        for body in [b"a", b"b", b"c"] {
            rest::append(http, &url, log, body).await?.succeeded()?;
        }
    }
    for sequence in ["0", "1"] {
        let request = http.post(format!("{url}/v1/logs/produced/records")).body("first");
        let request = request.header("producer-id", "p").header("producer-epoch", "1");
        Answer::to(request.header("producer-seq", sequence)).await?.succeeded()?;
    }
    let keyed = http.post(format!("{url}/v1/logs/keyed/records")).body("first");
    Answer::to(keyed.header("idempotency-key", "k1")).await?.succeeded()?;
    let json = |path: &str, body: &'static str| {
        http.post(format!("{url}{path}")).header("content-type", media::JSON).body(body)
    };
    Answer::to(json("/v1/logs/trimmed/trim", r#"{"to":2}"#)).await?.succeeded()?;
    Answer::to(json("/v1/logs/sealed/seal", "{}")).await?.succeeded()?;
    rest::put(http, &url, "/v1/logs/fenced/fence", r#"{"fence":"f1"}"#).await?.succeeded()?;
    Ok(())
}

/// Every log with its settings, tail and root: what must not change.
async fn everything(cluster: &Cluster) -> Result<Vec<LogDescription>> {
    let list = rest::get(cluster.http(), &cluster.url(0), "/v1/logs").await?.succeeded()?;
    let list: LogList = list.json()?;
    let mut all = Vec::new();
    for log in list.logs {
        all.push(cluster.describe(0, &log.log).await?);
    }
    Ok(all)
}

/// Sends a case, and finds everything that is wrong with the answer.
async fn wrong_with(
    case: &Case,
    http: &reqwest::Client,
    addr: SocketAddr,
) -> Result<Option<String>> {
    let answer = case.send(http, addr).await.with_context(|| case.name.to_owned())?;
    let problem = match answer.problem() {
        Ok(problem) => problem,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let is_expected = case.codes.contains(&problem.code);
    let is_true = problem.status == problem.code.status()
        && problem.retryable == problem.code.is_retryable()
        && problem.side_effects == SideEffects::None;
    let waits = matches!(problem.status, 429 | 503);
    let is_told = answer.header("x-request-id").is_some()
        && (!waits || answer.header("retry-after").is_some());
    Ok((!is_expected || !is_true || !is_told)
        .then(|| format!("expected {:?}, got {}", case.codes, answer.quoted())))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_is_answered_by_its_problem_and_changes_nothing() -> Result<()> {
    let cluster = Cluster::calm(3, &[]).await?;
    prepare(&cluster).await?;
    let before = everything(&cluster).await?;
    let (leader, follower) = (cluster.leader().await?, cluster.follower().await?);

    let cases: Vec<Case> =
        [bodies(), places(), reads(), conditions(), misplaced()].into_iter().flatten().collect();
    let mut wrong = Vec::new();
    for case in &cases {
        for (role, number) in [("leader", leader), ("follower", follower)] {
            if let Some(reason) =
                wrong_with(case, cluster.http(), cluster.replica(number).recipe().listen).await?
            {
                wrong.push(format!(
                    "{} {} ({}), at the {role}: {reason}",
                    case.method,
                    case.path.chars().take(60).collect::<String>(),
                    case.name
                ));
            }
        }
        if everything(&cluster).await? != before {
            wrong.push(format!("{}: it changed something", case.name));
            break;
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_the_value_that_was_expected() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    prepare(&cluster).await?;
    let by_name =
        |name: &str| conditions().into_iter().chain(reads()).find(|case| case.name == name);
    let mut actual = Vec::new();
    for name in
        ["another tail", "another fence", "an older epoch", "a gap", "trimmed", "beyond the tail"]
    {
        let case = by_name(name).context("the case stands in the table")?;
        actual.push(
            case.send(cluster.http(), cluster.replica(0).recipe().listen).await?.problem()?.actual,
        );
    }
    let [tail, fence, epoch, gap, trimmed, beyond] = &actual[..] else { unreachable!("six") };
    assert_eq!(tail.tail.map(Position::get), Some(3));
    assert_eq!(fence.fence.as_ref().map(Fence::as_str), Some("f1"));
    assert_eq!(epoch.producer_epoch.map(ProducerEpoch::get), Some(1));
    assert_eq!(gap.expected_sequence.map(Sequence::get), Some(2));
    assert_eq!(gap.received_sequence.map(Sequence::get), Some(7));
    assert_eq!(trimmed.first.map(Position::get), Some(2));
    assert_eq!(beyond.tail.map(Position::get), Some(3));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_that_says_too_much_leaves_nothing_that_stops_the_group() -> Result<()> {
    let mut cluster = Cluster::empty()?;
    let mut recipe = cluster.recipes(1, &[])?.remove(0);
    // There is a place for it.
    recipe.first_start = ["--bootstrap", "--expect", "2"].map(str::to_owned).into();
    cluster.add(recipe).await?;
    prepare(&cluster).await?;
    let (http, url) = (cluster.http().clone(), cluster.url(0));
    let join = async |zone: &str| {
        let request = http.post(format!("{url}{}", paths::JOINERS));
        let request = request.header("content-type", media::JSON);
        Answer::to(request.body(joiner(zone, "http://127.0.0.1:9"))).await
    };
    assert_eq!(join(&"z".repeat(2_000)).await?.status, 400);
    // The longest that is taken is admitted, and survives a restart.
    join(&"z".repeat(255)).await?.succeeded()?;
    cluster.replica_mut(0).kill()?;
    cluster.start_all()?;
    cluster.replica_mut(0).ready().await?;
    let append = http.post(format!("{url}{ORDERS}")).header("content-type", media::BYTES);
    Answer::to(append.body("x")).await?.succeeded()?;
    cluster.finish();
    Ok(())
}

// ---- between replicas --------------------------------------------------------------------------

/// The front of a message between replicas, as `server/src/peer/envelope.rs` lays it out.
#[derive(Clone, Copy)]
struct Envelope {
    cluster: [u8; 16],
    generation: (u32, u64),
    sender: u64,
    incarnation: (u64, u64),
    target: u64,
    /// The start of the target that the sender has accepted.
    accepted: (u64, u64),
}

impl Envelope {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = b"QPR\x01".to_vec();
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(self.cluster);
        bytes.extend(self.generation.0.to_le_bytes());
        bytes.extend(self.generation.1.to_le_bytes());
        let (incarnation, accepted) = (self.incarnation, self.accepted);
        let rest = [self.sender, incarnation.0, incarnation.1, self.target, accepted.0, accepted.1];
        bytes.extend(rest.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(crc32c(&bytes).to_le_bytes());
        bytes
    }
}

/// What a start says of itself that holds nothing and knows of no membership.
fn introduction(of: Envelope) -> Vec<u8> {
    let mut bytes = 1_u32.to_le_bytes().to_vec();
    bytes.extend([of.incarnation.0, of.incarnation.1].iter().flat_map(|it| it.to_le_bytes()));
    // No last entry, no vote, no membership, and all of that is whole.
    bytes.extend([0, 0, 0, 1]);
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut check, byte| {
        check ^= u32::from(*byte);
        for _ in 0..8 {
            check = if check & 1 == 1 { check >> 1 ^ 0x82f6_3b78 } else { check >> 1 };
        }
        check
    })
}

/// The start that a replica is, as its marker says: nobody tells it to outsiders.
fn start(recipe: &Recipe) -> Result<(u64, u64)> {
    let marker = fs::read(recipe.folder.join("marker"))?;
    let number = |at: usize| anyhow::Ok(u64::from_le_bytes(marker[at..at + 8].try_into()?));
    let kept = u32::from_le_bytes(marker[60..64].try_into()?);
    let last = 80 + 8 * (usize::try_from(kept)? - 1);
    Ok((number(52)? + u64::from(kept), number(last)?))
}

/// A message from the replica `sender` to the replica `target`, as only they can know.
async fn envelope(cluster: &Cluster, sender: usize, target: usize) -> Result<Envelope> {
    let status = cluster.answered(target).await?;
    let own = cluster.answered(sender).await?;
    let id = own.this_replica.context("it is a replica")?;
    let generation = status.generation.context("it belongs to a cluster")?;
    Ok(Envelope {
        cluster: *status.cluster.context("it belongs to a cluster")?.as_bytes(),
        generation: (generation.number, generation.random),
        sender: id.get(),
        incarnation: start(cluster.replica(sender).recipe())?,
        target: status.this_replica.context("it is a replica")?.get(),
        accepted: start(cluster.replica(target).recipe())?,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_message_with_a_wrong_identity_is_refused_and_changes_nothing() -> Result<()> {
    let cluster = Cluster::calm(3, &[]).await?;
    prepare(&cluster).await?;
    let (leader, follower) = (cluster.leader().await?, cluster.follower().await?);
    let before = everything(&cluster).await?;

    let right = envelope(&cluster, leader, follower).await?;
    let (start, random) = right.incarnation;
    let http = reqwest::Client::builder().http2_prior_knowledge().build()?;
    let door = cluster.replica(follower).recipe().peer_listen;
    let wrong = [
        ("cluster", Envelope { cluster: [0xab; 16], ..right }),
        ("generation", Envelope { generation: (right.generation.0 + 1, 0), ..right }),
        ("target", Envelope { target: right.sender, ..right }),
        ("copied_incarnation", Envelope { incarnation: (start, random ^ 1), ..right }),
        ("older_incarnation", Envelope { incarnation: (start - 1, random), ..right }),
        ("stranger", Envelope { incarnation: (start + 1, random), ..right }),
        ("not_accepted", Envelope { accepted: (right.accepted.0, random), ..right }),
        ("not_accepted", Envelope { accepted: (0, 0), ..right }),
    ];
    for (word, envelope) in wrong {
        for route in ["append", "vote", "read-index"] {
            let mut message = envelope.bytes();
            message.extend([0; 64]);
            let url = format!("http://{door}/peer/1/{route}");
            let answer = Answer::to(http.post(url).body(message)).await?;
            assert_eq!((answer.status, &*answer.body), (403, word.as_bytes()), "{route}");
        }
    }
    // Whoever is no member does not get to know anybody, however well it introduces itself.
    let introduction = introduction(right);
    let mut message = Envelope { sender: 77, ..right }.bytes();
    message.extend(&introduction);
    message.extend(crc32c(&introduction).to_le_bytes());
    let url = format!("http://{door}/peer/1/introduce");
    let answer = Answer::to(http.post(url).body(message)).await?;
    assert_eq!((answer.status, &*answer.body), (403, b"no_member".as_slice()));
    let garbage = http.post(format!("http://{door}/peer/1/append")).body("garbage");
    assert_eq!(&*Answer::to(garbage).await?.body, b"malformed");

    assert_eq!(everything(&cluster).await?, before, "a refused message changed something");
    cluster.finish();
    Ok(())
}
