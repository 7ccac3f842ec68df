//! Which replicas a command talks to: those it was told, those of a running demo, or the default.

use client::types::ReplicaAddr;

use super::Failure;
use super::demo::Whereabouts;

const DEFAULT: &str = "http://127.0.0.1:7001";

/// The addresses to try, in order.
pub(super) fn resolve(given: &[String]) -> Result<Vec<ReplicaAddr>, Failure> {
    if given.is_empty() {
        let demo = Whereabouts::read().map(|demo| demo.endpoints);
        return demo
            .filter(|endpoints| !endpoints.is_empty())
            .map_or_else(|| Ok(vec![parse(DEFAULT)?]), Ok);
    }
    given.iter().map(|text| parse(text)).collect()
}

/// An address as people type it: the scheme and a last slash may be missing or too much.
fn parse(text: &str) -> Result<ReplicaAddr, Failure> {
    let trimmed = text.trim().trim_end_matches('/');
    let whole =
        if trimmed.contains("://") { trimmed.to_owned() } else { format!("http://{trimmed}") };
    whole.parse().map_err(|error| {
        Failure::usage(format!("--endpoint {text}"))
            .because(error)
            .hint("--endpoint http://127.0.0.1:7001,http://127.0.0.1:7002")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;

    #[test]
    fn an_address_may_be_typed_short() {
        let given = ["http://a:7001", "b:7002/", " http://127.0.0.1:7003/ "].map(str::to_owned);
        let found: Vec<String> = resolve(&given).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["http://a:7001", "http://b:7002", "http://127.0.0.1:7003"]);
    }

    #[test]
    fn what_is_no_address_is_a_mistake_with_a_hint() {
        let failure = resolve(&["ftp://a".to_owned()]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.next.unwrap().contains("--endpoint http://"));
    }
}
