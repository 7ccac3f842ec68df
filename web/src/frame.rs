//! The frame around every page: navigation, the verdict in short, which replica this is, how fresh it all is.
//!
//! A page owns a [`Frame`], and its template extends `shell.html`. A form is an ordinary one: it posts; what
//! succeeded answers 303 to the page of what came of it, and what was refused answers with the page of the
//! form again, its true status, and a [`Notice`] that says why.
//!
//! Not here: what a page is about (`pages`).

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use client::api::cluster::ClusterStatus;
use client::api::error::{ErrorCode, Problem};
use http::StatusCode;

use crate::assets::{self, Asset};
use crate::backend::Backend;
use crate::error;
use crate::format;
use crate::grade::Grade;

/// A part of the dashboard that the navigation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// The group at a glance.
    Overview,
    /// What was done lately and how long it took.
    Performance,
    /// What is kept.
    Logs,
    /// What the state was, certified.
    Checkpoints,
    /// What this replica was told to do.
    Settings,
    /// What programs may rely on.
    Reference,
    /// Who is there, and who wants to be.
    Replicas,
    /// Who did what.
    Activity,
}

impl Section {
    /// In the order of the navigation.
    const ALL: [Self; 8] = [
        Self::Overview,
        Self::Replicas,
        Self::Logs,
        Self::Checkpoints,
        Self::Activity,
        Self::Performance,
        Self::Settings,
        Self::Reference,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Performance => "Performance",
            Self::Logs => "Logs",
            Self::Checkpoints => "Checkpoints",
            Self::Settings => "Settings",
            Self::Reference => "API",
            Self::Replicas => "Replicas",
            Self::Activity => "Activity",
        }
    }

    /// Its first page.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Performance => "/performance",
            Self::Logs => "/logs",
            Self::Checkpoints => "/checkpoints",
            Self::Settings => "/settings",
            Self::Reference => "/docs/api",
            Self::Replicas => "/replicas",
            Self::Activity => "/activity",
        }
    }
}

/// What header and footer say.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Where in the navigation the page stands, if anywhere.
    section: Option<Section>,
    pub(crate) grade: Grade,
    /// The verdict in a few words.
    pub(crate) state: &'static str,
    pub(crate) here: Option<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) epoch: Option<String>,
    pub(crate) term: String,
    pub(crate) as_of: String,
    pub(crate) version: &'static str,
}

impl Frame {
    /// The frame of a page that this status was got for.
    pub(crate) fn of(status: &ClusterStatus, section: Section) -> Self {
        let grade = Grade::of(&status.verdict);
        Self {
            section: Some(section),
            grade,
            state: match grade {
                Grade::Ok => "Taking appends",
                Grade::Warn => "Taking appends, none may fail",
                Grade::Bad | Grade::Unknown => "Not taking appends",
            },
            here: status.this_replica.map(|here| here.to_string()),
            cluster: status.cluster.map(|cluster| cluster.to_string()),
            epoch: status.epoch.map(|epoch| format::count(epoch.get())),
            term: format::count(status.term.get()),
            as_of: format::moment(status.as_of),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The frame of a page in this section, as things are now.
    pub(crate) async fn now<B: Backend>(backend: &B, section: Section) -> Result<Self, Problem> {
        Ok(Self::of(&backend.status().await?, section))
    }

    /// The same, of a page that has something to say in any case.
    pub(crate) async fn now_or_unknown<B: Backend>(backend: &B, section: Section) -> Self {
        let known = Self::now(backend, section).await;
        known.unwrap_or_else(|_problem| Self { section: Some(section), ..Self::unknown() })
    }

    /// The frame of a page that could not ask anybody.
    pub(crate) fn unknown() -> Self {
        Self {
            section: None,
            grade: Grade::Unknown,
            state: "Not known",
            here: None,
            cluster: None,
            epoch: None,
            term: String::new(),
            as_of: String::new(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The frame of a page of a process that serves nothing yet.
    pub(crate) fn waiting(status: &ClusterStatus) -> Self {
        let known = Self::of(status, Section::Overview).elsewhere();
        Self { grade: Grade::Unknown, state: "Not serving yet", ..known }
    }

    /// The same, of a page that stands nowhere in the navigation.
    pub(crate) fn elsewhere(self) -> Self {
        Self { section: None, ..self }
    }

    /// The navigation: every part, and whether the page stands in it.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Section, bool)> {
        Section::ALL.into_iter().map(|section| (section, self.section == Some(section)))
    }

    /// The title of a tab: bad news come first, so that a page in the background tells them too.
    pub(crate) fn titled(&self, page: &str) -> String {
        let mark = self.grade.mark();
        match self.grade {
            Grade::Bad => format!("{mark} {} · {page}", self.state),
            Grade::Ok | Grade::Warn | Grade::Unknown => format!("{mark} {page}"),
        }
    }

    pub(crate) fn icon(&self) -> &'static Asset {
        assets::icon(self.grade)
    }
}

/// What a page has to say about what was just asked for. Its text is made visible here.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) grade: Grade,
    pub(crate) title: String,
    pub(crate) detail: String,
    /// What to do about it.
    pub(crate) remedy: &'static str,
    /// What explains it further.
    pub(crate) code: Option<ErrorCode>,
    /// Where it leads, and what stands there.
    pub(crate) link: Option<(String, String)>,
}

impl Notice {
    /// Something to know.
    pub(crate) fn new(grade: Grade, title: &str, detail: &str) -> Self {
        Self {
            grade,
            title: format::visible(title),
            detail: format::visible(detail),
            remedy: "",
            code: None,
            link: None,
        }
    }

    /// The same, leading somewhere.
    pub(crate) fn leading(self, path: String, text: String) -> Self {
        Self { link: Some((path, text)), ..self }
    }

    /// That what is shown may not be all that was acknowledged.
    pub(crate) fn stale(problem: &Problem) -> Self {
        let detail = format!(
            "This replica shows what it has, and cannot tell whether that is all: {}.",
            problem.detail.as_deref().unwrap_or(&problem.title)
        );
        Self::new(Grade::Warn, "This may be out of date", &detail)
    }

    /// Why it was refused.
    pub(crate) fn refused(problem: &Problem) -> Self {
        let detail = problem.detail.as_deref().unwrap_or_default();
        let (remedy, code) = (problem.code.remedy(), Some(problem.code));
        Self { remedy, code, ..Self::new(Grade::Bad, &problem.title, detail) }
    }
}

/// The page, with this status.
pub(crate) fn page(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(body) => (status, Html(body)).into_response(),
        // Rendering into memory does not fail; if it ever does, the status still tells the truth.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The page, or a page that says why there is none.
pub(crate) async fn page_or_problem<B: Backend>(
    backend: &B,
    made: Result<impl Template, Problem>,
) -> Response {
    match made {
        Ok(made) => page(StatusCode::OK, &made),
        Err(problem) => error::of_problem(backend, &problem).await,
    }
}
