//! A request in which the one good key may stand anywhere: whoever is let in sent it, and the upstream never sees it.
#![no_main]

use std::sync::LazyLock;

use authz::{
    decide::{HeaderChanges, Verdict},
    principal::CallerKind,
};
use fuzz::{Request, World, assert_header, assert_written_back};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode;

const KEY: &str = "good-key";

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let digest: String = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEY.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    World::new(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: n}}\nstringData: {{{digest}: '{{\"sub\": \"bob\"}}'}}\n---\n\
         apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
         externalHostnames: [a.test]\n  requireAuth: false\n  invalidCredential: Ignore\n  \
         authenticators: [{{name: keys, apiKey: {{sha256: {{secretRef: {{name: keys}}}}}}}}]\n  \
         credentials: [{{header: Authorization, scheme: Bearer}}, {{header: x-api-key}}, {{cookie: session}}, {{query: key}}, \
         {{webSocketProtocol: app}}]\n"
    ))
});

fuzz_target!(|data: &[u8]| {
    let Some(request) = Request::read(data) else { return };
    let view = request.view();
    let decision = WORLD.ask(&view);
    let again = WORLD.ask_again(&view);
    let Verdict::Allow(changes) = &decision.verdict else {
        assert!(!matches!(again.verdict, Verdict::Allow(_)), "a cache lets in who is refused");
        return;
    };
    assert!(matches!(&again.verdict, Verdict::Allow(same) if same == changes), "a cache decides otherwise");
    for (name, value) in changes.set_headers() {
        match &**name {
            "cookie" | "sec-websocket-protocol" => assert_written_back(name, value),
            _ => assert_header(name, value),
        }
        assert!(!changes.removed_headers().contains(name), "{name} is set and removed");
    }
    let proven = matches!(decision.facts.caller, Some(CallerKind::Proven(_)));
    let user = changes.set_headers().iter().any(|(name, _)| **name == *"x-auth-user");
    assert_eq!(proven, user, "an identity that was not proven, or a lost one");
    if proven {
        assert!(
            holds_key(request.path.as_bytes()) || request.lines.iter().any(|(_, value)| holds_key(value)),
            "who sent it?"
        );
        stays_here(&request, changes);
    }
});

/// Once as it is and once decoded: a query is decoded once.
fn holds_key(text: &[u8]) -> bool {
    let holds = |text: &[u8]| text.windows(KEY.len()).any(|window| window == KEY.as_bytes());
    holds(text) || holds(&percent_decode(text).collect::<Vec<u8>>())
}

/// The place the credential was in is empty for the upstream.
fn stays_here(request: &Request<'_>, changes: &HeaderChanges) {
    let after = |name: &str| -> Vec<u8> {
        if let Some((_, value)) = changes.set_headers().iter().find(|(own, _)| **own == *name) {
            return value.as_bytes().to_vec();
        }
        if changes.removed_headers().iter().any(|own| **own == *name) {
            return Vec::new();
        }
        request
            .lines
            .iter()
            .filter(|(own, _)| *own == name)
            .flat_map(|(_, value)| [value, &b"; "[..]].concat())
            .collect()
    };
    for name in ["authorization", "x-api-key"] {
        assert!(after(name).is_empty(), "{name} reaches the upstream");
    }
    for pair in String::from_utf8_lossy(&after("cookie")).split(';') {
        // Without a sign there is a name or a value, and no credential.
        let named = pair.split_once('=').is_some_and(|(name, _)| name.trim() == "session");
        assert!(!named, "the cookie reaches the upstream");
    }
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    for pair in query.split('&') {
        let name = pair.split('=').next().unwrap_or_default();
        let removed = changes.removed_parameters().iter().any(|own| own == name);
        let decoded: Vec<u8> = percent_decode(name.as_bytes()).collect();
        assert!(removed || decoded != b"key" || pair.is_empty(), "the parameter reaches the upstream");
    }
}
