//! `quorate cluster plan`: what a change of the group would mean, and whether it is safe.
//!
//! A wish is said in the same words wherever one is taken.
//!
//! Not here: carrying one out (`changes`).

use clap::{Args, Subcommand};
use client::api::plans::{Check, CheckLevel, Footing, MemberName, Plan, PlanVerdict, Wish};
use client::types::{ReplicaAddr, ReplicaId};

use super::output;
use super::output::Table;
use super::service;
use super::{Context, Exit, Failure, Format};

/// What is to become of the group, and what is done about it.
#[derive(Debug, Subcommand)]
pub(super) enum WishCommand<M: Args> {
    /// Let processes in that wait to join.
    Add {
        /// Where each of them answers clients.
        #[arg(required = true, value_name = "URL")]
        joiners: Vec<ReplicaAddr>,
        /// They receive everything and do not vote.
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        manner: M,
    },
    /// Let replicas leave, for ever.
    Remove {
        /// Which.
        #[arg(required = true, value_name = "REPLICA")]
        replicas: Vec<ReplicaId>,
        #[command(flatten)]
        manner: M,
    },
    /// Let a process that waits to join take the place of a replica, in one step.
    Replace {
        /// Who leaves.
        replica: ReplicaId,
        /// Where the one who comes answers clients.
        #[arg(long, value_name = "URL")]
        by: ReplicaAddr,
        #[command(flatten)]
        manner: M,
    },
    /// Make exactly these the replicas; whoever is not named leaves.
    Set {
        /// Who votes: numbers of replicas, and addresses of processes that wait to join.
        #[arg(required = true, value_name = "MEMBER")]
        voters: Vec<MemberName>,
        /// One who receives everything and does not vote; may be given several times.
        #[arg(long = "learner", value_name = "MEMBER")]
        learners: Vec<MemberName>,
        #[command(flatten)]
        manner: M,
    },
    /// Hand leadership to a voter.
    Lead {
        /// Which.
        replica: ReplicaId,
        #[command(flatten)]
        manner: M,
    },
    /// Say that a replica answers elsewhere from now on.
    Relocate {
        /// Which.
        replica: ReplicaId,
        /// Where it answers clients.
        #[arg(long, value_name = "URL")]
        addr: ReplicaAddr,
        /// Where it answers replicas.
        #[arg(long, value_name = "URL")]
        peer_addr: ReplicaAddr,
        #[command(flatten)]
        manner: M,
    },
}

/// What the exit code says.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Verdict {
    /// End with exit code 6 unless it can be carried out as it is.
    #[arg(long)]
    check: bool,
}

impl<M: Args> WishCommand<M> {
    pub(super) fn wish(self) -> (Wish, M) {
        match self {
            Self::Add { joiners, learner: as_learner, manner } => {
                (Wish::Add { joiners, as_learner }, manner)
            }
            Self::Remove { replicas, manner } => (Wish::Remove { replicas }, manner),
            Self::Replace { replica, by, manner } => (Wish::Replace { replica, by }, manner),
            Self::Set { voters, learners, manner } => (Wish::Set { voters, learners }, manner),
            Self::Lead { replica, manner } => (Wish::Lead { replica }, manner),
            Self::Relocate { replica, addr, peer_addr, manner } => {
                (Wish::Relocate { replica, addr, peer_addr }, manner)
            }
        }
    }
}

/// Runs `quorate cluster plan …`.
pub(super) async fn run(command: WishCommand<Verdict>, context: &Context) -> Result<(), Failure> {
    let (wish, Verdict { check }) = command.wish();
    let plan = service::connect(context)?.admin().plan(&wish).await.map_err(service::failed)?;
    show(&plan, context)?;
    if check && plan.verdict != PlanVerdict::Ready {
        return Err(Failure::new(Exit::Unsafe, format!("the plan {}", stands(plan.verdict))));
    }
    Ok(())
}

/// Answers with a plan.
pub(super) fn show(plan: &Plan, context: &Context) -> Result<(), Failure> {
    if context.output.format() == Format::Table {
        return Ok(context.output.text(&page(plan))?);
    }
    Ok(context.output.value(plan, checks)?)
}

/// For a person: who votes and how many may fail, then the checks, then what follows.
pub(super) fn page(plan: &Plan) -> String {
    let mut text = footings(plan).aligned();
    text.push('\n');
    for check in &plan.checks {
        text.push_str(&line(check));
        text.push('\n');
    }
    let stands = stands(plan.verdict);
    text + &format!("\nThis plan for epoch {} {stands}.\n  {}\n", plan.epoch, plan.command)
}

fn footings(plan: &Plan) -> Table {
    let mut table = Table::new(&["", "voters", "learners", "may fail", "in words"]);
    let stages = [
        ("now", Some(&plan.now)),
        ("meanwhile", plan.meanwhile.as_ref()),
        ("after", Some(&plan.after)),
    ];
    for (name, footing) in stages {
        let Some(footing) = footing else { continue };
        table.row(vec![
            name.to_owned(),
            names(&footing.voters),
            names(&footing.learners),
            may_fail(footing),
            footing.sentence.clone(),
        ]);
    }
    table
}

fn names(members: &[MemberName]) -> String {
    if members.is_empty() {
        return "-".to_owned();
    }
    let names: Vec<_> = members.iter().map(ToString::to_string).collect();
    names.join(" ")
}

fn may_fail(footing: &Footing) -> String {
    if footing.has_majority { footing.may_fail.to_string() } else { "no majority".to_owned() }
}

/// A check with its fix, in one line.
fn line(check: &Check) -> String {
    let sign = match check.level {
        CheckLevel::Pass => "●",
        CheckLevel::Note => "i",
        CheckLevel::Warn => "▲",
        CheckLevel::Block => "■",
    };
    let found = output::shown(&check.line);
    let mut parts = vec![format!("{sign} {:<3} {:<5}", check.id, check.level), found];
    parts.extend(check.fix.as_deref().map(output::shown));
    match &check.type_to_override {
        Some(typed) => parts.push(format!("To override it, type {}.", output::shown(typed))),
        None if check.level == CheckLevel::Block => {
            parts.push("This cannot be overridden.".to_owned());
        }
        None => {}
    }
    parts.join("  ")
}

fn stands(verdict: PlanVerdict) -> &'static str {
    match verdict {
        PlanVerdict::Ready => "is ready",
        PlanVerdict::NeedsOverride => "needs an override",
        PlanVerdict::Blocked => "is blocked",
    }
}

fn checks(plan: &Plan) -> Table {
    let mut table = Table::new(&["check", "level", "found", "fix", "type to override"]);
    for check in &plan.checks {
        table.row(vec![
            check.id.to_string(),
            check.level.to_string(),
            output::shown(&check.line),
            output::shown(check.fix.as_deref().unwrap_or("-")),
            output::shown(check.type_to_override.as_deref().unwrap_or("-")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use client::api::plans::CheckId;

    use super::*;

    #[test]
    fn a_check_is_one_line_with_its_fix_and_what_overrides_it() {
        let check = |level, fix: Option<&str>, typed: Option<&str>| Check {
            id: CheckId::P1,
            level,
            line: "None may fail.".to_owned(),
            fix: fix.map(str::to_owned),
            type_to_override: typed.map(str::to_owned),
        };
        let lines = [
            line(&check(CheckLevel::Pass, None, None)),
            line(&check(CheckLevel::Warn, Some("Add two."), None)),
            line(&check(CheckLevel::Block, Some("Add two."), Some("3"))),
            line(&check(CheckLevel::Block, Some("Add two."), None)),
        ];
        assert_eq!(
            lines,
            [
                "● P1  pass   None may fail.",
                "▲ P1  warn   None may fail.  Add two.",
                "■ P1  block  None may fail.  Add two.  To override it, type 3.",
                "■ P1  block  None may fail.  Add two.  This cannot be overridden.",
            ]
        );
    }
}
