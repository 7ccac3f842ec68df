//! Appends: repeated or new, conditions, positions.
//!
//! First it is asked whether the batch is stored already, for a retry must be answered with its
//! first positions whatever has happened to the log since. Only then conditions are looked at.
//! Nothing is changed before all of them hold, so a refusal uses up neither a position nor a
//! sequence.
//!
//! This is the hot path: it reads the command's bytes as they are, and allocates nothing per
//! record. Bytes that are not what a leader checked before proposing are a broken invariant, and
//! end the process.

use bytes::Bytes;
use client::types::{Digest, LogId, OrderKey, Position, ProducerEpoch, ProducerId, Sequence};
use migrations::latest::commands::{AppendItemView, AppendItems, RetryView};
use migrations::latest::records::{RUN_RECORD_HEAD_BYTES, run_records};

use super::delta::{Delta, Run};
use super::logs::{Log, Logs, is_full};
use super::outcome::{AppendOutcome, Appended, Rejection};
use super::producers::{Numbered, Place, Verdict};
use super::tree::{TileAddress, leaf_hash};

impl Logs {
    /// Executes all items of a command, in order. `payload` is what they borrow from.
    pub(super) fn append(
        &mut self,
        items: AppendItems<'_>,
        payload: &Bytes,
        delta: &mut Delta,
    ) -> Vec<AppendOutcome> {
        delta.runs.reserve(items.left());
        let mut outcomes = Vec::with_capacity(items.left());
        for item in items {
            let item = item.unwrap_or_else(|error| {
                panic!("a committed append was checked before it was proposed: {error}")
            });
            outcomes.push(self.append_item(&item, payload, delta));
        }
        outcomes
    }

    fn append_item(
        &mut self,
        item: &AppendItemView<'_>,
        payload: &Bytes,
        delta: &mut Delta,
    ) -> AppendOutcome {
        let id = self.find(item.target.log.name, item.target.log.id.map(LogId::new))?;
        let retry = item.target.retry;
        if let RetryView::Key(_) = retry {
            self.forget_old_keys(id);
        }
        let log = self.found(id);
        let verdict = match (numbered(item), retry) {
            (Some(batch), _) => log.producers.judge(&batch)?,
            (None, RetryView::Key(key)) => judge_key(log, key, item)?,
            (None, _) => Verdict::Next,
        };
        if let Verdict::Repeated { place, last } = verdict {
            return Ok(appended(log, &place, Replay::Repeated, last));
        }
        check_conditions(log, item)?;
        let next = check_room(log, item)?;
        if verdict == Verdict::Newcomer {
            self.make_room_for_producer()?;
        }
        if let RetryView::Key(_) = retry {
            self.make_room_for_key(id)?;
        }
        let place = self.store(id, item, next, payload, delta);
        self.remember(id, item, place);
        let last = numbered(item).map(|batch| batch.sequence);
        Ok(appended(self.found(id), &place, Replay::Stored, last))
    }

    /// Stores the records of an item.
    fn store(
        &mut self,
        id: LogId,
        item: &AppendItemView<'_>,
        next: Next,
        payload: &Bytes,
        delta: &mut Delta,
    ) -> Place {
        if item.count == 0 {
            return Place {
                first: self.found(id).tail,
                count: 0,
                time: self.now,
                body_hash: item.body_hash,
            };
        }
        let until = item.run_offset + item.run.len();
        let new = New {
            count: item.count,
            run: payload.slice(item.run_offset..until),
            offset: Some(u32::try_from(item.run_offset).expect("a command has less than 4 GiB")),
        };
        let (count, time) = (item.count, self.now);
        let first = self.push(id, new, next, delta);
        Place { first, count, time, body_hash: item.body_hash }
    }

    /// Gives records their positions and hashes. The first position.
    pub(super) fn push(&mut self, id: LogId, new: New, next: Next, delta: &mut Delta) -> Position {
        let time = self.now;
        self.touch(id);
        let log = self.by_id.get_mut(&id).expect("the log was just touched");
        let tiles = &mut self.changed.tiles;
        let mut count = 0;
        for untimed in run_records(&new.run) {
            let untimed = untimed.unwrap_or_else(|error| {
                panic!("the records of a committed append were checked before: {error}")
            });
            let leaf = leaf_hash(time.as_millis(), untimed);
            log.frontier.push(leaf, |level, number, hash: Digest| {
                tiles.push((TileAddress { log: id, level, number }, hash));
            });
            count += 1;
        }
        assert!(count == new.count, "an append of {} records holds {count}", new.count);
        let first = log.tail;
        delta.runs.push(Run {
            log: id,
            first,
            count,
            time,
            bytes_before: log.bytes_at_tail,
            records: new.run,
            offset: new.offset,
        });
        log.tail = next.tail;
        log.bytes_at_tail = next.bytes_at_tail;
        log.last_time = time;
        assert!(
            log.frontier.size() == log.tail.get(),
            "a log has a leaf for each of its {} records",
            log.tail
        );
        first
    }

    /// Keeps what a retry will be answered with.
    fn remember(&mut self, id: LogId, item: &AppendItemView<'_>, place: Place) {
        if item.target.seals {
            self.end(id);
        }
        if let Some(key) = item.target.order_key {
            let key = OrderKey::new(key).expect("an order key was checked before proposing");
            self.touch(id).order_key = Some(key);
        }
        let log = self.by_id.get_mut(&id).expect("the log was just appended to");
        if let Some(batch) = numbered(item) {
            let recorded = log.producers.record(&batch, place);
            if recorded.was_clean {
                self.changed.producers.push((id, batch.owned_id()));
            }
            if recorded.before != Some(place.time) {
                self.silent.stir(id, batch.owned_id(), recorded.before, place.time);
            }
        } else if let RetryView::Key(key) = item.target.retry {
            let ordinal = log.keys.push(key, place);
            self.counts.keys += 1;
            self.changed.keys.push((id, ordinal));
        }
    }

    fn forget_old_keys(&mut self, id: LogId) {
        let oldest = self.oldest_key();
        let log = self.by_id.get_mut(&id).expect("the log was just found");
        while let Some(ordinal) = log.keys.pop_before(oldest) {
            self.counts.keys -= 1;
            self.changed.keys.push((id, ordinal));
        }
    }

    /// If there are as many as may be, the longest silent one goes, unless it may still retry.
    fn make_room_for_producer(&mut self) -> Result<(), Rejection> {
        let max = self.limits.producers_max;
        if !is_full(self.silent.count(), max) {
            return Ok(());
        }
        let now = self.now.as_millis();
        let enough = super::codec::whole_millis(self.limits.producer_idle_min);
        let silent = self.silent.take(|last| now.saturating_sub(last.as_millis()) >= enough);
        let (log, id) = silent.ok_or(Rejection::ProducersFull { max: u64::from(max) })?;
        self.forget_producer(log, id);
        Ok(())
    }

    /// Forgets a producer that has no place among the silent ones any more.
    pub(super) fn forget_producer(&mut self, log: LogId, id: ProducerId) {
        let owner = self.by_id.get_mut(&log).expect("a producer belongs to a log that is there");
        owner.producers.forget(&id);
        self.changed.producers.push((log, id));
    }

    /// A ring that is full lets its oldest key go; one that is empty cannot.
    fn make_room_for_key(&mut self, id: LogId) -> Result<(), Rejection> {
        let log = self.by_id.get_mut(&id).expect("the log was just found");
        let is_room_needed = is_full(log.keys.count(), self.limits.keys_per_log_max)
            || is_full(self.counts.keys, self.limits.keys_max);
        if !is_room_needed {
            return Ok(());
        }
        let max = u64::from(self.limits.keys_max.min(self.limits.keys_per_log_max));
        let ordinal = log.keys.pop().ok_or(Rejection::KeysFull { max })?;
        self.counts.keys -= 1;
        self.changed.keys.push((id, ordinal));
        Ok(())
    }
}

/// Records that are new.
#[derive(Debug, Clone)]
pub(super) struct New {
    pub(super) count: u32,
    pub(super) run: Bytes,
    /// Where the run begins in the command, if it stands there.
    pub(super) offset: Option<u32>,
}

/// Where a log stands after an append.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    tail: Position,
    bytes_at_tail: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replay {
    Stored,
    Repeated,
}

fn numbered<'a>(item: &AppendItemView<'a>) -> Option<Numbered<'a>> {
    let RetryView::Producer { id, epoch, sequence } = item.target.retry else {
        return None;
    };
    Some(Numbered {
        id,
        epoch: ProducerEpoch::new(epoch),
        sequence: Sequence::new(sequence),
        body_hash: item.body_hash,
    })
}

fn judge_key(log: &Log, key: &str, item: &AppendItemView<'_>) -> Result<Verdict, Rejection> {
    match log.keys.place(key) {
        None => Ok(Verdict::Next),
        Some(place) if place.body_hash == item.body_hash => {
            Ok(Verdict::Repeated { place: *place, last: None })
        }
        Some(_) => Err(Rejection::KeyBodyDiffers),
    }
}

fn check_conditions(log: &Log, item: &AppendItemView<'_>) -> Result<(), Rejection> {
    if log.is_sealed {
        return Err(Rejection::Sealed { tail: log.tail });
    }
    if let Some(fence) = item.target.fence
        && log.fence.as_ref().is_none_or(|current| current.as_str() != fence)
    {
        return Err(Rejection::Fenced { current: log.fence.clone() });
    }
    if let Some(expected) = item.target.expected_tail
        && expected != log.tail.get()
    {
        let expected = Position::new(expected);
        return Err(Rejection::TailDiffers { expected, tail: log.tail });
    }
    if let Some(key) = item.target.order_key
        && let Some(last) = log.order_key.as_ref().filter(|last| last.as_str() >= key)
    {
        return Err(Rejection::OrderKeyOld { last: last.clone() });
    }
    check_bodies(log, item.body_bytes_max)
}

/// Whether a log allows bodies of so many bytes.
pub(super) fn check_bodies(log: &Log, body_bytes_max: u32) -> Result<(), Rejection> {
    let bytes = u64::from(body_bytes_max);
    match log.settings.record_bytes_max {
        Some(max) if bytes > max => Err(Rejection::RecordTooLarge { bytes, max }),
        Some(_) | None => Ok(()),
    }
}

fn check_room(log: &Log, item: &AppendItemView<'_>) -> Result<Next, Rejection> {
    Next::of(log, item.count, item.run.len()).ok_or(Rejection::LogFull)
}

impl Next {
    /// Where a log stands after so many records in a run of so many bytes; none if it has no room for them.
    pub(super) fn of(log: &Log, count: u32, run_bytes: usize) -> Option<Self> {
        let bytes = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(RUN_RECORD_HEAD_BYTES))
            .and_then(|heads| run_bytes.checked_sub(heads))
            .expect("a run has a length before each of its records");
        let bytes = u64::try_from(bytes).expect("a length fits 64 bits");
        let tail = log.tail.checked_advance(u64::from(count))?;
        Some(Self { tail, bytes_at_tail: log.bytes_at_tail.checked_add(bytes)? })
    }
}

fn appended(log: &Log, place: &Place, replay: Replay, last: Option<Sequence>) -> Appended {
    Appended {
        log: log.id,
        first: place.first,
        next: place.next(),
        tail: log.tail,
        time: place.time,
        replayed: replay == Replay::Repeated,
        sealed: log.is_sealed,
        last_sequence: last,
    }
}
