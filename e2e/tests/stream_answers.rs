//! What a stream answers beyond the conformance suite: to what makes no sense, to pages of other sites, and about logs.

use anyhow::Result;
use client::api::{error::ErrorCode, logs::LogDescription, records::ReadAnswer};
use quorate_e2e::{
    cluster::Cluster,
    rest::{self, Answer},
};
use reqwest::Method;

const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain");

/// Method, path, headers and body of a request, and the status and code that it gets.
type Case<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, ErrorCode);

async fn ask(
    cluster: &Cluster,
    number: usize,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Result<Answer> {
    let request = cluster.http().request(method, cluster.url(number) + "/ds/v1/" + path);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    Answer::to(request.body(body.into())).await
}

async fn describe(cluster: &Cluster, log: &str) -> Result<LogDescription> {
    let path = format!("/v1/logs/{}", log.replace('/', "%2F"));
    rest::get(cluster.http(), &cluster.url(0), &path).await?.succeeded()?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_for_a_stream_is_told_so_and_changes_nothing() -> Result<()> {
    let cluster = Cluster::calm(3, &[]).await?;
    ask(&cluster, 0, (Method::PUT, "a/json"), &[JSON], "[1]").await?.succeeded()?;
    ask(&cluster, 0, (Method::PUT, "ended"), &[TEXT, ("stream-closed", "true")], "x")
        .await?
        .succeeded()?;
    let before = [describe(&cluster, "a/json").await?, describe(&cluster, "ended").await?];

    let producer = ("producer-id", "p");
    let large = vec![b'x'; (1 << 20) + 1];
    let cases: &[Case<'_>] = &[
        (Method::PUT, "_activity", &[JSON], b"", 403, ErrorCode::ReservedLogName),
        (Method::GET, "__ds/subscriptions/1", &[], b"", 403, ErrorCode::ReservedLogName),
        (Method::PUT, "a%20b", &[], b"", 400, ErrorCode::InvalidLogName),
        (Method::PUT, "a//b", &[], b"", 400, ErrorCode::InvalidLogName),
        (Method::PUT, "new", &[JSON], b"{", 400, ErrorCode::InvalidBody),
        (
            Method::PUT,
            "new",
            &[("content-type", "nonsense")],
            b"",
            400,
            ErrorCode::InvalidParameter,
        ),
        (Method::PUT, "new", &[("stream-ttl", "1.5")], b"", 400, ErrorCode::InvalidParameter),
        (
            Method::PUT,
            "new",
            &[("stream-forked-from", "/x")],
            b"",
            400,
            ErrorCode::InvalidParameter,
        ),
        (Method::PUT, "new", &[("if-match", "\"1\"")], b"", 400, ErrorCode::InvalidParameter),
        (Method::PUT, "a/json", &[TEXT], b"", 409, ErrorCode::LogDiffers),
        (Method::PUT, "a/json", &[JSON, ("stream-ttl", "9")], b"", 409, ErrorCode::LogDiffers),
        (Method::POST, "a/json", &[JSON], b"[]", 400, ErrorCode::InvalidBody),
        (Method::POST, "a/json", &[JSON], b"[1", 400, ErrorCode::InvalidBody),
        (Method::POST, "a/json", &[JSON], b"", 400, ErrorCode::InvalidBody),
        (Method::POST, "a/json", &[TEXT], b"x", 409, ErrorCode::ContentTypeDiffers),
        (Method::POST, "a/json", &[TEXT], &large, 413, ErrorCode::RecordTooLarge),
        (Method::POST, "a/json", &[JSON, producer], b"1", 400, ErrorCode::InvalidParameter),
        (
            Method::POST,
            "a/json",
            &[JSON, ("stream-seq", "a b")],
            b"1",
            400,
            ErrorCode::InvalidParameter,
        ),
        (Method::POST, "ended", &[TEXT], b"x", 409, ErrorCode::LogSealed),
        (Method::POST, "nothing", &[TEXT], b"x", 404, ErrorCode::UnknownLog),
        (Method::GET, "a/json?offset=0", &[], b"", 400, ErrorCode::InvalidParameter),
        (Method::GET, "a/json?live=sse", &[], b"", 400, ErrorCode::InvalidParameter),
        (Method::GET, "a/json?live=x&offset=-1", &[], b"", 400, ErrorCode::InvalidParameter),
        (Method::DELETE, "nothing", &[], b"", 404, ErrorCode::UnknownLog),
        (Method::PATCH, "a/json", &[], b"", 405, ErrorCode::MethodNotAllowed),
    ];
    for (method, path, headers, body, status, code) in cases {
        for number in 0..cluster.len() {
            let answer = ask(&cluster, number, (method.clone(), path), headers, *body).await?;
            let what = format!("{method} {path} {headers:?}: {}", answer.quoted());
            assert_eq!((answer.status, answer.problem()?.code), (*status, *code), "{what}");
        }
    }
    assert_eq!([describe(&cluster, "a/json").await?, describe(&cluster, "ended").await?], before);
    assert_eq!(ask(&cluster, 1, (Method::HEAD, "new"), &[], "").await?.status, 404);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_is_of_one_stream_only_and_the_same_from_every_replica() -> Result<()> {
    let cluster = Cluster::calm(3, &[]).await?;
    let read = "s?offset=-1";
    ask(&cluster, 0, (Method::PUT, "s"), &[TEXT], "one").await?.succeeded()?;
    let mut offsets = Vec::new();
    for number in 0..cluster.len() {
        let answer = ask(&cluster, number, (Method::GET, read), &[], "").await?.succeeded()?;
        assert_eq!(answer.body, "one");
        offsets.push(answer.header("stream-next-offset").unwrap_or_default().to_owned());
    }
    assert_eq!(offsets[1..], [&*offsets[0]; 2]);
    ask(&cluster, 1, (Method::DELETE, "s"), &[], "").await?.succeeded()?;
    ask(&cluster, 2, (Method::PUT, "s"), &[TEXT], "another").await?.succeeded()?;
    for number in 0..cluster.len() {
        for live in ["", "&live=long-poll", "&live=sse"] {
            let path = format!("s?offset={}{live}", offsets[0]);
            let answer = ask(&cluster, number, (Method::GET, &path), &[], "").await?;
            assert_eq!(answer.problem()?.code, ErrorCode::StreamReplaced, "{}", answer.quoted());
            assert_eq!(answer.status, 410);
        }
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_change_nothing_and_nothing_in_a_stream_is_a_page() -> Result<()> {
    let cluster = Cluster::calm(1, &[]).await?;
    let html = ("content-type", "text/html");
    ask(&cluster, 0, (Method::PUT, "page"), &[html], "<script>alert(1)</script>")
        .await?
        .succeeded()?;
    let other = ("origin", "https://other.example");
    for site in [other, ("sec-fetch-site", "cross-site")] {
        for method in [Method::PUT, Method::POST, Method::DELETE] {
            let answer = ask(&cluster, 0, (method, "page"), &[html, site], "x").await?;
            assert_eq!(answer.problem()?.code, ErrorCode::CrossSite);
        }
    }
    let asked = [other, ("access-control-request-method", "POST")];
    for (method, headers) in [(Method::OPTIONS, &asked[..]), (Method::GET, &[other])] {
        let answer = ask(&cluster, 0, (method, "page"), headers, "").await?.succeeded()?;
        assert_eq!(answer.header("access-control-allow-origin"), None, "no origin is named");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let answer = ask(&cluster, 0, (Method::GET, "page"), &[], "").await?;
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; sandbox"));
    assert_eq!(answer.header("content-disposition"), Some("attachment"));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_a_log_and_a_log_is_a_stream() -> Result<()> {
    let cluster = Cluster::calm(3, &[]).await?;
    // As many small messages as a client packs together in a moment.
    let many: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    let body = format!("[{}]", many.join(","));
    ask(&cluster, 0, (Method::PUT, "shop/orders"), &[JSON], "").await?.succeeded()?;
    ask(&cluster, 1, (Method::POST, "shop/orders"), &[JSON], body.clone()).await?.succeeded()?;
    assert_eq!(describe(&cluster, "shop/orders").await?.tail.get(), 5_000);
    let path = "/v1/logs/shop%2Forders/records?from=4999";
    let page: ReadAnswer = rest::get(cluster.http(), &cluster.url(2), path).await?.json()?;
    assert_eq!(page.records[0].0.body, "4999");

    let request = cluster.http().post(cluster.url(2) + "/v1/logs/shop%2Forders/records");
    Answer::to(request.header("content-type", "text/plain").body("{}")).await?.succeeded()?;
    let (mut offset, mut parts) = ("-1".to_owned(), Vec::new());
    loop {
        let path = format!("shop/orders?offset={offset}");
        let answer = ask(&cluster, 2, (Method::GET, &path), &[], "").await?.succeeded()?;
        parts.extend(answer.json::<Vec<serde_json::Value>>()?);
        offset = answer.header("stream-next-offset").unwrap_or_default().to_owned();
        if answer.header("stream-up-to-date") == Some("true") {
            break;
        }
        assert!(answer.header("cache-control").is_some_and(|said| said.contains("private")));
    }
    assert_eq!(parts.len(), 5_001);
    assert_eq!(parts[5_000], serde_json::json!({}));
    cluster.finish();
    Ok(())
}
