//! Servers: a real Redis of the tests' own, and one that answers what it is told.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::until;

/// A real server on loopback. Killed when dropped.
pub(super) struct Redis {
    pub(super) port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    pub(super) async fn start(arguments: &[&str]) -> Self {
        // It must be told its port, which is free until somebody else takes it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
        let mut redis = Self { port, arguments, child: None };
        redis.launch().await;
        redis
    }

    /// Starts it again where it was.
    pub(super) async fn launch(&mut self) {
        let port = self.port.to_string();
        let child = Command::new(program())
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let address = format!("127.0.0.1:{port}");
        until("Redis to listen", async || tokio::net::TcpStream::connect(&address).await.is_ok()).await;
    }

    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// `STOP` freezes it with its sockets open, `CONT` lets it go on.
    pub(super) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id();
        assert!(Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap().success());
    }

    pub(super) fn url(&self) -> String {
        format!("url: 'redis://127.0.0.1:{}'", self.port)
    }

    /// Of somebody else, with this user information.
    pub(super) async fn client(&self, user: &str) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://{user}127.0.0.1:{}", self.port)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Every key with its value and the milliseconds that it lives; -1: for ever.
    pub(super) async fn keys(&self) -> Vec<(String, String, i64)> {
        let mut client = self.client("").await;
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut client).await.unwrap();
        let mut all = Vec::new();
        for key in keys {
            let value = redis::cmd("GET").arg(&key).query_async(&mut client).await.unwrap();
            let left = redis::cmd("PTTL").arg(&key).query_async(&mut client).await.unwrap();
            all.push((key, value, left));
        }
        all
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn program() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tools/install");
    let ran = Command::new(script).arg("redis").stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(ran.status.success(), "{script} redis failed; its reason is above");
    String::from_utf8(ran.stdout).unwrap().lines().last().unwrap().to_owned()
}

/// A server that answers PING as it should, and everything else with these bytes, over and over if it shall.
pub(super) async fn fake(answer: &'static [u8], endless: bool) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let pinged = buffer[..read].windows(4).any(|word| word == b"PING");
                    let reply = if pinged { &b"+PONG\r\n"[..] } else { answer };
                    while stream.write_all(reply).await.is_ok() && endless && !pinged {}
                }
            });
        }
    });
    address
}
