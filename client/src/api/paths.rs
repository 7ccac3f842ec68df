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

/// All logs: GET.
pub const LOGS: &str = "/v1/logs";
/// One log: PUT, PATCH, GET, HEAD, DELETE.
pub const LOG: &str = "/v1/logs/{log}";
/// Its records: POST appends, GET reads or follows.
pub const RECORDS: &str = "/v1/logs/{log}/records";
/// One of its records: GET.
pub const RECORD: &str = "/v1/logs/{log}/records/{position}";
/// Drop its oldest records: POST.
pub const TRIM: &str = "/v1/logs/{log}/trim";
/// End it: POST.
pub const SEAL: &str = "/v1/logs/{log}/seal";
/// Its fence: PUT.
pub const FENCE: &str = "/v1/logs/{log}/fence";
/// Its cursors: GET.
pub const CURSORS: &str = "/v1/logs/{log}/cursors";
/// One of its cursors: PUT, GET, DELETE.
pub const CURSOR: &str = "/v1/logs/{log}/cursors/{name}";

/// The cluster, its replicas and its verdict: GET.
pub const CLUSTER: &str = "/v1/cluster";
/// Make the first replica of a new cluster: POST.
pub const BOOTSTRAP: &str = "/v1/cluster/bootstrap";
/// Processes that wait to join: GET lists them, POST asks.
pub const JOINERS: &str = "/v1/cluster/joiners";
/// What a change of the membership would do: POST, which changes nothing.
pub const PLANS: &str = "/v1/cluster/plans";
/// Changes of the membership: GET lists them, POST begins one.
pub const CHANGES: &str = "/v1/cluster/changes";
/// One of them: GET, and DELETE cancels it.
pub const CHANGE: &str = "/v1/cluster/changes/{change}";

/// Checkpoints: GET lists them, POST makes one.
pub const CHECKPOINTS: &str = "/v1/checkpoints";
/// Snapshots that the replica which answers keeps: GET.
pub const SNAPSHOTS: &str = "/v1/snapshots";
/// One of them: GET, and DELETE releases it.
pub const SNAPSHOT: &str = "/v1/snapshots/{checkpoint}";
/// A backup of it: GET.
pub const ARCHIVE: &str = "/v1/snapshots/{checkpoint}/archive";
/// Whether the replicas hold the same: GET.
pub const AUDIT: &str = "/v1/audit";
/// How far the replica that answers is with reading all again: GET; POST begins now.
pub const SCRUB: &str = "/v1/audit/scrub";
/// State transfers that the replica which answers takes part in: GET.
pub const TRANSFERS: &str = "/v1/transfers";
/// One of them: GET, PATCH.
pub const TRANSFER: &str = "/v1/transfers/{transfer}";

/// What the replica that answers did lately, and how long it took: GET.
pub const PERFORMANCE: &str = "/v1/performance";

/// Whether the process lives: GET.
pub const LIVE: &str = "/livez";
/// Another name of [`LIVE`].
pub const HEALTH: &str = "/healthz";
/// Whether it can serve now: GET.
pub const READY: &str = "/readyz";
/// Metrics: GET.
pub const METRICS: &str = "/metrics";

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
