//! Folders of replicas, kept, put back and damaged while nobody runs in them.
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

/// Flips a bit in the head of the frame that carries this body in a journal. A head repeats half of its segment's salt.
pub fn flip_head(journal: &Path, body: &str) -> Result<()> {
    flip_near(journal, body, |bytes, place| {
        let salt = &bytes[48..56];
        let at = bytes[..place].windows(salt.len()).rposition(|window| window == salt)?;
        // In its index, which lies 24 bytes behind.
        Some(at + 24)
    })
}

/// Flips a bit where `choose` says, of the segment of a journal that holds this body and of where that begins.
pub fn flip_near(
    journal: &Path,
    body: &str,
    choose: impl Fn(&[u8], usize) -> Option<usize>,
) -> Result<()> {
    for file in fs::read_dir(journal)? {
        let path = file?.path();
        let mut bytes = fs::read(&path)?;
        let place = bytes.windows(body.len()).position(|window| window == body.as_bytes());
        if let Some(place) = place.and_then(|place| choose(&bytes, place)) {
            bytes[place] ^= 1;
            return Ok(fs::write(&path, bytes)?);
        }
    }
    anyhow::bail!("the body is in no segment")
}
