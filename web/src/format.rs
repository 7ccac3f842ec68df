//! How values look on a page: counts, ages, sizes, and text that comes from elsewhere.
//!
//! Numbers are grouped so that they can be read; control characters and those that turn the direction
//! of text around are made visible, because a name must not be able to pose as another.
//!
//! Not here: escaping of markup, which the templates do by themselves.

use std::fmt::Write;

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

/// Text from elsewhere, with everything visible that would not be.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || turns_direction(letter) {
            write!(shown, "\u{27e8}U+{:04X}\u{27e9}", u32::from(letter))
                .expect("a String takes every character");
        } else {
            shown.push(letter);
        }
    }
    shown
}

fn turns_direction(letter: char) -> bool {
    matches!(letter,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
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
    fn what_would_hide_or_turn_text_around_is_made_visible() {
        assert_eq!(visible("zone-a"), "zone-a");
        assert_eq!(visible("a\u{202e}b\n"), "a\u{27e8}U+202E\u{27e9}b\u{27e8}U+000A\u{27e9}");
    }
}
