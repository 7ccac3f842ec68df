//! The front door: decode, call, encode.
//!
//! A request enters through [`Front`], which names it, refuses what a page of another site sends, lets
//! nothing escape as a broken connection, and puts on every answer what every answer carries. The
//! routes are a table below it. The busiest one, an append, does not walk through the table: the front
//! knows it by its path and calls it directly.
//!
//! ```text
//! listen -> Front::answer -> append          POST /v1/logs/{log}/records
//!                         -> routes -> ...   everything else, the dashboard at /
//! ```
//!
//! Not here: sockets and their deadlines (`listen`), and whatever an operation means (`node`).

mod access;
mod activity;
mod author;
mod body;
mod change;
mod changes;
mod checkpoints;
mod cluster;
mod dashboard;
mod error;
mod extract;
mod follow;
mod health;
mod leader;
mod logs;
mod media;
mod openapi;
mod pages;
mod performance;
mod plans;
mod problem;
mod reception;
mod records;
mod settings;
mod streams;
mod told;
mod transfers;
mod waiting;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use client::api::error::ErrorCode;
use client::api::{header, paths};
use http::{HeaderValue, Method, Request};
use tower::ServiceExt;

pub use waiting::{BootstrapCall, Standing, WaitingFront};

use self::body::BodyRoom;
use self::dashboard::Window;
use self::pages::Pages;
use self::problem::ApiError;
use self::reception::Reception;
use crate::metrics::Metrics;
use crate::node::{Node, NodeOptions, Route};
use crate::world::World;

/// How many of the longest bodies may be taken in at once, whatever else is limited.
const LONGEST_BODIES: usize = 4;

/// Limits of the front door; those of a batch, and with them the room for bodies, are the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Longest body of a request that brings no records.
    pub small_body_bytes_max: usize,
    /// Encoded events that are kept for further followers.
    pub events_kept_max: usize,
    /// Bytes of encoded events that are kept for further followers.
    pub events_kept_bytes_max: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { small_body_bytes_max: 64 << 10, events_kept_max: 64, events_kept_bytes_max: 8 << 20 }
    }
}

/// Bytes of all bodies that are being taken in or carried on at once: as many as appends may be under
/// way, and always enough for some of the longest.
fn bodies_bytes_max(options: &NodeOptions) -> usize {
    let appends = usize::try_from(options.append_bytes_max).unwrap_or(usize::MAX);
    appends.max(media::intake::body_bytes_max(&options.batch).saturating_mul(LONGEST_BODIES))
}

/// What the routes share. A clone is the same.
#[derive(Clone)]
pub(crate) struct Api {
    shared: Arc<Shared>,
}

/// The parts of [`Api`].
pub(crate) struct Shared {
    node: Node,
    options: HttpOptions,
    bodies: BodyRoom,
    pages: Pages,
    metrics: Metrics,
    world: World,
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// The front door of a replica. A clone is the same.
#[derive(Clone)]
pub struct Front {
    api: Api,
    routes: Router,
    reception: Reception,
    ourselves: Arc<Ourselves>,
}

/// What every answer says of this replica.
struct Ourselves {
    replica: HeaderValue,
    front: HeaderValue,
}

impl Front {
    /// The front door of this node.
    pub fn new(node: Node, options: HttpOptions, metrics: Metrics, world: World) -> Self {
        let reception = Reception::new(&node.replica().to_string(), metrics.clone(), &world);
        let ourselves = Ourselves {
            replica: node.replica().get().into(),
            front: HeaderValue::from_str(node.front().as_str())
                .expect("an address was checked to be plain ASCII"),
        };
        let shared = Shared {
            bodies: BodyRoom::new(bodies_bytes_max(node.options()), world.clock.clone()),
            pages: Pages::new(options.events_kept_max, options.events_kept_bytes_max),
            node,
            options,
            metrics,
            world,
        };
        let api = Api { shared: Arc::new(shared) };
        Self { routes: routes(&api), api, reception, ourselves: Arc::new(ourselves) }
    }

    /// Answers a request. Every error is a problem document, a panic in a route included.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let mut response = self.reception.receive(request, |request| self.dispatch(request)).await;
        self.tell_everywhere(&mut response);
        response
    }

    async fn dispatch(&self, request: Request<Body>) -> (&'static str, Response) {
        let is_carried = request.headers().contains_key(header::FORWARDED);
        if !is_carried && access::is_cross_site(request.method(), request.uri(), request.headers())
        {
            return ("cross_site", cross_site().into_response());
        }
        if *request.method() == Method::POST && log_of_records(request.uri().path()).is_some() {
            let (parts, body) = request.into_parts();
            let log = log_of_records(parts.uri.path()).unwrap_or("");
            let appended = records::append(&self.api, log, &parts, body).await;
            return (paths::RECORDS, appended.unwrap_or_else(IntoResponse::into_response));
        }
        // Boxed: a connection has room for one request at hand, and that is mostly an append.
        let response = Box::pin(self.routes.clone().oneshot(request)).await;
        let response = response.unwrap_or_else(|never| match never {});
        let route = response.extensions().get::<RouteName>().map_or("other", |name| name.0);
        (route, response)
    }

    /// Puts on an answer what every answer of a replica carries.
    fn tell_everywhere(&self, response: &mut Response) {
        let headers = response.headers_mut();
        // An answer that was carried here says who made it.
        headers.entry(header::SERVED_BY).or_insert_with(|| self.ourselves.replica.clone());
        headers.entry(header::EPOCH).or_insert_with(|| self.api.node.epoch().get().into());
        match self.api.node.route() {
            Route::Here => {
                headers.insert(header::LEADER, self.ourselves.front.clone());
            }
            Route::There { front, .. } => told::tell_text(headers, header::LEADER, front.as_str()),
            Route::Nowhere { .. } => {}
        }
    }
}

/// Which route answered, in the extensions of its answer.
#[derive(Clone, Copy)]
struct RouteName(&'static str);

/// Every route, once.
fn routes(api: &Api) -> Router {
    let table = [
        (paths::LOGS, get(logs::list)),
        (
            paths::LOG,
            put(logs::ensure).patch(logs::change_settings).get(logs::describe).delete(logs::delete),
        ),
        (paths::RECORDS, post(records::append_route).get(records::read_route)),
        (paths::RECORD, get(records::record_route)),
        (paths::TRIM, post(logs::trim)),
        (paths::SEAL, post(logs::seal)),
        (paths::FENCE, put(logs::set_fence)),
        (paths::CURSORS, get(logs::list_cursors)),
        (paths::CURSOR, put(logs::set_cursor).get(logs::cursor).delete(logs::delete_cursor)),
        (paths::STREAM, streams::methods()),
        (paths::CLUSTER, get(cluster::status)),
        (paths::BOOTSTRAP, post(cluster::bootstrap)),
        (paths::JOINERS, get(cluster::joiners).post(cluster::join)),
        (paths::CHANGES, get(changes::list).post(changes::begin)),
        (paths::CHANGE, get(changes::describe).delete(changes::cancel)),
        (paths::PLANS, post(plans::plan)),
        (paths::ACTIVITY, get(activity::list)),
        (paths::CHECKPOINTS, get(checkpoints::list).post(checkpoints::make)),
        (paths::SNAPSHOTS, get(checkpoints::snapshots)),
        (paths::SNAPSHOT, get(checkpoints::snapshot).delete(checkpoints::release)),
        (paths::ARCHIVE, get(checkpoints::archive)),
        (paths::AUDIT, get(checkpoints::audit)),
        (paths::SCRUB, get(checkpoints::scrub_report).post(checkpoints::scrub)),
        (paths::PERFORMANCE, get(performance::show)),
        (paths::SETTINGS, get(settings::show)),
        (paths::TRANSFERS, get(transfers::list)),
        (paths::TRANSFER, get(transfers::describe).patch(transfers::turn)),
        (paths::LIVE, get(health::live)),
        (paths::HEALTH, get(health::live)),
        (paths::READY, get(health::ready)),
        (paths::METRICS, get(health::metrics)),
        (paths::OPENAPI, get(openapi::show)),
    ];
    let mut router = Router::new();
    for (path, methods) in table {
        router = router.route(path, named(path, methods));
    }
    let table = router.with_state(api.clone()).method_not_allowed_fallback(method_not_allowed);
    let window = Window::new(api.clone(), table.clone());
    table.merge(window.pages()).method_not_allowed_fallback(method_not_allowed).fallback(
        move |request| {
            let window = window.clone();
            async move { window.nothing_at(request).await }
        },
    )
}

fn named(path: &'static str, methods: MethodRouter<Api>) -> MethodRouter<Api> {
    methods.layer(axum::middleware::map_response(move |mut response: Response| async move {
        response.extensions_mut().insert(RouteName(path));
        response
    }))
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed)
}

fn cross_site() -> ApiError {
    ApiError::because(ErrorCode::CrossSite, "a page of another site may not change anything here")
}

/// The log in the path of records, as it stands there.
fn log_of_records(path: &str) -> Option<&str> {
    let log = path.strip_prefix("/v1/logs/")?.strip_suffix("/records")?;
    (!log.contains('/')).then_some(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of<'a, F>(_answer: impl FnOnce(&'a Front, Request<Body>) -> F) -> usize {
        size_of::<F>()
    }

    /// The protocol takes that room when a connection begins, and every request is moved into it.
    #[test]
    fn a_connection_keeps_little_room_for_its_next_request() {
        let bytes = bytes_of(Front::answer);
        assert!(bytes <= 3_584, "{bytes}");
    }
}
