//! Appending to a stream, and closing it: one append of the node, in the protocol's words.
//!
//! What a body means depends on the stream, so the leader looks at it first, as it is known there; only what
//! would be refused by that look is confirmed by the group. The append names the log that was looked at, so a stream
//! that was deleted and made anew in between is looked at again. Batches of a producer that were stored before are
//! no error here: the answer says how far the producer is.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use client::api::conditions::Conditions;
use client::api::error::ErrorCode;
use client::api::header::PRODUCER_SEQUENCE;
use client::api::logs::LogDescription;
use client::api::reading::Consistency;
use client::types::{LogName, OrderKey, Position, Sequence};
use http::header::HeaderMap;
use http::{Request, StatusCode};

use super::messages::{self, Form};
use super::offset::Place;
use super::{asked, header};
use crate::http::body::{TakenIn, announced_length};
use crate::http::extract::{self, InPath};
use crate::http::media::intake::BodyKind;
use crate::http::problem::ApiError;
use crate::http::{Api, told};
use crate::node::error::{AppendError, Rejection};
use crate::node::{AppendRequest, LogTarget};

/// How often a stream is looked at that is another one by the time of the append.
const LOOKS_MAX: usize = 3;

/// POST: appends, closes, or both in one step.
pub(super) async fn append(
    State(api): State<Api>,
    InPath(name): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let name = asked::stream_name(&name)?;
    extract::no_conditions_but(asked::OF_AN_APPEND, &parts.headers)?;
    let content_type = asked::content_type(&parts.headers)?;
    let append = Append {
        api: &api,
        name,
        content_type,
        conditions: asked::conditions(&parts.headers)?,
        order_key: asked::order_key(&parts.headers)?,
        closes: asked::closes(&parts.headers),
    };
    let taken = take_in(&api, &parts.headers, content_type, body).await?;
    append.check(&taken.bytes)?;
    let here = || append.here(&taken.bytes);
    // A close without messages is the same if it is done twice.
    if append.conditions.make_retries_safe() || taken.bytes.is_empty() {
        let answered = super::at_leader_once(&api, &parts, &taken.bytes, here).await;
        return answered.map(|(answer, _)| answer);
    }
    api.at_leader(&parts, &taken.bytes, here).await
}

/// Takes in the messages of a request.
pub(super) async fn take_in(
    api: &Api,
    headers: &HeaderMap,
    content_type: Option<&str>,
    body: Body,
) -> Result<TakenIn, ApiError> {
    let kind = match Form::of(content_type) {
        Form::Json => BodyKind::Json,
        Form::Text | Form::Bytes => BodyKind::Record,
    };
    let (limit, code) = kind.limit(api.node.batch_limits());
    if let Err(refused) = api.node.expect_append(announced_length(headers)?.unwrap_or(0)) {
        api.bodies.pass_over(headers, body).await;
        return Err(refused.into());
    }
    let taken = api.bodies.take_in(headers, body, limit).await;
    taken.map_err(|error| error.instead_of(ErrorCode::BodyTooLarge, code))
}

/// An append whose head has been understood.
struct Append<'a> {
    api: &'a Api,
    name: LogName,
    content_type: Option<&'a str>,
    conditions: Conditions,
    order_key: Option<OrderKey>,
    closes: bool,
}

impl Append<'_> {
    /// Refuses what makes no sense for any stream.
    fn check(&self, body: &Bytes) -> Result<(), ApiError> {
        if !body.is_empty() && self.content_type.is_none() {
            return Err(ApiError::parameter("content-type", "needed with a body"));
        }
        if body.is_empty() && !self.closes {
            return Err(ApiError::because(ErrorCode::InvalidBody, "there is no message in it"));
        }
        Ok(())
    }

    async fn here(&self, body: &Bytes) -> Result<Response, ApiError> {
        let mut consistency = Consistency::Local;
        for _ in 0..LOOKS_MAX {
            let log = self.look(consistency, body).await?;
            match self.to(&log, body).await? {
                Done::Answer(answer) => return Ok(answer),
                Done::OtherStream => consistency = Consistency::Linearizable,
            }
        }
        Err(ApiError::new(ErrorCode::UnknownLog))
    }

    /// The stream as it is known here, or if nothing could be appended to that one, as the group knows it.
    async fn look(
        &self,
        consistency: Consistency,
        body: &Bytes,
    ) -> Result<LogDescription, ApiError> {
        let target = LogTarget::from(self.name.clone());
        if consistency == Consistency::Local
            && let Ok(seen) = self.api.node.describe_log(&target, consistency).await
            && !seen.answer.sealed
            && self.is_of_its_type(&seen.answer, body)
        {
            return Ok(seen.answer);
        }
        Ok(self.api.node.describe_log(&target, Consistency::Linearizable).await?.answer)
    }

    fn is_of_its_type(&self, log: &LogDescription, body: &Bytes) -> bool {
        let content_type = log.settings.content_type.as_deref();
        body.is_empty() || messages::is_same_type(self.content_type, content_type)
    }

    async fn to(&self, log: &LogDescription, body: &Bytes) -> Result<Done, ApiError> {
        // Whoever repeats something is told first that it was done before.
        if log.sealed && !self.conditions.make_retries_safe() {
            let answer = if body.is_empty() {
                self.stored(log, log.tail, None, true)
            } else {
                self.refused(log, &Rejection::Sealed { tail: log.tail })
            };
            return Ok(Done::Answer(answer));
        }
        if !log.sealed && !self.is_of_its_type(log, body) {
            let differs = "the stream has another content type";
            return Err(ApiError::because(ErrorCode::ContentTypeDiffers, differs));
        }
        let form = Form::of(log.settings.content_type.as_deref());
        let batch = messages::taken(self.api, form, body).await?;
        if batch.is_none() && !body.is_empty() {
            return Err(ApiError::because(ErrorCode::InvalidBody, "an array of no messages"));
        }
        let conditions = Conditions { log_id: Some(log.log_id), ..self.conditions.clone() };
        let is_close_only = batch.is_none();
        let request = AppendRequest {
            log: self.name.clone(),
            conditions,
            batch,
            order_key: self.order_key.clone(),
            seals: self.closes,
        };
        let answer = match self.api.node.append(request).await {
            Ok(appended) => {
                let newest = appended.last_sequence;
                let mut answer = self.stored(log, appended.tail, newest, appended.sealed);
                if self.conditions.producer.is_some() && !appended.replayed && !is_close_only {
                    *answer.status_mut() = StatusCode::OK;
                }
                answer
            }
            Err(AppendError::Refused(Rejection::IdDiffers { .. })) => return Ok(Done::OtherStream),
            // Somebody else was faster: it is closed, as was asked for.
            Err(AppendError::Refused(Rejection::Sealed { tail }))
                if is_close_only && self.conditions.producer.is_none() =>
            {
                self.stored(log, tail, None, true)
            }
            Err(AppendError::Refused(
                Rejection::SequenceForgotten { last } | Rejection::SequenceBodyDiffers { last },
            )) => self.stored_before(last).await?,
            Err(AppendError::Refused(rejection)) => self.refused(log, &rejection),
            Err(error) => return Err(error.into()),
        };
        Ok(Done::Answer(answer))
    }

    /// The answer to a batch that its producer has sent before, whatever was in it.
    async fn stored_before(&self, newest: Sequence) -> Result<Response, ApiError> {
        let target = LogTarget::from(self.name.clone());
        let log = self.api.node.describe_log(&target, Consistency::Local).await?.answer;
        Ok(self.stored(&log, log.tail, Some(newest), log.sealed))
    }

    /// The answer if it is stored, by now or before.
    fn stored(
        &self,
        log: &LogDescription,
        tail: Position,
        newest: Option<Sequence>,
        is_closed: bool,
    ) -> Response {
        let mut response = told::nothing();
        let headers = response.headers_mut();
        header::tell_next(headers, self.place(log), tail);
        header::tell_if(headers, header::CLOSED, is_closed);
        if let (Some(batch), Some(newest)) = (&self.conditions.producer, newest) {
            header::tell_epoch(headers, batch.epoch);
            header::tell_sequence(headers, newest);
        }
        told::tell_not_to_keep(headers);
        response
    }

    /// The answer if the machine did not take it.
    fn refused(&self, log: &LogDescription, rejection: &Rejection) -> Response {
        if let Rejection::NotFirstOfEpoch { .. } = rejection {
            let wrong = "a newer epoch begins with sequence 0";
            return ApiError::parameter(PRODUCER_SEQUENCE, wrong).into_response();
        }
        let mut response = ApiError::from(rejection.clone()).into_response();
        let headers = response.headers_mut();
        if let Rejection::Sealed { tail } = rejection {
            header::tell_next(headers, self.place(log), *tail);
            header::tell_if(headers, header::CLOSED, true);
        } else if let Rejection::ProducerEpochOld { current } = rejection {
            header::tell_epoch(headers, *current);
        } else if let Rejection::SequenceGap { expected, received } = rejection {
            header::tell_gap(headers, *expected, *received);
        }
        response
    }

    fn place(&self, log: &LogDescription) -> Place {
        Place { generation: self.api.node.generation(), log_id: log.log_id }
    }
}

/// What came of an append to the stream that was looked at.
enum Done {
    /// It was decided.
    Answer(Response),
    /// The name means another stream by now.
    OtherStream,
}
