use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use opentelemetry::trace::{SpanId, Status as SpanStatus, TraceContextExt};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use prometheus_client::{encoding::text, registry::Registry};

use super::{
    export::{self, Options},
    *,
};
use crate::decide::Deny;

const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A collector in memory, which may be shut and may fail.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    spans: Mutex<Vec<SpanData>>,
    is_shut: Mutex<bool>,
    opened: Condvar,
    fails: bool,
}

impl Collector {
    fn set_shut(&self, is_shut: bool) {
        *self.0.is_shut.lock().unwrap() = is_shut;
        self.0.opened.notify_all();
    }

    /// What came, after everything was flushed.
    fn spans(&self, traces: &Traces) -> Vec<SpanData> {
        let _ = traces.0.as_ref().unwrap().provider.force_flush();
        self.0.spans.lock().unwrap().clone()
    }
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        drop(self.0.opened.wait_while(self.0.is_shut.lock().unwrap(), |is_shut| *is_shut).unwrap());
        if self.0.fails {
            return Err(OTelSdkError::InternalFailure("a test".to_owned()));
        }
        self.0.spans.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn tracing(collector: &Collector, ratio: f64) -> (Traces, Registry) {
    let mut registry = Registry::default();
    let options = Options { endpoint: String::new(), service: "test".to_owned(), ratio };
    (export::traces(collector.clone(), &options, &mut registry), registry)
}

fn headers(traceparent: &'static [u8]) -> Headers<'static> {
    let mut headers = Headers::default();
    headers.push("traceparent", traceparent);
    headers
}

fn count(registry: &Registry, outcome: &str) -> u64 {
    let mut page = String::new();
    text::encode(&mut page, registry).unwrap();
    let name = format!("gatewright_trace_spans_total{{outcome=\"{outcome}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

fn refused(code: Code) -> Decision {
    Decision::refusal(Deny::new(code, "a test"))
}

fn said<'a>(span: &'a SpanData, name: &str) -> Option<std::borrow::Cow<'a, str>> {
    span.attributes.iter().find(|one| one.key.as_str() == name).map(|one| one.value.as_str())
}

#[test]
fn a_check_continues_the_trace_of_its_request_and_its_questions_continue_the_check() {
    let collector = Collector::default();
    let (traces, _) = tracing(&collector, 0.0);
    let check = traces.check(Some(&headers(PARENT))).unwrap();
    let child = traces.child(&check, "introspection", &[("gatewright.service", "opaque")]);
    let handed_on = {
        let _current = child.context().attach();
        hand_on(reqwest::Client::new().get("http://127.0.0.1")).build().unwrap()
    };
    child.end("timeout", true);
    end(&check, &refused(Code::Unavailable));

    let spans = collector.spans(&traces);
    let [child, check] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((child.name.as_ref(), check.name.as_ref()), ("introspection", "check"));
    for span in [child, check] {
        assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    }
    assert_eq!(check.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(child.parent_span_id, check.span_context.span_id());
    assert_eq!((&check.span_kind, &child.span_kind), (&SpanKind::Server, &SpanKind::Client));
    let traceparent = handed_on.headers()["traceparent"].to_str().unwrap();
    let expected = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", child.span_context.span_id());
    assert_eq!(traceparent, expected);
    assert!(!handed_on.headers().contains_key("tracestate"));
    assert_eq!(said(child, "gatewright.service").as_deref(), Some("opaque"));
    assert_eq!(said(child, "gatewright.outcome").as_deref(), Some("timeout"));
    assert_eq!(said(check, "gatewright.decision").as_deref(), Some("deny"));
    assert_eq!(said(check, "gatewright.code").as_deref(), Some("unavailable"));
    assert!(matches!(check.status, SpanStatus::Error { .. }) && matches!(child.status, SpanStatus::Error { .. }));
}

#[test]
fn the_sender_and_else_the_ratio_says_what_is_recorded() {
    for (ratio, sent, recorded) in [
        (0.0, None, false),
        (1.0, None, true),
        (0.0, Some(PARENT), true),
        (1.0, Some(UNSAMPLED), false),
        (0.0, Some(&b"00-nonsense"[..]), false),
        (1.0, Some(&b"00-nonsense"[..]), true),
    ] {
        let collector = Collector::default();
        let (traces, _) = tracing(&collector, ratio);
        let check = traces.check(sent.map(headers).as_ref()).unwrap();
        // Whether recorded or not, it is a span that others can continue.
        assert!(check.span().span_context().is_valid());
        let child = traces.child(&check, "webhook", &[]);
        child.end("yes", false);
        end(&check, &refused(Code::Forbidden));
        let spans = collector.spans(&traces);
        assert_eq!(spans.len(), if recorded { 2 } else { 0 }, "{ratio} {sent:?}");
        let is_root = spans.last().is_none_or(|check| check.parent_span_id == SpanId::INVALID);
        assert_eq!(is_root, sent != Some(PARENT), "{ratio} {sent:?}");
        assert!(spans.iter().all(|span| span.status == SpanStatus::Unset), "a refusal is no error");
    }
}

#[test]
fn nobody_traces_unless_told() {
    let traces = Traces::default();
    assert!(traces.check(Some(&headers(PARENT))).is_none());
    let child = traces.child(&Context::new(), "keys", &[]);
    let _current = child.context().attach();
    let request = hand_on(reqwest::Client::new().get("http://127.0.0.1")).build().unwrap();
    assert!(request.headers().is_empty());
}

#[test]
fn a_collector_that_stands_still_costs_spans_and_nothing_else() {
    const MANY: u64 = 20_000;
    let collector = Collector::default();
    collector.set_shut(true);
    let (traces, registry) = tracing(&collector, 1.0);
    for _ in 0..MANY {
        end(&traces.check(None).unwrap(), &refused(Code::Forbidden));
    }
    let dropped = count(&registry, "dropped");
    assert!((MANY - 5000..MANY).contains(&dropped), "the queue is bounded: {dropped} of {MANY} were dropped");
    collector.set_shut(false);
    let sent = collector.spans(&traces).len() as u64;
    assert_eq!((sent + dropped, count(&registry, "sent")), (MANY, sent));
    end(&traces.check(None).unwrap(), &refused(Code::Forbidden));
    assert_eq!(collector.spans(&traces).len() as u64, sent + 1, "there is room again");
}

#[test]
fn what_the_collector_refuses_is_counted() {
    let collector = Collector(Arc::new(Shared { fails: true, ..Shared::default() }));
    let (traces, registry) = tracing(&collector, 1.0);
    end(&traces.check(None).unwrap(), &refused(Code::Forbidden));
    assert!(collector.spans(&traces).is_empty());
    assert_eq!((count(&registry, "failed"), count(&registry, "sent")), (1, 0));
    traces.shutdown(Duration::from_secs(1));
    assert!(traces.check(None).is_some(), "after the end there is nothing to record, and checks go on");
}

#[test]
fn endpoints_are_urls_of_servers() {
    for bad in ["", "localhost:4317", "ftp://collector:4317", "/traces", "http://"] {
        let options = Options { endpoint: bad.to_owned(), service: "test".to_owned(), ratio: 1.0 };
        let refused = export::start(&options, &mut Registry::default());
        assert!(matches!(refused, Err(TraceError::Endpoint)), "{bad}");
    }
}
