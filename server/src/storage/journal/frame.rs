//! Frames on their way to the disk: heads and payloads gathered for one write.
//!
//! A large payload is never copied: it goes to the disk from the bytes that the caller shares. What is
//! gathered ends on a page, filled up with zeros, so that the kernel need not read the rest of a page
//! of a recycled file before it can write.
//!
//! Not here: what the bytes of a head mean (`migrations::v1::frames`), and when they are written.

use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::Bytes;
use client::types::{Digest, EntryId, EntryIndex, Term};
use migrations::latest::frames::{
    EntryHead, EntryKind, EntryRow, FRAME_ALIGNMENT, FrameHead, Salt, VoteRow,
};

use super::{Entry, Vote};
use crate::machine::{EntryBody, Payload};
use crate::storage::disk::File;

/// Payloads up to this are copied beside their heads; larger ones are written from where they are.
const COPIED_BYTES_MAX: usize = 16 * 1024;
/// What the kernel reads and writes at once.
const PAGE_BYTES: u64 = 4096;

/// Frames gathered for one write.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    bytes: u64,
    count: usize,
}

#[derive(Debug)]
enum Piece {
    Copied(Range<usize>),
    Shared(Bytes),
}

impl Frames {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes they take in the segment.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds a frame that will lie at `offset` of a segment of this salt.
    pub(super) fn push(
        &mut self,
        head: &FrameHead,
        salt: &Salt,
        offset: u64,
        payload: Option<&Bytes>,
    ) {
        self.copy(&head.encode(salt, offset));
        if let Some(payload) = payload {
            if payload.len() <= COPIED_BYTES_MAX {
                self.copy(payload);
            } else {
                self.pieces.push(Piece::Shared(payload.clone()));
            }
            let filled = payload.len().next_multiple_of(FRAME_ALIGNMENT);
            self.copy(&[0; FRAME_ALIGNMENT][..filled - payload.len()]);
        }
        self.bytes += head.bytes();
        self.count += 1;
    }

    fn copy(&mut self, bytes: &[u8]) {
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        let end = self.buffer.len();
        match self.pieces.last_mut() {
            Some(Piece::Copied(range)) => range.end = end,
            Some(Piece::Shared(_)) | None if begin < end => {
                self.pieces.push(Piece::Copied(begin..end));
            }
            Some(Piece::Shared(_)) | None => {}
        }
    }

    /// Writes them at `offset`, and zeros to the end of the page, but not beyond `end`.
    pub(super) fn write(&mut self, file: &dyn File, offset: u64, end: u64) -> io::Result<()> {
        let written_until = offset + self.bytes;
        let page_end = written_until.next_multiple_of(PAGE_BYTES).min(end.max(written_until));
        let filling = usize::try_from(page_end - written_until).expect("a page fits memory");
        self.copy(&[0; 4096][..filling]);
        self.write_exactly(file, offset)
    }

    /// Writes them at `offset`, and nothing behind.
    pub(super) fn write_exactly(&self, file: &dyn File, offset: u64) -> io::Result<()> {
        let slices: Vec<IoSlice<'_>> = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Copied(range) => IoSlice::new(&self.buffer[range.clone()]),
                Piece::Shared(bytes) => IoSlice::new(bytes),
            })
            .collect();
        file.write_vectored_at(&slices, offset)
    }

    /// Forgets them, and keeps the room of an ordinary write.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(1024 * 1024);
        self.pieces.clear();
        self.bytes = 0;
        self.count = 0;
    }
}

/// An entry's name in numbers.
pub(super) fn row(id: &EntryId) -> EntryRow {
    EntryRow { index: id.index.get(), term: id.term.get(), leader: id.leader }
}

/// The opposite of [`row`].
pub(super) fn entry_id(row: &EntryRow) -> EntryId {
    EntryId::new(Term::new(row.term), row.leader, EntryIndex::new(row.index))
}

pub(super) fn vote_row(vote: &Vote) -> VoteRow {
    VoteRow { term: vote.term, leader: vote.leader, is_committed: vote.committed }
}

pub(super) fn vote(row: &VoteRow) -> Vote {
    Vote { term: row.term, leader: row.leader, committed: row.is_committed }
}

/// The replicated head of an entry. `None` if its payload is longer than a frame may carry.
pub(super) fn entry_head(entry: &Entry) -> Option<EntryHead> {
    let id = row(&entry.id);
    let (kind, payload) = match &entry.body {
        EntryBody::Blank => {
            return Some(EntryHead { kind: EntryKind::Blank, id, length: 0, hash: [0; 32] });
        }
        EntryBody::Command(payload) => (EntryKind::Command, payload),
        EntryBody::Membership(payload) => (EntryKind::Membership, payload),
    };
    let length = u32::try_from(payload.bytes.len()).ok()?;
    (length <= migrations::latest::frames::PAYLOAD_BYTES_MAX).then_some(EntryHead {
        kind,
        id,
        length,
        hash: *payload.hash.as_bytes(),
    })
}

/// An entry of its head and payload. `None` if the payload is not what the head says.
pub(super) fn entry(head: &EntryHead, bytes: Bytes) -> Option<Entry> {
    let payload = Payload { bytes, hash: Digest::new(head.hash) };
    let body = match head.kind {
        EntryKind::Blank => EntryBody::Blank,
        EntryKind::Command if payload.is_intact() => EntryBody::Command(payload),
        EntryKind::Membership if payload.is_intact() => EntryBody::Membership(payload),
        EntryKind::Command | EntryKind::Membership => return None,
    };
    Some(Entry { id: entry_id(&head.id), body })
}
