//! A plan: what a wish would mean, before anything is changed; and the button that begins it.
//!
//! The wish stands in the address, so a plan can be sent to somebody, and planning again is loading again. The
//! form posts to the same address and brings only what is said to it: the epoch of the plan that was looked at, and
//! what was typed to override checks. Whether that suffices is decided by whoever plans again: what is refused comes
//! back as the plan as it is now.
//!
//! An open page plans again at every beat, for the epoch that it was opened for: its stream names that one. If the
//! membership is another one by then, the page says so, and its form still names the epoch that was looked at.
//!
//! Not here: what a wish is (`wish`), and what has begun (`change`).

use askama::Template;
use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::response::{IntoResponse, Redirect, Response};
use client::api::changes::{ChangeRequest, Override};
use client::api::error::{ErrorCode, Problem};
use client::api::plans::{Check, CheckId, CheckLevel, Footing, Plan, PlanVerdict, Wish};
use client::types::{Epoch, Reason, Typed};
use http::{StatusCode, Uri};

use super::joiners::{self, JoinerRow};
use super::wish::{self, Wished};
use crate::backend::{Answer, Backend};
use crate::error;
use crate::fields::{Fields, query};
use crate::format;
use crate::frame::{self, Frame, Notice, Section};
use crate::grade::Grade;
use crate::replica::NOTHING;
use crate::viewer::OnBehalf;

/// What the name of a field begins with in which a check's override is typed.
const TYPED: &str = "typed.";
/// The name of the field of the address of a stream that says for which epoch its page was opened.
const SEEN: &str = "seen";

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    frame: Frame,
    notice: Option<Notice>,
    title: String,
    /// The address of this page.
    path: String,
    /// The address of its stream.
    live: String,
    /// That of the plan.
    epoch: Epoch,
    /// That which was looked at first, and which the form names.
    seen: Epoch,
    footings: Vec<FootingRow>,
    checks: Vec<CheckRow>,
    hand_over_to: Option<String>,
    verdict: PlanVerdict,
    /// What has to be typed, for each check that can be overridden.
    typings: Vec<Typing>,
    reason: String,
    warnings: usize,
    button: String,
    command: String,
    curl: String,
}

struct FootingRow {
    when: &'static str,
    voters: String,
    learners: String,
    may_fail: String,
    grade: Grade,
    sentence: String,
}

struct CheckRow {
    id: CheckId,
    grade: Grade,
    level: &'static str,
    line: String,
    fix: Option<String>,
}

struct Typing {
    check: CheckId,
    asked: String,
    typed: String,
}

impl FootingRow {
    fn of(when: &'static str, footing: &Footing) -> Self {
        let names = |names: &[_]| {
            if names.is_empty() {
                NOTHING.to_owned()
            } else {
                format::visible(&format::list(names))
            }
        };
        let (grade, may_fail) = match (footing.has_majority, footing.may_fail) {
            (false, _) => (Grade::Bad, "none: would stop".to_owned()),
            (true, 0) => (Grade::Warn, "none".to_owned()),
            (true, more) => (Grade::Ok, format::count(more.into())),
        };
        Self {
            when,
            voters: names(&footing.voters),
            learners: names(&footing.learners),
            may_fail,
            grade,
            sentence: format::visible(&footing.sentence),
        }
    }
}

impl CheckRow {
    fn of(check: &Check) -> Self {
        let (grade, level) = match (check.level, &check.type_to_override) {
            (CheckLevel::Pass, _) => (Grade::Ok, "passed"),
            (CheckLevel::Note, _) => (Grade::Unknown, "to know"),
            (CheckLevel::Warn, _) => (Grade::Warn, "warning"),
            (CheckLevel::Block, Some(_)) => (Grade::Bad, "blocks, can be overridden"),
            (CheckLevel::Block, None) => (Grade::Bad, "blocks"),
        };
        Self {
            id: check.id,
            grade,
            level,
            line: format::visible(&check.line),
            fix: check.fix.as_deref().map(format::visible),
        }
    }
}

impl PlanPage {
    /// The page at this address, with what was typed there before.
    fn of(frame: Frame, plan: &Plan, uri: &Uri, said: &Fields, notice: Option<Notice>) -> Self {
        let asked = Fields::of_query(uri);
        let seen = asked.get(SEEN).and_then(|seen| seen.parse().ok()).unwrap_or(plan.epoch);
        let wanted = || asked.pairs().filter(|(name, _)| *name != SEEN);
        let path = format!("{}?{}", wish::PLAN, query(wanted()));
        let looked_at = seen.to_string();
        let live = query(wanted().chain([(SEEN, looked_at.as_str())]));
        let meanwhile = plan.meanwhile.as_ref();
        let when = if plan.joins.is_empty() { "while it leaves" } else { "while it joins" };
        let footings = [("now", Some(&plan.now)), (when, meanwhile), ("after", Some(&plan.after))];
        // The gravest first; those of one level in the order of their numbers.
        let mut checks: Vec<&Check> = plan.checks.iter().collect();
        checks.sort_by_key(|check| std::cmp::Reverse(check.level));
        let is_warning = |check: &&Check| check.level == CheckLevel::Warn;
        Self {
            frame,
            notice,
            title: wish::in_words(&plan.wish),
            path,
            live: format!("/live{}?{live}", wish::PLAN),
            epoch: plan.epoch,
            seen,
            footings: footings
                .into_iter()
                .filter_map(|(when, footing)| Some(FootingRow::of(when, footing?)))
                .collect(),
            checks: checks.iter().map(|check| CheckRow::of(check)).collect(),
            hand_over_to: plan.hand_over_to.map(|next| next.to_string()),
            verdict: plan.verdict,
            typings: typings(plan, said),
            reason: said.get("reason").unwrap_or_default().to_owned(),
            warnings: plan.checks.iter().filter(is_warning).count(),
            button: wish::on_a_button(&plan.wish),
            command: format::visible(&plan.command),
            curl: format::visible(&plan.curl),
        }
    }

    fn has_moved(&self) -> bool {
        self.seen != self.epoch
    }

    fn is_blocked(&self) -> bool {
        self.verdict == PlanVerdict::Blocked
    }
}

fn typings(plan: &Plan, said: &Fields) -> Vec<Typing> {
    let asked =
        plan.checks.iter().filter_map(|check| Some((check, check.type_to_override.as_ref()?)));
    let typing = |(check, asked): (&Check, &String)| Typing {
        check: check.id,
        asked: format::visible(asked),
        typed: said.get(&format!("{TYPED}{}", check.id)).unwrap_or_default().to_owned(),
    };
    asked.map(typing).collect()
}

/// What is chosen before there is a plan.
#[derive(Template)]
#[template(path = "wish.html")]
struct WishPage {
    frame: Frame,
    notice: Option<Notice>,
    /// Whose place is to be taken, if anybody's.
    replaced: Option<String>,
    /// Those who could come, with the address of each plan.
    joiners: Vec<JoinerRow>,
    front: String,
}

/// The page to choose on.
async fn choose<B: Backend>(
    backend: &B,
    status: StatusCode,
    replaced: Option<String>,
    notice: Option<Notice>,
) -> Response {
    let cluster = match backend.status().await {
        Ok(cluster) => cluster,
        Err(problem) => return error::of_problem(backend, &problem).await,
    };
    let here = cluster.replicas.iter().find(|replica| Some(replica.id) == cluster.this_replica);
    let mut rows = joiners::rows(&cluster);
    if let Some(replaced) = &replaced {
        for (row, joiner) in rows.iter_mut().zip(&cluster.joiners) {
            let fields = [("replace", replaced.as_str()), ("by", joiner.addr.as_str())];
            row.plan = format!("{}?{}", wish::PLAN, query(fields));
        }
    }
    let page = WishPage {
        front: here.map_or_else(String::new, |here| format::visible(here.addr.as_str())),
        frame: Frame::of(&cluster, Section::Replicas),
        notice,
        replaced,
        joiners: rows,
    };
    frame::page(status, &page)
}

fn status_of(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The page: the plan for what the address says, or a choice.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    OriginalUri(uri): OriginalUri,
) -> Response {
    match Wished::of(&Fields::of_query(&uri)) {
        Wished::Wish(wish) => plan_anew(&backend, &wish, &uri, &Fields::default(), None).await,
        Wished::Unfinished { replaced } => choose(&backend, StatusCode::OK, replaced, None).await,
        Wished::Senseless(wrong) => {
            let notice = Notice::new(Grade::Bad, "That cannot be planned", &wrong);
            choose(&backend, StatusCode::BAD_REQUEST, None, Some(notice)).await
        }
    }
}

/// The plan as it is now; after a refusal, with that.
async fn plan_anew<B: Backend>(
    backend: &B,
    wish: &Wish,
    uri: &Uri,
    said: &Fields,
    refused: Option<Problem>,
) -> Response {
    let plan = match refused.as_ref().and_then(|problem| problem.actual.plan.clone()) {
        Some(plan) => Ok(*plan),
        None => backend.plan(wish).await,
    };
    let made: Answer<_> =
        async { Ok((plan?, Frame::now(backend, Section::Replicas).await?)) }.await;
    let status = refused.as_ref().map_or(StatusCode::OK, status_of);
    let notice = refused.as_ref().map(notice);
    match made {
        Ok((plan, frame)) => frame::page(status, &PlanPage::of(frame, &plan, uri, said, notice)),
        Err(problem) => {
            let notice = notice.unwrap_or_else(|| Notice::refused(&problem));
            choose(backend, status_of(&problem), None, Some(notice)).await
        }
    }
}

/// Why nothing has begun, in the words of whoever looks at the plan.
fn notice(problem: &Problem) -> Notice {
    if problem.code == ErrorCode::StalePlan {
        let detail = "Nothing was changed. This is the plan as it is now: look at it again.";
        return Notice::new(Grade::Warn, &problem.title, detail);
    }
    Notice::refused(problem)
}

/// The form: begins what was planned for the epoch that it names.
pub(crate) async fn begin<B: Backend>(
    OnBehalf(backend): OnBehalf<B>,
    OriginalUri(uri): OriginalUri,
    body: Bytes,
) -> Response {
    let said = Fields::of_body(&body);
    let Wished::Wish(wish) = Wished::of(&Fields::of_query(&uri)) else {
        return show(State(backend), OriginalUri(uri)).await;
    };
    let begun = match asked(&said) {
        Ok((epoch, overrides)) => {
            let request = ChangeRequest { wish: wish.clone(), overrides };
            backend.begin_change(&request, epoch).await
        }
        Err(wrong) => Err(Problem::new(ErrorCode::InvalidBody).with_detail(wrong)),
    };
    match begun {
        Ok(change) => Redirect::to(&format!("/changes/{}", change.id)).into_response(),
        Err(problem) => plan_anew(&backend, &wish, &uri, &said, Some(problem)).await,
    }
}

/// The epoch and the overrides that a form brings.
fn asked(said: &Fields) -> Result<(Epoch, Vec<Override>), String> {
    let epoch = said.get("epoch").ok_or("The form names no epoch.")?;
    let epoch = epoch.parse().map_err(|wrong| format!("epoch: {wrong}"))?;
    let typed = said.pairs().filter_map(|(name, typed)| Some((name.strip_prefix(TYPED)?, typed)));
    let typed =
        typed.map(|(check, typed)| (check, typed.trim())).filter(|(_, typed)| !typed.is_empty());
    let overrides = typed.map(|(check, typed)| {
        let reason = said.get("reason").ok_or("Say why the check is overridden.")?;
        Ok(Override {
            check: check.parse().map_err(|wrong| format!("{check}: {wrong}"))?,
            typed: Typed::new(typed).map_err(|wrong| wrong.to_string())?,
            reason: Reason::new(reason).map_err(|wrong| wrong.to_string())?,
        })
    });
    Ok((epoch, overrides.collect::<Result<_, String>>()?))
}
