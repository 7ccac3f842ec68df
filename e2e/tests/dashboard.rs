//! The dashboard in a real browser: what it says, what it lets an operator do, and what it does not.
//!
//! Without a browser on the machine the pages are only looked at as text; `just browser` demands one
//! (`QUORATE_BROWSER=required`). With `QUORATE_SCREENSHOT` set to a folder, pictures of all pages are left there.

use anyhow::{Context, Result};
use client::api::plans::{Check, CheckId, Plan, Wish};
use client::types::ReplicaId;
use quorate_e2e::{
    browser::{Browser, Driver},
    check::{Coverage, check},
    cluster::Cluster,
    membership::{addr, id_of, plan, spare},
    process::{Process, print},
    rest::{self, Answer},
    wait::until,
    workload::{Load, Workload},
};
use std::{collections::BTreeMap, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);
const CHANGED: &str = "changed";
const GO: &str = "[data-test=go]";
const STAGE: &str = "[data-test=stage]";

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_how_many_may_fail_and_changes_when_one_does() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    let answer = rest::get(cluster.http(), &cluster.url(1), "/").await?.succeeded()?;
    let page = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(page.contains("data-test=\"verdict\""), "{page}");
    assert!(page.contains("data-test=\"tolerance\">1<"), "of three, one may fail: {page}");
    let policy = answer.header("content-security-policy").context("the page has a policy")?;
    assert!(policy.contains("default-src 'none'"), "{policy}");

    cluster.kill_leader().await?;
    let survivor = cluster.leader().await?;
    until("the page says that none may fail", Duration::from_secs(20), async || {
        let answer = rest::get(cluster.http(), &cluster.url(survivor), "/").await?;
        let page = String::from_utf8_lossy(&answer.body);
        Ok(page.contains("data-test=\"tolerance\">0<").then_some(()))
    })
    .await?;
    cluster.finish();
    Ok(())
}

/// The number that a process got, by its address.
async fn number_of(cluster: &Cluster, process: &Process) -> Result<ReplicaId> {
    let (leader, addr) = (cluster.leader().await?, addr(process)?);
    let status = cluster.answered(leader).await?;
    let found = status.replicas.iter().find(|replica| replica.addr == addr);
    Ok(found.context("it is a replica")?.id)
}

/// Clicks from a plan to the end of the change.
async fn carry_out(browser: &Browser) -> Result<()> {
    browser.click(GO).await?;
    browser.says(STAGE, "done").await
}

/// A spare is let in, led by, and removed, by nothing but clicks at one replica.
async fn life(browser: &Browser, cluster: &Cluster, base: &str, new: &Process) -> Result<()> {
    browser.go(base).await?;
    browser.says("[data-test=joiners]", &new.url()).await?;
    browser.click("[data-test=plan-joiner]").await?;
    browser.says("[data-test=check-P8]", "empty").await?;
    browser.says("[data-test=command]", "").await?;
    carry_out(browser).await?;

    let id = number_of(cluster, new).await?;
    browser.go(&format!("{base}/replicas")).await?;
    browser.click(&format!("[data-test=replica-{id}] th a")).await?;
    browser.click("[data-test=lead]").await?;
    browser.says("[data-test=check-P4]", "").await?;
    carry_out(browser).await?;
    browser.click("header a.brand").await?;
    browser.says("[data-test=leader]", &format!("replica {id}")).await?;

    browser.click(&format!("[data-test=replica-{id}] th a")).await?;
    browser.click("[data-test=remove]").await?;
    browser.says("[data-test=footings]", "after").await?;
    carry_out(browser).await?;
    browser.says("[data-test=left]", &format!("Replica {id} has left")).await?;
    browser.go(base).await?;
    browser.says("[data-test=tolerance]", "1").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_lives_its_whole_life_by_clicks_with_and_without_scripts() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let mut cluster = Cluster::calm(3, &[]).await?;
    let load = Load { producers: 2, followers: 1, readers: 1, ..Load::on("orders", 51)? };
    let workload = Workload::start(&cluster, load).await?;
    let base = cluster.url(cluster.follower().await?);
    for has_scripts in [true, false] {
        let new = spare(&cluster, if has_scripts { "d" } else { "e" }, &[]).await?;
        let browser = driver.browser(cluster.folder()).await?;
        if !has_scripts {
            browser.without_scripts().await?;
        }
        workload.recorder().record_fault(CHANGED);
        life(&browser, &cluster, &base, &new).await?;
        browser.close().await?;
    }
    workload.progress(50).await?;
    cluster.healed().await?;
    let history = workload.finish(&mut cluster).await?;
    let faults = BTreeMap::from([(CHANGED.to_owned(), 2)]);
    let required = Coverage { faults, replicas: 3, appends: 100, reads: 10 };
    print(&check(&history, &required).assert_passed().to_string());
    cluster.finish();
    Ok(())
}

/// Sends a form as a page would.
async fn post(
    cluster: &Cluster,
    number: usize,
    path: &str,
    form: &str,
    from: &str,
) -> Result<Answer> {
    let request = cluster.http().post(format!("{}{path}", cluster.url(number)));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    Answer::to(request.header("sec-fetch-site", from).body(form.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_sees_the_fresh_plan_and_nobody_forces_a_blocked_one() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let mut cluster = Cluster::calm(3, &[]).await?;
    let fourth = spare(&cluster, "d", &[]).await?;
    let fifth = spare(&cluster, "e", &[]).await?;
    let base = cluster.url(cluster.follower().await?);
    let (first, second) =
        (driver.browser(cluster.folder()).await?, driver.browser(cluster.folder()).await?);
    for (browser, new) in [(&first, &fourth), (&second, &fifth)] {
        browser.go(&format!("{base}/changes/new?add={}", new.url())).await?;
        browser.says(GO, "Add replica").await?;
    }
    let stale = second.text(GO).await?;
    carry_out(&first).await?;
    second.click(GO).await?;
    second.says("[data-test=notice]", "Nothing was changed").await?;
    assert_ne!(second.text(GO).await?, stale, "the button names the epoch of the fresh plan");
    second.says("[data-test=footings]", "4 replicas vote").await?;
    carry_out(&second).await?;
    cluster.adopt(fourth);
    cluster.adopt(fifth);
    cluster.healed().await?;

    // Two of five are away: if one more leaves, too few are left to go on.
    // A browser complains of a stream that is torn off, so nobody looks at those who go.
    for browser in [&first, &second] {
        browser.go(&cluster.url(cluster.leader().await?)).await?;
    }
    for _ in 0..2 {
        let follower = cluster.follower().await?;
        cluster.replica_mut(follower).kill()?;
    }
    let leader = cluster.leader().await?;
    let gone = until("the leader misses two", PATIENCE, async || {
        let status = cluster.answered(leader).await?;
        let silent = status.replicas.iter().filter(|one| !one.is_reachable).count();
        let alive =
            status.replicas.iter().find(|one| one.is_reachable && Some(one.id) != status.leader);
        Ok(alive.map(|one| one.id).filter(|_| silent == 2))
    });
    let path = format!("/changes/new?remove={}", gone.await?);
    let base = cluster.url(leader);
    first.go(&format!("{base}{path}")).await?;
    first.says("[data-test=blocked]", "cannot be overridden").await?;
    assert_eq!(first.texts("button:not(.copy)").await?, [""; 0], "nothing to press");
    first.look_over("plan-blocked").await?;
    let epoch = first.text("[data-test=epoch]").await?;
    let form = format!("epoch={epoch}&typed.P3=3&typed.P2=3&typed.P1=3&reason=because+I+can");
    let forged = post(&cluster, leader, &path, &form, "same-origin").await?;
    assert_eq!(forged.status, 422, "{forged:?}");
    assert!(String::from_utf8_lossy(&forged.body).contains("data-test=\"blocked\""));
    let foreign = post(&cluster, leader, &path, &form, "cross-site").await?;
    assert_eq!(foreign.status, 403, "{foreign:?}");
    first.go(&format!("{base}/changes")).await?;
    first.says("[data-test=changes]", "Add ").await?;
    assert_eq!(first.texts("[data-test=changes] tbody tr").await?.len(), 2, "two were begun");
    for browser in [first, second] {
        browser.close().await?;
    }
    cluster.finish();
    Ok(())
}

/// Words alone: figures are measured anew at each look.
fn without_figures(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter == '\u{202f}');
    let is_figure = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit());
    words.filter(|word| !word.is_empty() && !is_figure(word)).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sixteen_checks_are_on_the_screen_in_the_words_of_the_api() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let mut cluster = Cluster::calm(3, &["--zone", "attic"]).await?;
    let new = spare(&cluster, "d", &["--zone", "attic"]).await?;
    let lost = cluster.follower().await?;
    let id = id_of(&cluster, lost).await?;
    cluster.replica_mut(lost).kill()?;
    let base = cluster.url(cluster.leader().await?);
    let browser = driver.browser(cluster.folder()).await?;
    let wish = Wish::Replace { replica: id, by: addr(&new)? };
    let screen_and_api = until("screen and API say the same", PATIENCE, async || {
        browser.go(&format!("{base}/changes/new?replace={id}&by={}", new.url())).await?;
        let plan: Plan = plan(&cluster, &wish).await?.succeeded()?.json()?;
        let shown = browser.texts("[data-test=checks] > li").await?;
        let is_said = |check: &Check| {
            let line = without_figures(&check.line);
            let fix = check.fix.as_deref().map(without_figures);
            let text = shown.iter().find(|text| text.contains(&format!("{} ", check.id)));
            let text = without_figures(text.map_or("", |text| text.as_str()));
            text.contains(&line) && fix.is_none_or(|fix| text.ends_with(&fix))
        };
        let found: Vec<CheckId> =
            plan.checks.iter().filter(|check| is_said(check)).map(|check| check.id).collect();
        let is_late = CheckId::ALL.iter().any(|id| !found.contains(id))
            || plan.checks.iter().any(|check| check.id == CheckId::P16 && check.fix.is_none());
        Ok((!is_late).then_some((shown, plan)))
    });
    let (shown, plan) = screen_and_api.await?;
    assert_eq!((shown.len(), plan.checks.len()), (16, 16), "{shown:?}");
    let helped = plan.checks.iter().filter(|check| check.fix.is_some()).count();
    assert!(helped >= 2, "a dead voter, and one place for all: {plan:?}");
    browser.close().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_kept_out() -> Result<()> {
    let Some(driver) = Driver::start()? else { return Ok(()) };
    let mut cluster = Cluster::calm(3, &[]).await?;
    let new = spare(&cluster, "d", &[]).await?;
    let number = cluster.follower().await?;
    let base = cluster.url(number);
    let browser = driver.browser(cluster.folder()).await?;
    for (name, path) in [
        ("overview", "/".to_owned()),
        ("replicas", "/replicas".to_owned()),
        ("replica", "/replicas/1".to_owned()),
        ("add", "/changes/new".to_owned()),
        ("plan", format!("/changes/new?add={}", new.url())),
        ("plan-to-override", "/changes/new?remove=2".to_owned()),
        ("changes", "/changes".to_owned()),
        ("performance", "/performance".to_owned()),
        ("not-found", "/nowhere".to_owned()),
    ] {
        browser.go(&format!("{base}{path}")).await?;
        browser.look_over(name).await?;
    }
    browser.go(&new.url()).await?;
    browser.says("[data-test=waiting]", "waiting to join").await?;
    browser.look_over("waiting").await?;
    browser.go(&format!("{base}/changes/new?add={}", new.url())).await?;
    carry_out(&browser).await?;
    browser.look_over("change").await?;
    cluster.adopt(new);
    cluster.healed().await?;
    // At its worst it has to be read most.
    let others: Vec<_> = (0..cluster.len()).filter(|other| *other != number).collect();
    browser.go(&base).await?;
    for (dead, verdict, name) in [
        (others[0], "one more failure stops them", "none-may-fail"),
        (others[1], "Not taking appends", "no-majority"),
    ] {
        cluster.replica_mut(dead).kill()?;
        browser.says("h1", verdict).await?;
        browser.look_over(name).await?;
    }
    assert_eq!(browser.complaints().await?, [""; 0]);
    browser.close().await?;
    cluster.finish();
    Ok(())
}
