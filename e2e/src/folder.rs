//! Folders of replicas, kept and put back while nobody runs in them.
//!
//! Not here: what lies in them (`migrations`).

use anyhow::Result;
use std::{fs, path::Path};

/// Copies a folder with everything in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Puts back what a folder held when it was copied.
pub fn put_back(kept: &Path, folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder)?;
    copy(kept, folder)
}

/// How many bytes the files of a folder take.
pub fn bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        // A file may be let go while they are counted.
        bytes += entry?.metadata().map_or(0, |found| found.len());
    }
    Ok(bytes)
}
