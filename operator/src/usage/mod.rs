//! When API keys were used last, for people: Secrets `gatewright-last-used-N` beside the Secrets that hold the keys' records.
//!
//! ```text
//!  authz ─► replica ─► leader ─► Secrets, once an hour ─► gatewright apikey list
//! ```
//!
//! Owns Secrets of these names, and no other: never one of records, whose owner would have to fight us for it. The newest use counts,
//! whoever wrote it. Must never write while not leading.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crds::api_keys::{KeyTimes, USES_ENTRY, USES_PARTS, Uses, pack_uses, read_uses, uses_secret};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::{
    identity::{KubeStore, Store, StoreError},
    leader::Leader,
    owner::Owner,
    push::Push,
};

/// How often what is known is written.
pub const EVERY: Duration = Duration::from_hours(1);
/// The first time of a leadership: by then every data plane has told what it knows.
const FIRST: Duration = Duration::from_mins(6);
/// The wait after something could not be written.
const AGAIN: Duration = Duration::from_mins(1);
/// Keys that were not used for longer are forgotten: none lives that long.
const FORGOTTEN_S: i64 = 400 * 24 * 3600;

/// The Secrets of a namespace.
pub trait Stores: Send + Sync {
    /// Those of this one.
    fn of(&self, namespace: &str) -> Arc<dyn Store>;
}

/// The API server's.
pub struct KubeStores(kube::Client);

/// The task.
pub struct Keeper {
    stores: Arc<dyn Stores>,
    every: Duration,
    /// What went wrong last in each namespace, as long as it does.
    told: HashMap<Arc<str>, String>,
}

/// Why the uses of a namespace are not kept.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("Secret {0} holds something else and is left alone; rename or delete it")]
    NotOurs(String),
    #[error("this replica does not lead any more")]
    Over,
}

// === impl Keeper ===

impl Keeper {
    /// Writes once in `every`.
    pub fn new(stores: Arc<dyn Stores>, every: Duration) -> Self {
        Self { stores, every, told: HashMap::new() }
    }

    /// Writes what data planes told, while this process leads. For ever.
    pub async fn run(mut self, push: &Push, leader: &Leader) {
        let mut leading = leader.is_leading();
        loop {
            if leading.wait_for(|leads| *leads).await.is_err() {
                // Nobody will lead any more.
                std::future::pending::<()>().await;
            }
            let mut next = Instant::now() + FIRST.min(self.every);
            while *leading.borrow_and_update() {
                tokio::select! {
                    () = sleep_until(next) => {}
                    _ = leading.changed() => continue,
                }
                let may = || leader.guard().is_some_and(|guard| guard.holds());
                let all = self.round(&push.uses(), Timestamp::now().as_second(), &may).await;
                next = Instant::now() + if all { self.every } else { AGAIN.min(self.every) };
            }
        }
    }

    /// One pass over all namespaces. `may`: asked right before each write. Whether everything is kept.
    async fn round(&mut self, uses: &Uses, now_s: i64, may: &(dyn Fn() -> bool + Sync)) -> bool {
        let mut all = true;
        let used: BTreeMap<_, _> = uses.iter().filter(|(_, times)| !times.is_empty()).collect();
        self.told.retain(|namespace, _| used.contains_key(namespace));
        for (namespace, times) in used {
            match keep(&*self.stores.of(namespace), times, now_s, may).await {
                Ok(()) => drop(self.told.remove(namespace)),
                Err(KeepError::Over) => return false,
                Err(error) => {
                    all = false;
                    let text = format!("the last use of API keys of {namespace} is not kept yet: {error}");
                    if self.told.get(namespace) == Some(&text) {
                        debug!("{text}");
                    } else {
                        warn!("{text}; trying again");
                        self.told.insert(namespace.clone(), text);
                    }
                }
            }
        }
        all
    }
}

/// What is kept of one namespace, with what is new.
async fn keep(store: &dyn Store, new: &KeyTimes, now_s: i64, may: &(dyn Fn() -> bool + Sync)) -> Result<(), KeepError> {
    let kept = read(store).await?;
    let mut all = Uses::default();
    let here: Arc<str> = "".into();
    kept.iter().for_each(|(text, _)| all.merge(&here, read_uses(text)));
    all.merge(&here, new.clone());
    let recent = all.iter().flat_map(|(_, times)| times).filter(|(_, at)| now_s - **at < FORGOTTEN_S);
    let packed = pack_uses(&recent.map(|(id, at)| (*id, *at)).collect());
    for part in 0..packed.len().max(kept.len()) {
        let (text, before) = (packed.get(part).map_or("", String::as_str), kept.get(part));
        if before.is_some_and(|(kept, _)| kept == text) {
            continue;
        }
        if !may() {
            return Err(KeepError::Over);
        }
        let data = BTreeMap::from([(USES_ENTRY.to_owned(), text.as_bytes().to_vec())]);
        store.write(&uses_secret(part), data, before.map(|(_, version)| version.clone())).await?;
    }
    Ok(())
}

/// Text and version of each Secret, up to the first that is not there.
async fn read(store: &dyn Store) -> Result<Vec<(String, String)>, KeepError> {
    let mut all = Vec::new();
    for part in 0..USES_PARTS {
        let name = uses_secret(part);
        let Some(found) = store.read(&name).await? else { break };
        if found.data.keys().any(|entry| entry != USES_ENTRY) {
            return Err(KeepError::NotOurs(name));
        }
        let text = found.data.get(USES_ENTRY).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        all.push((text.unwrap_or_default(), found.version));
    }
    Ok(all)
}

// === impl KubeStores ===

impl KubeStores {
    /// Through this client.
    pub const fn new(client: kube::Client) -> Self {
        Self(client)
    }
}

impl Stores for KubeStores {
    fn of(&self, namespace: &str) -> Arc<dyn Store> {
        // They stay beside the API keys they are about.
        Arc::new(KubeStore::new(self.0.clone(), namespace, Owner::new(self.0.clone(), None)))
    }
}
