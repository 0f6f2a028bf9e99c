//! Secrets of the operator's own, behind a trait of ours.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};

use crate::{
    api::{Failure, MANAGED_BY, MANAGER, answer},
    owner::Owner,
};

/// A Secret as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its entries.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Its version: a write names it, and fails if somebody else wrote since.
    pub version: String,
}

/// Why a Secret could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote it: read again.
    #[error("it was written by somebody else meanwhile")]
    Conflict,
    /// The API server refuses or does not answer.
    #[error("the API server says: {0}")]
    Unavailable(String),
}

/// Where Secrets are.
#[tonic::async_trait]
pub trait Store: Send + Sync {
    /// Reads one.
    async fn read(&self, name: &str) -> Result<Option<Kept>, StoreError>;
    /// Makes it (`version: None`), or replaces that version.
    async fn write(
        &self,
        name: &str,
        data: BTreeMap<String, Vec<u8>>,
        version: Option<String>,
    ) -> Result<Kept, StoreError>;
}

/// Secrets of one namespace.
#[derive(Clone)]
pub struct KubeStore {
    api: Api<Secret>,
    owner: Owner,
}

// === impl KubeStore ===

impl KubeStore {
    /// Those of this namespace. What is made belongs to `owner`.
    pub fn new(client: Client, namespace: &str, owner: Owner) -> Self {
        Self { api: Api::namespaced(client, namespace), owner }
    }
}

#[tonic::async_trait]
impl Store for KubeStore {
    async fn read(&self, name: &str) -> Result<Option<Kept>, StoreError> {
        Ok(answer(self.api.get_opt(name)).await?.map(Kept::of))
    }

    async fn write(
        &self,
        name: &str,
        data: BTreeMap<String, Vec<u8>>,
        version: Option<String>,
    ) -> Result<Kept, StoreError> {
        let labels = BTreeMap::from([(MANAGED_BY.to_owned(), MANAGER.to_owned())]);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                resource_version: version.clone(),
                labels: Some(labels),
                owner_references: self.owner.references().await,
                ..ObjectMeta::default()
            },
            data: Some(data.into_iter().map(|(key, value)| (key, ByteString(value))).collect()),
            ..Secret::default()
        };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = match version {
            None => answer(self.api.create(&params, &secret)).await?,
            Some(_) => answer(self.api.replace(name, &params, &secret)).await?,
        };
        Ok(Kept::of(written))
    }
}

impl Kept {
    fn of(secret: Secret) -> Self {
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Self { data: data.collect(), version: secret.metadata.resource_version.unwrap_or_default() }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Kept({} entries, version {})", self.data.len(), self.version)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(_) => Self::Conflict,
            Failure::Unavailable(text) => Self::Unavailable(text),
        }
    }
}
