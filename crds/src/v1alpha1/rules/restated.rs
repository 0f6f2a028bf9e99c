//! The rules in Rust. One function per kind of object, in the order of the document.

use serde_json::Value;

use super::{Rule, node::Node};
use crate::{
    code::Code,
    schema::{Gaps, Problem, shorten},
    v1alpha1::{
        AUTH_POLICY, DATA_SOURCE, Duration,
        duration::{CALL_TIMEOUTS, LIFETIMES, MAX_ANSWER_AGE, MAX_SKEW},
        limits::WINDOWS,
        totp::PERIODS,
    },
};

/// Bounds of the schema: longer lists are refused before a rule matters.
const AUTHENTICATORS: usize = 16;
const ROUTES: usize = 128;
const PATHS: usize = 64;
const FEW: usize = 16;
/// Refusals before any policy is known: what a policy says about them would never be heard.
const BEFORE_A_POLICY: [Code; 2] = [Code::NoPolicy, Code::Overloaded];

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
    errors(spec, found);
    cors(spec, found);
    limits(spec, found);
    owner(spec, found);
    if let Some(authorization) = spec.get("authorization") {
        if let Some(webhook) = authorization.get("webhook") {
            service(&webhook, found);
        }
        let globs = authorization.get("roles").and_then(|roles| roles.get("globs"));
        for roles in authorization.get("roleScopes").into_iter().chain(globs) {
            // Null members are dropped before rules are evaluated.
            found.unless(
                roles.names().all(|role| (1..=256).contains(&role.chars().count())),
                super::ROLE_NAMES,
                &roles,
            );
        }
    }
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
    limits(route, found);
    owner(route, found);
    errors(route, found);
    found.unless(!(route.has("respond") && route.has("forward")), super::NO_UPSTREAM, route);
    if let Some(respond) = route.get("respond").filter(Node::is_object) {
        let bodiless = matches!(respond.number_of("status"), Some(204 | 205 | 304));
        found.unless(!(respond.has("body") && bodiless), super::NO_BODY, &respond);
    }
}

fn limits(owner: &Node<'_>, found: &mut Found) {
    let Some(limits) = owner.get("limits") else { return };
    for window in ["requests", "failedAuthentications"].into_iter().filter_map(|name| limits.get(name)?.get("window")) {
        let Some(text) = window.text() else { continue };
        // A text that is no duration fails the pattern, which says how to write one.
        let fits = Duration(text.to_owned()).parse().map_or(true, |length| WINDOWS.contains(&length));
        found.unless(fits, super::LIMIT_WINDOW, &window);
    }
    if let Some(redis) = limits.get("store").and_then(|store| store.get("redis")) {
        service(&redis, found);
    }
}

fn credentials(owner: &Node<'_>, found: &mut Found) {
    for source in owner.entries("credentials", FEW) {
        if !source.is_complete() {
            continue;
        }
        let places = ["header", "cookie", "query", "webSocketProtocol", "clientCertificate"]
            .iter()
            .filter(|name| source.has(name))
            .count();
        found.unless(places == 1, super::ONE_SOURCE, &source);
        found.unless(!source.has("scheme") || source.has("header"), super::SCHEME_OF_HEADER, &source);
        found.unless(!source.has("allowedOrigins") || source.has("cookie"), super::ORIGINS_OF_COOKIE, &source);
        found.unless(!source.has("onlyOn") || source.has("query"), super::ONLY_ON_OF_QUERY, &source);
    }
}

fn authenticator(one: &Node<'_>, found: &mut Found) {
    credentials(one, found);
    if one.is_complete() {
        let kinds = ["jwt", "apiKey", "introspection", "userInfo", "webhook", "clientCertificate", "serviceAccount"]
            .iter()
            .filter(|kind| one.has(kind))
            .count();
        found.unless(kinds == 1, super::ONE_KIND, one);
        found.unless(!one.has("totp") || one.has("jwt"), super::CODE_OF_TOKEN, one);
    }
    if let Some(period) = one.get("totp").and_then(|totp| totp.get("period")) {
        let fits = |length: std::time::Duration| PERIODS.contains(&length) && length.subsec_millis() == 0;
        let good = period.text().is_none_or(|text| Duration(text.to_owned()).parse().map_or(true, fits));
        found.unless(good, super::CODE_PERIOD, &period);
    }
    for service in ["introspection", "userInfo", "webhook"].into_iter().filter_map(|kind| one.get(kind)) {
        self::service(&service, found);
    }
    if let Some(jwt) = one.get("jwt") {
        self::jwt(&jwt, found);
    }
    if let Some(keys) = one.get("apiKey").filter(Node::is_object) {
        api_key(&keys, found);
    }
}

/// A service that is asked, of whatever kind.
fn service(service: &Node<'_>, found: &mut Found) {
    if let Some(accepts) = service.get("accepts").filter(Node::is_object) {
        found.unless(accepts.has("prefix") != accepts.has("pattern"), super::ONE_ACCEPTS, &accepts);
    }
    if let Some(client) = service.get("client").filter(Node::is_object) {
        self::client(&client, found);
    }
    if let Some(bundle) = service.get("caBundleRef").filter(Node::is_object) {
        found.unless(bundle.has("configMapKeyRef") != bundle.has("secretKeyRef"), super::ONE_REFERENCE, &bundle);
    }
    // A text that is no duration fails the pattern, which says how to write one.
    let fits = |node: &Node<'_>, good: fn(&std::time::Duration) -> bool| {
        node.text().is_none_or(|text| Duration(text.to_owned()).parse().map_or(true, |length| good(&length)))
    };
    if let Some(timeout) = service.get("timeout") {
        found.unless(fits(&timeout, |length| CALL_TIMEOUTS.contains(length)), super::CALL_TIMEOUT, &timeout);
    }
    if let Some(age) = service.get("cacheDuration") {
        found.unless(fits(&age, |length| *length <= MAX_ANSWER_AGE), super::ANSWER_AGE, &age);
    }
}

fn client(client: &Node<'_>, found: &mut Found) {
    let assertion = client.text_of("method") == Some("PrivateKeyJWT");
    found.unless(assertion != client.has("clientSecretRef"), super::CLIENT_SECRET, client);
    let key = if assertion {
        client.has("privateKeyRef")
    } else {
        !["privateKeyRef", "keyID", "assertionAudience"].iter().any(|name| client.has(name))
    };
    found.unless(key, super::CLIENT_KEY, client);
}

fn owner(owner: &Node<'_>, found: &mut Found) {
    if let Some(webhook) = owner.get("require").and_then(|require| require.get("owner")?.get("webhook")) {
        service(&webhook, found);
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
        found.unless(jwt.has("issuer") || jwt.has("jwks") || jwt.has("keys"), super::JWT_KEYS, jwt);
        let key_sources = ["jwks", "jwksURI", "keys"].iter().filter(|name| jwt.has(name)).count();
        found.unless(key_sources <= 1, super::JWT_ONE_KEY_SOURCE, jwt);
        found.unless(!(jwt.has("keys") && jwt.has("algorithms")), super::JWT_STATIC_KEYS, jwt);
        let here = jwt.has("jwks") || jwt.has("keys");
        let fetched = jwt.has("jwksCacheDuration") || jwt.has("caBundleRef");
        found.unless(!(here && fetched), super::JWT_FETCHED_KEYS, jwt);
        let any = if jwt.has("audienceCheck") { jwt.text_of("audienceCheck") == Some("Disabled") } else { here };
        found.unless(jwt.has("audiences") || any, super::JWT_AUDIENCES, jwt);
    }
    for one in [jwt.get("jwks"), jwt.get("deniedTokenIDs"), jwt.get("caBundleRef")]
        .iter()
        .flatten()
        .filter(|one| one.is_object())
    {
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
    if forward.is_complete() {
        found.unless(!(forward.has("credential") && forward.has("replaceCredential")), super::ONE_CREDENTIAL, &forward);
    }
    let Some(replace) = forward.get("replaceCredential").filter(Node::is_complete) else { return };
    let kinds = ["signedJWT", "clientCredentials", "tokenExchange", "static"];
    let set = kinds.into_iter().filter(|kind| replace.has(kind)).count();
    found.unless(set == 1, super::ONE_REPLACEMENT, &replace);
    for grant in ["clientCredentials", "tokenExchange"].into_iter().filter_map(|kind| replace.get(kind)) {
        service(&grant, found);
        let before = grant.get("refreshBefore");
        let fits = before
            .as_ref()
            .and_then(Node::text)
            .is_none_or(|text| Duration(text.to_owned()).parse().map_or(true, |length| length <= MAX_ANSWER_AGE));
        found.unless(fits, super::REFRESH_BEFORE, before.as_ref().unwrap_or(&grant));
    }
    if let Some(jwt) = replace.get("signedJWT").filter(Node::is_object) {
        signed_jwt(&jwt, found);
    }
}

fn signed_jwt(jwt: &Node<'_>, found: &mut Found) {
    let claims = jwt.get("claims");
    let has = |name: &str| claims.as_ref().is_some_and(|claims| claims.has(name));
    found.unless(!(jwt.has("audience") && has("aud")), super::ONE_AUDIENCE, jwt);
    let shared = jwt.text_of("algorithm").is_some_and(|name| matches!(name, "HS256" | "HS384" | "HS512"));
    found.unless(jwt.has("secretKeyRef") || !shared, super::SHARED_KEY, jwt);
    if let Some(claims) = &claims {
        found.unless(!["iat", "exp", "nbf"].into_iter().any(has), super::TIMES_ARE_OURS, claims);
    }
    if let Some(lifetime) = jwt.get("lifetime")
        && let Some(text) = lifetime.text()
    {
        let fits = Duration(text.to_owned()).parse().map_or(true, |lifetime| LIFETIMES.contains(&lifetime));
        found.unless(fits, super::TOKEN_LIFETIME, &lifetime);
    }
}

fn errors(owner: &Node<'_>, found: &mut Found) {
    let Some(responses) = owner.get("errors").and_then(|errors| errors.get("responses")) else { return };
    let words: Vec<&str> = responses.names().collect();
    let known = |word: &&str| Code::ALL.iter().any(|code| code.as_str() == *word && !BEFORE_A_POLICY.contains(code));
    found.unless(words.iter().all(known), super::KNOWN_CODES, &responses);
    for response in words.iter().take(FEW).filter_map(|word| responses.get(word)).filter(Node::is_object) {
        let status = response.number_of("status");
        let fits = match (response.has("location"), response.has("status")) {
            // Below the schema's bound, which has said so.
            _ if status.is_some_and(|status| status < 302) => true,
            (true, _) => matches!(status, Some(302 | 303 | 307 | 308)),
            (false, true) => status.is_none_or(|status| status >= 400),
            (false, false) => true,
        };
        found.unless(fits, super::ERROR_STATUS, &response);
    }
}

fn cors(spec: &Node<'_>, found: &mut Found) {
    let Some(cors) = spec.get("cors").filter(|cors| cors.bool_of("allowCredentials") == Some(true)) else { return };
    let lists = ["allowOrigins", "allowHeaders", "exposeHeaders"];
    let star = lists.iter().any(|name| cors.entries(name, PATHS).iter().any(|entry| entry.text() == Some("*")));
    found.unless(!star, super::CORS_WILDCARDS, &cors);
}

fn data_source(spec: &Node<'_>, found: &mut Found) {
    found.unique(&spec.entries("tools", ROUTES), super::UNIQUE_TOOLS, str::to_owned);
    if let Some(client) = spec.get("perUserAuth").and_then(|auth| auth.get("client")).filter(Node::is_object) {
        found.unless(client.has("dynamicRegistration") != client.has("registered"), super::ONE_CLIENT, &client);
    }
}
