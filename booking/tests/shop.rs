//! The shop as a browser without scripts uses it: pages, forms, redirects, one cookie.

use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};

use crate::support::{Answer, CLUB, GUARDED, OPEN, Options, TestApp};

/// A browser: follows nothing by itself, keeps one cookie.
struct Browser<'a> {
    app: &'a TestApp,
    client: reqwest::Client,
    cookie: Option<String>,
    pass: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(app: &'a TestApp) -> Self {
        let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
        Self { app, client, cookie: None, pass: None }
    }

    fn with_pass(app: &'a TestApp) -> Self {
        let visitor = queue_token::VisitorId::from_bytes(rand::random());
        Self { pass: Some(app.pass("demo", visitor, 600)), ..Self::new(app) }
    }

    async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.app.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(pass) = &self.pass {
            request = request.header("usher-pass", pass);
        }
        let answer = Answer::of(request.send().await.expect("an answer")).await;
        assert!(!answer.status.is_server_error(), "{path}: {} {}", answer.status, answer.text);
        if let Some(set) = answer.header("set-cookie") {
            assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        let answer = self.send(Method::GET, path, &[], String::new()).await;
        if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            let policy = answer.header("content-security-policy").expect("a policy");
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        answer
    }

    /// A page that must be there.
    async fn page(&mut self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.text
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let form = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, path, &form, pairs.join("&")).await
    }

    /// Sends a form, and says where it leads.
    async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.post(path, fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path} {fields:?}: {}", answer.text);
        answer.header("location").expect("a redirect").to_owned()
    }

    async fn hold(&mut self, event: &str, fields: &[(&str, &str)]) -> String {
        let place = self.submit(&format!("/events/{event}/holds"), fields).await;
        assert!(place.starts_with(&format!("/events/{event}/holds/")), "{place}");
        place
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

const ADA: [(&str, &str); 2] = [("name", "Ada <b>Lovelace</b>"), ("email", "ada@example.org")];

fn paying(card: &str) -> Vec<(&str, &str)> {
    ADA.into_iter().chain([("card", card)]).collect()
}

/// Goal: the whole way of a buyer, with a declined card on it. Method: forms and redirects only.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_by_forms() {
    let app = TestApp::start().await;
    let mut ada = Browser::new(&app);
    let list = ada.page("/events").await;
    assert!(list.contains("/events/open-theatre") && list.contains("places free"), "{list}");
    let event = ada.page(&format!("/events/{OPEN}")).await;
    for words in
        ["Front stalls", "€59.50", "Find the best seats together", "Standing in the pit", "section=Stalls#seats"]
    {
        assert!(event.contains(words), "{words}");
    }
    let section = ada.page(&format!("/events/{OPEN}?section=Stalls")).await;
    assert!(section.contains(r#"name="seat" value="stalls-A-1""#) && section.contains("space for a wheelchair"));
    let hold = ada.hold(OPEN, &[("quantity", "2"), ("category", "Stalls"), ("key", "k1")]).await;
    let page = ada.page(&hold).await;
    assert!(page.contains("These places are held for you") && page.contains("€87.00"), "{page}");
    let back = ada.submit(&format!("{hold}/buy"), &paying("tok_declined")).await;
    let page = ada.page(&back).await;
    assert!(page.contains("The card was declined") && page.contains("Ada &#60;b&#62;"), "{page}");
    let booking = ada.submit(&format!("{hold}/buy"), &[("card", "tok_ok")]).await;
    let page = ada.page(&booking).await;
    assert!(page.contains("You are booked") && page.contains("Your 2 tickets"), "{page}");
    assert!(!page.contains("<b>Lovelace"), "escaped");
    // Whatever is reloaded or sent again afterwards leads to the booking.
    assert_eq!(ada.submit(&format!("{hold}/buy"), &[("card", "tok_ok")]).await, booking);
    assert_eq!(ada.get(&hold).await.header("location"), Some(booking.as_str()));
    assert_eq!(ada.submit(&format!("{hold}/release"), &[]).await, hold);
    assert_eq!(app.ledger().await.iter().filter(|payment| payment["status"] == "captured").count(), 1);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_seats_lead_back_with_an_offer() {
    let app = TestApp::start().await;
    let (mut ada, mut bob) = (Browser::new(&app), Browser::new(&app));
    ada.hold(OPEN, &[("seat", "stalls-C-3"), ("seat", "stalls-C-4")]).await;
    let back = bob.submit(&format!("/events/{OPEN}/holds"), &[("seat", "stalls-C-4"), ("seat", "stalls-C-5")]).await;
    let page = bob.page(&back).await;
    assert!(page.contains("Section Stalls, row C, seat 4.") && !page.contains("row C, seat 5."), "{back} {page}");
    assert!(page.contains("Hold the best 2 seats in Stalls instead"), "{page}");
    bob.hold(OPEN, &[("quantity", "2"), ("category", "Stalls")]).await;
    let full = bob.submit(&format!("/events/{CLUB}/holds"), &[("area", "club"), ("quantity", "8")]).await;
    assert!(full.contains("/holds/"), "{full}");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_sent_twice_acts_once() {
    let app = TestApp::start().await;
    let mut ada = Browser::new(&app);
    ada.page(&format!("/events/{CLUB}")).await;
    assert!(ada.cookie.is_some(), "a newcomer gets a name before the first form");
    let twins = (0..4).map(|_| {
        let mut twin = Browser { cookie: ada.cookie.clone(), ..Browser::new(&app) };
        async move { twin.hold(CLUB, &[("area", "club"), ("quantity", "3"), ("key", "one-page")]).await }
    });
    let places = futures_util::future::join_all(twins).await;
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    let holds: i64 = sqlx::query_scalar("select count(*) from hold").fetch_one(app.db()).await.unwrap();
    assert_eq!(holds, 1);
    ada.hold(CLUB, &[("area", "club"), ("quantity", "3"), ("key", "another-page")]).await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_event_needs_its_pass_and_gives_it_back() {
    let app = TestApp::start().await;
    let fields = [("quantity", "1")];
    let mut stranger = Browser::new(&app);
    let answer = stranger.post(&format!("/events/{GUARDED}/holds"), &fields).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text.contains("Your turn is needed") && answer.text.contains(&format!("/events/{GUARDED}")));
    let mut fan = Browser::with_pass(&app);
    let hold = fan.hold(GUARDED, &fields).await;
    let sold = fan.post(&format!("{hold}/buy"), &paying("tok_ok")).await;
    assert_eq!(sold.header("usher-pass"), Some("depart"));
    fan.pass = None;
    let booking = sold.header("location").expect("the booking").to_owned();
    assert!(!booking.starts_with("/events/"), "outside of what the waiting room guards: {booking}");
    assert!(fan.page(&booking).await.contains("Your ticket"), "the cookie opens it without the pass");
    app.check().await;
}

/// Fields, the end of the address they lead to, words of the page there.
type Refused<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn bad_forms_are_told_so_and_hold_nothing() {
    let app = TestApp::start().await;
    let mut ada = Browser::new(&app);
    let holds = format!("/events/{OPEN}/holds");
    let table: &[Refused<'_>] = &[
        (&[], "notice=nothing", "No seats chosen"),
        (&[("quantity", "0")], "notice=nothing", "No seats chosen"),
        (&[("quantity", "-1")], "notice=nothing", "No seats chosen"),
        (&[("quantity", "11")], "notice=limit", "more than one buyer may have"),
        (&[("quantity", "4294967296")], "notice=nothing", "No seats chosen"),
        (&[("quantity", "2"), ("category", "<script>")], "notice=unknown", "No such place"),
        (&[("seat", "stalls-Z-9")], "notice=unknown", "No such place"),
        (&[("area", "../pit"), ("quantity", "1")], "notice=unknown", "No such place"),
        (&[("section", "Stalls & more")], "notice=nothing&section=Stalls%20%26%20more", "No seats chosen"),
    ];
    for (fields, query, words) in table {
        let back = ada.submit(&holds, fields).await;
        assert!(back.ends_with(query), "{fields:?}: {back}");
        assert!(ada.page(&back).await.contains(words), "{fields:?}");
    }
    for address in ["notice=<script>", "notice=taken&seats=1.x.99999", "notice=full&area=<b>", "section=%00<x>", "n=-1"]
    {
        let answer = ada.get(&format!("/events/{OPEN}?{address}")).await;
        assert!(!answer.text.contains("<x>") && !answer.text.contains("<b>") && !answer.text.contains("<script>"));
    }
    for query in ["q=%00".to_owned(), format!("q={}", "x".repeat(300))] {
        assert_eq!(ada.get(&format!("/events?{query}")).await.status, StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(ada.get("/events?after=-009000-01-01T00:00:00Z~club").await.status, StatusCode::OK);
    let elsewhere = ada.send(Method::POST, &holds, &[("sec-fetch-site", "cross-site")], "quantity=1".into()).await;
    assert_eq!(elsewhere.status, StatusCode::FORBIDDEN);
    let json = ada.send(Method::POST, &holds, &[("content-type", "application/json")], "{}".into()).await;
    assert_eq!(
        (json.status, json.header("content-type")),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("text/html; charset=utf-8"))
    );
    let large = ada.post(&holds, &[("seat", &"x".repeat(70_000))]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    let held: i64 = sqlx::query_scalar("select count(*) from hold").fetch_one(app.db()).await.unwrap();
    assert_eq!(held, 0);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_open_to_their_holder_and_end_honestly() {
    let app = TestApp::with(Options { set: vec!["holds.ttl_s=2"], jobs: true, ..Options::default() }).await;
    let (mut ada, mut eve) = (Browser::new(&app), Browser::new(&app));
    let hold = ada.hold(OPEN, &[("area", "pit"), ("quantity", "2")]).await;
    for path in
        [hold.clone(), format!("{hold}x"), format!("/events/{OPEN}/holds/{}", uuid::Uuid::nil()), "/events/none".into()]
    {
        let answer = eve.get(&path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text.contains("We cannot find that"), "{path}");
    }
    assert_eq!(eve.post(&format!("{hold}/release"), &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(eve.post(&format!("{hold}/buy"), &paying("tok_ok")).await.status, StatusCode::NOT_FOUND);
    let refused = ada.post(&format!("{hold}/buy"), &[("name", " "), ("email", "a\"b"), ("card", "tok_ok")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("Please give a name") && refused.text.contains("not an e-mail address"));
    assert!(refused.text.contains("a&#34;b"), "what was typed is kept, escaped");
    crate::support::until("the hold is over", || {
        let mut ada = Browser { cookie: ada.cookie.clone(), ..Browser::new(&app) };
        let hold = hold.clone();
        async move { ada.page(&hold).await.contains("The time ran out").then_some(()) }
    })
    .await;
    let back = ada.submit(&format!("{hold}/buy"), &paying("tok_ok")).await;
    assert_eq!(back, hold);
    assert!(app.ledger().await.is_empty(), "nothing was charged");
    app.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_given_back_are_free_again() {
    let app = TestApp::start().await;
    let mut ada = Browser::new(&app);
    let hold = ada.hold(OPEN, &[("seat", "balcony-A-1")]).await;
    let back = ada.submit(&format!("{hold}/release"), &[]).await;
    assert!(ada.page(&back).await.contains("Given back"));
    assert!(ada.page(&hold).await.contains("You gave these places back"));
    // Given back with a booking that was not paid: there is no money to wait for.
    let other = ada.hold(OPEN, &[("seat", "balcony-A-2")]).await;
    ada.submit(&format!("{other}/buy"), &paying("tok_declined")).await;
    ada.submit(&format!("{other}/release"), &[]).await;
    let booking: uuid::Uuid = sqlx::query_scalar("select booking_id from booking").fetch_one(app.db()).await.unwrap();
    let page = ada.page(&format!("/bookings/{OPEN}/{booking}")).await;
    assert!(page.contains("Nothing was charged") && !page.contains("money is on its way"), "{page}");
    ada.hold(OPEN, &[("seat", "balcony-A-1")]).await;
    app.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn style_and_script_are_kept_for_ever_under_their_digest() {
    let app = TestApp::start().await;
    let mut ada = Browser::new(&app);
    let page = ada.page(&format!("/events/{OPEN}")).await;
    for (before, kind) in [("href=\"/assets/", "text/css"), ("src=\"/assets/", "text/javascript")] {
        let rest = page.split(before).nth(1).expect("the page names it");
        let answer = ada.get(&format!("/assets/{}", rest.split('"').next().expect("a path"))).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.header("content-type").is_some_and(|found| found.starts_with(kind)));
        assert!(answer.header("cache-control").is_some_and(|kept| kept.contains("immutable")));
    }
    assert_eq!(ada.get("/assets/shop-0.css").await.status, StatusCode::NOT_FOUND);
    app.check().await;
}
