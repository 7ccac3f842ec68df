//! Takes what this replica lost from the others: the records of a tile, and hashes of tiles.
//!
//! Every member that has them is asked, one after the other, until what one of them gave is proved by what is here and
//! written (`storage::state`). So it does not matter whom it comes from, nor what a member that is damaged itself gives.
//! A hash that is lost is proved by the one above it, which may have to be taken from the others first.
//!
//! Not here: when it is done (`node::scrub`), and the entries of the journal.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::types::{Digest, LogId, PositionRange, ReplicaId};

use super::transfer::wire::{
    RecordSpan, RecordsAnswer, RecordsQuestion, TileSpan, TilesAnswer, TilesQuestion,
};
use super::{Peers, paths};
use crate::machine::TILE_WIDTH;
use crate::raft::Raft;
use crate::storage::StorageError;
use crate::storage::state::{RECORD_HEAD_BYTES, Rewritten, State, TileLook, TimedWalk};
use crate::world::tasks;

/// A member from which nothing comes for so long is passed over.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// The most bytes of records that are asked for at a time.
const ANSWER_BYTES: u32 = 2 << 20;
/// A log that moves on while its last tile is fetched is followed so many times.
const ATTEMPTS_MAX: usize = 3;

/// What became of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It is not damaged.
    NotNeeded,
    /// What was damaged was written again.
    Done,
}

/// Why a tile is still damaged.
#[derive(Debug, thiserror::Error)]
pub enum NotRepaired {
    /// Nobody gave what is right.
    #[error("no other replica gave what is lost")]
    NoSource,
    /// It cannot be said how many bytes come before it: what is around it has to be repaired first.
    #[error("what lies around it is damaged, too")]
    Placeless,
    /// Storage failed, or is damaged in its structure.
    #[error(transparent)]
    Storage(#[from] io::Error),
}

/// Repairs tiles. A clone is the same.
#[derive(Clone)]
pub struct Repairer {
    peers: Peers,
    raft: Raft,
    state: State,
}

impl Repairer {
    /// Takes what is lost in `state` from the members of the group.
    pub fn new(peers: Peers, raft: Raft, state: State) -> Self {
        Self { peers, raft, state }
    }

    /// Looks at a tile, and repairs it if it is damaged.
    pub async fn repair(&self, log: LogId, number: u64) -> Result<Repair, NotRepaired> {
        let mut done = Repair::NotNeeded;
        for _ in 0..ATTEMPTS_MAX {
            let looked = self.blocking(move |state| state.look_at_tile(log, number)).await?;
            let TileLook::Damaged(range) = looked else { return Ok(done) };
            done = Repair::Done;
            match self.repair_records(log, number, range).await? {
                Rewritten::Done => return Ok(done),
                Rewritten::Moved => {}
                Rewritten::Placeless => return Err(NotRepaired::Placeless),
                Rewritten::Wrong | Rewritten::Unproved => {
                    self.repair_hashes(log, number / TILE_WIDTH).await?;
                }
            }
        }
        Err(NotRepaired::NoSource)
    }

    /// Asks one member after the other for the records, until they are written.
    async fn repair_records(
        &self,
        log: LogId,
        number: u64,
        range: PositionRange,
    ) -> Result<Rewritten, NotRepaired> {
        let mut result = None;
        for member in self.members() {
            let Some(records) = self.fetch_records(member, log, range).await else { continue };
            let rewritten =
                self.blocking(move |state| state.rewrite_tile(log, number, &records)).await?;
            match rewritten {
                Rewritten::Wrong => {
                    tracing::warn!(from = %member, %log, %range, "a replica gave wrong records");
                    result = result.or(Some(rewritten));
                }
                Rewritten::Done | Rewritten::Unproved | Rewritten::Placeless | Rewritten::Moved => {
                    return Ok(rewritten);
                }
            }
        }
        result.ok_or(NotRepaired::NoSource)
    }

    /// All records of a range, if a member has them.
    async fn fetch_records(
        &self,
        member: ReplicaId,
        log: LogId,
        range: PositionRange,
    ) -> Option<Bytes> {
        let (mut from, until) = (range.from(), range.until());
        let mut all = BytesMut::new();
        while from < until {
            let spans = vec![RecordSpan { log, from, until }];
            let question = RecordsQuestion { spans, bytes_max: ANSWER_BYTES };
            let answer: RecordsAnswer = self
                .peers
                .ask_for_state(member, paths::RECORDS, &question, SILENCE_MAX)
                .await
                .ok()?;
            let part = answer.0.into_iter().next().filter(|part| !part.is_empty())?;
            let (mut count, mut length) = (0, 0);
            for (_, untimed) in TimedWalk(part.clone()) {
                count += 1;
                length += RECORD_HEAD_BYTES + untimed.len();
            }
            if length != part.len() || count > until.since(from) {
                return None;
            }
            from = from.advance(count);
            all.extend_from_slice(&part);
        }
        Some(all.freeze())
    }

    /// Takes a group of the lowest hashes anew, and those above it as far as they are needed to prove it.
    async fn repair_hashes(&self, log: LogId, group: u64) -> Result<(), NotRepaired> {
        let mut open = vec![(0, group)];
        while let Some((level, group)) = open.pop() {
            match self.repair_group(log, (level, group)).await? {
                Rewritten::Done | Rewritten::Moved => {}
                Rewritten::Unproved if usize::from(level) == open.len() && level < u8::MAX => {
                    open.extend([(level, group), (level + 1, group / TILE_WIDTH)]);
                }
                Rewritten::Unproved | Rewritten::Wrong | Rewritten::Placeless => {
                    return Err(NotRepaired::NoSource);
                }
            }
        }
        Ok(())
    }

    async fn repair_group(
        &self,
        log: LogId,
        (level, group): (u8, u64),
    ) -> Result<Rewritten, NotRepaired> {
        let count = self.blocking(move |state| state.group_length(log, level, group)).await?;
        let from = group * TILE_WIDTH;
        let mut result = None;
        for member in self.members() {
            let question = TilesQuestion(vec![TileSpan { log, level, from, until: from + count }]);
            let asked = self.peers.ask_for_state(member, paths::TILES, &question, SILENCE_MAX);
            let Ok(TilesAnswer(spans)) = asked.await else { continue };
            let hashes: Vec<Digest> = spans.into_iter().next().unwrap_or_default();
            let rewritten = self
                .blocking(move |state| state.rewrite_hashes(log, (level, group), &hashes))
                .await?;
            match rewritten {
                // It has fewer than there are here, or gave wrong ones.
                Rewritten::Wrong | Rewritten::Moved => result = Some(rewritten),
                Rewritten::Done | Rewritten::Unproved | Rewritten::Placeless => {
                    return Ok(rewritten);
                }
            }
        }
        result.ok_or(NotRepaired::NoSource)
    }

    fn members(&self) -> Vec<ReplicaId> {
        let membership = self.raft.membership();
        let nodes = membership.borrow().row.nodes.clone();
        let ourselves = self.peers.identity().replica;
        nodes.keys().filter_map(|id| ReplicaId::new(*id)).filter(|id| *id != ourselves).collect()
    }

    async fn blocking<A: Send + 'static>(
        &self,
        call: impl FnOnce(&State) -> Result<A, StorageError> + Send + 'static,
    ) -> Result<A, NotRepaired> {
        let state = self.state.clone();
        let has_others = !self.members().is_empty();
        let called = tasks::blocking(move || {
            call(&state).map_err(|error| {
                let told = error.to_string();
                // Pages that lead to records are nothing that a tile could put right; all of it is, at the next start.
                if has_others && matches!(error, StorageError::Damaged { .. }) {
                    state.give_up(error);
                }
                io::Error::other(told)
            })
        });
        Ok(called.await?)
    }
}
