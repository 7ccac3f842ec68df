//! The working client: [`Client`], [`Log`], [`Producer`], [`Follow`], [`Consumer`], [`Replicated`], [`Admin`].
//!
//! What it promises: an append through a [`Log`] is stored once, however often it had to be sent;
//! an error says whether the append may have happened; a follow has no gap and no repetition, over
//! reconnects and changes of the leader.
//!
//! Not here: what is sent (`api`).

mod admin;
mod changes;
mod client;
mod endpoints;
mod error;
mod events;
mod kinds;
mod layers;
mod retry;
mod scout;
#[cfg(feature = "tls")]
mod tls;
mod transport;

mod cursors;
mod log;
mod producer;
mod sequencer;

mod consumer;
mod follow;

mod replicated;

/// Values as bytes, for a [`StateMachine`] that has no format of its own.
pub mod codec {
    pub use super::replicated::machine::{from_json, to_json};
}

/// The HTTP client whose requests and answers a layer sees.
pub use reqwest;

pub use admin::{Admin, Archive};
pub use changes::ChangeWatch;
pub use client::{Client, ClientBuilder};
pub use consumer::{Consumer, ConsumerBuilder};
pub use error::{Error, Failure, Outcome};
pub use follow::Follow;
pub use kinds::{
    AppendError, AppendErrorKind, ChangeError, ChangeErrorKind, CheckpointError,
    CheckpointErrorKind, CursorError, CursorErrorKind, ErrorKind, Kind, LogError, LogErrorKind,
    ReadError, ReadErrorKind, TransferError, TransferErrorKind,
};
pub use layers::{HttpService, LayerError};
pub use log::{Created, Log, Page};
pub use producer::{
    IN_FLIGHT_MAX, ProduceError, ProduceFailure, Producer, ProducerBuilder, Stored, Ticket,
};
pub use replicated::{
    CodecError, EndReason, Replicated, ReplicatedBuilder, ReplicatedError, ReplicatedFailure,
    StateMachine,
};
pub use retry::RetryPolicy;
pub use sequencer::Sequencer;
