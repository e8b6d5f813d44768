-- Refunds, late money, callbacks, the delivery of announcements, cancelled events.

alter table event
    add column refund_policy jsonb null;     -- tiers of what comes back; null = all until cancel_until_s before the start

alter table booking
    add column sold_attempt integer null,    -- the attempt that bought it; late money may make it an earlier one than the last
    add column accept_equal boolean not null default false, -- late money may buy equal seats
    add column refund_policy jsonb null;     -- the event's, as it was on the day of booking

update booking b set sold_attempt = (select max(attempt) from payment p
    where (p.event_id, p.booking_id) = (b.event_id, b.booking_id)) where confirmed_at is not null;

alter table payment
    add column refund_due bigint not null default 0,   -- all refunds that were decided
    add column refunded bigint not null default 0,     -- those of them that went back
    add column late_tried boolean not null default false, -- it came late, and was tried on the places
    add column alarm text null,                        -- why a person has to look at it
    add column alarmed_at timestamptz null,
    add constraint payment_refunds check (0 <= refunded and refunded <= refund_due and refund_due <= amount),
    add constraint payment_alarm check ((alarm is null) = (alarmed_at is null));

create index payment_alarmed on payment (alarmed_at) where alarm is not null;

-- One row per refund that was decided; never deleted. Their sum is payment.refund_due.
create table refund (
    event_id text not null,
    booking_id uuid not null,
    attempt integer not null,
    refund integer not null check (refund >= 1),
    amount bigint not null check (amount > 0),
    reason text not null,
    request text not null,                   -- what asked for it: the same request is the same refund
    state text not null default 'due' check (state in ('due', 'done', 'moot')),
    created_at timestamptz not null default clock_timestamp(),
    done_at timestamptz null,
    primary key (event_id, booking_id, attempt, refund),
    unique (event_id, booking_id, attempt, request),
    foreign key (event_id, booking_id, attempt) references payment,
    check ((state = 'due') = (done_at is null))
);

-- Callbacks of providers: taken once per event of the provider, worked off apart.
create table provider_event (
    provider text not null,
    provider_event text not null,
    reference text null,
    provider_payment text null,
    received_at timestamptz not null default clock_timestamp(),
    due_at timestamptz null default clock_timestamp(), -- null = done
    tries integer not null default 0,
    primary key (provider, provider_event)
);

create index provider_event_due on provider_event (due_at) where due_at is not null;
create index provider_event_by_age on provider_event (received_at);

alter table outbox
    add column due_at timestamptz not null default clock_timestamp(),
    add column quarantined_at timestamptz null,
    add column last_error text null;

drop index outbox_open;
create index outbox_open on outbox (event_id, booking_id, seq) where delivered_at is null;
create index outbox_due on outbox (due_at) where delivered_at is null and quarantined_at is null;
create index outbox_quarantined on outbox (seq) where quarantined_at is not null;

-- Events that do not take place: all their bookings are cancelled and paid back, in batches.
create table event_cancellation (
    event_id text primary key references event,
    reason text not null,
    requested_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null default clock_timestamp(),
    cancelled bigint not null default 0,
    finished_at timestamptz null
);

create index booking_open_by_event on booking (event_id, booking_id)
    where state in ('held', 'payment_pending', 'confirmed');
