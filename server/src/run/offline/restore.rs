//! A backup made into a new cluster: a transfer whose source is a file.
//!
//! Records and hashes go ahead of the pointers, then the manifest is installed; positions, producers, keys and cursors
//! stay what they were. What belonged to the old group is replaced: its id, its members, its checkpoints. The new one
//! has one voter, replica 1; the others join it. The marker is written last, so a folder that was not finished is
//! refused by every start.
//!
//! ```text
//! folder prepared -> records, hashes of tiles -> manifest installed at entry F -> vote beyond F -> marker
//! ```
//!
//! Not here: whether the bytes are right (`examine`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use client::types::{ClusterId, Digest, LogId, ReplicaId};
use migrations::latest::backup::BackupHead;
use migrations::latest::manifest::Manifest;
use migrations::latest::values::{
    AppliedMembershipRow, FoundingRow, GenerationRow, MembershipRow, NodeRow,
};
use migrations::{Beginning, Generation, GroupId, Identity, Timings};

use super::examine::Found;
use super::{Chain, Done, OfflineError, Progress, Verified, flawed, read, shown};
use crate::config::Config;
use crate::machine::{Machine, MachineLimits, TileAddress};
use crate::run::open::state_options;
use crate::storage::StorageError;
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::journal::{Journal, JournalIdentity, JournalOptions, Opening, Vote};
use crate::storage::state::{State, StateManifest, Stretch};
use crate::world::World;

/// So many bytes of records are written together.
const WRITE_BYTES: usize = 8 << 20;
/// So many hashes are written together.
const TILES_MAX: usize = 16 * 1024;

/// A new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Its id.
    pub cluster: ClusterId,
    /// The one voter it has.
    pub replica: ReplicaId,
    /// The newest file of the chain.
    pub backup: Verified,
}

/// Makes the folder of the configuration the first replica of a new cluster that holds what these files do, the oldest
/// first. So many voters are expected: those who ask are admitted until there are as many. Refuses a folder that is not
/// empty.
pub fn restore(
    config: &Config,
    files: &[PathBuf],
    voters_expected: u8,
    progress: Progress<'_>,
) -> Result<Restored, OfflineError> {
    let mut done = Done::of(files, progress)?;
    let world = World::real();
    let prepared = migrations::prepare(&config.data)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let path = prepared.layout().state(GroupId::FIRST);
    let (state, _empty) = State::open(&disk, &path, state_options(config))?;
    let mut chain = Chain::default();
    let mut verified = Vec::new();
    for file in files {
        let mut writer = Writer::new(&state);
        let mut examiner = chain.next();
        read(file, &mut done, |bytes| {
            let taken = examiner.take(bytes, &mut |found| writer.keep(found));
            taken.map_err(|error| flawed(file, error))?;
            let base = examiner.head().and_then(|head| head.base).filter(|_| verified.is_empty());
            base.map_or(Ok(()), |base| {
                Err(OfflineError::NoBase { file: shown(file), base: base.entry.index })
            })
        })?;
        writer.flush()?;
        let found = examiner.finish();
        let found = found.map_err(|flaw| OfflineError::Flawed { file: shown(file), flaw })?;
        verified.push(chain.add(found));
    }
    let (Some(backup), Some((head, manifest))) = (verified.pop(), chain.into_newest()) else {
        return Err(OfflineError::Unfounded);
    };
    let fresh = Fresh::draw(config, &world, voters_expected);
    let founding = manifest.rows().founding.ok_or(OfflineError::Unfounded)?;
    let manifest = StateManifest::new(fresh.renewed(manifest.rows().clone(), &head, founding));
    check_whole(&state, &manifest)?;
    state.install(&manifest, &mut Machine::new(MachineLimits::default()))?;
    state.close();
    drop(state);
    let term = manifest.applied().term.get();
    vote_beyond(&disk, &prepared.layout().journal(GroupId::FIRST), config, &world, &fresh, term)?;
    let mut current = prepared.claim(fresh.identity(), beginning(&founding))?;
    current.note_journal()?;
    Ok(Restored { cluster: ClusterId::new(fresh.cluster), replica: ReplicaId::FIRST, backup })
}

/// Writes what is found ahead of the pointers, in large pieces.
struct Writer<'s> {
    state: &'s State,
    stretches: Vec<Stretch>,
    bytes: usize,
    tiles: Vec<(TileAddress, Digest)>,
}

impl<'s> Writer<'s> {
    const fn new(state: &'s State) -> Self {
        Self { state, stretches: Vec::new(), bytes: 0, tiles: Vec::new() }
    }

    fn keep(&mut self, found: Found) -> Result<(), StorageError> {
        match found {
            Found::Tiles(tiles) => self.tiles.extend(tiles),
            Found::Records(stretch) => {
                self.bytes += stretch.records.len();
                self.stretches.push(stretch);
            }
        }
        let is_enough = self.bytes >= WRITE_BYTES || self.tiles.len() >= TILES_MAX;
        if is_enough { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.state.write_tiles_ahead(&self.tiles)?;
        self.state.write_ahead(&self.stretches)?;
        self.tiles.clear();
        self.stretches.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// Whether every record that the manifest names is here.
fn check_whole(state: &State, manifest: &StateManifest) -> Result<(), OfflineError> {
    for (id, row) in &manifest.rows().logs {
        let log = LogId::new(*id);
        if let Some(gap) = state.gaps(log, row)?.first() {
            return Err(OfflineError::Incomplete { log, position: gap.from });
        }
    }
    Ok(())
}

/// Leads in no term that the old group had: whatever is proposed here comes after what was restored.
fn vote_beyond(
    disk: &Arc<dyn Disk>,
    folder: &std::path::Path,
    config: &Config,
    world: &World,
    fresh: &Fresh,
    term: u64,
) -> Result<(), OfflineError> {
    let identity = JournalIdentity { cluster: fresh.cluster, replica: ReplicaId::FIRST.get() };
    let options = JournalOptions {
        segment_bytes: config.journal.segment_bytes,
        ..JournalOptions::new(world.clock.clone(), world.chance.clone())
    };
    let failed = |error| OfflineError::Io { file: shown(folder), error };
    let journal = match Journal::open(Arc::clone(disk), folder, identity, options)? {
        Opening::Whole(journal) => journal,
        Opening::Damaged(damaged) => {
            return Err(failed(std::io::Error::other(damaged.to_string())));
        }
    };
    let (sender, saved) = channel();
    let vote = Vote { term: term + 1, leader: ReplicaId::FIRST.get(), committed: false };
    journal.save_vote(vote, Box::new(move |done| drop(sender.send(done))));
    let saved = saved.recv().unwrap_or_else(|gone| Err(std::io::Error::other(gone)));
    saved.map_err(failed)?;
    journal.close();
    Ok(())
}

/// What the new cluster does not take over from the old one.
struct Fresh {
    cluster: [u8; 16],
    generation: Generation,
    node: NodeRow,
    voters_expected: u8,
}

impl Fresh {
    fn draw(config: &Config, world: &World, voters_expected: u8) -> Self {
        let cluster = world.chance.next_id();
        let generation = Generation { number: 1, random: world.chance.next_u64() };
        let node = NodeRow {
            cluster,
            generation: row_of(generation),
            peer_addr: config.advertise_peer.to_string(),
            front_addr: config.advertise.to_string(),
            zone: config.zone.to_string(),
        };
        Self { cluster, generation, node, voters_expected }
    }

    const fn identity(&self) -> Identity {
        Identity {
            cluster: self.cluster,
            generation: self.generation,
            replica: Some(ReplicaId::FIRST.get()),
        }
    }

    /// The rows of the new cluster.
    fn renewed(&self, mut rows: Manifest, head: &BackupHead, founding: FoundingRow) -> Manifest {
        let first = ReplicaId::FIRST.get();
        rows.founding = Some(FoundingRow {
            cluster: self.cluster,
            generation: row_of(self.generation),
            expect_voters: self.voters_expected,
            ..founding
        });
        rows.membership = Some(AppliedMembershipRow {
            entry: rows.progress.applied,
            membership: MembershipRow {
                configs: vec![[first].into()],
                nodes: [(first, self.node.clone())].into(),
            },
        });
        rows.progress.next_replica = first + 1;
        rows.changes.clear();
        rows.admissions.clear();
        rows.checkpoints.clear();
        rows.logs.retain(|(log, _)| head.holds(*log));
        rows.producers.retain(|(log, ..)| head.holds(*log));
        rows.keys.retain(|(log, ..)| head.holds(*log));
        rows.cursors.retain(|(log, ..)| head.holds(*log));
        rows
    }
}

const fn row_of(generation: Generation) -> GenerationRow {
    GenerationRow { number: generation.number, random: generation.random }
}

const fn beginning(founding: &FoundingRow) -> Beginning {
    Beginning {
        timings: Timings {
            heartbeat_ms: founding.heartbeat_ms,
            election_min_ms: founding.election_min_ms,
            election_max_ms: founding.election_max_ms,
        },
        voters_expected: None,
    }
}
