//! Replicas: all of them with what can be done, and who waits to join.
//!
//! Not here: one of them (`replica`), and doing it (`plan`).

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::joiners::{self, JoinerRow, UnderWay};
use crate::backend::{Answer, Backend};
use crate::format;
use crate::frame::{self, Frame, Section};
use crate::replica::ReplicaRow;

#[derive(Template)]
#[template(path = "replicas.html")]
struct ReplicasPage {
    frame: Frame,
    replicas: Vec<ReplicaRow>,
    joiners: Vec<JoinerRow>,
    under_way: Option<UnderWay>,
    /// Where a process that wants to join may ask.
    front: String,
}

async fn replicas<B: Backend>(backend: &B) -> Answer<ReplicasPage> {
    let status = backend.status().await?;
    let here = status.replicas.iter().find(|replica| Some(replica.id) == status.this_replica);
    Ok(ReplicasPage {
        front: here.map_or_else(String::new, |here| format::visible(here.addr.as_str())),
        under_way: joiners::under_way(backend, &status).await,
        joiners: joiners::rows(&status),
        replicas: ReplicaRow::all(&status),
        frame: Frame::of(&status, Section::Replicas),
    })
}

/// The page.
pub(crate) async fn show<B: Backend>(State(backend): State<B>) -> Response {
    frame::page_or_problem(&backend, replicas(&backend).await).await
}
