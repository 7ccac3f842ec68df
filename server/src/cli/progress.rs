//! A change of the membership as it goes: drawn in place on a terminal, a line for every difference elsewhere.
//!
//! Not here: looking at it (the SDK does), and what is done by it (the service).

use std::time::Duration;

use client::Client;
use client::api::changes::{Change, ChangeStage, ChangeStep, StepState};
use client::types::ChangeId;

use super::output::{self, Drawing, Output, Table};
use super::{Exit, Failure, Format, service};
use crate::world::Clock;

/// Somebody who watches a change.
#[derive(Debug)]
pub(super) struct Watching {
    output: Output,
    drawing: Drawing,
}

impl Watching {
    /// Tells what is seen there.
    pub(super) fn new(output: Output) -> Self {
        Self { output, drawing: Drawing::default() }
    }

    /// Tells every difference until the change is over, and then how it ended; nothing if that takes longer than
    /// it may.
    pub(super) async fn until_over(
        mut self,
        client: &Client,
        id: ChangeId,
        limit: Option<Duration>,
    ) -> Result<Option<Change>, Failure> {
        let watched = self.watch(client, id);
        match limit {
            None => watched.await.map(Some),
            Some(limit) => Clock::real().within(limit, watched).await.ok().transpose(),
        }
    }

    async fn watch(&mut self, client: &Client, id: ChangeId) -> Result<Change, Failure> {
        let mut watch = client.admin().watch_change(id);
        let mut last = None;
        while let Some(change) = watch.next().await.map_err(service::failed)? {
            self.tell(&change, last.as_ref())?;
            last = Some(change);
        }
        Ok(last.expect("a change that is over was seen"))
    }

    fn tell(&mut self, change: &Change, before: Option<&Change>) -> Result<(), Failure> {
        if self.output.format() == Format::Ndjson {
            return Ok(self.output.value(change, table)?);
        }
        if self.output.is_live() {
            self.output.draw(&mut self.drawing, &drawn(change));
            return Ok(());
        }
        let line = line(change);
        if before.is_none_or(|before| self::line(before) != line) {
            self.output.note(&line);
        }
        Ok(())
    }
}

/// What the end of a change means for whoever asked for it.
pub(super) fn judge(change: &Change) -> Result<(), Failure> {
    if change.stage == ChangeStage::Done {
        return Ok(());
    }
    let mut failure = Failure::new(Exit::Failed, format!("change {} was given up", change.id))
        .hint("quorate cluster status");
    failure.why = change.outcome.as_deref().map(output::shown);
    Err(failure)
}

/// In one line, for those who read a file or a pipe.
fn line(change: &Change) -> String {
    let active = change.steps.iter().find(|step| step.state == StepState::Active);
    let active = active.map(|step| format!(" · {}", output::shown(&step.name)));
    let waits = change.waits_for.as_deref().filter(|_| !change.stage.is_over());
    let waits = waits.map(|what| format!(" · waits for {}", output::shown(what)));
    format!(
        "change {} · {} · {}{}{}",
        change.id,
        change.wish,
        change.stage,
        active.unwrap_or_default(),
        waits.unwrap_or_default()
    )
}

/// In several lines, to be drawn over the last ones.
fn drawn(change: &Change) -> Vec<String> {
    let mut lines = vec![format!(" change {} · {} · {}", change.id, change.wish, change.stage)];
    let wanted = change.steps.iter().filter(|step| step.state != StepState::Skipped);
    lines.extend(wanted.map(|step| step_line(step, change.waits_for.as_deref())));
    let is_told = change.steps.iter().any(|step| step.detail == change.waits_for);
    if let Some(waits) = change.waits_for.as_deref().filter(|_| !is_told && !change.stage.is_over())
    {
        lines.push(format!("   waits for {}", output::shown(waits)));
    }
    lines
}

fn step_line(step: &ChangeStep, waits_for: Option<&str>) -> String {
    let sign = match step.state {
        StepState::Done => '✔',
        StepState::Active => '▶',
        StepState::Waiting => '○',
        StepState::Skipped => '–',
    };
    let name = output::shown(&step.name);
    let waits = if step.detail.as_deref() == waits_for { "waits for " } else { "" };
    match &step.detail {
        Some(detail) => format!("   {sign} {name:<24} {waits}{}", output::shown(detail)),
        None => format!("   {sign} {name}"),
    }
}

/// How a change is told once nothing is drawn any more.
pub(super) fn table(change: &Change) -> Table {
    let mut table = Table::pairs()
        .pair("change", change.id.to_string())
        .pair("wish", change.wish.to_string())
        .pair("stage", change.stage.to_string())
        .pair("by", whose(change))
        .pair("began", output::local(change.began))
        .pair("took", took(change));
    for (name, replicas) in [("joins", &change.joins), ("leaves", &change.leaves)] {
        if !replicas.is_empty() {
            let ids: Vec<_> = replicas.iter().map(ToString::to_string).collect();
            table = table.pair(name, ids.join(" "));
        }
    }
    for one in &change.overrides {
        table = table
            .pair("override", format!("{}: {}", one.check, output::shown(one.reason.as_str())));
    }
    if let Some(waits) = change.waits_for.as_deref().filter(|_| !change.stage.is_over()) {
        table = table.pair("waits for", output::shown(waits));
    }
    if let Some(outcome) = &change.outcome {
        table = table.pair("outcome", output::shown(outcome));
    }
    table
}

/// A change in a list of several.
pub(super) fn row(change: &Change) -> Vec<String> {
    vec![
        change.id.to_string(),
        change.wish.to_string(),
        change.stage.to_string(),
        output::local(change.began),
        took(change),
        whose(change),
        change.outcome.as_deref().map_or_else(|| "-".to_owned(), output::shown),
    ]
}

fn whose(change: &Change) -> String {
    let by = output::shown(&change.by);
    change.from.as_ref().map_or_else(|| by.clone(), |from| format!("{by}, {}", output::shown(from)))
}

fn took(change: &Change) -> String {
    let Some(ended) = change.ended else { return "under way".to_owned() };
    let millis = ended.as_millis().saturating_sub(change.began.as_millis());
    format!("{:?}", Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use client::api::plans::Wish;
    use client::types::{Epoch, ReplicaId, Timestamp};

    use super::*;

    fn step(name: &str, state: StepState, detail: Option<&str>) -> ChangeStep {
        ChangeStep { name: name.to_owned(), state, detail: detail.map(str::to_owned) }
    }

    fn change(stage: ChangeStage) -> Change {
        let id = |number| ReplicaId::new(number).unwrap();
        let waits = "replica 4: 412 entries behind";
        let is_over = stage.is_over();
        Change {
            id: ChangeId::new(18),
            wish: Wish::Replace { replica: id(3), by: "http://d:7001".parse().unwrap() },
            stage,
            epoch: Epoch::new(23),
            began: Timestamp::new(1_000),
            ended: is_over.then(|| Timestamp::new(3_500)),
            by: "operator".to_owned(),
            from: None,
            overrides: Vec::new(),
            joins: vec![id(4)],
            leaves: vec![id(3)],
            voters: vec![id(1), id(2), id(4)],
            waits_for: (!is_over).then(|| waits.to_owned()),
            steps: vec![
                step("joining as learner", StepState::Done, None),
                step("catching up", StepState::Active, Some(waits)),
                step("voting", StepState::Waiting, None),
                step("handing over", StepState::Skipped, None),
            ],
            outcome: is_over.then(|| "who was to come did not answer".to_owned()),
            can_cancel: false,
        }
    }

    #[test]
    fn a_change_is_drawn_with_its_steps_and_what_it_waits_for() {
        let lines = drawn(&change(ChangeStage::Joining));
        assert_eq!(
            lines,
            [
                " change 18 · replace 3 --by http://d:7001 · joining",
                "   ✔ joining as learner",
                "   ▶ catching up              waits for replica 4: 412 entries behind",
                "   ○ voting",
            ]
        );
    }

    #[test]
    fn a_change_fits_one_line_for_those_without_a_terminal() {
        assert_eq!(
            line(&change(ChangeStage::Joining)),
            "change 18 · replace 3 --by http://d:7001 · joining · catching up · waits for replica 4: 412 entries behind"
        );
    }

    #[test]
    fn what_was_given_up_is_a_failure_and_says_why() {
        assert_eq!(judge(&change(ChangeStage::Done)), Ok(()));
        let failure = judge(&change(ChangeStage::Cancelled)).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(failure.why.as_deref(), Some("who was to come did not answer"));
        assert_eq!(row(&change(ChangeStage::Cancelled))[4], "2.5s");
    }
}
