//! Bodies about records: what an append brings and answers, what a read asks and answers, and the
//! events of a follow.
//!
//! An append is read strictly: unknown members are refused, and each record has exactly one of
//! `data`, `data_base64` and `json`. A record that is read shows `data` if its body is UTF-8 and
//! `data_base64` if not, so no body is ever changed on its way.
//!
//! Not here: records as frames (`frame`), conditions (`conditions`), places (`resume`).

use bytes::Bytes;
use serde::de::Error as _;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::Problem;
use super::object::Object;
use super::text::{self, Base64, HeaderPairs, Text, present};
use crate::types::{
    Batch, BatchBuilder, BatchError, BatchLimits, Headers, LogId, LogName, NewRecord, Position,
    Record, Timestamp,
};

/// Reads the body of an append in JSON: `{"records": [{"data": "hello"}]}`.
pub fn batch_from_json(body: &[u8], limits: &BatchLimits) -> Result<Batch, AppendBodyError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct AppendBody<'a> {
        #[serde(borrow)]
        records: Vec<Object<AppendRecord<'a>>>,
    }

    let Object(body): Object<AppendBody<'_>> = serde_json::from_slice(body)?;
    let mut batch = BatchBuilder::new(*limits);
    for (index, Object(record)) in body.records.into_iter().enumerate() {
        batch.push(&record.into_new_record(index)?)?;
    }
    Ok(batch.finish()?)
}

/// Reads the body of an append in NDJSON: a record on each line; blank lines count for nothing.
pub fn batch_from_ndjson(body: &[u8], limits: &BatchLimits) -> Result<Batch, AppendBodyError> {
    let mut batch = BatchBuilder::new(*limits);
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Object(record): Object<AppendRecord<'_>> = serde_json::from_slice(line)
            .map_err(|error| AppendBodyError::Line { line: index + 1, error })?;
        batch.push(&record.into_new_record(index)?)?;
    }
    Ok(batch.finish()?)
}

/// Writes the body of an append in JSON.
pub fn batch_to_json(batch: &Batch) -> Vec<u8> {
    #[derive(Serialize)]
    struct AppendBody {
        records: Vec<NewRecordJson>,
    }

    let records = batch.records().map(NewRecordJson).collect();
    serde_json::to_vec(&AppendBody { records }).expect("records of a batch are JSON")
}

/// One record of an append, as JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppendRecord<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data_base64: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    json: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "text::read_headers")]
    headers: Headers,
}

impl AppendRecord<'_> {
    fn into_new_record(self, index: usize) -> Result<NewRecord, AppendBodyError> {
        let body = match (self.data, self.data_base64, self.json) {
            (Some(data), None, None) => Bytes::from(data.0.into_owned()),
            (None, Some(data), None) => {
                text::decode_base64(&data.0).map_err(|_| AppendBodyError::Base64 { index })?.into()
            }
            (None, None, Some(json)) => Bytes::copy_from_slice(json.get().as_bytes()),
            _ => return Err(AppendBodyError::NotOneBody { index }),
        };
        Ok(NewRecord { headers: self.headers, body })
    }
}

/// Why a body is no append.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendBodyError {
    /// Not the JSON that was expected.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// One line is not the JSON that was expected.
    #[error("line {line}: {error}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why.
        error: serde_json::Error,
    },
    /// A record with no body, or with more than one.
    #[error("record {index}: exactly one of data, data_base64 and json is needed")]
    NotOneBody {
        /// Which, from 0.
        index: usize,
    },
    /// A body that is not base64.
    #[error("record {index}: data_base64 is not base64")]
    Base64 {
        /// Which, from 0.
        index: usize,
    },
    /// Records beyond a limit, or none.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// A record on its way to an append, as JSON.
struct NewRecordJson(NewRecord);

impl Serialize for NewRecordJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = serializer.serialize_struct("NewRecord", 2)?;
        write_content(&mut record, &self.0.headers, &self.0.body)?;
        record.end()
    }
}

fn write_content<S: serde::ser::SerializeStruct>(
    record: &mut S,
    headers: &Headers,
    body: &[u8],
) -> Result<(), S::Error> {
    if !headers.is_empty() {
        record.serialize_field("headers", &HeaderPairs(headers))?;
    }
    match std::str::from_utf8(body) {
        Ok(text) => record.serialize_field("data", text),
        Err(_) => record.serialize_field("data_base64", &Base64(body)),
    }
}

/// Answer to an append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Appended {
    /// The log.
    pub log: LogName,
    /// Which log of that name.
    pub log_id: LogId,
    /// Position of the first record.
    pub first: Position,
    /// One past the position of the last record.
    pub next: Position,
    /// The log's tail right after this append.
    pub tail: Position,
    /// The time all its records got.
    pub time: Timestamp,
    /// Whether an earlier request had stored it: told by the header `Idempotency-Replayed`.
    #[serde(skip)]
    pub replayed: bool,
}

/// A record as JSON shows it: `{"position": 0, "time": "…", "data": "hello"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(rename = "Record", with = "super::openapi::RecordForm")
)]
pub struct RecordJson(pub Record);

impl Serialize for RecordJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(Record { position, time, headers, body }) = self;
        let mut record = serializer.serialize_struct("Record", 4)?;
        record.serialize_field("position", position)?;
        record.serialize_field("time", time)?;
        write_content(&mut record, headers, body)?;
        record.end()
    }
}

impl<'de> Deserialize<'de> for RecordJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Members<'a> {
            position: Position,
            time: Timestamp,
            #[serde(default, deserialize_with = "text::read_headers")]
            headers: Headers,
            #[serde(borrow, default)]
            data: Option<Text<'a>>,
            #[serde(borrow, default)]
            data_base64: Option<Text<'a>>,
        }

        let Members { position, time, headers, data, data_base64 } =
            Members::deserialize(deserializer)?;
        let body = match (data, data_base64) {
            (Some(data), None) => Bytes::from(data.0.into_owned()),
            (None, Some(data)) => text::decode_base64(&data.0).map_err(D::Error::custom)?.into(),
            _ => return Err(D::Error::custom("a record has either data or data_base64")),
        };
        Ok(Self(Record { position, time, headers, body }))
    }
}

/// Writes one record as a line of NDJSON.
pub fn write_ndjson(record: &RecordJson, into: &mut Vec<u8>) {
    serde_json::to_writer(&mut *into, record).expect("a record is JSON and memory takes it");
    into.push(b'\n');
}

/// Answer to a read in JSON. The other media types tell all but the records by headers, which this
/// one has as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReadAnswer {
    /// The log.
    pub log: LogName,
    /// Which log of that name.
    pub log_id: LogId,
    /// The first position that can be read at all.
    pub first: Position,
    /// Where to go on: one past the last record here.
    pub next: Position,
    /// The log's tail as this answer saw it.
    pub tail: Position,
    /// Whether the log is sealed, so that nothing will come behind its tail.
    pub sealed: bool,
    /// The records, without a gap.
    pub records: Vec<RecordJson>,
}

/// One event of a follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowEvent {
    /// Records, without a gap to those before.
    Records(RecordsEvent),
    /// Nothing new, still there.
    Heartbeat(HeartbeatEvent),
    /// The follow cannot go on like this.
    Error(Box<Problem>),
    /// The follow is over.
    End(EndEvent),
}

/// Data of the event `records`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordsEvent {
    /// Where to go on: one past the last record here.
    pub next: Position,
    /// The log's tail.
    pub tail: Position,
    /// The records, without a gap.
    pub records: Vec<RecordJson>,
}

/// Data of the event `heartbeat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeartbeatEvent {
    /// The next position this follow will bring.
    pub next: Position,
    /// The log's tail.
    pub tail: Position,
    /// How many records this follow is behind the tail.
    pub lag: u64,
    /// How many entries the replica that answers is known to lack; absent if it hears of no leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_entries: Option<u64>,
}

/// Data of the event `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EndEvent {
    /// The next position this follow would have brought.
    pub next: Position,
    /// Why it is over.
    pub reason: EndReason,
}

/// Why a follow is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The log is sealed and everything in it was brought.
    Sealed,
    /// The log was deleted.
    Deleted,
    /// This replica stops or closes long follows: go on elsewhere, or here again.
    Reconnect,
    /// As many records as were asked for were brought.
    Limit,
}

impl FollowEvent {
    /// Name of the event `records`.
    pub const RECORDS: &str = "records";
    /// Name of the event `heartbeat`.
    pub const HEARTBEAT: &str = "heartbeat";
    /// Name of the event `error`.
    pub const ERROR: &str = "error";
    /// Name of the event `end`.
    pub const END: &str = "end";

    /// The event's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Records(_) => Self::RECORDS,
            Self::Heartbeat(_) => Self::HEARTBEAT,
            Self::Error(_) => Self::ERROR,
            Self::End(_) => Self::END,
        }
    }

    /// The event's data: JSON, on one line.
    pub fn data(&self) -> String {
        let json = match self {
            Self::Records(event) => serde_json::to_string(event),
            Self::Heartbeat(event) => serde_json::to_string(event),
            Self::Error(problem) => serde_json::to_string(problem),
            Self::End(event) => serde_json::to_string(event),
        };
        json.expect("an event is JSON")
    }

    /// The event of this name and data; none for a name that a later version added.
    pub fn parse(name: &str, data: &str) -> Result<Option<Self>, serde_json::Error> {
        let event = match name {
            Self::RECORDS => Self::Records(serde_json::from_str(data)?),
            Self::HEARTBEAT => Self::Heartbeat(serde_json::from_str(data)?),
            Self::ERROR => Self::Error(Box::new(serde_json::from_str(data)?)),
            Self::END => Self::End(serde_json::from_str(data)?),
            _ => return Ok(None),
        };
        Ok(Some(event))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        records_max: 3,
        bytes_max: 100,
        record_bytes_max: 50,
        header_bytes_max: 10,
        headers_max: 2,
    };

    fn bodies(batch: &Batch) -> Vec<Bytes> {
        batch.records().map(|record| record.body).collect()
    }

    #[test]
    fn a_body_is_text_or_base64_or_json_as_it_was_written() {
        let json = br#"{"records": [{"data": "h\u00e9\n"}, {"data_base64": "/w=="}, {"json": {"b":1, "a":null}}]}"#;
        let batch = batch_from_json(json, &LIMITS).unwrap();
        assert_eq!(bodies(&batch), [&b"h\xc3\xa9\n"[..], b"\xff", br#"{"b":1, "a":null}"#]);
    }

    #[test]
    fn null_is_a_json_body_and_no_text() {
        let batch = batch_from_json(br#"{"records":[{"json":null}]}"#, &LIMITS).unwrap();
        assert_eq!(bodies(&batch), ["null"]);
        assert!(batch_from_json(br#"{"records":[{"data":null}]}"#, &LIMITS).is_err());
    }

    #[test]
    fn an_append_that_is_not_exactly_right_is_refused() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"records": []}"#,
            r#"{"records": [{}]}"#,
            r#"{"records": ["a"]}"#,
            r#"{"records": [{"data": "a"}], "more": 1}"#,
            r#"{"records": [{"data": "a", "time": 1}]}"#,
            r#"{"records": [{"data": "a", "json": 1}]}"#,
            r#"{"records": [{"data": "a", "data_base64": ""}]}"#,
            r#"{"records": [{"data": "a", "data": "b"}]}"#,
            r#"{"records": [{"data": 1}]}"#,
            r#"{"records": [{"data_base64": "/"}]}"#,
            r#"{"records": [{"data": "a", "headers": {"a": "b"}}]}"#,
            r#"{"records": [{"data": "a", "headers": [["a"]]}]}"#,
            r#"{"records": [{"data": "a", "headers": [["a b", "c"]]}]}"#,
            r#"{"records": [{"data": "a", "headers": [["a", 1]]}]}"#,
            r#"{"records": [{"data": "a", "headers": [["a", {"base64": "/"}]]}]}"#,
            r#"{"records": [{"data": "a"}]} {}"#,
            r#"{"records": [{"data": "a"}, {"data": "a"}, {"data": "a"}, {"data": "a"}]}"#,
        ] {
            assert!(batch_from_json(body.as_bytes(), &LIMITS).is_err(), "{body}");
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = batch_from_ndjson(b"{\"data\":\"a\"}\n\n{\"data\":}\n", &LIMITS).unwrap_err();
        assert!(error.to_string().starts_with("line 3: "), "{error}");
        let batch = batch_from_ndjson(b"{\"data\":\"a\"}\r\n\n{\"json\":2}", &LIMITS).unwrap();
        assert_eq!(bodies(&batch), ["a", "2"]);
        assert!(batch_from_ndjson(b"\n\n", &LIMITS).is_err());
    }

    proptest! {
        #[test]
        fn a_batch_survives_json(
            contents in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..40), prop::option::of("[!-~]{1,5}")), 1..9),
        ) {
            let records: Vec<_> = contents.into_iter().map(|(body, name)| {
                let pairs = name.map(|name| (name, body.clone()));
                NewRecord::new(body).with_headers(Headers::from_pairs(pairs).unwrap())
            }).collect();
            let limits = BatchLimits::default();
            let batch = Batch::new(&records, &limits).unwrap();
            prop_assert_eq!(batch_from_json(&batch_to_json(&batch), &limits).unwrap(), batch);
        }

        #[test]
        fn a_record_survives_json(position: u64, millis in 0..4_000_000_000_000_u64, body: Vec<u8>) {
            let record = RecordJson(Record {
                position: Position::new(position),
                time: Timestamp::new(millis),
                headers: Headers::from_pairs([("h", &body)]).unwrap(),
                body: body.into(),
            });
            let mut line = Vec::new();
            write_ndjson(&record, &mut line);
            prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            prop_assert_eq!(serde_json::from_slice::<RecordJson>(&line).unwrap(), record);
        }
    }
}
