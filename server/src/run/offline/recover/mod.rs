//! Recovery after the loss of a majority, or of an entry on every replica: the folder of one survivor becomes the first
//! replica of a new generation of its cluster.
//!
//! ```text
//! rehearsed in memory -> marker: new generation, half recovered -> whom it met is forgotten
//!   -> journal: cut at an accepted loss; vote, one-voter membership and founding of the generation, in a later term
//!   -> marker: recovered
//! ```
//!
//! The marker is the first step: whenever the process dies, the folder is that of the old group, or one that starts as
//! nobody until the same recovery was repeated to its end. Replicas of the old generation are refused by every message
//! from then on, and refuse this one; they come back as new replicas, with empty folders. What the machine knows (logs,
//! producers, keys, cursors, checkpoints, how many voters are expected) goes on as it was.
//!
//! Not here: what is left of a folder (`salvage`).

mod salvage;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use client::types::{ClusterId, EntryId, EntryIndex, Generation, ReplicaAddr, ReplicaId, Term};
use migrations::latest::GenerationRow;
use migrations::latest::values::{MembershipRow, NodeRow};
use migrations::{OpenError, Stopped};

pub use self::salvage::Loss;
use self::salvage::{Accept, Salvage, Salvaged, durably};
use crate::machine::{Author, EntryBody, Found, Founding, Log, OnBehalf, Payload, Proposal};
use crate::storage::StorageError;
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::journal::{Entry, JournalIdentity, JournalOptions, Vote};
use crate::storage::overlay::Overlay;
use crate::world::World;

/// Why a folder was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// The marker names no replica, or the group was never founded.
    #[error("no group was ever founded here: there is nothing to recover")]
    Unfounded,
    /// The replica is in no membership that it knows of.
    #[error("replica {0} is no member of its group, as far as it knows: recover another survivor")]
    NoMember(ReplicaId),
    /// Entries would be lost, and not these were named.
    #[error("{}", loss_in_words(.loss, *.named))]
    Loss {
        /// What would be lost.
        loss: Loss,
        /// What was named.
        named: Option<EntryIndex>,
    },
    /// A loss was accepted that there is not.
    #[error("nothing is damaged that is not flushed: entry {0} need not be given up")]
    NoLoss(EntryIndex),
    /// The state is lost: nobody here could give it anew.
    #[error(
        "the state is lost ({0}), and only other replicas can give it: recover another survivor, or restore a backup"
    )]
    StateLost(String),
    /// The state is not what the group certified.
    #[error(
        "the state here is not the one that the group certified: recover another survivor, or restore a backup"
    )]
    Quarantined,
    /// State and journal are not of one replica.
    #[error("{0}: recover another survivor, or restore a backup")]
    Unfit(String),
    /// Nothing of the journal is good.
    #[error("nothing of the journal is good before what is damaged: {0}")]
    NothingGood(String),
    /// The journal's files failed.
    #[error("the journal: {0}")]
    Journal(io::Error),
    /// Something else on the disk.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        error: io::Error,
    },
    /// The journal or the state.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn loss_in_words(loss: &Loss, named: Option<EntryIndex>) -> String {
    let last = loss.last.map_or_else(|| "the end".to_owned(), |last| format!("entry {last}"));
    let named = named.map_or_else(String::new, |named| format!(", not from {named}"));
    format!(
        "the journal is damaged from entry {} on{named}: everything to {last} would be lost",
        loss.first
    )
}

/// What a survivor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its generation.
    pub generation: Generation,
    /// Who it is.
    pub replica: ReplicaId,
    /// Who votes, as it knows: two sets while a change is under way.
    pub voters: Vec<Vec<ReplicaId>>,
    /// The latest term that it voted in.
    pub term: Option<Term>,
    /// The last entry, damaged ones included.
    pub last: Option<EntryId>,
    /// The last entry that would be left.
    pub kept: Option<EntryId>,
    /// The last entry whose effects are in the state.
    pub flushed: Option<EntryId>,
    /// The last entry that it knows to be committed.
    pub committed: Option<EntryId>,
    /// What is damaged in the journal, in words.
    pub damage: Option<String>,
    /// What would be lost of the journal.
    pub loss: Option<Loss>,
    /// Logs it would have.
    pub logs: u64,
    /// Records they would hold.
    pub records: u64,
    /// A recovery of it was begun and not finished.
    pub is_half_recovered: bool,
}

impl Survivor {
    /// How Raft compares who knows most: by the term of the last entry, then by its index.
    pub fn rank(&self) -> Option<(Term, EntryIndex)> {
        self.kept.map(|kept| (kept.term, kept.index))
    }
}

/// Where the recovered replica is found, if not where it was.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// By callers.
    pub front: Option<ReplicaAddr>,
    /// By other replicas.
    pub peer: Option<ReplicaAddr>,
}

/// A folder that is recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// What it held.
    pub survivor: Survivor,
    /// The generation that begins with it.
    pub generation: Generation,
}

/// What a folder holds, and what would be lost. Changes nothing.
pub fn survey(folder: &Path) -> Result<Survivor, RecoverError> {
    let stopped = migrations::open_stopped(folder)?;
    let at = Place::new(&stopped)?;
    let salvaged = at.salvage(Arc::new(Overlay::default()), Accept::Any)?;
    at.survivor(&salvaged)
}

/// Makes the folder the first replica of a new generation. The loss of damaged entries must be accepted by the index of
/// the first one that is not flushed; everything else refuses before anything is changed. If it was broken off, it is to
/// be repeated.
pub fn recover(
    folder: &Path,
    accepted: Option<EntryIndex>,
    addresses: &Addresses,
) -> Result<Recovered, RecoverError> {
    let mut stopped = migrations::open_stopped(folder)?;
    let at = Place::new(&stopped)?;
    let before = at.identity.generation;
    let drawn =
        migrations::Generation { number: before.number + 1, random: at.journal.chance.next_u64() };
    let generation = if at.is_half_recovered { before } else { drawn };
    let accept = Accept::From(accepted);
    // All of it, on a disk that forgets: what refuses has changed nothing.
    let rehearsed = at.salvage(Arc::new(Overlay::default()), accept)?;
    let survivor = at.survivor(&rehearsed)?;
    match accepted {
        // A repeated one has taken it before.
        Some(named) if survivor.loss.is_none() && !at.is_half_recovered => {
            return Err(RecoverError::NoLoss(named));
        }
        _ => {}
    }
    at.begin(rehearsed, generation, addresses)?;
    let generation = stopped.begin_recovery(generation)?;
    forget_the_others(folder)?;
    let salvaged = at.salvage(Arc::new(RealDisk), accept)?;
    at.begin(salvaged, generation, addresses)?;
    stopped.finish_recovery()?;
    let generation = Generation { number: generation.number, random: generation.random };
    Ok(Recovered { survivor, generation })
}

/// Whom it met is of another generation: nothing of it can be heard, and nothing is to be asked of it.
fn forget_the_others(folder: &Path) -> Result<(), RecoverError> {
    let failed = |error| RecoverError::Io { what: "cannot forget the old group", error };
    let met = folder.join("met");
    if RealDisk.exists(&met).map_err(failed)? {
        RealDisk.remove(&met).map_err(failed)?;
    }
    RealDisk.sync_dir(folder).map_err(failed)
}

/// A folder, and who lives there.
struct Place {
    layout: migrations::Layout,
    identity: migrations::Identity,
    replica: ReplicaId,
    is_half_recovered: bool,
    journal: JournalOptions,
}

impl Place {
    fn new(stopped: &Stopped) -> Result<Self, RecoverError> {
        let marker = stopped.marker();
        let replica = marker.identity.replica.and_then(ReplicaId::new);
        let world = World::real();
        Ok(Self {
            layout: stopped.layout().clone(),
            identity: marker.identity,
            replica: replica.ok_or(RecoverError::Unfounded)?,
            is_half_recovered: marker.is_half_recovered,
            journal: JournalOptions {
                must_exist: marker.has_journal,
                ..JournalOptions::new(world.clock, world.chance)
            },
        })
    }

    fn salvage(&self, disk: Arc<dyn Disk>, accept: Accept) -> Result<Salvaged, RecoverError> {
        Salvage {
            disk,
            layout: &self.layout,
            identity: JournalIdentity {
                cluster: self.identity.cluster,
                replica: self.replica.get(),
            },
            journal: self.journal.clone(),
            accept,
        }
        .run()
    }

    fn survivor(&self, salvaged: &Salvaged) -> Result<Survivor, RecoverError> {
        let Salvaged { found, loss, flushed, journal, state, machine } = salvaged;
        if state.is_diverged() {
            return Err(RecoverError::Quarantined);
        }
        let (Some(_), Some((_, membership))) = (machine.cluster(), machine.membership()) else {
            return Err(RecoverError::Unfounded);
        };
        if !membership.nodes.contains_key(&self.replica.get()) {
            return Err(RecoverError::NoMember(self.replica));
        }
        let set = |voters: &std::collections::BTreeSet<u64>| {
            voters.iter().filter_map(|id| ReplicaId::new(*id)).collect()
        };
        let views = machine.logs().map(Log::view);
        let counts = views.map(|view| view.tail.get() - view.trim.get());
        let (logs, records) = counts.fold((0, 0), |(logs, all), held| (logs + 1, all + held));
        let generation = self.identity.generation;
        Ok(Survivor {
            cluster: ClusterId::new(self.identity.cluster),
            generation: Generation { number: generation.number, random: generation.random },
            replica: self.replica,
            voters: membership.configs.iter().map(set).collect(),
            term: found.vote.map(|vote| Term::new(vote.term)),
            last: found.last,
            kept: journal.last(),
            flushed: *flushed,
            committed: found.committed,
            damage: found.damage.clone(),
            loss: *loss,
            logs,
            records,
            is_half_recovered: self.is_half_recovered,
        })
    }

    /// Appends what begins the generation, if it is not there yet, and closes everything. Durable when it returns.
    fn begin(
        &self,
        salvaged: Salvaged,
        generation: migrations::Generation,
        addresses: &Addresses,
    ) -> Result<(), RecoverError> {
        let Salvaged { found, journal, state, machine, .. } = salvaged;
        let generation = GenerationRow { number: generation.number, random: generation.random };
        let founding = *machine.cluster().ok_or(RecoverError::Unfounded)?;
        let (_, before) = machine.membership().ok_or(RecoverError::Unfounded)?;
        let membership = self.alone(before, generation, addresses)?;
        let mut bodies = Vec::new();
        if *before != membership {
            bodies.push(EntryBody::Membership(Payload::new(membership.to_bytes().into())));
        }
        if founding.generation != generation {
            let founding = Founding { generation, ..founding };
            let author = Author { by: "quorate recover".to_owned(), from: String::new() };
            let command = Found { stamp: machine.last_stamp(), founding };
            bodies.push(EntryBody::Command(OnBehalf { author, command }.encode()));
        }
        if !bodies.is_empty() {
            let last = journal.last();
            let voted = [found.vote, journal.vote()].into_iter().flatten().map(|vote| vote.term);
            let led = [found.last, last, found.committed].into_iter().flatten();
            let term = voted.chain(led.map(|id| id.term.get())).max().unwrap_or(0) + 1;
            let leader = self.replica.get();
            let next = last.map_or(0, |last| last.index.get() + 1);
            let entries = (next..).zip(bodies).map(|(index, body)| {
                let id = EntryId::new(Term::new(term), leader, EntryIndex::new(index));
                Entry { id, body }
            });
            let entries: Vec<Entry> = entries.collect();
            let vote = Vote { term, leader, committed: false };
            durably(|done| journal.save_vote(vote, done))?;
            durably(|done| journal.append(entries, done))?;
        }
        journal.close();
        state.close();
        Ok(())
    }

    /// A group of this replica alone.
    fn alone(
        &self,
        before: &MembershipRow,
        generation: GenerationRow,
        addresses: &Addresses,
    ) -> Result<MembershipRow, RecoverError> {
        let id = self.replica.get();
        let known = before.nodes.get(&id).ok_or(RecoverError::NoMember(self.replica))?;
        let or = |given: &Option<ReplicaAddr>, known: &String| {
            given.as_ref().map_or_else(|| known.clone(), ToString::to_string)
        };
        let node = NodeRow {
            generation,
            peer_addr: or(&addresses.peer, &known.peer_addr),
            front_addr: or(&addresses.front, &known.front_addr),
            ..known.clone()
        };
        Ok(MembershipRow { configs: vec![[id].into()], nodes: [(id, node)].into() })
    }
}
