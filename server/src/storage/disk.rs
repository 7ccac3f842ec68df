//! The seam between storage and the disk: files by offset, names by folder, and syncs.
//!
//! The journal and redb both stand on [`Disk`] and [`File`] and on nothing else, so whatever a disk
//! may do wrong is played once, in `faults`, for both. Nothing is durable before the sync that
//! belongs to it: [`File::sync_data`] for what a file holds and how long it is, [`Disk::sync_dir`]
//! for the names in a folder. A call that fails may have happened in part.
//!
//! Not here: what the bytes mean, and any retry. This is the only file of the server's storage that
//! names `std::fs`.

use std::fmt::Debug;
use std::fs;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags};

/// The mode of every file: records are nobody else's business.
const FILE_MODE: u32 = 0o600;
/// The mode of every folder.
const DIR_MODE: u32 = 0o700;
/// The unit in which a file's room is told, whatever the file system's own blocks are.
const STAT_BLOCK_BYTES: u64 = 512;
/// As many pieces as one vectored write takes on Linux.
const PIECES_MAX: usize = 1024;

/// Folders and names.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file for reading and writing, and creates it empty if there is none.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens a file that must exist.
    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// The names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Gives a file another name; a file that had it is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether there is something of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// How much room the file system that holds `path` has left.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Whoever uses this disk has come to the crash point of this name.
    #[cfg(test)]
    fn pass(&self, _point: &'static str) {}
}

/// A named place between two steps of persistence, at which the tests of storage crash: the faulty
/// disk keeps itself as it is then. Nothing in what ships.
#[cfg(test)]
pub(super) fn crash_point(disk: &dyn Disk, name: &'static str) {
    disk.pass(name);
}

/// Does nothing: crash points are for tests.
#[cfg(not(test))]
#[inline]
pub(super) fn crash_point(_disk: &dyn Disk, _name: &'static str) {}

/// An open file. Every call names its offset; there is no cursor, so readers share it freely.
pub trait File: Debug + Send + Sync {
    /// Fills `bytes`, or fails: reading past the end is an error.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all pieces, one behind the other.
    fn write_vectored_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Sets the length; what is new reads as zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Reserves room for the first `length` bytes and makes the file at least that long.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Makes all that was written durable, and the length with it.
    fn sync_data(&self) -> io::Result<()>;
    /// Tells that this part will be read soon, so that the disk may begin. Nothing depends on it.
    fn will_read(&self, _offset: u64, _length: u64) {}
    /// The length.
    fn len(&self) -> io::Result<u64>;
    /// How much room it takes on the disk: less than its length where nothing was written yet.
    fn taken_bytes(&self) -> io::Result<u64> {
        self.len()
    }
    /// A hint: what is durable of this file will hardly be read soon, so the system need not keep it
    /// in memory.
    fn uncache(&self) {}
    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The machine's own disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        Ok(Box::new(RealFile { file: options.open(path)? }))
    }

    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(RealFile { file }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let room = rustix::fs::statvfs(path)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
}

impl File for RealFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_vectored_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for group in pieces.chunks(PIECES_MAX) {
            let total: usize = group.iter().map(|piece| piece.len()).sum();
            let written = rustix::io::pwritev(&self.file, group, at)?;
            // The kernel rarely writes less than asked. Then the rest follows piece by piece.
            if written < total {
                self.write_rest(group, written, at)?;
            }
            at += widen(total);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            // Some file systems cannot reserve; they may grow as it comes.
            Err(rustix::io::Errno::OPNOTSUPP) if self.len()? < length => self.set_len(length),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn will_read(&self, offset: u64, length: u64) {
        // A file system that does not care reads it when it is asked.
        rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(length), Advice::WillNeed).ok();
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn taken_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks().saturating_mul(STAT_BLOCK_BYTES))
    }

    fn uncache(&self) {
        // Only a hint: a file system that knows none loses nothing.
        rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed).ok();
    }
}

impl RealFile {
    /// Writes what a vectored write at `offset` left over after `written` bytes.
    fn write_rest(&self, pieces: &[IoSlice<'_>], written: usize, offset: u64) -> io::Result<()> {
        let mut begin = 0_usize;
        for piece in pieces {
            let skip = written.saturating_sub(begin).min(piece.len());
            if skip < piece.len() {
                self.file.write_all_at(&piece[skip..], offset + widen(begin + skip))?;
            }
            begin += piece.len();
        }
        Ok(())
    }
}

/// A length in memory as one on disk.
fn widen(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits 64 bits")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_in_pieces_is_read_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("file")).unwrap();
        let parts: Vec<Vec<u8>> = (0..3000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let pieces: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write_vectored_at(&pieces, 5).unwrap();
        let mut read = vec![0; 12_000];
        file.read_at(&mut read, 5).unwrap();
        assert_eq!(read, parts.concat());
        assert!(file.read_at(&mut read, 6).is_err(), "past the end");
    }

    #[test]
    fn the_rest_of_a_short_vectored_write_lands_where_it_belongs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let pieces = [IoSlice::new(b"abc"), IoSlice::new(b"defg"), IoSlice::new(b"hi")];
        for written in 0..=9 {
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
                .unwrap();
            file.write_all_at(&b"abcdefghi"[..written], 2).unwrap();
            RealFile { file }.write_rest(&pieces, written, 2).unwrap();
            assert_eq!(&fs::read(&path).unwrap()[2..], b"abcdefghi");
        }
    }

    #[test]
    fn nobody_else_may_read_what_is_created() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        RealDisk.create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        drop(RealDisk.open(&path).unwrap());
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn room_is_reserved_and_reads_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("file")).unwrap();
        file.allocate(8192).unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        let mut read = [1; 8192];
        file.read_at(&mut read, 0).unwrap();
        assert!(read.iter().all(|byte| *byte == 0));
        assert!(RealDisk.free_bytes(dir.path()).unwrap() > 0);
    }
}
