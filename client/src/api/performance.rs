//! What one replica did lately, and how long it took: points of equal length, the newest last.
//!
//! Kept in memory by each replica for itself and gone with its process; for longer times and other figures there are the
//! metrics. Not here: how the cluster is (`cluster`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{ReplicaId, Timestamp};

/// How much time one point stands for, and so how far back the points go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Step {
    /// A second; points of five minutes are kept.
    #[default]
    #[serde(rename = "1s")]
    Second,
    /// Ten seconds; points of an hour.
    #[serde(rename = "10s")]
    TenSeconds,
    /// A minute; points of a day.
    #[serde(rename = "1m")]
    Minute,
}

impl Step {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Second, Self::TenSeconds, Self::Minute];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "1s",
            Self::TenSeconds => "10s",
            Self::Minute => "1m",
        }
    }

    /// How long it is.
    pub const fn duration(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::TenSeconds => Duration::from_secs(10),
            Self::Minute => Duration::from_mins(1),
        }
    }

    /// How many points are kept.
    pub const fn points_max(self) -> usize {
        match self {
            Self::Second => 300,
            Self::TenSeconds => 360,
            Self::Minute => 1_440,
        }
    }
}

/// Query of GET on performance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PerformanceQuery {
    /// Length of a point.
    #[serde(default)]
    pub step: Step,
}

impl PerformanceQuery {
    /// As the query of a URL, without the question mark.
    pub fn to_query(self) -> String {
        format!("step={}", self.step.as_str())
    }
}

/// Answer to GET on performance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Performance {
    /// Whose figures these are: the replica that answers.
    pub replica: ReplicaId,
    /// Length of a point.
    pub step: Step,
    /// When the last point ended.
    pub until: Timestamp,
    /// The oldest first, one after the other without a gap; fewer than are kept at most while the process is young.
    pub points: Vec<PerformancePoint>,
}

/// One step of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PerformancePoint {
    /// Appends that this replica led to and acknowledged.
    pub appends: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// How long these appends took, from the first byte handled to the answer; none if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<LatencySummary>,
    /// How many times the journal was synced.
    pub syncs: u64,
    /// How long a sync took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<LatencySummary>,
    /// The last entry applied at the end of the step.
    pub applied: u64,
    /// How many entries the slowest replica was behind at the end of the step; told by the leader alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_max: Option<u64>,
}

/// Some latencies in three numbers, of microseconds; the first two at most 1/64 too high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LatencySummary {
    /// Half of them were not longer.
    pub p50_us: u64,
    /// 99 of a hundred were not longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_written_as_it_is_read() {
        for step in Step::ALL {
            let text = format!("\"{}\"", step.as_str());
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step);
            assert_eq!(serde_json::to_string(&step).unwrap(), text);
        }
    }
}
