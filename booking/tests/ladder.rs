//! Goal: the best seats by the ladder, the answer says which rung, filters are kept to, single seats are not left where
//! the event says so, and live holds have a limit. Method: a small hall sold out, races of choosers and pickers.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, GUARDED, OPEN, Options, TestApp};

fn numbers(hold: &Value) -> Vec<i64> {
    hold["seats"].as_array().unwrap().iter().map(|seat| seat["seat_no"].as_i64().unwrap()).collect()
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
        async move { (n, fan.hold(GUARDED, body).await) }
    }))
    .await;
    let mut sold = HashSet::new();
    for (n, answer) in &answers {
        match answer.status.as_u16() {
            201 => assert!(numbers(&answer.json()).into_iter().all(|seat| sold.insert(seat)), "sold twice"),
            _ if n % 2 == 0 => drop(answer.problem(409, "not-enough")),
            _ => drop(answer.problem(409, "seats-taken")),
        }
    }
    assert!(answers.iter().any(|(_, answer)| answer.status == 409) && sold.len() > 40, "{} sold", sold.len());
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
    let hold = async |seats: Value| app.stranger().hold(OPEN, json!({ "seats": seats })).await;
    let problem = hold(json!(["stalls-C-2"])).await.problem(409, "leaves-single");
    assert_eq!(problem["orphans"], json!(["stalls-C-1"]));
    hold(json!(["stalls-C-1", "stalls-C-2"])).await.expect(201);
    let problem = hold(json!(["stalls-C-4", "stalls-C-5"])).await.problem(409, "leaves-single");
    assert_eq!(problem["orphans"], json!(["stalls-C-3"]));
    hold(json!(["stalls-C-3"])).await.expect(201);
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
