//! Why a replica did not start, or ended.
//!
//! Five kinds, because an operator does five different things about them; the command line turns
//! each into its exit code.

use client::types::ReplicaId;

use crate::peer::Refusal;

/// What an operator would do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunErrorKind {
    /// The disk failed or holds damage.
    Storage,
    /// This folder must not run: foreign, a copy, rolled back or removed.
    Identity,
    /// The command does not fit the folder.
    Usage,
    /// Something else is in the way: a port, a lock, a member that does not answer.
    Unavailable,
    /// Anything else.
    Other,
}

/// A replica did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder holds a replica, and the command wants to found a group in it.
    #[error(
        "{folder} holds replica {replica} already: start it with `quorate serve`, or choose an \
         empty folder"
    )]
    AlreadyFounded {
        /// The folder.
        folder: String,
        /// Who lives there.
        replica: ReplicaId,
    },
    /// The folder, its marker or its lock.
    #[error(transparent)]
    Folder(#[from] migrations::OpenError),
    /// The journal or the state.
    #[error(transparent)]
    Storage(#[from] crate::storage::StorageError),
    /// Something else on the disk.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        error: std::io::Error,
    },
    /// Journal and state do not belong together.
    #[error("journal and state do not fit together: {0}")]
    Unfit(String),
    /// Entries of the journal are damaged.
    #[error("the journal is damaged and nothing of it was cut: {0}")]
    Damaged(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Nobody let this process in.
    #[error("not admitted: {0}")]
    NotAdmitted(String),
    /// The group could not be founded.
    #[error("the group could not be founded: {0}")]
    NotFounded(String),
    /// The marker names no replica.
    #[error("the folder was begun and never given a replica: empty it and begin again")]
    NoReplicaId,
    /// The consensus library refuses.
    #[error(transparent)]
    Raft(#[from] crate::raft::BuildError),
    /// A majority refuses this folder.
    #[error(
        "{replica} refuses this folder ({refusal}), and so does a majority: it must not run again; \
         join with an empty folder instead"
    )]
    Condemned {
        /// One of those who refuse.
        replica: ReplicaId,
        /// Why.
        refusal: Refusal,
    },
    /// The journal or the state could not be written: nothing was acknowledged since.
    #[error("storage failed, nothing was acknowledged since: {0}")]
    Broken(String),
    /// The diagnostics cannot be written as configured.
    #[error(transparent)]
    Telemetry(#[from] crate::telemetry::TelemetryError),
    /// A task of this process ended unexpectedly.
    #[error("{0} ended unexpectedly")]
    TaskEnded(String),
}

impl RunError {
    /// What an operator would do about it.
    pub fn kind(&self) -> RunErrorKind {
        match self {
            Self::AlreadyFounded { .. } | Self::NoReplicaId | Self::Telemetry(_) => {
                RunErrorKind::Usage
            }
            Self::Folder(error) => folder_kind(error),
            Self::Storage(_)
            | Self::Io { .. }
            | Self::Unfit(_)
            | Self::Damaged(_)
            | Self::Broken(_) => RunErrorKind::Storage,
            Self::Listen { .. } | Self::NotAdmitted(_) | Self::NotFounded(_) => {
                RunErrorKind::Unavailable
            }
            Self::Condemned { .. } => RunErrorKind::Identity,
            Self::Raft(_) | Self::TaskEnded(_) => RunErrorKind::Other,
        }
    }
}

/// What an operator would do about a folder that cannot be used.
pub fn folder_kind(error: &migrations::OpenError) -> RunErrorKind {
    use migrations::OpenError;
    match error {
        OpenError::Unmarked { .. } | OpenError::Taken { .. } => RunErrorKind::Usage,
        OpenError::NotOurs { .. } | OpenError::Removed { .. } | OpenError::HalfRecovered { .. } => {
            RunErrorKind::Identity
        }
        OpenError::TooNew { .. }
        | OpenError::TooOld { .. }
        | OpenError::Corrupt { .. }
        | OpenError::Io { .. } => RunErrorKind::Storage,
        OpenError::Locked { .. } => RunErrorKind::Unavailable,
    }
}
