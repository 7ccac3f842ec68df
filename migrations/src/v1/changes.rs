//! Changes of the membership: what somebody wished, and how far it has come.
//!
//! ```text
//! meta, key `machine/change/` u64 number    a row as every other (`values`)
//! ```
//!
//! What the wish means for the membership stands here in numbers and addresses, so that whoever leads can go on with it;
//! the wish itself is kept as its author wrote it, in the contract's JSON, for people to read. Not here: which change is
//! allowed, and what each stage does (`machine` and the node decide).

use std::collections::{BTreeMap, BTreeSet};

use bytes::BufMut;

use super::fields::{Fields, Malformed, put_length, put_optional, put_text};
use super::members::NodeRow;
use super::tables::Table;
use super::values::body::Body;

/// Who wished a change, or where that came from, in bytes.
pub const AUTHOR_BYTES_MAX: usize = 256;
/// A wish in JSON, in bytes.
pub const WISH_BYTES_MAX: usize = 16 << 10;
/// What somebody typed to override a check, in bytes.
pub const TYPED_BYTES_MAX: usize = 1024;
/// Why somebody did, or why a change ended as it did, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Checks overridden by one change.
pub const OVERRIDES_MAX: usize = 32;
/// Members that one change names.
pub const CHANGED_MEMBERS_MAX: usize = 256;

/// How far a change is. It only moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageRow {
    /// Newcomers are let in as learners and catch up.
    Joining,
    /// The new voters are decided: there is no way back.
    Joint,
    /// The new voters count; those who leave are taken off the list, and told.
    Leaving,
    /// All is as it was wished.
    Done,
    /// Given up: the newcomers are taken off the list.
    Cancelling,
    /// All is as it was before.
    Cancelled,
}

impl StageRow {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Joining, Self::Joint, Self::Leaving, Self::Done, Self::Cancelling, Self::Cancelled];

    /// Its number on disk and in digests.
    pub const fn number(self) -> u8 {
        match self {
            Self::Joining => 1,
            Self::Joint => 2,
            Self::Leaving => 3,
            Self::Done => 4,
            Self::Cancelling => 5,
            Self::Cancelled => 6,
        }
    }

    /// Whether nothing is left to do.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let number = fields.u8("stage")?;
        let stage = Self::ALL.into_iter().find(|stage| stage.number() == number);
        stage.ok_or(fields.malformed("stage"))
    }
}

/// A check that said no, and somebody who knew better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideRow {
    /// The check's number.
    pub check: u8,
    /// What was typed to override it.
    pub typed: String,
    /// Why.
    pub reason: String,
}

/// What a change wants, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntentRow {
    /// The epoch it was planned for.
    pub epoch: u64,
    /// The wish, in the contract's JSON.
    pub wish: String,
    /// Who wished it.
    pub by: String,
    /// From where.
    pub from: String,
    /// The checks that were overridden.
    pub overrides: Vec<OverrideRow>,
    /// Who votes in the end; empty if nobody's vote changes.
    pub voters: BTreeSet<u64>,
    /// Members that come, or that are found elsewhere from then on.
    pub nodes: BTreeMap<u64, NodeRow>,
    /// Members that are none in the end.
    pub leaves: BTreeSet<u64>,
    /// Who leads in the end, if that was wished.
    pub lead: Option<u64>,
}

/// A process that waits to join and gets its id with the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewcomerRow {
    /// What it drew.
    pub nonce: u128,
    /// Who it says it is.
    pub node: NodeRow,
    /// Whether it votes in the end.
    pub is_voter: bool,
}

/// A change, under its number in `meta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// The machine's clock when it began.
    pub began: u64,
    /// What it wants, newcomers included, under the ids they got.
    pub intent: IntentRow,
    /// Which of the members named there are newcomers.
    pub joins: BTreeSet<u64>,
    /// How far it is.
    pub stage: StageRow,
    /// The machine's clock when it ended.
    pub ended: Option<u64>,
    /// Why it ended as it did, if there is more to say.
    pub outcome: String,
}

impl OverrideRow {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(self.check);
        put_text(out, &self.typed, TYPED_BYTES_MAX);
        put_text(out, &self.reason, REASON_BYTES_MAX);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            check: fields.u8("check")?,
            typed: fields.text(TYPED_BYTES_MAX, "typed text")?.to_owned(),
            reason: fields.text(REASON_BYTES_MAX, "reason")?.to_owned(),
        })
    }
}

impl IntentRow {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.epoch);
        put_text(out, &self.wish, WISH_BYTES_MAX);
        put_text(out, &self.by, AUTHOR_BYTES_MAX);
        put_text(out, &self.from, AUTHOR_BYTES_MAX);
        put_length(out, self.overrides.len(), OVERRIDES_MAX);
        for one in &self.overrides {
            one.write(out);
        }
        put_ids(out, &self.voters);
        put_length(out, self.nodes.len(), CHANGED_MEMBERS_MAX);
        for (id, node) in &self.nodes {
            out.put_u64_le(*id);
            node.write(out);
        }
        put_ids(out, &self.leaves);
        put_optional(out, self.lead, Vec::put_u64_le);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let mut intent = Self {
            epoch: fields.u64("epoch")?,
            wish: fields.text(WISH_BYTES_MAX, "wish")?.to_owned(),
            by: fields.text(AUTHOR_BYTES_MAX, "author")?.to_owned(),
            from: fields.text(AUTHOR_BYTES_MAX, "origin")?.to_owned(),
            ..Self::default()
        };
        for _ in 0..fields.length(OVERRIDES_MAX, "overrides")? {
            intent.overrides.push(OverrideRow::read(fields)?);
        }
        intent.voters = read_ids(fields, "voter")?;
        for _ in 0..fields.length(CHANGED_MEMBERS_MAX, "nodes")? {
            let id = fields.u64("node id")?;
            if intent.nodes.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(fields.malformed("node id"));
            }
            intent.nodes.insert(id, NodeRow::read(fields)?);
        }
        intent.leaves = read_ids(fields, "leaver")?;
        intent.lead = fields.optional("leader", |f| f.u64("leader"))?;
        Ok(intent)
    }
}

impl NewcomerRow {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u128_le(self.nonce);
        self.node.write(out);
        out.put_u8(u8::from(self.is_voter));
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            nonce: fields.u128("nonce")?,
            node: NodeRow::read(fields)?,
            is_voter: fields.flag("newcomer's vote")?,
        })
    }
}

impl Body for ChangeRow {
    const TABLE: Table = Table::Meta;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.began);
        self.intent.write(out);
        put_ids(out, &self.joins);
        out.put_u8(self.stage.number());
        put_optional(out, self.ended, Vec::put_u64_le);
        put_text(out, &self.outcome, REASON_BYTES_MAX);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            began: fields.u64("change stamp")?,
            intent: IntentRow::read(fields)?,
            joins: read_ids(fields, "newcomer")?,
            stage: StageRow::read(fields)?,
            ended: fields.optional("end", |f| f.u64("end"))?,
            outcome: fields.text(REASON_BYTES_MAX, "outcome")?.to_owned(),
        })
    }
}

/// Writes newcomers.
pub(super) fn put_newcomers(out: &mut Vec<u8>, newcomers: &[NewcomerRow]) {
    put_length(out, newcomers.len(), CHANGED_MEMBERS_MAX);
    for newcomer in newcomers {
        newcomer.write(out);
    }
}

/// Reads newcomers.
pub(super) fn read_newcomers(fields: &mut Fields<'_>) -> Result<Vec<NewcomerRow>, Malformed> {
    let count = fields.length(CHANGED_MEMBERS_MAX, "newcomers")?;
    (0..count).map(|_| NewcomerRow::read(fields)).collect()
}

fn put_ids(out: &mut Vec<u8>, ids: &BTreeSet<u64>) {
    put_length(out, ids.len(), CHANGED_MEMBERS_MAX);
    for id in ids {
        out.put_u64_le(*id);
    }
}

/// Ids in order, each once.
fn read_ids(fields: &mut Fields<'_>, field: &'static str) -> Result<BTreeSet<u64>, Malformed> {
    let mut ids = BTreeSet::new();
    for _ in 0..fields.length(CHANGED_MEMBERS_MAX, field)? {
        let id = fields.u64(field)?;
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(fields.malformed(field));
        }
        ids.insert(id);
    }
    Ok(ids)
}
