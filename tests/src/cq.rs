//! cq on both sides of the proxy: its own client (PyPI `cq-sdk`) and a server that takes the credentials cq's server takes.
//! The server is a stand-in, in Python's standard library alone: cq's own is in no registry.

use std::{
    net::SocketAddr,
    path::Path,
    process::{ChildStdin, Command, Stdio},
};

use serde_json::Value;

use crate::{
    PeerError,
    process::Process,
    tools,
    wait::{self, LONG},
};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/cq/server.py");
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/cq/client.py");

/// What the server knows.
#[derive(Clone, Debug)]
pub struct Knows<'a> {
    /// `CQ_JWT_SECRET`.
    pub secret: &'a str,
    /// `CQ_API_KEY_PEPPER`.
    pub pepper: &'a str,
    /// The one API key: id, hash in hex, user.
    pub key: [&'a str; 3],
}

/// The running server.
#[derive(Debug)]
pub struct CqServer {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
    // The script ends when this closes, also when the test is killed.
    _lifeline: Option<ChildStdin>,
}

impl CqServer {
    /// Starts it; its log goes to `folder`.
    pub async fn start(knows: &Knows<'_>, folder: &Path) -> Result<Self, PeerError> {
        let mut command = Command::new("python3");
        command.arg(SERVER).stdin(Stdio::piped());
        command.env("CQ_JWT_SECRET", knows.secret).env("CQ_API_KEY_PEPPER", knows.pepper);
        command.envs(["CQ_KEY_ID", "CQ_KEY_HASH", "CQ_KEY_USER"].into_iter().zip(knows.key));
        let mut process = Process::start("cq's server", &mut command, folder.join("cq.log"))?;
        let lifeline = process.take_stdin();
        let port: u16 = wait::until("cq's server to listen", LONG, || {
            let written = process.must_run().map(|()| process.output().lines().next()?.parse().ok());
            async move { written.transpose() }
        })
        .await??;
        Ok(Self { address: SocketAddr::from(([127, 0, 0, 1], port)), process, _lifeline: lifeline })
    }

    /// Every request that reached it: method, path, who it is to cq and to us, status, the digest of its credential.
    pub fn seen(&self) -> Vec<Value> {
        self.process.output().lines().skip(1).filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// A session of cq's own client through `proxy` with this key; what each of its calls came to. Its files go to `folder`.
pub async fn session(proxy: SocketAddr, key: &str, folder: &Path) -> Result<Value, PeerError> {
    let mut command = Command::new("python3");
    command.arg(CLIENT).stdin(Stdio::null()).env_remove("CQ_LOCAL_DATABASE_URL").env_remove("CQ_LOCAL_DB_PATH");
    command.env("PYTHONPATH", tools::installed("cq-sdk")?).env("CQ_API_KEY", key);
    command.env("CQ_ADDR", format!("http://localhost:{}", proxy.port())).env("NO_PROXY", "localhost");
    for name in ["HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
        command.env(name, folder);
    }
    let finished = Process::start("cq's client", &mut command, folder.join("client.log"))?.finish().await?;
    let last = finished.output.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|_| PeerError::unreadable("what cq's client printed", &finished.output))
}
