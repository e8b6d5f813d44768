//! The shop's style sheet and script: embedded, served under names that carry their digest, so that
//! browsers may keep them for ever and a new version is a new name.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("../../../templates/shop/shop.css");
const SCRIPT: &str = include_str!("../../../templates/shop/shop.js");

/// Below this path the files lie.
const FOLDER: &str = "/assets";

/// Where pages find the files.
#[derive(Debug)]
pub(super) struct Assets {
    /// Path of the style sheet.
    pub(super) style: String,
    /// Path of the script.
    pub(super) script: String,
}

/// The paths of this binary's files.
pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: format!("{FOLDER}/shop-{}.css", short_digest(STYLE)),
    script: format!("{FOLDER}/shop-{}.js", short_digest(SCRIPT)),
});

/// `GET /assets/{file}`.
pub(super) async fn serve(Path(file): Path<String>) -> Response {
    let Some((media_type, text)) = at(&format!("{FOLDER}/{file}")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

/// Media type and text of the file at a path.
fn at(path: &str) -> Option<(&'static str, &'static str)> {
    if path == ASSETS.style {
        return Some(("text/css; charset=utf-8", STYLE));
    }
    (path == ASSETS.script).then_some(("text/javascript; charset=utf-8", SCRIPT))
}

fn short_digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
