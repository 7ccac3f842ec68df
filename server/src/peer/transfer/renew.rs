//! A replica whose state differs takes the certified one anew, while its journal goes on.
//!
//! ```text
//! the manifest of the checkpoint, from anybody -> of the digest that its own journal holds?
//!   -> what is here is read again; what is not proved is fetched -> put in place -> what came meanwhile is applied
//! ```
//!
//! Nobody has to offer anything, and agreement does not hear of it: the journal is whole, and what it agreed on is
//! applied to the right state.
//!
//! Not here: when it is done (`node::quarantine`), and what is trusted of what is here (`storage::state`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use client::api::transfers::{TransferDirection, TransferStage};
use client::types::{Digest, EntryIndex, ReplicaId};

use super::board::Progress;
use super::fetch::{Fetch, NotFetched};
use crate::metrics::Metrics;
use crate::peer::Peers;
use crate::raft::Raft;
use crate::storage::state::{self, State, StateManifest};
use crate::world::{Clock, tasks};

/// Between two looks whether it hangs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Before entries that could not be read are read again.
const PAUSE: Duration = Duration::from_secs(1);
/// What is applied is flushed meanwhile.
const FLUSH_PAUSE: Duration = Duration::from_millis(20);

/// Why the state is still the old one.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// There is nobody else.
    #[error("there is no other replica to take it from")]
    Alone,
    /// Not all of it could be fetched.
    #[error("{0}")]
    NotFetched(String),
    /// Nothing got on.
    #[error("nothing got on for a minute{0}")]
    Standstill(String),
    /// It could not be put in place.
    #[error("{0}")]
    Storage(#[from] io::Error),
}

impl From<NotFetched> for NotRenewed {
    fn from(error: NotFetched) -> Self {
        Self::NotFetched(error.to_string())
    }
}

/// Takes the state anew. A clone does the same.
#[derive(Clone)]
pub struct Renewer {
    peers: Peers,
    raft: Raft,
    state: State,
    metrics: Metrics,
    clock: Clock,
}

impl Renewer {
    /// Takes `state` from the members of the group.
    pub fn new(peers: Peers, raft: Raft, state: State, metrics: Metrics, clock: Clock) -> Self {
        Self { peers, raft, state, metrics, clock }
    }

    /// Puts the state of a checkpoint, which is certified by this digest, in place of the one here. One at a time.
    ///
    /// Whatever comes of it, all that was agreed on meanwhile is applied when it returns.
    pub async fn renew(&self, checkpoint: EntryIndex, certified: Digest) -> Result<(), NotRenewed> {
        let members = self.members();
        let first = *members.first().ok_or(NotRenewed::Alone)?;
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
        let renewing = Renewing { renewer: self, fetch, progress: progress.clone() };
        let renewed = Box::pin(renewing.run(checkpoint, certified)).await;
        self.catch_up(&progress).await;
        progress.end(renewed.as_ref().err().map(ToString::to_string));
        renewed
    }

    /// Applies what was passed over. It is agreed on, so there is no way but on.
    async fn catch_up(&self, progress: &Progress) {
        loop {
            let state = self.state.clone();
            match tasks::blocking(move || state.catch_up().map_err(io::Error::other)).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "what came while the state was taken anew is not applied");
                    progress.set_waits_for(error.to_string());
                    self.clock.sleep(PAUSE).await;
                }
            }
            while self.state.is_lagging() {
                self.clock.sleep(FLUSH_PAUSE).await;
            }
        }
    }

    fn members(&self) -> Vec<ReplicaId> {
        let membership = self.raft.membership();
        let nodes = membership.borrow().row.nodes.clone();
        let ourselves = self.peers.identity().replica;
        nodes.keys().filter_map(|id| ReplicaId::new(*id)).filter(|id| *id != ourselves).collect()
    }
}

/// One attempt.
struct Renewing<'r> {
    renewer: &'r Renewer,
    fetch: Fetch,
    progress: Progress,
}

impl Renewing<'_> {
    async fn run(&self, checkpoint: EntryIndex, certified: Digest) -> Result<(), NotRenewed> {
        let manifest = Arc::new(self.fetch.kept_manifest(checkpoint, certified).await?);
        self.blocking(&manifest, |state, _| state.begin_renewal()).await?;
        self.blocking(&manifest, State::cut_back).await?;
        tokio::select! {
            fetched = self.fetch.unproved(&manifest) => fetched?,
            stop = self.stopped() => return Err(stop),
        }
        self.progress.set_stage(TransferStage::Installing);
        self.blocking(&manifest, State::renew).await
    }

    async fn blocking(
        &self,
        manifest: &Arc<StateManifest>,
        call: fn(&State, &StateManifest) -> Result<(), state::NotRenewed>,
    ) -> Result<(), NotRenewed> {
        let (state, manifest) = (self.renewer.state.clone(), Arc::clone(manifest));
        let done = tasks::blocking(move || call(&state, &manifest).map_err(io::Error::other));
        Ok(done.await?)
    }

    /// Waits until nothing gets on, or another state took its place.
    async fn stopped(&self) -> NotRenewed {
        loop {
            self.renewer.clock.sleep(LOOK_EVERY).await;
            if !self.renewer.state.is_renewing() {
                return io::Error::other(state::NotRenewed::Overtaken).into();
            }
            if let Some(standstill) = self.fetch.standstill() {
                return NotRenewed::Standstill(standstill);
            }
        }
    }
}
