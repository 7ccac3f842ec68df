//! What a request for a stream asks for, out of its path, query and headers.
//!
//! The protocol lets unknown parameters of a query be; whatever it knows is refused if it makes no sense.
//!
//! Not here: offsets (`offset`), and bodies (`messages`).

use std::time::Duration;

use client::api::conditions::Conditions;
use client::api::error::ErrorCode;
use client::api::header as native;
use client::types::{LogName, OrderKey, Timestamp, parse_number};
use http::Uri;
use http::header::{CONTENT_TYPE, HeaderMap};

use super::header;
use super::offset::Offset;
use crate::http::extract;
use crate::http::problem::ApiError;

/// The largest number of a producer that every client can hold.
const PRODUCER_NUMBER_MAX: u64 = (1 << 53) - 1;

/// The conditions that an append to a stream may bring.
pub(super) const OF_AN_APPEND: &[&str] = &[
    native::PRODUCER_ID,
    native::PRODUCER_EPOCH,
    native::PRODUCER_SEQUENCE,
    native::IDEMPOTENCY_KEY,
];

/// The name of a stream, as axum has decoded it.
pub(super) fn stream_name(text: &str) -> Result<LogName, ApiError> {
    let name = extract::decoded_log_name(text)?;
    if name.is_reserved() { Err(ApiError::new(ErrorCode::ReservedLogName)) } else { Ok(name) }
}

/// Whether the stream is to be closed. Any other word than `true` counts for nothing.
pub(super) fn closes(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CLOSED).map(http::HeaderValue::as_bytes);
    said.is_some_and(|said| said.eq_ignore_ascii_case(b"true"))
}

/// What the body is said to be, unless nothing is said.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let text = extract::text(headers, CONTENT_TYPE.as_str())?.filter(|text| !text.is_empty());
    match text {
        Some(text) if text.len() > 255 || !text.contains('/') => {
            Err(ApiError::parameter(CONTENT_TYPE.as_str(), "no media type"))
        }
        text => Ok(text),
    }
}

/// What makes an append safe to repeat, if anything does: a producer's number, or a key as in the API.
pub(super) fn conditions(headers: &HeaderMap) -> Result<Conditions, ApiError> {
    let mut told = [None; OF_AN_APPEND.len()];
    for (name, told) in OF_AN_APPEND.iter().zip(&mut told) {
        *told = extract::text(headers, name)?;
    }
    let value_of = |name: &'static str| {
        OF_AN_APPEND.iter().position(|known| *known == name).and_then(|index| told[index])
    };
    let conditions = Conditions::from_headers(value_of)?;
    let numbers =
        conditions.producer.as_ref().map(|batch| (batch.epoch.get(), batch.sequence.get()));
    if numbers.is_some_and(|(epoch, sequence)| epoch.max(sequence) > PRODUCER_NUMBER_MAX) {
        return Err(ApiError::parameter("producer-epoch, producer-seq", "beyond 2^53 - 1"));
    }
    Ok(conditions)
}

/// What the stream's last order key has to sort before, if one is given.
pub(super) fn order_key(headers: &HeaderMap) -> Result<Option<OrderKey>, ApiError> {
    let key = extract::text(headers, header::ORDER_KEY)?.map(OrderKey::new);
    key.transpose().map_err(|error| ApiError::parameter(header::ORDER_KEY, error))
}

/// How long the stream is to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// For so long after it was used last.
    pub(super) ttl: Option<Duration>,
    /// Until this moment.
    pub(super) expires_at: Option<Timestamp>,
}

impl Lifetime {
    /// What a request says of it.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let ttl = extract::text(headers, header::TTL)?.map(|text| {
            let seconds =
                parse_number(text).map_err(|error| ApiError::parameter(header::TTL, error));
            seconds.map(Duration::from_secs)
        });
        let expires_at = extract::text(headers, header::EXPIRES_AT)?.map(|text| {
            text.parse().map_err(|error| ApiError::parameter(header::EXPIRES_AT, error))
        });
        let lifetime = Self { ttl: ttl.transpose()?, expires_at: expires_at.transpose()? };
        if lifetime.ttl == Some(Duration::ZERO) {
            return Err(ApiError::parameter(header::TTL, "at least a second"));
        }
        if lifetime.ttl.is_some() && lifetime.expires_at.is_some() {
            return Err(ApiError::parameter(header::TTL, "either this or stream-expires-at"));
        }
        Ok(lifetime)
    }
}

/// How a read waits for what is not yet there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// Not at all.
    No,
    /// Once, for a while.
    Poll,
    /// As long as it is heard, by events.
    Events,
}

/// What a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) offset: Offset,
    pub(super) live: Live,
    pub(super) cursor: Option<u64>,
}

impl Asked {
    /// What the query says.
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> = extract::query(uri)?;
        let offset = only(&pairs, "offset")?;
        let live = match only(&pairs, "live")? {
            None => Live::No,
            Some("long-poll") => Live::Poll,
            Some("sse") => Live::Events,
            Some(_) => return Err(ApiError::parameter("live", "long-poll or sse")),
        };
        let offset = match offset {
            None if live == Live::No => Offset::First,
            None => return Err(ApiError::parameter("offset", "a live read needs one")),
            Some(text) => Offset::read(text)
                .ok_or_else(|| ApiError::parameter("offset", "not one that was told"))?,
        };
        // A cursor of somebody else's making is as good as none.
        let cursor = only(&pairs, "cursor")?.and_then(|text| text.parse().ok());
        Ok(Self { offset, live, cursor })
    }
}

fn only<'p>(pairs: &'p [(String, String)], name: &str) -> Result<Option<&'p str>, ApiError> {
    let mut values = pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
    let first = values.next().map(String::as_str);
    if values.next().is_some() { Err(ApiError::parameter(name, "given twice")) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn asked(query: &str) -> Result<Asked, ErrorCode> {
        let uri = format!("/ds/v1/a?{query}").parse().unwrap();
        Asked::of(&uri).map_err(|error| error.problem().code)
    }

    #[test]
    fn a_read_begins_at_the_start_unless_it_says_where_and_a_live_one_has_to() {
        let plain = Asked { offset: Offset::First, live: Live::No, cursor: None };
        assert_eq!(asked("").unwrap(), plain);
        assert_eq!(asked("offset=-1&foo=bar").unwrap(), plain);
        let live = asked("offset=now&live=sse&cursor=7").unwrap();
        assert_eq!(live, Asked { offset: Offset::Now, live: Live::Events, cursor: Some(7) });
        for query in
            ["live=sse", "live=long-poll", "offset=", "offset=a&offset=b", "offset=0", "live=x"]
        {
            assert_eq!(asked(query), Err(ErrorCode::InvalidParameter), "{query}");
        }
    }

    #[test]
    fn only_the_word_true_closes() {
        for (said, closes_it) in [("true", true), ("TRUE", true), ("1", false), ("", false)] {
            assert_eq!(closes(&headers(&[("stream-closed", said)])), closes_it, "{said}");
        }
        assert!(!closes(&HeaderMap::new()));
    }

    #[test]
    fn a_lifetime_is_a_whole_number_of_seconds_or_a_moment() {
        let of = |pairs: &[(&'static str, &'static str)]| Lifetime::of(&headers(pairs));
        assert_eq!(of(&[("stream-ttl", "3600")]).unwrap().ttl, Some(Duration::from_hours(1)));
        assert!(of(&[("stream-expires-at", "2026-11-26T20:00:00+00:00")]).is_ok());
        for said in ["0", "+1", "01", "1.0", "1e3", "-1", "", "abc"] {
            assert!(of(&[("stream-ttl", said)]).is_err(), "{said}");
        }
        assert!(of(&[("stream-expires-at", "soon")]).is_err());
        let both = [("stream-ttl", "1"), ("stream-expires-at", "2026-11-26T20:00:00Z")];
        assert!(of(&both).is_err());
    }

    #[test]
    fn a_producer_says_all_three_or_nothing() {
        let of = |pairs: &[(&'static str, &'static str)]| conditions(&headers(pairs));
        assert_eq!(of(&[]).unwrap(), Conditions::default());
        let (id, epoch) = (("producer-id", "p"), ("producer-epoch", "0"));
        assert!(of(&[id, epoch, ("producer-seq", "0")]).unwrap().producer.is_some());
        for pairs in [
            &[id][..],
            &[id, epoch],
            &[("producer-id", ""), epoch, ("producer-seq", "0")],
            &[id, epoch, ("producer-seq", "1abc")],
            &[id, epoch, ("producer-seq", "1e3")],
            &[id, epoch, ("producer-seq", "-1")],
            &[id, epoch, ("producer-seq", "9007199254740992")],
        ] {
            assert!(of(pairs).is_err(), "{pairs:?}");
        }
    }
}
