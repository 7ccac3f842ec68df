//! Records that contain something, the newest first: looked for backwards, so far and no further, and then it is said how
//! far.
//!
//! There is no index: every record of the stretch is read, by this replica, as it has them. What contains the words is
//! told by their bytes, in the body and in the headers.
//!
//! Not here: how records are shown (`records`).

use client::api::logs::LogDescription;
use client::api::reading::{Consistency, ReadFrom, ReadQuery};
use client::api::records::RecordJson;
use client::types::{Position, Record};

use crate::backend::{Answer, Backend};

/// Records that are looked at for one page.
const LOOKED_AT_MAX: u64 = 10_000;
/// Bytes of bodies that are looked at for one page, and no more than another stretch.
const LOOKED_AT_BYTES_MAX: usize = 16 << 20;
/// Records that are found on one page, and no more than another stretch holds.
const FOUND_MAX: usize = 50;
/// Records of a stretch.
const STRETCH: u64 = 200;
/// Bytes that are read at once.
const READ_BYTES_MAX: u64 = 4 << 20;

/// What was found, and where it was looked for.
pub(super) struct Found {
    /// The newest first.
    pub(super) records: Vec<Record>,
    /// Everything from here on was looked at, before `until`.
    pub(super) from: Position,
    pub(super) until: Position,
    /// Where the log begins: nothing is left to be looked at there.
    pub(super) first: Position,
}

/// Looks for these words in a log before a position.
pub(super) async fn search<B: Backend>(
    backend: &B,
    log: &LogDescription,
    words: &str,
    until: Option<Position>,
) -> Answer<Found> {
    let until = until.map_or(log.tail, |until| until.min(log.tail)).max(log.first);
    let (mut from, mut bytes) = (until, 0);
    let mut found = Vec::new();
    while from > log.first
        && until.since(from) < LOOKED_AT_MAX
        && bytes < LOOKED_AT_BYTES_MAX
        && found.len() < FOUND_MAX
    {
        let begin = Position::new(from.get().saturating_sub(STRETCH)).max(log.first);
        let stretch = stretch(backend, log, begin, from).await?;
        bytes += stretch.iter().map(|record| record.body.len()).sum::<usize>();
        found.extend(stretch.into_iter().rev().filter(|record| holds(record, words.as_bytes())));
        from = begin;
    }
    Ok(Found { records: found, from, until, first: log.first })
}

/// The records from one position until another, in order.
async fn stretch<B: Backend>(
    backend: &B,
    log: &LogDescription,
    from: Position,
    until: Position,
) -> Answer<Vec<Record>> {
    let (mut records, mut next) = (Vec::new(), from);
    while next < until {
        let query = ReadQuery {
            limit: Some(until.since(next)),
            max_bytes: Some(READ_BYTES_MAX),
            consistency: Consistency::Local,
            ..ReadQuery::from(ReadFrom::Position(next))
        };
        let page = backend.read(log.log.clone(), query).await?;
        // A replica that lags has not got them yet.
        if page.next <= next {
            break;
        }
        next = page.next;
        records.extend(page.records.into_iter().map(|RecordJson(record)| record));
    }
    Ok(records)
}

fn holds(record: &Record, words: &[u8]) -> bool {
    let has = |bytes: &[u8]| bytes.windows(words.len()).any(|window| window == words);
    has(&record.body)
        || record.headers.iter().any(|(name, value)| has(name.as_bytes()) || has(value))
}
