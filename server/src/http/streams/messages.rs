//! Messages of a stream: bodies taken apart into records, and records put together into bodies.
//!
//! Of JSON each value is a message, and the values of an array are one each; they are kept as they were written. Of
//! anything else a body is one message, and a read gives the bytes of all, one after the other.
//!
//! Not here: events (`live`), and how large a message may be (`client::types::BatchLimits`).

use std::convert::Infallible;
use std::fmt;

use axum::body::{Body, Bytes};
use client::api::error::ErrorCode;
use client::api::media;
use client::types::{Batch, BatchBuilder, BatchError, BatchLimits, NewRecord, Record};
use futures_util::stream;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::value::RawValue;

use crate::http::Api;
use crate::http::problem::ApiError;
use crate::http::records::TEXT_AT_ONCE_MAX;
use crate::node::BARE_RECORDS_MAX;

/// Bytes of an answer that are made at once, about.
const PIECE_BYTES: usize = 128 * 1024;

/// What the messages of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Values of JSON.
    Json,
    /// Text.
    Text,
    /// Any bytes.
    Bytes,
}

impl Form {
    /// What a media type stands for; none is any bytes.
    pub(super) fn of(media_type: Option<&str>) -> Self {
        let essence = essence(media_type.unwrap_or(media::BYTES)).to_ascii_lowercase();
        match essence.as_str() {
            media::JSON => Self::Json,
            text if text.starts_with("text/") => Self::Text,
            _ => Self::Bytes,
        }
    }
}

/// Whether two media types are the same but for case and parameters. None is any bytes.
pub(super) fn is_same_type(one: Option<&str>, other: Option<&str>) -> bool {
    let [one, other] = [one, other].map(|text| essence(text.unwrap_or(media::BYTES)));
    one.eq_ignore_ascii_case(other)
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or("").trim()
}

/// The messages in a body; none if it has none. Much text is read beside the tasks: it would keep one of them busy.
pub(super) async fn taken(api: &Api, form: Form, body: &Bytes) -> Result<Option<Batch>, ApiError> {
    let limits = *api.node.batch_limits();
    if form != Form::Json || body.len() <= TEXT_AT_ONCE_MAX {
        return batch(form, body, &limits);
    }
    let body = body.clone();
    let reading = move || batch(form, &body, &limits);
    let read = api.world.tasks.blocking(reading).await;
    read.map_err(|_failed| ApiError::new(ErrorCode::Internal))?
}

fn batch(form: Form, body: &Bytes, limits: &BatchLimits) -> Result<Option<Batch>, ApiError> {
    if body.is_empty() {
        return Ok(None);
    }
    // Clients pack as many messages together as there are at a moment, which may be very small ones.
    let records_max = limits.records_max.max(BARE_RECORDS_MAX);
    let mut batch =
        BatchBuilder::with_capacity(BatchLimits { records_max, ..*limits }, body.len() + 8);
    match form {
        Form::Json => take_values(body, &mut batch)?,
        Form::Text | Form::Bytes => batch.push(&NewRecord::new(body.clone()))?,
    }
    if batch.count() == 0 { Ok(None) } else { Ok(Some(batch.finish()?)) }
}

fn take_values(body: &Bytes, batch: &mut BatchBuilder) -> Result<(), ApiError> {
    let invalid = |error: serde_json::Error| {
        ApiError::because(ErrorCode::InvalidBody, format!("no JSON: {error}"))
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    if body.trim_ascii_start().first() != Some(&b'[') {
        let value = <&RawValue>::deserialize(&mut json).map_err(invalid)?;
        json.end().map_err(invalid)?;
        return Ok(batch.push(&record(body, value))?);
    }
    let mut refused = None;
    let taken = json.deserialize_seq(Values { body, batch, refused: &mut refused });
    if let Some(refused) = refused {
        return Err(refused.into());
    }
    taken.and_then(|()| json.end()).map_err(invalid)
}

/// A value as it was written, sharing the bytes of the body.
fn record(body: &Bytes, value: &RawValue) -> NewRecord {
    NewRecord::new(body.slice_ref(value.get().as_bytes()))
}

/// The values of an array, one record each.
struct Values<'a> {
    body: &'a Bytes,
    batch: &'a mut BatchBuilder,
    refused: &'a mut Option<BatchError>,
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while let Some(value) = values.next_element::<&'de RawValue>()? {
            if let Err(error) = self.batch.push(&record(self.body, value)) {
                *self.refused = Some(error);
                return Err(A::Error::custom("too much"));
            }
        }
        Ok(())
    }
}

/// Records as the body of an answer, in one piece or in several.
pub(super) fn body(form: Form, records: Vec<Record>) -> Body {
    let mut pieces = Pieces::new(form, records);
    let Some(first) = pieces.next() else { return Body::empty() };
    if pieces.is_done {
        return Body::from(first);
    }
    let pieces = std::iter::once(first).chain(pieces).map(Ok::<_, Infallible>);
    Body::from_stream(stream::iter(pieces))
}

/// Records as they stand in one event or one small answer.
pub(super) fn joined(form: Form, records: Vec<Record>) -> Vec<u8> {
    Pieces::new(form, records).fold(Vec::new(), |mut all, piece| {
        all.extend_from_slice(&piece);
        all
    })
}

/// Records put together, piece by piece.
struct Pieces {
    form: Form,
    records: std::iter::Peekable<std::vec::IntoIter<Record>>,
    has_begun: bool,
    is_done: bool,
}

impl Pieces {
    fn new(form: Form, records: Vec<Record>) -> Self {
        let is_done = records.is_empty() && form != Form::Json;
        Self { form, records: records.into_iter().peekable(), has_begun: false, is_done }
    }

    fn bytes(&mut self) -> Bytes {
        let Some(first) = self.records.next() else { return Bytes::new() };
        let Some(second) = self.records.next_if(|next| fits(&first.body, next)) else {
            return first.body;
        };
        let mut out = [first.body, second.body].concat();
        while let Some(record) = self.records.next_if(|next| fits(&out, next)) {
            out.extend_from_slice(&record.body);
        }
        out.into()
    }

    fn json(&mut self) -> Bytes {
        let mut out = Vec::new();
        if !self.has_begun {
            out.push(b'[');
        }
        while let Some(record) = self.records.next_if(|next| out.len() < 2 || fits(&out, next)) {
            if self.has_begun {
                out.push(b',');
            }
            self.has_begun = true;
            out.extend_from_slice(&record.body);
        }
        if self.records.peek().is_none() {
            out.push(b']');
        }
        out.into()
    }
}

fn fits(so_far: &[u8], next: &Record) -> bool {
    so_far.len() + next.body.len() < PIECE_BYTES
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_done {
            return None;
        }
        let piece = match self.form {
            Form::Json => self.json(),
            Form::Text | Form::Bytes => self.bytes(),
        };
        self.is_done = self.records.peek().is_none();
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use client::types::{Headers, Position, Timestamp};
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    fn messages(form: Form, body: &str) -> Result<Vec<String>, ErrorCode> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let batch = batch(form, &body, &BatchLimits::default());
        let batch = batch.map_err(|error| error.problem().code)?;
        let records = batch.into_iter().flat_map(|batch| batch.records().collect::<Vec<_>>());
        Ok(records.map(|record| String::from_utf8(record.body.to_vec()).unwrap()).collect())
    }

    fn stored(bodies: &[Vec<u8>]) -> Vec<Record> {
        (0..)
            .zip(bodies)
            .map(|(position, body)| Record {
                position: Position::new(position),
                time: Timestamp::EPOCH,
                headers: Headers::none(),
                body: body.clone().into(),
            })
            .collect()
    }

    #[test]
    fn an_array_is_taken_apart_once_and_its_values_stay_as_they_were_written() {
        for (body, expected) in [
            (r#"{"a": 1.0}"#, &[r#"{"a": 1.0}"#][..]),
            (" [1, \"x\" ,[2,3]]\n", &["1", "\"x\"", "[2,3]"]),
            ("[[[1,2]]]", &["[[1,2]]"]),
            ("null", &["null"]),
            ("[]", &[]),
            ("", &[]),
        ] {
            assert_eq!(messages(Form::Json, body).unwrap(), expected, "{body}");
        }
        for body in ["{", "[1,", "[1]]", "1 2", "[1,]", "nothing", " ", "[1] x"] {
            assert_eq!(messages(Form::Json, body), Err(ErrorCode::InvalidBody), "{body}");
        }
    }

    #[test]
    fn an_array_of_more_values_than_a_batch_may_hold_is_refused_as_such() {
        let body = format!("[{}0]", "0,".repeat(BARE_RECORDS_MAX));
        assert_eq!(messages(Form::Json, &body), Err(ErrorCode::BatchTooLarge));
    }

    #[test]
    fn any_other_body_is_one_message() {
        for form in [Form::Text, Form::Bytes] {
            assert_eq!(messages(form, "[1,2]").unwrap(), ["[1,2]"]);
            assert!(messages(form, "").unwrap().is_empty());
        }
    }

    #[test]
    fn media_types_differ_in_more_than_case_and_parameters() {
        let same = |one, other| is_same_type(Some(one), Some(other));
        assert!(same("Text/Plain", "text/plain; charset=utf-8"));
        assert!(!same("text/plain", "text/html"));
        assert!(is_same_type(None, Some("application/octet-stream")));
        for (media_type, form) in [
            (None, Form::Bytes),
            (Some("Application/JSON;charset=utf-8"), Form::Json),
            (Some("TEXT/markdown"), Form::Text),
            (Some("application/ndjson"), Form::Bytes),
        ] {
            assert_eq!(Form::of(media_type), form);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_read_is_what_was_written(
            sizes in prop::collection::vec(0..200_000_usize, 0..6),
        ) {
            let bodies: Vec<_> = sizes.iter().map(|size| vec![b'7'; *size]).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let whole = runtime.block_on(body(Form::Bytes, stored(&bodies)).collect()).unwrap();
            prop_assert_eq!(whole.to_bytes(), bodies.concat());
            let json: Vec<_> = sizes.iter().map(|size| format!("\"{}\"", "7".repeat(*size))).collect();
            let records = stored(&json.iter().map(|text| text.clone().into_bytes()).collect::<Vec<_>>());
            let expected = format!("[{}]", json.join(","));
            let whole = runtime.block_on(body(Form::Json, records.clone()).collect()).unwrap();
            prop_assert_eq!(&whole.to_bytes(), expected.as_bytes());
            prop_assert_eq!(joined(Form::Json, records), expected.into_bytes());
        }
    }
}
