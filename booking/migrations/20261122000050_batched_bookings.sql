-- The ordinary way from hold to payment, for many requests by one call each: see `docs/CHECKOUT.md`. Each function does
-- a request whose rows are exactly as the ordinary case needs them, and leaves all others untouched: those are not among the
-- rows that come back, and go the general way by themselves.
--
-- Locks, in the order of all: keys, owners, holds, bookings and payments are tried and never waited for; seats are locked
-- by number, areas by the bytes of their names, the event's version last. The caller sees to it that within one call each
-- hold, each booking and each key is in one request only.
--
-- States are looked at after the rows were found by their keys: so no index of rows in one state, of which there may be
-- many, is ever walked through.

-- Books live holds. Keys are taken, the answers are kept by the caller in the same transaction.
create function book_batch(
    p_event text, p_currency text,
    -- Request by request; a request without a key has null.
    p_holds uuid[], p_bookings uuid[], p_names text[], p_emails text[], p_equals boolean[], p_policies text[],
    p_actors text[], p_keys text[],
    -- Everybody who asks: the hold has to be of one of them.
    p_owner_requests integer[], p_owners text[]
) returns table (
    request integer, owner text, made_at timestamptz, until timestamptz, fee bigint, tax bigint, total bigint,
    seats integer[], seat_prices bigint[], areas text[], quantities integer[], area_prices bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    n constant integer := cardinality(p_holds);
    -- The owner of the hold, of a request that goes this way.
    found text[] := array_fill(null::text, array[n]);
    untils timestamptz[] := array_fill(null::timestamptz, array[n]);
    now_at timestamptz;
    r record;
begin
    for r in select u.request, h.owner, h.state, h.expires_at from unnest(p_holds) with ordinality as u (hold, request)
             join hold h on h.event_id = p_event and h.hold_id = u.hold for update of h skip locked loop
        if r.state = 'active' and exists (select from unnest(p_owner_requests, p_owners) as o (request, owner)
                                          where o.request = r.request and o.owner = r.owner) then
            found[r.request] := r.owner;
            untils[r.request] := r.expires_at;
        end if;
    end loop;
    for r in select u.request from unnest(p_actors, p_keys) with ordinality as u (actor, key, request)
             where u.key is not null
               and not pg_try_advisory_xact_lock(hashtextextended(u.actor || ' ' || u.key, 1)) loop
        found[r.request] := null;
    end loop;
    -- Statements of their own, so that they see what the former holders of the locks wrote.
    for r in select u.request from unnest(p_actors, p_keys) with ordinality as u (actor, key, request)
             join idempotency known on known.actor = u.actor and known.key = u.key loop
        found[r.request] := null;
    end loop;
    for r in select u.request from unnest(p_holds) with ordinality as u (hold, request)
             join booking b on b.event_id = p_event and b.hold_id = u.hold loop
        found[r.request] := null;
    end loop;
    if exists (select from event_cancellation c where c.event_id = p_event) then
        return;
    end if;
    now_at := clock_timestamp();
    for i in 1 .. n loop
        if untils[i] <= now_at then
            found[i] := null;
        end if;
    end loop;

    insert into booking (event_id, booking_id, hold_id, owner, state, buyer_name, buyer_email, currency, fee, tax, total,
                         accept_equal, refund_policy, created_at)
    select p_event, p_bookings[t.request], p_holds[t.request], found[t.request], 'held', p_names[t.request],
           p_emails[t.request], p_currency, t.fee, t.tax, t.total, p_equals[t.request], p_policies[t.request]::jsonb, now_at
    from (select p.request, sum(p.fee) as fee, sum(p.tax) as tax, sum(p.price) as total
          from (select u.request, s.fee::numeric, s.tax::numeric, s.price::numeric
                from unnest(p_holds, found) with ordinality as u (hold, found, request)
                join hold_seat s on s.event_id = p_event and s.hold_id = u.hold where u.found is not null
                union all
                select u.request, a.fee::numeric * a.quantity, a.tax::numeric * a.quantity, a.price::numeric * a.quantity
                from unnest(p_holds, found) with ordinality as u (hold, found, request)
                join hold_area a on a.event_id = p_event and a.hold_id = u.hold where u.found is not null) p
          group by p.request) t
    where t.total <= 9223372036854775807;
    insert into booking_seat (event_id, booking_id, seat_no, fee, tax, price)
    select p_event, b.booking_id, s.seat_no, s.fee, s.tax, s.price from unnest(p_bookings) as u (booking)
    join booking b on b.event_id = p_event and b.booking_id = u.booking
    join hold_seat s on s.event_id = p_event and s.hold_id = b.hold_id;
    insert into booking_area (event_id, booking_id, area, quantity, fee, tax, price)
    select p_event, b.booking_id, a.area, a.quantity, a.fee, a.tax, a.price from unnest(p_bookings) as u (booking)
    join booking b on b.event_id = p_event and b.booking_id = u.booking
    join hold_area a on a.event_id = p_event and a.hold_id = b.hold_id;

    return query
    select u.request::integer, b.owner, now_at, untils[u.request], b.fee, b.tax, b.total,
           s.seats, s.prices, a.areas, a.quantities, a.prices
    from unnest(p_bookings) with ordinality as u (booking, request)
    join booking b on b.event_id = p_event and b.booking_id = u.booking
    cross join lateral (
        select coalesce(array_agg(x.seat_no order by x.seat_no), '{}') as seats,
               coalesce(array_agg(x.price order by x.seat_no), '{}') as prices
        from booking_seat x where x.event_id = p_event and x.booking_id = u.booking) s
    cross join lateral (
        select coalesce(array_agg(x.area order by x.area), '{}') as areas,
               coalesce(array_agg(x.quantity order by x.area), '{}') as quantities,
               coalesce(array_agg(x.price order by x.area), '{}') as prices
        from booking_area x where x.event_id = p_event and x.booking_id = u.booking) a
    order by u.request;
end
$$;

-- Begins the first payment of bookings that cost something: their places go from held to pending until a deadline, by
-- which somebody looks after the payment. A key is noted as having begun it.
create function begin_batch(
    p_event text, p_provider text, p_pending_s double precision,
    -- Request by request. `p_equals`: what the buyer says of equal places; null leaves what was said before.
    p_bookings uuid[], p_equals boolean[], p_actors text[], p_keys text[], p_hashes bytea[],
    p_owner_requests integer[], p_owners text[]
) returns table (
    request integer, made_at timestamptz, deadline timestamptz, amount bigint, currency text,
    hold_id uuid, seats integer[], areas text[], quantities integer[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    n constant integer := cardinality(p_bookings);
    -- The hold of a request that goes this way, its version counted from the first, and what it costs.
    holds uuid[] := array_fill(null::uuid, array[n]);
    ranks integer[] := array_fill(null::integer, array[n]);
    totals bigint[] := array_fill(null::bigint, array[n]);
    currencies text[] := array_fill(null::text, array[n]);
    candidates uuid[] := array_fill(null::uuid, array[n]);
    seat_requests integer[]; seat_nos integer[];
    area_requests integer[]; area_names text[]; area_quantities integer[];
    now_at timestamptz; until timestamptz; base bigint; won integer := 0;
    r record;
begin
    for r in select u.request from unnest(p_actors, p_keys) with ordinality as u (actor, key, request)
             where u.key is null
                or pg_try_advisory_xact_lock(hashtextextended(u.actor || ' ' || u.key, 1)) loop
        ranks[r.request] := 0;
    end loop;
    for r in select u.request from unnest(p_actors, p_keys) with ordinality as u (actor, key, request)
             join idempotency known on known.actor = u.actor and known.key = u.key loop
        ranks[r.request] := null;
    end loop;
    -- A hold that lapses while it turns to pending is counted by nobody in between.
    for r in select u.request, b.hold_id, b.owner from unnest(p_bookings) with ordinality as u (booking, request)
             join booking b on b.event_id = p_event and b.booking_id = u.booking loop
        if ranks[r.request] = 0
           and exists (select from unnest(p_owner_requests, p_owners) as o (request, owner)
                       where o.request = r.request and o.owner = r.owner)
           and pg_try_advisory_xact_lock(hashtextextended('limit ' || p_event || ' ' || r.owner, 0)) then
            candidates[r.request] := r.hold_id;
        end if;
    end loop;
    for r in select u.request, h.hold_id, h.state, h.expires_at from unnest(candidates) with ordinality as u (hold, request)
             join hold h on h.event_id = p_event and h.hold_id = u.hold for update of h skip locked loop
        if r.state = 'active' and r.expires_at > clock_timestamp() then
            holds[r.request] := r.hold_id;
        end if;
    end loop;
    for r in select u.request, b.state, b.total, b.currency
             from unnest(p_bookings, holds) with ordinality as u (booking, hold, request)
             join booking b on b.event_id = p_event and b.booking_id = u.booking
             where u.hold is not null for update of b skip locked loop
        if r.state = 'held' then
            totals[r.request] := r.total;
            currencies[r.request] := r.currency;
        end if;
    end loop;
    for r in select u.request from unnest(p_bookings) with ordinality as u (booking, request)
             join payment p on p.event_id = p_event and p.booking_id = u.booking loop
        totals[r.request] := null;
    end loop;
    if exists (select from event_cancellation c where c.event_id = p_event) then
        return;
    end if;

    select array_agg(l.request), array_agg(l.seat_no) into seat_requests, seat_nos
    from (select u.request, s.seat_no from unnest(p_bookings, holds, totals) with ordinality as u (booking, hold, total, request)
          join booking_seat b on b.event_id = p_event and b.booking_id = u.booking
          join seat s on s.event_id = p_event and s.seat_no = b.seat_no
          where u.total > 0 and s.state = 1 and s.hold_id = u.hold
          order by s.seat_no for update of s) l;
    if exists (select from unnest(p_bookings, totals) as u (booking, total)
               join booking_area b on b.event_id = p_event and b.booking_id = u.booking where u.total > 0) then
        perform a.area from area a where a.event_id = p_event and a.area = any (
            select b.area from unnest(p_bookings, totals) as u (booking, total)
            join booking_area b on b.event_id = p_event and b.booking_id = u.booking where u.total > 0)
        order by a.area collate "C" for update;
        -- A statement of its own: it sees what the former holder of the lock wrote.
        select array_agg(l.request) filter (where l.state = 1), array_agg(l.area) filter (where l.state = 1),
               array_agg(l.quantity) filter (where l.state = 1) into area_requests, area_names, area_quantities
        from (select u.request, h.area, h.quantity, h.state
              from unnest(p_bookings, holds, totals) with ordinality as u (booking, hold, total, request)
              join booking_area b on b.event_id = p_event and b.booking_id = u.booking
              join hold_area h on h.event_id = p_event and h.hold_id = u.hold and h.area = b.area
              where u.total > 0 and h.quantity = b.quantity) l;
    end if;

    -- Decided: whoever has all places of the booking goes this way.
    for r in select u.request from unnest(p_bookings, totals) with ordinality as u (booking, total, request)
             where u.total > 0
               and (select count(*) from booking_seat b where b.event_id = p_event and b.booking_id = u.booking)
                 = (select count(*) from unnest(seat_requests) as l (request) where l.request = u.request)
               and (select count(*) from booking_area b where b.event_id = p_event and b.booking_id = u.booking)
                 = (select count(*) from unnest(area_requests) as l (request) where l.request = u.request)
             order by u.request loop
        won := won + 1;
        ranks[r.request] := won;
    end loop;
    if won = 0 then
        return;
    end if;
    for i in 1 .. n loop
        if ranks[i] = 0 then
            ranks[i] := null;
        end if;
    end loop;
    now_at := clock_timestamp();
    until := now_at + make_interval(secs => p_pending_s);

    update booking b set state = 'payment_pending', deadline = until, accept_equal = coalesce(u.equal, b.accept_equal)
    from unnest(p_bookings, p_equals, ranks) as u (booking, equal, rank)
    where b.event_id = p_event and b.booking_id = u.booking and u.rank is not null;
    update hold h set state = 'pending' from unnest(holds, ranks) as u (hold, rank)
    where h.event_id = p_event and h.hold_id = u.hold and u.rank is not null;
    insert into payment (event_id, booking_id, attempt, provider, reference, state, amount, currency, deadline, check_at,
                         created_at)
    select p_event, u.booking, 1, p_provider, u.booking::text || '/1', 'created', u.total, u.currency, until, until, now_at
    from unnest(p_bookings, totals, currencies, ranks) as u (booking, total, currency, rank) where u.rank is not null;
    insert into idempotency (actor, key, request_hash, event_id, booking_id, attempt)
    select u.actor, u.key, u.hash, p_event, u.booking, 1
    from unnest(p_actors, p_keys, p_hashes, p_bookings, ranks) as u (actor, key, hash, booking, rank)
    where u.rank is not null and u.key is not null;
    if area_names is not null then
        update hold_area h set state = 2, expires_at = until
        from unnest(area_requests, area_names) as u (request, area)
        where h.event_id = p_event and h.hold_id = holds[u.request] and h.area = u.area and ranks[u.request] is not null;
        update area a set held = a.held - t.quantity, pending = a.pending + t.quantity
        from (select u.area, sum(u.quantity) as quantity from unnest(area_requests, area_names, area_quantities)
                  as u (request, area, quantity) where ranks[u.request] is not null group by u.area) t
        where a.event_id = p_event and a.area = t.area;
    end if;
    -- The one row that all changes of an event share comes last.
    update event_version v set version = v.version + won where v.event_id = p_event returning v.version - won into base;
    if base is null then
        raise exception 'event % has no version', p_event;
    end if;
    update seat s set state = 2, booking_id = p_bookings[u.request], expires_at = until, version = base + ranks[u.request]
    from unnest(seat_requests, seat_nos) as u (request, seat_no)
    where s.event_id = p_event and s.seat_no = u.seat_no and ranks[u.request] is not null;
    return query
    with told as materialized (
        select u.request::integer as request, u.booking, u.hold, u.rank,
               coalesce((select array_agg(l.seat_no order by l.seat_no) from unnest(seat_requests, seat_nos) as l (request, seat_no)
                         where l.request = u.request), '{}') as seats,
               coalesce((select array_agg(l.area order by l.area) from unnest(area_requests, area_names) as l (request, area)
                         where l.request = u.request), '{}') as areas,
               coalesce((select array_agg(l.quantity order by l.area)
                         from unnest(area_requests, area_names, area_quantities) as l (request, area, quantity)
                         where l.request = u.request), '{}') as quantities
        from unnest(p_bookings, holds, ranks) with ordinality as u (booking, hold, rank, request) where u.rank is not null),
    written as (
        insert into seat_event (event_id, version, op, state, seats, areas, hold_id, booking_id, expires_at)
        select p_event, base + t.rank, 'pend', 2, t.seats, coalesce((
                   select jsonb_agg(jsonb_build_object('area', a.area, 'quantity', l.quantity, 'capacity', a.capacity,
                                                       'held', a.held + a.pending, 'sold', a.sold) order by a.area collate "C")
                   from unnest(t.areas, t.quantities) as l (area, quantity)
                   join area a on a.event_id = p_event and a.area = l.area), '[]'), t.hold, t.booking, until
        from told t)
    select t.request, now_at, until, totals[t.request], currencies[t.request], t.hold, t.seats, t.areas, t.quantities
    from told t order by t.request;
end
$$;
