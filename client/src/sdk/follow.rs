//! [`Follow`]: an endless read that survives reconnects.
//!
//! It is a long poll in frames: the place it has reached is a position and nothing else, so it goes
//! on at any replica without a gap and without repeating. While the records of one poll are looked
//! at, the next poll is under way: never more than one, and only after somebody has asked for the
//! first record.
//!
//! Unless told otherwise, polls are local, which costs the leader nothing; the first one, and the one
//! after a wait that brought nothing, are linearizable, so that a replica that was cut off cannot
//! keep a follower waiting for ever.
//!
//! Not here: positions that outlive the process (`consumer`).

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::error::{Error, Outcome};
use super::kinds::ReadError;
use super::log::{Log, Page};
use crate::api::error::ErrorCode;
use crate::api::reading::{Consistency, ReadFrom, ReadQuery};
use crate::types::{Generation, LogId, Position, Record};

/// How long one poll waits for a record.
const WAIT: Duration = Duration::from_secs(10);
/// Shortest time between two polls of which the first brought nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// An endless read of one log.
///
/// ```no_run
/// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::api::reading::{Consistency, ReadFrom};
/// use quorate_client::types::Position;
///
/// // From where an earlier one has come, at whatever replica.
/// let mut follow = log.follow(ReadFrom::Position(Position::new(4711)));
/// while let Some(record) = follow.next().await? {
///     println!("{} {:?}", record.position, record.body);
/// }
/// println!("of log {:?}, up to {:?}, tail {:?}", follow.log_id(), follow.position(), follow.tail());
/// // Shows nothing that the replica which answers does not have by itself, and little of it at once.
/// let mut local = log.follow(ReadFrom::Tail).consistency(Consistency::Local).bytes_max(1 << 16);
/// local.next_page().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Follow {
    /// As far as was handed out.
    reader: Reader,
    /// The poll behind that, if one is under way. It ends with the follow.
    ahead: JoinSet<(Reader, Result<Polled, ReadError>)>,
    tail: Option<Position>,
    is_over: bool,
    ready: VecDeque<Record>,
}

impl Follow {
    pub(super) fn new(log: Log, from: ReadFrom) -> Self {
        let reader = Reader {
            log,
            from,
            consistency: None,
            was_idle: true,
            bytes_max: None,
            log_id: None,
            generation: None,
        };
        Self { reader, ahead: JoinSet::new(), tail: None, is_over: false, ready: VecDeque::new() }
    }

    /// The same follow, of the log of this id alone, as the cluster of this generation keeps it.
    pub(super) const fn of_log(mut self, id: LogId, generation: Option<Generation>) -> Self {
        self.reader.log_id = Some(id);
        self.reader.generation = generation;
        self
    }

    /// The same follow, asking for at most this many bytes at once. To be set before the first record
    /// is asked for, as all that is set.
    #[must_use]
    pub const fn bytes_max(mut self, bytes_max: u64) -> Self {
        self.reader.bytes_max = Some(bytes_max);
        self
    }

    /// The same follow, all of whose polls are this fresh. By default they are local as long as there
    /// is something to read, and linearizable at the beginning and after a wait in vain.
    #[must_use]
    pub const fn consistency(mut self, consistency: Consistency) -> Self {
        self.reader.consistency = Some(consistency);
        self
    }

    /// The log's tail as the last poll saw it.
    pub const fn tail(&self) -> Option<Position> {
        self.tail
    }

    /// Which log is followed, once it is known.
    pub const fn log_id(&self) -> Option<LogId> {
        self.reader.log_id
    }

    /// Where it goes on: one past the last record that was handed out, once that is known.
    pub fn position(&self) -> Option<Position> {
        let waiting = self.ready.front().map(|record| record.position);
        waiting.or(match self.reader.from {
            ReadFrom::Position(position) => Some(position),
            ReadFrom::First | ReadFrom::Tail | ReadFrom::Last(_) | ReadFrom::Time(_) => None,
        })
    }

    /// The next record; none after the last record of a sealed log. After an error it can be asked
    /// again and goes on where it was.
    ///
    /// Safe to cancel: what has come is kept for the next call.
    pub async fn next(&mut self) -> Result<Option<Record>, ReadError> {
        if self.ready.is_empty() {
            match self.next_page().await? {
                Some(records) => self.ready = records.into(),
                None => return Ok(None),
            }
        }
        Ok(self.ready.pop_front())
    }

    /// The next records, at least one; none after the last record of a sealed log.
    ///
    /// Safe to cancel: what has come is kept for the next call.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Record>>, ReadError> {
        if !self.ready.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ready).into()));
        }
        if self.is_over {
            return Ok(None);
        }
        self.read_ahead();
        let joined = self.ahead.join_next().await.expect("a poll is under way");
        let (reader, polled) = match joined {
            Ok(polled) => polled,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => return Err(Error::usage("the runtime ends").into()),
        };
        // Also after an error: it may have found its place before that.
        self.reader = reader;
        let polled = polled?;
        self.tail = Some(polled.tail);
        self.is_over = polled.is_last;
        if polled.records.is_empty() {
            return Ok(None);
        }
        if !self.is_over {
            self.read_ahead();
        }
        Ok(Some(polled.records))
    }

    /// The records as a stream. It ends after the last record of a sealed log, and after an error that no
    /// patience helps; after any other it goes on where it was.
    ///
    /// ```no_run
    /// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::TryStreamExt as _;
    /// use quorate_client::api::reading::ReadFrom;
    ///
    /// let mut records = Box::pin(log.follow(ReadFrom::First).into_stream());
    /// while let Some(record) = records.try_next().await? {
    ///     println!("{}", record.position);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stream(self) -> impl Stream<Item = Result<Record, ReadError>> + Send {
        stream::unfold(Some(self), |follow| async {
            let mut follow = follow?;
            match follow.next().await.transpose()? {
                Err(error) if !error.is_retryable() => Some((Err(error), None)),
                read => Some((read, Some(follow))),
            }
        })
    }

    fn read_ahead(&mut self) {
        if self.ahead.is_empty() {
            self.ahead.spawn(self.reader.clone().read());
        }
    }
}

/// What a follow asks for next.
#[derive(Clone, Debug)]
struct Reader {
    log: Log,
    from: ReadFrom,
    /// How fresh each poll is, if that was said.
    consistency: Option<Consistency>,
    /// The last poll brought nothing.
    was_idle: bool,
    bytes_max: Option<u64>,
    /// The log that the first poll found: the name may come to mean another one.
    log_id: Option<LogId>,
    /// Not of another one, if that matters.
    generation: Option<Generation>,
}

/// Some records; none only if it is the last that there is.
#[derive(Debug)]
struct Polled {
    records: Vec<Record>,
    tail: Position,
    /// Nothing will ever come behind it.
    is_last: bool,
}

impl Reader {
    /// Asks until there is something.
    async fn read(mut self) -> (Self, Result<Polled, ReadError>) {
        loop {
            let (begun, is_first) = (Instant::now(), self.log_id.is_none());
            match self.poll().await {
                Ok(Some(Page { records, next, tail, is_sealed, .. })) => {
                    let is_last = is_sealed && next >= tail;
                    if is_last || !records.is_empty() {
                        self.was_idle = false;
                        return (self, Ok(Polled { records, tail, is_last }));
                    }
                }
                Ok(None) => {}
                Err(error) => return (self, Err(error)),
            }
            if is_first {
                continue;
            }
            self.was_idle = true;
            sleep(PAUSE.saturating_sub(begun.elapsed())).await;
        }
    }

    /// Asks once; no page if the replica that was asked is behind the place reached.
    async fn poll(&mut self) -> Result<Option<Page>, ReadError> {
        let by_itself = if self.was_idle { Consistency::Linearizable } else { Consistency::Local };
        let consistency = self.consistency.unwrap_or(by_itself);
        let query = ReadQuery {
            max_bytes: self.bytes_max,
            // The first poll finds the place. If it waited, a repetition of it would find a later one.
            wait: self.log_id.map(|_| WAIT),
            consistency,
            ..ReadQuery::from(self.from)
        };
        let page = match self.log.read_of(&query, self.log_id).await {
            Ok(page) => page,
            Err(error) if is_behind(&error, consistency) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.check(&page)?;
        self.from = ReadFrom::Position(page.next);
        self.log_id = Some(page.log_id);
        self.was_idle = false;
        Ok(Some(page))
    }

    /// What follows must follow without a gap, in the same log.
    fn check(&self, page: &Page) -> Result<(), ReadError> {
        let refuse = |reason| Err(Error::protocol(reason, Outcome::NotDone).into());
        if self.log_id.is_some_and(|log_id| log_id != page.log_id) {
            return refuse(format!("the answer is about log {}", page.log_id));
        }
        let generations = self.generation.zip(page.generation);
        if let Some((_, now)) = generations.filter(|(known, now)| known != now) {
            return refuse(format!("the cluster was recovered, in generation {now}"));
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

/// Whether a local read found a replica that has not come this far yet.
fn is_behind(error: &ReadError, consistency: Consistency) -> bool {
    consistency == Consistency::Local && error.code() == Some(ErrorCode::BeyondTail)
}
