//! What a demo consists of, and what happens to it when somebody pulls a switch.
//!
//! Invariant: replicas are meant by the id the group gave them, never by the order in which they
//! were started; the two are matched by address, which is asked of the group each time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::api::cluster::ClusterStatus;
use client::types::{LogSettings, NewRecord, ReplicaAddr};
use client::{Client, Log};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::control::{Answer, Ask, Shown, ShownReplica, Steered, Switch, Who};
use super::home::{Home, REPLICAS, holds_a_replica};
use super::links::{Doors, Links};
use super::process::{Life, Process, Recipe, Then};
use super::traffic::Traffic;
use super::{LOG, StartArguments};
use crate::cli::service;
use crate::cli::{Context, Exit, Failure, Output};
use crate::world::Clock;

const ASK_AGAIN: Duration = Duration::from_millis(20);
/// What somebody is who is no replica yet.
pub(super) const WAITING: &str = "waiting to join";
/// Lines of a replica's diagnostics that are shown when the group does not form.
const LINES_SHOWN: usize = 6;

/// Everything that was started.
pub(super) struct Stage {
    places: Mutex<Vec<Place>>,
    links: Option<Links>,
    pub(super) traffic: Traffic,
    client: Client,
    log: Log,
    output: Output,
    over: CancellationToken,
    executable: PathBuf,
    /// Where the replicas answer clients.
    addrs: watch::Sender<Vec<ReplicaAddr>>,
    /// So many voters are there at least once the group has formed.
    voters_min: usize,
}

/// Where a replica can be: in its folder, behind its doors.
struct Place {
    folder: PathBuf,
    doors: Doors,
    /// Nothing where nobody is.
    process: Option<Arc<Process>>,
    /// What was done to its links, in words.
    mark: &'static str,
}

impl Place {
    fn addr(&self) -> ReplicaAddr {
        format!("http://{}", self.doors.clients)
            .parse()
            .expect("an address of a socket is well-formed")
    }

    /// Somebody is here who waits to join.
    fn is_waiting(&self) -> bool {
        let lives = self.process.as_ref().is_some_and(|process| process.life() != Life::Left);
        lives && !holds_a_replica(&self.folder)
    }

    /// Somebody is here who is a replica.
    fn is_taken(&self) -> bool {
        let lives = self.process.as_ref().is_some_and(|process| process.life() != Life::Left);
        lives && holds_a_replica(&self.folder)
    }
}

impl Stage {
    /// Starts the replicas. The first time, one bootstraps and the others join it.
    pub(super) async fn set(
        home: &Home,
        arguments: &StartArguments,
        context: &Context,
        over: CancellationToken,
    ) -> Result<Self, Failure> {
        let links = if arguments.direct { None } else { Some(Links::open(&home.doors).await?) };
        let place = |(place, doors): (usize, &Doors)| Place {
            folder: home.replica(place),
            doors: *doors,
            process: None,
            mark: "whole",
        };
        let places: Vec<Place> = home.doors.iter().enumerate().map(place).collect();
        let is_formed = home.is_formed();
        let begin: Vec<usize> = (0..places.len())
            .filter(|at| holds_a_replica(&places[*at].folder) || (!is_formed && *at < REPLICAS))
            .collect();
        let addrs: Vec<ReplicaAddr> = begin.iter().map(|at| places[*at].addr()).collect();
        let client = service::connect_to(addrs.clone(), context)?;
        let log = client.log(LOG.parse().expect("the name is well-formed"));
        let stage = Self {
            places: Mutex::new(places),
            links,
            traffic: Traffic::prepare(&log, arguments.rate),
            client,
            log,
            output: context.output,
            over,
            executable: std::env::current_exe()?,
            addrs: watch::Sender::new(addrs.clone()),
            voters_min: if is_formed { 1 } else { REPLICAS },
        };
        for at in begin {
            let first_start = if at == 0 {
                vec!["--bootstrap".to_owned(), "--expect".to_owned(), REPLICAS.to_string()]
            } else {
                vec!["--join".to_owned(), addrs[0].to_string()]
            };
            stage.start(&mut stage.places(), at, first_start);
        }
        Ok(stage)
    }

    /// Starts a process at a place.
    fn start(&self, places: &mut [Place], at: usize, first_start: Vec<String>) {
        let place = &mut places[at];
        let recipe = Recipe {
            executable: self.executable.clone(),
            folder: place.folder.clone(),
            listen: place.doors.clients,
            peer_listen: place.doors.peers,
            first_start,
            peer_map: self.links.as_ref().map(|links| links.map(at)),
        };
        place.process = Some(Arc::new(Process::start(recipe, self.output)));
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        // A panic while it was held left whole places behind.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn processes(&self) -> Vec<Arc<Process>> {
        self.places().iter().filter_map(|place| place.process.clone()).collect()
    }

    /// Where the replicas answer clients, now and from now on.
    pub(super) fn addrs(&self) -> watch::Receiver<Vec<ReplicaAddr>> {
        self.addrs.subscribe()
    }

    /// Waits until all replicas vote, and the group can lose as many as it ever will.
    pub(super) async fn form(&self) -> Result<ClusterStatus, Failure> {
        loop {
            if let Ok(status) = self.client.admin().status().await {
                let voters =
                    status.replicas.iter().filter(|replica| replica.role.is_voter()).count();
                // With all of them heard, a minority may be lost.
                if voters >= self.voters_min
                    && status.verdict.tolerance as usize >= (voters - 1) / 2
                {
                    return Ok(status);
                }
            }
            if self.processes().iter().any(|process| process.life() == Life::Down) {
                return Err(self.failed_to_form());
            }
            Clock::real().sleep(ASK_AGAIN).await;
        }
    }

    /// Has somebody wait to join, and tells where; those who have left make room first.
    pub(super) fn spare(&self) -> Result<ReplicaAddr, String> {
        let mut places = self.places();
        let left = |place: &&mut Place| {
            place.process.as_ref().is_some_and(|process| process.life() == Life::Left)
        };
        for place in places.iter_mut().filter(left) {
            // What cannot be removed takes its place for good.
            if std::fs::remove_dir_all(&place.folder).is_ok() {
                place.process = None;
            }
        }
        let members: Vec<ReplicaAddr> =
            places.iter().filter(|place| place.is_taken()).map(Place::addr).collect();
        let is_news =
            |known: &mut Vec<ReplicaAddr>| std::mem::replace(known, members.clone()) != members;
        self.addrs.send_if_modified(is_news);
        if let Some(waiting) = places.iter().find(|place| place.is_waiting()) {
            return Ok(waiting.addr());
        }
        let is_free = |place: &Place| place.process.is_none() && !place.folder.exists();
        let at = places.iter().position(is_free).ok_or_else(|| {
            format!("there are places for {} replicas, and all are taken", places.len())
        })?;
        let doors: Vec<String> = members.iter().map(ToString::to_string).collect();
        self.start(&mut places, at, vec!["--join".to_owned(), doors.join(",")]);
        Ok(places[at].addr())
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
        for process in self.processes() {
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
        let ends = self.processes().into_iter().map(|process| async move {
            if is_kept { process.stop().await } else { process.end().await }
        });
        futures_util::future::join_all(ends).await;
    }

    /// The place of a replica, and who is there.
    async fn place(&self, who: Who) -> Result<(u64, usize, Arc<Process>), String> {
        let status = self.client.admin().status().await.map_err(|error| error.to_string())?;
        let id = match who {
            Who::Leader => status.leader.ok_or("nobody leads at the moment")?.get(),
            Who::Replica(id) => id,
        };
        let replica = status.replicas.iter().find(|replica| replica.id.get() == id);
        let addr = &replica.ok_or_else(|| format!("there is no replica {id}"))?.addr;
        let places = self.places();
        let mut found = places.iter().enumerate().filter(|(_, place)| place.addr() == *addr);
        found
            .find_map(|(at, place)| Some((id, at, place.process.clone()?)))
            .ok_or_else(|| format!("replica {id} at {addr} is not of this demo"))
    }

    fn links(&self) -> Result<&Links, String> {
        let missing = || "this demo was started with --direct: its links cannot be cut".to_owned();
        self.links.as_ref().ok_or_else(missing)
    }

    fn mark(&self, place: usize, word: &'static str) {
        self.places()[place].mark = word;
    }

    async fn pull(&self, ask: Ask) -> Result<Answer, String> {
        Ok(Answer::Done(match ask {
            Ask::Show => return Ok(Answer::Shown(self.shown().await)),
            Ask::Spare => return Ok(Answer::Waiting(self.spare()?)),
            Ask::Kill { who, restart_after_ms } => {
                let (id, _, process) = self.place(who).await?;
                let then = restart_after_ms
                    .map_or(Then::StayDown, |millis| Then::Restart(Duration::from_millis(millis)));
                process.kill(then).await;
                match restart_after_ms {
                    Some(millis) => format!("killed replica {id}; it comes back in {millis} ms"),
                    None => format!(
                        "killed replica {id}; it stays dead until `quorate demo start {id}`"
                    ),
                }
            }
            Ask::Start { replica } => {
                let (id, _, process) = self.place(Who::Replica(replica)).await?;
                process.restart().await;
                format!("started replica {id}")
            }
            Ask::Partition { who } => {
                let (id, place, _) = self.place(who).await?;
                self.links()?.cut(place);
                self.mark(place, "cut off");
                format!("cut replica {id} off; mend it with `quorate demo heal`")
            }
            Ask::Slow { who, delay_ms } => {
                let (id, place, _) = self.place(who).await?;
                self.links()?.slow(place, Duration::from_millis(delay_ms), None);
                self.mark(place, "slow");
                format!("everything from and to replica {id} is {delay_ms} ms late")
            }
            Ask::Heal => {
                self.links()?.heal();
                self.places().iter_mut().for_each(|place| place.mark = "whole");
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
        let status = self.client.admin().status().await.ok();
        let known = |addr: &ReplicaAddr| {
            let replicas = status.iter().flat_map(|status| &status.replicas);
            replicas.into_iter().find(|replica| replica.addr == *addr)
        };
        let shown = |place: &Place| {
            let process = place.process.as_ref()?;
            let replica = known(&place.addr());
            Some(ShownReplica {
                id: replica.map(|replica| replica.id.get()),
                role: match replica {
                    Some(replica) => replica.role.to_string(),
                    None if place.is_waiting() => WAITING.to_owned(),
                    None if process.life() == Life::Left => "has left".to_owned(),
                    None => "not known".to_owned(),
                },
                addr: place.addr().to_string(),
                process: match process.life() {
                    Life::Running(pid) => format!("running ({pid})"),
                    Life::Waiting => "starting".to_owned(),
                    Life::Down => "dead".to_owned(),
                    Life::Left => "ended".to_owned(),
                },
                link: place.mark.to_owned(),
                diagnostics: process.recipe.diagnostics().display().to_string(),
            })
        };
        let replicas = self.places().iter().filter_map(shown).collect();
        let (acknowledged, failed, worst_gap) = self.traffic.totals();
        Shown {
            replicas,
            traffic: self.traffic.is_on(),
            acknowledged,
            failed,
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
