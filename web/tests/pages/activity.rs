//! The page of the activity: who did what, from where and why, and where that leads.

use client::api::activity::{Act, Activity};
use client::api::changes::Override;
use client::api::error::{ErrorCode, Problem};
use client::api::logs::{Settings, SettingsPatch};
use client::api::plans::{CheckId, Wish};
use client::types::{
    ChangeId, ClusterId, EntryIndex, LogId, LogName, Position, Reason, Timestamp, Typed,
};

use super::fake::{Fake, addr, get, id, status};

fn did(position: u64, act: Act) -> Activity {
    Activity {
        position: Position::new(position),
        time: Timestamp::new(1_000),
        by: "ada".to_owned(),
        from: Some("10.0.0.9".to_owned()),
        act,
    }
}

fn deleted(position: u64) -> Activity {
    let log = LogName::new("orders").unwrap();
    did(position, Act::LogDeleted { log, log_id: LogId::new(7), records: 1 })
}

/// Acts of this many, newest first.
fn all(acts: Vec<Act>) -> Fake {
    let acts = (0..).zip(acts).map(|(position, act)| did(position, act));
    let mut activity: Vec<_> = acts.collect();
    activity.reverse();
    Fake { activity, ..Fake::default() }
}

#[tokio::test]
async fn every_act_says_what_it_was_about_and_leads_there() {
    let log = || LogName::new("shop/orders").unwrap();
    let (log_id, change) = (LogId::new(7), ChangeId::new(18));
    let settings = Settings { retention_age_ms: Some(604_800_000), ..Settings::default() };
    let patch = SettingsPatch { retention_bytes: Some(None), ..SettingsPatch::default() };
    let wish = Wish::Replace { replica: id(3), by: addr(7_004) };
    let overridden = Override {
        check: CheckId::P1,
        typed: Typed::new("3").unwrap(),
        reason: Reason::new("moving the <rack>").unwrap(),
    };
    let outcome = Some("Replica 3 was replaced.".to_owned());
    let told = [
        (Act::Founded { cluster: ClusterId::new([7; 16]), generation: 1 }, "founded cluster"),
        (Act::LogCreated { log: log(), log_id, settings }, "<li>kept for: 7 d</li>"),
        (
            Act::SettingsChanged { log: log(), log_id, change: patch },
            "<li>kept up to: not set any more</li>",
        ),
        (
            Act::LogTrimmed { log: log(), log_id, first: Position::new(12_000), records: 12 },
            "to 12\u{202f}000: 12 records dropped",
        ),
        (
            Act::LogSealed { log: log(), log_id, tail: Position::new(9) },
            "<a href=\"/logs/shop%2Forders\">log shop/orders</a>",
        ),
        (deleted(0).act, "deleted log orders with 1 record<"),
        (
            Act::CheckpointMade { checkpoint: EntryIndex::new(812), label: None },
            "<a href=\"/checkpoints\">checkpoint 812</a>",
        ),
        (Act::CheckpointReleased { checkpoint: EntryIndex::new(812) }, "released checkpoint 812"),
        (
            Act::ReplicaAdmitted { replica: id(3), addr: "http://127.0.0.1:7003".to_owned() },
            "<a href=\"/replicas/3\">replica 3</a>",
        ),
        (
            Act::ChangeBegun { change, wish, overrides: vec![overridden] },
            "<li>overrode P1, typed 3: moving the &#60;rack&#62;</li>",
        ),
        (Act::ChangeCancelled { change }, "<a href=\"/changes/18\">change 18</a>"),
        (
            Act::ChangeEnded { change, is_done: true, outcome, took_ms: 41_000 },
            "change 18 done after 41 s<ul class=\"remarks\"><li>Replica 3 was replaced.</li>",
        ),
    ];
    let (acts, said): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    let (response, page) = get(all(acts), "/activity").await;
    assert_eq!(response.status(), 200);
    for words in said {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(
        page.find("change 18 done").unwrap() < page.find("founded cluster").unwrap(),
        "newest first"
    );
    assert!(page.contains("<td class=\"names\">ada</td><td>10.0.0.9</td>"), "{page}");
    assert!(page.contains("began change 18: Replace replica 3 by http://127.0.0.1:7004"));
}

#[tokio::test]
async fn activity_is_paged_to_the_past_and_only_its_newest_page_is_live() {
    let fake = Fake { activity: (0..120).rev().map(deleted).collect(), ..Fake::default() };
    let (_, first) = get(fake.clone(), "/activity").await;
    assert_eq!(first.matches("id=\"act-").count(), 50);
    assert!(first.contains("id=\"act-119\"") && first.contains("<script"), "{first}");
    assert!(first.contains("href=\"/activity?before=70\" rel=\"next\""), "{first}");
    let (_, last) = get(fake, "/activity?before=20").await;
    assert_eq!(last.matches("id=\"act-").count(), 20);
    assert!(!last.contains("rel=\"next\"") && last.contains("href=\"/activity\" rel=\"prev\""));
    assert!(
        !last.contains("<script") && !last.contains("http-equiv=\"refresh\""),
        "the past stays"
    );
    let (_, none) = get(Fake::default(), "/activity").await;
    assert!(none.contains("Nothing has been done yet"), "{none}");
}

#[tokio::test]
async fn one_kind_of_acts_can_be_shown_alone_and_stays_so_on_the_next_page() {
    let mut fake = all(vec![Act::ChangeCancelled { change: ChangeId::new(18) }]);
    fake.activity.splice(0..0, (10..80).rev().map(deleted));
    let (_, page) = get(fake.clone(), "/activity?kind=log_deleted").await;
    assert!(page.contains("href=\"/activity?kind=log_deleted\" aria-current=\"true\""), "{page}");
    assert!(page.contains("/activity?kind=log_deleted&#38;before=30"), "{page}");
    assert!(!page.contains("change 18"));
    let (_, page) = get(fake, "/activity?kind=founded").await;
    assert!(page.contains("There is none of this kind"), "{page}");
    for senseless in ["kind=gossip", "before=x"] {
        let (response, page) = get(status(), &format!("/activity?{senseless}")).await;
        assert_eq!(response.status(), 400, "{senseless}");
        assert!(page.contains("data-test=\"error\""), "{senseless}");
    }
}

#[tokio::test]
async fn hostile_names_and_reasons_are_shown_and_never_act() {
    let mut fake = Fake { activity: vec![deleted(1)], ..Fake::default() };
    fake.activity[0].by = "<script>alert(1)</script>\u{202e}".to_owned();
    fake.activity[0].from = Some("<img src=x>".to_owned());
    for path in ["/activity", "/"] {
        let (_, page) = get(fake.clone(), path).await;
        assert!(!page.contains("<script>") && !page.contains("<img"), "{path}");
        assert!(page.contains("&#60;script&#62;") && page.contains("U+202E"), "{path}");
    }
}

#[tokio::test]
async fn activity_is_told_without_a_leader_and_the_overview_tells_the_last_of_it() {
    let fake = Fake {
        not_fresh: Some(Problem::new(ErrorCode::NoLeader)),
        activity: (0..9).rev().map(deleted).collect(),
        ..Fake::default()
    };
    let (response, _) = get(fake.clone(), "/activity").await;
    assert_eq!(response.status(), 200);
    let (_, page) = get(fake, "/").await;
    assert_eq!(page.matches("<li id=\"act-").count(), 4, "{page}");
    assert!(page.contains("<a href=\"/activity\">All activity</a>"));
    let (_, page) = get(status(), "/").await;
    assert!(!page.contains("Done last"), "nothing was done");
}
