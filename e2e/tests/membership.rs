//! The group is changed while it serves: it grows, shrinks, exchanges replicas, and forgets nothing.
//!
//! Method: real processes under the seeded load, changes asked for as an operator asks for them; the history of all calls
//! is checked, and all replicas must be equal in the end.

use anyhow::{Context, Result, ensure};
use client::api::{
    changes::{Change, ChangeRequest, ChangeStage, Override},
    error::ErrorCode,
    header, media, paths,
    plans::{CheckId, MemberName, Plan, Wish},
};
use client::types::{ChangeId, LogSettings, Reason, ReplicaId, Typed};
use quorate_e2e::{
    check::{Coverage, Summary, check},
    cluster::Cluster,
    figures::Gaps,
    history::{Action, History, Moment},
    link::{Links, Shape},
    membership::{
        addr, assert_ends_removed, begin, begun, change, id_of, look, over, plan, spare, waiting,
    },
    process::{Process, print},
    rest::Answer,
    scale::{is_long, short_or_long},
    wait::until,
    workload::{Load, Workload, client},
};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const CHANGED: &str = "changed";
const LED: &str = "leader";
const SOON: Duration = Duration::from_secs(30);
/// The longest time without an acknowledgement while the leader is replaced.
const GAP_MAX: Duration = Duration::from_millis(300);

fn add(spares: &[&Process]) -> Result<Wish> {
    let joiners = spares.iter().map(|spare| addr(spare)).collect::<Result<_>>()?;
    Ok(Wish::Add { joiners, as_learner: false })
}

fn assert_done(change: &Change) {
    assert_eq!(change.stage, ChangeStage::Done, "{change:#?}");
    // Who left may have learned of it, and ended, before it was told.
    let is_as_wished =
        change.outcome.as_ref().is_none_or(|outcome| outcome.starts_with("not told"));
    assert!(change.ended.is_some() && is_as_wished, "{change:#?}");
}

async fn voters(cluster: &Cluster) -> Result<Vec<ReplicaId>> {
    let leader = cluster.leader().await?;
    let status = cluster.status(leader).await.context("the leader answers")?;
    let voters = status.replicas.iter().filter(|replica| replica.role.is_voter());
    Ok(voters.map(|replica| replica.id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_grows_and_shrinks_and_exchanges_replicas_while_it_serves() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load { producers: 4, ..Load::on("orders", 41)? };
    let workload = Workload::start(&cluster, load).await?;
    workload.progress(50).await?;

    let (fourth, fifth) = (spare(&cluster, "d", &[]).await?, spare(&cluster, "e", &[]).await?);
    workload.recorder().record_fault(CHANGED);
    let grown = change(&cluster, &add(&[&fourth, &fifth])?).await?;
    assert_done(&grown);
    assert_eq!(grown.joins.len(), 2, "one change for both");
    cluster.adopt(fourth);
    cluster.adopt(fifth);
    cluster.healed().await?;
    assert_eq!(voters(&cluster).await?.len(), 5);
    workload.progress(50).await?;

    // The leader is one of those who leave.
    let leader = cluster.leader().await?;
    let other = if leader == 1 { 2 } else { 1 };
    let replicas = vec![id_of(&cluster, leader).await?, id_of(&cluster, other).await?];
    workload.recorder().record_fault(CHANGED);
    assert_done(&change(&cluster, &Wish::Remove { replicas: replicas.clone() }).await?);
    for number in [leader.max(other), leader.min(other)] {
        assert_ends_removed(cluster.release(number)).await?;
    }
    cluster.healed().await?;
    assert!(voters(&cluster).await?.iter().all(|voter| !replicas.contains(voter)));
    workload.progress(50).await?;

    // Each of the three is replaced, the one that leads among them.
    for (round, number) in [0, 0, 0].into_iter().enumerate() {
        let new = spare(&cluster, &format!("new-{round}"), &[]).await?;
        let old = id_of(&cluster, number).await?;
        workload.recorder().record_fault(CHANGED);
        let replaced = change(&cluster, &Wish::Replace { replica: old, by: addr(&new)? }).await?;
        assert_done(&replaced);
        assert_eq!((replaced.joins.len(), &replaced.leaves[..]), (1, &[old][..]));
        let gone = cluster.release(number);
        cluster.adopt(new);
        cluster.healed().await?;
        assert_ends_removed(gone).await?;
        workload.progress(50).await?;
    }

    let history = workload.finish(&mut cluster).await?;
    let required = Coverage {
        faults: BTreeMap::from([(CHANGED.to_owned(), 5)]),
        replicas: 3,
        appends: 200,
        reads: 10,
    };
    assert_none_failed(&check(&history, &required).assert_passed());
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_says_for_whom_and_can_be_cancelled() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let before = voters(&cluster).await?;
    let mut fourth = spare(&cluster, "d", &[]).await?;
    // It is let in, and does not answer.
    fourth.pause()?;
    let wish = add(&[&fourth])?;
    let id = begun(&cluster, &wish).await?.id;
    let waits = until("the change to say what it waits for", SOON, async || {
        let change = look(&cluster, id).await?;
        Ok(change.filter(|change| change.waits_for.is_some()))
    })
    .await?;
    let replica = waits.joins.first().context("it has its id")?;
    assert_eq!(waits.waits_for.as_deref(), Some(&*format!("replica {replica} to answer")));
    assert!(waits.can_cancel);

    let planned = plan(&cluster, &Wish::Remove { replicas: vec![before[0]] }).await?;
    let second = planned.json::<Plan>()?;
    let request = ChangeRequest { wish: second.wish.clone(), overrides: Vec::new() };
    let refused = begin(&cluster, &second, &request).await?.problem()?;
    assert_eq!(refused.code, ErrorCode::ChangeUnderWay);

    let leader = cluster.url(cluster.leader().await?);
    let cancel = format!("{leader}{}", paths::change(id));
    Answer::to(cluster.http().delete(&cancel)).await?.succeeded()?;
    let cancelled = over(&cluster, id).await?;
    assert_eq!(cancelled.stage, ChangeStage::Cancelled);
    let again = Answer::to(cluster.http().delete(&cancel)).await?.problem()?;
    assert_eq!(again.code, ErrorCode::ChangeEnded);
    assert_eq!(voters(&cluster).await?, before);
    let status = cluster.status(cluster.leader().await?).await.context("it answers")?;
    assert_eq!(status.replicas.len(), 3, "its newcomer is off the list");
    fourth.kill()?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_as_events_at_any_replica_until_it_is_over() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    let fourth = spare(&cluster, "d", &[]).await?;
    // It is let in, and does not answer: the change goes on for as long as that is so.
    fourth.pause()?;
    let id = begun(&cluster, &add(&[&fourth])?).await?.id;
    let mut watched = Vec::new();
    for number in 0..3 {
        let url = format!("{}{}", cluster.url(number), paths::change(id));
        let mut answer = cluster.http().get(url).header(ACCEPT, media::EVENTS).send().await?;
        assert_eq!(answer.headers().get(CONTENT_TYPE).context("it is told")?, media::EVENTS);
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains("waits_for") {
            text.extend_from_slice(&answer.chunk().await?.context("it goes on")?);
        }
        watched.push((answer, text));
    }
    fourth.resume()?;
    assert_done(&over(&cluster, id).await?);
    for (answer, mut text) in watched {
        text.extend_from_slice(&tokio::time::timeout(SOON, answer.bytes()).await??);
        let text = String::from_utf8(text)?;
        let told = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let told: Vec<Change> = told.map(serde_json::from_str).collect::<Result<_, _>>()?;
        let stages: Vec<_> = told.iter().map(|change| change.stage).collect();
        assert!(stages.is_sorted(), "{stages:?}");
        let ends = (stages.first(), stages.last());
        assert_eq!(ends, (Some(&ChangeStage::Joining), Some(&ChangeStage::Done)));
        assert!(told.windows(2).all(|two| two[0] != two[1]), "each difference once: {text}");
    }
    cluster.adopt(fourth);
    cluster.healed().await?;
    let url = format!("{}{}", cluster.url(0), paths::change(ChangeId::new(99)));
    let unknown = Answer::to(cluster.http().get(url).header(ACCEPT, media::EVENTS)).await?;
    assert_eq!(unknown.problem()?.code, ErrorCode::UnknownChange);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_away_while_all_others_were_replaced_is_led_by_those_who_came() -> Result<()> {
    let (mut cluster, links) = Links::start_with_room(3, 2, |_recipe| {}).await?;
    let fourth = waiting(&cluster, links.spare(&cluster, 3, "d")?).await?;
    let fifth = waiting(&cluster, links.spare(&cluster, 4, "e")?).await?;
    let away = cluster.follower().await?;
    let stays = MemberName::Replica(id_of(&cluster, away).await?);
    cluster.replica_mut(away).kill()?;
    let come = [addr(&fourth)?, addr(&fifth)?].map(MemberName::Joiner);
    let voters = [vec![stays], come.to_vec()].concat();
    let begun = begun(&cluster, &Wish::Set { voters, learners: Vec::new() }).await?;
    // One of them leads soon, and tells.
    cluster.adopt(fourth);
    cluster.adopt(fifth);
    assert_done(&over(&cluster, begun.id).await?);
    for gone in (0..3).rev().filter(|number| *number != away) {
        assert_ends_removed(cluster.release(gone)).await?;
    }
    // It knows of nobody who is left, and nobody speaks to it before it knows what it knew.
    links.cut(Shape::Alone(away));
    cluster.start_all()?;
    until("it to know of those who are gone", SOON, async || {
        Ok(cluster.status(0).await.filter(|status| status.replicas.len() == 3))
    })
    .await?;
    links.heal();
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_a_cancelled_change_let_in_unknowingly_is_let_in_by_the_next_one() -> Result<()> {
    let (mut cluster, links) = Links::start_with_room(3, 1, |_recipe| {}).await?;
    let fourth = waiting(&cluster, links.spare(&cluster, 3, "d")?).await?;
    // It does not hear that it is let in, nor that it is let go.
    links.cut(Shape::Alone(3));
    links.reset(3);
    let wish = add(&[&fourth])?;
    let first = begun(&cluster, &wish).await?;
    until("it to be waited for", SOON, async || {
        Ok(look(&cluster, first.id).await?.filter(|change| change.waits_for.is_some()))
    })
    .await?;
    let url = format!("{}{}", cluster.url(cluster.leader().await?), paths::change(first.id));
    Answer::to(cluster.http().delete(url)).await?.succeeded()?;
    assert_eq!(over(&cluster, first.id).await?.stage, ChangeStage::Cancelled);
    links.heal();
    let second = change(&cluster, &wish).await?;
    assert_done(&second);
    assert_ne!(second.joins, first.joins, "the others refuse its first id by now");
    cluster.adopt(fourth);
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_began_anew_before_it_knew_who_it_is_is_not_waited_for() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let mut fourth = spare(&cluster, "d", &[]).await?;
    fourth.pause()?;
    let wish = add(&[&fourth])?;
    let first = begun(&cluster, &wish).await?;
    until("it to be waited for", SOON, async || {
        Ok(look(&cluster, first.id).await?.filter(|change| change.waits_for.is_some()))
    })
    .await?;
    fourth.kill()?;
    fourth.start()?;
    let given_up = over(&cluster, first.id).await?;
    assert_eq!(given_up.stage, ChangeStage::Cancelled);
    let outcome = given_up.outcome.context("it says why")?;
    assert!(outcome.contains("began anew"), "{outcome}");
    assert_done(&change(&cluster, &wish).await?);
    cluster.adopt(fourth);
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_at_a_replica_that_is_removed_is_answered_before_it_goes() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let log = client(&cluster.urls())?.log("quiet".parse()?);
    log.create(&LogSettings::default()).await?;
    let fourth = spare(&cluster, "d", &[]).await?;
    let gone = cluster.follower().await?;
    let records = format!("{}{}", cluster.url(gone), paths::records(log.name()));
    let http = cluster.http().clone();
    let waiting = tokio::spawn(async move {
        let (mut epochs, poll) = (BTreeSet::new(), format!("{records}?wait=60s&consistency=local"));
        loop {
            match Answer::to(http.get(&poll)).await {
                Ok(answer) if answer.status == 503 => return Ok(epochs),
                Ok(answer) => {
                    let answer = answer.succeeded()?;
                    epochs.insert(answer.header(header::EPOCH).context("it is told")?.to_owned())
                }
                Err(error) if epochs.is_empty() => return Err(error),
                // It was gone between two polls.
                Err(_) => return Ok(epochs),
            };
        }
    });
    let replica = id_of(&cluster, gone).await?;
    assert_done(&change(&cluster, &Wish::Replace { replica, by: addr(&fourth)? }).await?);
    let process = cluster.release(gone);
    cluster.adopt(fourth);
    let epochs = tokio::time::timeout(SOON, waiting).await???;
    assert!(!epochs.is_empty(), "it never learned that the members change");
    assert!(!process.quoted().contains("cut at the end of the drain"), "{}", process.quoted());
    assert_ends_removed(process).await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_one_wins_and_the_other_gets_a_fresh_plan() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let (fourth, fifth) = (spare(&cluster, "d", &[]).await?, spare(&cluster, "e", &[]).await?);
    let (first, second) = (add(&[&fourth])?, add(&[&fifth])?);
    let planned = plan(&cluster, &second).await?.json::<Plan>()?;
    assert_done(&change(&cluster, &first).await?);
    cluster.adopt(fourth);
    let request = ChangeRequest { wish: second, overrides: Vec::new() };
    let answer = begin(&cluster, &planned, &request).await?;
    assert_eq!(answer.status, 412);
    let problem = answer.problem()?;
    assert_eq!(problem.code, ErrorCode::StalePlan);
    let fresh = problem.actual.plan.context("a fresh plan comes with it")?;
    assert!(fresh.epoch > planned.epoch);
    assert_eq!(fresh.now.voters.len(), 4);
    let begun = begin(&cluster, &fresh, &request).await?;
    assert_eq!(begun.status, 202, "{}", begun.quoted());
    assert_done(&over(&cluster, begun.json::<Change>()?.id).await?);
    cluster.adopt(fifth);
    cluster.healed().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_cut_off_when_it_was_removed_learns_of_it_and_disturbs_nobody()
-> Result<()> {
    let (mut cluster, links) = Links::start(3).await?;
    let workload =
        Workload::start(&cluster, Load { producers: 2, ..Load::on("orders", 43)? }).await?;
    workload.progress(20).await?;
    let gone = cluster.follower().await?;
    let replica = id_of(&cluster, gone).await?;
    links.cut(Shape::Alone(gone));
    workload.progress(20).await?;
    // Two of three are left: it is removed with open eyes.
    let wish = Wish::Remove { replicas: vec![replica] };
    let planned = plan(&cluster, &wish).await?.json::<Plan>()?;
    let lift = |check, typed: &str| {
        let reason = Reason::new("it is cut off for good")?;
        anyhow::Ok(Override { check, typed: Typed::new(typed)?, reason })
    };
    let blocking = planned
        .checks
        .iter()
        .filter_map(|check| check.type_to_override.as_deref().map(|typed| lift(check.id, typed)));
    let needed: Vec<_> = blocking.collect::<Result<_>>()?;
    // What blocks nothing is not lifted, whatever is said.
    let overrides = [needed.clone(), vec![lift(CheckId::P12, "9")?]].concat();
    let answer = begin(&cluster, &planned, &ChangeRequest { wish, overrides }).await?;
    ensure!(answer.status == 202, "{}", answer.quoted());
    let removed = over(&cluster, answer.json::<Change>()?.id).await?;
    assert_eq!((removed.stage, removed.overrides), (ChangeStage::Done, needed));
    assert!(removed.outcome.as_deref().is_some_and(|outcome| outcome.contains("not told")));

    let process = cluster.release(gone);
    let leader = cluster.leader().await?;
    let term = cluster.status(leader).await.context("it answers")?.term;
    links.heal();
    assert_ends_removed(process).await?;
    workload.progress(20).await?;
    let leader = cluster.leader().await?;
    let after = cluster.status(leader).await.context("it answers")?.term;
    assert!(after.get() <= term.get() + 1, "{term} and then {after}");
    let history = workload.finish(&mut cluster).await?;
    let required = Coverage { faults: BTreeMap::new(), replicas: 2, appends: 40, reads: 10 };
    assert_none_failed(&check(&history, &required).assert_passed());
    cluster.finish();
    Ok(())
}

/// Whoever appended through the client saw some latency at most.
fn assert_none_failed(summary: &Summary) {
    print(&summary.to_string());
    let unknown = summary.unknown_happened + summary.unknown_not_happened;
    assert_eq!((summary.not_done, unknown), (0, 0), "appends failed");
}

/// The longest that 99 of a hundred appends took that were asked for in these spans.
fn p99(history: &History, spans: &[(Moment, Moment)]) -> Duration {
    let in_a_span = |at: Moment| spans.iter().any(|(from, until)| *from <= at && at < *until);
    let appends = history.calls.iter().filter_map(|call| match &call.action {
        Action::Append { outcome, .. } if outcome.done().is_some() && in_a_span(call.asked) => {
            Some(Duration::from_nanos(call.answered.0.saturating_sub(call.asked.0)))
        }
        Action::Append { .. }
        | Action::Read { .. }
        | Action::Fault { .. }
        | Action::Final { .. }
        | Action::Fact { .. } => None,
    });
    let mut took: Vec<Duration> = appends.collect();
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_appends_fails_while_one_after_another_is_replaced() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load {
        producers: 10,
        followers: 1,
        readers: 1,
        batch_records_max: 1,
        ..Load::on("orders", 53)?
    };
    let workload = Workload::start(&cluster, load).await?;
    workload.progress(short_or_long(100, 5_000)).await?;
    let begin = workload.recorder().now();
    let (mut others, mut leaders) = (Vec::new(), Vec::new());
    let rounds = short_or_long(1, 10);
    for round in 0..rounds {
        for (what, spans) in [("other", &mut others), (LED, &mut leaders)] {
            let new = spare(&cluster, &format!("{what}-{round}"), &[]).await?;
            let old =
                if what == LED { cluster.leader().await? } else { cluster.follower().await? };
            let replica = id_of(&cluster, old).await?;
            workload.recorder().record_fault(what);
            let from = workload.recorder().now();
            assert_done(&change(&cluster, &Wish::Replace { replica, by: addr(&new)? }).await?);
            spans.push((from, workload.recorder().now()));
            let gone = cluster.release(old);
            cluster.adopt(new);
            cluster.healed().await?;
            assert_ends_removed(gone).await?;
            workload.progress(short_or_long(50, 1_000)).await?;
        }
    }
    let history = workload.finish(&mut cluster).await?;
    let gaps = Gaps::around(&history, LED);
    assert_eq!(gaps.count(), rounds);
    let [steady, others, leaders] =
        [&[(Moment(0), begin)][..], &others, &leaders].map(|spans| p99(&history, spans));
    print(&format!(
        "leader replaced: {gaps}; p99 {leaders:?}, another: {others:?}, steady {steady:?}"
    ));
    if is_long() {
        assert!(gaps.worst().is_some_and(|worst| worst <= GAP_MAX), "{gaps}");
    }
    let required = Coverage {
        faults: BTreeMap::from([(LED.to_owned(), rounds)]),
        replicas: 3,
        appends: 100,
        reads: 10,
    };
    assert_none_failed(&check(&history, &required).assert_passed());
    cluster.finish();
    Ok(())
}
