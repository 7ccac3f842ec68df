//! The batches of a producer that are under way: their numbers, and what each answer means.
//!
//! Batches are numbered without a gap and stay here, oldest first, until the oldest is known to be
//! stored. The service takes a batch only right behind the one before it, so:
//!
//! - a batch that came too early is held until the one before it is stored, and sent again;
//! - a batch whose outcome is unknown is sent again under its number, and stored once;
//! - if the oldest batch is certainly not stored, nothing behind it is, nor will it ever be.
//!
//! As many are under way as the service remembers of a producer, so one that is sent again finds its
//! positions still there.
//!
//! Not here: sending, and time (`courier`).

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::{ProduceError, ProduceFailure};
use super::gate::Parcel;
use super::ticket::{Stored, Verdict};
use crate::api::error::ErrorCode;
use crate::api::frame::append_frame;
use crate::sdk::error::Outcome;
use crate::sdk::kinds::AppendError;
use crate::types::{ProducerEpoch, Sequence};

/// The batches of a producer that are under way.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) epoch: ProducerEpoch,
    next: Sequence,
    legs: VecDeque<Leg>,
}

/// One batch.
#[derive(Debug)]
struct Leg {
    sequence: Sequence,
    frame: Bytes,
    cost: usize,
    until: Instant,
    seal: Option<oneshot::Sender<Verdict>>,
    state: State,
    /// An attempt may have stored it, or may do so yet.
    may_be_stored: bool,
}

#[derive(Debug)]
enum State {
    /// It was sent, perhaps when the one before it was known to be stored.
    Sent {
        is_next: bool,
    },
    /// It came too early.
    Held,
    Stored,
    Refused(ProduceFailure),
}

/// A batch to be sent.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) sequence: Sequence,
    pub(super) frame: Bytes,
    pub(super) until: Instant,
}

/// What is to be done after an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// These are to be sent, and so many batches of this cost are settled.
    GoOn { sends: Vec<Send>, settled: u64, cost: usize },
    /// The service has forgotten the producer, and stored nothing of what is under way: forget what
    /// was sent, and send all of it anew.
    StartAnew(Vec<Send>),
    /// The producer has ended.
    Fail(ProduceError),
}

impl Lane {
    pub(super) const fn new(epoch: ProducerEpoch) -> Self {
        Self { epoch, next: Sequence::ZERO, legs: VecDeque::new() }
    }

    /// How many batches are under way.
    pub(super) fn len(&self) -> usize {
        self.legs.len()
    }

    /// Whether another batch may be sent: not if one of them was refused.
    pub(super) fn is_open(&self) -> bool {
        !self.legs.iter().any(|leg| matches!(leg.state, State::Refused(_)))
    }

    /// Takes a batch in, which is to be sent.
    pub(super) fn add(&mut self, parcel: Parcel, until: Instant) -> Send {
        let Parcel { batch, seal, cost } = parcel;
        let sequence = self.next;
        self.next = sequence.next();
        self.legs.push_back(Leg {
            sequence,
            frame: append_frame(&batch),
            cost,
            until,
            seal: Some(seal),
            state: State::Held,
            may_be_stored: false,
        });
        self.send(self.legs.len() - 1)
    }

    /// A batch is stored, its first record there.
    pub(super) fn stored(&mut self, sequence: Sequence, first: Stored) -> Step {
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.sequence == sequence) {
            leg.state = State::Stored;
            if let Some(seal) = leg.seal.take() {
                // Perhaps nobody wants to know.
                seal.send(Ok(first)).ok();
            }
        }
        self.advance()
    }

    /// The last attempt to send a batch came to nothing.
    pub(super) fn refused(&mut self, sequence: Sequence, error: AppendError) -> Step {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.sequence == sequence) else {
            return self.advance();
        };
        leg.may_be_stored |= error.outcome() == Outcome::Unknown;
        let is_next = matches!(leg.state, State::Sent { is_next: true });
        let is_forgotten = is_next && !leg.may_be_stored && leg.sequence > Sequence::ZERO;
        leg.state = match error.code() {
            Some(ErrorCode::SequenceGap) if is_forgotten => return self.start_anew(),
            Some(ErrorCode::SequenceGap) if !is_next => State::Held,
            Some(ErrorCode::ProducerEpochOld) => {
                let current = error.problem().and_then(|problem| problem.actual.producer_epoch);
                State::Refused(ProduceFailure::Fenced { current })
            }
            Some(ErrorCode::SequenceBodyDiffers) => State::Refused(ProduceFailure::Contested),
            _ => State::Refused(ProduceFailure::Call(error.into())),
        };
        self.advance()
    }

    /// Lets go of those that are settled, and says what comes next.
    fn advance(&mut self) -> Step {
        let (mut settled, mut cost) = (0, 0);
        while self.legs.front().is_some_and(|leg| matches!(leg.state, State::Stored)) {
            let leg = self.legs.pop_front().expect("there is one in front");
            settled += 1;
            cost += leg.cost;
        }
        if let Some(leg) = self.legs.front_mut()
            && let State::Refused(failure) = &leg.state
        {
            let outcome = if leg.may_be_stored { Outcome::Unknown } else { Outcome::NotDone };
            let why = ProduceError::new(failure.clone(), outcome);
            return Step::Fail(self.fail(why));
        }
        let is_ahead = matches!(self.legs.front(), Some(Leg { state: State::Held, .. }));
        let held = |leg: &Leg| matches!(leg.state, State::Held);
        // As long as the oldest is under way, those that came too early would again.
        let sends = if settled > 0 || is_ahead {
            let held = (0..self.legs.len()).filter(|index| held(&self.legs[*index]));
            held.collect::<Vec<_>>().into_iter().map(|index| self.send(index)).collect()
        } else {
            Vec::new()
        };
        Step::GoOn { sends, settled, cost }
    }

    /// Every batch gets a new number in a new epoch, which shuts out what may still be on its way.
    fn start_anew(&mut self) -> Step {
        self.epoch = ProducerEpoch::new(self.epoch.get() + 1);
        self.next = Sequence::ZERO;
        for leg in &mut self.legs {
            leg.sequence = self.next;
            leg.may_be_stored = false;
            self.next = self.next.next();
        }
        Step::StartAnew((0..self.legs.len()).map(|index| self.send(index)).collect())
    }

    /// Seals the fate of all that is under way; of those behind the first, what follows from its own.
    pub(super) fn fail(&mut self, why: ProduceError) -> ProduceError {
        for (index, mut leg) in self.legs.drain(..).enumerate() {
            let is_possible = why.outcome() == Outcome::Unknown
                && (leg.may_be_stored || matches!(leg.state, State::Sent { .. }));
            let outcome = if is_possible { Outcome::Unknown } else { Outcome::NotDone };
            let error = if index == 0 { why.clone() } else { why.behind(outcome) };
            if let Some(seal) = leg.seal.take() {
                seal.send(Err(error)).ok();
            }
        }
        why
    }

    fn send(&mut self, index: usize) -> Send {
        let leg = &mut self.legs[index];
        leg.state = State::Sent { is_next: index == 0 };
        Send { sequence: leg.sequence, frame: leg.frame.clone(), until: leg.until }
    }
}
