//! Whether the state here is known to be another one than the certified one, and what became of that.
//!
//! ```text
//! sound -> differs -> renewed: the certified state is in place of it -> sound, once a later checkpoint is the same here
//!                        \-> hopeless: a later checkpoint differs again
//! ```
//!
//! What is known is in memory at once, and in redb with the flush that holds the entry at which it was found, at the
//! latest: so no start forgets it. While the state is taken anew, entries are passed over; they are applied to what has
//! taken its place (`renewal`).
//!
//! Not here: what a replica does that is quarantined (`node::quarantine`).

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use client::types::{Digest, EntryId, EntryIndex};
use migrations::latest::quarantine::{META_QUARANTINE, QuarantineRow, QuarantineStage};
use migrations::latest::tables::META;
use redb::WriteTransaction;

use super::checkpoints::Comparison;
use super::database::Database;
use super::{Shared, State, UNBROKEN};
use crate::storage::error::StorageError;

/// That the state differs from the certified one, and what became of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// The newest checkpoint at which it differed.
    pub checkpoint: EntryIndex,
    /// What a majority attested there.
    pub certified: Digest,
    /// What became of it.
    pub stage: Stage,
}

/// What became of a state that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is to be taken anew.
    Differs,
    /// The certified state at this entry was put in its place; a later checkpoint has to be the same here.
    Renewed(EntryIndex),
    /// It differed again after that: something else is wrong with this replica.
    Hopeless(EntryIndex),
}

impl Quarantine {
    fn row(&self) -> QuarantineRow {
        QuarantineRow {
            checkpoint: self.checkpoint.get(),
            certified: *self.certified.as_bytes(),
            stage: match self.stage {
                Stage::Differs => QuarantineStage::Differs,
                Stage::Renewed(entry) => QuarantineStage::Renewed(entry.get()),
                Stage::Hopeless(entry) => QuarantineStage::Hopeless(entry.get()),
            },
        }
    }

    fn of(row: &QuarantineRow) -> Self {
        Self {
            checkpoint: EntryIndex::new(row.checkpoint),
            certified: Digest::new(row.certified),
            stage: match row.stage {
                QuarantineStage::Differs => Stage::Differs,
                QuarantineStage::Renewed(entry) => Stage::Renewed(EntryIndex::new(entry)),
                QuarantineStage::Hopeless(entry) => Stage::Hopeless(EntryIndex::new(entry)),
            },
        }
    }

    /// What is known after a comparison that was verified.
    fn after(known: Option<Self>, compared: &Comparison, is_equal: bool) -> Option<Self> {
        let (checkpoint, certified) = (compared.checkpoint, compared.certified);
        let stage = match (known.map(|known| known.stage), is_equal) {
            (Some(Stage::Renewed(entry)), _) if checkpoint <= entry => return known,
            (None | Some(Stage::Renewed(_)), true) => return None,
            (Some(Stage::Renewed(entry)), false) => Stage::Hopeless(entry),
            (None | Some(Stage::Differs), false) => Stage::Differs,
            // By chance the same in memory; the disk may still hold what is wrong.
            (Some(Stage::Differs), true) | (Some(Stage::Hopeless(_)), _) => return known,
        };
        Some(Self { checkpoint, certified, stage })
    }
}

/// How it stands with the state.
#[derive(Debug, Default)]
pub(super) struct Standing {
    quarantine: Option<Quarantine>,
    /// The same, as redb has it.
    saved: Option<Quarantine>,
    /// While the state is taken anew: the last entry that was passed over or was applied before that.
    pub(super) passed: Option<EntryId>,
    /// Nothing but that may change what is on disk.
    pub(super) is_frozen: bool,
}

impl Standing {
    /// As redb has it.
    pub(super) fn load(database: &Database) -> Result<Self, StorageError> {
        database.unwinding(|| {
            let table = database.read()?.open_table(META).map_err(database.failed("read"))?;
            let value = table.get(META_QUARANTINE).map_err(database.failed("read"))?;
            let row = value.map(|value| QuarantineRow::decode(value.value())).transpose();
            let row = row.map_err(|_| database.damaged("mark"))?;
            let saved = row.as_ref().map(Quarantine::of);
            Ok(Self { quarantine: saved, saved, ..Self::default() })
        })
    }

    /// Nothing is passed over any more.
    pub(super) const fn end(&mut self) {
        (self.passed, self.is_frozen) = (None, false);
    }

    /// Whether nothing of the state may be served.
    pub(super) const fn is_wrong(&self) -> bool {
        self.quarantine.is_some() || self.passed.is_some()
    }
}

impl State {
    /// What is known to be wrong with the state here, if something is.
    pub fn quarantine(&self) -> Option<Quarantine> {
        self.0.standing().quarantine
    }

    /// Whether the state here is known to be another one than the certified one, or is being replaced: nothing of it may
    /// be served.
    pub fn is_diverged(&self) -> bool {
        self.0.is_diverged.load(Ordering::Relaxed)
    }

    /// Makes durable what is known of that, if it is not.
    pub fn keep_quarantine(&self) -> Result<(), StorageError> {
        let shared = &self.0;
        if shared.is_quarantine_saved() {
            return Ok(());
        }
        let _gate = shared.gate.lock().expect(UNBROKEN);
        let txn = shared.database.write()?;
        let written = shared.write_quarantine(&txn)?;
        shared.database.commit(txn)?;
        shared.note_quarantine_saved(written);
        Ok(())
    }

    /// Whether an entry is passed over, since the state is being taken anew: it will be applied to what takes its place.
    /// The caller holds the machine's lock.
    pub fn passes_over(&self, id: EntryId) -> bool {
        if !self.is_diverged() {
            return false;
        }
        let mut standing = self.0.standing();
        let is_passed = standing.passed.is_some();
        if is_passed {
            standing.passed = Some(id);
        }
        is_passed
    }
}

impl Shared {
    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().expect(UNBROKEN)
    }

    /// Changes how it stands, and what readers see of that.
    pub(super) fn change_standing(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing();
        change(&mut standing);
        self.is_diverged.store(standing.is_wrong(), Ordering::Relaxed);
    }

    /// Draws the conclusion from a comparison.
    pub(super) fn judge(&self, compared: &Comparison) {
        let Some(is_equal) = compared.is_equal() else { return };
        self.change_standing(|standing| {
            standing.quarantine = Quarantine::after(standing.quarantine, compared, is_equal);
        });
    }

    /// The certified state at an entry takes the place of the one here: what is then known of it.
    pub(super) fn renewed_at(&self, entry: EntryIndex) -> Option<Quarantine> {
        let known = self.standing().quarantine;
        known.map(|known| Quarantine { stage: Stage::Renewed(entry), ..known })
    }

    /// That was written, and holds.
    pub(super) fn note_renewed(&self, quarantine: Option<Quarantine>) {
        self.change_standing(|standing| {
            (standing.quarantine, standing.saved) = (quarantine, quarantine);
        });
    }

    fn is_quarantine_saved(&self) -> bool {
        let standing = self.standing();
        standing.quarantine == standing.saved
    }

    /// Writes what is known, if that is news. Says what is known.
    pub(super) fn write_quarantine(
        &self,
        txn: &WriteTransaction,
    ) -> Result<Option<Quarantine>, StorageError> {
        let (known, saved) = {
            let standing = self.standing();
            (standing.quarantine, standing.saved)
        };
        if known != saved {
            write(&self.database, txn, known)?;
        }
        Ok(known)
    }

    /// That is durable.
    pub(super) fn note_quarantine_saved(&self, known: Option<Quarantine>) {
        self.standing().saved = known;
    }
}

/// Writes what is known into a transaction.
pub(super) fn write(
    database: &Database,
    txn: &WriteTransaction,
    quarantine: Option<Quarantine>,
) -> Result<(), StorageError> {
    let mut table = txn.open_table(META).map_err(database.failed("write"))?;
    match quarantine {
        Some(quarantine) => table.insert(META_QUARANTINE, &quarantine.row().encode()[..]).map(drop),
        None => table.remove(META_QUARANTINE).map(drop),
    }
    .map_err(database.failed("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(known: Option<Stage>, checkpoint: u64, is_equal: bool) -> Option<Stage> {
        let certified = Digest::new([1; 32]);
        let known =
            known.map(|stage| Quarantine { checkpoint: EntryIndex::new(5), certified, stage });
        let compared = Comparison { checkpoint: EntryIndex::new(checkpoint), certified, own: None };
        Quarantine::after(known, &compared, is_equal).map(|known| known.stage)
    }

    #[test]
    fn only_a_later_checkpoint_of_a_state_that_was_taken_anew_ends_a_quarantine() {
        let renewed = Stage::Renewed(EntryIndex::new(9));
        let hopeless = Stage::Hopeless(EntryIndex::new(9));
        assert_eq!(after(None, 5, true), None);
        assert_eq!(after(None, 5, false), Some(Stage::Differs));
        assert_eq!(after(Some(Stage::Differs), 7, false), Some(Stage::Differs));
        assert_eq!(after(Some(Stage::Differs), 7, true), Some(Stage::Differs), "by chance");
        assert_eq!(after(Some(renewed), 9, true), Some(renewed), "that is how it was taken");
        assert_eq!(after(Some(renewed), 10, true), None);
        assert_eq!(after(Some(renewed), 10, false), Some(hopeless));
        assert_eq!(after(Some(hopeless), 11, true), Some(hopeless));
        assert_eq!(after(Some(hopeless), 11, false), Some(hopeless));
    }
}
