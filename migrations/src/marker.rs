//! The marker: whose folder this is and what was written in it. Read first, written last.
//!
//! ```text
//!   0  magic "QUORATE\n"    8  u32 format version      these and the check stay so for ever
//!  12  u32 flags: 1 replica known, 2 removed, 4 journal begun, 8 first of its group, 16 group founded,
//!                 32 half recovered
//!  16  cluster [16]        32  u32 generation, u64 its random part     44  u64 replica
//!  52  u64 starts that are no longer kept              60  u32 count of starts kept
//!  64  u32 heartbeat, u32 shortest and u32 longest time without a leader, in milliseconds
//!  76  u32 voters expected by the first of its group
//!  80  u64 random part of each start kept, the oldest first
//!   .  u16 length, why it was removed
//! end  SHA-256 of everything before [32]
//! ```
//!
//! Numbers are little-endian. A marker is written beside, synced, renamed over the old one, and the
//! folder synced: after a crash there is the old one or the new one. The random part of every
//! start is kept, because peers ask for that of the last start they remember.
//!
//! What a replica is before its state can tell stands here: the group's timings, and whether it is
//! the one that founds it. Once the journal was begun, one that is not there is lost, not new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::BufMut;
use sha2::{Digest, Sha256};

use crate::error::OpenError;
use crate::layout::Layout;

const MAGIC: &[u8; 8] = b"QUORATE\n";
const FIXED_BYTES: usize = 80;
const CHECK_BYTES: usize = 32;
/// A marker that is longer was not written by us.
const MARKER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Random parts of so many starts are kept: enough for a restart every minute for three months.
pub const STARTS_KEPT_MAX: usize = 128 * 1024;
/// Longer reasons are cut.
pub const REASON_BYTES_MAX: usize = 1024;

const HAS_REPLICA: u32 = 1;
const IS_REMOVED: u32 = 2;
const HAS_JOURNAL: u32 = 4;
const IS_FIRST: u32 = 8;
const IS_FOUNDED: u32 = 16;
const IS_HALF_RECOVERED: u32 = 32;

/// Which line of history a cluster is in: raised when it was recovered after the loss of a majority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    /// Counted from 0.
    pub number: u32,
    /// Tells two recoveries apart that did not know of each other.
    pub random: u64,
}

/// Whose folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: [u8; 16],
    /// Its generation.
    pub generation: Generation,
    /// The replica; `None` until the cluster has given it a number.
    pub replica: Option<u64>,
}

/// Timings of a group, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// Interval of heartbeats.
    pub heartbeat_ms: u32,
    /// Shortest time without a leader before an election.
    pub election_min_ms: u32,
    /// Longest such time.
    pub election_max_ms: u32,
}

/// How a replica begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// The group's timings: as it is to be founded with, or as a newcomer was told.
    pub timings: Timings,
    /// In the first replica of a group: how many voters it expects. Nobody else founds one.
    pub voters_expected: Option<u32>,
}

/// One start of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which start, counted from 1.
    pub number: u64,
    /// Tells two copies of one folder apart.
    pub random: u64,
}

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Format of everything else in the folder.
    pub version: u32,
    /// Whose folder it is.
    pub identity: Identity,
    /// How the replica began.
    pub beginning: Beginning,
    /// Journal and state were begun: where they are not there, they were lost.
    pub has_journal: bool,
    /// The group was founded; never set but in its first replica.
    pub is_founded: bool,
    /// The generation is that of a recovery that is not finished: until it is, nobody may start from this folder.
    pub is_half_recovered: bool,
    /// Set when the replica may never serve again: why.
    pub removed: Option<String>,
    forgotten: u64,
    starts: Vec<u64>,
}

impl Marker {
    /// The marker of a new folder that was never started.
    pub fn new(version: u32, identity: Identity, beginning: Beginning) -> Self {
        Self {
            version,
            identity,
            beginning,
            has_journal: false,
            is_founded: false,
            is_half_recovered: false,
            removed: None,
            forgotten: 0,
            starts: Vec::new(),
        }
    }

    /// How many voters the group expects that this replica has yet to found; nothing if it has
    /// none to found.
    pub fn founding(&self) -> Option<u32> {
        self.beginning.voters_expected.filter(|_| !self.is_founded)
    }

    /// The latest start.
    pub fn latest_start(&self) -> Option<Start> {
        let random = *self.starts.last()?;
        Some(Start { number: self.count(), random })
    }

    /// The random part of an earlier start, unless it is too long ago.
    pub fn start(&self, number: u64) -> Option<u64> {
        let kept = number.checked_sub(self.forgotten)?.checked_sub(1)?;
        self.starts.get(usize::try_from(kept).ok()?).copied()
    }

    /// Every start that is remembered, the latest last.
    pub fn starts(&self) -> impl Iterator<Item = Start> {
        (self.forgotten + 1..)
            .zip(&self.starts)
            .map(|(number, random)| Start { number, random: *random })
    }

    /// Counts one more start.
    pub(crate) fn begin(&mut self, random: u64) -> Start {
        self.starts.push(random);
        if self.starts.len() > STARTS_KEPT_MAX {
            self.starts.remove(0);
            self.forgotten += 1;
        }
        Start { number: self.count(), random }
    }

    fn count(&self) -> u64 {
        self.forgotten + u64::try_from(self.starts.len()).expect("a count in memory fits 64 bits")
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.starts.len() * 8 + CHECK_BYTES + 2);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(self.version);
        bytes.put_u32_le(self.flags());
        bytes.put_slice(&self.identity.cluster);
        bytes.put_u32_le(self.identity.generation.number);
        bytes.put_u64_le(self.identity.generation.random);
        bytes.put_u64_le(self.identity.replica.unwrap_or(0));
        bytes.put_u64_le(self.forgotten);
        bytes.put_u32_le(u32::try_from(self.starts.len()).expect("starts kept are bounded"));
        let timings = self.beginning.timings;
        for millis in [timings.heartbeat_ms, timings.election_min_ms, timings.election_max_ms] {
            bytes.put_u32_le(millis);
        }
        bytes.put_u32_le(self.beginning.voters_expected.unwrap_or(0));
        for random in &self.starts {
            bytes.put_u64_le(*random);
        }
        let reason = self.removed.as_deref().map_or(&b""[..], |reason| cut(reason).as_bytes());
        bytes.put_u16_le(u16::try_from(reason.len()).expect("reasons are bounded"));
        bytes.put_slice(reason);
        let check = Sha256::digest(&bytes);
        bytes.put_slice(&check);
        bytes
    }

    fn flags(&self) -> u32 {
        [
            (self.identity.replica.is_some(), HAS_REPLICA),
            (self.removed.is_some(), IS_REMOVED),
            (self.has_journal, HAS_JOURNAL),
            (self.beginning.voters_expected.is_some(), IS_FIRST),
            (self.is_founded, IS_FOUNDED),
            (self.is_half_recovered, IS_HALF_RECOVERED),
        ]
        .iter()
        .fold(0, |flags, (is_set, flag)| if *is_set { flags | flag } else { flags })
    }

    /// The format version alone, of any version's marker that is whole.
    fn version_of(bytes: &[u8]) -> Result<u32, Fault> {
        if !bytes.starts_with(MAGIC) {
            return Err(Fault::Foreign);
        }
        let end = bytes.len().checked_sub(CHECK_BYTES).ok_or(Fault::Damaged("too short"))?;
        let (content, check) = bytes.split_at(end);
        if Sha256::digest(content)[..] != *check {
            return Err(Fault::Damaged("its check does not fit"));
        }
        let version = content.get(8..12).and_then(<[u8]>::first_chunk);
        version.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(Fault::Damaged("too short"))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let version = Self::version_of(bytes)?;
        let content = &bytes[..bytes.len() - CHECK_BYTES];
        let fixed = content.first_chunk::<FIXED_BYTES>().ok_or(Fault::Damaged("too short"))?;
        let flags = u32_at(fixed, 12);
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&fixed[16..32]);
        let count = usize::try_from(u32_at(fixed, 60)).unwrap_or(usize::MAX);
        let rest = &content[FIXED_BYTES..];
        if count > STARTS_KEPT_MAX || rest.len() < count * 8 + 2 {
            return Err(Fault::Damaged("its starts do not fit"));
        }
        let (starts, rest) = rest.split_at(count * 8);
        let (length, reason) = rest.split_at(2);
        if usize::from(u16::from_le_bytes([length[0], length[1]])) != reason.len() {
            return Err(Fault::Damaged("its reason does not fit"));
        }
        let reason = String::from_utf8(reason.to_vec()).map_err(|_| Fault::Damaged("no text"))?;
        Ok(Self {
            version,
            identity: Identity {
                cluster,
                generation: Generation { number: u32_at(fixed, 32), random: u64_at(fixed, 36) },
                replica: (flags & HAS_REPLICA != 0).then(|| u64_at(fixed, 44)),
            },
            beginning: Beginning {
                timings: Timings {
                    heartbeat_ms: u32_at(fixed, 64),
                    election_min_ms: u32_at(fixed, 68),
                    election_max_ms: u32_at(fixed, 72),
                },
                voters_expected: (flags & IS_FIRST != 0).then(|| u32_at(fixed, 76)),
            },
            has_journal: flags & HAS_JOURNAL != 0,
            is_founded: flags & IS_FOUNDED != 0,
            is_half_recovered: flags & IS_HALF_RECOVERED != 0,
            removed: (flags & IS_REMOVED != 0).then_some(reason),
            forgotten: u64_at(fixed, 52),
            starts: starts.chunks_exact(8).map(|random| u64_at(random, 0)).collect(),
        })
    }

    /// Reads the marker of a folder, if its format is one of `oldest..=newest`.
    pub(crate) fn read(layout: &Layout, oldest: u32, newest: u32) -> Result<Self, OpenError> {
        let path = layout.marker();
        let bytes = read_bounded(&path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                OpenError::Unmarked { folder: layout.dir().to_owned() }
            } else {
                OpenError::io("read", &path)(error)
            }
        })?;
        let refuse = |fault: Fault| fault.refuse(layout);
        let found = Self::version_of(&bytes).map_err(refuse)?;
        if found > newest {
            return Err(OpenError::TooNew { found, newest });
        }
        if found < oldest {
            return Err(OpenError::TooOld { found, oldest });
        }
        Self::decode(&bytes).map_err(refuse)
    }

    /// Replaces the marker of a folder; durable when it returns.
    pub(crate) fn write(&self, layout: &Layout) -> Result<(), OpenError> {
        let beside = layout.new_marker();
        let written =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        let written = written.and_then(|mut file| {
            file.write_all(&self.encode())?;
            file.sync_all()
        });
        written.map_err(OpenError::io("write", &beside))?;
        let path = layout.marker();
        fs::rename(&beside, &path).map_err(OpenError::io("replace", &path))?;
        sync_dir(layout.dir())
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(OpenError::io("sync", dir))
}

enum Fault {
    Foreign,
    Damaged(&'static str),
}

impl Fault {
    fn refuse(self, layout: &Layout) -> OpenError {
        match self {
            Self::Foreign => OpenError::NotOurs {
                folder: layout.dir().to_owned(),
                reason: "its marker is of something else".to_owned(),
            },
            Self::Damaged(reason) => OpenError::Corrupt { file: layout.marker(), reason },
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MARKER_BYTES_MAX), &mut bytes)?;
    Ok(bytes)
}

/// The longest beginning of `reason` that fits.
fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the length was checked"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the length was checked"))
}
