//! What REST offers around records: tags, links, redirects, effects told in advance, readiness,
//! metrics, events of others.
//!
//! Method: single requests to a real group, as any HTTP client would send them.

use anyhow::{Context, Result};
use client::api::{
    error::ErrorCode,
    header,
    logs::{Cursor, CursorList, Dropped, LogDescription, LogList},
    media,
    records::{Appended, ReadAnswer},
};
use client::types::Position;
use quorate_e2e::{
    cluster::Cluster,
    rest::{self, Answer},
    wait::{PATIENCE, until},
};
use reqwest::{Method, RequestBuilder};

const ORDERS: &str = "/v1/logs/orders";
const RECORDS: &str = "/v1/logs/orders/records";

/// A group with the log `orders` of three records.
async fn with_orders(replicas: usize) -> Result<Cluster> {
    let cluster = Cluster::calm(replicas, &[]).await?;
    rest::put(cluster.http(), &cluster.url(0), ORDERS, "{}").await?.succeeded()?;
    for body in [b"a", b"b", b"c"] {
        rest::append(cluster.http(), &cluster.url(0), "orders", body).await?.succeeded()?;
    }
    Ok(cluster)
}

fn request(cluster: &Cluster, method: Method, path: &str) -> RequestBuilder {
    cluster.http().request(method, format!("{}{path}", cluster.url(0)))
}

async fn get(cluster: &Cluster, path: &str) -> Result<Answer> {
    rest::get(cluster.http(), &cluster.url(0), path).await?.succeeded()
}

/// Asks again for what has this tag.
async fn again(cluster: &Cluster, path: &str, tag: &str) -> Result<Answer> {
    Answer::to(request(cluster, Method::GET, path).header("if-none-match", tag)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tag_of_a_log_binds_an_append_to_its_tail_and_saves_its_description() -> Result<()> {
    let cluster = with_orders(1).await?;
    let described = get(&cluster, ORDERS).await?;
    let tag = described.header("etag").context("a log has a tag")?;
    let append = || request(&cluster, Method::POST, RECORDS).header("if-match", tag).body("d");

    let unchanged = again(&cluster, ORDERS, tag).await?;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header(header::TAIL), Some("3"), "it tells the rest nevertheless");
    // The settings change and the tail does not: another description, the same condition.
    let patch = request(&cluster, Method::PATCH, ORDERS).header("content-type", media::JSON);
    Answer::to(patch.body(r#"{"retention_bytes":1000000}"#)).await?.succeeded()?;
    assert_eq!(again(&cluster, ORDERS, tag).await?.status, 200);

    let appended: Appended = Answer::to(append()).await?.succeeded()?.json()?;
    assert_eq!(appended.first.get(), 3);
    let refused = Answer::to(append()).await?.problem()?;
    assert_eq!((refused.status, refused.actual.tail.map(Position::get)), (412, Some(4)));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_has_already_is_not_sent_again() -> Result<()> {
    let cluster = with_orders(1).await?;
    let page = format!("{RECORDS}?from=first");
    for path in [&page, &format!("{RECORDS}/1")] {
        let answer = get(&cluster, path).await?;
        let tag = answer.header("etag").context("it has a tag")?.to_owned();
        assert_eq!(again(&cluster, path, &tag).await?.status, 304, "{path}");
        assert_eq!(again(&cluster, path, "\"other\"").await?.status, 200, "{path}");
    }
    let tag = get(&cluster, &page).await?.header("etag").context("a tag")?.to_owned();
    assert!(tag.starts_with("W/"), "all forms of a read have the same: {tag}");
    let trim = request(&cluster, Method::POST, "/v1/logs/orders/trim");
    let trim = trim.header("content-type", media::JSON).body(r#"{"to":1}"#);
    Answer::to(trim).await?.succeeded()?;
    let trimmed: ReadAnswer = again(&cluster, &page, &tag).await?.succeeded()?.json()?;
    assert_eq!(trimmed.records.len(), 2, "it goes on at the same place and begins later");

    let head = Answer::to(request(&cluster, Method::HEAD, ORDERS)).await?.succeeded()?;
    assert_eq!((head.body.len(), head.header(header::TAIL)), (0, Some("3")));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_walked_by_its_links_in_pages_of_the_size_asked_for() -> Result<()> {
    let cluster = with_orders(3).await?;
    for name in ["a", "b", "c"] {
        rest::put(cluster.http(), &cluster.url(0), &format!("/v1/logs/{name}"), "{}")
            .await?
            .succeeded()?;
        let cursor = format!("{ORDERS}/cursors/{name}");
        let body = r#"{"position":1}"#;
        let stored = rest::put(cluster.http(), &cluster.url(0), &cursor, body).await?;
        let stored: Cursor = stored.succeeded()?.json()?;
        assert_eq!(stored.position.get(), 1);
    }
    let (mut path, mut names) = ("/v1/logs?limit=2".to_owned(), Vec::new());
    loop {
        let answer = get(&cluster, &path).await?;
        let page: LogList = answer.json()?;
        assert!(page.logs.len() <= 2, "{path}");
        assert_eq!(answer.header(header::LIMIT), Some("2"), "{path}");
        names.extend(page.logs.into_iter().map(|log| log.log.to_string()));
        let Some(link) = answer.header("link") else { break };
        let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        path = next.context("a link to the next page")?.to_owned();
    }
    assert_eq!(names, ["a", "b", "c", "orders"]);
    let cursors = get(&cluster, "/v1/logs/orders/cursors?limit=2").await?;
    assert_eq!(cursors.json::<CursorList>()?.cursors.len(), 2);
    assert!(cursors.header("link").is_some_and(|link| link.contains("limit=2")));
    let capped = get(&cluster, "/v1/logs?limit=4000000000").await?;
    let cap = capped.header(header::LIMIT).context("the cap is told")?.parse::<u32>()?;
    assert!(cap < 4_000_000_000, "{cap}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_lists_are_read_as_they_are_here_and_readiness_says_what_for() -> Result<()>
{
    let mut cluster = with_orders(2).await?;
    let cursor = "/v1/logs/orders/cursors/c";
    rest::put(cluster.http(), &cluster.url(0), cursor, r#"{"position":1}"#).await?.succeeded()?;
    cluster.healed().await?;
    // Of two replicas, the one that leads is left alone.
    let leader = cluster.leader().await?;
    let url = cluster.url(leader);
    let http = cluster.http().clone();
    let ask = async |path: &str| rest::get(&http, &url, path).await;
    assert_eq!(ask("/readyz?for=append").await?.status, 200);
    cluster.replica_mut(1 - leader).kill()?;
    let not_ready = async || Ok((ask("/readyz?for=append").await?.status == 503).then_some(()));
    until("appends are not possible", PATIENCE, not_ready).await?;

    let list: LogList = ask("/v1/logs?consistency=local").await?.succeeded()?.json()?;
    assert_eq!(list.logs.len(), 1);
    let cursors = ask("/v1/logs/orders/cursors?consistency=local").await?.succeeded()?;
    assert_eq!(cursors.json::<CursorList>()?.cursors.len(), 1);
    let refused = ask("/v1/logs").await?;
    // Whether it still leads depends on the moment.
    let code = refused.problem()?.code;
    assert!([ErrorCode::NoQuorum, ErrorCode::NoLeader].contains(&code), "{}", refused.quoted());
    assert!(refused.header("retry-after").is_some());
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sends_whoever_prefers_it_to_the_leader() -> Result<()> {
    let cluster = with_orders(3).await?;
    let (leader, follower) = (cluster.leader().await?, cluster.follower().await?);
    let policy = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().redirect(policy).build()?;
    let append = http.post(format!("{}{RECORDS}", cluster.url(follower)));
    let answer = Answer::to(append.header(header::PREFER, "redirect").body("d")).await?;
    assert_eq!(answer.status, 307);
    let location = answer.header("location").context("it says where")?;
    assert_eq!(location, format!("{}{RECORDS}", cluster.url(leader)));
    let appended = Answer::to(http.post(location).body("d")).await?.succeeded()?;
    assert_eq!(appended.json::<Appended>()?.first.get(), 3);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_is_told_in_advance_and_nothing_is_done() -> Result<()> {
    let cluster = with_orders(1).await?;
    let before: LogDescription = get(&cluster, ORDERS).await?.json()?;
    let trim = request(&cluster, Method::POST, "/v1/logs/orders/trim?dry_run=true");
    let trim = trim.header("content-type", media::JSON).body(r#"{"to":2}"#);
    let delete = request(&cluster, Method::DELETE, "/v1/logs/orders?dry_run=true");
    for (request, records) in [(trim, 2), (delete, 3)] {
        let told: Dropped = Answer::to(request).await?.succeeded()?.json()?;
        assert_eq!((told.records, told.dry_run), (records, true));
    }
    assert_eq!(get(&cluster, ORDERS).await?.json::<LogDescription>()?, before);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_metrics_come_in_the_forms_of_others() -> Result<()> {
    let cluster = with_orders(1).await?;
    let event = request(&cluster, Method::POST, RECORDS)
        .header("content-type", media::JSON)
        .header("ce-specversion", "1.0")
        .header("ce-id", "42");
    let appended: Appended = Answer::to(event.body("[1, 2]")).await?.succeeded()?.json()?;
    let kept = get(&cluster, &format!("{RECORDS}/{}", appended.first)).await?;
    assert_eq!(kept.body, "[1, 2]");
    let headers = kept.header(header::RECORD_HEADERS).context("it has headers")?;
    assert!(headers.contains(r#"["ce-id","42"]"#) && headers.contains("application/json"));

    let ask = |accept| request(&cluster, Method::GET, "/metrics").header("accept", accept);
    let open = Answer::to(ask("application/openmetrics-text")).await?.succeeded()?;
    assert!(open.header("content-type").is_some_and(|kind| kind.contains("openmetrics")));
    assert!(open.body.ends_with(b"# EOF\n"));
    let plain = Answer::to(ask("application/openmetrics-text;q=0, */*")).await?.succeeded()?;
    assert!(plain.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(plain.header(header::EPOCH).is_some(), "every answer tells the epoch");

    let follow = reqwest::Client::new().get(format!("{}{RECORDS}", cluster.url(0)));
    let follow = follow.header("accept", media::EVENTS).send().await?;
    for name in [header::AS_OF, header::EPOCH, header::LOG_ID, header::SERVED_BY] {
        assert!(follow.headers().contains_key(name), "a follow tells {name}");
    }
    cluster.finish();
    Ok(())
}
