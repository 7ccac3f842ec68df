//! What can be done to a log besides appending: create, set, list, trim, seal, fence, delete; and
//! where its consumers are.
//!
//! Each change is one command with one outcome, decided by the machine and equal on every replica. A
//! refusal is such an outcome. What deletes can be previewed: the preview changes nothing and names
//! exactly what the change would have done at that moment.
//!
//! Not here: describing one log (`read`), and deleting the bytes behind a trim point (`storage`).

use std::sync::Arc;
use std::time::Duration;

use client::api::logs::{
    Cursor, CursorList, Dropped, LogDescription, LogList, LogSummary, Sealed, Settings,
    SettingsPatch,
};
use client::api::reading::Consistency;
use client::types::{Batch, CursorName, Fence, LogId, LogName, LogSettings, Position, Timestamp};

use super::Node;
use super::append::LogTarget;
use super::error::{ChangeLogError, NotFresh, ReadError, Unserved};
use super::propose::NO_LEADER_RETRY;
use super::read::{Seen, describe};
use crate::machine::{
    ChangeSettings, CreateLog, DeleteCursor, DeleteLog, FirstContent, LogTrimmed, LogView,
    Proposal, Rejection, SealLog, SetCursor, SetFence, SettingsChange, TrimLog,
};
use crate::storage::state;

/// A log that is there as wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// The log.
    pub log: LogDescription,
    /// Whether this call created it; else it was there with the same settings.
    pub is_new: bool,
}

/// Which logs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only names that start like this.
    pub prefix: String,
    /// Only names after this one, which need not exist.
    pub after: Option<String>,
    /// At most so many; capped by the node's own limit.
    pub limit: Option<u32>,
    /// How fresh.
    pub consistency: Consistency,
}

impl Node {
    /// Makes sure that there is such a log, with exactly these settings.
    pub async fn ensure_log(
        &self,
        name: LogName,
        settings: LogSettings,
    ) -> Result<Ensured, ChangeLogError> {
        self.create_log(name, settings, None, false).await
    }

    /// The same; a log that this call creates begins with these records, and takes no more if it `seals`. One that was
    /// there stays as it is.
    pub async fn create_log(
        &self,
        name: LogName,
        settings: LogSettings,
        first: Option<Batch>,
        seals: bool,
    ) -> Result<Ensured, ChangeLogError> {
        check_name(&name)?;
        self.check_leads()?;
        let permit = first.as_ref().map(|batch| self.admit_first(batch)).transpose();
        let _permit = permit.map_err(|error| ChangeLogError::Records(Box::new(error)))?;
        let (stamp, content) = (self.stamp(), FirstContent::new(first, seals));
        let create = CreateLog { stamp, name: name.clone(), settings, content };
        let created = self.change(create).await??;
        let log = self.describe_after(&name, created.log)?;
        Ok(Ensured { log, is_new: created.is_new })
    }

    /// Makes sure that this very log is there, with exactly these settings. None is created.
    pub async fn confirm_log(
        &self,
        log: &LogTarget,
        settings: &LogSettings,
    ) -> Result<LogDescription, ChangeLogError> {
        check_name(&log.name)?;
        let view = self.view_before(log).await?;
        if *view.settings != *settings {
            return Err(ChangeLogError::Refused(Rejection::SettingsDiffer { log: view.id }));
        }
        Ok(describe(&view))
    }

    /// Changes some settings of a log. Two changes at once are done one after the other, and of a
    /// setting that both name the later one stays. Nothing that a new retention keeps is trimmed
    /// once this has answered.
    pub async fn change_settings(
        &self,
        log: LogTarget,
        patch: SettingsPatch,
    ) -> Result<LogDescription, ChangeLogError> {
        check_name(&log.name)?;
        let (name, change) = (log.name.clone(), settings_change(patch));
        let _settled = self.core.retention.settings.lock().await;
        let id = self.change(ChangeSettings { stamp: self.stamp(), log, change }).await??;
        self.describe_after(&name, id)
    }

    /// Lists logs by name.
    pub async fn list_logs(&self, request: ListRequest) -> Result<Seen<LogList>, ReadError> {
        self.be_fresh(request.consistency).await?;
        let limit = self.list_limit(request.limit);
        let ListRequest { prefix, after, .. } = request;
        let mut views = self.core.state.views(&prefix, after.as_deref(), limit + 2);
        // The service's own log is listed for whoever asks for names like its.
        views.retain(|view| !view.name.is_reserved() || prefix.starts_with('_'));
        let has_more = views.len() > limit;
        views.truncate(limit);
        let next = views.last().filter(|_| has_more).map(|last| last.name.clone());
        let logs = views.iter().map(|view| summary(view)).collect();
        Ok(Seen { answer: LogList { logs, next }, as_of: self.as_of() })
    }

    /// Deletes a log with all its records. Its name can be used again, for another log.
    pub async fn delete_log(&self, log: LogTarget) -> Result<Dropped, ChangeLogError> {
        let preview = self.preview_delete(&log).await?;
        // Exactly the log that was looked at: the answer tells of no other.
        let log = LogTarget { id: Some(preview.log_id), ..log };
        self.change(DeleteLog { stamp: self.stamp(), log }).await??;
        Ok(Dropped { dry_run: false, ..preview })
    }

    /// What [`Node::delete_log`] would delete now.
    pub async fn preview_delete(&self, log: &LogTarget) -> Result<Dropped, ChangeLogError> {
        check_name(&log.name)?;
        let view = self.view_before(log).await?;
        Ok(dropped(&view, view.tail, view.bytes_at_tail))
    }

    /// Drops the records before a position.
    pub async fn trim(&self, log: LogTarget, to: Position) -> Result<Dropped, ChangeLogError> {
        let (preview, bytes_before) = self.measure_trim(&log, to).await?;
        let log = LogTarget { id: Some(preview.log_id), ..log };
        let trim = TrimLog { stamp: self.stamp(), log, to, bytes_before };
        let LogTrimmed { first, tail, .. } = self.change(trim).await??;
        Ok(Dropped { first, tail, dry_run: false, ..preview })
    }

    /// What [`Node::trim`] would drop now.
    pub async fn preview_trim(
        &self,
        log: &LogTarget,
        to: Position,
    ) -> Result<Dropped, ChangeLogError> {
        Ok(self.measure_trim(log, to).await?.0)
    }

    /// Ends a log: nothing is ever appended to it again.
    pub async fn seal(&self, log: LogTarget) -> Result<Sealed, ChangeLogError> {
        check_name(&log.name)?;
        let view = self.view_before(&log).await?;
        let log = target(&view);
        let tail = self.change(SealLog { stamp: self.stamp(), log }).await??;
        Ok(Sealed { log: view.name.clone(), log_id: view.id, tail })
    }

    /// Sets the fence of a log, or takes it away.
    pub async fn set_fence(
        &self,
        log: LogTarget,
        fence: Option<Fence>,
    ) -> Result<(), ChangeLogError> {
        check_name(&log.name)?;
        self.change(SetFence { stamp: self.stamp(), log, fence }).await??;
        Ok(())
    }

    /// Where a consumer is; none if it stored no position.
    pub async fn cursor(
        &self,
        log: &LogTarget,
        name: &CursorName,
        consistency: Consistency,
    ) -> Result<Seen<Option<Cursor>>, ReadError> {
        self.be_fresh(consistency).await?;
        let view = self.view(log)?;
        let position = self.core.state.cursor(view.id, name);
        let cursor = |position| Cursor { log: log.name.clone(), name: name.clone(), position };
        Ok(Seen { answer: position.map(cursor), as_of: self.as_of() })
    }

    /// Stores where a consumer is; if it says where it was so far, only then.
    pub async fn set_cursor(
        &self,
        log: LogTarget,
        name: CursorName,
        expected: Option<Position>,
        position: Position,
    ) -> Result<Cursor, ChangeLogError> {
        let answer = Cursor { log: log.name.clone(), name: name.clone(), position };
        let stamp = self.stamp();
        self.change(SetCursor { stamp, log, cursor: name, expected, position }).await??;
        Ok(answer)
    }

    /// Forgets where a consumer is. Whether it was known before.
    pub async fn delete_cursor(
        &self,
        log: LogTarget,
        name: CursorName,
    ) -> Result<bool, ChangeLogError> {
        Ok(self.change(DeleteCursor { stamp: self.stamp(), log, cursor: name }).await??.existed)
    }

    /// Lists the cursors of a log by name, after the given one.
    pub async fn list_cursors(
        &self,
        log: &LogTarget,
        after: Option<&CursorName>,
        limit: Option<u32>,
        consistency: Consistency,
    ) -> Result<Seen<CursorList>, ReadError> {
        self.be_fresh(consistency).await?;
        let view = self.view(log)?;
        let limit = self.list_limit(limit);
        let mut cursors = self.core.state.cursors(view.id, after, limit + 1);
        let has_more = cursors.len() > limit;
        cursors.truncate(limit);
        let next = cursors.last().filter(|_| has_more).map(|(name, _)| name.clone());
        let cursors = cursors.into_iter();
        let cursor = |(name, position)| Cursor { log: log.name.clone(), name, position };
        let cursors = cursors.map(cursor).collect();
        Ok(Seen { answer: CursorList { cursors, next }, as_of: self.as_of() })
    }

    /// Most names of one answer, of which so many are wanted.
    pub fn list_limit(&self, wanted: Option<u32>) -> usize {
        let max = self.core.options.list_max;
        wanted.map_or(max, |wanted| usize::try_from(wanted).unwrap_or(max).clamp(1, max))
    }

    /// Proposes a change and waits until it was applied here.
    pub(super) async fn change<P: Proposal>(
        &self,
        proposal: P,
    ) -> Result<P::Outcome, ChangeLogError> {
        self.check_leads()?;
        Ok(self.propose(proposal).await?)
    }

    pub(super) fn stamp(&self) -> Timestamp {
        self.core.proposer.stamp()
    }

    /// A log that a change has just touched, unless another change was faster to delete it.
    fn describe_after(&self, name: &LogName, id: LogId) -> Result<LogDescription, ChangeLogError> {
        let view = self.core.state.view(name).filter(|view| view.id == id);
        let view = view.ok_or(ChangeLogError::Refused(Rejection::UnknownLog))?;
        Ok(describe(&view))
    }

    /// A log as it is before a change, confirmed by the group.
    pub(super) async fn view_before(
        &self,
        log: &LogTarget,
    ) -> Result<Arc<LogView>, ChangeLogError> {
        self.check_leads()?;
        self.be_fresh(Consistency::Linearizable).await.map_err(unserved)?;
        let refused = ChangeLogError::Refused;
        let view = self.core.state.view(&log.name).ok_or(refused(Rejection::UnknownLog))?;
        match log.id {
            Some(id) if id != view.id => Err(refused(Rejection::IdDiffers { current: view.id })),
            Some(_) | None => Ok(view),
        }
    }

    /// What a trim would drop, and the bytes of all records before its point.
    async fn measure_trim(
        &self,
        log: &LogTarget,
        to: Position,
    ) -> Result<(Dropped, u64), ChangeLogError> {
        check_name(&log.name)?;
        let view = self.view_before(log).await?;
        if to > view.tail {
            return Err(ChangeLogError::Refused(Rejection::BeyondTail { tail: view.tail }));
        }
        if to <= view.trim {
            return Ok((dropped(&view, view.trim, view.bytes_at_trim), view.bytes_at_trim));
        }
        let bytes_before = self.bytes_before(view.id, to).await?;
        Ok((dropped(&view, to, bytes_before), bytes_before))
    }

    /// Bytes of all records before the point of a trim.
    pub(super) async fn bytes_before(
        &self,
        id: LogId,
        to: Position,
    ) -> Result<u64, ChangeLogError> {
        let state = self.core.state.clone();
        let measured = self.core.tasks.blocking(move || state.bytes_before(id, to)).await;
        let measured = measured.map_err(|_failed| ChangeLogError::Disk)?;
        measured.map_err(|error| change_error(&error, to))
    }
}

/// Exactly the log that was looked at.
pub(super) fn target(view: &LogView) -> LogTarget {
    LogTarget { name: view.name.clone(), id: Some(view.id) }
}

fn settings_change(patch: SettingsPatch) -> SettingsChange {
    SettingsChange {
        retention_age: patch.retention_age_ms.map(|age| age.map(Duration::from_millis)),
        retention_bytes: patch.retention_bytes,
        content_type: patch.content_type,
        record_bytes_max: patch.record_bytes_max,
        ttl: patch.ttl_ms.map(|ttl| ttl.map(Duration::from_millis)),
        expires_at: patch.expires_at,
    }
}

fn summary(view: &LogView) -> LogSummary {
    LogSummary {
        log: view.name.clone(),
        log_id: view.id,
        first: view.trim,
        tail: view.tail,
        bytes: view.bytes(),
        sealed: view.sealed,
        settings: Settings::from(&*view.settings),
    }
}

/// What goes if everything before `to` does.
fn dropped(view: &LogView, to: Position, bytes_before: u64) -> Dropped {
    Dropped {
        log: view.name.clone(),
        log_id: view.id,
        first: to,
        tail: view.tail,
        records: to.since(view.trim),
        bytes: bytes_before.saturating_sub(view.bytes_at_trim),
        dry_run: true,
    }
}

fn check_name(name: &LogName) -> Result<(), ChangeLogError> {
    if name.is_reserved() { Err(ChangeLogError::ReservedName) } else { Ok(()) }
}

/// Nothing was proposed yet: whatever kept the look from being fresh, nothing was done.
fn unserved(not_fresh: NotFresh) -> ChangeLogError {
    let unserved = match not_fresh {
        NotFresh::Stopping => Unserved::Stopping,
        NotFresh::NoQuorum { retry_after } => Unserved::NoQuorum { retry_after },
        NotFresh::NoLeader { retry_after }
        | NotFresh::Behind { retry_after }
        | NotFresh::NotRecovered { retry_after }
        | NotFresh::Quarantined { retry_after }
        | NotFresh::Overloaded { retry_after } => Unserved::NoLeader { retry_after },
    };
    unserved.into()
}

pub(super) fn change_error(error: &state::ReadError, position: Position) -> ChangeLogError {
    match error {
        state::ReadError::UnknownLog => ChangeLogError::Refused(Rejection::UnknownLog),
        state::ReadError::BeyondTail { tail } => {
            ChangeLogError::Refused(Rejection::BeyondTail { tail: *tail })
        }
        // Somebody else trimmed meanwhile: looking again shows it.
        state::ReadError::Trimmed { .. } => {
            Unserved::TimedOut { retry_after: NO_LEADER_RETRY }.into()
        }
        state::ReadError::Damaged { .. } => ChangeLogError::Damaged { position },
        state::ReadError::Storage(_) => ChangeLogError::Disk,
    }
}
