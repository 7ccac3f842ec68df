//! Every openraft name that the house uses, aliased once and explained.
//!
//! A change of openraft, or of the way agreement is reached, is felt in this folder and in
//! `peer`, which speaks these names because it carries openraft's messages. Nothing above sees
//! them.

use client::types::{EntryId, EntryIndex, Term};
use migrations::latest::{MembershipRow, NodeRow};
use openraft::vote::RaftLeaderId as _;

use crate::machine::{Outcome, Payload};
use crate::storage::state::StateManifest;

openraft::declare_raft_types!(
    /// What openraft is told about this service: commands are bytes with their hash, replies are
    /// the machine's outcomes, replicas are numbers.
    pub TypeConfig:
        D = Payload,
        R = Outcome,
        NodeId = u64,
        Node = NodeRow,
);

/// An entry as openraft hands it over: its log id, and a blank, a command or a membership.
pub type RaftEntry = openraft::alias::EntryOf<TypeConfig>;
/// What an entry of openraft carries.
pub type RaftPayload = openraft::EntryPayload<Payload, u64, NodeRow>;
/// `(term, leader, index)`.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// The leader part of a log id: two leaders may exist in one term, so the node belongs to it.
pub type LeaderId = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
/// A vote: for whom, in which term, and whether a quorum granted it.
pub type RaftVote = openraft::alias::VoteOf<TypeConfig>;
/// Who counts, as openraft keeps it.
pub type RaftMembership = openraft::Membership<u64, NodeRow>;
/// A membership with the log id of its entry.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// A snapshot's body: a manifest, or nothing for a state to which nothing was applied.
pub type SnapshotBody = Option<StateManifest>;
/// A snapshot: its meta, and the manifest.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotBody>;
/// The entry and membership that a snapshot stands for.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// The answer to an offered snapshot.
pub type SnapshotResponse = openraft::raft::SnapshotResponse<TypeConfig>;
/// Entries from a leader, or its heartbeat.
pub type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
/// What a follower says to entries.
pub type AppendResponse = openraft::raft::AppendEntriesResponse<TypeConfig>;
/// A candidate asks for a vote, or whether it would get one.
pub type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
/// The answer to it.
pub type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
/// A leader hands its leadership to a voter.
pub type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
/// What the voter says to that.
pub type TransferResponse = openraft::raft::TransferLeaderResponse<TypeConfig>;
/// Why a voter did not take the leadership.
pub type TransferError = openraft::raft::TransferLeaderError<TypeConfig>;
/// A message could not be delivered or answered.
pub type RpcError = openraft::errors::RPCError<TypeConfig>;
/// An offer could not be delivered or was not taken.
pub type StreamingError = openraft::errors::StreamingError<TypeConfig>;
/// The replica cannot be reached now: openraft waits before it tries again.
pub type Unreachable = openraft::errors::Unreachable<TypeConfig>;
/// The sending task was told to stop.
pub type ReplicationClosed = openraft::errors::ReplicationClosed;
/// What a follower said to one request of a stream, or why it said nothing.
pub type StreamAnswer = Result<openraft::raft::StreamAppendResult<TypeConfig>, RpcError>;
/// Deadlines that openraft advises for one message.
pub use openraft::network::RPCOption as RpcOption;
/// What openraft wants of a connection, and of the one who makes connections.
pub use openraft::network::{
    NetSnapshot as SnapshotNetwork, RaftNetworkFactory, stream_append_sequential,
    v2::RaftNetworkV2 as RaftNetwork,
};

/// Our name for a log id.
pub fn entry_id(log_id: &LogId) -> EntryId {
    EntryId {
        term: Term::new(log_id.leader_id.term),
        leader: log_id.leader_id.node_id,
        index: EntryIndex::new(log_id.index),
    }
}

/// openraft's name for an entry id.
pub fn log_id(id: &EntryId) -> LogId {
    LogId::new(LeaderId::new(id.term.get(), id.leader), id.index.get())
}

/// A membership as it is stored: sets of voters, and where each replica is found.
pub fn membership_row(membership: &RaftMembership) -> MembershipRow {
    MembershipRow {
        configs: membership.get_joint_config().clone(),
        nodes: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
    }
}

/// The opposite of [`membership_row`]. A default membership has no configurations at all and
/// comes back as that.
///
/// # Panics
///
/// If a voter has no node: such a row is never written.
pub fn membership(row: &MembershipRow) -> RaftMembership {
    if row.configs.is_empty() && row.nodes.is_empty() {
        return RaftMembership::default();
    }
    RaftMembership::new(row.configs.clone(), row.nodes.clone())
        .expect("a stored membership names a node for each voter")
}
