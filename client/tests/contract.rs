//! The contract as it is seen from outside: one worked example of every body, the table of error
//! codes, and frames to the byte.
//!
//! Goal: a change of the wire is visible in review, here. Method: each example is built from the
//! types, compared with its text, and read back from it.
//!
//! Not here: what a value must look like to be one (beside the types).

#![allow(clippy::unwrap_used, reason = "a test that cannot build its example has failed")]

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::api::cluster::{
    Admission, BootstrapAnswer, BootstrapRequest, ClusterStatus, JoinAnswer, JoinNonce,
    JoinRequest, Joiner, JoinerList, Lag, PeerAddr, Readiness, ReadinessCheck, ReplicaStatus, Role,
    SyncLatency, Timings, Verdict,
};
use quorate_client::api::error::{Actual, ErrorCode, Problem};
use quorate_client::api::frame::{ReadFrame, append_frame, read_append, read_head};
use quorate_client::api::logs::{
    Cursor, CursorBody, CursorList, Dropped, FenceBody, LogDescription, LogList, LogSummary,
    Sealed, Settings, SettingsPatch, TrimRequest,
};
use quorate_client::api::records::{
    Appended, EndEvent, EndReason, FollowEvent, HeartbeatEvent, ReadAnswer, RecordJson,
    RecordsEvent, batch_from_json, batch_from_ndjson, batch_to_json, write_ndjson,
};
use quorate_client::api::resume::ResumeToken;
use quorate_client::types::{
    Batch, BatchLimits, ClusterId, CursorName, Digest, EntryIndex, Epoch, Fence, Generation,
    Headers, Incarnation, LogId, LogName, NewRecord, Position, ProducerEpoch, Record, ReplicaAddr,
    ReplicaId, Sequence, Term, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value is written as this text, and the text is read as this value.
#[track_caller]
fn golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, text: &str) {
    let written = serde_json::to_string_pretty(value).unwrap();
    assert_eq!(written, text.trim(), "written otherwise:\n{written}");
    assert_eq!(&serde_json::from_str::<T>(text).unwrap(), value, "read otherwise");
}

fn log() -> LogName {
    LogName::new("shop/orders").unwrap()
}

fn time() -> Timestamp {
    "2026-11-23T20:15:57.042Z".parse().unwrap()
}

fn records() -> Vec<RecordJson> {
    let record = |position, pairs: &[(&str, &[u8])], body: &'static [u8]| {
        let headers = Headers::from_pairs(pairs.iter().copied()).unwrap();
        let position = Position::new(position);
        RecordJson(Record { position, time: time(), headers, body: Bytes::from_static(body) })
    };
    vec![
        record(7, &[("type", b"order"), ("raw", b"\xff\x00")], "caf\u{e9}".as_bytes()),
        record(8, &[], b"\xff\xfe"),
    ]
}

fn batch() -> Batch {
    let headers = Headers::from_pairs([("type", "order")]).unwrap();
    let records = [NewRecord::new("hello").with_headers(headers), NewRecord::new(&b"\xff"[..])];
    Batch::new(&records, &BatchLimits::default()).unwrap()
}

fn replica_addr(port: u16) -> ReplicaAddr {
    ReplicaAddr::new(&format!("http://127.0.0.1:{port}")).unwrap()
}

fn generation() -> Generation {
    Generation { number: 1, random: 42 }
}

#[test]
fn an_append_in_json() {
    let text =
        r#"{"records":[{"headers":[["type","order"]],"data":"hello"},{"data_base64":"/w=="}]}"#;
    assert_eq!(String::from_utf8(batch_to_json(&batch())).unwrap(), text);
    assert_eq!(batch_from_json(text.as_bytes(), &BatchLimits::default()).unwrap(), batch());
    let text = r#"{"records": [{"json": {"id": 1}, "headers": [["raw", {"base64": "/w=="}]]}]}"#;
    let taken = batch_from_json(text.as_bytes(), &BatchLimits::default()).unwrap();
    let record = taken.records().next().unwrap();
    assert_eq!(record.body, r#"{"id": 1}"#);
    assert_eq!(record.headers.get("raw"), Some(&b"\xff"[..]));
}

#[test]
fn an_append_in_ndjson() {
    let text =
        "{\"data\":\"hello\",\"headers\":[[\"type\",\"order\"]]}\n{\"data_base64\":\"/w==\"}\n";
    assert_eq!(batch_from_ndjson(text.as_bytes(), &BatchLimits::default()).unwrap(), batch());
}

#[test]
fn an_append_answered() {
    let appended = Appended {
        log: log(),
        log_id: LogId::new(3),
        first: Position::new(7),
        next: Position::new(9),
        tail: Position::new(9),
        time: time(),
        replayed: false,
    };
    golden(
        &appended,
        r#"
{
  "log": "shop/orders",
  "log_id": 3,
  "first": 7,
  "next": 9,
  "tail": 9,
  "time": "2026-11-23T20:15:57.042Z"
}"#,
    );
}

#[test]
fn a_read_answered_in_json() {
    let answer = ReadAnswer {
        log: log(),
        log_id: LogId::new(3),
        first: Position::ZERO,
        next: Position::new(9),
        tail: Position::new(12),
        sealed: true,
        records: records(),
    };
    golden(
        &answer,
        r#"
{
  "log": "shop/orders",
  "log_id": 3,
  "first": 0,
  "next": 9,
  "tail": 12,
  "sealed": true,
  "records": [
    {
      "position": 7,
      "time": "2026-11-23T20:15:57.042Z",
      "headers": [
        [
          "type",
          "order"
        ],
        [
          "raw",
          {
            "base64": "/wA="
          }
        ]
      ],
      "data": "café"
    },
    {
      "position": 8,
      "time": "2026-11-23T20:15:57.042Z",
      "data_base64": "//4="
    }
  ]
}"#,
    );
}

#[test]
fn a_read_answered_in_ndjson() {
    let mut lines = Vec::new();
    for record in &records() {
        write_ndjson(record, &mut lines);
    }
    let text = concat!(
        r#"{"position":7,"time":"2026-11-23T20:15:57.042Z","headers":[["type","order"],["raw",{"base64":"/wA="}]],"data":"café"}"#,
        "\n",
        r#"{"position":8,"time":"2026-11-23T20:15:57.042Z","data_base64":"//4="}"#,
        "\n",
    );
    assert_eq!(String::from_utf8(lines).unwrap(), text);
}

#[test]
fn events_of_a_follow() {
    let (next, tail) = (Position::new(9), Position::new(12));
    let events = [
        (
            FollowEvent::Records(RecordsEvent { next, tail, records: records().split_off(1) }),
            "records",
            r#"{"next":9,"tail":12,"records":[{"position":8,"time":"2026-11-23T20:15:57.042Z","data_base64":"//4="}]}"#,
        ),
        (
            FollowEvent::Heartbeat(HeartbeatEvent { next, tail, lag: 3, lag_entries: Some(1) }),
            "heartbeat",
            r#"{"next":9,"tail":12,"lag":3,"lag_entries":1}"#,
        ),
        (
            FollowEvent::Error(Box::new(Problem::new(ErrorCode::Stopping))),
            "error",
            r#"{"type":"/docs/errors/stopping","title":"This replica is stopping","status":503,"code":"stopping","retryable":true,"side_effects":"none"}"#,
        ),
        (
            FollowEvent::End(EndEvent { next, reason: EndReason::Sealed }),
            "end",
            r#"{"next":9,"reason":"sealed"}"#,
        ),
    ];
    for (event, name, data) in events {
        assert_eq!((event.name(), event.data().as_str()), (name, data));
        assert_eq!(FollowEvent::parse(name, data).unwrap(), Some(event));
    }
    assert_eq!(FollowEvent::parse("later", "{}").unwrap(), None);
}

#[test]
fn a_token() {
    let token =
        ResumeToken { generation: generation(), log_id: LogId::new(3), next: Position::new(9) };
    assert_eq!(token.to_string(), "AQAAAAEAAAAAAAAAKgAAAAAAAAADAAAAAAAAAAk");
    assert_eq!("AQAAAAEAAAAAAAAAKgAAAAAAAAADAAAAAAAAAAk".parse(), Ok(token));
}

#[test]
fn settings_and_their_patch() {
    let settings = Settings {
        retention_age_ms: Some(86_400_000),
        retention_bytes: Some(1 << 30),
        content_type: Some("application/json".into()),
        record_bytes_max: Some(65_536),
    };
    golden(
        &settings,
        r#"
{
  "retention_age_ms": 86400000,
  "retention_bytes": 1073741824,
  "content_type": "application/json",
  "record_bytes_max": 65536
}"#,
    );
    golden(&Settings::default(), "{}");
    let patch = SettingsPatch {
        retention_age_ms: Some(None),
        retention_bytes: Some(Some(5)),
        ..SettingsPatch::default()
    };
    golden(
        &patch,
        r#"
{
  "retention_age_ms": null,
  "retention_bytes": 5
}"#,
    );
}

#[test]
fn a_log_described() {
    let description = LogDescription {
        log: log(),
        log_id: LogId::new(3),
        created: time(),
        first: Position::new(2),
        tail: Position::new(9),
        bytes: 1234,
        last_time: Some(time()),
        sealed: false,
        fence: Some(Fence::new("writer-2").unwrap()),
        settings: Settings::default(),
        root: Digest::new([0xab; 32]),
    };
    golden(
        &description,
        r#"
{
  "log": "shop/orders",
  "log_id": 3,
  "created": "2026-11-23T20:15:57.042Z",
  "first": 2,
  "tail": 9,
  "bytes": 1234,
  "last_time": "2026-11-23T20:15:57.042Z",
  "sealed": false,
  "fence": "writer-2",
  "settings": {},
  "root": "abababababababababababababababababababababababababababababababab"
}"#,
    );
}

#[test]
fn logs_listed() {
    let summary = LogSummary {
        log: log(),
        log_id: LogId::new(3),
        first: Position::new(2),
        tail: Position::new(9),
        bytes: 1234,
        sealed: true,
    };
    golden(
        &LogList { logs: vec![summary], next: Some(log()) },
        r#"
{
  "logs": [
    {
      "log": "shop/orders",
      "log_id": 3,
      "first": 2,
      "tail": 9,
      "bytes": 1234,
      "sealed": true
    }
  ],
  "next": "shop/orders"
}"#,
    );
}

#[test]
fn a_trim_a_seal_a_fence() {
    golden(&TrimRequest { to: Position::new(2) }, "{\n  \"to\": 2\n}");
    let dropped = Dropped {
        log: log(),
        log_id: LogId::new(3),
        first: Position::new(2),
        tail: Position::new(9),
        records: 2,
        bytes: 100,
        dry_run: true,
    };
    golden(
        &dropped,
        r#"
{
  "log": "shop/orders",
  "log_id": 3,
  "first": 2,
  "tail": 9,
  "records": 2,
  "bytes": 100,
  "dry_run": true
}"#,
    );
    golden(
        &Sealed { log: log(), log_id: LogId::new(3), tail: Position::new(9) },
        r#"
{
  "log": "shop/orders",
  "log_id": 3,
  "tail": 9
}"#,
    );
    let fence = FenceBody { fence: Some(Fence::new("writer-2").unwrap()) };
    golden(&fence, "{\n  \"fence\": \"writer-2\"\n}");
    golden(&FenceBody { fence: None }, "{\n  \"fence\": null\n}");
}

#[test]
fn cursors() {
    golden(&CursorBody { position: Position::new(7) }, "{\n  \"position\": 7\n}");
    let name = CursorName::new("billing").unwrap();
    let cursor = Cursor { log: log(), name: name.clone(), position: Position::new(7) };
    golden(
        &CursorList { cursors: vec![cursor], next: Some(name) },
        r#"
{
  "cursors": [
    {
      "log": "shop/orders",
      "name": "billing",
      "position": 7
    }
  ],
  "next": "billing"
}"#,
    );
}

#[test]
fn a_cluster() {
    let replica = ReplicaStatus {
        id: ReplicaId::FIRST,
        role: Role::Leader,
        is_reachable: true,
        addr: replica_addr(7001),
        peer_addr: replica_addr(8001),
        zone: "a".into(),
        version: Some("0.1.0".into()),
        incarnation: Some(Incarnation { start: 2, random: 5 }),
        tail: Some(EntryIndex::new(42)),
        applied: Some(EntryIndex::new(41)),
        lag: Some(Lag { entries: 0 }),
        heard_ms_ago: Some(12),
        sync: Some(SyncLatency { p50_us: 120, p99_us: 900 }),
        free_bytes: Some(1 << 30),
        damaged_entries: None,
    };
    let status = ClusterStatus {
        verdict: Verdict {
            can_append: true,
            tolerance: 0,
            sentence: "Taking appends. 1 of 1 replicas votes. You can lose none.".into(),
            reasons: vec!["2 of 3 expected voters have not joined.".into()],
        },
        cluster: Some(ClusterId::new([0x11; 16])),
        generation: Some(generation()),
        epoch: Some(Epoch::new(4)),
        term: Term::new(1),
        leader: Some(ReplicaId::FIRST),
        this_replica: Some(ReplicaId::FIRST),
        expected_voters: 3,
        replicas: vec![replica],
        as_of: time(),
    };
    golden(
        &status,
        r#"
{
  "verdict": {
    "can_append": true,
    "tolerance": 0,
    "sentence": "Taking appends. 1 of 1 replicas votes. You can lose none.",
    "reasons": [
      "2 of 3 expected voters have not joined."
    ]
  },
  "cluster": "11111111-1111-1111-1111-111111111111",
  "generation": {
    "number": 1,
    "random": "000000000000002a"
  },
  "epoch": 4,
  "term": 1,
  "leader": 1,
  "this_replica": 1,
  "expected_voters": 3,
  "replicas": [
    {
      "id": 1,
      "role": "leader",
      "is_reachable": true,
      "addr": "http://127.0.0.1:7001",
      "peer_addr": "http://127.0.0.1:8001",
      "zone": "a",
      "version": "0.1.0",
      "incarnation": {
        "start": 2,
        "random": "0000000000000005"
      },
      "tail": 42,
      "applied": 41,
      "lag": {
        "entries": 0
      },
      "heard_ms_ago": 12,
      "sync": {
        "p50_us": 120,
        "p99_us": 900
      },
      "free_bytes": 1073741824
    }
  ],
  "as_of": "2026-11-23T20:15:57.042Z"
}"#,
    );
}

#[test]
fn a_beginning() {
    golden(&BootstrapRequest { expect: Some(3) }, "{\n  \"expect\": 3\n}");
    let answer = BootstrapAnswer {
        cluster: ClusterId::new([0x11; 16]),
        generation: generation(),
        replica: ReplicaId::FIRST,
    };
    golden(
        &answer,
        r#"
{
  "cluster": "11111111-1111-1111-1111-111111111111",
  "generation": {
    "number": 1,
    "random": "000000000000002a"
  },
  "replica": 1
}"#,
    );
}

#[test]
fn joining() {
    let request = JoinRequest {
        nonce: JoinNonce::new(255),
        addr: replica_addr(7002),
        peer_addr: replica_addr(8002),
        zone: String::new(),
        version: "0.1.0".into(),
        cluster: None,
        free_bytes: Some(5),
    };
    golden(
        &request,
        r#"
{
  "nonce": "000000000000000000000000000000ff",
  "addr": "http://127.0.0.1:7002",
  "peer_addr": "http://127.0.0.1:8002",
  "version": "0.1.0",
  "free_bytes": 5
}"#,
    );
    golden(
        &JoinAnswer::Waiting { retry_after_ms: 500 },
        r#"
{
  "state": "waiting",
  "retry_after_ms": 500
}"#,
    );
    let admission = Admission {
        cluster: ClusterId::new([0x11; 16]),
        generation: generation(),
        replica: ReplicaId::new(2).unwrap(),
        timings: Timings { heartbeat_ms: 80, election_min_ms: 250, election_max_ms: 500 },
        peers: vec![PeerAddr { id: ReplicaId::FIRST, peer_addr: replica_addr(8001) }],
    };
    golden(
        &JoinAnswer::Admitted(admission),
        r#"
{
  "state": "admitted",
  "cluster": "11111111-1111-1111-1111-111111111111",
  "generation": {
    "number": 1,
    "random": "000000000000002a"
  },
  "replica": 2,
  "timings": {
    "heartbeat_ms": 80,
    "election_min_ms": 250,
    "election_max_ms": 500
  },
  "peers": [
    {
      "id": 1,
      "peer_addr": "http://127.0.0.1:8001"
    }
  ]
}"#,
    );
    let joiner = Joiner {
        addr: replica_addr(7002),
        peer_addr: replica_addr(8002),
        zone: "b".into(),
        version: "0.1.0".into(),
        free_bytes: None,
        since: time(),
    };
    golden(
        &JoinerList { joiners: vec![joiner] },
        r#"
{
  "joiners": [
    {
      "addr": "http://127.0.0.1:7002",
      "peer_addr": "http://127.0.0.1:8002",
      "zone": "b",
      "version": "0.1.0",
      "since": "2026-11-23T20:15:57.042Z"
    }
  ]
}"#,
    );
}

#[test]
fn readiness() {
    let check = ReadinessCheck {
        name: "leader".into(),
        is_passed: false,
        detail: "no leader is known".into(),
    };
    golden(
        &Readiness { is_ready: false, checks: vec![check] },
        r#"
{
  "is_ready": false,
  "checks": [
    {
      "name": "leader",
      "is_passed": false,
      "detail": "no leader is known"
    }
  ]
}"#,
    );
}

#[test]
fn a_problem_with_all_its_members() {
    let actual = Actual {
        tail: Some(Position::new(9)),
        first: Some(Position::new(2)),
        fence: Some(Fence::new("writer-2").unwrap()),
        log_id: Some(LogId::new(3)),
        producer_epoch: Some(ProducerEpoch::new(4)),
        expected_sequence: Some(Sequence::new(5)),
        received_sequence: Some(Sequence::new(7)),
        limit: Some(1000),
        damaged_from: Some(Position::new(256)),
        damaged_until: Some(Position::new(512)),
        leader: Some(replica_addr(7001)),
        epoch: Some(Epoch::new(4)),
    };
    let mut problem = Problem::new(ErrorCode::Overloaded)
        .with_detail("64 MiB are waiting")
        .with_retry_after(Duration::from_millis(1500))
        .with_request_id("01-2")
        .with_actual(actual);
    problem.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
    golden(
        &problem,
        r#"
{
  "type": "/docs/errors/overloaded",
  "title": "Too much is waiting already",
  "status": 429,
  "detail": "64 MiB are waiting",
  "code": "overloaded",
  "retryable": true,
  "side_effects": "none",
  "retry_after_ms": 1500,
  "request_id": "01-2",
  "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
  "tail": 9,
  "first": 2,
  "fence": "writer-2",
  "log_id": 3,
  "producer_epoch": 4,
  "expected_sequence": 5,
  "received_sequence": 7,
  "limit": 1000,
  "damaged_from": 256,
  "damaged_until": 512,
  "leader": "http://127.0.0.1:7001",
  "epoch": 4
}"#,
    );
}

/// Code, status, whether to try again, whether it may have happened.
const CODES: &str = "
invalid_body                  400 final     none
invalid_parameter             400 final     none
invalid_log_name              400 final     none
empty_batch                   422 final     none
reserved_log_name             403 final     none
unknown_log                   404 final     none
unknown_cursor                404 final     none
cross_site                    403 final     none
unknown_route                 404 final     none
method_not_allowed            405 final     none
not_acceptable                406 final     none
unsupported_media_type        415 final     none
malformed_request             400 final     none
request_timeout               408 retryable none
request_head_too_large        431 final     none
body_too_large                413 final     none
batch_too_large               413 final     none
record_too_large              413 final     none
record_headers_too_large      413 final     none
log_differs                   409 final     none
log_sealed                    409 final     none
log_id_differs                412 final     none
tail_differs                  412 final     none
fenced                        412 final     none
producer_epoch_old            403 final     none
sequence_gap                  409 final     none
sequence_body_differs         422 final     none
sequence_forgotten            409 final     possible
idempotency_key_body_differs  422 final     none
trimmed                       410 final     none
beyond_tail                   416 final     none
logs_full                     409 final     none
producers_full                429 retryable none
cursors_full                  409 final     none
already_bootstrapped          409 final     none
join_refused                  409 final     none
overloaded                    429 retryable none
too_many_connections          503 retryable none
storage_behind                503 retryable none
disk_full                     503 retryable none
no_leader                     503 retryable none
no_quorum                     503 retryable none
replica_behind                503 retryable none
not_member                    503 retryable none
stopping                      503 retryable none
damaged                       500 retryable none
outcome_unknown               504 retryable possible
internal                      500 final     possible
";

#[test]
fn every_code_gives_its_three_answers() {
    let mut table = String::from("\n");
    for code in ErrorCode::ALL {
        let retryable = if code.is_retryable() { "retryable" } else { "final" };
        let effects = if code.has_no_side_effects() { "none" } else { "possible" };
        writeln!(table, "{code:<29} {} {retryable:<9} {effects}", code.status()).unwrap();
    }
    assert_eq!(table, CODES, "the table is now:{table}");
}

#[test]
fn a_frame_of_an_append_to_the_byte() {
    let frame = append_frame(&batch());
    let expected = concat!(
        "QRTF\\x01\\x01\\x00\\x00",
        "\\x02\\x00\\x00\\x00",
        " \\x00\\x00\\x00",
        "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
        "\\x00\\x00\\x00\\x00",
        "O-$\\xf3",
        "\\x15\\x00\\x00\\x00\\x01\\x00\\x04type\\x05\\x00\\x00\\x00orderhello",
        "\\x03\\x00\\x00\\x00\\x00\\x00\\xff",
    );
    assert_eq!(frame.escape_ascii().to_string(), expected);
    assert_eq!(read_append(frame, &BatchLimits::default()).unwrap(), batch());
}

#[test]
fn a_frame_of_a_read_to_the_byte() {
    let records = b"\x04\0\0\0\xe8\x03\0\0\0\0\0\0\0\0hi";
    let head = read_head(Position::new(7), 1, records);
    let expected = concat!(
        "QRTF\\x01\\x02\\x00\\x00",
        "\\x01\\x00\\x00\\x00",
        "\\x10\\x00\\x00\\x00",
        "\\x07\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
        "\\x00\\x00\\x00\\x00",
        "\\xa3;\\xe6\\x98",
    );
    assert_eq!(head.escape_ascii().to_string(), expected);
    let mut body = Bytes::from([&head[..], records].concat());
    let frame = ReadFrame::take(&mut body).unwrap().unwrap();
    let taken: Vec<_> = frame.records().map(Result::unwrap).collect();
    let record = Record {
        position: Position::new(7),
        time: Timestamp::new(1000),
        headers: Headers::none(),
        body: Bytes::from_static(b"hi"),
    };
    assert_eq!((taken, body), (vec![record], Bytes::new()));
}
