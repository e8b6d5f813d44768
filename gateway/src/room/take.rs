//! `POST /_usher/sales/{sale}/return`: the place that a code leads to moves to this device.
//!
//! Invariants: exactly one taker gets the place; an answer that was lost on the way can be asked for again with the same
//! taker; wrong codes are limited by address; no other site can put its visitor's place into a browser here.

use queue::Code;
use queue::take::Taken;
use queue_token::{Place, Taker};
use serde::Deserialize;

use crate::line::room::SaleRoom;
use crate::line::view::View;
use crate::negotiate::{Form, form};
use crate::problem::{Kind, Problem};
use crate::room::{Answer, Asked, Gate, HeldPlace, new_taker, page, place, sign_place};
use crate::routes::{Guards, form_fields, segments};

const WRONG: &str = "This code leads to no place: it may be mistyped, used already, or older than ten minutes. \
                     Ask your other device for a new one.";
const AWAY: &str = "The waiting room cannot take you in at the moment. Nothing is lost: try again with the same code.";

/// What is sent. Programs that want to be able to ask again choose a taker: 16 random bytes in base64url.
#[derive(Debug, Deserialize)]
struct Wanted {
    code: String,
    #[serde(default)]
    taker: Option<Taker>,
}

/// Answers the route. `body` is `None` when it was too long or did not come.
pub async fn take(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View, body: Option<&[u8]>) -> Answer {
    let Some(wanted) = body.and_then(|body| read(asked, body)) else {
        return Problem::new(Kind::Invalid, "Send {\"code\": \"ABCD-2345\"} as JSON, or the same as a form.")
            .answer(asked.path(), asked.request_id);
    };
    if comes_from_elsewhere(asked) {
        return Problem::new(Kind::Forbidden, "A place is taken on this site's own page only.")
            .answer(asked.path(), asked.request_id);
    }
    let taker = wanted.taker.unwrap_or_else(new_taker);
    let sorry = |kind: Kind, said: &'static str, wait_s: u64| match form(asked.header("accept")) {
        Form::Html => {
            page::arrive(kind.status(), &page::ArriveForm { sale: &room.id, code: &wanted.code, taker, said })
        }
        Form::Json => {
            let problem = Problem::new(kind, said);
            let problem = if wait_s > 0 { problem.retry_after(wait_s) } else { problem };
            problem.answer(asked.path(), asked.request_id)
        }
    };
    let Ok(code) = wanted.code.parse::<Code>() else { return sorry(Kind::NotFound, WRONG, 0) };
    if let Err(wait_s) = gate.limits.guess(asked.address) {
        let said = "Too many wrong codes came from where you are. Wait a minute, then try again.";
        return sorry(Kind::RateLimited, said, wait_s).outcome("limited");
    }
    let taken = room.take(code, taker).await;
    if !matches!(taken, Ok(Taken::Unknown)) {
        gate.limits.was_no_guess(asked.address);
    }
    let shown = match taken {
        Ok(Taken::Place(shown)) => shown,
        Ok(Taken::Unknown) => return sorry(Kind::NotFound, WRONG, 0).outcome("wrong_code"),
        Ok(Taken::Absent) => return sorry(Kind::Unavailable, AWAY, 2),
        Err(error) => {
            tracing::warn!(%error, "a place could not be taken");
            return sorry(Kind::Unavailable, AWAY, 2).outcome("unavailable");
        }
    };
    match sign_place(gate, &room.id, (shown.visitor, shown.score, shown.device), asked.now_s()) {
        Ok(held) => arrived(gate, asked, room, view, &held).await.outcome("moved"),
        Err(error) => {
            tracing::error!(%error, "a place could not be signed");
            sorry(Kind::Unavailable, AWAY, 2)
        }
    }
}

/// The answer to whoever has the place now: a person goes on to the sale, a program gets the place document.
async fn arrived(gate: &Gate, asked: &Asked<'_>, room: &SaleRoom, view: &View, held: &HeldPlace) -> Answer {
    let answer = match form(asked.header("accept")) {
        Form::Html => Answer::empty(303).header("location", way_on(view)).header("usher-place", held.token.clone()),
        Form::Json => place::told(gate, asked, room, view, held).await.0,
    };
    let Place { sale, .. } = &held.place;
    answer.header("set-cookie", gate.cookies().set_place(sale, &held.token, gate.config.line.place_life_s))
}

/// The first page that the sale guards: the waiting room is there.
fn way_on(view: &View) -> String {
    let paths = &view.snapshot.settings.paths;
    let guarded = paths.iter().find(|guarded| {
        let guards = Guards::new(&[], std::slice::from_ref(guarded));
        guards.matches("", &http::Method::GET, &segments(&guarded.path)).is_some()
    });
    format!("/{}", guarded.map_or("", |guarded| guarded.path.trim_start_matches(['/', '\\'])))
}

fn read(asked: &Asked<'_>, body: &[u8]) -> Option<Wanted> {
    let kind = asked.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return serde_json::from_slice(body).ok();
    }
    if !kind.eq_ignore_ascii_case(FORM) {
        return None;
    }
    let fields = form_fields(std::str::from_utf8(body).ok()?);
    let field = |name| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let taker = match field("taker") {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    Some(Wanted { code: field("code")?, taker })
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Whether a page of another site sent this: it could hand its own place to whoever visits it. A form comes from
/// everywhere, so it has to prove that it is ours; JSON does not without our leave.
fn comes_from_elsewhere(asked: &Asked<'_>) -> bool {
    if let Some(site) = asked.header("sec-fetch-site") {
        return site != "same-origin";
    }
    let host = asked.header("host").or_else(|| asked.head.uri.authority().map(|authority| authority.as_str()));
    match asked.header("origin").map(|origin| origin.split_once("://").map_or("", |(_, authority)| authority)) {
        Some(origin) => !host.is_some_and(|host| host.eq_ignore_ascii_case(origin)),
        None => !asked.header("content-type").is_some_and(|kind| kind.starts_with("application/json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(headers: &[(&str, &str)], body: &str) -> (bool, Option<String>) {
        let mut request = http::Request::builder().method("POST").uri("/_usher/sales/demo/return");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let address = std::net::IpAddr::from([127, 0, 0, 1]);
        let asked = Asked { head: &head, address, request_id: "", now_us: 0 };
        (comes_from_elsewhere(&asked), read(&asked, body.as_bytes()).map(|wanted| wanted.code))
    }

    #[test]
    fn a_form_has_to_come_from_our_own_page() {
        let (form, json, host) =
            (("content-type", FORM), ("content-type", "application/json"), ("host", "A.example:8"));
        let cases = [
            (vec![form, host], true),
            (vec![form, host, ("origin", "https://a.example:8")], false),
            (vec![form, host, ("origin", "https://a.example")], true),
            (vec![form, host, ("origin", "null")], true),
            (vec![form, host, ("sec-fetch-site", "same-origin")], false),
            (vec![form, host, ("sec-fetch-site", "cross-site"), ("origin", "https://a.example:8")], true),
            (vec![form, host, ("sec-fetch-site", "same-site")], true),
            (vec![json, host], false),
            (vec![json, host, ("origin", "https://b.example")], true),
        ];
        for (headers, elsewhere) in cases {
            assert_eq!(judged(&headers, "").0, elsewhere, "{headers:?}");
        }
    }

    #[test]
    fn code_and_taker_are_read_from_json_and_forms() {
        let read = |kind: &str, body: &str| judged(&[("content-type", kind)], body).1;
        assert_eq!(read("application/json; charset=utf-8", r#"{"code": "a b"}"#).as_deref(), Some("a b"));
        assert_eq!(read(FORM, "x=1&code=ab-c%20d+e&taker=AAAAAAAAAAAAAAAAAAAAAA").as_deref(), Some("ab-c d e"));
        for (kind, body) in [
            ("text/plain", "code=a"),
            ("application/json", "code=a"),
            ("application/json", r#"{"code": 5}"#),
            ("application/json", r#"{"code": "a", "taker": "short"}"#),
            (FORM, "taker=AAAAAAAAAAAAAAAAAAAAAA"),
            (FORM, "code=a&taker=short"),
            (FORM, "code"),
            ("", "code=a"),
        ] {
            assert_eq!(read(kind, body), None, "{kind} {body}");
        }
    }
}
