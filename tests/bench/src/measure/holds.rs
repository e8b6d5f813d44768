//! Holds over HTTP to one booking node, fsync on, beside `pgbench` doing a single-row statement on the same server with as
//! many clients: everybody another seat, everybody the same hundred, everybody the floor.
//!
//! A hold of ours is a row of its own with its places, its price and its line in the history; the peer's is one
//! conditional update and nothing else. Both sides share all cores with their load generator.

use anyhow::{Result, ensure};

use crate::Effort;
use crate::counter::Counter;
use crate::rounds::{Side, alternate, median, rate, ratio};
use crate::row::{Bar, Row};
use crate::wrk::{self, Load};

const DISTINCT: Bar = Bar::Ratio(2.0);
const CONTENDED: Bar = Bar::Ratio(10.0);
const P99_MS: Bar = Bar::AtMost(200.0);
/// Seats that everybody wants.
const WANTED: usize = 100;

const SEAT: &str = "\\set n random(0, 59999)
update peer_seat set state = 1, hold_id = gen_random_uuid(), expires_at = clock_timestamp()
where event_id = 'e' and seat_no = :n and (state = 0 or expires_at <= clock_timestamp());
";
const HOT_SEAT: &str = "update peer_seat set state = 1, hold_id = gen_random_uuid(), expires_at = clock_timestamp()
where event_id = 'e' and seat_no = 0;
";
const AREA: &str = "update peer_area set held = held + 1 where event_id = 'e' and held + 1 <= capacity;
";

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    ensure!(wrk::is_there(), "wrk is missing: `sh tests/stack/setup.sh bench` installs it");
    // No round may take more seats than there are.
    let (rounds, seconds) = if effort.quick { (1, 1) } else { (5, 2) };
    let counter = Counter::open()?;
    let seats: Vec<String> = counter.seats()?.into_iter().map(|seat| format!("{{\"seats\":[\"{seat}\"]}}")).collect();
    let floor = ["{\"areas\":[{\"area\":\"floor\",\"quantity\":1}]}".to_owned()];
    let mut rows = Vec::new();
    let mut play = |name, bodies: &[String], peer: &str, bar| -> Result<Vec<Load>> {
        let mut sides = [
            Side::new("ours", || {
                let event = counter.fresh()?;
                let done = counter.holds(&event, bodies, seconds)?;
                eprintln!("#   of them {:.0} held a second", done.held_per_s);
                Ok(done.load)
            }),
            Side::new("pgbench", || counter.pgbench(peer, seconds)),
        ];
        let played = alternate(&mut sides, rounds)?;
        rows.push(Row::beside(name, "/s", rate(&played[0]), rate(&played[1]), ratio(&played[0], &played[1]), bar));
        Ok(played.into_iter().next().unwrap_or_default())
    };
    let p99 = |rounds: &[Load]| median(rounds.iter().map(|load| load.p99_ms).collect());
    let distinct = play("holds_distinct", &seats, SEAT, DISTINCT)?;
    let same = play("holds_same_100", &seats[..WANTED], HOT_SEAT, CONTENDED)?;
    let area = play("holds_area", &floor, AREA, CONTENDED)?;
    rows.push(Row::alone("holds_distinct_p99", "ms", p99(&distinct), P99_MS));
    rows.push(Row::alone("holds_same_100_p99", "ms", p99(&same), P99_MS));
    rows.push(Row::alone("holds_area_p99", "ms", p99(&area), P99_MS));
    Ok(rows)
}
