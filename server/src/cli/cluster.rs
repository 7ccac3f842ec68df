//! `quorate cluster`: what the group says about itself, and the commands that change it.
//!
//! Not here: plans of changes (`plans`), and carrying them out (`changes`).

use std::time::Duration;

use clap::Subcommand;
use client::api::changes::ChangesQuery;
use client::api::cluster::{ClusterStatus, Joiner, ReplicaStatus};
use client::types::ChangeId;

use super::changes::{Manner, Patience};
use super::logs::Rehearsal;
use super::output;
use super::output::Table;
use super::plans::{Verdict, WishCommand};
use super::service;
use super::{Context, Exit, Failure, Format, changes, duration, plans};

/// What `quorate cluster` can do.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Can it take appends, how many replicas may fail, and how is each of them?
    Status {
        /// End with exit code 5 if the group cannot take appends.
        #[arg(long)]
        check: bool,
    },
    /// What would a change of the group mean, and is it safe? Changes nothing.
    #[command(subcommand)]
    Plan(WishCommand<Verdict>),
    #[command(flatten)]
    Change(WishCommand<Manner>),
    /// Changes of the group, newest first: who, when, what for, and what came of it.
    Changes {
        /// Only those that are older than this one.
        #[arg(long, value_name = "CHANGE")]
        before: Option<ChangeId>,
        /// At most this many.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Watch a change until it is over. Ends with exit code 1 if it was given up.
    Watch {
        /// Which, as `changes` numbers them; otherwise the newest.
        change: Option<ChangeId>,
        /// Return after this long at the latest, with exit code 7.
        #[arg(long, value_parser = duration, value_name = "TIME")]
        wait: Option<Duration>,
    },
    /// Give a change up that is not decided yet: those who came leave again.
    Cancel {
        /// Which, as `changes` numbers them.
        change: ChangeId,
        #[command(flatten)]
        rehearsal: Rehearsal,
        #[command(flatten)]
        patience: Patience,
    },
    /// Processes that wait to join.
    Joiners,
}

/// Runs `quorate cluster …`.
pub(super) async fn run(command: ClusterCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status { check } => show_status(check, context).await,
        ClusterCommand::Plan(wish) => plans::run(wish, context).await,
        ClusterCommand::Change(wish) => changes::run(wish, context).await,
        ClusterCommand::Changes { before, limit } => {
            changes::list(ChangesQuery { before, limit }, context).await
        }
        ClusterCommand::Watch { change, wait } => changes::watch(change, wait, context).await,
        ClusterCommand::Cancel { change, rehearsal, patience } => {
            changes::cancel(change, rehearsal, patience, context).await
        }
        ClusterCommand::Joiners => changes::joiners(context).await,
    }
}

async fn show_status(check: bool, context: &Context) -> Result<(), Failure> {
    let client = service::connect(context)?;
    let status = client.admin().status().await.map_err(service::failed)?;
    if context.output.format() == Format::Table {
        context.output.text(&page(&status))?;
    } else {
        context.output.value(&status, replicas)?;
    }
    if check && !status.verdict.can_append {
        return Err(Failure::new(Exit::Unavailable, status.verdict.sentence));
    }
    Ok(())
}

/// For a person: the verdict first, then the replicas, and who waits to be one.
fn page(status: &ClusterStatus) -> String {
    let mut text = format!("{}\n", status.verdict.sentence);
    for reason in &status.verdict.reasons {
        text.push_str(reason);
        text.push('\n');
    }
    text.push('\n');
    let mut table = replicas(status);
    for joiner in &status.joiners {
        table.row(waiting_row(joiner));
    }
    text.push_str(&table.aligned());
    for replica in &status.replicas {
        if let Some(count) = replica.damaged_entries {
            let entries = if count == 1 { "entry" } else { "entries" };
            let line = format!(
                "\nreplica {}: {count} damaged {entries} in its journal, never served",
                replica.id
            );
            text.push_str(&line);
        }
    }
    if let Some(cluster) = status.cluster {
        let epoch = status.epoch.map_or_else(|| "?".to_owned(), |epoch| epoch.to_string());
        let last = format!("\ncluster {cluster} · epoch {epoch} · term {}\n", status.term);
        text.push_str(&last);
    }
    text
}

fn replicas(status: &ClusterStatus) -> Table {
    let mut table = Table::new(&[
        "replica",
        "role",
        "address",
        "zone",
        "behind",
        "heard",
        "sync p99",
        "disk free",
        "version",
    ]);
    for replica in &status.replicas {
        table.row(row(status, replica));
    }
    table
}

fn waiting_row(joiner: &Joiner) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        dash(),
        "waiting to join".to_owned(),
        joiner.addr.to_string(),
        if joiner.zone.is_empty() { dash() } else { output::shown(joiner.zone.as_str()) },
        dash(),
        dash(),
        dash(),
        joiner.free_bytes.map_or_else(dash, output::bytes),
        output::shown(&joiner.version),
    ]
}

fn row(status: &ClusterStatus, replica: &ReplicaStatus) -> Vec<String> {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let is_here = status.this_replica == Some(replica.id);
    let here = if is_here { " (asked)" } else { "" };
    let role = if replica.is_reachable {
        replica.role.to_string()
    } else {
        format!("{}, silent", replica.role)
    };
    let zone = if replica.zone.is_empty() { None } else { Some(output::shown(&replica.zone)) };
    vec![
        format!("{}{here}", replica.id),
        role,
        replica.addr.to_string(),
        or_dash(zone),
        or_dash(replica.lag.map(|lag| format!("{} entries", lag.entries))),
        or_dash(replica.heard_ms_ago.map(|millis| format!("{millis} ms ago"))),
        or_dash(replica.sync.map(|sync| format!("{} µs", sync.p99_us))),
        or_dash(replica.free_bytes.map(output::bytes)),
        or_dash(replica.version.as_deref().map(output::shown)),
    ]
}
