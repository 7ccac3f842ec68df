//! The command line: the commands, the options they share, and who runs them.
//!
//! Invariants: every command answers in every format, ends with a documented exit code, and says
//! what to type next when it fails. What talks to a running replica goes through the SDK; only the
//! load of `bench` speaks HTTP by itself, because it must cost next to nothing.
//!
//! Not here: what a replica does (`run`), and what its settings mean (`crate::config`).

mod activity;
mod backup;
mod bench;
mod changes;
mod checkpoints;
mod cluster;
mod config;
pub mod demo;
mod endpoint;
mod failure;
mod input;
mod logs;
mod output;
mod plans;
mod profile;
mod progress;
mod records;
mod recover;
mod rehearse;
mod serve;
mod service;
mod shown;
#[cfg(test)]
mod tests;
mod transfers;

use std::ffi::OsString;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use jiff::SignedDuration;
use serde::Serialize;
use tokio::runtime;

pub use failure::{Exit, Failure};
pub use output::{Format, Output, Verbosity};
use profile::Profile;

use crate::world::{Clock, Instant};

/// Below the help of `quorate --help`.
const AFTER_HELP: &str = "\
Begin with `quorate demo`: three replicas on this machine, in one command.

Exit codes:
   0  done
   1  failed in a way without a code of its own
   2  the command line or the settings are wrong
   3  the log, cursor or replica does not exist, or the records were trimmed
   4  a condition did not hold, or a name is taken
   5  nobody could answer; certainly not done
   6  refused because it would not be safe
   7  it is not known whether it was done
  74  the storage of this replica is broken or damaged
  75  this folder must not start: foreign, a copy, rolled back or removed

Profiles: ~/.config/quorate/NAME.toml with `endpoint`, `output` and `as`, taken with --profile NAME;
default.toml is taken without. A flag wins over the environment, and that over a profile.";

/// A replicated log service: a group of replicas keeps named logs in one agreed order.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Begin with `quorate demo`: three replicas on this machine, in one command.",
    after_long_help = AFTER_HELP
)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Shared options")]
struct Shared {
    /// How the answer is written; otherwise as the profile says, or as a table.
    #[arg(short, long, global = true, value_enum, env = "QUORATE_OUTPUT")]
    output: Option<Format>,
    /// Where replicas can be reached, several with commas; otherwise as the profile says, those of a
    /// running demo, or <http://127.0.0.1:7001>.
    #[arg(short, long, global = true, value_name = "URL", value_delimiter = ',')]
    #[arg(env = "QUORATE_ENDPOINT")]
    endpoint: Vec<String>,
    /// How long one request may take, with all its retries.
    #[arg(long, global = true, value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = duration, env = "QUORATE_TIMEOUT")]
    timeout: Duration,
    /// On whose behalf it acts, as `quorate activity` tells it: a mailbox or a name, which nothing proves; otherwise as
    /// the profile says, or $USER.
    #[arg(long = "as", global = true, value_name = "WHO", env = "QUORATE_AS")]
    author: Option<String>,
    /// Take endpoint, output and as from ~/.config/quorate/NAME.toml.
    #[arg(long, global = true, value_name = "NAME", env = "QUORATE_PROFILE")]
    profile: Option<String>,
    /// Tell no progress.
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one replica: go on with the one in the folder, or begin with --bootstrap or --join.
    ///
    /// In an empty folder, with neither of them, it waits: its front door answers that it is no member
    /// yet, and `POST /v1/cluster/bootstrap` (body empty, or `{"expect": 3}`) founds a group with it.
    Serve(Box<serve::Arguments>),
    /// Run three replicas on this machine, with sample traffic; kill and partition them.
    Demo(demo::Arguments),
    /// Append records to a log: lines of standard input, NDJSON, or files.
    Append(records::AppendArguments),
    /// Read records of a log.
    Read(records::ReadArguments),
    /// Read records and wait for more.
    #[command(visible_alias = "tail")]
    Follow(records::FollowArguments),
    /// Create, list, show and change logs.
    #[command(subcommand)]
    Logs(logs::LogsCommand),
    /// Where consumers of a log are.
    #[command(subcommand)]
    Cursors(logs::CursorsCommand),
    /// What the group says about itself; let replicas in, let them leave, and put others in their place.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Checkpoints: agreed states before which the journal may go.
    #[command(subcommand)]
    Checkpoints(checkpoints::CheckpointsCommand),
    /// The snapshots that a replica keeps of checkpoints.
    #[command(subcommand)]
    Snapshots(checkpoints::SnapshotsCommand),
    /// Back the group up into a file: a checkpoint and its records, proved as they come.
    Backup(backup::BackupArguments),
    /// Prove backup files against their digests, without a replica.
    Verify(backup::VerifyArguments),
    /// Make a new cluster of a backup: the folder of its first replica.
    Restore(Box<backup::RestoreArguments>),
    /// After the loss of a majority: make a survivor's folder the first replica of a new generation, without the others.
    ///
    /// The replica must be stopped. With --dry-run it says what each survivor holds and what may be lost; where they are
    /// on several machines, run that on each and recover the one with the latest last entry: by term, then by index.
    /// Also the way out where every replica has lost the same entry.
    Recover(Box<recover::Arguments>),
    /// Who did what, newest first: logs, checkpoints, members.
    Activity(activity::Arguments),
    /// Do all replicas hold the same? Ends with exit code 1 if one differs.
    Audit,
    /// Have the replicas named by --endpoint read all again that they keep, and repair what is damaged.
    ///
    /// Each does that by itself, too, slowly. Ends with exit code 1 if something could not be repaired.
    Scrub,
    /// What a replica fetches that lacks entries the others have let go.
    #[command(subcommand)]
    Transfers(transfers::TransfersCommand),
    /// Measure a group, this machine's disk, or what could be had without consensus.
    Bench(Box<bench::Arguments>),
    /// Write, check and show the settings of a replica.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What every command is given.
#[derive(Debug, Clone)]
struct Context {
    output: Output,
    endpoints: Vec<String>,
    timeout: Duration,
    /// On whose behalf it acts, if that is known.
    author: Option<String>,
    began: Instant,
}

/// Runs a command line and says how the process ends.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let began = Clock::real().now();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(shown) => {
            // Help and version are answers, everything else is a mistake; clap knows which.
            shown.print().ok();
            let exit = if shown.use_stderr() { Exit::Usage } else { Exit::Ok };
            return ExitCode::from(exit.code());
        }
    };
    let verbosity = if cli.shared.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let profile = Profile::read(cli.shared.profile.as_deref());
    let known = profile.as_ref().ok().and_then(|profile| profile.output);
    let output = Output::new(cli.shared.output.or(known).unwrap_or_default(), verbosity);
    let done = profile.and_then(|profile| {
        let mut endpoints = cli.shared.endpoint;
        if endpoints.is_empty() {
            endpoints = profile.endpoint.all();
        }
        let author = cli.shared.author.or(profile.author).or_else(whoever_is_here);
        let context = Context { output, endpoints, timeout: cli.shared.timeout, author, began };
        dispatch(cli.command, &context)
    });
    match done {
        Ok(()) => ExitCode::from(Exit::Ok.code()),
        Err(failure) => {
            if !failure.is_closed_pipe() {
                output.failure(&failure, &failure.to_string());
            }
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Whose machine this says it is, if that can be told to the service.
fn whoever_is_here() -> Option<String> {
    let user = std::env::var("USER").ok()?;
    let is_plain = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain.then_some(user)
}

fn dispatch(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => {
            // However many callers there are, the replica itself does not wait for a thread behind them.
            let (replica, callers) = (threaded()?, threaded()?);
            let result = replica.block_on(serve::run(*arguments, callers.handle()));
            // A read of standard input that still waits would keep the process for ever.
            callers.shutdown_background();
            replica.shutdown_background();
            result
        }
        Command::Demo(arguments) => threaded()?.block_on(demo::run(arguments, context)),
        Command::Append(arguments) => threaded()?.block_on(records::append(arguments, context)),
        Command::Read(arguments) => threaded()?.block_on(records::read(arguments, context)),
        Command::Follow(arguments) => threaded()?.block_on(records::follow(arguments, context)),
        Command::Logs(command) => single()?.block_on(logs::run(command, context)),
        Command::Cursors(command) => single()?.block_on(logs::cursors(command, context)),
        Command::Cluster(command) => single()?.block_on(cluster::run(command, context)),
        Command::Checkpoints(command) => single()?.block_on(checkpoints::run(command, context)),
        Command::Snapshots(command) => single()?.block_on(checkpoints::snapshots(command, context)),
        Command::Backup(arguments) => single()?.block_on(backup::backup(arguments, context)),
        Command::Verify(arguments) => backup::verify(&arguments, context.output),
        Command::Restore(arguments) => backup::restore(&arguments, context.output),
        Command::Recover(arguments) => recover::run(&arguments, context.output),
        Command::Activity(arguments) => single()?.block_on(activity::run(arguments, context)),
        Command::Audit => single()?.block_on(checkpoints::audit(context)),
        Command::Scrub => single()?.block_on(checkpoints::scrub(context)),
        Command::Transfers(command) => single()?.block_on(transfers::run(command, context)),
        Command::Bench(arguments) => bench::run(&arguments, context),
        Command::Config(command) => config::run(command, context.output),
        Command::Completions { shell } => completions(shell, context.output),
    }
}

/// Names of logs are not completed: the engine that could ask for them (`clap_complete::engine`) is
/// marked as unstable by its makers, and a script that a person installs must outlive a version.
fn completions(shell: clap_complete::Shell, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "quorate", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let completions = Completions { shell: shell.to_string(), script };
    Ok(output.document(&completions, |completions| completions.script.clone())?)
}

#[derive(Debug, Serialize)]
struct Completions {
    shell: String,
    script: String,
}

/// A runtime with a thread per core.
fn threaded() -> Result<runtime::Runtime, Failure> {
    Ok(runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// A runtime on this thread alone, for what mostly waits.
fn single() -> Result<runtime::Runtime, Failure> {
    Ok(runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A length of time, as people write it, and not nothing.
fn duration(text: &str) -> Result<Duration, String> {
    duration_or_zero(text).and_then(|duration| {
        if duration.is_zero() { Err("expected more than nothing".to_owned()) } else { Ok(duration) }
    })
}

/// A length of time, as people write it.
fn duration_or_zero(text: &str) -> Result<Duration, String> {
    SignedDuration::from_str(text)
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "expected a length of time, such as 500ms or 30s".to_owned())
}

/// A size, as people write it.
fn size(text: &str) -> Result<u64, String> {
    bytesize::ByteSize::from_str(text)
        .map(|size| size.0)
        .map_err(|_| "expected a size, such as 1000, 512KiB or 1MiB".to_owned())
}
