//! Log output: JSON or text on standard error, with a level that can change while running.

use std::{io::IsTerminal, sync::Arc};

use authz::server::LogLevel;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::cli::LogFormat;

/// Lines that wait for a slow reader; more are lost.
const QUEUED_LINES: usize = 10_000;

/// A running log.
pub(crate) struct Log {
    /// Takes filter directives such as `debug` or `authz=debug,info`.
    pub(crate) level: LogLevel,
    /// Writes what is left when dropped.
    _writer: WorkerGuard,
}

/// Starts logging. Lines go through a bounded queue to one thread: a reader that stopped reading loses lines, and stops nothing.
pub(crate) fn start(filter: &str, format: Option<LogFormat>) -> Result<Log, String> {
    let terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(parse(filter)?);
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).lossy(true).finish(std::io::stderr());
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
    Ok(Log { level, _writer: guard })
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
