//! Checkpoints, the snapshots kept of them, backups, and whether all replicas hold the same.
//!
//! Not here: state transfers (`transfers`).

use serde_json::{Value, json};

use super::operation::{Content, Example, Operation, TO_A_CHANGE, TO_A_LOOK, Written};
use super::schemas::Schemas;
use crate::api::audit::{AuditReport, ScrubReport};
use crate::api::checkpoints::{
    ArchiveQuery, CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotInfo, SnapshotList,
};
use crate::api::error::ErrorCode::{
    CheckpointsFull, Damaged, InvalidParameter, Trimmed, UnknownCheckpoint, UnknownLog,
};
use crate::api::logs::EffectQuery;
use crate::api::{media, paths};

pub(super) const TAG: &str = "Checkpoints";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![
        make(schemas),
        list(schemas),
        snapshots(schemas),
        archive(schemas),
        snapshot(schemas),
        release(schemas),
        audit(schemas),
        begin_scrub(schemas),
        scrub(schemas),
    ]
}

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn checkpoint() -> Value {
    json!({
        "checkpoint": 40,
        "term": 1,
        "made": "2026-11-23T20:15:57.042Z",
        "label": "before the import",
        "is_pinned": true,
    })
}

fn make(schemas: &mut Schemas) -> Written {
    let words = (
        "makeCheckpoint",
        "Make a checkpoint",
        "With a label it is kept until it is released. A majority attests what the state was there, and it is certified \
         then.",
    );
    let on_to = || json!({ "path.checkpoint": "$response.body#/checkpoint" });
    Operation::new(schemas, TAG, ("POST", paths::CHECKPOINTS), words)
        .changes()
        .optional_body::<CheckpointRequest>("What to call it.")
        .tells::<CheckpointInfo>(201, "It is made.", &[])
        .leads_to(201, "showSnapshot", &on_to())
        .leads_to(201, "archiveSnapshot", &on_to())
        .leads_to(201, "releaseSnapshot", &on_to())
        .fails(&[CheckpointsFull, Damaged])
        .example(
            &Example::new("labelled", "One to come back to")
                .json(json!({ "label": "before the import" }))
                .told(201, checkpoint()),
        )
        .done()
}

fn list(schemas: &mut Schemas) -> Written {
    let words =
        ("listCheckpoints", "List the checkpoints", "Those that are remembered, oldest first.");
    Operation::new(schemas, TAG, ("GET", paths::CHECKPOINTS), words)
        .tells::<CheckpointList>(200, "The checkpoints.", &[])
        .fails(&[InvalidParameter])
        .example(
            &Example::new("all", "One, which has a label")
                .told(200, json!({ "checkpoints": [checkpoint()] })),
        )
        .done()
}

fn kept() -> Value {
    json!({
        "checkpoint": 40,
        "digest": DIGEST,
        "is_certified": true,
        "label": "before the import",
        "is_pinned": true,
        "manifest_bytes": 1_204,
    })
}

fn snapshots(schemas: &mut Schemas) -> Written {
    let words = (
        "listSnapshots",
        "List the snapshots",
        "Those that the replica which answers keeps, oldest first.",
    );
    Operation::new(schemas, TAG, ("GET", paths::SNAPSHOTS), words)
        .tells::<SnapshotList>(200, "The snapshots.", &[])
        .fails(&[InvalidParameter, Damaged])
        .example(&Example::new("all", "One").told(200, json!({ "snapshots": [kept()] })))
        .done()
}

fn snapshot(schemas: &mut Schemas) -> Written {
    let words = ("showSnapshot", "Show a snapshot", "With what it holds.");
    let mut shown = kept();
    shown["content"] = json!({
        "logs": 2,
        "records": 3,
        "bytes": 16,
        "producers": 1,
        "cursors": 0,
        "keys": 1,
    });
    Operation::new(schemas, TAG, ("GET", paths::SNAPSHOT), words)
        .tells::<SnapshotInfo>(200, "The snapshot.", &[])
        .fails(&[InvalidParameter, UnknownCheckpoint, Damaged])
        .example(
            &Example::new("labelled", "What the state was at a checkpoint")
                .with("checkpoint", 40)
                .told(200, shown),
        )
        .done()
}

fn archive(schemas: &mut Schemas) -> Written {
    let words = (
        "archiveSnapshot",
        "Get a backup",
        "A file of what the state was, with its records, for `quorate verify` and `quorate restore`. It is sent as it is \
         made, and breaks off if it cannot be finished.",
    );
    let contents = vec![Content::bytes(media::BACKUP)];
    Operation::new(schemas, TAG, ("GET", paths::ARCHIVE), words)
        .query::<ArchiveQuery>()
        .answers(200, "The backup.", contents, &["content-disposition"])
        .fails(TO_A_LOOK)
        .fails(&[UnknownCheckpoint, UnknownLog, Trimmed, Damaged])
        .example(
            &Example::new("orders", "A backup of one log")
                .with("checkpoint", 40)
                .with("log", json!(["orders"]))
                .told_as(200, media::BACKUP, ""),
        )
        .done()
}

fn release(schemas: &mut Schemas) -> Written {
    let words = (
        "releaseSnapshot",
        "Release a checkpoint",
        "It is kept no longer than the service needs it, on no replica.",
    );
    Operation::new(schemas, TAG, ("DELETE", paths::SNAPSHOT), words)
        .query::<EffectQuery>()
        .changes()
        .tells::<SnapshotInfo>(200, "Nothing was released: this is the snapshot.", &[])
        .answers(204, "It is released.", vec![], &[])
        .fails(&[UnknownCheckpoint, Damaged])
        .example(
            &Example::new("effect", "Tell which one would be released")
                .with("checkpoint", 40)
                .with("dry_run", true)
                .told(200, kept()),
        )
        .example(&Example::new("labelled", "Release it").with("checkpoint", 40).told_nothing(204))
        .done()
}

fn audit(schemas: &mut Schemas) -> Written {
    let words = (
        "audit",
        "Compare the replicas",
        "Whether each replica executed what the leader did, and held the certified state at the newest checkpoint. What \
         could not be compared is never taken for equal.",
    );
    let finding = || json!({ "verdict": "equal" });
    Operation::new(schemas, TAG, ("GET", paths::AUDIT), words)
        .at_leader()
        .tells::<AuditReport>(200, "What was seen last.", &[])
        .fails(&[InvalidParameter])
        .example(&Example::new("all", "All hold the same").told(
            200,
            json!({
                "leader": 1,
                "replicas": [{ "id": 1, "execution": finding(), "checkpoint": finding() }],
            }),
        ))
        .done()
}

fn scrubbed() -> Value {
    json!({
        "replica": 1,
        "pass": 1,
        "is_done": false,
        "tiles_total": 2,
        "tiles_done": 0,
        "bytes_done": 0,
        "damaged_tiles": 0,
        "repaired_tiles": 0,
        "unrepaired": [],
    })
}

fn begin_scrub(schemas: &mut Schemas) -> Written {
    let words = (
        "beginScrub",
        "Read all again, now",
        "This replica reads everything that it keeps, and takes from another one what is damaged.",
    );
    Operation::new(schemas, TAG, ("POST", paths::SCRUB), words)
        .tells::<ScrubReport>(202, "It has begun.", &[])
        .fails(TO_A_CHANGE)
        .example(&Example::new("now", "Begin").told(202, scrubbed()))
        .done()
}

fn scrub(schemas: &mut Schemas) -> Written {
    let words = (
        "showScrub",
        "Show how far reading all again is",
        "Of the replica that answers, and what it found damaged.",
    );
    Operation::new(schemas, TAG, ("GET", paths::SCRUB), words)
        .tells::<ScrubReport>(200, "How far it is.", &[])
        .fails(&[InvalidParameter])
        .example(&Example::new("under_way", "It has begun").told(200, scrubbed()))
        .done()
}
