//! Every metric of a replica: its name, its unit, its help, and the method that records it.
//!
//! The rest of the code calls methods and never names a metric, so that names, units and buckets are
//! decided here alone. Each replica has a registry of its own, because several live in one process in
//! tests and in the demo. Labels have few, fixed values: no log, producer or address ever becomes one.
//!
//! Not here: how the text is asked for and answered (`http/health.rs`), and the clock: who measures a
//! duration hands it in.

mod audit;
mod exposition;
pub(crate) mod histogram;
mod labels;
mod scrub;
mod series;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use audit::AuditMetrics;

pub use labels::{AppendOutcome, AppendStage, ConnectionLoss, Door};

use labels::{
    AppendLabels, CallLabels, ConsistencyLabels, DoorLabels, KindLabels, LossLabels, ReasonLabels,
    ReplicaLabels, RequestLabels, RouteLabels, StageLabels,
};
use scrub::ScrubMetrics;
use series::Series;

pub use series::Levels;

/// Seconds from 50 µs to about 13 s, each bucket 1.8 times the one before.
#[derive(Clone)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.000_05, 1.8, 22))
    }
}

/// Counts from 1 to 4 096, doubling.
fn counts() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 13))
}

type Level = Gauge<u64, AtomicU64>;

/// The metrics of one replica. Cloning shares them.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    journal: JournalMetrics,
    state: StateMetrics,
    appends: AppendMetrics,
    reads: ReadMetrics,
    raft: RaftMetrics,
    doors: DoorMetrics,
    peers: PeerMetrics,
    audit: AuditMetrics,
    scrub: ScrubMetrics,
    transfers: TransferMetrics,
    series: Series,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// An empty set, with a registry of its own.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("quorate");
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which build is running", version);
        let shared = Shared {
            journal: JournalMetrics::register(&mut registry),
            state: StateMetrics::register(&mut registry),
            appends: AppendMetrics::register(&mut registry),
            reads: ReadMetrics::register(&mut registry),
            raft: RaftMetrics::register(&mut registry),
            doors: DoorMetrics::register(&mut registry),
            peers: PeerMetrics::register(&mut registry),
            audit: AuditMetrics::register(&mut registry),
            scrub: ScrubMetrics::register(&mut registry),
            transfers: TransferMetrics::register(&mut registry),
            series: Series::default(),
            registry,
        };
        Self { shared: Arc::new(shared) }
    }

    /// All metrics as `OpenMetrics` text.
    pub fn encode_open_metrics(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        text::encode(&mut out, &self.shared.registry).expect("a String takes every character");
        out
    }

    /// All metrics in the older text format of Prometheus: there the names of counters, in the lines
    /// that describe them, carry `_total`, and units and the end mark do not exist.
    pub fn encode_prometheus(&self) -> String {
        exposition::to_prometheus(&self.encode_open_metrics())
    }
}

/// The journal.
impl Metrics {
    /// One write and sync of the journal took this long and made so many frames and bytes durable.
    pub fn journal_synced(&self, elapsed: Duration, frames: u64, bytes: u64) {
        let journal = &self.shared.journal;
        journal.sync_seconds.observe(elapsed.as_secs_f64());
        journal.sync_frames.observe(approximate(frames));
        journal.frames.inc_by(frames);
        journal.bytes.inc_by(bytes);
        self.shared.series.synced(elapsed);
    }

    /// So many frames and bytes wait for the journal's writer.
    pub fn journal_queue(&self, frames: u64, bytes: u64) {
        self.shared.journal.queue_frames.set(frames);
        self.shared.journal.queue_bytes.set(bytes);
    }

    /// An entry of the journal is damaged; it is not served.
    pub fn journal_damage_found(&self) {
        self.shared.journal.damaged_entries.inc();
    }

    /// So many damaged entries of the journal were taken from other replicas and written again.
    pub fn journal_entries_repaired(&self, entries: u64) {
        self.shared.journal.repaired_entries.inc_by(entries);
    }

    /// The journal takes this much room on disk.
    pub fn journal_size(&self, bytes: u64) {
        self.shared.journal.size_bytes.set(bytes);
    }
}

struct JournalMetrics {
    sync_seconds: Histogram,
    sync_frames: Histogram,
    frames: Counter,
    bytes: Counter,
    queue_frames: Level,
    queue_bytes: Level,
    size_bytes: Level,
    damaged_entries: Counter,
    repaired_entries: Counter,
}

impl JournalMetrics {
    fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("journal");
        Self {
            sync_seconds: seconds(to, "sync", "Time of one write and sync of the journal"),
            sync_frames: histogram(to, "sync_frames", "Frames made durable by one sync", counts()),
            frames: counter(to, "frames", "Frames written to the journal"),
            bytes: counter(to, "written_bytes", "Bytes written to the journal, heads included"),
            queue_frames: level(to, "queue_frames", "Frames that wait for the journal's writer"),
            queue_bytes: level(to, "queue_bytes", "Bytes that wait for the journal's writer"),
            size_bytes: level(to, "size_bytes", "Room that the journal takes on disk"),
            damaged_entries: counter(
                to,
                "damaged_entries",
                "Damaged entries found in the journal and not served",
            ),
            repaired_entries: counter(
                to,
                "repaired_entries",
                "Damaged entries of the journal that were taken from other replicas and written again",
            ),
        }
    }
}

/// The state and its flusher.
impl Metrics {
    /// One flush took this long and wrote so many bytes of records.
    pub fn state_flushed(&self, elapsed: Duration, bytes: u64) {
        self.shared.state.flush_seconds.observe(elapsed.as_secs_f64());
        self.shared.state.flushed_bytes.inc_by(bytes);
    }

    /// A flush failed and will be tried again.
    pub fn state_flush_failed(&self) {
        self.shared.state.flush_failures.inc();
    }

    /// So many bytes are applied and not flushed.
    pub fn state_unflushed(&self, bytes: u64) {
        self.shared.state.unflushed_bytes.set(bytes);
    }

    /// The suffix of records in memory holds so many bytes.
    pub fn state_suffix(&self, bytes: u64) {
        self.shared.state.suffix_bytes.set(bytes);
    }

    /// Whether appends are refused until the flusher has caught up: 1 or 0.
    pub fn state_lagging(&self, lagging: u64) {
        self.shared.state.lagging.set(lagging);
    }

    /// The database file has this size.
    pub fn state_size(&self, bytes: u64) {
        self.shared.state.size_bytes.set(bytes);
    }

    /// A damaged range was found; it was not served.
    pub fn state_damage_found(&self) {
        self.shared.state.damages.inc();
    }
}

struct StateMetrics {
    flush_seconds: Histogram,
    flushed_bytes: Counter,
    flush_failures: Counter,
    unflushed_bytes: Level,
    suffix_bytes: Level,
    lagging: Level,
    size_bytes: Level,
    damages: Counter,
}

impl StateMetrics {
    fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("state");
        Self {
            flush_seconds: seconds(to, "flush", "Time of one flush of the state"),
            flushed_bytes: counter(to, "flushed_bytes", "Bytes of records flushed"),
            flush_failures: counter(to, "flush_failures", "Flushes that failed"),
            unflushed_bytes: level(to, "unflushed_bytes", "Bytes applied and not yet flushed"),
            suffix_bytes: level(to, "suffix_bytes", "Bytes of the newest records held in memory"),
            lagging: level(to, "flusher_lagging", "1 while appends wait for the flusher, else 0"),
            size_bytes: level(to, "size_bytes", "Size of the database file"),
            damages: counter(to, "damages", "Damaged ranges found and not served"),
        }
    }
}

/// Appends.
impl Metrics {
    /// An append ended like this; `records` and `bytes` are what it carried.
    pub fn append_ended(
        &self,
        outcome: AppendOutcome,
        elapsed: Duration,
        records: u64,
        bytes: u64,
    ) {
        let appends = &self.shared.appends;
        appends.by_outcome[outcome as usize].inc();
        if outcome == AppendOutcome::Acknowledged {
            appends.records.inc_by(records);
            appends.bytes.inc_by(bytes);
            appends.seconds.observe(elapsed.as_secs_f64());
            self.shared.series.appended(elapsed, records, bytes);
        }
    }

    /// An append needed this long for this stage.
    pub fn append_stage(&self, stage: AppendStage, elapsed: Duration) {
        self.shared.appends.stages[stage as usize].observe(elapsed.as_secs_f64());
    }

    /// A command was proposed that carries so many appends and bytes.
    pub fn batch_proposed(&self, appends: u64, bytes: u64) {
        self.shared.appends.batch_appends.observe(approximate(appends));
        self.shared.appends.batch_bytes.inc_by(bytes);
    }

    /// So many appends wait to be proposed, and so many proposals are under way.
    pub fn append_queue(&self, waiting: u64, proposals: u64) {
        self.shared.appends.waiting.set(waiting);
        self.shared.appends.proposals.set(proposals);
    }

    /// So many bytes of appends are admitted and not yet answered.
    pub fn append_in_flight(&self, bytes: u64) {
        self.shared.appends.in_flight_bytes.set(bytes);
    }
}

struct AppendMetrics {
    by_outcome: [Counter; 6],
    stages: [Histogram; 2],
    seconds: Histogram,
    records: Counter,
    bytes: Counter,
    batch_appends: Histogram,
    batch_bytes: Counter,
    waiting: Level,
    proposals: Level,
    in_flight_bytes: Level,
}

impl AppendMetrics {
    fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("append");
        let outcomes: Family<AppendLabels, Counter> = Family::default();
        to.register("calls", "Appends by what became of them", outcomes.clone());
        let by_stage = Family::<StageLabels, Histogram, Seconds>::new_with_constructor(Seconds);
        let help = "Time that an append spent in one stage";
        to.register_with_unit("stage", help, Unit::Seconds, by_stage.clone());
        // In the order of the enums: they index these arrays.
        let by_outcome = [
            AppendOutcome::Acknowledged,
            AppendOutcome::Replayed,
            AppendOutcome::Rejected,
            AppendOutcome::Overloaded,
            AppendOutcome::Unavailable,
            AppendOutcome::Interrupted,
        ]
        .map(|outcome| outcomes.get_or_create(&AppendLabels { outcome }).clone());
        let stages = [AppendStage::Proposed, AppendStage::Applied]
            .map(|stage| by_stage.get_or_create(&StageLabels { stage }).clone());
        Self {
            by_outcome,
            stages,
            seconds: seconds(to, "latency", "Time of an acknowledged append, start to answer"),
            records: counter(to, "records", "Records acknowledged"),
            bytes: counter(to, "records_bytes", "Bytes of the records acknowledged"),
            batch_appends: histogram(to, "batch_appends", "Appends in one command", counts()),
            batch_bytes: counter(to, "proposed_bytes", "Bytes of proposed commands"),
            waiting: level(to, "waiting", "Appends that wait to be proposed"),
            proposals: level(to, "proposals", "Proposals under way"),
            in_flight_bytes: level(to, "in_flight_bytes", "Bytes admitted and not yet answered"),
        }
    }
}

/// Reads and follows.
impl Metrics {
    /// A read was answered with so many records and bytes; `consistency` is `linearizable` or `local`.
    pub fn read_answered(&self, consistency: &'static str, records: u64, bytes: u64) {
        let reads = &self.shared.reads;
        reads.calls.get_or_create(&ConsistencyLabels { consistency }).inc();
        reads.records.inc_by(records);
        reads.bytes.inc_by(bytes);
    }

    /// A linearizable read needed this long to learn that it was safe.
    pub fn read_index_confirmed(&self, elapsed: Duration) {
        self.shared.reads.index_seconds.observe(elapsed.as_secs_f64());
    }

    /// A follow began.
    pub fn follow_started(&self) {
        self.shared.reads.follows.inc();
    }

    /// A follow ended.
    pub fn follow_ended(&self) {
        self.shared.reads.follows.dec();
    }
}

struct ReadMetrics {
    calls: Family<ConsistencyLabels, Counter>,
    records: Counter,
    bytes: Counter,
    index_seconds: Histogram,
    follows: Level,
}

impl ReadMetrics {
    fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("read");
        let calls: Family<ConsistencyLabels, Counter> = Family::default();
        to.register("calls", "Reads answered, by consistency", calls.clone());
        Self {
            calls,
            records: counter(to, "records", "Records served"),
            bytes: counter(to, "records_bytes", "Bytes of the records served"),
            index_seconds: seconds(to, "index", "Time to confirm that a linearizable read is safe"),
            follows: level(to, "follows", "Follows under way"),
        }
    }
}

/// Consensus.
impl Metrics {
    /// Where this replica stands: last entries committed as known here, applied, and flushed.
    pub fn raft_progress(&self, committed: u64, applied: u64, flushed: u64) {
        let raft = &self.shared.raft;
        raft.committed.set(committed);
        raft.applied.set(applied);
        raft.flushed.set(flushed);
        raft.lag.set(committed.saturating_sub(applied));
    }

    /// The term, and whether this replica leads (1 or 0).
    pub fn raft_term(&self, term: u64, leads: u64) {
        self.shared.raft.term.set(term);
        self.shared.raft.leads.set(leads);
    }

    /// Another replica leads than before.
    pub fn raft_leader_changed(&self) {
        self.shared.raft.leader_changes.inc();
    }

    /// As leader: another replica is behind by so many entries.
    pub fn raft_replica_lag(&self, replica: u64, entries: u64) {
        self.shared.raft.replica_lag.get_or_create(&ReplicaLabels { replica }).set(entries);
    }

    /// No longer leader, or another membership: what was known of the others' lag is void.
    pub fn raft_replica_lags_void(&self) {
        self.shared.raft.replica_lag.clear();
    }
}

struct RaftMetrics {
    term: Level,
    leads: Level,
    leader_changes: Counter,
    committed: Level,
    applied: Level,
    flushed: Level,
    lag: Level,
    replica_lag: Family<ReplicaLabels, Level>,
}

impl RaftMetrics {
    fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("raft");
        let replica_lag: Family<ReplicaLabels, Level> = Family::default();
        let help = "Entries that another replica is behind, as its leader sees it";
        to.register("replica_lag_entries", help, replica_lag.clone());
        Self {
            term: level(to, "term", "The current term"),
            leads: level(to, "leads", "1 while this replica leads, else 0"),
            leader_changes: counter(to, "leader_changes", "Changes of the leader seen here"),
            committed: level(to, "committed_index", "Last entry known to be committed"),
            applied: level(to, "applied_index", "Last entry applied"),
            flushed: level(to, "flushed_index", "Last entry flushed"),
            lag: level(to, "lag_entries", "Committed entries that are not yet applied here"),
            replica_lag,
        }
    }
}

/// The doors: connections and requests.
impl Metrics {
    /// A connection was accepted.
    pub fn connection_opened(&self, door: Door) {
        self.shared.doors.connections.get_or_create(&DoorLabels { door }).inc();
        self.shared.doors.accepted.get_or_create(&DoorLabels { door }).inc();
    }

    /// A connection is gone.
    pub fn connection_closed(&self, door: Door) {
        self.shared.doors.connections.get_or_create(&DoorLabels { door }).dec();
    }

    /// A connection was refused or cut by a limit.
    pub fn connection_lost(&self, door: Door, reason: ConnectionLoss) {
        self.shared.doors.losses.get_or_create(&LossLabels { door, reason }).inc();
    }

    /// Accepting failed, for example because descriptors ran out.
    pub fn accept_failed(&self, door: Door) {
        self.shared.doors.accept_failures.get_or_create(&DoorLabels { door }).inc();
    }

    /// A request was answered; `route` is a template, never a path.
    pub fn request_answered(
        &self,
        route: &'static str,
        method: &'static str,
        status: u16,
        elapsed: Duration,
    ) {
        let doors = &self.shared.doors;
        doors.requests.get_or_create(&RequestLabels { route, method, status }).inc();
        let seconds = elapsed.as_secs_f64();
        doors.request_seconds.get_or_create(&RouteLabels { route }).observe(seconds);
    }
}

struct DoorMetrics {
    connections: Family<DoorLabels, Level>,
    accepted: Family<DoorLabels, Counter>,
    losses: Family<LossLabels, Counter>,
    accept_failures: Family<DoorLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, Seconds>,
}

impl DoorMetrics {
    fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("http");
        let metrics = Self {
            connections: Family::default(),
            accepted: Family::default(),
            losses: Family::default(),
            accept_failures: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(Seconds),
        };
        to.register("connections", "Open connections", metrics.connections.clone());
        to.register("accepted", "Connections accepted", metrics.accepted.clone());
        let help = "Connections refused or cut by a limit";
        to.register("connection_losses", help, metrics.losses.clone());
        let help = "Failures to accept a connection";
        to.register("accept_failures", help, metrics.accept_failures.clone());
        to.register("requests", "Requests by route and status", metrics.requests.clone());
        let help = "Time until a request was answered, its body excepted";
        to.register_with_unit("request", help, Unit::Seconds, metrics.request_seconds.clone());
        metrics
    }
}

/// State transfers.
impl Metrics {
    /// A transfer began; `direction` is `receiving` or `offering`.
    pub fn transfer_begun(&self, direction: &'static str) {
        self.shared.transfers.under_way.get_or_create(&KindLabels { kind: direction }).inc();
    }

    /// A transfer ended, well or not.
    pub fn transfer_ended(&self, direction: &'static str, is_done: bool) {
        let transfers = &self.shared.transfers;
        transfers.under_way.get_or_create(&KindLabels { kind: direction }).dec();
        let result = if is_done { "done" } else { "failed" };
        transfers.ended.get_or_create(&CallLabels { kind: direction, result }).inc();
    }

    /// So many bytes of hashes and records were fetched and proved.
    pub fn transfer_fetched(&self, bytes: u64) {
        self.shared.transfers.bytes.inc_by(bytes);
    }

    /// A source was left out: `silent` or `wrong`.
    pub fn transfer_source_left_out(&self, reason: &'static str) {
        self.shared.transfers.left_out.get_or_create(&ReasonLabels { reason }).inc();
    }
}

struct TransferMetrics {
    under_way: Family<KindLabels, Level>,
    ended: Family<CallLabels, Counter>,
    bytes: Counter,
    left_out: Family<ReasonLabels, Counter>,
}

impl TransferMetrics {
    fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("transfer");
        let this = Self {
            under_way: Family::default(),
            ended: Family::default(),
            bytes: Counter::default(),
            left_out: Family::default(),
        };
        registry.register("under_way", "State transfers under way", this.under_way.clone());
        registry.register("ended", "State transfers that ended", this.ended.clone());
        registry.register_with_unit(
            "fetched",
            "Hashes and records that were fetched and proved",
            Unit::Bytes,
            this.bytes.clone(),
        );
        registry.register(
            "source_left_out",
            "Sources that were silent or gave wrong bytes",
            this.left_out.clone(),
        );
        this
    }
}

/// Replica to replica.
impl Metrics {
    /// A call to another replica ended; `result` is `ok` or a short fixed word.
    pub fn peer_called(&self, kind: &'static str, result: &'static str, elapsed: Duration) {
        self.shared.peers.calls.get_or_create(&CallLabels { kind, result }).inc();
        let seconds = elapsed.as_secs_f64();
        self.shared.peers.call_seconds.get_or_create(&KindLabels { kind }).observe(seconds);
    }

    /// A call of another replica was answered here.
    pub fn peer_answered(&self, kind: &'static str, result: &'static str) {
        self.shared.peers.answers.get_or_create(&CallLabels { kind, result }).inc();
    }

    /// A message was refused because of its identity: another cluster, target or incarnation.
    pub fn peer_identity_refused(&self, reason: &'static str) {
        self.shared.peers.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// A caller's request was carried to the leader's front door.
    pub fn forwarded(&self, result: &'static str, elapsed: Duration) {
        self.peer_called("forward", result, elapsed);
    }
}

struct PeerMetrics {
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<KindLabels, Histogram, Seconds>,
    answers: Family<CallLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
}

impl PeerMetrics {
    fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("peer");
        let metrics = Self {
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(Seconds),
            answers: Family::default(),
            refused: Family::default(),
        };
        to.register("calls", "Calls to other replicas, by kind and result", metrics.calls.clone());
        let help = "Time of a call to another replica";
        to.register_with_unit("call", help, Unit::Seconds, metrics.call_seconds.clone());
        let help = "Calls of other replicas answered here, by kind and result";
        to.register("answers", help, metrics.answers.clone());
        let help = "Messages refused because of their identity";
        to.register("identity_refusals", help, metrics.refused.clone());
        metrics
    }
}

fn counter(to: &mut Registry, name: &str, help: &str) -> Counter {
    let metric = Counter::default();
    to.register(name, help, metric.clone());
    metric
}

fn level(to: &mut Registry, name: &str, help: &str) -> Level {
    let metric = Level::default();
    to.register(name, help, metric.clone());
    metric
}

fn histogram(to: &mut Registry, name: &str, help: &str, metric: Histogram) -> Histogram {
    to.register(name, help, metric.clone());
    metric
}

fn seconds(to: &mut Registry, name: &str, help: &str) -> Histogram {
    let metric = Seconds.new_metric();
    to.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

/// A count as the histogram wants it: counts here stay far below where a float loses units.
fn approximate(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_counts_under_its_own_name() {
        let metrics = Metrics::new();
        let millisecond = Duration::from_millis(1);
        metrics.append_ended(AppendOutcome::Acknowledged, millisecond, 3, 30);
        metrics.append_ended(AppendOutcome::Interrupted, millisecond, 3, 30);
        metrics.append_stage(AppendStage::Applied, millisecond);
        let text = metrics.encode_open_metrics();
        assert!(text.contains("quorate_append_calls_total{outcome=\"acknowledged\"} 1"), "{text}");
        assert!(text.contains("quorate_append_calls_total{outcome=\"interrupted\"} 1"), "{text}");
        assert!(text.contains("quorate_append_calls_total{outcome=\"replayed\"} 0"), "{text}");
        assert!(text.contains("quorate_append_records_total 3"), "{text}");
        assert!(text.contains("quorate_append_stage_seconds_count{stage=\"applied\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_older_format_names_counters_as_their_samples_are_named() {
        let metrics = Metrics::new();
        metrics.journal_synced(Duration::from_micros(120), 7, 4096);
        let text = metrics.encode_prometheus();
        assert!(text.contains("# TYPE quorate_journal_frames_total counter\n"), "{text}");
        assert!(text.contains("# HELP quorate_journal_frames_total Frames written"), "{text}");
        assert!(text.contains("\nquorate_journal_frames_total 7\n"), "{text}");
        assert!(text.contains("# TYPE quorate_build_info gauge\n"), "{text}");
        assert!(text.contains("quorate_journal_sync_seconds_bucket{le=\"+Inf\"} 1"), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn two_replicas_in_one_process_count_apart() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.follow_started();
        assert!(one.encode_open_metrics().contains("quorate_read_follows 1"));
        assert!(other.encode_open_metrics().contains("quorate_read_follows 0"));
    }
}
