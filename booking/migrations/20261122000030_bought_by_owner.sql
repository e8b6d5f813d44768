-- What an owner has bought of an event is counted for every hold of one who may have places already.
create index booking_bought_by_owner on booking (event_id, owner) where state = 'confirmed';
