//! `quorate append`, `read` and `follow`.
//!
//! Invariants: an append is made by an idempotent producer, so that a failover in the middle of a
//! file neither loses nor repeats a line; when it fails, what is certainly appended is told, and an
//! unknown outcome is never called a failure. `-o raw` gives bodies byte for byte and nothing else.
//!
//! Not here: how input becomes batches (`input`), and how records are shown (`shown`).

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use client::api::reading::{Consistency, ReadFrom, ReadQuery};
use client::types::{BatchLimits, LogName, Position};
use serde::Serialize;

use super::input;
use super::input::{InputError, Source};
use super::output;
use super::output::{Format, Table};
use super::service;
use super::shown::Shown;
use super::{Context, Exit, Failure, size};
use crate::world::{Clock, Instant};

const METER_INTERVAL: Duration = Duration::from_millis(200);

/// What `quorate append` takes.
#[derive(Debug, Args)]
pub(super) struct AppendArguments {
    /// The log.
    log: LogName,
    /// A file that becomes one record; without it, each line of standard input becomes one.
    file: Option<PathBuf>,
    /// Each line of standard input is a record as JSON, such as {"data": "hello"}.
    #[arg(long, conflicts_with_all = ["file", "pieces", "text"])]
    ndjson: bool,
    /// A file that is cut into records of --record-bytes.
    #[arg(long = "file", id = "pieces", value_name = "FILE", conflicts_with = "file")]
    #[arg(requires = "record_bytes")]
    pieces: Option<PathBuf>,
    /// With --file: the length of all records but the last.
    #[arg(long, value_parser = size, value_name = "SIZE", requires = "pieces")]
    record_bytes: Option<u64>,
    /// This text becomes one record.
    #[arg(long, conflicts_with_all = ["file", "pieces"])]
    text: Option<String>,
    /// Create the log if it does not exist.
    #[arg(long)]
    create: bool,
}

/// What `quorate read` takes.
#[derive(Debug, Args)]
pub(super) struct ReadArguments {
    /// The log.
    log: LogName,
    /// Where to begin: a position, -N (the last N), `first`, `tail`, or a time (RFC 3339).
    #[arg(long, default_value = "first", allow_hyphen_values = true)]
    from: ReadFrom,
    /// At most so many records.
    #[arg(long, value_name = "RECORDS")]
    limit: Option<u64>,
    /// `linearizable` shows all that was acknowledged before; `local` what the replica has.
    #[arg(long, default_value = "linearizable")]
    consistency: Consistency,
    #[command(flatten)]
    how: HowArguments,
}

/// What `quorate follow` takes.
#[derive(Debug, Args)]
pub(super) struct FollowArguments {
    /// The log.
    log: LogName,
    /// Where to begin: a position, -N (the last N), `first`, `tail`, or a time (RFC 3339).
    #[arg(long, default_value = "tail", allow_hyphen_values = true)]
    from: ReadFrom,
    /// End after so many records.
    #[arg(long, value_name = "RECORDS")]
    limit: Option<u64>,
    #[command(flatten)]
    how: HowArguments,
}

#[derive(Debug, Args)]
struct HowArguments {
    /// With -o raw: a newline after each record, so that lines come out as they went in.
    #[arg(long)]
    newline: bool,
}

impl HowArguments {
    /// What follows each body in raw output.
    fn ending(&self) -> &'static [u8] {
        if self.newline { b"\n" } else { b"" }
    }
}

impl AppendArguments {
    fn source(&self) -> Result<Source, Failure> {
        if let (Some(path), Some(bytes)) = (&self.pieces, self.record_bytes) {
            let record_bytes = usize::try_from(bytes).unwrap_or(0);
            let max = BatchLimits::default().record_bytes_max;
            if record_bytes == 0 || record_bytes > max {
                return Err(Failure::usage(format!("--record-bytes {bytes}"))
                    .because(format!("a record has 1 to {max} bytes")));
            }
            return Ok(Source::Pieces { path: path.clone(), record_bytes });
        }
        Ok(match (&self.file, &self.text) {
            (Some(path), _) => Source::Whole(path.clone()),
            (None, Some(text)) => Source::Text(text.clone()),
            (None, None) if self.ndjson => Source::Ndjson,
            (None, None) => Source::Lines,
        })
    }
}

/// What an append achieved.
#[derive(Debug, Clone, Serialize)]
struct Tally {
    log: LogName,
    first: Option<Position>,
    next: Option<Position>,
    records: u64,
    bytes: u64,
    batches: u64,
    seconds: f64,
}

impl Tally {
    fn table(&self) -> Table {
        let positions = match (self.first, self.next) {
            (Some(first), Some(next)) => format!("[{first}, {next})"),
            (None, _) | (_, None) => "none".to_owned(),
        };
        Table::pairs().pair(
            "appended",
            format!(
                "{} to {} at {positions}, {} in {:.1} s",
                output::counted(self.records, "record"),
                self.log,
                output::bytes(self.bytes),
                self.seconds
            ),
        )
    }
}

/// Appends everything that comes in.
pub(super) async fn append(arguments: AppendArguments, context: &Context) -> Result<(), Failure> {
    let source = arguments.source()?;
    let log = service::connect(context)?.log(arguments.log.clone());
    if arguments.create {
        let created = log.create(&client::types::LogSettings::default()).await;
        created.map_err(|error| service::failed_on(&arguments.log, error))?;
    }
    let clock = Clock::real();
    let began = clock.now();
    let mut tally = Tally {
        log: arguments.log,
        first: None,
        next: None,
        records: 0,
        bytes: 0,
        batches: 0,
        seconds: 0.0,
    };
    let mut batches = input::start(source, BatchLimits::default());
    let mut meter = Meter { context, clock: clock.clone(), shown_at: began };
    while let Some(batch) = batches.recv().await {
        let batch = batch.map_err(|error| so_far(refused(&error), &tally))?;
        let bytes = batch.bytes() as u64;
        let appended = log
            .append_batch(&batch)
            .await
            .map_err(|error| so_far(service::failed_on(&tally.log, error), &tally))?;
        tally.first = tally.first.or(Some(appended.first));
        tally.next = Some(appended.next);
        tally.records += appended.next.since(appended.first);
        tally.bytes += bytes;
        tally.batches += 1;
        if context.output.format() == Format::Ndjson {
            context.output.value(&appended, |_| Table::default())?;
        }
        meter.show(&tally);
    }
    context.output.meter_end();
    tally.seconds = (clock.since(began).as_secs_f64() * 1e3).round() / 1e3;
    if context.output.format() == Format::Ndjson {
        return Ok(());
    }
    Ok(context.output.value(&tally, Tally::table)?)
}

fn refused(error: &InputError) -> Failure {
    Failure::usage("the input cannot be appended").because(error)
}

/// Adds what is certainly appended, so that one can go on from there.
fn so_far(mut failure: Failure, tally: &Tally) -> Failure {
    let done = match (tally.first, tally.next) {
        (Some(first), Some(next)) => {
            format!(
                "{} before it: appended at [{first}, {next})",
                output::counted(tally.records, "record")
            )
        }
        (None, _) | (_, None) => "nothing was appended before".to_owned(),
    };
    failure.why = Some(match failure.why {
        Some(why) => format!("{why}\n{done}"),
        None => done,
    });
    failure
}

struct Meter<'a> {
    context: &'a Context,
    clock: Clock,
    shown_at: Instant,
}

impl Meter<'_> {
    fn show(&mut self, tally: &Tally) {
        if self.clock.since(self.shown_at) >= METER_INTERVAL {
            self.shown_at = self.clock.now();
            let records = output::counted(tally.records, "record");
            self.context.output.meter(&format!("{records}, {}", output::bytes(tally.bytes)));
        }
    }
}

/// Reads from a position to the tail of that moment, page by page.
pub(super) async fn read(arguments: ReadArguments, context: &Context) -> Result<(), Failure> {
    let log = service::connect(context)?.log(arguments.log.clone());
    let mut shown = Shown::begin(context.output, arguments.how.ending());
    let mut query = ReadQuery::from(arguments.from);
    query.consistency = arguments.consistency;
    let mut left = arguments.limit;
    let (mut end, mut log_id) = (None, None);
    loop {
        query.limit = left.map(|left| left.max(1));
        let page = log.read_of(&query, log_id).await;
        let page = page.map_err(|error| service::failed_on(&arguments.log, error))?;
        // All pages are of one log, whatever its name comes to mean.
        log_id = Some(page.log_id);
        // What is appended while we read is for the next read.
        let end = *end.get_or_insert(page.tail);
        shown.head(&arguments.log, page.first, end)?;
        let mut next = page.next;
        for record in page.records {
            if record.position >= end || left == Some(0) {
                next = record.position;
                break;
            }
            left = left.map(|left| left - 1);
            shown.record(record)?;
        }
        if next >= end || left == Some(0) {
            return shown.end(next);
        }
        query.from = ReadFrom::Position(next);
    }
}

/// Reads and waits for more, until interrupted or the log ends. There is nothing to choose: the SDK
/// looks where it costs the leader nothing, and asks the group whenever that brought nothing.
pub(super) async fn follow(arguments: FollowArguments, context: &Context) -> Result<(), Failure> {
    let log = service::connect(context)?.log(arguments.log.clone());
    let mut shown = Shown::begin_endless(context.output, arguments.how.ending());
    let mut follow = log.follow(arguments.from);
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let page = follow.next_page().await;
        let Some(page) = page.map_err(|error| service::failed_on(&arguments.log, error))? else {
            break;
        };
        for record in page {
            if left > 0 {
                left -= 1;
                shown.record(record)?;
            }
        }
        shown.flush()?;
    }
    shown.flush()
}

/// A log name that was not found is the one mistake that everybody makes.
pub(super) fn unknown_log(log: &LogName) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no log `{log}`"))
        .hint(format!("quorate logs create {log}   # or: quorate logs list"))
}
