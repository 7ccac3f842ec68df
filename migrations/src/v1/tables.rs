//! redb: the tables, and how their keys are laid out.
//!
//! ```text
//! meta         text                                    what there is one of; rows of the machine begin with `machine/`
//! catalog      u64 log                                 a log: name, settings, tail, trim point, frontier
//! chunks       u64 log, u64 first position             consecutive records
//! tiles        u64 log, u8 level, u64 number           hash of a complete tile
//! producers    u64 log, producer id                    epoch and the last five sequences
//! keys         u64 log, u64 ordinal                    one idempotency key of a log's ring
//! cursors      u64 log, cursor name                    a position
//! checkpoints  u64 entry index                         manifests that are kept
//! ```
//!
//! Numbers in keys are big-endian, so that the order of bytes is the order of numbers, and all that
//! belongs to a log is one range. Values are in `records` (chunks) and `values`.

use redb::TableDefinition;

use super::fields::{Fields, Malformed};

/// A table of bytes to bytes: keys and values are encoded by this crate, not by redb.
pub type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// See the module's picture.
pub const META: Definition = TableDefinition::new("meta");
/// See the module's picture.
pub const CATALOG: Definition = TableDefinition::new("catalog");
/// See the module's picture.
pub const CHUNKS: Definition = TableDefinition::new("chunks");
/// See the module's picture.
pub const TILES: Definition = TableDefinition::new("tiles");
/// See the module's picture.
pub const PRODUCERS: Definition = TableDefinition::new("producers");
/// See the module's picture.
pub const KEYS: Definition = TableDefinition::new("keys");
/// See the module's picture.
pub const CURSORS: Definition = TableDefinition::new("cursors");
/// See the module's picture.
pub const CHECKPOINTS: Definition = TableDefinition::new("checkpoints");

/// Rows of the machine in `meta` begin so; every other row there is the replica's own and in no
/// manifest.
pub const META_MACHINE_PREFIX: &[u8] = b"machine/";
/// Applied entry, rolling digest, counters, last stamp, limits.
pub const META_PROGRESS: &[u8] = b"machine/progress";
/// Before the big-endian number of a change of the membership: the change.
pub const META_CHANGE_PREFIX: &[u8] = b"machine/change/";
/// Before the big-endian index of a checkpoint's entry: the checkpoint.
pub const META_CHECKPOINT_PREFIX: &[u8] = b"machine/checkpoint/";
/// What the group was founded with.
pub const META_FOUNDING: &[u8] = b"machine/founding";
/// The membership and its entry.
pub const META_MEMBERSHIP: &[u8] = b"machine/membership";
/// Before the big-endian id of a replica: who it was admitted as.
pub const META_ADMISSION_PREFIX: &[u8] = b"machine/replica/";

/// A table that holds rows of the machine. Chunks and tiles hold records and are written by the
/// state alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// What there is one of.
    Meta,
    /// Logs.
    Catalog,
    /// Producers.
    Producers,
    /// Idempotency keys.
    Keys,
    /// Cursors.
    Cursors,
    /// Kept manifests.
    Checkpoints,
}

impl Table {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Meta, Self::Catalog, Self::Producers, Self::Keys, Self::Cursors, Self::Checkpoints];

    /// The table as redb knows it.
    pub const fn definition(self) -> Definition {
        match self {
            Self::Meta => META,
            Self::Catalog => CATALOG,
            Self::Producers => PRODUCERS,
            Self::Keys => KEYS,
            Self::Cursors => CURSORS,
            Self::Checkpoints => CHECKPOINTS,
        }
    }

    /// Its number in manifests and in the check of its rows.
    pub const fn number(self) -> u8 {
        match self {
            Self::Meta => 1,
            Self::Catalog => 2,
            Self::Producers => 3,
            Self::Keys => 4,
            Self::Cursors => 5,
            Self::Checkpoints => 6,
        }
    }

    /// The table of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.number() == number)
    }
}

/// Key of a log in `catalog`; also what every key of that log in another table begins with.
pub const fn log_key(log: u64) -> [u8; 8] {
    log.to_be_bytes()
}

/// Key of a chunk.
pub fn chunk_key(log: u64, first: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&log.to_be_bytes());
    key[8..].copy_from_slice(&first.to_be_bytes());
    key
}

/// Log and first position of a chunk's key.
pub fn decode_chunk_key(key: &[u8]) -> Result<(u64, u64), Malformed> {
    decode_pair(key, "chunk key")
}

/// Key of a tile's hash. Level 0 is 256 records, level 1 is 256 of those, and so on.
pub fn tile_key(log: u64, level: u8, number: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[..8].copy_from_slice(&log.to_be_bytes());
    key[8] = level;
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Log, level and number of a tile's key.
pub fn decode_tile_key(key: &[u8]) -> Result<(u64, u8, u64), Malformed> {
    let mut fields = Fields::new(key);
    let log = u64::from_be_bytes(fields.array("tile key")?);
    let level = fields.u8("tile key")?;
    let number = u64::from_be_bytes(fields.array("tile key")?);
    fields.finish("tile key")?;
    Ok((log, level, number))
}

/// Key of an idempotency key's row.
pub fn ring_key(log: u64, ordinal: u64) -> [u8; 16] {
    chunk_key(log, ordinal)
}

/// Log and ordinal of an idempotency key's row.
pub fn decode_ring_key(key: &[u8]) -> Result<(u64, u64), Malformed> {
    decode_pair(key, "ring key")
}

/// Key of what a log has by name: a producer or a cursor.
pub fn named_key(log: u64, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + name.len());
    key.extend_from_slice(&log.to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    key
}

/// Log and name of such a key.
pub fn decode_named_key(key: &[u8]) -> Result<(u64, &str), Malformed> {
    let mut fields = Fields::new(key);
    let log = u64::from_be_bytes(fields.array("named key")?);
    let name = fields.take(fields.remaining(), "named key")?;
    let name = std::str::from_utf8(name).map_err(|_| Malformed::new("named key", 8))?;
    Ok((log, name))
}

/// Log of a key in `catalog`.
pub fn decode_log_key(key: &[u8]) -> Result<u64, Malformed> {
    let mut fields = Fields::new(key);
    let log = u64::from_be_bytes(fields.array("log key")?);
    fields.finish("log key")?;
    Ok(log)
}

/// Key of an admitted replica in `meta`.
pub fn admission_key(replica: u64) -> Vec<u8> {
    [META_ADMISSION_PREFIX, replica.to_be_bytes().as_slice()].concat()
}

/// Replica of such a key.
pub fn decode_admission_key(key: &[u8]) -> Result<u64, Malformed> {
    decode_prefixed(key, META_ADMISSION_PREFIX, "admission key")
}

/// Key of a change of the membership in `meta`.
pub fn change_key(change: u64) -> Vec<u8> {
    [META_CHANGE_PREFIX, change.to_be_bytes().as_slice()].concat()
}

/// Change of such a key.
pub fn decode_change_key(key: &[u8]) -> Result<u64, Malformed> {
    decode_prefixed(key, META_CHANGE_PREFIX, "change key")
}

/// Key of a checkpoint in `meta`.
pub fn checkpoint_key(entry: u64) -> Vec<u8> {
    [META_CHECKPOINT_PREFIX, entry.to_be_bytes().as_slice()].concat()
}

/// Entry of such a key.
pub fn decode_checkpoint_key(key: &[u8]) -> Result<u64, Malformed> {
    decode_prefixed(key, META_CHECKPOINT_PREFIX, "checkpoint key")
}

/// Key of a kept manifest in `checkpoints`.
pub const fn kept_key(entry: u64) -> [u8; 8] {
    entry.to_be_bytes()
}

/// Entry of such a key.
pub fn decode_kept_key(key: &[u8]) -> Result<u64, Malformed> {
    let key = <[u8; 8]>::try_from(key).map_err(|_| Malformed::new("kept key", 0))?;
    Ok(u64::from_be_bytes(key))
}

fn decode_prefixed(key: &[u8], prefix: &[u8], field: &'static str) -> Result<u64, Malformed> {
    key.strip_prefix(prefix)
        .and_then(|id| <[u8; 8]>::try_from(id).ok())
        .map(u64::from_be_bytes)
        .ok_or(Malformed::new(field, 0))
}

fn decode_pair(key: &[u8], field: &'static str) -> Result<(u64, u64), Malformed> {
    let mut fields = Fields::new(key);
    let log = u64::from_be_bytes(fields.array(field)?);
    let second = u64::from_be_bytes(fields.array(field)?);
    fields.finish(field)?;
    Ok((log, second))
}
