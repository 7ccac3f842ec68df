//! Records: what a reader gets, and what an appender gives.
//!
//! A new record has no position and no time yet: the log assigns both. Its packed form, the
//! *untimed record*, is the same on the wire and in what the service keeps; cloning a record shares
//! its bytes.
//!
//! ```text
//!   untimed record:  u16 LE header count | packed headers | body to the end
//! ```
//!
//! Not here: how large a record may be, which depends on limits (`batch`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::{self, Headers, HeadersError};
use super::position::Position;
use super::time::Timestamp;

/// The count in front of an untimed record's headers.
const HEADER_COUNT_BYTES: usize = 2;

/// One element of a log, as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its place.
    pub position: Position,
    /// When the leader took it in; never less than that of the record before.
    pub time: Timestamp,
    /// Names and values beside the body.
    pub headers: Headers,
    /// The body, byte for byte as it was appended.
    pub body: Bytes,
}

impl Record {
    /// The record an untimed record became, sharing its bytes.
    pub fn from_untimed(
        position: Position,
        time: Timestamp,
        untimed: Bytes,
    ) -> Result<Self, HeadersError> {
        let NewRecord { headers, body } = NewRecord::from_untimed(untimed)?;
        Ok(Self { position, time, headers, body })
    }

    /// Bytes of header names, header values and body.
    pub fn bytes(&self) -> usize {
        self.headers.bytes() + self.body.len()
    }
}

/// A record to be appended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NewRecord {
    /// Names and values beside the body.
    pub headers: Headers,
    /// The body: any bytes.
    pub body: Bytes,
}

impl NewRecord {
    /// A record without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: Headers::none(), body: body.into() }
    }

    /// The same record with these headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Takes an untimed record apart, sharing its bytes.
    pub fn from_untimed(mut untimed: Bytes) -> Result<Self, HeadersError> {
        let count = untimed.try_get_u16_le().map_err(|_| HeadersError::CutShort)?;
        let headers = Headers::split_packed(count, &mut untimed)?;
        Ok(Self { headers, body: untimed })
    }

    /// Bytes of header names, header values and body.
    pub fn bytes(&self) -> usize {
        self.headers.bytes() + self.body.len()
    }

    /// Length of the untimed record.
    pub fn untimed_bytes(&self) -> usize {
        HEADER_COUNT_BYTES + self.headers.packed().len() + self.body.len()
    }

    /// Writes the untimed record.
    pub fn write_untimed(&self, into: &mut BytesMut) {
        into.reserve(self.untimed_bytes());
        into.put_u16_le(self.headers.count());
        into.put_slice(self.headers.packed());
        into.put_slice(&self.body);
    }
}

impl<B: Into<Bytes>> From<B> for NewRecord {
    fn from(body: B) -> Self {
        Self::new(body)
    }
}

/// What an untimed record measures, found without taking it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measures {
    pub(super) headers: usize,
    pub(super) header_bytes: usize,
    pub(super) body_bytes: usize,
}

impl Measures {
    pub(super) fn of(record: &NewRecord) -> Self {
        Self {
            headers: usize::from(record.headers.count()),
            header_bytes: record.headers.bytes(),
            body_bytes: record.body.len(),
        }
    }

    pub(super) fn of_untimed(untimed: &[u8]) -> Result<Self, HeadersError> {
        let mut rest = untimed;
        let count = rest.try_get_u16_le().map_err(|_| HeadersError::CutShort)?;
        let packed = headers::packed_length(count, rest)?;
        let headers = usize::from(count);
        Ok(Self {
            headers,
            header_bytes: packed - headers * headers::HEADER_LENGTHS_BYTES,
            body_bytes: rest.len() - packed,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_untimed_record_is_headers_then_body() {
        let record = NewRecord::new("hi").with_headers(Headers::from_pairs([("k", "v")]).unwrap());
        let mut bytes = BytesMut::new();
        record.write_untimed(&mut bytes);
        assert_eq!(bytes.as_ref(), b"\x01\0\x01k\x01\0\0\0vhi");
        assert_eq!(bytes.len(), record.untimed_bytes());
        assert_eq!(NewRecord::from_untimed(bytes.freeze()), Ok(record));
    }

    #[test]
    fn taking_a_record_apart_shares_its_bytes() {
        let untimed = Bytes::from_static(b"\0\0body");
        let record = NewRecord::from_untimed(untimed.clone()).unwrap();
        assert_eq!(record.body.as_ptr(), untimed[2..].as_ptr());
    }

    proptest! {
        #[test]
        fn a_record_is_measured_as_it_is(
            name in "[!-~]{1,9}",
            value in prop::collection::vec(any::<u8>(), 0..30),
            body in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            let record = NewRecord::new(body).with_headers(Headers::from_pairs([(name, value)]).unwrap());
            let mut bytes = BytesMut::new();
            record.write_untimed(&mut bytes);
            prop_assert_eq!(Measures::of_untimed(&bytes), Ok(Measures::of(&record)));
        }

        #[test]
        fn no_bytes_break_a_record(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let measures = Measures::of_untimed(&bytes);
            let record = NewRecord::from_untimed(Bytes::from(bytes));
            prop_assert_eq!(measures, record.map(|record| Measures::of(&record)));
        }
    }
}
