//! Booking nodes that die while somebody pays.
//!
//! Owns the moment of a death, which is one at which a payment is open, and the wait until none is any more. Which node
//! dies and when it comes back is the caller's; that a killed process is gone is seen to by [`Node::kill9`](crate::Node).
//! What a death leaves open is finished by the nodes themselves: nothing is done about it here.
//!
//! A look at the database blocks the thread for some milliseconds; between two looks it is free.

use std::time::{Duration, Instant};

use crate::error::{Result, StackError};
use crate::running::Stack;

/// Payments with something left to do: to be decided, or with money to give back.
const OPEN: &str = "select count(*) from payment where state in ('created', 'authorized') or refunded < refund_due";
/// Some payments are open for no longer.
const LOOK_FOR_OPEN_EVERY: Duration = Duration::from_millis(20);
const LOOK_FOR_SETTLED_EVERY: Duration = Duration::from_millis(200);

/// How many payments are open.
///
/// # Errors
/// When the database does not say.
pub fn open(stack: &Stack) -> Result<u64> {
    let answer = stack.sql(OPEN)?;
    answer.parse().map_err(|_| StackError::Answer { doing: "asking how many payments are open".to_owned(), answer })
}

/// Waits until a payment is open, then kills a booking node (`kill -9`). When none is within `patience`, the node is killed
/// all the same. Answers how many were open just before; 0 tells that patience ran out and the death interrupted nothing.
///
/// # Errors
/// When the database does not answer, or the node does not run or will not go.
pub async fn kill_at_payment(stack: &Stack, booking: usize, patience: Duration) -> Result<u64> {
    let begun = Instant::now();
    let mut before = open(stack)?;
    while before == 0 && begun.elapsed() < patience {
        tokio::time::sleep(LOOK_FOR_OPEN_EVERY).await;
        before = open(stack)?;
    }
    stack.booking(booking).node().kill9()?;
    Ok(before)
}

/// Waits until no payment is open.
///
/// # Errors
/// [`StackError::StillOpen`] when one is after `patience`.
pub async fn settled(stack: &Stack, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        let open = open(stack)?;
        if open == 0 {
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err(StackError::StillOpen { open, waited: patience });
        }
        tokio::time::sleep(LOOK_FOR_SETTLED_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Fixture, StackOptions};

    /// A payment that no node looks at.
    const PAY: &str = "set session_replication_role = replica;
        insert into payment (event_id, booking_id, attempt, provider, reference, state, amount, currency, deadline)
        values ('e', gen_random_uuid(), 1, 'sandbox', 'r', 'created', 100, 'EUR', 'infinity')";

    #[tokio::test]
    async fn a_death_waits_for_a_payment_and_settled_for_its_end() {
        let stack = Stack::up(&StackOptions { fixture: Fixture::Empty, ..StackOptions::default() }).unwrap();
        let node = stack.booking(0).node();
        settled(&stack, Duration::ZERO).await.unwrap();
        assert_eq!(kill_at_payment(&stack, 0, Duration::from_millis(100)).await.unwrap(), 0, "nobody paid");
        assert_eq!(node.pid(), None);

        node.spawn().unwrap();
        let mut death = Box::pin(kill_at_payment(&stack, 0, Duration::from_secs(30)));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut death).await;
        assert!(early.is_err() && node.pid().is_some(), "it waits: {early:?}");
        stack.sql(PAY).unwrap();
        assert_eq!(death.await.unwrap(), 1);
        assert_eq!(node.pid(), None);

        let refused = settled(&stack, Duration::from_millis(100)).await.unwrap_err();
        assert!(matches!(refused, StackError::StillOpen { open: 1, .. }), "{refused}");
        stack.sql("update payment set state = 'authorized'").unwrap();
        assert_eq!(open(&stack).unwrap(), 1, "money is still to be taken");
        stack.sql("update payment set state = 'captured', refund_due = 1").unwrap();
        assert_eq!(open(&stack).unwrap(), 1, "money is to be given back");
        stack.sql("update payment set refunded = 1").unwrap();
        settled(&stack, Duration::ZERO).await.unwrap();
    }
}
