//! Where records enter: they are counted in, put into batches in the order of their coming, and wait
//! there to be fetched.
//!
//! What has entered and is not settled is bounded in bytes; whoever comes when it is full waits in
//! line. A batch goes when it is full, when nothing is under way, when its first record has waited
//! long enough, or when somebody wants everything to go.
//!
//! Not here: what happens to a batch that was fetched (`courier`).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::error::{ProduceError, ProduceFailure};
use super::ticket::{Fate, Ticket, Verdict, fate};
use crate::sdk::error::Outcome;
use crate::sdk::retry::moment;
use crate::types::{Batch, BatchBuilder, BatchLimits, NewRecord};

/// What a record takes up beside its bytes.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// How records are gathered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathering {
    pub(super) limits: BatchLimits,
    pub(super) linger: Duration,
    pub(super) bytes_max: u32,
}

/// A batch that is ready to go.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) batch: Batch,
    pub(super) seal: oneshot::Sender<Verdict>,
    /// How much of the room it takes up.
    pub(super) cost: usize,
}

/// What there is to fetch.
#[derive(Debug)]
pub(super) enum Next {
    Parcel(Parcel),
    /// Something that waits for more until then.
    Later(Instant),
    /// Nothing at the moment.
    Nothing,
    /// Nothing any more.
    Over,
}

/// Where records enter.
#[derive(Debug)]
pub(super) struct Gate {
    gathering: Gathering,
    room: Semaphore,
    waiting: Mutex<Waiting>,
    /// There is something to fetch, or there will be at another time.
    pub(super) news: Notify,
    /// How many batches are settled, from the first on.
    settled: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    open: Option<Open>,
    ready: VecDeque<Parcel>,
    /// How many batches were begun.
    begun: u64,
    /// Somebody wants everything to go.
    is_urgent: bool,
    /// Why nothing enters any more.
    end: Option<ProduceError>,
    run_bytes: usize,
}

/// A batch in the making.
#[derive(Debug)]
struct Open {
    builder: BatchBuilder,
    seal: oneshot::Sender<Verdict>,
    fate: Fate,
    cost: usize,
    since: Instant,
}

impl Gate {
    pub(super) fn new(gathering: Gathering) -> Self {
        Self {
            room: Semaphore::new(usize::try_from(gathering.bytes_max).unwrap_or(usize::MAX)),
            gathering,
            waiting: Mutex::default(),
            news: Notify::new(),
            settled: watch::Sender::new(0),
        }
    }

    /// Takes a record in as soon as there is room.
    pub(super) async fn enter(&self, record: &NewRecord) -> Result<Ticket, ProduceError> {
        let bytes = record.bytes().saturating_add(RECORD_OVERHEAD_BYTES);
        // One that is larger than all the room there is goes alone.
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.gathering.bytes_max);
        let Ok(room) = self.room.acquire_many(cost).await else { return Err(self.ended()) };
        let ticket = self.put(record, usize::try_from(cost).unwrap_or(usize::MAX))?;
        // It is given back when the batch is settled.
        room.forget();
        Ok(ticket)
    }

    fn put(&self, record: &NewRecord, cost: usize) -> Result<Ticket, ProduceError> {
        let mut waiting = self.waiting();
        if let Some(end) = &waiting.end {
            return Err(end.clone());
        }
        if waiting.open.as_ref().is_some_and(|open| !open.builder.has_room(record.bytes())) {
            waiting.close();
            self.news.notify_one();
        }
        let refused = |error| ProduceError::new(ProduceFailure::Record(error), Outcome::NotDone);
        if let Some(open) = &mut waiting.open {
            open.builder.push(record).map_err(refused)?;
            open.cost += cost;
            return Ok(Ticket::new(open.fate.clone(), open.builder.count() - 1));
        }
        let run_bytes = waiting.run_bytes;
        let mut builder = BatchBuilder::with_capacity(self.gathering.limits, run_bytes);
        builder.push(record).map_err(refused)?;
        let (seal, fate) = fate();
        let ticket = Ticket::new(fate.clone(), 0);
        waiting.open = Some(Open { builder, seal, fate, cost, since: Instant::now() });
        waiting.begun += 1;
        self.news.notify_one();
        Ok(ticket)
    }

    /// What is to go next. If nothing is under way, nothing waits for more.
    pub(super) fn fetch(&self, is_idle: bool) -> Next {
        let mut waiting = self.waiting();
        if let Some(parcel) = waiting.ready.pop_front() {
            return Next::Parcel(parcel);
        }
        let Some(open) = &waiting.open else {
            return if waiting.end.is_some() { Next::Over } else { Next::Nothing };
        };
        let later = moment(open.since, self.gathering.linger);
        let is_wanted = is_idle || waiting.is_urgent || waiting.end.is_some();
        if !is_wanted && Instant::now() < later {
            return Next::Later(later);
        }
        waiting.close();
        waiting.ready.pop_front().map_or(Next::Nothing, Next::Parcel)
    }

    /// So many batches of this cost have been settled.
    pub(super) fn settle(&self, batches: u64, cost: usize) {
        self.room.add_permits(cost);
        self.settled.send_modify(|settled| *settled += batches);
    }

    /// Everything that has entered goes at once. Waits until it is settled.
    pub(super) async fn flush(&self) -> Result<(), ProduceError> {
        let wanted = {
            let mut waiting = self.waiting();
            waiting.is_urgent = waiting.open.is_some();
            waiting.begun
        };
        self.news.notify_one();
        let mut settled = self.settled.subscribe();
        // The sender lives as long as this gate.
        settled.wait_for(|settled| *settled >= wanted).await.ok();
        match &self.waiting().end {
            Some(end) if !matches!(end.failure(), ProduceFailure::Closed) => Err(end.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing enters any more; what has entered goes.
    pub(super) fn close(&self) {
        let closed = ProduceError::new(ProduceFailure::Closed, Outcome::NotDone);
        self.waiting().end.get_or_insert(closed);
        self.room.close();
        self.news.notify_one();
    }

    /// Nothing enters any more, and what was not fetched yet fails for this reason.
    pub(super) fn fail(&self, why: &ProduceError) {
        let behind = why.behind(Outcome::NotDone);
        let mut waiting = self.waiting();
        waiting.close();
        let ready = std::mem::take(&mut waiting.ready);
        waiting.end = Some(behind.clone());
        let begun = waiting.begun;
        drop(waiting);
        for parcel in ready {
            // Nobody need wait for it.
            parcel.seal.send(Err(behind.clone())).ok();
        }
        self.room.close();
        self.settled.send_replace(begun);
    }

    fn ended(&self) -> ProduceError {
        let closed = || ProduceError::new(ProduceFailure::Closed, Outcome::NotDone);
        self.waiting().end.clone().unwrap_or_else(closed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds the records")
    }
}

impl Waiting {
    /// What is open is ready.
    fn close(&mut self) {
        let Some(Open { builder, seal, fate: _, cost, since: _ }) = self.open.take() else {
            return;
        };
        let batch = builder.finish().expect("a batch is opened with its first record");
        self.run_bytes = batch.run().len();
        self.is_urgent = false;
        self.ready.push_back(Parcel { batch, seal, cost });
    }
}
