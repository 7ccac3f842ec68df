//! Backups made by hand: what is right is proved, and what is forged is found though every check of a frame fits.

use bytes::{BufMut as _, Bytes};
use client::types::EntryIndex;
use migrations::latest::backup::{BackupHead, BackupPart, MAGIC, StateName};
use migrations::latest::manifest::Manifest;
use migrations::latest::values::{
    CatalogRow, EntryIdRow, GenerationRow, LimitsRow, ProgressRow, SettingsRow,
};

use super::examine::TakeError;
use super::{Chain, Examiner};
use crate::machine::{Frontier, leaf_hash};

/// A log of records whose bodies are their positions, of which those from `trim` on are kept.
#[derive(Clone, Copy)]
struct Hand {
    id: u64,
    trim: u64,
    tail: u64,
}

fn untimed(position: u64) -> Vec<u8> {
    [&[0, 0][..], position.to_string().as_bytes()].concat()
}

fn bytes_until(position: u64) -> u64 {
    (0..position).map(|position| u64::try_from(untimed(position).len()).unwrap()).sum()
}

impl Hand {
    fn row(self) -> CatalogRow {
        CatalogRow {
            name: format!("log-{}", self.id),
            settings: SettingsRow::default(),
            created: 1,
            trim: self.trim,
            tail: self.tail,
            bytes_at_trim: bytes_until(self.trim),
            bytes_at_tail: bytes_until(self.tail),
            last_time: 1,
            is_sealed: false,
            fence: None,
            order_key: None,
            renewed: 0,
            next_key: 0,
            frontier: self.tree().0.hashes().iter().map(|hash| *hash.as_bytes()).collect(),
        }
    }

    /// Its frontier, and the hashes of its tiles.
    fn tree(self) -> (Frontier, Vec<[u8; 32]>) {
        let (mut frontier, mut tiles) = (Frontier::empty(), Vec::new());
        for position in 0..self.tail {
            frontier.push(leaf_hash(position, &untimed(position)), |level, _, hash| {
                if level == 0 {
                    tiles.push(*hash.as_bytes());
                }
            });
        }
        (frontier, tiles)
    }

    /// Its frames, with the records from a position on.
    fn parts(self, from: u64) -> Vec<BackupPart> {
        let bytes_before = bytes_until(from);
        let mut parts = vec![BackupPart::Log { log: self.id, from, bytes_before }];
        let tiles = self.tree().1;
        for group in 0..self.tail.div_ceil(65_536) {
            let first = group * 256;
            let hashes: Vec<_> =
                tiles.iter().skip(usize::try_from(first).unwrap()).take(256).copied().collect();
            if !hashes.is_empty() {
                parts.push(BackupPart::Tiles { first, hashes });
            }
            let mut next = from.max(group * 65_536);
            let end = self.tail.min((group + 1) * 65_536);
            while next < end {
                // Frames end wherever they do, in the midst of tiles, too.
                let until = (next + 1_000).min(end);
                parts.push(records(next, until));
                next = until;
            }
        }
        parts
    }
}

fn records(from: u64, until: u64) -> BackupPart {
    let mut bytes = Vec::new();
    for position in from..until {
        let untimed = untimed(position);
        bytes.put_u32_le(u32::try_from(untimed.len()).unwrap());
        bytes.put_u64_le(position);
        bytes.put_slice(&untimed);
    }
    let count = u32::try_from(until - from).unwrap();
    BackupPart::Records { first: from, count, bytes: bytes.into() }
}

fn manifest(index: u64, logs: &[Hand]) -> Manifest {
    let limits = LimitsRow {
        logs_max: 9,
        producers_max: 9,
        cursors_max: 9,
        keys_max: 9,
        keys_per_log_max: 9,
        key_age_max_ms: 9,
        producer_idle_max_ms: 9,
        producer_idle_min_ms: 9,
    };
    Manifest {
        progress: ProgressRow {
            machine_version: 1,
            applied: EntryIdRow { term: 2, leader: 1, index },
            rolling_digest: [7; 32],
            last_stamp: 9,
            next_log: 9,
            next_replica: 4,
            limits,
        },
        founding: None,
        membership: None,
        checkpoints: Vec::new(),
        changes: Vec::new(),
        admissions: Vec::new(),
        logs: logs.iter().map(|log| (log.id, log.row())).collect(),
        producers: Vec::new(),
        keys: Vec::new(),
        cursors: Vec::new(),
    }
}

fn name(manifest: &Manifest) -> StateName {
    StateName { entry: manifest.entry(), digest: manifest.digest() }
}

/// All frames of a backup of these logs, each from its position on.
fn parts(index: u64, logs: &[(Hand, u64)], base: Option<StateName>) -> Vec<BackupPart> {
    let hands: Vec<Hand> = logs.iter().map(|(log, _)| *log).collect();
    let manifest = manifest(index, &hands);
    let encoded = manifest.encode();
    let records = logs.iter().map(|(log, from)| log.tail - from).sum();
    let record_bytes =
        logs.iter().map(|(log, from)| bytes_until(log.tail) - bytes_until(*from)).sum();
    let head = BackupHead {
        cluster: [1; 16],
        generation: GenerationRow { number: 1, random: 5 },
        state: name(&manifest),
        stamp: 9,
        certified: 10,
        certified_by: index + 1,
        attested_by: vec![1, 2],
        base,
        logs: None,
        manifest_bytes: u64::try_from(encoded.len()).unwrap(),
        records,
        record_bytes,
    };
    let mut parts = vec![BackupPart::Head(Box::new(head))];
    parts.extend(
        encoded.chunks(100).map(|bytes| BackupPart::Manifest(Bytes::copy_from_slice(bytes))),
    );
    parts.extend(logs.iter().flat_map(|(log, from)| log.parts(*from)));
    parts.push(BackupPart::End { records, record_bytes });
    parts
}

fn file(parts: &[BackupPart]) -> Vec<u8> {
    let frames = (0..).zip(parts).map(|(number, part)| part.encode(number));
    std::iter::once(MAGIC.to_vec()).chain(frames).flatten().collect()
}

/// What is wrong with a file, in words.
fn examine(mut examiner: Examiner, file: &[u8]) -> Result<super::examine::Examined, String> {
    for bytes in file.chunks(333) {
        examiner.take(bytes, &mut |_found| Ok(())).map_err(|error| match error {
            TakeError::Flaw(flaw) => flaw.to_string(),
            TakeError::Storage(error) => error.to_string(),
        })?;
    }
    examiner.finish().map_err(|flaw| flaw.to_string())
}

const LOGS: [(Hand, u64); 5] = [
    (Hand { id: 1, trim: 0, tail: 700 }, 0),
    (Hand { id: 2, trim: 300, tail: 512 }, 256),
    (Hand { id: 3, trim: 0, tail: 0 }, 0),
    (Hand { id: 5, trim: 600, tail: 600 }, 512),
    (Hand { id: 8, trim: 40, tail: 45 }, 0),
];

#[test]
fn what_is_right_is_proved_whatever_was_trimmed() {
    let found = examine(Examiner::default(), &file(&parts(7, &LOGS, None))).unwrap();
    let verified = Chain::default().add(found);
    assert_eq!((verified.logs, verified.records), (5, 700 + 256 + 88 + 45));
    assert_eq!(verified.checkpoint.get(), 7);
}

#[test]
fn more_tiles_than_one_group_holds_are_proved() {
    let log = Hand { id: 1, trim: 66_000, tail: 66_700 };
    let file = file(&parts(7, &[(log, 65_792)], None));
    assert!(examine(Examiner::default(), &file).is_ok());
    let all = Hand { id: 1, trim: 0, tail: 65_900 };
    assert!(examine(Examiner::default(), &self::file(&parts(7, &[(all, 0)], None))).is_ok());
}

#[test]
fn each_flipped_or_missing_byte_is_found() {
    let logs = [(Hand { id: 1, trim: 0, tail: 259 }, 0)];
    let whole = file(&parts(7, &logs, None));
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        assert!(examine(Examiner::default(), &changed).is_err(), "byte {at}");
        assert!(examine(Examiner::default(), &whole[..at]).is_err(), "cut at {at}");
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(examine(Examiner::default(), &longer).unwrap_err().contains("follows the end"));
}

/// Changes one frame, as somebody would who can compute checks.
fn forged(change: impl Fn(&mut BackupPart) -> bool) -> String {
    let mut parts = parts(7, &LOGS, None);
    assert!(parts.iter_mut().any(change), "something was changed");
    examine(Examiner::default(), &file(&parts)).unwrap_err()
}

#[test]
fn what_was_forged_is_found_and_its_place_is_named() {
    let records = forged(|part| {
        if let BackupPart::Records { first: 256, bytes, .. } = part {
            let mut changed = bytes.to_vec();
            *changed.last_mut().unwrap() ^= 1;
            *bytes = changed.into();
            true
        } else {
            false
        }
    });
    assert!(records.contains("records 256 to 511") && records.contains("log-2"), "{records}");
    let hash = forged(|part| {
        if let BackupPart::Tiles { hashes, .. } = part {
            hashes[0][0] ^= 1;
            true
        } else {
            false
        }
    });
    assert!(hash.contains("records 0 to 255") && hash.contains("log-1"), "{hash}");
    let ragged = forged(|part| {
        if let BackupPart::Records { first: 0, count: 45, bytes } = part {
            let mut changed = bytes.to_vec();
            *changed.last_mut().unwrap() ^= 1;
            *bytes = changed.into();
            true
        } else {
            false
        }
    });
    assert!(ragged.contains("the last records of log log-8"), "{ragged}");
    let state = forged(|part| {
        if let BackupPart::Head(head) = part {
            head.state.digest[3] ^= 1;
            true
        } else {
            false
        }
    });
    assert!(state.contains("not the certified one"), "{state}");
    let bytes = forged(|part| {
        if let BackupPart::Log { bytes_before, .. } = part {
            *bytes_before += 1;
            true
        } else {
            false
        }
    });
    assert!(bytes.contains("number of bytes"), "{bytes}");
}

#[test]
fn a_hash_of_what_was_trimmed_is_proved_by_the_tree_alone() {
    let log = Hand { id: 1, trim: 512, tail: 700 };
    let mut parts = parts(7, &[(log, 512)], None);
    for part in &mut parts {
        if let BackupPart::Tiles { hashes, .. } = part {
            hashes[0][0] ^= 1;
        }
    }
    let told = examine(Examiner::default(), &file(&parts)).unwrap_err();
    assert!(told.contains("do not form its tree"), "{told}");
}

#[test]
fn a_log_or_records_left_out_are_missed() {
    let all = parts(7, &LOGS, None);
    for at in 0..all.len() {
        let mut parts = all.clone();
        parts.remove(at);
        assert!(examine(Examiner::default(), &file(&parts)).is_err(), "without frame {at}");
    }
}

/// The first backup, and what goes on from there: one log grew, one did not, one was trimmed beyond, one is new.
fn chain() -> (Chain, Vec<BackupPart>) {
    let before = [
        (Hand { id: 1, trim: 0, tail: 700 }, 0),
        (Hand { id: 2, trim: 0, tail: 300 }, 0),
        (Hand { id: 3, trim: 0, tail: 300 }, 0),
    ];
    let hands: Vec<Hand> = before.iter().map(|(log, _)| *log).collect();
    let mut chain = Chain::default();
    let found = examine(chain.next(), &file(&parts(7, &before, None))).unwrap();
    chain.add(found);
    let after = [
        (Hand { id: 1, trim: 100, tail: 1_500 }, 512),
        (Hand { id: 2, trim: 0, tail: 300 }, 300),
        (Hand { id: 3, trim: 600, tail: 900 }, 512),
        (Hand { id: 4, trim: 0, tail: 10 }, 0),
    ];
    (chain, parts(20, &after, Some(name(&manifest(7, &hands)))))
}

#[test]
fn a_backup_continues_the_one_before_it_and_no_other() {
    let (mut chain, parts) = chain();
    let found = examine(chain.next(), &file(&parts)).unwrap();
    let verified = chain.add(found);
    assert_eq!(verified.base.map(EntryIndex::get), Some(7));
    assert_eq!(verified.records, 988 + 388 + 10);
    // A second time it does not continue itself.
    let told = examine(chain.next(), &file(&parts)).unwrap_err();
    assert!(told.contains("it continues the backup of checkpoint 7"), "{told}");
    // Alone it is proved, too.
    assert!(examine(Examiner::default(), &file(&parts)).is_ok());
    let whole = self::parts(30, &LOGS, None);
    let told = examine(chain.next(), &file(&whole)).unwrap_err();
    assert!(told.contains("continues no other"), "{told}");
}

#[test]
fn a_gap_between_two_backups_is_found() {
    let (chain, _) = chain();
    let hands = [(1, 700), (2, 300), (3, 300)].map(|(id, tail)| Hand { id, trim: 0, tail });
    let base = Some(name(&manifest(7, &hands)));
    let gap = [(Hand { id: 1, trim: 0, tail: 1_500 }, 1_024)];
    let told = examine(chain.next(), &file(&parts(20, &gap, base))).unwrap_err();
    assert!(told.contains("does not go on where it ended"), "{told}");
    let unknown = [(Hand { id: 6, trim: 0, tail: 1_500 }, 1_024)];
    let told = examine(chain.next(), &file(&parts(20, &unknown, base))).unwrap_err();
    assert!(told.contains("not in the backup that it continues"), "{told}");
}
