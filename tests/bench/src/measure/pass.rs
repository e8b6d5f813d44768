//! A proxied request with a valid pass: ours, a bare Pingora proxy and nginx before the same origin.
//!
//! Each request carries one of many passes in a cookie, and the peers get the very same requests.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::Effort;
use crate::cores::Core;
use crate::house::{House, texts};
use crate::peer::nginx::Nginx;
use crate::peer::{Peer, free_address};
use crate::rounds::{Side, alternate, rate, ratio};
use crate::row::{Bar, Row};
use crate::wrk::{self, Wrk};

/// Passes that take turns.
const PASSES: usize = 1_000;
const VS_BARE: Bar = Bar::Ratio(0.85);
const VS_NGINX: Bar = Bar::Ratio(0.9);

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    ensure!(wrk::is_there(), "wrk is missing: `sh tests/stack/setup.sh bench` installs it");
    let (rounds, seconds) = if effort.quick { (3, 1) } else { (7, 3) };
    let origin = Peer::ourselves(Core::Rest, "origin", free_address()?, &[])?;
    let house = House::open(&[format!("upstreams=[\"{}\"]", origin.address())])?;
    let settings = json!({"rate_per_min": 1_000_000, "burst": 100_000, "max_inside": 100_000, "pass_ttl_s": 86_400});
    house.create_sale("pass", &settings)?;
    let passes = texts(&house.join_many("pass", PASSES)?, "pass");
    ensure!(passes.len() == PASSES, "only {} of {PASSES} visitors were let in", passes.len());
    let bare = Peer::ourselves(Core::Measured, "bare-proxy", free_address()?, &[origin.address().to_string()])?;
    let nginx = Nginx::proxy(origin.address())?;

    let requests = Wrk::new("GET", "/bench/seats")?.with("cookie", "usher_pass_pass=", &passes)?;
    let mut sides = vec![
        Side::new("ours", || requests.round(house.url(), seconds, house.gateway_pid())),
        Side::new("bare pingora", || requests.round(&bare.url(), seconds, bare.pid())),
    ];
    if let Some(nginx) = &nginx {
        sides.push(Side::new("nginx", || requests.round(&nginx.peer.url(), seconds, nginx.peer.pid())));
    }
    let played = alternate(&mut sides, rounds)?;
    let ours = rate(&played[0]);
    let mut rows =
        vec![Row::beside("pass_vs_bare_pingora", "/s", ours, rate(&played[1]), ratio(&played[0], &played[1]), VS_BARE)];
    rows.push(match played.get(2) {
        Some(nginx) => Row::beside("pass_vs_nginx", "/s", ours, rate(nginx), ratio(&played[0], nginx), VS_NGINX),
        None => {
            eprintln!("# nginx is missing: `sh tests/stack/setup.sh bench` installs it");
            Row::without_peer("pass_vs_nginx", "/s", ours, VS_NGINX)
        }
    });
    Ok(rows)
}
