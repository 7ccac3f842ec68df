//! What was asked, what was answered, and when: the evidence of a run.
//!
//! An answer is one of three: done, not done, unknown. A caller that got no answer, or an answer that
//! leaves it open, records *unknown* and never guesses. A record is known by the digest of its body;
//! a workload gives every record a body of its own, so that one body at two positions is a duplicate.
//! Written out, a history is one JSON object per line, so that others can check it too.
//!
//! Not here: what must hold over a history (`check`), and who makes one (`workload`).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    io::{self, BufRead, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// A point in time: nanoseconds since the run began, by a clock that never goes back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = self.0 / 1_000;
        write!(out, "{}.{:06} s", microseconds / 1_000_000, microseconds % 1_000_000)
    }
}

/// A record as the checker knows it: the first half of the SHA-256 of its body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Value(u128);

impl Value {
    /// The value of a body.
    pub fn of(body: &[u8]) -> Self {
        let digest = Sha256::digest(body);
        let half: [u8; 16] = digest[..16].try_into().expect("half of 32 bytes are 16");
        Self(u128::from_be_bytes(half))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl From<Value> for String {
    fn from(value: Value) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Value {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

/// The three answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<T> {
    /// It happened, and this is what it yielded.
    Done(T),
    /// It certainly did not happen, and never will.
    NotDone {
        /// What the service or the client said.
        reason: String,
    },
    /// It may have happened, or may still happen.
    Unknown {
        /// What the service or the client said.
        reason: String,
    },
}

impl<T> Outcome<T> {
    /// What a done call yielded.
    pub fn done(&self) -> Option<&T> {
        match self {
            Self::Done(yielded) => Some(yielded),
            Self::NotDone { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// Who appended a batch, in which life, and which of its batches it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The producer.
    pub producer: String,
    /// Its epoch.
    pub epoch: u64,
    /// The number of the batch in that epoch, from 0.
    pub sequence: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "producer {} epoch {} sequence {}", self.producer, self.epoch, self.sequence)
    }
}

/// Where an acknowledged batch lies: `[first, next)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The position of its first record.
    pub first: u64,
    /// One past its last record.
    pub next: u64,
}

/// How fresh a read claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It shows everything acknowledged before it began.
    Linearizable,
    /// It shows what the replica had.
    Local,
}

/// What a read showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Position and value of each record, as the answer had them.
    pub records: Vec<(u64, Value)>,
    /// The tail that the answer claims, if it claims one.
    pub tail: Option<u64>,
    /// The replica that served it, 0 if it did not say.
    pub replica: u64,
}

/// A log as one replica holds it when everything has healed, read from end to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// The replica.
    pub replica: u64,
    /// The trim point, as commands have set it.
    pub trim: u64,
    /// The tail.
    pub tail: u64,
    /// Every record it holds.
    pub records: Vec<(u64, Value)>,
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Asked to append a batch. A log deleted and created again is another log: name it apart.
    Append {
        /// The log.
        log: String,
        /// The batch.
        values: Vec<Value>,
        /// What makes a retry of it safe.
        stamp: Option<Stamp>,
        /// The answer.
        outcome: Outcome<Appended>,
    },
    /// Asked to read, or went on following.
    Read {
        /// The log.
        log: String,
        /// The position asked for.
        from: u64,
        /// The freshness asked for.
        level: Level,
        /// The answer.
        outcome: Outcome<Page>,
    },
    /// Did something to the group that it must survive.
    Fault {
        /// Its kind, as coverage counts it: `kill leader`, `kill all`.
        kind: String,
    },
    /// Read a log at the end of the run, from one replica.
    Final {
        /// The log.
        log: String,
        /// What that replica holds.
        holds: Final,
    },
    /// Compared a property of a replica's state at the end: roots, digests, membership.
    Fact {
        /// The replica.
        replica: u64,
        /// The property.
        name: String,
        /// What the replica says of it.
        value: String,
    },
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Who: a producer, a reader, the tester itself. One does one thing after another.
    pub who: String,
    /// When it asked.
    pub asked: Moment,
    /// When it knew the answer, or gave up waiting for one.
    pub answered: Moment,
    /// What it did.
    pub action: Action,
}

/// All calls of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// In the order in which they were recorded.
    pub calls: Vec<Call>,
}

impl History {
    /// Writes one JSON object per line.
    pub fn write_ndjson(&self, out: &mut impl Write) -> io::Result<()> {
        for call in &self.calls {
            serde_json::to_writer(&mut *out, call)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Reads what `write_ndjson` wrote.
    pub fn read_ndjson(text: impl BufRead) -> io::Result<Self> {
        let calls = text.lines().map(|line| Ok(serde_json::from_str(&line?)?));
        Ok(Self { calls: calls.collect::<io::Result<_>>()? })
    }
}

/// Takes down calls from many tasks. Clones share one history and one clock.
#[derive(Debug, Clone)]
pub struct Recorder {
    start: Instant,
    calls: Arc<Mutex<Vec<Call>>>,
    appends_done: Arc<AtomicUsize>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), calls: Arc::default(), appends_done: Arc::default() }
    }
}

impl Recorder {
    /// The present moment.
    pub fn now(&self) -> Moment {
        let nanoseconds = self.start.elapsed().as_nanos();
        Moment(u64::try_from(nanoseconds).expect("a run lasts less than 500 years"))
    }

    /// Takes down that `who` did this, asked at `asked` and answered now.
    pub fn record(&self, who: &str, asked: Moment, action: Action) {
        if matches!(&action, Action::Append { outcome: Outcome::Done(_), .. }) {
            self.appends_done.fetch_add(1, Ordering::Relaxed);
        }
        let call = Call { who: who.to_owned(), asked, answered: self.now(), action };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Takes down that the group was done something to, now.
    pub fn record_fault(&self, kind: &str) {
        self.record("tester", self.now(), Action::Fault { kind: kind.to_owned() });
    }

    /// How many appends have been acknowledged so far.
    pub fn appends_done(&self) -> usize {
        self.appends_done.load(Ordering::Relaxed)
    }

    /// What has been taken down so far.
    pub fn history(&self) -> History {
        History { calls: self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_written_out_reads_back_the_same() {
        let recorder = Recorder::default();
        let asked = recorder.now();
        let values = vec![Value::of(b"a"), Value::of(b"b")];
        let stamp = Some(Stamp { producer: "p".to_owned(), epoch: 1, sequence: 0 });
        let log = "orders".to_owned();
        let records = vec![(0, values[0]), (1, values[1])];
        let page = Page { records: records.clone(), tail: Some(2), replica: 1 };
        let holds = Final { replica: 1, trim: 0, tail: 2, records };
        for action in [
            Action::Append {
                log: log.clone(),
                values,
                stamp,
                outcome: Outcome::Done(Appended { first: 0, next: 2 }),
            },
            Action::Read {
                log: log.clone(),
                from: 0,
                level: Level::Linearizable,
                outcome: Outcome::Done(page),
            },
            Action::Final { log, holds },
            Action::Fact { replica: 1, name: "root".to_owned(), value: "00".to_owned() },
        ] {
            recorder.record("tester", asked, action);
        }
        recorder.record_fault("kill leader");

        let history = recorder.history();
        let mut text = Vec::new();
        history.write_ndjson(&mut text).expect("a vector takes every write");
        assert_eq!(String::from_utf8_lossy(&text).lines().count(), 5);
        assert_eq!(History::read_ndjson(&*text).expect("it was just written"), history);
    }
}
