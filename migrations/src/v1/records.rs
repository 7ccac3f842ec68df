//! A record as bytes: alone, in a run, in a chunk; and what its leaf hash covers.
//!
//! ```text
//! untimed record   u16 header count, per header { u8 name length, name, u32 value length, value }, body to the end
//! leaf             SHA-256(0x00, u64 time, untimed record)
//! run              { u32 length, untimed record } one after the other: what an append carries and the journal keeps
//! chunk            u8 version, u8 flags, u64 log, u64 first, u32 count, u64 first time, u64 bytes before,
//!                  { u32 length, u64 time, untimed record } count times, u32 CRC32C of key and all before it
//! ```
//!
//! All numbers are little-endian. The bytes of a log are counted as the lengths of its untimed
//! records. Decoding borrows from what it is given and never panics.

use bytes::BufMut;
use sha2::{Digest as _, Sha256};

use super::fields::{Fields, Malformed, put_length};
use super::tables::chunk_key;

/// The form of a chunk that this version writes.
const CHUNK_VERSION: u8 = 1;
/// Version, flags, log, first, count, first time, bytes before.
const CHUNK_HEAD_BYTES: usize = 1 + 1 + 8 + 8 + 4 + 8 + 8;
/// Where the count stands in a chunk's head.
const CHUNK_COUNT_OFFSET: usize = 1 + 1 + 8 + 8;
/// The check at the end of a chunk.
const CHUNK_CHECK_BYTES: usize = 4;
/// Length and time before each record of a chunk.
pub const CHUNK_RECORD_HEAD_BYTES: usize = 4 + 8;
/// Before a record of a run: its length.
pub const RUN_RECORD_HEAD_BYTES: usize = 4;
/// An untimed record is never longer than this, whatever a configuration allows.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// A record never has more headers than this, whatever a configuration allows.
pub const HEADERS_MAX: usize = 1024;

/// Appends one record to a run: its length, then its untimed form.
///
/// Names are at most 255 bytes, and a record at most [`RECORD_BYTES_MAX`]: the contract's types see
/// to it.
pub fn push_record<'h>(
    run: &mut Vec<u8>,
    headers: impl ExactSizeIterator<Item = (&'h [u8], &'h [u8])>,
    body: &[u8],
) {
    let start = run.len();
    run.reserve(RUN_RECORD_HEAD_BYTES + 2 + body.len());
    run.put_u32_le(0);
    assert!(headers.len() <= HEADERS_MAX, "a record has at most {HEADERS_MAX} headers");
    run.put_u16_le(u16::try_from(headers.len()).expect("the count of headers was just bounded"));
    for (name, value) in headers {
        run.put_u8(u8::try_from(name.len()).expect("a header's name has at most 255 bytes"));
        run.extend_from_slice(name);
        put_length(run, value.len(), RECORD_BYTES_MAX);
        run.extend_from_slice(value);
    }
    run.extend_from_slice(body);
    let length = run.len() - start - RUN_RECORD_HEAD_BYTES;
    assert!(length <= RECORD_BYTES_MAX, "a record has at most {RECORD_BYTES_MAX} bytes");
    let length = u32::try_from(length).expect("the length of a record was just bounded");
    run[start..start + RUN_RECORD_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// The leaf hash of a record: SHA-256 over a zero byte, its time, and its untimed form.
#[inline]
pub fn leaf_hash(time: u64, untimed: &[u8]) -> [u8; 32] {
    let mut head = [0; 9];
    head[1..].copy_from_slice(&time.to_le_bytes());
    Sha256::new().chain_update(head).chain_update(untimed).finalize().into()
}

/// A record without its time, borrowed from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untimed<'a> {
    header_count: u16,
    headers: &'a [u8],
    body: &'a [u8],
}

impl<'a> Untimed<'a> {
    /// Reads one record; every header is checked.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes);
        let header_count = fields.u16("header count")?;
        if usize::from(header_count) > HEADERS_MAX {
            return Err(Malformed::new("header count", 0));
        }
        let start = fields.offset();
        for _ in 0..header_count {
            header(&mut fields)?;
        }
        let headers = &bytes[start..fields.offset()];
        Ok(Self { header_count, headers, body: &bytes[fields.offset()..] })
    }

    /// The body.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// How many headers there are.
    pub fn header_count(&self) -> usize {
        usize::from(self.header_count)
    }

    /// Names and values, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut fields = Fields::new(self.headers);
        std::iter::from_fn(move || header(&mut fields).ok())
    }
}

fn header<'a>(fields: &mut Fields<'a>) -> Result<(&'a str, &'a [u8]), Malformed> {
    let name = fields.short_text("header name")?;
    let length = fields.length(RECORD_BYTES_MAX, "header value")?;
    Ok((name, fields.take(length, "header value")?))
}

/// The records of a run, as their untimed bytes. Ends after the first error.
#[derive(Debug, Clone)]
pub struct RunRecords<'a> {
    fields: Fields<'a>,
    is_broken: bool,
}

/// Goes through the records of a run without copying.
pub const fn run_records(run: &[u8]) -> RunRecords<'_> {
    RunRecords { fields: Fields::new(run), is_broken: false }
}

impl<'a> Iterator for RunRecords<'a> {
    type Item = Result<&'a [u8], Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken || self.fields.remaining() == 0 {
            return None;
        }
        let record = self
            .fields
            .length(RECORD_BYTES_MAX, "record length")
            .and_then(|length| self.fields.take(length, "record"));
        self.is_broken = record.is_err();
        Some(record)
    }
}

/// What a run holds, found by going through all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunShape {
    /// How many records.
    pub count: u32,
    /// The longest body.
    pub body_bytes_max: u32,
}

/// Checks a whole run, every header of every record included.
pub fn check_run(run: &[u8]) -> Result<RunShape, Malformed> {
    let mut shape = RunShape { count: 0, body_bytes_max: 0 };
    for record in run_records(run) {
        let record = Untimed::decode(record?)?;
        let body_bytes =
            u32::try_from(record.body().len()).map_err(|_| Malformed::new("record length", 0))?;
        shape.count = shape.count.checked_add(1).ok_or(Malformed::new("record count", 0))?;
        shape.body_bytes_max = shape.body_bytes_max.max(body_bytes);
    }
    Ok(shape)
}

/// The head of a chunk: which records it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHead {
    /// No flag has a meaning yet; kept zero.
    pub flags: u8,
    /// The log's id.
    pub log: u64,
    /// Position of the first record.
    pub first: u64,
    /// How many records; never zero.
    pub count: u32,
    /// Time of the first record, so that a search by time need not look further.
    pub first_time: u64,
    /// Bytes of all records of the log before the first one here.
    pub bytes_before: u64,
}

impl ChunkHead {
    /// Reads the head alone. The chunk's check is **not** verified: for searches only.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(value);
        if fields.u8("chunk version")? != CHUNK_VERSION {
            return Err(Malformed::new("chunk version", 0));
        }
        let head = Self {
            flags: fields.u8("chunk flags")?,
            log: fields.u64("chunk log")?,
            first: fields.u64("chunk first position")?,
            count: fields.u32("chunk count")?,
            first_time: fields.u64("chunk first time")?,
            bytes_before: fields.u64("chunk bytes before")?,
        };
        let is_possible = head.flags == 0
            && head.count > 0
            && head.first.checked_add(u64::from(head.count)).is_some();
        if is_possible { Ok(head) } else { Err(fields.malformed("chunk head")) }
    }

    /// The position after the last record.
    pub fn until(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

/// A chunk being written, record by record.
#[derive(Debug)]
pub struct ChunkWriter {
    log: u64,
    first: u64,
    count: u32,
    value: Vec<u8>,
}

impl ChunkWriter {
    /// Begins a chunk. `capacity` is what it is expected to hold, in bytes.
    pub fn new(log: u64, first: u64, first_time: u64, bytes_before: u64, capacity: usize) -> Self {
        let mut value = Vec::with_capacity(capacity + CHUNK_HEAD_BYTES + CHUNK_CHECK_BYTES);
        value.put_u8(CHUNK_VERSION);
        value.put_u8(0);
        value.put_u64_le(log);
        value.put_u64_le(first);
        value.put_u32_le(0);
        value.put_u64_le(first_time);
        value.put_u64_le(bytes_before);
        Self { log, first, count: 0, value }
    }

    /// Adds the next record.
    pub fn push(&mut self, time: u64, untimed: &[u8]) {
        put_length(&mut self.value, untimed.len(), RECORD_BYTES_MAX);
        self.value.put_u64_le(time);
        self.value.extend_from_slice(untimed);
        self.count += 1;
    }

    /// How many records it holds.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the finished value if nothing more is added.
    pub fn value_bytes(&self) -> usize {
        self.value.len() + CHUNK_CHECK_BYTES
    }

    /// Key and value as redb keeps them.
    pub fn finish(mut self) -> ([u8; 16], Vec<u8>) {
        assert!(self.count > 0, "a chunk holds at least one record");
        let key = chunk_key(self.log, self.first);
        self.value[CHUNK_COUNT_OFFSET..CHUNK_COUNT_OFFSET + 4]
            .copy_from_slice(&self.count.to_le_bytes());
        let check = chunk_check(&key, &self.value);
        self.value.put_u32_le(check);
        (key, self.value)
    }
}

/// A whole chunk whose check was verified.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    head: ChunkHead,
    records: &'a [u8],
}

/// One record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRecord<'a> {
    /// Its time, in milliseconds.
    pub time: u64,
    /// The rest of it.
    pub untimed: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Verifies the check over key and value, then the head and the place of every record.
    pub fn decode(key: &[u8], value: &'a [u8]) -> Result<Self, Malformed> {
        let body_bytes = value
            .len()
            .checked_sub(CHUNK_CHECK_BYTES)
            .filter(|length| *length >= CHUNK_HEAD_BYTES)
            .ok_or(Malformed::new("chunk", 0))?;
        let (body, check) = value.split_at(body_bytes);
        if check != chunk_check(key, body).to_le_bytes() {
            return Err(Malformed::new("chunk check", body_bytes));
        }
        let head = ChunkHead::decode(body)?;
        if key != chunk_key(head.log, head.first) {
            return Err(Malformed::new("chunk key", 0));
        }
        let chunk = Self { head, records: &body[CHUNK_HEAD_BYTES..] };
        let mut fields = Fields::new(chunk.records);
        for _ in 0..head.count {
            chunk_record(&mut fields)?;
        }
        fields.finish("chunk records")?;
        Ok(chunk)
    }

    /// Which records it holds.
    pub const fn head(&self) -> ChunkHead {
        self.head
    }

    /// All its records as they stand there: `{ u32 length, u64 time, untimed record }`, one after the other.
    pub const fn record_bytes(&self) -> &'a [u8] {
        self.records
    }

    /// Its records, in order of position.
    pub fn records(&self) -> impl Iterator<Item = ChunkRecord<'a>> {
        let mut fields = Fields::new(self.records);
        std::iter::from_fn(move || chunk_record(&mut fields).ok())
    }
}

fn chunk_record<'a>(fields: &mut Fields<'a>) -> Result<ChunkRecord<'a>, Malformed> {
    let length = usize::try_from(fields.u32("chunk record length")?)
        .map_err(|_| fields.malformed("chunk record length"))?;
    let time = fields.u64("chunk record time")?;
    Ok(ChunkRecord { time, untimed: fields.take(length, "chunk record")? })
}

fn chunk_check(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}
