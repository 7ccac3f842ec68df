//! Opening what a replica keeps: the state as it was flushed, the journal behind it, the machine
//! of both. What is damaged is repaired first, what does not fit is let go (`mend`, `refill`).
//!
//! Not here: replaying the journal into the machine, which building agreement does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::api::cluster::{StateDigest, SyncLatency};
use client::types::{EntryId, LogId, PositionRange};
use migrations::latest::MembershipRow;
use tokio::sync::watch;

use super::early::Early;
use super::entry_repair::EntryRepair;
use super::folder::Entered;
use super::mend::mend;
use super::refill::{StateFile, refill};
use super::syncs::Syncs;
use super::verification::Verification;
use super::{Broken, RunError};
use crate::config::Config;
use crate::machine::{Checkpoint, Founding, Machine, MachineLimits};
use crate::metrics::Metrics;
use crate::node::{Damages, MembershipChanges, state_digest};
use crate::peer::{IsRemoved, Mender, Peers};
use crate::raft::{LostEntries, MembershipState, Timings};
use crate::storage::StorageError;
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::journal::{Journal, JournalIdentity, JournalOptions, Opening};
use crate::storage::state::{
    FlushFailure, Flushed, State, StateManifest, StateObserver, StateOptions,
};
use crate::world::{Clock, World, tasks};

/// What this replica keeps, opened.
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) machine: Arc<Mutex<Machine>>,
    pub(super) state: State,
    syncs: Arc<Syncs>,
    /// What was flushed when this was opened.
    flushed: Option<EntryId>,
    /// Entries of the journal that are damaged.
    pub(super) lost: LostEntries,
    /// What reads find damaged.
    pub(super) damages: Damages,
}

/// Opens state and journal, repairs the journal if it is damaged, checks that they fit, makes the machine and
/// starts flushing.
pub(super) async fn open(
    config: &Config,
    entered: &Entered,
    world: &World,
    metrics: &Metrics,
    broken: &Broken,
    early: &mut Early,
) -> Result<Opened, RunError> {
    let syncs = Arc::new(Syncs::new(metrics.clone()));
    let inputs = Inputs {
        layout: entered.layout(),
        identity: JournalIdentity {
            cluster: *entered.identity().cluster.as_bytes(),
            replica: entered.identity().replica.get(),
        },
        journal: JournalOptions {
            must_exist: entered.has_journal(),
            ..journal_options(config, world, syncs.clone())
        },
        syncs,
        metrics: metrics.clone(),
        broken: broken.clone(),
        clock: world.clock.clone(),
    };
    let options = state_options(config);
    let has_others = early.knows_others();
    let step = move |inputs: &Inputs| inputs.find_state(options, has_others);
    let (mut inputs, mut kept) = blocking(inputs, step).await?;
    let journal = loop {
        let opened = blocking(inputs, move |inputs| inputs.open_journal(kept));
        let opening;
        (inputs, (kept, opening)) = opened.await?;
        match opening {
            Opening::Whole(journal) => break journal,
            Opening::Damaged(wounded) => {
                mend(wounded, kept.flushed, early, metrics, &world.clock).await?;
            }
        }
    };
    let fitting = journal.clone();
    let step = move |inputs: &Inputs| inputs.let_go_if_unfit(kept, &fitting, options);
    let is_lost;
    (inputs, (kept, is_lost)) = blocking(inputs, step).await?;
    if is_lost {
        let manifest = refill(&journal, &kept.state, early, metrics, &world.clock).await;
        kept = Kept::found(kept.state, Some(manifest))?;
    }
    let (_, opened) = blocking(inputs, move |inputs| inputs.fit(kept, journal)).await?;
    entered.note_journal().await?;
    Ok(opened)
}

/// One step of opening, which blocks.
async fn blocking<T: Send + 'static>(
    inputs: Inputs,
    step: impl FnOnce(&Inputs) -> Result<T, RunError> + Send + 'static,
) -> Result<(Inputs, T), RunError> {
    let done = tasks::blocking(move || Ok(step(&inputs).map(|done| (inputs, done)))).await;
    done.map_err(|error| RunError::Io { what: "cannot open storage", error })?
}

struct Inputs {
    syncs: Arc<Syncs>,
    layout: migrations::Layout,
    identity: JournalIdentity,
    journal: JournalOptions,
    metrics: Metrics,
    broken: Broken,
    clock: Clock,
}

/// The state as it was flushed.
struct Kept {
    state: State,
    manifest: Option<StateManifest>,
    flushed: Option<EntryId>,
    installed: Option<EntryId>,
}

impl Kept {
    fn found(state: State, manifest: Option<StateManifest>) -> Result<Self, RunError> {
        let (flushed, installed) = (state.flushed(), state.installed()?);
        Ok(Self { state, manifest, flushed, installed })
    }
}

impl Inputs {
    fn open_state(&self, options: StateOptions) -> Result<Kept, RunError> {
        let group = migrations::GroupId::FIRST;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        disk.create_dir_all(&self.layout.journal(group))
            .map_err(|error| RunError::Io { what: "cannot make the journal's folder", error })?;
        let (state, manifest) = State::open(&disk, &self.file().path, options)?;
        Kept::found(state, manifest)
    }

    fn file(&self) -> StateFile {
        StateFile { path: self.layout.state(migrations::GroupId::FIRST) }
    }

    /// The state as it was flushed; a fresh one in place of one that is damaged, which is set aside.
    fn find_state(&self, options: StateOptions, has_others: bool) -> Result<Kept, RunError> {
        // Nobody could give it anew: what can still be read of it is worth more.
        let is_marked = self.file().is_marked()? && has_others;
        let damage = if is_marked {
            "it was found damaged while it was used".to_owned()
        } else {
            match self.open_state(options) {
                Err(RunError::Storage(error @ StorageError::Damaged { .. })) => error.to_string(),
                opened => return opened,
            }
        };
        self.set_aside(&damage)?;
        self.open_state(options)
    }

    fn set_aside(&self, damage: &str) -> Result<(), RunError> {
        tracing::error!(damage, "the state is lost and set aside");
        self.file().set_aside()
    }

    /// Says whether the state is lost, since the journal does not go on from it; then it is a fresh one.
    fn let_go_if_unfit(
        &self,
        kept: Kept,
        journal: &Journal,
        options: StateOptions,
    ) -> Result<(Kept, bool), RunError> {
        let Fit::Behind(reason) = check_fit(kept.flushed, kept.installed, journal)? else {
            return Ok((kept, false));
        };
        // A fresh one may hold a part of what is lacking, from an earlier attempt.
        if kept.flushed.is_none() {
            return Ok((kept, true));
        }
        drop(kept);
        self.set_aside(&reason)?;
        Ok((self.open_state(options)?, true))
    }

    fn open_journal(&self, kept: Kept) -> Result<(Kept, Opening), RunError> {
        // What was installed beyond its end the journal never held: nothing of it is missing.
        let held = kept.flushed.filter(|_| kept.flushed != kept.installed);
        let options =
            JournalOptions { flushed: held.map(|id| id.index.get()), ..self.journal.clone() };
        let folder = self.layout.journal(migrations::GroupId::FIRST);
        let opening = Journal::open(Arc::new(RealDisk), &folder, self.identity, options)?;
        Ok((kept, opening))
    }

    fn fit(&self, kept: Kept, journal: Journal) -> Result<Opened, RunError> {
        let Kept { state, manifest, flushed, installed } = kept;
        if let Fit::Behind(reason) = check_fit(flushed, installed, &journal)? {
            return Err(RunError::Unfit(reason));
        }
        if flushed.is_some() {
            self.file().tidy()?;
        }
        let machine = match manifest {
            None => Machine::new(MachineLimits::default()),
            Some(manifest) => {
                manifest.into_machine().map_err(|error| RunError::Unfit(error.to_string()))?
            }
        };
        let machine = Arc::new(Mutex::new(machine));
        watch_storage(&journal, &self.broken);
        let damages = Damages::default();
        let observer = Flushes {
            metrics: self.metrics.clone(),
            damages: damages.clone(),
            broken: self.broken.clone(),
            file: self.file(),
        };
        state.start(machine.clone(), journal.clone(), Arc::new(observer), self.clock.clone());
        let (syncs, lost) = (self.syncs.clone(), LostEntries::default());
        Ok(Opened { journal, machine, state, syncs, flushed, lost, damages })
    }
}

/// What the state does by itself: counted, and the end of the process if it fails.
struct Flushes {
    metrics: Metrics,
    damages: Damages,
    broken: Broken,
    file: StateFile,
}

impl StateObserver for Flushes {
    fn flushed(&self, flushed: &Flushed) {
        self.metrics.state_flushed(flushed.elapsed, flushed.written_bytes);
        self.metrics.state_unflushed(flushed.levels.unflushed_bytes);
        self.metrics.state_suffix(flushed.levels.suffix_bytes);
        self.metrics.state_lagging(u64::from(flushed.levels.is_lagging));
    }

    fn damage_found(&self, log: LogId, range: PositionRange) {
        self.metrics.state_damage_found();
        self.damages.found(log, range);
        tracing::error!(%log, %range, "damaged records found, not served");
    }

    fn failed(&self, failure: &FlushFailure) {
        // Whether the next start comes across it again is chance.
        if let FlushFailure::Storage(StorageError::Damaged { .. }) = failure
            && let Err(error) = self.file.set_mark()
        {
            tracing::error!(%error, "a damaged state is not marked");
        }
        self.broken.tell(&failure.to_string());
    }
}

/// A failed write or sync of the journal ends the process.
fn watch_storage(journal: &Journal, broken: &Broken) {
    let broken = broken.clone();
    journal.on_poisoned(Box::new(move |error| broken.tell(&error.to_string())));
}

/// How state and journal lie to one another, if they can be of one replica.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The journal goes on from the state.
    GoesOn,
    /// The state lies before what the journal begins with, in words: it is lost.
    Behind(String),
}

/// `purged <= flushed <= durable`, and the entry flushed last is the journal's own; or it was installed beyond the
/// journal's end, which agreement then purges up to there. A journal that does not hold what was flushed has lost what
/// it acknowledged: that is refused, whatever the state is worth.
pub(super) fn check_fit(
    flushed: Option<EntryId>,
    installed: Option<EntryId>,
    journal: &Journal,
) -> Result<Fit, RunError> {
    let (purged, last) = (journal.purged(), journal.last());
    if flushed.map(|id| id.index) < purged.map(|id| id.index) {
        return Ok(Fit::Behind(format!(
            "the state ends at {}, and the journal begins behind {}",
            shown(flushed),
            shown(purged)
        )));
    }
    let Some(flushed) = flushed else { return Ok(Fit::GoesOn) };
    if installed == Some(flushed) && last.map(|id| id.index) < Some(flushed.index) {
        return Ok(Fit::GoesOn);
    }
    let known = journal.entry_id(flushed.index.get());
    if known.or(purged.filter(|id| id.index == flushed.index)) == Some(flushed) {
        return Ok(Fit::GoesOn);
    }
    Err(RunError::Unfit(format!(
        "the state ends at {flushed}, which the journal (last entry {}) does not hold",
        shown(last)
    )))
}

fn shown(id: Option<EntryId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
}

impl Opened {
    /// Who is in the group, as far as this replica has applied.
    pub(super) fn membership(&self) -> MembershipRow {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        machine.membership().map(|(_, membership)| membership.clone()).unwrap_or_default()
    }

    /// The group's timings, once the founding command was flushed here.
    pub(super) fn timings(&self) -> Option<Timings> {
        let founding = self.founding()()?;
        Some(Timings {
            heartbeat: founding.timings.heartbeat,
            election_min: founding.timings.election_min,
            election_max: founding.timings.election_max,
        })
    }

    /// What the group was founded with, as this replica knows it.
    pub(super) fn founding(&self) -> Box<dyn Fn() -> Option<Founding> + Send + Sync> {
        let machine = self.machine.clone();
        Box::new(move || machine.lock().unwrap_or_else(PoisonError::into_inner).cluster().copied())
    }
}

impl Opened {
    /// What the machine is after the entry it applied last.
    pub(super) fn digest(&self) -> Box<dyn Fn() -> Option<StateDigest> + Send + Sync> {
        let machine = self.machine.clone();
        Box::new(move || state_digest(&machine.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The changes of the membership that the machine remembers.
    pub(super) fn membership_changes(&self) -> Box<dyn MembershipChanges> {
        Box::new(self.machine.clone())
    }

    /// Whether a replica was removed, as far as this one has applied that.
    pub(super) fn is_removed(
        &self,
        membership: watch::Receiver<MembershipState>,
    ) -> Arc<IsRemoved> {
        let machine = self.machine.clone();
        Arc::new(move |replica| {
            let is_member = membership.borrow().row.nodes.contains_key(&replica.get());
            !is_member && machine.lock().unwrap_or_else(PoisonError::into_inner).is_removed(replica)
        })
    }

    /// The checkpoints that the machine remembers.
    pub(super) fn checkpoints(&self) -> Box<dyn Fn() -> Vec<Checkpoint> + Send + Sync> {
        let machine = self.machine.clone();
        Box::new(move || {
            machine.lock().unwrap_or_else(PoisonError::into_inner).checkpoints().collect()
        })
    }

    /// The look at what the start did not read.
    pub(super) fn verification(&self, metrics: &Metrics, world: &World) -> Verification {
        Verification {
            journal: self.journal.clone(),
            flushed: self.flushed.map(|id| id.index.get()),
            lost: self.lost.clone(),
            metrics: metrics.clone(),
            clock: world.clock.clone(),
        }
    }

    /// The repair of what that look finds, and what reads find.
    pub(super) fn entry_repair(
        &self,
        peers: &Peers,
        metrics: &Metrics,
        world: &World,
    ) -> EntryRepair {
        EntryRepair {
            journal: self.journal.clone(),
            lost: self.lost.clone(),
            mender: Mender::new(peers.clone()),
            metrics: metrics.clone(),
            clock: world.clock.clone(),
        }
    }

    /// How many entries are known to be damaged now.
    pub(super) fn damaged_entries(&self) -> Box<dyn Fn() -> u64 + Send + Sync> {
        let lost = self.lost.clone();
        Box::new(move || lost.count())
    }

    /// For how long the disk has done nothing for the journal but slow writes.
    pub(super) fn slow_for(&self) -> Box<dyn Fn() -> Duration + Send + Sync> {
        let journal = self.journal.clone();
        Box::new(move || journal.slow_for())
    }

    /// What the disk needed lately to make an entry durable.
    pub(super) fn sync_latency(&self) -> Box<dyn Fn() -> Option<SyncLatency> + Send + Sync> {
        let syncs = self.syncs.clone();
        Box::new(move || syncs.latency())
    }
}

pub(super) fn state_options(config: &Config) -> StateOptions {
    StateOptions {
        cache_bytes: config.state.cache_bytes,
        suffix_bytes_max: config.state.suffix_bytes_max,
        unflushed_bytes_max: config.state.unflushed_bytes_max,
        flush_bytes: bytes(config.state.flush_bytes),
        flush_interval: config.state.flush_interval,
        ..StateOptions::default()
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn journal_options(config: &Config, world: &World, syncs: Arc<Syncs>) -> JournalOptions {
    JournalOptions {
        segment_bytes: config.journal.segment_bytes,
        suffix_bytes_max: config.journal.suffix_bytes_max,
        observer: syncs,
        ..JournalOptions::new(world.clock.clone(), world.chance.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use client::types::{EntryIndex, Term};

    use super::*;
    use crate::machine::EntryBody;
    use crate::storage::journal::Entry;

    fn id(term: u64, index: u64) -> EntryId {
        EntryId::new(Term::new(term), 1, EntryIndex::new(index))
    }

    fn open(folder: &std::path::Path, flushed: Option<EntryId>) -> Journal {
        let world = World::real();
        let identity = JournalIdentity { cluster: [7; 16], replica: 1 };
        let options = JournalOptions {
            segment_bytes: 64 * 1024,
            flushed: flushed.map(|id| id.index.get()),
            ..JournalOptions::new(world.clock, world.chance)
        };
        match Journal::open(Arc::new(RealDisk), folder, identity, options).unwrap() {
            Opening::Whole(journal) => journal,
            Opening::Damaged(damaged) => panic!("{damaged}"),
        }
    }

    /// The journal of entries 0 to 9 of term 2, of which those up to `purged` were let go, as the
    /// next start finds it.
    fn reopened(folder: &std::path::Path, purged: Option<EntryId>) -> Journal {
        let journal = open(folder, None);
        let (sender, done) = channel();
        let entries = (0..10).map(|at| Entry { id: id(2, at), body: EntryBody::Blank }).collect();
        journal.append(entries, Box::new(move |done| sender.send(done).unwrap()));
        done.recv().unwrap().unwrap();
        journal.save_committed(Some(id(2, 7)));
        if let Some(purged) = purged {
            journal.purge(purged);
        }
        journal.close();
        drop(journal);
        open(folder, purged)
    }

    /// What a crash may leave behind, from files: purged P, flushed F, installed I, committed C = 7, last L = 9.
    #[test]
    fn state_and_journal_that_do_not_fit_are_refused_at_the_start() {
        let (none, later) = (None, Some(id(3, 12)));
        // Some(true): it goes on; Some(refused): the state is lost; none: refused.
        let (fits, lost, refused) = (Some(true), Some(false), None);
        let cases = [
            ("a: F between P and C", Some(id(2, 3)), Some(id(2, 5)), none, fits),
            ("a: F at P", Some(id(2, 3)), Some(id(2, 3)), none, fits),
            ("a: nothing purged, nothing flushed", None, None, none, fits),
            (
                "a: F behind an install that is long done",
                None,
                Some(id(2, 8)),
                Some(id(2, 6)),
                fits,
            ),
            ("b: C behind F", None, Some(id(2, 8)), none, fits),
            ("b: F at L", None, Some(id(2, 9)), none, fits),
            ("d: installed beyond L", None, later, later, fits),
            ("d: installed beyond L, entries purged", Some(id(2, 3)), later, later, fits),
            ("d: installed within the journal", None, Some(id(2, 8)), Some(id(2, 8)), fits),
            ("e: F beyond L", None, Some(id(2, 10)), none, refused),
            ("e: F beyond L in a later term", None, later, none, refused),
            ("e: F beyond L and beyond what was installed", None, Some(id(3, 13)), later, refused),
            ("f: state lost, entries purged", Some(id(2, 3)), None, none, lost),
            ("f: F below P", Some(id(2, 3)), Some(id(2, 2)), none, lost),
            ("f: installed below P", Some(id(2, 3)), Some(id(2, 2)), Some(id(2, 2)), lost),
            ("g: another entry at F", None, Some(id(1, 5)), none, refused),
            ("g: another entry at F, installed", None, Some(id(1, 5)), Some(id(1, 5)), refused),
            ("g: another leader's entry at P", Some(id(2, 3)), Some(id(3, 3)), none, refused),
        ];
        for (case, purged, flushed, installed, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let journal = reopened(folder.path(), purged);
            assert_eq!((journal.purged(), journal.last()), (purged, Some(id(2, 9))), "{case}");
            let fit = check_fit(flushed, installed, &journal).ok().map(|fit| fit == Fit::GoesOn);
            assert_eq!(fit, expected, "{case}");
        }
        // c: a committed entry that outlived its journal is clamped to the last one.
        let folder = tempfile::tempdir().unwrap();
        let journal = reopened(folder.path(), None);
        let (sender, done) = channel();
        journal.truncate_after(Some(id(2, 4)), Box::new(move |done| sender.send(done).unwrap()));
        done.recv().unwrap().unwrap();
        assert_eq!(journal.committed(), Some(id(2, 4)));
    }
}
