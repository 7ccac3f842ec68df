//! The machine's rows in redb: all of them at once, and those that changed.
//!
//! What is read is read in one transaction, so it is the state at exactly one entry; every row is checked, and a table
//! with fewer rows than it says is damaged. An install puts a manifest in place of all rows in one transaction, which
//! also marks that it was done: until the journal is purged up to there, the state is ahead of it.
//!
//! Not here: records that a manifest names; they must be there before it is installed.

use client::types::{Digest, EntryId, EntryIndex, LogId, Position, Term};
use migrations::latest::Malformed;
use migrations::latest::checkpoints::{META_DIGEST, decode_digest, encode_digest};
use migrations::latest::installed::{META_INSTALLED, decode_installed, encode_installed};
use migrations::latest::manifest::{EncodedRow, Manifest, ManifestBuilder};
use migrations::latest::tables::{META, META_MACHINE_PREFIX, Table};
use migrations::latest::values::{EntryIdRow, MembershipRow};
use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::chunks::{ChunkFailure, ChunkReader};
use super::database::Database;
use super::quarantine::{self, Quarantine, Standing};
use super::view::Views;
use super::{Live, Shared, State, UNBROKEN, checkpoints};
use crate::machine::{Changes, Machine, MachineError};
use crate::storage::disk::crash_point;
use crate::storage::error::StorageError;

/// All machine state at one entry, without the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateManifest(Manifest);

impl StateManifest {
    /// The state of these rows.
    pub const fn new(rows: Manifest) -> Self {
        Self(rows)
    }

    /// The entry whose state it is.
    pub const fn applied(&self) -> EntryId {
        entry_id(self.0.entry())
    }

    /// The membership, and its entry.
    pub fn membership(&self) -> Option<(EntryId, &MembershipRow)> {
        self.0.membership.as_ref().map(|row| (entry_id(row.entry), &row.membership))
    }

    /// Its digest: equal for two replicas that hold the same.
    pub fn digest(&self) -> Digest {
        Digest::new(self.0.digest())
    }

    /// Its rows.
    pub const fn rows(&self) -> &Manifest {
        &self.0
    }

    /// The machine that it is the state of.
    pub fn into_machine(self) -> Result<Machine, MachineError> {
        Machine::load(self.0)
    }

    /// Its bytes, for another replica.
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// A manifest of such bytes; every row is checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Manifest::decode(bytes).map(Self)
    }
}

/// Why a manifest was not installed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No machine can have had this state.
    #[error("manifest is not a possible state")]
    Impossible(#[from] MachineError),
    /// Records that it names are not here.
    #[error("record {position} of log {log} is not here")]
    Incomplete {
        /// The log.
        log: LogId,
        /// A position that is lacking.
        position: Position,
    },
    /// redb could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl State {
    /// The manifest at whatever redb holds now; nothing before the first flush.
    pub fn manifest(&self) -> Result<Option<StateManifest>, StorageError> {
        load(&self.0.database)
    }

    /// Puts a manifest in place of the state, in one transaction, and makes `machine` of it. Waits for a flush under
    /// way; what it had not taken is dropped. The records it names must be here already: their ends are looked for.
    ///
    /// A second time with the same manifest changes nothing.
    pub fn install(
        &self,
        manifest: &StateManifest,
        machine: &mut Machine,
    ) -> Result<(), InstallError> {
        let replaced = Machine::load(manifest.0.clone())?;
        let _gate = self.0.gate.lock().expect(UNBROKEN);
        self.0.check_records(manifest)?;
        crash_point(&*self.0.disk, "transfer/before-install");
        let txn = self.0.replace_rows(manifest)?;
        let mark = encode_installed(manifest.0.entry());
        put_meta(&self.0.database, &txn, META_INSTALLED, &mark)?;
        self.0.database.commit(txn)?;
        crash_point(&*self.0.disk, "transfer/after-install");
        self.0.take_over(manifest, replaced, machine);
        // If the state was being taken anew: this one has passed over nothing.
        self.0.change_standing(Standing::end);
        Ok(())
    }

    /// The entry of the manifest that was installed last, while the journal may not be purged up to it yet.
    pub fn installed(&self) -> Result<Option<EntryId>, StorageError> {
        let database = &self.0.database;
        database.unwinding(|| {
            let table = database.read()?.open_table(META).map_err(database.failed("read"))?;
            let Some(value) = table.get(META_INSTALLED).map_err(database.failed("read"))? else {
                return Ok(None);
            };
            let entry = decode_installed(value.value()).map_err(|_| database.damaged("mark"))?;
            Ok(Some(entry_id(entry)))
        })
    }

    /// The journal is durably purged up to the installed entry: the mark may go.
    pub fn clear_installed(&self) -> Result<(), StorageError> {
        let database = &self.0.database;
        if self.installed()?.is_none() {
            return Ok(());
        }
        let _gate = self.0.gate.lock().expect(UNBROKEN);
        let txn = database.write()?;
        txn.open_table(META)
            .map_err(database.failed("write"))?
            .remove(META_INSTALLED)
            .map_err(database.failed("write"))?;
        database.commit(txn)
    }
}

impl Shared {
    /// What is here is of another state from now on, made of a machine.
    pub(super) fn take_over(
        &self,
        manifest: &StateManifest,
        replaced: Machine,
        machine: &mut Machine,
    ) {
        *machine = replaced;
        *self.flushed.lock().expect(UNBROKEN) = Some(manifest.applied());
        *self.live_mut() = Live { views: Views::of(machine), ..Live::default() };
        self.replace_checkpoints(manifest);
        self.recent.lock().expect(UNBROKEN).begin(machine);
        self.forget_arrivals();
        self.lock_control().note_replaced();
    }

    /// Looks for the first and the last record of every log.
    pub(super) fn check_records(&self, manifest: &StateManifest) -> Result<(), InstallError> {
        let reader = ChunkReader::open(&self.database)?;
        for (id, row) in manifest.0.logs.iter().filter(|(_, row)| row.trim < row.tail) {
            let log = LogId::new(*id);
            for position in [row.trim, row.tail - 1] {
                match reader.find(log, position, row.tail) {
                    Ok(_) => {}
                    Err(ChunkFailure::Storage(error)) => return Err(error.into()),
                    Err(ChunkFailure::Damaged(..)) => {
                        let position = Position::new(position);
                        return Err(InstallError::Incomplete { log, position });
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts the certified state in place of one that differs, of which nothing stays that is kept of it.
    pub(super) fn renew_rows(
        &self,
        manifest: &StateManifest,
        quarantine: Option<Quarantine>,
    ) -> Result<(), StorageError> {
        let txn = self.replace_rows(manifest)?;
        quarantine::write(&self.database, &txn, quarantine)?;
        checkpoints::keep_only(&self.database, &txn, manifest)?;
        self.database.commit(txn)
    }

    /// A transaction in which the rows are those of a manifest.
    fn replace_rows(&self, manifest: &StateManifest) -> Result<WriteTransaction, StorageError> {
        let database = &self.database;
        let txn = database.write()?;
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Checkpoints) {
            let mut rows = txn.open_table(table.definition()).map_err(database.failed("write"))?;
            let is_own = |key: &[u8]| table == Table::Meta && !key.starts_with(META_MACHINE_PREFIX);
            rows.retain(|key, _| is_own(key)).map_err(database.failed("write"))?;
        }
        for EncodedRow { table, key, value } in manifest.0.rows() {
            txn.open_table(table.definition())
                .map_err(database.failed("write"))?
                .insert(&key[..], &value[..])
                .map_err(database.failed("write"))?;
        }
        put_meta(database, &txn, META_DIGEST, &encode_digest(&manifest.0.digest()))?;
        Ok(txn)
    }
}

fn put_meta(
    database: &Database,
    txn: &WriteTransaction,
    key: &[u8],
    value: &[u8],
) -> Result<(), StorageError> {
    let mut table = txn.open_table(META).map_err(database.failed("write"))?;
    table.insert(key, value).map(drop).map_err(database.failed("write"))
}

/// What is damaged, if a row fails its check.
const ROW: &str = "row";
/// What is damaged, if rows do not fit together, or not their digest.
const ROWS: &str = "set of rows";

/// Whether this damage is one of rows, and not of what holds them.
pub(super) fn is_of_rows(what: &str) -> bool {
    [ROW, ROWS].contains(&what)
}

/// Reads all rows in one transaction; nothing if there is none.
pub(super) fn load(database: &Database) -> Result<Option<StateManifest>, StorageError> {
    database.unwinding(|| {
        let txn = database.read()?;
        let mut builder = ManifestBuilder::default();
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Checkpoints) {
            let rows = txn.open_table(table.definition()).map_err(database.failed("read"))?;
            let mut count = 0;
            for row in rows.iter().map_err(database.failed("read"))? {
                let (key, value) = row.map_err(database.failed("read"))?;
                let added = builder.add(table, key.value(), value.value());
                added.map_err(|_| database.damaged(ROW))?;
                count += 1;
            }
            if rows.len().map_err(database.failed("read"))? != count {
                return Err(database.damaged("table"));
            }
        }
        if builder.is_empty() {
            return Ok(None);
        }
        let manifest = builder.finish().map_err(|_| database.damaged(ROWS))?;
        let meta = txn.open_table(META).map_err(database.failed("read"))?;
        let kept = meta.get(META_DIGEST).map_err(database.failed("read"))?;
        let kept = kept.and_then(|value| decode_digest(value.value()).ok());
        // Every row passed its check; one that is not there at all shows here.
        if kept != Some(manifest.digest()) {
            return Err(database.damaged(ROWS));
        }
        Ok(Some(StateManifest(manifest)))
    })
}

/// Writes rows that changed, which come in order of table, and the digest of all.
pub(super) fn write_rows(
    database: &Database,
    txn: &WriteTransaction,
    changes: &Changes,
) -> Result<(), StorageError> {
    put_meta(database, txn, META_DIGEST, &encode_digest(changes.digest.as_bytes()))?;
    for rows in changes.rows.chunk_by(|left, right| left.table == right.table) {
        let definition = rows[0].table.definition();
        let mut table = txn.open_table(definition).map_err(database.failed("write"))?;
        for row in rows {
            match &row.value {
                Some(value) => table.insert(&row.key[..], &value[..]).map(drop),
                None => table.remove(&row.key[..]).map(drop),
            }
            .map_err(database.failed("write"))?;
        }
    }
    Ok(())
}

const fn entry_id(row: EntryIdRow) -> EntryId {
    EntryId::new(Term::new(row.term), row.leader, EntryIndex::new(row.index))
}
