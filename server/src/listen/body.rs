//! The body of a request with deadlines, and the body of an answer that tells when it is done.
//!
//! A body has to make progress: no gap beyond a maximum, and no average rate below a minimum. A body
//! that is already here when it is asked for costs no timer. One that is late ends with an error of
//! kind `TimedOut`, which the floor that reads it can tell from a broken connection.
//!
//! Not here: how many bytes a body may have. Who reads it knows.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::pulse::UnderWay;
use crate::world::{Clock, Instant, Timer};

/// How fast a body has to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) gap_max: Duration,
    pub(super) rate_min: u64,
}

/// A request's body that has to keep its pace.
#[derive(Debug)]
pub(super) struct Paced {
    body: Incoming,
    pace: Pace,
    clock: Clock,
    received: u64,
    /// Since when it is awaited, and the timer; none while all bytes were there at once.
    awaited: Option<(Instant, Pin<Box<Timer>>)>,
}

impl Paced {
    pub(super) fn new(body: Incoming, pace: Pace, clock: Clock) -> Self {
        Self { body, pace, clock, received: 0, awaited: None }
    }

    fn came(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if let Some((began, timer)) = &mut self.awaited {
            let earned = Duration::from_millis(
                self.received.saturating_mul(1_000) / self.pace.rate_min.max(1),
            );
            let by_rate = self.pace.gap_max.checked_add(earned).map(|allowed| *began + allowed);
            let by_gap = self.clock.after(self.pace.gap_max);
            timer.as_mut().reset(by_rate.map_or(by_gap, |by_rate| by_rate.min(by_gap)));
        }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.came(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let (_, timer) = this.awaited.get_or_insert_with(|| {
                    let deadline = this.clock.after(this.pace.gap_max);
                    (this.clock.now(), Box::pin(this.clock.timer(deadline)))
                });
                std::task::ready!(timer.as_mut().poll(cx));
                let late = io::Error::new(io::ErrorKind::TimedOut, "body came too slowly");
                Poll::Ready(Some(Err(late.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, with the request that is under way until it is complete.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    under_way: Option<UnderWay>,
}

impl Answer {
    pub(super) fn new(body: Body, under_way: UnderWay) -> Self {
        Self { body, under_way: Some(under_way) }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(None) = poll {
            drop(this.under_way.take());
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
