//! Sample traffic: a few clients that append small records, and the meter that watches them.
//!
//! Invariant: the worst gap is the longest time in which none of the clients got an append
//! acknowledged while traffic was on: what a user of the log feels of a failover. The clients go
//! through the SDK with its defaults, so an append that meets a failover is late, not lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::Log;
use client::types::NewRecord;
use tokio::sync::watch;

use crate::world::{Clock, Instant, Tasks};

const CLIENTS: u32 = 4;

/// The clients and their meter.
#[derive(Debug)]
pub(super) struct Traffic {
    meter: Meter,
    flows: watch::Sender<bool>,
    tasks: Tasks,
}

impl Traffic {
    /// Clients that append to this log, so many records a second together, once switched on.
    pub(super) fn prepare(log: &Log, rate: u32) -> Self {
        let meter = Meter::default();
        let (flows, seen) = watch::channel(false);
        let tasks = Tasks::new();
        let pause = Duration::from_secs(1) * CLIENTS / rate.max(1);
        for number in 1..=CLIENTS {
            let (log, meter, flows) = (log.clone(), meter.clone(), seen.clone());
            tasks.spawn("sample traffic", append(log, number, pause, meter, flows));
        }
        Self { meter, flows, tasks }
    }

    /// Lets it flow.
    pub(super) fn on(&self) {
        self.meter.begin(Clock::real().now());
        self.flows.send_replace(true);
    }

    /// Stops it.
    pub(super) fn off(&self) {
        self.flows.send_replace(false);
    }

    /// Whether it flows.
    pub(super) fn is_on(&self) -> bool {
        *self.flows.borrow()
    }

    /// What the meter shows.
    pub(super) fn reading(&self) -> Reading {
        self.meter.reading(Clock::real().now(), self.is_on())
    }

    /// Acknowledged and failed appends, and the worst gap so far; the meter goes on as if nobody had looked.
    pub(super) fn totals(&self) -> (u64, u64, Duration) {
        let state = self.meter.state();
        (state.acknowledged, state.failed, state.worst_gap)
    }

    /// Ends the clients.
    pub(super) async fn stop(&self) {
        self.tasks.stop(Duration::from_millis(500)).await;
    }
}

async fn append(
    log: Log,
    number: u32,
    pause: Duration,
    meter: Meter,
    mut flows: watch::Receiver<bool>,
) {
    let clock = Clock::real();
    let mut count = 0_u64;
    loop {
        if flows.wait_for(|flows| *flows).await.is_err() {
            return;
        }
        let due = clock.after(pause);
        count += 1;
        let body = format!(
            "{{\"sensor\":{number},\"reading\":{count},\"at_ms\":{}}}",
            clock.wall_millis()
        );
        match log.append(NewRecord::new(body)).await {
            Ok(_) => meter.acknowledged(clock.now()),
            Err(_) => meter.failed(),
        }
        clock.sleep_until(due).await;
    }
}

/// Counts acknowledgements and the time between them.
#[derive(Debug, Clone, Default)]
struct Meter {
    state: Arc<Mutex<MeterState>>,
}

#[derive(Debug, Default)]
struct MeterState {
    acknowledged: u64,
    failed: u64,
    /// Of the last reading: its time, the count then, and the worst gap since.
    read_at: Option<Instant>,
    read_count: u64,
    recent_gap: Duration,
    last: Option<Instant>,
    worst_gap: Duration,
}

/// What the meter shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// Appends acknowledged since the demo began.
    pub(super) acknowledged: u64,
    /// Appends that failed although the SDK tried again.
    pub(super) failed: u64,
    /// Appends acknowledged in a second, since the last reading.
    pub(super) per_second: f64,
    /// The worst gap since the last reading, the current one included.
    pub(super) recent_gap: Duration,
    /// The worst gap of all.
    pub(super) worst_gap: Duration,
}

impl Meter {
    fn state(&self) -> std::sync::MutexGuard<'_, MeterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, time without an acknowledgement counts.
    fn begin(&self, now: Instant) {
        self.state().last = Some(now);
    }

    fn acknowledged(&self, now: Instant) {
        let mut state = self.state();
        state.acknowledged += 1;
        let gap = state.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        state.recent_gap = state.recent_gap.max(gap);
        state.worst_gap = state.worst_gap.max(gap);
        state.last = Some(now);
    }

    fn failed(&self) {
        self.state().failed += 1;
    }

    fn reading(&self, now: Instant, is_on: bool) -> Reading {
        let mut state = self.state();
        let running = state.last.filter(|_| is_on).map(|last| now.saturating_duration_since(last));
        let recent_gap = state.recent_gap.max(running.unwrap_or_default());
        let seconds =
            state.read_at.map_or(1.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let count = u32::try_from(state.acknowledged - state.read_count).unwrap_or(u32::MAX);
        let reading = Reading {
            acknowledged: state.acknowledged,
            failed: state.failed,
            per_second: f64::from(count) / seconds.max(0.001),
            recent_gap,
            worst_gap: state.worst_gap.max(recent_gap),
        };
        state.read_at = Some(now);
        state.read_count = state.acknowledged;
        state.recent_gap = Duration::ZERO;
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_gap_is_the_longest_time_without_an_acknowledgement() {
        let meter = Meter::default();
        let start = Clock::real().now();
        let at = |millis| start + Duration::from_millis(millis);
        meter.begin(start);
        for millis in [10, 20, 700, 710] {
            meter.acknowledged(at(millis));
        }
        let first = meter.reading(at(1000), true);
        assert_eq!((first.acknowledged, first.failed), (4, 0));
        assert_eq!(first.worst_gap, Duration::from_millis(680));
        meter.acknowledged(at(1010));
        let second = meter.reading(at(2010), true);
        assert!((second.per_second - 0.99).abs() < 0.01, "{}", second.per_second);
        // The gap that is still open counts, too.
        assert_eq!(second.worst_gap, Duration::from_secs(1));
    }

    #[test]
    fn a_pause_of_the_traffic_is_no_gap() {
        let meter = Meter::default();
        let start = Clock::real().now();
        meter.begin(start);
        meter.acknowledged(start + Duration::from_millis(5));
        let paused = meter.reading(start + Duration::from_mins(1), false);
        assert_eq!(paused.worst_gap, Duration::from_millis(5));
        meter.begin(start + Duration::from_secs(61));
        meter.acknowledged(start + Duration::from_millis(61_007));
        let again = meter.reading(start + Duration::from_secs(62), false);
        assert_eq!(again.worst_gap, Duration::from_millis(7));
    }
}
