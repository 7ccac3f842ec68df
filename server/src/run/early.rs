//! Speaking with the others before there is agreement: to ask for what this replica lost, and to give what
//! they lost.
//!
//! The peer door opens here if something has to be repaired, and is given to the node's routes later. No
//! message that could count for a vote or an acknowledgement is answered before that.
//!
//! Not here: what is asked for (`mend`).

use std::io;
use std::sync::Arc;

use client::types::Incarnation;

use super::RunError;
use super::doors::PeerDoor;
use super::folder::Entered;
use crate::config::Config;
use crate::http::{Standing, WaitingFront};
use crate::metrics::Metrics;
use crate::peer::{
    Acquaintances, Detours, HeldJournal, Http, Identity, Myself, Peers, mending_router,
};
use crate::raft::Timings;
use crate::storage::disk::RealDisk;
use crate::storage::met::MetFile;
use crate::world::World;

/// What it takes to speak with others before there is a journal or a state.
pub(super) struct Early {
    identity: Identity,
    starts: Arc<[Incarnation]>,
    timings: Timings,
    acquaintances: Acquaintances,
    detours: Detours,
    metrics: Metrics,
    world: World,
    front: WaitingFront,
    pub(super) door: PeerDoor,
}

impl Early {
    /// For the replica of this folder.
    pub(super) fn new(
        config: &Config,
        entered: &Entered,
        world: &World,
        metrics: &Metrics,
        front: WaitingFront,
        door: PeerDoor,
    ) -> Result<Self, RunError> {
        let unreadable =
            |error: io::Error| RunError::Io { what: "cannot read whom this replica met", error };
        let met = MetFile::new(Arc::new(RealDisk), entered.folder().join("met"));
        Ok(Self {
            identity: entered.identity(),
            starts: entered.starts().into(),
            timings: entered.timings(),
            acquaintances: Acquaintances::open(met).map_err(unreadable)?,
            detours: Detours::new(config.rehearsal.detours.clone()),
            metrics: metrics.clone(),
            world: world.clone(),
            front,
            door,
        })
    }

    /// Speaks for this replica, which holds this journal. Whom it can ask is what it remembers.
    pub(super) fn peers(&self, journal: HeldJournal, timings: Option<Timings>) -> Peers {
        let myself = Myself { identity: self.identity, starts: self.starts.clone(), journal };
        Peers::new(
            Http::new(self.detours.clone(), self.world.clock.clone()),
            myself,
            timings.unwrap_or(self.timings),
            self.acquaintances.clone(),
            self.metrics.clone(),
            self.world.clock.clone(),
        )
    }

    /// Whether this replica remembers where another one is.
    pub(super) fn knows_others(&self) -> bool {
        let ourselves = self.identity.replica.get();
        self.acquaintances.places().keys().any(|id| *id != ourselves)
    }

    /// Where messages between replicas go that are not what it seems.
    pub(super) fn detours(&self) -> Detours {
        self.detours.clone()
    }

    /// Answers the others who this is and which entries are good here, and nothing else.
    pub(super) fn serve_repair(&mut self, peers: Peers) {
        self.door.serve(mending_router(peers, self.metrics.clone()));
    }

    /// Says at the front door what is being repaired and what that waits for.
    pub(super) fn say(&self, repair: String) {
        let Identity { cluster, generation, replica, .. } = self.identity;
        self.front.say(Standing::Repairing { cluster, generation, replica, repair });
    }
}
