//! The settings of a replica: file, then environment, then flags, into one checked `Config`.
//!
//! Invariants: unknown keys are refused with their place and what was probably meant; the origin of
//! every value is known; a `Config` that exists has been checked as a whole, so nobody checks it
//! again. Binding to anything but loopback needs a word of consent, since nobody has to prove who
//! they are.
//!
//! Not here: what the floors make of these values; `run` hands each floor its own options.

mod keys;
mod layers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use client::api::settings::EffectiveSetting;
use client::types::{BatchLimits, ReplicaAddr, Zone};
use jiff::SignedDuration;

use crate::http::HttpOptions;
use crate::listen::ListenOptions;
use crate::node::ReplaceDead;
use crate::peer;
use crate::telemetry;
use crate::telemetry::TelemetryOptions;

pub use keys::{KEYS, Key, Kind, example};
pub use layers::{Given, Layers, Origin};

/// One replica's settings, complete and checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that holds this replica.
    pub data: PathBuf,
    /// Where clients reach it.
    pub listen: SocketAddr,
    /// Where other replicas reach it.
    pub peer_listen: SocketAddr,
    /// The address of `listen` as clients know it.
    pub advertise: ReplicaAddr,
    /// The address of `peer_listen` as other replicas know it.
    pub advertise_peer: ReplicaAddr,
    /// Where it stands.
    pub zone: Zone,
    /// How this start is meant.
    pub start: Start,
    /// Used when this start bootstraps a group; otherwise the group has its own.
    pub timings: Timings,
    /// What one caller may ask for.
    pub limits: Limits,
    /// Used when this start bootstraps a group; otherwise the group has its own.
    pub group: GroupLimits,
    /// The journal.
    pub journal: Journal,
    /// The state.
    pub state: State,
    /// Who takes part.
    pub membership: Membership,
    /// Checkpoints and the audit.
    pub checkpoints: Checkpoints,
    /// The door for clients.
    pub clients: ListenOptions,
    /// The door for other replicas.
    pub peers: ListenOptions,
    /// What the replica says about itself.
    pub diagnostics: TelemetryOptions,
    /// What only the demo and tests ask for.
    pub rehearsal: Rehearsal,
    /// All of it as text, with its origins, for whoever asks this replica.
    pub told: Arc<[EffectiveSetting]>,
}

/// How a start is meant. Never in a file: it is said once, by a person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// Go on with the replica in the folder; in an empty one, wait for a request that founds a group.
    #[default]
    Resume,
    /// Begin a new group with this replica as its first voter.
    Bootstrap {
        /// So many voters are expected: the first ones that ask to join are admitted.
        voters_expected: u32,
    },
    /// Ask a member to be admitted. A folder that holds a replica already goes on with it.
    Join {
        /// Where members can be reached.
        doors: Vec<ReplicaAddr>,
        /// Never to vote.
        as_learner: bool,
    },
}

/// How fast the group notices a dead leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How often the leader tells that it lives.
    pub heartbeat: Duration,
    /// The shortest wait before an election.
    pub election_min: Duration,
    /// The longest wait before an election.
    pub election_max: Duration,
}

/// What one caller may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// What one append may hold.
    pub batch: BatchLimits,
    /// Bytes of appends accepted and not yet answered.
    pub append_bytes_max: u64,
    /// Appends accepted and not yet answered.
    pub appends_max: u64,
    /// Records in one answer to a read.
    pub read_records_max: u32,
    /// Bytes of records in one answer to a read.
    pub read_bytes_max: u32,
    /// How long a long poll may wait.
    pub wait_max: Duration,
    /// Followers and waiting reads at one time.
    pub followers_max: u64,
    /// With less room on the disk than this, appends are refused.
    pub disk_free_min: u64,
    /// Logs or cursors in one answer.
    pub list_max: usize,
    /// Reads that wait for a confirmation at one time.
    pub reads_waiting_max: usize,
    /// Processes that wait to join at one time.
    pub joiners_max: usize,
    /// For a change of a log or cursor to be agreed on.
    pub command_deadline: Duration,
    /// For the leader to answer a request that was carried to it.
    pub forward_deadline: Duration,
    /// What the front door holds.
    pub http: HttpOptions,
}

/// What the group keeps in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLimits {
    /// Logs.
    pub logs_max: u32,
    /// Producers of all logs together.
    pub producers_max: u32,
    /// How long a silent producer is remembered.
    pub producer_idle_max: Duration,
    /// How long one is remembered at least, although newcomers want its place.
    pub producer_idle_min: Duration,
    /// Cursors of all logs together.
    pub cursors_max: u32,
    /// Idempotency keys of all logs together.
    pub keys_max: u32,
    /// Idempotency keys of one log; the oldest makes room for the newest.
    pub keys_per_log_max: u32,
    /// How long an idempotency key is remembered.
    pub key_age_max: Duration,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// The size of one segment file.
    pub segment_bytes: u64,
    /// The newest entries kept in memory.
    pub suffix_bytes_max: usize,
    /// The newest entries that are kept in any case, for replicas that lag.
    pub kept_bytes: u64,
    /// The newest entries that are kept at most while a replica fetches the state.
    pub reserve_bytes: u64,
}

/// The state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What the database keeps in memory of its file.
    pub cache_bytes: usize,
    /// The newest records kept in memory.
    pub suffix_bytes_max: usize,
    /// Records not yet flushed, before appends have to wait.
    pub unflushed_bytes_max: usize,
    /// Flush when this much has come together.
    pub flush_bytes: usize,
    /// Flush when this much time has passed.
    pub flush_interval: Duration,
    /// What a state transfer may fetch in a second; none: no limit.
    pub transfer_bytes_per_second: Option<u64>,
    /// Look so often for records beyond their log's retention.
    pub retention_interval: Duration,
}

/// Who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// What is done about a voter that has been silent for long.
    pub replace_dead: ReplaceDead,
    /// How long that is.
    pub replace_dead_after: Duration,
}

/// Checkpoints and the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoints {
    /// Make one this long after the last, if there was work since.
    pub interval: Duration,
    /// Make one when entries of so many bytes came after the last.
    pub bytes: u64,
    /// Compare so often what the replicas executed, if there was work.
    pub audit_interval: Duration,
    /// Read all again within this.
    pub scrub_within: Duration,
}

/// What only the demo and tests ask for, by hidden flags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rehearsal {
    /// Dial the right address wherever the left one is meant; both are `host:port`. Holds for every
    /// connection to another replica: consensus, transfers and forwarded requests.
    pub detours: BTreeMap<String, String>,
    /// Stop when standard input ends, so that a replica never outlives whoever started it.
    pub ends_with_stdin: bool,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// There is no such setting.
    #[error("{origin}: unknown key `{key}`{}", meant(*suggestion))]
    UnknownKey {
        /// Where it was given.
        origin: String,
        /// What was given.
        key: String,
        /// What was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A value that cannot be read, or that goes against another.
    #[error("{origin}: `{key}`: {reason}")]
    BadValue {
        /// Where it was given.
        origin: String,
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It would open the replica to the network.
    #[error(
        "{origin}: `{key}` = {addr} can be reached from other machines, and this version has no \
         authentication: whoever reaches it can read, append and delete; bind to 127.0.0.1, or say \
         --insecure-no-auth on a network that you trust"
    )]
    OpenToTheNetwork {
        /// Where it was given.
        origin: String,
        /// The setting.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
    },
}

fn meant(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Everything that is wrong, at once, so that nobody mends one line at a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// Whether the settings are well-formed and only not safe.
    pub fn is_refusal(&self) -> bool {
        self.0.iter().all(|error| matches!(error, ConfigError::OpenToTheNetwork { .. }))
    }
}

/// An effective value and its origin, for `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The setting.
    pub key: &'static str,
    /// Its value, as it would be written.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Config {
    /// Checks what was given and makes a `Config` of it.
    pub fn build(layers: &Layers, start: Start) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { layers, errors: layers.errors().to_vec() };
        let mut config = reader.config(start);
        reader.check(&config);
        config.told = config.effective(layers).into_iter().map(Effective::told).collect();
        if reader.errors.is_empty() { Ok(config) } else { Err(ConfigErrors(reader.errors)) }
    }

    /// Every setting with its effective value and origin.
    pub fn effective(&self, layers: &Layers) -> Vec<Effective> {
        KEYS.iter()
            .map(|key| {
                let given = layers.get(key);
                let value = match key.name {
                    "peer_listen" => self.peer_listen.to_string(),
                    "advertise" => self.advertise.to_string(),
                    "advertise_peer" => self.advertise_peer.to_string(),
                    _ => given.text,
                };
                Effective { key: key.name, value, origin: given.origin }
            })
            .collect()
    }
}

impl Effective {
    /// The same as the contract tells it.
    fn told(self) -> EffectiveSetting {
        let about = KEYS.iter().find(|key| key.name == self.key).map_or("", |key| key.about);
        EffectiveSetting {
            key: self.key.to_owned(),
            value: self.value,
            is_given: !matches!(self.origin, Origin::Default | Origin::Derived),
            origin: self.origin.to_string(),
            about: about.to_owned(),
        }
    }
}

/// Reads values out of the layers and gathers what is wrong.
struct Reader<'a> {
    layers: &'a Layers,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn config(&mut self, start: Start) -> Config {
        let listen = self.bind("listen");
        let peer_listen = if self.layers.is_given("peer_listen") {
            self.bind("peer_listen")
        } else {
            self.beside(listen)
        };
        Config {
            data: PathBuf::from(self.text("data")),
            listen,
            peer_listen,
            advertise: self.reach("advertise", listen),
            advertise_peer: self.reach("advertise_peer", peer_listen),
            zone: self.zone(),
            start,
            timings: Timings {
                heartbeat: self.time("timings.heartbeat"),
                election_min: self.time("timings.election_min"),
                election_max: self.time("timings.election_max"),
            },
            limits: self.limits(),
            group: self.group(),
            journal: Journal {
                segment_bytes: self.bytes("journal.segment_bytes"),
                suffix_bytes_max: self.memory("journal.suffix_bytes_max"),
                kept_bytes: self.bytes("journal.kept_bytes"),
                reserve_bytes: self.bytes("journal.reserve_bytes"),
            },
            state: State {
                cache_bytes: self.memory("state.cache_bytes"),
                suffix_bytes_max: self.memory("state.suffix_bytes_max"),
                unflushed_bytes_max: self.memory("state.unflushed_bytes_max"),
                flush_bytes: self.memory("state.flush_bytes"),
                flush_interval: self.time("state.flush_interval"),
                transfer_bytes_per_second: Some(self.bytes("state.transfer_bytes_per_second"))
                    .filter(|bytes| *bytes < 1 << 40),
                retention_interval: self.time("state.retention_interval"),
            },
            membership: Membership {
                replace_dead: self.replace_dead("membership.replace_dead"),
                replace_dead_after: self.time("membership.replace_dead_after"),
            },
            checkpoints: Checkpoints {
                interval: self.time("checkpoints.interval"),
                bytes: self.bytes("checkpoints.bytes"),
                audit_interval: self.time("checkpoints.audit_interval"),
                scrub_within: self.time("checkpoints.scrub_within"),
            },
            clients: self.clients(),
            peers: self.peers(),
            diagnostics: TelemetryOptions {
                filter: self.text("diagnostics.filter"),
                format: self.format("diagnostics.format"),
            },
            rehearsal: Rehearsal::default(),
            told: Arc::default(),
        }
    }

    fn limits(&mut self) -> Limits {
        Limits {
            batch: BatchLimits {
                records_max: self.number("limits.batch_records_max"),
                bytes_max: self.memory("limits.batch_bytes_max"),
                record_bytes_max: self.memory("limits.record_bytes_max"),
                header_bytes_max: self.memory("limits.header_bytes_max"),
                headers_max: self.number("limits.headers_max"),
            },
            append_bytes_max: self.bytes("limits.append_bytes_max"),
            appends_max: self.count("limits.appends_max").into(),
            read_records_max: self.count("limits.read_records_max"),
            read_bytes_max: u32::try_from(self.bytes("limits.read_bytes_max")).unwrap_or(u32::MAX),
            wait_max: self.time("limits.wait_max"),
            followers_max: self.count("limits.followers_max").into(),
            disk_free_min: self.bytes("limits.disk_free_min"),
            list_max: self.number("limits.list_max"),
            reads_waiting_max: self.number("limits.reads_waiting_max"),
            joiners_max: self.number("limits.joiners_max"),
            command_deadline: self.time("limits.command_deadline"),
            forward_deadline: self.time("limits.forward_deadline"),
            http: HttpOptions {
                small_body_bytes_max: self.memory("limits.small_body_bytes_max"),
                events_kept_max: self.number("limits.events_kept_max"),
                events_kept_bytes_max: self.memory("limits.events_kept_bytes_max"),
            },
        }
    }

    fn group(&mut self) -> GroupLimits {
        GroupLimits {
            logs_max: self.count("group.logs_max"),
            producers_max: self.count("group.producers_max"),
            producer_idle_max: self.time("group.producer_idle_max"),
            producer_idle_min: self.time("group.producer_idle_min"),
            cursors_max: self.count("group.cursors_max"),
            keys_max: self.count("group.keys_max"),
            keys_per_log_max: self.count("group.keys_per_log_max"),
            key_age_max: self.time("group.key_age_max"),
        }
    }

    fn clients(&mut self) -> ListenOptions {
        ListenOptions {
            connections_max: self.number("connections.client_max"),
            connections_per_address_max: self.number("connections.client_per_address_max"),
            head_timeout: self.time("connections.head_timeout"),
            idle_timeout: self.time("connections.idle_timeout"),
            body_gap_max: self.time("connections.body_gap_max"),
            body_rate_min: self.bytes("connections.body_rate_min"),
            write_stall_max: self.time("connections.write_stall_max"),
            head_bytes_max: u32::try_from(self.bytes("connections.head_bytes_max"))
                .unwrap_or(u32::MAX),
            streams_max: self.count("connections.streams_max"),
            drain_max: self.time("connections.drain_max"),
        }
    }

    /// Peers keep connections open for good and there are few of them, so one address may have all.
    fn peers(&mut self) -> ListenOptions {
        let connections_max = self.number("connections.peer_max");
        ListenOptions {
            connections_max,
            connections_per_address_max: connections_max,
            ..self.clients()
        }
    }

    /// What only the whole can show: values that go against each other.
    fn check(&mut self, config: &Config) {
        let timings = config.timings;
        if timings.election_min < timings.heartbeat * 2 {
            self.bad("timings.election_min", "must be at least twice timings.heartbeat".to_owned());
        }
        if timings.election_max <= timings.election_min {
            self.bad("timings.election_max", "must be longer than timings.election_min".to_owned());
        }
        let batch = config.limits.batch;
        if batch.bytes_max < batch.record_bytes_max.saturating_add(batch.header_bytes_max) {
            let reason = "must hold one record with its headers: at least limits.record_bytes_max \
                          plus limits.header_bytes_max";
            self.bad("limits.batch_bytes_max", reason.to_owned());
        }
        // Four settings go into this one: each of them has to be a number first.
        if self.errors.is_empty() && batch.run_bytes_max() > peer::ENTRY_BYTES_MAX {
            let reason = "must fit into one message between replicas: with what stands around as \
                          many records as limits.batch_records_max allows, less than 16 MiB";
            self.bad("limits.batch_bytes_max", reason.to_owned());
        }
        if config.limits.append_bytes_max < batch.bytes_max as u64 {
            let reason = "must hold one append: at least limits.batch_bytes_max";
            self.bad("limits.append_bytes_max", reason.to_owned());
        }
        if config.journal.segment_bytes < (batch.bytes_max as u64).saturating_mul(2) {
            let reason = "must hold two appends: at least twice limits.batch_bytes_max";
            self.bad("journal.segment_bytes", reason.to_owned());
        }
        let (journal, state) = (&config.journal, &config.state);
        let in_flight = journal.segment_bytes.saturating_add(state.unflushed_bytes_max as u64);
        if config.limits.disk_free_min / 4 < in_flight {
            let reason = "a quarter of it must hold what is written although the disk is full: at least \
                          journal.segment_bytes plus state.unflushed_bytes_max";
            self.bad("limits.disk_free_min", reason.to_owned());
        }
        if config.group.producer_idle_min > config.group.producer_idle_max {
            let reason = "must be at most group.producer_idle_max".to_owned();
            self.bad("group.producer_idle_min", reason);
        }
        if config.listen == config.peer_listen {
            self.bad("peer_listen", "is the same as listen".to_owned());
        }
        let consents = self.switch("insecure_no_auth");
        for (key, addr) in [("listen", config.listen), ("peer_listen", config.peer_listen)] {
            if !addr.ip().is_loopback() && !consents {
                let origin = self.given(key).origin.to_string();
                self.errors.push(ConfigError::OpenToTheNetwork { origin, key, addr });
            }
        }
    }

    fn given(&self, name: &'static str) -> Given {
        self.layers.get(keys::find(name).expect("a setting that is read stands in the table"))
    }

    fn bad(&mut self, key: &'static str, reason: String) {
        let origin = self.given(key).origin.to_string();
        self.errors.push(ConfigError::BadValue { origin, key, reason });
    }

    /// Reads a value; a bad one is noted, and a stand-in lets the rest be checked too.
    fn parse<T>(&mut self, name: &'static str, stand_in: T, parse: fn(&str) -> Option<T>) -> T {
        let text = self.given(name).text;
        parse(text.trim()).unwrap_or_else(|| {
            let kind = keys::find(name).map_or_else(String::new, |key| key.kind.expected());
            self.bad(name, format!("{text:?} is not {kind}"));
            stand_in
        })
    }

    fn text(&self, name: &'static str) -> String {
        self.given(name).text
    }

    fn zone(&mut self) -> Zone {
        let text = self.text("zone");
        Zone::new(&text).unwrap_or_else(|error| {
            self.bad("zone", error.to_string());
            Zone::default()
        })
    }

    fn switch(&mut self, name: &'static str) -> bool {
        self.parse(name, false, |text| bool::from_str(text).ok())
    }

    fn count(&mut self, name: &'static str) -> u32 {
        self.parse(name, u32::MAX, |text| u32::from_str(text).ok().filter(|count| *count > 0))
    }

    fn bytes(&mut self, name: &'static str) -> u64 {
        self.parse(name, 1 << 40, |text| {
            ByteSize::from_str(text).ok().map(|size| size.0).filter(|size| *size > 0)
        })
    }

    /// A size of something in memory.
    fn memory(&mut self, name: &'static str) -> usize {
        usize::try_from(self.bytes(name)).unwrap_or(usize::MAX)
    }

    /// A number of things in memory.
    fn number(&mut self, name: &'static str) -> usize {
        usize::try_from(self.count(name)).unwrap_or(usize::MAX)
    }

    fn time(&mut self, name: &'static str) -> Duration {
        self.parse(name, Duration::from_secs(1), |text| {
            let time = Duration::try_from(SignedDuration::from_str(text).ok()?).ok()?;
            (!time.is_zero()).then_some(time)
        })
    }

    fn replace_dead(&mut self, name: &'static str) -> ReplaceDead {
        self.parse(name, ReplaceDead::Off, |text| match text {
            "off" => Some(ReplaceDead::Off),
            "propose" => Some(ReplaceDead::Propose),
            "run" => Some(ReplaceDead::Run),
            _ => None,
        })
    }

    fn format(&mut self, name: &'static str) -> telemetry::Format {
        self.parse(name, telemetry::Format::Auto, |text| match text {
            "auto" => Some(telemetry::Format::Auto),
            "text" => Some(telemetry::Format::Text),
            "json" => Some(telemetry::Format::Json),
            _ => None,
        })
    }

    /// Port 0 is refused: replicas are found by their address, so it must be known beforehand.
    fn bind(&mut self, name: &'static str) -> SocketAddr {
        self.parse(name, SocketAddr::from(([127, 0, 0, 1], 1)), |text| {
            let text = text
                .strip_prefix("localhost:")
                .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
            SocketAddr::from_str(&text).ok().filter(|addr| addr.port() > 0)
        })
    }

    fn beside(&mut self, listen: SocketAddr) -> SocketAddr {
        let port = listen.port().checked_add(1000).unwrap_or_else(|| {
            self.bad(
                "peer_listen",
                "the port of `listen` plus 1000 is no port; give one".to_owned(),
            );
            1
        });
        SocketAddr::new(listen.ip(), port)
    }

    fn reach(&mut self, name: &'static str, listen: SocketAddr) -> ReplicaAddr {
        let stand_in = || ReplicaAddr::from_str("http://127.0.0.1:1").expect("it is well-formed");
        if self.layers.is_given(name) {
            return self.parse(name, stand_in(), |text| ReplicaAddr::from_str(text).ok());
        }
        if listen.ip().is_unspecified() {
            self.bad(
                name,
                format!("{listen} is every address of this machine; name the one that others use"),
            );
        }
        ReplicaAddr::from_str(&format!("http://{listen}")).unwrap_or_else(|_| stand_in())
    }
}
