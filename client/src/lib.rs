#![doc = include_str!("../README.md")]
//!
//! # Map of the crate
//!
//! - [`types`] — the vocabulary: logs, positions, records, batches, producers, replicas.
//! - [`api`] — the wire: routes, headers, bodies, frames, errors.
//! - `sdk` — the working client (feature `sdk`, on by default); its names stand at the root.
//! - [`outcomes`] — which outcome a call can have, and what to do about it.
//!
//! `sdk` stands on `api` and `api` on `types`; `types` knows nothing of the wire, and without `sdk`
//! there is neither a runtime nor an HTTP library.

pub mod types;

pub mod api;

#[doc = include_str!("../OUTCOMES.md")]
pub mod outcomes {}

#[cfg(feature = "sdk")]
pub mod sdk;

#[cfg(feature = "sdk")]
pub use sdk::{
    Admin, AppendError, AppendErrorKind, Archive, ChangeError, ChangeErrorKind, ChangeWatch,
    CheckpointError, CheckpointErrorKind, Client, ClientBuilder, CodecError, Consumer,
    ConsumerBuilder, Created, CursorError, CursorErrorKind, EndReason, Error, ErrorKind, Failure,
    Follow, HttpService, IN_FLIGHT_MAX, LayerError, Log, LogError, LogErrorKind, Outcome, Page,
    ProduceError, ProduceFailure, Producer, ProducerBuilder, ReadError, ReadErrorKind, Replicated,
    ReplicatedBuilder, ReplicatedError, ReplicatedFailure, RetryPolicy, Sequencer, StateMachine,
    Stored, Ticket, TransferError, TransferErrorKind, codec,
};
