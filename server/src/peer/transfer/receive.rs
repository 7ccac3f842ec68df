//! The side that lacks the state: compares an offer with what is here, fetches the difference from all who have it,
//! checks each part alone, writes it ahead, and installs the state when all is there.
//!
//! ```text
//! offered -> the manifest -> what is lacking? -> hashes of tiles -> records -> ready -> may it? -> installed
//! ```
//!
//! One offer is followed at a time. Another leader's offer of the same state goes on with what is under way; that of a
//! newer state takes its place, and what was written ahead serves it. So whoever dies on the way, no more is fetched
//! twice than was on its way. Before anything else the vote is compared, and the entry with what is
//! committed here: openraft ends the process over an offer that contradicts them.
//!
//! Not here: whom to ask (`sources`), what proves what (`storage::state::Proof`), and the rows of the state (`storage`).

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::api::transfers::{TransferDirection, TransferStage};
use client::types::{Digest, EntryId, EntryIndex, Position, ReplicaId};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use super::board::Progress;
use super::budget::{Budget, Room};
use super::plan::{ANSWER_BYTES, Lacking, Piece};
use super::sources::{Fault, Sources, Turn};
use super::throttle::Throttle;
use super::wire::{
    ManifestPart, ManifestQuestion, Offer, OfferAnswer, RecordSpan, RecordsAnswer, RecordsQuestion,
    TileSpan, TilesAnswer, TilesQuestion,
};
use crate::machine::{TILE_WIDTH, TileAddress};
use crate::metrics::Metrics;
use crate::peer::{Identity, Peers, paths};
use crate::raft::Raft;
use crate::raft::types::RaftVote;
use crate::storage::state::{
    Attestation, Proof, RECORD_HEAD_BYTES, State, StateManifest, Stretch, TimedWalk, Wrong, leaves,
};
use crate::world::{Clock, tasks};

/// How long an offer is looked at before its question is answered.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// A source from which nothing comes for so long is left out.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Whoever offered and does not ask about it for so long is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// Between two looks at that.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A transfer that gets nothing done for so long is given up, unless an operator holds it.
const STANDSTILL_MAX: Duration = Duration::from_mins(1);
/// What came is written, if nothing more comes for so long.
const WRITE_AFTER: Duration = Duration::from_millis(50);
/// The least that is asked for at a slow pace.
const QUESTION_BYTES_MIN: u64 = 64 << 10;
/// The longest manifest that is taken.
const MANIFEST_BYTES_MAX: u64 = 4 << 30;

/// Takes offers. A clone is the same one.
#[derive(Clone)]
pub(in crate::peer) struct Receiver {
    peers: Peers,
    raft: Raft,
    state: State,
    metrics: Metrics,
    clock: Clock,
    current: Arc<Mutex<Option<Current>>>,
}

/// The offer that is followed.
struct Current {
    sender: Identity,
    number: u64,
    standing: watch::Receiver<Standing>,
    /// Told with every question about it: as it stands now. Dropped, it ends the transfer.
    asked: watch::Sender<Asked>,
    progress: Progress,
}

/// Who offers, and what.
#[derive(Debug, Clone)]
struct Asked {
    sender: ReplicaId,
    offer: Offer,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    UnderWay,
    Ready,
    Installed(RaftVote),
    Refused(RaftVote),
    Failed(String),
}

impl Receiver {
    pub(super) fn new(
        peers: Peers,
        raft: Raft,
        state: State,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        Self { peers, raft, state, metrics, clock, current: Arc::default() }
    }

    /// A leader offers its state, or asks about its offer.
    pub(in crate::peer) async fn offered(&self, sender: Identity, offer: Offer) -> OfferAnswer {
        match self.judge(&offer) {
            Judgement::Refuse(vote) => return OfferAnswer::Refused(vote),
            Judgement::Contradicts => {
                return OfferAnswer::Failed("the state is of no history of this vote".to_owned());
            }
            Judgement::Covered(vote) => return OfferAnswer::Installed(vote),
            Judgement::Take => {}
        }
        self.peers.learn_places(&offer.places);
        let (mut standing, progress) = self.follow(sender, &offer);
        let is_news = |standing: &Standing| match standing {
            Standing::UnderWay => false,
            Standing::Ready => !offer.may_install,
            Standing::Installed(_) | Standing::Refused(_) | Standing::Failed(_) => true,
        };
        // What is not decided in time is answered as it is.
        let news = async { standing.wait_for(is_news).await.is_ok() };
        self.clock.within(ANSWER_WITHIN, news).await.ok();
        let standing = standing.borrow().clone();
        match standing {
            Standing::Ready if !offer.may_install => OfferAnswer::Ready,
            Standing::UnderWay | Standing::Ready => {
                let (total, done) = progress.figures();
                let is_paused = progress.pace().borrow().is_paused;
                OfferAnswer::UnderWay { total, done, is_paused }
            }
            Standing::Installed(vote) => OfferAnswer::Installed(vote),
            Standing::Refused(vote) => OfferAnswer::Refused(vote),
            Standing::Failed(reason) => OfferAnswer::Failed(reason),
        }
    }

    fn judge(&self, offer: &Offer) -> Judgement {
        let (vote, committed) = self.raft.standing();
        judge(offer, &vote, committed.map(EntryIndex::get))
    }

    /// The transfer of this offer; begins it, in place of any other.
    fn follow(&self, sender: Identity, offer: &Offer) -> (watch::Receiver<Standing>, Progress) {
        let mut current = self.current.lock().expect("no holder of this lock panicked");
        let asked = Asked { sender: sender.replica, offer: offer.clone() };
        if let Some(known) = &mut *current
            && known.is_about(&sender, offer)
        {
            (known.sender, known.number) = (sender, offer.number);
            known.progress.set_peer(sender.replica);
            known.asked.send_replace(asked);
            return (known.standing.clone(), known.progress.clone());
        }
        let board = self.peers.board();
        let index = offer.entry.index;
        let progress = board.begin(TransferDirection::Receiving, sender.replica, index);
        let (told, standing) = watch::channel(Standing::UnderWay);
        let (asked, asking) = watch::channel(asked);
        let transfer = Transfer {
            receiver: self.clone(),
            entry: offer.entry,
            asked: asking,
            throttle: Arc::new(Throttle::new(progress.pace(), self.clock.clone())),
            progress: progress.clone(),
        };
        tasks::spawn("state transfer", transfer.run(told));
        *current = Some(Current {
            sender,
            number: offer.number,
            standing: standing.clone(),
            asked,
            progress: progress.clone(),
        });
        (standing, progress)
    }
}

impl Current {
    /// Whether an offer is the one that is followed; or one of the same state, as another leader makes it, and it is
    /// not over yet.
    fn is_about(&self, sender: &Identity, offer: &Offer) -> bool {
        if self.sender == *sender && self.number == offer.number {
            return true;
        }
        let asked = self.asked.borrow();
        let is_under_way = matches!(*self.standing.borrow(), Standing::UnderWay | Standing::Ready);
        is_under_way
            && asked.offer.entry == offer.entry
            && asked.offer.manifest_hash == offer.manifest_hash
    }
}

/// What is to be made of an offer.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Take,
    /// Somebody else leads.
    Refuse(RaftVote),
    /// All of it is committed here.
    Covered(RaftVote),
    /// Nobody who followed the protocol would offer it.
    Contradicts,
}

fn judge(offer: &Offer, vote: &RaftVote, committed: Option<u64>) -> Judgement {
    let entry = &offer.entry;
    let is_as_late = matches!(
        offer.vote.partial_cmp(vote),
        Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal)
    );
    if !is_as_late {
        return Judgement::Refuse(*vote);
    }
    let leader = &offer.vote.leader_id;
    if !offer.vote.committed || (entry.term.get(), entry.leader) > (leader.term, leader.node_id) {
        return Judgement::Contradicts;
    }
    if committed >= Some(entry.index.get()) {
        return Judgement::Covered(*vote);
    }
    Judgement::Take
}

/// Why a transfer came to nothing. What was written ahead stays.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("no source has {0}")]
    NoSource(&'static str),
    #[error("the manifest is not the one that was offered")]
    Manifest,
    #[error("other replicas say that the state was another one")]
    Contradicted,
    #[error("another offer came")]
    Replaced,
    #[error("whoever offered it does not ask about it any more")]
    Forgotten,
    #[error("nothing got on for a minute{0}")]
    Standstill(String),
    #[error("storage: {0}")]
    Storage(#[from] io::Error),
}

/// One offer on its way.
struct Transfer {
    receiver: Receiver,
    /// The entry whose state it is.
    entry: EntryId,
    asked: watch::Receiver<Asked>,
    throttle: Arc<Throttle>,
    progress: Progress,
}

impl Transfer {
    async fn run(self, told: watch::Sender<Standing>) {
        let entry = self.entry;
        tracing::info!(from = %self.sender(), %entry, "state transfer begun");
        let stopped = self.stopped();
        let pulled = tokio::select! {
            pulled = Box::pin(self.pull()) => pulled,
            stop = stopped => Err(stop),
        };
        let manifest = match pulled {
            Ok(manifest) => manifest,
            Err(stop) => return self.fail(&told, &stop),
        };
        self.progress.set_stage(TransferStage::Installing);
        told.send_replace(Standing::Ready);
        let mut asked = self.asked.clone();
        let allowed = async { asked.wait_for(|asked| asked.offer.may_install).await.is_ok() };
        match self.receiver.clock.within(FORGOTTEN_AFTER, allowed).await {
            Ok(true) => {}
            Ok(false) => return self.fail(&told, &Stop::Replaced),
            Err(_) => return self.fail(&told, &Stop::Forgotten),
        }
        let standing = self.install(manifest).await;
        if let Standing::Installed(_) = standing {
            tracing::info!(from = %self.sender(), %entry, "state transfer done");
            self.progress.end(None);
        } else {
            let reason = format!("not installed: {standing:?}");
            tracing::warn!(from = %self.sender(), %entry, reason, "state transfer came to nothing");
            self.progress.end(Some(reason));
        }
        told.send_replace(standing);
    }

    fn fail(&self, told: &watch::Sender<Standing>, stop: &Stop) {
        let reason = stop.to_string();
        tracing::warn!(from = %self.sender(), reason, "state transfer came to nothing");
        self.progress.end(Some(reason.clone()));
        told.send_replace(Standing::Failed(reason));
    }

    /// Waits until nobody wants it any more, or it hangs.
    async fn stopped(&self) -> Stop {
        let (clock, mut asked) = (&self.receiver.clock, self.asked.clone());
        let mut heard = clock.now();
        loop {
            match clock.within(LOOK_EVERY, asked.changed()).await {
                Ok(Ok(())) => heard = clock.now(),
                Ok(Err(_)) => return Stop::Replaced,
                Err(_) if clock.since(heard) > FORGOTTEN_AFTER => return Stop::Forgotten,
                Err(_) => {}
            }
            let is_paused = self.progress.pace().borrow().is_paused;
            if !is_paused && clock.since(self.progress.moved()) > STANDSTILL_MAX {
                let waits_for = self.progress.waits_for();
                let waits_for = waits_for.map(|what| format!(", waiting for {what}"));
                return Stop::Standstill(waits_for.unwrap_or_default());
            }
        }
    }

    /// Who offers it now.
    fn sender(&self) -> ReplicaId {
        self.asked.borrow().sender
    }

    async fn install(&self, manifest: StateManifest) -> Standing {
        let offer = self.asked.borrow().offer.clone();
        match self.receiver.judge(&offer) {
            Judgement::Refuse(vote) => return Standing::Refused(vote),
            Judgement::Covered(vote) => return Standing::Installed(vote),
            Judgement::Contradicts => return Standing::Failed("the vote has changed".to_owned()),
            Judgement::Take => {}
        }
        match self.receiver.raft.install(offer.vote, manifest).await {
            Ok(vote) if vote > offer.vote => Standing::Refused(vote),
            Ok(vote) => Standing::Installed(vote),
            Err(_) => Standing::Failed("agreement has ended".to_owned()),
        }
    }

    /// Fetches all that is lacking.
    async fn pull(&self) -> Result<StateManifest, Stop> {
        let manifest = Arc::new(self.fetch_manifest().await?);
        self.confirm(&manifest).await?;
        self.progress.set_stage(TransferStage::Comparing);
        let flushing = self.receiver.state.clone();
        tasks::blocking(move || flushing.flush_now().map_err(io::Error::other)).await?;
        let lacking = self.compare(&manifest).await?;
        self.progress.set_total(lacking.bytes());
        self.progress.set_stage(TransferStage::Fetching);
        let sources = Sources::new(
            self.members(),
            self.progress.clone(),
            self.receiver.metrics.clone(),
            self.receiver.clock.clone(),
        );
        self.fetch_tiles(&manifest, &lacking, &sources).await?;
        self.fetch_records(&manifest, &lacking, &sources).await?;
        // Whatever was damaged or trimmed meanwhile is the next offer's.
        if self.compare(&manifest).await?.bytes() > 0 {
            return Err(Stop::NoSource("all of it any more"));
        }
        Ok(Arc::unwrap_or_clone(manifest))
    }

    /// Asks everybody what the state was at that entry: one that more of them contradict than confirm is not taken.
    async fn confirm(&self, manifest: &Arc<StateManifest>) -> Result<(), Stop> {
        let (entry, digested) = (self.entry.index, Arc::clone(manifest));
        let digest = tasks::blocking(move || Ok(digested.digest())).await?;
        let peers = &self.receiver.peers;
        let members = self.members();
        let asked = members.iter().map(|member| peers.attestation(*member, entry));
        let told = join_all(asked).await.into_iter().filter_map(|told| match told {
            Ok(Attestation::Digest(told)) => Some(told == digest),
            Ok(Attestation::NotYet | Attestation::Unknown) | Err(_) => None,
        });
        let (confirmed, contradicted): (Vec<_>, Vec<_>) = told.partition(|is_same| *is_same);
        if contradicted.len() > confirmed.len() { Err(Stop::Contradicted) } else { Ok(()) }
    }

    async fn compare(&self, manifest: &Arc<StateManifest>) -> Result<Lacking, Stop> {
        let (manifest, state) = (Arc::clone(manifest), self.receiver.state.clone());
        let compared =
            tasks::blocking(move || Lacking::of(manifest.rows(), &state).map_err(io::Error::other));
        Ok(compared.await?)
    }

    /// Whoever offers, and every other member.
    fn members(&self) -> BTreeSet<ReplicaId> {
        let membership = self.receiver.raft.membership();
        let nodes = membership.borrow().row.nodes.clone();
        let ourselves = self.receiver.peers.identity().replica;
        let members = nodes.keys().filter_map(|id| ReplicaId::new(*id));
        let asked = self.asked.borrow();
        let placed = asked.offer.places.iter().map(|(id, _)| *id);
        members.chain(placed).chain([asked.sender]).filter(|id| *id != ourselves).collect()
    }

    async fn fetch_manifest(&self) -> Result<StateManifest, Stop> {
        let Offer { manifest_bytes, manifest_hash: hash, entry, .. } =
            self.asked.borrow().offer.clone();
        if manifest_bytes > MANIFEST_BYTES_MAX {
            return Err(Stop::Manifest);
        }
        let mut bytes = BytesMut::new();
        while wide(bytes.len()) < manifest_bytes {
            self.throttle.pass((manifest_bytes - wide(bytes.len())).min(1 << 20)).await;
            // Whoever offers it now has the same bytes as whoever did before.
            let Asked { sender, offer } = self.asked.borrow().clone();
            let question = ManifestQuestion { number: offer.number, offset: wide(bytes.len()) };
            let peers = &self.receiver.peers;
            let asked = peers.ask_for_state(sender, paths::MANIFEST, &question, SILENCE_MAX).await;
            match asked {
                Ok(ManifestPart(part)) if part.is_empty() => return Err(Stop::Manifest),
                Ok(ManifestPart(part)) => bytes.extend_from_slice(&part),
                Err(error) => {
                    self.progress.set_waits_for(format!("replica {sender}: {error}"));
                    self.receiver.clock.sleep(ANSWER_WITHIN).await;
                }
            }
        }
        let bytes = bytes.freeze();
        let decoded = tasks::blocking(move || Ok(decode_manifest(&bytes, hash, entry))).await?;
        decoded.ok_or(Stop::Manifest)
    }

    /// About how much is asked for at a time: at a slow pace less, so that something comes a few times a second.
    fn question_bytes(&self) -> u64 {
        let rate = self.progress.pace().borrow().bytes_per_second;
        rate.map_or(ANSWER_BYTES, |rate| (rate / 4).clamp(QUESTION_BYTES_MIN, ANSWER_BYTES))
    }

    /// One question to one source.
    async fn ask<Q: crate::peer::codec::Message, A: crate::peer::codec::Message>(
        &self,
        turn: &Turn<'_>,
        path: &'static str,
        question: &Q,
    ) -> Result<A, Fault> {
        let peers = &self.receiver.peers;
        self.progress.asked(turn.replica);
        let answer = peers.ask_for_state(turn.replica, path, question, SILENCE_MAX).await;
        self.progress.answered(turn.replica);
        answer.map_err(|error| Fault::Silent(error.to_string()))
    }

    async fn fetch_tiles(
        &self,
        manifest: &Arc<StateManifest>,
        lacking: &Lacking,
        sources: &Sources,
    ) -> Result<(), Stop> {
        // A level is proved by the one above: one after the other.
        for questions in lacking.tile_questions() {
            let fetched = stream::iter(questions)
                .map(|spans| self.fetch_hashes(manifest, spans, sources))
                .buffer_unordered(sources.in_flight_max());
            let mut fetched = std::pin::pin!(fetched);
            while let Some(result) = fetched.next().await {
                result?;
            }
        }
        Ok(())
    }

    /// Fetches hashes from one source after the other until they fit, and writes them.
    async fn fetch_hashes(
        &self,
        manifest: &Arc<StateManifest>,
        spans: Vec<TileSpan>,
        sources: &Sources,
    ) -> Result<(), Stop> {
        let count: u64 = spans.iter().map(|span| span.until - span.from).sum();
        let mut tried = BTreeSet::new();
        loop {
            let Some(mut turn) = sources.turn(&tried).await else {
                return Err(Stop::NoSource("the hashes of these tiles"));
            };
            self.throttle.pass(count * 32).await;
            let question = TilesQuestion(spans.clone());
            let answer: TilesAnswer = match self.ask(&turn, paths::TILES, &question).await {
                Ok(answer) => answer,
                Err(fault) => {
                    sources.leave_out(turn.replica, &fault);
                    continue;
                }
            };
            turn.answered(answer.0.iter().map(|hashes| wide(hashes.len()) * 32).sum());
            let is_whole = answer.0.len() == spans.len()
                && (answer.0.iter().zip(&spans))
                    .all(|(hashes, span)| wide(hashes.len()) == span.until - span.from);
            if !is_whole {
                tried.insert(turn.replica);
                continue;
            }
            let (manifest, state) = (Arc::clone(manifest), self.receiver.state.clone());
            let asked = spans.clone();
            let written = tasks::blocking(move || {
                let proved = match prove_hashes(&manifest, &state, &asked, answer)? {
                    Ok(proved) => proved,
                    Err(wrong) => return Ok(Err(wrong)),
                };
                state.write_tiles_ahead(&proved).map_err(io::Error::other)?;
                Ok(Ok(()))
            });
            if written.await?.is_ok() {
                self.progress.add_done(count * 32);
                return Ok(());
            }
            tried.insert(turn.replica);
            sources.leave_out(turn.replica, &Fault::Wrong);
        }
    }

    async fn fetch_records(
        &self,
        manifest: &Arc<StateManifest>,
        lacking: &Lacking,
        sources: &Sources,
    ) -> Result<(), Stop> {
        let budget = Budget::of(lacking.bytes(), self.progress.pace());
        let most = || self.question_bytes().min(budget.question_bytes());
        // Room is taken in order: what is written first is never behind what waits for that.
        let fetched = stream::iter(lacking.questions(most))
            .then(|pieces| budget.clone().room_for(pieces))
            .map(|(pieces, room)| self.fetch_pieces(manifest, pieces, room, sources))
            .buffered(sources.in_flight_max());
        let mut fetched = std::pin::pin!(fetched);
        let (sender, mut receiver) = mpsc::channel(1);
        let fetch = async {
            while let Some(pieces) = fetched.next().await {
                if sender.send(pieces?).await.is_err() {
                    break;
                }
            }
            drop(sender);
            Ok::<_, Stop>(())
        };
        let write = async {
            let mut writer = Writer::new(self, lacking, &budget);
            let clock = &self.receiver.clock;
            loop {
                let next = clock.within(WRITE_AFTER, receiver.recv()).await;
                let is_last = matches!(next, Ok(None));
                let is_lull = next.is_err();
                if let Ok(Some(Fetched { pieces, room })) = next {
                    for (piece, records) in pieces {
                        writer.add(&piece, records);
                    }
                    writer.hold(room);
                }
                if is_last || is_lull || writer.is_full() {
                    writer.write().await?;
                }
                if is_last {
                    return Ok(());
                }
            }
        };
        tokio::try_join!(fetch, write).map(drop)
    }

    /// Fetches pieces from one source after the other until all are proved. Gives the records of each.
    async fn fetch_pieces(
        &self,
        manifest: &Arc<StateManifest>,
        pieces: Vec<Piece>,
        room: Room,
        sources: &Sources,
    ) -> Result<Fetched, Stop> {
        let mut basket = Basket::new(&pieces);
        let mut tried = BTreeSet::new();
        while !basket.is_full() {
            let Some(mut turn) = sources.turn(&tried).await else {
                return Err(Stop::NoSource("records that are lacking"));
            };
            match self.fetch_from(manifest, &mut basket, &mut turn).await? {
                Taken::All => {}
                Taken::NotThere => drop(tried.insert(turn.replica)),
                Taken::Fault(fault) => {
                    if fault == Fault::Wrong {
                        tried.insert(turn.replica);
                    }
                    sources.leave_out(turn.replica, &fault);
                }
            }
        }
        let pieces = pieces.into_iter().zip(basket.into_records()).collect();
        Ok(Fetched { pieces, room })
    }

    /// Asks one source until the basket is full, or it does not go on with it.
    async fn fetch_from(
        &self,
        manifest: &Arc<StateManifest>,
        basket: &mut Basket,
        turn: &mut Turn<'_>,
    ) -> Result<Taken, Stop> {
        // Only what one source gave is proved together: else nobody could say who was wrong.
        basket.drop_unproved();
        while !basket.is_full() {
            let most = self.question_bytes();
            let estimate = basket.left_bytes().min(most);
            self.throttle.pass(estimate).await;
            let question = RecordsQuestion {
                spans: basket.spans(),
                bytes_max: u32::try_from(most).unwrap_or(u32::MAX),
            };
            let answer: RecordsAnswer = match self.ask(turn, paths::RECORDS, &question).await {
                Ok(answer) => answer,
                Err(fault) => return Ok(Taken::Fault(fault)),
            };
            turn.answered(answer.0.iter().map(|part| wide(part.len())).sum());
            if answer.0.len() > question.spans.len() {
                return Ok(Taken::Fault(Fault::Wrong));
            }
            let is_there = answer.0.last().is_some_and(|part| !part.is_empty());
            for part in answer.0.into_iter().filter(|part| !part.is_empty()) {
                let (manifest, state) = (Arc::clone(manifest), self.receiver.state.clone());
                let mut taken = std::mem::take(basket);
                let (result, back) = tasks::blocking(move || {
                    let result = taken.add(&manifest, &state, &part)?;
                    Ok((result, taken))
                })
                .await?;
                *basket = back;
                if result.is_err() {
                    return Ok(Taken::Fault(Fault::Wrong));
                }
            }
            if !is_there {
                return Ok(Taken::NotThere);
            }
        }
        Ok(Taken::All)
    }
}

/// Pieces with their records, and the room these take.
struct Fetched {
    pieces: Vec<(Piece, Bytes)>,
    room: Room,
}

/// What became of asking one source.
enum Taken {
    All,
    /// It does not have the next record.
    NotThere,
    Fault(Fault),
}

/// The records of some pieces, as far as they are here and proved.
#[derive(Debug, Default)]
struct Basket {
    slots: Vec<Slot>,
    /// The first that is not full.
    at: usize,
}

#[derive(Debug)]
struct Slot {
    span: RecordSpan,
    bytes: u64,
    /// Proved records, from the span's first on, and where they end.
    proved: Vec<Bytes>,
    proved_until: Position,
    /// Records behind these that do not make a tile yet, and where they end.
    rest: BytesMut,
    rest_until: Position,
}

impl Slot {
    /// About so many bytes of it are to come.
    fn left_bytes(&self) -> u64 {
        let left = self.span.until.since(self.rest_until);
        self.bytes * left / self.span.until.since(self.span.from).max(1)
    }
}

impl Basket {
    fn new(pieces: &[Piece]) -> Self {
        let slots = pieces.iter().map(|piece| Slot {
            span: piece.span,
            bytes: piece.bytes,
            proved: Vec::new(),
            proved_until: piece.span.from,
            rest: BytesMut::new(),
            rest_until: piece.span.from,
        });
        Self { slots: slots.collect(), at: 0 }
    }

    fn is_full(&self) -> bool {
        self.at == self.slots.len()
    }

    /// About so many bytes are to come.
    fn left_bytes(&self) -> u64 {
        self.slots[self.at..].iter().map(Slot::left_bytes).sum()
    }

    fn drop_unproved(&mut self) {
        if let Some(slot) = self.slots.get_mut(self.at) {
            slot.rest.clear();
            slot.rest_until = slot.proved_until;
        }
    }

    /// What is still to be asked for.
    fn spans(&self) -> Vec<RecordSpan> {
        let left = self.slots[self.at..].iter();
        left.map(|slot| RecordSpan { from: slot.rest_until, ..slot.span }).collect()
    }

    /// Adds what was answered for the first span that is not full, and proves whole tiles of it.
    fn add(
        &mut self,
        manifest: &StateManifest,
        state: &State,
        part: &Bytes,
    ) -> io::Result<Result<(), Wrong>> {
        let Some(slot) = self.slots.get_mut(self.at) else { return Ok(Err(Wrong)) };
        let Ok(count) = leaf_count(part) else { return Ok(Err(Wrong)) };
        if count == 0 || count > slot.span.until.since(slot.rest_until) {
            return Ok(Err(Wrong));
        }
        slot.rest_until = slot.rest_until.advance(count);
        let whole_until = if slot.rest_until == slot.span.until {
            slot.span.until
        } else {
            Position::new(slot.rest_until.get() / TILE_WIDTH * TILE_WIDTH)
        };
        let all = if slot.rest.is_empty() {
            part.clone()
        } else {
            slot.rest.extend_from_slice(part);
            slot.rest.split().freeze()
        };
        if whole_until <= slot.proved_until {
            slot.rest = all.into();
            return Ok(Ok(()));
        }
        let length = length_of(&all, whole_until.since(slot.proved_until));
        let (proved, rest) = (all.slice(..length), all.slice(length..));
        let span = RecordSpan { from: slot.proved_until, until: whole_until, ..slot.span };
        if let Err(wrong) = prove_records(manifest, state, &span, &proved)? {
            return Ok(Err(wrong));
        }
        slot.proved.push(proved);
        slot.proved_until = whole_until;
        slot.rest = rest.into();
        if whole_until == slot.span.until {
            self.at += 1;
        }
        Ok(Ok(()))
    }

    fn into_records(self) -> impl Iterator<Item = Bytes> {
        self.slots.into_iter().map(|slot| match &slot.proved[..] {
            [one] => one.clone(),
            several => several.concat().into(),
        })
    }
}

/// Proves records by the hashes of their tiles, which are here, or by the frontier.
fn prove_records(
    manifest: &StateManifest,
    state: &State,
    span: &RecordSpan,
    records: &Bytes,
) -> io::Result<Result<(), Wrong>> {
    let Some(row) = row_of(manifest, span.log.get()) else { return Ok(Err(Wrong)) };
    let proof = Proof::from(row);
    let first_tile = span.from.get() / TILE_WIDTH;
    let begin = Position::new(first_tile * TILE_WIDTH);
    let mut hashes = Vec::new();
    if begin < span.from {
        let here = state.stretch(span.log, (begin, span.from), usize::MAX);
        let here = here.map_err(io::Error::other)?;
        let Some(here) = here else { return Err(io::Error::other("the begin of a tile is gone")) };
        hashes = leaves(&here.bytes).map_err(io::Error::other)?;
    }
    match leaves(records) {
        Ok(more) => hashes.extend(more),
        Err(wrong) => return Ok(Err(wrong)),
    }
    let last_tile = span.until.get().div_ceil(TILE_WIDTH);
    let known = state.tiles(span.log, 0, (first_tile, last_tile)).map_err(io::Error::other)?;
    let width = usize::try_from(TILE_WIDTH).expect("a tile is small");
    if hashes.len().div_ceil(width) != known.len() {
        return Ok(Err(Wrong));
    }
    for ((number, leaves), hash) in (first_tile..).zip(hashes.chunks(width)).zip(known) {
        if let Err(wrong) = proof.check_tile(number, leaves, hash) {
            return Ok(Err(wrong));
        }
    }
    Ok(Ok(()))
}

/// Proves hashes by those of the level above, which are here, or by the frontier. What is here of the same group counts
/// with them.
fn prove_hashes(
    manifest: &StateManifest,
    state: &State,
    spans: &[TileSpan],
    answer: TilesAnswer,
) -> io::Result<Result<Vec<(TileAddress, Digest)>, Wrong>> {
    let mut proved = Vec::new();
    for (span, hashes) in spans.iter().zip(answer.0) {
        let Some(row) = row_of(manifest, span.log.get()) else { return Ok(Err(Wrong)) };
        let proof = Proof::from(row);
        let groups = span.from / TILE_WIDTH..span.until.div_ceil(TILE_WIDTH);
        for group in groups {
            let begin = group * TILE_WIDTH;
            let end = begin + proof.group_length(span.level, group);
            let here = state.tiles(span.log, span.level, (begin, end)).map_err(io::Error::other)?;
            let whole: Option<Vec<Digest>> = (begin..end)
                .zip(here)
                .map(|(number, here)| {
                    let at = number.checked_sub(span.from).and_then(|at| usize::try_from(at).ok());
                    at.and_then(|at| hashes.get(at).copied()).or(here)
                })
                .collect();
            let above = state.tiles(span.log, span.level + 1, (group, group + 1));
            let above = above.map_err(io::Error::other)?[0];
            let is_right = whole
                .is_some_and(|whole| proof.check_hashes(span.level, group, &whole, above).is_ok());
            if !is_right {
                return Ok(Err(Wrong));
            }
        }
        let address = |number| TileAddress { log: span.log, level: span.level, number };
        proved.extend((span.from..).map(address).zip(hashes));
    }
    Ok(Ok(proved))
}

/// Writes what was proved, in order, while more is fetched.
struct Writer<'t> {
    transfer: &'t Transfer,
    lacking: &'t Lacking,
    /// The gap that is being filled, and the bytes of its log before the next record.
    gap: Option<(usize, u64)>,
    waiting: Vec<Stretch>,
    /// What of it counts for progress.
    waiting_done: u64,
    /// The room it takes, given back once it is durable.
    rooms: Vec<Room>,
    budget: &'t Budget,
}

impl<'t> Writer<'t> {
    fn new(transfer: &'t Transfer, lacking: &'t Lacking, budget: &'t Budget) -> Self {
        let (waiting, rooms) = (Vec::new(), Vec::new());
        Self { transfer, lacking, gap: None, waiting, waiting_done: 0, rooms, budget }
    }

    fn is_full(&self) -> bool {
        self.budget.is_much(&self.rooms)
    }

    fn hold(&mut self, room: Room) {
        self.rooms.push(room);
    }

    /// Adds the next piece; they come in order.
    fn add(&mut self, piece: &Piece, records: Bytes) {
        let gap = &self.lacking.gaps[piece.gap];
        let lengths = || TimedWalk(records.clone()).map(|(_, untimed)| wide(untimed.len()));
        let (mut before_anchor, mut all) = (0, 0);
        for (position, length) in (piece.span.from.get()..).zip(lengths()) {
            all += length;
            if position < gap.anchor.get() {
                before_anchor += length;
            }
        }
        let bytes_before = match self.gap {
            Some((at, bytes)) if at == piece.gap => bytes,
            // The first piece of a gap holds its anchor: whole tiles are fetched.
            _ => gap.bytes_before.saturating_sub(before_anchor),
        };
        self.gap = Some((piece.gap, bytes_before + all));
        let counted = piece.span.until.since(piece.span.from.max(gap.anchor));
        self.waiting_done += all - before_anchor + counted * wide(RECORD_HEAD_BYTES);
        let first = piece.span.from;
        self.waiting.push(Stretch { log: gap.log, first, bytes_before, records });
    }

    /// Writes what waits, and counts it once it is durable.
    async fn write(&mut self) -> Result<(), Stop> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let stretches = std::mem::take(&mut self.waiting);
        let state = self.transfer.receiver.state.clone();
        tasks::blocking(move || state.write_ahead(&stretches).map_err(io::Error::other)).await?;
        self.transfer.progress.add_done(std::mem::take(&mut self.waiting_done));
        self.rooms.clear();
        Ok(())
    }
}

fn decode_manifest(bytes: &Bytes, hash: Digest, entry: EntryId) -> Option<StateManifest> {
    if *hash.as_bytes() != <[u8; 32]>::from(Sha256::digest(bytes)) {
        return None;
    }
    let manifest = StateManifest::decode(bytes).ok()?;
    (manifest.applied() == entry).then_some(manifest)
}

fn row_of(manifest: &StateManifest, log: u64) -> Option<&migrations::latest::values::CatalogRow> {
    let logs = &manifest.rows().logs;
    let at = logs.binary_search_by_key(&log, |(id, _)| *id).ok()?;
    Some(&logs[at].1)
}

/// How many records these bytes are.
fn leaf_count(records: &Bytes) -> Result<u64, Wrong> {
    let (mut length, mut count) = (0, 0);
    for (_, untimed) in TimedWalk(records.clone()) {
        length += RECORD_HEAD_BYTES + untimed.len();
        count += 1;
    }
    if length == records.len() { Ok(count) } else { Err(Wrong) }
}

/// Bytes of the first records.
fn length_of(records: &Bytes, count: u64) -> usize {
    let count = usize::try_from(count).expect("a count of what is in memory");
    let lengths = TimedWalk(records.clone()).map(|(_, untimed)| RECORD_HEAD_BYTES + untimed.len());
    lengths.take(count).sum()
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}
