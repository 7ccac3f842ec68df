//! Who did what: newest first, as JSON, or as NDJSON with an act on each line.
//!
//! Not here: the log of activity as a log, which is read and followed as any other (`records`).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use client::api::activity::{ActivityList, ActivityQuery};
use client::api::header;
use client::api::media::{JSON, NDJSON};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};

use super::problem::ApiError;
use super::{Api, extract, media, told};

/// GET on the activity.
pub(super) async fn list(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let query: ActivityQuery = extract::query(request.uri())?;
    let (parts, _) = request.into_parts();
    let likes = |media_type| media::weight_of(&parts.headers, media_type);
    let is_in_lines = likes(NDJSON) > likes(JSON);
    let found = api.node.activity(query).await?;
    let mut response =
        if is_in_lines { lines(&found.answer) } else { told::json(StatusCode::OK, &found.answer) };
    let headers = response.headers_mut();
    told::tell_as_of(headers, &found.as_of, query.consistency);
    if let Some(next) = found.answer.next {
        told::tell_position(headers, header::NEXT, next);
    }
    told::tell_not_to_keep(headers);
    Ok(response)
}

fn lines(list: &ActivityList) -> Response {
    let mut body = Vec::new();
    for activity in &list.activity {
        body.extend(serde_json::to_vec(activity).expect("bodies of the contract are plain JSON"));
        body.push(b'\n');
    }
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}
