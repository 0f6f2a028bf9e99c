//! `make quickstart`: the real product behind a real Envoy, five telling requests, and then yours.
//! Everything listens on free ports and lives in temporary folders; nothing is left behind.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use clap::Parser;
use serde_json::json;
use tests::{Bench, Call, PeerError, bench, envoy::Envoy, issuer, tools};
use tokio::signal::unix::{SignalKind, signal};

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();
/// How long the token to paste is good, in seconds.
const PASTED_LIFETIME: i64 = 3600;

/// Starts a demo issuer, an echo application, Gatewright and Envoy on free ports, sends five requests through Envoy
/// and shows what became of them. Then it serves until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "quickstart")]
struct Arguments {
    /// End after the table instead of serving; exit code 1 when an answer is not the expected one.
    #[arg(long)]
    once: bool,
}

/// One line of the table.
struct Trial {
    request: &'static str,
    call: Call,
    expected: &'static str,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::select! {
        outcome = run(&arguments) => outcome,
        interrupted = until_interrupted() => interrupted.map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            complain("quickstart: an answer is not the expected one; the lines marked ✗ above show which.");
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("quickstart: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, PeerError> {
    let mut out = anstream::stdout();
    let bench = start(&mut out).await?;
    let good = try_all(&mut out, &bench).await?;
    if good && !arguments.once {
        invite(&mut out, &bench)?;
        // The signal ends this; what was started goes down with the bench.
        std::future::pending::<()>().await;
    }
    Ok(good)
}

async fn start(out: &mut impl Write) -> Result<Bench, PeerError> {
    say(out, &format!("{BOLD}Gatewright quickstart{BOLD:#}\n"))?;
    say(out, "Looking for Envoy (the first time it is downloaded into the cache, 37 MB) …")?;
    tools::installed("envoy")?;
    say(out, "Starting a demo issuer, an application, Gatewright and Envoy …\n")?;
    Bench::with(|issuer| {
        vec![("demo.yaml".to_owned(), bench::policy("demo", "demo.example.com", &issuer.url(), "demo"))]
    })
    .await
}

fn trials(bench: &Bench) -> Result<Vec<Trial>, PeerError> {
    let call = || bench.call().host("demo.example.com").path("/hello");
    let token = |claims| bench.issuer.token(&claims);
    let good = token(json!({"aud": "demo", "sub": "alice"}))?;
    let expired = token(json!({"aud": "demo", "sub": "alice", "exp": issuer::now() - 60}))?;
    let other = token(json!({"aud": "elsewhere", "sub": "alice"}))?;
    let trial = |request, call, expected| Trial { request, call, expected };
    Ok(vec![
        trial("no token", call(), "401 missing_credential"),
        trial("a good token of alice", call().bearer(&good), "200 alice"),
        trial("an expired token", call().bearer(&expired), "401 expired_token"),
        trial("a token for another audience", call().bearer(&other), "401 invalid_token"),
        trial("alice, claiming to be root", call().bearer(&good).header("x-auth-subject", "root"), "200 alice"),
    ])
}

/// Sends the requests and prints the table; false when an answer is not the expected one.
async fn try_all(out: &mut impl Write, bench: &Bench) -> Result<bool, PeerError> {
    let line = |request: &str, expected: &str, answer: &str, seen: &str| {
        format!("{request:<30} {expected:<24} {answer:<26} {seen}")
    };
    let head = line("request", "expected", "  answer", "what the application saw");
    say(out, &format!("{BOLD}{head}{BOLD:#}"))?;
    let mut all_good = true;
    for trial in trials(bench)? {
        let answer = trial.call.http1().await?;
        let seen = answer.seen();
        let subject = seen.as_ref().and_then(|seen| seen.header("x-auth-subject")).unwrap_or_default();
        let outcome = if seen.is_some() { &subject } else { &answer.code() };
        let got = format!("{} {outcome}", answer.status);
        let good = got == trial.expected;
        all_good &= good;
        let (mark, style) = if good { ("✓", GREEN) } else { ("✗", RED) };
        let saw = match seen {
            Some(_) => format!("x-auth-subject: {subject}"),
            None => "nothing: it was not reached".to_owned(),
        };
        let text = line(trial.request, trial.expected, &format!("{mark} {got}"), &saw);
        say(out, &format!("{style}{text}{style:#}"))?;
    }
    Ok(all_good)
}

fn invite(out: &mut impl Write, bench: &Bench) -> Result<(), PeerError> {
    let claims =
        json!({"aud": "demo", "sub": "you", "email": "you@example.com", "exp": issuer::now() + PASTED_LIFETIME});
    let token = bench.issuer.token(&claims)?;
    let Bench { envoy, product, issuer, .. } = bench;
    let Envoy { hardened, admin: envoy_admin, .. } = envoy;
    let text = format!(
        "
{BOLD}Your turn{BOLD:#} (the token is good for an hour; leave it out, or change a letter, to be refused):

curl -i http://{hardened}/hello -H 'Host: demo.example.com' -H 'Authorization: Bearer {token}'

  the policy      {}   (edit it: changes take effect at once)
  Envoy           http://{hardened}   admin http://{envoy_admin}
  Gatewright      {} (ext_authz)   admin http://{}/metrics, /config_dump
  issuer          {}
  application     http://{}

Ctrl-C ends everything.",
        product.config().join("demo.yaml").display(),
        product.addresses.authz,
        product.addresses.admin,
        issuer.url(),
        bench.upstream.address,
    );
    say(out, &text)
}

async fn until_interrupted() -> Result<(), PeerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(PeerError::io("waiting for SIGTERM"))?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(PeerError::io("waiting for Ctrl-C")),
        _ = terminate.recv() => Ok(()),
    }
}

fn say(out: &mut impl Write, text: &str) -> Result<(), PeerError> {
    writeln!(out, "{text}").map_err(PeerError::io("standard output"))
}

/// A message on stderr. Nothing is left to tell anybody when that is closed.
fn complain(text: &str) {
    let _: io::Result<()> = writeln!(anstream::stderr(), "{RED}{text}{RED:#}");
}
