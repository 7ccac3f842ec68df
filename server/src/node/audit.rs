//! The audit: whether all replicas executed the same, and kept the same.
//!
//! At an interval, if there was work, the leader takes the entry that it applied last, and asks every
//! member for its rolling digest there. Whoever differs is told in log, metrics and report, and a
//! checkpoint is made at once: a majority's certificate then says who is wrong. Beside it, what each
//! member attested at the newest certified checkpoint is compared with the certificate. A question
//! without an answer leaves the finding *unverified*.
//!
//! Not here: what a replica does that is found to be wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::api::audit::{AuditFinding, AuditReport, AuditVerdict, ReplicaAudit};
use client::types::{Digest, EntryIndex, ReplicaId, Timestamp};
use futures_util::future::join_all;
use migrations::latest::MembershipRow;
use tracing::error;

use super::Node;
use super::checkpoint::CheckpointWish;
use crate::storage::state::Attestation;

/// How long a replica that lags has to get to the entry that is compared.
const REACHED_WITHIN: Duration = Duration::from_secs(2);
/// The pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What was seen lately, of each replica.
#[derive(Debug, Default)]
pub(super) struct Audit {
    findings: Mutex<BTreeMap<ReplicaId, ReplicaAudit>>,
}

impl Audit {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, ReplicaAudit>> {
        // A panic while it was held left whole findings behind.
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares the replicas, while this one leads.
pub(super) async fn audit(node: Node) {
    let mut leadership = node.core.leadership.clone();
    let mut compared: Option<EntryIndex> = None;
    loop {
        node.core.world.clock.sleep(node.core.options.audit_interval).await;
        if !leadership.borrow_and_update().here {
            node.core.audit.lock().clear();
            compared = None;
        }
        if leadership.wait_for(|leadership| leadership.here).await.is_err() {
            return;
        }
        let applied = *node.core.applied.borrow();
        let Some(entry) = applied else { continue };
        if node.core.state.worked() > compared || node.has_unverified() {
            node.audit_at(entry).await;
            compared = Some(entry);
        }
    }
}

impl Node {
    /// What the audit has found, if this replica leads.
    pub fn audit_report(&self) -> AuditReport {
        let members = self.core.membership.borrow().row.nodes.keys().copied().collect::<Vec<_>>();
        let findings = self.core.audit.lock();
        let replicas = members.into_iter().filter_map(|id| {
            let id = ReplicaId::new(id)?;
            let nothing = ReplicaAudit {
                id,
                execution: AuditFinding::default(),
                checkpoint: AuditFinding::default(),
            };
            Some(findings.get(&id).copied().unwrap_or(nothing))
        });
        AuditReport { leader: Some(self.replica()), replicas: replicas.collect() }
    }

    /// Whether a member has a finding to be made up for.
    fn has_unverified(&self) -> bool {
        let report = self.audit_report();
        report.replicas.iter().any(|replica| {
            let findings = [replica.execution, replica.checkpoint];
            findings.iter().any(|finding| finding.verdict == AuditVerdict::Unverified)
        })
    }

    /// Compares all members at an entry, and at the newest certified checkpoint.
    async fn audit_at(&self, entry: EntryIndex) {
        let core = &*self.core;
        let membership = core.membership.borrow().row.clone();
        let execution = self.compare_execution(&membership, entry).await;
        let checkpoints = self.compare_checkpoint(&membership).await;
        let at = Timestamp::new(core.world.clock.wall_millis());
        let mut is_news = false;
        {
            let mut findings = core.audit.lock();
            findings.retain(|id, _| membership.nodes.contains_key(&id.get()));
            for (id, verdict) in execution {
                let execution = AuditFinding { verdict, entry: Some(entry), at: Some(at) };
                let checkpoint = checkpoints.as_ref().map_or_else(AuditFinding::default, |all| {
                    let verdict = all.1.get(&id).copied().unwrap_or_default();
                    AuditFinding { verdict, entry: Some(all.0), at: Some(at) }
                });
                core.metrics.audited(verdict.as_str());
                let known = findings.get(&id).map(|known| known.execution.verdict);
                // A difference that was told before has had its checkpoint: the next one is due by itself.
                if verdict == AuditVerdict::Different && known != Some(verdict) {
                    is_news = true;
                    error!(replica = %id, %entry, "replica executed otherwise than the leader");
                }
                if checkpoint.verdict == AuditVerdict::Different {
                    error!(replica = %id, checkpoint = ?checkpoint.entry, "replica keeps another state");
                }
                findings.insert(id, ReplicaAudit { id, execution, checkpoint });
            }
        }
        if is_news && self.make_checkpoint(None).await.is_err() {
            CheckpointWish::wake(&core.checkpoint_wish);
        }
    }

    async fn compare_execution(
        &self,
        membership: &MembershipRow,
        entry: EntryIndex,
    ) -> Vec<(ReplicaId, AuditVerdict)> {
        let own = digest(self.core.state.rolling_digest(entry));
        let members = membership.nodes.keys().filter_map(|id| ReplicaId::new(*id));
        let compared = members.map(async |replica| {
            let told =
                if replica == self.replica() { own } else { self.rolling_of(replica, entry).await };
            let verdict =
                own.map_or(AuditVerdict::Unverified, |own| AuditVerdict::of(&own, told.as_ref()));
            (replica, verdict)
        });
        join_all(compared).await
    }

    /// The rolling digest of another replica, which may have to get there first.
    async fn rolling_of(&self, replica: ReplicaId, entry: EntryIndex) -> Option<Digest> {
        let clock = &self.core.world.clock;
        let deadline = clock.after(REACHED_WITHIN);
        loop {
            match self.core.peers.rolling_digest(replica, entry).await {
                Ok(Attestation::NotYet) if clock.now() < deadline => clock.sleep(PAUSE).await,
                Ok(told) => return digest(told),
                Err(_) => return None,
            }
        }
    }

    /// The newest certified checkpoint, and how everybody's state there compares.
    async fn compare_checkpoint(
        &self,
        membership: &MembershipRow,
    ) -> Option<(EntryIndex, BTreeMap<ReplicaId, AuditVerdict>)> {
        let all = (self.core.probes.checkpoints)();
        let newest = all.into_iter().rev().find(|checkpoint| checkpoint.certificate.is_some())?;
        let (checkpoint, certified) = (newest.entry.index, newest.certificate?.digest);
        let attested = self.attestations(membership, checkpoint).await;
        let verdicts = attested
            .into_iter()
            .map(|(replica, told)| (replica, AuditVerdict::of(&certified, digest(told).as_ref())));
        Some((checkpoint, verdicts.collect()))
    }
}

fn digest(told: Attestation) -> Option<Digest> {
    match told {
        Attestation::Digest(digest) => Some(digest),
        Attestation::NotYet | Attestation::Unknown => None,
    }
}
