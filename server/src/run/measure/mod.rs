//! What this machine's disk can do: the cost of a sync, and of appending to a plain file.
//!
//! Invariant: the file is preallocated and written once before it is measured, as the segments of
//! the journal are, so that the figures are the floor under every durable append on this machine.
//! Nothing of a replica is touched; the file is removed again.
//!
//! Used at the start of a replica (can the timings hold on this disk?) and by `quorate bench`.

pub mod ceiling;

use std::fs;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::world::Clock;

/// The file that is measured, long enough for every size below.
const FILE_BYTES: u64 = 32 << 20;
const SIZES: [u32; 3] = [1 << 10, 16 << 10, 128 << 10];
const SYNCS: u32 = 200;
const START_SYNCS: u32 = 20;
const BLOCK_BYTES: u32 = 4 << 10;

/// What one sync costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncCost {
    /// How many were measured.
    pub count: u32,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Of a hundred, 99 took no longer.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

/// What appending pieces of one size costs, each made durable before the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AppendCost {
    /// The size of a piece.
    pub bytes: u32,
    /// Pieces in a second.
    pub per_second: f64,
    /// Megabytes in a second.
    pub mb_per_second: f64,
    /// Half of them took no longer, in microseconds.
    pub p50_us: f64,
    /// Of a hundred, 99 took no longer, in microseconds.
    pub p99_us: f64,
}

/// What the disk under a folder can do.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskCost {
    /// A sync after a write of 4 KiB.
    pub sync: SyncCost,
    /// Appends by size.
    pub appends: Vec<AppendCost>,
}

/// Measures the disk under this folder: some seconds.
pub fn disk(folder: &Path) -> io::Result<DiskCost> {
    let plain = PlainFile::create(folder, FILE_BYTES)?;
    let sync = plain.syncs(SYNCS)?;
    let appends = SIZES.iter().map(|bytes| plain.appends(*bytes)).collect::<io::Result<_>>()?;
    Ok(DiskCost { sync, appends })
}

/// What one sync costs under this folder: a fraction of a second, for the start of a replica.
pub fn sync_cost(folder: &Path) -> io::Result<SyncCost> {
    PlainFile::create(folder, u64::from(START_SYNCS * BLOCK_BYTES))?.syncs(START_SYNCS)
}

/// A preallocated file that is removed when it is dropped.
#[derive(Debug)]
struct PlainFile {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl PlainFile {
    fn create(folder: &Path, bytes: u64) -> io::Result<Self> {
        let path = folder.join(format!(".quorate-measure-{}", std::process::id()));
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let plain = Self { file, path, bytes };
        let zeros = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < bytes {
            let count = zeros.len().min(usize::try_from(bytes - offset).unwrap_or(usize::MAX));
            plain.file.write_all_at(&zeros[..count], offset)?;
            offset += count as u64;
        }
        plain.file.sync_all()?;
        Ok(plain)
    }

    fn syncs(&self, count: u32) -> io::Result<SyncCost> {
        let mut costs = Vec::with_capacity(count as usize);
        let block = vec![0x51; BLOCK_BYTES as usize];
        let clock = Clock::real();
        for number in 0..count {
            let offset = u64::from(number * BLOCK_BYTES) % self.bytes;
            self.file.write_all_at(&block, offset)?;
            let began = clock.now();
            self.file.sync_data()?;
            costs.push(clock.since(began));
        }
        costs.sort_unstable();
        Ok(SyncCost { count, p50: rank(&costs, 50), p99: rank(&costs, 99), max: rank(&costs, 100) })
    }

    fn appends(&self, bytes: u32) -> io::Result<AppendCost> {
        let piece = vec![0x51; bytes as usize];
        let mut costs = Vec::with_capacity(SYNCS as usize);
        let clock = Clock::real();
        let began = clock.now();
        for number in 0..SYNCS {
            let piece_began = clock.now();
            self.file.write_all_at(&piece, u64::from(number * bytes) % self.bytes)?;
            self.file.sync_data()?;
            costs.push(clock.since(piece_began));
        }
        let elapsed = clock.since(began).as_secs_f64();
        costs.sort_unstable();
        let micros = |percent| rank(&costs, percent).as_secs_f64() * 1e6;
        Ok(AppendCost {
            bytes,
            per_second: f64::from(SYNCS) / elapsed,
            mb_per_second: f64::from(SYNCS * bytes) / elapsed / 1e6,
            p50_us: micros(50),
            p99_us: micros(99),
        })
    }
}

impl Drop for PlainFile {
    fn drop(&mut self) {
        // It is empty of meaning; if it stays, the next measurement overwrites it.
        fs::remove_file(&self.path).ok();
    }
}

/// The cost that so many percent do not exceed.
fn rank(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let cost = disk(folder.path()).unwrap();
        assert_eq!(cost.sync.count, SYNCS);
        assert!(cost.sync.p50 <= cost.sync.p99 && cost.sync.p99 <= cost.sync.max);
        assert_eq!(cost.appends.iter().map(|cost| cost.bytes).collect::<Vec<_>>(), SIZES);
        assert!(cost.appends.iter().all(|cost| cost.per_second > 0.0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_start_measures_a_few_syncs() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(sync_cost(folder.path()).unwrap().count, START_SYNCS);
    }

    #[test]
    fn a_rank_is_a_value_that_was_measured() {
        let costs: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!(rank(&costs, 50), Duration::from_millis(5));
        assert_eq!(rank(&costs, 99), Duration::from_millis(10));
        assert_eq!(rank(&[], 50), Duration::ZERO);
    }
}
