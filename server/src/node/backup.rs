//! A backup: the manifest of a certified checkpoint and the records it names, as one stream from this replica.
//!
//! What is sent is made step by step, as whoever takes it is ready, and nothing is held in between: neither a
//! transaction nor more than about a mebibyte. So records may be trimmed meanwhile; then it breaks off. Chunks and
//! hashes pass their own checks when they are read; whoever takes the stream proves all of it against the digest.
//!
//! Not here: the bytes of frames (`migrations::latest::backup`), and what a backup is made into (`run::offline`).

use std::time::Duration;

use bytes::Bytes;
use client::api::reading::Consistency;
use client::types::{EntryIndex, LogId, LogName, Position};
use migrations::latest::backup::{BackupHead, BackupPart, MAGIC, StateName};
use migrations::latest::manifest::Manifest;
use migrations::latest::values::CatalogRow;

use super::Node;
use super::error::BackupError;
use super::permit::{Permit, Room};
use crate::machine::{Certificate, Checkpoint, TILE_WIDTH};
use crate::storage::StorageError;
use crate::storage::state::{Attestation, State, StateManifest};
use crate::world::Tasks;

/// So many backups at once: each reads the disk as fast as it is taken.
pub(super) const ROOM: Room = Room { bytes_max: u64::MAX, count_max: 4 };
/// About so many bytes are made at a time.
const STEP_BYTES: usize = 1 << 20;
/// When to ask again for what is not here yet.
const SOON: Duration = Duration::from_millis(200);
/// When to ask again if there are too many.
const LATER: Duration = Duration::from_secs(10);

/// Which backup is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveRequest {
    /// Only these logs; all if none is named.
    pub logs: Vec<LogName>,
    /// The checkpoint of an earlier backup of the same logs, whose records are not repeated.
    pub since: Option<EntryIndex>,
}

/// A backup under way.
pub struct Archive {
    tasks: Tasks,
    /// Nothing once it has ended.
    maker: Option<Box<Maker>>,
    _permit: Permit,
}

impl Node {
    /// Begins a backup of a certified checkpoint whose snapshot is kept here.
    pub async fn archive(
        &self,
        checkpoint: EntryIndex,
        request: ArchiveRequest,
    ) -> Result<Archive, BackupError> {
        self.check_state()?;
        let core = &*self.core;
        let permit = core.backups.admit(0).ok_or(BackupError::TooMany { retry_after: LATER })?;
        // What lies beyond the last entry that was applied here is lacking here, or it does not exist.
        if *core.applied.borrow() < request.since.max(Some(checkpoint)) {
            self.be_fresh(Consistency::Linearizable).await?;
        }
        let applied = *core.applied.borrow();
        let checkpoints = (core.probes.checkpoints)();
        let state = core.state.clone();
        let (cluster, generation) =
            (*core.identity.cluster.as_bytes(), core.identity.generation_row());
        let begun = core.tasks.blocking(move || {
            let source = Source { state: &state, applied, checkpoints: &checkpoints };
            let of = source.certified(checkpoint)?;
            let base = request.since.map(|since| source.certified(since)).transpose()?;
            let plan = Plan::new(&state, of.manifest.rows(), base.as_ref(), &request.logs)?;
            let logs = (!request.logs.is_empty())
                .then(|| plan.logs.iter().map(|log| log.id.get()).collect());
            let manifest = of.manifest.encode();
            let head = BackupHead {
                cluster,
                generation,
                state: of.name(),
                stamp: of.checkpoint.made.as_millis(),
                certified: of.certificate.certified.as_millis(),
                certified_by: of.certificate.entry.get(),
                attested_by: of.certificate.attested_by.iter().map(|id| id.get()).collect(),
                base: base.as_ref().map(Certified::name),
                logs,
                manifest_bytes: wide(manifest.len()),
                records: plan.records,
                record_bytes: plan.record_bytes,
            };
            Ok::<_, BackupError>(Maker::new(state, head, manifest.into(), plan))
        });
        let maker = begun.await.map_err(|_panicked| BackupError::Disk)??;
        Ok(Archive { tasks: core.tasks.clone(), maker: Some(Box::new(maker)), _permit: permit })
    }
}

impl Archive {
    /// The next bytes of the file; nothing after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BackupError> {
        let Some(mut maker) = self.maker.take() else { return Ok(None) };
        let made = self.tasks.blocking(move || maker.step().map(|bytes| (bytes, maker))).await;
        match made.map_err(|_panicked| BackupError::Disk)? {
            Ok((bytes, maker)) => {
                self.maker = (!maker.is_over).then_some(maker);
                Ok(Some(bytes))
            }
            Err(reason) => {
                tracing::warn!(%reason, "a backup broke off");
                Err(reason)
            }
        }
    }
}

/// Where snapshots are looked for.
struct Source<'s> {
    state: &'s State,
    applied: Option<EntryIndex>,
    checkpoints: &'s [Checkpoint],
}

/// A snapshot that is what a majority attested.
struct Certified {
    checkpoint: Checkpoint,
    certificate: Certificate,
    manifest: StateManifest,
}

impl Certified {
    fn name(&self) -> StateName {
        StateName {
            entry: self.manifest.rows().entry(),
            digest: *self.certificate.digest.as_bytes(),
        }
    }
}

impl Source<'_> {
    fn certified(&self, checkpoint: EntryIndex) -> Result<Certified, BackupError> {
        let behind = BackupError::Behind { checkpoint, retry_after: SOON };
        let known = self.checkpoints.iter().find(|known| known.entry.index == checkpoint);
        let known = known.ok_or(BackupError::UnknownCheckpoint { checkpoint })?;
        let Some(certificate) = known.certificate.clone() else { return Err(behind) };
        let Some(manifest) = self.state.kept_manifest(checkpoint).map_err(broken)? else {
            let is_elsewhere =
                self.state.attestation(checkpoint, self.applied) == Attestation::Unknown;
            return Err(if is_elsewhere {
                BackupError::UnknownCheckpoint { checkpoint }
            } else {
                behind
            });
        };
        if manifest.digest() != certificate.digest {
            let what = format!("the state at checkpoint {checkpoint}");
            return Err(BackupError::Damaged { what });
        }
        Ok(Certified { checkpoint: known.clone(), certificate, manifest })
    }
}

/// What is to be sent.
struct Plan {
    logs: Vec<LogPlan>,
    records: u64,
    record_bytes: u64,
}

/// What is to be sent of one log.
struct LogPlan {
    id: LogId,
    name: LogName,
    from: u64,
    tail: u64,
    bytes_before: u64,
}

impl Plan {
    fn new(
        state: &State,
        rows: &Manifest,
        base: Option<&Certified>,
        names: &[LogName],
    ) -> Result<Self, BackupError> {
        let is_known = |name: &&LogName| rows.logs.iter().all(|(_, row)| row.name != name.as_str());
        if let Some(log) = names.iter().find(is_known) {
            return Err(BackupError::UnknownLog { log: log.clone() });
        }
        let mut plan = Self { logs: Vec::new(), records: 0, record_bytes: 0 };
        for (id, row) in &rows.logs {
            if names.is_empty() || names.iter().any(|name| name.as_str() == row.name) {
                let before = base.and_then(|base| {
                    let mut logs = base.manifest.rows().logs.iter();
                    logs.find(|(known, _)| known == id).map(|(_, row)| row.tail)
                });
                let log = LogPlan::new(state, LogId::new(*id), row, before)?;
                plan.records += log.tail - log.from;
                plan.record_bytes += row.bytes_at_tail - log.bytes_before;
                plan.logs.push(log);
            }
        }
        Ok(plan)
    }
}

impl LogPlan {
    /// From the tile of the trim point on, or from where the base ended, again by whole tiles.
    fn new(
        state: &State,
        id: LogId,
        row: &CatalogRow,
        before: Option<u64>,
    ) -> Result<Self, BackupError> {
        let name = LogName::new(&row.name)
            .map_err(|_| BackupError::Damaged { what: "the name of a log".to_owned() })?;
        let whole = |position: u64| position / TILE_WIDTH * TILE_WIDTH;
        let from = match before {
            Some(before) if before == row.tail => row.tail,
            Some(before) => whole(row.trim).max(whole(before)),
            None => whole(row.trim),
        };
        let mut plan = Self { id, name, from, tail: row.tail, bytes_before: row.bytes_at_tail };
        if from < row.tail {
            plan.check(state)?;
            let found = state.bytes_until(id, Position::new(from)).map_err(broken)?;
            plan.bytes_before = found.ok_or_else(|| plan.lost(state, from))?;
        }
        Ok(plan)
    }

    /// Refuses what was deleted or trimmed since.
    fn check(&self, state: &State) -> Result<(), BackupError> {
        let Some(view) = state.view_by_id(self.id) else {
            return Err(BackupError::Deleted { log: self.name.clone() });
        };
        if view.trim.get() / TILE_WIDTH * TILE_WIDTH > self.from {
            return Err(BackupError::Trimmed { log: self.name.clone(), first: view.trim });
        }
        Ok(())
    }

    /// Why a record is not here.
    fn lost(&self, state: &State, position: u64) -> BackupError {
        let what = || format!("log {} at position {position}", self.name);
        self.check(state).err().unwrap_or_else(|| BackupError::Damaged { what: what() })
    }
}

/// Makes the file.
struct Maker {
    state: State,
    number: u64,
    manifest: Bytes,
    plan: Plan,
    /// Which log.
    log: usize,
    /// The next record of that log; nothing before it begins.
    next: Option<u64>,
    is_over: bool,
    out: Vec<u8>,
}

impl Maker {
    fn new(state: State, head: BackupHead, manifest: Bytes, plan: Plan) -> Self {
        let mut maker = Self {
            state,
            number: 0,
            manifest,
            plan,
            log: 0,
            next: None,
            is_over: false,
            out: MAGIC.to_vec(),
        };
        maker.put(&BackupPart::Head(Box::new(head)));
        maker
    }

    fn put(&mut self, part: &BackupPart) {
        self.out.extend_from_slice(&part.encode(self.number));
        self.number += 1;
    }

    /// The next bytes. Reads redb.
    fn step(&mut self) -> Result<Bytes, BackupError> {
        while self.out.len() < STEP_BYTES && !self.is_over {
            self.put_next()?;
        }
        Ok(std::mem::take(&mut self.out).into())
    }

    fn put_next(&mut self) -> Result<(), BackupError> {
        if !self.manifest.is_empty() {
            let bytes = self.manifest.split_to(self.manifest.len().min(STEP_BYTES));
            self.put(&BackupPart::Manifest(bytes));
            return Ok(());
        }
        let Some(log) = self.plan.logs.get(self.log) else {
            let Plan { records, record_bytes, .. } = self.plan;
            self.put(&BackupPart::End { records, record_bytes });
            self.is_over = true;
            return Ok(());
        };
        let (id, from, tail, bytes_before) = (log.id, log.from, log.tail, log.bytes_before);
        match self.next {
            None => {
                self.put(&BackupPart::Log { log: id.get(), from, bytes_before });
                self.next = Some(0);
            }
            Some(next) if next >= tail => {
                self.log += 1;
                self.next = None;
            }
            Some(next) => {
                if next.is_multiple_of(TILE_WIDTH * TILE_WIDTH) {
                    self.put_tiles(id, next / TILE_WIDTH, tail / TILE_WIDTH)?;
                }
                let end = (next / (TILE_WIDTH * TILE_WIDTH) + 1) * TILE_WIDTH * TILE_WIDTH;
                let (begin, end) = (next.max(from), end.min(tail));
                self.next = Some(if begin < end { self.put_records(begin, end)? } else { end });
            }
        }
        Ok(())
    }

    /// The hashes of up to 256 tiles, if so many are complete.
    fn put_tiles(&mut self, log: LogId, first: u64, complete: u64) -> Result<(), BackupError> {
        let until = (first + TILE_WIDTH).min(complete);
        if first >= until {
            return Ok(());
        }
        let found = self.state.tiles(log, 0, (first, until)).map_err(broken)?;
        let hashes: Option<Vec<[u8; 32]>> =
            found.into_iter().map(|hash| hash.map(|hash| *hash.as_bytes())).collect();
        let lost = || self.plan.logs[self.log].lost(&self.state, first * TILE_WIDTH);
        let hashes = hashes.ok_or_else(lost)?;
        self.put(&BackupPart::Tiles { first, hashes });
        Ok(())
    }

    /// Records from a position on, and says where to go on.
    fn put_records(&mut self, from: u64, until: u64) -> Result<u64, BackupError> {
        let log = &self.plan.logs[self.log];
        let range = (Position::new(from), Position::new(until));
        let piece = self.state.stretch(log.id, range, STEP_BYTES).map_err(broken)?;
        let piece = piece.ok_or_else(|| log.lost(&self.state, from))?;
        let (count, bytes) = (piece.count, piece.bytes);
        self.put(&BackupPart::Records { first: from, count, bytes });
        Ok(from + u64::from(count))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn broken(error: StorageError) -> BackupError {
    if let StorageError::Damaged { .. } = error {
        return BackupError::Damaged { what: error.to_string() };
    }
    BackupError::Disk
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}
