//! A replica as it is shown: the row of a table, and what is to be said of it.
//!
//! What is not known is a dash. Everything here is told by the replica that answers; nothing is reckoned.
//!
//! Not here: tables and pages (`pages`).

use client::api::cluster::{ClusterStatus, QuarantineStage, ReplicaStatus, Role};
use client::types::ReplicaId;

use crate::format;
use crate::grade::Grade;

/// What stands for a figure that is not known.
pub(crate) const NOTHING: &str = "–";
/// So many entries behind are worth a word: a plan counts nobody who is further behind.
const BEHIND_MAX: u64 = 1_000;

/// A replica as the row of a table.
#[derive(Debug)]
pub(crate) struct ReplicaRow {
    pub(crate) grade: Grade,
    pub(crate) id: ReplicaId,
    pub(crate) is_here: bool,
    pub(crate) role: Role,
    pub(crate) state: String,
    pub(crate) addr: String,
    pub(crate) zone: String,
    pub(crate) behind: String,
    pub(crate) heard: String,
    pub(crate) sync: String,
    pub(crate) free: String,
    pub(crate) version: String,
}

impl ReplicaRow {
    /// All of them, in the order of ids.
    pub(crate) fn all(status: &ClusterStatus) -> Vec<Self> {
        status.replicas.iter().map(|replica| Self::of(replica, status.this_replica)).collect()
    }

    /// This one, as told by the replica `here`.
    pub(crate) fn of(replica: &ReplicaStatus, here: Option<ReplicaId>) -> Self {
        let behind = replica.lag.filter(|_| replica.role != Role::Leader);
        let heard = replica.heard_ms_ago.map(format::ago);
        let zone = Some(format::visible(&replica.zone)).filter(|zone| !zone.is_empty());
        let first = remarks(replica).into_iter().next();
        let (grade, state) = first.unwrap_or((Grade::Ok, "answers".to_owned()));
        Self {
            grade,
            state,
            id: replica.id,
            is_here: Some(replica.id) == here,
            role: replica.role,
            addr: format::visible(replica.addr.as_str()),
            zone: or_nothing(zone),
            behind: or_nothing(behind.map(|lag| format::counted(lag.entries, "entry", "entries"))),
            heard: or_nothing(heard),
            sync: or_nothing(replica.sync.map(|sync| format::millis(sync.p99_us))),
            free: or_nothing(replica.free_bytes.map(format::size)),
            version: or_nothing(replica.version.as_deref().map(format::visible)),
        }
    }
}

/// The text, or a dash.
pub(crate) fn or_nothing(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOTHING.to_owned())
}

/// What an operator should know of a replica, the gravest first; nothing if all is well.
pub(crate) fn remarks(replica: &ReplicaStatus) -> Vec<(Grade, String)> {
    let mut remarks = Vec::new();
    if let Some(quarantine) = replica.quarantine {
        remarks.push(match quarantine.stage {
            QuarantineStage::Differs => (Grade::Bad, "quarantined: its state differs".to_owned()),
            QuarantineStage::Renewing => {
                (Grade::Bad, "quarantined: takes the certified state".to_owned())
            }
            QuarantineStage::Renewed => {
                (Grade::Warn, "quarantined: waits for the next checkpoint".to_owned())
            }
            QuarantineStage::ToBeReplaced => {
                (Grade::Bad, "quarantined for good: replace it".to_owned())
            }
        });
    }
    match (replica.is_reachable, replica.heard_ms_ago) {
        (true, _) => {}
        (false, Some(_)) => remarks.push((Grade::Warn, "does not answer".to_owned())),
        (false, None) => remarks.push((Grade::Unknown, "not heard of yet".to_owned())),
    }
    if let Some(damaged) = replica.damaged_entries.filter(|damaged| *damaged > 0) {
        let damaged = format::counted(damaged, "damaged entry", "damaged entries");
        remarks.push((Grade::Warn, format!("repairs {damaged}")));
    }
    if let Some(slow) = replica.slow_ms {
        remarks.push((Grade::Warn, format!("slow disk for {}", format::age(slow))));
    }
    let lag = replica.lag.filter(|lag| lag.entries > BEHIND_MAX && replica.role != Role::Leader);
    if lag.is_some() && replica.is_reachable {
        remarks.push((Grade::Warn, "catching up".to_owned()));
    }
    remarks
}
