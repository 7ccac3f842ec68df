//! What the folder of a survivor holds: its state, its journal as far as that can be made good, the machine of both.
//!
//! Entries that are damaged and flushed cost nothing: the journal is made to begin behind them. Damage behind what is
//! flushed ends the journal there, if that loss was accepted by name; what follows goes with it, since nothing may take
//! another position than the one that was acknowledged.
//!
//! It works on whatever disk it is given, so a rehearsal is the same on a disk that forgets.
//!
//! Not here: the new generation (`super`).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;

use client::types::{EntryId, EntryIndex};
use migrations::{GroupId, Layout};

use super::RecoverError;
use crate::machine::{Machine, MachineLimits};
use crate::run::open::{Fit, check_fit};
use crate::storage::StorageError;
use crate::storage::disk::Disk;
use crate::storage::journal::{
    Done, Journal, JournalIdentity, JournalOptions, Opening, Vote, WoundedJournal,
};
use crate::storage::state::{State, StateManifest, StateOptions};

/// So much of the journal is read at a time.
const READ_BYTES: u64 = 8 << 20;

/// Entries that are lost: from the first that is damaged and not flushed to the journal's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// The first.
    pub first: EntryIndex,
    /// The last, as far as that is known.
    pub last: Option<EntryIndex>,
}

/// Which loss is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// Whatever it is: a rehearsal tells it.
    Any,
    /// The loss from this entry on, or none.
    From(Option<EntryIndex>),
}

/// A folder, on some disk.
pub(super) struct Salvage<'a> {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) layout: &'a Layout,
    pub(super) identity: JournalIdentity,
    pub(super) journal: JournalOptions,
    pub(super) accept: Accept,
}

/// What there was before anything was made good, as far as it can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) vote: Option<Vote>,
    pub(super) last: Option<EntryId>,
    pub(super) committed: Option<EntryId>,
    pub(super) damage: Option<String>,
}

/// What is left.
pub(super) struct Salvaged {
    pub(super) found: Found,
    pub(super) loss: Option<Loss>,
    pub(super) flushed: Option<EntryId>,
    pub(super) journal: Journal,
    /// Never started: it stays as it was flushed.
    pub(super) state: State,
    /// With every entry of the journal applied.
    pub(super) machine: Machine,
}

impl Salvage<'_> {
    /// Makes good what can be.
    pub(super) fn run(self) -> Result<Salvaged, RecoverError> {
        let path = self.layout.state(GroupId::FIRST);
        let (state, manifest) = match State::open(&self.disk, &path, StateOptions::default()) {
            Err(error @ StorageError::Damaged { .. }) => {
                return Err(RecoverError::StateLost(error.to_string()));
            }
            opened => opened?,
        };
        let (flushed, installed) = (state.flushed(), state.installed()?);
        // What was installed beyond its end the journal never held: nothing of it is missing.
        let held = flushed.filter(|_| flushed != installed);
        let (journal, found, loss) = self.open_journal(flushed, held)?;
        bridge(&journal, flushed)?;
        match check_fit(flushed, installed, &journal) {
            Ok(Fit::GoesOn) => {}
            Ok(Fit::Behind(reason)) => return Err(RecoverError::StateLost(reason)),
            Err(error) => return Err(RecoverError::Unfit(error.to_string())),
        }
        let machine = replay(&journal, manifest)?;
        Ok(Salvaged { found, loss, flushed, journal, state, machine })
    }

    fn open_journal(
        &self,
        flushed: Option<EntryId>,
        mut held: Option<EntryId>,
    ) -> Result<(Journal, Found, Option<Loss>), RecoverError> {
        let folder = self.layout.journal(GroupId::FIRST);
        let (mut found, mut loss, mut is_gone) = (None, None, false);
        loop {
            let options = JournalOptions {
                flushed: held.map(|id| id.index.get()),
                must_exist: self.journal.must_exist && !is_gone,
                ..self.journal.clone()
            };
            let disk = Arc::clone(&self.disk);
            let opened = match Journal::open(disk, &folder, self.identity, options) {
                // All of it. The state alone is left.
                Err(StorageError::Lost { .. }) if flushed.is_some() => {
                    self.check_accepted(loss.get_or_insert(behind(flushed)))?;
                    (held, is_gone) = (None, true);
                    let damage = Some("all of it is gone".to_owned());
                    found = Some(Found { damage, ..Found::default() });
                    continue;
                }
                opened => opened?,
            };
            let wounded = match opened {
                Opening::Whole(journal) => {
                    let found = found.unwrap_or_else(|| Found {
                        vote: journal.vote(),
                        last: journal.last(),
                        committed: journal.committed(),
                        damage: None,
                    });
                    return Ok((journal, found, loss));
                }
                Opening::Damaged(wounded) => wounded,
            };
            found.get_or_insert_with(|| Found {
                vote: wounded.vote(),
                last: wounded.last(),
                committed: wounded.committed(),
                damage: Some(wounded.to_string()),
            });
            if let Some(flushed) = &flushed {
                wounded.forget(flushed);
            }
            if wounded.mend().map_err(RecoverError::Journal)?.is_some() {
                continue;
            }
            self.check_accepted(loss.get_or_insert(loss_of(&wounded, flushed)))?;
            if !wounded.give_up(None).map_err(RecoverError::Journal)? && held.take().is_none() {
                return Err(RecoverError::NothingGood(wounded.to_string()));
            }
        }
    }

    fn check_accepted(&self, loss: &Loss) -> Result<(), RecoverError> {
        match self.accept {
            Accept::Any => Ok(()),
            Accept::From(named) if named == Some(loss.first) => Ok(()),
            Accept::From(named) => Err(RecoverError::Loss { loss: *loss, named }),
        }
    }
}

/// What goes if the journal ends at its first damage that cannot be written again. What is flushed stays.
fn loss_of(wounded: &WoundedJournal, flushed: Option<EntryId>) -> Loss {
    let Loss { first, .. } = behind(flushed);
    let first =
        wounded.first_lacking().map_or(first, |lacking| first.max(EntryIndex::new(lacking)));
    Loss { first, last: wounded.last().map(|last| last.index).filter(|last| *last >= first) }
}

/// All that came behind what is flushed.
fn behind(flushed: Option<EntryId>) -> Loss {
    let first = EntryIndex::new(flushed.map_or(0, |flushed| flushed.index.get() + 1));
    Loss { first, last: None }
}

/// Lets the journal begin behind what is flushed if it lacks anything of that: nobody is left who could give it.
fn bridge(journal: &Journal, flushed: Option<EntryId>) -> Result<(), RecoverError> {
    let Some(flushed) = flushed else { return Ok(()) };
    let until = flushed.index.get() + 1;
    let mut is_short = journal.last().is_none_or(|last| last.index < flushed.index);
    let mut from = journal.first();
    while from < until && !is_short {
        let looked = journal.verify_payloads(from, until, READ_BYTES);
        is_short = !looked.damaged.is_empty();
        from = looked.next.max(from + 1);
    }
    if !is_short {
        return Ok(());
    }
    journal.purge(flushed);
    durably(|done| journal.when_durable(done))
}

/// The machine with all entries applied: none is waited for any more.
fn replay(journal: &Journal, manifest: Option<StateManifest>) -> Result<Machine, RecoverError> {
    let mut machine = match manifest {
        None => Machine::new(MachineLimits::default()),
        Some(manifest) => {
            let unfit =
                |error: crate::machine::MachineError| RecoverError::Unfit(error.to_string());
            manifest.into_machine().map_err(unfit)?
        }
    };
    let until = journal.last().map_or(0, |last| last.index.get() + 1);
    let mut next = machine.applied().map_or(0, |applied| applied.index.get() + 1);
    while next < until {
        let entries = journal.read_limited(next, until, READ_BYTES);
        let entries = entries.map_err(RecoverError::Journal)?;
        if entries.is_empty() {
            return Err(RecoverError::Unfit(format!("entry {next} is not there")));
        }
        for entry in entries {
            machine.apply(entry.id, &entry.body);
            next = entry.id.index.get() + 1;
        }
    }
    Ok(machine)
}

/// Asks the journal for something and waits until it is durable.
pub(super) fn durably(ask: impl FnOnce(Done)) -> Result<(), RecoverError> {
    let (sender, done) = channel();
    ask(Box::new(move |result| drop(sender.send(result))));
    let done = done.recv().unwrap_or_else(|gone| Err(io::Error::other(gone)));
    done.map_err(RecoverError::Journal)
}
