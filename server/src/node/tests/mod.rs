//! What a node promises, held against one whole replica: journal, state and agreement on a real disk.
//!
//! A group of one decides alone, so these tests are about the verbs: what they answer, what they
//! refuse, and what they leave unchanged.
//!
//! What logs let go of is in `retention`. Not here: several replicas (`server/tests`, `e2e`), and what is decided without any replica, which
//! is tested beside its code.

mod expiry;
mod retention;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::api::cluster::{JoinAnswer, JoinNonce, JoinRequest};
use client::api::conditions::{Conditions, ProducerBatch};
use client::api::logs::SettingsPatch;
use client::api::reading::{Consistency, ReadFrom};
use client::types::{
    Batch, BatchLimits, ClusterId, CursorName, Generation, Incarnation, LogName, LogSettings,
    NewRecord, Position, ProducerEpoch, ProducerId, Record, ReplicaAddr, ReplicaId, Sequence,
};
use migrations::latest::NodeRow;
use tempfile::TempDir;

use super::error::{AppendError, ChangeLogError, NotFresh, ReadError, Rejection, Unserved};
use super::{
    AppendRequest, Appended, Damages, FollowEvent, FollowRequest, ListRequest, Node, NodeOptions,
    NodeParts, Probes, Purpose, ReadRequest, Route, Start, state_digest,
};
use crate::machine::{Founding, Machine, MachineLimits, Timings};
use crate::metrics::Metrics;
use crate::peer::forward::Forward;
use crate::peer::{Acquaintances, Detours, Http, Identity, Myself, Peers};
use crate::raft::{LostEntries, Parts, Raft};
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::journal::{Journal, JournalIdentity, JournalOptions, Opening};
use crate::storage::met::MetFile;
use crate::storage::state::{State, StateOptions, Strict};
use crate::world::World;

const CLUSTER: [u8; 16] = [7; 16];
const LIMIT: Duration = Duration::from_secs(10);

/// One replica; its folder goes when it does.
struct Replica {
    node: Node,
    raft: Raft,
    world: World,
    _folder: TempDir,
}

impl Replica {
    /// A replica that leads a group of its own.
    async fn leading(options: &NodeOptions) -> Self {
        Self::leading_in(World::real(), options).await
    }

    /// The same, in a world of the test's choice.
    async fn leading_in(world: World, options: &NodeOptions) -> Self {
        let replica = Self::alone_in(world, options).await;
        let founded =
            super::bootstrap(&replica.raft, &replica.world, myself(), founding(), LIMIT).await;
        assert_eq!(founded, Ok(()));
        replica
    }

    /// A replica whose group was not founded.
    async fn alone(options: &NodeOptions) -> Self {
        Self::alone_in(World::real(), options).await
    }

    async fn alone_in(world: World, options: &NodeOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let parts = parts(folder.path(), &world, &metrics, options).await;
        let raft = parts.raft.clone();
        let node = Node::start(parts);
        raft.run();
        Self { node, raft, world, _folder: folder }
    }

    async fn with_log(options: &NodeOptions) -> Self {
        let replica = Self::leading(options).await;
        replica.node.ensure_log(orders(), LogSettings::default()).await.unwrap();
        replica
    }

    async fn append(&self, bodies: &[&'static str]) -> Result<Appended, AppendError> {
        self.append_if(bodies, Conditions::default()).await
    }

    async fn append_if(
        &self,
        bodies: &[&'static str],
        conditions: Conditions,
    ) -> Result<Appended, AppendError> {
        let records: Vec<_> = bodies.iter().map(|body| NewRecord::new(*body)).collect();
        let batch = Batch::new(&records, &BatchLimits::default()).unwrap();
        self.node.append(AppendRequest::of(orders(), conditions, batch)).await
    }

    async fn read(&self, from: ReadFrom) -> Result<Vec<Record>, ReadError> {
        Ok(self.node.read(request(Start::From(from))).await?.records)
    }
}

async fn parts(
    folder: &Path,
    world: &World,
    metrics: &Metrics,
    options: &NodeOptions,
) -> NodeParts {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let file = folder.join("state.redb");
    let (state, manifest) = State::open(&disk, &file, StateOptions::default()).unwrap();
    assert!(manifest.is_none());
    let journal_options = JournalOptions::new(world.clock.clone(), world.chance.clone());
    let journal_identity = JournalIdentity { cluster: CLUSTER, replica: 1 };
    let journal_folder = folder.join("journal");
    disk.create_dir_all(&journal_folder).unwrap();
    let opening = Journal::open(disk.clone(), &journal_folder, journal_identity, journal_options);
    let Opening::Whole(journal) = opening.unwrap() else { panic!("a new journal is whole") };
    let machine = Arc::new(Mutex::new(Machine::new(MachineLimits::default())));
    state.start(machine.clone(), journal.clone(), Arc::new(Strict), world.clock.clone());

    let identity = identity();
    let acquaintances = Acquaintances::open(MetFile::new(disk, folder.join("met"))).unwrap();
    let detours = Detours::default();
    let timings = crate::raft::Timings::default();
    let starts = [identity.incarnation].into();
    let peers = Peers::new(
        Http::new(detours.clone(), world.clock.clone()),
        Myself { identity, starts, journal: journal.clone().into() },
        timings,
        acquaintances,
        metrics.clone(),
        world.clock.clone(),
    );
    let raft = Raft::build(Parts {
        replica: identity.replica,
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
    NodeParts {
        identity,
        front: ReplicaAddr::new("http://127.0.0.1:1").unwrap(),
        raft,
        state,
        journal,
        probes: Probes {
            founding: {
                let machine = machine.clone();
                Box::new(move || machine.lock().unwrap().cluster().copied())
            },
            disk_free: Box::new(|| Ok(u64::MAX / 2)),
            sync_latency: Box::new(|| None),
            slow_for: Box::new(|| Duration::ZERO),
            damaged_entries: Box::new(|| 0),
            checkpoints: {
                let machine = machine.clone();
                Box::new(move || machine.lock().unwrap().checkpoints().collect())
            },
            membership_changes: Box::new(machine.clone()),
            digest: Box::new(move || state_digest(&machine.lock().unwrap())),
        },
        peers,
        forward: Forward::new(identity.replica, detours, 64).unwrap(),
        world: world.clone(),
        metrics: metrics.clone(),
        damages: Damages::default(),
        options: *options,
        settings: Arc::default(),
    }
}

fn identity() -> Identity {
    Identity {
        cluster: ClusterId::new(CLUSTER),
        generation: Generation { number: 0, random: 5 },
        replica: ReplicaId::FIRST,
        incarnation: Incarnation { start: 1, random: 9 },
    }
}

fn myself() -> NodeRow {
    NodeRow {
        cluster: CLUSTER,
        generation: identity().generation_row(),
        peer_addr: "http://127.0.0.1:2".to_owned(),
        front_addr: "http://127.0.0.1:1".to_owned(),
        zone: String::new(),
    }
}

fn founding() -> Founding {
    Founding {
        cluster: ClusterId::new(CLUSTER),
        generation: identity().generation_row(),
        timings: Timings::default(),
        limits: MachineLimits::default(),
        expect_voters: 1,
    }
}

fn orders() -> LogName {
    LogName::new("orders").unwrap()
}

fn request(start: Start) -> ReadRequest {
    ReadRequest {
        log: orders().into(),
        start,
        records_max: None,
        bytes_max: None,
        consistency: Consistency::Linearizable,
        wait: None,
    }
}

fn follow(start: Start) -> FollowRequest {
    FollowRequest {
        log: orders().into(),
        start,
        records_max: None,
        bytes_max: None,
        consistency: Consistency::Linearizable,
    }
}

fn bodies(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(&record.body).unwrap()).collect()
}

fn at(position: u64) -> Position {
    Position::new(position)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_read_at_once() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    let appended = replica.append(&["a", "b"]).await.unwrap();
    assert_eq!((appended.first, appended.next, appended.tail), (at(0), at(2), at(2)));
    assert_eq!(bodies(&replica.read(ReadFrom::First).await.unwrap()), ["a", "b"]);
    assert_eq!(bodies(&replica.read(ReadFrom::Last(1)).await.unwrap()), ["b"]);
    assert_eq!(bodies(&replica.read(ReadFrom::Time(appended.time)).await.unwrap()), ["a", "b"]);
    assert!(replica.read(ReadFrom::Tail).await.unwrap().is_empty());
    let one =
        replica.node.read_one(orders().into(), at(1), Consistency::Linearizable).await.unwrap();
    assert_eq!(&one.record.body[..], b"b");
    let described =
        replica.node.describe_log(&orders().into(), Consistency::Linearizable).await.unwrap();
    assert_eq!((described.answer.tail, described.as_of.served_by), (at(2), ReplicaId::FIRST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_appends_at_once_get_a_thousand_positions() {
    let replica = Arc::new(Replica::with_log(&NodeOptions::default()).await);
    let appends: Vec<_> = (0..1_000)
        .map(|_| {
            let replica = Arc::clone(&replica);
            tokio::spawn(async move { replica.append(&["x"]).await.unwrap().first.get() })
        })
        .collect();
    let mut positions = Vec::new();
    for append in appends {
        positions.push(append.await.unwrap());
    }
    positions.sort_unstable();
    assert_eq!(positions, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_appended_changes_nothing() {
    let small = BatchLimits { record_bytes_max: 3, ..BatchLimits::default() };
    let options = NodeOptions { batch: small, ..NodeOptions::default() };
    let replica = Replica::with_log(&options).await;
    let error = AppendError::RecordTooLarge { bytes: 4, max: 3 };
    assert_eq!(replica.append(&["long"]).await, Err(error));
    let tail = Conditions { tail: Some(at(5)), ..Conditions::default() };
    let rejection = Rejection::TailDiffers { expected: at(5), tail: at(0) };
    assert_eq!(replica.append_if(&["a"], tail).await, Err(AppendError::Refused(rejection)));
    let other = Some(Generation { number: 3, random: 5 });
    let other = Conditions { tail: Some(at(0)), generation: other, ..Conditions::default() };
    assert_eq!(replica.append_if(&["a"], other).await, Err(AppendError::OtherHistory));
    let batch = Batch::single(&NewRecord::new("a"), &BatchLimits::default()).unwrap();
    let log = LogName::new("_secret").unwrap();
    let reserved = AppendRequest::of(log, Conditions::default(), batch);
    assert_eq!(replica.node.append(reserved).await, Err(AppendError::ReservedName));
    assert!(replica.read(ReadFrom::First).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_batch_of_a_producer_is_answered_with_its_first_positions() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    let batch = |sequence| Conditions {
        producer: Some(ProducerBatch {
            id: ProducerId::new("p").unwrap(),
            epoch: ProducerEpoch::new(1),
            sequence: Sequence::new(sequence),
        }),
        ..Conditions::default()
    };
    let first = replica.append_if(&["a"], batch(0)).await.unwrap();
    let again = replica.append_if(&["a"], batch(0)).await.unwrap();
    assert_eq!((again.first, again.replayed), (first.first, true));
    let gap = replica.append_if(&["b"], batch(5)).await;
    assert!(matches!(gap, Err(AppendError::Refused(Rejection::SequenceGap { .. }))));
    assert_eq!(replica.read(ReadFrom::First).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_an_append_is_told_to_come_back() {
    let options = NodeOptions { appends_max: 0, ..NodeOptions::default() };
    let replica = Replica::with_log(&options).await;
    let refused = replica.append(&["a"]).await;
    assert!(matches!(refused, Err(AppendError::Overloaded { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_misses_nothing_and_ends_with_the_log() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    replica.append(&["a"]).await.unwrap();
    let mut followed = replica.node.follow(follow(Start::From(ReadFrom::First))).await.unwrap();
    let node = replica.node.clone();
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            match followed.next().await.unwrap() {
                FollowEvent::Records(page) => {
                    seen.extend(page.records.into_iter().map(|record| record.position.get()));
                }
                FollowEvent::Heartbeat { .. } => {}
                FollowEvent::End { tail, token } => return (seen, tail, token.next),
            }
        }
    });
    for _ in 0..50 {
        replica.append(&["b"]).await.unwrap();
    }
    let sealed = node.seal(orders().into()).await.unwrap();
    assert_eq!(sealed.tail, at(51));
    let (seen, tail, next) = tokio::time::timeout(LIMIT, reader).await.unwrap().unwrap();
    assert_eq!((seen, tail, next), ((0..51).collect(), at(51), at(51)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_without_news_says_that_it_is_alive() {
    let quiet = Duration::from_millis(20);
    let options = NodeOptions { follow_heartbeat: quiet, ..NodeOptions::default() };
    let replica = Replica::with_log(&options).await;
    let mut followed = replica.node.follow(follow(Start::From(ReadFrom::Tail))).await.unwrap();
    let event = followed.next().await.unwrap();
    assert!(matches!(event, FollowEvent::Heartbeat { lag_entries: Some(0), .. }), "{event:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_with_a_record_or_with_its_time() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    let poll = |wait| ReadRequest { wait: Some(wait), ..request(Start::From(ReadFrom::Tail)) };
    let empty = replica.node.read(poll(Duration::from_millis(20))).await.unwrap();
    assert_eq!((empty.records.len(), empty.next), (0, at(0)));
    let node = replica.node.clone();
    let waiting = tokio::spawn(async move { node.read(poll(LIMIT)).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    replica.append(&["a"]).await.unwrap();
    assert_eq!(bodies(&waiting.await.unwrap().records), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_read_is_told_apart() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    replica.append(&["a", "b", "c"]).await.unwrap();
    let token = replica.node.read(request(Start::From(ReadFrom::First))).await.unwrap().token;
    assert_eq!(
        replica.read(ReadFrom::Position(at(4))).await,
        Err(ReadError::BeyondTail { tail: at(3) })
    );
    let preview = replica.node.preview_trim(&orders().into(), at(2)).await.unwrap();
    assert_eq!((preview.records, preview.bytes > 0, preview.dry_run), (2, true, true));
    assert_eq!(replica.read(ReadFrom::First).await.unwrap().len(), 3, "a preview changes nothing");
    let trimmed = replica.node.trim(orders().into(), at(2)).await.unwrap();
    assert_eq!((trimmed.records, trimmed.first, trimmed.dry_run), (2, at(2), false));
    assert_eq!(
        replica.read(ReadFrom::Position(at(0))).await,
        Err(ReadError::Trimmed { first: at(2) })
    );
    replica.node.delete_log(orders().into()).await.unwrap();
    assert_eq!(replica.read(ReadFrom::First).await, Err(ReadError::UnknownLog { log: orders() }));
    replica.node.ensure_log(orders(), LogSettings::default()).await.unwrap();
    let resumed = replica.node.read(request(Start::Resume(token))).await;
    assert_eq!(resumed.map(|answer| answer.next), Err(ReadError::OtherHistory));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_of_a_deleted_log_says_so() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    let mut followed = replica.node.follow(follow(Start::From(ReadFrom::Tail))).await.unwrap();
    replica.node.delete_log(orders().into()).await.unwrap();
    let event = followed.next().await;
    assert_eq!(event.map(|_| ()), Err(ReadError::Deleted { log: orders() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_made_once_and_its_settings_change_one_by_one() {
    let replica = Replica::leading(&NodeOptions::default()).await;
    let node = &replica.node;
    let settings = LogSettings { retention_bytes: Some(5), ..LogSettings::default() };
    assert!(node.ensure_log(orders(), settings.clone()).await.unwrap().is_new);
    assert!(!node.ensure_log(orders(), settings).await.unwrap().is_new);
    let differs = node.ensure_log(orders(), LogSettings::default()).await;
    assert!(matches!(differs, Err(ChangeLogError::Refused(Rejection::SettingsDiffer { .. }))));
    let patch = SettingsPatch {
        content_type: Some(Some("text/plain".to_owned())),
        ..SettingsPatch::default()
    };
    let changed = node.change_settings(orders().into(), patch).await.unwrap().settings;
    assert_eq!(
        (changed.retention_bytes, changed.content_type.as_deref()),
        (Some(5), Some("text/plain"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_by_name() {
    let replica = Replica::leading(&NodeOptions::default()).await;
    for name in ["a", "b/1", "b/2", "b/3"] {
        let name = LogName::new(name).unwrap();
        replica.node.ensure_log(name, LogSettings::default()).await.unwrap();
    }
    let list = async |after: Option<&str>| {
        let request = ListRequest {
            prefix: "b/".to_owned(),
            after: after.map(str::to_owned),
            limit: Some(2),
            consistency: Consistency::Linearizable,
        };
        let list = replica.node.list_logs(request).await.unwrap().answer;
        let names: Vec<_> = list.logs.iter().map(|log| log.log.to_string()).collect();
        (names, list.next.map(|next| next.to_string()))
    };
    assert_eq!(list(None).await, (vec!["b/1".into(), "b/2".into()], Some("b/2".into())));
    assert_eq!(list(Some("b/2")).await, (vec!["b/3".into()], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_where_its_consumer_put_it() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    replica.append(&["a", "b"]).await.unwrap();
    let (node, name) = (&replica.node, CursorName::new("billing").unwrap());
    node.set_cursor(orders().into(), name.clone(), None, at(1)).await.unwrap();
    let seen = node.cursor(&orders().into(), &name, Consistency::Linearizable).await.unwrap();
    assert_eq!(seen.answer.map(|cursor| cursor.position), Some(at(1)));
    let listed =
        node.list_cursors(&orders().into(), None, None, Consistency::Linearizable).await.unwrap();
    assert_eq!(listed.answer.cursors.len(), 1);
    assert_eq!(node.delete_cursor(orders().into(), name.clone()).await, Ok(true));
    let seen = node.cursor(&orders().into(), &name, Consistency::Linearizable).await.unwrap();
    assert_eq!(seen.answer, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_a_group_refuses_for_certain() {
    let options = NodeOptions {
        read_deadline: Duration::from_millis(50),
        election_wait: Duration::from_millis(50),
        ..NodeOptions::default()
    };
    let replica = Replica::alone(&options).await;
    let refused = replica.append(&["a"]).await;
    assert!(matches!(refused, Err(AppendError::Unserved(Unserved::NoLeader { .. }))));
    let refused = replica.read(ReadFrom::First).await;
    assert!(matches!(refused, Err(ReadError::NotFresh(NotFresh::NoLeader { .. }))));
    assert!(matches!(replica.node.route_awaited().await, Route::Nowhere { .. }));
    assert!(!replica.node.readiness(Purpose::Serve).is_ready);
    assert!(!replica.node.status().await.verdict.can_append);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_one_takes_appends_and_says_what_it_risks() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    assert_eq!(replica.node.route(), Route::Here);
    let status = replica.node.status().await;
    assert_eq!((status.verdict.can_append, status.verdict.tolerance), (true, 0));
    assert_eq!(
        status.verdict.sentence,
        "Taking appends. 1 replica votes: if it fails, appends stop until it is back."
    );
    assert_eq!((status.replicas.len(), status.expected_voters), (1, 1));
    let ready = replica.node.readiness(Purpose::Append);
    assert!(ready.is_ready, "{ready:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn founding_twice_is_founding_once() {
    let replica = Replica::leading(&NodeOptions::default()).await;
    let again = super::bootstrap(&replica.raft, &replica.world, myself(), founding(), LIMIT).await;
    assert_eq!(again, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_group_lets_a_process_wait() {
    let replica = Replica::leading(&NodeOptions::default()).await;
    let addr = |port: u16| ReplicaAddr::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let request = JoinRequest::new(JoinNonce::new(1), addr(3), addr(4), "0.1.0");
    let answer = replica.node.join_asked(request).await.unwrap();
    assert!(matches!(answer, JoinAnswer::Waiting { .. }), "{answer:?}");
    assert_eq!(replica.node.joiners().joiners.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_replica_refuses_for_certain_and_ends_its_follows() {
    let replica = Replica::with_log(&NodeOptions::default()).await;
    let mut followed = replica.node.follow(follow(Start::From(ReadFrom::Tail))).await.unwrap();
    replica.node.stop(LIMIT).await;
    let refused = replica.append(&["a"]).await;
    assert_eq!(refused, Err(AppendError::Unserved(Unserved::Stopping)));
    let ended = followed.next().await.map(|_| ());
    assert_eq!(ended, Err(ReadError::NotFresh(NotFresh::Stopping)));
    assert!(!replica.node.readiness(Purpose::Serve).is_ready);
}
