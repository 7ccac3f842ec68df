//! [`Object`]: a JSON object and nothing that passes for one.
//!
//! What serde derives for a struct also takes a list whose elements stand in the order of the members.
//! Nobody who sends a list means that, so a request is read through this type, at every depth.
//!
//! Not here: what the members are.

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

/// A struct that is only read from a JSON object, never from a list.
///
/// ```
/// use quorate_client::api::{Object, logs::TrimRequest};
///
/// assert!(serde_json::from_str::<Object<TrimRequest>>(r#"{"to": 5}"#).is_ok());
/// assert!(serde_json::from_str::<Object<TrimRequest>>("[5]").is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(MapOnly(deserializer)).map(Self)
    }
}

/// Hands a struct the members of a map, where the struct itself would take a list as well.
struct MapOnly<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for MapOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    /// What is one of several forms is an object of its own, which names the form.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        forms: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, forms, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
