//! Bodies of records, as people look at them: text, JSON, hex, base64.
//!
//! A body is any bytes, and hostile ones too. Every form here is plain text in which each character
//! can be seen, cut at a length that the caller names, and says how much it left out. Numbers, order
//! and repetitions in JSON are shown as they were written; only white space is arranged.
//!
//! Not here: escaping of markup (the templates do it), and the bytes themselves, which are downloaded.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;

use crate::format;

/// How a body is to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// As text if it is text, and as hex if not.
    #[default]
    Auto,
    /// Arranged, if it is JSON.
    Json,
    /// As text, whatever it is.
    Text,
    /// Bytes beside ASCII.
    Hex,
    /// In base64.
    Base64,
}

impl Form {
    pub(crate) const ALL: [Self; 5] = [Self::Auto, Self::Json, Self::Text, Self::Hex, Self::Base64];

    /// Its name in an address.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::Text => "text",
            Self::Hex => "hex",
            Self::Base64 => "base64",
        }
    }

    /// The form of this name; an unknown one is left to the body.
    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|form| form.name() == name).unwrap_or_default()
    }
}

/// A body in one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// What kind of text it is, in a word.
    pub(crate) kind: &'static str,
    /// The text.
    pub(crate) text: String,
    /// How many bytes of the body are not in it.
    pub(crate) left_out: usize,
}

impl Shown {
    /// What was left out, in words.
    pub(crate) fn rest(&self) -> Option<String> {
        (self.left_out > 0).then(|| format!("{} more bytes", format::count(size(self.left_out))))
    }
}

/// Shows at most about `bytes_max` bytes of a body.
pub(crate) fn shown(body: &[u8], form: Form, bytes_max: usize) -> Shown {
    match form {
        Form::Auto => match text(body, bytes_max) {
            Some(shown) => shown,
            None => hex_line(body, bytes_max),
        },
        Form::Json => json(body, bytes_max)
            .unwrap_or_else(|| Shown { kind: "not JSON", ..shown(body, Form::Auto, bytes_max) }),
        Form::Text => text(body, bytes_max).unwrap_or_else(|| lossy(body, bytes_max)),
        Form::Hex => hex_dump(body, bytes_max),
        Form::Base64 => base64(body, bytes_max),
    }
}

/// The body as text, if it is UTF-8 that people write.
pub(crate) fn text(body: &[u8], bytes_max: usize) -> Option<Shown> {
    let whole = std::str::from_utf8(body).ok()?;
    let is_binary = whole.chars().any(|letter| letter == '\0') || odd_part(whole);
    if is_binary {
        return None;
    }
    let cut = floor_boundary(whole, bytes_max);
    let kind = if body.is_empty() { "empty" } else { "text" };
    Some(Shown { kind, text: format::visible_lines(&whole[..cut]), left_out: whole.len() - cut })
}

/// Whether so many characters are of control that the whole is no text.
fn odd_part(text: &str) -> bool {
    let is_odd = |letter: &char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t');
    text.chars().filter(is_odd).count() * 8 > text.chars().count()
}

fn lossy(body: &[u8], bytes_max: usize) -> Shown {
    let cut = body.len().min(bytes_max);
    let text = format::visible_lines(&String::from_utf8_lossy(&body[..cut]));
    Shown { kind: "not all of it is text", text, left_out: body.len() - cut }
}

/// The body arranged, if it is JSON.
pub(crate) fn json(body: &[u8], bytes_max: usize) -> Option<Shown> {
    let whole = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<IgnoredAny>(whole).ok()?;
    let cut = floor_boundary(whole, bytes_max);
    let text = format::visible_lines(&arranged(&whole[..cut]));
    Some(Shown { kind: "JSON", text, left_out: whole.len() - cut })
}

/// JSON, or the beginning of it, with the white space that people give it.
fn arranged(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        if is_string {
            out.push(letter);
            is_string = is_escaped || letter != '"';
            is_escaped = !is_escaped && letter == '\\';
            continue;
        }
        match letter {
            ' ' | '\t' | '\n' | '\r' => {}
            '"' => {
                is_string = true;
                out.push('"');
            }
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(letter),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// The first bytes in a line.
fn hex_line(body: &[u8], bytes_max: usize) -> Shown {
    let cut = body.len().min(bytes_max).min(32);
    let mut text = String::with_capacity(cut * 3);
    for byte in &body[..cut] {
        add(&mut text, format_args!("{byte:02x} "));
    }
    Shown { kind: "binary", text: text.trim_end().to_owned(), left_out: body.len() - cut }
}

/// Offsets, sixteen bytes, and what they are in ASCII.
pub(crate) fn hex_dump(body: &[u8], bytes_max: usize) -> Shown {
    let cut = body.len().min(bytes_max);
    let mut text = String::with_capacity(cut * 5);
    for (line, bytes) in body[..cut].chunks(16).enumerate() {
        add(&mut text, format_args!("{:08x} ", line * 16));
        for index in 0..16 {
            let gap = if index % 8 == 0 { " " } else { "" };
            match bytes.get(index) {
                Some(byte) => add(&mut text, format_args!("{gap}{byte:02x} ")),
                None => add(&mut text, format_args!("{gap}   ")),
            }
        }
        text.push_str(" |");
        let shown = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' };
        text.extend(bytes.iter().map(shown));
        text.push_str("|\n");
    }
    Shown { kind: "hex", text, left_out: body.len() - cut }
}

fn base64(body: &[u8], bytes_max: usize) -> Shown {
    // Whole groups, so that what is shown is base64 by itself.
    let cut = body.len().min(bytes_max / 3 * 3);
    Shown { kind: "base64", text: STANDARD.encode(&body[..cut]), left_out: body.len() - cut }
}

fn add(text: &mut String, more: fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a String takes every character");
}

/// The last place at or before `at` where a character begins.
fn floor_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(body: &[u8], form: Form) -> (String, &'static str) {
        let shown = shown(body, form, 1_000);
        (shown.text, shown.kind)
    }

    #[test]
    fn a_body_is_shown_as_what_it_is() {
        assert_eq!(text_of(b"hello", Form::Auto), ("hello".into(), "text"));
        assert_eq!(text_of("gr\u{fc}n\n".as_bytes(), Form::Auto), ("gr\u{fc}n\n".into(), "text"));
        assert_eq!(text_of(b"\x1f\x8b\0", Form::Auto), ("1f 8b 00".into(), "binary"));
        assert_eq!(text_of(b"", Form::Auto), (String::new(), "empty"));
        assert_eq!(text_of(b"nothing else", Form::Json), ("nothing else".into(), "not JSON"));
        assert_eq!(text_of(b"a\xffb", Form::Text).1, "not all of it is text");
        assert_eq!(text_of(b"\0\xff", Form::Base64), ("AP8=".into(), "base64"));
    }

    #[test]
    fn json_keeps_its_numbers_its_order_and_its_repetitions() {
        let json = br#"{"b":1e400,"a":[ ],"b":[1,{"x":"a,\"{b"}],"c":12345678901234567890}"#;
        let (text, kind) = text_of(json, Form::Json);
        let expected = "{\n  \"b\": 1e400,\n  \"a\": [],\n  \"b\": [\n    1,\n    {\n      \"x\": \
                        \"a,\\\"{b\"\n    }\n  ],\n  \"c\": 12345678901234567890\n}";
        assert_eq!((text.as_str(), kind), (expected, "JSON"));
    }

    #[test]
    fn json_that_is_nested_without_end_is_shown_as_text() {
        let deep = "[".repeat(100_000);
        assert_eq!(shown(deep.as_bytes(), Form::Json, 10).kind, "not JSON");
    }

    #[test]
    fn a_dump_has_offsets_bytes_and_ascii() {
        let dump = hex_dump(b"{\"type\":\x00<script>", 100);
        assert_eq!(
            dump.text,
            "00000000  7b 22 74 79 70 65 22 3a  00 3c 73 63 72 69 70 74  |{\"type\":.<script|\n\
             00000010  3e                                                |>|\n"
        );
    }

    #[test]
    fn what_is_left_out_is_told() {
        let long = "\u{fc}".repeat(100);
        let cut = shown(long.as_bytes(), Form::Auto, 11);
        assert_eq!((cut.text.as_str(), cut.left_out), ("\u{fc}".repeat(5).as_str(), 190));
        assert_eq!(cut.rest().as_deref(), Some("190 more bytes"));
        assert_eq!(shown(&[7; 100], Form::Hex, 16).left_out, 84);
    }

    proptest! {
        #[test]
        fn no_body_breaks_a_form_or_hides_a_character(body: Vec<u8>, bytes_max in 0..200_usize) {
            for form in Form::ALL {
                let shown = shown(&body, form, bytes_max);
                prop_assert!(shown.left_out <= body.len());
                let is_hidden = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
                prop_assert!(!shown.text.chars().any(is_hidden), "{form:?} {:?}", shown.text);
            }
        }

        #[test]
        fn arranging_json_changes_white_space_only(numbers: Vec<i32>, words in prop::collection::vec("[a-z\"\\\\{}:, ]{0,9}", 0..9)) {
            let json = serde_json::json!({"n": numbers, "w": words, "e": {}}).to_string();
            let arranged = arranged(&json);
            let back: serde_json::Value = serde_json::from_str(&arranged).unwrap();
            prop_assert_eq!(back.to_string(), json);
        }
    }
}
