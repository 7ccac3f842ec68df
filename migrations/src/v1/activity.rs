//! Who did what: the records of the service's own log `_activity`.
//!
//! ```text
//! body of a record    u8 version, text by, text from, u8 act, then the fields of the act
//! ```
//!
//! When it was done is the time of the record. Not here: what becomes a record (`machine`), and how it is shown.

use bytes::BufMut;

use super::changes::{
    AUTHOR_BYTES_MAX, OVERRIDES_MAX, OverrideRow, REASON_BYTES_MAX, WISH_BYTES_MAX,
};
use super::fields::{Fields, Malformed, put_length, put_optional, put_short_text, put_text};
use super::values::{NODE_TEXT_BYTES_MAX, SettingsChangeRow, SettingsRow};

/// The log's name.
pub const ACTIVITY_LOG: &str = "_activity";
/// The log's id: the one that no log of a caller gets.
pub const ACTIVITY_LOG_ID: u64 = 0;
/// The form of records that this version writes.
const ACTIVITY_VERSION: u8 = 1;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityRow {
    /// Who did it, or which policy.
    pub by: String,
    /// From where; empty if nobody said.
    pub from: String,
    /// What was done.
    pub act: ActRow,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract documents the same fields")]
pub enum ActRow {
    Founded { cluster: [u8; 16], generation: u32 },
    LogCreated { log: u64, name: String, settings: SettingsRow },
    SettingsChanged { log: u64, name: String, change: SettingsChangeRow },
    LogTrimmed { log: u64, name: String, first: u64, records: u64 },
    LogSealed { log: u64, name: String, tail: u64 },
    LogDeleted { log: u64, name: String, records: u64 },
    CheckpointMade { checkpoint: u64, label: Option<String> },
    CheckpointReleased { checkpoint: u64 },
    ReplicaAdmitted { replica: u64, addr: String },
    ChangeBegun { change: u64, wish: String, overrides: Vec<OverrideRow> },
    ChangeCancelled { change: u64 },
    ChangeEnded { change: u64, is_done: bool, outcome: String, took_ms: u64 },
}

impl ActivityRow {
    /// The body of its record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![ACTIVITY_VERSION];
        put_text(&mut out, &self.by, AUTHOR_BYTES_MAX);
        put_text(&mut out, &self.from, AUTHOR_BYTES_MAX);
        out.put_u8(self.act.number());
        self.act.write(&mut out);
        out
    }

    /// What a record's body holds.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(body);
        if fields.u8("activity version")? != ACTIVITY_VERSION {
            return Err(Malformed::new("activity version", 0));
        }
        let by = fields.text(AUTHOR_BYTES_MAX, "author")?.to_owned();
        let from = fields.text(AUTHOR_BYTES_MAX, "origin")?.to_owned();
        let act = ActRow::read(&mut fields)?;
        fields.finish("activity")?;
        Ok(Self { by, from, act })
    }
}

impl ActRow {
    const fn number(&self) -> u8 {
        match self {
            Self::Founded { .. } => 1,
            Self::LogCreated { .. } => 2,
            Self::SettingsChanged { .. } => 3,
            Self::LogTrimmed { .. } => 4,
            Self::LogSealed { .. } => 5,
            Self::LogDeleted { .. } => 6,
            Self::CheckpointMade { .. } => 7,
            Self::CheckpointReleased { .. } => 8,
            Self::ReplicaAdmitted { .. } => 9,
            Self::ChangeBegun { .. } => 10,
            Self::ChangeCancelled { .. } => 11,
            Self::ChangeEnded { .. } => 12,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Founded { cluster, generation } => {
                out.extend_from_slice(cluster);
                out.put_u32_le(*generation);
            }
            Self::LogCreated { log, name, settings } => {
                put_log(out, *log, name);
                settings.write(out);
            }
            Self::SettingsChanged { log, name, change } => {
                put_log(out, *log, name);
                change.write(out);
            }
            Self::LogTrimmed { log, name, first, records } => {
                put_log(out, *log, name);
                out.put_u64_le(*first);
                out.put_u64_le(*records);
            }
            Self::LogSealed { log, name, tail: number }
            | Self::LogDeleted { log, name, records: number } => {
                put_log(out, *log, name);
                out.put_u64_le(*number);
            }
            Self::CheckpointMade { checkpoint, label } => {
                out.put_u64_le(*checkpoint);
                put_optional(out, label.as_deref(), put_short_text);
            }
            Self::CheckpointReleased { checkpoint } => out.put_u64_le(*checkpoint),
            Self::ReplicaAdmitted { replica, addr } => {
                out.put_u64_le(*replica);
                put_text(out, addr, NODE_TEXT_BYTES_MAX);
            }
            Self::ChangeBegun { change, wish, overrides } => {
                out.put_u64_le(*change);
                put_text(out, wish, WISH_BYTES_MAX);
                put_length(out, overrides.len(), OVERRIDES_MAX);
                for one in overrides {
                    one.write(out);
                }
            }
            Self::ChangeCancelled { change } => out.put_u64_le(*change),
            Self::ChangeEnded { change, is_done, outcome, took_ms } => {
                out.put_u64_le(*change);
                out.put_u8(u8::from(*is_done));
                put_text(out, outcome, REASON_BYTES_MAX);
                out.put_u64_le(*took_ms);
            }
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(match fields.u8("act")? {
            1 => Self::Founded {
                cluster: fields.array("cluster")?,
                generation: fields.u32("generation")?,
            },
            2 => {
                let (log, name) = read_log(fields)?;
                Self::LogCreated { log, name, settings: SettingsRow::read(fields)? }
            }
            3 => {
                let (log, name) = read_log(fields)?;
                Self::SettingsChanged { log, name, change: SettingsChangeRow::read(fields)? }
            }
            4 => {
                let (log, name) = read_log(fields)?;
                let (first, records) = (fields.u64("trim point")?, fields.u64("records")?);
                Self::LogTrimmed { log, name, first, records }
            }
            5 => {
                let (log, name) = read_log(fields)?;
                Self::LogSealed { log, name, tail: fields.u64("tail")? }
            }
            6 => {
                let (log, name) = read_log(fields)?;
                Self::LogDeleted { log, name, records: fields.u64("records")? }
            }
            7 => Self::CheckpointMade {
                checkpoint: fields.u64("checkpoint")?,
                label: fields.optional("label", |f| f.short_text("label"))?.map(str::to_owned),
            },
            8 => Self::CheckpointReleased { checkpoint: fields.u64("checkpoint")? },
            9 => Self::ReplicaAdmitted {
                replica: fields.u64("replica")?,
                addr: fields.text(NODE_TEXT_BYTES_MAX, "address")?.to_owned(),
            },
            10 => {
                let change = fields.u64("change")?;
                let wish = fields.text(WISH_BYTES_MAX, "wish")?.to_owned();
                let count = fields.length(OVERRIDES_MAX, "overrides")?;
                let overrides =
                    (0..count).map(|_| OverrideRow::read(fields)).collect::<Result<_, _>>()?;
                Self::ChangeBegun { change, wish, overrides }
            }
            11 => Self::ChangeCancelled { change: fields.u64("change")? },
            12 => Self::ChangeEnded {
                change: fields.u64("change")?,
                is_done: fields.flag("end")?,
                outcome: fields.text(REASON_BYTES_MAX, "outcome")?.to_owned(),
                took_ms: fields.u64("duration")?,
            },
            _ => return Err(fields.malformed("act")),
        })
    }
}

fn put_log(out: &mut Vec<u8>, log: u64, name: &str) {
    out.put_u64_le(log);
    put_short_text(out, name);
}

fn read_log(fields: &mut Fields<'_>) -> Result<(u64, String), Malformed> {
    Ok((fields.u64("log id")?, fields.short_text("log name")?.to_owned()))
}
