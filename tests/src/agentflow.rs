//! AgentFlow's own API server (PyPI), with the smallest graph: what Gatewright stands in front of, and is compared with.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    PeerError,
    client::plain_client,
    process::{Process, free_port},
    tools, wait,
};

const GRAPH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/agentflow/graph");
/// Python reads a hundred files first, on a machine that builds beside it.
const START: Duration = Duration::from_mins(1);

/// The running server. It ends when dropped.
#[derive(Debug)]
pub struct AgentFlow {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl AgentFlow {
    /// Starts it with `"auth": "jwt"`, HS256 and this secret. `settings` are more members of its `agentflow.json`; its files go to
    /// a folder of their own in `folder`.
    pub async fn start(secret: &str, settings: &Value, folder: &Path) -> Result<Self, PeerError> {
        let home = folder.join("agentflow");
        let graph = home.join("graph");
        fs::create_dir_all(&graph).map_err(PeerError::io("AgentFlow's folder"))?;
        for name in ["__init__.py", "agent.py"] {
            fs::copy(Path::new(GRAPH).join(name), graph.join(name)).map_err(PeerError::io(name))?;
        }
        let mut config = json!({"agent": "graph.agent:app", "env": ".env", "auth": "jwt"});
        for (name, value) in settings.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        let environment = format!("JWT_SECRET_KEY={secret}\nJWT_ALGORITHM=HS256\n");
        for (name, text) in [("agentflow.json", config.to_string()), (".env", environment)] {
            fs::write(home.join(name), text).map_err(PeerError::io(name))?;
        }
        let port = free_port()?;
        let mut command = Command::new(tools::installed("agentflow")?);
        command.args(["api", "--no-reload", "-p", &port.to_string()]).current_dir(&home).stdin(Stdio::null());
        let mut process = Process::start("AgentFlow", &mut command, folder.join("agentflow.log"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait::until("AgentFlow to serve", START, || {
            let asked = process.must_run().and_then(|()| plain_client());
            async move {
                match asked {
                    Err(error) => Some(Err(error)),
                    Ok(client) => client.get(format!("http://{address}/ping")).send().await.ok().map(|_| Ok(())),
                }
            }
        })
        .await??;
        Ok(Self { address, _process: process })
    }
}
