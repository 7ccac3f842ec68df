//! The mark of a quarantine: that the state here was found to be another one than the certified one.
//!
//! ```text
//! meta, key `quarantine`   u8 version, u64 checkpoint, 32 bytes certified digest, u8 stage, u64 entry of the stage,
//!                          u32 CRC32C of key and all before
//! stage                    0: it differs   1: the state at the entry was taken anew   2: it differed again after that
//! ```
//!
//! The row is the replica's own: no manifest holds it. It is written at the latest with the first flush after the
//! difference was found, changes in the transaction that puts the certified state in place, and goes once a later
//! checkpoint was the same here.

use bytes::BufMut;

use super::fields::{Fields, Malformed};

/// The form of the mark that this version writes.
const MARK_VERSION: u8 = 1;
/// Version, checkpoint, digest, stage and its entry.
const MARK_BODY_BYTES: usize = 1 + 8 + 32 + 1 + 8;

/// Its key in `meta`.
pub const META_QUARANTINE: &[u8] = b"quarantine";

/// What became of a state that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineStage {
    /// Nothing yet.
    Differs,
    /// The certified state at this entry was put in its place.
    Renewed(u64),
    /// It differed again, after the one at this entry had been put in its place.
    Hopeless(u64),
}

/// That a state differs, and from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineRow {
    /// The entry of the newest checkpoint at which it differed.
    pub checkpoint: u64,
    /// What a majority attested there.
    pub certified: [u8; 32],
    /// What became of it.
    pub stage: QuarantineStage,
}

impl QuarantineRow {
    /// The value of the mark.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = vec![MARK_VERSION];
        value.put_u64_le(self.checkpoint);
        value.put_slice(&self.certified);
        let (stage, entry) = match self.stage {
            QuarantineStage::Differs => (0, 0),
            QuarantineStage::Renewed(entry) => (1, entry),
            QuarantineStage::Hopeless(entry) => (2, entry),
        };
        value.put_u8(stage);
        value.put_u64_le(entry);
        let check = mark_check(&value);
        value.put_u32_le(check);
        value
    }

    /// What such a value says.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(value);
        let body = fields.take(MARK_BODY_BYTES, "quarantine")?;
        if fields.u32("quarantine check")? != mark_check(body) {
            return Err(Malformed::new("quarantine check", MARK_BODY_BYTES));
        }
        fields.finish("quarantine")?;
        let mut fields = Fields::new(body);
        if fields.u8("quarantine version")? != MARK_VERSION {
            return Err(Malformed::new("quarantine version", 0));
        }
        let checkpoint = fields.u64("quarantine checkpoint")?;
        let certified = fields.array("quarantine digest")?;
        let (stage, entry) = (fields.u8("quarantine stage")?, fields.u64("quarantine entry")?);
        let stage = match (stage, entry) {
            (0, 0) => QuarantineStage::Differs,
            (1, entry) => QuarantineStage::Renewed(entry),
            (2, entry) => QuarantineStage::Hopeless(entry),
            _ => return Err(Malformed::new("quarantine stage", 1 + 8 + 32)),
        };
        Ok(Self { checkpoint, certified, stage })
    }
}

fn mark_check(body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(META_QUARANTINE), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_a_changed_one_does_not() {
        let stages =
            [QuarantineStage::Differs, QuarantineStage::Renewed(8), QuarantineStage::Hopeless(9)];
        for stage in stages {
            let row = QuarantineRow { checkpoint: 700, certified: [7; 32], stage };
            let value = row.encode();
            assert_eq!(QuarantineRow::decode(&value), Ok(row));
            for at in 0..value.len() {
                let mut changed = value.clone();
                changed[at] ^= 1;
                assert!(QuarantineRow::decode(&changed).is_err(), "byte {at}");
            }
            assert!(QuarantineRow::decode(&value[1..]).is_err());
        }
    }
}
