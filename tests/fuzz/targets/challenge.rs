//! What we write: `POLICY REQUEST\n\nCLAIMS`. The policy is a digit, the claims are what a service says about the caller.
//!
//! Whatever the claims are, what leaves is a message that Envoy's types read, with headers that HTTP can carry, and a refusal is never
//! read as an allow.
#![no_main]

use std::sync::LazyLock;

use authz::{
    decide::{Decision, Verdict},
    errors::Asked,
    principal::CallerKind,
    remote::{Good, Reply},
    server::fuzzing::respond,
};
use envoy_types::pb::envoy::{
    config::core::v3::HeaderValueOption,
    service::auth::v3::{CheckResponse, OkHttpResponse, check_response::HttpResponse},
};
use fuzz::{NOW_MS, Request, World, assert_header};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use serde_json::Value;

const PROFILES: [&str; 7] = ["Standard", "AIQ", "AgentFlow", "AgentFlow403", "FastAPIDetail", "Qaynaq", "CQ"];

/// One policy for each profile; beside it, everything that puts something of a claim or a request into an answer.
static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    let one = |profile: &&str| {
        World::new(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\nstringData: {{k: 0123456789abcdef0123456789abcdef}}\n---\n\
             apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
             externalHostnames: [a.test]\n  \
             authenticators: [{{name: as, introspection: {{endpoint: 'https://as.test/i', client: {{clientID: gw, clientSecretRef: {{name: s, key: k}}}}}}}}]\n  \
             cors: {{allowOrigins: ['https://ui.test'], allowMethods: [GET, POST], allowHeaders: [authorization], allowCredentials: true}}\n  \
             authorization: {{roleScopes: {{admin: ['*'], reader: ['doc:read']}}, roles: {{jmesPath: 'team', otherwise: ''}}}}\n  \
             limits: {{requests: {{rate: 100, window: 1s, by: Principal}}}}\n  \
             errors: {{profile: {profile}, responses: {{forbidden: {{status: 307, location: /no-access, unlessAccept: application/json}}}}}}\n  \
             forward:\n    headers: [{{name: x-tenant, claim: tenant}}, {{name: x-path, cel: 'request.path'}}, \
             {{name: x-seen, cel: \"'x-in' in request.headers ? request.headers['x-in'] : ''\"}}]\n    claimsHeader: x-claims\n  \
             routes:\n  - {{name: open, paths: ['/open'], access: Public}}\n  \
             - {{name: scope, paths: ['/scope'], require: {{anyScope: ['doc:write']}}}}\n  \
             - {{name: role, paths: ['/role'], require: {{roles: [admin]}}}}\n  \
             - {{name: own, paths: ['/own'], respond: {{status: 200, headers: {{content-type: text/plain}}, body: hello}}}}\n  \
             - {{name: minted, paths: ['/minted'], forward: {{replaceCredential: {{signedJWT: {{algorithm: HS256, secretKeyRef: {{name: s, key: k}}, audience: a, \
             lifetime: 60s, claims: {{sub: principal.subject, name: principal.name}}}}}}}}}}\n"
        ))
    };
    PROFILES.iter().map(one).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((digit, rest)) = data.split_first() else { return };
    let world = &WORLDS[usize::from(*digit) % WORLDS.len()];
    let end = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let Some(request) = Request::read(&rest[..end]) else { return };
    let claims = rest.get(end + 2..).and_then(|claims| serde_json::from_slice::<Value>(claims).ok());
    world.answer(match claims {
        Some(Value::Object(claims)) => Reply::Good(Good { claims, starts_ms: None, ends_ms: None }),
        Some(Value::Null) => Reply::Expired,
        Some(_) => Reply::Refused("not active"),
        None => Reply::Failed("no answer"),
    });
    let mut view = request.view();
    let bearer = request.lines.iter().any(|(name, _)| *name == "authorization");
    if !bearer && *digit < 0x80 {
        view.headers.push("authorization", b"Bearer opaque");
    }
    let decision = world.ask(&view);
    let asked = Asked::of(&view, "request-1", NOW_MS);
    let before = Outcome::of(&decision);
    sound(&before, &respond(decision, &asked));
});

/// What the bytes must say.
enum Outcome {
    Allow { headers: Vec<(String, String)>, removed: Vec<String> },
    Answer(u16),
    Deny(&'static str),
}

impl Outcome {
    fn of(decision: &Decision) -> Self {
        match &decision.verdict {
            Verdict::Allow(changes) => {
                let headers = changes.set_headers().iter().map(|(name, value)| (name.to_string(), value.to_string()));
                let headers: Vec<_> = headers.collect();
                let user = headers.iter().any(|(name, _)| name == "x-auth-user");
                assert_eq!(
                    user,
                    matches!(decision.facts.caller, Some(CallerKind::Proven(_))),
                    "whose identity is that?"
                );
                Self::Allow { headers, removed: changes.removed_headers().iter().map(ToString::to_string).collect() }
            }
            Verdict::Answer(answer) => Self::Answer(answer.status),
            Verdict::Deny(deny) => Self::Deny(deny.code.as_str()),
        }
    }
}

fn sound(outcome: &Outcome, bytes: &[u8]) {
    let response = CheckResponse::decode(bytes).expect("Envoy reads what we write");
    assert_eq!(response.encoded_len(), bytes.len(), "a field that Envoy does not know, or one written twice");
    assert!(response.dynamic_metadata.is_some(), "the metadata is lost");
    let code = response.status.as_ref().expect("a status is said").code;
    match (outcome, response.http_response.expect("an answer has a form")) {
        (Outcome::Allow { headers, removed }, HttpResponse::OkResponse(ok)) => {
            assert_eq!(code, 0);
            allowed(headers, removed, ok);
        }
        (Outcome::Answer(status), HttpResponse::DeniedResponse(denied)) => {
            assert_ne!(code, 0, "an answer of our own is read as an allow");
            assert_eq!(denied.status.expect("it has a status").code, i32::from(*status));
            options(&denied.headers);
        }
        (Outcome::Deny(reason), HttpResponse::DeniedResponse(denied)) => {
            assert_ne!(code, 0, "a refusal is read as an allow");
            let status = denied.status.expect("a refusal has a status").code;
            assert!((300..600).contains(&status), "a refusal of status {status}");
            let headers = options(&denied.headers);
            let of = |name: &str| {
                headers.iter().filter(|(own, _)| own == name).map(|(_, value)| &**value).collect::<Vec<_>>()
            };
            assert_eq!(of("cache-control"), ["no-store"], "{reason}");
            assert_eq!(
                of("www-authenticate").len(),
                usize::from(status == 401 || *reason == "insufficient_scope" && status == 403)
            );
            assert!(
                of("www-authenticate")
                    .iter()
                    .all(|value| value.starts_with("Bearer") && value.matches('"').count() % 2 == 0)
            );
            assert!(of("location").iter().all(|place| *place == "/no-access"), "a place that no policy names");
            if of("content-type").iter().any(|kind| kind.ends_with("json")) {
                serde_json::from_str::<Value>(&denied.body).expect("a body that says it is JSON");
            }
        }
        (_, other) => panic!("the decision has another form: {other:?}"),
    }
}

fn allowed(headers: &[(String, String)], removed: &[String], ok: OkHttpResponse) {
    assert_eq!(options(&ok.headers), headers);
    assert_eq!(ok.headers_to_remove, removed);
    assert!(headers.iter().all(|(name, _)| !removed.contains(name)), "a header is set and removed");
    options(&ok.response_headers_to_add);
}

/// Each once, none beside the client's own, each fit for the wire.
fn options(options: &[HeaderValueOption]) -> Vec<(String, String)> {
    let read = options.iter().map(|option| {
        #[allow(deprecated, reason = "what Envoy reads first")]
        let append = option.append;
        assert_eq!(append, None, "it would stand beside the client's");
        let header = option.header.clone().expect("an option holds a header");
        assert_header(&header.key, &header.value);
        (header.key, header.value)
    });
    let read: Vec<(String, String)> = read.collect();
    for (index, (name, _)) in read.iter().enumerate() {
        assert!(!read[..index].iter().any(|(other, _)| other == name), "{name} is written twice");
    }
    read
}
