//! Reading segments from the front: frame by frame, in large pieces, and over bad ones.
//!
//! A frame is there if its check fits its place. Behind a bad one the next good one is looked for at
//! every place where a frame may begin, since a bad head does not say how long its frame is.
//!
//! Whoever reads on gets large pieces, of which the disk is told before; whoever leaps from head to
//! head over long payloads reads little more than the heads.
//!
//! Not here: what follows from what is found (`recovery`).

use std::io;

use migrations::latest::frames::{
    EntryHead, FRAME_ALIGNMENT, FRAME_HEAD_BYTES, FrameBody, FrameHead, Salt, frame_bytes,
    is_candidate,
};
use sha2::{Digest, Sha256};

use crate::storage::disk::File;

/// Files are read in pieces of this size.
const READ_BYTES: usize = 1024 * 1024;
/// So far ahead the disk is told what comes.
const AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// Behind a leap of at least this, only so much is read: reading what lies between would take longer.
const LEAP_BYTES: u64 = 64 * 1024;
const AFTER_LEAP_BYTES: usize = 4 * 1024;

/// A file, read from front to back.
pub(super) struct Pages<'a> {
    file: &'a dyn File,
    length: u64,
    begin: u64,
    buffer: Vec<u8>,
    filled: usize,
    /// Behind what was asked for last.
    reached: u64,
    /// Behind what the disk was told of.
    told: u64,
}

/// What lies behind a bad frame.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Every frame up to this number was durable, as later ones say.
    pub(super) claim: u64,
    /// The next good frame and its offset.
    pub(super) next: Option<(u64, FrameHead)>,
    /// Behind the head of the last good frame.
    pub(super) end: u64,
}

impl<'a> Pages<'a> {
    pub(super) fn new(file: &'a dyn File) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { file, length, begin: 0, buffer: Vec::new(), filled: 0, reached: 0, told: 0 })
    }

    /// The bytes at `offset`; `None` past the end of the file.
    fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let end = offset + widen(length);
        if end > self.length {
            return Ok(None);
        }
        if offset < self.begin || end > self.begin + widen(self.filled) {
            self.fill(offset, length)?;
        }
        self.reached = end;
        let at = narrow(offset - self.begin)?;
        Ok(self.buffer.get(at..at + length))
    }

    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        let is_leap = self.filled == 0 || offset >= self.reached + LEAP_BYTES;
        let piece = if is_leap { AFTER_LEAP_BYTES } else { READ_BYTES };
        let wanted = widen(length.max(piece)).min(self.length - offset);
        if !is_leap {
            self.tell(offset + wanted);
        }
        self.filled = narrow(wanted)?;
        if self.buffer.len() < self.filled {
            self.buffer.resize(self.filled, 0);
        }
        self.begin = offset;
        self.file.read_at(&mut self.buffer[..self.filled], offset)
    }

    /// Tells the disk what will be read after `offset`, some pieces at once.
    fn tell(&mut self, offset: u64) {
        let begin = self.told.max(offset);
        let end = (offset + AHEAD_BYTES).min(self.length);
        if end > begin && (end - begin >= AHEAD_BYTES / 2 || end == self.length) {
            self.file.will_read(begin, end - begin);
            self.told = end;
        }
    }

    /// The frame that begins at `offset`, if a whole one may be there.
    pub(super) fn frame(&mut self, salt: &Salt, offset: u64) -> io::Result<Option<FrameHead>> {
        let length = self.length;
        let Some(bytes) = self.get(offset, FRAME_HEAD_BYTES)?.and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        let head = FrameHead::decode(bytes, salt, offset).ok();
        Ok(head.filter(|head| offset + head_and_payload(head) <= length))
    }

    /// Whether the payload behind the head at `offset` is what its head says.
    pub(super) fn is_intact(&mut self, offset: u64, entry: &EntryHead) -> io::Result<bool> {
        if entry.length == 0 {
            // A blank entry has no hash; an empty command has one, but nothing that could differ.
            return Ok(true);
        }
        let length = usize::try_from(entry.length).map_err(io::Error::other)?;
        let payload = self.get(offset + widen(FRAME_HEAD_BYTES), length)?;
        Ok(payload.is_some_and(|payload| Sha256::digest(payload)[..] == entry.hash))
    }

    /// Looks for good frames with a number of at least `number`, from `from` on.
    /// A frame with an entry that is flushed was durable, as was all before it.
    pub(super) fn look_ahead(
        &mut self,
        salt: &Salt,
        from: u64,
        number: u64,
        flushed: Option<u64>,
    ) -> io::Result<Ahead> {
        let mut ahead = Ahead::default();
        let mut offset = from;
        while let Some(at) = self.candidate(salt, offset)? {
            let head = self.frame(salt, at)?;
            offset = at + head.map_or(widen(FRAME_ALIGNMENT), |head| head.bytes());
            if let Some(head) = head {
                ahead.end = at + widen(FRAME_HEAD_BYTES);
                let is_flushed = matches!(&head.body, FrameBody::Entry(entry) if Some(entry.id.index) <= flushed);
                let claim = if is_flushed { head.number } else { head.known_durable };
                ahead.claim = ahead.claim.max(claim);
                if ahead.next.is_none() && head.number >= number {
                    ahead.next = Some((at, head));
                }
            }
        }
        Ok(ahead)
    }

    /// The next place from `offset` on where a head of this salt may begin.
    fn candidate(&mut self, salt: &Salt, offset: u64) -> io::Result<Option<u64>> {
        let mut block = offset;
        while block + widen(FRAME_HEAD_BYTES) <= self.length {
            let length = narrow(self.length - block)?.min(READ_BYTES);
            let Some(bytes) = self.get(block, length)? else { return Ok(None) };
            let last = length - FRAME_HEAD_BYTES;
            let mut places = (0..=last).step_by(FRAME_ALIGNMENT);
            if let Some(at) = places.find(|at| is_candidate(&bytes[*at..], salt)) {
                return Ok(Some(block + widen(at)));
            }
            block += widen(last - last % FRAME_ALIGNMENT + FRAME_ALIGNMENT);
        }
        Ok(None)
    }
}

/// What must be in the file: the filling behind a last payload may be missing.
fn head_and_payload(head: &FrameHead) -> u64 {
    frame_bytes(0) + u64::from(head.payload_length())
}

fn widen(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits 64 bits")
}

fn narrow(length: u64) -> io::Result<usize> {
    usize::try_from(length).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Zeros, and how many of them were read.
    #[derive(Debug, Default)]
    struct Counted {
        length: u64,
        read: AtomicU64,
    }

    impl File for Counted {
        fn read_at(&self, bytes: &mut [u8], _offset: u64) -> io::Result<()> {
            self.read.fetch_add(widen(bytes.len()), Ordering::Relaxed);
            bytes.fill(0);
            Ok(())
        }

        fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn write_vectored_at(&self, _pieces: &[IoSlice<'_>], _offset: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn set_len(&self, _length: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn allocate(&self, _length: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync_data(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.length)
        }
    }

    /// How much is read for heads that lie so far apart.
    fn read_for_heads(apart: usize) -> u64 {
        let file = Counted { length: 64 << 20, ..Counted::default() };
        let mut pages = Pages::new(&file).unwrap();
        for offset in (4096..file.length - 4096).step_by(apart) {
            assert!(pages.get(offset, FRAME_HEAD_BYTES).unwrap().is_some());
        }
        file.read.into_inner()
    }

    #[test]
    fn heads_of_long_frames_are_read_without_what_lies_between() {
        let read = read_for_heads(1 << 20);
        assert!(read <= 64 * widen(AFTER_LEAP_BYTES), "{read} bytes for 64 heads");
    }

    #[test]
    fn heads_of_short_frames_are_read_in_large_pieces_and_once() {
        let read = read_for_heads(2 << 10);
        assert!((63 << 20..=65 << 20).contains(&read), "{read} bytes of 64 MiB");
    }
}
