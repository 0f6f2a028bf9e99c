//! A real Redis on loopback: the store that replicas share. It can be killed, frozen, flushed and started again where it was.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    PeerError,
    process::Process,
    tools,
    wait::{self, LONG},
};

/// The running server. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    password: Option<String>,
    process: Option<Process>,
    home: TempDir,
}

impl Redis {
    /// Starts one that wants this password, if any.
    pub async fn start(password: Option<&str>) -> Result<Self, PeerError> {
        // It must be told its port; it is free until somebody else takes it.
        let listener = TcpListener::bind("127.0.0.1:0").map_err(PeerError::io("a free port"))?;
        let address = listener.local_addr().map_err(PeerError::io("a free port"))?;
        drop(listener);
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let mut redis = Self { address, password: password.map(str::to_owned), process: None, home };
        redis.launch().await?;
        Ok(redis)
    }

    /// Starts it where it was, with nothing in it.
    pub async fn launch(&mut self) -> Result<(), PeerError> {
        let mut command = Command::new(tools::installed("redis")?);
        command.args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no"]).stdin(Stdio::null());
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        self.process = Some(Process::start("redis", &mut command, self.home.path().join("log"))?);
        wait::until("Redis to listen", LONG, || async { TcpStream::connect(self.address).ok() }).await.map(drop)
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal by name: `STOP` freezes it with its sockets open, `CONT` lets it go on.
    pub fn signal(&mut self, name: &str) -> Result<(), PeerError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(name))
    }

    /// What it answers to these commands, one a line, as it writes it (the inline commands of its protocol).
    pub fn ask(&self, commands: &[&str]) -> Result<String, PeerError> {
        let sign_in = self.password.as_ref().map(|password| format!("AUTH {password}\r\n")).unwrap_or_default();
        let text = commands.join("\r\n");
        let asked = TcpStream::connect(self.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(format!("{sign_in}{text}\r\nQUIT\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        asked.map_err(PeerError::io("a command to Redis"))
    }
}
