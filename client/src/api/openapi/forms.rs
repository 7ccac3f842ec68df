//! Records as JSON, which are read and written by hand: what they look like.
//!
//! Not here: reading and writing them (`api::records`).

#![expect(dead_code, reason = "they are described, and never made")]

use schemars::JsonSchema;
use serde_json::Value;

use crate::types::{Position, Timestamp};

/// Body of an append in JSON.
#[derive(JsonSchema)]
#[schemars(rename = "AppendRequest", deny_unknown_fields)]
pub(super) struct AppendForm {
    /// At least one, and no more than the service allows.
    #[schemars(length(min = 1))]
    records: Vec<NewRecordForm>,
}

/// One record of an append: its body as text, as base64, or as JSON that is kept as it was written.
#[derive(JsonSchema)]
#[schemars(
    rename = "NewRecord",
    deny_unknown_fields,
    extend("oneOf" = [
        { "required": ["data"] },
        { "required": ["data_base64"] },
        { "required": ["json"] },
    ])
)]
pub(super) struct NewRecordForm {
    /// Its body, as text.
    #[schemars(default, skip_serializing_if = "String::is_empty")]
    data: String,
    /// Its body, in base64.
    #[schemars(
        default,
        skip_serializing_if = "String::is_empty",
        extend("contentEncoding" = "base64", "pattern" = BASE64)
    )]
    data_base64: String,
    /// Its body, as any JSON.
    #[schemars(default, skip_serializing_if = "Value::is_null")]
    json: Value,
    /// Its headers: a list of pairs, as one name may come twice.
    #[schemars(default)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

const BASE64: &str =
    "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// The name of a header: 1–255 bytes of visible ASCII.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^[!-~]{1,255}$"))]
struct HeaderName(String);

/// The value of a header: text, or bytes in base64.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum HeaderValue {
    Text(String),
    Bytes(HeaderBytes),
}

/// Bytes that are no text.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct HeaderBytes {
    /// They, in base64.
    #[schemars(extend("contentEncoding" = "base64", "pattern" = BASE64))]
    base64: String,
}

/// A record as JSON shows it: its body as text if it is UTF-8, else in base64.
#[derive(JsonSchema)]
#[schemars(extend("oneOf" = [{ "required": ["data"] }, { "required": ["data_base64"] }]))]
pub(in crate::api) struct RecordForm {
    /// Its place in its log.
    position: Position,
    /// The time it got.
    time: Timestamp,
    /// Its headers, if it has some.
    #[schemars(default, skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<(HeaderName, HeaderValue)>>,
    /// Its body, if that is text.
    #[schemars(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// Its body in base64, if that is no text.
    #[schemars(default, skip_serializing_if = "Option::is_none", extend("contentEncoding" = "base64"))]
    data_base64: Option<String>,
}
