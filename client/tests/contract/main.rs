//! The contract as it is seen from outside: one worked example of every body, the table of error
//! codes, and frames to the byte.
//!
//! Goal: a change of the wire is visible in review, here. Method: each example is built from the
//! types, compared with its text, and read back from it.
//!
//! Not here: what a value must look like to be one (beside the types).

#![allow(clippy::unwrap_used, reason = "a test that cannot build its example has failed")]

mod activity;
mod checkpoints;
mod cluster;
mod errors;
mod frames;
mod logs;
mod performance;
mod plans;
mod records;
mod settings;
mod transfers;

use bytes::Bytes;
use quorate_client::api::records::RecordJson;
use quorate_client::types::{
    Batch, BatchLimits, Generation, Headers, LogName, NewRecord, Position, Record, ReplicaAddr,
    Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value is written as this text, and the text is read as this value.
#[track_caller]
fn assert_golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    value: &T,
    text: &str,
) {
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
