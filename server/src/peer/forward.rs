//! Carries a caller's request to the leader's front door, once.
//!
//! The request goes as it came, with a mark of who forwarded it, so that it is never forwarded
//! twice. A failure says whether the leader may have accepted it: only a connection that was never
//! made, or an answer that promises no effect, is *not accepted*.
//!
//! Not here: who leads, and whether to forward at all (`node/leader.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::api::header;
use client::types::{ReplicaAddr, ReplicaId};
use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

use tokio::sync::Semaphore;

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
    /// there is none in time.
    pub async fn send(
        &self,
        to: &ReplicaAddr,
        parts: &http::request::Parts,
        body: Bytes,
        within: Duration,
    ) -> Result<http::Response<Bytes>, ForwardError> {
        let turn = tokio::time::timeout(CONNECT_MAX.min(within), self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(ForwardError::NotAccepted) };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = self.detours.url(to.as_str(), path);
        let answer = self
            .client
            .request(parts.method.clone(), url)
            .headers(self.end_to_end(&parts.headers, parts.extensions.get()))
            .timeout(within)
            .body(body)
            .send()
            .await
            .map_err(|error| forward_error(&error))?;
        receive(answer).await
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

async fn receive(mut answer: reqwest::Response) -> Result<http::Response<Bytes>, ForwardError> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|_| ForwardError::Unknown)? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(ForwardError::Unknown);
        }
        body.extend_from_slice(&part);
    }
    let mut response = http::Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

fn forward_error(error: &reqwest::Error) -> ForwardError {
    if error.is_connect() { ForwardError::NotAccepted } else { ForwardError::Unknown }
}
