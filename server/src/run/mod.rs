//! The composition root: opens, wires, serves, drains and stops one replica.
//!
//! This is the only file that knows the order, and it reads in that order: doors are bound before
//! anything is changed on disk; the folder is entered (resumed, founded or admitted); journal and
//! state are opened and must fit; agreement is built, which replays what is committed; then the
//! node, then both doors, then agreement runs. Stopping is the same list backwards: leadership is
//! handed on, doors are drained, agreement stops, the state is flushed, the journal is closed.
//!
//! Not here: logic of any kind.

mod error;
mod folder;
mod gauges;
pub mod measure;
mod open;
mod syncs;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use migrations::latest::NodeRow;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tower::ServiceExt as _;

pub use self::error::{RunError, RunErrorKind};
use self::folder::Entered;
use self::gauges::Gauges;
use self::open::Opened;
use crate::config::Config;
use crate::http::{Front, HttpOptions};
use crate::listen::{self, ListenOptions, Listening};
use crate::metrics::{Door, Metrics};
use crate::node::{self, Node, NodeOptions, NodeParts, Probes};
use crate::peer::forward::Forward;
use crate::peer::{self, Acquaintances, Desk, Detours, Http, Identity, Myself, Peers};
use crate::raft::{Parts, Raft, Timings};
use crate::storage::disk::{Disk as _, RealDisk};
use crate::telemetry;
use crate::world::World;

/// Descriptors kept for files, peers and everything that is no client.
const DESCRIPTORS_KEPT: u64 = 256;
/// How long founding a group may take: one voter, so one sync or two.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// A sync slower than this part of the heartbeat endangers the timings.
const SYNC_PART_OF_HEARTBEAT: u32 = 4;

/// Why a replica ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
}

/// Runs one replica until it is told to stop, or cannot go on.
pub async fn serve(config: Config) -> Result<Ended, RunError> {
    telemetry::start(&config.diagnostics)?;
    let world = World::real();
    let metrics = Metrics::new();
    let descriptors = listen::raise_descriptor_limit().saturating_sub(DESCRIPTORS_KEPT);
    let doors = Doors {
        clients: bind(config.listen)?,
        peers: bind(config.peer_listen)?,
        client_options: config.clients.clone().within_descriptors(descriptors),
        peer_options: config.peers.clone(),
    };
    let entered = folder::enter(&config, &world).await?;
    let broken = Broken::new();
    let opened = open::open(&config, &entered, &world, &metrics, &broken).await?;
    let running = Running::start(&config, entered, opened, &world, &metrics).await?;
    let result = running.until_ended(doors, &world, &metrics, &broken, &config).await;
    running.stop(&config).await;
    world.tasks.stop(config.clients.drain_max).await;
    result
}

/// Storage failed: whoever notices says so, and the process ends.
#[derive(Clone)]
pub(crate) struct Broken(Arc<watch::Sender<Option<String>>>);

impl Broken {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Tells why; the first reason stays.
    fn tell(&self, reason: &str) {
        self.0.send_if_modified(|told| {
            let is_first = told.is_none();
            told.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    async fn told(&self) -> String {
        let mut told = self.0.subscribe();
        match told.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Both listeners, bound and not yet served.
struct Doors {
    clients: TcpListener,
    peers: TcpListener,
    client_options: ListenOptions,
    peer_options: ListenOptions,
}

fn bind(address: std::net::SocketAddr) -> Result<TcpListener, RunError> {
    listen::bind(address).map_err(|error| RunError::Listen { address, error })
}

/// A replica whose parts are wired.
struct Running {
    entered: Entered,
    opened: Opened,
    raft: Raft,
    node: Node,
    peers: Peers,
    acquaintances: Acquaintances,
    identity: Identity,
}

impl Running {
    async fn start(
        config: &Config,
        entered: Entered,
        opened: Opened,
        world: &World,
        metrics: &Metrics,
    ) -> Result<Self, RunError> {
        let identity = entered.identity();
        let acquaintances = Acquaintances::open(opened.met_file(&entered))
            .map_err(|error| RunError::Io { what: "cannot read whom this replica met", error })?;
        let timings = opened.timings().or(entered.timings()).unwrap_or_default();
        warn_of_slow_disk(config, timings);
        let detours = Detours::new(config.rehearsal.detours.clone());
        let myself =
            Myself { identity, starts: entered.starts().into(), journal: opened.journal.clone() };
        let peers = Peers::new(
            Http::new(detours.clone(), world.clock.clone()),
            myself,
            timings,
            acquaintances.clone(),
            metrics.clone(),
            world.clock.clone(),
        );
        let raft = Raft::build(Parts {
            replica: identity.replica,
            timings,
            journal: opened.journal.clone(),
            machine: opened.machine.clone(),
            state: opened.state.clone(),
            network: peers.clone(),
            clock: world.clock.clone(),
        })
        .await?;
        let forward = Forward::new(identity.replica, detours)
            .map_err(|error| RunError::TaskEnded(error.to_string()))?;
        let node = Node::start(NodeParts {
            identity,
            front: config.advertise.clone(),
            raft: raft.clone(),
            state: opened.state.clone(),
            probes: Probes {
                founding: opened.founding(),
                disk_free: disk_free(&entered),
                sync_latency: opened.sync_latency(),
            },
            peers: peers.clone(),
            forward,
            world: world.clone(),
            metrics: metrics.clone(),
            options: node_options(config),
        });
        Ok(Self { entered, opened, raft, node, peers, acquaintances, identity })
    }

    /// Serves both doors, takes part in the agreement, and waits for the end.
    async fn until_ended(
        &self,
        doors: Doors,
        world: &World,
        metrics: &Metrics,
        broken: &Broken,
        config: &Config,
    ) -> Result<Ended, RunError> {
        let (client_address, peer_address) = (config.listen, config.peer_listen);
        let learning = self.peers.clone().learn_addresses(self.raft.membership());
        world.tasks.spawn("peer addresses", learning);
        world.tasks.spawn("gauges", self.gauges(world, metrics).run());
        let (mut front, mut back) = self.open_doors(doors, world, metrics);
        self.raft.run();
        let found = self.found_if_asked(config, world);
        let told = told_to_stop(config);
        tokio::pin!(found, told);
        tracing::info!(
            replica = %self.identity.replica,
            start = self.identity.incarnation.start,
            %client_address,
            %peer_address,
            "replica started"
        );
        let mut is_founding = true;
        let result = loop {
            tokio::select! {
                result = &mut found, if is_founding => {
                    is_founding = false;
                    if let Err(error) = result { break Err(error) }
                }
                () = &mut told => break Ok(Ended::Stopped),
                reason = broken.told() => break Err(RunError::Broken(reason)),
                reason = self.raft_stopped() => break Err(RunError::Broken(reason)),
                error = self.condemned() => break Err(error),
                name = world.tasks.failed() => break Err(RunError::TaskEnded(name.to_owned())),
            }
        };
        if result.is_ok() {
            tracing::info!("stopping");
            self.node.stop(config.clients.drain_max).await;
        }
        // Callers first; the others may still need to learn what this replica acknowledged.
        front.end().await;
        back.end().await;
        result
    }

    fn gauges(&self, world: &World, metrics: &Metrics) -> Gauges {
        Gauges {
            raft: self.raft.clone(),
            state: self.opened.state.clone(),
            state_file: self.entered.layout().state(migrations::GroupId::FIRST),
            metrics: metrics.clone(),
            clock: world.clock.clone(),
        }
    }

    fn open_doors(&self, doors: Doors, world: &World, metrics: &Metrics) -> (Served, Served) {
        let Doors { clients, peers, client_options, peer_options } = doors;
        let listening = |listener, door, options| Listening {
            listener,
            door,
            options,
            metrics: metrics.clone(),
            clock: world.clock.clone(),
        };
        let desk = Desk {
            identity: self.identity,
            acquaintances: self.acquaintances.clone(),
            raft: self.raft.clone(),
            metrics: metrics.clone(),
        };
        let options = HttpOptions::default();
        let front = Front::new(self.node.clone(), options, metrics.clone(), world.clone());
        let answer = move |request| {
            let front = front.clone();
            async move { front.answer(request).await }
        };
        let clients = listening(clients, Door::Clients, client_options);
        let front = Served::begin("client door", world, clients, answer);
        let peers = listening(peers, Door::Peers, peer_options);
        let router = peer::router(desk).into_service::<Body>();
        let answer = move |request| {
            let router = router.clone();
            async move { router.oneshot(request).await.unwrap_or_else(|never| match never {}) }
        };
        let back = Served::begin("peer door", world, peers, answer);
        (front, back)
    }

    /// The founding command, if this start bootstraps or an earlier one was interrupted in it.
    async fn found_if_asked(&self, config: &Config, world: &World) -> Result<(), RunError> {
        let Some(founding) = self.entered.founding(config) else { return Ok(()) };
        let myself = NodeRow {
            cluster: *self.identity.cluster.as_bytes(),
            generation: self.identity.generation_row(),
            peer_addr: config.advertise_peer.to_string(),
            front_addr: config.advertise.to_string(),
            zone: config.zone.clone(),
        };
        node::bootstrap(&self.raft, world, myself, founding, FOUND_WITHIN)
            .await
            .map_err(|error| RunError::NotFounded(error.to_string()))
    }

    async fn raft_stopped(&self) -> String {
        let mut leadership = self.raft.leadership();
        match leadership.wait_for(|leadership| leadership.stopped.is_some()).await {
            Ok(leadership) => leadership.stopped.clone().unwrap_or_default(),
            Err(_) => "agreement ended".to_owned(),
        }
    }

    /// A majority of the voters refuses this folder: it is a copy, or was rolled back.
    async fn condemned(&self) -> RunError {
        let mut condemned = self.peers.condemned();
        let membership = self.raft.membership();
        loop {
            let refusals = condemned.borrow_and_update().clone();
            let voters = membership.borrow().row.configs.last().cloned().unwrap_or_default();
            let against = refusals.iter().filter(|(id, _)| voters.contains(&id.get()));
            if 2 * against.clone().count() > voters.len()
                && let Some((replica, refusal)) = against.clone().next()
            {
                let (replica, refusal) = (*replica, *refusal);
                self.entered.condemn(&refusal.to_string());
                return RunError::Condemned { replica, refusal };
            }
            if condemned.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Everything in the opposite order of its start.
    async fn stop(self, config: &Config) {
        self.raft.shutdown().await;
        let (state, journal) = (self.opened.state.clone(), self.opened.journal.clone());
        let closed = crate::world::tasks::blocking(move || {
            // The marks of the journal come after all that the state still waits for.
            state.close();
            journal.close();
            Ok(())
        });
        if tokio::time::timeout(config.clients.drain_max, closed).await.is_err() {
            tracing::warn!("storage did not close in time; the next start makes up for it");
        }
    }
}

/// One door being served until it is told to close.
struct Served {
    close: watch::Sender<bool>,
    closed: watch::Receiver<bool>,
}

impl Served {
    fn begin<A, F>(name: &'static str, world: &World, listening: Listening, answer: A) -> Self
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (close, mut told) = watch::channel(false);
        let (ended, closed) = watch::channel(false);
        world.tasks.spawn_to_end(name, async move {
            let stop = async {
                // If nobody can tell any more, it is time as well.
                drop(told.wait_for(|is_told| *is_told).await);
            };
            let cut = listening.serve(answer, stop).await;
            tracing::debug!(door = name, cut, "door closed");
            ended.send_replace(true);
        });
        Self { close, closed }
    }

    /// Lets requests under way finish, as long as the door's options allow.
    async fn end(&mut self) {
        self.close.send_replace(true);
        drop(self.closed.wait_for(|is_closed| *is_closed).await);
    }
}

/// Terminated, interrupted, or nobody holds standard input any more, if that was asked for.
async fn told_to_stop(config: &Config) {
    let ends_with_stdin = config.rehearsal.ends_with_stdin;
    tokio::select! {
        () = signalled(SignalKind::terminate()) => {}
        () = signalled(SignalKind::interrupt()) => {}
        () = stdin_ended(), if ends_with_stdin => {}
    }
}

async fn signalled(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::warn!(%error, "cannot listen for a signal");
            std::future::pending::<()>().await;
        }
    }
}

async fn stdin_ended() {
    let mut bytes = [0; 64];
    let mut stdin = tokio::io::stdin();
    while stdin.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

/// Says so if syncs of this disk are too slow for the group's timings.
fn warn_of_slow_disk(config: &Config, timings: Timings) {
    match measure::sync_cost(&config.data) {
        Ok(cost) if cost.p99 * SYNC_PART_OF_HEARTBEAT > timings.heartbeat => tracing::warn!(
            sync_p50_us = cost.p50.as_micros(),
            sync_p99_us = cost.p99.as_micros(),
            heartbeat_ms = timings.heartbeat.as_millis(),
            "syncs of this disk are slow for the timings of the group: leaders may change"
        ),
        Ok(cost) => tracing::debug!(
            sync_p50_us = cost.p50.as_micros(),
            sync_p99_us = cost.p99.as_micros(),
            "disk measured"
        ),
        Err(error) => tracing::warn!(%error, "the disk could not be measured"),
    }
}

fn disk_free(entered: &Entered) -> Box<dyn Fn() -> io::Result<u64> + Send + Sync> {
    let folder = entered.folder();
    Box::new(move || RealDisk.free_bytes(&folder))
}

fn node_options(config: &Config) -> NodeOptions {
    let limits = &config.limits;
    NodeOptions {
        batch: limits.batch,
        append_bytes_max: limits.append_bytes_max,
        appends_max: limits.appends_max,
        read_records_max: limits.read_records_max,
        read_bytes_max: limits.read_bytes_max,
        wait_max: limits.wait_max,
        followers_max: limits.followers_max,
        disk_free_min: limits.disk_free_min,
        producer_idle_max: config.group.producer_idle_max,
        ..NodeOptions::default()
    }
}
