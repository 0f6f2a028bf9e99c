//! The election under a paused clock: who may write, and until when.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::advance;

use super::*;

/// A Lease in memory, with versions as the API server counts them.
#[derive(Default)]
struct Memory {
    lease: Mutex<(u64, Option<Lease>)>,
}

/// One replica's way to it.
struct Line {
    memory: Arc<Memory>,
    cut: AtomicBool,
    refused: AtomicBool,
    calls: AtomicUsize,
    writes: Mutex<Vec<Wanted>>,
}

impl Line {
    fn new(memory: &Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            memory: memory.clone(),
            cut: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            writes: Mutex::default(),
        })
    }

    async fn reach(&self) -> Result<(), LeaseError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.cut.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.refused.load(Ordering::Relaxed) {
            return Err(LeaseError::Unavailable("refused".to_owned()));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Leases for Line {
    async fn read(&self) -> Result<Option<Seen>, LeaseError> {
        self.reach().await?;
        Ok(self.memory.lease.lock().1.clone().map(Seen::of))
    }

    async fn write(&self, wanted: Wanted, over: Option<Seen>) -> Result<Seen, LeaseError> {
        self.reach().await?;
        let mut lease = self.memory.lease.lock();
        let current = lease.1.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if current != over.as_ref().map(|seen| seen.version.clone()) {
            return Err(LeaseError::Conflict);
        }
        self.writes.lock().push(wanted.clone());
        lease.0 += 1;
        // Times that no reader may believe.
        let mut written = wanted.over(lease.1.take(), "gatewright-operator", jiff::Timestamp::UNIX_EPOCH);
        written.metadata.resource_version = Some(lease.0.to_string());
        lease.1 = Some(written.clone());
        Ok(Seen::of(written))
    }
}

impl Memory {
    fn seen(&self) -> Option<Seen> {
        self.lease.lock().1.clone().map(Seen::of)
    }

    fn holder(&self) -> Option<String> {
        self.seen().and_then(|seen| seen.holder)
    }
}

struct Replica {
    leader: Leader,
    line: Arc<Line>,
    highest: watch::Sender<u64>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn settings(identity: &str) -> Settings {
    Settings {
        namespace: "gatewright".to_owned(),
        name: "gatewright-operator".to_owned(),
        identity: identity.to_owned(),
        address: Some(format!("{identity}:9004")),
        durations: Durations::default(),
    }
}

fn replica(memory: &Arc<Memory>, identity: &str) -> Replica {
    let (line, highest, stop) = (Line::new(memory), watch::Sender::new(0), CancellationToken::new());
    let (leader, task) = Leader::start_with(line.clone(), settings(identity), highest.subscribe(), stop.clone());
    Replica { leader, line, highest, stop, task: tokio::spawn(task) }
}

impl Replica {
    async fn leads(&self) {
        self.leader.is_leading().wait_for(|leads| *leads).await.unwrap();
    }

    fn epoch(&self) -> u64 {
        *self.leader.epoch().borrow()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_leadership_that_nobody_reached_by_counting_is_none() {
    let memory = Arc::<Memory>::default();
    let first = replica(&memory, "a");
    first.leads().await;
    assert_eq!(first.epoch(), 1);
    for text in [u64::MAX.to_string(), EPOCHS.to_string(), "-1".to_owned(), "many".to_owned()] {
        {
            let mut lease = memory.lease.lock();
            let annotations = lease.1.as_mut().and_then(|lease| lease.metadata.annotations.as_mut()).unwrap();
            annotations.insert("gatewright.dev/epoch".to_owned(), text.clone());
        }
        sleep(SECOND * 20).await;
        assert!(first.leader.guard().is_some_and(|guard| guard.holds()), "{text}");
        assert_eq!(memory.seen().unwrap().epoch, first.epoch(), "{text}: written back");
        assert!((1..100).contains(&first.epoch()), "{text}: {}", first.epoch());
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leads_and_the_other_knows_where() {
    let memory = Arc::default();
    let first = replica(&memory, "a");
    first.leads().await;
    let second = replica(&memory, "b");
    let address = second.leader.address().wait_for(Option::is_some).await.unwrap().clone();
    assert_eq!(address.as_deref(), Some("a:9004"));
    for _ in 0..120 {
        sleep(SECOND).await;
        assert!(first.leader.guard().is_some_and(|guard| guard.holds()), "a leader that renews leads all the time");
        assert!(second.leader.guard().is_none());
    }
    assert_eq!((first.epoch(), second.epoch()), (1, 1));
    assert_eq!(second.line.writes.lock().len(), 0);
    assert_eq!(*first.leader.address().borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_begins() {
    let memory = Arc::default();
    let (first, second) = (replica(&memory, "a"), replica(&memory, "b"));
    tokio::select! { () = first.leads() => {}, () = second.leads() => {} }
    let (old, new) = if first.leader.guard().is_some() { (first, second) } else { (second, first) };
    let guard = old.leader.guard().unwrap();
    old.line.cut.store(true, Ordering::Relaxed);
    let cut = Instant::now();
    let mut ended = old.leader.is_leading();
    ended.wait_for(|leads| !leads).await.unwrap();
    let stopped = cut.elapsed();
    assert!(!guard.holds());
    new.leads().await;
    let begun = cut.elapsed();
    assert!(stopped <= SECOND * 10, "{stopped:?}");
    assert!(begun >= stopped + SECOND * 2, "{begun:?} after {stopped:?}: no clock need be that good");
    assert!(begun <= SECOND * 30, "{begun:?}");
    assert_eq!(new.epoch(), 2);
    // Back on the line it learns who leads, and does not.
    old.line.cut.store(false, Ordering::Relaxed);
    old.leader.address().wait_for(Option::is_some).await.unwrap();
    assert!(old.leader.guard().is_none());
    assert_eq!(old.epoch(), 2);
    assert!(!guard.holds(), "a permission of before stays over");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_slept_may_write_nothing_when_it_wakes() {
    let memory = Arc::default();
    let first = replica(&memory, "a");
    first.leads().await;
    let guard = first.leader.guard().unwrap();
    assert!(guard.holds());
    // No task of it runs meanwhile, not even the one that tells.
    advance(SECOND * 60).await;
    assert!(!guard.holds());
    assert!(first.leader.guard().is_none());
    // Nobody took it: it leads again, under a number of its own, and what was permitted before stays over.
    first.leader.epoch().wait_for(|epoch| *epoch == 2).await.unwrap();
    first.leads().await;
    assert!(first.leader.guard().unwrap().holds());
    assert!(!guard.holds());
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_given_back() {
    let memory: Arc<Memory> = Arc::default();
    let (first, second) = (replica(&memory, "a"), replica(&memory, "b"));
    tokio::select! { () = first.leads() => {}, () = second.leads() => {} }
    let (old, new) = if first.leader.guard().is_some() { (first, second) } else { (second, first) };
    let (told, guard) = (Instant::now(), old.leader.guard().unwrap());
    old.stop.cancel();
    old.task.await.unwrap();
    assert!(!guard.holds(), "nothing is written after the farewell");
    new.leads().await;
    assert!(told.elapsed() <= SECOND * 3, "{:?}", told.elapsed());
    // Who does not lead gives nothing back.
    let third = replica(&memory, "c");
    sleep(SECOND * 5).await;
    third.stop.cancel();
    third.task.await.unwrap();
    assert!(memory.holder().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_follows_another_lets_the_other_replicas_find_it() {
    let memory = Arc::default();
    let first = replica(&memory, "a");
    first.leads().await;
    let second = replica(&memory, "b");
    second.leader.address().wait_for(Option::is_some).await.unwrap();
    first.stop.cancel();
    second.leads().await;
    assert!(first.leader.is_settled() && !second.leader.is_settled());
    sleep(SETTLES).await;
    assert!(second.leader.is_settled());
}

#[tokio::test(start_paused = true)]
async fn a_leadership_that_data_planes_have_outlived_is_raised() {
    let memory: Arc<Memory> = Arc::default();
    let first = replica(&memory, "a");
    first.leads().await;
    let guard = first.leader.guard().unwrap();
    // etcd was restored: a data plane has seen what the Lease does not know.
    first.highest.send_replace(41);
    let heard = Instant::now();
    first.leader.epoch().wait_for(|epoch| *epoch == 42).await.unwrap();
    assert!(heard.elapsed() < SECOND, "at once");
    assert_eq!(memory.seen().map(|seen| seen.epoch), Some(42));
    assert!(!guard.holds() && first.leader.guard().unwrap().holds());
    // The Lease itself runs backwards: the holder's own memory wins.
    memory
        .lease
        .lock()
        .1
        .as_mut()
        .unwrap()
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("gatewright.dev/epoch".to_owned(), "3".to_owned());
    first.leader.epoch().wait_for(|epoch| *epoch == 43).await.unwrap();
    // A Lease that somebody deleted is made anew.
    memory.lease.lock().1 = None;
    first.leader.epoch().wait_for(|epoch| *epoch == 44).await.unwrap();
    assert_eq!(memory.seen().map(|seen| seen.epoch), Some(44));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_answered_costs_no_leadership() {
    let memory: Arc<Memory> = Arc::default();
    let first = replica(&memory, "a");
    first.leads().await;
    let guard = first.leader.guard().unwrap();
    for round in 0..20 {
        let calls = first.line.calls.load(Ordering::Relaxed);
        first.line.cut.store(true, Ordering::Relaxed);
        while first.line.calls.load(Ordering::Relaxed) == calls {
            sleep(Duration::from_millis(10)).await;
        }
        first.line.cut.store(false, Ordering::Relaxed);
        let written = first.line.writes.lock().len();
        while first.line.writes.lock().len() == written {
            assert!(guard.holds(), "round {round}");
            sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(first.epoch(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_refuses_is_not_asked_in_a_hot_loop() {
    let memory: Arc<Memory> = Arc::default();
    let first = replica(&memory, "a");
    first.leads().await;
    first.line.refused.store(true, Ordering::Relaxed);
    let calls = first.line.calls.load(Ordering::Relaxed);
    // To be raised at once, were there anybody to ask.
    first.highest.send_replace(41);
    sleep(SECOND * 60).await;
    let asked = first.line.calls.load(Ordering::Relaxed) - calls;
    assert!((20..=80).contains(&asked), "{asked} calls in a minute");
    assert!(first.leader.guard().is_none());
    first.line.refused.store(false, Ordering::Relaxed);
    first.leader.epoch().wait_for(|epoch| *epoch == 42).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_a_rival_stops_at_once() {
    let memory: Arc<Memory> = Arc::default();
    let first = replica(&memory, "a");
    first.leads().await;
    let guard = first.leader.guard().unwrap();
    // As after a restore of etcd, or by a hand that forces it.
    let rival = Wanted {
        holder: Some("b".to_owned()),
        address: Some("b:9004".to_owned()),
        lease: SECOND * 15,
        epoch: 9,
        transitions: 1,
        taken: true,
    };
    Line::new(&memory).write(rival, memory.seen()).await.unwrap();
    first.leader.address().wait_for(Option::is_some).await.unwrap();
    assert!(!guard.holds());
    assert!(first.leader.guard().is_none() && !*first.leader.is_leading().borrow());
}

#[test]
fn a_lease_that_vanished_may_still_be_believed_by_its_holder() {
    let now = Instant::now();
    let theirs = Seen { holder: Some("b".to_owned()), epoch: 7, version: "1".to_owned(), ..Seen::default() };
    let mut term = Term::new(&settings("a"));
    assert_eq!(term.step(Some(&theirs), 0, now), Step::Wait);
    assert_eq!(term.step(None, 0, now + SECOND * 14), Step::Wait);
    assert_eq!(term.step(None, 0, now + SECOND * 28), Step::Wait);
    let take = Step::Write { epoch: 8, transitions: 0, taken: true };
    assert_eq!(term.step(None, 0, now + SECOND * 29), take);
    let first = Step::Write { epoch: 1, transitions: 0, taken: true };
    assert_eq!(Term::new(&settings("a")).step(None, 0, now), first, "nobody ever had it");
}

#[test]
fn a_rival_is_waited_for_by_our_own_clock() {
    let now = Instant::now();
    let seen = |version: &str, lease: u64| Seen {
        holder: Some("b".to_owned()),
        lease: SECOND * u32::try_from(lease).unwrap(),
        epoch: 7,
        transitions: 1,
        version: version.to_owned(),
        ..Seen::default()
    };
    let take = Step::Write { epoch: 8, transitions: 2, taken: true };
    for (what, steps) in [
        (
            "renewed each time",
            vec![("1", 15, 0, false), ("2", 15, 14, false), ("3", 15, 28, false), ("4", 15, 42, false)],
        ),
        ("unchanged for all of it", vec![("1", 15, 0, false), ("1", 15, 14, false), ("1", 15, 15, true)]),
        ("a shorter one is no better than ours", vec![("1", 1, 0, false), ("1", 1, 14, false), ("1", 1, 15, true)]),
        ("a longer one is respected", vec![("1", 40, 0, false), ("1", 40, 39, false), ("1", 40, 40, true)]),
        ("but not for ever", vec![("1", 9999, 0, false), ("1", 9999, 59, false), ("1", 9999, 60, true)]),
    ] {
        let mut term = Term::new(&settings("a"));
        for (version, lease, after, taken) in steps {
            let step = term.step(Some(&seen(version, lease)), 0, now + SECOND * after);
            assert_eq!(
                step,
                if taken { Step::Write { epoch: 8, transitions: 2, taken: true } } else { Step::Wait },
                "{what}"
            );
        }
    }
    let free = Seen { holder: None, ..seen("1", 15) };
    assert_eq!(Term::new(&settings("a")).step(Some(&free), 0, now), take, "nobody has it");
    let own = Seen { holder: Some("a".to_owned()), ..seen("1", 15) };
    let again = Step::Write { epoch: 10, transitions: 1, taken: true };
    assert_eq!(Term::new(&settings("a")).step(Some(&own), 9, now), again, "an earlier process of this pod");
}

#[test]
fn what_others_put_into_the_lease_stays() {
    let mut lease = Lease::default();
    lease.metadata.annotations = Some([("theirs".to_owned(), "x".to_owned())].into());
    lease.metadata.resource_version = Some("9".to_owned());
    let wanted = Wanted {
        holder: Some("a".to_owned()),
        address: Some("a:1".to_owned()),
        lease: SECOND * 15,
        epoch: 5,
        transitions: 2,
        taken: true,
    };
    let written = wanted.over(Some(lease), "n", jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(written.metadata.annotations.as_ref().unwrap()["theirs"], "x");
    let seen = Seen::of(written);
    assert_eq!(
        (seen.holder.as_deref(), seen.address.as_deref(), seen.epoch, &*seen.version),
        (Some("a"), Some("a:1"), 5, "9")
    );
}
