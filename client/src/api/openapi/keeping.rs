//! What a log keeps and lets in: trimmed, fenced, sealed.
//!
//! Not here: retention, which is set on a log (`logs`).

use serde_json::json;

use super::operation::{Example, Operation, Written};
use super::schemas::Schemas;
use crate::api::error::ErrorCode::{
    BeyondTail, Damaged, InvalidLogName, LogIdDiffers, LogSealed, ReservedLogName, UnknownLog,
};
use crate::api::logs::{Dropped, EffectQuery, FenceBody, NoBody, Sealed, TrimRequest};
use crate::api::{header, paths};

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![trim(schemas), fence(schemas), seal(schemas)]
}

fn trim(schemas: &mut Schemas) -> Written {
    let words = (
        "trimLog",
        "Drop a log's oldest records",
        "All before a position. What is dropped is gone on every replica; reading there is answered with 410 from then \
         on.",
    );
    let dropped = |dry_run: bool| {
        json!({
            "log": "orders",
            "log_id": 7,
            "first": 1,
            "tail": 4,
            "records": 1,
            "bytes": 5,
            "dry_run": dry_run,
        })
    };
    let request = || json!({ "to": 1 });
    Operation::new(schemas, super::logs::TAG, ("POST", paths::TRIM), words)
        .query::<EffectQuery>()
        .takes(&[header::LOG_ID])
        .changes()
        .body::<TrimRequest>("The first position to keep.")
        .tells::<Dropped>(200, "What was dropped, or would be.", &[])
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, LogIdDiffers, BeyondTail, Damaged])
        .example(
            &Example::new("effect", "Tell what would be dropped")
                .with("log", "orders")
                .with("dry_run", true)
                .json(request())
                .told(200, dropped(true)),
        )
        .example(
            &Example::new("first_record", "Drop the first record")
                .with("log", "orders")
                .json(request())
                .told(200, dropped(false)),
        )
        .done()
}

fn fence(schemas: &mut Schemas) -> Written {
    let words = (
        "setFence",
        "Set a log's fence",
        "An append that names another fence is refused from then on, so that a writer who was replaced cannot go on. \
         `null` takes the fence away.",
    );
    let fence = |fence: Option<&str>| json!({ "fence": fence });
    Operation::new(schemas, super::logs::TAG, ("PUT", paths::FENCE), words)
        .takes(&[header::LOG_ID])
        .changes()
        .body::<FenceBody>("The fence, or none.")
        .tells::<FenceBody>(200, "The fence as it is now.", &[])
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, LogIdDiffers, LogSealed])
        .example(
            &Example::new("second_writer", "Another writer takes over")
                .with("log", "orders")
                .json(fence(Some("writer-2")))
                .told(200, fence(Some("writer-2"))),
        )
        .example(
            &Example::new("none", "Take it away")
                .with("log", "orders")
                .json(fence(None))
                .told(200, fence(None)),
        )
        .done()
}

fn seal(schemas: &mut Schemas) -> Written {
    let words = (
        "sealLog",
        "End a log",
        "It takes no append any more, ever. Whoever follows it is told its end. Sealing it again changes nothing.",
    );
    Operation::new(schemas, super::logs::TAG, ("POST", paths::SEAL), words)
        .takes(&[header::LOG_ID])
        .changes()
        .optional_body::<NoBody>("Nothing, or an object without members.")
        .tells::<Sealed>(200, "Where it ends.", &[])
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, LogIdDiffers])
        .example(
            &Example::new("last_year", "Nothing more comes")
                .with("log", "shop/orders:2025")
                .told(200, json!({ "log": "shop/orders:2025", "log_id": 8, "tail": 0 })),
        )
        .done()
}
