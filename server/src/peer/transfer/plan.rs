//! What is to be fetched, cut into questions of a good size.
//!
//! Records are asked for in order of their positions and in whole tiles, about as many bytes at a time as an answer
//! holds; gaps that are small share a question.
//!
//! Not here: what is lacking (`storage/state/lacking.rs`).

use client::types::{LogId, Position};
use migrations::latest::manifest::Manifest;

use super::wire::{RecordSpan, SPANS_MAX, TileSpan};
use crate::machine::TILE_WIDTH;
use crate::storage::StorageError;
use crate::storage::state::{Gap, Proof, RECORD_HEAD_BYTES, State};

/// About so many bytes of records are asked for at a time.
pub(super) const ANSWER_BYTES: u64 = 1 << 20;
/// So many hashes are looked at, and asked for, at a time: whole groups.
const WINDOW: u64 = 64 * TILE_WIDTH;
/// Bytes of a hash.
const HASH_BYTES: u64 = 32;

/// What a manifest names and the state here lacks.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// Hashes of tiles, by level.
    tiles: Vec<Vec<TileSpan>>,
    /// Records.
    pub(super) gaps: Vec<Gap>,
}

impl Lacking {
    /// Compares a manifest with what is here. Reads redb.
    pub(super) fn of(manifest: &Manifest, state: &State) -> Result<Self, StorageError> {
        let mut lacking = Self::default();
        for (id, row) in &manifest.logs {
            let log = LogId::new(*id);
            let proof = Proof::from(row);
            for level in 0..proof.levels() {
                lacking.add_tiles(state, log, level, proof.tiles(level))?;
            }
            lacking.gaps.extend(state.gaps(log, row)?);
        }
        Ok(lacking)
    }

    /// The hashes among what a manifest names that are not here, or not what it proves. Reads all of them.
    pub(super) fn unproved_hashes(
        manifest: &Manifest,
        state: &State,
    ) -> Result<Self, StorageError> {
        let mut lacking = Self::default();
        for (id, row) in &manifest.logs {
            let (log, proof) = (LogId::new(*id), Proof::from(row));
            for (level, group) in state.unproved_hashes(log, row)? {
                let from = group * TILE_WIDTH;
                let until = from + proof.group_length(level, group);
                lacking.level(level).push(TileSpan { log, level, from, until });
            }
        }
        Ok(lacking)
    }

    /// The records, once the hashes are proved. Reads all of them.
    pub(super) fn unproved_records(
        manifest: &Manifest,
        state: &State,
    ) -> Result<Self, StorageError> {
        let mut lacking = Self::default();
        for (id, row) in &manifest.logs {
            lacking.gaps.extend(state.unproved_records(LogId::new(*id), row)?);
        }
        Ok(lacking)
    }

    fn level(&mut self, level: u8) -> &mut Vec<TileSpan> {
        let at = usize::from(level);
        if self.tiles.len() <= at {
            self.tiles.resize_with(at + 1, Vec::new);
        }
        &mut self.tiles[at]
    }

    fn add_tiles(
        &mut self,
        state: &State,
        log: LogId,
        level: u8,
        count: u64,
    ) -> Result<(), StorageError> {
        let spans = self.level(level);
        let mut window = 0;
        while window < count {
            let end = (window + WINDOW).min(count);
            let here = state.tiles(log, level, (window, end))?;
            let mut number = window;
            for hashes in here.chunk_by(|left, right| left.is_some() == right.is_some()) {
                let until = number + wide(hashes.len());
                if hashes[0].is_none() {
                    spans.push(TileSpan { log, level, from: number, until });
                }
                number = until;
            }
            window = end;
        }
        Ok(())
    }

    /// Bytes to be fetched in all.
    pub(super) fn bytes(&self) -> u64 {
        let hashes: u64 = self.tiles.iter().flatten().map(|span| span.until - span.from).sum();
        hashes * HASH_BYTES + self.gaps.iter().map(gap_bytes).sum::<u64>()
    }

    /// Questions for hashes, level by level, the highest first.
    pub(super) fn tile_questions(&self) -> Vec<Vec<Vec<TileSpan>>> {
        let levels = self.tiles.iter().rev();
        levels.map(|spans| packed(spans, |span| span.until - span.from, WINDOW)).collect()
    }

    /// Questions for records, in order; each for about as many bytes as `size` says when it is made.
    pub(super) fn questions<S: Fn() -> u64>(&self, size: S) -> Questions<'_, S> {
        Questions { gaps: self.gaps.iter().enumerate(), rest: None, waiting: None, size }
    }
}

/// Part of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which gap.
    pub(super) gap: usize,
    /// What of it.
    pub(super) span: RecordSpan,
    /// About so many bytes.
    pub(super) bytes: u64,
}

/// Pieces that are asked for together, one question after the other.
pub(super) struct Questions<'g, S> {
    gaps: std::iter::Enumerate<std::slice::Iter<'g, Gap>>,
    /// What is left of a gap.
    rest: Option<(usize, &'g Gap, Position)>,
    /// The piece that did not fit any more.
    waiting: Option<Piece>,
    size: S,
}

impl<S> Questions<'_, S> {
    fn next_piece(&mut self, size: u64) -> Option<Piece> {
        if let Some(piece) = self.waiting.take() {
            return Some(piece);
        }
        let (at, gap, from) = match self.rest.take() {
            Some(rest) => rest,
            None => self.gaps.next().map(|(at, gap)| (at, gap, gap.from))?,
        };
        let each = (gap_bytes(gap) / gap.until.since(gap.anchor).max(1)).max(1);
        let tiles = (size / (each * TILE_WIDTH)).max(1);
        let until = (from.get() / TILE_WIDTH + tiles) * TILE_WIDTH;
        let until = Position::new(until).min(gap.until);
        if until < gap.until {
            self.rest = Some((at, gap, until));
        }
        let span = RecordSpan { log: gap.log, from, until };
        Some(Piece { gap: at, span, bytes: until.since(from) * each })
    }
}

impl<S: Fn() -> u64> Iterator for Questions<'_, S> {
    type Item = Vec<Piece>;

    fn next(&mut self) -> Option<Vec<Piece>> {
        let size = (self.size)();
        let mut pieces = vec![self.next_piece(size)?];
        let mut bytes = pieces[0].bytes;
        while let Some(piece) = self.next_piece(size) {
            bytes += piece.bytes;
            if bytes > size || wide(pieces.len()) >= u64::from(SPANS_MAX) {
                self.waiting = Some(piece);
                break;
            }
            pieces.push(piece);
        }
        Some(pieces)
    }
}

/// What a gap costs on the way, as far as it is known before.
fn gap_bytes(gap: &Gap) -> u64 {
    gap.bytes + gap.until.since(gap.anchor) * wide(RECORD_HEAD_BYTES)
}

/// Items in groups of up to so many, by weight and by number.
fn packed<T: Copy>(items: &[T], weight: impl Fn(&T) -> u64, most: u64) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut filled = u64::MAX;
    for item in items {
        let more = weight(item);
        match groups.last_mut() {
            Some(group)
                if filled.saturating_add(more) <= most
                    && wide(group.len()) < u64::from(SPANS_MAX) =>
            {
                group.push(*item);
                filled += more;
            }
            _ => {
                groups.push(vec![*item]);
                filled = more;
            }
        }
    }
    groups
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gap(log: u64, from: u64, until: u64, each: u64) -> Gap {
        Gap {
            log: LogId::new(log),
            from: Position::new(from),
            until: Position::new(until),
            anchor: Position::new(from),
            bytes_before: 0,
            bytes: (until - from) * each,
        }
    }

    proptest! {
        #[test]
        fn questions_cover_every_gap_once_and_in_order(
            gaps in prop::collection::vec((0_u64..2_000, 1_u64..9_000, 0_u64..50_000), 0..400)
        ) {
            let gaps: Vec<_> =
                (0..).zip(gaps).map(|(log, (from, count, each))| gap(log, from, from + count, each))
                    .collect();
            let lacking = Lacking { gaps, ..Lacking::default() };
            let mut pieces = Vec::new();
            for question in lacking.questions(|| ANSWER_BYTES) {
                prop_assert!(question.len() <= 256);
                let bytes: u64 = question.iter().map(|piece| piece.bytes).sum();
                prop_assert!(question.len() == 1 || bytes <= ANSWER_BYTES);
                pieces.extend(question);
            }
            let mut pieces = pieces.into_iter().peekable();
            for (at, gap) in lacking.gaps.iter().enumerate() {
                let mut next = gap.from;
                while let Some(piece) = pieces.next_if(|piece| piece.gap == at) {
                    prop_assert_eq!((piece.span.log, piece.span.from), (gap.log, next));
                    next = piece.span.until;
                    prop_assert!(next == gap.until || next.get() % 256 == 0);
                }
                prop_assert_eq!(next, gap.until);
            }
            prop_assert!(pieces.next().is_none());
        }
    }
}
