//! Batches as bytes, `application/vnd.quorate.batch`: a head, and records as the service keeps them.
//!
//! The records of an append's frame are a run and those of a read's frame are what a chunk holds,
//! byte for byte, so neither side re-encodes anything: the server takes a run as it is after one
//! walk over it, and sends chunks as they lie on its disk. All numbers are little-endian.
//!
//! ```text
//!   head, 32 bytes:   0  magic "QRTF"       4  version 1    5  kind    6  two zero bytes
//!                     8  count, u32        12  length of the records, u32
//!                    16  first position, u64; 0 in an append
//!                    24  four zero bytes   28  CRC32C of the 28 bytes before and the records, u32
//!   append's record:  u32 length of the untimed record | untimed record
//!   read's record:    u32 length of the untimed record | u64 time | untimed record
//! ```
//!
//! An append's body is one frame. A read's body is any number of them, without a gap in positions.
//!
//! Not here: the untimed record (`types`), and how chunks lie on the disk (`migrations`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::{
    Batch, BatchError, BatchLimits, HeadersError, NewRecord, Position, Record, Timestamp,
};

/// Length of a frame's head.
pub const HEAD_BYTES: usize = 32;
/// What stands before each record of a read's frame: length and time.
pub const TIMED_HEAD_BYTES: usize = 12;

const MAGIC: [u8; 4] = *b"QRTF";
const VERSION: u8 = 1;
const CHECK_OFFSET: usize = 28;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Append = 1,
    Read = 2,
}

/// The head of an append's frame; the batch's run follows it on the wire.
pub fn append_head(batch: &Batch) -> [u8; HEAD_BYTES] {
    head(Kind::Append, batch.count(), Position::ZERO, batch.run())
}

/// An append's frame in one piece.
pub fn append_frame(batch: &Batch) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + batch.run().len());
    frame.put_slice(&append_head(batch));
    frame.put_slice(batch.run());
    frame.freeze()
}

/// The batch in the body of an append, sharing its bytes.
pub fn read_append(mut body: Bytes, limits: &BatchLimits) -> Result<Batch, FrameError> {
    let (head, run) = split_frame(&mut body, Kind::Append)?;
    if !body.is_empty() {
        return Err(FrameError::MoreThanOne);
    }
    Ok(Batch::from_run(run, head.count, limits)?)
}

/// The head of a read's frame; its records follow it on the wire, as a chunk holds them.
pub fn read_head(first: Position, count: u32, records: &[u8]) -> [u8; HEAD_BYTES] {
    head(Kind::Read, count, first, records)
}

/// Makes a read's frame record by record, where they do not lie in a chunk already.
///
/// ```
/// use quorate_client::api::frame::{ReadFrame, ReadFrameBuilder};
/// use quorate_client::types::{Headers, Position, Record, Timestamp};
///
/// let record = Record {
///     position: Position::new(17),
///     time: Timestamp::new(1_795_464_957_000),
///     headers: Headers::none(),
///     body: "hello".into(),
/// };
/// let mut frame = ReadFrameBuilder::new(Position::new(17), 64);
/// frame.push(&record);
/// let mut body = frame.finish();
/// let frame = ReadFrame::take(&mut body).unwrap().unwrap();
/// assert_eq!(frame.records().next().unwrap().unwrap(), record);
/// ```
#[derive(Clone, Debug)]
pub struct ReadFrameBuilder {
    frame: BytesMut,
    first: Position,
    count: u32,
}

impl ReadFrameBuilder {
    /// An empty frame whose first record will be the one at this position.
    pub fn new(first: Position, bytes: usize) -> Self {
        let mut frame = BytesMut::with_capacity(HEAD_BYTES + bytes);
        frame.put_bytes(0, HEAD_BYTES);
        Self { frame, first, count: 0 }
    }

    /// Adds the next record.
    pub fn push(&mut self, record: &Record) {
        let expected = self.first.advance(u64::from(self.count));
        assert_eq!(record.position, expected, "records of a frame have no gap");
        // The parts are shared, not copied.
        let untimed = NewRecord { headers: record.headers.clone(), body: record.body.clone() };
        self.reserve_one(untimed.untimed_bytes(), record.time);
        untimed.write_untimed(&mut self.frame);
    }

    /// Adds the next record, given as an untimed record of a run.
    pub fn push_untimed(&mut self, time: Timestamp, untimed: &[u8]) {
        self.reserve_one(untimed.len(), time);
        self.frame.put_slice(untimed);
    }

    fn reserve_one(&mut self, untimed_bytes: usize, time: Timestamp) {
        let length = u32::try_from(untimed_bytes).expect("a record is far below 4 GiB");
        self.frame.reserve(TIMED_HEAD_BYTES + untimed_bytes);
        self.frame.put_u32_le(length);
        self.frame.put_u64_le(time.as_millis());
        self.count = self.count.checked_add(1).expect("a frame has fewer than 2^32 records");
    }

    /// How many records it has.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Length of the frame so far.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    /// The frame.
    pub fn finish(mut self) -> Bytes {
        let head = head(Kind::Read, self.count, self.first, &self.frame[HEAD_BYTES..]);
        self.frame[..HEAD_BYTES].copy_from_slice(&head);
        self.frame.freeze()
    }
}

/// One frame of a read's answer: found whole, its records not yet taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFrame {
    first: Position,
    count: u32,
    records: Bytes,
}

impl ReadFrame {
    /// Takes the first frame off the body of a read's answer; none if the body is empty.
    pub fn take(body: &mut Bytes) -> Result<Option<Self>, FrameError> {
        if body.is_empty() {
            return Ok(None);
        }
        let (head, records) = split_frame(body, Kind::Read)?;
        Ok(Some(Self { first: head.first, count: head.count, records }))
    }

    /// Position of its first record.
    pub const fn first(&self) -> Position {
        self.first
    }

    /// How many records.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Its records, sharing its bytes. Ends with an error if the frame was made wrongly.
    pub fn records(self) -> ReadFrameRecords {
        ReadFrameRecords { next: self.first, left: self.count, rest: self.records }
    }
}

/// Walks the records of a [`ReadFrame`].
#[derive(Clone, Debug)]
pub struct ReadFrameRecords {
    next: Position,
    left: u32,
    rest: Bytes,
}

impl ReadFrameRecords {
    fn take_one(&mut self) -> Result<Record, FrameError> {
        if self.rest.len() < TIMED_HEAD_BYTES {
            return Err(FrameError::CountDiffers);
        }
        let length = usize::try_from(self.rest.get_u32_le()).map_err(|_| FrameError::CutShort)?;
        let time = Timestamp::new(self.rest.get_u64_le());
        if self.rest.len() < length {
            return Err(FrameError::CutShort);
        }
        let position = self.next;
        self.next = position.checked_advance(1).ok_or(FrameError::CountDiffers)?;
        self.left -= 1;
        Ok(Record::from_untimed(position, time, self.rest.split_to(length))?)
    }
}

impl Iterator for ReadFrameRecords {
    type Item = Result<Record, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = match (self.left, self.rest.is_empty()) {
            (0, true) => return None,
            (0, false) | (_, true) => Err(FrameError::CountDiffers),
            (_, false) => self.take_one(),
        };
        if taken.is_err() {
            // Nothing behind a mistake is to be trusted.
            (self.left, self.rest) = (0, Bytes::new());
        }
        Some(taken)
    }
}

fn head(kind: Kind, count: u32, first: Position, records: &[u8]) -> [u8; HEAD_BYTES] {
    let length = u32::try_from(records.len()).expect("a frame is far below 4 GiB");
    let mut head = [0; HEAD_BYTES];
    let mut rest = &mut head[..];
    rest.put_slice(&MAGIC);
    rest.put_u8(VERSION);
    rest.put_u8(kind as u8);
    rest.put_u16_le(0);
    rest.put_u32_le(count);
    rest.put_u32_le(length);
    rest.put_u64_le(first.get());
    let check = check(&head[..CHECK_OFFSET], records);
    head[CHECK_OFFSET..].copy_from_slice(&check.to_le_bytes());
    head
}

fn check(head: &[u8], records: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), records)
}

struct Head {
    count: u32,
    first: Position,
}

/// Takes one frame of a kind off the front of `body`: its head, checked, and its records.
fn split_frame(body: &mut Bytes, kind: Kind) -> Result<(Head, Bytes), FrameError> {
    if !body.starts_with(&MAGIC) {
        return Err(FrameError::NoFrame);
    }
    let mut head = body.get(MAGIC.len()..HEAD_BYTES).ok_or(FrameError::CutShort)?;
    let version = head.get_u8();
    if version != VERSION {
        return Err(FrameError::Version { version });
    }
    if head.get_u8() != kind as u8 {
        return Err(FrameError::Kind);
    }
    let zeros = head.get_u16_le();
    let count = head.get_u32_le();
    let length = usize::try_from(head.get_u32_le()).map_err(|_| FrameError::CutShort)?;
    let first = Position::new(head.get_u64_le());
    let more_zeros = head.get_u32_le();
    let sum = head.get_u32_le();
    let records = body.get(HEAD_BYTES..).and_then(|rest| rest.get(..length));
    let records = records.ok_or(FrameError::CutShort)?;
    if sum != check(&body[..CHECK_OFFSET], records) {
        return Err(FrameError::Damaged);
    }
    if zeros != 0 || more_zeros != 0 || (kind == Kind::Append && first != Position::ZERO) {
        return Err(FrameError::Kind);
    }
    let mut frame = body.split_to(HEAD_BYTES + length);
    frame.advance(HEAD_BYTES);
    Ok((Head { count, first }, frame))
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// They do not start as a frame does.
    #[error("these bytes do not start as a frame does")]
    NoFrame,
    /// A version that is not known here.
    #[error("frames of version {version} are not known here")]
    Version {
        /// Which.
        version: u8,
    },
    /// A frame, but not of the kind that belongs here.
    #[error("a frame of this kind does not belong here")]
    Kind,
    /// They end within a frame.
    #[error("the frame ends too early")]
    CutShort,
    /// Something was changed on the way.
    #[error("the frame is damaged: its checksum differs")]
    Damaged,
    /// Another number of records than announced.
    #[error("the frame holds another number of records than it announces")]
    CountDiffers,
    /// More than one frame in an append.
    #[error("an append is one frame, and there is more behind it")]
    MoreThanOne,
    /// Headers of a record that are none.
    #[error("a record of the frame: {0}")]
    Headers(#[from] HeadersError),
    /// Records that make no batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Headers;

    fn batch(bodies: &[&'static str]) -> Batch {
        let records: Vec<_> = bodies.iter().map(|body| NewRecord::new(*body)).collect();
        Batch::new(&records, &BatchLimits::default()).unwrap()
    }

    fn take_append(frame: &[u8]) -> Result<Batch, FrameError> {
        read_append(Bytes::copy_from_slice(frame), &BatchLimits::default())
    }

    fn take_read(body: &[u8]) -> Result<Vec<Record>, FrameError> {
        let mut body = Bytes::copy_from_slice(body);
        let mut records = Vec::new();
        while let Some(frame) = ReadFrame::take(&mut body)? {
            for record in frame.records() {
                records.push(record?);
            }
        }
        Ok(records)
    }

    #[test]
    fn the_run_in_an_append_is_taken_without_a_copy() {
        let frame = append_frame(&batch(&["a", "b"]));
        let taken = read_append(frame.clone(), &BatchLimits::default()).unwrap();
        assert_eq!(taken.run().as_ptr(), frame[HEAD_BYTES..].as_ptr());
        assert_eq!(taken, batch(&["a", "b"]));
    }

    #[test]
    fn every_flipped_byte_of_a_frame_is_noticed() {
        let mut frame = append_frame(&batch(&["hello", "world"])).to_vec();
        for at in 0..frame.len() {
            frame[at] ^= 0x20;
            assert!(take_append(&frame).is_err(), "byte {at}");
            frame[at] ^= 0x20;
        }
        for length in 0..frame.len() {
            assert!(take_append(&frame[..length]).is_err(), "cut at {length}");
        }
        assert!(take_append(&frame).is_ok());
    }

    #[test]
    fn an_append_is_exactly_one_frame_of_its_kind() {
        let frame = append_frame(&batch(&["a"]));
        assert_eq!(take_append(&[&frame[..], &frame].concat()), Err(FrameError::MoreThanOne));
        let read = ReadFrameBuilder::new(Position::ZERO, 0).finish();
        assert_eq!(take_append(&read), Err(FrameError::Kind));
        assert_eq!(take_read(&frame), Err(FrameError::Kind));
        assert_eq!(take_append(b"{}"), Err(FrameError::NoFrame));
    }

    #[test]
    fn a_batch_beyond_a_limit_is_refused_as_a_frame_too() {
        let limits = BatchLimits { records_max: 1, ..BatchLimits::default() };
        let refused = read_append(append_frame(&batch(&["a", "b"])), &limits);
        assert_eq!(refused, Err(FrameError::Batch(BatchError::RecordsTooMany { max: 1 })));
    }

    #[test]
    fn a_frame_that_announces_another_count_ends_with_an_error() {
        let run = b"\x03\0\0\0\x01\0\0\0\0\0\0\0\0\0a";
        for count in [0, 2] {
            let body = [&read_head(Position::ZERO, count, run)[..], run].concat();
            assert_eq!(take_read(&body), Err(FrameError::CountDiffers));
        }
    }

    proptest! {
        #[test]
        fn records_survive_frames_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..30),
            first in 0..u64::MAX / 2,
            cut in 1_usize..9,
        ) {
            let records: Vec<_> = (first..).zip(bodies).map(|(position, body)| Record {
                position: Position::new(position),
                time: Timestamp::new(position % 7),
                headers: Headers::from_pairs([("h", &body)]).unwrap(),
                body: body.into(),
            }).collect();
            let mut body = Vec::new();
            for some in records.chunks(cut) {
                let mut frame = ReadFrameBuilder::new(some[0].position, 0);
                for record in some {
                    frame.push(record);
                }
                let bytes = frame.finish();
                let again = read_head(some[0].position, u32::try_from(some.len()).unwrap(), &bytes[HEAD_BYTES..]);
                prop_assert_eq!(&bytes[..HEAD_BYTES], &again[..]);
                body.extend_from_slice(&bytes);
            }
            prop_assert_eq!(take_read(&body).unwrap(), records);
        }

        #[test]
        fn no_bytes_break_a_frame(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let records = &bytes[..];
            let body = [&read_head(Position::new(u64::MAX), 3, records)[..], records].concat();
            prop_assert!(take_read(&body).is_err());
            prop_assert!(take_read(&bytes).is_err() || bytes.is_empty());
            prop_assert!(take_append(&bytes).is_err());
        }
    }
}
