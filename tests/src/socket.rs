//! WebSockets that stay open: an application that holds them and repeats what it is told, and the client's end.
//! Bytes go through as they are; nobody here frames them, because a proxy does not look at them either.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{Call, PeerError, wait::LONG};

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// No head of a test is longer.
const HEAD: usize = 16 * 1024;

/// An application that takes every handshake and repeats every byte. It ends with the runtime of the test.
#[derive(Clone, Debug)]
pub struct Repeater {
    /// Where it listens.
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// The client's end of an open connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
}

impl Repeater {
    /// Starts one.
    pub async fn start() -> Result<Self, PeerError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(PeerError::io("a port for the application"))?;
        let address = listener.local_addr().map_err(PeerError::io("the application's address"))?;
        let repeater = Self { address, heads: Arc::default() };
        let own = repeater.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream));
            }
        });
        Ok(repeater)
    }

    /// The heads of the handshakes that reached it, in order.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn serve(self, mut stream: TcpStream) -> Option<()> {
        let head = head(&mut stream).await?;
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        stream.write_all(SWITCH).await.ok()?;
        let (mut from, mut to) = stream.into_split();
        tokio::io::copy(&mut from, &mut to).await.ok()?;
        Some(())
    }
}

impl Socket {
    /// Sends the handshake over HTTP/1.1; an error unless it is answered with 101.
    pub async fn open(call: &Call) -> Result<Self, PeerError> {
        let mut stream = TcpStream::connect(call.address()).await.map_err(PeerError::io("a connection to Envoy"))?;
        stream.write_all(call.text().as_bytes()).await.map_err(PeerError::io("a handshake"))?;
        let answer = timeout(LONG, head(&mut stream)).await;
        let answer = answer.map_err(|_| PeerError::Late { what: "a handshake".to_owned(), waited: LONG })?;
        let answer = answer.unwrap_or_default();
        if answer.starts_with("HTTP/1.1 101 ") {
            Ok(Self { stream })
        } else {
            Err(PeerError::unreadable("a handshake", &answer))
        }
    }

    /// Whether what is said comes back.
    pub async fn is_alive(&mut self) -> bool {
        let mut heard = [0; 4];
        self.stream.write_all(b"ping").await.is_ok()
            && matches!(timeout(LONG, self.stream.read_exact(&mut heard)).await, Ok(Ok(_)) if heard == *b"ping")
    }

    /// Waits until the other side ends the connection, by closing or by a reset.
    pub async fn ended(&mut self) -> Result<(), PeerError> {
        let mut more = [0; 64];
        let end = timeout(LONG, async { while matches!(self.stream.read(&mut more).await, Ok(1..)) {} });
        end.await.map_err(|_| PeerError::Late { what: "the end of a connection".to_owned(), waited: LONG })
    }
}

/// Everything up to the empty line, which is read and no byte more: what follows belongs to the connection.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") && read.len() < HEAD {
        read.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(read).ok()
}
