//! Connections without a network, whose peers say what the test says, and time that passes when everybody waits.

use std::future::pending;

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::oneshot,
    time::{Instant, sleep},
};

use super::*;

const REQUEST: &[u8] = b"GET /whoami HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The peer's end of a connection, and the task that serves the other.
fn connect(ends: &CancellationToken) -> (DuplexStream, JoinHandle<()>) {
    let (peer, stream) = duplex(64 * 1024);
    let app = Router::new().route("/whoami", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()));
    let address = SocketAddr::from(([192, 0, 2, 1], 7));
    (peer, tokio::spawn(one(stream, address, app, ends.clone())))
}

/// Reads until the answer to [`REQUEST`] is there.
async fn answered(peer: &mut DuplexStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n192.0.2.1:7") {
        assert!(peer.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_ended() {
    for begun in [&b""[..], b"G", b"PRI * HTTP/2.0\r\n", b"GET /whoami HTTP/1.1\r\nhost: localhost\r\nx-slow: "] {
        let (mut peer, served) = connect(&CancellationToken::new());
        let began = Instant::now();
        peer.write_all(begun).await.unwrap();
        served.await.unwrap();
        assert!(began.elapsed() < HEAD * 2, "{}", String::from_utf8_lossy(begun));
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).await.unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&rest));
    }
}

/// A byte now and then buys no time.
#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_is_ended() {
    let (mut peer, served) = connect(&CancellationToken::new());
    let began = Instant::now();
    // More than there is time for: the other end is closed at some point.
    let head = [&b"GET /whoami HTTP/1.1\r\nx-slow: "[..], &[b'x'; 1000]].concat();
    for byte in head {
        if peer.write_u8(byte).await.is_err() {
            break;
        }
        sleep(HEAD / 100).await;
    }
    served.await.unwrap();
    assert!(began.elapsed() >= HEAD && began.elapsed() < HEAD * 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_answers_again_and_may_not_idle_for_ever() {
    let (mut peer, served) = connect(&CancellationToken::new());
    for _ in 0..3 {
        peer.write_all(REQUEST).await.unwrap();
        answered(&mut peer).await;
        sleep(HEAD * 3 / 4).await;
    }
    let idle = Instant::now();
    served.await.unwrap();
    assert!(idle.elapsed() < HEAD);
    assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_is_of_some_kibibytes() {
    let (mut peer, served) = connect(&CancellationToken::new());
    let head = [&b"GET /whoami HTTP/1.1\r\nx-long: "[..], &vec![b'x'; 2 * BUFFER_BYTES]].concat();
    peer.write_all(&head).await.unwrap();
    served.await.unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(start_paused = true)]
async fn who_idles_is_asked_to_leave_at_once() {
    let ends = CancellationToken::new();
    let (mut peer, served) = connect(&ends);
    peer.write_all(REQUEST).await.unwrap();
    answered(&mut peer).await;
    let asked = Instant::now();
    ends.cancel();
    served.await.unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn one_connection_too_many_takes_the_place_of_the_oldest() {
    let mut held = Held::default();
    let (kept, is_gone) = oneshot::channel::<()>();
    held.hold(tokio::spawn(async move {
        let _kept = kept;
        pending::<()>().await;
    }));
    for _ in 1..MOST_CONNECTIONS {
        held.hold(tokio::spawn(pending()));
    }
    assert!(held.0.iter().all(|one| !one.is_finished()));
    held.hold(tokio::spawn(pending()));
    assert_eq!(held.0.len(), MOST_CONNECTIONS);
    assert!(is_gone.await.is_err(), "the oldest was ended");
    // Who has left is no longer held.
    held.0.iter().for_each(JoinHandle::abort);
    for one in &mut held.0 {
        assert!(one.await.unwrap_err().is_cancelled());
    }
    held.hold(tokio::spawn(pending()));
    assert_eq!(held.0.len(), 1);
}
