-- What the batched holds writer needs: one call that takes the places of many requests, or of none each.

-- Room for a second version of every seat of a page: a crowd takes seats beside each other, and a batch that takes them
-- all must find it there, or each of its rows needs new entries in both indexes.
alter table seat set (fillfactor = 50);

-- What the expiry was before the one extension that a hold may have; null = not extended.
alter table hold add column first_expires_at timestamptz null;

-- How its seats were chosen, when the best were asked for; null = they were named.
alter table hold add column chosen text null check (chosen in ('together', 'orphan', 'split', 'apart'));

-- Whether seats may not be picked such that a single free one is left beside them.
alter table event add column leaves_no_single boolean not null default false;

-- Until when the places are held or pending after the change: who follows the history knows when seats lapse.
alter table seat_event add column expires_at timestamptz null;
alter table seat_event drop constraint seat_event_op_check;
alter table seat_event add constraint seat_event_op_check check
    (op in ('hold', 'release', 'expire', 'pend', 'unpend', 'sell', 'cancel', 'extend'));

-- A hold's answer is kept as the hold itself: it is written anew from the rows of the hold as it was made.
alter table idempotency add column hold_id uuid null;
alter table idempotency drop constraint idempotency_check1;
alter table idempotency add constraint idempotency_answer check
    (status is not null or attempt is not null or (hold_id is not null and event_id is not null));

-- These rows are written beside the row they name, in one statement of `hold_batch`, and are never deleted.
-- `event_version`, which every change of an event bumps, still names the event.
alter table hold_seat drop constraint hold_seat_event_id_hold_id_fkey;
alter table hold_area drop constraint hold_area_event_id_hold_id_fkey;
alter table hold_area drop constraint hold_area_event_id_area_fkey;
alter table hold drop constraint hold_event_id_fkey;

-- Takes places for many requests: of each all or none. One statement, one commit.
--
-- The caller sees to it that within one call each owner, each seat and each idempotency key occurs in one
-- request only. Locks: keys (never waited for), owners, seats by number, areas by the bytes of their names, the
-- event's version. Verdicts: 0 won, 1 seats taken, 2 not enough in an area, 3 too many places of one owner,
-- 4 key in use, 5 key known, 6 too many holds of one owner. `entries` are the changes after `p_seen` that came
-- before the holds of this call, oldest first, at most `p_entries`; `seen_at` is when the change of `p_seen` was
-- written: a caller who knows it otherwise remembers another history, as after a failover that lost commits.
create function hold_batch(
    p_event text, p_seen bigint, p_entries integer,
    p_ttl_s double precision, p_places_limit integer, p_holds_limit integer,
    -- Request by request; `p_firsts` to `p_lasts` is its part of the seats.
    p_holds uuid[], p_owners text[], p_places integer[], p_counted boolean[], p_firsts integer[], p_lasts integer[],
    p_chosen text[],
    -- Seat by seat: whose request, which, at what price.
    p_requests integer[], p_seats integer[], p_fees bigint[], p_taxes bigint[], p_prices bigint[],
    -- Wish by wish for places of areas, in the order of requests.
    p_area_requests integer[], p_areas text[], p_quantities integer[],
    p_area_fees bigint[], p_area_taxes bigint[], p_area_prices bigint[],
    -- Key by key.
    p_key_requests integer[], p_actors text[], p_keys text[], p_hashes bytea[],
    out base bigint, out made_at timestamptz, out until timestamptz, out verdicts smallint[], out have integer[],
    out short_area text[], out taken_requests integer[], out taken_seats integer[], out expired integer,
    out entries jsonb, out seen_at timestamptz
) language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    n constant integer := cardinality(p_holds);
    m constant integer := cardinality(p_areas);
    r record;
    found_seats integer;
    lapsed_requests integer[]; lapsed_seats integer[]; lapsed_holds uuid[];
    names text[] := '{}'; capacities integer[] := '{}'; helds integer[] := '{}'; solds integer[] := '{}';
    frees integer[] := '{}'; wanted integer;
    back_areas text[] := '{}'; back_holds uuid[] := '{}'; back_quantities integer[] := '{}';
    i integer; j integer; k integer; fits boolean;
    ranks integer[] := array_fill(0, array[n]);
    won integer := 0;
begin
    verdicts := array_fill(0::smallint, array[n]);
    have := array_fill(0, array[n]);
    short_area := array_fill(null::text, array[n]);
    expired := 0;

    if cardinality(p_keys) > 0 then
        for r in select u.request from unnest(p_key_requests, p_actors, p_keys) as u (request, actor, key)
                 where not pg_try_advisory_xact_lock(hashtextextended(u.actor || ' ' || u.key, 1)) loop
            verdicts[r.request] := 4;
        end loop;
        -- A statement of its own, so that it sees what the former holder of the key wrote.
        for r in select u.request from unnest(p_key_requests, p_actors, p_keys) as u (request, actor, key)
                 join idempotency known on known.actor = u.actor and known.key = u.key loop
            verdicts[r.request] := 5;
        end loop;
    end if;

    if true = any(p_counted) then
        perform pg_advisory_xact_lock(l.name) from (
            select distinct hashtextextended('limit ' || p_event || ' ' || o.owner, 0) as name
            from unnest(p_owners, p_counted) as o (owner, counted) where o.counted order by 1) l;
        for r in
            select o.request, live.holds, live.places + bought.places as places
            from unnest(p_owners, p_counted, p_places) with ordinality as o (owner, counted, places, request)
            cross join lateral (
                select count(*)::integer as holds, coalesce(sum(
                    (select count(*) from hold_seat s where s.event_id = p_event and s.hold_id = h.hold_id)
                    + (select coalesce(sum(a.quantity), 0) from hold_area a
                       where a.event_id = p_event and a.hold_id = h.hold_id)), 0)::integer as places
                from hold h
                where h.event_id = p_event and h.owner = o.owner and h.state in ('active', 'pending')
                  and (h.state = 'pending' or h.expires_at > clock_timestamp())) live
            cross join lateral (
                select coalesce(sum(
                    (select count(*) from booking_seat s where s.event_id = p_event and s.booking_id = b.booking_id)
                    + (select coalesce(sum(a.quantity), 0) from booking_area a
                       where a.event_id = p_event and a.booking_id = b.booking_id)), 0)::integer as places
                from booking b
                where b.owner = o.owner and b.event_id = p_event and b.state = 'confirmed') bought
            where o.counted
              and (live.holds + 1 > p_holds_limit or live.places + bought.places + o.places > p_places_limit)
        loop
            continue when verdicts[r.request] <> 0;
            if r.holds + 1 > p_holds_limit then
                verdicts[r.request] := 6;
                have[r.request] := r.holds;
            else
                verdicts[r.request] := 3;
                have[r.request] := r.places;
            end if;
        end loop;
    end if;

    if cardinality(p_seats) > 0 then
        select count(*),
               array_agg(l.request) filter (where l.state <> 0 and not l.lapsed),
               array_agg(l.seat_no) filter (where l.state <> 0 and not l.lapsed),
               array_agg(l.request) filter (where l.lapsed),
               array_agg(l.seat_no) filter (where l.lapsed),
               array_agg(l.hold_id) filter (where l.lapsed)
        into found_seats, taken_requests, taken_seats, lapsed_requests, lapsed_seats, lapsed_holds
        from (select w.request, s.seat_no, s.state, s.hold_id,
                     (s.state = 1 and s.expires_at <= clock_timestamp()) as lapsed
              from unnest(p_requests, p_seats) as w (request, seat_no)
              join seat s on s.event_id = p_event and s.seat_no = w.seat_no
              order by s.seat_no for update of s) l;
        if found_seats <> cardinality(p_seats) then
            raise exception 'event % has % of % seats', p_event, found_seats, cardinality(p_seats);
        end if;
        for r in select distinct t.request from unnest(taken_requests) as t (request) loop
            if verdicts[r.request] = 0 then
                verdicts[r.request] := 1;
            end if;
        end loop;
    end if;

    if m > 0 then
        for r in select a.area, a.capacity, a.held, a.pending, a.sold from area a
                 where a.event_id = p_event and a.area = any(p_areas) order by a.area collate "C" for update loop
            names := names || r.area;
            capacities := capacities || r.capacity;
            helds := helds || (r.held + r.pending);
            solds := solds || r.sold;
            frees := frees || (r.capacity - r.held - r.pending - r.sold);
        end loop;
        if not p_areas <@ names then
            raise exception 'event % has not all of the areas %', p_event, p_areas;
        end if;
        fits := true;
        for k in 1 .. cardinality(names) loop
            select sum(w.quantity) into wanted from unnest(p_areas, p_quantities) as w (area, quantity)
            where w.area = names[k];
            continue when wanted <= frees[k];
            -- Lapsed holds give back what is needed, oldest first.
            for r in select h.hold_id, h.quantity from hold_area h
                     where h.event_id = p_event and h.area = names[k] and h.state = 1
                       and h.expires_at <= clock_timestamp()
                     order by h.expires_at, h.hold_id limit wanted - frees[k] loop
                exit when frees[k] >= wanted;
                frees[k] := frees[k] + r.quantity;
                back_areas := back_areas || names[k];
                back_holds := back_holds || r.hold_id;
                back_quantities := back_quantities || r.quantity;
            end loop;
            fits := fits and wanted <= frees[k];
        end loop;
        i := 1;
        while not fits and i <= m loop
            j := i;
            while j <= m and p_area_requests[j] = p_area_requests[i] loop
                k := array_position(names, p_areas[j]);
                if verdicts[p_area_requests[i]] = 0 and frees[k] < p_quantities[j] then
                    verdicts[p_area_requests[i]] := 2;
                    have[p_area_requests[i]] := frees[k];
                    short_area[p_area_requests[i]] := names[k];
                end if;
                j := j + 1;
            end loop;
            while i < j loop
                if verdicts[p_area_requests[i]] = 0 then
                    k := array_position(names, p_areas[i]);
                    frees[k] := frees[k] - p_quantities[i];
                end if;
                i := i + 1;
            end loop;
        end loop;
        -- What was given back for requests that lost stays where it was.
        if not fits then
            for i in reverse cardinality(back_holds) .. 1 loop
                k := array_position(names, back_areas[i]);
                continue when frees[k] < back_quantities[i];
                frees[k] := frees[k] - back_quantities[i];
                back_areas := back_areas[:i - 1] || back_areas[i + 1:];
                back_holds := back_holds[:i - 1] || back_holds[i + 1:];
                back_quantities := back_quantities[:i - 1] || back_quantities[i + 1:];
            end loop;
        end if;
    end if;

    -- Decided, everything is locked; from here on it is written.
    made_at := clock_timestamp();
    until := made_at + make_interval(secs => p_ttl_s);
    if lapsed_holds is not null then
        select count(distinct u.hold) into expired
        from unnest(lapsed_requests, lapsed_holds) as u (request, hold) where verdicts[u.request] = 0;
    end if;
    expired := expired + cardinality(back_holds);
    for i in 1 .. n loop
        if verdicts[i] = 0 then
            won := won + 1;
            ranks[i] := expired + won;
        end if;
    end loop;

    if won > 0 then
        insert into hold (event_id, hold_id, owner, state, expires_at, created_at, chosen)
        select p_event, u.hold, u.owner, 'active', until, made_at, u.chosen
        from unnest(p_holds, p_owners, p_chosen) with ordinality as u (hold, owner, chosen, request) where verdicts[u.request] = 0;
        insert into hold_seat (event_id, hold_id, seat_no, fee, tax, price)
        select p_event, p_holds[u.request], u.seat_no, u.fee, u.tax, u.price
        from unnest(p_requests, p_seats, p_fees, p_taxes, p_prices) as u (request, seat_no, fee, tax, price)
        where verdicts[u.request] = 0;
        if cardinality(p_keys) > 0 then
            insert into idempotency (actor, key, request_hash, event_id, hold_id)
            select u.actor, u.key, u.hash, p_event, p_holds[u.request]
            from unnest(p_key_requests, p_actors, p_keys, p_hashes) as u (request, actor, key, hash)
            where verdicts[u.request] = 0;
        end if;
    end if;
    if cardinality(back_holds) > 0 then
        update hold_area h set state = 0, expires_at = null
        from unnest(back_areas, back_holds) as u (area, hold)
        where h.event_id = p_event and h.hold_id = u.hold and h.area = u.area and h.state = 1;
    end if;
    if m > 0 then
        insert into hold_area (event_id, hold_id, area, quantity, state, expires_at, fee, tax, price)
        select p_event, p_holds[u.request], u.area, u.quantity, 1, until, u.fee, u.tax, u.price
        from unnest(p_area_requests, p_areas, p_quantities, p_area_fees, p_area_taxes, p_area_prices)
             as u (request, area, quantity, fee, tax, price)
        where verdicts[u.request] = 0;
        update area a set held = a.held + t.quantity
        from (select u.area, sum(u.quantity) as quantity from (
                  select w.area, w.quantity from unnest(p_area_requests, p_areas, p_quantities)
                      as w (request, area, quantity) where verdicts[w.request] = 0
                  union all
                  select b.area, -b.quantity from unnest(back_areas, back_quantities) as b (area, quantity)) u
              group by u.area) t
        where a.event_id = p_event and a.area = t.area;
    end if;

    -- The one row that all changes of an event share comes last.
    if won + expired > 0 then
        update event_version v set version = v.version + won + expired where v.event_id = p_event
        returning v.version - won - expired into base;
    else
        select v.version into base from event_version v where v.event_id = p_event;
    end if;
    if base is null then
        raise exception 'event % has no version', p_event;
    end if;
    k := 0;
    if lapsed_holds is not null then
        insert into seat_event (event_id, version, op, state, seats, areas, hold_id)
        select p_event, base + row_number() over (order by u.hold), 'expire', 0,
               array_agg(u.seat_no order by u.seat_no), '[]', u.hold
        from unnest(lapsed_requests, lapsed_seats, lapsed_holds) as u (request, seat_no, hold)
        where verdicts[u.request] = 0 group by u.hold;
        get diagnostics k = row_count;
    end if;
    for i in 1 .. cardinality(back_holds) loop
        j := array_position(names, back_areas[i]);
        helds[j] := helds[j] - back_quantities[i];
        insert into seat_event (event_id, version, op, state, seats, areas, hold_id)
        values (p_event, base + k + i, 'expire', 0, '{}', jsonb_build_array(jsonb_build_object(
            'area', back_areas[i], 'quantity', back_quantities[i], 'capacity', capacities[j],
            'held', helds[j], 'sold', solds[j])), back_holds[i]);
    end loop;
    if won > 0 and cardinality(p_seats) > 0 then
        update seat s set state = 1, hold_id = p_holds[u.request], expires_at = until,
               version = base + ranks[u.request]
        from unnest(p_requests, p_seats) as u (request, seat_no)
        where s.event_id = p_event and s.seat_no = u.seat_no and verdicts[u.request] = 0;
        insert into seat_event (event_id, version, at, op, state, seats, areas, hold_id, expires_at)
        select p_event, base + ranks[u.request], made_at, 'hold', 1, p_seats[u.first:u.last], '[]', u.hold, until
        from unnest(p_holds, p_firsts, p_lasts) with ordinality as u (hold, first, last, request)
        where verdicts[u.request] = 0 and u.last >= u.first;
    end if;
    if won > 0 and m > 0 then
        insert into seat_event (event_id, version, at, op, state, seats, areas, hold_id, expires_at)
        select p_event, base + ranks[t.request], made_at, 'hold', 1, '{}', jsonb_agg(jsonb_build_object(
            'area', t.area, 'quantity', t.quantity, 'capacity', t.capacity, 'held', t.held, 'sold', t.sold)
            order by t.area collate "C"), p_holds[t.request], until
        from (select u.request, u.area, u.quantity, a.capacity, a.sold,
                     a.held + sum(u.quantity) over (partition by u.area order by u.request) as held
              from unnest(p_area_requests, p_areas, p_quantities) as u (request, area, quantity)
              join unnest(names, capacities, helds, solds) as a (area, capacity, held, sold) on a.area = u.area
              where verdicts[u.request] = 0) t
        group by t.request;
    end if;
    if base + expired > p_seen then
        select jsonb_agg(jsonb_build_array(e.version, e.state, e.seats,
                   (extract(epoch from e.expires_at) * 1000000)::bigint,
                   (extract(epoch from e.at) * 1000000)::bigint) order by e.version)
        into entries
        from (select h.version, h.state, h.seats, h.expires_at, h.at from seat_event h
              where h.event_id = p_event and h.version > p_seen and h.version <= base + expired
              order by h.version limit p_entries) e;
    end if;
    select h.at into seen_at from seat_event h where h.event_id = p_event and h.version = p_seen;
end
$$;
