//! What is damaged in a journal, named as exactly as it can be.
//!
//! An entry whose head is whole has a name and a hash, so that any peer can supply its payload. Of a
//! bad head only the index can be told, from its neighbours. Whoever may have lost a vote must not
//! come back under the same number.
//!
//! Not here: how damage is told from a torn write (`survey`), and repair.

use std::fmt;
use std::path::PathBuf;

use client::types::{Digest, EntryId};

/// A journal that lost something it had made durable. It is as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedJournal {
    /// What is damaged, in the order of the files.
    pub frames: Vec<DamagedFrame>,
    /// Whether a vote may be among it that nothing later repeats. Then this replica may have voted
    /// for somebody it no longer knows of, and can return only under a new number.
    pub may_be_vote: bool,
}

/// Frames that are damaged, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedFrame {
    /// In which segment.
    pub path: PathBuf,
    /// Where.
    pub offset: u64,
    /// Number of the first one; 0 if it is a segment that is damaged.
    pub frame: u64,
    /// Which entries that were.
    pub entries: DamagedEntries,
}

/// Which entries are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamagedEntries {
    /// None: a mark, a vote, or the head of a segment.
    None,
    /// One whose head is whole: a peer can be asked for its payload.
    Payload {
        /// Which.
        id: EntryId,
        /// SHA-256 of what is missing.
        hash: Digest,
        /// How long that is.
        length: u32,
    },
    /// Those of these indexes, both included. If nothing says how many, as many as there can be.
    Range {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Some from this index on: everything behind is unreadable, too.
    From {
        /// The first.
        first: u64,
    },
}

impl DamagedJournal {
    /// The damaged entries, as ranges of indexes, both ends included.
    pub fn entries(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.frames.iter().filter_map(|frame| frame.entries.range())
    }
}

impl DamagedEntries {
    fn range(&self) -> Option<(u64, u64)> {
        match self {
            Self::None => None,
            Self::Payload { id, .. } => Some((id.index.get(), id.index.get())),
            Self::Range { first, last } => Some((*first, *last)),
            Self::From { first } => Some((*first, u64::MAX)),
        }
    }
}

impl fmt::Display for DamagedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, frame) in self.frames.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{frame}")?;
        }
        if self.may_be_vote { write!(f, "; a vote may be among it") } else { Ok(()) }
    }
}

impl fmt::Display for DamagedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries {
            DamagedEntries::None => write!(f, "no entry")?,
            DamagedEntries::Payload { id, .. } => write!(f, "entry {id}")?,
            DamagedEntries::Range { first, last } if first == last => write!(f, "entry {first}")?,
            DamagedEntries::Range { first, last } => write!(f, "entries {first} to {last}")?,
            DamagedEntries::From { first } => write!(f, "entries from {first} on")?,
        }
        write!(f, " damaged in {} at offset {}", self.path.display(), self.offset)
    }
}
