//! The machine's own disk, whose syncs can be made to stall for a while, as a drive does that is busy
//! with itself, or to take long each, as those of one that dies.
//!
//! Not here: a disk that fails or forgets, which storage has for its own tests.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate::storage::disk::{Disk, File, RealDisk};

/// A clone is the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlowDisk {
    stall: Arc<Mutex<Stall>>,
    /// What every sync takes.
    cost: Arc<Mutex<Duration>>,
}

#[derive(Debug, Default)]
struct Stall {
    until: Option<Instant>,
    /// Syncs that had to wait for its end.
    met: u32,
}

impl SlowDisk {
    /// From now on until so much later, no sync returns.
    pub(crate) fn stall(&self, length: Duration) {
        *self.stall.lock().unwrap() = Stall { until: Some(Instant::now() + length), met: 0 };
    }

    /// From now on every sync takes so long.
    pub(crate) fn limp(&self, cost: Duration) {
        *self.cost.lock().unwrap() = cost;
    }

    /// Whether syncs take long.
    pub(crate) fn is_limping(&self) -> bool {
        !self.cost.lock().unwrap().is_zero()
    }

    /// Whether a sync was caught by the last stall.
    pub(crate) fn has_stalled(&self) -> bool {
        self.stall.lock().unwrap().met > 0
    }

    /// Whether the last stall is still going on.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stall.lock().unwrap().until.is_some_and(|until| until > Instant::now())
    }

    fn sync(&self) {
        let left = {
            let mut stall = self.stall.lock().unwrap();
            let left = stall.until.and_then(|until| until.checked_duration_since(Instant::now()));
            stall.met += u32::from(left.is_some());
            left
        };
        let cost = *self.cost.lock().unwrap();
        std::thread::sleep(left.unwrap_or_default().max(cost));
    }

    fn file(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(SlowFile { disk: self.clone(), file })
    }
}

impl Disk for SlowDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.file(RealDisk.open(path)?))
    }

    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.file(RealDisk.open_existing(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync();
        RealDisk.sync_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(path)
    }
}

#[derive(Debug)]
struct SlowFile {
    disk: SlowDisk,
    file: Box<dyn File>,
}

impl File for SlowFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn write_vectored_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write_vectored_at(pieces, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync();
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
