//! The headers of a record: an ordered list of names and values, kept packed.
//!
//! Headers stay in one piece of memory in the form in which runs, chunks and frames carry them, so
//! that taking a record in and handing it out copies bytes and builds nothing. Whoever holds a
//! [`Headers`] holds a list that was walked and found whole.
//!
//! ```text
//!   per header:  u8 name length | name | u32 LE value length | value
//! ```
//!
//! Not here: how many and how long they may be (`batch`), and their JSON (`api::records`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest name of a header, in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 255;

/// Lengths in front of one header's name and value.
pub(super) const HEADER_LENGTHS_BYTES: usize = 5;

/// An ordered list of headers; the same name may come twice.
///
/// A name is 1–255 bytes of visible ASCII; a value is any bytes.
///
/// ```
/// use quorate_client::types::{Headers, NewRecord};
///
/// let headers = Headers::from_pairs([("kind", "refund"), ("till", "7")]).unwrap();
/// let record = NewRecord { headers, ..NewRecord::new("12.50") };
/// assert_eq!(record.headers.get("kind"), Some(&b"refund"[..]));
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Headers {
    packed: Bytes,
    count: u16,
}

impl Headers {
    /// No headers.
    pub const fn none() -> Self {
        Self { packed: Bytes::new(), count: 0 }
    }

    /// Checks and packs a list of names and values.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, HeadersError>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let mut packed = BytesMut::new();
        let mut count = 0_u16;
        for (name, value) in pairs {
            let (name, value) = (name.as_ref().as_bytes(), value.as_ref());
            check_name(name)?;
            let value_bytes = u32::try_from(value.len()).map_err(|_| HeadersError::TooLarge)?;
            count = count.checked_add(1).ok_or(HeadersError::TooLarge)?;
            packed.reserve(HEADER_LENGTHS_BYTES + name.len() + value.len());
            packed.put_u8(u8::try_from(name.len()).expect("a name was checked to be short"));
            packed.put_slice(name);
            packed.put_u32_le(value_bytes);
            packed.put_slice(value);
        }
        Ok(Self { packed: packed.freeze(), count })
    }

    /// Takes `count` packed headers off the front of `bytes`, sharing their memory.
    pub fn split_packed(count: u16, bytes: &mut Bytes) -> Result<Self, HeadersError> {
        let length = packed_length(count, bytes)?;
        Ok(Self { packed: bytes.split_to(length), count })
    }

    /// How many.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.packed.len() - HEADER_LENGTHS_BYTES * usize::from(self.count)
    }

    /// The packed form.
    pub const fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// Names and values, in order.
    pub fn iter(&self) -> HeadersIter<'_> {
        HeadersIter { rest: &self.packed }
    }

    /// The value of the first header of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self.iter().map(|(name, value)| (name, value.escape_ascii().to_string()));
        f.debug_list().entries(pairs).finish()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

/// Walks [`Headers`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(take_one(&mut self.rest).expect("packed headers were walked when they were made"))
    }
}

/// How many bytes `count` packed headers at the front of `bytes` take up.
pub(super) fn packed_length(count: u16, bytes: &[u8]) -> Result<usize, HeadersError> {
    let mut rest = bytes;
    for _ in 0..count {
        let (name, _) = take_one(&mut rest)?;
        check_name(name.as_bytes())?;
    }
    Ok(bytes.len() - rest.len())
}

fn take_one<'a>(rest: &mut &'a [u8]) -> Result<(&'a str, &'a [u8]), HeadersError> {
    let name_bytes = rest.try_get_u8().map_err(|_| HeadersError::CutShort)?;
    let name = take(rest, usize::from(name_bytes))?;
    let value_bytes = rest.try_get_u32_le().map_err(|_| HeadersError::CutShort)?;
    let value = take(rest, usize::try_from(value_bytes).map_err(|_| HeadersError::CutShort)?)?;
    Ok((std::str::from_utf8(name).map_err(|_| HeadersError::Name)?, value))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], HeadersError> {
    let (taken, after) = rest.split_at_checked(count).ok_or(HeadersError::CutShort)?;
    *rest = after;
    Ok(taken)
}

fn check_name(name: &[u8]) -> Result<(), HeadersError> {
    let is_short = (1..=HEADER_NAME_BYTES_MAX).contains(&name.len());
    let is_visible = name.iter().all(u8::is_ascii_graphic);
    if is_short && is_visible { Ok(()) } else { Err(HeadersError::Name) }
}

/// Why a list of headers is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadersError {
    /// A name that is empty, too long, or has something else than visible ASCII.
    #[error("a header name has 1 to {HEADER_NAME_BYTES_MAX} visible ASCII characters")]
    Name,
    /// More headers, or a longer value, than the packed form can count.
    #[error("the headers are too many or too long")]
    TooLarge,
    /// Packed headers that end too early.
    #[error("the packed headers end too early")]
    CutShort,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_and_repetition_are_kept() {
        let headers = Headers::from_pairs([("b", "1"), ("a", "2"), ("b", "3")]).unwrap();
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "a", "b"]);
        assert_eq!(headers.get("b"), Some(&b"1"[..]));
        assert_eq!((headers.count(), headers.bytes()), (3, 6));
    }

    #[test]
    fn the_packed_form_is_lengths_and_bytes() {
        let headers = Headers::from_pairs([("ab", [0xff])]).unwrap();
        assert_eq!(headers.packed().as_ref(), b"\x02ab\x01\0\0\0\xff");
    }

    #[test]
    fn a_name_is_visible_ascii() {
        for name in ["", "a b", "ä", "a\r\n", &"x".repeat(256)] {
            assert_eq!(Headers::from_pairs([(name, "")]), Err(HeadersError::Name), "{name:?}");
        }
    }

    #[test]
    fn packed_headers_that_end_early_are_refused() {
        let whole = Headers::from_pairs([("a", "xyz")]).unwrap();
        for length in 0..whole.packed().len() {
            let mut bytes = whole.packed().slice(..length);
            assert_eq!(Headers::split_packed(1, &mut bytes), Err(HeadersError::CutShort));
        }
    }

    proptest! {
        #[test]
        fn headers_survive_packing(
            pairs in prop::collection::vec(("[!-~]{1,20}", prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            body in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let headers = Headers::from_pairs(pairs.clone()).unwrap();
            let mut bytes = Bytes::from([headers.packed().as_ref(), &body].concat());
            let back = Headers::split_packed(headers.count(), &mut bytes).unwrap();
            prop_assert_eq!(&back, &headers);
            prop_assert_eq!(bytes.as_ref(), &body);
            let again: Vec<_> =
                back.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(again, pairs);
        }

        #[test]
        fn no_bytes_break_the_walk(count: u16, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut rest = Bytes::from(bytes);
            if let Ok(headers) = Headers::split_packed(count, &mut rest) {
                prop_assert_eq!(headers.iter().count(), usize::from(count));
            }
        }
    }
}
