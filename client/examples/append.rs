//! Appends its arguments to a log, one record each, as one batch: all of them or none.
//!
//! `cargo run -p quorate-client --example append -- http://127.0.0.1:7001 orders first second`

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use quorate_client::Client;
use quorate_client::types::{Batch, BatchLimits, LogSettings, NewRecord};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(seeds), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: append ENDPOINTS LOG RECORD...".into());
    };
    let records: Vec<NewRecord> = arguments.map(NewRecord::new).collect();
    let batch = Batch::new(&records, &BatchLimits::default())?;

    let quorate = Client::connect(&seeds).await?;
    let log = quorate.log(name.parse()?);
    log.create(&LogSettings::default()).await?;
    let appended = log.append_batch(&batch).await?;
    println!("{} records from {} on, at {}", batch.count(), appended.first, appended.time);
    Ok(())
}
