//! How much of the state's file its records take: what is left of the file can be used again.
//!
//! ```text
//! meta, key `kept`    u8 version, u64 bytes, u32 CRC32C of key and all before
//! ```
//!
//! The row is the replica's own: no manifest holds it. It is written in every transaction that adds or removes records.

use bytes::BufMut;

use super::fields::{Fields, Malformed};

/// The form of the row that this version writes.
const ROW_VERSION: u8 = 1;
/// Version and bytes.
const ROW_BODY_BYTES: usize = 1 + 8;

/// Its key in `meta`.
pub const META_KEPT: &[u8] = b"kept";

/// The value that says that the page runs of all chunks take so many bytes.
pub fn encode_kept(bytes: u64) -> Vec<u8> {
    let mut value = vec![ROW_VERSION];
    value.put_u64_le(bytes);
    let check = row_check(&value);
    value.put_u32_le(check);
    value
}

/// How many bytes such a value says.
pub fn decode_kept(value: &[u8]) -> Result<u64, Malformed> {
    let mut fields = Fields::new(value);
    let body = fields.take(ROW_BODY_BYTES, "kept bytes")?;
    if fields.u32("kept check")? != row_check(body) {
        return Err(Malformed::new("kept check", ROW_BODY_BYTES));
    }
    fields.finish("kept bytes")?;
    let mut fields = Fields::new(body);
    if fields.u8("kept version")? != ROW_VERSION {
        return Err(Malformed::new("kept version", 0));
    }
    fields.u64("kept bytes")
}

fn row_check(body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(META_KEPT), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_and_a_changed_one_does_not() {
        let value = encode_kept(1 << 40);
        assert_eq!(decode_kept(&value), Ok(1 << 40));
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(decode_kept(&changed).is_err(), "byte {at}");
        }
        assert!(decode_kept(&value[1..]).is_err());
    }
}
