//! Who asks, as they say (RFC 9110, From), and from where, as was seen by whoever they asked (RFC 7239, Forwarded). Neither
//! is proved. The standard wants a mailbox there; a name alone is taken as it is, as any text in ASCII.

use client::api::header;
use http::header::{FORWARDED, FROM, HeaderName};
use http::{Extensions, HeaderMap};

use crate::node::Author;
use crate::world::Caller;

/// So many letters of who asks, and from where, are kept.
const AUTHOR_MAX: usize = 200;

/// Who made a request with this head.
pub(super) fn of(headers: &HeaderMap, extensions: &Extensions) -> Author {
    let text = |name: HeaderName| {
        let text = headers.get(name).and_then(|value| value.to_str().ok())?;
        Some(text.chars().take(AUTHOR_MAX).collect::<String>())
    };
    let said = text(FROM).filter(|said| !said.trim().is_empty());
    let carried = text(FORWARDED).filter(|_| headers.contains_key(header::FORWARDED));
    let carried = carried.map(|carried| carried.trim_start_matches("for=").to_owned());
    let seen = || extensions.get::<Caller>().map(|Caller(address)| address.to_string());
    Author {
        by: said.unwrap_or_else(|| "somebody".to_owned()),
        from: carried.or_else(seen).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    #[test]
    fn whoever_asks_is_named_as_they_say_and_as_they_were_seen() {
        let author = |headers: &[(HeaderName, &'static str)]| {
            let mut request = Request::new(());
            request.extensions_mut().insert(Caller([10, 0, 0, 9].into()));
            for (name, value) in headers {
                request.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            let Author { by, from } = of(request.headers(), request.extensions());
            format!("{by} from {from}")
        };
        assert_eq!(author(&[]), "somebody from 10.0.0.9");
        assert_eq!(author(&[(FROM, "ada@example.org")]), "ada@example.org from 10.0.0.9");
        assert_eq!(author(&[(FROM, " ")]), "somebody from 10.0.0.9");
        // What a caller says of its way is not believed, what another replica says is.
        assert_eq!(author(&[(FORWARDED, "for=10.0.0.7")]), "somebody from 10.0.0.9");
        let mark = HeaderName::from_static(header::FORWARDED);
        assert_eq!(author(&[(FORWARDED, "for=10.0.0.7"), (mark, "2")]), "somebody from 10.0.0.7");
    }
}
