//! The limits and deadlines of a node: plain values, made by the configuration.
//!
//! Everything that waits or is held has one here. Nothing below this floor reads them.
//!
//! Not here: limits that all replicas must hold alike; those are replicated (`machine`).

use std::time::Duration;

use client::types::BatchLimits;

use super::batcher::BatcherOptions;

/// Limits and deadlines of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeOptions {
    /// What one batch may hold.
    pub batch: BatchLimits,
    /// How appends become commands.
    pub batcher: BatcherOptions,
    /// Bytes of appends that are admitted and not yet answered.
    pub append_bytes_max: u64,
    /// Appends that are admitted and not yet answered.
    pub appends_max: u64,
    /// A leader whose proposals get nowhere for so long refuses further appends, and hands over. Where the group's
    /// elections wait for longer, so does it.
    pub stall_max: Duration,
    /// Appends are refused while the disk has less room than this; a quarter of it must be enough for a
    /// segment of the journal and a full flush.
    pub disk_free_min: u64,
    /// How long a command other than an append may take.
    pub command_deadline: Duration,
    /// How long a read may wait until it is known to be fresh.
    pub read_deadline: Duration,
    /// Reads that wait for a confirmation at once.
    pub reads_waiting_max: usize,
    /// Most records of one answer.
    pub read_records_max: u32,
    /// Most bytes of records of one answer.
    pub read_bytes_max: u32,
    /// Longest wait of a long poll.
    pub wait_max: Duration,
    /// Follows and waiting reads at once.
    pub followers_max: u64,
    /// A follow without news says at least so often that it is alive.
    pub follow_heartbeat: Duration,
    /// Most logs or cursors of one answer.
    pub list_max: usize,
    /// How long a caller is kept waiting for a leader to be elected.
    pub election_wait: Duration,
    /// How long a forwarded request may take.
    pub forward_deadline: Duration,
    /// How long a hand-over of leadership may take.
    pub hand_over_deadline: Duration,
    /// A voter that leadership is handed to lags at most by so many entries.
    pub hand_over_lag_max: u64,
    /// A voter that leadership is handed to, or that counts as alive, was heard within this time.
    pub heard_within: Duration,
    /// How often the leader looks whether there is something to forget.
    pub housekeeping_interval: Duration,
    /// How often the leader looks for records beyond their log's retention.
    pub retention_interval: Duration,
    /// How often the leader looks for logs whose time has come.
    pub expiry_interval: Duration,
    /// A checkpoint is made this long after the last one, if there was work since.
    pub checkpoint_interval: Duration,
    /// A checkpoint is made when entries of so many bytes came after the last one.
    pub checkpoint_bytes: u64,
    /// So many bytes of the newest entries stay in the journal in any case.
    pub journal_kept_bytes: u64,
    /// So many stay at most for a replica that fetches the state.
    pub journal_reserve_bytes: u64,
    /// How often the leader compares what the replicas executed, if there was work.
    pub audit_interval: Duration,
    /// All records are read again and hashed within this.
    pub scrub_within: Duration,
    /// Processes that may wait to join at once.
    pub joiners_max: usize,
    /// A process that waits to join and does not ask again for so long is forgotten.
    pub joiner_silence_max: Duration,
    /// A learner becomes a voter when it lags at most by so many entries.
    pub promotion_lag_max: u64,
    /// What a leader does about a voter that has been silent for long.
    pub replace_dead: ReplaceDead,
    /// How long that is.
    pub replace_dead_after: Duration,
}

/// What a leader does about a voter that has been silent for long, while a process waits to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplaceDead {
    /// Nothing.
    Off,
    /// It proposes that one for the other.
    Propose,
    /// It begins that change, if no check blocks it.
    Run,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            batch: BatchLimits::default(),
            batcher: BatcherOptions::default(),
            append_bytes_max: 64 << 20,
            appends_max: 16_384,
            stall_max: Duration::from_secs(1),
            disk_free_min: 512 << 20,
            command_deadline: Duration::from_secs(5),
            read_deadline: Duration::from_secs(3),
            reads_waiting_max: 16_384,
            read_records_max: 10_000,
            read_bytes_max: 4 << 20,
            wait_max: Duration::from_mins(1),
            followers_max: 10_000,
            follow_heartbeat: Duration::from_secs(5),
            list_max: 1_000,
            election_wait: Duration::from_secs(2),
            forward_deadline: Duration::from_secs(10),
            hand_over_deadline: Duration::from_secs(1),
            hand_over_lag_max: 1_000,
            heard_within: Duration::from_millis(500),
            housekeeping_interval: Duration::from_mins(1),
            retention_interval: Duration::from_secs(10),
            expiry_interval: Duration::from_millis(250),
            checkpoint_interval: Duration::from_secs(10),
            checkpoint_bytes: 128 << 20,
            journal_kept_bytes: 128 << 20,
            journal_reserve_bytes: 1 << 30,
            audit_interval: Duration::from_secs(5),
            scrub_within: Duration::from_hours(24),
            joiners_max: 64,
            joiner_silence_max: Duration::from_secs(15),
            promotion_lag_max: 1_000,
            replace_dead: ReplaceDead::Off,
            replace_dead_after: Duration::from_mins(10),
        }
    }
}
