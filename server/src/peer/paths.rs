//! The routes between replicas, each once.

pub(super) const INTRODUCE: &str = "/peer/1/introduce";
pub(super) const APPEND: &str = "/peer/1/append";
pub(super) const VOTE: &str = "/peer/1/vote";
pub(super) const PRE_VOTE: &str = "/peer/1/pre-vote";
pub(super) const TAKE_LEADERSHIP: &str = "/peer/1/take-leadership";
pub(super) const READ_INDEX: &str = "/peer/1/read-index";
pub(super) const ATTESTATION: &str = "/peer/1/attestation";
pub(super) const ROLLING_DIGEST: &str = "/peer/1/rolling-digest";
pub(super) const REACH: &str = "/peer/1/reach";
pub(super) const OFFER: &str = "/peer/1/offer";
pub(super) const MANIFEST: &str = "/peer/1/manifest";
pub(super) const CONFIRMED: &str = "/peer/1/confirmed";
pub(super) const KEPT: &str = "/peer/1/kept";
pub(super) const TILES: &str = "/peer/1/tiles";
pub(super) const RECORDS: &str = "/peer/1/records";
pub(super) const ENTRIES: &str = "/peer/1/entries";

pub(super) const FAREWELL: &str = "/peer/1/farewell";
pub(super) const PRESENT: &str = "/peer/1/present";

/// What a message of this route is called in metrics.
pub(super) fn name(path: &str) -> &'static str {
    match path {
        INTRODUCE => "introduce",
        APPEND => "append",
        VOTE => "vote",
        PRE_VOTE => "pre_vote",
        TAKE_LEADERSHIP => "take_leadership",
        READ_INDEX => "read_index",
        ATTESTATION => "attestation",
        ROLLING_DIGEST => "rolling_digest",
        REACH => "reach",
        OFFER => "offer",
        MANIFEST => "manifest",
        CONFIRMED => "confirmed",
        KEPT => "kept",
        TILES => "tiles",
        RECORDS => "records",
        ENTRIES => "entries",
        FAREWELL => "farewell",
        PRESENT => "present",
        _ => "other",
    }
}
