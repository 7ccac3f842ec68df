//! Changes of the membership: begun, looked at, watched, cancelled.
//!
//! A change belongs to the leader, who alone knows what it waits for; the list of all is the same on every replica, as far
//! as it has applied them.
//!
//! Not here: what a wish would mean (`plans`), and carrying it out (`node`).

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use client::api::changes::{ChangeRequest, ChangesQuery};
use client::api::error::{Actual, ErrorCode};
use client::api::logs::EffectQuery;
use client::api::media::{EVENTS, JSON};
use client::api::{header, paths};
use client::types::{ChangeId, Epoch};
use futures_util::stream;
use http::header::{IF_MATCH, LOCATION};
use http::{HeaderMap, Request, StatusCode};

use super::change::Change;
use super::extract::InPath;
use super::problem::ApiError;
use super::{Api, author, extract, media, told};
use crate::node::ChangeWatchEvent;
use crate::node::error::ChangeError;

/// GET on the changes, newest first.
pub(super) async fn list(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let query: ChangesQuery = extract::query(request.uri())?;
    Ok(fresh(told::json(StatusCode::OK, &api.node.membership_changes(query))))
}

/// GET on one change: as it is now, or as events for as long as it goes on.
pub(super) async fn describe(
    State(api): State<Api>,
    InPath(change): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let change = id(&change)?;
    let (parts, _) = request.into_parts();
    let likes = |media_type| media::weight_of(&parts.headers, media_type);
    let is_watched = likes(EVENTS) > likes(JSON);
    api.at_leader(&parts, &Bytes::new(), || async {
        if is_watched {
            return watch(&api, change).await;
        }
        let change =
            api.node.membership_change(change).ok_or(ApiError::new(ErrorCode::UnknownChange))?;
        Ok(fresh(told::json(StatusCode::OK, &change)))
    })
    .await
}

/// The change at once, and whenever it is another, until it is over or told by another replica.
async fn watch(api: &Api, change: ChangeId) -> Result<Response, ApiError> {
    let watch = api.node.watch_change(change).await?;
    let watch = watch.ok_or(ApiError::new(ErrorCode::UnknownChange))?;
    let events = stream::unfold(watch, |mut watch| async move {
        let event = match watch.next().await? {
            ChangeWatchEvent::Changed(change) => change.event(),
            ChangeWatchEvent::Alive => ": alive\n\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(event), watch))
    });
    Ok(told::events(Body::from_stream(events)))
}

/// POST on the changes: begins one, or says what would be done.
pub(super) async fn begin(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let EffectQuery { dry_run } = extract::query(request.uri())?;
    let epoch = planned_epoch(request.headers())?;
    let author = author::of(request.headers(), request.extensions());
    let change = Change::take_if(&api, &[header::IF_MATCH], request).await?;
    let wished: ChangeRequest = change.json()?;
    change
        .at_leader(|| async {
            if dry_run {
                let plan = api.node.plan(&wished.wish).await?;
                return Ok(told::json(StatusCode::OK, &plan));
            }
            let begun = api.node.begin_change(wished.clone(), epoch, author.clone()).await?;
            let place = paths::change(begun.id);
            let mut response = told::json(StatusCode::ACCEPTED, &begun);
            told::tell_text(response.headers_mut(), LOCATION.as_str(), &place);
            Ok(response)
        })
        .await
}

/// DELETE on one change: it is given up, as long as it is not decided.
pub(super) async fn cancel(
    State(api): State<Api>,
    InPath(change): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let EffectQuery { dry_run } = extract::query(request.uri())?;
    let number = id(&change)?;
    let change = Change::take(&api, request).await?;
    change
        .at_leader(|| async {
            let told = if dry_run {
                api.node.membership_change(number).ok_or(ApiError::new(ErrorCode::UnknownChange))?
            } else {
                change.node().cancel_change(number).await?
            };
            Ok(told::json(StatusCode::OK, &told))
        })
        .await
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        let none = Actual::default();
        match error {
            ChangeError::Plan(error) => error.into(),
            ChangeError::Stale { plan } => Self::new(ErrorCode::StalePlan).actual(Actual {
                epoch: Some(plan.epoch),
                plan: Some(plan),
                ..none
            }),
            ChangeError::Blocked { checks, plan } => Self::new(ErrorCode::PlanBlocked)
                .actual(Actual { checks, plan: Some(plan), ..none }),
            ChangeError::OverrideMissing { checks, plan } => Self::new(ErrorCode::OverrideMissing)
                .actual(Actual { checks, plan: Some(plan), ..none }),
            ChangeError::UnderWay { change } => Self::because(ErrorCode::ChangeUnderWay, detail)
                .actual(Actual { change: Some(change), ..none }),
            ChangeError::Gone { addr: _ } => Self::because(ErrorCode::UnknownJoiner, detail),
            ChangeError::Unknown => Self::new(ErrorCode::UnknownChange),
            ChangeError::Refused(rejection) => rejection.into(),
            ChangeError::IsJoint { change } => Self::because(ErrorCode::ChangeIsJoint, detail)
                .actual(Actual { change: Some(change), ..none }),
            ChangeError::Ended { change } => Self::because(ErrorCode::ChangeEnded, detail)
                .actual(Actual { change: Some(change), ..none }),
            ChangeError::Unserved(unserved) => unserved.into(),
        }
    }
}

/// The epoch that the plan was made for, in quotes or without.
fn planned_epoch(headers: &HeaderMap) -> Result<Epoch, ApiError> {
    let tag = headers.get(IF_MATCH).ok_or(ApiError::new(ErrorCode::PreconditionRequired))?;
    let tag = tag.to_str().unwrap_or_default().trim();
    let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    number.parse().map_err(|error| ApiError::parameter("If-Match", error))
}

fn id(text: &str) -> Result<ChangeId, ApiError> {
    text.parse().map_err(|error| ApiError::parameter("change", error))
}

fn fresh(mut response: Response) -> Response {
    told::tell_not_to_keep(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn epoch(tag: Option<&'static str>) -> Result<Epoch, ErrorCode> {
        let headers = tag.map(|tag| (IF_MATCH, HeaderValue::from_static(tag)));
        planned_epoch(&headers.into_iter().collect()).map_err(|error| error.problem().code)
    }

    #[test]
    fn a_change_names_the_epoch_of_its_plan() {
        assert_eq!(epoch(Some("\"23\"")), Ok(Epoch::new(23)));
        assert_eq!(epoch(Some("23")), Ok(Epoch::new(23)));
        assert_eq!(epoch(None), Err(ErrorCode::PreconditionRequired));
        for wrong in ["*", "\"a\"", "W/\"23\"", ""] {
            assert_eq!(epoch(Some(wrong)), Err(ErrorCode::InvalidParameter), "{wrong}");
        }
    }
}
