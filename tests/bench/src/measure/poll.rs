//! A poll from behind the horizon, beside nginx serving a static body of the same size: from a file that it keeps open, and
//! from its configuration, which is the least that nginx can do.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::Effort;
use crate::house::{House, texts};
use crate::peer::nginx::Nginx;
use crate::rounds::{Side, alternate, rate, ratio};
use crate::row::{Bar, Row};
use crate::wrk::{self, Wrk};

/// Visitors in the line.
const VISITORS: usize = 6_000;
/// Ranks at the front that are left out: the horizon lies within.
const FRONT: usize = 1_500;
const VS_NGINX: Bar = Bar::Ratio(0.7);

/// A house with a line, and the places of those who wait behind its horizon.
pub(super) fn line_of_far_visitors(sale: &str) -> Result<(House, Vec<String>)> {
    let house = House::open(&["limits.visitor_per_s=100000".to_owned(), "limits.visitor_burst=100000".to_owned()])?;
    house.create_sale(sale, &json!({"rate_per_min": 1, "burst": 1, "max_inside": 1}))?;
    let places = texts(&house.join_many(sale, VISITORS)?, "place");
    ensure!(places.len() == VISITORS, "only {} of {VISITORS} places were given", places.len());
    house.wait_until(sale, "the line is seen", |numbers| {
        numbers["waiting"].as_u64().is_some_and(|waiting| waiting + 2 >= VISITORS as u64)
    })?;
    Ok((house, places[FRONT..].to_vec()))
}

/// Polls with these places.
pub(super) fn polls(sale: &str, places: &[String]) -> Result<Wrk> {
    Wrk::new("GET", format!("/_usher/sales/{sale}/place"))?.with("authorization", "Place ", places)
}

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    ensure!(wrk::is_there(), "wrk is missing: `sh tests/stack/setup.sh bench` installs it");
    let (rounds, seconds) = if effort.quick { (3, 1) } else { (7, 3) };
    let (house, places) = line_of_far_visitors("poll")?;
    let body = house.poll("poll", &places[0])?;
    eprintln!("#   the body has {} bytes", body.len());
    let peers = [
        ("nginx file", "poll_vs_nginx_static", Nginx::with_file("application/json", body.len())?),
        ("nginx memory", "poll_vs_nginx_memory", Nginx::with_body("application/json", body.len())?),
    ];
    let requests = polls("poll", &places)?;
    let mut sides = vec![Side::new("ours", || requests.round(house.url(), seconds, house.gateway_pid()))];
    for (name, _, nginx) in &peers {
        if let Some(Nginx { peer, .. }) = nginx {
            sides.push(Side::new(name, || requests.round(&peer.url(), seconds, peer.pid())));
        }
    }
    let played = alternate(&mut sides, rounds)?;
    let ours = rate(&played[0]);
    if played.len() == 1 {
        eprintln!("# nginx is missing: `sh tests/stack/setup.sh bench` installs it");
    }
    let row = |(i, (_, name, _)): (usize, &(&str, &'static str, Option<Nginx>))| match played.get(i + 1) {
        Some(nginx) => Row::beside(name, "/s", ours, rate(nginx), ratio(&played[0], nginx), VS_NGINX),
        None => Row::without_peer(name, "/s", ours, VS_NGINX),
    };
    Ok(peers.iter().enumerate().map(row).collect())
}
