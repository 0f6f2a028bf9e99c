//! One JSON line for each decision that the audit log wants.
//!
//! Owns its members, their bounds and what is sampled. Where lines go is the business of whoever gives a [`Sink`], which never waits.
//! Whatever a client sends stays inside its member: everything but printable ASCII is escaped, quotes too, so that no line can be
//! forged and no terminal be steered. Never a header, a query, a credential or a claim beyond the identity.

use std::{borrow::Cow, fmt, io, sync::Arc};

use crds::code::Code;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

use crate::{
    decide::{Decision, Facts, Told},
    principal::{CallerKind, Traffic},
    request::RequestView,
};

/// The longest path that is written, in bytes; more is cut.
const MAX_PATH: usize = 1024;
/// The same for everything else that a client chooses.
const MAX_TEXT: usize = 256;

/// Takes a line with its newline, or counts it as lost. Never waits.
pub type Sink = Arc<dyn Fn(Vec<u8>) + Send + Sync>;

/// Who is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Who {
    /// Nobody.
    None,
    /// The stable id of `x-auth-user`: a digest, the same in every line and for the application.
    #[default]
    User,
    /// That, and issuer and subject as they are.
    Clear,
}

/// An audit log.
#[derive(Clone)]
pub struct Audit {
    /// The part of allowed requests that is written, from 0 to 1.
    pub allowed: f64,
    /// The part of refused requests that is written, those that a policy on trial would have refused included.
    pub refused: f64,
    /// Who is named.
    pub who: Who,
    /// Where lines go.
    pub sink: Sink,
}

/// A line. Members that are empty or unknown are left out, so that what is there means something.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "shown")]
    time: Timestamp,
    decision: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    policy: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    route: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    traffic: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    authenticator: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    issuer: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: Cow<'a, str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// JSON in printable ASCII. The library's leaves DEL, the C1 controls and everything that turns a line around as it is.
struct Printable;

// === impl Audit ===

impl Audit {
    /// Writes a decision, if it is to be written. `trace_id` is asked for only then.
    pub(super) fn write(
        &self,
        decision: &Decision,
        view: Option<&RequestView<'_>>,
        request_id: &str,
        now_ms: i64,
        trace_id: impl FnOnce() -> Option<String>,
    ) {
        let told = decision.told();
        let part = if told.code().is_none() { self.allowed } else { self.refused };
        if part < 1.0 && fastrand::f64() >= part {
            return;
        }
        let line = self.line(&decision.facts, told, view, request_id, now_ms, trace_id());
        let mut bytes = Vec::with_capacity(512);
        // Writing to memory does not fail, and a line that could not be made is none.
        if line.serialize(&mut Serializer::with_formatter(&mut bytes, Printable)).is_ok() {
            bytes.push(b'\n');
            (self.sink)(bytes);
        }
    }

    fn line<'a>(
        &self,
        facts: &'a Facts,
        told: Told,
        view: Option<&RequestView<'a>>,
        request_id: &'a str,
        now_ms: i64,
        trace_id: Option<String>,
    ) -> Line<'a> {
        let principal = facts.proven.as_ref().map(|proven| &proven.principal);
        let named = principal.filter(|_| self.who != Who::None);
        let clear = principal.filter(|_| self.who == Who::Clear);
        Line {
            time: Timestamp::from_millisecond(now_ms).unwrap_or_default(),
            decision: told.as_str(),
            code: told.code().map_or("", Code::as_str),
            policy: facts.policy.as_ref().map_or("", |(name, _)| name),
            route: facts.rules.as_ref().and_then(|rules| rules.route.as_deref()).unwrap_or_default(),
            traffic: facts.traffic.map_or("", Traffic::as_str),
            method: cut(view.map_or("", |view| view.method), MAX_TEXT),
            host: cut(view.map_or("", |view| view.host), MAX_TEXT),
            path: cut(view.map_or("", |view| without_query(view.path)), MAX_PATH),
            peer: view.and_then(|view| view.source),
            kind: facts.caller.map_or("", CallerKind::as_str),
            authenticator: principal.map_or("", |one| &one.authenticator),
            user: named.map_or("", |one| &one.user),
            issuer: cut(clear.and_then(|one| one.issuer.as_deref()).unwrap_or_default(), MAX_TEXT),
            subject: cut(clear.map_or("", |one| &one.subject), MAX_TEXT),
            request_id,
            trace_id,
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allowed, refused, who, sink: _ } = self;
        out.debug_struct("Audit")
            .field("allowed", allowed)
            .field("refused", refused)
            .field("who", who)
            .finish_non_exhaustive()
    }
}

/// RFC 3339.
fn shown<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// A query, and what a client wrote after `#`, may hold credentials.
fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// At most so many bytes of it, and a sign that there was more.
fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Cow::Owned(format!("{}...", text.get(..end).unwrap_or_default()))
}

// === impl Printable ===

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut units = [0; 2];
        for char in fragment.chars() {
            match char {
                ' '..='~' => writer.write_all(char.encode_utf8(&mut [0; 4]).as_bytes())?,
                other => other.encode_utf16(&mut units).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
