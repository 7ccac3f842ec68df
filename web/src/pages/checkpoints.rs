//! Checkpoints: certified by whom, what they let go, and how to get everything back from one.
//!
//! Beside them stands whether the replicas hold the same, and how far this one is with reading all that
//! it keeps again. A comparison that could not be made is shown as such, never as equality.
//!
//! Not here: how a state is certified, and what a backup holds (the server).

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use client::api::audit::{AuditFinding, AuditReport, AuditVerdict, ScrubReport};
use client::api::checkpoints::{CheckpointInfo, CheckpointRequest, SnapshotInfo};
use client::api::error::{ErrorCode, Problem};
use client::api::paths;
use client::types::{CheckpointLabel, EntryIndex};
use serde::Deserialize;

use crate::asked::{Door, Query, Sent};
use crate::backend::Backend;
use crate::error;
use crate::format;
use crate::frame::{self, Frame, Notice, Section};
use crate::grade::Grade;
use crate::viewer::OnBehalf;

#[derive(Template)]
#[template(path = "checkpoints.html")]
struct Checkpoints {
    frame: Frame,
    notice: Option<Notice>,
    rows: Vec<CheckpointRow>,
    audit: Result<Vec<AuditRow>, String>,
    compared_by: Option<String>,
    scrub: Result<ScrubView, String>,
    newest: Option<String>,
    label: String,
    command: String,
    url: String,
}

/// A checkpoint.
struct CheckpointRow {
    entry: String,
    exact: String,
    made: String,
    label: Option<String>,
    is_pinned: bool,
    certified: Option<Certified>,
    lets_go: Option<String>,
    /// What this replica keeps of it.
    snapshot: Option<SnapshotView>,
}

/// Who certified a checkpoint, and what.
struct Certified {
    by: String,
    digest: String,
    short: String,
}

/// A snapshot that can be downloaded.
struct SnapshotView {
    archive: String,
    is_certified: bool,
}

impl CheckpointRow {
    fn new(info: &CheckpointInfo, snapshot: Option<&SnapshotInfo>) -> Self {
        let certified = info.certificate.as_ref().map(|certificate| {
            let by: Vec<_> = certificate.attested_by.iter().map(ToString::to_string).collect();
            let digest = certificate.digest.to_string();
            let short = digest.chars().take(12).collect();
            Certified { by: by.join(", "), digest, short }
        });
        Self {
            entry: format::count(info.checkpoint.get()),
            exact: info.checkpoint.to_string(),
            made: format::time(info.made),
            label: info.label.as_ref().map(|label| format::visible(label.as_str())),
            is_pinned: info.is_pinned,
            certified,
            lets_go: info.lets_go.map(|entry| format::count(entry.get())),
            snapshot: snapshot.map(|snapshot| SnapshotView {
                archive: paths::archive(snapshot.checkpoint),
                is_certified: snapshot.is_certified,
            }),
        }
    }
}

/// What was seen of one replica.
struct AuditRow {
    replica: String,
    /// What it executed, and its state at the newest certified checkpoint.
    findings: [FindingView; 2],
}

/// One comparison.
struct FindingView {
    grade: Grade,
    verdict: &'static str,
    entry: Option<String>,
    at: Option<String>,
}

impl From<AuditFinding> for FindingView {
    fn from(finding: AuditFinding) -> Self {
        Self {
            grade: match finding.verdict {
                AuditVerdict::Equal => Grade::Ok,
                AuditVerdict::Different => Grade::Bad,
                AuditVerdict::Unverified => Grade::Unknown,
            },
            verdict: finding.verdict.as_str(),
            entry: finding.entry.map(|entry| format::count(entry.get())),
            at: finding.at.map(format::time),
        }
    }
}

/// How far the scrub of this replica is.
struct ScrubView {
    replica: String,
    is_done: bool,
    tiles_done: u64,
    tiles_total: u64,
    done: String,
    total: String,
    bytes: String,
    last: Option<String>,
    damaged: String,
    repaired: String,
    unrepaired: Vec<String>,
}

impl From<ScrubReport> for ScrubView {
    fn from(report: ScrubReport) -> Self {
        let unrepaired = report.unrepaired.iter().map(|tile| {
            let (from, until) = (format::count(tile.from.get()), format::count(tile.until.get()));
            let reason = format::visible(&tile.reason);
            format!("{}, {from} to before {until}: {reason}", tile.log)
        });
        Self {
            replica: report.replica.to_string(),
            is_done: report.is_done,
            tiles_done: report.tiles_done.min(report.tiles_total),
            tiles_total: report.tiles_total,
            done: format::count(report.tiles_done),
            total: format::count(report.tiles_total),
            bytes: format::size(report.bytes_done),
            last: report.last_done.map(format::time),
            damaged: format::count(report.damaged_tiles),
            repaired: format::count(report.repaired_tiles),
            unrepaired: unrepaired.collect(),
        }
    }
}

/// What came of a form before.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    done: String,
}

/// The fields of the forms.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SentCheckpoint {
    #[serde(default)]
    label: String,
    #[serde(default)]
    checkpoint: String,
}

/// The page.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    door: Door,
    Query(asked): Query<Asked>,
) -> Response {
    let notice = match asked.done.as_str() {
        "made" => Some(Notice::new(Grade::Ok, "Made and certified", "")),
        "uncertified" => Some(Notice::new(
            Grade::Warn,
            "Made, and not certified yet",
            "No majority of the voters has attested the same so far.",
        )),
        "released" => {
            Some(Notice::new(Grade::Ok, "Released", "It goes as soon as nothing needs it."))
        }
        "scrub" => Some(Notice::new(Grade::Ok, "Reading everything again", "")),
        _ => None,
    };
    page(&backend, &door, notice, None, String::new()).await
}

async fn page<B: Backend>(
    backend: &B,
    door: &Door,
    notice: Option<Notice>,
    problem: Option<Problem>,
    label: String,
) -> Response {
    let (checkpoints, snapshots) = match (backend.checkpoints().await, backend.snapshots().await) {
        (Ok(checkpoints), Ok(snapshots)) => (checkpoints.checkpoints, snapshots.snapshots),
        (Err(problem), _) | (_, Err(problem)) => {
            return error::of_problem(backend, &problem).await;
        }
    };
    let kept: BTreeMap<EntryIndex, &SnapshotInfo> =
        snapshots.iter().map(|snapshot| (snapshot.checkpoint, snapshot)).collect();
    let row = |info: &CheckpointInfo| CheckpointRow::new(info, kept.get(&info.checkpoint).copied());
    let rows: Vec<_> = checkpoints.iter().rev().map(row).collect();
    let is_kept =
        |row: &&CheckpointRow| row.snapshot.as_ref().is_some_and(|kept| kept.is_certified);
    let audit = backend.audit().await;
    let compared_by =
        audit.as_ref().ok().and_then(|audit| audit.leader).map(|leader| leader.to_string());
    let page = Checkpoints {
        frame: Frame::now_or_unknown(backend, Section::Checkpoints).await,
        notice: notice.or_else(|| problem.as_ref().map(Notice::refused)),
        newest: rows.iter().find(is_kept).map(|row| row.exact.clone()),
        rows,
        audit: audit.as_ref().map(audited).map_err(words),
        compared_by,
        scrub: backend.scrub().await.map(ScrubView::from).map_err(|problem| words(&problem)),
        label,
        command: door.command(),
        url: door.url(),
    };
    frame::page(error::status(problem.as_ref()), &page)
}

fn audited(report: &AuditReport) -> Vec<AuditRow> {
    let row = |replica: &client::api::audit::ReplicaAudit| AuditRow {
        replica: replica.id.to_string(),
        findings: [replica.execution.into(), replica.checkpoint.into()],
    };
    report.replicas.iter().map(row).collect()
}

/// A problem in a line.
fn words(problem: &Problem) -> String {
    format::visible(problem.detail.as_deref().unwrap_or(&problem.title))
}

/// Makes a checkpoint.
pub(crate) async fn make<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    door: Door,
    Sent(sent): Sent<SentCheckpoint>,
) -> Response {
    let label = Some(sent.label.trim()).filter(|label| !label.is_empty());
    let label = label.map(CheckpointLabel::new).transpose();
    let made = match label {
        Ok(label) => backend.make_checkpoint(CheckpointRequest { label }).await,
        Err(wrong) => Err(invalid(wrong.to_string())),
    };
    match made {
        Ok(made) => done(if made.certificate.is_some() { "made" } else { "uncertified" }),
        Err(problem) => page(&backend, &door, None, Some(problem), sent.label).await,
    }
}

/// Keeps a labelled one no longer.
pub(crate) async fn release<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    door: Door,
    Sent(sent): Sent<SentCheckpoint>,
) -> Response {
    let released = match sent.checkpoint.parse().map(EntryIndex::new) {
        Ok(checkpoint) => backend.release(checkpoint).await,
        Err(_) => Err(invalid(format!("{:?} is no checkpoint", sent.checkpoint))),
    };
    match released {
        Ok(()) => done("released"),
        Err(problem) => page(&backend, &door, None, Some(problem), String::new()).await,
    }
}

/// Begins to read everything again.
pub(crate) async fn scrub<B: Backend>(OnBehalf(backend): OnBehalf<B>, door: Door) -> Response {
    match backend.scrub_now().await {
        Ok(_) => done("scrub"),
        Err(problem) => page(&backend, &door, None, Some(problem), String::new()).await,
    }
}

/// A page that says why something was refused stands at the address of its form. Loaded again, it is the page itself.
pub(crate) async fn back() -> Redirect {
    Redirect::to("/checkpoints")
}

fn invalid(detail: String) -> Problem {
    Problem::new(ErrorCode::InvalidParameter).with_detail(detail)
}

fn done(what: &str) -> Response {
    Redirect::to(&format!("/checkpoints?done={what}")).into_response()
}
