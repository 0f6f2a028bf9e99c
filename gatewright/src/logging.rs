//! Log output: JSON or text on standard error, with a level that can change while running.

use std::{
    fmt::Error,
    io::IsTerminal,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use authz::server::{LogLevel, Registry as Metrics};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::cli::LogFormat;

/// Lines that wait for a slow reader; more are lost.
const QUEUED_LINES: usize = 10_000;

/// How long the end waits for what is left to be written.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Lines that were lost. There is one log in a process, which is there before any metric.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Reads [`LOST`].
#[derive(Debug)]
struct Lost;

/// A running log.
pub(crate) struct Log {
    /// Takes filter directives such as `debug` or `authz=debug,info`.
    pub(crate) level: LogLevel,
    /// Writes what is left when dropped.
    writer: Option<WorkerGuard>,
}

/// Starts logging. Lines go through a bounded queue to one thread: a reader that stopped reading loses lines, and stops nothing.
pub(crate) fn start(filter: &str, format: Option<LogFormat>) -> Result<Log, String> {
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(parse(filter)?);
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).lossy(true).finish(std::io::stderr());
    LOST.get_or_init(|| writer.error_counter());
    let lines = fmt::layer().with_writer(writer).with_target(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Text => lines.with_ansi(terminal).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
    let level = Arc::new(move |directive: &str| {
        let filter = parse(directive)?;
        handle.reload(filter).map_err(|error| error.to_string())
    });
    Ok(Log { level, writer: Some(guard) })
}

impl Drop for Log {
    /// What is left is written, for as long as somebody reads. The guard complains on standard output about who does not, and that may be
    /// full as well: so nobody waits for it on the way out.
    fn drop(&mut self) {
        let Some(guard) = self.writer.take() else { return };
        let (done, ended) = mpsc::channel();
        let ending = thread::Builder::new().name("log end".to_owned()).spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        if ending.is_ok() {
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}

/// Counts lines that nobody read in time.
pub(crate) fn register(registry: &mut Metrics) {
    registry.register_collector(Box::new(Lost));
}

impl Collector for Lost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let lost = LOST.get().map_or(0, ErrorCounter::dropped_lines);
        let help = "Lines of the log that were lost because nobody read them in time";
        let metric = encoder.encode_descriptor("gatewright_log_lines_lost", help, None, MetricType::Counter)?;
        ConstCounter::new(lost as u64).encode(metric)
    }
}

fn parse(directive: &str) -> Result<EnvFilter, String> {
    let shown: String = directive.chars().take(80).filter(|char| !char.is_control()).collect();
    if directive.is_empty() {
        return Err("the log filter is empty; write one such as `info` or `authz=debug,info`".to_owned());
    }
    // A bare word is a target to the filter: a typo would silence everything.
    let known = |part: &str| part.contains('=') || part.parse::<LevelFilter>().is_ok();
    if directive.contains(char::is_whitespace) || !directive.split(',').all(known) {
        return Err(format!("`{shown}` is no log filter; write a level such as `info`, or `authz=debug,info`"));
    }
    EnvFilter::try_new(directive).map_err(|error| {
        format!("`{shown}` is no log filter ({error}); write one such as `info` or `authz=debug,info`")
    })
}
