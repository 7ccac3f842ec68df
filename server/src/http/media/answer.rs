//! Records of a read, as the bytes of an answer.
//!
//! A small answer is one buffer with a known length. A large one is made piece by piece while it is
//! sent, so that what is held at once is bounded by the piece and not by the answer; the records
//! themselves share the memory that they were read into.
//!
//! Not here: events of a follow (`http::follow`), and single records (`http::records`).

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use client::api::frame::{HEAD_BYTES, ReadFrameBuilder, TIMED_HEAD_BYTES};
use client::types::{LogName, Position, Record};
use futures_util::stream;

use super::Form;
use super::json::{push_number, push_record};
use crate::node::ReadAnswer;

/// Bytes of an answer that are made at once, about.
const PIECE_BYTES: usize = 128 * 1024;
/// Bytes around a record that is small, about: enough to reserve.
const RECORD_OVERHEAD: usize = 96;

/// The body of an answer, in one piece or in several.
pub(in crate::http) fn body(form: Form, log: &LogName, answer: ReadAnswer) -> Body {
    let mut pieces = Pieces::new(form, log, answer);
    let Some(first) = pieces.next() else { return Body::empty() };
    if pieces.is_done {
        return Body::from(first);
    }
    let pieces = std::iter::once(first).chain(pieces).map(Ok::<_, Infallible>);
    Body::from_stream(stream::iter(pieces))
}

/// An answer, piece by piece.
struct Pieces {
    form: Form,
    head: Vec<u8>,
    records: std::vec::IntoIter<Record>,
    has_begun: bool,
    is_done: bool,
}

impl Pieces {
    fn new(form: Form, log: &LogName, answer: ReadAnswer) -> Self {
        let head = if form == Form::Json { json_head(log, &answer) } else { Vec::new() };
        let records = answer.records.into_iter();
        let is_done = form != Form::Json && records.as_slice().is_empty();
        Self { form, head, records, has_begun: false, is_done }
    }

    /// Bytes of the next piece, about.
    fn estimate(&self) -> usize {
        let mut bytes = 0;
        for record in self.records.as_slice() {
            bytes += record.body.len() + record.headers.packed().len() + RECORD_OVERHEAD;
            if bytes >= PIECE_BYTES {
                break;
            }
        }
        bytes
    }

    fn json_piece(&mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.head);
        out.reserve(self.estimate());
        while out.len() < PIECE_BYTES
            && let Some(record) = self.records.next()
        {
            if self.has_begun {
                out.push(b',');
            }
            self.has_begun = true;
            push_record(&mut out, &record);
        }
        if self.records.as_slice().is_empty() {
            out.extend_from_slice(b"]}");
            self.is_done = true;
        }
        out
    }

    fn ndjson_piece(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.estimate());
        while out.len() < PIECE_BYTES
            && let Some(record) = self.records.next()
        {
            push_record(&mut out, &record);
            out.push(b'\n');
        }
        self.is_done = self.records.as_slice().is_empty();
        out
    }

    fn frame(&mut self) -> Bytes {
        let estimate = self.estimate();
        let first =
            self.records.as_slice().first().map_or(Position::ZERO, |record| record.position);
        let mut frame = ReadFrameBuilder::new(first, estimate);
        while frame.bytes() < PIECE_BYTES
            && let Some(record) = self.records.next()
        {
            frame.push(&record);
        }
        self.is_done = self.records.as_slice().is_empty();
        frame.finish()
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_done {
            return None;
        }
        Some(match self.form {
            Form::Json => self.json_piece().into(),
            Form::Ndjson => self.ndjson_piece().into(),
            // A follow has events of its own; whoever asks here gets what they are made of.
            Form::Frames | Form::Events => self.frame(),
        })
    }
}

fn json_head(log: &LogName, answer: &ReadAnswer) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    // A log name holds nothing that JSON would escape.
    out.extend_from_slice(b"{\"log\":\"");
    out.extend_from_slice(log.as_str().as_bytes());
    out.extend_from_slice(b"\",\"log_id\":");
    push_number(&mut out, answer.log.get());
    for (member, position) in [
        (&b",\"first\":"[..], answer.first),
        (b",\"next\":", answer.next),
        (b",\"tail\":", answer.tail),
    ] {
        out.extend_from_slice(member);
        push_number(&mut out, position.get());
    }
    out.extend_from_slice(b",\"sealed\":");
    out.extend_from_slice(if answer.is_sealed { b"true" } else { b"false" });
    out.extend_from_slice(b",\"records\":[");
    out
}

// A frame's estimate has to hold what stands before each of its records.
const _: () = assert!(RECORD_OVERHEAD > TIMED_HEAD_BYTES + HEAD_BYTES);

#[cfg(test)]
pub(in crate::http) mod tests {
    use client::api::frame::ReadFrame;
    use client::api::records::{ReadAnswer as Contract, RecordJson};
    use client::api::resume::ResumeToken;
    use client::types::{Epoch, Generation, Headers, LogId, ReplicaId, Timestamp};
    use http_body_util::BodyExt;
    use hyper::body::Body as _;
    use proptest::prelude::*;

    use super::*;
    use crate::node::AsOf;

    /// An answer that holds records with these bodies, from this position on.
    pub(in crate::http) fn answer_of(from: u64, bodies: Vec<Vec<u8>>) -> ReadAnswer {
        let at = Position::new;
        let records: Vec<Record> = (from..)
            .zip(bodies)
            .map(|(position, body)| Record {
                position: at(position),
                time: Timestamp::new(1_000 + position),
                headers: Headers::from_pairs([("h", &body[..body.len().min(9)])]).unwrap(),
                body: body.into(),
            })
            .collect();
        let next = at(from + u64::try_from(records.len()).unwrap());
        let log = LogId::new(3);
        let generation = Generation { number: 1, random: 9 };
        ReadAnswer {
            log,
            next,
            first: at(0),
            tail: next,
            is_sealed: false,
            settings: std::sync::Arc::default(),
            token: ResumeToken { generation, log_id: log, next },
            as_of: AsOf {
                applied: None,
                epoch: Epoch::new(4),
                served_by: ReplicaId::new(1).unwrap(),
                lag_entries: None,
                age: None,
            },
            records,
        }
    }

    async fn bytes_of(form: Form, answer: ReadAnswer) -> (Bytes, bool) {
        let body = body(form, &LogName::new("shop/orders").unwrap(), answer);
        let has_length = body.size_hint().exact().is_some();
        (body.collect().await.unwrap().to_bytes(), has_length)
    }

    async fn records_in(form: Form, answer: ReadAnswer) -> Vec<Record> {
        let (mut bytes, _) = bytes_of(form, answer).await;
        match form {
            Form::Json => {
                let answer: Contract = serde_json::from_slice(&bytes).unwrap();
                answer.records.into_iter().map(|record| record.0).collect()
            }
            Form::Ndjson => bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| serde_json::from_slice::<RecordJson>(line).unwrap().0)
                .collect(),
            Form::Frames | Form::Events => {
                let mut records = Vec::new();
                while let Some(frame) = ReadFrame::take(&mut bytes).unwrap() {
                    records.extend(frame.records().map(Result::unwrap));
                }
                records
            }
        }
    }

    #[tokio::test]
    async fn an_answer_in_json_is_the_contracts() {
        let answer = answer_of(5, vec![b"a".to_vec(), b"\xff".to_vec()]);
        let (bytes, _) = bytes_of(Form::Json, answer.clone()).await;
        let contract = Contract {
            log: LogName::new("shop/orders").unwrap(),
            log_id: answer.log,
            first: answer.first,
            next: answer.next,
            tail: answer.tail,
            sealed: answer.is_sealed,
            records: answer.records.into_iter().map(RecordJson).collect(),
        };
        assert_eq!(bytes, serde_json::to_vec(&contract).unwrap());
    }

    #[tokio::test]
    async fn an_answer_without_records_is_whole_in_every_form() {
        let (bytes, has_length) = bytes_of(Form::Json, answer_of(5, Vec::new())).await;
        let answer: Contract = serde_json::from_slice(&bytes).unwrap();
        assert!(answer.records.is_empty() && has_length);
        for form in [Form::Ndjson, Form::Frames] {
            let (bytes, has_length) = bytes_of(form, answer_of(5, Vec::new())).await;
            assert!(bytes.is_empty() && has_length, "{form:?}");
        }
    }

    #[tokio::test]
    async fn a_small_answer_tells_its_length_and_a_large_one_comes_in_pieces() {
        for form in [Form::Json, Form::Ndjson, Form::Frames] {
            let (_, has_length) = bytes_of(form, answer_of(0, vec![vec![b'x'; 100]; 10])).await;
            assert!(has_length, "{form:?}");
            let large = answer_of(0, vec![vec![b'x'; 1024]; 1_000]);
            let (_, has_length) = bytes_of(form, large.clone()).await;
            assert!(!has_length, "{form:?}");
            let mut pieces = Pieces::new(form, &LogName::new("a").unwrap(), large);
            assert!(pieces.all(|piece| piece.len() < 2 * PIECE_BYTES), "{form:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn records_survive_every_form_whatever_their_size(
            from in 0..1_000_u64,
            sizes in prop::collection::vec(0..60_000_usize, 0..12),
            byte: u8,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let bodies: Vec<_> = sizes.into_iter().map(|size| vec![byte; size]).collect();
            let answer = answer_of(from, bodies);
            for form in [Form::Json, Form::Ndjson, Form::Frames] {
                let found = runtime.block_on(records_in(form, answer.clone()));
                prop_assert_eq!(&found, &answer.records, "{:?}", form);
            }
        }
    }
}
