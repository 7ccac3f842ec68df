//! One change of the membership: its steps, what it waits for, how far a transfer is, and what came of it.
//!
//! What a change waits for is known to the leader. Without one the page shows what this replica has applied, and says
//! so. A transfer is held, or slowed, by whoever receives it, so that is asked.
//!
//! Not here: beginning one (`plan`).

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use client::api::changes::{Change, ChangeStage, ChangesQuery, StepState};
use client::api::cluster::ClusterStatus;
use client::api::error::{ErrorCode, Problem};
use client::api::transfers::{
    TransferChange, TransferDirection, TransferInfo, TransferList, TransferStage,
};
use client::types::{ChangeId, ReplicaId};
use serde::Deserialize;

use super::changes::{author, grade};
use super::logs::field;
use super::{joiners, wish};
use crate::asked::Sent;
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

/// State on its way to somebody who comes.
struct TransferRow {
    to: ReplicaId,
    /// What whoever receives it calls it; nobody else can hold it.
    id: Option<String>,
    is_paused: bool,
    /// How fast it may go at most, as it is typed.
    limit: String,
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
    /// The row of this transfer to that replica.
    fn of(to: ReplicaId, transfer: &TransferInfo) -> Self {
        let is_received = transfer.direction == TransferDirection::Receiving;
        let done = format::size(transfer.bytes_done);
        let of = transfer.bytes_total.map(|total| format!(" of {}", format::size(total)));
        let rate = format!(" · {}/s", format::size(transfer.bytes_per_second));
        let left = transfer.seconds_left.map(|left| format!(" · {} left", format::clock(left)));
        // What is held goes nowhere, whatever it did before.
        let pace =
            if transfer.is_paused { String::new() } else { rate + &left.unwrap_or_default() };
        Self {
            to,
            id: is_received.then(|| format::visible(&transfer.id)),
            is_paused: transfer.is_paused,
            limit: transfer.bytes_per_second_max.map(format::exact_size).unwrap_or_default(),
            stage: match transfer.stage {
                _ if transfer.is_paused => "paused",
                TransferStage::Offered => "the state is offered",
                TransferStage::Comparing => "looking for what is lacking",
                TransferStage::Fetching => "fetching records",
                TransferStage::Installing => "putting all in place",
                TransferStage::Done => "done",
                TransferStage::Failed => "came to nothing",
            },
            done: transfer.bytes_done,
            total: transfer.bytes_total.filter(|total| *total > 0),
            figures: format!("{done}{}{pace}", of.unwrap_or_default()),
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
    fn of(status: &ClusterStatus, change: &Change, transfers: Vec<TransferRow>) -> Self {
        let replicas =
            |ids: &[_]| if ids.is_empty() { "nobody".to_owned() } else { format::list(ids) };
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
            transfers,
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
        let mut page = ChangePage::of(&status, &known_here(backend, id).await?, Vec::new());
        let detail = "This is what this replica knows. Who leads next goes on with it.";
        page.notice = Some(Notice::new(Grade::Unknown, "There is no leader at the moment", detail));
        return Ok(page);
    }
    let change = backend.change(id).await?;
    let mut transfers = Vec::new();
    if change.stage == ChangeStage::Joining {
        for joins in &change.joins {
            transfers.extend(transfer(backend, &status, *joins).await);
        }
    }
    Ok(ChangePage::of(&status, &change, transfers))
}

/// The transfer of state to a replica that is under way: as it tells itself, or else as far as the leader knows.
async fn transfer<B: Backend>(
    backend: &B,
    status: &ClusterStatus,
    to: ReplicaId,
) -> Option<TransferRow> {
    let told = backend.transfers(to).await.ok();
    let is_received = |it: &TransferInfo| it.direction == TransferDirection::Receiving;
    if let Some(found) = told.and_then(|list| under_way(list, is_received)) {
        return Some(TransferRow::of(to, &found));
    }
    let is_offered =
        |it: &TransferInfo| it.direction == TransferDirection::Offering && it.peer == to;
    let told = backend.transfers(status.leader?).await.ok()?;
    under_way(told, is_offered).map(|found| TransferRow::of(to, &found))
}

fn under_way(list: TransferList, is_it: impl Fn(&TransferInfo) -> bool) -> Option<TransferInfo> {
    list.transfers.into_iter().find(|one| one.ended.is_none() && is_it(one))
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
        backend.cancel_change(number).await.map(drop)
    };
    answer(&backend, &id, cancelled.await).await
}

/// The fields of the form that holds a transfer, lets it go on, or says how fast it may go.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SentPace {
    #[serde(default)]
    replica: String,
    #[serde(default)]
    transfer: String,
    /// What is to be done: `pause`, `resume` or `limit`.
    #[serde(default)]
    pace: String,
    #[serde(default)]
    limit: String,
}

impl SentPace {
    /// Which transfer is meant, and what is to be different.
    fn change(&self) -> Result<(ReplicaId, TransferChange), Box<Problem>> {
        let wrong = |code: ErrorCode| Box::new(Problem::new(code));
        let replica = self.replica.parse().map_err(|_none| wrong(ErrorCode::UnknownReplica))?;
        let paused = |paused| TransferChange { paused: Some(paused), bytes_per_second: None };
        let change = match self.pace.as_str() {
            "pause" => paused(true),
            "resume" => paused(false),
            "limit" => TransferChange { bytes_per_second: Some(rate(&self.limit)?), paused: None },
            other => {
                let detail = format!("pace: {other:?} is none of pause, resume and limit");
                return Err(Box::new(Problem::new(ErrorCode::InvalidBody).with_detail(detail)));
            }
        };
        Ok((replica, change))
    }
}

/// Bytes a second as they are typed; nothing typed is no limit.
fn rate(text: &str) -> Result<Option<u64>, Box<Problem>> {
    field("Bytes a second", text, format::parse_size, "20 MiB")
}

/// The form: changes the pace of a transfer.
pub(crate) async fn turn<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    Path(id): Path<String>,
    Sent(sent): Sent<SentPace>,
) -> Response {
    let turned = match sent.change() {
        Ok((replica, change)) => {
            backend.turn_transfer(replica, &sent.transfer, change).await.map(drop)
        }
        Err(problem) => Err(*problem),
    };
    answer(&backend, &id, turned).await
}

/// A page that says why something was refused stands at the address of its form. Loaded again, it is the page itself.
pub(crate) async fn back(Path(id): Path<ChangeId>) -> Redirect {
    Redirect::to(&format!("/changes/{id}"))
}

/// The page of the change, after something was done about it; or why it was not.
async fn answer<B: Backend>(backend: &B, id: &str, done: Answer<()>) -> Response {
    let problem = match (done, id.parse::<ChangeId>()) {
        (Ok(()), Ok(id)) => return Redirect::to(&format!("/changes/{id}")).into_response(),
        (Ok(()), Err(_no_number)) => unknown(),
        (Err(problem), _) => problem,
    };
    match change(backend, id).await {
        Ok(mut page) => {
            page.notice = Some(Notice::refused(&problem));
            frame::page(error::status(Some(&problem)), &page)
        }
        Err(_) => error::of_problem(backend, &problem).await,
    }
}
