//! The file that remembers whom this replica has met and where members are found, replaced whole and
//! synced before it is believed.
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

/// What is remembered of another replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Met {
    /// Its greatest start that was seen.
    pub incarnation: Option<Incarnation>,
    /// Where its peer door is, as the last membership told it.
    pub address: Option<String>,
}

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
    pub fn read(&self) -> io::Result<BTreeMap<u64, Met>> {
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
        Ok(rows.into_iter().map(|(replica, row)| (replica, Met::of(row))).collect())
    }

    /// Replaces what it remembers. When this returns, it is durable.
    pub fn write(&self, met: &BTreeMap<u64, Met>) -> io::Result<()> {
        let rows = met.iter().map(|(replica, met)| (*replica, met.row())).collect();
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

impl Met {
    fn of(row: MetRow) -> Self {
        let incarnation = Incarnation { start: row.start, random: row.random };
        Self {
            incarnation: (row.start > 0).then_some(incarnation),
            address: (!row.address.is_empty()).then_some(row.address),
        }
    }

    fn row(&self) -> MetRow {
        MetRow {
            start: self.incarnation.map_or(0, |incarnation| incarnation.start),
            random: self.incarnation.map_or(0, |incarnation| incarnation.random),
            address: self.address.clone().unwrap_or_default(),
        }
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the memory of whom this replica met is damaged")
}
