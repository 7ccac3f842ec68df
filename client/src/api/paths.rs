//! Every route once: the template by which the server knows it, and the builder for callers.
//!
//! A log name stands in one part of a path, so its `/` is written `%2F`. Names with a part `.` or
//! `..` do not exist ([`LogName`]), so no path built here can mean another place.
//!
//! Not here: what a route takes and answers (`logs`, `records`, `cluster`, `plans`, `transfers`).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::types::{ChangeId, CursorName, EntryIndex, LogName, Position};

/// What every versioned route starts with.
pub const VERSION_PREFIX: &str = "/v1";

/// A route: what stands at a path, and the methods that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The template of the path.
    pub path: &'static str,
    /// The methods.
    pub methods: &'static [&'static str],
    /// What it is, in a sentence or two.
    pub about: &'static str,
}

macro_rules! routes {
    ($(#[doc = $about:literal] $name:ident = $path:literal, [$($method:ident),+];)*) => {
        $(#[doc = $about] pub const $name: &str = $path;)*

        /// All of them.
        pub const ROUTES: &[Route] = &[$(Route {
            path: $path,
            methods: &[$(stringify!($method)),+],
            about: $about.trim_ascii(),
        }),*];
    };
}

routes! {
    /// All logs, by name.
    LOGS = "/v1/logs", [GET];
    /// One log: made sure of, changed in its settings, described, deleted.
    LOG = "/v1/logs/{log}", [PUT, PATCH, GET, HEAD, DELETE];
    /// Its records: POST appends, GET reads, waits or follows.
    RECORDS = "/v1/logs/{log}/records", [GET, POST];
    /// One of its records, byte for byte.
    RECORD = "/v1/logs/{log}/records/{position}", [GET];
    /// Drops its oldest records, or tells what that would drop.
    TRIM = "/v1/logs/{log}/trim", [POST];
    /// Ends it: no more appends, ever.
    SEAL = "/v1/logs/{log}/seal", [POST];
    /// Sets its fence, or takes it away.
    FENCE = "/v1/logs/{log}/fence", [PUT];
    /// Its cursors, by name.
    CURSORS = "/v1/logs/{log}/cursors", [GET];
    /// One of its cursors.
    CURSOR = "/v1/logs/{log}/cursors/{name}", [PUT, GET, DELETE];
    /// A log as a stream of the Durable Streams protocol, with the slashes of its name as they are.
    STREAM = "/ds/v1/{*log}", [PUT, POST, GET, HEAD, DELETE, OPTIONS];
    /// The cluster, its replicas and its verdict.
    CLUSTER = "/v1/cluster", [GET];
    /// Makes the first replica of a new cluster.
    BOOTSTRAP = "/v1/cluster/bootstrap", [POST];
    /// Processes that wait to join: GET lists them, POST asks.
    JOINERS = "/v1/cluster/joiners", [GET, POST];
    /// What a change of the membership would do. Changes nothing.
    PLANS = "/v1/cluster/plans", [POST];
    /// Changes of the membership: GET lists them, POST begins one.
    CHANGES = "/v1/cluster/changes", [GET, POST];
    /// One of them; DELETE cancels it.
    CHANGE = "/v1/cluster/changes/{change}", [GET, DELETE];
    /// Checkpoints: GET lists them, POST makes one.
    CHECKPOINTS = "/v1/checkpoints", [GET, POST];
    /// Snapshots that the replica which answers keeps.
    SNAPSHOTS = "/v1/snapshots", [GET];
    /// One of them; DELETE releases it.
    SNAPSHOT = "/v1/snapshots/{checkpoint}", [GET, DELETE];
    /// A backup of it, as a file.
    ARCHIVE = "/v1/snapshots/{checkpoint}/archive", [GET];
    /// Who did what, newest first, as JSON or NDJSON: kept for ever.
    ACTIVITY = "/v1/activity", [GET];
    /// Whether the replicas hold the same.
    AUDIT = "/v1/audit", [GET];
    /// How far the replica that answers is with reading all again; POST begins now.
    SCRUB = "/v1/audit/scrub", [GET, POST];
    /// State transfers that the replica which answers takes part in.
    TRANSFERS = "/v1/transfers", [GET];
    /// One of them; PATCH turns its speed.
    TRANSFER = "/v1/transfers/{transfer}", [GET, PATCH];
    /// What the replica that answers did lately, and how long it took.
    PERFORMANCE = "/v1/performance", [GET];
    /// The settings of the replica that answers, and where each comes from.
    SETTINGS = "/v1/settings", [GET];
    /// Whether the process lives.
    LIVE = "/livez", [GET];
    /// Another name of the one before.
    HEALTH = "/healthz", [GET];
    /// Whether it can serve now.
    READY = "/readyz", [GET];
    /// Metrics, as Prometheus reads them.
    METRICS = "/metrics", [GET];
    /// All of this as a document that programs read.
    OPENAPI = "/v1/openapi.json", [GET];
    /// The same as a page for people.
    REFERENCE = "/docs/api", [GET];
    /// What an error code means, and what to do about it, as a page.
    ERROR_PAGE = "/docs/errors/{code}", [GET];
}

/// What stays as it is in a part of a path.
const PART: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

fn part(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, PART)
}

/// Path of [`LOG`].
pub fn log(log: &LogName) -> String {
    format!("/v1/logs/{}", part(log.as_str()))
}

/// Path of [`RECORDS`].
pub fn records(log: &LogName) -> String {
    format!("/v1/logs/{}/records", part(log.as_str()))
}

/// Path of [`RECORD`].
pub fn record(log: &LogName, position: Position) -> String {
    format!("/v1/logs/{}/records/{position}", part(log.as_str()))
}

/// Path of [`TRIM`].
pub fn trim(log: &LogName) -> String {
    format!("/v1/logs/{}/trim", part(log.as_str()))
}

/// Path of [`SEAL`].
pub fn seal(log: &LogName) -> String {
    format!("/v1/logs/{}/seal", part(log.as_str()))
}

/// Path of [`FENCE`].
pub fn fence(log: &LogName) -> String {
    format!("/v1/logs/{}/fence", part(log.as_str()))
}

/// Path of [`CURSORS`].
pub fn cursors(log: &LogName) -> String {
    format!("/v1/logs/{}/cursors", part(log.as_str()))
}

/// Path of [`CURSOR`].
pub fn cursor(log: &LogName, name: &CursorName) -> String {
    format!("/v1/logs/{}/cursors/{}", part(log.as_str()), part(name.as_str()))
}

/// Path of [`CHANGE`].
pub fn change(id: ChangeId) -> String {
    format!("/v1/cluster/changes/{id}")
}

/// Path of [`SNAPSHOT`].
pub fn snapshot(checkpoint: EntryIndex) -> String {
    format!("/v1/snapshots/{checkpoint}")
}

/// Path of [`TRANSFER`].
pub fn transfer(id: &str) -> String {
    format!("/v1/transfers/{}", part(id))
}

/// Path of [`ARCHIVE`].
pub fn archive(checkpoint: EntryIndex) -> String {
    format!("/v1/snapshots/{checkpoint}/archive")
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn builders_fill_their_templates() {
        let name = LogName::new("shop/orders:1").unwrap();
        let cursor_name = CursorName::new("billing").unwrap();
        let fill = |template: &str| {
            template
                .replace("{log}", "shop%2Forders:1")
                .replace("{name}", "billing")
                .replace("{position}", "7")
                .replace("{checkpoint}", "40")
                .replace("{transfer}", "3-1")
                .replace("{change}", "18")
        };
        assert_eq!(log(&name), fill(LOG));
        assert_eq!(records(&name), fill(RECORDS));
        assert_eq!(record(&name, Position::new(7)), fill(RECORD));
        assert_eq!(trim(&name), fill(TRIM));
        assert_eq!(seal(&name), fill(SEAL));
        assert_eq!(fence(&name), fill(FENCE));
        assert_eq!(cursors(&name), fill(CURSORS));
        assert_eq!(cursor(&name, &cursor_name), fill(CURSOR));
        assert_eq!(snapshot(EntryIndex::new(40)), fill(SNAPSHOT));
        assert_eq!(transfer("3-1"), fill(TRANSFER));
        assert_eq!(change(ChangeId::new(18)), fill(CHANGE));
        assert_eq!(archive(EntryIndex::new(40)), fill(ARCHIVE));
    }

    proptest! {
        #[test]
        fn a_name_comes_back_out_of_its_path(name in "[A-Za-z0-9._:/-]{1,40}") {
            if let Ok(name) = LogName::new(&name) {
                let path = log(&name);
                let parts: Vec<_> = path.split('/').collect();
                prop_assert_eq!(parts.len(), 4);
                prop_assert!(!matches!(parts[3], "." | ".."));
                let back = percent_decode_str(parts[3]).decode_utf8().unwrap();
                prop_assert_eq!(back.as_ref(), name.as_str());
            }
        }
    }
}
