//! Bodies about wishes, plans and changes of the membership.

use quorate_client::api::changes::{
    Change, ChangeList, ChangeRequest, ChangeStage, ChangeStep, Override, StepState,
};
use quorate_client::api::cluster::Joiner;
use quorate_client::api::plans::{
    Check, CheckId, CheckLevel, Footing, MemberName, Newcomer, Plan, PlanVerdict, Wish,
};
use quorate_client::types::{ChangeId, Epoch, Reason, ReplicaId, Typed};

use super::cluster::joiner;
use super::{assert_golden, replica_addr, time};

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn voter(number: u64) -> MemberName {
    MemberName::Replica(id(number))
}

#[test]
fn wishes() {
    let wishes = [
        (
            Wish::Add { joiners: vec![replica_addr(7004)], as_learner: false },
            r#"{"add":{"joiners":["http://127.0.0.1:7004"]}}"#,
        ),
        (
            Wish::Add { joiners: vec![replica_addr(7004)], as_learner: true },
            r#"{"add":{"joiners":["http://127.0.0.1:7004"],"as_learner":true}}"#,
        ),
        (Wish::Remove { replicas: vec![id(2), id(3)] }, r#"{"remove":{"replicas":[2,3]}}"#),
        (
            Wish::Replace { replica: id(3), by: replica_addr(7004) },
            r#"{"replace":{"replica":3,"by":"http://127.0.0.1:7004"}}"#,
        ),
        (
            Wish::Set {
                voters: vec![voter(1), MemberName::Joiner(replica_addr(7004))],
                learners: vec![voter(2)],
            },
            r#"{"set":{"voters":[1,"http://127.0.0.1:7004"],"learners":[2]}}"#,
        ),
        (Wish::Set { voters: vec![voter(1)], learners: Vec::new() }, r#"{"set":{"voters":[1]}}"#),
        (Wish::Lead { replica: id(2) }, r#"{"lead":{"replica":2}}"#),
        (
            Wish::Relocate {
                replica: id(2),
                addr: replica_addr(7009),
                peer_addr: replica_addr(8009),
            },
            r#"{"relocate":{"replica":2,"addr":"http://127.0.0.1:7009","peer_addr":"http://127.0.0.1:8009"}}"#,
        ),
    ];
    for (wish, text) in wishes {
        assert_eq!(serde_json::to_string(&wish).unwrap(), text);
        assert_eq!(serde_json::from_str::<Wish>(text).unwrap(), wish);
    }
}

/// A plan with every member.
pub(super) fn plan() -> Plan {
    let newcomer = MemberName::Joiner(replica_addr(7004));
    let footing = |voters, may_fail: u32, sentence: &str| Footing {
        voters,
        learners: vec![voter(9)],
        tolerates: 1,
        may_fail,
        has_majority: true,
        sentence: sentence.to_owned(),
    };
    Plan {
        wish: Wish::Replace { replica: id(3), by: replica_addr(7004) },
        epoch: Epoch::new(23),
        now: footing(vec![voter(1), voter(2), voter(3)], 0, "3 voters: 1 may fail."),
        meanwhile: Some(footing(
            vec![voter(1), voter(2), voter(3), newcomer.clone()],
            0,
            "Old and new voters decide together: none may fail.",
        )),
        after: footing(vec![voter(1), voter(2), newcomer], 1, "3 voters: 1 may fail."),
        joins: vec![Newcomer {
            joiner: Joiner { as_learner: true, ..joiner() },
            as_learner: false,
        }],
        leaves: vec![id(3)],
        hand_over_to: Some(id(1)),
        copy_bytes: Some(1 << 30),
        copy_ms: Some(9_000),
        checks: vec![
            Check {
                id: CheckId::P1,
                level: CheckLevel::Block,
                line: "Afterwards no replica may fail.".to_owned(),
                fix: Some("Add two.".to_owned()),
                type_to_override: Some("3".to_owned()),
            },
            Check {
                id: CheckId::P12,
                level: CheckLevel::Pass,
                line: "No other change is under way.".to_owned(),
                fix: None,
                type_to_override: None,
            },
        ],
        verdict: PlanVerdict::NeedsOverride,
        command: "quorate cluster replace 3 --by http://127.0.0.1:7004 --if-epoch 23".to_owned(),
        curl: "curl http://127.0.0.1:7001/v1/cluster/changes".to_owned(),
    }
}

#[test]
fn a_plan() {
    assert_golden(
        &plan(),
        r#"
{
  "wish": {
    "replace": {
      "replica": 3,
      "by": "http://127.0.0.1:7004"
    }
  },
  "epoch": 23,
  "now": {
    "voters": [
      1,
      2,
      3
    ],
    "learners": [
      9
    ],
    "tolerates": 1,
    "may_fail": 0,
    "has_majority": true,
    "sentence": "3 voters: 1 may fail."
  },
  "meanwhile": {
    "voters": [
      1,
      2,
      3,
      "http://127.0.0.1:7004"
    ],
    "learners": [
      9
    ],
    "tolerates": 1,
    "may_fail": 0,
    "has_majority": true,
    "sentence": "Old and new voters decide together: none may fail."
  },
  "after": {
    "voters": [
      1,
      2,
      "http://127.0.0.1:7004"
    ],
    "learners": [
      9
    ],
    "tolerates": 1,
    "may_fail": 1,
    "has_majority": true,
    "sentence": "3 voters: 1 may fail."
  },
  "joins": [
    {
      "joiner": {
        "addr": "http://127.0.0.1:7002",
        "peer_addr": "http://127.0.0.1:8002",
        "zone": "b",
        "version": "0.1.0",
        "as_learner": true,
        "since": "2026-11-23T20:15:57.042Z"
      },
      "as_learner": false
    }
  ],
  "leaves": [
    3
  ],
  "hand_over_to": 1,
  "copy_bytes": 1073741824,
  "copy_ms": 9000,
  "checks": [
    {
      "id": "P1",
      "level": "block",
      "line": "Afterwards no replica may fail.",
      "fix": "Add two.",
      "type_to_override": "3"
    },
    {
      "id": "P12",
      "level": "pass",
      "line": "No other change is under way."
    }
  ],
  "verdict": "needs_override",
  "command": "quorate cluster replace 3 --by http://127.0.0.1:7004 --if-epoch 23",
  "curl": "curl http://127.0.0.1:7001/v1/cluster/changes"
}"#,
    );
}

fn one_override() -> Override {
    Override {
        check: CheckId::P1,
        typed: Typed::new("3").unwrap(),
        reason: Reason::new("moving out").unwrap(),
    }
}

#[test]
fn a_change_asked_for() {
    let wish = Wish::Remove { replicas: vec![id(3)] };
    assert_golden(
        &ChangeRequest { wish: wish.clone(), overrides: vec![one_override()] },
        r#"
{
  "wish": {
    "remove": {
      "replicas": [
        3
      ]
    }
  },
  "overrides": [
    {
      "check": "P1",
      "typed": "3",
      "reason": "moving out"
    }
  ]
}"#,
    );
    let plain = ChangeRequest { wish, overrides: Vec::new() };
    assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"wish":{"remove":{"replicas":[3]}}}"#);
}

#[test]
fn changes_listed() {
    let step = |name: &str, state, detail: Option<&str>| ChangeStep {
        name: name.to_owned(),
        state,
        detail: detail.map(str::to_owned),
    };
    let under_way = Change {
        id: ChangeId::new(18),
        wish: Wish::Replace { replica: id(3), by: replica_addr(7004) },
        stage: ChangeStage::Joining,
        epoch: Epoch::new(23),
        began: time(),
        ended: None,
        by: "operator".to_owned(),
        from: Some("127.0.0.1".to_owned()),
        overrides: vec![one_override()],
        joins: vec![id(4)],
        leaves: vec![id(3)],
        voters: vec![id(1), id(2), id(4)],
        waits_for: Some("replica 4 is 900 entries behind".to_owned()),
        steps: vec![
            step("let in", StepState::Done, None),
            step("catch up", StepState::Active, Some("900 entries")),
            step("vote", StepState::Waiting, None),
            step("hand over", StepState::Skipped, None),
        ],
        outcome: None,
        can_cancel: true,
    };
    let over = Change {
        id: ChangeId::new(17),
        wish: Wish::Lead { replica: id(2) },
        stage: ChangeStage::Done,
        ended: Some(time()),
        from: None,
        overrides: Vec::new(),
        joins: Vec::new(),
        leaves: Vec::new(),
        voters: Vec::new(),
        waits_for: None,
        steps: Vec::new(),
        outcome: Some("Replica 2 leads.".to_owned()),
        can_cancel: false,
        ..under_way.clone()
    };
    assert_golden(
        &ChangeList { changes: vec![under_way, over], next: Some(ChangeId::new(17)) },
        r#"
{
  "changes": [
    {
      "id": 18,
      "wish": {
        "replace": {
          "replica": 3,
          "by": "http://127.0.0.1:7004"
        }
      },
      "stage": "joining",
      "epoch": 23,
      "began": "2026-11-23T20:15:57.042Z",
      "by": "operator",
      "from": "127.0.0.1",
      "overrides": [
        {
          "check": "P1",
          "typed": "3",
          "reason": "moving out"
        }
      ],
      "joins": [
        4
      ],
      "leaves": [
        3
      ],
      "voters": [
        1,
        2,
        4
      ],
      "waits_for": "replica 4 is 900 entries behind",
      "steps": [
        {
          "name": "let in",
          "state": "done"
        },
        {
          "name": "catch up",
          "state": "active",
          "detail": "900 entries"
        },
        {
          "name": "vote",
          "state": "waiting"
        },
        {
          "name": "hand over",
          "state": "skipped"
        }
      ],
      "can_cancel": true
    },
    {
      "id": 17,
      "wish": {
        "lead": {
          "replica": 2
        }
      },
      "stage": "done",
      "epoch": 23,
      "began": "2026-11-23T20:15:57.042Z",
      "ended": "2026-11-23T20:15:57.042Z",
      "by": "operator",
      "joins": [],
      "leaves": [],
      "voters": [],
      "steps": [],
      "outcome": "Replica 2 leads.",
      "can_cancel": false
    }
  ],
  "next": 17
}"#,
    );
}
