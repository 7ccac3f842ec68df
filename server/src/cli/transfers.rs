//! `quorate transfers`: what a replica fetches that lacks entries the others have let go, and how fast it may.
//!
//! Each replica tells of its own transfers: the one that is asked is the first of the endpoints that answers.
//!
//! Not here: how state is transferred.

use std::time::Duration;

use clap::Subcommand;
use client::api::transfers::{TransferChange, TransferDirection, TransferInfo, TransferStage};

use super::logs::Rehearsal;
use super::output;
use super::output::Table;
use super::service;
use super::{Context, Failure, Format};

/// What `quorate transfers` can do.
#[derive(Debug, Subcommand)]
pub(super) enum TransfersCommand {
    /// The transfers of the replica that is asked, newest first.
    List,
    /// How fast one may go: bytes a second, such as 20MiB, or `none`.
    Limit {
        /// The transfer, as `list` names it.
        id: String,
        /// Bytes a second.
        #[arg(value_parser = rate)]
        bytes_per_second: Rate,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Hold one.
    Pause {
        /// The transfer, as `list` names it.
        id: String,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Let one go on.
    Resume {
        /// The transfer, as `list` names it.
        id: String,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
}

/// A speed limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate(Option<u64>);

fn rate(text: &str) -> Result<Rate, String> {
    if text == "none" {
        return Ok(Rate(None));
    }
    match super::size(text)? {
        0 => Err("expected at least one byte a second, or none".to_owned()),
        bytes => Ok(Rate(Some(bytes))),
    }
}

const HEAD: [&str; 9] =
    ["transfer", "direction", "with", "entry", "stage", "done", "rate", "left", "waits for"];

/// Runs `quorate transfers …`.
pub(super) async fn run(command: TransfersCommand, context: &Context) -> Result<(), Failure> {
    let client = service::connect(context)?;
    let (id, change, rehearsal) = match command {
        TransfersCommand::List => {
            let transfers = client.admin().transfers().await.map_err(service::failed)?;
            if transfers.is_empty() && context.output.format() == Format::Table {
                context.output.note("no state was transferred here since the start");
            }
            return Ok(context.output.list(&transfers, &HEAD, row)?);
        }
        TransfersCommand::Limit { id, bytes_per_second: Rate(limit), rehearsal } => {
            let change = TransferChange { bytes_per_second: Some(limit), paused: None };
            (id, change, rehearsal)
        }
        TransfersCommand::Pause { id, rehearsal } => (id, holding(true), rehearsal),
        TransfersCommand::Resume { id, rehearsal } => (id, holding(false), rehearsal),
    };
    // A rehearsal shows the transfer as it is: a change of nothing is refused where the change would be.
    let change = if rehearsal.dry_run { TransferChange::default() } else { change };
    let transfer = client.admin().turn_transfer(&id, &change).await.map_err(service::failed)?;
    Ok(context.output.value(&transfer, |transfer| {
        let mut table = Table::new(&HEAD);
        table.row(row(transfer));
        table
    })?)
}

fn holding(paused: bool) -> TransferChange {
    TransferChange { bytes_per_second: None, paused: Some(paused) }
}

fn row(transfer: &TransferInfo) -> Vec<String> {
    let direction = match transfer.direction {
        TransferDirection::Receiving => "receiving",
        TransferDirection::Offering => "offering",
    };
    let stage = match transfer.stage {
        TransferStage::Offered => "offered",
        TransferStage::Comparing => "comparing",
        TransferStage::Fetching if transfer.is_paused => "paused",
        TransferStage::Fetching => "fetching",
        TransferStage::Installing => "installing",
        TransferStage::Done => "done",
        TransferStage::Failed => "failed",
    };
    let done = match transfer.bytes_total {
        Some(total) => {
            let percent = (transfer.bytes_done * 100).checked_div(total).unwrap_or(100);
            format!("{percent} % of {}", output::bytes(total))
        }
        None => "-".to_owned(),
    };
    let rate = match transfer.bytes_per_second_max {
        Some(most) => format!(
            "{}/s (at most {}/s)",
            output::bytes(transfer.bytes_per_second),
            output::bytes(most)
        ),
        None => format!("{}/s", output::bytes(transfer.bytes_per_second)),
    };
    let left = transfer.seconds_left.map(|seconds| format!("{:?}", Duration::from_secs(seconds)));
    let why = transfer.failure.as_ref().or(transfer.waits_for.as_ref());
    vec![
        transfer.id.clone(),
        direction.to_owned(),
        format!("replica {}", transfer.peer),
        transfer.entry.to_string(),
        stage.to_owned(),
        done,
        rate,
        left.unwrap_or_else(|| "-".to_owned()),
        why.map_or_else(|| "-".to_owned(), |why| output::shown(why)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_size_or_none() {
        assert_eq!(rate("none"), Ok(Rate(None)));
        assert_eq!(rate("2MiB"), Ok(Rate(Some(2 << 20))));
        assert!(rate("0").is_err());
        assert!(rate("fast").is_err());
    }
}
