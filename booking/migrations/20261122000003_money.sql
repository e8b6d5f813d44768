-- Bookings, payments, tickets, and what makes writes safe to repeat.

create table booking (
    event_id text not null references event,
    booking_id uuid not null,
    hold_id uuid not null,
    owner text not null,
    state text not null check (state in
        ('held', 'payment_pending', 'confirmed', 'failed', 'expired', 'cancelled', 'refunded')),
    buyer_name text not null,
    buyer_email text not null,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    fee bigint not null check (fee >= 0),
    tax bigint not null check (tax >= 0),
    total bigint not null check (total >= fee and total >= tax),
    deadline timestamptz null,           -- of the payment that runs
    created_at timestamptz not null default clock_timestamp(),
    confirmed_at timestamptz null,
    primary key (event_id, booking_id),
    unique (event_id, hold_id),
    foreign key (event_id, hold_id) references hold,
    constraint booking_shape check ((state = 'payment_pending') = (deadline is not null)
        and (state not in ('confirmed', 'refunded') or confirmed_at is not null))
) with (fillfactor = 80);

create index booking_by_owner on booking (owner, created_at desc, booking_id desc);

create table booking_seat (
    event_id text not null,
    booking_id uuid not null,
    seat_no integer not null,
    fee bigint not null,
    tax bigint not null,
    price bigint not null,
    primary key (event_id, booking_id, seat_no),
    foreign key (event_id, booking_id) references booking
);

create table booking_area (
    event_id text not null,
    booking_id uuid not null,
    area text not null,
    quantity integer not null check (quantity >= 1),
    fee bigint not null,
    tax bigint not null,
    price bigint not null,
    primary key (event_id, booking_id, area),
    foreign key (event_id, booking_id) references booking
);

-- One row per attempt; never deleted.
create table payment (
    event_id text not null,
    booking_id uuid not null,
    attempt integer not null check (attempt >= 1),
    provider text not null,
    reference text not null unique,
    provider_payment text null,
    state text not null check (state in
        ('created', 'authorized', 'declined', 'captured', 'voided', 'failed', 'refunded')),
    amount bigint not null check (amount >= 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    decline_reason text null,
    deadline timestamptz not null,       -- past it, an unknown payment counts as never made
    check_at timestamptz null,           -- when the reconciler looks at it next; null = nothing is open
    checks integer not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    primary key (event_id, booking_id, attempt),
    unique (provider, provider_payment),
    foreign key (event_id, booking_id) references booking
) with (fillfactor = 80);

create unique index payment_one_live on payment (event_id, booking_id)
    where state in ('created', 'authorized', 'captured');
create index payment_to_check on payment (check_at) where check_at is not null;

create table ticket (
    event_id text not null,
    booking_id uuid not null,
    ticket_id uuid not null,
    seat_no integer null,
    area text null,
    code text not null unique,
    state text not null default 'valid' check (state in ('valid', 'void')),
    issued_at timestamptz not null default clock_timestamp(),
    primary key (event_id, ticket_id),
    foreign key (event_id, booking_id) references booking,
    check ((seat_no is null) <> (area is null))
);

create index ticket_by_booking on ticket (event_id, booking_id);
-- The backstop of everything: no seat has two tickets that open the door.
create unique index ticket_one_per_seat on ticket (event_id, seat_no) where state = 'valid' and seat_no is not null;

-- What other parts shall learn, in order per booking.
create table outbox (
    seq bigint generated always as identity primary key,
    event_id text not null,
    booking_id uuid not null,
    topic text not null,
    payload jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    attempts integer not null default 0,
    delivered_at timestamptz null
);

create index outbox_open on outbox (seq) where delivered_at is null;

-- Answers kept for repeated requests, written in the transaction of their effect. A null status is a
-- confirmation whose payment is not settled: it is answered from the state of that attempt.
create table idempotency (
    actor text not null,
    key text not null check (length(key) between 1 and 255),
    request_hash bytea not null check (length(request_hash) = 32),
    event_id text null,
    booking_id uuid null,
    attempt integer null,
    status smallint null,
    headers jsonb null,
    body bytea null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (actor, key),
    check ((status is null) = (body is null) and (status is null) = (headers is null)),
    check (status is not null or attempt is not null),
    check (status is null or status < 500)
);

create index idempotency_by_age on idempotency (created_at);
