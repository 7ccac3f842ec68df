//! [`Producer`]: many records, fast, in order, each stored exactly once.
//!
//! Records are gathered into batches, several of which are under way at a time. Each batch has a
//! number that the service checks, so it is stored once however often it is sent, and behind the one
//! before it. A producer ends with its first error; what is stored of it has no hole.
//!
//! Not here: one append at a time (`Log`), and batches under numbers of the caller's (`Sequencer`).

mod courier;
mod error;
mod gate;
mod lane;
mod ticket;

use std::sync::Arc;
use std::time::Duration;

use courier::Courier;
pub use error::{ProduceError, ProduceFailure};
use gate::{Gate, Gathering};
pub use ticket::{Stored, Ticket};

use super::log::Log;
use crate::types::{BatchLimits, Fence, LogId, NewRecord, ProducerEpoch, ProducerId};

/// Most batches of one producer that may be under way: as many as the service remembers.
pub const IN_FLIGHT_MAX: usize = 5;

/// How a [`Producer`] gathers and sends: `log.producer()`, settings, `start()`.
///
/// ```no_run
/// # async fn run(log: quorate_client::Log) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use quorate_client::{IN_FLIGHT_MAX, Stored};
///
/// let producer = log
///     .producer()
///     .id("till-7".parse()?)                      // takes over from an earlier life
///     .fence("till-7".parse()?)                   // only while the log has this fence
///     .linger(Duration::from_millis(2))
///     .batch_records_max(500)
///     .batch_bytes_max(256 << 10)
///     .in_flight_max(IN_FLIGHT_MAX)
///     .in_flight_bytes_max(4 << 20)
///     .deadline(Duration::from_secs(30))
///     .start();
/// let stored: Stored = producer.submit("hello").await?.await?;
/// println!("{} at {}", producer.id(), stored.position);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a producer has to be started"]
pub struct ProducerBuilder {
    log: Log,
    log_id: Option<LogId>,
    id: Option<ProducerId>,
    epoch: Option<ProducerEpoch>,
    fence: Option<Fence>,
    gathering: Gathering,
    in_flight_max: usize,
    deadline: Duration,
}

impl ProducerBuilder {
    pub(super) fn new(log: Log) -> Self {
        let gathering = Gathering {
            limits: BatchLimits { bytes_max: 1 << 20, ..BatchLimits::default() },
            linger: Duration::from_millis(5),
            bytes_max: 8 << 20,
        };
        Self {
            log,
            log_id: None,
            id: None,
            epoch: None,
            fence: None,
            gathering,
            in_flight_max: IN_FLIGHT_MAX,
            deadline: Duration::from_mins(2),
        }
    }

    /// Who appends, over restarts. With its first batch the producer takes the id over: an earlier
    /// life of it that still appends is [`Fenced`](ProduceFailure::Fenced) from then on. By default a
    /// random id, which nobody had before.
    pub fn id(mut self, id: ProducerId) -> Self {
        self.id = Some(id);
        self
    }

    /// Who appends, and in which epoch it begins: for an id whose epochs the caller counts by itself, far enough apart
    /// that a life never comes up to the next. So a later life is later even if the service never heard of the one
    /// before. Nothing of it gets into another log of the name.
    pub(super) fn life(mut self, log_id: LogId, id: ProducerId, epoch: ProducerEpoch) -> Self {
        self.log_id = Some(log_id);
        self.id = Some(id);
        self.epoch = Some(epoch);
        self
    }

    /// The fence that the log must have.
    pub fn fence(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }

    /// How long a record may wait for others while batches are under way; 5 ms by default. If none
    /// is, it goes at once.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.gathering.linger = linger;
        self
    }

    /// Most records of one batch; 1000 by default, which is also what the service takes by default.
    pub const fn batch_records_max(mut self, records: usize) -> Self {
        self.gathering.limits.records_max = if records == 0 { 1 } else { records };
        self
    }

    /// Most bytes of one batch; 1 MiB by default. A larger record is refused.
    pub const fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.gathering.limits.bytes_max = bytes;
        self
    }

    /// Most batches under way, from 1 to [`IN_FLIGHT_MAX`], which is the default.
    pub fn in_flight_max(mut self, batches: usize) -> Self {
        self.in_flight_max = batches.clamp(1, IN_FLIGHT_MAX);
        self
    }

    /// Most bytes that have been submitted and are not settled, 64 for each record beside its own;
    /// 8 MiB by default. Whoever submits more waits.
    pub const fn in_flight_bytes_max(mut self, bytes: u32) -> Self {
        self.gathering.bytes_max = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// How long a batch may be tried before the producer gives up; two minutes by default. No error
    /// that passes is told earlier.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts it, on the runtime of the caller. Nothing is sent before the first record, except a
    /// question for the epoch of an id that was given.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self) -> Producer {
        let gate = Arc::new(Gate::new(self.gathering));
        let is_new = self.id.is_none().then_some(ProducerEpoch::new(0));
        let id = self.id.unwrap_or_else(random_id);
        let courier = Courier {
            log: self.log,
            log_id: self.log_id,
            id: id.clone(),
            epoch: self.epoch.or(is_new),
            fence: self.fence,
            in_flight_max: self.in_flight_max,
            deadline: self.deadline,
            gate: Arc::clone(&gate),
        };
        tokio::spawn(courier.run());
        Producer { entrance: Arc::new(Entrance { id, gate }) }
    }
}

/// Appends to one log: gathers records, keeps their order, stores each exactly once.
///
/// Clones are the same producer. When the last one is dropped, what was submitted still goes as long
/// as the runtime lives; [`close`](Self::close) waits for it.
///
/// ```no_run
/// # async fn run(quorate: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let producer = quorate.log("orders".parse()?).producer().start();
/// for number in 0..1_000_000 {
///     // Waits if too much is under way. The ticket would tell the position.
///     let _ticket = producer.submit(format!("order {number}")).await?;
/// }
/// producer.flush().await?; // all of them are stored
/// producer.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    entrance: Arc<Entrance>,
}

/// What all clones of a producer share.
#[derive(Debug)]
struct Entrance {
    id: ProducerId,
    gate: Arc<Gate>,
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.gate.close();
    }
}

impl Producer {
    /// Who it is.
    pub fn id(&self) -> &ProducerId {
        &self.entrance.id
    }

    /// Takes a record in, and waits for room if too much is under way. Records are stored in the
    /// order in which they are taken in.
    ///
    /// Safe to cancel: a record for which no ticket came was not taken in.
    pub async fn submit(&self, record: impl Into<NewRecord>) -> Result<Ticket, ProduceError> {
        self.entrance.gate.enter(&record.into()).await
    }

    /// Sends what waits for more, and waits until everything that was submitted before is stored. An
    /// error if the producer has failed; the tickets tell which records are stored nevertheless.
    pub async fn flush(&self) -> Result<(), ProduceError> {
        self.entrance.gate.flush().await
    }

    /// The same, and takes no more records.
    pub async fn close(self) -> Result<(), ProduceError> {
        self.entrance.gate.close();
        self.entrance.gate.flush().await
    }
}

fn random_id() -> ProducerId {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system gives random numbers");
    let id = format!("sdk-{:032x}", u128::from_be_bytes(random));
    ProducerId::new(&id).expect("a short text of letters is an id")
}
