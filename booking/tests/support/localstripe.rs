//! localstripe, a server that speaks Stripe's API and that somebody else wrote: started once for the test run.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The key that it takes; it takes any that looks like one.
pub(crate) const SECRET_KEY: &str = "sk_test_51usher";
pub(crate) const WEBHOOK_SECRET: &str = "whsec_of_this_test";

/// The cards of its documentation.
pub(crate) const GOOD_CARD: &str = "4242424242424242";
pub(crate) const DECLINED_CARD: &str = "4000000000000341";
pub(crate) const ASKING_CARD: &str = "4000002500003155";

#[derive(Debug)]
pub(crate) struct LocalStripe {
    pub(crate) url: String,
    // It ends when its input does, at the latest with this process.
    _server: Child,
    _output: ChildStdout,
}

impl LocalStripe {
    /// The server of this run; `None`, said aloud, where Python or the package cannot be had.
    pub(crate) fn of_this_run() -> Option<&'static LocalStripe> {
        static SERVER: OnceLock<Option<LocalStripe>> = OnceLock::new();
        let server = SERVER.get_or_init(|| Some(start(&python()?))).as_ref();
        if server.is_none() {
            // Past the test runner, which keeps what a test prints that does not fail.
            let said = b"SKIPPED: localstripe cannot be had; `sh tests/stack/setup.sh localstripe` says why\n";
            let _ = std::io::stderr().write_all(said);
        }
        server
    }

    /// The id of a payment method with this card.
    pub(crate) async fn card(&self, number: &str) -> String {
        let form = [
            ("type", "card"),
            ("card[number]", number),
            ("card[exp_month]", "12"),
            ("card[exp_year]", "2040"),
            ("card[cvc]", "123"),
        ];
        let made = reqwest::Client::new().post(format!("{}/v1/payment_methods", self.url));
        let made = made.bearer_auth(SECRET_KEY).form(&form).send().await.unwrap();
        made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// All intents with a reference.
    pub(crate) async fn intents(&self, reference: &str) -> Vec<Value> {
        let all = reqwest::Client::new().get(format!("{}/v1/payment_intents?limit=10000", self.url));
        let all: Value = all.bearer_auth(SECRET_KEY).send().await.unwrap().json().await.unwrap();
        let all = all["data"].as_array().unwrap().clone();
        all.into_iter().filter(|intent| intent["metadata"]["reference"].as_str() == Some(reference)).collect()
    }

    /// Has its events told to `url`.
    pub(crate) async fn tell(&self, name: &str, url: &str) {
        let form = [("url", url), ("secret", WEBHOOK_SECRET)];
        let told = reqwest::Client::new().post(format!("{}/_config/webhooks/{name}", self.url));
        assert!(told.form(&form).send().await.unwrap().status().is_success());
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Python that has the package, which is fetched first where it is missing.
fn python() -> Option<PathBuf> {
    let setup = Command::new("sh").arg(root().join("tests/stack/setup.sh")).arg("localstripe").status();
    let home = root().join("target/tools/localstripe");
    (setup.is_ok_and(|status| status.success()) && home.join("ready").exists()).then(|| home.join("bin/python"))
}

fn start(python: &Path) -> LocalStripe {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/start_localstripe.py");
    let mut server = Command::new(python)
        .arg(script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = server.stdout.take().unwrap();
    let mut port = String::new();
    std::io::BufReader::new(&mut output).read_line(&mut port).unwrap();
    let port = port.trim().parse::<u16>().expect("localstripe prints its port");
    LocalStripe { url: format!("http://127.0.0.1:{port}"), _server: server, _output: output }
}
