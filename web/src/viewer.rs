//! Who looks at a page: from where, and under which name.
//!
//! A name is what somebody said once; a browser keeps it in a cookie that it sends to these pages and to nobody else.
//! Nothing is proved by it. It goes with everything that is done from a page, and is told in the activity.
//!
//! Not here: the page on which it is said (`pages/name`).

use std::convert::Infallible;
use std::future::{Future, ready};
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use form_urlencoded::{byte_serialize, parse};
use http::HeaderValue;
use http::header::COOKIE;
use http::request::Parts;

use crate::backend::Backend;

/// What the cookie is called.
const NAME: &str = "quorate_name";
/// Longest name, in letters.
pub(crate) const NAME_MAX: usize = 64;
/// How long a browser keeps it, in seconds: a year.
const KEPT: u64 = 31_536_000;

/// Who looks at a page, as far as was seen and said. Whoever mounts the dashboard puts one, with the address, among the
/// extensions of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Viewer {
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The name that was said, if one was.
    pub name: Option<ViewerName>,
}

/// A name that somebody said: up to 64 letters of ASCII, digits, blanks and `.`, `_`, `-`, `+`, `@`, so that it fits into a
/// header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewerName(String);

impl ViewerName {
    /// The name in this text, without blanks around it.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let name = text.trim();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" ._-+@".contains(&byte);
        let fits = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain);
        fits.then(|| Self(name.to_owned()))
    }

    /// As it was said.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// That in a cookie header, if it is there.
    fn in_cookies(cookies: &str) -> Option<Self> {
        let mut cookies = cookies.split(';').flat_map(|cookie| parse(cookie.trim().as_bytes()));
        cookies.find(|(name, _)| name == NAME).and_then(|(_, said)| Self::new(&said))
    }
}

/// What has a browser keep this name, or forget the one it keeps.
pub(crate) fn cookie(name: Option<&ViewerName>) -> HeaderValue {
    let said = name.map_or_else(String::new, |name| byte_serialize(name.0.as_bytes()).collect());
    let kept = if name.is_some() { KEPT } else { 0 };
    let cookie = format!("{NAME}={said}; Path=/; Max-Age={kept}; SameSite=Strict; HttpOnly");
    HeaderValue::from_str(&cookie).expect("a name is plain text")
}

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = Infallible;

    fn from_request_parts(
        parts: &mut Parts,
        _state: &S,
    ) -> impl Future<Output = Result<Self, Infallible>> + Send {
        let seen = parts.extensions.get::<Self>().cloned().unwrap_or_default();
        let mut cookies =
            parts.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let said = cookies.find_map(ViewerName::in_cookies);
        ready(Ok(Self { name: said, ..seen }))
    }
}

/// What stands behind the pages, on behalf of whoever sent a form: what it does is told as done by them.
pub(crate) struct OnBehalf<B>(pub(crate) B);

impl<B: Backend> FromRequestParts<B> for OnBehalf<B> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, backend: &B) -> Result<Self, Infallible> {
        let viewer = Viewer::from_request_parts(parts, backend).await?;
        Ok(Self(backend.on_behalf_of(viewer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str) -> String {
        let cookie = cookie(ViewerName::new(name).as_ref());
        let cookie = cookie.to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_name_survives_a_cookie_among_others() {
        for name in ["Ada", "Ada L. of ops+night@example.org", &"x".repeat(NAME_MAX)] {
            let cookies = format!("theme=a b; {}; quorate_nam=x", kept(name));
            let found = ViewerName::in_cookies(&cookies).unwrap();
            assert_eq!(found.as_str(), name);
        }
        assert_eq!(ViewerName::new("  Ada ").unwrap().as_str(), "Ada");
        assert_eq!(kept(""), "quorate_name=", "forgotten");
    }

    #[test]
    fn what_is_no_plain_name_is_none() {
        let long = "x".repeat(NAME_MAX + 1);
        for text in
            ["", " ", "<b>", "a;b", "a,b", "a\"b", "a\r\nb: c", "Zo\u{eb}", "\u{202e}", &long]
        {
            assert_eq!(ViewerName::new(text), None, "{text:?}");
            let said: String = byte_serialize(text.as_bytes()).collect();
            assert_eq!(ViewerName::in_cookies(&format!("quorate_name={said}")), None, "{text:?}");
        }
    }
}
