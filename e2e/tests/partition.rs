//! Cut links of every shape: whoever still reaches a majority goes on, and nothing is lost or stale.
//!
//! Method: under load the group is cut into a shape around its leader, must go on appending, is mended,
//! and must go on again; the history of all calls is checked.

use anyhow::{Context, Result};
use client::api::header::AsOf;
use quorate_e2e::{
    check::{Coverage, check},
    link::{Links, Shape},
    process::print,
    rest::{Answer, append, get, put},
    scale::short_or_long,
    wait::{PATIENCE, until},
    workload::{Load, Workload},
};
use std::collections::BTreeMap;

const CUT: &str = "cut";
const APPENDS_BETWEEN: usize = 50;

/// The shapes of three replicas, around the one that leads.
fn shapes(leader: usize) -> Vec<Shape> {
    let follower = (leader + 1) % 3;
    vec![
        Shape::Alone(leader),
        Shape::Bridge(follower),
        Shape::Mute(leader),
        Shape::OneWay { from: leader, to: follower },
        Shape::Deaf(leader),
        Shape::Bridge(leader),
        Shape::Alone(follower),
        Shape::Mute(follower),
        Shape::Deaf(follower),
        Shape::OneWay { from: follower, to: leader },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_cut_into_any_shape_goes_on_and_stays_one() -> Result<()> {
    let (mut cluster, links) = Links::start(3).await?;
    let workload = Workload::start(&cluster, Load::on("orders", 7)?).await?;
    let rounds = short_or_long(4, shapes(0).len());
    for round in 0..rounds {
        workload.progress(APPENDS_BETWEEN).await?;
        let shape = shapes(cluster.leader().await?)[round];
        workload.recorder().record_fault(CUT);
        print(&format!("{shape:?}"));
        links.cut(shape);
        workload.progress(APPENDS_BETWEEN).await?;
        links.heal();
        cluster.healed().await?;
    }
    let history = workload.finish(&mut cluster).await?;
    let required = Coverage {
        faults: BTreeMap::from([(CUT.to_owned(), rounds)]),
        replicas: 3,
        appends: APPENDS_BETWEEN,
        reads: 10,
    };
    print(&check(&history, &required).assert_passed().to_string());
    cluster.finish();
    Ok(())
}

/// Goal: whoever is cut off does not pass for one that is up to date.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_says_so_and_how_old_its_answers_are() -> Result<()> {
    let (cluster, links) = Links::calm(3).await?;
    let (http, alone) = (cluster.http(), cluster.follower().await?);
    let url = cluster.url(alone);
    put(http, &url, "/v1/logs/orders", "{}").await?.succeeded()?;
    append(http, &url, "orders", b"a").await?.succeeded()?;
    let local = "/v1/logs/orders/records?consistency=local";
    until("a fresh local read of what was appended", PATIENCE, async || {
        let answer = get(http, &url, local).await?;
        let is_fresh = |it: &AsOf| it.lag == Some(0) && it.age_ms.is_some_and(|age| age < 900);
        Ok(as_of(&answer).filter(is_fresh).filter(|_| answer.status == 200))
    })
    .await?;

    links.cut(Shape::Alone(alone));
    let cut_off = until("it to notice that it is alone", PATIENCE, async || {
        let answer = get(http, &url, "/readyz").await?;
        Ok((answer.status == 503).then_some(answer))
    });
    assert!(cut_off.await?.header("quorate-leader").is_none(), "it knows of no leader now");
    let old = as_of(&get(http, &url, local).await?.succeeded()?).context("no word on its age")?;
    assert!(old.age_ms.is_some_and(|age| age >= 900) && old.lag.is_none(), "{old:?}");

    links.heal();
    until("it to be ready again", PATIENCE, async || {
        let answer = get(http, &url, "/readyz").await?;
        Ok((answer.status == 200).then_some(()))
    })
    .await?;
    cluster.finish();
    Ok(())
}

fn as_of(answer: &Answer) -> Option<AsOf> {
    answer.header("quorate-as-of")?.parse().ok()
}
