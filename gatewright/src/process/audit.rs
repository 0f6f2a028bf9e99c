//! Where the audit log goes: a bounded queue and one thread that writes.
//!
//! Owns the promise that no check waits for a disk or a reader: what finds the queue full is lost, and counted. A line that could be
//! written in part only is ended before the next one begins.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use authz::server::{Registry, Sink};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tracing::warn;

/// Lines that wait for the writer. A line has at most about 10 KiB, and mostly 400 bytes.
const QUEUE: usize = 8192;
/// What is written at once.
const BATCH: usize = 64 * 1024;
/// How often is looked whether somebody has moved the file away.
const LOOK: Duration = Duration::from_secs(1);
/// Between two warnings.
const NEWS: Duration = Duration::from_mins(1);
/// How long the end waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(2);
/// And how often it looks whether there is room in the queue.
const STEP: Duration = Duration::from_millis(5);

/// A running writer.
#[derive(Debug)]
pub(super) struct AuditLog {
    queue: SyncSender<Message>,
    counts: Counts,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before it is to be written; then the sender is dropped.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

#[derive(Debug, Clone)]
struct Counts {
    written: Counter,
    failed: Counter,
    dropped: Counter,
}

/// What lines are written to.
trait Target: Write {
    /// Looks whether it is still there. Whether what follows goes to another file than what was written before.
    fn renew(&mut self) -> bool {
        false
    }
}

/// The writing end.
struct Lines<T> {
    target: T,
    /// Whether the last line has no end.
    is_torn: bool,
    counts: Counts,
    warned: Option<Instant>,
}

/// A file that may be moved away by whoever rotates it: a new one is made in its place.
struct Rotated {
    path: PathBuf,
    file: File,
    looked: Instant,
}

// === impl AuditLog ===

impl AuditLog {
    /// Opens the file, or standard output for `-`, and starts to write.
    pub(super) fn open(path: &Path, registry: &mut Registry) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::start(io::stdout(), registry);
        }
        let file = open(path)?;
        Self::start(Rotated { path: path.to_owned(), file, looked: Instant::now() }, registry)
    }

    fn start(target: impl Target + Send + 'static, registry: &mut Registry) -> io::Result<Self> {
        let counts = Counts::register(registry);
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let lines = Lines { target, is_torn: false, counts: counts.clone(), warned: None };
        thread::Builder::new().name("audit".to_owned()).spawn(move || lines.run(&messages))?;
        Ok(Self { queue, counts })
    }

    /// Takes lines and never waits.
    pub(super) fn sink(&self) -> Sink {
        let (queue, dropped) = (self.queue.clone(), self.counts.dropped.clone());
        Arc::new(move |line| {
            if queue.try_send(Message::Line(line)).is_err() {
                dropped.inc();
            }
        })
    }

    /// Waits for what is queued, but not for a disk that hangs.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flushed = async {
            let mut message = Message::Flush(done);
            // A full queue has room again as soon as something is written.
            while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
                message = back;
                sleep(STEP).await;
            }
            // Its sender is dropped when everything is written: that is the answer.
            let _ = written.await;
        };
        if timeout(PATIENCE, flushed).await.is_err() {
            warn!("the last lines of the audit log could not be written in time");
        }
    }
}

// === impl Counts ===

impl Counts {
    fn register(registry: &mut Registry) -> Self {
        let lines = Family::<Labels, Counter>::default();
        let counter = |outcome| lines.get_or_create(&Labels { outcome }).clone();
        let counts = Self { written: counter("written"), failed: counter("failed"), dropped: counter("dropped") };
        let help = "Lines of the audit log: written, not written, and dropped because too many waited";
        registry.register("gatewright_audit_lines", help, lines);
        counts
    }
}

// === impl Lines ===

impl<T: Target> Lines<T> {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Ok(first) = messages.recv() {
            let mut flushed = Vec::new();
            let more = std::iter::once(first).chain(std::iter::from_fn(|| messages.try_recv().ok()));
            for message in more {
                match message {
                    Message::Line(line) => batch.extend_from_slice(&line),
                    Message::Flush(done) => flushed.push(done),
                }
                if batch.len() >= BATCH {
                    self.write(&batch);
                    batch.clear();
                }
            }
            self.write(&batch);
            batch.clear();
            drop(flushed);
        }
    }

    /// Writes whole lines, and counts those that could not be.
    fn write(&mut self, batch: &[u8]) {
        let mut rest = batch;
        if self.target.renew() {
            self.is_torn = false;
        }
        if self.is_torn && !batch.is_empty() {
            match self.all(b"\n") {
                Ok(()) => self.is_torn = false,
                Err((_, error)) => return self.failed(batch, &error),
            }
        }
        if let Err((left, error)) = self.all(rest) {
            self.is_torn = rest.get(..rest.len() - left).is_some_and(|done| done.last().is_some_and(|b| *b != b'\n'));
            rest = rest.get(rest.len() - left..).unwrap_or_default();
            self.failed(rest, &error);
        } else {
            rest = &[];
        }
        self.counts.written.inc_by(lines(batch) - lines(rest));
    }

    /// On failure, how many bytes are left.
    fn all(&mut self, mut bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        while !bytes.is_empty() {
            match self.target.write(bytes) {
                Ok(0) => return Err((bytes.len(), io::ErrorKind::WriteZero.into())),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((bytes.len(), error)),
            }
        }
        self.target.flush().map_err(|error| (0, error))
    }

    fn failed(&mut self, lost: &[u8], error: &io::Error) {
        self.counts.failed.inc_by(lines(lost));
        if self.warned.is_none_or(|at| at.elapsed() >= NEWS) {
            self.warned = Some(Instant::now());
            warn!(%error, "lines of the audit log are lost; decisions go on. Is the disk full, or the reader gone?");
        }
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').skip(1).count() as u64
}

impl Target for io::Stdout {}

// === impl Rotated ===

impl Target for Rotated {
    /// A file that was moved away is still written to until the new one is there.
    fn renew(&mut self) -> bool {
        if self.looked.elapsed() < LOOK {
            return false;
        }
        self.looked = Instant::now();
        let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.metadata().map(id);
        let there = std::fs::metadata(&self.path).map(id);
        if ours.ok() == there.ok() {
            return false;
        }
        match open(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                warn!(%error, path = %self.path.display(), "the audit log cannot be opened anew");
                return false;
            }
        }
        true
    }
}

impl Write for Rotated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// For us alone: the log says who did what.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests;
