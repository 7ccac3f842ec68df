//! The document of the contract: every operation, as `OpenAPI` 3.2 has it (feature `schema`).
//!
//! It is made of the contract itself: paths and methods stand in the table of routes, bodies and queries are
//! the types that service and callers read and write, codes have their statuses from [`ErrorCode`]. What the
//! types cannot say, which headers an operation takes and how it may fail, stands in a file for each topic.
//! A test holds every answer of a real group against it.
//!
//! Operations stand in an order in which their examples can be sent one after the other.
//!
//! Not here: how the document is served and shown (the service).
//!
//! [`ErrorCode`]: crate::api::error::ErrorCode

mod changes;
mod checkpoints;
mod cluster;
mod cursors;
mod forms;
mod headers;
mod keeping;
mod logs;
mod operation;
mod records;
mod schemas;
mod service;
mod streams;
mod transfers;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

pub(super) use self::forms::RecordForm;
use self::operation::Written;
use self::schemas::Schemas;

/// The operations of a topic.
type Topic = fn(&mut Schemas) -> Vec<Written>;

/// All topics, in the order of the document: what further routes do is added here, in a file of its own.
const TOPICS: &[Topic] = &[
    logs::operations,
    records::operations,
    cursors::operations,
    keeping::operations,
    streams::operations,
    cluster::operations,
    changes::operations,
    checkpoints::operations,
    transfers::operations,
    service::operations,
];

/// The tags by which operations are grouped, and what each is about.
const TAGS: &[(&str, &str)] = &[
    (
        logs::TAG,
        "Named, ordered, durable sequences of records: made, described, set, trimmed, sealed, deleted.",
    ),
    (records::TAG, "What lies in a log: appended, read, waited for, followed."),
    (cursors::TAG, "Where consumers of a log are."),
    (
        streams::TAG,
        "The same logs in the words of Durable Streams, an open protocol with clients in many languages.",
    ),
    (cluster::TAG, "The group of replicas: how it is, and who wants to join."),
    (changes::TAG, "Changes of the membership: planned, begun, watched, cancelled."),
    (
        checkpoints::TAG,
        "What the state was at an entry: checkpoints, snapshots, backups, and whether all replicas hold the same.",
    ),
    (
        transfers::TAG,
        "State that a replica fetches because it lacks entries that the others have let go.",
    ),
    (service::TAG, "The process that answers: health, metrics, settings, and this document."),
];

const DESCRIPTION: &str = "\
A replicated log. Every replica takes every request: what only the leader can do is carried there, or the caller is \
sent there with 307 if it prefers that.\n\n\
Every error is a problem document (RFC 9457) with a `code`, and says whether the same request may succeed later and \
whether it is certain that nothing happened. A request that cannot be understood is refused; nothing in it is \
ignored. HEAD is answered wherever GET is, with the same headers and without the body. Whole numbers in JSON are written without \
a fraction and without an exponent.";

/// The document, made once.
///
/// ```
/// use quorate_client::api::openapi::document;
///
/// assert_eq!(document()["openapi"], "3.2.0");
/// assert_eq!(document()["paths"]["/v1/logs"]["get"]["operationId"], "listLogs");
/// ```
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(write);
    &DOCUMENT
}

fn write() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for (path, method, operation) in TOPICS.iter().flat_map(|topic| topic(&mut schemas)) {
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation;
    }
    let tags = TAGS.iter().map(|(name, about)| json!({ "name": name, "description": about }));
    let parameters: Map<_, _> = headers::parameters(&mut schemas)
        .into_iter()
        .filter(|(name, _)| headers::OF_EVERY_REQUEST.contains(&name.as_str()))
        .collect();
    let headers = headers::headers(&mut schemas);
    let mut document = json!({
        "openapi": "3.2.0",
        "info": {
            "title": "Quorate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "Any replica of the group." }],
        "tags": tags.collect::<Vec<_>>(),
        "paths": paths,
        "components": { "parameters": parameters, "headers": headers },
    });
    let schemas = schemas.finish(&mut document);
    document["components"]["schemas"] = schemas.into();
    document
}

#[cfg(test)]
mod tests;
