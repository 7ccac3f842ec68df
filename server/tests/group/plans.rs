//! Plans of a real group: what the leader knows of the others and what the voters say of a newcomer is what the plan
//! tells. The checks themselves are tested beside them.

use client::api::cluster::{JoinFolder, JoinNonce, JoinRequest, Reach};
use client::api::plans::{Check, CheckId, CheckLevel, MemberName, Plan, PlanVerdict, Wish};
use client::types::{ReplicaAddr, ReplicaId, Timestamp};
use quorate::machine::MACHINE_VERSION;
use quorate::node::Node;
use quorate::node::error::{PlanError, Unserved};
use quorate::world::World;
use tokio::net::TcpListener;

use crate::replica::{LIMIT, append, bind, three};

/// A process that waits: it listens, and asks as often as it is told.
struct Newcomer {
    _listener: Option<TcpListener>,
    request: JoinRequest,
}

impl Newcomer {
    /// One that can be reached.
    async fn reachable() -> Self {
        let (listener, peer_addr) = bind().await;
        Self { _listener: Some(listener), request: request(peer_addr) }
    }

    /// One whose address for replicas is wrong.
    async fn unreachable() -> Self {
        let (listener, peer_addr) = bind().await;
        drop(listener);
        Self { _listener: None, request: request(peer_addr) }
    }

    fn addr(&self) -> ReplicaAddr {
        self.request.addr.clone()
    }

    fn wish(&self) -> Wish {
        Wish::Add { joiners: vec![self.addr()], as_learner: false }
    }

    async fn ask(&self, leader: &Node) {
        leader.join_asked(self.request.clone()).await.unwrap();
    }
}

fn request(peer_addr: ReplicaAddr) -> JoinRequest {
    let addr = ReplicaAddr::new("http://127.0.0.1:9").unwrap();
    let reach = |number| Reach { id: ReplicaId::new(number).unwrap(), round_trip_us: Some(90) };
    JoinRequest {
        free_bytes: Some(1 << 40),
        machine_version: Some(MACHINE_VERSION),
        format_version: Some(migrations::FORMAT_VERSION),
        time: Some(Timestamp::new(World::real().clock.wall_millis())),
        folder: Some(JoinFolder::Empty),
        reaches: (1..=3).map(reach).collect(),
        ..JoinRequest::new(JoinNonce::new(77), addr, peer_addr, env!("CARGO_PKG_VERSION"))
    }
}

fn check(plan: &Plan, id: CheckId) -> &Check {
    plan.checks.iter().find(|check| check.id == id).unwrap()
}

/// The plan, once it is as it should be: on a busy machine a replica may be late for once.
async fn planned(node: &Node, wish: &Wish, is_right: impl Fn(&Plan) -> bool) -> Plan {
    let right = async {
        loop {
            let plan = node.plan(wish).await.unwrap();
            if is_right(&plan) {
                return plan;
            }
            tokio::task::yield_now().await;
        }
    };
    let Ok(plan) = tokio::time::timeout(LIMIT, right).await else {
        panic!("{:#?}", node.plan(wish).await)
    };
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_what_the_leader_and_its_voters_know_and_changes_nothing() {
    let [first, second, third] = three().await;
    append(&first.node, "x".repeat(10_000)).await.unwrap();
    let newcomer = Newcomer::reachable().await;
    newcomer.ask(&first.node).await;
    let plan = planned(&first.node, &newcomer.wish(), |plan| {
        // Each voter was asked to connect, and has told how long that took.
        plan.verdict == PlanVerdict::Ready
            && check(plan, CheckId::P2).line.starts_with("All 3")
            && check(plan, CheckId::P6).level == CheckLevel::Pass
    })
    .await;
    assert_eq!((plan.now.may_fail, plan.after.may_fail, plan.after.tolerates), (1, 1, 1));
    assert_eq!(plan.after.voters.last(), Some(&MemberName::Joiner(newcomer.addr())));
    let cost = plan.copy_bytes.unwrap();
    assert!((10_000..20_000).contains(&cost), "{cost}");
    let status = first.node.status().await;
    assert_eq!((Some(plan.epoch), status.replicas.len()), (status.epoch, 3));

    let removed = Wish::Remove { replicas: vec![third.node.replica()] };
    let plan = planned(&first.node, &removed, |plan| plan.verdict != PlanVerdict::Blocked).await;
    assert_eq!(check(&plan, CheckId::P1).type_to_override.as_deref(), Some("3"));
    let leads = Wish::Lead { replica: second.node.replica() };
    let plan = planned(&first.node, &leads, |plan| plan.verdict == PlanVerdict::Ready).await;
    assert_eq!(plan.hand_over_to, Some(second.node.replica()));
    let refused = second.node.plan(&removed).await;
    let leader = Some(ReplicaId::FIRST);
    assert_eq!(refused, Err(PlanError::Unserved(Unserved::NotLeader { leader })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_no_voter_reaches_is_blocked() {
    let [first, _second, _third] = three().await;
    let newcomer = Newcomer::unreachable().await;
    newcomer.ask(&first.node).await;
    let plan = planned(&first.node, &newcomer.wish(), |plan| {
        let line = &check(plan, CheckId::P6).line;
        [1, 2, 3].iter().all(|id| line.contains(&format!("replica {id} does not reach it")))
    })
    .await;
    let reach = check(&plan, CheckId::P6);
    assert_eq!(reach.level, CheckLevel::Block, "{}", reach.line);
    assert_eq!(reach.type_to_override.as_deref(), Some(newcomer.addr().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_leadership_moved_a_plan_says_so() {
    let [first, second, third] = three().await;
    let leader = first.node.hand_over().await.unwrap();
    let next = if leader == second.node.replica() { &second } else { &third };
    let wish = Wish::Lead { replica: first.node.replica() };
    let plan = planned(&next.node, &wish, |plan| plan.verdict == PlanVerdict::Ready).await;
    let stability = check(&plan, CheckId::P13);
    assert_eq!(stability.level, CheckLevel::Warn, "{}", stability.line);
    assert_eq!(stability.line, "There were 2 leaders within 60 s: leadership is not stable.");
}
