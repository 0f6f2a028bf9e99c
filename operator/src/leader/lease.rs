//! The Lease, behind a trait of ours. A write names the version that was read, so that of two writers one fails.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};

use super::EPOCHS;
use crate::{api::MANAGER, owner::Owner};

/// The number of a leadership.
const EPOCH: &str = "gatewright.dev/epoch";
/// Where the leader is reached by other replicas.
const ADDRESS: &str = "gatewright.dev/address";

/// A Lease as it was read.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Who has it; `None`: nobody.
    pub holder: Option<String>,
    /// How long it holds.
    pub lease: Duration,
    /// Where its holder is reached.
    pub address: Option<String>,
    /// The number of the leadership.
    pub epoch: u64,
    /// How often it changed hands.
    pub transitions: i32,
    /// `metadata.resourceVersion`: any write changes it.
    pub version: String,
    /// The whole of it: what others put there is kept.
    pub(super) lease_object: Lease,
}

/// A Lease as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Who has it.
    pub holder: Option<String>,
    /// Where its holder is reached.
    pub address: Option<String>,
    /// How long it holds.
    pub lease: Duration,
    /// The number of the leadership.
    pub epoch: u64,
    /// How often it changed hands.
    pub transitions: i32,
    /// Whether a leadership begins.
    pub taken: bool,
}

/// Why the Lease could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else wrote it.
    #[error("somebody else wrote it meanwhile")]
    Conflict,
    /// The API server refuses or does not answer.
    #[error("the API server says: {0}")]
    Unavailable(String),
}

/// Where the Lease is.
#[tonic::async_trait]
pub trait Leases: Send + Sync {
    /// Reads it.
    async fn read(&self) -> Result<Option<Seen>, LeaseError>;
    /// Replaces what was read, or makes it if there was none.
    async fn write(&self, wanted: Wanted, over: Option<Seen>) -> Result<Seen, LeaseError>;
}

/// The API server's.
pub struct KubeLeases {
    api: Api<Lease>,
    name: String,
    owner: Owner,
}

// === impl KubeLeases ===

impl KubeLeases {
    /// The one of this name, which belongs to `owner`.
    pub fn new(client: Client, namespace: &str, name: &str, owner: Owner) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), owner }
    }
}

#[tonic::async_trait]
impl Leases for KubeLeases {
    async fn read(&self) -> Result<Option<Seen>, LeaseError> {
        Ok(self.api.get_opt(&self.name).await.map_err(error)?.map(Seen::of))
    }

    async fn write(&self, wanted: Wanted, over: Option<Seen>) -> Result<Seen, LeaseError> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let taken = wanted.taken;
        let mut lease = wanted.over(over.map(|seen| seen.lease_object), &self.name, Timestamp::now());
        // Once a leadership: renewals cost no more than a renewal.
        if taken && lease.metadata.owner_references.is_none() {
            lease.metadata.owner_references = self.owner.references().await;
        }
        let written = if lease.metadata.resource_version.is_some() {
            self.api.replace(&self.name, &params, &lease).await
        } else {
            self.api.create(&params, &lease).await
        };
        Ok(Seen::of(written.map_err(error)?))
    }
}

fn error(error: kube::Error) -> LeaseError {
    match error {
        kube::Error::Api(status) if status.code == 409 => LeaseError::Conflict,
        error => LeaseError::Unavailable(error.to_string()),
    }
}

// === impl Seen ===

impl Seen {
    pub(super) fn of(lease: Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let annotation = |name: &str| lease.metadata.annotations.as_ref().and_then(|all| all.get(name)).cloned();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            lease: Duration::from_secs(seconds),
            address: annotation(ADDRESS).filter(|address| !address.is_empty()),
            // What cannot be read counts as none: a higher one is heard from data planes.
            epoch: annotation(EPOCH)
                .and_then(|text| text.parse().ok())
                .filter(|epoch| *epoch < EPOCHS)
                .unwrap_or_default(),
            transitions: spec.lease_transitions.unwrap_or_default(),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
            lease_object: lease,
        }
    }
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn over(self, lease: Option<Lease>, name: &str, now: Timestamp) -> Lease {
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Lease::default()
        });
        let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
        annotations.insert(EPOCH.to_owned(), self.epoch.to_string());
        annotations.insert(ADDRESS.to_owned(), self.address.unwrap_or_default());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if self.taken {
            spec.acquire_time = Some(MicroTime(now));
        }
        // For people and other tools; nobody of ours reads a time.
        spec.renew_time = Some(MicroTime(now));
        spec.holder_identity = Some(self.holder.unwrap_or_default());
        spec.lease_duration_seconds = i32::try_from(self.lease.as_secs()).ok();
        spec.lease_transitions = Some(self.transitions);
        lease
    }
}
