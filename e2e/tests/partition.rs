//! Cut links of every shape: whoever still reaches a majority goes on, and nothing is lost or stale.
//!
//! Method: under load the group is cut into a shape around its leader, must go on appending, is mended,
//! and must go on again; the history of all calls is checked.

use anyhow::Result;
use quorate_e2e::{
    check::{Coverage, check},
    link::{Links, Shape},
    process::print,
    scale::short_or_long,
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
