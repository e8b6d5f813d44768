//! The answer to a request that the proxy does not get to see; then the connection is closed, whatever was sent.

use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::head::{self, Fault};
use super::receive::Refusal;
use crate::problem::{Kind, Problem};
use crate::room::Answer;

/// What is still on its way is read up to this far, so that the client sees the answer and not a reset.
const SWALLOW_BYTES: usize = 4 << 20;
/// And at most for this long; the answer may take as long to be taken.
const SWALLOW: Duration = Duration::from_secs(2);

/// Answers and hangs up.
pub async fn refuse(stream: &mut Stream, refusal: Refusal, head: &[u8]) {
    let request_id = format!("{:032x}", rand::random::<u128>());
    let answer = problem(refusal).answer(&head::path(head), &request_id);
    tracing::debug!(%request_id, ?refusal, "a request was refused at the edge");
    metrics::counter!("usher_gateway_requests_total", "outcome" => "refused").increment(1);
    let bytes = on_the_wire(&answer, head.starts_with(b"HEAD "));
    let told = timeout(SWALLOW, async {
        stream.write_all(&bytes).await?;
        AsyncWriteExt::shutdown(stream).await
    })
    .await;
    if matches!(told, Ok(Ok(()))) && timeout(SWALLOW, swallow(stream)).await.is_err() {
        tracing::debug!(%request_id, "the client went on sending");
    }
}

async fn swallow(stream: &mut Stream) {
    let mut left = SWALLOW_BYTES;
    let mut waste = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = stream.read(&mut waste).await {
        left = left.saturating_sub(n);
        if left == 0 {
            break;
        }
    }
}

fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Late => Problem::new(Kind::Invalid, "The request's head took too long.").status(408),
        Refusal::Fault(Fault::Malformed(why)) => {
            Problem::new(Kind::Invalid, format!("The request cannot be read: {why}."))
        }
        Refusal::Fault(Fault::Method) => Problem::new(Kind::MethodNotAllowed, "Nothing here knows this method."),
        Refusal::Fault(Fault::Head) => {
            Problem::new(Kind::TooLarge, "The request's head is larger than allowed.").status(431)
        }
        Refusal::Fault(Fault::Body) => Problem::new(Kind::TooLarge, "The request's body is larger than allowed."),
    }
}

/// The answer as HTTP/1.1 bytes; a HEAD gets no body.
fn on_the_wire(answer: &Answer, bare: bool) -> Vec<u8> {
    let status = http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::BAD_REQUEST);
    let mut text = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if status == http::StatusCode::METHOD_NOT_ALLOWED {
        text.push_str(&format!("allow: {}\r\n", head::METHODS.join(", ")));
    }
    text.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", answer.body.len()));
    let mut bytes = text.into_bytes();
    if !bare {
        bytes.extend_from_slice(&answer.body);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_that_closes() {
        for (refusal, status) in [
            (Refusal::Late, 408),
            (Refusal::Fault(Fault::Malformed("x")), 400),
            (Refusal::Fault(Fault::Method), 405),
            (Refusal::Fault(Fault::Head), 431),
            (Refusal::Fault(Fault::Body), 413),
        ] {
            let answer = problem(refusal).answer("/x", "id");
            let text = String::from_utf8(on_the_wire(&answer, false)).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("\r\nconnection: close"), "{head}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            let document: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(document["status"], status);
            assert!(on_the_wire(&answer, true).ends_with(b"\r\n\r\n"));
        }
    }
}
