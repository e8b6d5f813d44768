//! Goal: the hot statements find their rows by index, whatever the planner thinks of the tables. Method: the database
//! tells the plan of every statement inside the function of the holds writer, on a hall of 60,000 seats; the plans are
//! committed as text in `tests/plans`, so that a change of one is seen. `RENEW_PLANS=1` writes them anew.

use std::path::Path;
use std::process::Command;

use crate::support::{OPEN, TestApp, psql};

/// A hall of 60,000 seats with something in every table, then one batch for seats with everything that can be in it
/// (a limit, a key, a lapsed hold), and one for places.
const SCRIPT: &str = r"
select current_setting('server_version_num')::integer / 10000;
insert into seat (event_id, seat_no, seat, section, row, number, category)
  select event_id, n, 'X-' || n, section, row, n::text, category
  from (select * from seat where event_id = :'event' limit 1) s, generate_series(1000, 60999) n;
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
        if text.contains(" on ") && !text.contains("from hold_batch(") && !plans.contains(&text) {
            plans.push(text);
        }
    }
    plans.join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holds_writer_finds_everything_by_index() {
    let app = TestApp::start().await;
    let url = app.database().to_owned();
    let (version, said) = tokio::task::spawn_blocking(move || {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), SCRIPT).unwrap();
        let mut command = Command::new(psql());
        command.args([&url, "-qAt", "-v", "ON_ERROR_STOP=1", "-v", &format!("event={OPEN}"), "-f"]).arg(file.path());
        let done = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{err}");
        let told: Vec<&str> = out.lines().collect();
        assert_eq!(told[1..], ["{0}", "{0}"], "both were held");
        (told[0].to_owned(), err.into_owned())
    })
    .await
    .unwrap();
    let plans = format!("Postgres {version}\n\n{}", plans(&said));
    assert!(plans.matches("Index Scan").count() >= 10, "the plans were told:\n{plans}");
    for bad in ["Seq Scan", "Hash Join", "Merge Join"] {
        assert!(!plans.contains(bad), "{bad}:\n{plans}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/hold_batch.txt");
    if std::env::var_os("RENEW_PLANS").is_some() {
        std::fs::write(&file, &plans).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    // Other versions may plan otherwise, by index all the same.
    if kept.starts_with(&format!("Postgres {version}\n")) {
        let changed = plans.lines().zip(kept.lines()).find(|(now, before)| now != before);
        assert!(plans == kept, "a plan has changed, {changed:?}; RENEW_PLANS=1 renews tests/plans/hold_batch.txt");
    }
}
