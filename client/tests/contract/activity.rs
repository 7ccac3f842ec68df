//! Who did what.

use quorate_client::api::activity::{Act, Activity, ActivityList};
use quorate_client::api::plans::Wish;
use quorate_client::types::{ChangeId, LogId, LogName, Position, ReplicaId};

use super::{assert_golden, time};

#[test]
fn who_did_what() {
    let activity = |position, by: &str, from: Option<&str>, act| Activity {
        position: Position::new(position),
        time: time(),
        by: by.to_owned(),
        from: from.map(str::to_owned),
        act,
    };
    let ended = Act::ChangeEnded {
        change: ChangeId::new(18),
        is_done: true,
        outcome: None,
        took_ms: 2_500,
    };
    let begun = Act::ChangeBegun {
        change: ChangeId::new(18),
        wish: Wish::Lead { replica: ReplicaId::FIRST },
        overrides: Vec::new(),
    };
    let deleted = Act::LogDeleted {
        log: LogName::new("shop/orders").unwrap(),
        log_id: LogId::new(7),
        records: 12,
    };
    let list = ActivityList {
        activity: vec![
            activity(42, "membership.replace_dead", None, ended),
            activity(41, "membership.replace_dead", None, begun),
            activity(40, "ada@example.org", Some("10.0.0.9"), deleted),
        ],
        next: Some(Position::new(40)),
    };
    let told: Vec<_> = list.activity.iter().map(|one| one.act.to_string()).collect();
    assert_eq!(
        told,
        [
            "change 18 done after 2500 ms",
            "began change 18: lead 1",
            "deleted log shop/orders with 12 records",
        ]
    );
    assert_golden(
        &list,
        r#"
{
  "activity": [
    {
      "position": 42,
      "time": "2026-11-23T20:15:57.042Z",
      "by": "membership.replace_dead",
      "act": {
        "change_ended": {
          "change": 18,
          "is_done": true,
          "took_ms": 2500
        }
      }
    },
    {
      "position": 41,
      "time": "2026-11-23T20:15:57.042Z",
      "by": "membership.replace_dead",
      "act": {
        "change_begun": {
          "change": 18,
          "wish": {
            "lead": {
              "replica": 1
            }
          }
        }
      }
    },
    {
      "position": 40,
      "time": "2026-11-23T20:15:57.042Z",
      "by": "ada@example.org",
      "from": "10.0.0.9",
      "act": {
        "log_deleted": {
          "log": "shop/orders",
          "log_id": 7,
          "records": 12
        }
      }
    }
  ],
  "next": 40
}"#,
    );
}
