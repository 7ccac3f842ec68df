//! A machine of rows, and all rows of a machine.
//!
//! A machine made of a manifest behaves exactly as the one it was taken from. Rows that do not fit
//! together (a producer of a log that is not there, an id the counter has not reached, one name
//! twice) are refused: a machine is never made of a state that no history leads to.
//!
//! Not here: bytes and their checks (`migrations`), and rows that merely changed (`changes`).

use std::collections::BTreeMap;
use std::sync::Arc;

use client::types::{Digest, EntryId, EntryIndex, LogId, Position, Term, Timestamp};
use migrations::latest::manifest::Manifest;
use migrations::latest::tables::Table;
use migrations::latest::values::{
    AppliedMembershipRow, CatalogRow, EntryIdRow, FoundingRow, ProgressRow,
};

use super::changes::{Changed, ChangedMeta};
use super::checkpoint::Checkpoints;
use super::codec;
use super::cursors::Cursors;
use super::digest::RollingDigest;
use super::keys::KeyRing;
use super::logs::{Counts, Log, Logs};
use super::member_changes::MemberChanges;
use super::members::Members;
use super::producers::Producers;
use super::silent::SilentProducers;
use super::state_digest::StateDigest;
use super::tree::Frontier;
use super::{MACHINE_VERSION, Machine};

/// Rows that no machine can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// The state was written by a machine of another version.
    #[error("machine version {found} is not one of those known, up to {known}")]
    Version {
        /// What the state says.
        found: u32,
        /// The newest version here.
        known: u32,
    },
    /// A row of a log that is not there.
    #[error("a row of {table:?} belongs to log {log}, which is not in the catalog")]
    Orphan {
        /// Of which table.
        table: Table,
        /// Which log.
        log: LogId,
    },
    /// A row that contradicts another one, or itself.
    #[error("a row of {table:?} does not fit the others")]
    Impossible {
        /// Of which table.
        table: Table,
    },
}

const fn impossible(table: Table) -> MachineError {
    MachineError::Impossible { table }
}

pub(super) fn load(manifest: Manifest) -> Result<Machine, MachineError> {
    let progress = &manifest.progress;
    if progress.machine_version != MACHINE_VERSION {
        let found = progress.machine_version;
        return Err(MachineError::Version { found, known: MACHINE_VERSION });
    }
    let mut logs = Logs {
        by_id: BTreeMap::new(),
        by_name: BTreeMap::new(),
        next: progress.next_log,
        counts: Counts { cursors: manifest.cursors.len(), keys: manifest.keys.len() },
        silent: SilentProducers::default(),
        limits: codec::limits(&progress.limits),
        now: Timestamp::new(progress.last_stamp),
        touched: Vec::new(),
        changed: Changed::default(),
    };
    load_logs(&mut logs, &manifest)?;
    load_named(&mut logs, &manifest)?;
    load_keys(&mut logs, &manifest)?;
    let state = StateDigest::of(&manifest);
    let checkpoints = Checkpoints::load(manifest.checkpoints).ok_or(impossible(Table::Meta))?;
    let member_changes = MemberChanges::load(manifest.changes).ok_or(impossible(Table::Meta))?;
    let membership = manifest.membership.map(|row| (entry_id(row.entry), row.membership));
    let members = Members::load(progress.next_replica, manifest.admissions, membership)
        .ok_or(impossible(Table::Meta))?;
    Ok(Machine {
        applied: Some(entry_id(progress.applied)),
        order: super::Order::Gapless,
        rolling: RollingDigest::at(Digest::new(progress.rolling_digest)),
        founding: manifest.founding.as_ref().map(codec::founding),
        members,
        member_changes,
        checkpoints,
        logs,
        changed: ChangedMeta::default(),
        state,
    })
}

fn load_logs(logs: &mut Logs, manifest: &Manifest) -> Result<(), MachineError> {
    for (id, row) in &manifest.logs {
        let log = log(*id, row, logs.next).ok_or(impossible(Table::Catalog))?;
        if logs.by_name.insert(log.name.clone(), log.id).is_some() {
            return Err(impossible(Table::Catalog));
        }
        logs.by_id.insert(log.id, log);
    }
    Ok(())
}

fn log(id: u64, row: &CatalogRow, next_log: u64) -> Option<Log> {
    let hashes = row.frontier.iter().map(|hash| Digest::new(*hash)).collect();
    let is_counted = id < next_log;
    let fence = row.fence.as_deref().map(codec::fence).transpose().ok()?;
    is_counted.then_some(Log {
        id: LogId::new(id),
        name: codec::log_name(&row.name).ok()?,
        settings: Arc::new(codec::settings(row.settings.clone())),
        created: Timestamp::new(row.created),
        trim: Position::new(row.trim),
        tail: Position::new(row.tail),
        bytes_at_trim: row.bytes_at_trim,
        bytes_at_tail: row.bytes_at_tail,
        last_time: Timestamp::new(row.last_time),
        is_sealed: row.is_sealed,
        fence,
        order_key: row.order_key.as_deref().map(codec::order_key).transpose().ok()?,
        renewed: Timestamp::new(row.renewed),
        frontier: Frontier::from_hashes(row.tail, hashes)?,
        producers: Producers::default(),
        keys: KeyRing::starting_at(row.next_key),
        cursors: Cursors::default(),
        is_changed: false,
        is_touched: false,
    })
}

fn owner(logs: &mut Logs, table: Table, log: u64) -> Result<&mut Log, MachineError> {
    let log = LogId::new(log);
    logs.by_id.get_mut(&log).ok_or(MachineError::Orphan { table, log })
}

fn load_named(logs: &mut Logs, manifest: &Manifest) -> Result<(), MachineError> {
    for (log, id, row) in &manifest.producers {
        let log = owner(logs, Table::Producers, *log)?;
        let id = codec::producer_id(id).map_err(|_| impossible(Table::Producers))?;
        let loaded = log.producers.load(id.clone(), row, log.tail);
        loaded.ok_or(impossible(Table::Producers))?;
        let log = log.id;
        logs.silent.stir(log, id, None, Timestamp::new(row.last_stamp));
    }
    for (log, name, row) in &manifest.cursors {
        let log = owner(logs, Table::Cursors, *log)?;
        let name = codec::cursor_name(name).map_err(|_| impossible(Table::Cursors))?;
        if row.position > log.tail.get() {
            return Err(impossible(Table::Cursors));
        }
        log.cursors.load(name, *row);
    }
    Ok(())
}

/// Newest first, because a log's row names the ordinal after its newest key.
fn load_keys(logs: &mut Logs, manifest: &Manifest) -> Result<(), MachineError> {
    for (log, ordinal, row) in manifest.keys.iter().rev() {
        let log = owner(logs, Table::Keys, *log)?;
        let key = codec::idempotency_key(&row.key).map_err(|_| impossible(Table::Keys))?;
        let loaded = log.keys.load_older(*ordinal, key, row, log.tail);
        loaded.ok_or(impossible(Table::Keys))?;
    }
    Ok(())
}

/// All rows of a machine; nothing if it never applied an entry.
pub(super) fn manifest(machine: &Machine) -> Option<Manifest> {
    let logs = || machine.logs.by_id.values();
    let producers = logs().flat_map(|log| {
        let rows = log.producers.rows();
        rows.map(|(id, row)| (log.id.get(), id.as_str().to_owned(), row))
    });
    let keys = logs().flat_map(|log| {
        let rows =
            log.keys.ordinals().filter_map(|ordinal| Some((ordinal, log.keys.row(ordinal)?)));
        rows.map(|(ordinal, row)| (log.id.get(), ordinal, row))
    });
    let cursors = logs().flat_map(|log| {
        let rows = log.cursors.rows();
        rows.map(|(name, row)| (log.id.get(), name.as_str().to_owned(), row))
    });
    let admissions = machine.members.admissions();
    let changes = machine.member_changes.rows();
    Some(Manifest {
        progress: progress(machine)?,
        founding: founding(machine),
        membership: membership(machine),
        checkpoints: machine.checkpoints.rows().map(|(index, row)| (index, row.clone())).collect(),
        changes: changes.map(|(change, row)| (change, row.clone())).collect(),
        admissions: admissions.map(|(replica, row)| (replica, row.clone())).collect(),
        logs: logs().map(|log| (log.id.get(), catalog_row(log))).collect(),
        producers: producers.collect(),
        keys: keys.collect(),
        cursors: cursors.collect(),
    })
}

pub(super) fn catalog_row(log: &Log) -> CatalogRow {
    CatalogRow {
        name: log.name.as_str().to_owned(),
        settings: codec::settings_row(&log.settings),
        created: log.created.as_millis(),
        trim: log.trim.get(),
        tail: log.tail.get(),
        bytes_at_trim: log.bytes_at_trim,
        bytes_at_tail: log.bytes_at_tail,
        last_time: log.last_time.as_millis(),
        is_sealed: log.is_sealed,
        fence: log.fence.as_ref().map(|fence| fence.as_str().to_owned()),
        order_key: log.order_key.as_ref().map(|key| key.as_str().to_owned()),
        renewed: log.renewed.as_millis(),
        next_key: log.keys.next(),
        frontier: log.frontier.hashes().iter().map(|hash| *hash.as_bytes()).collect(),
    }
}

pub(super) fn progress(machine: &Machine) -> Option<ProgressRow> {
    Some(ProgressRow {
        machine_version: MACHINE_VERSION,
        applied: entry_id_row(machine.applied?),
        rolling_digest: *machine.rolling.digest().as_bytes(),
        last_stamp: machine.logs.now.as_millis(),
        next_log: machine.logs.next,
        next_replica: machine.members.next_replica(),
        limits: codec::limits_row(&machine.logs.limits),
    })
}

pub(super) fn founding(machine: &Machine) -> Option<FoundingRow> {
    machine.founding.as_ref().map(codec::founding_row)
}

pub(super) fn membership(machine: &Machine) -> Option<AppliedMembershipRow> {
    let (entry, membership) = machine.members.membership()?;
    Some(AppliedMembershipRow { entry: entry_id_row(entry), membership: membership.clone() })
}

pub(super) const fn entry_id(row: EntryIdRow) -> EntryId {
    EntryId::new(Term::new(row.term), row.leader, EntryIndex::new(row.index))
}

pub(super) const fn entry_id_row(id: EntryId) -> EntryIdRow {
    EntryIdRow { term: id.term.get(), leader: id.leader, index: id.index.get() }
}
