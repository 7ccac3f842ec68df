//! Changes of the membership: asked for by a wish, carried out by the leader, remembered for ever.
//!
//! A stage only moves forward. Until the joint membership is decided a change can be cancelled; after
//! that it is finished, by whoever leads.
//!
//! A change that is asked for as server-sent events is told at once and whenever it is another, each time whole, until it is
//! over. Such an answer may end earlier, when another replica leads: asking again goes on. A line that begins with a colon
//! comes at least every few seconds and only says so much.
//!
//! Not here: what a wish would mean (`plans`).

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
use super::plans::WISH_MEMBERS_MAX;
use super::plans::{CheckId, Wish, few_objects};
use super::text;
use crate::types::{ChangeId, Epoch, Reason, ReplicaId, Timestamp, Typed};

/// Body of POST on changes. `If-Match` names the epoch of the plan; the plan is made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// What is to be.
    pub wish: Wish,
    /// The checks to override, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few_objects")]
    #[cfg_attr(feature = "schema", schemars(length(max = WISH_MEMBERS_MAX)))]
    pub overrides: Vec<Override>,
}

/// A check that blocks and is overridden nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Which.
    pub check: CheckId,
    /// What the check asked to type.
    pub typed: Typed,
    /// Why.
    pub reason: Reason,
}

/// How far a change is. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeStage {
    /// Those who come are let in as learners and catch up. It can be cancelled.
    Joining,
    /// The joint membership is decided: it cannot be cancelled any more.
    Joint,
    /// The new membership holds; who leaves is told.
    Leaving,
    /// It is as wished.
    Done,
    /// It was given up; those who had come are taken off the list.
    Cancelling,
    /// It was given up, by an operator or because who was to come did not answer, as the outcome says. Those who had
    /// come have left again.
    Cancelled,
}

impl ChangeStage {
    /// Whether nothing more comes.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Joining | Self::Joint | Self::Leaving | Self::Cancelling => false,
            Self::Done | Self::Cancelled => true,
        }
    }
}

impl fmt::Display for ChangeStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Joining => "joining",
            Self::Joint => "joint",
            Self::Leaving => "leaving",
            Self::Done => "done",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A change of the membership, under way or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// Which.
    pub id: ChangeId,
    /// What was wished for.
    pub wish: Wish,
    /// How far it is.
    pub stage: ChangeStage,
    /// The membership it was planned for.
    pub epoch: Epoch,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Who asked for it.
    pub by: String,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The checks that were overridden, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// The ids of those who come, once they have them.
    #[serde(default)]
    pub joins: Vec<ReplicaId>,
    /// Who leaves.
    #[serde(default)]
    pub leaves: Vec<ReplicaId>,
    /// Who votes afterwards, as far as they have ids.
    #[serde(default)]
    pub voters: Vec<ReplicaId>,
    /// What it waits for, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Its steps, in order.
    #[serde(default)]
    pub steps: Vec<ChangeStep>,
    /// What came of it, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Whether it can be cancelled now.
    pub can_cancel: bool,
}

impl Change {
    /// The name of the event that tells a change which is watched.
    pub const EVENT: &str = "change";

    /// It as that event.
    pub fn event(&self) -> String {
        let json = serde_json::to_string(self).expect("a change is JSON");
        format!("event: {}\ndata: {json}\n\n", Self::EVENT)
    }
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeStep {
    /// What is done in it.
    pub name: String,
    /// How far it is.
    pub state: StepState,
    /// More on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How far a step of a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Over.
    Done,
    /// Under way.
    Active,
    /// Yet to come.
    Waiting,
    /// There was nothing to do, or it will not be done any more.
    Skipped,
}

/// Query of GET on changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangesQuery {
    /// Only changes older than this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ChangeId>,
    /// At most this many, at least 1; capped by the service, which tells its cap.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::count")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub limit: Option<u32>,
}

impl ChangesQuery {
    /// As the query of a URL, without the question mark.
    pub fn to_query(&self) -> String {
        let before = self.before.map(|before| format!("before={before}"));
        let limit = self.limit.map(|limit| format!("limit={limit}"));
        let parts: Vec<_> = before.into_iter().chain(limit).collect();
        parts.join("&")
    }
}

/// Answer to GET on changes, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeList {
    /// This page.
    pub changes: Vec<Change>,
    /// What to ask for as `before` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ChangeId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_read_strictly() {
        let read = |overrides: &str| {
            let text = format!(r#"{{"wish":{{"lead":{{"replica":2}}}},"overrides":{overrides}}}"#);
            serde_json::from_str::<ChangeRequest>(&text)
        };
        let one = r#"{"check":"P1","typed":"3","reason":"moving out"}"#;
        assert!(read(&format!("[{one}]")).is_ok());
        for overrides in [
            r#"[{"check":"P17","typed":"3","reason":"moving out"}]"#,
            r#"[{"check":"P1","typed":"3","reason":""}]"#,
            r#"[{"check":"P1","typed":"3","reason":"moving out","by":"me"}]"#,
            r#"[["P1","3","moving out"]]"#,
            "{}",
        ] {
            assert!(read(overrides).is_err(), "{overrides}");
        }
        assert!(read(&format!("[{}]", [one; 17].join(","))).is_err());
    }

    #[test]
    fn a_query_says_only_what_is_asked() {
        assert_eq!(ChangesQuery::default().to_query(), "");
        let query = ChangesQuery { before: Some(ChangeId::new(18)), limit: Some(2) };
        assert_eq!(query.to_query(), "before=18&limit=2");
    }
}
