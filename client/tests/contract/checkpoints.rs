//! Bodies about checkpoints, snapshots and the audit.

use quorate_client::api::audit::{
    AuditFinding, AuditReport, AuditVerdict, DamagedTile, ReplicaAudit, ScrubReport,
};
use quorate_client::api::checkpoints::{
    ArchiveQuery, CertificateInfo, CheckpointInfo, CheckpointList, CheckpointRequest,
    SnapshotContent, SnapshotInfo, SnapshotList,
};
use quorate_client::types::{
    CheckpointLabel, Digest, EntryIndex, LogName, Position, ReplicaId, Term,
};

use super::{assert_golden, time};

fn label() -> CheckpointLabel {
    CheckpointLabel::new("before 2.0").unwrap()
}

#[test]
fn a_checkpoint_asked_for() {
    assert_golden(
        &CheckpointRequest { label: Some(label()) },
        r#"
{
  "label": "before 2.0"
}"#,
    );
    let nothing: CheckpointRequest = serde_json::from_str("{}").unwrap();
    assert_eq!(nothing, CheckpointRequest::default());
    assert!(serde_json::from_str::<CheckpointRequest>(r#"{"lable": "x"}"#).is_err());
}

#[test]
fn checkpoints_listed() {
    let certified = CheckpointInfo {
        checkpoint: EntryIndex::new(40),
        term: Term::new(2),
        made: time(),
        label: Some(label()),
        is_pinned: true,
        certificate: Some(CertificateInfo {
            digest: Digest::new([0xcc; 32]),
            attested_by: vec![ReplicaId::FIRST],
            certified: time(),
            entry: EntryIndex::new(41),
        }),
        lets_go: Some(EntryIndex::new(40)),
    };
    let fresh = CheckpointInfo {
        checkpoint: EntryIndex::new(50),
        label: None,
        is_pinned: false,
        certificate: None,
        lets_go: None,
        ..certified.clone()
    };
    assert_golden(
        &CheckpointList { checkpoints: vec![certified, fresh] },
        r#"
{
  "checkpoints": [
    {
      "checkpoint": 40,
      "term": 2,
      "made": "2026-11-23T20:15:57.042Z",
      "label": "before 2.0",
      "is_pinned": true,
      "certificate": {
        "digest": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        "attested_by": [
          1
        ],
        "certified": "2026-11-23T20:15:57.042Z",
        "entry": 41
      },
      "lets_go": 40
    },
    {
      "checkpoint": 50,
      "term": 2,
      "made": "2026-11-23T20:15:57.042Z",
      "is_pinned": false
    }
  ]
}"#,
    );
}

#[test]
fn snapshots_listed() {
    let snapshot = SnapshotInfo {
        checkpoint: EntryIndex::new(40),
        digest: Digest::new([0xcc; 32]),
        is_certified: true,
        label: Some(label()),
        is_pinned: true,
        manifest_bytes: 1_234,
        content: Some(SnapshotContent {
            logs: 2,
            records: 1_000,
            bytes: 64_000,
            producers: 3,
            cursors: 1,
            keys: 0,
        }),
    };
    assert_golden(
        &SnapshotList { snapshots: vec![snapshot] },
        r#"
{
  "snapshots": [
    {
      "checkpoint": 40,
      "digest": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
      "is_certified": true,
      "label": "before 2.0",
      "is_pinned": true,
      "manifest_bytes": 1234,
      "content": {
        "logs": 2,
        "records": 1000,
        "bytes": 64000,
        "producers": 3,
        "cursors": 1,
        "keys": 0
      }
    }
  ]
}"#,
    );
}

#[test]
fn an_audit() {
    let equal = AuditFinding {
        verdict: AuditVerdict::Equal,
        entry: Some(EntryIndex::new(41)),
        at: Some(time()),
    };
    let replica = ReplicaAudit {
        id: ReplicaId::FIRST,
        execution: equal,
        checkpoint: AuditFinding::default(),
    };
    assert_golden(
        &AuditReport { leader: Some(ReplicaId::FIRST), replicas: vec![replica] },
        r#"
{
  "leader": 1,
  "replicas": [
    {
      "id": 1,
      "execution": {
        "verdict": "equal",
        "entry": 41,
        "at": "2026-11-23T20:15:57.042Z"
      },
      "checkpoint": {
        "verdict": "unverified"
      }
    }
  ]
}"#,
    );
}

#[test]
fn a_backup_asked_for() {
    let names = ["shop/orders", "a:1"].map(|name| name.parse().unwrap());
    let query = ArchiveQuery { log: names.into(), since: Some(EntryIndex::new(40)) };
    assert_eq!(query.to_query(), "log=shop/orders,a:1&since=40");
    let told: ArchiveQuery =
        serde_json::from_str(r#"{"log":"shop/orders,a:1","since":40}"#).unwrap();
    assert_eq!(told, query);
    assert_eq!(ArchiveQuery::default().to_query(), "");
    assert!(serde_json::from_str::<ArchiveQuery>(r#"{"log":"a,,b"}"#).is_err());
    assert!(serde_json::from_str::<ArchiveQuery>(r#"{"logs":"a"}"#).is_err());
}

#[test]
fn a_scrub() {
    let tile = DamagedTile {
        log: LogName::new("orders").unwrap(),
        from: Position::new(256),
        until: Position::new(512),
        reason: "no other replica gave what is lost".to_owned(),
    };
    assert_golden(
        &ScrubReport {
            replica: ReplicaId::FIRST,
            pass: 3,
            is_done: true,
            tiles_total: 12,
            tiles_done: 12,
            bytes_done: 300_000,
            last_done: Some(time()),
            damaged_tiles: 2,
            repaired_tiles: 1,
            unrepaired: vec![tile],
        },
        r#"
{
  "replica": 1,
  "pass": 3,
  "is_done": true,
  "tiles_total": 12,
  "tiles_done": 12,
  "bytes_done": 300000,
  "last_done": "2026-11-23T20:15:57.042Z",
  "damaged_tiles": 2,
  "repaired_tiles": 1,
  "unrepaired": [
    {
      "log": "orders",
      "from": 256,
      "until": 512,
      "reason": "no other replica gave what is lost"
    }
  ]
}"#,
    );
}
