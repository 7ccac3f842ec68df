//! Golden bytes and round trips of records, chunks, rows, commands and manifests.
//!
//! A line of `values.hex` that changes is a change of the disk format: once released, it needs a
//! new version instead. Beside it, every value is flipped byte by byte and cut at every length:
//! what has a check must be refused, and nothing may panic.

#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, also outside its own function"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quorate_migrations::v1::activity::{ActRow, ActivityRow};
use quorate_migrations::v1::backup::{
    BackupFrames, BackupHead, BackupPart, BadFrame, MAGIC, StateName,
};
use quorate_migrations::v1::changes::{ChangeRow, IntentRow, NewcomerRow, OverrideRow, StageRow};
use quorate_migrations::v1::checkpoints::{CertificateRow, CheckpointRow};
use quorate_migrations::v1::commands::{
    self, AppendTargetView, CommandView, RetryView, RunView, TargetView,
};
use quorate_migrations::v1::manifest::{Manifest, ManifestBuilder};
use quorate_migrations::v1::records::{
    Chunk, ChunkHead, ChunkWriter, Untimed, check_run, leaf_hash, push_record, run_records,
};
use quorate_migrations::v1::tables::{self, Table};
use quorate_migrations::v1::values::{
    AdmissionRow, AppliedMembershipRow, BatchRow, CatalogRow, CursorRow, EntryIdRow, FoundingRow,
    GenerationRow, KeyRow, LimitsRow, MembershipRow, NODE_TEXT_BYTES_MAX, NodeRow, ProducerRow,
    ProgressRow, Row, SettingsChangeRow, SettingsRow, decode_tile, encode_tile,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn settings() -> SettingsRow {
    SettingsRow {
        retention_age_ms: Some(604_800_000),
        retention_bytes: None,
        content_type: Some("text/plain".to_owned()),
        record_bytes_max: Some(4096),
        ttl_ms: Some(60_000),
        expires_at: None,
    }
}

fn change() -> SettingsChangeRow {
    SettingsChangeRow {
        retention_age_ms: Some(None),
        retention_bytes: None,
        content_type: Some(Some("text/plain".to_owned())),
        record_bytes_max: Some(Some(4096)),
        ttl_ms: Some(None),
        expires_at: Some(Some(1_800_000_000_000)),
    }
}

fn limits() -> LimitsRow {
    LimitsRow {
        logs_max: 1,
        producers_max: 2,
        cursors_max: 3,
        keys_max: 4,
        keys_per_log_max: 5,
        key_age_max_ms: 600_000,
        producer_idle_max_ms: 604_800_000,
        producer_idle_min_ms: 60_000,
    }
}

fn founding() -> FoundingRow {
    FoundingRow {
        cluster: [0xc1; 16],
        generation: GenerationRow { number: 1, random: 0x0102_0304_0506_0708 },
        heartbeat_ms: 80,
        election_min_ms: 250,
        election_max_ms: 500,
        limits: limits(),
        expect_voters: 3,
    }
}

fn node(id: u64) -> NodeRow {
    NodeRow {
        cluster: [0xc1; 16],
        generation: GenerationRow { number: 1, random: 7 },
        peer_addr: format!("http://10.0.0.{id}:7101"),
        front_addr: format!("http://10.0.0.{id}:7100"),
        zone: "a".to_owned(),
    }
}

fn membership() -> MembershipRow {
    MembershipRow {
        configs: vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3])],
        nodes: BTreeMap::from([(1, node(1)), (2, node(2)), (3, node(3))]),
    }
}

fn batch(first: u64) -> BatchRow {
    BatchRow { first, count: 2, time: 1_700_000_000_000, body_hash: [0xb0; 16] }
}

fn run() -> Vec<u8> {
    let mut run = Vec::new();
    push_record(&mut run, [(b"kind".as_slice(), b"order".as_slice())].into_iter(), b"first");
    push_record(&mut run, std::iter::empty(), b"");
    run
}

fn manifest() -> Manifest {
    let catalog = CatalogRow {
        name: "shop/orders".to_owned(),
        settings: settings(),
        created: 5,
        trim: 1,
        tail: 5,
        bytes_at_trim: 10,
        bytes_at_tail: 70,
        last_time: 9,
        is_sealed: true,
        fence: Some("f-1".to_owned()),
        order_key: Some("0007".to_owned()),
        renewed: 6,
        next_key: 8,
        frontier: vec![[0xaa; 32], [0xbb; 32]],
    };
    let producer = ProducerRow {
        epoch: 3,
        last_stamp: 9,
        last_sequence: 4,
        batches: vec![batch(1), batch(3)],
    };
    let key = KeyRow { key: "k-7".to_owned(), batch: batch(3) };
    Manifest {
        progress: ProgressRow {
            machine_version: 1,
            applied: EntryIdRow { term: 2, leader: 1, index: 42 },
            rolling_digest: [0xdd; 32],
            last_stamp: 9,
            next_log: 8,
            next_replica: 4,
            limits: limits(),
        },
        founding: Some(founding()),
        membership: Some(AppliedMembershipRow {
            entry: EntryIdRow { term: 1, leader: 1, index: 3 },
            membership: membership(),
        }),
        changes: vec![(17, change_row())],
        checkpoints: vec![(40, checkpoint())],
        admissions: vec![(2, AdmissionRow { nonce: 0xabcd, node: node(2) })],
        logs: vec![(7, catalog)],
        producers: vec![(7, "p-1".to_owned(), producer)],
        keys: vec![(7, 7, key)],
        cursors: vec![(7, "billing".to_owned(), CursorRow { position: 4, time: 8 })],
    }
}

fn intent() -> IntentRow {
    IntentRow {
        epoch: 23,
        wish: r#"{"replace":{"replica":2,"by":"http://d:7001"}}"#.to_owned(),
        by: "admin".to_owned(),
        from: "10.0.0.9".to_owned(),
        overrides: vec![OverrideRow {
            check: 1,
            typed: "2".to_owned(),
            reason: "its disk is dying".to_owned(),
        }],
        voters: BTreeSet::from([1, 3]),
        nodes: BTreeMap::from([(3, node(3))]),
        leaves: BTreeSet::from([2]),
        lead: Some(1),
    }
}

fn change_row() -> ChangeRow {
    ChangeRow {
        began: 7,
        intent: intent(),
        joins: BTreeSet::from([3]),
        stage: StageRow::Done,
        ended: Some(9),
        outcome: "as wished".to_owned(),
    }
}

fn checkpoint() -> CheckpointRow {
    CheckpointRow {
        entry: EntryIdRow { term: 2, leader: 1, index: 40 },
        stamp: 8,
        label: Some("before 2.0".to_owned()),
        is_pinned: true,
        certificate: Some(CertificateRow {
            digest: [0xcc; 32],
            attested_by: vec![1, 3],
            stamp: 9,
            entry: 41,
        }),
    }
}

fn target() -> TargetView<'static> {
    TargetView { name: "shop/orders", id: Some(7) }
}

fn all_commands() -> Vec<(&'static str, CommandView<'static>)> {
    let log = target();
    vec![
        ("found", CommandView::Found(founding())),
        (
            "create log",
            CommandView::CreateLog {
                name: "shop/orders",
                settings: settings(),
                seals: false,
                records: RunView::default(),
            },
        ),
        (
            "create log with records",
            CommandView::CreateLog {
                name: "shop/orders",
                settings: settings(),
                seals: true,
                records: RunView { count: 1, body_bytes_max: 1, run: &[3, 0, 0, 0, 0, 0, 7] },
            },
        ),
        ("renew log", CommandView::RenewLog { log: target() }),
        ("expire logs", CommandView::ExpireLogs { logs: vec![7, 9] }),
        ("change settings", CommandView::ChangeSettings { log, change: change() }),
        ("delete log", CommandView::DeleteLog { log }),
        ("trim", CommandView::Trim { log, to: 5, bytes_before: 70 }),
        ("seal", CommandView::Seal { log }),
        ("set fence", CommandView::SetFence { log, fence: Some("f-1") }),
        (
            "set cursor",
            CommandView::SetCursor { log, cursor: "billing", expected: Some(3), position: 4 },
        ),
        ("delete cursor", CommandView::DeleteCursor { log, cursor: "billing" }),
        ("admit replica", CommandView::AdmitReplica { nonce: 0xabcd, node: node(2) }),
        ("expire producers", CommandView::ExpireProducers { idle_ms: 604_800_000 }),
        ("make checkpoint", CommandView::MakeCheckpoint { label: Some("before 2.0") }),
        (
            "certify checkpoint",
            CommandView::CertifyCheckpoint {
                checkpoint: 40,
                digest: [0xcc; 32],
                attested_by: vec![1, 3],
            },
        ),
        ("release checkpoint", CommandView::ReleaseCheckpoint { checkpoint: 40 }),
        (
            "begin change",
            CommandView::BeginChange {
                intent: intent(),
                newcomers: vec![NewcomerRow { nonce: 0xabcd, node: node(3), is_voter: true }],
            },
        ),
        (
            "move change",
            CommandView::MoveChange {
                change: 17,
                from: StageRow::Joining,
                to: StageRow::Cancelling,
                outcome: "not needed",
            },
        ),
        (
            "on behalf",
            CommandView::OnBehalf {
                by: "ada",
                from: "10.0.0.9",
                command: &[1, 15, 9, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0],
            },
        ),
    ]
}

/// Who did what: each act once, by a name that tells it.
fn activity() -> Vec<ActivityRow> {
    let (log, name) = (7, "shop/orders".to_owned());
    let acts = [
        ("founder", ActRow::Founded { cluster: [0xc1; 16], generation: 2 }),
        ("creator", ActRow::LogCreated { log, name: name.clone(), settings: settings() }),
        ("setter", ActRow::SettingsChanged { log, name: name.clone(), change: change() }),
        ("trimmer", ActRow::LogTrimmed { log, name: name.clone(), first: 5, records: 4 }),
        ("sealer", ActRow::LogSealed { log, name: name.clone(), tail: 9 }),
        ("deleter", ActRow::LogDeleted { log, name, records: 4 }),
        ("keeper", ActRow::CheckpointMade { checkpoint: 40, label: Some("before 2.0".to_owned()) }),
        ("releaser", ActRow::CheckpointReleased { checkpoint: 40 }),
        ("policy", ActRow::ReplicaAdmitted { replica: 4, addr: "http://10.0.0.4:7100".to_owned() }),
        (
            "beginner",
            ActRow::ChangeBegun {
                change: 17,
                wish: "{}".to_owned(),
                overrides: intent().overrides,
            },
        ),
        ("canceller", ActRow::ChangeCancelled { change: 17 }),
        (
            "ender",
            ActRow::ChangeEnded {
                change: 17,
                is_done: true,
                outcome: "not told: replica 3".to_owned(),
                took_ms: 2_500,
            },
        ),
    ];
    let row = |(by, act): (&str, ActRow)| ActivityRow {
        by: by.to_owned(),
        from: "10.0.0.9".to_owned(),
        act,
    };
    acts.into_iter().map(row).collect()
}

fn append_command(targets: &[AppendTargetView<'_>]) -> Vec<u8> {
    let run = run();
    let shape = check_run(&run).unwrap();
    let records = RunView { count: shape.count, body_bytes_max: shape.body_bytes_max, run: &run };
    let heads: Vec<Vec<u8>> =
        targets.iter().map(|target| commands::encode_item_head(target, records)).collect();
    commands::encode_append(9, heads.iter().map(|head| (head.as_slice(), run.as_slice())))
}

fn append_targets() -> Vec<AppendTargetView<'static>> {
    let plain = AppendTargetView {
        log: TargetView { name: "shop/orders", id: None },
        expected_tail: None,
        fence: None,
        retry: RetryView::None,
        order_key: None,
        seals: false,
    };
    let producer = RetryView::Producer { id: "p-1", epoch: 3, sequence: 4 };
    vec![
        plain,
        AppendTargetView {
            log: target(),
            expected_tail: Some(5),
            fence: Some("f-1"),
            retry: producer,
            order_key: Some("0007"),
            seals: true,
        },
        AppendTargetView { retry: RetryView::Key("k-7"), ..plain },
        AppendTargetView { order_key: Some("0007"), ..plain },
    ]
}

fn chunk() -> ([u8; 16], Vec<u8>) {
    let run = run();
    let mut writer = ChunkWriter::new(7, 512, 1_700_000_000_000, 70, 64);
    for (time, untimed) in (1_700_000_000_000_u64..).zip(run_records(&run)) {
        writer.push(time, untimed.unwrap());
    }
    writer.finish()
}

/// One frame of each kind, as they follow each other.
fn backup_parts() -> Vec<BackupPart> {
    let name = |index| StateName {
        entry: EntryIdRow { term: 2, leader: 1, index },
        digest: manifest().digest(),
    };
    let head = BackupHead {
        cluster: *b"0123456789abcdef",
        generation: GenerationRow { number: 1, random: 0x0102_0304 },
        state: name(42),
        stamp: 9,
        certified: 10,
        certified_by: 43,
        attested_by: vec![1, 3],
        base: Some(name(20)),
        logs: Some(vec![7]),
        manifest_bytes: 4,
        records: 2,
        record_bytes: 6,
    };
    let mut records = Vec::new();
    for body in [b"ab", b"cd"] {
        records.extend_from_slice(&4_u32.to_le_bytes());
        records.extend_from_slice(&1_700_000_000_000_u64.to_le_bytes());
        records.extend_from_slice(&[0, 0]);
        records.extend_from_slice(body);
    }
    vec![
        BackupPart::Head(Box::new(head)),
        BackupPart::Manifest(Bytes::from_static(b"rows")),
        BackupPart::Log { log: 7, from: 256, bytes_before: 700 },
        BackupPart::Tiles { first: 0, hashes: vec![[0xee; 32]] },
        BackupPart::Records { first: 256, count: 2, bytes: records.into() },
        BackupPart::End { records: 2, record_bytes: 6 },
    ]
}

fn backup() -> Vec<u8> {
    let parts = backup_parts();
    let frames = (0..).zip(&parts).map(|(number, part)| part.encode(number));
    std::iter::once(MAGIC.to_vec()).chain(frames).flatten().collect()
}

/// The parts of a file that comes in pieces of this size, and whether nothing was left of it.
fn read_backup(bytes: &[u8], size: usize) -> Result<(Vec<BackupPart>, bool), BadFrame> {
    let (mut frames, mut parts) = (BackupFrames::default(), Vec::new());
    for piece in bytes.chunks(size) {
        frames.push(piece);
        while let Some(part) = frames.next_part()? {
            parts.push(part);
        }
    }
    Ok((parts, frames.is_empty()))
}

#[test]
fn a_backup_comes_back_in_whatever_pieces_it_is_read() {
    for size in [1, 7, 4096] {
        assert_eq!(read_backup(&backup(), size), Ok((backup_parts(), true)));
    }
}

#[test]
fn a_changed_byte_of_a_backup_is_found_and_its_frame_named() {
    let (whole, parts) = (backup(), backup_parts());
    let mut begins = vec![0];
    let mut end = MAGIC.len();
    for (number, part) in (0..).zip(&parts) {
        begins.extend((number > 0).then_some(end));
        end += part.encode(number).len();
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x04;
        let (frame, begin) =
            (0..).zip(&begins).take_while(|(_, begin)| **begin <= at).last().unwrap();
        match read_backup(&changed, whole.len()) {
            Err(bad) => {
                assert_eq!(bad.frame, frame, "byte {at}");
                let is_first = frame == 0 && bad.offset == 8;
                assert!(is_first || bad.offset == u64::try_from(*begin).unwrap(), "byte {at}");
            }
            // A longer length waits for bytes that never come.
            Ok((read, is_whole)) => {
                assert!(!is_whole, "byte {at}");
                assert_eq!(u64::try_from(read.len()).unwrap(), frame, "byte {at}");
            }
        }
    }
    for length in 0..whole.len() {
        let (read, _) = read_backup(&whole[..length], whole.len()).unwrap();
        assert!(read.len() < parts.len() && read == parts[..read.len()], "cut at {length}");
    }
    let swapped = [2, 1].map(|number| parts[number].encode(u64::try_from(number).unwrap()));
    let file = [MAGIC.to_vec(), parts[0].encode(0), swapped.concat()].concat();
    assert_eq!(read_backup(&file, file.len()).unwrap_err().frame, 1, "frames have their places");
}

/// Every value of the format once, by name.
fn samples() -> Vec<(String, Vec<u8>)> {
    let run = run();
    let records: Vec<&[u8]> = run_records(&run).map(Result::unwrap).collect();
    let tile = tables::tile_key(7, 0, 3);
    let mut samples = vec![
        ("run".to_owned(), run.clone()),
        ("leaf".to_owned(), leaf_hash(1_700_000_000_000, records[0]).to_vec()),
        ("chunk key".to_owned(), chunk().0.to_vec()),
        ("chunk".to_owned(), chunk().1),
        ("tile key".to_owned(), tile.to_vec()),
        ("tile".to_owned(), encode_tile(&tile, &[0xee; 32])),
        ("node".to_owned(), node(1).to_bytes()),
        ("membership entry".to_owned(), membership().to_bytes()),
        ("append".to_owned(), append_command(&append_targets())),
    ];
    for (name, command) in all_commands() {
        samples.push((name.to_owned(), commands::encode(9, &command)));
    }
    for row in manifest().rows() {
        samples.push((format!("{:?} {}", row.table, hex(&row.key)), row.value));
    }
    for activity in activity() {
        samples.push((format!("activity {}", activity.by), activity.encode()));
    }
    samples.push(("manifest".to_owned(), manifest().encode()));
    samples.push(("backup".to_owned(), backup()));
    samples
}

#[test]
fn the_bytes_of_version_1_never_change() {
    let found = samples().iter().fold(String::new(), |mut text, (name, bytes)| {
        writeln!(text, "{name}: {}", hex(bytes)).unwrap();
        text
    });
    assert_eq!(found, include_str!("values.hex"), "the format is\n{found}");
}

#[test]
fn a_run_gives_back_its_records() {
    let run = run();
    let records: Vec<&[u8]> = run_records(&run).map(Result::unwrap).collect();
    let first = Untimed::decode(records[0]).unwrap();
    assert_eq!(first.headers().collect::<Vec<_>>(), [("kind", b"order".as_slice())]);
    assert_eq!(first.body(), b"first");
    let second = Untimed::decode(records[1]).unwrap();
    assert_eq!((second.header_count(), second.body()), (0, b"".as_slice()));
}

#[test]
fn a_chunk_is_bound_to_its_key() {
    let (key, value) = chunk();
    let chunk = Chunk::decode(&key, &value).unwrap();
    assert_eq!(chunk.head().until(), 514);
    assert_eq!(chunk.head(), ChunkHead::decode(&value).unwrap());
    assert_eq!(chunk.records().count(), 2);
    assert!(Chunk::decode(&tables::chunk_key(7, 768), &value).is_err());
    assert!(Chunk::decode(&tables::chunk_key(8, 512), &value).is_err());
}

#[test]
fn a_row_is_bound_to_its_key_and_table() {
    let row = CursorRow { position: 4, time: 8 };
    let value = row.encode(b"key");
    assert_eq!(CursorRow::decode(b"key", &value), Ok(row));
    assert!(CursorRow::decode(b"kez", &value).is_err());
    assert!(KeyRow::decode(b"key", &value).is_err());
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let (chunk_key, chunk) = chunk();
    for changed in changed(&chunk) {
        assert!(Chunk::decode(&chunk_key, &changed).is_err());
    }
    let tile = tables::tile_key(7, 0, 3);
    for changed in changed(&encode_tile(&tile, &[0xee; 32])) {
        assert!(decode_tile(&tile, &changed).is_err());
    }
    for row in manifest().rows() {
        for changed in changed(&row.value) {
            let added = ManifestBuilder::default().add(row.table, &row.key, &changed);
            assert!(added.is_err(), "{:?}", row.table);
        }
    }
    for changed in changed(&manifest().encode()) {
        assert!(Manifest::decode(&changed).is_err());
    }
}

#[test]
fn what_no_reader_takes_is_never_written() {
    for length in [0, NODE_TEXT_BYTES_MAX, NODE_TEXT_BYTES_MAX + 1, 2_000] {
        let node = NodeRow { zone: "z".repeat(length), ..node(1) };
        let written = std::panic::catch_unwind(|| {
            let admit = CommandView::AdmitReplica { nonce: 1, node: node.clone() };
            (node.to_bytes(), commands::encode(9, &admit))
        });
        assert_eq!(written.is_ok(), length <= NODE_TEXT_BYTES_MAX, "{length} bytes");
        let Ok((row, command)) = written else { continue };
        assert_eq!(NodeRow::from_bytes(&row), Ok(node));
        assert!(commands::decode(&command).is_ok(), "{length} bytes");
    }
}

#[test]
fn changed_commands_never_panic() {
    let commands = samples();
    for (_, bytes) in &commands {
        for changed in changed(bytes) {
            read_whatever_it_is(&changed);
        }
    }
}

/// Every single-byte change of some kinds, and every shorter or longer form.
fn changed(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flips = (0..bytes.len()).flat_map(|at| [(at, 0x01), (at, 0x80), (at, 0xff)]);
    let flipped = flips.map(|(at, mask)| {
        let mut changed = bytes.to_vec();
        changed[at] ^= mask;
        changed
    });
    let cut = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    flipped.chain(cut).chain(std::iter::once([bytes, &[0]].concat()))
}

/// Hands bytes to every decoder, and goes through all they give.
fn read_whatever_it_is(bytes: &[u8]) {
    if let Ok((_, CommandView::Append(items))) = commands::decode(bytes) {
        for item in items.flatten() {
            let _shape = check_run(item.run);
        }
    }
    if let Ok(untimed) = Untimed::decode(bytes) {
        assert_eq!(untimed.headers().count(), untimed.header_count());
    }
    let _records = run_records(bytes).count();
    let _head = ChunkHead::decode(bytes);
    let _chunk = Chunk::decode(&bytes[..bytes.len().min(16)], bytes);
    let _tile = decode_tile(b"", bytes);
    let _node = NodeRow::from_bytes(bytes);
    let _membership = MembershipRow::from_bytes(bytes);
    let _manifest = Manifest::decode(bytes);
    let _backup = read_backup(bytes, 64);
    for table in Table::ALL {
        let _added = ManifestBuilder::default().add(table, bytes, bytes);
    }
    let _keys = (
        tables::decode_log_key(bytes),
        tables::decode_chunk_key(bytes),
        tables::decode_tile_key(bytes),
        tables::decode_ring_key(bytes),
        tables::decode_named_key(bytes),
        tables::decode_admission_key(bytes),
    );
}

#[test]
fn keys_are_ordered_by_log_and_position_and_read_back() {
    assert!(tables::chunk_key(1, 300) < tables::chunk_key(1, 0x0100_0000));
    assert!(tables::chunk_key(1, u64::MAX) < tables::chunk_key(2, 0));
    assert_eq!(tables::decode_chunk_key(&tables::chunk_key(1, 300)), Ok((1, 300)));
    assert_eq!(tables::decode_tile_key(&tables::tile_key(1, 2, 300)), Ok((1, 2, 300)));
    assert_eq!(tables::decode_ring_key(&tables::ring_key(1, 2)), Ok((1, 2)));
    assert_eq!(tables::decode_named_key(&tables::named_key(1, "p")), Ok((1, "p")));
    assert_eq!(tables::decode_log_key(&tables::log_key(9)), Ok(9));
    assert_eq!(tables::decode_admission_key(&tables::admission_key(9)), Ok(9));
    for table in Table::ALL {
        assert_eq!(Table::from_number(table.number()), Some(table));
    }
}

#[test]
fn a_manifest_is_refused_without_progress_or_with_rows_out_of_order() {
    assert!(ManifestBuilder::default().is_empty());
    assert!(ManifestBuilder::default().finish().is_err());
    let cursors: Vec<_> = ["a", "b"].map(|name| tables::named_key(7, name)).to_vec();
    let row = CursorRow { position: 0, time: 0 };
    let mut builder = ManifestBuilder::default();
    builder.add(Table::Cursors, &cursors[1], &row.encode(&cursors[1])).unwrap();
    assert!(builder.add(Table::Cursors, &cursors[0], &row.encode(&cursors[0])).is_err());
    assert!(builder.add(Table::Cursors, &cursors[1], &row.encode(&cursors[1])).is_err());
}

#[test]
fn rows_of_the_replica_itself_are_in_no_manifest() {
    let mut builder = ManifestBuilder::default();
    builder.add(Table::Meta, b"health", b"whatever").unwrap();
    builder.add(Table::Checkpoints, b"12345678", b"whatever").unwrap();
    assert!(builder.is_empty());
}

fn any_text(bytes_max: usize) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("[a-zé]{{0,{}}}", bytes_max / 2)).unwrap()
}

prop_compose! {
    fn any_settings()(
        retention_age_ms in option::of(any::<u64>()),
        retention_bytes in option::of(any::<u64>()),
        content_type in option::of(any_text(255)),
        record_bytes_max in option::of(any::<u64>()),
        ttl_ms in option::of(any::<u64>()),
        expires_at in option::of(any::<u64>()),
    ) -> SettingsRow {
        SettingsRow {
            retention_age_ms, retention_bytes, content_type, record_bytes_max, ttl_ms, expires_at,
        }
    }
}

prop_compose! {
    fn any_batch()(first: u64, count: u32, time: u64, body_hash: [u8; 16]) -> BatchRow {
        BatchRow { first, count, time, body_hash }
    }
}

prop_compose! {
    fn any_catalog()(
        name in any_text(255),
        settings in any_settings(),
        points in (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()),
        times in (any::<u64>(), any::<u64>(), any::<u64>()),
        is_sealed: bool,
        fence in option::of(any_text(128)),
        order_key in option::of(any_text(128)),
        next_key: u64,
        hash: [u8; 32],
    ) -> CatalogRow {
        let (trim, tail) = (points.0.min(points.1), points.0.max(points.1));
        CatalogRow {
            name, settings, created: times.0, trim, tail,
            bytes_at_trim: points.2.min(points.3), bytes_at_tail: points.2.max(points.3),
            last_time: times.1, is_sealed, fence, order_key, renewed: times.2, next_key,
            frontier: vec![hash; usize::try_from(tail.count_ones()).unwrap()],
        }
    }
}

prop_compose! {
    fn any_node()(
        cluster: [u8; 16],
        number: u32,
        random: u64,
        peer_addr in any_text(200),
        front_addr in any_text(200),
        zone in any_text(200),
    ) -> NodeRow {
        NodeRow { cluster, generation: GenerationRow { number, random }, peer_addr, front_addr, zone }
    }
}

fn any_membership() -> impl Strategy<Value = MembershipRow> {
    let configs = vec(proptest::collection::btree_set(any::<u64>(), 0..6), 0..=2);
    let nodes = proptest::collection::btree_map(any::<u64>(), any_node(), 0..6);
    (configs, nodes).prop_map(|(configs, nodes)| MembershipRow { configs, nodes })
}

proptest! {
    #[test]
    fn a_catalog_row_reads_back(row in any_catalog(), key: [u8; 8]) {
        prop_assert_eq!(CatalogRow::decode(&key, &row.encode(&key)), Ok(row));
    }

    #[test]
    fn a_producer_row_reads_back(
        epoch: u64, last_stamp: u64, last_sequence in 5_u64.., batches in vec(any_batch(), 1..=5),
    ) {
        let row = ProducerRow { epoch, last_stamp, last_sequence, batches };
        prop_assert_eq!(ProducerRow::decode(b"key", &row.encode(b"key")), Ok(row));
    }

    #[test]
    fn a_key_row_reads_back(key in any_text(128), batch in any_batch()) {
        let row = KeyRow { key, batch };
        prop_assert_eq!(KeyRow::decode(b"key", &row.encode(b"key")), Ok(row));
    }

    #[test]
    fn a_membership_reads_back(membership in any_membership(), index: u64) {
        prop_assert_eq!(MembershipRow::from_bytes(&membership.to_bytes()), Ok(membership.clone()));
        let entry = EntryIdRow { term: 1, leader: 2, index };
        let row = AppliedMembershipRow { entry, membership };
        prop_assert_eq!(AppliedMembershipRow::decode(b"key", &row.encode(b"key")), Ok(row));
    }

    #[test]
    fn an_admission_reads_back(nonce: u128, node in any_node()) {
        prop_assert_eq!(NodeRow::from_bytes(&node.to_bytes()), Ok(node.clone()));
        let row = AdmissionRow { nonce, node };
        prop_assert_eq!(AdmissionRow::decode(b"key", &row.encode(b"key")), Ok(row));
    }

    #[test]
    fn a_manifest_reads_back(
        logs in proptest::collection::btree_map(any::<u64>(), any_catalog(), 0..4),
        cursors in proptest::collection::btree_map((any::<u64>(), any_text(20)), any::<u64>(), 0..4),
    ) {
        let manifest = Manifest {
            logs: logs.into_iter().collect(),
            cursors: cursors
                .into_iter()
                .map(|((log, name), position)| (log, name, CursorRow { position, time: 1 }))
                .collect(),
            ..manifest()
        };
        prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }

    #[test]
    fn records_read_back_from_runs_and_chunks(
        records in vec((vec((any_text(40), vec(any::<u8>(), 0..40)), 0..4), vec(any::<u8>(), 0..200)), 1..20),
        time: u64,
    ) {
        let mut run = Vec::new();
        for (headers, body) in &records {
            let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
            push_record(&mut run, headers, body);
        }
        let shape = check_run(&run).unwrap();
        prop_assert_eq!(usize::try_from(shape.count).unwrap(), records.len());
        let mut writer = ChunkWriter::new(1, 2, time, 3, run.len());
        for untimed in run_records(&run) {
            writer.push(time, untimed.unwrap());
        }
        let expected_bytes = writer.value_bytes();
        let (key, value) = writer.finish();
        prop_assert_eq!(value.len(), expected_bytes);
        let chunk = Chunk::decode(&key, &value).unwrap();
        let found: Vec<_> = chunk.records().collect();
        prop_assert_eq!(found.len(), records.len());
        for (record, (headers, body)) in found.iter().zip(&records) {
            let untimed = Untimed::decode(record.untimed).unwrap();
            prop_assert_eq!(untimed.body(), body.as_slice());
            let found: Vec<_> = untimed.headers().collect();
            let expected: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_append_item_reads_back(
        name in any_text(255),
        id in option::of(any::<u64>()),
        expected_tail in option::of(any::<u64>()),
        fence in option::of(any_text(128)),
        who in any_text(128),
        order_key in option::of(any_text(128)),
        seals: bool,
        kind in 0..3,
    ) {
        let retry = match kind {
            0 => RetryView::None,
            1 => RetryView::Producer { id: &who, epoch: 3, sequence: 4 },
            _ => RetryView::Key(&who),
        };
        let log = TargetView { name: &name, id };
        let (fence, order_key) = (fence.as_deref(), order_key.as_deref());
        let target = AppendTargetView { log, expected_tail, fence, retry, order_key, seals };
        let bytes = append_command(&[target, target]);
        let (stamp, command) = commands::decode(&bytes).unwrap();
        prop_assert_eq!(stamp, 9);
        let CommandView::Append(items) = command else { panic!("an append was encoded") };
        prop_assert_eq!(items.left(), 2);
        for item in items {
            let item = item.unwrap();
            prop_assert_eq!(item.target, target);
            prop_assert_eq!(item.run.to_vec(), run());
            let until = item.run_offset + item.run.len();
            prop_assert_eq!(&bytes[item.run_offset..until], item.run);
            let is_hashed = item.body_hash == commands::body_hash(item.run);
            prop_assert_eq!(is_hashed, retry != RetryView::None);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), kind in 0_u8..24) {
        read_whatever_it_is(&bytes);
        read_whatever_it_is(&[&[1, kind], bytes.as_slice()].concat());
    }
}
