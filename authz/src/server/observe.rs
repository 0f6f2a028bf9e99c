//! What is told about a check beside its answer: the log, the audit log, a span. Nothing here waits for anybody.

use opentelemetry::Context;

use super::{audit::Audit, log::DecisionLog};
use crate::{
    decide::Decision,
    request::RequestView,
    trace::{self, Traces},
};

/// Who is told.
#[derive(Debug, Default)]
pub(super) struct Observer {
    pub(super) log: DecisionLog,
    pub(super) audit: Option<Audit>,
    pub(super) traces: Traces,
}

/// A check under way.
pub(super) struct Seen<'a> {
    pub(super) view: Option<&'a RequestView<'a>>,
    pub(super) request_id: &'a str,
    pub(super) now_ms: i64,
    /// Its span, where checks are traced.
    pub(super) trace: Option<Context>,
}

// === impl Observer ===

impl Observer {
    /// The span of a check that begins; `None`: nobody traces.
    pub(super) fn begin(&self, view: Option<&RequestView<'_>>) -> Option<Context> {
        self.traces.check(view.map(|view| &view.headers))
    }

    /// A check was decided.
    pub(super) fn end(&self, seen: &Seen<'_>, decision: &Decision) {
        let Seen { view, request_id, now_ms, trace } = seen;
        self.log.write(decision, request_id, *now_ms);
        if let Some(audit) = &self.audit {
            let headers = view.map(|view| &view.headers);
            let trace_id = || trace::id(trace.as_ref(), headers).map(|id| id.to_string());
            audit.write(decision, *view, request_id, *now_ms, trace_id);
        }
        if let Some(trace) = trace {
            trace::end(trace, decision);
        }
    }
}
