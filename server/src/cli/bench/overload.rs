//! Overload: the load as it is and many times as many clients, in turn; how much is still done?
//!
//! Rounds alternate, so that whatever else the machine does meets both. The share is of what was
//! acknowledged; refusals are counted apart. The generator runs on the same machine and takes more of
//! it with more clients, so the share is what is left of the whole, not of the service alone.

use client::api::cluster::ClusterStatus;
use client::api::paths;
use serde::Serialize;

use super::connection::request;
use super::load;
use super::report::{LoadReport, Round, rounded};
use super::target::{Target, refused};
use super::{Arguments, Context};
use crate::cli::Failure;
use crate::cli::output::Table;

/// What was done without and with too much to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct OverloadReport {
    /// The load as it was asked for.
    peak: LoadReport,
    /// The same with many times as many clients.
    overload: LoadReport,
    /// Acknowledged under overload, out of a hundred without it; by the median rounds.
    goodput_percent: f64,
    /// How often somebody else was elected meanwhile.
    terms_passed: u64,
}

impl OverloadReport {
    fn table(&self) -> Table {
        let table = self.overload.onto(self.peak.onto(Table::pairs()));
        table
            .pair("goodput", format!("{} % of the first", self.goodput_percent))
            .pair("elections", self.terms_passed.to_string())
    }
}

/// Measures both in turn, as often as asked.
pub(super) async fn run(
    times: u32,
    arguments: &Arguments,
    target: &Target,
    context: &Context,
) -> Result<(), Failure> {
    let clients = arguments.clients.saturating_mul(times);
    let more = Arguments { clients, ..arguments.clone() };
    let began_in = term(target).await?;
    let (mut peak, mut overload) = (Vec::new(), Vec::new());
    for number in 1..=arguments.rounds {
        for (arguments, rounds) in [(arguments, &mut peak), (&more, &mut overload)] {
            let round = Round::of(&load::run(target.load(arguments)).await, arguments);
            let of = format!("round {number} of {}", arguments.rounds);
            context.output.note(&format!("{of}, {} clients: {}", arguments.clients, round.line()));
            rounds.push(round);
        }
    }
    let terms_passed = term(target).await?.saturating_sub(began_in);
    let (peak, overload) = (LoadReport::of(peak, arguments), LoadReport::of(overload, &more));
    let goodput_percent = rounded(overload.rate() / peak.rate().max(f64::EPSILON) * 100.0);
    let report = OverloadReport { peak, overload, goodput_percent, terms_passed };
    Ok(context.output.value(&report, OverloadReport::table)?)
}

/// The group's term.
async fn term(target: &Target) -> Result<u64, Failure> {
    let ask = request("GET", paths::CLUSTER, "bench", &[], b"");
    let (head, body) = target.connection().await?.fetch(&ask).await?;
    let status: Result<ClusterStatus, _> = serde_json::from_slice(&body);
    Ok(status.map_err(|_| refused(&head, &body))?.term.get())
}
