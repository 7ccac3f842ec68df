//! Overview: can it take appends, and how many may fail.
//!
//! The verdict comes first and is the same sentence that the API and readiness give.
//!
//! Not here: how the verdict is reached (the server decides), and changing anything.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use client::api::cluster::{ClusterStatus, ReplicaStatus, Verdict};
use client::types::ReplicaId;

use crate::backend::Backend;
use crate::format;
use crate::frame::{self, Frame, Section};
use crate::grade::Grade;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    verdict: VerdictView,
    replicas: Vec<ReplicaRow>,
}

struct VerdictView {
    grade: Grade,
    sentence: String,
    reasons: Vec<String>,
    tolerance: String,
}

struct ReplicaRow {
    grade: Grade,
    id: String,
    is_here: bool,
    role: String,
    state: &'static str,
    addr: String,
    zone: String,
    behind: String,
    heard: String,
    sync: String,
    free: String,
    version: String,
}

const NOTHING: &str = "–";

impl From<&ClusterStatus> for Overview {
    fn from(status: &ClusterStatus) -> Self {
        let here = status.this_replica;
        Self {
            frame: Frame::of(status, Section::Overview),
            verdict: VerdictView::from(&status.verdict),
            replicas: status.replicas.iter().map(|replica| row(replica, here)).collect(),
        }
    }
}

impl From<&Verdict> for VerdictView {
    fn from(verdict: &Verdict) -> Self {
        Self {
            grade: Grade::of(verdict),
            sentence: format::visible(&verdict.sentence),
            reasons: verdict.reasons.iter().map(|reason| format::visible(reason)).collect(),
            tolerance: format::count(verdict.tolerance.into()),
        }
    }
}

fn row(replica: &ReplicaStatus, here: Option<ReplicaId>) -> ReplicaRow {
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let behind = replica.lag.map(|lag| match lag.entries {
        1 => "1 entry".to_owned(),
        entries => format!("{} entries", format::count(entries)),
    });
    let heard = replica.heard_ms_ago.map(|millis| format!("{} ago", format::age(millis)));
    let zone = Some(format::visible(&replica.zone)).filter(|zone| !zone.is_empty());
    let (grade, state) = match (replica.is_reachable, replica.heard_ms_ago) {
        (true, _) => (Grade::Ok, "answers"),
        (false, Some(_)) => (Grade::Warn, "does not answer"),
        (false, None) => (Grade::Unknown, "not heard of yet"),
    };
    ReplicaRow {
        grade,
        state,
        id: replica.id.to_string(),
        is_here: Some(replica.id) == here,
        role: replica.role.to_string(),
        addr: replica.addr.to_string(),
        zone: or_nothing(zone),
        behind: or_nothing(behind),
        heard: or_nothing(heard),
        sync: or_nothing(replica.sync.map(|sync| format::millis(sync.p99_us))),
        free: or_nothing(replica.free_bytes.map(format::size)),
        version: or_nothing(replica.version.as_deref().map(format::visible)),
    }
}

/// The page.
pub(crate) async fn show<B: Backend>(State(backend): State<B>) -> Response {
    let made = backend.status().await;
    frame::page_or_problem(&backend, made.as_ref().map(Overview::from).map_err(Clone::clone)).await
}
