//! Wakes whoever waits for more of a log, and nobody else.
//!
//! One task looks at the logs that somebody waits for whenever something was applied here, and tells
//! those whose log moved. After it woke many it pauses for a moment, so that a thousand followers of
//! a busy log share pages instead of being woken for every record.
//!
//! Not here: reading what is there (`read`), and what a follower is told (`follow`).

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::types::{EntryIndex, LogId, Position};
use tokio::sync::{Notify, watch};

use crate::world::Clock;

/// The shortest pause after waking somebody.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The longest pause, however many were woken.
const PAUSE_MAX: Duration = Duration::from_millis(25);
/// How much longer the pause becomes with each one woken.
const PAUSE_PER_WOKEN: Duration = Duration::from_micros(20);

/// What those who wait want to know of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// The first position that can be read.
    pub(super) first: Position,
    /// The position the next record gets.
    pub(super) tail: Position,
    /// What becomes of the log.
    pub(super) fate: Fate,
}

/// Whether more can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It grows.
    Open,
    /// It ends at its tail.
    Sealed,
    /// It is gone.
    Deleted,
}

impl Moment {
    /// The moment of a log that is gone.
    pub(super) const DELETED: Self =
        Self { first: Position::ZERO, tail: Position::ZERO, fate: Fate::Deleted };
}

/// The logs that somebody waits for. A clone is the same.
#[derive(Clone)]
pub(super) struct Tails {
    shared: Arc<Shared>,
}

struct Shared {
    look: Box<dyn Fn(LogId) -> Moment + Send + Sync>,
    logs: Mutex<HashMap<LogId, watch::Sender<Moment>>>,
    somebody: Notify,
}

impl Tails {
    /// Nobody waits yet. `look` tells how a log is now; it must not block.
    pub(super) fn new(look: impl Fn(LogId) -> Moment + Send + Sync + 'static) -> Self {
        let shared =
            Shared { look: Box::new(look), logs: Mutex::default(), somebody: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// How the log is now, and a wake-up when that changes.
    pub(super) fn watch(&self, log: LogId) -> watch::Receiver<Moment> {
        let mut logs = self.logs();
        if logs.is_empty() {
            self.shared.somebody.notify_one();
        }
        // Looked at under the lock: what is applied after this look is seen by the next pass.
        let now = (self.shared.look)(log);
        let sender = logs.entry(log).or_insert_with(|| watch::Sender::new(now));
        sender.send_if_modified(|seen| replace(seen, now));
        sender.subscribe()
    }

    /// Wakes until nothing is applied any more.
    pub(super) fn run(
        &self,
        mut applied: watch::Receiver<Option<EntryIndex>>,
        clock: Clock,
    ) -> impl Future<Output = ()> + Send + use<> {
        let tails = self.clone();
        async move {
            loop {
                if tails.logs().is_empty() {
                    tails.shared.somebody.notified().await;
                }
                if applied.changed().await.is_err() {
                    break;
                }
                let woken = tails.pass();
                if woken > 0 {
                    clock.sleep(pause(woken)).await;
                }
            }
            tails.close();
        }
    }

    /// Tells whoever still waits that nothing more comes from here.
    pub(super) fn close(&self) {
        self.logs().clear();
    }

    /// Looks at every log that somebody waits for. How many were woken?
    fn pass(&self) -> usize {
        let mut woken = 0;
        self.logs().retain(|log, sender| {
            let waiting = sender.receiver_count();
            if waiting > 0 {
                let now = (self.shared.look)(*log);
                if sender.send_if_modified(|seen| replace(seen, now)) {
                    woken += waiting;
                }
            }
            waiting > 0
        });
        woken
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, HashMap<LogId, watch::Sender<Moment>>> {
        // A panic while it was held left whole entries behind.
        self.shared.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn replace(seen: &mut Moment, now: Moment) -> bool {
    let is_new = *seen != now;
    *seen = now;
    is_new
}

fn pause(woken: usize) -> Duration {
    let woken = u32::try_from(woken).unwrap_or(u32::MAX);
    PAUSE_PER_WOKEN.saturating_mul(woken).clamp(PAUSE_MIN, PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Fixture {
        tail: Arc<AtomicU64>,
        tails: Tails,
        applied: watch::Sender<Option<EntryIndex>>,
    }

    fn fixture() -> Fixture {
        let tail = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&tail);
        let tails = Tails::new(move |_log| Moment {
            first: Position::ZERO,
            tail: Position::new(seen.load(Ordering::SeqCst)),
            fate: Fate::Open,
        });
        let applied = watch::Sender::new(None);
        drop(tokio::spawn(tails.run(applied.subscribe(), Clock::real())));
        Fixture { tail, tails, applied }
    }

    impl Fixture {
        fn apply(&self, index: u64, tail: u64) {
            self.tail.store(tail, Ordering::SeqCst);
            self.applied.send_replace(Some(EntryIndex::new(index)));
        }
    }

    #[tokio::test]
    async fn everybody_who_waits_for_a_log_is_woken_when_it_grows() {
        let fixture = fixture();
        let waiting: Vec<_> = (0..1_000)
            .map(|_| {
                let mut moments = fixture.tails.watch(LogId::new(1));
                tokio::spawn(async move {
                    moments.wait_for(|moment| moment.tail == Position::new(5)).await.is_ok()
                })
            })
            .collect();
        fixture.apply(1, 5);
        for waiter in waiting {
            assert!(waiter.await.unwrap());
        }
    }

    #[tokio::test]
    async fn an_entry_of_another_log_wakes_nobody() {
        let fixture = fixture();
        let moments = fixture.tails.watch(LogId::new(1));
        fixture.apply(1, 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!moments.has_changed().unwrap());
    }

    #[tokio::test]
    async fn what_was_applied_before_the_wait_is_seen_at_once() {
        let fixture = fixture();
        fixture.apply(1, 3);
        let moments = fixture.tails.watch(LogId::new(1));
        assert_eq!(moments.borrow().tail, Position::new(3));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_nothing_more_comes() {
        let Fixture { tails, applied, .. } = fixture();
        let mut moments = tails.watch(LogId::new(1));
        drop(applied);
        assert!(moments.changed().await.is_err());
    }

    #[test]
    fn a_pause_grows_with_those_woken_and_has_an_end() {
        assert_eq!(pause(1), PAUSE_MIN);
        assert!(pause(1_000) > pause(100));
        assert_eq!(pause(usize::MAX), PAUSE_MAX);
    }
}
