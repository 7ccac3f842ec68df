//! The side that has the state: offers it, and serves parts of it to whoever asks.
//!
//! An offer is asked about again and again until it is decided: so the one who offers notices within seconds when the
//! other is gone, however long the copy takes. It has the last word before the install: if its journal does not go on
//! from the offered entry any more, it comes back with a newer state, of which only the difference is fetched.
//!
//! Any replica serves tiles, whether it leads or not: what it serves proves itself.
//! Not here: what the other side does with it (`receive`).

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use client::api::transfers::{TransferDirection, TransferStage};
use client::types::{Digest, ReplicaId};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::board::Progress;
use super::wire::{
    KeptPart, KeptQuestion, ManifestPart, ManifestQuestion, Offer, OfferAnswer, RecordsGiven,
    RecordsQuestion, TilesAnswer, TilesQuestion,
};
use crate::peer::client::{PeerError, Peers};
use crate::peer::transport::Transport;
use crate::raft::types::{RaftVote, ReplicationClosed};
use crate::storage::state::{State, StateManifest};
use crate::world::tasks;

/// A replica that says nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// So is one that gets nothing done for so long.
const STANDSTILL_MAX: Duration = Duration::from_mins(2);
/// Pause before it is asked again after no answer.
const PAUSE: Duration = Duration::from_millis(500);
/// The most bytes of a manifest in one answer.
const MANIFEST_PART_BYTES: usize = 1 << 20;
/// The most bytes of records in one answer, beside a record that is longer.
const RECORDS_BYTES_MAX: usize = 1 << 20;
/// So many answers are put together at a time.
const ANSWERS_MAX: usize = 8;

/// The manifests that are offered now.
#[derive(Debug, Default)]
pub(in crate::peer) struct Shelf {
    counter: AtomicU64,
    manifests: Mutex<BTreeMap<u64, Bytes>>,
}

/// A manifest on the shelf, as long as this lives.
struct Shelved<'s> {
    shelf: &'s Shelf,
    number: u64,
}

impl Shelf {
    fn put(&self, manifest: Bytes) -> Shelved<'_> {
        let number = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        self.manifests().insert(number, manifest);
        Shelved { shelf: self, number }
    }

    /// The next bytes of a manifest.
    pub(in crate::peer) fn part(&self, question: ManifestQuestion) -> ManifestPart {
        let manifests = self.manifests();
        let part = manifests.get(&question.number).and_then(|manifest| {
            let from = usize::try_from(question.offset).ok()?;
            let until = manifest.len().min(from.checked_add(MANIFEST_PART_BYTES)?);
            (from < until).then(|| manifest.slice(from..until))
        });
        ManifestPart(part.unwrap_or_default())
    }

    fn manifests(&self) -> MutexGuard<'_, BTreeMap<u64, Bytes>> {
        self.manifests.lock().expect("no holder of this lock panicked")
    }
}

impl Drop for Shelved<'_> {
    fn drop(&mut self) {
        self.shelf.manifests().remove(&self.number);
    }
}

/// An offer came to nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::peer) enum NotTaken {
    /// Replication was stopped.
    #[error("replication was stopped")]
    Closed(ReplicationClosed),
    /// The other replica did not answer.
    #[error("the other replica does not answer: {0}")]
    Silent(PeerError),
    /// It answered, and got nothing done.
    #[error("the other replica gets nothing done")]
    Standstill,
    /// The copy took so long that the journal does not go on from there any more: a newer state is to be offered.
    #[error("the journal does not go on from the offered entry any more")]
    TooOld,
    /// The other replica could not do it, in its words.
    #[error("the other replica could not take it: {0}")]
    Failed(String),
    /// The manifest could not be made ready.
    #[error("the manifest could not be made ready: {0}")]
    Unready(#[from] io::Error),
}

/// Offers a state to a replica and waits until it is in place there. Gives the vote that counts there.
pub(in crate::peer) async fn offer<T: Transport>(
    peers: &Peers<T>,
    (target, address): (ReplicaId, &str),
    vote: RaftVote,
    manifest: StateManifest,
    cancel: impl Future<Output = ReplicationClosed> + Send,
) -> Result<RaftVote, NotTaken> {
    let entry = manifest.applied();
    let bytes = tasks::blocking(move || Ok(Bytes::from(manifest.encode()))).await?;
    let shelved = peers.shelf().put(bytes.clone());
    let message = Offer {
        vote,
        entry,
        number: shelved.number,
        manifest_bytes: u64::try_from(bytes.len()).expect("a length in memory fits 64 bits"),
        manifest_hash: Digest::new(Sha256::digest(&bytes).into()),
        may_install: false,
        places: peers.places(),
    };
    drop(bytes);
    let progress = peers.board().begin(TransferDirection::Offering, target, entry.index);
    let progress = Ended(progress);
    tracing::info!(replica = %target, %entry, "state offered to a replica that lacks purged entries");
    let result = tokio::select! {
        closed = cancel => Err(NotTaken::Closed(closed)),
        result = press(peers, (target, address), message, &progress.0) => result,
    };
    match &result {
        Ok(_) => tracing::info!(replica = %target, %entry, "state is in place there"),
        Err(error) => tracing::info!(replica = %target, %entry, %error, "state was not taken"),
    }
    progress.0.end(result.as_ref().err().map(ToString::to_string));
    result
}

/// Takes a transfer that nobody waits for any more off the list of those under way.
struct Ended(Progress);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end(Some("replication was stopped".to_owned()));
    }
}

/// Asks about the offer until it is decided.
async fn press<T: Transport>(
    peers: &Peers<T>,
    (target, address): (ReplicaId, &str),
    mut offer: Offer,
    progress: &Progress,
) -> Result<RaftVote, NotTaken> {
    let clock = peers.clock().clone();
    let mut heard = clock.now();
    loop {
        let answer = peers.offer_state(target, address, &offer).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if clock.since(heard) > SILENCE_MAX => {
                return Err(NotTaken::Silent(error));
            }
            Err(error) => {
                progress.set_waits_for(format!("replica {target}: {error}"));
                clock.sleep(PAUSE).await;
                continue;
            }
        };
        heard = clock.now();
        match answer {
            OfferAnswer::UnderWay { total, done, is_paused } => {
                if total > 0 {
                    progress.set_total(total);
                    progress.set_stage(TransferStage::Fetching);
                    progress.set_done(done);
                }
                if !is_paused && clock.since(progress.moved()) > STANDSTILL_MAX {
                    return Err(NotTaken::Standstill);
                }
            }
            OfferAnswer::Ready => {
                // From here on the journal is kept: first that, then the look.
                progress.set_stage(TransferStage::Installing);
                if peers.purged() > Some(offer.entry.index) {
                    return Err(NotTaken::TooOld);
                }
                offer.may_install = true;
            }
            OfferAnswer::Installed(vote) | OfferAnswer::Refused(vote) => return Ok(vote),
            OfferAnswer::Failed(reason) => return Err(NotTaken::Failed(reason)),
        }
    }
}

/// Serves tiles and their hashes to other replicas. A clone serves the same.
#[derive(Clone)]
pub(in crate::peer) struct Server {
    state: State,
    answers: Arc<Semaphore>,
}

impl Server {
    pub(super) fn new(state: State) -> Self {
        Self { state, answers: Arc::new(Semaphore::new(ANSWERS_MAX)) }
    }

    /// Bytes of the manifest that is kept of a checkpoint. Nothing if too many ask at a time.
    pub(in crate::peer) async fn kept(&self, question: KeptQuestion) -> Option<KeptPart> {
        self.answer(move |state| {
            let offset = usize::try_from(question.offset).unwrap_or(usize::MAX);
            let part = state.kept_part(question.checkpoint, offset, MANIFEST_PART_BYTES);
            let part = part.map_err(io::Error::other)?;
            let (total, bytes) = part.unwrap_or_default();
            Ok(KeptPart { total, bytes })
        })
        .await
    }

    /// Hashes of tiles, as far as they are here. Nothing if too many ask at a time.
    pub(in crate::peer) async fn tiles(&self, question: TilesQuestion) -> Option<TilesAnswer> {
        self.answer(move |state| {
            let spans = question.0.iter().map(|span| {
                let hashes = state.tiles(span.log, span.level, (span.from, span.until));
                let hashes = hashes.map_err(io::Error::other)?;
                Ok(hashes.into_iter().map_while(|hash| hash).collect())
            });
            spans.collect::<io::Result<_>>().map(TilesAnswer)
        })
        .await
    }

    /// Records, as far as they are here and fit one answer. Nothing if too many ask at a time.
    pub(in crate::peer) async fn records(&self, question: RecordsQuestion) -> Option<RecordsGiven> {
        self.answer(move |state| {
            let asked = usize::try_from(question.bytes_max).unwrap_or(usize::MAX);
            let mut left = asked.min(RECORDS_BYTES_MAX);
            let mut given = Vec::new();
            for span in &question.spans {
                let range = (span.from, span.until);
                let found = state.stretch_in_parts(span.log, range, left);
                let Some((count, parts)) = found.map_err(io::Error::other)? else {
                    given.push(Vec::new());
                    break;
                };
                left = left.saturating_sub(parts.iter().map(Bytes::len).sum());
                let is_whole = u64::from(count) == span.until.since(span.from);
                given.push(parts);
                if !is_whole || left == 0 {
                    break;
                }
            }
            Ok(RecordsGiven(given))
        })
        .await
    }

    async fn answer<A: Send + 'static>(
        &self,
        answer: impl FnOnce(&State) -> io::Result<A> + Send + 'static,
    ) -> Option<A> {
        // Whoever is known to be wrong is no source.
        if self.state.is_diverged() {
            return None;
        }
        let permit = Arc::clone(&self.answers).try_acquire_owned().ok()?;
        let state = self.state.clone();
        let answered = tasks::blocking(move || {
            let _permit = permit;
            answer(&state)
        });
        match answered.await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::warn!(%error, "part of the state could not be read for another replica");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_handed_out_in_parts_as_long_as_it_is_offered() {
        let shelf = Shelf::default();
        let manifest: Bytes = (0..=255).cycle().take(MANIFEST_PART_BYTES * 2 + 9).collect();
        let shelved = shelf.put(manifest.clone());
        let mut taken = Vec::new();
        loop {
            let offset = u64::try_from(taken.len()).unwrap();
            let part = shelf.part(ManifestQuestion { number: shelved.number, offset }).0;
            if part.is_empty() {
                break;
            }
            taken.extend_from_slice(&part);
        }
        assert_eq!(taken, manifest);
        let other = ManifestQuestion { number: shelved.number + 1, offset: 0 };
        assert!(shelf.part(other).0.is_empty());
        let number = shelved.number;
        drop(shelved);
        assert!(shelf.part(ManifestQuestion { number, offset: 0 }).0.is_empty());
    }
}
