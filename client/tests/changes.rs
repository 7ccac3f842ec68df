//! Changes of the membership through the client, against a service whose answers get lost.
//!
//! Goal: a change is begun once, and whoever watches one hears every difference once. Method: a listener on
//! the loopback that answers by a script of whole answers, or breaks off.
//!
//! Not here: a real group (`e2e`).

#![cfg(feature = "sdk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use quorate_client::api::changes::{Change, ChangeList, ChangeStage};
use quorate_client::api::error::{Actual, ErrorCode, Problem};
use quorate_client::api::plans::{Footing, Plan, PlanVerdict, Wish};
use quorate_client::types::{ChangeId, Epoch, ReplicaAddr, ReplicaId, Timestamp};
use quorate_client::{ChangeError, ChangeErrorKind, Client, Outcome, RetryPolicy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the service does with one request.
enum Step {
    /// Answers.
    Answer { status: u16, body: Vec<u8> },
    /// Breaks the connection off without an answer.
    BreakOff,
}

/// A service with a script, and the first lines of what it was asked.
#[derive(Clone, Default)]
struct Service {
    steps: Arc<Mutex<VecDeque<Step>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    async fn start(steps: impl IntoIterator<Item = Step>) -> (Self, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = ReplicaAddr::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let steps = Arc::new(Mutex::new(steps.into_iter().collect()));
        let service = Self { steps, asked: Arc::default() };
        let serving = service.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { while serving.serve(&mut stream).await.is_some() {} });
            }
        });
        let policy = RetryPolicy { deadline: Duration::from_secs(5), ..RetryPolicy::default() };
        (service, Client::builder().seed(addr).retry(policy).build().unwrap())
    }

    /// Takes one request and answers it; nothing once the connection is over.
    async fn serve(&self, stream: &mut TcpStream) -> Option<()> {
        let mut bytes = Vec::new();
        let (head, length) = loop {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = end + 4 + length.map_or(0, |length| length.parse().unwrap());
            break (head, length);
        };
        while bytes.len() < length {
            stream.read_buf(&mut bytes).await.ok()?;
        }
        self.asked.lock().unwrap().push(head);
        let step = self.steps.lock().unwrap().pop_front();
        let Some(Step::Answer { status, body }) = step else { return None };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|head| head.lines().next().unwrap().to_owned()).collect()
    }
}

fn answer(status: u16, body: &impl serde::Serialize) -> Step {
    Step::Answer { status, body: serde_json::to_vec(body).unwrap() }
}

fn refused(code: ErrorCode) -> Step {
    answer(code.status(), &Problem::new(code))
}

fn wish(replica: u64) -> Wish {
    Wish::Remove { replicas: vec![ReplicaId::new(replica).unwrap()] }
}

fn plan() -> Plan {
    let footing = Footing {
        voters: Vec::new(),
        learners: Vec::new(),
        tolerates: 1,
        may_fail: 1,
        has_majority: true,
        sentence: String::new(),
    };
    Plan {
        wish: wish(3),
        epoch: Epoch::new(23),
        now: footing.clone(),
        meanwhile: None,
        after: footing,
        joins: Vec::new(),
        leaves: Vec::new(),
        hand_over_to: None,
        copy_bytes: None,
        copy_ms: None,
        checks: Vec::new(),
        verdict: PlanVerdict::Ready,
        command: String::new(),
        curl: String::new(),
    }
}

/// Applies the plan, without overrides.
async fn apply(client: &Client) -> Result<Change, ChangeError> {
    client.admin().apply(&plan(), Vec::new()).await
}

fn change(id: u64, stage: ChangeStage) -> Change {
    Change {
        id: ChangeId::new(id),
        wish: wish(3),
        stage,
        epoch: Epoch::new(23),
        began: Timestamp::new(1),
        ended: None,
        by: "operator".to_owned(),
        from: None,
        overrides: Vec::new(),
        joins: Vec::new(),
        leaves: Vec::new(),
        voters: Vec::new(),
        waits_for: None,
        steps: Vec::new(),
        outcome: None,
        can_cancel: false,
    }
}

#[tokio::test]
async fn a_change_is_bound_to_the_epoch_of_its_plan() {
    let begun = change(18, ChangeStage::Joining);
    let (service, client) = Service::start([answer(202, &begun)]).await;
    assert_eq!(apply(&client).await.unwrap(), begun);
    assert!(service.asked.lock().unwrap()[0].contains("if-match: \"23\""));
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_found_again() {
    let others = Change { wish: wish(2), ..change(19, ChangeStage::Joining) };
    let earlier = change(16, ChangeStage::Cancelled);
    let ours = change(18, ChangeStage::Joint);
    for code in [ErrorCode::ChangeUnderWay, ErrorCode::StalePlan, ErrorCode::PlanBlocked] {
        let changes = vec![others.clone(), ours.clone(), earlier.clone()];
        let list = ChangeList { changes, next: None };
        let (service, client) =
            Service::start([Step::BreakOff, refused(code), answer(200, &list)]).await;
        let begun = apply(&client).await.unwrap();
        assert_eq!(begun.id, ChangeId::new(18), "{code}");
        assert_eq!(service.asked().len(), 3, "{code}");
    }
}

#[tokio::test]
async fn a_change_that_is_not_found_may_have_begun_or_not() {
    let changes = vec![Change { wish: wish(2), ..change(19, ChangeStage::Joining) }];
    let list = ChangeList { changes, next: None };
    let under_way = refused(ErrorCode::ChangeUnderWay);
    let (_, client) = Service::start([Step::BreakOff, under_way, answer(200, &list)]).await;
    let error = apply(&client).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(error.code(), Some(ErrorCode::ChangeUnderWay));
}

#[tokio::test]
async fn a_plan_that_is_stale_begins_nothing_and_is_answered_with_a_fresh_one() {
    let fresh = Plan { epoch: Epoch::new(24), ..plan() };
    let actual = Actual { plan: Some(fresh.clone().into()), ..Actual::default() };
    let refusal = Problem::new(ErrorCode::StalePlan).with_actual(actual);
    let (service, client) = Service::start([answer(412, &refusal)]).await;
    let error = apply(&client).await.unwrap_err();
    assert_eq!((error.outcome(), service.asked().len()), (Outcome::NotDone, 1));
    assert_eq!(error.kind(), ChangeErrorKind::StalePlan);
    assert_eq!(error.fresh_plan(), Some(&fresh));
}

#[tokio::test]
async fn a_watch_as_a_stream_ends_with_the_change() {
    let told = |stage: ChangeStage| Step::Answer {
        status: 200,
        body: change(18, stage).event().into_bytes(),
    };
    let (_, client) =
        Service::start([told(ChangeStage::Joint), Step::BreakOff, told(ChangeStage::Done)]).await;
    let changes = client.admin().watch_change(ChangeId::new(18)).into_stream();
    let stages: Vec<_> = changes.map_ok(|change| change.stage).try_collect().await.unwrap();
    assert_eq!(stages, [ChangeStage::Joint, ChangeStage::Done]);
}

#[tokio::test]
async fn whoever_watches_hears_every_difference_once_and_the_end_whoever_tells_it() {
    let events = |stages: &[ChangeStage]| Step::Answer {
        status: 200,
        body: stages.iter().flat_map(|stage| change(18, *stage).event().into_bytes()).collect(),
    };
    let (joining, joint) = (ChangeStage::Joining, ChangeStage::Joint);
    let told = [
        events(&[joining, joining]),
        Step::BreakOff,
        refused(ErrorCode::NoLeader),
        events(&[joining, joint]),
        // Whoever leads by now has not heard of all of it yet.
        events(&[joining]),
        events(&[ChangeStage::Done]),
    ];
    let (service, client) = Service::start(told).await;
    let mut watch = client.admin().watch_change(ChangeId::new(18));
    let mut stages = Vec::new();
    while let Some(change) = watch.next().await.unwrap() {
        stages.push(change.stage);
    }
    assert_eq!(stages, [joining, joint, ChangeStage::Done]);
    assert_eq!(watch.next().await.unwrap(), None);
    assert_eq!(service.asked(), ["get /v1/cluster/changes/18 http/1.1"; 6]);
    let first = service.asked.lock().unwrap()[0].clone();
    assert!(first.contains("accept: text/event-stream"), "{first}");
}

#[tokio::test]
async fn who_watches_a_change_that_is_none_is_told_so() {
    let (_, client) = Service::start([refused(ErrorCode::UnknownChange)]).await;
    let error = client.admin().watch_change(ChangeId::new(18)).next().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownChange));
}

#[tokio::test]
async fn a_cancellation_whose_answer_was_lost_is_one() {
    let cancelled = change(18, ChangeStage::Cancelled);
    let ended = refused(ErrorCode::ChangeEnded);
    let (_, client) = Service::start([Step::BreakOff, ended, answer(200, &cancelled)]).await;
    assert_eq!(client.admin().cancel_change(ChangeId::new(18)).await.unwrap(), cancelled);
    // It was over before anybody cancelled it.
    let done = change(18, ChangeStage::Done);
    let (_, client) =
        Service::start([Step::BreakOff, refused(ErrorCode::ChangeEnded), answer(200, &done)]).await;
    let error = client.admin().cancel_change(ChangeId::new(18)).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ChangeEnded));
}
