//! What a query or a form says: names and values, in order, some of them several times.
//!
//! Nothing is refused here: whoever asks for a field says what it has to be.
//!
//! Not here: what fields mean (`pages`).

use form_urlencoded::{Serializer, parse};
use http::Uri;

/// Names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Those of the query of an address.
    pub(crate) fn of_query(uri: &Uri) -> Self {
        Self::of_body(uri.query().unwrap_or_default().as_bytes())
    }

    /// Those of a form that was sent.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        Self(parse(body).into_owned().collect())
    }

    /// The first value of this name that says something, without blanks around it.
    pub(crate) fn get<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Every value of this name that says something, without blanks around it.
    pub(crate) fn all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let named = self.0.iter().filter(move |(field, _)| field == name);
        named.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Every name and value.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The query that says this.
pub(crate) fn query<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(fields);
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_survive_a_query_whatever_they_hold() {
        let said = [("add", "http://127.0.0.1:7004"), ("a&b", "c=d é+ %"), ("add", "x")];
        let uri: Uri = format!("/changes/new?{}", query(said)).parse().unwrap();
        let fields = Fields::of_query(&uri);
        assert!(fields.pairs().eq(said));
        assert_eq!(fields.get("add"), Some("http://127.0.0.1:7004"));
        assert_eq!(fields.all("add").count(), 2);
        assert_eq!(Fields::of_body(b"a=+&b").get("a"), None);
    }
}
