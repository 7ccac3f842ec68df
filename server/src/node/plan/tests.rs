//! Each check in a plan in which it fires, with its text; a plan in which nothing fires; and wishes that are none.
//!
//! The scene: replicas 1 to 3 on hosts and in zones of their own, of which 1 leads; and a process that waits at
//! `http://d:7001`. Each test changes one thing in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::api::cluster::{JoinFolder, Joiner, Reach};
use client::api::plans::{Check, CheckId, CheckLevel, MemberName, Plan, PlanVerdict, Wish};
use client::types::{ChangeId, ClusterId, Epoch, ReplicaAddr, ReplicaId, Timestamp, Zone};

use super::grounds::{Grounds, Probe, Standing, UnderWay, Versions};
use super::plan;
use crate::node::error::PlanError;

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn addr(text: &str) -> ReplicaAddr {
    ReplicaAddr::new(text).unwrap()
}

fn named(number: u64) -> MemberName {
    MemberName::Replica(id(number))
}

/// Replica 1 on host a in zone za, and so on.
fn standing(letter: char) -> Standing {
    Standing {
        addr: addr(&format!("http://{letter}:7001")),
        peer_addr: addr(&format!("http://{letter}:8001")),
        zone: format!("z{letter}"),
        silence: Some(Duration::from_millis(30)),
        lag_entries: 0,
        lag_bytes: 0,
        is_fit_to_lead: true,
    }
}

fn joiner(letter: char) -> Joiner {
    let reach = |number| Reach { id: id(number), round_trip_us: Some(400) };
    Joiner {
        addr: addr(&format!("http://{letter}:7001")),
        peer_addr: addr(&format!("http://{letter}:8001")),
        zone: Zone::new(&format!("z{letter}")).unwrap(),
        version: "0.1.0".to_owned(),
        free_bytes: Some(100 << 30),
        as_learner: false,
        machine_version: Some(1),
        format_version: Some(1),
        clock_ahead_ms: Some(3),
        folder: Some(JoinFolder::Empty),
        reaches: (1..=3).map(reach).collect(),
        since: Timestamp::EPOCH,
    }
}

fn reached(us: [u64; 3]) -> BTreeMap<ReplicaId, Probe> {
    let probes = us.map(|round_trip_us| Probe::Reached { round_trip_us });
    (1..).map(id).zip(probes).collect()
}

fn grounds() -> Grounds {
    Grounds {
        cluster: ClusterId::new([7; 16]),
        epoch: Epoch::new(23),
        leader: id(1),
        configs: vec![BTreeSet::from([id(1), id(2), id(3)])],
        replicas: (1..).map(id).zip(['a', 'b', 'c'].map(standing)).collect(),
        joiners: vec![joiner('d'), joiner('e')],
        reach: BTreeMap::from([
            (addr("http://d:8001"), reached([400, 1_100, 2_100])),
            (addr("http://e:8001"), reached([400, 400, 400])),
        ]),
        versions: Versions { product: "0.1.0".to_owned(), machine: 1, format: 1 },
        stored_bytes: 18 << 30,
        bytes_per_second: Some(120_000_000),
        under_way: None,
        leaders_lately: 1,
        answered_within: Duration::from_millis(500),
    }
}

/// The scene with something changed in it.
fn with(change: impl FnOnce(&mut Grounds)) -> Grounds {
    let mut grounds = grounds();
    change(&mut grounds);
    grounds
}

fn silent(number: u64, secs: u64) -> impl FnOnce(&mut Grounds) {
    move |grounds| {
        let silence = &mut grounds.replicas.get_mut(&id(number)).unwrap().silence;
        *silence = Some(Duration::from_secs(secs));
    }
}

fn joining(change: impl FnOnce(&mut Joiner)) -> impl FnOnce(&mut Grounds) {
    move |grounds| change(&mut grounds.joiners[0])
}

fn add() -> Wish {
    Wish::Add { joiners: vec![addr("http://d:7001")], as_learner: false }
}

fn remove(numbers: &[u64]) -> Wish {
    Wish::Remove { replicas: numbers.iter().copied().map(id).collect() }
}

fn replace(number: u64) -> Wish {
    Wish::Replace { replica: id(number), by: addr("http://d:7001") }
}

fn planned(wish: &Wish, grounds: &Grounds) -> Plan {
    plan(wish, grounds).unwrap()
}

fn check(plan: &Plan, id: CheckId) -> &Check {
    plan.checks.iter().find(|check| check.id == id).unwrap()
}

/// Level, line, and what overrides it.
#[track_caller]
fn assert_found(plan: &Plan, id: CheckId, level: CheckLevel, line: &str, typed: Option<&str>) {
    let check = check(plan, id);
    assert_eq!((check.level, check.line.as_str()), (level, line), "{id}");
    assert_eq!(check.type_to_override.as_deref(), typed, "{id}");
    assert_eq!(check.fix.is_some(), level >= CheckLevel::Warn, "{id}: what is wrong has a fix");
}

#[test]
fn a_replacement_in_good_order_passes_every_check() {
    let plan = planned(&replace(3), &grounds());
    let lines: Vec<_> =
        plan.checks.iter().map(|it| format!("{} {} {}", it.id, it.level, it.line)).collect();
    assert_eq!(
        lines,
        [
            "P1 pass Afterwards 3 replicas vote and 1 may fail.",
            "P2 pass All 3 voters are here and caught up.",
            "P3 pass Afterwards all 3 voters are ready.",
            "P4 pass Replica 1 leads and stays.",
            "P5 pass The number of voters stays 3.",
            "P6 pass http://d:7001 and every voter that stays reach each other: 0.4 ms – 1.1 ms, both ways.",
            "P7 pass http://d:7001 is version 0.1.0, machine 1, format 1: as the group.",
            "P8 pass The folder of http://d:7001 is empty.",
            "P9 pass http://d:7001 shares neither host nor zone with another replica.",
            "P10 pass http://d:7001 has 100.0 GiB free, needs about 27.0 GiB.",
            "P11 pass The clock of http://d:7001 is 3 ms ahead of the leader's.",
            "P12 pass No other change is under way.",
            "P13 pass One leader within 60 s.",
            "P14 note Will copy 18.0 GiB; about 2 min at the rate seen last.",
            "P15 pass Afterwards no single host or zone holds too many voters.",
            "P16 pass Replica 3 answers and will be told.",
        ]
    );
    assert_eq!(plan.verdict, PlanVerdict::Ready);
    assert_eq!((plan.epoch, plan.leaves.as_slice()), (Epoch::new(23), &[id(3)][..]));
    let meanwhile = plan.meanwhile.unwrap();
    assert_eq!((plan.now.may_fail, meanwhile.may_fail, plan.after.may_fail), (1, 1, 1));
    assert_eq!(meanwhile.voters.len(), 4);
    assert_eq!(plan.joins[0].joiner.addr, addr("http://d:7001"));
    assert_eq!((plan.copy_bytes, plan.copy_ms), (Some(18 << 30), Some(161_061)));
    assert_eq!(plan.command, "quorate cluster replace 3 --by http://d:7001 --if-epoch 23");
    assert_eq!(
        plan.curl,
        "curl -X POST http://a:7001/v1/cluster/changes -H 'content-type: application/json' -H 'if-match: \"23\"' \
         -d '{\"wish\":{\"replace\":{\"replica\":3,\"by\":\"http://d:7001\"}}}'"
    );
}

#[test]
fn p1_a_group_that_could_lose_one_is_not_made_one_that_cannot() {
    let plan = planned(&remove(&[3]), &grounds());
    let line = "Afterwards 2 replicas vote and none may fail, where 1 might before: appends stop at the first fault.";
    assert_found(&plan, CheckId::P1, CheckLevel::Block, line, Some("3"));
    assert_eq!(plan.verdict, PlanVerdict::NeedsOverride);
    let both = planned(&remove(&[2, 3]), &grounds());
    assert_eq!(check(&both, CheckId::P1).type_to_override.as_deref(), Some("2 3"));
    let demoted = Wish::Set { voters: vec![named(1)], learners: vec![named(2), named(3)] };
    let demoted = planned(&demoted, &grounds());
    assert_eq!(check(&demoted, CheckId::P1).type_to_override.as_deref(), Some("2 3"));
    // It never tolerated any, and a second voter changes nothing about that.
    let alone = with(|grounds| {
        grounds.configs = vec![BTreeSet::from([id(1)])];
        grounds.replicas.retain(|other, _| *other == id(1));
    });
    let line = "Afterwards 2 replicas vote and none may fail.";
    let plan = planned(&add(), &alone);
    let found = check(&plan, CheckId::P1);
    assert_eq!((found.level, found.line.as_str()), (CheckLevel::Note, line));
}

#[test]
fn p2_without_a_majority_nothing_is_changed() {
    let grounds = with(|grounds| {
        silent(2, 31)(grounds);
        grounds.replicas.get_mut(&id(3)).unwrap().lag_entries = 1_001;
    });
    let plan = planned(&add(), &grounds);
    let line = "Only 1 of 3 voters are here and caught up, which is no majority: replica 2 has not answered for \
                31 s and replica 3 is 1001 entries and 0 B behind.";
    assert_found(&plan, CheckId::P2, CheckLevel::Block, line, None);
    assert_eq!(plan.verdict, PlanVerdict::Blocked);
    assert_eq!((plan.now.tolerates, plan.now.may_fail, plan.now.has_majority), (1, 0, false));
    let bytes = with(|grounds| {
        silent(2, 31)(grounds);
        grounds.replicas.get_mut(&id(3)).unwrap().lag_bytes = (8 << 20) + 1;
    });
    assert_eq!(check(&planned(&add(), &bytes), CheckId::P2).level, CheckLevel::Block);
}

#[test]
fn p3_removing_one_while_another_is_down_would_stop_the_group() {
    let plan = planned(&remove(&[3]), &with(silent(2, 31)));
    let line = "Afterwards only 1 of 2 voters are ready, which is no majority, so the change would stop the group at \
                once: replica 2 has not answered for 31 s.";
    assert_found(&plan, CheckId::P3, CheckLevel::Block, line, None);
    assert_eq!(plan.verdict, PlanVerdict::Blocked);
    let meanwhile = plan.meanwhile.unwrap();
    assert_eq!((plan.now.may_fail, meanwhile.has_majority), (0, false));
    // The dead one is the one to remove or to replace.
    assert_eq!(planned(&remove(&[2]), &with(silent(2, 31))).verdict, PlanVerdict::NeedsOverride);
    let replaced = planned(&replace(2), &with(silent(2, 31)));
    assert_eq!((replaced.verdict, replaced.after.may_fail), (PlanVerdict::Ready, 1));
}

#[test]
fn p4_a_leader_that_leaves_hands_over_to_whom_it_says() {
    let grounds = with(|grounds| grounds.replicas.get_mut(&id(2)).unwrap().lag_entries = 5);
    let plan = planned(&replace(1), &grounds);
    let line = "Replica 1 leads and will have no vote: leadership goes to replica 3 first.";
    assert_found(&plan, CheckId::P4, CheckLevel::Note, line, None);
    assert_eq!((plan.hand_over_to, plan.verdict), (Some(id(3)), PlanVerdict::Ready));
    assert_eq!(planned(&replace(3), &grounds).hand_over_to, None, "it stays");
    let lead = |grounds| planned(&Wish::Lead { replica: id(2) }, &grounds);
    let plan = lead(grounds.clone());
    let line = "Leadership goes from replica 1 to replica 2.";
    assert_found(&plan, CheckId::P4, CheckLevel::Note, line, None);
    assert_eq!((plan.hand_over_to, plan.meanwhile), (Some(id(2)), None));
    let plan = lead(with(silent(2, 31)));
    let line = "Replica 2 cannot lead now: replica 2 has not answered for 31 s.";
    assert_found(&plan, CheckId::P4, CheckLevel::Block, line, None);
    let unfit = with(|grounds| grounds.replicas.get_mut(&id(2)).unwrap().is_fit_to_lead = false);
    assert_eq!(check(&lead(unfit), CheckId::P4).level, CheckLevel::Block);
}

#[test]
fn p5_an_even_number_of_voters_is_worth_a_word() {
    let plan = planned(&add(), &grounds());
    let line = "4 voters tolerate no more failures than 3.";
    assert_found(&plan, CheckId::P5, CheckLevel::Warn, line, None);
    let two = Wish::Add {
        joiners: vec![addr("http://d:7001"), addr("http://e:7001")],
        as_learner: false,
    };
    let plan = planned(&two, &grounds());
    assert_eq!(check(&plan, CheckId::P5).level, CheckLevel::Pass);
    assert_eq!((plan.after.may_fail, plan.copy_bytes), (2, Some(36 << 30)));
}

#[test]
fn p6_who_comes_and_every_voter_reach_each_other() {
    let cut = with(|grounds| {
        let probes = grounds.reach.get_mut(&addr("http://d:8001")).unwrap();
        probes.insert(id(2), Probe::Unreached);
    });
    let plan = planned(&add(), &cut);
    let line = "http://d:7001 is cut off: replica 2 does not reach it.";
    assert_found(&plan, CheckId::P6, CheckLevel::Block, line, Some("http://d:7001"));
    let one_way = with(joining(|joiner| joiner.reaches[2].round_trip_us = None));
    let line = "http://d:7001 is cut off: it does not reach replica 3.";
    let plan = planned(&add(), &one_way);
    assert_found(&plan, CheckId::P6, CheckLevel::Block, line, Some("http://d:7001"));
    let slow = with(|grounds| {
        grounds.reach.insert(addr("http://d:8001"), reached([400, 400, 9_000]));
    });
    let line = "http://d:7001 is far from replica 3: 9.0 ms, where half are below 0.4 ms.";
    assert_found(&planned(&add(), &slow), CheckId::P6, CheckLevel::Warn, line, None);
    let early = with(joining(|joiner| joiner.reaches.truncate(2)));
    let line = "http://d:7001: it is not known whether it reaches replica 3.";
    assert_found(&planned(&add(), &early), CheckId::P6, CheckLevel::Warn, line, None);
    // Who is down reaches nobody, and that says nothing about the newcomer.
    let down = with(|grounds| {
        silent(3, 31)(grounds);
        let probes = grounds.reach.get_mut(&addr("http://d:8001")).unwrap();
        probes.insert(id(3), Probe::Unasked);
        grounds.joiners[0].reaches[2].round_trip_us = None;
    });
    assert_eq!(check(&planned(&add(), &down), CheckId::P6).level, CheckLevel::Warn);
    assert_eq!(check(&planned(&replace(3), &down), CheckId::P6).level, CheckLevel::Pass);
}

#[test]
fn p6_who_moves_is_reached_at_the_new_address() {
    let wish = Wish::Relocate {
        replica: id(2),
        addr: addr("http://f:7001"),
        peer_addr: addr("http://f:8001"),
    };
    let unreached = BTreeMap::from([(id(1), Probe::Unreached), (id(3), Probe::Unreached)]);
    let cut = with(|grounds| drop(grounds.reach.insert(addr("http://f:8001"), unreached)));
    let plan = planned(&wish, &cut);
    let line =
        "http://f:8001 is cut off: replica 1 does not reach it and replica 3 does not reach it.";
    assert_found(&plan, CheckId::P6, CheckLevel::Block, line, Some("2"));
    let there =
        with(|grounds| drop(grounds.reach.insert(addr("http://f:8001"), reached([400; 3]))));
    let plan = planned(&wish, &there);
    assert_eq!((plan.verdict, plan.meanwhile, plan.joins.len()), (PlanVerdict::Ready, None, 0));
    assert_eq!(
        plan.command,
        "quorate cluster relocate 2 --addr http://f:7001 --peer-addr http://f:8001 --if-epoch 23"
    );
}

#[test]
fn p7_versions_that_do_not_fit_are_refused() {
    let grounds = with(joining(|joiner| {
        joiner.version = "0.9.0".to_owned();
        joiner.machine_version = Some(2);
    }));
    let plan = planned(&add(), &grounds);
    let line =
        "http://d:7001 is version 0.9.0, machine 2, format 1; the group has machine 1, format 1.";
    assert_found(&plan, CheckId::P7, CheckLevel::Block, line, None);
    let untold = planned(&add(), &with(joining(|joiner| joiner.format_version = None)));
    assert_eq!(check(&untold, CheckId::P7).level, CheckLevel::Block);
    let other = planned(&add(), &with(joining(|joiner| joiner.version = "0.1.1".to_owned())));
    assert_eq!(check(&other, CheckId::P7).level, CheckLevel::Note);
}

#[test]
fn p8_a_folder_that_is_not_empty_is_refused_with_the_way_out() {
    let found = |folder| planned(&add(), &with(joining(|joiner| joiner.folder = folder)));
    let of =
        |byte| JoinFolder::Replica { cluster: ClusterId::new([byte; 16]), replica: Some(id(2)) };
    let cases = [
        (
            Some(of(7)),
            "The folder of http://d:7001 holds what replica 2 of this cluster left there: it is never used again.",
        ),
        (
            Some(of(8)),
            "The folder of http://d:7001 belongs to cluster 08080808-0808-0808-0808-080808080808.",
        ),
        (
            Some(JoinFolder::Foreign),
            "The folder of http://d:7001 holds something that is not Quorate's.",
        ),
        (None, "http://d:7001 does not tell what its folder holds."),
    ];
    for (folder, line) in cases {
        assert_found(&found(folder), CheckId::P8, CheckLevel::Block, line, None);
    }
    // A wiped replica came back at its address: it is replaced, not added.
    let wiped = with(|grounds| {
        silent(3, 31)(grounds);
        grounds.joiners[0].peer_addr = addr("http://c:8001");
    });
    let plan = planned(&add(), &wiped);
    let line = "Replica 3 answers at the addresses of http://d:7001: it lost its folder, or the address is wrong.";
    assert_found(&plan, CheckId::P8, CheckLevel::Block, line, None);
    let fix = check(&plan, CheckId::P8).fix.as_deref();
    assert_eq!(fix, Some("Replace it: quorate cluster replace 3 --by http://d:7001"));
    assert_eq!(check(&planned(&replace(3), &wiped), CheckId::P8).level, CheckLevel::Pass);
}

#[test]
fn p9_sharing_a_host_or_a_zone_is_worth_a_word() {
    let zone = with(joining(|joiner| joiner.zone = Zone::new("zb").unwrap()));
    let plan = planned(&add(), &zone);
    let line = "http://d:7001 shares zone zb with replica 2.";
    assert_found(&plan, CheckId::P9, CheckLevel::Warn, line, None);
    let host = with(joining(|joiner| joiner.peer_addr = addr("http://b:8002")));
    let plan = planned(&add(), &host);
    let line = "http://d:7001 shares host b with replica 2.";
    assert_found(&plan, CheckId::P9, CheckLevel::Warn, line, None);
    assert_eq!(check(&planned(&replace(2), &zone), CheckId::P9).level, CheckLevel::Pass);
    let nowhere = with(|grounds| {
        grounds.joiners[0].zone = Zone::default();
        grounds.replicas.get_mut(&id(2)).unwrap().zone = String::new();
    });
    assert_eq!(check(&planned(&add(), &nowhere), CheckId::P9).level, CheckLevel::Pass);
}

#[test]
fn p10_the_disk_of_who_comes_holds_everything() {
    let free = |bytes| planned(&add(), &with(joining(|joiner| joiner.free_bytes = bytes)));
    let line = "http://d:7001 has 17.0 GiB free, and 18.0 GiB are to be stored.";
    let plan = free(Some(17 << 30));
    assert_found(&plan, CheckId::P10, CheckLevel::Block, line, Some("http://d:7001"));
    let line = "http://d:7001 has 20.0 GiB free, needs about 27.0 GiB.";
    assert_found(&free(Some(20 << 30)), CheckId::P10, CheckLevel::Warn, line, None);
    let line = "http://d:7001 does not tell how much room its disk has.";
    assert_found(&free(None), CheckId::P10, CheckLevel::Warn, line, None);
    assert_eq!(check(&free(Some(27 << 30)), CheckId::P10).level, CheckLevel::Pass);
}

#[test]
fn p11_clocks_agree() {
    let ahead = |ms| planned(&add(), &with(joining(|joiner| joiner.clock_ahead_ms = ms)));
    let line = "The clock of http://d:7001 is 6 s behind the leader's.";
    assert_found(
        &ahead(Some(-6_000)),
        CheckId::P11,
        CheckLevel::Block,
        line,
        Some("http://d:7001"),
    );
    let line = "The clock of http://d:7001 is 900 ms ahead of the leader's.";
    assert_found(&ahead(Some(900)), CheckId::P11, CheckLevel::Warn, line, None);
    let line = "http://d:7001 does not tell what its clock shows.";
    assert_found(&ahead(None), CheckId::P11, CheckLevel::Warn, line, None);
    assert_eq!(check(&ahead(Some(-500)), CheckId::P11).level, CheckLevel::Pass);
}

#[test]
fn p12_one_change_at_a_time() {
    let change = UnderWay { change: Some(ChangeId::new(18)) };
    let plan = planned(&add(), &with(|grounds| grounds.under_way = Some(change)));
    let line = "Change 18 is under way, and one is made at a time.";
    assert_found(&plan, CheckId::P12, CheckLevel::Block, line, None);
    let joint = with(|grounds| {
        grounds.under_way = Some(UnderWay { change: None });
        grounds.configs.push(BTreeSet::from([id(1), id(2)]));
    });
    let plan = planned(&add(), &joint);
    let line = "The membership is just being changed.";
    assert_found(&plan, CheckId::P12, CheckLevel::Block, line, None);
    assert_eq!(plan.now.tolerates, 0, "of two sets the weaker one counts");
}

#[test]
fn p13_leadership_that_moved_lately_is_worth_a_word() {
    let plan = planned(&add(), &with(|grounds| grounds.leaders_lately = 3));
    let line = "There were 3 leaders within 60 s: leadership is not stable.";
    assert_found(&plan, CheckId::P13, CheckLevel::Warn, line, None);
}

#[test]
fn p14_what_it_costs_is_said() {
    let plan = planned(&add(), &with(|grounds| grounds.bytes_per_second = None));
    let line = "Will copy 18.0 GiB; how long that takes is not known, as no transfer was seen yet.";
    assert_found(&plan, CheckId::P14, CheckLevel::Note, line, None);
    assert_eq!(plan.copy_ms, None);
}

#[test]
fn p15_who_is_left_stands_apart() {
    let zone = with(|grounds| grounds.replicas.get_mut(&id(2)).unwrap().zone = "za".to_owned());
    let plan = planned(
        &replace(3),
        &with(|grounds| {
            grounds.replicas.get_mut(&id(2)).unwrap().zone = "za".to_owned();
        }),
    );
    let line = "Afterwards 2 of 3 voters stand in zone za: its loss stops appends.";
    assert_found(&plan, CheckId::P15, CheckLevel::Warn, line, None);
    assert_eq!(check(&planned(&replace(2), &zone), CheckId::P15).level, CheckLevel::Pass);
}

#[test]
fn p16_who_is_dead_cannot_be_told_that_it_leaves() {
    let plan = planned(&replace(3), &with(silent(3, 31)));
    let line = "Replica 3 has not answered for 31 s: it cannot be told that it leaves, and appends it took that no \
                majority has are given up.";
    assert_found(&plan, CheckId::P16, CheckLevel::Warn, line, None);
    let plan = planned(&replace(3), &with(silent(3, 9)));
    assert_eq!(check(&plan, CheckId::P16).level, CheckLevel::Pass);
}

#[test]
fn every_check_fires_in_one_of_these_tests() {
    let source = include_str!("tests.rs");
    for id in CheckId::ALL {
        let name = format!("fn {}_", id.as_str().to_lowercase());
        assert!(source.contains(&name), "no test of {id}");
    }
}

#[test]
fn who_asked_to_be_a_learner_is_added_as_one() {
    let plan = planned(&add(), &with(joining(|joiner| joiner.as_learner = true)));
    assert!(plan.joins[0].as_learner);
    assert_eq!((plan.after.voters.len(), plan.after.learners.len()), (3, 1));
    assert_eq!(plan.meanwhile, None, "nobody's vote changes");
    let ids: Vec<_> = plan.checks.iter().map(|check| check.id).collect();
    assert!(!ids.contains(&CheckId::P1) && ids.contains(&CheckId::P8));
    // Whoever names it a voter means that.
    let set = Wish::Set {
        voters: vec![named(1), named(2), MemberName::Joiner(addr("http://d:7001"))],
        learners: vec![named(3)],
    };
    let plan = planned(&set, &with(joining(|joiner| joiner.as_learner = true)));
    assert!(!plan.joins[0].as_learner);
    assert_eq!((plan.leaves.len(), plan.after.learners), (0, vec![named(3)]));
}

#[test]
fn of_two_processes_at_one_address_the_last_one_counts() {
    let grounds = with(|grounds| {
        let mut late = joiner('d');
        late.free_bytes = Some(1);
        grounds.joiners.push(late);
    });
    assert_eq!(planned(&add(), &grounds).joins[0].joiner.free_bytes, Some(1));
}

#[test]
fn a_wish_that_contradicts_itself_or_changes_nothing_is_an_error() {
    let d = addr("http://d:7001");
    let refused = |wish: &Wish| plan(wish, &grounds()).unwrap_err();
    let set = |voters: &[u64], learners: &[u64]| {
        let named = |ids: &[u64]| ids.iter().copied().map(named).collect();
        Wish::Set { voters: named(voters), learners: named(learners) }
    };
    let add = |joiners: &[&ReplicaAddr]| Wish::Add {
        joiners: joiners.iter().map(|addr| (*addr).clone()).collect(),
        as_learner: false,
    };
    let relocate = |number, addr: &str, peer_addr: &str| Wish::Relocate {
        replica: id(number),
        addr: self::addr(addr),
        peer_addr: self::addr(peer_addr),
    };
    let unknown = addr("http://x:7001");
    let nobody = PlanError::UnknownJoiner { addr: unknown.clone() };
    let cases = [
        (remove(&[9]), PlanError::UnknownReplica { replica: id(9) }),
        (set(&[1, 9], &[]), PlanError::UnknownReplica { replica: id(9) }),
        (Wish::Lead { replica: id(9) }, PlanError::UnknownReplica { replica: id(9) }),
        (relocate(9, "http://x:1", "http://x:2"), PlanError::UnknownReplica { replica: id(9) }),
        (add(&[&unknown]), nobody.clone()),
        (Wish::Replace { replica: id(3), by: unknown }, nobody),
        (add(&[&d, &d]), PlanError::NamedTwice { member: MemberName::Joiner(d.clone()) }),
        (remove(&[3, 3]), PlanError::NamedTwice { member: named(3) }),
        (set(&[1, 2], &[2]), PlanError::NamedTwice { member: named(2) }),
        (remove(&[1, 2, 3]), PlanError::NobodyVotes),
        (set(&[], &[1]), PlanError::NobodyVotes),
        (set(&[], &[]), PlanError::NobodyVotes),
        (
            Wish::Replace { replica: id(3), by: addr_of(3) },
            PlanError::UnknownJoiner { addr: addr_of(3) },
        ),
        (
            relocate(2, "http://c:7001", "http://x:2"),
            PlanError::AddressTaken { addr: addr_of(3), replica: id(3) },
        ),
    ];
    for (wish, error) in cases {
        assert_eq!(refused(&wish), error, "{wish:?}");
    }
    let nothing = [
        add(&[]),
        remove(&[]),
        set(&[3, 2, 1], &[]),
        Wish::Lead { replica: id(1) },
        relocate(2, "http://b:7001", "http://b:8001"),
    ];
    for wish in nothing {
        assert!(matches!(refused(&wish), PlanError::NothingToDo { .. }), "{wish:?}");
    }
    let learner = with(|grounds| grounds.configs = vec![BTreeSet::from([id(1), id(2)])]);
    let error = plan(&Wish::Lead { replica: id(3) }, &learner).unwrap_err();
    assert_eq!(error, PlanError::NoVoter { replica: id(3) });
}

fn addr_of(number: u64) -> ReplicaAddr {
    grounds().replicas[&id(number)].addr.clone()
}
