//! How bytes, headers, durations and optional members appear in JSON and queries.
//!
//! Bytes are text where they are UTF-8 and base64 where they are not, so that people can read what
//! can be read and nothing is ever lost. A member that is present counts as present, `null` too.
//!
//! Not here: the bodies that use these forms.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::object::Object;
use crate::types::{Headers, parse_number};

/// Text that is borrowed from the JSON where it has no escapes.
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Bytes shown in base64.
pub(super) struct Base64<'a>(pub(super) &'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// The bytes behind a base64 text.
pub(super) fn decode_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}

/// A member that is there, whatever its value: an absent one is left to `default`.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// How many are wanted, as a query says it: a number written in the one way, and not 0.
pub(super) fn count<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    let number = parse_number(&text).map_err(D::Error::custom)?;
    if number == 0 {
        return Err(D::Error::custom("at least 1 is wanted"));
    }
    T::try_from(number).map(Some).map_err(|_| D::Error::custom("too large a number"))
}

/// Headers as a list of pairs, `[["name", "value"], ["other", {"base64": "/w=="}]]`.
pub(super) struct HeaderPairs<'a>(pub(super) &'a Headers);

impl Serialize for HeaderPairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pairs = serializer.serialize_seq(Some(usize::from(self.0.count())))?;
        for (name, value) in self.0 {
            pairs.serialize_element(&(name, HeaderValue::of(value)))?;
        }
        pairs.end()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum HeaderValue<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    #[serde(borrow)]
    Bytes(Object<HeaderBytes<'a>>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderBytes<'a> {
    #[serde(borrow)]
    base64: Cow<'a, str>,
}

impl<'a> HeaderValue<'a> {
    fn of(value: &'a [u8]) -> Self {
        match std::str::from_utf8(value) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Bytes(Object(HeaderBytes { base64: STANDARD.encode(value).into() })),
        }
    }

    fn into_bytes<E: serde::de::Error>(self) -> Result<Vec<u8>, E> {
        match self {
            Self::Text(text) => Ok(text.into_owned().into_bytes()),
            Self::Bytes(Object(bytes)) => decode_base64(&bytes.base64).map_err(E::custom),
        }
    }
}

/// Reads what [`HeaderPairs`] writes.
pub(super) fn read_headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Headers, D::Error> {
    let pairs = Vec::<(Cow<'de, str>, HeaderValue<'de>)>::deserialize(deserializer)?;
    let mut checked = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        checked.push((name, value.into_bytes::<D::Error>()?));
    }
    Headers::from_pairs(checked).map_err(D::Error::custom)
}

/// Headers as the JSON text of their list of pairs, in ASCII, as one HTTP header can carry it.
pub fn headers_to_ascii(headers: &Headers) -> String {
    let json = serde_json::to_string(&HeaderPairs(headers)).expect("pairs of texts are JSON");
    let mut ascii = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() && letter != '\u{7f}' {
            ascii.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                ascii.extend(["\\u", &format!("{unit:04x}")]);
            }
        }
    }
    ascii
}

/// Reads what [`headers_to_ascii`] writes.
pub fn headers_from_ascii(text: &str) -> Result<Headers, serde_json::Error> {
    read_headers(&mut serde_json::Deserializer::from_str(text))
}

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration such as 30s or 500ms")]
pub struct DurationError;

/// Reads a duration such as `30s`, `500ms`, `1m 30s`; a bare number counts seconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        return text.parse().map(Duration::from_secs).map_err(|_| DurationError);
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| DurationError)?;
    signed.try_into().map_err(|_| DurationError)
}

/// Writes a duration in milliseconds, as [`parse_duration`] reads it.
pub fn format_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// A duration as text, for queries.
pub(super) mod duration_text {
    use super::{Cow, Deserialize, Deserializer, Duration, Serializer};
    use serde::de::Error as _;

    #[expect(clippy::ref_option, reason = "serde hands in a reference to the member")]
    pub(in crate::api) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&super::format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::api) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        super::parse_duration(&text).map(Some).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [("30s", 30_000), ("500ms", 500), ("1m 30s", 90_000), ("2", 2000), ("0", 0)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1s", "soon", "1 fortnight", "99999999999999999999"] {
            assert_eq!(parse_duration(text), Err(DurationError), "{text}");
        }
    }

    #[test]
    fn headers_fit_into_one_http_header() {
        let headers = Headers::from_pairs([("a", &b"caf\xc3\xa9\n"[..]), ("b", b"\xff")]).unwrap();
        let text = headers_to_ascii(&headers);
        assert_eq!(text, r#"[["a","caf\u00e9\n"],["b",{"base64":"/w=="}]]"#);
        assert_eq!(headers_from_ascii(&text).unwrap(), headers);
    }

    proptest! {
        #[test]
        fn no_header_is_lost_as_text(
            pairs in prop::collection::vec(("[!-~]{1,9}", prop::collection::vec(any::<u8>(), 0..20)), 0..5),
            unicode in "\\PC{0,9}",
        ) {
            let texts = [("t".to_owned(), unicode.into_bytes())];
            let headers = Headers::from_pairs(pairs.into_iter().chain(texts)).unwrap();
            let text = headers_to_ascii(&headers);
            prop_assert!(text.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{}", text);
            prop_assert_eq!(headers_from_ascii(&text).unwrap(), headers);
        }

        #[test]
        fn durations_survive_text(millis in 0..u64::from(u32::MAX)) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
