//! Changes of the membership, newest first: what was wished, how far it came, and what came of it.
//!
//! Every replica tells them as far as it knows, also without a leader.
//!
//! Not here: one of them (`change`).

use askama::Template;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use client::api::changes::{Change, ChangesQuery};

use super::wish;
use crate::backend::{Answer, Backend};
use crate::fields::Fields;
use crate::format;
use crate::frame::{self, Frame, Section};
use crate::grade::Grade;
use crate::replica::or_nothing;

/// So many stand on one page.
const PAGE: u32 = 25;

#[derive(Template)]
#[template(path = "changes.html")]
struct ChangesPage {
    frame: Frame,
    changes: Vec<ChangeRow>,
    /// From where the next page goes on, if there is one.
    next: Option<String>,
}

struct ChangeRow {
    id: String,
    grade: Grade,
    what: String,
    stage: String,
    began: String,
    took: String,
    by: String,
    outcome: String,
}

/// How good a change went.
pub(super) fn grade(change: &Change) -> Grade {
    use client::api::changes::ChangeStage;
    match change.stage {
        ChangeStage::Done => Grade::Ok,
        ChangeStage::Cancelling | ChangeStage::Cancelled => Grade::Warn,
        ChangeStage::Joining | ChangeStage::Joint | ChangeStage::Leaving => Grade::Unknown,
    }
}

/// Who asked for a change, as they said, and from where it was seen.
pub(super) fn author(change: &Change) -> String {
    let from = change.from.as_deref().filter(|from| !from.is_empty());
    let from = from.map_or_else(String::new, |from| format!(" from {from}"));
    format::visible(&format!("{}{from}", change.by))
}

impl From<&Change> for ChangeRow {
    fn from(change: &Change) -> Self {
        Self {
            id: change.id.to_string(),
            grade: grade(change),
            what: wish::in_words(&change.wish),
            stage: change.stage.to_string(),
            began: format::moment(change.began),
            took: or_nothing(change.ended.map(|ended| format::between(change.began, ended))),
            by: author(change),
            outcome: or_nothing(change.outcome.as_deref().map(format::visible)),
        }
    }
}

async fn changes<B: Backend>(backend: &B, said: &Fields) -> Answer<ChangesPage> {
    // A number that makes no sense is as good as none: this is a list, and its first page is never wrong.
    let before = said.get("before").and_then(|before| before.parse().ok());
    let list = backend.changes(ChangesQuery { before, limit: Some(PAGE) }).await?;
    Ok(ChangesPage {
        frame: Frame::now(backend, Section::Replicas).await?,
        changes: list.changes.iter().map(ChangeRow::from).collect(),
        next: list.next.map(|next| next.to_string()),
    })
}

/// The page.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    OriginalUri(uri): OriginalUri,
) -> Response {
    let made = changes(&backend, &Fields::of_query(&uri)).await;
    frame::page_or_problem(&backend, made).await
}
