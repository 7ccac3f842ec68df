//! What a demo consists of, and what happens to it when somebody pulls a switch.
//!
//! Invariant: replicas are meant by the id the group gave them, never by the order in which they
//! were started; the two are matched by address, which is asked of the group each time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use client::api::cluster::ClusterStatus;
use client::types::{LogSettings, NewRecord, ReplicaAddr};
use client::{Client, Log};
use tokio_util::sync::CancellationToken;

use super::control::{Answer, Ask, Shown, ShownReplica, Steered, Switch, Who};
use super::home::Home;
use super::links::Links;
use super::process::{Life, Process, Recipe, Then};
use super::traffic::Traffic;
use super::{LOG, StartArguments};
use crate::cli::service;
use crate::cli::{Context, Exit, Failure, Output};
use crate::world::Clock;

const ASK_AGAIN: Duration = Duration::from_millis(20);
/// Lines of a replica's diagnostics that are shown when the group does not form.
const LINES_SHOWN: usize = 6;

/// Everything that was started.
pub(super) struct Stage {
    processes: Vec<Process>,
    links: Option<Links>,
    pub(super) traffic: Traffic,
    client: Client,
    log: Log,
    output: Output,
    over: CancellationToken,
    /// What was done to the links of each replica, in words.
    marks: Mutex<Vec<&'static str>>,
}

impl Stage {
    /// Starts the replicas: the first bootstraps, the others join.
    pub(super) async fn set(
        home: &Home,
        arguments: &StartArguments,
        context: &Context,
        over: CancellationToken,
    ) -> Result<Self, Failure> {
        let links = if arguments.direct { None } else { Some(Links::open(&home.doors).await?) };
        let executable = std::env::current_exe()?;
        let door = format!("http://{}", home.doors[0].clients);
        let count = home.doors.len();
        let processes: Vec<Process> = (0..count)
            .map(|place| Recipe {
                executable: executable.clone(),
                folder: home.replica(place),
                listen: home.doors[place].clients,
                peer_listen: home.doors[place].peers,
                first_start: if place == 0 {
                    vec!["--bootstrap".to_owned(), "--expect".to_owned(), count.to_string()]
                } else {
                    vec!["--join".to_owned(), door.clone()]
                },
                peer_map: links.as_ref().map(|links| links.map(place)),
            })
            .map(|recipe| Process::start(recipe, context.output))
            .collect();
        let addrs: Vec<ReplicaAddr> =
            processes.iter().map(|process| process.recipe.addr()).collect();
        let client = service::connect_to(addrs, context.timeout)?;
        let log = client.log(LOG.parse().expect("the name is well-formed"));
        let traffic = Traffic::prepare(&log, arguments.rate);
        let marks = Mutex::new(vec!["whole"; count]);
        Ok(Self { processes, links, traffic, client, log, output: context.output, over, marks })
    }

    /// Where the replicas answer clients.
    pub(super) fn addrs(&self) -> Vec<ReplicaAddr> {
        self.processes.iter().map(|process| process.recipe.addr()).collect()
    }

    /// Waits until all replicas vote, and the group can lose as many as it ever will.
    pub(super) async fn form(&self) -> Result<ClusterStatus, Failure> {
        loop {
            if let Ok(status) = self.client.status().await {
                let voters =
                    status.replicas.iter().filter(|replica| replica.role.is_voter()).count();
                let is_whole = voters == self.processes.len();
                // With all of them heard, a minority may be lost.
                if is_whole && status.verdict.tolerance as usize >= (voters - 1) / 2 {
                    return Ok(status);
                }
            }
            if self.processes.iter().any(|process| process.life() == Life::Down) {
                return Err(self.failed_to_form());
            }
            Clock::real().sleep(ASK_AGAIN).await;
        }
    }

    /// Creates the log of the demo and appends the first record to it.
    pub(super) async fn prepare_log(&self) -> Result<(), Failure> {
        self.log.create(&LogSettings::default()).await.map_err(service::failed)?;
        let appended = self.log.append(NewRecord::new("hello, demo")).await;
        appended.map(drop).map_err(service::failed)
    }

    /// Why there is no group: the last words of the replicas.
    pub(super) fn failed_to_form(&self) -> Failure {
        let mut words = String::new();
        for process in &self.processes {
            let path = process.recipe.diagnostics();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            let said = format!("{}:\n{}\n", process.recipe.listen, last.join("\n"));
            words.push_str(&said);
        }
        Failure::new(Exit::Unavailable, "the replicas did not form a group")
            .because(words.trim_end())
    }

    /// Ends everything. What is kept is stopped in an orderly way, the rest is just killed.
    pub(super) async fn strike(&self, is_kept: bool) {
        self.traffic.stop().await;
        let ends = self.processes.iter().map(|process| async move {
            if is_kept { process.stop().await } else { process.end().await }
        });
        futures_util::future::join_all(ends).await;
    }

    /// The place of a replica among the processes.
    async fn place(&self, who: Who) -> Result<(u64, usize), String> {
        let status = self.client.status().await.map_err(|error| error.to_string())?;
        let id = match who {
            Who::Leader => status.leader.ok_or("nobody leads at the moment")?.get(),
            Who::Replica(id) => id,
        };
        let replica = status.replicas.iter().find(|replica| replica.id.get() == id);
        let addr = &replica.ok_or_else(|| format!("there is no replica {id}"))?.addr;
        let place = self.processes.iter().position(|process| process.recipe.addr() == *addr);
        Ok((id, place.ok_or_else(|| format!("replica {id} at {addr} is not of this demo"))?))
    }

    fn links(&self) -> Result<&Links, String> {
        let missing = || "this demo was started with --direct: its links cannot be cut".to_owned();
        self.links.as_ref().ok_or_else(missing)
    }

    fn mark(&self, place: usize, word: &'static str) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)[place] = word;
    }

    async fn pull(&self, ask: Ask) -> Result<Answer, String> {
        Ok(Answer::Done(match ask {
            Ask::Show => return Ok(Answer::Shown(self.shown().await)),
            Ask::Kill { who, restart_after_ms } => {
                let (id, place) = self.place(who).await?;
                let then = restart_after_ms
                    .map_or(Then::StayDown, |millis| Then::Restart(Duration::from_millis(millis)));
                self.processes[place].kill(then).await;
                match restart_after_ms {
                    Some(millis) => format!("killed replica {id}; it comes back in {millis} ms"),
                    None => format!(
                        "killed replica {id}; it stays dead until `quorate demo start {id}`"
                    ),
                }
            }
            Ask::Start { replica } => {
                let (id, place) = self.place(Who::Replica(replica)).await?;
                self.processes[place].restart().await;
                format!("started replica {id}")
            }
            Ask::Partition { who } => {
                let (id, place) = self.place(who).await?;
                self.links()?.cut(place);
                self.mark(place, "cut off");
                format!("cut replica {id} off; mend it with `quorate demo heal`")
            }
            Ask::Slow { who, delay_ms } => {
                let (id, place) = self.place(who).await?;
                self.links()?.slow(place, Duration::from_millis(delay_ms), None);
                self.mark(place, "slow");
                format!("everything from and to replica {id} is {delay_ms} ms late")
            }
            Ask::Heal => {
                self.links()?.heal();
                (0..self.processes.len()).for_each(|place| self.mark(place, "whole"));
                "every link is whole".to_owned()
            }
            Ask::Traffic(Switch::On) => {
                self.traffic.on();
                "sample traffic flows".to_owned()
            }
            Ask::Traffic(Switch::Off) => {
                self.traffic.off();
                "sample traffic stopped".to_owned()
            }
            Ask::Stop => {
                self.over.cancel();
                "the demo ends".to_owned()
            }
        }))
    }

    async fn shown(&self) -> Shown {
        let status = self.client.status().await.ok();
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let replicas = self.processes.iter().zip(marks).map(|(process, mark)| {
            let addr = process.recipe.addr();
            let known = status.iter().flat_map(|status| &status.replicas);
            ShownReplica {
                id: known
                    .into_iter()
                    .find(|replica| replica.addr == addr)
                    .map(|replica| replica.id.get()),
                addr: addr.to_string(),
                process: match process.life() {
                    Life::Running(pid) => format!("running ({pid})"),
                    Life::Waiting => "starting".to_owned(),
                    Life::Down => "dead".to_owned(),
                },
                link: mark.to_owned(),
                diagnostics: process.recipe.diagnostics().display().to_string(),
            }
        });
        let replicas = replicas.collect();
        let (acknowledged, worst_gap) = self.traffic.totals();
        Shown {
            replicas,
            traffic: self.traffic.is_on(),
            acknowledged,
            worst_gap_ms: (worst_gap.as_secs_f64() * 1e4).round() / 10.0,
        }
    }
}

impl Steered for Stage {
    async fn carry_out(&self, ask: Ask) -> Answer {
        match self.pull(ask).await {
            Ok(answer) => {
                if let Answer::Done(said) = &answer {
                    self.output.meter_end();
                    self.output.note(said);
                }
                answer
            }
            Err(reason) => Answer::Refused(reason),
        }
    }
}
