//! A follow as server-sent events: `records`, `heartbeat`, `error`, `end`.
//!
//! Each event has an id, an opaque token from which another follow goes on without a gap and without
//! a repetition, at any replica. The bytes of an event are made once for all who are at the same place.
//! A follower that takes nothing holds nothing but its connection: the next event is only looked for
//! when there is room to send it.
//!
//! Not here: waiting for records (`node`), and keeping events (`pages`).

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::Response;
use client::api::error::ErrorCode;
use client::api::header;
use client::api::reading::ReadQuery;
use client::api::records::{EndEvent, EndReason, FollowEvent as Event, HeartbeatEvent};
use client::api::resume::ResumeToken;
use client::types::{Position, Record};
use futures_util::stream;

use super::media::json::{push_number, push_record};
use super::pages::{PageForm, PageKey};
use super::problem::ApiError;
use super::{Api, told};
use crate::node::error::{NotFresh, ReadError};
use crate::node::{Follow, FollowEvent, FollowRequest, LogTarget, ReadAnswer, Start};

/// Bytes of records in one event, at most, unless the caller wants less.
const EVENT_BYTES_MAX: u64 = 256 * 1024;

/// Starts a follow and answers with its events.
pub(super) async fn start(
    api: &Api,
    log: LogTarget,
    asked: ReadQuery,
    last_event: Option<ResumeToken>,
) -> Result<Response, ApiError> {
    if asked.wait.is_some() {
        return Err(ApiError::parameter("wait", "a follow waits by itself, as long as it takes"));
    }
    let request = FollowRequest {
        log,
        start: last_event.map_or(Start::From(asked.from), Start::Resume),
        records_max: asked.limit,
        bytes_max: Some(asked.max_bytes.unwrap_or(EVENT_BYTES_MAX).min(EVENT_BYTES_MAX)),
        consistency: asked.consistency,
    };
    let follow = api.node.follow(request).await?;
    let (token, as_of) = (follow.token(), follow.as_of());
    let events = Events { api: api.clone(), follow, left: asked.limit, at: token, is_over: false };
    let body = stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    let mut response = told::events(Body::from_stream(body));
    let headers = response.headers_mut();
    told::tell_as_of(headers, &as_of, asked.consistency);
    told::tell_log(headers, token.log_id);
    told::tell_position(headers, header::NEXT, token.next);
    Ok(response)
}

/// The events of one follow.
struct Events {
    api: Api,
    follow: Follow,
    /// How many records may still be given, if there is an end to it.
    left: Option<u64>,
    /// Where to go on after what was given.
    at: ResumeToken,
    is_over: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        if self.left == Some(0) {
            return Some(self.end(EndReason::Limit));
        }
        Some(match self.follow.next().await {
            Ok(FollowEvent::Records(page)) => self.records(page),
            Ok(FollowEvent::Heartbeat { tail, token, lag_entries }) => {
                self.at = token;
                self.heartbeat(tail, lag_entries)
            }
            Ok(FollowEvent::End { tail: _, token }) => {
                self.at = token;
                self.end(EndReason::Sealed)
            }
            Err(ReadError::Deleted { .. }) => self.end(EndReason::Deleted),
            Err(ReadError::NotFresh(NotFresh::Stopping)) => self.end(EndReason::Reconnect),
            Err(error) => self.error(error.into()),
        })
    }

    fn records(&mut self, mut page: ReadAnswer) -> Bytes {
        let from = self.at.next;
        if let Some(left) = self.left {
            // The follow gives pages of its own size: what goes beyond the wish is left out.
            let count = u64::try_from(page.records.len()).unwrap_or(u64::MAX).min(left);
            page.records.truncate(usize::try_from(count).unwrap_or(usize::MAX));
            page.next = from.advance(count);
            page.token.next = page.next;
            self.left = Some(left - count);
        }
        self.at = page.token;
        let form = PageForm::Records;
        let key = PageKey { log: page.log, from, next: page.next, tail: page.tail, form };
        self.api.pages.get(key, || records_event(&page))
    }

    fn heartbeat(&self, tail: Position, lag_entries: Option<u64>) -> Bytes {
        let next = self.at.next;
        // The tail may have been looked at before the last records were given.
        let lag = tail.get().saturating_sub(next.get());
        self.event(&Event::Heartbeat(HeartbeatEvent { next, tail, lag, lag_entries }))
    }

    fn end(&mut self, reason: EndReason) -> Bytes {
        self.is_over = true;
        self.event(&Event::End(EndEvent { next: self.at.next, reason }))
    }

    fn error(&mut self, error: ApiError) -> Bytes {
        self.is_over = true;
        if error.problem().code == ErrorCode::Damaged {
            tracing::error!(log = %self.at.log_id, position = %self.at.next, "records are damaged");
        }
        self.event(&Event::Error(Box::new(error.into_problem())))
    }

    fn event(&self, event: &Event) -> Bytes {
        format!("event: {}\nid: {}\ndata: {}\n\n", event.name(), self.at, event.data()).into()
    }
}

/// The event of records, written by hand: `client::api::records::RecordsEvent`.
fn records_event(page: &ReadAnswer) -> Bytes {
    let bytes: usize = page.records.iter().map(Record::bytes).sum();
    let mut out = Vec::with_capacity(bytes + 160 + 96 * page.records.len());
    out.extend_from_slice(b"event: records\nid: ");
    out.extend_from_slice(page.token.to_string().as_bytes());
    out.extend_from_slice(b"\ndata: {\"next\":");
    push_number(&mut out, page.next.get());
    out.extend_from_slice(b",\"tail\":");
    push_number(&mut out, page.tail.get());
    out.extend_from_slice(b",\"records\":[");
    for (index, record) in page.records.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_record(&mut out, record);
    }
    out.extend_from_slice(b"]}\n\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use client::api::records::{RecordJson, RecordsEvent};

    use super::*;
    use crate::http::media::answer::tests::answer_of;

    #[test]
    fn an_event_of_records_is_the_contracts_on_one_line() {
        let page = answer_of(7, vec![b"a\nb".to_vec(), b"\xff".to_vec(), b"data: x\n\n".to_vec()]);
        let event = records_event(&page);
        let text = std::str::from_utf8(&event).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "event: records");
        assert_eq!(lines[1], format!("id: {}", page.token));
        assert_eq!((lines.len(), lines[3]), (4, ""));
        let data = lines[2].strip_prefix("data: ").unwrap();
        let records = page.records.into_iter().map(RecordJson).collect();
        let expected = Event::Records(RecordsEvent { next: page.next, tail: page.tail, records });
        assert_eq!(Event::parse("records", data).unwrap(), Some(expected.clone()));
        assert_eq!(data, expected.data());
    }
}
