//! Random histories against a naive model, and the tree against the vectors of RFC 6962.
//!
//! A history of commands is applied to machine and model, and outcome, records and tail must agree.
//! A second machine that is reloaded from its rows now and then must stay equal to the first.
//!
//! Not here: single behaviours (`scripts`), and bytes (`migrations`).

use std::collections::BTreeMap;
use std::time::Duration;

use client::types::{
    Batch, BatchLimits, CURSOR_NAME_BYTES_MAX, CursorName, Digest, EntryId, EntryIndex, Fence,
    LOG_NAME_BYTES_MAX, LogId, LogName, LogSettings, NewRecord, Position, ReplicaAddr,
    TOKEN_BYTES_MAX, Term, Timestamp, ZONE_BYTES_MAX, Zone,
};
use migrations::latest::NodeRow;
use migrations::latest::manifest::{Manifest, ManifestBuilder};
use migrations::latest::records::run_records;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::model::{Item, LIMITS, Model, PlainLog, Retry, Step, encode, log_name, step, tell};
use super::{
    AdmitReplica, ChangeSettings, Command, CreateLog, DeleteCursor, DeleteLog, EntryBody,
    ExpireProducers, FirstContent, Frontier, LogTarget, Machine, Outcome, Payload, SealLog,
    SetCursor, SetFence, SettingsChange, Table, TrimLog, consistency_proof, inclusion_proof,
    leaf_hash, root_of, verify_consistency, verify_inclusion,
};

/// A machine with what a state would keep of it: rows and records.
struct Kept {
    machine: Machine,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    records: BTreeMap<LogId, Vec<Vec<u8>>>,
}

impl Kept {
    fn new() -> Self {
        Self { machine: Machine::new(LIMITS), rows: BTreeMap::new(), records: BTreeMap::new() }
    }

    fn apply(&mut self, index: usize, body: &EntryBody) -> Outcome {
        let index = EntryIndex::new(u64::try_from(index).unwrap());
        let applied = self.machine.apply(EntryId::new(Term::new(1), 1, index), body);
        for run in &applied.delta.runs {
            let records = self.records.entry(run.log).or_default();
            assert_eq!(run.first.get(), u64::try_from(records.len()).unwrap());
            assert_eq!(run.bytes_before, PlainLog::bytes_before(run.first.get()));
            records.extend(run_records(&run.records).map(|record| record.unwrap().to_vec()));
            assert_eq!(run.next().get(), u64::try_from(records.len()).unwrap());
            let payload = &body.payload().unwrap().bytes;
            let offset = usize::try_from(run.offset.unwrap()).unwrap();
            assert_eq!(payload[offset..offset + run.records.len()], run.records);
        }
        for view in &applied.delta.logs {
            assert_eq!(self.machine.log_by_id(view.id).unwrap().view(), *view);
        }
        applied.outcome
    }

    fn take_rows(&mut self) {
        for row in self.machine.take_changes().rows {
            match row.value {
                Some(value) => drop(self.rows.insert((row.table, row.key), value)),
                None => drop(self.rows.remove(&(row.table, row.key))),
            }
        }
    }

    fn manifest_of_rows(&self) -> Manifest {
        let mut builder = ManifestBuilder::default();
        for ((table, key), value) in &self.rows {
            builder.add(*table, key, value).unwrap();
        }
        builder.finish().unwrap()
    }

    /// Starts anew from the rows taken.
    fn reload(&mut self) {
        self.take_rows();
        let manifest = self.manifest_of_rows();
        assert_eq!(Some(&manifest), self.machine.manifest().as_ref());
        let decoded = Manifest::decode(&manifest.encode()).unwrap();
        self.machine = Machine::load(decoded).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_machine_does_what_the_model_does_and_two_stay_equal(
        steps in prop::collection::vec((step(), 0..4_u64, prop::bool::weighted(0.1)), 1..80),
    ) {
        let (mut model, mut first, mut second) = (Model::new(), Kept::new(), Kept::new());
        let mut stamp = 0;
        let created = [(Step::Create(0), 0, false), (Step::Create(1), 0, false)];
        for (index, (step, elapsed, is_reloaded)) in created.iter().chain(&steps).enumerate() {
            // A leader's clock may run backwards.
            stamp = if *elapsed == 3 { stamp / 2 } else { stamp + elapsed };
            let (body, mut expected) = tell(&mut model, step, Timestamp::new(stamp));
            let outcome = first.apply(index, &body);
            if let (Outcome::LogCreated(Ok(expected)), Outcome::LogCreated(Ok(found))) = (&mut expected, &outcome) {
                expected.created = found.created;
            }
            prop_assert_eq!(&outcome, &expected, "{:?}", step);
            prop_assert_eq!(&second.apply(index, &body), &outcome);
            prop_assert_eq!(first.machine.rolling_digest(), second.machine.rolling_digest());
            if *is_reloaded {
                second.reload();
            }
        }
        prop_assert_eq!(first.machine.manifest(), second.machine.manifest());
        first.take_rows();
        prop_assert_eq!(Some(first.manifest_of_rows()), first.machine.manifest());
        for (number, plain) in &model.logs {
            let log = first.machine.log(&log_name(*number)).unwrap();
            let records = first.records.get(&log.id()).cloned().unwrap_or_default();
            let expected: Vec<Vec<u8>> =
                plain.records.iter().map(|(_, body)| [&[0, 0], body.as_slice()].concat()).collect();
            prop_assert_eq!(&records, &expected);
            let leaves: Vec<Digest> =
                plain.records.iter().zip(&expected).map(|((time, _), r)| leaf_hash(*time, r)).collect();
            prop_assert_eq!(log.root(), root_of(&leaves));
            let view = log.view();
            prop_assert_eq!((view.trim.get(), view.tail.get()), (plain.trim, plain.tail()));
            prop_assert_eq!(view.bytes_at_tail, PlainLog::bytes_before(plain.tail()));
            prop_assert_eq!(view.bytes_at_trim, PlainLog::bytes_before(plain.trim));
            let settings = (view.settings.retention_age, view.settings.retention_bytes);
            let age = plain.age.map(|age| Duration::from_millis(age.into()));
            prop_assert_eq!(settings, (age, plain.bytes.map(u64::from)));
            let cursors: Vec<_> = log.cursors().map(|(name, at)| (name.to_string(), at.get())).collect();
            let expected: Vec<_> = plain.cursors.iter().map(|(name, at)| (name.to_string(), *at)).collect();
            prop_assert_eq!(cursors, expected);
        }
    }

    #[test]
    fn proofs_hold_and_wrong_ones_do_not(size in 1..80_usize, index in 0..80_usize, earlier in 1..80_usize) {
        let leaves = leaves(size);
        let root = root_of(&leaves);
        let size64 = u64::try_from(size).unwrap();
        if let Some(proof) = inclusion_proof(&leaves, index) {
            let index = u64::try_from(index).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            prop_assert!(verify_inclusion(&leaf, index, size64, &root, &proof));
            prop_assert!(!verify_inclusion(&Digest::default(), index, size64, &root, &proof));
            prop_assert!(!verify_inclusion(&leaf, index, size64, &Digest::default(), &proof));
            prop_assert!(!verify_inclusion(&leaf, index + size64, size64, &root, &proof));
            if let [_, rest @ ..] = proof.as_slice() {
                prop_assert!(!verify_inclusion(&leaf, index, size64, &root, rest));
            }
        } else {
            prop_assert!(index >= size);
        }
        let Some(proof) = consistency_proof(&leaves, earlier) else {
            prop_assert!(earlier > size);
            return Ok(());
        };
        let before = (u64::try_from(earlier).unwrap(), root_of(&leaves[..earlier]));
        prop_assert!(verify_consistency(before, (size64, root), &proof));
        prop_assert!(!verify_consistency((before.0, Digest::default()), (size64, root), &proof));
        prop_assert!(!verify_consistency(before, (size64, Digest::default()), &proof));
    }
}

fn leaves(size: usize) -> Vec<Digest> {
    (0..size).map(|n| Digest::new(Sha256::digest(n.to_le_bytes()).into())).collect()
}

#[test]
fn the_tree_gives_the_roots_of_rfc_6962() {
    // The reference inputs and roots of Certificate Transparency; leaves there cover the bytes
    // alone.
    let inputs: [&[u8]; 8] = [
        b"",
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::empty();
    let mut leaves = Vec::new();
    for (input, root) in inputs.iter().zip(roots) {
        let leaf =
            Digest::new(Sha256::new().chain_update([0]).chain_update(input).finalize().into());
        leaves.push(leaf);
        frontier.push(leaf, |_, _, _| panic!("8 leaves complete no tile"));
        assert_eq!(frontier.root().to_string(), root);
        assert_eq!(root_of(&leaves).to_string(), root);
    }
}

#[test]
fn tiles_of_both_levels_are_roots_of_their_leaves() {
    let leaves = leaves(256 * 256 + 300);
    let mut frontier = Frontier::empty();
    let mut tiles = BTreeMap::new();
    for leaf in &leaves {
        frontier.push(*leaf, |level, number, hash| {
            assert!(tiles.insert((level, number), hash).is_none(), "a tile is completed once");
        });
    }
    assert_eq!(frontier.root(), root_of(&leaves));
    assert_eq!(tiles.len(), 257 + 1);
    for number in [0_u64, 1, 100, 256] {
        let from = usize::try_from(number).unwrap() * 256;
        assert_eq!(tiles[&(0, number)], root_of(&leaves[from..from + 256]));
    }
    assert_eq!(tiles[&(1, 0)], root_of(&leaves[..65_536]));
    let kept = Frontier::from_hashes(frontier.size(), frontier.hashes().to_vec());
    assert_eq!(kept, Some(frontier.clone()));
    assert_eq!(Frontier::from_hashes(frontier.size() + 1, frontier.hashes().to_vec()), None);
}

fn first_entry() -> EntryId {
    EntryId::new(Term::new(1), 1, EntryIndex::new(1))
}

#[test]
#[should_panic(expected = "cannot be applied after")]
fn an_entry_left_out_ends_the_process() {
    let mut machine = Machine::new(LIMITS);
    machine.apply(first_entry(), &EntryBody::Blank);
    machine.apply(EntryId::new(Term::new(1), 1, EntryIndex::new(3)), &EntryBody::Blank);
}

#[test]
#[should_panic(expected = "was checked before it was proposed")]
fn a_committed_command_that_cannot_be_read_ends_the_process() {
    let payload = Payload::new(b"nonsense".as_slice().into());
    Machine::new(LIMITS).apply(first_entry(), &EntryBody::Command(payload));
}

#[test]
fn jumps_are_allowed_on_request() {
    let mut machine = Machine::new(LIMITS).allow_jumps();
    for index in [0, 4, 9] {
        machine.apply(EntryId::new(Term::new(1), 1, EntryIndex::new(index)), &EntryBody::Blank);
    }
    assert_eq!(machine.applied().unwrap().index, EntryIndex::new(9));
}

#[test]
fn rows_that_no_history_leads_to_are_refused() {
    let mut kept = Kept::new();
    let item = Item {
        log: 0,
        id: None,
        tail: None,
        fence: None,
        retry: Retry::Producer(1, 0, 0),
        order_key: None,
        seals: false,
        bodies: vec![1],
    };
    let mut model = Model::new();
    for (index, step) in [Step::Create(0), Step::Append(vec![item])].iter().enumerate() {
        let (body, _) = tell(&mut model, step, Timestamp::new(1));
        kept.apply(index, &body);
    }
    let manifest = kept.machine.manifest().unwrap();
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut changed = manifest.clone();
        change(&mut changed);
        assert!(Machine::load(changed).is_err());
    };
    refused(&|manifest| manifest.logs.clear());
    refused(&|manifest| manifest.progress.next_log = 1);
    refused(&|manifest| manifest.progress.machine_version = 2);
    refused(&|manifest| manifest.logs[0].1.name = "a//b".to_owned());
    refused(&|manifest| manifest.logs[0].1.frontier.clear());
    refused(&|manifest| manifest.producers[0].2.batches[0].first = 9);
    refused(&|manifest| manifest.producers[0].1 = "no id".to_owned());
    assert!(Machine::load(manifest).is_ok());
}

/// Text of the contract's length, the longest included.
fn text(bytes_max: usize) -> impl Strategy<Value = String> {
    let letters = move |letters: &str, range: String| {
        prop::string::string_regex(&format!("[{letters}]{{{range}}}")).unwrap()
    };
    prop_oneof![letters("a-z", format!("1,{bytes_max}")), letters("0-9", bytes_max.to_string())]
}

prop_compose! {
    fn any_admission()(
        nonce: u128,
        zone in text(ZONE_BYTES_MAX),
        host in text(253),
        port in 1..=u16::MAX,
    ) -> Command {
        let addr = ReplicaAddr::new(&format!("https://{host}:{port}")).unwrap();
        let zone = Zone::new(&zone).unwrap();
        let node = NodeRow {
            peer_addr: addr.to_string(),
            front_addr: addr.to_string(),
            zone: zone.to_string(),
            ..NodeRow::default()
        };
        Command::AdmitReplica(AdmitReplica { stamp: Timestamp::new(1), nonce, node })
    }
}

prop_compose! {
    fn any_change()(
        name in text(LOG_NAME_BYTES_MAX),
        id in prop::option::of(any::<u64>()),
        cursor in text(CURSOR_NAME_BYTES_MAX),
        fence in prop::option::of(text(TOKEN_BYTES_MAX)),
        content_type in prop::option::of(text(255)),
        numbers: (u64, u64, u64),
        kind in 0..9,
    ) -> Command {
        let stamp = Timestamp::new(numbers.0);
        let name = LogName::new(&name).unwrap();
        let log = LogTarget { name: name.clone(), id: id.map(LogId::new) };
        let cursor = CursorName::new(&cursor).unwrap();
        let settings = LogSettings { content_type, ..LogSettings::default() };
        let (position, bytes_before) = (Position::new(numbers.1), numbers.2);
        match kind {
            0 => {
                let record = NewRecord::new(name.as_str().as_bytes().to_vec());
                let batch = Batch::single(&record, &BatchLimits::default()).unwrap();
                let content = FirstContent::new(Some(batch), bytes_before % 2 == 0);
                Command::CreateLog(CreateLog { stamp, name, settings, content })
            }
            1 => {
                let content_type = Some(settings.content_type);
                let change = SettingsChange { content_type, ..SettingsChange::default() };
                Command::ChangeSettings(ChangeSettings { stamp, log, change })
            }
            2 => Command::DeleteLog(DeleteLog { stamp, log }),
            3 => Command::TrimLog(TrimLog { stamp, log, to: position, bytes_before }),
            4 => Command::SealLog(SealLog { stamp, log }),
            5 => {
                let fence = fence.map(|fence| Fence::new(&fence).unwrap());
                Command::SetFence(SetFence { stamp, log, fence })
            }
            6 => {
                let expected = fence.map(|_| Position::new(bytes_before));
                Command::SetCursor(SetCursor { stamp, log, cursor, expected, position })
            }
            7 => Command::DeleteCursor(DeleteCursor { stamp, log, cursor }),
            _ => Command::ExpireProducers(ExpireProducers {
                stamp,
                idle: Duration::from_millis(bytes_before),
            }),
        }
    }
}

proptest! {
    #[test]
    fn every_command_that_can_be_written_can_be_read(
        command in prop_oneof![any_admission(), any_change()],
    ) {
        let payload = super::codec::encode_command(&command);
        prop_assert_eq!(Command::decode(&payload.bytes), Ok(command));
    }
}

#[test]
fn a_command_is_checked_whole_before_it_is_proposed() {
    let item = Item {
        log: 0,
        id: Some(1),
        tail: Some(2),
        fence: Some(1),
        retry: Retry::Key(3),
        order_key: Some(4),
        seals: true,
        bodies: vec![1, 0],
    };
    let payload = Command::append(Timestamp::new(1), &[encode(&item, 0)]);
    assert!(Command::decode(&payload.bytes).is_ok());
    let mut refused_count = 0;
    for at in 0..payload.bytes.len() {
        let mut changed = payload.bytes.to_vec();
        changed[at] ^= 0xff;
        refused_count += usize::from(Command::decode(&changed.into()).is_err());
    }
    assert!(refused_count > payload.bytes.len() / 2, "{refused_count}");
}
