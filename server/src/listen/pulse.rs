//! What a connection is doing, as its deadlines need to know it.
//!
//! One `Pulse` is shared by the socket, which reports bytes, by the requests, which report their
//! beginning and end, and by the connection's own task, which asks for the verdict. Times are
//! milliseconds on the monotonic clock since the listener began; `NEVER` stands for none.
//!
//! Not here: deadlines of bodies, which belong to one request (`body`).

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use client::api::error::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::ListenOptions;
use super::last_word::refusal;
use crate::metrics::ConnectionLoss;
use crate::world::{Clock, Instant};

const NEVER: u64 = u64::MAX;

/// What a connection's task may be asked to do, beyond going on. Several may be asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked(u8);

impl Asked {
    /// Finish what is under way and take no further request.
    pub(super) const DRAIN: Self = Self(1);
    /// Another one needs the place: end if no request is under way.
    pub(super) const EVICT: Self = Self(2);
    /// End at once.
    pub(super) const CUT: Self = Self(4);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What the deadlines say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is late; ask again then.
    AskAgain(Instant),
    /// A deadline passed.
    Lost(ConnectionLoss),
}

#[derive(Debug)]
pub(super) struct Pulse {
    clock: Clock,
    began: Instant,
    pub(super) address: IpAddr,
    /// Requests whose answers are not yet complete.
    requests: AtomicUsize,
    /// Since when no request is under way: accepted, or the end of the last answer.
    quiet_since: AtomicU64,
    /// Since when bytes of a head have been coming in, outside of any request.
    head_since: AtomicU64,
    /// Since when the other side has taken no byte of what we have for it.
    blocked_since: AtomicU64,
    /// A head began, and the timer does not know of its deadline yet.
    has_new_deadline: AtomicBool,
    has_answered: AtomicBool,
    is_http2: AtomicBool,
    /// An answer was made of which no byte was written yet.
    is_answer_waiting: AtomicBool,
    /// Why the connection ends, if the other side is still to be told; and the socket to do it.
    unsaid: Mutex<Option<(ErrorCode, Option<TcpStream>)>>,
    asked: AtomicU8,
    nudge: Notify,
}

impl Pulse {
    pub(super) fn new(clock: Clock, began: Instant, address: IpAddr) -> Self {
        let pulse = Self {
            clock,
            began,
            address,
            requests: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            head_since: AtomicU64::new(NEVER),
            blocked_since: AtomicU64::new(NEVER),
            has_new_deadline: AtomicBool::new(false),
            has_answered: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            is_answer_waiting: AtomicBool::new(false),
            unsaid: Mutex::new(None),
            asked: AtomicU8::new(0),
            nudge: Notify::new(),
        };
        pulse.quiet_since.store(pulse.now(), Ordering::Relaxed);
        pulse
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.since(self.began).as_millis()).unwrap_or(NEVER - 1)
    }

    fn at(&self, millis: u64, ahead: Duration) -> Instant {
        self.began + Duration::from_millis(millis) + ahead
    }

    /// A request has begun; it ends when what is returned is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.head_since.store(NEVER, Ordering::Relaxed);
        self.has_new_deadline.store(false, Ordering::Relaxed);
        UnderWay { pulse: self.clone() }
    }

    /// A request has its answer, and the next bytes that are written are its own.
    pub(super) fn answer_made(&self) {
        self.is_answer_waiting.store(true, Ordering::Relaxed);
    }

    /// A head did not come in time. If some of it came, the other side is told.
    pub(super) fn head_late(&self) {
        let has_begun = self.head_since.load(Ordering::Relaxed) != NEVER;
        if has_begun && !self.is_http2.load(Ordering::Relaxed) {
            self.leave_unsaid(ErrorCode::RequestTimeout);
        }
    }

    /// What the other side is still to be told, and the socket, once nobody else has it.
    pub(super) fn take_unsaid(&self) -> Option<(TcpStream, ErrorCode)> {
        let (code, stream) = self.unsaid().take()?;
        stream.map(|stream| (stream, code))
    }

    fn leave_unsaid(&self, code: ErrorCode) {
        // What was noticed first is the reason.
        self.unsaid().get_or_insert((code, None));
    }

    fn unsaid(&self) -> MutexGuard<'_, Option<(ErrorCode, Option<TcpStream>)>> {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether these bytes are no answer of ours but what HTTP itself says to a head it cannot take.
    /// They are kept back, and said in our own words at the end.
    fn keeps_back(&self, bytes: &[u8]) -> bool {
        if self.is_answer_waiting.swap(false, Ordering::Relaxed) || !self.is_quiet() {
            return false;
        }
        let refusal = refusal(bytes);
        if let Some(code) = refusal {
            self.leave_unsaid(code);
        }
        refusal.is_some()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0
    }

    /// How long nothing but waiting has happened, for choosing who makes room; none while a request
    /// is under way.
    pub(super) fn quiet_since(&self) -> Option<u64> {
        self.is_quiet().then(|| self.quiet_since.load(Ordering::Relaxed))
    }

    /// Asks for something and wakes the connection's task.
    pub(super) fn ask(&self, what: Asked) {
        self.asked.fetch_or(what.0, Ordering::AcqRel);
        self.nudge.notify_one();
    }

    /// Ends when something was asked for; the next call waits for more.
    pub(super) async fn asked(&self) -> Asked {
        loop {
            self.nudge.notified().await;
            let asked = self.asked.swap(0, Ordering::AcqRel);
            if asked != 0 {
                return Asked(asked);
            }
        }
    }

    /// Ready if the bytes just read left a head unfinished, which has a nearer deadline than the
    /// timer knows. Only asked after the connection itself was polled: it needs no waker.
    pub(super) fn poll_new_deadline(&self) -> Poll<()> {
        if self.has_new_deadline.swap(false, Ordering::Relaxed) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// What the deadlines say now.
    pub(super) fn verdict(&self, options: &ListenOptions) -> Verdict {
        let now = self.clock.now();
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != NEVER && self.at(blocked, options.write_stall_max) <= now {
            return Verdict::Lost(ConnectionLoss::WriteStalled);
        }
        if !self.is_quiet() {
            // Whatever comes next has at least this long, so its deadline is met closely enough.
            return Verdict::AskAgain(now + options.head_timeout.min(options.idle_timeout) / 4);
        }
        let (deadline, reason) = self.quiet_deadline(options);
        if deadline <= now { Verdict::Lost(reason) } else { Verdict::AskAgain(deadline) }
    }

    fn quiet_deadline(&self, options: &ListenOptions) -> (Instant, ConnectionLoss) {
        let quiet = self.quiet_since.load(Ordering::Relaxed);
        if !self.has_answered.load(Ordering::Relaxed) {
            return (self.at(quiet, options.head_timeout), ConnectionLoss::HeadLate);
        }
        let head = self.head_since.load(Ordering::Relaxed);
        if head != NEVER && !self.is_http2.load(Ordering::Relaxed) {
            return (self.at(head, options.head_timeout), ConnectionLoss::HeadLate);
        }
        (self.at(quiet, options.idle_timeout), ConnectionLoss::Idle)
    }

    fn bytes_came(&self, bytes: &[u8]) {
        if self.is_quiet() && self.head_since.load(Ordering::Relaxed) == NEVER {
            self.head_since.store(self.now(), Ordering::Relaxed);
            self.has_new_deadline.store(true, Ordering::Relaxed);
            // No method of HTTP/1 begins like the preface of HTTP/2.
            if !self.has_answered.load(Ordering::Relaxed) && bytes.starts_with(b"PRI") {
                self.is_http2.store(true, Ordering::Relaxed);
            }
        }
    }

    fn bytes_went(&self) {
        if self.blocked_since.load(Ordering::Relaxed) != NEVER {
            self.blocked_since.store(NEVER, Ordering::Relaxed);
        }
    }

    fn write_blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == NEVER {
            self.blocked_since.store(self.now(), Ordering::Relaxed);
        }
    }
}

/// A request under way, until its answer is complete or given up.
#[derive(Debug)]
pub(super) struct UnderWay {
    pulse: Arc<Pulse>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let pulse = &self.pulse;
        pulse.has_answered.store(true, Ordering::Relaxed);
        if pulse.requests.load(Ordering::Acquire) == 1 {
            pulse.quiet_since.store(pulse.now(), Ordering::Relaxed);
        }
        pulse.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A socket that reports its bytes to the pulse.
#[derive(Debug)]
pub(super) struct Watched {
    /// There until the drop.
    stream: Option<TcpStream>,
    pulse: Arc<Pulse>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some((_, stream)) = &mut *self.pulse.unsaid() {
            *stream = self.stream.take();
        }
    }
}

impl Watched {
    pub(super) fn new(stream: TcpStream, pulse: Arc<Pulse>) -> Self {
        Self { stream: Some(stream), pulse }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("the socket is there until the drop"))
    }

    fn wrote(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match poll {
            Poll::Pending => self.pulse.write_blocked(),
            Poll::Ready(Ok(_)) => self.pulse.bytes_went(),
            Poll::Ready(Err(_)) => {}
        }
        poll
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = self.stream().poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.pulse.bytes_came(&buffer.filled()[before..]);
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.pulse.keeps_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let poll = self.stream().poll_write(cx, bytes);
        self.wrote(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pulse.unsaid().is_some() {
            return Poll::Ready(Ok(()));
        }
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bytes.first().is_some_and(|head| self.pulse.keeps_back(head)) {
            return Poll::Ready(Ok(bytes.iter().map(|piece| piece.len()).sum()));
        }
        let poll = self.stream().poll_write_vectored(cx, bytes);
        self.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}
