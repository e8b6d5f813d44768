//! Asks an origin node how it is. Every wait is bounded, and so is what is read.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::prelude::HttpPeer;
use tokio::time::timeout;

use crate::govern::health::Health;

/// Longest wait for a connection, and for the whole answer.
const CONNECT: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_millis(800);
/// Longest answer that is read.
const ANSWER_MAX_BYTES: usize = 16 * 1024;
/// How long a connection may rest between two looks.
const IDLE: Duration = Duration::from_secs(20);

/// What one look at one node shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// It said how it is.
    Told(Health),
    /// It answered, but said nothing that can be read, or could not be asked at this path: neither stops a sale.
    ToldNothing,
    /// It did not answer, not in time, or with a failure.
    Silent,
}

/// Asks nodes, over connections that are kept.
pub struct Looker {
    connector: Connector,
}

impl Looker {
    /// Connected to nothing yet.
    pub fn new() -> Self {
        Self { connector: Connector::new(None) }
    }

    /// Asks one node.
    pub async fn look(&self, node: SocketAddr, path: &str) -> Look {
        let head = match question(path) {
            Ok(head) => head,
            Err(error) => {
                tracing::warn!(path, %error, "nothing can be asked at this health path");
                return Look::ToldNothing;
            }
        };
        match timeout(PATIENCE, self.ask(node, head)).await {
            Ok(Ok((200, body))) => Health::parse(&body).map_or(Look::ToldNothing, Look::Told),
            Ok(Ok((status, _))) if status < 500 => {
                tracing::warn!(%node, path, status, "the origin does not tell how it is at its health path");
                Look::ToldNothing
            }
            Ok(Ok((status, _))) => silent(node, &format!("status {status}")),
            Ok(Err(error)) => silent(node, &error.to_string()),
            Err(_) => silent(node, "no answer in time"),
        }
    }

    async fn ask(&self, node: SocketAddr, head: RequestHeader) -> pingora::Result<(u16, Vec<u8>)> {
        let mut peer = HttpPeer::new(node, false, String::new());
        peer.options.connection_timeout = Some(CONNECT);
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        session.set_read_timeout(Some(PATIENCE));
        session.set_write_timeout(Some(PATIENCE));
        session.write_request_header(Box::new(head)).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        let status = session.response_header().map_or(0, |head| head.status.as_u16());
        let mut body = Vec::new();
        while let Some(chunk) = session.read_response_body().await? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_MAX_BYTES {
                session.shutdown().await;
                return Ok((status, Vec::new()));
            }
        }
        self.connector.release_http_session(session, &peer, Some(IDLE)).await;
        Ok((status, body))
    }
}

impl Default for Looker {
    fn default() -> Self {
        Self::new()
    }
}

fn question(path: &str) -> pingora::Result<RequestHeader> {
    let mut head = RequestHeader::build("GET", path.as_bytes(), Some(2))?;
    head.insert_header("host", "usher-gateway")?;
    head.insert_header("accept", "application/json")?;
    Ok(head)
}

fn silent(node: SocketAddr, why: &str) -> Look {
    tracing::debug!(%node, why, "an origin node did not tell how it is");
    Look::Silent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_that_no_request_can_carry_is_no_silence() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(Looker::new().look(nobody, "/how").await, Look::Silent, "nobody is there");
        for path in ["/a b", "/how?are=<you>"] {
            assert_eq!(Looker::new().look(nobody, path).await, Look::ToldNothing, "{path}");
        }
    }
}
