//! The journal on a bad disk, step by step and without a thread, so that every run is the same.
//!
//! `Bench` is a journal whose writer moves only when told. `Story` is a scripted workload that knows
//! what the journal must hold after each frame; whatever is recovered must be one of these states,
//! and not an older one than was acknowledged.

mod calls;
mod cuts;
mod failures;
mod flips;
mod mends;
mod model;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use client::types::{EntryId, EntryIndex, Term};

use super::damage::DamagedJournal;
use super::recovery::recover;
use super::writer::Writer;
use super::{
    Done, Entry, Journal, JournalIdentity, JournalOptions, LinkedEntry, Place, Thread, Vote,
    WoundedJournal,
};
use crate::machine::{EntryBody, Payload};
use crate::storage::error::StorageError;
use crate::storage::faults::FaultDisk;
use crate::world::{Chance, Clock};

pub(super) const SEGMENT_BYTES: u64 = 16 * 1024;

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/data/groups/0/journal")
}

pub(super) fn identity() -> JournalIdentity {
    JournalIdentity { cluster: [7; 16], replica: 2 }
}

/// Small segments, little memory, and salts that repeat.
pub(super) fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: SEGMENT_BYTES,
        suffix_bytes_max: 2 * 1024,
        write_bytes_max: 8 * 1024,
        ..JournalOptions::new(Clock::real(), Chance::from_seed(7))
    }
}

pub(super) fn entry(term: u64, index: u64, length: usize) -> Entry {
    let id = EntryId::new(Term::new(term), 1, EntryIndex::new(index));
    let seed = u8::try_from((term * 31 + index * 7) % 251).unwrap();
    let bytes: Vec<u8> =
        (0..length).map(|at| seed.wrapping_add(u8::try_from(at % 241).unwrap())).collect();
    let body = match index % 7 {
        0 if length == 0 => EntryBody::Blank,
        3 => EntryBody::Membership(Payload::new(Bytes::from(bytes))),
        _ => EntryBody::Command(Payload::new(Bytes::from(bytes))),
    };
    Entry { id, body }
}

/// A journal without a thread.
pub(super) struct Bench {
    pub(super) journal: Journal,
    pub(super) writer: Writer,
}

impl Bench {
    /// Opens a journal that must be whole.
    pub(super) fn open(disk: &FaultDisk, options: JournalOptions) -> Self {
        match Self::try_open(disk, options) {
            Ok(Ok(bench)) => bench,
            Ok(Err(damaged)) => panic!("damaged: {damaged}"),
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
    }

    pub(super) fn try_open(
        disk: &FaultDisk,
        options: JournalOptions,
    ) -> Result<Result<Self, DamagedJournal>, StorageError> {
        Ok(Self::try_wounded(disk, options)?.map_err(|wounded| wounded.damage().clone()))
    }

    pub(super) fn try_wounded(
        disk: &FaultDisk,
        options: JournalOptions,
    ) -> Result<Result<Self, WoundedJournal>, StorageError> {
        let place = Place { disk: Arc::new(disk.clone()), dir: dir(), identity: identity() };
        Ok(recover(&place, &options)?.map(|recovered| {
            let writer = Writer::new(&place, options, recovered);
            let thread = Thread { shared: writer.shared(), handle: Mutex::new(None) };
            let journal = Journal { shared: writer.shared(), thread: Arc::new(thread) };
            Self { journal, writer }
        }))
    }

    /// Writes what waits.
    pub(super) fn step(&mut self) -> io::Result<()> {
        let jobs = self.journal.shared.take_all();
        self.writer.turn(jobs)
    }

    /// What is there, read back to the last byte.
    pub(super) fn held(&self) -> Held {
        let first = self.journal.purged().map_or(0, |id| id.index.get() + 1);
        let until = self.journal.last().map_or(0, |id| id.index.get() + 1);
        let entries = self.journal.read(first, until).unwrap();
        for entry in &entries {
            assert_eq!(self.journal.entry_id(entry.id.index.get()), Some(entry.id));
        }
        Held {
            vote: self.journal.vote(),
            last: self.journal.last(),
            purged: self.journal.purged(),
            entries: entries.into_iter().map(|entry| (entry.id.index.get(), entry)).collect(),
        }
    }
}

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Held {
    pub(super) vote: Option<Vote>,
    pub(super) last: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    pub(super) entries: BTreeMap<u64, Entry>,
}

/// One call, or a moment at which the writer moves.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Append(Vec<Entry>),
    Vote(Vote),
    Truncate(Option<u64>),
    Purge(u64),
    Committed,
    Step,
    Mark,
}

impl Held {
    pub(super) fn next(&self) -> u64 {
        self.last.map_or(0, |id| id.index.get() + 1)
    }

    fn append(&mut self, entry: &Entry) {
        self.last = Some(entry.id);
        self.entries.insert(entry.id.index.get(), entry.clone());
    }

    fn id(&self, index: u64) -> Option<EntryId> {
        let purged = self.purged.filter(|id| id.index.get() == index);
        self.entries.get(&index).map(|entry| entry.id).or(purged)
    }

    /// The states that this call leads through, frame by frame.
    pub(super) fn apply(&mut self, op: &Op) -> Vec<Self> {
        match op {
            Op::Append(entries) => {
                return entries
                    .iter()
                    .map(|entry| {
                        self.append(entry);
                        self.clone()
                    })
                    .collect();
            }
            Op::Vote(vote) => self.vote = Some(*vote),
            Op::Truncate(kept) => {
                let until = kept.map_or(0, |kept| kept + 1);
                if until < self.next() {
                    self.last = kept.and_then(|kept| self.id(kept));
                    self.entries.split_off(&until);
                }
            }
            Op::Purge(index) => {
                let id = self.id(*index);
                let id = id.unwrap_or(EntryId::new(Term::new(9), 1, EntryIndex::new(*index)));
                self.purged = Some(id);
                if *index >= self.next() {
                    self.last = Some(id);
                }
                self.entries = self.entries.split_off(&(index + 1));
            }
            Op::Committed | Op::Step | Op::Mark => return Vec::new(),
        }
        vec![self.clone()]
    }
}

/// A workload and what must be held after each of its frames.
pub(super) struct Story {
    pub(super) states: Vec<Held>,
    /// How many frames were acknowledged.
    pub(super) acknowledged: Arc<AtomicU64>,
}

impl Story {
    pub(super) fn new() -> Self {
        Self { states: vec![Held::default()], acknowledged: Arc::default() }
    }

    fn done(&self) -> Done {
        let acknowledged = Arc::clone(&self.acknowledged);
        let frames = u64::try_from(self.states.len() - 1).unwrap();
        Box::new(move |result| {
            if result.is_ok() {
                acknowledged.fetch_max(frames, Ordering::SeqCst);
            }
        })
    }

    /// Makes one call and remembers what it must lead to.
    pub(super) fn play(&mut self, bench: &mut Bench, op: &Op) -> io::Result<()> {
        let mut held = self.states.last().unwrap().clone();
        let id = |index: &u64| held.id(*index);
        match op {
            Op::Truncate(kept) => {
                let id = kept.as_ref().and_then(id);
                self.states.extend(held.apply(op));
                bench.journal.truncate_after(id, self.done());
                return Ok(());
            }
            Op::Committed => bench.journal.save_committed(held.last),
            Op::Step => return bench.step(),
            Op::Mark => return bench.writer.mark(),
            Op::Append(_) | Op::Vote(_) | Op::Purge(_) => {}
        }
        self.states.extend(held.apply(op));
        match op {
            Op::Append(entries) => bench.journal.append(entries.clone(), self.done()),
            Op::Vote(vote) => bench.journal.save_vote(*vote, self.done()),
            Op::Purge(_) => bench.journal.purge(held.purged.unwrap()),
            Op::Truncate(_) | Op::Committed | Op::Step | Op::Mark => {}
        }
        Ok(())
    }

    /// Whether what was recovered is a state of this story that is no older than `acknowledged`.
    #[track_caller]
    pub(super) fn check(&self, held: &Held, acknowledged: u64) -> Result<(), String> {
        let from = usize::try_from(acknowledged).unwrap();
        if self.states[from..].contains(held) {
            return Ok(());
        }
        let older = self.states[..from].iter().rposition(|state| state == held);
        Err(match older {
            Some(at) => format!("{from} frames were acknowledged, {at} are left"),
            None => format!("no state of this story: {held:?}"),
        })
    }
}

/// Appends, votes, cuts and purges over several segments, in groups of different sizes.
pub(super) fn script() -> Vec<Op> {
    let mut ops = Vec::new();
    let mut next = 0;
    let mut append = |ops: &mut Vec<Op>, term: u64, lengths: &[usize]| {
        let entries = lengths.iter().map(|length| {
            next += 1;
            entry(term, next - 1, *length)
        });
        ops.push(Op::Append(entries.collect()));
        next
    };
    let vote = |term, committed| Op::Vote(Vote { term, leader: 1, committed });
    ops.extend([vote(1, false), Op::Step, vote(1, true)]);
    append(&mut ops, 1, &[0]);
    ops.push(Op::Step);
    for round in 0..6_usize {
        append(&mut ops, 1, &[40 + round * 100, 0, 700]);
        ops.push(Op::Committed);
        append(&mut ops, 1, &[2000]);
        ops.push(Op::Step);
        append(&mut ops, 1, &[1, 8, 9]);
        ops.push(Op::Step);
        if round % 2 == 0 {
            ops.push(Op::Mark);
        }
    }
    ops.extend([vote(2, false), Op::Step]);
    ops
}

/// What follows a conflict: a cut, another term, a purge, and a jump behind an install.
pub(super) fn second_script(next: u64) -> Vec<Op> {
    let vote = |term, committed| Op::Vote(Vote { term, leader: 1, committed });
    let mut ops = vec![vote(2, true), Op::Truncate(Some(next - 4)), Op::Step];
    let entries = (next - 3..next + 3).map(|index| entry(2, index, 500)).collect();
    ops.extend([Op::Append(entries), Op::Step, Op::Purge(next - 10), Op::Step, Op::Mark]);
    for index in next + 3..next + 12 {
        ops.extend([Op::Append(vec![entry(2, index, 1500)]), Op::Committed, Op::Step]);
    }
    ops.extend([Op::Purge(next + 6), Op::Append(vec![entry(2, next + 12, 10)]), Op::Step]);
    // Entries in the queue that a cut takes back before they are written.
    ops.push(Op::Append(vec![entry(2, next + 13, 100), entry(2, next + 14, 100)]));
    ops.extend([Op::Truncate(Some(next + 12)), Op::Append(vec![entry(3, next + 13, 3000)])]);
    ops.extend([Op::Step, vote(4, true), Op::Step, Op::Purge(next + 100), Op::Step]);
    ops.extend([Op::Append(vec![entry(4, next + 101, 20), entry(4, next + 102, 900)]), Op::Step]);
    ops
}

/// Both scripts.
pub(super) fn whole_script() -> Vec<Op> {
    let mut ops = script();
    let mut held = Held::default();
    for op in &ops {
        held.apply(op);
    }
    ops.extend(second_script(held.next()));
    ops
}

/// Names of the segments on a disk.
pub(super) fn segments(disk: &FaultDisk) -> Vec<PathBuf> {
    let names = crate::storage::disk::Disk::list(disk, Path::new(&dir())).unwrap();
    names.iter().filter(|name| name.ends_with(".segment")).map(|name| dir().join(name)).collect()
}
