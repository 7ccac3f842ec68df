//! Checkpoints as this replica keeps them: the state flushed exactly at their entries, its digest, and its manifest.
//!
//! The entry of a checkpoint seals what is flushed together: redb will hold exactly that state, once. What its digest
//! is, is known at once; it is attested only when the state is flushed. Then the manifest is kept, compressed, until the
//! machine lets the checkpoint go; it is found again at the next start, with its digest.
//!
//! ```text
//! sealed (digest known)  ->  flushed (attested)  ->  kept  ->  certified, and compared  ->  gone
//! ```
//!
//! Not here: who is asked to attest, and what a majority says (`node::checkpoint`, `machine`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use client::types::{Digest, EntryIndex, LogId, Position};
use migrations::latest::checkpoints::{decode_kept, decode_kept_digest, encode_kept};
use migrations::latest::tables::{
    CHECKPOINTS, META_CHECKPOINT_PREFIX, Table, decode_checkpoint_key, decode_kept_key, kept_key,
};
use redb::{ReadableTable, WriteTransaction};

use super::database::Database;
use super::manifest::{self, StateManifest};
use super::{Shared, State, UNBROKEN};
use crate::machine::{Changes, CheckpointCertified, Machine, RowChange};
use crate::storage::error::StorageError;

/// The digest of a state whose rows contradict their digest: no state has it.
const CONTRADICTION: Digest = Digest::new([0; 32]);

/// What this replica can say of its state at a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attestation {
    /// It has not got there, or not flushed it yet.
    NotYet,
    /// It does not know, and never will: it was elsewhere when the state was that.
    Unknown,
    /// The digest of the state, which is flushed.
    Digest(Digest),
}

/// What comparing a certified checkpoint with this replica's own state gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// The index of the checkpoint's entry.
    pub checkpoint: EntryIndex,
    /// What a majority attested.
    pub certified: Digest,
    /// What this replica had; nothing if it could not be compared.
    pub own: Option<Digest>,
}

impl Comparison {
    /// Whether this replica had the same; nothing if that was not verified.
    pub fn is_equal(&self) -> Option<bool> {
        self.own.map(|own| own == self.certified)
    }
}

/// A manifest that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The index of the checkpoint's entry.
    pub checkpoint: EntryIndex,
    /// The digest of the state.
    pub digest: Digest,
    /// How many bytes it takes.
    pub bytes: u64,
}

/// What is to be flushed together, taken from the machine.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) changes: Changes,
    /// Numbers of its runs.
    pub(super) runs: (u64, u64),
    pub(super) trimmed: BTreeMap<LogId, Position>,
    /// Bytes of the entries that it came from.
    pub(super) bytes: u64,
    /// Whether it ends at a checkpoint.
    pub(super) is_checkpoint: bool,
}

/// The checkpoints of this replica.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// To be flushed, one after the other, before anything else.
    sealed: VecDeque<Sealed>,
    /// By the index of their entry.
    known: BTreeMap<u64, Known>,
    /// The newest comparison with a certificate.
    compared: Option<Comparison>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    digest: Digest,
    is_flushed: bool,
    certified: Option<Digest>,
}

impl Known {
    fn is_confirmed(&self) -> bool {
        self.is_flushed && self.certified == Some(self.digest)
    }
}

impl Checkpoints {
    /// Those that were found at the start: a manifest kept, or the very state that was flushed last.
    pub(super) fn found(kept: &[Kept], state: Option<&StateManifest>) -> Self {
        let mut checkpoints = Self::default();
        let Some(state) = state else { return checkpoints };
        let digests: BTreeMap<u64, Digest> =
            kept.iter().map(|kept| (kept.checkpoint.get(), kept.digest)).collect();
        for (index, row) in &state.rows().checkpoints {
            let is_flushed_last = *index == state.applied().index.get();
            let own = if is_flushed_last { Some(state.digest()) } else { None };
            let Some(digest) = own.or_else(|| digests.get(index).copied()) else { continue };
            let certified = row.certificate.as_ref();
            let certified = certified.map(|certificate| Digest::new(certificate.digest));
            checkpoints.known.insert(*index, Known { digest, is_flushed: true, certified });
        }
        checkpoints
    }

    /// What is to be flushed first, if something was sealed.
    pub(super) fn next_sealed(&mut self) -> Option<Sealed> {
        self.sealed.pop_front()
    }

    /// The state at this entry is flushed.
    pub(super) fn note_flushed(&mut self, entry: EntryIndex) {
        if let Some(known) = self.known.get_mut(&entry.get()) {
            known.is_flushed = true;
        }
    }

    /// What redb holds at this entry is not what the machine was.
    fn note_contradiction(&mut self, entry: EntryIndex) {
        if let Some(known) = self.known.get_mut(&entry.get()) {
            known.digest = CONTRADICTION;
        }
    }

    /// The newest one that is certified to be what it is here.
    fn newest_confirmed(&self) -> Option<u64> {
        let mut newest_first = self.known.iter().rev();
        newest_first.find(|(_, known)| known.is_confirmed()).map(|(index, _)| *index)
    }
}

impl State {
    /// Ends what is flushed together at the entry that was applied last, which is that of a checkpoint. The caller holds
    /// the machine's lock since it applied it.
    pub fn seal(&self, machine: &mut Machine) {
        let sealed = self.0.take_sealed(machine, true);
        let (index, digest) = (sealed.changes.entry.index.get(), sealed.changes.digest);
        {
            let mut checkpoints = self.0.lock_checkpoints();
            let known = Known { digest, is_flushed: false, certified: None };
            checkpoints.known.insert(index, known);
            checkpoints.sealed.push_back(sealed);
        }
        self.0.wake_flusher();
    }

    /// A majority has attested a checkpoint: compares it with this replica's own.
    pub fn compare(&self, certified: &CheckpointCertified) -> Comparison {
        let mut checkpoints = self.0.lock_checkpoints();
        let known = checkpoints.known.get_mut(&certified.checkpoint.get());
        let own = known.map(|known| {
            known.certified = Some(certified.digest);
            known.digest
        });
        let (checkpoint, certified) = (certified.checkpoint, certified.digest);
        let comparison = Comparison { checkpoint, certified, own };
        // One that was overtaken says nothing of what is here now.
        if checkpoints.compared.is_none_or(|newer| newer.checkpoint < checkpoint) {
            checkpoints.compared = Some(comparison);
            self.0.judge(&comparison);
        }
        comparison
    }

    /// What comparing with the newest certificate gave, in this start.
    pub fn compared(&self) -> Option<Comparison> {
        self.0.lock_checkpoints().compared
    }

    /// What this replica can say of its state at a checkpoint, of which `applied` is known to be here.
    pub fn attestation(&self, checkpoint: EntryIndex, applied: Option<EntryIndex>) -> Attestation {
        // Whoever is known to be wrong is no witness.
        if self.is_diverged() {
            return Attestation::Unknown;
        }
        match self.0.lock_checkpoints().known.get(&checkpoint.get()) {
            Some(known) if known.is_flushed => Attestation::Digest(known.digest),
            Some(_) => Attestation::NotYet,
            None if applied < Some(checkpoint) => Attestation::NotYet,
            None => Attestation::Unknown,
        }
    }

    /// The manifests that are kept, oldest first.
    pub fn kept(&self) -> Result<Vec<Kept>, StorageError> {
        kept(&self.0.database)
    }

    /// The manifest kept of a checkpoint.
    pub fn kept_manifest(
        &self,
        checkpoint: EntryIndex,
    ) -> Result<Option<StateManifest>, StorageError> {
        let database = &self.0.database;
        self.with_kept(checkpoint, |value| {
            let bytes = decode_kept(&kept_key(checkpoint.get()), value);
            let bytes = bytes.map_err(|_| database.damaged("manifest"))?;
            StateManifest::decode(&bytes).map_err(|_| database.damaged("manifest"))
        })
    }

    /// What is made of the manifest kept of a checkpoint, as it is kept. Nothing if it is not.
    fn with_kept<A>(
        &self,
        checkpoint: EntryIndex,
        make: impl FnOnce(&[u8]) -> Result<A, StorageError>,
    ) -> Result<Option<A>, StorageError> {
        let database = &self.0.database;
        let key = kept_key(checkpoint.get());
        database.unwinding(|| {
            let table =
                database.read()?.open_table(CHECKPOINTS).map_err(database.failed("read"))?;
            let found = table.get(&key[..]).map_err(database.failed("read"))?;
            found.map(|value| make(value.value())).transpose()
        })
    }

    /// Part of the manifest kept of a checkpoint, as it is kept: how long it is in all, and some of its bytes from `offset`
    /// on. Nothing if it is not kept.
    pub fn kept_part(
        &self,
        checkpoint: EntryIndex,
        offset: usize,
        bytes_max: usize,
    ) -> Result<Option<(u64, Bytes)>, StorageError> {
        self.with_kept(checkpoint, |all| {
            let from = offset.min(all.len());
            let until = all.len().min(from.saturating_add(bytes_max));
            Ok((super::widen(all.len()), Bytes::copy_from_slice(&all[from..until])))
        })
    }

    /// The checkpoints that are certified to be what they are here, and are flushed, oldest first.
    pub fn confirmed(&self) -> Vec<(EntryIndex, Digest)> {
        let checkpoints = self.0.lock_checkpoints();
        let confirmed = checkpoints.known.iter().filter(|(_, known)| known.is_confirmed());
        confirmed.map(|(index, known)| (EntryIndex::new(*index), known.digest)).collect()
    }

    /// The newest checkpoint that is certified to be what it is here, and is flushed.
    pub fn newest_confirmed_index(&self) -> Option<EntryIndex> {
        self.0.lock_checkpoints().newest_confirmed().map(EntryIndex::new)
    }

    /// The newest checkpoint that is certified to be what it is here, with its manifest, if that is kept; none that
    /// lies before `from`, since nothing goes on from there: one that was kept before another state was installed.
    pub fn newest_confirmed(
        &self,
        from: Option<EntryIndex>,
    ) -> Result<Option<StateManifest>, StorageError> {
        let newest = self.newest_confirmed_index().filter(|index| Some(*index) >= from);
        newest.map_or(Ok(None), |index| self.kept_manifest(index))
    }
}

impl Shared {
    /// Takes from the machine all that was applied since this was done last.
    pub(super) fn take_sealed(&self, machine: &mut Machine, is_checkpoint: bool) -> Sealed {
        let changes = machine.take_changes();
        let mut live = self.live_mut();
        let runs = live.suffix.cut();
        let trimmed = live.views.take_trimmed();
        let bytes = self.note_cut();
        Sealed { changes, runs, trimmed, bytes, is_checkpoint }
    }

    /// An install put another state in place of this one: nothing that was known is true of it.
    pub(super) fn replace_checkpoints(&self, state: &StateManifest) {
        *self.lock_checkpoints() = Checkpoints::found(&[], Some(state));
    }

    /// Keeps the manifest of what redb holds, if that is the state at a checkpoint, and lets those go that the machine
    /// does not name any more. Rows that contradict their digest make the state another one than any that is certified,
    /// whether it is the memory that has gone wrong or the disk.
    pub(super) fn keep_manifest(&self) -> Result<(), StorageError> {
        let state = match manifest::load(&self.database) {
            Ok(Some(state)) => state,
            Ok(None) => return Ok(()),
            Err(StorageError::Damaged { what, .. }) if manifest::is_of_rows(what) => {
                let flushed = *self.flushed.lock().expect(UNBROKEN);
                tracing::error!(?flushed, what, "rows of the state are not what was executed");
                if let Some(flushed) = flushed {
                    self.lock_checkpoints().note_contradiction(flushed.index);
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let checkpoints = &state.rows().checkpoints;
        let is_named = |index: u64| checkpoints.iter().any(|(named, _)| *named == index);
        let index = state.applied().index.get();
        let all = kept(&self.database)?;
        let gone: Vec<u64> =
            all.iter().map(|kept| kept.checkpoint.get()).filter(|at| !is_named(*at)).collect();
        let is_wanted = is_named(index) && all.iter().all(|kept| kept.checkpoint.get() != index);
        if !is_wanted && gone.is_empty() {
            return Ok(());
        }
        let key = kept_key(index);
        let value =
            is_wanted.then(|| encode_kept(&key, state.digest().as_bytes(), &state.encode()));
        let txn = self.database.write()?;
        {
            let failed = self.database.failed("write");
            let mut table = txn.open_table(CHECKPOINTS).map_err(failed)?;
            for index in gone {
                table.remove(&kept_key(index)[..]).map_err(self.database.failed("write"))?;
            }
            if let Some(value) = value {
                table.insert(&key[..], &value[..]).map_err(self.database.failed("write"))?;
            }
        }
        self.database.commit(txn)
    }

    /// Forgets the checkpoints whose rows are gone.
    pub(super) fn forget_checkpoints(&self, rows: &[RowChange]) {
        let mut checkpoints = self.lock_checkpoints();
        for index in gone(rows) {
            checkpoints.known.remove(&index);
        }
    }
}

/// Removes what is kept of checkpoints whose rows are gone.
pub(super) fn remove_kept(
    database: &Database,
    txn: &WriteTransaction,
    rows: &[RowChange],
) -> Result<(), StorageError> {
    let mut gone = gone(rows).peekable();
    if gone.peek().is_none() {
        return Ok(());
    }
    let mut table = txn.open_table(CHECKPOINTS).map_err(database.failed("write"))?;
    for index in gone {
        table.remove(&kept_key(index)[..]).map_err(database.failed("write"))?;
    }
    Ok(())
}

/// The checkpoints whose rows are deleted.
fn gone(rows: &[RowChange]) -> impl Iterator<Item = u64> {
    let deleted = rows.iter().filter(|row| {
        row.table == Table::Meta
            && row.value.is_none()
            && row.key.starts_with(META_CHECKPOINT_PREFIX)
    });
    deleted.filter_map(|row| decode_checkpoint_key(&row.key).ok())
}

/// The manifests that are kept. One that is damaged is not among them.
pub(super) fn kept(database: &Database) -> Result<Vec<Kept>, StorageError> {
    database.unwinding(|| {
        let table = database.read()?.open_table(CHECKPOINTS).map_err(database.failed("read"))?;
        let mut all = Vec::new();
        for row in table.iter().map_err(database.failed("read"))? {
            let (key, value) = row.map_err(database.failed("read"))?;
            let (key, value) = (key.value(), value.value());
            let index = decode_kept_key(key).map_err(|_| database.damaged("key"))?;
            let Ok(digest) = decode_kept_digest(key, value) else { continue };
            all.push(Kept {
                checkpoint: EntryIndex::new(index),
                digest: Digest::new(digest),
                bytes: super::widen(value.len()),
            });
        }
        Ok(all)
    })
}

/// The manifest of such bytes as one is kept, if it has this digest.
pub fn unpack_kept(checkpoint: EntryIndex, kept: &[u8], digest: Digest) -> Option<StateManifest> {
    let bytes = decode_kept(&kept_key(checkpoint.get()), kept).ok()?;
    let manifest = StateManifest::decode(&bytes).ok()?;
    (manifest.applied().index == checkpoint && manifest.digest() == digest).then_some(manifest)
}

/// Lets those go that are kept of another history than the one of `state`.
pub(super) fn keep_only(
    database: &Database,
    txn: &WriteTransaction,
    state: &StateManifest,
) -> Result<(), StorageError> {
    let rows = &state.rows().checkpoints;
    let is_right = |key: &[u8], value: &[u8]| {
        let index = decode_kept_key(key).ok()?;
        let (_, row) = rows.iter().find(|(named, _)| *named == index)?;
        Some(row.certificate.as_ref()?.digest == decode_kept_digest(key, value).ok()?)
    };
    let mut table = txn.open_table(CHECKPOINTS).map_err(database.failed("write"))?;
    let kept = table.retain(|key, value| is_right(key, value) == Some(true));
    kept.map_err(database.failed("write"))
}
