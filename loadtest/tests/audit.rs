//! The audit against a real Postgres with the real migrations: a small clean sale is clean, and
//! each crime written into its tables is reported by the invariant it breaks.
//!
//! The schema refuses most crimes by itself. Where it does, the test first takes the constraint
//! away: the audit is there for the day on which a constraint was.

use std::path::Path;
use std::time::Duration;

use loadtest::audit::{AuditOptions, Finding, audit};
use loadtest::history::{Kind, Record, Verdict};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stack::postgres::Postgres;
use tempfile::TempDir;

const SEATS: &str = "no seat sold twice";
const AREAS: &str = "no area oversold";
const PROMISES: &str = "acknowledged is kept";
const MONEY: &str = "money and bookings agree";
const KEYS: &str = "one key, one effect";

/// Fan 1 bought seats 1 and 2, fan 2 bought two places of the floor and let a hold of seat 3 expire.
const SALE: &str = "
insert into venue (venue_id, name, city, time_zone) values ('v', 'V', 'C', 'UTC');
insert into plan (plan_digest, document) values (repeat('0', 64), '{}');
insert into event (event_id, name, venue_id, category, performers, sale, currency, starts_at, cancel_until_s, fee, tax_bp,
                   plan_digest, seat_count, import_digest, search)
  values ('arena', 'A', 'v', 'c', '{}', 'demo', 'EUR', now(), 0, 0, 0, repeat('0', 64), 4, 'd', '');
insert into price_category (event_id, category, ordinal, face, fee, tax, price) values ('arena', 'A', 0, 4500, 0, 0, 4500);
insert into section (event_id, section, ordinal) values ('arena', 'S', 0);
insert into seat (event_id, seat_no, seat, section, row, number, category)
  select 'arena', n, 'S-1-' || n, 'S', '1', n::text, 'A' from generate_series(0, 3) n;
insert into area (event_id, area, name, ordinal, capacity, sold, face, fee, tax, price)
  values ('arena', 'floor', 'Floor', 0, 4, 2, 2500, 0, 0, 2500);
insert into event_version (event_id, version) values ('arena', 8);
insert into hold (event_id, hold_id, owner, state, expires_at) values
  ('arena', '00000000-0000-0000-0000-000000000011', 'visitor:one', 'consumed', now()),
  ('arena', '00000000-0000-0000-0000-000000000012', 'visitor:two', 'consumed', now()),
  ('arena', '00000000-0000-0000-0000-000000000013', 'visitor:two', 'expired', now());
insert into hold_seat (event_id, hold_id, seat_no, fee, tax, price) values
  ('arena', '00000000-0000-0000-0000-000000000011', 1, 0, 0, 4500),
  ('arena', '00000000-0000-0000-0000-000000000011', 2, 0, 0, 4500),
  ('arena', '00000000-0000-0000-0000-000000000013', 3, 0, 0, 4500);
insert into hold_area (event_id, hold_id, area, quantity, state, fee, tax, price)
  values ('arena', '00000000-0000-0000-0000-000000000012', 'floor', 2, 3, 0, 0, 2500);
insert into booking (event_id, booking_id, hold_id, owner, state, buyer_name, buyer_email, currency, fee, tax, total, confirmed_at, sold_attempt) values
  ('arena', '00000000-0000-0000-0000-000000000021', '00000000-0000-0000-0000-000000000011', 'visitor:one', 'confirmed', 'n', 'e', 'EUR', 0, 0, 9000, now(), 1),
  ('arena', '00000000-0000-0000-0000-000000000022', '00000000-0000-0000-0000-000000000012', 'visitor:two', 'confirmed', 'n', 'e', 'EUR', 0, 0, 5000, now(), 1);
insert into booking_seat (event_id, booking_id, seat_no, fee, tax, price) values
  ('arena', '00000000-0000-0000-0000-000000000021', 1, 0, 0, 4500),
  ('arena', '00000000-0000-0000-0000-000000000021', 2, 0, 0, 4500);
insert into booking_area (event_id, booking_id, area, quantity, fee, tax, price)
  values ('arena', '00000000-0000-0000-0000-000000000022', 'floor', 2, 0, 0, 2500);
insert into payment (event_id, booking_id, attempt, provider, reference, provider_payment, state, amount, currency, deadline) values
  ('arena', '00000000-0000-0000-0000-000000000021', 1, 'sandbox', '21/1', 'pay_1', 'captured', 9000, 'EUR', now()),
  ('arena', '00000000-0000-0000-0000-000000000022', 1, 'sandbox', '22/1', 'pay_2', 'captured', 5000, 'EUR', now());
insert into ticket (event_id, booking_id, ticket_id, seat_no, area, code) values
  ('arena', '00000000-0000-0000-0000-000000000021', gen_random_uuid(), 1, null, 'a'),
  ('arena', '00000000-0000-0000-0000-000000000021', gen_random_uuid(), 2, null, 'b'),
  ('arena', '00000000-0000-0000-0000-000000000022', gen_random_uuid(), null, 'floor', 'c'),
  ('arena', '00000000-0000-0000-0000-000000000022', gen_random_uuid(), null, 'floor', 'd');
update seat set state = 3, hold_id = '00000000-0000-0000-0000-000000000011', booking_id = '00000000-0000-0000-0000-000000000021', version = 3
  where seat_no in (1, 2);
update seat set version = 8 where seat_no = 3;
insert into seat_event (event_id, version, op, state, seats, areas, hold_id, booking_id) values
  ('arena', 1, 'hold', 1, '{1,2}', '[]', '00000000-0000-0000-0000-000000000011', null),
  ('arena', 2, 'pend', 2, '{1,2}', '[]', '00000000-0000-0000-0000-000000000011', '00000000-0000-0000-0000-000000000021'),
  ('arena', 3, 'sell', 3, '{1,2}', '[]', '00000000-0000-0000-0000-000000000011', '00000000-0000-0000-0000-000000000021'),
  ('arena', 4, 'hold', 1, '{}', '[{\"area\":\"floor\",\"quantity\":2,\"capacity\":4,\"held\":2,\"sold\":0}]', '00000000-0000-0000-0000-000000000012', null),
  ('arena', 5, 'pend', 2, '{}', '[{\"area\":\"floor\",\"quantity\":2,\"capacity\":4,\"held\":2,\"sold\":0}]', '00000000-0000-0000-0000-000000000012', '00000000-0000-0000-0000-000000000022'),
  ('arena', 6, 'sell', 3, '{}', '[{\"area\":\"floor\",\"quantity\":2,\"capacity\":4,\"held\":0,\"sold\":2}]', '00000000-0000-0000-0000-000000000012', '00000000-0000-0000-0000-000000000022'),
  ('arena', 7, 'hold', 1, '{3}', '[]', '00000000-0000-0000-0000-000000000013', null),
  ('arena', 8, 'expire', 0, '{3}', '[]', '00000000-0000-0000-0000-000000000013', null);
";

/// Each crime: the invariant that must report it, and the statements that commit it.
const CRIMES: &[(&str, &str, &str)] = &[
    (
        SEATS,
        "a seat in two confirmed bookings",
        "insert into booking_seat (event_id, booking_id, seat_no, fee, tax, price)
           values ('arena', '00000000-0000-0000-0000-000000000022', 2, 0, 0, 0)",
    ),
    (
        SEATS,
        "a sold seat set free behind everybody's back",
        "update seat set state = 0, hold_id = null, booking_id = null where seat_no = 1",
    ),
    (
        SEATS,
        "a seat sold to nobody",
        "update seat set state = 3, hold_id = gen_random_uuid(), booking_id = gen_random_uuid() where seat_no = 0",
    ),
    (SEATS, "a change erased", "delete from seat_event where version = 2"),
    (
        SEATS,
        "a change rewritten",
        "update seat_event set hold_id = '00000000-0000-0000-0000-000000000012' where version = 3",
    ),
    (
        SEATS,
        "a change without its version",
        "update event_version set version = 9",
    ),
    (
        AREAS,
        "an area beyond its capacity",
        "alter table area drop constraint area_not_oversold; update area set sold = 5",
    ),
    (AREAS, "a place that nobody has", "update area set held = 1"),
    (
        AREAS,
        "an overfull moment in the past",
        "update seat_event set areas = '[{\"area\":\"floor\",\"quantity\":2,\"capacity\":1,\"held\":2,\"sold\":0}]' where version = 4",
    ),
    (
        PROMISES,
        "a confirmed booking undone",
        "update booking set state = 'failed' where booking_id = '00000000-0000-0000-0000-000000000021'",
    ),
    (
        PROMISES,
        "a seat taken from a confirmed booking",
        "delete from booking_seat where seat_no = 2",
    ),
    (
        PROMISES,
        "an acknowledged hold of other seats",
        "update hold_seat set seat_no = 0 where seat_no = 3",
    ),
    (
        MONEY,
        "captured money of a booking that is not confirmed",
        "update booking set state = 'failed' where booking_id = '00000000-0000-0000-0000-000000000022'",
    ),
    (MONEY, "a cent too little", "update payment set amount = 8999 where reference = '21/1'"),
    (
        MONEY,
        "charged twice",
        "drop index payment_one_live;
         insert into payment (event_id, booking_id, attempt, provider, reference, provider_payment, state, amount, currency, deadline)
           values ('arena', '00000000-0000-0000-0000-000000000021', 2, 'sandbox', '21/2', 'pay_3', 'captured', 9000, 'EUR', now())",
    ),
    (
        MONEY,
        "sold without payment",
        "alter table payment disable trigger payment_stays; delete from payment where reference = '22/1'",
    ),
    (MONEY, "paid without a ticket", "delete from ticket where code = 'a'"),
    (
        KEYS,
        "a hold that nobody asked for",
        "insert into hold (event_id, hold_id, owner, state, expires_at)
           values ('arena', gen_random_uuid(), 'visitor:one', 'released', now())",
    ),
];

fn purchase(fan: u64, hold: u32, booking: Option<u32>, seats: &[u32], places: u32, total: i64) -> Vec<Record> {
    let id = |n: u32| format!("00000000-0000-0000-0000-0000000000{n}");
    let base = Record {
        fan,
        event: Some("arena".into()),
        hold: Some(id(hold)),
        seats: seats.to_vec(),
        areas: if places > 0 {
            vec![loadtest::history::AreaLine { area: "floor".into(), quantity: places }]
        } else {
            vec![]
        },
        total: Some(total),
        currency: Some("EUR".into()),
        result: Verdict::Ok,
        ..Record::default()
    };
    let step = |kind, key: &str, booking: Option<String>, state: &str| Record {
        kind: Some(kind),
        key: Some(format!("{fan}-{hold}-{key}")),
        booking,
        state: Some(state.into()),
        ..base.clone()
    };
    let mut records = vec![step(Kind::Hold, "h", None, "active")];
    if let Some(booking) = booking.map(id) {
        records.push(step(Kind::Book, "b", Some(booking.clone()), "held"));
        records.push(step(Kind::Confirm, "c", Some(booking), "confirmed"));
    }
    records
}

fn write_history(dir: &TempDir) -> std::path::PathBuf {
    let joined = |fan, visitor: &str| Record {
        kind: Some(Kind::Join),
        fan,
        visitor: Some(visitor.into()),
        score: Some(fan as f64),
        place_state: Some("inside".into()),
        ..Record::default()
    };
    let mut records = vec![joined(1, "one"), joined(2, "two")];
    records.extend(purchase(1, 11, Some(21), &[1, 2], 0, 9_000));
    records.extend(purchase(2, 12, Some(22), &[], 2, 5_000));
    records.extend(purchase(2, 13, None, &[3], 0, 4_500));
    let mut text = String::from(
        "{\"burst\":20,\"event\":\"arena\",\"kind\":\"run\",\"rate_per_min\":600,\"sale\":\"demo\",\"scenario\":\"t\",\"seed\":1,\
         \"started_at\":\"2027-01-01T00:00:00Z\",\"targets\":[],\"version\":1}\n",
    );
    for record in &records {
        text.push_str(&serde_json::to_string(record).expect("serialises"));
        text.push('\n');
    }
    let path = dir.path().join("history.ndjson");
    std::fs::write(&path, text).expect("writable");
    path
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the database answers");
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    connection.close().await.expect("closes");
}

async fn findings(url: &str, history: &Path) -> Vec<Finding> {
    let options = AuditOptions {
        history: history.to_owned(),
        postgres: url.to_owned(),
        psp: None,
        control: None,
        sale: None,
        settle: Duration::ZERO,
    };
    audit(&options).await.expect("the audit can be made").findings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clean_sale_is_clean_and_each_crime_is_reported() {
    let postgres = Postgres::start(&Default::default()).expect("Postgres starts");
    let migrations = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../booking/migrations"));
    let clean = postgres.create_database("clean", None).expect("a database");
    {
        let mut connection = PgConnection::connect(&clean).await.expect("the database answers");
        let migrator = Migrator::new(migrations).await.expect("the migrations are readable");
        migrator.run(&mut connection).await.expect("the migrations run");
        connection.close().await.expect("closes");
    }
    execute(&clean, SALE).await;
    let dir = tempfile::tempdir().expect("a directory");
    let history = write_history(&dir);
    for finding in findings(&clean, &history).await {
        assert!(!finding.is_broken(), "{finding}");
    }
    for (number, (invariant, name, sql)) in CRIMES.iter().enumerate() {
        let url = postgres.create_database(&format!("crime{number}"), Some("clean")).expect("a copy");
        execute(&url, sql).await;
        let found = findings(&url, &history).await;
        let caught = found.iter().find(|finding| finding.name == *invariant).expect("the invariant is checked");
        assert!(caught.is_broken(), "{name} went unseen: {caught}");
    }
}
