//! Lets a message in: identity first, then the rest, for whoever answers behind it.
//!
//! A refusal is a status and one word, is counted, and happens before the rest of the message is taken in.
//!
//! Not here: what is answered (`routes`, `mending`).

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use client::types::{EntryIndex, ReplicaId};
use futures_util::stream;
use http::{StatusCode, header};

use super::client::Peers;
use super::codec::{Introduction, Message};
use super::entries::{self, EntriesQuestion};
use super::envelope::{Checked, Envelope, Identity, Refusal};
use super::farewell::IsRemoved;
use super::intake::{Intake, NotTaken, Room, seal, seal_parts};
use super::transport::Http;
use crate::metrics::Metrics;
use crate::world::tasks;

/// Where messages come in. A clone is the same.
#[derive(Clone)]
pub(super) struct Reception {
    /// Who we are, and whom we know.
    pub(super) peers: Peers<Http>,
    /// Counts who is refused.
    metrics: Metrics,
    is_removed: Arc<IsRemoved>,
    room: Room,
}

/// Why a message has no answer.
pub(super) enum NoAnswer {
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

impl Reception {
    pub(super) fn new(peers: Peers<Http>, metrics: Metrics, is_removed: Arc<IsRemoved>) -> Self {
        Self { peers, metrics, is_removed, room: Room::default() }
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
    pub(super) async fn receive<M: Message>(&self, body: Body) -> Result<M, NoAnswer> {
        self.receive_from(body).await.map(|(_sender, message)| message)
    }

    /// The same, and who sent it.
    pub(super) async fn receive_from<M: Message>(
        &self,
        body: Body,
    ) -> Result<(Identity, M), NoAnswer> {
        let received = self.listen_to(body).await?;
        if self.peers.is_in_good_standing().await {
            Ok(received)
        } else {
            Err(NoAnswer::Unavailable)
        }
    }

    /// The same, also if some refuse us.
    pub(super) async fn listen_to<M: Message>(
        &self,
        body: Body,
    ) -> Result<(Identity, M), NoAnswer> {
        let may_speak = |envelope: &Envelope<Checked>| {
            self.check_stays(&envelope.sender())?;
            self.peers.acquaintances().check(&envelope.sender())?;
            envelope.check_accepted(self.peers.identity())
        };
        self.take_in(body, may_speak).await
    }

    /// Nobody speaks who was removed.
    fn check_stays(&self, sender: &Identity) -> Result<(), Refusal> {
        if (self.is_removed)(sender.replica) { Err(Refusal::Removed) } else { Ok(()) }
    }

    fn not_taken(&self, reason: NotTaken) -> NoAnswer {
        match reason {
            NotTaken::Malformed => self.refuse(Refusal::Malformed),
            NotTaken::Unavailable => NoAnswer::Unavailable,
        }
    }

    fn refuse(&self, refusal: Refusal) -> NoAnswer {
        self.metrics.peer_identity_refused(refusal.name());
        NoAnswer::Refused(refusal)
    }

    /// Judges whoever introduces itself, and introduces us to it.
    pub(super) async fn introduce(
        &self,
        body: Body,
        may_be_member: impl FnOnce(ReplicaId, Option<EntryIndex>) -> bool,
    ) -> Result<Response, NoAnswer> {
        let may_speak = |envelope: &Envelope<Checked>| self.check_stays(&envelope.sender());
        let (sender, introduction): (_, Introduction) = self.take_in(body, may_speak).await?;
        if !may_be_member(sender.replica, introduction.epoch) {
            return Err(self.refuse(Refusal::NoMember));
        }
        if introduction.starts.last() != Some(&sender.incarnation) {
            return Err(self.refuse(Refusal::Malformed));
        }
        let acquaintances = self.peers.acquaintances().clone();
        let met = match self.peers.check_alone(sender.replica, sender.incarnation).await {
            Ok(()) => {
                tasks::blocking(move || {
                    acquaintances.meet(sender.replica, sender.incarnation, &introduction)
                })
                .await
            }
            Err(refusal) => Ok(Err(refusal)),
        };
        match met {
            Ok(Ok(())) => Ok(answer(&self.peers.introduction())),
            Ok(Err(refusal)) => {
                tracing::warn!(
                    replica = %sender.replica,
                    start = sender.incarnation.start,
                    refusal = refusal.name(),
                    "a start of a replica was refused"
                );
                Err(self.refuse(refusal))
            }
            Err(_) => Err(NoAnswer::Unavailable),
        }
    }

    /// Tells any member which start of this replica runs here, also before the two have met.
    pub(super) async fn present(&self, body: Body) -> Result<Response, NoAnswer> {
        let may_speak = |envelope: &Envelope<Checked>| self.check_stays(&envelope.sender());
        let (_sender, ()): (_, ()) = self.take_in(body, may_speak).await?;
        Ok(answer(&self.peers.identity().incarnation))
    }

    /// Gives another replica the entries that it lacks, as far as they are good here. What it takes is proved by
    /// what it has, so that even a replica that is damaged itself may ask and answer.
    pub(super) async fn entries(&self, body: Body) -> Result<Response, NoAnswer> {
        let may_speak = |envelope: &Envelope<Checked>| {
            self.check_stays(&envelope.sender())?;
            self.peers.acquaintances().check_for_repair(&envelope.sender())?;
            envelope.check_accepted(self.peers.identity())
        };
        let (_sender, question): (_, EntriesQuestion) = self.take_in(body, may_speak).await?;
        let journal = self.peers.journal().clone();
        let given = tasks::blocking(move || Ok(entries::give(&journal, &question))).await;
        Ok(answer(&given.map_err(|_| NoAnswer::Unavailable)?))
    }
}

/// An answer as bytes.
pub(super) fn answer(message: &impl Message) -> Response {
    let mut out = Vec::new();
    message.encode(&mut out);
    seal(&mut out, 0);
    Response::new(Body::from(out))
}

/// An answer that is sent part by part, so that nothing large is put together for it.
pub(super) fn answer_in_parts(mut parts: Vec<Bytes>) -> Response {
    seal_parts(&mut parts);
    let length: usize = parts.iter().map(Bytes::len).sum();
    let parts = parts.into_iter().map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(stream::iter(parts)));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}
