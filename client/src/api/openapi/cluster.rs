//! The group of replicas: how it is, how it begins, and who wants to join.
//!
//! Not here: changes of the membership (`changes`).

use serde_json::{Value, json};

use super::operation::{Example, Operation, TO_A_CHANGE, Written};
use super::schemas::Schemas;
use crate::api::cluster::{
    BootstrapAnswer, BootstrapRequest, ClusterStatus, JoinAnswer, JoinRequest, JoinerList,
};
use crate::api::error::ErrorCode::{
    AlreadyBootstrapped, InvalidParameter, JoinRefused, OutcomeUnknown,
};
use crate::api::paths;

pub(super) const TAG: &str = "Cluster";

pub(super) fn operations(schemas: &mut Schemas) -> Vec<Written> {
    vec![bootstrap(schemas), status(schemas), ask(schemas), joiners(schemas)]
}

const CLUSTER: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

fn bootstrap(schemas: &mut Schemas) -> Written {
    let words = (
        "bootstrapCluster",
        "Found a cluster",
        "Makes this process the first replica of a new cluster. It is refused by a process that belongs to one.",
    );
    Operation::new(schemas, TAG, ("POST", paths::BOOTSTRAP), words)
        .optional_body::<BootstrapRequest>("How large the group is to be.")
        .tells::<BootstrapAnswer>(201, "It is founded.", &[])
        .fails(TO_A_CHANGE)
        .fails(&[AlreadyBootstrapped, OutcomeUnknown])
        .example(
            &Example::new("three", "A group that wants three voters")
                .json(json!({ "expect": 3 }))
                .told(
                    201,
                    json!({
                        "cluster": CLUSTER,
                        "generation": { "number": 1, "random": "9f86d081884c7d65" },
                        "replica": 1,
                    }),
                ),
        )
        .done()
}

fn replica(id: u64, role: &str) -> Value {
    json!({
        "id": id,
        "role": role,
        "is_reachable": true,
        "addr": format!("http://127.0.0.1:700{id}"),
        "peer_addr": format!("http://127.0.0.1:710{id}"),
    })
}

fn status(schemas: &mut Schemas) -> Written {
    let words = (
        "showCluster",
        "Show the cluster",
        "The verdict in one sentence, whether appends succeed and how many more replicas may fail; then each replica, as \
         the one that answers sees it.",
    );
    Operation::new(schemas, TAG, ("GET", paths::CLUSTER), words)
        .tells::<ClusterStatus>(200, "The cluster as this replica sees it.", &[])
        .fails(&[InvalidParameter])
        .example(&Example::new("healthy", "Three replicas, of which one may fail").told(
            200,
            json!({
                "verdict": {
                    "can_append": true,
                    "tolerance": 1,
                    "sentence": "Taking appends; any 1 of the 3 voters may fail.",
                    "reasons": [],
                },
                "cluster": CLUSTER,
                "generation": { "number": 1, "random": "9f86d081884c7d65" },
                "epoch": 9,
                "term": 1,
                "leader": 1,
                "this_replica": 1,
                "expected_voters": 3,
                "replicas": [replica(1, "leader"), replica(2, "follower"), replica(3, "follower")],
                "as_of": "2026-11-23T20:15:57.042Z",
            }),
        ))
        .done()
}

fn ask(schemas: &mut Schemas) -> Written {
    let words = (
        "askToJoin",
        "Ask to join",
        "A process that wants to become a replica asks again and again, always with the same nonce, until it is told \
         that it is one. `quorate serve --join` does that.",
    );
    Operation::new(schemas, TAG, ("POST", paths::JOINERS), words)
        .at_leader()
        .body::<JoinRequest>("What it tells of itself.")
        .tells::<JoinAnswer>(200, "Whether it is a replica by now.", &[])
        .fails(TO_A_CHANGE)
        .fails(&[JoinRefused])
        .example(
            &Example::new("waiting", "Nobody has let it in yet")
                .json(json!({
                    "nonce": "0123456789abcdef0123456789abcdef",
                    "addr": "http://127.0.0.1:7009",
                    "peer_addr": "http://127.0.0.1:7109",
                    "zone": "attic",
                    "version": env!("CARGO_PKG_VERSION"),
                }))
                .told(200, json!({ "state": "waiting", "retry_after_ms": 500 })),
        )
        .done()
}

fn joiners(schemas: &mut Schemas) -> Written {
    let words = (
        "listJoiners",
        "List who waits to join",
        "The processes that asked the leader lately, the longest first.",
    );
    Operation::new(schemas, TAG, ("GET", paths::JOINERS), words)
        .at_leader()
        .tells::<JoinerList>(200, "All that wait.", &[])
        .fails(&[InvalidParameter])
        .example(&Example::new("one", "One process waits").told(
            200,
            json!({ "joiners": [{
                "addr": "http://127.0.0.1:7009",
                "peer_addr": "http://127.0.0.1:7109",
                "zone": "attic",
                "version": env!("CARGO_PKG_VERSION"),
                "since": "2026-11-23T20:15:57.042Z",
            }] }),
        ))
        .done()
}
