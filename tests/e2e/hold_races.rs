//! Goal: under contention over two booking nodes each seat has one holder, nobody has half, nobody more than allowed, every
//! refusal is right at the version that it names, and the database breaks no deadlock. Method: crowds that want the same, in
//! every order, on both nodes at once; each refusal judged by the history.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::hall::{EVENT, Hall};
use crate::refusals::{self, Exchange, Oracle};
use crate::world::text;

/// Requests under way at once.
const AT_ONCE: usize = 200;

async fn exchange(hall: &Hall, node: usize, body: Value) -> Exchange {
    let sent = Timestamp::now();
    let (status, answer) = post(hall, node, body.clone(), None).await;
    Exchange { body, sent, answered: Timestamp::now(), status, answer }
}

/// Every refusal was right; there were so many.
async fn judge(hall: &Hall, told: &[Exchange]) -> usize {
    let plan = hall.world.get(&format!("/v1/events/{EVENT}/plan")).send().await.unwrap().json().await.unwrap();
    let refused = Oracle::of(&plan, &hall.sql(&refusals::query(EVENT))).judge_all(told);
    assert_eq!(refused.values().sum::<usize>(), told.iter().filter(|told| told.status == 409).count(), "{refused:?}");
    refused.values().sum()
}

async fn post(hall: &Hall, node: usize, body: Value, buyer: Option<&str>) -> (u16, Value) {
    let mut request = hall.world.client.post(hall.holds(node)).json(&body);
    if let Some(buyer) = buyer {
        request = request.header("authorization", format!("Buyer {buyer}"));
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_contenders_for_each_seat() {
    let hall = Hall::open(200, &[]).await;
    let wanted = &hall.seats[..5];
    let answers: Vec<Exchange> = stream::iter(0..5000)
        .map(|n| exchange(&hall, n / 5 % 2, json!({"seats": [wanted[n % 5]]})))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut holders: HashMap<&str, u32> = HashMap::new();
    for told in &answers {
        match told.status {
            201 => *holders.entry(told.body["seats"][0].as_str().unwrap()).or_default() += 1,
            409 => assert_eq!(told.answer["taken"], told.body["seats"], "{}", told.answer),
            other => panic!("{other}: {}", told.answer),
        }
    }
    assert_eq!(judge(&hall, &answers).await, 4995);
    assert!(wanted.iter().all(|seat| holders.get(seat.as_str()) == Some(&1)), "{holders:?}");
    assert_eq!(hall.sql("select count(*) from hold"), "5");
    assert_eq!(hall.deadlocks(), "0");
    hall.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_parties_on_two_nodes() {
    let hall = Hall::open(200, &[]).await;
    let (front, floor) = (&hall.seats[..60], json!({"areas": [{"area": "floor", "quantity": 3}]}));
    // Parties of four in every order, the best four, and places of the floor; some held by both nodes at once.
    let answers: Vec<Exchange> = stream::iter(0..1200usize)
        .map(|n| {
            let mut party: Vec<&String> = (0..4).map(|i| &front[(n * 7 + i * (1 + n % 5)) % 60]).collect();
            if n % 2 == 1 {
                party.reverse();
            }
            let named: HashSet<&&String> = party.iter().collect();
            let body = match n % 6 {
                0 => json!({"best": {"quantity": 4}}),
                1 => floor.clone(),
                _ if named.len() == 4 => json!({"seats": party}),
                _ => json!({"seats": [party[0]]}),
            };
            exchange(&hall, n % 2, body)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut taken = HashSet::new();
    let mut places = 0;
    for Exchange { status, answer: document, .. } in answers.iter().filter(|told| told.status != 409) {
        assert_eq!(*status, 201, "{document}");
        for seat in document["seats"].as_array().unwrap() {
            assert!(taken.insert(text(&seat["seat"])), "held twice: {seat}");
        }
        places +=
            document["areas"].as_array().unwrap().iter().map(|area| area["quantity"].as_i64().unwrap()).sum::<i64>();
    }
    assert_eq!(hall.sql("select count(*) from seat where state = 1"), taken.len().to_string(), "all told are there");
    assert_eq!(hall.sql("select sum(held) from area"), places.to_string());
    assert!(judge(&hall, &answers).await > 0);
    // No false sold-out: what nobody has can be had, one by one.
    for seat in front.iter().filter(|seat| !taken.contains(*seat)) {
        assert_eq!(post(&hall, 0, json!({"seats": [seat]}), None).await.0, 201, "{seat}");
    }
    assert_eq!(hall.deadlocks(), "0");
    hall.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_has_one_limit_on_two_nodes() {
    let hall = Hall::open(200, &[]).await;
    for round in 0..5 {
        let seats = &hall.seats[round * 40..round * 40 + 40];
        let (status, first) = post(&hall, 0, json!({"seats": [seats[0]]}), None).await;
        assert_eq!(status, 201, "{first}");
        let buyer = text(&first["buyer"]);
        let answers: Vec<(u16, Value)> = stream::iter(1..20)
            .map(|n| post(&hall, n % 2, json!({"seats": [seats[2 * n], seats[2 * n + 1]]}), Some(&buyer)))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let won = answers.iter().filter(|(status, _)| *status == 201).count();
        assert_eq!(won, 4, "one seat and four pairs are nine of ten");
        for (_, refused) in answers.iter().filter(|(status, _)| *status != 201) {
            assert!(text(&refused["type"]).ends_with("/limit-exceeded"), "{refused}");
        }
    }
    assert_eq!(hall.deadlocks(), "0");
    hall.audit();
}
