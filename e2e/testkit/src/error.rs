//! [`Error`]: why a cluster for tests does not do what it is told.

use std::io;
use std::time::Duration;

/// Why a cluster for tests does not do what it is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No folder, no port or no thread is to be had.
    #[error("the machine gives too little: {0}")]
    Machine(#[from] io::Error),
    /// A replica ended by itself.
    #[error("replica {replica} ended: {reason}")]
    Ended {
        /// Its number, from 0.
        replica: usize,
        /// What it said.
        reason: String,
    },
    /// There is no replica of this number.
    #[error("there is no replica {replica}: they are numbered from 0")]
    NoSuchReplica {
        /// The number.
        replica: usize,
    },
    /// The name means no log.
    #[error(transparent)]
    Name(#[from] client::types::LogNameError),
    /// A call to the cluster failed.
    #[error(transparent)]
    Call(#[from] client::Error),
    /// Something did not come about.
    #[error("waited {waited:?} in vain: {what}")]
    TimedOut {
        /// What did not come about.
        what: String,
        /// How long it was waited for.
        waited: Duration,
    },
}
