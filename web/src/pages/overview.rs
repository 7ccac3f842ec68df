//! Overview: can it take appends, how many may fail, who waits to join, what is under way, and what was done last.
//!
//! The verdict comes first and is the same sentence that the API and readiness give.
//!
//! Not here: how the verdict is reached (the server decides), and changing anything.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use client::api::cluster::{ClusterStatus, Verdict};
use client::api::performance::{PerformancePoint, Step};

use super::activity;
use super::acts::ActRow;
use super::joiners::{self, JoinerRow, Proposal, UnderWay};
use crate::asked::Door;
use crate::backend::{Answer, Backend};
use crate::charts::Spark;
use crate::format;
use crate::frame::{self, Frame, Section};
use crate::grade::Grade;
use crate::replica::ReplicaRow;

/// So many seconds of the leader's figures are shown.
const SHOWN_POINTS: usize = 60;

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
    pulse: Option<Pulse>,
    /// The beginning of a command that finds this replica.
    command: String,
}

/// What the leader did in the last minute.
struct Pulse {
    leader: String,
    sparks: [Spark; 3],
    /// The page that tells more, at the leader.
    more: String,
}

impl Pulse {
    /// That of the leader, if there is one who tells it.
    async fn of<B: Backend>(backend: &B, status: &ClusterStatus) -> Option<Self> {
        let leader = status.replicas.iter().find(|one| Some(one.id) == status.leader)?;
        if !leader.is_reachable {
            return None;
        }
        let of = Some(leader.id).filter(|_| status.this_replica != status.leader);
        let mut points = backend.performance(of, Step::Second).await.ok()?.points;
        points.drain(..points.len().saturating_sub(SHOWN_POINTS));
        let values = |value: fn(&PerformancePoint) -> Option<u64>| -> Vec<Option<u64>> {
            points.iter().map(value).collect()
        };
        let appends = values(|point| Some(point.appends));
        let took = values(|point| point.append.map(|took| took.p99_us));
        let behind = values(|point| point.lag_max);
        let page = if of.is_some() { leader.addr.as_str().trim_end_matches('/') } else { "" };
        Some(Self {
            leader: leader.id.to_string(),
            sparks: [
                Spark::new("appends", "Appends", &appends, |n| format!("{}/s", format::count(n))),
                Spark::new("took", "Append p99", &took, format::millis),
                Spark::new("behind", "Slowest behind", &behind, |n| {
                    format::counted(n, "entry", "entries")
                }),
            ],
            more: format!("{page}/performance"),
        })
    }
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

async fn overview<B: Backend>(backend: &B, door: &Door) -> Answer<Overview> {
    let status: ClusterStatus = backend.status().await?;
    Ok(Overview {
        verdict: VerdictView::from(&status.verdict),
        under_way: joiners::under_way(backend, &status).await,
        proposal: status.replacement.as_ref().map(Proposal::from),
        joiners: joiners::rows(&status),
        replicas: ReplicaRow::all(&status),
        leader: status.leader.map(|leader| leader.to_string()),
        latest: activity::latest(backend).await,
        pulse: Pulse::of(backend, &status).await,
        command: door.command(),
        frame: Frame::of(&status, Section::Overview),
    })
}

/// The page.
pub(crate) async fn show<B: Backend>(State(backend): State<B>, door: Door) -> Response {
    frame::page_or_problem(&backend, overview(&backend, &door).await).await
}
