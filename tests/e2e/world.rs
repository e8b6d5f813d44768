//! What the tests share: a stack, a client, and the verbs of the contract.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use stack::{Fixture, Pace, Ready, Stack, StackOptions};

/// A running stack and a client that keeps no cookies and follows nothing.
pub struct World {
    pub stack: Arc<Stack>,
    pub client: Client,
}

/// A visitor with a pass.
pub struct Inside {
    pub place: Value,
    pub pass: String,
}

impl World {
    pub fn start(options: &StackOptions) -> Self {
        Self::of(Arc::new(Stack::up(options).unwrap()))
    }

    /// Each test has a runtime of its own, so it needs connections of its own.
    fn of(stack: Arc<Stack>) -> Self {
        // The first test of the process installs it; for the others it is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self { stack, client }
    }

    /// The same stack for another test.
    pub fn beside(other: &Self) -> Self {
        Self::of(other.stack.clone())
    }

    /// The stack that tests share who harm nothing: two of each, a line that is faster than any test.
    pub fn shared() -> Arc<Self> {
        static STACK: OnceLock<Arc<Stack>> = OnceLock::new();
        let stack = STACK.get_or_init(|| {
            let pace = Pace { rate_per_min: 60_000.0, burst: 1_000, max_inside: 5_000 };
            let options =
                StackOptions { gateways: 2, bookings: 2, fixture: Fixture::Demo, pace, ..StackOptions::default() };
            Arc::new(Stack::up(&options).unwrap())
        });
        Arc::new(Self::of(stack.clone()))
    }

    pub fn ready(&self) -> &Ready {
        self.stack.ready()
    }

    pub fn gateway(&self, path: &str) -> String {
        format!("{}{path}", self.ready().gateway[0])
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.gateway(path))
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.gateway(path)).json(body)
    }

    /// A control request to gateway `i`.
    pub fn control(&self, i: usize, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.ready().control[i]))
            .bearer_auth(&self.ready().control_token)
    }

    /// Creates a sale of the test's own that guards `/e2e/{sale}`.
    pub async fn create_sale(&self, sale: &str, settings: Value) -> Value {
        let mut body = json!({"rate_per_min": 60_000, "burst": 1_000, "max_inside": 1_000,
            "paths": [{"path": format!("/e2e/{sale}")}]});
        body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let answer = self.control(0, Method::PUT, &format!("/control/sales/{sale}")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let document = answer.json().await.unwrap();
        for i in 0..self.ready().gateway.len() {
            wait_for("every gateway knows the sale", || async {
                let url = format!("{}/_usher/sales/{sale}", self.ready().gateway[i]);
                self.client.get(url).send().await.unwrap().status() == 200
            })
            .await;
        }
        document
    }

    /// The sale's numbers as gateway 0 tells them.
    pub async fn numbers(&self, sale: &str) -> Value {
        let path = format!("/control/sales/{sale}");
        self.control(0, Method::GET, &path).send().await.unwrap().json().await.unwrap()
    }

    pub async fn join(&self, sale: &str) -> Value {
        let answer = self.client.post(self.gateway(&format!("/_usher/sales/{sale}/join"))).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    }

    pub async fn poll(&self, sale: &str, place: &str) -> Value {
        let answer = self.poll_at(0, sale, place).await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    pub async fn poll_at(&self, gateway: usize, sale: &str, place: &str) -> Response {
        let url = format!("{}/_usher/sales/{sale}/place", self.ready().gateway[gateway]);
        self.client.get(url).header("authorization", format!("Place {place}")).send().await.unwrap()
    }

    /// Joins and asks until inside.
    pub async fn enter(&self, sale: &str) -> Inside {
        let joined = self.join(sale).await;
        let place = text(&joined["place"]);
        let document = if joined["state"] == "inside" { joined } else { self.until_inside(0, sale, &place).await };
        let pass = text(&document["pass"]);
        Inside { place: document, pass }
    }

    /// Asks one gateway until the visitor is inside.
    pub async fn until_inside(&self, gateway: usize, sale: &str, place: &str) -> Value {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let document: Value = self.poll_at(gateway, sale, place).await.json().await.unwrap();
            if document["state"] == "inside" {
                return document;
            }
            assert!(Instant::now() < until, "not inside in time: {document}");
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }

    /// The seats of the arena in the order of its plan.
    pub async fn arena_seats(&self) -> Vec<String> {
        let plan: Value = self.get("/v1/events/demo-arena/plan").send().await.unwrap().json().await.unwrap();
        seats_of(&plan)
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The seats of a plan in document order.
pub fn seats_of(plan: &Value) -> Vec<String> {
    let rows = plan["zones"].as_array().unwrap().iter().flat_map(|zone| zone["rows"].as_array().unwrap());
    rows.flat_map(|row| row["seats"].as_array().unwrap()).map(|seat| text(&seat["seat_guid"])).collect()
}

pub fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The problem of an answer, after checking that it is one and of this kind.
pub async fn problem(answer: Response, status: u16, kind: &str) -> Value {
    assert_eq!(answer.status(), StatusCode::from_u16(status).unwrap(), "{answer:?}");
    assert_eq!(header(&answer, "content-type"), "application/problem+json");
    let document: Value = answer.json().await.unwrap();
    for member in ["type", "title", "detail", "instance", "request_id"] {
        assert!(document[member].is_string(), "{member} in {document}");
    }
    assert_eq!(document["status"], status);
    assert!(text(&document["type"]).ends_with(&format!("/{kind}")), "{document}");
    document
}

/// Asks until it holds, for at most half a minute.
pub async fn wait_for<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < until, "not within half a minute: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
