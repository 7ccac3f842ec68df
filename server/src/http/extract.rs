//! What a request says, taken out of its path, query and headers, and checked.
//!
//! Whatever makes no sense is refused by name, and nothing is ignored: a misspelt parameter or a header
//! that cannot be read is a mistake of the caller, which it should learn of.
//!
//! Not here: bodies (`body`, `media`), and what conditions mean (`client::api::conditions`).

use std::borrow::Cow;

use axum::extract::{FromRequestParts, Path, Query};
use client::api::conditions::Conditions;
use client::api::error::ErrorCode;
use client::api::resume::ResumeToken;
use client::api::{Object, header};
use client::types::{CursorName, LogId, LogName, Position};
use http::Uri;
use http::header::HeaderMap;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::ApiError;
use crate::node::LogTarget;

/// The headers that carry conditions.
const CONDITION_HEADERS: [&str; 8] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::FENCE,
    header::LOG_ID,
    header::PRODUCER_ID,
    header::PRODUCER_EPOCH,
    header::PRODUCER_SEQUENCE,
    header::IDEMPOTENCY_KEY,
];

/// Query of a route that takes none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What a look may bring besides the log that it means: what the caller has already.
pub(super) const OF_A_LOOK: &[&str] = &[header::LOG_ID, header::IF_NONE_MATCH];
/// What a change may bring.
pub(super) const OF_A_CHANGE: &[&str] = &[header::LOG_ID];

/// What moving a cursor may bring: also where it is so far.
pub(super) const OF_A_CURSOR: &[&str] = &[header::LOG_ID, header::IF_MATCH, header::IF_NONE_MATCH];

/// Parts of a path, decoded. What cannot be decoded is refused like any other parameter.
#[derive(Debug)]
pub(super) struct InPath<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for InPath<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(decoded)) => Ok(Self(decoded)),
            Err(error) => Err(ApiError::because(ErrorCode::InvalidParameter, error.body_text())),
        }
    }
}

/// The name of a log, as one part of a path.
pub(super) fn log_name(part: &str) -> Result<LogName, ApiError> {
    let invalid = |detail: String| ApiError::because(ErrorCode::InvalidLogName, detail);
    if !part.contains('%') {
        return LogName::new(part).map_err(|error| invalid(error.to_string()));
    }
    let name = percent_decode_str(part).decode_utf8();
    let name = name.map_err(|_| invalid("its percent encoding is not UTF-8".to_owned()))?;
    LogName::new(&name).map_err(|error| invalid(error.to_string()))
}

/// The name of a cursor, as axum has decoded it.
pub(super) fn cursor_name(part: &str) -> Result<CursorName, ApiError> {
    CursorName::new(part).map_err(|error| ApiError::parameter("cursor", error))
}

/// A position, as one part of a path.
pub(super) fn position(part: &str) -> Result<Position, ApiError> {
    part.parse().map_err(|error| ApiError::parameter("position", error))
}

/// The name of a log, as axum has decoded it.
pub(super) fn decoded_log_name(part: &str) -> Result<LogName, ApiError> {
    LogName::new(part)
        .map_err(|error| ApiError::because(ErrorCode::InvalidLogName, error.to_string()))
}

/// The query, which may hold nothing but what `T` knows.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::<T>::try_from_uri(uri).map(|Query(query)| query).map_err(|rejection| {
        let wrong = rejection.body_text();
        let wrong = wrong.strip_prefix("Failed to deserialize query string: ").unwrap_or(&wrong);
        ApiError::because(ErrorCode::InvalidParameter, wrong.to_owned())
    })
}

/// Refuses a query where none is taken.
pub(super) fn no_query(uri: &Uri) -> Result<(), ApiError> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(_) => query::<Nothing>(uri).map(|Nothing {}| ()),
    }
}

/// The text of a header that may be there once.
pub(super) fn text<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::parameter(name, "given twice"));
    }
    let text = value.to_str().map_err(|_| ApiError::parameter(name, "not plain text"))?;
    Ok(Some(text.trim()))
}

/// The conditions of an append. One walk over the headers, because most requests have none.
pub(super) fn conditions(headers: &HeaderMap) -> Result<Conditions, ApiError> {
    let mut told = [None; CONDITION_HEADERS.len()];
    let mut is_told = false;
    for (name, value) in headers {
        let known = CONDITION_HEADERS.iter().position(|known| *known == name.as_str());
        let Some(index) = known else { continue };
        let name = CONDITION_HEADERS[index];
        let text = value.to_str().map_err(|_| ApiError::parameter(name, "not plain text"))?;
        if told[index].replace(text.trim()).is_some() {
            return Err(ApiError::parameter(name, "given twice"));
        }
        is_told = true;
    }
    if !is_told {
        return Ok(Conditions::default());
    }
    let value_of = |name: &'static str| {
        CONDITION_HEADERS.iter().position(|known| *known == name).and_then(|index| told[index])
    };
    Ok(Conditions::from_headers(value_of)?)
}

/// Refuses conditions that have no meaning for what is asked: none is ever ignored.
pub(super) fn no_conditions_but(taken: &[&str], headers: &HeaderMap) -> Result<(), ApiError> {
    let is_refused = |name: &str| CONDITION_HEADERS.contains(&name) && !taken.contains(&name);
    match headers.keys().map(http::HeaderName::as_str).find(|name| is_refused(name)) {
        Some(name) => Err(ApiError::parameter(name, "this is no condition of such a request")),
        None => Ok(()),
    }
}

/// The log that a request is about, which takes these conditions and no others.
pub(super) fn target(
    name: LogName,
    headers: &HeaderMap,
    taken: &[&str],
) -> Result<LogTarget, ApiError> {
    no_conditions_but(taken, headers)?;
    Ok(LogTarget { name, id: log_id(headers)? })
}

/// Where a cursor has to be, if the caller says so.
pub(super) fn expected_cursor(headers: &HeaderMap) -> Result<Option<Position>, ApiError> {
    let Conditions { tail: expected, generation, .. } = conditions(headers)?;
    if generation.is_some() {
        return Err(ApiError::parameter(header::IF_MATCH, "a position in quotes is needed"));
    }
    Ok(expected)
}

/// Which log of its name is meant, if the caller says so.
fn log_id(headers: &HeaderMap) -> Result<Option<LogId>, ApiError> {
    let id = text(headers, header::LOG_ID)?.map(str::parse).transpose();
    id.map_err(|error| ApiError::parameter(header::LOG_ID, error))
}

/// Where an earlier follow stopped, if its last event is told.
pub(super) fn last_event(headers: &HeaderMap) -> Result<Option<ResumeToken>, ApiError> {
    match text(headers, header::LAST_EVENT_ID)? {
        None | Some("") => Ok(None),
        Some(token) => token
            .parse()
            .map(Some)
            .map_err(|error| ApiError::parameter(header::LAST_EVENT_ID, error)),
    }
}

/// Whether the caller wants to be sent to the leader instead of being forwarded.
pub(super) fn prefers_redirect(headers: &HeaderMap) -> bool {
    let mut preferences = headers.get_all(header::PREFER).iter();
    preferences.any(|value| {
        let Ok(text) = value.to_str() else { return false };
        text.split(',').any(|preference| preference.trim().eq_ignore_ascii_case("redirect"))
    })
}

/// The trace that the caller says this request belongs to, if it says so in the form of the W3C.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_valid = version.len() == 2
        && version != "ff"
        && trace.len() == 32
        && span.len() == 16
        && [version, trace, span].into_iter().all(is_hex)
        && trace.bytes().any(|byte| byte != b'0');
    is_valid.then_some(trace)
}

/// A body in JSON. What a form or a shell adds by itself is no reason to refuse it.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    let media_type = super::media::essence(headers)?.unwrap_or(Cow::Borrowed(""));
    match media_type.as_ref() {
        "" | "application/json" | "application/x-www-form-urlencoded" => {}
        other => {
            return Err(ApiError::because(
                ErrorCode::UnsupportedMediaType,
                format!("{other} instead of application/json"),
            ));
        }
    }
    serde_json::from_slice(body)
        .map(|Object(body)| body)
        .map_err(|error| ApiError::because(ErrorCode::InvalidBody, error.to_string()))
}

/// The same, where an empty body stands for the default.
pub(super) fn json_or_default<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, ApiError> {
    if body.is_empty() { Ok(T::default()) } else { json(headers, body) }
}

#[cfg(test)]
mod tests {
    use client::api::logs::{EffectQuery, ListQuery, Settings};
    use client::api::reading::{Consistency, ReadFrom, ReadQuery};
    use client::types::Timestamp;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn uri(query: &str) -> Uri {
        format!("/v1/logs/a/records?{query}").parse().unwrap()
    }

    fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> ErrorCode {
        result.unwrap_err().problem().code
    }

    #[test]
    fn a_log_name_is_one_part_of_the_path() {
        assert_eq!(log_name("orders").unwrap().as_str(), "orders");
        assert_eq!(log_name("shop%2Forders%3a1").unwrap().as_str(), "shop/orders:1");
        for part in ["", "a b", "a%20b", "%2F", "a%2F%2e%2E", "%ff", "%", "%2", "a%00"] {
            assert_eq!(code(log_name(part)), ErrorCode::InvalidLogName, "{part}");
        }
    }

    #[test]
    fn a_position_is_a_number_and_nothing_else() {
        assert_eq!(position("42").unwrap(), Position::new(42));
        for part in ["", "-1", "+1", "007", "1.0", "tail", "99999999999999999999", " 1"] {
            assert_eq!(code(position(part)), ErrorCode::InvalidParameter, "{part}");
        }
    }

    #[test]
    fn a_read_is_asked_for_in_the_query() {
        let asked: ReadQuery =
            query(&uri("from=-5&limit=10&max_bytes=1000&wait=1m%2030s&consistency=local")).unwrap();
        assert_eq!(asked.from, ReadFrom::Last(5));
        assert_eq!((asked.limit, asked.max_bytes), (Some(10), Some(1_000)));
        assert_eq!(asked.wait.map(|wait| wait.as_secs()), Some(90));
        assert_eq!(asked.consistency, Consistency::Local);
        let asked: ReadQuery = query(&uri("from=1970-01-01T00:00:01Z")).unwrap();
        assert_eq!(asked.from, ReadFrom::Time(Timestamp::new(1_000)));
        let none: ReadQuery = query(&Uri::from_static("/v1/logs/a/records")).unwrap();
        assert_eq!(none, ReadQuery::default());
    }

    #[test]
    fn what_makes_no_sense_in_a_query_is_refused_by_name() {
        for (text, named) in [
            ("form=5", "form"),
            ("from=soon", "from"),
            ("from=", "from"),
            ("from=1&from=2", "from"),
            ("limit=-1", "limit"),
            ("limit=many", "limit"),
            ("limit=0", "limit"),
            ("limit=%2B7", "limit"),
            ("limit=007", "limit"),
            ("max_bytes=0", "max_bytes"),
            ("max_bytes=1e6", "max_bytes"),
            ("wait=for%20ever", "wait"),
            ("consistency=strong", "consistency"),
        ] {
            let error = query::<ReadQuery>(&uri(text)).unwrap_err();
            assert_eq!(error.problem().code, ErrorCode::InvalidParameter, "{text}");
            let detail = error.problem().detail.clone().unwrap_or_default();
            assert!(detail.contains(named), "{text}: {detail}");
        }
        assert_eq!(code(no_query(&uri("x"))), ErrorCode::InvalidParameter);
        assert_eq!(code(query::<EffectQuery>(&uri("dry_run=maybe"))), ErrorCode::InvalidParameter);
        assert!(query::<EffectQuery>(&uri("dry_run=true")).unwrap().dry_run);
        assert_eq!(query::<ListQuery>(&uri("limit=3")).unwrap().limit, Some(3));
    }

    #[test]
    fn conditions_are_found_among_other_headers() {
        let found = conditions(&headers(&[
            ("host", "q"),
            ("if-match", "\"7\""),
            ("quorate-fence", " f "),
            ("producer-id", "p"),
            ("producer-epoch", "1"),
            ("producer-seq", "0"),
        ]))
        .unwrap();
        assert_eq!(found.tail, Some(Position::new(7)));
        assert_eq!(found.fence.unwrap().as_str(), "f");
        assert!(found.producer.is_some());
        assert_eq!(conditions(&headers(&[("host", "q")])).unwrap(), Conditions::default());
    }

    #[test]
    fn a_condition_that_makes_no_sense_is_never_ignored() {
        for pairs in [
            &[("if-match", "7")][..],
            &[("if-match", "\"7\""), ("if-match", "\"8\"")],
            &[("producer-id", "p")],
            &[("quorate-log-id", "x")],
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(code(conditions(&map)), ErrorCode::InvalidParameter, "{pairs:?}");
        }
        let mut map = HeaderMap::new();
        map.append(header::FENCE, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(code(conditions(&map)), ErrorCode::InvalidParameter);
    }

    #[test]
    fn a_condition_is_refused_by_name_where_it_has_no_meaning() {
        for name in CONDITION_HEADERS {
            let headers = headers(&[("host", "q"), (name, "7")]);
            let is_taken = name == header::LOG_ID;
            let target = target(LogName::new("a").unwrap(), &headers, OF_A_CHANGE);
            match target {
                Ok(target) => assert!(is_taken && target.id == Some(LogId::new(7)), "{name}"),
                Err(error) => {
                    let detail = error.problem().detail.clone().unwrap_or_default();
                    assert!(!is_taken && detail.starts_with(name), "{name}: {detail}");
                }
            }
        }
    }

    #[test]
    fn a_trace_is_continued_only_if_it_is_one() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_id(&headers(&[("traceparent", valid)])), Some(trace));
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(&headers(&[("traceparent", text)])), None, "{text}");
        }
    }

    #[test]
    fn a_redirect_is_preferred_among_other_preferences() {
        assert!(prefers_redirect(&headers(&[("prefer", "wait=5, Redirect")])));
        assert!(!prefers_redirect(&headers(&[("prefer", "respond-async")])));
    }

    #[test]
    fn a_body_in_json_is_read_strictly_and_its_type_kindly() {
        let ok = |pairs: &[(&'static str, &'static str)]| {
            json_or_default::<Settings>(&headers(pairs), br#"{"retention_bytes": 5}"#)
        };
        assert!(ok(&[]).is_ok());
        assert!(ok(&[("content-type", "application/json; charset=utf-8")]).is_ok());
        assert!(ok(&[("content-type", "application/x-www-form-urlencoded")]).is_ok());
        let other = ok(&[("content-type", "text/xml")]);
        assert_eq!(code(other), ErrorCode::UnsupportedMediaType);
        assert_eq!(
            json_or_default::<Settings>(&HeaderMap::new(), b"").unwrap(),
            Settings::default()
        );
        for body in ["{", "[]", "null", r#"{"a":1}"#, r#"{"retention_bytes":"5"}"#] {
            let read = json_or_default::<Settings>(&HeaderMap::new(), body.as_bytes());
            assert_eq!(code(read), ErrorCode::InvalidBody, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_path_breaks_anything(part in "\\PC{0,40}") {
            if let Ok(name) = log_name(&part) {
                prop_assert!(LogName::new(name.as_str()).is_ok());
            }
            if let Ok(found) = position(&part) {
                prop_assert_eq!(found.get(), part.parse::<u64>().unwrap());
            }
        }

        #[test]
        fn no_query_breaks_anything(text in "[ -~]{0,60}") {
            if let Ok(uri) = format!("/x?{text}").parse::<Uri>()
                && let Err(error) = query::<ReadQuery>(&uri)
            {
                prop_assert_eq!(error.problem().code, ErrorCode::InvalidParameter);
            }
        }

        #[test]
        fn a_query_of_the_contract_is_understood(limit in prop::option::of(1_u64..), back: u64, seconds in 0..1_000_u64) {
            let asked = ReadQuery {
                from: ReadFrom::Last(back),
                limit,
                wait: Some(std::time::Duration::from_secs(seconds)),
                ..ReadQuery::default()
            };
            prop_assert_eq!(query::<ReadQuery>(&uri(&asked.to_query())).unwrap(), asked);
        }
    }
}
