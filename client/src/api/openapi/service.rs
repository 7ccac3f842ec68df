//! The process that answers: what it did, how it is, what it is set to, and what it can be asked.
//!
//! Not here: the group as a whole (`cluster`).

use serde_json::{Value, json};

use super::operation::{Content, Example, Operation, TO_A_LOOK, Written};
use super::schemas::Schemas;
use crate::api::activity::{Activity, ActivityList, ActivityQuery};
use crate::api::cluster::{Readiness, ReadinessQuery};
use crate::api::error::ErrorCode::{Damaged, InvalidParameter};
use crate::api::performance::{Performance, PerformanceQuery};
use crate::api::settings::SettingList;
use crate::api::{header, media, paths};

pub(super) const TAG: &str = "Service";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![
        activity(schemas),
        performance(schemas),
        settings(schemas),
        live(schemas, ("liveness", "Whether the process lives"), paths::LIVE),
        live(schemas, ("health", "Whether the process lives, by another name"), paths::HEALTH),
        ready(schemas),
        metrics(schemas),
        document(schemas),
        page(
            schemas,
            ("reference", "Read this document", "As a page for people."),
            paths::REFERENCE,
        ),
        error_page(schemas),
    ]
}

fn activity(schemas: &mut Schemas) -> Written {
    let words = (
        "listActivity",
        "Show who did what",
        "Newest first, page by page: `next` of one page, which also stands in a header, is `before` of the next one. It \
         is kept for ever, in the log `_activity`, which can be read and followed as any other.",
    );
    let item = schemas.told::<Activity>();
    let list = schemas.told::<ActivityList>();
    let contents = vec![Content::json(list), Content::items(media::NDJSON, item)];
    Operation::new(schemas, TAG, ("GET", paths::ACTIVITY), words)
        .query::<ActivityQuery>()
        .answers(200, "A page of acts.", contents, &[header::AS_OF, header::NEXT])
        .fails(TO_A_LOOK)
        .fails(&[Damaged])
        .example(
            &Example::new("deleted", "The last log that was deleted")
                .with("kind", "log_deleted")
                .with("limit", 1)
                .told(
                    200,
                    json!({ "activity": [{
                        "position": 12,
                        "time": "2026-11-23T20:15:57.042Z",
                        "by": "somebody",
                        "act": { "log_deleted": { "log": "scratch", "log_id": 9, "records": 0 } },
                    }] }),
                ),
        )
        .example(&Example::new("lines", "One on each line").with("limit", 1).told_as(
            200,
            media::NDJSON,
            "{\"position\":12,\"time\":\"2026-11-23T20:15:57.042Z\",\"by\":\"somebody\",\"act\":{}}\n",
        ))
        .done()
}

fn performance(schemas: &mut Schemas) -> Written {
    let words = (
        "showPerformance",
        "Show what was done lately and how long it took",
        "Points of equal length, the newest last; kept in memory by each replica for itself.",
    );
    Operation::new(schemas, TAG, ("GET", paths::PERFORMANCE), words)
        .query::<PerformanceQuery>()
        .tells::<Performance>(200, "The points.", &[])
        .example(&Example::new("seconds", "Second by second").with("step", "1s").told(
            200,
            json!({
                "replica": 1,
                "step": "1s",
                "until": "2026-11-23T20:15:57.042Z",
                "points": [{ "appends": 0, "records": 0, "bytes": 0, "syncs": 0, "applied": 40 }],
            }),
        ))
        .done()
}

fn settings(schemas: &mut Schemas) -> Written {
    let words = (
        "showSettings",
        "Show the settings",
        "With which this replica runs, and who gave each of them. There is nothing secret among them.",
    );
    Operation::new(schemas, TAG, ("GET", paths::SETTINGS), words)
        .tells::<SettingList>(200, "The settings.", &[])
        .fails(&[InvalidParameter])
        .example(&Example::new("all", "All of them").told(
            200,
            json!({ "settings": [{
                "key": "zone",
                "value": "",
                "origin": "default",
                "is_given": false,
                "about": "Where this replica stands.",
            }] }),
        ))
        .done()
}

fn live(
    schemas: &mut Schemas,
    (id, summary): (&'static str, &'static str),
    path: &'static str,
) -> Written {
    let words = (id, summary, "It says nothing of whether it can serve.");
    Operation::new(schemas, TAG, ("GET", path), words)
        .answers(200, "It does.", vec![Content::text(media::TEXT)], &[])
        .example(&Example::new("alive", "It lives").told_as(200, media::TEXT, "alive\n"))
        .done()
}

fn ready(schemas: &mut Schemas) -> Written {
    let words = (
        "readiness",
        "Whether the process can serve now",
        "In one word and the checks that failed, or check by check.",
    );
    let checks = schemas.told::<Readiness>();
    let contents = || vec![Content::text(media::TEXT), Content::json(checks.clone())];
    let readiness = json!({
        "is_ready": true,
        "checks": [{ "name": "member", "is_passed": true, "detail": "this process belongs to a cluster" }],
    });
    Operation::new(schemas, TAG, ("GET", paths::READY), words)
        .query::<ReadinessQuery>()
        .answers(200, "It can.", contents(), &[])
        .answers(503, "It cannot.", contents(), &[])
        .example(
            &Example::new("append", "Appends through it can succeed")
                .with("for", "append")
                .told_as(200, media::TEXT, "ready\n"),
        )
        .example(
            &Example::new("verbose", "Check by check").with("verbose", "true").told(200, readiness),
        )
        .done()
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn metrics(schemas: &mut Schemas) -> Written {
    let words = (
        "metrics",
        "Show the metrics",
        "In the Prometheus text format, or as OpenMetrics for who prefers that.",
    );
    let contents = vec![Content::text(PROMETHEUS), Content::text(OPEN_METRICS)];
    Operation::new(schemas, TAG, ("GET", paths::METRICS), words)
        .answers(200, "All metrics.", contents, &[])
        .example(&Example::new("prometheus", "As Prometheus reads them").told_as(
            200,
            PROMETHEUS,
            "# TYPE quorate_applied_index gauge\n",
        ))
        .example(&Example::new("openmetrics", "As OpenMetrics").told_as(
            200,
            OPEN_METRICS,
            "# EOF\n",
        ))
        .done()
}

fn document(schemas: &mut Schemas) -> Written {
    let words = ("openapi", "Show this document", "In OpenAPI 3.2.");
    let content = Content::json(json!({
        "type": "object",
        "properties": { "openapi": { "const": "3.2.0" } },
        "required": ["openapi", "info", "paths", "components"],
    }));
    Operation::new(schemas, TAG, ("GET", paths::OPENAPI), words)
        .answers(200, "The document.", vec![content], &[])
        .fails(&[InvalidParameter])
        .example(&Example::new("all", "All of it").told(200, json!({ "openapi": "3.2.0" })))
        .done()
}

fn page(
    schemas: &mut Schemas,
    words: (&'static str, &'static str, &'static str),
    path: &'static str,
) -> Written {
    Operation::new(schemas, TAG, ("GET", path), words)
        .answers(200, "The page.", vec![Content::text(HTML)], OF_A_PAGE)
        .example(&Example::new("page", "The page").told_as(200, HTML, "<!doctype html>"))
        .done()
}

const HTML: &str = "text/html; charset=utf-8";
const OF_A_PAGE: &[&str] = &[
    "content-security-policy",
    "referrer-policy",
    "cross-origin-opener-policy",
    "permissions-policy",
];

fn error_page(schemas: &mut Schemas) -> Written {
    let words = (
        "explainError",
        "Explain an error",
        "The page that `type` of a problem document names: what a code means, and what to do about it.",
    );
    let none: Value = json!("<!doctype html>");
    Operation::new(schemas, TAG, ("GET", paths::ERROR_PAGE), words)
        .answers(200, "The page.", vec![Content::text(HTML)], OF_A_PAGE)
        .answers(404, "There is no such code.", vec![Content::text(HTML)], OF_A_PAGE)
        .example(
            &Example::new("unknown_log", "What `unknown_log` means")
                .with("code", "unknown_log")
                .told_as(200, HTML, none),
        )
        .done()
}
