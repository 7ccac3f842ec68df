//! The cluster as a whole: its verdict, its replicas, who waits to join, and how it begins.
//!
//! The verdict is one sentence that answers what an operator asks first: can it append, and how
//! many replicas may still fail. Health checks, command line and dashboard show the same one.
//!
//! Not here: changes of the membership, which have plans and checks of their own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(feature = "schema")]
use super::plans::WISH_MEMBERS_MAX;
use super::plans::{Check, Wish, few_objects};
use crate::types::{
    ClusterId, Digest, EntryIndex, Epoch, Generation, ReplicaAddr, ReplicaId, Term, Timestamp, Zone,
};

/// Answer to GET on the cluster: as this replica sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClusterStatus {
    /// The answer in one sentence.
    pub verdict: Verdict,
    /// Which cluster; none before this process belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterId>,
    /// Which history of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The membership's epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The term.
    pub term: Term,
    /// Who leads, if that is known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<ReplicaId>,
    /// Who answers; none before this process is a replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub this_replica: Option<ReplicaId>,
    /// How many voters the group wants, as given at bootstrap.
    pub expected_voters: u32,
    /// Every replica, in the order of ids.
    pub replicas: Vec<ReplicaStatus>,
    /// Who waits to join, the longest first, as far as the leader was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joiners: Vec<Joiner>,
    /// Who could take the place of a voter that has been silent for long. Only where the leader is told to look for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
    /// When this was looked at.
    pub as_of: Timestamp,
}

/// Whether the group can append, and how much it can lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// Whether appends succeed now, as far as this replica can know.
    pub can_append: bool,
    /// How many more voters may fail while appends still succeed.
    pub tolerance: u32,
    /// The verdict in one sentence.
    pub sentence: String,
    /// Why it is no better, one sentence each.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// A voter that has been silent for long, and a process that waits to join and could take its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Replacement {
    /// What is proposed.
    pub wish: Wish,
    /// Since when the voter has been silent; since its leader leads, if it never answered that.
    pub silent_since: Timestamp,
    /// All of it in one sentence, with the command that does it, or why it is not done.
    pub sentence: String,
    /// The check that blocks it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// One replica, as the one that answers sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReplicaStatus {
    /// Which.
    pub id: ReplicaId,
    /// What it does at the moment.
    pub role: Role,
    /// Whether it answered recently. This replica always does.
    pub is_reachable: bool,
    /// Where it answers clients.
    pub addr: ReplicaAddr,
    /// Where it answers replicas.
    pub peer_addr: ReplicaAddr,
    /// Where it stands, in the operator's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Its version, if it was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which start of it, counted from 1, if it was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// The last entry of its journal, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<EntryIndex>,
    /// The last entry it has applied, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<EntryIndex>,
    /// How far it is behind the leader, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// Milliseconds since it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms_ago: Option<u64>,
    /// What its disk needs to make an entry durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncLatency>,
    /// Milliseconds for which its disk has needed long for each sync, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<u64>,
    /// Bytes that can still be stored on its disk: what the file system has free, and up to half as much again
    /// of what trims have freed inside its own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Entries of its journal that were found damaged since its start, if any. They are never served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged_entries: Option<u64>,
    /// Its state is known to be another one than the certified one: it answers no reads until it has taken that anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<QuarantineInfo>,
    /// What its state was at an entry that it had applied, if it was heard. A replica tells of itself
    /// as of now; of the others, as they told lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<StateDigest>,
}

/// What makes the states of two replicas comparable: at the same entry, all of it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StateDigest {
    /// The entry right after which it was taken.
    pub entry: EntryIndex,
    /// Over every command up to it, and what came of each: records, producers, cursors, settings.
    pub rolling: Digest,
    /// The membership's epoch then; none before the first membership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Who counted for a quorum then, in the order of ids.
    pub voters: Vec<ReplicaId>,
}

/// Why a replica answers no reads, and what becomes of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuarantineInfo {
    /// What is to come.
    pub stage: QuarantineStage,
    /// The newest checkpoint at which its state was another one than the certified one.
    pub checkpoint: EntryIndex,
    /// The checkpoint whose state it has taken since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<EntryIndex>,
}

/// How far a replica is whose state differed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum QuarantineStage {
    /// It is about to take the certified state.
    Differs,
    /// It takes the certified state from the others.
    Renewing,
    /// It has the certified state; it is back once the next checkpoint is the same there.
    Renewed,
    /// It differed again after that: an operator has to replace it under a new id.
    ToBeReplaced,
}

/// What a replica does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Orders the entries. Counts for a quorum.
    Leader,
    /// Follows the leader. Counts for a quorum.
    Follower,
    /// Wants to lead. Counts for a quorum.
    Candidate,
    /// Receives entries and does not count.
    Learner,
}

impl Role {
    /// Whether it counts for a quorum.
    pub const fn is_voter(self) -> bool {
        match self {
            Self::Leader | Self::Follower | Self::Candidate => true,
            Self::Learner => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
        })
    }
}

/// How far a replica's journal is behind the leader's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lag {
    /// In entries.
    pub entries: u64,
}

/// What a disk needs to make an entry durable, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SyncLatency {
    /// Half of the syncs are faster.
    pub p50_us: u64,
    /// One of a hundred is slower.
    pub p99_us: u64,
}

/// Body of POST on bootstrap. An empty body takes the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BootstrapRequest {
    /// How many voters the group wants: joiners are admitted until there are as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u32>,
}

/// Answer to POST on bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BootstrapAnswer {
    /// The new cluster.
    pub cluster: ClusterId,
    /// Its first history.
    pub generation: Generation,
    /// The replica that this process is now.
    pub replica: ReplicaId,
}

/// What makes asking to join safe to repeat: drawn once by the process that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("pattern" = "^[0-9a-f]{32}$"))
)]
pub struct JoinNonce(u128);

impl JoinNonce {
    /// The nonce of this number.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u128 {
        self.0
    }
}

impl fmt::Display for JoinNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that is no nonce.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nonce has 32 lower-case hexadecimal digits")]
pub struct JoinNonceError;

impl FromStr for JoinNonce {
    type Err = JoinNonceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |letter: u8| matches!(letter, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(JoinNonceError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| JoinNonceError)
    }
}

impl Serialize for JoinNonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JoinNonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Body of POST on joiners: a process asks to become a replica, until it is told that it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The same in every repetition.
    pub nonce: JoinNonce,
    /// Where it answers clients.
    pub addr: ReplicaAddr,
    /// Where it answers replicas.
    pub peer_addr: ReplicaAddr,
    /// Where it stands, in the operator's words.
    #[serde(default, skip_serializing_if = "Zone::is_empty")]
    pub zone: Zone,
    /// Its version.
    pub version: String,
    /// The one cluster it wants to join, if it minds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterId>,
    /// Free bytes on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// It wants to receive everything and never vote, so the policy given at bootstrap leaves it waiting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_learner: bool,
    /// Which behaviour of replicated commands it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_version: Option<u32>,
    /// Which format of a data folder it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<u32>,
    /// What its clock shows as it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// What it found in its folder as it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<JoinFolder>,
    /// How it reaches the members that the last answer named; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few_objects")]
    #[cfg_attr(feature = "schema", schemars(length(max = WISH_MEMBERS_MAX)))]
    pub reaches: Vec<Reach>,
}

impl JoinRequest {
    /// A process that tells no more of itself than it must.
    pub fn new(
        nonce: JoinNonce,
        addr: ReplicaAddr,
        peer_addr: ReplicaAddr,
        version: impl Into<String>,
    ) -> Self {
        Self {
            nonce,
            addr,
            peer_addr,
            zone: Zone::default(),
            version: version.into(),
            cluster: None,
            free_bytes: None,
            as_learner: false,
            machine_version: None,
            format_version: None,
            time: None,
            folder: None,
            reaches: Vec::new(),
        }
    }
}

/// What a process that waits to join found in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum JoinFolder {
    /// Nothing: a new replica can begin there.
    Empty,
    /// A replica that once began there.
    Replica {
        /// Of which cluster.
        cluster: ClusterId,
        /// Its id, if it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replica: Option<ReplicaId>,
    },
    /// Something else.
    Foreign,
}

/// How one process reaches a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// The member.
    pub id: ReplicaId,
    /// Microseconds until a connection to where it answers replicas was there; none: it was not there within a
    /// second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
}

/// Answer to POST on joiners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JoinAnswer {
    /// Nobody has admitted it yet: ask again.
    Waiting {
        /// After this long.
        retry_after_ms: u64,
        /// The members: how it reaches them is what it tells when it asks again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        peers: Vec<PeerAddr>,
    },
    /// It is a replica now.
    Admitted(Admission),
}

/// What an admitted process needs to be a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Admission {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which history of it.
    pub generation: Generation,
    /// The replica that this process is now.
    pub replica: ReplicaId,
    /// The group's timings, as fixed at bootstrap.
    pub timings: Timings,
    /// The other replicas.
    pub peers: Vec<PeerAddr>,
}

/// Timings of a group: the same on every replica, because leases are reckoned by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timings {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest time without a leader before an election.
    pub election_min_ms: u64,
    /// Longest time without a leader before an election.
    pub election_max_ms: u64,
}

/// Where a replica answers the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeerAddr {
    /// Which replica.
    pub id: ReplicaId,
    /// Where.
    pub peer_addr: ReplicaAddr,
}

/// A process that waits to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Joiner {
    /// Where it answers clients.
    pub addr: ReplicaAddr,
    /// Where it answers replicas.
    pub peer_addr: ReplicaAddr,
    /// Where it stands, in the operator's words.
    #[serde(default, skip_serializing_if = "Zone::is_empty")]
    pub zone: Zone,
    /// Its version.
    pub version: String,
    /// Free bytes on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// It wants to receive everything and never vote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_learner: bool,
    /// Which behaviour of replicated commands it has, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_version: Option<u32>,
    /// Which format of a data folder it writes, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<u32>,
    /// Milliseconds by which its clock is ahead of the leader's, if it told; behind, if negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
    /// What it found in its folder, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<JoinFolder>,
    /// How it reaches the members, as far as it has tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<Reach>,
    /// Since when it waits.
    pub since: Timestamp,
}

/// Answer to GET on joiners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JoinerList {
    /// All that wait, the longest first.
    pub joiners: Vec<Joiner>,
}

/// Query of a readiness check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReadinessQuery {
    /// Whether to tell check by check; `false` and `0` mean no, anything else, nothing included, means yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose: Option<String>,
    /// What it is to be ready for: `append` asks whether appends through it can succeed.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "for")]
    pub purpose: Option<ReadyFor>,
}

/// What a replica may be asked to be ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReadyFor {
    /// Appends.
    Append,
}

/// Answer of a readiness check that was asked with `?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Readiness {
    /// Whether it can serve now.
    pub is_ready: bool,
    /// What that depends on.
    pub checks: Vec<ReadinessCheck>,
}

/// One thing that readiness depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReadinessCheck {
    /// Its stable name.
    pub name: String,
    /// Whether it holds.
    pub is_passed: bool,
    /// One sentence on it.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_survives_text() {
        for number in [0, 1, u128::MAX] {
            let nonce = JoinNonce::new(number);
            assert_eq!(nonce.to_string().parse(), Ok(nonce));
        }
        for text in ["", "0", &"F".repeat(32), &"+".repeat(32)] {
            assert_eq!(text.parse::<JoinNonce>(), Err(JoinNonceError), "{text}");
        }
    }

    #[test]
    fn only_learners_do_not_count() {
        assert!(Role::Candidate.is_voter() && !Role::Learner.is_voter());
    }
}
