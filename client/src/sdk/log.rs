//! [`Log`]: append, read, and everything else that is done with one log.
//!
//! With retries on, a plain append travels as a batch of a producer that this handle keeps to
//! itself, so it is stored once however often it has to be sent. A producer's batches must arrive
//! in order, so each append under way has one of its own; one whose last batch has an unknown
//! outcome starts a new epoch, which also shuts out what may still be on its way.
//!
//! Not here: many appends at once (`producer`), under numbers of the caller's (`sequencer`), endless
//! reads (`follow`), places that are kept (`cursors`).

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use reqwest::Method;
use tokio::time::Instant;

use super::client::Client;
use super::consumer::ConsumerBuilder;
use super::error::{Error, Outcome};
use super::follow::Follow;
use super::kinds::{AppendError, LogError, ReadError};
use super::producer::ProducerBuilder;
use super::replicated::{ReplicatedBuilder, StateMachine};
use super::sequencer::Sequencer;
use super::transport::{Answer, Call, Effect};
use crate::api::conditions::{Conditions, ProducerBatch};
use crate::api::error::ErrorCode;
use crate::api::frame::{ReadFrame, append_frame};
use crate::api::header::AsOf;
use crate::api::logs::{
    Dropped, FenceBody, LogDescription, Sealed, Settings, SettingsPatch, TrimRequest,
};
use crate::api::reading::{ReadFrom, ReadQuery};
use crate::api::records::Appended;
use crate::api::resume::ResumeToken;
use crate::api::{header, media, paths};
use crate::types::{
    Batch, BatchLimits, CursorName, Epoch, Fence, Generation, LogId, LogName, LogSettings,
    NewRecord, Position, ProducerEpoch, ProducerId, Record, ReplicaId, Sequence,
};

/// Limits of a batch that the service could never take; its own are usually lower.
const LIMITS: BatchLimits = BatchLimits {
    records_max: 1_000_000,
    bytes_max: 1 << 30,
    record_bytes_max: 1 << 30,
    header_bytes_max: 1 << 20,
    headers_max: 1 << 15,
};

/// One log. Cheap to clone; clones share the producers that make appends safe to repeat.
///
/// ```no_run
/// # async fn run(quorate: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::api::reading::{ReadFrom, ReadQuery};
/// use quorate_client::types::{Batch, BatchLimits, LogSettings, NewRecord, ProducerEpoch};
///
/// let log = quorate.log("orders".parse()?);
/// let made = log.create(&LogSettings::default()).await?;
/// println!("{} is new: {}", log.name(), made.is_new);
///
/// log.append("one").await?;
/// let batch = Batch::new(&[NewRecord::new("two"), NewRecord::new("three")], &BatchLimits::default())?;
/// log.append_batch(&batch).await?; // both or none
///
/// let page = log.read(&ReadQuery::from(ReadFrom::First)).await?;
/// println!("{} records of {}", page.records.len(), page.tail);
/// // As long as the name means that log and no later one.
/// log.read_of(&ReadQuery::from(ReadFrom::Position(page.next)), Some(page.log_id)).await?;
///
/// println!("{:?}, next comes {}", log.describe().await?, log.tail().await?);
/// println!("{:?}", log.would_trim(page.next).await?);
/// log.trim(page.next).await?;
///
/// // Many records, an endless read, and a place that is kept:
/// let producer = log.producer().start();
/// producer.submit("four").await?;
/// let numbered = log.sequencer("feeder".parse()?, ProducerEpoch::new(1));
/// let mut records = log.follow(ReadFrom::Tail);
/// let billing = log.consumer("billing".parse()?).start().await?;
///
/// log.seal().await?;
/// println!("{:?}", log.would_delete().await?);
/// log.delete().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Log {
    client: Client,
    name: LogName,
    slots: Arc<Slots>,
}

impl Log {
    pub(super) fn new(client: Client, name: LogName) -> Self {
        Self { client, name, slots: Arc::new(Slots::new()) }
    }

    /// Its name.
    pub const fn name(&self) -> &LogName {
        &self.name
    }

    /// Appends one record.
    pub async fn append(&self, record: impl Into<NewRecord>) -> Result<Appended, AppendError> {
        let content = Content::of_record(record.into())?;
        self.append_safely(&content, &Conditions::default()).await
    }

    /// Appends a batch, all or nothing.
    pub async fn append_batch(&self, batch: &Batch) -> Result<Appended, AppendError> {
        self.append_safely(&Content::of_batch(batch), &Conditions::default()).await
    }

    /// Appends a batch under conditions. With retries on and neither producer nor key among the
    /// conditions, this handle adds a producer of its own.
    ///
    /// ```no_run
    /// # async fn run(
    /// #     log: quorate_client::Log,
    /// #     batch: quorate_client::types::Batch,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::AppendErrorKind;
    /// use quorate_client::api::conditions::Conditions;
    ///
    /// let tail = Some(log.tail().await?.into());
    /// let first = Conditions { tail, ..Conditions::default() };
    /// match log.append_with(&batch, &first).await {
    ///     Ok(appended) => println!("at {}", appended.first),
    ///     Err(error) if error.kind() == AppendErrorKind::TailDiffers => {
    ///         println!("somebody was faster: {:?}", error.actual().tail);
    ///     }
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn append_with(
        &self,
        batch: &Batch,
        conditions: &Conditions,
    ) -> Result<Appended, AppendError> {
        self.append_safely(&Content::of_batch(batch), conditions).await
    }

    async fn append_safely(
        &self,
        content: &Content,
        conditions: &Conditions,
    ) -> Result<Appended, AppendError> {
        if conditions.make_retries_safe() || !self.client.retry().is_on() {
            return self.append_once(content, conditions).await;
        }
        match self.append_in_slot(content, conditions).await {
            // The service has forgotten the producer, or it is not ours alone: another one will do.
            Err(error) if is_about_producer(&error) => {
                self.append_in_slot(content, conditions).await
            }
            answered => answered,
        }
    }

    async fn append_in_slot(
        &self,
        content: &Content,
        conditions: &Conditions,
    ) -> Result<Appended, AppendError> {
        let mut slot = Slot::take(&self.slots);
        let conditions = Conditions { producer: Some(slot.batch.clone()), ..conditions.clone() };
        // If this is dropped half-way, the outcome is unknown: so it is until the answer is there.
        slot.ending = Ending::StartAnew;
        let appended = self.append_once(content, &conditions).await;
        slot.ending = match &appended {
            Ok(_) => Ending::Stored,
            Err(error) if error.outcome() == Outcome::Unknown || is_about_producer(error) => {
                Ending::StartAnew
            }
            Err(_) => Ending::NotStored,
        };
        appended
    }

    /// Appends under exactly these conditions.
    pub(super) async fn append_once(
        &self,
        content: &Content,
        conditions: &Conditions,
    ) -> Result<Appended, AppendError> {
        self.append_until(content, conditions, None).await
    }

    /// The same, tried until then, or as long as the client's policy says.
    pub(super) async fn append_until(
        &self,
        content: &Content,
        conditions: &Conditions,
        until: Option<Instant>,
    ) -> Result<Appended, AppendError> {
        let is_safe = conditions.make_retries_safe();
        let effect = if is_safe { Effect::Repeatable } else { Effect::Once };
        let target = paths::records(&self.name);
        let mut call = self.change_call("append", Method::POST, target, effect);
        for (name, value) in conditions.to_headers() {
            call = call.header(name, &value)?;
        }
        let mut call = call.body(content.media_type, content.bytes.clone());
        if let Some(until) = until {
            call = call.until(until);
        }
        let answer = self.client.send(&call).await?;
        let mut appended: Appended = answer.json()?;
        appended.replayed = answer.text(header::IDEMPOTENCY_REPLAYED) == Some("true");
        Ok(appended)
    }

    /// The user's own state machine, whose commands this log holds: started with this state if nothing was ever done to
    /// it, which has to be the same in every process.
    pub fn replicated<S: StateMachine>(&self, initial: S) -> ReplicatedBuilder<S> {
        ReplicatedBuilder::new(self.clone(), initial)
    }

    /// Another log of the same service.
    pub(super) fn beside(&self, name: LogName) -> Self {
        self.client.log(name)
    }

    /// A producer: many records, in order, several batches of them under way at a time.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Batches under an id of the caller's, in this life of it, whose next batch is the first.
    pub fn sequencer(&self, id: ProducerId, epoch: ProducerEpoch) -> Sequencer {
        Sequencer::new(self.clone(), id, epoch)
    }

    /// Reads a bounded range.
    pub async fn read(&self, query: &ReadQuery) -> Result<Page, ReadError> {
        self.read_of(query, None).await
    }

    /// Reads a bounded range, if the name still means the log of this id.
    pub async fn read_of(&self, query: &ReadQuery, id: Option<LogId>) -> Result<Page, ReadError> {
        let target = format!("{}?{}", paths::records(&self.name), query.to_query());
        let mut call = self.read_call("read", target).header("accept", media::FRAMES)?;
        if let Some(id) = id {
            call = call.header(header::LOG_ID, &id.to_string())?;
        }
        let call = call.wait(query.wait.unwrap_or_default());
        Page::of(&self.client.send(&call).await?)
    }

    /// A follow that begins where the cursor of this name is, and moves it along.
    pub fn consumer(&self, name: CursorName) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), name)
    }

    /// An endless read that starts there.
    pub fn follow(&self, from: ReadFrom) -> Follow {
        Follow::new(self.clone(), from)
    }

    /// The log as it is now.
    pub async fn describe(&self) -> Result<LogDescription, LogError> {
        let call = self.read_call("describe", paths::log(&self.name));
        Ok(self.client.send(&call).await?.json()?)
    }

    /// The same, if the name still means the log of this id.
    pub(super) async fn describe_of(&self, id: LogId) -> Result<LogDescription, LogError> {
        let call = self.read_call("describe", paths::log(&self.name));
        let call = call.header(header::LOG_ID, &id.to_string())?;
        Ok(self.client.send(&call).await?.json()?)
    }

    /// The position the next record will get.
    pub async fn tail(&self) -> Result<Position, LogError> {
        Ok(self.describe().await?.tail)
    }

    /// Creates the log, or finds it there with the same settings.
    pub async fn create(&self, settings: &LogSettings) -> Result<Created, LogError> {
        let target = paths::log(&self.name);
        let call = self.change_call("create", Method::PUT, target, Effect::Repeatable);
        let answer = self.client.send(&call.json(&Settings::from(settings))).await?;
        Ok(Created { is_new: answer.status == 201, log: answer.json()? })
    }

    /// Changes what is set on the log. Not repeated if its outcome is unknown: somebody else may have
    /// changed the same since.
    ///
    /// ```no_run
    /// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::api::logs::SettingsPatch;
    ///
    /// log.configure(&SettingsPatch::default()).await?;
    /// log.set_fence(Some("worker-2".parse()?)).await?; // appends have to name it from now on
    /// # Ok(())
    /// # }
    /// ```
    pub async fn configure(&self, patch: &SettingsPatch) -> Result<LogDescription, LogError> {
        let target = paths::log(&self.name);
        let call = self.change_call("configure", Method::PATCH, target, Effect::Once);
        Ok(self.client.send(&call.json(patch)).await?.json()?)
    }

    /// Deletes the log and all its records. Not repeated if its outcome is unknown: the name may mean another
    /// log since.
    pub async fn delete(&self) -> Result<Dropped, LogError> {
        let target = paths::log(&self.name);
        let call = self.change_call("delete", Method::DELETE, target, Effect::Once);
        Ok(self.client.send(&call).await?.json()?)
    }

    /// What [`delete`](Self::delete) would do.
    pub async fn would_delete(&self) -> Result<Dropped, LogError> {
        let target = format!("{}?dry_run=true", paths::log(&self.name));
        let call = self.change_call("would_delete", Method::DELETE, target, Effect::None);
        Ok(self.client.send(&call).await?.json()?)
    }

    /// Drops the records before a position. Not repeated if its outcome is unknown: the name may mean
    /// another log since.
    pub async fn trim(&self, to: Position) -> Result<Dropped, LogError> {
        let target = paths::trim(&self.name);
        let call = self.change_call("trim", Method::POST, target, Effect::Once);
        Ok(self.client.send(&call.json(&TrimRequest { to })).await?.json()?)
    }

    /// The same, if the name still means the log of this id. So it may be repeated.
    pub(super) async fn trim_of(&self, id: LogId, to: Position) -> Result<Dropped, LogError> {
        let target = paths::trim(&self.name);
        let call = self.change_call("trim", Method::POST, target, Effect::Repeatable);
        let call = call.header(header::LOG_ID, &id.to_string())?;
        Ok(self.client.send(&call.json(&TrimRequest { to })).await?.json()?)
    }

    /// What [`trim`](Self::trim) would do.
    pub async fn would_trim(&self, to: Position) -> Result<Dropped, LogError> {
        let target = format!("{}?dry_run=true", paths::trim(&self.name));
        let call = self.change_call("would_trim", Method::POST, target, Effect::None);
        Ok(self.client.send(&call.json(&TrimRequest { to })).await?.json()?)
    }

    /// Ends the log: no more appends, ever.
    pub async fn seal(&self) -> Result<Sealed, LogError> {
        let target = paths::seal(&self.name);
        let call = self.change_call("seal", Method::POST, target, Effect::Repeatable);
        Ok(self.client.send(&call).await?.json()?)
    }

    /// Sets the log's fence, or takes it away.
    pub async fn set_fence(&self, fence: Option<Fence>) -> Result<(), LogError> {
        let target = paths::fence(&self.name);
        let call = self.change_call("set_fence", Method::PUT, target, Effect::Once);
        self.client.send(&call.json(&FenceBody { fence })).await?;
        Ok(())
    }

    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        self.client.send(call).await
    }

    pub(super) fn read_call(&self, operation: &'static str, target: String) -> Call {
        Call::read(operation, target).about(&self.name)
    }

    pub(super) fn change_call(
        &self,
        operation: &'static str,
        method: Method,
        target: String,
        effect: Effect,
    ) -> Call {
        Call::change(operation, method, target, effect).about(&self.name)
    }
}

/// What came of creating a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Whether it was not there before.
    pub is_new: bool,
    /// The log as it is now.
    pub log: LogDescription,
}

/// What a bounded read brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which log of the name.
    pub log_id: LogId,
    /// The first position that can be read at all.
    pub first: Position,
    /// Where to go on.
    pub next: Position,
    /// The log's tail as this answer saw it.
    pub tail: Position,
    /// Whether the log is sealed, so that nothing will come behind its tail.
    pub is_sealed: bool,
    /// The records, without a gap.
    pub records: Vec<Record>,
    /// Who answered.
    pub served_by: Option<ReplicaId>,
    /// The membership's epoch.
    pub epoch: Option<Epoch>,
    /// How fresh the answer is.
    pub as_of: Option<AsOf>,
    /// The cluster's generation: another one since a recovery, which may have lost records.
    pub generation: Option<Generation>,
}

impl Page {
    fn of(answer: &Answer) -> Result<Self, ReadError> {
        let next: Position = answer.needed(header::NEXT)?;
        let records = take_records(answer.body.clone(), next)
            .map_err(|reason| answer.misunderstood(reason))?;
        Ok(Self {
            log_id: answer.needed(header::LOG_ID)?,
            first: answer.needed(header::FIRST)?,
            next,
            tail: answer.needed(header::TAIL)?,
            is_sealed: answer.text(header::SEALED) == Some("true"),
            records,
            served_by: answer.parsed(header::SERVED_BY),
            epoch: answer.parsed(header::EPOCH),
            as_of: answer.parsed(header::AS_OF),
            generation: answer.text("etag").and_then(ResumeToken::of_tag).map(|it| it.generation),
        })
    }
}

/// Takes the frames of a body apart, and makes sure that no record is missing between or behind.
fn take_records(mut body: Bytes, next: Position) -> Result<Vec<Record>, String> {
    let mut records: Vec<Record> = Vec::new();
    while let Some(frame) = ReadFrame::take(&mut body).map_err(|error| error.to_string())? {
        if let Some(last) = records.last()
            && last.position.checked_advance(1) != Some(frame.first())
        {
            return Err(format!("after {} comes {}", last.position, frame.first()));
        }
        for record in frame.records() {
            records.push(record.map_err(|error| error.to_string())?);
        }
    }
    match records.last() {
        Some(last) if last.position.checked_advance(1) != Some(next) => {
            Err(format!("after {} comes {next}", last.position))
        }
        _ => Ok(records),
    }
}

/// What an append sends.
#[derive(Clone, Debug)]
pub(super) struct Content {
    media_type: &'static str,
    bytes: Bytes,
}

impl Content {
    pub(super) fn of_batch(batch: &Batch) -> Self {
        Self::of_frame(append_frame(batch))
    }

    pub(super) const fn of_frame(bytes: Bytes) -> Self {
        Self { media_type: media::FRAMES, bytes }
    }

    /// A record without headers travels as it is.
    fn of_record(record: NewRecord) -> Result<Self, AppendError> {
        if record.headers.is_empty() {
            return Ok(Self { media_type: media::BYTES, bytes: record.body });
        }
        let batch = Batch::single(&record, &LIMITS);
        Ok(Self::of_batch(&batch.map_err(|error| Error::usage(error.to_string()))?))
    }
}

/// Whether a refusal certainly stored nothing and only concerns the producer that was used.
fn is_about_producer(error: &AppendError) -> bool {
    let is_about = matches!(
        error.code(),
        Some(ErrorCode::SequenceGap | ErrorCode::SequenceBodyDiffers | ErrorCode::ProducerEpochOld)
    );
    is_about && error.outcome() == Outcome::NotDone
}

/// The producers of one [`Log`] that no append uses at the moment.
#[derive(Debug)]
struct Slots {
    state: Mutex<SlotsState>,
}

#[derive(Debug)]
struct SlotsState {
    /// What all ids of this handle start with; drawn at first use.
    prefix: Option<String>,
    made: u32,
    free: Vec<ProducerBatch>,
}

impl Slots {
    const fn new() -> Self {
        Self { state: Mutex::new(SlotsState { prefix: None, made: 0, free: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, SlotsState> {
        self.state.lock().expect("nothing panics while it holds the producers")
    }
}

impl SlotsState {
    fn next(&mut self) -> ProducerBatch {
        if let Some(batch) = self.free.pop() {
            return batch;
        }
        let prefix = self.prefix.get_or_insert_with(|| {
            let random = getrandom::u64().expect("the system gives random numbers");
            format!("sdk-{random:016x}")
        });
        let id = ProducerId::new(&format!("{prefix}-{}", self.made));
        self.made += 1;
        ProducerBatch {
            id: id.expect("a short text of letters is an id"),
            epoch: ProducerEpoch::new(0),
            sequence: Sequence::ZERO,
        }
    }
}

/// A producer in use by one append. Goes back when dropped.
#[derive(Debug)]
struct Slot {
    slots: Arc<Slots>,
    batch: ProducerBatch,
    ending: Ending,
}

/// How the batch of a [`Slot`] ended, and so how its producer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// With the next sequence.
    Stored,
    /// With the same sequence.
    NotStored,
    /// With a new epoch, because it is not known which sequence is expected.
    StartAnew,
}

impl Slot {
    fn take(slots: &Arc<Slots>) -> Self {
        let batch = slots.lock().next();
        Self { slots: Arc::clone(slots), batch, ending: Ending::NotStored }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut batch = self.batch.clone();
        match self.ending {
            Ending::Stored => batch.sequence = batch.sequence.next(),
            Ending::NotStored => {}
            Ending::StartAnew => {
                batch.epoch = ProducerEpoch::new(batch.epoch.get() + 1);
                batch.sequence = Sequence::ZERO;
            }
        }
        self.slots.lock().free.push(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_under_way_together_have_producers_of_their_own() {
        let slots = Arc::new(Slots::new());
        let (one, two) = (Slot::take(&slots), Slot::take(&slots));
        assert_ne!(one.batch.id, two.batch.id);
    }

    #[test]
    fn a_producer_goes_on_as_its_last_batch_demands() {
        let slots = Arc::new(Slots::new());
        let used = |ending| {
            let mut slot = Slot::take(&slots);
            slot.ending = ending;
            (slot.batch.epoch.get(), slot.batch.sequence.get())
        };
        assert_eq!(used(Ending::Stored), (0, 0));
        assert_eq!(used(Ending::NotStored), (0, 1));
        assert_eq!(used(Ending::StartAnew), (0, 1));
        assert_eq!(used(Ending::Stored), (1, 0));
        assert_eq!(used(Ending::Stored), (1, 1));
    }
}
