//! The waiting page: one self-contained response that works without script.
//!
//! Style and script are constants of the build, so the policy names them by hash and allows nothing else. What
//! belongs to the visitor stands in the markup, escaped; the script reads it from there and asks the place route.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use queue::SaleState;
use queue_token::{SaleId, Taker};
use sha2::{Digest, Sha256};

use crate::room::document::PlaceDocument;
use crate::room::offer::CodeDocument;
use crate::room::{Answer, Asked};

const STYLE: &str = include_str!("../../templates/waiting.css");
const SCRIPT: &str = include_str!("../../templates/waiting.js");
const RETURN_SCRIPT: &str = include_str!("../../templates/return.js");
const REJOIN_SCRIPT: &str = include_str!("../../templates/rejoin.js");

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}' 'sha256-{}' 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT),
        hash(RETURN_SCRIPT),
        hash(REJOIN_SCRIPT)
    )
});

#[derive(Template)]
#[template(path = "waiting.html")]
struct WaitingPage<'a> {
    style: &'static str,
    script: &'static str,
    title: String,
    headline: &'static str,
    sale: &'a str,
    position: u64,
    behind: u64,
    eta: String,
    per_min: u64,
    message: Option<&'a str>,
    updated_at: &'a str,
    refresh_s: u64,
    poll_s: u64,
    target: String,
}

#[derive(Template)]
#[template(path = "closed.html")]
struct ClosedPage<'a> {
    style: &'static str,
    headline: &'static str,
    message: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "notice.html")]
struct NoticePage {
    style: &'static str,
    headline: &'static str,
    retry_after_s: u64,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    style: &'static str,
    code: &'a str,
    link: &'a str,
    qr: &'a str,
    minutes: u64,
}

#[derive(Template)]
#[template(path = "return.html")]
struct ArrivePage<'a> {
    style: &'static str,
    script: &'static str,
    sale: &'a str,
    code: &'a str,
    taker: String,
    said: &'a str,
}

#[derive(Template)]
#[template(path = "said.html")]
struct SaidPage<'a> {
    style: &'static str,
    script: &'static str,
    headline: &'static str,
    rejoin: Option<&'a str>,
}

/// What stands in the form of the page on which a place arrives.
#[derive(Debug)]
pub struct ArriveForm<'a> {
    /// The line it is about.
    pub sale: &'a SaleId,
    /// What the visitor typed before.
    pub code: &'a str,
    /// Whoever takes.
    pub taker: Taker,
    /// Why the last try came to nothing.
    pub said: &'a str,
}

/// The page of a visitor in line.
pub fn waiting(asked: &Asked<'_>, document: &PlaceDocument<'_>) -> Answer {
    let position = document.position.unwrap_or(0);
    let headline = match (document.state, document.sale_state) {
        ("pre", _) => "The sale has not opened yet. Your place is kept.",
        (_, "paused") => "Entry is paused. Your place is kept.",
        (_, "regrouping") => "A short interruption. Your place is safe.",
        ("called", _) => "It is your turn.",
        _ => "You are in line.",
    };
    let page = WaitingPage {
        style: STYLE,
        script: SCRIPT,
        title: format!("#{} in line", grouped(position)),
        headline,
        sale: document.sale(),
        position,
        behind: document.behind.unwrap_or(0),
        eta: eta_text(document),
        per_min: document.called_per_min,
        message: document.message,
        updated_at: &document.updated_at,
        refresh_s: document.poll_s.max(5),
        poll_s: document.poll_s,
        target: target(asked),
    };
    html(200, page.render()).header("retry-after", document.poll_s.to_string())
}

/// A short notice that looks again by itself: too many requests, or nothing to reach. The place is kept.
pub fn notice(status: u16, headline: &'static str, retry_after_s: u64) -> Answer {
    let page = NoticePage { style: STYLE, headline, retry_after_s };
    html(status, page.render()).header("retry-after", retry_after_s.to_string())
}

/// The code and the link that take a place to another device, for a browser without script.
pub fn code(document: &CodeDocument, link: &str) -> Answer {
    let (qr, minutes) = (document.qr.as_deref().unwrap_or_default(), document.expires_in_s.div_ceil(60));
    html(200, CodePage { style: STYLE, code: &document.code, link, qr, minutes }.render())
}

/// The page on which a place arrives at another device.
pub fn arrive(status: u16, form: &ArriveForm<'_>) -> Answer {
    let page = ArrivePage {
        style: STYLE,
        script: RETURN_SCRIPT,
        sale: form.sale.as_str(),
        code: form.code,
        taker: form.taker.to_string(),
        said: form.said,
    };
    html(status, page.render())
}

/// One sentence, for a browser without script.
pub fn said(status: u16, headline: &'static str) -> Answer {
    html(status, SaidPage { style: STYLE, script: REJOIN_SCRIPT, headline, rejoin: None }.render())
}

/// The page of a device that its place has moved on from.
pub fn moved(sale: &SaleId) -> Answer {
    let headline = "Your place is now on your other device.";
    html(200, SaidPage { style: STYLE, script: REJOIN_SCRIPT, headline, rejoin: Some(sale.as_str()) }.render())
}

/// The page of a sale that takes nobody.
pub fn closed(state: SaleState, message: Option<&str>) -> Answer {
    let headline = match state {
        SaleState::SoldOut => "Sold out. Nothing is left to sell.",
        _ => "This sale is closed.",
    };
    html(200, ClosedPage { style: STYLE, headline, message }.render())
}

/// Where the visitor goes once inside: the page it asked for; after a form, the page the form stood on. Always a path
/// on this host: more than one slash or backslash in front would name another.
fn target(asked: &Asked<'_>) -> String {
    let get = asked.head.method == http::Method::GET || asked.head.method == http::Method::HEAD;
    let wanted = if get {
        asked.head.uri.path_and_query().map(|path| path.as_str())
    } else {
        let host = asked.header("host").unwrap_or_default();
        asked.header("referer").and_then(|referer| {
            let rest = referer.split_once("://")?.1;
            let (authority, _) = rest.split_once('/')?;
            (authority == host).then(|| &rest[authority.len()..])
        })
    };
    format!("/{}", wanted.unwrap_or_default().trim_start_matches(['/', '\\']))
}

fn eta_text(document: &PlaceDocument<'_>) -> String {
    let Some(eta) = document.eta_s else { return "not known while entry stands still".to_owned() };
    if eta.p90 < 60 {
        return "less than a minute".to_owned();
    }
    let (low, high) = (eta.p10 / 60, eta.p90.div_ceil(60));
    if low == high { format!("about {high} min") } else { format!("{low} to {high} min") }
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn html(status: u16, rendered: askama::Result<String>) -> Answer {
    match rendered {
        Ok(page) => Answer::new(status, "text/html; charset=utf-8", Bytes::from(page))
            .header("content-security-policy", POLICY.clone())
            .header("referrer-policy", "same-origin")
            .header("x-robots-tag", "noindex"),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            Answer::new(500, "text/plain; charset=utf-8", Bytes::from_static(b"Your place is safe. Please reload.\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn the_way_in_stays_on_this_host() {
        let target = |uri: &str| {
            let (head, ()) = http::Request::builder().uri(uri).body(()).unwrap().into_parts();
            let address = std::net::IpAddr::from([127, 0, 0, 1]);
            super::target(&Asked { head: &head, address, request_id: "", now_us: 0 })
        };
        assert_eq!(target("/events/demo?a=b"), "/events/demo?a=b");
        assert_eq!(target("//elsewhere.example/..%2fevents"), "/elsewhere.example/..%2fevents");
        assert_eq!(target("/\\elsewhere.example"), "/elsewhere.example");
    }

    #[test]
    fn the_page_is_small() {
        assert!(STYLE.len() + SCRIPT.len() < 7_000, "{}", STYLE.len() + SCRIPT.len());
    }
}
