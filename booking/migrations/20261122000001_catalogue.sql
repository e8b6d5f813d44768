-- The catalogue: venues, events, plans, price categories. Written by imports, read by everybody.

create table venue (
    venue_id text primary key check (venue_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name text not null,
    city text not null,
    time_zone text not null
);

-- A seating plan as it was imported; immutable, named by the digest of its bytes.
create table plan (
    plan_digest text primary key check (plan_digest ~ '^[0-9a-f]{64}$'),
    document text not null,
    imported_at timestamptz not null default clock_timestamp()
);

create table event (
    event_id text primary key check (event_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name text not null,
    venue_id text not null references venue,
    category text not null,
    performers text[] not null,
    sale text null,                      -- the waiting room that guards it; null = nobody does
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    starts_at timestamptz not null,
    doors_at timestamptz null,
    ends_at timestamptz null,
    cancel_until_s bigint not null check (cancel_until_s >= 0), -- before the start, buyers may cancel until then
    fee bigint not null check (fee >= 0),
    tax_bp integer not null check (tax_bp between 0 and 10000),
    plan_digest text null references plan,
    focal_x double precision null,
    focal_y double precision null,
    seat_count integer not null check (seat_count >= 0),
    import_digest text not null,         -- of everything imported: importing the same again changes nothing
    search text not null,                -- lower-case words of name, performers, venue, city
    imported_at timestamptz not null default clock_timestamp(),
    check ((plan_digest is null) = (seat_count = 0))
);

create index event_by_start on event (starts_at, event_id);

create table price_category (
    event_id text not null references event,
    category text not null,
    ordinal integer not null,
    color text null,
    face bigint not null check (face >= 0),
    fee bigint not null check (fee >= 0),
    tax bigint not null check (tax >= 0),
    price bigint not null check (price = face + fee and tax <= price),
    primary key (event_id, category)
);

create table section (
    event_id text not null references event,
    section text not null,
    ordinal integer not null,
    primary key (event_id, section)
);
