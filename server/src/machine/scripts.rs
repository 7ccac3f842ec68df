//! Runs the golden scripts of `server/scripts/machine`: one behaviour a file, told as a story in
//! text.
//!
//! A script is a comment and then blocks: lines to do, `---`, the answer. Lines that begin with
//! `append` and stand together are one command. Every word is explained by [`Story::tell`]. A
//! script may not depend on another one.
//!
//! After each block the runner checks what holds everywhere: the rows taken bit by bit are the rows
//! of the whole, and a machine made of them is the same machine. Not here: random stories, which
//! `tests` compares with a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, str};

use client::types::{
    Batch, BatchLimits, CheckpointLabel, ClusterId, CursorName, Digest, EntryId, EntryIndex, Fence,
    Headers, IdempotencyKey, LogId, LogName, LogSettings, NewRecord, OrderKey, Position,
    ProducerEpoch, ProducerId, Sequence, Term, Timestamp,
};
use migrations::latest::activity::{ACTIVITY_LOG_ID, ActivityRow};
use migrations::latest::changes::{IntentRow, NewcomerRow, StageRow};
use migrations::latest::manifest::ManifestBuilder;
use migrations::latest::records::{Untimed, run_records};
use migrations::latest::values::{GenerationRow, MembershipRow, NodeRow};

use super::{
    AdmitReplica, Append, AppendItem, AppendRetry, AppendTarget, Applied, Author, BeginChange,
    CertifyCheckpoint, ChangeSettings, Command, CreateLog, DeleteCursor, DeleteLog, Delta,
    EntryBody, ExpireLogs, ExpireProducers, FirstContent, Found, Founding, LogTarget, Machine,
    MachineLimits, MakeCheckpoint, MoveChange, OnBehalf, Outcome, Payload, Proposal, Rejection,
    ReleaseCheckpoint, RenewLog, SealLog, SetCursor, SetFence, SettingsChange, Table, Timings,
    TrimLog,
};

/// So many behaviours are told at least.
const SCRIPTS_MIN: usize = 60;

#[test]
fn every_script_is_answered_as_written() {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= SCRIPTS_MIN, "only {} scripts", paths.len());
    let failures: Vec<String> = paths.iter().filter_map(|path| run(path).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/machine")
}

/// Runs one script to its first wrong answer.
fn run(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("# "), "{} begins with what it shows", path.display());
    let mut story = Story::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let lines: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
        let end = lines.iter().position(|line| *line == "---");
        let end = end.unwrap_or_else(|| panic!("{}: no answer to {lines:?}", path.display()));
        let expected = lines[end + 1..].join("\n");
        let answer = story.tell(&lines[..end]);
        story.check_invariants();
        if answer != expected {
            let told = lines[..end].join("\n");
            return Err(format!("{}:\n{told}\n--- answered\n{answer}\n", path.display()));
        }
    }
    Ok(())
}

/// The words of a line: names, and `key=value` pairs.
struct Words<'a> {
    line: &'a str,
    plain: Vec<&'a str>,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let mut words = Self { line, plain: Vec::new(), pairs: BTreeMap::new() };
        for word in line.split_whitespace().skip(1) {
            match word.split_once('=') {
                Some((key, value)) => drop(words.pairs.insert(key, value)),
                None => words.plain.push(word),
            }
        }
        words
    }

    fn plain(&self, index: usize) -> &'a str {
        self.plain.get(index).unwrap_or_else(|| panic!("a word is missing in {:?}", self.line))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.pairs.get(key).map(|value| value.parse().unwrap())
    }

    fn log(&self) -> LogTarget {
        LogTarget { name: name(self.plain(0)), id: self.number("id").map(LogId::new) }
    }

    fn settings(&self) -> LogSettings {
        LogSettings {
            retention_age: self.number("age").map(Duration::from_millis),
            retention_bytes: self.number("bytes"),
            content_type: self.pairs.get("type").map(ToString::to_string),
            record_bytes_max: self.number("record"),
            ttl: self.number("ttl").map(Duration::from_millis),
            expires_at: self.number("expires").map(Timestamp::new),
        }
    }

    /// Ids with commas between them; none if they are not named.
    fn ids(&self, key: &str) -> BTreeSet<u64> {
        let ids = self.pairs.get(key).into_iter().flat_map(|ids| ids.split(','));
        ids.map(|id| id.parse().unwrap()).collect()
    }

    /// What is named, with `none` for what is no longer set.
    fn change(&self) -> SettingsChange {
        let number =
            |key| self.pairs.get(key).map(|text| (*text != "none").then(|| text.parse().unwrap()));
        let age: Option<Option<u64>> = number("age");
        SettingsChange {
            retention_age: age.map(|age| age.map(Duration::from_millis)),
            retention_bytes: number("bytes"),
            content_type: self
                .pairs
                .get("type")
                .map(|text| (*text != "none").then(|| (*text).to_owned())),
            record_bytes_max: number("record"),
            ttl: number("ttl").map(|ttl| ttl.map(Duration::from_millis)),
            expires_at: number("expires").map(|time| time.map(Timestamp::new)),
        }
    }

    fn append_target(&self) -> AppendTarget {
        let retry = match (self.pairs.get("producer"), self.pairs.get("key")) {
            (Some(id), _) => AppendRetry::Producer {
                id: ProducerId::new(id).unwrap(),
                epoch: ProducerEpoch::new(self.number("epoch").unwrap_or(0)),
                sequence: Sequence::new(self.number("sequence").unwrap()),
            },
            (None, Some(key)) => AppendRetry::Key(IdempotencyKey::new(key).unwrap()),
            (None, None) => AppendRetry::None,
        };
        AppendTarget {
            log: self.log(),
            expected_tail: self.number("tail").map(Position::new),
            fence: self.pairs.get("fence").map(|fence| Fence::new(fence).unwrap()),
            retry,
            order_key: self.pairs.get("order").map(|key| OrderKey::new(key).unwrap()),
            seals: self.pairs.contains_key("seals"),
        }
    }

    fn append_item(&self) -> AppendItem {
        let target = self.append_target();
        self.batch().map_or_else(
            || AppendItem::encode_seal(&target),
            |batch| AppendItem::encode(&target, &batch),
        )
    }

    /// Records: words after the log's name; `many=N` adds as many. None if there are none.
    fn batch(&self) -> Option<Batch> {
        let headers = Headers::from_pairs(self.pairs.get("header").map(|value| ("kind", *value)));
        let headers = headers.unwrap();
        let record =
            |body: &str| NewRecord::new(body.as_bytes().to_vec()).with_headers(headers.clone());
        let mut records: Vec<NewRecord> = self.plain[1..].iter().map(|body| record(body)).collect();
        records.extend((0..self.number("many").unwrap_or(0)).map(|n| record(&n.to_string())));
        let batch = Batch::new(records.iter(), &BatchLimits::default());
        (!records.is_empty()).then(|| batch.unwrap())
    }
}

fn name(text: &str) -> LogName {
    LogName::new(text).unwrap()
}

/// `7` waits to become a voter, `7?` a learner.
fn newcomer(text: &str) -> NewcomerRow {
    let nonce = text.trim_end_matches('?');
    let node = NodeRow { zone: format!("of-{nonce}"), ..NodeRow::default() };
    NewcomerRow { nonce: nonce.parse().unwrap(), node, is_voter: nonce == text }
}

fn stage(name: &str) -> StageRow {
    let stage = StageRow::ALL.into_iter().find(|stage| format!("{stage:?}").to_lowercase() == name);
    stage.unwrap_or_else(|| panic!("{name} is no stage"))
}

/// One script under way.
struct Story {
    machine: Machine,
    index: u64,
    stamp: Timestamp,
    delta: Delta,
    /// On whose behalf the next command is.
    author: Option<Author>,
    /// Rows as a state would hold them that writes what it is given.
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Story {
    fn new() -> Self {
        Self {
            machine: Machine::new(MachineLimits::default()),
            index: 0,
            stamp: Timestamp::new(0),
            delta: Delta::default(),
            author: None,
            rows: BTreeMap::new(),
        }
    }

    /// Does the lines of one block and gives their answers.
    fn tell(&mut self, lines: &[&str]) -> String {
        let mut answer = String::new();
        let mut lines = lines.iter().peekable();
        while let Some(line) = lines.next() {
            let told = if line.starts_with("append ") {
                let mut appends = vec![*line];
                while let Some(line) = lines.next_if(|line| line.starts_with("append ")) {
                    appends.push(line);
                }
                self.append(&appends)
            } else {
                self.line(line)
            };
            if !told.is_empty() {
                answer.push_str(&told);
                answer.push('\n');
            }
        }
        answer.trim_end().to_owned()
    }

    /// Does one line, `by NAME` somebody or by the service itself. What begins with a verb is a command; the rest looks without changing.
    fn line(&mut self, line: &str) -> String {
        if let Some((name, line)) = line.strip_prefix("by ").and_then(|rest| rest.split_once(' ')) {
            self.author = Some(Author { by: name.to_owned(), from: "here".to_owned() });
            return self.line(line);
        }
        let words = Words::of(line);
        let stamp = self.stamp;
        match line.split_whitespace().next().unwrap_or("") {
            "at" => {
                self.stamp = Timestamp::new(words.plain(0).parse().unwrap());
                String::new()
            }
            "limits" => self.limits(&words),
            "create" => {
                let (name, settings) = (name(words.plain(0)), words.settings());
                let content = FirstContent::new(words.batch(), words.pairs.contains_key("seals"));
                let command = CreateLog { stamp, name, settings, content };
                said(self.propose(command), |created| {
                    let how = if created.is_new { "created" } else { "there already" };
                    format!("{how} as {}", created.log)
                })
            }
            "settings" => {
                let (log, change) = (words.log(), words.change());
                said(self.propose(ChangeSettings { stamp, log, change }), |_| "ok".to_owned())
            }
            "delete" => said(self.propose(DeleteLog { stamp, log: words.log() }), |log| {
                format!("deleted {log}")
            }),
            "trim" => {
                let to = Position::new(words.number("to").unwrap());
                let bytes_before = words.number("bytes").unwrap();
                let command = TrimLog { stamp, log: words.log(), to, bytes_before };
                said(self.propose(command), |trimmed| {
                    format!("[{}, {})", trimmed.first, trimmed.tail)
                })
            }
            "seal" => said(self.propose(SealLog { stamp, log: words.log() }), |tail| {
                format!("sealed at {tail}")
            }),
            "fence" => {
                let fence = words.plain.get(1).map(|fence| Fence::new(fence).unwrap());
                let command = SetFence { stamp, log: words.log(), fence };
                said(self.propose(command), |_| "ok".to_owned())
            }
            "cursor" => {
                let cursor = CursorName::new(words.plain(1)).unwrap();
                let position = Position::new(words.plain(2).parse().unwrap());
                let expected = words.plain.get(3).map(|at| Position::new(at.parse().unwrap()));
                let command = SetCursor { stamp, log: words.log(), cursor, expected, position };
                said(self.propose(command), |_| "ok".to_owned())
            }
            "forget" => {
                let cursor = CursorName::new(words.plain(1)).unwrap();
                let command = DeleteCursor { stamp, log: words.log(), cursor };
                said(self.propose(command), |deleted| {
                    if deleted.existed { "forgotten" } else { "was not there" }.to_owned()
                })
            }
            "renew" => said(self.propose(RenewLog { stamp, log: words.log() }), |log| {
                format!("renewed {log}")
            }),
            "let-expire" => {
                let logs = words.plain.iter().map(|id| LogId::new(id.parse().unwrap())).collect();
                format!("{} expired", self.propose(ExpireLogs { stamp, logs }))
            }
            "expire" => {
                let idle = Duration::from_millis(words.number("idle").unwrap());
                let expired = self.propose(ExpireProducers { stamp, idle });
                format!("{} producers, {} keys", expired.producer_count, expired.key_count)
            }
            "found" => {
                let founding = founding(&words);
                said(self.propose(Found { stamp, founding }), |()| "ok".to_owned())
            }
            "admit" => {
                let nonce = words.plain(0).parse().unwrap();
                let node = NodeRow { zone: words.plain(1).to_owned(), ..NodeRow::default() };
                format!("replica {}", self.propose(AdmitReplica { stamp, nonce, node }))
            }
            "begin" => {
                let begun = self.propose(BeginChange {
                    stamp,
                    intent: IntentRow {
                        epoch: words.number("epoch").unwrap(),
                        voters: words.ids("voters"),
                        leaves: words.ids("leaves"),
                        ..IntentRow::default()
                    },
                    newcomers: words.plain.iter().map(|text| newcomer(text)).collect(),
                });
                said(begun, |begun| {
                    let joins: Vec<_> = begun.joins.iter().map(ToString::to_string).collect();
                    format!("change {} joins [{}]", begun.change, joins.join(", "))
                })
            }
            "move" => {
                let moved = self.propose(MoveChange {
                    stamp,
                    change: words.plain(0).parse().unwrap(),
                    from: stage(words.plain(1)),
                    to: stage(words.plain(2)),
                    outcome: words.pairs.get("because").copied().unwrap_or("").to_owned(),
                });
                said(moved, |()| "moved".to_owned())
            }
            "checkpoint" => {
                let label = words.pairs.get("label");
                let label = label.map(|label| CheckpointLabel::new(label).unwrap());
                let made = self.propose(MakeCheckpoint { stamp, label });
                said(made, |index| format!("made at {index}"))
            }
            "certify" => {
                let digest = u8::try_from(words.number("digest").unwrap()).unwrap();
                let attested_by = words.pairs["by"].split(',').filter(|id| !id.is_empty());
                let certified = self.propose(CertifyCheckpoint {
                    stamp,
                    checkpoint: EntryIndex::new(words.plain(0).parse().unwrap()),
                    digest: Digest::new([digest; 32]),
                    attested_by: attested_by.map(|id| id.parse().unwrap()).collect(),
                });
                said(certified, |certified| {
                    if certified.is_new { "certified" } else { "was certified" }.to_owned()
                })
            }
            "release" => {
                let checkpoint = EntryIndex::new(words.plain(0).parse().unwrap());
                let released = self.propose(ReleaseCheckpoint { stamp, checkpoint });
                said(released, |()| "released".to_owned())
            }
            "membership" => self.membership(&words),
            "blank" => {
                self.apply(&EntryBody::Blank);
                String::new()
            }
            "reload" => {
                self.take_rows();
                self.machine = Machine::load(self.machine.manifest().unwrap()).unwrap();
                String::new()
            }
            _ => self.look(line, &words),
        }
    }

    fn look(&mut self, line: &str, words: &Words<'_>) -> String {
        let log = words.plain.first().and_then(|text| self.machine.log(&name(text)));
        match (line.split_whitespace().next().unwrap_or(""), log) {
            ("tail", Some(log)) => log.tail().to_string(),
            ("log", Some(log)) => {
                let view = log.view();
                let fence = view.fence.map_or("none".to_owned(), |fence| fence.to_string());
                format!(
                    "id {} [{}, {}) bytes {} of {} created {} last {} sealed {} fence {fence}",
                    view.id,
                    view.trim,
                    view.tail,
                    view.bytes_at_tail - view.bytes_at_trim,
                    view.bytes_at_tail,
                    view.created.as_millis(),
                    view.last_time.as_millis(),
                    view.sealed,
                )
            }
            ("settings-of", Some(log)) => {
                let settings = log.view().settings;
                format!(
                    "age {:?} bytes {:?} type {:?} record {:?}",
                    settings.retention_age,
                    settings.retention_bytes,
                    settings.content_type,
                    settings.record_bytes_max
                )
            }
            ("root", Some(log)) => log.root().to_string(),
            ("cursors", Some(log)) => listed(log.cursors().map(|(c, at)| format!("{c} {at}"))),
            ("producers", Some(log)) => listed(log.producers.rows().map(|(id, row)| {
                let first = row.last_sequence + 1 - u64::try_from(row.batches.len()).unwrap();
                format!("{id} epoch {} sequences {first}-{}", row.epoch, row.last_sequence)
            })),
            ("keys", Some(log)) => {
                listed(log.keys.ordinals().map(|ordinal| log.keys.row(ordinal).unwrap().key))
            }
            ("logs", _) => {
                listed(self.machine.logs().map(|log| format!("{} {}", log.id(), log.name())))
            }
            ("replicas", _) => {
                listed(self.machine.admissions().map(|(id, node)| format!("{id} {}", node.zone)))
            }
            ("checkpoints", _) => listed(self.machine.checkpoints().map(|checkpoint| {
                let label = checkpoint.label.map_or(String::new(), |label| format!(" {label}"));
                let by = checkpoint.certificate.map_or(String::new(), |certificate| {
                    let by: Vec<_> =
                        certificate.attested_by.iter().map(ToString::to_string).collect();
                    format!(" certified by {} at entry {}", by.join(","), certificate.entry)
                });
                let pin = if checkpoint.is_pinned { " pinned" } else { "" };
                format!("{}{label}{pin}{by}", checkpoint.entry.index)
            })),
            ("changes", _) => listed(self.machine.member_changes().map(|(change, row)| {
                let IntentRow { voters, leaves, nodes, .. } = &row.intent;
                let ended = row.ended.map_or(String::new(), |ended| format!(" ended {ended}"));
                let why = if row.outcome.is_empty() { "" } else { ": " };
                let (stage, joins, comes) = (row.stage, &row.joins, nodes.keys());
                format!(
                    "{change} {stage:?} voters {voters:?} joins {joins:?} of {:?} leaves \
                     {leaves:?} began {}{ended}{why}{}",
                    comes.collect::<Vec<_>>(),
                    row.began,
                    row.outcome
                )
            })),
            ("under-way", _) => {
                self.machine.change_under_way().map_or("none".to_owned(), |(n, _)| n.to_string())
            }
            ("members", _) => self.machine.membership().map_or("none".to_owned(), |(id, row)| {
                format!("{:?} by entry {}", row.configs, id.index)
            }),
            ("cluster", _) => self.machine.cluster().map_or("none".to_owned(), |founding| {
                let generation = match founding.generation.number {
                    1 => String::new(),
                    later => format!(", generation {later}"),
                };
                format!("{} for {} voters{generation}", founding.cluster, founding.expect_voters)
            }),
            ("clock", _) => self.machine.last_stamp().as_millis().to_string(),
            ("digest", _) => self.machine.rolling_digest().to_string(),
            ("delta", _) => tell_delta(&self.delta),
            ("act", _) => tell_act(&self.delta),
            ("rows", _) => self.take_rows(),
            ("tail" | "log" | "root" | "cursors" | "producers" | "keys", None) => {
                "no such log".to_owned()
            }
            _ => panic!("nobody knows what this means: {line:?}"),
        }
    }

    /// Starts anew with other limits.
    fn limits(&mut self, words: &Words<'_>) -> String {
        *self = Self { machine: Machine::new(limits(words)), ..Self::new() };
        String::new()
    }

    /// `membership 1,2,3` or, while joint, `membership 1,2 2,3`.
    fn membership(&mut self, words: &Words<'_>) -> String {
        let ids = |text: &str| text.split(',').map(|id| id.parse().unwrap()).collect();
        let configs: Vec<BTreeSet<u64>> = words.plain.iter().map(|text| ids(text)).collect();
        let voters = configs.iter().flatten();
        let nodes = voters.map(|voter| (*voter, NodeRow::default())).collect();
        let membership = MembershipRow { configs, nodes };
        let payload = Payload::new(membership.to_bytes().into());
        self.apply(&EntryBody::Membership(payload));
        String::new()
    }

    fn append(&mut self, lines: &[&str]) -> String {
        let words: Vec<Words<'_>> = lines.iter().map(|line| Words::of(line)).collect();
        let items = words.iter().map(Words::append_item).collect();
        let outcomes = self.propose(Append { stamp: self.stamp, items });
        let told = outcomes.into_iter().zip(&words).map(|(outcome, words)| {
            said(outcome, |appended| {
                let how = if appended.replayed { " already stored" } else { "" };
                let sealed = if appended.sealed { " sealed" } else { "" };
                let last = appended.last_sequence.map(|last| format!(" newest {last}"));
                // Told only where a story asks for it: most are about something else.
                let last = last.filter(|_| words.pairs.contains_key("tell")).unwrap_or_default();
                let (first, next) = (appended.first, appended.next);
                format!("{} [{first}, {next}){how}{sealed}{last}", words.plain(0))
            })
        });
        listed(told)
    }

    /// Encodes a command, reads it back, and applies it.
    fn propose<P: Proposal>(&mut self, proposal: P) -> P::Outcome {
        let payload = match self.author.take() {
            Some(author) => OnBehalf { author, command: proposal }.encode(),
            None => proposal.encode(),
        };
        let command = Command::decode(&payload.bytes).unwrap();
        assert_eq!(super::codec::encode_command(&command).bytes, payload.bytes);
        P::outcome(self.apply(&EntryBody::Command(payload)))
    }

    fn apply(&mut self, body: &EntryBody) -> Outcome {
        self.index += 1;
        let id = EntryId::new(Term::new(1), 1, EntryIndex::new(self.index));
        let Applied { outcome, delta } = self.machine.apply(id, body);
        self.delta = delta;
        outcome
    }

    /// Takes the rows that changed, and names them.
    fn take_rows(&mut self) -> String {
        let changes = self.machine.take_changes();
        let named = changes.rows.iter().map(|row| {
            let key: String = row.key.escape_ascii().to_string();
            let what = if row.value.is_some() { "write" } else { "delete" };
            format!("{what} {:?} {key}", row.table)
        });
        let tiles = changes.tiles.iter().map(|(tile, _)| {
            format!("tile {} level {} number {}", tile.log, tile.level, tile.number)
        });
        let deleted = changes.deleted_logs.iter().map(|log| format!("drop {log}"));
        let told = listed(named.chain(tiles).chain(deleted));
        for row in changes.rows {
            let key = (row.table, row.key);
            match row.value {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
        told
    }

    /// The rows taken bit by bit are those of the whole, and a machine made of them has the same. A
    /// clone gives its rows, so that the story's own changes are still there to be looked at.
    fn check_invariants(&mut self) {
        let Some(manifest) = self.machine.manifest() else {
            return;
        };
        let (machine, rows) = (self.machine.clone(), self.rows.clone());
        self.take_rows();
        let digest = self.machine.state_digest();
        let mut builder = ManifestBuilder::default();
        for ((table, key), value) in &self.rows {
            builder.add(*table, key, value).unwrap();
        }
        assert_eq!(builder.finish().unwrap(), manifest, "rows taken bit by bit are the whole");
        (self.machine, self.rows) = (machine, rows);
        let loaded = Machine::load(manifest.clone()).unwrap();
        assert_eq!(loaded.state_digest(), digest, "the digest taken bit by bit is the whole's");
        assert_eq!(loaded.manifest(), Some(manifest), "a loaded machine has the same rows");
        for log in self.machine.logs() {
            assert!(log.view().trim <= log.view().tail, "trim point <= tail");
        }
    }
}

fn founding(words: &Words<'_>) -> Founding {
    let cluster: u8 = words.plain(0).parse().unwrap();
    Founding {
        cluster: ClusterId::new([cluster; 16]),
        generation: GenerationRow {
            number: u32::try_from(words.number("generation").unwrap_or(1)).unwrap(),
            random: 1,
        },
        timings: Timings::default(),
        limits: limits(words),
        expect_voters: u8::try_from(words.number("voters").unwrap_or(1)).unwrap(),
    }
}

fn limits(words: &Words<'_>) -> MachineLimits {
    let all = MachineLimits::default();
    let max = |key, default| words.number(key).map_or(default, |max| u32::try_from(max).unwrap());
    let time = |key, default| words.number(key).map_or(default, Duration::from_millis);
    MachineLimits {
        logs_max: max("logs", all.logs_max),
        producers_max: max("producers", all.producers_max),
        cursors_max: max("cursors", all.cursors_max),
        keys_max: max("keys", all.keys_max),
        keys_per_log_max: max("keys_per_log", all.keys_per_log_max),
        key_age_max: time("key_age", all.key_age_max),
        producer_idle_max: time("idle_max", all.producer_idle_max),
        producer_idle_min: time("idle_min", all.producer_idle_min),
    }
}

fn said<T>(result: Result<T, Rejection>, say: impl FnOnce(T) -> String) -> String {
    result.map_or_else(|rejection| format!("refused: {rejection}"), say)
}

fn listed(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// The record of the activity that the last command left.
fn tell_act(delta: &Delta) -> String {
    let Some(run) = delta.runs.last().filter(|run| run.log == LogId::new(ACTIVITY_LOG_ID)) else {
        return "none".to_owned();
    };
    let record = run_records(&run.records).next().unwrap().unwrap();
    let body = Untimed::decode(record).unwrap().body().to_vec();
    let ActivityRow { by, from, act } = ActivityRow::decode(&body).unwrap();
    format!("{} at {} by {by} from {from}: {act:?}", run.first, run.time.as_millis())
}

fn tell_delta(delta: &Delta) -> String {
    let mut told = String::new();
    for run in &delta.runs {
        let bodies: Vec<&str> = run_records(&run.records)
            .map(|record| str::from_utf8(Untimed::decode(record.unwrap()).unwrap().body()).unwrap())
            .collect();
        let (log, first, next) = (run.log, run.first, run.next());
        let (time, before) = (run.time.as_millis(), run.bytes_before);
        writeln!(
            told,
            "run {log} [{first}, {next}) at {time} after {before} bytes: {}",
            bodies.join(" ")
        )
        .unwrap();
    }
    for view in &delta.logs {
        writeln!(told, "log {} {} [{}, {})", view.id, view.name, view.trim, view.tail).unwrap();
        assert_eq!(view.frontier.size(), view.tail.get());
        assert_ne!(view.frontier.root(), Digest::default());
    }
    for (name, id) in &delta.deleted {
        writeln!(told, "deleted {id} {name}").unwrap();
    }
    for (log, name, position) in &delta.cursors {
        let at = position.map_or("gone".to_owned(), |position| position.to_string());
        writeln!(told, "cursor {log} {name} {at}").unwrap();
    }
    if told.is_empty() { "nothing".to_owned() } else { told.trim_end().to_owned() }
}
