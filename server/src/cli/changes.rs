//! `quorate cluster add`, `remove`, `replace`, `set`, `lead`, `relocate`, and what is under way: a wish is
//! planned, shown, agreed to, begun and watched.
//!
//! Invariants: nothing begins that was not shown, unless `--yes` says so; what begins is bound to the epoch of
//! the plan that was shown, so that nobody else's change comes in between. Whoever stops watching stops nothing.
//!
//! Not here: what a plan says (`plans`), how a change is drawn (`progress`).

use std::io;
use std::io::IsTerminal;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use client::api::changes::{Change, ChangesQuery, Override};
use client::api::error::ErrorCode;
use client::api::plans::{CheckId, Plan, PlanVerdict, Wish};
use client::types::{ChangeId, Epoch, Reason, Typed};
use client::{ChangeError, ChangeErrorKind, Client};

use super::logs::Rehearsal;
use super::plans::WishCommand;
use super::progress::Watching;
use super::{Context, Exit, Failure, Format, duration, output, plans, progress, service};

/// How a wish is carried out.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Manner {
    /// Begin without being asked.
    #[arg(long)]
    yes: bool,
    /// Only show the plan.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Override a check that blocks, by typing what it asks for; may be given several times.
    #[arg(long = "override", value_name = "CHECK=TYPED", requires = "reason")]
    overrides: Vec<Typing>,
    /// Why that is overridden; kept with the change for ever.
    #[arg(long, requires = "overrides")]
    reason: Option<Reason>,
    /// Only if the membership is still this one.
    #[arg(long, value_name = "EPOCH")]
    if_epoch: Option<Epoch>,
    #[command(flatten)]
    patience: Patience,
}

/// How long a change is watched.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Patience {
    /// Return at once; the change goes on by itself.
    #[arg(long)]
    no_wait: bool,
    /// Return after this long at the latest; without it, when the change is over.
    #[arg(long, value_parser = duration, value_name = "TIME", conflicts_with = "no_wait")]
    wait: Option<Duration>,
}

/// A check, and what is typed to override it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Typing {
    check: CheckId,
    typed: Typed,
}

impl FromStr for Typing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (check, typed) = text
            .split_once('=')
            .ok_or("expected a check and what it asks to type, such as P1=3")?;
        Ok(Self {
            check: check.parse().map_err(|error| format!("{error}"))?,
            typed: Typed::new(typed).map_err(|error| error.to_string())?,
        })
    }
}

impl Manner {
    /// As the commands of a demo do: what they are for is done at once.
    pub(super) fn of_a_demo(rehearsal: Rehearsal) -> Self {
        Self { yes: true, dry_run: rehearsal.dry_run, ..Self::default() }
    }

    fn overrides(&self) -> Vec<Override> {
        let reasons = self.reason.iter().cycle();
        let typings = self.overrides.iter().cloned();
        typings
            .zip(reasons)
            .map(|(Typing { check, typed }, reason)| Override {
                check,
                typed,
                reason: reason.clone(),
            })
            .collect()
    }
}

/// Runs `quorate cluster add …` and the like.
pub(super) async fn run(command: WishCommand<Manner>, context: &Context) -> Result<(), Failure> {
    let (wish, manner) = command.wish();
    carry_out(&service::connect(context)?, &wish, &manner, context).await
}

/// Plans a wish, shows the plan, and carries it out if that is agreed to.
pub(super) async fn carry_out(
    client: &Client,
    wish: &Wish,
    manner: &Manner,
    context: &Context,
) -> Result<(), Failure> {
    let plan = client.admin().plan(wish).await.map_err(service::failed)?;
    let is_stale = manner.if_epoch.filter(|epoch| *epoch != plan.epoch);
    if manner.dry_run || is_stale.is_some() {
        plans::show(&plan, context)?;
    } else {
        context.output.note(&plans::page(&plan));
    }
    if let Some(epoch) = is_stale {
        return Err(stale(&plan, epoch));
    }
    let overrides = manner.overrides();
    check(&plan, &overrides)?;
    if manner.dry_run {
        return Ok(());
    }
    agree(&plan, manner)?;
    match client.admin().apply(&plan, overrides).await {
        Ok(begun) => finish(client, begun, manner.patience, context).await,
        Err(error) => Err(refused(error, plan.epoch, context)?),
    }
}

/// A plan whose checks block is not even tried, so that a rehearsal ends as the change would.
fn check(plan: &Plan, overrides: &[Override]) -> Result<(), Failure> {
    let missing = plan.checks.iter().filter(|check| {
        check.type_to_override.as_ref().is_some_and(|typed| {
            !overrides.iter().any(|one| one.check == check.id && one.typed.as_str() == typed)
        })
    });
    match plan.verdict {
        PlanVerdict::Ready => Ok(()),
        PlanVerdict::Blocked => {
            Err(Failure::new(Exit::Unsafe, "the plan is blocked, and that cannot be overridden"))
        }
        PlanVerdict::NeedsOverride => {
            let options = missing.map(|check| {
                let typed = check.type_to_override.as_deref().unwrap_or_default();
                format!(" --override '{}={}'", check.id, output::shown(typed))
            });
            let options: String = options.collect();
            if options.is_empty() {
                return Ok(());
            }
            let command = format!("{}{options} --reason 'WHY'", plan.command);
            Err(Failure::new(Exit::Unsafe, "the plan needs an override").hint(command))
        }
    }
}

/// Asks whoever sits there; without anybody, `--yes` has to say it.
fn agree(plan: &Plan, manner: &Manner) -> Result<(), Failure> {
    if manner.yes {
        return Ok(());
    }
    let refusal =
        |what: &str| Failure::new(Exit::Unsafe, what).hint(format!("{} --yes", plan.command));
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refusal("nobody is here to agree to the plan"));
    }
    if output::confirmed("Carry it out?")? { Ok(()) } else { Err(refusal("nothing was changed")) }
}

/// What a refusal to begin means. The fresh plan that comes with it is the answer.
fn refused(error: ChangeError, epoch: Epoch, context: &Context) -> Result<Failure, Failure> {
    if let Some(plan) = error.fresh_plan() {
        plans::show(plan, context)?;
        if error.kind() == ChangeErrorKind::StalePlan {
            return Ok(stale(plan, epoch));
        }
    }
    Ok(service::failed(error))
}

fn stale(plan: &Plan, epoch: Epoch) -> Failure {
    Failure::new(Exit::Condition, "the membership has changed since the plan was made")
        .because(format!("the plan was for epoch {epoch}, and this is epoch {}", plan.epoch))
        .hint(plan.command.clone())
}

/// Waits for the end of a change, as long as that is wanted, and tells what came of it.
async fn finish(
    client: &Client,
    begun: Change,
    patience: Patience,
    context: &Context,
) -> Result<(), Failure> {
    if patience.no_wait {
        return Ok(context.output.value(&begun, progress::table)?);
    }
    let id = begun.id;
    let watching = Watching::new(context.output);
    let Some(change) = watching.until_over(client, id, patience.wait).await? else {
        return Err(Failure::new(Exit::Unknown, format!("change {id} is not over yet"))
            .because("it goes on by itself")
            .hint(format!("quorate cluster watch {id}")));
    };
    // Line by line, the last difference was told already.
    if context.output.format() != Format::Ndjson {
        context.output.value(&change, progress::table)?;
    }
    progress::judge(&change)
}

/// Runs `quorate cluster watch`.
pub(super) async fn watch(
    id: Option<ChangeId>,
    wait: Option<Duration>,
    context: &Context,
) -> Result<(), Failure> {
    let client = service::connect(context)?;
    let change = if let Some(id) = id {
        client.admin().change(id).await.map_err(service::failed)?
    } else {
        let newest = ChangesQuery { limit: Some(1), ..ChangesQuery::default() };
        let newest = client.admin().changes(&newest).await.map_err(service::failed)?.changes.pop();
        newest.ok_or_else(|| {
            Failure::new(Exit::NotFound, "the membership was never changed by a wish")
        })?
    };
    finish(&client, change, Patience { no_wait: false, wait }, context).await
}

/// Runs `quorate cluster cancel`.
pub(super) async fn cancel(
    id: ChangeId,
    rehearsal: Rehearsal,
    patience: Patience,
    context: &Context,
) -> Result<(), Failure> {
    let client = service::connect(context)?;
    if rehearsal.dry_run {
        let change = client.admin().would_cancel_change(id).await.map_err(service::failed)?;
        context.output.value(&change, progress::table)?;
        return if change.can_cancel { Ok(()) } else { Err(not_cancelled(&change)) };
    }
    let change = client.admin().cancel_change(id).await.map_err(service::failed)?;
    if patience.no_wait {
        return Ok(context.output.value(&change, progress::table)?);
    }
    // That it is cancelled is what was wanted here.
    match finish(&client, change, patience, context).await {
        Err(failure) if failure.exit == Exit::Failed => Ok(()),
        finished => finished,
    }
}

fn not_cancelled(change: &Change) -> Failure {
    let code =
        if change.stage.is_over() { ErrorCode::ChangeEnded } else { ErrorCode::ChangeIsJoint };
    Failure::new(Exit::Condition, code.title().to_lowercase())
}

const HEAD: [&str; 7] = ["change", "wish", "stage", "began", "took", "by", "outcome"];

/// Runs `quorate cluster changes`.
pub(super) async fn list(query: ChangesQuery, context: &Context) -> Result<(), Failure> {
    let list = service::connect(context)?.admin().changes(&query).await.map_err(service::failed)?;
    context.output.list(&list.changes, &HEAD, progress::row)?;
    if let Some(next) = list.next {
        context.output.note(&format!("older ones: quorate cluster changes --before {next}"));
    }
    Ok(())
}

/// Runs `quorate cluster joiners`.
pub(super) async fn joiners(context: &Context) -> Result<(), Failure> {
    let joiners = service::connect(context)?.admin().joiners().await.map_err(service::failed)?;
    if joiners.is_empty() && context.output.format() == Format::Table {
        context.output.note("nobody waits to join: quorate serve --join URL --data FOLDER");
    }
    let or_dash =
        |text: String| if text.is_empty() { "-".to_owned() } else { output::shown(&text) };
    let head = ["address", "for replicas", "zone", "disk free", "version", "waits since"];
    Ok(context.output.list(&joiners, &head, |joiner| {
        vec![
            joiner.addr.to_string(),
            joiner.peer_addr.to_string(),
            or_dash(joiner.zone.to_string()),
            joiner.free_bytes.map_or_else(|| "-".to_owned(), output::bytes),
            output::shown(&joiner.version),
            output::local(joiner.since),
        ]
    })?)
}
