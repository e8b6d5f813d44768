//! Goal: the Stripe adapter does what the trait promises. Method: a server that somebody else wrote (localstripe), over
//! HTTP, alone and behind a booking node; and what it cannot do, against a server that keeps what it is sent.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use booking::app::receive_callback::work_off;
use booking::payments::{Authorise, PaymentProvider, ProviderError, ProviderPayment, ProviderStatus, Stripe};
use booking::payments::{WebhookError, signature::SignatureError};
use booking::storage::alarms;
use booking_domain::{Currency, Money};
use serde_json::{Value, json};

use crate::callbacks::signed_with;
use crate::money::{booked, settled};
use crate::support::localstripe::{ASKING_CARD, DECLINED_CARD, GOOD_CARD, LocalStripe, SECRET_KEY, WEBHOOK_SECRET};
use crate::support::{GUARDED, Options, TestApp, path_of, until, value};

fn stripe(url: &str, key: &str) -> Stripe {
    stripe_within(url, key, 10_000)
}

fn stripe_within(url: &str, key: &str, timeout_ms: u64) -> Stripe {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (client, timeout) = (reqwest::Client::new(), Duration::from_millis(timeout_ms));
    Stripe::new(url, client, timeout, key.into(), WEBHOOK_SECRET.into()).unwrap()
}

fn euro(amount: i64) -> Money {
    Money::new(amount, Currency::from_code("EUR").unwrap())
}

fn asked(token: &str) -> Authorise {
    let reference = format!("{}/1", uuid::Uuid::now_v7());
    Authorise { reference, amount: euro(4500), token: token.to_owned() }
}

/// What decides, without the ids.
fn facts(payment: &ProviderPayment) -> (ProviderStatus, i64, i64, i64) {
    (payment.status, payment.amount, payment.captured, payment.refunded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_authorised_captured_and_paid_back_in_parts() {
    let Some(server) = LocalStripe::of_this_run() else { return };
    let (provider, request) = (stripe(&server.url, SECRET_KEY), asked(&server.card(GOOD_CARD).await));
    assert_eq!(provider.find(&request.reference).await.unwrap(), None);
    let made = provider.authorise(&request).await.unwrap();
    assert_eq!(facts(&made), (ProviderStatus::Authorized, 4500, 0, 0));
    assert_eq!((made.reference.as_str(), made.currency.as_str()), (request.reference.as_str(), "EUR"));
    assert_eq!(provider.find(&request.reference).await.unwrap().as_ref(), Some(&made));
    assert_eq!(provider.get(&made.id).await.unwrap().as_ref(), Some(&made));

    let too_much = provider.capture(&made.id, euro(4501)).await;
    assert!(matches!(too_much, Err(ProviderError::Refused { status: 400, .. })), "{too_much:?}");
    let captured = provider.capture(&made.id, euro(4500)).await.unwrap();
    assert_eq!(facts(&captured), (ProviderStatus::Captured, 4500, 4500, 0));
    let too_late = provider.void(&made.id).await;
    assert!(matches!(too_late, Err(ProviderError::Refused { .. })), "{too_late:?}");
    let key = |part: u32| format!("{}/refund/{part}", made.id);
    let partly = provider.refund(&made.id, euro(1000), &key(1)).await.unwrap();
    assert_eq!(facts(&partly), (ProviderStatus::Captured, 4500, 4500, 1000));
    let refunded = provider.refund(&made.id, euro(3500), &key(2)).await.unwrap();
    assert_eq!(facts(&refunded), (ProviderStatus::Refunded, 4500, 4500, 4500));
    assert_eq!(provider.find(&request.reference).await.unwrap(), Some(refunded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_changes_nothing() {
    let Some(server) = LocalStripe::of_this_run() else { return };
    let (provider, request) = (stripe(&server.url, SECRET_KEY), asked(&server.card(GOOD_CARD).await));
    let (first, second) = tokio::join!(provider.authorise(&request), provider.authorise(&request));
    let made = first.unwrap();
    assert_eq!(second.unwrap(), made);
    assert_eq!(server.intents(&request.reference).await.len(), 1);
    for _ in 0..2 {
        let captured = provider.capture(&made.id, euro(4500)).await.unwrap();
        assert_eq!(facts(&captured), (ProviderStatus::Captured, 4500, 4500, 0));
    }
    for _ in 0..2 {
        let refunded = provider.refund(&made.id, euro(1000), &format!("{}/r1", made.id)).await.unwrap();
        assert_eq!(facts(&refunded), (ProviderStatus::Captured, 4500, 4500, 1000));
    }
    // Our reference for another amount: our picture is wrong, which says nothing of the payment.
    let other = Authorise { amount: euro(4501), ..request.clone() };
    assert!(matches!(provider.authorise(&other).await, Err(ProviderError::Unknown(_))));
    let declined = asked(&server.card(DECLINED_CARD).await);
    let first = provider.authorise(&declined).await.unwrap();
    assert_eq!(provider.authorise(&declined).await.unwrap(), first);
    assert_eq!(server.intents(&declined.reference).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorisation_goes_back() {
    let Some(server) = LocalStripe::of_this_run() else { return };
    let (provider, request) = (stripe(&server.url, SECRET_KEY), asked(&server.card(GOOD_CARD).await));
    let made = provider.authorise(&request).await.unwrap();
    let voided = provider.void(&made.id).await.unwrap();
    assert_eq!(facts(&voided), (ProviderStatus::Voided, 4500, 0, 0));
    assert_eq!(provider.find(&request.reference).await.unwrap(), Some(voided));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_that_do_not_pay_are_declined() {
    let Some(server) = LocalStripe::of_this_run() else { return };
    let provider = stripe(&server.url, SECRET_KEY);
    let request = asked(&server.card(DECLINED_CARD).await);
    let declined = provider.authorise(&request).await.unwrap();
    assert_eq!(facts(&declined), (ProviderStatus::Declined, 4500, 0, 0));
    assert_eq!(declined.decline_reason.as_deref(), Some("card_declined"));
    assert_eq!(provider.find(&request.reference).await.unwrap(), Some(declined));

    // One that would ask its holder is given up at once.
    let request = asked(&server.card(ASKING_CARD).await);
    let asking = provider.authorise(&request).await.unwrap();
    assert_eq!(asking.status, ProviderStatus::Declined);
    assert_eq!(asking.decline_reason.as_deref(), Some("authentication_required"));
    assert_eq!(provider.get(&asking.id).await.unwrap().unwrap().status, ProviderStatus::Voided);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_us_settles_nothing() {
    let Some(server) = LocalStripe::of_this_run() else { return };
    let (provider, card) = (stripe(&server.url, SECRET_KEY), server.card(GOOD_CARD).await);
    let stranger = stripe(&server.url, "nonsense");
    for (what, answer, for_good) in [
        ("a token of no kind", provider.authorise(&asked("tok_what")).await, true),
        ("a wrong key", stranger.authorise(&asked(&card)).await, false),
        ("an id that is none", provider.capture("../refunds", euro(1)).await, false),
        ("an unknown payment", provider.capture("pi_unknown", euro(1)).await, false),
        ("nobody there", stripe("http://127.0.0.1:1", SECRET_KEY).authorise(&asked(&card)).await, false),
    ] {
        let error = answer.expect_err(what);
        assert_eq!(matches!(error, ProviderError::Refused { .. }), for_good, "{what}: {error:?}");
    }
    assert_eq!(provider.get("pi_unknown").await.unwrap(), None);
    assert!(stranger.get("pi_unknown").await.is_err(), "not knowing is not the same as there being none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_are_believed_by_their_signature() {
    let Some(server) = LocalStripe::of_this_run() else { return };
    let seen = Arc::new(Mutex::new(Vec::<(HeaderMap, Bytes)>::new()));
    let kept = Arc::clone(&seen);
    let url = serve(axum::Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
        kept.lock().unwrap().push((headers, body));
    }))
    .await;
    server.tell("callbacks", &url).await;
    let (provider, request) = (stripe(&server.url, SECRET_KEY), asked(&server.card(GOOD_CARD).await));
    let made = provider.authorise(&request).await.unwrap();
    provider.capture(&made.id, euro(4500)).await.unwrap();
    let now_s = jiff::Timestamp::now().as_second();
    let (headers, body) = until("the callback comes", || async {
        let seen = seen.lock().unwrap();
        let ours = |body: &Bytes| String::from_utf8_lossy(body).contains(&made.id);
        seen.iter().find(|(_, body)| ours(body)).cloned()
    })
    .await;
    let event = provider.parse_webhook(&body, &headers, now_s).unwrap();
    assert!(event.id.starts_with("evt_"), "{event:?}");
    assert_eq!(event.kind, "payment_intent.succeeded");
    assert_eq!((event.payment, event.reference), (Some(made.id), Some(request.reference)));

    let changed = [&body[..], b" "].concat();
    for (what, body, headers, now_s, expected) in [
        ("another body", &changed[..], &headers, now_s, SignatureError::Mismatch),
        ("no signature", &body[..], &HeaderMap::new(), now_s, SignatureError::Missing),
        ("long ago", &body[..], &headers, now_s + 1000, SignatureError::Stale { off_s: 0 }),
    ] {
        match (provider.parse_webhook(body, headers, now_s), expected) {
            (Err(WebhookError::Signature(SignatureError::Stale { .. })), SignatureError::Stale { .. }) => {}
            (Err(WebhookError::Signature(error)), expected) => assert_eq!(error, expected, "{what}"),
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_pays_by_stripe_and_gets_the_money_back() {
    let Some(server) = LocalStripe::of_this_run() else { return };
    let (set, _secrets) = paid_by(&server.url);
    let app = TestApp::with(Options { set, jobs: true, ..Options::default() }).await;
    let fan = app.fan();
    let (hold, buyer) = fan.hold_seats(GUARDED, &["stalls-A-3", "stalls-A-4"]).await;
    let booking = fan.book(&hold).await.expect(201);
    let confirm = format!("{}/confirm", path_of(&booking));
    let pay = |card: String| json!({ "payment": { "method": "stripe", "token": card } });
    let declined = buyer.post(&confirm, pay(server.card(DECLINED_CARD).await)).await;
    assert_eq!(declined.problem(402, "payment-declined")["reason"], "card_declined");
    let paid = buyer.post(&confirm, pay(server.card(GOOD_CARD).await)).await.expect(200);
    assert_eq!(paid["state"], "confirmed");
    let total = booking["total"]["amount"].as_i64().unwrap();
    let id = booking["booking"].as_str().unwrap();
    let intent = server.intents(&format!("{id}/2")).await.pop().unwrap();
    assert_eq!((&intent["status"], intent["amount"].as_i64()), (&json!("succeeded"), Some(total)));

    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    until("the money is back", || async {
        let booking = buyer.get(&path_of(&booking)).await.expect(200);
        (booking["state"] == "refunded").then_some(())
    })
    .await;
    let intent = server.intents(&format!("{id}/2")).await.pop().unwrap();
    assert_eq!(intent["latest_charge"]["amount_refunded"].as_i64(), Some(total));
    assert_eq!(app.ledger().await, Vec::<Value>::new(), "the sandbox was asked for nothing");
    app.check().await;
}

/// The settings of a node that is paid by a Stripe at this URL, and the folder of its secrets.
fn paid_by(url: &str) -> (Vec<&'static str>, tempfile::TempDir) {
    let secrets = tempfile::TempDir::new().unwrap();
    let secret = |name: &str, text: &str| {
        let file = secrets.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let set = [
        "payments.provider=stripe".to_owned(),
        format!("payments.stripe.api_url={url}"),
        format!("payments.stripe.secret_key_file={}", secret("key", SECRET_KEY)),
        format!("payments.stripe.webhook_secret_file={}", secret("webhook", WEBHOOK_SECRET)),
    ];
    (set.map(|set| &*set.leak()).to_vec(), secrets)
}

/// What a request said: method and path, the headers that matter, the form.
type Said = (String, String, String);

/// A server that keeps what it is sent and answers by script.
async fn scripted(script: Vec<(u16, Value)>) -> (Stripe, Arc<Mutex<Vec<Said>>>) {
    let said = Arc::new(Mutex::new(Vec::<Said>::new()));
    let (kept, script) = (Arc::clone(&said), Arc::new(Mutex::new(script.into_iter())));
    let routes = axum::Router::new().fallback(
        move |method: axum::http::Method, uri: Uri, headers: HeaderMap, body: String| async move {
            let header = |name: &str| headers.get(name).map_or("-", |value| value.to_str().unwrap());
            let heads = ["authorization", "stripe-version", "idempotency-key"].map(header).join(" ");
            kept.lock().unwrap().push((format!("{method} {uri}"), heads, body));
            let (status, document) = script.lock().unwrap().next().unwrap_or((500, Value::Null));
            (StatusCode::from_u16(status).unwrap(), document.to_string())
        },
    );
    (stripe(&serve(routes).await, SECRET_KEY), said)
}

async fn serve(routes: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

fn intent(status: &str) -> Value {
    json!({ "id": "pi_1", "object": "payment_intent", "status": status, "amount": 4500, "currency": "eur",
            "metadata": { "reference": "b/1" }, "latest_charge": null })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_says_who_asks_and_every_change_has_its_key() {
    let refund = json!({ "id": "re_1", "status": "pending" });
    let (provider, said) = scripted(vec![
        (200, intent("requires_capture")),
        (200, intent("succeeded")),
        (200, intent("canceled")),
        (200, refund),
        (200, intent("succeeded")),
    ])
    .await;
    let request = Authorise { reference: "b/1".to_owned(), amount: euro(4500), token: "pm_1".to_owned() };
    provider.authorise(&request).await.unwrap();
    provider.capture("pi_1", euro(4500)).await.unwrap();
    provider.void("pi_1").await.unwrap();
    provider.refund("pi_1", euro(500), "refund-7").await.unwrap();
    let said = said.lock().unwrap().clone();
    let expected = [
        (
            "POST /v1/payment_intents",
            "b/1",
            "amount=4500&currency=eur&payment_method=pm_1&payment_method_types%5B%5D=card&capture_method=manual\
             &confirm=true&metadata%5Breference%5D=b%2F1&expand%5B%5D=latest_charge",
        ),
        ("POST /v1/payment_intents/pi_1/capture", "pi_1/capture", "amount_to_capture=4500&expand%5B%5D=latest_charge"),
        ("POST /v1/payment_intents/pi_1/cancel", "pi_1/void", "expand%5B%5D=latest_charge"),
        ("POST /v1/refunds", "refund-7", "payment_intent=pi_1&amount=500"),
        ("GET /v1/payment_intents/pi_1?expand%5B%5D=latest_charge", "-", ""),
    ];
    assert_eq!(said.len(), expected.len());
    for ((line, heads, form), (method_and_path, key, parameters)) in said.iter().zip(expected) {
        assert_eq!((line.as_str(), form.as_str()), (method_and_path, parameters));
        assert_eq!(*heads, format!("Bearer {SECRET_KEY} 2024-06-20 {key}"));
    }
    assert!(!format!("{provider:?}").contains(SECRET_KEY), "secrets print nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decline_names_its_payment_and_a_used_key_settles_nothing() {
    let declined = |intent: Value| {
        json!({ "error": { "type": "card_error", "code": "card_declined", "decline_code": "lost_card",
                           "payment_intent": intent } })
    };
    let used = json!({ "error": { "type": "idempotency_error" } });
    let request = Authorise { reference: "b/1".to_owned(), amount: euro(4500), token: "pm_1".to_owned() };

    let (provider, said) = scripted(vec![(402, declined(intent("requires_payment_method")))]).await;
    let known = provider.authorise(&request).await.unwrap();
    assert_eq!((known.status, known.decline_reason.as_deref()), (ProviderStatus::Declined, Some("lost_card")));
    assert_eq!((known.id.as_str(), said.lock().unwrap().len()), ("pi_1", 1));

    // A decline without a payment, which is not found either, may still turn up.
    let (provider, _) = scripted(vec![(402, declined(Value::Null)), (200, json!({ "data": [] }))]).await;
    assert!(matches!(provider.authorise(&request).await, Err(ProviderError::Unknown(_))));
    for (status, document, for_good) in [
        (400, used, false),
        (400, json!({ "error": { "type": "invalid_request_error" } }), true),
        (401, json!({}), false),
        (409, json!({}), false),
        (429, json!({}), false),
        (500, json!({}), false),
        (200, json!({ "surprise": true }), false),
    ] {
        let (provider, _) = scripted(vec![(status, document)]).await;
        let error = provider.authorise(&request).await.expect_err("nothing was made");
        assert_eq!(matches!(error, ProviderError::Refused { .. }), for_good, "{status}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_is_searched_for_and_where_there_is_no_search_looked_for() {
    let other = json!({ "id": "pi_2", "status": "succeeded", "amount": 1, "currency": "eur", "metadata": {} });
    let found = json!({ "data": [intent("requires_payment_method"), intent("requires_capture")] });
    let (provider, said) = scripted(vec![(200, found), (200, intent("requires_capture"))]).await;
    assert_eq!(provider.find("b/1").await.unwrap().unwrap().status, ProviderStatus::Authorized);
    let search = "GET /v1/payment_intents/search?query=metadata%5B%27reference%27%5D%3A%27b%2F1%27&limit=100";
    assert_eq!(said.lock().unwrap()[0].0, search);

    let first = json!({ "data": [other.clone()], "has_more": true });
    let second = json!({ "data": [intent("requires_capture")], "has_more": true });
    let (provider, said) =
        scripted(vec![(404, json!({})), (200, first), (200, second), (200, intent("requires_capture"))]).await;
    assert_eq!(provider.find("b/1").await.unwrap().unwrap().id, "pi_1");
    assert_eq!(said.lock().unwrap()[2].0, "GET /v1/payment_intents?limit=100&starting_after=pi_2");

    // Bounded, whatever the server says.
    let endless = json!({ "data": [other], "has_more": true });
    let mut script = vec![(404, json!({}))];
    script.extend((0..20).map(|_| (200, endless.clone())));
    let (provider, said) = scripted(script).await;
    assert_eq!(provider.find("b/1").await.unwrap(), None);
    assert_eq!(said.lock().unwrap().len(), 6);
}

#[test]
fn the_secret_key_does_not_travel_in_the_clear() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    for (url, is_good) in [
        ("https://api.stripe.com", true),
        ("http://127.0.0.1:8420", true),
        ("http://[::1]:8420", true),
        ("http://localhost.example.org", false),
        ("http://api.stripe.com", false),
        ("nonsense", false),
    ] {
        let made = Stripe::new(url, client.clone(), Duration::from_secs(1), "sk".into(), "whsec".into());
        assert_eq!(made.is_ok(), is_good, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_several_requests_takes_no_longer_than_one() {
    let routes = axum::Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let mut both = intent("requires_capture");
        both["data"] = json!([both.clone()]);
        both.to_string()
    });
    let url = serve(routes).await;
    // Each request is in time, the two together only when that is enough for both.
    for (timeout_ms, is_in_time) in [(700, false), (10_000, true)] {
        let found = stripe_within(&url, SECRET_KEY, timeout_ms).find("b/1").await;
        assert_eq!(found.is_ok_and(|found| found.is_some()), is_in_time, "{timeout_ms}");
    }
}

/// A Stripe with one payment of 43.50, of which so much went back.
async fn one_payment(refunded: Arc<AtomicI64>) -> String {
    let known = Arc::new(Mutex::new((String::new(), "requires_capture", HashSet::new())));
    serve(axum::Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: String| {
        let (path, mut known) = (uri.path(), known.lock().unwrap());
        let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned()).unwrap_or_default();
        if path.ends_with("/payment_intents") && !key.is_empty() {
            known.0 = key;
        } else if path.ends_with("/capture") {
            known.1 = "succeeded";
        } else if path.ends_with("/refunds") && known.2.insert(key) {
            refunded.fetch_add(body.rsplit("amount=").next().unwrap().parse().unwrap(), Ordering::SeqCst);
        }
        let mut document = intent(known.1);
        document["amount"] = json!(4350);
        document["metadata"]["reference"] = json!(known.0);
        document["latest_charge"] = json!({ "amount": 4350, "captured": true, "amount_captured": 4350,
                                            "amount_refunded": refunded.load(Ordering::SeqCst) });
        document["data"] = json!([document.clone()]);
        async move { document.to_string() }
    }))
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_comes_back_is_shown_when_stripe_tells_of_it() {
    let refunded = Arc::new(AtomicI64::new(0));
    let (set, _secrets) = paid_by(&one_payment(Arc::clone(&refunded)).await);
    // No jobs: nothing is looked at but by what is asked for here.
    let app = TestApp::with(Options { set, ..Options::default() }).await;
    let (booking, buyer) = booked(&app, "stalls-C-1").await;
    let pay = json!({ "payment": { "method": "stripe", "token": "pm_1" } });
    buyer.post(&format!("{}/confirm", path_of(&booking)), pay).await.expect(200);
    buyer.post(&format!("{}/cancel", path_of(&booking)), json!({})).await.expect(200);
    settled(&buyer, &booking, "refunded", "refunded").await;
    assert_eq!(refunded.swap(0, Ordering::SeqCst), 4350);
    // Nobody looks at it any more.
    assert_eq!(value::<i64>(app.db(), "select count(*) from payment where check_at is not null").await, 0);

    for (n, kind) in ["charge.refund.updated", "refund.failed"].into_iter().enumerate() {
        let refund = json!({ "id": "re_1", "object": "refund", "status": "failed", "payment_intent": "pi_1" });
        let event = json!({ "id": format!("evt_{n}"), "type": kind, "data": { "object": refund } }).to_string();
        let signature = signed_with(WEBHOOK_SECRET, &event, jiff::Timestamp::now().as_second());
        let hook = format!("{}/v1/payments/stripe/webhook", app.url);
        let told = app.client.post(hook).header("stripe-signature", signature).body(event).send().await.unwrap();
        assert_eq!(told.status(), 200);
        assert_eq!(work_off(&app.services).await.unwrap(), 1);
        let alarm = alarms::list(app.db(), 10).await.unwrap().pop().expect("somebody is called");
        assert_eq!(alarm.why, "4350 of the 4350 that were paid back did not stay paid", "{kind}");
        assert!(alarms::seen(app.db(), &alarm.reference).await.unwrap());
    }
    app.check().await;
}
