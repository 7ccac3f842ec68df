//! What this replica did in each second, ten seconds and minute of the time just gone by.
//!
//! For those who look without collecting metrics. Whatever happens is counted in the second that runs; when it ends, it
//! becomes a point and goes on into the longer steps. Memory is fixed.
//!
//! Not here: when a second ends (`run::gauges`), and figures that go on counting (the rest of `metrics`).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::api::performance::{LatencySummary, PerformancePoint, Step};
use client::types::Timestamp;

use super::Metrics;
use super::histogram::Histogram;

/// What is looked at when a second ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Levels {
    /// When it ended.
    pub now: Timestamp,
    /// The last entry applied.
    pub applied: u64,
    /// How many entries the slowest replica is behind, if this one leads.
    pub lag_max: Option<u64>,
}

#[derive(Default)]
pub(super) struct Series {
    /// The second that runs. Apart from the points, so that those who append wait for no reader.
    running: Mutex<Running>,
    past: Mutex<Past>,
}

/// A step that has not ended.
#[derive(Clone, Default)]
struct Running {
    records: u64,
    bytes: u64,
    appends: Histogram,
    syncs: Histogram,
}

#[derive(Default)]
struct Past {
    until: Timestamp,
    seconds: u64,
    points: [VecDeque<PerformancePoint>; Step::ALL.len()],
    /// Of the two longer steps.
    running: [Running; Step::ALL.len() - 1],
}

impl Series {
    pub(super) fn appended(&self, elapsed: Duration, records: u64, bytes: u64) {
        let mut running = locked(&self.running);
        running.records += records;
        running.bytes += bytes;
        running.appends.record(elapsed);
    }

    pub(super) fn synced(&self, elapsed: Duration) {
        locked(&self.running).syncs.record(elapsed);
    }

    /// Ends the second that runs.
    fn tick(&self, levels: Levels) {
        let second = std::mem::take(&mut *locked(&self.running));
        let mut past = locked(&self.past);
        let Past { until, seconds, points, running } = &mut *past;
        *until = levels.now;
        *seconds += 1;
        let (shortest, longer) = points.split_first_mut().expect("there are three");
        push(shortest, Step::Second, second.point(levels));
        for ((step, points), running) in Step::ALL.into_iter().skip(1).zip(longer).zip(running) {
            running.merge(&second);
            if seconds.is_multiple_of(step.duration().as_secs()) {
                push(points, step, std::mem::take(running).point(levels));
            }
        }
    }

    fn points(&self, step: Step) -> (Timestamp, Vec<PerformancePoint>) {
        let past = locked(&self.past);
        let steps = Step::ALL.into_iter().zip(&past.points);
        let points = steps.filter(|(other, _)| *other == step).flat_map(|(_, points)| points);
        let since = Duration::from_secs(past.seconds % step.duration().as_secs());
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        (Timestamp::new(past.until.as_millis().saturating_sub(since)), points.copied().collect())
    }
}

impl Running {
    fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.appends.merge(&other.appends);
        self.syncs.merge(&other.syncs);
    }

    fn point(&self, levels: Levels) -> PerformancePoint {
        PerformancePoint {
            appends: self.appends.total(),
            records: self.records,
            bytes: self.bytes,
            append: summary(&self.appends),
            syncs: self.syncs.total(),
            sync: summary(&self.syncs),
            applied: levels.applied,
            lag_max: levels.lag_max,
        }
    }
}

fn summary(latencies: &Histogram) -> Option<LatencySummary> {
    let micros = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    (latencies.total() > 0).then(|| LatencySummary {
        p50_us: micros(latencies.quantile(50_000)),
        p99_us: micros(latencies.quantile(99_000)),
        max_us: micros(latencies.max()),
    })
}

fn push(points: &mut VecDeque<PerformancePoint>, step: Step, point: PerformancePoint) {
    if points.len() >= step.points_max() {
        points.pop_front();
    }
    points.push_back(point);
}

/// A panic while it was held left whole points behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time just gone by.
impl Metrics {
    /// A second has ended; it stands so.
    pub fn second_ended(&self, levels: Levels) {
        self.shared.series.tick(levels);
    }

    /// The points of this length, the newest last, and when the last one ended.
    pub fn lately(&self, step: Step) -> (Timestamp, Vec<PerformancePoint>) {
        self.shared.series.points(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Levels {
        Levels { now: Timestamp::new(seconds * 1_000), applied: seconds, lag_max: None }
    }

    #[test]
    fn a_second_holds_what_happened_in_it_and_the_longer_steps_hold_their_seconds() {
        let series = Series::default();
        for second in 1..=65 {
            for _ in 0..second {
                series.appended(Duration::from_millis(second), 2, 10);
            }
            series.synced(Duration::from_millis(1));
            series.tick(at(second));
        }
        let (until, seconds) = series.points(Step::Second);
        assert_eq!((until.as_millis(), seconds.len()), (65_000, 65));
        assert_eq!((seconds[6].appends, seconds[6].records, seconds[6].bytes), (7, 14, 70));
        assert_eq!(seconds[6].append.unwrap().max_us, 7_000);
        let (until, tens) = series.points(Step::TenSeconds);
        assert_eq!((until.as_millis(), tens.len()), (60_000, 6), "the seventh has not ended");
        assert_eq!(
            (tens[1].appends, tens[1].syncs, tens[1].applied),
            ((11..=20).sum::<u64>(), 10, 20)
        );
        let (_, minutes) = series.points(Step::Minute);
        assert_eq!(
            minutes.iter().map(|point| point.appends).collect::<Vec<_>>(),
            [(1..=60).sum::<u64>()]
        );
    }

    #[test]
    fn the_past_is_bounded_and_a_second_without_appends_has_no_latency() {
        let series = Series::default();
        for second in 0..400 {
            series.tick(at(second));
        }
        let (_, seconds) = series.points(Step::Second);
        assert_eq!((seconds.len(), seconds[0].applied), (300, 100));
        assert!(seconds.iter().all(|point| point.append.is_none() && point.sync.is_none()));
    }
}
