//! Overview: can it take appends, how many may fail, who waits to join, what is under way, and what was done last.
//!
//! The verdict comes first and is the same sentence that the API and readiness give.
//!
//! Not here: how the verdict is reached (the server decides), and changing anything.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use client::api::cluster::{ClusterStatus, Verdict};

use super::activity;
use super::acts::ActRow;
use super::joiners::{self, JoinerRow, Proposal, UnderWay};
use crate::backend::{Answer, Backend};
use crate::format;
use crate::frame::{self, Frame, Section};
use crate::grade::Grade;
use crate::replica::ReplicaRow;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    verdict: VerdictView,
    under_way: Option<UnderWay>,
    proposal: Option<Proposal>,
    joiners: Vec<JoinerRow>,
    replicas: Vec<ReplicaRow>,
    leader: Option<String>,
    latest: Vec<ActRow>,
}

pub(crate) struct VerdictView {
    pub(crate) grade: Grade,
    pub(crate) sentence: String,
    pub(crate) reasons: Vec<String>,
    pub(crate) tolerance: String,
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

async fn overview<B: Backend>(backend: &B) -> Answer<Overview> {
    let status: ClusterStatus = backend.status().await?;
    Ok(Overview {
        verdict: VerdictView::from(&status.verdict),
        under_way: joiners::under_way(backend, &status).await,
        proposal: status.replacement.as_ref().map(Proposal::from),
        joiners: joiners::rows(&status),
        replicas: ReplicaRow::all(&status),
        leader: status.leader.map(|leader| leader.to_string()),
        latest: activity::latest(backend).await,
        frame: Frame::of(&status, Section::Overview),
    })
}

/// The page.
pub(crate) async fn show<B: Backend>(State(backend): State<B>) -> Response {
    frame::page_or_problem(&backend, overview(&backend).await).await
}
