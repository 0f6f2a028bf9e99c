//! Who holds a token, and what labels a pod has: asked of the API server, behind a trait of ours.

use std::collections::BTreeMap;

use authz::channel::sign::AUDIENCE;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    core::v1::Pod,
};
use kube::{Api, Client, api::PostParams};

use crate::api::{Failure, answer};

/// The pod that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its ServiceAccount.
    pub account: String,
    /// Its name.
    pub pod: String,
}

/// Why nothing is proven. Tokens are not quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The token proves nothing to us.
    #[error("the token is refused: {0}")]
    Refused(&'static str),
    /// The API server does not say.
    #[error("the API server does not say: {0}; try again")]
    Unavailable(String),
}

/// What the operator believes about others.
#[tonic::async_trait]
pub trait Proofs: Send + Sync {
    /// Who holds this token.
    async fn prove(&self, token: &str) -> Result<Workload, ProofError>;
    /// The labels of a pod.
    async fn labels(&self, namespace: &str, pod: &str) -> Result<BTreeMap<String, String>, ProofError>;
}

/// The API server's word.
#[derive(Clone)]
pub struct KubeProofs {
    client: Client,
}

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

// === impl KubeProofs ===

impl KubeProofs {
    /// Asks through this client.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }
}

#[tonic::async_trait]
impl Proofs for KubeProofs {
    async fn prove(&self, token: &str) -> Result<Workload, ProofError> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let review = answer(api.create(&PostParams::default(), &review)).await?;
        workload(&review)
    }

    async fn labels(&self, namespace: &str, pod: &str) -> Result<BTreeMap<String, String>, ProofError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(answer(api.get(pod)).await?.metadata.labels.unwrap_or_default())
    }
}

/// Every part must be there: a token without our audience is meant for somebody else, one without a pod may live for ever.
fn workload(review: &TokenReview) -> Result<Workload, ProofError> {
    let status = review.status.as_ref().ok_or(ProofError::Refused("it was not reviewed"))?;
    if status.authenticated != Some(true) {
        return Err(ProofError::Refused("it is not valid here"));
    }
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(ProofError::Refused("it is for another audience; project one for `gatewright-operator`"));
    }
    let user = status.user.as_ref().ok_or(ProofError::Refused("it names nobody"))?;
    let name = user.username.as_deref().and_then(|name| name.strip_prefix("system:serviceaccount:"));
    let (namespace, account) =
        name.and_then(|name| name.split_once(':')).ok_or(ProofError::Refused("it is not of a ServiceAccount"))?;
    let pod = user.extra.as_ref().and_then(|extra| extra.get(POD_NAME)).and_then(|values| values.first());
    let pod = pod.ok_or(ProofError::Refused("it is bound to no pod; project it into the pod"))?;
    Ok(Workload { namespace: namespace.to_owned(), account: account.to_owned(), pod: pod.clone() })
}

impl From<Failure> for ProofError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(status: &serde_json::Value) -> TokenReview {
        serde_json::from_value(serde_json::json!({"spec": {}, "status": status})).unwrap()
    }

    #[test]
    fn every_part_must_be_there() {
        let user = serde_json::json!({"username": "system:serviceaccount:a:shop", "extra": {POD_NAME: ["shop-0"]}});
        let good = serde_json::json!({"authenticated": true, "audiences": [AUDIENCE], "user": user});
        let expected = Workload { namespace: "a".to_owned(), account: "shop".to_owned(), pod: "shop-0".to_owned() };
        assert_eq!(workload(&review(&good)), Ok(expected));
        for (path, value) in [
            ("authenticated", serde_json::json!(false)),
            ("authenticated", serde_json::Value::Null),
            ("audiences", serde_json::json!(["https://kubernetes.default.svc"])),
            ("audiences", serde_json::Value::Null),
            ("user", serde_json::json!({"username": "system:node:n", "extra": {POD_NAME: ["shop-0"]}})),
            ("user", serde_json::json!({"username": "system:serviceaccount:a:shop"})),
        ] {
            let mut bad = good.clone();
            bad[path] = value.clone();
            assert!(matches!(workload(&review(&bad)), Err(ProofError::Refused(_))), "{path}: {value}");
        }
        assert!(workload(&TokenReview::default()).is_err());
    }
}
