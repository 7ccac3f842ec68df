//! Records as JSON text, written straight into a buffer.
//!
//! The form is the contract's (`client::api::records`), and a test holds the two together. Bytes are
//! looked at once to see whether they are UTF-8 and once for what must be escaped, and copied in runs
//! between escapes, because a read of many records is mostly this.
//!
//! ```text
//! {"position":7,"time":"2026-11-23T20:30:05.123Z","headers":[["a","b"]],"data":"..."}
//! ```
//!
//! Not here: what stands around records in an answer (`answer`), and JSON coming in (`intake`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::types::{Headers, Record, Timestamp};

/// Bytes of JSON around one record's headers and body, at most.
const RECORD_FRAME_BYTES: usize = 128;

/// Adds one record as a JSON object.
pub(in crate::http) fn push_record(out: &mut Vec<u8>, record: &Record) {
    out.reserve(record.body.len() + RECORD_FRAME_BYTES);
    out.extend_from_slice(b"{\"position\":");
    push_number(out, record.position.get());
    out.extend_from_slice(b",\"time\":");
    push_time(out, record.time);
    if !record.headers.is_empty() {
        out.extend_from_slice(b",\"headers\":");
        push_headers(out, &record.headers);
    }
    if let Ok(text) = std::str::from_utf8(&record.body) {
        out.extend_from_slice(b",\"data\":");
        push_text(out, text);
    } else {
        out.extend_from_slice(b",\"data_base64\":");
        push_base64(out, &record.body);
    }
    out.push(b'}');
}

/// Adds a JSON string.
pub(in crate::http) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(*byte)];
        if escape != 0 {
            out.extend_from_slice(&bytes[copied..at]);
            copied = at + 1;
            push_escape(out, escape, *byte);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

/// Adds a whole number.
pub(in crate::http) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit is below ten");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Adds a time as a JSON string.
pub(in crate::http) fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    let mut buffer = [0; 24];
    out.push(b'"');
    out.extend_from_slice(time.format(&mut buffer).as_bytes());
    out.push(b'"');
}

fn push_headers(out: &mut Vec<u8>, headers: &Headers) {
    let mut between = b'[';
    for (name, value) in headers {
        out.push(between);
        between = b',';
        out.push(b'[');
        push_text(out, name);
        out.push(b',');
        if let Ok(text) = std::str::from_utf8(value) {
            push_text(out, text);
        } else {
            out.extend_from_slice(b"{\"base64\":");
            push_base64(out, value);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b']');
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    // Four letters for every three bytes begun.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("the room was computed");
    out.truncate(start + written);
    out.push(b'"');
}

fn push_escape(out: &mut Vec<u8>, escape: u8, byte: u8) {
    if escape == b'u' {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
        out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
    } else {
        out.extend_from_slice(&[b'\\', escape]);
    }
}

/// For each byte 0 if it stands for itself in a JSON string, else the letter after the backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use client::api::records::RecordJson;
    use client::types::Position;
    use proptest::prelude::*;

    use super::*;

    fn text_of(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_text_where_it_can_be_and_base64_where_it_cannot() {
        let mut record = Record {
            position: Position::new(7),
            time: Timestamp::new(0),
            headers: Headers::from_pairs([("a", &b"\"b\""[..]), ("c", b"\xff")]).unwrap(),
            body: Bytes::from_static(b"line\nbreak \x01"),
        };
        assert_eq!(
            text_of(|out| push_record(out, &record)),
            r#"{"position":7,"time":"1970-01-01T00:00:00.000Z","headers":[["a","\"b\""],["c",{"base64":"/w=="}]],"data":"line\nbreak \u0001"}"#
        );
        record.headers = Headers::none();
        record.body = Bytes::from_static(b"\xff\xfe");
        assert_eq!(
            text_of(|out| push_record(out, &record)),
            r#"{"position":7,"time":"1970-01-01T00:00:00.000Z","data_base64":"//4="}"#
        );
    }

    proptest! {
        #[test]
        fn a_record_is_written_as_the_contract_writes_it(
            position: u64,
            millis in 0..4_000_000_000_000_u64,
            name in "[!-~]{1,9}",
            value in prop::collection::vec(any::<u8>(), 0..20),
            text in any::<String>(),
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            for body in [Bytes::from(text), Bytes::from(bytes)] {
                let record = Record {
                    position: Position::new(position),
                    time: Timestamp::new(millis),
                    headers: Headers::from_pairs([(&name, &value)]).unwrap(),
                    body,
                };
                let written = text_of(|out| push_record(out, &record));
                prop_assert_eq!(written, serde_json::to_string(&RecordJson(record)).unwrap());
            }
        }

        #[test]
        fn any_text_comes_back_out_of_its_json(text in any::<String>(), more in "[\\x00-\\x7f]{0,80}") {
            for text in [text, more] {
                let json = text_of(|out| push_text(out, &text));
                prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            }
        }

        #[test]
        fn any_number_is_written_as_it_is(number: u64) {
            prop_assert_eq!(text_of(|out| push_number(out, number)), number.to_string());
        }

        #[test]
        fn any_bytes_come_back_out_of_base64(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let json = text_of(|out| push_base64(out, &bytes));
            let text = serde_json::from_str::<String>(&json).unwrap();
            prop_assert_eq!(STANDARD.decode(text).unwrap(), bytes);
        }
    }
}
