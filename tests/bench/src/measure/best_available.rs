//! Two of the best seats beside each other, again and again, in a hall of sixty thousand seats of which half are sold in
//! pairs here and there.

use anyhow::{Result, ensure};

use crate::Effort;
use crate::counter::{Counter, SEATS};
use crate::rounds::median;
use crate::row::{Bar, Row};
use crate::wrk;

const CALLS_PER_S: Bar = Bar::AtLeast(1000.0);

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    ensure!(wrk::is_there(), "wrk is missing: `sh tests/stack/setup.sh bench` installs it");
    let (rounds, seconds) = if effort.quick { (1, 1) } else { (5, 2) };
    let counter = Counter::open()?;
    let best = ["{\"best\":{\"quantity\":2}}".to_owned()];
    let (mut calls, mut p99_ms) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let event = counter.fresh()?;
        counter.sql(&format!(
            "update seat set state = 3, hold_id = gen_random_uuid(), booking_id = gen_random_uuid()
             where event_id = '{event}' and hashint4(seat_no / 2) & 1 = 0"
        ))?;
        let sold: usize =
            counter.sql(&format!("select count(*) from seat where event_id = '{event}' and state = 3"))?.parse()?;
        ensure!(sold.abs_diff(SEATS / 2) < SEATS / 50, "{sold} of {SEATS} are sold");
        let done = counter.holds(&event, &best, seconds)?;
        eprintln!("#   {}, of them {:.0} held a second", done.load, done.held_per_s);
        calls.push(done.load.per_s);
        p99_ms.push(done.load.p99_ms);
    }
    Ok(vec![
        Row::alone("best_available", "/s", median(calls), CALLS_PER_S),
        Row::alone("best_available_p99", "ms", median(p99_ms), Bar::AtMost(200.0)),
    ])
}
