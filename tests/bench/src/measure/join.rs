//! Taking a place, with Redis and all: beside our own polls, and for as long as a rush lasts.

use anyhow::{Result, ensure};

use super::poll::{line_of_far_visitors, polls};
use crate::Effort;
use crate::rounds::{Side, alternate, rate, ratio};
use crate::row::{Bar, Row};
use crate::wrk::{self, Wrk};

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    ensure!(wrk::is_there(), "wrk is missing: `sh tests/stack/setup.sh bench` installs it");
    let (rounds, seconds, sustained_s) = if effort.quick { (3, 1, 3) } else { (5, 3, 12) };
    let (house, places) = line_of_far_visitors("join")?;
    let (joins, polls) = (Wrk::new("POST", "/_usher/sales/join/join")?, polls("join", &places)?);
    let mut sides = [
        Side::new("join", || joins.round(house.url(), seconds, house.gateway_pid())),
        Side::new("poll", || polls.round(house.url(), seconds, house.gateway_pid())),
    ];
    let played = alternate(&mut sides, rounds)?;
    // A round fails when one join is refused, so what is told here was given without an error.
    let sustained = joins.round(house.url(), sustained_s, house.gateway_pid())?;
    eprintln!("#   sustained      {sustained}");
    let (join, poll) = (&played[0], &played[1]);
    Ok(vec![
        Row::beside("join_vs_poll", "/s", rate(join), rate(poll), ratio(join, poll), Bar::Ratio(0.5)),
        Row::alone("joins_sustained", "/s", sustained.per_s, Bar::None),
    ])
}
