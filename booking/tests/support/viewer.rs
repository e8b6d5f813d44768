//! Somebody who looks at a live map: loads the snapshot, follows the stream, and keeps what it was told.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A server-sent event, or only an id.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) kind: String,
    pub(crate) version: i64,
    pub(crate) data: Value,
}

/// What a viewer sees, by the rules that the documents give: a change counts when its version is above the viewer's,
/// a reset asks for the snapshot.
pub(crate) struct Viewer {
    client: reqwest::Client,
    event: String,
    stream: Option<reqwest::Response>,
    text: String,
    pub(crate) version: i64,
    pub(crate) seats: Vec<u8>,
    pub(crate) areas: BTreeMap<String, Value>,
}

impl Viewer {
    pub(crate) fn new(client: &reqwest::Client, event: &str) -> Self {
        let (client, event) = (client.clone(), event.to_owned());
        let (seats, areas) = (Vec::new(), BTreeMap::new());
        Self { client, event, stream: None, text: String::new(), version: -1, seats, areas }
    }

    /// Loads the snapshot.
    pub(crate) async fn load(&mut self, node: &str) {
        let response = self.client.get(format!("{node}/v1/events/{}/seats", self.event)).send().await.unwrap();
        let etag = response.headers()["etag"].to_str().unwrap().to_owned();
        let snapshot: Value = response.json().await.unwrap();
        let count = usize::try_from(snapshot["seat_count"].as_u64().unwrap()).unwrap();
        let bytes = STANDARD.decode(snapshot["seats"].as_str().unwrap()).unwrap();
        assert_eq!(bytes.len(), count.div_ceil(4));
        self.seats = (0..count).map(|seat_no| (bytes[seat_no / 4] >> (2 * (seat_no % 4))) & 3).collect();
        self.version = snapshot["version"].as_i64().unwrap();
        assert!(etag.starts_with(&format!("\"{}-", self.version)), "{etag}");
        self.areas.clear();
        self.take_areas(&snapshot["areas"]);
    }

    fn take_areas(&mut self, areas: &Value) {
        for area in areas.as_array().unwrap() {
            self.areas.insert(area["area"].as_str().unwrap().to_owned(), area.clone());
        }
    }

    /// Follows from what is known, or from what is said to be known.
    pub(crate) async fn follow(&mut self, node: &str, last: Option<&str>) {
        let url = format!("{node}/v1/events/{}/seats/stream", self.event);
        let last = last.map_or_else(|| self.version.to_string(), str::to_owned);
        let response = self.client.get(url).header("last-event-id", last).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        self.stream = Some(response);
        self.text.clear();
    }

    /// Breaks off.
    pub(crate) fn leave(&mut self) {
        self.stream = None;
    }

    /// The next thing told; none when the stream ended.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some((one, rest)) = self.text.split_once("\n\n") {
                let (one, rest) = (one.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| one.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let Some(id) = field("id:") {
                    let kind = field("event:").unwrap_or("hello").to_owned();
                    let data = field("data:").map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
                    return Some(Told { kind, version: id.parse().unwrap(), data });
                }
            }
            let chunk = self.stream.as_mut()?.chunk().await.ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Takes in a change; `false` when it is not news.
    pub(crate) fn apply(&mut self, told: &Told) -> bool {
        assert_eq!((told.kind.as_str(), told.data["version"].as_i64()), ("change", Some(told.version)));
        if told.version <= self.version {
            return false;
        }
        self.version = told.version;
        for pair in told.data["seats"].as_array().unwrap() {
            let seat_no = usize::try_from(pair[0].as_u64().unwrap()).unwrap();
            self.seats[seat_no] = u8::try_from(pair[1].as_u64().unwrap()).unwrap();
        }
        self.take_areas(&told.data["areas"]);
        true
    }
}
