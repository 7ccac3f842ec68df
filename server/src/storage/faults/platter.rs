//! What lies on the faulty disk: what files show, what is durable, and what waits in between.
//!
//! A snapshot is a copy of all that, from which disks after every possible power cut are made. What
//! waits reaches the platter sector by sector, in any order, or not at all.
//!
//! Not here: the calls that change it, and the faults (`faults`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FaultDisk;

/// What is written whole or not at all.
const SECTOR_BYTES: usize = 512;
/// With up to so many pieces waiting, a snapshot enumerates every subset of them.
const PIECES_ENUMERATED_MAX: usize = 6;

/// Files and names, durable and not.
#[derive(Debug, Clone, Default)]
pub(super) struct Platter {
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    pub(super) waiting_names: Vec<NameChange>,
    pub(super) files: BTreeMap<u64, Content>,
    pub(super) next_file: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) cached: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) waiting: Vec<Waiting>,
}

#[derive(Debug, Clone)]
pub(super) enum Waiting {
    Write { offset: usize, bytes: Arc<Vec<u8>> },
    Length(usize),
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Link { path: PathBuf, file: u64 },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, file: u64 },
}

/// The disk as it was when a sync was asked for, before that sync did anything; or at a crash point.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// What the label said at that moment: say, how many appends had been acknowledged.
    pub(crate) label: u64,
    /// The crash point, if it is not a sync.
    pub(crate) point: Option<&'static str>,
    pub(super) platter: Platter,
}

impl Snapshot {
    /// How many pieces wait: sectors, lengths and names.
    pub(crate) fn pieces(&self) -> usize {
        self.platter.waiting_names.len()
            + self.platter.files.values().map(Content::pieces).sum::<usize>()
    }

    /// The disk after a power cut that kept the pieces that `keep` chose, by their number.
    pub(crate) fn cut(&self, mut keep: impl FnMut(usize) -> bool) -> FaultDisk {
        FaultDisk::of(self.platter.after_cut(&mut keep), 0)
    }

    /// The disk after the process was killed at that moment: the cache is kept, and what waits waits.
    pub(crate) fn kill(&self) -> FaultDisk {
        FaultDisk::of(self.platter.clone(), 0)
    }

    /// Disks after power cuts: every subset of few pieces; of many, none, all and `sampled` others.
    pub(crate) fn cuts(&self, sampled: usize, seed: u64) -> Vec<FaultDisk> {
        let pieces = self.pieces();
        if pieces <= PIECES_ENUMERATED_MAX {
            return (0..1_usize << pieces)
                .map(|subset| self.cut(|piece| subset >> piece & 1 == 1))
                .collect();
        }
        let mut chance = seed;
        let mut disks = vec![self.cut(|_| false), self.cut(|_| true)];
        for _ in 0..sampled {
            let density = 1 + next(&mut chance) % 7;
            disks.push(self.cut(|_| next(&mut chance) % 8 < density));
        }
        disks
    }
}

impl Platter {
    pub(super) fn content_mut(&mut self, path: &Path) -> Option<&mut Content> {
        let file = self.names.get(path)?;
        self.files.get_mut(file)
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.names.values().filter_map(|file| self.files.get(file)).map(|c| c.cached.len()).sum()
    }

    /// What is there after the power came back.
    pub(super) fn after_cut(&self, keep: &mut dyn FnMut(usize) -> bool) -> Self {
        let mut piece = 0;
        let mut kept = || {
            piece += 1;
            keep(piece - 1)
        };
        let mut names = self.durable_names.clone();
        for change in &self.waiting_names {
            if kept() {
                change.apply(&mut names);
            }
        }
        let files = self.files.iter().map(|(id, content)| (*id, content.after_cut(&mut kept)));
        Self {
            dirs: self.dirs.clone(),
            files: files.collect(),
            durable_names: names.clone(),
            names,
            waiting_names: Vec::new(),
            next_file: self.next_file,
        }
    }
}

impl NameChange {
    pub(super) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link { path, file } => {
                names.insert(path.clone(), *file);
            }
            Self::Unlink { path } => {
                names.remove(path);
            }
            Self::Rename { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

impl Content {
    fn pieces(&self) -> usize {
        self.waiting.iter().map(|change| change.sectors().len()).sum()
    }

    fn after_cut(&self, kept: &mut dyn FnMut() -> bool) -> Self {
        let mut durable = self.durable.to_vec();
        for change in &self.waiting {
            for sector in change.sectors() {
                if kept() {
                    sector.apply(&mut durable);
                }
            }
        }
        let durable = Arc::new(durable);
        Self { cached: Arc::clone(&durable), durable, waiting: Vec::new() }
    }

    pub(super) fn change(&mut self, change: Waiting) {
        change.apply(Arc::make_mut(&mut self.cached));
        self.waiting.push(change);
    }
}

impl Waiting {
    /// The pieces of this change that reach the platter each for itself.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else { return vec![self.clone()] };
        let mut sectors = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = (SECTOR_BYTES - (offset + at) % SECTOR_BYTES).min(bytes.len() - at);
            let piece = Arc::new(bytes[at..at + length].to_vec());
            sectors.push(Self::Write { offset: offset + at, bytes: piece });
            at += length;
        }
        sectors
    }

    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Length(length) => content.resize(*length, 0),
        }
    }
}

/// One step of the `SplitMix64` generator.
pub(super) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
