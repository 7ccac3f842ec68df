//! Addresses that are dialled elsewhere: how a rehearsal puts a link between two replicas.
//!
//! What a replica is called does not change, only where its messages go, so the identity of every
//! message is still checked at the other end.

use std::collections::BTreeMap;
use std::sync::Arc;

/// `host:port` as it is known, and the `host:port` that is dialled instead.
#[derive(Debug, Clone, Default)]
pub struct Detours(Arc<BTreeMap<String, String>>);

impl Detours {
    /// These detours; usually none.
    pub fn new(detours: BTreeMap<String, String>) -> Self {
        Self(Arc::new(detours))
    }

    /// The URL to dial for a path at a replica's base address.
    pub(super) fn url(&self, address: &str, path: &str) -> String {
        let base = address.trim_end_matches('/');
        let (scheme, authority) = base.split_once("://").unwrap_or(("http", base));
        let dialled = self.0.get(authority).map_or(authority, String::as_str);
        format!("{scheme}://{dialled}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_address_is_dialled_elsewhere() {
        let pair = ("127.0.0.1:8001".to_owned(), "127.0.0.1:9001".to_owned());
        let detours = Detours::new(BTreeMap::from([pair]));
        assert_eq!(detours.url("http://127.0.0.1:8001", "/a"), "http://127.0.0.1:9001/a");
        assert_eq!(detours.url("http://127.0.0.1:8002/", "/a"), "http://127.0.0.1:8002/a");
    }
}
