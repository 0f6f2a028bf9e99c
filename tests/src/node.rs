//! A real Kubernetes node on this machine, by the scripts in `tests/node`. It needs root, and there is one at a time.
//!
//! Owns: the node's life, images, and calls of kubectl and Helm on it. Never: an address outside it.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{PeerError, helm, product, tools};

/// A running node. Ended when dropped.
#[derive(Debug)]
pub struct Node {
    programs: PathBuf,
    home: TempDir,
}

impl Node {
    /// Starts it with these images of `tests/node/image`, such as `gatewright`. Its output goes to our stderr.
    pub fn start(images: &[&str]) -> Result<Self, PeerError> {
        let programs = tools::installed("node")?;
        let programs = programs.parent().map(Path::to_path_buf).unwrap_or_default();
        let home = tempfile::Builder::new()
            .prefix("gatewright-node")
            .tempdir()
            .map_err(PeerError::io("a temporary folder"))?;
        let mut archives = Vec::new();
        for name in images {
            let archive = home.path().join(format!("{name}.tar"));
            let mut command = script("image");
            command.arg(name).arg(&archive).env("GATEWRIGHT", product::binary()?);
            must(&format!("tests/node/image {name}"), &mut command)?;
            archives.push(archive.display().to_string());
        }
        let node = Self { programs, home };
        let mut command = script("up.sh");
        command.arg("3").env("BIN", &node.programs).env("RUN", node.folder()).env("IMAGES", archives.join(" "));
        must("tests/node/up.sh", &mut command)?;
        for archive in archives {
            // Imported by now.
            let _ = fs::remove_file(archive);
        }
        Ok(node)
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("run")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("pki/admin.kubeconfig")
    }

    /// The folder with kubectl and Helm.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// What kubectl prints. Relative paths are of the repository's root.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, PeerError> {
        self.call("kubectl", arguments)
    }

    /// What Helm prints.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, PeerError> {
        self.call("helm", arguments)
    }

    fn call(&self, program: &str, arguments: &[&str]) -> Result<String, PeerError> {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).current_dir(helm::root()).stdin(Stdio::null());
        let title = format!("{program} {}", arguments.join(" "));
        let ran = command.output().map_err(PeerError::io(&title))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if ran.status.success() {
            return Ok(text(&ran.stdout));
        }
        let output = format!("{}{}", text(&ran.stdout), text(&ran.stderr));
        Err(PeerError::Ended { program: title, status: ran.status.to_string(), output })
    }

    /// An object as JSON.
    pub fn get(&self, namespace: &str, object: &str) -> Result<Value, PeerError> {
        let printed = self.kubectl(&["get", object, "--namespace", namespace, "-o", "json"])?;
        serde_json::from_str(&printed).map_err(|error| PeerError::unreadable(object, &error))
    }

    /// Where a Service is reached, from this machine as from a pod.
    pub fn service(&self, namespace: &str, name: &str, port: u16) -> Result<SocketAddr, PeerError> {
        let service = self.get(namespace, &format!("service/{name}"))?;
        let address = service["spec"]["clusterIP"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
        let address = address.ok_or_else(|| PeerError::unreadable(format!("the address of {name}"), &service))?;
        Ok(SocketAddr::new(address, port))
    }

    /// Ends the first program of a pod as a crash does: without a warning, and the pod stays.
    pub fn crash(&self, pod: &str, program: &str) -> Result<(), PeerError> {
        let processes = fs::read_dir("/proc").map_err(PeerError::io("/proc"))?;
        let is_it = |folder: &Path| {
            // A process that ends meanwhile is not it.
            let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
            read("cmdline").split('\0').next() == Some(program) && read("root/etc/hostname").trim() == pod
        };
        let found = processes.filter_map(Result::ok).map(|entry| entry.path()).find(|folder| is_it(folder));
        let found = found.ok_or_else(|| PeerError::unreadable(format!("the process of {pod}"), &"there is none"))?;
        let id = found.file_name().unwrap_or_default();
        must("kill", Command::new("kill").arg("-KILL").arg(id))
    }

    /// States, events and logs of a namespace: what a person would look at when something does not start.
    pub fn describe(&self, namespace: &str) -> String {
        let show = |arguments: &[&str]| self.kubectl(arguments).unwrap_or_else(|error| error.to_string());
        let mut parts = vec![show(&["get", "pods,authpolicies", "--namespace", namespace, "-o", "wide"])];
        parts.push(show(&["get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp"]));
        for pod in show(&["get", "pods", "--namespace", namespace, "-o", "name"]).lines() {
            let logs = show(&["logs", pod, "--namespace", namespace, "--all-containers", "--tail=30"]);
            parts.push(format!("== logs of {pod}\n{logs}"));
        }
        parts.join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A failure leaves a node behind; down.sh itself says so on stderr.
        let _ = script("down.sh").env("RUN", self.folder()).status();
    }
}

fn script(name: &str) -> Command {
    let mut command = Command::new(helm::root().join("tests/node").join(name));
    command.stdin(Stdio::null());
    command
}

/// Runs a command whose output a person may see, on our stderr.
fn must(title: &str, command: &mut Command) -> Result<(), PeerError> {
    let ran = command.stdout(std::io::stderr()).stderr(Stdio::inherit()).status().map_err(PeerError::io(title))?;
    if ran.success() {
        return Ok(());
    }
    Err(PeerError::Ended { program: title.to_owned(), status: ran.to_string(), output: "see above".to_owned() })
}
