//! Entering a data folder: going on with the replica that is there, founding the first one of a
//! group, or being admitted to one.
//!
//! A folder without a marker never becomes a replica by itself: somebody says `--bootstrap` or `--join`,
//! or asks the waiting process to found a cluster. The id is the group's to give; it is in the marker
//! before anything else is written.
//!
//! Not here: the marker's bytes (`migrations`), and who is admitted (`node`).

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::api::cluster::{BootstrapAnswer, JoinFolder, JoinNonce, JoinRequest};
use client::api::error::{ErrorCode, Problem};
use client::types::{ClusterId, Generation, Incarnation, ReplicaAddr, ReplicaId};
use migrations::latest::GenerationRow;
use migrations::{Beginning, Current, OpenError};
use tokio::sync::{mpsc, oneshot};

use super::RunError;
use crate::config::{Config, Start};
use crate::http::{BootstrapCall, Standing, WaitingFront};
use crate::machine::{Founding, MACHINE_VERSION, MachineLimits};
use crate::node;
use crate::peer::Identity;
use crate::raft::Timings;
use crate::storage::disk::{Disk as _, RealDisk};
use crate::world::{World, tasks};

/// How long a process asks to be admitted before it gives up.
const JOIN_PATIENCE: Duration = Duration::from_hours(24);

/// A folder that is ours, with the start that this process is.
pub(super) struct Entered {
    current: Arc<Mutex<Current>>,
    identity: Identity,
    starts: Vec<Incarnation>,
    /// How it began.
    beginning: Beginning,
    has_journal: bool,
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

/// Goes into the folder as the start is meant; while it waits, `front` says what for. While a process asks to be
/// admitted, who comes to its other door is `turned_away`.
pub(super) async fn enter(
    config: &Config,
    world: &World,
    front: &WaitingFront,
    calls: mpsc::Receiver<BootstrapCall>,
    turned_away: impl Future<Output = Infallible>,
) -> Result<Entered, RunError> {
    let entered = match (migrations::open(&config.data), &config.start) {
        (Ok(current), Start::Bootstrap { voters_expected }) => {
            // Taken up again if it was interrupted; nobody else's folder founds a group.
            if current.marker().founding().is_none() {
                let folder = config.data.display().to_string();
                let replica = identity_of(&current)?.replica;
                return Err(RunError::AlreadyFounded { folder, replica });
            }
            Entered::new(current, Some(Founder::by_command(*voters_expected)))
        }
        (Ok(current), Start::Resume | Start::Join { .. }) => {
            let founder = current.marker().founding().map(Founder::by_command);
            Entered::new(current, founder)
        }
        (Err(OpenError::Unmarked { .. }), start) => {
            // Better now than after hours of waiting.
            migrations::check_vacant(&config.data)?;
            begin(config, world, front, calls, turned_away, start).await
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
    turned_away: impl Future<Output = Infallible>,
    start: &Start,
) -> Result<Entered, RunError> {
    match start {
        Start::Bootstrap { voters_expected } => {
            found(config, world, Founder::by_command(*voters_expected))
        }
        Start::Join { doors, as_learner } => {
            drop(calls);
            front.say(Standing::Joining);
            tokio::select! {
                entered = join(config, world, doors, *as_learner) => entered,
                never = turned_away => match never {},
            }
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
    let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let timings = migrations::Timings {
        heartbeat_ms: millis(config.timings.heartbeat),
        election_min_ms: millis(config.timings.election_min),
        election_max_ms: millis(config.timings.election_max),
    };
    let beginning = Beginning { timings, voters_expected: Some(founder.voters_expected) };
    match migrations::create(&config.data, identity, beginning) {
        Ok(current) => Entered::new(current, Some(founder)),
        Err(error) => {
            let error = error.into();
            founder.tell(Err(&error));
            Err(error)
        }
    }
}

async fn join(
    config: &Config,
    world: &World,
    doors: &[ReplicaAddr],
    as_learner: bool,
) -> Result<Entered, RunError> {
    let nonce = JoinNonce::new(world.chance.next_u128());
    let (addr, peer_addr) = (config.advertise.clone(), config.advertise_peer.clone());
    let request = JoinRequest {
        zone: config.zone.clone(),
        as_learner,
        machine_version: Some(MACHINE_VERSION),
        format_version: Some(migrations::FORMAT_VERSION),
        ..JoinRequest::new(nonce, addr, peer_addr, env!("CARGO_PKG_VERSION"))
    };
    tracing::info!(members = ?doors, "asking to be admitted");
    let look = async |request: &mut JoinRequest| {
        let folder = config.data.clone();
        let looked = tasks::blocking(move || Ok((free_bytes(&folder), found_in(&folder)))).await;
        if let Ok((free_bytes, folder)) = looked {
            (request.free_bytes, request.folder) = (free_bytes, Some(folder));
        }
    };
    let admission = node::ask_to_join(world, doors, request, look, JOIN_PATIENCE)
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
    let millis = |told: u64| u32::try_from(told).unwrap_or(u32::MAX);
    let timings = migrations::Timings {
        heartbeat_ms: millis(admission.timings.heartbeat_ms),
        election_min_ms: millis(admission.timings.election_min_ms),
        election_max_ms: millis(admission.timings.election_max_ms),
    };
    let beginning = Beginning { timings, voters_expected: None };
    Entered::new(migrations::create(&config.data, identity, beginning)?, None)
}

/// Free bytes where a folder is, or will be.
fn free_bytes(folder: &Path) -> Option<u64> {
    let folder = std::path::absolute(folder).ok()?;
    let there = folder.ancestors().find(|folder| folder.exists())?;
    RealDisk.free_bytes(there).ok()
}

/// What lies in the folder of a process that waits: it was vacant when it began to.
fn found_in(folder: &Path) -> JoinFolder {
    if migrations::check_vacant(folder).is_ok() {
        return JoinFolder::Empty;
    }
    match migrations::owner(folder) {
        Ok(owner) => JoinFolder::Replica {
            cluster: ClusterId::new(owner.cluster),
            replica: owner.replica.and_then(ReplicaId::new),
        },
        Err(_) => JoinFolder::Foreign,
    }
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
    fn new(current: Current, founder: Option<Founder>) -> Result<Self, RunError> {
        let (beginning, has_journal) = (current.marker().beginning, current.marker().has_journal);
        let identity = identity_of(&current)?;
        let starts = current
            .marker()
            .starts()
            .map(|start| Incarnation { start: start.number, random: start.random })
            .collect();
        let current = Arc::new(Mutex::new(current));
        Ok(Self { current, identity, starts, beginning, has_journal, founder })
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

    /// The group's timings, as it is founded with or as this replica was told when it was admitted:
    /// what holds until the state tells.
    pub(super) fn timings(&self) -> Timings {
        let told = self.beginning.timings;
        let time = |millis: u32| Duration::from_millis(u64::from(millis));
        Timings {
            heartbeat: time(told.heartbeat_ms),
            election_min: time(told.election_min_ms),
            election_max: time(told.election_max_ms),
        }
    }

    /// Whether a journal was begun here before this start.
    pub(super) fn has_journal(&self) -> bool {
        self.has_journal
    }

    /// Notes that the journal was begun, before anything is said that it must remember.
    pub(super) async fn note_journal(&self) -> Result<(), RunError> {
        self.note(Current::note_journal).await
    }

    /// Notes that the group was founded.
    pub(super) async fn note_founded(&self) -> Result<(), RunError> {
        self.note(Current::note_founded).await
    }

    async fn note(
        &self,
        note: impl FnOnce(&mut Current) -> Result<(), OpenError> + Send + 'static,
    ) -> Result<(), RunError> {
        let current = self.current.clone();
        let noted = tasks::blocking(move || {
            Ok(note(&mut current.lock().unwrap_or_else(PoisonError::into_inner)))
        });
        noted.await.map_err(|error| RunError::Io { what: "cannot write the marker", error })??;
        Ok(())
    }

    /// What the group is to be founded with, if this start founds it or goes on with that.
    pub(super) fn founding(&self, config: &Config) -> Option<Founding> {
        let founder = self.founder.as_ref()?;
        let Timings { heartbeat, election_min, election_max } = self.timings();
        Some(Founding {
            cluster: self.identity.cluster,
            generation: GenerationRow {
                number: self.identity.generation.number,
                random: self.identity.generation.random,
            },
            timings: crate::machine::Timings { heartbeat, election_min, election_max },
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
    use crate::http::HttpOptions;

    #[tokio::test]
    async fn the_timings_and_an_unfinished_founding_are_known_before_any_state_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data").display().to_string();
        let config = |heartbeat: &str, start| {
            let layers = Layers::new().flag("data", "--data", &folder);
            Config::build(&layers.flag("timings.heartbeat", "--set", heartbeat), start).unwrap()
        };
        let world = World::real();
        let entered = async |config: Config| {
            let (_sender, calls) = mpsc::channel(1);
            let metrics = crate::metrics::Metrics::new();
            let front = WaitingFront::new(HttpOptions::default(), metrics, &world, None);
            enter(&config, &world, &front, calls, std::future::pending()).await.unwrap()
        };
        let first = entered(config("90ms", Start::Bootstrap { voters_expected: 3 })).await;
        assert_eq!(first.timings().heartbeat, Duration::from_millis(90));
        drop(first);
        // Another configuration does not change what the group is founded with.
        let other = config("70ms", Start::Resume);
        let again = entered(other.clone()).await;
        assert_eq!(again.timings().heartbeat, Duration::from_millis(90));
        let founding = again.founding(&other).expect("it was not finished");
        assert_eq!(founding.timings.heartbeat, Duration::from_millis(90));
        assert_eq!(founding.expect_voters, 3);
        again.note_founded().await.unwrap();
        drop(again);
        assert_eq!(entered(other.clone()).await.founding(&other), None);
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
