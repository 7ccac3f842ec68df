//! Replica to replica: both ends of the wire, side by side.
//!
//! ```text
//! message  = envelope (who speaks to whom: 88 bytes)  body (codec)  CRC32C of the body
//! answer   = 200 body  CRC32C of it  |  403 the refusal's name  |  503
//! ```
//!
//! A message goes to the peer listener of its target by `POST /peer/1/…` over HTTP: introduce,
//! append, vote, pre-vote, take-leadership, read-index, attestation, rolling-digest, whether somebody new is reached
//! (`reach`), which start runs there (`present`), what a state transfer asks (`transfer`), and entries that somebody lost (`entries`). Nothing is decoded before the envelope was
//! compared; nothing is listened to between two starts that have not accepted each other. Two things
//! do not pass here: what a caller asked of the wrong replica (`forward`) and a process that asks
//! to join (`join`) enter a member by its front door.
//!
//! Not here: what is agreed (`raft`), and what a record means.

mod acquaintances;
mod attest;
mod client;
mod codec;
mod companion;
mod detours;
mod entries;
mod envelope;
mod farewell;
pub mod forward;
mod intake;
pub mod join;
mod mending;
mod paths;
mod present;
pub mod reach;
mod reception;
mod repair;
mod routes;
pub mod transfer;
mod transport;

pub use self::acquaintances::Acquaintances;
pub use self::client::{Condemned, Myself, PeerError};
pub use self::detours::Detours;
pub use self::entries::HeldJournal;
pub use self::envelope::{Identity, Refusal};
pub use self::farewell::IsRemoved;
pub use self::mending::{Asked, AskedEnd, Mender, mending_router};
pub use self::repair::{NotRepaired, Repair, Repairer};
pub use self::routes::{Desk, ENTRY_BYTES_MAX, router};
pub use self::transfer::{Refiller, Renewer, Transfers};
pub use self::transport::{Http, Transport, TransportError};

/// Asks the others, over HTTP.
pub type Peers = client::Peers<Http>;
