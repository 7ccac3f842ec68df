//! A disk that tears, forgets, flips, fills up and fails, from a seed. For tests and simulation.
//!
//! It keeps apart what a file shows (the cache) and what is durable. Writes, lengths and names wait
//! in between until their sync. A power cut keeps any subset of what waits, sector by sector; a
//! kill keeps the cache, which then still is not durable. As in a kernel, a failed sync forgets what
//! it should have made durable while the cache goes on showing it.
//!
//! One sector is written whole or not at all. Nothing that ships uses this file.

mod platter;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::platter::Snapshot;
use self::platter::{Content, NameChange, Platter, Waiting, next};
use super::disk::{Disk, File};

/// A disk in memory that fails as it is told. A clone is the same disk, seen by the same process.
#[derive(Debug, Clone)]
pub(crate) struct FaultDisk {
    shared: Arc<Mutex<Shared>>,
    /// Handles of a process that was killed fail.
    life: u64,
}

#[derive(Debug)]
struct Shared {
    life: u64,
    platter: Platter,
    faults: Faults,
    counts: Counts,
    recording: Option<Recording>,
    chance: u64,
}

#[derive(Debug, Default)]
struct Faults {
    sync: Option<u64>,
    write: Option<u64>,
    read: Option<u64>,
    room: Option<usize>,
    latency: Duration,
}

/// How many calls of each kind there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Syncs of files.
    pub(crate) syncs: u64,
    /// Writes to files.
    pub(crate) writes: u64,
    /// Reads of files.
    pub(crate) reads: u64,
    /// Bytes written.
    pub(crate) bytes_written: u64,
}

/// The crash point in the middle of every write.
pub(crate) const HALF_A_WRITE: &str = "half a write";

#[derive(Debug)]
struct Recording {
    label: Arc<AtomicU64>,
    /// How often each crash point was passed.
    passes: BTreeMap<&'static str, u64>,
    snapshots: Vec<Snapshot>,
}

impl FaultDisk {
    /// An empty disk without faults; `seed` decides what a power cut keeps.
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(Platter::default(), seed)
    }

    fn of(platter: Platter, seed: u64) -> Self {
        let shared = Shared {
            life: 0,
            platter,
            faults: Faults::default(),
            counts: Counts::default(),
            recording: None,
            chance: seed,
        };
        Self { shared: Arc::new(Mutex::new(shared)), life: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, Shared>> {
        let shared = self.lock();
        if shared.life == self.life {
            Ok(shared)
        } else {
            Err(io::Error::other("the process that had this open was killed"))
        }
    }

    /// Fails the `nth` sync of a file from now, counted from 1, and forgets what it covered.
    pub(crate) fn fail_sync(&self, nth: u64) {
        let mut shared = self.lock();
        shared.faults.sync = Some(shared.counts.syncs + nth);
    }

    /// Fails the `nth` write from now, counted from 1, after half of its bytes.
    pub(crate) fn fail_write(&self, nth: u64) {
        let mut shared = self.lock();
        shared.faults.write = Some(shared.counts.writes + nth);
    }

    /// Fails the `nth` read from now, counted from 1.
    pub(crate) fn fail_read(&self, nth: u64) {
        let mut shared = self.lock();
        shared.faults.read = Some(shared.counts.reads + nth);
    }

    /// Limits how many bytes all files together may hold; what would grow beyond is refused.
    pub(crate) fn set_room(&self, bytes: Option<usize>) {
        self.lock().faults.room = bytes;
    }

    /// Makes every sync take so long.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.lock().faults.latency = latency;
    }

    /// Changes the bits of `mask` in one byte, in the cache and on the platter. False if the file
    /// is not that long.
    pub(crate) fn flip(&self, path: &Path, offset: usize, mask: u8) -> bool {
        let mut shared = self.lock();
        let Some(content) = shared.platter.content_mut(path) else { return false };
        let Some(byte) = Arc::make_mut(&mut content.cached).get_mut(offset) else {
            return false;
        };
        *byte ^= mask;
        if let Some(byte) = Arc::make_mut(&mut content.durable).get_mut(offset) {
            *byte ^= mask;
        }
        true
    }

    /// What a file shows.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let shared = self.lock();
        let file = shared.platter.names.get(path)?;
        Some(shared.platter.files.get(file)?.cached.to_vec())
    }

    /// How many calls there were.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Keeps a snapshot at every sync from now on, and at every 1st, 2nd, 4th, 8th... pass of a crash
    /// point, with what `label` says then.
    pub(crate) fn record(&self, label: Arc<AtomicU64>) {
        let (passes, snapshots) = (BTreeMap::new(), Vec::new());
        self.lock().recording = Some(Recording { label, passes, snapshots });
    }

    /// Ends the recording and hands out its snapshots.
    pub(crate) fn recorded(&self) -> Vec<Snapshot> {
        self.lock().recording.take().map_or_else(Vec::new, |recording| recording.snapshots)
    }

    /// The disk as it is now, as if a sync were asked for.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { label: 0, point: None, platter: self.lock().platter.clone() }
    }

    /// Ends the process that holds this disk and keeps the cache: what waits still waits.
    #[must_use]
    pub(crate) fn kill(&self) -> Self {
        let mut shared = self.lock();
        shared.life += 1;
        shared.faults = Faults::default();
        Self { shared: Arc::clone(&self.shared), life: shared.life }
    }

    /// Ends the process and the power: of what waits, the seed decides what was written.
    #[must_use]
    pub(crate) fn power_cut(&self) -> Self {
        let mut shared = self.lock();
        shared.life += 1;
        let mut chance = shared.chance;
        let density = next(&mut chance) % 5;
        let platter = shared.platter.after_cut(&mut |_piece| next(&mut chance) % 4 < density);
        Self::of(platter, chance)
    }
}

impl Shared {
    fn note_sync(&mut self) {
        if let Some(recording) = &mut self.recording {
            let label = recording.label.load(Ordering::SeqCst);
            recording.snapshots.push(Snapshot {
                label,
                point: None,
                platter: self.platter.clone(),
            });
        }
    }

    /// Keeps the disk as `make` says if this pass of the point is one to be kept.
    fn note_pass(&mut self, point: &'static str, make: impl FnOnce(&mut Platter)) {
        let Some(recording) = &mut self.recording else { return };
        let passes = recording.passes.entry(point).or_default();
        *passes += 1;
        if passes.is_power_of_two() {
            let label = recording.label.load(Ordering::SeqCst);
            let mut platter = self.platter.clone();
            make(&mut platter);
            recording.snapshots.push(Snapshot { label, point: Some(point), platter });
        }
    }

    fn link(&mut self, path: &Path) -> u64 {
        let file = self.platter.next_file;
        self.platter.next_file += 1;
        self.platter.files.insert(file, Content::default());
        self.platter.names.insert(path.to_owned(), file);
        self.platter.waiting_names.push(NameChange::Link { path: path.to_owned(), file });
        file
    }
}

impl Disk for FaultDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut shared = self.alive()?;
        let existing = shared.platter.names.get(path).copied();
        let file = existing.unwrap_or_else(|| shared.link(path));
        Ok(Box::new(FaultFile { disk: self.clone(), file }))
    }

    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let shared = self.alive()?;
        let file = *shared.platter.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FaultFile { disk: self.clone(), file }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let shared = self.alive()?;
        let all = shared.platter.names.keys().chain(&shared.platter.dirs);
        let here =
            all.filter(|path| path.parent() == Some(dir)).filter_map(|path| path.file_name());
        let mut names: Vec<String> = here.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut shared = self.alive()?;
        let file = shared.platter.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        shared.platter.names.insert(to.to_owned(), file);
        let change = NameChange::Rename { from: from.to_owned(), to: to.to_owned(), file };
        shared.platter.waiting_names.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut shared = self.alive()?;
        shared.platter.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        shared.platter.waiting_names.push(NameChange::Unlink { path: path.to_owned() });
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut shared = self.alive()?;
        shared.platter.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut shared = self.alive()?;
        shared.note_sync();
        let platter = &mut shared.platter;
        let waiting = std::mem::take(&mut platter.waiting_names);
        for change in waiting {
            if change.dir() == Some(dir) {
                change.apply(&mut platter.durable_names);
            } else {
                platter.waiting_names.push(change);
            }
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let shared = self.alive()?;
        Ok(shared.platter.names.contains_key(path) || shared.platter.dirs.contains(path))
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let shared = self.alive()?;
        let room = shared.faults.room.unwrap_or(1 << 40);
        Ok(u64::try_from(room.saturating_sub(shared.platter.used_bytes())).unwrap_or(u64::MAX))
    }

    fn pass(&self, point: &'static str) {
        if let Ok(mut shared) = self.alive() {
            shared.note_pass(point, |_| ());
        }
    }
}

#[derive(Debug)]
struct FaultFile {
    disk: FaultDisk,
    file: u64,
}

impl FaultFile {
    /// Changes the file unless that takes more room than there is.
    fn change(&self, shared: &mut Shared, change: Waiting) -> io::Result<()> {
        let end = match &change {
            Waiting::Write { offset, bytes } => offset + bytes.len(),
            Waiting::Length(length) => *length,
        };
        let used = shared.platter.used_bytes();
        let content = shared.platter.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let grown = end.saturating_sub(content.cached.len());
        if grown > 0 && shared.faults.room.is_some_and(|room| used + grown > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.change(change);
        Ok(())
    }
}

impl File for FaultFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut shared = self.disk.alive()?;
        shared.counts.reads += 1;
        if shared.faults.read == Some(shared.counts.reads) {
            return Err(io::Error::other("injected: read failed"));
        }
        let content = shared.platter.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let begin = narrow(offset)?;
        let from = content.cached.get(begin..).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(from.get(..bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut shared = self.disk.alive()?;
        shared.counts.writes += 1;
        let is_failing = shared.faults.write == Some(shared.counts.writes);
        let written = if is_failing { bytes.len() / 2 } else { bytes.len() };
        shared.note_pass(HALF_A_WRITE, |platter| {
            let bytes = Arc::new(bytes[..bytes.len() / 2].to_vec());
            let offset = narrow(offset).expect("what fits a file fits memory");
            let content = platter.files.get_mut(&self.file).expect("an open file is there");
            content.change(Waiting::Write { offset, bytes });
        });
        shared.counts.bytes_written += u64::try_from(written).unwrap_or(u64::MAX);
        let bytes = Arc::new(bytes[..written].to_vec());
        self.change(&mut shared, Waiting::Write { offset: narrow(offset)?, bytes })?;
        if is_failing { Err(io::Error::other("injected: write failed")) } else { Ok(()) }
    }

    fn write_vectored_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.write_at(&bytes, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut shared = self.disk.alive()?;
        self.change(&mut shared, Waiting::Length(narrow(length)?))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if self.len()? < length { self.set_len(length) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut shared = self.disk.alive()?;
        shared.counts.syncs += 1;
        shared.note_sync();
        let is_failing = shared.faults.sync == Some(shared.counts.syncs);
        let latency = shared.faults.latency;
        let content = shared.platter.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let waiting = std::mem::take(&mut content.waiting);
        if is_failing {
            return Err(io::Error::other("injected: sync failed"));
        }
        let durable = Arc::make_mut(&mut content.durable);
        for change in &waiting {
            change.apply(durable);
        }
        drop(shared);
        // Nobody wakes this up: it is a wait for the time alone.
        std::thread::park_timeout(latency);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let shared = self.disk.alive()?;
        let content = shared.platter.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?;
        u64::try_from(content.cached.len()).map_err(io::Error::other)
    }
}

/// Every one of these crash points is among the snapshots.
#[track_caller]
pub(crate) fn assert_passed(snapshots: &[Snapshot], points: &[&str]) {
    for point in points {
        let is_passed = snapshots.iter().any(|snapshot| snapshot.point == Some(point));
        assert!(is_passed, "nothing came to {point}");
    }
}

fn narrow(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn path() -> PathBuf {
        PathBuf::from("/disk/file")
    }

    fn disk_with_synced(bytes: &[u8]) -> (FaultDisk, Box<dyn File>) {
        let disk = FaultDisk::new(1);
        disk.create_dir_all(Path::new("/disk")).unwrap();
        let file = disk.open(&path()).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/disk")).unwrap();
        (disk, file)
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_tears_the_rest_by_sectors() {
        let (disk, file) = disk_with_synced(&[1; 600]);
        file.write_at(&[2; 1000], 300).unwrap();
        let snapshot = disk.snapshot();
        assert_eq!(snapshot.pieces(), 3);
        let none = snapshot.cut(|_| false).content(&path()).unwrap();
        assert_eq!(none, [1; 600]);
        let second = snapshot.cut(|piece| piece == 1).content(&path()).unwrap();
        assert_eq!(second, [&[1; 512][..], &[2; 512]].concat());
        assert_eq!(snapshot.cuts(0, 0).len(), 8);
    }

    #[test]
    fn a_name_is_durable_with_its_folder_only() {
        let (disk, file) = disk_with_synced(b"old");
        disk.rename(&path(), Path::new("/disk/new")).unwrap();
        let cut = disk.snapshot().cut(|_| false);
        assert_eq!(cut.list(Path::new("/disk")).unwrap(), ["file"]);
        disk.sync_dir(Path::new("/disk")).unwrap();
        let cut = disk.snapshot().cut(|_| false);
        assert_eq!(cut.list(Path::new("/disk")).unwrap(), ["new"]);
        drop(file);
    }

    #[test]
    fn a_failed_sync_forgets_what_the_cache_still_shows() {
        let (disk, file) = disk_with_synced(b"old");
        file.write_at(b"new", 0).unwrap();
        disk.fail_sync(1);
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok(), "the next one succeeds and proves nothing");
        assert_eq!(disk.content(&path()).unwrap(), b"new");
        assert_eq!(disk.power_cut().content(&path()).unwrap(), b"old");
    }

    #[test]
    fn a_killed_process_loses_its_handles_and_not_the_cache() {
        let (disk, file) = disk_with_synced(b"old");
        file.write_at(b"new", 0).unwrap();
        let reopened = disk.kill();
        assert!(file.write_at(b"too late", 0).is_err());
        assert_eq!(reopened.content(&path()).unwrap(), b"new");
        assert_eq!(reopened.snapshot().cut(|_| false).content(&path()).unwrap(), b"old");
    }

    #[test]
    fn room_runs_out_for_what_grows_only() {
        let (disk, file) = disk_with_synced(b"old");
        disk.set_room(Some(4));
        let refused = file.write_at(b"longer", 0).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        file.write_at(b"new", 0).unwrap();
        assert_eq!(disk.free_bytes(&path()).unwrap(), 1);
    }
}
