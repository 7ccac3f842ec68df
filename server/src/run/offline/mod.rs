//! What needs no running replica: a backup is verified, and made into a new cluster; a cluster that lost its majority is
//! recovered.
//!
//! Not here: how a backup is made (`node::backup`), and what its bytes are (`migrations`).

mod chain;
mod examine;
mod recover;
mod restore;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use client::types::{LogId, Position};

pub use self::chain::{Chain, Verified};
pub use self::examine::{Examiner, Flaw};
pub use self::recover::{Addresses, Loss, RecoverError, Recovered, Survivor, recover, survey};
pub use self::restore::{Restored, restore};
use crate::machine::MachineError;
use crate::storage::StorageError;
use crate::storage::state::InstallError;

/// So much of a file is read at a time.
const READ_BYTES: usize = 1 << 20;

/// Told how many bytes of how many are done.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// Why a backup could not be verified or restored.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The file is not what was backed up, or does not belong where it stands in the chain.
    #[error("{file}: {flaw}")]
    Flawed {
        /// The file.
        file: String,
        /// What is wrong, and where.
        flaw: Flaw,
    },
    /// The first file continues another one.
    #[error("{file} continues the backup of checkpoint {base}: name that file before it")]
    NoBase {
        /// The file.
        file: String,
        /// The checkpoint of the file that is lacking.
        base: u64,
    },
    /// The backup is of a group that was never founded.
    #[error("the backup is of a group that was never founded")]
    Unfounded,
    /// The files do not hold all records.
    #[error("record {position} of log {log} is in none of the files")]
    Incomplete {
        /// The log.
        log: LogId,
        /// The position.
        position: Position,
    },
    /// No machine can have had this state.
    #[error("the backup is not a possible state: {0}")]
    Impossible(#[from] MachineError),
    /// A file could not be read.
    #[error("{file}: {error}")]
    Io {
        /// Which one.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The new folder.
    #[error(transparent)]
    Folder(#[from] migrations::OpenError),
    /// The new folder's journal or state.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<InstallError> for OfflineError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Impossible(error) => Self::Impossible(error),
            InstallError::Incomplete { log, position } => Self::Incomplete { log, position },
            InstallError::Storage(error) => Self::Storage(error),
        }
    }
}

/// Verifies files that continue each other, the oldest first; reads each once.
pub fn verify(files: &[PathBuf], progress: Progress<'_>) -> Result<Vec<Verified>, OfflineError> {
    let mut chain = Chain::default();
    let mut done = Done::of(files, progress)?;
    let mut verified = Vec::new();
    for file in files {
        let mut examiner = chain.next();
        read(file, &mut done, |bytes| {
            examiner.take(bytes, &mut |_found| Ok(())).map_err(|error| flawed(file, error))
        })?;
        let found =
            examiner.finish().map_err(|flaw| OfflineError::Flawed { file: shown(file), flaw })?;
        verified.push(chain.add(found));
    }
    Ok(verified)
}

/// Bytes of all files, and how many of them were read.
struct Done<'p> {
    bytes: u64,
    total: u64,
    progress: Progress<'p>,
}

impl<'p> Done<'p> {
    fn of(files: &[PathBuf], progress: Progress<'p>) -> Result<Self, OfflineError> {
        let mut total = 0;
        for file in files {
            let known = std::fs::metadata(file).map_err(|error| failed(file, error))?;
            total += known.len();
        }
        Ok(Self { bytes: 0, total, progress })
    }

    fn add(&mut self, count: usize) {
        self.bytes += u64::try_from(count).expect("a count in memory fits 64 bits");
        (self.progress)(self.bytes, self.total.max(self.bytes));
    }
}

/// Reads a file to its end, piece by piece.
fn read(
    path: &Path,
    done: &mut Done<'_>,
    mut take: impl FnMut(&[u8]) -> Result<(), OfflineError>,
) -> Result<(), OfflineError> {
    let mut file = File::open(path).map_err(|error| failed(path, error))?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                take(&buffer[..count])?;
                done.add(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(path, error)),
        }
    }
}

fn failed(path: &Path, error: io::Error) -> OfflineError {
    OfflineError::Io { file: shown(path), error }
}

fn flawed(path: &Path, error: examine::TakeError) -> OfflineError {
    match error {
        examine::TakeError::Flaw(flaw) => OfflineError::Flawed { file: shown(path), flaw },
        examine::TakeError::Storage(error) => error.into(),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
