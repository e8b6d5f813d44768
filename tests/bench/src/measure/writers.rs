//! Four ways of holding a seat in one event on one box: an advisory lock and a count, `SKIP LOCKED`, one conditional
//! update per request, each by `pgbench` with as many clients and without HTTP; and ours, over HTTP.
//!
//! Each takes a seat and writes a hold beside it, which is looked at after every round. The first two give any seat, as
//! shops without seat maps do; the others the one that was asked for.

use anyhow::{Result, ensure};

use crate::Effort;
use crate::counter::Counter;
use crate::rounds::{Side, alternate, rate, ratio};
use crate::row::{Bar, Row};
use crate::wrk;

/// Counts what is free of a section, as a shop without counters does, and takes the first of it, under one lock for the
/// event. Holds lapse so soon that the section is never sold out, at ten thousand a second.
const ADVISORY: &str = "begin;
select pg_advisory_xact_lock(1);
with free as (select count(*) as seats, min(seat_no) as seat_no from peer_seat
              where event_id = 'e' and seat_no < 1000 and expires_at <= clock_timestamp()),
    held as (update peer_seat s set state = 1, expires_at = clock_timestamp() + interval '100 ms', hold_id = gen_random_uuid()
             from free where free.seats > 0 and s.event_id = 'e' and s.seat_no = free.seat_no
             returning s.hold_id, s.seat_no)
insert into peer_hold select 'e', hold_id, seat_no, clock_timestamp() from held;
commit;
";
const SKIP_LOCKED: &str = "with free as (select seat_no from peer_seat where event_id = 'e' and expires_at <= clock_timestamp()
                order by seat_no limit 1 for update skip locked),
    held as (update peer_seat s set state = 1, expires_at = clock_timestamp() + interval '3 s', hold_id = gen_random_uuid()
             from free where s.event_id = 'e' and s.seat_no = free.seat_no returning s.hold_id, s.seat_no)
insert into peer_hold select 'e', hold_id, seat_no, clock_timestamp() from held;
";
const CONDITIONAL: &str = "\\set n random(0, 59999)
with held as (update peer_seat set state = 1, hold_id = gen_random_uuid(), expires_at = clock_timestamp()
              where event_id = 'e' and seat_no = :n and expires_at <= clock_timestamp() returning hold_id, seat_no)
insert into peer_hold select 'e', hold_id, seat_no, clock_timestamp() from held;
";

/// Of its tries a peer must hold so many. Their number follows from a rate that leaves out the time to connect, which on a
/// busy machine is a good part of a short round; a peer that takes no seats holds none.
const HELD: f64 = 0.5;

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    ensure!(wrk::is_there(), "wrk is missing: `sh tests/stack/setup.sh bench` installs it");
    let (rounds, seconds) = if effort.quick { (1, 1) } else { (5, 2) };
    let counter = Counter::open()?;
    let seats: Vec<String> = counter.seats()?.into_iter().map(|seat| format!("{{\"seats\":[\"{seat}\"]}}")).collect();
    let peer = |script: &'static str| {
        let counter = &counter;
        move || {
            counter.sql("truncate peer_hold; update peer_seat set state = 0, expires_at = 'epoch'")?;
            counter.sql("vacuum peer_seat")?;
            let load = counter.pgbench(script, seconds)?;
            let held: f64 = counter.sql("select count(*) from peer_hold where seat_no is not null")?.parse()?;
            ensure!(held >= load.requests * HELD, "the peer held {held} seats in {} tries", load.requests);
            Ok(load)
        }
    };
    let mut sides = [
        Side::new("ours", || {
            let event = counter.fresh()?;
            Ok(counter.holds(&event, &seats, seconds)?.load)
        }),
        Side::new("advisory lock", peer(ADVISORY)),
        Side::new("skip locked", peer(SKIP_LOCKED)),
        Side::new("conditional", peer(CONDITIONAL)),
    ];
    let played = alternate(&mut sides, rounds)?;
    let names = ["writers_vs_advisory_lock", "writers_vs_skip_locked", "writers_vs_conditional_update"];
    let ours = &played[0];
    let rows = names.into_iter().zip(&played[1..]);
    Ok(rows.map(|(name, peer)| Row::beside(name, "/s", rate(ours), rate(peer), ratio(ours, peer), Bar::None)).collect())
}
