//! Segment files: reserved in advance, filled once per use, recycled by renaming.
//!
//! A file becomes a segment only after its head was written and synced: whoever finds a segment with a
//! bad head knows that it is damaged, not torn. A sync is faster where the file was written before
//! (the file system has nothing to note), so while writes are small the next file is filled with zeros
//! in advance, in steps that keep pace with the writer. Large writes gain little and would pay for
//! each byte twice, so for them room is only reserved. What lies well behind the end is let go from the
//! system's memory: the next segment is filled there, which is much cheaper than memory never used.
//!
//! Not here: which segments may go (`catalog`), and frames.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{Builder, JoinHandle};

use migrations::latest::frames::{Salt, SegmentHead};

use crate::storage::disk::{Disk, File, crash_point};

/// Files kept for the next uses; more are removed.
const SPARES_MAX: usize = 2;
/// A file is filled with zeros in so many steps.
const STEPS: u64 = 32;
/// The writer asks for a step so many times per segment: the next file is ready before it is needed.
const STEPS_PER_SEGMENT: u64 = 48;
/// Zeros written at once.
const ZEROS_BYTES: usize = 256 * 1024;

/// One use of a file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) salt: Salt,
    pub(super) file: Box<dyn File>,
}

/// The name of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:016x}.segment")
}

/// The number of a segment, from its name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

/// Files that wait to become segments. A clone is the same store.
#[derive(Debug, Clone)]
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    ready: Vec<Spare>,
    drawn: u64,
}

#[derive(Debug)]
struct Spare {
    path: PathBuf,
    file: Box<dyn File>,
}

impl Spares {
    /// Finds what an earlier process left in `dir`.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> io::Result<Self> {
        let spares =
            Self { disk, dir: dir.to_owned(), segment_bytes, waiting: Arc::new(Mutex::default()) };
        for name in spares.disk.list(dir)? {
            if let Some(number) = name.strip_prefix("spare-").and_then(|n| n.parse::<u64>().ok()) {
                let drawn = spares.lock().drawn.max(number + 1);
                spares.lock().drawn = drawn;
                let path = dir.join(name);
                let file = spares.disk.open_existing(&path)?;
                spares.keep(Spare { path, file })?;
            }
        }
        Ok(spares)
    }

    /// Notes that the journal has come to the crash point of this name.
    pub(super) fn pass(&self, point: &'static str) {
        crash_point(&*self.disk, point);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ready(&self) -> bool {
        !self.lock().ready.is_empty()
    }

    /// Makes a segment of a waiting file, or of a new one. Durable, name included, when it returns.
    pub(super) fn begin(&self, head: &SegmentHead) -> io::Result<Arc<Segment>> {
        let waiting = self.lock().ready.pop();
        let spare = waiting.map_or_else(|| self.reserve(), Ok)?;
        self.pass("segment/before-head");
        spare.file.write_at(&head.encode(), 0)?;
        spare.file.sync_data()?;
        self.pass("segment/before-rename");
        self.disk.rename(&spare.path, &self.dir.join(segment_name(head.number)))?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Arc::new(Segment { number: head.number, salt: head.salt, file: spare.file }))
    }

    /// Takes back a segment that nobody reads. Its name is gone for good before the file is used
    /// again.
    pub(super) fn recycle(&self, segment: Segment) -> io::Result<()> {
        let path = self.draw_path();
        self.pass("recycling/before-rename");
        self.disk.rename(&self.dir.join(segment_name(segment.number)), &path)?;
        self.disk.sync_dir(&self.dir)?;
        self.pass("recycling/after-rename");
        self.keep(Spare { path, file: segment.file })
    }

    /// Keeps a file for later if it is as long as a segment and not one too many.
    fn keep(&self, spare: Spare) -> io::Result<()> {
        let is_whole = spare.file.len()? == self.segment_bytes;
        let mut waiting = self.lock();
        if is_whole && waiting.ready.len() < SPARES_MAX {
            waiting.ready.push(spare);
            return Ok(());
        }
        drop(waiting);
        self.disk.remove(&spare.path)
    }

    fn draw_path(&self) -> PathBuf {
        let mut waiting = self.lock();
        waiting.drawn += 1;
        self.dir.join(format!("spare-{}", waiting.drawn - 1))
    }

    /// A new file with room for a segment.
    fn reserve(&self) -> io::Result<Spare> {
        let path = self.draw_path();
        let file = self.disk.open(&path)?;
        self.pass("segment/before-preallocation");
        file.allocate(self.segment_bytes)?;
        Ok(Spare { path, file })
    }

    /// Makes one file ready at once, filled with zeros: for the first segment of a journal. In steps, so that whoever
    /// else syncs to this disk waits for one of them and not for the whole file.
    pub(super) fn prepare_now(&self) -> io::Result<()> {
        if self.has_ready() {
            return Ok(());
        }
        let spare = self.reserve()?;
        let mut at = 0;
        while at < self.segment_bytes {
            let until = self.step_end(at);
            fill(spare.file.as_ref(), at, until)?;
            spare.file.sync_data()?;
            at = until;
        }
        self.lock().ready.push(spare);
        Ok(())
    }

    /// Where the step ends that begins here.
    fn step_end(&self, at: u64) -> u64 {
        (at + (self.segment_bytes / STEPS).max(1)).min(self.segment_bytes)
    }
}

/// Writes zeros to `[from, until)`.
pub(super) fn fill(file: &dyn File, from: u64, until: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < until {
        let length = usize::try_from(until - at).unwrap_or(usize::MAX).min(ZEROS_BYTES);
        file.write_at(&zeros[..length], at)?;
        at += u64::try_from(length).expect("a length fits 64 bits");
    }
    Ok(())
}

/// What is to be done beside the writer.
#[derive(Debug)]
enum Step {
    /// Fill the next piece of the next file.
    Fill,
    /// The same, but that piece is only reserved.
    Skip,
    /// Let a segment go from the system's memory, if it is still one.
    Uncache(Weak<Segment>),
}

/// Makes the next file ready beside the writer, in small steps.
#[derive(Debug)]
pub(super) struct Preparer {
    steps: Option<Sender<Step>>,
    thread: Option<JoinHandle<()>>,
    step_bytes: u64,
    written: u64,
}

impl Preparer {
    /// Starts the thread.
    pub(super) fn start(spares: Spares) -> io::Result<Self> {
        let step_bytes = (spares.segment_bytes / STEPS_PER_SEGMENT).max(1);
        let (sender, receiver) = channel();
        let builder = Builder::new().name("journal-prepare".to_owned());
        let thread = builder.spawn(move || prepare(&spares, &receiver))?;
        Ok(Self { steps: Some(sender), thread: Some(thread), step_bytes, written: 0 })
    }

    /// One that does nothing: every file is made when it is needed.
    pub(super) fn none() -> Self {
        Self { steps: None, thread: None, step_bytes: u64::MAX, written: 0 }
    }

    /// The writer wrote so much in one write: time for a step now and then.
    pub(super) fn wrote(&mut self, bytes: u64, filled_bytes_max: u64) {
        self.written += bytes;
        while self.written >= self.step_bytes {
            self.written -= self.step_bytes;
            self.send(if bytes <= filled_bytes_max { Step::Fill } else { Step::Skip });
        }
    }

    /// Nobody is likely to read this segment soon.
    pub(super) fn uncache(&mut self, segment: Weak<Segment>) {
        self.send(Step::Uncache(segment));
    }

    fn send(&mut self, step: Step) {
        // If the thread ended after an error, files are made when they are needed.
        if self.steps.as_ref().is_some_and(|steps| steps.send(step).is_err()) {
            self.steps = None;
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Takes steps until the writer goes away or the disk refuses. The writer will meet that refusal
/// itself when it needs the file, so it is not told here.
fn prepare(spares: &Spares, steps: &Receiver<Step>) {
    let mut making: Option<(Spare, u64)> = None;
    for step in steps {
        let is_filled = match step {
            Step::Fill => true,
            Step::Skip => false,
            Step::Uncache(segment) => {
                if let Some(segment) = segment.upgrade() {
                    segment.file.uncache();
                }
                continue;
            }
        };
        if making.is_none() && spares.has_ready() {
            continue;
        }
        let made = making.take().map_or_else(|| spares.reserve().map(|spare| (spare, 0)), Ok);
        let Ok((spare, at)) = made else { continue };
        let until = spares.step_end(at);
        let done = if is_filled { fill(spare.file.as_ref(), at, until) } else { Ok(()) };
        if done.and_then(|()| spare.file.sync_data()).is_err() {
            return;
        }
        if until < spares.segment_bytes {
            making = Some((spare, until));
        } else {
            spares.lock().ready.push(spare);
        }
    }
}
