//! One HTTP/1.1 connection, as lean as it gets: whole requests out, answers in.
//!
//! The load shares the machine with the replicas it measures, so it must cost next to nothing:
//! requests are built once, an answer is scanned and not copied, and nothing is allocated per
//! request. It understands what a replica answers (a length, chunks, or neither) and refuses the rest.
//!
//! Not here: retries and leaders (`load`), and anything that a program should use: that is the SDK.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 64 << 10;
/// What a connection has room for at first, and at most: many of them that get short answers stay small.
const READ_BYTES_MIN: usize = 2 << 10;
const READ_BYTES_MAX: usize = 64 << 10;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    /// How much is read at a time; more with every read that fills it.
    read_bytes: usize,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// The status.
    pub(super) status: u16,
    /// How the body ends.
    body: BodyEnd,
    /// The lines after the first, for those that want one of them.
    lines: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyEnd {
    Length(u64),
    Chunks { left: u64 },
    Close,
    Reached,
}

impl Head {
    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        headers(&self.lines).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Connection {
    /// Connects.
    pub(super) async fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new(), read_bytes: READ_BYTES_MIN })
    }

    /// Sends a request and reads its whole answer, whose body is thrown away.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> io::Result<Head> {
        let mut head = self.ask(request).await?;
        while let Some(piece) = self.piece(&mut head).await? {
            drop(piece);
        }
        Ok(head)
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn fetch(&mut self, request: &[u8]) -> io::Result<(Head, Vec<u8>)> {
        let mut head = self.ask(request).await?;
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut head).await? {
            body.extend_from_slice(&piece);
        }
        Ok((head, body))
    }

    /// Sends a request and reads the head of its answer; `piece` gives the body.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Head> {
        self.stream.write_all(request).await?;
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = parse(&self.buffer.split_to(end + 4).freeze())?;
                // An interim answer says nothing about the real one.
                if head.status >= 200 {
                    return Ok(head);
                }
            } else if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(broken("the head of an answer has no end"));
            } else {
                self.fill().await?;
            }
        }
    }

    /// The next piece of the body, or nothing at its end.
    pub(super) async fn piece(&mut self, head: &mut Head) -> io::Result<Option<Bytes>> {
        loop {
            match head.body {
                BodyEnd::Reached | BodyEnd::Length(0) => {
                    head.body = BodyEnd::Reached;
                    return Ok(None);
                }
                BodyEnd::Length(left) => {
                    let piece = self.up_to(left).await?;
                    head.body = BodyEnd::Length(left - piece.len() as u64);
                    return Ok(Some(piece));
                }
                BodyEnd::Close => {
                    return match self.up_to(u64::MAX).await {
                        Ok(piece) => Ok(Some(piece)),
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                        Err(error) => Err(error),
                    };
                }
                BodyEnd::Chunks { left: 0 } => {
                    let length = self.chunk_length().await?;
                    head.body = if length == 0 {
                        BodyEnd::Reached
                    } else {
                        BodyEnd::Chunks { left: length }
                    };
                    if length == 0 {
                        self.line().await?;
                    }
                }
                BodyEnd::Chunks { left } => {
                    let piece = self.up_to(left).await?;
                    let left = left - piece.len() as u64;
                    if left == 0 {
                        self.line().await?;
                    }
                    head.body = BodyEnd::Chunks { left };
                    return Ok(Some(piece));
                }
            }
        }
    }

    async fn chunk_length(&mut self) -> io::Result<u64> {
        let line = self.line().await?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let digits = std::str::from_utf8(digits).unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| broken("a chunk has no length"))
    }

    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(2);
                return Ok(line);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(broken("a line of an answer has no end"));
            }
            self.fill().await?;
        }
    }

    /// Some bytes, at most so many.
    async fn up_to(&mut self, count_max: u64) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        let count = usize::try_from(count_max).unwrap_or(usize::MAX).min(self.buffer.len());
        Ok(self.buffer.split_to(count).freeze())
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.buffer.capacity() - self.buffer.len() < self.read_bytes / 2 {
            self.buffer.reserve(self.read_bytes);
        }
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.buffer.len() == self.buffer.capacity() {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Ok(())
    }
}

/// A request with its head and body in one piece.
pub(super) fn request(
    method: &str,
    target: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Bytes {
    let mut bytes = Vec::with_capacity(256 + body.len());
    bytes.extend_from_slice(format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n").as_bytes());
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if method != "GET" {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    Bytes::from(bytes)
}

fn parse(bytes: &Bytes) -> io::Result<Head> {
    let first_end = find(bytes, b"\r\n").unwrap_or(bytes.len());
    let status = bytes
        .get(9..12)
        .filter(|_| bytes.starts_with(b"HTTP/1.1 "))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| broken("the answer is not HTTP/1.1"))?;
    let lines = bytes.slice((first_end + 2).min(bytes.len())..);
    let body = body_end(status, &lines)?;
    Ok(Head { status, body, lines })
}

fn body_end(status: u16, lines: &[u8]) -> io::Result<BodyEnd> {
    if status < 200 || status == 204 || status == 304 {
        return Ok(BodyEnd::Reached);
    }
    for (name, value) in headers(lines) {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| broken("an answer has no length"))?;
            return Ok(BodyEnd::Length(length));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(BodyEnd::Chunks { left: 0 });
        }
    }
    Ok(BodyEnd::Close)
}

fn headers(lines: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        Some((name, value.trim()))
    })
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A connection to a peer that answers everything with these bytes, one small piece at a time.
    async fn answering(bytes: &'static [u8]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = [0; 1024];
            while stream.read(&mut request).await.unwrap_or(0) > 0 {
                for piece in bytes.chunks(7) {
                    stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        Connection::open(addr).await.unwrap()
    }

    #[tokio::test]
    async fn an_answer_with_a_length_is_read_whole_and_the_next_one_too() {
        let mut connection =
            answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nEtag: \"7\"\r\n\r\nhello").await;
        for _ in 0..3 {
            let (head, body) = connection.fetch(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!(
                (head.status, head.header("etag"), &*body),
                (200, Some("\"7\""), &b"hello"[..])
            );
        }
    }

    #[tokio::test]
    async fn an_answer_in_chunks_is_put_together() {
        let mut connection = answering(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n",
        )
        .await;
        for _ in 0..2 {
            let (_, body) = connection.fetch(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!(body, b"hello, world");
        }
    }

    #[tokio::test]
    async fn an_interim_answer_and_one_without_a_body_are_understood() {
        let mut connection =
            answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").await;
        for _ in 0..2 {
            let head = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!(head.status, 204);
        }
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_error() {
        let mut connection = answering(b"220 mail.example.org\r\n\r\n").await;
        let error = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_request_carries_its_length() {
        let bytes = request("POST", "/v1/logs/a/records", "x:1", &[("accept", "a/b")], b"hello");
        assert_eq!(
            &bytes[..],
            b"POST /v1/logs/a/records HTTP/1.1\r\nhost: x:1\r\naccept: a/b\r\ncontent-length: 5\r\n\r\nhello"
        );
        assert_eq!(&request("GET", "/", "x", &[], b"")[..], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    }
}
