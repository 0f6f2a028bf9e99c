//! W3C Trace Context (`traceparent`), in and out.
//!
//! Owns its form, which the library reads leniently: it takes ids that are too short. `tracestate` is neither read nor handed on: it is
//! a text of the client's, and services of others are asked in the same trace.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use reqwest::RequestBuilder;

use crate::request::Headers;

const TRACEPARENT: &str = "traceparent";
/// `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;

/// The span that the sender names. Anything else than exactly one well-formed value is none: the trace begins here then.
pub(super) fn of(headers: &Headers<'_>) -> Option<SpanContext> {
    parse(&headers.text(TRACEPARENT)?)
}

/// Section 3.2 of the recommendation. Of versions to come only what 00 has is read, and only if more of them follows after a dash.
fn parse(text: &str) -> Option<SpanContext> {
    let (known, more) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let form = [(version, 2), (trace, 32), (parent, 16), (flags, 2)];
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if parts.next().is_some() || !form.into_iter().all(|(part, length)| part.len() == length && is_hex(part)) {
        return None;
    }
    let is_whole = match version {
        "00" => more.is_empty(),
        "ff" => false,
        _ => more.is_empty() || more.starts_with('-'),
    };
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
    let context = SpanContext::new(trace, parent, flags, true, TraceState::NONE);
    // Ids of zeros alone are none.
    (is_whole && context.is_valid()).then_some(context)
}

/// Adds the trace of the current context to a request, if there is one.
pub(crate) fn hand_on(request: RequestBuilder) -> RequestBuilder {
    let context = Context::current();
    let span = context.span();
    let own = span.span_context();
    if !own.is_valid() {
        return request;
    }
    let flags = own.trace_flags() & TraceFlags::SAMPLED;
    request.header(TRACEPARENT, format!("00-{}-{}-{flags:02x}", own.trace_id(), own.span_id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_well_formed_is_taken() {
        for (text, sampled) in [
            (GOOD, true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", false),
            // Flags that are not known yet are no reason to lose the trace.
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", true),
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
        ] {
            let context = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c", "{text}");
            assert_eq!(context.span_id().to_string(), "b7ad6b7169203331", "{text}");
            assert_eq!(context.is_sampled(), sampled, "{text}");
            assert_eq!(context.trace_state().header(), "", "{text}");
        }
    }

    #[test]
    fn everything_else_is_none() {
        let long = format!("{GOOD}-");
        let joined = format!("{GOOD},{GOOD}");
        let huge = "0".repeat(1 << 16);
        for text in [
            "",
            "00",
            "0",
            "00-1-1-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-011",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            " 0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331\n01",
            "00-0af7651916cd43dd8448eb211c80319\u{e9}-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u{e9}",
            long.as_str(),
            joined.as_str(),
            huge.as_str(),
        ] {
            assert!(parse(text).is_none(), "{text:?}");
        }
        let mut twice = Headers::default();
        twice.push(TRACEPARENT, GOOD.as_bytes());
        assert!(of(&twice).is_some());
        twice.push(TRACEPARENT, GOOD.as_bytes());
        assert!(of(&twice).is_none(), "two lines name no one trace");
        let mut binary = Headers::default();
        binary.push(TRACEPARENT, b"00-\xff\xfe7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert!(of(&binary).is_none());
    }
}
