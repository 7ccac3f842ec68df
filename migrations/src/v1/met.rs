//! Whom a replica has met, and where members are found: the greatest incarnation of each other replica,
//! and the address of its peer door.
//!
//! ```text
//! "QMET" version:u8 count:u32
//! { replica:u64 start:u64 random:u64 length:u16 address [length] }*  crc32c:u32
//! ```
//!
//! Little-endian; the check covers all that precedes it. Starts count from 1: a start of 0 was never met. An empty
//! address is not known. The file is small, is replaced whole, and belongs to one replica: nothing of it
//! is replicated.

use std::collections::BTreeMap;

const MAGIC: &[u8; 5] = b"QMET\x01";
const HEAD_BYTES: usize = 9;
/// Of a row without its address.
const ROW_BYTES: usize = 26;
const CHECK_BYTES: usize = 4;

/// The greatest start of a replica that was seen, and where it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetRow {
    /// Number of the start; 0 if none was seen yet.
    pub start: u64,
    /// What this start drew at random.
    pub random: u64,
    /// The address of its peer door, as the last membership told it; empty if none did.
    pub address: String,
}

/// The file as bytes.
///
/// # Panics
///
/// If there are more replicas than a `u32` counts, or an address is longer than a `u16` counts.
pub fn encode(met: &BTreeMap<u64, MetRow>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    let count = u32::try_from(met.len()).expect("replicas are few");
    out.extend_from_slice(&count.to_le_bytes());
    for (replica, row) in met {
        out.extend_from_slice(&replica.to_le_bytes());
        out.extend_from_slice(&row.start.to_le_bytes());
        out.extend_from_slice(&row.random.to_le_bytes());
        let length = u16::try_from(row.address.len()).expect("an address is short");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(row.address.as_bytes());
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
    let mut rest = body.get(HEAD_BYTES..)?;
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let mut rows = BTreeMap::new();
    for _ in 0..count {
        let (row, behind) = rest.split_at_checked(ROW_BYTES)?;
        let length = usize::from(u16::from_le_bytes(row[24..].try_into().expect("two bytes")));
        let (address, behind) = behind.split_at_checked(length)?;
        let address = str::from_utf8(address).ok()?.to_owned();
        let met = MetRow { start: number(&row[8..16]), random: number(&row[16..24]), address };
        rows.insert(number(&row[..8]), met);
        rest = behind;
    }
    rest.is_empty().then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met() -> BTreeMap<u64, MetRow> {
        BTreeMap::from([
            (2, MetRow { start: 7, random: 0x1122, address: "http://10.0.0.2:7401".to_owned() }),
            (3, MetRow { start: 1, random: u64::MAX, address: String::new() }),
            (4, MetRow { start: 0, random: 0, address: "http://d".to_owned() }),
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
