//! Carries a change of the membership out, while this replica leads.
//!
//! One look, one step: what is there is read as of now, by a majority's word, and every step is bound to the membership it
//! was decided from, so a leader that has lost its office unknowingly does nothing.
//!
//! Not here: which step comes next (`step`), and the task that looks again and again (`admission`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::api::cluster::JoinNonce;
use client::api::transfers::{TransferDirection, TransferStage};
use client::types::{EntryIndex, ReplicaId};
use futures_util::future::join_all;
use migrations::latest::changes::{ChangeRow, StageRow};
use tracing::{info, warn};

use super::step::{Presence, Scene, Step};
use crate::machine::{Author, MoveChange, Rejection};
use crate::node::plan::words;
use crate::node::{Core, Node};
use crate::raft::{MembershipError, MembershipState};
use crate::world::Instant;

/// A newcomer that has not answered for so long is not waited for any more.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// A step that is not done by then is looked at again.
const STEP_MAX: Duration = Duration::from_secs(10);
/// How long those who leave are told so.
const TELL_MAX: Duration = Duration::from_secs(3);
/// How long it is tried to give leadership to whom it was wished for, or to one who stays.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);

/// What is known of the change under way, beside what is agreed on. In memory, on the leader.
#[derive(Debug, Default)]
pub(in crate::node) struct Carrying {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Which change the rest is about.
    change: u64,
    waits_for: Option<String>,
    /// When each member was first waited for, or heard last.
    since: BTreeMap<u64, Instant>,
    /// Where those were found who are off the list by now.
    places: BTreeMap<u64, String>,
    /// Since when it is tried to hand over.
    handing_over: Option<Instant>,
}

impl Carrying {
    fn of(&self, change: u64) -> MutexGuard<'_, State> {
        // Whatever a panic left behind is thrown away with the change.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.change != change {
            *state = State { change, ..State::default() };
        }
        state
    }

    /// What a change waits for, as far as is known here.
    pub(super) fn waits_for(&self, change: u64) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.change == change).then(|| state.waits_for.clone())?
    }
}

impl Node {
    /// One look at a change that is under way, and at most one step.
    pub(in crate::node) async fn carry_change(&self, change: u64, row: &ChangeRow) {
        let core = &*self.core;
        let clock = &core.world.clock;
        let membership = core.membership.borrow().clone();
        if !membership.is_committed {
            return;
        }
        let step = core.next_step(change, row, &membership);
        let waits_for = match &step {
            Step::Wait(reason) => Some(reason.clone()),
            Step::Admit(_)
            | Step::Relocate(_)
            | Step::HandOver { .. }
            | Step::Vote { .. }
            | Step::Drop(_)
            | Step::Tell(..)
            | Step::Move(..) => None,
        };
        core.carrying.of(change).waits_for = waits_for;
        if matches!(step, Step::Wait(_)) {
            return;
        }
        info!(change, ?step, "change of the membership");
        if clock.within(STEP_MAX, self.take_step(change, row, &membership, step)).await.is_err() {
            warn!(change, "a step was not done in time; looking again");
        }
    }

    async fn take_step(
        &self,
        change: u64,
        row: &ChangeRow,
        membership: &MembershipState,
        step: Step,
    ) {
        let core = &*self.core;
        let entry = membership.entry;
        let done = match step {
            Step::Wait(_) => Ok(()),
            Step::Admit(nodes) => {
                let newcomers: BTreeSet<u64> = nodes.keys().copied().collect();
                let added = core.raft.add_learners(nodes, entry).await;
                if added.is_ok() {
                    core.tell_newcomers(&newcomers);
                }
                added
            }
            Step::Relocate(nodes) => core.raft.relocate(nodes, entry).await,
            Step::Vote { voters, are_others_kept } => {
                core.note_places(change, row, membership);
                let voters = voters.into_iter().filter_map(ReplicaId::new).collect();
                core.raft.change_voters(voters, are_others_kept, entry).await
            }
            Step::Drop(learners) => {
                core.note_places(change, row, membership);
                core.raft.remove_learners(learners, entry).await
            }
            Step::HandOver { not_to, is_wished } => {
                self.hand_over_for(change, row, is_wished, &not_to).await;
                Ok(())
            }
            Step::Tell(gone, end) => {
                let untold = core.tell_those_who_left(change, &gone).await;
                core.move_change(change, row, end, &outcome(row, &untold)).await;
                Ok(())
            }
            Step::Move(stage, reason) => {
                core.move_change(change, row, stage, &reason).await;
                Ok(())
            }
        };
        match done {
            Ok(()) => {}
            Err(reason @ (MembershipError::EpochMoved | MembershipError::NotLeader { .. })) => {
                tracing::debug!(change, %reason, "looking again");
            }
            Err(reason) => warn!(change, %reason, "a step of the change was not done"),
        }
    }

    /// Gives leadership away, as the change needs it or as it was wished.
    async fn hand_over_for(
        &self,
        change: u64,
        row: &ChangeRow,
        is_wished: bool,
        not_to: &BTreeSet<u64>,
    ) {
        let core = &*self.core;
        let began =
            *core.carrying.of(change).handing_over.get_or_insert_with(|| core.world.clock.now());
        let Err(reason) = self.hand_over_but_to(not_to).await else { return };
        core.carrying.of(change).waits_for =
            Some(format!("leadership to be handed over: {reason}"));
        let is_given_up = is_wished && core.world.clock.since(began) > HAND_OVER_MAX;
        if is_given_up && core.leadership.borrow().here {
            let outcome = format!("leadership was not handed over: {reason}");
            core.move_change(change, row, StageRow::Done, &outcome).await;
        }
    }
}

/// What is to be said at the end.
fn outcome(row: &ChangeRow, untold: &[u64]) -> String {
    let mut outcome = row.outcome.clone();
    if !untold.is_empty() {
        let untold: Vec<String> = untold.iter().map(ToString::to_string).collect();
        let told = format!("not told, because nobody answered: replica {}", untold.join(", "));
        outcome = if outcome.is_empty() { told } else { format!("{outcome}; {told}") };
    }
    outcome
}

impl Core {
    fn next_step(&self, change: u64, row: &ChangeRow, membership: &MembershipState) -> Step {
        let now = self.world.clock.now();
        let last = self.raft.progress().last.map_or(0, EntryIndex::get);
        let purged = self.journal.purged().map_or(0, |purged| purged.index.get());
        let replication = self.raft.replication();
        let mut carrying = self.carrying.of(change);
        let mut others = BTreeMap::new();
        for (id, node) in &membership.row.nodes {
            let Some(replica) = ReplicaId::new(*id) else { continue };
            let progress = replication.get(&replica).copied().unwrap_or_default();
            let since = *carrying.since.entry(*id).or_insert(now);
            let heard = progress.heard.map_or(since, |heard| heard.max(since));
            carrying.since.insert(*id, heard);
            let matched = progress.matched.map_or(0, EntryIndex::get);
            let lag = (matched >= purged).then(|| last.saturating_sub(matched));
            let is_recent =
                |heard: Instant| now.saturating_duration_since(heard) <= self.options.heard_within;
            let is_known = |nonce: JoinNonce| {
                self.probes.membership_changes.admitted(nonce.get()) == Some(replica)
            };
            let presence = Presence {
                is_here: progress.heard.is_some_and(is_recent),
                is_given_up: now.saturating_duration_since(heard) > SILENCE_MAX,
                is_lost: self.joiners.asks_anew(&node.peer_addr, since, is_known),
                lag,
                doing: self.transfer_to(replica),
            };
            others.insert(*id, presence);
        }
        let handing_over = carrying.handing_over.map(|began| now.saturating_duration_since(began));
        drop(carrying);
        let scene = Scene {
            change: row,
            membership: &membership.row,
            ourselves: self.identity.replica.get(),
            others: &others,
            lag_max: self.options.promotion_lag_max,
            is_hand_over_given_up: handing_over.is_some_and(|tried| tried > HAND_OVER_MAX),
        };
        scene.step()
    }

    /// What the transfer to a replica is doing, if there is one under way.
    fn transfer_to(&self, replica: ReplicaId) -> Option<String> {
        let mut transfers = self.peers.board().list().into_iter();
        let transfer = transfers.find(|transfer| {
            transfer.direction == TransferDirection::Offering
                && transfer.peer == replica
                && !matches!(transfer.stage, TransferStage::Done | TransferStage::Failed)
        })?;
        let so_far = match transfer.bytes_total {
            Some(total) if total > 0 => {
                let percent = transfer.bytes_done.saturating_mul(100) / total;
                format!("fetching the state, {percent} % of {}", words::bytes(total))
            }
            Some(_) | None => "fetching the state".to_owned(),
        };
        // What is paused takes as long as it is.
        let left = transfer.seconds_left.filter(|_| !transfer.is_paused).map(Duration::from_secs);
        let left = left.map_or(String::new(), |left| format!(", {} left", words::time(left)));
        let held = transfer.waits_for.map_or(String::new(), |what| format!("; waits for {what}"));
        Some(format!("{so_far}{left}{held}"))
    }

    /// Those who asked to join and were let in are told who they are.
    fn tell_newcomers(&self, newcomers: &BTreeSet<u64>) {
        let now = self.world.clock.now();
        for nonce in self.joiners.nonces(now) {
            let admitted = self.probes.membership_changes.admitted(nonce.get());
            if let Some(replica) = admitted.filter(|replica| newcomers.contains(&replica.get())) {
                info!(%replica, "replica let in as a learner");
                self.joiners.admitted(nonce, replica, now);
            }
        }
    }

    /// Remembers where those are found who are about to leave the list.
    fn note_places(&self, change: u64, row: &ChangeRow, membership: &MembershipState) {
        let gone = row.intent.leaves.iter().chain(&row.joins);
        let found =
            gone.filter_map(|id| Some((*id, membership.row.nodes.get(id)?.peer_addr.clone())));
        self.carrying.of(change).places.extend(found);
    }

    /// Tells those who left that they did. Who could not be told.
    async fn tell_those_who_left(&self, change: u64, gone: &BTreeSet<u64>) -> Vec<u64> {
        let ourselves = self.identity.replica.get();
        let places = self.carrying.of(change).places.clone();
        let told = gone.iter().filter(|id| **id != ourselves).map(|id| {
            let (place, peers) = (places.get(id).cloned(), &self.peers);
            async move {
                let (Some(replica), Some(place)) = (ReplicaId::new(*id), place) else {
                    return Some(*id);
                };
                peers.say_farewell(replica, &place).await.err().map(|_| *id)
            }
        });
        let told = self.world.clock.within(TELL_MAX, join_all(told)).await;
        told.map_or_else(
            |_| gone.iter().copied().collect(),
            |told| told.into_iter().flatten().collect(),
        )
    }

    async fn move_change(&self, change: u64, row: &ChangeRow, to: StageRow, outcome: &str) {
        let (stamp, from) = (self.proposer.stamp(), row.stage);
        let outcome = bounded(outcome);
        let moved = MoveChange { stamp, change, from, to, outcome };
        let limit = self.options.command_deadline;
        let moved = if to.is_end() {
            // What came of it belongs to whoever began it.
            let author = Author { by: row.intent.by.clone(), from: row.intent.from.clone() };
            self.proposer.propose_for(author, moved, limit).await
        } else {
            self.proposer.propose(moved, limit).await
        };
        match moved {
            Ok(Ok(())) => info!(change, stage = ?to, "the change has moved on"),
            Ok(Err(Rejection::OtherStage { stage })) => {
                tracing::debug!(change, ?stage, "somebody else moved the change on");
            }
            Ok(Err(rejection)) => warn!(change, %rejection, "the change was not moved on"),
            Err(reason) => tracing::debug!(change, %reason, "the change was not moved on"),
        }
    }
}

/// No longer than may be kept, cut between two letters.
fn bounded(text: &str) -> String {
    let max = migrations::latest::changes::REASON_BYTES_MAX;
    text.chars()
        .scan(0, |bytes, letter| {
            *bytes += letter.len_utf8();
            (*bytes <= max).then_some(letter)
        })
        .collect()
}
