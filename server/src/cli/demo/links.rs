//! The links between the replicas of a demo: a relay for every direction between every two doors.
//!
//! ```text
//!   replica 1 --> relay (1, 2) --> replica 2        a connection belongs to whoever opened it,
//!   replica 1 <-- relay (2, 1) <-- replica 2        so cutting both relays cuts all between them
//! ```
//!
//! Each replica is told what to dial instead of the others' addresses, of both their doors: forwarded
//! requests are cut like everything else. Clients are not: they reach every replica directly.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use super::relay::{Flow, Relay, Way};

/// The doors of one replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doors {
    pub(super) clients: SocketAddr,
    pub(super) peers: SocketAddr,
}

#[derive(Debug)]
struct Link {
    source: usize,
    target: usize,
    dialled: SocketAddr,
    relay: Relay,
}

/// Every link between the replicas, numbered by their place in the demo.
#[derive(Debug)]
pub(super) struct Links {
    links: Vec<Link>,
}

impl Links {
    /// A relay from every replica to both doors of every other one, of all that there may ever be: what a replica
    /// has to dial is told at its start.
    pub(super) async fn open(doors: &[Doors]) -> io::Result<Self> {
        let mut links = Vec::new();
        for source in 0..doors.len() {
            for (target, doors) in doors.iter().enumerate().filter(|(target, _)| *target != source)
            {
                for dialled in [doors.clients, doors.peers] {
                    let relay = Relay::open(dialled).await?;
                    links.push(Link { source, target, dialled, relay });
                }
            }
        }
        Ok(Self { links })
    }

    /// What this replica has to dial instead of the others' addresses.
    pub(super) fn map(&self, source: usize) -> String {
        let pairs: Vec<String> = self
            .links
            .iter()
            .filter(|link| link.source == source)
            .map(|link| format!("{}={}", link.dialled, link.relay.addr()))
            .collect();
        pairs.join(",")
    }

    /// Cuts a replica off from all others.
    pub(super) fn cut(&self, replica: usize) {
        self.of(replica).for_each(Relay::cut);
    }

    /// Makes everything from and to a replica late.
    pub(super) fn slow(
        &self,
        replica: usize,
        delay: Duration,
        bytes_per_second_max: Option<NonZeroU64>,
    ) {
        for relay in self.of(replica) {
            let flow = Flow::Slow { delay, bytes_per_second_max };
            relay.set(Way::Forth, flow);
            relay.set(Way::Back, flow);
        }
    }

    /// Opens every link.
    pub(super) fn heal(&self) {
        self.links.iter().for_each(|link| link.relay.heal());
    }

    fn of(&self, replica: usize) -> impl Iterator<Item = &Relay> {
        self.links
            .iter()
            .filter(move |link| link.source == replica || link.target == replica)
            .map(|link| &link.relay)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::world::Clock;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        addr
    }

    /// Whether a replica reaches that address by its map.
    async fn reaches(links: &Links, source: usize, target: SocketAddr) -> bool {
        let map = links.map(source);
        let pair = map.split(',').find_map(|pair| pair.strip_prefix(&format!("{target}=")));
        let mut stream = TcpStream::connect(pair.unwrap()).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let limit = Duration::from_millis(200);
        Clock::real().within(limit, stream.read_u8()).await.is_ok_and(|read| read.is_ok())
    }

    #[tokio::test]
    async fn a_replica_that_is_cut_off_reaches_nobody_and_is_not_reached() {
        let mut doors = Vec::new();
        for _ in 0..3 {
            doors.push(Doors { clients: echo().await, peers: echo().await });
        }
        let links = Links::open(&doors).await.unwrap();
        assert_eq!(links.map(0).split(',').count(), 4);
        links.cut(2);
        for (source, target, is_open) in [(0, 1, true), (1, 0, true), (0, 2, false), (2, 1, false)]
        {
            for addr in [doors[target].clients, doors[target].peers] {
                assert_eq!(reaches(&links, source, addr).await, is_open, "{source} to {target}");
            }
        }
        links.heal();
        assert!(reaches(&links, 0, doors[2].peers).await);
        assert!(reaches(&links, 2, doors[1].clients).await);
    }
}
