//! Changes who the replicas are: shows the plan, begins it if nothing blocks it, and tells how it goes until it is over.
//!
//! `cargo run -p quorate-client --example change -- http://127.0.0.1:7001 add http://127.0.0.1:7004`
//! `cargo run -p quorate-client --example change -- http://127.0.0.1:7001 remove 3`

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use quorate_client::api::changes::ChangeStage;
use quorate_client::api::plans::{PlanVerdict, Wish};
use quorate_client::{ChangeErrorKind, Client};

const USAGE: &str = "usage: change ENDPOINTS add ADDRESS | remove REPLICA";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seeds, verb, who] = arguments.as_slice() else { return Err(USAGE.into()) };
    let wish = match verb.as_str() {
        "add" => Wish::Add { joiners: vec![who.parse()?], as_learner: false },
        "remove" => Wish::Remove { replicas: vec![who.parse()?] },
        _ => return Err(USAGE.into()),
    };

    let admin = Client::connect(seeds).await?.admin();
    let plan = admin.plan(&wish).await?;
    println!("now: {}", plan.now.sentence);
    println!("then: {}", plan.after.sentence);
    for check in &plan.checks {
        println!("{} {:?}: {}", check.id, check.level, check.line);
    }
    if plan.verdict != PlanVerdict::Ready {
        return Err("a check blocks it".into());
    }

    let begun = match admin.apply(&plan, Vec::new()).await {
        Ok(begun) => begun,
        Err(error) if error.kind() == ChangeErrorKind::StalePlan => {
            return Err("somebody else has changed the membership: look at it again".into());
        }
        Err(error) => return Err(error.into()),
    };
    // It goes on by itself. Whoever watches may go, and come back with the number of the change.
    let mut watch = admin.watch_change(begun.id);
    let mut last = begun;
    while let Some(change) = watch.next().await? {
        match &change.waits_for {
            Some(whom) => println!("{}, waits for {whom}", change.stage),
            None => println!("{}", change.stage),
        }
        last = change;
    }
    if last.stage != ChangeStage::Done {
        return Err(last.outcome.unwrap_or_default().into());
    }
    println!("change {} is done", last.id);
    Ok(())
}
