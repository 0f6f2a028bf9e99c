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
    bench::Setup,
    client::plain_client,
    process::{Finished, Process},
    secrets,
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

/// A running product with its folders. Killed when dropped; then no secret of any test may be in what it printed or kept.
#[derive(Debug)]
pub struct Product {
    /// Where it listens now.
    pub addresses: Addresses,
    setup: Setup,
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
        Self::start_with(&Setup { authz: authz.to_owned(), ..Setup::default() }, documents).await
    }

    /// The same as a bench is set up.
    pub async fn start_with(setup: &Setup, documents: &[(String, String)]) -> Result<Self, PeerError> {
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        for folder in ["config", "data"] {
            fs::create_dir(home.path().join(folder)).map_err(PeerError::io(folder))?;
        }
        let authz = match setup.authz.as_str() {
            "unix:" => format!("unix:{}", home.path().join("authz.sock").display()),
            address => address.to_owned(),
        };
        let anywhere = "127.0.0.1:0".to_owned();
        let addresses = Addresses { authz, broker: anywhere.clone(), admin: anywhere };
        let mut product = Self { addresses, setup: setup.clone(), process: None, home };
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
        self.signal("TERM")
    }

    /// Waits for an end that was asked for before.
    pub async fn ended(&mut self) -> Result<Finished, PeerError> {
        match self.process.as_mut() {
            Some(process) => process.finish().await,
            None => Err(PeerError::unreadable("the product", &"it was not started")),
        }
    }

    /// Sends a signal by name.
    pub fn signal(&mut self, name: &str) -> Result<(), PeerError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(name))
    }

    /// Starts it again after it was killed, on the same addresses, configuration and data.
    pub async fn revive(&mut self) -> Result<(), PeerError> {
        self.launch().await
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
        secrets::note_documents(text);
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
        let mut command = match &self.setup.shell {
            None => Command::new(binary()?),
            Some(shell) => {
                let mut command = Command::new("sh");
                command.args(["-c", shell]).arg(binary()?);
                command
            }
        };
        command.arg("run").arg("--config").arg(self.config()).arg("--data-dir").arg(self.home.path().join("data"));
        command.args(["--authz-address", &self.addresses.authz, "--broker-address", &self.addresses.broker]);
        command.args(["--admin-address", &self.addresses.admin, "--addresses-file"]).arg(&file).stdin(Stdio::null());
        command.args(&self.setup.flags);
        // `GATEWRIGHT_TEST_LOG=trace`: looks for secrets in everything that anybody in the process ever says.
        if let Some(level) = env::var_os("GATEWRIGHT_TEST_LOG") {
            // A test that gives a level of its own keeps it.
            command.env("GATEWRIGHT_LOG", level);
        }
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

impl Drop for Product {
    fn drop(&mut self) {
        // Killed or not, what it said is in its log.
        drop(self.process.take());
        let output = fs::read(self.home.path().join("product.log")).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        if std::thread::panicking() {
            return;
        }
        assert_eq!(secrets::shown_in(&output), None, "a secret is in the log of the product");
        for (name, text) in texts_below(&self.data()) {
            assert_eq!(secrets::shown_in(&text), None, "a secret is in {name}");
        }
    }
}

/// Every file below a folder, by name, as text: what is none in it is replaced.
pub fn texts_below(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = entries.flat_map(|path| match fs::read(&path) {
        Ok(bytes) => vec![(path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned())],
        Err(_) => texts_below(&path),
    });
    texts.collect()
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
