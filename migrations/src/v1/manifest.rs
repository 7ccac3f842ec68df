//! The manifest: the state without its records, at one entry.
//!
//! In memory it is one plain struct; on disk and between replicas it is the very rows that redb
//! keeps, each with its own check, in order of table and key, behind a head and before a check of
//! the whole:
//!
//! ```text
//! u8 version, u64 row count, { u8 table, u16 key length, key, u32 value length, value }, u32 CRC32C of all before
//! ```
//!
//! A machine is made of a manifest, at start and after a transfer alike. Rows of `meta` that are
//! the replica's own are not in it. Not here: backups, which add
//! records to a manifest (`backup`).

use bytes::BufMut;

use super::changes::ChangeRow;
use super::checkpoints::{CheckpointRow, RowSum};
use super::fields::{Fields, Malformed};
use super::tables::{
    self, META_ADMISSION_PREFIX, META_CHANGE_PREFIX, META_FOUNDING, META_MACHINE_PREFIX,
    META_MEMBERSHIP, META_PROGRESS, Table,
};
use super::values::{
    AdmissionRow, AppliedMembershipRow, CatalogRow, CursorRow, EntryIdRow, FoundingRow, KeyRow,
    ProducerRow, ProgressRow, Row as _,
};

/// The form of manifests that this version writes.
const MANIFEST_VERSION: u8 = 1;
/// A manifest is never longer than this.
pub const MANIFEST_BYTES_MAX: usize = 1 << 30;
/// A row's value is never longer than this.
const VALUE_BYTES_MAX: usize = 16 << 20;
/// The check at the end.
const CHECK_BYTES: usize = 4;

/// All machine state at one entry. Vectors are in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The entry, and what there is one of.
    pub progress: ProgressRow,
    /// What the group was founded with.
    pub founding: Option<FoundingRow>,
    /// The membership.
    pub membership: Option<AppliedMembershipRow>,
    /// Changes of the membership, by number.
    pub changes: Vec<(u64, ChangeRow)>,
    /// Checkpoints, by the index of their entry.
    pub checkpoints: Vec<(u64, CheckpointRow)>,
    /// Replicas that got their ids, by id.
    pub admissions: Vec<(u64, AdmissionRow)>,
    /// Logs, by id.
    pub logs: Vec<(u64, CatalogRow)>,
    /// Producers, by log and producer id.
    pub producers: Vec<(u64, String, ProducerRow)>,
    /// Idempotency keys, by log and ordinal.
    pub keys: Vec<(u64, u64, KeyRow)>,
    /// Cursors, by log and name.
    pub cursors: Vec<(u64, String, CursorRow)>,
}

/// A row as redb keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRow {
    /// Where.
    pub table: Table,
    /// Under which key.
    pub key: Vec<u8>,
    /// The value with its check.
    pub value: Vec<u8>,
}

impl Manifest {
    /// The entry whose state this is.
    pub const fn entry(&self) -> EntryIdRow {
        self.progress.applied
    }

    /// Every row as redb keeps it, in order of table and key.
    pub fn rows(&self) -> impl Iterator<Item = EncodedRow> {
        let meta = |key: &[u8], value: Vec<u8>| EncodedRow {
            table: Table::Meta,
            key: key.to_vec(),
            value,
        };
        let founding = self.founding.iter();
        let membership = self.membership.iter();
        let admissions = self.admissions.iter().map(move |(replica, row)| {
            let key = tables::admission_key(*replica);
            EncodedRow { table: Table::Meta, value: row.encode(&key), key }
        });
        let changes = self.changes.iter().map(move |(change, row)| {
            let key = tables::change_key(*change);
            EncodedRow { table: Table::Meta, value: row.encode(&key), key }
        });
        let checkpoints = self.checkpoints.iter().map(move |(entry, row)| {
            let key = tables::checkpoint_key(*entry);
            EncodedRow { table: Table::Meta, value: row.encode(&key), key }
        });
        changes
            .chain(checkpoints)
            .chain(founding.map(move |row| meta(META_FOUNDING, row.encode(META_FOUNDING))))
            .chain(membership.map(move |row| meta(META_MEMBERSHIP, row.encode(META_MEMBERSHIP))))
            .chain(std::iter::once_with(move || {
                meta(META_PROGRESS, self.progress.encode(META_PROGRESS))
            }))
            .chain(admissions)
            .chain(self.log_rows())
    }

    fn log_rows(&self) -> impl Iterator<Item = EncodedRow> {
        let logs = self.logs.iter().map(|(log, row)| {
            let key = tables::log_key(*log).to_vec();
            EncodedRow { table: Table::Catalog, value: row.encode(&key), key }
        });
        let producers = self.producers.iter().map(|(log, id, row)| {
            let key = tables::named_key(*log, id);
            EncodedRow { table: Table::Producers, value: row.encode(&key), key }
        });
        let keys = self.keys.iter().map(|(log, ordinal, row)| {
            let key = tables::ring_key(*log, *ordinal).to_vec();
            EncodedRow { table: Table::Keys, value: row.encode(&key), key }
        });
        let cursors = self.cursors.iter().map(|(log, name, row)| {
            let key = tables::named_key(*log, name);
            EncodedRow { table: Table::Cursors, value: row.encode(&key), key }
        });
        logs.chain(producers).chain(keys).chain(cursors)
    }

    /// The digest of this state: equal for two manifests that have the same rows.
    pub fn digest(&self) -> [u8; 32] {
        RowSum::over(self.rows()).digest()
    }

    /// The manifest as bytes, for a transfer or to be kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![MANIFEST_VERSION];
        out.put_u64_le(0);
        let mut row_count: u64 = 0;
        for row in self.rows() {
            out.put_u8(row.table.number());
            out.put_u16_le(u16::try_from(row.key.len()).expect("a key has less than 64 KiB"));
            out.extend_from_slice(&row.key);
            out.put_u32_le(u32::try_from(row.value.len()).expect("a row has less than 4 GiB"));
            out.extend_from_slice(&row.value);
            row_count += 1;
        }
        out[1..9].copy_from_slice(&row_count.to_le_bytes());
        let check = crc32c::crc32c(&out);
        out.put_u32_le(check);
        out
    }

    /// The manifest of such bytes; every row is checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(Malformed::new("manifest", 0));
        }
        let body_bytes =
            bytes.len().checked_sub(CHECK_BYTES).ok_or(Malformed::new("manifest", 0))?;
        let (body, check) = bytes.split_at(body_bytes);
        if check != crc32c::crc32c(body).to_le_bytes() {
            return Err(Malformed::new("manifest check", body_bytes));
        }
        let mut fields = Fields::new(body);
        if fields.u8("manifest version")? != MANIFEST_VERSION {
            return Err(Malformed::new("manifest version", 0));
        }
        let row_count = fields.u64("row count")?;
        let mut builder = ManifestBuilder::default();
        for _ in 0..row_count {
            let table = Table::from_number(fields.u8("table")?).ok_or(fields.malformed("table"))?;
            let key_bytes = usize::from(fields.u16("key")?);
            let key = fields.take(key_bytes, "key")?;
            let value_bytes = fields.length(VALUE_BYTES_MAX, "value")?;
            let value = fields.take(value_bytes, "value")?;
            if table == Table::Meta && !key.starts_with(META_MACHINE_PREFIX) {
                return Err(fields.malformed("manifest row"));
            }
            builder.add(table, key, value)?;
        }
        fields.finish("manifest")?;
        builder.finish()
    }
}

/// A manifest being put together from rows, in any order of tables.
#[derive(Debug, Default)]
pub struct ManifestBuilder {
    progress: Option<ProgressRow>,
    founding: Option<FoundingRow>,
    membership: Option<AppliedMembershipRow>,
    changes: Vec<(u64, ChangeRow)>,
    checkpoints: Vec<(u64, CheckpointRow)>,
    admissions: Vec<(u64, AdmissionRow)>,
    logs: Vec<(u64, CatalogRow)>,
    producers: Vec<(u64, String, ProducerRow)>,
    keys: Vec<(u64, u64, KeyRow)>,
    cursors: Vec<(u64, String, CursorRow)>,
}

impl ManifestBuilder {
    /// Checks a row and takes it. Within a table, keys must come in order, each once. Rows of
    /// `meta` that are not the machine's, and kept manifests, are passed over.
    pub fn add(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        match table {
            Table::Meta => self.add_meta(key, value),
            Table::Catalog => {
                let log = tables::decode_log_key(key)?;
                let row = CatalogRow::decode(key, value)?;
                push_in_order(&mut self.logs, (log, row), |(log, _)| *log)
            }
            Table::Producers => {
                let (log, id) = tables::decode_named_key(key)?;
                let row = ProducerRow::decode(key, value)?;
                let named = (log, id.to_owned(), row);
                push_in_order(&mut self.producers, named, |(log, id, _)| (*log, id.clone()))
            }
            Table::Keys => {
                let (log, ordinal) = tables::decode_ring_key(key)?;
                let row = KeyRow::decode(key, value)?;
                push_in_order(&mut self.keys, (log, ordinal, row), |(log, ordinal, _)| {
                    (*log, *ordinal)
                })
            }
            Table::Cursors => {
                let (log, name) = tables::decode_named_key(key)?;
                let row = CursorRow::decode(key, value)?;
                let named = (log, name.to_owned(), row);
                push_in_order(&mut self.cursors, named, |(log, name, _)| (*log, name.clone()))
            }
            Table::Checkpoints => Ok(()),
        }
    }

    fn add_meta(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if !key.starts_with(META_MACHINE_PREFIX) {
            return Ok(());
        }
        if key == META_PROGRESS {
            set_once(&mut self.progress, ProgressRow::decode(key, value)?)
        } else if key == META_FOUNDING {
            set_once(&mut self.founding, FoundingRow::decode(key, value)?)
        } else if key == META_MEMBERSHIP {
            set_once(&mut self.membership, AppliedMembershipRow::decode(key, value)?)
        } else if key.starts_with(META_ADMISSION_PREFIX) {
            let replica = tables::decode_admission_key(key)?;
            let row = AdmissionRow::decode(key, value)?;
            push_in_order(&mut self.admissions, (replica, row), |(replica, _)| *replica)
        } else if key.starts_with(META_CHANGE_PREFIX) {
            let change = tables::decode_change_key(key)?;
            let row = ChangeRow::decode(key, value)?;
            push_in_order(&mut self.changes, (change, row), |(change, _)| *change)
        } else {
            let entry = tables::decode_checkpoint_key(key)?;
            let row = CheckpointRow::decode(key, value)?;
            push_in_order(&mut self.checkpoints, (entry, row), |(entry, _)| *entry)
        }
    }

    /// Whether no row of the machine was added: a replica that has not applied anything yet.
    pub const fn is_empty(&self) -> bool {
        self.progress.is_none()
            && self.founding.is_none()
            && self.membership.is_none()
            && self.changes.is_empty()
            && self.checkpoints.is_empty()
            && self.admissions.is_empty()
            && self.logs.is_empty()
            && self.producers.is_empty()
            && self.keys.is_empty()
            && self.cursors.is_empty()
    }

    /// The manifest, if its one indispensable row is there.
    pub fn finish(self) -> Result<Manifest, Malformed> {
        Ok(Manifest {
            progress: self.progress.ok_or(Malformed::new("missing progress", 0))?,
            founding: self.founding,
            membership: self.membership,
            changes: self.changes,
            checkpoints: self.checkpoints,
            admissions: self.admissions,
            logs: self.logs,
            producers: self.producers,
            keys: self.keys,
            cursors: self.cursors,
        })
    }
}

fn set_once<T>(place: &mut Option<T>, row: T) -> Result<(), Malformed> {
    if place.replace(row).is_some() {
        return Err(Malformed::new("repeated row", 0));
    }
    Ok(())
}

fn push_in_order<T, K: Ord>(
    rows: &mut Vec<T>,
    row: T,
    key: impl Fn(&T) -> K,
) -> Result<(), Malformed> {
    if rows.last().is_some_and(|last| key(last) >= key(&row)) {
        return Err(Malformed::new("order of rows", 0));
    }
    rows.push(row);
    Ok(())
}
