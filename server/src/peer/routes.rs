//! Answers a peer.
//!
//! The listener of these routes is never shared with clients.
//!
//! Not here: who is let in (`reception`).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use client::types::{EntryIndex, ReplicaAddr, ReplicaId};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;

use super::client::Peers;
use super::codec::Message;
use super::farewell::IsRemoved;
use super::intake::MESSAGE_BYTES_MAX;
use super::paths;
use super::reach::{RoundTrip, round_trip};
use super::reception::{NoAnswer, Reception, answer, answer_in_parts};
use super::transfer::Transfers;
use super::transfer::wire::{
    ConfirmedAnswer, KeptQuestion, ManifestQuestion, Offer, RecordsQuestion, TilesQuestion,
};
use super::transport::Http;
use crate::metrics::Metrics;
use crate::raft::Raft;
use crate::raft::types::{AppendRequest, RaftEntry, RaftPayload, TransferRequest, VoteRequest};
use crate::storage::state::State as Kept;

/// The longest entry that one message can carry to another replica. What is longer never gets there, so
/// none may be proposed.
pub const ENTRY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64 * 1024;

/// What answers the others.
#[derive(Clone)]
pub struct Desk {
    reception: Reception,
    /// Our part in the agreement.
    raft: Raft,
    /// What this replica holds.
    state: Kept,
    /// Takes offers, and serves parts of the state.
    transfers: Transfers,
}

/// The routes that only peers may use.
pub fn router(desk: Desk) -> Router {
    Router::new()
        .route(paths::INTRODUCE, post(introduce))
        .route(paths::APPEND, post(append))
        .route(paths::VOTE, post(vote))
        .route(paths::PRE_VOTE, post(pre_vote))
        .route(paths::TAKE_LEADERSHIP, post(take_leadership))
        .route(paths::READ_INDEX, post(read_index))
        .route(paths::ATTESTATION, post(attestation))
        .route(paths::ROLLING_DIGEST, post(rolling_digest))
        .route(paths::REACH, post(reach))
        .route(paths::OFFER, post(offer))
        .route(paths::MANIFEST, post(manifest))
        .route(paths::CONFIRMED, post(confirmed))
        .route(paths::KEPT, post(kept))
        .route(paths::TILES, post(tiles))
        .route(paths::RECORDS, post(records))
        .route(paths::ENTRIES, post(entries))
        .route(paths::FAREWELL, post(farewell))
        .route(paths::PRESENT, post(present))
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(MESSAGE_BYTES_MAX))
        // Broken code in one answer does not cost the connection that all others share.
        .layer(CatchPanicLayer::new())
        .with_state(desk)
}

impl Desk {
    /// Answers for these.
    pub fn new(
        peers: Peers<Http>,
        raft: Raft,
        state: Kept,
        transfers: Transfers,
        is_removed: Arc<IsRemoved>,
        metrics: Metrics,
    ) -> Self {
        Self { reception: Reception::new(peers, metrics, is_removed), raft, state, transfers }
    }

    fn peers(&self) -> &Peers<Http> {
        &self.reception.peers
    }

    async fn receive<M: Message>(&self, body: Body) -> Result<M, NoAnswer> {
        self.reception.receive(body).await
    }

    /// Whether a replica may be one of the group: it is as far as is known here, or knows of a newer membership. Whoever
    /// was away while the others were replaced, or is new itself, does not know of those who lead by now.
    fn may_be_member(&self, replica: ReplicaId, epoch: Option<EntryIndex>) -> bool {
        let membership = self.raft.membership();
        let membership = membership.borrow();
        let nodes = &membership.row.nodes;
        let known = membership.entry.map(|entry| entry.index);
        nodes.is_empty() || nodes.contains_key(&replica.get()) || epoch > known
    }
}

async fn introduce(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    desk.reception.introduce(body, |replica, epoch| desk.may_be_member(replica, epoch)).await
}

async fn farewell(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let (sender, ()) = desk.reception.listen_to(body).await?;
    desk.peers().hear_farewell(sender.replica);
    Ok(answer(&()))
}

async fn present(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    desk.reception.present(body).await
}

async fn entries(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    desk.reception.entries(body).await
}

fn is_append(entry: &RaftEntry) -> bool {
    matches!(&entry.payload, RaftPayload::Normal(payload) if payload.is_append())
}

async fn append(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let request: AppendRequest = desk.receive(body).await?;
    // The leader comes back with it later. Whatever else it sends is small, and may be the trim that makes room.
    if desk.peers().is_brimful() && request.entries.iter().any(is_append) {
        return Err(NoAnswer::Unavailable);
    }
    let response = desk.raft.append_entries(request).await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&response))
}

async fn vote(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let request: VoteRequest = desk.receive(body).await?;
    let response = desk.raft.vote(request).await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&response))
}

async fn pre_vote(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let request: VoteRequest = desk.receive(body).await?;
    let response = desk.raft.pre_vote(request).await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&response))
}

async fn take_leadership(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let request: TransferRequest = desk.receive(body).await?;
    // Whose state is wrong leads nobody.
    if desk.state.is_diverged() {
        return Err(NoAnswer::Unavailable);
    }
    let response = desk.raft.take_leadership(request).await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&response))
}

async fn read_index(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let () = desk.receive(body).await?;
    let index = desk.raft.read_index().await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&index))
}

async fn attestation(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let checkpoint: EntryIndex = desk.receive(body).await?;
    let applied = *desk.raft.applied().borrow();
    Ok(answer(&desk.state.attestation(checkpoint, applied)))
}

async fn rolling_digest(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let entry: EntryIndex = desk.receive(body).await?;
    Ok(answer(&desk.state.rolling_digest(entry)))
}

async fn reach(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let addr: ReplicaAddr = desk.receive(body).await?;
    Ok(answer(&RoundTrip(round_trip(desk.peers().clock(), &addr).await)))
}

async fn offer(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let (sender, offer): (_, Offer) = desk.reception.receive_from(body).await?;
    Ok(answer(&desk.transfers.receiver().offered(sender, offer).await))
}

async fn manifest(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let question: ManifestQuestion = desk.receive(body).await?;
    Ok(answer(&desk.peers().shelf().part(question)))
}

async fn confirmed(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let () = desk.reception.receive(body).await?;
    // Whoever is known to be wrong is no witness.
    if desk.state.is_diverged() {
        return Err(NoAnswer::Unavailable);
    }
    Ok(answer(&ConfirmedAnswer(desk.state.confirmed())))
}

async fn kept(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let question: KeptQuestion = desk.receive(body).await?;
    let part = desk.transfers.server().kept(question).await.ok_or(NoAnswer::Unavailable)?;
    Ok(answer(&part))
}

async fn tiles(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let question: TilesQuestion = desk.receive(body).await?;
    let hashes = desk.transfers.server().tiles(question).await.ok_or(NoAnswer::Unavailable)?;
    Ok(answer(&hashes))
}

async fn records(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let question: RecordsQuestion = desk.receive(body).await?;
    let records = desk.transfers.server().records(question).await.ok_or(NoAnswer::Unavailable)?;
    Ok(answer_in_parts(records.into_parts()))
}
