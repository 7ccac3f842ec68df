//! The task that has snapshots taken, and trims what they stand for.
//!
//! Every instance has one, and all of them find at about the same time that a snapshot is due. Whoever begins it first
//! takes it; the others look again later, and take over if nothing comes of it.
//!
//! Of the snapshots, the last two are kept, and with them all commands since the older one: if the newest cannot be
//! read, nothing is lost.
//!
//! Not here: what a snapshot looks like (`shelf`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::EndReason;
use super::instance::Instance;
use super::machine::{CodecError, StateMachine};
use super::shelf::{Look, Shelf};
use crate::api::error::ErrorCode;
use crate::types::Position;

/// When to look again at what somebody else does.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long somebody else may do nothing before this one takes over.
const PATIENCE: Duration = Duration::from_secs(15);
/// When to try again after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// How much may be applied since the newest snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) commands: u64,
    pub(super) bytes: u64,
}

/// The task that has snapshots taken.
pub(super) struct Keeper<S: StateMachine> {
    instance: Arc<Instance<S>>,
    shelf: Shelf,
    interval: Interval,
    /// The newest snapshot that is known, and how many bytes were applied when it became known.
    newest: (Position, u64),
    /// Since when the log of snapshots has had this tail.
    seen: Option<(Position, Instant)>,
}

/// What came of an attempt.
enum Attempt {
    /// There is a new one, or none is due.
    Done,
    /// Somebody else is at it.
    Theirs,
}

impl<S: StateMachine> Keeper<S> {
    pub(super) fn new(instance: Arc<Instance<S>>, shelf: Shelf, interval: Interval) -> Self {
        // What was restored is the newest, as far as is known.
        let newest = (instance.applied(), 0);
        Self { instance, shelf, interval, newest, seen: None }
    }

    /// Goes on until the instance ends.
    pub(super) async fn run(mut self) {
        while self.until_due().await.is_ok() {
            match self.attempt().await {
                Ok(Attempt::Done) => {}
                Ok(Attempt::Theirs) => sleep(LOOK_AGAIN).await,
                Err(reason) => {
                    let log = self.instance.log.name();
                    tracing::warn!(%log, %reason, "no snapshot could be taken");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn until_due(&self) -> Result<(), EndReason> {
        let mut reached = self.instance.reached();
        let reached =
            reached.wait_for(|reached| reached.end.is_some() || self.is_due(reached.applied));
        // The sender lives as long as the instance.
        let end = reached.await.map_err(|_| EndReason::Interrupted)?.end.clone();
        end.map_or(Ok(()), Err)
    }

    fn is_due(&self, applied: Position) -> bool {
        let (newest, bytes) = self.newest;
        let commands = applied.get().saturating_sub(newest.get());
        let bytes = self.instance.bytes().saturating_sub(bytes);
        commands > 0 && (commands >= self.interval.commands || bytes >= self.interval.bytes)
    }

    async fn attempt(&mut self) -> Result<Attempt, CodecError> {
        // Refused if the name means another log by now: its snapshots are none of ours to trim.
        self.instance.log.describe_of(self.instance.log_id).await?;
        let look = self.shelf.look().await?;
        let known = look.newest.as_ref().map(|(_, manifest)| manifest.position);
        if let Some(position) = known.filter(|position| *position > self.newest.0) {
            self.newest = (position, self.instance.bytes());
            if !self.is_due(self.instance.applied()) {
                return Ok(Attempt::Done);
            }
        }
        if self.is_busy(&look) {
            return Ok(Attempt::Theirs);
        }
        let writing = match self.shelf.begin(&look).await {
            Err(error) if error.code() == Some(ErrorCode::TailDiffers) => {
                return Ok(Attempt::Theirs);
            }
            begun => begun?,
        };
        let bytes_before = self.instance.bytes();
        let (position, bytes) = self.instance.snapshot().await?;
        let (at, manifest) = match writing.finish(position, &bytes).await {
            Err(error) if error.code() == Some(ErrorCode::TailDiffers) => {
                return Ok(Attempt::Theirs);
            }
            written => written?,
        };
        tracing::debug!(log = %self.instance.log.name(), %position, bytes = bytes.len(), %at, "a snapshot was taken");
        self.newest = (position, bytes_before);
        let kept = look.newest.map(|(_, previous)| previous);
        self.shelf.trim(kept.as_ref().map_or(manifest.begun, |previous| previous.begun)).await?;
        if let Some(previous) = kept {
            self.instance.log.trim_of(self.instance.log_id, previous.position).await?;
        }
        Ok(Attempt::Done)
    }

    /// Whether somebody else is writing, as far as can be seen from here.
    fn is_busy(&mut self, look: &Look) -> bool {
        if look.is_idle {
            return false;
        }
        let now = Instant::now();
        let (tail, since) = *self.seen.get_or_insert((look.tail, now));
        if tail != look.tail {
            self.seen = Some((look.tail, now));
            return true;
        }
        now.duration_since(since) < PATIENCE
    }
}
