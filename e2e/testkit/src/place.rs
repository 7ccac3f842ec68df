//! Ports of the loopback that stay with a replica while it is down.
//!
//! A port is bound before its number is told to anybody, and listened on when its replica starts: nobody can take it in
//! between. While the replica is down, the port is bound again and not listened on, so whoever calls is refused.
//!
//! Not here: who answers (`replica`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// How long the queue of connections not yet accepted may become.
const BACKLOG: i32 = 1024;
/// How often a port is asked for that may still be on its way out, and how far apart.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// A port that is ours.
#[derive(Debug)]
pub(crate) struct Port {
    addr: SocketAddr,
    /// The port while nobody listens on it.
    held: Option<Socket>,
}

impl Port {
    /// One that nobody has.
    pub(crate) fn free() -> io::Result<Self> {
        let held = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let addr = held.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { addr, held: Some(held) })
    }

    /// Where it is.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on connections are taken.
    pub(crate) fn listen(&mut self) -> io::Result<TcpListener> {
        self.hold()?;
        let socket = self.held.take().ok_or(io::ErrorKind::AddrInUse)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    /// Keeps it while nobody listens on it.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        for tried in 1.. {
            if self.held.is_some() {
                break;
            }
            match bound(self.addr) {
                Ok(socket) => self.held = Some(socket),
                Err(error) if tried >= TRIES => return Err(error),
                Err(_) => sleep(PAUSE),
            }
        }
        Ok(())
    }
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_port_refuses_until_it_is_listened_on_and_stays_ours() -> io::Result<()> {
        let mut port = Port::free()?;
        assert!(TcpStream::connect(port.addr()).is_err(), "nobody listens yet");
        for _ in 0..3 {
            let listener = port.listen()?;
            assert_eq!(listener.local_addr()?, port.addr());
            drop(TcpStream::connect(port.addr())?);
            drop(listener);
            port.hold()?;
            assert!(TcpStream::connect(port.addr()).is_err(), "nobody listens any more");
        }
        Ok(())
    }
}
