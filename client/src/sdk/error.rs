//! What can go wrong for a caller, and whether what it asked for may have happened.
//!
//! There is one error, and each operation has kinds of its own: `AppendError` is an [`Error`] whose
//! [`kind`](Error::kind) is an [`AppendErrorKind`](super::kinds::AppendErrorKind). All of them become the plain
//! [`Error`] by `?`.
//!
//! `NotDone` is said only if every attempt certainly did nothing. One attempt of unknown outcome
//! makes the whole call unknown, even if a later attempt was refused: the earlier one may still be
//! under way.
//!
//! Not here: which kinds there are (`kinds`), which errors are tried again (`retry`, `transport`).

use std::fmt;
use std::marker::PhantomData;
use std::sync::LazyLock;

use super::kinds::{ErrorKind, Kind};
use super::layers::LayerError;
use crate::api::error::{Actual, ErrorCode, Problem};
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
    Transport(LayerError),
    /// An address that was given is `https://`, and this crate was built without its feature `tls`; nothing was
    /// sent.
    NoTls(ReplicaAddr),
    /// A layer that was put around the client failed.
    Layer(LayerError),
    /// No answer arrived in time.
    TimedOut,
    /// The answer cannot be understood.
    Protocol(String),
    /// The call makes no sense; nothing was sent.
    Usage(String),
}

impl Failure {
    /// It in a word, without anything that somebody else has written.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Refused(problem) => problem.code.as_str(),
            Self::Status { .. } => "another status",
            Self::Transport(_) => "broken connection",
            Self::Layer(_) => "layer",
            Self::TimedOut => "no answer in time",
            Self::Protocol(_) => "not understood",
            Self::NoTls(_) | Self::Usage(_) => "not sent",
        }
    }
}

/// An error of the client, of one of the kinds that the operation has.
///
/// ```no_run
/// # async fn run(log: quorate_client::Log) {
/// use quorate_client::{AppendErrorKind, Outcome};
///
/// let Err(error) = log.append("hello").await else { return };
/// match error.kind() {
///     AppendErrorKind::LogSealed => println!("it ended at {:?}", error.actual().tail),
///     AppendErrorKind::Unavailable => println!("later, perhaps: {error}"),
///     _ => println!("{error}"),
/// }
/// if error.outcome() == Outcome::Unknown {
///     println!("the service knows it as {:?}", error.request_id());
/// }
/// # }
/// ```
pub struct Error<K = ErrorKind> {
    pub(super) failure: Failure,
    pub(super) outcome: Outcome,
    pub(super) attempts: u32,
    pub(super) endpoint: Option<ReplicaAddr>,
    pub(super) request_id: Option<String>,
    pub(super) kinds: PhantomData<fn() -> K>,
}

impl Error {
    pub(super) fn usage(reason: impl Into<String>) -> Self {
        Self::of(Failure::Usage(reason.into()), Outcome::NotDone)
    }

    pub(super) fn protocol(reason: impl Into<String>, outcome: Outcome) -> Self {
        Self::of(Failure::Protocol(reason.into()), outcome)
    }

    pub(super) const fn of(failure: Failure, outcome: Outcome) -> Self {
        Self { failure, outcome, attempts: 0, endpoint: None, request_id: None, kinds: PhantomData }
    }
}

impl<K> Error<K> {
    /// The same among the kinds of another operation.
    pub(super) fn among<L>(self) -> Error<L> {
        let Self { failure, outcome, attempts, endpoint, request_id, kinds: _ } = self;
        Error { failure, outcome, attempts, endpoint, request_id, kinds: PhantomData }
    }

    /// What it means for the operation.
    pub fn kind(&self) -> K
    where
        K: Kind,
    {
        let told = self.code().and_then(K::of_code);
        told.unwrap_or_else(|| K::of_any(self.basic()))
    }

    /// What it means for any operation.
    fn basic(&self) -> Basic {
        match &self.failure {
            _ if self.is_retryable() => Basic::Unavailable,
            Failure::NoTls(_) | Failure::Usage(_) => Basic::Invalid,
            Failure::Refused(problem) if (400..500).contains(&problem.status) => Basic::Invalid,
            Failure::Refused(_)
            | Failure::Status { .. }
            | Failure::Transport(_)
            | Failure::Layer(_)
            | Failure::TimedOut
            | Failure::Protocol(_) => Basic::Other,
        }
    }

    /// How things are in truth, as far as a refusal tells: the tail, the first position, the plan of now.
    pub fn actual(&self) -> &Actual {
        static NOTHING: LazyLock<Actual> = LazyLock::new(Actual::default);
        self.problem().map_or(&NOTHING, |problem| &problem.actual)
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
            | Failure::NoTls(_)
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
            Failure::Protocol(_) | Failure::NoTls(_) | Failure::Usage(_) => false,
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

/// Kinds that every operation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {
    /// It may succeed later, or elsewhere.
    Unavailable,
    /// It will never succeed like this.
    Invalid,
    /// Neither is known.
    Other,
}

/// Whether a status without a problem document means that another try may succeed.
pub(super) const fn is_passing_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

impl<K> fmt::Debug for Error<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("failure", &self.failure)
            .field("outcome", &self.outcome)
            .field("attempts", &self.attempts)
            .field("endpoint", &self.endpoint)
            .field("request_id", &self.request_id)
            .finish()
    }
}

impl<K> fmt::Display for Error<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Refused(problem) => write!(f, "{problem}")?,
            Failure::Status { status, body, .. } => {
                write!(f, "answered with status {status}: {body}")?;
            }
            Failure::Transport(error) | Failure::Layer(error) => {
                write!(f, "the request failed: {}", Chain(&**error))?;
            }
            Failure::NoTls(addr) => {
                write!(f, "{addr} is encrypted: this needs the feature `tls` of quorate-client")?;
            }
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

impl<K> std::error::Error for Error<K> {}
