//! Carries a caller's request to the leader's front door, once.
//!
//! The request goes as it came, with a mark of who forwarded it, so that it is never forwarded
//! twice. A failure says whether the leader may have accepted it: only a connection that was never
//! made, or an answer that promises no effect, is *not accepted*. Events come as they are sent, for as long as they
//! last; every other answer comes whole.
//!
//! Not here: who leads, and whether to forward at all (`node/leader.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::api::{header, media};
use client::types::{ReplicaAddr, ReplicaId};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::detours::Detours;
use crate::world::Caller;

/// How long a connection is kept for further use: shorter than a front door keeps it, so that none is
/// closed at the moment of its use.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long it may take to get a turn, and to connect.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// Connections kept for further use, to each front door.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// The most bytes of a forwarded answer.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A request was not carried to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// No connection was made: certainly not accepted.
    #[error("the leader cannot be reached")]
    NotAccepted,
    /// It was sent, and no answer came: it may have been accepted.
    #[error("the leader did not answer")]
    Unknown,
}

/// The body of an answer.
pub enum ForwardedBody {
    /// All of it.
    Whole(Bytes),
    /// Events, until they end or the leader is heard no more.
    Events(BoxStream<'static, Bytes>),
}

/// Connections to the front doors of the others. A clone shares them.
#[derive(Clone)]
pub struct Forward {
    client: reqwest::Client,
    /// A turn for each connection.
    turns: Arc<Semaphore>,
    detours: Detours,
    ourselves: ReplicaId,
}

impl Forward {
    /// Forwards in the name of this replica, over so many connections at once.
    pub fn new(
        ourselves: ReplicaId,
        detours: Detours,
        connections_max: u64,
    ) -> Result<Self, reqwest::Error> {
        let connections_max = usize::try_from(connections_max).unwrap_or(usize::MAX);
        let connections_max = connections_max.clamp(1, Semaphore::MAX_PERMITS);
        let turns = Arc::new(Semaphore::new(connections_max));
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX.min(connections_max))
            .pool_idle_timeout(IDLE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, turns, detours, ourselves })
    }

    /// Sends a request as it came, and returns the answer as it is. Waits for a turn, which counts as not accepted if
    /// there is none in time. `within` is for the answer, and if it is of events, for the first word of it.
    pub async fn send(
        &self,
        to: &ReplicaAddr,
        parts: &http::request::Parts,
        body: Bytes,
        within: Duration,
    ) -> Result<http::Response<ForwardedBody>, ForwardError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = timeout(CONNECT_MAX.min(within), turn).await;
        let Ok(Ok(turn)) = turn else { return Err(ForwardError::NotAccepted) };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = self.detours.url(to.as_str(), path);
        let request = self
            .client
            .request(parts.method.clone(), url)
            .headers(self.end_to_end(&parts.headers, parts.extensions.get()))
            .body(body);
        let answered = async {
            let answer = request.send().await.map_err(|error| forward_error(&error))?;
            receive(answer, turn).await
        };
        timeout(within, answered).await.unwrap_or(Err(ForwardError::Unknown))
    }

    /// The headers that belong to the request and not to its connection, and our mark.
    fn end_to_end(&self, headers: &HeaderMap, caller: Option<&Caller>) -> HeaderMap {
        let mut kept = headers.clone();
        for name in [CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE] {
            kept.remove(name);
        }
        kept.insert(header::FORWARDED, HeaderValue::from(self.ourselves.get()));
        let seen = caller.map(|Caller(address)| HeaderValue::from_str(&format!("for={address}")));
        match seen {
            Some(Ok(seen)) => kept.insert(FORWARDED, seen),
            Some(Err(_)) | None => kept.remove(FORWARDED),
        };
        kept
    }
}

/// An answer that has begun. It keeps its turn until all of it has come.
async fn receive(
    answer: reqwest::Response,
    turn: OwnedSemaphorePermit,
) -> Result<http::Response<ForwardedBody>, ForwardError> {
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let body = if content_type == Some(media::EVENTS.as_bytes()) {
        ForwardedBody::Events(pieces(answer, turn))
    } else {
        ForwardedBody::Whole(whole(answer).await?)
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn pieces(answer: reqwest::Response, turn: OwnedSemaphorePermit) -> BoxStream<'static, Bytes> {
    let next = |(mut answer, turn): (reqwest::Response, OwnedSemaphorePermit)| async {
        let piece = answer.chunk().await.ok()??;
        Some((piece, (answer, turn)))
    };
    stream::unfold((answer, turn), next).boxed()
}

async fn whole(mut answer: reqwest::Response) -> Result<Bytes, ForwardError> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|_| ForwardError::Unknown)? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(ForwardError::Unknown);
        }
        body.extend_from_slice(&part);
    }
    Ok(Bytes::from(body))
}

fn forward_error(error: &reqwest::Error) -> ForwardError {
    if error.is_connect() { ForwardError::NotAccepted } else { ForwardError::Unknown }
}
