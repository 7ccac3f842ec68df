//! What came from the sources and is not written yet: gathered to whole tiles, and proved.
//!
//! Only what one source gave is proved together: else nobody could say who was wrong.
//!
//! Not here: what is asked of whom (`fetch`), and the arithmetic of proofs (`storage::state::Proof`).

use std::io;

use bytes::{Bytes, BytesMut};
use client::types::{Digest, Position};
use migrations::latest::values::CatalogRow;

use super::plan::Piece;
use super::wire::{RecordSpan, TileSpan, TilesAnswer};
use crate::machine::{TILE_WIDTH, TileAddress};
use crate::storage::state::{
    Proof, RECORD_HEAD_BYTES, State, StateManifest, TimedWalk, Wrong, leaves,
};

/// The records of some pieces, as far as they are here and proved.
#[derive(Debug, Default)]
pub(super) struct Basket {
    slots: Vec<Slot>,
    /// The first that is not full.
    at: usize,
}

#[derive(Debug)]
struct Slot {
    span: RecordSpan,
    bytes: u64,
    /// Proved records, from the span's first on, and where they end.
    proved: Vec<Bytes>,
    proved_until: Position,
    /// Records behind these that do not make a tile yet, and where they end.
    rest: BytesMut,
    rest_until: Position,
}

impl Slot {
    /// About so many bytes of it are to come.
    fn left_bytes(&self) -> u64 {
        let left = self.span.until.since(self.rest_until);
        self.bytes * left / self.span.until.since(self.span.from).max(1)
    }
}

impl Basket {
    pub(super) fn new(pieces: &[Piece]) -> Self {
        let slots = pieces.iter().map(|piece| Slot {
            span: piece.span,
            bytes: piece.bytes,
            proved: Vec::new(),
            proved_until: piece.span.from,
            rest: BytesMut::new(),
            rest_until: piece.span.from,
        });
        Self { slots: slots.collect(), at: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.at == self.slots.len()
    }

    /// About so many bytes are to come.
    pub(super) fn left_bytes(&self) -> u64 {
        self.slots[self.at..].iter().map(Slot::left_bytes).sum()
    }

    pub(super) fn drop_unproved(&mut self) {
        if let Some(slot) = self.slots.get_mut(self.at) {
            slot.rest.clear();
            slot.rest_until = slot.proved_until;
        }
    }

    /// What is still to be asked for.
    pub(super) fn spans(&self) -> Vec<RecordSpan> {
        let left = self.slots[self.at..].iter();
        left.map(|slot| RecordSpan { from: slot.rest_until, ..slot.span }).collect()
    }

    /// Adds what was answered for the first span that is not full, and proves whole tiles of it.
    pub(super) fn add(
        &mut self,
        manifest: &StateManifest,
        state: &State,
        part: &Bytes,
    ) -> io::Result<Result<(), Wrong>> {
        let Some(slot) = self.slots.get_mut(self.at) else { return Ok(Err(Wrong)) };
        let Ok(count) = leaf_count(part) else { return Ok(Err(Wrong)) };
        if count == 0 || count > slot.span.until.since(slot.rest_until) {
            return Ok(Err(Wrong));
        }
        slot.rest_until = slot.rest_until.advance(count);
        let whole_until = if slot.rest_until == slot.span.until {
            slot.span.until
        } else {
            Position::new(slot.rest_until.get() / TILE_WIDTH * TILE_WIDTH)
        };
        let all = if slot.rest.is_empty() {
            part.clone()
        } else {
            slot.rest.extend_from_slice(part);
            slot.rest.split().freeze()
        };
        if whole_until <= slot.proved_until {
            slot.rest = all.into();
            return Ok(Ok(()));
        }
        let length = length_of(&all, whole_until.since(slot.proved_until));
        let (proved, rest) = (all.slice(..length), all.slice(length..));
        let span = RecordSpan { from: slot.proved_until, until: whole_until, ..slot.span };
        if let Err(wrong) = prove_records(manifest, state, &span, &proved)? {
            return Ok(Err(wrong));
        }
        slot.proved.push(proved);
        slot.proved_until = whole_until;
        slot.rest = rest.into();
        if whole_until == slot.span.until {
            self.at += 1;
        }
        Ok(Ok(()))
    }

    pub(super) fn into_records(self) -> impl Iterator<Item = Bytes> {
        self.slots.into_iter().map(|slot| match &slot.proved[..] {
            [one] => one.clone(),
            several => several.concat().into(),
        })
    }
}

/// Proves records by the hashes of their tiles, which are here, or by the frontier.
fn prove_records(
    manifest: &StateManifest,
    state: &State,
    span: &RecordSpan,
    records: &Bytes,
) -> io::Result<Result<(), Wrong>> {
    let Some(row) = row_of(manifest, span.log.get()) else { return Ok(Err(Wrong)) };
    let proof = Proof::from(row);
    let first_tile = span.from.get() / TILE_WIDTH;
    let begin = Position::new(first_tile * TILE_WIDTH);
    let mut hashes = Vec::new();
    if begin < span.from {
        let here = state.stretch(span.log, (begin, span.from), usize::MAX);
        let here = here.map_err(io::Error::other)?;
        let Some(here) = here else { return Err(io::Error::other("the begin of a tile is gone")) };
        hashes = leaves(&here.bytes).map_err(io::Error::other)?;
    }
    match leaves(records) {
        Ok(more) => hashes.extend(more),
        Err(wrong) => return Ok(Err(wrong)),
    }
    let last_tile = span.until.get().div_ceil(TILE_WIDTH);
    let known = state.tiles(span.log, 0, (first_tile, last_tile)).map_err(io::Error::other)?;
    let width = usize::try_from(TILE_WIDTH).expect("a tile is small");
    if hashes.len().div_ceil(width) != known.len() {
        return Ok(Err(Wrong));
    }
    for ((number, leaves), hash) in (first_tile..).zip(hashes.chunks(width)).zip(known) {
        if let Err(wrong) = proof.check_tile(number, leaves, hash) {
            return Ok(Err(wrong));
        }
    }
    Ok(Ok(()))
}

/// Proves hashes by those of the level above, which are here, or by the frontier. What is here of the same group counts
/// with them.
pub(super) fn prove_hashes(
    manifest: &StateManifest,
    state: &State,
    spans: &[TileSpan],
    answer: TilesAnswer,
) -> io::Result<Result<Vec<(TileAddress, Digest)>, Wrong>> {
    let mut proved = Vec::new();
    for (span, hashes) in spans.iter().zip(answer.0) {
        let Some(row) = row_of(manifest, span.log.get()) else { return Ok(Err(Wrong)) };
        let proof = Proof::from(row);
        let groups = span.from / TILE_WIDTH..span.until.div_ceil(TILE_WIDTH);
        for group in groups {
            let begin = group * TILE_WIDTH;
            let end = begin + proof.group_length(span.level, group);
            let here = state.tiles(span.log, span.level, (begin, end)).map_err(io::Error::other)?;
            let whole: Option<Vec<Digest>> = (begin..end)
                .zip(here)
                .map(|(number, here)| {
                    let at = number.checked_sub(span.from).and_then(|at| usize::try_from(at).ok());
                    at.and_then(|at| hashes.get(at).copied()).or(here)
                })
                .collect();
            let above = state.tiles(span.log, span.level + 1, (group, group + 1));
            let above = above.map_err(io::Error::other)?[0];
            let is_right = whole
                .is_some_and(|whole| proof.check_hashes(span.level, group, &whole, above).is_ok());
            if !is_right {
                return Ok(Err(Wrong));
            }
        }
        let address = |number| TileAddress { log: span.log, level: span.level, number };
        proved.extend((span.from..).map(address).zip(hashes));
    }
    Ok(Ok(proved))
}

fn row_of(manifest: &StateManifest, log: u64) -> Option<&CatalogRow> {
    let logs = &manifest.rows().logs;
    let at = logs.binary_search_by_key(&log, |(id, _)| *id).ok()?;
    Some(&logs[at].1)
}

/// How many records these bytes are.
fn leaf_count(records: &Bytes) -> Result<u64, Wrong> {
    let (mut length, mut count) = (0, 0);
    for (_, untimed) in TimedWalk(records.clone()) {
        length += RECORD_HEAD_BYTES + untimed.len();
        count += 1;
    }
    if length == records.len() { Ok(count) } else { Err(Wrong) }
}

/// Bytes of the first records.
fn length_of(records: &Bytes, count: u64) -> usize {
    let count = usize::try_from(count).expect("a count of what is in memory");
    let lengths = TimedWalk(records.clone()).map(|(_, untimed)| RECORD_HEAD_BYTES + untimed.len());
    lengths.take(count).sum()
}
