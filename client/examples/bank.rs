//! A bank whose accounts are replicated over three processes, some of which are killed again and again.
//!
//! `cargo run -p quorate-client --example bank -- http://127.0.0.1:7001,http://127.0.0.1:7002 bank 2000`
//!
//! The program starts three tellers: processes of its own, each with an instance of the same state machine. All of them
//! transfer money at the same time. After every few hundred transfers one teller is killed and started again; it
//! goes on from a snapshot. In the end all three must hold the same balances, with the sum of the beginning, and each
//! transfer that was acknowledged to any of them must be there once.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _, stdin};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use quorate_client::codec::{from_json, to_json};
use quorate_client::{Client, CodecError, Outcome, Replicated, ReplicatedError, StateMachine};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

type Failed = Box<dyn Error + Send + Sync>;

const TELLERS: usize = 3;
const ACCOUNTS: u64 = 10;
const BALANCE: u64 = 1000;
/// How many transfers one teller has under way.
const AT_ONCE: u64 = 4;
/// How many transfers are acknowledged between two kills.
const BETWEEN_KILLS: usize = 250;
/// So long a teller may be silent.
const PATIENCE: Duration = Duration::from_secs(90);

/// A transfer of money. Its id is given once, so that it can be asked for again and is done once.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Transfer {
    id: String,
    from: u64,
    to: u64,
    amount: u64,
}

/// What came of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    /// There is too little on the account. That is an answer like any other, and no reason to panic.
    TooLittle,
    /// It was done before.
    DoneBefore,
}

/// All that the bank knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bank {
    balances: BTreeMap<u64, u64>,
    /// Every transfer that was answered, so that the end can be looked over. A real bank would keep the last of each teller.
    answered: BTreeSet<String>,
    /// How many came a second time.
    repeated: u64,
}

impl Bank {
    /// The bank on its first day: the same in every process.
    fn founded() -> Self {
        let balances = (0..ACCOUNTS).map(|account| (account, BALANCE)).collect();
        Self { balances, answered: BTreeSet::new(), repeated: 0 }
    }

    fn sum(&self) -> u64 {
        self.balances.values().sum()
    }
}

impl StateMachine for Bank {
    type Command = Transfer;
    type Output = Answer;

    fn apply(&mut self, transfer: Transfer) -> Answer {
        let Transfer { id, from, to, amount } = transfer;
        if !self.answered.insert(id) {
            self.repeated += 1;
            return Answer::DoneBefore;
        }
        let available = self.balances.get(&from).copied().unwrap_or(0);
        let Some(rest) = available.checked_sub(amount) else { return Answer::TooLittle };
        self.balances.insert(from, rest);
        *self.balances.entry(to).or_default() += amount;
        Answer::Done
    }

    fn encode(transfer: &Transfer) -> Result<Bytes, CodecError> {
        to_json(transfer)
    }

    fn decode(bytes: &[u8]) -> Result<Transfer, CodecError> {
        from_json(bytes)
    }

    fn snapshot(&self) -> Result<Bytes, CodecError> {
        to_json(self)
    }

    fn restore(bytes: &[u8]) -> Result<Self, CodecError> {
        from_json(bytes)
    }
}

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [endpoints, log, transfers] => Course::new(endpoints, log)?.run(transfers.parse()?),
        [endpoints, log, "teller", name] => {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(serve_as_teller(endpoints, log, name))
        }
        _ => Err("usage: bank ENDPOINTS LOG TRANSFERS".into()),
    }
}

// A teller: transfers money until it is told to stop, and says what came of each transfer.

async fn serve_as_teller(endpoints: &str, log: &str, name: &str) -> Result<(), Failed> {
    let log = Client::connect(endpoints).await?.log(log.parse()?);
    let bank = log.replicated(Bank::founded()).snapshot_commands(200).start().await?;
    let mut told = told();
    let work = (0..AT_ONCE).map(|lane| {
        let (bank, name, told) = (bank.clone(), format!("{name}-{lane}"), told.clone());
        tokio::spawn(async move { transfer_until_told(&bank, &name, &told).await })
    });
    for work in work.collect::<Vec<_>>() {
        work.await??;
    }
    println!("stopped");
    told.wait_for(|told| *told == Told::Show).await?;
    let bank = bank.query(Bank::clone).await?;
    println!("bank {}", serde_json::to_string(&bank)?);
    Ok(())
}

async fn transfer_until_told(
    bank: &Replicated<Bank>,
    name: &str,
    told: &watch::Receiver<Told>,
) -> Result<(), ReplicatedError> {
    let mut chance = name.bytes().fold(17_u64, |chance, byte| chance * 31 + u64::from(byte));
    let mut draw = |below| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (chance >> 33) % below
    };
    for number in 0_u64.. {
        if *told.borrow() != Told::Work {
            break;
        }
        let (from, to) = (draw(ACCOUNTS), draw(ACCOUNTS));
        let transfer = Transfer { id: format!("{name}-{number}"), from, to, amount: draw(200) };
        loop {
            match bank.execute(transfer.clone()).await {
                Ok(_) => break,
                // Perhaps it is done, perhaps not. The id makes it safe to ask again.
                Err(error) if error.outcome() == Outcome::Unknown && error.is_retryable() => {
                    println!("again {}", transfer.id);
                }
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error),
            }
        }
        println!("answered {}", transfer.id);
    }
    Ok(())
}

/// What a teller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Work,
    Stop,
    Show,
}

/// What standard input says. Its end, when nobody is there any more, ends the process.
fn told() -> watch::Receiver<Told> {
    let (tell, told) = watch::channel(Told::Work);
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            tell.send_replace(if line == "stop" { Told::Stop } else { Told::Show });
        }
        std::process::abort();
    });
    told
}

// The course of it all: tellers are started, killed, started again, and their books compared.

/// The tellers, and what they said.
struct Course {
    endpoints: String,
    log: String,
    tellers: Vec<Teller>,
    says: mpsc::Sender<(usize, String)>,
    said: mpsc::Receiver<(usize, String)>,
    answered: BTreeSet<String>,
    again: u64,
    killed: usize,
}

/// A process of a teller. It ends with this.
struct Teller {
    process: Child,
    input: ChildStdin,
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Course {
    fn new(endpoints: &str, log: &str) -> Result<Self, Failed> {
        let (says, said) = mpsc::channel();
        let mut course = Self {
            endpoints: endpoints.to_owned(),
            log: log.to_owned(),
            tellers: Vec::new(),
            says,
            said,
            answered: BTreeSet::new(),
            again: 0,
            killed: 0,
        };
        for number in 0..TELLERS {
            let teller = course.start(number)?;
            course.tellers.push(teller);
        }
        Ok(course)
    }

    /// A teller, in a new life: none of its ids was used before.
    fn start(&self, number: usize) -> Result<Teller, Failed> {
        let name = format!("{number}-{}", self.killed);
        let mut process = Command::new(std::env::current_exe()?)
            .args([&self.endpoints, &self.log, "teller", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let says = self.says.clone();
        let output = BufReader::new(output.ok_or("no output")?);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if says.send((number, line)).is_err() {
                    break;
                }
            }
        });
        Ok(Teller { process, input: input.ok_or("no input")? })
    }

    fn run(mut self, transfers: usize) -> Result<(), Failed> {
        while self.answered.len() < transfers {
            let goal = self.answered.len() + BETWEEN_KILLS;
            while self.answered.len() < goal.min(transfers) {
                self.listen()?;
            }
            if self.answered.len() < transfers {
                let number = self.killed % TELLERS;
                self.killed += 1;
                // The new one begins before the old one is gone.
                self.tellers[number] = self.start(number)?;
                println!("{} transfers; teller {number} was killed", self.answered.len());
            }
        }
        self.tell("stop")?;
        self.hear(|line| (line == "stopped").then_some(()))?;
        self.tell("show")?;
        let banks = self.hear(|line| line.strip_prefix("bank ").map(str::to_owned))?;
        self.look_over(&banks)
    }

    fn tell(&mut self, what: &str) -> Result<(), Failed> {
        for teller in &mut self.tellers {
            writeln!(teller.input, "{what}")?;
        }
        Ok(())
    }

    /// What each teller says of that kind.
    fn hear<T>(&mut self, of_the_kind: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Failed> {
        let mut heard = BTreeMap::new();
        while heard.len() < TELLERS {
            let (number, line) = self.listen()?;
            if let Some(line) = of_the_kind(&line) {
                heard.insert(number, line);
            }
        }
        Ok(heard.into_values().collect())
    }

    /// The next line of a teller.
    fn listen(&mut self) -> Result<(usize, String), Failed> {
        let (number, line) = self.said.recv_timeout(PATIENCE)?;
        if let Some(id) = line.strip_prefix("answered ") {
            self.answered.insert(id.to_owned());
        }
        self.again += u64::from(line.starts_with("again "));
        Ok((number, line))
    }

    fn look_over(&self, banks: &[String]) -> Result<(), Failed> {
        let bank: Bank = serde_json::from_str(&banks[0])?;
        if banks.iter().any(|other| *other != banks[0]) {
            return Err("the tellers do not hold the same".into());
        }
        if bank.sum() != ACCOUNTS * BALANCE {
            return Err(format!("there are {} in the bank", bank.sum()).into());
        }
        if let Some(lost) = self.answered.difference(&bank.answered).next() {
            return Err(format!("the transfer {lost} was acknowledged and is not there").into());
        }
        if bank.repeated > self.again {
            let repeated = bank.repeated;
            return Err(format!("{repeated} came twice, {} were asked again", self.again).into());
        }
        println!("balances {:?}", bank.balances.values().collect::<Vec<_>>());
        println!(
            "{} transfers acknowledged, each there once; {} tellers killed; {} asked again; all {TELLERS} hold \
             the same, {} in all",
            self.answered.len(),
            self.killed,
            self.again,
            bank.sum()
        );
        Ok(())
    }
}
