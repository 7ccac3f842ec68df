//! Media types: what a body is, said in `Content-Type` and asked for in `Accept`.
//!
//! Anything else than the first four in an append means that the body is one record.

/// Bodies as JSON.
pub const JSON: &str = "application/json";
/// Records as JSON, one on each line.
pub const NDJSON: &str = "application/x-ndjson";
/// Records as frames (`api::frame`).
pub const FRAMES: &str = "application/vnd.quorate.batch";
/// Server-sent events: a follow, or a change of the membership that is watched.
pub const EVENTS: &str = "text/event-stream";
/// A problem document (`api::error`).
pub const PROBLEM: &str = "application/problem+json";
/// One record of a log that has no content type set.
pub const BYTES: &str = "application/octet-stream";
/// Metrics in the Prometheus text format, and plain words.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// A backup of a snapshot.
pub const BACKUP: &str = "application/vnd.quorate.backup";
