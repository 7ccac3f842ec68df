//! State transfers: what a replica fetches that lacks entries the others have let go.
//!
//! Each replica tells of those it takes part in: of one that it receives it knows all, of one that it offers what the
//! receiver says. The total is fixed once it is known, and what is done never goes back; a transfer that is broken off
//! is followed by another one, whose total is what is then still lacking.
//!
//! Not here: catching up by entries, which is no transfer.

use serde::{Deserialize, Serialize};

use super::text::present;
use crate::types::{EntryIndex, ReplicaId, Timestamp};

/// Answer to GET on transfers: those under way, and the last ones that ended, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TransferList {
    /// The transfers of the replica that answers.
    pub transfers: Vec<TransferInfo>,
}

/// One transfer, as one of its two replicas sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TransferInfo {
    /// Which; means something to the replica that answers.
    pub id: String,
    /// What that replica does in it.
    pub direction: TransferDirection,
    /// The replica at the other end: who offered the state, or to whom it is offered.
    pub peer: ReplicaId,
    /// The entry whose state it is.
    pub entry: EntryIndex,
    /// How far it is.
    pub stage: TransferStage,
    /// Bytes to be fetched in all; none before that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Bytes of these that are here.
    pub bytes_done: u64,
    /// Bytes a second, lately.
    pub bytes_per_second: u64,
    /// How long the rest takes at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// What holds it up, if something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Why it came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whom it is fetched from.
    #[serde(default)]
    pub sources: Vec<TransferSource>,
    /// The most bytes a second it may take; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_max: Option<u64>,
    /// Whether an operator holds it.
    #[serde(default)]
    pub is_paused: bool,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// Which end of a transfer a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TransferDirection {
    /// It fetches what it lacks.
    Receiving,
    /// It offers its state.
    Offering,
}

/// How far a transfer is. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TransferStage {
    /// The state is offered, its manifest on the way.
    Offered,
    /// What is lacking is looked for.
    Comparing,
    /// Records are fetched.
    Fetching,
    /// All is there; it is put in place.
    Installing,
    /// It is in place.
    Done,
    /// It came to nothing. What was fetched is kept for the next one.
    Failed,
}

/// A replica from which records are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TransferSource {
    /// Which.
    pub replica: ReplicaId,
    /// Bytes that came from it.
    pub bytes: u64,
    /// Questions it has not answered yet.
    pub in_flight: u32,
    /// Why it is left out at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// Body of PATCH on a transfer: what is to be different. The answer is its [`TransferInfo`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TransferChange {
    /// The most bytes a second, at least 1; `null`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub bytes_per_second: Option<Option<u64>>,
    /// Whether to hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_told_from_no_change() {
        let read = |text| serde_json::from_str::<TransferChange>(text).unwrap();
        assert_eq!(read("{}"), TransferChange::default());
        assert_eq!(read(r#"{"bytes_per_second": null}"#).bytes_per_second, Some(None));
        assert_eq!(read(r#"{"bytes_per_second": 9}"#).bytes_per_second, Some(Some(9)));
        assert_eq!(read(r#"{"paused": true}"#).paused, Some(true));
        assert!(serde_json::from_str::<TransferChange>(r#"{"speed": 9}"#).is_err());
        let back = serde_json::to_string(&read(r#"{"bytes_per_second": null}"#)).unwrap();
        assert_eq!(back, r#"{"bytes_per_second":null}"#);
    }
}
