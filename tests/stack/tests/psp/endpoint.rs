//! A server that events are told to: it keeps what came, checks every signature, and answers as the test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::provider::{SECRET, until};

pub(crate) struct Endpoint {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    // The server ends with it.
    _runtime: tokio::runtime::Runtime,
}

impl Endpoint {
    pub(crate) fn start() -> Endpoint {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (seen, answers) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Mutex<VecDeque<StatusCode>>>::default());
        let (kept, given) = (Arc::clone(&seen), Arc::clone(&answers));
        let take = move |headers: HeaderMap, body: Bytes| async move {
            let header = headers["sandbox-signature"].to_str().unwrap();
            if !is_signed(header, &body) {
                return StatusCode::UNAUTHORIZED;
            }
            kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            given.lock().unwrap().pop_front().unwrap_or(StatusCode::OK)
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, axum::Router::new().route("/hook", post(take))).await });
        Endpoint { url, seen, answers, _runtime: runtime }
    }

    /// What the next requests are answered; all after them 200.
    pub(crate) fn answer_next(&self, statuses: &[u16]) {
        let statuses = statuses.iter().map(|status| StatusCode::from_u16(*status).unwrap());
        self.answers.lock().unwrap().extend(statuses);
    }

    /// All that came, in the order in which it came.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until so many came.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} events came"), || Some(self.seen()).filter(|seen| seen.len() >= count))
    }
}

/// The types of events, in order.
pub(crate) fn types(seen: &[Value]) -> Vec<&str> {
    seen.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn is_signed(header: &str, body: &[u8]) -> bool {
    let (time, tag) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let off_s = jiff::Timestamp::now().as_second() - time.parse::<i64>().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    tag == expected && (0..60).contains(&off_s)
}
