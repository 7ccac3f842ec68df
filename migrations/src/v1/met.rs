//! Whom a replica has met: the greatest incarnation of each other replica.
//!
//! ```text
//! "QMET" version:u8 count:u32  { replica:u64 start:u64 random:u64 }*  crc32c:u32
//! ```
//!
//! Little-endian; the check covers all that precedes it. The file is small, is replaced whole, and
//! belongs to one replica: nothing of it is replicated.

use std::collections::BTreeMap;

const MAGIC: &[u8; 5] = b"QMET\x01";
const HEAD_BYTES: usize = 9;
const ROW_BYTES: usize = 24;
const CHECK_BYTES: usize = 4;

/// The greatest start of a replica that was seen: its number and its random part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetRow {
    /// Number of the start.
    pub start: u64,
    /// What this start drew at random.
    pub random: u64,
}

/// The file as bytes.
///
/// # Panics
///
/// If there are more replicas than a `u32` counts.
pub fn encode(met: &BTreeMap<u64, MetRow>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + met.len() * ROW_BYTES + CHECK_BYTES);
    out.extend_from_slice(MAGIC);
    let count = u32::try_from(met.len()).expect("replicas are few");
    out.extend_from_slice(&count.to_le_bytes());
    for (replica, row) in met {
        out.extend_from_slice(&replica.to_le_bytes());
        out.extend_from_slice(&row.start.to_le_bytes());
        out.extend_from_slice(&row.random.to_le_bytes());
    }
    let check = crc32c::crc32c(&out);
    out.extend_from_slice(&check.to_le_bytes());
    out
}

/// The opposite of [`encode`]; none if a single byte is wrong.
pub fn decode(bytes: &[u8]) -> Option<BTreeMap<u64, MetRow>> {
    let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
    if check != crc32c::crc32c(body).to_le_bytes() || body.get(..MAGIC.len())? != MAGIC {
        return None;
    }
    let count = u32::from_le_bytes(body.get(MAGIC.len()..HEAD_BYTES)?.try_into().ok()?);
    let rows = body.get(HEAD_BYTES..)?;
    if rows.len() != usize::try_from(count).ok()?.checked_mul(ROW_BYTES)? {
        return None;
    }
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let row = |row: &[u8]| {
        let met = MetRow { start: number(&row[8..16]), random: number(&row[16..]) };
        (number(&row[..8]), met)
    };
    Some(rows.chunks_exact(ROW_BYTES).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met() -> BTreeMap<u64, MetRow> {
        BTreeMap::from([
            (2, MetRow { start: 7, random: 0x1122 }),
            (3, MetRow { start: 1, random: u64::MAX }),
        ])
    }

    #[test]
    fn what_was_met_comes_back() {
        assert_eq!(decode(&encode(&met())), Some(met()));
        assert_eq!(decode(&encode(&BTreeMap::new())), Some(BTreeMap::new()));
    }

    #[test]
    fn no_changed_byte_is_believed() {
        let whole = encode(&met());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            assert_eq!(decode(&changed), None, "byte {at}");
            assert_eq!(decode(&whole[..at]), None, "cut at {at}");
        }
    }
}
