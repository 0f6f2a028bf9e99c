//! Where the programs are that the tests need. Versions and installation belong to `tools/install`.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::PeerError;

/// The path of a pinned tool (`envoy`, `oidc-provider`), installed now if it is not there yet.
///
/// Progress goes to stderr. A simultaneous install by another test is waited for.
pub fn installed(tool: &str) -> Result<PathBuf, PeerError> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/install");
    let ran = Command::new(script)
        .arg(tool)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(PeerError::io(format!("{script} {tool} (it needs python3 3.11 or newer)")))?;
    let printed = String::from_utf8_lossy(&ran.stdout);
    match printed.lines().last() {
        Some(path) if ran.status.success() => Ok(PathBuf::from(path)),
        _ => Err(PeerError::Missing {
            program: tool.to_owned(),
            command: "tests/tools/install; it has just failed, its reason is above",
        }),
    }
}
