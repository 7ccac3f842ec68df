//! The composition root: opens, wires, serves, drains and stops one replica.
//!
//! This is the only file that knows the order, and it reads in that order: doors are bound before
//! anything is changed on disk, and the client door says from then on what is waited for; the folder
//! is entered (resumed, founded or admitted); journal and state are opened, repaired and must fit; agreement is
//! built, which replays what is committed; then the node, to which the client door is given, then the
//! peer door, then agreement runs. Stopping is the same list backwards: leadership is handed on, doors
//! are drained, agreement stops, the state is flushed, the journal is closed. Told to stop before
//! there is a node, a process just ends: nobody depends on it yet.
//!
//! Not here: logic of any kind.

mod doors;
mod early;
mod entry_repair;
mod error;
mod folder;
mod gauges;
pub mod measure;
mod mend;
pub mod offline;
mod open;
mod refill;
mod syncs;
mod verification;

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use migrations::latest::NodeRow;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::doors::{ClientDoor, PeerDoor, bind};
use self::early::Early;
pub use self::error::{RunError, RunErrorKind, folder_kind};
use self::folder::Entered;
use self::gauges::Gauges;
use self::open::Opened;
use crate::config::Config;
use crate::http::{Front, WaitingFront};
use crate::listen::{self, Descriptors, ListenOptions, Listening};
use crate::metrics::{Door, Metrics};
use crate::node::{self, Node, NodeOptions, NodeParts, Probes};
use crate::peer::forward::Forward;
use crate::peer::{self, Desk, Identity, Peers, Refusal, Transfers};
use crate::raft::{Parts, Raft, Timings};
use crate::storage::disk::{Disk as _, RealDisk};
use crate::storage::journal::Journal;
use crate::telemetry;
use crate::world::World;

/// How long founding a group may take: one voter, so one sync or two.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// A write of the journal that takes longer does not end: the disk is given up, and the process with it.
const SYNC_MAX: Duration = Duration::from_secs(20);
/// A sync slower than this part of the heartbeat endangers the timings.
const SYNC_PART_OF_HEARTBEAT: u32 = 4;

/// Why a replica ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
}

/// How a replica leaves that is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Leadership is handed on, and requests under way are finished.
    InOrder,
    /// As if its process were killed: nothing is handed on, and what is under way is cut.
    AtOnce,
}

/// The two listeners of a replica.
#[derive(Debug)]
pub struct Bound {
    clients: TcpListener,
    peers: TcpListener,
}

impl Bound {
    fn bind(config: &Config, callers: &Handle) -> Result<Self, RunError> {
        let clients = {
            let _bound_there = callers.enter();
            bind(config.listen)?
        };
        Ok(Self { clients, peers: bind(config.peer_listen)? })
    }

    /// Listeners that somebody else has bound, to the addresses that the settings name.
    pub fn given(
        clients: StdTcpListener,
        peers: StdTcpListener,
        callers: &Handle,
    ) -> io::Result<Self> {
        for listener in [&clients, &peers] {
            listener.set_nonblocking(true)?;
        }
        let clients = {
            let _bound_there = callers.enter();
            TcpListener::from_std(clients)?
        };
        Ok(Self { clients, peers: TcpListener::from_std(peers)? })
    }
}

/// Runs one replica until a signal tells it to stop, or it cannot go on. The process is its own: its diagnostics go to
/// standard error.
///
/// Callers are served on the threads of `callers`. What the group waits for (heartbeats, entries, votes) then never
/// waits in a queue behind ten thousand of them: it has threads that sleep most of the time, and the system lets those
/// run first.
pub async fn serve(config: Config, callers: &Handle) -> Result<Ended, RunError> {
    telemetry::start(&config.diagnostics)?;
    let bound = Bound::bind(&config, callers)?;
    let ends_with_stdin = config.rehearsal.ends_with_stdin;
    let told = async move {
        told_to_stop(ends_with_stdin).await;
        Leaving::InOrder
    };
    Box::pin(serve_bound(config, bound, callers, told)).await
}

/// Runs one replica, of which a process may hold several, until `told` says how it leaves, or until it cannot go on. Where
/// its diagnostics go, and which signals mean what, is the process's affair; of a panic the process is not told either.
pub async fn serve_bound(
    config: Config,
    bound: Bound,
    callers: &Handle,
    told: impl Future<Output = Leaving> + Send,
) -> Result<Ended, RunError> {
    let mut world = World::real();
    world.callers = world.tasks.on(callers.clone());
    let metrics = Metrics::new();
    let descriptors = Descriptors::of(listen::raise_descriptor_limit());
    let clients = config.clients.clone().within_descriptors(descriptors.clients);
    let Bound { clients: listener, peers } = bound;
    let clients = listening(&world, &metrics, Door::Clients, listener, clients);
    let limits = config.peers.clone().within_descriptors(descriptors.peers);
    // They come from few addresses, and one may have all.
    let connections_per_address_max = limits.connections_max;
    let limits = ListenOptions { connections_per_address_max, ..limits };
    let peers = listening(&world, &metrics, Door::Peers, peers, limits);
    let peers = PeerDoor::new(&world.tasks, peers);
    let options = config.limits.http;
    let (founding, asked_to_found) = mpsc::channel(1);
    let waiting = WaitingFront::new(options, metrics.clone(), &world, Some(founding));
    let mut front = ClientDoor::open(&world.callers, clients, waiting.clone());
    let broken = Broken::new();
    let starting = async {
        let turned_away = peers.turn_away();
        let entered = folder::enter(&config, &world, &waiting, asked_to_found, turned_away).await?;
        let mut early = Early::new(&config, &entered, &world, &metrics, waiting.clone(), peers)?;
        let opened = open::open(&config, &entered, &world, &metrics, &broken, &mut early).await?;
        let running =
            Running::start(&config, entered, opened, &early, &world, &metrics, descriptors);
        Ok((running.await?, early.door))
    };
    let mut told = Box::pin(told);
    let started = tokio::select! {
        result = Box::pin(starting) => result.map(Some),
        _ = &mut told => Ok(None),
    };
    let mut drain_max = config.clients.drain_max;
    let result = match started {
        Ok(Some((running, peers))) => {
            front.serve(Front::new(running.node.clone(), options, metrics.clone(), world.clone()));
            let doors = Doors { front, peers, told };
            let result = running.until_ended(&config, &world, &metrics, &broken, doors).await;
            running.stop(&config).await;
            if matches!(result, Ok(Leaving::AtOnce)) {
                drain_max = Duration::ZERO;
            }
            result.map(|_| Ended::Stopped)
        }
        nobody => {
            tracing::info!("stopping before anything was served");
            front.end().await;
            nobody.map(|_| Ended::Stopped)
        }
    };
    world.tasks.stop(drain_max).await;
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

fn listening(
    world: &World,
    metrics: &Metrics,
    door: Door,
    listener: TcpListener,
    options: ListenOptions,
) -> Listening {
    Listening { listener, door, options, metrics: metrics.clone(), clock: world.clock.clone() }
}

/// Where others come in, and how this process is told to leave.
struct Doors<T> {
    front: ClientDoor,
    peers: PeerDoor,
    told: T,
}

/// A replica whose parts are wired.
struct Running {
    entered: Entered,
    opened: Opened,
    raft: Raft,
    node: Node,
    peers: Peers,
    identity: Identity,
}

impl Running {
    async fn start(
        config: &Config,
        entered: Entered,
        opened: Opened,
        early: &Early,
        world: &World,
        metrics: &Metrics,
        descriptors: Descriptors,
    ) -> Result<Self, RunError> {
        let identity = entered.identity();
        let timings = opened.timings().unwrap_or(entered.timings());
        warn_of_slow_disk(config, timings);
        let peers = early.peers(opened.journal.clone().into(), Some(timings));
        let raft = Raft::build(Parts {
            replica: identity.replica,
            timings,
            journal: opened.journal.clone(),
            machine: opened.machine.clone(),
            state: opened.state.clone(),
            network: peers.clone(),
            lost: opened.lost.clone(),
            clock: world.clock.clone(),
        })
        .await?;
        let forward = Forward::new(identity.replica, early.detours(), descriptors.forwarded)
            .map_err(|error| RunError::TaskEnded(error.to_string()))?;
        let node = Node::start(NodeParts {
            identity,
            front: config.advertise.clone(),
            raft: raft.clone(),
            state: opened.state.clone(),
            journal: opened.journal.clone(),
            probes: Probes {
                founding: opened.founding(),
                disk_free: disk_free(&entered),
                sync_latency: opened.sync_latency(),
                slow_for: opened.slow_for(),
                damaged_entries: opened.damaged_entries(),
                digest: opened.digest(),
                membership_changes: opened.membership_changes(),
                checkpoints: opened.checkpoints(),
            },
            peers: peers.clone(),
            forward,
            world: world.clone(),
            metrics: metrics.clone(),
            damages: opened.damages.clone(),
            options: node_options(config),
            settings: config.told.clone(),
        });
        Ok(Self { entered, opened, raft, node, peers, identity })
    }

    /// Opens the peer door, takes part in the agreement, and waits for the end.
    async fn until_ended(
        &self,
        config: &Config,
        world: &World,
        metrics: &Metrics,
        broken: &Broken,
        doors: Doors<impl Future<Output = Leaving> + Unpin>,
    ) -> Result<Leaving, RunError> {
        let (client_address, peer_address) = (config.listen, config.peer_listen);
        let Doors { mut front, mut peers, mut told } = doors;
        let learning = self.peers.clone().learn_addresses(self.raft.membership());
        world.tasks.spawn("peer addresses", learning);
        world.tasks.spawn("introductions", self.peers.introduce_to(&self.opened.membership()));
        world.tasks.spawn("gauges", self.gauges(world, metrics).run());
        let verification = self.opened.verification(metrics, world);
        world.tasks.spawn("journal verification", verification.run());
        let looking = self.peers.clone().look_for_farewell(self.raft.clone());
        world.tasks.spawn("farewell", looking);
        let repair = self.opened.entry_repair(&self.peers, metrics, world);
        world.tasks.spawn("journal repair", repair.run());
        let watchdog = end_with_a_dead_disk(self.opened.journal.clone(), world, broken);
        world.tasks.spawn("disk watchdog", watchdog);
        peers.serve(self.peer_routes(config, world, metrics));
        self.raft.run();
        let found = self.found_if_asked(config, world);
        tokio::pin!(found);
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
                leaving = &mut told => break Ok(leaving),
                reason = broken.told() => break Err(RunError::Broken(reason)),
                reason = self.raft_stopped() => break Err(RunError::Broken(reason)),
                error = self.condemned() => break Err(error),
                name = world.tasks.failed() => break Err(RunError::TaskEnded(name.to_owned())),
            }
        };
        if matches!(result, Ok(Leaving::AtOnce)) {
            // The doors close, and whoever is still inside is cut off when the tasks end.
            return result;
        }
        if matches!(result, Ok(Leaving::InOrder) | Err(RunError::Condemned { .. })) {
            tracing::info!("stopping");
            self.node.stop(config.clients.drain_max).await;
        }
        // Callers first; the others may still need to learn what this replica acknowledged.
        front.end().await;
        peers.end().await;
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

    fn peer_routes(&self, config: &Config, world: &World, metrics: &Metrics) -> Router {
        let transfers = Transfers::new(
            self.peers.clone(),
            self.raft.clone(),
            self.opened.state.clone(),
            metrics.clone(),
            world.clock.clone(),
        );
        self.peers.board().set_default_pace(config.state.transfer_bytes_per_second);
        let desk = Desk::new(
            self.peers.clone(),
            self.raft.clone(),
            self.opened.state.clone(),
            transfers,
            self.opened.is_removed(self.raft.membership()),
            metrics.clone(),
        );
        peer::router(desk)
    }

    /// The founding command, unless it is known to be done or another's to give; whoever asked for it is
    /// told.
    async fn found_if_asked(&self, config: &Config, world: &World) -> Result<(), RunError> {
        let Some(founding) = self.entered.founding(config) else { return Ok(()) };
        let myself = NodeRow {
            cluster: *self.identity.cluster.as_bytes(),
            generation: self.identity.generation_row(),
            peer_addr: config.advertise_peer.to_string(),
            front_addr: config.advertise.to_string(),
            zone: config.zone.to_string(),
        };
        let founded = tokio::select! {
            // It was founded before, and only the marker does not say so yet.
            () = self.founded() => Ok(()),
            founded = node::bootstrap(&self.raft, world, myself, founding, FOUND_WITHIN) => {
                founded.map_err(|error| RunError::NotFounded(error.to_string()))
            }
        };
        let founded = match founded {
            Ok(()) => self.entered.note_founded().await,
            Err(error) => Err(error),
        };
        self.entered.tell_founder(&founded);
        founded
    }

    /// Waits until the founding command was applied here.
    async fn founded(&self) {
        let (mut applied, founding) = (self.raft.applied(), self.opened.founding());
        while founding().is_none() {
            if applied.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn raft_stopped(&self) -> String {
        let mut leadership = self.raft.leadership();
        match leadership.wait_for(|leadership| leadership.stopped.is_some()).await {
            Ok(leadership) => leadership.stopped.clone().unwrap_or_default(),
            Err(_) => "agreement ended".to_owned(),
        }
    }

    /// A majority of the voters refuses this folder: it is a copy, or was rolled back. Or anybody says that it was
    /// removed.
    async fn condemned(&self) -> RunError {
        let mut condemned = self.peers.condemned();
        let mut membership = self.raft.membership();
        loop {
            let refusals = condemned.borrow_and_update().clone();
            let voters = membership.borrow_and_update().row.configs.last().cloned();
            let voters = voters.unwrap_or_default();
            let against = refusals.iter().filter(|(id, _)| voters.contains(&id.get()));
            let are_many = 2 * against.clone().count() > voters.len();
            let farewell = refusals.iter().find(|(_, refusal)| **refusal == Refusal::Removed);
            if let Some((replica, refusal)) =
                farewell.or_else(|| against.clone().next().filter(|_| are_many))
            {
                let (replica, refusal) = (*replica, *refusal);
                self.entered.condemn(&refusal.to_string());
                return RunError::Condemned { replica, refusal };
            }
            // Refused may be who does not know its group yet.
            let changed = tokio::select! {
                changed = condemned.changed() => changed,
                changed = membership.changed() => changed,
            };
            if changed.is_err() {
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

/// Terminated, interrupted, or nobody holds standard input any more, if that was asked for.
async fn told_to_stop(ends_with_stdin: bool) {
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

/// Tells that storage is broken once a write of the journal has taken too long to end.
fn end_with_a_dead_disk(
    journal: Journal,
    world: &World,
    broken: &Broken,
) -> impl Future<Output = ()> + use<> {
    let (clock, broken) = (world.clock.clone(), broken.clone());
    async move {
        while journal.busy_for() < SYNC_MAX {
            clock.sleep(SYNC_MAX / 20).await;
        }
        broken.tell("the disk made nothing durable for 20 s");
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
        list_max: limits.list_max,
        reads_waiting_max: limits.reads_waiting_max,
        joiners_max: limits.joiners_max,
        command_deadline: limits.command_deadline,
        forward_deadline: limits.forward_deadline,
        retention_interval: config.state.retention_interval,
        checkpoint_interval: config.checkpoints.interval,
        checkpoint_bytes: config.checkpoints.bytes,
        journal_kept_bytes: config.journal.kept_bytes,
        journal_reserve_bytes: config.journal.reserve_bytes,
        audit_interval: config.checkpoints.audit_interval,
        scrub_within: config.checkpoints.scrub_within,
        replace_dead: config.membership.replace_dead,
        replace_dead_after: config.membership.replace_dead_after,
        ..NodeOptions::default()
    }
}
