//! How other commands steer a running demo: one line of JSON asked, one answered, over loopback.
//!
//! Invariant: an order is taken only with the token that stands in the demo's private file, so that
//! nobody else on this machine can kill anything. A line and the time it may take are bounded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use client::types::ReplicaAddr;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::whereabouts::Whereabouts;
use crate::cli::{Exit, Failure};
use crate::world::Clock;

const LINE_BYTES_MAX: u64 = 64 << 10;
const DEADLINE: Duration = Duration::from_secs(30);

/// What a demo can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// How is it going?
    Show,
    /// Kill a replica.
    Kill {
        /// Which.
        who: Who,
        /// Start it again after so many milliseconds, or never.
        restart_after_ms: Option<u64>,
    },
    /// Have somebody wait to join, if there is room.
    Spare,
    /// Start a replica that is down.
    Start {
        /// Which.
        replica: u64,
    },
    /// Cut a replica off.
    Partition {
        /// Which.
        who: Who,
    },
    /// Make everything from and to a replica late.
    Slow {
        /// Which.
        who: Who,
        /// How late.
        delay_ms: u64,
    },
    /// Open every link.
    Heal,
    /// Let the sample traffic flow, or stop it.
    Traffic(Switch),
    /// End the demo.
    Stop,
}

/// Which replica is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Who {
    /// Whoever leads at that moment.
    Leader,
    /// The one with this id.
    Replica(u64),
}

impl std::str::FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "leader" {
            return Ok(Self::Leader);
        }
        text.parse()
            .map(Self::Replica)
            .map_err(|_| "expected `leader` or a replica's number".to_owned())
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// What the demo answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Done, in one sentence.
    Done(String),
    /// How it is going.
    Shown(Shown),
    /// Where somebody waits to join.
    Waiting(ReplicaAddr),
    /// Not done, and why.
    Refused(String),
}

/// How a demo is going.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) replicas: Vec<ShownReplica>,
    pub(super) traffic: bool,
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) worst_gap_ms: f64,
}

/// One replica of a demo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShownReplica {
    pub(super) id: Option<u64>,
    pub(super) role: String,
    pub(super) addr: String,
    pub(super) process: String,
    pub(super) link: String,
    pub(super) diagnostics: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    token: String,
    ask: Ask,
}

/// Whoever carries out what is asked.
pub(super) trait Steered: Send + Sync + 'static {
    /// Carries it out.
    fn carry_out(&self, ask: Ask) -> impl Future<Output = Answer> + Send;
}

/// Takes orders until the future is dropped.
pub(super) async fn listen<S: Steered>(listener: TcpListener, token: String, steered: Arc<S>) {
    let token = Arc::new(token);
    let mut orders = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let order = take(stream, Arc::clone(&token), Arc::clone(&steered));
                    orders.spawn(async move {
                        // Whoever asks sees a broken connection; the demo goes on.
                        Clock::real().within(DEADLINE, order).await.is_ok()
                    });
                }
                Err(_) => Clock::real().sleep(Duration::from_millis(50)).await,
            },
            Some(_ended) = orders.join_next() => {}
        }
    }
}

async fn take<S: Steered>(
    mut stream: TcpStream,
    token: Arc<String>,
    steered: Arc<S>,
) -> io::Result<()> {
    let mut text = String::new();
    let (read, mut write) = stream.split();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut text).await?;
    let answer = match serde_json::from_str::<Line>(&text) {
        Ok(line) if line.token == *token => steered.carry_out(line.ask).await,
        Ok(_) => Answer::Refused("the token is wrong".to_owned()),
        Err(error) => Answer::Refused(format!("not understood: {error}")),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Asks the demo that runs now.
pub(super) async fn ask(ask: Ask) -> Result<Answer, Failure> {
    let demo = Whereabouts::running()?;
    let asked = Clock::real().within(DEADLINE, ask_at(&demo, ask)).await;
    let answer = asked.unwrap_or_else(|_expired| Err(io::ErrorKind::TimedOut.into()));
    answer.map_err(|error| {
        Failure::new(Exit::Unavailable, "the demo does not answer")
            .because(format!("process {}: {error}", demo.pid))
    })
}

async fn ask_at(demo: &Whereabouts, ask: Ask) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(demo.control).await?;
    let mut line = serde_json::to_vec(&Line { token: demo.token.clone(), ask })?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut text = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut text).await?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Steered for Echo {
        async fn carry_out(&self, ask: Ask) -> Answer {
            Answer::Done(format!("{ask:?}"))
        }
    }

    async fn demo() -> Whereabouts {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = listener.local_addr().unwrap();
        tokio::spawn(listen(listener, "secret".to_owned(), Arc::new(Echo)));
        Whereabouts {
            pid: std::process::id(),
            endpoints: Vec::new(),
            control,
            token: "secret".to_owned(),
            folder: std::path::PathBuf::new(),
        }
    }

    #[tokio::test]
    async fn an_order_with_the_token_is_carried_out() {
        let kill = Ask::Kill { who: Who::Leader, restart_after_ms: None };
        let answer = ask_at(&demo().await, kill.clone()).await.unwrap();
        assert_eq!(answer, Answer::Done(format!("{kill:?}")));
    }

    #[tokio::test]
    async fn an_order_without_the_token_is_refused() {
        let stranger = Whereabouts { token: "guess".to_owned(), ..demo().await };
        let answer = ask_at(&stranger, Ask::Stop).await.unwrap();
        assert_eq!(answer, Answer::Refused("the token is wrong".to_owned()));
    }

    #[tokio::test]
    async fn what_is_no_order_is_refused_and_the_next_one_is_taken() {
        let demo = demo().await;
        let mut stream = TcpStream::connect(demo.control).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut text = String::new();
        BufReader::new(stream).read_line(&mut text).await.unwrap();
        assert!(text.starts_with("{\"refused\":\"not understood"), "{text}");
        assert!(matches!(ask_at(&demo, Ask::Heal).await.unwrap(), Answer::Done(_)));
    }

    #[test]
    fn a_replica_is_named_by_its_number_or_as_the_leader() {
        assert_eq!("leader".parse(), Ok(Who::Leader));
        assert_eq!("3".parse(), Ok(Who::Replica(3)));
        assert!("third".parse::<Who>().is_err());
    }
}
