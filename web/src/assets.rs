//! Embedded files under names that carry a hash of their content.
//!
//! A file of another content has another name, so a browser may keep each for ever and never shows a
//! page with an old style. The names are known at compile time.
//!
//! Not here: pages, which are never kept by a browser.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, Uri};

use crate::backend::Backend;
use crate::error;
use crate::grade::Grade;

/// The one style sheet.
pub(crate) static STYLE: Asset = Asset::new(
    "dashboard",
    "css",
    "text/css; charset=utf-8",
    include_bytes!("../assets/dashboard.css"),
);

/// What the pages about logs and their records look like, beyond that.
pub(crate) static LOGS_STYLE: Asset =
    Asset::new("logs", "css", "text/css; charset=utf-8", include_bytes!("../assets/logs.css"));

/// What the reference of the API looks like, beyond that.
pub(crate) static REFERENCE_STYLE: Asset = Asset::new(
    "reference",
    "css",
    "text/css; charset=utf-8",
    include_bytes!("../assets/reference.css"),
);

/// What counts the records that a page which follows a log did not show.
pub(crate) static FOLLOW: Asset = Asset::new(
    "follow",
    "js",
    "text/javascript; charset=utf-8",
    include_bytes!("../assets/follow.js"),
);

/// What copies blocks of text.
pub(crate) static COPY: Asset =
    Asset::new("copy", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/copy.js"));

/// What keeps a page up to date.
pub(crate) static SCRIPT: Asset =
    Asset::new("live", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/live.js"));

/// The icon of a tab, one for each grade.
static ICONS: [(Grade, Asset); 4] = [
    (Grade::Ok, icon_of("icon-ok", include_bytes!("../assets/icon-ok.svg"))),
    (Grade::Warn, icon_of("icon-warn", include_bytes!("../assets/icon-warn.svg"))),
    (Grade::Bad, icon_of("icon-bad", include_bytes!("../assets/icon-bad.svg"))),
    (Grade::Unknown, icon_of("icon-unknown", include_bytes!("../assets/icon-unknown.svg"))),
];

const fn icon_of(stem: &'static str, bytes: &'static [u8]) -> Asset {
    Asset::new(stem, "svg", "image/svg+xml", bytes)
}

/// The icon of a tab whose page says this of the group.
pub(crate) fn icon(grade: Grade) -> &'static Asset {
    let icon = ICONS.iter().find(|(of, _)| *of == grade);
    icon.map_or(&ICONS[0].1, |(_, icon)| icon)
}

/// Every embedded file.
fn all() -> impl Iterator<Item = &'static Asset> {
    [&STYLE, &LOGS_STYLE, &REFERENCE_STYLE, &FOLLOW, &COPY, &SCRIPT]
        .into_iter()
        .chain(ICONS.iter().map(|(_, icon)| icon))
}

/// One embedded file.
#[derive(Debug)]
pub(crate) struct Asset {
    stem: &'static str,
    extension: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    hash: u64,
}

impl Asset {
    const fn new(
        stem: &'static str,
        extension: &'static str,
        media_type: &'static str,
        bytes: &'static [u8],
    ) -> Self {
        Self { stem, extension, media_type, bytes, hash: fnv1a(bytes) }
    }

    /// Where a page finds it.
    pub(crate) fn path(&self) -> String {
        format!("/assets/{}", self.name())
    }

    fn answer(&self) -> Response {
        let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
        let media_type = HeaderValue::from_static(self.media_type);
        (StatusCode::OK, [(CONTENT_TYPE, media_type), (CACHE_CONTROL, kept)], self.bytes)
            .into_response()
    }

    fn name(&self) -> String {
        format!("{}.{:016x}.{}", self.stem, self.hash, self.extension)
    }
}

/// FNV-1a: enough to tell two contents of one file apart, and computable at compile time.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut rest = bytes;
    while let [first, others @ ..] = rest {
        hash = (hash ^ *first as u64).wrapping_mul(0x0000_0100_0000_01b3);
        rest = others;
    }
    hash
}

/// The file at this path.
pub(crate) fn at(path: &str) -> Option<Response> {
    let name = path.strip_prefix("/assets/")?;
    all().find(|asset| asset.name() == name).map(Asset::answer)
}

/// Answers with the file of that name.
pub(crate) async fn serve<B: Backend>(State(backend): State<B>, uri: Uri) -> Response {
    match at(uri.path()) {
        Some(answer) => answer,
        None => error::not_found(&backend).await,
    }
}
