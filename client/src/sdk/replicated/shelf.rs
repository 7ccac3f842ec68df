//! Where snapshots are kept: a log beside that of the commands, which only ever holds whole ones and beginnings.
//!
//! ```text
//!   begin | part | part | … | complete      begin | part |      begin | part | … | complete
//!   one snapshot, without a gap             given up            the next one
//! ```
//!
//! Each record is appended under the condition that the one before it is the last of the log. So two who write at the
//! same time cannot mix their parts: one of them is refused, and gives up. Each record says where the newest complete
//! snapshot before it ends, so the last record of the log leads to the newest snapshot.
//!
//! Not here: when a snapshot is taken (`keeper`).

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::machine::{StateMachine, from_json, to_json};
use crate::api::conditions::Conditions;
use crate::api::error::ErrorCode;
use crate::api::reading::{ReadFrom, ReadQuery};
use crate::sdk::error::{Error, Outcome};
use crate::sdk::log::Log;
use crate::types::{Batch, BatchLimits, Headers, LogId, NewRecord, Position, Record};

/// What follows the name of the log of commands.
pub(super) const SUFFIX: &str = ".snapshots";
/// The header that says what a record is.
const KIND: &str = "quorate-snapshot";
/// The header that says where the newest complete snapshot before it is.
const NEWEST: &str = "quorate-snapshot-newest";
/// Parts that are appended at once.
const PARTS_AT_ONCE: usize = 4;

const BEGIN: &str = "begin";
const PART: &str = "part";
const COMPLETE: &str = "complete";

/// What the last record of a snapshot says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// The log whose commands it stands for.
    pub(super) log_id: LogId,
    /// It stands for all commands before this position.
    pub(super) position: Position,
    /// Where its first record is.
    pub(super) begun: Position,
    /// How long it is.
    bytes: u64,
    /// CRC32C of all of it.
    crc32c: u32,
}

const FORMAT: u32 = 1;

/// What the log of snapshots holds at a moment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// Its tail.
    pub(super) tail: Position,
    /// The newest complete snapshot, and where its last record is.
    pub(super) newest: Option<(Position, Manifest)>,
    /// Nobody has begun another one behind it.
    pub(super) is_idle: bool,
}

/// Where the snapshots of one log are kept.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    log: Log,
    /// The log whose commands they stand for.
    of: LogId,
    part_bytes: usize,
}

impl Shelf {
    pub(super) const fn new(log: Log, of: LogId, part_bytes: usize) -> Self {
        Self { log, of, part_bytes }
    }

    /// What there is now.
    pub(super) async fn look(&self) -> Result<Look, Error> {
        let query = ReadQuery { limit: Some(1), ..ReadQuery::from(ReadFrom::Last(1)) };
        let page = self.log.read(&query).await?;
        let Some(last) = page.records.last() else {
            return Ok(Look { tail: page.tail, newest: None, is_idle: true });
        };
        let tail = last.position.advance(1);
        let is_idle = self.kind(last)? == COMPLETE;
        let at = if is_idle { Some(last.position) } else { self.newest_before(last)? };
        let manifest = match at {
            Some(at) => self.manifest(at).await?,
            None => None,
        };
        let newest = at.zip(manifest.map(|(manifest, _)| manifest));
        // What stands for another log of the name is no more than bytes in the way.
        let newest = newest.filter(|(_, manifest)| manifest.log_id == self.of);
        Ok(Look { tail, newest, is_idle })
    }

    /// The newest state that can be read, and the position before which all commands are in it.
    pub(super) async fn restore<S: StateMachine>(&self) -> Result<Option<(Position, S)>, Error> {
        let mut newest = self.newest().await?;
        loop {
            if let Some(restored) = self.restore_from(newest).await? {
                return Ok(Some(restored));
            }
            let newer = self.newest().await?;
            if newer == newest {
                return Ok(None);
            }
            // The others may have been trimmed while they were read.
            newest = newer;
        }
    }

    async fn newest(&self) -> Result<Option<Position>, Error> {
        Ok(self.look().await?.newest.map(|(at, _)| at))
    }

    /// The same, of the snapshot that ends there and those before it.
    async fn restore_from<S: StateMachine>(
        &self,
        mut next: Option<Position>,
    ) -> Result<Option<(Position, S)>, Error> {
        while let Some(at) = next {
            let Some((manifest, before)) = self.manifest(at).await? else { break };
            if manifest.log_id != self.of {
                break;
            }
            match self.read(at, &manifest).await?.and_then(|bytes| restored(&bytes)) {
                Ok(state) => return Ok(Some((manifest.position, state))),
                Err(reason) => {
                    tracing::warn!(log = %self.log.name(), %at, reason, "a snapshot cannot be used");
                }
            }
            next = before;
        }
        Ok(None)
    }

    /// What the record there says of the snapshot that ends with it, and where the one before ends. Nothing if that was
    /// trimmed.
    async fn manifest(&self, at: Position) -> Result<Option<(Manifest, Option<Position>)>, Error> {
        let query = ReadQuery { limit: Some(1), ..ReadQuery::from(ReadFrom::Position(at)) };
        let page = match self.log.read(&query).await {
            Ok(page) => page,
            Err(error) if error.code() == Some(ErrorCode::Trimmed) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let record = page.records.first().filter(|record| record.position == at);
        let record = record.ok_or_else(|| self.foreign(at))?;
        if self.kind(record)? != COMPLETE {
            return Err(self.foreign(at));
        }
        let manifest: Manifest = from_json(&record.body).map_err(|_| self.foreign(at))?;
        if manifest.format != FORMAT {
            return Err(self.foreign(at));
        }
        Ok(Some((manifest, self.newest_before(record)?)))
    }

    /// The bytes of the snapshot that ends there, or why they are none.
    async fn read(
        &self,
        end: Position,
        manifest: &Manifest,
    ) -> Result<Result<Bytes, String>, Error> {
        let mut bytes = BytesMut::new();
        let mut at = manifest.begun.advance(1);
        while at < end {
            let query =
                ReadQuery { limit: Some(end.since(at)), ..ReadQuery::from(ReadFrom::Position(at)) };
            let page = match self.log.read(&query).await {
                Err(error) if error.code() == Some(ErrorCode::Trimmed) => {
                    return Ok(Err(format!("what was at {at} is trimmed")));
                }
                page => page?,
            };
            for record in page.records.iter().filter(|record| record.position < end) {
                if self.kind(record)? != PART {
                    return Ok(Err(format!("the record at {} is no part of it", record.position)));
                }
                bytes.extend_from_slice(&record.body);
            }
            if page.next <= at {
                return Ok(Err(format!("nothing is at {at}")));
            }
            at = page.next;
        }
        let (length, crc32c) = (bytes.len() as u64, crc32c::crc32c(&bytes));
        if (length, crc32c) != (manifest.bytes, manifest.crc32c) {
            return Ok(Err(format!("{length} bytes with the checksum {crc32c:08x} are there")));
        }
        Ok(Ok(bytes.freeze()))
    }

    /// Begins another one, unless something was appended since the look.
    pub(super) async fn begin(&self, look: &Look) -> Result<Writing<'_>, Error> {
        let newest = look.newest.as_ref().map(|(at, _)| *at);
        let mut writing = Writing { shelf: self, begun: look.tail, tail: look.tail, newest };
        writing.append(BEGIN, &[Bytes::new()]).await?;
        Ok(writing)
    }

    /// Drops what lies before this position.
    pub(super) async fn trim(&self, to: Position) -> Result<(), Error> {
        self.log.trim(to).await?;
        Ok(())
    }

    fn kind<'a>(&self, record: &'a Record) -> Result<&'a str, Error> {
        let kind = record.headers.get(KIND).and_then(|kind| std::str::from_utf8(kind).ok());
        let kind = kind.filter(|kind| [BEGIN, PART, COMPLETE].contains(kind));
        kind.ok_or_else(|| self.foreign(record.position))
    }

    fn newest_before(&self, record: &Record) -> Result<Option<Position>, Error> {
        let Some(text) = record.headers.get(NEWEST) else { return Ok(None) };
        let text = std::str::from_utf8(text).ok();
        let position = text.and_then(|text| text.parse().ok());
        position.map(Some).ok_or_else(|| self.foreign(record.position))
    }

    fn foreign(&self, at: Position) -> Error {
        let reason = format!("the record at {at} of {} is of no snapshot", self.log.name());
        Error::protocol(reason, Outcome::NotDone)
    }
}

fn restored<S: StateMachine>(bytes: &Bytes) -> Result<S, String> {
    S::restore(bytes).map_err(|error| error.to_string())
}

/// A snapshot in the making.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    shelf: &'a Shelf,
    begun: Position,
    tail: Position,
    newest: Option<Position>,
}

impl Writing<'_> {
    /// Writes it to its end. It counts from then on.
    pub(super) async fn finish(
        mut self,
        position: Position,
        bytes: &Bytes,
    ) -> Result<(Position, Manifest), Error> {
        let part_bytes = self.shelf.part_bytes;
        for together in bytes.chunks(part_bytes.saturating_mul(PARTS_AT_ONCE)) {
            let parts: Vec<_> =
                together.chunks(part_bytes).map(|part| bytes.slice_ref(part)).collect();
            self.append(PART, &parts).await?;
        }
        let manifest = Manifest {
            format: FORMAT,
            log_id: self.shelf.of,
            position,
            begun: self.begun,
            bytes: bytes.len() as u64,
            crc32c: crc32c::crc32c(bytes),
        };
        let (at, body) = (self.tail, to_json(&manifest).expect("a manifest is plain data"));
        self.append(COMPLETE, &[body]).await?;
        Ok((at, manifest))
    }

    async fn append(&mut self, kind: &str, bodies: &[Bytes]) -> Result<(), Error> {
        let newest = self.newest.map(|newest| (NEWEST, newest.to_string()));
        let headers = Headers::from_pairs([(KIND, kind.to_owned())].into_iter().chain(newest));
        let headers = headers.expect("short names and values make headers");
        let records: Vec<_> = bodies
            .iter()
            .map(|body| NewRecord::new(body.clone()).with_headers(headers.clone()))
            .collect();
        let limits = BatchLimits {
            bytes_max: usize::MAX,
            record_bytes_max: usize::MAX,
            ..BatchLimits::default()
        };
        let batch = Batch::new(&records, &limits);
        let batch = batch.map_err(|error| Error::usage(error.to_string()))?;
        let conditions = Conditions { tail: Some(self.tail), ..Conditions::default() };
        self.tail = self.shelf.log.append_with(&batch, &conditions).await?.next;
        Ok(())
    }
}
