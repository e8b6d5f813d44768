//! Reading what a caller sends: JSON bodies, path parts, query parameters. What is malformed is refused with
//! a pointer to the place.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use sha2::{Digest, Sha256};

use crate::error::{Error, Fault, Refusal};

/// Most bytes of a body.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// Most bytes that are swallowed so that the refusal of a larger body is seen.
const MAX_SWALLOWED: usize = 1024 * 1024;
/// How long a body may take to arrive.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body, with a fingerprint of the request it came in.
#[derive(Debug)]
pub(super) struct Payload<T> {
    /// What was sent.
    pub(super) value: T,
    /// Fingerprint of method, path and body.
    pub(super) hash: [u8; 32],
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Payload<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        read(request, true).await.map_err(IntoResponse::into_response)
    }
}

/// Like [`Payload`], where sending nothing means `{}`.
#[derive(Debug)]
pub(super) struct OptionalPayload<T>(pub(super) Payload<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for OptionalPayload<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        read(request, false).await.map(Self).map_err(IntoResponse::into_response)
    }
}

async fn read<T: DeserializeOwned>(request: Request, required: bool) -> Result<Payload<T>, Refusal> {
    let (parts, body) = request.into_parts();
    let bytes = tokio::time::timeout(BODY_TIMEOUT, collect(body));
    let bytes = bytes.await.map_err(|_| Refusal::invalid("", "the body did not arrive in time"))??;
    if required || !bytes.is_empty() {
        check_media_type(&parts.headers)?;
    }
    let mut hash = Sha256::new();
    for part in [parts.method.as_str(), parts.uri.path()] {
        hash.update(part);
        hash.update(b"\n");
    }
    hash.update(&bytes);
    let text: &[u8] = if bytes.is_empty() && !required { b"{}" } else { &bytes };
    Ok(Payload { value: parse(text)?, hash: hash.finalize().into() })
}

async fn collect(body: axum::body::Body) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut seen) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Refusal::invalid("", "the body broke off"))?;
        seen += chunk.len();
        if seen <= MAX_BODY {
            bytes.extend_from_slice(&chunk);
        } else if seen > MAX_SWALLOWED {
            break;
        }
    }
    if seen > MAX_BODY { Err(Refusal::TooLarge { limit: MAX_BODY }) } else { Ok(bytes) }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let label = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = label.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Refusal::MediaType) }
}

/// Parses JSON; a fault names its place by a JSON pointer.
///
/// # Errors
/// [`Refusal::Invalid`].
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = if error.inner().is_data() { pointer(error.path()) } else { String::new() };
        Refusal::Invalid(vec![Fault { pointer, detail: error.inner().to_string() }])
    })?;
    json.end().map_err(|error| Refusal::invalid("", error.to_string()))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

/// Parts of the path, parsed. What is no id names nothing.
#[derive(Debug)]
pub(super) struct Ids<T>(pub(super) T);

impl<S: Send + Sync, A> FromRequestParts<S> for Ids<A>
where
    A: FromPath,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let missing = || Refusal::NotFound { what: "resource" }.into_response();
        let texts = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(|_| missing())?;
        let texts: Vec<String> = texts.0.into_iter().map(|(_, text)| text).collect();
        A::from_path(&texts).map(Self).ok_or_else(missing)
    }
}

/// Ids that a path can hold.
pub(super) trait FromPath: Sized {
    /// From the texts of the path's parameters.
    fn from_path(texts: &[String]) -> Option<Self>;
}

impl FromPath for booking_domain::EventId {
    fn from_path(texts: &[String]) -> Option<Self> {
        match texts {
            [event] => event.parse().ok(),
            _ => None,
        }
    }
}

impl<B: std::str::FromStr> FromPath for (booking_domain::EventId, B) {
    fn from_path(texts: &[String]) -> Option<Self> {
        match texts {
            [event, other] => Some((event.parse().ok()?, other.parse().ok()?)),
            _ => None,
        }
    }
}

/// Query parameters as they were sent; unknown ones are nobody's.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        params(&parts.uri).map(Self).map_err(IntoResponse::into_response)
    }
}

fn params<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    let query = axum::extract::Query::<T>::try_from_uri(uri);
    query.map(|query| query.0).map_err(|rejection| Refusal::invalid("#query", rejection.body_text()))
}

/// A query parameter, parsed.
///
/// # Errors
/// [`Refusal::Invalid`] naming the parameter.
pub(super) fn param<T: std::str::FromStr>(name: &str, text: Option<&str>, is: &str) -> Result<Option<T>, Refusal> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let value = text.parse().map_err(|_| Refusal::invalid(format!("#{name}"), format!("{name} is {is}")))?;
    Ok(Some(value))
}

/// Whether the database can hold a time: its calendar begins later than ours.
pub(super) fn is_storable(at: jiff::Timestamp) -> bool {
    /// The beginning of the year 1.
    const FIRST_S: i64 = -62_135_596_800;
    at.as_second() >= FIRST_S
}

/// The length of a page.
///
/// # Errors
/// [`Refusal::Invalid`] unless it is 1 to 100.
pub(super) fn page_limit(text: Option<&str>) -> Result<i64, Refusal> {
    let is = "a number from 1 to 100";
    let limit = param::<i64>("limit", text, is)?.unwrap_or(20);
    if (1..=100).contains(&limit) { Ok(limit) } else { Err(Refusal::invalid("#limit", format!("limit is {is}"))) }
}

impl From<Error> for Response {
    fn from(error: Error) -> Self {
        error.into_response()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only parsed")]
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only parsed")]
        quantity: u32,
    }

    #[test]
    fn faults_name_their_place() {
        for (text, pointer, says) in [
            ("", "", "EOF"),
            ("{", "", "EOF"),
            (r#"{"list":[]} x"#, "", "trailing"),
            (r#"{"list":[{"quantity":1},{"quantity":"2"}]}"#, "/list/1/quantity", "invalid type"),
            (r#"{"list":[{"quantity":-1}]}"#, "/list/0/quantity", "invalid value"),
            (r#"{"list":[{"quantity":1e309}]}"#, "", "out of range"),
            (r#"{"list":[{"quantity":1,"a/b":2}]}"#, "/list/0/a~1b", "unknown field"),
            (r#"{"list":[],"price":1}"#, "/price", "unknown field"),
            ("[]", "", "invalid"),
        ] {
            match parse::<Outer>(text.as_bytes()) {
                Err(Refusal::Invalid(faults)) => {
                    assert_eq!(faults[0].pointer, pointer, "{text}");
                    assert!(faults[0].detail.contains(says), "{text}: {}", faults[0].detail);
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        let deep = "[".repeat(10_000);
        assert!(matches!(parse::<serde_json::Value>(deep.as_bytes()), Err(Refusal::Invalid(_))));
    }
}
