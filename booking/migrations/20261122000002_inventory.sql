-- Seats, areas and holds. The first column is the event everywhere, so that tables can be distributed by it.
-- Times are the database's clock_timestamp().

-- 0 free, 1 held, 2 pending, 3 sold. One row per seat: two owners at once cannot be written down.
create table seat (
    event_id text not null references event,
    seat_no integer not null check (seat_no >= 0),
    seat text not null,
    section text not null,
    "row" text not null,
    number text not null,
    category text not null,
    attributes text[] not null default '{}',
    state smallint not null default 0 check (state between 0 and 3),
    hold_id uuid null,
    booking_id uuid null,
    expires_at timestamptz null,
    version bigint not null default 0,   -- of the event's change that touched it last
    primary key (event_id, seat_no),
    unique (event_id, seat),
    foreign key (event_id, section) references section,
    foreign key (event_id, category) references price_category,
    constraint seat_shape check (case state
        when 0 then hold_id is null and booking_id is null and expires_at is null
        when 1 then hold_id is not null and booking_id is null and expires_at is not null
        when 2 then hold_id is not null and booking_id is not null and expires_at is not null
        else hold_id is not null and booking_id is not null and expires_at is null end)
) with (fillfactor = 80);

-- General admission: a counter per area.
create table area (
    event_id text not null references event,
    area text not null,
    name text not null,
    ordinal integer not null,
    category text null,
    capacity integer not null check (capacity >= 1),
    held integer not null default 0 check (held >= 0),
    pending integer not null default 0 check (pending >= 0),
    sold integer not null default 0 check (sold >= 0),
    face bigint not null check (face >= 0),
    fee bigint not null check (fee >= 0),
    tax bigint not null check (tax >= 0),
    price bigint not null check (price = face + fee and tax <= price),
    primary key (event_id, area),
    constraint area_not_oversold check (held + pending + sold <= capacity)
) with (fillfactor = 50);

-- The event's version: the number of its last committed change. Bumped last in every transaction, so that
-- versions become visible in their order and without gaps.
create table event_version (
    event_id text primary key references event,
    version bigint not null default 0
) with (fillfactor = 50);

create table hold (
    event_id text not null references event,
    hold_id uuid not null,
    owner text not null,
    state text not null check (state in ('active', 'pending', 'consumed', 'released', 'expired')),
    expires_at timestamptz not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (event_id, hold_id)
) with (fillfactor = 80);

create index hold_by_owner on hold (event_id, owner) where state in ('active', 'pending');
create index hold_by_expiry on hold (expires_at) where state = 'active';

-- Prices are copied when a place is held: what was shown is what is paid.
create table hold_seat (
    event_id text not null,
    hold_id uuid not null,
    seat_no integer not null,
    fee bigint not null check (fee >= 0),
    tax bigint not null check (tax >= 0),
    price bigint not null check (price >= fee and price >= tax),
    primary key (event_id, hold_id, seat_no),
    foreign key (event_id, hold_id) references hold
);

-- What a hold has of an area. `state` is what the area's counters count it as, like a seat's; changed only
-- under the lock of the area's row.
create table hold_area (
    event_id text not null,
    hold_id uuid not null,
    area text not null,
    quantity integer not null check (quantity >= 1),
    state smallint not null check (state between 0 and 3),
    expires_at timestamptz null,
    fee bigint not null check (fee >= 0),
    tax bigint not null check (tax >= 0),
    price bigint not null check (price >= fee and price >= tax),
    primary key (event_id, hold_id, area),
    foreign key (event_id, hold_id) references hold,
    foreign key (event_id, area) references area,
    constraint hold_area_shape check ((state in (1, 2)) = (expires_at is not null))
);

create index hold_area_by_expiry on hold_area (event_id, area, expires_at) where state = 1;

-- Every change of seats and areas, written in the same transaction: what viewers follow and auditors read.
create table seat_event (
    event_id text not null,
    version bigint not null,
    at timestamptz not null default clock_timestamp(),
    op text not null check (op in ('hold', 'release', 'expire', 'pend', 'unpend', 'sell', 'cancel')),
    state smallint not null check (state between 0 and 3),
    seats integer[] not null,
    areas jsonb not null,
    hold_id uuid null,
    booking_id uuid null,
    primary key (event_id, version)
);
