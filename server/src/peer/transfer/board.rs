//! The board: every transfer of this replica, how far it is, and what it waits for.
//!
//! Totals are fixed when they are known, what is done only grows, and a stage only goes forward. Those that ended stay
//! for a while, so that an operator sees what became of them. An offer under way says from which entry on the journal
//! is still needed.
//!
//! Not here: who fetches what (`receive`, `send`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use client::api::transfers::{TransferDirection, TransferInfo, TransferSource, TransferStage};
use client::types::{EntryIndex, ReplicaId, Timestamp};
use tokio::sync::watch;

use super::throttle::Pace;
use crate::metrics::Metrics;
use crate::world::{Clock, Instant};

/// So many transfers that ended are remembered.
const ENDED_MAX: usize = 32;
/// The rate is that of so long.
const RATE_SPAN: Duration = Duration::from_secs(10);
/// Between two samples of the rate.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// After so long without a byte, whoever was asked is named.
const SILENCE: Duration = Duration::from_secs(3);
/// So long an offer keeps the leader's journal from being purged: a copy that takes longer ends with a second, short
/// one, which fetches what came meanwhile.
const PINNED: Duration = Duration::from_mins(1);

/// All transfers of one replica. A clone is the same board.
#[derive(Clone)]
pub struct Board(Arc<Shared>);

struct Shared {
    /// Which start of the replica it is, so that an id means one transfer.
    start: u64,
    clock: Clock,
    metrics: Metrics,
    counter: AtomicU64,
    pace: Mutex<Pace>,
    /// Oldest first.
    transfers: Mutex<VecDeque<Progress>>,
}

/// No transfer of this id is under way here to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotChanged {
    /// There is none of this id.
    #[error("there is no such transfer")]
    Unknown,
    /// It ended, or is received by another replica, which is to be asked.
    #[error("this replica does not receive it, or not any more")]
    NotReceiving,
}

impl Board {
    pub(in crate::peer) fn new(start: u64, clock: Clock, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            start,
            clock,
            metrics,
            counter: AtomicU64::new(0),
            pace: Mutex::default(),
            transfers: Mutex::default(),
        }))
    }

    /// At which pace transfers begin.
    pub fn set_default_pace(&self, bytes_per_second: Option<u64>) {
        self.0.pace.lock().expect(UNBROKEN).bytes_per_second = bytes_per_second;
    }

    /// The transfers under way and those that ended lately, newest first.
    pub fn list(&self) -> Vec<TransferInfo> {
        self.lock().iter().rev().map(Progress::shown).collect()
    }

    /// One transfer.
    pub fn get(&self, id: &str) -> Option<TransferInfo> {
        self.find(id).map(|progress| progress.shown())
    }

    /// Changes how fast a transfer goes that this replica receives.
    pub fn turn(&self, id: &str, turn: impl FnOnce(&mut Pace)) -> Result<TransferInfo, NotChanged> {
        let progress = self.find(id).ok_or(NotChanged::Unknown)?;
        if progress.0.direction != TransferDirection::Receiving || progress.is_over() {
            return Err(NotChanged::NotReceiving);
        }
        progress.0.pace.send_modify(turn);
        Ok(progress.shown())
    }

    /// The first entry of those whose state is offered now and that the journal is to keep what follows of.
    pub fn pinned(&self) -> Option<EntryIndex> {
        self.pinned_at(self.0.clock.now())
    }

    fn pinned_at(&self, now: Instant) -> Option<EntryIndex> {
        let transfers = self.lock();
        let pinned = transfers.iter().filter(|progress| progress.is_pinned(now));
        pinned.map(|progress| progress.0.base).min()
    }

    /// Puts a new transfer on the board.
    pub(super) fn begin(
        &self,
        direction: TransferDirection,
        peer: ReplicaId,
        entry: EntryIndex,
    ) -> Progress {
        let number = self.0.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.0.clock.now();
        let facts = Facts {
            peer,
            stage: TransferStage::Offered,
            total: None,
            done: 0,
            samples: VecDeque::from([(now, 0)]),
            moved: now,
            waits_for: None,
            failure: None,
            sources: BTreeMap::new(),
            ended: None,
        };
        let progress = Progress(Arc::new(Entry {
            id: format!("{}-{number}", self.0.start),
            direction,
            base: entry,
            began: now,
            started: Timestamp::new(self.0.clock.wall_millis()),
            pace: watch::Sender::new(*self.0.pace.lock().expect(UNBROKEN)),
            facts: Mutex::new(facts),
            clock: self.0.clock.clone(),
            metrics: self.0.metrics.clone(),
        }));
        let mut transfers = self.lock();
        transfers.push_back(progress.clone());
        let ended = transfers.iter().filter(|progress| progress.is_over()).count();
        if ended > ENDED_MAX
            && let Some(oldest) = transfers.iter().position(Progress::is_over)
        {
            transfers.remove(oldest);
        }
        self.0.metrics.transfer_begun(name(direction));
        progress
    }

    fn find(&self, id: &str) -> Option<Progress> {
        self.lock().iter().find(|progress| progress.0.id == id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Progress>> {
        self.0.transfers.lock().expect(UNBROKEN)
    }
}

const UNBROKEN: &str = "no holder of this lock panicked";

fn name(direction: TransferDirection) -> &'static str {
    match direction {
        TransferDirection::Receiving => "receiving",
        TransferDirection::Offering => "offering",
    }
}

/// One transfer on the board. A clone is the same one.
#[derive(Clone)]
pub(super) struct Progress(Arc<Entry>);

struct Entry {
    id: String,
    direction: TransferDirection,
    base: EntryIndex,
    began: Instant,
    started: Timestamp,
    pace: watch::Sender<Pace>,
    facts: Mutex<Facts>,
    clock: Clock,
    metrics: Metrics,
}

/// What changes.
struct Facts {
    /// Who offers it, or takes it.
    peer: ReplicaId,
    stage: TransferStage,
    total: Option<u64>,
    done: u64,
    /// How much had come when, from when it is fetched on. What came is told sooner than what is done.
    samples: VecDeque<(Instant, u64)>,
    /// When it last got on.
    moved: Instant,
    waits_for: Option<String>,
    failure: Option<String>,
    sources: BTreeMap<ReplicaId, Supply>,
    ended: Option<Timestamp>,
}

/// What came from one replica.
#[derive(Debug, Clone, Default)]
struct Supply {
    bytes: u64,
    in_flight: u32,
    left_out: Option<String>,
}

impl Progress {
    /// What an operator turns.
    pub(super) fn pace(&self) -> watch::Receiver<Pace> {
        self.0.pace.subscribe()
    }

    /// Another leader offers it now.
    pub(super) fn set_peer(&self, peer: ReplicaId) {
        self.change(|facts| facts.peer = peer);
    }

    /// It is so far.
    pub(super) fn set_stage(&self, stage: TransferStage) {
        let now = self.0.clock.now();
        self.change(|facts| {
            facts.waits_for = None;
            if stage > facts.stage {
                facts.stage = stage;
                facts.samples = VecDeque::from([(now, facts.come())]);
            }
        });
    }

    /// So many bytes are to be fetched; told once.
    pub(super) fn set_total(&self, bytes: u64) {
        self.change(|facts| {
            facts.total.get_or_insert(bytes);
        });
    }

    /// So many bytes more are here.
    pub(super) fn add_done(&self, bytes: u64) {
        let done = self.facts().done + bytes;
        self.set_done(done);
        self.0.metrics.transfer_fetched(bytes);
    }

    /// So many bytes are here, as the one says who fetches them.
    pub(super) fn set_done(&self, done: u64) {
        self.set_done_at(done, self.0.clock.now());
    }

    fn set_done_at(&self, done: u64, now: Instant) {
        let mut facts = self.facts();
        // An estimate that was too low must not make it look finished before it is.
        let done = done.min(facts.total.unwrap_or(u64::MAX));
        if done <= facts.done {
            return;
        }
        facts.done = done;
        facts.moved = now;
        facts.waits_for = None;
        facts.sample(now);
    }

    /// Something else holds it up.
    pub(super) fn set_waits_for(&self, what: String) {
        self.change(|facts| facts.waits_for = Some(what));
    }

    /// A replica was asked.
    pub(super) fn asked(&self, source: ReplicaId) {
        self.change(|facts| facts.sources.entry(source).or_default().in_flight += 1);
    }

    /// It answered, or did not in time.
    pub(super) fn answered(&self, source: ReplicaId) {
        self.change(|facts| {
            let supply = facts.sources.entry(source).or_default();
            supply.in_flight = supply.in_flight.saturating_sub(1);
        });
    }

    /// So many bytes came from it.
    pub(super) fn supplied(&self, source: ReplicaId, bytes: u64) {
        let now = self.0.clock.now();
        self.change(|facts| {
            facts.sources.entry(source).or_default().bytes += bytes;
            facts.sample(now);
        });
    }

    /// A replica is not asked any more for now, or is again.
    pub(super) fn set_left_out(&self, source: ReplicaId, reason: Option<String>) {
        self.change(|facts| facts.sources.entry(source).or_default().left_out = reason);
    }

    /// The end.
    pub(super) fn end(&self, failure: Option<String>) {
        let ended = Timestamp::new(self.0.clock.wall_millis());
        let mut facts = self.facts();
        if facts.ended.is_some() {
            return;
        }
        facts.ended = Some(ended);
        facts.waits_for = None;
        facts.stage = if failure.is_some() { TransferStage::Failed } else { TransferStage::Done };
        self.0.metrics.transfer_ended(name(self.0.direction), failure.is_none());
        facts.failure = failure;
    }

    /// Whether it waits for others, and does not look at what is here.
    pub(super) fn is_waiting(&self) -> bool {
        let facts = self.facts();
        facts.waits_for.is_some() || facts.sources.values().any(|supply| supply.in_flight > 0)
    }

    /// When it last got on.
    pub(super) fn moved(&self) -> Instant {
        self.facts().moved
    }

    /// What holds it up.
    pub(super) fn waits_for(&self) -> Option<String> {
        self.shown().waits_for
    }

    /// Bytes in all, and bytes done.
    pub(super) fn figures(&self) -> (u64, u64) {
        let facts = self.facts();
        (facts.total.unwrap_or(0), facts.done)
    }

    fn is_over(&self) -> bool {
        self.facts().ended.is_some()
    }

    fn is_pinned(&self, now: Instant) -> bool {
        let facts = self.facts();
        let is_young = now.saturating_duration_since(self.0.began) < PINNED;
        // Whoever was not heard yet is perhaps not there at all.
        let is_wanted = match facts.stage {
            TransferStage::Installing => true,
            TransferStage::Comparing | TransferStage::Fetching => is_young,
            TransferStage::Offered | TransferStage::Done | TransferStage::Failed => false,
        };
        self.0.direction == TransferDirection::Offering && facts.ended.is_none() && is_wanted
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts());
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.facts.lock().expect(UNBROKEN)
    }

    fn shown(&self) -> TransferInfo {
        self.shown_at(self.0.clock.now())
    }

    fn shown_at(&self, now: Instant) -> TransferInfo {
        let entry = &*self.0;
        let facts = self.facts();
        let pace = *entry.pace.borrow();
        let is_under_way = facts.ended.is_none();
        let rate = if is_under_way { facts.rate(now) } else { 0 };
        let left = facts.total.map(|total| total.saturating_sub(facts.done));
        let waits_for = || facts.waits_for(now, pace);
        let sources = facts.sources.iter().map(|(replica, supply)| TransferSource {
            replica: *replica,
            bytes: supply.bytes,
            in_flight: supply.in_flight,
            left_out: supply.left_out.clone(),
        });
        TransferInfo {
            id: entry.id.clone(),
            direction: entry.direction,
            peer: facts.peer,
            entry: entry.base,
            stage: facts.stage,
            bytes_total: facts.total,
            bytes_done: facts.done,
            bytes_per_second: rate,
            seconds_left: left.filter(|_| rate > 0).map(|left| left.div_ceil(rate)),
            waits_for: if is_under_way { waits_for() } else { None },
            failure: facts.failure.clone(),
            sources: sources.collect(),
            bytes_per_second_max: pace.bytes_per_second,
            is_paused: pace.is_paused,
            started: entry.started,
            ended: facts.ended,
        }
    }
}

impl Facts {
    /// Bytes that came from all sources; those done, where only these are told.
    fn come(&self) -> u64 {
        self.done.max(self.sources.values().map(|supply| supply.bytes).sum())
    }

    fn sample(&mut self, now: Instant) {
        let come = self.come();
        if self.samples.back().is_none_or(|(at, _)| now - *at >= SAMPLE_EVERY) {
            self.samples.push_back((now, come));
        }
        while self.samples.len() > 2 && now - self.samples[1].0 > RATE_SPAN {
            self.samples.pop_front();
        }
    }

    /// Bytes a second over the last while.
    fn rate(&self, now: Instant) -> u64 {
        let Some((since, come)) = self.samples.front() else { return 0 };
        let millis = u64::try_from((now - *since).as_millis()).unwrap_or(u64::MAX).max(1);
        (self.come() - come).saturating_mul(1000) / millis
    }

    fn waits_for(&self, now: Instant, pace: Pace) -> Option<String> {
        if pace.is_paused {
            return Some("an operator to resume it".to_owned());
        }
        if self.waits_for.is_some() {
            return self.waits_for.clone();
        }
        let heard = self.samples.back().map_or(self.moved, |(at, _)| self.moved.max(*at));
        if self.stage != TransferStage::Fetching || now - heard < SILENCE {
            return None;
        }
        let asked = self.sources.iter().filter(|(_, supply)| supply.in_flight > 0);
        let names: Vec<_> = asked.map(|(replica, _)| replica.to_string()).collect();
        if names.is_empty() {
            return pace.bytes_per_second.map(|_| "its speed limit".to_owned());
        }
        Some(format!("an answer of replica {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn board() -> Board {
        Board::new(3, Clock::standing_at(1_000), Metrics::new())
    }

    fn begin(board: &Board, direction: TransferDirection, entry: u64) -> Progress {
        board.begin(direction, ReplicaId::FIRST, EntryIndex::new(entry))
    }

    proptest! {
        #[test]
        fn progress_never_runs_backwards(steps in prop::collection::vec((0_u8..4, 0_u64..50), 1..60)) {
            let board = board();
            let progress = begin(&board, TransferDirection::Receiving, 9);
            let (mut last, mut total) = (board.list().remove(0), None);
            for (what, amount) in steps {
                match what {
                    0 => progress.add_done(amount),
                    1 => progress.set_done(amount),
                    2 => progress.set_total(amount),
                    _ => progress.set_stage([
                        TransferStage::Comparing,
                        TransferStage::Fetching,
                        TransferStage::Installing,
                    ][usize::try_from(amount % 3).unwrap()]),
                }
                let shown = board.list().remove(0);
                prop_assert!(shown.bytes_done >= last.bytes_done);
                prop_assert!(shown.stage >= last.stage);
                total = total.or(shown.bytes_total);
                prop_assert_eq!(shown.bytes_total, total);
                last = shown;
            }
        }
    }

    #[test]
    fn who_was_asked_and_does_not_answer_is_named_within_ten_seconds() {
        let board = board();
        let progress = begin(&board, TransferDirection::Receiving, 9);
        progress.set_stage(TransferStage::Fetching);
        progress.set_total(100);
        progress.asked(ReplicaId::FIRST);
        progress.add_done(10);
        assert_eq!(board.list()[0].waits_for, None);
        let later = board.0.clock.now() + Duration::from_secs(9);
        let named = progress.shown_at(later).waits_for;
        assert_eq!(named.as_deref(), Some("an answer of replica 1"));
        progress.answered(ReplicaId::FIRST);
        progress.set_done_at(20, later);
        assert_eq!(progress.shown_at(later).waits_for, None);
        let turned = board.turn(&board.list()[0].id, |pace| pace.is_paused = true).unwrap();
        assert_eq!(turned.waits_for.as_deref(), Some("an operator to resume it"));
    }

    #[test]
    fn the_time_left_is_what_the_last_ten_seconds_say() {
        let board = board();
        let progress = begin(&board, TransferDirection::Receiving, 9);
        progress.set_total(100_000);
        let began = board.0.clock.now();
        for tenth in 1..=300_u32 {
            progress
                .set_done_at(u64::from(tenth) * 100, began + Duration::from_millis(100) * tenth);
        }
        let shown = progress.shown_at(began + Duration::from_secs(30));
        assert_eq!(shown.bytes_done, 30_000);
        assert!((950..=1050).contains(&shown.bytes_per_second), "{}", shown.bytes_per_second);
        assert!((66..=74).contains(&shown.seconds_left.unwrap()), "{:?}", shown.seconds_left);
    }

    #[test]
    fn an_offer_keeps_the_journal_but_not_for_ever() {
        let board = board();
        begin(&board, TransferDirection::Receiving, 3);
        let (long, short) = (
            begin(&board, TransferDirection::Offering, 5),
            begin(&board, TransferDirection::Offering, 7),
        );
        assert_eq!(board.pinned(), None, "nobody has answered");
        long.set_stage(TransferStage::Fetching);
        short.set_stage(TransferStage::Fetching);
        assert_eq!(board.pinned(), Some(EntryIndex::new(5)));
        long.end(Some("the link broke".to_owned()));
        assert_eq!(board.pinned(), Some(EntryIndex::new(7)));
        let later = board.0.clock.now() + PINNED;
        assert_eq!(board.pinned_at(later), None, "it will have to come back for the rest");
        short.set_stage(TransferStage::Installing);
        assert_eq!(board.pinned_at(later), Some(EntryIndex::new(7)), "it goes on from there");
        short.end(None);
        assert_eq!(board.pinned_at(later), None);
    }

    #[test]
    fn those_that_ended_are_remembered_but_not_all() {
        let board = board();
        let under_way = begin(&board, TransferDirection::Receiving, 1);
        for entry in 0..100 {
            begin(&board, TransferDirection::Receiving, entry).end(None);
        }
        let list = board.list();
        assert!(list.len() <= ENDED_MAX + 3, "{}", list.len());
        assert_eq!(list.last().unwrap().id, under_way.0.id);
        assert_eq!(board.turn(&list[0].id, |_| {}), Err(NotChanged::NotReceiving));
        assert_eq!(board.turn("9-9", |_| {}), Err(NotChanged::Unknown));
    }
}
