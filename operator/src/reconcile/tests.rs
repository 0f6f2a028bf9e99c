//! What `Programmed` says of what data planes and proxies did.

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    compile::{Compiled, Compiler, LastGood, Options},
    documents::Objects,
};

use super::build::program;
use crate::push::{Proxies, Standing, Standings};

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: app, namespace: a}\nstringData: {key: 0123456789abcdef0123456789abcdef}\n---\n";
const AUTHENTICATORS: &str = "authenticators: [{name: app, jwt: {audienceCheck: Disabled, keys: [{algorithm: HS256, secretKeyRef: {name: app, key: key}}]}}]";
const REPLACED: &str =
    "forward: {replaceCredential: {static: {header: X-API-Key, secretKeyRef: {name: app, key: key}}}}";

fn compile(spec: &str) -> Compiled {
    let policy = format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: b, namespace: a, generation: 7}}\nspec: {{externalHostnames: [x.test], {AUTHENTICATORS}, {spec}}}\n"
    );
    let mut objects = Objects::default();
    objects.read("cluster", &format!("{SECRET}{policy}"));
    assert_eq!(objects.unreadable, []);
    Compiler::new(Options::default(), LastGood::default()).compile(&objects)
}

/// Status, reason, message and generation.
fn said(compiled: &Compiled, standing: Option<Standing>, proxies: &Proxies) -> (bool, String, String, Option<i64>) {
    let standings = Standings {
        policies: standing.map(|standing| ("a/b".into(), standing)).into_iter().collect(),
        proxies: BTreeMap::from([("a/b".into(), proxies.clone())]),
        replicas: 1,
        ..Standings::default()
    };
    let (said, generation) = program(&compiled.verdicts[0], compiled.pushed.first(), Some(&standings));
    (said.status == Some(true), said.reason, said.message, generation)
}

#[test]
fn a_policy_that_hands_out_secrets_needs_a_proxy_that_proved_itself() {
    let stranger = BTreeSet::from(["10.1.2.3".parse().unwrap()]);
    let nobody = Proxies::default();
    let proved = Proxies { proved: true, ..Proxies::default() };
    let mixed = Proxies { proved: true, strangers: stranger.clone() };
    let strangers = Proxies { proved: false, strangers: stranger };
    let programmed = || Some(Standing::Programmed { replicas: 2 });
    for spec in [REPLACED.to_owned(), format!("routes: [{{name: r, paths: [/r], {REPLACED}}}]")] {
        let secretive = compile(&spec);
        assert!(secretive.pushed[0].hands_out, "{spec}");
        for (proxies, expected) in
            [(&nobody, "NoDataPlane"), (&proved, "Programmed"), (&mixed, "Lagging"), (&strangers, "Lagging")]
        {
            let (good, reason, message, generation) = said(&secretive, programmed(), proxies);
            assert_eq!((good, &*reason), (expected == "Programmed", expected), "{proxies:?}");
            assert_eq!(generation, good.then_some(7));
            assert_eq!(message.contains("10.1.2.3"), !proxies.strangers.is_empty(), "{message}");
            assert_eq!(message.contains("gatewright-client-tls"), !good, "{message}");
        }
        // What data planes say comes first.
        let lagging = Standing::Lagging { waiting: vec!["a/authz-0".to_owned()], more: 0 };
        assert!(said(&secretive, Some(lagging), &nobody).2.contains("a/authz-0"));
        assert_eq!(said(&secretive, None, &proved).1, "Reconciling");
    }
    for spec in ["requireAuth: true".to_owned(), format!("mode: Audit, {REPLACED}")] {
        let plain = compile(&spec);
        assert!(!plain.pushed[0].hands_out, "{spec}");
        for proxies in [&nobody, &strangers] {
            assert_eq!(said(&plain, programmed(), proxies).1, "Programmed", "{spec}");
        }
    }
}
