-- What organisers do to the stock while it is sold: blocked seats, other prices, larger areas.

-- A blocked seat is sold to nobody: to viewers and takers it is as a sold one (state 3), to the books it is not.
alter table seat add column blocked boolean not null default false;
alter table seat drop constraint seat_shape;
alter table seat add constraint seat_shape check (case state
    when 0 then hold_id is null and booking_id is null and expires_at is null and not blocked
    when 1 then hold_id is not null and booking_id is null and expires_at is not null and not blocked
    when 2 then hold_id is not null and booking_id is not null and expires_at is not null and not blocked
    else expires_at is null and (hold_id is null) = blocked and (booking_id is null) = blocked end);

-- `terms_version` is the version of the last change of prices or capacities: nodes keep them in memory.
alter table event_version add column terms_version bigint not null default 0;

alter table seat_event drop constraint seat_event_op_check;
alter table seat_event add constraint seat_event_op_check check
    (op in ('hold', 'release', 'expire', 'pend', 'unpend', 'sell', 'cancel', 'extend',
            'block', 'unblock', 'reprice', 'enlarge'));

-- Who changed the stock, when, and how; written in the transaction of the change, under its version. Never deleted.
create table stock_change (
    event_id text not null references event,
    version bigint not null,
    at timestamptz not null default clock_timestamp(),
    actor text not null check (actor <> ''),
    request_id text not null,
    action text not null check (action in ('block', 'unblock', 'reprice', 'enlarge')),
    detail jsonb not null,
    primary key (event_id, version)
);
