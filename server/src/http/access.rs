//! Who may send a request that changes something: not a page of another site.
//!
//! A browser says where a request comes from, and programs say nothing. So what a browser sends from
//! elsewhere is refused, whatever the address of the service is, and programs pass. Methods that
//! change nothing always pass.
//!
//! Not here: users and tokens. There is no sign-in yet, and the service binds to loopback.

use http::header::{HOST, HeaderMap, ORIGIN};
use http::{Method, Uri};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether the request changes something and was sent by a page of another site.
pub(super) fn is_cross_site(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    // An older browser: its origin has to be the authority that it asked.
    let asked = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let came_from =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    asked.is_none() || came_from != asked
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn is_refused(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            })
            .collect();
        is_cross_site(method, &Uri::from_static("/v1/logs/a"), &headers)
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "whatever comes next")],
            &[("origin", "https://evil.example"), ("host", "127.0.0.1:7001")],
            &[("origin", "null"), ("host", "127.0.0.1:7001")],
            &[("origin", "https://127.0.0.1:7001")],
            &[("origin", "http://127.0.0.1:7002"), ("host", "127.0.0.1:7001")],
        ] {
            assert!(is_refused(&Method::POST, headers), "{headers:?}");
            assert!(!is_refused(&Method::GET, headers), "{headers:?}");
        }
    }

    #[test]
    fn programs_and_our_own_pages_pass() {
        for headers in [
            &[][..],
            &[("host", "127.0.0.1:7001")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://q")],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://127.0.0.1:7001"), ("host", "127.0.0.1:7001")],
        ] {
            assert!(!is_refused(&Method::POST, headers), "{headers:?}");
        }
    }
}
