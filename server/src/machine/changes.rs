//! What is to be written: rows that differ from those taken last.
//!
//! Commands only note *which* row they changed, once however often they change it; the row is
//! encoded when it is taken, as it is then. A row noted that is not there any more is one to
//! delete. So taking costs what the distinct changed rows cost, however many commands there were,
//! and a row's value is always that of the last applied entry.
//!
//! Not here: the bytes of rows (`migrations::latest::values`), and all rows at once (`load`).

use std::collections::BTreeMap;

use client::types::{CursorName, Digest, LogId, ProducerId};
use migrations::latest::tables::{
    META_FOUNDING, META_MEMBERSHIP, META_PROGRESS, Table, admission_key, change_key,
    checkpoint_key, log_key, named_key, ring_key,
};
use migrations::latest::values::Row as _;

use super::Machine;
use super::delta::{Changes, RowChange};
use super::load;
use super::logs::{Log, Logs};
use super::tree::TileAddress;

/// Rows of logs that were changed, by what names them. Flags on the things themselves keep
/// repetitions few.
#[derive(Debug, Clone, Default)]
pub(super) struct Changed {
    pub(super) logs: Vec<LogId>,
    pub(super) producers: Vec<(LogId, ProducerId)>,
    pub(super) keys: Vec<(LogId, u64)>,
    pub(super) cursors: Vec<(LogId, CursorName)>,
    pub(super) tiles: Vec<(TileAddress, Digest)>,
    pub(super) deleted: Vec<LogId>,
}

impl Changed {
    /// Notes every row of a log that is gone.
    pub(super) fn delete(&mut self, log: &Log) {
        self.logs.push(log.id);
        self.producers.extend(log.producers.stamps().map(|(id, _)| (log.id, id.clone())));
        self.keys.extend(log.keys.ordinals().map(|ordinal| (log.id, ordinal)));
        self.cursors.extend(log.cursors.positions().map(|(cursor, _)| (log.id, cursor.clone())));
        self.deleted.push(log.id);
    }
}

/// Rows of `meta` that were changed, beside the progress, which always is.
#[derive(Debug, Clone, Default)]
pub(super) struct ChangedMeta {
    pub(super) is_founding_changed: bool,
    pub(super) is_membership_changed: bool,
    pub(super) admissions: Vec<u64>,
    pub(super) checkpoints: Vec<u64>,
    pub(super) member_changes: Vec<u64>,
}

/// Rows on their way out, each key once.
#[derive(Default)]
struct Rows(BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>);

impl Rows {
    fn put(&mut self, table: Table, key: Vec<u8>, encode: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        self.0.entry((table, key)).or_insert_with_key(|(_, key)| encode(key));
    }
}

/// Takes all that was changed.
pub(super) fn take(machine: &mut Machine) -> Changes {
    let entry = machine.applied.expect("changes are taken only after an entry was applied");
    let mut rows = Rows::default();
    take_meta(machine, &mut rows);
    let changed = std::mem::take(&mut machine.logs.changed);
    let logs = &mut machine.logs;
    take_logs(logs, &changed, &mut rows);
    take_named(logs, &changed, &mut rows);
    let mut tiles = changed.tiles;
    tiles.retain(|(address, _)| logs.by_id.contains_key(&address.log));
    for ((table, key), value) in &rows.0 {
        machine.state.put(*table, key, value.as_deref());
    }
    let rows = rows.0.into_iter();
    let rows = rows.map(|((table, key), value)| RowChange { table, key, value }).collect();
    let digest = machine.state.digest();
    Changes { entry, digest, rows, tiles, deleted_logs: changed.deleted }
}

fn take_meta(machine: &mut Machine, rows: &mut Rows) {
    let changed = std::mem::take(&mut machine.changed);
    rows.put(Table::Meta, META_PROGRESS.to_vec(), |key| {
        load::progress(machine).map(|row| row.encode(key))
    });
    if changed.is_founding_changed {
        rows.put(Table::Meta, META_FOUNDING.to_vec(), |key| {
            load::founding(machine).map(|row| row.encode(key))
        });
    }
    if changed.is_membership_changed {
        rows.put(Table::Meta, META_MEMBERSHIP.to_vec(), |key| {
            load::membership(machine).map(|row| row.encode(key))
        });
    }
    for change in changed.member_changes {
        rows.put(Table::Meta, change_key(change), |key| {
            machine.member_changes.row(change).map(|row| row.encode(key))
        });
    }
    for checkpoint in changed.checkpoints {
        rows.put(Table::Meta, checkpoint_key(checkpoint), |key| {
            machine.checkpoints.row(checkpoint).map(|row| row.encode(key))
        });
    }
    for replica in changed.admissions {
        rows.put(Table::Meta, admission_key(replica), |key| {
            machine.members.admission(replica).map(|row| row.encode(key))
        });
    }
}

fn take_logs(logs: &mut Logs, changed: &Changed, rows: &mut Rows) {
    for id in &changed.logs {
        rows.put(Table::Catalog, log_key(id.get()).to_vec(), |key| {
            let log = logs.by_id.get_mut(id)?;
            log.is_changed = false;
            Some(load::catalog_row(log).encode(key))
        });
    }
}

fn take_named(logs: &mut Logs, changed: &Changed, rows: &mut Rows) {
    for (id, producer) in &changed.producers {
        rows.put(Table::Producers, named_key(id.get(), producer.as_str()), |key| {
            let row = logs.by_id.get_mut(id)?.producers.take_row(producer)?;
            Some(row.encode(key))
        });
    }
    for (id, ordinal) in &changed.keys {
        rows.put(Table::Keys, ring_key(id.get(), *ordinal).to_vec(), |key| {
            Some(logs.by_id.get(id)?.keys.row(*ordinal)?.encode(key))
        });
    }
    for (id, cursor) in &changed.cursors {
        rows.put(Table::Cursors, named_key(id.get(), cursor.as_str()), |key| {
            Some(logs.by_id.get_mut(id)?.cursors.take_row(cursor)?.encode(key))
        });
    }
}
