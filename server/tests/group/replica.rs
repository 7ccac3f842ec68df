//! Replicas in one process: whole, down to their files, and talking over loopback; of their front doors only what they
//! tell each other of themselves is there.
//!
//! One can be stopped in the midst of what it does, and opened again on its files.
//! Not here: what is promised of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::api::cluster::{Admission, JoinAnswer, JoinNonce, JoinRequest};
use client::api::conditions::Conditions;
use client::api::paths;
use client::api::reading::{Consistency, ReadFrom};
use client::types::{
    Batch, BatchLimits, ClusterId, Generation, Incarnation, LogId, LogName, LogSettings, NewRecord,
    PositionRange, ReplicaAddr, ReplicaId,
};
use migrations::latest::NodeRow;
use quorate::machine::{Founding, Machine, MachineLimits, Timings};
use quorate::metrics::Metrics;
use quorate::node::error::AppendError;
use quorate::node::{
    AppendRequest, Damages, Node, NodeOptions, NodeParts, Probes, ReadRequest, Start, bootstrap,
    state_digest,
};
use quorate::peer::forward::Forward;
use quorate::peer::{
    Acquaintances, Desk, Detours, Http, Identity, Myself, Peers, Transfers, router,
};
use quorate::raft::{LostEntries, Parts, Raft};
use quorate::storage::disk::Disk;
use quorate::storage::journal::{Journal, JournalIdentity, JournalOptions, Opening};
use quorate::storage::met::MetFile;
use quorate::storage::state::{FlushFailure, Flushed, State, StateObserver, StateOptions};
use quorate::world::World;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::slow_disk::SlowDisk;

const CLUSTER: [u8; 16] = [7; 16];
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// A replica that runs.
pub(crate) struct Replica {
    pub(crate) node: Node,
    pub(crate) raft: Raft,
    pub(crate) world: World,
    pub(crate) disk: SlowDisk,
    pub(crate) peers: Peers,
    pub(crate) state: State,
    pub(crate) machine: Arc<Mutex<Machine>>,
    journal: Journal,
    home: Home,
}

/// What is left of one that does not run: its files, and where it is found.
#[derive(Clone)]
pub(crate) struct Home {
    folder: Arc<TempDir>,
    replica: ReplicaId,
    peer_addr: SocketAddr,
    front_addr: SocketAddr,
    /// Every start so far.
    starts: Vec<Incarnation>,
    timings: Timings,
}

impl Replica {
    /// Ends it in the midst of what it does.
    pub(crate) async fn stop(self) -> Home {
        let Self { node, raft, world, peers, state, journal, home, machine: _, disk: _ } = self;
        raft.shutdown().await;
        world.tasks.stop(LIMIT).await;
        drop((node, raft, peers));
        let closed = tokio::task::spawn_blocking(move || {
            state.close();
            journal.close();
        });
        closed.await.unwrap();
        home
    }
}

impl Home {
    /// Runs once more, on the same files and at the same addresses.
    pub(crate) async fn start(mut self, pace: Option<u64>) -> Replica {
        let start = self.starts.last().unwrap().start + 1;
        self.starts.push(Incarnation { start, random: 90 * start + self.replica.get() });
        let peers = TcpListener::bind(self.peer_addr).await.unwrap();
        let front = TcpListener::bind(self.front_addr).await.unwrap();
        self.run((peers, front), World::real(), pace).await
    }

    async fn run(
        self,
        (listener, front_listener): (TcpListener, TcpListener),
        world: World,
        pace: Option<u64>,
    ) -> Replica {
        let (metrics, disk) = (Metrics::new(), SlowDisk::default());
        let (parts, journal, machine) = parts(&disk, &self, &world, &metrics).await;
        let (raft, peers, state) = (parts.raft.clone(), parts.peers.clone(), parts.state.clone());
        peers.board().set_default_pace(pace);
        let clock = world.clock.clone();
        let transfers =
            Transfers::new(peers.clone(), raft.clone(), state.clone(), metrics.clone(), clock);
        let reception = Desk::new(
            peers.clone(),
            raft.clone(),
            state.clone(),
            transfers,
            Arc::new(|_| false),
            metrics,
        );
        world.tasks.spawn("peer door", async move {
            axum::serve(listener, router(reception)).await.unwrap();
        });
        world.tasks.spawn("addresses", peers.clone().learn_addresses(raft.membership()));
        let node = Node::start(parts);
        let told = node.clone();
        let tell = move || std::future::ready(serde_json::to_string(&told.status_here()).unwrap());
        let front = axum::Router::new().route(paths::CLUSTER, axum::routing::get(tell));
        world.tasks.spawn("front door", async move {
            axum::serve(front_listener, front).await.unwrap();
        });
        raft.run();
        Replica { node, raft, world, disk, peers, state, machine, journal, home: self }
    }
}

/// Where a replica-to-be listens for the others, before it knows who it is.
struct Door {
    listener: TcpListener,
    peer_addr: ReplicaAddr,
    front_listener: TcpListener,
    front_addr: ReplicaAddr,
}

impl Door {
    async fn open() -> Self {
        let (listener, peer_addr) = bind().await;
        let (front_listener, front_addr) = bind().await;
        Self { listener, peer_addr, front_listener, front_addr }
    }

    /// Becomes the replica of this id.
    async fn become_replica(self, replica: ReplicaId, world: World, timings: Timings) -> Replica {
        let home = Home {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            replica,
            peer_addr: self.listener.local_addr().unwrap(),
            front_addr: self.front_listener.local_addr().unwrap(),
            starts: vec![Incarnation { start: 1, random: 90 + replica.get() }],
            timings,
        };
        home.run((self.listener, self.front_listener), world, None).await
    }
}

/// A port on a loopback address of this process alone: nobody else's connection can take it while the replica is away.
pub(crate) async fn bind() -> (TcpListener, ReplicaAddr) {
    let [.., high, low] = std::process::id().to_be_bytes();
    let listener = TcpListener::bind((Ipv4Addr::new(127, 77, high, low), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, ReplicaAddr::new(&format!("http://{address}")).unwrap())
}

/// Hands on what reads find damaged.
struct Finds(Damages);

impl StateObserver for Finds {
    fn flushed(&self, _flushed: &Flushed) {}

    fn damage_found(&self, log: LogId, range: PositionRange) {
        self.0.found(log, range);
    }

    fn failed(&self, failure: &FlushFailure) {
        panic!("flushing failed: {failure}");
    }
}

async fn parts(
    disk: &SlowDisk,
    home: &Home,
    world: &World,
    metrics: &Metrics,
) -> (NodeParts, Journal, Arc<Mutex<Machine>>) {
    let (folder, replica) = (home.folder.path(), home.replica);
    let front = ReplicaAddr::new(&format!("http://{}", home.front_addr)).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = StateOptions::default();
    let (state, manifest) = State::open(&disk, &folder.join("state.redb"), options).unwrap();
    let held = state.flushed().filter(|flushed| state.installed().unwrap() != Some(*flushed));
    let journal_options = JournalOptions {
        flushed: held.map(|id| id.index.get()),
        ..JournalOptions::new(world.clock.clone(), world.chance.clone())
    };
    let journal_identity = JournalIdentity { cluster: CLUSTER, replica: replica.get() };
    let journal_folder = folder.join("journal");
    disk.create_dir_all(&journal_folder).unwrap();
    let opening = Journal::open(disk.clone(), &journal_folder, journal_identity, journal_options);
    let Opening::Whole(journal) = opening.unwrap() else { panic!("nothing was damaged") };
    let machine = manifest.map_or_else(
        || Machine::new(MachineLimits::default()),
        |manifest| manifest.into_machine().unwrap(),
    );
    let machine = Arc::new(Mutex::new(machine));
    let damages = Damages::default();
    let observer = Arc::new(Finds(damages.clone()));
    state.start(machine.clone(), journal.clone(), observer, world.clock.clone());

    let identity = Identity { incarnation: *home.starts.last().unwrap(), ..identity(replica) };
    let acquaintances = Acquaintances::open(MetFile::new(disk, folder.join("met"))).unwrap();
    let detours = Detours::default();
    let Timings { heartbeat, election_min, election_max } = home.timings;
    let timings = quorate::raft::Timings { heartbeat, election_min, election_max };
    let peers = Peers::new(
        Http::new(detours.clone(), world.clock.clone()),
        Myself { identity, starts: home.starts.clone().into(), journal: journal.clone().into() },
        timings,
        acquaintances,
        metrics.clone(),
        world.clock.clone(),
    );
    let raft = Raft::build(Parts {
        replica,
        timings,
        journal: journal.clone(),
        machine: machine.clone(),
        state: state.clone(),
        network: peers.clone(),
        lost: LostEntries::default(),
        clock: world.clock.clone(),
    })
    .await
    .unwrap();
    let parts = NodeParts {
        identity,
        front,
        raft,
        state,
        journal: journal.clone(),
        probes: Probes {
            membership_changes: Box::new(machine.clone()),
            founding: {
                let machine = machine.clone();
                Box::new(move || machine.lock().unwrap().cluster().copied())
            },
            disk_free: Box::new(|| Ok(u64::MAX / 2)),
            sync_latency: Box::new(|| None),
            slow_for: {
                let journal = journal.clone();
                Box::new(move || journal.slow_for())
            },
            damaged_entries: Box::new(|| 0),
            checkpoints: {
                let machine = machine.clone();
                Box::new(move || machine.lock().unwrap().checkpoints().collect())
            },
            digest: {
                let machine = machine.clone();
                Box::new(move || state_digest(&machine.lock().unwrap()))
            },
        },
        peers,
        forward: Forward::new(replica, detours, 64).unwrap(),
        world: world.clone(),
        metrics: metrics.clone(),
        damages,
        settings: Arc::default(),
        options: NodeOptions {
            retention_interval: Duration::from_millis(5),
            ..NodeOptions::default()
        },
    };
    (parts, journal, machine)
}

fn identity(replica: ReplicaId) -> Identity {
    Identity {
        cluster: ClusterId::new(CLUSTER),
        generation: Generation { number: 0, random: 5 },
        replica,
        incarnation: Incarnation { start: 1, random: 90 + replica.get() },
    }
}

/// A group of one that wants to be three.
pub(crate) async fn found(world: World, timings: Timings) -> Replica {
    let door = Door::open().await;
    let generation = identity(ReplicaId::FIRST).generation_row();
    let myself = NodeRow {
        cluster: CLUSTER,
        generation,
        peer_addr: door.peer_addr.to_string(),
        front_addr: door.front_addr.to_string(),
        zone: String::new(),
    };
    let founding = Founding {
        cluster: ClusterId::new(CLUSTER),
        generation,
        timings,
        limits: MachineLimits::default(),
        expect_voters: 3,
    };
    let replica = door.become_replica(ReplicaId::FIRST, world, timings).await;
    bootstrap(&replica.raft, &replica.world, myself, founding, LIMIT).await.unwrap();
    replica
}

/// Asks until it is let in, and becomes who it is told to be.
pub(crate) async fn join(leader: &Node, number: u64, world: World, timings: Timings) -> Replica {
    let door = Door::open().await;
    let nonce = JoinNonce::new(u128::from(number));
    let (addr, peer_addr) = (door.front_addr.clone(), door.peer_addr.clone());
    let request = JoinRequest {
        cluster: Some(ClusterId::new(CLUSTER)),
        ..JoinRequest::new(nonce, addr, peer_addr, "0.1.0")
    };
    let admission = loop {
        match leader.join_asked(request.clone()).await.unwrap() {
            JoinAnswer::Admitted(admission) => break admission,
            JoinAnswer::Waiting { .. } => {}
        }
    };
    let Admission { cluster, replica, .. } = admission;
    assert_eq!(cluster, ClusterId::new(CLUSTER));
    door.become_replica(replica, world, timings).await
}

/// Three voters, the first of which leads.
pub(crate) async fn three() -> [Replica; 3] {
    three_in([(); 3].map(|()| World::real()), Timings::default()).await
}

/// The same, each in a world of its own, with these timings.
pub(crate) async fn three_in([one, two, three]: [World; 3], timings: Timings) -> [Replica; 3] {
    let first = found(one, timings).await;
    let node = &first.node;
    let (second, third) = tokio::join!(join(node, 2, two, timings), join(node, 3, three, timings));
    let mut membership = first.raft.membership();
    let formed = membership.wait_for(|membership| {
        membership.is_committed
            && membership.row.configs.len() == 1
            && membership.row.configs[0].len() == 3
    });
    drop(tokio::time::timeout(LIMIT, formed).await.expect("the group forms").unwrap());
    first.node.ensure_log(orders(), LogSettings::default()).await.unwrap();
    [first, second, third]
}

pub(crate) fn orders() -> LogName {
    LogName::new("orders").unwrap()
}

pub(crate) async fn append(node: &Node, body: String) -> Result<u64, AppendError> {
    append_to(orders(), node, body).await
}

pub(crate) async fn append_to(log: LogName, node: &Node, body: String) -> Result<u64, AppendError> {
    let batch = Batch::single(&NewRecord::new(body), &BatchLimits::default()).unwrap();
    let request = AppendRequest::of(log, Conditions::default(), batch);
    node.append(request).await.map(|appended| appended.first.get())
}

pub(crate) async fn tail(node: &Node) -> u64 {
    let request = ReadRequest {
        log: orders().into(),
        start: Start::From(ReadFrom::Tail),
        records_max: None,
        bytes_max: None,
        consistency: Consistency::Linearizable,
        wait: None,
    };
    node.read(request).await.unwrap().tail.get()
}
