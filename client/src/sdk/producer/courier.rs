//! The task behind a producer: fetches batches, sends several at a time, and acts on the answers.
//!
//! Each send tries again by itself, as every call of the client does; what comes back from one is
//! final for it, and the lane says what that means for the batch.
//!
//! Not here: what an answer means (`lane`), when a batch is ready (`gate`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::error::{ProduceError, ProduceFailure};
use super::gate::{Gate, Next};
use super::lane::{Lane, Send, Step};
use super::ticket::Stored;
use crate::api::conditions::{Conditions, ProducerBatch};
use crate::api::error::ErrorCode;
use crate::api::records::Appended;
use crate::sdk::error::{Error, Outcome};
use crate::sdk::kinds::AppendError;
use crate::sdk::log::{Content, Log};
use crate::sdk::retry::moment;
use crate::types::{
    Batch, BatchLimits, Fence, LogId, NewRecord, ProducerEpoch, ProducerId, Sequence,
};

/// An epoch is drawn from so many above the current one, so that two who claim an id at the same time
/// do not claim the same.
const CLAIM_SPREAD: u64 = 1 << 20;
/// A number that no batch will ever have: asking under it stores nothing, and tells the epoch.
const NEVER: Sequence = Sequence::new(u64::MAX);

type Answer = (Sequence, Result<Stored, AppendError>);

/// The task behind a producer.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) log: Log,
    /// Which log of the name, if not whichever has it when the first batch is stored.
    pub(super) log_id: Option<LogId>,
    pub(super) id: ProducerId,
    /// The epoch to begin with; claimed if the id may have been used before.
    pub(super) epoch: Option<ProducerEpoch>,
    pub(super) fence: Option<Fence>,
    pub(super) in_flight_max: usize,
    pub(super) deadline: Duration,
    pub(super) gate: Arc<Gate>,
}

impl Courier {
    /// Runs until the producer is closed and everything is settled, or until it fails.
    pub(super) async fn run(self) {
        if let Err(why) = self.carry().await {
            tracing::debug!(id = %self.id, log = %self.log.name(), %why, "a producer ended");
            self.gate.fail(&why);
        }
    }

    async fn carry(&self) -> Result<(), ProduceError> {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.claim().await?,
        };
        let mut lane = Lane::new(epoch);
        let mut log_id = self.log_id;
        let mut sends: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        loop {
            let mut wake = None;
            while lane.len() < self.in_flight_max && lane.is_open() {
                match self.gate.fetch(lane.len() == 0) {
                    Next::Parcel(parcel) => {
                        let send = lane.add(parcel, moment(Instant::now(), self.deadline));
                        sends.push(Box::pin(self.send(send, lane.epoch, log_id)));
                    }
                    Next::Later(at) => {
                        wake = Some(at);
                        break;
                    }
                    Next::Over if lane.len() == 0 => return Ok(()),
                    Next::Nothing | Next::Over => break,
                }
            }
            let (sequence, answer) = tokio::select! {
                biased;
                Some(answered) = sends.next(), if !sends.is_empty() => answered,
                () = self.gate.news.notified() => continue,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => continue,
            };
            let step = match answer {
                Ok(stored) => {
                    // From now on the name has to mean this log.
                    log_id = Some(stored.log_id);
                    lane.stored(sequence, stored)
                }
                Err(error) => lane.refused(sequence, error),
            };
            let again = match step {
                Step::GoOn { sends: again, settled, cost } => {
                    if settled > 0 {
                        self.gate.settle(settled, cost);
                    }
                    again
                }
                Step::StartAnew(all) => {
                    tracing::debug!(id = %self.id, epoch = %lane.epoch, "a producer starts anew");
                    sends.clear();
                    all
                }
                Step::Fail(why) => return Err(why),
            };
            for send in again {
                sends.push(Box::pin(self.send(send, lane.epoch, log_id)));
            }
        }
    }

    async fn send(&self, send: Send, epoch: ProducerEpoch, log_id: Option<LogId>) -> Answer {
        let Send { sequence, frame, until } = send;
        let producer = ProducerBatch { id: self.id.clone(), epoch, sequence };
        let conditions = Conditions {
            producer: Some(producer),
            fence: self.fence.clone(),
            log_id,
            ..Conditions::default()
        };
        let content = Content::of_frame(frame);
        let appended = self.log.append_until(&content, &conditions, Some(until)).await;
        let stored = |at: Appended| Stored { position: at.first, time: at.time, log_id: at.log_id };
        (sequence, appended.map(stored))
    }

    /// An epoch above the one in which the id was used last. It is taken with the first batch.
    async fn claim(&self) -> Result<ProducerEpoch, ProduceError> {
        let question = Batch::single(&NewRecord::default(), &BatchLimits::default());
        let question = Content::of_batch(&question.expect("an empty record is in every limit"));
        let producer =
            ProducerBatch { id: self.id.clone(), epoch: ProducerEpoch::new(0), sequence: NEVER };
        let conditions = Conditions { producer: Some(producer), ..Conditions::default() };
        let until = moment(Instant::now(), self.deadline);
        let current = match self.log.append_until(&question, &conditions, Some(until)).await {
            Ok(_) => Err(Error::usage("the service stored a batch out of sequence").into()),
            Err(error) => match error.code() {
                Some(ErrorCode::SequenceGap) => Ok(0),
                Some(ErrorCode::ProducerEpochOld) => {
                    let problem = error.problem().map(|problem| &problem.actual);
                    let current = problem.and_then(|actual| actual.producer_epoch);
                    current.map(ProducerEpoch::get).ok_or(error)
                }
                _ => Err(error),
            },
        };
        let failed = |error: AppendError| {
            // Whatever became of the question: it stores nothing.
            ProduceError::new(ProduceFailure::Call(error.into()), Outcome::NotDone)
        };
        let current = current.map_err(failed)?;
        let spread = getrandom::u64().expect("the system gives random numbers") % CLAIM_SPREAD;
        Ok(ProducerEpoch::new(current.saturating_add(1).saturating_add(spread)))
    }
}
