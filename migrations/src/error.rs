//! Why a data folder cannot be opened.
//!
//! A variant for each thing that an operator would do differently. Nothing is changed in a folder
//! that is refused.
//!
//! Not here: damage inside the journal or the database; whoever opens those tells of it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a data folder cannot be opened or created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no marker: only an explicit bootstrap or join may begin here.
    #[error("{folder} holds no replica; bootstrap a new cluster or join one", folder = folder.display())]
    Unmarked {
        /// The folder.
        folder: PathBuf,
    },
    /// A bootstrap or a join wants an empty folder, and a replica lives here.
    #[error("{folder} already holds a replica", folder = folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
    },
    /// What lies here was not written by Quorate, or lacks its marker.
    #[error("{folder} is not a data folder of Quorate: {reason}", folder = folder.display())]
    NotOurs {
        /// The folder.
        folder: PathBuf,
        /// What gave it away.
        reason: String,
    },
    /// Written by a newer version.
    #[error("data format {found} is newer than {newest}, the newest that this version reads")]
    TooNew {
        /// The format of the folder.
        found: u32,
        /// The newest that is read.
        newest: u32,
    },
    /// Written by a version so old that the steps from it are gone.
    #[error("data format {found} is older than {oldest}, the oldest that this version reads")]
    TooOld {
        /// The format of the folder.
        found: u32,
        /// The oldest that is read.
        oldest: u32,
    },
    /// The marker is damaged.
    #[error("{file} is damaged: {reason}", file = file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// Another process has it open.
    #[error("{folder} is in use by another process", folder = folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// This replica was removed from its group, or found to be a copy. It never serves again.
    #[error("this replica was removed for good: {reason}")]
    Removed {
        /// Why, as it was told.
        reason: String,
    },
    /// A recovery of this folder was begun and not finished: it is of the new generation, but not yet its first replica.
    #[error(
        "{folder} is half recovered: run `quorate recover` on it again, as before",
        folder = folder.display()
    )]
    HalfRecovered {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused a call.
    #[error("could not {act} {path}", path = path.display())]
    Io {
        /// What was being done, as a verb.
        act: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Says what was being done, for `map_err`.
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }
}
