-- Payments that fail again and again, holds as they were made, announcements that wait behind others.

-- Looks in a row that failed; from some on a person has to look at it, until one succeeds.
alter table payment
    add column failures integer not null default 0,
    add column failing text null,              -- what fails
    add column failing_since timestamptz null,
    add constraint payment_failing check ((failing is null) = (failing_since is null));

drop index payment_alarmed;
create index payment_alarmed on payment (greatest(alarmed_at, failing_since))
    where alarm is not null or failing is not null;

-- A repeated request for a hold is answered by the hold as it was made, whatever became of it: kept when it changes.
alter table hold add column made_until timestamptz null;        -- when it was to lapse; null = as it is
alter table hold_seat add column made_seat_no integer null;     -- the seat it was; null = as it is
update hold set made_until = first_expires_at where first_expires_at is not null;

-- In the order in which they are taken.
drop index outbox_due;
create index outbox_due on outbox (due_at, seq) where delivered_at is null and quarantined_at is null;

-- Takes announcements that are due, the oldest of each booking only, at most `p_limit`; nobody else gets them for
-- `p_lease_s`. What is due and not the oldest is put off, so that it is not looked at each time: it is woken when the
-- one before it is delivered. Looks at `p_limit` rows at a time and at sixteen times as many at most, however many wait.
create function take_announcements(p_limit integer, p_lease_s double precision)
returns table (seq bigint, event_id text, booking_id uuid, topic text, payload jsonb, attempts integer)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    -- A moment, not a function: so the index ends where nothing is due any more.
    moment constant timestamptz := clock_timestamp();
    due bigint[];
    taken integer := 0;
    n integer;
begin
    for round in 1 .. 16 loop
        select array_agg(l.seq) into due from (
            select o.seq from outbox o
            where o.delivered_at is null and o.quarantined_at is null and o.due_at <= moment
            order by o.due_at, o.seq limit p_limit - taken for update skip locked) l;
        exit when due is null;
        -- A statement of its own, so that it sees what was delivered before the locks were had. Who delivers later
        -- waits for the locks to wake the next one.
        return query
            with judged as materialized (
                select o.seq, ahead.seq as ahead, ahead.due_at, ahead.quarantined_at
                from unnest(due) as w (seq) join outbox o on o.seq = w.seq
                left join lateral (
                    select e.seq, e.due_at, e.quarantined_at from outbox e
                    where e.event_id = o.event_id and e.booking_id = o.booking_id and e.seq < o.seq
                      and e.delivered_at is null
                    order by e.seq limit 1) ahead on true),
            put_off as (
                update outbox o set due_at = case
                    when j.quarantined_at is null then greatest(j.due_at, moment) + interval '1 second'
                    else moment + interval '10 minutes' end
                from judged j where o.seq = j.seq and j.ahead is not null)
            update outbox o set attempts = o.attempts + 1, due_at = moment + make_interval(secs => p_lease_s)
            from judged j where o.seq = j.seq and j.ahead is null
            returning o.seq, o.event_id, o.booking_id, o.topic, o.payload, o.attempts;
        get diagnostics n = row_count;
        taken := taken + n;
        exit when taken >= p_limit;
    end loop;
end
$$;
