//! Bodies about the cluster: its status, its beginning, who joins, who is ready.

use quorate_client::api::cluster::{
    Admission, BootstrapAnswer, BootstrapRequest, ClusterStatus, JoinAnswer, JoinFolder, JoinNonce,
    JoinRequest, Joiner, JoinerList, Lag, PeerAddr, Reach, Readiness, ReadinessCheck, Replacement,
    ReplicaStatus, Role, StateDigest, SyncLatency, Timings, Verdict,
};
use quorate_client::api::plans::{Check, CheckId, CheckLevel, Wish};
use quorate_client::types::{ClusterId, Digest, EntryIndex, Epoch, ReplicaId, Term, Zone};

use super::{assert_golden, generation, replica_addr, time};

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
        start: Some(2),
        tail: Some(EntryIndex::new(42)),
        applied: Some(EntryIndex::new(41)),
        lag: Some(Lag { entries: 0 }),
        heard_ms_ago: Some(12),
        sync: Some(SyncLatency { p50_us: 120, p99_us: 900 }),
        slow_ms: None,
        free_bytes: Some(1 << 30),
        damaged_entries: None,
        quarantine: None,
        digest: Some(StateDigest {
            entry: EntryIndex::new(41),
            rolling: Digest::new([0xab; 32]),
            epoch: Some(Epoch::new(4)),
            voters: vec![ReplicaId::FIRST],
        }),
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
        joiners: vec![joiner()],
        replacement: Some(Replacement {
            wish: Wish::Replace { replica: ReplicaId::FIRST, by: replica_addr(7002) },
            silent_since: time(),
            sentence:
                "Replica 1 has not answered for 11 min, and http://127.0.0.1:7002 waits to join."
                    .into(),
            check: Some(Check {
                id: CheckId::P6,
                level: CheckLevel::Block,
                line: "Replica 2 cannot reach it.".into(),
                fix: None,
                type_to_override: Some("http://127.0.0.1:7002".into()),
            }),
        }),
        as_of: time(),
    };
    assert_golden(
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
      "start": 2,
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
      "free_bytes": 1073741824,
      "digest": {
        "entry": 41,
        "rolling": "abababababababababababababababababababababababababababababababab",
        "epoch": 4,
        "voters": [
          1
        ]
      }
    }
  ],
  "joiners": [
    {
      "addr": "http://127.0.0.1:7002",
      "peer_addr": "http://127.0.0.1:8002",
      "zone": "b",
      "version": "0.1.0",
      "since": "2026-11-23T20:15:57.042Z"
    }
  ],
  "replacement": {
    "wish": {
      "replace": {
        "replica": 1,
        "by": "http://127.0.0.1:7002"
      }
    },
    "silent_since": "2026-11-23T20:15:57.042Z",
    "sentence": "Replica 1 has not answered for 11 min, and http://127.0.0.1:7002 waits to join.",
    "check": {
      "id": "P6",
      "level": "block",
      "line": "Replica 2 cannot reach it.",
      "type_to_override": "http://127.0.0.1:7002"
    }
  },
  "as_of": "2026-11-23T20:15:57.042Z"
}"#,
    );
}

#[test]
fn a_beginning() {
    assert_golden(&BootstrapRequest { expect: Some(3) }, "{\n  \"expect\": 3\n}");
    let answer = BootstrapAnswer {
        cluster: ClusterId::new([0x11; 16]),
        generation: generation(),
        replica: ReplicaId::FIRST,
    };
    assert_golden(
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

/// A process that waits to join.
pub(super) fn joiner() -> Joiner {
    Joiner {
        addr: replica_addr(7002),
        peer_addr: replica_addr(8002),
        zone: Zone::new("b").unwrap(),
        version: "0.1.0".into(),
        free_bytes: None,
        as_learner: false,
        machine_version: None,
        format_version: None,
        clock_ahead_ms: None,
        folder: None,
        reaches: Vec::new(),
        since: time(),
    }
}

#[test]
fn joining() {
    let request = JoinRequest {
        nonce: JoinNonce::new(255),
        addr: replica_addr(7002),
        peer_addr: replica_addr(8002),
        zone: Zone::default(),
        version: "0.1.0".into(),
        cluster: None,
        free_bytes: Some(5),
        as_learner: false,
        machine_version: None,
        format_version: None,
        time: None,
        folder: None,
        reaches: Vec::new(),
    };
    assert_golden(
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
    let replica = JoinFolder::Replica {
        cluster: ClusterId::new([0x11; 16]),
        replica: Some(ReplicaId::FIRST),
    };
    let told = JoinRequest {
        as_learner: true,
        machine_version: Some(1),
        format_version: Some(2),
        time: Some(time()),
        folder: Some(replica),
        reaches: vec![
            Reach { id: ReplicaId::FIRST, round_trip_us: Some(250) },
            Reach { id: ReplicaId::new(2).unwrap(), round_trip_us: None },
        ],
        ..request
    };
    assert_golden(
        &told,
        r#"
{
  "nonce": "000000000000000000000000000000ff",
  "addr": "http://127.0.0.1:7002",
  "peer_addr": "http://127.0.0.1:8002",
  "version": "0.1.0",
  "free_bytes": 5,
  "as_learner": true,
  "machine_version": 1,
  "format_version": 2,
  "time": "2026-11-23T20:15:57.042Z",
  "folder": {
    "replica": {
      "cluster": "11111111-1111-1111-1111-111111111111",
      "replica": 1
    }
  },
  "reaches": [
    {
      "id": 1,
      "round_trip_us": 250
    },
    {
      "id": 2
    }
  ]
}"#,
    );
    let peers = vec![PeerAddr { id: ReplicaId::FIRST, peer_addr: replica_addr(8001) }];
    assert_golden(
        &JoinAnswer::Waiting { retry_after_ms: 500, peers },
        r#"
{
  "state": "waiting",
  "retry_after_ms": 500,
  "peers": [
    {
      "id": 1,
      "peer_addr": "http://127.0.0.1:8001"
    }
  ]
}"#,
    );
    let early: JoinAnswer =
        serde_json::from_str(r#"{"state":"waiting","retry_after_ms":500}"#).unwrap();
    assert_eq!(early, JoinAnswer::Waiting { retry_after_ms: 500, peers: Vec::new() });
    let admission = Admission {
        cluster: ClusterId::new([0x11; 16]),
        generation: generation(),
        replica: ReplicaId::new(2).unwrap(),
        timings: Timings { heartbeat_ms: 80, election_min_ms: 250, election_max_ms: 500 },
        peers: vec![PeerAddr { id: ReplicaId::FIRST, peer_addr: replica_addr(8001) }],
    };
    assert_golden(
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
    let told = Joiner {
        as_learner: true,
        machine_version: Some(1),
        format_version: Some(2),
        clock_ahead_ms: Some(-3),
        folder: Some(JoinFolder::Empty),
        reaches: vec![Reach { id: ReplicaId::FIRST, round_trip_us: Some(250) }],
        ..joiner()
    };
    assert_golden(
        &JoinerList { joiners: vec![joiner(), told] },
        r#"
{
  "joiners": [
    {
      "addr": "http://127.0.0.1:7002",
      "peer_addr": "http://127.0.0.1:8002",
      "zone": "b",
      "version": "0.1.0",
      "since": "2026-11-23T20:15:57.042Z"
    },
    {
      "addr": "http://127.0.0.1:7002",
      "peer_addr": "http://127.0.0.1:8002",
      "zone": "b",
      "version": "0.1.0",
      "as_learner": true,
      "machine_version": 1,
      "format_version": 2,
      "clock_ahead_ms": -3,
      "folder": "empty",
      "reaches": [
        {
          "id": 1,
          "round_trip_us": 250
        }
      ],
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
    assert_golden(
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
