//! A state that is lost is set aside, and what it should be is taken from the others before anything is served.
//!
//! It is lost if it cannot be opened, if its rows are not what was executed, or if the journal does not go on from it.
//! Only the journal has to be whole, so this replica has forgotten neither what it acknowledged nor what it voted; it
//! waits for the others, and says so at the front door, as long as no majority tells what the state was.
//!
//! Not here: what is believed of what the others tell (`peer::transfer`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::RunError;
use super::early::Early;
use crate::metrics::Metrics;
use crate::peer::Refiller;
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::journal::Journal;
use crate::storage::state::{State, StateManifest};
use crate::world::Clock;

/// Before everybody is asked once more.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the front door says how far it is.
const SAY_EVERY: Duration = Duration::from_millis(500);
/// What it waits for is told in the log once, and again after so many rounds.
const ROUNDS_BETWEEN_WORDS: u32 = 60;

/// Where the state of a replica lies, and what lies beside it.
#[derive(Debug, Clone)]
pub(super) struct StateFile {
    pub(super) path: PathBuf,
}

impl StateFile {
    /// A lost state, until the new one is whole.
    fn aside(&self) -> PathBuf {
        self.path.with_extension("redb.damaged")
    }

    /// Says that the state is damaged where an opening might not look.
    fn mark(&self) -> PathBuf {
        self.path.with_extension("redb.unfit")
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Whether it was found damaged while it was used.
    pub(super) fn is_marked(&self) -> Result<bool, RunError> {
        RealDisk.exists(&self.mark()).map_err(io("look for the mark of a damaged state"))
    }

    /// The next start is not to use it.
    pub(super) fn set_mark(&self) -> Result<(), RunError> {
        RealDisk.open(&self.mark()).map_err(io("mark a damaged state"))?;
        RealDisk.sync_dir(self.folder()).map_err(io("mark a damaged state"))
    }

    /// Sets a state aside, and forgets that it was damaged.
    pub(super) fn set_aside(&self) -> Result<(), RunError> {
        if RealDisk.exists(&self.path).map_err(io("find the state"))? {
            RealDisk.rename(&self.path, &self.aside()).map_err(io("set the state aside"))?;
        }
        self.remove(&self.mark())
    }

    /// The new state is whole: what was set aside is of no use any more.
    pub(super) fn tidy(&self) -> Result<(), RunError> {
        self.remove(&self.aside())
    }

    fn remove(&self, path: &Path) -> Result<(), RunError> {
        if RealDisk.exists(path).map_err(io("look beside the state"))? {
            RealDisk.remove(path).map_err(io("tidy up beside the state"))?;
        }
        RealDisk.sync_dir(self.folder()).map_err(io("tidy up beside the state"))
    }
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |error| RunError::Io { what, error }
}

/// Fills an empty state, from which a journal has to go on.
pub(super) async fn refill(
    journal: &Journal,
    state: &State,
    early: &mut Early,
    metrics: &Metrics,
    clock: &Clock,
) -> StateManifest {
    let peers = early.peers(journal.clone().into(), None);
    early.serve_repair(peers.clone());
    let refiller =
        Refiller::new(peers, journal.clone(), state.clone(), metrics.clone(), clock.clone());
    early.say("the state is lost, and taken from the others".to_owned());
    refiller.introduce().await;
    let mut round = 0_u32;
    loop {
        let reason = match attempt(&refiller, early, clock).await {
            Ok(manifest) => {
                tracing::info!(entry = %manifest.applied(), "the state was taken from the others");
                return manifest;
            }
            Err(reason) => reason,
        };
        if round.is_multiple_of(ROUNDS_BETWEEN_WORDS) {
            tracing::warn!(reason, "the state is lost, and nobody gives it yet");
        }
        round = round.wrapping_add(1);
        early.say(format!("the state is lost: {reason}"));
        clock.sleep(PAUSE).await;
    }
}

/// One attempt; the front door says how far it is.
async fn attempt(
    refiller: &Refiller,
    early: &Early,
    clock: &Clock,
) -> Result<StateManifest, String> {
    let mut refilling = Box::pin(refiller.refill());
    loop {
        if let Ok(done) = clock.within(SAY_EVERY, &mut refilling).await {
            return done.map_err(|reason| reason.to_string());
        }
        if let Some(shown) = refiller.shown().filter(|shown| shown.ended.is_none()) {
            let total = shown.bytes_total.map_or_else(String::new, |all| format!(" of {all}"));
            let done = shown.bytes_done;
            early.say(format!("the state is lost: {done}{total} bytes are here again"));
        }
    }
}
