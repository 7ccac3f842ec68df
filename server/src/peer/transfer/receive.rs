//! The side that lacks the state and is offered it: judges the offer, has what is lacking fetched, and installs the
//! state when all is there.
//!
//! ```text
//! offered -> the manifest -> what is lacking is fetched -> ready -> may it? -> installed
//! ```
//!
//! One offer is followed at a time. Another leader's offer of the same state goes on with what is under way; that of a
//! newer state takes its place, and what was written ahead serves it. So whoever dies on the way, no more is fetched
//! twice than was on its way. Before anything else the vote is compared, and the entry with what is
//! committed here: openraft ends the process over an offer that contradicts them.
//!
//! Not here: how what is lacking gets here (`fetch`), and the rows of the state (`storage`).

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::api::transfers::{TransferDirection, TransferStage};
use client::types::{Digest, EntryId, EntryIndex, ReplicaId};
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::board::Progress;
use super::fetch::{Fetch, NotFetched, SILENCE_MAX};
use super::wire::{ManifestPart, ManifestQuestion, Offer, OfferAnswer};
use crate::metrics::Metrics;
use crate::peer::{Identity, Peers, paths};
use crate::raft::Raft;
use crate::raft::types::RaftVote;
use crate::storage::state::{Attestation, State, StateManifest};
use crate::world::{Clock, tasks};

/// How long an offer is looked at before its question is answered.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Whoever offered and does not ask about it for so long is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// Between two looks at that.
const LOOK_EVERY: Duration = Duration::from_secs(5);
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
        let fetch = Fetch::new(
            self.peers.clone(),
            self.state.clone(),
            self.members(&asking.borrow()),
            progress.clone(),
            self.metrics.clone(),
            self.clock.clone(),
        );
        let transfer = Transfer {
            receiver: self.clone(),
            entry: offer.entry,
            asked: asking,
            fetch,
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

    /// Whoever offers, and every other member.
    fn members(&self, asked: &Asked) -> BTreeSet<ReplicaId> {
        let membership = self.raft.membership();
        let nodes = membership.borrow().row.nodes.clone();
        let ourselves = self.peers.identity().replica;
        let members = nodes.keys().filter_map(|id| ReplicaId::new(*id));
        let placed = asked.offer.places.iter().map(|(id, _)| *id);
        members.chain(placed).chain([asked.sender]).filter(|id| *id != ourselves).collect()
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
    #[error(transparent)]
    NotFetched(#[from] NotFetched),
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
    fetch: Fetch,
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
            if let Some(standstill) = self.fetch.standstill() {
                return Stop::Standstill(standstill);
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
        // What is lacking is counted against redb, not against memory.
        let flushing = self.receiver.state.clone();
        tasks::blocking(move || flushing.flush_now().map_err(io::Error::other)).await?;
        self.fetch.lacking(&manifest).await?;
        Ok(Arc::unwrap_or_clone(manifest))
    }

    /// Asks everybody what the state was at that entry: one that more of them contradict than confirm is not taken.
    async fn confirm(&self, manifest: &Arc<StateManifest>) -> Result<(), Stop> {
        let (entry, digested) = (self.entry.index, Arc::clone(manifest));
        let digest = tasks::blocking(move || Ok(digested.digest())).await?;
        let peers = &self.receiver.peers;
        let members = self.receiver.members(&self.asked.borrow());
        let asked = members.iter().map(|member| peers.attestation(*member, entry));
        let told = join_all(asked).await.into_iter().filter_map(|told| match told {
            Ok(Attestation::Digest(told)) => Some(told == digest),
            Ok(Attestation::NotYet | Attestation::Unknown) | Err(_) => None,
        });
        let (confirmed, contradicted): (Vec<_>, Vec<_>) = told.partition(|is_same| *is_same);
        if contradicted.len() > confirmed.len() { Err(Stop::Contradicted) } else { Ok(()) }
    }

    async fn fetch_manifest(&self) -> Result<StateManifest, Stop> {
        let Offer { manifest_bytes, manifest_hash: hash, entry, .. } =
            self.asked.borrow().offer.clone();
        if manifest_bytes > MANIFEST_BYTES_MAX {
            return Err(Stop::Manifest);
        }
        let mut bytes = BytesMut::new();
        while wide(bytes.len()) < manifest_bytes {
            self.fetch.pass((manifest_bytes - wide(bytes.len())).min(1 << 20)).await;
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
}

fn decode_manifest(bytes: &Bytes, hash: Digest, entry: EntryId) -> Option<StateManifest> {
    if *hash.as_bytes() != <[u8; 32]>::from(Sha256::digest(bytes)) {
        return None;
    }
    let manifest = StateManifest::decode(bytes).ok()?;
    (manifest.applied() == entry).then_some(manifest)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}
