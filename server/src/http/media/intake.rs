//! The body of an append, as a batch.
//!
//! ```text
//! application/json               {"records": [...]}
//! application/x-ndjson           a record on each line
//! application/vnd.quorate.batch  a frame
//! anything else, or nothing      the body is one record
//! ```
//!
//! With `ce-specversion` the body is one record, too, whatever its type: an event in binary mode.
//!
//! A single record keeps what its request said of it: a content type that was given on purpose, and the
//! headers of a `CloudEvent`. What a shell puts there by itself says nothing and is not kept.
//!
//! Not here: the forms themselves (`client::api`), and what a batch may hold, which it checks itself.

use bytes::Bytes;
use client::api::error::ErrorCode;
use client::api::{frame, media, records};
use client::types::{Batch, BatchBuilder, BatchLimits, Headers, NewRecord};
use http::header::{CONTENT_TYPE, HeaderMap};

use super::essence;
use crate::http::problem::ApiError;

/// Headers of a `CloudEvent` in binary mode.
const CLOUD_EVENT_PREFIX: &str = "ce-";
/// The one of them that every event has.
const CLOUD_EVENT_VERSION: &str = "ce-specversion";
/// What curl says of any body, and what says nothing: neither was meant.
const MEANINGLESS: [&str; 3] = ["", "application/x-www-form-urlencoded", media::BYTES];
/// Bytes of a frame or of JSON around the records of a batch, at most.
const AROUND_BYTES_MAX: usize = 1024;

/// The longest body of any kind.
pub(in crate::http) fn body_bytes_max(limits: &BatchLimits) -> usize {
    let kinds = [BodyKind::Json, BodyKind::Ndjson, BodyKind::Frame, BodyKind::Record];
    kinds.into_iter().map(|kind| kind.limit(limits).0).max().unwrap_or(0)
}

/// What the body of an append is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum BodyKind {
    Json,
    Ndjson,
    Frame,
    Record,
}

impl BodyKind {
    /// What the request says that its body is.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        // An event in binary mode is its body, whatever that is.
        if headers.contains_key(CLOUD_EVENT_VERSION) {
            return Ok(Self::Record);
        }
        Ok(match essence(headers)?.as_deref() {
            Some(media::JSON) => Self::Json,
            Some(media::NDJSON) => Self::Ndjson,
            Some(media::FRAMES) => Self::Frame,
            Some(_) | None => Self::Record,
        })
    }

    /// Whether a body of this kind is text that has to be parsed.
    pub(in crate::http) fn is_text(self) -> bool {
        matches!(self, Self::Json | Self::Ndjson)
    }

    /// The longest body of this kind that can hold an allowed batch, and the code of a longer one.
    pub(in crate::http) fn limit(self, limits: &BatchLimits) -> (usize, ErrorCode) {
        match self {
            Self::Record => (limits.record_bytes_max, ErrorCode::RecordTooLarge),
            Self::Frame => (limits.run_bytes_max() + AROUND_BYTES_MAX, ErrorCode::BatchTooLarge),
            // Escapes and base64 make text longer than what it stands for.
            Self::Json | Self::Ndjson => {
                (limits.run_bytes_max() * 2 + AROUND_BYTES_MAX, ErrorCode::BodyTooLarge)
            }
        }
    }

    /// The batch in a body of this kind.
    pub(in crate::http) fn batch(
        self,
        headers: &HeaderMap,
        body: Bytes,
        limits: &BatchLimits,
    ) -> Result<Batch, ApiError> {
        match self {
            Self::Json => Ok(records::batch_from_json(&body, limits)?),
            Self::Ndjson => Ok(records::batch_from_ndjson(&body, limits)?),
            Self::Frame => Ok(frame::read_append(body, limits)?),
            Self::Record => single(headers, body, limits),
        }
    }
}

fn single(headers: &HeaderMap, body: Bytes, limits: &BatchLimits) -> Result<Batch, ApiError> {
    let record = NewRecord { headers: record_headers(headers)?, body };
    let mut batch = BatchBuilder::with_capacity(*limits, record.untimed_bytes() + 4);
    batch.push(&record)?;
    Ok(batch.finish()?)
}

/// What the request says of its one record.
fn record_headers(headers: &HeaderMap) -> Result<Headers, ApiError> {
    let kept = headers.iter().filter(|(name, value)| {
        if **name == CONTENT_TYPE {
            !MEANINGLESS.iter().any(|text| value.as_bytes().eq_ignore_ascii_case(text.as_bytes()))
        } else {
            name.as_str().starts_with(CLOUD_EVENT_PREFIX)
        }
    });
    let mut kept = kept.peekable();
    if kept.peek().is_none() {
        return Ok(Headers::none());
    }
    Headers::from_pairs(kept.map(|(name, value)| (name.as_str(), value.as_bytes())))
        .map_err(|error| ApiError::because(ErrorCode::InvalidParameter, error.to_string()))
}

#[cfg(test)]
mod tests {
    use client::api::frame::append_frame;
    use client::api::records::batch_to_json;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn batch(pairs: &[(&'static str, &'static str)], body: &[u8]) -> Result<Batch, ApiError> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let kind = BodyKind::of(&headers)?;
        kind.batch(&headers, Bytes::copy_from_slice(body), &BatchLimits::default())
    }

    fn only(batch: &Batch) -> NewRecord {
        assert_eq!(batch.count(), 1);
        batch.records().next().unwrap()
    }

    #[test]
    fn any_file_is_one_record_without_a_word_about_it() {
        let bytes: Vec<u8> = (0..=255).collect();
        for pairs in [
            &[][..],
            &[("content-type", "application/x-www-form-urlencoded")],
            &[("content-type", "application/octet-stream"), ("accept", "*/*")],
        ] {
            let record = only(&batch(pairs, &bytes).unwrap());
            assert_eq!(record.body, bytes);
            assert!(record.headers.is_empty(), "{pairs:?}");
        }
        assert_eq!(only(&batch(&[], b"").unwrap()).body, "");
    }

    #[test]
    fn what_is_said_of_a_record_on_purpose_is_kept() {
        let record = only(
            &batch(
                &[
                    ("content-type", "text/html; charset=utf-8"),
                    ("ce-type", "order.placed"),
                    ("ce-id", "1"),
                    ("user-agent", "x"),
                ],
                b"<p>",
            )
            .unwrap(),
        );
        assert_eq!(record.headers.get("content-type"), Some(&b"text/html; charset=utf-8"[..]));
        assert_eq!(record.headers.get("ce-type"), Some(&b"order.placed"[..]));
        assert_eq!(record.headers.count(), 3);
    }

    #[test]
    fn every_form_of_a_batch_means_the_same() {
        let records = [NewRecord::new("a"), NewRecord::new(&b"\xff"[..])];
        let expected = Batch::new(&records, &BatchLimits::default()).unwrap();
        let json = batch_to_json(&expected);
        let lines = "{\"data\":\"a\"}\n{\"data_base64\":\"/w==\"}\n";
        for (content_type, body) in [
            ("application/json", json.clone()),
            ("Application/JSON; charset=utf-8", json),
            ("application/x-ndjson", lines.as_bytes().to_vec()),
            ("application/vnd.quorate.batch", append_frame(&expected).to_vec()),
        ] {
            let read = batch(&[("content-type", content_type)], &body).unwrap();
            assert_eq!(read, expected, "{content_type}");
        }
    }

    #[test]
    fn a_form_is_held_to_its_word() {
        for content_type in
            ["application/json", "application/x-ndjson", "application/vnd.quorate.batch"]
        {
            for body in [&b"{"[..], b"\xff\xfe", b"QRTF", b"[1]", b"[[]]", b"{\"records\":[{}]}"] {
                let error = batch(&[("content-type", content_type)], body).unwrap_err();
                assert_eq!(error.problem().code, ErrorCode::InvalidBody, "{content_type} {body:?}");
            }
        }
        let empty = batch(&[("content-type", "application/json")], b"{\"records\":[]}");
        assert_eq!(empty.unwrap_err().problem().code, ErrorCode::EmptyBatch);
        let empty = batch(&[("content-type", "application/x-ndjson")], b"\n\n");
        assert_eq!(empty.unwrap_err().problem().code, ErrorCode::EmptyBatch);
    }

    #[test]
    fn an_event_in_binary_mode_is_one_record_whatever_its_type() {
        for (media_type, body) in
            [(media::JSON, &b"[1]"[..]), (media::NDJSON, b"x"), (media::FRAMES, b"y")]
        {
            let pairs = [("content-type", media_type), ("ce-specversion", "1.0"), ("ce-id", "7")];
            let record = only(&batch(&pairs, body).unwrap());
            assert_eq!(record.body, body);
            assert_eq!(record.headers.get("content-type"), Some(media_type.as_bytes()));
            assert_eq!(record.headers.get("ce-id"), Some(&b"7"[..]));
        }
    }

    #[test]
    fn the_largest_allowed_batch_fits_into_its_body() {
        let limits = BatchLimits { bytes_max: 4096, record_bytes_max: 4096, ..Default::default() };
        let batch = Batch::single(&NewRecord::new(vec![0xff; 4096]), &limits).unwrap();
        let (frame_max, _) = BodyKind::Frame.limit(&limits);
        let (json_max, _) = BodyKind::Json.limit(&limits);
        assert!(append_frame(&batch).len() <= frame_max);
        assert!(batch_to_json(&batch).len() <= json_max);
    }

    proptest! {
        #[test]
        fn one_record_is_never_changed(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let record = only(&batch(&[], &body).unwrap());
            prop_assert_eq!(record.body.as_ref(), &body[..]);
        }
    }
}
