//! Cursors: where consumers of a log are.
//!
//! Not here: what a consumer does with one (the SDK).

use serde_json::json;

use super::operation::{Example, Operation, TO_A_LOOK, Written};
use super::schemas::Schemas;
use crate::api::error::ErrorCode::{
    BeyondTail, CursorDiffers, CursorsFull, InvalidLogName, LogIdDiffers, ReservedLogName,
    UnknownCursor, UnknownLog,
};
use crate::api::logs::{Cursor, CursorBody, CursorList, CursorsQuery};
use crate::api::reading::LookQuery;
use crate::api::{header, paths};

pub(super) const TAG: &str = "Cursors";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![list(schemas), set(schemas), read(schemas), delete(schemas)]
}

fn billing() -> serde_json::Value {
    json!({ "log": "orders", "name": "billing", "position": 2 })
}

fn set(schemas: &mut Schemas) -> Written {
    let words = (
        "setCursor",
        "Move a cursor",
        "To any position, backwards, too. With `If-Match` only from where it is expected, so that two consumers of one \
         name do not undo each other; with `If-None-Match: *` only if there is none yet.",
    );
    Operation::new(schemas, TAG, ("PUT", paths::CURSOR), words)
        .takes(&[header::LOG_ID, header::IF_MATCH, header::IF_NONE_MATCH])
        .changes()
        .body::<CursorBody>("The next position its consumer wants.")
        .tells::<Cursor>(200, "Where it is now.", &["etag"])
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, LogIdDiffers])
        .fails(&[CursorDiffers, CursorsFull, BeyondTail])
        .example(
            &Example::new("billing", "The first two records are done")
                .with("log", "orders")
                .with("name", "billing")
                .json(json!({ "position": 2 }))
                .told(200, billing()),
        )
        .example(
            &Example::new("expected", "Only from where it was")
                .with("log", "orders")
                .with("name", "billing")
                .with(header::IF_MATCH, "\"2\"")
                .json(json!({ "position": 3 }))
                .told(200, billing()),
        )
        .done()
}

fn list(schemas: &mut Schemas) -> Written {
    let words =
        ("listCursors", "List a log's cursors", "In the order of their names, page by page.");
    Operation::new(schemas, TAG, ("GET", paths::CURSORS), words)
        .query::<CursorsQuery>()
        .takes(&[header::LOG_ID])
        .tells::<CursorList>(200, "A page of cursors.", &[header::AS_OF, header::LIMIT, "link"])
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, UnknownLog, LogIdDiffers])
        .example(
            &Example::new("orders", "A log without one")
                .with("log", "orders")
                .told(200, json!({ "cursors": [] })),
        )
        .done()
}

fn read(schemas: &mut Schemas) -> Written {
    let words = ("readCursor", "Read a cursor", "Where its consumer goes on.");
    Operation::new(schemas, TAG, ("GET", paths::CURSOR), words)
        .query::<LookQuery>()
        .takes(&[header::LOG_ID])
        .tells::<Cursor>(200, "Where it is.", &["etag", header::AS_OF])
        .fails(TO_A_LOOK)
        .fails(&[InvalidLogName, UnknownLog, LogIdDiffers, UnknownCursor])
        .example(
            &Example::new("billing", "A cursor")
                .with("log", "orders")
                .with("name", "billing")
                .told(200, billing()),
        )
        .done()
}

fn delete(schemas: &mut Schemas) -> Written {
    let words = ("deleteCursor", "Delete a cursor", "Its consumer is forgotten; the records stay.");
    Operation::new(schemas, TAG, ("DELETE", paths::CURSOR), words)
        .takes(&[header::LOG_ID])
        .changes()
        .answers(204, "It is gone.", vec![], &[])
        .fails(&[InvalidLogName, ReservedLogName, UnknownLog, LogIdDiffers, UnknownCursor])
        .example(
            &Example::new("billing", "A cursor")
                .with("log", "orders")
                .with("name", "billing")
                .told_nothing(204),
        )
        .done()
}
