//! A replica whose state is lost takes it from the others before it takes part in anything.
//!
//! Its journal is whole, and says where the state has to begin. Everybody is asked which certified checkpoints his state
//! has been the same at; what a majority of all members tells is what the state was. Its manifest is proved by that
//! digest, everything else by the manifest.
//!
//! Not here: setting the lost state aside (`run`), and a state that differs while agreement goes on (`renew`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use client::api::transfers::{TransferDirection, TransferInfo};
use client::types::{Digest, EntryIndex, ReplicaId};
use futures_util::future::join_all;
use migrations::latest::{MembershipRow, NodeRow};

use super::fetch::{Fetch, NotFetched};
use super::wire::ConfirmedAnswer;
use crate::machine::{Machine, MachineLimits};
use crate::metrics::Metrics;
use crate::peer::{Peers, paths};
use crate::storage::journal::Journal;
use crate::storage::state::{State, StateManifest};
use crate::world::{Clock, tasks};

/// A member from which nothing comes for so long is passed over.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Between two looks whether it hangs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the state is not here yet.
#[derive(Debug, thiserror::Error)]
pub enum NotRefilled {
    /// Nobody else is known.
    #[error("no other replica is known that could give it")]
    Alone,
    /// No majority tells of the same checkpoint, or only of one that the journal does not go on from.
    #[error("no majority tells the same certified checkpoint behind entry {from} ({told})")]
    NoMajority {
        /// The last entry that the journal has let go.
        from: EntryIndex,
        /// Who told what.
        told: String,
    },
    /// The journal holds another entry where the checkpoint is: it is behind what was agreed on.
    #[error("the journal holds another entry than the checkpoint's")]
    Contradicted,
    /// Not all of it could be fetched.
    #[error("{0}")]
    NotFetched(String),
    /// It could not be written.
    #[error("{0}")]
    Storage(#[from] io::Error),
}

impl From<NotFetched> for NotRefilled {
    fn from(error: NotFetched) -> Self {
        Self::NotFetched(error.to_string())
    }
}

/// Takes a lost state from the others. A clone does the same.
#[derive(Clone)]
pub struct Refiller {
    peers: Peers,
    journal: Journal,
    state: State,
    metrics: Metrics,
    clock: Clock,
}

impl Refiller {
    /// Fills `state`, from which `journal` has to go on.
    pub fn new(
        peers: Peers,
        journal: Journal,
        state: State,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        Self { peers, journal, state, metrics, clock }
    }

    /// Introduces this start to everybody known. Before that, nobody answers.
    pub async fn introduce(&self) {
        let node = |peer_addr| NodeRow { peer_addr, ..NodeRow::default() };
        let places = self.peers.places().into_iter();
        let nodes = places.map(|(id, address)| (id.get(), node(address))).collect();
        self.peers.introduce_to(&MembershipRow { nodes, ..MembershipRow::default() }).await;
    }

    /// The newest attempt, as the board shows it.
    pub fn shown(&self) -> Option<TransferInfo> {
        self.peers.board().list().into_iter().next()
    }

    /// Fills the state, and gives the manifest of what it is now.
    pub async fn refill(&self) -> Result<StateManifest, NotRefilled> {
        let members = self.others();
        let first = *members.first().ok_or(NotRefilled::Alone)?;
        let (checkpoint, digest) = self.choose(&members).await?;
        let board = self.peers.board();
        let progress = board.begin(TransferDirection::Receiving, first, checkpoint);
        let fetch = Fetch::new(
            self.peers.clone(),
            self.state.clone(),
            members,
            progress.clone(),
            self.metrics.clone(),
            self.clock.clone(),
        );
        let filled = tokio::select! {
            filled = Box::pin(self.fill(&fetch, (checkpoint, digest))) => filled,
            standstill = self.standstill(&fetch) => Err(NotRefilled::NotFetched(standstill)),
        };
        progress.end(filled.as_ref().err().map(ToString::to_string));
        filled
    }

    async fn fill(
        &self,
        fetch: &Fetch,
        (checkpoint, digest): (EntryIndex, Digest),
    ) -> Result<StateManifest, NotRefilled> {
        let manifest = Arc::new(fetch.kept_manifest(checkpoint, digest).await?);
        let held = self.journal.entry_id(checkpoint.get());
        if held.is_some_and(|held| held != manifest.applied()) {
            return Err(NotRefilled::Contradicted);
        }
        fetch.lacking(&manifest).await?;
        let (state, installing) = (self.state.clone(), Arc::clone(&manifest));
        let installed = tasks::blocking(move || {
            // Whoever opens makes the machine: nobody has one yet.
            let mut nobodys = Machine::new(MachineLimits::default());
            state.install(&installing, &mut nobodys).map_err(io::Error::other)
        });
        installed.await?;
        Ok(Arc::unwrap_or_clone(manifest))
    }

    async fn standstill(&self, fetch: &Fetch) -> String {
        loop {
            self.clock.sleep(LOOK_EVERY).await;
            if let Some(standstill) = fetch.standstill() {
                return format!("nothing got on for a minute{standstill}");
            }
        }
    }

    /// The newest checkpoint, of those from which the journal goes on, that a majority tells of.
    async fn choose(&self, members: &[ReplicaId]) -> Result<(EntryIndex, Digest), NotRefilled> {
        let asked = members.iter().map(async |member| {
            let question = self.peers.ask_for_state(*member, paths::CONFIRMED, &(), SILENCE_MAX);
            (*member, question.await)
        });
        let purged = self.journal.purged().map(|id| id.index);
        let mut votes: BTreeMap<(EntryIndex, Digest), usize> = BTreeMap::new();
        let mut told = Vec::new();
        for (member, answer) in join_all(asked).await {
            match answer {
                Ok(ConfirmedAnswer(confirmed)) => {
                    let newest = confirmed.last().map_or(0, |(index, _)| index.get());
                    told.push(format!("replica {member}: up to entry {newest}"));
                    for checkpoint in confirmed {
                        *votes.entry(checkpoint).or_default() += 1;
                    }
                }
                Err(error) => told.push(format!("replica {member}: {error}")),
            }
        }
        // This replica counts, too, and has nothing to tell.
        let is_majority = |count: usize| 2 * count > members.len() + 1;
        let mut newest_first = votes.into_iter().rev();
        let chosen = newest_first
            .find(|((index, _), count)| is_majority(*count) && Some(*index) >= purged)
            .map(|(checkpoint, _)| checkpoint);
        let from = purged.unwrap_or(EntryIndex::new(0));
        chosen.ok_or_else(|| NotRefilled::NoMajority { from, told: told.join("; ") })
    }

    fn others(&self) -> Vec<ReplicaId> {
        let ourselves = self.peers.identity().replica;
        let places = self.peers.places().into_iter().map(|(id, _)| id);
        places.filter(|id| *id != ourselves).collect()
    }
}
