//! The naive model that random histories are compared with.
//!
//! It keeps everything: every record, every sequence a producer ever used, every key in a list. It
//! has no rows, no flags, no frontier; it is slow and plain, and written from the rules rather than
//! from the machine. Tests only.

use std::collections::BTreeMap;
use std::time::Duration;

use client::types::{
    Batch, BatchLimits, CursorName, Fence, IdempotencyKey, LogId, LogName, LogSettings, NewRecord,
    OrderKey, Position, ProducerEpoch, ProducerId, Sequence, Timestamp,
};
use proptest::prelude::*;

use super::{
    Append, AppendItem, AppendOutcome, AppendRetry, AppendTarget, Appended, ChangeSettings,
    Command, CreateLog, DeleteLog, EntryBody, ExpireProducers, FirstContent, LogCreated, LogTarget,
    LogTrimmed, MachineLimits, Outcome, ProducersExpired, Proposal, Rejection, SealLog, SetCursor,
    SetFence, SettingsChange, TrimLog,
};

/// Small enough that histories run into them.
pub(super) const LIMITS: MachineLimits = MachineLimits {
    logs_max: 2,
    producers_max: 3,
    cursors_max: 2,
    keys_max: 3,
    keys_per_log_max: 3,
    key_age_max: Duration::from_millis(20),
    producer_idle_max: Duration::from_millis(100),
    producer_idle_min: Duration::from_millis(10),
};

/// What one command is to do, in small numbers that meet often.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Append(Vec<Item>),
    Create(u8),
    Delete(u8),
    Trim(u8, u8),
    Seal(u8),
    Fence(u8, Option<u8>),
    Cursor(u8, u8, u8),
    Expire(u8),
    /// Log, and what becomes of its age and of its bytes.
    Settings(u8, Becomes, Becomes),
    Blank,
}

/// What becomes of a setting.
#[derive(Debug, Clone, Copy)]
pub(super) enum Becomes {
    Same,
    Other(Option<u8>),
}

impl Becomes {
    fn of(self, before: Option<u8>) -> Option<u8> {
        match self {
            Self::Same => before,
            Self::Other(value) => value,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) log: u8,
    pub(super) id: Option<u8>,
    pub(super) tail: Option<u8>,
    pub(super) fence: Option<u8>,
    pub(super) retry: Retry,
    pub(super) order_key: Option<u8>,
    pub(super) seals: bool,
    pub(super) bodies: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Retry {
    None,
    /// Producer, epoch, and how far its sequence is from what the model expects.
    Producer(u8, u8, i8),
    Key(u8),
}

prop_compose! {
    fn item()(
        log in prop_oneof![4 => Just(0_u8), 1 => 0..3_u8],
        id in prop::option::weighted(0.1, 1..4_u8),
        tail in prop::option::weighted(0.15, 0..6_u8),
        fence in prop::option::weighted(0.15, 0..2_u8),
        retry in prop_oneof![
            1 => Just(Retry::None),
            4 => (0..4_u8, prop_oneof![6 => Just(0_u8), 1 => 0..3_u8], prop_oneof![6 => Just(0_i8), 4 => -7..2_i8])
                .prop_map(|(producer, epoch, drift)| Retry::Producer(producer, epoch, drift)),
            2 => (0..6_u8).prop_map(Retry::Key),
        ],
        order_key in prop::option::weighted(0.15, 0..6_u8),
        seals in prop::bool::weighted(0.02),
        bodies in prop_oneof![4 => Just(vec![0]), 1 => prop::collection::vec(0..2_u8, 1..4)],
        is_empty: bool,
    ) -> Item {
        let bodies = if seals && is_empty { Vec::new() } else { bodies };
        Item { log, id, tail, fence, retry, order_key, seals, bodies }
    }
}

fn change() -> impl Strategy<Value = Becomes> {
    let other = prop::option::of(0..3_u8).prop_map(Becomes::Other);
    prop_oneof![Just(Becomes::Same), other]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => prop::collection::vec(item(), 1..5).prop_map(Step::Append),
        6 => (0..3_u8).prop_map(Step::Create),
        1 => (0..3_u8).prop_map(Step::Delete),
        3 => (0..3_u8, 0..20_u8).prop_map(|(log, to)| Step::Trim(log, to)),
        1 => (0..3_u8).prop_map(Step::Seal),
        3 => (0..3_u8, prop::option::of(0..2_u8)).prop_map(|(log, fence)| Step::Fence(log, fence)),
        3 => (0..3_u8, 0..3_u8, 0..20_u8).prop_map(|(log, name, at)| Step::Cursor(log, name, at)),
        1 => (0..30_u8).prop_map(Step::Expire),
        3 => (0..3_u8, change(), change()).prop_map(|(log, age, bytes)| Step::Settings(log, age, bytes)),
        1 => Just(Step::Blank),
    ]
}

/// A log of the model: everything it ever got.
#[derive(Debug, Clone, Default)]
pub(super) struct PlainLog {
    pub(super) id: u64,
    pub(super) records: Vec<(u64, Vec<u8>)>,
    pub(super) trim: u64,
    pub(super) is_sealed: bool,
    pub(super) fence: Option<u8>,
    pub(super) order_key: Option<u8>,
    pub(super) producers: BTreeMap<u8, PlainProducer>,
    pub(super) keys: Vec<(u8, Stored)>,
    pub(super) cursors: BTreeMap<u8, u64>,
    pub(super) age: Option<u8>,
    pub(super) bytes: Option<u8>,
}

/// Every batch of the newest epoch, by sequence.
#[derive(Debug, Clone, Default)]
pub(super) struct PlainProducer {
    epoch: u8,
    batches: Vec<Stored>,
}

#[derive(Debug, Clone)]
pub(super) struct Stored {
    first: u64,
    bodies: Vec<u8>,
    time: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) logs: BTreeMap<u8, PlainLog>,
    pub(super) next: u64,
    pub(super) now: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { logs: BTreeMap::new(), next: 1, now: 0 }
    }

    /// The sequence that an item really carries: the expected one, or one that is off by its drift.
    fn sequence(&self, log: u8, producer: u8, epoch: u8, drift: i8) -> u64 {
        let known = self.logs.get(&log).and_then(|log| log.producers.get(&producer));
        let expected = match known {
            Some(known) if known.epoch == epoch => u64::try_from(known.batches.len()).unwrap(),
            _ => 0,
        };
        expected.saturating_add_signed(i64::from(drift))
    }

    fn count(&self, of: impl Fn(&PlainLog) -> usize) -> usize {
        self.logs.values().map(of).sum()
    }

    fn append(&mut self, item: &Item, sequence: u64) -> AppendOutcome {
        let producers = self.count(|log| log.producers.len());
        let keys_before = self.count(|log| log.keys.len());
        let now = self.now;
        let log = self.logs.get_mut(&item.log).ok_or(Rejection::UnknownLog)?;
        if item.id.is_some_and(|id| u64::from(id) != log.id) {
            return Err(Rejection::IdDiffers { current: LogId::new(log.id) });
        }
        let keys_before = keys_before - log.keys.len();
        if let Retry::Key(_) = item.retry {
            log.keys.retain(|(_, stored)| stored.time + 20 >= now);
        }
        let known = match item.retry {
            Retry::None => None,
            Retry::Producer(producer, epoch, _) => log.judge(producer, epoch, sequence)?,
            Retry::Key(key) => log.keys.iter().find(|(k, _)| *k == key).map(|(_, s)| s.clone()),
        };
        if let Some(stored) = known {
            if stored.bodies != item.bodies {
                return Err(match item.retry {
                    Retry::Key(_) => Rejection::KeyBodyDiffers,
                    Retry::None => unreachable!("only what is numbered is known"),
                    Retry::Producer(producer, ..) => {
                        Rejection::SequenceBodyDiffers { last: log.newest(producer) }
                    }
                });
            }
            return Ok(log.appended(&stored, true, item.retry));
        }
        log.check(item)?;
        let stored = Stored { first: log.tail(), bodies: item.bodies.clone(), time: now };
        match item.retry {
            Retry::None => {}
            Retry::Producer(producer, epoch, _) => {
                if !log.producers.contains_key(&producer) && producers >= 3 {
                    self.evict()?;
                }
                let log = self.logs.get_mut(&item.log).expect("it was found above");
                let producer = log.producers.entry(producer).or_default();
                if producer.epoch != epoch {
                    *producer = PlainProducer { epoch, batches: Vec::new() };
                }
                producer.batches.push(stored.clone());
            }
            Retry::Key(key) => {
                if log.keys.len() >= 3 || keys_before + log.keys.len() >= 3 {
                    if log.keys.is_empty() {
                        return Err(Rejection::KeysFull { max: 3 });
                    }
                    log.keys.remove(0);
                }
                log.keys.push((key, stored.clone()));
            }
        }
        let log = self.logs.get_mut(&item.log).expect("it was found above");
        log.records.extend(item.bodies.iter().map(|body| (now, vec![*body])));
        log.order_key = item.order_key.or(log.order_key);
        log.is_sealed |= item.seals;
        Ok(log.appended(&stored, false, item.retry))
    }
}

impl Model {
    /// Of all producers, the one that is silent the longest leaves, if that is 10 ms or more.
    fn evict(&mut self) -> Result<(), Rejection> {
        let all = self.logs.iter().flat_map(|(name, log)| {
            let place = |known: &PlainProducer| known.batches.last().unwrap().time;
            log.producers.iter().map(move |(id, known)| (place(known), log.id, *id, *name))
        });
        let silent = all.min().filter(|(time, ..)| time + 10 <= self.now);
        let (_, _, id, name) = silent.ok_or(Rejection::ProducersFull { max: 3 })?;
        self.logs.get_mut(&name).unwrap().producers.remove(&id);
        Ok(())
    }

    fn change_settings(
        &mut self,
        log: u8,
        age: Becomes,
        bytes: Becomes,
    ) -> Result<LogId, Rejection> {
        let log = self.logs.get_mut(&log).ok_or(Rejection::UnknownLog)?;
        log.age = age.of(log.age);
        log.bytes = bytes.of(log.bytes);
        Ok(LogId::new(log.id))
    }
}

impl PlainLog {
    pub(super) fn tail(&self) -> u64 {
        u64::try_from(self.records.len()).unwrap()
    }

    /// Three bytes a record: no header, one byte of body.
    pub(super) fn bytes_before(position: u64) -> u64 {
        position * 3
    }

    /// The batch of a sequence if it is remembered; nothing if it is the next one.
    fn judge(&self, producer: u8, epoch: u8, sequence: u64) -> Result<Option<Stored>, Rejection> {
        let gap = |expected: u64| Rejection::SequenceGap {
            expected: Sequence::new(expected),
            received: Sequence::new(sequence),
        };
        let Some(known) = self.producers.get(&producer) else {
            return if sequence == 0 { Ok(None) } else { Err(gap(0)) };
        };
        if epoch > known.epoch {
            let received = Sequence::new(sequence);
            let refused = Rejection::NotFirstOfEpoch { received };
            return if sequence == 0 { Ok(None) } else { Err(refused) };
        }
        if epoch < known.epoch {
            let current = ProducerEpoch::new(u64::from(known.epoch));
            return Err(Rejection::ProducerEpochOld { current });
        }
        let next = u64::try_from(known.batches.len()).unwrap();
        if sequence >= next {
            return if sequence == next { Ok(None) } else { Err(gap(next)) };
        }
        if sequence + 5 < next {
            return Err(Rejection::SequenceForgotten { last: Sequence::new(next - 1) });
        }
        Ok(Some(known.batches[usize::try_from(sequence).unwrap()].clone()))
    }

    fn check(&self, item: &Item) -> Result<(), Rejection> {
        let tail = Position::new(self.tail());
        if self.is_sealed {
            return Err(Rejection::Sealed { tail });
        }
        if item.fence.is_some() && item.fence != self.fence {
            return Err(Rejection::Fenced { current: self.fence.map(fence) });
        }
        match item.tail.map(|expected| Position::new(u64::from(expected))) {
            Some(expected) if expected != tail => {
                return Err(Rejection::TailDiffers { expected, tail });
            }
            _ => {}
        }
        match (item.order_key, self.order_key) {
            (Some(key), Some(last)) if key <= last => {
                Err(Rejection::OrderKeyOld { last: order_key(last) })
            }
            _ => Ok(()),
        }
    }

    /// The newest sequence of a producer that is known.
    fn newest(&self, producer: u8) -> Sequence {
        let batches = self.producers[&producer].batches.len();
        Sequence::new(u64::try_from(batches).unwrap() - 1)
    }

    fn appended(&self, stored: &Stored, replayed: bool, retry: Retry) -> Appended {
        let count = u64::try_from(stored.bodies.len()).unwrap();
        Appended {
            log: LogId::new(self.id),
            first: Position::new(stored.first),
            next: Position::new(stored.first + count),
            tail: Position::new(self.tail()),
            time: Timestamp::new(stored.time),
            replayed,
            sealed: self.is_sealed,
            last_sequence: match retry {
                Retry::Producer(producer, ..) => Some(self.newest(producer)),
                Retry::None | Retry::Key(_) => None,
            },
        }
    }
}

fn order_key(number: u8) -> OrderKey {
    OrderKey::new(&number.to_string()).unwrap()
}

fn fence(number: u8) -> Fence {
    Fence::new(&format!("fence-{number}")).unwrap()
}

pub(super) fn log_name(number: u8) -> LogName {
    LogName::new(&format!("log/{number}")).unwrap()
}

fn target(number: u8) -> LogTarget {
    log_name(number).into()
}

pub(super) fn encode(item: &Item, sequence: u64) -> AppendItem {
    let retry = match item.retry {
        Retry::None => AppendRetry::None,
        Retry::Producer(producer, epoch, _) => AppendRetry::Producer {
            id: ProducerId::new(&producer.to_string()).unwrap(),
            epoch: ProducerEpoch::new(u64::from(epoch)),
            sequence: Sequence::new(sequence),
        },
        Retry::Key(key) => AppendRetry::Key(IdempotencyKey::new(&key.to_string()).unwrap()),
    };
    let target = AppendTarget {
        log: LogTarget { id: item.id.map(|id| LogId::new(u64::from(id))), ..target(item.log) },
        expected_tail: item.tail.map(|tail| Position::new(u64::from(tail))),
        fence: item.fence.map(fence),
        retry,
        order_key: item.order_key.map(order_key),
        seals: item.seals,
    };
    if item.bodies.is_empty() {
        return AppendItem::encode_seal(&target);
    }
    let records: Vec<NewRecord> =
        item.bodies.iter().map(|body| NewRecord::new(vec![*body])).collect();
    AppendItem::encode(&target, &Batch::new(records.iter(), &BatchLimits::default()).unwrap())
}

/// Does a step to the model, and gives the entry and the outcome that it must have.
pub(super) fn tell(model: &mut Model, step: &Step, stamp: Timestamp) -> (EntryBody, Outcome) {
    if !matches!(step, Step::Blank) {
        // A blank entry has no stamp.
        model.now = model.now.max(stamp.as_millis());
    }
    let unknown = Rejection::UnknownLog;
    let (payload, outcome) = match step {
        Step::Blank => return (EntryBody::Blank, Outcome::Blank),
        Step::Append(items) => {
            // Sequences are chosen one after the other, as each item changes what is expected next.
            let (items, outcomes) = items
                .iter()
                .map(|item| {
                    let sequence = match item.retry {
                        Retry::Producer(producer, epoch, drift) => {
                            model.sequence(item.log, producer, epoch, drift)
                        }
                        Retry::None | Retry::Key(_) => 0,
                    };
                    (encode(item, sequence), model.append(item, sequence))
                })
                .unzip();
            (Append { stamp, items }.encode(), Outcome::Appended(outcomes))
        }
        Step::Create(log) => {
            let command = CreateLog {
                stamp,
                name: log_name(*log),
                settings: LogSettings::default(),
                content: FirstContent::default(),
            };
            (command.encode(), Outcome::LogCreated(model.create(*log)))
        }
        Step::Delete(log) => {
            let deleted = model.logs.remove(log).map(|log| LogId::new(log.id));
            let command = DeleteLog { stamp, log: target(*log) };
            (command.encode(), Outcome::LogDeleted(deleted.ok_or(unknown)))
        }
        Step::Trim(log, to) => {
            let to = u64::from(*to);
            let bytes_before = PlainLog::bytes_before(to);
            let trimmed = model.trim(*log, to);
            let to = Position::new(to);
            let command = TrimLog { stamp, log: target(*log), to, bytes_before };
            (command.encode(), Outcome::LogTrimmed(trimmed))
        }
        Step::Seal(log) => {
            let sealed = model.logs.get_mut(log).map(|log| {
                log.is_sealed = true;
                Position::new(log.tail())
            });
            let command = SealLog { stamp, log: target(*log) };
            (command.encode(), Outcome::LogSealed(sealed.ok_or(unknown)))
        }
        Step::Fence(log, token) => {
            let set = model.logs.get_mut(log).map(|log| {
                log.fence = *token;
                LogId::new(log.id)
            });
            let command = SetFence { stamp, log: target(*log), fence: token.map(fence) };
            (command.encode(), Outcome::FenceSet(set.ok_or(unknown)))
        }
        Step::Cursor(log, name, position) => {
            let position = u64::from(*position);
            let set = model.set_cursor(*log, *name, position);
            let cursor = CursorName::new(&name.to_string()).unwrap();
            let position = Position::new(position);
            let log = target(*log);
            let command = SetCursor { stamp, log, cursor, expected: None, position };
            (command.encode(), Outcome::CursorSet(set))
        }
        Step::Settings(log, age, bytes) => {
            let changed = model.change_settings(*log, *age, *bytes);
            let mut change = SettingsChange::default();
            if let Becomes::Other(age) = age {
                change.retention_age = Some(age.map(|age| Duration::from_millis(age.into())));
            }
            if let Becomes::Other(bytes) = bytes {
                change.retention_bytes = Some(bytes.map(u64::from));
            }
            let command = ChangeSettings { stamp, log: target(*log), change };
            (command.encode(), Outcome::SettingsChanged(changed))
        }
        Step::Expire(idle) => {
            let expired = model.expire(u64::from(*idle));
            let idle = Duration::from_millis(u64::from(*idle));
            (ExpireProducers { stamp, idle }.encode(), Outcome::ProducersExpired(expired))
        }
    };
    Command::decode(&payload.bytes).expect("what is proposed passes the check before");
    (EntryBody::Command(payload), outcome)
}

impl Model {
    fn create(&mut self, log: u8) -> Result<LogCreated, Rejection> {
        let is_new = !self.logs.contains_key(&log);
        if is_new {
            if self.logs.len() == 2 {
                return Err(Rejection::LogsFull { max: 2 });
            }
            let plain = PlainLog { id: self.next, ..PlainLog::default() };
            self.next += 1;
            self.logs.insert(log, plain);
        }
        // The model does not keep when a log was created; the caller compares the rest.
        let plain = &self.logs[&log];
        let id = LogId::new(plain.id);
        if (plain.age, plain.bytes) != (None, None) {
            return Err(Rejection::SettingsDiffer { log: id });
        }
        Ok(LogCreated { log: id, created: Timestamp::new(self.now), is_new })
    }

    fn trim(&mut self, log: u8, to: u64) -> Result<LogTrimmed, Rejection> {
        let log = self.logs.get_mut(&log).ok_or(Rejection::UnknownLog)?;
        let tail = Position::new(log.tail());
        if to > log.tail() {
            return Err(Rejection::BeyondTail { tail });
        }
        log.trim = log.trim.max(to);
        Ok(LogTrimmed { log: LogId::new(log.id), first: Position::new(log.trim), tail })
    }

    fn set_cursor(&mut self, log: u8, name: u8, position: u64) -> Result<LogId, Rejection> {
        let cursors = self.count(|log| log.cursors.len());
        let log = self.logs.get_mut(&log).ok_or(Rejection::UnknownLog)?;
        if position > log.tail() {
            return Err(Rejection::BeyondTail { tail: Position::new(log.tail()) });
        }
        if !log.cursors.contains_key(&name) && cursors >= 2 {
            return Err(Rejection::CursorsFull { max: 2 });
        }
        log.cursors.insert(name, position);
        Ok(LogId::new(log.id))
    }

    fn expire(&mut self, idle: u64) -> ProducersExpired {
        let (now, count) = (self.now, |model: &Self| {
            (model.count(|log| log.producers.len()), model.count(|log| log.keys.len()))
        });
        let before = count(self);
        for log in self.logs.values_mut() {
            log.producers.retain(|_, known| known.batches.last().unwrap().time + idle >= now);
            log.keys.retain(|(_, stored)| stored.time + 20 >= now);
        }
        let after = count(self);
        ProducersExpired {
            producer_count: u64::try_from(before.0 - after.0).unwrap(),
            key_count: u64::try_from(before.1 - after.1).unwrap(),
        }
    }
}
