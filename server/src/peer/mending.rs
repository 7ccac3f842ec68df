//! Repair of a journal that is damaged, before there is agreement: this replica asks the others for what it
//! lacks, and gives them what they lack.
//!
//! It has introduced itself as damaged, so nobody counts on it: votes, entries and all other messages are answered
//! with 503. Replicas that are damaged each in another place make each other whole, with none of them up.
//!
//! Not here: what is believed of an answer (`storage::journal`), and when this is over (`run`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use client::types::{EntryId, EntryIndex, ReplicaId};
use http::StatusCode;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;

use super::Peers;
use super::client::PeerError;
use super::entries::{EntriesQuestion, RANGES_MAX};
use super::intake::MESSAGE_BYTES_MAX;
use super::paths;
use super::reception::{NoAnswer, Reception};
use crate::metrics::Metrics;
use crate::storage::journal::{Entry, WoundedJournal};

/// The most bytes of entries that are asked for at a time.
const ANSWER_BYTES: u32 = 8 << 20;
/// A member from which nothing comes for so long is passed over.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Takes lost entries from the others. A clone is the same.
#[derive(Clone)]
pub struct Mender {
    peers: Peers,
}

/// What came of asking a member.
#[derive(Debug)]
pub struct Asked {
    /// Who was asked.
    pub member: ReplicaId,
    /// How many entries it gave that were taken.
    pub taken: u64,
    /// Why it gave no more.
    pub ended: AskedEnd,
}

/// Why a member gave no more.
#[derive(Debug, thiserror::Error)]
pub enum AskedEnd {
    /// There is nothing more to ask for.
    #[error("nothing more is lacking")]
    Done,
    /// It has nothing that is lacking here.
    #[error("it does not hold what is lacking")]
    LacksThem,
    /// It did not answer.
    #[error(transparent)]
    NoAnswer(#[from] PeerError),
}

impl Mender {
    /// Asks as `peers` does.
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }

    /// Asks every member whose place is known, once, for what the journal lacks.
    pub async fn ask_all(&self, journal: &Arc<WoundedJournal>) -> Vec<Asked> {
        let ourselves = self.peers.identity().replica;
        let mut asked = Vec::new();
        for (member, _) in self.peers.places() {
            if member != ourselves && !journal.lacking().is_empty() {
                asked.push(self.ask(member, journal).await);
            }
        }
        asked
    }

    /// Asks every member whose place is known for these entries, until each was given once. Who gave which.
    pub async fn ask_for(&self, lacking: &BTreeSet<u64>) -> Vec<(ReplicaId, Entry)> {
        let ourselves = self.peers.identity().replica;
        let (mut left, mut given) = (lacking.clone(), Vec::new());
        for (member, _) in self.peers.places() {
            if member == ourselves || left.is_empty() {
                continue;
            }
            let ranges = left.iter().take(usize::try_from(RANGES_MAX).unwrap_or(usize::MAX));
            let ranges = ranges.map(|index| (*index, *index)).collect();
            let question = EntriesQuestion { bytes_max: ANSWER_BYTES, ranges };
            let asked = self.peers.ask_for_entries(member, &question, SILENCE_MAX).await;
            for linked in asked.map(|answer| answer.entries).unwrap_or_default() {
                if left.remove(&linked.entry.id.index.get()) {
                    given.push((member, linked.entry));
                }
            }
        }
        given
    }

    /// Asks every member whose place is known whether others were committed in place of the first entry that is lacking.
    /// The member that proves it, and the entry that it knows to be committed.
    pub async fn ask_for_replacement(
        &self,
        journal: &WoundedJournal,
    ) -> Option<(ReplicaId, EntryId)> {
        let ourselves = self.peers.identity().replica;
        let first = journal.first_lacking()?;
        for (member, _) in self.peers.places() {
            if member == ourselves {
                continue;
            }
            let question =
                EntriesQuestion { bytes_max: ANSWER_BYTES, ranges: vec![(first, first)] };
            let asked = self.peers.ask_for_entries(member, &question, SILENCE_MAX).await;
            let Ok(answer) = asked else { continue };
            let Some(committed) = answer.committed else { continue };
            if journal.is_replaced(&committed, answer.entries.first()) {
                return Some((member, committed));
            }
        }
        None
    }

    /// Asks one member as long as it has something.
    async fn ask(&self, member: ReplicaId, journal: &Arc<WoundedJournal>) -> Asked {
        let mut taken = 0;
        let ended = loop {
            let mut ranges = journal.lacking();
            ranges.truncate(usize::try_from(RANGES_MAX).unwrap_or(usize::MAX));
            if ranges.is_empty() {
                break AskedEnd::Done;
            }
            let question = EntriesQuestion { bytes_max: ANSWER_BYTES, ranges };
            match self.peers.ask_for_entries(member, &question, SILENCE_MAX).await {
                Err(error) => break error.into(),
                Ok(answer) => {
                    let fits = answer.entries.iter().filter(|given| journal.take(given)).count();
                    taken += u64::try_from(fits).unwrap_or(u64::MAX);
                    if fits == 0 {
                        break AskedEnd::LacksThem;
                    }
                }
            }
        };
        Asked { member, taken, ended }
    }
}

/// What is answered to others before there is agreement: who we are, and which entries are good here.
pub fn mending_router(peers: Peers, metrics: Metrics) -> Router {
    Router::new()
        .route(paths::INTRODUCE, post(introduce))
        .route(paths::PRESENT, post(present))
        .route(paths::ENTRIES, post(entries))
        .fallback(async || StatusCode::SERVICE_UNAVAILABLE)
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(MESSAGE_BYTES_MAX))
        .layer(CatchPanicLayer::new())
        // Before the state is here nobody knows who was removed.
        .with_state(Reception::new(peers, metrics, Arc::new(|_| false)))
}

async fn introduce(State(door): State<Reception>, body: Body) -> Result<Response, NoAnswer> {
    let places = door.peers.places();
    // Which membership they are of is not known: whoever knows one may know of a newer one.
    let may_be_member = |replica, epoch: Option<EntryIndex>| {
        places.is_empty() || epoch.is_some() || places.iter().any(|(id, _)| *id == replica)
    };
    door.introduce(body, may_be_member).await
}

async fn present(State(door): State<Reception>, body: Body) -> Result<Response, NoAnswer> {
    door.present(body).await
}

async fn entries(State(door): State<Reception>, body: Body) -> Result<Response, NoAnswer> {
    door.entries(body).await
}
