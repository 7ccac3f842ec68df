//! A replicated state machine is one, whatever is done to the group and to its instances.
//!
//! Goal: each command is done once, in every instance, and what callers see is linearizable, while leaders are killed,
//! instances leave and come, and the log is trimmed behind snapshots. Method: a counter whose every answer tells its place in
//! the order; and the example `bank`, whose three processes compare their books.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use client::codec::{from_json, to_json};
use client::types::LogName;
use client::{CodecError, Log, Outcome, Replicated, StateMachine};
use quorate_e2e::{
    chance::Chance,
    cluster::Cluster,
    counter::{Call, What, violations},
    history::Recorder,
    process::{example, print},
    scale::short_or_long,
    wait::{PATIENCE, until},
    workload,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const INSTANCES: usize = 3;
const CALLERS: usize = 6;
/// How many raises must be answered after each harm before the next one.
const RAISES_BETWEEN: usize = 120;

#[derive(Clone, Debug, Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, by: u64) -> u64 {
        self.0 += by;
        self.0
    }

    fn encode(by: &u64) -> Result<Bytes, CodecError> {
        to_json(by)
    }

    fn decode(bytes: &[u8]) -> Result<u64, CodecError> {
        from_json(bytes)
    }

    fn snapshot(&self) -> Result<Bytes, CodecError> {
        to_json(&self.0)
    }

    fn restore(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(Self(from_json(bytes)?))
    }
}

/// Instances that come and go, and what was seen of them.
#[derive(Clone)]
struct Seen {
    instances: Arc<Mutex<Vec<Replicated<Counter>>>>,
    recorder: Recorder,
    calls: Arc<Mutex<Vec<Call>>>,
    raised: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

async fn start(log: &Log) -> Result<Replicated<Counter>> {
    let builder = log.replicated(Counter::default()).snapshot_commands(100);
    Ok(builder.deadline(Duration::from_secs(20)).start().await?)
}

impl Seen {
    /// Raises and reads until it is over.
    async fn call(self, caller: usize) -> Result<()> {
        let mut chance = Chance::new(caller as u64);
        while !self.is_over.load(Ordering::Relaxed) {
            let instance =
                self.instances.lock().expect("nobody panics")[caller % INSTANCES].clone();
            let asked = self.recorder.now();
            let what = if chance.is_one_in(3) {
                match instance.query(|counter| counter.0).await {
                    Ok(value) => What::Read(value),
                    // It left meanwhile.
                    Err(error) => {
                        ensure!(instance.end_reason().is_some(), "{error}");
                        continue;
                    }
                }
            } else {
                match instance.execute(1).await {
                    Ok(value) => What::Raised(value),
                    Err(error) => {
                        ensure!(instance.end_reason().is_some(), "{error}");
                        match error.outcome() {
                            Outcome::NotDone => What::NotRaised,
                            Outcome::Unknown => What::Unknown,
                        }
                    }
                }
            };
            let answered = self.recorder.now();
            self.raised.fetch_add(usize::from(matches!(what, What::Raised(_))), Ordering::Relaxed);
            self.calls.lock().expect("nobody panics").push(Call { asked, answered, what });
        }
        Ok(())
    }

    async fn progress(&self) -> Result<()> {
        let goal = self.raised.load(Ordering::Relaxed) + RAISES_BETWEEN;
        let is_there = async || Ok((self.raised.load(Ordering::Relaxed) >= goal).then_some(()));
        until("commands are done", PATIENCE, is_there).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicated_counter_is_linearizable_while_leaders_die_and_instances_come_and_go()
-> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let name = LogName::new("counter")?;
    // Each instance has a way of its own to the group.
    let log = || Ok::<_, anyhow::Error>(workload::client(&cluster.urls())?.log(name.clone()));
    let logs = [log()?, log()?, log()?];
    let mut instances = Vec::new();
    for log in &logs {
        instances.push(start(log).await?);
    }
    let seen = Seen {
        instances: Arc::new(Mutex::new(instances)),
        recorder: Recorder::default(),
        calls: Arc::default(),
        raised: Arc::default(),
        is_over: Arc::default(),
    };
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| tokio::spawn(seen.clone().call(caller))).collect();
    let mut restored = 0;
    for round in 0..short_or_long(4, 40) {
        seen.progress().await?;
        let killed = cluster.kill_leader().await?;
        // Its calls end as they may; the next one begins with a snapshot.
        let newcomer = start(&logs[round % INSTANCES]).await?;
        restored += usize::from(newcomer.applied().get() > 0);
        let left = {
            let mut instances = seen.instances.lock().expect("nobody panics");
            std::mem::replace(&mut instances[round % INSTANCES], newcomer)
        };
        if round % 2 == 0 {
            left.close().await?;
        } else {
            drop(left);
        }
        seen.progress().await?;
        cluster.replica_mut(killed).start()?;
        cluster.healed().await?;
    }
    seen.is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    let calls = seen.calls.lock().expect("nobody panics").clone();
    let instances = seen.instances.lock().expect("nobody panics").clone();
    let mut last = Vec::new();
    for instance in &instances {
        last.push(instance.query(|counter| counter.0).await?);
    }
    let unknown = calls.iter().filter(|call| call.what == What::Unknown).count();
    print(&format!("{} calls, {unknown} of unknown outcome, {} at the end", calls.len(), last[0]));
    assert_eq!(last, [last[0]; INSTANCES]);
    assert_eq!(violations(&calls, last[0]), Vec::<String>::new());
    assert!(restored > 0, "no instance began with a snapshot: inconclusive");
    let first = cluster.describe(cluster.leader().await?, &name).await?.first;
    assert!(first.get() > 0, "nothing was trimmed: inconclusive");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_of_three_bank_processes_agree_while_they_and_leaders_are_killed() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let transfers = short_or_long("1500", "20000");
    let mut bank = example("bank")?;
    bank.args([&cluster.urls().join(","), "bank", transfers]);
    let mut bank = tokio::process::Command::from(bank);
    bank.stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let bank = bank.spawn().context("the example bank does not start")?;
    let books = tokio::spawn(bank.wait_with_output());
    let mut killed = 0;
    let log = LogName::new("bank")?;
    while !books.is_finished() {
        let before = transferred(&cluster, &log).await;
        until("transfers are done", PATIENCE, async || {
            let is_further = transferred(&cluster, &log).await > before + 200;
            Ok((is_further || books.is_finished()).then_some(()))
        })
        .await?;
        if books.is_finished() {
            break;
        }
        let leader = cluster.kill_leader().await?;
        killed += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.replica_mut(leader).start()?;
        cluster.healed().await?;
    }
    let told = books.await??;
    let text = String::from_utf8_lossy(&told.stdout);
    print(&format!("{text}{killed} leaders killed"));
    assert!(told.status.success(), "{text}");
    assert!(text.contains("each there once"), "{text}");
    assert!(killed > 0, "no leader was killed: inconclusive");
    assert!(text.contains("teller 0 was killed"), "no teller was killed: inconclusive");
    cluster.finish();
    Ok(())
}

/// How many records the log of the bank ever had.
async fn transferred(cluster: &Cluster, log: &LogName) -> u64 {
    let Some(leader) = cluster.leader_now().await else { return 0 };
    cluster.describe(leader, log).await.map_or(0, |log| log.tail.get())
}
