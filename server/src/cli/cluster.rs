//! `quorate cluster`: what the group says about itself.
//!
//! Not here: plans of changes (`plans`).

use clap::Subcommand;
use client::api::cluster::{ClusterStatus, ReplicaStatus};

use super::output;
use super::output::Table;
use super::plans::WishCommand;
use super::service;
use super::{Context, Exit, Failure, Format, plans};

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
    Plan(WishCommand),
}

/// Runs `quorate cluster …`.
pub(super) async fn run(command: ClusterCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status { check } => show_status(check, context).await,
        ClusterCommand::Plan(wish) => plans::run(wish, context).await,
    }
}

async fn show_status(check: bool, context: &Context) -> Result<(), Failure> {
    let status = service::connect(context)?.status().await.map_err(service::failed)?;
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

/// For a person: the verdict first, then the replicas.
fn page(status: &ClusterStatus) -> String {
    let mut text = format!("{}\n", status.verdict.sentence);
    for reason in &status.verdict.reasons {
        text.push_str(reason);
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&replicas(status).aligned());
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
