//! The wire between replicas, as a trait, and the one over HTTP.
//!
//! Each purpose has connections of its own, so that a batch of entries never delays a heartbeat. A
//! connection carries one message at a time (HTTP/1.1), which is all that replication asks for: it
//! costs a third less processor time per append than a stream of HTTP/2.
//! Every call has a deadline, on progress and not on the whole message: a slow link that still
//! moves bytes is not given up, a dead one is within one deadline.
//!
//! Not here: what the bytes mean (`codec`), who may speak (`envelope`).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;

use super::detours::Detours;
use super::envelope::Refusal;
use crate::world::{Clock, Instant};

/// The most bytes of an answer to a message: one record of the longest entry, and what stands around it.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pieces in which a message is handed to the connection; each one is progress.
const PIECE_BYTES: usize = 64 * 1024;
/// A connection without a message is closed by us before the other side does it at an ill moment.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Heartbeats and votes: small, and never behind anything else.
    Heartbeats,
    /// Entries.
    Entries,
    /// Questions that a caller waits for.
    Questions,
    /// Offers and what belongs to them.
    Transfers,
}

impl Purpose {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeats => "heartbeats",
            Self::Entries => "entries",
            Self::Questions => "questions",
            Self::Transfers => "transfers",
        }
    }
}

/// A message was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Nothing listens there; certainly not received.
    #[error("no connection to {address}")]
    Unreachable {
        /// Where.
        address: String,
    },
    /// The connection broke; it may have been received.
    #[error("the connection broke: {reason}")]
    Broken {
        /// In the library's words.
        reason: String,
    },
    /// No progress within the deadline; it may have been received.
    #[error("no answer in time")]
    TimedOut,
    /// The other side does not listen to us.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The other side could not do it now.
    #[error("the other replica cannot answer now")]
    Unavailable,
}

/// One message and its answer.
pub trait Transport: Send + Sync + 'static {
    /// Sends `message` to `path` at `address` and waits for the answer, as long as something
    /// moves within `progress`.
    fn call(
        &self,
        purpose: Purpose,
        address: &str,
        path: &str,
        message: Bytes,
        progress: Duration,
    ) -> impl Future<Output = Result<Bytes, TransportError>> + Send;
}

/// Messages over HTTP/1.1. A clone shares the connections.
#[derive(Clone)]
pub struct Http {
    connections: Arc<Connections>,
}

struct Connections {
    detours: Detours,
    clock: Clock,
    clients: Mutex<BTreeMap<(Purpose, String), reqwest::Client>>,
}

impl Http {
    /// A transport that dials the addresses it is given, but for the detours.
    pub fn new(detours: Detours, clock: Clock) -> Self {
        Self { connections: Arc::new(Connections { detours, clock, clients: Mutex::default() }) }
    }

    /// A client whose connections serve this purpose and address.
    fn client(&self, purpose: Purpose, address: &str) -> Result<reqwest::Client, TransportError> {
        let mut clients = self.connections.clients.lock().expect("no panic while connecting");
        let key = (purpose, address.to_owned());
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .pool_idle_timeout(IDLE_MAX)
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_millis(500))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| TransportError::Broken { reason: error.to_string() })?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    async fn send(
        &self,
        purpose: Purpose,
        address: &str,
        path: &str,
        body: reqwest::Body,
    ) -> Result<reqwest::Response, TransportError> {
        let url = self.connections.detours.url(address, path);
        let request = self.client(purpose, address)?.post(url).body(body);
        request.send().await.map_err(|error| transport_error(address, &error))
    }
}

impl Transport for Http {
    async fn call(
        &self,
        purpose: Purpose,
        address: &str,
        path: &str,
        message: Bytes,
        progress: Duration,
    ) -> Result<Bytes, TransportError> {
        let clock = self.connections.clock.clone();
        let moved = Moved::new(clock.clone());
        let body = in_pieces(message, moved.clone());
        let exchange = async {
            let answer = self.send(purpose, address, path, body).await?;
            moved.mark();
            take_answer(answer, &moved, address).await
        };
        tokio::pin!(exchange);
        loop {
            let deadline = moved.at() + progress;
            tokio::select! {
                answer = &mut exchange => return answer,
                () = clock.sleep_until(deadline) => {
                    if moved.at() + progress <= clock.now() {
                        return Err(TransportError::TimedOut);
                    }
                }
            }
        }
    }
}

/// When bytes last moved.
#[derive(Clone)]
struct Moved {
    clock: Clock,
    at: Arc<Mutex<Instant>>,
}

impl Moved {
    fn new(clock: Clock) -> Self {
        let at = Arc::new(Mutex::new(clock.now()));
        Self { clock, at }
    }

    fn mark(&self) {
        *self.at.lock().expect("no panic while marking") = self.clock.now();
    }

    fn at(&self) -> Instant {
        *self.at.lock().expect("no panic while marking")
    }
}

/// A small message goes as it is; a large one in pieces, each of which counts as progress when the
/// connection takes it.
fn in_pieces(message: Bytes, moved: Moved) -> reqwest::Body {
    if message.len() <= PIECE_BYTES {
        return message.into();
    }
    reqwest::Body::wrap_stream(stream::unfold((message, moved), |(mut rest, moved)| async move {
        if rest.is_empty() {
            return None;
        }
        moved.mark();
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Some((Ok::<_, std::convert::Infallible>(piece), (rest, moved)))
    }))
}

async fn take_answer(
    mut answer: reqwest::Response,
    moved: &Moved,
    address: &str,
) -> Result<Bytes, TransportError> {
    let status = answer.status();
    let mut parts: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while let Some(part) = answer.chunk().await.map_err(|error| transport_error(address, &error))? {
        moved.mark();
        length += part.len();
        if length > ANSWER_BYTES_MAX {
            return Err(TransportError::Broken { reason: "the answer is too long".to_owned() });
        }
        parts.push(part);
    }
    let body = if parts.len() == 1 { parts.remove(0) } else { parts.concat().into() };
    if status.is_success() {
        return Ok(body);
    }
    match std::str::from_utf8(&body).ok().and_then(Refusal::from_name) {
        Some(refusal) => Err(TransportError::Refused(refusal)),
        None => Err(TransportError::Unavailable),
    }
}

fn transport_error(address: &str, error: &reqwest::Error) -> TransportError {
    if error.is_connect() {
        TransportError::Unreachable { address: address.to_owned() }
    } else {
        TransportError::Broken { reason: error.to_string() }
    }
}
