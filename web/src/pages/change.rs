//! One change of the membership: its steps, what it waits for, how far a transfer is, and what came of it.
//!
//! What a change waits for is known to the leader. Without one the page shows what this replica has applied, and says
//! so.
//!
//! Not here: beginning one (`plan`).

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use client::api::changes::{Change, ChangeStage, ChangesQuery, StepState};
use client::api::cluster::ClusterStatus;
use client::api::error::{ErrorCode, Problem};
use client::api::transfers::{TransferInfo, TransferStage};
use client::types::ChangeId;
use http::StatusCode;

use super::changes::{author, grade};
use super::{joiners, wish};
use crate::backend::{Answer, Backend};
use crate::error;
use crate::format;
use crate::frame::{self, Frame, Notice, Section};
use crate::grade::Grade;
use crate::viewer::OnBehalf;

#[derive(Template)]
#[template(path = "change.html")]
struct ChangePage {
    frame: Frame,
    notice: Option<Notice>,
    id: ChangeId,
    title: String,
    grade: Grade,
    stage: ChangeStage,
    outcome: Option<String>,
    waits_for: Option<String>,
    steps: Vec<StepRow>,
    transfers: Vec<TransferRow>,
    overrides: Vec<OverrideRow>,
    began: String,
    took: Option<String>,
    by: String,
    epoch: String,
    joins: String,
    leaves: String,
    voters: String,
    can_cancel: bool,
    /// Whoever left and can be forgotten.
    left: Option<String>,
}

struct StepRow {
    name: String,
    class: &'static str,
    mark: &'static str,
    state: &'static str,
}

struct TransferRow {
    to: String,
    stage: &'static str,
    done: u64,
    total: Option<u64>,
    figures: String,
    waits_for: Option<String>,
}

struct OverrideRow {
    check: String,
    typed: String,
    reason: String,
}

impl TransferRow {
    fn of(transfer: &TransferInfo) -> Self {
        let done = format::size(transfer.bytes_done);
        let of = transfer.bytes_total.map(|total| format!(" of {}", format::size(total)));
        let rate = format!(" · {}/s", format::size(transfer.bytes_per_second));
        let left = transfer.seconds_left.map(|left| format!(" · {} left", format::clock(left)));
        Self {
            to: transfer.peer.to_string(),
            stage: match transfer.stage {
                TransferStage::Offered => "the state is offered",
                TransferStage::Comparing => "looking for what is lacking",
                TransferStage::Fetching => "fetching records",
                TransferStage::Installing => "putting all in place",
                TransferStage::Done => "done",
                TransferStage::Failed => "came to nothing",
            },
            done: transfer.bytes_done,
            total: transfer.bytes_total.filter(|total| *total > 0),
            figures: format!("{done}{}{rate}{}", of.unwrap_or_default(), left.unwrap_or_default()),
            waits_for: transfer.waits_for.as_deref().map(format::visible),
        }
    }
}

fn step(step: &client::api::changes::ChangeStep) -> StepRow {
    let (class, mark, state) = match step.state {
        StepState::Done => ("done", "●", "done"),
        StepState::Active => ("active", "▶", "under way"),
        StepState::Waiting => ("waiting", "○", "to come"),
        StepState::Skipped => ("skipped", "–", "not needed"),
    };
    StepRow { name: format::visible(&step.name), class, mark, state }
}

impl ChangePage {
    fn of(status: &ClusterStatus, change: &Change, transfers: &[TransferInfo]) -> Self {
        let replicas =
            |ids: &[_]| if ids.is_empty() { "nobody".to_owned() } else { format::list(ids) };
        let is_ours = |transfer: &&TransferInfo| {
            transfer.ended.is_none() && change.joins.contains(&transfer.peer)
        };
        let has_left = change.stage == ChangeStage::Done && !change.leaves.is_empty();
        Self {
            frame: Frame::of(status, Section::Replicas),
            notice: None,
            id: change.id,
            title: wish::in_words(&change.wish),
            grade: grade(change),
            stage: change.stage,
            outcome: change.outcome.as_deref().map(format::visible),
            waits_for: change.waits_for.as_deref().map(format::visible),
            steps: change.steps.iter().map(step).collect(),
            transfers: transfers.iter().filter(is_ours).map(TransferRow::of).collect(),
            overrides: change
                .overrides
                .iter()
                .map(|one| OverrideRow {
                    check: one.check.to_string(),
                    typed: format::visible(one.typed.as_str()),
                    reason: format::visible(one.reason.as_str()),
                })
                .collect(),
            began: format::moment(change.began),
            took: change.ended.map(|ended| format::between(change.began, ended)),
            by: author(change),
            epoch: format::count(change.epoch.get()),
            joins: replicas(&change.joins),
            leaves: replicas(&change.leaves),
            voters: replicas(&change.voters),
            can_cancel: change.can_cancel,
            left: has_left.then(|| format::list(&change.leaves)),
        }
    }
}

fn unknown() -> Problem {
    Problem::new(ErrorCode::UnknownChange)
}

/// The change as far as this replica knows.
async fn known_here<B: Backend>(backend: &B, id: ChangeId) -> Answer<Change> {
    let before = Some(ChangeId::new(id.get().saturating_add(1)));
    let list = backend.changes(ChangesQuery { before, limit: Some(1) }).await?;
    list.changes.into_iter().find(|change| change.id == id).ok_or_else(unknown)
}

async fn change<B: Backend>(backend: &B, id: &str) -> Answer<ChangePage> {
    let id: ChangeId = id.parse().map_err(|_no_number| unknown())?;
    let status = backend.status().await?;
    if !joiners::has_leader(&status) {
        let mut page = ChangePage::of(&status, &known_here(backend, id).await?, &[]);
        let detail = "This is what this replica knows. Who leads next goes on with it.";
        page.notice = Some(Notice::new(Grade::Unknown, "There is no leader at the moment", detail));
        return Ok(page);
    }
    let change = backend.change(id).await?;
    let transfers = match change.stage {
        ChangeStage::Joining => backend.transfers().await.map(|list| list.transfers),
        ChangeStage::Joint
        | ChangeStage::Leaving
        | ChangeStage::Done
        | ChangeStage::Cancelling
        | ChangeStage::Cancelled => Ok(Vec::new()),
    };
    Ok(ChangePage::of(&status, &change, &transfers.unwrap_or_default()))
}

/// The page.
pub(crate) async fn show<B: Backend>(State(backend): State<B>, Path(id): Path<String>) -> Response {
    frame::page_or_problem(&backend, change(&backend, &id).await).await
}

/// The form: gives the change up.
pub(crate) async fn cancel<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    Path(id): Path<String>,
) -> Response {
    let cancelled = async {
        let number = id.parse().map_err(|_no_number| unknown())?;
        backend.cancel_change(number).await
    };
    let problem = match cancelled.await {
        Ok(change) => return Redirect::to(&format!("/changes/{}", change.id)).into_response(),
        Err(problem) => problem,
    };
    match change(&backend, &id).await {
        Ok(mut page) => {
            page.notice = Some(Notice::refused(&problem));
            let status = StatusCode::from_u16(problem.status);
            frame::page(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &page)
        }
        Err(_) => error::of_problem(&backend, &problem).await,
    }
}
