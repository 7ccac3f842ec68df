//! Takes in a message: the envelope first, and the rest only of those who may speak.
//!
//! What is not let in costs the few bytes of an envelope. All messages that are being taken in have a
//! number of bytes together, so that a crowd of large ones cannot take the memory of a replica.
//! A message ends with a check of all behind its envelope; nothing is decoded before it was compared.
//!
//! Not here: who may speak (`routes`), and what a message means (`codec`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use bytes::BytesMut;
use http_body_util::BodyExt as _;

use super::envelope::ENVELOPE_BYTES;

/// The most bytes of one message: an entry with the largest batch, and what stands around it.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most bytes of all messages that are being taken in.
const ROOM_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
/// The check at the end of a message and of an answer.
const CHECK_BYTES: usize = 4;

/// Ends a message or an answer with the check of everything from `from` on.
pub(super) fn seal(message: &mut Vec<u8>, from: usize) {
    let check = crc32c::crc32c(&message[from..]);
    message.extend_from_slice(&check.to_le_bytes());
}

/// The same for an answer that is in parts.
pub(super) fn seal_parts(parts: &mut Vec<Bytes>) {
    let check = parts.iter().fold(0, |check, part| crc32c::crc32c_append(check, part));
    parts.push(Bytes::copy_from_slice(&check.to_le_bytes()));
}

/// What a sealed message or answer holds, if it is what was sent.
pub(super) fn unseal(mut sealed: Bytes) -> Option<Bytes> {
    let check = sealed.split_off(sealed.len().checked_sub(CHECK_BYTES)?);
    (crc32c::crc32c(&sealed).to_le_bytes() == check[..]).then_some(sealed)
}

/// Why a message was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It is none, or was changed on the way.
    Malformed,
    /// Too many are being taken in, or it broke off.
    Unavailable,
}

/// Room for all messages that are being taken in. A clone is the same room.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    taken: Arc<AtomicUsize>,
}

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
struct Place {
    room: Room,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Place {
    /// Takes so many bytes more, if there is room.
    fn grow(&mut self, bytes: usize) -> Result<(), NotTaken> {
        self.bytes += bytes;
        // Counted first and looked at afterwards: what is dropped gives back what it counted.
        let taken = self.room.taken.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if taken > ROOM_BYTES_MAX { Err(NotTaken::Unavailable) } else { Ok(()) }
    }
}

/// A message that is being taken in.
pub(super) struct Intake {
    body: Body,
    here: BytesMut,
    place: Place,
}

/// The rest of a message, and the room it takes.
pub(super) struct Taken {
    /// All behind the envelope.
    pub(super) bytes: Bytes,
    _place: Place,
}

impl Intake {
    pub(super) fn new(body: Body, room: &Room) -> Self {
        let place = Place { room: room.clone(), bytes: 0 };
        Self { body, here: BytesMut::new(), place }
    }

    /// The bytes of the envelope.
    pub(super) async fn envelope(&mut self) -> Result<Bytes, NotTaken> {
        while self.here.len() < ENVELOPE_BYTES {
            if !self.read_on().await? {
                return Err(NotTaken::Malformed);
            }
        }
        Ok(self.here.split_to(ENVELOPE_BYTES).freeze())
    }

    /// All that follows, once it is whole.
    pub(super) async fn rest(mut self) -> Result<Taken, NotTaken> {
        while self.read_on().await? {}
        let bytes = unseal(self.here.freeze()).ok_or(NotTaken::Malformed)?;
        Ok(Taken { bytes, _place: self.place })
    }

    /// Takes in the next piece, if there is one.
    async fn read_on(&mut self) -> Result<bool, NotTaken> {
        while let Some(frame) = self.body.frame().await {
            let Ok(data) = frame.map_err(|_| NotTaken::Unavailable)?.into_data() else { continue };
            if self.here.len() + data.len() > MESSAGE_BYTES_MAX {
                return Err(NotTaken::Malformed);
            }
            self.place.grow(data.len())?;
            // Copied always: a piece lies in a buffer of the connection, far larger than itself, and entries are kept.
            self.here.extend_from_slice(&data);
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn message(bytes: usize) -> Vec<u8> {
        let mut message = vec![7; ENVELOPE_BYTES + bytes];
        seal(&mut message, ENVELOPE_BYTES);
        message
    }

    fn in_pieces(message: &[u8], length: usize) -> Body {
        let pieces: Vec<_> = message.chunks(length).map(Bytes::copy_from_slice).collect();
        Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
    }

    #[tokio::test]
    async fn a_message_comes_together_however_it_is_cut() {
        for length in [1, ENVELOPE_BYTES, ENVELOPE_BYTES + 1, 10_000] {
            let room = Room::default();
            let mut intake = Intake::new(in_pieces(&message(300), length), &room);
            assert_eq!(intake.envelope().await.unwrap(), [7; ENVELOPE_BYTES][..]);
            let taken = intake.rest().await.unwrap();
            assert_eq!(taken.bytes, [7; 300][..]);
            assert!(room.taken.load(Ordering::Relaxed) >= 300);
            drop(taken);
            assert_eq!(room.taken.load(Ordering::Relaxed), 0, "the room is given back");
        }
    }

    #[tokio::test]
    async fn what_is_kept_of_a_message_keeps_no_buffer_of_its_connection() {
        let mut piece = Bytes::from([message(300), vec![0; 64 * 1024]].concat());
        let buffer = piece.as_ptr().addr()..piece.as_ptr().addr() + piece.len();
        // Nobody else holds the buffer any more.
        piece.truncate(ENVELOPE_BYTES + 300 + CHECK_BYTES);
        let mut intake = Intake::new(Body::from(piece), &Room::default());
        intake.envelope().await.unwrap();
        let taken = intake.rest().await.unwrap();
        assert_eq!(taken.bytes, [7; 300][..]);
        assert!(!buffer.contains(&taken.bytes.as_ptr().addr()));
    }

    #[tokio::test]
    async fn whichever_byte_changes_on_the_way_the_message_is_refused() {
        let whole = message(40);
        for at in ENVELOPE_BYTES..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            let mut intake = Intake::new(Body::from(changed), &Room::default());
            intake.envelope().await.unwrap();
            assert_eq!(intake.rest().await.err(), Some(NotTaken::Malformed), "byte {at}");
        }
        let mut cut =
            Intake::new(Body::from(whole[..ENVELOPE_BYTES - 1].to_vec()), &Room::default());
        assert_eq!(cut.envelope().await, Err(NotTaken::Malformed));
    }

    #[tokio::test]
    async fn an_envelope_is_looked_at_before_the_rest_has_come() {
        let front = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![7; ENVELOPE_BYTES]))]);
        // The rest never comes.
        let body = Body::from_stream(front.chain(stream::pending()));
        let room = Room::default();
        let mut intake = Intake::new(body, &room);
        assert!(intake.envelope().await.is_ok());
        assert_eq!(room.taken.load(Ordering::Relaxed), ENVELOPE_BYTES);
    }

    #[tokio::test]
    async fn a_crowd_of_large_messages_finds_no_room() {
        let room = Room::default();
        let mut taken = Vec::new();
        let large = Bytes::from(message(MESSAGE_BYTES_MAX - ENVELOPE_BYTES - CHECK_BYTES));
        let refused = loop {
            let mut intake = Intake::new(Body::from(large.clone()), &room);
            let rest = match intake.envelope().await {
                Ok(_) => intake.rest().await,
                Err(refused) => break refused,
            };
            taken.push(rest.unwrap());
            assert!(taken.len() <= 8, "more than the room holds");
        };
        assert_eq!((refused, taken.len()), (NotTaken::Unavailable, 8));
        taken.pop();
        let mut intake = Intake::new(Body::from(large), &room);
        assert!(intake.envelope().await.is_ok(), "there is room again");
    }
}
