//! Reading fields out of bytes, one after the other, without ever trusting a length.
//!
//! Every variable part is bounded twice: by the bytes that are there and by the format's own limit.
//! A reader never panics and never allocates more than what it was given; what does not fit the
//! format is [`Malformed`], which names the field and its offset.
//!
//! What writes is bounded by the same limits, so that nothing is written that no reader takes.
//!
//! Not here: checksums (each format has its own) and plain numbers (`bytes::BufMut` on a `Vec`).

use std::str;

/// Bytes that do not follow the format: which field, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {field} at offset {offset}")]
pub struct Malformed {
    /// The field that could not be read.
    pub field: &'static str,
    /// Offset of that field in the bytes that were decoded.
    pub offset: usize,
}

impl Malformed {
    /// A field at an offset.
    pub const fn new(field: &'static str, offset: usize) -> Self {
        Self { field, offset }
    }
}

/// A place in bytes, moving forward only.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Offset of what is read next.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// A field that was read, but holds what the format does not allow.
    pub(crate) const fn malformed(&self, field: &'static str) -> Malformed {
        Malformed::new(field, self.offset)
    }

    #[inline]
    pub(crate) fn take(
        &mut self,
        length: usize,
        field: &'static str,
    ) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..length).ok_or(Malformed::new(field, self.offset))?;
        self.offset += length;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.first_chunk::<N>().ok_or(Malformed::new(field, self.offset))?;
        self.offset += N;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    #[inline]
    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    #[inline]
    pub(crate) fn u128(&mut self, field: &'static str) -> Result<u128, Malformed> {
        Ok(u128::from_le_bytes(self.array(field)?))
    }

    /// A `u32` that counts or measures what follows: at most `max`, and never more than the bytes
    /// left.
    #[inline]
    pub(crate) fn length(&mut self, max: usize, field: &'static str) -> Result<usize, Malformed> {
        let before = self.offset;
        let length =
            usize::try_from(self.u32(field)?).map_err(|_| Malformed::new(field, before))?;
        if length > max || length > self.remaining() {
            return Err(Malformed::new(field, before));
        }
        Ok(length)
    }

    /// A zero or a one; nothing else.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, Malformed> {
        let before = self.offset;
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::new(field, before)),
        }
    }

    /// Text of up to 255 bytes behind one byte of length.
    #[inline]
    pub(crate) fn short_text(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        let before = self.offset;
        let length = usize::from(self.u8(field)?);
        let bytes = self.take(length, field)?;
        str::from_utf8(bytes).map_err(|_| Malformed::new(field, before))
    }

    /// Text of up to `max` bytes behind two bytes of length.
    pub(crate) fn text(&mut self, max: usize, field: &'static str) -> Result<&'a str, Malformed> {
        let before = self.offset;
        let length = usize::from(self.u16(field)?);
        if length > max {
            return Err(Malformed::new(field, before));
        }
        str::from_utf8(self.take(length, field)?).map_err(|_| Malformed::new(field, before))
    }

    /// What is there only if the flag before it says so.
    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.flag(field)? { read(self).map(Some) } else { Ok(None) }
    }

    /// Nothing may be left over.
    pub(crate) const fn finish(&self, field: &'static str) -> Result<(), Malformed> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.malformed(field)) }
    }
}

/// Writes text behind one byte of length. The caller's type bounds it.
pub(crate) fn put_short_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("short text has at most 255 bytes"));
    out.extend_from_slice(text.as_bytes());
}

/// Writes text of at most `max` bytes behind two bytes of length. The caller's type bounds it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str, max: usize) {
    assert!(text.len() <= max, "{} bytes of text, and no reader takes more than {max}", text.len());
    let length = u16::try_from(text.len()).expect("text has at most 65535 bytes");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Writes a count or a length of at most `max` as four bytes.
pub(crate) fn put_length(out: &mut Vec<u8>, length: usize, max: usize) {
    assert!(length <= max, "a length of {length}, and no reader takes more than {max}");
    let length = u32::try_from(length).expect("what is counted fits 32 bits");
    out.extend_from_slice(&length.to_le_bytes());
}

/// Writes a flag, then the value if there is one.
pub(crate) fn put_optional<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    write: impl FnOnce(&mut Vec<u8>, T),
) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}
