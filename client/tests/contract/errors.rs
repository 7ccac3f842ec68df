//! The problem document, and the table of error codes with their three answers.

use std::fmt::Write as _;
use std::time::Duration;

use quorate_client::api::error::{Actual, ErrorCode, Problem};
use quorate_client::api::plans::CheckId;
use quorate_client::types::{ChangeId, Epoch, Fence, LogId, Position, ProducerEpoch, Sequence};

use super::plans::plan;
use super::{assert_golden, replica_addr};

#[test]
fn a_problem_with_all_its_members() {
    let actual = Actual {
        tail: Some(Position::new(9)),
        cursor: Some(Position::new(6)),
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
        change: Some(ChangeId::new(18)),
        checks: vec![CheckId::P1, CheckId::P2],
        plan: None,
    };
    let mut problem = Problem::new(ErrorCode::Overloaded)
        .with_detail("64 MiB are waiting")
        .with_retry_after(Duration::from_millis(1500))
        .with_request_id("01-2")
        .with_actual(actual);
    problem.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
    assert_golden(
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
  "cursor": 6,
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
  "epoch": 4,
  "change": 18,
  "checks": [
    "P1",
    "P2"
  ]
}"#,
    );
}

#[test]
fn a_problem_carries_the_plan_as_it_is_now() {
    let actual = Actual { plan: Some(Box::new(plan())), ..Actual::default() };
    let problem = Problem::new(ErrorCode::StalePlan).with_actual(actual);
    let written = serde_json::to_value(&problem).unwrap();
    assert_eq!(written["plan"], serde_json::to_value(plan()).unwrap());
    assert_eq!(serde_json::from_value::<Problem>(written).unwrap(), problem);
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
unknown_checkpoint            404 final     none
unknown_transfer              404 final     none
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
content_type_differs          409 final     none
stream_replaced               410 final     none
log_sealed                    409 final     none
log_id_differs                412 final     none
tail_differs                  412 final     none
cursor_differs                412 final     none
fenced                        412 final     none
producer_epoch_old            403 final     none
sequence_gap                  409 final     none
sequence_body_differs         422 final     none
sequence_forgotten            409 final     possible
order_key_old                 409 final     none
idempotency_key_body_differs  422 final     none
trimmed                       410 final     none
beyond_tail                   416 final     none
logs_full                     409 final     none
producers_full                429 retryable none
cursors_full                  409 final     none
checkpoints_full              409 final     none
transfer_not_received         409 final     none
already_bootstrapped          409 final     none
unknown_replica               404 final     none
unknown_joiner                404 final     none
unknown_change                404 final     none
invalid_wish                  422 final     none
precondition_required         428 final     none
stale_plan                    412 final     none
plan_blocked                  422 final     none
override_missing              422 final     none
change_under_way              409 final     none
change_is_joint               409 final     none
change_ended                  409 final     none
join_refused                  409 final     none
overloaded                    429 retryable none
too_many_connections          503 retryable none
storage_behind                503 retryable none
disk_full                     503 retryable none
no_leader                     503 retryable none
no_quorum                     503 retryable none
replica_behind                503 retryable none
quarantined                   503 retryable none
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
