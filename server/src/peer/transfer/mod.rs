//! State transfer: bringing the state to a replica that lacks entries which are purged.
//!
//! ```text
//! leader                                   replica that lags                       any member
//!   offer: vote, entry, hash of manifest ->
//!                                       <- manifest, in parts
//!                                          flushes; what is lacking?
//!                                          hashes of tiles, records  ->  (leader, too)
//!                                          proves each part alone, writes it ahead
//!                                       <- ready
//!   does the journal go on from there?  ->  installs: one transaction
//!                                       <- installed, or: it came to nothing, again
//! ```
//!
//! Records were committed once, so what was written ahead is right for ever: a transfer that dies on either side is
//! followed by one that fetches the rest, and a replica that merely lags fetches only the difference. If a copy takes
//! so long that the journal does not go on from the offered entry any more, a newer state is offered; the second round
//! is short. No queue here is longer than a few answers.
//!
//! Not here: when a leader finds that entries do not suffice (openraft), and what is purged (`node`).

mod basket;
mod board;
mod budget;
mod fetch;
mod plan;
mod receive;
mod refill;
mod renew;
pub(super) mod send;
mod sources;
mod throttle;
pub(super) mod wire;

use crate::metrics::Metrics;
use crate::raft::Raft;
use crate::storage::state::State;
use crate::world::Clock;

pub use self::board::{Board, NotChanged};
use self::receive::Receiver;
pub use self::refill::Refiller;
pub use self::renew::Renewer;
use self::send::Server;
pub use self::throttle::Pace;
use super::Peers;

/// Both ends of state transfers, as the peer door sees them. A clone is the same.
#[derive(Clone)]
pub struct Transfers {
    receiver: Receiver,
    server: Server,
}

impl Transfers {
    /// The transfers of this replica.
    pub fn new(peers: Peers, raft: Raft, state: State, metrics: Metrics, clock: Clock) -> Self {
        let server = Server::new(state.clone());
        Self { receiver: Receiver::new(peers, raft, state, metrics, clock), server }
    }

    /// Takes offers.
    pub(super) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Serves parts of the state.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }
}
