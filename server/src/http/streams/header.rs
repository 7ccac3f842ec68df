//! The protocol's own header names, in lower case, and what is said in each.
//!
//! Those of a producer are the native API's, which took them from the same place.

use client::types::{Position, ProducerEpoch, Sequence};
use http::HeaderValue;
use http::header::HeaderMap;

/// Asked and told: `true` if nothing comes behind the end.
pub(super) const CLOSED: &str = "stream-closed";
/// Told: where the next read goes on.
pub(super) const NEXT_OFFSET: &str = "stream-next-offset";
/// Told: `true` if this was all that there is so far.
pub(super) const UP_TO_DATE: &str = "stream-up-to-date";
/// Told: what to echo in the next live request.
pub(super) const CURSOR: &str = "stream-cursor";
/// Asked: refuse unless this sorts behind what came last.
pub(super) const ORDER_KEY: &str = "stream-seq";
/// Asked and told: the seconds without use after which the stream goes.
pub(super) const TTL: &str = "stream-ttl";
/// Asked and told: when the stream goes.
pub(super) const EXPIRES_AT: &str = "stream-expires-at";
/// Told: how the data in events is encoded.
pub(super) const EVENT_ENCODING: &str = "stream-sse-data-encoding";
/// Asked: make a fork.
pub(super) const FORKED_FROM: &str = "stream-forked-from";
/// Told: the sequence that should have come.
pub(super) const EXPECTED_SEQUENCE: &str = "producer-expected-seq";
/// Told: the sequence that came.
pub(super) const RECEIVED_SEQUENCE: &str = "producer-received-seq";

/// All methods of a stream.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// All headers that a request may bring.
pub(super) const ASKED: &str = "content-type, if-none-match, producer-epoch, producer-id, producer-seq, \
     stream-closed, stream-expires-at, stream-seq, stream-ttl";

/// Says that something is so; what is not so is not said.
pub(super) fn tell_if(headers: &mut HeaderMap, name: &'static str, is_so: bool) {
    if is_so {
        headers.insert(name, HeaderValue::from_static("true"));
    }
}

/// Tells a batch of a producer that did not follow the one before.
pub(super) fn tell_gap(headers: &mut HeaderMap, expected: Sequence, received: Sequence) {
    headers.insert(EXPECTED_SEQUENCE, expected.get().into());
    headers.insert(RECEIVED_SEQUENCE, received.get().into());
}

/// Tells which life of a producer counts.
pub(super) fn tell_epoch(headers: &mut HeaderMap, epoch: ProducerEpoch) {
    headers.insert(client::api::header::PRODUCER_EPOCH, epoch.get().into());
}

/// Tells the newest batch of a producer.
pub(super) fn tell_sequence(headers: &mut HeaderMap, newest: Sequence) {
    headers.insert(client::api::header::PRODUCER_SEQUENCE, newest.get().into());
}

/// Tells where the next read goes on.
pub(super) fn tell_next(headers: &mut HeaderMap, place: super::offset::Place, next: Position) {
    crate::http::told::tell_text(headers, NEXT_OFFSET, &place.offset(next));
}
