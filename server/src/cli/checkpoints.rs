//! `quorate checkpoints`, `quorate snapshots`, `quorate audit` and `quorate scrub`: what lets the journal
//! go, and whether the replicas hold the same, and hold it whole.
//!
//! Not here: changing the group.

use std::time::Duration;

use clap::Subcommand;
use client::api::audit::{AuditFinding, AuditReport, AuditVerdict, ScrubReport};
use client::api::checkpoints::{CheckpointInfo, SnapshotInfo};
use client::types::{CheckpointLabel, EntryIndex, ReplicaId};
use serde::Serialize;

use super::logs::{Consent, Rehearsal};
use super::output;
use super::output::Table;
use super::service;
use super::{Context, Exit, Failure, endpoint};
use crate::world::Clock;

/// What `quorate checkpoints` can do.
#[derive(Debug, Subcommand)]
pub(super) enum CheckpointsCommand {
    /// List the checkpoints that are remembered.
    List,
    /// Make one now, and wait until a majority has attested it.
    Make {
        /// What to call it; with a label it is kept until it is released.
        #[arg(long)]
        label: Option<CheckpointLabel>,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
}

/// What `quorate snapshots` can do.
#[derive(Debug, Subcommand)]
pub(super) enum SnapshotsCommand {
    /// List the snapshots that the replica asked keeps.
    List,
    /// Show what is in one.
    Show {
        /// Of which checkpoint: the index of its entry.
        checkpoint: u64,
    },
    /// Keep one no longer than the service itself needs it.
    Release {
        /// Of which checkpoint: the index of its entry.
        checkpoint: u64,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Runs `quorate checkpoints …`.
pub(super) async fn run(command: CheckpointsCommand, context: &Context) -> Result<(), Failure> {
    let client = service::connect(context)?;
    match command {
        CheckpointsCommand::List => {
            let all = client.admin().checkpoints().await.map_err(service::failed)?;
            Ok(context.output.list(&all, &CHECKPOINT_HEAD, checkpoint_row)?)
        }
        CheckpointsCommand::Make { label, rehearsal } if rehearsal.dry_run => {
            let newest = client.admin().checkpoints().await.map_err(service::failed)?.pop();
            let effect = WouldMake { dry_run: true, label, newest: newest.map(|it| it.checkpoint) };
            Ok(context.output.value(&effect, |effect| {
                let newest = effect.newest.map_or_else(|| "none".to_owned(), |at| at.to_string());
                Table::pairs()
                    .pair("would", "make a checkpoint")
                    .pair("label", self::label(effect.label.as_ref()))
                    .pair("newest now", newest)
            })?)
        }
        CheckpointsCommand::Make { label, rehearsal: _ } => {
            let made = client.admin().make_checkpoint(label).await.map_err(service::failed)?;
            context.output.value(&made, |made| {
                let cells = CHECKPOINT_HEAD.into_iter().zip(checkpoint_row(made));
                cells.fold(Table::pairs(), |table, (head, cell)| table.pair(head, cell))
            })?;
            if made.certificate.is_none() {
                let text = "made, and not yet attested by a majority";
                return Err(Failure::new(Exit::Unavailable, text));
            }
            Ok(())
        }
    }
}

/// Runs `quorate snapshots …`.
pub(super) async fn snapshots(command: SnapshotsCommand, context: &Context) -> Result<(), Failure> {
    let client = service::connect(context)?;
    match command {
        SnapshotsCommand::List => {
            let all = client.admin().snapshots().await.map_err(service::failed)?;
            Ok(context.output.list(&all, &SNAPSHOT_HEAD, snapshot_row)?)
        }
        SnapshotsCommand::Show { checkpoint } => {
            let found = client.admin().snapshot(EntryIndex::new(checkpoint)).await;
            let found = found.map_err(service::failed)?;
            Ok(context.output.value(&found, snapshot_page)?)
        }
        SnapshotsCommand::Release { checkpoint, consent } => {
            let checkpoint = EntryIndex::new(checkpoint);
            let found = client.admin().snapshot(checkpoint).await.map_err(service::failed)?;
            if consent.dry_run {
                return Ok(context.output.value(&found, snapshot_page)?);
            }
            if !consent.yes {
                let what = format!("this would let the snapshot of checkpoint {checkpoint} go");
                let hint = format!("quorate snapshots release {checkpoint} --yes");
                return Err(Failure::new(Exit::Unsafe, what).hint(hint));
            }
            client.admin().release_snapshot(checkpoint).await.map_err(service::failed)?;
            Ok(context.output.value(&Released { checkpoint }, |released| {
                Table::pairs().pair("released", released.checkpoint.to_string())
            })?)
        }
    }
}

/// Runs `quorate audit`.
pub(super) async fn audit(context: &Context) -> Result<(), Failure> {
    let report = service::connect(context)?.admin().audit().await.map_err(service::failed)?;
    context.output.value(&report, audit_table)?;
    let differs = |finding: AuditFinding| finding.verdict == AuditVerdict::Different;
    let different: Vec<ReplicaId> = (report.replicas.iter())
        .filter(|replica| differs(replica.execution) || differs(replica.checkpoint))
        .map(|replica| replica.id)
        .collect();
    if different.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = different.iter().map(ToString::to_string).collect();
    Err(Failure::new(Exit::Failed, format!("replicas that differ: {}", named.join(", "))))
}

/// Between two looks at how far a scrub is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs `quorate scrub`.
pub(super) async fn scrub(context: &Context) -> Result<(), Failure> {
    let mut reports = Vec::new();
    for addr in endpoint::resolve(&context.endpoints)? {
        let client = service::connect_to(vec![addr], context)?;
        let asked = client.admin().scrub().await.map_err(service::failed)?;
        let mut report = asked.clone();
        while report.pass < asked.pass || !report.is_done {
            Clock::real().sleep(LOOK_EVERY).await;
            report = client.admin().scrub_report().await.map_err(service::failed)?;
        }
        reports.push(report);
    }
    context.output.list(&reports, &SCRUB_HEAD, scrub_row)?;
    let unrepaired: Vec<String> = (reports.iter().flat_map(|report| &report.unrepaired))
        .map(|tile| format!("{} [{}, {}): {}", tile.log, tile.from, tile.until, tile.reason))
        .collect();
    if unrepaired.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(Exit::Failed, "records are damaged and could not be repaired yet");
    Err(failure.because(unrepaired.join("; ")))
}

const SCRUB_HEAD: [&str; 5] = ["replica", "tiles", "read", "found damaged", "repaired"];

fn scrub_row(report: &ScrubReport) -> Vec<String> {
    vec![
        report.replica.to_string(),
        report.tiles_done.to_string(),
        output::bytes(report.bytes_done),
        report.damaged_tiles.to_string(),
        report.repaired_tiles.to_string(),
    ]
}

#[derive(Debug, Serialize)]
struct WouldMake {
    dry_run: bool,
    label: Option<CheckpointLabel>,
    newest: Option<EntryIndex>,
}

#[derive(Debug, Serialize)]
struct Released {
    checkpoint: EntryIndex,
}

const CHECKPOINT_HEAD: [&str; 6] =
    ["checkpoint", "made", "label", "certified by", "digest", "lets go"];

fn checkpoint_row(checkpoint: &CheckpointInfo) -> Vec<String> {
    let certificate = checkpoint.certificate.as_ref();
    let by = certificate.map(|certificate| listed(&certificate.attested_by));
    vec![
        checkpoint.checkpoint.to_string(),
        checkpoint.made.to_string(),
        label(checkpoint.label.as_ref()),
        by.unwrap_or_else(|| "not yet".to_owned()),
        certificate.map_or_else(|| "-".to_owned(), |it| short(&it.digest.to_string())),
        checkpoint.lets_go.map_or_else(|| "-".to_owned(), |at| format!("entries up to {at}")),
    ]
}

const SNAPSHOT_HEAD: [&str; 5] = ["checkpoint", "label", "state", "digest", "manifest"];

fn snapshot_row(snapshot: &SnapshotInfo) -> Vec<String> {
    vec![
        snapshot.checkpoint.to_string(),
        label(snapshot.label.as_ref()),
        if snapshot.is_certified { "certified" } else { "not certified" }.to_owned(),
        short(&snapshot.digest.to_string()),
        output::bytes(snapshot.manifest_bytes),
    ]
}

fn snapshot_page(snapshot: &SnapshotInfo) -> Table {
    let mut table = Table::pairs();
    for (head, cell) in SNAPSHOT_HEAD.into_iter().zip(snapshot_row(snapshot)) {
        table = table.pair(head, cell);
    }
    let Some(content) = snapshot.content else { return table };
    table
        .pair("logs", content.logs.to_string())
        .pair("records", content.records.to_string())
        .pair("bytes", output::bytes(content.bytes))
        .pair("producers", content.producers.to_string())
        .pair("cursors", content.cursors.to_string())
        .pair("keys", content.keys.to_string())
}

fn audit_table(report: &AuditReport) -> Table {
    let mut table = Table::new(&["replica", "executed", "at entry", "keeps", "at checkpoint"]);
    let entry = |finding: AuditFinding| finding.entry.map_or("-".to_owned(), |at| at.to_string());
    for replica in &report.replicas {
        table.row(vec![
            replica.id.to_string(),
            replica.execution.verdict.to_string(),
            entry(replica.execution),
            replica.checkpoint.verdict.to_string(),
            entry(replica.checkpoint),
        ]);
    }
    table
}

fn label(label: Option<&CheckpointLabel>) -> String {
    label.map_or_else(|| "-".to_owned(), |label| output::shown(label.as_str()))
}

fn listed(replicas: &[ReplicaId]) -> String {
    replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Enough of a digest to tell two apart by eye.
fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
