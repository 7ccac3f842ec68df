//! Answers a peer: identity first, then the message.
//!
//! A refusal is a status and one word, is counted, and happens before the rest of the message is taken
//! in.
//! The listener of these routes is never shared with clients.

use std::io;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use client::types::{EntryIndex, ReplicaId};
use http::StatusCode;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;

use super::client::Peers;
use super::codec::{Introduction, Message};
use super::envelope::{Checked, Envelope, Identity, Refusal};
use super::intake::{Intake, MESSAGE_BYTES_MAX, NotTaken, Room, seal};
use super::paths;
use super::transfer::Transfers;
use super::transfer::wire::{ManifestQuestion, Offer, RecordsQuestion, TilesQuestion};
use super::transport::Http;
use crate::metrics::Metrics;
use crate::raft::Raft;
use crate::raft::types::{AppendRequest, RaftEntry, RaftPayload, TransferRequest, VoteRequest};
use crate::storage::state::State as Kept;
use crate::world::tasks;

/// The longest entry that one message can carry to another replica. What is longer never gets there, so
/// none may be proposed.
pub const ENTRY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64 * 1024;

/// What answers the others.
#[derive(Clone)]
pub struct Desk {
    /// Who we are, and whom we know.
    peers: Peers<Http>,
    /// Our part in the agreement.
    raft: Raft,
    /// What this replica holds.
    state: Kept,
    /// Takes offers, and serves parts of the state.
    transfers: Transfers,
    /// Counts who is refused.
    metrics: Metrics,
    room: Room,
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
        .route(paths::OFFER, post(offer))
        .route(paths::MANIFEST, post(manifest))
        .route(paths::TILES, post(tiles))
        .route(paths::RECORDS, post(records))
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
    /// Answers for these.
    pub fn new(
        peers: Peers<Http>,
        raft: Raft,
        state: Kept,
        transfers: Transfers,
        metrics: Metrics,
    ) -> Self {
        Self { peers, raft, state, transfers, metrics, room: Room::default() }
    }

    /// Takes in a message if its sender may speak.
    async fn take_in<M: Message>(
        &self,
        body: Body,
        may_speak: impl FnOnce(&Envelope<Checked>) -> Result<(), Refusal>,
    ) -> Result<(Identity, M), NoAnswer> {
        let mut intake = Intake::new(body, &self.room);
        let front = intake.envelope().await.map_err(|reason| self.not_taken(reason))?;
        let envelope = Envelope::decode(front).and_then(|it| it.check(self.peers.identity()));
        let envelope = envelope.map_err(|refusal| self.refuse(refusal))?;
        may_speak(&envelope).map_err(|refusal| self.refuse(refusal))?;
        let rest = intake.rest().await.map_err(|reason| self.not_taken(reason))?;
        let message =
            M::decode_whole(rest.bytes.clone()).map_err(|_| self.refuse(Refusal::Malformed))?;
        Ok((envelope.sender(), message))
    }

    /// The message of a replica that is known and has accepted this start of ours.
    async fn receive<M: Message>(&self, body: Body) -> Result<M, NoAnswer> {
        self.receive_from(body).await.map(|(_sender, message)| message)
    }

    /// The same, and who sent it.
    async fn receive_from<M: Message>(&self, body: Body) -> Result<(Identity, M), NoAnswer> {
        let may_speak = |envelope: &Envelope<Checked>| {
            self.peers.acquaintances().check(&envelope.sender())?;
            envelope.check_accepted(self.peers.identity())
        };
        let received = self.take_in(body, may_speak).await?;
        if self.peers.is_in_good_standing().await {
            Ok(received)
        } else {
            Err(NoAnswer::Unavailable)
        }
    }

    fn not_taken(&self, reason: NotTaken) -> NoAnswer {
        match reason {
            NotTaken::Malformed => self.refuse(Refusal::Malformed),
            NotTaken::Unavailable => NoAnswer::Unavailable,
        }
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
    seal(&mut out, 0);
    Response::new(Body::from(out))
}

async fn introduce(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let is_member = |envelope: &Envelope<Checked>| {
        let is_member = desk.is_member(envelope.sender().replica);
        if is_member { Ok(()) } else { Err(Refusal::NoMember) }
    };
    let (sender, introduction): (_, Introduction) = desk.take_in(body, is_member).await?;
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

fn is_append(entry: &RaftEntry) -> bool {
    matches!(&entry.payload, RaftPayload::Normal(payload) if payload.is_append())
}

async fn append(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let request: AppendRequest = desk.receive(body).await?;
    // The leader comes back with it later. Whatever else it sends is small, and may be the trim that makes room.
    if desk.peers.is_brimful() && request.entries.iter().any(is_append) {
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

async fn offer(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let (sender, offer): (_, Offer) = desk.receive_from(body).await?;
    Ok(answer(&desk.transfers.receiver().offered(sender, offer).await))
}

async fn manifest(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let question: ManifestQuestion = desk.receive(body).await?;
    Ok(answer(&desk.peers.shelf().part(question)))
}

async fn tiles(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let question: TilesQuestion = desk.receive(body).await?;
    let hashes = desk.transfers.server().tiles(question).await.ok_or(NoAnswer::Unavailable)?;
    Ok(answer(&hashes))
}

async fn records(State(desk): State<Desk>, body: Body) -> Result<Response, NoAnswer> {
    let question: RecordsQuestion = desk.receive(body).await?;
    let records = desk.transfers.server().records(question).await.ok_or(NoAnswer::Unavailable)?;
    Ok(answer(&records))
}
