//! Taking the state anew, while the journal goes on: what is here is trusted in nothing.
//!
//! ```text
//! begin      entries are passed over, nothing is flushed or deleted any more
//! cut back   what lies behind the certified state goes
//! look       every group of hashes, every tile of records: what the certified state does not prove is fetched
//! renew      one transaction puts the rows in place
//! catch up   what was passed over is applied, a few entries at a time, until nothing is left
//! ```
//!
//! Broken off before the rows are in place, the old state catches up instead, as wrong as it was. A state that an offer
//! put in place meanwhile ends it.
//!
//! Not here: where what is lacking comes from (`peer::transfer`), and when this is done (`node::quarantine`).

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use client::types::{Digest, EntryIndex, LogId};
use migrations::latest::tables::{chunk_key, tile_key};
use migrations::latest::values::CatalogRow;

use super::chunks::{ChunkFailure, ChunkReader, ChunkTable};
use super::lacking::Gap;
use super::manifest::{InstallError, StateManifest};
use super::proof::Proof;
use super::read::TimedWalk;
use super::trim::whole_tiles;
use super::{State, UNBROKEN, tiles, widen};
use crate::machine::{Machine, TILE_WIDTH, leaf_hash};
use crate::storage::disk::crash_point;
use crate::storage::error::StorageError;

/// So many chunks are removed in one transaction.
const CHUNKS_MAX: usize = 4096;
/// Entries of so many bytes are applied before others may have the machine.
const ENTRIES_BYTES: u64 = 256 << 10;
/// Behind every key of chunks and hashes.
const END: [u8; 17] = [0xff; 17];

/// Why the state was not taken anew.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// It is not being taken anew, or not any more: another state took its place.
    #[error("another state took its place meanwhile")]
    Overtaken,
    /// What is to take its place does not fit.
    #[error(transparent)]
    NotInstalled(#[from] InstallError),
    /// The entries that were passed over cannot be read.
    #[error("entries that were passed over could not be read: {0}")]
    Entries(io::Error),
}

impl From<StorageError> for NotRenewed {
    fn from(error: StorageError) -> Self {
        Self::NotInstalled(error.into())
    }
}

impl State {
    /// From now on entries are passed over, and nothing here changes but by what follows. Waits for a flush under way.
    pub fn begin_renewal(&self) -> Result<(), NotRenewed> {
        let shared = &self.0;
        {
            let machine = shared.running().machine.lock().expect("no panic left the machine");
            let Some(applied) = machine.applied() else { return Err(NotRenewed::Overtaken) };
            shared.change_standing(|standing| {
                (standing.passed, standing.is_frozen) = (Some(applied), true);
            });
        }
        drop(shared.gate.lock().expect(UNBROKEN));
        Ok(())
    }

    /// Whether it is being taken anew.
    pub fn is_renewing(&self) -> bool {
        self.0.standing().passed.is_some()
    }

    /// Removes records and hashes that a state lies before: what was written behind its tails and of logs that it does
    /// not know yet.
    pub fn cut_back(&self, manifest: &StateManifest) -> Result<(), NotRenewed> {
        let shared = &self.0;
        let rows = manifest.rows();
        let next_log = rows.progress.next_log;
        let mut left = rows.logs.iter().map(|(id, row)| (*id, Some(row)));
        let mut next = left.next().or(Some((next_log, None)));
        while next.is_some() {
            let _gate = shared.gate.lock().expect(UNBROKEN);
            self.check_frozen()?;
            let txn = shared.database.write()?;
            let mut chunks = ChunkTable::open(&shared.database, &txn)?;
            let mut room = CHUNKS_MAX;
            while let Some((log, row)) = next {
                let from = chunk_key(log, row.map_or(0, |row| row.tail));
                let until = row.map(|_| chunk_key(log + 1, 0));
                let until = until.as_ref().map_or(&END[..], |until| &until[..]);
                room -= chunks.remove_range(&from, until, room)?;
                if room == 0 {
                    break;
                }
                if let Some(row) = row {
                    chunks.cut(log, row.tail)?;
                }
                for (from, until) in hashes_behind(log, row) {
                    tiles::remove_range(&shared.database, &txn, &from, &until)?;
                }
                next = row.and_then(|_| left.next().or(Some((next_log, None))));
            }
            drop(chunks);
            shared.database.commit(txn)?;
            crash_point(&*shared.disk, "renewal/cut-back");
        }
        Ok(())
    }

    /// Groups of hashes of a log, by level and number, that are not here or not what a state proves.
    pub fn unproved_hashes(
        &self,
        log: LogId,
        row: &CatalogRow,
    ) -> Result<Vec<(u8, u64)>, StorageError> {
        let proof = Proof::from(row);
        let (mut all, mut above) = (Vec::new(), BTreeSet::new());
        for level in (0..proof.levels()).rev() {
            let mut unproved = BTreeSet::new();
            for group in 0..proof.tiles(level).div_ceil(TILE_WIDTH) {
                let begin = group * TILE_WIDTH;
                let end = begin + proof.group_length(level, group);
                let here: Option<Vec<_>> =
                    self.tiles(log, level, (begin, end))?.into_iter().collect();
                let parent = self.tiles(log, level + 1, (group, group + 1))?[0];
                let is_proved = !above.contains(&(group / TILE_WIDTH))
                    && here.is_some_and(|hashes| {
                        proof.check_hashes(level, group, &hashes, parent).is_ok()
                    });
                if !is_proved {
                    unproved.insert(group);
                }
            }
            all.extend(unproved.iter().map(|group| (level, *group)));
            above = unproved;
        }
        Ok(all)
    }

    /// Records of a log that are not here, or not what a state proves. The hashes of their tiles must be proved.
    pub fn unproved_records(&self, log: LogId, row: &CatalogRow) -> Result<Vec<Gap>, StorageError> {
        let database = &self.0.database;
        let first = whole_tiles(row.trim) / TILE_WIDTH;
        let mut search = Search::new(log, row);
        let found = database.unwinding(|| {
            let reader = ChunkReader::within(database, &database.read()?)?;
            for number in first..row.tail.div_ceil(TILE_WIDTH) {
                let hash = self.tiles(log, 0, (number, number + 1))?[0];
                let look = Look::at(&reader, (log, row), number)?;
                let is_right = Proof::from(row).check_tile(number, &look.leaves, hash).is_ok();
                search.next(number * TILE_WIDTH, look.bytes.filter(|_| is_right));
            }
            Ok(())
        });
        found.map(|()| search.end())
    }

    /// Puts a state in place of the one that is being taken anew. Its records must be here and be proved.
    pub fn renew(&self, manifest: &StateManifest) -> Result<(), NotRenewed> {
        let shared = &self.0;
        let replaced = Machine::load(manifest.rows().clone()).map_err(InstallError::from)?;
        let mut machine = shared.running().machine.lock().expect("no panic left the machine");
        let _gate = shared.gate.lock().expect(UNBROKEN);
        self.check_frozen()?;
        shared.check_records(manifest)?;
        crash_point(&*shared.disk, "renewal/before-renewed");
        let quarantine = shared.renewed_at(manifest.applied().index);
        shared.renew_rows(manifest, quarantine)?;
        crash_point(&*shared.disk, "renewal/after-renewed");
        shared.take_over(manifest, replaced, &mut machine);
        shared.note_renewed(quarantine);
        Ok(())
    }

    /// Applies some of the entries that were passed over. Says whether none is left: then it is over.
    pub fn catch_up(&self) -> Result<bool, NotRenewed> {
        let shared = &self.0;
        // What is applied is flushed as ever.
        shared.change_standing(|standing| standing.is_frozen = false);
        let lock = || shared.running().machine.lock().expect("no panic left the machine");
        let next = lock().applied().map_or(0, |applied| applied.index.get() + 1);
        let Some(passed) = shared.standing().passed else { return Ok(true) };
        let entries = if next <= passed.index.get() {
            let source = &shared.running().source;
            let from = EntryIndex::new(next);
            let read = source.entries(from, passed.index.next(), ENTRIES_BYTES);
            read.map_err(NotRenewed::Entries)?
        } else {
            Vec::new()
        };
        let mut machine = lock();
        // An install may have come in between.
        if machine.applied().map_or(0, |applied| applied.index.get() + 1) != next {
            return Ok(!self.is_renewing());
        }
        for (id, body) in &entries {
            self.apply(&mut machine, *id, body);
        }
        let applied = machine.applied();
        shared.change_standing(|standing| {
            if standing.passed <= applied {
                standing.end();
            }
        });
        Ok(!self.is_renewing())
    }

    fn check_frozen(&self) -> Result<(), NotRenewed> {
        if self.0.standing().is_frozen { Ok(()) } else { Err(NotRenewed::Overtaken) }
    }
}

/// Where hashes lie that a state comes before: beyond its complete tiles at each level. All of a log and those after it,
/// if it is not known yet.
fn hashes_behind(log: u64, row: Option<&CatalogRow>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Some(row) = row else {
        return vec![(tile_key(log, 0, 0).to_vec(), END.to_vec())];
    };
    let proof = Proof::from(row);
    let levels = proof.levels();
    let begin = |level: u8| tile_key(log, level, proof.tiles(level)).to_vec();
    let mut all: Vec<_> =
        (0..levels).map(|level| (begin(level), tile_key(log, level + 1, 0).to_vec())).collect();
    all.push((tile_key(log, levels, 0).to_vec(), tile_key(log + 1, 0, 0).to_vec()));
    all
}

/// What is here of a tile.
struct Look {
    leaves: Vec<Digest>,
    /// Nothing if its chunks do not follow each other, or do not say so.
    bytes: Option<TileBytes>,
}

/// Bytes of all records of a log, as its chunks tell.
#[derive(Debug, Clone, Copy)]
struct TileBytes {
    /// Before the tile.
    before: u64,
    /// Before the trim point, if that lies in the tile.
    before_trim: u64,
    /// Up to its end.
    after: u64,
}

impl Look {
    fn at(
        reader: &ChunkReader<'_>,
        (log, row): (LogId, &CatalogRow),
        number: u64,
    ) -> Result<Self, StorageError> {
        let first = number * TILE_WIDTH;
        let until = row.tail.min(first + TILE_WIDTH);
        let (mut leaves, mut next, mut is_whole) = (Vec::new(), first, true);
        let (mut before, mut within, mut before_trim) = (None, 0, 0);
        let surveyed = reader.survey(log, first, until, |chunk| {
            let said = *before.get_or_insert(chunk.bytes_before);
            is_whole &= chunk.first == next
                && chunk.until() <= until
                && said.checked_add(within) == Some(chunk.bytes_before);
            for (time, untimed) in TimedWalk(chunk.records.clone()) {
                leaves.push(leaf_hash(time.as_millis(), &untimed));
                if next < row.trim {
                    before_trim += length(&untimed);
                }
                within += length(&untimed);
                next += 1;
            }
        });
        match surveyed {
            Ok(()) => {}
            Err(ChunkFailure::Damaged(..)) => is_whole = false,
            Err(ChunkFailure::Storage(error)) => return Err(error),
        }
        let bytes = before.filter(|_| is_whole && next == until).map(|before| TileBytes {
            before,
            before_trim: before + before_trim,
            after: before + within,
        });
        Ok(Self { leaves, bytes })
    }
}

/// Gathers tiles that are not right to gaps. How many bytes come before a record no hash proves; so the tiles have to
/// agree with each other, and with the state at both ends.
struct Search<'r> {
    log: LogId,
    row: &'r CatalogRow,
    gaps: Vec<Gap>,
    /// The gap that is open: its first position, and the bytes before that.
    open: Option<(u64, u64)>,
    /// Bytes before the next tile, if no gap is open.
    known: Option<u64>,
    /// Where what is known was taken from a tile's own word.
    since: (u64, u64),
}

impl<'r> Search<'r> {
    fn new(log: LogId, row: &'r CatalogRow) -> Self {
        let since = (whole_tiles(row.trim), row.bytes_at_trim);
        Self { log, row, gaps: Vec::new(), open: None, known: None, since }
    }

    /// The next tile, and its bytes if it is right.
    fn next(&mut self, first: u64, bytes: Option<TileBytes>) {
        let row = self.row;
        let fits = bytes.filter(|bytes| match (self.open, self.known) {
            _ if first <= row.trim => bytes.before_trim == row.bytes_at_trim,
            (Some((_, before)), _) => bytes.before >= before,
            (None, known) => known == Some(bytes.before),
        });
        let Some(bytes) = fits else {
            let before =
                if first <= row.trim { row.bytes_at_trim } else { self.known.unwrap_or(0) };
            self.open.get_or_insert((first, before));
            return;
        };
        if let Some((from, before)) = self.open.take() {
            self.push((from, before), first, bytes.before);
            self.since = (first, bytes.before);
        }
        self.known = Some(bytes.after);
    }

    fn end(mut self) -> Vec<Gap> {
        let (tail, bytes_at_tail) = (self.row.tail, self.row.bytes_at_tail);
        if let Some(open) = self.open.take() {
            self.push(open, tail, bytes_at_tail);
        } else if self.known.is_some_and(|known| known != bytes_at_tail) {
            // One of those since then does not say the truth, and nobody knows which.
            let begin = match self.gaps.pop() {
                Some(gap) => (gap.from.get(), gap.bytes_before),
                None => self.since,
            };
            self.push(begin, tail, bytes_at_tail);
        }
        self.gaps
    }

    fn push(&mut self, begin: (u64, u64), until: u64, bytes_until: u64) {
        let anchor = begin.0.max(self.row.trim);
        self.gaps.push(Gap::between(self.log, begin, anchor, (until, bytes_until)));
    }
}

fn length(untimed: &Bytes) -> u64 {
    widen(untimed.len())
}
