//! What the row of a log proves of it: hashes of tiles by the frontier, records by the hashes of their tiles.
//!
//! ```text
//! frontier  ->  tiles of the highest level  ->  256 of the next level each  ->  ...  ->  256 records each
//!    \-> the loose ends: what is not complete yet at each level, down to single records
//! ```
//!
//! So each group of hashes and each tile of records is checked alone, whoever it came from, and nothing that does not
//! fit is written anywhere.
//!
//! Not here: where hashes are kept (`tiles`), and where what is lacking comes from (`peer`).

use bytes::Bytes;
use client::types::Digest;
use migrations::latest::values::CatalogRow;

use super::read::TimedWalk;
use crate::machine::{Frontier, TILE_WIDTH, leaf_hash};

/// So many times a tree doubles from one level of tiles to the next.
const TILE_HEIGHT: u32 = TILE_WIDTH.trailing_zeros();
/// What stands before each record on the way: `u32` length, `u64` time.
pub const RECORD_HEAD_BYTES: usize = 4 + 8;

/// The bytes do not hash to what the row proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes that do not hash to what the row proves")]
pub struct Wrong;

/// A log as a row has it: of a manifest, or as it was flushed.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'m> {
    /// How many records it has.
    tail: u64,
    frontier: &'m [[u8; 32]],
}

impl<'m> From<&'m CatalogRow> for Proof<'m> {
    fn from(row: &'m CatalogRow) -> Self {
        Self { tail: row.tail, frontier: &row.frontier }
    }
}

impl Proof<'_> {
    /// How many tiles of a level are complete.
    pub fn tiles(&self, level: u8) -> u64 {
        self.tail.checked_shr(TILE_HEIGHT * (u32::from(level) + 1)).unwrap_or(0)
    }

    /// How many levels have a complete tile.
    pub fn levels(&self) -> u8 {
        (0..u8::MAX).find(|level| self.tiles(*level) == 0).unwrap_or(u8::MAX)
    }

    /// How many hashes the group of a number at a level has: those under one tile of the next level, or the loose ones.
    pub fn group_length(&self, level: u8, group: u64) -> u64 {
        (self.tiles(level) - group * TILE_WIDTH).min(TILE_WIDTH)
    }

    /// Checks a whole group of hashes. `parent` is the hash of the tile above, if that is complete.
    pub fn check_hashes(
        &self,
        level: u8,
        group: u64,
        hashes: &[Digest],
        parent: Option<Digest>,
    ) -> Result<(), Wrong> {
        let is_complete = group < self.tiles(level + 1);
        let height = TILE_HEIGHT * (u32::from(level) + 1);
        self.check(hashes, (is_complete, self.group_length(level, group)), parent, height)
    }

    /// Checks the leaves of a tile. `hash` is its own, if it is complete.
    pub fn check_tile(
        &self,
        number: u64,
        leaves: &[Digest],
        hash: Option<Digest>,
    ) -> Result<(), Wrong> {
        let length = (self.tail - number * TILE_WIDTH).min(TILE_WIDTH);
        self.check(leaves, (number < self.tiles(0), length), hash, 0)
    }

    fn check(
        &self,
        children: &[Digest],
        (is_complete, length): (bool, u64),
        parent: Option<Digest>,
        height: u32,
    ) -> Result<(), Wrong> {
        if u64::try_from(children.len()) != Ok(length) {
            return Err(Wrong);
        }
        let mut tree = Frontier::empty();
        for child in children {
            tree.push(*child, |_, _, _| {});
        }
        let is_right = if is_complete {
            parent.is_some_and(|parent| tree.hashes() == [parent])
        } else {
            let loose = self.frontier_between(height, height + TILE_HEIGHT);
            let found = tree.hashes().iter().map(Digest::as_bytes);
            loose.len() == tree.hashes().len() && loose.iter().eq(found)
        };
        if is_right { Ok(()) } else { Err(Wrong) }
    }

    /// The hashes of the frontier whose trees are of these heights, largest first.
    fn frontier_between(&self, low: u32, high: u32) -> &[[u8; 32]] {
        let above = |height| {
            let trees = self.tail.checked_shr(height).unwrap_or(0).count_ones();
            usize::try_from(trees).expect("at most 64 trees")
        };
        self.frontier.get(above(high)..above(low)).unwrap_or(&[])
    }
}

/// The leaves of records as they are sent; nothing if these are not whole records.
pub fn leaves(records: &Bytes) -> Result<Vec<Digest>, Wrong> {
    let mut length = 0;
    let leaves = TimedWalk(records.clone()).map(|(time, untimed)| {
        length += RECORD_HEAD_BYTES + untimed.len();
        leaf_hash(time.as_millis(), &untimed)
    });
    let leaves = leaves.collect();
    if length == records.len() { Ok(leaves) } else { Err(Wrong) }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    fn leaf(number: u64) -> Digest {
        leaf_hash(number, b"untimed")
    }

    /// The frontier of a log of so many records, and the hashes of its complete tiles by level.
    fn log(tail: u64) -> (Vec<[u8; 32]>, Vec<Vec<Digest>>) {
        let mut frontier = Frontier::empty();
        let mut tiles = vec![Vec::new(); 4];
        for number in 0..tail {
            frontier.push(leaf(number), |level, at, hash| {
                let level: &mut Vec<Digest> = &mut tiles[usize::from(level)];
                assert_eq!(u64::try_from(level.len()), Ok(at));
                level.push(hash);
            });
        }
        (frontier.hashes().iter().map(|hash| *hash.as_bytes()).collect(), tiles)
    }

    const TAILS: [u64; 9] = [1, 255, 256, 257, 700, 65_535, 65_536, 65_537, 66_000];

    /// Checks every group of hashes and every tile; `spoil` changes what is checked.
    fn check_all(tail: u64, mut spoil: impl FnMut(&mut Vec<Digest>)) -> Vec<Result<(), Wrong>> {
        let (frontier, tiles) = log(tail);
        let proof = Proof { tail, frontier: &frontier };
        let mut results = Vec::new();
        for level in 0..proof.levels() {
            let hashes = &tiles[usize::from(level)];
            assert_eq!(proof.tiles(level), u64::try_from(hashes.len()).unwrap());
            for (group, hashes) in (0..).zip(hashes.chunks(256)) {
                let parent = tiles[usize::from(level) + 1].get(usize::try_from(group).unwrap());
                let mut hashes = hashes.to_vec();
                spoil(&mut hashes);
                results.push(proof.check_hashes(level, group, &hashes, parent.copied()));
            }
        }
        for number in 0..tail.div_ceil(256) {
            let mut leaves: Vec<_> =
                (number * 256..((number + 1) * 256).min(tail)).map(leaf).collect();
            spoil(&mut leaves);
            let hash = tiles[0].get(usize::try_from(number).unwrap());
            results.push(proof.check_tile(number, &leaves, hash.copied()));
        }
        results
    }

    #[test]
    fn all_that_is_right_is_proved() {
        for tail in TAILS {
            let results = check_all(tail, |_| {});
            assert!(results.iter().all(Result::is_ok), "{tail}");
        }
    }

    #[test]
    fn whatever_is_changed_left_out_or_added_is_refused() {
        for tail in TAILS {
            let mut turn = 0;
            let changed = check_all(tail, |hashes| {
                turn += 1;
                let at = turn * 37 % hashes.len();
                let mut bytes = *hashes[at].as_bytes();
                bytes[turn % 32] ^= 1;
                hashes[at] = Digest::new(bytes);
            });
            assert!(changed.iter().all(Result::is_err), "changed, {tail}");
            let shorter = check_all(tail, |hashes| hashes.truncate(hashes.len() - 1));
            assert!(shorter.iter().all(Result::is_err), "shorter, {tail}");
            let longer = check_all(tail, |hashes| hashes.push(leaf(0)));
            assert!(longer.iter().all(Result::is_err), "longer, {tail}");
        }
    }

    #[test]
    fn records_are_whole_or_nothing() {
        let mut bytes = Vec::new();
        for body in [&b"one"[..], b"", b"three"] {
            bytes.put_u32_le(u32::try_from(body.len()).unwrap());
            bytes.put_u64_le(7);
            bytes.put_slice(body);
        }
        let whole = Bytes::from(bytes);
        assert_eq!(leaves(&whole).unwrap().len(), 3);
        assert_eq!(leaves(&whole).unwrap()[2], leaf_hash(7, b"three"));
        for length in 0..whole.len() {
            let ends = [0, 15, 27];
            let cut = leaves(&whole.slice(..length));
            assert_eq!(cut.is_ok(), ends.contains(&length), "{length} bytes");
        }
    }
}
