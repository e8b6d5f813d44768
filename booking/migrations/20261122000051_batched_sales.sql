-- The ordinary end of a payment, for many by one call each; see the file before this one for what holds of all of them.
-- What is decided about a payment the rules in `booking/domain` decide, by the facts that are handed over here; a payment of which
-- the facts under lock are others is left untouched.

-- Sells the pending places of payments that were just made and that the provider has authorised in full: sale, tickets and
-- announcement.
create function sell_batch(
    p_event text, p_check_s double precision,
    -- Request by request; tickets name their request.
    p_bookings uuid[], p_holds uuid[], p_attempts integer[], p_amounts bigint[], p_currencies text[],
    p_provider_payments text[],
    -- Ticket by ticket: whose, for which seat or area.
    p_ticket_requests integer[], p_tickets uuid[], p_ticket_seats integer[], p_ticket_areas text[], p_codes text[]
) returns table (
    request integer, made_at timestamptz, owner text, buyer_name text, buyer_email text, fee bigint, tax bigint,
    accept_equal boolean, refund_policy jsonb, created_at timestamptz, hold_expires_at timestamptz,
    seats integer[], seat_prices bigint[], areas text[], quantities integer[], area_prices bigint[]
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    n constant integer := cardinality(p_bookings);
    -- How far a request has come: 1 its hold, 2 its booking, 3 its payment is locked and as it has to be.
    come integer[] := array_fill(0, array[n]);
    ranks integer[] := array_fill(null::integer, array[n]);
    seat_requests integer[]; seat_nos integer[];
    area_requests integer[]; area_names text[]; area_quantities integer[];
    now_at timestamptz; base bigint; won integer := 0;
    r record;
begin
    for r in select u.request, h.state from unnest(p_holds) with ordinality as u (hold, request)
             join hold h on h.event_id = p_event and h.hold_id = u.hold for update of h skip locked loop
        if r.state = 'pending' then
            come[r.request] := 1;
        end if;
    end loop;
    for r in select u.request, b.state from unnest(p_bookings, p_holds) with ordinality as u (booking, hold, request)
             join booking b on b.event_id = p_event and b.booking_id = u.booking
             where b.hold_id = u.hold for update of b skip locked loop
        if r.state = 'payment_pending' then
            come[r.request] := come[r.request] + 1;
        end if;
    end loop;
    for r in select u.request, p.state, p.refund_due, p.refunded, p.late_tried
             from unnest(p_bookings, p_attempts, p_amounts, p_currencies)
                 with ordinality as u (booking, attempt, amount, currency, request)
             join payment p on p.event_id = p_event and p.booking_id = u.booking and p.attempt = u.attempt
             where p.amount = u.amount and p.currency = u.currency for update of p skip locked loop
        if r.state = 'created' and r.refund_due = 0 and r.refunded = 0 and not r.late_tried then
            come[r.request] := come[r.request] + 1;
        end if;
    end loop;

    select array_agg(l.request), array_agg(l.seat_no) into seat_requests, seat_nos
    from (select u.request, s.seat_no from unnest(p_ticket_requests, p_ticket_seats) as u (request, seat_no)
          join seat s on s.event_id = p_event and s.seat_no = u.seat_no
          join booking_seat b on b.event_id = p_event and b.booking_id = p_bookings[u.request] and b.seat_no = u.seat_no
          where come[u.request] = 3 and s.state = 2 and s.hold_id = p_holds[u.request]
            and s.booking_id = p_bookings[u.request]
          order by s.seat_no for update of s) l;
    if exists (select from unnest(p_ticket_areas) as u (area) where u.area is not null) then
        perform a.area from area a where a.event_id = p_event and a.area = any (p_ticket_areas)
        order by a.area collate "C" for update;
        -- A statement of its own: it sees what the former holder of the lock wrote.
        select array_agg(l.request order by l.request), array_agg(l.area order by l.request),
               array_agg(l.quantity order by l.request) into area_requests, area_names, area_quantities
        from (select u.request, u.area, u.quantity
              from (select t.request, t.area, count(*)::integer as quantity from unnest(p_ticket_requests, p_ticket_areas) as t (request, area)
                    where t.area is not null and come[t.request] = 3 group by t.request, t.area) u
              join booking_area b on b.event_id = p_event and b.booking_id = p_bookings[u.request] and b.area = u.area
              join hold_area h on h.event_id = p_event and h.hold_id = p_holds[u.request] and h.area = u.area
              where b.quantity = u.quantity and h.quantity = u.quantity and h.state = 2) l;
    end if;

    -- Decided: whoever has all places of the booking, and a ticket for each and no other, goes this way.
    for r in select u.request from unnest(p_bookings) with ordinality as u (booking, request)
             where come[u.request] = 3
               and (select count(*) from booking_seat b where b.event_id = p_event and b.booking_id = u.booking)
                 = (select count(*) from unnest(seat_requests) as l (request) where l.request = u.request)
               and (select count(*) from booking_area b where b.event_id = p_event and b.booking_id = u.booking)
                 = (select count(*) from unnest(area_requests) as l (request) where l.request = u.request)
               and (select count(*) from unnest(p_ticket_requests) as t (request) where t.request = u.request)
                 = (select count(*) from unnest(seat_requests) as l (request) where l.request = u.request)
                 + (select coalesce(sum(l.quantity), 0) from unnest(area_requests, area_quantities) as l (request, quantity)
                    where l.request = u.request)
             order by u.request loop
        won := won + 1;
        ranks[r.request] := won;
    end loop;
    if won = 0 then
        return;
    end if;
    now_at := clock_timestamp();

    update payment p set state = 'authorized', provider_payment = coalesce(u.provider_payment, p.provider_payment),
           check_at = now_at + make_interval(secs => p_check_s), checks = 0
    from unnest(p_bookings, p_attempts, p_provider_payments, ranks) as u (booking, attempt, provider_payment, rank)
    where p.event_id = p_event and p.booking_id = u.booking and p.attempt = u.attempt and u.rank is not null;
    update booking b set state = 'confirmed', sold_attempt = u.attempt, deadline = null, confirmed_at = now_at
    from unnest(p_bookings, p_attempts, ranks) as u (booking, attempt, rank)
    where b.event_id = p_event and b.booking_id = u.booking and u.rank is not null;
    update hold h set state = 'consumed' from unnest(p_holds, ranks) as u (hold, rank)
    where h.event_id = p_event and h.hold_id = u.hold and u.rank is not null;
    insert into ticket (event_id, booking_id, ticket_id, seat_no, area, code)
    select p_event, p_bookings[t.request], t.ticket, t.seat_no, t.area, t.code
    from unnest(p_ticket_requests, p_tickets, p_ticket_seats, p_ticket_areas, p_codes) as t (request, ticket, seat_no, area, code)
    where ranks[t.request] is not null;
    insert into outbox (event_id, booking_id, topic, payload)
    select p_event, u.booking, 'booking.confirmed', jsonb_build_object('event', p_event, 'booking', u.booking, 'tickets', (
               select count(*) from unnest(p_ticket_requests) as t (request) where t.request = u.request))
    from unnest(p_bookings, ranks) with ordinality as u (booking, rank, request) where u.rank is not null order by u.request;
    if area_names is not null then
        update hold_area h set state = 3, expires_at = null
        from unnest(area_requests, area_names) as u (request, area)
        where h.event_id = p_event and h.hold_id = p_holds[u.request] and h.area = u.area and ranks[u.request] is not null;
        update area a set pending = a.pending - t.quantity, sold = a.sold + t.quantity
        from (select u.area, sum(u.quantity) as quantity from unnest(area_requests, area_names, area_quantities)
                  as u (request, area, quantity) where ranks[u.request] is not null group by u.area) t
        where a.event_id = p_event and a.area = t.area;
    end if;
    -- The one row that all changes of an event share comes last.
    update event_version v set version = v.version + won where v.event_id = p_event returning v.version - won into base;
    if base is null then
        raise exception 'event % has no version', p_event;
    end if;
    update seat s set state = 3, expires_at = null, version = base + ranks[u.request]
    from unnest(seat_requests, seat_nos) as u (request, seat_no)
    where s.event_id = p_event and s.seat_no = u.seat_no and ranks[u.request] is not null;
    insert into seat_event (event_id, version, op, state, seats, areas, hold_id, booking_id)
    select p_event, base + u.rank, 'sell', 3,
           coalesce((select array_agg(l.seat_no order by l.seat_no) from unnest(seat_requests, seat_nos) as l (request, seat_no)
                     where l.request = u.request), '{}'),
           -- The counters after each sale, from those after the last one.
           coalesce((select jsonb_agg(jsonb_build_object(
                         'area', a.area, 'quantity', l.quantity, 'capacity', a.capacity,
                         'held', a.held + a.pending + later.places, 'sold', a.sold - later.places) order by a.area collate "C")
                     from unnest(area_requests, area_names, area_quantities) as l (request, area, quantity)
                     join area a on a.event_id = p_event and a.area = l.area
                     cross join lateral (
                         select coalesce(sum(x.quantity), 0) as places
                         from unnest(area_requests, area_names, area_quantities) as x (request, area, quantity)
                         where x.area = l.area and ranks[x.request] > u.rank) later
                     where l.request = u.request), '[]'),
           u.hold, u.booking
    from unnest(p_bookings, p_holds, ranks) with ordinality as u (booking, hold, rank, request) where u.rank is not null;

    return query
    select u.request::integer, now_at, b.owner, b.buyer_name, b.buyer_email, b.fee, b.tax, b.accept_equal, b.refund_policy,
           b.created_at, h.expires_at,
           s.seats, s.prices, a.areas, a.quantities, a.prices
    from unnest(p_bookings, p_holds, ranks) with ordinality as u (booking, hold, rank, request)
    join booking b on b.event_id = p_event and b.booking_id = u.booking
    join hold h on h.event_id = p_event and h.hold_id = u.hold
    cross join lateral (
        select coalesce(array_agg(x.seat_no order by x.seat_no), '{}') as seats,
               coalesce(array_agg(x.price order by x.seat_no), '{}') as prices
        from booking_seat x where x.event_id = p_event and x.booking_id = u.booking) s
    cross join lateral (
        select coalesce(array_agg(x.area order by x.area), '{}') as areas,
               coalesce(array_agg(x.quantity order by x.area), '{}') as quantities,
               coalesce(array_agg(x.price order by x.area), '{}') as prices
        from booking_area x where x.event_id = p_event and x.booking_id = u.booking) a
    where u.rank is not null order by u.request;
end
$$;

-- Writes down that the money of sales that stand is ours, of which nothing is to go back, and keeps the answers to the
-- requests that paid for them. Tells which it did.
create function finish_batch(
    p_event text, p_bookings uuid[], p_attempts integer[], p_provider_payments text[],
    -- Null where there is no key.
    p_actors text[], p_keys text[], p_hashes bytea[], p_statuses smallint[], p_headers text[], p_bodies bytea[]
) returns table (request integer) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    locked integer[]; done integer[];
begin
    select array_agg(l.request) filter (where l.state = 'authorized' and l.refund_due = 0 and l.refunded = 0) into locked
    from (select u.request, p.state, p.refund_due, p.refunded
          from unnest(p_bookings, p_attempts) with ordinality as u (booking, attempt, request)
          join payment p on p.event_id = p_event and p.booking_id = u.booking and p.attempt = u.attempt
          for update of p skip locked) l;
    -- A statement of its own: whoever cancels a booking writes it before they lock its payment, so either this sees it, or
    -- they see the payment as captured.
    select array_agg(u.request) filter (where b.state = 'confirmed' and b.sold_attempt = p_attempts[u.request]) into done
    from unnest(locked) as u (request)
    join booking b on b.event_id = p_event and b.booking_id = p_bookings[u.request];
    if done is null then
        return;
    end if;
    update payment p set state = 'captured', provider_payment = coalesce(p_provider_payments[u.request], p.provider_payment),
           check_at = null, checks = 0
    from unnest(done) as u (request)
    where p.event_id = p_event and p.booking_id = p_bookings[u.request] and p.attempt = p_attempts[u.request];
    insert into idempotency (actor, key, request_hash, status, headers, body)
    select p_actors[u.request], p_keys[u.request], p_hashes[u.request], p_statuses[u.request], p_headers[u.request]::jsonb,
           p_bodies[u.request]
    from unnest(done) as u (request) where p_keys[u.request] is not null
    on conflict (actor, key) do update
        set status = excluded.status, headers = excluded.headers, body = excluded.body
        where idempotency.status is null and idempotency.hold_id is null;
    return query select u.request from unnest(done) as u (request);
end
$$;
