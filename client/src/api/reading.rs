//! What a read asks for: from where, how much, how fresh, how long to wait.
//!
//! One type is the query of a read, of a long poll and of a follow; `Accept` tells them apart.
//!
//! Not here: what a read answers (`records`, `frame`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::{self, duration_text};
use crate::types::{Position, Timestamp, parse_number};

/// Query of a read. What is absent is left to the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReadQuery {
    /// Where to start; the first record that is still there by default.
    #[serde(default)]
    pub from: ReadFrom,
    /// At most this many records, at least 1; capped by the service.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::count")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub limit: Option<u64>,
    /// At most this many bytes, at least 1, and always a whole record; capped by the service.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::count")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub max_bytes: Option<u64>,
    /// How long to wait for a record if there is none yet; capped by the service. A wait may end earlier with
    /// nothing: it does when the members of the cluster change.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_text")]
    #[cfg_attr(
        feature = "schema",
        schemars(
            with = "Option<String>",
            regex(pattern = "^([0-9]{1,6}(ms|s|m|h)?|[0-9]{1,4}m [0-9]{1,4}s)$")
        )
    )]
    pub wait: Option<Duration>,
    /// How fresh.
    #[serde(default)]
    pub consistency: Consistency,
}

impl ReadQuery {
    /// A read that starts there.
    pub fn from(from: ReadFrom) -> Self {
        Self { from, ..Self::default() }
    }

    /// The query as text, to stand behind the `?`.
    pub fn to_query(&self) -> String {
        let from = self.from.to_string();
        let mut query = format!("from={}", utf8_percent_encode(&from, NON_ALPHANUMERIC));
        let mut push = |name: &str, value: &dyn fmt::Display| {
            query.extend(["&", name, "=", &value.to_string()]);
        };
        if let Some(limit) = self.limit {
            push("limit", &limit);
        }
        if let Some(max_bytes) = self.max_bytes {
            push("max_bytes", &max_bytes);
        }
        if let Some(wait) = self.wait {
            push("wait", &text::format_duration(wait));
        }
        if !self.consistency.is_default() {
            push("consistency", &self.consistency);
        }
        query
    }
}

/// Query of a look at one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LookQuery {
    /// How fresh.
    #[serde(default)]
    pub consistency: Consistency,
}

/// Where a read starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(with = "String", extend("anyOf" = [
        { "enum": ["first", "tail"] },
        { "pattern": "^-?(0|[1-9][0-9]{0,18})$" },
        { "format": "date-time", "pattern": "^(19[7-9][0-9]|[2-9][0-9]{3})-" },
    ]))
)]
pub enum ReadFrom {
    /// At the first record that is still there.
    #[default]
    First,
    /// At the next record to come.
    Tail,
    /// At this position.
    Position(Position),
    /// This many records before the tail, or at the first one that is still there.
    Last(u64),
    /// At the first record of this time or later.
    Time(Timestamp),
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.pad("first"),
            Self::Tail => f.pad("tail"),
            Self::Position(position) => position.fmt(f),
            Self::Last(count) => write!(f, "-{count}"),
            Self::Time(time) => time.fmt(f),
        }
    }
}

/// A text that says no place to read from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("from is a position, -N, first, tail or an RFC 3339 time")]
pub struct ReadFromError;

impl FromStr for ReadFrom {
    type Err = ReadFromError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "first" => return Ok(Self::First),
            "tail" => return Ok(Self::Tail),
            _ => {}
        }
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        if let Some(count) = text.strip_prefix('-').and_then(|text| parse_number(text).ok()) {
            return Ok(Self::Last(count));
        }
        text.parse().map(Self::Time).map_err(|_| ReadFromError)
    }
}

/// How fresh a read is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename_all = "snake_case"))]
pub enum Consistency {
    /// Shows every append that was acknowledged before it began.
    #[default]
    Linearizable,
    /// Shows what the replica has; its age and lag are told in the answer.
    Local,
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Linearizable => "linearizable",
            Self::Local => "local",
        })
    }
}

impl Consistency {
    /// Whether nobody asked for another one.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A text that names no consistency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("consistency is linearizable or local")]
pub struct ConsistencyError;

impl FromStr for Consistency {
    type Err = ConsistencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "linearizable" => Ok(Self::Linearizable),
            "local" => Ok(Self::Local),
            _ => Err(ConsistencyError),
        }
    }
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(ReadFrom);
serde_as_text!(Consistency);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        let cases = [
            ("first", ReadFrom::First),
            ("tail", ReadFrom::Tail),
            ("0", ReadFrom::Position(Position::ZERO)),
            ("-5", ReadFrom::Last(5)),
            ("1970-01-01T00:00:01Z", ReadFrom::Time(Timestamp::new(1000))),
        ];
        for (text, from) in cases {
            assert_eq!(text.parse(), Ok(from), "{text}");
        }
        for text in ["", "-", "+1", "007", "-07", "--1", "last", "1.5", "99999999999999999999"] {
            assert_eq!(text.parse::<ReadFrom>(), Err(ReadFromError), "{text}");
        }
    }

    #[test]
    fn a_query_names_only_what_is_asked() {
        assert_eq!(ReadQuery::default().to_query(), "from=first");
        let query = ReadQuery {
            from: ReadFrom::Time(Timestamp::new(0)),
            limit: Some(5),
            max_bytes: Some(6),
            wait: Some(Duration::from_secs(30)),
            consistency: Consistency::Local,
        };
        let text = "from=1970%2D01%2D01T00%3A00%3A00%2E000Z&limit=5&max_bytes=6&wait=30000ms&consistency=local";
        assert_eq!(query.to_query(), text);
    }

    #[test]
    fn a_parameter_that_is_not_known_is_refused() {
        assert!(serde_json::from_str::<ReadQuery>(r#"{"form": "5"}"#).is_err());
        assert!(serde_json::from_str::<ReadQuery>(r#"{"consistency": "strong"}"#).is_err());
    }

    proptest! {
        #[test]
        fn places_survive_text(number: u64, kind in 0..5) {
            let from = match kind {
                0 => ReadFrom::First,
                1 => ReadFrom::Tail,
                2 => ReadFrom::Position(Position::new(number)),
                3 => ReadFrom::Last(number),
                _ => ReadFrom::Time(Timestamp::new(number % 4_000_000_000_000)),
            };
            prop_assert_eq!(from.to_string().parse(), Ok(from));
        }
    }
}
