//! The life of an installation on a real node: charts, policies, changes under load, and its end. `make test-node`, as root.
//!
//! One test, as there is one node: its steps build on each other. One file per concern.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helper fails the test that calls it; indexing a JSON value does not panic; steps are shown as they begin"
)]

mod accounts;
mod changes;
mod policies;
mod proxies;
mod uninstall;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use serde_json::Value;
use tests::{
    Answer, Call, PeerError,
    demo::{self, DEMO, HOST, SYSTEM},
    node::Node,
    wait::{self, LONG},
};

/// What a step returns: an error of the surroundings is no assertion, but fails it too.
type Outcome = Result<(), PeerError>;

/// The node with both charts and the demo on it.
#[derive(Clone)]
struct World {
    node: Arc<Node>,
    envoy: SocketAddr,
    begin: Instant,
}

// === impl World ===

impl World {
    fn start() -> Result<Self, PeerError> {
        let begin = Instant::now();
        let node = Node::start(&["gatewright", "envoy", "demo"])?;
        let show = |command: &str| {
            eprintln!("[{:>3}s] {command}", begin.elapsed().as_secs());
            Ok(())
        };
        if let Err(error) = demo::install(&node, show) {
            eprintln!("{}\n{}", node.describe(SYSTEM), node.describe(DEMO));
            return Err(error);
        }
        let envoy = demo::envoy(&node)?;
        Ok(Self { node: Arc::new(node), envoy, begin })
    }

    /// Says what comes now.
    fn step(&self, title: &str) {
        eprintln!("[{:>3}s] {title}", self.begin.elapsed().as_secs());
    }

    /// kubectl in the namespace of the demo.
    fn kubectl(&self, arguments: &[&str]) -> Result<String, PeerError> {
        self.node.kubectl(&[["--namespace", DEMO].as_slice(), arguments].concat())
    }

    /// `kubectl apply` of a document in the namespace of the demo.
    fn apply(&self, document: &Value) -> Outcome {
        self.apply_in(DEMO, document)
    }

    fn apply_in(&self, namespace: &str, document: &Value) -> Outcome {
        let folder = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let path = folder.path().join("document.json");
        std::fs::write(&path, document.to_string()).map_err(PeerError::io("document.json"))?;
        self.node.kubectl(&["--namespace", namespace, "apply", "-f", &path.display().to_string()]).map(drop)
    }

    /// `kubectl wait` for a condition of a policy, as a pipeline would.
    fn until_condition(&self, policy: &str, condition: &str) -> Outcome {
        let object = format!("authpolicy/{policy}");
        let waited = self.kubectl(&["wait", &format!("--for=condition={condition}"), &object, "--timeout=1m"]);
        match waited {
            Ok(_) => Ok(()),
            Err(error) => Err(PeerError::unreadable(error.to_string(), &self.node.get(DEMO, &object)?["status"])),
        }
    }

    /// Reason and message of a condition.
    fn condition(&self, policy: &str, kind: &str) -> Result<(String, String), PeerError> {
        let object = self.node.get(DEMO, &format!("authpolicy/{policy}"))?;
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let one = all.into_iter().find(|one| one["type"] == kind).unwrap_or_default();
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        Ok((text("reason"), text("message")))
    }

    /// A request for the demo's host.
    fn call(&self) -> Call {
        demo::call(self.envoy)
    }

    async fn token(&self) -> Result<String, PeerError> {
        demo::token(&self.node, HOST).await
    }
}

/// The answer, once Envoy has connected to authz: 511 is its own word for a verdict that it could not get.
async fn settled(call: &Call) -> Result<Answer, PeerError> {
    wait::until("Envoy to reach authz", LONG, || async {
        match call.http1().await {
            Ok(answer) if answer.status == 511 => None,
            other => Some(other),
        }
    })
    .await?
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_installation() -> Outcome {
    let world = World::start()?;
    let lived = live(&world).await;
    if lived.is_err() {
        eprintln!("{}\n{}", world.node.describe(SYSTEM), world.node.describe(DEMO));
    }
    lived
}

async fn live(world: &World) -> Outcome {
    policies::replicas_are_as_asked(world)?;
    policies::requests_are_decided(world).await?;
    policies::an_edit_is_in_force_when_its_condition_says_so(world).await?;
    policies::conditions_tell_the_truth(world).await?;
    policies::without_a_data_plane_nobody_enforces(world).await?;
    proxies::secrets_go_to_proxies_that_proved_themselves(world).await?;
    accounts::pods_are_known_by_their_tokens(world).await?;
    changes::the_leader_ends(world).await?;
    changes::everything_is_replaced(world).await?;
    uninstall::nothing_is_left(world).await
}
