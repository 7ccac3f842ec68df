//! redb over the seam of the disk: one file, opened, read and written in transactions.
//!
//! Every write transaction is durable when it is committed, and saves what redb needs to open the file at once after a
//! crash. A new file is made beside its name and gets it only when it is whole, so a crash while it is made leaves
//! nothing to stumble over. What a commit writes is synced in steps, so that the journal's syncs on the same disk never
//! wait for a whole flush. The first failed call is the last: redb latches it, and the process ends.
//!
//! redb trusts its own pages on ordinary reads, so a rotted page can trip one of its assertions: reads go through
//! [`unwinding`], which turns that into damage. What a page holds is checked by whoever asked for it (`chunks`,
//! `manifest`, `tiles`).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use migrations::latest::kept::{META_KEPT, decode_kept, encode_kept};
use migrations::latest::tables::{CHUNKS, META, TILES, Table};
use redb::{
    Builder, Durability, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction,
};

use crate::storage::disk::{Disk, File};
use crate::storage::error::StorageError;

/// redb's file, and where it is.
#[derive(Debug)]
pub(super) struct Database {
    redb: redb::Database,
    path: PathBuf,
    file: Arc<dyn File>,
    written: Arc<AtomicU64>,
    /// Bytes of the page runs of all chunks, as it was committed last.
    kept: AtomicU64,
    /// What the transaction under way makes of that. redb lets one write at a time.
    change: AtomicI64,
}

/// Of so many bytes of chunks redb needs one more around them, at most: branches, tiles, rows, and pages that are not
/// quite full.
const PART_AROUND: u64 = 8;
/// And so many bytes more, however few there are.
const AROUND_BYTES: u64 = 512 << 10;

/// How the file is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatabaseOptions {
    /// Pages kept in memory, those being written included.
    pub(super) cache_bytes: usize,
    /// So many bytes are written between two syncs at most.
    pub(super) unsynced_bytes_max: u64,
}

impl Database {
    /// Opens the file, or makes it.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        options: DatabaseOptions,
    ) -> Result<Self, StorageError> {
        if !disk.exists(path).map_err(StorageError::io("find", path))? {
            create(disk, path, options)?;
        }
        let database = Self::open_file(disk, path, options)?;
        database.kept.store(database.find_kept()?, Ordering::Relaxed);
        Ok(database)
    }

    /// What the row says. As long as none can be read, all of the file counts as used.
    fn find_kept(&self) -> Result<u64, StorageError> {
        let kept = self.unwinding(|| {
            let table = self.read()?.open_table(META).map_err(self.failed("read"))?;
            let value = table.get(META_KEPT).map_err(self.failed("read"))?;
            Ok(value.and_then(|value| decode_kept(value.value()).ok()))
        })?;
        kept.map_or_else(|| self.file.len(), Ok).map_err(StorageError::io("measure", &self.path))
    }

    fn open_file(
        disk: &dyn Disk,
        path: &Path,
        options: DatabaseOptions,
    ) -> Result<Self, StorageError> {
        let file: Arc<dyn File> = disk.open(path).map_err(StorageError::io("open", path))?.into();
        let written = Arc::new(AtomicU64::new(0));
        let backend = Backend {
            file: Arc::clone(&file),
            written: Arc::clone(&written),
            unsynced: AtomicU64::new(0),
            unsynced_bytes_max: options.unsynced_bytes_max,
        };
        let redb = unwinding(path, || {
            Builder::new()
                .set_cache_size(options.cache_bytes)
                .create_with_backend(backend)
                .map_err(|error| storage_error(path, "open", error.into()))
        })?;
        let (kept, change) = (AtomicU64::new(0), AtomicI64::new(0));
        Ok(Self { redb, path: path.to_owned(), file, written, kept, change })
    }

    /// Begins a transaction that sees what is there now, and goes on seeing it.
    pub(super) fn read(&self) -> Result<ReadTransaction, StorageError> {
        self.redb.begin_read().map_err(self.failed("read"))
    }

    /// Begins a transaction that changes the file. There is one at a time.
    pub(super) fn write(&self) -> Result<WriteTransaction, StorageError> {
        let mut txn = self.redb.begin_write().map_err(self.failed("write"))?;
        txn.set_durability(Durability::Immediate)
            .expect("no savepoint was made that would forbid a durable commit");
        txn.set_quick_repair(true);
        self.change.store(0, Ordering::Relaxed);
        Ok(txn)
    }

    /// Makes a transaction durable.
    pub(super) fn commit(&self, txn: WriteTransaction) -> Result<(), StorageError> {
        let change = self.change.swap(0, Ordering::Relaxed);
        let kept = self.kept.load(Ordering::Relaxed).saturating_add_signed(change);
        if change != 0 {
            let mut table = txn.open_table(META).map_err(self.failed("write"))?;
            let row = encode_kept(kept);
            table.insert(META_KEPT, &row[..]).map_err(self.failed("write"))?;
        }
        txn.commit().map_err(self.failed("write"))?;
        self.kept.store(kept, Ordering::Relaxed);
        Ok(())
    }

    /// The transaction under way adds page runs of so many bytes, and frees others.
    pub(super) fn note_kept(&self, added: usize, freed: usize) {
        let signed = |bytes| i64::try_from(bytes).expect("a length in memory fits 63 bits");
        self.change.fetch_add(signed(added) - signed(freed), Ordering::Relaxed);
    }

    /// How much of the file's room is used for nothing, so that it takes what is written next. An estimate on the low
    /// side: redb itself would have to look at every page to say.
    pub(super) fn spare_bytes(&self) -> u64 {
        let kept = self.kept.load(Ordering::Relaxed);
        let taken = self.file.taken_bytes().unwrap_or(0);
        taken.saturating_sub(kept + kept / PART_AROUND + AROUND_BYTES)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes were written since it was opened.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Turns an error of redb into one of the storage, for `map_err`.
    pub(super) fn failed<E: Into<redb::Error>>(
        &self,
        act: &'static str,
    ) -> impl FnOnce(E) -> StorageError + Copy + '_ {
        move |error| storage_error(&self.path, act, error.into())
    }

    /// What is wrong with a value found in the file.
    pub(super) fn damaged(&self, what: &'static str) -> StorageError {
        StorageError::Damaged { what, path: self.path.clone(), offset: 0 }
    }

    /// Runs a read; a panic of redb over a rotted page is damage like any other.
    pub(super) fn unwinding<T>(
        &self,
        read: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        unwinding(&self.path, read)
    }
}

fn unwinding<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_panic| {
        Err(StorageError::Damaged { what: "page", path: path.to_owned(), offset: 0 })
    })
}

/// Makes the file under another name, with all its tables, and renames it.
fn create(disk: &dyn Disk, path: &Path, options: DatabaseOptions) -> Result<(), StorageError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    if disk.exists(&new).map_err(StorageError::io("find", &new))? {
        disk.remove(&new).map_err(StorageError::io("remove", &new))?;
    }
    let database = Database::open_file(disk, &new, options)?;
    let txn = database.write()?;
    for definition in Table::ALL.map(Table::definition).into_iter().chain([CHUNKS, TILES, META]) {
        txn.open_table(definition).map_err(database.failed("create"))?;
    }
    {
        let mut table = txn.open_table(META).map_err(database.failed("create"))?;
        table.insert(META_KEPT, &encode_kept(0)[..]).map_err(database.failed("create"))?;
    }
    database.commit(txn)?;
    drop(database);
    disk.rename(&new, path).map_err(StorageError::io("rename", &new))?;
    disk.sync_dir(dir).map_err(StorageError::io("sync", dir))
}

fn storage_error(path: &Path, act: &'static str, error: redb::Error) -> StorageError {
    let damaged = |what| StorageError::Damaged { what, path: path.to_owned(), offset: 0 };
    if let redb::Error::Io(source) = error {
        // What redb makes of a head that is not its own, and of a file that ends too early.
        let is_damage =
            matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
        return if is_damage { damaged("file") } else { StorageError::io(act, path)(source) };
    }
    if matches!(error, redb::Error::Corrupted(_) | redb::Error::RepairAborted) {
        return damaged("page");
    }
    let is_of_tables = matches!(
        error,
        redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::UpgradeRequired(_)
    );
    if is_of_tables {
        return damaged("table");
    }
    let is_latched = matches!(error, redb::Error::PreviousIo | redb::Error::LockPoisoned(_));
    let source = io::Error::other(error);
    if is_latched {
        return StorageError::Poisoned { source: Arc::new(source) };
    }
    StorageError::io(act, path)(source)
}

/// The file as redb wants to see it.
#[derive(Debug)]
struct Backend {
    file: Arc<dyn File>,
    written: Arc<AtomicU64>,
    unsynced: AtomicU64,
    unsynced_bytes_max: u64,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, offset)?;
        let length = u64::try_from(bytes.len()).expect("a length in memory fits 64 bits");
        self.written.fetch_add(length, Ordering::Relaxed);
        let unsynced = self.unsynced.fetch_add(length, Ordering::Relaxed) + length;
        if unsynced >= self.unsynced_bytes_max { self.sync_data() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::faults::FaultDisk;

    const OPTIONS: DatabaseOptions =
        DatabaseOptions { cache_bytes: 1 << 20, unsynced_bytes_max: 1 << 20 };

    fn open(disk: &FaultDisk) -> Result<Database, StorageError> {
        Database::open(disk, Path::new("/state/state.redb"), OPTIONS)
    }

    #[test]
    fn a_power_cut_while_the_file_is_made_leaves_nothing_to_stumble_over() {
        let disk = FaultDisk::new(1);
        disk.create_dir_all(Path::new("/state")).unwrap();
        disk.record(Arc::new(AtomicU64::new(0)));
        drop(open(&disk).unwrap());
        let boundaries = disk.recorded();
        assert!(boundaries.len() > 3);
        for snapshot in boundaries {
            for cut in snapshot.cuts(8, 7) {
                open(&cut).unwrap();
            }
        }
    }

    #[test]
    fn what_was_committed_is_there_after_the_power_was_cut() {
        let disk = FaultDisk::new(1);
        disk.create_dir_all(Path::new("/state")).unwrap();
        let database = open(&disk).unwrap();
        let txn = database.write().unwrap();
        txn.open_table(META).unwrap().insert(&b"k"[..], &b"v"[..]).unwrap();
        database.commit(txn).unwrap();
        assert!(database.written_bytes() > 0);
        let cut = disk.snapshot().cut(|_| false);
        let table = open(&cut).unwrap().read().unwrap().open_table(META).unwrap();
        assert_eq!(table.get(&b"k"[..]).unwrap().unwrap().value(), b"v");
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let disk = FaultDisk::new(1);
        disk.create_dir_all(Path::new("/state")).unwrap();
        disk.set_room(Some(1000));
        assert!(matches!(open(&disk), Err(StorageError::Full { .. })));
    }
}
