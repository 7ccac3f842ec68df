//! Pages that stay up to date: one stream for each that is open, drawn once for all who look at it.
//!
//! A page is live where its template says so: an element with an id between `<!--live-->` and `<!--/live-->` is a
//! region. The stream of `/replicas` is `/live/replicas`. At every beat the page is drawn as a browser would get it, once
//! for all of its viewers, and those regions are sent that have changed since each of them was told last. Without
//! viewers nothing is drawn. Whoever does not ask for events gets all regions once.
//!
//! The marks cannot be forged by what a page shows, because that is escaped.
//!
//! Not here: when to look again ([`Beats`]), and what a browser does with it (`assets/live.js`).

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::select;
use tower::ServiceExt;

use crate::backend::{Backend, Beat, Beats};

/// Where the streams are: before the path of the page.
const LIVE: &str = "/live";
const EVENTS: &str = "text/event-stream";

/// What the streams share. A clone is the same.
#[derive(Clone)]
struct Live<B> {
    backend: B,
    pages: Router,
    scenes: Arc<Mutex<HashMap<String, Weak<Scene>>>>,
}

/// A stream for each of these pages.
pub(crate) fn streams<B: Backend>(backend: B, pages: Router) -> Router {
    let live = Live { backend, pages, scenes: Arc::default() };
    Router::new()
        .route(LIVE, get(follow::<B>))
        .route("/live/{*page}", get(follow::<B>))
        .with_state(live)
}

async fn follow<B: Backend>(State(live): State<Live<B>>, headers: HeaderMap, uri: Uri) -> Response {
    let path = page_of(&uri);
    let wants_events =
        headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == EVENTS.as_bytes());
    if !wants_events {
        return match draw(&live.pages, &path).await {
            Ok(page) => {
                Html(regions(&page).map(|(_, html)| html).collect::<String>()).into_response()
            }
            Err((status, _)) => status.into_response(),
        };
    }
    let viewer = Viewer {
        scene: live.scene(path),
        pages: live.pages,
        beats: live.backend.beats(),
        pending: None,
        seen: 0,
    };
    let events = stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// The address of the page whose stream this is.
fn page_of(uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let page = path.strip_prefix(LIVE).unwrap_or(path);
    if page.starts_with('/') { page.to_owned() } else { format!("/{page}") }
}

impl<B> Live<B> {
    /// The page as all of its viewers share it.
    fn scene(&self, path: String) -> Arc<Scene> {
        // A panic while it was held left whole entries behind.
        let mut scenes = self.scenes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scene) = scenes.get(&path).and_then(Weak::upgrade) {
            return scene;
        }
        scenes.retain(|_, scene| scene.strong_count() > 0);
        let scene = Arc::new(Scene { path: path.clone(), drawn: tokio::sync::Mutex::default() });
        scenes.insert(path, Arc::downgrade(&scene));
        scene
    }
}

/// A page, and what was drawn of it last.
struct Scene {
    path: String,
    drawn: tokio::sync::Mutex<Drawn>,
}

#[derive(Default)]
struct Drawn {
    /// At which beat; none before the first.
    beat: Option<u64>,
    /// Counts the drawings, from 1.
    number: u64,
    regions: Vec<Region>,
    /// Why it could not be drawn, if so.
    gone: Option<String>,
    /// What those are told who were told everything before this drawing.
    news: Bytes,
}

struct Region {
    id: String,
    html: String,
    /// The drawing that changed it.
    since: u64,
}

impl Scene {
    /// What somebody is told at this beat who has seen that drawing; with the number of the drawing.
    async fn look(&self, pages: &Router, beat: u64, seen: u64) -> (u64, Bytes) {
        let mut drawn = self.drawn.lock().await;
        if drawn.beat.is_none_or(|at| at < beat) {
            let page = draw(pages, &self.path).await;
            drawn.take(page.as_deref().map_err(|(_, why)| why.as_str()), beat);
        }
        let has_seen_all_before = seen > 0 && seen + 1 == drawn.number;
        let told = if has_seen_all_before { drawn.news.clone() } else { drawn.since(seen) };
        (drawn.number, told)
    }
}

impl Drawn {
    fn take(&mut self, page: Result<&str, &str>, beat: u64) {
        self.beat = Some(beat);
        self.number += 1;
        let before = self.number - 1;
        match page {
            Ok(page) => {
                let was_gone = self.gone.take().is_some();
                let mut known = std::mem::take(&mut self.regions);
                self.regions = regions(page)
                    .map(|(id, html)| {
                        let same = known.iter().position(|one| one.id == id && one.html == html);
                        match same {
                            Some(at) if !was_gone => known.swap_remove(at),
                            Some(_) | None => Region {
                                id: id.to_owned(),
                                html: html.to_owned(),
                                since: self.number,
                            },
                        }
                    })
                    .collect();
            }
            Err(why) => self.gone = Some(why.to_owned()),
        }
        self.news = self.since(before);
    }

    /// The event for somebody who has seen that drawing.
    fn since(&self, seen: u64) -> Bytes {
        if let Some(why) = &self.gone {
            return event(Some("gone"), why);
        }
        let new = self.regions.iter().filter(|region| region.since > seen);
        let html: Vec<_> = new.map(|region| region.html.as_str()).collect();
        if html.is_empty() {
            // Keeps the connection, and whoever stands between, awake.
            return Bytes::from_static(b": nothing new\n\n");
        }
        event(None, &html.join("\n"))
    }
}

fn event(name: Option<&str>, data: &str) -> Bytes {
    let mut event = name.map_or_else(String::new, |name| format!("event: {name}\n"));
    // A carriage return would end a line, too, and begin a field.
    for line in data.split(['\n', '\r']).filter(|line| !line.is_empty()) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// The regions of a page: the id of each, and its element.
fn regions(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("<!--live-->").skip(1).filter_map(|part| {
        let (element, _) = part.split_once("<!--/live-->")?;
        let (_, id) = element.split_once(" id=\"")?;
        let (id, _) = id.split_once('"')?;
        Some((id, element))
    })
}

/// The page as a browser would get it; or its status and why there is none.
async fn draw(pages: &Router, path: &str) -> Result<String, (StatusCode, String)> {
    let gone = |status: StatusCode| {
        let words = status.canonical_reason().unwrap_or("it cannot be shown");
        (status, words.to_owned())
    };
    let request = Request::get(path).header(ACCEPT, "text/html").body(Body::empty());
    let request = request.map_err(|_no_path| gone(StatusCode::NOT_FOUND))?;
    let answer = pages.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    if answer.status() != StatusCode::OK {
        return Err(gone(answer.status()));
    }
    let page = answer.into_body().collect().await;
    let page = page.map_err(|_broken_off| gone(StatusCode::INTERNAL_SERVER_ERROR))?.to_bytes();
    // What is no page, such as a download, has no regions.
    Ok(String::from_utf8(page.into()).unwrap_or_default())
}

/// Somebody who looks at a page.
struct Viewer<S> {
    scene: Arc<Scene>,
    pages: Router,
    beats: S,
    /// A beat that came while the page was drawn for an earlier one.
    pending: Option<Beat>,
    /// The drawing that was told last; 0: none.
    seen: u64,
}

impl<S: Beats> Viewer<S> {
    /// The next event; none when no more come.
    async fn next(&mut self) -> Option<Bytes> {
        let mut beat = match self.pending.take() {
            Some(beat) => beat,
            None => self.beats.next().await?,
        };
        loop {
            let mut look = pin!(self.scene.look(&self.pages, beat.number, self.seen));
            beat = loop {
                select! {
                    biased;
                    (number, told) = &mut look => {
                        self.seen = number;
                        return Some(told);
                    }
                    newer = self.beats.next() => {
                        let newer = newer?;
                        // What is being drawn is known to be outdated: whom it asks may not even be there any more.
                        if newer.stirs > beat.stirs {
                            break newer;
                        }
                        self.pending = Some(newer);
                    }
                }
            };
            self.pending = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(regions: &[(&str, &str)]) -> String {
        let regions = regions
            .iter()
            .map(|(id, text)| format!("<!--live--><p id=\"{id}\">{text}</p><!--/live-->"));
        format!("<h1 id=\"h\">x</h1>{}", regions.collect::<String>())
    }

    fn text(event: &Bytes) -> &str {
        std::str::from_utf8(event).unwrap()
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut drawn = Drawn::default();
        drawn.take(Ok(&page(&[("a", "1"), ("b", "1")])), 1);
        assert_eq!(text(&drawn.since(0)), "data: <p id=\"a\">1</p>\ndata: <p id=\"b\">1</p>\n\n");
        drawn.take(Ok(&page(&[("a", "1"), ("b", "2")])), 2);
        assert_eq!(text(&drawn.news), "data: <p id=\"b\">2</p>\n\n");
        drawn.take(Ok(&page(&[("a", "1"), ("b", "2")])), 3);
        assert_eq!(text(&drawn.news), ": nothing new\n\n");
        assert_eq!(
            text(&drawn.since(1)),
            "data: <p id=\"b\">2</p>\n\n",
            "who was slow is told all of it"
        );
    }

    #[test]
    fn who_was_told_that_a_page_is_gone_is_told_everything_when_it_is_back() {
        let mut drawn = Drawn::default();
        drawn.take(Ok(&page(&[("a", "1")])), 1);
        drawn.take(Err("Not Found"), 2);
        assert_eq!(text(&drawn.news), "event: gone\ndata: Not Found\n\n");
        drawn.take(Ok(&page(&[("a", "1")])), 3);
        assert_eq!(text(&drawn.news), "data: <p id=\"a\">1</p>\n\n");
    }

    #[test]
    fn no_text_ends_a_line_of_an_event() {
        let event = event(None, "a\rid: 7\n\nb");
        assert_eq!(text(&event), "data: a\ndata: id: 7\ndata: b\n\n");
    }

    #[test]
    fn the_stream_of_a_page_is_found_by_its_address() {
        for (stream, page) in [
            ("/live", "/"),
            ("/live?a=1", "/?a=1"),
            ("/live/replicas/2?a=b%20c", "/replicas/2?a=b%20c"),
        ] {
            assert_eq!(page_of(&stream.parse().unwrap()), page);
        }
    }
}
