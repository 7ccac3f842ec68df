//! Entering a data folder: going on with the replica that is there, founding the first one of a
//! group, or being admitted to one.
//!
//! A folder without a marker never becomes a replica by itself. The id is the group's to give; it
//! is in the marker before anything else is written.
//!
//! Not here: the marker's bytes (`migrations`), and who is admitted (`node`).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::api::cluster::{Admission, JoinNonce, JoinRequest};
use client::types::{ClusterId, Generation, Incarnation, ReplicaAddr, ReplicaId};
use migrations::latest::GenerationRow;
use migrations::{Current, OpenError};

use super::RunError;
use crate::config::{Config, Start};
use crate::machine::{Founding, MachineLimits};
use crate::node;
use crate::peer::Identity;
use crate::raft::Timings;
use crate::world::World;

/// How long a process asks to be admitted before it gives up.
const JOIN_PATIENCE: Duration = Duration::from_hours(24);

/// A folder that is ours, with the start that this process is.
pub(super) struct Entered {
    current: Arc<Mutex<Current>>,
    identity: Identity,
    starts: Vec<Incarnation>,
    /// What the group said when it admitted this replica.
    admission: Option<Admission>,
    /// This start was told to found a group.
    is_founder: bool,
}

/// Goes into the folder as the start is meant.
pub(super) async fn enter(config: &Config, world: &World) -> Result<Entered, RunError> {
    match (migrations::open(&config.data), &config.start) {
        (Ok(current), Start::Bootstrap { .. }) if !is_unused(&current) => {
            let folder = config.data.display().to_string();
            Err(RunError::AlreadyFounded { folder, replica: identity_of(&current)?.replica })
        }
        (Ok(current), start) => {
            let is_founder = matches!(start, Start::Bootstrap { .. });
            Entered::new(current, None, is_founder)
        }
        (Err(OpenError::Unmarked { folder }), Start::Resume) => {
            Err(RunError::NothingThere { folder: folder.display().to_string() })
        }
        (Err(OpenError::Unmarked { .. }), Start::Bootstrap { .. }) => found(config, world),
        (Err(OpenError::Unmarked { .. }), Start::Join { doors }) => {
            join(config, world, doors).await
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// A founding that was interrupted before its first entry: nothing was ever written here.
fn is_unused(current: &Current) -> bool {
    let group = migrations::GroupId::FIRST;
    !current.layout().state(group).exists() && is_empty(&current.layout().journal(group))
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

fn found(config: &Config, world: &World) -> Result<Entered, RunError> {
    let generation = migrations::Generation { number: 1, random: world.chance.next_u64() };
    let identity = migrations::Identity {
        cluster: world.chance.next_id(),
        generation,
        replica: Some(ReplicaId::FIRST.get()),
    };
    Entered::new(migrations::create(&config.data, identity)?, None, true)
}

async fn join(config: &Config, world: &World, doors: &[ReplicaAddr]) -> Result<Entered, RunError> {
    let request = JoinRequest {
        nonce: JoinNonce::new(world.chance.next_u128()),
        addr: config.advertise.clone(),
        peer_addr: config.advertise_peer.clone(),
        zone: config.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: None,
        free_bytes: None,
    };
    tracing::info!(members = ?doors, "asking to be admitted");
    let admission = node::ask_to_join(world, doors, &request, JOIN_PATIENCE)
        .await
        .map_err(|error| RunError::NotAdmitted(error.to_string()))?;
    let identity = migrations::Identity {
        cluster: *admission.cluster.as_bytes(),
        generation: migrations::Generation {
            number: admission.generation.number,
            random: admission.generation.random,
        },
        replica: Some(admission.replica.get()),
    };
    Entered::new(migrations::create(&config.data, identity)?, Some(admission), false)
}

fn identity_of(current: &Current) -> Result<Identity, RunError> {
    let marker = current.identity();
    let replica = marker.replica.and_then(ReplicaId::new).ok_or(RunError::NoReplicaId)?;
    let start = current.start();
    Ok(Identity {
        cluster: ClusterId::new(marker.cluster),
        generation: Generation {
            number: marker.generation.number,
            random: marker.generation.random,
        },
        replica,
        incarnation: Incarnation { start: start.number, random: start.random },
    })
}

impl Entered {
    fn new(
        current: Current,
        admission: Option<Admission>,
        is_founder: bool,
    ) -> Result<Self, RunError> {
        let identity = identity_of(&current)?;
        let starts = current
            .marker()
            .starts()
            .map(|start| Incarnation { start: start.number, random: start.random })
            .collect();
        let current = Arc::new(Mutex::new(current));
        Ok(Self { current, identity, starts, admission, is_founder })
    }

    /// Who this replica is, in this start.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Every start of this folder that is remembered, this one last.
    pub(super) fn starts(&self) -> Vec<Incarnation> {
        self.starts.clone()
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> std::path::PathBuf {
        self.layout().dir().to_owned()
    }

    /// Where things lie.
    pub(super) fn layout(&self) -> migrations::Layout {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.layout().clone()
    }

    /// The group's timings, as this replica was told when it was admitted.
    pub(super) fn timings(&self) -> Option<Timings> {
        let told = self.admission.as_ref()?.timings;
        Some(Timings {
            heartbeat: Duration::from_millis(told.heartbeat_ms),
            election_min: Duration::from_millis(told.election_min_ms),
            election_max: Duration::from_millis(told.election_max_ms),
        })
    }

    /// What the group is to be founded with, if this start founds it.
    pub(super) fn founding(&self, config: &Config) -> Option<Founding> {
        let Start::Bootstrap { voters_expected } = config.start else { return None };
        self.is_founder.then(|| Founding {
            cluster: self.identity.cluster,
            generation: GenerationRow {
                number: self.identity.generation.number,
                random: self.identity.generation.random,
            },
            timings: crate::machine::Timings {
                heartbeat: config.timings.heartbeat,
                election_min: config.timings.election_min,
                election_max: config.timings.election_max,
            },
            limits: machine_limits(config),
            expect_voters: u8::try_from(voters_expected).unwrap_or(u8::MAX),
        })
    }

    /// Marks the folder for good: it must not run again.
    pub(super) fn condemn(&self, reason: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = current.mark_removed(reason) {
            tracing::error!(%error, "the folder could not be marked");
        }
    }
}

fn machine_limits(config: &Config) -> MachineLimits {
    let group = &config.group;
    MachineLimits {
        logs_max: group.logs_max,
        producers_max: group.producers_max,
        cursors_max: group.cursors_max,
        keys_per_log_max: group.keys_max,
        key_age_max: group.key_age_max,
        ..MachineLimits::default()
    }
}
