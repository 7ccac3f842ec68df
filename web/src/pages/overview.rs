//! Overview: can it take appends, and how many may fail.
//!
//! The verdict comes first and is the same sentence that the API and readiness give. The title of the
//! tab begins with it, so that a page in the background tells as well. The page asks again by itself
//! every few seconds, without script.
//!
//! Not here: how the verdict is reached (the server decides), and changing anything.

use askama::Template;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use client::api::cluster::{ClusterStatus, ReplicaStatus, Verdict};
use client::types::ReplicaId;
use http::StatusCode;

use crate::backend::Backend;
use crate::error;
use crate::format;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    state: &'static str,
    verdict: VerdictView,
    cluster: Option<String>,
    here: Option<String>,
    replicas: Vec<ReplicaRow>,
    epoch: Option<String>,
    term: String,
    as_of: String,
    version: &'static str,
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

/// How good something is, as class, mark and word: never by colour alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grade {
    Ok,
    Warn,
    Bad,
    Unknown,
}

impl Grade {
    fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Ok => "●",
            Self::Warn => "▲",
            Self::Bad => "■",
            Self::Unknown => "◌",
        }
    }
}

const NOTHING: &str = "–";

impl From<ClusterStatus> for Overview {
    fn from(status: ClusterStatus) -> Self {
        let verdict = VerdictView::from(&status.verdict);
        let here = status.this_replica;
        let state = if status.verdict.can_append { "Taking appends" } else { "Not taking appends" };
        Self {
            state,
            replicas: status.replicas.iter().map(|replica| row(replica, here)).collect(),
            verdict,
            cluster: status.cluster.map(|cluster| cluster.to_string()),
            here: here.map(|here| here.to_string()),
            epoch: status.epoch.map(|epoch| format::count(epoch.get())),
            term: format::count(status.term.get()),
            as_of: status.as_of.to_string(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl From<&Verdict> for VerdictView {
    fn from(verdict: &Verdict) -> Self {
        let grade = match (verdict.can_append, verdict.tolerance) {
            (false, _) => Grade::Bad,
            (true, 0) => Grade::Warn,
            (true, _) => Grade::Ok,
        };
        Self {
            grade,
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
    let page = match backend.status().await {
        Ok(status) => Overview::from(status),
        Err(problem) => {
            let status =
                StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let detail = format::visible(problem.detail.as_deref().unwrap_or(""));
            return error::page(status, &problem.title, &detail);
        }
    };
    match page.render() {
        Ok(body) => Html(body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
