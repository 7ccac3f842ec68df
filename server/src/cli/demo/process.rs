//! One replica as a process of this machine: started, killed, started again.
//!
//! Invariants: a replica never outlives the demo, because it stops when its standard input ends; it
//! never shares the terminal's signals, because it has a process group of its own. One that dies
//! unasked is started again, and after a few deaths in a row it stays down and says so. One that was removed
//! from the group is not started again.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::home::holds_a_replica;
use crate::cli::{Exit, Output};
use crate::world::{Clock, tasks};

/// After an unasked death.
const PAUSE: Duration = Duration::from_millis(500);
/// So many deaths within so long each, and it stays down.
const DEATHS_MAX: u32 = 5;
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// How long an orderly stop may take.
const STOP_MAX: Duration = Duration::from_secs(8);

/// How to start a replica.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) executable: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) peer_listen: SocketAddr,
    /// `--bootstrap` and so on, as long as the folder holds no replica.
    pub(super) first_start: Vec<String>,
    /// What to dial instead of another replica's address.
    pub(super) peer_map: Option<String>,
}

impl Recipe {
    /// Where its diagnostics go.
    pub(super) fn diagnostics(&self) -> PathBuf {
        self.folder.with_extension("txt")
    }

    fn spawn(&self) -> io::Result<Child> {
        let diagnostics = File::options().create(true).append(true).open(self.diagnostics())?;
        let mut command = Command::new(&self.executable);
        command.args(self.arguments());
        // The demo says what its replicas are like; the user's own settings are for other replicas.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("QUORATE_") {
                command.env_remove(variable);
            }
        }
        command
            .stdin(Stdio::piped())
            .stdout(diagnostics.try_clone()?)
            .stderr(diagnostics)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "serve",
            "--exit-with-stdin",
            "--data",
            &self.folder.to_string_lossy(),
            "--listen",
            &self.listen.to_string(),
            "--peer-listen",
            &self.peer_listen.to_string(),
            "--set",
            "diagnostics.format=text",
        ]
        .map(str::to_owned)
        .into();
        if !holds_a_replica(&self.folder) {
            arguments.extend(self.first_start.iter().cloned());
        }
        if let Some(pairs) = &self.peer_map {
            arguments.extend(["--peer-map".to_owned(), pairs.clone()]);
        }
        arguments
    }
}

/// How a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs, as this process.
    Running(u32),
    /// It does not, and will again in a moment.
    Waiting,
    /// It does not, until somebody starts it.
    Down,
    /// It does not, and never will: its folder is no member's any more.
    Left,
}

/// What comes after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is started again after this long.
    Restart(Duration),
    /// It stays down.
    StayDown,
}

#[derive(Debug)]
enum Order {
    Kill(Then),
    Start,
    Stop,
}

/// A replica that is looked after.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) recipe: Recipe,
    orders: mpsc::Sender<Order>,
    life: watch::Receiver<Life>,
}

impl Process {
    /// Starts it, and looks after it from now on.
    pub(super) fn start(recipe: Recipe, output: Output) -> Self {
        let (orders, taken) = mpsc::channel(8);
        let (told, life) = watch::channel(Life::Waiting);
        let keeper =
            Keeper { recipe: recipe.clone(), orders: taken, life: told, output, deaths: 0 };
        tasks::spawn("replica process", keeper.run());
        Self { recipe, orders, life }
    }

    /// How it is doing.
    pub(super) fn life(&self) -> Life {
        *self.life.borrow()
    }

    /// `kill -9`, now.
    pub(super) async fn kill(&self, then: Then) {
        self.order(Order::Kill(then)).await;
    }

    /// Starts it if it is down.
    pub(super) async fn restart(&self) {
        self.order(Order::Start).await;
    }

    /// Stops it in an orderly way, and waits until it is gone.
    pub(super) async fn stop(&self) {
        self.order(Order::Stop).await;
        self.orders.closed().await;
    }

    /// Kills it for good, and waits until it is gone.
    pub(super) async fn end(&self) {
        self.order(Order::Kill(Then::StayDown)).await;
        self.stop().await;
    }

    async fn order(&self, order: Order) {
        // A keeper that is gone has nothing left to look after.
        self.orders.send(order).await.ok();
    }
}

/// What comes after a death.
enum Ending {
    /// Another start, some time.
    Pause(Then),
    /// Nothing.
    Over(Life),
}

/// Looks after one process.
struct Keeper {
    recipe: Recipe,
    orders: mpsc::Receiver<Order>,
    life: watch::Sender<Life>,
    output: Output,
    deaths: u32,
}

impl Keeper {
    async fn run(mut self) {
        let mut then = Then::Restart(Duration::ZERO);
        let mut last = Life::Down;
        while self.wait(then).await {
            match self.live().await {
                Ending::Pause(next) => then = next,
                Ending::Over(life) => {
                    last = life;
                    break;
                }
            }
        }
        self.life.send_replace(last);
    }

    /// Waits until it is time to start; false if it never will be.
    async fn wait(&mut self, mut then: Then) -> bool {
        loop {
            let order = match then {
                Then::Restart(pause) => {
                    self.life.send_replace(Life::Waiting);
                    let clock = Clock::real();
                    tokio::select! {
                        () = clock.sleep(pause) => return true,
                        order = self.orders.recv() => order,
                    }
                }
                Then::StayDown => {
                    self.life.send_replace(Life::Down);
                    self.orders.recv().await
                }
            };
            match order {
                Some(Order::Start) => return true,
                Some(Order::Kill(next)) => then = next,
                Some(Order::Stop) | None => return false,
            }
        }
    }

    /// From start to death.
    async fn live(&mut self) -> Ending {
        let clock = Clock::real();
        let began = clock.now();
        let mut child = match self.recipe.spawn() {
            Ok(child) => child,
            Err(error) => {
                self.output.note(&format!("{} cannot be started: {error}", self.recipe.listen));
                return Ending::Pause(Then::StayDown);
            }
        };
        // Held here, because waiting for a child would close what it still holds.
        let mut stdin = child.stdin.take();
        if let Some(pid) = child.id() {
            self.life.send_replace(Life::Running(pid));
        }
        loop {
            tokio::select! {
                ended = child.wait() => {
                    let refused = i32::from(Exit::Identity.code());
                    if ended.as_ref().is_ok_and(|status| status.code() == Some(refused)) {
                        self.output.note(&format!("replica at {} has left", self.recipe.listen));
                        return Ending::Over(Life::Left);
                    }
                    let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                    let is_short = clock.since(began) < SHORT_LIFE;
                    self.deaths = if is_short { self.deaths + 1 } else { 1 };
                    self.output.note(&format!(
                        "replica at {} ended by itself ({how}); see {}",
                        self.recipe.listen,
                        self.recipe.diagnostics().display()
                    ));
                    return Ending::Pause(if self.deaths < DEATHS_MAX {
                        Then::Restart(PAUSE)
                    } else {
                        Then::StayDown
                    });
                }
                order = self.orders.recv() => match order {
                    Some(Order::Kill(then)) => {
                        // Killing fails only if it is dead already.
                        child.kill().await.ok();
                        self.deaths = 0;
                        return Ending::Pause(then);
                    }
                    Some(Order::Start) => {}
                    Some(Order::Stop) | None => {
                        // The end of its standard input asks it to stop.
                        drop(stdin.take());
                        if clock.within(STOP_MAX, child.wait()).await.is_err() {
                            child.kill().await.ok();
                        }
                        return Ending::Over(Life::Down);
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::cli::{Format, Verbosity};

    /// A "replica" that lives until its standard input ends.
    fn process(folder: &Path, script: &str) -> Process {
        let executable = folder.join("replica.sh");
        std::fs::write(&executable, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&executable, PermissionsExt::from_mode(0o755)).unwrap();
        let recipe = Recipe {
            executable,
            folder: folder.join("1"),
            listen: "127.0.0.1:7001".parse().unwrap(),
            peer_listen: "127.0.0.1:8001".parse().unwrap(),
            first_start: vec!["--bootstrap".to_owned()],
            peer_map: None,
        };
        Process::start(recipe, Output::new(Format::Table, Verbosity::Quiet))
    }

    async fn until(process: &Process, wanted: impl Fn(Life) -> bool) -> Life {
        let mut life = process.life.clone();
        let limit = Duration::from_secs(10);
        let seen = Clock::real().within(limit, life.wait_for(|life| wanted(*life))).await;
        *seen.unwrap().unwrap()
    }

    fn is_running(life: Life) -> bool {
        matches!(life, Life::Running(_))
    }

    #[tokio::test]
    async fn a_killed_process_comes_back_as_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let process = process(folder.path(), "cat");
        let first = until(&process, is_running).await;
        process.kill(Then::Restart(Duration::from_millis(20))).await;
        let second = until(&process, |life| is_running(life) && life != first).await;
        assert!(is_running(second));
        process.end().await;
        assert_eq!(process.life(), Life::Down);
    }

    #[tokio::test]
    async fn a_process_lives_until_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let process = process(folder.path(), "cat; echo orderly");
        let first = until(&process, is_running).await;
        Clock::real().sleep(Duration::from_millis(300)).await;
        assert_eq!(process.life(), first);
        process.stop().await;
        let said = std::fs::read_to_string(process.recipe.diagnostics()).unwrap();
        assert_eq!((said.as_str(), process.life()), ("orderly\n", Life::Down));
    }

    #[tokio::test]
    async fn a_process_that_is_to_stay_down_waits_for_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let process = process(folder.path(), "cat");
        until(&process, is_running).await;
        process.kill(Then::StayDown).await;
        until(&process, |life| life == Life::Down).await;
        process.restart().await;
        assert!(is_running(until(&process, is_running).await));
        process.stop().await;
    }

    #[tokio::test]
    async fn a_process_that_keeps_dying_stays_down() {
        let folder = tempfile::tempdir().unwrap();
        let process = process(folder.path(), "echo broken >&2; exit 74");
        until(&process, |life| life == Life::Down).await;
        let said = std::fs::read_to_string(process.recipe.diagnostics()).unwrap();
        assert_eq!(said.lines().count(), 5, "{said}");
    }

    #[tokio::test]
    async fn a_process_whose_folder_is_refused_is_not_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let process = process(folder.path(), "echo removed >&2; exit 75");
        until(&process, |life| life == Life::Left).await;
        // Nobody is left to be asked, and nobody waits for an answer.
        process.restart().await;
        process.end().await;
        let said = std::fs::read_to_string(process.recipe.diagnostics()).unwrap();
        assert_eq!((said.as_str(), process.life()), ("removed\n", Life::Left));
    }

    #[tokio::test]
    async fn only_the_first_start_bootstraps() {
        let folder = tempfile::tempdir().unwrap();
        let process = process(folder.path(), "cat");
        assert!(process.recipe.arguments().contains(&"--bootstrap".to_owned()));
        std::fs::create_dir(&process.recipe.folder).unwrap();
        std::fs::write(process.recipe.folder.join("marker"), "").unwrap();
        assert!(!process.recipe.arguments().contains(&"--bootstrap".to_owned()));
        process.end().await;
    }
}
