//! Goal: the best seats by the ladder, the answer says which rung, filters are kept to, single seats are not left where
//! the event says so, live holds have a limit, and every refusal is right at the version that it names. Method: a small
//! hall sold out, races of choosers and pickers, each refusal judged by the history and a search of everything.

use std::collections::HashSet;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::oracle::{self, Exchange, Oracle};
use crate::support::{Answer, Fan, GUARDED, OPEN, Options, TestApp, hold_path};

fn numbers(hold: &Value) -> Vec<i64> {
    hold["seats"].as_array().unwrap().iter().map(|seat| seat["seat_no"].as_i64().unwrap()).collect()
}

async fn exchange(fan: &Fan<'_>, event: &str, body: Value) -> Exchange {
    let sent = Timestamp::now();
    let answer = fan.hold(event, body.clone()).await;
    Exchange { body, sent, answered: Timestamp::now(), status: answer.status.as_u16(), answer: answer.json() }
}

/// After all is over.
async fn oracle(app: &TestApp, event: &str) -> Oracle {
    let plan = app.stranger().get(&format!("/v1/events/{event}/plan")).await.expect(200);
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(oracle::query(event)));
    let told: String = query.fetch_one(app.db()).await.unwrap();
    Oracle::of(&plan, &told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn down_the_ladder_until_nothing_is_left() {
    let app = TestApp::start().await;
    let mut sold = HashSet::new();
    let mut rungs = HashSet::new();
    loop {
        let answer = app.fan().hold(GUARDED, json!({ "best": { "quantity": 3 } })).await;
        if answer.status != 201 {
            let problem = answer.problem(409, "not-enough");
            assert!(problem["available"].as_i64().unwrap() < 3, "{problem}");
            break;
        }
        let hold = answer.json();
        let seats = numbers(&hold);
        let rung = hold["best"]["rung"].as_str().unwrap().to_owned();
        if rung == "together" || rung == "orphan" {
            assert!(seats.windows(2).all(|pair| pair[1] == pair[0] + 1), "beside each other: {seats:?}");
        }
        assert!(!hold["best"]["reason"].as_str().unwrap().is_empty());
        assert!(seats.iter().all(|seat| sold.insert(*seat)), "sold twice: {seats:?}");
        rungs.insert(rung);
    }
    assert!(rungs.contains("together") && rungs.len() >= 2, "{rungs:?}");
    // A refusal was right: nobody gets three, somebody gets what is left.
    let kept: i64 =
        sqlx::query_scalar("select count(*) from seat where event_id = $1 and attributes && '{accessible,companion}'")
            .bind(GUARDED)
            .fetch_one(app.db())
            .await
            .unwrap();
    let left = 62 - kept - i64::try_from(sold.len()).unwrap();
    assert!((0..3).contains(&left), "{left} left");
    for _ in 0..left {
        app.fan().hold(GUARDED, json!({ "best": { "quantity": 1 } })).await.expect(201);
    }
    app.fan().hold(GUARDED, json!({ "best": { "quantity": 1 } })).await.problem(409, "not-enough");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters() {
    let app = TestApp::start().await;
    let best = async |best: Value| app.fan().hold(GUARDED, json!({ "best": best })).await;
    let hold = best(json!({ "quantity": 2, "max_price": 4400 })).await.expect(201);
    for seat in hold["seats"].as_array().unwrap() {
        assert!(seat["price"]["amount"].as_i64().unwrap() <= 4400, "{seat}");
    }
    best(json!({ "quantity": 1, "max_price": 1 })).await.problem(409, "not-enough");
    best(json!({ "quantity": 2, "aisle": true })).await.expect(201);
    best(json!({ "quantity": 1, "accessible": 2 })).await.problem(400, "invalid");
    best(json!({ "quantity": 1, "near": true })).await.problem(400, "invalid");
    let hold = best(json!({ "quantity": 2, "accessible": 1 })).await.expect(201);
    let places: i64 = sqlx::query_scalar(
        "select count(*) from seat s join hold_seat h using (event_id, seat_no)
         where h.hold_id = $1::uuid and 'accessible' = any(s.attributes)",
    )
    .bind(hold["hold"].as_str().unwrap())
    .fetch_one(app.db())
    .await
    .unwrap();
    assert_eq!(places, 1, "{hold}");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn choosers_and_pickers_race() {
    let app = TestApp::start().await;
    let answers = join_all((0..60).map(|n| {
        let fan = app.fan();
        let row = ["B", "C", "D"][n % 3];
        let body = match n % 2 {
            0 => json!({ "best": { "quantity": 2 } }),
            _ => json!({ "seats": [format!("stalls-{row}-{}", 1 + n % 9)] }),
        };
        async move { exchange(&fan, GUARDED, body).await }
    }))
    .await;
    let mut sold = HashSet::new();
    for (n, told) in answers.iter().enumerate() {
        match told.status {
            201 => assert!(numbers(&told.answer).into_iter().all(|seat| sold.insert(seat)), "sold twice"),
            _ => {
                let kind = if n % 2 == 0 { "not-enough" } else { "seats-taken" };
                assert!(told.answer["type"].as_str().unwrap().ends_with(kind), "{}", told.answer);
            }
        }
    }
    assert!(sold.len() > 40, "{} sold", sold.len());
    let refused = oracle(&app, GUARDED).await.judge_all(&answers);
    let count = answers.iter().filter(|told| told.status == 409).count();
    assert!(count > 0 && refused.values().sum::<usize>() == count, "{count} refused, judged: {refused:?}");
    app.check().await;
}

/// What the nth asks for in a round: by name, by the ladder with and without filters, or places of the pit.
fn wish(n: usize) -> Value {
    let (row, first) = (["B", "C", "D"][n % 3], 1 + n % 8);
    match n % 7 {
        0 => json!({ "best": { "quantity": 2 } }),
        1 => json!({ "best": { "quantity": 3, "together": true } }),
        2 => json!({ "best": { "quantity": 2, "category": if n.is_multiple_of(2) { "Stalls" } else { "Balcony" } } }),
        3 => json!({ "areas": [{ "area": "pit", "quantity": 1 + n % 9 }] }),
        4 => json!({ "seats": [format!("balcony-A-{first}"), format!("balcony-B-{first}")] }),
        _ => json!({ "seats": [format!("stalls-{row}-{first}"), format!("stalls-{row}-{}", first + 1)] }),
    }
}

/// Holds lapse after a second and nothing sweeps them away; some are released at once; two nodes decide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_right_at_the_moment_that_it_names() {
    let app = TestApp::with(Options { set: vec!["holds.ttl_s=1"], ..Options::default() }).await;
    let nodes = [app.url.clone(), app.second_node().await];
    let (mut told, mut released, mut rounds_after_a_lapse) = (Vec::new(), Vec::new(), 0);
    for round in 0..100 {
        let asked = join_all((0..42).map(|n| {
            let fan = app.fan().at(&nodes[n % 2]);
            async move {
                let told = exchange(&fan, GUARDED, wish(n + 5 * round)).await;
                if told.status != 201 || n % 4 > 0 {
                    return (told, None);
                }
                fan.delete(&hold_path(&told.answer)).await.expect(204);
                (told, Some(Timestamp::now()))
            }
        }));
        for (exchange, gone) in asked.await {
            released.extend(gone.map(|at| (at, exchange.answer["hold"].clone())));
            told.push(exchange);
        }
        let query = "select count(*) from seat_event where op = 'expire'";
        let lapsed: i64 = sqlx::query_scalar(query).fetch_one(app.db()).await.unwrap();
        rounds_after_a_lapse += usize::from(lapsed > 0);
        if rounds_after_a_lapse == 3 {
            break;
        }
    }
    assert_eq!(rounds_after_a_lapse, 3, "what had lapsed was taken");
    let mut oracle = oracle(&app, GUARDED).await;
    // What lapses before it is released is given back without a change.
    released.retain(|(at, hold)| oracle.tell(*at, "release", hold));
    let refused = oracle.judge_all(&told);
    let of = |found: &dyn Fn(&Exchange) -> bool| told.iter().filter(|told| told.status == 409 && found(told)).count();
    let (named, best, areas) = (
        of(&|told| told.body["seats"].is_array()),
        of(&|told| told.body["best"].is_object()),
        of(&|told| told.body["areas"].is_array()),
    );
    assert!(named > 0 && best > 0 && areas > 0 && !released.is_empty(), "{named}, {best}, {areas}: {refused:?}");
    assert_eq!(refused.values().sum::<usize>(), named + best + areas);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_single_seat_is_left_where_the_event_says_so() {
    let app = TestApp::start().await;
    sqlx::query("update event set leaves_no_single = true where event_id = $1")
        .bind(OPEN)
        .execute(app.db())
        .await
        .unwrap();
    let hold = async |seats: Value| exchange(&app.stranger(), OPEN, json!({ "seats": seats })).await;
    let first = hold(json!(["stalls-C-2"])).await;
    assert_eq!(first.answer["orphans"], json!(["stalls-C-1"]));
    let pair = hold(json!(["stalls-C-1", "stalls-C-2"])).await;
    let second = hold(json!(["stalls-C-4", "stalls-C-5"])).await;
    assert_eq!(second.answer["orphans"], json!(["stalls-C-3"]));
    let third = hold(json!(["stalls-C-3"])).await;
    assert_eq!([first.status, pair.status, second.status, third.status], [409, 201, 409, 201]);
    let mut oracle = oracle(&app, OPEN).await;
    assert_eq!(oracle.judge_all(&[first, pair, second.clone(), third])["leaves-single"], 2);
    let mut early = second;
    early.answer["version"] = json!(0);
    assert!(oracle.judge(&early).is_err(), "two seats were left beside each other before the pair was held");
    // Another event has no such rule.
    app.fan().hold(GUARDED, json!({ "seats": ["stalls-C-2"] })).await.expect(201);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_holds_have_a_limit_in_parallel_too() {
    let app = TestApp::with(Options { set: vec!["holds.max_holds_per_visitor=3"], ..Options::default() }).await;
    let fan = app.fan();
    let answers: Vec<Answer> = join_all((1..=9).map(|n| {
        let (fan, body) = (fan.clone(), json!({ "seats": [format!("stalls-C-{n}")] }));
        async move { fan.hold(GUARDED, body).await }
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        let problem = answer.problem(422, "limit-exceeded");
        assert_eq!((&problem["limit"], &problem["have"]), (&json!(3), &json!(3)));
    }
    app.check().await;
}
