//! The published clients of Durable Streams, unchanged, while the leader is killed.
//!
//! Each writes through one follower and reads through the other, catches up and follows, by events and by long polls. Its
//! program says itself whether everything came once and in order; what the log holds is read by our own API beside it.

use anyhow::{Context, Result, ensure};
use client::api::{paths, records::ReadAnswer};
use client::types::LogName;
use quorate_e2e::{
    cluster::Cluster,
    foreign::outcome,
    node, process, python, rest,
    scale::short_or_long,
    wait::{PATIENCE, until},
};
use serde::Deserialize;
use std::{future::Future, path::Path};

#[derive(Deserialize)]
struct Message {
    number: u64,
}

/// Where a program writes, where it reads, and how many messages.
struct Course {
    cluster: Cluster,
    log: LogName,
    urls: [String; 2],
    messages: u64,
}

impl Course {
    async fn new(log: &str) -> Result<Self> {
        let cluster = Cluster::start(3).await?;
        let leader = cluster.leader().await?;
        let followers = [1, 2].map(|step| (leader + step) % 3);
        let urls = followers.map(|number| format!("{}/ds/v1/{log}", cluster.url(number)));
        let log = LogName::new(log)?;
        Ok(Self { cluster, log, urls, messages: short_or_long(1_500, 10_000) })
    }

    /// Kills the leader once a third is there, while the program runs, and looks at what it left.
    async fn run(mut self, program: impl Future<Output = Result<String>>) -> Result<()> {
        let mut tail_at_death = 0;
        let killing = async {
            let third = self.messages / 3;
            let leader = self.cluster.leader().await?;
            let grown = until("a third of it is there", PATIENCE, async || {
                let path = paths::log(&self.log);
                let answer =
                    rest::get(self.cluster.http(), &self.cluster.url(leader), &path).await?;
                let tail = answer.header("quorate-tail").and_then(|tail| tail.parse().ok());
                Ok(tail.filter(|tail: &u64| *tail >= third))
            });
            tail_at_death = grown.await?;
            self.cluster.replica_mut(leader).kill()
        };
        let (said, killed) = tokio::join!(program, killing);
        killed?;
        process::print(&format!("{}; the leader died after {tail_at_death}", said?));
        ensure!(tail_at_death < self.messages, "inconclusive: it was over before the leader died");
        self.cluster.start_all()?;
        self.cluster.healed().await?;
        self.assert_stored_once().await?;
        self.cluster.finish();
        Ok(())
    }

    async fn assert_stored_once(&self) -> Result<()> {
        for number in 0..self.cluster.len() {
            let mut stored = Vec::new();
            loop {
                let path = format!("{}?from={}", paths::records(&self.log), stored.len());
                let url = self.cluster.url(number);
                let page = rest::get(self.cluster.http(), &url, &path).await?.succeeded()?;
                let page: ReadAnswer = page.json()?;
                if page.records.is_empty() {
                    break;
                }
                for record in page.records {
                    let message: Message = serde_json::from_slice(&record.0.body)?;
                    stored.push(message.number);
                }
            }
            assert_eq!(stored, (0..self.messages).collect::<Vec<_>>(), "on replica {number}");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_client_loses_and_repeats_nothing_when_the_leader_dies() -> Result<()> {
    let Some(folder) = node::folder()? else { return Ok(()) };
    let course = Course::new("clients/typescript").await?;
    let ([write, read], messages) = (course.urls.clone(), course.messages.to_string());
    let program = async move {
        let arguments = ["clients.js", &*write, &*read, &*messages];
        outcome(node::program(&folder), &arguments, &folder).await
    };
    course.run(program).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_loses_and_repeats_nothing_when_the_leader_dies() -> Result<()> {
    let Some(interpreter) = python::interpreter()? else { return Ok(()) };
    let course = Course::new("clients/python").await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/clients.py");
    let script = script.to_str().context("the path is text")?.to_owned();
    let ([write, read], messages) = (course.urls.clone(), course.messages.to_string());
    let program = async move {
        let arguments = [&*script, &*write, &*read, &*messages];
        outcome(&interpreter, &arguments, Path::new(".")).await
    };
    course.run(program).await
}
