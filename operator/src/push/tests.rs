//! Tables: who gets what, what changed when, and how a change is cut. The pace of publications.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use authz::server::Registry;
use crds::{
    compile::{Compiler, LastGood, Options},
    documents::Objects,
    push::{Name, OwnKey, PeerReport, SigningKeys, State},
    secret::Secret,
    v1alpha1::SigningAlgorithm,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    PACE, Push, Standing,
    clients::Client,
    outgoing::Outgoing,
    relay::Hearing,
    table::{Audience, Diff, Published, Signing, Table},
};
use crate::identity::{ProofError, Proofs, Workload};

const KEYED: &str =
    "authenticators: [{name: app, jwt: {keys: [{algorithm: HS256, secretKeyRef: {name: app, key: jwt}}]}}]";

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gatewright.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{externalHostnames: [{name}.{namespace}.test], {spec}}}\n---\n"
    )
}

fn secret(namespace: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: app, namespace: {namespace}}}\nstringData: {{jwt: {value}}}\n---\n"
    )
}

fn published(before: &Published, documents: &[String]) -> Published {
    let mut objects = Objects::default();
    objects.read("cluster", &documents.concat());
    let pushed = Compiler::new(Options::default(), LastGood::default()).compile(&objects).pushed;
    Published::next(before, pushed, Arc::new(objects))
}

fn names(diff: &Diff) -> Vec<String> {
    diff.changed.iter().map(|one| one.name.to_string()).collect()
}

/// A policy that has tokens signed waits for the key, and for nothing else.
#[test]
fn a_policy_without_its_key_is_acknowledged_by_nobody() {
    let own = |algorithm: &str| {
        format!("requireAuth: false, forward: {{replaceCredential: {{signedJWT: {{algorithm: {algorithm}}}}}}}")
    };
    let documents =
        [policy("a", "ec", &own("ES256")), policy("a", "ed", &own("EdDSA")), policy("b", "q", "requireAuth: false")];
    let key = |algorithm| OwnKey { algorithm, made: 1, pkcs8: Secret::new(b"any".to_vec()) };
    let keys = |algorithms: &[SigningAlgorithm]| {
        let keys = algorithms.iter().copied().map(key).collect();
        Signing::new(&SigningKeys { issuer: "http://i.test".into(), keys })
    };
    let first = published(&Published::default(), &documents);
    let one = Table::next(&Table::default(), &first, &Audience::Own);
    assert_eq!((one.changed["a/ec"], one.changed["a/ed"], one.changed["b/q"]), (u64::MAX, u64::MAX, 1));
    let second = Published::again(&first).signed(keys(&[SigningAlgorithm::ES256]));
    let two = Table::next(&one, &second, &Audience::Own);
    assert_eq!(names(&Diff::between(&one, &two)), ["signing-keys"]);
    assert_eq!((two.changed["a/ec"], two.changed["a/ed"], two.changed["b/q"]), (2, u64::MAX, 1));
    let third = Published::again(&second).signed(keys(&[SigningAlgorithm::ES256, SigningAlgorithm::EdDSA]));
    let three = Table::next(&two, &third, &Audience::Own);
    assert_eq!((three.changed["a/ec"], three.changed["a/ed"], three.changed["b/q"]), (3, 3, 1));
    let pod = Audience::Workload { namespace: "a".to_owned(), labels: BTreeMap::new() };
    assert!(Table::next(&Table::default(), &third, &pod).resources.is_empty(), "nobody else has the keys");
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn what_did_not_change_is_the_same_allocation() {
    let documents = [policy("a", "p", KEYED), policy("b", "q", "requireAuth: false"), secret("a", KEY)];
    let first = published(&Published::default(), &documents);
    let one = Table::next(&Table::default(), &first, &Audience::Own);
    assert_eq!(names(&Diff::between(&Table::default(), &one)), ["policy/a/p", "policy/b/q", "secret/a/app"]);
    let second = published(&first, &documents);
    let two = Table::next(&one, &second, &Audience::Own);
    assert!(Diff::between(&one, &two).is_empty());
    assert!(one.resources.iter().all(|(name, one)| Arc::ptr_eq(one, &two.resources[name])));
    assert_eq!(two.changed, one.changed, "nothing has to be acknowledged again");
}

#[test]
fn a_value_moves_the_policies_that_read_it() {
    let (p, q) = (policy("a", "p", KEYED), policy("b", "q", "requireAuth: false"));
    let first = published(&Published::default(), &[p.clone(), q.clone(), secret("a", KEY)]);
    let one = Table::next(&Table::default(), &first, &Audience::Own);
    let second = published(&first, &[p.clone(), q.clone(), secret("a", &KEY.to_uppercase())]);
    let two = Table::next(&one, &second, &Audience::Own);
    assert_eq!(names(&Diff::between(&one, &two)), ["secret/a/app"]);
    assert_eq!((two.changed["a/p"], two.changed["b/q"]), (2, 1));
    // Taken away: both lose something.
    let third = published(&second, &[q, p]);
    let three = Table::next(&two, &third, &Audience::Own);
    let diff = Diff::between(&two, &three);
    assert_eq!((names(&diff).len(), diff.removed.len()), (0, 1));
    assert_eq!((three.changed["a/p"], three.changed["b/q"]), (3, 1));
    assert_eq!(third.readers(&Audience::Own, &"secret/a/app".parse().unwrap()), [Arc::<str>::from("a/p")]);
}

#[test]
fn workloads_are_told_apart_by_namespace_and_labels() {
    let selects = |labels: &str| format!("requireAuth: false, workloadSelector: {{matchLabels: {{{labels}}}}}");
    let all = published(
        &Published::default(),
        &[
            policy("a", "both", &selects("app: shop, tier: web")),
            policy("a", "one", &selects("app: shop")),
            policy("a", "other", &selects("app: till")),
            policy("b", "elsewhere", &selects("app: shop")),
            policy("a", "central", "requireAuth: false"),
        ],
    );
    let has = |namespace: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let audience = Audience::Workload { namespace: namespace.to_owned(), labels };
        let table = Table::next(&Table::default(), &all, &audience);
        let mut names: Vec<String> = table.changed.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(has("a", &[("app", "shop"), ("tier", "web")]), ["a/both", "a/one"]);
    assert_eq!(has("a", &[("app", "shop")]), ["a/one"]);
    assert_eq!(has("b", &[("app", "shop"), ("tier", "web")]), ["b/elsewhere"]);
    assert!(has("a", &[]).is_empty());
    let own = Table::next(&Table::default(), &all, &Audience::Own);
    assert_eq!(own.changed.keys().map(|name| &**name).collect::<Vec<_>>(), ["a/central"]);
}

#[test]
fn a_client_is_sent_what_it_does_not_hold() {
    let all = published(
        &Published::default(),
        &[policy("a", "p", "requireAuth: false"), policy("b", "q", "requireAuth: false")],
    );
    let table = Table::next(&Table::default(), &all, &Audience::Own);
    let versions = table.resources.iter().map(|(name, one)| (name.to_string(), one.version.clone()));
    let mut held: HashMap<String, String> = versions.collect();
    assert!(Diff::from_held(&held, &table).is_empty());
    held.insert("policy/a/p".to_owned(), "older".to_owned());
    held.insert("policy/c/gone".to_owned(), "any".to_owned());
    held.insert("secret/c/gone".to_owned(), "any".to_owned());
    held.insert("trust".to_owned(), "any".to_owned());
    held.insert("unheard-of".to_owned(), "any".to_owned());
    let diff = Diff::from_held(&held, &table);
    assert_eq!(names(&diff), ["policy/a/p"]);
    let mut removed: Vec<String> = diff.removed.iter().map(ToString::to_string).collect();
    removed.sort();
    assert_eq!(removed, ["policy/c/gone", "secret/c/gone"]);
}

#[test]
fn a_change_is_cut_between_resources_and_ends_with_its_state() {
    let big = "k".repeat(700_000);
    let documents: Vec<String> = (0..7)
        .flat_map(|one| {
            let namespace = format!("n{one}");
            [policy(&namespace, "p", KEYED), secret(&namespace, &big)]
        })
        .collect();
    let all = published(&Published::default(), &documents);
    let table = Arc::new(Table::next(&Table::default(), &all, &Audience::Own));
    let diff = Arc::new(Diff { removed: vec![Name::Policy("x/y".into())], ..Diff::between(&Table::default(), &table) });
    let state = State { epoch: 1, counter: 1, policies: 7 };
    let mut outgoing = Outgoing::new(table, diff, None, state);
    let mut messages = Vec::new();
    while !outgoing.is_sent() {
        messages.push(outgoing.next());
    }
    assert!(messages.len() > 3, "{}", messages.len());
    let mut seen = BTreeMap::new();
    for (at, message) in messages.iter().enumerate() {
        let bytes: usize = message.resources.iter().map(|one| one.resource.as_ref().unwrap().value.len()).sum();
        assert!(bytes < 2 * 1024 * 1024 + 1000, "{bytes}");
        let last = at + 1 == messages.len();
        assert_eq!(message.removed_resources.len(), usize::from(last), "one name fits anywhere");
        assert_eq!(message.resources.last().unwrap().name == "state", last);
        for one in &message.resources {
            assert!(seen.insert(one.name.clone(), at).is_none(), "{} twice", one.name);
        }
    }
    assert_eq!(seen.len(), 15);
    assert_eq!(outgoing.last, Some(messages.last().unwrap().nonce.clone()));
}

#[test]
fn what_is_removed_is_cut_as_well() {
    let name = |one: usize| Name::Policy(format!("{}/{one:0>253}", "n".repeat(63)).into());
    let removed: Vec<Name> = (0..20_000).map(name).collect();
    let mut outgoing = Outgoing::new(
        Arc::default(),
        Arc::new(Diff { removed: removed.clone(), changed: Vec::new() }),
        None,
        State { epoch: 1, counter: 1, policies: 0 },
    );
    let (mut names, mut messages) = (Vec::new(), 0);
    while !outgoing.is_sent() {
        let message = outgoing.next();
        let bytes: usize = message.removed_resources.iter().map(String::len).sum();
        assert!(bytes < 2 * 1024 * 1024 + 1000, "{bytes}");
        assert_eq!(message.resources.len(), usize::from(outgoing.is_sent()), "the state alone, and last");
        names.extend(message.removed_resources);
        messages += 1;
    }
    assert_eq!(names, removed.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(messages, 4);
}

/// Nobody connects.
struct Nobody;

#[tonic::async_trait]
impl Proofs for Nobody {
    async fn prove(&self, _: &str) -> Result<Workload, ProofError> {
        Err(ProofError::Refused("nobody is expected"))
    }

    async fn labels(&self, _: &str, _: &str) -> Result<BTreeMap<String, String>, ProofError> {
        Ok(BTreeMap::new())
    }
}

fn push() -> Push {
    let options = super::Options {
        namespace: "gatewright".to_owned(),
        account: "gatewright-authz".to_owned(),
        operator_account: "gatewright-operator".to_owned(),
        proofs: Arc::new(Nobody),
        pace: PACE,
        uses: PACE,
    };
    Push::new(options, watch::Sender::new(1).subscribe(), &mut Registry::default())
}

/// A replica that is here again before the end of its old connection was seen.
#[test]
fn an_old_stream_of_a_replica_takes_nothing_from_the_new_one() {
    let push = push();
    let hear = || Hearing::new("operator-1".to_owned(), push.inner.clone());
    let told = |replicas: usize| assert_eq!(push.standings().replicas, replicas);
    let of = |replicas: usize| serde_json::from_value(json!({"policies": {}, "issuers": {}, "replicas": replicas}));
    let (old, new) = (hear(), hear());
    old.note(of(1).unwrap());
    new.note(of(2).unwrap());
    told(2);
    // What was still under way on the old connection.
    old.note(of(1).unwrap());
    told(2);
    drop(old);
    told(2);
    drop(new);
    told(0);
}

#[test]
fn what_a_data_plane_said_of_an_older_version_says_nothing_of_the_newest() {
    let push = push();
    let publish = |spec: &str| {
        let before = push.inner.published.borrow().clone();
        let published = Arc::new(published(&before, &[policy("a", "p", spec)]));
        push.inner.audiences.advance(&published);
        push.inner.published.send_replace(published);
    };
    let rejected = BTreeMap::from([("a/p".into(), "no such field".to_owned())]);
    publish("requireAuth: false");
    let client = Client {
        name: "gatewright/authz-0".to_owned(),
        audience: Audience::Own,
        acknowledged: 1,
        rejected,
        reports: Vec::new(),
        peers: PeerReport::default(),
        ends: CancellationToken::new(),
    };
    let entry = push.inner.clients.add(1, client);
    let standing = || push.standings().policies["a/p"].clone();
    let refuses = Standing::Rejected { by: "gatewright/authz-0".to_owned(), reason: "no such field".to_owned() };
    assert_eq!(standing(), refuses);
    publish("requireAuth: false, unmatched: Forbid");
    assert_eq!(standing(), Standing::Lagging { waiting: vec!["gatewright/authz-0".to_owned()], more: 0 });
    entry.update(|client| std::mem::replace(&mut client.acknowledged, 2) != 2);
    assert_eq!(standing(), refuses, "still, or again");
}

/// Ten minutes by a paused clock.
#[tokio::test(start_paused = true)]
async fn ten_minutes_of_a_thousand_changes_a_second_are_ten_pushes_a_second_and_the_last_one_wins() {
    const TICK: Duration = Duration::from_millis(10);
    let state = |spec: &str| {
        let mut objects = Objects::default();
        objects.read("cluster", &policy("a", "p", spec));
        (Compiler::new(Options::default(), LastGood::default()).compile(&objects).pushed, Arc::new(objects))
    };
    let [flip, flop, last] =
        ["requireAuth: false", "requireAuth: true", "requireAuth: false, unmatched: Forbid"].map(state);
    let push = push();
    let runs = push.clone();
    let run = tokio::spawn(async move { runs.run().await });
    let mut published = push.inner.published.subscribe();
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = times.clone();
    let watches = tokio::spawn(async move {
        while published.changed().await.is_ok() {
            noted.lock().push(Instant::now());
        }
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(10) {
        for (pushed, objects) in [&flip, &flop].into_iter().cycle().take(10) {
            push.publish(pushed.clone(), objects.clone());
        }
        sleep(TICK).await;
    }
    let number = push.publish(last.0.clone(), last.1.clone());
    sleep(PACE * 2).await;
    assert_eq!((number, push.published()), (600_001, 600_001));
    let version = |published: &Published| published.versions().map(|(_, version)| version.to_owned()).next();
    let expected = version(&Published::next(&Published::default(), last.0, last.1));
    assert_eq!(version(&push.inner.published.borrow()), expected);

    let times = times.lock();
    assert_eq!(u64::try_from(times.len()).unwrap(), push.inner.published.borrow().counter, "every push was seen");
    assert!(times[0] - begun <= TICK, "the first one at once");
    for (at, pair) in times.windows(2).enumerate() {
        let gap = pair[1] - pair[0];
        assert!(gap >= PACE && gap <= PACE + TICK, "{gap:?} after push {at}");
    }
    run.abort();
    watches.abort();
}

/// By a paused clock.
#[tokio::test(start_paused = true)]
async fn a_state_is_begun_so_that_it_is_done_when_one_is_published() {
    const TAKES: Duration = Duration::from_millis(30);
    const MS: Duration = Duration::from_millis(1);
    let push = push();
    let runs = push.clone();
    let run = tokio::spawn(async move { runs.run().await });
    assert_eq!(push.begin(TAKES), Instant::now() - TAKES, "after silence at once");
    let begun = Instant::now();
    push.publish(Vec::new(), Arc::default());
    sleep(MS).await;
    assert_eq!(push.published(), 1);
    assert_eq!(push.begin(TAKES), begun + PACE - TAKES);
    sleep(MS * 20).await;
    push.publish(Vec::new(), Arc::default());
    assert_eq!(push.begin(TAKES), begun + PACE - TAKES, "it waits, and a newer one replaces it");
    sleep(MS * 60).await;
    assert_eq!((push.published(), push.begin(TAKES)), (1, begun + PACE * 2 - TAKES), "there is no time for another");
    sleep(MS * 20).await;
    assert_eq!((push.published(), push.begin(TAKES)), (2, begun + PACE * 2 - TAKES));
    sleep(PACE * 2).await;
    assert_eq!(push.begin(TAKES), Instant::now() - TAKES);
    run.abort();
}
