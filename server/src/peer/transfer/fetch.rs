//! Fetches what a manifest names and is not here, from all who have it: hashes of tiles, then records.
//!
//! ```text
//! what is lacking? -> hashes of tiles, level by level from above -> records, tile by tile
//! ```
//!
//! Every part is proved alone before it is written, and written ahead of every pointer; so it does not matter whom it
//! comes from, nor what becomes of the rest.
//!
//! Not here: which manifest it is and what is done with it (`receive`, `renew`), whom to ask (`sources`), and what
//! proves what (`basket`).

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::api::transfers::TransferStage;
use client::types::{Digest, EntryIndex, ReplicaId};
use futures_util::{StreamExt as _, stream};
use migrations::latest::manifest::Manifest;
use tokio::sync::mpsc;

use super::basket::{Basket, prove_hashes};
use super::board::Progress;
use super::budget::{Budget, Room};
use super::plan::{ANSWER_BYTES, Lacking, Piece};
use super::sources::{Fault, Sources, Turn};
use super::throttle::Throttle;
use super::wire::{
    KeptPart, KeptQuestion, RecordsAnswer, RecordsQuestion, TileSpan, TilesAnswer, TilesQuestion,
};
use crate::metrics::Metrics;
use crate::peer::codec::Message;
use crate::peer::{Peers, paths};
use crate::storage::StorageError;
use crate::storage::state::{
    RECORD_HEAD_BYTES, State, StateManifest, Stretch, TimedWalk, unpack_kept,
};
use crate::world::{Clock, tasks};

/// A source from which nothing comes for so long is left out.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(3);
/// A transfer that gets nothing done for so long is given up, unless an operator holds it.
const STANDSTILL_MAX: Duration = Duration::from_mins(1);
/// What came is written, if nothing more comes for so long.
const WRITE_AFTER: Duration = Duration::from_millis(50);
/// The least that is asked for at a slow pace.
const QUESTION_BYTES_MIN: u64 = 64 << 10;
/// Of so many bytes of records the state's file needs one more around them.
const PART_AROUND: u64 = 8;

/// What is next to records that were wrong may show to be wrong only after these were put right.
const ROUNDS_MAX: usize = 5;

/// Why not all was fetched. What was written stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFetched {
    #[error("no source has {0}")]
    NoSource(&'static str),
    #[error("storage: {0}")]
    Storage(#[from] io::Error),
}

/// Fetches for one transfer.
pub(super) struct Fetch {
    peers: Peers,
    state: State,
    clock: Clock,
    sources: Sources,
    throttle: Throttle,
    progress: Progress,
}

impl Fetch {
    /// From these replicas into this state, at the pace of the board.
    pub(super) fn new(
        peers: Peers,
        state: State,
        sources: impl IntoIterator<Item = ReplicaId>,
        progress: Progress,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        let sources = Sources::new(sources, progress.clone(), metrics, clock.clone());
        let throttle = Throttle::new(progress.pace(), clock.clone());
        Self { peers, state, clock, sources, throttle, progress }
    }

    /// Waits until so many bytes may be asked for.
    pub(super) async fn pass(&self, bytes: u64) {
        self.throttle.pass(bytes).await;
    }

    /// Fetches what is not here of what a manifest names.
    pub(super) async fn lacking(&self, manifest: &Arc<StateManifest>) -> Result<(), NotFetched> {
        self.progress.set_stage(TransferStage::Comparing);
        let lacking = self.compare(manifest, Lacking::of).await?;
        self.progress.set_total(lacking.bytes());
        self.await_disk_space(lacking.bytes()).await;
        self.progress.set_stage(TransferStage::Fetching);
        self.fetch_tiles(manifest, &lacking).await?;
        self.fetch_records(manifest, &lacking).await?;
        // Whatever was damaged or trimmed meanwhile is the next attempt's.
        if self.compare(manifest, Lacking::of).await?.bytes() > 0 {
            return Err(NotFetched::NoSource("all of it any more"));
        }
        Ok(())
    }

    /// Waits until so many bytes of records can be stored here, and names the disk meanwhile.
    async fn await_disk_space(&self, bytes: u64) {
        let needed = bytes + bytes / PART_AROUND;
        let mut room = self.peers.room();
        loop {
            let free = *room.borrow_and_update();
            if free >= needed {
                return;
            }
            self.progress.set_waits_for(format!(
                "disk space: {needed} bytes are needed, {free} may be used"
            ));
            if room.changed().await.is_err() {
                return;
            }
        }
    }

    /// Fetches what is not here of what a manifest names, or is not what it proves: all is read again.
    pub(super) async fn unproved(&self, manifest: &Arc<StateManifest>) -> Result<(), NotFetched> {
        self.progress.set_stage(TransferStage::Comparing);
        let hashes = self.compare(manifest, Lacking::unproved_hashes).await?;
        self.fetch_tiles(manifest, &hashes).await?;
        for _ in 0..ROUNDS_MAX {
            let records = self.compare(manifest, Lacking::unproved_records).await?;
            if records.gaps.is_empty() {
                self.progress.set_total(hashes.bytes());
                return Ok(());
            }
            self.progress.set_total(hashes.bytes() + records.bytes());
            self.progress.set_stage(TransferStage::Fetching);
            self.fetch_records(manifest, &records).await?;
        }
        Err(NotFetched::NoSource("what fits what is here"))
    }

    /// Fetches the manifest of a checkpoint from anybody who keeps one of this digest.
    pub(super) async fn kept_manifest(
        &self,
        checkpoint: EntryIndex,
        digest: Digest,
    ) -> Result<StateManifest, NotFetched> {
        let mut tried = BTreeSet::new();
        loop {
            let Some(mut turn) = self.sources.turn(&tried).await else {
                return Err(NotFetched::NoSource("the manifest of the checkpoint"));
            };
            let source = turn.replica;
            self.progress.set_peer(source);
            tried.insert(source);
            let fault = match self.kept_from(&mut turn, checkpoint).await {
                Ok(None) => continue,
                Ok(Some(kept)) => {
                    let unpack = move || Ok(unpack_kept(checkpoint, &kept, digest));
                    match tasks::blocking(unpack).await? {
                        Some(manifest) => return Ok(manifest),
                        None => Fault::Wrong,
                    }
                }
                Err(fault) => fault,
            };
            self.sources.leave_out(source, &fault);
        }
    }

    /// What one source keeps of a checkpoint.
    async fn kept_from(
        &self,
        turn: &mut Turn<'_>,
        checkpoint: EntryIndex,
    ) -> Result<Option<Bytes>, Fault> {
        let mut kept = BytesMut::new();
        loop {
            let question = KeptQuestion { checkpoint, offset: wide(kept.len()) };
            let answer: KeptPart = self.ask(turn, paths::KEPT, &question).await?;
            turn.answered(wide(answer.bytes.len()));
            kept.extend_from_slice(&answer.bytes);
            if answer.bytes.is_empty() || wide(kept.len()) >= answer.total {
                let is_whole = !kept.is_empty() && wide(kept.len()) == answer.total;
                return Ok(is_whole.then(|| kept.freeze()));
            }
            self.throttle.pass((answer.total - wide(kept.len())).min(1 << 20)).await;
        }
    }

    /// What it waits for, if nothing got on for so long that it is to be given up.
    pub(super) fn standstill(&self) -> Option<String> {
        let is_paused = self.progress.pace().borrow().is_paused;
        let is_at_work = !self.progress.is_waiting();
        if is_paused || is_at_work || self.clock.since(self.progress.moved()) <= STANDSTILL_MAX {
            return None;
        }
        let waits_for = self.progress.waits_for().map(|what| format!(", waiting for {what}"));
        Some(waits_for.unwrap_or_default())
    }

    async fn compare(
        &self,
        manifest: &Arc<StateManifest>,
        compare: fn(&Manifest, &State) -> Result<Lacking, StorageError>,
    ) -> Result<Lacking, NotFetched> {
        let (manifest, state) = (Arc::clone(manifest), self.state.clone());
        let compared =
            tasks::blocking(move || compare(manifest.rows(), &state).map_err(io::Error::other));
        Ok(compared.await?)
    }

    /// About how much is asked for at a time: at a slow pace less, so that something comes a few times a second.
    fn question_bytes(&self) -> u64 {
        let rate = self.progress.pace().borrow().bytes_per_second;
        rate.map_or(ANSWER_BYTES, |rate| (rate / 4).clamp(QUESTION_BYTES_MIN, ANSWER_BYTES))
    }

    /// One question to one source.
    async fn ask<Q: Message, A: Message>(
        &self,
        turn: &Turn<'_>,
        path: &'static str,
        question: &Q,
    ) -> Result<A, Fault> {
        self.progress.asked(turn.replica);
        let answer = self.peers.ask_for_state(turn.replica, path, question, SILENCE_MAX).await;
        self.progress.answered(turn.replica);
        answer.map_err(|error| Fault::Silent(error.to_string()))
    }

    async fn fetch_tiles(
        &self,
        manifest: &Arc<StateManifest>,
        lacking: &Lacking,
    ) -> Result<(), NotFetched> {
        // A level is proved by the one above: one after the other.
        for questions in lacking.tile_questions() {
            let fetched = stream::iter(questions)
                .map(|spans| self.fetch_hashes(manifest, spans))
                .buffer_unordered(self.sources.in_flight_max());
            let mut fetched = std::pin::pin!(fetched);
            while let Some(result) = fetched.next().await {
                result?;
            }
        }
        Ok(())
    }

    /// Fetches hashes from one source after the other until they fit, and writes them.
    async fn fetch_hashes(
        &self,
        manifest: &Arc<StateManifest>,
        spans: Vec<TileSpan>,
    ) -> Result<(), NotFetched> {
        let count: u64 = spans.iter().map(|span| span.until - span.from).sum();
        let mut tried = BTreeSet::new();
        loop {
            let Some(mut turn) = self.sources.turn(&tried).await else {
                return Err(NotFetched::NoSource("the hashes of these tiles"));
            };
            self.throttle.pass(count * 32).await;
            let question = TilesQuestion(spans.clone());
            let answer: TilesAnswer = match self.ask(&turn, paths::TILES, &question).await {
                Ok(answer) => answer,
                Err(fault) => {
                    self.sources.leave_out(turn.replica, &fault);
                    continue;
                }
            };
            turn.answered(answer.0.iter().map(|hashes| wide(hashes.len()) * 32).sum());
            let is_whole = answer.0.len() == spans.len()
                && (answer.0.iter().zip(&spans))
                    .all(|(hashes, span)| wide(hashes.len()) == span.until - span.from);
            if !is_whole {
                tried.insert(turn.replica);
                continue;
            }
            let (manifest, state) = (Arc::clone(manifest), self.state.clone());
            let asked = spans.clone();
            let written = tasks::blocking(move || {
                let proved = match prove_hashes(&manifest, &state, &asked, answer)? {
                    Ok(proved) => proved,
                    Err(wrong) => return Ok(Err(wrong)),
                };
                state.write_tiles_ahead(&proved).map_err(io::Error::other)?;
                Ok(Ok(()))
            });
            if written.await?.is_ok() {
                self.progress.add_done(count * 32);
                return Ok(());
            }
            tried.insert(turn.replica);
            self.sources.leave_out(turn.replica, &Fault::Wrong);
        }
    }

    async fn fetch_records(
        &self,
        manifest: &Arc<StateManifest>,
        lacking: &Lacking,
    ) -> Result<(), NotFetched> {
        let budget = Budget::of(lacking.bytes(), self.progress.pace());
        let most = || self.question_bytes().min(budget.question_bytes());
        // Room is taken in order: what is written first is never behind what waits for that.
        let fetched = stream::iter(lacking.questions(most))
            .then(|pieces| budget.clone().room_for(pieces))
            .map(|(pieces, room)| self.fetch_pieces(manifest, pieces, room))
            .buffered(self.sources.in_flight_max());
        let mut fetched = std::pin::pin!(fetched);
        let (sender, mut receiver) = mpsc::channel(1);
        let fetch = async {
            while let Some(pieces) = fetched.next().await {
                if sender.send(pieces?).await.is_err() {
                    break;
                }
            }
            drop(sender);
            Ok::<_, NotFetched>(())
        };
        let write = async {
            let mut writer = Writer::new(self, lacking, &budget);
            let clock = &self.clock;
            loop {
                let next = clock.within(WRITE_AFTER, receiver.recv()).await;
                let is_last = matches!(next, Ok(None));
                let is_lull = next.is_err();
                if let Ok(Some(Fetched { pieces, room })) = next {
                    for (piece, records) in pieces {
                        writer.add(&piece, records);
                    }
                    writer.hold(room);
                }
                if is_last || is_lull || writer.is_full() {
                    writer.write().await?;
                }
                if is_last {
                    return Ok(());
                }
            }
        };
        tokio::try_join!(fetch, write).map(drop)
    }

    /// Fetches pieces from one source after the other until all are proved. Gives the records of each.
    async fn fetch_pieces(
        &self,
        manifest: &Arc<StateManifest>,
        pieces: Vec<Piece>,
        room: Room,
    ) -> Result<Fetched, NotFetched> {
        let mut basket = Basket::new(&pieces);
        let mut tried = BTreeSet::new();
        while !basket.is_full() {
            let Some(mut turn) = self.sources.turn(&tried).await else {
                return Err(NotFetched::NoSource("records that are lacking"));
            };
            match self.fetch_from(manifest, &mut basket, &mut turn).await? {
                Taken::All => {}
                Taken::NotThere => drop(tried.insert(turn.replica)),
                Taken::Fault(fault) => {
                    if fault == Fault::Wrong {
                        tried.insert(turn.replica);
                    }
                    self.sources.leave_out(turn.replica, &fault);
                }
            }
        }
        let pieces = pieces.into_iter().zip(basket.into_records()).collect();
        Ok(Fetched { pieces, room })
    }

    /// Asks one source until the basket is full, or it does not go on with it.
    async fn fetch_from(
        &self,
        manifest: &Arc<StateManifest>,
        basket: &mut Basket,
        turn: &mut Turn<'_>,
    ) -> Result<Taken, NotFetched> {
        // Only what one source gave is proved together: else nobody could say who was wrong.
        basket.drop_unproved();
        while !basket.is_full() {
            let most = self.question_bytes();
            let estimate = basket.left_bytes().min(most);
            self.throttle.pass(estimate).await;
            let question = RecordsQuestion {
                spans: basket.spans(),
                bytes_max: u32::try_from(most).unwrap_or(u32::MAX),
            };
            let answer: RecordsAnswer = match self.ask(turn, paths::RECORDS, &question).await {
                Ok(answer) => answer,
                Err(fault) => return Ok(Taken::Fault(fault)),
            };
            turn.answered(answer.0.iter().map(|part| wide(part.len())).sum());
            if answer.0.len() > question.spans.len() {
                return Ok(Taken::Fault(Fault::Wrong));
            }
            let is_there = answer.0.last().is_some_and(|part| !part.is_empty());
            for part in answer.0.into_iter().filter(|part| !part.is_empty()) {
                let (manifest, state) = (Arc::clone(manifest), self.state.clone());
                let mut taken = std::mem::take(basket);
                let (result, back) = tasks::blocking(move || {
                    let result = taken.add(&manifest, &state, &part)?;
                    Ok((result, taken))
                })
                .await?;
                *basket = back;
                if result.is_err() {
                    return Ok(Taken::Fault(Fault::Wrong));
                }
            }
            if !is_there {
                return Ok(Taken::NotThere);
            }
        }
        Ok(Taken::All)
    }
}

/// Pieces with their records, and the room these take.
struct Fetched {
    pieces: Vec<(Piece, Bytes)>,
    room: Room,
}

/// What became of asking one source.
enum Taken {
    All,
    /// It does not have the next record.
    NotThere,
    Fault(Fault),
}

/// Writes what was proved, in order, while more is fetched.
struct Writer<'t> {
    fetch: &'t Fetch,
    lacking: &'t Lacking,
    /// The gap that is being filled, and the bytes of its log before the next record.
    gap: Option<(usize, u64)>,
    waiting: Vec<Stretch>,
    /// What of it counts for progress.
    waiting_done: u64,
    /// The room it takes, given back once it is durable.
    rooms: Vec<Room>,
    budget: &'t Budget,
}

impl<'t> Writer<'t> {
    fn new(fetch: &'t Fetch, lacking: &'t Lacking, budget: &'t Budget) -> Self {
        let (waiting, rooms) = (Vec::new(), Vec::new());
        Self { fetch, lacking, gap: None, waiting, waiting_done: 0, rooms, budget }
    }

    fn is_full(&self) -> bool {
        self.budget.is_much(&self.rooms)
    }

    fn hold(&mut self, room: Room) {
        self.rooms.push(room);
    }

    /// Adds the next piece; they come in order.
    fn add(&mut self, piece: &Piece, records: Bytes) {
        let gap = &self.lacking.gaps[piece.gap];
        let lengths = || TimedWalk(records.clone()).map(|(_, untimed)| wide(untimed.len()));
        let (mut before_anchor, mut all) = (0, 0);
        for (position, length) in (piece.span.from.get()..).zip(lengths()) {
            all += length;
            if position < gap.anchor.get() {
                before_anchor += length;
            }
        }
        let bytes_before = match self.gap {
            Some((at, bytes)) if at == piece.gap => bytes,
            // The first piece of a gap holds its anchor: whole tiles are fetched.
            _ => gap.bytes_before.saturating_sub(before_anchor),
        };
        self.gap = Some((piece.gap, bytes_before + all));
        let counted = piece.span.until.since(piece.span.from.max(gap.anchor));
        self.waiting_done += all - before_anchor + counted * wide(RECORD_HEAD_BYTES);
        let first = piece.span.from;
        self.waiting.push(Stretch { log: gap.log, first, bytes_before, records });
    }

    /// Writes what waits, and counts it once it is durable.
    async fn write(&mut self) -> Result<(), NotFetched> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let stretches = std::mem::take(&mut self.waiting);
        let bytes = stretches.iter().map(|stretch| wide(stretch.records.len())).sum();
        // There was room for all when it began; others write, too.
        self.fetch.await_disk_space(bytes).await;
        let state = self.fetch.state.clone();
        tasks::blocking(move || state.write_ahead(&stretches).map_err(io::Error::other)).await?;
        self.fetch.progress.add_done(std::mem::take(&mut self.waiting_done));
        self.rooms.clear();
        Ok(())
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a count in memory fits 64 bits")
}
