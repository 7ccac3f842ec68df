//! A group of three in one process: it forms by admission, reads fresh on every replica, moves its
//! leadership without an unknown outcome, and keeps it while a disk stalls.
//!
//! Replicas are whole, down to their files, and talk over loopback; of their front doors only what
//! they tell each other of themselves is there. Not here: processes that are killed, and networks that
//! are cut (`e2e`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod slow_disk;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::api::cluster::{Admission, JoinAnswer, JoinNonce, JoinRequest};
use client::api::conditions::Conditions;
use client::api::paths;
use client::api::reading::{Consistency, ReadFrom};
use client::types::{
    Batch, BatchLimits, ClusterId, Generation, Incarnation, LogName, LogSettings, NewRecord,
    ReplicaAddr, ReplicaId, Zone,
};
use migrations::latest::NodeRow;
use quorate::machine::{Founding, Machine, MachineLimits, Timings};
use quorate::metrics::Metrics;
use quorate::node::error::{AppendError, Unserved};
use quorate::node::{
    AppendRequest, FollowEvent, FollowRequest, Node, NodeOptions, NodeParts, Probes, ReadRequest,
    Route, Start, bootstrap, state_digest,
};
use quorate::peer::forward::Forward;
use quorate::peer::{Acquaintances, Desk, Detours, Http, Identity, Myself, Peers, router};
use quorate::raft::{Parts, Raft};
use quorate::storage::disk::Disk;
use quorate::storage::journal::{Journal, JournalIdentity, JournalOptions, Opening};
use quorate::storage::met::MetFile;
use quorate::storage::state::{State, StateOptions, Unobserved};
use quorate::world::World;
use slow_disk::SlowDisk;
use tempfile::TempDir;
use tokio::net::TcpListener;

const CLUSTER: [u8; 16] = [7; 16];
const LIMIT: Duration = Duration::from_secs(20);
/// How long a disk stalls: longer than a heartbeat may take, and as long as an append may.
const STALL: Duration = Duration::from_millis(500);

struct Replica {
    node: Node,
    raft: Raft,
    world: World,
    disk: SlowDisk,
    _folder: TempDir,
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
    async fn become_replica(self, replica: ReplicaId, world: World) -> Replica {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, disk) = (Metrics::new(), SlowDisk::default());
        let parts = parts(&disk, folder.path(), replica, self.front_addr, &world, &metrics).await;
        let raft = parts.raft.clone();
        let reception = Desk::new(parts.peers.clone(), raft.clone(), parts.state.clone(), metrics);
        let listener = self.listener;
        world.tasks.spawn("peer door", async move {
            axum::serve(listener, router(reception)).await.unwrap();
        });
        let peers = parts.peers.clone();
        world.tasks.spawn("addresses", peers.learn_addresses(raft.membership()));
        let node = Node::start(parts);
        let told = node.clone();
        let tell = move || std::future::ready(serde_json::to_string(&told.status_here()).unwrap());
        let front = axum::Router::new().route(paths::CLUSTER, axum::routing::get(tell));
        let listener = self.front_listener;
        world.tasks.spawn("front door", async move {
            axum::serve(listener, front).await.unwrap();
        });
        raft.run();
        Replica { node, raft, world, disk, _folder: folder }
    }
}

async fn bind() -> (TcpListener, ReplicaAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, ReplicaAddr::new(&format!("http://{address}")).unwrap())
}

async fn parts(
    disk: &SlowDisk,
    folder: &Path,
    replica: ReplicaId,
    front: ReplicaAddr,
    world: &World,
    metrics: &Metrics,
) -> NodeParts {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = StateOptions::default();
    let (state, _) = State::open(&disk, &folder.join("state.redb"), options).unwrap();
    let journal_options = JournalOptions::new(world.clock.clone(), world.chance.clone());
    let journal_identity = JournalIdentity { cluster: CLUSTER, replica: replica.get() };
    let journal_folder = folder.join("journal");
    disk.create_dir_all(&journal_folder).unwrap();
    let opening = Journal::open(disk.clone(), &journal_folder, journal_identity, journal_options);
    let Opening::Whole(journal) = opening.unwrap() else { panic!("a new journal is whole") };
    let machine = Arc::new(Mutex::new(Machine::new(MachineLimits::default())));
    state.start(machine.clone(), journal.clone(), Arc::new(Unobserved), world.clock.clone());

    let identity = identity(replica);
    let acquaintances = Acquaintances::open(MetFile::new(disk, folder.join("met"))).unwrap();
    let detours = Detours::default();
    let timings = quorate::raft::Timings::default();
    let peers = Peers::new(
        Http::new(detours.clone(), world.clock.clone()),
        Myself { identity, starts: [identity.incarnation].into(), journal: journal.clone() },
        timings,
        acquaintances,
        metrics.clone(),
        world.clock.clone(),
    );
    let raft = Raft::build(Parts {
        replica,
        timings,
        journal,
        machine: machine.clone(),
        state: state.clone(),
        network: peers.clone(),
        clock: world.clock.clone(),
    })
    .await
    .unwrap();
    NodeParts {
        identity,
        front,
        raft,
        state,
        probes: Probes {
            founding: {
                let machine = machine.clone();
                Box::new(move || machine.lock().unwrap().cluster().copied())
            },
            disk_free: Box::new(|| Ok(u64::MAX / 2)),
            sync_latency: Box::new(|| None),
            damaged_entries: Box::new(|| 0),
            checkpoints: {
                let machine = machine.clone();
                Box::new(move || machine.lock().unwrap().checkpoints().collect())
            },
            digest: Box::new(move || state_digest(&machine.lock().unwrap())),
        },
        peers,
        forward: Forward::new(replica, detours).unwrap(),
        world: world.clone(),
        metrics: metrics.clone(),
        options: NodeOptions {
            retention_interval: Duration::from_millis(5),
            ..NodeOptions::default()
        },
    }
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
async fn found(world: World) -> Replica {
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
        timings: Timings::default(),
        limits: MachineLimits::default(),
        expect_voters: 3,
    };
    let replica = door.become_replica(ReplicaId::FIRST, world).await;
    bootstrap(&replica.raft, &replica.world, myself, founding, LIMIT).await.unwrap();
    replica
}

/// Asks until it is let in, and becomes who it is told to be.
async fn join(leader: &Node, number: u64, world: World) -> Replica {
    let door = Door::open().await;
    let request = JoinRequest {
        nonce: JoinNonce::new(u128::from(number)),
        addr: door.front_addr.clone(),
        peer_addr: door.peer_addr.clone(),
        zone: Zone::default(),
        version: "0.1.0".to_owned(),
        cluster: Some(ClusterId::new(CLUSTER)),
        free_bytes: None,
    };
    let admission = loop {
        match leader.join_asked(request.clone()).await.unwrap() {
            JoinAnswer::Admitted(admission) => break admission,
            JoinAnswer::Waiting { .. } => {}
        }
    };
    let Admission { cluster, replica, .. } = admission;
    assert_eq!(cluster, ClusterId::new(CLUSTER));
    door.become_replica(replica, world).await
}

/// Three voters, the first of which leads.
async fn three() -> [Replica; 3] {
    three_in([(); 3].map(|()| World::real())).await
}

/// The same, each in a world of its own.
async fn three_in([one, two, three]: [World; 3]) -> [Replica; 3] {
    let first = found(one).await;
    let (second, third) = tokio::join!(join(&first.node, 2, two), join(&first.node, 3, three));
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

fn orders() -> LogName {
    LogName::new("orders").unwrap()
}

async fn append(node: &Node, body: String) -> Result<u64, AppendError> {
    append_to(orders(), node, body).await
}

async fn append_to(log: LogName, node: &Node, body: String) -> Result<u64, AppendError> {
    let batch = Batch::single(&NewRecord::new(body), &BatchLimits::default()).unwrap();
    let request = AppendRequest { log, conditions: Conditions::default(), batch };
    node.append(request).await.map(|appended| appended.first.get())
}

async fn tail(node: &Node) -> u64 {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_group_grows_to_as_many_voters_as_it_was_founded_for() {
    let [first, second, third] = three().await;
    let mut ids = [&first, &second, &third].map(|replica| replica.node.replica().get());
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    let verdict = first.node.status().await.verdict;
    assert_eq!((verdict.can_append, verdict.tolerance), (true, 1), "{verdict:?}");
    assert_eq!(
        verdict.sentence,
        "Taking appends. 3 of 3 replicas vote. You can lose 1 more and keep appending."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_read_on_every_replica_at_once() {
    let [first, second, third] = three().await;
    for expected in 1..=50 {
        append(&first.node, "x".to_owned()).await.unwrap();
        assert_eq!(tail(&second.node).await, expected);
        assert_eq!(tail(&third.node).await, expected);
    }
    let route = second.node.route();
    assert_eq!(
        route,
        Route::There { replica: ReplicaId::FIRST, front: first.node.front().clone() }
    );
    let refused = append(&second.node, "x".to_owned()).await;
    let leader = Some(ReplicaId::FIRST);
    assert_eq!(refused, Err(AppendError::Unserved(Unserved::NotLeader { leader })));
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_and_every_append_is_done_or_certainly_not() {
    let replicas = Arc::new(three().await);
    let [first, second, _] = &*replicas;
    let mut followed = second
        .node
        .follow(FollowRequest {
            log: orders().into(),
            start: Start::From(ReadFrom::First),
            records_max: None,
            bytes_max: None,
            consistency: Consistency::Linearizable,
        })
        .await
        .unwrap();
    let appender = tokio::spawn({
        let replicas = Arc::clone(&replicas);
        async move {
            let mut done = 0;
            let (mut last, mut worst_gap) = (std::time::Instant::now(), Duration::ZERO);
            while done < 600 {
                let leader = replicas.iter().find(|one| one.node.route() == Route::Here);
                let Some(leader) = leader else {
                    tokio::task::yield_now().await;
                    continue;
                };
                match append(&leader.node, done.to_string()).await {
                    Ok(_) => {
                        done += 1;
                        worst_gap = worst_gap.max(last.elapsed());
                        last = std::time::Instant::now();
                    }
                    Err(AppendError::Unserved(Unserved::Interrupted)) => {
                        panic!("a planned hand-over leaves no outcome unknown")
                    }
                    Err(_) => {}
                }
            }
            (done, worst_gap)
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let to = first.node.hand_over().await.unwrap();
    assert_ne!(to, ReplicaId::FIRST);
    let (done, worst_gap) = tokio::time::timeout(LIMIT, appender).await.unwrap().unwrap();
    println!("worst gap: {worst_gap:?}");
    for replica in &*replicas {
        assert_eq!(tail(&replica.node).await, done);
    }
    let mut seen = Vec::new();
    while seen.len() < 600 {
        if let FollowEvent::Records(page) = followed.next().await.unwrap() {
            let bodies = page.records.into_iter().map(|record| record.body);
            seen.extend(bodies.map(|body| String::from_utf8(body.to_vec()).unwrap()));
        }
    }
    let expected: Vec<_> = (0..600).map(|number| number.to_string()).collect();
    assert_eq!(seen, expected, "one order, nothing twice, nothing left out");
}

/// Appends until the stall is over: it must have caught a sync, and have left leader and term alone.
/// Answers with how many appends were acknowledged during it.
async fn append_during_stall(group: &[Replica; 3], stalled: &[&Replica]) -> usize {
    let leads = |replica: &Replica| {
        let leadership = replica.raft.leadership();
        let leadership = leadership.borrow();
        (leadership.leader, leadership.term)
    };
    let before = leads(&group[0]);
    assert_eq!(before.0, Some(ReplicaId::FIRST));
    for replica in stalled {
        replica.disk.stall(STALL);
    }
    let mut acknowledged = 0;
    let is_over = || stalled.iter().all(|one| !one.disk.is_stalled() && one.disk.has_stalled());
    while !is_over() {
        append(&group[0].node, "x".to_owned()).await.unwrap();
        acknowledged += usize::from(stalled.iter().any(|replica| replica.disk.is_stalled()));
    }
    // Served again, and by everybody; whoever would have stood for election had its time.
    let appended = append(&group[0].node, "x".to_owned()).await.unwrap();
    for replica in group {
        assert_eq!(tail(&replica.node).await, appended + 1);
    }
    assert_eq!([&group[0], &group[1], &group[2]].map(leads), [before; 3]);
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_stalls_for_half_a_second_changes_no_leader() {
    let group = three().await;
    let [first, second, third] = &group;
    for _ in 0..3 {
        assert!(append_during_stall(&group, &[second]).await > 1, "two others acknowledge");
        assert!(append_during_stall(&group, &[first]).await > 1, "two others acknowledge");
        // No majority can acknowledge, and still nobody takes the leader for dead.
        append_during_stall(&group, &[second, third]).await;
        append_during_stall(&group, &[first, second, third]).await;
    }
}

/// The first position of a log, once it is at least this one.
async fn first_from(node: &Node, log: &LogName, least: u64) -> u64 {
    let looking = async {
        loop {
            let target = log.clone().into();
            let seen = node.describe_log(&target, Consistency::Linearizable).await;
            if let Ok(seen) = seen
                && seen.answer.first.get() >= least
            {
                return seen.answer.first.get();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.expect("the log is trimmed")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_clock_lets_no_record_go_and_the_next_leader_keeps_to_the_retention() {
    const BEGIN: u64 = 1_700_000_000_000;
    const DAY: u64 = 86_400_000;
    let worlds = [1, 2, 3].map(|seed| World::for_test(seed, BEGIN));
    let [first, second, third] = three_in(worlds).await;
    let (old, canary) = (LogName::new("old").unwrap(), LogName::new("canary").unwrap());
    let age = Some(Duration::from_secs(80));
    let settings = LogSettings { retention_age: age, ..LogSettings::default() };
    first.node.ensure_log(old.clone(), settings).await.unwrap();
    let settings = LogSettings { retention_bytes: Some(0), ..LogSettings::default() };
    first.node.ensure_log(canary.clone(), settings).await.unwrap();
    append_to(old.clone(), &first.node, "x".to_owned()).await.unwrap();

    first.world.clock.set_wall_millis(BEGIN + DAY);
    // Longer than the clocks are not compared. The canary shows that retention is at work.
    let until = tokio::time::Instant::now() + Duration::from_secs(3);
    while tokio::time::Instant::now() < until {
        let position = append_to(canary.clone(), &first.node, "x".to_owned()).await.unwrap();
        first_from(&first.node, &canary, position + 1).await;
        assert_eq!(first_from(&first.node, &old, 0).await, 0, "only one clock says it is old");
    }

    first.node.hand_over().await.unwrap();
    for replica in [&second, &third] {
        replica.world.clock.set_wall_millis(BEGIN + 92_000);
    }
    for replica in [&first, &second, &third] {
        assert_eq!(first_from(&replica.node, &old, 1).await, 1, "a majority says it is old");
    }
}
