//! Frames, to the byte.

use bytes::Bytes;
use quorate_client::api::frame::{ReadFrame, append_frame, read_append, read_head};
use quorate_client::types::{BatchLimits, Headers, Position, Record, Timestamp};

use super::batch;

#[test]
fn a_frame_of_an_append_to_the_byte() {
    let frame = append_frame(&batch());
    let expected = concat!(
        "QRTF\\x01\\x01\\x00\\x00",
        "\\x02\\x00\\x00\\x00",
        " \\x00\\x00\\x00",
        "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
        "\\x00\\x00\\x00\\x00",
        "O-$\\xf3",
        "\\x15\\x00\\x00\\x00\\x01\\x00\\x04type\\x05\\x00\\x00\\x00orderhello",
        "\\x03\\x00\\x00\\x00\\x00\\x00\\xff",
    );
    assert_eq!(frame.escape_ascii().to_string(), expected);
    assert_eq!(read_append(frame, &BatchLimits::default()).unwrap(), batch());
}

#[test]
fn a_frame_of_a_read_to_the_byte() {
    let records = b"\x04\0\0\0\xe8\x03\0\0\0\0\0\0\0\0hi";
    let head = read_head(Position::new(7), 1, records);
    let expected = concat!(
        "QRTF\\x01\\x02\\x00\\x00",
        "\\x01\\x00\\x00\\x00",
        "\\x10\\x00\\x00\\x00",
        "\\x07\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
        "\\x00\\x00\\x00\\x00",
        "\\xa3;\\xe6\\x98",
    );
    assert_eq!(head.escape_ascii().to_string(), expected);
    let mut body = Bytes::from([&head[..], records].concat());
    let frame = ReadFrame::take(&mut body).unwrap().unwrap();
    let taken: Vec<_> = frame.records().map(Result::unwrap).collect();
    let record = Record {
        position: Position::new(7),
        time: Timestamp::new(1000),
        headers: Headers::none(),
        body: Bytes::from_static(b"hi"),
    };
    assert_eq!((taken, body), (vec![record], Bytes::new()));
}
