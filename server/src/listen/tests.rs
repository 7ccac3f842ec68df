//! The accept loop over real sockets.
//!
//! Deadlines are fractions of a second where they are to pass, and far away where they are not; what is asserted is who
//! is cut and why, who is not, and that the others are served meanwhile. Not here: the figures of thousands of connections (`e2e`).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use axum::body::Body;
use client::api::error::{ErrorCode, Problem};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::{Descriptors, ListenOptions, Listening, bind};
use crate::metrics::{Door, Metrics};
use crate::world::Clock;

const TICK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_mins(1);

struct Running {
    addr: SocketAddr,
    metrics: Metrics,
    held: Held,
    stop: oneshot::Sender<()>,
    served: JoinHandle<usize>,
}

/// Requests that are answered once the test lets them go.
#[derive(Clone, Default)]
struct Held {
    under_way: watch::Sender<usize>,
    let_go: watch::Sender<bool>,
}

impl Held {
    async fn hold(&self) {
        self.under_way.send_modify(|count| *count += 1);
        self.let_go.subscribe().wait_for(|let_go| *let_go).await.unwrap();
    }

    /// Waits until so many have come.
    async fn have_come(&self, count: usize) {
        let mut under_way = self.under_way.subscribe();
        let come = under_way.wait_for(|come| *come == count);
        tokio::time::timeout(PATIENCE, come).await.expect("they should have come").unwrap();
    }

    fn let_go(&self) {
        self.let_go.send_replace(true);
    }
}

fn options() -> ListenOptions {
    ListenOptions {
        connections_max: 64,
        connections_per_address_max: 64,
        head_timeout: 4 * TICK,
        idle_timeout: 12 * TICK,
        body_gap_max: 4 * TICK,
        body_rate_min: 1024,
        write_stall_max: 5 * TICK,
        drain_max: 5 * TICK,
        ..ListenOptions::default()
    }
}

fn start(options: ListenOptions) -> Running {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let metrics = Metrics::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let listening = Listening {
        listener,
        door: Door::Clients,
        options,
        metrics: metrics.clone(),
        clock: Clock::real(),
    };
    let held = Held::default();
    let holding = held.clone();
    let answer = move |request| answer(request, holding.clone());
    let served = tokio::spawn(listening.serve(answer, async move {
        stopped.await.ok();
    }));
    Running { addr, metrics, held, stop, served }
}

/// Answers by path: `/held` once it is let go, `/large` with 64 MiB; anything else with the length of the body.
async fn answer(request: Request<Body>, held: Held) -> Response<Body> {
    match request.uri().path() {
        "/held" => held.hold().await,
        "/large" => return Response::new(Body::from(vec![b'x'; 64 << 20])),
        _ => {}
    }
    match request.into_body().collect().await {
        Ok(body) => Response::new(Body::from(body.to_bytes().len().to_string())),
        Err(error) => {
            let status =
                if is_late(&error) { StatusCode::REQUEST_TIMEOUT } else { StatusCode::BAD_REQUEST };
            Response::builder().status(status).body(Body::empty()).unwrap()
        }
    }
}

fn is_late(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == ErrorKind::TimedOut;
        }
        source = error.source();
    }
    false
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    fn lost(&self, reason: &str) -> bool {
        let line = format!("reason=\"{reason}\"");
        self.metrics.encode_prometheus().lines().any(|found| found.contains(&line))
    }
}

async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: q\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    read_answer(stream).await
}

async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await.unwrap() {
            Ok(count) if count > 0 => answer.extend_from_slice(&piece[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits for the end of the connection, and tells how long that took.
async fn until_closed(stream: &mut TcpStream) -> Duration {
    let began = tokio::time::Instant::now();
    let mut piece = [0; 4096];
    let closed = async { while matches!(stream.read(&mut piece).await, Ok(count) if count > 0) {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("the connection should have been closed");
    began.elapsed()
}

#[tokio::test]
async fn requests_are_answered_one_after_another() {
    let running = start(options());
    let mut stream = running.connect().await;
    for _ in 0..3 {
        assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
    }
    assert!(
        running
            .metrics
            .encode_prometheus()
            .contains("quorate_http_connections{door=\"clients\"} 1")
    );
}

#[tokio::test]
async fn http2_is_recognised_by_its_first_bytes() {
    let running = start(ListenOptions { head_timeout: PATIENCE, ..options() });
    let mut stream = running.connect().await;
    // The preface and an empty SETTINGS frame, in two pieces; a SETTINGS frame comes back.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r").await.unwrap();
    tokio::time::sleep(TICK / 2).await;
    stream.write_all(b"\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame");
}

#[tokio::test]
async fn who_sends_nothing_is_cut_after_the_deadline_of_the_head() {
    let running = start(options());
    let mut stream = running.connect().await;
    let waited = until_closed(&mut stream).await;
    assert!(waited >= 3 * TICK, "{waited:?}");
    assert!(running.lost("head_late"));
}

#[tokio::test]
async fn a_head_that_dribbles_is_cut_and_others_are_served() {
    let running = start(options());
    let mut stream = running.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: q\r\n").await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dribble = tokio::spawn(async move {
        while writing.write_all(b"x-a: b\r\n").await.is_ok() {
            tokio::time::sleep(TICK / 2).await;
        }
    });
    let mut other = running.connect().await;
    assert!(ask(&mut other, "/").await.starts_with("HTTP/1.1 200"));
    let mut said = [0; 12];
    tokio::time::timeout(PATIENCE, reading.read_exact(&mut said)).await.unwrap().unwrap();
    assert_eq!(&said, b"HTTP/1.1 408");
    dribble.await.unwrap();
    assert!(running.lost("head_late"));
}

/// Everything that is said until the connection ends.
async fn last_words(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap().unwrap();
    String::from_utf8(said).unwrap()
}

/// These words are a problem document of this code.
#[track_caller]
fn assert_told(said: &str, code: ErrorCode) {
    let (head, body) = said.split_once("\r\n\r\n").expect("a whole answer");
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", code.status())), "{said}");
    assert!(head.contains("content-type: application/problem+json"), "{said}");
    assert!(head.contains("x-request-id: ") && head.contains("connection: close"), "{said}");
    let problem: Problem = serde_json::from_str(body).unwrap();
    assert_eq!(problem.code, code);
}

#[tokio::test]
async fn a_head_that_cannot_be_taken_is_told_why() {
    let running = start(ListenOptions { head_timeout: 20 * TICK, ..options() });
    let many = "x-a: b\r\n".repeat(200);
    let long = "x".repeat(1 << 20);
    for (head, code) in [
        ("hello\r\n\r\n".to_owned(), ErrorCode::MalformedRequest),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), ErrorCode::MalformedRequest),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), ErrorCode::RequestHeadTooLarge),
        (format!("GET / HTTP/1.1\r\nx-long: {long}\r\n\r\n"), ErrorCode::RequestHeadTooLarge),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), ErrorCode::RequestHeadTooLarge),
        ("GET / HTTP/1.1\r\nx-half: ".to_owned(), ErrorCode::RequestTimeout),
    ] {
        let mut stream = running.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_told(&last_words(&mut stream).await, code);
    }
    // After an answer of ours, too.
    let mut stream = running.connect().await;
    assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
    stream.write_all(b"hello\r\n\r\n").await.unwrap();
    let said = last_words(&mut stream).await;
    assert_told(said.strip_prefix('0').unwrap_or(&said), ErrorCode::MalformedRequest);
}

#[tokio::test]
async fn a_second_head_has_the_same_deadline() {
    let running = start(options());
    let mut stream = running.connect().await;
    ask(&mut stream, "/").await;
    // Bytes that come before the end of an answer was noticed only count once more of them come.
    let (reading, mut writing) = stream.into_split();
    let dribble = tokio::spawn(async move {
        while writing.write_all(b"G").await.is_ok() {
            tokio::time::sleep(TICK / 2).await;
        }
    });
    tokio::time::timeout(PATIENCE, dribble).await.expect("it should have been cut").unwrap();
    drop(reading);
    assert!(running.lost("head_late"));
    assert!(!running.lost("idle"));
}

#[tokio::test]
async fn between_requests_a_connection_may_wait_longer() {
    let running = start(ListenOptions { idle_timeout: 40 * TICK, ..options() });
    let mut stream = running.connect().await;
    ask(&mut stream, "/").await;
    tokio::time::sleep(8 * TICK).await;
    assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
    let waited = until_closed(&mut stream).await;
    assert!(waited >= 30 * TICK, "{waited:?}");
    assert!(running.lost("idle"));
}

#[tokio::test]
async fn a_body_that_dribbles_is_late_and_one_that_comes_in_pieces_is_not() {
    let running = start(ListenOptions { body_gap_max: 20 * TICK, ..options() });
    let mut slow = running.connect().await;
    let head = b"POST / HTTP/1.1\r\nhost: q\r\ncontent-length: 100000\r\n\r\n";
    slow.write_all(head).await.unwrap();
    let (mut reading, mut writing) = slow.into_split();
    let dribble = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(TICK).await;
        }
    });
    let mut steady = running.connect().await;
    steady.write_all(head).await.unwrap();
    for _ in 0..10 {
        steady.write_all(&[b'x'; 10_000]).await.unwrap();
        tokio::time::sleep(TICK).await;
    }
    assert!(read_answer(&mut steady).await.starts_with("HTTP/1.1 200"));
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, reading.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    drop(reading);
    dribble.await.unwrap();
}

#[tokio::test]
async fn a_body_that_stops_is_late() {
    let running = start(options());
    let mut stream = running.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: q\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn who_takes_no_answer_is_cut() {
    let running = start(options());
    let mut stream = running.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: q\r\n\r\n").await.unwrap();
    let began = tokio::time::Instant::now();
    while !running.lost("write_stalled") {
        assert!(began.elapsed() < PATIENCE, "the connection should have been cut");
        tokio::time::sleep(TICK).await;
    }
}

#[tokio::test]
async fn idle_connections_make_room_for_those_who_ask() {
    let running = start(ListenOptions { connections_max: 8, head_timeout: PATIENCE, ..options() });
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(running.connect().await);
    }
    for _ in 0..5 {
        let mut stream = running.connect().await;
        assert!(ask(&mut stream, "/").await.starts_with("HTTP/1.1 200"));
    }
    assert!(running.lost("evicted"));
    assert!(!running.lost("full"));
}

#[tokio::test]
async fn requests_under_way_do_not_make_room() {
    let running = start(ListenOptions { connections_max: 4, ..options() });
    let mut busy = Vec::new();
    for _ in 0..4 {
        let mut stream = running.connect().await;
        stream.write_all(b"GET /held HTTP/1.1\r\nhost: q\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    running.held.have_come(4).await;
    let mut refused = running.connect().await;
    let said = last_words(&mut refused).await;
    assert_told(&said, ErrorCode::TooManyConnections);
    assert!(said.contains("retry-after: "), "{said}");
    assert!(running.lost("full"));
    running.held.let_go();
    for stream in &mut busy {
        assert!(read_answer(stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn one_address_does_not_take_all_places() {
    let running = start(ListenOptions { connections_per_address_max: 2, ..options() });
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = running.connect().await;
        stream.write_all(b"GET /held HTTP/1.1\r\nhost: q\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    running.held.have_come(2).await;
    let mut refused = running.connect().await;
    until_closed(&mut refused).await;
    assert!(running.lost("address_full"));
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_closes_idle_connections() {
    let far = ListenOptions { idle_timeout: 2 * PATIENCE, drain_max: 2 * PATIENCE, ..options() };
    let running = start(far);
    let mut idle = running.connect().await;
    ask(&mut idle, "/").await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: q\r\n\r\n").await.unwrap();
    running.held.have_come(1).await;
    running.stop.send(()).unwrap();
    until_closed(&mut idle).await;
    running.held.let_go();
    assert!(read_answer(&mut busy).await.starts_with("HTTP/1.1 200"));
    assert_eq!(running.served.await.unwrap(), 0);
    assert!(TcpStream::connect(running.addr).await.is_err());
}

#[tokio::test]
async fn a_stop_cuts_what_does_not_finish() {
    let running = start(options());
    let mut stuck = running.connect().await;
    stuck.write_all(b"GET /held HTTP/1.1\r\nhost: q\r\n\r\n").await.unwrap();
    running.held.have_come(1).await;
    running.stop.send(()).unwrap();
    assert_eq!(running.served.await.unwrap(), 1);
}

/// Goal: a replica without descriptors backs off, makes room and goes on. Method: many connect before
/// anybody accepts, then the limit of this process is set just above what is open.
#[tokio::test]
async fn out_of_descriptors_the_listener_makes_room_and_goes_on() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(TcpStream::connect(addr).await.unwrap());
    }
    // Descriptors are given out from below, so the newest one tells how many there are.
    let newest = clients.last().unwrap().as_raw_fd();
    let before = getrlimit(Resource::Nofile);
    let limit = Some(u64::try_from(newest).unwrap() + 8);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: before.maximum }).unwrap();

    let metrics = Metrics::new();
    let listening = Listening {
        listener,
        door: Door::Clients,
        options: ListenOptions { head_timeout: 20 * TICK, ..options() },
        metrics: metrics.clone(),
        clock: Clock::real(),
    };
    let answer = |request| answer(request, Held::default());
    let served = tokio::spawn(listening.serve(answer, std::future::pending()));
    // The last one in the queue is served, because those before it are let go.
    let last = clients.last_mut().unwrap();
    assert!(ask(last, "/").await.starts_with("HTTP/1.1 200"));
    served.abort();
    setrlimit(Resource::Nofile, before).unwrap();
    let text = metrics.encode_prometheus();
    let failures = text
        .lines()
        .find_map(|line| line.strip_prefix("quorate_http_accept_failures_total{door=\"clients\"} "))
        .expect("accepting should have failed");
    assert!(failures.parse::<u64>().unwrap() < 20, "{failures} failures: it spins");
}

#[test]
fn descriptors_are_kept_for_files_and_peers_however_few_there_are() {
    let parts = |limit| {
        let Descriptors { clients, forwarded, peers } = Descriptors::of(limit);
        assert!(clients + forwarded <= limit - limit / 2 || clients + forwarded + 256 == limit);
        (clients, forwarded, peers)
    };
    assert_eq!(parts(128), (43, 21, 32));
    assert_eq!(parts(1024), (512, 256, 128));
    assert_eq!(parts(0), (0, 0, 0));
}
