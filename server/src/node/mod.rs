//! What this very process can do: one handle, a file per verb.
//!
//! Everything that has callers enters here: the HTTP floor, the dashboard and the tests. A clone of
//! `Node` is the same node. It speaks the contract's types and its own errors; nothing here names
//! the wire, the consensus library or the database. Everything that waits has a deadline, everything
//! that is held has a limit, and both stand in `NodeOptions`.
//!
//! Not here: how bytes arrive (`http`), how agreement is reached (`raft`), who decides positions
//! (`machine`), and in what order things start and stop (`run`).

mod activity;
mod admission;
mod append;
mod audit;
mod backup;
mod batcher;
mod beats;
mod change;
mod checkpoint;
mod clocks;
mod disk;
mod expiry;
mod follow;
mod freshness;
mod gate;
mod housekeeping;
mod join;
mod leader;
mod logs;
mod options;
mod order;
mod permit;
mod plan;
mod propose;
mod purge;
mod quarantine;
mod read;
mod replacement;
mod retention;
mod rounds;
mod scrub;
mod status;
mod tails;
mod transfers;
mod verdict;

pub mod error;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use client::api::settings::{EffectiveSetting, SettingList};
use client::types::{BatchLimits, EntryIndex, Generation, ReplicaAddr, ReplicaId};
use tokio::sync::watch;

pub use self::append::{AppendRequest, Appended, BARE_RECORDS_MAX, LogTarget};
pub use self::backup::{Archive, ArchiveRequest};
pub use self::batcher::BatcherOptions;
pub use self::beats::Beats;
pub use self::change::{ChangeWatch, ChangeWatchEvent, MembershipChanges};
pub use self::follow::{Follow, FollowEvent, FollowRequest};
pub use self::freshness::AsOf;
pub use self::join::{ask_to_join, bootstrap};
pub use self::leader::Route;
pub use self::logs::{Ensured, ListRequest};
pub use self::options::{NodeOptions, ReplaceDead};
pub use self::read::{ReadAnswer, ReadRequest, RecordAnswer, Seen, Start};
pub use self::scrub::Damages;
pub use self::status::{Probes, Purpose, state_digest};

use self::admission::Joiners;
use self::audit::Audit;
use self::batcher::{Batcher, Pulse, Queue};
use self::beats::Beat;
use self::change::Carrying;
use self::checkpoint::CheckpointWish;
use self::clocks::Clocks;
use self::disk::DiskRoom;
use self::freshness::IndexAsker;
use self::gate::Gate;
use self::leader::RouteCache;
use self::order::Order;
use self::permit::{Permits, Room};
use self::plan::LeadersSeen;
use self::propose::{Proposer, Stamps};
use self::replacement::Proposed;
use self::retention::Retention;
use self::rounds::Rounds;
use self::scrub::Scrub;
use self::status::Facts;
use self::tails::Tails;
pub use crate::machine::Author;
use crate::metrics::Metrics;
use crate::peer::forward::Forward;
pub use crate::peer::forward::ForwardedBody;
use crate::peer::{Identity, Peers, Renewer, Repairer};
use crate::raft::{Leadership, MembershipState, Raft};
use crate::storage::journal::Journal;
use crate::storage::state::State;
use crate::world::{Tasks, World};

/// What a node is made of; `run` opens and wires it.
pub struct NodeParts {
    /// Who this replica is, in this start.
    pub identity: Identity,
    /// Where clients reach this replica.
    pub front: ReplicaAddr,
    /// Agreement: built, and running or about to.
    pub raft: Raft,
    /// Bytes that are kept: what reads see.
    pub state: State,
    /// What else it asks of its surroundings.
    pub probes: Probes,
    /// Entries that are kept.
    pub journal: Journal,
    /// Asks the other replicas.
    pub peers: Peers,
    /// Carries requests to the leader.
    pub forward: Forward,
    /// Time, chance and tasks.
    pub world: World,
    /// Counts what happens.
    pub metrics: Metrics,
    /// What reads have found damaged.
    pub damages: Damages,
    /// Limits and deadlines.
    pub options: NodeOptions,
    /// What this process was told to do, for whoever asks.
    pub settings: Arc<[EffectiveSetting]>,
}

/// What this process can do. A clone is the same node.
#[derive(Clone)]
pub struct Node {
    core: Arc<Core>,
    /// For whom it is done; none: the service looks after itself.
    author: Option<Arc<Author>>,
}

/// The parts that the verbs share.
struct Core {
    identity: Identity,
    front: ReplicaAddr,
    raft: Raft,
    leadership: watch::Receiver<Leadership>,
    membership: watch::Receiver<MembershipState>,
    applied: watch::Receiver<Option<EntryIndex>>,
    state: State,
    journal: Journal,
    probes: Arc<Probes>,
    peers: Peers,
    forward: Forward,
    world: World,
    tasks: Tasks,
    metrics: Metrics,
    options: NodeOptions,
    settings: Arc<[EffectiveSetting]>,
    queue: Queue,
    appends: Permits,
    order: Order,
    followers: Permits,
    backups: Permits,
    pulse: Arc<Pulse>,
    gate: Gate,
    proposer: Proposer,
    rounds: Rounds,
    tails: Tails,
    joiners: Joiners,
    carrying: Carrying,
    replacement: Proposed,
    route_cache: RouteCache,
    facts: Facts,
    disk: DiskRoom,
    are_disks_full: AtomicBool,
    clocks: Arc<Clocks>,
    leaders_seen: LeadersSeen,
    retention: Retention,
    checkpoint_wish: CheckpointWish,
    audit: Audit,
    scrub: Scrub,
    renewer: Renewer,
    stopping: watch::Sender<bool>,
    beats: watch::Receiver<Beat>,
}

impl Core {
    fn generation(&self) -> Generation {
        self.identity.generation
    }

    /// How long a leader may get nowhere: no shorter than the time after which the others would miss it.
    fn stall_max(&self) -> Duration {
        self.options.stall_max.max(self.raft.timings().election_max)
    }
}

impl Node {
    /// Puts the parts together and starts the tasks that serve callers. Agreement need not run yet.
    pub fn start(parts: NodeParts) -> Self {
        let NodeParts { identity, front, raft, state, journal, probes, peers, .. } = parts;
        let NodeParts { forward, world, metrics, damages, options, settings, .. } = parts;
        let tasks = world.tasks.child();
        let gate = Gate::new();
        let clocks = Arc::new(Clocks::default());
        let stamps = Stamps { clock: world.clock.clone(), clocks: Arc::clone(&clocks) };
        let proposer = Proposer::new(raft.clone(), gate.clone(), stamps);
        let pulse = Arc::new(Pulse::new(world.clock.clone()));
        let (queue, batcher) =
            Batcher::new(proposer.clone(), options.batcher, Arc::clone(&pulse), metrics.clone());
        let asker = IndexAsker::new(&raft, &peers, &world.clock, &metrics, options.read_deadline);
        let (rounds, asking) = Rounds::new(asker, options.reads_waiting_max);
        let tails = Tails::new(read::look(state.clone()));
        // These wake every caller by itself: from other threads that would cost more than all the rest of an append.
        let beside_callers = tasks.beside(&world.callers);
        beside_callers.spawn("batcher", batcher.run());
        beside_callers.spawn("read rounds", asking);
        tasks.spawn("followed tails", tails.run(raft.applied(), world.clock.clone()));
        let appends = Room { bytes_max: options.append_bytes_max, count_max: options.appends_max };
        let followers = Room { bytes_max: u64::MAX, count_max: options.followers_max };
        let (beats, beaten) = watch::channel(Beat::default());
        let core = Core {
            joiners: Joiners::new(options.joiners_max, options.joiner_silence_max),
            carrying: Carrying::default(),
            replacement: Proposed::default(),
            route_cache: RouteCache::default(),
            appends: Permits::new(appends),
            order: Order::new(world.clock.clone()),
            followers: Permits::new(followers),
            backups: Permits::new(backup::ROOM),
            are_disks_full: AtomicBool::new(false),
            clocks,
            leaders_seen: LeadersSeen::default(),
            retention: Retention::default(),
            checkpoint_wish: CheckpointWish::default(),
            audit: Audit::default(),
            scrub: Scrub::new(Repairer::new(peers.clone(), raft.clone(), state.clone()), damages),
            renewer: Renewer::new(
                peers.clone(),
                raft.clone(),
                state.clone(),
                metrics.clone(),
                world.clock.clone(),
            ),
            stopping: watch::Sender::new(false),
            beats: beaten,
            probes: Arc::new(probes),
            facts: Facts::default(),
            disk: DiskRoom::default(),
            leadership: raft.leadership(),
            membership: raft.membership(),
            applied: raft.applied(),
            identity,
            front,
            raft,
            state,
            journal,
            peers,
            forward,
            world,
            tasks,
            metrics,
            options,
            settings,
            queue,
            pulse,
            gate,
            proposer,
            rounds,
            tails,
        };
        let node = Self { core: Arc::new(core), author: None };
        node.start_housekeeping();
        node.core.tasks.spawn("beats", beats::beat(node.clone(), beats));
        node.start_admission();
        node
    }

    /// The same node, for somebody: what it changes from here on becomes a record of the activity.
    #[must_use]
    pub fn on_behalf_of(&self, author: Author) -> Self {
        Self { core: Arc::clone(&self.core), author: Some(Arc::new(author)) }
    }

    /// Who this replica is, in this start.
    pub fn identity(&self) -> Identity {
        self.core.identity
    }

    /// This replica's id.
    pub fn replica(&self) -> ReplicaId {
        self.core.identity.replica
    }

    /// Which life of the cluster this is; part of every token that callers keep.
    pub fn generation(&self) -> Generation {
        self.core.generation()
    }

    /// Where clients reach this replica.
    pub fn front(&self) -> &ReplicaAddr {
        &self.core.front
    }

    /// Limits and deadlines.
    pub fn options(&self) -> &NodeOptions {
        &self.core.options
    }

    /// What this process was told to do, and where each of it comes from.
    pub fn settings(&self) -> SettingList {
        SettingList { settings: self.core.settings.to_vec() }
    }

    /// What one batch may hold.
    pub fn batch_limits(&self) -> &BatchLimits {
        &self.core.options.batch
    }

    /// Whether this replica was asked to stop.
    pub fn is_stopping(&self) -> bool {
        *self.core.stopping.borrow()
    }

    /// Ends when this replica is asked to stop.
    pub async fn stopping(&self) {
        let mut stopping = self.core.stopping.subscribe();
        // The sender lives as long as this borrow: waiting cannot fail.
        stopping.wait_for(|stopping| *stopping).await.ok();
    }

    /// Stops serving: not ready, leadership handed on, appends in flight finished, follows ended.
    /// Takes at most `limit`; what is not finished by then is answered as unknown.
    pub async fn stop(&self, limit: Duration) {
        let clock = &self.core.world.clock;
        let deadline = clock.after(limit);
        // Appends are served on meanwhile; what does not fit in is forwarded to the next leader.
        if let Err(reason) = self.hand_over().await {
            tracing::info!(%reason, "leadership not handed over");
        }
        self.core.stopping.send_replace(true);
        self.core.tails.close();
        // Whatever is admitted is answered, or its own deadline ends it.
        let drained = clock.until(deadline, self.core.appends.emptied()).await;
        if drained.is_err() {
            tracing::warn!(appends = self.core.appends.count(), "appends cut off by the stop");
        }
        let left = deadline.saturating_duration_since(clock.now());
        self.core.tasks.stop(left).await;
    }
}
