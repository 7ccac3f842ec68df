//! A link between two processes that can be stalled, slowed or reset, each way.
//!
//! A relay listens on a loopback port and carries every connection to its target. A stalled way
//! behaves like a cut wire: nothing arrives, not even the news that a connection ended, and what was
//! under way arrives late when the wire is mended. Order is kept and no byte is invented or lost
//! while a connection lives. What a relay holds back is bounded; then the sender's window closes.
//!
//! Not here: who is cut from whom (`cli::demo::links`, and the tests' own shapes of partition).

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::{Clock, Instant, tasks};

/// What one connection holds back in one way before it stops reading.
const HELD_BYTES_MAX: usize = 4 << 20;
const READ_BYTES: usize = 64 << 10;

/// One of the two ways through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From whoever connects to the target.
    Forth,
    /// From the target to whoever connected.
    Back,
}

/// How bytes move one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// As fast as they come.
    #[default]
    Open,
    /// Late, and perhaps not more than so many per second.
    Slow {
        /// How late.
        delay: Duration,
        /// How many per second at most.
        bytes_per_second_max: Option<NonZeroU64>,
    },
    /// Not at all, and silently.
    Stalled,
}

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    forth: Flow,
    back: Flow,
    resets: u64,
}

impl Link {
    fn flow(&self, way: Way) -> Flow {
        match way {
            Way::Forth => self.forth,
            Way::Back => self.back,
        }
    }

    /// Whether a connection could be made: that takes a packet each way.
    fn is_passable(&self) -> bool {
        self.forth != Flow::Stalled && self.back != Flow::Stalled
    }
}

#[derive(Debug, Default)]
struct Moved {
    forth: AtomicU64,
    back: AtomicU64,
}

impl Moved {
    fn of(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::Forth => &self.forth,
            Way::Back => &self.back,
        }
    }
}

/// A listening port whose connections lead to a target. Dropping it ends them all.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    link: watch::Sender<Link>,
    moved: Arc<Moved>,
    _accepting: DropGuard,
}

impl Relay {
    /// Listens on a free loopback port for connections to `target`.
    pub async fn open(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (link, seen) = watch::channel(Link::default());
        let moved = Arc::new(Moved::default());
        let gone = CancellationToken::new();
        let over = gone.clone();
        let accepting = accept(listener, target, seen, Arc::clone(&moved));
        tasks::spawn("relay", async move {
            // The connections are tasks of the accept loop, and end with it.
            over.run_until_cancelled(accepting).await;
        });
        Ok(Self { addr, link, moved, _accepting: gone.drop_guard() })
    }

    /// Where to connect to reach the target through this relay.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes how bytes move one way, for connections there are and those to come.
    pub fn set(&self, way: Way, flow: Flow) {
        self.link.send_modify(|link| match way {
            Way::Forth => link.forth = flow,
            Way::Back => link.back = flow,
        });
    }

    /// Cuts the link silently, both ways.
    pub fn cut(&self) {
        self.set(Way::Forth, Flow::Stalled);
        self.set(Way::Back, Flow::Stalled);
    }

    /// Opens the link both ways; what was held back arrives now.
    pub fn heal(&self) {
        self.set(Way::Forth, Flow::Open);
        self.set(Way::Back, Flow::Open);
    }

    /// Breaks every connection there is, on both sides.
    pub fn reset(&self) {
        self.link.send_modify(|link| link.resets += 1);
    }

    /// How many bytes were carried one way.
    pub fn moved(&self, way: Way) -> u64 {
        self.moved.of(way).load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    link: watch::Receiver<Link>,
    moved: Arc<Moved>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => {
                    connections.spawn(carry(near, target, link.clone(), Arc::clone(&moved)));
                }
                // Out of file descriptors, most likely: give others a moment to close theirs.
                Err(_) => Clock::real().sleep(Duration::from_millis(20)).await,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// One connection, from its first byte to its end or reset.
async fn carry(
    mut near: TcpStream,
    target: SocketAddr,
    mut link: watch::Receiver<Link>,
    moved: Arc<Moved>,
) {
    let resets = link.borrow().resets;
    // Small messages must not wait for company; a broken stream shows itself below.
    near.set_nodelay(true).ok();
    let dialled = tokio::select! {
        dialled = dial(target, link.clone()) => dialled,
        () = reset(&mut link, resets) => Err(io::ErrorKind::ConnectionReset.into()),
    };
    let Ok(mut far) = dialled else {
        abort(&near);
        return;
    };
    let is_whole = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let forth = Pump { way: Way::Forth, link: link.clone(), moved: moved.of(Way::Forth) };
        let back = Pump { way: Way::Back, link: link.clone(), moved: moved.of(Way::Back) };
        let both = async {
            tokio::try_join!(forth.run(near_read, far_write), back.run(far_read, near_write))
        };
        tokio::select! {
            ended = both => ended.is_ok(),
            () = reset(&mut link, resets) => false,
        }
    };
    if !is_whole {
        abort(&near);
        abort(&far);
    }
}

async fn dial(target: SocketAddr, mut link: watch::Receiver<Link>) -> io::Result<TcpStream> {
    link.wait_for(Link::is_passable).await.map_err(|_| io::ErrorKind::ConnectionAborted)?;
    let far = TcpStream::connect(target).await?;
    far.set_nodelay(true)?;
    Ok(far)
}

/// Waits until the connections of this link are to be reset.
async fn reset(link: &mut watch::Receiver<Link>, resets: u64) {
    if link.wait_for(|link| link.resets != resets).await.is_err() {
        // The relay is gone, and with it this task in a moment.
        std::future::pending::<()>().await;
    }
}

/// Makes the drop of a stream a reset instead of an orderly end.
fn abort(stream: &TcpStream) {
    // A stream that is already broken needs no reset.
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
}

/// What is held back: bytes, or the end of the stream if there are none.
struct Held {
    due: Instant,
    bytes: io::Result<Bytes>,
}

/// Carries one way of one connection.
struct Pump<'a> {
    way: Way,
    link: watch::Receiver<Link>,
    moved: &'a AtomicU64,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let clock = Clock::real();
        let mut buffer = vec![0; READ_BYTES];
        let mut held: VecDeque<Held> = VecDeque::new();
        let mut held_bytes = 0;
        let mut next_at = clock.now();
        let mut has_ended = false;
        loop {
            let flow = self.link.borrow_and_update().flow(self.way);
            let due = match flow {
                Flow::Open => clock.now(),
                Flow::Slow { .. } | Flow::Stalled => {
                    held.front().map_or(next_at, |front| front.due.max(next_at))
                }
            };
            tokio::select! {
                biased;
                changed = self.link.changed() => if changed.is_err() { return Ok(()) },
                () = clock.sleep_until(due), if !held.is_empty() && flow != Flow::Stalled => {
                    let Some(front) = held.pop_front() else { continue };
                    let bytes = front.bytes?;
                    if bytes.is_empty() {
                        return to.shutdown().await;
                    }
                    held_bytes -= bytes.len();
                    self.pass(&mut to, &bytes).await?;
                    next_at = clock.now() + flow.pause_after(bytes.len());
                }
                read = from.read(&mut buffer), if !has_ended && held_bytes < HELD_BYTES_MAX => {
                    match read {
                        Ok(count) if count > 0 && flow == Flow::Open && held.is_empty() => {
                            self.pass(&mut to, &buffer[..count]).await?;
                        }
                        read => {
                            let bytes = read.map(|count| Bytes::copy_from_slice(&buffer[..count]));
                            let count = bytes.as_ref().map_or(0, Bytes::len);
                            has_ended = count == 0;
                            held_bytes += count;
                            held.push_back(Held { due: clock.now() + flow.delay(), bytes });
                        }
                    }
                }
            }
        }
    }

    async fn pass(&self, to: &mut WriteHalf<'_>, bytes: &[u8]) -> io::Result<()> {
        to.write_all(bytes).await?;
        self.moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Flow {
    fn delay(self) -> Duration {
        match self {
            Self::Slow { delay, .. } => delay,
            Self::Open | Self::Stalled => Duration::ZERO,
        }
    }

    fn pause_after(self, bytes: usize) -> Duration {
        match self {
            Self::Slow { bytes_per_second_max: Some(rate), .. } => {
                Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate)
            }
            Self::Slow { .. } | Self::Open | Self::Stalled => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// An echo behind a relay, and a connection through it.
    async fn echo() -> (Relay, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        let relay = Relay::open(target).await.unwrap();
        let stream = TcpStream::connect(relay.addr()).await.unwrap();
        (relay, stream)
    }

    async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        answer(stream, text.len()).await
    }

    async fn answer(stream: &mut TcpStream, length: usize) -> io::Result<String> {
        let mut bytes = vec![0; length];
        let read = timeout(Duration::from_millis(300), stream.read_exact(&mut bytes)).await;
        read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[tokio::test]
    async fn an_open_link_carries_bytes_both_ways() {
        let (relay, mut stream) = echo().await;
        assert_eq!(ask(&mut stream, "hello").await.unwrap(), "hello");
        assert_eq!((relay.moved(Way::Forth), relay.moved(Way::Back)), (5, 5));
    }

    #[tokio::test]
    async fn a_cut_link_is_silent_and_delivers_late_when_healed() {
        let (relay, mut stream) = echo().await;
        ask(&mut stream, "before").await.unwrap();
        relay.cut();
        let lost = ask(&mut stream, "during").await.unwrap_err();
        assert_eq!(lost.kind(), io::ErrorKind::TimedOut);
        relay.heal();
        assert_eq!(answer(&mut stream, 6).await.unwrap(), "during");
    }

    #[tokio::test]
    async fn a_way_can_be_cut_alone() {
        let (relay, mut stream) = echo().await;
        ask(&mut stream, "before").await.unwrap();
        relay.set(Way::Back, Flow::Stalled);
        assert!(ask(&mut stream, "during").await.is_err());
        assert_eq!((relay.moved(Way::Forth), relay.moved(Way::Back)), (12, 6));
    }

    #[tokio::test]
    async fn no_connection_is_made_across_a_cut() {
        let (relay, _first) = echo().await;
        relay.cut();
        let mut late = TcpStream::connect(relay.addr()).await.unwrap();
        assert!(ask(&mut late, "hello").await.is_err());
        assert_eq!(relay.moved(Way::Forth), 0);
        relay.heal();
        assert_eq!(answer(&mut late, 5).await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_slow_link_delays_and_keeps_the_order() {
        let (relay, mut stream) = echo().await;
        let delay = Duration::from_millis(60);
        relay.set(Way::Forth, Flow::Slow { delay, bytes_per_second_max: None });
        let asked = Instant::now();
        stream.write_all(b"one ").await.unwrap();
        assert_eq!(ask(&mut stream, "two").await.unwrap(), "one");
        assert!(asked.elapsed() >= delay, "answered after {:?}", asked.elapsed());
        relay.heal();
        assert_eq!(ask(&mut stream, " three").await.unwrap(), " two t");
    }

    #[tokio::test]
    async fn a_rate_is_kept() {
        let (relay, mut stream) = echo().await;
        let bytes_per_second_max = NonZeroU64::new(1_000_000);
        relay.set(Way::Forth, Flow::Slow { delay: Duration::ZERO, bytes_per_second_max });
        let asked = Instant::now();
        let sent = vec![7; 200_000];
        stream.write_all(&sent).await.unwrap();
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(sent, received);
        // The last piece is not followed by a pause, so it does not count.
        assert!(asked.elapsed() >= Duration::from_millis(120), "took {:?}", asked.elapsed());
    }

    #[tokio::test]
    async fn a_reset_breaks_connections_and_lets_new_ones_through() {
        let (relay, mut stream) = echo().await;
        ask(&mut stream, "before").await.unwrap();
        relay.reset();
        let broken = ask(&mut stream, "after").await.unwrap_err();
        assert_ne!(broken.kind(), io::ErrorKind::TimedOut);
        let mut next = TcpStream::connect(relay.addr()).await.unwrap();
        assert_eq!(ask(&mut next, "again").await.unwrap(), "again");
    }

    #[tokio::test]
    async fn a_target_that_is_down_breaks_the_connection() {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let relay = Relay::open(target).await.unwrap();
        let mut stream = TcpStream::connect(relay.addr()).await.unwrap();
        let broken = ask(&mut stream, "hello").await.unwrap_err();
        assert_ne!(broken.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_end_is_passed_on_after_the_bytes_before_it() {
        let (_relay, mut stream) = echo().await;
        stream.write_all(b"last words").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "last words");
    }
}
