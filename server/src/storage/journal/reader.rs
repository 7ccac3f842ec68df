//! Reading entries: from memory if they are there, else from the segments, verified.
//!
//! The lock is held only to find out where entries lie. A reader then holds its segments, and a
//! segment that is held is not recycled. What is read from a file is compared with its check and its
//! hash; an entry that differs is an error with its name, never an answer and never a gap.
//!
//! Not here: which entries exist (`state`).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use migrations::latest::frames::{EntryHead, FRAME_HEAD_BYTES, FrameBody, FrameHead, frame_bytes};

use super::catalog::{Slot, Stretch};
use super::frame;
use super::segment::Segment;
use super::state::{Shared, State, behind};
use super::wounded::read_linked;
use super::wounds::Spot;
use super::{Entry, LinkedEntry, Verified};

/// Files are read in pieces of about this size.
const READ_BYTES: u64 = 1024 * 1024;

impl State {
    /// The part of a range that is here. Empty if its beginning is purged: there is no answer that
    /// begins there.
    fn clip(&self, from: u64, until: u64) -> (u64, u64) {
        let until = until.min(behind(self.last.as_ref()));
        if from < behind(self.purged.as_ref()) { (from, from) } else { (from, until.max(from)) }
    }

    /// Entries of `wanted`, which are in memory, while they fit in `bytes_max`; of an answer that
    /// begins at `first`, that one in any case.
    fn take_suffix(&self, wanted: Range<u64>, first: u64, bytes_max: u64) -> Vec<Entry> {
        let mut bytes = 0_u64;
        let mut entries = Vec::new();
        for index in wanted {
            let entry = self.suffix.get(index).expect("the suffix reaches to the last entry");
            bytes = bytes.saturating_add(payload_bytes(entry));
            if bytes > bytes_max && index > first {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }
}

fn payload_bytes(entry: &Entry) -> u64 {
    u64::try_from(entry.body.payload_bytes()).expect("a length fits 64 bits")
}

impl Shared {
    pub(super) fn read_suffix(&self, from: u64, until: u64, bytes_max: u64) -> Option<Vec<Entry>> {
        let state = self.lock();
        let (from, until) = state.clip(from, until);
        if from < until && from < state.suffix.first() {
            return None;
        }
        Some(state.take_suffix(from..until, from, bytes_max))
    }

    pub(super) fn read(&self, from: u64, until: u64, bytes_max: u64) -> io::Result<Vec<Entry>> {
        let state = self.lock();
        let (from, until) = state.clip(from, until);
        let in_files = until.min(state.suffix.first()).max(from);
        let stretches = state.catalog.locate(from, in_files, bytes_max);
        let located: u64 = stretches.iter().map(|stretch| stretch.until() - stretch.first).sum();
        let mut newer = Vec::new();
        if located == in_files - from {
            let older: u64 =
                stretches.iter().flat_map(|s| &s.slots).map(|slot| u64::from(slot.length())).sum();
            let left = bytes_max.saturating_sub(older);
            newer = state.take_suffix(in_files..until, from, left);
        }
        drop(state);
        let mut entries = Vec::with_capacity(usize::try_from(located).unwrap_or(0) + newer.len());
        for stretch in &stretches {
            read_stretch(stretch, &mut |head, bytes| {
                let damaged = || damaged(head.id.index);
                entries.push(frame::entry(head, bytes).ok_or_else(damaged)?);
                Ok(())
            })?;
        }
        entries.append(&mut newer);
        Ok(entries)
    }

    /// One entry, read from the files whether it is in memory or not.
    pub(super) fn linked(&self, index: u64) -> Option<LinkedEntry> {
        let found = {
            let state = self.lock();
            let (from, until) = state.clip(index, index + 1);
            state.catalog.locate(from, until.min(state.durable_until()).max(from), u64::MAX)
        };
        let stretch = found.first()?;
        let slot = *stretch.slots.first()?;
        let segment = Arc::clone(&stretch.segment);
        read_linked(&Spot { salt: segment.salt, offset: slot.offset(), segment }, slot).ok()
    }

    /// Writes the payload of an entry once more where it lies, if it is the one that its head names. Whoever holds a
    /// segment keeps it from being recycled, so nothing else is written there meanwhile.
    pub(super) fn rewrite(&self, given: &Entry) -> io::Result<bool> {
        let index = given.id.index.get();
        let found = {
            let state = self.lock();
            let (from, until) = state.clip(index, index + 1);
            state.catalog.locate(from, until.min(state.durable_until()).max(from), u64::MAX)
        };
        let slot = found.first().and_then(|stretch| Some((stretch, *stretch.slots.first()?)));
        let (Some((stretch, slot)), Some(payload)) = (slot, given.body.payload()) else {
            return Ok(false);
        };
        let file = stretch.segment.file.as_ref();
        let Ok(head) = read_head(&stretch.segment, slot) else { return Ok(false) };
        if frame::entry_head(given) != Some(head) || !payload.is_intact() {
            return Ok(false);
        }
        file.write_at(&payload.bytes, slot.offset() + FRAME_HEAD_BYTES as u64)?;
        file.sync_data()?;
        Ok(verify(&one(stretch, index, slot)).is_ok())
    }

    pub(super) fn verify_payloads(&self, from: u64, until: u64, bytes_max: u64) -> Verified {
        let (from, until, stretches) = {
            let state = self.lock();
            let from = from.max(state.catalog.first().unwrap_or(u64::MAX)).min(until);
            let until = until.min(state.durable_until()).max(from);
            (from, until, state.catalog.locate(from, until, bytes_max))
        };
        let mut verified = Verified { next: until, bytes: 0, damaged: Vec::new() };
        for stretch in &stretches {
            let lengths = stretch.slots.iter().map(|slot| u64::from(slot.length()));
            verified.bytes += lengths.sum::<u64>();
            verified.next = stretch.until();
            // One by one only if something is wrong, to name it.
            if verify(stretch).is_err() {
                let slots = (stretch.first..).zip(&stretch.slots);
                let bad =
                    slots.filter(|(index, slot)| verify(&one(stretch, *index, **slot)).is_err());
                verified.damaged.extend(bad.map(|(index, _)| index));
            }
        }
        assert!(verified.next > from || from == until, "a look at payloads gets on");
        verified
    }
}

/// Compares entries with their hashes.
fn verify(stretch: &Stretch) -> io::Result<()> {
    read_stretch(stretch, &mut |head, bytes| {
        frame::entry(head, bytes).map(drop).ok_or_else(|| damaged(head.id.index))
    })
}

/// One entry of a stretch.
fn one(stretch: &Stretch, index: u64, slot: Slot) -> Stretch {
    Stretch { segment: Arc::clone(&stretch.segment), first: index, slots: vec![slot] }
}

/// An entry is no longer what was written: what a read of it fails with, inside an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} is damaged")]
pub struct DamagedEntry {
    /// Which.
    pub index: u64,
}

impl DamagedEntry {
    /// The damage that a read failed with, if that was it.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

fn damaged(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, DamagedEntry { index })
}

/// Hands the heads and payloads of consecutive entries to `each`, read in large pieces.
fn read_stretch(
    stretch: &Stretch,
    each: &mut dyn FnMut(&EntryHead, Bytes) -> io::Result<()>,
) -> io::Result<()> {
    let end = |slot: &Slot| slot.offset() + frame_bytes(slot.length());
    let mut rest = &stretch.slots[..];
    let mut index = stretch.first;
    while let Some(first) = rest.first() {
        let begin = first.offset();
        let within = rest.iter().take_while(|slot| end(slot) <= begin + READ_BYTES).count().max(1);
        let (piece, after) = rest.split_at(within);
        let length = piece.last().map_or(0, end) - begin;
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        stretch.segment.file.read_at(&mut bytes, begin)?;
        let bytes = Bytes::from(bytes);
        for slot in piece {
            let at = usize::try_from(slot.offset() - begin).map_err(io::Error::other)?;
            let payload_at = at + FRAME_HEAD_BYTES;
            let head = decode_head(&bytes[at..payload_at], &stretch.segment, *slot);
            let head = head.filter(|head| head.id.index == index).ok_or_else(|| damaged(index))?;
            let length = usize::try_from(head.length).map_err(io::Error::other)?;
            each(&head, bytes.slice(payload_at..payload_at + length))?;
            index += 1;
        }
        rest = after;
    }
    Ok(())
}

/// Reads the head of one entry.
pub(super) fn read_head(segment: &Segment, slot: Slot) -> io::Result<EntryHead> {
    let mut bytes = [0; FRAME_HEAD_BYTES];
    segment.file.read_at(&mut bytes, slot.offset())?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the head of an entry is damaged");
    decode_head(&bytes, segment, slot).ok_or_else(damaged)
}

fn decode_head(bytes: &[u8], segment: &Segment, slot: Slot) -> Option<EntryHead> {
    let head = FrameHead::decode(bytes.first_chunk()?, &segment.salt, slot.offset()).ok()?;
    match head.body {
        FrameBody::Entry(entry) if entry.length == slot.length() => Some(entry),
        FrameBody::Entry(_)
        | FrameBody::Vote(_)
        | FrameBody::Committed(_)
        | FrameBody::TruncateAfter(_)
        | FrameBody::Purged(_)
        | FrameBody::Forgotten(_)
        | FrameBody::GivenUp { .. }
        | FrameBody::DurableMark { .. } => None,
    }
}
