//! Activity: who did what, when, from where, and what came of it, newest first.
//!
//! Every replica tells it as far as it knows, also without a leader.
//!
//! Not here: how an act is put into words (`acts`).

use askama::Template;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use client::api::activity::{ActKind, ActivityQuery};
use client::api::error::{ErrorCode, Problem};
use client::api::reading::Consistency;
use client::types::Position;

use super::acts::ActRow;
use crate::asked::Door;
use crate::backend::{Answer, Backend};
use crate::fields::{Fields, query};
use crate::frame::{self, Frame, Section};

/// So many stand on one page.
const PAGE: u32 = 50;
/// So many stand on a page about something else.
const LATEST: u32 = 4;

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    frame: Frame,
    acts: Vec<ActRow>,
    kinds: Vec<KindLink>,
    /// The newest ones stand here, and stay up to date.
    is_newest: bool,
    is_of_one_kind: bool,
    /// The page that goes on, if there is more.
    older: Option<String>,
    /// The first page.
    newest: String,
    command: String,
    url: String,
}

/// A kind of acts that can be shown alone.
struct KindLink {
    name: String,
    path: String,
    is_shown: bool,
}

/// The page of these.
fn page_of(kind: Option<ActKind>, before: Option<Position>) -> String {
    let kind = kind.map(|kind| ("kind", kind.to_string()));
    let before = before.map(|before| ("before", before.to_string()));
    let fields: Vec<_> = [kind, before].into_iter().flatten().collect();
    let fields = query(fields.iter().map(|(name, value)| (*name, value.as_str())));
    if fields.is_empty() { "/activity".to_owned() } else { format!("/activity?{fields}") }
}

fn kinds(shown: Option<ActKind>) -> Vec<KindLink> {
    let all = std::iter::once(None).chain(ActKind::ALL.into_iter().map(Some));
    all.map(|kind| KindLink {
        name: kind.map_or_else(|| "all".to_owned(), |kind| kind.name().replace('_', " ")),
        path: page_of(kind, None),
        is_shown: kind == shown,
    })
    .collect()
}

/// What an address asks for.
fn asked(said: &Fields) -> Result<ActivityQuery, String> {
    let kind = said.get("kind").map(str::parse::<ActKind>).transpose();
    let before = said.get("before").map(str::parse::<Position>).transpose();
    Ok(ActivityQuery {
        kind: kind.map_err(|wrong| format!("kind: {wrong}"))?,
        before: before.map_err(|wrong| format!("before: {wrong}"))?,
        limit: Some(PAGE),
        consistency: Consistency::Local,
    })
}

async fn activity<B: Backend>(backend: &B, said: &Fields, door: &Door) -> Answer<ActivityPage> {
    let query = asked(said)
        .map_err(|wrong| Problem::new(ErrorCode::InvalidParameter).with_detail(wrong))?;
    let list = backend.activity(query).await?;
    Ok(ActivityPage {
        frame: Frame::now(backend, Section::Activity).await?,
        acts: list.activity.iter().map(ActRow::from).collect(),
        kinds: kinds(query.kind),
        is_newest: query.before.is_none(),
        is_of_one_kind: query.kind.is_some(),
        older: list.next.map(|next| page_of(query.kind, Some(next))),
        newest: page_of(query.kind, None),
        command: door.command(),
        url: door.url(),
    })
}

/// The last ones, for a page that has more to say; none if nobody can tell.
pub(crate) async fn latest<B: Backend>(backend: &B) -> Vec<ActRow> {
    let query = ActivityQuery {
        limit: Some(LATEST),
        consistency: Consistency::Local,
        ..ActivityQuery::default()
    };
    let list = backend.activity(query).await.unwrap_or_default();
    list.activity.iter().map(ActRow::from).collect()
}

/// The page.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    OriginalUri(uri): OriginalUri,
    door: Door,
) -> Response {
    let made = activity(&backend, &Fields::of_query(&uri), &door).await;
    frame::page_or_problem(&backend, made).await
}
