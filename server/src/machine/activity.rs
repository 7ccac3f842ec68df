//! What somebody does becomes a record of the service's own log `_activity`, with the command that does it.
//!
//! Only a command on somebody's behalf leaves one, and only if it did something: a refusal, and what was so already, leave
//! none. The record is written by every replica as it applies the command, so it is there exactly once, stands in the log's
//! tree as any record does, and is certified with the state. No caller can change the log, and nothing trims it.
//!
//! Not here: the bytes of a record (`migrations::latest::activity`), and who may act (`node`).

use bytes::Bytes;
use client::types::{CheckpointLabel, LogId, LogName, LogSettings};
use migrations::latest::activity::{ACTIVITY_LOG, ACTIVITY_LOG_ID, ActRow, ActivityRow};
use migrations::latest::changes::StageRow;
use migrations::latest::records::push_record;

use super::append::{New, Next};
use super::codec;
use super::command::Command;
use super::delta::Delta;
use super::logs::{Log, Logs};
use super::outcome::Outcome;
use super::{LogTarget, Machine};

/// The id of the log of activity.
pub(super) const ACTIVITY: LogId = LogId::new(ACTIVITY_LOG_ID);

/// What a command is about to do, looked at before it is executed; none if it does nothing that is kept.
pub(super) fn foreseen(machine: &Machine, command: &Command) -> Option<ActRow> {
    let meant = |target: &LogTarget| machine.log(&target.name);
    let named = |log: &Log| (log.id.get(), log.name.as_str().to_owned());
    Some(match command {
        Command::Found(c) => {
            let is_known = machine.cluster().is_some_and(|founding| *founding == c.founding);
            let (cluster, generation) = (c.founding.cluster, c.founding.generation.number);
            let act = ActRow::Founded { cluster: *cluster.as_bytes(), generation };
            return (!is_known).then_some(act);
        }
        Command::CreateLog(c) => {
            let name = c.name.as_str().to_owned();
            let settings = codec::settings_row(&c.settings);
            let act = ActRow::LogCreated { log: 0, name, settings };
            return machine.log(&c.name).is_none().then_some(act);
        }
        Command::ChangeSettings(c) => {
            let (log, name) = named(meant(&c.log)?);
            ActRow::SettingsChanged { log, name, change: codec::change_row(&c.change) }
        }
        Command::DeleteLog(c) => {
            let found = meant(&c.log)?;
            let (log, name) = named(found);
            ActRow::LogDeleted { log, name, records: found.tail.since(found.trim) }
        }
        Command::TrimLog(c) => {
            let found = meant(&c.log).filter(|log| c.to > log.trim)?;
            let (log, name) = named(found);
            ActRow::LogTrimmed { log, name, first: c.to.get(), records: c.to.since(found.trim) }
        }
        Command::SealLog(c) => {
            let found = meant(&c.log).filter(|log| !log.is_sealed)?;
            let (log, name) = named(found);
            ActRow::LogSealed { log, name, tail: found.tail.get() }
        }
        Command::MakeCheckpoint(c) => {
            let label = c.label.as_ref().map(CheckpointLabel::as_str).map(str::to_owned);
            ActRow::CheckpointMade { checkpoint: 0, label }
        }
        Command::ReleaseCheckpoint(c) => {
            ActRow::CheckpointReleased { checkpoint: c.checkpoint.get() }
        }
        Command::AdmitReplica(c) => {
            let addr = c.node.front_addr.clone();
            let act = ActRow::ReplicaAdmitted { replica: 0, addr };
            return machine.admitted(c.nonce).is_none().then_some(act);
        }
        Command::BeginChange(c) => {
            let (wish, overrides) = (c.intent.wish.clone(), c.intent.overrides.clone());
            ActRow::ChangeBegun { change: 0, wish, overrides }
        }
        Command::MoveChange(c) if c.to.is_end() => {
            let began = machine.member_changes.row(c.change)?.began;
            ActRow::ChangeEnded {
                change: c.change,
                is_done: c.to == StageRow::Done,
                outcome: c.outcome.clone(),
                took_ms: machine.last_stamp().as_millis().saturating_sub(began),
            }
        }
        Command::MoveChange(c) if c.to == StageRow::Cancelling => {
            ActRow::ChangeCancelled { change: c.change }
        }
        Command::MoveChange(_)
        | Command::Append(_)
        | Command::SetFence(_)
        | Command::SetCursor(_)
        | Command::DeleteCursor(_)
        | Command::RenewLog(_)
        | Command::ExpireLogs(_)
        | Command::ExpireProducers(_)
        | Command::CertifyCheckpoint(_)
        | Command::OnBehalf(_) => return None,
    })
}

/// The act with what came of it; none if it was refused.
pub(super) fn done(mut act: ActRow, outcome: &Outcome) -> Option<ActRow> {
    match (&mut act, outcome) {
        (ActRow::LogCreated { log, .. }, Outcome::LogCreated(Ok(created))) => {
            *log = created.log.get();
        }
        (ActRow::CheckpointMade { checkpoint, .. }, Outcome::CheckpointMade(Ok(made))) => {
            *checkpoint = made.get();
        }
        (ActRow::ReplicaAdmitted { replica, .. }, Outcome::ReplicaAdmitted(admitted)) => {
            *replica = admitted.get();
        }
        (ActRow::ChangeBegun { change, .. }, Outcome::ChangeBegun(Ok(begun))) => {
            *change = begun.change;
        }
        (_, outcome) if outcome.is_refusal() => return None,
        _ => {}
    }
    Some(act)
}

impl Logs {
    /// Adds a record to the log of activity, which begins with the first one.
    pub(super) fn note(&mut self, activity: &ActivityRow, delta: &mut Delta) {
        if !self.by_id.contains_key(&ACTIVITY) {
            let name = LogName::new(ACTIVITY_LOG).expect("the name of the log is one");
            self.by_name.insert(name.clone(), ACTIVITY);
            let log = Log::new(ACTIVITY, name, LogSettings::default(), self.now);
            self.by_id.insert(ACTIVITY, log);
        }
        let mut run = Vec::new();
        push_record(&mut run, std::iter::empty(), &activity.encode());
        let log = self.found(ACTIVITY);
        let next = Next::of(log, 1, run.len()).expect("a log has room for what people do");
        self.push(ACTIVITY, New { count: 1, run: Bytes::from(run), offset: None }, next, delta);
    }
}
