//! Entering a data folder: going on with the replica that is there, founding the first one of a
//! group, or being admitted to one.
//!
//! A folder without a marker never becomes a replica by itself: somebody says `--bootstrap` or `--join`,
//! or asks the waiting process to found a cluster. The id is the group's to give; it is in the marker
//! before anything else is written.
//!
//! Not here: the marker's bytes (`migrations`), and who is admitted (`node`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::api::cluster::{Admission, BootstrapAnswer, JoinNonce, JoinRequest};
use client::api::error::{ErrorCode, Problem};
use client::types::{ClusterId, Generation, Incarnation, ReplicaAddr, ReplicaId};
use migrations::latest::GenerationRow;
use migrations::{Current, OpenError};
use tokio::sync::{mpsc, oneshot};

use super::RunError;
use crate::config::{Config, Start};
use crate::http::{BootstrapCall, Standing, WaitingFront};
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
    /// Who wants a group to be founded in this start.
    founder: Option<Founder>,
}

/// Somebody wants a group to be founded.
struct Founder {
    voters_expected: u32,
    /// Where the answer goes, if it was asked for by a request.
    answer: Mutex<Option<Answer>>,
}

type Answer = oneshot::Sender<Result<BootstrapAnswer, Box<Problem>>>;

impl Founder {
    fn by_command(voters_expected: u32) -> Self {
        Self { voters_expected, answer: Mutex::new(None) }
    }

    fn by_request(call: BootstrapCall) -> Self {
        let voters_expected = call.request.expect.unwrap_or(1);
        Self { voters_expected, answer: Mutex::new(Some(call.answer)) }
    }

    /// Tells whoever asked what came of it.
    fn tell(&self, founded: Result<Identity, &RunError>) {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(answer) = answer else { return };
        let told = match founded {
            Ok(Identity { cluster, generation, replica, .. }) => {
                Ok(BootstrapAnswer { cluster, generation, replica })
            }
            Err(error) => {
                Err(Box::new(Problem::new(ErrorCode::Internal).with_detail(error.to_string())))
            }
        };
        // Whoever asked may have gone away; the group is founded all the same.
        drop(answer.send(told));
    }
}

/// Goes into the folder as the start is meant; while it waits, `front` says what for.
pub(super) async fn enter(
    config: &Config,
    world: &World,
    front: &WaitingFront,
    calls: mpsc::Receiver<BootstrapCall>,
) -> Result<Entered, RunError> {
    let entered = match (migrations::open(&config.data), &config.start) {
        (Ok(current), Start::Bootstrap { voters_expected }) => {
            // Whether an earlier founding was finished shows when what it left is opened.
            Entered::new(current, None, Some(Founder::by_command(*voters_expected)))
        }
        (Ok(current), Start::Resume | Start::Join { .. }) => Entered::new(current, None, None),
        (Err(OpenError::Unmarked { .. }), start) => {
            // Better now than after hours of waiting.
            migrations::check_vacant(&config.data)?;
            begin(config, world, front, calls, start).await
        }
        (Err(error), _) => Err(error.into()),
    }?;
    let Identity { cluster, generation, replica, .. } = entered.identity;
    front.say(Standing::Opening { cluster, generation, replica });
    Ok(entered)
}

/// Makes a replica of an empty folder.
async fn begin(
    config: &Config,
    world: &World,
    front: &WaitingFront,
    calls: mpsc::Receiver<BootstrapCall>,
    start: &Start,
) -> Result<Entered, RunError> {
    match start {
        Start::Bootstrap { voters_expected } => {
            found(config, world, Founder::by_command(*voters_expected))
        }
        Start::Join { doors } => {
            drop(calls);
            front.say(Standing::Joining);
            join(config, world, doors).await
        }
        Start::Resume => {
            front.say(Standing::Unfounded);
            tracing::warn!(
                folder = %config.data.display(),
                "no replica here yet: waiting for POST /v1/cluster/bootstrap; \
                 or start with --bootstrap, or --join URL"
            );
            found(config, world, asked_to_found(calls).await)
        }
    }
}

/// Waits for the one request that founds a cluster here.
async fn asked_to_found(mut calls: mpsc::Receiver<BootstrapCall>) -> Founder {
    match calls.recv().await {
        Some(call) => Founder::by_request(call),
        None => std::future::pending().await,
    }
}

fn found(config: &Config, world: &World, founder: Founder) -> Result<Entered, RunError> {
    let generation = migrations::Generation { number: 1, random: world.chance.next_u64() };
    let identity = migrations::Identity {
        cluster: world.chance.next_id(),
        generation,
        replica: Some(ReplicaId::FIRST.get()),
    };
    match migrations::create(&config.data, identity) {
        Ok(current) => Entered::new(current, None, Some(founder)),
        Err(error) => {
            let error = error.into();
            founder.tell(Err(&error));
            Err(error)
        }
    }
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
    Entered::new(migrations::create(&config.data, identity)?, Some(admission), None)
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
        founder: Option<Founder>,
    ) -> Result<Self, RunError> {
        let identity = identity_of(&current)?;
        let starts = current
            .marker()
            .starts()
            .map(|start| Incarnation { start: start.number, random: start.random })
            .collect();
        let current = Arc::new(Mutex::new(current));
        Ok(Self { current, identity, starts, admission, founder })
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

    /// Refuses to found a group where one was founded; a founding that was interrupted goes on.
    pub(super) fn check_founding(&self, is_founded: bool) -> Result<(), RunError> {
        if self.founder.is_some() && (is_founded || self.identity.replica != ReplicaId::FIRST) {
            let folder = self.folder().display().to_string();
            return Err(RunError::AlreadyFounded { folder, replica: self.identity.replica });
        }
        Ok(())
    }

    /// The group's timings: as this replica founds it, or was told when it was admitted.
    pub(super) fn timings(&self, config: &Config) -> Option<Timings> {
        if self.founder.is_some() {
            let crate::config::Timings { heartbeat, election_min, election_max } = config.timings;
            return Some(Timings { heartbeat, election_min, election_max });
        }
        let told = self.admission.as_ref()?.timings;
        Some(Timings {
            heartbeat: Duration::from_millis(told.heartbeat_ms),
            election_min: Duration::from_millis(told.election_min_ms),
            election_max: Duration::from_millis(told.election_max_ms),
        })
    }

    /// What the group is to be founded with, if this start founds it.
    pub(super) fn founding(&self, config: &Config) -> Option<Founding> {
        let founder = self.founder.as_ref()?;
        Some(Founding {
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
            expect_voters: u8::try_from(founder.voters_expected).unwrap_or(u8::MAX),
        })
    }

    /// Tells whoever asked for the founding what came of it.
    pub(super) fn tell_founder(&self, founded: &Result<(), RunError>) {
        if let Some(founder) = &self.founder {
            founder.tell(founded.as_ref().map(|()| self.identity));
        }
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
        keys_max: group.keys_max,
        keys_per_log_max: group.keys_per_log_max,
        key_age_max: group.key_age_max,
        producer_idle_max: group.producer_idle_max,
        producer_idle_min: group.producer_idle_min,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    #[tokio::test]
    async fn who_founds_a_group_runs_with_the_timings_that_it_founds_it_with() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data").display().to_string();
        let layers = Layers::new().flag("data", "--data", data);
        let layers = layers.flag("timings.heartbeat", "--set", "33ms");
        let start = Start::Bootstrap { voters_expected: 1 };
        let config = Config::build(&layers, start).unwrap();
        let (world, metrics) = (World::for_test(1, 0), crate::metrics::Metrics::new());
        let (calls, called) = mpsc::channel(1);
        let front = WaitingFront::new(config.limits.http, metrics, &world, Some(calls));
        let entered = enter(&config, &world, &front, called).await.unwrap();
        let timings = entered.timings(&config).unwrap();
        assert_eq!(timings.heartbeat, Duration::from_millis(33));
        assert_eq!(entered.founding(&config).unwrap().timings.heartbeat, timings.heartbeat);
    }

    #[test]
    fn each_limit_of_the_group_is_founded_as_it_was_set() {
        let settings = [
            ("group.logs_max", "1"),
            ("group.producers_max", "2"),
            ("group.cursors_max", "3"),
            ("group.keys_max", "4"),
            ("group.keys_per_log_max", "5"),
            ("group.key_age_max", "6s"),
            ("group.producer_idle_max", "8s"),
            ("group.producer_idle_min", "7s"),
        ];
        let layers = settings
            .iter()
            .fold(Layers::new(), |layers, (key, value)| layers.flag(key, "--set", *value));
        let config = Config::build(&layers, Start::Resume).unwrap();
        let founded = MachineLimits {
            logs_max: 1,
            producers_max: 2,
            cursors_max: 3,
            keys_max: 4,
            keys_per_log_max: 5,
            key_age_max: Duration::from_secs(6),
            producer_idle_max: Duration::from_secs(8),
            producer_idle_min: Duration::from_secs(7),
        };
        assert_eq!(machine_limits(&config), founded);
    }
}
