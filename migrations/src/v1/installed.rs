//! The mark of an install: which entry's state was put in place of the replica's own.
//!
//! ```text
//! meta, key `installed`    u8 version, u64 term, u64 leader, u64 index, u32 CRC32C of key and all before
//! ```
//!
//! The row is the replica's own: no manifest holds it. It is written in the transaction that installs a manifest and
//! removed once the journal is durably purged up to that entry; between the two, a state ahead of the journal is no
//! damage.

use bytes::BufMut;

use super::fields::{Fields, Malformed};
use super::values::EntryIdRow;

/// The form of the mark that this version writes.
const MARK_VERSION: u8 = 1;
/// Version and entry.
const MARK_BODY_BYTES: usize = 1 + 3 * 8;

/// Its key in `meta`.
pub const META_INSTALLED: &[u8] = b"installed";

/// The value of the mark.
pub fn encode_installed(entry: EntryIdRow) -> Vec<u8> {
    let mut value = vec![MARK_VERSION];
    value.put_u64_le(entry.term);
    value.put_u64_le(entry.leader);
    value.put_u64_le(entry.index);
    let check = mark_check(&value);
    value.put_u32_le(check);
    value
}

/// The entry that such a value names.
pub fn decode_installed(value: &[u8]) -> Result<EntryIdRow, Malformed> {
    let mut fields = Fields::new(value);
    let body = fields.take(MARK_BODY_BYTES, "installed")?;
    if fields.u32("installed check")? != mark_check(body) {
        return Err(Malformed::new("installed check", MARK_BODY_BYTES));
    }
    fields.finish("installed")?;
    let mut fields = Fields::new(body);
    if fields.u8("installed version")? != MARK_VERSION {
        return Err(Malformed::new("installed version", 0));
    }
    Ok(EntryIdRow {
        term: fields.u64("installed term")?,
        leader: fields.u64("installed leader")?,
        index: fields.u64("installed index")?,
    })
}

fn mark_check(body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(META_INSTALLED), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_a_changed_one_does_not() {
        let entry = EntryIdRow { term: 3, leader: 2, index: 700 };
        let value = encode_installed(entry);
        assert_eq!(decode_installed(&value), Ok(entry));
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(decode_installed(&changed).is_err(), "byte {at}");
        }
        assert!(decode_installed(&value[1..]).is_err());
    }
}
