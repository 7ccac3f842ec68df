//! Takes in the body of a request, within limits that hold before anything is looked at.
//!
//! One body has a longest length, and all bodies being taken in have a number of bytes together: a
//! crowd of large uploads cannot take the memory of a replica. Room is taken as bytes arrive, so what
//! is merely announced keeps nobody out, and given back when the body is dropped. The last part of the
//! room is for small bodies. A body that arrived in one piece is not copied, unless it is tiny. One that is refused is read
//! and thrown away as it comes: it costs no memory, and who sends it gets to the answer.
//!
//! Not here: how fast a body has to come (`listen`), and what it means (`media`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use client::api::error::{Actual, ErrorCode};
use http::header::{CONTENT_LENGTH, EXPECT, HeaderMap};
use http_body_util::BodyExt;

use super::problem::ApiError;
use crate::world::Clock;

/// When to try again if too many bodies are being taken in.
const CROWDED_RETRY: Duration = Duration::from_millis(200);
/// A body up to here is small: it may take what the others have to leave free.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// A body up to here is copied out of its connection's buffer, which is twice as large.
const COPIED_BYTES_MAX: usize = 4 << 10;
/// The part of the room that only small bodies may take.
const SMALL_PART: usize = 8;
/// How much of a body that is too large is read and thrown away, so that the one who sends it gets to
/// the answer instead of a broken connection.
const DISCARDED_BYTES_MAX: u64 = 128 << 20;
/// For how long a body is read that is thrown away.
const DISCARD_MAX: Duration = Duration::from_secs(5);

/// Room for all bodies that are being taken in. A clone is the same room.
#[derive(Clone, Debug)]
pub(super) struct BodyRoom {
    taken: Arc<AtomicUsize>,
    bytes_max: usize,
    clock: Clock,
}

/// A body, and the room it takes.
#[derive(Debug)]
pub(super) struct TakenIn {
    /// All of it.
    pub(super) bytes: Bytes,
    _room: Room,
}

#[derive(Debug)]
struct Room {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl BodyRoom {
    /// Room for so many bytes.
    pub(super) fn new(bytes_max: usize, clock: Clock) -> Self {
        Self { taken: Arc::default(), bytes_max, clock }
    }

    /// Takes in a body of at most `limit` bytes.
    pub(super) async fn take_in(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        limit: usize,
    ) -> Result<TakenIn, ApiError> {
        let announced = announced_length(headers)?;
        if announced.is_some_and(|length| length > u64::try_from(limit).unwrap_or(u64::MAX)) {
            Box::pin(self.pass_over(headers, body)).await;
            return Err(too_large(limit));
        }
        let announced = announced.and_then(|length| usize::try_from(length).ok());
        let mut room = Room { taken: self.taken.clone(), bytes: 0 };
        let Some(first) = next_piece(&mut body).await? else {
            return Ok(TakenIn { bytes: Bytes::new(), _room: room });
        };
        if announced == Some(first.len()) {
            self.grow(&mut room, first.len())?;
            // As long as a body lies in what its connection has read, the connection has to read on elsewhere.
            let is_tiny = first.len() <= COPIED_BYTES_MAX;
            let bytes = if is_tiny { Bytes::copy_from_slice(&first) } else { first };
            return Ok(TakenIn { bytes, _room: room });
        }
        let longest = announced.unwrap_or(limit);
        let mut bytes = Vec::new();
        let mut piece = Some(first);
        while let Some(more) = piece {
            let length = bytes.len() + more.len();
            if length > limit {
                drop((bytes, room));
                Box::pin(self.discard(body)).await;
                return Err(too_large(limit));
            }
            if length > bytes.capacity() {
                // Twice of what came so far, so that little is copied and little is held in advance.
                let capacity = (2 * length).min(longest).max(length);
                if let Err(error) = self.grow(&mut room, capacity) {
                    drop((bytes, room));
                    Box::pin(self.discard(body)).await;
                    return Err(error);
                }
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&more);
            piece = next_piece(&mut body).await?;
        }
        Ok(TakenIn { bytes: bytes.into(), _room: room })
    }

    /// Lets a body go by that nobody wants, unless whoever sends it waits for a word first or would never
    /// come to its end.
    pub(super) async fn pass_over(&self, headers: &HeaderMap, body: Body) {
        let announced = announced_length(headers).unwrap_or(None);
        let is_endless = announced.is_some_and(|length| length > DISCARDED_BYTES_MAX);
        if !is_endless && !headers.contains_key(EXPECT) {
            Box::pin(self.discard(body)).await;
        }
    }

    /// Reads on for a while without keeping anything.
    async fn discard(&self, mut body: Body) {
        let reading = async {
            let mut discarded = 0;
            while discarded <= DISCARDED_BYTES_MAX
                && let Some(Ok(frame)) = body.frame().await
            {
                let length = frame.data_ref().map_or(0, Bytes::len);
                discarded += u64::try_from(length).unwrap_or(u64::MAX);
            }
        };
        self.clock.within(DISCARD_MAX, reading).await.ok();
    }

    /// Makes the room at least so large.
    fn grow(&self, room: &mut Room, bytes: usize) -> Result<(), ApiError> {
        let more = bytes.saturating_sub(room.bytes);
        if more == 0 {
            return Ok(());
        }
        room.bytes += more;
        let is_small = bytes <= SMALL_BYTES_MAX;
        let max = self.bytes_max - if is_small { 0 } else { self.bytes_max / SMALL_PART };
        // Counted first and looked at afterwards: a room that is dropped gives back what it counted.
        if self.taken.fetch_add(more, Ordering::AcqRel) + more > max {
            return Err(ApiError::new(ErrorCode::Overloaded).retry_after(CROWDED_RETRY));
        }
        Ok(())
    }
}

async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(broken(&error)),
            Some(Ok(frame)) => {
                // Trailers say nothing here.
                if let Ok(piece) = frame.into_data()
                    && !piece.is_empty()
                {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

pub(super) fn announced_length(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| ApiError::parameter("content-length", "not a length"))
}

fn too_large(limit: usize) -> ApiError {
    let limit = u64::try_from(limit).ok();
    ApiError::new(ErrorCode::BodyTooLarge).actual(Actual { limit, ..Actual::default() })
}

fn broken(error: &axum::Error) -> ApiError {
    if is_late(error) {
        ApiError::because(ErrorCode::RequestTimeout, "the body came too slowly")
    } else {
        ApiError::because(ErrorCode::InvalidBody, "the body ended early")
    }
}

/// Whether the listener gave a body up because it came too slowly.
fn is_late(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::TimedOut;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http::HeaderValue;

    use super::*;

    fn pieces(pieces: &[&'static [u8]]) -> Body {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, io::Error>(Bytes::from_static(piece))).collect();
        Body::from_stream(stream::iter(pieces))
    }

    fn length(bytes: u64) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(bytes))])
    }

    fn code(result: Result<TakenIn, ApiError>) -> ErrorCode {
        result.unwrap_err().problem().code
    }

    #[tokio::test]
    async fn a_body_comes_together_whether_its_length_was_told_or_not() {
        let room = BodyRoom::new(100, Clock::real());
        for headers in [length(6), HeaderMap::new()] {
            let taken = room.take_in(&headers, pieces(&[b"ab", b"", b"cdef"]), 6).await.unwrap();
            assert_eq!(room.taken.load(Ordering::Acquire), 6);
            assert_eq!(taken.bytes, "abcdef");
        }
        assert_eq!(room.taken.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn a_body_beyond_its_limit_is_refused_with_the_limit() {
        let room = BodyRoom::new(100, Clock::real());
        for headers in [length(7), HeaderMap::new()] {
            let error = room.take_in(&headers, pieces(&[b"abcd", b"efg"]), 6).await.unwrap_err();
            assert_eq!(error.problem().code, ErrorCode::BodyTooLarge);
            assert_eq!(error.problem().actual.limit, Some(6));
        }
        assert_eq!(room.taken.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_limit_too() {
        let room = BodyRoom::new(10, Clock::real());
        let first = room.take_in(&length(6), pieces(&[b"abcdef"]), 8).await.unwrap();
        let refused = room.take_in(&length(6), pieces(&[b"abcdef"]), 8).await;
        assert_eq!(code(refused), ErrorCode::Overloaded);
        let refused = room.take_in(&HeaderMap::new(), pieces(&[b"abc", b"def"]), 8).await;
        assert_eq!(code(refused), ErrorCode::Overloaded);
        drop(first);
        assert!(room.take_in(&length(6), pieces(&[b"abcdef"]), 8).await.is_ok());
    }

    /// What has arrived of a body, of which nothing more comes.
    fn dribble(arrived: &'static [u8]) -> Body {
        let arrived = stream::iter([Ok::<_, io::Error>(Bytes::from_static(arrived))]);
        Body::from_stream(arrived.chain(stream::pending()))
    }

    #[tokio::test]
    async fn what_is_announced_and_does_not_come_keeps_nobody_out() {
        let room = BodyRoom::new(1_000, Clock::real());
        let headers = length(900);
        let mut slow = Vec::new();
        for _ in 0..20 {
            slow.push(Box::pin(room.take_in(&headers, dribble(b"abc"), 900)));
        }
        for taking in &mut slow {
            assert!(futures_util::poll!(taking.as_mut()).is_pending());
        }
        assert_eq!(room.taken.load(Ordering::Acquire), 20 * 6, "twice of what arrived");
        assert!(room.take_in(&length(6), pieces(&[b"abcdef"]), 8).await.is_ok());
        drop(slow);
        assert_eq!(room.taken.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn large_bodies_leave_room_for_small_ones() {
        let room = BodyRoom::new(1 << 20, Clock::real());
        let large = vec![0; SMALL_BYTES_MAX + 1];
        let mut taken = Vec::new();
        while let Ok(more) = room.take_in(&HeaderMap::new(), large.clone().into(), 1 << 20).await {
            taken.push(more);
        }
        assert!(taken.len() > 5);
        assert!(room.take_in(&length(6), pieces(&[b"abcdef"]), 8).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_is_late_is_told_from_one_that_broke() {
        let room = BodyRoom::new(100, Clock::real());
        for (kind, expected) in [
            (io::ErrorKind::TimedOut, ErrorCode::RequestTimeout),
            (io::ErrorKind::ConnectionReset, ErrorCode::InvalidBody),
        ] {
            let body = Body::from_stream(stream::iter([
                Ok(Bytes::from_static(b"a")),
                Err(io::Error::new(kind, "x")),
            ]));
            assert_eq!(code(room.take_in(&length(6), body, 6).await), expected);
        }
    }
}
