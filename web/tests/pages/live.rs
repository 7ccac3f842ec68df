//! Streams of pages: drawn once for all, at every beat, and only what has changed.

use std::sync::atomic::Ordering;

use axum::body::Body;
use client::api::changes::ChangeStage;
use client::api::checkpoints::{CheckpointList, SnapshotList};
use client::api::error::{ErrorCode, Problem};
use http::Request;
use http_body_util::BodyExt;
use quorate_web::{Beat, router};
use tower::ServiceExt;

use super::fake::{Fake, Given, get, post};

struct Events(Body);

impl Events {
    async fn of(pages: &axum::Router, path: &str) -> Self {
        let request = Request::get(path).header("accept", "text/event-stream");
        let request = request.body(Body::empty()).unwrap();
        let response = pages.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self(response.into_body())
    }

    async fn next(&mut self) -> Option<String> {
        let frame = self.0.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }
}

fn beat(fake: &Fake, stirs: u64) {
    fake.beats.send_modify(|beat: &mut Beat| {
        beat.number += 1;
        beat.stirs += stirs;
    });
}

/// Everything there is to show can be shown.
fn fake() -> Fake {
    Fake {
        checkpoints: Ok(CheckpointList { checkpoints: Vec::new() }),
        snapshots: Ok(SnapshotList { snapshots: Vec::new() }),
        ..Fake::default()
    }
}

#[tokio::test]
async fn a_stream_begins_with_everything_that_is_live_on_its_page() {
    for path in ["/", "/replicas", "/replicas/2", "/changes", "/activity", "/checkpoints"] {
        let (_, page) = get(fake(), path).await;
        let live = format!("/live{}", if path == "/" { "" } else { path });
        let first = Events::of(&router(fake()), &live).await.next().await.unwrap();
        let (response, once) = get(fake(), &live).await;
        assert_eq!(response.status(), 200);
        let regions = page.matches("<!--live-->").count();
        assert!(regions >= 5, "{path}");
        assert_eq!(page.matches("<!--/live-->").count(), regions, "{path}");
        for part in page.split("<!--live-->").skip(1) {
            let id = part.split(" id=\"").nth(1).unwrap().split('"').next().unwrap();
            let element = format!(" id=\"{id}\"");
            assert!(first.contains(&element) && once.contains(&element), "{path}: {id}");
            assert_eq!(page.matches(&element).count(), 1, "{path}: {id} is unique");
        }
    }
}

#[tokio::test]
async fn a_page_is_drawn_once_for_all_who_look_and_never_without_anybody() {
    let fake = Fake::default();
    let pages = router(fake.clone());
    let mut viewers = Vec::new();
    for _ in 0..50 {
        viewers.push(Events::of(&pages, "/live/replicas").await);
    }
    for round in 1..=3 {
        for viewer in &mut viewers {
            viewer.next().await.unwrap();
        }
        assert_eq!(fake.looks.load(Ordering::Relaxed), round);
        beat(&fake, 0);
    }
    drop(viewers);
    beat(&fake, 1);
    assert_eq!(fake.looks.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let fake = Fake::default();
    let mut viewer = Events::of(&router(fake.clone()), "/live/replicas").await;
    assert!(viewer.next().await.unwrap().contains("id=\"replicas\""));
    beat(&fake, 0);
    assert_eq!(viewer.next().await.unwrap(), ": nothing new\n\n");
}

#[tokio::test]
async fn a_page_that_cannot_be_drawn_is_told_and_the_stream_goes_on() {
    let lost = Fake { status: Err(Problem::new(ErrorCode::NotMember)), ..Fake::default() };
    let mut viewer = Events::of(&router(lost.clone()), "/live").await;
    assert_eq!(viewer.next().await.unwrap(), "event: gone\ndata: Service Unavailable\n\n");
    beat(&lost, 0);
    assert!(viewer.next().await.unwrap().starts_with("event: gone"));
    let (response, _) = get(lost, "/live/replicas").await;
    assert_eq!(response.status(), 503);
}

#[tokio::test]
async fn a_stream_ends_with_the_beats() {
    let fake = Fake::default();
    let mut viewer = Events::of(&router(fake.clone()), "/live").await;
    viewer.next().await.unwrap();
    fake.beats.send_replace(Given::LAST);
    assert_eq!(viewer.next().await, None);
}

/// What a form did not get is said on its page, at the address of the form: that one has no stream, and cannot be loaded.
#[tokio::test]
async fn what_a_form_did_not_get_is_said_on_a_page_that_stays_live() {
    let changes = vec![super::membership::change(18, ChangeStage::Joining)];
    let fake = Fake { changes, ..fake() };
    let forms = [
        ("/changes/18/pace", "replica=4&transfer=1&pace=sideways", "/changes/18"),
        ("/checkpoints/release", "checkpoint=first", "/checkpoints"),
    ];
    for (form, sent, page) in forms {
        let (response, refused) = post(&fake, form, sent).await;
        assert!(response.status().is_client_error(), "{form}: {}", response.status());
        assert!(refused.contains(&format!("name=\"live\" content=\"/live{page}\"")), "{refused}");
        let (response, _) = get(fake.clone(), form).await;
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()["location"], page);
    }
    let (response, _) = get(fake, "/checkpoints/scrub").await;
    assert_eq!(response.headers()["location"], "/checkpoints");
}
