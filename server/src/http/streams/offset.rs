//! Offsets: places in one stream of one history, as text.
//!
//! ```text
//! generation number | its random part _ log id _ position      in hexadecimal digits, always as many
//! ```
//!
//! So they sort as the places do, are the same from every replica and after every restart, and none of a stream
//! that was deleted passes for one of its successor of the same name.

use client::api::resume::ResumeToken;
use client::types::{Generation, LogId, Position};

/// Digits of an offset, and two marks between them.
const LENGTH: usize = 8 + 16 + 1 + 16 + 1 + 16;
/// Where the marks stand.
const MARKS: [usize; 2] = [24, 41];

/// A stream of a history, whose places are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) generation: Generation,
    pub(super) log_id: LogId,
}

impl Place {
    /// Its offset of a position.
    pub(super) fn offset(self, next: Position) -> String {
        let Self { generation: Generation { number, random }, log_id } = self;
        format!("{number:08x}{random:016x}_{:016x}_{:016x}", log_id.get(), next.get())
    }
}

impl From<&ResumeToken> for Place {
    fn from(token: &ResumeToken) -> Self {
        Self { generation: token.generation, log_id: token.log_id }
    }
}

/// Where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offset {
    /// With the first message.
    First,
    /// Behind the last one.
    Now,
    /// At a place that was told before.
    At(ResumeToken),
}

impl Offset {
    /// What a text means, if it is an offset.
    pub(super) fn read(text: &str) -> Option<Self> {
        match text {
            "-1" => Some(Self::First),
            "now" => Some(Self::Now),
            _ => place(text).map(Self::At),
        }
    }
}

fn place(text: &str) -> Option<ResumeToken> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_right = |(at, byte)| if MARKS.contains(&at) { byte == b'_' } else { is_digit(byte) };
    if text.len() != LENGTH || !text.bytes().enumerate().all(is_right) {
        return None;
    }
    let number = |from: usize, until: usize| u64::from_str_radix(&text[from..until], 16).ok();
    let generation =
        Generation { number: u32::try_from(number(0, 8)?).ok()?, random: number(8, MARKS[0])? };
    Some(ResumeToken {
        generation,
        log_id: LogId::new(number(MARKS[0] + 1, MARKS[1])?),
        next: Position::new(number(MARKS[1] + 1, LENGTH)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset(next: u64) -> String {
        let generation = Generation { number: 1, random: 0xfeed };
        Place { generation, log_id: LogId::new(3) }.offset(Position::new(next))
    }

    #[test]
    fn an_offset_is_exactly_what_was_told_or_one_of_the_two_words() {
        assert_eq!(Offset::read("-1"), Some(Offset::First));
        assert_eq!(Offset::read("now"), Some(Offset::Now));
        let told = offset(7);
        assert!(matches!(Offset::read(&told), Some(Offset::At(token)) if token.next.get() == 7));
        let mixed = told.replace('f', "F");
        let longer = format!("{told}0");
        for text in ["", "0", "-2", "NOW", "+1", "0,1", "7 ", &mixed, &longer, &told[1..]] {
            assert_eq!(Offset::read(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn offsets_sort_as_their_positions_do(one: u64, other: u64) {
            prop_assert_eq!(offset(one).cmp(&offset(other)), one.cmp(&other));
            prop_assert!("-1" < offset(one).as_str());
            let read = Offset::read(&offset(one));
            prop_assert!(matches!(read, Some(Offset::At(token)) if token.next.get() == one));
        }

        #[test]
        fn no_text_breaks_anything(text in ".{0,70}") {
            if let Some(Offset::At(token)) = Offset::read(&text) {
                prop_assert_eq!(Place::from(&token).offset(token.next), text);
            }
        }
    }
}
