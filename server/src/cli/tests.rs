//! Goal: the command line takes what the documentation shows, and refuses the rest with code 2.
//! Method: a table of command lines, parsed and not run; and the tree of commands walked whole.

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn documented_command_lines_are_taken() {
    let lines = [
        "quorate demo",
        "quorate demo --keep /tmp/d --direct --rate 50 --no-traffic --port 9001",
        "quorate demo kill leader",
        "quorate demo kill 2 --stay-dead",
        "quorate demo kill 2 --restart-after 500ms",
        "quorate demo start 2",
        "quorate demo partition 3",
        "quorate demo slow 3 --delay 20ms",
        "quorate demo heal",
        "quorate demo traffic off",
        "quorate demo status -o json",
        "quorate demo stop",
        "quorate serve --data d --bootstrap --expect 3",
        "quorate serve --data d --join http://a:7001,http://b:7001 --listen 127.0.0.1:7002",
        "quorate serve --config q.toml --set limits.record_bytes_max=2MiB --zone z",
        "quorate serve --exit-with-stdin --peer-map 127.0.0.1:1=127.0.0.1:2,127.0.0.1:3=127.0.0.1:4",
        "quorate append demo",
        "quorate append demo README.md",
        "quorate append demo --ndjson -o ndjson",
        "quorate append demo --text hello --create",
        "quorate append demo --file big.bin --record-bytes 1MiB -e http://127.0.0.1:7002",
        "quorate read demo",
        "quorate read demo --from -10 -o table",
        "quorate read demo --from 2026-11-23T20:00:00Z --limit 5 --consistency local -o json",
        "quorate read demo -o raw --newline",
        "quorate follow demo --from first --limit 3",
        "quorate tail demo",
        "quorate logs list --prefix shop/",
        "quorate logs create shop/orders --retention-age 24h --retention-bytes 1GiB",
        "quorate logs show demo",
        "quorate logs set demo --retention-age none",
        "quorate logs trim demo --to 100 --dry-run",
        "quorate logs seal demo --yes",
        "quorate logs fence demo writer-7",
        "quorate logs fence demo --clear",
        "quorate logs delete demo --yes",
        "quorate cursors list demo",
        "quorate cursors set demo billing 42",
        "quorate cursors set demo billing 42 --dry-run",
        "quorate cursors delete demo billing --dry-run -o json",
        "quorate logs create shop/orders --dry-run",
        "quorate logs set demo --retention-age none --dry-run",
        "quorate logs seal demo --dry-run",
        "quorate logs fence demo --clear --dry-run",
        "quorate logs list --profile work",
        "quorate bench --warm-up 0s",
        "quorate cluster status --check -o raw",
        "quorate cluster plan add http://a:7001 http://b:7001 --learner",
        "quorate cluster plan remove 3 --check",
        "quorate cluster plan replace 3 --by http://d:7001 -o json",
        "quorate cluster plan set 1 2 http://d:7001 --learner 3 --learner http://e:7001",
        "quorate cluster plan lead 2",
        "quorate cluster plan relocate 2 --addr http://f:7001 --peer-addr http://f:8001",
        "quorate cluster add http://d:7001 --yes --if-epoch 23 --no-wait -o json",
        "quorate cluster remove 3 4 --override P1=3 --override P10=3 --reason moving",
        "quorate cluster replace 3 --by http://d:7001 --dry-run",
        "quorate cluster set 1 2 http://d:7001 --learner 3 --yes --wait 10m",
        "quorate cluster lead 2 --yes",
        "quorate cluster relocate 2 --addr http://f:7001 --peer-addr http://f:8001 --yes",
        "quorate cluster changes --before 18 --limit 5",
        "quorate cluster watch -o ndjson",
        "quorate cluster watch 18 --wait 5s",
        "quorate cluster cancel 18 --dry-run",
        "quorate cluster cancel 18 --no-wait",
        "quorate cluster joiners",
        "quorate demo add",
        "quorate demo add --dry-run",
        "quorate demo remove",
        "quorate demo remove 4",
        "quorate demo replace leader",
        "quorate serve --data d --join http://a:7001 --join-as learner",
        "quorate bench --clients 64 --record-bytes 1KiB --duration 5s --rounds 5 -o json",
        "quorate bench --batch 100 --record-bytes 100 --clients 16 --format frames --logs 4",
        "quorate bench --mix 20/80 --any --consistency local",
        "quorate bench --disk --folder /tmp",
        "quorate bench --ceiling --clients 64",
        "quorate bench --overload 10 --clients 256 --refused-wait 0s",
        "quorate bench --produce 1 --record-bytes 100 --threads 2",
        "quorate bench --follow 1000 --duration 10s --interval 100ms",
        "quorate bench --read --format ndjson --records 1000000 --clients 1",
        "quorate recover --data a --data b --dry-run -o json",
        "quorate recover --data a --accept-loss-from 4711 --advertise http://10.0.0.9:7001 --yes",
        "quorate config init",
        "quorate config check q.toml",
        "quorate config show --origin --listen 127.0.0.1:9000",
        "quorate completions bash",
        "quorate -o json --timeout 5s --quiet cluster status",
    ];
    for line in lines {
        if let Err(error) = parse(line) {
            panic!("{line}\n{error}");
        }
    }
}

#[test]
fn mistakes_are_refused_and_named() {
    let lines = [
        ("quorate serv", ErrorKind::InvalidSubcommand),
        ("quorate serve --bootstrap --join http://a:1", ErrorKind::ArgumentConflict),
        ("quorate serve --expect 3", ErrorKind::MissingRequiredArgument),
        ("quorate serve --join-as learner", ErrorKind::MissingRequiredArgument),
        ("quorate serve --join http://a:1 --join-as leader", ErrorKind::InvalidValue),
        ("quorate cluster plan remove", ErrorKind::MissingRequiredArgument),
        ("quorate cluster plan remove 3 --yes", ErrorKind::UnknownArgument),
        ("quorate cluster remove 3 --override P1=3", ErrorKind::MissingRequiredArgument),
        ("quorate cluster remove 3 --reason moving", ErrorKind::MissingRequiredArgument),
        ("quorate cluster remove 3 --override P17=3 --reason moving", ErrorKind::ValueValidation),
        ("quorate cluster remove 3 --override P1 --reason moving", ErrorKind::ValueValidation),
        ("quorate cluster remove 3 --yes --dry-run", ErrorKind::ArgumentConflict),
        ("quorate cluster remove 3 --no-wait --wait 5s", ErrorKind::ArgumentConflict),
        ("quorate cluster cancel", ErrorKind::MissingRequiredArgument),
        ("quorate demo remove everybody", ErrorKind::ValueValidation),
        ("quorate cluster plan remove 0", ErrorKind::ValueValidation),
        ("quorate cluster plan add d:7001", ErrorKind::ValueValidation),
        ("quorate cluster plan set 1 two", ErrorKind::ValueValidation),
        ("quorate serve --bootstrap --expect 0", ErrorKind::ValueValidation),
        ("quorate demo kill everybody", ErrorKind::ValueValidation),
        ("quorate demo --keep d kill leader", ErrorKind::ArgumentConflict),
        ("quorate demo traffic maybe", ErrorKind::InvalidValue),
        ("quorate append", ErrorKind::MissingRequiredArgument),
        ("quorate append a//b", ErrorKind::ValueValidation),
        ("quorate append demo f --ndjson", ErrorKind::ArgumentConflict),
        ("quorate append demo --file f", ErrorKind::MissingRequiredArgument),
        ("quorate read demo --from yesterday", ErrorKind::ValueValidation),
        ("quorate read demo --consistency eventual", ErrorKind::ValueValidation),
        ("quorate logs set demo", ErrorKind::MissingRequiredArgument),
        ("quorate logs trim demo --to 1 --yes --dry-run", ErrorKind::ArgumentConflict),
        ("quorate logs fence demo", ErrorKind::MissingRequiredArgument),
        ("quorate bench --disk --ceiling", ErrorKind::ArgumentConflict),
        ("quorate bench --mix 50/60", ErrorKind::ValueValidation),
        ("quorate bench --duration 0s", ErrorKind::ValueValidation),
        ("quorate recover", ErrorKind::MissingRequiredArgument),
        ("quorate recover --data a --yes --dry-run", ErrorKind::ArgumentConflict),
        ("quorate follow demo --consistency local", ErrorKind::UnknownArgument),
        ("quorate -o yaml cluster status", ErrorKind::InvalidValue),
    ];
    for (line, kind) in lines {
        let error = parse(line).expect_err(line);
        assert_eq!(error.kind(), kind, "{line}\n{error}");
        assert!(error.use_stderr(), "{line}");
    }
}

#[test]
fn the_tree_of_commands_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_and_option_says_what_it_is() {
    let mut waiting = vec![(Cli::command(), "quorate".to_owned())];
    while let Some((command, path)) = waiting.pop() {
        assert!(command.get_about().is_some(), "{path} has no description");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{path} {} has none", argument.get_id());
        }
        for below in command.get_subcommands() {
            waiting.push((below.clone(), format!("{path} {}", below.get_name())));
        }
    }
}

#[test]
fn every_command_takes_every_format() {
    for line in ["demo status", "read demo", "logs list", "bench --disk", "config show"] {
        for format in ["table", "json", "ndjson", "raw"] {
            let cli = parse(&format!("quorate {line} -o {format}")).unwrap();
            let output = cli.shared.output.expect("it was given");
            assert_eq!(format!("{output:?}").to_lowercase(), format, "{line}");
        }
    }
}

/// Every command that does something, with all the arguments that it knows, those of above included.
fn leaves() -> Vec<(String, clap::Command)> {
    let mut whole = Cli::command();
    whole.build();
    let mut waiting = vec![(String::new(), whole)];
    let mut leaves = Vec::new();
    while let Some((path, command)) = waiting.pop() {
        if !command.has_subcommands() || !command.is_subcommand_required_set() {
            leaves.push((path.clone(), command.clone()));
        }
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            waiting.push((format!("{path} {}", below.get_name()).trim().to_owned(), below.clone()));
        }
    }
    leaves
}

fn takes(command: &clap::Command, long: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(long))
}

#[test]
fn every_command_has_the_shared_options_and_every_change_can_be_rehearsed() {
    // What only looks or writes a file or folder of its own, and what is itself a rehearsal. A new command is a change until it stands here.
    let no_changes = [
        "",
        "serve",
        "demo",
        "demo kill",
        "demo start",
        "demo partition",
        "demo slow",
        "demo heal",
        "demo traffic",
        "demo status",
        "demo stop",
        "append",
        "read",
        "follow",
        "logs list",
        "logs show",
        "cursors list",
        "cursors show",
        "cluster status",
        "cluster plan add",
        "cluster plan remove",
        "cluster plan replace",
        "cluster plan set",
        "cluster plan lead",
        "cluster plan relocate",
        "cluster changes",
        "cluster watch",
        "cluster joiners",
        "checkpoints list",
        "snapshots list",
        "snapshots show",
        "backup",
        "verify",
        "restore",
        "activity",
        "audit",
        "scrub",
        "transfers list",
        "bench",
        "config init",
        "config check",
        "config show",
        "completions",
    ];
    let leaves = leaves();
    for (path, command) in &leaves {
        for shared in ["output", "endpoint", "timeout", "profile", "quiet"] {
            assert!(takes(command, shared), "`quorate {path}` does not take --{shared}");
        }
        let is_change = !no_changes.contains(&path.as_str());
        assert_eq!(takes(command, "dry-run"), is_change, "`quorate {path}` and --dry-run");
    }
    let changes = leaves.iter().filter(|(path, _)| !no_changes.contains(&path.as_str())).count();
    assert_eq!(changes, 24, "a command is missing in the walk");
}

#[test]
fn the_help_says_every_exit_code() {
    let help = Cli::command().render_long_help().to_string();
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 74, 75] {
        assert!(help.contains(&format!("\n{code:>4}  ")), "{code} is not in\n{help}");
    }
}

#[test]
fn a_serve_line_becomes_a_checked_config() {
    let line = "quorate serve --data /tmp/x --listen 127.0.0.1:9001 --set timings.heartbeat=50ms \
                --join http://127.0.0.1:7001 --peer-map 127.0.0.1:8001=127.0.0.1:40001 --exit-with-stdin";
    let Command::Serve(arguments) = parse(line).unwrap().command else { panic!("another command") };
    let config = arguments.config().unwrap();
    assert_eq!(config.peer_listen.to_string(), "127.0.0.1:10001");
    assert_eq!(config.timings.heartbeat, Duration::from_millis(50));
    let doors = vec!["http://127.0.0.1:7001".parse().unwrap()];
    assert_eq!(config.start, crate::config::Start::Join { doors, as_learner: false });
    assert_eq!(config.rehearsal.detours["127.0.0.1:8001"], "127.0.0.1:40001");
    assert!(config.rehearsal.ends_with_stdin);
}

#[test]
fn a_serve_line_that_opens_to_the_network_is_refused_as_unsafe() {
    let line = "quorate serve --listen 0.0.0.0:7001 --advertise http://10.0.0.1:7001 --advertise-peer http://10.0.0.1:8001";
    let Command::Serve(arguments) = parse(line).unwrap().command else { panic!("another command") };
    let failure = arguments.config().unwrap_err();
    assert_eq!(failure.exit, Exit::Unsafe);
    assert!(failure.to_string().contains("--insecure-no-auth"), "{failure}");
}

#[test]
fn a_completion_script_knows_the_commands() {
    let mut script = Vec::new();
    clap_complete::generate(
        clap_complete::Shell::Bash,
        &mut Cli::command(),
        "quorate",
        &mut script,
    );
    let script = String::from_utf8(script).unwrap();
    assert!(script.contains("partition") && script.contains("--record-bytes"));
}
