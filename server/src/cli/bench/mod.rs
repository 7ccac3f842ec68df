//! `quorate bench`: load against a group, and what this machine could do at best.
//!
//! Six measurements: closed-loop load (the default), the same with far too much of it, producers and a
//! follower of the SDK, a sequential read, the fan-out to followers of one log, and two ceilings: the disk alone (`--disk`), and the same HTTP with three journals in one
//! process and no consensus (`--ceiling`). The ceilings stand beside every figure, so that the cost
//! of consensus and network is a ratio that holds on any machine.
//!
//! Not here: what the replica measures of itself (`/metrics`).

mod connection;
mod follow;
mod load;
mod overload;
mod produce;
mod read;
mod report;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::runtime;

use super::failure::Failure;
use super::{Context, duration, duration_or_zero, size};
use crate::run::measure;
use crate::run::measure::ceiling::Ceiling;

use report::{DiskReport, Round};
use target::Target;

/// What `quorate bench` takes.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct Arguments {
    /// The body of one record.
    #[arg(long, default_value = "1KiB", value_parser = size, value_name = "SIZE")]
    record_bytes: u64,
    /// Records in one append.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
    /// Clients; each has one request under way.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Logs that the clients share.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    logs: u32,
    /// The share of reads and appends, such as 20/80.
    #[arg(long, default_value = "0/100", value_parser = mix, value_name = "READ/APPEND")]
    mix: u32,
    /// How long is measured.
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    duration: Duration,
    /// How long is not measured, before.
    #[arg(long, default_value = "2s", value_parser = duration_or_zero, value_name = "TIME")]
    warm_up: Duration,
    /// How records travel; by default `raw` for single records and `frames` for batches.
    #[arg(long, value_enum)]
    format: Option<BodyFormat>,
    /// Measure so often, and report the median round.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Connect to all given replicas in turn; otherwise all clients connect to the leader.
    #[arg(long)]
    any: bool,
    /// How fresh reads are.
    #[arg(long, default_value = "linearizable", value_parser = ["linearizable", "local"])]
    consistency: String,
    /// How long a client waits that was refused (429, 503), instead of as long as it was told.
    #[arg(long, value_parser = duration_or_zero, value_name = "TIME")]
    refused_wait: Option<Duration>,
    /// What the logs are called; several get a number.
    #[arg(long, default_value = "bench")]
    log: String,
    /// Threads of the load; it is so lean that one does for most.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Read a log from its beginning to its end, again and again.
    #[arg(long, group = "what", help_heading = "Instead of load")]
    read: bool,
    /// With --read: fill the log with at least so many records first.
    #[arg(long, default_value_t = 200_000, requires = "read", help_heading = "Instead of load")]
    records: u64,
    /// So many followers of one log, over event streams: how long until each has a new record?
    #[arg(long, group = "what", value_name = "FOLLOWERS", help_heading = "Instead of load")]
    follow: Option<u32>,
    /// With --follow: the pause between two appends.
    #[arg(long, default_value = "200ms", value_parser = duration, value_name = "TIME")]
    #[arg(requires = "follow", help_heading = "Instead of load")]
    interval: Duration,
    /// So many producers of the Rust client, as fast as they can, and a follower beside them: does it keep up?
    #[arg(long, group = "what", value_name = "PRODUCERS", help_heading = "Instead of load")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    produce: Option<u32>,
    /// The load as it is, and so many times as many clients, in turn: how much is still done?
    #[arg(long, group = "what", value_name = "TIMES", help_heading = "Instead of load")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=10_000))]
    overload: Option<u32>,
    /// The same load, against the same HTTP with three journals in one process and no consensus.
    #[arg(long, group = "what", help_heading = "Instead of load")]
    ceiling: bool,
    /// This machine's disk: the cost of a sync, and of appending to a plain file.
    #[arg(long, group = "what", help_heading = "Instead of load")]
    disk: bool,
    /// With --disk or --ceiling: the folder whose disk is measured.
    #[arg(long, default_value = ".", value_name = "FOLDER", help_heading = "Instead of load")]
    folder: PathBuf,
}

/// How records travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BodyFormat {
    /// The body is the record.
    Raw,
    /// One JSON document.
    Json,
    /// JSON, one record per line.
    Ndjson,
    /// Binary frames.
    Frames,
}

impl BodyFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Frames => "frames",
        }
    }
}

impl Arguments {
    fn body_format(&self) -> BodyFormat {
        self.format.unwrap_or(if self.batch == 1 && !self.read {
            BodyFormat::Raw
        } else {
            BodyFormat::Frames
        })
    }
}

/// Measures what was asked for.
pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    if arguments.disk {
        return disk(arguments, context);
    }
    if arguments.ceiling && arguments.mix > 0 {
        return Err(Failure::usage("the ceiling keeps nothing that could be read")
            .hint("quorate bench --ceiling   # without --mix"));
    }
    if arguments.body_format() == BodyFormat::Raw && arguments.batch > 1 {
        return Err(Failure::usage("a raw body is one record, so it cannot be a batch")
            .hint("quorate bench --batch 100 --format frames"));
    }
    let mut builder = if arguments.threads == 1 {
        runtime::Builder::new_current_thread()
    } else {
        let mut builder = runtime::Builder::new_multi_thread();
        builder.worker_threads(arguments.threads as usize);
        builder
    };
    let runtime = builder.enable_all().build()?;
    if arguments.ceiling {
        let ceiling = Ceiling::start(&arguments.folder)?;
        let target = Target::of_ceiling(ceiling.addr(), arguments)?;
        return runtime.block_on(rounds(arguments, &target, context));
    }
    if let Some(producers) = arguments.produce {
        return runtime.block_on(produce::run(producers, arguments, context));
    }
    runtime.block_on(async {
        let target = Target::prepare(arguments, context).await?;
        if arguments.read {
            read::run(arguments, &target, context).await
        } else if let Some(followers) = arguments.follow {
            follow::run(followers, arguments, &target, context).await
        } else if let Some(times) = arguments.overload {
            overload::run(times, arguments, &target, context).await
        } else {
            rounds(arguments, &target, context).await
        }
    })
}

/// The load, as often as asked, and the median of it.
async fn rounds(arguments: &Arguments, target: &Target, context: &Context) -> Result<(), Failure> {
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let round = Round::of(&load::run(target.load(arguments)).await, arguments);
        context.output.note(&format!("round {number} of {}: {}", arguments.rounds, round.line()));
        rounds.push(round);
    }
    let report = report::LoadReport::of(rounds, arguments);
    Ok(context.output.value(&report, report::LoadReport::table)?)
}

fn disk(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let cost = measure::disk(&arguments.folder).map_err(|error| {
        Failure::from(error).because(format!("measuring under {}", arguments.folder.display()))
    })?;
    Ok(context.output.value(&DiskReport::of(cost), DiskReport::table)?)
}

/// The share of reads out of a hundred.
fn mix(text: &str) -> Result<u32, String> {
    let shares = text.split_once('/').and_then(|(reads, appends)| {
        Some((reads.trim().parse::<u32>().ok()?, appends.trim().parse::<u32>().ok()?))
    });
    match shares {
        Some((reads, appends)) if reads <= 100 && reads + appends == 100 => Ok(reads),
        _ => Err("expected two shares that make 100, such as 20/80".to_owned()),
    }
}
