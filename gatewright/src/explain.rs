//! `gatewright explain`: one request, decided by the function that serves, told step by step. Never shows a header value that came in.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use authz::{
    cache::TokenCache,
    decide::{Awaited, Choice, Decision, Deps, Need, Step, Verdict, decide},
    errors,
    jwks::{self, KeyCache},
    net::Networks,
    principal::{CallerKind, Traffic},
    request::{Headers, RequestView},
    server::Registry,
};
use crds::{
    compile::{Compiled, Compiler, LastGood},
    snapshot::{Access, SourceKind},
};
use serde_json::{Value, json};

use crate::{
    USAGE, check,
    cli::{ExplainArgs, Output},
    config, fail,
};

/// Longest wait for an issuer's keys.
const PATIENCE: Duration = Duration::from_secs(6);

/// Exit 0: allowed. 1: refused. 2: usage.
pub(crate) fn command(args: &ExplainArgs, out: &mut impl Write) -> u8 {
    let objects = match config::load(&args.config.paths) {
        Ok(objects) => objects,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    for unreadable in &objects.unreadable {
        fail(USAGE, &unreadable.to_string());
    }
    if !objects.unreadable.is_empty() {
        return USAGE;
    }
    let compiled = Compiler::new(check::options(), LastGood::default()).compile(&objects);
    let decision = match decided(args, &compiled) {
        Ok(decision) => decision,
        Err(error) => return fail(1, &error),
    };
    let report = report(&decision, args);
    let written = match args.output {
        Output::Json => writeln!(out, "{report:#}"),
        Output::Text => text(out, &decision, &report, &compiled),
    };
    // A reader that went away does not change the decision.
    drop(written);
    u8::from(matches!(decision.verdict, Verdict::Deny(_)))
}

fn decided(args: &ExplainArgs, compiled: &Compiled) -> Result<Decision, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let networks = Networks::new(args.network.allow_network.clone());
        let options = jwks::Options { networks, ..jwks::Options::default() };
        // Nobody reads these metrics: `explain` ends with its answer.
        let keys = KeyCache::new(options, &mut Registry::default()).map_err(|error| error.to_string())?;
        keys.sync(compiled.snapshot.key_sets().to_vec());
        let decision = ask(args, compiled, &keys).await;
        keys.shutdown().await;
        Ok(decision)
    })
}

async fn ask(args: &ExplainArgs, compiled: &Compiled, keys: &Arc<KeyCache>) -> Decision {
    let mut headers = Headers::default();
    args.headers.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
    let request = RequestView {
        method: &args.method,
        host: &args.host,
        path: &args.path,
        scheme: &args.scheme,
        headers,
        source: args.source,
        policy: args.policy.as_deref(),
        forced_external: args.external,
    };
    let now_ms = args.now.unwrap_or_else(jiff::Timestamp::now).as_millisecond();
    let tokens = TokenCache::new(0);
    let mut awaited = Awaited::default();
    loop {
        let deps = Deps { snapshot: &compiled.snapshot, keys: &**keys, tokens: &tokens, now_ms };
        match decide(&deps, &request, &awaited) {
            Step::Done(decision) => return decision,
            Step::Wait(need) => {
                let Need::Keys(id) = &need;
                // Too late is decided like not at all.
                let _ = tokio::time::timeout(PATIENCE, keys.refresh(id)).await;
                awaited.note(need);
            }
        }
    }
}

/// The answer as JSON, in the shape of the contract, section 6.
fn report(decision: &Decision, args: &ExplainArgs) -> Value {
    let facts = &decision.facts;
    let (code, status, set, removed) = match &decision.verdict {
        Verdict::Allow(changes) => {
            let set: Vec<(&str, &str)> = changes.set_headers().iter().map(|(name, value)| (&**name, shown(name, value))).collect();
            ("", 200, set, changes.removed_headers().iter().map(|name| &**name).collect::<Vec<_>>())
        }
        Verdict::Deny(deny) => (deny.code.as_str(), deny.code.status(), Vec::new(), Vec::new()),
    };
    let (parameters, protocol) = match &decision.verdict {
        Verdict::Allow(changes) => (changes.removed_parameters(), changes.selected_protocol()),
        Verdict::Deny(_) => (&[][..], None),
    };
    let requirements: Vec<Value> = facts.requirements.iter().map(|(what, held)| json!({"requirement": what, "held": held})).collect();
    json!({
        "policy": facts.policy.as_ref().map_or("", |(name, _)| name),
        "traffic": facts.traffic.map_or("", Traffic::as_str),
        "route": facts.rules.as_ref().and_then(|rules| rules.route.as_deref()).unwrap_or_default(),
        "credential": credential(decision, args),
        "authenticators": facts.outcomes.iter().map(|(name, outcome)| json!({"name": name, "outcome": outcome.as_str(), "detail": outcome.detail()})).collect::<Vec<_>>(),
        "requirements": requirements,
        "decision": if matches!(decision.verdict, Verdict::Allow(_)) { "allow" } else { "deny" },
        "code": code,
        "status": status,
        "headers": {
            "set": set.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<serde_json::Map<_, _>>(),
            "removed": removed,
            "removedQuery": parameters,
            "answerProtocol": protocol,
        },
    })
}

/// What is set on these headers came in with the request.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    match name {
        "cookie" => "(the other cookies)",
        "sec-websocket-protocol" => "(the other protocols)",
        _ => value,
    }
}

fn credential(decision: &Decision, args: &ExplainArgs) -> String {
    let facts = &decision.facts;
    let source = facts.credential.and_then(|index| facts.rules.as_ref().and_then(|rules| rules.sources.get(index)));
    match source.map(|source| &source.kind) {
        Some(SourceKind::Header { name, scheme: Some(scheme) }) => format!("header {name}, scheme {scheme}"),
        Some(SourceKind::Header { name, scheme: None }) => format!("header {name}"),
        Some(SourceKind::Cookie { name, .. }) => format!("cookie {name}"),
        Some(SourceKind::Query { name, .. }) => format!("query parameter {name}"),
        Some(SourceKind::WebSocketProtocol { name }) => format!("WebSocket protocol {name}"),
        None if facts.rules.as_ref().is_some_and(|rules| rules.access == Access::Public) && !args.headers.is_empty() => "not looked at".to_owned(),
        None => "none".to_owned(),
    }
}

fn text(out: &mut impl Write, decision: &Decision, report: &Value, compiled: &Compiled) -> io::Result<()> {
    let facts = &decision.facts;
    let mut step = |number: u8, what: &str, result: String| writeln!(out, "{number}  {what:<15} {result}");
    match &facts.policy {
        Some((name, Choice::Named)) => step(1, "policy", format!("{name}, named by the proxy"))?,
        Some((name, Choice::Host)) => step(1, "policy", format!("{name}, by host"))?,
        None => step(1, "policy", format!("none of {}", compiled.snapshot.entries().len()))?,
    }
    if let Some(traffic) = facts.traffic {
        step(2, "traffic", traffic.as_str().to_owned())?;
    }
    if let Some(rules) = &facts.rules {
        let access = format!("{:?}", rules.access).to_lowercase();
        step(3, "route", format!("{}, access {access}", rules.route.as_deref().unwrap_or("(none)")))?;
        step(4, "credential", report["credential"].as_str().unwrap_or_default().to_owned())?;
    }
    for (name, outcome) in &facts.outcomes {
        step(5, "authenticator", format!("{name}: {}, {}", outcome.as_str(), outcome.detail()))?;
    }
    if let Some(proven) = &facts.proven {
        step(5, "principal", format!("{} {} ({})", CallerKind::Proven(proven.principal.kind).as_str(), proven.principal.subject.escape_debug(), proven.principal.user))?;
    } else if let Some(caller) = facts.caller {
        step(5, "caller", caller.as_str().to_owned())?;
    }
    for (what, held) in &facts.requirements {
        step(6, "requirement", format!("{what}: {}", if *held { "holds" } else { "does not hold" }))?;
    }
    answer(out, decision)
}

fn answer(out: &mut impl Write, decision: &Decision) -> io::Result<()> {
    match &decision.verdict {
        Verdict::Allow(changes) => {
            let green = anstyle::AnsiColor::Green.on_default().bold();
            writeln!(out, "8  {:<15} {green}allow{green:#}", "answer")?;
            for (name, value) in changes.set_headers() {
                writeln!(out, "   {:<15} {name}: {}", "set", shown(name, value))?;
            }
            let removed: Vec<&str> = changes.removed_headers().iter().map(|name| &**name).collect();
            writeln!(out, "   {:<15} {}", "removed", removed.join(", "))?;
            if !changes.removed_parameters().is_empty() {
                writeln!(out, "   {:<15} {}", "removed query", changes.removed_parameters().join(", "))?;
            }
            match changes.selected_protocol() {
                Some(protocol) => writeln!(out, "   {:<15} sec-websocket-protocol: {protocol}, unless the upstream selects one", "answer"),
                None => Ok(()),
            }
        }
        Verdict::Deny(deny) => {
            let red = anstyle::AnsiColor::Red.on_default().bold();
            writeln!(out, "8  {:<15} {red}deny{red:#} {} {}: {}", "answer", deny.code.status(), deny.code.as_str(), deny.detail)?;
            let errors = decision.facts.rules.as_ref().map(|rules| &*rules.errors);
            let refusal = errors::render(deny, errors, false, "explain");
            for (name, value) in &refusal.headers {
                writeln!(out, "   {:<15} {name}: {value}", "header")?;
            }
            writeln!(out, "   {:<15} {}", "body", refusal.body)
        }
    }
}
