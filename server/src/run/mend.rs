//! A damaged journal is made whole before this replica votes or acknowledges anything.
//!
//! It asks the others for what it lacks, as often as it takes, writes in place what they proved, and opens the
//! journal again, until that is whole. Meanwhile it gives them what they lack. What nobody holds is named, at the
//! front door and in the log, and never skipped. What nobody can help with ends the process. Given up are entries
//!
//! - whose effects are flushed here: the state holds all that they did, and the journal then begins behind what is
//!   flushed, as after a state was installed;
//! - in whose place a later leader had others committed, as another replica proves: the journal ends before them, and
//!   the vote is that leader's, as if its entries had come while they were whole. Where nobody can prove it, because
//!   what lies there was let go or both may be the same, the replica waits.
//!
//! An entry that every replica has lost is for an operator to give up (`offline::recover`).
//!
//! Not here: what is proved, and how (`storage::journal`).

use std::sync::Arc;
use std::time::Duration;

use client::types::EntryId;

use super::RunError;
use super::early::Early;
use crate::metrics::Metrics;
use crate::peer::{Asked, HeldJournal, Mender};
use crate::storage::journal::{Vote, WoundedJournal};
use crate::world::{Clock, tasks};

/// How long to wait before everybody is asked once more.
const PAUSE: Duration = Duration::from_secs(1);
/// What is flushed is given up after everybody was asked so often in vain.
const ROUNDS_BEFORE_GIVING_UP: u32 = 10;
/// What is lacking is told in the log once, and again after so many rounds.
const ROUNDS_BETWEEN_WORDS: u32 = 60;

/// Repairs as much as can be written at once; the journal is to be opened again after that.
pub(super) async fn mend(
    journal: Arc<WoundedJournal>,
    flushed: Option<EntryId>,
    early: &mut Early,
    metrics: &Metrics,
    clock: &Clock,
) -> Result<(), RunError> {
    tracing::error!(damage = %journal, "the journal is damaged: repairing it before anything is served");
    let peers = early.peers(HeldJournal::Wounded(journal.clone()), None);
    early.serve_repair(peers.clone());
    let mender = Mender::new(peers);
    for round in 0_u32.. {
        if (round >= ROUNDS_BEFORE_GIVING_UP || journal.is_hopeless())
            && flushed.is_some_and(|flushed| journal.forget(&flushed))
        {
            tracing::warn!(
                ?flushed,
                "nobody gives some entries: the journal is to begin behind what is flushed"
            );
        }
        if journal.is_hopeless() {
            return Err(RunError::Damaged(journal.to_string()));
        }
        early.say(told(&journal, &[]));
        let asked = mender.ask_all(&journal).await;
        for given in asked.iter().filter(|asked| asked.taken > 0) {
            tracing::info!(from = %given.member, entries = given.taken, "lost entries given");
        }
        let mending = journal.clone();
        let written = tasks::blocking(move || mending.mend()).await;
        let written =
            written.map_err(|error| RunError::Io { what: "cannot repair the journal", error })?;
        if let Some(entries) = written {
            metrics.journal_entries_repaired(entries);
            tracing::info!(entries, "damaged places of the journal written again");
            return Ok(());
        }
        if asked.iter().any(|asked| asked.taken > 0) {
            continue;
        }
        if end_before_replaced(&mender, &journal, flushed).await? {
            return Ok(());
        }
        let waiting = told(&journal, &asked);
        if round % ROUNDS_BETWEEN_WORDS == 0 {
            tracing::warn!(%waiting, "the journal lacks entries that nobody gives");
        }
        early.say(waiting);
        clock.sleep(PAUSE).await;
    }
    unreachable!("rounds do not run out")
}

/// Ends the journal before the first entry that is lacking, if others were committed in place of that and of all behind
/// it. Whether it did.
async fn end_before_replaced(
    mender: &Mender,
    journal: &Arc<WoundedJournal>,
    flushed: Option<EntryId>,
) -> Result<bool, RunError> {
    let first = journal.first_lacking();
    if first <= flushed.map(|flushed| flushed.index.get()) {
        return Ok(false);
    }
    let Some((member, committed)) = mender.ask_for_replacement(journal).await else {
        return Ok(false);
    };
    let leader = Vote { term: committed.term.get(), leader: committed.leader, committed: true };
    let ending = journal.clone();
    let ended = tasks::blocking(move || ending.give_up(Some(leader))).await;
    let ended = ended.map_err(|error| RunError::Io { what: "cannot end the journal", error })?;
    tracing::warn!(first, %member, %committed, "damaged entries were replaced by a later leader: cut");
    Ok(ended)
}

/// What is lacking, and why nobody has given it.
fn told(journal: &WoundedJournal, asked: &[Asked]) -> String {
    let ranges = journal.lacking().into_iter().map(|(first, last)| {
        if first == last { format!("{first}") } else { format!("{first} to {last}") }
    });
    let lacking = ranges.collect::<Vec<_>>().join(", ");
    let asked = asked.iter().map(|asked| format!("; replica {}: {}", asked.member, asked.ended));
    format!("the journal lacks entries {lacking}{}", asked.collect::<String>())
}
