//! What is written: the newest use of each key, in Secrets of ours alone, and by who leads.

use std::sync::atomic::{AtomicBool, Ordering};

use crds::api_keys::KeyId;
use parking_lot::Mutex;

use super::*;
use crate::identity::Kept;

/// Secrets of all namespaces in memory.
#[derive(Default)]
struct Memory {
    secrets: Arc<Mutex<BTreeMap<String, Kept>>>,
    away: Arc<AtomicBool>,
}

struct Of {
    namespace: String,
    secrets: Arc<Mutex<BTreeMap<String, Kept>>>,
    away: Arc<AtomicBool>,
}

impl Stores for Memory {
    fn of(&self, namespace: &str) -> Arc<dyn Store> {
        Arc::new(Of { namespace: namespace.to_owned(), secrets: self.secrets.clone(), away: self.away.clone() })
    }
}

#[tonic::async_trait]
impl Store for Of {
    async fn read(&self, name: &str) -> Result<Option<Kept>, StoreError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("no route to host".to_owned()));
        }
        Ok(self.secrets.lock().get(&format!("{}/{name}", self.namespace)).cloned())
    }

    async fn write(
        &self,
        name: &str,
        data: BTreeMap<String, Vec<u8>>,
        version: Option<String>,
    ) -> Result<Kept, StoreError> {
        let (mut secrets, key) = (self.secrets.lock(), format!("{}/{name}", self.namespace));
        if secrets.get(&key).map(|kept| kept.version.clone()) != version {
            return Err(StoreError::Conflict);
        }
        let number: u64 = version.and_then(|version| version.parse().ok()).unwrap_or(0);
        let kept = Kept { data, version: (number + 1).to_string() };
        secrets.insert(key, kept.clone());
        Ok(kept)
    }
}

impl Memory {
    fn times(&self, secret: &str) -> KeyTimes {
        let secrets = self.secrets.lock();
        secrets
            .get(secret)
            .map_or_else(KeyTimes::new, |kept| read_uses(&String::from_utf8_lossy(&kept.data[USES_ENTRY])))
    }

    fn version(&self, secret: &str) -> String {
        self.secrets.lock()[secret].version.clone()
    }
}

fn id(number: u32) -> KeyId {
    KeyId::of_entry(&format!("{number:032x}")).unwrap()
}

fn uses(all: &[(&str, u32, i64)]) -> Uses {
    let mut uses = Uses::default();
    all.iter().for_each(|(namespace, number, at)| uses.note(&(*namespace).into(), id(*number), *at));
    uses
}

const NOW: i64 = 1_800_000_000;
const FIRST_SECRET: &str = "shop/gatewright-last-used-0";

fn keeper() -> (Arc<Memory>, Keeper) {
    let memory = Arc::new(Memory::default());
    (memory.clone(), Keeper::new(memory, EVERY))
}

#[tokio::test]
async fn the_newest_use_is_kept_beside_the_records() {
    let (memory, mut keeper) = keeper();
    assert!(keeper.round(&uses(&[("shop", 1, NOW - 10), ("blog", 2, NOW)]), NOW, &|| true).await);
    assert_eq!(memory.times(FIRST_SECRET), KeyTimes::from([(id(1), NOW - 10)]));
    assert_eq!(memory.times("blog/gatewright-last-used-0"), KeyTimes::from([(id(2), NOW)]));
    // A leader that knows less, or older, takes nothing away, and writes nothing that is there.
    assert!(keeper.round(&uses(&[("shop", 1, NOW - 20)]), NOW, &|| true).await);
    assert_eq!((memory.times(FIRST_SECRET).len(), memory.version(FIRST_SECRET).as_str()), (1, "1"));
    assert!(keeper.round(&uses(&[("shop", 1, NOW), ("shop", 3, NOW)]), NOW, &|| true).await);
    assert_eq!(memory.times(FIRST_SECRET), KeyTimes::from([(id(1), NOW), (id(3), NOW)]));
    // What was not used for longer than a key lives is forgotten.
    let later = NOW + FORGOTTEN_S;
    assert!(keeper.round(&uses(&[("shop", 4, later)]), later, &|| true).await);
    assert_eq!(memory.times(FIRST_SECRET), KeyTimes::from([(id(4), later)]));
}

#[tokio::test]
async fn many_keys_are_spread_and_come_together_again() {
    let (memory, mut keeper) = keeper();
    let many: Vec<(&str, u32, i64)> = (0..100_000).map(|number| ("shop", number, NOW)).collect();
    assert!(keeper.round(&uses(&many), NOW, &|| true).await);
    assert_eq!(memory.secrets.lock().len(), USES_PARTS);
    assert!(keeper.round(&uses(&[("shop", 7, NOW)]), NOW, &|| true).await);
    let all: usize = (0..USES_PARTS).map(|part| memory.times(&format!("shop/{}", uses_secret(part))).len()).sum();
    assert!((100_000..=100_001).contains(&all), "{all}");
    let later = NOW + FORGOTTEN_S;
    assert!(keeper.round(&uses(&[("shop", 7, later)]), later, &|| true).await);
    assert_eq!(memory.times(FIRST_SECRET).len(), 1);
    assert!((1..USES_PARTS).all(|part| memory.times(&format!("shop/{}", uses_secret(part))).is_empty()));
}

#[tokio::test]
async fn only_the_leader_writes_and_only_what_is_its_own() {
    let (memory, mut keeper) = keeper();
    let new = uses(&[("shop", 1, NOW)]);
    assert!(!keeper.round(&new, NOW, &|| false).await);
    assert!(memory.secrets.lock().is_empty());
    memory.away.store(true, Ordering::Relaxed);
    assert!(!keeper.round(&new, NOW, &|| true).await, "it is tried again");
    assert!(keeper.told["shop"].contains("no route to host"));
    memory.away.store(false, Ordering::Relaxed);
    let theirs = Kept { data: BTreeMap::from([("password".to_owned(), b"x".to_vec())]), version: "9".to_owned() };
    memory.secrets.lock().insert(FIRST_SECRET.to_owned(), theirs.clone());
    assert!(!keeper.round(&new, NOW, &|| true).await);
    assert!(memory.secrets.lock()[FIRST_SECRET] == theirs, "left as it was");
    assert!(keeper.told["shop"].contains("something else"));
    memory.secrets.lock().remove(FIRST_SECRET);
    assert!(keeper.round(&new, NOW, &|| true).await);
    assert_eq!(memory.times(FIRST_SECRET), KeyTimes::from([(id(1), NOW)]));
    assert_eq!(keeper.told, HashMap::new(), "what comes again is told again");
    // Nor is what nobody uses any more remembered.
    memory.away.store(true, Ordering::Relaxed);
    assert!(!keeper.round(&new, NOW, &|| true).await);
    assert!(keeper.round(&Uses::default(), NOW, &|| true).await);
    assert_eq!(keeper.told, HashMap::new());
}
