//! Reads: a range of a log, at a chosen freshness; and what a log is like.
//!
//! A linearizable read sees every append acknowledged before it began. It needs no question to the
//! leader if it names the log by its id and lies wholly below the tail known here, because positions
//! never change. A local read shows what this replica has applied and holds durably. What is read
//! from disk is read beside the tasks; what is in memory, at once.
//!
//! Not here: what makes a read fresh (`freshness`), and following (`follow`).

use std::sync::Arc;
use std::time::Duration;

use client::api::logs::{LogDescription, Settings};
use client::api::reading::{Consistency, ReadFrom};
use client::api::resume::ResumeToken;
use client::types::{LogId, LogName, LogSettings, Position, Record, Timestamp};

use super::Node;
use super::append::LogTarget;
use super::error::{NotFresh, ReadError};
use super::freshness::AsOf;
use super::tails::{Fate, Moment};
use crate::machine::LogView;
use crate::storage::state::{self, Level, Page, ReadLimit, State};

/// Where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a place of the log that has the name now.
    From(ReadFrom),
    /// Where another read of one history of one log stopped.
    Resume(ResumeToken),
}

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// Of which log.
    pub log: LogTarget,
    /// From where.
    pub start: Start,
    /// Most records of the answer; capped by the node's own limit.
    pub records_max: Option<u64>,
    /// Most bytes of the answer, but at least one record; capped by the node's own limit.
    pub bytes_max: Option<u64>,
    /// How fresh.
    pub consistency: Consistency,
    /// How long to wait if there is nothing yet.
    pub wait: Option<Duration>,
}

/// Records, and the log they are from.
#[derive(Clone, Debug)]
pub struct ReadAnswer {
    /// The log.
    pub log: LogId,
    /// The records, in order; empty at the tail.
    pub records: Vec<Record>,
    /// The position after the last record, or where the read began.
    pub next: Position,
    /// The first position that can be read.
    pub first: Position,
    /// The position the next record of the log gets.
    pub tail: Position,
    /// Whether the log ends at its tail.
    pub is_sealed: bool,
    /// What is set on the log.
    pub settings: Arc<LogSettings>,
    /// Where to go on, as a text for the caller to keep.
    pub token: ResumeToken,
    /// What the answer was drawn from.
    pub as_of: AsOf,
}

/// One record, and the log it is from.
#[derive(Clone, Debug)]
pub struct RecordAnswer {
    /// The log.
    pub log: LogId,
    /// What its bodies are, if that is set.
    pub content_type: Option<String>,
    /// The record.
    pub record: Record,
    /// What the answer was drawn from.
    pub as_of: AsOf,
}

/// An answer, and what it was drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<T> {
    /// The answer.
    pub answer: T,
    /// What it was drawn from.
    pub as_of: AsOf,
}

impl Node {
    /// Reads records. If there is none yet, waits for some as long as the request says.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadAnswer, ReadError> {
        let plan = self.plan_read(&request).await?;
        let limit = self.read_limit(request.records_max, request.bytes_max);
        let page = self.page(&plan.view, plan.from, limit, plan.level).await;
        let is_worth_waiting = match &page {
            Ok(page) => page.records.is_empty() && !plan.view.sealed,
            // Applied here, and not yet durable here: a local read ends before it.
            Err(ReadError::BeyondTail { .. }) => plan.from <= plan.view.tail,
            Err(_) => false,
        };
        let page = match request.wait {
            Some(wait) if is_worth_waiting => {
                self.wait_for_page(&plan, limit, wait).await?.map_or(page, Ok)
            }
            Some(_) | None => page,
        };
        Ok(self.answer(&plan.view, page?, request.consistency))
    }

    /// Reads the record at a position.
    pub async fn read_one(
        &self,
        log: LogTarget,
        position: Position,
        consistency: Consistency,
    ) -> Result<RecordAnswer, ReadError> {
        let request = ReadRequest {
            log,
            start: Start::From(ReadFrom::Position(position)),
            records_max: Some(1),
            bytes_max: Some(1),
            consistency,
            wait: None,
        };
        let plan = self.plan_read(&request).await?;
        let page =
            self.page(&plan.view, position, self.read_limit(Some(1), Some(1)), plan.level).await?;
        let tail = page.tail;
        let record = page.records.into_iter().next().ok_or(ReadError::BeyondTail { tail })?;
        let content_type = plan.view.settings.content_type.clone();
        Ok(RecordAnswer { log: plan.log, content_type, record, as_of: self.as_of() })
    }

    /// What a log is like.
    pub async fn describe_log(
        &self,
        log: &LogTarget,
        consistency: Consistency,
    ) -> Result<Seen<LogDescription>, ReadError> {
        self.be_fresh(consistency).await?;
        let view = self.view(log)?;
        let answer = describe(&view);
        Ok(Seen { answer, as_of: self.as_of() })
    }

    /// What this replica shows of a log.
    pub(super) fn view(&self, log: &LogTarget) -> Result<Arc<LogView>, ReadError> {
        let view = self.core.state.view(&log.name);
        let view = view.ok_or_else(|| ReadError::UnknownLog { log: log.name.clone() })?;
        match log.id {
            Some(id) if id != view.id => Err(ReadError::IdDiffers { current: view.id }),
            Some(_) | None => Ok(view),
        }
    }

    /// Decides from which log and position to read, as fresh as asked.
    async fn plan_read(&self, request: &ReadRequest) -> Result<ReadPlan, ReadError> {
        if let Some(plan) = self.plan_without_round(request) {
            return Ok(plan);
        }
        let (view, from) =
            self.find_start(&request.log, request.start, request.consistency).await?;
        let level = match request.consistency {
            Consistency::Linearizable => Level::Applied,
            Consistency::Local => Level::Durable,
        };
        Ok(ReadPlan { log: view.id, from, level, view })
    }

    /// A read that names its log by id and ends before the tail known here: it says nothing of where the end is.
    fn plan_without_round(&self, request: &ReadRequest) -> Option<ReadPlan> {
        let Start::Resume(token) = request.start else { return None };
        let view = self.core.state.view(&request.log.name)?;
        let limit = self.read_limit(request.records_max, request.bytes_max);
        let until = token.next.checked_advance(u64::try_from(limit.records_max).ok()?)?;
        let is_fine = self.is_of(&token, &view)
            && request.log.id.is_none_or(|id| id == view.id)
            && request.consistency == Consistency::Linearizable
            && until < view.tail;
        is_fine.then_some(ReadPlan { log: view.id, from: token.next, level: Level::Applied, view })
    }

    fn is_of(&self, token: &ResumeToken, view: &LogView) -> bool {
        token.log_id == view.id && token.generation == self.generation()
    }

    /// The log as fresh as asked, and the position at which a read of it begins.
    pub(super) async fn find_start(
        &self,
        log: &LogTarget,
        start: Start,
        consistency: Consistency,
    ) -> Result<(Arc<LogView>, Position), ReadError> {
        self.be_fresh(consistency).await?;
        let view = self.view(log)?;
        let from = match start {
            Start::Resume(token) if self.is_of(&token, &view) => token.next,
            Start::Resume(_) => return Err(ReadError::OtherHistory),
            Start::From(ReadFrom::Time(time)) => self.locate(&view, time).await?,
            Start::From(from) => resolve(&view, from),
        };
        Ok((view, from))
    }

    /// The first record of this time or later.
    async fn locate(&self, view: &LogView, time: Timestamp) -> Result<Position, ReadError> {
        let (state, log) = (self.core.state.clone(), view.id);
        let located = self.core.tasks.blocking(move || state.locate(log, time)).await;
        let located = located.map_err(|_failed| ReadError::Disk)?;
        located.map_err(|error| read_error(&view.name, &error))
    }
}

/// From which log and position a read is served, and what it may show.
struct ReadPlan {
    log: LogId,
    from: Position,
    level: Level,
    view: Arc<LogView>,
}

impl Node {
    /// What is asked, cut to what this node answers at most.
    pub(super) fn read_limit(&self, records_max: Option<u64>, bytes_max: Option<u64>) -> ReadLimit {
        let options = &self.core.options;
        let capped = |wanted: Option<u64>, max: u32| {
            let max = u64::from(max);
            let capped = wanted.unwrap_or(max).clamp(1, max);
            usize::try_from(capped).expect("a cap of 32 bits fits in memory")
        };
        ReadLimit {
            records_max: capped(records_max, options.read_records_max),
            bytes_max: capped(bytes_max, options.read_bytes_max),
        }
    }

    /// Reads records: from memory at once, from disk beside the tasks.
    pub(super) async fn page(
        &self,
        view: &LogView,
        from: Position,
        limit: ReadLimit,
        level: Level,
    ) -> Result<Page<Record>, ReadError> {
        self.check_state()?;
        let (node, log) = (&*self.core, view.id);
        if let Some(page) = node.state.read_suffix(log, from, limit, level) {
            return page.map_err(|error| read_error(&view.name, &error));
        }
        let state = node.state.clone();
        let page = node.tasks.blocking(move || state.read(log, from, limit, level)).await;
        let page = page.map_err(|_failed| ReadError::Disk)?;
        page.map_err(|error| read_error(&view.name, &error))
    }

    /// Waits for the first records from the planned position on. None: nothing came in time, or the members
    /// changed, which whoever waits should learn of while somebody it knows is still there.
    async fn wait_for_page(
        &self,
        plan: &ReadPlan,
        limit: ReadLimit,
        wait: Duration,
    ) -> Result<Option<Page<Record>>, ReadError> {
        let node = &*self.core;
        let deadline = node.world.clock.after(wait.min(node.options.wait_max));
        let _place = self.take_follower_place()?;
        let mut moments = node.tails.watch(plan.log);
        let mut membership = node.membership.clone();
        membership.mark_unchanged();
        loop {
            let moment = *moments.borrow_and_update();
            if moment.fate == Fate::Deleted {
                return Err(ReadError::Deleted { log: plan.view.name.clone() });
            }
            if moment.tail > plan.from || moment.fate == Fate::Sealed {
                // Committed, and so right for ever: no need to wait until it is durable here.
                return self.page(&plan.view, plan.from, limit, Level::Applied).await.map(Some);
            }
            let either = async {
                tokio::select! {
                    changed = moments.changed() => changed.map(|()| true),
                    changed = membership.changed() => changed.map(|()| false),
                }
            };
            match node.world.clock.until(deadline, either).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => return Ok(None),
                Ok(Err(_closed)) => return Err(NotFresh::Stopping.into()),
            }
        }
    }

    /// Puts a page into words, and counts it.
    pub(super) fn answer(
        &self,
        view: &LogView,
        page: Page<Record>,
        consistency: Consistency,
    ) -> ReadAnswer {
        let node = &*self.core;
        let (count, bytes) = size(&page);
        node.metrics.read_answered(name(consistency), count, bytes);
        let Page { records, next, tail, first } = page;
        let token = ResumeToken { generation: self.generation(), log_id: view.id, next };
        let now = node.state.view_by_id(view.id);
        let is_sealed = now.is_some_and(|now| now.sealed && now.tail == tail);
        let as_of = self.as_of();
        let settings = Arc::clone(&view.settings);
        ReadAnswer { log: view.id, records, next, first, tail, is_sealed, settings, token, as_of }
    }
}

/// The position that a read begins at.
fn resolve(view: &LogView, from: ReadFrom) -> Position {
    match from {
        ReadFrom::First => view.trim,
        ReadFrom::Position(position) => position,
        ReadFrom::Last(count) => {
            let back = count.min(view.tail.since(view.trim));
            Position::new(view.tail.get() - back)
        }
        // A time was looked up among the records before.
        ReadFrom::Tail | ReadFrom::Time(_) => view.tail,
    }
}

/// A log in the contract's words.
pub(super) fn describe(view: &LogView) -> LogDescription {
    LogDescription {
        log: view.name.clone(),
        log_id: view.id,
        created: view.created,
        first: view.trim,
        tail: view.tail,
        bytes: view.bytes(),
        last_time: (view.tail > Position::ZERO).then_some(view.last_time),
        sealed: view.sealed,
        fence: view.fence.clone(),
        settings: Settings::from(&*view.settings),
        root: view.frontier.root(),
    }
}

fn read_error(log: &LogName, error: &state::ReadError) -> ReadError {
    match *error {
        state::ReadError::UnknownLog => ReadError::UnknownLog { log: log.clone() },
        state::ReadError::Trimmed { first } => ReadError::Trimmed { first },
        state::ReadError::BeyondTail { tail } => ReadError::BeyondTail { tail },
        state::ReadError::Damaged { range } => ReadError::Damaged { range },
        state::ReadError::Storage(_) => ReadError::Disk,
    }
}

fn size(page: &Page<Record>) -> (u64, u64) {
    let bytes: usize = page.records.iter().map(Record::bytes).sum();
    (count(page.records.len()), count(bytes))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn name(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Linearizable => "linearizable",
        Consistency::Local => "local",
    }
}

/// How a log is now, for those who wait for it.
pub(super) fn look(state: State) -> impl Fn(LogId) -> Moment + Send + Sync + 'static {
    move |log| {
        state.view_by_id(log).map_or(Moment::DELETED, |view| Moment {
            first: view.trim,
            tail: view.tail,
            fate: if view.sealed { Fate::Sealed } else { Fate::Open },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::machine::Frontier;

    fn log(trim: u64, tail: u64) -> LogView {
        LogView {
            id: LogId::new(1),
            name: LogName::new("orders").unwrap(),
            settings: Arc::new(LogSettings::default()),
            created: Timestamp::new(5),
            trim: Position::new(trim),
            tail: Position::new(tail),
            bytes_at_trim: 10 * trim,
            bytes_at_tail: 10 * tail,
            last_time: Timestamp::new(9),
            sealed: false,
            fence: None,
            renewed: Timestamp::EPOCH,
            frontier: Frontier::empty(),
        }
    }

    #[test]
    fn a_read_begins_where_it_was_asked_to() {
        let cases = [
            (ReadFrom::First, 3),
            (ReadFrom::Tail, 10),
            (ReadFrom::Position(Position::new(5)), 5),
            // Neither trimmed nor beyond the tail is decided here: who reads tells.
            (ReadFrom::Position(Position::new(50)), 50),
            (ReadFrom::Last(0), 10),
            (ReadFrom::Last(2), 8),
            (ReadFrom::Last(7), 3),
            (ReadFrom::Last(u64::MAX), 3),
        ];
        for (from, position) in cases {
            assert_eq!(resolve(&log(3, 10), from), Position::new(position), "{from}");
        }
        assert_eq!(resolve(&log(0, 0), ReadFrom::Last(5)), Position::ZERO);
    }

    #[test]
    fn a_log_without_records_has_no_last_time() {
        let empty = describe(&log(0, 0));
        assert_eq!((empty.last_time, empty.bytes), (None, 0));
        let trimmed = describe(&log(10, 10));
        assert_eq!((trimmed.last_time, trimmed.bytes), (Some(Timestamp::new(9)), 0));
    }
}
