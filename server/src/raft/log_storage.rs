//! The journal, as openraft wants to see it.
//!
//! Order is absolute: votes, entries, cuts and purges reach the journal's one queue in the order
//! of the calls, and nothing is reported before its sync. Entries are readable by every reader
//! when `append` returns, before they are durable.
//!
//! Not here: what is durable when (`storage/journal/writer.rs`).

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use client::types::EntryId;
use futures_util::{Stream, stream};
use openraft::alias::{LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::lost::LostEntries;
use super::types::{
    LogId, RaftEntry, RaftVote, TypeConfig, entry_id, log_id, membership, membership_row,
};
use crate::machine::{EntryBody, Payload};
use crate::storage::journal::{DamagedEntry, Entry, Journal, Vote};
use crate::storage::state::State;
use crate::world::{Clock, tasks};

/// How many bytes of entries one message to a follower, or one step of a replay, may take.
const READ_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The journal of this replica, in openraft's words. A clone is another reader of the same one.
#[derive(Clone)]
pub struct LogStorage {
    journal: Journal,
    lost: LostEntries,
    clock: Clock,
    /// Told when the journal has caught up with an install.
    state: State,
}

impl LogStorage {
    /// Wraps a whole journal, and the state behind it. Entries that a read finds damaged are told to `lost`.
    pub fn new(journal: Journal, state: State, lost: LostEntries, clock: Clock) -> Self {
        Self { journal, lost, clock, state }
    }

    /// At least one entry from `from` on, if there is one before `until`, and as many as fit in
    /// the cap. Entries in memory are answered at once; only older ones go to the files.
    async fn read_some(&self, from: u64, until: u64, bytes_max: u64) -> io::Result<Vec<RaftEntry>> {
        let entries = if let Some(held) = self.journal.read_suffix(from, until, bytes_max) {
            held
        } else {
            self.read_files(from, until, bytes_max).await?
        };
        entries.into_iter().map(raft_entry).collect()
    }

    /// Entries from the files. What is damaged there is waited for until it is repaired: openraft ends the replica over
    /// a read that fails.
    async fn read_files(&self, from: u64, until: u64, bytes_max: u64) -> io::Result<Vec<Entry>> {
        loop {
            let journal = self.journal.clone();
            let read = tasks::blocking(move || journal.read_limited(from, until, bytes_max)).await;
            let damaged = read.as_ref().err().and_then(DamagedEntry::of);
            let Some(DamagedEntry { index }) = damaged else { return read };
            self.lost.found(index);
            if !self.lost.is_settled(index, &self.clock).await {
                return read;
            }
        }
    }

    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        // What was purged is not there to be read; what is there, is read whole.
        let from = from.max(self.journal.first());
        let until = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let until = until.min(self.journal.last().map_or(0, |id| id.index.get() + 1));
        (from, until)
    }
}

impl RaftLogReader<TypeConfig> for LogStorage {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<RaftEntry>> {
        let (from, until) = self.bounds(&range);
        self.read_some(from, until, u64::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.journal.vote().map(|vote| raft_vote(&vote)))
    }

    async fn limited_get_log_entries(
        &mut self,
        from: u64,
        until: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        self.read_some(from, until, READ_BYTES_MAX).await
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, until) = self.bounds(&range);
        let pieces = stream::try_unfold((self.clone(), from), move |(reader, next)| async move {
            if next >= until {
                return Ok(None);
            }
            let entries = reader.read_some(next, until, READ_BYTES_MAX).await?;
            let Some(last) = entries.last() else {
                return Err(io::Error::other(format!("entry {next} is not in the journal")));
            };
            let after = last.log_id.index + 1;
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), (reader, after))))
        });
        Box::pin(futures_util::TryStreamExt::try_flatten(pieces))
    }

    /// The last entry of each leader, which is what openraft makes of the answer, whatever the trait says. From memory:
    /// an old entry that is damaged keeps nobody from starting.
    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> io::Result<Vec<LogId>> {
        let (mut next, last) = (range.start().index, range.end().index);
        let id = |index: u64| {
            let id = self.journal.entry_id(index);
            id.ok_or_else(|| io::Error::other(format!("entry {index} is not in the journal")))
        };
        let mut ids = Vec::new();
        while next <= last {
            let leader = |id: EntryId| (id.term, id.leader);
            let first = id(next)?;
            let (mut its, mut beyond) = (next, last + 1);
            while its + 1 < beyond {
                let middle = its + (beyond - its) / 2;
                if leader(id(middle)?) == leader(first) { its = middle } else { beyond = middle }
            }
            ids.push(log_id(&id(its)?));
            next = beyond;
        }
        Ok(ids)
    }
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let purged = self.journal.purged().map(|id| log_id(&id));
        let last = self.journal.last().map(|id| log_id(&id));
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> io::Result<()> {
        let vote = Vote {
            term: vote.leader_id.term,
            leader: vote.leader_id.node_id,
            committed: vote.committed,
        };
        self.wait(|done| self.journal.save_vote(vote, done)).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(journal_entry).collect();
        self.journal.append(entries, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<TypeConfig>>) -> io::Result<()> {
        let last = last.map(|id| entry_id(&id));
        self.wait(|done| self.journal.truncate_after(last, done)).await
    }

    async fn purge(&mut self, upto: LogIdOf<TypeConfig>) -> io::Result<()> {
        let upto = entry_id(&upto);
        self.journal.purge(upto);
        let settled = self.settle_install(upto);
        tasks::spawn("settle install", settled);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> io::Result<()> {
        self.journal.save_committed(committed.map(|id| entry_id(&id)));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let committed = self.journal.committed();
        // Below the purge mark it says nothing that the flushed state does not say better.
        Ok(committed
            .filter(|id| self.journal.purged().is_none_or(|p| *id >= p))
            .map(|id| log_id(&id)))
    }
}

impl LogStorage {
    /// Once the journal is durably purged up to what was installed, the state need not say any more that it is ahead of
    /// the journal. Until then a start must find that mark.
    fn settle_install(&self, purged: EntryId) -> impl Future<Output = ()> + Send + use<> {
        let (storage, state) = (self.clone(), self.state.clone());
        async move {
            if storage.wait(|done| storage.journal.when_durable(done)).await.is_err() {
                return;
            }
            let cleared = tasks::blocking(move || {
                let installed = state.installed().map_err(io::Error::other)?;
                if installed.is_some_and(|installed| installed.index <= purged.index) {
                    state.clear_installed().map_err(io::Error::other)?;
                }
                Ok(())
            });
            if let Err(error) = cleared.await {
                tracing::warn!(%error, "the mark of an install was not cleared; the next purge does it");
            }
        }
    }

    /// Hands the journal a callback and waits for it.
    async fn wait(&self, submit: impl FnOnce(crate::storage::journal::Done)) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        submit(Box::new(move |result| {
            // Whoever waited may have been dropped with its replica.
            drop(sender.send(result));
        }));
        receiver.await.map_err(|_| io::Error::other("the journal was closed"))?
    }
}

/// An entry of openraft as the journal keeps it. A membership is encoded here; a command comes
/// encoded and hashed.
pub fn journal_entry(entry: RaftEntry) -> Entry {
    let body = match entry.payload {
        EntryPayload::Blank => EntryBody::Blank,
        EntryPayload::Normal(payload) => EntryBody::Command(payload),
        EntryPayload::Membership(membership) => {
            EntryBody::Membership(Payload::new(membership_row(&membership).to_bytes().into()))
        }
    };
    Entry { id: entry_id(&entry.log_id), body }
}

/// The opposite of [`journal_entry`].
pub fn raft_entry(entry: Entry) -> io::Result<RaftEntry> {
    let payload = match entry.body {
        EntryBody::Blank => EntryPayload::Blank,
        EntryBody::Command(payload) => EntryPayload::Normal(payload),
        EntryBody::Membership(payload) => {
            let row = migrations::latest::MembershipRow::from_bytes(&payload.bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            EntryPayload::Membership(membership(&row))
        }
    };
    Ok(RaftEntry { log_id: log_id(&entry.id), payload })
}

fn raft_vote(vote: &Vote) -> RaftVote {
    let mut raft = RaftVote::new(vote.term, vote.leader);
    raft.committed = vote.committed;
    raft
}
