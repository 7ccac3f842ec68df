//! The pages about who is a replica: what a plan shows, what its form sends, how a change is told.

use client::api::changes::{Change, ChangeStage, ChangeStep, Override, StepState};
use client::api::cluster::{QuarantineInfo, QuarantineStage, Replacement, Role};
use client::api::error::{Actual, ErrorCode, Problem};
use client::api::plans::{
    Check, CheckId, CheckLevel, Footing, MemberName, Newcomer, Plan, PlanVerdict, Wish,
};
use client::api::transfers::{TransferDirection, TransferInfo, TransferStage};
use client::types::{ChangeId, EntryIndex, Epoch, Reason, Timestamp, Typed};

use super::fake::{Fake, addr, get, id, joiner, post, replica, status};

const ADD: &str = "/changes/new?add=http%3A%2F%2F127.0.0.1%3A7004";

fn check(check: CheckId, level: CheckLevel, typed: Option<&str>) -> Check {
    Check {
        id: check,
        level,
        line: format!("What {check} found."),
        fix: (level > CheckLevel::Note).then(|| format!("What helps {check}.")),
        type_to_override: typed.map(str::to_owned),
    }
}

fn plan(epoch: u64, checks: Vec<Check>) -> Plan {
    let footing = |voters: u64, may_fail| Footing {
        voters: (1..=voters).map(id).map(MemberName::Replica).collect(),
        learners: Vec::new(),
        tolerates: may_fail,
        may_fail,
        has_majority: true,
        sentence: format!("{voters} vote."),
    };
    Plan {
        wish: Wish::Add { joiners: vec![addr(7_004)], as_learner: false },
        epoch: Epoch::new(epoch),
        now: footing(3, 1),
        meanwhile: Some(footing(3, 0)),
        after: footing(4, 1),
        joins: vec![Newcomer { joiner: joiner(7_004), as_learner: false }],
        leaves: Vec::new(),
        hand_over_to: None,
        copy_bytes: None,
        copy_ms: None,
        verdict: PlanVerdict::of(&checks),
        checks,
        command: format!("quorate cluster add http://127.0.0.1:7004 --if-epoch {epoch}"),
        curl: "curl -X POST".to_owned(),
    }
}

fn passing(epoch: u64) -> Plan {
    plan(epoch, vec![check(CheckId::P1, CheckLevel::Pass, None)])
}

fn refused(code: ErrorCode, plan: Plan) -> Problem {
    let mut problem = Problem::new(code);
    problem.actual = Actual { plan: Some(Box::new(plan)), ..Actual::default() };
    problem
}

pub(super) fn change(number: u64, stage: ChangeStage) -> Change {
    let step = |name: &str, state| ChangeStep { name: name.to_owned(), state, detail: None };
    Change {
        id: ChangeId::new(number),
        wish: Wish::Replace { replica: id(3), by: addr(7_004) },
        stage,
        epoch: Epoch::new(23),
        began: Timestamp::new(1_000),
        ended: stage.is_over().then_some(Timestamp::new(42_000)),
        by: "somebody".to_owned(),
        from: Some("127.0.0.1".to_owned()),
        overrides: Vec::new(),
        joins: vec![id(4)],
        leaves: vec![id(3)],
        voters: vec![id(1), id(2), id(4)],
        waits_for: (!stage.is_over()).then(|| "replica 4 to catch up".to_owned()),
        steps: vec![
            step("joining as learner", StepState::Done),
            step("catching up", StepState::Active),
            step("voting", StepState::Waiting),
            step("leaving", StepState::Waiting),
        ],
        outcome: stage.is_over().then(|| "Replica 3 was replaced.".to_owned()),
        can_cancel: stage == ChangeStage::Joining,
    }
}

#[tokio::test]
async fn who_waits_to_join_is_one_click_away_from_its_plan() {
    let mut status = status();
    status.joiners = vec![joiner(7_004)];
    for path in ["/", "/replicas", "/changes/new"] {
        let (_, page) = get(status.clone(), path).await;
        assert!(page.contains(&format!("href=\"{ADD}\"")), "{path}: {page}");
    }
    let (_, page) = get(status, "/changes/new?replace=3").await;
    let place = "/changes/new?replace=3&#38;by=http%3A%2F%2F127.0.0.1%3A7004";
    assert!(page.contains(place), "{page}");
}

#[tokio::test]
async fn a_proposal_to_replace_leads_to_its_plan() {
    let mut status = status();
    status.replacement = Some(Replacement {
        wish: Wish::Replace { replica: id(3), by: addr(7_004) },
        silent_since: Timestamp::new(0),
        sentence: "Replica 3 has been silent for 10 minutes.".to_owned(),
        check: None,
    });
    let (_, page) = get(status, "/").await;
    assert!(page.contains("silent for 10 minutes") && page.contains("replace=3"), "{page}");
}

#[tokio::test]
async fn a_plan_shows_who_votes_every_check_and_the_same_for_a_terminal() {
    let level = |id| {
        let marked = [(CheckId::P5, CheckLevel::Warn), (CheckId::P14, CheckLevel::Note)];
        marked.iter().find(|(one, _)| *one == id).map_or(CheckLevel::Pass, |(_, level)| *level)
    };
    let checks = CheckId::ALL.iter().map(|id| check(*id, level(*id), None));
    let fake = Fake { plan: Ok(plan(23, checks.collect())), ..Fake::default() };
    let (response, page) = get(fake, ADD).await;
    assert_eq!(response.status(), 200);
    for id in CheckId::ALL {
        assert!(page.contains(&format!("data-test=\"check-{id}\"")), "{id}");
        assert!(page.contains(&format!("What {id} found.")), "{id}");
    }
    assert!(page.contains("What helps P5.") && page.contains("1 warning<"));
    assert!(page.find("check-P5").unwrap() < page.find("check-P1\"").unwrap(), "the gravest first");
    for words in ["now", "while it joins", "after", "1, 2, 3 and 4", "4 vote."] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("quorate cluster add http://127.0.0.1:7004 --if-epoch 23"));
    assert!(page.contains("Add replica (epoch 23)</button>"), "{page}");
    assert!(!page.contains("<fieldset"), "nothing to override, nothing to type");
}

#[tokio::test]
async fn each_of_the_sixteen_checks_is_shown_at_every_level_with_its_line_and_what_helps() {
    let levels = [
        (CheckLevel::Pass, "ok", "●"),
        (CheckLevel::Note, "unknown", "◌"),
        (CheckLevel::Warn, "warn", "▲"),
        (CheckLevel::Block, "bad", "■"),
    ];
    for (level, class, mark) in levels {
        let checks = CheckId::ALL.iter().map(|id| check(*id, level, None)).collect();
        let (_, page) = get(Fake { plan: Ok(plan(23, checks)), ..Fake::default() }, ADD).await;
        assert_eq!(page.matches("data-test=\"check-P").count(), 16);
        for id in CheckId::ALL {
            let start =
                format!("<li class=\"{class}\" id=\"check-{id}\" data-test=\"check-{id}\">");
            let row = page.split_once(&start).map(|(_, rest)| rest);
            let row = row
                .and_then(|rest| rest.split_once("</li>"))
                .unwrap_or_else(|| panic!("{id}: {page}"))
                .0;
            assert!(row.contains(mark) && row.contains(&format!("What {id} found.")), "{row}");
            assert_eq!(
                row.contains(&format!("What helps {id}.")),
                level > CheckLevel::Note,
                "{row}"
            );
        }
    }
}

#[tokio::test]
async fn a_blocked_plan_has_no_button_and_one_to_override_asks_for_words() {
    let blocked = vec![
        check(CheckId::P1, CheckLevel::Block, Some("3")),
        check(CheckId::P2, CheckLevel::Block, None),
    ];
    let (_, page) = get(Fake { plan: Ok(plan(23, blocked)), ..Fake::default() }, ADD).await;
    assert!(page.contains("data-test=\"blocked\""));
    assert!(page.contains("data-test=\"begin\" hidden>"), "what was typed waits: {page}");
    let copies = page.matches("<button type=\"button\" class=\"copy\">").count();
    assert_eq!(page.matches("<button").count(), copies, "nothing else to press: {page}");
    assert!(!page.contains("type=\"submit\""), "{page}");

    let typing = vec![check(CheckId::P1, CheckLevel::Block, Some("3"))];
    let (_, page) = get(Fake { plan: Ok(plan(23, typing)), ..Fake::default() }, ADD).await;
    assert!(page.contains("name=\"typed.P1\"") && page.contains("name=\"reason\""), "{page}");
    assert!(page.contains("type <code>3</code>"));
}

#[tokio::test]
async fn the_form_sends_the_epoch_that_was_looked_at_and_what_was_typed() {
    let fake = Fake { begun: Ok(change(18, ChangeStage::Joining)), ..Fake::default() };
    let (response, _) =
        post(&fake, ADD, "epoch=23&typed.P1=3&typed.P6=&reason=moving+the+rack").await;
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["location"], "/changes/18");
    let asked = fake.asked.lock().unwrap();
    let (request, epoch, _) = asked.first().unwrap();
    assert_eq!(*epoch, Epoch::new(23));
    let wish = Wish::Add { joiners: vec![addr(7_004)], as_learner: false };
    assert_eq!(request.wish, wish);
    let typed = Override {
        check: CheckId::P1,
        typed: Typed::new("3").unwrap(),
        reason: Reason::new("moving the rack").unwrap(),
    };
    assert_eq!(request.overrides, [typed]);
}

#[tokio::test]
async fn a_form_without_epoch_or_reason_begins_nothing() {
    for form in ["", "epoch=", "epoch=x", "epoch=23&typed.P1=3", "epoch=23&typed.P99=3&reason=why"]
    {
        let fake = Fake { plan: Ok(passing(23)), ..Fake::default() };
        let (response, page) = post(&fake, ADD, form).await;
        assert_eq!(response.status(), 400, "{form}");
        assert!(page.contains("data-test=\"notice\""), "{form}: {page}");
        assert!(fake.asked.lock().unwrap().is_empty(), "{form}");
    }
    let fake = Fake::default();
    for senseless in ["/changes/new?lead=x", "/changes/new?add=nowhere"] {
        let (response, _) = post(&fake, senseless, "epoch=23").await;
        assert_eq!(response.status(), 400, "{senseless}");
    }
    assert!(fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stale_plan_comes_back_as_the_plan_as_it_is_now() {
    let fake = Fake { begun: Err(refused(ErrorCode::StalePlan, passing(24))), ..Fake::default() };
    let (response, page) = post(&fake, ADD, "epoch=23").await;
    assert_eq!(response.status(), 412);
    assert!(page.contains("Nothing was changed") && page.contains("(epoch 24)"), "{page}");
    assert!(page.contains("name=\"epoch\" value=\"24\""));
}

#[tokio::test]
async fn an_open_plan_is_made_again_for_the_epoch_that_was_looked_at_and_says_if_there_is_another()
{
    let fake = Fake { plan: Ok(passing(23)), ..Fake::default() };
    let (_, page) = get(&fake, ADD).await;
    let stream = page.split("name=\"live\" content=\"").nth(1).unwrap();
    let stream = stream.split('"').next().unwrap().replace("&#38;", "&");
    assert_eq!(stream, format!("/live{ADD}&seen=23"));
    assert!(!page.contains("http-equiv"), "what is typed is not lost without scripts");
    let (response, same) = get(&fake, &stream).await;
    assert_eq!(response.status(), 200);
    for region in ["epoch", "moved", "footings", "checks", "begin", "same"] {
        assert!(same.contains(&format!("id=\"{region}\"")), "{region}: {same}");
    }
    assert!(!same.contains("data-test=\"moved\"") && same.contains("(epoch 23)"), "{same}");

    let typing = vec![check(CheckId::P1, CheckLevel::Block, Some("3"))];
    let moved = Fake { plan: Ok(plan(24, typing)), ..Fake::default() };
    let (_, other) = get(&moved, &stream).await;
    assert!(other.contains("data-test=\"moved\"") && other.contains("the plan for epoch 24"));
    assert!(other.contains("name=\"epoch\" value=\"23\""), "what was looked at: {other}");
    assert!(!other.contains("Add replica (epoch"), "{other}");
    assert!(other.contains(&format!("action=\"{ADD}\"")), "{other}");
}

#[tokio::test]
async fn what_was_typed_stays_when_it_did_not_suffice() {
    let plan = plan(23, vec![check(CheckId::P1, CheckLevel::Block, Some("3"))]);
    let fake = Fake { begun: Err(refused(ErrorCode::OverrideMissing, plan)), ..Fake::default() };
    let (response, page) = post(&fake, ADD, "epoch=23&typed.P1=%3Cb%3E&reason=%22moving").await;
    assert_eq!(response.status(), 422);
    assert!(page.contains("value=\"&#60;b&#62;\"") && page.contains("value=\"&#34;moving\""));
    assert!(page.contains("A check has to be overridden"));
}

#[tokio::test]
async fn what_cannot_be_planned_is_said_where_it_is_chosen() {
    let (response, page) = get(Fake::default(), ADD).await;
    assert_eq!(response.status(), ErrorCode::UnknownJoiner.status());
    assert!(page.contains("Nobody waits to join at that address") && page.contains("<form"));
}

#[tokio::test]
async fn a_change_shows_its_steps_its_transfer_and_what_it_waits_for() {
    let changes = vec![change(18, ChangeStage::Joining)];
    let others = TransferInfo { peer: id(9), ..offered(4) };
    let over = TransferInfo { ended: Some(Timestamp::new(1)), ..offered(4) };
    let transfers = vec![(id(1), over), (id(1), others), (id(1), offered(4))];
    let fake = Fake { changes, transfers, ..Fake::default() };
    let (_, page) = get(fake.clone(), "/changes/18").await;
    assert!(page.contains("Waits for replica 4 to catch up."), "{page}");
    assert_eq!(page.matches("<progress").count(), 1, "its own, and only what is under way");
    assert!(page.contains("max=\"18400000000\" value=\"12100000000\""));
    assert!(page.contains("12 GB of 18 GB · 118 MB/s · 0:53 left"));
    assert!(page.contains("catching up<span class=\"quiet\">under way"));
    assert!(page.contains("data-test=\"cancel\""));
    assert!(!page.contains("data-test=\"pause\""), "whoever offers it cannot hold it");
    let (_, page) = get(fake, "/").await;
    assert!(page.contains("Watch change 18") && page.contains("replica 4 to catch up"));
}

#[tokio::test]
async fn a_transfer_is_held_slowed_and_let_go_by_whoever_receives_it() {
    let mut status = status();
    status.replicas.push(replica(4, Role::Learner, true));
    let received = TransferInfo { direction: TransferDirection::Receiving, ..offered(1) };
    let slowed = TransferInfo { bytes_per_second_max: Some(20 << 20), ..received.clone() };
    let fake = |told: TransferInfo| Fake {
        changes: vec![change(18, ChangeStage::Joining)],
        transfers: vec![(id(1), offered(4)), (id(4), told)],
        ..Fake::from(status.clone())
    };
    let (_, page) = get(fake(slowed), "/changes/18").await;
    assert_eq!(page.matches("<progress").count(), 1, "{page}");
    assert!(page.contains("data-test=\"pause\"") && page.contains("value=\"20 MiB\""), "{page}");
    let paused = TransferInfo { is_paused: true, ..received.clone() };
    let (_, page) = get(fake(paused), "/changes/18").await;
    assert!(page.contains("data-test=\"resume\"") && page.contains(">paused<"), "{page}");
    assert!(page.contains("<p>12 GB of 18 GB</p>"), "it goes nowhere: {page}");

    for (form, turned) in [
        ("pace=pause", "TransferChange { bytes_per_second: None, paused: Some(true) }"),
        ("pace=resume", "TransferChange { bytes_per_second: None, paused: Some(false) }"),
        (
            "pace=limit&limit=1+MiB",
            "TransferChange { bytes_per_second: Some(Some(1048576)), paused: None }",
        ),
        ("pace=limit&limit=", "TransferChange { bytes_per_second: Some(None), paused: None }"),
    ] {
        let fake = fake(received.clone());
        let form = format!("replica=4&transfer=1-7&{form}");
        let (response, _) = post(&fake, "/changes/18/pace", &form).await;
        assert_eq!(response.headers()["location"], "/changes/18", "{form}");
        assert_eq!(fake.done(), [format!("turn 1-7 of 4: {turned}")], "{form}");
    }
    for (form, status) in [
        ("", 404),
        ("replica=4&transfer=1-7&pace=faster", 400),
        ("replica=4&transfer=1-7&pace=limit&limit=soon", 400),
        ("replica=4&transfer=9-9&pace=pause", 404),
    ] {
        let (response, page) = post(fake(received.clone()), "/changes/18/pace", form).await;
        assert_eq!(response.status(), status, "{form}");
        assert!(page.contains("data-test=\"notice\""), "{form}: {page}");
    }
}

/// State that is offered to that replica, or received from it.
fn offered(peer: u64) -> TransferInfo {
    TransferInfo {
        id: "1-7".to_owned(),
        direction: TransferDirection::Offering,
        peer: id(peer),
        entry: EntryIndex::new(9),
        stage: TransferStage::Fetching,
        bytes_total: Some(18_400_000_000),
        bytes_done: 12_100_000_000,
        bytes_per_second: 118_000_000,
        seconds_left: Some(53),
        waits_for: None,
        failure: None,
        sources: Vec::new(),
        bytes_per_second_max: None,
        is_paused: false,
        started: Timestamp::new(0),
        ended: None,
    }
}

#[tokio::test]
async fn a_change_past_the_point_of_no_return_has_no_cancel_and_says_so_if_asked() {
    let fake = Fake { changes: vec![change(18, ChangeStage::Joint)], ..Fake::default() };
    let (_, page) = get(fake.clone(), "/changes/18").await;
    assert!(!page.contains("data-test=\"cancel\""));
    let (response, page) = post(&fake, "/changes/18", "").await;
    assert_eq!(response.status(), 409);
    assert!(page.contains("past the point where it can be cancelled"), "{page}");
    let cancelled = Ok(change(18, ChangeStage::Cancelling));
    let (response, _) = post(&Fake { cancelled, ..fake }, "/changes/18", "").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (303, &"/changes/18".parse().unwrap())
    );
}

#[tokio::test]
async fn changes_that_are_over_say_what_came_of_them_and_stay_listed() {
    let changes = (1..=60).rev().map(|number| change(number, ChangeStage::Done)).collect();
    let fake = Fake { changes, ..Fake::default() };
    let (_, page) = get(fake.clone(), "/changes/7").await;
    assert!(page.contains("Replica 3 was replaced.") && page.contains("<dd>41 s</dd>"), "{page}");
    assert!(page.contains("has left for ever"));
    let (_, first) = get(fake.clone(), "/changes").await;
    assert_eq!(first.matches("id=\"change-").count(), 25);
    assert!(first.contains("href=\"/changes?before=36\""), "{first}");
    let (_, last) = get(fake, "/changes?before=11").await;
    assert_eq!(last.matches("id=\"change-").count(), 10);
    assert!(!last.contains("Older changes"));
    let (_, none) = get(Fake::default(), "/changes").await;
    assert!(none.contains("data-test=\"no-changes\""));
}

#[tokio::test]
async fn without_a_leader_a_change_is_told_as_far_as_it_is_known_here() {
    let mut status = status();
    status.leader = None;
    let known = vec![change(19, ChangeStage::Joining), change(18, ChangeStage::Joining)];
    let fake = Fake { changes: known, ..Fake::from(status) };
    let (response, page) = get(fake, "/changes/18").await;
    assert_eq!(response.status(), 200);
    assert!(page.contains("There is no leader at the moment"), "{page}");
}

#[tokio::test]
async fn a_replica_says_what_it_waits_for_and_what_can_be_done() {
    let mut status = status();
    status.replicas[1].slow_ms = Some(31_000);
    status.replicas[1].quarantine = Some(QuarantineInfo {
        stage: QuarantineStage::Renewing,
        checkpoint: EntryIndex::new(9),
        renewed: None,
    });
    let (_, page) = get(status.clone(), "/replicas/2").await;
    assert!(page.contains("quarantined: takes the certified state"), "{page}");
    assert!(page.contains("slow disk for 31 s"));
    for action in ["lead=2", "replace=2", "remove=2"] {
        assert!(page.contains(&format!("/changes/new?{action}")), "{action}");
    }
    let (_, page) = get(status.clone(), "/replicas/1").await;
    assert!(page.contains("Waits for nothing.") && !page.contains("lead=1"), "it leads: {page}");
    for gone in ["/replicas/9", "/replicas/x", "/changes/9", "/changes/x"] {
        let (response, page) = get(status.clone(), gone).await;
        assert_eq!(response.status(), 404, "{gone}");
        assert!(page.contains("data-test=\"error\"") && page.contains("<nav"), "{gone}");
    }
}
