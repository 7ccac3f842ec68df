//! Hashes of complete tiles: one for 256 records, one for 256 of those, and so on.
//!
//! They are written in the transaction that writes the records, never change, and live as long as their log. Each
//! stands with a check over its key; one that fails it is named, not served.
//!
//! Not here: how a hash is computed (`machine`), and what is compared with it (scrub, transfer, proofs).

use client::types::{Digest, LogId};
use migrations::latest::tables::{TILES, decode_tile_key, tile_key};
use migrations::latest::values::{decode_tile, encode_tile};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::State;
use super::database::Database;
use crate::machine::TileAddress;
use crate::storage::error::StorageError;

impl State {
    /// The hash of a complete tile; nothing if it is not complete, or not flushed yet.
    pub fn tile(&self, address: TileAddress) -> Result<Option<Digest>, StorageError> {
        let database = &self.0.database;
        let key = tile_key(address.log.get(), address.level, address.number);
        database.unwinding(|| {
            let table = database.read()?.open_table(TILES).map_err(database.failed("read"))?;
            let found = table.get(&key[..]).map_err(database.failed("read"))?;
            let Some(value) = found else { return Ok(None) };
            let hash = decode_tile(&key, value.value()).map_err(|_| database.damaged("tile"))?;
            Ok(Some(Digest::new(hash)))
        })
    }

    /// The hashes of the tiles `[from, until)` of one level, as far as they are here.
    pub fn tiles(
        &self,
        log: LogId,
        level: u8,
        (from, until): (u64, u64),
    ) -> Result<Vec<Option<Digest>>, StorageError> {
        let database = &self.0.database;
        let count = usize::try_from(until.saturating_sub(from)).unwrap_or(0);
        let mut found = vec![None; count];
        let (begin, end) =
            (tile_key(log.get(), level, from), tile_key(log.get(), level, until.max(from)));
        database.unwinding(|| {
            let table = database.read()?.open_table(TILES).map_err(database.failed("read"))?;
            let rows =
                table.range::<&[u8]>(&begin[..]..&end[..]).map_err(database.failed("read"))?;
            for row in rows {
                let (key, value) = row.map_err(database.failed("read"))?;
                let Ok((_, _, number)) = decode_tile_key(key.value()) else { continue };
                let at = usize::try_from(number - from).expect("as many were counted");
                let hash = decode_tile(key.value(), value.value());
                found[at] = hash.ok().map(Digest::new);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// The hash of a tile as `txn` sees it; nothing if it is not there, or fails its check.
pub(super) fn found(
    database: &Database,
    txn: &ReadTransaction,
    address: TileAddress,
) -> Result<Option<Digest>, StorageError> {
    let key = tile_key(address.log.get(), address.level, address.number);
    let table = txn.open_table(TILES).map_err(database.failed("read"))?;
    let value = table.get(&key[..]).map_err(database.failed("read"))?;
    Ok(value.and_then(|value| decode_tile(&key, value.value()).ok()).map(Digest::new))
}

/// Writes hashes of tiles.
pub(super) fn write(
    database: &Database,
    txn: &WriteTransaction,
    tiles: &[(TileAddress, Digest)],
) -> Result<(), StorageError> {
    let mut table = txn.open_table(TILES).map_err(database.failed("write"))?;
    for (address, hash) in tiles {
        let key = tile_key(address.log.get(), address.level, address.number);
        let value = encode_tile(&key, hash.as_bytes());
        table.insert(&key[..], &value[..]).map_err(database.failed("write"))?;
    }
    Ok(())
}

/// Removes all hashes whose keys lie from `from` until `until`.
pub(super) fn remove_range(
    database: &Database,
    txn: &WriteTransaction,
    from: &[u8],
    until: &[u8],
) -> Result<(), StorageError> {
    let mut table = txn.open_table(TILES).map_err(database.failed("write"))?;
    table.retain_in::<&[u8], _>(from..until, |_, _| false).map_err(database.failed("write"))
}

/// Removes up to `limit` hashes of a log that is gone. Says how many it found.
pub(super) fn remove(
    database: &Database,
    txn: &WriteTransaction,
    log: LogId,
    limit: usize,
) -> Result<usize, StorageError> {
    let mut table = txn.open_table(TILES).map_err(database.failed("write"))?;
    let (from, until) = (tile_key(log.get(), 0, 0), tile_key(log.get() + 1, 0, 0));
    let mut keys = Vec::new();
    let range = table.range::<&[u8]>(&from[..]..&until[..]).map_err(database.failed("read"))?;
    for found in range.take(limit) {
        keys.push(found.map_err(database.failed("read"))?.0.value().to_vec());
    }
    for key in &keys {
        table.remove(&key[..]).map_err(database.failed("write"))?;
    }
    Ok(keys.len())
}
