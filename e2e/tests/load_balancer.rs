//! The SDK behind one encrypted, load-balanced address, as a service in the cloud has it.
//!
//! Method: a balancer ends the encryption before three replicas. What they say of themselves are addresses in plain
//! text, which the client must not use: everything has to go through the balancer, also when a leader dies.

use anyhow::{Context, Result, ensure};
use client::api::reading::ReadFrom;
use client::types::LogSettings;
use client::{Client, Failure, Outcome, RetryPolicy};
use quorate_e2e::{
    balancer::{Balancer, socket_of},
    cluster::Cluster,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn one_encrypted_address_is_enough_and_nothing_goes_past_it() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let inside = cluster.urls().iter().map(|url| socket_of(url)).collect::<Result<_>>()?;
    let balancer = Balancer::open(inside).await?;
    let retry = RetryPolicy { deadline: Duration::from_secs(10), ..RetryPolicy::default() };
    let builder = Client::builder().seeds(&balancer.url())?.retry(retry);
    let quorate = builder.root_certificates(balancer.authority())?.build()?;
    let log = quorate.log("orders".parse()?);
    log.create(&LogSettings::default()).await?;
    let mut follow = log.follow(ReadFrom::First);
    let producer = log.producer().start();

    let mut submitted = 0;
    for kills in 0..3 {
        for _ in 0..50 {
            log.append(format!("single {submitted}")).await?;
            let _ticket = producer.submit(format!("submitted {submitted}")).await?;
            submitted += 1;
        }
        producer.flush().await?;
        if kills < 2 {
            let leader = cluster.leader().await?;
            cluster.replica_mut(leader).kill()?;
            log.append("after a kill").await?;
            cluster.replica_mut(leader).start()?;
            cluster.healed().await?;
        }
    }
    let expected = 2 * submitted + 2;
    for position in 0..expected {
        let record = follow.next().await?.context("the log is not sealed")?;
        assert_eq!(record.position.get(), position);
    }
    assert_eq!(log.tail().await?.get(), expected, "each is stored once");
    ensure!(balancer.carried() > 0, "all of it went through the balancer");

    // It knows all replicas by now, which are there, and goes to none of them past the balancer.
    let url = balancer.url();
    drop((balancer, follow, producer));
    let error = log.tail().await.expect_err("nobody is there any more");
    assert_eq!(error.endpoint().map(ToString::to_string), Some(url));
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_trusts_is_refused_before_anything_is_sent() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let balancer = Balancer::open(vec![socket_of(&cluster.url(0))?]).await?;
    let retry = RetryPolicy { deadline: Duration::from_secs(2), ..RetryPolicy::default() };
    let stranger = Client::builder().seeds(&balancer.url())?.retry(retry).build()?;
    let log = stranger.log("orders".parse()?);
    let error = log.append("x").await.expect_err("it is signed by a stranger");
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    assert!(matches!(error.failure(), Failure::Transport(_)), "{error}");
    ensure!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(balancer.carried(), 0);
    cluster.finish();
    Ok(())
}
