//! The headers of the contract: what is asked by one, what is told by one.
//!
//! What is told stands once among the components of the document, and everything else refers to it.
//!
//! Not here: which operation takes or tells which (the files of the topics).

use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use crate::api::header;
use crate::types::{
    Epoch, Fence, IdempotencyKey, LogId, OrderKey, Position, ProducerEpoch, ProducerId,
    ReplicaAddr, ReplicaId, Sequence, Timestamp,
};

/// Every request may bring them.
pub(super) const OF_EVERY_REQUEST: &[&str] = &[header::REQUEST_ID, "traceparent"];
/// Every answer of a replica tells them.
pub(super) const OF_EVERY_ANSWER: &[&str] = &[
    header::REQUEST_ID,
    header::SERVED_BY,
    header::EPOCH,
    header::LEADER,
    "cache-control",
    "x-content-type-options",
];
/// Every error tells them.
pub(super) const OF_EVERY_ERROR: &[&str] = OF_EVERY_ANSWER;

/// What is told of a log wherever it is described.
pub(super) const OF_A_LOG: &[&str] =
    &[header::LOG_ID, header::FIRST, header::TAIL, header::SEALED, "etag"];

/// A number in quotes.
pub(super) const QUOTED: &str = "^\"(0|[1-9][0-9]{0,18})\"$";
/// The same, or the `ETag` of a log.
pub(super) const QUOTED_OR_TAG: &str =
    "^\"((0|[1-9][0-9]{0,18})|AQ[A-Za-z0-9_-]{36}[AEIMQUYcgkosw048](\\.[0-9a-f]{16})?)\"$";
/// A number, in quotes or without.
pub(super) const QUOTED_OR_BARE: &str = "^((0|[1-9][0-9]{0,18})|\"(0|[1-9][0-9]{0,18})\")$";

/// A header that is asked with.
pub(super) fn asked(schemas: &mut Schemas, name: &str) -> Value {
    parameters(schemas).remove(name).expect("a header that is asked with is in the table")
}

/// A reference to one that every request may bring.
pub(super) fn of_every_request(name: &&str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// References to headers that are told.
pub(super) fn told(names: &[&str]) -> Value {
    let reference = |name: &&str| {
        ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))
    };
    names.iter().map(reference).collect::<Map<_, _>>().into()
}

/// All headers that can be asked with, by name.
pub(super) fn parameters(schemas: &mut Schemas) -> Map<String, Value> {
    let text = || json!({ "type": "string" });
    let all = [
        (
            header::IF_MATCH,
            "Only if this still holds: the tail of a log, or the position of a cursor, in quotes, as a number or as \
             the `ETag` of the log; the epoch of a plan.",
            json!({ "type": "string", "pattern": QUOTED }),
        ),
        (
            header::IF_NONE_MATCH,
            "With GET: only if the `ETag` differs. Else `*`: only if nothing was ever there.",
            text(),
        ),
        (header::FENCE, "Only if the log's fence is this one.", schemas.asked::<Fence>()),
        (
            header::LOG_ID,
            "Only if the name still means this log: a log that was deleted and made anew has another one.",
            schemas.asked::<LogId>(),
        ),
        (header::PRODUCER_ID, "Who appends.", schemas.asked::<ProducerId>()),
        (
            header::PRODUCER_EPOCH,
            "Which life of the producer; a higher one claims the id.",
            schemas.asked::<ProducerEpoch>(),
        ),
        (
            header::PRODUCER_SEQUENCE,
            "The number of the producer's batch, from 0 without gaps. The three headers of a producer come together or \
             not at all.",
            schemas.asked::<Sequence>(),
        ),
        (
            header::IDEMPOTENCY_KEY,
            "What makes this one call safe to repeat.",
            schemas.asked::<IdempotencyKey>(),
        ),
        (
            header::LAST_EVENT_ID,
            "Where a follow goes on: the `id` of the last event that was got.",
            text(),
        ),
        (
            header::PREFER,
            "`redirect`: be sent to the leader with 307, instead of having the request carried there.",
            text(),
        ),
        ("from", "Who asks, as they say; it is kept with what they did.", text()),
        (
            "stream-ttl",
            "The stream goes after so many seconds without use. Not together with `stream-expires-at`.",
            json!({ "type": "string", "pattern": "^[1-9][0-9]{0,15}$" }),
        ),
        ("stream-expires-at", "The stream goes at this time.", schemas.asked::<Timestamp>()),
        ("stream-closed", "`true`: nothing comes behind it. Any other word means nothing.", text()),
        (
            "stream-seq",
            "Refused unless it sorts, byte by byte, behind the last one of the stream.",
            schemas.asked::<OrderKey>(),
        ),
        (
            header::REQUEST_ID,
            "Name this request so: up to 128 visible ASCII characters. Anything else, and it gets a name.",
            text(),
        ),
        ("traceparent", "The trace that this request belongs to (W3C Trace Context).", text()),
    ];
    let parameter = |(name, description, schema): (&str, &str, Value)| {
        let parameter = json!({
            "name": name, "in": "header", "description": description, "schema": schema,
        });
        (name.to_owned(), parameter)
    };
    all.into_iter().map(parameter).collect()
}

/// All headers that can be told, by name.
pub(super) fn headers(schemas: &mut Schemas) -> Map<String, Value> {
    let text = || json!({ "type": "string" });
    let only = |word: &str| json!({ "type": "string", "const": word });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let all = [
        (header::REQUEST_ID, "How the request was named.", text()),
        (header::SERVED_BY, "The replica that answered.", schemas.told::<ReplicaId>()),
        (header::EPOCH, "The membership's epoch.", schemas.told::<Epoch>()),
        (
            header::LEADER,
            "Where the leader answers, if one is known.",
            schemas.told::<ReplicaAddr>(),
        ),
        ("x-content-type-options", "The body is what its media type says.", only("nosniff")),
        (
            header::AS_OF,
            "How fresh the answer is: `entry=42`, or `entry=42, age_ms=7, lag=3` from a local read.",
            json!({
                "type": "string",
                "pattern": "^entry=[0-9]+(, age_ms=[0-9]+)?(, lag=[0-9]+)?$",
            }),
        ),
        (
            header::RETRY_AFTER,
            "Seconds until another try makes sense; the problem document has milliseconds.",
            count(),
        ),
        (header::LOG_ID, "Which log of that name.", schemas.told::<LogId>()),
        (header::FIRST, "The first position that can be read.", schemas.told::<Position>()),
        (
            header::NEXT,
            "Where to go on: the position after the last one in this answer.",
            schemas.told::<Position>(),
        ),
        (header::TAIL, "The position the next record will get.", schemas.told::<Position>()),
        (
            header::SEALED,
            "`true` if the log is sealed, so that nothing will come behind its tail; else absent.",
            only("true"),
        ),
        (
            header::LIMIT,
            "How many names or records the answer holds at most, as asked or as capped.",
            count(),
        ),
        (header::POSITION, "The record's position.", schemas.told::<Position>()),
        (header::TIME, "The record's time.", schemas.told::<Timestamp>()),
        (
            header::RECORD_HEADERS,
            "The record's headers, if it has some: a JSON list of pairs.",
            json!({ "type": "string", "contentMediaType": "application/json" }),
        ),
        (
            header::IDEMPOTENCY_REPLAYED,
            "`true` if an earlier request stored the batch; else absent.",
            only("true"),
        ),
        (
            "etag",
            "What stands for this answer in `If-None-Match`, and that of a log in `If-Match`.",
            text(),
        ),
        ("link", "The next page, if there is one: `<…>; rel=\"next\"`.", text()),
        ("location", "Where it is.", json!({ "type": "string", "format": "uri-reference" })),
        ("cache-control", "Whether the answer may be kept: it is of this moment.", text()),
        ("content-disposition", "The name of the file to keep it under.", text()),
        ("content-security-policy", "What a browser may do with it.", text()),
        ("referrer-policy", "What a browser may tell others of where it came from.", text()),
        ("cross-origin-opener-policy", "Windows of others have nothing to do with it.", text()),
        ("permissions-policy", "What a browser may let it do.", text()),
        (
            "cross-origin-resource-policy",
            "Who may embed it: pages of this origin.",
            only("same-origin"),
        ),
        ("access-control-allow-methods", "The methods that it takes.", text()),
        ("access-control-allow-headers", "The headers that a request may bring.", text()),
        ("access-control-max-age", "For how many seconds that holds.", count()),
        ("stream-next-offset", "Where the next read goes on.", text()),
        ("stream-closed", "`true` if nothing comes behind it; else absent.", only("true")),
        ("stream-up-to-date", "`true` if this was all so far; else absent.", only("true")),
        ("stream-cursor", "What to echo in the next live request.", text()),
        ("stream-ttl", "The stream goes after so many seconds without use.", count()),
        ("stream-expires-at", "The stream goes at this time.", schemas.told::<Timestamp>()),
        ("stream-sse-data-encoding", "How the data of events is encoded.", only("base64")),
        (
            header::PRODUCER_EPOCH,
            "The newest life of the producer.",
            schemas.told::<ProducerEpoch>(),
        ),
        (
            header::PRODUCER_SEQUENCE,
            "The newest batch of the producer.",
            schemas.told::<Sequence>(),
        ),
        ("producer-expected-seq", "The batch that should have come.", schemas.told::<Sequence>()),
        ("producer-received-seq", "The batch that came.", schemas.told::<Sequence>()),
        ("x-accel-buffering", "`no`: nothing between may wait for more to come.", only("no")),
    ];
    let header = |(name, description, schema): (&str, &str, Value)| {
        (name.to_owned(), json!({ "description": description, "schema": schema }))
    };
    all.into_iter().map(header).collect()
}
