//! The Merkle tree of a log, as in RFC 9162: leaves, frontier, tiles, root.
//!
//! ```text
//! leaf = SHA-256(0x00, encoded record)      node = SHA-256(0x01, left, right)
//!
//! 7 records:      frontier = [ hash of 0..4, hash of 4..6, leaf 6 ]     one per set bit of 7 = 0b111
//! ```
//!
//! The frontier grows by one leaf at a time and never forgets what the root needs. A tile is 256
//! leaves, a tile of the next level 256 tiles: whenever one is complete its hash comes out, and
//! never changes again.
//!
//! Not here: the bytes of a leaf (`migrations::latest::records`), proofs (`proof`), where tile
//! hashes are kept (`storage`).

use client::types::{Digest, LogId};
use sha2::{Digest as _, Sha256};

/// Complete tiles have 2^8 children.
const TILE_HEIGHT: u32 = 8;
/// Children of a complete tile: records at level 0, tiles above.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// Where a tile is: what is damaged, fetched and repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileAddress {
    /// Its log.
    pub log: LogId,
    /// 0 for 256 records, 1 for 256 of those, and so on.
    pub level: u8,
    /// Which one of that level, from 0.
    pub number: u64,
}

/// The hashes from which a log's tree grows on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    /// How many leaves there are.
    size: u64,
    /// The complete trees they form, largest first: one per set bit of `size`.
    hashes: Vec<Digest>,
}

impl Frontier {
    /// The frontier of a log without records.
    pub const fn empty() -> Self {
        Self { size: 0, hashes: Vec::new() }
    }

    /// A frontier as it was kept, if it has as many hashes as its size needs.
    pub fn from_hashes(size: u64, hashes: Vec<Digest>) -> Option<Self> {
        let is_whole = usize::try_from(size.count_ones()) == Ok(hashes.len());
        is_whole.then_some(Self { size, hashes })
    }

    /// How many leaves there are.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Its hashes, of the largest tree first.
    pub fn hashes(&self) -> &[Digest] {
        &self.hashes
    }

    /// Adds a leaf. Each tile that it completes is told, with its level and number.
    #[inline]
    pub fn push(&mut self, leaf: Digest, mut completed: impl FnMut(u8, u64, Digest)) {
        let mut hash = leaf;
        let mut height = 0_u32;
        while (self.size >> height) & 1 == 1 {
            let left = self.hashes.pop().expect("a frontier has one hash per set bit of its size");
            hash = node_hash(&left, &hash);
            height += 1;
            if height.is_multiple_of(TILE_HEIGHT) {
                let level = u8::try_from(height / TILE_HEIGHT - 1).expect("at most 8 levels");
                completed(level, self.size >> height, hash);
            }
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// The root over all leaves; of none, the hash of nothing.
    pub fn root(&self) -> Digest {
        let mut hashes = self.hashes.iter().rev();
        let Some(smallest) = hashes.next() else {
            return Digest::new(Sha256::digest([]).into());
        };
        hashes.fold(*smallest, |right, left| node_hash(left, &right))
    }
}

/// The leaf of a record: its time and its untimed bytes.
#[inline]
pub fn leaf_hash(time_ms: u64, untimed: &[u8]) -> Digest {
    Digest::new(migrations::latest::records::leaf_hash(time_ms, untimed))
}

/// The hash of two trees side by side.
#[inline]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left.as_bytes());
    bytes[33..].copy_from_slice(right.as_bytes());
    Digest::new(Sha256::digest(bytes).into())
}
