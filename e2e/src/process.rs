//! One `quorate serve` process: spawned, awaited, killed, paused, started again.
//!
//! A process belongs to the value that stands for it: it is ended by its id, never by a name, and it
//! does not outlive the test, because it dies when the value is dropped and stops when its standard
//! input ends. What it printed stays beside its folder and is quoted when something goes wrong.
//!
//! Not here: how processes form a group (`cluster`).

use crate::wait::{PATIENCE, until};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

/// How long it may take to say whether it serves, before it is looked at again.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How much of what a process printed is quoted.
const QUOTED_LINES: usize = 40;

/// How to start a replica.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Its data folder; what it prints goes to a file beside it.
    pub folder: PathBuf,
    /// Where it answers clients.
    pub listen: SocketAddr,
    /// Where it answers other replicas.
    pub peer_listen: SocketAddr,
    /// `--bootstrap` or `--join`: given as long as its folder holds no replica.
    pub first_start: Vec<String>,
    /// Everything else it is told.
    pub arguments: Vec<String>,
    /// Another program than the one under test.
    pub program: Option<PathBuf>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// No file of it grows beyond so many bytes: a write beyond fails, as on a full or broken disk.
    pub file_bytes_max: Option<u64>,
    /// It may hold so many files and connections open.
    pub descriptors_max: Option<u64>,
}

impl Recipe {
    /// A replica in `folder` on two free loopback ports.
    pub fn in_folder(folder: PathBuf) -> Result<Self> {
        Ok(Self {
            folder,
            listen: free_addr()?,
            peer_listen: free_addr()?,
            first_start: Vec::new(),
            arguments: Vec::new(),
            program: None,
            environment: Vec::new(),
            file_bytes_max: None,
            descriptors_max: None,
        })
    }

    /// The base address for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The file into which it prints, start after start.
    pub fn diagnostics(&self) -> PathBuf {
        self.folder.with_extension("txt")
    }

    fn command(&self) -> Result<Command> {
        let output = File::options().create(true).append(true).open(self.diagnostics())?;
        let program = self.program.clone().map_or_else(program, plain)?;
        let mut command = match (self.file_bytes_max, self.descriptors_max) {
            (Some(bytes), _) => limited(&program, "fsize", bytes),
            (None, Some(count)) => limited(&program, "nofile", count),
            (None, None) => program,
        };
        command
            .envs(self.environment.iter().cloned())
            .args(["serve", "--exit-with-stdin"])
            .arg("--data")
            .arg(&self.folder)
            .args(["--listen", &self.listen.to_string()])
            .args(["--peer-listen", &self.peer_listen.to_string()])
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output);
        if !self.folder.join("marker").exists() {
            command.args(&self.first_start);
        }
        Ok(command)
    }
}

/// A replica's process, or the place where one was.
#[derive(Debug)]
pub struct Process {
    recipe: Recipe,
    child: Option<Child>,
    http: reqwest::Client,
}

impl Process {
    /// Starts it; it does not serve yet.
    pub fn spawn(recipe: Recipe) -> Result<Self> {
        let mut process = Self { recipe, child: None, http: reqwest::Client::new() };
        process.start()?;
        Ok(process)
    }

    /// How it is started.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The base address for clients.
    pub fn url(&self) -> String {
        self.recipe.url()
    }

    /// Does it run, as far as is known?
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The id of the process.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it again after it was ended.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.url());
        let child = self.recipe.command()?.spawn().context("the program cannot be started")?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it says that it can serve.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.url());
        let what = format!("{url} answers 200");
        let http = self.http.clone();
        let ready = until(&what, PATIENCE, async || {
            self.look_whether_alive()?;
            let answer = http.get(&url).timeout(LOOK_MAX).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        });
        ready.await.with_context(|| self.quoted())
    }

    /// Ends it as a power cut of this one process would: `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended(PATIENCE).await
    }

    /// Asks it to stop, without waiting.
    pub fn ask_to_stop(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let mut child = self.child.take().context("it does not run")?;
        let ended = until("the process ends", within, async || Ok(child.try_wait()?)).await;
        if ended.is_err() {
            self.child = Some(child);
        }
        ended.with_context(|| self.quoted())
    }

    /// Stops it in its tracks (SIGSTOP), as a frozen machine would.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused one go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// The last lines that it printed.
    pub fn quoted(&self) -> String {
        let path = self.recipe.diagnostics();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
        format!("{} printed last ({}):\n{last}", self.url(), path.display())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id().context("it does not run")?)?;
        let id = Pid::from_raw(id).context("a process has an id above 0")?;
        Ok(kill_process(id, signal)?)
    }

    fn look_whether_alive(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("it does not run")?;
        if let Some(status) = child.try_wait()? {
            self.child = None;
            bail!("the process ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself meanwhile: then there is nothing left to kill.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Tells whoever reads the output of a test.
#[expect(clippy::print_stderr, reason = "a test shows what its processes printed, and figures")]
pub fn print(text: &str) {
    eprintln!("{text}");
}

/// The `quorate` program under test, without any setting of the person who runs the test.
pub fn program() -> Result<Command> {
    let path = match env::var_os("QUORATE_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_the_test()?,
    };
    plain(path)
}

/// An example of the SDK, built beside the program under test.
pub fn example(name: &str) -> Result<Command> {
    let program = program()?;
    let folder = Path::new(program.get_program()).parent().context("a program lies in a folder")?;
    plain(folder.join("examples").join(name))
}

/// A program without any setting of the person who runs the test.
fn plain(path: PathBuf) -> Result<Command> {
    ensure!(path.is_file(), "no program at {}: build it, or name another one", path.display());
    let mut command = Command::new(path);
    for (name, _) in
        env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUORATE_"))
    {
        command.env_remove(name);
    }
    Ok(command)
}

/// The program in a process for which a resource is limited.
fn limited(program: &Command, resource: &str, limit: u64) -> Command {
    let mut command = Command::new("sh");
    // Without the signal, a call beyond the limit fails as any other.
    let limit = format!("--{resource}={limit}");
    command.args(["-c", r#"trap '' XFSZ; exec prlimit "$0" "$@""#, &limit]);
    command.arg(program.get_program());
    for (name, _) in program.get_envs().filter(|(_, value)| value.is_none()) {
        command.env_remove(name);
    }
    command
}

/// `target/<profile>/deps/test` stands two levels below `target/<profile>/quorate`.
fn beside_the_test() -> Result<PathBuf> {
    let test = env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("a test lies in target/*/deps")?;
    Ok(profile.join("quorate"))
}

/// A loopback port that nobody listens on, below those that the system gives to outgoing connections:
/// one of these could otherwise take it while its replica is down.
fn free_addr() -> Result<SocketAddr> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Tests are processes of their own: each begins somewhere else.
    let start = u16::try_from(u64::from(std::process::id()) * 37 % u64::from(COUNT))?;
    for _ in 0..COUNT {
        let next = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + next));
        if TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    bail!("no loopback port is free")
}
