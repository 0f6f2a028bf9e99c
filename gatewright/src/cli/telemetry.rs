//! Flags of traces and of the audit log.

use std::path::PathBuf;

use authz::server::Who;
use clap::{Args, ValueEnum};

/// What is told about checks, beside metrics and the log.
#[derive(Debug, Args)]
pub struct TelemetryArgs {
    /// Send traces to this OTLP collector by gRPC, such as http://127.0.0.1:4317. Without it nothing is traced.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Under which name traces are sent.
    #[arg(long, value_name = "NAME", env = "OTEL_SERVICE_NAME", default_value = "gatewright")]
    pub otlp_service_name: String,
    /// The part of checks without a traceparent that is traced, from 0 to 1. A traceparent says itself whether it is.
    #[arg(long, value_name = "RATIO", default_value = "0.01", value_parser = ratio, env = "GATEWRIGHT_TRACE_RATIO")]
    pub trace_ratio: f64,
    /// Append one JSON line for each decision to this file; `-` is standard output. Without it there is no audit log.
    #[arg(long, value_name = "FILE", env = "GATEWRIGHT_AUDIT_LOG")]
    pub audit_log: Option<PathBuf>,
    /// The part of refused requests in the audit log, from 0 to 1.
    #[arg(long, value_name = "RATIO", default_value = "1", value_parser = ratio)]
    pub audit_denied: f64,
    /// The part of allowed requests in the audit log, from 0 to 1.
    #[arg(long, value_name = "RATIO", default_value = "1", value_parser = ratio)]
    pub audit_allowed: f64,
    /// Who is named in the audit log.
    #[arg(long, value_enum, value_name = "WHO", default_value_t = AuditSubject::User)]
    pub audit_subject: AuditSubject,
}

/// How the audit log names people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditSubject {
    /// Not at all.
    None,
    /// By the digest of x-auth-user.
    User,
    /// By that, issuer and subject.
    Clear,
}

impl From<AuditSubject> for Who {
    fn from(subject: AuditSubject) -> Self {
        match subject {
            AuditSubject::None => Self::None,
            AuditSubject::User => Self::User,
            AuditSubject::Clear => Self::Clear,
        }
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "write a number from 0 to 1, such as 0.01".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios() {
        for (text, expected) in [("0", Some(0.0)), ("1", Some(1.0)), ("0.25", Some(0.25)), ("1e-3", Some(0.001))] {
            assert_eq!(ratio(text).ok(), expected, "{text}");
        }
        for text in ["", "-0.1", "1.1", "NaN", "inf", "10%"] {
            assert!(ratio(text).is_err(), "{text}");
        }
    }
}
