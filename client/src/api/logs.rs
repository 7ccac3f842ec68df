//! Bodies about whole logs: create, settings, describe, list, trim, seal, fence, cursors.
//!
//! Requests are read strictly: a member that is not known is refused, so that a misspelt setting
//! never goes unnoticed. Answers may grow, and whoever reads one ignores what it does not know.
//!
//! Not here: records (`records`).

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::reading::Consistency;
use super::text::{self, present};
use crate::types::{CursorName, Digest, Fence, LogId, LogName, LogSettings, Position, Timestamp};

/// Body of PUT on a log, and settings wherever they are shown. An empty body sets nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Records older than this are trimmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_age_ms: Option<u64>,
    /// The oldest records beyond this many bytes are trimmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
    /// The media type a single record is served with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 255), regex(pattern = r"^[^\x00-\x1f\x7f]*/[^\x00-\x1f\x7f]*$"))
    )]
    pub content_type: Option<String>,
    /// Longest body of a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub record_bytes_max: Option<u64>,
    /// The log is deleted once nobody has used it for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub ttl_ms: Option<u64>,
    /// The log is deleted at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl From<&LogSettings> for Settings {
    fn from(settings: &LogSettings) -> Self {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            retention_age_ms: settings.retention_age.map(millis),
            retention_bytes: settings.retention_bytes,
            content_type: settings.content_type.clone(),
            record_bytes_max: settings.record_bytes_max,
            ttl_ms: settings.ttl.map(millis),
            expires_at: settings.expires_at,
        }
    }
}

impl From<Settings> for LogSettings {
    fn from(settings: Settings) -> Self {
        Self {
            retention_age: settings.retention_age_ms.map(Duration::from_millis),
            retention_bytes: settings.retention_bytes,
            content_type: settings.content_type,
            record_bytes_max: settings.record_bytes_max,
            ttl: settings.ttl_ms.map(Duration::from_millis),
            expires_at: settings.expires_at,
        }
    }
}

/// Body of PATCH on a log: what is absent stays, what is `null` is no longer set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SettingsPatch {
    /// Records older than this are trimmed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub retention_age_ms: Option<Option<u64>>,
    /// The oldest records beyond this many bytes are trimmed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub retention_bytes: Option<Option<u64>>,
    /// The media type a single record is served with.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 255), regex(pattern = r"^[^\x00-\x1f\x7f]*/[^\x00-\x1f\x7f]*$"))
    )]
    pub content_type: Option<Option<String>>,
    /// Longest body of a record.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub record_bytes_max: Option<Option<u64>>,
    /// The log is deleted once nobody has used it for so long.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub ttl_ms: Option<Option<u64>>,
    /// The log is deleted at this time.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub expires_at: Option<Option<Timestamp>>,
}

impl SettingsPatch {
    /// The settings that these become.
    pub fn apply(self, to: &LogSettings) -> LogSettings {
        let mut settings = Settings::from(to);
        if let Some(value) = self.retention_age_ms {
            settings.retention_age_ms = value;
        }
        if let Some(value) = self.retention_bytes {
            settings.retention_bytes = value;
        }
        if let Some(value) = self.content_type {
            settings.content_type = value;
        }
        if let Some(value) = self.record_bytes_max {
            settings.record_bytes_max = value;
        }
        if let Some(value) = self.ttl_ms {
            settings.ttl_ms = value;
        }
        if let Some(value) = self.expires_at {
            settings.expires_at = value;
        }
        settings.into()
    }
}

/// One log as it is now: the answer to PUT, PATCH and GET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogDescription {
    /// Its name.
    pub log: LogName,
    /// Which log of that name.
    pub log_id: LogId,
    /// When it was created.
    pub created: Timestamp,
    /// The first position that can be read.
    pub first: Position,
    /// The position the next record will get.
    pub tail: Position,
    /// Bytes of the records between the two.
    pub bytes: u64,
    /// Time of the last record, if there ever was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Timestamp>,
    /// Whether it was ended.
    pub sealed: bool,
    /// Its fence, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// What is set on it.
    pub settings: Settings,
    /// Root of its Merkle tree at `tail`, as in RFC 9162.
    pub root: Digest,
}

/// One log in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogSummary {
    /// Its name.
    pub log: LogName,
    /// Which log of that name.
    pub log_id: LogId,
    /// The first position that can be read.
    pub first: Position,
    /// The position the next record will get.
    pub tail: Position,
    /// Bytes of the records between the two.
    pub bytes: u64,
    /// Whether it was ended.
    pub sealed: bool,
    /// What is set on it.
    #[serde(default)]
    pub settings: Settings,
}

/// Answer to GET on all logs, in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogList {
    /// This page.
    pub logs: Vec<LogSummary>,
    /// What to ask for as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<LogName>,
}

/// Query of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Only names that start so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only names after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most this many, at least 1; capped by the service, which tells its cap.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::count")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub limit: Option<u32>,
    /// How fresh.
    #[serde(default, skip_serializing_if = "Consistency::is_default")]
    pub consistency: Consistency,
}

impl ListQuery {
    /// The query as text, to stand behind the `?`; empty if nothing is asked.
    pub fn to_query(&self) -> String {
        let limit = self.limit.map(|limit| limit.to_string());
        let consistency = self.consistency.to_string();
        let parameters = [
            ("prefix", self.prefix.as_deref()),
            ("after", self.after.as_deref()),
            ("limit", limit.as_deref()),
            ("consistency", (!self.consistency.is_default()).then_some(&*consistency)),
        ];
        let mut query = String::new();
        for (name, value) in parameters {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let separator = if query.is_empty() { "" } else { "&" };
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
                query.extend([separator, name, "=", &value]);
            }
        }
        query
    }
}

/// Query of a list of cursors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CursorsQuery {
    /// Only names after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<CursorName>,
    /// At most this many, at least 1; capped by the service, which tells its cap.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::count")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub limit: Option<u32>,
    /// How fresh.
    #[serde(default, skip_serializing_if = "Consistency::is_default")]
    pub consistency: Consistency,
}

/// A body where nothing is to be said: none, or an object without members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NoBody {}

/// Query of a request that deletes: with `dry_run=true` it only tells what it would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EffectQuery {
    /// Whether to tell the effect only.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of a trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrimRequest {
    /// The first position to keep.
    pub to: Position,
}

/// Answer to a trim, and to DELETE on a log, which drops all its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Dropped {
    /// The log.
    pub log: LogName,
    /// Which log of that name.
    pub log_id: LogId,
    /// The first position that can be read afterwards.
    pub first: Position,
    /// The log's tail.
    pub tail: Position,
    /// How many records are dropped.
    pub records: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Whether this was only told, and not done.
    pub dry_run: bool,
}

/// Answer to a seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sealed {
    /// The log.
    pub log: LogName,
    /// Which log of that name.
    pub log_id: LogId,
    /// Its tail, for ever.
    pub tail: Position,
}

/// Body of PUT on a fence, and its answer. `null` takes the fence away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("required" = ["fence"])))]
#[serde(deny_unknown_fields)]
pub struct FenceBody {
    /// The fence, or none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub fence: Option<Fence>,
}

/// Body of PUT on a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CursorBody {
    /// The next position its consumer wants.
    pub position: Position,
}

/// One cursor: the answer to PUT and GET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cursor {
    /// The log.
    pub log: LogName,
    /// Its name.
    pub name: CursorName,
    /// The next position its consumer wants.
    pub position: Position,
}

/// Answer to GET on a log's cursors, in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CursorList {
    /// This page.
    pub cursors: Vec<Cursor>,
    /// What to ask for as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<CursorName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_setting_does_not_go_unnoticed() {
        assert!(serde_json::from_str::<Settings>(r#"{"retention_age": 5}"#).is_err());
        assert!(serde_json::from_str::<SettingsPatch>(r#"{"retention": 5}"#).is_err());
        assert!(serde_json::from_str::<TrimRequest>(r#"{"to": 5, "dry_run": true}"#).is_err());
        assert!(serde_json::from_str::<FenceBody>("{}").is_err());
    }

    #[test]
    fn a_list_asks_only_for_what_is_set() {
        assert_eq!(ListQuery::default().to_query(), "");
        let query =
            ListQuery { prefix: Some("a/b".into()), limit: Some(5), ..ListQuery::default() };
        assert_eq!(query.to_query(), "prefix=a%2Fb&limit=5");
        let query = ListQuery { consistency: Consistency::Local, ..ListQuery::default() };
        assert_eq!(query.to_query(), "consistency=local");
    }

    #[test]
    fn a_patch_tells_absent_from_null() {
        let before = LogSettings {
            retention_bytes: Some(1),
            record_bytes_max: Some(2),
            ..LogSettings::default()
        };
        let json = r#"{"retention_bytes": null, "retention_age_ms": 5}"#;
        let patch: SettingsPatch = serde_json::from_str(json).unwrap();
        let after = patch.apply(&before);
        assert_eq!(after.retention_bytes, None);
        assert_eq!(after.record_bytes_max, Some(2));
        assert_eq!(after.retention_age, Some(Duration::from_millis(5)));
        assert_eq!(SettingsPatch::default().apply(&before), before);
    }

    #[test]
    fn settings_survive_the_wire() {
        let settings = LogSettings {
            retention_age: Some(Duration::from_secs(3)),
            content_type: Some("text/plain".into()),
            ..LogSettings::default()
        };
        let json = serde_json::to_string(&Settings::from(&settings)).unwrap();
        let back: Settings = serde_json::from_str(&json).unwrap();
        assert_eq!(LogSettings::from(back), settings);
    }
}
