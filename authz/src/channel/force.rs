//! A change into force: keys first, then the snapshot; and what is told about issuers.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use crds::push::Report;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{held::Applied, metrics::Metrics};
use crate::{
    jwks::{Freshness, KeyCache},
    server::SnapshotCell,
    signers::OwnKeys,
};
use crds::snapshot::KeySetId;

/// The one writer of the snapshot.
pub(super) struct Force {
    snapshots: Arc<SnapshotCell>,
    keys: Arc<KeyCache>,
    metrics: Metrics,
    users: Mutex<Vec<(Arc<str>, KeySetId)>>,
    done: watch::Sender<bool>,
    rejected: Arc<ArcSwap<serde_json::Value>>,
    signers: Arc<OwnKeys>,
}

// === impl Force ===

impl Force {
    pub(super) fn new(snapshots: Arc<SnapshotCell>, keys: Arc<KeyCache>, metrics: Metrics) -> Self {
        Self {
            snapshots,
            keys,
            metrics,
            users: Mutex::default(),
            done: watch::Sender::new(false),
            rejected: Arc::new(ArcSwap::from_pointee(serde_json::Value::Array(Vec::new()))),
            signers: OwnKeys::received(),
        }
    }

    pub(super) fn in_force(&self) -> watch::Receiver<bool> {
        self.done.subscribe()
    }

    pub(super) fn rejected(&self) -> Arc<ArcSwap<serde_json::Value>> {
        self.rejected.clone()
    }

    pub(super) fn signers(&self) -> Arc<OwnKeys> {
        self.signers.clone()
    }

    /// Puts a change in force, as a whole.
    pub(super) fn put(&self, applied: Applied) {
        let Applied { snapshot, rejected, key_sets, signing, epoch, .. } = applied;
        let policies = snapshot.entries().len();
        // Keys first: a policy that is in force before its keys are asked for would refuse its first requests.
        self.keys.sync(snapshot.key_sets().to_vec());
        if let Some(keys) = &signing {
            self.signers.receive(keys);
        }
        self.snapshots.store(Arc::new(snapshot));
        *self.users.lock() = key_sets;
        self.rejected.store(Arc::new(serde_json::to_value(&rejected).unwrap_or_default()));
        self.metrics.applied(epoch, policies, rejected.len());
        for one in &rejected {
            warn!(resource = one.resource, reason = one.reason, "refused: what was in force before stays");
        }
        info!(epoch, policies, rejected = rejected.len(), "in force");
        self.done.send_replace(true);
    }

    /// How the issuers of each policy answer, in order.
    pub(super) fn reports(&self) -> Vec<Report> {
        let status = self.keys.status();
        let by_id: HashMap<&str, _> = status.iter().map(|one| (one.id.as_str(), one)).collect();
        let users = self.users.lock();
        let reports = users.iter().filter_map(|(policy, set)| {
            let status = by_id.get(&*set.0)?;
            // The first fetch has not ended: nobody knows.
            if status.freshness == Freshness::Absent && !status.failing {
                return None;
            }
            let error = status.failing.then(|| status.last_error.clone().unwrap_or_default());
            Some(Report { policy: policy.clone(), issuer: status.issuer.clone(), error })
        });
        let mut reports: Vec<Report> = reports.collect();
        reports.sort();
        reports
    }
}
