//! Answers that a policy words itself, ready to be sent.

use serde::Serialize;

use crate::origin::Origin;

/// Names, lower case and unique, with values that a header can carry.
pub type ResponseHeaders = Vec<(Box<str>, Box<str>)>;

/// What a refusal with one code becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResponse {
    /// 400 to 599, or 302, 303, 307, 308; `None`: the code's.
    pub status: Option<u16>,
    /// Headers of its own; a `content-type` where there is a body.
    pub headers: ResponseHeaders,
    /// `None`: the profile's.
    pub body: Option<Box<str>>,
    /// Where the client is sent.
    pub location: Option<Box<str>>,
    /// Clients that accept this media type, lower case, get the refusal as it is.
    pub unless_accept: Option<Box<str>>,
}

/// An answer in place of the upstream's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Its headers; a `content-type` where there is a body.
    pub headers: ResponseHeaders,
    /// Its body.
    pub body: Box<str>,
}

/// Which pages of other origins may ask and read (Fetch, section "CORS protocol"); lists joined as they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// `None`: every origin, which never gets credentials.
    pub origins: Option<Vec<Origin>>,
    /// `Access-Control-Allow-Methods`.
    pub methods: Box<str>,
    /// `Access-Control-Allow-Headers`; empty: none.
    pub headers: Box<str>,
    /// `Access-Control-Expose-Headers` of our own answers.
    pub exposed: Box<str>,
    /// Whether cookies come along.
    pub credentials: bool,
    /// Seconds that a preflight's answer may be remembered.
    pub max_age: Option<u64>,
}

/// Whether a policy is in force or on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Mode {
    /// In force.
    Enforce,
    /// What would be refused passes, counted and without identity.
    Audit,
}
