//! A stream as server-sent events: `data`, and behind each a `control` that says where to go on.
//!
//! Text and JSON stand there as they are, whatever line ends they have; any other bytes in base64. A follow ends
//! after a minute, so that those who come later can share a new one in a cache between, and with the stream: when
//! it is closed the last control says so. Nothing is waited for that its reader does not take.
//!
//! Not here: waiting (`node`), and how a page of events is kept for others (`pages`).

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::api::error::ErrorCode;
use client::api::reading::Consistency;
use client::types::{LogName, Position, Record};
use futures_util::stream;
use http::HeaderValue;

use super::asked::Asked;
use super::messages::{self, Form};
use super::offset::Place;
use super::{cursor, header, read};
use crate::http::pages::{PageForm, PageKey};
use crate::http::problem::ApiError;
use crate::http::{Api, told};
use crate::node::{Follow, FollowEvent, FollowRequest, ReadAnswer};
use crate::world::Instant;

/// Bytes of messages in one event, at most, but at least one message.
const EVENT_BYTES_MAX: u64 = 256 * 1024;
/// How long one connection is served.
const LIFE_MAX: Duration = Duration::from_mins(1);

/// Starts to follow, and answers with the events.
pub(super) async fn start(api: &Api, name: LogName, asked: Asked) -> Result<Response, ApiError> {
    let request = FollowRequest {
        log: name.into(),
        start: read::start(asked.offset),
        records_max: None,
        bytes_max: Some(EVENT_BYTES_MAX),
        consistency: Consistency::Linearizable,
    };
    let follow = api.node.follow(request).await.map_err(read::refused)?;
    let form = Form::of(follow.settings().content_type.as_deref());
    let (place, as_of) = (Place::from(&follow.token()), follow.as_of());
    let until = api.world.clock.after(LIFE_MAX);
    let events = Events {
        api: api.clone(),
        follow,
        form,
        place,
        echoed: asked.cursor,
        until,
        has_said: false,
        is_over: false,
    };
    let body = stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    let mut response = told::events(Body::from_stream(body));
    let headers = response.headers_mut();
    told::tell_as_of(headers, &as_of, Consistency::Linearizable);
    if form == Form::Bytes {
        headers.insert(header::EVENT_ENCODING, HeaderValue::from_static("base64"));
    }
    Ok(response)
}

/// The events of one follow.
struct Events {
    api: Api,
    follow: Follow,
    form: Form,
    place: Place,
    echoed: Option<u64>,
    until: Instant,
    /// Whether anything was said yet.
    has_said: bool,
    is_over: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        // Who is at the end from the start is told so at once.
        if !std::mem::replace(&mut self.has_said, true) && self.follow.is_open_at_its_end() {
            return Some(self.control(self.follow.token().next, Reached::End));
        }
        let clock = self.api.world.clock.clone();
        let event = clock.until(self.until, self.follow.next()).await.ok()?;
        match event {
            Ok(FollowEvent::Records(page)) => Some(self.messages(page)),
            // A comment: it shows that somebody is there, and means nothing.
            Ok(FollowEvent::Heartbeat { .. }) => Some(Bytes::from_static(b":\n\n")),
            Ok(FollowEvent::End { tail, token: _ }) => {
                self.is_over = true;
                Some(self.control(tail, Reached::Close))
            }
            Err(error) => {
                let error = ApiError::from(error);
                if error.problem().code == ErrorCode::Damaged {
                    tracing::error!(log = %self.place.log_id, "records are damaged");
                }
                // Whoever asks again is told by a status.
                None
            }
        }
    }

    fn messages(&mut self, page: ReadAnswer) -> Bytes {
        let reached = match page.next == page.tail {
            true if page.is_sealed => Reached::Close,
            true => Reached::End,
            false => Reached::Part,
        };
        self.is_over = reached == Reached::Close;
        let from = page.records.first().map_or(page.next, |record| record.position);
        let form = match self.form {
            Form::Json => PageForm::StreamJson,
            Form::Text => PageForm::StreamText,
            Form::Bytes => PageForm::StreamBytes,
        };
        let key = PageKey { log: page.log, from, next: page.next, tail: page.tail, form };
        let records = page.records;
        let data = self.api.pages.get(key, || event_of(self.form, records));
        let control = self.control(page.next, reached);
        [data, control].concat().into()
    }

    fn control(&self, next: Position, reached: Reached) -> Bytes {
        let offset = self.place.offset(next);
        let cursor = cursor::cursor(&self.api.world, self.echoed);
        let more = match reached {
            Reached::Part => format!(",\"streamCursor\":\"{cursor}\""),
            Reached::End => format!(",\"streamCursor\":\"{cursor}\",\"upToDate\":true"),
            Reached::Close => ",\"upToDate\":true,\"streamClosed\":true".to_owned(),
        };
        format!("event: control\ndata:{{\"streamNextOffset\":\"{offset}\"{more}}}\n\n").into()
    }
}

/// How far a follow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// There is more.
    Part,
    /// All there is so far.
    End,
    /// All there will ever be.
    Close,
}

/// The event of some messages.
fn event_of(form: Form, records: Vec<Record>) -> Bytes {
    let bytes = messages::joined(form, records);
    let text = match form {
        Form::Bytes => STANDARD.encode(&bytes),
        Form::Json | Form::Text => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let mut event = String::with_capacity(text.len() + 64);
    event.push_str("event: data\n");
    for line in lines(&text) {
        event.push_str("data:");
        // A reader takes one blank away.
        if line.starts_with(' ') {
            event.push(' ');
        }
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// The lines of a text, whichever of the three ends they have.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else { return rest.take() };
        let after = &text[end..];
        let length = if after.starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&after[length..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use client::types::{Headers, Timestamp};

    use super::*;

    fn event(form: Form, bodies: &[&str]) -> String {
        let records = (0..).zip(bodies).map(|(position, body)| Record {
            position: Position::new(position),
            time: Timestamp::EPOCH,
            headers: Headers::none(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        });
        String::from_utf8(event_of(form, records.collect()).to_vec()).unwrap()
    }

    #[test]
    fn no_message_ends_its_event_or_begins_another() {
        for body in ["a\r\n\r\nevent: control\r\ndata: {}", "a\n\nevent: x", "a\r\revent: x"] {
            let event = event(Form::Text, &[body]);
            let (head, data) = event.split_once('\n').unwrap();
            assert_eq!(head, "event: data");
            let data = data.strip_suffix("\n\n").unwrap();
            assert!(!data.contains('\r'), "{event:?}");
            assert!(data.split('\n').all(|line| line.starts_with("data:")), "{event:?}");
        }
    }

    #[test]
    fn text_keeps_its_lines_and_blanks() {
        assert_eq!(
            event(Form::Text, &["a\n", " b\r\n", "c"]),
            "event: data\ndata:a\ndata:  b\ndata:c\n\n"
        );
    }

    #[test]
    fn json_is_one_array_and_bytes_are_one_run_of_base64() {
        assert_eq!(event(Form::Json, &["1", "{}"]), "event: data\ndata:[1,{}]\n\n");
        assert_eq!(event(Form::Bytes, &["ab", "cd"]), "event: data\ndata:YWJjZA==\n\n");
    }
}
