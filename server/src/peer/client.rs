//! Asks another replica: vote, append these entries, take the leadership, where is a read safe.
//!
//! Every message carries our identity and is introduced once per start: a replica that does not
//! know this start yet says so, is shown the folder's earlier starts, and is asked again. What a
//! message costs at most is its deadline; errors are told to openraft as *unreachable*, so that it
//! waits before it tries again.
//!
//! Not here: how bytes are carried (`transport`).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::types::{EntryIndex, Incarnation, ReplicaId};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use migrations::latest::NodeRow;
use tokio::sync::watch;

use super::acquaintances::Acquaintances;
use super::codec::{ENTRY_HEAD_BYTES, Introduction, Message};
use super::companion::with_company;
use super::envelope::{Envelope, Identity, Refusal};
use super::paths;
use super::transport::{Purpose, Transport, TransportError};
use crate::metrics::Metrics;
use crate::raft::types::{
    AppendRequest, AppendResponse, RaftEntry, RaftNetwork, RaftNetworkFactory, RaftPayload,
    RaftVote, ReplicationClosed, RpcError, RpcOption, Snapshot, SnapshotBody, SnapshotResponse,
    StreamAnswer, StreamingError, TransferRequest, TransferResponse, TypeConfig, Unreachable,
    VoteRequest, VoteResponse, entry_id, stream_append_sequential,
};
use crate::raft::{MembershipState, Timings};
use crate::storage::journal::Journal;
use crate::world::Clock;

/// The most bytes of entries in one message.
const ENTRIES_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The least to which a slow link may press that.
const ENTRIES_BYTES_MIN: usize = 64 * 1024;

/// A question to another replica was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Its address is not known: it is not in the membership.
    #[error("the replica is not known here")]
    Unknown,
    /// The message was not answered.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer cannot be read.
    #[error("the answer cannot be read")]
    Malformed,
}

/// Which replicas refuse this one's folder, and why. A majority of them condemns it.
pub type Condemned = BTreeMap<ReplicaId, Refusal>;

/// What this replica shows of itself when it introduces itself.
#[derive(Clone)]
pub struct Myself {
    /// Who we are, in this start.
    pub identity: Identity,
    /// Every start of our folder, this one last.
    pub starts: Arc<[Incarnation]>,
    /// Our journal, for its last entry.
    pub journal: Journal,
}

/// Asks the others. A clone is the same asker.
pub struct Peers<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Peers<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<T> {
    transport: T,
    myself: Myself,
    timings: Timings,
    addresses: Mutex<BTreeMap<u64, String>>,
    acquaintances: Acquaintances,
    condemned: watch::Sender<Condemned>,
    metrics: Metrics,
    clock: Clock,
}

impl<T: Transport> Peers<T> {
    /// An asker that speaks for `myself`.
    pub fn new(
        transport: T,
        myself: Myself,
        timings: Timings,
        acquaintances: Acquaintances,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                transport,
                myself,
                timings,
                addresses: Mutex::default(),
                acquaintances,
                condemned: watch::Sender::new(Condemned::new()),
                metrics,
                clock,
            }),
        }
    }

    /// Which replicas refuse our folder.
    pub fn condemned(&self) -> watch::Receiver<Condemned> {
        self.shared.condemned.subscribe()
    }

    /// Asks the leader from which entry on a read is linearizable.
    pub async fn read_index(&self, leader: ReplicaId) -> Result<EntryIndex, PeerError> {
        let address = self.address(leader).ok_or(PeerError::Unknown)?;
        let progress = self.shared.timings.election_max * 2;
        self.ask(Purpose::Questions, leader, &address, paths::READ_INDEX, &(), progress).await
    }

    fn address(&self, replica: ReplicaId) -> Option<String> {
        self.addresses().get(&replica.get()).cloned()
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, String>> {
        self.shared.addresses.lock().expect("no panic while looking up an address")
    }

    /// One question and its answer; introduces this start first if the other one asks for it.
    async fn ask<Q: Message, A: Message>(
        &self,
        purpose: Purpose,
        target: ReplicaId,
        address: &str,
        path: &str,
        question: &Q,
        progress: Duration,
    ) -> Result<A, PeerError> {
        let message = self.message(target, question);
        let mut answer = self.call(purpose, address, path, message.clone(), progress).await;
        if answer == Err(TransportError::Refused(Refusal::Stranger)) {
            self.introduce(target, address, progress).await?;
            answer = self.call(purpose, address, path, message, progress).await;
        }
        self.remember_refusal(target, answer.as_ref().err());
        A::decode_whole(answer?).map_err(|_| PeerError::Malformed)
    }

    async fn introduce(
        &self,
        target: ReplicaId,
        address: &str,
        progress: Duration,
    ) -> Result<(), PeerError> {
        let introduction = Introduction {
            starts: self.shared.myself.starts.to_vec(),
            last: self.shared.myself.journal.last(),
        };
        let message = self.message(target, &introduction);
        let answer =
            self.call(Purpose::Questions, address, paths::INTRODUCE, message, progress).await;
        self.remember_refusal(target, answer.as_ref().err());
        answer?;
        Ok(())
    }

    async fn call(
        &self,
        purpose: Purpose,
        address: &str,
        path: &str,
        message: Bytes,
        progress: Duration,
    ) -> Result<Bytes, TransportError> {
        let began = self.shared.clock.now();
        let answer = self.shared.transport.call(purpose, address, path, message, progress).await;
        let result = result_name(answer.as_ref().err());
        self.shared.metrics.peer_called(paths::name(path), result, self.shared.clock.since(began));
        answer
    }

    fn message(&self, target: ReplicaId, message: &impl Message) -> Bytes {
        let mut out = Vec::with_capacity(256);
        Envelope::new(self.shared.myself.identity, target).encode(&mut out);
        message.encode(&mut out);
        out.into()
    }

    /// Keeps who condemns this folder, and who does not any more.
    fn remember_refusal(&self, target: ReplicaId, error: Option<&TransportError>) {
        let refusal = match error {
            Some(TransportError::Refused(refusal)) if refusal.condemns() => Some(*refusal),
            Some(
                TransportError::Unreachable { .. }
                | TransportError::TimedOut
                | TransportError::Broken { .. },
            ) => return,
            Some(TransportError::Refused(_) | TransportError::Unavailable) | None => None,
        };
        self.shared.condemned.send_if_modified(|condemned| match refusal {
            Some(refusal) => condemned.insert(target, refusal) != Some(refusal),
            None => condemned.remove(&target).is_some(),
        });
    }
}

fn result_name(error: Option<&TransportError>) -> &'static str {
    match error {
        None => "ok",
        Some(TransportError::Unreachable { .. }) => "unreachable",
        Some(TransportError::Broken { .. }) => "broken",
        Some(TransportError::TimedOut) => "timed_out",
        Some(TransportError::Refused(_)) => "refused",
        Some(TransportError::Unavailable) => "unavailable",
    }
}

/// openraft's connection to one replica, for one purpose.
pub struct Connection<T> {
    peers: Peers<T>,
    purpose: Purpose,
    target: ReplicaId,
    address: String,
    /// How many bytes of entries a message may carry now.
    entries_bytes: AtomicUsize,
}

impl<T: Transport> RaftNetworkFactory<TypeConfig> for Peers<T> {
    type Network = Connection<T>;

    async fn new_client(&mut self, target: u64, node: &NodeRow) -> Connection<T> {
        self.connection(Purpose::Entries, target, node)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &NodeRow) -> Connection<T> {
        self.connection(Purpose::Heartbeats, target, node)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &NodeRow) -> Connection<T> {
        self.connection(Purpose::Transfers, target, node)
    }
}

impl<T: Transport> Peers<T> {
    /// Learns from every membership where the replicas are found, until nobody tells any more.
    pub async fn learn_addresses(self, mut membership: watch::Receiver<MembershipState>) {
        loop {
            let nodes = membership.borrow_and_update().row.nodes.clone();
            *self.addresses() = nodes.into_iter().map(|(id, node)| (id, node.peer_addr)).collect();
            if membership.changed().await.is_err() {
                return;
            }
        }
    }

    fn connection(&self, purpose: Purpose, target: u64, node: &NodeRow) -> Connection<T> {
        Connection {
            peers: self.clone(),
            purpose,
            target: ReplicaId::new(target).expect("a replica's id is counted from 1"),
            address: node.peer_addr.clone(),
            entries_bytes: AtomicUsize::new(ENTRIES_BYTES_MAX),
        }
    }
}

impl<T: Transport> Connection<T> {
    async fn ask<Q: Message, A: Message>(
        &self,
        purpose: Purpose,
        path: &str,
        question: &Q,
        progress: Duration,
    ) -> Result<A, RpcError> {
        self.peers
            .ask(purpose, self.target, &self.address, path, question, progress)
            .await
            .map_err(|error| RpcError::Unreachable(Unreachable::new(&error)))
    }

    /// Cuts a message to what this link moves in time; the rest follows in the next one.
    fn fit(&self, request: &mut AppendRequest) -> bool {
        let bytes_max = self.entries_bytes.load(Ordering::Relaxed);
        let mut bytes = 0;
        let fitting = request.entries.iter().take_while(|entry| {
            bytes += entry_bytes(entry);
            bytes <= bytes_max
        });
        let fitting = fitting.count().max(1);
        let is_cut = fitting < request.entries.len();
        request.entries.truncate(fitting);
        is_cut
    }

    /// A time-out halves what a message may carry, so that a large one cannot fail for ever; an
    /// answer gives it back.
    fn learn(&self, is_timed_out: bool) {
        let bytes = self.entries_bytes.load(Ordering::Relaxed);
        let bytes = if is_timed_out {
            (bytes / 2).max(ENTRIES_BYTES_MIN)
        } else {
            (bytes * 2).min(ENTRIES_BYTES_MAX)
        };
        self.entries_bytes.store(bytes, Ordering::Relaxed);
    }

    async fn heartbeat(&self, request: &AppendRequest) -> Result<AppendResponse, RpcError> {
        let progress = self.peers.shared.timings.election_max;
        self.ask(self.purpose, paths::APPEND, request, progress).await
    }

    async fn entries(&self, mut request: AppendRequest) -> Result<AppendResponse, RpcError> {
        let is_cut = self.fit(&mut request);
        let last = request.entries.last().map(|entry| entry.log_id);
        let progress = self.peers.shared.timings.election_max;
        let answer = self
            .peers
            .ask(self.purpose, self.target, &self.address, paths::APPEND, &request, progress)
            .await;
        self.learn(matches!(answer, Err(PeerError::Transport(TransportError::TimedOut))));
        let answer: AppendResponse =
            answer.map_err(|error| RpcError::Unreachable(Unreachable::new(&error)))?;
        if let (AppendResponse::Success, Some(last)) = (&answer, last) {
            self.peers.shared.acquaintances.acknowledged(self.target, entry_id(&last));
            if is_cut {
                return Ok(AppendResponse::PartialSuccess(Some(last)));
            }
        }
        Ok(answer)
    }
}

fn entry_bytes(entry: &RaftEntry) -> usize {
    ENTRY_HEAD_BYTES
        + match &entry.payload {
            RaftPayload::Normal(payload) => payload.bytes.len(),
            RaftPayload::Blank | RaftPayload::Membership(_) => 0,
        }
}

impl<T: Transport> RaftNetwork<TypeConfig> for Connection<T> {
    type SnapshotData = SnapshotBody;

    async fn append_entries(
        &mut self,
        request: AppendRequest,
        _option: RpcOption,
    ) -> Result<AppendResponse, RpcError> {
        if request.entries.is_empty() {
            self.heartbeat(&request).await
        } else {
            self.entries(request).await
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RpcOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, StreamAnswer>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        let clock = self.peers.shared.clock.clone();
        stream_append_sequential(self, with_company(requests, clock), option)
    }

    async fn vote(
        &mut self,
        request: VoteRequest,
        _option: RpcOption,
    ) -> Result<VoteResponse, RpcError> {
        let progress = self.peers.shared.timings.election_max;
        self.ask(Purpose::Heartbeats, paths::VOTE, &request, progress).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest,
        _option: RpcOption,
    ) -> Result<VoteResponse, RpcError> {
        let progress = self.peers.shared.timings.election_max;
        self.ask(Purpose::Heartbeats, paths::PRE_VOTE, &request, progress).await
    }

    async fn full_snapshot(
        &mut self,
        _vote: RaftVote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RpcOption,
    ) -> Result<SnapshotResponse, StreamingError> {
        // The journal is never purged yet, so entries always suffice and nobody needs an offer.
        let error = std::io::Error::other("a journal that was never purged offers no snapshot");
        Err(StreamingError::Unreachable(Unreachable::new(&error)))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferRequest,
        _option: RpcOption,
    ) -> Result<TransferResponse, RpcError> {
        let progress = self.peers.shared.timings.election_max;
        self.ask(Purpose::Heartbeats, paths::TAKE_LEADERSHIP, &request, progress).await
    }
}
