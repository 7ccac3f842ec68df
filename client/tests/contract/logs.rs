//! Bodies about whole logs: settings, descriptions, lists, trims, seals, fences, cursors.

use quorate_client::api::logs::{
    Cursor, CursorBody, CursorList, Dropped, FenceBody, LogDescription, LogList, LogSummary,
    Sealed, Settings, SettingsPatch, TrimRequest,
};
use quorate_client::types::{CursorName, Digest, Fence, LogId, Position};

use super::{assert_golden, log, time};

#[test]
fn settings_and_their_patch() {
    let settings = Settings {
        retention_age_ms: Some(86_400_000),
        retention_bytes: Some(1 << 30),
        content_type: Some("application/json".into()),
        record_bytes_max: Some(65_536),
        ttl_ms: Some(3_600_000),
        expires_at: Some(time()),
    };
    assert_golden(
        &settings,
        r#"
{
  "retention_age_ms": 86400000,
  "retention_bytes": 1073741824,
  "content_type": "application/json",
  "record_bytes_max": 65536,
  "ttl_ms": 3600000,
  "expires_at": "2026-11-23T20:15:57.042Z"
}"#,
    );
    assert_golden(&Settings::default(), "{}");
    let patch = SettingsPatch {
        retention_age_ms: Some(None),
        retention_bytes: Some(Some(5)),
        expires_at: Some(None),
        ..SettingsPatch::default()
    };
    assert_golden(
        &patch,
        r#"
{
  "retention_age_ms": null,
  "retention_bytes": 5,
  "expires_at": null
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
    assert_golden(
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
        settings: Settings { retention_bytes: Some(5000), ..Settings::default() },
    };
    assert_golden(
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
      "sealed": true,
      "settings": {
        "retention_bytes": 5000
      }
    }
  ],
  "next": "shop/orders"
}"#,
    );
}

#[test]
fn a_trim_a_seal_a_fence() {
    assert_golden(&TrimRequest { to: Position::new(2) }, "{\n  \"to\": 2\n}");
    let dropped = Dropped {
        log: log(),
        log_id: LogId::new(3),
        first: Position::new(2),
        tail: Position::new(9),
        records: 2,
        bytes: 100,
        dry_run: true,
    };
    assert_golden(
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
    assert_golden(
        &Sealed { log: log(), log_id: LogId::new(3), tail: Position::new(9) },
        r#"
{
  "log": "shop/orders",
  "log_id": 3,
  "tail": 9
}"#,
    );
    let fence = FenceBody { fence: Some(Fence::new("writer-2").unwrap()) };
    assert_golden(&fence, "{\n  \"fence\": \"writer-2\"\n}");
    assert_golden(&FenceBody { fence: None }, "{\n  \"fence\": null\n}");
}

#[test]
fn cursors() {
    assert_golden(&CursorBody { position: Position::new(7) }, "{\n  \"position\": 7\n}");
    let name = CursorName::new("billing").unwrap();
    let cursor = Cursor { log: log(), name: name.clone(), position: Position::new(7) };
    assert_golden(
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
