//! The accept loop for both listeners: limits, deadlines, and a stop that lets requests finish.
//!
//! HTTP/1.1 and HTTP/2 without TLS are told apart by their first bytes. Whoever sends nothing, sends a
//! head or a body drop by drop, or takes no answer, loses the connection after a deadline; whoever
//! merely waits keeps it until another one needs its place. A connection that has sent nothing yet
//! costs a task and no buffers, so that thousands of idle ones hurt nobody.
//!
//! ```text
//! accept -> place (total, per address; the longest idle ones make room) -> first byte -> HTTP
//! ```
//!
//! Whoever cannot be taken, or sends what nobody understands, is told why before the connection ends.
//!
//! Not here: what is answered. Both listeners hand in a function from request to response.

mod body;
mod connection;
mod last_word;
mod places;
mod pulse;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use http::{Request, Response};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::metrics::{Door, Metrics};
use crate::world::Clock;

use connection::Doorway;
use places::Places;

/// How long a listener's queue of connections not yet accepted may become; the system may cap it.
const BACKLOG: u32 = 4096;
/// How many idle connections are let go when descriptors have run out.
const EVICTED_WHEN_EXHAUSTED: usize = 32;
/// Descriptors for files and other replicas, unless there are so few that half of them have to do.
const DESCRIPTORS_KEPT: u64 = 256;
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// The limits of one listener.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address (from one /64 of IPv6).
    pub connections_per_address_max: usize,
    /// From accepting, or from the first byte of a later request, until its head is complete.
    pub head_timeout: Duration,
    /// Without a request, from the end of the last one.
    pub idle_timeout: Duration,
    /// Without a byte of a body that is awaited.
    pub body_gap_max: Duration,
    /// Bytes per second that a body has to average beyond the first `body_gap_max`.
    pub body_rate_min: u64,
    /// Without the other side taking a byte of an answer.
    pub write_stall_max: Duration,
    /// Size of the head of a request over HTTP/2; over HTTP/1 the buffer of the connection bounds it.
    pub head_bytes_max: u32,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// How long a stop waits for requests under way before it cuts them.
    pub drain_max: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            connections_per_address_max: 12_288,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_gap_max: Duration::from_secs(10),
            body_rate_min: 4 * 1024,
            write_stall_max: Duration::from_secs(30),
            head_bytes_max: 64 * 1024,
            streams_max: 256,
            drain_max: Duration::from_secs(10),
        }
    }
}

impl ListenOptions {
    /// Connections that are told at the same time that there is no place for them; others are closed.
    fn refusals_max(&self) -> usize {
        (self.connections_max / REFUSALS_PART).clamp(1, REFUSALS_MAX)
    }

    /// The same, with no more connections than this part of the process's descriptors allows.
    #[must_use]
    pub fn within_descriptors(mut self, descriptors: u64) -> Self {
        let most = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let told = (most / REFUSALS_PART).min(REFUSALS_MAX);
        self.connections_max = self.connections_max.min(most - told).max(1);
        // One address leaves some room for the others, but not under a limit too small to share.
        let share = (self.connections_max - self.connections_max / 4).max(1);
        self.connections_per_address_max = self.connections_per_address_max.min(share);
        self
    }
}

/// One in so many connections may be there only to be told that there is no place for it.
const REFUSALS_PART: usize = 8;
/// So many of those at most.
const REFUSALS_MAX: usize = 64;

/// What the descriptors of a process are for. Whatever comes in, its own files can be opened and peers find a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Connections of clients.
    pub clients: u64,
    /// Connections to another replica's front door, for requests that are carried there.
    pub forwarded: u64,
    /// Connections of other replicas.
    pub peers: u64,
}

impl Descriptors {
    /// Parts `limit` of them.
    pub fn of(limit: u64) -> Self {
        let kept = (limit / 2).min(DESCRIPTORS_KEPT);
        let forwarded = (limit - kept) / 3;
        Self { clients: limit - kept - forwarded, forwarded, peers: kept / 2 }
    }
}

/// Raises the soft limit of open descriptors to the hard one and tells what it is then.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            debug!(%error, "descriptor limit not raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Binds a listener. An address that was used a moment ago is taken again.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// One listener with all that serving it needs.
#[derive(Debug)]
pub struct Listening {
    /// Where connections come from.
    pub listener: TcpListener,
    /// Which door this is, for the metrics.
    pub door: Door,
    /// Its limits.
    pub options: ListenOptions,
    /// Where connections and losses are counted.
    pub metrics: Metrics,
    /// What time it is.
    pub clock: Clock,
}

impl Listening {
    /// Accepts and answers until `stop` ends; then lets requests under way finish, for as long as the
    /// options allow. Returns how many connections had to be cut in the end.
    pub async fn serve<A, F>(self, answer: A, stop: impl Future<Output = ()>) -> usize
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let Self { listener, door, options, metrics, clock } = self;
        let drain_max = options.drain_max;
        // One that makes room for another keeps its socket until its task has ended.
        let sockets = options.connections_max + options.refusals_max();
        let sockets = Arc::new(Semaphore::new(sockets.min(Semaphore::MAX_PERMITS)));
        let places = Places::new(&options, clock.clone());
        let doorway = Arc::new(Doorway::new(options, door, metrics, clock.clone()));
        let connections = TaskTracker::new();
        let mut stop = std::pin::pin!(stop);
        let mut back_off = BACK_OFF_MIN;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accept(&listener, &sockets) => accepted,
            };
            match accepted {
                Ok((socket, stream, from)) => {
                    back_off = BACK_OFF_MIN;
                    let serving = admit(stream, from, &places, &doorway, answer.clone());
                    drop(connections.spawn(async move {
                        serving.await;
                        drop(socket);
                    }));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Descriptors or memory ran out: make room, and do not spin.
                    doorway.metrics.accept_failed(door);
                    let evicted = places.evict_idle(EVICTED_WHEN_EXHAUSTED);
                    warn!(%error, ?door, evicted, "accepting failed");
                    tokio::select! {
                        () = &mut stop => break,
                        () = clock.sleep(back_off) => {}
                    }
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                }
            }
        }
        drop(listener);
        connections.close();
        places.drain();
        if clock.within(drain_max, connections.wait()).await.is_err() {
            let cut = places.cut();
            connections.wait().await;
            warn!(?door, connections = cut, "connections cut at the end of the drain");
            return cut;
        }
        0
    }
}

/// The next connection, once there may be one more.
async fn accept(
    listener: &TcpListener,
    sockets: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let socket = Arc::clone(sockets).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    Ok((socket, stream, from))
}

/// What becomes of a connection.
fn admit<A, F>(
    stream: TcpStream,
    from: SocketAddr,
    places: &Places,
    doorway: &Arc<Doorway>,
    answer: A,
) -> BoxFuture<'static, ()>
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    match places.take(from.ip()) {
        Ok(place) => {
            let doorway = doorway.clone();
            connection::run(doorway, stream, place, answer).boxed()
        }
        Err(reason) => {
            doorway.metrics.connection_lost(doorway.door, reason);
            debug!(%from, ?reason, "connection refused");
            connection::refuse(doorway, stream)
                .map_or_else(|| ready(()).boxed(), |refusing| refusing.boxed())
        }
    }
}

/// Whether a failed accept says something of that connection alone, which is gone by now.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
