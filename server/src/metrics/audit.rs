//! Metrics of checkpoints and of the audit.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Counter, Level, Metrics, level};

/// Checkpoints and the audit.
impl Metrics {
    /// What a replica executed was compared, with this verdict.
    pub fn audited(&self, verdict: &'static str) {
        self.shared.audit.comparisons.get_or_create(&VerdictLabels { verdict }).inc();
    }

    /// The newest checkpoint that is certified here is at this entry.
    pub fn checkpoint_certified(&self, entry: u64) {
        self.shared.audit.certified_entry.set(entry);
    }

    /// 1 while this replica's state is known to be another than the certified one, else 0.
    pub fn state_diverged(&self, is_diverged: bool) {
        self.shared.audit.diverged.set(u64::from(is_diverged));
    }
}

pub(super) struct AuditMetrics {
    comparisons: Family<VerdictLabels, Counter>,
    certified_entry: Level,
    diverged: Level,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

impl AuditMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("audit");
        let comparisons: Family<VerdictLabels, Counter> = Family::default();
        let help = "Comparisons of what a replica executed, made by the leader";
        to.register("comparisons", help, comparisons.clone());
        let help = "Entry of the newest certified checkpoint known here";
        let certified_entry = level(to, "certified_entry", help);
        let help = "1 while the state here is known to differ from the certified one, else 0";
        let diverged = level(to, "diverged", help);
        Self { comparisons, certified_entry, diverged }
    }
}
