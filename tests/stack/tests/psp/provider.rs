//! A provider of the test's own, and requests to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The secret that signs events.
pub(crate) const SECRET: &str = "whsec_of_this_test";
/// How long a payment is processed, unless the test says otherwise.
const PROCESSED_MS: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Psp {
    child: Child,
    port: u16,
}

impl Psp {
    pub(crate) fn start(dir: &Path) -> Psp {
        Psp::start_with(dir, PROCESSED_MS, true)
    }

    pub(crate) fn start_with(dir: &Path, processed_ms: u64, signs: bool) -> Psp {
        let port_file = dir.join("port");
        let _ = std::fs::remove_file(&port_file);
        let secret = dir.join("webhook.secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stack"));
        command.args(["psp", "--listen", "127.0.0.1:0", "--ledger"]).arg(dir.join("ledger.ndjson"));
        command.arg("--port-file").arg(&port_file).args(["--processed-ms", &processed_ms.to_string()]);
        if signs {
            command.arg("--webhook-secret-file").arg(&secret);
        }
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let port = until("the provider listens", || {
            assert!(child.try_wait().unwrap().is_none(), "the provider ended");
            std::fs::read_to_string(&port_file).ok()
        });
        Psp { child, port: port.parse().unwrap() }
    }

    /// One request; an empty `key` sends no key.
    pub(crate) fn send(&self, line: &str, key: &str, body: &str) -> (u16, String) {
        self.send_within(line, key, body, PATIENCE).expect("an answer")
    }

    /// The same, or nothing when no answer came in time.
    pub(crate) fn send_within(&self, line: &str, key: &str, body: &str, within: Duration) -> Option<(u16, String)> {
        let mut answer = String::new();
        self.sent(line, key, body, within).read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, answer.split_once("\r\n\r\n").unwrap().1.to_owned()))
    }

    /// All that came of an answer until its connection ended.
    pub(crate) fn cut_off(&self, line: &str, key: &str, body: &str) -> String {
        let mut answer = Vec::new();
        match self.sent(line, key, body, PATIENCE).read_to_end(&mut answer) {
            Err(problem) if problem.kind() != std::io::ErrorKind::ConnectionReset => panic!("{problem}"),
            _ => String::from_utf8(answer).unwrap(),
        }
    }

    fn sent(&self, line: &str, key: &str, body: &str, within: Duration) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(within)).unwrap();
        let key = if key.is_empty() { String::new() } else { format!("Idempotency-Key: {key}\r\n") };
        let head = format!("Host: psp\r\nConnection: close\r\nContent-Length: {}\r\n{key}", body.len());
        stream.write_all(format!("{line} HTTP/1.1\r\n{head}\r\n{body}").as_bytes()).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.send(&format!("GET {path}"), "", "");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    pub(crate) fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.send(&format!("POST {path}"), key, &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    pub(crate) fn pay(&self, key: &str, token: &str) -> (u16, Value) {
        self.post("/v1/payments", key, &payment(token))
    }

    /// Makes a payment; its path.
    pub(crate) fn made(&self, key: &str, token: &str) -> String {
        let (status, made) = self.pay(key, token);
        assert_eq!(status, 201, "{made}");
        format!("/v1/payments/{}", made["payment"].as_str().unwrap())
    }

    /// Waits until a payment has this status.
    pub(crate) fn wait_for(&self, path: &str, status: &str) -> Value {
        until(status, || Some(self.get(path).1).filter(|payment| payment["status"] == status))
    }

    /// Has events told to these addresses.
    pub(crate) fn tell(&self, urls: &[&str], events: &str) {
        let document = json!({ "urls": urls, "events": events }).to_string();
        assert_eq!(self.send("PUT /v1/webhook-endpoint", "", &document).0, 200);
    }

    /// How many events were told, and how it went.
    pub(crate) fn counts(&self) -> Value {
        self.get("/v1/webhook-endpoint").1["counts"].clone()
    }
}

impl Drop for Psp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn payment(token: &str) -> Value {
    json!({ "reference": "b/1", "amount": 4500, "currency": "EUR", "token": token, "webhook_url": null })
}

/// Waits until something is there; fails after 20 s.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
