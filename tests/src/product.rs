//! The product: the real `gatewright` binary in a temporary folder, on ports of its choice.
//! Never links its code. Configuration is written as an editor or Kubernetes does: a new file moved over the old.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    PeerError,
    client::plain_client,
    process::{Finished, Process},
    wait::{self, LONG},
};

/// Where it listens: `host:port`, or `unix:PATH` for `authz`.
#[derive(Clone, Debug, Deserialize)]
pub struct Addresses {
    /// The ext_authz gRPC listener.
    pub authz: String,
    /// The listener for browsers and jobs; absent in a build without one.
    #[serde(default)]
    pub broker: String,
    /// Liveness, readiness, metrics.
    pub admin: String,
}

/// A running product with its folders. Killed when dropped.
#[derive(Debug)]
pub struct Product {
    /// Where it listens now.
    pub addresses: Addresses,
    process: Option<Process>,
    home: TempDir,
}

impl Product {
    /// Starts it on these documents (file name, text) and waits until it is ready.
    pub async fn start(documents: &[(String, String)]) -> Result<Self, PeerError> {
        Self::start_on("127.0.0.1:0", documents).await
    }

    /// The same with an `--authz-address`; `unix:` alone means a socket in its own folder.
    pub async fn start_on(authz: &str, documents: &[(String, String)]) -> Result<Self, PeerError> {
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        for folder in ["config", "data"] {
            fs::create_dir(home.path().join(folder)).map_err(PeerError::io(folder))?;
        }
        let authz = match authz {
            "unix:" => format!("unix:{}", home.path().join("authz.sock").display()),
            address => address.to_owned(),
        };
        let anywhere = "127.0.0.1:0".to_owned();
        let addresses = Addresses { authz, broker: anywhere.clone(), admin: anywhere };
        let mut product = Self { addresses, process: None, home };
        for (name, text) in documents {
            product.write(name, text)?;
        }
        product.launch().await?;
        Ok(product)
    }

    /// Ends it in order and starts it again on the same addresses, configuration and data.
    pub async fn restart(&mut self) -> Result<(), PeerError> {
        self.stop().await?;
        self.launch().await
    }

    /// Sends SIGTERM and waits for its end.
    pub async fn stop(&mut self) -> Result<Finished, PeerError> {
        self.begin_stop()?;
        self.ended().await
    }

    /// Sends SIGTERM only.
    pub fn begin_stop(&mut self) -> Result<(), PeerError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal("TERM"))
    }

    /// Waits for an end that was asked for before.
    pub async fn ended(&mut self) -> Result<Finished, PeerError> {
        match self.process.as_mut() {
            Some(process) => process.finish().await,
            None => Err(PeerError::unreadable("the product", &"it was not started")),
        }
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Everything it printed since its first start.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Status and body of a path of its admin listener; status 0 when nobody answers.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let Ok(client) = plain_client() else { return (0, String::new()) };
        match client.get(format!("http://{}{path}", self.addresses.admin)).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    /// The folder of its documents.
    pub fn config(&self) -> PathBuf {
        self.home.path().join("config")
    }

    /// The folder of what a restart needs.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Writes a document, replacing one of that name in a single step.
    pub fn write(&self, name: &str, text: &str) -> Result<(), PeerError> {
        let (new, place) = (self.home.path().join(format!("{name}.new")), self.config().join(name));
        fs::write(&new, text).and_then(|()| fs::rename(&new, &place)).map_err(PeerError::io(name))
    }

    /// Replaces `old` by `new` in a document, which must hold it.
    pub fn edit(&self, name: &str, old: &str, new: &str) -> Result<(), PeerError> {
        let text = fs::read_to_string(self.config().join(name)).map_err(PeerError::io(name))?;
        if !text.contains(old) {
            return Err(PeerError::unreadable(name, &format!("it does not hold {old:?}")));
        }
        self.write(name, &text.replace(old, new))
    }

    /// Deletes a document.
    pub fn delete(&self, name: &str) -> Result<(), PeerError> {
        fs::remove_file(self.config().join(name)).map_err(PeerError::io(name))
    }

    async fn launch(&mut self) -> Result<(), PeerError> {
        let file = self.home.path().join("addresses.json");
        let _ = fs::remove_file(&file);
        let mut command = Command::new(binary()?);
        command.arg("run").arg("--config").arg(self.config()).arg("--data-dir").arg(self.home.path().join("data"));
        command.args(["--authz-address", &self.addresses.authz, "--broker-address", &self.addresses.broker]);
        command.args(["--admin-address", &self.addresses.admin, "--addresses-file"]).arg(&file).stdin(Stdio::null());
        let mut process = Process::start("gatewright", &mut command, self.home.path().join("product.log"))?;
        self.addresses = wait::until("gatewright to write its addresses", LONG, || {
            let read = process.must_run().map(|()| addresses(&file));
            async move { read.transpose() }
        })
        .await??;
        self.process = Some(process);
        self.until_ready().await
    }

    async fn until_ready(&self) -> Result<(), PeerError> {
        let ready = || async { (self.admin("/readyz").await.0 == 200).then_some(()) };
        wait::until("gatewright to be ready", LONG, ready).await
    }
}

/// Runs `gatewright` with these arguments until it ends by itself.
pub async fn command(arguments: &[&str]) -> Result<Finished, PeerError> {
    let folder = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null());
    Process::start("gatewright", &mut command, folder.path().join("log"))?.finish().await
}

/// The binary of this build: beside the running program, or one folder up when that is a test. The environment
/// variable `GATEWRIGHT` names another, such as a release build.
pub fn binary() -> Result<PathBuf, PeerError> {
    if let Some(other) = env::var_os("GATEWRIGHT") {
        return Ok(other.into());
    }
    let program = env::current_exe().map_err(PeerError::io("the path of this program"))?;
    let folders = program.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("gatewright")).find(|path| path.is_file());
    found.ok_or(PeerError::Missing { program: "gatewright".to_owned(), command: "cargo build --bin gatewright" })
}

fn addresses(file: &Path) -> Option<Addresses> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}
