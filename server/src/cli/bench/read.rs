//! A sequential read: a log from its beginning to its end, again and again.
//!
//! Each reader asks for the page after the one it got. What counts is payload: bodies of records per
//! second, whatever the wire adds to them; that is told beside it.

use bytes::Bytes;
use client::api::{header, media};
use serde::Serialize;
use tokio::task::JoinSet;

use super::connection::{Connection, Head, request};
use super::report::{micros, real, rounded, shown, whole};
use super::target::{Target, refused};
use super::{Arguments, BodyFormat};
use crate::cli::output::Table;
use crate::cli::{Context, Failure};
use crate::metrics::histogram::Histogram;
use crate::world::{Clock, Instant};

/// Bytes of one page.
const PAGE_BYTES: u64 = 1 << 20;

/// What the read achieved.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ReadReport {
    readers: u32,
    record_bytes: u64,
    format: &'static str,
    seconds: f64,
    records_per_second: f64,
    mb_per_second: f64,
    wire_mb_per_second: f64,
    pages: u64,
    page_p50_us: f64,
    page_p99_us: f64,
}

impl ReadReport {
    fn table(&self) -> Table {
        Table::pairs()
            .pair(
                "read",
                format!(
                    "{} readers   records of {} bytes   {}   {} s",
                    self.readers, self.record_bytes, self.format, self.seconds
                ),
            )
            .pair(
                "rate",
                format!(
                    "{} MB/s   {} records/s   {} MB/s on the wire",
                    self.mb_per_second,
                    whole(self.records_per_second),
                    self.wire_mb_per_second
                ),
            )
            .pair(
                "pages",
                format!(
                    "{}   p50 {}   p99 {}",
                    self.pages,
                    shown(self.page_p50_us),
                    shown(self.page_p99_us)
                ),
            )
    }
}

/// What one reader saw.
#[derive(Debug, Default)]
struct Seen {
    records: u64,
    wire_bytes: u64,
    pages: Histogram,
}

/// Fills the log as far as asked, then reads it for the measured time.
pub(super) async fn run(
    arguments: &Arguments,
    target: &Target,
    context: &Context,
) -> Result<(), Failure> {
    fill(arguments, target, context).await?;
    let clock = Clock::real();
    let began = clock.now();
    let mut readers = JoinSet::new();
    for _ in 0..arguments.clients {
        let reader = Reader {
            connection: target.connection().await?,
            path: target.logs[0].records_path.clone(),
            accept: accept(arguments.body_format()),
            consistency: arguments.consistency.clone(),
        };
        readers.spawn(
            reader.run(began + arguments.warm_up, began + arguments.warm_up + arguments.duration),
        );
    }
    let mut all = Seen::default();
    while let Some(seen) = readers.join_next().await {
        let seen = seen.map_err(|error| Failure::from(std::io::Error::other(error)))??;
        all.records += seen.records;
        all.wire_bytes += seen.wire_bytes;
        all.pages.merge(&seen.pages);
    }
    let report = report(&all, arguments);
    Ok(context.output.value(&report, ReadReport::table)?)
}

fn report(all: &Seen, arguments: &Arguments) -> ReadReport {
    let seconds = arguments.duration.as_secs_f64();
    ReadReport {
        readers: arguments.clients,
        record_bytes: arguments.record_bytes,
        format: arguments.body_format().name(),
        seconds,
        records_per_second: rounded(real(all.records) / seconds),
        mb_per_second: rounded(real(all.records * arguments.record_bytes) / seconds / 1e6),
        wire_mb_per_second: rounded(real(all.wire_bytes) / seconds / 1e6),
        pages: all.pages.total(),
        page_p50_us: micros(all.pages.quantile(50_000)),
        page_p99_us: micros(all.pages.quantile(99_000)),
    }
}

fn accept(format: BodyFormat) -> &'static str {
    match format {
        BodyFormat::Raw | BodyFormat::Frames => media::FRAMES,
        BodyFormat::Json => media::JSON,
        BodyFormat::Ndjson => media::NDJSON,
    }
}

/// Appends until the log holds as many records as asked for.
async fn fill(arguments: &Arguments, target: &Target, context: &Context) -> Result<(), Failure> {
    let mut connection = target.connection().await?;
    let path = &target.logs[0].records_path;
    let ask = request("GET", &format!("{path}?from=tail&limit=1"), "bench", &[], b"");
    let (head, body) = connection.fetch(&ask).await?;
    let Some(mut tail) = number(&head, header::TAIL) else { return Err(refused(&head, &body)) };
    if tail < arguments.records {
        context.output.note(&format!("filling the log up to {} records", arguments.records));
    }
    while tail < arguments.records {
        let (head, body) = connection.fetch(&target.logs[0].append).await?;
        if head.status != 200 {
            return Err(refused(&head, &body));
        }
        tail += u64::from(arguments.batch);
    }
    Ok(())
}

fn number(head: &Head, name: &str) -> Option<u64> {
    head.header(name).and_then(|value| value.trim_matches('"').parse().ok())
}

/// One reader.
struct Reader {
    connection: Connection,
    path: String,
    accept: &'static str,
    consistency: String,
}

impl Reader {
    async fn run(mut self, began: Instant, until: Instant) -> Result<Seen, Failure> {
        let clock = Clock::real();
        let mut seen = Seen::default();
        let mut from = 0;
        loop {
            let asked = clock.now();
            if asked >= until {
                return Ok(seen);
            }
            let (next, wire_bytes) = self.page(from).await?;
            if asked >= began {
                seen.records += next.saturating_sub(from);
                seen.wire_bytes += wire_bytes;
                seen.pages.record(clock.since(asked));
            }
            from = if next > from { next } else { 0 };
        }
    }

    /// One page: where the next one begins, and how many bytes it was.
    async fn page(&mut self, from: u64) -> Result<(u64, u64), Failure> {
        let target = format!(
            "{}?from={from}&limit=10000&max_bytes={PAGE_BYTES}&consistency={}",
            self.path, self.consistency
        );
        let ask: Bytes = request("GET", &target, "bench", &[("accept", self.accept)], b"");
        let mut head = self.connection.ask(&ask).await?;
        let mut wire_bytes = 0;
        let mut problem = Vec::new();
        while let Some(piece) = self.connection.piece(&mut head).await? {
            wire_bytes += piece.len() as u64;
            if head.status != 200 {
                problem.extend_from_slice(&piece);
            }
        }
        let next = number(&head, header::NEXT).filter(|_| head.status == 200);
        Ok((next.ok_or_else(|| refused(&head, &problem))?, wire_bytes))
    }
}
