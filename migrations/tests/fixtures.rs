//! Data folders as releases wrote them. Each opens for ever; golden bytes stand in until there is a
//! release, and fix the marker and the journal's heads to the byte.
//!
//! Goal: no change of a format goes unnoticed. Method: known values in, known bytes out, and back.

use std::fs;

use migrations::v1::frames::{
    EntryHead, EntryKind, EntryRow, FRAME_HEAD_BYTES, Forgotten, FrameBody, FrameFault, FrameHead,
    SEGMENT_HEAD_BYTES, SegmentHead, Standing, VoteRow, frame_bytes,
};
use migrations::{Beginning, Generation, Identity, Marker, OpenError, Timings};
use proptest::prelude::*;
use quorate_migrations as migrations;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    digits.chunks(2).map(|two| pair(two).expect("only digits are left")).collect()
}

const MARKER: &str = "
    51554f524154450a010000000900000030313233343536373839616263646566
    0100000008070605040302010500000000000000000000000000000000000000
    50000000fa000000f4010000030000000000fa0d99542ce10cf5ae03bcec7b85
    1b0fa4cd69d2175a20d25576c6db1d35127c";

#[test]
fn the_marker_of_version_1_opens() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    fs::create_dir_all(dir.join("groups/0/journal")).unwrap();
    fs::write(dir.join("marker"), unhex(MARKER)).unwrap();
    let current = migrations::open(&dir).unwrap();
    assert_eq!(current.identity(), identity());
    assert_eq!(current.marker().beginning, beginning());
    assert_eq!(current.start().number, 1);
}

fn identity() -> Identity {
    let generation = Generation { number: 1, random: 0x0102_0304_0506_0708 };
    Identity { cluster: *b"0123456789abcdef", generation, replica: Some(5) }
}

fn beginning() -> Beginning {
    let timings = Timings { heartbeat_ms: 80, election_min_ms: 250, election_max_ms: 500 };
    Beginning { timings, voters_expected: Some(3) }
}

#[test]
fn a_marker_is_written_to_the_byte() {
    assert_eq!(hex(&Marker::new(1, identity(), beginning()).encode()), hex(&unhex(MARKER)));
}

#[test]
fn a_marker_of_a_newer_version_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("marker"), Marker::new(2, identity(), beginning()).encode())
        .unwrap();
    let refused = migrations::open(parent.path()).unwrap_err();
    assert!(matches!(refused, OpenError::TooNew { found: 2, newest: 1 }));
}

const SALT: [u8; 16] = *b"a salt of bytes.";
const ENTRY: EntryRow = EntryRow { index: 9, term: 3, leader: 2 };

fn entry_head() -> EntryHead {
    EntryHead { kind: EntryKind::Command, id: ENTRY, length: 5, hash: [0xab; 32] }
}

fn every_body() -> Vec<FrameBody> {
    let vote = VoteRow { term: 4, leader: 1, is_committed: true };
    let blank = EntryHead { kind: EntryKind::Blank, id: ENTRY, length: 0, hash: [0; 32] };
    vec![
        FrameBody::Entry(entry_head()),
        FrameBody::Entry(blank),
        FrameBody::Entry(EntryHead { kind: EntryKind::Membership, ..entry_head() }),
        FrameBody::Vote(vote),
        FrameBody::Committed(Some(ENTRY)),
        FrameBody::Committed(None),
        FrameBody::TruncateAfter(Some(ENTRY)),
        FrameBody::TruncateAfter(None),
        FrameBody::Purged(ENTRY),
        FrameBody::DurableMark { vote: None, next: None },
        FrameBody::DurableMark { vote: Some(vote), next: Some(SALT) },
        FrameBody::Forgotten(Forgotten { frames: 1, length: 0, last: None, purged: None }),
        FrameBody::Forgotten(Forgotten {
            frames: 3,
            length: 1000,
            last: Some(ENTRY),
            purged: Some(EntryRow { index: 12, ..ENTRY }),
        }),
        FrameBody::GivenUp { frames: 3, vote: Some(vote) },
        FrameBody::GivenUp { frames: 1, vote: None },
    ]
}

fn frame(body: FrameBody) -> FrameHead {
    FrameHead { number: 12, known_durable: 11, back_hash: [0xcd; 32], body }
}

#[test]
fn frames_are_written_to_the_byte_and_read_back() {
    let lines: Vec<String> = every_body()
        .into_iter()
        .map(|body| {
            let bytes = frame(body).encode(&SALT, 4096);
            assert_eq!(FrameHead::decode(&bytes, &SALT, 4096), Ok(frame(body)));
            hex(&bytes)
        })
        .collect();
    assert_eq!(lines.join("\n"), include_str!("frames.hex").trim_end());
}

#[test]
fn the_back_hash_covers_what_is_replicated_and_nothing_else() {
    let golden = "08835a4be1dd822f482579b9caf99cfad14d5a37b9d043683ca5f4aa6bfcbec2";
    assert_eq!(hex(&entry_head().back_hash()), golden);
    let other = EntryHead { id: EntryRow { leader: 7, ..ENTRY }, ..entry_head() };
    assert_ne!(other.back_hash(), entry_head().back_hash());
}

fn segment_head() -> SegmentHead {
    SegmentHead {
        cluster: *b"0123456789abcdef",
        replica: 5,
        number: 7,
        salt: SALT,
        previous_salt: [1; 16],
        first_frame: 100,
        standing: Standing {
            vote: Some(VoteRow { term: 4, leader: 1, is_committed: true }),
            purged: Some(ENTRY),
            committed: None,
            last: Some(EntryRow { index: 40, ..ENTRY }),
            back_hash: [0xee; 32],
        },
    }
}

#[test]
fn a_segment_head_is_written_to_the_byte_and_read_back() {
    let bytes = segment_head().encode();
    assert_eq!(bytes.len(), SEGMENT_HEAD_BYTES);
    assert_eq!(hex(&bytes[..256]), include_str!("segment.hex").trim_end());
    assert_eq!(bytes[2048..2304], bytes[..256], "all of it is there twice");
    let rest = [&bytes[256..2048], &bytes[2304..]].concat();
    assert!(rest.iter().all(|byte| *byte == 0));
    assert_eq!(SegmentHead::decode(&bytes), Ok(segment_head()));
}

#[test]
fn a_frame_passes_only_where_it_was_written() {
    let bytes = frame(every_body()[0]).encode(&SALT, 4096);
    assert_eq!(FrameHead::decode(&bytes, &SALT, 4104), Err(FrameFault::Check));
    let mut other = SALT;
    other[15] ^= 1;
    assert_eq!(FrameHead::decode(&bytes, &other, 4096), Err(FrameFault::Check));
}

#[test]
fn every_flipped_bit_of_a_head_is_found() {
    for body in every_body() {
        let bytes = frame(body).encode(&SALT, 8192);
        for at in 0..FRAME_HEAD_BYTES * 8 {
            let mut flipped = bytes;
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(
                FrameHead::decode(&flipped, &SALT, 8192),
                Err(FrameFault::Check),
                "bit {at}"
            );
        }
    }
}

#[test]
fn frames_are_aligned() {
    assert_eq!(frame_bytes(0), 128);
    assert_eq!(frame_bytes(1), 136);
    assert_eq!(frame_bytes(8), 136);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes: [u8; FRAME_HEAD_BYTES], salt: [u8; 16]) {
        let refused = FrameHead::decode(&bytes, &salt, 4096);
        prop_assert_eq!(refused, Err(FrameFault::Check));
    }

    #[test]
    fn any_entry_survives(index: u64, term: u64, leader: u64, length in 0_u32..1 << 20, hash: [u8; 32]) {
        let id = EntryRow { index, term, leader };
        let head = frame(FrameBody::Entry(EntryHead { kind: EntryKind::Command, id, length, hash }));
        let bytes = head.encode(&SALT, index);
        prop_assert_eq!(FrameHead::decode(&bytes, &SALT, index), Ok(head));
    }
}
