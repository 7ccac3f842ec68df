//! `quorate recover`: after the loss of a majority, or of an entry on every replica, a survivor's folder becomes the first
//! replica of a new generation.
//!
//! Invariant: what may be lost is told in words before anything is done, and nothing is done without consent; a loss
//! that is known is consented to by the index of its first entry.
//!
//! Not here: how a folder is recovered (`run::offline`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use client::types::{ClusterId, EntryId, EntryIndex, Generation, ReplicaAddr, ReplicaId, Term};
use serde::Serialize;

use super::logs::Consent;
use super::output::{self, Table};
use super::serve;
use super::{Exit, Failure, Output};
use crate::run::offline::{self, Addresses, Loss, RecoverError, Survivor};

/// What `quorate recover` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder of a survivor, stopped; of several, the one with the latest last entry is recovered.
    #[arg(long, value_name = "FOLDER", required = true)]
    data: Vec<PathBuf>,
    /// Give up damaged entries that nobody holds any more: the first of them, as the dry run names it. All behind it go,
    /// too.
    #[arg(long, value_name = "ENTRY")]
    accept_loss_from: Option<u64>,
    /// Where callers reach it from now on; otherwise where they did.
    #[arg(long, value_name = "URL")]
    advertise: Option<ReplicaAddr>,
    /// Where other replicas reach it from now on; otherwise where they did.
    #[arg(long, value_name = "URL")]
    advertise_peer: Option<ReplicaAddr>,
    #[command(flatten)]
    consent: Consent,
}

/// Runs `quorate recover`.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let accepted = arguments.accept_loss_from.map(EntryIndex::new);
    let mut survivors = Vec::new();
    for folder in &arguments.data {
        survivors
            .push((folder.clone(), offline::survey(folder).map_err(|why| failed(folder, &why))?));
    }
    let group = Group::of(&survivors)?;
    let (folder, chosen) = group.latest();
    if let Some(named) = accepted
        && !chosen.is_half_recovered
        && chosen.loss.map(|loss| loss.first) != Some(named)
    {
        let why = match chosen.loss {
            Some(loss) => RecoverError::Loss { loss, named: Some(named) },
            None => RecoverError::NoLoss(named),
        };
        return Err(failed(folder, &why));
    }
    if arguments.consent.dry_run {
        let shown = Shown::of(&group, true, chosen.generation);
        return Ok(output.value(&shown, Shown::table)?);
    }
    group.check_needed()?;
    if let Some(loss) = chosen.loss.filter(|_| accepted.is_none()) {
        return Err(failed(folder, &RecoverError::Loss { loss, named: None }));
    }
    if !arguments.consent.yes {
        let what = format!(
            "{} would begin a new generation: no other replica of the old one is ever heard again",
            output::shown(&folder.display().to_string())
        );
        let again = format!("{} --yes", command(&arguments.data, accepted));
        return Err(Failure::new(Exit::Unsafe, what).because(group.may_be_lost()).hint(again));
    }
    let addresses =
        Addresses { front: arguments.advertise.clone(), peer: arguments.advertise_peer.clone() };
    let recovered = offline::recover(folder, accepted, &addresses);
    let recovered = recovered.map_err(|why| failed(folder, &why))?;
    let shown = Shown::of(&group, false, recovered.generation);
    Ok(output.value(&shown, Shown::table)?)
}

fn command(folders: &[PathBuf], accepted: Option<EntryIndex>) -> String {
    let mut words = vec!["quorate recover".to_owned()];
    for folder in folders {
        words.push(format!("--data {}", output::shown(&folder.display().to_string())));
    }
    words.extend(accepted.map(|named| format!("--accept-loss-from {named}")));
    words.join(" ")
}

fn failed(folder: &Path, error: &RecoverError) -> Failure {
    let exit = match error {
        RecoverError::Folder(error) => serve::folder_exit(error),
        RecoverError::Unfounded | RecoverError::NoMember(_) => Exit::Usage,
        RecoverError::Loss { .. } | RecoverError::NoLoss(_) => Exit::Unsafe,
        RecoverError::StateLost(_)
        | RecoverError::Quarantined
        | RecoverError::Unfit(_)
        | RecoverError::NothingGood(_)
        | RecoverError::Journal(_)
        | RecoverError::Io { .. }
        | RecoverError::Storage(_) => Exit::Storage,
    };
    let failure = Failure::new(exit, format!("{}: {error}", folder.display()));
    if let RecoverError::Loss { loss, .. } = error {
        failure.hint(command(&[folder.to_owned()], Some(loss.first)))
    } else if let RecoverError::Folder(migrations::OpenError::Locked { .. }) = &error {
        failure.hint("stop the replica first")
    } else {
        failure
    }
}

/// Survivors of one group.
struct Group<'a> {
    all: &'a [(PathBuf, Survivor)],
}

impl<'a> Group<'a> {
    fn of(all: &'a [(PathBuf, Survivor)]) -> Result<Self, Failure> {
        let mut replicas = BTreeSet::new();
        for (folder, survivor) in all {
            let first = all.first().map_or(survivor, |(_, first)| first);
            // One whose recovery was begun is of the next generation already.
            let is_begun = first.is_half_recovered || survivor.is_half_recovered;
            let is_same = first.cluster == survivor.cluster
                && (is_begun || first.generation == survivor.generation);
            if !is_same {
                let what = format!("{} is of another group than the first", folder.display());
                return Err(Failure::usage(what));
            }
            if !replicas.insert(survivor.replica) {
                return Err(Failure::usage(format!(
                    "replica {} was given twice",
                    survivor.replica
                )));
            }
        }
        Ok(Self { all })
    }

    /// The one with the latest last entry, as Raft compares them; of equal ones the first. Once a recovery was begun, the
    /// one of which it was.
    fn latest(&self) -> (&'a Path, &'a Survivor) {
        let rank = |of: &Survivor| (of.is_half_recovered, of.rank());
        let mut latest = &self.all[0];
        for other in self.all {
            if rank(&other.1) > rank(&latest.1) {
                latest = other;
            }
        }
        (&latest.0, &latest.1)
    }

    /// The sets of voters of which no majority is here: how many there are, and how many of them are here.
    fn lacking(&self) -> Vec<(usize, usize)> {
        let (_, chosen) = self.latest();
        let is_here = |id: &&ReplicaId| self.all.iter().any(|(_, it)| it.replica == **id);
        let sets = chosen.voters.iter().map(|set| (set.len(), set.iter().filter(is_here).count()));
        sets.filter(|(voters, here)| *here <= voters / 2).collect()
    }

    /// Whoever has a majority starts it.
    fn check_needed(&self) -> Result<(), Failure> {
        let (_, chosen) = self.latest();
        if chosen.loss.is_some() || chosen.is_half_recovered || !self.lacking().is_empty() {
            return Ok(());
        }
        let what =
            "a majority of the voters is here, and nothing is lost: there is nothing to recover";
        Err(Failure::new(Exit::Unsafe, what).hint("quorate serve --data FOLDER   # each of them"))
    }

    /// What may be lost, in words.
    fn may_be_lost(&self) -> String {
        let (_, chosen) = self.latest();
        let mut words = Vec::new();
        if let Some(Loss { first, last }) = chosen.loss {
            let last = last.unwrap_or(first);
            words.push(format!(
                "entries {first} to {last} ({}) are lost: damaged, or behind what is damaged",
                last.get() - first.get() + 1
            ));
        }
        let kept = chosen.kept.map_or_else(|| "nothing".to_owned(), |kept| kept.to_string());
        for (voters, here) in self.lacking() {
            let absent = voters - here;
            words.push(format!(
                "{absent} of {voters} voters are not here: they may have acknowledged entries behind {kept} that \
                 nobody here holds; how many, nobody here can tell"
            ));
        }
        if words.is_empty() {
            words.push("nothing that was acknowledged".to_owned());
        }
        words.join("; ")
    }
}

/// A survivor, for whoever asked.
#[derive(Debug, Serialize)]
struct ShownSurvivor {
    folder: String,
    cluster: ClusterId,
    generation: Generation,
    replica: ReplicaId,
    voters: Vec<Vec<ReplicaId>>,
    term: Option<Term>,
    last: Option<EntryId>,
    kept: Option<EntryId>,
    flushed: Option<EntryId>,
    committed: Option<EntryId>,
    damage: Option<String>,
    lost_from: Option<EntryIndex>,
    lost_to: Option<EntryIndex>,
    logs: u64,
    records: u64,
    is_half_recovered: bool,
}

/// What would be done, or was.
#[derive(Debug, Serialize)]
struct Shown {
    dry_run: bool,
    survivors: Vec<ShownSurvivor>,
    /// The folder that is recovered.
    chosen: String,
    /// Without a recovery the group cannot go on.
    is_needed: bool,
    may_be_lost: String,
    /// Of what was recovered; in a rehearsal, of what is there.
    generation: Generation,
    next: String,
}

impl ShownSurvivor {
    fn of((folder, survivor): &(PathBuf, Survivor)) -> Self {
        let survivor = survivor.clone();
        Self {
            folder: folder.display().to_string(),
            cluster: survivor.cluster,
            generation: survivor.generation,
            replica: survivor.replica,
            voters: survivor.voters,
            term: survivor.term,
            last: survivor.last,
            kept: survivor.kept,
            flushed: survivor.flushed,
            committed: survivor.committed,
            damage: survivor.damage,
            lost_from: survivor.loss.map(|loss| loss.first),
            lost_to: survivor.loss.and_then(|loss| loss.last),
            logs: survivor.logs,
            records: survivor.records,
            is_half_recovered: survivor.is_half_recovered,
        }
    }

    fn add_to(&self, table: Table) -> Table {
        let or_none =
            |id: Option<EntryId>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let sets = self
            .voters
            .iter()
            .map(|set| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        let mut table = table
            .pair("folder", output::shown(&self.folder))
            .pair("cluster", format!("{}, generation {}", self.cluster, self.generation))
            .pair("replica", self.replica.to_string())
            .pair("voters", sets.collect::<Vec<_>>().join("; and "))
            .pair("term", self.term.map_or_else(|| "none".to_owned(), |term| term.to_string()))
            .pair("last entry", or_none(self.last))
            .pair("flushed", or_none(self.flushed))
            .pair("known committed", or_none(self.committed))
            .pair(
                "would keep",
                format!(
                    "entries up to {}: {} in {}",
                    or_none(self.kept),
                    output::counted(self.records, "record"),
                    output::counted(self.logs, "log"),
                ),
            );
        let known = self.committed.map_or(0, |committed| committed.index.get() + 1);
        let unconfirmed = self.kept.map_or(0, |kept| (kept.index.get() + 1).saturating_sub(known));
        if unconfirmed > 0 {
            let what = format!("{unconfirmed}: not known here whether they were ever acknowledged");
            table = table.pair("kept as well", what);
        }
        if let Some(damage) = &self.damage {
            table = table.pair("damage", damage);
        }
        if let Some(first) = self.lost_from {
            let last = self.lost_to.map_or_else(|| "the end".to_owned(), |last| last.to_string());
            table = table
                .pair("lost", format!("entries {first} to {last}: --accept-loss-from {first}"));
        }
        if self.is_half_recovered {
            table = table.pair("recovery", "begun, and to be repeated to its end");
        }
        table
    }
}

impl Shown {
    fn of(group: &Group<'_>, dry_run: bool, generation: Generation) -> Self {
        let (folder, chosen) = group.latest();
        let accepted = chosen.loss.map(|loss| loss.first);
        let is_needed = group.check_needed().is_ok();
        let next = if dry_run && !is_needed {
            "quorate serve --data FOLDER   # each of them: nothing need be recovered".to_owned()
        } else if dry_run {
            let folders: Vec<PathBuf> =
                group.all.iter().map(|(folder, _)| folder.clone()).collect();
            format!("{} --yes", command(&folders, accepted))
        } else {
            format!("quorate serve --data {}", output::shown(&folder.display().to_string()))
        };
        Self {
            dry_run,
            survivors: group.all.iter().map(ShownSurvivor::of).collect(),
            chosen: folder.display().to_string(),
            is_needed,
            may_be_lost: group.may_be_lost(),
            generation,
            next,
        }
    }

    fn table(&self) -> Table {
        let table = self.survivors.iter().fold(Table::pairs(), |table, it| it.add_to(table));
        let (verb, lost) = if self.dry_run {
            ("would recover", "may be lost")
        } else {
            ("recovered", "may have been lost")
        };
        let chosen = if self.is_needed { &self.chosen } else { "nothing" };
        let table = table.pair(verb, output::shown(chosen)).pair(lost, &self.may_be_lost);
        let table = if self.dry_run {
            table
        } else {
            table
                .pair("generation", self.generation.to_string())
                .pair("others", "come back with empty folders: quorate serve --data NEW --join URL")
        };
        table.pair("next", &self.next)
    }
}
