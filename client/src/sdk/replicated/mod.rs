//! [`Replicated`]: the user's own state machine, the same in any number of processes, over one log.
//!
//! A command is a record. Every process applies all records in the order of the log, so all have the same state at the
//! same position. A command is stored once, whatever gets lost on its way; its caller gets the output that its own
//! process computed when the record came back.
//!
//! Snapshots of the state stand in a second log, and what they stand for is trimmed, so neither a start nor the logs
//! grow without a limit.
//!
//! Not here: the state and its commands, which are the user's (`machine`).

mod applier;
mod error;
mod instance;
mod keeper;
mod ledger;
pub(super) mod machine;
mod shelf;
mod tag;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

pub use error::{EndReason, ReplicatedError, ReplicatedFailure};
use instance::Instance;
use keeper::{Interval, Keeper};
use ledger::{Ledger, Sent};
pub use machine::{CodecError, StateMachine};
use shelf::{SUFFIX, Shelf};

use super::error::{Error, Outcome};
use super::kinds::LogError;
use super::log::Log;
use super::producer::ProduceFailure;
use super::retry::moment;
use crate::api::error::ErrorCode;
use crate::api::logs::{LogDescription, Settings};
use crate::api::reading::{ReadFrom, ReadQuery};
use crate::types::{LogName, LogSettings, Position};

/// How a [`Replicated`] is started: `log.replicated(initial)`, settings, `start()`.
///
/// ```no_run
/// # async fn run<S: quorate_client::StateMachine>(log: quorate_client::Log, empty: S) -> Result<(), quorate_client::ReplicatedError> {
/// use std::time::Duration;
///
/// let bank = log
///     .replicated(empty)
///     .snapshot_commands(100_000)
///     .snapshot_bytes(16 << 20)
///     .snapshot_part_bytes(128 << 10)
///     .in_flight_max(64)
///     .deadline(Duration::from_secs(10))
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an instance has to be started"]
pub struct ReplicatedBuilder<S> {
    log: Log,
    initial: S,
    interval: Interval,
    part_bytes: usize,
    in_flight_max: usize,
    deadline: Duration,
}

impl<S: StateMachine> ReplicatedBuilder<S> {
    pub(super) const fn new(log: Log, initial: S) -> Self {
        Self {
            log,
            initial,
            interval: Interval { commands: 10_000, bytes: 64 << 20 },
            part_bytes: 256 << 10,
            in_flight_max: 1024,
            deadline: Duration::from_secs(30),
        }
    }

    /// After how many commands a snapshot is taken; 10 000 by default. All instances of a log had better say the same.
    pub const fn snapshot_commands(mut self, commands: u64) -> Self {
        self.interval.commands = if commands == 0 { 1 } else { commands };
        self
    }

    /// After how many bytes of commands a snapshot is taken, if that comes earlier; about 64 MiB by default.
    pub const fn snapshot_bytes(mut self, bytes: u64) -> Self {
        self.interval.bytes = bytes;
        self
    }

    /// How many bytes of a snapshot a record holds; 256 KiB by default. At most what the service takes as the body of a
    /// record, and a quarter of what it takes at once.
    pub const fn snapshot_part_bytes(mut self, bytes: usize) -> Self {
        self.part_bytes = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// Most commands whose output is not known yet, from 1 on; 1024 by default. Whoever has another one waits.
    pub fn in_flight_max(mut self, commands: usize) -> Self {
        self.in_flight_max = commands.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long a call may take; 30 s by default. A command is tried for two thirds of it; the rest is for finding out
    /// what became of it.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts an instance, on the runtime of the caller: from the newest snapshot if there is one, with the log and the
    /// log of the snapshots made if they are not there. What was done since the snapshot is applied from then on; a
    /// [`query`](Replicated::query) waits for it.
    ///
    /// Refused if one of the logs drops records by itself, by age or size or because it expires: no state machine
    /// survives that.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(self) -> Result<Replicated<S>, ReplicatedError> {
        let found = ensure(&self.log).await?;
        let beside = format!("{}{SUFFIX}", self.log.name());
        let beside = LogName::new(&beside)
            .map_err(|error| Error::usage(format!("no name for its snapshots: {error}")))?;
        let beside = self.log.beside(beside);
        for log in [&found, &ensure(&beside).await?] {
            if drops_by_itself(&log.settings) {
                let reason = format!("the log {} drops records by itself", log.log);
                return Err(Error::usage(reason).into());
            }
        }
        let now = ReadQuery::from(ReadFrom::Tail);
        let history = (found.log_id, self.log.read_of(&now, Some(found.log_id)).await?.generation);
        let snapshots = Shelf::new(beside, found.log_id, self.part_bytes);
        let restored = snapshots.restore::<S>().await?;
        let (applied, state) = restored.unwrap_or((Position::ZERO, self.initial));
        let needed = applied;
        // Asked for anew: what was trimmed while the snapshot was read is in another one.
        let first = self.log.describe_of(found.log_id).await?.first;
        if needed == Position::ZERO && first > needed && snapshots.look().await?.newest.is_none() {
            let why = EndReason::HistoryLost { needed, first };
            return Err(ReplicatedError::ended(why, Outcome::NotDone));
        }
        let instance = Arc::new(Instance::new(self.log, history, state, applied));
        tracing::debug!(
            log = %instance.log.name(), instance = %instance.id, %applied,
            "a replicated state machine started"
        );
        let ledger = Arc::new(Ledger::new(Arc::clone(&instance), self.deadline));
        let (sent, sending) = mpsc::unbounded_channel();
        let keeper = Keeper::new(Arc::clone(&instance), snapshots.clone(), self.interval);
        let mut tasks = JoinSet::new();
        tasks.spawn(watched(Arc::clone(&instance), applier::run(Arc::clone(&instance), snapshots)));
        tasks.spawn(watched(Arc::clone(&instance), Arc::clone(&ledger).run(sending)));
        tasks.spawn(watched(Arc::clone(&instance), keeper.run()));
        let shared = Shared {
            instance,
            ledger,
            sent,
            room: Arc::new(Semaphore::new(self.in_flight_max)),
            next: AtomicU64::new(0),
            deadline: self.deadline,
            _tasks: tasks,
        };
        Ok(Replicated { shared: Arc::new(shared) })
    }
}

fn drops_by_itself(settings: &Settings) -> bool {
    settings.retention_age_ms.is_some()
        || settings.retention_bytes.is_some()
        || settings.ttl_ms.is_some()
        || settings.expires_at.is_some()
}

/// The log as it is, made if it is not there.
async fn ensure(log: &Log) -> Result<LogDescription, LogError> {
    match log.describe().await {
        Err(error) if error.code() == Some(ErrorCode::UnknownLog) => {}
        described => return described,
    }
    match log.create(&LogSettings::default()).await {
        // Somebody made it with other settings meanwhile.
        Err(error) if error.code() == Some(ErrorCode::LogDiffers) => log.describe().await,
        created => created.map(|created| created.log),
    }
}

/// A task of an instance, which ends with it. If it panics, the instance ends and says so.
async fn watched<S: StateMachine>(instance: Arc<Instance<S>>, task: impl Future<Output = ()>) {
    tokio::select! {
        ended = AssertUnwindSafe(task).catch_unwind() => {
            if ended.is_err() {
                instance.end(&EndReason::Interrupted);
            }
        }
        () = instance.over() => {}
    }
}

/// An instance of a replicated state machine: this process's copy of the state, and the way to change it everywhere.
///
/// Clones are the same instance. It ends when the last one is dropped, or when it is [closed](Self::close).
///
/// - [`execute`](Self::execute) does a command once in all instances, and brings the output.
/// - [`query`](Self::query) looks at a state that holds everything that was done before the call, by whomever.
/// - [`query_local`](Self::query_local) looks at the state as it is in this process.
///
/// Commands from one caller that waits for each are done in that order; those under way together, in any.
///
/// ```no_run
/// # async fn run(quorate: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// # use bytes::Bytes;
/// # use quorate_client::codec::{from_json, to_json};
/// # use quorate_client::{CodecError, EndReason, StateMachine};
/// #[derive(Default)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     type Command = u64;
///     type Output = u64;
///     fn apply(&mut self, command: u64) -> u64 {
///         self.0 += command;
///         self.0
///     }
/// #   fn encode(command: &u64) -> Result<Bytes, CodecError> { to_json(command) }
/// #   fn decode(bytes: &[u8]) -> Result<u64, CodecError> { from_json(bytes) }
/// #   fn snapshot(&self) -> Result<Bytes, CodecError> { to_json(&self.0) }
/// #   fn restore(bytes: &[u8]) -> Result<Self, CodecError> { Ok(Self(from_json(bytes)?)) }
///     // encode, decode, snapshot and restore: see `StateMachine`
/// }
///
/// // In as many processes as you like:
/// let counter = quorate.log("visits".parse()?).replicated(Counter::default()).start().await?;
/// let after = counter.execute(1).await?;
/// let now = counter.query(|counter| counter.0).await?;
/// assert!(now >= after);
/// println!("{} up to {}", counter.query_local(|counter| counter.0)?, counter.applied());
///
/// let still = counter.clone();
/// counter.close().await?;
/// assert!(matches!(still.ended().await, EndReason::Closed));
/// println!("{:?}", still.end_reason());
/// # Ok(())
/// # }
/// ```
pub struct Replicated<S: StateMachine> {
    shared: Arc<Shared<S>>,
}

/// What all clones of an instance share. Its tasks end with it.
struct Shared<S: StateMachine> {
    instance: Arc<Instance<S>>,
    ledger: Arc<Ledger<S>>,
    sent: mpsc::UnboundedSender<Sent>,
    room: Arc<Semaphore>,
    next: AtomicU64,
    deadline: Duration,
    _tasks: JoinSet<()>,
}

impl<S: StateMachine> Drop for Shared<S> {
    fn drop(&mut self) {
        self.instance.end(&EndReason::Closed);
    }
}

impl<S: StateMachine> Clone for Replicated<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: StateMachine> fmt::Debug for Replicated<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instance = &self.shared.instance;
        f.debug_struct("Replicated")
            .field("log", &instance.log.name())
            .field("instance", &instance.id)
            .field("applied", &instance.applied())
            .field("end", &instance.end_reason())
            .finish_non_exhaustive()
    }
}

impl<S: StateMachine> Replicated<S> {
    /// Does a command, once, in all instances. Waits until this one has done it, and brings what came of it.
    ///
    /// If this is dropped, or ends with [`Outcome::Unknown`], the command may be done nevertheless, but never twice.
    /// Such an error comes only after the deadline, or if the instance ends or had to go on from a snapshot. To execute
    /// the same again makes another command: one that must not be done twice had better be told by a number of yours
    /// in the command, as the example `bank` does.
    pub async fn execute(&self, command: S::Command) -> Result<S::Output, ReplicatedError> {
        let until = moment(Instant::now(), self.shared.deadline);
        let body = S::encode(&command).map_err(|error| {
            let failure = ReplicatedFailure::Encode(Arc::new(error));
            ReplicatedError::new(failure, Outcome::NotDone)
        })?;
        drop(command);
        let late = |outcome| ReplicatedError::new(ReplicatedFailure::Deadline, outcome);
        let room = timeout_at(until, Arc::clone(&self.shared.room).acquire_owned()).await;
        let room = room.map_err(|_| late(Outcome::NotDone))?;
        let room = room.map_err(|_| self.shared.refused())?;
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let verdict = self.shared.instance.expect(number, room);
        let mut entry = Entry { shared: &self.shared, number, is_sent: false };
        match timeout_at(until, self.shared.send(number, body)).await {
            Ok(sent) => sent?,
            Err(_) => return Err(late(Outcome::NotDone)),
        }
        entry.is_sent = true;
        match timeout_at(until, verdict).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Err(ReplicatedError::ended(EndReason::Interrupted, Outcome::Unknown)),
            Err(_) => Err(late(Outcome::Unknown)),
        }
    }

    /// Looks at the state, with everything in it that was done before this was called, in whatever process.
    ///
    /// The closure holds up the commands that come meanwhile, so it had better be short.
    pub async fn query<R>(&self, look: impl FnOnce(&S) -> R) -> Result<R, ReplicatedError> {
        let instance = &self.shared.instance;
        let fresh = async {
            if let Some(why) = instance.end_reason() {
                return Err(ReplicatedError::ended(why, Outcome::NotDone));
            }
            let tail = instance.tail().await?;
            let ended = |why| ReplicatedError::ended(why, Outcome::NotDone);
            instance.reach(tail).await.map_err(ended)
        };
        match timeout_at(moment(Instant::now(), self.shared.deadline), fresh).await {
            Ok(fresh) => fresh?,
            Err(_) => {
                return Err(ReplicatedError::new(ReplicatedFailure::Deadline, Outcome::NotDone));
            }
        }
        self.query_local(look)
    }

    /// Looks at the state as it is in this process: it holds everything whose output this process has told, and of the
    /// rest what has come so far. Asks nobody.
    pub fn query_local<R>(&self, look: impl FnOnce(&S) -> R) -> Result<R, ReplicatedError> {
        let ended = |why| ReplicatedError::ended(why, Outcome::NotDone);
        self.shared.instance.look(look).map_err(ended)
    }

    /// One past the position of the last command that is in the state of this process.
    pub fn applied(&self) -> Position {
        self.shared.instance.applied()
    }

    /// Why this instance has ended, if it has.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.shared.instance.end_reason()
    }

    /// Waits until this instance has ended, and says why: because a command could not be applied, for example.
    pub async fn ended(&self) -> EndReason {
        self.shared.instance.over().await;
        self.end_reason().unwrap_or(EndReason::Interrupted)
    }

    /// Takes no more commands, waits until it is known what became of those under way, and ends the instance for all
    /// clones. Commands of which nothing is known at the deadline are left to their fate, and an error says so.
    pub async fn close(self) -> Result<(), ReplicatedError> {
        let shared = &self.shared;
        let until = moment(Instant::now(), shared.deadline);
        shared.room.close();
        let settled = timeout_at(until, shared.instance.settled()).await;
        shared.instance.end(&EndReason::Closed);
        settled.map_err(|_| ReplicatedError::new(ReplicatedFailure::Deadline, Outcome::Unknown))
    }
}

impl<S: StateMachine> Shared<S> {
    /// Hands a command over to the producer. Until it is there, it has not been sent.
    async fn send(&self, number: u64, body: bytes::Bytes) -> Result<(), ReplicatedError> {
        let record = tag::command(&self.instance.id, number, body);
        let mut life = self.ledger.life().await;
        loop {
            if self.instance.end_reason().is_some() {
                return Err(self.refused());
            }
            let failed = match life.producer.submit(record.clone()).await {
                Ok(ticket) => {
                    // If nobody takes it, the instance has ended meanwhile, which tells the caller: it may be done.
                    self.sent.send(Sent { number, life, ticket }).ok();
                    return Ok(());
                }
                Err(failed) => failed,
            };
            let is_of_the_command = matches!(failed.failure(), ProduceFailure::Record(_));
            let next = if is_of_the_command { Err(failed) } else { self.ledger.after(&life).await };
            life = next.map_err(|error| {
                ReplicatedError::new(ReplicatedFailure::Produce(error), Outcome::NotDone)
            })?;
        }
    }

    fn refused(&self) -> ReplicatedError {
        let why = self.instance.end_reason().unwrap_or(EndReason::Closed);
        ReplicatedError::ended(why, Outcome::NotDone)
    }
}

/// A command that is noted. If it was not sent, nobody waits for it.
struct Entry<'a, S: StateMachine> {
    shared: &'a Shared<S>,
    number: u64,
    is_sent: bool,
}

impl<S: StateMachine> Drop for Entry<'_, S> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.shared.instance.forget(self.number);
        }
    }
}
