//! `quorate demo`: three replicas on this machine, one more that waits to join, sample traffic, and switches to
//! break things.
//!
//! Real processes and real files: each replica is this very program, started with `serve`, and the
//! group forms by the real path (one bootstraps, the others join). Between them run relays that can
//! be cut. Other commands find the demo by its private file, and steer it over a loopback port.
//!
//! ```text
//!   quorate demo kill 1 --> control --> Stage --> process 1          (kill -9, restarted in a moment)
//!   quorate demo partition 3 --> ...         --> links of 3          (cut silently, both ways)
//! ```
//!
//! Not here: what a replica does. A demo knows nothing that a user's own scripts could not do.

mod control;
mod home;
mod links;
mod members;
mod process;
pub mod relay;
mod stage;
mod traffic;
mod whereabouts;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use client::api::cluster::ClusterStatus;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::logs::Rehearsal;
use super::output::{Format, Table};
use super::{Context, Exit, Failure, duration};
use crate::world::{Chance, Clock};

use control::{Answer, Ask, Shown, Switch, Who};
use home::Home;
use members::Wanted;
use stage::{Stage, WAITING};

pub(super) use whereabouts::Whereabouts;

/// How long a group may take to form before the demo gives up.
const FORM_MAX: Duration = Duration::from_mins(1);
const METER_INTERVAL: Duration = Duration::from_secs(1);
/// The log of the sample traffic.
const LOG: &str = "demo";

/// What `quorate demo` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    start: StartArguments,
    #[command(subcommand)]
    command: Option<DemoCommand>,
}

#[derive(Debug, Args)]
struct StartArguments {
    /// Keep everything in this folder, and go on with it the next time.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// The port of the first replica; the others follow it.
    #[arg(long)]
    port: Option<u16>,
    /// Sample records in a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Begin without sample traffic.
    #[arg(long)]
    no_traffic: bool,
    /// Connect the replicas directly: faster, but they cannot be partitioned.
    #[arg(long)]
    direct: bool,
}

#[derive(Debug, Subcommand)]
enum DemoCommand {
    /// Kill a replica (kill -9): `leader`, or a number.
    Kill {
        /// `leader`, or a replica's number.
        who: Who,
        /// Start it again after this long.
        #[arg(long, default_value = "3s", value_parser = duration, value_name = "TIME")]
        restart_after: Duration,
        /// Leave it dead, until `quorate demo start`.
        #[arg(long, conflicts_with = "restart_after")]
        stay_dead: bool,
    },
    /// Let one more replica in: the process that waits to join. Another one waits then.
    Add {
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Let a replica leave, for ever: `leader`, or a number; otherwise the one that came last and does not lead.
    Remove {
        /// `leader`, or a replica's number.
        who: Option<Who>,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Let the process that waits to join take the place of a replica: `leader`, or a number; otherwise of the one
    /// that came last and does not lead.
    Replace {
        /// `leader`, or a replica's number.
        who: Option<Who>,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Start a replica that is dead.
    Start {
        /// The replica's number.
        replica: u64,
    },
    /// Cut a replica off from the others, silently and both ways: `leader`, or a number.
    Partition {
        /// `leader`, or a replica's number.
        who: Who,
    },
    /// Make everything from and to a replica late: `leader`, or a number.
    Slow {
        /// `leader`, or a replica's number.
        who: Who,
        /// How late, each way.
        #[arg(long, default_value = "50ms", value_parser = duration, value_name = "TIME")]
        delay: Duration,
    },
    /// Mend every link.
    Heal,
    /// Let the sample traffic flow, or stop it.
    Traffic {
        /// On or off.
        #[arg(value_enum)]
        switch: Switch,
    },
    /// How the demo is doing.
    Status,
    /// End the demo.
    Stop,
}

/// Runs a demo, or steers the one that runs.
pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let Some(command) = arguments.command else { return start(arguments.start, context).await };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let ask = match command {
        DemoCommand::Add { rehearsal } => {
            return members::change(Wanted::Add, rehearsal, context).await;
        }
        DemoCommand::Remove { who, rehearsal } => {
            return members::change(Wanted::Remove(who), rehearsal, context).await;
        }
        DemoCommand::Replace { who, rehearsal } => {
            return members::change(Wanted::Replace(who), rehearsal, context).await;
        }
        DemoCommand::Kill { who, restart_after, stay_dead } => {
            let restart_after_ms = (!stay_dead).then(|| millis(restart_after));
            Ask::Kill { who, restart_after_ms }
        }
        DemoCommand::Start { replica } => Ask::Start { replica },
        DemoCommand::Partition { who } => Ask::Partition { who },
        DemoCommand::Slow { who, delay } => Ask::Slow { who, delay_ms: millis(delay) },
        DemoCommand::Heal => Ask::Heal,
        DemoCommand::Traffic { switch } => Ask::Traffic(switch),
        DemoCommand::Status => Ask::Show,
        DemoCommand::Stop => Ask::Stop,
    };
    match control::ask(ask).await? {
        Answer::Done(said) => Ok(context
            .output
            .value(&Said { done: said }, |said| Table::pairs().pair(&said.done, ""))?),
        Answer::Shown(shown) => Ok(context.output.value(&shown, shown_table)?),
        Answer::Waiting(addr) => {
            let done = format!("{addr} is {WAITING}");
            Ok(context.output.value(&Said { done }, |said| Table::pairs().pair(&said.done, ""))?)
        }
        Answer::Refused(reason) => {
            Err(Failure::new(Exit::Failed, reason).hint("quorate demo status"))
        }
    }
}

#[derive(Debug, Serialize)]
struct Said {
    done: String,
}

fn shown_table(shown: &Shown) -> Table {
    let mut table = Table::new(&["replica", "role", "address", "process", "links", "diagnostics"]);
    for replica in &shown.replicas {
        table.row(vec![
            replica.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            replica.role.clone(),
            replica.addr.clone(),
            replica.process.clone(),
            replica.link.clone(),
            replica.diagnostics.clone(),
        ]);
    }
    let traffic = if shown.traffic { "on" } else { "off" };
    table.row(vec![
        "traffic".to_owned(),
        traffic.to_owned(),
        String::new(),
        format!("{} appends, {} failed", shown.acknowledged, shown.failed),
        format!("worst gap {} ms", shown.worst_gap_ms),
    ]);
    table
}

/// Starts a demo and runs it until it is told to stop.
async fn start(arguments: StartArguments, context: &Context) -> Result<(), Failure> {
    if let Some(demo) = Whereabouts::read() {
        return Err(Failure::new(Exit::Condition, "a demo is running already")
            .because(format!("process {}, {}", demo.pid, demo.folder.display()))
            .hint("quorate demo stop"));
    }
    let home = match &arguments.keep {
        Some(folder) => Home::kept(folder, arguments.port)?,
        None => Home::temporary(arguments.port)?,
    };
    // From here on everything that was started is ended again, however this ends.
    let over = CancellationToken::new();
    let stage = Arc::new(Stage::set(&home, &arguments, context, over.clone()).await?);
    let played = tokio::select! {
        played = play(&stage, &home, &arguments, context) => played,
        () = over.cancelled() => Ok(()),
        () = interrupted() => {
            context.output.meter_end();
            context.output.note("stopping");
            Ok(())
        }
    };
    tokio::select! {
        () = stage.strike(home.is_kept()) => {}
        // Asked a second time, nothing is waited for; the processes are killed as they are dropped.
        () = interrupted() => {}
    }
    played
}

/// Ctrl-C, or a polite kill.
async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => if pressed.is_err() { std::future::pending().await },
        () = terminated => {}
    }
}

/// Waits for the group, tells how it is reached, and shows the meter.
async fn play(
    stage: &Arc<Stage>,
    home: &Home,
    arguments: &StartArguments,
    context: &Context,
) -> Result<(), Failure> {
    let clock = Clock::real();
    let formed = clock.within(FORM_MAX, stage.form()).await;
    let status = formed.map_err(|_expired| stage.failed_to_form())??;
    home.has_formed()?;
    // Only now, or it would be one of those that the group is founded with.
    let spare = stage.spare().ok();
    stage.prepare_log().await?;
    let ready_in = clock.since(context.began);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut addrs = stage.addrs();
    let mut whereabouts = Whereabouts {
        pid: std::process::id(),
        endpoints: addrs.borrow_and_update().clone(),
        control: listener.local_addr()?,
        token: format!("{:032x}", Chance::from_system().next_u128()),
        folder: home.folder.clone(),
    };
    let written = whereabouts.write()?;
    if !arguments.no_traffic {
        stage.traffic.on();
    }
    let traffic = if stage.traffic.is_on() { Switch::On } else { Switch::Off };
    let mut announcement = Announcement::of(&status, &whereabouts, ready_in, traffic);
    announcement.spare = spare.map(|addr| addr.to_string());
    announce(&announcement, home, context)?;
    let token = whereabouts.token.clone();
    let telling = async {
        while addrs.changed().await.is_ok() {
            whereabouts.endpoints.clone_from(&addrs.borrow_and_update());
            written.renew(&whereabouts)?;
        }
        Ok(())
    };
    tokio::select! {
        () = control::listen(listener, token, Arc::clone(stage)) => Ok(()),
        shown = show_meter(stage, context) => shown,
        told = telling => told,
    }
}

/// What a demo says once it is ready.
#[derive(Debug, Serialize)]
struct Announcement {
    event: &'static str,
    ready_in_ms: f64,
    log: &'static str,
    traffic: Switch,
    folder: PathBuf,
    tolerance: u32,
    replicas: Vec<AnnouncedReplica>,
    /// Where somebody waits to join.
    spare: Option<String>,
}

#[derive(Debug, Serialize)]
struct AnnouncedReplica {
    id: u64,
    addr: String,
    role: String,
}

impl Announcement {
    fn of(
        status: &ClusterStatus,
        whereabouts: &Whereabouts,
        ready_in: Duration,
        traffic: Switch,
    ) -> Self {
        let replicas = status.replicas.iter().map(|replica| AnnouncedReplica {
            id: replica.id.get(),
            addr: replica.addr.to_string(),
            role: replica.role.to_string(),
        });
        Self {
            event: "ready",
            ready_in_ms: (ready_in.as_secs_f64() * 1e4).round() / 10.0,
            log: LOG,
            traffic,
            folder: whereabouts.folder.clone(),
            tolerance: status.verdict.tolerance,
            replicas: replicas.collect(),
            spare: None,
        }
    }
}

fn announce(announcement: &Announcement, home: &Home, context: &Context) -> Result<(), Failure> {
    if context.output.format() == Format::Table {
        return Ok(context.output.text(&poster(announcement, home.is_kept()))?);
    }
    Ok(context.output.value(announcement, |shown| {
        let mut table = Table::new(&["replica", "address", "role"]);
        for replica in &shown.replicas {
            table.row(vec![replica.id.to_string(), replica.addr.clone(), replica.role.clone()]);
        }
        table
    })?)
}

/// The announcement for a person.
fn poster(shown: &Announcement, is_kept: bool) -> String {
    let traffic = match shown.traffic {
        Switch::On => "live sample traffic, stop with `quorate demo traffic off`",
        Switch::Off => "no traffic, start it with `quorate demo traffic on`",
    };
    let first = shown.replicas.first().map_or("", |replica| replica.addr.as_str());
    let beside = [
        format!("dashboard  {first}/"),
        format!("API        {first}/v1"),
        format!("log        {} ({traffic})", shown.log),
    ];
    let whose = if is_kept { "kept in" } else { "removed on exit:" };
    let mut text = format!(
        " quorate {} · demo cluster · data {whose} {}\n",
        env!("CARGO_PKG_VERSION"),
        shown.folder.display()
    );
    for (place, replica) in shown.replicas.iter().enumerate() {
        let line = format!(" replica {}  {}  {}", replica.id, replica.addr, replica.role);
        let aside = beside.get(place).map_or("", String::as_str);
        text.push_str(format!("{line:<50} {aside}").trim_end());
        text.push('\n');
    }
    if let Some(spare) = &shown.spare {
        let line = format!(" spare      {spare}  {WAITING}, admitted by `quorate demo add`\n");
        text.push_str(&line);
    }
    let replicas = if shown.tolerance == 1 { "replica" } else { "replicas" };
    let ready = format!(
        " ready in {:.1} s, first append acknowledged · can lose {} {replicas}\n\n",
        shown.ready_in_ms / 1e3,
        shown.tolerance
    );
    text.push_str(&ready);
    text.push_str(
        " try in another terminal:\n\
         \x20  echo hello | quorate append demo      quorate follow demo\n\
         \x20  quorate demo add                      # a 4th replica joins while appends go on\n\
         \x20  quorate demo kill leader              # watch failover\n\
         \x20  quorate demo partition 3              # cut replica 3 off        quorate demo heal\n\
         \x20  quorate cluster status                quorate bench --clients 64\n\n",
    );
    text
}

/// One line of the meter.
#[derive(Debug, Serialize)]
struct MeterLine {
    event: &'static str,
    appends_per_second: f64,
    acknowledged: u64,
    failed: u64,
    gap_ms: f64,
    worst_gap_ms: f64,
}

async fn show_meter(stage: &Stage, context: &Context) -> Result<(), Failure> {
    let clock = Clock::real();
    loop {
        clock.sleep(METER_INTERVAL).await;
        let reading = stage.traffic.reading();
        let millis = |gap: Duration| (gap.as_secs_f64() * 1e4).round() / 10.0;
        let line = MeterLine {
            event: "meter",
            appends_per_second: (reading.per_second * 10.0).round() / 10.0,
            acknowledged: reading.acknowledged,
            failed: reading.failed,
            gap_ms: millis(reading.recent_gap),
            worst_gap_ms: millis(reading.worst_gap),
        };
        if context.output.format() == Format::Ndjson {
            context.output.value(&line, |_| Table::default())?;
            continue;
        }
        let failed =
            if line.failed > 0 { format!(" · {} failed", line.failed) } else { String::new() };
        let pause = if stage.traffic.is_on() { "" } else { " · traffic off" };
        context.output.meter(&format!(
            " {:.0} appends/s · worst gap {:.0} ms, now {:.0} ms · {} acknowledged{failed}{pause}",
            line.appends_per_second, line.worst_gap_ms, line.gap_ms, line.acknowledged
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_poster_names_what_to_type_next() {
        let replica = |id: u64, role: &str| AnnouncedReplica {
            id,
            addr: format!("http://127.0.0.1:700{id}"),
            role: role.to_owned(),
        };
        let shown = Announcement {
            event: "ready",
            ready_in_ms: 412.3,
            log: LOG,
            traffic: Switch::On,
            folder: PathBuf::from("/tmp/quorate-demo-1"),
            tolerance: 1,
            replicas: vec![replica(1, "leader"), replica(2, "follower"), replica(3, "follower")],
            spare: Some("http://127.0.0.1:7004".to_owned()),
        };
        let text = poster(&shown, false);
        let first =
            " replica 1  http://127.0.0.1:7001  leader          dashboard  http://127.0.0.1:7001/";
        assert_eq!(text.lines().nth(1), Some(first), "{text}");
        let spare =
            " spare      http://127.0.0.1:7004  waiting to join, admitted by `quorate demo add`";
        assert_eq!(text.lines().nth(4), Some(spare), "{text}");
        let ready = " ready in 0.4 s, first append acknowledged · can lose 1 replica";
        assert_eq!(text.lines().nth(5), Some(ready), "{text}");
        assert!(text.contains("data removed on exit: /tmp/quorate-demo-1"), "{text}");
        assert!(text.contains("quorate demo kill leader"));
    }
}
