//! What operators do by hand: announcements, alarms, refunds, cancelled events. Each prints what it did.

use std::time::Duration;

use anyhow::{Context, bail};
use booking::app::cancel_event::{self, cancel_next};
use booking::app::refund_booking::{RefundRequest, refund_booking};
use booking::services::Services;
use booking::storage::bell::{self, Ring};
use booking::storage::cancellations::Progress;
use booking::storage::refunds::Decided;
use booking::storage::{self, alarms, outbox};
use booking_domain::EventId;

use crate::{OutboxCommand, PaymentsCommand};

/// Most rows listed.
const LISTED: i64 = 200;
/// How often the progress of a cancelled event is shown, and how long nothing may move.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
const STUCK_AFTER: Duration = Duration::from_secs(300);

pub(crate) async fn outbox(command: OutboxCommand) -> anyhow::Result<()> {
    match command {
        OutboxCommand::List(config) => {
            let pool = storage::open_for_administration(&config.load()?.database).await?;
            for one in outbox::list(&pool, LISTED).await? {
                let state = if one.is_aside { "aside" } else { "waiting" };
                let error = one.last_error.unwrap_or_default();
                println!("{}\t{state}\t{}\t{}\ttries {}\t{error}", one.seq, one.topic, one.booking_id, one.attempts);
            }
            let (waiting, aside) = outbox::counts(&pool).await?;
            println!("{waiting} waiting, {aside} set aside");
        }
        OutboxCommand::Replay { config, seq } => {
            let pool = storage::open_for_administration(&config.load()?.database).await?;
            println!("{} announcements are tried again", outbox::replay(&pool, seq).await?);
        }
    }
    Ok(())
}

pub(crate) async fn payments(command: PaymentsCommand) -> anyhow::Result<()> {
    match command {
        PaymentsCommand::List(config) => {
            let pool = storage::open_for_administration(&config.load()?.database).await?;
            let alarmed = alarms::list(&pool, LISTED).await?;
            for one in &alarmed {
                let theirs = one.provider_payment.as_deref().unwrap_or("-");
                let (amount, currency) = (one.amount, &one.currency);
                println!(
                    "{}\t{}\t{theirs}\t{}\t{amount} {currency}\t{}",
                    one.reference, one.event_id, one.state, one.why
                );
            }
            println!("{} payments to look at", alarmed.len());
        }
        PaymentsCommand::Seen { config, reference } => {
            let pool = storage::open_for_administration(&config.load()?.database).await?;
            if !alarms::seen(&pool, &reference).await? {
                bail!("{reference} is not on the list");
            }
            println!("{reference} is off the list");
        }
    }
    Ok(())
}

pub(crate) async fn refund(services: &Services, request: RefundRequest) -> anyhow::Result<()> {
    let (amount, booking) = (request.amount, request.booking);
    match refund_booking(services, request).await? {
        Decided::New => println!("{amount} of booking {booking} go back; a node pays them within a second or two"),
        Decided::Before => println!("this refund of booking {booking} was decided before; nothing changed"),
        Decided::TooMuch { left } => bail!("only {left} are left"),
    }
    Ok(())
}

/// Tells the nodes that an event's places changed. Who does not hear it finds it by looking.
async fn ring_for(bell: &sqlx::PgPool, ring: &Ring) {
    let rung = async {
        let mut conn = bell.acquire().await?;
        bell::ring(&mut conn, std::slice::from_ref(ring)).await
    };
    if let Err(error) = rung.await {
        tracing::warn!(%error, "the nodes could not be told; they find it by looking");
    }
}

pub(crate) async fn cancel_event(services: &Services, event: &EventId, reason: &str) -> anyhow::Result<()> {
    let new = cancel_event::cancel_event(services, event, reason).await?;
    // No node: nobody here rings for what changes. Who listens does not know this number as its own.
    let bell = bell::open(&services.config.database)?;
    let ring = Ring { node: rand::random(), event: event.clone(), terms: false };
    println!("{event} {}", if new { "is cancelled" } else { "was cancelled before; going on" });
    let (mut last, mut after) = (None, None);
    let mut moved = std::time::Instant::now();
    loop {
        let now = cancel_next(services, event, &mut after).await;
        let is_still = now.as_ref().is_ok_and(|now| last.is_some_and(|last: Progress| last.cancelled == now.cancelled));
        if !is_still {
            ring_for(&bell, &ring).await;
        }
        let now = now.context("cancelling bookings; start it again to go on")?;
        if last != Some(now) {
            println!("{} cancelled, {} to go, {} refunds on their way", now.cancelled, now.open, now.refunds_due);
            (last, moved) = (Some(now), std::time::Instant::now());
        }
        if now.finished && now.refunds_due == 0 {
            println!("all of {event} is cancelled and paid back");
            return Ok(());
        }
        if moved.elapsed() > STUCK_AFTER {
            bail!("nothing has moved for a while; are nodes running? Start it again to go on");
        }
        tokio::time::sleep(PROGRESS_EVERY).await;
    }
}
