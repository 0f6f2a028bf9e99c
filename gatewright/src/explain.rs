//! `gatewright explain`: one request, decided by the function that serves, told step by step. Never shows a header value that came in.

mod shown;

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use authz::{
    cache::TokenCache,
    decide::{Awaited, Choice, Decision, Deps, Grants, Need, Step, Verdict, decide},
    errors::{self, Asked},
    factors::LocalFactors,
    jwks::{self, KeyCache},
    limits::{Lease, Leased, LocalLimits},
    principal::{CallerKind, Traffic},
    remote::calls::{self, RemoteCache},
    request::{Headers, RequestView},
    server::Registry,
    signers::OwnKeys,
};
use crds::{
    compile::{Compiled, Compiler, LastGood},
    snapshot::Limit,
};
use serde_json::{Value, json};

use self::shown::{credential, shown};
use crate::{
    check,
    cli::{ExplainArgs, Output},
    config, fail,
};

/// Longest wait for an issuer's keys, or for the answer of a service.
const PATIENCE: Duration = Duration::from_secs(6);

/// Exit 0: allowed. 1: refused. 2: usage.
pub(crate) fn command(args: &ExplainArgs, out: &mut impl Write) -> u8 {
    let objects = match config::load_whole(&args.config.paths) {
        Ok(objects) => objects,
        Err(code) => return code,
    };
    let compiled = Compiler::new(check::options(), LastGood::default()).compile(&objects);
    let (request, now_ms) = (request(args), now_ms(args));
    let decision = match decided(args, &compiled, &request, now_ms) {
        Ok(decision) => decision,
        Err(error) => return fail(1, &error),
    };
    let asked = Asked::of(&request, "explain", now_ms);
    let written = match args.output {
        Output::Json => writeln!(out, "{:#}", report(&decision, args, &asked)),
        Output::Text => text(out, &decision, args, &compiled, &asked),
    };
    // A reader that went away does not change the decision.
    drop(written);
    u8::from(matches!(decision.verdict, Verdict::Deny(_)))
}

/// The request as Envoy would send it.
fn request(args: &ExplainArgs) -> RequestView<'_> {
    let mut headers = Headers::default();
    // Expressions may read them.
    let pseudo =
        [(":method", &args.method), (":authority", &args.host), (":path", &args.path), (":scheme", &args.scheme)];
    pseudo.into_iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
    args.headers.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
    RequestView {
        method: &args.method,
        host: &args.host,
        path: &args.path,
        scheme: &args.scheme,
        headers,
        source: args.source,
        certificate: args.client_certificate.as_deref(),
        policy: args.policy.as_deref(),
        forced_external: args.external,
        // Asked by whoever may read the policy and its secrets.
        proven_peer: true,
    }
}

fn decided(
    args: &ExplainArgs,
    compiled: &Compiled,
    request: &RequestView<'_>,
    now_ms: i64,
) -> Result<Decision, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let networks = args.network.with_loopback();
        let cluster = args.cluster.cluster();
        let options = jwks::Options { networks, cluster: cluster.clone(), ..jwks::Options::default() };
        // Nobody reads these metrics: `explain` ends with its answer.
        let keys = KeyCache::new(options, &mut Registry::default()).map_err(|error| error.to_string())?;
        keys.sync(compiled.snapshot.key_sets().to_vec());
        let options = calls::Options { networks: args.network.with_loopback(), cluster, ..calls::Options::default() };
        let remote = RemoteCache::new(options, &mut Registry::default(), tokio::runtime::Handle::current());
        let decision = ask(now_ms, compiled, request, &keys, &remote).await;
        keys.shutdown().await;
        Ok(decision)
    })
}

async fn ask(
    now_ms: i64,
    compiled: &Compiled,
    request: &RequestView<'_>,
    keys: &Arc<KeyCache>,
    remote: &Arc<RemoteCache>,
) -> Decision {
    let tokens = TokenCache::new(0);
    // Nobody else counts here: what is explained is the first request of its window.
    let limits = LocalLimits::default();
    // A key of the moment: its token is not shown, and no upstream ever sees it.
    let signers = OwnKeys::open(None, "urn:gatewright:explain");
    let mut awaited = Awaited::default();
    loop {
        let (snapshot, tokens, limits) = (&compiled.snapshot, &tokens, &limits);
        let deps = Deps { snapshot, keys: &**keys, remote: &**remote, tokens, signers: &*signers, limits, now_ms };
        match decide(&deps, request, &awaited) {
            Step::Done(decision) => return decision,
            // Too late is decided like not at all.
            Step::Wait(Need::Keys(id)) => {
                let _ = tokio::time::timeout(PATIENCE, keys.refresh(&id)).await;
                awaited.note_keys(id);
            }
            // As are used codes: what is explained is the first use of this one.
            Step::Wait(Need::Code(attempt, _)) => {
                awaited.note_code(attempt, LocalFactors::default().redeem(&attempt, now_ms));
            }
            // A store that others count in is not touched either.
            Step::Wait(Need::Count(tally)) => {
                let first = tally.of_nothing(now_ms);
                awaited.note_count(tally, Some(first));
            }
            Step::Wait(Need::Lease(ask)) => {
                let first = Lease { counter: ask.counter, id: 0 };
                awaited.note_lease(ask, Leased::Granted(first));
            }
            Step::Wait(Need::Signer(algorithm)) => {
                signers.make(algorithm);
                awaited.note_signer(algorithm);
            }
            Step::Wait(Need::Remote(ask)) => {
                let answer = tokio::time::timeout(PATIENCE, remote.ask(&ask)).await;
                awaited.note_reply(ask.id, answer.unwrap_or_else(|_| calls::late()));
            }
        }
    }
}

fn now_ms(args: &ExplainArgs) -> i64 {
    args.now.unwrap_or_else(jiff::Timestamp::now).as_millisecond()
}

/// The answer as JSON, for programs: its members are a promise.
fn report(decision: &Decision, args: &ExplainArgs, asked: &Asked<'_>) -> Value {
    let facts = &decision.facts;
    let (code, status, set, removed) = match &decision.verdict {
        Verdict::Allow(changes) => {
            let set: Vec<(&str, &str)> = changes
                .set_headers()
                .iter()
                .map(|(name, value)| (&**name, shown(facts, changes, name, value)))
                .collect();
            (
                facts.audited.as_ref().map_or("", |deny| deny.code.as_str()),
                200,
                set,
                changes.removed_headers().iter().map(|name| &**name).collect::<Vec<_>>(),
            )
        }
        Verdict::Answer(answer) => ("", answer.status, Vec::new(), Vec::new()),
        Verdict::Deny(deny) => {
            (deny.code.as_str(), errors::refusal(deny, facts.rules.as_deref(), asked).status, Vec::new(), Vec::new())
        }
    };
    let (parameters, protocol) = match &decision.verdict {
        Verdict::Allow(changes) => (changes.removed_parameters(), changes.selected_protocol()),
        Verdict::Answer(_) | Verdict::Deny(_) => (&[][..], None),
    };
    let requirements: Vec<Value> = facts
        .requirements_in_words()
        .into_iter()
        .map(|(what, held)| json!({"requirement": what, "held": held}))
        .collect();
    json!({
        "policy": facts.policy.as_ref().map_or("", |(name, _)| name),
        "traffic": facts.traffic.map_or("", Traffic::as_str),
        "route": facts.rules.as_ref().and_then(|rules| rules.route.as_deref()).unwrap_or_default(),
        "credential": credential(decision, args),
        "authenticators": facts.outcomes.iter().map(|(name, outcome)| json!({"name": name, "outcome": outcome.as_str(), "detail": outcome.detail()})).collect::<Vec<_>>(),
        "requirements": requirements,
        "decision": if matches!(decision.verdict, Verdict::Deny(_)) { "deny" } else { "allow" },
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

fn text(
    out: &mut impl Write,
    decision: &Decision,
    args: &ExplainArgs,
    compiled: &Compiled,
    asked: &Asked<'_>,
) -> io::Result<()> {
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
        step(4, "credential", credential(decision, args))?;
    }
    for (name, outcome) in &facts.outcomes {
        step(5, "authenticator", format!("{name}: {}, {}", outcome.as_str(), outcome.detail()))?;
    }
    if let Some(proven) = &facts.proven {
        step(
            5,
            "principal",
            format!(
                "{} {} ({})",
                CallerKind::Proven(proven.principal.kind).as_str(),
                proven.principal.subject.escape_debug(),
                proven.principal.user
            ),
        )?;
    } else if let Some(caller) = facts.caller {
        step(5, "caller", caller.as_str().to_owned())?;
    }
    if let Some(grants) = authorization(decision) {
        step(6, "authorization", grants)?;
    }
    for (what, held) in facts.requirements_in_words() {
        step(6, "requirement", format!("{what}: {}", if held { "holds" } else { "does not hold" }))?;
    }
    for limit in limits(decision) {
        step(7, "limit", limit)?;
    }
    answer(out, decision, asked)
}

/// What a verified caller may do, where the policy says more about it than the credential.
fn authorization(decision: &Decision) -> Option<String> {
    let proven = decision.facts.proven.as_ref()?;
    let list =
        |all: &[Box<str>]| if all.is_empty() { "none".to_owned() } else { all.join(" ").escape_debug().to_string() };
    let scopes = match &proven.grants {
        Grants::Everything => "every one".to_owned(),
        Grants::Scopes(own) => list(own),
    };
    Some(format!("roles {}; scopes {scopes}", list(&proven.principal.roles)))
}

/// Limits that speak about this request.
fn limits(decision: &Decision) -> Vec<String> {
    let facts = &decision.facts;
    let Some(limits) = facts.rules.as_ref().map(|rules| &rules.limits) else { return Vec::new() };
    let told =
        |what: &str, limit: &Limit| format!("{} {what} in {:?} per {}", limit.rate, limit.window, limit.by.as_str());
    let requests = limits.requests.iter().filter(|_| facts.limit.is_some()).map(|limit| told("requests", limit));
    let bad = facts.credential.is_some() && facts.proven.is_none();
    requests.chain(limits.failures.iter().filter(|_| bad).map(|limit| told("bad credentials", limit))).collect()
}

fn answer(out: &mut impl Write, decision: &Decision, asked: &Asked<'_>) -> io::Result<()> {
    let green = anstyle::AnsiColor::Green.on_default().bold();
    if let Some(deny) = &decision.facts.audited {
        writeln!(
            out,
            "8  {:<15} {} {}, and only audited: {}",
            "audit",
            deny.code.status(),
            deny.code.as_str(),
            deny.why()
        )?;
    }
    match &decision.verdict {
        Verdict::Answer(answer) => {
            writeln!(out, "8  {:<15} {green}answer{green:#} {} by the policy itself", "answer", answer.status)?;
            for (name, value) in &answer.headers {
                writeln!(out, "   {:<15} {name}: {value}", "header")?;
            }
            writeln!(out, "   {:<15} {}", "body", answer.body)
        }
        Verdict::Allow(changes) => {
            writeln!(out, "8  {:<15} {green}allow{green:#}", "answer")?;
            for (name, value) in changes.set_headers() {
                writeln!(out, "   {:<15} {name}: {}", "set", shown(&decision.facts, changes, name, value))?;
            }
            let removed: Vec<&str> = changes.removed_headers().iter().map(|name| &**name).collect();
            writeln!(out, "   {:<15} {}", "removed", removed.join(", "))?;
            if !changes.removed_parameters().is_empty() {
                writeln!(out, "   {:<15} {}", "removed query", changes.removed_parameters().join(", "))?;
            }
            match changes.selected_protocol() {
                Some(protocol) => writeln!(
                    out,
                    "   {:<15} sec-websocket-protocol: {protocol}, unless the upstream selects one",
                    "answer"
                ),
                None => Ok(()),
            }
        }
        Verdict::Deny(deny) => {
            let refusal = errors::refusal(deny, decision.facts.rules.as_deref(), asked);
            let red = anstyle::AnsiColor::Red.on_default().bold();
            writeln!(
                out,
                "8  {:<15} {red}deny{red:#} {} {}: {}",
                "answer",
                refusal.status,
                deny.code.as_str(),
                deny.why()
            )?;
            for (name, value) in &refusal.headers {
                writeln!(out, "   {:<15} {name}: {value}", "header")?;
            }
            writeln!(out, "   {:<15} {}", "body", refusal.body)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    const POLICY: &str = "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {name: p, namespace: n}\nspec:\n  externalHostnames: [a.test]\n  \
         authenticators: [{name: keys, apiKey: {sha256: {secretRef: {name: keys}}}}]\n  \
         errors: {responses: {missing_credential: {status: 302, location: 'https://sso.test', unlessAccept: application/json}}}\n";

    #[test]
    fn a_refusal_has_the_form_that_the_client_would_get() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), POLICY).unwrap();
        let config = folder.path().to_str().unwrap();
        for (headers, status) in [
            (&["accept: text/html"][..], 302),
            (&["accept: text/html", "accept: application/json"], 401),
            (&["accept: text/html", "content-type: application/grpc"], 401),
        ] {
            let fixed = ["gatewright", "explain", "--host=a.test", "-o", "json", "--config", config];
            let headers = headers.iter().flat_map(|header| ["--header", header]);
            let Command::Explain(args) = Cli::parse_from(fixed.into_iter().chain(headers)).command else { panic!() };
            let mut out = Vec::new();
            assert_eq!(command(&args, &mut out), 1);
            let report: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(report["status"], status, "{:?}", args.headers);
        }
    }
}
