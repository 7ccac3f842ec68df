//! `quorate serve`: start, bootstrap or join a replica.
//!
//! Invariant: flags win over the environment and that over the file; how a start is meant
//! (bootstrap, join, or go on, which waits in an empty folder) is said by flags alone. The exit code tells broken storage and a
//! folder that must not start from everything else.
//!
//! Not here: the order of start and stop (`run`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use client::types::ReplicaAddr;
use tokio::runtime::Handle;

use super::{Exit, Failure};
use crate::config::{Config, ConfigErrors, Layers, Start};
use crate::run;
use crate::run::{RunError, RunErrorKind};

/// What `quorate serve` takes.
#[derive(Debug, Args, Default)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Begin a new group with this replica as its first voter; alone it is a complete service.
    #[arg(long, conflicts_with = "join", help_heading = "Start")]
    bootstrap: bool,
    /// With --bootstrap: so many voters are expected, and the first that ask to join are admitted.
    #[arg(long, value_name = "VOTERS", requires = "bootstrap", help_heading = "Start")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=9))]
    expect: Option<u32>,
    /// Ask a member of a group to be admitted; a folder that was admitted before just goes on.
    #[arg(long, value_name = "URL", value_delimiter = ',', help_heading = "Start")]
    join: Vec<String>,
    /// With --join: what to become. A learner receives everything and never votes; only a plan lets it in.
    #[arg(long, value_name = "ROLE", requires = "join", help_heading = "Start")]
    join_as: Option<JoinAs>,
    /// Dial the right address wherever the left one is meant: `host:port=host:port`, with commas.
    #[arg(long, hide = true, value_name = "PAIRS", value_delimiter = ',')]
    peer_map: Vec<String>,
    /// Stop when standard input ends.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

/// What a process that asks to join wants to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum JoinAs {
    /// One that votes.
    Voter,
    /// One that receives everything and does not vote.
    Learner,
}

/// The settings of a replica, as flags; shared with `quorate config`.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Settings")]
pub(super) struct Settings {
    /// A file with settings; see `quorate config init`.
    #[arg(long, value_name = "FILE", env = "QUORATE_CONFIG")]
    config: Option<PathBuf>,
    /// The folder that holds this replica.
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// Where clients reach this replica.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where other replicas reach it.
    #[arg(long, value_name = "ADDR")]
    peer_listen: Option<String>,
    /// The address of --listen as clients know it.
    #[arg(long, value_name = "URL")]
    advertise: Option<String>,
    /// The address of --peer-listen as other replicas know it.
    #[arg(long, value_name = "URL")]
    advertise_peer: Option<String>,
    /// Where it stands, to spread replicas: a rack, a room, a region.
    #[arg(long)]
    zone: Option<String>,
    /// Listen beyond this machine although nobody has to prove who they are.
    #[arg(long)]
    insecure_no_auth: bool,
    /// Any other setting by its name in the file, such as `limits.record_bytes_max=2MiB`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// File, then environment, then these flags.
    pub(super) fn layers(&self) -> Result<Layers, Failure> {
        let mut layers = Layers::new();
        if let Some(path) = &self.config {
            layers = layers.file(path);
        }
        layers = layers.environment(std::env::vars());
        for pair in &self.set {
            let Some((key, value)) = pair.split_once('=') else {
                let what = format!("--set {pair} has no `=`");
                return Err(Failure::usage(what).hint("--set limits.record_bytes_max=2MiB"));
            };
            layers = layers.flag(key.trim(), &format!("--set {key}"), value.trim());
        }
        let flags = [
            ("data", "--data", &self.data),
            ("listen", "--listen", &self.listen),
            ("peer_listen", "--peer-listen", &self.peer_listen),
            ("advertise", "--advertise", &self.advertise),
            ("advertise_peer", "--advertise-peer", &self.advertise_peer),
            ("zone", "--zone", &self.zone),
        ];
        for (key, flag, value) in flags {
            if let Some(value) = value {
                layers = layers.flag(key, flag, value);
            }
        }
        if self.insecure_no_auth {
            layers = layers.flag("insecure_no_auth", "--insecure-no-auth", "true");
        }
        Ok(layers)
    }
}

impl Arguments {
    /// The checked settings of this start.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::build(&self.settings.layers()?, self.start()?).map_err(refused)?;
        config.rehearsal.detours = detours(&self.peer_map)?;
        config.rehearsal.ends_with_stdin = self.exit_with_stdin;
        Ok(config)
    }

    fn start(&self) -> Result<Start, Failure> {
        if self.bootstrap {
            return Ok(Start::Bootstrap { voters_expected: self.expect.unwrap_or(1) });
        }
        if self.join.is_empty() {
            return Ok(Start::Resume);
        }
        let doors: Result<Vec<ReplicaAddr>, Failure> = self
            .join
            .iter()
            .map(|url| {
                ReplicaAddr::from_str(url).map_err(|error| {
                    Failure::usage(format!("--join {url}"))
                        .because(error)
                        .hint("--join http://10.0.0.1:7001")
                })
            })
            .collect();
        let as_learner = self.join_as == Some(JoinAs::Learner);
        Ok(Start::Join { doors: doors?, as_learner })
    }
}

/// Runs one replica until it is told to stop; callers are served on threads of their own.
pub(super) async fn run(arguments: Arguments, callers: &Handle) -> Result<(), Failure> {
    let config = arguments.config()?;
    match run::serve(config, callers).await {
        Ok(_reason) => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

/// What is wrong with the settings, all of it.
pub(super) fn refused(errors: ConfigErrors) -> Failure {
    let exit = if errors.is_refusal() { Exit::Unsafe } else { Exit::Usage };
    Failure::new(exit, "the settings cannot be used")
        .because(errors)
        .hint("quorate config show --origin")
}

/// The exit code for a folder that cannot be used.
pub(super) fn folder_exit(error: &migrations::OpenError) -> Exit {
    exit(run::folder_kind(error))
}

fn failed(error: &RunError) -> Failure {
    Failure::new(exit(error.kind()), error.to_string())
}

const fn exit(kind: RunErrorKind) -> Exit {
    match kind {
        RunErrorKind::Storage => Exit::Storage,
        RunErrorKind::Identity => Exit::Identity,
        RunErrorKind::Usage => Exit::Usage,
        RunErrorKind::Unavailable => Exit::Unavailable,
        RunErrorKind::Other => Exit::Failed,
    }
}

fn detours(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    pairs
        .iter()
        .map(|pair| {
            let (from, to) = pair
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--peer-map {pair} has no `=`")))?;
            Ok((from.to_owned(), to.to_owned()))
        })
        .collect()
}
