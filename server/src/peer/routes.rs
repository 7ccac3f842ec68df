//! Answers a peer: identity first, then the message.
//!
//! A refusal is a status and one word, is counted, and happens before anything else is decoded.
//! The listener of these routes is never shared with clients.

use std::io;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use client::types::ReplicaId;
use http::StatusCode;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;

use super::client::Peers;
use super::codec::{Introduction, Message};
use super::envelope::{Checked, Envelope, Refusal};
use super::paths;
use super::transport::Http;
use crate::metrics::Metrics;
use crate::raft::Raft;
use crate::raft::types::{AppendRequest, TransferRequest, VoteRequest};
use crate::world::tasks;

/// The most bytes of one message: a batch of the largest records, and its envelope.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest entry that one message can carry to another replica. What is longer never gets there, so
/// none may be proposed.
pub const ENTRY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64 * 1024;

/// What answers the others.
#[derive(Clone)]
pub struct Desk {
    /// Who we are, and whom we know.
    pub peers: Peers<Http>,
    /// Our part in the agreement.
    pub raft: Raft,
    /// Counts who is refused.
    pub metrics: Metrics,
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
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(MESSAGE_BYTES_MAX))
        // Broken code in one answer does not cost the connection that all others share.
        .layer(CatchPanicLayer::new())
        .with_state(desk)
}

/// Why a message has no answer.
enum NoAnswer {
    Refused(Refusal),
    Unavailable,
}

impl From<Refusal> for NoAnswer {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(refusal) => (StatusCode::FORBIDDEN, refusal.name()).into_response(),
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}

impl Desk {
    /// Takes the envelope off a message and compares it.
    fn open(&self, message: &mut Bytes) -> Result<Envelope<Checked>, NoAnswer> {
        let opened =
            Envelope::decode(message).and_then(|envelope| envelope.check(self.peers.identity()));
        opened.map_err(|refusal| self.refuse(refusal))
    }

    /// The message of a replica that is known and has accepted this start of ours.
    async fn receive<M: Message>(&self, mut message: Bytes) -> Result<M, NoAnswer> {
        let envelope = self.open(&mut message)?;
        let known = self.peers.acquaintances().check(&envelope.sender());
        let accepted = known.and_then(|()| envelope.check_accepted(self.peers.identity()));
        accepted.map_err(|refusal| self.refuse(refusal))?;
        if !self.peers.is_in_good_standing().await {
            return Err(NoAnswer::Unavailable);
        }
        M::decode_whole(message).map_err(|_| self.refuse(Refusal::Malformed))
    }

    /// Whether a replica is one of the group. A newcomer knows no group yet, and listens to whoever
    /// is of its cluster.
    fn is_member(&self, replica: ReplicaId) -> bool {
        let membership = self.raft.membership();
        let nodes = &membership.borrow().row.nodes;
        nodes.is_empty() || nodes.contains_key(&replica.get())
    }

    fn refuse(&self, refusal: Refusal) -> NoAnswer {
        self.metrics.peer_identity_refused(refusal.name());
        NoAnswer::Refused(refusal)
    }
}

fn answer(message: &impl Message) -> Response {
    let mut out = Vec::new();
    message.encode(&mut out);
    Response::new(Body::from(out))
}

async fn introduce(State(desk): State<Desk>, mut message: Bytes) -> Result<Response, NoAnswer> {
    let envelope = desk.open(&mut message)?;
    let introduction =
        Introduction::decode_whole(message).map_err(|_| desk.refuse(Refusal::Malformed))?;
    let sender = envelope.sender();
    if !desk.is_member(sender.replica) {
        return Err(desk.refuse(Refusal::NoMember));
    }
    if introduction.starts.last() != Some(&sender.incarnation) {
        return Err(desk.refuse(Refusal::Malformed));
    }
    let acquaintances = desk.peers.acquaintances().clone();
    let met: io::Result<_> = tasks::blocking(move || {
        acquaintances.meet(sender.replica, sender.incarnation, &introduction)
    })
    .await;
    match met {
        Ok(Ok(())) => Ok(answer(&desk.peers.introduction())),
        Ok(Err(refusal)) => {
            tracing::warn!(
                replica = %sender.replica,
                start = sender.incarnation.start,
                refusal = refusal.name(),
                "a start of a replica was refused"
            );
            Err(desk.refuse(refusal))
        }
        Err(_) => Err(NoAnswer::Unavailable),
    }
}

async fn append(State(desk): State<Desk>, message: Bytes) -> Result<Response, NoAnswer> {
    let request: AppendRequest = desk.receive(message).await?;
    let response = desk.raft.append_entries(request).await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&response))
}

async fn vote(State(desk): State<Desk>, message: Bytes) -> Result<Response, NoAnswer> {
    let request: VoteRequest = desk.receive(message).await?;
    let response = desk.raft.vote(request).await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&response))
}

async fn pre_vote(State(desk): State<Desk>, message: Bytes) -> Result<Response, NoAnswer> {
    let request: VoteRequest = desk.receive(message).await?;
    let response = desk.raft.pre_vote(request).await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&response))
}

async fn take_leadership(State(desk): State<Desk>, message: Bytes) -> Result<Response, NoAnswer> {
    let request: TransferRequest = desk.receive(message).await?;
    let response = desk.raft.take_leadership(request).await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&response))
}

async fn read_index(State(desk): State<Desk>, message: Bytes) -> Result<Response, NoAnswer> {
    let () = desk.receive(message).await?;
    let index = desk.raft.read_index().await.map_err(|_| NoAnswer::Unavailable)?;
    Ok(answer(&index))
}
