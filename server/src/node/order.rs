//! Batches of one producer enter in the order of their numbers, also if they arrive in another.
//!
//! A producer with several batches under way sends them over several connections, so a later one may be
//! here first. If it were proposed, all replicas would get and keep its bytes, only to refuse it. So it
//! waits a moment for the one before it.
//!
//! This is a guess from what passed here, never a decision: what waited in vain is proposed all the
//! same, and a wrong guess costs that moment. Not here: which number is the next (`machine`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::api::conditions::ProducerBatch;
use client::types::{LogName, ProducerEpoch, ProducerId, Sequence};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::append::Appended;
use super::error::AppendError;
use crate::machine::Rejection;
use crate::world::Clock;

/// Longest wait for the batch before.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// So many producers are known; beyond that, all are forgotten.
const PRODUCERS_MAX: usize = 4_096;

/// In which order batches enter.
#[derive(Debug)]
pub(super) struct Order {
    clock: Clock,
    lanes: Mutex<BTreeMap<(LogName, ProducerId), Lane>>,
}

/// One producer, as far as it passed here.
#[derive(Debug)]
struct Lane {
    epoch: ProducerEpoch,
    /// One past the newest batch that entered and may still be the right one.
    next: u64,
    /// One past the newest batch that was acknowledged.
    done: u64,
    moved: Arc<Notify>,
}

impl Order {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, lanes: Mutex::default() }
    }

    /// Waits until the batch before this one has entered, but not for long.
    pub(super) async fn turn(&self, log: &LogName, batch: &ProducerBatch) {
        let until = self.clock.after(WAIT_MAX);
        while let Some(moved) = self.is_early(log, batch) {
            if self.clock.until(until, moved).await.is_err() {
                return;
            }
        }
    }

    /// What to wait for, if a batch of the same epoch is missing before this one.
    fn is_early(&self, log: &LogName, batch: &ProducerBatch) -> Option<OwnedNotified> {
        self.with(log, batch, |lane| {
            let is_early = lane.epoch == batch.epoch && batch.sequence.get() > lane.next;
            is_early.then(|| Arc::clone(&lane.moved).notified_owned())
        })
        .flatten()
    }

    /// This batch has entered.
    pub(super) fn entered(&self, log: &LogName, batch: &ProducerBatch) {
        let key = (log.clone(), batch.id.clone());
        let mut lanes = self.lanes.lock().expect("nothing panics while it holds the lanes");
        if lanes.len() >= PRODUCERS_MAX && !lanes.contains_key(&key) {
            lanes.clear();
        }
        let lane = lanes.entry(key).or_insert_with(|| Lane {
            epoch: batch.epoch,
            next: 0,
            done: 0,
            moved: Arc::default(),
        });
        if lane.epoch < batch.epoch {
            (lane.epoch, lane.next, lane.done) = (batch.epoch, 0, 0);
        }
        if lane.epoch == batch.epoch {
            lane.advance(after(batch.sequence));
        }
    }

    /// What became of this batch, which tells where its producer is.
    pub(super) fn ended(
        &self,
        log: &LogName,
        batch: &ProducerBatch,
        result: &Result<Appended, AppendError>,
    ) {
        self.with(log, batch, |lane| {
            if lane.epoch != batch.epoch {
                return;
            }
            match result {
                Ok(_) => {
                    lane.done = lane.done.max(after(batch.sequence));
                    lane.advance(lane.done);
                }
                Err(AppendError::Refused(Rejection::SequenceGap { expected, .. })) => {
                    // What entered behind the gap was refused as well, unless it was filled since.
                    lane.next = lane.next.min(expected.get().max(lane.done));
                }
                Err(AppendError::Refused(Rejection::NotFirstOfEpoch { .. })) => {
                    lane.next = lane.done;
                }
                Err(_) => {}
            }
        });
    }

    fn with<T>(
        &self,
        log: &LogName,
        batch: &ProducerBatch,
        look: impl FnOnce(&mut Lane) -> T,
    ) -> Option<T> {
        let mut lanes = self.lanes.lock().expect("nothing panics while it holds the lanes");
        lanes.get_mut(&(log.clone(), batch.id.clone())).map(look)
    }
}

impl Lane {
    fn advance(&mut self, next: u64) {
        if next > self.next {
            self.next = next;
            self.moved.notify_waiters();
        }
    }
}

const fn after(sequence: Sequence) -> u64 {
    sequence.get().saturating_add(1)
}

#[cfg(test)]
mod tests {
    use client::types::{LogId, Position, Timestamp};
    use futures_util::poll;
    use std::pin::pin;

    use super::*;

    fn log() -> LogName {
        LogName::new("orders").unwrap()
    }

    fn batch(epoch: u64, sequence: u64) -> ProducerBatch {
        ProducerBatch {
            id: ProducerId::new("p").unwrap(),
            epoch: ProducerEpoch::new(epoch),
            sequence: Sequence::new(sequence),
        }
    }

    fn stored() -> Appended {
        let (first, next) = (Position::ZERO, Position::new(1));
        let (log, time) = (LogId::new(1), Timestamp::new(0));
        Appended {
            log,
            first,
            next,
            tail: next,
            time,
            replayed: false,
            sealed: false,
            last_sequence: None,
        }
    }

    fn gap(expected: u64, received: u64) -> AppendError {
        let (expected, received) = (Sequence::new(expected), Sequence::new(received));
        AppendError::Refused(Rejection::SequenceGap { expected, received })
    }

    async fn is_early(order: &Order, batch: &ProducerBatch) -> bool {
        let log = log();
        let mut turn = pin!(order.turn(&log, batch));
        poll!(&mut turn).is_pending()
    }

    #[tokio::test]
    async fn a_batch_that_comes_early_waits_for_the_one_before_it() {
        let order = Order::new(Clock::real());
        let (log, late) = (log(), batch(0, 2));
        assert!(!is_early(&order, &late).await, "nothing is known of its producer");
        order.entered(&log, &batch(0, 0));
        let mut turn = pin!(order.turn(&log, &late));
        assert!(poll!(&mut turn).is_pending());
        order.entered(&log, &batch(0, 1));
        assert!(poll!(&mut turn).is_ready());
        assert!(!is_early(&order, &batch(0, 0)).await, "a repetition never waits");
        assert!(!is_early(&order, &batch(1, 0)).await, "nor does another epoch");
    }

    #[tokio::test]
    async fn a_batch_waits_for_a_moment_only() {
        let order = Order::new(Clock::real());
        order.entered(&log(), &batch(0, 0));
        // It ends though nothing comes.
        order.turn(&log(), &batch(0, 7)).await;
        assert!(is_early(&order, &batch(0, 7)).await, "waiting alone teaches nothing");
    }

    #[tokio::test]
    async fn what_was_refused_behind_a_gap_is_waited_for_again() {
        let (order, log) = (Order::new(Clock::real()), log());
        for sequence in [0, 3, 2] {
            order.entered(&log, &batch(0, sequence));
        }
        order.ended(&log, &batch(0, 0), &Ok(stored()));
        order.ended(&log, &batch(0, 3), &Err(gap(1, 3)));
        order.ended(&log, &batch(0, 2), &Err(gap(1, 2)));
        assert!(!is_early(&order, &batch(0, 1)).await);
        assert!(is_early(&order, &batch(0, 2)).await);
        order.entered(&log, &batch(0, 1));
        order.ended(&log, &batch(0, 1), &Ok(stored()));
        // A refusal from before that comes late says nothing new.
        order.ended(&log, &batch(0, 2), &Err(gap(1, 2)));
        assert!(!is_early(&order, &batch(0, 2)).await);
    }
}
