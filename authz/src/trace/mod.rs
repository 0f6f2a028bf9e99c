//! Traces: a span for each check that is sampled, one for each fetch or question that it waits for, and W3C trace context for both.
//!
//! Owns what a span may say: fixed words, and names that the author of a policy chose. Never a header, a path, a claim, a subject or a
//! credential. Off unless told otherwise, and then nothing here costs anything: who has no [`Traces`] makes no context.

mod context;
mod export;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crds::code::Code;
use opentelemetry::{
    Context, KeyValue, StringValue,
    trace::{SpanBuilder, SpanKind, Status, TraceContextExt, TraceId, Tracer},
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

pub use self::export::{Options, TraceError, start};
use crate::{
    decide::{Decision, Told},
    principal::{CallerKind, Traffic},
    request::Headers,
};

pub(crate) use self::context::hand_on;

/// Makes spans, or none. A clone is the same.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A fetch or a question under way; its span ends with it.
pub(crate) struct Child(Context);

// === impl Traces ===

impl Traces {
    fn new(provider: SdkTracerProvider) -> Self {
        use opentelemetry::trace::TracerProvider;
        let tracer = provider.tracer("gatewright");
        Self(Some(Arc::new(Inner { provider, tracer })))
    }

    /// The span of a check, in the trace that its headers name or in a new one; `None`: nobody traces.
    pub(crate) fn check(&self, headers: Option<&Headers<'_>>) -> Option<Context> {
        let inner = self.0.as_ref()?;
        let parent = headers
            .and_then(context::of)
            .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        Some(inner.begin(SpanKind::Server, "check", &parent))
    }

    /// The span of something that a check, or nobody, waits for.
    pub(crate) fn child(&self, parent: &Context, name: &'static str, attributes: &[(&'static str, &str)]) -> Child {
        let Some(inner) = &self.0 else { return Child(Context::new()) };
        let context = inner.begin(SpanKind::Client, name, parent);
        let span = context.span();
        if span.is_recording() {
            attributes.iter().for_each(|(name, value)| span.set_attribute(text(name, value)));
        }
        Child(context)
    }

    /// Sends what is left, and ends. Blocks for so long at most; call it where that disturbs nobody.
    pub fn shutdown(&self, patience: Duration) {
        if let Some(inner) = &self.0 {
            // What could not be sent by now is lost, as it would be a moment later.
            let _ = inner.provider.shutdown_with_timeout(patience);
        }
    }
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Traces").field(&self.0.is_some()).finish()
    }
}

impl Inner {
    fn begin(&self, kind: SpanKind, name: &'static str, parent: &Context) -> Context {
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        parent.with_span(self.tracer.build_with_context(builder, parent))
    }
}

// === impl Child ===

impl Child {
    /// In which requests to others are made: they carry its trace.
    pub(crate) fn context(&self) -> Context {
        self.0.clone()
    }

    /// Ends it with a fixed word.
    pub(crate) fn end(self, outcome: &'static str, failed: bool) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("gatewright.outcome", outcome));
        if failed {
            span.set_status(Status::error(outcome));
        }
        span.end();
    }
}

/// Ends the span of a check with what was decided.
pub(crate) fn end(context: &Context, decision: &Decision) {
    let span = context.span();
    if !span.is_recording() {
        return;
    }
    let facts = &decision.facts;
    let told = decision.told();
    span.set_attribute(KeyValue::new("gatewright.decision", told.as_str()));
    span.set_attribute(KeyValue::new("gatewright.code", told.code().map_or("", Code::as_str)));
    span.set_attribute(KeyValue::new("gatewright.traffic", facts.traffic.map_or("", Traffic::as_str)));
    span.set_attribute(KeyValue::new("gatewright.kind", facts.caller.map_or("", CallerKind::as_str)));
    if let Some((policy, _)) = &facts.policy {
        span.set_attribute(KeyValue::new("gatewright.policy", StringValue::from(policy.clone())));
    }
    if let Some(route) = facts.rules.as_ref().and_then(|rules| rules.route.as_deref()) {
        span.set_attribute(text("gatewright.route", route));
    }
    if let Some(cached) = facts.remembered {
        span.set_attribute(KeyValue::new("gatewright.cached", cached));
    }
    // A refusal is our work done; that we could not decide is an error.
    if let Told::Deny(code @ (Code::Unavailable | Code::Overloaded)) = told {
        span.set_status(Status::error(code.as_str()));
    }
    span.end();
}

/// The trace that these headers name, or that of this context.
pub(crate) fn id(context: Option<&Context>, headers: Option<&Headers<'_>>) -> Option<TraceId> {
    let own = context.map(|context| context.span().span_context().trace_id());
    own.or_else(|| headers.and_then(context::of).map(|parent| parent.trace_id()))
}

fn text(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}
