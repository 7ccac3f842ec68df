//! Bodies about records: appends, reads, the events of a follow, the token of a place.

use quorate_client::api::error::{ErrorCode, Problem};
use quorate_client::api::records::{
    Appended, EndEvent, EndReason, FollowEvent, HeartbeatEvent, ReadAnswer, RecordsEvent,
    batch_from_json, batch_from_ndjson, batch_to_json, write_ndjson,
};
use quorate_client::api::resume::ResumeToken;
use quorate_client::types::{BatchLimits, LogId, Position};

use super::{assert_golden, batch, generation, log, records, time};

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
    assert_golden(
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
    assert_golden(
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
