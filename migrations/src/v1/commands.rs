//! Replicated commands as bytes: what a journal's entry carries.
//!
//! ```text
//! command       u8 version, u8 kind, u64 stamp, then the fields of the kind
//! append        u32 item count, items
//! on behalf     text by, text from, a whole command that is no append
//! append item   u32 length of what follows, u8 conditions, u8 name length, name, [u64 log], [u64 expected tail],
//!               [u8 fence length, fence], [u8 id length, producer, u64 epoch, u64 sequence] or [u8 key length, key],
//!               [u8 order key length, order key], [16 bytes of the SHA-256 of the run], u32 count, u32 longest body,
//!               run to the end
//! create log    text name, settings, u8 sealed, u32 count, u32 longest body, run to the end
//! ```
//!
//! What stands in brackets is there if its bit of `conditions` is set; the hash is there with a
//! producer or a key. One more bit says that the append seals its log; only then it may have no record. The run is copied once, from where the append arrived into the command.
//! Decoding borrows, so that applying an append costs no allocation. Not here: what commands do
//! (`machine` does) and their outcomes.

use bytes::BufMut;
use sha2::{Digest as _, Sha256};

use super::changes::{
    AUTHOR_BYTES_MAX, IntentRow, NewcomerRow, REASON_BYTES_MAX, StageRow, put_newcomers,
    read_newcomers,
};
use super::checkpoints::{put_attesters, read_attesters};
use super::fields::{Fields, Malformed, put_length, put_optional, put_short_text, put_text};
use super::frames::PAYLOAD_BYTES_MAX;
use super::values::{BodyHash, FoundingRow, NodeRow, SettingsChangeRow, SettingsRow};

/// The form of commands that this version writes.
const COMMAND_VERSION: u8 = 1;
/// Version, kind, stamp.
const COMMAND_HEAD_BYTES: usize = 1 + 1 + 8;
/// A command is never longer than what an entry carries, whatever a configuration allows.
pub const COMMAND_BYTES_MAX: usize = PAYLOAD_BYTES_MAX as usize;
/// Items of one append command.
pub const ITEMS_MAX: usize = 1 << 20;

const KIND_FOUND: u8 = 1;
const KIND_APPEND: u8 = 2;
const KIND_CREATE_LOG: u8 = 3;
const KIND_CHANGE_SETTINGS: u8 = 4;
const KIND_DELETE_LOG: u8 = 5;
const KIND_TRIM: u8 = 6;
const KIND_SEAL: u8 = 7;
const KIND_SET_FENCE: u8 = 8;
const KIND_SET_CURSOR: u8 = 9;
const KIND_DELETE_CURSOR: u8 = 10;
const KIND_ADMIT_REPLICA: u8 = 11;
const KIND_EXPIRE_PRODUCERS: u8 = 12;
const KIND_MAKE_CHECKPOINT: u8 = 13;
const KIND_CERTIFY_CHECKPOINT: u8 = 14;
const KIND_RELEASE_CHECKPOINT: u8 = 15;
const KIND_BEGIN_CHANGE: u8 = 16;
const KIND_MOVE_CHANGE: u8 = 17;
const KIND_ON_BEHALF: u8 = 18;
const KIND_RENEW_LOG: u8 = 19;
const KIND_EXPIRE_LOGS: u8 = 20;

const HAS_LOG: u8 = 1;
const HAS_TAIL: u8 = 1 << 1;
const HAS_FENCE: u8 = 1 << 2;
const HAS_PRODUCER: u8 = 1 << 3;
const HAS_KEY: u8 = 1 << 4;
const HAS_ORDER_KEY: u8 = 1 << 5;
const SEALS: u8 = 1 << 6;
const HAS_ALL: u8 = HAS_LOG | HAS_TAIL | HAS_FENCE | HAS_PRODUCER | HAS_KEY | HAS_ORDER_KEY | SEALS;

/// Logs that one command lets expire.
pub const EXPIRING_LOGS_MAX: usize = 1_024;

/// Whether these bytes begin as an append does.
pub fn is_append(command: &[u8]) -> bool {
    command.get(1) == Some(&KIND_APPEND)
}

/// A log as a caller names it, with its id if the caller means only that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its id.
    pub id: Option<u64>,
}

impl<'a> TargetView<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        put_short_text(out, self.name);
        put_optional(out, self.id, Vec::put_u64_le);
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let name = fields.short_text("log name")?;
        Ok(Self { name, id: fields.optional("log id", |f| f.u64("log id"))? })
    }
}

/// What makes an append safe to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryView<'a> {
    /// Nothing: a repeated append is a new one.
    None,
    /// A producer's sequence.
    Producer {
        /// Who.
        id: &'a str,
        /// In which life.
        epoch: u64,
        /// Which of its batches.
        sequence: u64,
    },
    /// An idempotency key.
    Key(&'a str),
}

/// Where an append goes, and what must hold for it to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendTargetView<'a> {
    /// The log.
    pub log: TargetView<'a>,
    /// The tail it must have.
    pub expected_tail: Option<u64>,
    /// The fence it must have.
    pub fence: Option<&'a str>,
    /// What makes it safe to repeat.
    pub retry: RetryView<'a>,
    /// What the log's last order key must sort before; the log's last one from then on.
    pub order_key: Option<&'a str>,
    /// Whether it ends the log.
    pub seals: bool,
}

/// One append of a command, borrowed from the command's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendItemView<'a> {
    /// Where it goes, and on what conditions.
    pub target: AppendTargetView<'a>,
    /// Hash of the run, shortened; zeros without a producer or key.
    pub body_hash: BodyHash,
    /// How many records; none only if the append seals the log.
    pub count: u32,
    /// The longest body among them.
    pub body_bytes_max: u32,
    /// The records.
    pub run: &'a [u8],
    /// Where the run begins in the command's bytes.
    pub run_offset: usize,
}

/// The items of an append command, one after the other. Ends after the first error.
#[derive(Debug, Clone)]
pub struct AppendItems<'a> {
    fields: Fields<'a>,
    left: usize,
}

impl AppendItems<'_> {
    /// How many items are still to come.
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Where the next item begins in the command's bytes.
    pub const fn offset(&self) -> usize {
        self.fields.offset()
    }
}

impl<'a> Iterator for AppendItems<'a> {
    type Item = Result<AppendItemView<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let item = read_item(&mut self.fields).and_then(|item| {
            if self.left == 0 {
                self.fields.finish("append")?;
            }
            Ok(item)
        });
        if item.is_err() {
            self.left = 0;
        }
        Some(item)
    }
}

/// A command, borrowed from its bytes.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the machine's commands, documented there")]
pub enum CommandView<'a> {
    Found(FoundingRow),
    Append(AppendItems<'a>),
    CreateLog { name: &'a str, settings: SettingsRow, seals: bool, records: RunView<'a> },
    ChangeSettings { log: TargetView<'a>, change: SettingsChangeRow },
    DeleteLog { log: TargetView<'a> },
    Trim { log: TargetView<'a>, to: u64, bytes_before: u64 },
    Seal { log: TargetView<'a> },
    SetFence { log: TargetView<'a>, fence: Option<&'a str> },
    SetCursor { log: TargetView<'a>, cursor: &'a str, expected: Option<u64>, position: u64 },
    DeleteCursor { log: TargetView<'a>, cursor: &'a str },
    AdmitReplica { nonce: u128, node: NodeRow },
    ExpireProducers { idle_ms: u64 },
    MakeCheckpoint { label: Option<&'a str> },
    CertifyCheckpoint { checkpoint: u64, digest: [u8; 32], attested_by: Vec<u64> },
    ReleaseCheckpoint { checkpoint: u64 },
    BeginChange { intent: IntentRow, newcomers: Vec<NewcomerRow> },
    MoveChange { change: u64, from: StageRow, to: StageRow, outcome: &'a str },
    OnBehalf { by: &'a str, from: &'a str, command: &'a [u8] },
    RenewLog { log: TargetView<'a> },
    ExpireLogs { logs: Vec<u64> },
}

/// Reads a command: the leader's stamp, and what to do. The items of an append are read as they are
/// asked for.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<(u64, CommandView<'_>), Malformed> {
    if bytes.len() > COMMAND_BYTES_MAX {
        return Err(Malformed::new("command", 0));
    }
    let mut fields = Fields::new(bytes);
    if fields.u8("command version")? != COMMAND_VERSION {
        return Err(Malformed::new("command version", 0));
    }
    let kind = fields.u8("command kind")?;
    let stamp = fields.u64("command stamp")?;
    if kind == KIND_APPEND {
        let left = fields.length(ITEMS_MAX, "append items")?;
        if left == 0 {
            fields.finish("append")?;
        }
        return Ok((stamp, CommandView::Append(AppendItems { fields, left })));
    }
    let command = read_command(kind, &mut fields)?;
    fields.finish("command")?;
    Ok((stamp, command))
}

fn read_command<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<CommandView<'a>, Malformed> {
    Ok(match kind {
        KIND_FOUND => CommandView::Found(FoundingRow::read_fields(fields)?),
        KIND_CREATE_LOG => CommandView::CreateLog {
            name: fields.short_text("log name")?,
            settings: SettingsRow::read(fields)?,
            seals: fields.flag("sealed")?,
            records: RunView::read(fields)?,
        },
        KIND_CHANGE_SETTINGS => CommandView::ChangeSettings {
            log: TargetView::read(fields)?,
            change: SettingsChangeRow::read(fields)?,
        },
        KIND_DELETE_LOG => CommandView::DeleteLog { log: TargetView::read(fields)? },
        KIND_TRIM => CommandView::Trim {
            log: TargetView::read(fields)?,
            to: fields.u64("trim point")?,
            bytes_before: fields.u64("bytes before")?,
        },
        KIND_SEAL => CommandView::Seal { log: TargetView::read(fields)? },
        KIND_SET_FENCE => CommandView::SetFence {
            log: TargetView::read(fields)?,
            fence: fields.optional("fence", |f| f.short_text("fence"))?,
        },
        KIND_SET_CURSOR => CommandView::SetCursor {
            log: TargetView::read(fields)?,
            cursor: fields.short_text("cursor")?,
            expected: fields.optional("expected cursor", |f| f.u64("expected cursor"))?,
            position: fields.u64("cursor position")?,
        },
        KIND_DELETE_CURSOR => CommandView::DeleteCursor {
            log: TargetView::read(fields)?,
            cursor: fields.short_text("cursor")?,
        },
        KIND_ADMIT_REPLICA => {
            CommandView::AdmitReplica { nonce: fields.u128("nonce")?, node: NodeRow::read(fields)? }
        }
        KIND_EXPIRE_PRODUCERS => CommandView::ExpireProducers { idle_ms: fields.u64("idle time")? },
        KIND_MAKE_CHECKPOINT => CommandView::MakeCheckpoint {
            label: fields.optional("label", |f| f.short_text("label"))?,
        },
        KIND_CERTIFY_CHECKPOINT => CommandView::CertifyCheckpoint {
            checkpoint: fields.u64("checkpoint")?,
            digest: fields.array("certified digest")?,
            attested_by: read_attesters(fields)?,
        },
        KIND_RELEASE_CHECKPOINT => {
            CommandView::ReleaseCheckpoint { checkpoint: fields.u64("checkpoint")? }
        }
        KIND_BEGIN_CHANGE => CommandView::BeginChange {
            intent: IntentRow::read(fields)?,
            newcomers: read_newcomers(fields)?,
        },
        KIND_MOVE_CHANGE => CommandView::MoveChange {
            change: fields.u64("change")?,
            from: StageRow::read(fields)?,
            to: StageRow::read(fields)?,
            outcome: fields.text(REASON_BYTES_MAX, "outcome")?,
        },
        KIND_ON_BEHALF => CommandView::OnBehalf {
            by: fields.text(AUTHOR_BYTES_MAX, "author")?,
            from: fields.text(AUTHOR_BYTES_MAX, "origin")?,
            command: fields.take(fields.remaining(), "command on behalf")?,
        },
        KIND_RENEW_LOG => CommandView::RenewLog { log: TargetView::read(fields)? },
        KIND_EXPIRE_LOGS => {
            let count = fields.length(EXPIRING_LOGS_MAX, "expiring logs")?;
            let logs = (0..count).map(|_| fields.u64("expiring log")).collect::<Result<_, _>>()?;
            CommandView::ExpireLogs { logs }
        }
        _ => return Err(Malformed::new("command kind", 1)),
    })
}

#[inline]
fn read_item<'a>(fields: &mut Fields<'a>) -> Result<AppendItemView<'a>, Malformed> {
    let length = fields.length(COMMAND_BYTES_MAX, "append item")?;
    let until = fields.offset() + length;
    let conditions = fields.u8("conditions")?;
    let is_possible = conditions & !HAS_ALL == 0
        && conditions & (HAS_PRODUCER | HAS_KEY) != HAS_PRODUCER | HAS_KEY;
    if !is_possible {
        return Err(fields.malformed("conditions"));
    }
    let has = |bit| conditions & bit != 0;
    let name = fields.short_text("log name")?;
    let id = if has(HAS_LOG) { Some(fields.u64("log id")?) } else { None };
    let expected_tail = if has(HAS_TAIL) { Some(fields.u64("expected tail")?) } else { None };
    let fence = if has(HAS_FENCE) { Some(fields.short_text("fence")?) } else { None };
    let retry = if has(HAS_PRODUCER) {
        RetryView::Producer {
            id: fields.short_text("producer")?,
            epoch: fields.u64("producer epoch")?,
            sequence: fields.u64("sequence")?,
        }
    } else if has(HAS_KEY) {
        RetryView::Key(fields.short_text("idempotency key")?)
    } else {
        RetryView::None
    };
    let order_key = if has(HAS_ORDER_KEY) { Some(fields.short_text("order key")?) } else { None };
    let body_hash = match retry {
        RetryView::None => BodyHash::default(),
        RetryView::Producer { .. } | RetryView::Key(_) => fields.array("body hash")?,
    };
    let count = fields.u32("record count")?;
    let body_bytes_max = fields.u32("longest body")?;
    let run_offset = fields.offset();
    let run_bytes =
        until.checked_sub(run_offset).ok_or(Malformed::new("append item", run_offset))?;
    let run = fields.take(run_bytes, "run")?;
    let (log, seals) = (TargetView { name, id }, has(SEALS));
    let target = AppendTargetView { log, expected_tail, fence, retry, order_key, seals };
    Ok(AppendItemView { target, body_hash, count, body_bytes_max, run, run_offset })
}

/// The hash that tells a run from another one under the same sequence or key.
pub fn body_hash(run: &[u8]) -> BodyHash {
    let digest: [u8; 32] = Sha256::digest(run).into();
    let mut short = BodyHash::default();
    short.copy_from_slice(&digest[..16]);
    short
}

/// The records of an append or of a new log, with what is known of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunView<'a> {
    /// How many.
    pub count: u32,
    /// The longest body among them.
    pub body_bytes_max: u32,
    /// Their bytes.
    pub run: &'a [u8],
}

impl<'a> RunView<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.count);
        out.put_u32_le(self.body_bytes_max);
        out.extend_from_slice(self.run);
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let count = fields.u32("record count")?;
        let body_bytes_max = fields.u32("longest body")?;
        let run = fields.take(fields.remaining(), "run")?;
        Ok(Self { count, body_bytes_max, run })
    }
}

/// What stands before the run in an append item, the item's length included.
pub fn encode_item_head(target: &AppendTargetView<'_>, records: RunView<'_>) -> Vec<u8> {
    assert!(records.count > 0 || target.seals, "an append has at least one record, or seals");
    let mut head = Vec::with_capacity(64 + target.log.name.len());
    head.put_u32_le(0);
    head.put_u8(conditions(target));
    put_short_text(&mut head, target.log.name);
    if let Some(id) = target.log.id {
        head.put_u64_le(id);
    }
    if let Some(tail) = target.expected_tail {
        head.put_u64_le(tail);
    }
    if let Some(fence) = target.fence {
        put_short_text(&mut head, fence);
    }
    match target.retry {
        RetryView::None => {}
        RetryView::Producer { id, epoch, sequence } => {
            put_short_text(&mut head, id);
            head.put_u64_le(epoch);
            head.put_u64_le(sequence);
        }
        RetryView::Key(key) => put_short_text(&mut head, key),
    }
    if let Some(key) = target.order_key {
        put_short_text(&mut head, key);
    }
    if target.retry != RetryView::None {
        head.extend_from_slice(&body_hash(records.run));
    }
    head.put_u32_le(records.count);
    head.put_u32_le(records.body_bytes_max);
    let length = u32::try_from(head.len() - 4 + records.run.len()).expect("an item fits a command");
    head[..4].copy_from_slice(&length.to_le_bytes());
    head
}

fn conditions(target: &AppendTargetView<'_>) -> u8 {
    let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    bit(target.log.id.is_some(), HAS_LOG)
        | bit(target.expected_tail.is_some(), HAS_TAIL)
        | bit(target.fence.is_some(), HAS_FENCE)
        | bit(target.order_key.is_some(), HAS_ORDER_KEY)
        | bit(target.seals, SEALS)
        | match target.retry {
            RetryView::None => 0,
            RetryView::Producer { .. } => HAS_PRODUCER,
            RetryView::Key(_) => HAS_KEY,
        }
}

/// An append command of items, each a head and its run.
pub fn encode_append<'a>(
    stamp: u64,
    items: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> Vec<u8> {
    let items_bytes: usize = items.clone().map(|(head, run)| head.len() + run.len()).sum();
    let mut out = Vec::with_capacity(COMMAND_HEAD_BYTES + 4 + items_bytes);
    put_head(&mut out, KIND_APPEND, stamp);
    put_length(&mut out, items.len(), ITEMS_MAX);
    for (head, run) in items {
        out.extend_from_slice(head);
        out.extend_from_slice(run);
    }
    assert_readable(&out);
    out
}

/// Any other command. An append is encoded of its items, by [`encode_append`].
pub fn encode(stamp: u64, command: &CommandView<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_head(&mut out, kind(command), stamp);
    match command {
        CommandView::Found(founding) => founding.write_fields(&mut out),
        CommandView::Append(_) => unreachable!("an append is encoded of its items"),
        CommandView::CreateLog { name, settings, seals, records } => {
            put_short_text(&mut out, name);
            settings.write(&mut out);
            out.put_u8(u8::from(*seals));
            records.write(&mut out);
        }
        CommandView::ChangeSettings { log, change } => {
            log.write(&mut out);
            change.write(&mut out);
        }
        CommandView::DeleteLog { log }
        | CommandView::Seal { log }
        | CommandView::RenewLog { log } => log.write(&mut out),
        CommandView::ExpireLogs { logs } => {
            put_length(&mut out, logs.len(), EXPIRING_LOGS_MAX);
            for log in logs {
                out.put_u64_le(*log);
            }
        }
        CommandView::Trim { log, to, bytes_before } => {
            log.write(&mut out);
            out.put_u64_le(*to);
            out.put_u64_le(*bytes_before);
        }
        CommandView::SetFence { log, fence } => {
            log.write(&mut out);
            put_optional(&mut out, *fence, put_short_text);
        }
        CommandView::SetCursor { log, cursor, expected, position } => {
            log.write(&mut out);
            put_short_text(&mut out, cursor);
            put_optional(&mut out, *expected, BufMut::put_u64_le);
            out.put_u64_le(*position);
        }
        CommandView::DeleteCursor { log, cursor } => {
            log.write(&mut out);
            put_short_text(&mut out, cursor);
        }
        CommandView::AdmitReplica { nonce, node } => {
            out.put_u128_le(*nonce);
            node.write(&mut out);
        }
        CommandView::ExpireProducers { idle_ms } => out.put_u64_le(*idle_ms),
        CommandView::MakeCheckpoint { label } => put_optional(&mut out, *label, put_short_text),
        CommandView::CertifyCheckpoint { checkpoint, digest, attested_by } => {
            out.put_u64_le(*checkpoint);
            out.extend_from_slice(digest);
            put_attesters(&mut out, attested_by);
        }
        CommandView::ReleaseCheckpoint { checkpoint } => out.put_u64_le(*checkpoint),
        CommandView::BeginChange { intent, newcomers } => {
            intent.write(&mut out);
            put_newcomers(&mut out, newcomers);
        }
        CommandView::MoveChange { change, from, to, outcome } => {
            out.put_u64_le(*change);
            out.put_u8(from.number());
            out.put_u8(to.number());
            put_text(&mut out, outcome, REASON_BYTES_MAX);
        }
        CommandView::OnBehalf { by, from, command } => {
            put_text(&mut out, by, AUTHOR_BYTES_MAX);
            put_text(&mut out, from, AUTHOR_BYTES_MAX);
            out.extend_from_slice(command);
        }
    }
    assert_readable(&out);
    out
}

fn assert_readable(command: &[u8]) {
    assert!(
        command.len() <= COMMAND_BYTES_MAX,
        "a command of {} bytes, and no replica reads more than {COMMAND_BYTES_MAX}",
        command.len()
    );
}

fn put_head(out: &mut Vec<u8>, kind: u8, stamp: u64) {
    out.put_u8(COMMAND_VERSION);
    out.put_u8(kind);
    out.put_u64_le(stamp);
}

const fn kind(command: &CommandView<'_>) -> u8 {
    match command {
        CommandView::Found(_) => KIND_FOUND,
        CommandView::Append(_) => KIND_APPEND,
        CommandView::CreateLog { .. } => KIND_CREATE_LOG,
        CommandView::ChangeSettings { .. } => KIND_CHANGE_SETTINGS,
        CommandView::DeleteLog { .. } => KIND_DELETE_LOG,
        CommandView::Trim { .. } => KIND_TRIM,
        CommandView::Seal { .. } => KIND_SEAL,
        CommandView::SetFence { .. } => KIND_SET_FENCE,
        CommandView::SetCursor { .. } => KIND_SET_CURSOR,
        CommandView::DeleteCursor { .. } => KIND_DELETE_CURSOR,
        CommandView::AdmitReplica { .. } => KIND_ADMIT_REPLICA,
        CommandView::ExpireProducers { .. } => KIND_EXPIRE_PRODUCERS,
        CommandView::MakeCheckpoint { .. } => KIND_MAKE_CHECKPOINT,
        CommandView::CertifyCheckpoint { .. } => KIND_CERTIFY_CHECKPOINT,
        CommandView::ReleaseCheckpoint { .. } => KIND_RELEASE_CHECKPOINT,
        CommandView::BeginChange { .. } => KIND_BEGIN_CHANGE,
        CommandView::MoveChange { .. } => KIND_MOVE_CHANGE,
        CommandView::OnBehalf { .. } => KIND_ON_BEHALF,
        CommandView::RenewLog { .. } => KIND_RENEW_LOG,
        CommandView::ExpireLogs { .. } => KIND_EXPIRE_LOGS,
    }
}
