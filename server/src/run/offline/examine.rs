//! One backup, proved as it comes: its frames by their checks, its manifest by the certified digest, each tile of
//! records by its hash, all hashes of a log by the frontier in the manifest.
//!
//! ```text
//! certified digest -> manifest -> per log: frontier -> hashes of tiles -> records, 256 at a time
//! ```
//!
//! It takes bytes in whatever pieces they come and holds no more of them than a frame, the manifest and 256 hashes. What
//! it finds is handed on at once, before the end of its log was seen: whoever keeps it counts it only when the whole
//! file was whole.
//!
//! Not here: which files belong together (`chain`).

use client::types::{Digest, LogId, LogName, Position};
use migrations::latest::backup::{BackupFrames, BackupHead, BackupPart};
use migrations::latest::manifest::MANIFEST_BYTES_MAX;
use migrations::latest::records::CHUNK_RECORD_HEAD_BYTES;
use migrations::latest::values::CatalogRow;

use super::chain::Known;
use crate::machine::{Frontier, TILE_WIDTH, TileAddress, leaf_hash};
use crate::storage::StorageError;
use crate::storage::state::{StateManifest, Stretch, TimedWalk};

/// What is wrong with a backup, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({place}; frame {frame}, at byte {offset} of the file)")]
pub struct Flaw {
    /// What is wrong.
    pub what: String,
    /// What stands there.
    pub place: String,
    /// Which frame.
    pub frame: u64,
    /// Where it begins in the file.
    pub offset: u64,
}

/// Why the next bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// They are not what was backed up.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// Whoever keeps what is found failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What was found, in the order of the file.
#[derive(Debug)]
pub enum Found {
    /// Hashes of tiles of all levels that are complete.
    Tiles(Vec<(TileAddress, Digest)>),
    /// Records.
    Records(Stretch),
}

/// Who keeps what is found.
pub(super) type Keep<'k> = &'k mut dyn FnMut(Found) -> Result<(), StorageError>;

/// A whole backup.
#[derive(Debug)]
pub struct Examined {
    pub(super) head: BackupHead,
    pub(super) manifest: StateManifest,
    /// Where the records of each log begin that are here, in the order of ids.
    pub(super) begins: Vec<(u64, u64)>,
    pub(super) bytes: u64,
}

/// A backup that is being examined.
#[derive(Debug, Default)]
pub struct Examiner {
    frames: BackupFrames,
    /// What the files before it hold.
    known: Option<Known>,
    head: Option<BackupHead>,
    manifest_bytes: Vec<u8>,
    manifest: Option<StateManifest>,
    begins: Vec<(u64, u64)>,
    walk: Option<LogWalk>,
    records: u64,
    record_bytes: u64,
    is_over: bool,
}

impl Examiner {
    /// Of a file that comes behind these.
    pub(super) fn behind(known: Option<Known>) -> Self {
        Self { known, ..Self::default() }
    }

    /// What the backup is of, once that was read.
    pub const fn head(&self) -> Option<&BackupHead> {
        self.head.as_ref()
    }

    /// The names of the logs that were chosen, in the order of ids, once that was read; none if all were.
    pub fn chosen(&self) -> Option<Vec<LogName>> {
        let (head, manifest) = (self.head.as_ref()?, self.manifest.as_ref()?);
        let chosen = manifest.rows().logs.iter();
        let chosen = chosen.filter(|(log, _)| head.logs.is_some() && head.holds(*log));
        chosen.map(|(_, row)| LogName::new(&row.name).ok()).collect()
    }

    /// About how many bytes the file has, once that can be told.
    pub fn expected_bytes(&self) -> Option<u64> {
        let head = self.head.as_ref()?;
        let heads = head.records * u64::try_from(CHUNK_RECORD_HEAD_BYTES).unwrap_or(0);
        let tails = self
            .manifest
            .as_ref()
            .map_or(0, |manifest| manifest.rows().logs.iter().map(|(_, row)| row.tail).sum());
        Some(head.manifest_bytes + head.record_bytes + heads + tails / TILE_WIDTH * 32)
    }

    /// Takes the next bytes of the file.
    pub fn take(&mut self, bytes: &[u8], keep: Keep<'_>) -> Result<(), TakeError> {
        self.frames.push(bytes);
        loop {
            let (frame, offset) = (self.frames.number(), self.frames.offset());
            let part = self
                .frames
                .next_part()
                .map_err(|bad| self.flaw_at(bad.frame, bad.offset, bad.what))?;
            let Some(part) = part else { return Ok(()) };
            match self.part(part) {
                Ok(Some(found)) => keep(found)?,
                Ok(None) => {}
                Err(what) => return Err(self.flaw_at(frame, offset, what).into()),
            }
        }
    }

    /// Nothing comes any more.
    pub fn finish(self) -> Result<Examined, Flaw> {
        let flaw = |what| Err(self.flaw_at(self.frames.number(), self.frames.offset(), what));
        if !self.is_over {
            return flaw("the file ends too early");
        }
        if !self.frames.is_empty() {
            return flaw("something follows the end");
        }
        let bytes = self.frames.offset();
        let (Some(head), Some(manifest)) = (self.head, self.manifest) else {
            unreachable!("a file that came to its end has a head and a manifest")
        };
        Ok(Examined { head, manifest, begins: self.begins, bytes })
    }

    fn flaw_at(&self, frame: u64, offset: u64, what: impl Into<String>) -> Flaw {
        let place = match (&self.walk, &self.manifest, &self.head) {
            (Some(walk), ..) => {
                format!("log {}, at or behind position {}", walk.row.name, walk.next)
            }
            (None, Some(_), _) => "behind the logs".to_owned(),
            (None, None, Some(_)) => "the manifest".to_owned(),
            (None, None, None) => "the head".to_owned(),
        };
        Flaw { what: what.into(), place, frame, offset }
    }

    fn part(&mut self, part: BackupPart) -> Result<Option<Found>, String> {
        if self.is_over {
            return Err("something follows the end".to_owned());
        }
        match (part, self.walk.as_mut()) {
            (BackupPart::Head(head), _) if self.head.is_none() => self.begin(*head).map(|()| None),
            (BackupPart::Manifest(bytes), _) if self.manifest.is_none() => {
                self.add_manifest(&bytes).map(|()| None)
            }
            (BackupPart::Log { log, from, bytes_before }, _) if self.manifest.is_some() => {
                self.begin_log(log, from, bytes_before).map(|()| None)
            }
            (BackupPart::Tiles { first, hashes }, Some(walk)) => {
                walk.tiles(first, &hashes).map(|tiles| Some(Found::Tiles(tiles)))
            }
            (BackupPart::Records { first, count, bytes }, Some(walk)) => {
                let stretch = Stretch {
                    log: LogId::new(walk.log),
                    first: Position::new(first),
                    bytes_before: walk.bytes,
                    records: bytes,
                };
                walk.records(&stretch, count)?;
                self.records += u64::from(count);
                self.record_bytes += walk.bytes - stretch.bytes_before;
                Ok(Some(Found::Records(stretch)))
            }
            (BackupPart::End { records, record_bytes }, _) if self.manifest.is_some() => {
                self.end(records, record_bytes).map(|()| None)
            }
            _ => Err("a frame that does not belong here".to_owned()),
        }
    }

    fn begin(&mut self, head: BackupHead) -> Result<(), String> {
        if usize::try_from(head.manifest_bytes).unwrap_or(usize::MAX) > MANIFEST_BYTES_MAX {
            return Err("a manifest that is too long".to_owned());
        }
        match (&self.known, &head.base) {
            (None, _) => {}
            (Some(known), Some(base)) if known.is(base) && known.is_of(&head) => {}
            (Some(known), Some(base)) => {
                return Err(format!(
                    "it continues the backup of checkpoint {} of another cluster or state, not that of \
                     checkpoint {} before it",
                    base.entry.index,
                    known.checkpoint()
                ));
            }
            (Some(_), None) => return Err("it continues no other backup".to_owned()),
        }
        self.head = Some(head);
        Ok(())
    }

    fn add_manifest(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some(head) = &self.head else { return Err("a manifest without a head".to_owned()) };
        self.manifest_bytes.extend_from_slice(bytes);
        let (here, all) = (wide(self.manifest_bytes.len()), head.manifest_bytes);
        if here < all {
            return Ok(());
        }
        let manifest = StateManifest::decode(&std::mem::take(&mut self.manifest_bytes));
        let manifest = manifest.map_err(|error| error.to_string())?;
        let is_right = here == all
            && *manifest.digest().as_bytes() == head.state.digest
            && manifest.rows().entry() == head.state.entry;
        if !is_right {
            return Err("a state that is not the certified one".to_owned());
        }
        self.manifest = Some(manifest);
        Ok(())
    }

    /// The next log that should be here, by the manifest.
    fn next_log(&self) -> Option<(u64, &CatalogRow)> {
        let (head, manifest) = (self.head.as_ref()?, self.manifest.as_ref()?);
        let last = self.begins.last().map(|(log, _)| *log);
        let mut logs = manifest.rows().logs.iter();
        let next = logs.find(|(log, _)| head.holds(*log) && last.is_none_or(|last| *log > last));
        next.map(|(log, row)| (*log, row))
    }

    fn begin_log(&mut self, log: u64, from: u64, bytes_before: u64) -> Result<(), String> {
        self.end_log()?;
        let Some((_, row)) = self.next_log().filter(|(next, _)| *next == log) else {
            return Err("not the log that comes next".to_owned());
        };
        let needed = row.trim / TILE_WIDTH * TILE_WIDTH;
        let is_continued = self.head.as_ref().is_some_and(|head| head.base.is_some());
        let is_possible = from == needed
            || (is_continued
                && from > needed
                && (from == row.tail || (from < row.tail && from.is_multiple_of(TILE_WIDTH))));
        if !is_possible {
            return Err(format!("log {} cannot begin at position {from}", row.name));
        }
        let base = match &self.known {
            Some(known) => known.check(log, row, from)?,
            None => None,
        };
        let walk = LogWalk {
            log,
            row: row.clone(),
            base,
            from,
            next: from,
            bytes: bytes_before,
            hashes: Frontier::empty(),
            group: Vec::new(),
            tile: Frontier::empty(),
        };
        self.begins.push((log, from));
        self.walk = Some(walk);
        Ok(())
    }

    fn end_log(&mut self) -> Result<(), String> {
        let ended = self.walk.as_ref().map_or(Ok(()), LogWalk::end);
        if ended.is_ok() {
            self.walk = None;
        }
        ended
    }

    fn end(&mut self, records: u64, record_bytes: u64) -> Result<(), String> {
        self.end_log()?;
        if self.next_log().is_some() {
            return Err("logs are missing".to_owned());
        }
        let head = self.head.as_ref().map(|head| (head.records, head.record_bytes));
        let counted = (self.records, self.record_bytes);
        if counted != (records, record_bytes) || head != Some(counted) {
            return Err("another number of records or bytes than was said".to_owned());
        }
        self.is_over = true;
        Ok(())
    }
}

/// How far one log was examined.
#[derive(Debug)]
struct LogWalk {
    log: u64,
    row: CatalogRow,
    /// What it was in the file before: how many tiles, and their hashes in its frontier.
    base: Option<(u64, Vec<Digest>)>,
    from: u64,
    /// The position of the next record.
    next: u64,
    /// Bytes of all records before that.
    bytes: u64,
    /// Over the hashes of complete tiles.
    hashes: Frontier,
    /// The last of these, up to 256.
    group: Vec<Digest>,
    /// Over the records of the tile under way.
    tile: Frontier,
}

impl LogWalk {
    fn tiles(
        &mut self,
        first: u64,
        hashes: &[[u8; 32]],
    ) -> Result<Vec<(TileAddress, Digest)>, String> {
        let left = (self.row.tail / TILE_WIDTH).checked_sub(first);
        let expected = left.map(|left| left.min(TILE_WIDTH));
        let is_next = first == self.hashes.size()
            && first.is_multiple_of(TILE_WIDTH)
            && self.next >= (first * TILE_WIDTH).min(self.row.tail).max(self.from)
            && expected == Some(wide(hashes.len()));
        if !is_next {
            return Err("hashes that do not come next".to_owned());
        }
        self.group = hashes.iter().map(|hash| Digest::new(*hash)).collect();
        let mut all = Vec::with_capacity(self.group.len() + 1);
        let log = LogId::new(self.log);
        for (number, hash) in (first..).zip(self.group.clone()) {
            all.push((TileAddress { log, level: 0, number }, hash));
            self.hashes.push(hash, |level, number, hash| {
                all.push((TileAddress { log, level: level + 1, number }, hash));
            });
            if let Some((_, known)) = self.base.as_ref().filter(|(size, _)| *size == number + 1)
                && self.hashes.hashes() != known
            {
                return Err("hashes that are not those of the backup before".to_owned());
            }
        }
        Ok(all)
    }

    fn records(&mut self, stretch: &Stretch, count: u32) -> Result<(), String> {
        if stretch.first.get() != self.next {
            return Err("records that do not come next".to_owned());
        }
        let (mut found, mut length) = (0_u32, 0);
        for (time, untimed) in TimedWalk(stretch.records.clone()) {
            if self.next == self.row.tail {
                return Err("records beyond the tail".to_owned());
            }
            if self.next == self.row.trim && self.bytes != self.row.bytes_at_trim {
                return Err("another number of bytes before the trim point".to_owned());
            }
            self.tile.push(leaf_hash(time.as_millis(), &untimed), |_, _, _| {});
            self.next += 1;
            self.bytes += wide(untimed.len());
            found += 1;
            length += CHUNK_RECORD_HEAD_BYTES + untimed.len();
            if self.next.is_multiple_of(TILE_WIDTH) {
                self.end_tile()?;
            }
        }
        if found != count || length != stretch.records.len() {
            return Err("records that are not whole".to_owned());
        }
        Ok(())
    }

    fn end_tile(&mut self) -> Result<(), String> {
        let number = self.next / TILE_WIDTH - 1;
        let tile = std::mem::take(&mut self.tile);
        let at = usize::try_from(number % TILE_WIDTH).expect("a place in a tile");
        let is_told = number / TILE_WIDTH == self.hashes.size().saturating_sub(1) / TILE_WIDTH;
        let hash = self.group.get(at).filter(|_| is_told);
        if hash.is_none_or(|hash| tile.hashes() != [*hash]) {
            let first = number * TILE_WIDTH;
            return Err(format!(
                "records {first} to {} are not those that were backed up",
                self.next - 1
            ));
        }
        Ok(())
    }

    /// All of the log was seen.
    fn end(&self) -> Result<(), String> {
        let row = &self.row;
        let complete = row.tail / TILE_WIDTH;
        if self.next != row.tail || self.hashes.size() != complete {
            return Err(format!("log {} ends too early", row.name));
        }
        if self.bytes != row.bytes_at_tail {
            return Err(format!("log {} has another number of bytes", row.name));
        }
        let trees = usize::try_from(complete.count_ones()).expect("at most 64 trees");
        let (whole, loose) = row.frontier.split_at_checked(trees).unwrap_or_default();
        let same = |left: &[Digest], right: &[[u8; 32]]| {
            left.iter().map(Digest::as_bytes).eq(right.iter())
        };
        if !same(self.hashes.hashes(), whole) {
            return Err(format!("the hashes of log {} do not form its tree", row.name));
        }
        if self.from < row.tail && !same(self.tile.hashes(), loose) {
            return Err(format!("the last records of log {} are not those backed up", row.name));
        }
        Ok(())
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}
