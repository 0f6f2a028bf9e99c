//! The rules in Rust. One function per kind of object, in the order of the document.

use serde_json::Value;

use super::{Rule, node::Node};
use crate::{
    schema::{Gaps, Problem, shorten},
    v1alpha1::{AUTH_POLICY, DATA_SOURCE, Duration, duration::MAX_SKEW},
};

/// Bounds of the schema: longer lists are refused before a rule matters.
const AUTHENTICATORS: usize = 16;
const ROUTES: usize = 128;
const PATHS: usize = 64;
const FEW: usize = 16;

/// Checks a raw AuthPolicy or DataSource document against every rule that a cluster evaluates when it is created. Rules about a change
/// (immutable fields) need the earlier object and are the API server's. Silent about structure, which [`crate::schema`] checks.
pub fn check(document: &Value) -> Vec<Problem> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let mut found = Found(Vec::new());
    if let Some(spec) = Node::root(document, Gaps::of_kind(kind)).get("spec") {
        match kind {
            AUTH_POLICY => policy(&spec, &mut found),
            DATA_SOURCE => data_source(&spec, &mut found),
            _ => {}
        }
    }
    found.0
}

/// Problems so far.
struct Found(Vec<Problem>);

impl Found {
    fn unless(&mut self, holds: bool, rule: Rule, at: &Node<'_>) {
        if !holds {
            self.0.push(Problem::invalid(at.path.clone(), rule.message));
        }
    }

    /// Names the first entry that repeats an earlier one. Nameless entries are the walker's.
    fn unique(&mut self, entries: &[Node<'_>], rule: Rule, fold: fn(&str) -> String) {
        let mut seen = std::collections::BTreeSet::new();
        for entry in entries {
            if let Some(name) = entry.get("name")
                && let Some(text) = name.text()
                && !seen.insert(fold(text))
            {
                self.0.push(Problem::invalid(name.path, format!("`{}`: {}", shorten(text), rule.message)));
            }
        }
    }
}

fn policy(spec: &Node<'_>, found: &mut Found) {
    let authenticators = spec.entries("authenticators", AUTHENTICATORS);
    let routes = spec.entries("routes", ROUTES);
    credentials(spec, found);
    for one in &authenticators {
        authenticator(one, found);
    }
    found.unique(&authenticators, super::UNIQUE_AUTHENTICATORS, str::to_owned);
    forward(spec, found);
    let known: Vec<&str> = authenticators.iter().filter_map(|one| one.text_of("name")).collect();
    for one in &routes {
        route(one, found);
        for name in one.entries("authenticators", AUTHENTICATORS) {
            found.unless(name.text().is_none_or(|text| known.contains(&text)), super::KNOWN_AUTHENTICATORS, &name);
        }
    }
    found.unique(&routes, super::UNIQUE_ROUTES, str::to_owned);
}

fn route(route: &Node<'_>, found: &mut Found) {
    for path in route.entries("paths", PATHS) {
        let Some(text) = path.text() else { continue };
        found.unless(text.starts_with('/'), super::PATH_ABSOLUTE, &path);
        found.unless(!text.contains("{**}/"), super::PATH_TAIL, &path);
        found.unless(text.len() <= 1024, super::PATH_BYTES, &path);
    }
    credentials(route, found);
    forward(route, found);
}

fn credentials(owner: &Node<'_>, found: &mut Found) {
    for source in owner.entries("credentials", FEW) {
        if !source.is_complete() {
            continue;
        }
        let places = ["header", "cookie", "query", "webSocketProtocol"].iter().filter(|name| source.has(name)).count();
        found.unless(places == 1, super::ONE_SOURCE, &source);
        found.unless(!source.has("scheme") || source.has("header"), super::SCHEME_OF_HEADER, &source);
        found.unless(!source.has("allowedOrigins") || source.has("cookie"), super::ORIGINS_OF_COOKIE, &source);
        found.unless(!source.has("onlyOn") || source.has("query"), super::ONLY_ON_OF_QUERY, &source);
    }
}

fn authenticator(one: &Node<'_>, found: &mut Found) {
    credentials(one, found);
    if one.is_complete() {
        found.unless(one.has("jwt") != one.has("apiKey"), super::ONE_KIND, one);
    }
    if let Some(jwt) = one.get("jwt") {
        self::jwt(&jwt, found);
    }
    if let Some(keys) = one.get("apiKey").filter(Node::is_object) {
        api_key(&keys, found);
    }
}

fn api_key(keys: &Node<'_>, found: &mut Found) {
    found.unless(keys.has("sha256") != keys.has("cqaV1"), super::ONE_KEY_KIND, keys);
    let records = [keys.get("sha256"), keys.get("cqaV1").and_then(|cqa| cqa.get("keys"))];
    for records in records.iter().flatten().filter(|records| records.is_object()) {
        found.unless(records.has("secretRef") != records.has("secretSelector"), super::ONE_SELECTION, records);
    }
}

fn jwt(jwt: &Node<'_>, found: &mut Found) {
    if jwt.is_complete() {
        let disabled = jwt.text_of("audienceCheck") == Some("Disabled");
        found.unless(jwt.has("issuer") || jwt.has("jwks") || jwt.has("keys"), super::JWT_KEYS, jwt);
        let key_sources = ["jwks", "jwksURI", "keys"].iter().filter(|name| jwt.has(name)).count();
        found.unless(key_sources <= 1, super::JWT_ONE_KEY_SOURCE, jwt);
        let foreign = jwt.has("algorithms") || jwt.has("jwksCacheDuration");
        found.unless(!(jwt.has("keys") && foreign), super::JWT_STATIC_KEYS, jwt);
        found.unless(jwt.has("audiences") || jwt.has("jwks") || jwt.has("keys") || disabled, super::JWT_AUDIENCES, jwt);
    }
    for one in [jwt.get("jwks"), jwt.get("deniedTokenIDs")].iter().flatten().filter(|one| one.is_object()) {
        found.unless(one.has("configMapKeyRef") != one.has("secretKeyRef"), super::ONE_REFERENCE, one);
    }
    if let Some(skew) = jwt.get("clockSkew")
        && let Some(text) = skew.text()
    {
        // A text that is no duration fails the pattern, which says how to write one.
        let fits = Duration(text.to_owned()).parse().map_or(true, |skew| skew <= MAX_SKEW);
        found.unless(fits, super::CLOCK_SKEW, &skew);
    }
}

fn forward(owner: &Node<'_>, found: &mut Found) {
    let Some(forward) = owner.get("forward") else { return };
    let headers = forward.entries("headers", FEW);
    for header in headers.iter().filter(|header| header.is_object()) {
        let set = ["claim", "cel", "hmacSHA256"].iter().filter(|name| header.has(name)).count();
        found.unless(set == 1, super::ONE_VALUE, header);
    }
    found.unique(&headers, super::UNIQUE_HEADERS, str::to_ascii_lowercase);
}

fn data_source(spec: &Node<'_>, found: &mut Found) {
    found.unique(&spec.entries("tools", ROUTES), super::UNIQUE_TOOLS, str::to_owned);
    if let Some(client) = spec.get("perUserAuth").and_then(|auth| auth.get("client")).filter(Node::is_object) {
        found.unless(client.has("dynamicRegistration") != client.has("registered"), super::ONE_CLIENT, &client);
    }
}
