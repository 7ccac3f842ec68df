//! Fan-out: so many followers of one log over event streams, and how long each new record takes to
//! reach them after it was acknowledged.
//!
//! Every record carries its number in its body, so that a follower finds it without understanding
//! the rest of the event. A record that arrives before its acknowledgement counts as zero.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::api::media;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Arguments;
use super::connection::request;
use super::load::connect;
use super::report::{micros, shown};
use super::target::{Target, refused};
use crate::cli::output::Table;
use crate::cli::{Context, Exit, Failure};
use crate::metrics::histogram::Histogram;
use crate::world::{Clock, Instant};

const MARK: &[u8] = b"quorate-follow-";
const DIGITS: usize = 8;
/// For the last record to reach everybody.
const GRACE: Duration = Duration::from_secs(2);

/// What the followers saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct FollowReport {
    followers: u32,
    records: u64,
    expected: u64,
    received: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    /// The time until the last follower had a record: of all records the median and the worst.
    everybody_p50_us: f64,
    everybody_max_us: f64,
    broken: u64,
}

impl FollowReport {
    fn table(&self) -> Table {
        Table::pairs()
            .pair("followers", format!("{}   {} records", self.followers, self.records))
            .pair("received", format!("{} of {}", self.received, self.expected))
            .pair(
                "after its acknowledgement",
                format!(
                    "p50 {}   p99 {}   max {}",
                    shown(self.p50_us),
                    shown(self.p99_us),
                    shown(self.max_us)
                ),
            )
            .pair(
                "until everybody had it",
                format!(
                    "p50 {}   max {}",
                    shown(self.everybody_p50_us),
                    shown(self.everybody_max_us)
                ),
            )
            .pair("broken streams", self.broken.to_string())
    }
}

/// What appender and followers share.
struct Course {
    clock: Clock,
    began: Instant,
    /// When each record was acknowledged, in nanoseconds; 0 if it was not.
    acknowledged: Vec<AtomicU64>,
    over: CancellationToken,
}

impl Course {
    fn nanos(&self) -> u64 {
        u64::try_from(self.clock.since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// When a follower saw which record.
type Seen = Vec<(usize, u64)>;

/// Starts the followers, appends at a steady pace, and compares.
pub(super) async fn run(
    followers: u32,
    arguments: &Arguments,
    target: &Target,
    context: &Context,
) -> Result<(), Failure> {
    let records = arguments.duration.as_nanos() / arguments.interval.as_nanos().max(1);
    let records = usize::try_from(records.max(1)).unwrap_or(usize::MAX);
    let course = Arc::new(Course {
        clock: Clock::real(),
        began: Clock::real().now(),
        acknowledged: (0..records).map(|_| AtomicU64::new(0)).collect(),
        over: CancellationToken::new(),
    });
    let (opened, mut ready) = tokio::sync::mpsc::channel(followers as usize);
    let mut streams = JoinSet::new();
    for number in 0..followers as usize {
        let addr = target.seeds[number % target.seeds.len()];
        let path = target.logs[0].records_path.clone();
        streams.spawn(stream(addr, path, Arc::clone(&course), opened.clone()));
    }
    drop(opened);
    let mut open = 0;
    while open < followers && ready.recv().await.is_some() {
        open += 1;
    }
    context.output.note(&format!("{open} of {followers} followers are connected"));
    append(arguments, target, &course).await?;
    course.clock.sleep(GRACE).await;
    course.over.cancel();
    let mut all = Vec::new();
    let mut broken = 0;
    while let Some(seen) = streams.join_next().await {
        match seen {
            Ok(Ok(seen)) => all.push(seen),
            Ok(Err(_)) | Err(_) => broken += 1,
        }
    }
    let report = report(followers, &all, broken, &course);
    context.output.value(&report, FollowReport::table)?;
    if report.received < report.expected {
        return Err(Failure::new(Exit::Failed, "not every follower received every record"));
    }
    Ok(())
}

async fn append(arguments: &Arguments, target: &Target, course: &Course) -> Result<(), Failure> {
    let mut connection = target.connection().await?;
    let length = usize::try_from(arguments.record_bytes).unwrap_or(0);
    for (number, acknowledged) in course.acknowledged.iter().enumerate() {
        let mut body = MARK.to_vec();
        body.extend_from_slice(format!("{number:0DIGITS$}").as_bytes());
        body.resize(body.len().max(length), b'.');
        let path = &target.logs[0].records_path;
        let ask = request("POST", path, "bench", &[("content-type", media::BYTES)], &body);
        let (head, answer) = connection.fetch(&ask).await?;
        if head.status != 200 {
            return Err(refused(&head, &answer));
        }
        acknowledged.store(course.nanos(), Ordering::Release);
        course.clock.sleep(arguments.interval).await;
    }
    Ok(())
}

/// One follower, until the measurement is over.
async fn stream(
    addr: SocketAddr,
    path: String,
    course: Arc<Course>,
    opened: tokio::sync::mpsc::Sender<()>,
) -> std::io::Result<Seen> {
    let mut connection = connect(addr).await?;
    let ask =
        request("GET", &format!("{path}?from=tail"), "bench", &[("accept", media::EVENTS)], b"");
    let mut head = connection.ask(&ask).await?;
    if head.status != 200 {
        return Err(std::io::Error::other(format!("status {}", head.status)));
    }
    // Nobody waits for the news once everybody is there.
    opened.send(()).await.ok();
    drop(opened);
    let mut seen = Seen::new();
    let mut carried: Vec<u8> = Vec::new();
    loop {
        let piece = course.over.run_until_cancelled(connection.piece(&mut head)).await;
        let Some(piece) = piece.transpose()?.map(Option::unwrap_or_default) else {
            return Ok(seen);
        };
        if piece.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let now = course.nanos();
        carried.extend_from_slice(&piece);
        let used = marks(&carried, |number| seen.push((number, now)));
        carried.drain(..used);
    }
}

/// Tells every number behind a mark, and how many bytes need not be looked at again.
fn marks(bytes: &[u8], mut tell: impl FnMut(usize)) -> usize {
    let whole = MARK.len() + DIGITS;
    let mut at = 0;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.windows(whole).position(|window| window.starts_with(MARK)))
    {
        let digits = &bytes[at + found + MARK.len()..at + found + whole];
        if let Some(number) = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()) {
            tell(number);
        }
        at += found + whole;
    }
    at.max(bytes.len().saturating_sub(whole))
}

fn report(followers: u32, all: &[Seen], broken: u64, course: &Course) -> FollowReport {
    let mut each = Histogram::default();
    let mut everybody = Histogram::default();
    let mut last = vec![0; course.acknowledged.len()];
    let mut received = 0;
    for (number, at) in all.iter().flatten().copied() {
        let Some(acknowledged) = course.acknowledged.get(number) else { continue };
        let took = at.saturating_sub(acknowledged.load(Ordering::Acquire));
        each.record(Duration::from_nanos(took));
        last[number] = took.max(last[number]);
        received += 1;
    }
    for took in last {
        everybody.record(Duration::from_nanos(took));
    }
    let records = course.acknowledged.len() as u64;
    FollowReport {
        followers,
        records,
        expected: records * u64::from(followers),
        received,
        p50_us: micros(each.quantile(50_000)),
        p99_us: micros(each.quantile(99_000)),
        max_us: micros(each.max()),
        everybody_p50_us: micros(everybody.quantile(50_000)),
        everybody_max_us: micros(everybody.max()),
        broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_wherever_the_pieces_are_cut() {
        let text =
            b"data: {\"data\":\"quorate-follow-00000007....\"}\n\ndata: quorate-follow-00000008..";
        for cut in 0..text.len() {
            let mut found = Vec::new();
            let mut carried = text[..cut].to_vec();
            let used = marks(&carried, |number| found.push(number));
            carried.drain(..used);
            carried.extend_from_slice(&text[cut..]);
            marks(&carried, |number| found.push(number));
            assert_eq!(found, [7, 8], "cut at {cut}");
        }
    }
}
