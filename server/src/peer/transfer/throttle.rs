//! How fast a transfer may go: so many bytes a second, or not at all; turned while it runs.
//!
//! Whoever is about to ask for bytes waits until those asked for before have had their time. A new rate counts from the
//! moment it is set: what waits under the old one does not wait for it any more.
//!
//! Not here: who turns it (`board`).

use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::world::{Clock, Instant};

/// What an operator turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// The most bytes a second; none: as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// Nothing is asked for until it is let go.
    pub is_paused: bool,
}

/// The gate before every question.
#[derive(Debug)]
pub(super) struct Throttle {
    pace: watch::Receiver<Pace>,
    clock: Clock,
    /// When the next question may be asked. Whoever waits holds it: one after the other.
    next: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(super) fn new(pace: watch::Receiver<Pace>, clock: Clock) -> Self {
        Self { pace, clock, next: Mutex::new(None) }
    }

    /// Waits until so many bytes may be asked for.
    pub(super) async fn pass(&self, bytes: u64) {
        let mut pace = self.pace.clone();
        let mut next = self.next.lock().await;
        loop {
            let now_paced = *pace.borrow_and_update();
            let now = self.clock.now();
            let begin = next.unwrap_or(now).max(now);
            if !now_paced.is_paused {
                let Some(rate) = now_paced.bytes_per_second else {
                    *next = None;
                    return;
                };
                if begin <= now {
                    *next = Some(now + time_of(bytes, rate));
                    return;
                }
            }
            let until_begin = async {
                if now_paced.is_paused {
                    return std::future::pending().await;
                }
                self.clock.sleep_until(begin).await;
            };
            tokio::select! {
                () = until_begin => {}
                changed = pace.changed() => {
                    *next = None;
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn time_of(bytes: u64, rate: u64) -> Duration {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).min(Duration::from_hours(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed_after(throttle: &Throttle, bytes: u64) -> Duration {
        let before = throttle.clock.now();
        throttle.pass(bytes).await;
        throttle.clock.since(before)
    }

    fn throttle(pace: Pace) -> (watch::Sender<Pace>, Throttle) {
        let sender = watch::Sender::new(pace);
        let throttle = Throttle::new(sender.subscribe(), Clock::real());
        (sender, throttle)
    }

    #[tokio::test]
    async fn bytes_take_their_time_one_after_the_other() {
        let (_sender, throttle) =
            throttle(Pace { bytes_per_second: Some(10_000), is_paused: false });
        let before = throttle.clock.now();
        throttle.pass(500).await;
        throttle.pass(2000).await;
        let first = throttle.clock.since(before);
        assert!(first >= Duration::from_millis(50), "{first:?}");
        throttle.pass(1).await;
        let second = throttle.clock.since(before);
        assert!(second >= Duration::from_millis(250), "{second:?}");
    }

    #[tokio::test]
    async fn whoever_comes_first_does_not_wait() {
        let (_sender, throttle) = throttle(Pace { bytes_per_second: Some(1), is_paused: false });
        assert!(passed_after(&throttle, 3000).await < Duration::from_mins(1));
    }

    #[tokio::test]
    async fn a_new_pace_counts_at_once() {
        let (sender, throttle) = throttle(Pace { bytes_per_second: Some(1), is_paused: false });
        throttle.pass(3000).await;
        let faster = async {
            throttle.clock.sleep(Duration::from_millis(50)).await;
            sender.send_replace(Pace::default());
        };
        let (waited, ()) = tokio::join!(passed_after(&throttle, 1), faster);
        assert!(waited < Duration::from_secs(20), "{waited:?}");
    }

    #[tokio::test]
    async fn while_it_is_paused_nothing_passes() {
        let (sender, throttle) = throttle(Pace { bytes_per_second: None, is_paused: true });
        let waits = throttle.clock.within(Duration::from_millis(50), throttle.pass(1)).await;
        assert!(waits.is_err());
        sender.send_replace(Pace::default());
        assert!(passed_after(&throttle, 1).await < Duration::from_secs(20));
    }
}
