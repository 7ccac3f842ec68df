//! Who did what stands in a log of the service itself: the same on every replica, once, for ever, and nobody changes it.
//!
//! Method: real processes; what an operator does is asked for over REST, and read back at every replica, after the death of
//! a leader and after a restart of all.

use anyhow::{Context, Result};
use client::api::{
    activity::{Act, ActKind, Activity, ActivityList},
    error::ErrorCode,
    logs::LogList,
    media, paths,
    plans::Wish,
};
use client::types::{LogName, Position};
use quorate_e2e::{
    cluster::Cluster,
    membership::{change, id_of},
    rest::Answer,
};
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, FROM},
};

async fn activity(cluster: &Cluster, number: usize, query: &str) -> Result<ActivityList> {
    let url = format!("{}{}?{query}", cluster.url(number), paths::ACTIVITY);
    Answer::to(cluster.http().get(url)).await?.succeeded()?.json()
}

/// Asks one replica for something, as somebody.
async fn ask(cluster: &Cluster, method: Method, path: &str, body: &str) -> Result<Answer> {
    let request = cluster.http().request(method, format!("{}{path}", cluster.url(1)));
    let request = request.header(FROM, "ada@example.org").header(CONTENT_TYPE, media::JSON);
    Answer::to(request.body(body.to_owned())).await
}

fn told(list: &[Activity]) -> Vec<String> {
    list.iter().map(|one| format!("{}: {}", one.by, one.act)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_does_is_told_by_every_replica_once_and_for_ever() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    let orders = paths::log(&LogName::new("orders")?);
    let [put, patch, post, delete] = [Method::PUT, Method::PATCH, Method::POST, Method::DELETE];
    for (method, path, body) in [
        (&put, orders.clone(), "{}"),
        // It is there already: nobody did anything.
        (&put, orders.clone(), "{}"),
        (&patch, orders.clone(), r#"{"retention_bytes": 1000000}"#),
        (&post, format!("{orders}/records"), r#"{"records": [{"data": "a"}, {"data": "b"}]}"#),
        (&post, format!("{orders}/trim?dry_run=true"), r#"{"to": 1}"#),
        (&post, format!("{orders}/trim"), r#"{"to": 1}"#),
        (&post, format!("{orders}/seal"), ""),
        (&delete, orders.clone(), ""),
        (&post, paths::CHECKPOINTS.to_owned(), r#"{"label": "by hand"}"#),
    ] {
        let answer = ask(&cluster, method.clone(), &path, body).await?;
        answer.succeeded().with_context(|| format!("{method} {path}"))?;
    }
    let leader = cluster.leader().await?;
    let replica = id_of(&cluster, (leader + 1) % 3).await?;
    change(&cluster, &Wish::Lead { replica }).await?;

    let all = activity(&cluster, 0, "").await?;
    assert_eq!(all.next, None);
    let acts: Vec<_> = all.activity.iter().rev().map(|one| one.act.kind()).collect();
    let expected = [
        ActKind::Founded,
        ActKind::ReplicaAdmitted,
        ActKind::ReplicaAdmitted,
        ActKind::LogCreated,
        ActKind::SettingsChanged,
        ActKind::LogTrimmed,
        ActKind::LogSealed,
        ActKind::LogDeleted,
        ActKind::CheckpointMade,
        ActKind::ChangeBegun,
        ActKind::ChangeEnded,
    ];
    assert_eq!(acts, expected, "{:#?}", told(&all.activity));
    let positions = all.activity.iter().rev().map(|one| one.position.get());
    assert!(positions.eq(0..11));
    let created = &all.activity[7];
    assert_eq!((&*created.by, created.from.as_deref()), ("ada@example.org", Some("127.0.0.1")));
    assert_eq!(told(&all.activity[3..4]), ["ada@example.org: deleted log orders with 1 records"]);
    let ended = matches!(all.activity[0].act, Act::ChangeEnded { is_done: true, .. });
    assert!(ended, "{:?}", all.activity[0]);

    // Page by page, of one kind, and line by line.
    let first = activity(&cluster, 1, "limit=4").await?;
    assert_eq!((&first.activity[..], first.next), (&all.activity[..4], Some(Position::new(7))));
    let rest = activity(&cluster, 2, "before=7").await?;
    assert_eq!((&rest.activity[..], rest.next), (&all.activity[4..], None));
    let trims = activity(&cluster, 1, "kind=log_trimmed").await?;
    assert_eq!(trims.activity, all.activity[5..6]);
    let lines = cluster.http().get(format!("{}{}", cluster.url(2), paths::ACTIVITY));
    let lines = Answer::to(lines.header(ACCEPT, media::NDJSON)).await?.succeeded()?;
    let lines = String::from_utf8(lines.body.to_vec())?;
    let lines: Vec<Activity> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines, all.activity);

    // Whoever leads next has it, too, and so have all after a restart.
    cluster.kill_leader().await?;
    cluster.leader().await?;
    cluster.kill_all()?;
    cluster.start_all()?;
    cluster.healed().await?;
    for number in 0..3 {
        assert_eq!(activity(&cluster, number, "").await?, all);
    }
    assert!(cluster.digests().await?.windows(2).all(|two| two[0] == two[1]));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_what_was_done() -> Result<()> {
    let cluster = Cluster::calm(2, &[]).await?;
    let before = activity(&cluster, 0, "").await?;
    let log = paths::log(&LogName::new("_activity")?);
    for (method, path, body) in [
        (Method::PUT, log.clone(), "{}"),
        (Method::PATCH, log.clone(), r#"{"retention_bytes": 1}"#),
        (Method::DELETE, log.clone(), ""),
        (Method::POST, format!("{log}/records"), r#"{"records": [{"data": "a"}]}"#),
        (Method::POST, format!("{log}/trim"), r#"{"to": 1}"#),
        (Method::POST, format!("{log}/seal"), ""),
        (Method::PUT, format!("{log}/fence"), r#"{"fence": "mine"}"#),
    ] {
        let refused = ask(&cluster, method.clone(), &path, body).await?;
        assert_eq!(refused.problem()?.code, ErrorCode::ReservedLogName, "{method} {path}");
    }
    assert_eq!(activity(&cluster, 1, "").await?, before);
    assert_eq!(before.activity.len(), 2, "founded, and one let in: {before:#?}");

    // It is a log as any other to whoever asks for it by its name.
    let listed = async |query: &str| -> Result<usize> {
        let url = format!("{}{}?{query}", cluster.url(0), paths::LOGS);
        Ok(Answer::to(cluster.http().get(url)).await?.json::<LogList>()?.logs.len())
    };
    assert_eq!((listed("").await?, listed("prefix=_").await?), (0, 1));
    let records = cluster.http().get(format!("{}{log}/records?from=first", cluster.url(0)));
    let records = Answer::to(records.header(ACCEPT, media::NDJSON)).await?.succeeded()?;
    assert_eq!(String::from_utf8(records.body.to_vec())?.lines().count(), 2);

    let wrong = cluster.http().get(format!("{}{}?kind=nothing", cluster.url(0), paths::ACTIVITY));
    assert_eq!(Answer::to(wrong).await?.problem()?.code, ErrorCode::InvalidParameter);
    cluster.finish();
    Ok(())
}
