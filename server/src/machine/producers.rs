//! Producers of a log: what makes a retried batch be stored once.
//!
//! Each producer has an epoch and the last five sequences of it. A sequence must follow the newest
//! one without a gap; one of the five that comes again is answered with its first positions if it
//! has the same body; one below them was stored, but its positions are forgotten. A higher epoch
//! claims the id and begins at sequence 0.
//!
//! Judging and recording are two steps, so that an append refused for another reason uses up no
//! sequence. Not here: how many producers there may be (`append`), in which order they fell silent
//! (`silent`), and when they are proposed to expire (upper floors).

use std::collections::BTreeMap;

use client::types::{Position, ProducerEpoch, ProducerId, Sequence, Timestamp};
use migrations::latest::values::{BatchRow, BodyHash, PRODUCER_BATCHES_MAX, ProducerRow};

use super::outcome::Rejection;

/// Where a batch went, and what tells it from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) first: Position,
    pub(super) count: u32,
    pub(super) time: Timestamp,
    pub(super) body_hash: BodyHash,
}

impl Place {
    /// One past the last record.
    pub(super) fn next(&self) -> Position {
        self.first.advance(u64::from(self.count))
    }

    pub(super) const fn row(&self) -> BatchRow {
        BatchRow {
            first: self.first.get(),
            count: self.count,
            time: self.time.as_millis(),
            body_hash: self.body_hash,
        }
    }

    /// The place a row names, if it lies below the tail.
    pub(super) fn from_row(row: &BatchRow, tail: Position) -> Option<Self> {
        let first = Position::new(row.first);
        let is_possible =
            first.checked_advance(u64::from(row.count)).is_some_and(|next| next <= tail);
        is_possible.then_some(Self {
            first,
            count: row.count,
            time: Timestamp::new(row.time),
            body_hash: row.body_hash,
        })
    }
}

/// One batch as its producer names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbered<'a> {
    pub(super) id: &'a str,
    pub(super) epoch: ProducerEpoch,
    pub(super) sequence: Sequence,
    pub(super) body_hash: BodyHash,
}

impl Numbered<'_> {
    /// The id, to be kept.
    pub(super) fn owned_id(&self) -> ProducerId {
        ProducerId::new(self.id).expect("a producer's id was checked before proposing")
    }
}

/// What a batch did to its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded {
    /// When the producer did something before, if it was known.
    pub(super) before: Option<Timestamp>,
    /// Whether its row was clean until now.
    pub(super) was_clean: bool,
}

/// What a batch is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The next one of a producer that is known.
    Next,
    /// The first one of a producer that is not known yet.
    Newcomer,
    /// One that is stored already.
    Repeated {
        /// Where.
        place: Place,
        /// The newest sequence of its producer, if it has one.
        last: Option<Sequence>,
    },
}

/// A producer's newest life. The batches are dense and end with the newest sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    last_stamp: Timestamp,
    last_sequence: Sequence,
    batches: Vec<Place>,
    /// Whether its row is among those to be written.
    is_dirty: bool,
}

impl Producer {
    fn judge(&self, batch: &Numbered<'_>) -> Result<Verdict, Rejection> {
        if batch.epoch < self.epoch {
            return Err(Rejection::ProducerEpochOld { current: self.epoch });
        }
        if batch.epoch > self.epoch {
            let (received, is_first) = (batch.sequence, batch.sequence == Sequence::ZERO);
            let refused = Rejection::NotFirstOfEpoch { received };
            return if is_first { Ok(Verdict::Next) } else { Err(refused) };
        }
        let Some(back) = self.last_sequence.get().checked_sub(batch.sequence.get()) else {
            // Above the newest sequence, so there is a next one.
            let expected = self.last_sequence.next();
            let received = batch.sequence;
            let is_next = received == expected;
            let gap = Rejection::SequenceGap { expected, received };
            return if is_next { Ok(Verdict::Next) } else { Err(gap) };
        };
        let remembered =
            usize::try_from(back).ok().and_then(|back| self.batches.iter().rev().nth(back));
        match remembered {
            None => Err(Rejection::SequenceForgotten { last: self.last_sequence }),
            Some(place) if place.body_hash == batch.body_hash => {
                Ok(Verdict::Repeated { place: *place, last: Some(self.last_sequence) })
            }
            Some(_) => Err(Rejection::SequenceBodyDiffers { last: self.last_sequence }),
        }
    }

    fn record(&mut self, batch: &Numbered<'_>, place: Place) {
        if batch.epoch != self.epoch {
            self.epoch = batch.epoch;
            self.batches.clear();
        }
        if self.batches.len() == PRODUCER_BATCHES_MAX {
            self.batches.remove(0);
        }
        self.last_sequence = batch.sequence;
        self.last_stamp = place.time;
        self.batches.push(place);
    }
}

/// All producers of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Producers {
    producers: BTreeMap<ProducerId, Producer>,
}

impl Producers {
    pub(super) fn count(&self) -> usize {
        self.producers.len()
    }

    /// All, each with when it did something last.
    pub(super) fn stamps(&self) -> impl Iterator<Item = (&ProducerId, Timestamp)> {
        self.producers.iter().map(|(id, producer)| (id, producer.last_stamp))
    }

    /// Says what a batch is; changes nothing.
    pub(super) fn judge(&self, batch: &Numbered<'_>) -> Result<Verdict, Rejection> {
        match self.producers.get(batch.id) {
            Some(producer) => producer.judge(batch),
            None if batch.sequence == Sequence::ZERO => Ok(Verdict::Newcomer),
            None => {
                let (expected, received) = (Sequence::ZERO, batch.sequence);
                Err(Rejection::SequenceGap { expected, received })
            }
        }
    }

    /// Remembers a batch that was judged to be the next one.
    pub(super) fn record(&mut self, batch: &Numbered<'_>, place: Place) -> Recorded {
        if let Some(producer) = self.producers.get_mut(batch.id) {
            let before = Some(producer.last_stamp);
            producer.record(batch, place);
            let was_clean = !std::mem::replace(&mut producer.is_dirty, true);
            return Recorded { before, was_clean };
        }
        let id = batch.owned_id();
        let producer = Producer {
            epoch: batch.epoch,
            last_stamp: place.time,
            last_sequence: batch.sequence,
            batches: vec![place],
            is_dirty: true,
        };
        self.producers.insert(id, producer);
        Recorded { before: None, was_clean: true }
    }

    /// Forgets a producer.
    pub(super) fn forget(&mut self, id: &ProducerId) {
        let forgotten = self.producers.remove(id);
        assert!(forgotten.is_some(), "a producer is forgotten once");
    }

    /// The row of a producer, which is clean from now on; nothing if there is no such producer any
    /// more.
    pub(super) fn take_row(&mut self, id: &ProducerId) -> Option<ProducerRow> {
        let producer = self.producers.get_mut(id)?;
        producer.is_dirty = false;
        Some(row(producer))
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&ProducerId, ProducerRow)> {
        self.producers.iter().map(|(id, producer)| (id, row(producer)))
    }

    /// Adds a producer as it was kept; nothing if its places cannot be.
    pub(super) fn load(&mut self, id: ProducerId, row: &ProducerRow, tail: Position) -> Option<()> {
        let batches =
            row.batches.iter().map(|row| Place::from_row(row, tail)).collect::<Option<_>>()?;
        let producer = Producer {
            epoch: ProducerEpoch::new(row.epoch),
            last_stamp: Timestamp::new(row.last_stamp),
            last_sequence: Sequence::new(row.last_sequence),
            batches,
            is_dirty: false,
        };
        self.producers.insert(id, producer);
        Some(())
    }
}

fn row(producer: &Producer) -> ProducerRow {
    ProducerRow {
        epoch: producer.epoch.get(),
        last_stamp: producer.last_stamp.as_millis(),
        last_sequence: producer.last_sequence.get(),
        batches: producer.batches.iter().map(Place::row).collect(),
    }
}
