//! [`Consumer`]: a follow that keeps its place in a cursor of the log.
//!
//! It begins where the cursor is, and moves it when it is told to, always from where it left it. So a
//! commit that was delayed on its way moves nothing back, and of two consumers of one name the second
//! one that commits is told that it is not alone.
//!
//! Not here: which records were dealt with. Whoever commits says that all that were handed out are.

use super::error::Outcome;
use super::follow::Follow;
#[cfg(doc)]
use super::kinds::CursorErrorKind;
use super::kinds::{CursorError, ReadError};
use super::log::Log;
use crate::api::reading::{Consistency, ReadFrom};
use crate::types::{CursorName, Position, Record};

/// How a [`Consumer`] reads: `log.consumer(name)`, settings, `start()`.
///
/// ```no_run
/// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::api::reading::{Consistency, ReadFrom};
///
/// let billing = log
///     .consumer("billing".parse()?)
///     .from(ReadFrom::Tail)                       // if it was never here before
///     .bytes_max(1 << 20)
///     .consistency(Consistency::Linearizable)
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a consumer has to be started"]
pub struct ConsumerBuilder {
    log: Log,
    name: CursorName,
    from: ReadFrom,
    bytes_max: Option<u64>,
    consistency: Option<Consistency>,
}

impl ConsumerBuilder {
    pub(super) const fn new(log: Log, name: CursorName) -> Self {
        Self { log, name, from: ReadFrom::First, bytes_max: None, consistency: None }
    }

    /// Where to begin if there is no such cursor yet; at the first record that is there by default.
    pub const fn from(mut self, from: ReadFrom) -> Self {
        self.from = from;
        self
    }

    /// As [`Follow::bytes_max`].
    pub const fn bytes_max(mut self, bytes_max: u64) -> Self {
        self.bytes_max = Some(bytes_max);
        self
    }

    /// As [`Follow::consistency`].
    pub const fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = Some(consistency);
        self
    }

    /// Looks where the cursor is. An error if that cannot be learned, or if there is no such log.
    pub async fn start(self) -> Result<Consumer, CursorError> {
        let cursor = self.log.cursor(&self.name).await?;
        let mut follow = self.log.follow(cursor.map_or(self.from, ReadFrom::Position));
        if let Some(bytes_max) = self.bytes_max {
            follow = follow.bytes_max(bytes_max);
        }
        if let Some(consistency) = self.consistency {
            follow = follow.consistency(consistency);
        }
        let committed = cursor.unwrap_or(Position::ZERO);
        Ok(Consumer { log: self.log, name: self.name, follow, committed, doubtful: Vec::new() })
    }
}

/// Reads a log on from where it was left, over restarts.
///
/// What was handed out and not committed is handed out again after a restart, so whoever deals with a
/// record before it commits deals with each at least once. Exactly once needs the effect and the place to
/// be kept together: then start a [`Follow`] from the place that was kept, and use no cursor.
///
/// ```no_run
/// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
/// let mut billing = log.consumer("billing".parse()?).start().await?;
/// while let Some(records) = billing.next_page().await? {
///     for record in records {
///         println!("{} {:?}", record.position, record.body);
///     }
///     billing.commit().await?;
/// }
///
/// // Or one by one.
/// while let Some(record) = billing.next().await? {
///     billing.commit_to(record.position.advance(1)).await?;
/// }
/// println!("{} is at {}, and has seen up to {:?}", billing.name(), billing.committed(), billing.position());
/// println!("of {:?}", billing.tail());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    log: Log,
    name: CursorName,
    follow: Follow,
    committed: Position,
    /// Where commits of unknown outcome may have moved it since.
    doubtful: Vec<Position>,
}

impl Consumer {
    /// The name of its cursor.
    pub const fn name(&self) -> &CursorName {
        &self.name
    }

    /// Where the cursor is, as far as this consumer knows.
    pub const fn committed(&self) -> Position {
        self.committed
    }

    /// One past the last record that was handed out, once that is known.
    pub fn position(&self) -> Option<Position> {
        self.follow.position()
    }

    /// The log's tail as the last poll saw it.
    pub const fn tail(&self) -> Option<Position> {
        self.follow.tail()
    }

    /// The next record, as [`Follow::next`].
    pub async fn next(&mut self) -> Result<Option<Record>, ReadError> {
        self.follow.next().await
    }

    /// The next records, as [`Follow::next_page`].
    pub async fn next_page(&mut self) -> Result<Option<Vec<Record>>, ReadError> {
        self.follow.next_page().await
    }

    /// Stores in the cursor that everything that was handed out is dealt with.
    ///
    /// After an error it can be called again. Refused as [`Moved`](CursorErrorKind::Moved) if somebody else has moved
    /// the cursor: there is another consumer of this name, and this one had better stop.
    pub async fn commit(&mut self) -> Result<(), CursorError> {
        let Some(position) = self.follow.position() else { return Ok(()) };
        self.commit_to(position).await
    }

    /// The same up to one position, behind the last record that was dealt with.
    pub async fn commit_to(&mut self, position: Position) -> Result<(), CursorError> {
        if position == self.committed {
            return Ok(());
        }
        let id = self.follow.log_id();
        // In doubt at once: if this call is dropped half-way, the cursor may have been moved.
        self.doubtful.push(position);
        loop {
            let moved = self.log.move_cursor_of(&self.name, id, self.committed, position).await;
            let Err(error) = moved else { break };
            if error.outcome() == Outcome::NotDone {
                self.doubtful.pop();
            }
            let by_us = error.actual().cursor.filter(|actual| self.doubtful.contains(actual));
            // A commit whose outcome was unknown has happened: this one goes on from there.
            self.committed = by_us.ok_or(error)?;
            self.doubtful = vec![position];
        }
        self.committed = position;
        self.doubtful.clear();
        Ok(())
    }
}
