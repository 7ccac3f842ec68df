//! What a log's retention lets go of, and what it keeps, under a clock that stands until it is moved.
//!
//! That something is kept is shown beside a log that has to let go: it comes later in the same look.

use client::api::logs::LogDescription;
use client::types::Timestamp;

use super::*;

/// When all of these tests begin, in milliseconds since the Unix epoch.
pub(super) const BEGIN: u64 = 1_700_000_000_000;
/// What a body of 98 bytes costs.
const RECORD_BYTES: u64 = 100;

fn options() -> NodeOptions {
    let retention_interval = Duration::from_millis(5);
    NodeOptions { retention_interval, ..NodeOptions::default() }
}

async fn leading() -> Replica {
    Replica::leading_in(World::for_test(7, BEGIN), &options()).await
}

fn settings(age_ms: Option<u64>, bytes: Option<u64>) -> LogSettings {
    let retention_age = age_ms.map(Duration::from_millis);
    LogSettings { retention_age, retention_bytes: bytes, ..LogSettings::default() }
}

pub(super) fn name(text: &str) -> LogName {
    LogName::new(text).unwrap()
}

/// Waits until something holds.
pub(super) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

impl Replica {
    pub(super) async fn create(&self, log: &str, settings: LogSettings) {
        self.node.ensure_log(name(log), settings).await.unwrap();
    }

    /// Appends so many records at once: no look comes in between.
    pub(super) async fn fill(&self, log: &str, records: usize) {
        let records = vec![NewRecord::new(vec![7; 98]); records];
        let batch = Batch::new(&records, &BatchLimits::default()).unwrap();
        let request = AppendRequest::of(name(log), Conditions::default(), batch);
        self.node.append(request).await.unwrap();
    }

    async fn described(&self, log: &str) -> LogDescription {
        let log = name(log).into();
        self.node.describe_log(&log, Consistency::Linearizable).await.unwrap().answer
    }

    async fn first(&self, log: &str) -> u64 {
        self.described(log).await.first.get()
    }

    async fn trimmed_to(&self, log: &str, first: u64) {
        let what = format!("{log} is trimmed to {first}");
        until(&what, async || self.first(log).await == first).await;
    }

    /// Everything is looked at once more: a log that comes after all others is trimmed again.
    async fn looked_at(&self, canary: &str) {
        self.create(canary, settings(None, Some(0))).await;
        self.fill(canary, 1).await;
        self.trimmed_to(canary, 1).await;
    }

    /// Moves the wall clock, and waits until it agrees with itself again.
    pub(super) async fn move_clock(&self, millis: u64) {
        self.world.clock.set_wall_millis(millis);
        until("the clock is agreed on", async || {
            self.node.core.clocks.is_agreed(&self.world.clock)
                && self.node.stamp() == Timestamp::new(millis)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_bytes_are_kept_and_the_rest_goes_at_once() {
    let replica = leading().await;
    replica.create("a", settings(None, Some(10 * RECORD_BYTES))).await;
    replica.fill("a", 11).await;
    replica.looked_at("z").await;
    assert_eq!(replica.first("a").await, 0, "less than an eighth is beyond");
    replica.fill("a", 1).await;
    replica.trimmed_to("a", 2).await;
    assert_eq!(replica.described("a").await.bytes, 10 * RECORD_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_beyond_their_age_go_and_younger_ones_stay() {
    let replica = leading().await;
    replica.create("a", settings(Some(80_000), None)).await;
    replica.fill("a", 3).await;
    replica.move_clock(BEGIN + 20_000).await;
    replica.fill("a", 2).await;
    replica.move_clock(BEGIN + 90_000).await;
    replica.looked_at("y").await;
    assert_eq!(replica.first("a").await, 0, "none is older by more than an eighth");
    replica.move_clock(BEGIN + 91_000).await;
    replica.trimmed_to("a", 3).await;
    // The group has been idle since, and its records grow old all the same.
    replica.move_clock(BEGIN + 200_000).await;
    replica.trimmed_to("a", 5).await;
    assert_eq!(replica.described("a").await.bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn either_setting_lets_a_record_go() {
    let replica = leading().await;
    let both = settings(Some(80_000), Some(10 * RECORD_BYTES));
    replica.create("large", both.clone()).await;
    replica.create("old", both).await;
    replica.fill("old", 4).await;
    replica.fill("large", 30).await;
    // A look while it was filled may have left one more, which is within the slack.
    until("the bytes are kept", async || replica.first("large").await >= 19).await;
    assert_eq!(replica.first("old").await, 0);
    replica.move_clock(BEGIN + 91_000).await;
    replica.trimmed_to("old", 4).await;
    replica.trimmed_to("large", 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_hold_from_their_answer_on() {
    let replica = leading().await;
    replica.create("a", settings(None, Some(1_000 * RECORD_BYTES))).await;
    replica.fill("a", 50).await;
    let patch = |bytes| SettingsPatch { retention_bytes: Some(bytes), ..SettingsPatch::default() };
    let change = async |bytes| {
        replica.node.change_settings(name("a").into(), patch(bytes)).await.unwrap();
    };
    change(Some(20 * RECORD_BYTES)).await;
    replica.trimmed_to("a", 30).await;
    change(None).await;
    replica.fill("a", 50).await;
    replica.looked_at("z").await;
    assert_eq!(replica.first("a").await, 30, "a log without a retention keeps everything");
    // Whatever a trim was about to do, it comes before the answer, or not at all.
    for round in 1..30 {
        change(Some(5 * RECORD_BYTES)).await;
        change(None).await;
        let told = replica.first("a").await;
        replica.fill("a", 10).await;
        replica.looked_at(&format!("z/{round}")).await;
        assert_eq!(replica.first("a").await, told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_appended_meanwhile_a_log_never_holds_less_than_it_keeps() {
    let replica = Arc::new(leading().await);
    let kept = 20 * RECORD_BYTES;
    replica.create("a", settings(None, Some(kept))).await;
    let filling = tokio::spawn({
        let replica = Arc::clone(&replica);
        async move {
            for _ in 0..600 {
                replica.fill("a", 1).await;
            }
        }
    });
    let mut trims = 0;
    let mut first = 0;
    while !filling.is_finished() {
        let log = replica.described("a").await;
        let all = log.tail.get() * RECORD_BYTES;
        assert!(log.bytes >= kept.min(all), "{log:?}");
        trims += u64::from(log.first.get() > first);
        first = log.first.get();
    }
    filling.await.unwrap();
    assert!(trims > 3, "it was trimmed {trims} times meanwhile");
    until("a log holds an eighth more at most", async || {
        replica.described("a").await.bytes <= kept + kept / 8
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_logs_are_not_due_writes_nothing() {
    let replica = leading().await;
    replica.create("a", settings(Some(80_000), Some(20 * RECORD_BYTES))).await;
    replica.fill("a", 5).await;
    replica.looked_at("z").await;
    let applied = *replica.node.core.applied.borrow();
    // Time passes in which it is looked at often.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(*replica.node.core.applied.borrow(), applied);
}
