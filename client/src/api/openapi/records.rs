//! Records: appended, read, waited for, followed, and one by its position.
//!
//! Not here: logs as a whole (`logs`).

use serde_json::{Value, json};

use super::forms::{AppendForm, NewRecordForm};
use super::operation::{AT_LEADER, Content, Example, Operation, TO_A_LOOK, Written};
use super::schemas::Schemas;
use crate::api::error::ErrorCode::{
    BatchTooLarge, BeyondTail, BodyTooLarge, CrossSite, Damaged, DiskFull, EmptyBatch, Fenced,
    InvalidBody, InvalidLogName, InvalidParameter, KeyBodyDiffers, LogIdDiffers, LogSealed,
    LogsFull, NotAcceptable, Overloaded, ProducerEpochOld, ProducersFull, RecordHeadersTooLarge,
    RecordTooLarge, ReservedLogName, SequenceBodyDiffers, SequenceForgotten, SequenceGap,
    StorageBehind, TailDiffers, Trimmed, UnknownLog,
};
use crate::api::error::Problem;
use crate::api::reading::{LookQuery, ReadQuery};
use crate::api::records::{
    Appended, EndEvent, FollowEvent, HeartbeatEvent, ReadAnswer, RecordJson, RecordsEvent,
};
use crate::api::{header, media, paths};

pub(super) const TAG: &str = "Records";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![append(schemas), read(schemas), record(schemas)]
}

const CONDITIONS: &[&str] = &[
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::FENCE,
    header::LOG_ID,
    header::PRODUCER_ID,
    header::PRODUCER_EPOCH,
    header::PRODUCER_SEQUENCE,
    header::IDEMPOTENCY_KEY,
];

fn appended(first: u64, next: u64) -> Value {
    json!({
        "log": "orders",
        "log_id": 7,
        "first": first,
        "next": next,
        "tail": next,
        "time": "2026-11-23T20:15:57.042Z",
    })
}

fn append(schemas: &mut Schemas) -> Written {
    let words = (
        "appendRecords",
        "Append records",
        "They get the next positions, all or none of them. The answer comes once a majority of the replicas keeps them. \
         Any body that is not JSON, NDJSON or frames is one record as it is, with its content type and the headers of a \
         CloudEvent (`ce-…`) as headers; with `ce-specversion` every body is one.\n\n\
         Conditions stand in headers. A producer's sequence or an idempotency key makes a repetition safe: it is \
         answered with the positions of the first time.",
    );
    let items = schemas.asked::<NewRecordForm>();
    let contents = vec![
        Content::json(schemas.asked::<AppendForm>()),
        Content::items(media::NDJSON, items),
        Content::bytes(media::FRAMES),
        Content::bytes(media::BYTES),
    ];
    Operation::new(schemas, TAG, ("POST", paths::RECORDS), words)
        .takes(CONDITIONS)
        .matched_by(super::headers::QUOTED_OR_TAG)
        .at_leader()
        .bodies("The records.", contents)
        .tells::<Appended>(200, "They are stored.", &[header::IDEMPOTENCY_REPLAYED])
        .fails(AT_LEADER)
        .fails(&[
            InvalidLogName,
            InvalidParameter,
            InvalidBody,
            CrossSite,
            ReservedLogName,
            UnknownLog,
        ])
        .fails(&[EmptyBatch, BodyTooLarge, BatchTooLarge, RecordTooLarge, RecordHeadersTooLarge])
        .fails(&[LogSealed, LogsFull, LogIdDiffers, TailDiffers, Fenced])
        .fails(&[
            ProducerEpochOld,
            SequenceGap,
            SequenceBodyDiffers,
            SequenceForgotten,
            KeyBodyDiffers,
        ])
        .fails(&[Overloaded, ProducersFull, StorageBehind, DiskFull])
        .example(
            &Example::new("json", "Two records as JSON, one with a header")
                .with("log", "orders")
                .json(json!({ "records": [
                    { "data": "hello" },
                    { "json": { "order": 1 }, "headers": [["type", "order"]] },
                ] }))
                .told(200, appended(0, 2)),
        )
        .example(
            &Example::new("lines", "One on each line, only at this tail, safe to repeat")
                .with("log", "orders")
                .with(header::IF_MATCH, "\"2\"")
                .with(header::PRODUCER_ID, "checkout-1")
                .with(header::PRODUCER_EPOCH, 0)
                .with(header::PRODUCER_SEQUENCE, 0)
                .body(media::NDJSON, "{\"data_base64\":\"/w==\"}\n")
                .told(200, appended(2, 3)),
        )
        .example(
            &Example::new("one", "Any other body is one record")
                .with("log", "orders")
                .with(header::IDEMPOTENCY_KEY, "5f1c")
                .body(media::BYTES, "paid")
                .told(200, appended(3, 4)),
        )
        .example(
            &Example::new("moved_on", "Somebody else was faster")
                .with("log", "orders")
                .with(header::IF_MATCH, "\"0\"")
                .json(json!({ "records": [{ "data": "late" }] }))
                .told_as(412, media::PROBLEM, json!({ "code": "tail_differs", "tail": 4 })),
        )
        .done()
}

const OF_A_READ: &[&str] = &[
    header::AS_OF,
    header::LOG_ID,
    header::FIRST,
    header::NEXT,
    header::TAIL,
    header::SEALED,
    header::LIMIT,
    "etag",
    "x-accel-buffering",
];

fn events(schemas: &mut Schemas) -> Value {
    let shown = [
        (FollowEvent::RECORDS, schemas.told::<RecordsEvent>()),
        (FollowEvent::HEARTBEAT, schemas.told::<HeartbeatEvent>()),
        (FollowEvent::ERROR, schemas.told::<Problem>()),
        (FollowEvent::END, schemas.told::<EndEvent>()),
    ];
    let event = |(name, schema)| {
        json!({
            "type": "object",
            "properties": {
                "event": { "const": name },
                "id": { "type": "string", "description": "Where to go on, for `Last-Event-ID`." },
                "data": {
                    "type": "string",
                    "contentMediaType": media::JSON,
                    "contentSchema": schema,
                },
            },
            "required": ["event", "id", "data"],
        })
    };
    json!({ "oneOf": shown.map(event) })
}

fn read(schemas: &mut Schemas) -> Written {
    let words = (
        "readRecords",
        "Read, wait for, or follow records",
        "From a position, a number of records before the tail, a time, or where a log begins or ends. At the tail the \
         list is empty, at once or after `wait`; beyond it there is nothing to wait for. `Accept` chooses the form, \
         JSON if nothing is said; asked for `text/event-stream` it is a follow, which brings records as they come, does \
         not take `wait`, ends after `limit` records, and goes on behind `Last-Event-ID`.",
    );
    let answer = schemas.told::<ReadAnswer>();
    let (item, event) = (schemas.told::<RecordJson>(), events(schemas));
    let contents = vec![
        Content::json(answer),
        Content::items(media::NDJSON, item),
        Content::bytes(media::FRAMES),
        Content::items(media::EVENTS, event),
    ];
    let records = json!({
        "log": "orders",
        "log_id": 7,
        "first": 0,
        "next": 2,
        "tail": 4,
        "sealed": false,
        "records": [
            { "position": 0, "time": "2026-11-23T20:15:57.042Z", "data": "hello" },
            {
                "position": 1,
                "time": "2026-11-23T20:15:57.042Z",
                "headers": [["type", "order"]],
                "data": "{\"order\":1}",
            },
        ],
    });
    Operation::new(schemas, TAG, ("GET", paths::RECORDS), words)
        .query::<ReadQuery>()
        .takes(&[header::LOG_ID, header::IF_NONE_MATCH, header::LAST_EVENT_ID])
        .answers(200, "Records, without a gap.", contents, OF_A_READ)
        .unless_known(OF_A_READ)
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, UnknownLog, NotAcceptable, Trimmed, BeyondTail, LogIdDiffers, Damaged])
        .example(
            &Example::new("json", "The first two")
                .with("log", "orders")
                .with("from", "first")
                .with("limit", 2)
                .told(200, records),
        )
        .example(
            &Example::new("lines", "The last one, one on each line")
                .with("log", "orders")
                .with("from", "-1")
                .told_as(
                    200,
                    media::NDJSON,
                    "{\"position\":3,\"time\":\"2026-11-23T20:15:57.042Z\",\"data\":\"paid\"}\n",
                ),
        )
        .example(
            &Example::new("nothing_new", "Wait a moment for a record that does not come")
                .with("log", "orders")
                .with("from", "tail")
                .with("wait", "100ms")
                .told(200, json!({ "records": [] })),
        )
        .example(
            &Example::new("follow", "Follow from a position until one record has come")
                .with("log", "orders")
                .with("from", "3")
                .with("limit", 1)
                .told_as(
                    200,
                    media::EVENTS,
                    "event: records\nid: AQAAAAE\ndata: {\"next\":4,\"tail\":4,\"records\":[{\"position\":3,\
                     \"time\":\"2026-11-23T20:15:57.042Z\",\"data\":\"paid\"}]}\n\n\
                     event: end\nid: AQAAAAE\ndata: {\"next\":4,\"reason\":\"limit\"}\n\n",
                ),
        )
        .example(
            &Example::new("beyond", "There is nothing yet to wait for")
                .with("log", "orders")
                .with("from", "1000")
                .told_as(416, media::PROBLEM, json!({ "code": "beyond_tail", "tail": 4 })),
        )
        .done()
}

const OF_A_RECORD: &[&str] = &[
    header::AS_OF,
    header::LOG_ID,
    header::POSITION,
    header::TIME,
    header::RECORD_HEADERS,
    "etag",
    "content-disposition",
    "content-security-policy",
];

fn record(schemas: &mut Schemas) -> Written {
    let words = (
        "readRecord",
        "Read one record, byte for byte",
        "Its body is the body of the answer, with the content type that is set on its log, or \
         `application/octet-stream`; the rest of it stands in headers. A browser keeps it as a file.",
    );
    Operation::new(schemas, TAG, ("GET", paths::RECORD), words)
        .query::<LookQuery>()
        .takes(&[header::LOG_ID, header::IF_NONE_MATCH])
        .answers(200, "The record.", vec![Content::bytes("*/*")], OF_A_RECORD)
        .unless_known(OF_A_RECORD)
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, UnknownLog, Trimmed, BeyondTail, LogIdDiffers, Damaged])
        .example(
            &Example::new("first", "The first record")
                .with("log", "orders")
                .with("position", 0)
                .told_as(200, "*/*", "hello"),
        )
        .done()
}
