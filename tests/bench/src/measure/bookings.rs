//! Bookings from end to end: hold a seat, book it, pay with the sandbox provider, be confirmed; three requests of a fan, two
//! calls to the provider, everything on disk. Node, Postgres, provider and fans share all cores.

use std::sync::Arc;

use anyhow::Result;

use crate::Effort;
use crate::counter::Counter;
use crate::rounds::median;
use crate::row::{Bar, Row};
use crate::till::sell;

const PER_S: Bar = Bar::AtLeast(700.0);

pub(super) fn measure(effort: Effort) -> Result<Vec<Row>> {
    let (rounds, seconds) = if effort.quick { (1, 3) } else { (3, 10) };
    let counter = Counter::open()?;
    let seats = Arc::new(counter.seats()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut per_s, mut p99_ms) = (Vec::new(), Vec::new());
    // One more to warm up.
    for round in 0..=rounds {
        let event = counter.fresh()?;
        counter.warm_up(&event)?;
        let sold = runtime.block_on(sell(&counter, &event, &seats, if round == 0 { 2 } else { seconds }))?;
        if round > 0 {
            per_s.push(sold.per_s);
            p99_ms.push(sold.p99_ms);
        }
    }
    Ok(vec![
        Row::alone("bookings", "/s", median(per_s), PER_S),
        Row::alone("bookings_p99", "ms", median(p99_ms), Bar::None),
    ])
}
