//! Asks another replica: vote, append these entries, take the leadership, where is a read safe.
//!
//! Two starts introduce themselves to each other once, in one question and its answer: each shows the
//! folder's earlier starts, its last entry and its vote, and is judged by the other. Only then are
//! there messages between them; each carries our identity and the start of the other that was
//! accepted. Introducing needs no acceptance, so two that are new to each other never wait for each
//! other. What a message costs at most is its deadline; errors are told to openraft as *unreachable*,
//! so that it waits before it tries again.
//!
//! As long as anybody condemns this folder, and before everybody was asked once, nobody is asked or
//! answered anything else: it could decide without what it forgot.
//!
//! Not here: how bytes are carried (`transport`).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::types::{EntryIndex, Incarnation, ReplicaId, Term};
use futures_util::Stream;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::BoxStream;
use migrations::latest::{MembershipRow, NodeRow};
use tokio::sync::watch;

use super::acquaintances::Acquaintances;
use super::codec::{ENTRY_HEAD_BYTES, Introduction, Message};
use super::companion::with_company;
use super::entries::{EntriesAnswer, EntriesQuestion, HeldJournal};
use super::envelope::{Envelope, Identity, Refusal};
use super::intake::{seal, unseal};
use super::paths;
use super::transfer::Board;
use super::transfer::send::{self, Shelf};
use super::transfer::wire::{Offer, OfferAnswer};
use super::transport::{Purpose, Transport, TransportError};
use crate::metrics::Metrics;
use crate::raft::types::{
    AppendRequest, AppendResponse, RaftEntry, RaftNetwork, RaftNetworkFactory, RaftPayload,
    RaftVote, ReplicationClosed, RpcError, RpcOption, Snapshot, SnapshotBody, SnapshotResponse,
    StreamAnswer, StreamingError, TransferRequest, TransferResponse, TypeConfig, Unreachable,
    VoteRequest, VoteResponse, entry_id, stream_append_sequential,
};
use crate::raft::{MembershipState, Timings};
use crate::world::{Clock, tasks};

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
    /// Its folder is not accepted here: it is not asked.
    #[error("the replica is not accepted here: {0}")]
    NotAccepted(Refusal),
    /// It repairs its journal, and answers nothing but questions about that.
    #[error("the replica repairs its journal")]
    Repairing,
    /// Our own folder is not accepted by somebody: nobody is asked.
    #[error("another replica refuses this folder")]
    Condemned,
    /// Whom we meet cannot be remembered now.
    #[error("whom we meet cannot be remembered")]
    NotRemembered,
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
    /// Our journal, for its last entry and vote.
    pub journal: HeldJournal,
}

impl Myself {
    fn introduction(&self, epoch: Option<EntryIndex>) -> Introduction {
        let vote = self.journal.vote();
        Introduction {
            starts: self.starts.to_vec(),
            last: self.journal.last(),
            vote: vote.map(|vote| (Term::new(vote.term), vote.leader)),
            epoch,
            is_whole: self.journal.is_whole(),
        }
    }
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
    /// The entry of the membership that told them.
    epoch: Mutex<Option<EntryIndex>>,
    acquaintances: Acquaintances,
    condemned: watch::Sender<Condemned>,
    /// Everybody who was known at the start was asked whether our folder is accepted.
    is_introduced: watch::Sender<bool>,
    /// There is no room here for what others append.
    is_brimful: AtomicBool,
    /// How many bytes may be stored here for a transfer.
    room: watch::Sender<u64>,
    /// What is offered, and how far that is.
    shelf: Shelf,
    board: Board,
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
        let start = myself.identity.incarnation.start;
        Self {
            shared: Arc::new(Shared {
                shelf: Shelf::default(),
                board: Board::new(start, clock.clone(), metrics.clone()),
                transport,
                myself,
                timings,
                addresses: Mutex::new(acquaintances.places()),
                epoch: Mutex::default(),
                acquaintances,
                condemned: watch::Sender::new(Condemned::new()),
                is_introduced: watch::Sender::new(true),
                is_brimful: AtomicBool::new(false),
                room: watch::Sender::new(u64::MAX),
                metrics,
                clock,
            }),
        }
    }

    /// Which replicas refuse our folder.
    pub fn condemned(&self) -> watch::Receiver<Condemned> {
        self.shared.condemned.subscribe()
    }

    /// Introduces this start to these members, each once and all at a time. Until that is done, or
    /// given up, nobody is answered: so who remembers more of us than we do is heard first. The
    /// waiting begins with the call.
    pub fn introduce_to(
        &self,
        members: &MembershipRow,
    ) -> impl Future<Output = ()> + Send + use<T> {
        let ourselves = self.shared.myself.identity.replica.get();
        let others: Vec<_> = (members.nodes.iter())
            .filter(|(id, _)| **id != ourselves)
            .filter_map(|(id, node)| Some((ReplicaId::new(*id)?, node.peer_addr.clone())))
            .collect();
        self.shared.is_introduced.send_replace(others.is_empty());
        let peers = self.clone();
        async move {
            let progress = peers.shared.timings.election_max;
            let asked = others.iter().map(|(id, address)| peers.introduce(*id, address, progress));
            // Whoever could not be asked is asked again before the first message to it.
            drop(join_all(asked).await);
            peers.shared.is_introduced.send_replace(true);
        }
    }

    /// Every state transfer of this replica.
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// The manifests that are offered now.
    pub(super) fn shelf(&self) -> &Shelf {
        &self.shared.shelf
    }

    /// What tells time here.
    pub(super) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The last entry that our journal has let go.
    pub(super) fn purged(&self) -> Option<EntryIndex> {
        self.shared.myself.journal.purged().map(|id| id.index)
    }

    /// Our journal.
    pub(super) fn journal(&self) -> &HeldJournal {
        &self.shared.myself.journal
    }

    /// Asks another replica for entries that are lacking here.
    pub(super) async fn ask_for_entries(
        &self,
        of: ReplicaId,
        question: &EntriesQuestion,
        silence_max: Duration,
    ) -> Result<EntriesAnswer, PeerError> {
        let address = self.address(of).ok_or(PeerError::Unknown)?;
        let ask = |accepted| {
            let message = self.message(of, Some(accepted), question);
            self.call(Purpose::Transfers, &address, paths::ENTRIES, message, silence_max)
        };
        let mut answer = match self.shared.acquaintances.accepted_for_repair(of) {
            Some(accepted) => ask(accepted).await,
            None => Err(TransportError::Refused(Refusal::NotAccepted)),
        };
        if answer.as_ref().is_err_and(is_unmet) {
            let accepted = match self.introduce(of, &address, silence_max).await {
                Err(PeerError::Repairing) => self.shared.acquaintances.accepted_for_repair(of),
                met => Some(met?),
            };
            answer = ask(accepted.ok_or(PeerError::Repairing)?).await;
        }
        EntriesAnswer::decode_whole(answer?).map_err(|_| PeerError::Malformed)
    }

    /// Offers our state to a replica, or asks about the offer.
    pub(super) async fn offer_state(
        &self,
        target: ReplicaId,
        address: &str,
        offer: &Offer,
    ) -> Result<OfferAnswer, PeerError> {
        // It answers within a second; a slow disk may take a little longer to be told of.
        let progress = Duration::from_secs(5);
        self.ask(Purpose::Transfers, target, address, paths::OFFER, offer, progress).await
    }

    /// Asks a member for a part of the state.
    pub(super) async fn ask_for_state<Q: Message, A: Message>(
        &self,
        of: ReplicaId,
        path: &'static str,
        question: &Q,
        silence_max: Duration,
    ) -> Result<A, PeerError> {
        let address = self.address(of).ok_or(PeerError::Unknown)?;
        self.ask(Purpose::Transfers, of, &address, path, question, silence_max).await
    }

    /// Who we are, in this start.
    pub(super) fn identity(&self) -> &Identity {
        &self.shared.myself.identity
    }

    /// Whom we know.
    pub(super) fn acquaintances(&self) -> &Acquaintances {
        &self.shared.acquaintances
    }

    /// What we show of ourselves.
    pub(super) fn introduction(&self) -> Introduction {
        let epoch = *self.shared.epoch.lock().expect("no panic while looking up an epoch");
        self.shared.myself.introduction(epoch)
    }

    /// Says whether there is no room here for what others append.
    pub fn set_brimful(&self, is_brimful: bool) {
        self.shared.is_brimful.store(is_brimful, Ordering::Relaxed);
    }

    /// Says how many bytes may be stored here before there is no room for what others append.
    pub fn set_room(&self, bytes: u64) {
        self.shared.room.send_if_modified(|room| std::mem::replace(room, bytes) != bytes);
    }

    /// How many bytes may be stored here, as it was looked at last.
    pub(super) fn room(&self) -> watch::Receiver<u64> {
        self.shared.room.subscribe()
    }

    pub(super) fn is_brimful(&self) -> bool {
        self.shared.is_brimful.load(Ordering::Relaxed)
    }

    /// Waits until everybody was asked once, and says whether nobody condemns our folder.
    pub(super) async fn is_in_good_standing(&self) -> bool {
        let mut introduced = self.shared.is_introduced.subscribe();
        let is_introduced = introduced.wait_for(|is_introduced| *is_introduced).await.is_ok();
        is_introduced && self.shared.condemned.borrow().is_empty()
    }

    /// Asks the leader from which entry on a read is linearizable.
    pub async fn read_index(&self, leader: ReplicaId) -> Result<EntryIndex, PeerError> {
        let address = self.address(leader).ok_or(PeerError::Unknown)?;
        let progress = self.shared.timings.election_max * 2;
        self.ask(Purpose::Questions, leader, &address, paths::READ_INDEX, &(), progress).await
    }

    pub(super) fn timings(&self) -> Timings {
        self.shared.timings
    }

    pub(super) fn address(&self, replica: ReplicaId) -> Option<String> {
        self.addresses().get(&replica.get()).cloned()
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, String>> {
        self.shared.addresses.lock().expect("no panic while looking up an address")
    }

    /// One question and its answer; introduces the two starts to each other first if need be.
    pub(super) async fn ask<Q: Message, A: Message>(
        &self,
        purpose: Purpose,
        target: ReplicaId,
        address: &str,
        path: &str,
        question: &Q,
        progress: Duration,
    ) -> Result<A, PeerError> {
        if !self.is_in_good_standing().await {
            // It may be the one that condemns us, and think better of it.
            self.introduce(target, address, progress).await?;
            return Err(PeerError::Condemned);
        }
        let ask = |accepted| {
            let message = self.message(target, Some(accepted), question);
            self.call(purpose, address, path, message, progress)
        };
        let mut answer = match self.shared.acquaintances.accepted(target) {
            Some(accepted) => ask(accepted).await,
            None => Err(TransportError::Refused(Refusal::NotAccepted)),
        };
        if answer.as_ref().is_err_and(is_unmet) {
            let accepted = self.introduce(target, address, progress).await?;
            answer = ask(accepted).await;
        }
        self.remember_refusal(target, answer.as_ref().err());
        A::decode_whole(answer?).map_err(|_| PeerError::Malformed)
    }

    /// Shows this start to another replica, and judges what it shows of its own. Its start, once
    /// both are accepted.
    pub(super) async fn introduce(
        &self,
        target: ReplicaId,
        address: &str,
        progress: Duration,
    ) -> Result<Incarnation, PeerError> {
        let message = self.message(target, None, &self.introduction());
        let answer =
            self.call(Purpose::Questions, address, paths::INTRODUCE, message, progress).await;
        self.remember_refusal(target, answer.as_ref().err());
        let theirs = Introduction::decode_whole(answer?).map_err(|_| PeerError::Malformed)?;
        let start = *theirs.starts.last().ok_or(PeerError::Malformed)?;
        let is_whole = theirs.is_whole;
        let acquaintances = self.shared.acquaintances.clone();
        let met = tasks::blocking(move || acquaintances.meet(target, start, &theirs)).await;
        match met {
            Ok(Ok(())) if is_whole => Ok(start),
            Ok(Ok(())) => Err(PeerError::Repairing),
            Ok(Err(refusal)) => {
                tracing::warn!(
                    replica = %target,
                    start = start.start,
                    refusal = refusal.name(),
                    "a start of a replica is not accepted here"
                );
                Err(PeerError::NotAccepted(refusal))
            }
            Err(error) => {
                tracing::warn!(%error, "whom we meet cannot be remembered");
                Err(PeerError::NotRemembered)
            }
        }
    }

    pub(super) async fn call(
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
        let changed = || TransportError::Broken { reason: "the answer was changed".to_owned() };
        unseal(answer?).ok_or_else(changed)
    }

    pub(super) fn message(
        &self,
        target: ReplicaId,
        accepted: Option<Incarnation>,
        message: &impl Message,
    ) -> Bytes {
        let mut out = Vec::with_capacity(256);
        Envelope::new(self.shared.myself.identity, target, accepted).encode(&mut out);
        let front = out.len();
        message.encode(&mut out);
        seal(&mut out, front);
        out.into()
    }

    /// Takes a member's word that we are none any more.
    pub(super) fn hear_farewell(&self, from: ReplicaId) {
        self.remember_refusal(from, Some(&TransportError::Refused(Refusal::Removed)));
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
        let is_changed = self.shared.condemned.send_if_modified(|condemned| match refusal {
            Some(refusal) => condemned.insert(target, refusal) != Some(refusal),
            None => condemned.remove(&target).is_some(),
        });
        if is_changed && let Some(refusal) = refusal {
            tracing::error!(
                replica = %target,
                refusal = refusal.name(),
                "another replica refuses this folder: nobody is answered"
            );
        }
    }
}

/// Whether the two starts have to introduce themselves to each other first.
fn is_unmet(error: &TransportError) -> bool {
    matches!(error, TransportError::Refused(Refusal::Stranger | Refusal::NotAccepted))
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
            let MembershipState { entry, row: MembershipRow { nodes, .. }, .. } =
                membership.borrow_and_update().clone();
            *self.shared.epoch.lock().expect("no panic while learning an epoch") =
                entry.map(|entry| entry.index);
            let places: BTreeMap<u64, String> =
                nodes.into_iter().map(|(id, node)| (id, node.peer_addr)).collect();
            // Who knows no group yet forgets nobody.
            if !places.is_empty() {
                self.addresses().clone_from(&places);
                self.remember_places(places).await;
            }
            if membership.changed().await.is_err() {
                return;
            }
        }
    }

    /// Remembers durably where members are found: for a start that does not know its state or its journal.
    async fn remember_places(&self, places: BTreeMap<u64, String>) {
        let acquaintances = self.shared.acquaintances.clone();
        let remembered = tasks::blocking(move || acquaintances.found_at(&places)).await;
        if let Err(error) = remembered {
            tracing::warn!(%error, "where members are found cannot be remembered");
        }
    }

    /// Where the members are found.
    pub(super) fn places(&self) -> Vec<(ReplicaId, String)> {
        let addresses = self.addresses();
        let known = addresses.iter();
        known.filter_map(|(id, address)| Some((ReplicaId::new(*id)?, address.clone()))).collect()
    }

    /// Learns where members are found that are not known yet; the next membership says it better.
    pub(super) fn learn_places(&self, places: &[(ReplicaId, String)]) {
        let mut addresses = self.addresses();
        for (replica, address) in places {
            addresses.entry(replica.get()).or_insert_with(|| address.clone());
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
    /// Where the replica is found now: it may have moved since the connection was made.
    fn address(&self) -> String {
        self.peers.address(self.target).unwrap_or_else(|| self.address.clone())
    }

    async fn ask<Q: Message, A: Message>(
        &self,
        purpose: Purpose,
        path: &str,
        question: &Q,
        progress: Duration,
    ) -> Result<A, RpcError> {
        self.peers
            .ask(purpose, self.target, &self.address(), path, question, progress)
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
            .ask(self.purpose, self.target, &self.address(), paths::APPEND, &request, progress)
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

    fn stream_append<S>(
        &mut self,
        requests: S,
        option: RpcOption,
    ) -> BoxFuture<'_, Result<BoxStream<'_, StreamAnswer>, RpcError>>
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
        let answer: VoteResponse =
            self.ask(Purpose::Heartbeats, paths::VOTE, &request, progress).await?;
        if answer.vote_granted {
            let leader = request.vote.leader_id;
            let acquaintances = &self.peers.shared.acquaintances;
            acquaintances.voted(self.target, Term::new(leader.term), leader.node_id);
        }
        Ok(answer)
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
        vote: RaftVote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RpcOption,
    ) -> Result<SnapshotResponse, StreamingError> {
        let Some(manifest) = snapshot.snapshot else {
            let error = std::io::Error::other("there is no state to be offered yet");
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        };
        let address = self.address();
        let target = (self.target, &*address);
        match send::offer(&self.peers, target, vote, manifest, cancel).await {
            Ok(vote) => Ok(SnapshotResponse::new(vote)),
            Err(send::NotTaken::Closed(closed)) => Err(StreamingError::Closed(closed)),
            Err(error) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
        }
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
