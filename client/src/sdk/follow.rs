//! [`Follow`]: an endless read that survives reconnects.
//!
//! It is a long poll in frames: the place it has reached is a position and nothing else, so it goes
//! on at any replica without a gap and without repeating. Polls are local, which costs the leader
//! nothing; the first one, and the one after a wait that brought nothing, are linearizable, so
//! that a replica that was cut off cannot keep a follower waiting for ever.
//!
//! Not here: positions that outlive the process (cursors).

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::log::{Log, Page};
use crate::api::error::ErrorCode;
use crate::api::reading::{Consistency, ReadFrom, ReadQuery};
use crate::types::{LogId, Position, Record};

/// How long one poll waits for a record.
const WAIT: Duration = Duration::from_secs(10);
/// Shortest time between two polls of which the first brought nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// An endless read of one log.
#[derive(Debug)]
pub struct Follow {
    log: Log,
    from: ReadFrom,
    consistency: Consistency,
    bytes_max: Option<u64>,
    /// The log that the first poll found: the name may come to mean another one.
    log_id: Option<LogId>,
    tail: Option<Position>,
    ready: VecDeque<Record>,
}

impl Follow {
    pub(super) const fn new(log: Log, from: ReadFrom) -> Self {
        Self {
            log,
            from,
            consistency: Consistency::Linearizable,
            bytes_max: None,
            log_id: None,
            tail: None,
            ready: VecDeque::new(),
        }
    }

    /// The same follow, asking for at most this many bytes at once.
    #[must_use]
    pub const fn bytes_max(mut self, bytes_max: u64) -> Self {
        self.bytes_max = Some(bytes_max);
        self
    }

    /// The log's tail as the last poll saw it.
    pub const fn tail(&self) -> Option<Position> {
        self.tail
    }

    /// Which log is followed, once it is known.
    pub const fn log_id(&self) -> Option<LogId> {
        self.log_id
    }

    /// The next record; none after the last record of a sealed log. After an error it can be asked
    /// again and goes on where it was.
    pub async fn next(&mut self) -> Result<Option<Record>, Error> {
        if self.ready.is_empty() {
            match self.next_page().await? {
                Some(records) => self.ready = records.into(),
                None => return Ok(None),
            }
        }
        Ok(self.ready.pop_front())
    }

    /// The next records, at least one; none after the last record of a sealed log.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Record>>, Error> {
        if !self.ready.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ready).into()));
        }
        loop {
            let (begun, is_first) = (Instant::now(), self.log_id.is_none());
            if let Some(page) = self.poll().await? {
                if !page.records.is_empty() {
                    return Ok(Some(page.records));
                }
                if page.is_sealed && page.next >= page.tail {
                    return Ok(None);
                }
            }
            if is_first {
                continue;
            }
            self.consistency = Consistency::Linearizable;
            let pause = PAUSE.saturating_sub(begun.elapsed());
            sleep(pause).await;
        }
    }

    /// The records as a stream. It ends after an error, and after the last record of a sealed log.
    pub fn into_stream(self) -> impl Stream<Item = Result<Record, Error>> + Send {
        stream::unfold(Some(self), |follow| async {
            let mut follow = follow?;
            match follow.next().await {
                Ok(Some(record)) => Some((Ok(record), Some(follow))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Asks once; no page if the replica that was asked is behind the place reached.
    async fn poll(&mut self) -> Result<Option<Page>, Error> {
        let query = ReadQuery {
            max_bytes: self.bytes_max,
            // The first poll finds the place. If it waited, a repetition of it would find a later one.
            wait: self.log_id.map(|_| WAIT),
            consistency: self.consistency,
            ..ReadQuery::from(self.from)
        };
        let page = match self.log.read_of(&query, self.log_id).await {
            Ok(page) => page,
            Err(error) if self.is_behind(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.check(&page)?;
        self.from = ReadFrom::Position(page.next);
        self.log_id = Some(page.log_id);
        self.tail = Some(page.tail);
        self.consistency = Consistency::Local;
        Ok(Some(page))
    }

    /// Whether a local read found a replica that has not come this far yet.
    fn is_behind(&self, error: &Error) -> bool {
        let is_local = self.consistency == Consistency::Local;
        is_local && error.code() == Some(ErrorCode::BeyondTail)
    }

    /// What follows must follow without a gap, in the same log.
    fn check(&self, page: &Page) -> Result<(), Error> {
        let refuse = |reason| Err(Error::protocol(reason, super::error::Outcome::NotDone));
        if self.log_id.is_some_and(|log_id| log_id != page.log_id) {
            return refuse(format!("the answer is about log {}", page.log_id));
        }
        let begins = page.records.first().map_or(page.next, |record| record.position);
        if let ReadFrom::Position(position) = self.from
            && position != begins
        {
            return refuse(format!("asked for {position} and got {begins}"));
        }
        Ok(())
    }
}
