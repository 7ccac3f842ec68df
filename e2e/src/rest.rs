//! Single requests, as any HTTP client would send them, and what came back.
//!
//! The SDK would not send most of what is sent here: bad input, odd bodies, one replica and no other.

use crate::contract;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use client::api::{error::Problem, media};
use reqwest::{
    Method, RequestBuilder,
    header::{CONTENT_TYPE, HeaderMap, HeaderName},
};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a replica answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// Sends a request and reads the whole answer, which has to be one that the document of the contract describes.
    pub async fn to(request: RequestBuilder) -> Result<Self> {
        let (http, request) = request.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = http.execute(request).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let answer = Self { status, headers, body: answer.bytes().await? };
        let checked =
            contract::check(method.as_str(), &path, status, &answer.headers, &answer.body);
        checked.with_context(|| format!("{method} {path}: {}", answer.quoted()))?;
        Ok(answer)
    }

    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).with_context(|| self.quoted())
    }

    /// The problem document, which says the same as the status line.
    pub fn problem(&self) -> Result<Problem> {
        let kind = self.header(CONTENT_TYPE.as_str());
        ensure!(kind == Some(media::PROBLEM), "no problem document: {}", self.quoted());
        let problem: Problem = self.json()?;
        ensure!(problem.status == self.status, "status and document differ: {}", self.quoted());
        Ok(problem)
    }

    /// A header, if it was told and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Fails, with the whole answer, unless the request succeeded.
    pub fn succeeded(self) -> Result<Self> {
        ensure!((200..300).contains(&self.status), "refused: {}", self.quoted());
        Ok(self)
    }

    /// Status and body, for a person.
    pub fn quoted(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {}", self.status, body.chars().take(500).collect::<String>())
    }
}

/// Sends a request that may be refused before all of it was taken, and reads what is said to it.
///
/// Whoever refuses a body by its length may close before it has arrived; an HTTP client that is still
/// writing then tells of a broken connection instead of the answer that lies there to be read.
pub async fn send_refused(addr: SocketAddr, head: &str, body: &[u8]) -> Result<Answer> {
    let (mut reader, mut writer) = TcpStream::connect(addr).await?.into_split();
    let length = body.len();
    let head =
        format!("{head}host: {addr}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let sending = async {
        // It may break off at any place: the answer counts.
        if writer.write_all(head.as_bytes()).await.is_ok() {
            writer.write_all(body).await.ok();
        }
    };
    let mut said = Vec::new();
    let reading = async {
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            said.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::join!(sending, reading);
    parse(&said).with_context(|| format!("it was told {:?}", String::from_utf8_lossy(&said)))
}

/// An answer of HTTP/1.1 that ends with its connection.
fn parse(said: &[u8]) -> Option<Answer> {
    let end = said.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&said[..end]).ok()?.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, value.trim().parse().ok()?);
    }
    Some(Answer { status, headers, body: Bytes::copy_from_slice(&said[end + 4..]) })
}

/// Appends a body as one record, as `curl --data-binary` would.
pub async fn append(http: &reqwest::Client, url: &str, log: &str, body: &[u8]) -> Result<Answer> {
    let request = http.request(Method::POST, format!("{url}/v1/logs/{log}/records"));
    Answer::to(request.body(body.to_vec())).await
}

/// GET on a path of a replica.
pub async fn get(http: &reqwest::Client, url: &str, path: &str) -> Result<Answer> {
    Answer::to(http.get(format!("{url}{path}"))).await
}

/// PUT of JSON on a path of a replica.
pub async fn put(http: &reqwest::Client, url: &str, path: &str, json: &str) -> Result<Answer> {
    let request = http.put(format!("{url}{path}")).header(CONTENT_TYPE, media::JSON);
    Answer::to(request.body(json.to_owned())).await
}
