//! Prints the records of a log from its beginning, and then whatever is appended to it.
//!
//! `cargo run -p quorate-client --example follow -- http://127.0.0.1:7001 orders`

#![allow(clippy::print_stdout, reason = "an example shows what it got")]

use quorate_client::Client;
use quorate_client::api::reading::ReadFrom;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(seeds), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: follow ENDPOINTS LOG".into());
    };
    let quorate = Client::connect(&seeds).await?;
    let mut records = quorate.log(name.parse()?).follow(ReadFrom::First);
    while let Some(record) = records.next().await? {
        println!("{} {} {}", record.position, record.time, record.body.escape_ascii());
    }
    println!("the log is sealed");
    Ok(())
}
