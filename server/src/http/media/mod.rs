//! Media types: what a body is, which form an answer takes, and the two directions between records and
//! bytes.
//!
//! An append's body is what its `Content-Type` says; anything but the three forms that hold many
//! records is one record, whatever it is. An answer's form is chosen by `Accept`.
//!
//! Not here: routes, and what conditions an append has.

pub(super) mod answer;
pub(super) mod intake;
pub(super) mod json;

use std::borrow::Cow;

use client::api::error::ErrorCode;
use client::api::media;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use super::problem::ApiError;

/// The form of a read's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON object.
    Json,
    /// A JSON object on each line.
    Ndjson,
    /// Frames.
    Frames,
    /// Server-sent events: a follow.
    Events,
}

impl Form {
    const ALL: [Self; 4] = [Self::Json, Self::Ndjson, Self::Frames, Self::Events];

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => media::JSON,
            Self::Ndjson => media::NDJSON,
            Self::Frames => media::FRAMES,
            Self::Events => media::EVENTS,
        }
    }

    /// The form that the caller likes best, JSON if it does not mind.
    pub(super) fn accepted(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut best: Option<(Self, u32)> = None;
        let mut is_asked = false;
        for value in headers.get_all(ACCEPT) {
            let text =
                value.to_str().map_err(|_| ApiError::parameter("accept", "not plain text"))?;
            for range in text.split(',').filter(|range| !range.trim().is_empty()) {
                is_asked = true;
                if let Some((form, weight)) = Self::of_range(range)
                    && best.is_none_or(|(_, heaviest)| weight > heaviest)
                {
                    best = Some((form, weight));
                }
            }
        }
        match best {
            Some((form, _)) => Ok(form),
            None if is_asked => Err(ApiError::because(
                ErrorCode::NotAcceptable,
                "records are given as JSON, NDJSON, frames or events",
            )),
            None => Ok(Self::Json),
        }
    }

    /// The form that a range of media types stands for, and its weight in thousandths.
    fn of_range(range: &str) -> Option<(Self, u32)> {
        let (wanted, weight) = weighted(range);
        if weight == 0 {
            return None;
        }
        let exact =
            Self::ALL.into_iter().find(|form| wanted.eq_ignore_ascii_case(form.media_type()));
        // A range takes JSON, and counts for less than a name of the same weight.
        let form = exact.or(match wanted {
            "*/*" | "application/*" => Some(Self::Json),
            _ => None,
        })?;
        Some((form, weight * 2 + u32::from(exact.is_some())))
    }
}

/// A range of media types and its weight in thousandths.
fn weighted(range: &str) -> (&str, u32) {
    let mut parts = range.split(';');
    let wanted = parts.next().unwrap_or("").trim();
    let mut qualities = parts.filter_map(|part| part.trim().split_once('='));
    let quality = qualities.find(|(name, _)| name.trim_end().eq_ignore_ascii_case("q"));
    (wanted, quality.map_or(1_000, |(_, quality)| thousandths(quality)))
}

/// How much the caller likes a media type that it calls by its name, in thousandths; 0: not at all.
pub(super) fn weight_of(headers: &HeaderMap, media_type: &str) -> u32 {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = texts.flat_map(|text| text.split(',')).map(weighted);
    let named = ranges.filter(|(wanted, _)| wanted.eq_ignore_ascii_case(media_type));
    named.map(|(_, weight)| weight).max().unwrap_or(0)
}

fn thousandths(quality: &str) -> u32 {
    let quality = quality.trim();
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let fraction = format!("{fraction:0<3.3}");
    match (whole, fraction.parse::<u32>()) {
        ("0", Ok(fraction)) => fraction,
        _ => 1_000,
    }
}

/// The media type that a body says it has, without parameters and in lower case.
pub(super) fn essence(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().map_err(|_| ApiError::parameter("content-type", "not plain text"))?;
    let essence = text.split(';').next().unwrap_or("").trim();
    Ok(Some(if essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(essence.to_ascii_lowercase())
    } else {
        Cow::Borrowed(essence)
    }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn accepted(text: &'static str) -> Result<Form, ErrorCode> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(text))]);
        Form::accepted(&headers).map_err(|error| error.problem().code)
    }

    #[test]
    fn the_form_is_what_the_caller_likes_best() {
        for (text, form) in [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("application/*", Form::Json),
            ("application/json", Form::Json),
            ("application/x-ndjson", Form::Ndjson),
            ("APPLICATION/X-NDJSON", Form::Ndjson),
            ("*/*, application/x-ndjson", Form::Ndjson),
            ("text/event-stream", Form::Events),
            ("application/vnd.quorate.batch;q=0.9, application/json;q=0.8", Form::Frames),
            ("application/json;q=0.1, application/x-ndjson;q=0.5", Form::Ndjson),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Json),
            ("application/x-ndjson;q=0, application/json;q=0.001", Form::Json),
        ] {
            assert_eq!(accepted(text), Ok(form), "{text}");
        }
        assert_eq!(Form::accepted(&HeaderMap::new()).unwrap(), Form::Json);
    }

    #[test]
    fn a_form_that_does_not_exist_is_refused() {
        for text in ["text/html", "application/json;q=0", "json", "image/png, text/csv"] {
            assert_eq!(accepted(text), Err(ErrorCode::NotAcceptable), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_accept_header_breaks_anything(text in "[ -~]{0,60}") {
            let headers =
                HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(&text).unwrap())]);
            if let Err(error) = Form::accepted(&headers) {
                prop_assert_eq!(error.problem().code, ErrorCode::NotAcceptable);
            }
        }
    }
}
