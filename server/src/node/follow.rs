//! Follows: reads that wait for what is not yet there.
//!
//! A follow gives the records of a log from a position on, in order, none twice and none left out,
//! for as long as its owner asks. It shows what is committed: what it gave stays true on every
//! replica and after every crash, so it can be resumed anywhere by its token. It ends with the log.
//!
//! Not here: who is woken when (`tails`), and how events travel (`http`).

use std::sync::Arc;
use std::time::Duration;

use client::api::reading::Consistency;
use client::api::resume::ResumeToken;
use client::types::{LogId, LogName, LogSettings, Position};
use futures_util::Stream;
use tokio::sync::watch;

use super::Node;
use super::append::LogTarget;
use super::error::{NotFresh, ReadError};
use super::freshness::AsOf;
use super::permit::Permit;
use super::read::{ReadAnswer, Start};
use super::tails::{Fate, Moment};
use crate::metrics::Metrics;
use crate::storage::state::{Level, ReadLimit};

/// After this time a caller may try again who found no place to follow.
const PLACE_RETRY: Duration = Duration::from_secs(1);

/// What to follow.
#[derive(Clone, Debug)]
pub struct FollowRequest {
    /// Which log.
    pub log: LogTarget,
    /// From where.
    pub start: Start,
    /// Most records of one page; capped by the node's own limit.
    pub records_max: Option<u64>,
    /// Most bytes of one page, but at least one record; capped by the node's own limit.
    pub bytes_max: Option<u64>,
    /// How fresh the beginning must be: where the tail is, and whether the log is there at all.
    pub consistency: Consistency,
}

/// What comes next in a follow.
#[derive(Clone, Debug)]
pub enum FollowEvent {
    /// The next records; at least one.
    Records(ReadAnswer),
    /// Nothing new for a while, and the follow goes on.
    Heartbeat {
        /// The position the next record of the log gets.
        tail: Position,
        /// Where to go on.
        token: ResumeToken,
        /// How many entries this replica is known to lack; none if it hears of no leader.
        lag_entries: Option<u64>,
    },
    /// The log is sealed and everything in it was given. Nothing more comes.
    End {
        /// The position after the last record.
        tail: Position,
        /// Where it ended.
        token: ResumeToken,
    },
}

/// A log being followed. Dropping it ends the follow.
pub struct Follow {
    node: Node,
    name: LogName,
    log: LogId,
    settings: Arc<LogSettings>,
    next: Position,
    limit: ReadLimit,
    moments: watch::Receiver<Moment>,
    is_ended: bool,
    _place: FollowerPlace,
}

impl Node {
    /// Follows a log.
    pub async fn follow(&self, request: FollowRequest) -> Result<Follow, ReadError> {
        let place = self.take_follower_place()?;
        let FollowRequest { log, start, records_max, bytes_max, consistency } = request;
        let (view, next) = self.find_start(&log, start, consistency).await?;
        if next > view.tail {
            return Err(ReadError::BeyondTail { tail: view.tail });
        }
        if next < view.trim {
            return Err(ReadError::Trimmed { first: view.trim });
        }
        Ok(Follow {
            moments: self.core.tails.watch(view.id),
            node: self.clone(),
            name: log.name,
            log: view.id,
            settings: Arc::clone(&view.settings),
            next,
            limit: self.read_limit(records_max, bytes_max),
            is_ended: false,
            _place: place,
        })
    }

    /// Takes one of the places of those who wait.
    pub(super) fn take_follower_place(&self) -> Result<FollowerPlace, ReadError> {
        let permit = self.core.followers.admit(0);
        let permit = permit.ok_or(ReadError::TooManyFollowers { retry_after: PLACE_RETRY })?;
        self.core.metrics.follow_started();
        Ok(FollowerPlace { metrics: self.core.metrics.clone(), _permit: permit })
    }
}

impl Follow {
    /// Waits for what comes next. After `End` or an error nothing more comes.
    pub async fn next(&mut self) -> Result<FollowEvent, ReadError> {
        let result = self.wait_next().await;
        self.is_ended = matches!(result, Err(_) | Ok(FollowEvent::End { .. }));
        result
    }

    /// The same as a stream that ends with the follow.
    pub fn into_stream(self) -> impl Stream<Item = Result<FollowEvent, ReadError>> + Send {
        futures_util::stream::unfold(self, |mut follow| async move {
            if follow.is_ended {
                return None;
            }
            let event = follow.next().await;
            Some((event, follow))
        })
    }

    async fn wait_next(&mut self) -> Result<FollowEvent, ReadError> {
        let quiet = self.node.core.options.follow_heartbeat;
        let clock = self.node.core.world.clock.clone();
        loop {
            let moment = *self.moments.borrow_and_update();
            if moment.fate == Fate::Deleted {
                return Err(ReadError::Deleted { log: self.name.clone() });
            }
            if self.next < moment.tail {
                return self.page().await;
            }
            if moment.fate == Fate::Sealed {
                return Ok(FollowEvent::End { tail: moment.tail, token: self.token() });
            }
            match clock.within(quiet, self.moments.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return Err(NotFresh::Stopping.into()),
                Err(_expired) => return Ok(self.heartbeat(moment.tail)),
            }
        }
    }

    async fn page(&mut self) -> Result<FollowEvent, ReadError> {
        let view = self.node.core.state.view_by_id(self.log);
        let view = view.ok_or_else(|| ReadError::Deleted { log: self.name.clone() })?;
        let page = self.node.page(&view, self.next, self.limit, Level::Applied).await?;
        assert!(!page.records.is_empty(), "there are records between {} and the tail", self.next);
        self.next = page.next;
        Ok(FollowEvent::Records(self.node.answer(&view, page, Consistency::Linearizable)))
    }

    fn heartbeat(&self, tail: Position) -> FollowEvent {
        let lag_entries = self.node.as_of().lag_entries;
        FollowEvent::Heartbeat { tail, token: self.token(), lag_entries }
    }

    /// What is set on the log, as of the beginning.
    pub fn settings(&self) -> &LogSettings {
        &self.settings
    }

    /// Whether everything was given, and more may come.
    pub fn is_open_at_its_end(&self) -> bool {
        let moment = *self.moments.borrow();
        moment.fate == Fate::Open && self.next >= moment.tail
    }

    /// What the next event will be drawn from.
    pub fn as_of(&self) -> AsOf {
        self.node.as_of()
    }

    /// Where to go on, as of what was given.
    pub fn token(&self) -> ResumeToken {
        ResumeToken { generation: self.node.generation(), log_id: self.log, next: self.next }
    }
}

/// One of the places of those who wait; given back when dropped.
pub(super) struct FollowerPlace {
    metrics: Metrics,
    _permit: Permit,
}

impl Drop for FollowerPlace {
    fn drop(&mut self) {
        self.metrics.follow_ended();
    }
}
