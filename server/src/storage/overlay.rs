//! A disk that is written to in memory alone: what happens to a folder is rehearsed, and the folder stays as it is.
//!
//! Files of the machine's own disk show through until a part of them is written. Nothing here is durable, and nothing
//! is meant to be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, File, RealDisk};

/// What is written is kept in pieces of this size.
const PAGE_BYTES: u64 = 4096;

/// The disk. A clone is the same one.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Names that were opened, given or, without a file, removed.
    names: Arc<Mutex<BTreeMap<PathBuf, Option<Arc<Sheet>>>>>,
}

/// A file, as far as it was written.
#[derive(Debug)]
struct Sheet {
    below: Option<Box<dyn File>>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// Up to here the file below shows through.
    below_until: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

#[derive(Debug)]
struct Open(Arc<Sheet>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Overlay {
    fn sheet(&self, path: &Path) -> io::Result<Option<Arc<Sheet>>> {
        let mut names = locked(&self.names);
        if let Some(known) = names.get(path) {
            return Ok(known.clone());
        }
        if !RealDisk.exists(path)? {
            return Ok(None);
        }
        let below = RealDisk.open_existing(path)?;
        let length = below.len()?;
        let written = Written { length, below_until: length, pages: BTreeMap::new() };
        let sheet = Arc::new(Sheet { below: Some(below), written: Mutex::new(written) });
        names.insert(path.to_owned(), Some(Arc::clone(&sheet)));
        Ok(Some(sheet))
    }
}

impl Disk for Overlay {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        if let Some(sheet) = self.sheet(path)? {
            return Ok(Box::new(Open(sheet)));
        }
        let written = Written { length: 0, below_until: 0, pages: BTreeMap::new() };
        let sheet = Arc::new(Sheet { below: None, written: Mutex::new(written) });
        locked(&self.names).insert(path.to_owned(), Some(Arc::clone(&sheet)));
        Ok(Box::new(Open(sheet)))
    }

    fn open_existing(&self, path: &Path) -> io::Result<Box<dyn File>> {
        match self.sheet(path)? {
            Some(sheet) => Ok(Box::new(Open(sheet))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let below = match RealDisk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        let mut all: BTreeSet<String> = below.into_iter().collect();
        for (path, sheet) in locked(&self.names).iter() {
            let name = path.file_name().filter(|_| path.parent() == Some(dir));
            let Some(name) = name.map(|name| name.to_string_lossy().into_owned()) else { continue };
            if sheet.is_some() {
                all.insert(name);
            } else {
                all.remove(&name);
            }
        }
        Ok(all.into_iter().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let sheet = self.sheet(from)?.ok_or(io::ErrorKind::NotFound)?;
        let mut names = locked(&self.names);
        names.insert(from.to_owned(), None);
        names.insert(to.to_owned(), Some(sheet));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sheet(path)?.ok_or(io::ErrorKind::NotFound)?;
        locked(&self.names).insert(path.to_owned(), None);
        Ok(())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match locked(&self.names).get(path) {
            Some(known) => Ok(known.is_some()),
            None => RealDisk.exists(path),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(path)
    }
}

impl Sheet {
    /// What the file below shows of `[offset, offset + bytes)`; zeros behind it.
    fn read_below(&self, until: u64, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        bytes.fill(0);
        let shown = until.saturating_sub(offset).min(widen(bytes.len()));
        match &self.below {
            Some(below) if shown > 0 => below.read_at(&mut bytes[..narrow(shown)?], offset),
            _ => Ok(()),
        }
    }

    fn write(&self, written: &mut Written, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + widen(bytes.len());
        let mut at = offset;
        while at < end {
            let page = at / PAGE_BYTES;
            let (begin, stop) = (page * PAGE_BYTES, end.min((page + 1) * PAGE_BYTES));
            let piece = &bytes[narrow(at - offset)?..narrow(stop - offset)?];
            let is_blank = begin >= written.below_until && !written.pages.contains_key(&page);
            // Whole files are filled with zeros in advance: that needs no memory.
            if !(is_blank && piece.iter().all(|byte| *byte == 0)) {
                if !written.pages.contains_key(&page) {
                    let mut fresh = vec![0; narrow(PAGE_BYTES)?];
                    self.read_below(written.below_until, &mut fresh, begin)?;
                    written.pages.insert(page, fresh);
                }
                let kept = written.pages.get_mut(&page).ok_or(io::ErrorKind::NotFound)?;
                kept[narrow(at - begin)?..narrow(stop - begin)?].copy_from_slice(piece);
            }
            at = stop;
        }
        written.length = written.length.max(end);
        Ok(())
    }
}

impl File for Open {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let written = locked(&self.0.written);
        let end = offset + widen(bytes.len());
        if end > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.read_below(written.below_until, bytes, offset)?;
        let pages = written.pages.range(offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES));
        for (page, kept) in pages {
            let begin = page * PAGE_BYTES;
            let (from, until) = (begin.max(offset), end.min(begin + PAGE_BYTES));
            bytes[narrow(from - offset)?..narrow(until - offset)?]
                .copy_from_slice(&kept[narrow(from - begin)?..narrow(until - begin)?]);
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write(&mut locked(&self.0.written), bytes, offset)
    }

    fn write_vectored_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for piece in pieces {
            self.write_at(piece, at)?;
            at += widen(piece.len());
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = locked(&self.0.written);
        if length < written.length {
            written.below_until = written.below_until.min(length);
            written.pages.split_off(&length.div_ceil(PAGE_BYTES));
            if let Some(last) = written.pages.get_mut(&(length / PAGE_BYTES)) {
                last[narrow(length % PAGE_BYTES)?..].fill(0);
            }
        }
        written.length = length;
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut written = locked(&self.0.written);
        written.length = written.length.max(length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.0.written).length)
    }
}

fn widen(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits 64 bits")
}

fn narrow(length: u64) -> io::Result<usize> {
    usize::try_from(length).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_reads_as_a_disk_that_was_written_and_the_disk_below_stays_as_it_is(
            before in prop::collection::vec(any::<u8>(), 0..20_000),
            steps in prop::collection::vec((0..4_u8, 0..24_000_u64, 0..9_000_usize), 1..12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            RealDisk.open(&path).unwrap().write_at(&before, 0).unwrap();
            let overlay = Overlay::default();
            let file = overlay.open_existing(&path).unwrap();
            let mut model = before.clone();
            for (seed, (kind, at, length)) in (1..).zip(steps) {
                let offset = usize::try_from(at).unwrap();
                match kind {
                    0 => {
                        file.set_len(at).unwrap();
                        model.resize(offset, 0);
                    }
                    1 => {
                        file.allocate(at).unwrap();
                        model.resize(model.len().max(offset), 0);
                    }
                    kind => {
                        let byte = if kind == 2 { 0 } else { seed };
                        file.write_at(&vec![byte; length], at).unwrap();
                        model.resize(model.len().max(offset + length), 0);
                        model[offset..offset + length].fill(byte);
                    }
                }
                prop_assert_eq!(file.len().unwrap(), widen(model.len()));
                let mut read = vec![7; model.len()];
                file.read_at(&mut read, 0).unwrap();
                prop_assert!(read == model);
                prop_assert!(file.read_at(&mut [0], widen(model.len())).is_err());
            }
            let mut below = vec![0; before.len()];
            let kept = RealDisk.open_existing(&path).unwrap();
            prop_assert_eq!(kept.len().unwrap(), widen(before.len()));
            kept.read_at(&mut below, 0).unwrap();
            prop_assert!(below == before);
        }
    }

    #[test]
    fn names_change_above_and_stay_below() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            RealDisk.open(&path(name)).unwrap().write_at(name.as_bytes(), 0).unwrap();
        }
        let overlay = Overlay::default();
        overlay.rename(&path("a"), &path("c")).unwrap();
        overlay.remove(&path("b")).unwrap();
        assert!(overlay.open_existing(&path("b")).is_err());
        drop(overlay.open(&path("d")).unwrap());
        assert_eq!(overlay.list(folder.path()).unwrap(), ["c", "d"]);
        let mut byte = [0];
        overlay.open_existing(&path("c")).unwrap().read_at(&mut byte, 0).unwrap();
        assert_eq!(&byte, b"a");
        assert_eq!(overlay.open(&path("b")).unwrap().len().unwrap(), 0, "it is a new one");
        assert_eq!(RealDisk.list(folder.path()).unwrap(), ["a", "b"]);
    }
}
