//! What the client tells `tracing` of its calls.
//!
//! Method: a subscriber that writes every event down as JSON, and a service that fails once.
//!
//! Not here: what comes of a call (`sdk`).

#![cfg(feature = "sdk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod service;

use std::io;
use std::sync::{Arc, Mutex};

use quorate_client::Client;
use quorate_client::api::error::{ErrorCode, Problem};
use serde_json::Value;
use service::{answer, read_request};
use tokio::net::TcpListener;

/// Everything that was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_attempt_is_told_with_its_call_and_without_its_body() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let refusal = serde_json::to_vec(&Problem::new(ErrorCode::NoLeader)).unwrap();
        let stored = br#"{"log":"orders","log_id":1,"first":0,"next":1,"tail":1,"time":"2026-11-23T20:15:57Z"}"#;
        let first = read_request(&mut stream).await.unwrap();
        answer(&mut stream, 503, &[], &refusal).await;
        let second = read_request(&mut stream).await.unwrap();
        answer(&mut stream, 200, &[], stored).await;
        [first, second].map(|asked| {
            assert!(asked.line.starts_with("POST"), "{}", asked.line);
            asked.header("x-request-id").unwrap().to_owned()
        })
    });
    let told = Told::default();
    let writer = told.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    let quorate = Client::builder().seed(addr.parse().unwrap()).build().unwrap();
    quorate.log("orders".parse().unwrap()).append("a secret body").await.unwrap();
    drop(guard);

    let [first, second] = served.await.unwrap();
    assert_ne!(first, second, "each attempt has a name of its own");
    let text = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_sdk = |event: &&Value| event["target"].as_str().unwrap().starts_with("quorate_client");
    let events: Vec<&Value> = events.iter().filter(of_sdk).collect();
    assert_eq!(events.len(), 2, "{text}");
    for (event, (attempt, id)) in events.iter().zip([(1, &first), (2, &second)]) {
        assert_eq!(event["span"]["name"], "quorate call");
        assert_eq!(event["span"]["operation"], "append");
        assert_eq!(event["span"]["log"], "orders");
        assert_eq!(event["fields"]["attempt"], attempt);
        assert_eq!(event["fields"]["endpoint"], addr);
        assert_eq!(event["fields"]["request_id"], format!("{id:?}"));
    }
    assert_eq!(events[0]["fields"]["failure"], "no_leader");
    assert_eq!(events[1]["fields"]["message"], "answered");
}

#[tokio::test]
async fn an_attempt_whose_answer_got_lost_can_be_found_in_the_diagnostics_of_the_service() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap().header("x-request-id").unwrap().to_owned()
    });
    let quorate = Client::single(addr.parse().unwrap()).unwrap();
    let error = quorate.log("orders".parse().unwrap()).append("x").await.unwrap_err();
    assert_eq!(error.request_id(), Some(&*served.await.unwrap()), "{error}");
}
