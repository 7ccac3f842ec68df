//! Commands to and from their disk form.
//!
//! Encoding cannot fail: the contract's types bound what they hold. Decoding trusts nothing, and a
//! command that passed it can be applied. Durations are whole milliseconds on disk, so two that
//! differ by less are the same.
//!
//! Not here: the bytes themselves (`migrations::latest::commands`), rows (`rows`), outcomes
//! (`digest`).

use std::time::Duration;

use bytes::Bytes;
use client::types::{
    Batch, CheckpointLabel, ClusterId, CursorName, Digest, EntryIndex, Fence, LogId, LogName,
    LogSettings, OrderKey, Position, ReplicaId, Timestamp,
};
use migrations::latest::checkpoints::CertificateRow;
use migrations::latest::commands::{
    self, AppendItemView, AppendItems, AppendTargetView, CommandView, RetryView, RunView,
    TargetView,
};
use migrations::latest::records::check_run;
use migrations::latest::values::{FoundingRow, LimitsRow, SettingsChangeRow, SettingsRow};

use super::command::{
    AdmitReplica, Append, AppendItem, AppendRetry, AppendTarget, Author, BeginChange,
    CertifyCheckpoint, ChangeSettings, Command, CreateLog, DeleteCursor, DeleteLog, ExpireLogs,
    ExpireProducers, FirstContent, FirstRecords, Found, Founding, LogTarget, MachineLimits,
    MakeCheckpoint, MalformedCommand, MoveChange, OnBehalf, ReleaseCheckpoint, RenewLog, SealLog,
    SetCursor, SetFence, SettingsChange, Timings, TrimLog,
};
use super::payload::Payload;

pub(super) fn encode_append(stamp: Timestamp, items: &[AppendItem]) -> Payload {
    let parts = items.iter().map(AppendItem::parts);
    Payload::new(commands::encode_append(stamp.as_millis(), parts).into())
}

/// What stands before the run of a batch in its item.
pub(super) fn encode_item_head(target: &AppendTarget, batch: Option<&Batch>) -> Bytes {
    let records = batch.map(run_view).unwrap_or_default();
    commands::encode_item_head(&append_target_view(target), records).into()
}

fn run_view(batch: &Batch) -> RunView<'_> {
    let body_bytes_max = body_bytes_max(batch);
    RunView { count: batch.count(), body_bytes_max, run: batch.run() }
}

pub(super) fn body_bytes_max(batch: &Batch) -> u32 {
    u32::try_from(batch.body_bytes_max()).expect("a body has less than 4 GiB")
}

pub(super) fn encode_command(command: &Command) -> Payload {
    let (stamp, view) = match command {
        Command::Append(append) => return encode_append(append.stamp, &append.items),
        Command::Found(c) => (c.stamp, CommandView::Found(founding_row(&c.founding))),
        Command::CreateLog(c) => {
            let (name, settings) = (c.name.as_str(), settings_row(&c.settings));
            let records = c.content.records.as_ref().map(FirstRecords::view).unwrap_or_default();
            let seals = c.content.seals;
            (c.stamp, CommandView::CreateLog { name, settings, seals, records })
        }
        Command::RenewLog(c) => (c.stamp, CommandView::RenewLog { log: target_view(&c.log) }),
        Command::ExpireLogs(c) => {
            let logs = c.logs.iter().map(|log| log.get()).collect();
            (c.stamp, CommandView::ExpireLogs { logs })
        }
        Command::ChangeSettings(c) => {
            let change = change_row(&c.change);
            (c.stamp, CommandView::ChangeSettings { log: target_view(&c.log), change })
        }
        Command::DeleteLog(c) => (c.stamp, CommandView::DeleteLog { log: target_view(&c.log) }),
        Command::TrimLog(c) => {
            let (log, to) = (target_view(&c.log), c.to.get());
            (c.stamp, CommandView::Trim { log, to, bytes_before: c.bytes_before })
        }
        Command::SealLog(c) => (c.stamp, CommandView::Seal { log: target_view(&c.log) }),
        Command::SetFence(c) => {
            let fence = c.fence.as_ref().map(Fence::as_str);
            (c.stamp, CommandView::SetFence { log: target_view(&c.log), fence })
        }
        Command::SetCursor(c) => {
            let (log, cursor) = (target_view(&c.log), c.cursor.as_str());
            let expected = c.expected.map(Position::get);
            let position = c.position.get();
            (c.stamp, CommandView::SetCursor { log, cursor, expected, position })
        }
        Command::DeleteCursor(c) => {
            let (log, cursor) = (target_view(&c.log), c.cursor.as_str());
            (c.stamp, CommandView::DeleteCursor { log, cursor })
        }
        Command::AdmitReplica(c) => {
            (c.stamp, CommandView::AdmitReplica { nonce: c.nonce, node: c.node.clone() })
        }
        Command::ExpireProducers(c) => {
            (c.stamp, CommandView::ExpireProducers { idle_ms: whole_millis(c.idle) })
        }
        Command::MakeCheckpoint(c) => {
            let label = c.label.as_ref().map(CheckpointLabel::as_str);
            (c.stamp, CommandView::MakeCheckpoint { label })
        }
        Command::CertifyCheckpoint(c) => {
            let checkpoint = c.checkpoint.get();
            let attested_by = c.attested_by.iter().map(|replica| replica.get()).collect();
            let digest = *c.digest.as_bytes();
            (c.stamp, CommandView::CertifyCheckpoint { checkpoint, digest, attested_by })
        }
        Command::ReleaseCheckpoint(c) => {
            (c.stamp, CommandView::ReleaseCheckpoint { checkpoint: c.checkpoint.get() })
        }
        Command::BeginChange(c) => {
            let (intent, newcomers) = (c.intent.clone(), c.newcomers.clone());
            (c.stamp, CommandView::BeginChange { intent, newcomers })
        }
        Command::OnBehalf(c) => return encode_on_behalf(&c.author, &encode_command(&c.command)),
        Command::MoveChange(c) => {
            let (change, from, to) = (c.change, c.from, c.to);
            (c.stamp, CommandView::MoveChange { change, from, to, outcome: &c.outcome })
        }
    };
    Payload::new(commands::encode(stamp.as_millis(), &view).into())
}

/// The same command on somebody's behalf.
pub(super) fn encode_on_behalf(author: &Author, command: &Payload) -> Payload {
    let (stamp, _) = commands::decode(&command.bytes).expect("it was just encoded");
    let Author { by, from } = author;
    let view = CommandView::OnBehalf { by, from, command: &command.bytes };
    Payload::new(commands::encode(stamp, &view).into())
}

pub(super) fn decode_command(bytes: &Bytes) -> Result<Command, MalformedCommand> {
    let (stamp, view) = commands::decode(bytes)?;
    read_command(Timestamp::new(stamp), view, bytes)
}

/// The command that a view shows. `bytes` are those it borrows from.
pub(super) fn read_command(
    stamp: Timestamp,
    view: CommandView<'_>,
    bytes: &Bytes,
) -> Result<Command, MalformedCommand> {
    Ok(match view {
        CommandView::Append(items) => {
            Command::Append(Append { stamp, items: read_items(items, bytes)? })
        }
        CommandView::Found(row) => Command::Found(Found { stamp, founding: founding(&row) }),
        CommandView::CreateLog { name, settings, seals, records } => {
            Command::CreateLog(CreateLog {
                stamp,
                name: log_name(name)?,
                settings: self::settings(settings),
                content: FirstContent { records: first_records(records, bytes)?, seals },
            })
        }
        CommandView::RenewLog { log } => {
            Command::RenewLog(RenewLog { stamp, log: log_target(log)? })
        }
        CommandView::ExpireLogs { logs } => Command::ExpireLogs(ExpireLogs {
            stamp,
            logs: logs.into_iter().map(LogId::new).collect(),
        }),
        CommandView::ChangeSettings { log, change } => Command::ChangeSettings(ChangeSettings {
            stamp,
            log: log_target(log)?,
            change: self::change(change),
        }),
        CommandView::DeleteLog { log } => {
            Command::DeleteLog(DeleteLog { stamp, log: log_target(log)? })
        }
        CommandView::Trim { log, to, bytes_before } => Command::TrimLog(TrimLog {
            stamp,
            log: log_target(log)?,
            to: Position::new(to),
            bytes_before,
        }),
        CommandView::Seal { log } => Command::SealLog(SealLog { stamp, log: log_target(log)? }),
        CommandView::SetFence { log, fence } => Command::SetFence(SetFence {
            stamp,
            log: log_target(log)?,
            fence: fence.map(self::fence).transpose()?,
        }),
        CommandView::SetCursor { log, cursor, expected, position } => {
            Command::SetCursor(SetCursor {
                stamp,
                log: log_target(log)?,
                cursor: cursor_name(cursor)?,
                expected: expected.map(Position::new),
                position: Position::new(position),
            })
        }
        CommandView::DeleteCursor { log, cursor } => Command::DeleteCursor(DeleteCursor {
            stamp,
            log: log_target(log)?,
            cursor: cursor_name(cursor)?,
        }),
        CommandView::AdmitReplica { nonce, node } => {
            Command::AdmitReplica(AdmitReplica { stamp, nonce, node })
        }
        CommandView::MakeCheckpoint { label } => {
            let label = label.map(CheckpointLabel::new).transpose();
            let label = label.map_err(|_| MalformedCommand::Field { field: "label" })?;
            Command::MakeCheckpoint(MakeCheckpoint { stamp, label })
        }
        CommandView::CertifyCheckpoint { checkpoint, digest, attested_by } => {
            let attested_by = attested_by.into_iter().map(ReplicaId::new).collect::<Option<_>>();
            Command::CertifyCheckpoint(CertifyCheckpoint {
                stamp,
                checkpoint: EntryIndex::new(checkpoint),
                digest: Digest::new(digest),
                attested_by: attested_by.ok_or(MalformedCommand::Field { field: "attester" })?,
            })
        }
        CommandView::ReleaseCheckpoint { checkpoint } => {
            let checkpoint = EntryIndex::new(checkpoint);
            Command::ReleaseCheckpoint(ReleaseCheckpoint { stamp, checkpoint })
        }
        CommandView::BeginChange { intent, newcomers } => {
            Command::BeginChange(BeginChange { stamp, intent, newcomers })
        }
        CommandView::MoveChange { change, from, to, outcome } => {
            let outcome = outcome.to_owned();
            Command::MoveChange(MoveChange { stamp, change, from, to, outcome })
        }
        CommandView::OnBehalf { by, from, command } => {
            let (own_stamp, view) = commands::decode(command)?;
            let is_no_act = matches!(view, CommandView::Append(_) | CommandView::OnBehalf { .. });
            if is_no_act || own_stamp != stamp.as_millis() {
                return Err(MalformedCommand::Field { field: "command on behalf" });
            }
            let command = Box::new(read_command(stamp, view, bytes)?);
            let author = Author { by: by.to_owned(), from: from.to_owned() };
            Command::OnBehalf(OnBehalf { author, command })
        }
        CommandView::ExpireProducers { idle_ms } => Command::ExpireProducers(ExpireProducers {
            stamp,
            idle: Duration::from_millis(idle_ms),
        }),
    })
}

/// Checks the first records of a new log, a slice of the command.
fn first_records(
    view: RunView<'_>,
    bytes: &Bytes,
) -> Result<Option<FirstRecords>, MalformedCommand> {
    if view == RunView::default() {
        return Ok(None);
    }
    check_shape(view)?;
    let RunView { count, body_bytes_max, run } = view;
    Ok(Some(FirstRecords { count, body_bytes_max, run: bytes.slice_ref(run) }))
}

/// Whether a run is what is said of it.
fn check_shape(view: RunView<'_>) -> Result<(), MalformedCommand> {
    let shape = check_run(view.run)?;
    if shape.count != view.count {
        return Err(MalformedCommand::Field { field: "record count" });
    }
    if shape.body_bytes_max != view.body_bytes_max {
        return Err(MalformedCommand::Field { field: "longest body" });
    }
    Ok(())
}

/// Checks every item with all its records. The items are slices of the command.
fn read_items(
    mut items: AppendItems<'_>,
    bytes: &Bytes,
) -> Result<Vec<AppendItem>, MalformedCommand> {
    let mut read = Vec::with_capacity(items.left());
    let mut start = items.offset();
    while let Some(item) = items.next() {
        let item = item?;
        log_name(item.target.log.name)?;
        item.target.fence.map(fence).transpose()?;
        item.target.order_key.map(order_key).transpose()?;
        check_retry(item.target.retry)?;
        let AppendItemView { count, body_bytes_max, run, .. } = item;
        check_shape(RunView { count, body_bytes_max, run })?;
        if count == 0 && !item.target.seals {
            return Err(MalformedCommand::Field { field: "record count" });
        }
        let is_hashed = item.target.retry != RetryView::None;
        if is_hashed && commands::body_hash(item.run) != item.body_hash {
            return Err(MalformedCommand::Field { field: "body hash" });
        }
        let head = bytes.slice(start..item.run_offset);
        read.push(AppendItem::from_encoded(head, bytes.slice(item.run_offset..items.offset())));
        start = items.offset();
    }
    Ok(read)
}

fn check_retry(retry: RetryView<'_>) -> Result<(), MalformedCommand> {
    match retry {
        RetryView::None => Ok(()),
        RetryView::Producer { id, .. } => producer_id(id).map(drop),
        RetryView::Key(key) => idempotency_key(key).map(drop),
    }
}

/// A text of the contract, or the name of the field that is none.
macro_rules! checked {
    ($function:ident -> $text:ty, $field:literal) => {
        pub(super) fn $function(text: &str) -> Result<$text, MalformedCommand> {
            <$text>::new(text).map_err(|_| MalformedCommand::Field { field: $field })
        }
    };
}
checked!(log_name -> LogName, "log name");
checked!(cursor_name -> CursorName, "cursor name");
checked!(fence -> Fence, "fence");
checked!(order_key -> OrderKey, "order key");
checked!(producer_id -> client::types::ProducerId, "producer id");
checked!(idempotency_key -> client::types::IdempotencyKey, "idempotency key");

fn target_view(target: &LogTarget) -> TargetView<'_> {
    TargetView { name: target.name.as_str(), id: target.id.map(LogId::get) }
}

fn log_target(view: TargetView<'_>) -> Result<LogTarget, MalformedCommand> {
    Ok(LogTarget { name: log_name(view.name)?, id: view.id.map(LogId::new) })
}

fn append_target_view(target: &AppendTarget) -> AppendTargetView<'_> {
    AppendTargetView {
        log: target_view(&target.log),
        expected_tail: target.expected_tail.map(Position::get),
        fence: target.fence.as_ref().map(Fence::as_str),
        retry: match &target.retry {
            AppendRetry::None => RetryView::None,
            AppendRetry::Producer { id, epoch, sequence } => RetryView::Producer {
                id: id.as_str(),
                epoch: epoch.get(),
                sequence: sequence.get(),
            },
            AppendRetry::Key(key) => RetryView::Key(key.as_str()),
        },
        order_key: target.order_key.as_ref().map(OrderKey::as_str),
        seals: target.seals,
    }
}

pub(super) fn settings_row(settings: &LogSettings) -> SettingsRow {
    SettingsRow {
        retention_age_ms: settings.retention_age.map(whole_millis),
        retention_bytes: settings.retention_bytes,
        content_type: settings.content_type.clone(),
        record_bytes_max: settings.record_bytes_max,
        ttl_ms: settings.ttl.map(whole_millis),
        expires_at: settings.expires_at.map(Timestamp::as_millis),
    }
}

pub(super) fn settings(row: SettingsRow) -> LogSettings {
    LogSettings {
        retention_age: row.retention_age_ms.map(Duration::from_millis),
        retention_bytes: row.retention_bytes,
        content_type: row.content_type,
        record_bytes_max: row.record_bytes_max,
        ttl: row.ttl_ms.map(Duration::from_millis),
        expires_at: row.expires_at.map(Timestamp::new),
    }
}

pub(super) fn change_row(change: &SettingsChange) -> SettingsChangeRow {
    SettingsChangeRow {
        retention_age_ms: change.retention_age.map(|age| age.map(whole_millis)),
        retention_bytes: change.retention_bytes,
        content_type: change.content_type.clone(),
        record_bytes_max: change.record_bytes_max,
        ttl_ms: change.ttl.map(|ttl| ttl.map(whole_millis)),
        expires_at: change.expires_at.map(|time| time.map(Timestamp::as_millis)),
    }
}

fn change(row: SettingsChangeRow) -> SettingsChange {
    SettingsChange {
        retention_age: row.retention_age_ms.map(|age| age.map(Duration::from_millis)),
        retention_bytes: row.retention_bytes,
        content_type: row.content_type,
        record_bytes_max: row.record_bytes_max,
        ttl: row.ttl_ms.map(|ttl| ttl.map(Duration::from_millis)),
        expires_at: row.expires_at.map(|time| time.map(Timestamp::new)),
    }
}

pub(super) fn limits_row(limits: &MachineLimits) -> LimitsRow {
    LimitsRow {
        logs_max: limits.logs_max,
        producers_max: limits.producers_max,
        cursors_max: limits.cursors_max,
        keys_max: limits.keys_max,
        keys_per_log_max: limits.keys_per_log_max,
        key_age_max_ms: whole_millis(limits.key_age_max),
        producer_idle_max_ms: whole_millis(limits.producer_idle_max),
        producer_idle_min_ms: whole_millis(limits.producer_idle_min),
    }
}

pub(super) const fn limits(row: &LimitsRow) -> MachineLimits {
    MachineLimits {
        logs_max: row.logs_max,
        producers_max: row.producers_max,
        cursors_max: row.cursors_max,
        keys_max: row.keys_max,
        keys_per_log_max: row.keys_per_log_max,
        key_age_max: Duration::from_millis(row.key_age_max_ms),
        producer_idle_max: Duration::from_millis(row.producer_idle_max_ms),
        producer_idle_min: Duration::from_millis(row.producer_idle_min_ms),
    }
}

pub(super) fn founding_row(founding: &Founding) -> FoundingRow {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    FoundingRow {
        cluster: *founding.cluster.as_bytes(),
        generation: founding.generation,
        heartbeat_ms: millis(founding.timings.heartbeat),
        election_min_ms: millis(founding.timings.election_min),
        election_max_ms: millis(founding.timings.election_max),
        limits: limits_row(&founding.limits),
        expect_voters: founding.expect_voters,
    }
}

pub(super) fn founding(row: &FoundingRow) -> Founding {
    let duration = |millis: u32| Duration::from_millis(u64::from(millis));
    Founding {
        cluster: ClusterId::new(row.cluster),
        generation: row.generation,
        timings: Timings {
            heartbeat: duration(row.heartbeat_ms),
            election_min: duration(row.election_min_ms),
            election_max: duration(row.election_max_ms),
        },
        limits: limits(&row.limits),
        expect_voters: row.expect_voters,
    }
}

/// A duration as the disk keeps it; what 64 bits of milliseconds cannot hold is for ever anyway.
/// What a certification leaves in the checkpoint's row.
pub(super) fn certificate_row(
    command: &CertifyCheckpoint,
    now: Timestamp,
    entry: EntryIndex,
) -> CertificateRow {
    CertificateRow {
        digest: *command.digest.as_bytes(),
        attested_by: command.attested_by.iter().map(|replica| replica.get()).collect(),
        stamp: now.as_millis(),
        entry: entry.get(),
    }
}

pub(super) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
