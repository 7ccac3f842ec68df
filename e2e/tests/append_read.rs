//! What goes in comes out: through every replica, in every form of body, byte for byte, in one order.

use anyhow::{Context, Result};
use client::Client;
use client::api::{
    frame::{ReadFrame, append_frame},
    header, media,
    reading::{ReadFrom, ReadQuery},
    records::{Appended, ReadAnswer},
};
use client::types::{Batch, BatchLimits, NewRecord, Position};
use futures_util::StreamExt;
use quorate_e2e::{
    cluster::Cluster,
    rest::{self, Answer},
    wait::PATIENCE,
};
use reqwest::RequestBuilder;
use tokio::time::timeout;

const RECORDS: &str = "/v1/logs/orders/records";

async fn with_orders(replicas: usize) -> Result<Cluster> {
    let cluster = Cluster::calm(replicas, &[]).await?;
    rest::put(cluster.http(), &cluster.url(0), "/v1/logs/orders", "{}").await?.succeeded()?;
    Ok(cluster)
}

async fn append(cluster: &Cluster, number: usize, kind: &str, body: Vec<u8>) -> Result<Appended> {
    let request = cluster.http().post(format!("{}{RECORDS}", cluster.url(number)));
    Answer::to(request.header("content-type", kind).body(body)).await?.succeeded()?.json()
}

async fn read(cluster: &Cluster, number: usize, query: &str) -> Result<ReadAnswer> {
    let path = format!("{RECORDS}?{query}");
    rest::get(cluster.http(), &cluster.url(number), &path).await?.succeeded()?.json()
}

fn bodies(answer: &ReadAnswer) -> Vec<&[u8]> {
    answer.records.iter().map(|record| &*record.0.body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_alone_is_a_complete_service() -> Result<()> {
    let mut cluster = with_orders(1).await?;
    let appended = append(&cluster, 0, media::BYTES, b"hello".to_vec()).await?;
    assert_eq!((appended.first.get(), appended.next.get()), (0, 1));
    assert_eq!(bodies(&read(&cluster, 0, "from=first").await?), [b"hello"]);

    cluster.replica_mut(0).kill()?;
    cluster.replica_mut(0).start()?;
    cluster.healed().await?;
    assert_eq!(bodies(&read(&cluster, 0, "from=first").await?), [b"hello"]);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_any_replica_acknowledged_every_replica_shows_at_once() -> Result<()> {
    let cluster = with_orders(3).await?;
    for round in 0..30_usize {
        let (here, there) = (round % 3, (round + 1) % 3);
        let body = format!("round {round}").into_bytes();
        let appended = append(&cluster, here, media::BYTES, body.clone()).await?;
        let answer = read(&cluster, there, &format!("from={}", appended.first)).await?;
        assert_eq!(bodies(&answer), [body], "written at {here}, read at {there}");
    }
    let log = "orders".parse()?;
    let mut roots = Vec::new();
    for number in 0..3 {
        roots.push(cluster.describe(number, &log).await?.root);
    }
    assert!(roots.windows(2).all(|pair| pair[0] == pair[1]), "{roots:?}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_any_form_is_the_same_batch() -> Result<()> {
    let cluster = with_orders(3).await?;
    let (text, binary) = (b"plain".to_vec(), vec![0, 159, 146, 150]);
    let records = [NewRecord::new(text.clone()), NewRecord::new(binary.clone())];
    let framed = append_frame(&Batch::new(&records, &BatchLimits::default())?);
    let (one, two) = (r#"{"data":"plain"}"#, r#"{"data_base64":"AJ+Slg=="}"#);
    for (kind, body) in [
        (media::JSON, format!(r#"{{"records":[{one},{two}]}}"#).into_bytes()),
        (media::NDJSON, format!("{one}\n{two}\n").into_bytes()),
        (media::FRAMES, framed.to_vec()),
    ] {
        let appended = append(&cluster, 1, kind, body).await?;
        assert_eq!(appended.next.since(appended.first), 2, "{kind}");
        let answer = read(&cluster, 2, &format!("from={}", appended.first)).await?;
        assert_eq!(bodies(&answer), [&text[..], &binary[..]], "{kind}");
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_body_of_an_unknown_kind_is_one_record_byte_for_byte() -> Result<()> {
    let cluster = with_orders(3).await?;
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    // What `curl --data-binary @file` says of its body by itself.
    let appended = append(&cluster, 2, "application/x-www-form-urlencoded", body.clone()).await?;
    let path = format!("{RECORDS}/{}", appended.first);
    for number in 0..3 {
        let answer = rest::get(cluster.http(), &cluster.url(number), &path).await?.succeeded()?;
        assert_eq!(answer.body, body, "read at {number}");
        assert_eq!(answer.header(header::POSITION), Some("0"));
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_as_large_as_the_limits_allow() -> Result<()> {
    let limits = [
        "limits.record_bytes_max=14MiB",
        "limits.batch_bytes_max=15MiB",
        "limits.append_bytes_max=15MiB",
    ];
    let arguments: Vec<_> = limits.iter().flat_map(|limit| ["--set", *limit]).collect();
    let cluster = Cluster::calm(3, &arguments).await?;
    rest::put(cluster.http(), &cluster.url(0), "/v1/logs/orders", "{}").await?.succeeded()?;
    let body: Vec<u8> = (0..=255).cycle().take(14 << 20).collect();
    append(&cluster, cluster.follower().await?, media::BYTES, body.clone()).await?;
    for number in 0..3 {
        let path = format!("{RECORDS}/0");
        let answer = rest::get(cluster.http(), &cluster.url(number), &path).await?.succeeded()?;
        assert!(answer.body == body, "another body at {number}");
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_in_any_form_shows_the_same_records() -> Result<()> {
    let cluster = with_orders(1).await?;
    for body in ["a", "b", "c"] {
        append(&cluster, 0, media::BYTES, body.into()).await?;
    }
    let ask = async |kind: &str| {
        let request = cluster.http().get(format!("{}{RECORDS}?from=1", cluster.url(0)));
        Answer::to(request.header("accept", kind)).await?.succeeded()
    };
    let json: ReadAnswer = ask(media::JSON).await?.json()?;
    assert_eq!(bodies(&json), [b"b", b"c"]);

    let lines = ask(media::NDJSON).await?.body;
    assert_eq!(String::from_utf8_lossy(&lines).lines().count(), 2);

    let mut body = ask(media::FRAMES).await?.body;
    let frame = ReadFrame::take(&mut body)?.context("there are records")?;
    let framed: Vec<_> = frame.records().collect::<Result<_, _>>()?;
    assert_eq!(framed.iter().map(|record| &*record.body).collect::<Vec<_>>(), [b"b", b"c"]);
    assert_eq!(framed[0].position, Position::new(1));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_when_a_record_comes() -> Result<()> {
    let cluster = with_orders(3).await?;
    // Position 0 is the tail until the record comes, and then the record: either order will do.
    let waiting = read(&cluster, 2, "from=0&wait=30s");
    let coming = append(&cluster, 1, media::BYTES, b"at last".to_vec());
    let (shown, appended) = timeout(PATIENCE, async { tokio::join!(waiting, coming) })
        .await
        .context("the long poll did not end by itself")?;
    assert_eq!(appended?.first.get(), 0);
    assert_eq!(bodies(&shown?), [b"at last"]);

    let empty = read(&cluster, 2, "from=tail&wait=50ms").await?;
    assert!(empty.records.is_empty(), "a wait in vain is answered with an empty list");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_of_a_sealed_log_ends_after_its_last_record() -> Result<()> {
    let cluster = with_orders(3).await?;
    let log = Client::connect(&cluster.urls().join(",")).await?.log("orders".parse()?);
    log.append("first").await?;
    let mut follow = log.follow(ReadFrom::First);
    let first = timeout(PATIENCE, follow.next()).await??.context("a record is there")?;
    assert_eq!(first.body, "first");
    // It is sealed while the follow waits, and the events of another follow tell the same.
    let path = format!("{}{RECORDS}?from=first", cluster.url(1));
    let (ended, sealed, events) = tokio::join!(
        timeout(PATIENCE, follow.next()),
        log.seal(),
        events_until("event: end", reqwest::Client::new().get(path))
    );
    sealed?;
    assert!(ended.context("the follow did not end")??.is_none());
    assert!(events?.contains(r#""reason":"sealed""#));

    let page = log.read(&ReadQuery::default()).await?;
    assert!(page.is_sealed, "a read tells that nothing more comes");
    assert!(read(&cluster, 2, "from=tail").await?.sealed);
    let answer = rest::get(cluster.http(), &cluster.url(1), "/v1/logs/orders").await?;
    assert_eq!(answer.header(header::SEALED), Some("true"));
    cluster.finish();
    Ok(())
}

/// Reads an event stream until `word` has come, in a whole event.
async fn events_until(word: &str, request: RequestBuilder) -> Result<String> {
    let answer = request.header("accept", media::EVENTS).send().await?;
    let mut stream = answer.bytes_stream();
    let mut text = String::new();
    let complete = timeout(PATIENCE, async {
        while !text.contains(word) || !text.ends_with("\n\n") {
            let bytes = stream.next().await.context("the stream ended")??;
            text.push_str(std::str::from_utf8(&bytes)?);
        }
        anyhow::Ok(())
    });
    complete.await.with_context(|| format!("only this came: {text}"))??;
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_goes_on_at_another_replica_without_gap_or_repetition() -> Result<()> {
    let cluster = with_orders(3).await?;
    // Without the time-out of single requests.
    let http = reqwest::Client::new();
    append(&cluster, 0, media::BYTES, b"one".to_vec()).await?;
    let request = http.get(format!("{}{RECORDS}?from=first", cluster.url(1)));
    let text = events_until("\"one\"", request).await?;
    let ids = text.lines().filter_map(|line| line.strip_prefix("id:"));
    let id = ids.map(str::trim).next_back().context("an event has an id")?;

    append(&cluster, 0, media::BYTES, b"two".to_vec()).await?;
    let request = http.get(format!("{}{RECORDS}", cluster.url(2)));
    let text = events_until("\"two\"", request.header(header::LAST_EVENT_ID, id)).await?;
    assert!(!text.contains("\"one\""), "the first record came again: {text}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_batch_is_stored_once_and_answered_alike() -> Result<()> {
    let cluster = with_orders(3).await?;
    let mut answers = Vec::new();
    for number in [0, 1, 2] {
        let request = cluster.http().post(format!("{}{RECORDS}", cluster.url(number)));
        let request = request.header(header::PRODUCER_ID, "p").header(header::PRODUCER_EPOCH, "1");
        let request = request.header(header::PRODUCER_SEQUENCE, "0").body("once");
        answers.push(Answer::to(request).await?.succeeded()?);
    }
    let firsts: Vec<Appended> = answers.iter().map(Answer::json).collect::<Result<_>>()?;
    assert!(firsts.iter().all(|appended| appended.first == Position::ZERO), "{firsts:?}");
    let replayed = answers.iter().map(|answer| answer.header(header::IDEMPOTENCY_REPLAYED));
    assert_eq!(replayed.collect::<Vec<_>>(), [None, Some("true"), Some("true")]);
    assert_eq!(read(&cluster, 1, "from=first").await?.records.len(), 1);
    cluster.finish();
    Ok(())
}
