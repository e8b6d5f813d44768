//! Goal: the hot statements find their rows by index, whatever the planner thinks of the tables. Method: the database
//! tells the plan of every statement inside the functions of the holds writer and of the till, on a hall of 60,000 seats; the plans are
//! committed as text in `tests/plans`, so that a change of one is seen. `RENEW_PLANS=1` writes them anew.

use std::path::Path;
use std::process::Command;

use crate::support::{OPEN, Options, TestApp, psql};

/// A hall of 60,000 seats, before each script.
const HALL: &str = r"
select current_setting('server_version_num')::integer / 10000;
insert into seat (event_id, seat_no, seat, section, row, number, category)
  select event_id, n, 'X-' || n, section, row, n::text, category
  from (select * from seat where event_id = :'event' limit 1) s, generate_series(1000, 60999) n;
";

/// Something in every table, then one batch for seats with everything that can be in it (a limit, a key, a lapsed
/// hold), and one for places.
const SCRIPT: &str = r"
insert into hold (event_id, hold_id, owner, state, expires_at)
  select :'event', gen_random_uuid(), 'buyer:' || n, 'active', clock_timestamp() + interval '1 h'
  from generate_series(1, 20000) n;
insert into hold (event_id, hold_id, owner, state, expires_at)
  values (:'event', '00000000-0000-0000-0000-000000000001', 'buyer:lapsed', 'active', clock_timestamp());
insert into hold_seat (event_id, hold_id, seat_no, fee, tax, price)
  select event_id, hold_id, 1000 + row_number() over (), 0, 0, 1 from hold where event_id = :'event';
update seat set state = 1, hold_id = '00000000-0000-0000-0000-000000000001', expires_at = clock_timestamp()
  where event_id = :'event' and seat_no = 1000;
insert into seat_event (event_id, version, op, state, seats, areas, hold_id)
  select :'event', n, 'hold', 1, '{}', '[]', gen_random_uuid() from generate_series(1, 20000) n;
update event_version set version = 20000 where event_id = :'event';
analyze;
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_level = notice;
set client_min_messages = notice;
select verdicts from hold_batch(:'event', 19998, 1000, 600, 10, 10,
  '{00000000-0000-0000-0000-000000000011}', '{buyer:one}', '{2}', '{t}', '{1}', '{2}', '{together}',
  '{1,1}', '{1000,1001}', '{0,0}', '{0,0}', '{1,1}', '{}', '{}', '{}', '{}', '{}', '{}',
  '{1}', '{buyer:one}', '{key}', array['\x00'::bytea || repeat('x', 31)::bytea]);
select verdicts from hold_batch(:'event', 20002, 1000, 600, 10, 10,
  '{00000000-0000-0000-0000-000000000012}', '{buyer:two}', '{1}', '{f}', '{1}', '{0}', '{null}',
  '{}', '{}', '{}', '{}', '{}', '{1}', '{pit}', '{1}', '{0}', '{0}', '{1}', '{}', '{}', '{}', '{}');
";

/// The plans out of what the database said: without costs and times, each statement once.
fn plans(said: &str) -> String {
    let mut plans: Vec<String> = Vec::new();
    for told in said.split("NOTICE:  duration: ").skip(1) {
        let Some((_, plan)) = told.split_once("Query Text: ") else { continue };
        let mut text = String::new();
        for line in plan.lines().take_while(|line| !line.starts_with("CONTEXT:") && !line.starts_with("LOCATION:")) {
            let line = line.split("  (cost=").next().unwrap_or_default().trim_end();
            if !line.is_empty() && !line.starts_with("psql:") {
                text.push_str(line);
                text.push('\n');
            }
        }
        // The call itself, and expressions without a table, have no plan worth a line.
        if text.contains(" on ") && !text.contains("_batch(") && !plans.contains(&text) {
            plans.push(text);
        }
    }
    plans.join("\n")
}

/// As many bookings and payments as holds, then two holds, one of seats and one of places, on the whole way to the ticket.
const CHECKOUT: &str = r"
insert into hold (event_id, hold_id, owner, state, expires_at)
  select :'event', gen_random_uuid(), 'buyer:' || n, 'consumed', clock_timestamp() from generate_series(1, 20000) n;
insert into hold_seat (event_id, hold_id, seat_no, fee, tax, price)
  select event_id, hold_id, 2000 + row_number() over (), 0, 0, 1 from hold where event_id = :'event';
insert into booking (event_id, booking_id, hold_id, owner, state, buyer_name, buyer_email, currency, fee, tax, total, sold_attempt, confirmed_at)
  select event_id, gen_random_uuid(), hold_id, owner, 'confirmed', 'A', 'a@b.de', 'EUR', 0, 0, 1, 1, clock_timestamp() from hold where event_id = :'event';
insert into booking_seat (event_id, booking_id, seat_no, fee, tax, price)
  select event_id, booking_id, seat_no, s.fee, s.tax, s.price from booking b join hold_seat s using (event_id, hold_id);
insert into hold_area (event_id, hold_id, area, quantity, state, fee, tax, price)
  select event_id, hold_id, 'pit', 1, 0, 0, 0, 1 from hold where event_id = :'event';
insert into booking_area (event_id, booking_id, area, quantity, fee, tax, price)
  select event_id, booking_id, 'pit', 1, 0, 0, 1 from booking;
insert into payment (event_id, booking_id, attempt, provider, reference, state, amount, currency, deadline)
  select event_id, booking_id, 1, 'p', booking_id::text || '/1', 'captured', 1, 'EUR', clock_timestamp() from booking;
insert into idempotency (actor, key, request_hash, event_id, booking_id, attempt)
  select owner, 'key', '\x00'::bytea || repeat('x', 31)::bytea, event_id, booking_id, 1 from booking;
insert into ticket (event_id, booking_id, ticket_id, seat_no, code)
  select event_id, booking_id, gen_random_uuid(), seat_no, booking_id::text from booking_seat;
insert into hold (event_id, hold_id, owner, state, expires_at)
  values (:'event', '00000000-0000-0000-0000-0000000000a1', 'buyer:one', 'active', clock_timestamp() + interval '1 h'),
         (:'event', '00000000-0000-0000-0000-0000000000a2', 'buyer:two', 'active', clock_timestamp() + interval '1 h');
insert into hold_seat (event_id, hold_id, seat_no, fee, tax, price)
  values (:'event', '00000000-0000-0000-0000-0000000000a1', 1000, 0, 0, 1);
update seat set state = 1, hold_id = '00000000-0000-0000-0000-0000000000a1', expires_at = clock_timestamp() + interval '1 h'
  where event_id = :'event' and seat_no = 1000;
insert into hold_area (event_id, hold_id, area, quantity, state, expires_at, fee, tax, price)
  values (:'event', '00000000-0000-0000-0000-0000000000a2', 'pit', 1, 1, clock_timestamp() + interval '1 h', 0, 0, 1);
update area set held = 1 where event_id = :'event' and area = 'pit';
analyze;
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_level = notice;
set client_min_messages = notice;
select count(*) from book_batch(:'event', 'EUR',
  '{00000000-0000-0000-0000-0000000000a1,00000000-0000-0000-0000-0000000000a2}',
  '{00000000-0000-0000-0000-0000000000b1,00000000-0000-0000-0000-0000000000b2}', '{A,B}', '{a@b.de,b@b.de}', '{f,f}',
  '{null,null}', '{buyer:one,buyer:two}', '{book,null}', '{1,2}', '{buyer:one,buyer:two}');
select count(*) from begin_batch(:'event', 'p', 60,
  '{00000000-0000-0000-0000-0000000000b1,00000000-0000-0000-0000-0000000000b2}', '{null,t}', '{buyer:one,null}', '{pay,null}',
  array['\x00'::bytea || repeat('x', 31)::bytea, null], '{1,2}', '{buyer:one,buyer:two}');
select count(*) from sell_batch(:'event', 5,
  '{00000000-0000-0000-0000-0000000000b1,00000000-0000-0000-0000-0000000000b2}',
  '{00000000-0000-0000-0000-0000000000a1,00000000-0000-0000-0000-0000000000a2}', '{1,1}', '{1,1}', '{EUR,EUR}', '{x,y}',
  '{1,2}', '{00000000-0000-0000-0000-0000000000c1,00000000-0000-0000-0000-0000000000c2}', '{1000,null}', '{null,pit}', '{c1,c2}');
select count(*) from finish_batch(:'event',
  '{00000000-0000-0000-0000-0000000000b1,00000000-0000-0000-0000-0000000000b2}', '{1,1}', '{x,y}', '{buyer:one,null}', '{pay,null}',
  array['\x00'::bytea || repeat('x', 31)::bytea, null], '{200,null}', '{[],null}', array['b'::bytea, null]);
";

/// Runs a script in psql, in the large hall; what it answered, the server's version first, and what it said beside.
async fn run(app: &TestApp, script: &'static str) -> (Vec<String>, String) {
    let url = app.database().to_owned();
    let done = tokio::task::spawn_blocking(move || {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [HALL, script].concat()).unwrap();
        let mut command = Command::new(psql());
        command.args([&url, "-qAt", "-v", "ON_ERROR_STOP=1", "-v", &format!("event={OPEN}"), "-f"]).arg(file.path());
        command.output().unwrap()
    });
    let done = done.await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{err}");
    (out.lines().map(str::to_owned).collect(), err.into_owned())
}

/// The plans are by index, and those that are committed in `name`.
fn compare(name: &str, version: &str, said: &str) {
    let plans = format!("Postgres {version}\n\n{}", plans(said));
    assert!(plans.matches("Index Scan").count() >= 10, "the plans were told:\n{plans}");
    for bad in ["Seq Scan", "Hash Join", "Merge Join"] {
        assert!(!plans.contains(bad), "{bad}:\n{plans}");
    }
    // By an index, and not by walking through all rows of an event.
    let large =
        ["hold", "hold_seat", "hold_area", "booking", "booking_seat", "booking_area", "payment", "seat", "ticket"];
    let lines: Vec<&str> = plans.lines().collect();
    for pair in lines.windows(2) {
        let of_large = large.iter().any(|table| pair[0].contains(&format!(" on {table} ")));
        assert!(!of_large || pair[1].trim() != "Index Cond: (event_id = $1)", "{pair:?}:\n{plans}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(name);
    if std::env::var_os("RENEW_PLANS").is_some() {
        std::fs::write(&file, &plans).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    // Other versions may plan otherwise, by index all the same.
    if kept.starts_with(&format!("Postgres {version}\n")) {
        let changed = plans.lines().zip(kept.lines()).find(|(now, before)| now != before);
        assert!(plans == kept, "a plan has changed, {changed:?}; RENEW_PLANS=1 renews tests/plans/{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holds_writer_finds_everything_by_index() {
    let app = TestApp::start().await;
    let (told, said) = run(&app, SCRIPT).await;
    assert_eq!(told[1..], ["{0}", "{0}"], "both were held");
    compare("hold_batch.txt", &told[0], &said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_till_finds_everything_by_index() {
    let app = TestApp::with(Options::default()).await;
    let (told, said) = run(&app, CHECKOUT).await;
    assert_eq!(told[1..], ["2", "2", "2", "2"], "both were sold");
    compare("till.txt", &told[0], &said);
}
