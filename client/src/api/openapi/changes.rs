//! Changes of the membership: planned, begun, watched, cancelled.
//!
//! Not here: who waits to join (`cluster`).

use serde_json::{Value, json};

use super::operation::{Content, Example, Operation, TO_A_CHANGE, Written};
use super::schemas::Schemas;
use crate::api::changes::{Change, ChangeList, ChangeRequest, ChangesQuery};
use crate::api::error::ErrorCode::{
    ChangeEnded, ChangeIsJoint, ChangeUnderWay, InvalidParameter, InvalidWish, OverrideMissing,
    PlanBlocked, PreconditionRequired, StalePlan, UnknownChange, UnknownJoiner, UnknownReplica,
};
use crate::api::logs::EffectQuery;
use crate::api::plans::{Plan, Wish};
use crate::api::{header, media, paths};

pub(super) const TAG: &str = "Changes";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![plan(schemas), begin(schemas), list(schemas), show(schemas), cancel(schemas)]
}

fn wish() -> Value {
    json!({ "lead": { "replica": 2 } })
}

fn planned() -> Value {
    let footing = json!({
        "voters": [1, 2, 3],
        "tolerates": 1,
        "may_fail": 1,
        "has_majority": true,
        "sentence": "3 voters, any 1 may fail",
    });
    json!({
        "wish": wish(),
        "epoch": 9,
        "now": footing,
        "after": footing,
        "joins": [],
        "leaves": [],
        "checks": [{ "id": "P2", "level": "pass", "line": "3 of 3 voters answer and are caught up" }],
        "verdict": "ready",
        "command": "quorate cluster lead 2",
        "curl": "curl …",
    })
}

fn begun() -> Value {
    json!({
        "id": 18,
        "wish": wish(),
        "stage": "joining",
        "epoch": 9,
        "began": "2026-11-23T20:15:57.042Z",
        "by": "somebody",
        "joins": [],
        "leaves": [],
        "voters": [1, 2, 3],
        "steps": [{ "name": "handing leadership over", "state": "waiting" }],
        "can_cancel": true,
    })
}

fn plan(schemas: &mut Schemas) -> Written {
    let words = (
        "planChange",
        "Plan a change",
        "What a wish would mean: who votes and how many may fail, now, meanwhile and after, and what sixteen checks \
         found. Nothing is changed. The plan belongs to one epoch, which a change has to name.",
    );
    Operation::new(schemas, TAG, ("POST", paths::PLANS), words)
        .at_leader()
        .body::<Wish>("What is to become of the membership.")
        .tells::<Plan>(200, "The plan.", &[])
        .leads_to(200, "beginChange", &json!({ "header.if-match": "$response.body#/epoch" }))
        .fails(TO_A_CHANGE)
        .fails(&[UnknownReplica, UnknownJoiner, InvalidWish])
        .example(
            &Example::new("lead", "Another replica is to lead").json(wish()).told(200, planned()),
        )
        .done()
}

fn begin(schemas: &mut Schemas) -> Written {
    let words = (
        "beginChange",
        "Begin a change",
        "The plan is made again; it has to be the one of the epoch that `If-Match` names, and every check that blocks \
         has to be overridden in the way it asks for. The change goes on by itself, whoever leads.",
    );
    let wished = || json!({ "wish": wish() });
    Operation::new(schemas, TAG, ("POST", paths::CHANGES), words)
        .query::<EffectQuery>()
        .takes(&[header::IF_MATCH])
        .matched_by(super::headers::QUOTED_OR_BARE)
        .changes()
        .body::<ChangeRequest>("What is wished for, and which checks are overridden.")
        .tells::<Plan>(200, "Nothing was begun: this is the plan.", &[])
        .tells::<Change>(202, "It is begun.", &["location"])
        .leads_to(202, "showChange", &json!({ "path.change": "$response.body#/id" }))
        .leads_to(202, "cancelChange", &json!({ "path.change": "$response.body#/id" }))
        .fails(&[UnknownReplica, UnknownJoiner, InvalidWish, PreconditionRequired, StalePlan])
        .fails(&[PlanBlocked, OverrideMissing, ChangeUnderWay])
        .example(
            &Example::new("effect", "Tell what would be done")
                .with("dry_run", true)
                .with(header::IF_MATCH, "\"9\"")
                .json(wished())
                .told(200, planned()),
        )
        .example(
            &Example::new("lead", "Another replica is to lead")
                .with(header::IF_MATCH, "\"9\"")
                .json(wished())
                .told(202, begun()),
        )
        .done()
}

fn list(schemas: &mut Schemas) -> Written {
    let words = (
        "listChanges",
        "List all changes",
        "Newest first, page by page: `next` of one page is `before` of the next one. They are remembered for ever.",
    );
    Operation::new(schemas, TAG, ("GET", paths::CHANGES), words)
        .query::<ChangesQuery>()
        .tells::<ChangeList>(200, "A page of changes.", &[])
        .example(
            &Example::new("newest", "The newest one")
                .with("limit", 1)
                .told(200, json!({ "changes": [begun()] })),
        )
        .done()
}

fn show(schemas: &mut Schemas) -> Written {
    let words = (
        "showChange",
        "Show a change, or watch it",
        "As it is now; asked for `text/event-stream`, whole at once and whenever it is another, until it is over. Such \
         an answer may end earlier, when another replica leads: asking again goes on.",
    );
    let change = schemas.told::<Change>();
    let event = json!({
        "type": "object",
        "properties": {
            "event": { "const": Change::EVENT },
            "data": {
                "type": "string",
                "contentMediaType": media::JSON,
                "contentSchema": change,
            },
        },
        "required": ["event", "data"],
    });
    let contents = vec![Content::json(change), Content::items(media::EVENTS, event)];
    Operation::new(schemas, TAG, ("GET", paths::CHANGE), words)
        .at_leader()
        .answers(200, "The change.", contents, &["x-accel-buffering"])
        .fails(&[InvalidParameter, UnknownChange])
        .example(&Example::new("lead", "A change").with("change", 18).told(200, begun()))
        .example(&Example::new("watch", "Watch it until it is over").with("change", 18).told_as(
            200,
            media::EVENTS,
            format!("event: change\ndata: {}\n\n", begun()),
        ))
        .done()
}

fn cancel(schemas: &mut Schemas) -> Written {
    let words = (
        "cancelChange",
        "Cancel a change",
        "Until its joint membership is decided. Who had come leaves again.",
    );
    Operation::new(schemas, TAG, ("DELETE", paths::CHANGE), words)
        .query::<EffectQuery>()
        .changes()
        .tells::<Change>(200, "The change as it is now.", &[])
        .fails(&[UnknownChange, ChangeIsJoint, ChangeEnded])
        .example(
            &Example::new("effect", "Tell which one would be cancelled")
                .with("change", 18)
                .with("dry_run", true)
                .told(200, begun()),
        )
        .done()
}
