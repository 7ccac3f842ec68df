//! Whether a process can be reached: how long it takes until a connection to it is there.
//!
//! A leader asks the voters so before somebody new becomes one of them, and who waits to join tries the members itself.
//! Nothing is said over such a connection; it is closed at once.
//!
//! Not here: what is concluded from it (`node::plan`).

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use client::types::{REPLICA_ADDR_BYTES_MAX, ReplicaAddr, ReplicaId};
use tokio::net::TcpStream;

use super::client::{PeerError, Peers};
use super::codec::{Malformed, Message};
use super::paths;
use super::transport::{Purpose, Transport};
use crate::world::Clock;

/// So often it is tried: once alone, a busy machine would pass for one that is far.
const TRIES: u32 = 3;
/// A connection that is not there within this counts as none.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
/// A member that was asked to connect may take so much longer to answer.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1_500);

/// How long it takes until a connection to this address is there, the fastest of some, or that it does not come.
pub async fn round_trip(clock: &Clock, addr: &ReplicaAddr) -> Option<Duration> {
    let deadline = clock.after(CONNECTED_WITHIN);
    let mut fastest: Option<Duration> = None;
    for _ in 0..TRIES {
        let began = clock.now();
        let connect = TcpStream::connect((addr.host(), addr.port()));
        let Ok(Ok(_connection)) = clock.until(deadline, connect).await else { break };
        let took = clock.since(began);
        fastest = Some(fastest.map_or(took, |fastest| fastest.min(took)));
    }
    fastest
}

impl Message for ReplicaAddr {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(self.as_str().as_bytes());
    }

    /// It is all that is left of its message.
    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let malformed = Malformed::new("an address");
        if bytes.remaining() > REPLICA_ADDR_BYTES_MAX {
            return Err(malformed);
        }
        let all = bytes.copy_to_bytes(bytes.remaining());
        let text = std::str::from_utf8(&all).map_err(|_| malformed)?;
        Self::new(text).map_err(|_| malformed)
    }
}

/// How long a connection took that somebody was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoundTrip(pub(super) Option<Duration>);

impl Message for RoundTrip {
    fn encode(&self, out: &mut Vec<u8>) {
        // Nobody connects in no time at all, so 0 is free to mean that there was no connection.
        let micros = |took: Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        out.put_u64_le(self.0.map_or(0, micros));
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let micros = bytes.try_get_u64_le().map_err(|_| Malformed::new("a round trip"))?;
        Ok(Self((micros > 0).then(|| Duration::from_micros(micros))))
    }
}

impl<T: Transport> Peers<T> {
    /// Asks a member to connect to an address: how long that took there, or that it did not come about.
    pub async fn reach(
        &self,
        member: ReplicaId,
        addr: &ReplicaAddr,
    ) -> Result<Option<Duration>, PeerError> {
        let address = self.address(member).ok_or(PeerError::Unknown)?;
        let path = paths::REACH;
        let asked = self.ask(Purpose::Questions, member, &address, path, addr, ANSWERED_WITHIN);
        let RoundTrip(took) = asked.await?;
        Ok(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_round_trip_come_back_and_nothing_else_is_one() {
        let mut out = Vec::new();
        let addr = ReplicaAddr::new("http://10.0.0.6:7001").unwrap();
        addr.encode(&mut out);
        assert_eq!(ReplicaAddr::decode_whole(out.into()).unwrap(), addr);
        let long = vec![b'a'; REPLICA_ADDR_BYTES_MAX + 1];
        for wrong in [&b"10.0.0.6"[..], b"", b"http://\xff:1", &long] {
            assert!(ReplicaAddr::decode_whole(Bytes::copy_from_slice(wrong)).is_err());
        }
        for told in [RoundTrip(None), RoundTrip(Some(Duration::from_micros(250)))] {
            let mut out = Vec::new();
            told.encode(&mut out);
            assert_eq!(RoundTrip::decode_whole(out.into()).unwrap(), told);
        }
        assert!(RoundTrip::decode_whole(Bytes::from_static(&[1; 7])).is_err());
    }

    #[tokio::test]
    async fn who_listens_is_reached_and_nobody_else() {
        let clock = crate::world::World::real().clock;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = ReplicaAddr::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        assert!(round_trip(&clock, &addr).await.is_some());
        drop(listener);
        assert_eq!(round_trip(&clock, &addr).await, None);
    }
}
