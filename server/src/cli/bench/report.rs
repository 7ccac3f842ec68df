//! Figures as people and programs get them.
//!
//! Invariant: of several rounds the median is reported whole, never a mixture of the best of each;
//! all rounds are in the JSON. Rates are of acknowledged requests within the measured time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Arguments;
use super::load::Outcome;
use crate::cli::output;
use crate::cli::output::Table;
use crate::metrics::histogram::Histogram;
use crate::run::measure::{AppendCost, DiskCost};

/// What one kind of request achieved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    requests: u64,
    requests_per_second: f64,
    records_per_second: f64,
    mb_per_second: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Figures {
    fn of(histogram: &Histogram, measured: Duration, arguments: &Arguments) -> Self {
        let requests_per_second = real(histogram.total()) / measured.as_secs_f64();
        let records_per_second = requests_per_second * f64::from(arguments.batch);
        Self {
            requests: histogram.total(),
            requests_per_second: rounded(requests_per_second),
            records_per_second: rounded(records_per_second),
            mb_per_second: rounded(records_per_second * real(arguments.record_bytes) / 1e6),
            p50_us: micros(histogram.quantile(50_000)),
            p90_us: micros(histogram.quantile(90_000)),
            p99_us: micros(histogram.quantile(99_000)),
            p999_us: micros(histogram.quantile(99_900)),
            max_us: micros(histogram.max()),
        }
    }

    fn table(&self, table: Table, kind: &str) -> Table {
        table
            .pair(
                kind,
                format!(
                    "{} requests/s   {} records/s   {} MB/s",
                    whole(self.requests_per_second),
                    whole(self.records_per_second),
                    self.mb_per_second
                ),
            )
            .pair(
                "  latency",
                format!(
                    "p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
                    shown(self.p50_us),
                    shown(self.p90_us),
                    shown(self.p99_us),
                    shown(self.p999_us),
                    shown(self.max_us)
                ),
            )
    }
}

/// What one round of load achieved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Round {
    #[serde(skip_serializing_if = "Option::is_none")]
    appends: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Figures>,
    worst_gap_ms: f64,
    refused_per_second: f64,
    /// How often each status was told to somebody who may come back later.
    refused: BTreeMap<u16, u64>,
    errors: BTreeMap<String, u64>,
}

impl Round {
    pub(super) fn of(outcome: &Outcome, arguments: &Arguments) -> Self {
        let figures = |histogram: &Histogram| Figures::of(histogram, outcome.measured, arguments);
        Self {
            appends: (arguments.mix < 100).then(|| figures(&outcome.appends)),
            reads: (arguments.mix > 0).then(|| figures(&outcome.reads)),
            worst_gap_ms: rounded(outcome.worst_gap.as_secs_f64() * 1e3),
            refused_per_second: rounded(
                real(outcome.refused.values().sum()) / outcome.measured.as_secs_f64(),
            ),
            refused: outcome.refused.clone(),
            errors: outcome.errors.clone(),
        }
    }

    /// Requests of both kinds in a second: what rounds are ranked by.
    fn rate(&self) -> f64 {
        [&self.appends, &self.reads]
            .into_iter()
            .flatten()
            .map(|figures| figures.requests_per_second)
            .sum()
    }

    fn refusals(&self) -> String {
        let told =
            self.refused.iter().map(|(status, count)| format!("   status {status}: {count}"));
        format!("{} requests/s{}", whole(self.refused_per_second), told.collect::<String>())
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        let p99 = self.appends.as_ref().or(self.reads.as_ref()).map_or(0.0, |kind| kind.p99_us);
        format!("{} requests/s, p99 {}", whole(self.rate()), shown(p99))
    }
}

/// What the load was, and the median of its rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LoadReport {
    against: &'static str,
    record_bytes: u64,
    batch: u32,
    clients: u32,
    logs: u32,
    reads_percent: u32,
    format: &'static str,
    seconds: f64,
    median: Round,
    rounds: Vec<Round>,
}

impl LoadReport {
    /// There is at least one round.
    pub(super) fn of(rounds: Vec<Round>, arguments: &Arguments) -> Self {
        let mut ranked: Vec<&Round> = rounds.iter().collect();
        ranked.sort_by(|left, right| left.rate().total_cmp(&right.rate()));
        let median = ranked[ranked.len() / 2].clone();
        Self {
            against: if arguments.ceiling { "ceiling" } else { "group" },
            record_bytes: arguments.record_bytes,
            batch: arguments.batch,
            clients: arguments.clients,
            logs: arguments.logs,
            reads_percent: arguments.mix,
            format: arguments.body_format().name(),
            seconds: arguments.duration.as_secs_f64(),
            median,
            rounds,
        }
    }

    /// Requests in a second, of the median round.
    pub(super) fn rate(&self) -> f64 {
        self.median.rate()
    }

    pub(super) fn table(&self) -> Table {
        self.onto(Table::pairs())
    }

    /// The same below what a table holds already.
    pub(super) fn onto(&self, table: Table) -> Table {
        let load = format!(
            "{} clients   {} × {}   {} logs   {}   {} s",
            self.clients,
            self.batch,
            output::bytes(self.record_bytes),
            self.logs,
            self.format,
            self.seconds
        );
        let mut table = table.pair(self.against, load);
        if let Some(appends) = &self.median.appends {
            table = appends.table(table, "appends");
            table = table.pair("  worst gap", format!("{} ms", self.median.worst_gap_ms));
        }
        if let Some(reads) = &self.median.reads {
            table = reads.table(table, "reads");
        }
        if !self.median.refused.is_empty() {
            table = table.pair("refused", self.median.refusals());
        }
        let errors = self.median.errors.iter().map(|(error, count)| format!("{error}: {count}"));
        let errors: Vec<String> = errors.collect();
        if errors.is_empty() { table } else { table.pair("errors", errors.join("   ")) }
    }
}

/// What the disk can do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DiskReport {
    syncs: u32,
    sync_p50_us: f64,
    sync_p99_us: f64,
    sync_max_us: f64,
    appends: Vec<AppendCost>,
}

impl DiskReport {
    pub(super) fn of(cost: DiskCost) -> Self {
        let appends = cost.appends.into_iter().map(|append| AppendCost {
            per_second: rounded(append.per_second),
            mb_per_second: rounded(append.mb_per_second),
            p50_us: rounded(append.p50_us),
            p99_us: rounded(append.p99_us),
            ..append
        });
        Self {
            syncs: cost.sync.count,
            sync_p50_us: micros(cost.sync.p50),
            sync_p99_us: micros(cost.sync.p99),
            sync_max_us: micros(cost.sync.max),
            appends: appends.collect(),
        }
    }

    pub(super) fn table(&self) -> Table {
        let sync = format!(
            "p50 {}   p99 {}   max {}   ({} times)",
            shown(self.sync_p50_us),
            shown(self.sync_p99_us),
            shown(self.sync_max_us),
            self.syncs
        );
        let mut table = Table::pairs().pair("sync (fdatasync)", sync);
        for append in &self.appends {
            table = table.pair(
                &format!("append {} + sync", output::bytes(u64::from(append.bytes))),
                format!(
                    "{}/s   {} MB/s   p50 {}   p99 {}",
                    whole(append.per_second),
                    append.mb_per_second,
                    shown(append.p50_us),
                    shown(append.p99_us)
                ),
            );
        }
        table
    }
}

/// With one decimal place: more would only pretend.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

pub(super) fn micros(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e6)
}

#[allow(clippy::cast_precision_loss, reason = "a count for a person; 53 bits are plenty")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

/// A rate without decimals.
pub(super) fn whole(value: f64) -> String {
    format!("{value:.0}")
        .parse()
        .map_or_else(|_| format!("{value:.0}"), |count: u64| output::count(count))
}

/// Microseconds in the unit that reads best.
pub(super) fn shown(micros: f64) -> String {
    match micros {
        micros if micros < 1e3 => format!("{micros:.0} µs"),
        micros if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests_per_second: f64) -> Figures {
        Figures {
            requests: 10,
            requests_per_second,
            records_per_second: requests_per_second,
            mb_per_second: 1.5,
            p50_us: 340.0,
            p90_us: 900.4,
            p99_us: 1_204.0,
            p999_us: 90_000.0,
            max_us: 1_200_000.0,
        }
    }

    fn round(rate: f64) -> Round {
        Round {
            appends: Some(figures(rate)),
            reads: None,
            worst_gap_ms: 12.5,
            refused_per_second: 1_200.0,
            refused: BTreeMap::from([(429, 11_990), (503, 10)]),
            errors: BTreeMap::from([("status 504".to_owned(), 2)]),
        }
    }

    fn report(rounds: Vec<Round>) -> LoadReport {
        let median = rounds[0].clone();
        LoadReport {
            against: "group",
            record_bytes: 1024,
            batch: 1,
            clients: 64,
            logs: 1,
            reads_percent: 0,
            format: "raw",
            seconds: 10.0,
            median,
            rounds,
        }
    }

    #[test]
    fn a_report_reads_well_and_keeps_its_units() {
        assert_eq!(
            report(vec![round(21_000.4)]).table().aligned(),
            "group        64 clients   1 × 1.0 KiB   1 logs   raw   10 s\n\
             appends      21 000 requests/s   21 000 records/s   1.5 MB/s\n\
             \x20 latency    p50 340 µs   p90 900 µs   p99 1.20 ms   p99.9 90.00 ms   max 1.20 s\n\
             \x20 worst gap  12.5 ms\n\
             refused      1 200 requests/s   status 429: 11990   status 503: 10\n\
             errors       status 504: 2\n"
        );
    }

    #[test]
    fn a_program_gets_every_figure() {
        let json = serde_json::to_value(report(vec![round(2.0)])).unwrap();
        assert_eq!(json["median"]["appends"]["p999_us"], 90_000.0);
        assert_eq!(json["median"]["worst_gap_ms"], 12.5);
        assert_eq!(json["median"]["errors"]["status 504"], 2);
        assert_eq!(json["median"]["refused"]["429"], 11_990);
        assert!(json["median"].get("reads").is_none());
    }
}
