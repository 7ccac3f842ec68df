//! Plans, asked of real replicas: the figures are right, what is not safe is blocked, nothing changes, and people and
//! programs are told the same.

use anyhow::{Context, Result, ensure};
use client::api::{
    changes::ChangeStage,
    cluster::{JoinFolder, Joiner, JoinerList},
    error::ErrorCode,
    media, paths,
    plans::{Check, CheckId, CheckLevel, MemberName, Plan, PlanVerdict, Wish},
};
use client::types::{ReplicaAddr, ReplicaId};
use quorate_e2e::{
    cluster::Cluster,
    folder::copy,
    membership::change,
    process::{Process, Recipe, program},
    rest::{self, Answer},
    wait::until,
};
use std::time::Duration;
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_mins(1);
/// Connections that would not fit into the queue of a socket.
const TRIED: usize = 5_000;
/// What a program is told that a plan is not ready to be carried out.
const UNSAFE: Option<i32> = Some(6);

async fn ask(cluster: &Cluster, number: usize, wish: &Wish) -> Result<Answer> {
    let request = cluster.http().post(format!("{}{}", cluster.url(number), paths::PLANS));
    let request = request.header("content-type", media::JSON);
    Answer::to(request.body(serde_json::to_vec(wish)?)).await
}

/// The plan, once it is as it should be: on a busy machine a replica may be late for once.
async fn planned(
    cluster: &Cluster,
    number: usize,
    wish: &Wish,
    is_right: impl Fn(&Plan) -> bool,
) -> Result<Plan> {
    let mut last = None;
    let plan = until("a plan is as expected", PATIENCE, async || {
        let answer = ask(cluster, number, wish).await?;
        if answer.status == 503 {
            return Ok(None);
        }
        let plan: Plan = answer.succeeded()?.json()?;
        last = Some(plan.clone());
        Ok(is_right(&plan).then_some(plan))
    });
    plan.await.with_context(|| format!("{last:#?}"))
}

fn check(plan: &Plan, id: CheckId) -> &Check {
    plan.checks.iter().find(|check| check.id == id).expect("the check applies")
}

fn level(plan: &Plan, id: CheckId) -> CheckLevel {
    check(plan, id).level
}

/// A process that asks to join, as the leader lists it once it has told how it reaches everybody.
async fn waiting(cluster: &Cluster, name: &str, role: &[&str]) -> Result<(Process, Joiner)> {
    let mut recipe = Recipe::in_folder(cluster.folder().join(name))?;
    recipe.first_start = ["--join", &cluster.url(0)].map(str::to_owned).into();
    recipe.first_start.extend(role.iter().map(|word| (*word).to_owned()));
    let process = Process::spawn(recipe)?;
    let addr = process.url();
    let joiner = until("it is listed with all it has to tell", PATIENCE, async || {
        let list = rest::get(cluster.http(), &cluster.url(0), paths::JOINERS).await?;
        let list: JoinerList = list.succeeded()?.json()?;
        let mut listed = list.joiners.into_iter();
        Ok(listed.find(|it| it.addr.as_str() == addr && it.reaches.len() == cluster.len()))
    });
    let joiner = joiner.await.with_context(|| process.quoted())?;
    Ok((process, joiner))
}

/// Runs `quorate cluster plan` against one replica.
fn command_line(cluster: &Cluster, number: usize, words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = program()?;
    command.args(["cluster", "plan"]).args(words).args(["-e", &cluster.url(number)]);
    command.env("HOME", cluster.folder()).env("NO_COLOR", "1").env_remove("XDG_CONFIG_HOME");
    let output = command.output()?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

/// What does not depend on the moment at which it was measured.
fn lasting(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let measured = [CheckId::P6, CheckId::P10, CheckId::P11];
    plan.checks.retain(|check| !measured.contains(&check.id));
    plan.joins.clear();
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_has_the_right_figures_is_the_same_everywhere_and_changes_nothing() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    rest::put(cluster.http(), &cluster.url(0), "/v1/logs/orders", "{}").await?.succeeded()?;
    rest::append(cluster.http(), &cluster.url(0), "orders", &vec![b'x'; 50_000])
        .await?
        .succeeded()?;
    let (process, joiner) = waiting(&cluster, "joiner", &[]).await?;
    assert_eq!((joiner.folder, joiner.as_learner), (Some(JoinFolder::Empty), false));
    assert!(joiner.free_bytes.is_some_and(|free| free > 0), "{joiner:?}");
    assert!(joiner.clock_ahead_ms.is_some_and(|ms| ms.abs() < 5_000), "{joiner:?}");
    let addr = joiner.addr.clone();
    let before = cluster.status(0).await.context("a status")?;

    let add = Wish::Add { joiners: vec![addr.clone()], as_learner: false };
    let follower = cluster.follower().await?;
    let plan = planned(&cluster, follower, &add, |plan| {
        plan.verdict == PlanVerdict::Ready && level(plan, CheckId::P6) == CheckLevel::Pass
    })
    .await?;
    let meanwhile = plan.meanwhile.as_ref().context("a vote changes")?;
    assert_eq!((plan.now.may_fail, meanwhile.may_fail, plan.after.may_fail), (1, 1, 1));
    assert_eq!((plan.now.voters.len(), plan.after.voters.len()), (3, 4));
    assert!(plan.after.voters.contains(&MemberName::Joiner(addr.clone())));
    assert_eq!(level(&plan, CheckId::P5), CheckLevel::Warn, "four tolerate no more than three");
    assert_eq!(level(&plan, CheckId::P8), CheckLevel::Pass);
    assert_eq!(level(&plan, CheckId::P9), CheckLevel::Warn, "all stand on this machine");
    assert!(plan.copy_bytes.is_some_and(|bytes| (50_000..60_000).contains(&bytes)), "{plan:?}");

    // The command line is told the same, by whichever replica.
    let words = ["add", addr.as_str()];
    let told = until("the command line tells the same plan", PATIENCE, async || {
        let (code, text) =
            command_line(&cluster, follower, &[&words[..], &["-o", "json"]].concat())?;
        ensure!(code == Some(0), "{code:?} {text}");
        let told: Plan = serde_json::from_str(&text)?;
        Ok((lasting(&told) == lasting(&plan)).then_some(told))
    });
    assert_eq!(told.await?.verdict, PlanVerdict::Ready);
    let (code, page) = command_line(&cluster, 0, &[&words[..], &["--check"]].concat())?;
    assert_eq!(code, Some(0), "{page}");
    for found in lasting(&plan).checks {
        assert!(page.contains(&found.line), "{} is not in\n{page}", found.line);
    }
    assert!(page.contains(&plan.command) && page.contains(&plan.after.sentence), "{page}");

    let after = cluster.status(0).await.context("a status")?;
    assert_eq!((after.epoch, after.replicas.len()), (before.epoch, 3));
    assert_eq!(Some(plan.epoch), before.epoch);

    // With one of three dead, none of the others can be spared; the dead one can be replaced.
    let leader = cluster.leader().await?;
    let dead = cluster.follower().await?;
    let id_of = async |number: usize| -> Result<ReplicaId> {
        cluster.status(number).await.context("a status")?.this_replica.context("it is a replica")
    };
    let (dead_id, other_id) = (id_of(dead).await?, id_of(3 - leader - dead).await?);
    cluster.replica_mut(dead).kill()?;
    let remove = Wish::Remove { replicas: vec![other_id] };
    let plan = planned(&cluster, leader, &remove, |plan| {
        plan.verdict == PlanVerdict::Blocked && level(plan, CheckId::P2) == CheckLevel::Pass
    })
    .await?;
    assert_eq!(level(&plan, CheckId::P3), CheckLevel::Block);
    assert_eq!(check(&plan, CheckId::P3).type_to_override, None, "it cannot be forced");
    let meanwhile = plan.meanwhile.as_ref().context("a vote changes")?;
    assert_eq!((plan.now.may_fail, meanwhile.has_majority), (0, false));
    let (code, page) =
        command_line(&cluster, leader, &["remove", &other_id.to_string(), "--check"])?;
    assert_eq!(code, UNSAFE, "{page}");
    assert!(page.contains("■ P3  block") && page.contains("This cannot be overridden."), "{page}");

    let replace = Wish::Replace { replica: dead_id, by: addr };
    let plan =
        planned(&cluster, leader, &replace, |plan| plan.verdict == PlanVerdict::Ready).await?;
    assert_eq!((plan.leaves, plan.after.may_fail), (vec![dead_id], 1));
    drop(process);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_wants_no_vote_is_let_in_by_a_plan_alone() -> Result<()> {
    // The group wants one more voter.
    let mut cluster = Cluster::empty()?;
    let mut recipe = cluster.recipes(1, &[])?.remove(0);
    recipe.first_start = ["--bootstrap", "--expect", "2"].map(str::to_owned).into();
    cluster.add(recipe).await?;
    let (learner, joiner) = waiting(&cluster, "learner", &["--join-as", "learner"]).await?;
    assert!(joiner.as_learner);
    // It may wait for days, and each plan has it tried: more often than a queue holds connections.
    for tried in 0..TRIED {
        let connect = TcpStream::connect(learner.recipe().peer_listen);
        let connected = tokio::time::timeout(PATIENCE, connect).await;
        ensure!(matches!(connected, Ok(Ok(_))), "{tried}: {connected:?}");
    }
    // Who comes later and wants a vote is let in before it.
    let mut recipe = Recipe::in_folder(cluster.folder().join("voter"))?;
    recipe.first_start = ["--join", &cluster.url(0)].map(str::to_owned).into();
    cluster.add(recipe).await?;
    cluster.healed().await?;
    let list = rest::get(cluster.http(), &cluster.url(0), paths::JOINERS).await?;
    let list: JoinerList = list.succeeded()?.json()?;
    assert_eq!(list.joiners.len(), 1, "{list:?}");

    let wish = Wish::Add { joiners: vec![joiner.addr], as_learner: false };
    let plan = planned(&cluster, 0, &wish, |plan| plan.verdict == PlanVerdict::Ready).await?;
    assert_eq!((plan.after.voters.len(), plan.after.learners.len()), (2, 1));
    assert!(plan.joins[0].as_learner && plan.meanwhile.is_none(), "{plan:?}");
    drop(learner);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_in_whose_folder_somebody_else_was_is_refused_with_the_way_out() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let gone = cluster.follower().await?;
    let replica =
        cluster.answered(gone).await?.this_replica.context("it is a replica of this cluster")?;
    let (former, former_joiner) = waiting(&cluster, "former", &[]).await?;
    let replace = Wish::Replace { replica, by: former_joiner.addr };
    assert_eq!(change(&cluster, &replace).await?.stage, ChangeStage::Done);
    let mut removed = cluster.release(gone);
    cluster.adopt(former);
    removed.ended(PATIENCE).await?;
    let other = Cluster::start(1).await?;
    let theirs = other.answered(0).await?.cluster.context("it is a cluster")?;
    let way_out = "with an empty";
    let cases = [
        (
            "was-removed",
            &removed,
            format!("holds what replica {replica} of this cluster left there"),
        ),
        ("of-others", other.replica(0), format!("belongs to cluster {theirs}")),
    ];
    for (name, whose, line) in cases {
        // Its folder was empty when it began to wait.
        let (spare, joiner) = waiting(&cluster, name, &[]).await?;
        copy(&whose.recipe().folder, &spare.recipe().folder)?;
        let add = Wish::Add { joiners: vec![joiner.addr], as_learner: false };
        let leader = cluster.leader().await?;
        let plan =
            planned(&cluster, leader, &add, |plan| level(plan, CheckId::P8) == CheckLevel::Block)
                .await?;
        let found = check(&plan, CheckId::P8);
        assert!(found.line.contains(&line), "{found:?}");
        assert!(found.fix.as_deref().is_some_and(|fix| fix.contains(way_out)), "{found:?}");
        assert_eq!((plan.verdict, &found.type_to_override), (PlanVerdict::Blocked, &None));
    }
    other.finish();
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_is_none_is_refused_by_name() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let id = |number| ReplicaId::new(number).expect("not 0");
    let nowhere = ReplicaAddr::new("http://127.0.0.1:9")?;
    let cases = [
        (Wish::Remove { replicas: vec![id(9)] }, ErrorCode::UnknownReplica),
        (Wish::Replace { replica: id(1), by: nowhere.clone() }, ErrorCode::UnknownJoiner),
        (Wish::Add { joiners: vec![nowhere], as_learner: false }, ErrorCode::UnknownJoiner),
        (Wish::Remove { replicas: vec![id(1)] }, ErrorCode::InvalidWish),
        (Wish::Lead { replica: id(1) }, ErrorCode::InvalidWish),
        (Wish::Add { joiners: Vec::new(), as_learner: false }, ErrorCode::InvalidWish),
    ];
    for (wish, code) in cases {
        let problem = ask(&cluster, 0, &wish).await?.problem()?;
        assert_eq!(problem.code, code, "{wish:?}: {problem:?}");
        assert!(problem.detail.is_some(), "{wish:?}");
    }
    cluster.finish();
    Ok(())
}
