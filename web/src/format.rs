//! How values look on a page: counts, ages, sizes, and text that comes from elsewhere.
//!
//! Numbers are grouped so that they can be read; control characters and those that turn the direction
//! of text around are made visible, because a name must not be able to pose as another.
//!
//! Not here: escaping of markup, which the templates do by themselves.

use std::fmt::{Display, Write};

use client::types::Timestamp;

/// A count in groups of three digits, with narrow spaces between.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count, and what is counted.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A list as people write it: `a`, `a and b`, `a, b and c`.
pub(crate) fn list(all: impl IntoIterator<Item = impl Display>) -> String {
    let mut all: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    match (all.pop(), all.is_empty()) {
        (None, _) => String::new(),
        (Some(only), true) => only,
        (Some(last), false) => format!("{} and {last}", all.join(", ")),
    }
}

/// The pieces of a text that sets names in backticks, and whether each is such a name.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`').enumerate().map(|(number, piece)| (number % 2 == 1, piece))
}

/// A moment to the second, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let text = text.split_once('.').map_or(text.as_str(), |(seconds, _)| seconds);
    format!("{} UTC", text.replace('T', " "))
}

/// The time between two moments.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> String {
    age(to.as_millis().saturating_sub(from.as_millis()))
}

/// An age as a person would say it.
pub(crate) fn age(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        10_000..120_000 => format!("{} s", millis / 1_000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        7_200_000..172_800_000 => format!("{} h", millis / 3_600_000),
        _ => format!("{} d", millis / 86_400_000),
    }
}

/// How long ago something was.
pub(crate) fn ago(millis: u64) -> String {
    if millis < 1_000 { "just now".to_owned() } else { format!("{} ago", age(millis)) }
}

/// A time that is left, in minutes and seconds.
pub(crate) fn clock(seconds: u64) -> String {
    match seconds {
        0..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60),
    }
}

/// A size in bytes, in powers of 1 000, with three digits or so.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let (mut whole, mut tenths) = (bytes, 0);
    while whole >= 1_000 && unit + 1 < UNITS.len() {
        tenths = whole % 1_000 / 100;
        whole /= 1_000;
        unit += 1;
    }
    let unit = UNITS[unit];
    if whole < 10 && unit != "B" {
        format!("{whole}.{tenths} {unit}")
    } else {
        format!("{whole} {unit}")
    }
}

/// Microseconds as milliseconds.
pub(crate) fn millis(micros: u64) -> String {
    if micros < 10_000 {
        format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
    } else {
        format!("{} ms", micros / 1_000)
    }
}

/// A moment in UTC, to the millisecond.
pub(crate) fn time(time: Timestamp) -> String {
    time.to_string().replacen('T', " ", 1).trim_end_matches('Z').to_owned()
}

/// A length of time that somebody set, exactly, in the largest unit that it is a multiple of.
pub(crate) fn span(millis: u64) -> String {
    let unit = TIMES.iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{millis} ms"), |(name, unit)| format!("{} {name}", millis / unit))
}

/// A length of time as somebody writes it: `7 d`, `36h`, `90 min`.
pub(crate) fn parse_span(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let of_unit = match unit {
        "ms" => 1,
        "m" => 60_000,
        _ => TIMES.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(of_unit)
}

/// A number of bytes as somebody writes it: `1000`, `64 MiB`, `1GB`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let of_unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(of_unit)
}

/// A number of bytes that somebody set, exactly, in the largest unit that it is a multiple of.
pub(crate) fn exact_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 6] = [
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("kB", 1_000),
    ];
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{} {name}", bytes / unit))
}

const TIMES: [(&str, u64); 4] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// Text from elsewhere on one line, with everything visible that would not be.
pub(crate) fn visible(text: &str) -> String {
    visible_but(text, |_| false)
}

/// The same, where lines stay lines.
pub(crate) fn visible_lines(text: &str) -> String {
    visible_but(text, |letter| matches!(letter, '\n' | '\t'))
}

fn visible_but(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if (letter.is_control() && !stays(letter)) || is_unseen(letter) {
            write!(shown, "\u{27e8}U+{:04X}\u{27e9}", u32::from(letter))
                .expect("a String takes every character");
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Whether a character turns the direction of text around, or takes no room and shows nothing.
fn is_unseen(letter: char) -> bool {
    matches!(letter,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(7), "7");
        assert_eq!(count(999), "999");
        assert_eq!(count(84_201_774), "84\u{202f}201\u{202f}774");
    }

    #[test]
    fn lists_and_moments_are_written_as_people_do() {
        assert_eq!(list(["a"; 0]), "");
        assert_eq!(list(["a"]), "a");
        assert_eq!(list(["a", "b"]), "a and b");
        assert_eq!(list([1, 2, 3]), "1, 2 and 3");
        assert_eq!(moment(Timestamp::new(1_000)), "1970-01-01 00:00:01 UTC");
        assert_eq!(between(Timestamp::new(1_000), Timestamp::new(41_000)), "40 s");
        assert_eq!((ago(300), ago(14_000)), ("just now".to_owned(), "14 s ago".to_owned()));
        assert_eq!((clock(53), clock(3_661)), ("0:53".to_owned(), "1:01:01".to_owned()));
        assert_eq!(counted(1, "entry", "entries"), "1 entry");
    }

    #[test]
    fn names_in_backticks_are_told_from_the_rest() {
        let told: Vec<_> = pieces("read from `first` on").collect();
        assert_eq!(told, [(false, "read from "), (true, "first"), (false, " on")]);
        assert_eq!(pieces("nothing").collect::<Vec<_>>(), [(false, "nothing")]);
    }

    #[test]
    fn ages_and_sizes_are_short() {
        assert_eq!(age(340), "0.3 s");
        assert_eq!(age(31_000), "31 s");
        assert_eq!(age(7_200_000), "2 h");
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1_530), "1.5 kB");
        assert_eq!(size(18_400_000_000), "18 GB");
        assert_eq!(millis(1_240), "1.2 ms");
    }

    #[test]
    fn what_was_set_is_shown_exactly_and_can_be_typed_again() {
        for (millis, text) in [(604_800_000, "7 d"), (5_400_000, "90 min"), (1_500, "1500 ms")] {
            assert_eq!(span(millis), text);
            assert_eq!(parse_span(text), Some(millis));
        }
        for (bytes, text) in [(1 << 26, "64 MiB"), (1_500_000, "1500 kB"), (7, "7 B")] {
            assert_eq!(exact_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
        assert_eq!(
            (parse_span(" 36h "), parse_size("1gb")),
            (Some(129_600_000), Some(1_000_000_000))
        );
        for text in ["", "d", "-1 d", "1.5 d", "7 y", "18446744073709551615 d"] {
            assert_eq!((parse_span(text), parse_size(text)), (None, None), "{text}");
        }
    }

    #[test]
    fn times_are_shown_to_the_millisecond() {
        assert_eq!(time(Timestamp::new(951_782_400_001)), "2000-02-29 00:00:00.001");
    }

    #[test]
    fn what_would_hide_or_turn_text_around_is_made_visible() {
        assert_eq!(visible("zone-a"), "zone-a");
        assert_eq!(visible("a\u{202e}b\n"), "a\u{27e8}U+202E\u{27e9}b\u{27e8}U+000A\u{27e9}");
        assert_eq!(
            visible_lines("a\n\u{e0041}\r"),
            "a\n\u{27e8}U+E0041\u{27e9}\u{27e8}U+000D\u{27e9}"
        );
    }
}
