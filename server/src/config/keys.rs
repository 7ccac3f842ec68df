//! Every setting of a replica, once: name, kind, default and one sentence.
//!
//! Invariant: a setting that is not in `KEYS` does not exist. The example file, the names in the
//! environment, the check for unknown keys and `config show` are all made of this table, so they
//! cannot differ from each other.
//!
//! Not here: where values come from (`layers`), and what they become (`Config`).

use crate::telemetry::FILTER_DEFAULT;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name: `section.key`, or a bare `key` for the ones without a section.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: Kind,
    /// The value if nobody gives one; empty if it follows from others.
    pub default: &'static str,
    /// One sentence for a person.
    pub about: &'static str,
}

/// What kind of value a setting takes; decides how it is written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Free text.
    Text,
    /// A folder.
    Folder,
    /// An address to bind: IP address and port.
    Bind,
    /// An address that others can reach: `http://host:port`.
    Reach,
    /// `true` or `false`.
    Switch,
    /// A length of time, such as `80ms`.
    Time,
    /// A size, such as `64MiB`.
    Bytes,
    /// A number of things.
    Count,
    /// One of a few words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// What to write there, for an error message.
    pub fn expected(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Folder => "a folder".to_owned(),
            Self::Bind => "an IP address and a port, such as 127.0.0.1:7001".to_owned(),
            Self::Reach => "an address such as http://10.0.0.1:7001".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Time => "a length of time, such as 250ms or 30s".to_owned(),
            Self::Bytes => "a size, such as 512KiB or 64MiB".to_owned(),
            Self::Count => "a whole number".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Whether a value of this kind stands without quotes in a file.
    fn is_bare(self) -> bool {
        matches!(self, Self::Switch | Self::Count)
    }
}

impl Key {
    /// The section it stands in; empty for the ones at the top of the file.
    pub fn section(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within its section.
    pub fn leaf(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, leaf)| leaf)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("QUORATE_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// A value as it is written in a file.
    fn quoted(&self, value: &str) -> String {
        if self.kind.is_bare() { value.to_owned() } else { format!("{value:?}") }
    }
}

/// What each section is about, in the order of the example file.
const SECTIONS: &[(&str, &str)] = &[
    ("", ""),
    ("timings", "How fast the group notices a dead leader. Fixed when the group is bootstrapped."),
    ("limits", "What one caller may ask for. Whoever asks for more is told the limit."),
    ("group", "What the group keeps in memory. Fixed when the group is bootstrapped."),
    ("journal", "The journal: what makes an append durable."),
    ("state", "The state: records and everything else, written behind the acknowledgement."),
    ("membership", "Who takes part. Alike on all replicas: whoever leads goes by its own."),
    ("checkpoints", "Checkpoints: what lets the journal go; and the audit of what replicas hold."),
    ("connections", "Connections and how long they may take."),
    ("diagnostics", "What a replica says about itself on standard error."),
];

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, about }
}

/// All settings, in the order of the example file.
pub const KEYS: &[Key] = &[
    key("data", Kind::Folder, "quorate-data", "The folder that holds this replica."),
    key("listen", Kind::Bind, "127.0.0.1:7001", "Where clients reach this replica."),
    key(
        "peer_listen",
        Kind::Bind,
        "",
        "Where other replicas reach it; the port of `listen` plus 1000.",
    ),
    key("advertise", Kind::Reach, "", "The address of `listen` as clients know it."),
    key(
        "advertise_peer",
        Kind::Reach,
        "",
        "The address of `peer_listen` as other replicas know it.",
    ),
    key("zone", Kind::Text, "", "Where it stands, to spread replicas: a rack, a room, a region."),
    key(
        "insecure_no_auth",
        Kind::Switch,
        "false",
        "Listen beyond this machine although nobody has to prove who they are.",
    ),
    key("timings.heartbeat", Kind::Time, "80ms", "How often the leader tells that it lives."),
    key(
        "timings.election_min",
        Kind::Time,
        "250ms",
        "Without a leader for at least this long, elect one.",
    ),
    key(
        "timings.election_max",
        Kind::Time,
        "500ms",
        "The longest of the random waits before an election.",
    ),
    key("limits.record_bytes_max", Kind::Bytes, "1MiB", "The body of one record."),
    key("limits.batch_records_max", Kind::Count, "1000", "Records in one append."),
    key(
        "limits.batch_bytes_max",
        Kind::Bytes,
        "4MiB",
        "All records of one append: below 16MiB, to fit between replicas.",
    ),
    key("limits.headers_max", Kind::Count, "64", "Headers of one record."),
    key("limits.header_bytes_max", Kind::Bytes, "8KiB", "All headers of one record."),
    key(
        "limits.append_bytes_max",
        Kind::Bytes,
        "64MiB",
        "Appends accepted and not yet answered; beyond it callers are told to come back.",
    ),
    key("limits.appends_max", Kind::Count, "16384", "The same, as a number of appends."),
    key("limits.read_records_max", Kind::Count, "10000", "Records in one answer to a read."),
    key("limits.read_bytes_max", Kind::Bytes, "4MiB", "One answer to a read."),
    key("limits.wait_max", Kind::Time, "60s", "How long a long poll may wait."),
    key("limits.followers_max", Kind::Count, "10000", "Followers and waiting reads at one time."),
    key("limits.list_max", Kind::Count, "1000", "Logs or cursors in one answer."),
    key(
        "limits.reads_waiting_max",
        Kind::Count,
        "16384",
        "Reads that wait at one time for the group to confirm that they are fresh.",
    ),
    key("limits.joiners_max", Kind::Count, "64", "Processes that wait to join at one time."),
    key("limits.small_body_bytes_max", Kind::Bytes, "64KiB", "A body that brings no records."),
    key(
        "limits.events_kept_max",
        Kind::Count,
        "64",
        "Encoded events kept for further followers of the same log.",
    ),
    key("limits.events_kept_bytes_max", Kind::Bytes, "8MiB", "The same, in bytes."),
    key(
        "limits.command_deadline",
        Kind::Time,
        "5s",
        "For a change of a log or cursor to be agreed on.",
    ),
    key(
        "limits.forward_deadline",
        Kind::Time,
        "10s",
        "For the leader to answer a request that was carried to it.",
    ),
    key(
        "limits.disk_free_min",
        Kind::Bytes,
        "512MiB",
        "With less room on the disk than this, appends are refused until there is an eighth more.",
    ),
    key("group.logs_max", Kind::Count, "100000", "Logs."),
    key("group.producers_max", Kind::Count, "100000", "Producers of all logs together."),
    key("group.producer_idle_max", Kind::Time, "168h", "How long a silent producer is remembered."),
    key(
        "group.producer_idle_min",
        Kind::Time,
        "10m",
        "How long at least: beyond it, one makes room for a newcomer if there are as many as may be.",
    ),
    key("group.cursors_max", Kind::Count, "100000", "Cursors of all logs together."),
    key("group.keys_max", Kind::Count, "100000", "Idempotency keys of all logs together."),
    key(
        "group.keys_per_log_max",
        Kind::Count,
        "10000",
        "Idempotency keys of one log; the oldest makes room.",
    ),
    key("group.key_age_max", Kind::Time, "10m", "How long an idempotency key is remembered."),
    key("journal.segment_bytes", Kind::Bytes, "64MiB", "The size of one segment file."),
    key("journal.suffix_bytes_max", Kind::Bytes, "16MiB", "The newest entries kept in memory."),
    key(
        "journal.kept_bytes",
        Kind::Bytes,
        "128MiB",
        "The newest entries that are kept on disk in any case, for replicas that lag.",
    ),
    key(
        "journal.reserve_bytes",
        Kind::Bytes,
        "1GiB",
        "The newest entries that are kept at most while a replica fetches the state.",
    ),
    key(
        "state.cache_bytes",
        Kind::Bytes,
        "32MiB",
        "What the database keeps in memory of its file.",
    ),
    key("state.suffix_bytes_max", Kind::Bytes, "16MiB", "The newest records kept in memory."),
    key(
        "state.unflushed_bytes_max",
        Kind::Bytes,
        "48MiB",
        "Records not yet flushed, before appends have to wait.",
    ),
    key("state.flush_bytes", Kind::Bytes, "8MiB", "Flush when this much has come together, or …"),
    key("state.flush_interval", Kind::Time, "1s", "… when this much time has passed."),
    key(
        "state.transfer_bytes_per_second",
        Kind::Bytes,
        "1TiB",
        "How much of what it lacks this replica fetches in a second; 1TiB: as fast as it goes.",
    ),
    key(
        "state.retention_interval",
        Kind::Time,
        "10s",
        "How often the leader looks for records beyond their log's retention.",
    ),
    key(
        "membership.replace_dead",
        Kind::Choice(&["off", "propose", "run"]),
        "off",
        "For a silent voter, propose a process that waits to join, or replace it if no check blocks that.",
    ),
    key(
        "membership.replace_dead_after",
        Kind::Time,
        "10m",
        "A voter that has not answered its leader for so long is meant by that.",
    ),
    key(
        "checkpoints.interval",
        Kind::Time,
        "10s",
        "The leader makes a checkpoint this long after the last one, if there was work, or …",
    ),
    key(
        "checkpoints.bytes",
        Kind::Bytes,
        "128MiB",
        "… when entries of so many bytes came after the last one.",
    ),
    key(
        "checkpoints.audit_interval",
        Kind::Time,
        "5s",
        "How often the leader compares what the replicas executed, if there was work.",
    ),
    key(
        "checkpoints.scrub_within",
        Kind::Time,
        "24h",
        "So long a replica takes at most to read all again that it keeps; damage is repaired.",
    ),
    key("connections.client_max", Kind::Count, "16384", "Connections of clients at one time."),
    key("connections.client_per_address_max", Kind::Count, "12288", "The same, from one address."),
    key("connections.peer_max", Kind::Count, "1024", "Connections of other replicas at one time."),
    key("connections.head_timeout", Kind::Time, "10s", "For the head of a request to be complete."),
    key("connections.idle_timeout", Kind::Time, "75s", "For a connection without a request."),
    key("connections.body_gap_max", Kind::Time, "10s", "Without a byte of a body that is awaited."),
    key(
        "connections.body_rate_min",
        Kind::Bytes,
        "4KiB",
        "Bytes per second that a body has to average beyond the first gap.",
    ),
    key(
        "connections.write_stall_max",
        Kind::Time,
        "30s",
        "Without the other side taking a byte of an answer.",
    ),
    key(
        "connections.head_bytes_max",
        Kind::Bytes,
        "64KiB",
        "The head of a request over HTTP/2; over HTTP/1 64 KiB bound it.",
    ),
    key(
        "connections.streams_max",
        Kind::Count,
        "256",
        "Requests at one time on one HTTP/2 connection.",
    ),
    key(
        "connections.drain_max",
        Kind::Time,
        "10s",
        "For requests under way when the replica stops.",
    ),
    key(
        "diagnostics.filter",
        Kind::Text,
        FILTER_DEFAULT,
        "error, warn, info, debug or trace, also by module.",
    ),
    key(
        "diagnostics.format",
        Kind::Choice(&["auto", "text", "json"]),
        "auto",
        "Text for a person, JSON for a machine; auto chooses by whether it is a terminal.",
    ),
];

/// The setting of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The name that was probably meant by one that does not exist.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let leaf = name.rsplit_once('.').map_or(name, |(_, leaf)| leaf);
    if let Some(key) = KEYS.iter().find(|key| key.leaf() == leaf) {
        return Some(key.name);
    }
    let mut ranked: Vec<(usize, &'static str)> = KEYS
        .iter()
        .map(|key| (distance(name, key.name).min(distance(leaf, key.leaf())), key.name))
        .collect();
    ranked.sort_unstable();
    ranked.first().filter(|(edits, _)| *edits <= 1 + leaf.len() / 4).map(|(_, name)| *name)
}

/// How many letters differ: the Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// The example file: every key, commented out, at its default.
pub fn example() -> String {
    let mut text = String::from(
        "# Settings of one replica. Everything here is optional: what stands behind a `#` is the default.\n\
         # A flag wins over the environment (QUORATE_LIMITS_RECORD_BYTES_MAX=…), and that over this file.\n\
         # Check a file with `quorate config check FILE`, see the effective values and where each comes\n\
         # from with `quorate config show --origin`.\n",
    );
    for (section, about) in SECTIONS {
        text.push('\n');
        if !section.is_empty() {
            text.extend(["# ", about, "\n[", section, "]\n"]);
        }
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            text.extend(["# ", key.about, "\n"]);
            let value = if key.default.is_empty() { illustration(key.name) } else { key.default };
            text.extend(["# ", key.leaf(), " = ", &key.quoted(value), "\n"]);
        }
    }
    text
}

/// What stands in the example file for a value that follows from others.
fn illustration(name: &str) -> &'static str {
    match name {
        "peer_listen" => "127.0.0.1:8001",
        "advertise" => "http://127.0.0.1:7001",
        "advertise_peer" => "http://127.0.0.1:8001",
        _ => "",
    }
}
