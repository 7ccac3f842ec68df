//! Logs that go by themselves, under a clock that stands until it is moved.
//!
//! That a log stays is shown beside one that goes: it is due later in the same look.

use client::types::Timestamp;

use super::retention::{BEGIN, name, until};
use super::*;

const SECOND: u64 = 1_000;

async fn leading() -> Replica {
    let expiry_interval = Duration::from_millis(5);
    let options = NodeOptions { expiry_interval, ..NodeOptions::default() };
    Replica::leading_in(World::for_test(7, BEGIN), &options).await
}

fn settings(ttl: Option<u64>, expires_at: Option<u64>) -> LogSettings {
    let ttl = ttl.map(Duration::from_millis);
    let expires_at = expires_at.map(Timestamp::new);
    LogSettings { ttl, expires_at, ..LogSettings::default() }
}

impl Replica {
    async fn is_there(&self, log: &str) -> bool {
        let log = name(log).into();
        match self.node.describe_log(&log, Consistency::Linearizable).await {
            Ok(_) => true,
            Err(ReadError::UnknownLog { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Every log is looked at once more: one that is due already is gone again.
    async fn looked_for_expired(&self, canary: &str) {
        let due = settings(None, Some(BEGIN));
        self.node.ensure_log(name(canary), due).await.unwrap();
        until("the canary is gone", async || !self.is_there(canary).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_at_its_time_and_not_before() {
    let replica = leading().await;
    replica.create("a", settings(None, Some(BEGIN + SECOND))).await;
    replica.move_clock(BEGIN + SECOND - 1).await;
    replica.looked_for_expired("z").await;
    assert!(replica.is_there("a").await);
    replica.move_clock(BEGIN + SECOND).await;
    until("it is gone", async || !replica.is_there("a").await).await;
    let again = replica.node.ensure_log(name("a"), LogSettings::default()).await.unwrap();
    assert!(again.is_new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_that_nobody_used_for_its_time_to_live() {
    let replica = leading().await;
    for log in ["idle", "appended", "renewed"] {
        replica.create(log, settings(Some(SECOND), None)).await;
    }
    replica.move_clock(BEGIN + 900).await;
    replica.fill("appended", 1).await;
    replica.node.renew_log(&name("renewed").into()).await.unwrap();
    replica.move_clock(BEGIN + 1_899).await;
    until("the idle one is gone", async || !replica.is_there("idle").await).await;
    replica.looked_for_expired("z").await;
    assert!(replica.is_there("appended").await && replica.is_there("renewed").await);
    replica.move_clock(BEGIN + 1_900).await;
    for log in ["appended", "renewed"] {
        until("it is gone", async || !replica.is_there(log).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_often_is_replicated_seldom() {
    let replica = leading().await;
    replica.create("a", settings(Some(16 * SECOND), None)).await;
    let renewed = || replica.node.core.state.view(&name("a")).unwrap().renewed;
    replica.move_clock(BEGIN + SECOND - 1).await;
    replica.node.renew_log(&name("a").into()).await.unwrap();
    assert_eq!(renewed(), Timestamp::EPOCH, "little has passed");
    replica.move_clock(BEGIN + SECOND).await;
    replica.node.renew_log(&name("a").into()).await.unwrap();
    assert_eq!(renewed(), Timestamp::new(BEGIN + SECOND), "a part of it has passed");
    replica.node.renew_log(&name("nothing").into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_begin_with_records_and_sealed() {
    let replica = leading().await;
    let batch = || Batch::single(&NewRecord::new("first"), &BatchLimits::default()).unwrap();
    let create = async || {
        replica
            .node
            .create_log(orders(), LogSettings::default(), Some(batch()), true)
            .await
            .unwrap()
    };
    let created = create().await;
    assert!(created.is_new && created.log.sealed);
    assert_eq!(created.log.tail, Position::new(1));
    let again = create().await;
    assert!(!again.is_new, "its records are there once");
    assert_eq!(replica.read(ReadFrom::First).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_records_are_refused_as_those_of_an_append_are() {
    let small = BatchLimits { record_bytes_max: 3, ..BatchLimits::default() };
    let replica = Replica::leading(&NodeOptions { batch: small, ..NodeOptions::default() }).await;
    let batch = Batch::single(&NewRecord::new("long"), &BatchLimits::default()).unwrap();
    let settings = LogSettings::default();
    let refused = replica.node.create_log(orders(), settings, Some(batch), false).await;
    let Err(ChangeLogError::Records(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(*error, AppendError::RecordTooLarge { bytes: 4, max: 3 });
    assert!(!replica.is_there(orders().as_str()).await, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_append_seals_its_log_in_the_same_step() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    let last = Batch::single(&NewRecord::new("last"), &BatchLimits::default()).unwrap();
    let seals = |batch: Option<Batch>| AppendRequest {
        batch,
        seals: true,
        ..AppendRequest::of(orders(), Conditions::default(), last.clone())
    };
    let appended = replica.node.append(seals(Some(last.clone()))).await.unwrap();
    assert!(appended.sealed && appended.next == Position::new(1));
    let refused = replica.node.append(seals(None)).await;
    let sealed = Rejection::Sealed { tail: Position::new(1) };
    assert_eq!(refused, Err(AppendError::Refused(sealed)));
}
