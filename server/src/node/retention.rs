//! What logs let go of by themselves: records older than their log's age, and the oldest beyond its bytes.
//!
//! The leader looks at an interval, only at logs with such a setting, and proposes the very command
//! that a trim by hand proposes. At least what a setting names is kept: of the age, every record that
//! is not older; of the bytes, the newest records that make them up. So that a log is not trimmed
//! record by record, nothing goes before an eighth more has come together (`AGE_SLACK_MAX` and
//! `BYTES_SLACK_MAX` at most); then everything beyond the setting goes at once. Either setting is
//! enough to let a record go.
//!
//! Times are those of the records, and now is what a stamp would say; nothing goes by its age unless a
//! majority agrees with this clock. Settings are read fresh, and no change of settings is proposed
//! between that and the trim: whoever was told that a log keeps more loses nothing of it.
//!
//! Not here: deleting the bytes behind a trim point (`storage`), and purging the journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::types::{LogId, LogSettings, Position, Timestamp};
use tokio::sync::Mutex;
use tracing::debug;

use super::Node;
use super::error::ChangeLogError;
use super::logs::{change_error, target};
use crate::machine::{LogTrimmed, LogView, TrimLog};
use crate::storage::state::{ReadError, State};
use crate::world::BlockingFailed;

/// So far beyond its age a record may stay at most, however long the age.
const AGE_SLACK_MAX: Duration = Duration::from_hours(1);
/// So many bytes beyond its setting a log may hold at most, however many are set.
const BYTES_SLACK_MAX: u64 = 64 << 20;
/// So many logs are looked at in one step.
const LOGS_MAX: usize = 256;

/// What keeps settings and trims by them in order.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// Held by who changes settings, and by who trims by settings that it has read.
    pub(super) settings: Mutex<()>,
}

/// What the first records of logs are like; it holds as long as they are the first.
type FirstTimes = HashMap<LogId, (Position, Timestamp)>;

/// Has logs let go of what is beyond their retention, while this replica leads.
pub(super) async fn enforce(node: Node) {
    let mut leadership = node.core.leadership.clone();
    let mut known = FirstTimes::new();
    loop {
        node.core.world.clock.sleep(node.core.options.retention_interval).await;
        if leadership.wait_for(|leadership| leadership.here).await.is_err() {
            return;
        }
        known = node.enforce_retention(known).await;
    }
}

impl Node {
    /// Looks at all logs with a retention once. Gives what was learnt of their first records.
    async fn enforce_retention(&self, mut known: FirstTimes) -> FirstTimes {
        let mut learnt = FirstTimes::new();
        let mut after = None;
        loop {
            let views = self.core.state.retained(after, LOGS_MAX);
            let Some(last) = views.last() else { return learnt };
            after = Some(last.id);
            let (state, now) = (self.core.state.clone(), self.agreed_time());
            let looked = self.core.tasks.blocking(move || {
                let due = look(&state, &views, now, &known, &mut learnt);
                (due, known, learnt)
            });
            let Ok((due, before, after_it)) = looked.await else { return FirstTimes::new() };
            (known, learnt) = (before, after_it);
            for view in due {
                if !self.core.leadership.borrow().here {
                    return learnt;
                }
                if let Err(reason) = self.trim_by_retention(&view).await {
                    debug!(log = %view.name, %reason, "not trimmed by its retention yet");
                }
            }
        }
    }

    /// Trims a log that was found to be due, if it still is.
    async fn trim_by_retention(&self, view: &LogView) -> Result<(), ChangeLogError> {
        let _settled = self.core.retention.settings.lock().await;
        let term = self.core.leadership.borrow().term;
        // Confirmed by the group: no settings that another leader took are missing.
        let view = self.view_before(&target(view)).await?;
        let (state, looked_at, now) = (self.core.state.clone(), view.clone(), self.agreed_time());
        let found = self.core.tasks.blocking(move || place(&state, &looked_at, now)).await;
        let found = found.map_err(|BlockingFailed| ChangeLogError::Disk)?;
        let found = found.map_err(|error| change_error(&error, view.trim))?;
        let Some(to) = found else { return Ok(()) };
        let bytes_before = self.bytes_before(view.id, to).await?;
        let is_as_before = self.core.leadership.borrow().term == term;
        if !is_as_before || (now.is_some() && self.agreed_time().is_none()) {
            return Ok(());
        }
        let stamp = self.stamp();
        let trim = TrimLog { stamp, log: target(&view), to, bytes_before };
        // Tried once: a later attempt could come after a change of the settings.
        let limit = self.core.options.command_deadline;
        let Ok(trimmed) = self.core.proposer.propose_once(trim, limit).await else { return Ok(()) };
        let LogTrimmed { first, .. } = trimmed?;
        debug!(log = %view.name, %first, records = first.since(view.trim), "trimmed by retention");
        Ok(())
    }

    /// What time it is, as far as a majority agrees.
    pub(super) fn agreed_time(&self) -> Option<Timestamp> {
        let is_agreed = self.core.clocks.is_agreed(&self.core.world.clock);
        is_agreed.then(|| self.stamp())
    }
}

/// Which of the logs are due. Takes over what is known of their first records, and learns the rest.
fn look(
    state: &State,
    views: &[Arc<LogView>],
    now: Option<Timestamp>,
    known: &FirstTimes,
    learnt: &mut FirstTimes,
) -> Vec<Arc<LogView>> {
    let is_due = |view: &&Arc<LogView>| {
        let known = known.get(&view.id).filter(|(first, _)| *first == view.trim);
        let found = known.map_or_else(|| first_time(state, view, now), |(_, time)| Ok(Some(*time)));
        // Whatever is damaged there is found again, and told, by whoever reads it.
        let time = found.unwrap_or(None);
        learnt.extend(time.map(|time| (view.id, (view.trim, time))));
        is_due(view, time, now)
    };
    views.iter().filter(is_due).cloned().collect()
}

/// The time of a log's first record, if it could be too old; nothing, if it cannot or there is none.
fn first_time(
    state: &State,
    view: &LogView,
    now: Option<Timestamp>,
) -> Result<Option<Timestamp>, ReadError> {
    // No record is older than its log, so a young log need not be read.
    let can_be = view.trim < view.tail && is_overdue(&view.settings, view.created, now);
    if can_be { state.first_time(view.id) } else { Ok(None) }
}

/// Where a log is to be trimmed to, if it is due.
fn place(
    state: &State,
    view: &LogView,
    now: Option<Timestamp>,
) -> Result<Option<Position>, ReadError> {
    if !is_due(view, first_time(state, view, now)?, now) {
        return Ok(None);
    }
    let mut to = view.trim;
    if let (Some(age), Some(now)) = (view.settings.retention_age, now) {
        to = to.max(state.locate(view.id, earlier(now, age))?);
    }
    if let Some(bytes) = view.settings.retention_bytes {
        // Of the tail that was seen: whatever came since is kept besides.
        to = to.max(state.locate_bytes(view.id, view.bytes_at_tail.saturating_sub(bytes))?);
    }
    Ok((to > view.trim).then_some(to))
}

/// Whether enough is beyond what a log is to keep; `first_time` is that of its first record.
fn is_due(view: &LogView, first_time: Option<Timestamp>, now: Option<Timestamp>) -> bool {
    let is_large = view
        .settings
        .retention_bytes
        .is_some_and(|bytes| view.bytes() > bytes.saturating_add((bytes / 8).min(BYTES_SLACK_MAX)));
    is_large || first_time.is_some_and(|time| is_overdue(&view.settings, time, now))
}

/// Whether a record of this time is beyond its age by more than the slack.
fn is_overdue(settings: &LogSettings, time: Timestamp, now: Option<Timestamp>) -> bool {
    let (Some(age), Some(now)) = (settings.retention_age, now) else { return false };
    time < earlier(now, age.saturating_add((age / 8).min(AGE_SLACK_MAX)))
}

fn earlier(now: Timestamp, age: Duration) -> Timestamp {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Timestamp::new(now.as_millis().saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use client::types::LogName;

    use super::*;
    use crate::machine::Frontier;

    const HOUR: Duration = Duration::from_hours(1);

    fn settings(age: Option<Duration>, bytes: Option<u64>) -> LogSettings {
        LogSettings { retention_age: age, retention_bytes: bytes, ..LogSettings::default() }
    }

    fn view(settings: LogSettings, bytes: u64) -> LogView {
        LogView {
            id: LogId::new(1),
            name: LogName::new("a").unwrap(),
            settings: Arc::new(settings),
            created: Timestamp::EPOCH,
            trim: Position::new(3),
            tail: Position::new(9),
            bytes_at_trim: 50,
            bytes_at_tail: 50 + bytes,
            last_time: Timestamp::EPOCH,
            sealed: false,
            fence: None,
            renewed: Timestamp::EPOCH,
            frontier: Frontier::empty(),
        }
    }

    #[test]
    fn a_log_is_due_once_it_holds_an_eighth_more_bytes_and_64_mebibytes_at_most() {
        let due = |max, bytes| is_due(&view(settings(None, Some(max)), bytes), None, None);
        assert_eq!([due(800, 900), due(800, 901)], [false, true]);
        let large = 1 << 40;
        assert_eq!(
            [due(large, large + (64 << 20)), due(large, large + (64 << 20) + 1)],
            [false, true]
        );
        assert_eq!([due(0, 0), due(0, 1), due(u64::MAX, 900)], [false, true, false]);
    }

    #[test]
    fn a_log_is_due_once_its_first_record_is_older_by_an_eighth_and_an_hour_at_most() {
        let now = Timestamp::new(1_000_000_000_000);
        let due = |age: Duration, old: Duration| {
            is_due(&view(settings(Some(age), None), 9), Some(earlier(now, old)), Some(now))
        };
        let (eighth, beyond) = (HOUR + HOUR / 8, Duration::from_millis(1));
        assert_eq!([due(HOUR, eighth), due(HOUR, eighth + beyond)], [false, true]);
        let month = HOUR * 720;
        assert_eq!([due(month, month + HOUR), due(month, month + HOUR + beyond)], [false, true]);
        assert!(!due(Duration::MAX, month), "an age beyond all time keeps everything");
    }

    #[test]
    fn without_an_agreed_time_age_lets_nothing_go_and_bytes_still_do() {
        let old = Some(Timestamp::EPOCH);
        assert!(!is_due(&view(settings(Some(HOUR), None), 9), old, None));
        assert!(!is_due(&view(settings(Some(HOUR), Some(9)), 9), old, None));
        assert!(is_due(&view(settings(Some(HOUR), Some(1)), 9), old, None));
    }
}
