//! The command line, as somebody at a terminal meets it: the first five minutes, and what goes wrong.

use anyhow::{Context, Result, ensure};
use client::api::{cluster::ClusterStatus, paths};
use quorate_e2e::{
    cluster::Cluster,
    membership::spare,
    process::{Process, Recipe, print, program},
    scale::short_or_long,
    wait::{PATIENCE, until},
};
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdin, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A command that finds a demo, or keeps its state, in this folder alone.
fn quorate(home: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = program()?;
    command.args(arguments).env("HOME", home).env("QUORATE_STATE_DIR", home).env("NO_COLOR", "1");
    command.env_remove("XDG_CONFIG_HOME");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Runs a command to its end, with `input` on its standard input.
fn run(home: &Path, arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut child = quorate(home, arguments)?.spawn()?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_vec();
    // A command that refuses need not read what it is given.
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    writer.join().expect("writing does not panic").ok();
    Ok(output)
}

fn succeed(home: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let output = run(home, arguments, input)?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(output.stdout)
}

/// A running demo. Its replicas stop when it does, and it is ended by its id when it is dropped.
struct Demo {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Demo {
    /// Starts a demo and waits until it says that an append was acknowledged.
    fn start(home: &Path, arguments: &[&str]) -> Result<(Self, Duration)> {
        let start = Instant::now();
        let mut child = quorate(home, arguments)?.stderr(Stdio::inherit()).spawn()?;
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut demo = Self { child, stdin };
        let mut line = String::new();
        while !line.contains("first append acknowledged") {
            line.clear();
            let count = lines.read_line(&mut line)?;
            ensure!(count > 0, "the demo ended with {:?}", demo.child.wait()?);
        }
        let took = start.elapsed();
        // Somebody has to read what it goes on to print.
        thread::spawn(move || lines.lines().map_while(Result::ok).for_each(drop));
        Ok((demo, took))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It may have ended already: then there is nothing left to end.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The first of some ports in a row that nobody holds, nor those a thousand above, where a demo's replicas talk.
/// Below what systems hand out by themselves, and elsewhere for each process.
fn free_ports() -> Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let rows = (20_000..30_000).step_by(2_000).flat_map(|from| (from..from + 1_000).step_by(10));
    let rows: Vec<u16> = rows.collect();
    let begin = usize::try_from(std::process::id())? % rows.len();
    let mut rows = rows.iter().cycle().skip(begin).take(rows.len());
    let row =
        rows.find(|row| (**row..**row + 10).all(|port| is_free(port) && is_free(port + 1_000)));
    row.copied().context("no ports are free")
}

#[test]
fn a_demo_takes_an_append_within_seconds_and_survives_its_leader() -> Result<()> {
    let home = TempDir::with_prefix("quorate-e2e-")?;
    let kept = home.path().join("kept");
    let folder = kept.to_str().context("a temporary path is UTF-8")?;
    let (mut demo, took) = Demo::start(
        home.path(),
        &["demo", "--port", &free_ports()?.to_string(), "--keep", folder],
    )?;
    print(&format!("first acknowledged append {took:.1?} after the start of the process"));
    assert!(took < short_or_long(PATIENCE, Duration::from_secs(3)), "{took:?}");

    succeed(home.path(), &["demo", "kill", "leader"], b"")?;
    succeed(home.path(), &["append", "demo"], b"hello\n")?;
    let last =
        succeed(home.path(), &["read", "demo", "--from", "-200", "-o", "raw", "--newline"], b"")?;
    assert!(last.split(|byte| *byte == b'\n').any(|line| line == b"hello"), "it was not read back");

    succeed(home.path(), &["demo", "stop"], b"")?;
    let status = demo.child.wait()?;
    assert!(status.success(), "a demo that was told to stop ended with {status}");
    Ok(())
}

/// Whoever the demo shows, by role.
fn roles(home: &Path) -> Result<Vec<String>> {
    let shown = json(home, &["demo", "status"], b"")?;
    let replicas = shown["replicas"].as_array().context("it lists replicas")?;
    Ok(replicas.iter().map(|replica| replica["role"].as_str().unwrap_or("?").to_owned()).collect())
}

/// How many vote and how many wait.
fn voters_and_waiting(home: &Path) -> Result<(usize, usize)> {
    let roles = roles(home)?;
    let count = |wanted: &[&str]| roles.iter().filter(|role| wanted.contains(&&***role)).count();
    Ok((count(&["leader", "follower", "candidate"]), count(&["waiting to join"])))
}

/// Waits until so many vote, and one waits to join.
async fn settled(home: &Path, voters: usize) -> Result<()> {
    until(&format!("{voters} vote and one waits"), PATIENCE, async || {
        Ok((voters_and_waiting(home)? == (voters, 1)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_gains_loses_and_exchanges_replicas_while_appends_go_on() -> Result<()> {
    let home = TempDir::with_prefix("quorate-e2e-")?;
    let kept = home.path().join("kept");
    let folder = kept.to_str().context("a temporary path is UTF-8")?;
    let port = free_ports()?.to_string();
    let arguments = ["demo", "--port", &port, "--keep", folder];
    let (mut demo, _) = Demo::start(home.path(), &arguments)?;
    let home = home.path();
    settled(home, 3).await?;
    let acknowledged = || -> Result<u64> {
        json(home, &["demo", "status"], b"")?["acknowledged"].as_u64().context("it is a number")
    };
    let mut before = acknowledged()?;
    // In the end, none of those who formed the group is left, and no address is one of the first.
    for (line, voters) in [
        ("demo add", 4),
        ("demo remove 1", 3),
        ("demo replace 2", 3),
        ("demo replace 3", 3),
        ("demo replace leader", 3),
    ] {
        let change = json(home, &line.split(' ').collect::<Vec<_>>(), b"")?;
        assert_eq!(change["stage"], "done", "{line}: {change}");
        settled(home, voters).await?;
        let now = acknowledged()?;
        assert!(now > before, "{line}: no append was acknowledged");
        before = now;
    }
    succeed(home, &["append", "demo"], b"hello\n")?;
    let shown = json(home, &["demo", "status"], b"")?;
    assert_eq!(shown["failed"], 0, "{shown}");
    print(&format!("worst gap of the appends {} ms", shown["worst_gap_ms"]));

    // What is kept is the group that there was last.
    let ids = |status: &serde_json::Value| -> Vec<u64> {
        let replicas = status["replicas"].as_array().into_iter().flatten();
        replicas.filter_map(|replica| replica["id"].as_u64()).collect()
    };
    let members = ids(&json(home, &["cluster", "status"], b"")?);
    succeed(home, &["demo", "stop"], b"")?;
    demo.child.wait()?;
    let (_again, _) = Demo::start(home, &arguments)?;
    assert_eq!(ids(&json(home, &["cluster", "status"], b"")?), members);
    settled(home, 3).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_group_is_shown_agreed_to_begun_and_remembered() -> Result<()> {
    let home = TempDir::with_prefix("quorate-e2e-")?;
    let port = free_ports()?;
    let arguments = ["demo", "--port", &port.to_string(), "--no-traffic"];
    let (_demo, _) = Demo::start(home.path(), &arguments)?;
    let home = home.path();
    let joiner = format!("http://127.0.0.1:{}", port + 3);
    let joiner = joiner.as_str();
    let code = |line: &str| -> Result<(Option<i32>, String)> {
        let output = run(home, &line.split(' ').collect::<Vec<_>>(), b"")?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    until("the spare waits to join", PATIENCE, async || {
        let joiners = json(home, &["cluster", "joiners"], b"")?;
        Ok((joiners[0]["addr"] == joiner).then_some(()))
    })
    .await?;
    let status = succeed(home, &["cluster", "status"], b"")?;
    assert!(String::from_utf8_lossy(&status).contains("waiting to join"), "{status:?}");

    let (dry, plan) = code(&format!("cluster add {joiner} --dry-run"))?;
    assert!(dry == Some(0) && plan.contains("is ready"), "{plan}");
    assert_eq!(code(&format!("cluster add {joiner}"))?.0, Some(6), "nobody agreed to it");
    let (stale, plan) = code(&format!("cluster add {joiner} --yes --if-epoch 1 -o json"))?;
    let plan: serde_json::Value = serde_json::from_str(&plan)?;
    assert!(stale == Some(4) && plan["epoch"].as_u64() > Some(1), "{plan}");
    assert_eq!(code("cluster watch")?.0, Some(3), "nothing has begun");
    assert_eq!(code("cluster remove 3 --yes")?.0, Some(6), "one more failure would end it");
    assert_eq!(code("cluster add http://127.0.0.1:9 --yes")?.0, Some(3), "nobody waits there");

    let begun = json(home, &["cluster", "add", joiner, "--yes", "--no-wait"], b"")?;
    assert_eq!(begun["id"], 1, "{begun}");
    let (over, lines) = code("cluster watch 1 -o ndjson")?;
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().context("a line")?)?;
    assert!(over == Some(0) && last["stage"] == "done", "{lines}");
    assert_eq!(code("cluster cancel 1")?.0, Some(4), "it is over");
    assert_eq!(code("cluster cancel 9")?.0, Some(3));
    let fourth = last["joins"][0].as_u64().context("it has an id")?;
    let reason = "it was only lent";
    for line in [format!("cluster remove {fourth} --yes"), "cluster lead 2 --yes".to_owned()] {
        assert_eq!(
            json(home, &line.split(' ').collect::<Vec<_>>(), b"")?["stage"],
            "done",
            "{line}"
        );
    }
    let overridden = ["cluster", "remove", "3", "--yes", "--override", "P1=3", "--reason", reason];
    assert_eq!(json(home, &overridden, b"")?["stage"], "done");
    let changes = json(home, &["cluster", "changes", "--limit", "3"], b"")?;
    let wishes: Vec<_> = changes.as_array().into_iter().flatten().map(|one| &one["wish"]).collect();
    assert_eq!(wishes.len(), 3, "{changes}");
    assert_eq!(changes[0]["overrides"][0]["reason"], reason);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_is_cancelled_and_whoever_watches_is_told() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let joiner = spare(&cluster, "joiner", &[]).await?;
    let (home, url) = (cluster.folder(), cluster.url(0));
    let line = |line: &str| -> Result<Output> {
        run(
            home,
            &[&["-e", &url, "cluster"], &line.split(' ').collect::<Vec<_>>()[..]].concat(),
            b"",
        )
    };
    // It is let in, and never gets there.
    joiner.pause()?;
    let begun = line(&format!("add {} --yes --no-wait", joiner.url()))?;
    assert_eq!(begun.status.code(), Some(0), "{begun:?}");
    assert_eq!(line("watch --wait 500ms")?.status.code(), Some(7), "it is not over");
    assert_eq!(line("cancel 1 --dry-run")?.status.code(), Some(0), "it can be cancelled");
    let cancelled = line("cancel 1 -o json")?;
    assert_eq!(cancelled.status.code(), Some(0), "{cancelled:?}");
    let change: serde_json::Value = serde_json::from_slice(&cancelled.stdout)?;
    assert_eq!(change["stage"], "cancelled", "{change}");
    assert_eq!(line("watch 1")?.status.code(), Some(1), "it did not come to what was wished");
    assert_eq!(line("cancel 1")?.status.code(), Some(4), "it is over");
    joiner.resume()?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_go_in_come_out_as_they_were() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (home, url) = (cluster.folder(), cluster.url(0));
    let input: Vec<u8> =
        (0..5_000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    succeed(home, &["-e", &url, "append", "lines", "--create"], &input)?;
    let output = succeed(home, &["-e", &url, "read", "lines", "-o", "raw", "--newline"], b"")?;
    assert!(output == input, "{} bytes went in, {} came out", input.len(), output.len());

    let json = succeed(home, &["-e", &url, "-o", "json", "cluster", "status"], b"")?;
    let status: serde_json::Value = serde_json::from_slice(&json)?;
    assert_eq!(status["verdict"]["can_append"], true);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_code_says_what_went_wrong() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (home, url) = (cluster.folder(), cluster.url(0));
    for (arguments, code) in [
        (&["-e", &url, "read", "nobody"][..], 3),
        (&["-e", &url, "append", "nobody"][..], 3),
        (&["-e", &url, "read", "a b"][..], 2),
        (&["-e", &url, "frobnicate"][..], 2),
        (&["-e", "http://127.0.0.1:9", "--timeout", "1s", "read", "orders"][..], 5),
        (&["serve", "--bootstrap", "--data", "x", "--listen", "0.0.0.0:17999"][..], 2),
    ] {
        let output = run(home, arguments, b"x\n")?;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} does not say why");
        assert!(output.stdout.is_empty(), "{arguments:?} says it on standard output");
    }
    cluster.finish();
    Ok(())
}

/// Runs a command to its end and reads what it answers as JSON.
fn json(home: &Path, arguments: &[&str], input: &[u8]) -> Result<serde_json::Value> {
    let stdout = succeed(home, &[arguments, &["-o", "json"]].concat(), input)?;
    serde_json::from_slice(&stdout)
        .with_context(|| format!("{arguments:?}: {}", String::from_utf8_lossy(&stdout)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_ends_answers_in_json() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (home, url) = (cluster.folder(), cluster.url(0));
    for line in [
        "logs create a --retention-bytes 1MiB",
        "append a --text hello",
        "append a --text hello",
        "read a",
        "logs list",
        "logs show a",
        "logs set a --content-type text/plain",
        "logs fence a f-1",
        "logs fence a --clear",
        "logs trim a --to 1 --yes",
        "cursors set a billing 1",
        "cursors show a billing",
        "cursors list a",
        "cursors delete a billing",
        "logs seal a --yes",
        "logs delete a --yes",
        "cluster status",
        "config init",
        "config show",
        "completions bash",
    ] {
        let arguments: Vec<&str> = ["-e", &url].into_iter().chain(line.split(' ')).collect();
        let answer = json(home, &arguments, b"")?;
        assert!(answer.is_object() || answer.is_array(), "{line}: {answer}");
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_says_what_a_change_would_do_and_changes_nothing() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (home, url) = (cluster.folder(), cluster.url(0));
    let ask = |line: &str| {
        let arguments: Vec<&str> = ["-e", &url].into_iter().chain(line.split(' ')).collect();
        json(home, &arguments, b"")
    };
    assert_eq!(ask("logs create b --dry-run")?["would"], "create it");
    assert_eq!(ask("logs list")?, serde_json::json!([]), "it was created");
    ask("logs create a --retention-bytes 1MiB")?;
    ask("append a --text hello")?;
    ask("cursors set a billing 1")?;
    let before = (ask("logs show a")?, ask("cursors list a")?);
    for (line, would) in [
        ("logs create a --retention-bytes 1MiB --dry-run", "change nothing"),
        ("logs set a --retention-bytes none --dry-run", "change its settings"),
        ("logs fence a f-1 --dry-run", "set its fence"),
        ("logs fence a --clear --dry-run", "change nothing"),
        ("logs seal a --dry-run", "end it for ever"),
        ("cursors set a billing 0 --dry-run", "store it"),
        ("cursors delete a billing --dry-run", "delete it"),
    ] {
        assert_eq!(ask(line)?["would"], would, "{line}");
    }
    for line in ["logs trim a --to 1 --dry-run", "logs delete a --dry-run"] {
        assert_eq!(ask(line)?["dry_run"], true, "{line}");
    }
    assert_eq!((ask("logs show a")?, ask("cursors list a")?), before, "something was changed");
    for (line, code) in [
        ("logs create a --dry-run", 4),
        ("logs set b --retention-bytes none --dry-run", 3),
        ("cursors set a billing 9 --dry-run", 4),
    ] {
        let arguments: Vec<&str> = ["-e", &url].into_iter().chain(line.split(' ')).collect();
        let output = run(home, &arguments, b"")?;
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_says_where_to_go_and_how_to_answer() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let home = cluster.folder();
    let folder = home.join(".config/quorate");
    std::fs::create_dir_all(&folder)?;
    let profile = format!("endpoint = \"{}\"\noutput = \"json\"\n", cluster.url(0));
    std::fs::write(folder.join("here.toml"), profile)?;
    let answer = succeed(home, &["--profile", "here", "logs", "list"], b"")?;
    assert_eq!(answer, b"[]\n");
    let answer = succeed(home, &["--profile", "here", "logs", "list", "-o", "ndjson"], b"")?;
    assert_eq!(answer, b"", "a flag wins over a profile");
    let absent = run(home, &["--profile", "absent", "logs", "list"], b"")?;
    assert_eq!(absent.status.code(), Some(2), "{absent:?}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_does_is_told_as_done_by_whom_it_says() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let home = cluster.folder();
    let folder = home.join(".config/quorate");
    std::fs::create_dir_all(&folder)?;
    let profile = format!("endpoint = \"{}\"\nas = \"ops@example.org\"\n", cluster.url(0));
    std::fs::write(folder.join("here.toml"), profile)?;
    let url = cluster.url(0);
    for (given, user, by) in [
        (["--endpoint", &url], "ada", "ada"),
        (["--endpoint", &url], "Zo\u{eb}", "somebody"),
        (["--profile", "here"], "ada", "ops@example.org"),
        (["--profile=here", "--as=Ada of ops"], "ada", "Ada of ops"),
    ] {
        let arguments = [given.as_slice(), &["logs", "create", "orders"]].concat();
        let mut create = quorate(home, &arguments)?;
        let output = create.env("USER", user).env_remove("QUORATE_AS").output()?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        let told = json(home, &["--profile", "here", "activity", "--limit", "1"], b"")?;
        assert_eq!(told[0]["by"], by, "{arguments:?}: {told}");
        succeed(home, &["--profile", "here", "logs", "delete", "orders", "--yes"], b"")?;
    }
    let odd = run(home, &["--profile", "here", "--as", "Zo\u{eb}", "logs", "list"], b"")?;
    assert_eq!(odd.status.code(), Some(2), "{odd:?}");
    cluster.finish();
    Ok(())
}

#[test]
fn an_address_beyond_this_machine_is_refused_with_the_way_out() -> Result<()> {
    let home = TempDir::with_prefix("quorate-e2e-")?;
    let folder = home.path().join("data");
    let folder = folder.to_str().context("a temporary path is UTF-8")?;
    let output = run(
        home.path(),
        &["serve", "--bootstrap", "--data", folder, "--listen", "0.0.0.0:17998"],
        b"",
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--insecure-no-auth"), "{said}");
    assert!(!Path::new(folder).exists(), "a refused start left something behind");
    Ok(())
}

/// A process that is no member yet, once it says that it waits for `what`.
async fn waiting(recipe: Recipe, what: &str) -> Result<Process> {
    let process = Process::spawn(recipe)?;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
    let ready = format!("{}/readyz", process.url());
    until(&format!("{ready} says {what}"), PATIENCE, async || {
        let Ok(answer) = http.get(&ready).send().await else { return Ok(None) };
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status == 503 && text.contains(what)).then_some(()))
    })
    .await
    .with_context(|| process.quoted())?;
    Ok(process)
}

async fn status_of(process: &Process) -> Result<ClusterStatus> {
    let url = format!("{}{}", process.url(), paths::CLUSTER);
    Ok(serde_json::from_slice(&reqwest::get(url).await?.bytes().await?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_that_nobody_admits_answers_what_it_waits_for_and_stops_when_told() -> Result<()> {
    // A group that wants one voter and has it: nobody is let in.
    let cluster = Cluster::start(1).await?;
    let mut recipe = Recipe::in_folder(cluster.folder().join("joiner"))?;
    recipe.first_start = vec!["--join".to_owned(), cluster.url(0)];
    let mut joiner = waiting(recipe, "waiting to join").await?;

    let live = reqwest::get(format!("{}/livez", joiner.url())).await?;
    assert_eq!(live.status().as_u16(), 200);
    let status = status_of(&joiner).await?;
    assert!(!status.verdict.can_append && status.this_replica.is_none(), "{status:?}");
    assert!(status.verdict.sentence.contains("waiting to join"), "{}", status.verdict.sentence);
    let refused = reqwest::get(format!("{}/v1/logs", joiner.url())).await?;
    assert_eq!(refused.status().as_u16(), 503);
    assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
    let problem: serde_json::Value = serde_json::from_slice(&refused.bytes().await?)?;
    assert_eq!(problem["code"], "not_member");

    let ended = joiner.stop().await?;
    assert_eq!(ended.code(), Some(0), "{}", joiner.quoted());
    assert!(!joiner.recipe().folder.join("marker").exists(), "it became nobody");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_that_finds_no_room_among_those_who_wait_goes_on_asking() -> Result<()> {
    let cluster = Cluster::start_with(1, &["--set", "limits.joiners_max=1"]).await?;
    let join = |name: &str| {
        let mut recipe = Recipe::in_folder(cluster.folder().join(name))?;
        recipe.first_start = vec!["--join".to_owned(), cluster.url(0)];
        anyhow::Ok(recipe)
    };
    let mut first = waiting(join("first")?, "waiting to join").await?;
    let mut second = waiting(join("second")?, "waiting to join").await?;
    // The member names the one, and refuses the other for now, which must not take it for the end.
    let metrics = format!("{}/metrics", cluster.url(0));
    until("the refused one has asked again", PATIENCE, async || {
        let text = reqwest::get(&metrics).await?.text().await?;
        let is_refusal = |line: &&str| line.contains(paths::JOINERS) && line.contains("429");
        let counts = text.lines().filter(is_refusal);
        let counts = counts.filter(|line| line.contains("_total{"));
        let refusals: f64 =
            counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum();
        Ok((refusals >= 2.0).then_some(()))
    })
    .await?;
    for process in [&mut first, &mut second] {
        assert_eq!(process.stop().await?.code(), Some(0), "{}", process.quoted());
    }
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_founded_by_one_request_to_a_process_that_was_told_nothing() -> Result<()> {
    let home = TempDir::with_prefix("quorate-e2e-")?;
    let recipe = Recipe::in_folder(home.path().join("replica"))?;
    let mut replica = waiting(recipe, "waiting to be told to found a cluster").await?;
    let url = format!("{}{}", replica.url(), paths::BOOTSTRAP);
    let ask = |body: &'static str| {
        let request = reqwest::Client::new().post(&url);
        request.header("content-type", "application/json").body(body).send()
    };

    let bad = ask(r#"{"expect": 100}"#).await?;
    assert_eq!(bad.status().as_u16(), 400);
    let founded = ask(r#"{"expect": 1}"#).await?;
    assert_eq!(founded.status().as_u16(), 201, "{}", replica.quoted());
    let founded: serde_json::Value = serde_json::from_slice(&founded.bytes().await?)?;
    assert_eq!(founded["replica"], 1);
    let again = ask("").await?;
    assert_eq!(again.status().as_u16(), 409, "it was founded twice");

    replica.ready().await?;
    let status = status_of(&replica).await?;
    assert!(status.verdict.can_append, "{}", status.verdict.sentence);
    assert_eq!(serde_json::to_value(status.cluster)?, founded["cluster"]);
    // It goes on as itself when it is started in the same way again.
    assert!(replica.stop().await?.success(), "{}", replica.quoted());
    replica.start()?;
    replica.ready().await?;
    assert_eq!(status_of(&replica).await?.cluster, status.cluster);
    Ok(())
}

#[test]
fn a_folder_that_holds_something_else_is_refused_before_any_waiting() -> Result<()> {
    let home = TempDir::with_prefix("quorate-e2e-")?;
    let data = home.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("thesis.txt"), "mine")?;
    let folder = data.to_str().context("a temporary path is UTF-8")?;
    for begin in [&[][..], &["--join", "http://127.0.0.1:9"]] {
        let arguments =
            [&["serve", "--data", folder, "--listen", "127.0.0.1:17997"], begin].concat();
        let output = run(home.path(), &arguments, b"")?;
        assert_eq!(output.status.code(), Some(75), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("thesis.txt"), "{output:?}");
    }
    Ok(())
}
