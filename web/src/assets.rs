//! Embedded files under names that carry a hash of their content.
//!
//! A file of another content has another name, so a browser may keep each for ever and never shows a
//! page with an old style. The names are known at compile time.
//!
//! Not here: pages, which are never kept by a browser.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

/// The one style sheet.
pub(crate) static STYLE: Asset = Asset::new(
    "dashboard",
    "css",
    "text/css; charset=utf-8",
    include_bytes!("../assets/dashboard.css"),
);

/// The icon of a tab.
pub(crate) static ICON: Asset =
    Asset::new("icon", "svg", "image/svg+xml", include_bytes!("../assets/icon.svg"));

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

/// Answers with the file of that name.
pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = [&STYLE, &ICON].into_iter().find(|asset| asset.name() == name) else {
        return crate::error::not_found();
    };
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    let media_type = HeaderValue::from_static(asset.media_type);
    (StatusCode::OK, [(CONTENT_TYPE, media_type), (CACHE_CONTROL, kept)], asset.bytes)
        .into_response()
}
