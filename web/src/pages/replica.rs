//! One replica: what it waits for, how far it is, and what can be done with it.
//!
//! Not here: doing it (`plan`).

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use client::api::cluster::{ClusterStatus, ReplicaStatus, Role};
use client::api::error::{ErrorCode, Problem};
use client::types::ReplicaId;

use crate::backend::{Answer, Backend};
use crate::format;
use crate::frame::{self, Frame, Section};
use crate::grade::Grade;
use crate::replica::{ReplicaRow, or_nothing, remarks};

#[derive(Template)]
#[template(path = "replica.html")]
struct ReplicaPage {
    frame: Frame,
    title: String,
    row: ReplicaRow,
    remarks: Vec<(Grade, String)>,
    peer_addr: String,
    tail: String,
    applied: String,
    sync_half: String,
    start: String,
    digest: Option<DigestView>,
    can_lead: bool,
    /// Whether another one would be left.
    can_leave: bool,
}

/// What makes its state comparable with another's.
struct DigestView {
    entry: String,
    rolling: String,
}

impl ReplicaPage {
    fn of(status: &ClusterStatus, replica: &ReplicaStatus) -> Self {
        Self {
            frame: Frame::of(status, Section::Replicas),
            title: format!("Replica {}", replica.id),
            row: ReplicaRow::of(replica, status.this_replica),
            remarks: remarks(replica),
            peer_addr: format::visible(replica.peer_addr.as_str()),
            tail: or_nothing(replica.tail.map(|tail| format::count(tail.get()))),
            applied: or_nothing(replica.applied.map(|applied| format::count(applied.get()))),
            sync_half: or_nothing(replica.sync.map(|sync| format::millis(sync.p50_us))),
            start: or_nothing(replica.start.map(format::count)),
            digest: replica.digest.as_ref().map(|digest| DigestView {
                entry: format::count(digest.entry.get()),
                rolling: digest.rolling.to_string(),
            }),
            can_lead: replica.role.is_voter() && replica.role != Role::Leader,
            can_leave: status.replicas.len() > 1,
        }
    }
}

async fn replica<B: Backend>(backend: &B, id: &str) -> Answer<ReplicaPage> {
    let status = backend.status().await?;
    let id: Option<ReplicaId> = id.parse().ok();
    let found = status.replicas.iter().find(|replica| Some(replica.id) == id);
    let unknown = || {
        let gone = "It may have left: its change tells.";
        Problem::new(ErrorCode::UnknownReplica).with_detail(gone)
    };
    found.map(|replica| ReplicaPage::of(&status, replica)).ok_or_else(unknown)
}

/// The page.
pub(crate) async fn show<B: Backend>(State(backend): State<B>, Path(id): Path<String>) -> Response {
    frame::page_or_problem(&backend, replica(&backend, &id).await).await
}
