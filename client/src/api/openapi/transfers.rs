//! State transfers of the replica that answers: what they are at, and how fast they may go.
//!
//! Not here: how state is transferred (the service).

use serde_json::json;

use super::operation::{Example, Operation, TO_A_CHANGE, Written};
use super::schemas::Schemas;
use crate::api::error::ErrorCode::{InvalidParameter, TransferNotReceived, UnknownTransfer};
use crate::api::transfers::{TransferChange, TransferInfo, TransferList};
use crate::api::{media, paths};

pub(super) const TAG: &str = "Transfers";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![list(schemas), show(schemas), turn(schemas)]
}

fn list(schemas: &mut Schemas) -> Written {
    let words = (
        "listTransfers",
        "List the state transfers",
        "Those under way that this replica takes part in, and the last ones that ended, newest first.",
    );
    Operation::new(schemas, TAG, ("GET", paths::TRANSFERS), words)
        .tells::<TransferList>(200, "The transfers.", &[])
        .fails(&[InvalidParameter])
        .example(
            &Example::new("none", "There was none lately").told(200, json!({ "transfers": [] })),
        )
        .done()
}

fn show(schemas: &mut Schemas) -> Written {
    let words = (
        "showTransfer",
        "Show a state transfer",
        "How far it is, from whom, how fast, and what it waits for.",
    );
    Operation::new(schemas, TAG, ("GET", paths::TRANSFER), words)
        .tells::<TransferInfo>(200, "The transfer.", &[])
        .fails(&[InvalidParameter, UnknownTransfer])
        .example(
            &Example::new("unknown", "There is none of this id here")
                .with("transfer", "3-1")
                .told_as(404, media::PROBLEM, json!({ "code": "unknown_transfer" })),
        )
        .done()
}

fn turn(schemas: &mut Schemas) -> Written {
    let words = (
        "turnTransfer",
        "Limit or hold a state transfer",
        "Only at the replica that receives it, and as long as it goes on.",
    );
    Operation::new(schemas, TAG, ("PATCH", paths::TRANSFER), words)
        .body::<TransferChange>("What is to be different.")
        .tells::<TransferInfo>(200, "The transfer as it is now.", &[])
        .fails(TO_A_CHANGE)
        .fails(&[UnknownTransfer, TransferNotReceived])
        .example(
            &Example::new("unknown", "There is none of this id here")
                .with("transfer", "3-1")
                .json(json!({ "bytes_per_second": 1_000_000, "paused": false }))
                .told_as(404, media::PROBLEM, json!({ "code": "unknown_transfer" })),
        )
        .done()
}
