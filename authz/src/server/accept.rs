//! Accepting connections from strangers: one that does not say what it must say first is ended, and a full descriptor table is waited
//! out, not spun on.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::warn;

/// How long a connection may take for its first word.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// What HTTP/2 begins with (RFC 9113, section 3.4). Keepalive takes over after it, and only then can a connection be asked to leave.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Pause after an accept that failed: descriptors come back when somebody leaves.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that must speak up.
pub struct Accepted<S> {
    stream: S,
    silence: Option<Silence>,
}

/// Before the first word has come as a whole.
struct Silence {
    /// Bytes of it that are missing.
    missing: usize,
    ends: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// The next TCP connection.
pub(crate) async fn tcp(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it a small answer may wait for an acknowledgement; a socket that refuses is still a socket.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// The next connection of a Unix socket.
pub(super) async fn unix(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    warn!(%error, "a connection could not be accepted; is the limit of open files too low?");
    sleep(PAUSE).await;
}

// === impl Accepted ===

impl<S> Accepted<S> {
    /// Of HTTP/2, which may be asked to leave before it has said hello.
    pub fn preface(stream: S, leave: CancellationToken) -> Self {
        let ends = Box::pin(async move {
            tokio::select! {
                () = sleep(FIRST_WORD) => {}
                () = leave.cancelled() => {}
            }
        });
        Self { stream, silence: Some(Silence { missing: PREFACE, ends }) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(silence) = &mut self.silence {
            silence.missing = silence.missing.saturating_sub(buffer.filled().len() - before);
            if silence.missing == 0 {
                self.silence = None;
            } else if polled.is_pending() && silence.ends.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    /// Said against better knowledge: to a vectored stream, HTTP/2 writes each answer of 256 bytes and more by a system call of its
    /// own. To others it gathers answers below 1,024 bytes, and sends all that are ready by one.
    fn is_write_vectored(&self) -> bool {
        false
    }
}

impl<S: Connected> Connected for Accepted<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends() {
        let (_silent, stream) = duplex(64);
        let mut accepted = Accepted::preface(stream, CancellationToken::new());
        assert_eq!(accepted.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_is_no_word() {
        let begun = tokio::time::Instant::now();
        for is_asked_to_leave in [false, true] {
            let (mut speaking, stream) = duplex(64);
            let leave = CancellationToken::new();
            let mut accepted = Accepted::preface(stream, leave.clone());
            speaking.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r").await.unwrap();
            if is_asked_to_leave {
                leave.cancel();
            }
            let mut all = Vec::new();
            assert_eq!(accepted.read_to_end(&mut all).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!((all.len(), begun.elapsed()), (PREFACE - 1, FIRST_WORD), "who is asked to leave does at once");
        }

        let (mut speaking, stream) = duplex(64);
        let leave = CancellationToken::new();
        let mut accepted = Accepted::preface(stream, leave.clone());
        speaking.write_all(&[b'x'; PREFACE]).await.unwrap();
        accepted.read_exact(&mut [0; PREFACE]).await.unwrap();
        leave.cancel();
        assert!(tokio::time::timeout(FIRST_WORD * 10, accepted.read_u8()).await.is_err(), "it is asked by HTTP/2 then");
    }
}
