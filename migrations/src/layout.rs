//! Where things lie in a data folder.
//!
//! ```text
//! data/
//!   marker                   format version, cluster, replica, starts, how it began; written last, read first
//!   lock                     one process per folder
//!   groups/0/journal/        segment files
//!   groups/0/state.redb      everything else
//! ```
//!
//! One group is shipped; its number is in the path, so that a second one is a folder and not a
//! change of format.

use std::fmt;
use std::path::{Path, PathBuf};

/// The number of a consensus group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

impl GroupId {
    /// The one that is shipped.
    pub const FIRST: Self = Self(0);

    /// A group by its number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The paths of a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The paths below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whose folder it is.
    pub fn marker(&self) -> PathBuf {
        self.dir.join("marker")
    }

    /// A marker on its way.
    pub(crate) fn new_marker(&self) -> PathBuf {
        self.dir.join("marker.new")
    }

    /// Held by the one process that has the folder open.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// All groups.
    pub fn groups(&self) -> PathBuf {
        self.dir.join("groups")
    }

    /// One group.
    pub fn group(&self, group: GroupId) -> PathBuf {
        self.groups().join(group.to_string())
    }

    /// The segments of a group.
    pub fn journal(&self, group: GroupId) -> PathBuf {
        self.group(group).join("journal")
    }

    /// The database of a group.
    pub fn state(&self, group: GroupId) -> PathBuf {
        self.group(group).join("state.redb")
    }
}
