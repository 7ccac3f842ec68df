//! [`Sequencer`]: appends under an id, an epoch and a sequence of the caller's.
//!
//! Batches are numbered from 0 and sent one after the other. A batch whose outcome is unknown stays
//! with the producer: it is sent again, the same bytes under the same number, before any other, so
//! it is stored once and in its place.
//!
//! For those who keep books of their own: which number each batch has, and what became of it. Everybody
//! else takes a `Producer`, which does so by itself.
//!
//! Not here: several batches under way at once (`producer`).

use super::error::{Error, Outcome};
use super::kinds::AppendError;
use super::log::{Content, Log};
use crate::api::conditions::{Conditions, ProducerBatch};
use crate::api::error::ErrorCode;
use crate::api::records::Appended;
use crate::types::{Batch, ProducerEpoch, ProducerId, Sequence};

/// Appends to one log as one life of one producer, under numbers that the caller can see.
///
/// ```no_run
/// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::types::{Batch, BatchLimits, NewRecord, ProducerEpoch};
///
/// let mut feeder = log.sequencer("feeder".parse()?, ProducerEpoch::new(1));
/// let batch = Batch::single(&NewRecord::new("hello"), &BatchLimits::default())?;
/// if feeder.append(batch).await.is_err() {
///     // The same bytes under the same number: stored once.
///     println!("{:?} of {} in {}", feeder.pending(), feeder.id(), feeder.epoch());
///     feeder.resend().await?;
/// }
/// println!("the next one is {}", feeder.next_sequence());
///
/// // Another process of the same id, which has kept its own books.
/// let later = log.sequencer("feeder".parse()?, ProducerEpoch::new(1)).starting_at(feeder.next_sequence());
/// let batch = Batch::single(&NewRecord::new("again"), &BatchLimits::default())?;
/// later.append_at(feeder.next_sequence(), &batch).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sequencer {
    log: Log,
    id: ProducerId,
    epoch: ProducerEpoch,
    next: Sequence,
    pending: Option<Batch>,
}

impl Sequencer {
    pub(super) const fn new(log: Log, id: ProducerId, epoch: ProducerEpoch) -> Self {
        Self { log, id, epoch, next: Sequence::ZERO, pending: None }
    }

    /// The same producer, going on at a sequence that it remembers.
    #[must_use]
    pub const fn starting_at(mut self, next: Sequence) -> Self {
        self.next = next;
        self
    }

    /// Who it is.
    pub const fn id(&self) -> &ProducerId {
        &self.id
    }

    /// Which life of it.
    pub const fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// The number of the next batch; of the pending one, if there is one.
    pub const fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// The batch whose outcome is unknown.
    pub const fn pending(&self) -> Option<&Batch> {
        self.pending.as_ref()
    }

    /// Appends the next batch. Refused while a batch is pending: [`resend`](Self::resend) it first.
    pub async fn append(&mut self, batch: Batch) -> Result<Appended, AppendError> {
        if self.pending.is_some() {
            return Err(
                Error::usage("the outcome of the last batch is unknown: resend it first").into()
            );
        }
        // Pending at once: if this call is dropped half-way, the batch may have been stored.
        self.pending = Some(batch.clone());
        let appended = self.append_at(self.next, &batch).await;
        self.settle(appended.as_ref().err().map(AppendError::outcome));
        appended
    }

    /// Sends the pending batch again; there is nothing to do if there is none.
    ///
    /// Only the answer that it is stored settles it, be it with the positions or with
    /// `sequence_forgotten`: whatever else is said to this attempt, the one before may still be
    /// stored. A producer that cannot be settled is given up for one with a higher epoch.
    pub async fn resend(&mut self) -> Result<Option<Appended>, AppendError> {
        let Some(batch) = self.pending.clone() else { return Ok(None) };
        match self.append_at(self.next, &batch).await {
            Ok(appended) => {
                self.settle(None);
                Ok(Some(appended))
            }
            Err(mut error) => {
                if error.code() == Some(ErrorCode::SequenceForgotten) {
                    self.settle(None);
                }
                error.outcome = Outcome::Unknown;
                Err(error)
            }
        }
    }

    /// Appends a batch under any sequence, whatever came before: for tests and tools.
    pub async fn append_at(
        &self,
        sequence: Sequence,
        batch: &Batch,
    ) -> Result<Appended, AppendError> {
        let producer = ProducerBatch { id: self.id.clone(), epoch: self.epoch, sequence };
        let conditions = Conditions { producer: Some(producer), ..Conditions::default() };
        self.log.append_once(&Content::of_batch(batch), &conditions).await
    }

    fn settle(&mut self, failed: Option<Outcome>) {
        match failed {
            None => {
                self.pending = None;
                self.next = self.next.next();
            }
            Some(Outcome::NotDone) => self.pending = None,
            Some(Outcome::Unknown) => {}
        }
    }
}
