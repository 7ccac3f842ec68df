//! Opening a journal: torn is cut, damaged is named and never cut, kept is synced anew.
//!
//! What was torn was never acknowledged, and is cut with everything behind it, good frames included:
//! pages reach the disk in any order. It is wiped, so that it cannot come back later. What remains
//! beyond the last claim is written once more in place, byte for byte, and synced: the cache of a
//! killed process may show what the disk never got.
//!
//! Not here: which is which (`survey`), and repair (`wounded`). A damaged journal is left exactly as it is.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use migrations::latest::frames::{SEGMENT_HEAD_BYTES, Salt, SegmentHead, Standing};

use super::catalog::Catalog;
use super::segment::{Segment, Spares, fill, segment_number};
use super::survey::{Cut, Placed, Survey};
use super::wounded::WoundedJournal;
use super::writer::{End, FRAMES_BEGIN, draw_salt};
use super::{JournalOptions, Place};
use crate::storage::disk::File;
use crate::storage::error::StorageError;

/// The tail is written again in pieces of this size.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// A whole journal, ready to go on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) catalog: Catalog,
    pub(super) end: End,
    pub(super) spares: Spares,
}

/// Opens what is in the folder, or begins a journal there.
pub(super) fn recover(
    place: &Place,
    options: &JournalOptions,
) -> Result<Result<Recovered, WoundedJournal>, StorageError> {
    let dir = &place.dir;
    place.disk.create_dir_all(dir).map_err(StorageError::io("create", dir))?;
    // A killed process may have left names that only the cache knows.
    place.disk.sync_dir(dir).map_err(StorageError::io("sync", dir))?;
    let spares = Spares::open(Arc::clone(&place.disk), dir, options.segment_bytes);
    let spares = spares.map_err(StorageError::io("list", dir))?;
    let sources = open_sources(place)?;
    if sources.is_empty() {
        if options.must_exist {
            return Err(StorageError::Lost { path: dir.clone() });
        }
        return begin(place, options, spares).map(Ok).map_err(StorageError::io("begin", dir));
    }
    let mut survey = Survey::new(&sources, place.identity, options.flushed);
    let cut = survey.run().map_err(StorageError::io("read", dir))?;
    if let Some(wounded) = survey.take_wounded() {
        return Ok(Err(wounded));
    }
    spares.pass("open/scanned");
    let mut kept = survey.into_kept(&cut);
    kept.make_durable(&sources, &cut, &spares).map_err(StorageError::io("write", dir))?;
    spares.pass("open/tail-synced");
    let unused = kept.take_unused();
    discard(sources, &cut, unused, &spares)
        .map_err(StorageError::io("discard segments of", dir))?;
    Ok(Ok(Recovered { catalog: kept.catalog, end: kept.end, spares }))
}

/// A journal's first segment.
fn begin(place: &Place, options: &JournalOptions, spares: Spares) -> io::Result<Recovered> {
    spares.prepare_now()?;
    let head = SegmentHead {
        cluster: place.identity.cluster,
        replica: place.identity.replica,
        number: 1,
        salt: draw_salt(options),
        previous_salt: Salt::default(),
        first_frame: 1,
        standing: Standing::default(),
    };
    let segment = spares.begin(&head)?;
    let mut catalog = Catalog::default();
    catalog.enter(Arc::clone(&segment));
    let end = End {
        segment,
        offset: FRAMES_BEGIN,
        next_number: 1,
        known_durable: 0,
        standing: Standing::default(),
        is_marked: true,
    };
    Ok(Recovered { catalog, end, spares })
}

/// A segment as it was found.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) head: Option<SegmentHead>,
    /// One of the two copies of its head is damaged.
    is_worn: bool,
    pub(super) segment: Arc<Segment>,
}

fn open_sources(place: &Place) -> Result<Vec<Source>, StorageError> {
    let names = place.disk.list(&place.dir).map_err(StorageError::io("list", &place.dir))?;
    let mut sources = Vec::new();
    for name in names {
        let Some(number) = segment_number(&name) else { continue };
        let path = place.dir.join(&name);
        let file = place.disk.open_existing(&path).map_err(StorageError::io("open", &path))?;
        let (head, is_worn) = read_head(file.as_ref()).map_err(StorageError::io("read", &path))?;
        let identity = place.identity;
        if head.is_some_and(|h| (h.cluster, h.replica) != (identity.cluster, identity.replica)) {
            return Err(StorageError::Foreign { path });
        }
        let head = head.filter(|head| head.number == number);
        let salt = head.map_or(Salt::default(), |head| head.salt);
        sources.push(Source {
            path,
            head,
            is_worn,
            segment: Arc::new(Segment { number, salt, file }),
        });
    }
    Ok(sources)
}

/// The head of a segment, and whether its page is not what was written.
fn read_head(file: &dyn File) -> io::Result<(Option<SegmentHead>, bool)> {
    let mut bytes = vec![0; SEGMENT_HEAD_BYTES];
    match file.read_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok((None, false)),
        read => read.map(|()| {
            let head = SegmentHead::decode(&bytes).ok();
            (head, head.is_some_and(|head| head.encode() != bytes))
        }),
    }
}

/// What a whole journal keeps.
pub(super) struct Kept {
    pub(super) catalog: Catalog,
    pub(super) end: End,
    pub(super) uncovered: VecDeque<Placed>,
}

impl Kept {
    /// How many segments at the front a crash kept from being recycled.
    fn take_unused(&mut self) -> usize {
        let purged = self.end.standing.purged;
        self.catalog.purge(purged.map_or(0, |id| id.index + 1)).len()
    }

    /// Writes what is not known to be durable once more, wipes what was cut, and syncs.
    fn make_durable(&self, sources: &[Source], cut: &Cut, spares: &Spares) -> io::Result<()> {
        for (position, source) in sources.iter().enumerate().take(cut.position + 1) {
            let file = source.segment.file.as_ref();
            let mut here = self.uncovered.iter().filter(|placed| placed.position == position);
            let first = here.next();
            if let Some(head) = source.head.filter(|_| source.is_worn) {
                file.write_at(&head.encode(), 0)?;
                file.sync_data()?;
            }
            let is_wiped = position == cut.position && cut.stale_until > cut.offset;
            if let Some(first) = first {
                let last = here.next_back().unwrap_or(first);
                write_again(file, first.offset, last.offset + last.head.bytes())?;
                spares.pass("open/tail-written-again");
            }
            if is_wiped {
                fill(file, cut.offset, cut.stale_until)?;
            }
            if first.is_some() || is_wiped {
                file.sync_data()?;
            }
        }
        Ok(())
    }
}

/// Reads `[from, until)` and writes it where it was.
fn write_again(file: &dyn File, from: u64, until: u64) -> io::Result<()> {
    let until = until.min(file.len()?);
    let mut at = from;
    while at < until {
        let length = (until - at).min(PIECE_BYTES);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_at(&mut bytes, at)?;
        file.write_at(&bytes, at)?;
        at += length;
    }
    Ok(())
}

/// Gives files back: of segments behind the cut, in which nothing was acknowledged, and of those at
/// the front that are purged. From the outside in, so that what remains has no hole whenever the
/// power goes.
fn discard(sources: Vec<Source>, cut: &Cut, unused: usize, spares: &Spares) -> io::Result<()> {
    let mut sources = VecDeque::from(sources);
    let recycle = |source: Source| {
        spares.recycle(Arc::into_inner(source.segment).expect("nobody reads it yet"))
    };
    while sources.len() > cut.position + 1 {
        sources.pop_back().map_or(Ok(()), recycle)?;
    }
    for source in sources.drain(..unused) {
        recycle(source)?;
    }
    Ok(())
}
