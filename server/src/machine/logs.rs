//! The catalog: logs by id and by name; create, settings, delete, trim, seal, fence.
//!
//! A name leads to at most one log, and an id is never given twice: who deletes a log and creates
//! it again has another one. What a command changes it also marks, for the delta of this command
//! (*touched*) and for the rows to be written some time (*changed*).
//!
//! Not here: appends (`append`), what else hangs on a log (`producers`, `keys`, `cursors`), and
//! rows (`changes`, `load`).

use std::collections::BTreeMap;
use std::sync::Arc;

use client::types::{
    CursorName, Digest, Fence, LogId, LogName, LogSettings, OrderKey, Position, Timestamp,
};

use super::activity::ACTIVITY;
use super::append::{New, Next, check_bodies};
use super::changes::Changed;
use super::command::{CreateLog, FirstContent, LogTarget, MachineLimits, SettingsChange};
use super::cursors::Cursors;
use super::delta::{Delta, LogView};
use super::keys::KeyRing;
use super::outcome::{LogCreated, LogTrimmed, ProducersExpired, Rejection};
use super::producers::Producers;
use super::silent::SilentProducers;
use super::tree::Frontier;

/// A log with all that the machine keeps of it.
#[derive(Debug, Clone)]
pub struct Log {
    pub(super) id: LogId,
    pub(super) name: LogName,
    pub(super) settings: Arc<LogSettings>,
    pub(super) created: Timestamp,
    pub(super) trim: Position,
    pub(super) tail: Position,
    pub(super) bytes_at_trim: u64,
    pub(super) bytes_at_tail: u64,
    pub(super) last_time: Timestamp,
    pub(super) is_sealed: bool,
    pub(super) fence: Option<Fence>,
    pub(super) order_key: Option<OrderKey>,
    /// When its time to live was begun again other than by an append; zero if never.
    pub(super) renewed: Timestamp,
    pub(super) frontier: Frontier,
    pub(super) producers: Producers,
    pub(super) keys: KeyRing,
    pub(super) cursors: Cursors,
    /// Whether its row is among those to be written.
    pub(super) is_changed: bool,
    /// Whether the current command touched it.
    pub(super) is_touched: bool,
}

impl Log {
    pub(super) fn new(id: LogId, name: LogName, settings: LogSettings, created: Timestamp) -> Self {
        Self {
            id,
            name,
            settings: Arc::new(settings),
            created,
            trim: Position::ZERO,
            tail: Position::ZERO,
            bytes_at_trim: 0,
            bytes_at_tail: 0,
            last_time: Timestamp::new(0),
            is_sealed: false,
            fence: None,
            order_key: None,
            renewed: Timestamp::new(0),
            frontier: Frontier::empty(),
            producers: Producers::default(),
            keys: KeyRing::default(),
            cursors: Cursors::default(),
            is_changed: false,
            is_touched: false,
        }
    }

    /// Its id.
    pub const fn id(&self) -> LogId {
        self.id
    }

    /// Its name.
    pub const fn name(&self) -> &LogName {
        &self.name
    }

    /// Position of the next record.
    pub const fn tail(&self) -> Position {
        self.tail
    }

    /// The root of its tree over all records ever appended.
    pub fn root(&self) -> Digest {
        self.frontier.root()
    }

    /// The log as readers see it.
    pub fn view(&self) -> LogView {
        LogView {
            id: self.id,
            name: self.name.clone(),
            settings: Arc::clone(&self.settings),
            created: self.created,
            trim: self.trim,
            tail: self.tail,
            bytes_at_trim: self.bytes_at_trim,
            bytes_at_tail: self.bytes_at_tail,
            last_time: self.last_time,
            sealed: self.is_sealed,
            fence: self.fence.clone(),
            renewed: self.renewed,
            frontier: self.frontier.clone(),
        }
    }

    /// When it is to be deleted if nobody uses it until then; never if nothing is set.
    fn deadline(&self) -> Option<Timestamp> {
        self.settings.deadline(self.created.max(self.last_time).max(self.renewed))
    }

    /// Its cursors, by name.
    pub fn cursors(&self) -> impl Iterator<Item = (&CursorName, Position)> {
        self.cursors.positions()
    }

    /// How many producers it knows.
    pub fn producer_count(&self) -> usize {
        self.producers.count()
    }
}

/// What all logs together have, where that is limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) cursors: usize,
    pub(super) keys: usize,
}

/// All logs, and what commands on them need.
#[derive(Debug, Clone)]
pub(super) struct Logs {
    pub(super) by_id: BTreeMap<LogId, Log>,
    pub(super) by_name: BTreeMap<LogName, LogId>,
    pub(super) next: u64,
    pub(super) counts: Counts,
    /// The producers of all logs.
    pub(super) silent: SilentProducers,
    pub(super) limits: MachineLimits,
    /// The machine's clock: the newest stamp.
    pub(super) now: Timestamp,
    /// Logs that the current command touched.
    pub(super) touched: Vec<LogId>,
    pub(super) changed: Changed,
}

impl Logs {
    pub(super) fn new(limits: MachineLimits) -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_name: BTreeMap::new(),
            next: 1,
            counts: Counts::default(),
            silent: SilentProducers::default(),
            limits,
            now: Timestamp::new(0),
            touched: Vec::new(),
            changed: Changed::default(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Log> {
        self.by_name.get(name).and_then(|id| self.by_id.get(id))
    }

    /// The id of the log that is meant.
    #[inline]
    pub(super) fn find(&self, name: &str, id: Option<LogId>) -> Result<LogId, Rejection> {
        let current = *self.by_name.get(name).ok_or(Rejection::UnknownLog)?;
        match id {
            Some(id) if id != current => Err(Rejection::IdDiffers { current }),
            Some(_) | None => Ok(current),
        }
    }

    /// The log of an id that was just found.
    #[inline]
    pub(super) fn found(&mut self, id: LogId) -> &mut Log {
        self.by_id.get_mut(&id).expect("a name leads to a log that is there")
    }

    /// Looks a log up without changing it.
    fn peek(&self, target: &LogTarget) -> Result<&Log, Rejection> {
        let id = self.find(target.name.as_str(), target.id)?;
        Ok(self.by_id.get(&id).expect("a name leads to a log that is there"))
    }

    /// Marks a log as changed and touched, and gives it for changing.
    #[inline]
    pub(super) fn touch(&mut self, id: LogId) -> &mut Log {
        let log = self.by_id.get_mut(&id).expect("a name leads to a log that is there");
        if !log.is_touched {
            log.is_touched = true;
            self.touched.push(id);
        }
        if !log.is_changed {
            log.is_changed = true;
            self.changed.logs.push(id);
        }
        log
    }

    /// Ends a command: the logs it touched, as they are now.
    pub(super) fn views_of_touched(&mut self) -> Vec<LogView> {
        let mut views = Vec::with_capacity(self.touched.len());
        for id in self.touched.drain(..) {
            if let Some(log) = self.by_id.get_mut(&id) {
                log.is_touched = false;
                views.push(log.view());
            }
        }
        views
    }

    /// Creates a log, with its first records and sealed if that is wished. One that is there with the same settings stays
    /// as it is. `command_bytes` is where the command ends, and with it the records.
    pub(super) fn create(
        &mut self,
        command: CreateLog,
        command_bytes: usize,
        delta: &mut Delta,
    ) -> Result<LogCreated, Rejection> {
        let CreateLog { name, settings, content: FirstContent { records, seals }, .. } = command;
        if name.is_reserved() {
            return Err(Rejection::ReservedName);
        }
        if let Some(log) = self.get(name.as_str()) {
            return if *log.settings == settings {
                Ok(LogCreated { log: log.id, created: log.created, is_new: false })
            } else {
                Err(Rejection::SettingsDiffer { log: log.id })
            };
        }
        // The service's own log takes nobody's place.
        let count = self.by_id.len() - usize::from(self.by_id.contains_key(&ACTIVITY));
        if is_full(count, self.limits.logs_max) {
            return Err(Rejection::LogsFull { max: u64::from(self.limits.logs_max) });
        }
        let id = LogId::new(self.next);
        let log = Log::new(id, name.clone(), settings, self.now);
        let records = match records {
            None => None,
            Some(first) => {
                check_bodies(&log, first.body_bytes_max)?;
                let next = Next::of(&log, first.count, first.run.len());
                let offset = u32::try_from(command_bytes - first.run.len())
                    .expect("a command has less than 4 GiB");
                let new = New { count: first.count, run: first.run, offset: Some(offset) };
                Some((new, next.ok_or(Rejection::LogFull)?))
            }
        };
        self.next += 1;
        self.by_name.insert(name, id);
        self.by_id.insert(id, log);
        self.touch(id).is_sealed = seals;
        if let Some((new, next)) = records {
            self.push(id, new, next, delta);
        }
        Ok(LogCreated { log: id, created: self.now, is_new: true })
    }

    pub(super) fn change_settings(
        &mut self,
        target: &LogTarget,
        change: SettingsChange,
    ) -> Result<LogId, Rejection> {
        let id = self.peek(target)?.id;
        let now = self.now;
        let log = self.touch(id);
        log.settings = Arc::new(change.apply(&log.settings));
        log.renewed = now;
        Ok(id)
    }

    pub(super) fn delete(
        &mut self,
        target: &LogTarget,
        delta: &mut Delta,
    ) -> Result<LogId, Rejection> {
        let id = self.peek(target)?.id;
        self.remove(id, delta);
        Ok(id)
    }

    /// Begins a log's time to live again.
    pub(super) fn renew(&mut self, target: &LogTarget) -> Result<LogId, Rejection> {
        let id = self.peek(target)?.id;
        let now = self.now;
        self.touch(id).renewed = now;
        Ok(id)
    }

    /// Deletes those of the logs whose time has come. How many those were.
    pub(super) fn let_expire(&mut self, logs: &[LogId], delta: &mut Delta) -> u64 {
        let mut expired = 0;
        for id in logs {
            let deadline = self.by_id.get(id).and_then(Log::deadline);
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                self.remove(*id, delta);
                expired += 1;
            }
        }
        expired
    }

    /// Takes a log that is there away, with all that hangs on it.
    fn remove(&mut self, id: LogId, delta: &mut Delta) {
        let log = self.by_id.remove(&id).expect("the log was just found");
        self.by_name.remove(&log.name);
        for (id, stamp) in log.producers.stamps() {
            self.silent.remove(log.id, id.clone(), stamp);
        }
        self.counts.keys -= log.keys.count();
        self.counts.cursors -= log.cursors.count();
        self.changed.delete(&log);
        delta.deleted.push((log.name, id));
    }

    pub(super) fn trim(
        &mut self,
        target: &LogTarget,
        to: Position,
        bytes_before: u64,
    ) -> Result<LogTrimmed, Rejection> {
        let log = self.peek(target)?;
        let (id, tail) = (log.id, log.tail);
        if to > tail {
            return Err(Rejection::BeyondTail { tail });
        }
        if to <= log.trim {
            return Ok(LogTrimmed { log: id, first: log.trim, tail });
        }
        let most = log.bytes_at_tail;
        let least = if to == tail { most } else { log.bytes_at_trim };
        if !(least..=most).contains(&bytes_before) {
            return Err(Rejection::TrimBytesDiffer { least, most });
        }
        let log = self.touch(id);
        log.trim = to;
        log.bytes_at_trim = bytes_before;
        assert!(log.trim <= log.tail, "trim point {} is beyond tail {}", log.trim, log.tail);
        Ok(LogTrimmed { log: id, first: to, tail })
    }

    pub(super) fn seal(&mut self, target: &LogTarget) -> Result<Position, Rejection> {
        let log = self.peek(target)?;
        let (id, tail) = (log.id, log.tail);
        if !log.is_sealed {
            self.end(id);
        }
        Ok(tail)
    }

    /// Nothing is appended to it any more. Whoever ends a log uses it.
    pub(super) fn end(&mut self, id: LogId) {
        let now = self.now;
        let log = self.touch(id);
        log.is_sealed = true;
        if log.settings.ttl.is_some() {
            log.renewed = now;
        }
    }

    pub(super) fn set_fence(
        &mut self,
        target: &LogTarget,
        fence: Option<Fence>,
    ) -> Result<LogId, Rejection> {
        let id = self.peek(target)?.id;
        self.touch(id).fence = fence;
        Ok(id)
    }

    pub(super) fn set_cursor(
        &mut self,
        target: &LogTarget,
        cursor: CursorName,
        moved: (Option<Position>, Position),
        delta: &mut Delta,
    ) -> Result<LogId, Rejection> {
        let (expected, position) = moved;
        let log = self.peek(target)?;
        let (id, tail) = (log.id, log.tail);
        if position > tail {
            return Err(Rejection::BeyondTail { tail });
        }
        let current = log.cursors.position(&cursor);
        let before = current.unwrap_or(Position::ZERO);
        if expected.is_some_and(|expected| expected != before) {
            return Err(Rejection::CursorDiffers { position: before });
        }
        if current.is_none() {
            if is_full(self.counts.cursors, self.limits.cursors_max) {
                return Err(Rejection::CursorsFull { max: u64::from(self.limits.cursors_max) });
            }
            self.counts.cursors += 1;
        }
        let now = self.now;
        if self.found(id).cursors.set(&cursor, position, now) {
            self.changed.cursors.push((id, cursor.clone()));
        }
        delta.cursors.push((id, cursor, Some(position)));
        Ok(id)
    }

    /// Forgets a cursor. Says whether it was there.
    pub(super) fn delete_cursor(
        &mut self,
        target: &LogTarget,
        cursor: CursorName,
        delta: &mut Delta,
    ) -> Result<(LogId, bool), Rejection> {
        let id = self.peek(target)?.id;
        let existed = self.found(id).cursors.remove(&cursor);
        if existed {
            self.counts.cursors -= 1;
            self.changed.cursors.push((id, cursor.clone()));
            delta.cursors.push((id, cursor, None));
        }
        Ok((id, existed))
    }

    /// Forgets producers that were idle for longer than `idle_ms`, and keys that are too old, of
    /// all logs.
    pub(super) fn expire(&mut self, idle_ms: u64) -> ProducersExpired {
        let oldest_producer = before(self.now, idle_ms);
        let oldest_key = self.oldest_key();
        let mut expired = ProducersExpired { producer_count: 0, key_count: 0 };
        while let Some((log, id)) = self.silent.take(|last| last < oldest_producer) {
            expired.producer_count += 1;
            self.forget_producer(log, id);
        }
        for log in self.by_id.values_mut() {
            while let Some(ordinal) = log.keys.pop_before(oldest_key) {
                self.counts.keys -= 1;
                expired.key_count += 1;
                self.changed.keys.push((log.id, ordinal));
            }
        }
        expired
    }

    /// Keys from before this are forgotten.
    pub(super) fn oldest_key(&self) -> Timestamp {
        before(self.now, super::codec::whole_millis(self.limits.key_age_max))
    }
}

fn before(now: Timestamp, millis: u64) -> Timestamp {
    Timestamp::new(now.as_millis().saturating_sub(millis))
}

/// Whether there is no room for one more.
pub(super) fn is_full(count: usize, max: u32) -> bool {
    usize::try_from(max).is_ok_and(|max| count >= max)
}
