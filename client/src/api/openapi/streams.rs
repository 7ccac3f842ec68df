//! Streams: logs as the Durable Streams protocol has them. What it means stands in that protocol; this is its shape.
//!
//! Not here: what a browser asks before a page of another origin may (nothing is allowed to one).

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::operation::{AT_LEADER, Content, Example, Operation, TO_A_CHANGE, TO_A_LOOK, Written};
use super::schemas::Schemas;
use crate::api::error::ErrorCode::{
    BatchTooLarge, ContentTypeDiffers, Damaged, DiskFull, InvalidLogName, KeyBodyDiffers,
    LogDiffers, LogSealed, LogsFull, OrderKeyOld, ProducerEpochOld, ProducersFull, RecordTooLarge,
    ReservedLogName, SequenceGap, StorageBehind, StreamReplaced, Trimmed, UnknownLog,
};
use crate::api::{header, media, paths};

pub(super) const TAG: &str = "Streams";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![
        create(schemas),
        append(schemas),
        read(schemas),
        metadata(schemas),
        delete(schemas),
        preflight(schemas),
    ]
}

/// How a stream is read.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is described, and never made")]
struct StreamQuery {
    /// Where to begin: an offset that was told, `-1` for the beginning, `now` for the end.
    #[schemars(default)]
    offset: Option<StreamOffset>,
    /// Whether to wait for what comes; then it has to be said from where.
    #[schemars(default)]
    live: Option<StreamLive>,
    /// What the last answer told as `stream-cursor`.
    #[schemars(default)]
    cursor: Option<String>,
}

/// A place in a stream; to its reader no more than a text that sorts as the places do.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^(-1|now|[0-9a-f]{24}_[0-9a-f]{16}_[0-9a-f]{16})$"))]
#[expect(dead_code, reason = "it is described, and never made")]
struct StreamOffset(String);

/// How to wait.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "it is described, and never made")]
enum StreamLive {
    /// Once, for a while: an answer without a body says that nothing came.
    LongPoll,
    /// As long as the connection is served, by events.
    Sse,
}

/// The largest number of a producer that every client can hold.
const PRODUCER_NUMBER_MAX: u64 = (1 << 53) - 1;
const GUARDED: &str = "cross-origin-resource-policy";
/// What is told of a stream.
const TOLD: &[&str] = &[
    GUARDED,
    header::AS_OF,
    "stream-next-offset",
    "stream-closed",
    "stream-ttl",
    "stream-expires-at",
];
/// What is told with what is in it.
const TOLD_OF_A_READ: &[&str] = &[
    GUARDED,
    header::AS_OF,
    "stream-next-offset",
    "stream-closed",
    "stream-ttl",
    "stream-expires-at",
    "stream-up-to-date",
    "stream-cursor",
    "stream-sse-data-encoding",
    "etag",
    "content-disposition",
    "content-security-policy",
    "x-accel-buffering",
];
/// What is told of an append.
const TOLD_OF_AN_APPEND: &[&str] = &[
    GUARDED,
    "stream-next-offset",
    "stream-closed",
    header::PRODUCER_EPOCH,
    header::PRODUCER_SEQUENCE,
];
/// What is told of one that was refused.
const TOLD_OF_A_REFUSAL: &[&str] = &[
    GUARDED,
    "stream-next-offset",
    "stream-closed",
    header::PRODUCER_EPOCH,
    "producer-expected-seq",
    "producer-received-seq",
];

/// What may be in a stream: anything, and as its content type says.
fn messages() -> Vec<Content> {
    vec![Content::text("text/plain"), Content::json(json!(true)), Content::bytes(media::BYTES)]
}

fn create(schemas: &mut Schemas) -> Written {
    let words = (
        "createStream",
        "Create a stream",
        "Makes sure that there is such a stream: of this content type, with this lifetime, closed or not. It begins with the \
         messages of the body, if it is new. A stream is a log, and one of its messages a record; of \
         `application/json`, each element of an array is one.",
    );
    Operation::new(schemas, TAG, ("PUT", paths::STREAM), words)
        .takes(&["stream-ttl", "stream-expires-at", "stream-closed", "from"])
        .bodies("Its first messages, or nothing.", messages())
        .body_is_optional()
        .answers(201, "It is new.", vec![], &[TOLD, &["location"]].concat())
        .answers(200, "It is there already, and like that.", vec![], TOLD)
        .errors_tell(&[GUARDED])
        .fails(TO_A_CHANGE)
        .fails(AT_LEADER)
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, ReservedLogName, LogDiffers, LogsFull])
        .fails(&[RecordTooLarge, BatchTooLarge, StorageBehind, DiskFull])
        .example(
            &Example::new("text", "A stream of text")
                .with("log", "answers")
                .body("text/plain", "hello ")
                .told_nothing(201),
        )
        .example(
            &Example::new("forgotten", "One that goes when nobody has used it for an hour")
                .with("log", "draft")
                .with("stream-ttl", "3600")
                .body("text/plain", "")
                .told_nothing(201),
        )
        .done()
}

fn append(schemas: &mut Schemas) -> Written {
    let words = (
        "appendToStream",
        "Append to a stream, or close it",
        "The body has the content type of the stream. A batch that a producer sent before is answered as stored, whatever \
         was in it. With `stream-closed: true` nothing comes behind it.",
    );
    Operation::new(schemas, TAG, ("POST", paths::STREAM), words)
        .takes(&[header::PRODUCER_ID, header::PRODUCER_EPOCH, header::PRODUCER_SEQUENCE])
        .up_to(PRODUCER_NUMBER_MAX, &[header::PRODUCER_EPOCH, header::PRODUCER_SEQUENCE])
        .takes(&[header::IDEMPOTENCY_KEY, "stream-seq", "stream-closed"])
        .bodies("One message; of `application/json`, one or an array of some.", messages())
        .body_is_optional()
        .answers(204, "It is stored.", vec![], TOLD_OF_AN_APPEND)
        .answers(200, "It is stored, as the next batch of its producer.", vec![], TOLD_OF_AN_APPEND)
        .errors_tell(TOLD_OF_A_REFUSAL)
        .fails(TO_A_CHANGE)
        .fails(AT_LEADER)
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, LogSealed, ContentTypeDiffers])
        .fails(&[ProducerEpochOld, SequenceGap, OrderKeyOld, KeyBodyDiffers, LogsFull])
        .fails(&[RecordTooLarge, BatchTooLarge, ProducersFull, StorageBehind, DiskFull])
        .example(
            &Example::new("text", "One message more")
                .with("log", "answers")
                .body("text/plain", "world")
                .told_nothing(204),
        )
        .done()
}

fn events() -> Value {
    let event = |name: &str, about: &str| {
        json!({
            "type": "object",
            "properties": {
                "event": { "const": name },
                "data": { "type": "string", "description": about },
            },
            "required": ["event", "data"],
        })
    };
    json!({ "oneOf": [
        event("data", "Messages: as they are, or in base64 if they are neither text nor JSON."),
        event("control", "Where to go on, as JSON."),
    ] })
}

fn read(schemas: &mut Schemas) -> Written {
    let words = (
        "readStream",
        "Read, wait for, or follow a stream",
        "From an offset; with `live=long-poll` it waits for what comes next, with `live=sse` it brings it by events for a \
         minute.",
    );
    let contents = vec![Content::bytes("*/*"), Content::items(media::EVENTS, events())];
    Operation::new(schemas, TAG, ("GET", paths::STREAM), words)
        .query::<StreamQuery>()
        .takes(&[header::IF_NONE_MATCH])
        .answers(200, "What is there.", contents, TOLD_OF_A_READ)
        .answers(204, "Nothing has come.", vec![], TOLD_OF_A_READ)
        .unless_known(TOLD_OF_A_READ)
        .errors_tell(&[GUARDED])
        .fails(AT_LEADER)
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, Trimmed, StreamReplaced, Damaged])
        .example(&Example::new("all", "All that is there").with("log", "answers").told_as(
            200,
            "*/*",
            "hello world",
        ))
        .example(
            &Example::new("unknown", "There is none of this name").with("log", "nothing").told_as(
                404,
                media::PROBLEM,
                json!({ "code": "unknown_log" }),
            ),
        )
        .done()
}

fn metadata(schemas: &mut Schemas) -> Written {
    let words = (
        "headStream",
        "Look at a stream's end",
        "Its content type, where its end is, whether it is closed, and how long it lives. This is no use of it.",
    );
    Operation::new(schemas, TAG, ("HEAD", paths::STREAM), words)
        .answers(200, "The stream as it is.", vec![], TOLD)
        .errors_tell(&[GUARDED])
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, Damaged])
        .example(&Example::new("end", "A stream").with("log", "answers").told_nothing(200))
        .done()
}

fn delete(schemas: &mut Schemas) -> Written {
    let words = (
        "deleteStream",
        "Delete a stream",
        "With all its messages, for ever. A stream of the same name that is made later is another one.",
    );
    Operation::new(schemas, TAG, ("DELETE", paths::STREAM), words)
        .takes(&["from"])
        .answers(204, "It is gone.", vec![], &[GUARDED])
        .errors_tell(&[GUARDED])
        .fails(TO_A_CHANGE)
        .fails(AT_LEADER)
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog])
        .example(&Example::new("draft", "Delete it").with("log", "draft").told_nothing(204))
        .done()
}

fn preflight(schemas: &mut Schemas) -> Written {
    let words = (
        "streamOptions",
        "Ask what a stream takes",
        "The methods and headers of the protocol. No origin is named, so a page of another one asks in vain.",
    );
    let told = [
        GUARDED,
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-max-age",
    ];
    Operation::new(schemas, TAG, ("OPTIONS", paths::STREAM), words)
        .answers(204, "What it takes.", vec![], &told)
        .errors_tell(&[GUARDED])
        .fails(&[InvalidLogName, ReservedLogName])
        .example(&Example::new("any", "Of any name").with("log", "answers").told_nothing(204))
        .done()
}
