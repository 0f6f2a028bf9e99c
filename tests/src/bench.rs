//! One complete set-up: issuer, application, product and Envoy, wired together. Every part can still be steered.

use tempfile::TempDir;

use crate::{
    Call, Issuer, PeerError, Product,
    envoy::{Envoy, Options},
    upstream::Upstream,
};

/// Documents as (file name, text).
pub type Documents = Vec<(String, String)>;

/// The parts. Fields end in this order: Envoy before what it talks to.
#[derive(Debug)]
pub struct Bench {
    /// The proxy.
    pub envoy: Envoy,
    /// The product.
    pub product: Product,
    /// The OpenID provider.
    pub issuer: Issuer,
    /// The application.
    pub upstream: Upstream,
    _home: TempDir,
}

/// What a bench is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `--authz-address`.
    pub authz: String,
    /// Envoy's settings.
    pub envoy: Options,
    /// More flags of the product.
    pub flags: Vec<String>,
    /// The shell command that becomes the product, which is `"$0" "$@"`: for limits and redirections.
    pub shell: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { authz: "127.0.0.1:0".to_owned(), envoy: Options::default(), flags: Vec::new(), shell: None }
    }
}

impl Bench {
    /// A bench on the smallest policy, whose audience is `api`.
    pub async fn start() -> Result<Self, PeerError> {
        Self::with(minimal).await
    }

    /// A bench on the documents that are made for its issuer.
    pub async fn with(documents: impl FnOnce(&Issuer) -> Documents) -> Result<Self, PeerError> {
        Self::set_up(Issuer::start().await?, documents, &Setup::default()).await
    }

    /// A bench around an issuer that may be broken from the start.
    pub async fn set_up(
        issuer: Issuer,
        documents: impl FnOnce(&Issuer) -> Documents,
        setup: &Setup,
    ) -> Result<Self, PeerError> {
        let home = tempfile::tempdir().map_err(PeerError::io("a temporary folder"))?;
        let upstream = Upstream::start().await?;
        let product = Product::start_with(setup, &documents(&issuer)).await?;
        let envoy = Envoy::start(&product.addresses.authz, upstream.address, &setup.envoy, home.path()).await?;
        Ok(Self { envoy, product, issuer, upstream, _home: home })
    }

    /// A `GET /` for `api.example.com` through the hardened listener.
    pub fn call(&self) -> Call {
        Call::to(self.envoy.hardened)
    }

    /// The same with a good token of alice.
    pub fn good(&self) -> Result<Call, PeerError> {
        Ok(self.call().bearer(&self.alice()?))
    }

    /// A token that the smallest policy takes.
    pub fn alice(&self) -> Result<String, PeerError> {
        self.issuer.token(&serde_json::json!({"aud": "api", "sub": "alice"}))
    }
}

/// `minimal.yaml`: everything on api.example.com needs a token of this issuer for the audience `api`.
pub fn minimal(issuer: &Issuer) -> Documents {
    vec![("minimal.yaml".to_owned(), policy("api", "api.example.com", &issuer.url(), "api"))]
}

/// A policy named `name` for one host, one issuer and one audience.
pub fn policy(name: &str, host: &str, issuer: &str, audience: &str) -> String {
    format!(
        "apiVersion: gatewright.dev/v1alpha1
kind: AuthPolicy
metadata:
  name: {name}
  namespace: demo
spec:
  externalHostnames: [{host}]
  authenticators:
  - name: sso
    jwt:
      issuer: {issuer}
      audiences: [{audience}]
"
    )
}
