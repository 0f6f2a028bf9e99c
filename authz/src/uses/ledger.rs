//! The last use of each key, in so many small maps that a reader of all of them holds up no request.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crds::api_keys::{KeyId, Uses};
use parking_lot::{Mutex, RwLock};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Maps. A reader copies one at a time.
const SHARDS: usize = 64;
/// Keys that are remembered at most: some 12 MiB.
const MOST_KEYS: usize = 262_144;

/// Last uses that were noted here.
#[derive(Debug)]
pub struct Ledger {
    shards: [Mutex<HashMap<(u32, KeyId), Use>>; SHARDS],
    most: usize,
    namespaces: RwLock<Namespaces>,
    /// The how-manieth reading is next: what was noted since another is new to whoever read then.
    reading: AtomicU32,
    left_out: Counter,
    known: Gauge,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    at_s: u32,
    reading: u32,
}

/// Namespaces by number: a name at each key would be most of the memory.
#[derive(Debug, Default)]
struct Namespaces {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

// === impl Ledger ===

impl Default for Ledger {
    fn default() -> Self {
        Self::of(MOST_KEYS)
    }
}

impl Ledger {
    /// One of at most so many keys. Further ones are left out and counted until others are forgotten.
    pub fn of(most: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            most: most.div_ceil(SHARDS),
            namespaces: RwLock::default(),
            reading: AtomicU32::new(1),
            left_out: Counter::default(),
            known: Gauge::default(),
        }
    }

    /// Shows its numbers.
    pub fn register(&self, registry: &mut Registry) {
        let help = "API keys whose last use is remembered here";
        registry.register("gatewright_api_key_uses", help, self.known.clone());
        let help = "Uses of API keys that were not noted as too many keys are remembered";
        registry.register("gatewright_api_key_uses_left_out", help, self.left_out.clone());
    }

    /// A use at this second since 1970; an older one than is known says nothing.
    pub fn note(&self, namespace: &str, id: KeyId, at_s: u32) {
        let number = self.number(namespace);
        let Some(shard) = self.shards.get(id.spread() % SHARDS) else { return };
        let mut shard = shard.lock();
        // Read under the lock: a reader who has passed this map already has raised it.
        let reading = self.reading.load(Ordering::Relaxed);
        let full = shard.len() >= self.most;
        match shard.get_mut(&(number, id)) {
            Some(known) if known.at_s < at_s => *known = Use { at_s, reading },
            Some(_) => {}
            None if full => drop(self.left_out.inc()),
            None => {
                shard.insert((number, id), Use { at_s, reading });
                self.known.inc();
            }
        }
    }

    /// What was noted since an earlier reading (0: everything), and the number of this one.
    pub fn since(&self, reading: u32) -> (Uses, u32) {
        let this = self.reading.fetch_add(1, Ordering::Relaxed) + 1;
        let mut uses = Uses::default();
        for shard in &self.shards {
            // Copied first: what follows is slower than a request should wait.
            let copied: Vec<((u32, KeyId), Use)> =
                shard.lock().iter().filter(|(_, one)| one.reading >= reading).map(|(key, one)| (*key, *one)).collect();
            let namespaces = self.namespaces.read();
            for ((number, id), one) in copied {
                if let Some(namespace) = namespaces.names.get(number as usize) {
                    uses.note(namespace, id, i64::from(one.at_s));
                }
            }
        }
        (uses, this)
    }

    /// Takes in what others know; a time that has not come yet is now.
    pub fn merge(&self, uses: &Uses, now_s: u32) {
        for (namespace, times) in uses.iter() {
            for (id, at_s) in times {
                self.note(namespace, *id, u32::try_from(*at_s).unwrap_or(0).min(now_s));
            }
        }
    }

    /// Forgets keys that were used before this second.
    pub fn forget_before(&self, at_s: u32) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|_, one| one.at_s >= at_s);
            self.known.dec_by(i64::try_from(before - shard.len()).unwrap_or(0));
        }
    }

    fn number(&self, namespace: &str) -> u32 {
        if let Some(number) = self.namespaces.read().numbers.get(namespace) {
            return *number;
        }
        let mut namespaces = self.namespaces.write();
        let next = u32::try_from(namespaces.names.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = namespace.into();
        let number = *namespaces.numbers.entry(name.clone()).or_insert(next);
        if number == next {
            namespaces.names.push(name);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> KeyId {
        KeyId::of_entry(&format!("{number:032x}")).unwrap()
    }

    #[test]
    fn readers_get_what_is_new_to_them() {
        let ledger = Ledger::default();
        ledger.note("shop", id(1), 100);
        ledger.note("blog", id(1), 200);
        let (all, first) = ledger.since(0);
        assert_eq!((all.of("shop", id(1)), all.of("blog", id(1))), (Some(100), Some(200)));
        assert!(ledger.since(first).0.is_empty());
        ledger.note("shop", id(1), 90);
        assert!(ledger.since(first).0.is_empty(), "an older use says nothing");
        ledger.note("shop", id(1), 300);
        let (new, second) = ledger.since(first);
        assert_eq!((new.len(), new.of("shop", id(1))), (1, Some(300)));
        assert!(ledger.since(second).0.is_empty());
        assert_eq!(ledger.since(0).0.len(), 2, "and everything to who is new");
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let ledger = Ledger::of(640);
        (0..10_000).for_each(|number| ledger.note("shop", id(number), number));
        let known = ledger.since(0).0.len();
        assert!(known <= 640, "{known}");
        assert_eq!(ledger.left_out.get(), 10_000 - known as u64);
        assert_eq!(ledger.known.get(), i64::try_from(known).unwrap());
        ledger.forget_before(10_000);
        assert_eq!((ledger.since(0).0.len(), ledger.known.get()), (0, 0));
        ledger.note("shop", id(7), 7);
        assert_eq!(ledger.since(0).0.len(), 1);
    }

    #[test]
    fn a_clock_that_is_ahead_is_not_believed() {
        let (ledger, mut uses) = (Ledger::default(), Uses::default());
        uses.note(&"shop".into(), id(1), 5_000);
        uses.note(&"shop".into(), id(2), i64::MAX);
        uses.note(&"shop".into(), id(3), -1);
        ledger.merge(&uses, 1_000);
        let all = ledger.since(0).0;
        assert_eq!([1, 2, 3].map(|number| all.of("shop", id(number))), [Some(1_000), Some(0), Some(0)]);
    }

    #[test]
    fn nothing_noted_beside_a_reading_is_lost() {
        let ledger = Ledger::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..20_000).for_each(|at| ledger.note("shop", id(at % 500), at)));
            let (mut seen, mut last) = (Uses::default(), 0);
            loop {
                let done = writer.is_finished();
                let (new, reading) = ledger.since(last);
                last = reading;
                new.iter().for_each(|(namespace, times)| seen.merge(namespace, times.clone()));
                if done {
                    break;
                }
            }
            assert_eq!(seen, ledger.since(0).0);
        });
    }
}
