//! The answer to a request that the proxy does not get to see; then the connection is closed, whatever was sent.

use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::head::{self, Fault};
use super::receive::Refusal;
use super::wire::on_the_wire;
use crate::problem::{Kind, Problem};
use crate::room::Answer;
use crate::telemetry;

/// What is still on its way is read up to this far, so that the client sees the answer and not a reset.
const SWALLOW_BYTES: usize = 4 << 20;
/// And at most for this long; the answer may take as long to be taken.
const SWALLOW: Duration = Duration::from_secs(2);

/// Answers and hangs up.
pub async fn refuse(stream: &mut Stream, refusal: Refusal, head: &[u8]) {
    let request_id = telemetry::new_request_id();
    let answer = answer(refusal, &head::path(head), &request_id);
    tracing::debug!(%request_id, ?refusal, "a request was refused at the edge");
    metrics::counter!("usher_gateway_requests_total", "outcome" => "refused").increment(1);
    let bytes = on_the_wire(&answer, head.starts_with(b"HEAD "), true).unwrap_or_default();
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

fn answer(refusal: Refusal, path: &str, request_id: &str) -> Answer {
    let answer = problem(refusal).answer(path, request_id);
    match refusal {
        Refusal::Fault(Fault::Method) => answer.header("allow", head::METHODS.join(", ")),
        _ => answer,
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
            let answer = answer(refusal, "/x", "id");
            let text = String::from_utf8(on_the_wire(&answer, false, true).unwrap()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("\r\nconnection: close"), "{head}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            let document: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(document["status"], status);
            assert_eq!(head.contains("\r\nallow: GET, "), status == 405, "{head}");
        }
    }
}
