//! Checkpoints: the rows about them, the digest of the state they compare, and the manifests kept.
//!
//! ```text
//! meta, key `machine/checkpoint/` u64 entry    a row as every other (`values`)
//! meta, key `digest`                           u8 version, 32 bytes, u32 CRC32C of key and all before
//! checkpoints, key u64 entry                   u8 version, 32 bytes digest of the state, u64 length of the manifest,
//!                                              the manifest as deflate data, u32 CRC32C of key and all before
//! ```
//!
//! The digest of a state is `SHA-256(u64 row count, sum)`, where the sum is that of `SHA-256(u8 table, u16 key length,
//! key, value)` over all rows of its manifest, as 256-bit little-endian numbers, modulo 2^256. So it follows a change of
//! a row at the cost of that row, in any order: a multiset hash by addition (Clarke et al., *Incremental Multiset Hash
//! Functions*, 2003). It tells faults apart; against somebody who chooses rows, it is weaker than SHA-256 alone.
//!
//! Not here: who attests what, and when a checkpoint is certified (`machine` and the node decide).

use std::io::{Read as _, Write as _};

use bytes::BufMut;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use sha2::{Digest as _, Sha256};

use super::fields::{Fields, Malformed, put_length, put_optional, put_short_text};
use super::manifest::{EncodedRow, MANIFEST_BYTES_MAX};
use super::tables::Table;
use super::values::EntryIdRow;
use super::values::body::Body;

/// The form of digests and kept manifests that this version writes.
const VERSION: u8 = 1;
/// The check at the end.
const CHECK_BYTES: usize = 4;
/// Replicas that attested one checkpoint.
pub const ATTESTERS_MAX: usize = 4096;

/// The key of the state's digest in `meta`. It is the replica's own: no manifest holds it.
pub const META_DIGEST: &[u8] = b"digest";

/// A majority's word on what the state was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// The digest that they attested.
    pub digest: [u8; 32],
    /// Who attested it, in order.
    pub attested_by: Vec<u64>,
    /// The leader's clock when it was certified.
    pub stamp: u64,
    /// The entry that certified it.
    pub entry: u64,
}

/// A checkpoint, under its entry's index in `meta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The entry whose state it is.
    pub entry: EntryIdRow,
    /// The machine's clock there.
    pub stamp: u64,
    /// What an operator called it.
    pub label: Option<String>,
    /// Whether it is kept until it is released, however many come after it.
    pub is_pinned: bool,
    /// The certificate, once there is one.
    pub certificate: Option<CertificateRow>,
}

impl CertificateRow {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.digest);
        put_attesters(out, &self.attested_by);
        out.put_u64_le(self.stamp);
        out.put_u64_le(self.entry);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            digest: fields.array("certified digest")?,
            attested_by: read_attesters(fields)?,
            stamp: fields.u64("certification stamp")?,
            entry: fields.u64("certifying entry")?,
        })
    }
}

impl Body for CheckpointRow {
    const TABLE: Table = Table::Meta;

    fn write(&self, out: &mut Vec<u8>) {
        self.entry.write(out);
        out.put_u64_le(self.stamp);
        put_optional(out, self.label.as_deref(), put_short_text);
        out.put_u8(u8::from(self.is_pinned));
        put_optional(out, self.certificate.as_ref(), |out, certificate| certificate.write(out));
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            entry: EntryIdRow::read(fields)?,
            stamp: fields.u64("checkpoint stamp")?,
            label: fields.optional("label", |f| f.short_text("label"))?.map(str::to_owned),
            is_pinned: fields.flag("pin")?,
            certificate: fields.optional("certificate", CertificateRow::read)?,
        })
    }
}

/// Writes who attested, in order of ids.
pub(super) fn put_attesters(out: &mut Vec<u8>, replicas: &[u64]) {
    put_length(out, replicas.len(), ATTESTERS_MAX);
    for replica in replicas {
        out.put_u64_le(*replica);
    }
}

/// Reads who attested: ids in order, each once.
pub(super) fn read_attesters(fields: &mut Fields<'_>) -> Result<Vec<u64>, Malformed> {
    let mut replicas = Vec::new();
    for _ in 0..fields.length(ATTESTERS_MAX, "attesters")? {
        let replica = fields.u64("attester")?;
        if replicas.last().is_some_and(|last| *last >= replica) {
            return Err(fields.malformed("attester"));
        }
        replicas.push(replica);
    }
    Ok(replicas)
}

/// What one row adds to the digest of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHash([u8; 32]);

impl RowHash {
    /// The hash of a row as redb keeps it.
    pub fn of(table: Table, key: &[u8], value: &[u8]) -> Self {
        let length = u16::try_from(key.len()).expect("a key has less than 64 KiB");
        let hash = Sha256::new()
            .chain_update([table.number()])
            .chain_update(length.to_le_bytes())
            .chain_update(key)
            .chain_update(value)
            .finalize();
        Self(hash.into())
    }
}

/// The sum over the rows of a state, from which its digest is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSum {
    count: u64,
    /// Least significant first.
    limbs: [u64; 4],
}

impl RowSum {
    /// The sum over these rows.
    pub fn over(rows: impl Iterator<Item = EncodedRow>) -> Self {
        let mut sum = Self::default();
        for row in rows {
            sum.add(RowHash::of(row.table, &row.key, &row.value));
        }
        sum
    }

    /// Adds a row.
    pub fn add(&mut self, row: RowHash) {
        self.count += 1;
        let mut carry = false;
        for (limb, number) in self.limbs.iter_mut().zip(limbs(&row.0)) {
            let (sum, first) = limb.overflowing_add(number);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first || second);
        }
    }

    /// Takes away a row that was added.
    pub fn remove(&mut self, row: RowHash) {
        self.count -= 1;
        let mut borrow = false;
        for (limb, number) in self.limbs.iter_mut().zip(limbs(&row.0)) {
            let (rest, first) = limb.overflowing_sub(number);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (rest, first || second);
        }
    }

    /// The digest of the state.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new().chain_update(self.count.to_le_bytes());
        for limb in self.limbs {
            hash.update(limb.to_le_bytes());
        }
        hash.finalize().into()
    }
}

fn limbs(hash: &[u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(hash.as_chunks().0) {
        *limb = u64::from_le_bytes(*bytes);
    }
    limbs
}

/// The value of the state's digest.
pub fn encode_digest(digest: &[u8; 32]) -> Vec<u8> {
    let mut value = vec![VERSION];
    value.extend_from_slice(digest);
    put_check(&mut value, META_DIGEST);
    value
}

/// The digest that such a value holds.
pub fn decode_digest(value: &[u8]) -> Result<[u8; 32], Malformed> {
    let mut fields = Fields::new(checked(value, META_DIGEST, "state digest")?);
    fields.array("state digest")
}

/// The digest and the bytes of a manifest as they are kept under `key`, the entry's index.
pub fn encode_kept(key: &[u8], digest: &[u8; 32], manifest: &[u8]) -> Vec<u8> {
    let mut value = vec![VERSION];
    value.extend_from_slice(digest);
    value.put_u64_le(u64::try_from(manifest.len()).expect("a length in memory fits 64 bits"));
    let mut encoder = DeflateEncoder::new(value, Compression::fast());
    let written = encoder.write_all(manifest).and_then(|()| encoder.finish());
    let mut value = written.expect("writing to memory does not fail");
    put_check(&mut value, key);
    value
}

/// The digest that such a value holds.
pub fn decode_kept_digest(key: &[u8], value: &[u8]) -> Result<[u8; 32], Malformed> {
    Fields::new(checked(value, key, "kept manifest")?).array("kept digest")
}

/// The manifest's bytes that such a value holds.
pub fn decode_kept(key: &[u8], value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut fields = Fields::new(checked(value, key, "kept manifest")?);
    fields.array::<32>("kept digest")?;
    let length = fields.u64("kept manifest")?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MANIFEST_BYTES_MAX {
        return Err(fields.malformed("kept manifest"));
    }
    let packed = fields.take(fields.remaining(), "kept manifest")?;
    let mut manifest = Vec::new();
    let limit = u64::try_from(length).expect("a length in memory fits 64 bits") + 1;
    let unpacked = DeflateDecoder::new(packed).take(limit).read_to_end(&mut manifest);
    if unpacked.ok() != Some(length) {
        return Err(Malformed::new("kept manifest", 0));
    }
    Ok(manifest)
}

fn put_check(value: &mut Vec<u8>, key: &[u8]) {
    let check = crc32c::crc32c_append(crc32c::crc32c(key), value);
    value.put_u32_le(check);
}

/// What stands between version and check, if both are right.
fn checked<'v>(value: &'v [u8], key: &[u8], field: &'static str) -> Result<&'v [u8], Malformed> {
    let body = value.len().checked_sub(CHECK_BYTES).ok_or(Malformed::new(field, 0))?;
    let (body, check) = value.split_at(body);
    if check != crc32c::crc32c_append(crc32c::crc32c(key), body).to_le_bytes() {
        return Err(Malformed::new(field, body.len()));
    }
    match body {
        [VERSION, rest @ ..] => Ok(rest),
        _ => Err(Malformed::new(field, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u8) -> RowHash {
        RowHash::of(Table::Catalog, &[number], b"value")
    }

    #[test]
    fn the_digest_of_rows_does_not_depend_on_their_order_or_on_rows_that_went() {
        let mut first = RowSum::default();
        let mut second = RowSum::default();
        (0..200).for_each(|row| first.add(hash(row)));
        (0..=255).rev().for_each(|row| second.add(hash(row)));
        assert_ne!(first.digest(), second.digest());
        (200..=255).for_each(|row| second.remove(hash(row)));
        assert_eq!(first.digest(), second.digest());
    }

    #[test]
    fn a_row_counts_with_its_table_key_and_value() {
        let one = RowHash::of(Table::Catalog, b"ab", b"c");
        assert_ne!(one, RowHash::of(Table::Cursors, b"ab", b"c"));
        assert_ne!(one, RowHash::of(Table::Catalog, b"a", b"bc"));
        assert_ne!(one, RowHash::of(Table::Catalog, b"ab", b"d"));
    }

    #[test]
    fn a_kept_manifest_comes_back_and_no_changed_byte_passes() {
        let manifest: Vec<u8> = (0..5_000_u32).flat_map(|n| (n % 97).to_le_bytes()).collect();
        let value = encode_kept(b"key", &[7; 32], &manifest);
        assert!(value.len() < manifest.len() / 2, "it is compressed");
        assert_eq!(decode_kept(b"key", &value).unwrap(), manifest);
        assert_eq!(decode_kept_digest(b"key", &value), Ok([7; 32]));
        assert!(decode_kept(b"other", &value).is_err());
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 0x20;
            assert!(decode_kept(b"key", &changed).is_err(), "byte {at}");
            assert!(decode_kept(b"key", &value[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn no_changed_byte_of_a_stored_digest_passes() {
        let value = encode_digest(&[7; 32]);
        assert_eq!(decode_digest(&value), Ok([7; 32]));
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(decode_digest(&changed).is_err(), "byte {at}");
        }
    }
}
