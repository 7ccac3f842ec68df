//! Appends: admit, batch, propose, acknowledge.
//!
//! An append is acknowledged after its entry has been committed and applied here, so the positions
//! in the answer are final. If leadership is lost in between, the outcome is unknown and the error
//! says so; the producer's sequence makes a retry safe. What is refused here was never proposed.
//!
//! Not here: the order of records (the machine assigns it) and waiting readers (`follow`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use client::api::conditions::{Conditions, ProducerBatch};
use client::types::{Batch, LogName, OrderKey};
use tokio::sync::oneshot;

use super::Node;
use super::batcher::{Caller, Waiting};
use super::error::{AppendError, Unserved};
use super::permit::Permit;
use super::propose::NO_LEADER_RETRY;
use crate::machine::{AppendItem, AppendRetry, AppendTarget};
use crate::metrics::AppendOutcome;
#[cfg(quorate_bugs)]
use crate::world::bugs;

pub use crate::machine::{Appended, LogTarget};

/// Records of one append that are so small and bare that together they take no more than as many as are allowed may.
pub const BARE_RECORDS_MAX: usize = 1 << 16;
/// Too many appends are under way: one that found no room may be tried again after this time.
const OVERLOADED: AppendError = AppendError::Overloaded { retry_after: Duration::from_millis(200) };
/// After this time an append may be tried again that met a flusher behind its budget.
const LAGGING_RETRY: Duration = Duration::from_secs(1);
/// After this time an append may be tried again that met a full disk.
const DISK_FULL_RETRY: Duration = Duration::from_secs(2);

/// Records to be added to a log, all or none.
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// To which log.
    pub log: LogName,
    /// What must hold for it to happen, and what makes it safe to repeat.
    pub conditions: Conditions,
    /// The records; none only if it `seals`.
    pub batch: Option<Batch>,
    /// What the log's last order key must sort before.
    pub order_key: Option<OrderKey>,
    /// Whether the log takes nothing more after it.
    pub seals: bool,
}

impl AppendRequest {
    /// An append of records and no more.
    pub const fn of(log: LogName, conditions: Conditions, batch: Batch) -> Self {
        Self { log, conditions, batch: Some(batch), order_key: None, seals: false }
    }

    fn records(&self) -> u64 {
        self.batch.as_ref().map_or(0, |batch| u64::from(batch.count()))
    }

    fn bytes(&self) -> u64 {
        let bytes = self.batch.as_ref().map_or(0, Batch::bytes);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn item(self) -> AppendItem {
        let Self { log, conditions, batch, order_key, seals } = self;
        let target = AppendTarget { order_key, seals, ..target(log, conditions) };
        match batch {
            Some(batch) => AppendItem::encode(&target, &batch),
            None => AppendItem::encode_seal(&target),
        }
    }
}

impl Node {
    /// Adds the records to the log and answers with their positions.
    pub async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        let clock = &self.core.world.clock;
        let started = clock.now();
        let (records, bytes) = (request.records(), request.bytes());
        let result = self.admit_and_append(request).await;
        self.core.metrics.append_in_flight(self.core.appends.bytes());
        self.core.metrics.append_ended(outcome(&result), clock.since(started), records, bytes);
        result
    }

    /// Refuses an append of about so many bytes that this replica would not take now, whatever is in it, so that
    /// nobody reads it first. Where another replica leads, that one decides.
    pub fn expect_append(&self, bytes: u64) -> Result<(), AppendError> {
        if !self.core.leadership.borrow().here {
            return Ok(());
        }
        let expected = self.check_room().and_then(|()| {
            let has_room = self.core.appends.has_room(bytes);
            if has_room { Ok(()) } else { Err(OVERLOADED) }
        });
        if expected.is_err() {
            self.core.metrics.append_ended(AppendOutcome::Overloaded, Duration::ZERO, 0, 0);
        }
        expected
    }

    async fn admit_and_append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.check_request(&request)?;
        let permit = self.admit(request.batch.as_ref())?;
        match request.conditions.producer.clone() {
            None => self.enter(request, permit)?.await,
            // Boxed: every connection has room for one request at hand, and few of them wait for their turn.
            Some(numbered) => Box::pin(self.enter_in_turn(request, permit, numbered)).await,
        }
    }

    /// The same for a batch that a producer has numbered, after the one before it.
    async fn enter_in_turn(
        &self,
        request: AppendRequest,
        permit: Permit,
        numbered: ProducerBatch,
    ) -> Result<Appended, AppendError> {
        let (order, log) = (&self.core.order, request.log.clone());
        order.turn(&log, &numbered).await;
        let entered = self.enter(request, permit)?;
        order.entered(&log, &numbered);
        let result = entered.await;
        order.ended(&log, &numbered, &result);
        result
    }

    /// Hands an append over to be proposed. Ends when that is answered.
    fn enter(
        &self,
        request: AppendRequest,
        permit: Permit,
    ) -> Result<impl Future<Output = Result<Appended, AppendError>> + use<>, AppendError> {
        let admitted = self.core.world.clock.now();
        let item = request.item();
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting { item, caller: Caller { permit, admitted, answer } };
        self.core.queue.send(waiting).map_err(|_| Unserved::Stopping)?;
        // An answer that was dropped may stand for a command that was proposed.
        Ok(async { receiver.await.unwrap_or(Err(Unserved::Interrupted.into())) })
    }

    /// Refuses what this group never takes.
    fn check_request(&self, request: &AppendRequest) -> Result<(), AppendError> {
        if request.log.is_reserved() {
            return Err(AppendError::ReservedName);
        }
        let generation = request.conditions.generation;
        if generation.is_some_and(|generation| generation != self.generation()) {
            return Err(AppendError::OtherHistory);
        }
        request.batch.as_ref().map_or(Ok(()), |batch| self.check_batch(batch))
    }

    /// Refuses records that this group never takes.
    fn check_batch(&self, batch: &Batch) -> Result<(), AppendError> {
        let limits = &self.core.options.batch;
        if batch.body_bytes_max() > limits.record_bytes_max {
            let (bytes, max) = (batch.body_bytes_max(), limits.record_bytes_max);
            return Err(AppendError::RecordTooLarge { bytes, max });
        }
        if batch.bytes() > limits.bytes_max {
            return Err(AppendError::BatchTooLarge { bytes: batch.bytes(), max: limits.bytes_max });
        }
        let count = usize::try_from(batch.count()).unwrap_or(usize::MAX);
        let is_long = batch.run().len() > limits.run_bytes_max();
        if count > limits.records_max && (is_long || count > BARE_RECORDS_MAX) {
            return Err(AppendError::TooManyRecords { count, max: limits.records_max });
        }
        Ok(())
    }

    /// Refuses first records of a new log as it would refuse those of an append, and makes room for the rest.
    pub(super) fn admit_first(&self, batch: &Batch) -> Result<Permit, AppendError> {
        self.check_batch(batch)?;
        self.admit(Some(batch))
    }

    /// Refuses what this replica cannot take now, and makes room for the rest.
    fn admit(&self, batch: Option<&Batch>) -> Result<Permit, AppendError> {
        let core = &*self.core;
        self.check_leads()?;
        self.check_room()?;
        if core.pulse.still_for() >= core.stall_max() {
            return Err(Unserved::NoQuorum { retry_after: NO_LEADER_RETRY }.into());
        }
        let bytes = batch.map_or(0, |batch| batch.run().len());
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        core.appends.admit(bytes).ok_or(OVERLOADED)
    }

    /// Refuses while there is no room for what is appended, in memory behind the journal or on disk.
    fn check_room(&self) -> Result<(), AppendError> {
        let core = &*self.core;
        if core.state.is_lagging() {
            return Err(AppendError::FlusherLagging { retry_after: LAGGING_RETRY });
        }
        if core.disk.is_full() || core.are_disks_full.load(Ordering::Relaxed) {
            return Err(AppendError::DiskFull { retry_after: DISK_FULL_RETRY });
        }
        Ok(())
    }

    /// Refuses what only a leader can do, unless this replica leads.
    pub(super) fn check_leads(&self) -> Result<(), Unserved> {
        if self.is_stopping() {
            return Err(Unserved::Stopping);
        }
        let leadership = self.core.leadership.borrow();
        match leadership.leader {
            _ if leadership.here => Ok(()),
            Some(leader) if leader != self.replica() => {
                Err(Unserved::NotLeader { leader: Some(leader) })
            }
            Some(_) | None => Err(Unserved::NoLeader { retry_after: NO_LEADER_RETRY }),
        }
    }
}

fn target(name: LogName, conditions: Conditions) -> AppendTarget {
    // The cluster's history was compared before; a producer makes a key superfluous.
    let Conditions { tail, fence, log_id, generation: _, producer, key } = conditions;
    #[cfg(quorate_bugs)]
    let producer = producer.filter(|_| !bugs::is_planted(bugs::Bug::RetryTwice));
    let retry = match (producer, key) {
        (Some(batch), _) => {
            AppendRetry::Producer { id: batch.id, epoch: batch.epoch, sequence: batch.sequence }
        }
        (None, Some(key)) => AppendRetry::Key(key),
        (None, None) => AppendRetry::None,
    };
    let log = LogTarget { name, id: log_id };
    AppendTarget { log, expected_tail: tail, fence, retry, order_key: None, seals: false }
}

fn outcome(result: &Result<Appended, AppendError>) -> AppendOutcome {
    match result {
        Ok(Appended { replayed: false, .. }) => AppendOutcome::Acknowledged,
        Ok(_) => AppendOutcome::Replayed,
        Err(
            AppendError::Refused(_)
            | AppendError::RecordTooLarge { .. }
            | AppendError::BatchTooLarge { .. }
            | AppendError::TooManyRecords { .. }
            | AppendError::ReservedName
            | AppendError::OtherHistory,
        ) => AppendOutcome::Rejected,
        Err(
            AppendError::Overloaded { .. }
            | AppendError::FlusherLagging { .. }
            | AppendError::DiskFull { .. },
        ) => AppendOutcome::Overloaded,
        Err(AppendError::Unserved(Unserved::Interrupted)) => AppendOutcome::Interrupted,
        Err(AppendError::Unserved(
            Unserved::NotLeader { .. }
            | Unserved::NoLeader { .. }
            | Unserved::NoQuorum { .. }
            | Unserved::TimedOut { .. }
            | Unserved::Stopping,
        )) => AppendOutcome::Unavailable,
    }
}
