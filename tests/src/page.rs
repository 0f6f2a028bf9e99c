//! A page of the documentation, followed word by word: its `console` blocks are one session of a shell in a folder that looks
//! like a clone after the build, and each line of the `text` block after one must be in what that one printed (`…` is anything).
//!
//! Pages use the ports that everybody uses. Where the system lets us, the session has a network of its own, so that it meets
//! neither other tests nor what runs on the machine.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{PeerError, process::Process, product};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What a page may refer to in the clone.
const LINKED: [&str; 5] = ["crds", "docs", "examples", "tests", "README.md"];
/// Ends what a command printed; nobody prints this.
const MARK: &str = "\u{1}block\u{1}";

/// The first thing in a network of one's own.
const LOOPBACK: &str = "PATH=$PATH:/usr/sbin:/sbin ip link set lo up";

/// A `console` block and what it must print.
#[derive(Debug, Default)]
struct Block {
    commands: Vec<String>,
    expected: Vec<String>,
}

/// Follows `docs/applications/NAME.md`; the error says which block ended how, or which line it did not print.
pub async fn follow(name: &str) -> Result<(), PeerError> {
    let page = Path::new(ROOT).join("docs/applications").join(format!("{name}.md"));
    let text = fs::read_to_string(&page).map_err(PeerError::io(page.display().to_string()))?;
    let blocks = blocks(&text);
    let unfit = |what: &str| PeerError::unreadable(format!("the page {name}.md, followed"), &what);
    if blocks.is_empty() || blocks.iter().all(|block| block.expected.is_empty()) {
        return Err(unfit("it has no commands, or shows no output"));
    }
    let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
    let clone = clone_in(home.path())?;
    let finished = run(&script(&blocks), &clone, home.path()).await?;
    let printed: Vec<&str> = finished.output.split(MARK).collect();
    for (position, block) in blocks.iter().enumerate() {
        let printed = printed.get(position).copied().unwrap_or_default();
        let missing = block.expected.iter().find(|line| !printed.lines().any(|printed| matches(printed, line)));
        if let Some(missing) = missing {
            let commands = block.commands.join("\n");
            return Err(unfit(&format!(
                "`{commands}` does not print `{missing}` but:\n{printed}\n\nall: {}",
                finished.output
            )));
        }
    }
    match finished.code {
        Some(0) => Ok(()),
        code => Err(unfit(&format!("the shell ended with {code:?}:\n{}", finished.output))),
    }
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut fence): (Vec<Block>, Option<&str>) = (Vec::new(), None);
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), fence) {
            (Some(kind), None) => {
                fence = Some(kind);
                if kind == "console" {
                    blocks.push(Block::default());
                }
            }
            (Some(_), Some(_)) => fence = None,
            (None, kind) => {
                let Some(block) = blocks.last_mut() else { continue };
                match kind {
                    Some("console") => block.commands.push(line.to_owned()),
                    Some("text") => block.expected.push(line.to_owned()),
                    _ => {}
                }
            }
        }
    }
    blocks
}

/// Whether the line is the expected one, `…` standing for anything.
fn matches(printed: &str, expected: &str) -> bool {
    let mut rest = printed;
    expected.trim().split('…').all(|part| match rest.find(part) {
        Some(at) => {
            rest = rest.get(at + part.len()..).unwrap_or_default();
            true
        }
        None => false,
    })
}

/// Everything in one shell; what it leaves running in the background ends with it.
fn script(blocks: &[Block]) -> String {
    let mut script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\nexec 2>&1\n".to_owned();
    for block in blocks {
        let _ = writeln!(script, "{}\nprintf '%s' '{MARK}'", block.commands.join("\n"));
    }
    script
}

/// A folder with what a clone has, and the built command where a build puts it.
fn clone_in(home: &Path) -> Result<PathBuf, PeerError> {
    let clone = home.join("gatewright");
    let release = clone.join("target/release");
    fs::create_dir_all(&release).map_err(PeerError::io("a folder for the page"))?;
    for name in LINKED {
        symlink(Path::new(ROOT).join(name), clone.join(name)).map_err(PeerError::io(name))?;
    }
    symlink(product::binary()?, release.join("gatewright")).map_err(PeerError::io("gatewright"))?;
    Ok(clone)
}

async fn run(script: &str, clone: &Path, home: &Path) -> Result<crate::process::Finished, PeerError> {
    let mut command = if own_network() {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "bash", "-c"]);
        command.arg(format!("{LOOPBACK}\n{script}"));
        command
    } else {
        let mut command = Command::new("bash");
        command.arg("-c").arg(script);
        command
    };
    command.current_dir(clone).stdin(Stdio::null()).env("NO_PROXY", "localhost,127.0.0.1");
    Process::start("a page's session", &mut command, home.join("page.log"))?.finish().await
}

/// Whether a process here may have a network of its own.
fn own_network() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-c", LOOPBACK]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_blocks() {
        let page = "a\n```console\none\n  two\n```\nb\n```yaml\nc: d\n```\n   ```text\n   out …\n   ```\n```console\nthree\n```\n";
        let blocks = blocks(page);
        assert_eq!(blocks.len(), 2);
        assert_eq!(
            (&blocks[0].commands, &blocks[0].expected),
            (&vec!["one".to_owned(), "  two".to_owned()], &vec!["   out …".to_owned()])
        );
        assert!(blocks[1].expected.is_empty());
    }

    #[test]
    fn three_dots_are_anything() {
        for (expected, holds) in [("a … c", true), ("a b", true), ("c … a", false), ("…", true), ("d", false)] {
            assert_eq!(matches("x a b c y", expected), holds, "{expected}");
        }
    }
}
