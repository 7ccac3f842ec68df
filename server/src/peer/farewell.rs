//! A replica that was removed learns of it, and ends.
//!
//! The leader that removed it tells it. Whoever was cut off then hears it from the first member it asks: everything that
//! it asks is refused, and whoever is led by nobody asks by itself. One word suffices, since it is only said by who has
//! applied the change that removed it, and ids are never given twice.
//!
//! Not here: what a removed replica's process does (`run`).

use std::time::Duration;

use client::types::ReplicaId;
use futures_util::future::join_all;

use super::client::{PeerError, Peers};
use super::envelope::Refusal;
use super::paths;
use super::transport::{Purpose, Transport, TransportError};
use crate::raft::Raft;

/// Between two looks of a replica that nobody leads.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// Tells whether a replica was a member and is none any more.
pub type IsRemoved = dyn Fn(ReplicaId) -> bool + Send + Sync;

impl<T: Transport> Peers<T> {
    /// Tells a replica that it is no member any more.
    pub async fn say_farewell(&self, to: ReplicaId, address: &str) -> Result<(), PeerError> {
        let progress = self.timings().election_max;
        let told = self.ask(Purpose::Questions, to, address, paths::FAREWELL, &(), progress).await;
        match told {
            // It knows by now: it refuses whoever removed it.
            Err(PeerError::Transport(TransportError::Refused(Refusal::Removed))) => Ok(()),
            told => told,
        }
    }

    /// Asks all members whether we are still one of them, again and again while nobody leads us.
    pub async fn look_for_farewell(self, raft: Raft) {
        loop {
            self.clock().sleep(LOOK_PAUSE).await;
            if !raft.is_led() {
                let ourselves = self.identity().replica;
                let progress = self.timings().election_max;
                let places = self.places().into_iter().filter(|(id, _)| *id != ourselves);
                let asked: Vec<_> = places.collect();
                let asked =
                    asked.iter().map(|(id, address)| self.introduce(*id, address, progress));
                // What they refuse is remembered where it is heard.
                drop(join_all(asked).await);
            }
        }
    }
}
