//! Documents into force: compile, swap, fetch what is needed, remember, tell.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use authz::{
    jwks::KeyCache,
    server::{Dump, PublishMetrics, Registry, SnapshotCell},
};
use crds::{
    compile::{Compiled, Compiler, Verdict},
    documents::Objects,
};
use tracing::{info, warn};

use crate::{check, process::DataDir};

/// The one writer of the snapshot.
pub(super) struct Publisher {
    compiler: Compiler,
    data_dir: DataDir,
    /// How many changes of the last good versions are on disk.
    kept: u64,
    snapshots: Arc<SnapshotCell>,
    keys: Arc<KeyCache>,
    /// What was said of each object.
    verdicts: Arc<ArcSwap<Vec<Verdict>>>,
    metrics: PublishMetrics,
    /// What was published last: Secrets of a file that cannot be read now are taken from here, in memory only.
    published: Option<Objects>,
}

// === impl Publisher ===

impl Publisher {
    pub(super) fn new(
        data_dir: DataDir,
        snapshots: Arc<SnapshotCell>,
        keys: Arc<KeyCache>,
        registry: &mut Registry,
    ) -> Self {
        Self {
            compiler: Compiler::new(check::options(), data_dir.last_good()),
            data_dir,
            kept: 0,
            snapshots,
            keys,
            verdicts: Arc::default(),
            metrics: PublishMetrics::register(registry),
            published: None,
        }
    }

    /// The verdicts of what was published last, for the admin listener.
    pub(super) fn verdicts(&self) -> Dump {
        let verdicts = self.verdicts.clone();
        Arc::new(move || serde_json::to_value(&**verdicts.load()).unwrap_or_default())
    }

    /// Puts a policy set in force, as a whole.
    pub(super) fn publish(&mut self, mut objects: Objects) {
        match &self.published {
            Some(earlier) => objects.carry_over(earlier),
            None => objects.begins(),
        }
        let Compiled { snapshot, verdicts, .. } = self.compiler.compile(&objects);
        // Keys first: a policy that is in force before its keys are asked for would refuse its first requests.
        self.keys.sync(snapshot.key_sets().to_vec());
        self.snapshots.store(Arc::new(snapshot));
        let rejected = verdicts.iter().filter(|verdict| !verdict.is_accepted()).count();
        self.metrics.published(verdicts.len() - rejected, rejected, objects.unreadable.len());
        self.tell(verdicts, &objects);
        self.remember();
        self.published = Some(objects.without_policies());
    }

    /// Only what changed since the last time.
    fn tell(&mut self, verdicts: Vec<Verdict>, objects: &Objects) {
        let before = self.verdicts.load_full();
        let told: HashMap<_, _> = before.iter().map(|verdict| ((verdict.kind, &verdict.name), verdict)).collect();
        // Not where it stands: a line more in a file is no news of what comes after it.
        let known = |verdict: &Verdict| {
            told.get(&(verdict.kind, &verdict.name)).is_some_and(|told| told.conditions == verdict.conditions)
        };
        for verdict in verdicts.iter().filter(|verdict| !known(verdict)) {
            for condition in &verdict.conditions {
                let (kind, object, message) = (verdict.kind, &*verdict.name, &condition.message);
                let (condition, reason, holds) = (condition.r#type, condition.reason, condition.status);
                if holds {
                    info!(kind, object, %condition, %reason, "{message}");
                } else {
                    warn!(kind, object, %condition, %reason, "{message}");
                }
            }
        }
        let present: HashSet<_> = verdicts.iter().map(|verdict| (verdict.kind, &verdict.name)).collect();
        for (kind, object) in told.into_keys().filter(|gone| !present.contains(gone)) {
            info!(kind, object = &**object, "deleted");
        }
        let before = self.published.as_ref();
        for one in objects.unreadable.iter().filter(|one| before.is_none_or(|before| !before.unreadable.contains(one)))
        {
            warn!("{one}");
        }
        for one in objects.replaced.iter().filter(|one| before.is_none_or(|before| !before.replaced.contains(one))) {
            warn!("{}: {}", one.0, one.1);
        }
        self.verdicts.store(Arc::new(verdicts));
    }

    /// A full disk loses the memory of a restart, and nothing else.
    fn remember(&mut self) {
        let changes = self.compiler.last_good().changes();
        if self.kept == changes {
            return;
        }
        match self.data_dir.keep(self.compiler.last_good()) {
            Ok(()) => self.kept = changes,
            Err(error) => {
                self.metrics.not_kept();
                warn!(%error, "the last good versions could not be written: a restart would start from the documents alone");
            }
        }
    }
}
