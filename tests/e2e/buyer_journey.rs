//! One fan from the line to the ticket, exactly as the contract says, header by header.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::world::{World, header, problem, seats_of, text};

/// State of one seat in a snapshot: two bits each, the first seat in the lowest.
fn seat_state(snapshot: &Value, seat_no: usize) -> u8 {
    let packed = STANDARD.decode(text(&snapshot["seats"])).unwrap();
    (packed[seat_no / 4] >> (2 * (seat_no % 4))) & 3
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fan_from_the_line_to_the_ticket() {
    let world = World::shared();

    // The line: joining gives a place, the place lets its holder in.
    let answer = world.client.post(world.gateway("/_usher/sales/demo/join")).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let place = header(&answer, "usher-place");
    let cookie = header(&answer, "set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let joined: Value = answer.json().await.unwrap();
    assert_eq!((text(&joined["place"]), text(&joined["sale"])), (place.clone(), "demo".to_owned()));
    assert_eq!(text(&joined["visitor"]).len(), 22);

    let again = world
        .client
        .post(world.gateway("/_usher/sales/demo/join"))
        .header("authorization", format!("Place {place}"))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 200, "a valid place is the same place");
    let mut document: Value = again.json().await.unwrap();
    assert_eq!(document["visitor"], joined["visitor"]);
    while document["state"] != "inside" {
        document = world.poll("demo", &place).await;
    }
    let answer = world.poll_at(1, "demo", &place).await;
    let pass = header(&answer, "usher-pass");
    let asked_again: Value = answer.json().await.unwrap();
    assert_eq!(text(&asked_again["pass"]), pass);
    assert_eq!(asked_again["pass_expires_at"], document["pass_expires_at"], "asking twice is the same pass");
    let pass = format!("Pass {pass}");

    // The event and its seats need no pass.
    let event: Value = world.get("/v1/events/demo-arena").send().await.unwrap().json().await.unwrap();
    assert!(event["price_categories"].as_array().is_some_and(|categories| categories.len() >= 4), "{event}");
    let answer = world.get("/v1/events/demo-arena/plan").send().await.unwrap();
    let tag = header(&answer, "etag");
    assert!(tag.starts_with('"'), "a strong ETag, not {tag:?}");
    let plan: Value = answer.json().await.unwrap();
    let guids = seats_of(&plan);
    assert!(guids.len() >= 10_000, "{}", guids.len());
    let cached = world.get("/v1/events/demo-arena/plan").header("if-none-match", tag).send().await.unwrap();
    assert_eq!(cached.status(), 304);

    let snapshot: Value = world.get("/v1/events/demo-arena/seats").send().await.unwrap().json().await.unwrap();
    let free: Vec<usize> = (4_000..guids.len()).filter(|&no| seat_state(&snapshot, no) == 0).take(2).collect();
    let wanted: Vec<&String> = free.iter().map(|&no| &guids[no]).collect();

    // A hold needs the pass.
    let body = json!({"seats": wanted});
    let refused = world.post("/v1/events/demo-arena/holds", &body).send().await.unwrap();
    // At this pace the line is no wait, so the gateway admits on the spot; straight at the core it is refused.
    assert_eq!(refused.status(), 201, "joined, was called at once and went through");
    let direct = format!("{}/v1/events/demo-arena/holds", world.ready().booking[0]);
    let direct = world.client.post(direct).json(&body).send().await.unwrap();
    problem(direct, 401, "pass-required").await;
    let taken = world
        .post("/v1/events/demo-arena/holds", &body)
        .header("authorization", &pass)
        .header("idempotency-key", "journey-taken")
        .send()
        .await
        .unwrap();
    let taken = problem(taken, 409, "seats-taken").await;
    assert_eq!(taken["taken"], json!(wanted));

    let free: Vec<usize> = (5_000..guids.len()).filter(|&no| seat_state(&snapshot, no) == 0).take(2).collect();
    let wanted: Vec<&String> = free.iter().map(|&no| &guids[no]).collect();
    let hold = |key: &'static str| {
        world
            .post("/v1/events/demo-arena/holds", &json!({"seats": wanted}))
            .header("authorization", &pass)
            .header("idempotency-key", key)
            .send()
    };
    let answer = hold("journey-hold").await.unwrap();
    assert_eq!(answer.status(), 201);
    let held: Value = answer.json().await.unwrap();
    assert_eq!(held["state"], "active");
    assert!(held["expires_in_s"].as_f64().is_some_and(|s| s > 60.0), "{held}");
    let prices: i64 = held["seats"].as_array().unwrap().iter().map(|s| s["price"]["amount"].as_i64().unwrap()).sum();
    assert_eq!(held["total"]["amount"], prices, "the total is the sum of the places");
    let replayed = hold("journey-hold").await.unwrap();
    assert_eq!(header(&replayed, "idempotency-replayed"), "true");
    let replayed: Value = replayed.json().await.unwrap();
    assert_eq!(replayed, held, "the same answer again");
    let snapshot: Value = world.get("/v1/events/demo-arena/seats").send().await.unwrap().json().await.unwrap();
    assert_eq!(seat_state(&snapshot, free[0]), 1, "held on every node");

    // The booking, a declined card, then a good one.
    let answer = world
        .post(
            "/v1/events/demo-arena/bookings",
            &json!({"hold": held["hold"], "buyer": {"name": "Ada Lovelace", "email": "ada@example.org"}}),
        )
        .header("authorization", &pass)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let booking: Value = answer.json().await.unwrap();
    assert_eq!((&booking["state"], &booking["total"]), (&json!("held"), &held["total"]));
    let id = text(&booking["booking"]);
    let confirm = |token: &'static str| {
        world
            .post(
                &format!("/v1/events/demo-arena/bookings/{id}/confirm"),
                &json!({"payment": {"method": "sandbox", "token": token}}),
            )
            .header("authorization", &pass)
            .send()
    };
    problem(confirm("tok_declined").await.unwrap(), 402, "payment-declined").await;
    let answer = confirm("tok_ok").await.unwrap();
    assert_eq!(answer.status(), 200, "the hold lived on after the declined card");
    let confirmed: Value = answer.json().await.unwrap();
    assert_eq!(confirmed["state"], "confirmed");

    // The buyer token opens what the pass opened, also without it.
    let buyer = text(&held["buyer"]);
    let path = format!("/v1/events/demo-arena/bookings/{id}");
    let mine: Value =
        world.get(&path).header("authorization", format!("Buyer {buyer}")).send().await.unwrap().json().await.unwrap();
    assert_eq!(mine["tickets"].as_array().map(Vec::len), Some(2), "{mine}");
    problem(world.get(&path).send().await.unwrap(), 404, "not-found").await;
    let list: Value = world
        .get("/v1/bookings")
        .header("authorization", format!("Buyer {buyer}"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(list["items"].as_array().unwrap().iter().any(|item| item["booking"] == booking["booking"]), "{list}");
    let snapshot: Value = world.get("/v1/events/demo-arena/seats").send().await.unwrap().json().await.unwrap();
    assert_eq!(seat_state(&snapshot, free[1]), 3, "sold");

    // The provider's own ledger agrees to the cent.
    let ledger: Value =
        world.client.get(format!("{}/v1/ledger", world.ready().psp)).send().await.unwrap().json().await.unwrap();
    let captured: Vec<&Value> = ledger["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| text(&item["reference"]).starts_with(&id) && item["status"] == "captured")
        .collect();
    assert_eq!(captured.len(), 1);
    assert_eq!(captured[0]["captured"], held["total"]["amount"]);

    // Leaving frees the slot.
    let url = world.gateway("/_usher/sales/demo/place");
    let left = world.client.delete(url).header("authorization", format!("Place {place}")).send().await.unwrap();
    assert_eq!(left.status(), 204);
    assert_eq!(world.poll("demo", &place).await["state"], "left");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unguarded_club_needs_no_line_but_knows_its_buyer() {
    let world = World::shared();
    let answer = world
        .post("/v1/events/demo-club/holds", &json!({"areas": [{"area": "club", "quantity": 2}]}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let held: Value = answer.json().await.unwrap();
    let path = format!("/v1/events/demo-club/holds/{}", text(&held["hold"]));
    problem(world.get(&path).send().await.unwrap(), 404, "not-found").await;
    let buyer = format!("Buyer {}", text(&held["buyer"]));
    let mine = world.get(&path).header("authorization", &buyer).send().await.unwrap();
    assert_eq!(mine.status(), 200);
    for _ in 0..2 {
        let released = world.client.delete(world.gateway(&path)).header("authorization", &buyer).send().await.unwrap();
        assert_eq!(released.status(), 204, "releasing twice is releasing once");
    }
}
