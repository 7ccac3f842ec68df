//! Batches: one or more records appended together, within limits by construction.
//!
//! A batch *is* its run: the bytes that the service replicates, keeps and reads from, so taking a
//! batch in never builds a list of records. It is checked exactly once, when it is made; whoever
//! holds a [`Batch`] need not look again.
//!
//! ```text
//!   run:  (u32 LE length of the untimed record | untimed record)*
//! ```
//!
//! Not here: the frame around a run on the wire (`api::frame`), and limits set on one log.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::HeadersError;
use super::record::{Measures, NewRecord};

/// The length in front of each record of a run.
const LENGTH_BYTES: usize = 4;

/// How much one batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most records.
    pub records_max: usize,
    /// Most bytes of header names, header values and bodies together.
    pub bytes_max: usize,
    /// Longest body of one record.
    pub record_bytes_max: usize,
    /// Most bytes of header names and values of one record.
    pub header_bytes_max: usize,
    /// Most headers of one record.
    pub headers_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            records_max: 1000,
            bytes_max: 4 << 20,
            record_bytes_max: 1 << 20,
            header_bytes_max: 8 << 10,
            headers_max: 64,
        }
    }
}

impl BatchLimits {
    /// Longest run that a batch within these limits can have.
    pub const fn run_bytes_max(&self) -> usize {
        let per_record = LENGTH_BYTES + 2 + 5 * self.headers_max;
        self.bytes_max.saturating_add(self.records_max.saturating_mul(per_record))
    }

    fn check(&self, record: Measures) -> Result<(), RecordError> {
        let max = self.record_bytes_max;
        if record.body_bytes > max {
            return Err(RecordError::BodyTooLarge { bytes: record.body_bytes, max });
        }
        let max = self.headers_max;
        if record.headers > max {
            return Err(RecordError::HeadersTooMany { headers: record.headers, max });
        }
        let max = self.header_bytes_max;
        if record.header_bytes > max {
            return Err(RecordError::HeadersTooLarge { bytes: record.header_bytes, max });
        }
        Ok(())
    }
}

/// One or more records, to be appended all or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    run: Bytes,
    count: u32,
    bytes: usize,
    body_bytes_max: usize,
}

impl Batch {
    /// A batch of these records.
    pub fn new<'a>(
        records: impl IntoIterator<Item = &'a NewRecord>,
        limits: &BatchLimits,
    ) -> Result<Self, BatchError> {
        let mut builder = BatchBuilder::new(*limits);
        for record in records {
            builder.push(record)?;
        }
        builder.finish()
    }

    /// A batch of one record.
    pub fn single(record: &NewRecord, limits: &BatchLimits) -> Result<Self, BatchError> {
        Self::new([record], limits)
    }

    /// Takes a run as it is, after one walk over its lengths and headers. Nothing is copied.
    pub fn from_run(run: Bytes, count: u32, limits: &BatchLimits) -> Result<Self, BatchError> {
        let mut tally = Tally::default();
        let mut rest = &run[..];
        while !rest.is_empty() {
            let index = tally.count;
            let untimed = take_untimed(&mut rest).ok_or(BatchError::CutShort)?;
            let measures = Measures::of_untimed(untimed)
                .map_err(|error| BatchError::Record { index, error: error.into() })?;
            tally.add(measures, limits)?;
        }
        if tally.count != count {
            return Err(BatchError::CountDiffers { counted: tally.count, count });
        }
        tally.finish(run)
    }

    /// How many records; at least one.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of header names, header values and bodies.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the longest body.
    pub const fn body_bytes_max(&self) -> usize {
        self.body_bytes_max
    }

    /// The run: what the service keeps.
    pub const fn run(&self) -> &Bytes {
        &self.run
    }

    /// The run, without the batch around it.
    pub fn into_run(self) -> Bytes {
        self.run
    }

    /// Its records, sharing the bytes of the run.
    pub fn records(&self) -> impl Iterator<Item = NewRecord> + use<> {
        let mut rest = self.run.clone();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let length = rest.get_u32_le();
            let length = usize::try_from(length).expect("a run was walked when it was made");
            let record = NewRecord::from_untimed(rest.split_to(length));
            Some(record.expect("a run was walked when it was made"))
        })
    }
}

/// Makes a [`Batch`] record by record, straight into its run.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    run: BytesMut,
    tally: Tally,
    limits: BatchLimits,
}

impl BatchBuilder {
    /// An empty one.
    pub fn new(limits: BatchLimits) -> Self {
        Self::with_capacity(limits, 0)
    }

    /// An empty one with room for this many bytes of run.
    pub fn with_capacity(limits: BatchLimits, run_bytes: usize) -> Self {
        let run = BytesMut::with_capacity(run_bytes.min(limits.run_bytes_max()));
        Self { run, tally: Tally::default(), limits }
    }

    /// Adds a record, or refuses it and stays as it was.
    pub fn push(&mut self, record: &NewRecord) -> Result<(), BatchError> {
        let (index, untimed) = (self.tally.count, record.untimed_bytes());
        let length = u32::try_from(untimed).map_err(|_| BatchError::Record {
            index,
            error: RecordError::BodyTooLarge { bytes: untimed, max: self.limits.record_bytes_max },
        })?;
        self.tally.add(Measures::of(record), &self.limits)?;
        self.run.reserve(LENGTH_BYTES + untimed);
        self.run.put_u32_le(length);
        record.write_untimed(&mut self.run);
        Ok(())
    }

    /// How many records it has.
    pub const fn count(&self) -> u32 {
        self.tally.count
    }

    /// Bytes of header names, header values and bodies so far.
    pub const fn bytes(&self) -> usize {
        self.tally.bytes
    }

    /// Whether another record of this many bytes would still fit.
    pub fn has_room(&self, record_bytes: usize) -> bool {
        let count = usize::try_from(self.tally.count).unwrap_or(usize::MAX);
        count < self.limits.records_max
            && self.tally.bytes.saturating_add(record_bytes) <= self.limits.bytes_max
    }

    /// The batch, if there is anything in it.
    pub fn finish(self) -> Result<Batch, BatchError> {
        self.tally.finish(self.run.freeze())
    }
}

/// What has been counted of a batch in the making.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u32,
    bytes: usize,
    body_bytes_max: usize,
}

impl Tally {
    fn add(&mut self, record: Measures, limits: &BatchLimits) -> Result<(), BatchError> {
        let index = self.count;
        limits.check(record).map_err(|error| BatchError::Record { index, error })?;
        let count = index.checked_add(1);
        let is_allowed = |count: u32| usize::try_from(count).is_ok_and(|n| n <= limits.records_max);
        let max = limits.records_max;
        let count =
            count.filter(|count| is_allowed(*count)).ok_or(BatchError::RecordsTooMany { max })?;
        let bytes = self.bytes.saturating_add(record.header_bytes + record.body_bytes);
        if bytes > limits.bytes_max {
            return Err(BatchError::TooLarge { max: limits.bytes_max });
        }
        *self = Self { count, bytes, body_bytes_max: self.body_bytes_max.max(record.body_bytes) };
        Ok(())
    }

    fn finish(self, run: Bytes) -> Result<Batch, BatchError> {
        if self.count == 0 {
            return Err(BatchError::Empty);
        }
        let Self { count, bytes, body_bytes_max } = self;
        Ok(Batch { run, count, bytes, body_bytes_max })
    }
}

fn take_untimed<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    let (untimed, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(untimed)
}

/// Why records make no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// There is no record.
    #[error("a batch holds at least one record")]
    Empty,
    /// More records than allowed.
    #[error("a batch holds at most {max} records")]
    RecordsTooMany {
        /// The limit.
        max: usize,
    },
    /// More bytes than allowed.
    #[error("a batch holds at most {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// One of the records is not allowed.
    #[error("record {index} of the batch: {error}")]
    Record {
        /// Which one, from 0.
        index: u32,
        /// Why.
        error: RecordError,
    },
    /// A run that ends within a record.
    #[error("the records end too early")]
    CutShort,
    /// A run that holds another number of records than was said.
    #[error("{count} records were announced and {counted} are there")]
    CountDiffers {
        /// How many there are.
        counted: u32,
        /// How many were announced.
        count: u32,
    },
}

/// Why a record is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The body is too long.
    #[error("its body has {bytes} bytes, more than {max}")]
    BodyTooLarge {
        /// How many it has.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Too many headers.
    #[error("it has {headers} headers, more than {max}")]
    HeadersTooMany {
        /// How many it has.
        headers: usize,
        /// The limit.
        max: usize,
    },
    /// The headers are too long together.
    #[error("its headers have {bytes} bytes, more than {max}")]
    HeadersTooLarge {
        /// How many they have.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The headers are none.
    #[error(transparent)]
    Headers(#[from] HeadersError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Headers;

    const LIMITS: BatchLimits = BatchLimits {
        records_max: 3,
        bytes_max: 20,
        record_bytes_max: 10,
        header_bytes_max: 4,
        headers_max: 2,
    };

    fn of(bodies: &[&'static str]) -> Result<Batch, BatchError> {
        let records: Vec<_> = bodies.iter().map(|body| NewRecord::new(*body)).collect();
        Batch::new(&records, &LIMITS)
    }

    #[test]
    fn a_batch_is_its_run() {
        let batch = of(&["a", "bc"]).unwrap();
        assert_eq!(batch.run().as_ref(), b"\x03\0\0\0\0\0a\x04\0\0\0\0\0bc");
        assert_eq!((batch.count(), batch.bytes(), batch.body_bytes_max()), (2, 3, 2));
        let bodies: Vec<_> = batch.records().map(|record| record.body).collect();
        assert_eq!(bodies, ["a", "bc"]);
    }

    #[test]
    fn a_batch_beyond_a_limit_does_not_exist() {
        assert_eq!(of(&[]), Err(BatchError::Empty));
        assert_eq!(of(&["", "", "", ""]), Err(BatchError::RecordsTooMany { max: 3 }));
        assert_eq!(of(&["1234567", "1234567", "1234567"]), Err(BatchError::TooLarge { max: 20 }));
        let error = RecordError::BodyTooLarge { bytes: 11, max: 10 };
        assert_eq!(of(&["", "12345678901"]), Err(BatchError::Record { index: 1, error }));
    }

    #[test]
    fn headers_beyond_a_limit_do_not_pass() {
        let with = |pairs: &[(&str, &str)]| {
            let headers = Headers::from_pairs(pairs.iter().copied()).unwrap();
            Batch::single(&NewRecord::new("").with_headers(headers), &LIMITS)
        };
        let error = RecordError::HeadersTooMany { headers: 3, max: 2 };
        let three = with(&[("a", ""), ("b", ""), ("c", "")]);
        assert_eq!(three, Err(BatchError::Record { index: 0, error }));
        let error = RecordError::HeadersTooLarge { bytes: 5, max: 4 };
        assert_eq!(with(&[("a", "1234")]), Err(BatchError::Record { index: 0, error }));
        assert!(with(&[("a", "1"), ("b", "2")]).is_ok());
    }

    #[test]
    fn a_refused_record_leaves_the_builder_as_it_was() {
        let mut builder = BatchBuilder::new(LIMITS);
        builder.push(&NewRecord::new("a")).unwrap();
        assert!(builder.push(&NewRecord::new("12345678901")).is_err());
        builder.push(&NewRecord::new("b")).unwrap();
        assert_eq!(builder.finish(), of(&["a", "b"]));
    }

    #[test]
    fn a_run_is_taken_as_it_is() {
        let batch = of(&["a", "bc"]).unwrap();
        let again = Batch::from_run(batch.run().clone(), 2, &LIMITS).unwrap();
        assert_eq!(again, batch);
        assert_eq!(again.run().as_ptr(), batch.run().as_ptr());
    }

    #[test]
    fn a_run_that_lies_is_refused() {
        let run = of(&["a", "bc"]).unwrap().into_run();
        let error = BatchError::CountDiffers { counted: 2, count: 3 };
        assert_eq!(Batch::from_run(run.clone(), 3, &LIMITS), Err(error));
        let cut = run.slice(..run.len() - 1);
        assert_eq!(Batch::from_run(cut, 2, &LIMITS), Err(BatchError::CutShort));
        assert_eq!(Batch::from_run(Bytes::new(), 0, &LIMITS), Err(BatchError::Empty));
        let huge = Bytes::from_static(b"\xff\xff\xff\xff\0\0");
        assert_eq!(Batch::from_run(huge, 1, &LIMITS), Err(BatchError::CutShort));
    }

    proptest! {
        #[test]
        fn a_batch_survives_its_run(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..50)) {
            let records: Vec<_> = bodies.into_iter().map(NewRecord::new).collect();
            let limits = BatchLimits::default();
            let batch = Batch::new(&records, &limits).unwrap();
            prop_assert!(batch.run().len() <= limits.run_bytes_max());
            let again = Batch::from_run(batch.run().clone(), batch.count(), &limits).unwrap();
            prop_assert_eq!(again.records().collect::<Vec<_>>(), records);
        }

        #[test]
        fn no_bytes_break_a_run(bytes in prop::collection::vec(any::<u8>(), 0..100), count: u32) {
            if let Ok(batch) = Batch::from_run(Bytes::from(bytes), count, &BatchLimits::default()) {
                prop_assert_eq!(u32::try_from(batch.records().count()).unwrap(), count);
            }
        }
    }
}
