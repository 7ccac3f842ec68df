//! Bodies about state transfers.

use quorate_client::api::transfers::{
    TransferChange, TransferDirection, TransferInfo, TransferList, TransferSource, TransferStage,
};
use quorate_client::types::{EntryIndex, ReplicaId};

use super::{assert_golden, time};

fn under_way() -> TransferInfo {
    TransferInfo {
        id: "4-1".into(),
        direction: TransferDirection::Receiving,
        peer: ReplicaId::FIRST,
        entry: EntryIndex::new(812),
        stage: TransferStage::Fetching,
        bytes_total: Some(2_000_000_000),
        bytes_done: 500_000_000,
        bytes_per_second: 100_000_000,
        seconds_left: Some(15),
        waits_for: None,
        failure: None,
        sources: vec![
            TransferSource {
                replica: ReplicaId::FIRST,
                bytes: 500_000_000,
                in_flight: 3,
                left_out: None,
            },
            TransferSource {
                replica: ReplicaId::new(2).unwrap(),
                bytes: 0,
                in_flight: 0,
                left_out: Some("no answer in time".into()),
            },
        ],
        bytes_per_second_max: Some(200_000_000),
        is_paused: false,
        started: time(),
        ended: None,
    }
}

#[test]
fn transfers_of_a_replica() {
    let failed = TransferInfo {
        id: "4-0".into(),
        direction: TransferDirection::Offering,
        stage: TransferStage::Failed,
        bytes_total: None,
        bytes_done: 0,
        bytes_per_second: 0,
        seconds_left: None,
        failure: Some("replication was stopped".into()),
        sources: Vec::new(),
        bytes_per_second_max: None,
        ended: Some(time()),
        ..under_way()
    };
    assert_golden(
        &TransferList { transfers: vec![under_way(), failed] },
        r#"
{
  "transfers": [
    {
      "id": "4-1",
      "direction": "receiving",
      "peer": 1,
      "entry": 812,
      "stage": "fetching",
      "bytes_total": 2000000000,
      "bytes_done": 500000000,
      "bytes_per_second": 100000000,
      "seconds_left": 15,
      "sources": [
        {
          "replica": 1,
          "bytes": 500000000,
          "in_flight": 3
        },
        {
          "replica": 2,
          "bytes": 0,
          "in_flight": 0,
          "left_out": "no answer in time"
        }
      ],
      "bytes_per_second_max": 200000000,
      "is_paused": false,
      "started": "2026-11-23T20:15:57.042Z"
    },
    {
      "id": "4-0",
      "direction": "offering",
      "peer": 1,
      "entry": 812,
      "stage": "failed",
      "bytes_done": 0,
      "bytes_per_second": 0,
      "failure": "replication was stopped",
      "sources": [],
      "is_paused": false,
      "started": "2026-11-23T20:15:57.042Z",
      "ended": "2026-11-23T20:15:57.042Z"
    }
  ]
}"#,
    );
}

#[test]
fn a_change_of_a_transfer() {
    assert_golden(
        &TransferChange { bytes_per_second: Some(Some(20_000_000)), paused: Some(false) },
        r#"
{
  "bytes_per_second": 20000000,
  "paused": false
}"#,
    );
    assert_golden(
        &TransferChange { bytes_per_second: Some(None), paused: None },
        r#"
{
  "bytes_per_second": null
}"#,
    );
}
