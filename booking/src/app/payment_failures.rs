//! Looks at a payment that fail: counted, so that what fails for ever is seen by a person.
//!
//! A look fails by a defect, by a database that refuses a step, or by a provider that answers questions and not the
//! call that follows. A provider that answers nothing fails no look: that is an outage, told by the breaker. A payment
//! that fails is looked at less and less often, and never left; one whose seats are pending as often as any such, so that
//! no failure keeps them beyond the cap.

use super::payment_steps::PENDING_CHECK_S;
use crate::error::Error;
use crate::passes::chain;
use crate::services::Services;
use crate::storage::alarms::{self, Failing};
use crate::storage::payments::PaymentKey;

const FAILING: Failing = Failing { alarm_after: 5, pending_wait_s: PENDING_CHECK_S, most_wait_s: 300 };

/// Notes that a look failed, and has the payment looked at again. Once in a row of failures a person is called.
pub(super) async fn note(services: &Services, key: &PaymentKey, why: &str) {
    let reference = key.reference();
    match alarms::note_failure(&services.db, key, why, FAILING).await {
        Ok(failures) => {
            tracing::warn!(reference, failures, why, "looking after a payment failed; it is looked at again later");
            if failures == FAILING.alarm_after {
                tracing::error!(reference, failures, why, "a person has to look at a payment: every look at it fails");
                metrics::counter!("usher_booking_payment_alarms_total").increment(1);
            }
        }
        // The lease of whoever looked runs out by itself.
        Err(error) => {
            tracing::warn!(reference, why, error = %chain(&error), "a look failed, which could not be noted");
        }
    }
}

/// Notes that a look succeeded.
///
/// # Errors
/// When the database cannot be had.
pub(super) async fn end(services: &Services, key: &PaymentKey) -> Result<(), Error> {
    if alarms::end_failures(&services.db, key).await? {
        tracing::info!(reference = key.reference(), "a payment that failed again and again goes on");
    }
    Ok(())
}
