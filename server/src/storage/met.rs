//! The file that remembers whom this replica has met, replaced whole and synced before it is
//! believed.
//!
//! Not here: what is believed (`peer/acquaintances.rs`); the bytes (`migrations::v1::met`).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use client::types::Incarnation;
use migrations::latest::met::{self, MetRow};

use super::disk::Disk;

/// The greatest length of the file: far more replicas than a group ever had.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One small file on the disk.
pub struct MetFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl MetFile {
    /// The file at this path; it need not exist yet.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Whom it remembers; nobody if there is no file yet.
    pub fn read(&self) -> io::Result<BTreeMap<u64, Incarnation>> {
        if !self.disk.exists(&self.path)? {
            return Ok(BTreeMap::new());
        }
        let file = self.disk.open(&self.path)?;
        let length = file.len()?;
        if length > FILE_BYTES_MAX {
            return Err(damaged());
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_at(&mut bytes, 0)?;
        let rows = met::decode(&bytes).ok_or_else(damaged)?;
        let incarnation = |row: MetRow| Incarnation { start: row.start, random: row.random };
        Ok(rows.into_iter().map(|(replica, row)| (replica, incarnation(row))).collect())
    }

    /// Replaces what it remembers. When this returns, it is durable.
    pub fn write(&self, met: &BTreeMap<u64, Incarnation>) -> io::Result<()> {
        let row = |met: &Incarnation| MetRow { start: met.start, random: met.random };
        let rows = met.iter().map(|(replica, met)| (*replica, row(met))).collect();
        let bytes = met::encode(&rows);
        let beside = self.path.with_extension("new");
        if self.disk.exists(&beside)? {
            self.disk.remove(&beside)?;
        }
        let file = self.disk.open(&beside)?;
        file.write_at(&bytes, 0)?;
        file.sync_data()?;
        self.disk.rename(&beside, &self.path)?;
        match self.path.parent() {
            Some(folder) => self.disk.sync_dir(folder),
            None => Ok(()),
        }
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the memory of whom this replica met is damaged")
}
