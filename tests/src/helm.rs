//! Helm on the charts of this repository. Owns: how it is called. Never: what a chart should hold.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{PeerError, tools};

/// The namespace that the charts are rendered for, and the name of the release.
pub const NAMESPACE: &str = "gatewright-system";
/// The release's name, with which every object is named as the documentation says.
pub const RELEASE: &str = "gatewright";

/// What one call printed, and whether it succeeded.
#[derive(Debug, Clone)]
pub struct Printed {
    /// Exit code 0.
    pub good: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The folder of a chart.
pub fn chart(name: &str) -> PathBuf {
    root().join("charts").join(name)
}

/// The folder with Helm, kubectl, etcd and the rest.
pub fn programs() -> Result<PathBuf, PeerError> {
    let program = tools::installed("kubernetes")?;
    Ok(program.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// Runs Helm in the root of the repository. It talks to a cluster only if `arguments` say so.
pub fn helm(arguments: &[&str]) -> Result<Printed, PeerError> {
    run("helm", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<Printed, PeerError> {
    let ran = Command::new(programs()?.join(program))
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .map_err(PeerError::io(program))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Printed { good: ran.status.success(), out: text(&ran.stdout), err: text(&ran.stderr) })
}

/// The chart's objects for these arguments, such as `--set`.
pub fn template(chart_name: &str, arguments: &[&str]) -> Result<Printed, PeerError> {
    let folder = chart(chart_name).display().to_string();
    let mut all = vec!["template", RELEASE, &folder, "--namespace", NAMESPACE];
    all.extend(arguments);
    helm(&all)
}
