//! Now, and not yet: the only place that asks the machine what time it is.
//!
//! Two kinds of time are kept apart. Monotonic time (`Instant`) measures how long something takes
//! and when it is given up; it never enters replicated state. Wall time is a number of milliseconds
//! since the Unix epoch; the leader stamps commands with it, and nothing else decides by it.
//!
//! Not here: which time a command carries in the end. The machine never lets time run backwards.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock.
pub type Instant = tokio::time::Instant;

/// A timer that rings once and can be set again.
pub type Timer = tokio::time::Sleep;

/// A deadline passed before what was awaited came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Expired;

/// The clock of one replica. A clone is the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Wall,
}

#[derive(Clone, Debug)]
enum Wall {
    System,
    Standing(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's own clock.
    pub fn real() -> Self {
        Self { wall: Wall::System }
    }

    /// A wall clock that stands at `millis` until [`Clock::set_wall_millis`] moves it.
    pub fn standing_at(millis: u64) -> Self {
        Self { wall: Wall::Standing(Arc::new(AtomicU64::new(millis))) }
    }

    /// Moves a standing wall clock; does nothing to the machine's own.
    pub fn set_wall_millis(&self, millis: u64) {
        if let Wall::Standing(at) = &self.wall {
            at.store(millis, Ordering::SeqCst);
        }
    }

    /// The monotonic time.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The wall time in milliseconds since the Unix epoch; 0 for a clock set before it.
    pub fn wall_millis(&self) -> u64 {
        match &self.wall {
            Wall::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            Wall::Standing(at) => at.load(Ordering::SeqCst),
        }
    }

    /// The monotonic time that is `ahead` from now.
    pub fn after(&self, ahead: Duration) -> Instant {
        // A deadline beyond what the clock can hold is as good as a day.
        let now = self.now();
        now.checked_add(ahead).unwrap_or_else(|| now + Duration::from_hours(24))
    }

    /// How long ago `earlier` was.
    pub fn since(&self, earlier: Instant) -> Duration {
        self.now().saturating_duration_since(earlier)
    }

    /// A timer that rings at `deadline`, for who polls it beside other things.
    pub fn timer(&self, deadline: Instant) -> Timer {
        tokio::time::sleep_until(deadline)
    }

    /// Waits until `deadline`.
    pub async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline).await;
    }

    /// Waits for `ahead`. Only for pacing: what can be awaited on a watch is awaited there.
    pub async fn sleep(&self, ahead: Duration) {
        tokio::time::sleep(ahead).await;
    }

    /// Waits for `work`, but not beyond `deadline`.
    pub async fn until<F: Future>(&self, deadline: Instant, work: F) -> Result<F::Output, Expired> {
        tokio::time::timeout_at(deadline, work).await.map_err(|_elapsed| Expired)
    }

    /// Waits for `work`, but not longer than `limit`.
    pub async fn within<F: Future>(&self, limit: Duration, work: F) -> Result<F::Output, Expired> {
        tokio::time::timeout(limit, work).await.map_err(|_elapsed| Expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_wall_clock_moves_only_when_told() {
        let clock = Clock::standing_at(1_000);
        assert_eq!(clock.wall_millis(), 1_000);
        clock.set_wall_millis(5_000);
        assert_eq!(clock.clone().wall_millis(), 5_000);
    }

    #[tokio::test]
    async fn what_never_comes_is_given_up_at_the_deadline() {
        let clock = Clock::real();
        let waited = clock.within(Duration::from_millis(5), std::future::pending::<()>()).await;
        assert_eq!(waited, Err(Expired));
        let waited = clock.until(clock.after(Duration::from_secs(5)), async { 7 }).await;
        assert_eq!(waited, Ok(7));
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_still_a_deadline() {
        let clock = Clock::real();
        assert!(clock.after(Duration::MAX) > clock.now());
    }
}
