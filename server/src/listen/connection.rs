//! One connection from its first byte to its end.
//!
//! The task sleeps until something happens: the connection itself, a deadline, or somebody who asks
//! it to finish, to make room or to end. Deadlines are looked at when the timer fires and not moved
//! with every byte, so that a busy connection pays nothing for them.
//!
//! Not here: whether there is a place for it (`places`), what its deadlines say (`pulse`).

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use client::api::error::ErrorCode;
use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tracing::{debug, trace};

use super::ListenOptions;
use super::body::{Answer, Pace, Paced};
use super::last_word;
use super::places::Place;
use super::pulse::{Asked, Pulse, Verdict, Watched};
use crate::metrics::{ConnectionLoss, Door, Metrics};
use crate::world::{Caller, Clock};

/// What a connection of HTTP/1 may buffer each way. It keeps that much once a long body has come, so thousands of
/// clients may take no more than this each.
const CLIENT_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// The same for the few connections of other replicas, which bring long bodies all the time.
const PEER_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// The windows of HTTP/2.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Silence after which the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What all connections of one listener share.
#[derive(Debug)]
pub(super) struct Doorway {
    options: ListenOptions,
    pub(super) door: Door,
    pub(super) metrics: Metrics,
    clock: Clock,
    /// For whoever may mean HTTP/2.
    either: auto::Builder<TokioExecutor>,
    /// For whoever means HTTP/1.
    http1: auto::Builder<TokioExecutor>,
    /// How many may be told at once that there is no place for them.
    refusals: Arc<Semaphore>,
}

impl Doorway {
    pub(super) fn new(options: ListenOptions, door: Door, metrics: Metrics, clock: Clock) -> Self {
        let buffer_bytes_max = match door {
            Door::Clients => CLIENT_BUFFER_BYTES_MAX,
            Door::Peers => PEER_BUFFER_BYTES_MAX,
        };
        let mut either = auto::Builder::new(TokioExecutor::new());
        either
            .http1()
            // Our own deadlines hold from the first byte on and tell a late head from an idle wait.
            .header_read_timeout(None)
            .max_buf_size(buffer_bytes_max)
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(KEEPALIVE))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(options.streams_max)
            .max_header_list_size(options.head_bytes_max);
        let refusals = Arc::new(Semaphore::new(options.refusals_max()));
        let http1 = either.clone().http1_only();
        Self { options, door, metrics, clock, either, http1, refusals }
    }

    fn lost(&self, pulse: &Pulse, reason: ConnectionLoss) {
        self.metrics.connection_lost(self.door, reason);
        debug!(address = %pulse.address, ?reason, "connection ended");
    }
}

/// Counts a connection from here to its end, however that comes.
struct Counted<'a>(&'a Doorway);

impl<'a> Counted<'a> {
    fn new(doorway: &'a Doorway) -> Self {
        doorway.metrics.connection_opened(doorway.door);
        Self(doorway)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.connection_closed(self.0.door);
    }
}

/// Serves one connection until it ends.
pub(super) async fn run<A, F>(doorway: Arc<Doorway>, stream: TcpStream, place: Place, answer: A)
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let _counted = Counted::new(&doorway);
    if let Some(opening) = opening(&doorway, &stream, &place.pulse).await {
        prepare(&stream);
        // Boxed so that a connection which never speaks does not take the room of one that does.
        Box::pin(speak(&doorway, opening, stream, &place, answer)).await;
        if let Some((stream, code)) = place.pulse.take_unsaid() {
            last_word::say(stream, code, &place.name(), &doorway.clock).await;
        }
    }
}

/// Tells a connection for which there is no place that it is so, unless too many are told already.
pub(super) fn refuse(
    doorway: &Arc<Doorway>,
    stream: TcpStream,
) -> Option<impl Future<Output = ()> + use<>> {
    let turn = doorway.refusals.clone().try_acquire_owned().ok()?;
    let clock = doorway.clock.clone();
    Some(async move {
        last_word::say(stream, ErrorCode::TooManyConnections, "connection", &clock).await;
        drop(turn);
    })
}

/// What the other side began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// Certainly HTTP/1.
    Http1,
    /// Perhaps HTTP/2.
    Either,
}

/// Waits until the other side has sent something, and looks at it without taking it. Until then there is nothing but
/// the socket. If the protocol found out by reading, that would cut the first head in two, and a buffer that is filled
/// twice stays twice as large as long as the connection lives.
async fn opening(doorway: &Doorway, stream: &TcpStream, pulse: &Pulse) -> Option<Opening> {
    let mut first = [0; 4];
    tokio::select! {
        peeked = stream.peek(&mut first) => match peeked {
            Ok(0) | Err(_) => None,
            Ok(count) if b"PRI ".starts_with(&first[..count]) => Some(Opening::Either),
            Ok(_) => Some(Opening::Http1),
        },
        asked = pulse.asked() => {
            if asked.has(Asked::EVICT) {
                doorway.lost(pulse, ConnectionLoss::Evicted);
            }
            None
        }
        () = doorway.clock.sleep(doorway.options.head_timeout) => {
            doorway.lost(pulse, ConnectionLoss::HeadLate);
            None
        }
    }
}

fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    let set =
        stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        debug!(%error, "socket options not set");
    }
}

async fn speak<A, F>(
    doorway: &Doorway,
    opening: Opening,
    stream: TcpStream,
    place: &Place,
    answer: A,
) where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let pulse = &place.pulse;
    let options = &doorway.options;
    let tempo = Pace { gap_max: options.body_gap_max, rate_min: options.body_rate_min };
    let service = service_fn(|request: Request<Incoming>| {
        let under_way = pulse.begin_request();
        let clock = doorway.clock.clone();
        let mut request = request.map(|body| Body::new(Paced::new(body, tempo, clock)));
        request.extensions_mut().insert(Caller(pulse.address));
        let answering = answer(request);
        let pulse = pulse.clone();
        // A block would hold the answering twice, and every connection has room for it.
        answering.map(move |response| {
            pulse.answer_made();
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, under_way)))
        })
    });
    let protocol = match opening {
        Opening::Http1 => &doorway.http1,
        Opening::Either => &doorway.either,
    };
    let io = TokioIo::new(Watched::new(stream, pulse.clone()));
    let mut connection = pin!(protocol.serve_connection(io, service));
    let mut asked = pin!(pulse.asked());
    let mut timer = pin!(doorway.clock.timer(doorway.clock.now()));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    trace!(address = %pulse.address, %error, "connection broke");
                }
                return;
            }
            what = asked.as_mut() => {
                if what.has(Asked::CUT) {
                    return;
                }
                if what.has(Asked::DRAIN) {
                    connection.as_mut().graceful_shutdown();
                }
                if what.has(Asked::EVICT) {
                    if pulse.is_quiet() {
                        return doorway.lost(pulse, ConnectionLoss::Evicted);
                    }
                    place.keep();
                }
                asked.set(pulse.asked());
            }
            () = poll_fn(|_| pulse.poll_new_deadline()) => {
                timer.as_mut().reset(doorway.clock.now());
            }
            () = timer.as_mut() => match pulse.verdict(options) {
                Verdict::AskAgain(then) => timer.as_mut().reset(then),
                Verdict::Lost(reason) => {
                    if reason == ConnectionLoss::HeadLate {
                        pulse.head_late();
                    }
                    return doorway.lost(pulse, reason);
                }
            }
        }
    }
}
