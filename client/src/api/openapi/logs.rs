//! Whole logs: listed, made sure of, described, set, deleted.
//!
//! Not here: trimming, sealing and the fence (`keeping`), which come after records.

use serde_json::json;

use super::headers::OF_A_LOG;
use super::operation::{Example, Operation, TO_A_LOOK, Written};
use super::schemas::Schemas;
use crate::api::error::ErrorCode::{
    Damaged, InvalidLogName, LogDiffers, LogIdDiffers, LogsFull, ReservedLogName, UnknownLog,
};
use crate::api::logs::{
    Dropped, EffectQuery, ListQuery, LogDescription, LogList, Settings, SettingsPatch,
};
use crate::api::reading::LookQuery;
use crate::api::{header, paths};

pub(super) const TAG: &str = "Logs";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![
        list(schemas),
        ensure(schemas),
        describe(schemas),
        head(schemas),
        patch(schemas),
        delete(schemas),
    ]
}

fn described(retention_age_ms: u64) -> serde_json::Value {
    json!({
        "log": "orders",
        "log_id": 7,
        "created": "2026-11-23T20:15:57.042Z",
        "first": 0,
        "tail": 0,
        "bytes": 0,
        "sealed": false,
        "settings": { "retention_age_ms": retention_age_ms },
        "root": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    })
}

fn list(schemas: &mut Schemas) -> Written {
    let words = (
        "listLogs",
        "List all logs",
        "In the order of their names, page by page: `next` of one page is `after` of the next one. The limit is capped; \
         the answer tells it.",
    );
    let told = &[header::AS_OF, header::LIMIT, "link"];
    Operation::new(schemas, TAG, ("GET", paths::LOGS), words)
        .query::<ListQuery>()
        .tells::<LogList>(200, "A page of logs.", told)
        .fails(TO_A_LOOK)
        .example(
            &Example::new("first_page", "The first two whose names start so")
                .with("prefix", "shop/")
                .with("limit", 2)
                .told(200, json!({ "logs": [] })),
        )
        .done()
}

fn ensure(schemas: &mut Schemas) -> Written {
    let words = (
        "ensureLog",
        "Make sure that a log exists",
        "There is a log of this name afterwards, with exactly these settings. A log that exists with others is left as \
         it is, and that is told. Names that start with `_` belong to the service.",
    );
    Operation::new(schemas, TAG, ("PUT", paths::LOG), words)
        .takes(&[header::LOG_ID])
        .changes()
        .optional_body::<Settings>("What to set on it; nothing, if there is no body.")
        .tells::<LogDescription>(201, "It is new.", OF_A_LOG)
        .tells::<LogDescription>(200, "It existed already, with these settings.", OF_A_LOG)
        .fails(&[InvalidLogName, ReservedLogName, LogDiffers, LogsFull, UnknownLog, LogIdDiffers])
        .example(
            &Example::new("orders", "A log whose records are trimmed after a week")
                .with("log", "orders")
                .json(json!({ "retention_age_ms": 604_800_000 }))
                .told(201, described(604_800_000)),
        )
        .example(
            &Example::new("defaults", "A log on which nothing is set")
                .with("log", "shop/orders:2025")
                .told(201, json!({ "log": "shop/orders:2025", "settings": {} })),
        )
        .example(
            &Example::new("scratch", "A log for which records are short")
                .with("log", "scratch")
                .json(json!({ "record_bytes_max": 1_000, "content_type": "text/plain" }))
                .told(201, json!({ "log": "scratch" })),
        )
        .example(
            &Example::new("again", "It is so already")
                .with("log", "orders")
                .json(json!({ "retention_age_ms": 604_800_000 }))
                .told(200, described(604_800_000)),
        )
        .example(
            &Example::new("other_settings", "It exists, and is set otherwise")
                .with("log", "orders")
                .json(json!({ "retention_bytes": 1_000_000 }))
                .told_as(
                    409,
                    crate::api::media::PROBLEM,
                    json!({ "status": 409, "code": "log_differs", "log_id": 7 }),
                ),
        )
        .done()
}

const TOLD: &[&str] =
    &[header::LOG_ID, header::FIRST, header::TAIL, header::SEALED, "etag", header::AS_OF];

fn describe(schemas: &mut Schemas) -> Written {
    let words = (
        "describeLog",
        "Describe a log",
        "What it holds, what is set on it, and the root of its Merkle tree. Its `ETag` names its tail: an append can be \
         bound to it.",
    );
    Operation::new(schemas, TAG, ("GET", paths::LOG), words)
        .query::<LookQuery>()
        .takes(&[header::LOG_ID, header::IF_NONE_MATCH])
        .tells::<LogDescription>(200, "The log as it is.", TOLD)
        .unless_known(TOLD)
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, UnknownLog, LogIdDiffers, Damaged])
        .example(
            &Example::new("orders", "A log")
                .with("log", "orders")
                .told(200, described(604_800_000)),
        )
        .example(
            &Example::new("unknown", "There is none of this name").with("log", "nothing").told_as(
                404,
                crate::api::media::PROBLEM,
                json!({ "code": "unknown_log" }),
            ),
        )
        .done()
}

fn head(schemas: &mut Schemas) -> Written {
    let words = (
        "headLog",
        "Look at a log's ends",
        "The headers of its description: where it begins, where it ends, and its tag.",
    );
    Operation::new(schemas, TAG, ("HEAD", paths::LOG), words)
        .query::<LookQuery>()
        .takes(&[header::LOG_ID, header::IF_NONE_MATCH])
        .answers(200, "The log as it is.", vec![], TOLD)
        .unless_known(TOLD)
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, UnknownLog, LogIdDiffers, Damaged])
        .example(&Example::new("orders", "A log").with("log", "orders").told_nothing(200))
        .done()
}

fn patch(schemas: &mut Schemas) -> Written {
    let words = (
        "changeLogSettings",
        "Change a log's settings",
        "What is absent stays as it is; what is `null` is no longer set.",
    );
    Operation::new(schemas, TAG, ("PATCH", paths::LOG), words)
        .takes(&[header::LOG_ID])
        .changes()
        .body::<SettingsPatch>("What is to be set otherwise.")
        .tells::<LogDescription>(200, "The log as it is now.", OF_A_LOG)
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, LogIdDiffers])
        .example(
            &Example::new("a_day", "Trim after a day, and keep no limit of bytes")
                .with("log", "orders")
                .json(json!({ "retention_age_ms": 86_400_000, "retention_bytes": null }))
                .told(200, described(86_400_000)),
        )
        .done()
}

fn delete(schemas: &mut Schemas) -> Written {
    let words = (
        "deleteLog",
        "Delete a log",
        "With all its records, for ever. A log of the same name that is made later is another one.",
    );
    let dropped = |dry_run: bool| {
        json!({
            "log": "scratch",
            "log_id": 9,
            "first": 0,
            "tail": 0,
            "records": 0,
            "bytes": 0,
            "dry_run": dry_run,
        })
    };
    Operation::new(schemas, TAG, ("DELETE", paths::LOG), words)
        .query::<EffectQuery>()
        .takes(&[header::LOG_ID])
        .changes()
        .tells::<Dropped>(200, "What was dropped, or would be.", &[])
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, LogIdDiffers, Damaged])
        .example(
            &Example::new("effect", "Tell what would be dropped")
                .with("log", "scratch")
                .with("dry_run", true)
                .told(200, dropped(true)),
        )
        .example(
            &Example::new("scratch", "Delete it").with("log", "scratch").told(200, dropped(false)),
        )
        .done()
}
