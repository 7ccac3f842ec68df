//! Bodies about what a replica did lately.

use quorate_client::api::performance::{LatencySummary, Performance, PerformancePoint, Step};
use quorate_client::types::ReplicaId;

use super::{assert_golden, time};

#[test]
fn what_a_replica_did_lately() {
    let summary = LatencySummary { p50_us: 410, p99_us: 2_210, max_us: 9_120 };
    let busy = PerformancePoint {
        appends: 120,
        records: 480,
        bytes: 48_000,
        append: Some(summary),
        syncs: 60,
        sync: Some(LatencySummary { p50_us: 120, ..summary }),
        applied: 84_201,
        lag_max: Some(12),
    };
    let quiet = PerformancePoint { applied: 84_201, ..PerformancePoint::default() };
    let points = vec![quiet, busy];
    assert_golden(
        &Performance { replica: ReplicaId::FIRST, step: Step::TenSeconds, until: time(), points },
        r#"{
  "replica": 1,
  "step": "10s",
  "until": "2026-11-23T20:15:57.042Z",
  "points": [
    {
      "appends": 0,
      "records": 0,
      "bytes": 0,
      "syncs": 0,
      "applied": 84201
    },
    {
      "appends": 120,
      "records": 480,
      "bytes": 48000,
      "append": {
        "p50_us": 410,
        "p99_us": 2210,
        "max_us": 9120
      },
      "syncs": 60,
      "sync": {
        "p50_us": 120,
        "p99_us": 2210,
        "max_us": 9120
      },
      "applied": 84201,
      "lag_max": 12
    }
  ]
}"#,
    );
}
