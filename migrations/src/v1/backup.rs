//! The backup file: a manifest and the records it names, in frames that are each checked alone.
//!
//! ```text
//! file      magic "QUORBAK\n" [8], frames 0, 1, 2, ... and nothing behind the last one
//! frame     u8 kind, u32 length of the body, body, u32 CRC32C of { u64 number of the frame, kind, length, body }
//!
//! 1 head       u32 format version, cluster [16], u32 and u64 generation, entry, u64 stamp of its checkpoint,
//!              digest of the state [32], u64 stamp and u64 index of the entry that certified it, u32 count and
//!              ids of the replicas that attested it, u8 flag and { entry, digest [32] } of the base, u8 flag and
//!              { u32 count, ids } of the logs chosen, u64 length of the manifest, u64 records, u64 bytes of them
//! 2 manifest   the next bytes of the manifest
//! 3 log        u64 id, u64 first position here, u64 bytes of all records of the log before that
//! 4 tiles      u64 number of the first, hashes [32] of complete tiles
//! 5 records    u64 first position, u32 count, { u32 length, u64 time, untimed record } one after the other
//! 6 end        u64 records, u64 bytes of them
//!
//! order     head, manifest+, per log in order of ids { log, per 256 tiles { tiles?, records* } }, end
//! ```
//!
//! An entry is `u64 term, u64 leader, u64 index`. Numbers are little-endian. The hashes of all complete tiles of a log
//! are there, whatever records are: they form the log's tree with what is left over at its end, so the manifest's
//! frontier proves them, and they prove the records, tile by tile, as these come. The CRC names the frame that a flipped
//! byte is in.
//!
//! Not here: whether hashes and digests are right (the server examines them), and how a file is made.

use bytes::{Buf as _, BufMut, Bytes, BytesMut};

use super::checkpoints::{put_attesters, read_attesters};
use super::fields::{Fields, Malformed, put_length};
use super::values::{EntryIdRow, GenerationRow};

/// What the file begins with.
pub const MAGIC: &[u8; 8] = b"QUORBAK\n";
/// The version of the format that this version writes.
const BACKUP_VERSION: u32 = 1;
/// Kind and length.
const FRAME_HEAD_BYTES: usize = 1 + 4;
/// The check at the end of a frame.
const FRAME_CHECK_BYTES: usize = 4;
/// A body is never longer: one record of the longest kind fits, with what stands before it.
const BODY_BYTES_MAX: usize = (64 << 20) + (1 << 20);
/// So many logs can be chosen.
const LOGS_MAX: usize = 1 << 20;
/// So many hashes stand in one frame.
pub const TILES_MAX: usize = 256;

/// A state by its entry and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateName {
    /// The entry.
    pub entry: EntryIdRow,
    /// The digest.
    pub digest: [u8; 32],
}

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHead {
    /// The cluster.
    pub cluster: [u8; 16],
    /// Its generation.
    pub generation: GenerationRow,
    /// The state that the manifest is.
    pub state: StateName,
    /// The group's clock when its checkpoint was made, in milliseconds.
    pub stamp: u64,
    /// The group's clock when that was certified, in milliseconds.
    pub certified: u64,
    /// The index of the entry that certified it.
    pub certified_by: u64,
    /// Who attested it.
    pub attested_by: Vec<u64>,
    /// The state of an earlier backup, whose records are not repeated.
    pub base: Option<StateName>,
    /// The ids of the logs it holds, in order; all if none were chosen.
    pub logs: Option<Vec<u64>>,
    /// The length of the manifest.
    pub manifest_bytes: u64,
    /// How many records follow.
    pub records: u64,
    /// Their bytes, as a log counts them.
    pub record_bytes: u64,
}

impl BackupHead {
    /// Whether it holds this log.
    pub fn holds(&self, log: u64) -> bool {
        self.logs.as_ref().is_none_or(|logs| logs.binary_search(&log).is_ok())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32_le(BACKUP_VERSION);
        out.extend_from_slice(&self.cluster);
        self.generation.write(out);
        write_name(out, &self.state);
        out.put_u64_le(self.stamp);
        out.put_u64_le(self.certified);
        out.put_u64_le(self.certified_by);
        put_attesters(out, &self.attested_by);
        out.put_u8(u8::from(self.base.is_some()));
        if let Some(base) = &self.base {
            write_name(out, base);
        }
        out.put_u8(u8::from(self.logs.is_some()));
        if let Some(logs) = &self.logs {
            put_length(out, logs.len(), LOGS_MAX);
            for log in logs {
                out.put_u64_le(*log);
            }
        }
        out.put_u64_le(self.manifest_bytes);
        out.put_u64_le(self.records);
        out.put_u64_le(self.record_bytes);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        if fields.u32("backup version")? != BACKUP_VERSION {
            return Err(Malformed::new("backup version", 0));
        }
        Ok(Self {
            cluster: fields.array("cluster")?,
            generation: GenerationRow::read(fields)?,
            state: read_name(fields)?,
            stamp: fields.u64("checkpoint stamp")?,
            certified: fields.u64("certification stamp")?,
            certified_by: fields.u64("certifying entry")?,
            attested_by: read_attesters(fields)?,
            base: if fields.flag("base")? { Some(read_name(fields)?) } else { None },
            logs: if fields.flag("logs")? { Some(read_ids(fields)?) } else { None },
            manifest_bytes: fields.u64("manifest length")?,
            records: fields.u64("record count")?,
            record_bytes: fields.u64("record bytes")?,
        })
    }
}

fn write_name(out: &mut Vec<u8>, name: &StateName) {
    name.entry.write(out);
    out.extend_from_slice(&name.digest);
}

fn read_name(fields: &mut Fields<'_>) -> Result<StateName, Malformed> {
    Ok(StateName { entry: EntryIdRow::read(fields)?, digest: fields.array("state digest")? })
}

fn read_ids(fields: &mut Fields<'_>) -> Result<Vec<u64>, Malformed> {
    let mut ids = Vec::new();
    for _ in 0..fields.length(LOGS_MAX, "chosen logs")? {
        let id = fields.u64("chosen log")?;
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(fields.malformed("chosen log"));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// One frame of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupPart {
    /// What it is of.
    Head(Box<BackupHead>),
    /// The next bytes of the manifest.
    Manifest(Bytes),
    /// A log begins.
    Log {
        /// Its id.
        log: u64,
        /// The first position that is here; its tail if none is.
        from: u64,
        /// Bytes of all its records before that.
        bytes_before: u64,
    },
    /// Hashes of complete tiles.
    Tiles {
        /// The number of the first.
        first: u64,
        /// The hashes.
        hashes: Vec<[u8; 32]>,
    },
    /// Records that follow each other.
    Records {
        /// The position of the first.
        first: u64,
        /// How many.
        count: u32,
        /// `{ u32 length, u64 time, untimed record }` for each.
        bytes: Bytes,
    },
    /// Nothing follows.
    End {
        /// How many records there were.
        records: u64,
        /// Their bytes, as a log counts them.
        record_bytes: u64,
    },
}

impl BackupPart {
    const fn kind(&self) -> u8 {
        match self {
            Self::Head(_) => 1,
            Self::Manifest(_) => 2,
            Self::Log { .. } => 3,
            Self::Tiles { .. } => 4,
            Self::Records { .. } => 5,
            Self::End { .. } => 6,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Head(head) => head.write(out),
            Self::Manifest(bytes) => out.extend_from_slice(bytes),
            Self::Log { log, from, bytes_before } => {
                for number in [log, from, bytes_before] {
                    out.put_u64_le(*number);
                }
            }
            Self::Tiles { first, hashes } => {
                out.put_u64_le(*first);
                for hash in hashes {
                    out.extend_from_slice(hash);
                }
            }
            Self::Records { first, count, bytes } => {
                out.put_u64_le(*first);
                out.put_u32_le(*count);
                out.extend_from_slice(bytes);
            }
            Self::End { records, record_bytes } => {
                out.put_u64_le(*records);
                out.put_u64_le(*record_bytes);
            }
        }
    }

    fn read(kind: u8, body: &Bytes) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        let part = match kind {
            1 => Self::Head(Box::new(BackupHead::read(&mut fields)?)),
            2 => {
                Self::Manifest(Bytes::copy_from_slice(fields.take(fields.remaining(), "manifest")?))
            }
            3 => Self::Log {
                log: fields.u64("log")?,
                from: fields.u64("first position")?,
                bytes_before: fields.u64("bytes before")?,
            },
            4 => {
                let first = fields.u64("first tile")?;
                let (hashes, rest) = fields.take(fields.remaining(), "tiles")?.as_chunks();
                if !rest.is_empty() || hashes.is_empty() || hashes.len() > TILES_MAX {
                    return Err(Malformed::new("tiles", 0));
                }
                Self::Tiles { first, hashes: hashes.to_vec() }
            }
            5 => {
                let (first, count) = (fields.u64("first position")?, fields.u32("record count")?);
                let bytes = body.slice(fields.offset()..);
                fields.take(fields.remaining(), "records")?;
                Self::Records { first, count, bytes }
            }
            6 => Self::End {
                records: fields.u64("record count")?,
                record_bytes: fields.u64("record bytes")?,
            },
            _ => return Err(Malformed::new("frame kind", 0)),
        };
        fields.finish("frame")?;
        Ok(part)
    }

    /// The frame of this part, as the one of this number in its file.
    pub fn encode(&self, number: u64) -> Vec<u8> {
        let mut frame = vec![self.kind()];
        frame.put_u32_le(0);
        self.write(&mut frame);
        let length = frame.len() - FRAME_HEAD_BYTES;
        assert!(length <= BODY_BYTES_MAX, "a frame's body has at most {BODY_BYTES_MAX} bytes");
        let length = u32::try_from(length).expect("the length was just bounded");
        frame[1..FRAME_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        let check = frame_check(number, &frame);
        frame.put_u32_le(check);
        frame
    }
}

fn frame_check(number: u64, frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), frame)
}

/// Bytes of a backup that are not what was written, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, in frame {frame} at byte {offset}")]
pub struct BadFrame {
    /// Where the frame begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// Which frame, from 0.
    pub frame: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// Takes a file apart, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct BackupFrames {
    buffer: BytesMut,
    /// Where the buffer begins in the file.
    offset: u64,
    /// The number of the next frame.
    number: u64,
}

impl BackupFrames {
    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where the next frame begins in the file.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the next frame.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether there is nothing left of what came.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next part, if all of it is here.
    pub fn next_part(&mut self) -> Result<Option<BackupPart>, BadFrame> {
        if self.offset == 0 && !self.take_magic()? {
            return Ok(None);
        }
        let Some(head) = self.buffer.first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
        let [_, length @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > BODY_BYTES_MAX {
            return Err(self.bad("a length that no frame has"));
        }
        let whole = FRAME_HEAD_BYTES + length + FRAME_CHECK_BYTES;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(whole).freeze();
        let check = frame.split_off(whole - FRAME_CHECK_BYTES);
        if frame_check(self.number, &frame).to_le_bytes() != check[..] {
            return Err(self.bad("bytes that do not fit their check"));
        }
        let kind = frame[0];
        frame.advance(FRAME_HEAD_BYTES);
        let part = BackupPart::read(kind, &frame).map_err(|malformed| self.bad(malformed.field))?;
        self.offset += u64::try_from(whole).expect("a length in memory fits 64 bits");
        self.number += 1;
        Ok(Some(part))
    }

    fn take_magic(&mut self) -> Result<bool, BadFrame> {
        let here = self.buffer.len().min(MAGIC.len());
        if self.buffer[..here] != MAGIC[..here] {
            return Err(self.bad("no beginning of a backup"));
        }
        if here < MAGIC.len() {
            return Ok(false);
        }
        self.buffer.advance(MAGIC.len());
        self.offset = 8;
        Ok(true)
    }

    /// Something is wrong with the next frame.
    pub const fn bad(&self, what: &'static str) -> BadFrame {
        BadFrame { offset: self.offset, frame: self.number, what }
    }
}
