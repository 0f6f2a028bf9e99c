//! What was kept is there after a restart, and nowhere else readable; what is broken costs only itself.

use crds::{
    compile::{Compiler, Options},
    documents::Objects,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::leader::{self, LeaseError, Leases, Seen};

/// A version, and its entries.
type Stored = (u64, BTreeMap<String, Vec<u8>>);

/// Secrets in memory, with versions.
#[derive(Default)]
struct Memory {
    secrets: Mutex<BTreeMap<String, Stored>>,
    writes: Mutex<Vec<String>>,
    conflicts: Mutex<u32>,
}

#[tonic::async_trait]
impl Store for Memory {
    async fn read(&self, name: &str) -> Result<Option<Kept>, StoreError> {
        let secrets = self.secrets.lock();
        Ok(secrets.get(name).map(|(version, data)| Kept { data: data.clone(), version: version.to_string() }))
    }

    async fn write(
        &self,
        name: &str,
        data: BTreeMap<String, Vec<u8>>,
        version: Option<String>,
    ) -> Result<Kept, StoreError> {
        let mut secrets = self.secrets.lock();
        let current = secrets.get(name).map(|(version, _)| *version);
        if current.map(|version| version.to_string()) != version {
            *self.conflicts.lock() += 1;
            return Err(StoreError::Conflict);
        }
        let next = current.unwrap_or_default() + 1;
        secrets.insert(name.to_owned(), (next, data.clone()));
        self.writes.lock().push(name.to_owned());
        Ok(Kept { data, version: next.to_string() })
    }
}

/// A Lease that is always free.
struct Free;

#[tonic::async_trait]
impl Leases for Free {
    async fn read(&self) -> Result<Option<Seen>, LeaseError> {
        Ok(None)
    }

    async fn write(&self, _: leader::Wanted, _: Option<Seen>) -> Result<Seen, LeaseError> {
        Ok(Seen::default())
    }
}

/// A leader to be; the task is its campaign.
fn follower() -> (Leader, impl Future<Output = ()> + Send + 'static) {
    let settings = leader::Settings {
        namespace: "n".to_owned(),
        name: "l".to_owned(),
        identity: "a".to_owned(),
        address: None,
        durations: leader::Durations::default(),
    };
    Leader::start_with(Arc::new(Free), settings, watch::channel(0).1, CancellationToken::new())
}

async fn leading() -> Leader {
    let (leader, campaign) = follower();
    tokio::spawn(campaign);
    leader.is_leading().wait_for(|leads| *leads).await.unwrap();
    leader
}

fn seal() -> Arc<Seal> {
    Arc::new(Seal::new(&[7; 32]).unwrap())
}

async fn load(memory: &Arc<Memory>) -> (LastGoodStore, LastGood) {
    LastGoodStore::load(memory.clone(), seal(), Metrics::default()).await
}

fn objects(names: &[String], spec: &str) -> Objects {
    let mut objects = Objects::default();
    for name in names {
        let meta = format!("{{name: {name}, namespace: n}}");
        objects.read(
            "f",
            &format!("apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {meta}\nspec: {spec}\n"),
        );
    }
    objects
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("p{number}")).collect()
}

const GOOD: &str = "{requireAuth: false}";
const BAD: &str = "{requireAuth: maybe}";

/// A policy whose text no compression makes small.
fn large() -> Objects {
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(2 * 1024 * 1024).collect();
    let meta = format!("{{name: p0, namespace: n, annotations: {{noise: {noise}}}}}");
    let mut large = Objects::default();
    large
        .read("f", &format!("apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {meta}\nspec: {GOOD}\n"));
    large
}

/// A compiler in which these were in force.
fn compiler(last_good: LastGood, names: &[String]) -> Compiler {
    let mut compiler = Compiler::new(Options::default(), last_good);
    let spec = |name: &String| format!("{{requireAuth: false, externalHostnames: [{name}.test]}}");
    let mut all = Objects::default();
    for name in names {
        all.policies.append(&mut objects(std::slice::from_ref(name), &spec(name)).policies);
    }
    compiler.compile(&all);
    compiler
}

/// How many of these have something in force although their newest version is bad.
fn in_force(last_good: LastGood, names: &[String]) -> usize {
    let compiled = Compiler::new(Options::default(), last_good).compile(&objects(names, BAD));
    compiled.pushed.iter().filter(|one| one.policy.document.is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn what_was_in_force_is_there_after_a_restart() {
    let (memory, names) = (Arc::<Memory>::default(), names(100));
    let (store, empty) = load(&memory).await;
    assert!(empty.is_empty());
    let compiler = compiler(empty, &names);
    store.keep(compiler.last_good());
    let leader = leading().await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move { store.run(&leader).await }
    });
    let written = async {
        while store.inner.metrics.pending.get() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), written).await.expect("everything is written");
    writer.abort();
    assert_eq!(memory.writes.lock().len(), PARTS);
    let text: Vec<u8> = memory.secrets.lock().values().flat_map(|(_, data)| data[ENTRY].clone()).collect();
    assert!(!String::from_utf8_lossy(&text).contains("requireAuth"), "sealed");
    let (_, read) = load(&memory).await;
    assert_eq!(in_force(read, &names), 100);
    assert_eq!(objects(&names, GOOD).policies.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn only_what_changed_is_written_once_a_second_and_only_by_the_leader() {
    let (memory, names) = (Arc::<Memory>::default(), names(40));
    let (store, empty) = load(&memory).await;
    let first = compiler(empty, &names[..39]);
    store.keep(first.last_good());
    let (nobody, campaign) = follower();
    assert!(store.pass(&nobody).await, "it waits for whoever leads");
    assert_eq!(memory.writes.lock().len(), 0);
    drop(campaign);
    let leader = leading().await;
    assert!(!store.pass(&leader).await);
    memory.writes.lock().clear();
    let second = compiler(first.last_good().clone(), &names);
    store.keep(second.last_good());
    store.keep(second.last_good());
    assert!(!store.pass(&leader).await);
    assert_eq!(memory.writes.lock().len(), 1, "one policy is new: one part");
}

#[tokio::test(start_paused = true)]
async fn another_leaders_write_is_replaced_after_a_look() {
    let (memory, names) = (Arc::<Memory>::default(), names(1));
    let (ours, empty) = load(&memory).await;
    let (theirs, _) = load(&memory).await;
    let compiler = compiler(empty, &names);
    let leader = leading().await;
    theirs.keep(compiler.last_good());
    assert!(!theirs.pass(&leader).await);
    ours.keep(compiler.last_good());
    assert!(ours.pass(&leader).await, "its version is not the one that is there");
    assert!(!ours.pass(&leader).await);
    assert_eq!(*memory.conflicts.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_cannot_be_read_costs_only_itself() {
    let (memory, names) = (Arc::<Memory>::default(), names(100));
    let (store, empty) = load(&memory).await;
    let compiler = compiler(empty, &names);
    store.keep(compiler.last_good());
    let leader = leading().await;
    store.pass(&leader).await;
    let part = |of: usize| memory.secrets.lock()[&secret(of)].1[ENTRY].clone();
    let (zero, one) = (part(0), part(1));
    let lost = compiler.last_good().part(0);
    let count = 100 - in_force(lost, &names);
    // Tampered with; cut; another part in its place; empty; of another key.
    let flipped = [&zero[..40], &[zero[40] ^ 1], &zero[41..]].concat();
    for broken in [
        flipped,
        zero[..20].to_vec(),
        one,
        Vec::new(),
        Seal::new(&[8; 32]).unwrap().seal("last-good 0", zero.clone()).unwrap(),
    ] {
        memory.secrets.lock().get_mut(&secret(0)).unwrap().1.insert(ENTRY.to_owned(), broken);
        let (_, read) = load(&memory).await;
        assert_eq!(in_force(read, &names), count);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_part_that_does_not_fit_nothing_older_stays() {
    let (memory, names) = (Arc::<Memory>::default(), names(1));
    let (store, empty) = load(&memory).await;
    let leader = leading().await;
    let mut compiler = compiler(empty, &names);
    store.keep(compiler.last_good());
    assert!(!store.pass(&leader).await);
    assert_eq!(in_force(load(&memory).await.1, &names), 1);
    compiler.compile(&large());
    store.keep(compiler.last_good());
    // Whoever does not lead has nothing to pack.
    let (nobody, _campaign) = follower();
    assert!(store.pass(&nobody).await);
    assert_eq!(store.inner.metrics.failures.get(), 0);
    assert!(!store.pass(&leader).await);
    assert_eq!(store.inner.metrics.failures.get(), 1);
    assert_eq!(in_force(load(&memory).await.1, &names), 0);
}

/// A build that was rolled back may have written more than this one knows.
#[tokio::test(start_paused = true)]
async fn what_a_later_build_kept_is_read_as_far_as_it_is_known() {
    use std::io::Write;
    let names = names(40);
    let all = compiler(LastGood::default(), &names);
    let memory = Arc::<Memory>::default();
    for part in 0..PARTS {
        let mut json = serde_json::to_value(all.last_good().part(part)).unwrap();
        json["format"] = 2.into();
        for kept in json["policies"].as_object_mut().unwrap().values_mut() {
            kept["since"] = "2030-01-01".into();
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(json.to_string().as_bytes()).unwrap();
        let sealed = seal().seal(&format!("last-good {part}"), gzip.finish().unwrap()).unwrap();
        memory.secrets.lock().insert(secret(part), (1, BTreeMap::from([(ENTRY.to_owned(), sealed)])));
    }
    let (store, found) = load(&memory).await;
    assert_eq!(in_force(found, &names), names.len());
    assert_eq!(store.inner.metrics.unreadable.get(), 0);
}
