//! On-disk formats of Quorate by version, and the steps between them.
//!
//! [`open`] takes the lock, reads the marker, runs the steps to the newest format, draws a new start
//! and writes the marker, in that order. What it returns, a [`Current`], is the proof that all this
//! happened: storage opens from nothing else, so an old format cannot be served. A folder without a
//! marker is only ever made by [`create`], which somebody must ask for.
//!
//! To add a version: copy the newest version folder and change the copy; write a step in `steps/`;
//! name it in `upgrade::SHIPPED`; point `latest` at the new folder; add a fixture of the version
//! before. A released version folder is never edited.
//!
//! Not here: what a value means (`machine`), or when it is written (`storage`).

mod error;
pub mod latest;
mod layout;
mod marker;
mod upgrade;
pub mod v1;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

pub use self::error::OpenError;
pub use self::layout::{GroupId, Layout};
pub use self::marker::{
    Beginning, Generation, Identity, Marker, REASON_BYTES_MAX, STARTS_KEPT_MAX, Start, Timings,
};
use self::upgrade::{Formats, SHIPPED};

/// A data folder of the newest format, locked and ours, with a start drawn for this process.
///
/// The lock is held as long as this lives.
#[derive(Debug)]
pub struct Current {
    layout: Layout,
    marker: Marker,
    start: Start,
    _lock: File,
}

/// The format of the folders that are written and served.
pub const FORMAT_VERSION: u32 = SHIPPED.newest;

/// Opens the folder of a replica.
pub fn open(dir: &Path) -> Result<Current, OpenError> {
    open_in(dir, &SHIPPED)
}

/// Makes a folder for a new replica: the first of a new cluster, or one that was admitted.
pub fn create(dir: &Path, identity: Identity, beginning: Beginning) -> Result<Current, OpenError> {
    prepare(dir)?.claim(identity, beginning)
}

/// Makes a folder that is nobody's yet. What is put into it counts only once it is claimed: until
/// then every start refuses it.
pub fn prepare(dir: &Path) -> Result<Prepared, OpenError> {
    let layout = Layout::new(dir);
    refuse_taken(&layout)?;
    make_dir(dir)?;
    refuse_foreign(&layout)?;
    let lock = take_lock(&layout)?;
    // Somebody else may have been faster.
    refuse_taken(&layout)?;
    make_private(dir)?;
    let journal = layout.journal(GroupId::FIRST);
    make_dir(&journal)?;
    Ok(Prepared { layout, lock })
}

/// A folder that is nobody's yet, and locked.
#[derive(Debug)]
pub struct Prepared {
    layout: Layout,
    lock: File,
}

impl Prepared {
    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes the marker: from now on it is this replica's. Durable when it returns.
    pub fn claim(self, identity: Identity, beginning: Beginning) -> Result<Current, OpenError> {
        let mut marker = Marker::new(SHIPPED.newest, identity, beginning);
        let start = marker.begin(draw()?);
        marker.write(&self.layout)?;
        Ok(Current { layout: self.layout, marker, start, _lock: self.lock })
    }
}

/// Whether a new replica could be made in this folder: it is not there, or holds nothing of anybody.
/// Changes nothing.
pub fn check_vacant(dir: &Path) -> Result<(), OpenError> {
    let layout = Layout::new(dir);
    refuse_taken(&layout)?;
    if dir.exists() { refuse_foreign(&layout) } else { Ok(()) }
}

/// Whose folder this is, whether or not somebody has it open. Changes nothing.
pub fn owner(dir: &Path) -> Result<Identity, OpenError> {
    Ok(Marker::read(&Layout::new(dir), SHIPPED.oldest(), SHIPPED.newest)?.identity)
}

fn open_in(dir: &Path, formats: &Formats) -> Result<Current, OpenError> {
    let layout = Layout::new(dir);
    // Nothing is written, not even a lock, into a folder that is not ours.
    Marker::read(&layout, 0, u32::MAX)?;
    let lock = take_lock(&layout)?;
    let mut marker = Marker::read(&layout, formats.oldest(), formats.newest)?;
    if let Some(reason) = marker.removed {
        return Err(OpenError::Removed { reason });
    }
    if marker.is_half_recovered {
        return Err(OpenError::HalfRecovered { folder: dir.to_owned() });
    }
    make_private(dir)?;
    formats.upgrade(&layout, &mut marker)?;
    let start = marker.begin(draw()?);
    marker.write(&layout)?;
    Ok(Current { layout, marker, start, _lock: lock })
}

/// Opens the folder of a replica that does not run, to look at it and perhaps recover it; that is no start of it.
pub fn open_stopped(dir: &Path) -> Result<Stopped, OpenError> {
    let layout = Layout::new(dir);
    Marker::read(&layout, 0, u32::MAX)?;
    let lock = take_lock(&layout)?;
    let marker = Marker::read(&layout, SHIPPED.newest, SHIPPED.newest)?;
    if let Some(reason) = marker.removed {
        return Err(OpenError::Removed { reason });
    }
    Ok(Stopped { layout, marker, _lock: lock })
}

/// The folder of a replica that does not run, and cannot be started as long as this lives.
#[derive(Debug)]
pub struct Stopped {
    layout: Layout,
    marker: Marker,
    _lock: File,
}

impl Stopped {
    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the marker says.
    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    /// Begins the recovery of a cluster that lost a majority: from now on this replica is of that generation, or of the
    /// one that an unfinished recovery began. It cannot be started before [`Stopped::finish_recovery`]. Durable when it
    /// returns, which is the generation that holds.
    pub fn begin_recovery(&mut self, generation: Generation) -> Result<Generation, OpenError> {
        if !self.marker.is_half_recovered {
            let mut marker = self.marker.clone();
            marker.identity.generation = generation;
            marker.is_half_recovered = true;
            marker.write(&self.layout)?;
            self.marker = marker;
        }
        Ok(self.marker.identity.generation)
    }

    /// Journal and state are those of the new generation: from now on the replica can be started. Durable when it
    /// returns.
    pub fn finish_recovery(&mut self) -> Result<(), OpenError> {
        self.marker.is_half_recovered = false;
        self.marker.is_founded = self.marker.beginning.voters_expected.is_some();
        self.marker.write(&self.layout)
    }
}

impl Current {
    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the marker says.
    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    /// Whose folder it is.
    pub fn identity(&self) -> Identity {
        self.marker.identity
    }

    /// This start.
    pub fn start(&self) -> Start {
        self.start
    }

    /// Remembers the number that the cluster gave to this replica. Durable when it returns.
    pub fn adopt_replica(&mut self, replica: u64) -> Result<(), OpenError> {
        let known = self.marker.identity.replica;
        assert!(known.is_none_or(|id| id == replica), "a replica keeps its number for ever");
        self.marker.identity.replica = Some(replica);
        self.marker.write(&self.layout)
    }

    /// Notes that journal and state were begun: where they are not there any more, they were lost.
    /// Durable when it returns.
    pub fn note_journal(&mut self) -> Result<(), OpenError> {
        if self.marker.has_journal {
            return Ok(());
        }
        self.marker.has_journal = true;
        self.marker.write(&self.layout)
    }

    /// Notes that the group is founded that this replica is the first of. Durable when it returns.
    pub fn note_founded(&mut self) -> Result<(), OpenError> {
        if self.marker.is_founded {
            return Ok(());
        }
        self.marker.is_founded = true;
        self.marker.write(&self.layout)
    }

    /// Marks the folder for good: this replica was removed, or is a copy. Durable when it returns.
    pub fn mark_removed(&mut self, reason: &str) -> Result<(), OpenError> {
        self.marker.removed = Some(reason.to_owned());
        self.marker.write(&self.layout)
    }
}

/// Makes a folder and all above it. Their names are durable when it returns, also those that an
/// interrupted call made before.
fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let is_new = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let new: Vec<&Path> = dir.ancestors().skip(1).take_while(is_new).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(OpenError::io("create", dir))?;
    for made in new.into_iter().rev().chain([dir]) {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        marker::sync_dir(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Takes everybody else's rights away: somebody may have made the folder by hand.
fn make_private(dir: &Path) -> Result<(), OpenError> {
    let known = fs::metadata(dir).map_err(OpenError::io("look at", dir))?;
    if known.permissions().mode() & 0o777 == 0o700 {
        return Ok(());
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))
        .map_err(OpenError::io("make private", dir))
}

fn take_lock(layout: &Layout) -> Result<File, OpenError> {
    let path = layout.lock();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(OpenError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { folder: layout.dir().to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::io("lock", &path)(source)),
    }
}

/// Refuses a folder that holds anything but what an interrupted `create` may have left.
fn refuse_foreign(layout: &Layout) -> Result<(), OpenError> {
    let dir = layout.dir();
    let refuse = |reason: String| OpenError::NotOurs { folder: dir.to_owned(), reason };
    for entry in fs::read_dir(dir).map_err(OpenError::io("list", dir))? {
        let name = entry.map_err(OpenError::io("list", dir))?.file_name();
        if !["lock", "marker", "marker.new", "groups"].iter().any(|ours| name == *ours) {
            return Err(refuse(format!("it holds {}", name.display())));
        }
    }
    let journal = layout.journal(GroupId::FIRST);
    let has_segments = fs::read_dir(&journal).is_ok_and(|mut segments| segments.next().is_some());
    if has_segments || layout.state(GroupId::FIRST).exists() {
        return Err(refuse("it holds entries but no marker".to_owned()));
    }
    Ok(())
}

fn refuse_taken(layout: &Layout) -> Result<(), OpenError> {
    if layout.marker().exists() {
        return Err(OpenError::Taken { folder: layout.dir().to_owned() });
    }
    Ok(())
}

/// What tells this start from one of a copied folder.
fn draw() -> Result<u64, OpenError> {
    getrandom::u64().map_err(|error| OpenError::Io {
        act: "draw a random number from",
        path: "the system".into(),
        source: error.into(),
    })
}

#[cfg(test)]
mod tests;
