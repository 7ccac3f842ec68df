//! The rows about the group: founding, admissions, nodes, membership.
//!
//! A membership and a node also travel alone, in an entry or between replicas; there they begin
//! with a version and have no check of their own, because the journal's frame or the envelope has
//! one. As rows they have version and check as every other (`values`).
//!
//! Not here: who may join, and what a change of membership goes through.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BufMut;

use super::fields::{Fields, Malformed, put_length, put_text};
use super::tables::Table;
use super::values::body::Body;
use super::values::{EntryIdRow, LimitsRow, ROW_VERSION};

/// An address or a zone of a replica, in bytes.
pub const NODE_TEXT_BYTES_MAX: usize = 1024;
/// Voters or nodes of one membership.
const MEMBERS_MAX: usize = 4096;
/// A membership is joint when it has two sets of voters.
const CONFIGS_MAX: usize = 2;

/// Which history of a cluster: raised by recovery after the loss of a quorum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationRow {
    /// Counted from 1.
    pub number: u32,
    /// Tells two recoveries with the same number apart.
    pub random: u64,
}

impl GenerationRow {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.number);
        out.put_u64_le(self.random);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self { number: fields.u32("generation")?, random: fields.u64("generation")? })
    }
}

/// What the group was founded with: equal for all replicas, so in no replica's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundingRow {
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// Its generation.
    pub generation: GenerationRow,
    /// Interval of heartbeats.
    pub heartbeat_ms: u32,
    /// Shortest time without a leader before an election.
    pub election_min_ms: u32,
    /// Longest such time.
    pub election_max_ms: u32,
    /// Replicated maxima.
    pub limits: LimitsRow,
    /// Newcomers are admitted by themselves until there are so many voters.
    pub expect_voters: u8,
}

impl FoundingRow {
    pub(super) fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cluster);
        self.generation.write(out);
        out.put_u32_le(self.heartbeat_ms);
        out.put_u32_le(self.election_min_ms);
        out.put_u32_le(self.election_max_ms);
        self.limits.write(out);
        out.put_u8(self.expect_voters);
    }

    pub(super) fn read_fields(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            cluster: fields.array("cluster")?,
            generation: GenerationRow::read(fields)?,
            heartbeat_ms: fields.u32("heartbeat")?,
            election_min_ms: fields.u32("election")?,
            election_max_ms: fields.u32("election")?,
            limits: LimitsRow::read(fields)?,
            expect_voters: fields.u8("expected voters")?,
        })
    }
}

impl Body for FoundingRow {
    const TABLE: Table = Table::Meta;

    fn write(&self, out: &mut Vec<u8>) {
        self.write_fields(out);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Self::read_fields(fields)
    }
}

/// What a membership says of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRow {
    /// The cluster it belongs to.
    pub cluster: [u8; 16],
    /// The cluster's generation when it was admitted.
    pub generation: GenerationRow,
    /// Where other replicas reach it.
    pub peer_addr: String,
    /// Where callers reach it.
    pub front_addr: String,
    /// What fails together.
    pub zone: String,
}

impl NodeRow {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cluster);
        self.generation.write(out);
        put_text(out, &self.peer_addr, NODE_TEXT_BYTES_MAX);
        put_text(out, &self.front_addr, NODE_TEXT_BYTES_MAX);
        put_text(out, &self.zone, NODE_TEXT_BYTES_MAX);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            cluster: fields.array("cluster")?,
            generation: GenerationRow::read(fields)?,
            peer_addr: fields.text(NODE_TEXT_BYTES_MAX, "peer address")?.to_owned(),
            front_addr: fields.text(NODE_TEXT_BYTES_MAX, "front address")?.to_owned(),
            zone: fields.text(NODE_TEXT_BYTES_MAX, "zone")?.to_owned(),
        })
    }

    /// Its bytes alone, with a version: between replicas, where the envelope is checked on its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![ROW_VERSION];
        self.write(&mut out);
        out
    }

    /// A node of such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes);
        if fields.u8("node version")? != ROW_VERSION {
            return Err(Malformed::new("node version", 0));
        }
        let node = Self::read(&mut fields)?;
        fields.finish("node")?;
        Ok(node)
    }
}

/// Who counts, and who is there at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembershipRow {
    /// Sets of voters: two while joint, none before there is a group.
    pub configs: Vec<BTreeSet<u64>>,
    /// Every member, learners included.
    pub nodes: BTreeMap<u64, NodeRow>,
}

impl MembershipRow {
    fn write_fields(&self, out: &mut Vec<u8>) {
        assert!(self.configs.len() <= CONFIGS_MAX, "a membership has at most two sets of voters");
        out.put_u8(u8::try_from(self.configs.len()).expect("two fit"));
        for voters in &self.configs {
            put_length(out, voters.len(), MEMBERS_MAX);
            for voter in voters {
                out.put_u64_le(*voter);
            }
        }
        put_length(out, self.nodes.len(), MEMBERS_MAX);
        for (id, node) in &self.nodes {
            out.put_u64_le(*id);
            node.write(out);
        }
    }

    fn read_fields(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let mut membership = Self::default();
        let config_count = usize::from(fields.u8("voter sets")?);
        if config_count > CONFIGS_MAX {
            return Err(fields.malformed("voter sets"));
        }
        for _ in 0..config_count {
            let mut voters = BTreeSet::new();
            for _ in 0..fields.length(MEMBERS_MAX, "voters")? {
                let voter = fields.u64("voter")?;
                if voters.last().is_some_and(|last| *last >= voter) {
                    return Err(fields.malformed("voter"));
                }
                voters.insert(voter);
            }
            membership.configs.push(voters);
        }
        for _ in 0..fields.length(MEMBERS_MAX, "nodes")? {
            let id = fields.u64("node id")?;
            if membership.nodes.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(fields.malformed("node id"));
            }
            membership.nodes.insert(id, NodeRow::read(fields)?);
        }
        Ok(membership)
    }

    /// What a membership entry carries. The journal checks it, so there is no check here.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![ROW_VERSION];
        self.write_fields(&mut out);
        out
    }

    /// A membership of such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes);
        if fields.u8("membership version")? != ROW_VERSION {
            return Err(Malformed::new("membership version", 0));
        }
        let membership = Self::read_fields(&mut fields)?;
        fields.finish("membership")?;
        Ok(membership)
    }
}

/// The newest membership with the entry that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMembershipRow {
    /// Its entry.
    pub entry: EntryIdRow,
    /// The membership.
    pub membership: MembershipRow,
}

impl Body for AppliedMembershipRow {
    const TABLE: Table = Table::Meta;

    fn write(&self, out: &mut Vec<u8>) {
        self.entry.write(out);
        self.membership.write_fields(out);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            entry: EntryIdRow::read(fields)?,
            membership: MembershipRow::read_fields(fields)?,
        })
    }
}

/// A replica that got its id, under that id in `meta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionRow {
    /// What the newcomer drew, so that asking twice gives one id.
    pub nonce: u128,
    /// Who it said it is.
    pub node: NodeRow,
}

impl Body for AdmissionRow {
    const TABLE: Table = Table::Meta;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_u128_le(self.nonce);
        self.node.write(out);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self { nonce: fields.u128("nonce")?, node: NodeRow::read(fields)? })
    }
}
