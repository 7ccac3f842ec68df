//! What can go wrong for a caller, and whether what it asked for may have happened.
//!
//! `NotDone` is said only if every attempt certainly did nothing. One attempt of unknown outcome
//! makes the whole call unknown, even if a later attempt was refused: the earlier one may still be
//! under way.
//!
//! Not here: which errors are tried again (`retry`, `transport`).

use std::fmt;

use super::layers::LayerError;
use crate::api::error::{ErrorCode, Problem};
use crate::types::ReplicaAddr;

/// Whether what was asked for may have happened although there is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It certainly did not happen.
    NotDone,
    /// It may have happened, or may still happen.
    Unknown,
}

/// Why a call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The service refused it, and says why.
    Refused(Box<Problem>),
    /// The service answered an error that is no problem document of ours: something in between, or
    /// a later version.
    Status {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
        /// Whether it says that another try may succeed, or has a status that means so.
        retryable: bool,
    },
    /// The request could not be sent, or the answer did not arrive.
    Transport(reqwest::Error),
    /// A layer that was put around the client failed.
    Layer(LayerError),
    /// No answer arrived in time.
    TimedOut,
    /// The answer cannot be understood.
    Protocol(String),
    /// The call makes no sense; nothing was sent.
    Usage(String),
}

/// An error of the client.
#[derive(Debug)]
pub struct Error {
    pub(super) failure: Failure,
    pub(super) outcome: Outcome,
    pub(super) attempts: u32,
    pub(super) endpoint: Option<ReplicaAddr>,
    pub(super) request_id: Option<String>,
}

impl Error {
    pub(super) fn usage(reason: impl Into<String>) -> Self {
        Self::of(Failure::Usage(reason.into()), Outcome::NotDone)
    }

    pub(super) fn protocol(reason: impl Into<String>, outcome: Outcome) -> Self {
        Self::of(Failure::Protocol(reason.into()), outcome)
    }

    pub(super) const fn of(failure: Failure, outcome: Outcome) -> Self {
        Self { failure, outcome, attempts: 0, endpoint: None, request_id: None }
    }

    /// Whether it may have happened nevertheless.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why the last attempt failed.
    pub const fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The problem document, if the service sent one.
    pub const fn problem(&self) -> Option<&Problem> {
        if let Failure::Refused(problem) = &self.failure { Some(problem) } else { None }
    }

    /// The HTTP status of the last answer, if there was one.
    pub const fn status(&self) -> Option<u16> {
        match &self.failure {
            Failure::Refused(problem) => Some(problem.status),
            Failure::Status { status, .. } => Some(*status),
            Failure::Transport(_)
            | Failure::Layer(_)
            | Failure::TimedOut
            | Failure::Protocol(_)
            | Failure::Usage(_) => None,
        }
    }

    /// The code of the problem document, if the service sent one.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self.problem() {
            Some(problem) => Some(problem.code),
            None => None,
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        match &self.failure {
            Failure::Refused(problem) => problem.retryable,
            Failure::Status { retryable, .. } => *retryable,
            Failure::Transport(_) | Failure::Layer(_) | Failure::TimedOut => true,
            Failure::Protocol(_) | Failure::Usage(_) => false,
        }
    }

    /// How often it was tried.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Who was asked last.
    pub const fn endpoint(&self) -> Option<&ReplicaAddr> {
        self.endpoint.as_ref()
    }

    /// How the last attempt is named in the service's diagnostics.
    pub fn request_id(&self) -> Option<&str> {
        let in_problem = self.problem().and_then(|problem| problem.request_id.as_deref());
        in_problem.or(self.request_id.as_deref())
    }
}

/// Whether a status without a problem document means that another try may succeed.
pub(super) const fn is_passing_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Refused(problem) => write!(f, "{problem}")?,
            Failure::Status { status, body, .. } => {
                write!(f, "answered with status {status}: {body}")?;
            }
            Failure::Transport(error) => write!(f, "the request failed: {}", Chain(error))?,
            Failure::Layer(error) => write!(f, "the request failed: {}", Chain(&**error))?,
            Failure::TimedOut => f.write_str("no answer in time")?,
            Failure::Protocol(reason) => write!(f, "the answer cannot be understood: {reason}")?,
            Failure::Usage(reason) => f.write_str(reason)?,
        }
        if let Some(endpoint) = &self.endpoint {
            write!(f, " (asked {endpoint}")?;
            if self.attempts > 1 {
                write!(f, ", {} attempts", self.attempts)?;
            }
            f.write_str(")")?;
        }
        match self.outcome {
            Outcome::NotDone => Ok(()),
            Outcome::Unknown => f.write_str("; it may have happened nevertheless"),
        }
    }
}

/// An error with what is behind it, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
