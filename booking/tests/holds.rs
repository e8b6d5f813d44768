//! Goal: holds are all-or-nothing, never double, and gone by the database's clock. Method: single holds for
//! their documents, races of many fans for what is short, and clocks pushed in the table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, CLUB, GUARDED, OPEN, Options, TestApp, Wire, hold_path, until};

fn seat(row: &str, number: u32) -> String {
    format!("stalls-{row}-{number}")
}

/// 50 of the seats that nobody keeps for others.
pub(crate) fn fifty() -> Vec<String> {
    let rows = [("stalls-B", 9), ("stalls-C", 10), ("stalls-D", 11), ("balcony-A", 12), ("balcony-B", 8)];
    rows.iter().flat_map(|(row, seats)| (1..=*seats).map(move |n| format!("{row}-{n}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_says_everything() {
    let app = TestApp::start().await;
    let fan = app.fan();
    let answer = fan.hold(GUARDED, json!({ "seats": ["stalls-C-5", "stalls-B-2"] })).await;
    let hold = answer.expect(201);
    assert_eq!(answer.header("location"), Some(hold_path(&hold).as_str()));
    assert!(answer.header("set-cookie").unwrap().starts_with("usher_buyer_"));
    assert_eq!(
        (&hold["event"], &hold["state"], &hold["expires_in_s"]),
        (&json!(GUARDED), &json!("active"), &json!(600))
    );
    assert!(hold["expires_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(hold["areas"], json!([]));
    // In the order of the plan, priced with the fee, added up.
    let seats: Vec<(&str, i64, i64)> = hold["seats"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["seat"].as_str().unwrap(), s["seat_no"].as_i64().unwrap(), s["price"]["amount"].as_i64().unwrap()))
        .collect();
    assert_eq!(seats, [("stalls-B-2", 9, 5950), ("stalls-C-5", 21, 4350)]);
    assert_eq!(hold["total"], json!({ "amount": 10_300, "currency": "EUR" }));
    assert_eq!(hold["fee"]["amount"], 300);
    // 6 % of the gross: 5950 holds 337, 4350 holds 246.
    assert_eq!(hold["tax"]["amount"], 583);

    // The buyer token opens it after the pass is gone; so does the cookie.
    let token = hold["buyer"].as_str().unwrap();
    let buyer = app.with_authorization(format!("Buyer {token}"));
    assert_eq!(buyer.get(&hold_path(&hold)).await.expect(200)["seats"], hold["seats"]);
    let cookie =
        app.stranger().request(Method::GET, &hold_path(&hold)).header("cookie", format!("a=b; usher_buyer={token}"));
    Answer::of(cookie.send().await.unwrap()).await.expect(200);

    // Nobody else's.
    for other in [app.fan(), app.stranger()] {
        other.get(&hold_path(&hold)).await.problem(404, "not-found");
        other.delete(&hold_path(&hold)).await.problem(404, "not-found");
    }
    // Released once, twice.
    buyer.delete(&hold_path(&hold)).await.expect(204);
    fan.delete(&hold_path(&hold)).await.expect(204);
    buyer.get(&hold_path(&hold)).await.problem(410, "hold-expired");
    app.fan().hold_seats(GUARDED, &["stalls-B-2", "stalls-C-5"]).await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_or_nothing() {
    let app = TestApp::start().await;
    app.fan().hold_seats(GUARDED, &["stalls-C-1", "stalls-C-2"]).await;
    let problem = app.fan().hold(GUARDED, json!({ "seats": ["stalls-C-3", "stalls-C-2", "stalls-C-1"] })).await;
    assert_eq!(problem.problem(409, "seats-taken")["taken"], json!(["stalls-C-1", "stalls-C-2"]));
    app.fan().hold_seats(GUARDED, &["stalls-C-3"]).await;
    // Areas: the pit has 40.
    let areas = |quantity: u32| json!({ "areas": [{ "area": "pit", "quantity": quantity }] });
    for _ in 0..4 {
        let hold = app.fan().hold(GUARDED, areas(9)).await.expect(201);
        assert_eq!(
            hold["areas"],
            json!([{ "area": "pit", "quantity": 9, "price": { "amount": 1650, "currency": "EUR" } }])
        );
        assert_eq!(hold["total"]["amount"], 9 * 1650);
    }
    let problem = app.fan().hold(GUARDED, areas(5)).await.problem(409, "not-enough");
    assert_eq!((&problem["area"], &problem["wanted"], &problem["available"]), (&json!("pit"), &json!(5), &json!(4)));
    app.fan().hold(GUARDED, areas(4)).await.expect(201);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_fans_race_for_fifty_seats() {
    let app = TestApp::start().await;
    let seats = fifty();
    let tries = (0..200).map(|n| {
        // Overlapping pairs, so that requests also meet halfway.
        let pair = [&seats[n % 50], &seats[(n * 7 + 1) % 50]];
        let body = if pair[0] == pair[1] { json!({ "seats": [pair[0]] }) } else { json!({ "seats": pair }) };
        let fan = app.fan();
        async move { fan.hold(GUARDED, body).await }
    });
    let mut owners: HashMap<String, u32> = HashMap::new();
    let (mut won, mut lost) = (0, 0);
    for answer in join_all(tries).await {
        if answer.status == 201 {
            won += 1;
            for seat in answer.json()["seats"].as_array().unwrap() {
                *owners.entry(seat["seat"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        } else {
            lost += 1;
            answer.problem(409, "seats-taken");
        }
    }
    assert!(owners.values().all(|times| *times == 1), "sold twice: {owners:?}");
    assert!(won >= 17 && lost > 0, "{won} won, {lost} lost");
    // No false sold-out: what is left can still be had.
    for seat in seats.iter().filter(|seat| !owners.contains_key(*seat)) {
        app.fan().hold_seats(GUARDED, &[seat]).await;
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_fans_race_for_fifty_places() {
    let app = TestApp::start().await;
    let body = json!({ "areas": [{ "area": "club", "quantity": 3 }] });
    let answers = join_all((0..100).map(|_| {
        let (fan, body) = (app.stranger(), body.clone());
        async move { fan.hold(CLUB, body).await }
    }))
    .await;
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(won, 16, "48 of 50 places in threes");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "not-enough");
    }
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn best_never_races_itself() {
    let app = TestApp::start().await;
    let best = |quantity: u32| json!({ "best": { "quantity": quantity, "category": "Stalls", "together": true } });
    // Rows C and D have 10 and 11 seats: each gives two threes and more.
    let answers = join_all((0..8).map(|_| {
        let fan = app.fan();
        let body = best(3);
        async move { fan.hold(GUARDED, body).await }
    }))
    .await;
    let won: Vec<Value> = answers.iter().filter(|a| a.status == 201).map(Answer::json).collect();
    assert!(won.len() >= 5, "{} threes of two rows", won.len());
    for hold in &won {
        let numbers: Vec<i64> =
            hold["seats"].as_array().unwrap().iter().map(|s| s["seat_no"].as_i64().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "beside each other: {numbers:?}");
    }
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "not-enough");
    }
    app.fan().hold(GUARDED, json!({ "best": { "quantity": 6 } })).await.expect(201);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapsed_hold_is_free_for_the_next_taker_at_once() {
    // No jobs: nobody sweeps.
    let app = TestApp::with(Options::default()).await;
    let (hold, buyer) = app.fan().hold_seats(GUARDED, &["stalls-C-1", "stalls-C-2"]).await;
    let club = app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 10 }] })).await.expect(201);
    for _ in 0..4 {
        app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 10 }] })).await.expect(201);
    }
    app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 1 }] })).await.problem(409, "not-enough");
    lapse(&app, &hold).await;
    lapse(&app, &club).await;

    buyer.get(&hold_path(&hold)).await.problem(410, "hold-expired");
    buyer.book(&hold).await.problem(401, "pass-required");
    let (taken, _) = app.fan().hold_seats(GUARDED, &["stalls-C-2", "stalls-C-3"]).await;
    assert_eq!(taken["seats"][0]["seat"], "stalls-C-2");
    app.stranger().hold(CLUB, json!({ "areas": [{ "area": "club", "quantity": 7 }] })).await.expect(201);

    // The take-over is in the history, before the taking.
    let ops: Vec<String> = sqlx::query_scalar("select op from seat_event where event_id = $1 order by version")
        .bind(GUARDED)
        .fetch_all(app.db())
        .await
        .unwrap();
    assert_eq!(ops, ["hold", "extend", "expire", "hold"]);
    // The sweeper tidies the rest, and once is enough.
    while booking::app::expire_holds::expire_holds(&app.services).await.unwrap() > 0 {}
    let states: Vec<(String, i64)> =
        sqlx::query_as("select state, count(*) from hold group by 1 order by 1").fetch_all(app.db()).await.unwrap();
    assert_eq!(states, [("active".to_owned(), 6), ("expired".to_owned(), 2)]);
    app.fan().hold_seats(GUARDED, &["stalls-C-1"]).await;
    app.check().await;
}

/// Pushes the end of a hold into the past, in the way in which it is pushed into the future: what changes is in the
/// history.
pub(crate) async fn lapse(app: &TestApp, hold: &Value) {
    let id: uuid::Uuid = hold["hold"].as_str().unwrap().parse().unwrap();
    let mut conn = app.db().acquire().await.unwrap();
    let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
    for table in ["hold", "seat", "hold_area"] {
        let query = format!(
            "update {table} set expires_at = clock_timestamp() - interval '1 ms' where hold_id = $1 and expires_at is not null"
        );
        sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).execute(&mut *tx).await.unwrap();
    }
    let query = "with bumped as (update event_version set version = version + 1
                     where event_id = (select event_id from hold where hold_id = $1) returning event_id, version)
                 insert into seat_event (event_id, version, op, state, seats, areas, hold_id, expires_at)
                 select event_id, version, 'extend', 1,
                        (select coalesce(array_agg(seat_no order by seat_no), '{}') from seat where hold_id = $1),
                        '[]', $1, clock_timestamp() - interval '1 ms' from bumped";
    sqlx::query(query).bind(id).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiry_and_sweeper_race_takers() {
    let app = TestApp::with(Options { jobs: true, set: vec!["holds.ttl_s=1"], ..Options::default() }).await;
    // Everybody goes for the same seats for three lives of a hold; each life has one winner.
    let ends = tokio::time::Instant::now() + std::time::Duration::from_millis(3200);
    let wins = join_all((0..16).map(|_| {
        let app = &app;
        async move {
            let mut wins: Vec<(jiff::Timestamp, jiff::Timestamp)> = Vec::new();
            while tokio::time::Instant::now() < ends {
                let answer = app.fan().hold(GUARDED, json!({ "seats": ["stalls-D-1", "stalls-D-2"] })).await;
                match answer.status.as_u16() {
                    201 => {
                        let hold = answer.json();
                        let time = |member: &str| hold[member].as_str().unwrap().parse().unwrap();
                        wins.push((time("created_at"), time("expires_at")));
                    }
                    _ => drop(answer.problem(409, "seats-taken")),
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            wins
        }
    }))
    .await;
    let mut wins: Vec<_> = wins.into_iter().flatten().collect();
    wins.sort_unstable();
    assert!(wins.len() >= 2, "{wins:?}");
    assert!(wins.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two holders at once: {wins:?}");
    until("all is swept", || async {
        let held: i64 =
            sqlx::query_scalar("select count(*) from seat where state <> 0").fetch_one(app.db()).await.unwrap();
        (held == 0).then_some(())
    })
    .await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_has_a_limit_in_parallel_too() {
    let app = TestApp::start().await;
    let fan = app.fan();
    let answers = join_all((1..=10).map(|n| {
        let body = json!({ "seats": [seat("C", n), seat("D", n)] });
        let fan = fan.clone();
        async move { fan.hold(GUARDED, body).await }
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 5, "five pairs are ten");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        let problem = answer.problem(422, "limit-exceeded");
        assert_eq!((&problem["limit"], &problem["have"], &problem["wanted"]), (&json!(10), &json!(10), &json!(2)));
    }
    // What is given back can be taken again; another event has its own count.
    let won = answers.iter().find(|answer| answer.status == 201).unwrap().json();
    fan.delete(&hold_path(&won)).await.expect(204);
    fan.hold(GUARDED, json!({ "best": { "quantity": 3 } })).await.problem(422, "limit-exceeded");
    fan.hold(GUARDED, json!({ "best": { "quantity": 2 } })).await.expect(201);
    fan.hold(OPEN, json!({ "best": { "quantity": 6 } })).await.expect(201);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_fills_the_queue_alone() {
    let wire = Wire::new();
    let app = TestApp::with(Options { wire: Some(Arc::clone(&wire)), ..Options::default() }).await;
    app.fan().hold_seats(GUARDED, &["stalls-B-1"]).await;
    // The writer waits for an answer that does not come; everybody else waits for the writer.
    wire.set_mute(true);
    let (greedy, refused) = (app.fan(), AtomicUsize::new(0));
    let holds = join_all((0..200).map(|n| {
        let (greedy, refused) = (greedy.clone(), &refused);
        async move {
            let answer = greedy.hold(GUARDED, json!({ "seats": [seat("C", n % 10 + 1)] })).await;
            refused.fetch_add(usize::from(answer.status == 429), Ordering::SeqCst);
            answer
        }
    }));
    let other = async {
        until("the rest was refused", || async { (refused.load(Ordering::SeqCst) == 72).then_some(()) }).await;
        let fan = app.fan();
        let hold = fan.hold(GUARDED, json!({ "seats": ["stalls-D-1"] }));
        let cut = async {
            until("the batch is lost", || async { (wire.lost() > 0).then_some(()) }).await;
            wire.cut();
        };
        tokio::join!(hold, cut).0
    };
    let (answers, others) = tokio::join!(holds, other);
    assert!(matches!(others.status.as_u16(), 201 | 503), "not the greedy one's fault: {}", others.text);
    assert_eq!(refused.load(Ordering::SeqCst), 72, "128 wait at most");
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        let problem = answer.problem(429, "rate-limited");
        assert_eq!((&problem["limit"], answer.header("retry-after")), (&json!(128), Some("1")));
    }
    // Turns come back.
    let answer = greedy.hold(GUARDED, json!({ "seats": ["stalls-B-2"] })).await;
    assert!(matches!(answer.status.as_u16(), 201 | 422), "{}", answer.text);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_leaves_no_transaction_open() {
    let app = TestApp::start().await;
    for n in 0..100u64 {
        let request = app.stranger().request(Method::POST, &format!("/v1/events/{OPEN}/holds"));
        let request = request.json(&json!({ "best": { "quantity": 1 } })).send();
        let _ = tokio::time::timeout(std::time::Duration::from_micros(n * 100), request).await;
    }
    until("nothing is idle in a transaction", || async {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'",
        )
        .fetch_one(app.db())
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    // Whatever was held is whole.
    app.stranger().hold(OPEN, json!({ "areas": [{ "area": "pit", "quantity": 1 }] })).await.expect(201);
    app.check().await;
}
