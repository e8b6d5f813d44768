//! The pool against sockets that behave well and badly.

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::pool::{BadTarget, Pool, PoolLimits};
use crate::fan::{Call, Heard, Lost};
use crate::history::Kind;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nusher-place: P\r\nretry-after: 3\r\n\r\nhi";

fn call() -> Call {
    Call {
        kind: Kind::Hold,
        at_us: 0,
        method: Method::POST,
        path: "/x".into(),
        html: false,
        auth: None,
        body: Some("{}".into()),
        key: Some("k".into()),
        attempt: 0,
        target: 0,
    }
}

async fn pool(address: &str) -> Pool {
    let limits = PoolLimits { connections: 4, request: Duration::from_millis(300), answer_bytes: 1_000 };
    Pool::new(&[format!("http://{address}")], limits).await.expect("a good address")
}

/// A server that gives each connection its script: what it answers to each request before closing.
async fn server(scripts: Vec<Vec<&'static [u8]>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        for script in scripts {
            let (socket, _) = listener.accept().await.expect("a connection");
            tokio::spawn(serve(socket, script));
        }
    });
    address
}

async fn serve(mut socket: TcpStream, script: Vec<&'static [u8]>) {
    let mut buffer = vec![0; 4_096];
    for answer in script {
        let read = socket.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        let _ = socket.write_all(answer).await;
        if answer.is_empty() {
            // Says nothing, but stays.
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

fn status(heard: &Heard) -> u16 {
    match heard {
        Heard::Answer(answer) => answer.status,
        Heard::Lost(lost) => panic!("{lost:?}"),
    }
}

fn lost(heard: &Heard) -> Lost {
    match heard {
        Heard::Answer(answer) => panic!("{answer:?}"),
        Heard::Lost(lost) => *lost,
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    // A second connection would find nobody: there is one script.
    let pool = pool(&server(vec![vec![OK, OK, OK]]).await).await;
    for _ in 0..3 {
        let exchange = pool.exchange(&call()).await;
        assert_eq!(status(&exchange.heard), 200);
        let Heard::Answer(answer) = exchange.heard else { unreachable!("it has a status") };
        assert_eq!(
            (answer.place.as_deref(), answer.retry_after_s, &answer.body[..]),
            (Some("P"), Some(3.0), &b"hi"[..])
        );
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let pool = pool(&server(vec![vec![OK], vec![OK]]).await).await;
    assert_eq!(status(&pool.exchange(&call()).await.heard), 200);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(status(&pool.exchange(&call()).await.heard), 200);
}

#[tokio::test]
async fn losses_have_their_names() {
    let silent = pool(&server(vec![vec![b""]]).await).await;
    assert_eq!(lost(&silent.exchange(&call()).await.heard), Lost::Timeout);

    let half = pool(&server(vec![vec![b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"]]).await).await;
    assert_eq!(lost(&half.exchange(&call()).await.heard), Lost::Broken);

    let long = pool(&server(vec![vec![b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"]]).await).await;
    let heard = long.exchange(&call()).await.heard;
    assert!(matches!(lost(&heard), Lost::TooLong | Lost::Broken), "{heard:?}");

    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let refused = pool(&nobody.to_string()).await;
    let exchange = refused.exchange(&call()).await;
    assert_eq!((lost(&exchange.heard), exchange.sent), (Lost::Refused, None));
}

#[tokio::test]
async fn connections_are_bounded() {
    let address = server(vec![vec![b"" as &[u8]]; 4]).await;
    let pool = std::sync::Arc::new(pool(&address).await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let pool = pool.clone();
        tasks.spawn(async move { lost(&pool.exchange(&call()).await.heard) });
    }
    let losses = tasks.join_all().await;
    assert_eq!(losses.iter().filter(|lost| **lost == Lost::Timeout).count(), 4, "{losses:?}");
}

#[tokio::test]
async fn addresses_are_checked() {
    let limits = PoolLimits { connections: 1, request: Duration::from_secs(1), answer_bytes: 1 };
    for wrong in ["https://localhost:1", "localhost:1", "http://", "http://localhost:1/path", "ftp://x"] {
        let fault = Pool::new(&[wrong.into()], limits).await.expect_err(wrong);
        assert!(matches!(fault, BadTarget::Form(_)), "{wrong}: {fault}");
    }
    assert!(Pool::new(&["http://[::1]:1".into()], limits).await.is_ok());
}
