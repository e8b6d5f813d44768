//! Somebody who sends requests, and the answers they get.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::TestApp;

/// Somebody who sends requests.
#[derive(Clone)]
pub(crate) struct Fan<'a> {
    pub(super) app: &'a TestApp,
    pub(super) authorization: Option<String>,
    /// Another node than the test's own.
    pub(super) node: Option<String>,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The document, after checking the status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The problem, after checking its status, its type and what every problem has.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["type"].as_str().and_then(|t| t.rsplit('/').next()), Some(kind), "{problem}");
        assert_eq!(problem["status"], status);
        for member in ["title", "detail", "instance", "request_id"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        problem
    }
}

impl<'a> Fan<'a> {
    /// The same, asking another node.
    pub(crate) fn at(self, node: &str) -> Self {
        Self { node: Some(node.to_owned()), ..self }
    }

    /// Like [`Fan::post_once`] to another node; none when it does not answer.
    pub(crate) async fn try_post_at(&self, url: &str, key: &str, path: &str, body: &Value) -> Option<Answer> {
        let request = self.app.client.post(format!("{url}{path}")).header("idempotency-key", key).json(body);
        let request = match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        let response = request.timeout(std::time::Duration::from_secs(10)).send().await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        Some(Answer { status, headers, text: response.text().await.ok()? })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.node.as_ref().unwrap_or(&self.app.url);
        let request = self.app.client.request(method, format!("{url}{path}"));
        match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(&body).send().await.unwrap()).await
    }

    pub(crate) async fn post_once(&self, key: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("idempotency-key", key).json(body);
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn hold(&self, event: &str, body: Value) -> Answer {
        self.post(&format!("/v1/events/{event}/holds"), body).await
    }

    /// Holds seats, which must succeed, and goes on as the buyer of the hold.
    pub(crate) async fn hold_seats(&self, event: &str, seats: &[&str]) -> (Value, Fan<'a>) {
        let hold = self.hold(event, json!({ "seats": seats })).await.expect(201);
        let buyer = self.app.with_authorization(format!("Buyer {}", hold["buyer"].as_str().unwrap()));
        (hold, buyer)
    }

    pub(crate) async fn book(&self, hold: &Value) -> Answer {
        let body = json!({ "hold": hold["hold"], "buyer": { "name": "Ada", "email": "ada@example.org" } });
        self.post(&format!("/v1/events/{}/bookings", hold["event"].as_str().unwrap()), body).await
    }

    pub(crate) async fn pay(&self, booking: &Value, token: &str) -> Answer {
        self.post(&format!("{}/confirm", path_of(booking)), payment(token)).await
    }
}

pub(crate) fn payment(token: &str) -> Value {
    json!({ "payment": { "method": "sandbox", "token": token } })
}

/// The path of a booking.
pub(crate) fn path_of(booking: &Value) -> String {
    format!("/v1/events/{}/bookings/{}", booking["event"].as_str().unwrap(), booking["booking"].as_str().unwrap())
}

/// The path of a hold.
pub(crate) fn hold_path(hold: &Value) -> String {
    format!("/v1/events/{}/holds/{}", hold["event"].as_str().unwrap(), hold["hold"].as_str().unwrap())
}
