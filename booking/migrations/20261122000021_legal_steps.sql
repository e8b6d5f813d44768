-- The lifecycles of bookings and payments once more, as the backstop: a step that the code's types do not allow
-- cannot be written either. `booking/tests/steps.rs` holds both to each other.

alter table booking add constraint booking_sold check ((confirmed_at is null) = (sold_attempt is null));

create function booking_may_become(was text, becomes text) returns boolean language sql immutable parallel safe as $$
    select (was, becomes) in (
        ('held', 'payment_pending'), ('held', 'confirmed'), ('held', 'expired'), ('held', 'cancelled'),
        ('payment_pending', 'confirmed'), ('payment_pending', 'held'), ('payment_pending', 'expired'),
        ('expired', 'confirmed'),
        ('confirmed', 'failed'), ('confirmed', 'cancelled'),
        ('cancelled', 'refunded'))
$$;

create function payment_may_become(was text, becomes text) returns boolean language sql immutable parallel safe as $$
    select (was, becomes) in (
        ('created', 'authorized'), ('created', 'declined'), ('created', 'failed'), ('created', 'voided'),
        ('authorized', 'captured'), ('authorized', 'failed'), ('authorized', 'voided'),
        ('authorized', 'refunded'),  -- captured and paid back before either was noted
        ('captured', 'refunded'),
        ('declined', 'voided'), ('declined', 'refunded'),
        ('failed', 'voided'), ('failed', 'refunded'), ('failed', 'authorized'))
$$;

create function refuse_step() returns trigger language plpgsql as $$
begin
    raise exception 'a % that is % cannot become %', tg_table_name, old.state, new.state using errcode = 'check_violation';
end
$$;

create trigger booking_steps before update of state on booking for each row
    when (old.state <> new.state and not booking_may_become(old.state, new.state)) execute function refuse_step();

create trigger payment_steps before update of state on payment for each row
    when (old.state <> new.state and not payment_may_become(old.state, new.state)) execute function refuse_step();

-- Attempts and refunds are history: they are never deleted.
create function keep_history() returns trigger language plpgsql as $$
begin
    raise exception 'rows of % are never deleted', tg_table_name using errcode = 'restrict_violation';
end
$$;

create trigger payment_stays before delete on payment for each row execute function keep_history();
create trigger refund_stays before delete on refund for each row execute function keep_history();
