//! Goal: a guarded event takes holds and bookings only with a live pass of its own sale. Method: every other
//! token that a fan may show; the cookies of a browser that has been in many lines.

use queue_token::VisitorId;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, GUARDED, OPEN, TestApp, hold_path};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_live_pass_of_the_sale_opens_a_guarded_event() {
    let app = TestApp::start().await;
    let visitor = VisitorId::from_bytes([7; 16]);
    let good = app.pass("demo", visitor, 600);
    let body = json!({ "seats": ["stalls-C-1"] });
    let mut forged = good.clone();
    forged.replace_range(
        good.len() - 10..good.len() - 9,
        if &good[good.len() - 10..good.len() - 9] == "A" { "B" } else { "A" },
    );
    let (hold, _) = app.stranger().hold_seats(OPEN, &["stalls-C-1"]).await;
    let refused = [
        String::new(),
        format!("Pass {}", app.pass("other", visitor, 600)),
        format!("Pass {}", app.pass("demo", visitor, -10)),
        format!("Pass {forged}"),
        format!("Pass {}", "x".repeat(5000)),
        format!("Bearer {good}"),
        format!("Buyer {good}"),
        format!("Pass {}", hold["buyer"].as_str().unwrap()),
        format!("Buyer {}", hold["buyer"].as_str().unwrap()),
    ];
    for authorization in refused {
        let problem = app.with_authorization(authorization.clone()).hold(GUARDED, body.clone()).await;
        assert_eq!(problem.problem(401, "pass-required")["sale"], "demo", "{authorization}");
    }
    // What the gateway sends beside the pass is not believed by itself.
    let claimed = app.stranger().request(Method::POST, &format!("/v1/events/{GUARDED}/holds"));
    let claimed = claimed.header("usher-visitor", visitor.to_string()).header("usher-sale", "demo").json(&body);
    Answer::of(claimed.send().await.unwrap()).await.problem(401, "pass-required");
    // As the gateway sends it.
    let gateway = app.stranger().request(Method::POST, &format!("/v1/events/{GUARDED}/holds"));
    let hold = Answer::of(gateway.header("usher-pass", &good).json(&body).send().await.unwrap()).await.expect(201);
    let owner: String = sqlx::query_scalar("select owner from hold where hold_id = $1")
        .bind(hold["hold"].as_str().unwrap().parse::<uuid::Uuid>().unwrap())
        .fetch_one(app.db())
        .await
        .unwrap();
    assert_eq!(owner, format!("visitor:{visitor}"));
    // Another pass of the same visitor is the same holder; a booking needs a pass as well.
    let again = app.with_authorization(format!("pass {}", app.pass("demo", visitor, 60)));
    let buyer = app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
    buyer.book(&hold).await.problem(401, "pass-required");
    again.book(&hold).await.expect(201);
    app.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_keeps_the_bookings_of_all_its_sales() {
    let app = TestApp::start().await;
    let browser = |cookies: &[String]| cookies.join("; ");
    let cookie_of = |answer: &Answer| answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let (mut cookies, mut holds) = (Vec::new(), Vec::new());
    for n in 1..=9 {
        // Each time by another pass, as of another sale.
        let request = app.fan().request(Method::POST, &format!("/v1/events/{GUARDED}/holds"));
        let request = request.header("cookie", browser(&cookies));
        let answer =
            Answer::of(request.json(&json!({ "seats": [format!("stalls-C-{n}")] })).send().await.unwrap()).await;
        holds.push(answer.expect(201));
        let expired: Vec<&str> = answer
            .headers
            .get_all("set-cookie")
            .iter()
            .filter_map(|set| set.to_str().ok().filter(|set| set.contains("Max-Age=0")))
            .collect();
        assert_eq!(expired.len(), usize::from(n == 9), "the ninth drives one out");
        cookies
            .retain(|cookie: &String| !expired.iter().any(|gone| gone.split('=').next() == cookie.split('=').next()));
        cookies.push(cookie_of(&answer));
    }
    let mut open = 0;
    for hold in &holds {
        let request = app.stranger().request(Method::GET, &hold_path(hold)).header("cookie", browser(&cookies));
        open += usize::from(request.send().await.unwrap().status() == 200);
    }
    assert_eq!(open, 8);
    app.check().await;
}
