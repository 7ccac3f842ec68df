//! The rows of the state: what each holds, and its bytes.
//!
//! Every value is `u8 version, fields, u32 CRC32C`, where the check covers the table's number, the
//! key, and all before it: a row moved to another key or another table is found. Numbers are
//! little-endian, text is UTF-8 behind its length, an optional field stands behind a flag, and
//! every count has a bound.
//!
//! Rows are plain numbers and text. What they mean, and which combinations are possible, is the
//! machine's to say. Not here: rows about replicas (`members`), chunks (`records`), and the layout
//! of keys (`tables`).

use bytes::BufMut;

use super::fields::{Fields, Malformed, put_optional, put_short_text};
use super::tables::Table;

pub use super::members::{
    AdmissionRow, AppliedMembershipRow, FoundingRow, GenerationRow, MembershipRow,
    NODE_TEXT_BYTES_MAX, NodeRow,
};

/// The form of rows that this version writes.
pub(super) const ROW_VERSION: u8 = 1;
/// The check at the end of a row.
const ROW_CHECK_BYTES: usize = 4;
/// A frontier has one hash per set bit of a 64-bit tail.
const FRONTIER_MAX: usize = 64;
/// How many sequences of a producer are remembered.
pub const PRODUCER_BATCHES_MAX: usize = 5;

/// A hash of a body, shortened to what tells bodies of one caller apart.
pub type BodyHash = [u8; 16];

pub(super) mod body {
    use super::{Fields, Malformed, Table};

    /// The fields of a row, without version and check.
    pub trait Body: Sized {
        /// The table that holds such rows.
        const TABLE: Table;
        /// Writes the fields in order.
        fn write(&self, out: &mut Vec<u8>);
        /// Reads the fields in order.
        fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed>;
    }
}
use body::Body;

/// A row of the state: encoded and decoded together with its key. Sealed: the rows are those of
/// this file.
pub trait Row: Body {
    /// The value as redb keeps it under `key`.
    fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut value = vec![ROW_VERSION];
        self.write(&mut value);
        let check = row_check(Self::TABLE, key, &value);
        value.put_u32_le(check);
        value
    }

    /// The row that a value under `key` holds.
    fn decode(key: &[u8], value: &[u8]) -> Result<Self, Malformed> {
        let body_bytes =
            value.len().checked_sub(ROW_CHECK_BYTES).ok_or(Malformed::new("row", 0))?;
        let (body, check) = value.split_at(body_bytes);
        if check != row_check(Self::TABLE, key, body).to_le_bytes() {
            return Err(Malformed::new("row check", body_bytes));
        }
        decode_versioned(body)
    }
}

impl<B: Body> Row for B {}

fn row_check(table: Table, key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&[table.number()]), key), body)
}

fn decode_versioned<B: Body>(bytes: &[u8]) -> Result<B, Malformed> {
    let mut fields = Fields::new(bytes);
    if fields.u8("row version")? != ROW_VERSION {
        return Err(Malformed::new("row version", 0));
    }
    let row = B::read(&mut fields)?;
    fields.finish("row")?;
    Ok(row)
}

/// Settings of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SettingsRow {
    /// Records older than this may be trimmed.
    pub retention_age_ms: Option<u64>,
    /// Records beyond these bytes may be trimmed, oldest first.
    pub retention_bytes: Option<u64>,
    /// Content type of its bodies.
    pub content_type: Option<String>,
    /// Longest body.
    pub record_bytes_max: Option<u64>,
    /// The log goes so long after it was used last.
    pub ttl_ms: Option<u64>,
    /// The log goes at this time.
    pub expires_at: Option<u64>,
}

impl SettingsRow {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_optional(out, self.retention_age_ms, Vec::put_u64_le);
        put_optional(out, self.retention_bytes, Vec::put_u64_le);
        put_optional(out, self.content_type.as_deref(), put_short_text);
        put_optional(out, self.record_bytes_max, Vec::put_u64_le);
        put_optional(out, self.ttl_ms, Vec::put_u64_le);
        put_optional(out, self.expires_at, Vec::put_u64_le);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            retention_age_ms: fields.optional("retention age", |f| f.u64("retention age"))?,
            retention_bytes: fields.optional("retention bytes", |f| f.u64("retention bytes"))?,
            content_type: fields
                .optional("content type", |f| f.short_text("content type"))?
                .map(str::to_owned),
            record_bytes_max: fields.optional("record limit", |f| f.u64("record limit"))?,
            ttl_ms: fields.optional("time to live", |f| f.u64("time to live"))?,
            expires_at: fields.optional("expiry", |f| f.u64("expiry"))?,
        })
    }
}

/// What becomes of the settings of a log: what is absent stays, what is `Some(None)` is no longer set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SettingsChangeRow {
    /// Records older than this may be trimmed.
    pub retention_age_ms: Option<Option<u64>>,
    /// Records beyond these bytes may be trimmed, oldest first.
    pub retention_bytes: Option<Option<u64>>,
    /// Content type of its bodies.
    pub content_type: Option<Option<String>>,
    /// Longest body.
    pub record_bytes_max: Option<Option<u64>>,
    /// The log goes so long after it was used last.
    pub ttl_ms: Option<Option<u64>>,
    /// The log goes at this time.
    pub expires_at: Option<Option<u64>>,
}

impl SettingsChangeRow {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, value| put_optional(out, value, Vec::put_u64_le);
        put_optional(out, self.retention_age_ms, number);
        put_optional(out, self.retention_bytes, number);
        put_optional(out, self.content_type.as_ref(), |out, value| {
            put_optional(out, value.as_deref(), put_short_text);
        });
        put_optional(out, self.record_bytes_max, number);
        put_optional(out, self.ttl_ms, number);
        put_optional(out, self.expires_at, number);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let number = |fields: &mut Fields<'_>, what| {
            fields.optional(what, |f| f.optional(what, |f| f.u64(what)))
        };
        Ok(Self {
            retention_age_ms: number(fields, "retention age")?,
            retention_bytes: number(fields, "retention bytes")?,
            content_type: fields.optional("content type", |f| {
                let text = f.optional("content type", |f| f.short_text("content type"))?;
                Ok(text.map(str::to_owned))
            })?,
            record_bytes_max: number(fields, "record limit")?,
            ttl_ms: number(fields, "time to live")?,
            expires_at: number(fields, "expiry")?,
        })
    }
}

/// A log, under its id in `catalog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRow {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: SettingsRow,
    /// When it was created.
    pub created: u64,
    /// First position kept.
    pub trim: u64,
    /// Position of the next record.
    pub tail: u64,
    /// Bytes of all records before the trim point.
    pub bytes_at_trim: u64,
    /// Bytes of all records ever appended.
    pub bytes_at_tail: u64,
    /// Time of the newest record; zero if there never was one.
    pub last_time: u64,
    /// Whether it was ended.
    pub is_sealed: bool,
    /// The token that appends may have to name.
    pub fence: Option<String>,
    /// The order key of the last append that had one.
    pub order_key: Option<String>,
    /// When its time to live was begun again other than by an append; zero if never.
    pub renewed: u64,
    /// Ordinal of the next idempotency key.
    pub next_key: u64,
    /// Hashes of the complete trees that the log consists of, the largest first: one per set bit of
    /// the tail.
    pub frontier: Vec<[u8; 32]>,
}

impl Body for CatalogRow {
    const TABLE: Table = Table::Catalog;

    fn write(&self, out: &mut Vec<u8>) {
        put_short_text(out, &self.name);
        self.settings.write(out);
        for number in [
            self.created,
            self.trim,
            self.tail,
            self.bytes_at_trim,
            self.bytes_at_tail,
            self.last_time,
        ] {
            out.put_u64_le(number);
        }
        out.put_u8(u8::from(self.is_sealed));
        put_optional(out, self.fence.as_deref(), put_short_text);
        put_optional(out, self.order_key.as_deref(), put_short_text);
        out.put_u64_le(self.renewed);
        out.put_u64_le(self.next_key);
        out.put_u8(u8::try_from(self.frontier.len()).expect("a frontier has at most 64 hashes"));
        for hash in &self.frontier {
            out.extend_from_slice(hash);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let row = Self {
            name: fields.short_text("log name")?.to_owned(),
            settings: SettingsRow::read(fields)?,
            created: fields.u64("created")?,
            trim: fields.u64("trim point")?,
            tail: fields.u64("tail")?,
            bytes_at_trim: fields.u64("bytes at trim point")?,
            bytes_at_tail: fields.u64("bytes at tail")?,
            last_time: fields.u64("last time")?,
            is_sealed: fields.flag("sealed")?,
            fence: fields.optional("fence", |f| f.short_text("fence"))?.map(str::to_owned),
            order_key: fields
                .optional("order key", |f| f.short_text("order key"))?
                .map(str::to_owned),
            renewed: fields.u64("renewed")?,
            next_key: fields.u64("next key")?,
            frontier: read_frontier(fields)?,
        };
        let is_possible = row.trim <= row.tail
            && row.bytes_at_trim <= row.bytes_at_tail
            && row.frontier.len() == usize::try_from(row.tail.count_ones()).unwrap_or(usize::MAX);
        if is_possible { Ok(row) } else { Err(fields.malformed("log")) }
    }
}

fn read_frontier(fields: &mut Fields<'_>) -> Result<Vec<[u8; 32]>, Malformed> {
    let count = usize::from(fields.u8("frontier")?);
    if count > FRONTIER_MAX {
        return Err(fields.malformed("frontier"));
    }
    (0..count).map(|_| fields.array("frontier")).collect()
}

/// Where a batch went, so that it can be recognised when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRow {
    /// Its first position.
    pub first: u64,
    /// How many records.
    pub count: u32,
    /// When it was appended.
    pub time: u64,
    /// Tells it from another batch.
    pub body_hash: BodyHash,
}

impl BatchRow {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.first);
        out.put_u32_le(self.count);
        out.put_u64_le(self.time);
        out.extend_from_slice(&self.body_hash);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            first: fields.u64("batch position")?,
            count: fields.u32("batch count")?,
            time: fields.u64("batch time")?,
            body_hash: fields.array("batch hash")?,
        })
    }
}

/// A producer of a log, under log and producer id in `producers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRow {
    /// Its newest life.
    pub epoch: u64,
    /// When it last appended.
    pub last_stamp: u64,
    /// The newest sequence. The batches below end with it and are dense.
    pub last_sequence: u64,
    /// The newest batches, oldest first; at least one.
    pub batches: Vec<BatchRow>,
}

impl Body for ProducerRow {
    const TABLE: Table = Table::Producers;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.epoch);
        out.put_u64_le(self.last_stamp);
        out.put_u64_le(self.last_sequence);
        assert!(self.batches.len() <= PRODUCER_BATCHES_MAX, "a producer has at most 5 batches");
        out.put_u8(u8::try_from(self.batches.len()).expect("five fit"));
        for batch in &self.batches {
            batch.write(out);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let epoch = fields.u64("producer epoch")?;
        let last_stamp = fields.u64("producer stamp")?;
        let last_sequence = fields.u64("sequence")?;
        let count = fields.u8("batches")?;
        let is_possible = (1..=PRODUCER_BATCHES_MAX).contains(&usize::from(count))
            && u64::from(count - 1) <= last_sequence;
        if !is_possible {
            return Err(fields.malformed("batches"));
        }
        let batches = (0..count).map(|_| BatchRow::read(fields)).collect::<Result<_, _>>()?;
        Ok(Self { epoch, last_stamp, last_sequence, batches })
    }
}

/// An idempotency key of a log, under log and ordinal in `keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// The key.
    pub key: String,
    /// Where its batch went.
    pub batch: BatchRow,
}

impl Body for KeyRow {
    const TABLE: Table = Table::Keys;

    fn write(&self, out: &mut Vec<u8>) {
        put_short_text(out, &self.key);
        self.batch.write(out);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let key = fields.short_text("idempotency key")?.to_owned();
        Ok(Self { key, batch: BatchRow::read(fields)? })
    }
}

/// A cursor of a log, under log and name in `cursors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorRow {
    /// Where the consumer is.
    pub position: u64,
    /// When that was stored.
    pub time: u64,
}

impl Body for CursorRow {
    const TABLE: Table = Table::Cursors;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.position);
        out.put_u64_le(self.time);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self { position: fields.u64("cursor position")?, time: fields.u64("cursor time")? })
    }
}

/// Place of an entry in the journal, with who led.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryIdRow {
    /// Term.
    pub term: u64,
    /// Leader of that term; zero if the format's writer did not know one.
    pub leader: u64,
    /// Index.
    pub index: u64,
}

impl EntryIdRow {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.term);
        out.put_u64_le(self.leader);
        out.put_u64_le(self.index);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            term: fields.u64("entry term")?,
            leader: fields.u64("entry leader")?,
            index: fields.u64("entry index")?,
        })
    }
}

/// Replicated maxima: what the machine holds in memory never grows beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsRow {
    /// Logs.
    pub logs_max: u32,
    /// Producers of all logs together.
    pub producers_max: u32,
    /// Cursors of all logs together.
    pub cursors_max: u32,
    /// Idempotency keys of all logs together.
    pub keys_max: u32,
    /// Idempotency keys of one log.
    pub keys_per_log_max: u32,
    /// How long an idempotency key is remembered.
    pub key_age_max_ms: u64,
    /// How long a silent producer is remembered.
    pub producer_idle_max_ms: u64,
    /// How long it is remembered at least, although others want its place.
    pub producer_idle_min_ms: u64,
}

impl LimitsRow {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for max in [
            self.logs_max,
            self.producers_max,
            self.cursors_max,
            self.keys_max,
            self.keys_per_log_max,
        ] {
            out.put_u32_le(max);
        }
        out.put_u64_le(self.key_age_max_ms);
        out.put_u64_le(self.producer_idle_max_ms);
        out.put_u64_le(self.producer_idle_min_ms);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            logs_max: fields.u32("logs limit")?,
            producers_max: fields.u32("producers limit")?,
            cursors_max: fields.u32("cursors limit")?,
            keys_max: fields.u32("keys limit")?,
            keys_per_log_max: fields.u32("keys limit of a log")?,
            key_age_max_ms: fields.u64("age limit of keys")?,
            producer_idle_max_ms: fields.u64("longest silence of producers")?,
            producer_idle_min_ms: fields.u64("shortest silence of producers")?,
        })
    }
}

/// How far the machine is: the one row that changes with every entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressRow {
    /// Which behaviour `apply` has.
    pub machine_version: u32,
    /// The last entry applied.
    pub applied: EntryIdRow,
    /// Digest over all commands and outcomes up to it.
    pub rolling_digest: [u8; 32],
    /// The machine's clock.
    pub last_stamp: u64,
    /// Id of the next log.
    pub next_log: u64,
    /// Id of the next replica.
    pub next_replica: u64,
    /// Replicated maxima.
    pub limits: LimitsRow,
}

impl Body for ProgressRow {
    const TABLE: Table = Table::Meta;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.machine_version);
        self.applied.write(out);
        out.extend_from_slice(&self.rolling_digest);
        out.put_u64_le(self.last_stamp);
        out.put_u64_le(self.next_log);
        out.put_u64_le(self.next_replica);
        self.limits.write(out);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            machine_version: fields.u32("machine version")?,
            applied: EntryIdRow::read(fields)?,
            rolling_digest: fields.array("rolling digest")?,
            last_stamp: fields.u64("last stamp")?,
            next_log: fields.u64("next log")?,
            next_replica: fields.u64("next replica")?,
            limits: LimitsRow::read(fields)?,
        })
    }
}

/// The hash of a complete tile as `tiles` keeps it under `key`.
pub fn encode_tile(key: &[u8], hash: &[u8; 32]) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + hash.len() + ROW_CHECK_BYTES);
    value.put_u8(ROW_VERSION);
    value.extend_from_slice(hash);
    let check = tile_check(key, &value);
    value.put_u32_le(check);
    value
}

/// The hash that a value under `key` in `tiles` holds.
pub fn decode_tile(key: &[u8], value: &[u8]) -> Result<[u8; 32], Malformed> {
    let mut fields = Fields::new(value);
    let body = fields.take(33, "tile hash")?;
    if fields.u32("tile check")? != tile_check(key, body) {
        return Err(Malformed::new("tile check", 33));
    }
    fields.finish("tile")?;
    if body[0] != ROW_VERSION {
        return Err(Malformed::new("tile version", 0));
    }
    Fields::new(&body[1..]).array("tile hash")
}

fn tile_check(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(b"tile"), key), body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::changes::ChangeRow;
    use super::*;

    /// A row of these fields, right or wrong, with the check that fits.
    fn read<R: Row>(body: &[u8]) {
        let mut value = [&[ROW_VERSION], body].concat();
        let check = row_check(R::TABLE, b"key", &value);
        value.put_u32_le(check);
        if let Ok(row) = R::decode(b"key", &value) {
            assert_eq!(row.encode(b"key"), value, "what reads back is written the same");
        }
    }

    proptest! {
        #[test]
        fn wrong_fields_under_a_right_check_never_panic(
            body in proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..400),
        ) {
            read::<CatalogRow>(&body);
            read::<ProducerRow>(&body);
            read::<KeyRow>(&body);
            read::<CursorRow>(&body);
            read::<ProgressRow>(&body);
            read::<FoundingRow>(&body);
            read::<AppliedMembershipRow>(&body);
            read::<AdmissionRow>(&body);
            read::<ChangeRow>(&body);
        }
    }
}
