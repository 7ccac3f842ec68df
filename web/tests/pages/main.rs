//! Every page over a fake backend: what it says, what it must never do, and its headers.
//!
//! The fake answers from a struct, which is all that stands behind a page. Not here: a browser (`e2e`).

#![allow(clippy::unwrap_used, reason = "a test says so best by failing")]

mod activity;
mod checkpoints;
mod fake;
mod live;
mod logs;
mod membership;
mod name;
mod reference;

use std::io::Write;

use client::api::cluster::Verdict;
use client::api::error::{ErrorCode, Problem};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use quorate_web::CONTENT_POLICY;

use self::fake::{Fake, get, status};

#[tokio::test]
async fn the_verdict_comes_first_and_in_the_title() {
    let (response, page) = get(status(), "/").await;
    assert_eq!(response.status(), 200);
    assert!(page.contains("<title id=\"title\">● Taking appends · Quorate</title>"), "{page}");
    let verdict = page.find("You can lose 1 more").unwrap();
    assert!(verdict < page.find("<table").unwrap());
    assert!(page.contains("on <strong data-test=\"here\">replica 2</strong>"));
}

#[tokio::test]
async fn every_replica_has_a_row_with_its_role_and_how_far_it_is() {
    let (_, page) = get(status(), "/").await;
    for id in 1..=3 {
        assert!(page.contains(&format!("data-test=\"replica-{id}\"")));
        assert!(page.contains(&format!("<a href=\"/replicas/{id}\">")));
    }
    assert!(page.contains("does not answer") && page.contains("leader"));
    assert!(page.contains("18\u{202f}824 entries") && page.contains("1.2 ms"));
}

#[tokio::test]
async fn bad_news_is_told_by_word_and_mark_too() {
    let mut bad = status();
    bad.verdict = Verdict {
        can_append: false,
        tolerance: 0,
        sentence: "Not taking appends: replica 2 reaches only itself.".into(),
        reasons: vec!["replica 1 has not answered for 31 s".into()],
    };
    let (_, page) = get(bad, "/").await;
    assert!(page.contains("<title id=\"title\">■ Not taking appends · Quorate</title>"));
    assert!(page.contains("<section class=\"verdict bad\""));
    assert!(page.contains("<li>replica 1 has not answered for 31 s</li>"));
}

#[tokio::test]
async fn a_page_works_without_script_and_holds_nothing_inline() {
    let (response, page) = get(status(), "/").await;
    let refresh = "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>";
    assert!(page.contains(refresh));
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/assets/").count());
    assert!(!page.contains("style=") && !page.contains("<style"));
    assert_eq!(response.headers()["content-security-policy"], CONTENT_POLICY);
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["referrer-policy"], "same-origin");
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn hostile_text_is_shown_and_never_acts() {
    let mut hostile = status();
    hostile.replicas[0].zone = "<script>alert(1)</script>\u{202e}".into();
    hostile.replicas[0].version = Some("\"><img src=x onerror=alert(1)>".into());
    hostile.verdict.sentence = "</h1><a hx-post=\"/v1\">".into();
    hostile.verdict.reasons = vec!["<svg/onload=alert(1)>".into()];
    let (_, page) = get(hostile, "/").await;
    for markup in ["<script>", "<img", "<svg/", "<a hx-post", "\u{202e}"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("U+202E"));
}

#[tokio::test]
async fn an_error_is_a_page_with_the_true_status() {
    let problem = Problem::new(ErrorCode::NotMember).with_detail("<b>not yet</b>");
    let (response, page) = get(&Fake { status: Err(problem), ..Fake::default() }, "/").await;
    assert_eq!(response.status(), ErrorCode::NotMember.status());
    assert!(page.contains("data-test=\"error\"") && !page.contains("<b>"));
}

#[tokio::test]
async fn assets_have_the_hash_of_their_content_in_their_names() {
    let (_, page) = get(status(), "/").await;
    let paths: Vec<_> =
        page.split('"').filter(|part| part.starts_with("/assets/")).map(str::to_owned).collect();
    assert_eq!(paths.len(), 4, "{paths:?}");
    for path in paths {
        let (response, body) = get(status(), &path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        assert!(!body.is_empty());
    }
    let (response, _) = get(status(), "/assets/dashboard.0000000000000000.css").await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn every_page_leads_everywhere_and_says_where_it_is() {
    let (_, page) = get(status(), "/").await;
    assert!(page.contains("<a href=\"/\" aria-current=\"page\">Overview</a>"), "{page}");
    let response = quorate_web::not_found(&Fake::default()).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-security-policy"], CONTENT_POLICY);
    let page = response.into_body().collect().await.unwrap().to_bytes();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("<a href=\"/\">Overview</a>") && page.contains("no such page"), "{page}");
}

#[tokio::test]
async fn the_first_view_is_small_and_its_script_smaller() {
    let (_, page) = get(status(), "/").await;
    let mut bytes = page.len();
    for asset in page.split('"').filter(|part| part.starts_with("/assets/")) {
        let (_, body) = get(status(), asset).await;
        bytes += body.len();
        if asset.contains(".js") {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all(body.as_bytes()).unwrap();
            let packed = packed.finish().unwrap().len();
            assert!(packed < 18_000, "{packed}");
        }
    }
    assert!(bytes < 45_000, "{bytes}");
}

#[tokio::test]
async fn the_overview_tells_what_the_leader_did_in_the_last_minute() {
    let (_, page) = get(status(), "/").await;
    assert!(page.contains("Appends <strong>12\u{202f}400/s</strong>"), "{page}");
    assert!(page.contains("Append p99 <strong>2.2 ms</strong>"), "{page}");
    assert!(page.contains("Slowest behind <strong>7 entries</strong>"), "{page}");
    assert!(page.contains("at replica 1, which leads"), "{page}");
    assert!(page.contains("href=\"http://127.0.0.1:7001/performance\""), "{page}");
    assert_eq!(page.matches("role=\"img\"").count(), 3);
    let silent = Fake { performance: Err(Problem::new(ErrorCode::NoLeader)), ..Fake::default() };
    let (response, page) = get(silent, "/").await;
    assert!(response.status() == 200 && !page.contains("data-test=\"pulse\""), "{page}");
    let mut gone = status();
    gone.replicas[0].is_reachable = false;
    let (_, page) = get(gone, "/").await;
    assert!(!page.contains("data-test=\"pulse\""), "nobody waits for who does not answer");
}

#[tokio::test]
async fn performance_is_shown_as_lines_with_words_and_as_a_table() {
    let (_, body) = get(status(), "/performance?step=10s").await;
    assert!(body.contains("appends: 1\u{202f}240/s now"), "a second's share of ten: {body}");
    assert!(body.contains("p99: 2.2 ms now, 2.2 ms at most"), "{body}");
    assert!(body.contains("entries: 7 entries now"), "{body}");
    assert!(body.contains(r#"href="?step=10s" aria-current="true""#), "{body}");
    assert!(body.contains("<td class=\"number\">12\u{202f}400</td>"), "{body}");
    assert!(!body.contains("style="), "the policy refuses it");
}

#[tokio::test]
async fn an_address_that_asks_for_no_sense_is_refused_with_a_page() {
    for path in ["/performance?step=2s", "/logs/orders?follow=1&seen=%3Cscript%3E"] {
        let (answer, page) = get(status(), path).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert!(page.contains("data-test=\"error\"") && page.contains("<nav"), "{path}: {page}");
        assert!(!page.contains("<script>"), "{path}: {page}");
    }
}
