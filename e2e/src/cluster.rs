//! A group of replicas in a temporary folder of this machine, formed by the real path.
//!
//! The first process bootstraps, the others ask to join and are admitted under the policy given at
//! bootstrap. The folder, with everything the processes printed, is removed when a test says that it
//! has passed, and kept otherwise.
//!
//! Not here: cut links (`link`), load (`workload`).

use crate::process::{Process, Recipe, print};
use crate::wait::{PATIENCE, until};
use anyhow::{Context, Result};
use client::api::{
    cluster::{ClusterStatus, Lag, StateDigest},
    logs::LogDescription,
    paths,
};
use client::types::{LogName, ReplicaId};
use std::{path::Path, time::Duration};
use tempfile::TempDir;

/// How long a single request may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// How long a replica may take to tell its status, before it is looked at again.
const STATUS_MAX: Duration = Duration::from_secs(5);
/// A replica may wait for a processor, or for its disk, longer than by default before it is taken for dead.
pub const CALM: [&str; 6] = [
    "--set",
    "timings.heartbeat=200ms",
    "--set",
    "timings.election_min=1500ms",
    "--set",
    "timings.election_max=2500ms",
];

/// Replicas, numbered from 0 in the order in which they were started.
#[derive(Debug)]
pub struct Cluster {
    replicas: Vec<Process>,
    http: reqwest::Client,
    folder: Option<TempDir>,
    is_finished: bool,
}

impl Cluster {
    /// A group of `count` replicas that all vote and can append.
    pub async fn start(count: usize) -> Result<Self> {
        Self::start_with(count, &[]).await
    }

    /// The same, each replica told `arguments` besides, with timings under which a busy machine elects nobody: for tests
    /// in which each call is made once.
    pub async fn calm(count: usize, arguments: &[&str]) -> Result<Self> {
        Self::start_with(count, &[&CALM, arguments].concat()).await
    }

    /// The same, each replica told `arguments` besides.
    pub async fn start_with(count: usize, arguments: &[&str]) -> Result<Self> {
        let mut cluster = Self::empty()?;
        for recipe in cluster.recipes(count, arguments)? {
            cluster.add(recipe).await?;
        }
        cluster.healed().await?;
        Ok(cluster)
    }

    /// A group without a replica yet.
    pub fn empty() -> Result<Self> {
        let http = reqwest::Client::builder().timeout(CALL_MAX).build()?;
        let folder = Some(TempDir::with_prefix("quorate-e2e-")?);
        Ok(Self { replicas: Vec::new(), http, folder, is_finished: false })
    }

    /// How to start a group of `count`: the first bootstraps, the others join it.
    pub fn recipes(&self, count: usize, arguments: &[&str]) -> Result<Vec<Recipe>> {
        let mut recipes: Vec<Recipe> = Vec::new();
        for number in 0..count {
            let mut recipe = Recipe::in_folder(self.folder().join(format!("replica-{number}")))?;
            recipe.first_start = match recipes.first() {
                None => ["--bootstrap", "--expect", &count.to_string()].map(str::to_owned).into(),
                Some(first) => ["--join", &first.url()].map(str::to_owned).into(),
            };
            recipe.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            recipes.push(recipe);
        }
        Ok(recipes)
    }

    /// Starts one more replica and waits until it serves.
    pub async fn add(&mut self, recipe: Recipe) -> Result<()> {
        let mut process = Process::spawn(recipe)?;
        process.ready().await?;
        self.replicas.push(process);
        Ok(())
    }

    /// How to start a process that waits to join, in a folder of this name.
    pub fn spare(&self, name: &str, arguments: &[&str]) -> Result<Recipe> {
        let mut recipe = Recipe::in_folder(self.folder().join(name))?;
        let members = self.urls().into_iter().flat_map(|url| ["--join".to_owned(), url]);
        recipe.first_start = members.collect();
        recipe.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Ok(recipe)
    }

    /// Counts a process that was let in among the replicas, the last of them.
    pub fn adopt(&mut self, process: Process) {
        self.replicas.push(process);
    }

    /// Gives up a process that is no replica any more. Those behind it move up by one.
    pub fn release(&mut self, number: usize) -> Process {
        self.replicas.remove(number)
    }

    /// Which of the replicas has this id.
    pub async fn number_of(&self, id: ReplicaId) -> Option<usize> {
        for number in self.running() {
            if self.status(number).await.and_then(|status| status.this_replica) == Some(id) {
                return Some(number);
            }
        }
        None
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("the folder is there until the drop").path()
    }

    /// How many replicas there are, running or not.
    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Has it no replica yet?
    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// One of the replicas.
    pub fn replica(&self, number: usize) -> &Process {
        &self.replicas[number]
    }

    /// One of the replicas, to do something to it.
    pub fn replica_mut(&mut self, number: usize) -> &mut Process {
        &mut self.replicas[number]
    }

    /// The base address of one replica.
    pub fn url(&self, number: usize) -> String {
        self.replicas[number].url()
    }

    /// The base addresses of all replicas.
    pub fn urls(&self) -> Vec<String> {
        self.replicas.iter().map(Process::url).collect()
    }

    /// The client for single requests.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The cluster as one replica sees it; none if it does not answer.
    pub async fn status(&self, number: usize) -> Option<ClusterStatus> {
        let url = format!("{}{}", self.url(number), paths::CLUSTER);
        let answer = self.http.get(url).timeout(STATUS_MAX).send().await.ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    /// The cluster as one replica sees it, once it answers.
    pub async fn answered(&self, number: usize) -> Result<ClusterStatus> {
        let what = format!("{} tells its status", self.url(number));
        until(&what, PATIENCE, async || Ok(self.status(number).await)).await
    }

    /// What every replica says of its own state, at an entry that all of them have applied last: in
    /// the order of replicas. Waits for that, so nobody may change anything meanwhile.
    pub async fn digests(&self) -> Result<Vec<StateDigest>> {
        until("all replicas have applied the same entry", PATIENCE, async || {
            let mut digests: Vec<StateDigest> = Vec::new();
            for number in 0..self.len() {
                let status = self.status(number).await;
                let own = status.and_then(|status| {
                    let is_own = |id| Some(id) == status.this_replica;
                    status.replicas.into_iter().find(|replica| is_own(replica.id))?.digest
                });
                digests.extend(
                    own.filter(|own| digests.first().is_none_or(|first| first.entry == own.entry)),
                );
            }
            Ok((digests.len() == self.len()).then_some(digests))
        })
        .await
    }

    /// What one replica shows of a metric: its name, with labels if it has some, and a whole number.
    pub async fn metric(&self, number: usize, name: &str) -> Result<u64> {
        let url = format!("{}{}", self.url(number), paths::METRICS);
        let text = self.http.get(url).send().await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("{name} is in no line"))?.parse()?)
    }

    /// A log as one replica describes it, once it exists there.
    pub async fn describe(&self, number: usize, log: &LogName) -> Result<LogDescription> {
        let url = format!("{}{}", self.url(number), paths::log(log));
        let what = format!("{url} describes the log");
        until(&what, PATIENCE, async || {
            let Ok(answer) = self.http.get(&url).send().await else { return Ok(None) };
            let is_described = answer.status().is_success();
            let Ok(body) = answer.bytes().await else { return Ok(None) };
            Ok(if is_described { Some(serde_json::from_slice(&body)?) } else { None })
        })
        .await
    }

    /// Waits until a running replica says that it leads, and answers with its number.
    pub async fn leader(&self) -> Result<usize> {
        until("a replica leads", PATIENCE, async || Ok(self.leader_now().await)).await
    }

    /// The replica that leads in the highest term, if one does.
    pub async fn leader_now(&self) -> Option<usize> {
        let mut newest = None;
        for number in self.running() {
            let Some(status) = self.status(number).await else { continue };
            let leads = status.leader.is_some() && status.leader == status.this_replica;
            if leads && newest.is_none_or(|(term, _)| status.term > term) {
                newest = Some((status.term, number));
            }
        }
        newest.map(|(_, number)| number)
    }

    /// A running replica that does not lead.
    pub async fn follower(&self) -> Result<usize> {
        let leader = self.leader().await?;
        self.running().find(|number| *number != leader).context("no other replica runs")
    }

    /// Kills whoever leads, and answers with its number.
    pub async fn kill_leader(&mut self) -> Result<usize> {
        let leader = self.leader().await?;
        self.replicas[leader].kill()?;
        Ok(leader)
    }

    /// Kills every running replica, as nearly at once as one process can.
    pub fn kill_all(&mut self) -> Result<()> {
        for number in self.running().collect::<Vec<_>>() {
            self.replicas[number].kill()?;
        }
        Ok(())
    }

    /// Starts every replica that does not run.
    pub fn start_all(&mut self) -> Result<()> {
        self.replicas
            .iter_mut()
            .filter(|replica| !replica.is_running())
            .try_for_each(Process::start)
    }

    /// Waits until all replicas vote, answer, and have applied what the leader has.
    pub async fn healed(&mut self) -> Result<()> {
        for replica in &mut self.replicas {
            replica.ready().await?;
        }
        let what = format!("all {} replicas vote and lag nothing", self.len());
        until(&what, PATIENCE, async || Ok(self.is_healed().await.then_some(())))
            .await
            .with_context(|| {
                self.replicas.iter().map(Process::quoted).collect::<Vec<_>>().join("\n\n")
            })
    }

    async fn is_healed(&self) -> bool {
        let Some(leader) = self.leader_now().await else { return false };
        let Some(status) = self.status(leader).await else { return false };
        let is_caught_up = |lag: Option<Lag>| lag.is_none_or(|lag| lag.entries == 0);
        let voters = status.replicas.iter().filter(|replica| {
            replica.role.is_voter() && replica.is_reachable && is_caught_up(replica.lag)
        });
        status.verdict.can_append && voters.count() == self.len()
    }

    /// The test has passed: ends all processes and removes what they left. Without this call the
    /// folder is kept, and what the processes printed last is shown.
    pub fn finish(mut self) {
        self.is_finished = true;
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.replicas.len()).filter(|number| self.replicas[*number].is_running())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.is_finished {
            self.replicas.iter().for_each(|replica| print(&replica.quoted()));
        }
        // The processes go first: they write into the folder.
        self.replicas.clear();
        if !self.is_finished {
            let folder = self.folder.take().map(TempDir::keep);
            print(&format!("kept: {}", folder.unwrap_or_default().display()));
        }
    }
}
