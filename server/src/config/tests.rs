//! Goal: settings are layered as promised, and what is wrong is told with its place.
//! Method: small files, environments and flags, and the text of what comes out.

use std::path::Path;
use std::time::Duration;

use super::*;

fn built(layers: &Layers) -> Config {
    Config::build(layers, Start::Resume).unwrap()
}

fn refused(layers: &Layers) -> String {
    Config::build(layers, Start::Resume).unwrap_err().to_string()
}

fn file(text: &str) -> Layers {
    Layers::new().text(Path::new("q.toml"), text)
}

fn variable(name: &str, value: &str) -> [(String, String); 1] {
    [(name.to_owned(), value.to_owned())]
}

#[test]
fn nothing_given_is_a_complete_config() {
    let config = built(&Layers::new());
    assert_eq!(config.listen.to_string(), "127.0.0.1:7001");
    assert_eq!(config.peer_listen.to_string(), "127.0.0.1:8001");
    assert_eq!(config.advertise.to_string(), "http://127.0.0.1:7001");
    assert_eq!(config.advertise_peer.to_string(), "http://127.0.0.1:8001");
    assert_eq!(config.timings.heartbeat, Duration::from_millis(80));
    assert_eq!(config.limits.batch, BatchLimits::default());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let layers = file("zone = \"file\"\n[limits]\nrecord_bytes_max = \"2MiB\"\nwait_max = \"5s\"");
    assert_eq!(built(&layers).zone.as_str(), "file");
    let layers = layers
        .environment(variable("QUORATE_ZONE", "environment"))
        .environment(variable("QUORATE_LIMITS_RECORD_BYTES_MAX", "3MiB"));
    assert_eq!(built(&layers).zone.as_str(), "environment");
    let layers = layers.flag("zone", "--zone", "flag");
    let config = built(&layers);
    assert_eq!(config.zone.as_str(), "flag");
    assert_eq!(config.limits.batch.record_bytes_max, 3 << 20);
    assert_eq!(config.limits.wait_max, Duration::from_secs(5));
    let origins: Vec<String> = config
        .effective(&layers)
        .into_iter()
        .filter(|setting| {
            ["zone", "limits.record_bytes_max", "limits.wait_max", "listen", "advertise"]
                .contains(&setting.key)
        })
        .map(|setting| format!("{} = {} ({})", setting.key, setting.value, setting.origin))
        .collect();
    assert_eq!(
        origins,
        [
            "listen = 127.0.0.1:7001 (default)",
            "advertise = http://127.0.0.1:7001 (derived)",
            "zone = flag (flag --zone)",
            "limits.record_bytes_max = 3MiB (environment QUORATE_LIMITS_RECORD_BYTES_MAX)",
            "limits.wait_max = 5s (q.toml:4)",
        ]
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_what_was_meant() {
    let cases = [
        ("\nlisten_addr = \"x\"", "q.toml:2: unknown key `listen_addr`"),
        ("lsten = \"x\"", "q.toml:1: unknown key `lsten`; did you mean `listen`?"),
        (
            "[timings]\n\nheartbeet = 1",
            "q.toml:3: unknown key `timings.heartbeet`; did you mean `timings.heartbeat`?",
        ),
        (
            "heartbeat = \"1s\"",
            "q.toml:1: unknown key `heartbeat`; did you mean `timings.heartbeat`?",
        ),
        ("[timing]\nheartbeat = \"1s\"", "q.toml:1: unknown key `timing`"),
        ("[limits.batch]\nx = 1", "q.toml:1: unknown key `limits.batch`"),
    ];
    for (text, message) in cases {
        assert!(refused(&file(text)).starts_with(message), "{}", refused(&file(text)));
    }
    let flag = Layers::new().flag("limits.recordbytes_max", "--set limits.recordbytes_max", "1");
    assert_eq!(
        refused(&flag),
        "flag --set limits.recordbytes_max: unknown key `limits.recordbytes_max`; did you mean `limits.record_bytes_max`?"
    );
}

#[test]
fn a_bad_value_is_refused_with_its_place() {
    let cases = [
        (
            "zone = \"a\"\nlisten = \"7001\"",
            "q.toml:2: `listen`: \"7001\" is not an IP address and a port",
        ),
        ("listen = \"127.0.0.1:0\"", "q.toml:1: `listen`: \"127.0.0.1:0\" is not an IP address"),
        ("listen = [1]", "q.toml:1: `listen`: expected an IP address"),
        ("zone = \"a\\nb\"", "q.toml:1: `zone`: a zone may not hold control characters"),
        (
            "[timings]\nheartbeat = \"soon\"",
            "q.toml:2: `timings.heartbeat`: \"soon\" is not a length of time",
        ),
        (
            "[timings]\nheartbeat = \"0s\"",
            "q.toml:2: `timings.heartbeat`: \"0s\" is not a length of time",
        ),
        (
            "[timings]\nelection_min = \"100ms\"",
            "q.toml:2: `timings.election_min`: must be at least twice",
        ),
        ("[timings]\nelection_max = \"200ms\"", "q.toml:2: `timings.election_max`: must be longer"),
        (
            "[limits]\nappends_max = -1",
            "q.toml:2: `limits.appends_max`: \"-1\" is not a whole number",
        ),
        (
            "[limits]\nbatch_bytes_max = 1000",
            "q.toml:2: `limits.batch_bytes_max`: must hold one record",
        ),
        (
            "[limits]\nbatch_bytes_max = \"16MiB\"",
            "q.toml:2: `limits.batch_bytes_max`: must fit into one message between replicas",
        ),
        (
            "[journal]\nsegment_bytes = \"1MiB\"",
            "q.toml:2: `journal.segment_bytes`: must hold two appends",
        ),
        (
            "[limits]\ndisk_free_min = \"256MiB\"",
            "q.toml:2: `limits.disk_free_min`: a quarter of it must hold what is written although",
        ),
        (
            "[diagnostics]\nformat = \"xml\"",
            "q.toml:2: `diagnostics.format`: \"xml\" is not one of auto, text, json",
        ),
        (
            "advertise = \"10.0.0.1:7001\"",
            "q.toml:1: `advertise`: \"10.0.0.1:7001\" is not an address such as",
        ),
        ("peer_listen = \"127.0.0.1:7001\"", "q.toml:1: `peer_listen`: is the same as listen"),
        (
            "listen = \"127.0.0.1:65000\"",
            "derived: `peer_listen`: the port of `listen` plus 1000 is no port",
        ),
        ("listen = ", "q.toml:1: "),
    ];
    for (text, message) in cases {
        assert!(refused(&file(text)).starts_with(message), "{text}: {}", refused(&file(text)));
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let message = refused(&file("lsten = 1\nzone = 1.5\n[limits]\nheaders_max = 0"));
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let message = refused(&Layers::new().file(Path::new("/nowhere/q.toml")));
    assert!(message.starts_with("/nowhere/q.toml: "), "{message}");
}

#[test]
fn listening_to_the_network_needs_a_word_of_consent() {
    let open = Layers::new()
        .flag("listen", "--listen", "0.0.0.0:7001")
        .flag("advertise", "--advertise", "http://10.0.0.1:7001")
        .flag("advertise_peer", "--advertise-peer", "http://10.0.0.1:8001");
    let errors = Config::build(&open, Start::Resume).unwrap_err();
    assert!(errors.is_refusal());
    let message = errors.to_string();
    assert!(message.contains("flag --listen: `listen` = 0.0.0.0:7001"), "{message}");
    assert!(message.contains("no authentication") && message.contains("--insecure-no-auth"));
    let consented = open.flag("insecure_no_auth", "--insecure-no-auth", "true");
    assert_eq!(built(&consented).listen.to_string(), "0.0.0.0:7001");
}

#[test]
fn an_address_of_every_interface_needs_one_to_tell_others() {
    let layers = Layers::new().flag("listen", "--listen", "0.0.0.0:7001").flag(
        "insecure_no_auth",
        "--insecure-no-auth",
        "true",
    );
    let message = refused(&layers);
    assert!(message.contains("derived: `advertise`: 0.0.0.0:7001 is every address"), "{message}");
}

#[test]
fn a_variable_that_sets_nothing_is_told_and_harmless() {
    let layers = Layers::new()
        .environment(variable("QUORATE_PORT", "tcp://10.0.0.1:7001"))
        .environment(variable("QUORATE_ENDPOINT", "http://127.0.0.1:7001"))
        .environment(variable("PATH", "/bin"));
    assert_eq!(layers.notices(), ["QUORATE_PORT is set, but there is no such setting"]);
    assert_eq!(built(&layers).zone.as_str(), "");
}

#[test]
fn the_example_file_is_true() {
    let written = include_str!("../../config.example.toml");
    assert_eq!(written, example(), "write it again with `quorate config init`");
    let uncommented: String = written
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.split_once(" = ").is_some_and(|(key, _)| is_leaf(key)) => {
                setting
            }
            _ => line,
        })
        .fold(String::new(), |text, line| text + line + "\n");
    let layers = file(&uncommented);
    let config = built(&layers);
    assert!(KEYS.iter().all(|key| layers.is_given(key.name)), "a key is missing in the example");
    // From where each value comes is another matter.
    let values = |config: Config| format!("{:?}", Config { told: [].into(), ..config });
    assert_eq!(values(config), values(built(&Layers::new())));
}

fn is_leaf(text: &str) -> bool {
    KEYS.iter().any(|key| key.leaf() == text)
}
