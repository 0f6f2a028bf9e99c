//! Who is connected, what each has in force, and what follows for each policy.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crds::push::{Name, PeerReport, Rejection, Report};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    audiences::Audiences,
    table::{Audience, Published},
};

/// Names that a standing lists at most.
const NAMES: usize = 10;

/// What is known about the policies, as far as the streams of this replica tell, and those of the replicas that report to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings {
    /// Every published policy.
    pub policies: BTreeMap<Arc<str>, Standing>,
    /// What data planes say about the issuers of each policy, by data plane.
    pub issuers: BTreeMap<Arc<str>, Vec<IssuerReport>>,
    /// The proxies before each policy's data planes.
    pub proxies: BTreeMap<Arc<str>, Proxies>,
    /// How many data planes are connected.
    pub replicas: usize,
}

/// Proxies that ask the data planes of one policy, as far as secrets go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// Whether any of them proved itself.
    pub proved: bool,
    /// Those that did not, and were refused a secret of the policy of late; at most 10.
    pub strangers: BTreeSet<IpAddr>,
}

/// How far one policy has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody who takes it is connected.
    NoDataPlane,
    /// Everybody has it in force.
    Programmed {
        /// How many.
        replicas: usize,
    },
    /// Some have not said that it is in force.
    Lagging {
        /// Their names, at most 10.
        waiting: Vec<String>,
        /// How many more.
        more: usize,
    },
    /// Somebody refuses it.
    Rejected {
        /// Who, the first by name.
        by: String,
        /// Why, with field paths.
        reason: String,
    },
}

/// What one data plane says about one issuer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IssuerReport {
    /// The data plane.
    pub replica: String,
    /// The issuer, as configured.
    pub issuer: String,
    /// What went wrong; `None`: nothing.
    pub error: Option<String>,
}

/// All streams.
#[derive(Debug)]
pub(super) struct Clients {
    clients: Mutex<HashMap<u64, Client>>,
    changes: watch::Sender<u64>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Client {
    /// `namespace/pod`.
    pub(super) name: String,
    pub(super) audience: Audience,
    /// The publication that is in force there; 0: none yet.
    pub(super) acknowledged: u64,
    pub(super) rejected: BTreeMap<Arc<str>, String>,
    pub(super) reports: Vec<Report>,
    pub(super) peers: PeerReport,
    /// Ends the stream.
    pub(super) ends: CancellationToken,
}

/// A stream's entry; gone when dropped.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    clients: Arc<Clients>,
}

// === impl Clients ===

impl Clients {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { clients: Mutex::default(), changes: watch::Sender::new(0) })
    }

    /// Moves when a standing may have changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Lets whoever watches look again.
    pub(super) fn moved(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// A new stream. One of the same pod before it is over: its end was not seen yet.
    pub(super) fn add(self: &Arc<Self>, id: u64, client: Client) -> Entry {
        let mut clients = self.clients.lock();
        clients.values().filter(|other| other.name == client.name).for_each(|other| other.ends.cancel());
        clients.retain(|_, other| other.name != client.name);
        clients.insert(id, client);
        drop(clients);
        self.moved();
        Entry { id, clients: self.clone() }
    }

    /// What the streams of this replica tell about each policy that is published here.
    pub(super) fn tallies(&self, published: &Published, audiences: &Audiences) -> Tallies {
        let clients = self.clients.lock();
        let mut by_audience: HashMap<&Audience, Vec<&Client>> = HashMap::new();
        for client in clients.values() {
            by_audience.entry(&client.audience).or_default().push(client);
        }
        let mut tallies = Tallies { replicas: clients.len(), ..Tallies::default() };
        for (policy, version) in published.versions() {
            tallies.policies.insert(policy.clone(), Tally { version: version.to_owned(), ..Tally::default() });
        }
        for (audience, mut members) in by_audience {
            members.sort_by(|a, b| (a.acknowledged, &a.name).cmp(&(b.acknowledged, &b.name)));
            let table = audiences.cell(audience).table(published, audience);
            let proved = members.iter().any(|one| one.peers.proved);
            for (policy, changed) in &table.changed {
                if let Some(tally) = tallies.policies.get_mut(policy) {
                    let waiting = members.partition_point(|one| one.acknowledged < *changed);
                    tally.proxies.proved |= proved;
                    tally.add(members.len(), waiting, members.iter().take(waiting).map(|one| &*one.name));
                }
            }
            for client in members {
                // What it said of an older version says nothing of this one.
                let seen = |policy| table.changed.get(policy).is_some_and(|changed| *changed <= client.acknowledged);
                for (policy, reason) in client.rejected.iter().filter(|(policy, _)| seen(*policy)) {
                    if let Some(tally) = tallies.policies.get_mut(policy) {
                        tally.reject(&client.name, reason);
                    }
                }
                // About a policy that is not its business nobody is believed.
                let strangers = client.peers.strangers.iter().filter(|(policy, _)| table.changed.contains_key(*policy));
                for (policy, addresses) in strangers {
                    if let Some(tally) = tallies.policies.get_mut(policy) {
                        tally.proxies.add(addresses);
                    }
                }
                for report in client.reports.iter().filter(|one| table.changed.contains_key(&one.policy)) {
                    tallies.issuers.entry(report.policy.clone()).or_default().push(IssuerReport {
                        replica: client.name.clone(),
                        issuer: report.issuer.clone(),
                        error: report.error.clone(),
                    });
                }
            }
        }
        tallies
    }
}

/// What one replica of the operator knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tallies {
    pub(super) policies: BTreeMap<Arc<str>, Tally>,
    issuers: BTreeMap<Arc<str>, Vec<IssuerReport>>,
    replicas: usize,
}

/// What is known about one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// The version that was sent.
    version: String,
    replicas: usize,
    waiting: usize,
    /// Of those who wait, at most 10.
    names: Vec<String>,
    /// Who refuses it, and why.
    rejected: Option<(String, String)>,
    #[serde(default)]
    proxies: Proxies,
}

// === impl Tallies ===

impl Tallies {
    /// With what another replica knows.
    pub(super) fn merge(&mut self, other: &Self) {
        self.replicas += other.replicas;
        for (policy, theirs) in &other.policies {
            if let Some(own) = self.policies.get_mut(policy) {
                // A replica that publishes another version has nobody who has ours.
                let waiting = if theirs.version == own.version { theirs.waiting } else { theirs.replicas };
                own.add(theirs.replicas, waiting, theirs.names.iter().map(String::as_str));
                own.proxies.proved |= theirs.proxies.proved;
                own.proxies.add(&theirs.proxies.strangers);
                if let Some((by, reason)) = theirs.rejected.as_ref().filter(|_| theirs.version == own.version) {
                    own.reject(by, reason);
                }
            }
        }
        for (policy, reports) in &other.issuers {
            self.issuers.entry(policy.clone()).or_default().extend(reports.iter().cloned());
        }
    }

    /// Notes in `proved` whether a proxy proved itself to data planes of our own, and goes by that for the policies that those take: a data
    /// plane that starts has met no proxy, which says nothing of the proxies.
    pub(super) fn remember(&mut self, published: &Published, proved: &AtomicBool) {
        let own = published.versions().map(|(policy, _)| policy).filter(|policy| published.is_for_own(policy));
        let own: Vec<&Arc<str>> = own.collect();
        let proves = |policy: &&Arc<str>| self.policies.get(*policy).is_some_and(|tally| tally.proxies.proved);
        if own.iter().any(proves) {
            proved.store(true, Ordering::Relaxed);
        }
        if proved.load(Ordering::Relaxed) {
            for policy in own {
                if let Some(tally) = self.policies.get_mut(policy) {
                    tally.proxies.proved = true;
                }
            }
        }
    }

    /// Without the policies that nobody takes: those say nothing.
    pub(super) fn said(mut self) -> Self {
        self.policies.retain(|_, tally| tally.replicas > 0);
        self
    }

    pub(super) fn standings(mut self) -> Standings {
        self.issuers.values_mut().for_each(|reports| reports.sort());
        let proxies =
            self.policies.iter_mut().map(|(policy, tally)| (policy.clone(), std::mem::take(&mut tally.proxies)));
        let proxies = proxies.collect();
        let policies = self.policies.into_iter().map(|(policy, tally)| (policy, tally.standing())).collect();
        Standings { policies, issuers: self.issuers, proxies, replicas: self.replicas }
    }
}

// === impl Proxies ===

impl Proxies {
    fn add<'a>(&mut self, strangers: impl IntoIterator<Item = &'a IpAddr>) {
        for one in strangers {
            if self.strangers.len() < NAMES {
                self.strangers.insert(*one);
            }
        }
    }
}

// === impl Tally ===

impl Tally {
    fn add<'n>(&mut self, replicas: usize, waiting: usize, names: impl Iterator<Item = &'n str>) {
        self.replicas += replicas;
        self.waiting += waiting;
        let room = NAMES.saturating_sub(self.names.len());
        self.names.extend(names.take(room.min(waiting)).map(str::to_owned));
    }

    fn reject(&mut self, by: &str, reason: &str) {
        if self.rejected.as_ref().is_none_or(|(first, _)| by < first.as_str()) {
            self.rejected = Some((by.to_owned(), reason.to_owned()));
        }
    }

    fn standing(self) -> Standing {
        if let Some((by, reason)) = self.rejected {
            return Standing::Rejected { by, reason };
        }
        match (self.replicas, self.waiting) {
            (0, _) => Standing::NoDataPlane,
            (replicas, 0) => Standing::Programmed { replicas },
            (_, waiting) => {
                let mut names = self.names;
                names.sort();
                let more = waiting.saturating_sub(names.len());
                Standing::Lagging { waiting: names, more }
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Changes what is known about this stream; only a real change wakes whoever watches.
    pub(super) fn update(&self, change: impl FnOnce(&mut Client) -> bool) {
        let changed = self.clients.clients.lock().get_mut(&self.id).is_some_and(change);
        if changed {
            self.clients.moved();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let gone = self.clients.clients.lock().remove(&self.id).is_some();
        if gone {
            self.clients.moved();
        }
    }
}

// === impl Client ===

impl Client {
    /// A change is in force, and these are all resources that are refused. Whether anything is new.
    pub(super) fn acknowledge(
        &mut self,
        counter: u64,
        refused: Vec<Rejection>,
        readers: impl Fn(&Name) -> Vec<Arc<str>>,
    ) -> bool {
        let mut rejected = BTreeMap::new();
        for Rejection { resource, reason } in refused {
            match resource.parse() {
                Ok(Name::Policy(policy)) => drop(rejected.insert(policy, reason)),
                Ok(name) => {
                    let readers = readers(&name).into_iter();
                    rejected.extend(readers.map(|policy| (policy, format!("{name}: {reason}"))));
                }
                Err(_) => {}
            }
        }
        let same = self.acknowledged == counter && self.rejected == rejected;
        (self.acknowledged, self.rejected) = (counter, rejected);
        !same
    }
}
