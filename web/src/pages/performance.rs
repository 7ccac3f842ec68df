//! Performance: what this replica did lately and how long it took, as lines and as a table.
//!
//! The figures are this replica's own and live as long as its process; nothing else needs to run for them.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use client::api::performance::{
    LatencySummary, Performance, PerformancePoint, PerformanceQuery, Step,
};

use crate::asked::Query;
use crate::backend::Backend;
use crate::charts::Chart;
use crate::format;
use crate::frame::{self, Frame, Section};

/// So many rows of the table; the lines show all.
const ROWS_MAX: usize = 60;

#[derive(Template)]
#[template(path = "performance.html")]
struct Page {
    frame: Frame,
    replica: String,
    until: String,
    ranges: Vec<Range>,
    step: &'static str,
    charts: Vec<Chart>,
    rows: Vec<Row>,
}

struct Range {
    step: &'static str,
    label: &'static str,
    is_shown: bool,
}

struct Row {
    ago: String,
    appends: String,
    records: String,
    bytes: String,
    append: [String; 3],
    syncs: String,
    sync: [String; 3],
    behind: String,
}

impl Page {
    fn new(frame: Frame, performance: Performance) -> Self {
        let Performance { replica, step, until, points } = performance;
        Self {
            frame,
            replica: replica.to_string(),
            until: until.to_string(),
            ranges: Step::ALL
                .into_iter()
                .map(|other| Range {
                    step: other.as_str(),
                    label: range(other),
                    is_shown: other == step,
                })
                .collect(),
            step: step.as_str(),
            charts: charts(&points, step),
            rows: points
                .iter()
                .rev()
                .take(ROWS_MAX)
                .enumerate()
                .map(|(at, point)| row(at, point, step))
                .collect(),
        }
    }
}

const fn range(step: Step) -> &'static str {
    match step {
        Step::Second => "5 minutes",
        Step::TenSeconds => "1 hour",
        Step::Minute => "24 hours",
    }
}

fn charts(points: &[PerformancePoint], step: Step) -> Vec<Chart> {
    let seconds = step.duration().as_secs();
    let of = |value: &dyn Fn(&PerformancePoint) -> Option<u64>| points.iter().map(value).collect();
    let latency = |latency: fn(&PerformancePoint) -> Option<LatencySummary>,
                   value: fn(LatencySummary) -> u64| {
        of(&|point: &PerformancePoint| latency(point).map(value))
    };
    let three = |summary: fn(&PerformancePoint) -> Option<LatencySummary>| {
        [
            ("p50", latency(summary, |latency| latency.p50_us)),
            ("p99", latency(summary, |latency| latency.p99_us)),
            ("max", latency(summary, |latency| latency.max_us)),
        ]
    };
    let mut charts = vec![
        Chart::new(
            "rate",
            "Appends acknowledged here",
            &[
                ("appends", of(&|point| Some(point.appends / seconds))),
                ("records", of(&|point| Some(point.records / seconds))),
            ],
            |rate| format!("{}/s", format::count(rate)),
        ),
        Chart::new(
            "append",
            "How long an append took",
            &three(|point| point.append),
            format::millis,
        ),
        Chart::new(
            "sync",
            "How long a sync of the journal took",
            &three(|point| point.sync),
            format::millis,
        ),
    ];
    if points.iter().any(|point| point.lag_max.is_some()) {
        charts.push(Chart::new(
            "behind",
            "How far the slowest replica was behind",
            &[("entries", of(&|point| point.lag_max))],
            |entries| format!("{} entries", format::count(entries)),
        ));
    }
    charts
}

fn row(at: usize, point: &PerformancePoint, step: Step) -> Row {
    let ago = step.duration() * u32::try_from(at).unwrap_or(u32::MAX);
    let latency = |latency: Option<LatencySummary>| match latency {
        Some(latency) => [latency.p50_us, latency.p99_us, latency.max_us].map(format::millis),
        None => ["–"; 3].map(str::to_owned),
    };
    Row {
        ago: format::age(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        appends: format::count(point.appends),
        records: format::count(point.records),
        bytes: format::size(point.bytes),
        append: latency(point.append),
        syncs: format::count(point.syncs),
        sync: latency(point.sync),
        behind: point.lag_max.map_or_else(|| "–".to_owned(), format::count),
    }
}

/// The page.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    Query(PerformanceQuery { step }): Query<PerformanceQuery>,
) -> Response {
    let made = async {
        let performance = backend.performance(None, step).await?;
        Ok(Page::new(Frame::now(&backend, Section::Performance).await?, performance))
    };
    frame::page_or_problem(&backend, made.await).await
}
