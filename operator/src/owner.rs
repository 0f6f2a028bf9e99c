//! What everything that the operator makes belongs to: a ClusterRole of its own installation.
//!
//! It is an object of the cluster, so that objects of any namespace may belong to it, and it goes with the installation: the garbage
//! collector then takes away Secrets, ConfigMaps and the Lease, whoever uninstalled and however. Owns finding it. Must never hold up or
//! prevent a write: an object that stays behind is worth more than one that is missing.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{api::rbac::v1::ClusterRole, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Where the owner is. Cheap to clone.
#[derive(Clone)]
pub struct Owner {
    role: Option<(Api<ClusterRole>, Arc<str>)>,
    known: Arc<Mutex<Known>>,
}

/// What came of the last question.
#[derive(Default)]
struct Known {
    references: Option<Vec<OwnerReference>>,
    told: String,
}

/// How long the API server may take. A write of the Lease waits for this too.
const PATIENCE: Duration = Duration::from_secs(1);

// === impl Owner ===

impl Owner {
    /// The ClusterRole of this name; `None`: nothing that is made has an owner.
    pub fn new(client: Client, role: Option<&str>) -> Self {
        let role = role.map(|name| (Api::all(client), name.into()));
        Self { role, known: Arc::default() }
    }

    /// Asked for at each write, as the role may have been made anew: an owner that is no more would take what belongs to it along.
    pub async fn references(&self) -> Option<Vec<OwnerReference>> {
        let (api, name) = self.role.as_ref()?;
        let found = timeout(PATIENCE, api.get_metadata(name)).await;
        let mut known = self.known.lock();
        let why = match found {
            Ok(Ok(found)) => {
                known.references = found.metadata.uid.map(|uid| vec![reference(name, uid)]);
                return known.references.clone();
            }
            Ok(Err(error)) => {
                // One that is gone would take everything along; one that may not be read any more is still there.
                let gone = matches!(&error, kube::Error::Api(status) if status.code == 404);
                known.references.take_if(|_| gone);
                error.to_string()
            }
            Err(_) => "the API server does not answer".to_owned(),
        };
        if known.references.is_some() || known.told == why {
            debug!(role = &**name, why, "the owner cannot be looked at");
        } else {
            warn!(role = &**name, why, "what is made now has no owner, and stays when the release is uninstalled");
            known.told = why;
        }
        known.references.clone()
    }
}

/// Not blocking: deleting the role never waits for what belongs to it.
fn reference(name: &str, uid: String) -> OwnerReference {
    OwnerReference {
        api_version: ClusterRole::api_version(&()).into_owned(),
        kind: ClusterRole::kind(&()).into_owned(),
        name: name.to_owned(),
        uid,
        ..OwnerReference::default()
    }
}
