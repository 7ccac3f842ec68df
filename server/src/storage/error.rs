//! What can be wrong with bytes at rest.
//!
//! Kept apart because a caller does something else for each: the disk refused, the bytes are not what
//! was written or not there, the room is used up, or an earlier failure means that nothing may
//! be believed any more.
//!
//! Not here: the errors of the data folder (`migrations::OpenError`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a store could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk refused a call.
    #[error("could not {act} {path}", path = path.display())]
    Io {
        /// What was being done, as a verb.
        act: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes are not what was once written there. Never cut, never served.
    #[error("damaged {what} in {path} at offset {offset}", path = path.display())]
    Damaged {
        /// What it was.
        what: &'static str,
        /// In which file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// A file of another cluster or replica lies here.
    #[error("{path} belongs to another cluster or replica", path = path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Nothing lies here any more, where entries and votes were kept.
    #[error(
        "{path} is empty, and entries and votes were kept there: a replica that forgot them must not \
         come back under its old id; begin with an empty folder that joins the group as a new one",
        path = path.display()
    )]
    Lost {
        /// Which folder.
        path: PathBuf,
    },
    /// There is no room left.
    #[error("no room left on the disk of {path}", path = path.display())]
    Full {
        /// For which file.
        path: PathBuf,
    },
    /// An earlier write or sync failed; what is on disk is not known until the next start.
    #[error("storage stopped after an earlier failure")]
    Poisoned {
        /// The failure.
        source: Arc<io::Error>,
    },
}

impl StorageError {
    /// Turns an error of the disk into one that says what was being done, for `map_err`.
    pub fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| {
            let kind = source.kind();
            if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                Self::Full { path }
            } else {
                Self::Io { act, path, source }
            }
        }
    }
}
