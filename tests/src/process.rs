//! A child process that ends with its owner. Never signals anything but its own child.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

use crate::{
    PeerError,
    wait::{self, LONG},
};

/// A running program whose output goes to a file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output and error, as they came.
    pub output: String,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`.
    ///
    /// It stays in our process group, so that Ctrl-C on a terminal ends it too, whatever becomes of us.
    pub fn start(name: &str, command: &mut Command, log: PathBuf) -> Result<Self, PeerError> {
        let open = || File::options().create(true).append(true).open(&log);
        let output = open().map_err(PeerError::io(log.display().to_string()))?;
        let errors = open().map_err(PeerError::io(log.display().to_string()))?;
        let child = command
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(PeerError::io(format!("{}", command.get_program().display())))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// [`PeerError::Ended`] when it runs no more; a start loop asks this so that a crash is told at once.
    pub fn must_run(&mut self) -> Result<(), PeerError> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => {
                Err(PeerError::Ended { program: self.name.clone(), status: status.to_string(), output: self.output() })
            }
        }
    }

    /// Its standard input, when the command asked for a pipe.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends a signal by name, such as `TERM`; nothing when it has ended, for its id may be another's by now.
    pub fn signal(&mut self, name: &str) -> Result<(), PeerError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        // Through the shell: the standard library sends no other signal than KILL, and unsafe code is forbidden here.
        let id = self.child.id();
        Command::new("sh")
            .args(["-c", &format!("kill -{name} {id}")])
            .stdin(Stdio::null())
            .status()
            .map_err(PeerError::io(format!("kill -{name} {id}")))?;
        Ok(())
    }

    /// Waits until it ends by itself.
    pub async fn finish(&mut self) -> Result<Finished, PeerError> {
        let what = format!("{} to end", self.name);
        let status = wait::until(&what, LONG, || {
            let ended = self.ended();
            async move { ended.transpose() }
        })
        .await??;
        Ok(Finished { code: status.code(), output: self.output() })
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, PeerError> {
        self.child.try_wait().map_err(PeerError::io(format!("waiting for {}", self.name)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already. Waiting leaves no zombie behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For a program that must be told its port; it is free until somebody else takes it.
pub(crate) fn free_port() -> Result<u16, PeerError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(PeerError::io("a free port"))?;
    Ok(listener.local_addr().map_err(PeerError::io("a free port"))?.port())
}
