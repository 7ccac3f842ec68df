//! Two patterns written once: a checked text and a plain number with a name of their own.
//!
//! A value of a checked text exists only if its check passed, so whoever holds one need not look
//! again. Cloning a text bumps a counter; a number is copied, and has one text only.
//!
//! Not here: the checks themselves. Each type states its own rule beside its name.

/// A text that is no number as this service writes one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a whole number below 2^64, written without sign and leading zeros")]
pub struct NumberError;

/// Reads a number in the one way in which it is written: digits alone, the first of several not 0.
///
/// ```
/// use quorate_client::types::{NumberError, parse_number};
///
/// assert_eq!(parse_number("17"), Ok(17));
/// assert_eq!(parse_number("+17"), Err(NumberError));
/// ```
pub fn parse_number(text: &str) -> Result<u64, NumberError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    if !is_plain || is_padded {
        return Err(NumberError);
    }
    text.parse().map_err(|_| NumberError)
}

/// Defines a cheap-to-clone text whose every value passed `check`, and which therefore has such a pattern and length.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $error:ty, $check:path, $pattern:expr, $min:literal..=$max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(
            feature = "schema",
            derive(schemars::JsonSchema),
            schemars(extend("pattern" = $pattern, "minLength" = $min, "maxLength" = $max))
        )]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks `text` and takes it.
            pub fn new(text: &str) -> Result<Self, $error> {
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $error;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Defines a 64-bit number that is not to be mistaken for another.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            serde::Serialize,
            serde::Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Names a number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::types::NumberError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                crate::types::parse_number(text).map(Self)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> u64 {
                number.0
            }
        }
    };
}

pub(super) use {checked_text, number};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_text_only() {
        assert_eq!(parse_number("0"), Ok(0));
        assert_eq!(parse_number("18446744073709551615"), Ok(u64::MAX));
        for text in ["", "+7", "-7", "007", "00", " 7", "7 ", "7.0", "7e1", "18446744073709551616"]
        {
            assert_eq!(parse_number(text), Err(NumberError), "{text}");
        }
    }
}
