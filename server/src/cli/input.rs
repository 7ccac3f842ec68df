//! What `quorate append` takes in, cut into batches: lines, NDJSON, whole files, pieces of files.
//!
//! Invariants: bytes are taken as they are (a line loses its newline and nothing else); order is
//! kept; a batch never waits for more input than is there already, so that whoever types a line sees
//! it appended, and whoever pipes a file gets large batches. At most two batches wait in memory.

use std::fs::File;
use std::io;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::{Bytes, BytesMut};
use client::api::records::{AppendBodyError, batch_from_ndjson};
use client::types::{Batch, BatchBuilder, BatchError, BatchLimits, NewRecord};
use tokio::sync::mpsc;

const BUFFER_BYTES: usize = 1 << 20;

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Each line of standard input is a record.
    Lines,
    /// Each line of standard input is a record as JSON.
    Ndjson,
    /// The file is one record.
    Whole(PathBuf),
    /// The file is cut into records of this length.
    Pieces {
        /// The file.
        path: PathBuf,
        /// The length of all records but the last.
        record_bytes: usize,
    },
    /// This text is one record.
    Text(String),
}

/// Why input is no batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum InputError {
    /// It cannot be read.
    #[error("{name}: {source}")]
    Unreadable {
        /// What.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line or file is too long for one record.
    #[error("{name} is longer than the {max} bytes of a record")]
    TooLong {
        /// What.
        name: String,
        /// How long a record may be.
        max: usize,
    },
    /// A line is not a record as JSON.
    #[error("line {line}: {reason}")]
    NotNdjson {
        /// Which, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// The records do not make a batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Batches on their way from a thread that reads.
pub(super) type Batches = mpsc::Receiver<Result<Batch, InputError>>;

/// Starts to read. The thread is not waited for: it may hang on a terminal that nobody types at.
pub(super) fn start(source: Source, limits: BatchLimits) -> Batches {
    let (sender, batches) = mpsc::channel(1);
    thread::spawn(move || {
        let to = Outlet { sender, limits };
        if let Err(error) = to.read(source) {
            // Whoever stopped listening needs no reason.
            to.sender.blocking_send(Err(error)).ok();
        }
    });
    batches
}

/// Forms batches and hands them on.
struct Outlet {
    sender: mpsc::Sender<Result<Batch, InputError>>,
    limits: BatchLimits,
}

impl Outlet {
    fn read(&self, source: Source) -> Result<(), InputError> {
        match source {
            Source::Lines => self.lines(io::stdin()),
            Source::Ndjson => self.ndjson(io::stdin()),
            Source::Whole(path) => self.whole(&path),
            Source::Pieces { path, record_bytes } => {
                let name = path.display().to_string();
                let file = File::open(&path).map_err(unreadable(&name))?;
                self.pieces(file, &name, record_bytes)
            }
            Source::Text(text) => self.one(Bytes::from(text)),
        }
    }

    fn lines(&self, from: impl Read) -> Result<(), InputError> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, from);
        let mut builder = BatchBuilder::new(self.limits);
        let mut text = Vec::new();
        let mut line = 0_usize;
        loop {
            if builder.count() > 0 && !reader.buffer().contains(&b'\n') {
                builder = self.flush(builder)?;
            }
            line += 1;
            let found = read_line(&mut reader, &mut text, line, self.limits.record_bytes_max);
            if !matches!(found, Ok(true)) {
                // What came before a bad line is appended: the error names the line to go on at.
                self.flush(builder)?;
                return found.map(drop);
            }
            if !builder.has_room(text.len()) {
                builder = self.flush(builder)?;
            }
            builder.push(&NewRecord::new(Bytes::copy_from_slice(&text)))?;
        }
    }

    fn ndjson(&self, from: impl Read) -> Result<(), InputError> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, from);
        let (mut text, mut body) = (Vec::new(), Vec::new());
        let (mut line, mut first, mut count) = (0_usize, 1_usize, 0_usize);
        // JSON and base64 make a record longer than its body.
        let line_bytes_max = self.limits.record_bytes_max * 2 + self.limits.header_bytes_max * 2;
        loop {
            let is_full = count == self.limits.records_max || body.len() >= BUFFER_BYTES;
            if count > 0 && (is_full || !reader.buffer().contains(&b'\n')) {
                self.parse(&body, first)?;
                body.clear();
                (first, count) = (line + 1, 0);
            }
            line += 1;
            let found = read_line(&mut reader, &mut text, line, line_bytes_max);
            if !matches!(found, Ok(true)) {
                if count > 0 {
                    self.parse(&body, first)?;
                }
                return found.map(drop);
            }
            count += usize::from(!text.trim_ascii().is_empty());
            body.extend_from_slice(&text);
            body.push(b'\n');
        }
    }

    /// Hands on the records of these lines; those before a bad line if there is one.
    fn parse(&self, body: &[u8], first: usize) -> Result<(), InputError> {
        match batch_from_ndjson(body, &self.limits) {
            Ok(batch) => self.send(batch),
            Err(AppendBodyError::Line { line, error }) => {
                let before = body.split_inclusive(|byte| *byte == b'\n').take(line - 1);
                if let Ok(batch) =
                    batch_from_ndjson(&before.collect::<Vec<_>>().concat(), &self.limits)
                {
                    self.send(batch)?;
                }
                Err(InputError::NotNdjson { line: first + line - 1, reason: error.to_string() })
            }
            Err(error) => Err(InputError::NotNdjson { line: first, reason: error.to_string() }),
        }
    }

    fn whole(&self, path: &Path) -> Result<(), InputError> {
        let name = path.display().to_string();
        let max = self.limits.record_bytes_max;
        let mut body = Vec::new();
        let file = File::open(path).map_err(unreadable(&name))?;
        file.take(max as u64 + 1).read_to_end(&mut body).map_err(unreadable(&name))?;
        if body.len() > max {
            return Err(InputError::TooLong { name, max });
        }
        self.one(Bytes::from(body))
    }

    fn pieces(
        &self,
        mut from: impl Read,
        name: &str,
        record_bytes: usize,
    ) -> Result<(), InputError> {
        let mut builder = BatchBuilder::new(self.limits);
        loop {
            let mut piece = BytesMut::zeroed(record_bytes);
            let mut filled = 0;
            while filled < record_bytes {
                match from.read(&mut piece[filled..]).map_err(unreadable(name))? {
                    0 => break,
                    count => filled += count,
                }
            }
            piece.truncate(filled);
            if !builder.has_room(filled) || filled == 0 {
                builder = self.flush(builder)?;
            }
            if filled == 0 {
                return Ok(());
            }
            builder.push(&NewRecord::new(piece.freeze()))?;
        }
    }

    fn one(&self, body: Bytes) -> Result<(), InputError> {
        self.send(Batch::single(&NewRecord::new(body), &self.limits).map_err(InputError::Batch)?)
    }

    /// Hands on what was gathered, if anything, and begins anew.
    fn flush(&self, builder: BatchBuilder) -> Result<BatchBuilder, InputError> {
        if builder.count() > 0 {
            self.send(builder.finish()?)?;
        }
        Ok(BatchBuilder::new(self.limits))
    }

    fn send(&self, batch: Batch) -> Result<(), InputError> {
        self.sender.blocking_send(Ok(batch)).map_err(|_closed| InputError::Unreadable {
            name: "input".to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        })
    }
}

/// Reads a line without its newline; false at the end.
fn read_line(
    reader: &mut impl BufRead,
    text: &mut Vec<u8>,
    line: usize,
    max: usize,
) -> Result<bool, InputError> {
    text.clear();
    // Room for the newline, and for one byte too many.
    let mut bounded = reader.take(max as u64 + 2);
    let count = bounded.read_until(b'\n', text).map_err(unreadable("standard input"))?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    if text.len() > max {
        return Err(InputError::TooLong { name: format!("line {line}"), max });
    }
    Ok(count > 0)
}

fn unreadable(name: &str) -> impl FnOnce(io::Error) -> InputError + use<> {
    let name = name.to_owned();
    move |source| InputError::Unreadable { name, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes out, as texts by batch, and the error at the end.
    fn taken(
        limits: BatchLimits,
        read: impl FnOnce(&Outlet) -> Result<(), InputError>,
    ) -> (Vec<Vec<String>>, Option<String>) {
        let (sender, mut batches) = mpsc::channel(1000);
        let outlet = Outlet { sender, limits };
        let error = read(&outlet).err().map(|error| error.to_string());
        drop(outlet);
        let mut seen = Vec::new();
        while let Ok(batch) = batches.try_recv() {
            let bodies = batch.unwrap().records().map(|record| record.body);
            seen.push(bodies.map(|body| String::from_utf8(body.to_vec()).unwrap()).collect());
        }
        (seen, error)
    }

    fn limits(records_max: usize, record_bytes_max: usize) -> BatchLimits {
        BatchLimits { records_max, record_bytes_max, ..BatchLimits::default() }
    }

    #[test]
    fn lines_become_records_without_their_newlines() {
        let text = "one\n\ntwo \r\nlast";
        let (batches, error) = taken(limits(3, 100), |to| to.lines(text.as_bytes()));
        assert_eq!(batches, [vec!["one", "", "two \r"], vec!["last"]]);
        assert_eq!(error, None);
    }

    #[test]
    fn a_line_that_is_typed_does_not_wait_for_the_next_one() {
        struct Typed(Vec<&'static str>);
        impl Read for Typed {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                if self.0.is_empty() {
                    return Ok(0);
                }
                let text = self.0.remove(0).as_bytes();
                into[..text.len()].copy_from_slice(text);
                Ok(text.len())
            }
        }
        let typed = Typed(vec!["a\n", "b\nc\n", "d"]);
        let (batches, _) = taken(limits(100, 100), |to| to.lines(typed));
        assert_eq!(batches, [vec!["a"], vec!["b", "c"], vec!["d"]]);
    }

    #[test]
    fn a_line_that_is_too_long_is_named() {
        let text = format!("short\n{}\n", "x".repeat(11));
        let (batches, error) = taken(limits(100, 10), |to| to.lines(text.as_bytes()));
        assert_eq!(batches.concat(), ["short"]);
        assert_eq!(error.unwrap(), "line 2 is longer than the 10 bytes of a record");
    }

    #[test]
    fn a_line_that_is_no_record_is_named_by_its_number() {
        let text = "{\"data\":\"a\"}\n\n{\"data\":\"b\"}\n{\"dta\":\"c\"}\n";
        let (batches, error) = taken(limits(9, 100), |to| to.ndjson(text.as_bytes()));
        assert_eq!(batches.concat(), ["a", "b"]);
        assert!(error.as_ref().is_some_and(|text| text.starts_with("line 4: ")), "{error:?}");
    }

    #[test]
    fn a_file_is_cut_into_pieces_and_nothing_is_lost() {
        let (batches, error) = taken(limits(2, 10), |to| to.pieces(&b"abcdefgh"[..], "f", 3));
        assert_eq!(batches, [vec!["abc", "def"], vec!["gh"]]);
        assert_eq!(error, None);
        assert_eq!(taken(limits(2, 10), |to| to.pieces(&b""[..], "f", 3)).0.len(), 0);
    }

    #[test]
    fn a_file_is_one_record_if_it_fits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "a\nb").unwrap();
        let whole = || Source::Whole(path.clone());
        assert_eq!(taken(limits(2, 3), |to| to.read(whole())).0, [["a\nb"]]);
        let error = taken(limits(2, 2), |to| to.read(whole())).1.unwrap();
        assert!(error.ends_with("is longer than the 2 bytes of a record"), "{error}");
    }
}
