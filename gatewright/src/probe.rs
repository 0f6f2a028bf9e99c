//! `gatewright probe`: one check over the wire, as a proxy sends it, compared with what was expected. `helm test` runs it.
//!
//! Owns the request and the comparison. Must never decide anything, and prints no more than the answer's status and code.

use std::{collections::HashMap, fs, io::Write, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Request},
    authorization_client::AuthorizationClient,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::{
    USAGE,
    cli::{duration, header},
    fail,
};

/// `gatewright probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The server, as http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub authz: String,
    /// CA certificates that its certificate is compared with (ConfigMap gatewright-ca).
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The host, as in the request.
    #[arg(long, value_name = "HOST")]
    pub host: String,
    /// The method.
    #[arg(long, default_value = "GET")]
    pub method: String,
    /// Path and query.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// A request header, repeatable. Its value is never printed.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// What the answer should be.
    #[arg(long, value_enum)]
    pub expect: Expected,
    /// How long to ask again while the answer is another, such as 30s.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub within: Duration,
}

/// Answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Expected {
    /// The request may pass.
    Allow,
    /// It may not.
    Deny,
}

/// Longest time of one attempt.
const ONE: Duration = Duration::from_secs(5);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Why there is no answer to compare.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("{path}: {source}; mount the ConfigMap gatewright-ca, or leave --ca out where authz speaks no TLS")]
    Authorities { path: String, source: std::io::Error },
    #[error("{0}")]
    Unreachable(String),
}

/// Exit 0 if the answer is the expected one, 1 if it is another or none came in time.
pub(crate) fn command(args: &ProbeArgs, out: &mut impl Write) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    match runtime.block_on(until_expected(args)) {
        Ok(text) => {
            let _ = writeln!(out, "{text}");
            0
        }
        Err(text) => fail(1, &text),
    }
}

/// A policy may still be on its way, and a replica still starting: asks until the answer fits or the time is over, once at
/// least.
async fn until_expected(args: &ProbeArgs) -> Result<String, String> {
    let end = Instant::now() + args.within;
    let expected = if args.expect == Expected::Allow { "allowed" } else { "refused" };
    loop {
        let outcome = timeout(ONE, ask(args)).await;
        let wrong = match outcome {
            Ok(Ok(answer)) => {
                let (allowed, text) = read(&answer);
                if allowed == (args.expect == Expected::Allow) {
                    return Ok(text);
                }
                text
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if Instant::now() + PAUSE >= end {
            return Err(format!("expected {expected}, got: {wrong}"));
        }
        sleep(PAUSE).await;
    }
}

async fn ask(args: &ProbeArgs) -> Result<CheckResponse, ProbeError> {
    let unreachable = |error: tonic::transport::Error| {
        // tonic's own text is only "transport error".
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        ProbeError::Unreachable(format!("{}: {error} {cause}", args.authz))
    };
    let mut endpoint = Endpoint::from_shared(args.authz.clone()).map_err(unreachable)?;
    if let Some(path) = &args.ca {
        let pem =
            fs::read(path).map_err(|source| ProbeError::Authorities { path: path.display().to_string(), source })?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
    }
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let answer = AuthorizationClient::new(channel).check(check(args)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| ProbeError::Unreachable(status.to_string()))
}

fn check(args: &ProbeArgs) -> CheckRequest {
    let http = HttpRequest {
        method: args.method.clone(),
        path: args.path.clone(),
        host: args.host.clone(),
        headers: args.headers.iter().cloned().collect::<HashMap<_, _>>(),
        scheme: "https".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        size: -1,
        ..HttpRequest::default()
    };
    let request = Request { http: Some(http), ..Request::default() };
    CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..AttributeContext::default() }) }
}

/// Whether Envoy would let the request through, which goes by the status alone, and the answer in a few words.
fn read(answer: &CheckResponse) -> (bool, String) {
    let code = answer.status.as_ref().map_or(0, |status| status.code);
    (code == 0, if code == 0 { "allowed".to_owned() } else { format!("refused, gRPC status {code}") })
}
