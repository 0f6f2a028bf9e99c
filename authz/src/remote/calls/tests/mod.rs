//! The asking, against services that do everything but help.

mod bounds;
mod grants;
mod grpc;
mod hostile;
mod oauth;
mod server;
mod tls;

use std::{sync::Arc, time::Duration};

use crds::{
    compile::{Compiler, LastGood, Options as CompileOptions},
    documents::Objects,
    secret::Secret,
    snapshot::{Authenticator, Entry},
};
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use self::server::Service;
use super::{Options, RemoteCache};
use crate::{
    net::Networks,
    remote::{Ask, AskId, Kept, Reply, What, webhook},
};

const SECRETS: &str =
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\nstringData: {k: client-secret}\n---\n";

fn loopback() -> Networks {
    Networks::without_proxy(vec!["127.0.0.0/8".parse().unwrap()])
}

fn cache_with(mut options: Options) -> (Arc<RemoteCache>, Registry) {
    let mut registry = Registry::default();
    options.networks = loopback();
    (RemoteCache::new(options, &mut registry, Handle::current()), registry)
}

fn cache() -> Arc<RemoteCache> {
    cache_with(Options::default()).0
}

/// The authenticator of a document, beside these other documents.
fn authenticator(kind: &str, more: &str) -> Arc<Authenticator> {
    let mut objects = Objects::default();
    let policy = format!(
        "{SECRETS}{more}apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  authenticators: [{{name: svc, {kind}}}]\n"
    );
    objects.read("p.yaml", &policy);
    let options = CompileOptions { lone_policy_answers_all: true, fallback_namespace: None };
    let compiled = Compiler::new(options, LastGood::default()).compile(&objects);
    match compiled.snapshot.for_host("a.test") {
        Some(Entry::InForce(one)) => one.policy.rules.authenticators[0].clone(),
        _ => panic!("{:?}", compiled.verdicts),
    }
}

fn introspection(service: &Service, more: &str) -> Arc<Authenticator> {
    let url = service.url("/introspect");
    authenticator(
        &format!(
            "introspection: {{endpoint: '{url}', client: {{clientID: gw, clientSecretRef: {{name: s, key: k}}}}, {more}}}"
        ),
        "",
    )
}

fn user_info(service: &Service, more: &str) -> Arc<Authenticator> {
    authenticator(&format!("userInfo: {{endpoint: '{}', {more}}}", service.url("/userinfo")), "")
}

fn hook(service: &Service, more: &str) -> Arc<Authenticator> {
    authenticator(&format!("webhook: {{url: '{}', {more}}}", service.url("/verify")), "")
}

fn token(authenticator: &Arc<Authenticator>, text: &str) -> Arc<Ask> {
    let id = AskId::of(&[&authenticator.fingerprint, text.as_bytes()]);
    Arc::new(Ask { id, what: What::Token(authenticator.clone(), Secret::new(text.as_bytes())), fresh: false })
}

fn credential(authenticator: &Arc<Authenticator>, text: &str) -> Arc<Ask> {
    let body = webhook::credential_question("n/p", "svc", text, &[]);
    let id = AskId::of(&[&authenticator.fingerprint, body.expose()]);
    Arc::new(Ask { id, what: What::Credential(authenticator.clone(), body), fresh: false })
}

/// An answer that does not come is a failed test, not one that hangs.
async fn ask(cache: &RemoteCache, ask: &Arc<Ask>) -> Arc<Kept> {
    tokio::time::timeout(Duration::from_secs(30), cache.ask(ask)).await.expect("no answer at all")
}

async fn reply(cache: &RemoteCache, question: &Arc<Ask>) -> Reply {
    ask(cache, question).await.reply.clone()
}

fn subject(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Good(good) => good.claims.get("sub").and_then(serde_json::Value::as_str),
        _ => None,
    }
}

fn failed(reply: &Reply) -> &'static str {
    match reply {
        Reply::Failed(why) => why,
        other => panic!("{other:?} is no failure"),
    }
}
