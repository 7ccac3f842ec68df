//! [`ReplicatedError`]: why a command or a query came to nothing, and whether the command may have been done.
//!
//! Not here: how that is found out (`ledger`).

use std::fmt;
use std::sync::Arc;

use super::machine::CodecError;
use crate::sdk::error::{Error, Outcome};
use crate::sdk::producer::ProduceError;
use crate::types::Position;

/// Why a call of a [`Replicated`](super::Replicated) failed.
///
/// ```no_run
/// # async fn run<S: quorate_client::StateMachine>(bank: quorate_client::Replicated<S>, transfer: S::Command) {
/// use quorate_client::{Outcome, ReplicatedFailure};
///
/// if let Err(error) = bank.execute(transfer).await {
///     match (error.outcome(), error.failure()) {
///         (_, ReplicatedFailure::Ended(reason)) => println!("this instance is over: {reason}"),
///         (Outcome::NotDone, _) => println!("not done, and will not be: {error}"),
///         (Outcome::Unknown, _) => println!("perhaps done: query the state to see"),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReplicatedError {
    failure: ReplicatedFailure,
    outcome: Outcome,
}

/// What went wrong with a call of a [`Replicated`](super::Replicated).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReplicatedFailure {
    /// The command does not become bytes. Nothing was sent.
    Encode(Arc<CodecError>),
    /// The command could not be stored.
    Produce(ProduceError),
    /// Another call to the service failed.
    Call(Arc<Error>),
    /// It was not done in the time that was given.
    Deadline,
    /// The command's output was computed by others only: this process was so far behind that it went on from their
    /// snapshot, in which the command may be contained.
    Skipped,
    /// The instance has ended.
    Ended(EndReason),
}

/// Why an instance has ended. All but [`Closed`](Self::Closed) are told to the diagnostics as well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EndReason {
    /// It was closed.
    Closed,
    /// The record there holds no command that this program understands. It is the same in every process with the same
    /// program; one that understands the command goes on from there.
    Undecodable {
        /// Where.
        position: Position,
        /// What [`StateMachine::decode`](super::StateMachine::decode) said.
        error: Arc<CodecError>,
    },
    /// [`StateMachine::apply`](super::StateMachine::apply) panicked over the record there. It is the same in every
    /// process with the same program; one that does not panic goes on from there.
    Panicked {
        /// Where.
        position: Position,
        /// With what words.
        message: String,
    },
    /// The commands from here on were trimmed, and no snapshot that can be read is in their place.
    HistoryLost {
        /// The first position that was needed.
        needed: Position,
        /// The first one that is there.
        first: Position,
    },
    /// The log cannot be read any more: it was deleted, say, or another one has its name, or the cluster was recovered
    /// and may lack commands that are applied here.
    Call(Arc<Error>),
    /// A task of the instance came to an unexpected end.
    Interrupted,
}

impl ReplicatedError {
    pub(super) const fn new(failure: ReplicatedFailure, outcome: Outcome) -> Self {
        Self { failure, outcome }
    }

    pub(super) const fn ended(reason: EndReason, outcome: Outcome) -> Self {
        Self::new(ReplicatedFailure::Ended(reason), outcome)
    }

    /// Whether the command may have been done nevertheless. Of a query, or of a start, nothing can have been done.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why.
    pub const fn failure(&self) -> &ReplicatedFailure {
        &self.failure
    }

    /// Whether the same call may succeed later, with this instance.
    pub fn is_retryable(&self) -> bool {
        match &self.failure {
            ReplicatedFailure::Produce(error) => error.is_retryable(),
            ReplicatedFailure::Call(error) => error.is_retryable(),
            ReplicatedFailure::Deadline | ReplicatedFailure::Skipped => true,
            ReplicatedFailure::Encode(_) | ReplicatedFailure::Ended(_) => false,
        }
    }

    /// How the last attempt is named in the service's diagnostics, if there was one.
    pub fn request_id(&self) -> Option<&str> {
        match &self.failure {
            ReplicatedFailure::Produce(error) => error.request_id(),
            ReplicatedFailure::Call(error) | ReplicatedFailure::Ended(EndReason::Call(error)) => {
                error.request_id()
            }
            ReplicatedFailure::Encode(_)
            | ReplicatedFailure::Deadline
            | ReplicatedFailure::Skipped
            | ReplicatedFailure::Ended(_) => None,
        }
    }
}

impl<K> From<Error<K>> for ReplicatedError {
    fn from(error: Error<K>) -> Self {
        Self::new(ReplicatedFailure::Call(Arc::new(error.among())), Outcome::NotDone)
    }
}

impl fmt::Display for ReplicatedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            ReplicatedFailure::Encode(error) => {
                write!(f, "the command cannot be encoded: {error}")?;
            }
            ReplicatedFailure::Produce(error) => {
                error.fmt(f)?;
                if (error.outcome(), self.outcome) == (Outcome::Unknown, Outcome::NotDone) {
                    return f.write_str(", but was found not to be");
                }
            }
            ReplicatedFailure::Call(error) => error.fmt(f)?,
            ReplicatedFailure::Deadline => f.write_str("not done in time")?,
            ReplicatedFailure::Skipped => f.write_str("the output was computed by others only")?,
            ReplicatedFailure::Ended(reason) => write!(f, "the instance has ended: {reason}")?,
        }
        match self.outcome {
            Outcome::NotDone => Ok(()),
            Outcome::Unknown => f.write_str("; the command may be done nevertheless"),
        }
    }
}

impl std::error::Error for ReplicatedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            ReplicatedFailure::Encode(error) => Some(&***error),
            ReplicatedFailure::Produce(error) => Some(error),
            ReplicatedFailure::Call(error) | ReplicatedFailure::Ended(EndReason::Call(error)) => {
                Some(&**error)
            }
            ReplicatedFailure::Ended(EndReason::Undecodable { error, position: _ }) => {
                Some(&***error)
            }
            ReplicatedFailure::Deadline
            | ReplicatedFailure::Skipped
            | ReplicatedFailure::Ended(_) => None,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it was closed"),
            Self::Undecodable { position, error } => {
                write!(f, "the record at {position} holds no command: {error}")
            }
            Self::Panicked { position, message } => {
                write!(f, "the command at {position} made the state machine panic: {message}")
            }
            Self::HistoryLost { needed, first } => {
                write!(
                    f,
                    "commands from {needed} on are needed, and those before {first} are trimmed and in no snapshot"
                )
            }
            Self::Call(error) => error.fmt(f),
            Self::Interrupted => f.write_str("one of its tasks came to an unexpected end"),
        }
    }
}
