//! Whether the disk keeps up: how long it has been at one sync, and for how long every sync has been slow.
//!
//! A disk that limps answers, and so is not dead; whoever leads with one is a burden all the same. Only time spent in
//! writes and syncs counts, and one that is quick makes up for all before it.
//!
//! Not here: what is done about it (`node::housekeeping` hands over, `run` ends).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::world::{Clock, Instant};

/// A write with its sync that takes this long is slow: about as long as a heartbeat may take.
pub(super) const SLOW: Duration = Duration::from_millis(100);

/// The syncs of one journal.
#[derive(Debug)]
pub(super) struct Tempo {
    clock: Clock,
    lately: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    /// When the write under way began.
    begun: Option<Instant>,
    /// How long the slow ones took together that were not followed by a quick one.
    slow: Duration,
}

impl Lately {
    fn end(&mut self, now: Instant) -> Duration {
        let took = self.busy_for(now);
        self.begun = None;
        self.slow = if took < SLOW { Duration::ZERO } else { self.slow + took };
        took
    }

    fn busy_for(&self, now: Instant) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun))
    }

    fn slow_for(&self, now: Instant) -> Duration {
        let busy = self.busy_for(now);
        if busy < SLOW { self.slow } else { self.slow + busy }
    }
}

impl Tempo {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, lately: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Lately> {
        // Whatever a panic left behind is whole.
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write begins.
    pub(super) fn begin(&self) {
        self.lock().begun = Some(self.clock.now());
    }

    /// It is durable. Says how long that took.
    pub(super) fn end(&self) -> Duration {
        self.lock().end(self.clock.now())
    }

    /// How long the write under way has taken so far.
    pub(super) fn busy_for(&self) -> Duration {
        self.lock().busy_for(self.clock.now())
    }

    /// How long the disk has done nothing but slow writes.
    pub(super) fn slow_for(&self) -> Duration {
        self.lock().slow_for(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_writes_add_up_until_one_is_quick_and_idle_time_does_not_count() {
        let mut lately = Lately::default();
        let mut now = Instant::now();
        let mut write = |millis| {
            let took = Duration::from_millis(millis);
            lately.begun = Some(now);
            now += took;
            assert_eq!(lately.busy_for(now), took);
            assert_eq!(lately.end(now), took);
            now += Duration::from_mins(1);
            assert_eq!(lately.busy_for(now), Duration::ZERO);
            lately.slow_for(now).as_millis()
        };
        assert_eq!([write(99), write(200), write(300), write(1)], [0, 200, 500, 0]);
        assert_eq!(write(150), 150);
        lately.begun = Some(now);
        now += Duration::from_secs(5);
        assert_eq!(lately.slow_for(now).as_millis(), 5_150, "one that does not end counts, too");
    }
}
