//! The invariants of the tables, each one query that must find nothing.

use sqlx::{PgPool, Row};

const RULES: &[(&str, &str)] = &[
    (
        "versions have no gaps",
        "select v.event_id, v.version, count(e.version) from event_version v left join seat_event e using (event_id)
         group by 1, 2 having count(e.version) <> v.version or coalesce(max(e.version), 0) <> v.version",
    ),
    (
        "every seat is what its history says",
        "select s.event_id, s.seat_no, s.state, h.state from seat s left join lateral (
             select e.state from seat_event e where e.event_id = s.event_id and s.seat_no = any(e.seats)
             order by version desc limit 1) h on true
         where s.state <> coalesce(h.state, 0)",
    ),
    (
        "every seat moves by legal steps",
        "with steps as (
             select e.event_id, seat_no, version, op, lag(op) over (partition by e.event_id, seat_no order by version) as before
             from seat_event e, unnest(seats) as seat_no)
         select * from steps where not case op
             when 'hold' then before is null or before in ('release', 'expire', 'cancel', 'unblock')
             when 'block' then before is null or before in ('release', 'expire', 'cancel', 'unblock')
             when 'unblock' then before = 'block'
             when 'release' then before in ('hold', 'unpend', 'extend')
             when 'expire' then before in ('hold', 'unpend', 'extend')
             when 'pend' then before in ('hold', 'unpend', 'extend')
             when 'extend' then before in ('hold', 'unpend', 'extend')
             when 'unpend' then before = 'pend'
             when 'sell' then before = 'pend'
             else before = 'sell' end",
    ),
    (
        "areas count what holds have of them",
        "select a.event_id, a.area from area a left join hold_area h using (event_id, area)
         group by a.event_id, a.area, a.held, a.pending, a.sold
         having a.held <> coalesce(sum(quantity) filter (where state = 1), 0)
             or a.pending <> coalesce(sum(quantity) filter (where state = 2), 0)
             or a.sold <> coalesce(sum(quantity) filter (where state = 3), 0)",
    ),
    (
        "a taken seat is in its hold's list",
        "select s.* from seat s left join hold_seat h using (event_id, hold_id, seat_no)
         where s.state <> 0 and not s.blocked and h.seat_no is null",
    ),
    (
        "seats of a booking are in the state of the booking",
        "select b.booking_id, b.state, s.state from booking b join booking_seat bs using (event_id, booking_id)
             left join seat s on s.event_id = b.event_id and s.seat_no = bs.seat_no and s.booking_id = b.booking_id
         where case b.state when 'confirmed' then s.state is distinct from 3
                            when 'payment_pending' then s.state is distinct from 2
                            else s.state is not null end",
    ),
    (
        "a confirmed booking has a ticket for each place, others have none",
        "select b.booking_id, b.state from booking b
         where (select count(*) from ticket t where t.event_id = b.event_id and t.booking_id = b.booking_id
                and t.state = 'valid')
            <> case when b.state = 'confirmed' then
                  (select count(*) from booking_seat s where s.event_id = b.event_id and s.booking_id = b.booking_id)
                + (select coalesce(sum(quantity), 0) from booking_area a
                   where a.event_id = b.event_id and a.booking_id = b.booking_id)
               else 0 end",
    ),
    (
        "a total is the sum of its places",
        "select b.booking_id from booking b
         where total <> (select coalesce(sum(price), 0) from booking_seat s
                         where s.event_id = b.event_id and s.booking_id = b.booking_id)
                      + (select coalesce(sum(price * quantity), 0) from booking_area a
                         where a.event_id = b.event_id and a.booking_id = b.booking_id)",
    ),
    (
        "a confirmed booking has its money, others have given it back",
        "select b.booking_id, b.state from booking b
         where (select count(*) from payment p where p.event_id = b.event_id and p.booking_id = b.booking_id
                and p.state in ('authorized', 'captured') and p.amount = b.total
                -- What the policy lets the organiser keep.
                and not (b.state in ('cancelled', 'refunded') and p.state = 'captured' and p.attempt = b.sold_attempt
                         and p.refund_due < p.amount and p.refunded = p.refund_due))
            <> case when b.state = 'confirmed' then 1 else 0 end and b.state <> 'payment_pending'",
    ),
    (
        "a payment owes what its refunds say, and never more than it took",
        "select p.reference from payment p left join refund r using (event_id, booking_id, attempt)
         group by p.reference, p.amount, p.refund_due, p.refunded
         having p.refund_due <> coalesce(sum(r.amount), 0)
             or p.refunded <> coalesce(sum(r.amount) filter (where r.state = 'done'), 0) or p.refund_due > p.amount",
    ),
    (
        "what is owed is looked after",
        "select p.reference from payment p where p.state = 'captured' and p.refunded < p.refund_due and p.check_at is null",
    ),
    (
        "a pending booking has an open payment, whose end somebody looks after",
        "select b.booking_id from booking b where b.state = 'payment_pending' and not exists (
             select from payment p where p.event_id = b.event_id and p.booking_id = b.booking_id
             and p.state = 'created' and p.check_at is not null)",
    ),
];

/// Checks all rules.
pub(crate) async fn check(pool: &PgPool) {
    for (rule, query) in RULES {
        let broken = sqlx::query(sqlx::AssertSqlSafe(*query)).fetch_all(pool).await.unwrap();
        assert!(broken.is_empty(), "{rule}: {} rows, of {} columns", broken.len(), broken[0].len());
    }
}
