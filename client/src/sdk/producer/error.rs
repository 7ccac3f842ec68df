//! [`ProduceError`]: why a record of a producer was not acknowledged, and whether it may be stored.
//!
//! A producer ends with its first error, so that whatever comes behind a record that failed is not
//! stored either: what the log holds of a producer has no hole. The one that failed says why; those
//! behind it point to it.
//!
//! Not here: how an outcome is found (`lane`).

use std::fmt;
use std::sync::Arc;

use crate::sdk::error::Outcome;
use crate::sdk::kinds::AppendError;
use crate::types::{BatchError, ProducerEpoch};

/// Why a record was not acknowledged.
///
/// ```no_run
/// # async fn run(ticket: quorate_client::Ticket) {
/// use quorate_client::{Outcome, ProduceFailure};
///
/// match ticket.await {
///     Ok(stored) => println!("at {}", stored.position),
///     Err(error) => match (error.outcome(), error.failure()) {
///         (_, ProduceFailure::Fenced { .. }) => println!("somebody took over: stop"),
///         (Outcome::NotDone, _) => println!("not stored: a new producer may submit it again"),
///         (Outcome::Unknown, _) => println!("read the log to see whether it is there"),
///     },
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ProduceError {
    failure: ProduceFailure,
    outcome: Outcome,
}

/// What went wrong with a record of a producer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProduceFailure {
    /// A later life of this producer has taken over. This one is over for good.
    Fenced {
        /// The epoch of the one that took over, if it was told.
        current: Option<ProducerEpoch>,
    },
    /// Somebody else appends under the same id in the same epoch: an id belongs to one producer.
    Contested,
    /// The service refused the batch of the record, or did not take it before the deadline.
    Call(Arc<AppendError>),
    /// Another record of the producer failed before this one was acknowledged, for this reason.
    Behind(Arc<ProduceError>),
    /// The record is larger than a batch may be. Nothing was sent, and the producer goes on.
    Record(BatchError),
    /// The producer was closed before.
    Closed,
    /// The runtime ended before the record was acknowledged.
    Interrupted,
}

impl ProduceError {
    pub(super) const fn new(failure: ProduceFailure, outcome: Outcome) -> Self {
        Self { failure, outcome }
    }

    /// The same for a record behind it.
    pub(super) fn behind(&self, outcome: Outcome) -> Self {
        let first = match &self.failure {
            ProduceFailure::Behind(first) => Arc::clone(first),
            ProduceFailure::Fenced { .. }
            | ProduceFailure::Contested
            | ProduceFailure::Call(_)
            | ProduceFailure::Record(_)
            | ProduceFailure::Closed
            | ProduceFailure::Interrupted => Arc::new(self.clone()),
        };
        Self::new(ProduceFailure::Behind(first), outcome)
    }

    /// Whether the record may be stored nevertheless.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why.
    pub const fn failure(&self) -> &ProduceFailure {
        &self.failure
    }

    /// Whether another producer, in a new epoch, may succeed where this one did not.
    pub fn is_retryable(&self) -> bool {
        match &self.failure {
            ProduceFailure::Call(error) => error.is_retryable(),
            ProduceFailure::Behind(first) => first.is_retryable(),
            ProduceFailure::Interrupted => true,
            ProduceFailure::Fenced { .. }
            | ProduceFailure::Contested
            | ProduceFailure::Record(_)
            | ProduceFailure::Closed => false,
        }
    }

    /// How the last attempt is named in the service's diagnostics, if there was one.
    pub fn request_id(&self) -> Option<&str> {
        match &self.failure {
            ProduceFailure::Call(error) => error.request_id(),
            ProduceFailure::Behind(first) => first.request_id(),
            ProduceFailure::Fenced { .. }
            | ProduceFailure::Contested
            | ProduceFailure::Record(_)
            | ProduceFailure::Closed
            | ProduceFailure::Interrupted => None,
        }
    }
}

impl fmt::Display for ProduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            ProduceFailure::Fenced { current: Some(current) } => {
                write!(f, "a later life of this producer has taken over, in epoch {current}")?;
            }
            ProduceFailure::Fenced { current: None } => {
                f.write_str("a later life of this producer has taken over")?;
            }
            ProduceFailure::Contested => {
                f.write_str("somebody else appends under the id of this producer")?;
            }
            // It says by itself what may have happened.
            ProduceFailure::Call(error) => return error.fmt(f),
            ProduceFailure::Behind(first) => write!(f, "a record before it failed: {first}")?,
            ProduceFailure::Record(error) => error.fmt(f)?,
            ProduceFailure::Closed => f.write_str("the producer is closed")?,
            ProduceFailure::Interrupted => f.write_str("the runtime ended")?,
        }
        match self.outcome {
            Outcome::NotDone => f.write_str("; it is not stored"),
            Outcome::Unknown => f.write_str("; it may be stored nevertheless"),
        }
    }
}

impl std::error::Error for ProduceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            ProduceFailure::Call(error) => Some(&**error),
            ProduceFailure::Behind(first) => Some(&**first),
            ProduceFailure::Record(error) => Some(error),
            ProduceFailure::Fenced { .. }
            | ProduceFailure::Contested
            | ProduceFailure::Closed
            | ProduceFailure::Interrupted => None,
        }
    }
}
