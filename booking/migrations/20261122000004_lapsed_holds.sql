-- The sweeper asks each event for its oldest live hold; one event's many holds hide no other's.
create index hold_by_event_expiry on hold (event_id, expires_at) where state = 'active';
drop index hold_by_expiry;
