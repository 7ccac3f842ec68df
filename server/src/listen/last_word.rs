//! The last word to a connection that cannot go on: a problem document, where HTTP/1 has room for one.
//!
//! A head that makes no sense, that is too large or too late, and a listener that is full are answered
//! like any other request, and then the connection ends. It is closed only after the other side had the
//! time to read: a socket closed with unread bytes takes back what was sent last.
//!
//! Not here: requests that were understood (`http`).

use std::time::Duration;

use client::api::error::{ErrorCode, Problem};
use client::api::{header, media};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::Clock;

/// For how long the other side may take to read it.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// How much of what it still sends is read and thrown away.
const DISCARDED_BYTES_MAX: usize = 4 << 20;
/// When to try again after it was too much.
const RETRY: Duration = Duration::from_secs(1);

/// What HTTP would say in a few bytes, of a head it cannot take.
pub(super) fn refusal(bytes: &[u8]) -> Option<ErrorCode> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?.get(1..)?;
    match rest.get(..4)? {
        b" 400" => Some(ErrorCode::MalformedRequest),
        b" 414" | b" 431" => Some(ErrorCode::RequestHeadTooLarge),
        _ => None,
    }
}

/// Says why the connection ends, and waits until that has been read, or for a moment.
pub(super) async fn say(mut stream: TcpStream, code: ErrorCode, name: &str, clock: &Clock) {
    let saying = async {
        stream.write_all(&answer(code, name)).await?;
        stream.shutdown().await?;
        let (mut buffer, mut discarded) = (vec![0; 16 << 10], 0);
        while discarded < DISCARDED_BYTES_MAX {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => discarded += count,
            }
        }
        std::io::Result::Ok(())
    };
    // Whoever does not listen has gone: there is nobody to tell.
    clock.within(LINGER_MAX, saying).await.ok();
}

fn answer(code: ErrorCode, name: &str) -> Vec<u8> {
    let mut problem = Problem::new(code).with_request_id(name);
    let mut retry = String::new();
    if code.status() == 503 {
        problem = problem.with_retry_after(RETRY);
        retry = format!("{}: {}\r\n", header::RETRY_AFTER, RETRY.as_secs());
    }
    let body = serde_json::to_vec(&problem).expect("a problem document is plain JSON");
    let status = http::StatusCode::from_u16(code.status()).ok();
    let reason = status.and_then(|status| status.canonical_reason()).unwrap_or("");
    let head = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         {retry}{}: {name}\r\nconnection: close\r\n\r\n",
        code.status(),
        media::PROBLEM,
        body.len(),
        header::REQUEST_ID,
    );
    [head.as_bytes(), &body].concat()
}
