//! Traces and the audit log, from their flags to their end.

use std::time::Duration;

use authz::{
    server::{Audit, Registry},
    trace::{self, Traces},
};

use super::{ProcessError, audit::AuditLog};
use crate::cli::TelemetryArgs;

/// How long the end waits for a collector.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is told about checks, and to whom.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    pub(super) traces: Traces,
    pub(super) audit: Option<Audit>,
    log: Option<AuditLog>,
}

// === impl Telemetry ===

impl Telemetry {
    /// Nothing, unless a flag asks for it. Call it inside the runtime that shall send.
    pub(super) fn start(args: &TelemetryArgs, registry: &mut Registry) -> Result<Self, ProcessError> {
        // An empty variable is none, as the specification of those variables has it.
        let endpoint = args.otlp_endpoint.as_ref().filter(|endpoint| !endpoint.is_empty());
        let traces = match endpoint {
            Some(endpoint) => {
                let (service, ratio) = (args.otlp_service_name.clone(), args.trace_ratio);
                trace::start(&trace::Options { endpoint: endpoint.clone(), service, ratio }, registry)?
            }
            None => Traces::default(),
        };
        let path = args.audit_log.as_ref().filter(|path| !path.as_os_str().is_empty());
        let log = path.map(|path| {
            let failed = |source| ProcessError::AuditLog { path: path.display().to_string(), source };
            AuditLog::open(path, registry).map_err(failed)
        });
        let log = log.transpose()?;
        let audit = log.as_ref().map(|log| Audit {
            allowed: args.audit_allowed,
            refused: args.audit_denied,
            who: args.audit_subject.into(),
            sink: log.sink(),
        });
        Ok(Self { traces, audit, log })
    }

    /// Sends and writes what is left, for a few seconds at most. Blocks this thread: nothing else is left to do on it.
    pub(super) async fn end(&self) {
        self.traces.shutdown(PATIENCE);
        if let Some(log) = &self.log {
            log.flush().await;
        }
    }
}
