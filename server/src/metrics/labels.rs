//! Labels of metrics: enums whose words are few and fixed.
//!
//! No log, producer or address ever becomes a label. A word here is seen by dashboards and alerts, so
//! it stays what it is.
//!
//! Not here: the metrics themselves.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// Stored now.
    Acknowledged,
    /// Stored before; answered with its first positions.
    Replayed,
    /// Refused by the machine: condition, fence, seal, producer, unknown log.
    Rejected,
    /// Refused before it was proposed, because too much was under way.
    Overloaded,
    /// Certainly not proposed: no leader, or not the leader.
    Unavailable,
    /// Proposed, and nobody knows what became of it.
    Interrupted,
}

/// How far an append is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendStage {
    /// From its admission until its command was proposed: what it waited for others.
    Proposed,
    /// From there until a quorum held it durably, the machine had applied it and the answer was
    /// known.
    Applied,
}

/// Which door of the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The listener of clients.
    Clients,
    /// The listener of the other replicas.
    Peers,
}

/// Why a connection ended early, or never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionLoss {
    /// The total of connections was reached.
    Full,
    /// One address had all the connections it may have.
    AddressFull,
    /// It was idle while another one needed its place.
    Evicted,
    /// No complete head of a request in time.
    HeadLate,
    /// No further request in time.
    Idle,
    /// The peer took no bytes of an answer in time.
    WriteStalled,
}

/// Gives each variant the word under which it stands as a label.
macro_rules! label_words {
    ($($name:ident { $($variant:ident => $word:literal),+ $(,)? })+) => {$(
        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                let word = match self { $(Self::$variant => $word),+ };
                EncodeLabelValue::encode(&word, encoder)
            }
        }
    )+};
}

label_words! {
    AppendOutcome {
        Acknowledged => "acknowledged",
        Replayed => "replayed",
        Rejected => "rejected",
        Overloaded => "overloaded",
        Unavailable => "unavailable",
        Interrupted => "interrupted",
    }
    AppendStage {
        Proposed => "proposed",
        Applied => "applied",
    }
    Door { Clients => "clients", Peers => "peers" }
    ConnectionLoss {
        Full => "full",
        AddressFull => "address_full",
        Evicted => "evicted",
        HeadLate => "head_late",
        Idle => "idle",
        WriteStalled => "write_stalled",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AppendLabels {
    pub(super) outcome: AppendOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabels {
    pub(super) stage: AppendStage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) route: &'static str,
    pub(super) method: &'static str,
    pub(super) status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabels {
    pub(super) route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DoorLabels {
    pub(super) door: Door,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LossLabels {
    pub(super) door: Door,
    pub(super) reason: ConnectionLoss,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    pub(super) kind: &'static str,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabels {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReplicaLabels {
    pub(super) replica: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ConsistencyLabels {
    pub(super) consistency: &'static str,
}
