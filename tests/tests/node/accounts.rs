//! A pod that proves itself with the token that kubelet put into it: to a policy that believes the signature, and to one that asks the API server.

use serde_json::{Value, json};
use tests::{
    PeerError,
    wait::{self, LONG},
};

use crate::{Outcome, World};

/// Policies by what they do about a good signature.
const REVIEWS: [&str; 2] = ["Local", "TokenReview"];
/// Where a token in the pod is for; the last is the API server's own.
const AUDIENCES: [&str; 3] = ["orders", "invoices", ""];

fn host(review: &str) -> String {
    format!("{}.example.com", review.to_lowercase())
}

fn policy(review: &str) -> Value {
    let pods = json!({"name": "pods", "serviceAccount": {"audiences": ["orders"], "review": review}});
    let pod = json!({"name": "x-pod", "cel": "principal.claims['kubernetes.io'].pod.name"});
    json!({"apiVersion": "gatewright.dev/v1alpha1", "kind": "AuthPolicy", "metadata": {"name": review.to_lowercase()},
        "spec": {"externalHostnames": [host(review)], "authenticators": [pods], "forward": {"headers": [pod]}}})
}

/// It says its tokens, which are worth something here only, and stays.
fn pod() -> Value {
    let script = "const read = n => require('fs').readFileSync('/tokens/' + n, 'utf8');
        console.log(JSON.stringify([0, 1, 2].map(read))); setInterval(() => {}, 1 << 30);";
    let sources: Vec<Value> = AUDIENCES
        .iter()
        .enumerate()
        .map(|(number, audience)| json!({"serviceAccountToken": {"path": number.to_string(), "audience": audience}}))
        .collect();
    let container = json!({"name": "caller", "image": "localhost/demo:test", "imagePullPolicy": "Never", "args": ["-e", script],
        "volumeMounts": [{"name": "tokens", "mountPath": "/tokens"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "caller"},
        "spec": {"serviceAccountName": "caller", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [container], "volumes": [{"name": "tokens", "projected": {"sources": sources}}]}})
}

async fn tokens(world: &World) -> Result<Vec<String>, PeerError> {
    world.kubectl(&["wait", "--for=condition=Ready", "pod/caller", "--timeout=1m"])?;
    wait::until("the tokens of the pod", LONG, || async {
        serde_json::from_str(world.kubectl(&["logs", "caller"]).ok()?.trim()).ok()
    })
    .await
}

pub(crate) async fn pods_are_known_by_their_tokens(world: &World) -> Outcome {
    world.step("the tokens of a pod");
    world.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "caller"}}))?;
    world.apply(&pod())?;
    for review in REVIEWS {
        world.apply(&policy(review))?;
    }
    for review in REVIEWS {
        world.until_condition(&review.to_lowercase(), "Programmed")?;
    }
    let tokens = tokens(world).await?;
    let [orders, others @ ..] = tokens.as_slice() else { return Err(PeerError::unreadable("tokens", &tokens.len())) };
    let ask = |review: &str, token: &str| world.call().host(&host(review)).bearer(token);
    for review in REVIEWS {
        let answer = ask(review, orders).http1_when_available().await?;
        let seen = answer.seen().ok_or_else(|| PeerError::unreadable(review, &answer.body))?;
        for (name, value) in [
            ("x-auth-type", "service-account"),
            ("x-auth-subject", "system:serviceaccount:demo:caller"),
            ("x-auth-authenticator", "pods"),
            ("x-pod", "caller"),
        ] {
            assert_eq!(seen.header(name).as_deref(), Some(value), "{review}: {name}");
        }
        assert_eq!(seen.header("authorization"), None, "{review}: the token reached the application");
        assert_eq!(others.len(), 2);
        for other in others {
            let refused = ask(review, other).http1_when_available().await?;
            assert_eq!((refused.status, &*refused.code()), (401, "invalid_token"), "{review}: for somebody else");
        }
    }

    world.step("the token of a pod that is gone");
    world.kubectl(&["delete", "pod/caller", "--timeout=1m"])?;
    wait::until("its end to be known", LONG, || async {
        let answer = ask("TokenReview", orders).http1().await.ok()?;
        (answer.status == 401).then_some(())
    })
    .await?;
    assert_eq!(ask("Local", orders).http1().await?.status, 200, "a signature holds until its end");
    world.kubectl(&["delete", "serviceaccount/caller", "authpolicy/local", "authpolicy/tokenreview"]).map(drop)
}
