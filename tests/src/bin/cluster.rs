//! `make cluster`: what a person with a Kubernetes cluster does, on a node of this machine: both charts, a policy, Envoy
//! before an application, six telling requests. Nothing is left behind.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use clap::Parser;
use tests::{
    Call, PeerError,
    demo::{self, DEMO, HOST, SYSTEM, token},
    node::Node,
    wait::{self, LONG},
};
use tokio::signal::unix::{SignalKind, signal};

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();

/// Starts a real Kubernetes node, installs Gatewright by its charts, puts Envoy with a provider and an application into a
/// namespace, sends requests through Envoy and shows what became of them. Then it serves until Ctrl-C. Needs root.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
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
            complain("cluster: an answer is not the expected one; the lines marked ✗ above show which.");
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("cluster: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, PeerError> {
    let mut out = anstream::stdout();
    say(&mut out, &format!("{BOLD}Gatewright on Kubernetes{BOLD:#}\n"))?;
    say(&mut out, "Starting a node (the first time Kubernetes is compiled, for seven minutes and more) …")?;
    let node = Node::start(&["gatewright", "envoy", "demo"])?;
    if let Err(error) = demo::install(&node, |command| say(&mut out, command)) {
        complain(&node.describe(SYSTEM));
        complain(&node.describe(DEMO));
        return Err(error);
    }
    let good = try_all(&mut out, &node).await?;
    if !good {
        complain(&node.describe(SYSTEM));
    }
    if good && !arguments.once {
        invite(&mut out, &node).await?;
        // The signal ends this; the node goes down with its owner.
        std::future::pending::<()>().await;
    }
    Ok(good)
}

async fn trials(node: &Node) -> Result<Vec<Trial>, PeerError> {
    let envoy = demo::envoy(node)?;
    let call = || demo::call(envoy);
    let good = token(node, HOST).await?;
    let other = token(node, "elsewhere.example.com").await?;
    let trial = |request, call, expected| Trial { request, call, expected };
    Ok(vec![
        trial("no token", call(), "401 missing_credential"),
        trial("a good token of m2m", call().bearer(&good), "200 m2m"),
        trial("a token for another audience", call().bearer(&other), "401 invalid_token"),
        trial("m2m, claiming to be root", call().bearer(&good).header("x-auth-subject", "root"), "200 m2m"),
        trial("an open path", call().path("/open/hello"), "200"),
        trial("a host of no policy", call().host("other.example.com").bearer(&good), "403 no_policy"),
    ])
}

/// Sends the requests and prints the table; false when an answer is not the expected one.
async fn try_all(out: &mut impl Write, node: &Node) -> Result<bool, PeerError> {
    let line = |request: &str, expected: &str, answer: &str, seen: &str| {
        format!("{request:<30} {expected:<24} {answer:<26} {seen}")
    };
    let head = line("request", "expected", "  answer", "what the application saw");
    say(out, &format!("\n{BOLD}{head}{BOLD:#}"))?;
    let mut all_good = true;
    for trial in trials(node).await? {
        let answer = settled(&trial).await?;
        let seen = answer.seen();
        let subject = seen.as_ref().and_then(|seen| seen.header("x-auth-subject")).unwrap_or_default();
        let outcome = if seen.is_some() { subject.clone() } else { answer.code() };
        let got = format!("{} {outcome}", answer.status).trim_end().to_owned();
        let good = got == trial.expected;
        all_good &= good;
        let (mark, style) = if good { ("✓", GREEN) } else { ("✗", RED) };
        let saw = match seen {
            Some(_) if subject.is_empty() => "no x-auth-subject".to_owned(),
            Some(_) => format!("x-auth-subject: {subject}"),
            None => "nothing: it was not reached".to_owned(),
        };
        let text = line(trial.request, trial.expected, &format!("{mark} {got}"), &saw);
        say(out, &format!("{style}{text}{style:#}"))?;
    }
    Ok(all_good)
}

/// The answer, once Envoy has connected to authz: 511 is Envoy's own word for a verdict that it could not get.
async fn settled(trial: &Trial) -> Result<tests::Answer, PeerError> {
    wait::until("Envoy to reach authz", LONG, || async {
        match trial.call.http1().await {
            Ok(answer) if answer.status == 511 => None,
            other => Some(other),
        }
    })
    .await?
}

async fn invite(out: &mut impl Write, node: &Node) -> Result<(), PeerError> {
    let envoy = demo::envoy(node)?;
    let token = token(node, HOST).await?;
    let text = format!(
        "
{BOLD}Your turn{BOLD:#} (the token is good for two minutes; leave it out, or change a letter, to be refused):

curl -i http://{envoy}/hello -H 'Host: {HOST}' -H 'Authorization: Bearer {token}'

export KUBECONFIG={} PATH={}:$PATH
kubectl get authpolicies --all-namespaces
kubectl edit authpolicy demo --namespace {DEMO}      (changes take effect at once)

Ctrl-C ends everything.",
        node.kubeconfig().display(),
        node.programs().display(),
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
