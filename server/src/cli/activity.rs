//! `quorate activity`: who did what, when, and what came of it.

use clap::Args;
use client::api::activity::{ActKind, Activity, ActivityQuery};
use client::types::Position;

use super::{Context, Failure, output, service};

/// What to show of it.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Arguments {
    /// Only what stands before this position.
    #[arg(long, value_name = "POSITION")]
    before: Option<Position>,
    /// Only acts of this kind, such as `log_deleted` or `change_begun`.
    #[arg(long)]
    kind: Option<ActKind>,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

const HEAD: [&str; 4] = ["position", "when", "who", "what"];

/// Runs `quorate activity`.
pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), Failure> {
    let Arguments { before, kind, limit } = arguments;
    let query = ActivityQuery { before, kind, limit: Some(limit), ..ActivityQuery::default() };
    let list =
        service::connect(context)?.admin().activity(&query).await.map_err(service::failed)?;
    context.output.list(&list.activity, &HEAD, row)?;
    if let Some(next) = list.next {
        let kind = kind.map_or_else(String::new, |kind| format!(" --kind {kind}"));
        context.output.note(&format!("older: quorate activity{kind} --before {next}"));
    }
    Ok(())
}

fn row(activity: &Activity) -> Vec<String> {
    let by = output::shown(&activity.by);
    let from = activity.from.as_deref().map(|from| format!(", {}", output::shown(from)));
    vec![
        activity.position.to_string(),
        output::local(activity.time),
        format!("{by}{}", from.unwrap_or_default()),
        output::shown(&activity.act.to_string()),
    ]
}
